"""The broker's CA says by way of the broker (stapled OCSP) what it thinks of its certificate.  The broker is openssl
s_server, which staples what lies in a file; it speaks just as much MQTT as a CONNACK takes."""

import os
import socket
import subprocess
import threading

import pytest

from lib import packets as p
from lib.pki import SERVER, Authority, openssl
from lib.wait import free_port, until

RESPONDER = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=OCSPSigning"]


def _end_of_packet(data, at):
    """Where the packet ends that begins there; None: later."""
    length = shift = 0
    for n, byte in enumerate(data[at + 1:at + 5]):
        length |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            end = at + 2 + n + length
            return end if end <= len(data) else None
    return None


class Stapler:
    """One connection at a time.  `response`: the file with what it staples."""

    def __init__(self, server, anchors, version, response):
        self.tls_port = free_port()
        self.said = b""  # of all connections, one after the other
        self._args = ["openssl", "s_server", "-accept", "127.0.0.1:%d" % self.tls_port, "-cert", server.chain, "-cert_chain",
                      server.chain, "-key", server.key, "-CAfile", anchors, "-Verify", "2", "-quiet", "-tls1_" + version[-1]]
        self._response = response

    def start(self, staples=True):
        self.process = subprocess.Popen([*self._args, *(["-status_file", self._response] if staples else [])],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._answer, name="stapler", daemon=True)
        self._thread.start()
        until("the broker listens", self._listens)

    def _listens(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.tls_port)) == 0

    def _answer(self):
        at = len(self.said)
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.said += data
            while (end := _end_of_packet(self.said, at)) is not None:
                if self.said[at] >> 4 == p.CONNECT:
                    os.write(self.process.stdin.fileno(), p.packet(p.CONNACK, 0, b"\0\0"))
                at = end

    def stop(self):
        self.process.kill()
        self.process.wait()
        self._thread.join()
        self.process.stdin.close()
        self.process.stdout.close()


class Responses:
    """What CAs say of the server's certificate, made by openssl; each a method that returns a file."""

    def __init__(self, folder, ca, server, stranger, other):
        self.folder, self.ca, self.server, self.stranger, self.other = str(folder), ca, server, stranger, other

    def _index(self, name, *entries):
        path = os.path.join(self.folder, name + ".index")
        with open(path, "w", encoding="ascii") as f:
            for cert, revoked in entries:
                serial = openssl("x509", "-in", cert.chain, "-noout", "-serial").decode().strip().split("=")[1]
                f.write("%s\t491231235959Z\t%s\t%s\tunknown\t/CN=x\n" % ("R" if revoked else "V", revoked, serial))
        with open(path + ".attr", "w", encoding="ascii") as f:
            f.write("unique_subject = no\n")
        return path

    def make(self, name, cert=None, revoked="", signer=None, ca=None, known=True, at=None, more=("-ndays", 2)):
        cert, ca = cert or self.server, ca or self.ca
        signer = signer or ca.pair()
        out = os.path.join(self.folder, name + ".der")
        openssl("ocsp", "-index", self._index(name, *([(cert, revoked)] if known else [])), "-CA", ca.cert, "-rsigner",
                signer.chain, "-rkey", signer.key, "-issuer", ca.cert, "-cert", cert.chain, "-noverify", "-respout", out,
                *more, at=at)
        return out

    def good(self):
        return self.make("good")

    def good_by_key(self):
        return self.make("good-by-key", more=("-ndays", 2, "-resp_key_id", "-resp_no_certs"))

    def good_with_sha256(self):
        """The CertID, that is; it is taken from the request."""
        return self.make("good-sha256", more=("-ndays", 2, "-sha256", "-cert", self.server.chain))

    def good_for_a_day(self):
        return self.make("good-without-next", more=())

    def delegated(self):
        return self.make("delegated", signer=self.ca.issue("responder", "/O=Plant/CN=Responder", RESPONDER, chain=False))

    def revoked(self):
        return self.make("revoked", revoked="201231235959Z,keyCompromise")

    def revoked_and_late(self):
        return self.make("revoked-late", revoked="201231235959Z", at="-9d")

    def unknown(self):
        return self.make("unknown", known=False)

    def late(self):
        return self.make("late", at="-9d")

    def late_without_next(self):
        return self.make("late-without-next", at="-9d", more=())

    def early(self):
        return self.make("early", at="+9d", more=("-ndays", 30))

    def by_a_stranger(self):
        """Who has the name of the CA, and says that it is one."""
        return self.make("stranger", signer=self.stranger.pair())

    def by_a_strangers_responder(self):
        return self.make("strangers-responder", signer=self.stranger.issue(
            "responder", "/O=Plant/CN=Responder", RESPONDER, chain=False))

    def by_another_server(self):
        """The CA has issued that certificate, but not for OCSP."""
        return self.make("by-a-server", signer=self.other)

    def by_a_responder_that_has_expired(self):
        return self.make("expired-responder", signer=self.ca.issue(
            "expired-responder", "/O=Plant/CN=Responder", RESPONDER, chain=False, at="-40d", days=20))

    def of_another_certificate(self):
        return self.make("another", cert=self.other)

    def forged(self):
        """Good, but for the last octet of the signature."""
        with open(self.make("to-be-forged", more=("-ndays", 2, "-resp_no_certs")), "rb") as f:
            data = bytearray(f.read())
        data[-1] ^= 1
        return self._write("forged", data)

    def try_later(self):
        return self._write("try-later", b"\x30\x03\x0a\x01\x03")

    def _write(self, name, data):
        path = os.path.join(self.folder, name + ".der")
        with open(path, "wb") as f:
            f.write(data)
        return path


# What is stapled, the counter of what is passed over, the name of the refusal.
FINE, REVOKED = ("fine", None), ("refused", "trust.revoked")
ROWS = {
    "good": FINE,
    "good_by_key": FINE,
    "good_with_sha256": FINE,
    "good_for_a_day": FINE,
    "delegated": FINE,
    "revoked": REVOKED,
    "revoked_and_late": REVOKED,
    "unknown": ("ocsp_invalid", "trust.ocsp-unknown"),
    "late": ("ocsp_stale", "trust.ocsp-expired"),
    "late_without_next": ("ocsp_stale", "trust.ocsp-expired"),
    "early": ("ocsp_stale", "trust.ocsp-expired"),
    "by_a_stranger": ("ocsp_invalid", "trust.ocsp-invalid"),
    "by_a_strangers_responder": ("ocsp_invalid", "trust.ocsp-invalid"),
    "by_another_server": ("ocsp_invalid", "trust.ocsp-invalid"),
    "by_a_responder_that_has_expired": ("ocsp_invalid", "trust.ocsp-invalid"),
    "of_another_certificate": ("ocsp_invalid", "trust.ocsp-invalid"),
    "forged": ("ocsp_invalid", "trust.ocsp-invalid"),
    "try_later": ("ocsp_invalid", "trust.ocsp-invalid"),
    "nothing": ("ocsp_missing", "trust.ocsp-missing"),
}
COUNTERS = ("ocsp_missing", "ocsp_stale", "ocsp_invalid")


class Site:
    """A gateway with a profile for each policy, at one broker."""

    def __init__(self, plant, pki, folder, version):
        folder = str(folder)
        self.root = Authority(folder, "OCSP Root")
        self.ca = Authority(folder, "OCSP CA", parent=self.root, extensions=["basicConstraints=critical,CA:TRUE"])
        self.server = self.ca.issue("server", "/O=Plant/CN=localhost", SERVER)
        self.responses = Responses(folder, self.ca, self.server, Authority(folder, "Stranger", subject="/O=Plant/CN=OCSP CA"),
                                   self.ca.issue("other", "/O=Plant/CN=other", SERVER, chain=False))
        self.stapled = os.path.join(folder, "stapled.der")
        self.stapler = Stapler(self.server, pki.both(), version, self.stapled)
        self.plant = plant(start=False, broker=self.stapler, rules=[
            {"name": "{client_id}", "match": {"listener": "plain", "client_id": policy + "-*"}, "upstream": policy}
            for policy in ("off", "request", "require")])
        self.gateway = self.plant.gateway
        template = {**self.gateway.conf["upstreams"][0], "anchors": [self.root.cert]}
        self.gateway.conf["upstreams"] = [{**template, "name": n, "ocsp": n} for n in ("off", "request", "require")]
        self.identity = pki.identity("any", "old")

    def staple(self, row):
        if row == "nothing":
            self.stapler.stop()
            self.stapler.start(staples=False)
        else:
            os.replace(getattr(self.responses, row)(), self.stapled)

    def counters(self):
        all_of_them = self.gateway.rpc("status")["counters"]
        return {name: all_of_them[name] for name in COUNTERS}

    def accepted(self, name):
        client = self.plant.connect(name, plain=True)
        client.cut()

    def refused(self, name, error):
        client = self.plant.sensor(name, plain=True).open()
        client.send_raw(p.connect(name, 4))
        found = until("%s has failed" % name, lambda: self.gateway.device(name)["last_error"])
        assert (found["class"], found["name"]) == ("trust", error), (name, found)
        assert found["remedy"] and name.encode() not in self.stapler.said  # nothing of MQTT went out
        client.cut()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_what_becomes_of_a_broker_by_what_it_staples(plant, pki, tmp_path, version):
    site = Site(plant, pki, tmp_path, version)
    site.stapler.start()
    try:
        for row in ROWS:
            for policy in ("off", "request", "require"):
                site.gateway.install("%s-%s" % (policy, row), old=site.identity, new=False)
        site.plant.__enter__()
        counted = dict.fromkeys(COUNTERS, 0)
        for row, (passed_over, error) in ROWS.items():
            site.staple(row)
            if passed_over == "refused":
                site.refused("request-" + row, error)
            else:
                site.accepted("request-" + row)
            if passed_over in counted:
                counted[passed_over] += 1
            if error is None:
                site.accepted("require-" + row)
            else:
                site.refused("require-" + row, error)
            site.accepted("off-" + row)
            until(lambda r=row: "%s: %s are counted, not %s" % (r, site.counters(), counted), lambda: site.counters() == counted)
        site.gateway.log.wait("ocsp-passed-over")
        lines = site.gateway.log.lines("ocsp-passed-over")
        assert 1 <= len(lines) <= 2, lines  # one for each worker
        assert "upstream=request" in lines[0] and "response=" in lines[0]
    finally:
        site.stapler.stop()
