"""Which TLS versions, cipher suites and kinds of key get through, on either side; and what is said of those that do not.

Sensors are openssl s_client, as old as TLS 1.0; brokers are Python's TLS server.  One daemon serves all rows of a side.
"""

import concurrent.futures
import os
import re
import ssl
import subprocess

import pytest

from lib import packets as p
from lib.gateway import Certflipd
from lib.mqtt import Client
from lib.pki import CLIENT, SERVER, Pair, openssl
from lib.scripted import ScriptedBroker
from lib.wait import free_port, seconds, until

SERVER_KEYS = ("ec", "p384", "rsa", "ed25519")
CLIENT_KEYS = ("ec", "p384", "ed25519", "rsa")
RANGES = {"any": ("1.2", "1.3"), "new": ("1.3", "1.3"), "mid": ("1.2", "1.2"), "old": ("1.0", "1.2")}

SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
SUITES_12 = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")  # behind ECDHE-ECDSA- or ECDHE-RSA-
# Of the listener for old sensors: with its own prefix, or by RSA alone.
SUITES_CBC = ("AES128-SHA256", "AES128-SHA", "AES256-SHA")
SUITES_STATIC = ("AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA", "AES256-SHA")


def abreast(rows, story):
    """story(row) for all rows, a few at a time; one failure names every row that failed."""
    faults = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for row, job in [(row, pool.submit(story, row)) for row in rows]:
            try:
                job.result()
            except Exception as e:  # told below
                faults.append("%s: %s" % (row, e))
    assert not faults, "%d of %d rows failed:\n%s" % (len(faults), len(rows), "\n".join(faults))


# -- sensors


class Gate:
    """A gateway with a listener for each kind of server key and each range of versions.

    No rule knows a device: who is answered CONNACK 5 has come through TLS with its certificate.
    """

    def __init__(self, folder, pki):
        self.pki = pki
        self.gateway = Certflipd(folder, pki, None)
        template = self.gateway.conf["listeners"][0]
        self.ports = {}
        listeners = []
        for kind in SERVER_KEYS:
            server = pki.server(kind=kind)
            for name, (least, most) in RANGES.items():
                port = self.ports[kind, name] = free_port()
                listeners.append({**template, "name": "%s-%s" % (kind, name), "port": port, "tls_min": least,
                                  "tls_max": most, "chains": [{"chain": server.chain, "key": server.key}],
                                  "min_rsa_bits": 1024 if name == "old" else None,
                                  "anchors": [pki.old.cert, pki.rsa.cert]})
        self.gateway.conf["listeners"] = listeners
        self.gateway.conf["devices"] = [{"name": "nobody", "match": {"client_id": "nobody"}}]

    def s_client(self, listener, *flags, pair=None, anchors=None, data=None):
        """(what it printed, whether CONNACK came)"""
        who = ["-cert", pair.chain, "-key", pair.key] if pair else []
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.ports[listener], "-CAfile",
                               anchors or self.pki.server_ca.cert, "-verify_return_error", "-nocommands", "-ign_eof", *who,
                               *flags], input=p.connect("x", 4) if data is None else data, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, timeout=seconds(20))
        return done.stdout.decode(errors="replace"), b"\x20\x02\x00\x05" in done.stdout


@pytest.fixture(scope="module")
def gate(tmp_path_factory, pki):
    gate = Gate(tmp_path_factory.mktemp("gate"), pki)
    with gate.gateway:
        yield gate


def good_rows():
    """(server's key, range, version, suite, client's key)"""
    for server in SERVER_KEYS:
        sign = "ECDHE-RSA-" if server == "rsa" else "ECDHE-ECDSA-"
        for suite in SUITES_13:
            for name in ("any", "new"):
                yield server, name, "1.3", suite, "ec"
        for suite in SUITES_12:
            for name in ("any", "mid", "old"):
                yield server, name, "1.2", sign + suite, "ec"
        for client in CLIENT_KEYS:
            yield server, "new", "1.3", SUITES_13[0], client
            yield server, "mid", "1.2", sign + SUITES_12[0], client
        for suite in SUITES_CBC:
            yield server, "old", "1.2", sign + suite, "rsa"
        for version in ("1.0", "1.1") if server != "ed25519" else ():  # RFC 8422: from 1.2 on
            for suite in SUITES_CBC[1:]:
                yield server, "old", version, sign + suite, "rsa"
            yield server, "old", version, sign + SUITES_CBC[1], "ec"
    for suite in SUITES_STATIC:
        yield "rsa", "old", "1.2", suite, "rsa"
    for suite in SUITES_STATIC[2:]:
        for version in ("1.0", "1.1"):
            yield "rsa", "old", version, suite, "rsa"


FLAG = {"1.0": "-tls1", "1.1": "-tls1_1", "1.2": "-tls1_2", "1.3": "-tls1_3"}


def offer(version, suite):
    return [FLAG[version], *(["-ciphersuites", suite] if version == "1.3" else ["-cipher", suite + "@SECLEVEL=0"])]


def test_every_version_suite_and_key_of_a_sensor_gets_through(gate, pki):
    """The suite that was asked for is the one that is used, and the client's certificate was taken with it."""
    pairs = {kind: pki.sensor("matrix", kind, pki.rsa if kind == "rsa" else None) for kind in CLIENT_KEYS}
    rows = list(dict.fromkeys(good_rows()))
    assert len(rows) > 90

    def story(row):
        server, name, version, suite, client = row
        text, answered = gate.s_client((server, name), *offer(version, suite), pair=pairs[client])
        assert answered, text[-1500:]
        want = "TLSv1" if version == "1.0" else "TLSv" + version
        # OpenSSL's "New, TLSv1.0, Cipher is" tells from when the suite is.
        protocol = re.search(r"Protocol *: (\S+)", text)
        if protocol:
            assert protocol[1] == want, protocol[0]
        else:
            assert "New, %s, " % want in text
        assert "Cipher is %s\n" % suite in text, text[-1500:]
    abreast(rows, story)


def weak(pki):
    """Sensors' certificates that a modern listener does not take: name of the file -> pair."""
    sha1 = Pair(os.path.join(pki.folder, "sha1.pem"), os.path.join(pki.folder, "sha1.key"))
    if not os.path.exists(sha1.chain):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha1", "-keyout", sha1.key,
                "-out", sha1.chain, "-days", 30, "-subj", "/O=Plant/CN=sha1", "-CA", pki.old.cert, "-CAkey", pki.old.key,
                "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth")
        os.chmod(sha1.key, 0o600)
    return {
        "sha1": sha1,
        "rsa1024": pki.old.issue("small", "/O=Plant/CN=small", CLIENT, kind="rsa1024"),
        "stranger": pki.stranger.issue("stranger", "/O=Plant/CN=stranger", CLIENT),
        "server": pki.old.issue("is-a-server", "/O=Plant/CN=is-a-server", SERVER),
        "expired": pki.expired("expired", "old"),
        "future": pki.future("future", "old"),
        "good": pki.sensor("matrix"),
    }


# What the sensor brings, what it is refused for: code and cause of the log line; a part of its text.
REFUSED = [
    ("tls-1.1-at-1.2", "any", ["-tls1_1", "-cipher", "ALL@SECLEVEL=0"], "good", "tls", "wolfssl.VERSION_ERROR", "no TLS version"),
    ("tls-1.0-at-1.2", "mid", ["-tls1", "-cipher", "ALL@SECLEVEL=0"], "good", "tls", "wolfssl.VERSION_ERROR", "tls_min"),
    ("tls-1.2-at-1.3", "new", ["-tls1_2"], "good", "tls", "wolfssl.VERSION_ERROR", "no TLS version"),
    ("cbc-at-1.2", "any", offer("1.2", "ECDHE-ECDSA-AES128-SHA"), "good", "tls", "wolfssl.MATCH_SUITE_ERROR", "no cipher"),
    ("static-rsa-at-1.2", "any", offer("1.2", "AES128-SHA"), "good", "tls", "wolfssl.MATCH_SUITE_ERROR", "no cipher"),
    ("dhe", "old", offer("1.2", "DHE-RSA-AES128-GCM-SHA256"), "good", "tls", "wolfssl.MATCH_SUITE_ERROR", "no cipher"),
    ("ccm", "new", offer("1.3", "TLS_AES_128_CCM_SHA256"), "good", "tls", "wolfssl.MATCH_SUITE_ERROR", "no cipher"),
    ("sha-1", "any", ["-tls1_2", "-cipher", "DEFAULT@SECLEVEL=0"], "sha1", "certificate", "client.weak-digest", "SHA-256"),
    ("sha-1-in-1.3", "new", ["-tls1_3", "-cipher", "DEFAULT@SECLEVEL=0"], "sha1", "certificate", "client.weak-digest", "SHA-1"),
    ("rsa-1024", "any", ["-tls1_2", "-cipher", "DEFAULT@SECLEVEL=0"], "rsa1024", "certificate", "client.key-too-small", "1024 bits"),
    ("rsa-1024-in-1.3", "new", ["-tls1_3", "-cipher", "DEFAULT@SECLEVEL=0"], "rsa1024", "certificate", "client.key-too-small",
     "min_rsa_bits"),
    ("unknown-issuer", "any", ["-tls1_3"], "stranger", "certificate", "client.unknown-issuer", "anchors"),
    ("purpose", "any", ["-tls1_2"], "server", "certificate", "client.invalid-purpose", "clientAuth"),
    ("expired", "any", ["-tls1_3"], "expired", "certificate", "client.expired", "renew"),
    ("not-yet-valid", "mid", ["-tls1_2"], "future", "certificate", "client.not-yet-valid", "clock"),
    ("none", "any", ["-tls1_3"], None, "certificate", "client.missing", "client_cert"),
    ("none-in-1.2", "mid", ["-tls1_2"], None, "certificate", "client.missing", "client_cert"),
    ("does-not-trust-us", "any", ["-tls1_2"], "good", "tls", "sensor.unknown_ca", "chain that it pinned"),
]


def test_who_is_refused_is_told_why(gate, pki):
    """The log has a name for it that certflipctl explains, and says what to do."""
    pairs = weak(pki)
    faults = []
    for name, listener, flags, pair, code, cause, says in REFUSED:
        at = gate.gateway.log.mark()
        anchors = pki.old.cert if name == "does-not-trust-us" else None
        text, answered = gate.s_client(("ec", listener), *flags, pair=pairs.get(pair), anchors=anchors)
        line = gate.gateway.log.wait(r"session-refused listener=ec-%s .*" % listener, at)[0]
        sent = re.search(r" alert_sent=(\w+) msg=", line)
        if (answered or " code=%s cause=%s " % (code, cause) not in line or says not in line
                or (sent is None) != cause.startswith("sensor.")):
            faults.append("%s: %s\n%s" % (name, line, text[:200] if answered else ""))
        status, told, _ = gate.gateway.ctl("explain", cause, check=False)
        if status != 0 or cause not in told:
            faults.append("%s: explain %s: %s" % (name, cause, told))
    assert not faults, "\n".join(faults)


def test_plain_mqtt_at_a_tls_listener_is_recognised(gate, reactor):
    at = gate.gateway.log.mark()
    client = Client(reactor, ("127.0.0.1", gate.ports["ec", "any"]))
    client.open()
    client.send_raw(p.connect("x", 4))
    client.wait_end()
    assert " cause=wolfssl.UNKNOWN_RECORD_TYPE msg=" in gate.gateway.log.wait(r"session-refused .*", at)[0]


# -- brokers


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
POLICIES = {"require": ssl.CERT_REQUIRED, "request": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
IDENTITIES = CLIENT_KEYS


def test_every_version_and_key_reaches_a_broker(tmp_path, plant, pki):
    """Whatever the broker's key, its version and whether it asks: the identity meant is what it gets to see, if it asks."""
    anchors = pki.bundle(pki.old, pki.rsa)
    pairs = {kind: (pki.rsa if kind == "rsa" else pki.old).issue("up-" + kind, "/O=Plant/OU=old/CN=" + kind, CLIENT, kind=kind)
             for kind in IDENTITIES}
    brokers = {(key, version, policy): ScriptedBroker(pki, anchors=anchors, version=VERSIONS[version],
                                                      server=pki.server(kind=key), verify=POLICIES[policy])
               for key in SERVER_KEYS for version in VERSIONS for policy in POLICIES}
    names = {row: "b-%s-%s-%s" % (row[0], row[1].replace(".", ""), row[2]) for row in brokers}
    first = next(iter(brokers.values()))
    site = plant(start=False, broker=first, rules=[
        {"name": "{client_id}", "match": {"listener": "plain", "client_id": name + "-*"}, "upstream": name}
        for name in names.values()])
    conf = site.gateway.conf
    template = conf["upstreams"][0]
    conf["upstreams"] = [{**template, "name": names[row], "port": broker.tls_port} for row, broker in brokers.items()]
    devices = [(row, kind, "%s-%s" % (name, kind)) for row, name in names.items() for kind in IDENTITIES]
    for _, kind, device in devices:
        site.gateway.install(device, old=pairs[kind], new=False)
    for broker in brokers.values():
        broker.start()
    try:
        site.__enter__()
        clients = [(row, kind, device, site.connect(device, plain=True)) for row, kind, device in devices]
        for row, kind, device, client in clients:
            broker, (key, version, policy) = brokers[row], row
            seen = [c for c in broker.connections if c.client_id == device]
            assert len(seen) == 1, (device, len(seen))
            assert seen[0].cipher[1] == "TLSv" + version
            assert key == "rsa" or version == "1.3" or "ECDSA" in seen[0].cipher[0], seen[0].cipher
            assert seen[0].subject.get("commonName") == (None if policy == "none" else kind), device
            assert not seen[0].resumed
            client.disconnect()
    finally:
        for broker in brokers.values():
            broker.stop()


# The broker's key, arguments of the broker, keys of the profile; class and name of the device's last error.
BAD_BROKERS = [
    ("no-common-version", "ec", {"version": ssl.TLSVersion.TLSv1_2}, {"tls_min": "1.3"}, "policy", "tls.protocol_version"),
    ("no-common-cipher", "ec", {"version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-SHA"}, {}, "policy",
     "tls.handshake_failure"),
    ("rsa-1024", "rsa1024", {"ciphers": "DEFAULT@SECLEVEL=0"}, {}, "trust", "trust.key-too-small"),
    ("another-name", "ec", {}, {"server_name": "elsewhere.example"}, "trust", "trust.name-mismatch"),
    ("unknown-issuer", "ec", {}, {"anchors": "old"}, "trust", "trust.unknown-issuer"),
    ("sha-1", "sha1", {"ciphers": "DEFAULT@SECLEVEL=0"}, {}, "trust", "trust.weak-digest"),
]


def test_a_broker_that_does_not_fit_is_named(plant, pki):
    """Of none of these is the identity to blame, and each has a name that says what is."""
    sha1 = Pair(os.path.join(pki.folder, "server-sha1.pem"), os.path.join(pki.folder, "server-sha1.key"))
    more = [x for ext in SERVER for x in ("-addext", ext)]
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha1", "-keyout", sha1.key,
            "-out", sha1.chain, "-days", 30, "-subj", "/O=Plant/CN=localhost", "-CA", pki.server_ca.cert, "-CAkey",
            pki.server_ca.key, "-addext", "basicConstraints=critical,CA:FALSE", *more)
    brokers = {name: ScriptedBroker(pki, server=sha1 if key == "sha1" else pki.server(kind=key), **args)
               for name, key, args, *_ in BAD_BROKERS}
    site = plant(start=False, broker=next(iter(brokers.values())), rules=[
        {"name": "{client_id}", "match": {"listener": "plain", "client_id": name}, "upstream": name} for name in brokers])
    conf = site.gateway.conf
    template = conf["upstreams"][0]
    conf["upstreams"] = []
    for name, _, _, keys, *_ in BAD_BROKERS:
        keys = {**keys, **({"anchors": [pki.old.cert]} if "anchors" in keys else {})}
        conf["upstreams"].append({**template, "name": name, "port": brokers[name].tls_port, **keys})
        site.gateway.install(name, new=False)
    for broker in brokers.values():
        broker.start()
    try:
        site.__enter__()
        for name in brokers:
            site.sensor(name, plain=True).open().send_raw(p.connect(name, 4))
        for name, _, _, _, kind, error in BAD_BROKERS:
            found = until(lambda n=name: "%s failed: %s" % (n, site.gateway.log.tail(5)),
                          lambda n=name: site.gateway.device(n)["last_error"])
            assert (found["class"], found["name"]) == (kind, error), (name, found)
            assert found["remedy"]
            assert site.gateway.ctl("explain", error)[1].find(found["remedy"]) >= 0
    finally:
        for broker in brokers.values():
            broker.stop()
