"""A catalogue of new identities that go wrong, each under TLS 1.2 and 1.3, MQTT 3.1, 3.1.1 and 5.0: the device ends on its
old identity, is never reported as migrated, never disconnected, and whoever asks is told the class, the name and what to do.

All rows run at once, a device for each combination, and the tests look at what came of theirs.
"""

import concurrent.futures
import fnmatch
import os
import re
import shutil
import ssl
import subprocess
import time

import pytest

from lib import packets as p
from lib import rough
from lib.broker import Mosquitto
from lib.gateway import Certflipd, Refused
from lib.mqtt import Client
from lib.pki import CLIENT, SERVER, Authority
from lib.wait import Late, free_port, seconds

ALL, V3, V5 = (3, 4, 5), (3, 4), (5,)


class Row:
    """`broker`: whose old identity is fine; `new`: what makes the new one bad there, or a profile of its own.

    ends: "rolled-back", or "trial" for what is not the identity's fault: it is tried again, on the old connection.
    """

    def __init__(self, name, broker, cls, diag, remedy, new=None, rough=None, profile=None, ends=None, mqtt=ALL,
                 tls=("1.2", "1.3"), may=None, evidence="connack"):
        self.name, self.broker, self.cls, self.diag, self.remedy = name, broker, cls, diag, remedy
        self.new, self.rough, self.profile, self.mqtt, self.tls = new, rough, profile, mqtt, tls
        self.may, self.evidence = may, evidence  # lines of the ACL; what the flip demands
        self.ends = ends or ("rolled-back" if cls == "identity" else "trial")


def _connack(code, then=rough.bye):
    return {p.CONNECT: rough.connack(code, then)}


def _after_connack(then):
    return {p.CONNECT: rough.connack(0, then)}


def _answer(data, then=None):
    return {p.CONNECT: rough.sends(data, then)}


def _half(then):
    """The first two bytes of CONNACK."""
    return {p.CONNECT: rough.sends(b"\x20\x02", then)}


CATALOGUE = [
    # -- certificates that the broker refuses
    Row("unknown-ca", "strict", "identity", "tls.unknown_ca", "add the CA", new="stranger"),
    Row("self-signed", "strict", "identity", "tls.unknown_ca", "add the CA", new="self-signed"),
    Row("issued-by-a-leaf", "strict", "identity", "tls.*", "", new="by-a-leaf"),
    Row("intermediate-missing", "strict", "identity", "tls.unknown_ca", "add the CA", new="no-intermediate"),
    Row("intermediate-expired", "strict", "identity", "tls.certificate_expired", "reissued", new="old-intermediate"),
    Row("path-too-long", "strict", "identity", "tls.*", "", new="path-length"),
    Row("name-not-permitted", "strict", "identity", "tls.*", "", new="name-constraint"),
    Row("wrong-purpose", "strict", "identity", "tls.unsupported_certificate", "clientAuth", new="server-purpose"),
    Row("rsa-1024", "strict", "identity", "tls.bad_certificate", "key size", new="rsa1024"),
    Row("sha-1", "strict", "identity", "tls.bad_certificate", "signature", new="sha1"),
    Row("revoked", "crl", "identity", "tls.certificate_revoked", "reissued", new="revoked"),
    Row("crl-out-of-date", "stale-crl", "identity", "tls.certificate_expired", "", new="stale-crl"),
    Row("crl-missing", "stale-crl", "identity", "tls.*", "", new="no-crl"),
    Row("expired-there", "ahead", "identity", "tls.certificate_expired", "reissued", new="expires-soon"),
    Row("not-yet-valid-there", "behind", "identity", "tls.bad_certificate", "clock", new="begins-now"),
    # -- logins that the broker refuses
    Row("wrong-password", "login", "identity", "connack.*", "", profile="wrong-password"),
    Row("unknown-user", "login", "identity", "connack.*", "", profile="unknown-user"),
    Row("no-user", "login", "identity", "connack.not-authorized", "", profile="no-user"),
    # -- CONNACK
    Row("connack-1", "rough", "protocol", "connack.protocol-version", "version", rough=_connack(1), mqtt=V3),
    Row("connack-2", "rough", "identity", "connack.identifier-rejected", "client id", rough=_connack(2), mqtt=V3),
    Row("connack-3", "rough", "broker", "connack.server-unavailable", "tried again", rough=_connack(3), mqtt=V3),
    Row("connack-4", "rough", "identity", "connack.bad-user-or-password", "password", rough=_connack(4), mqtt=V3),
    Row("connack-5", "rough", "identity", "connack.not-authorized", "allowed", rough=_connack(5), mqtt=V3),
    Row("connack-6", "rough", "protocol", "connack.0x06", "report", rough=_connack(6), mqtt=V3),
    Row("connack-80", "rough", "identity", "connack.unspecified-error", "log", rough=_connack(0x80), mqtt=V5),
    Row("connack-81", "rough", "protocol", "connack.malformed-packet", "report", rough=_connack(0x81), mqtt=V5),
    Row("connack-82", "rough", "protocol", "connack.protocol-error", "report", rough=_connack(0x82), mqtt=V5),
    Row("connack-83", "rough", "identity", "connack.implementation-specific", "log", rough=_connack(0x83), mqtt=V5),
    Row("connack-84", "rough", "protocol", "connack.unsupported-*", "version", rough=_connack(0x84), mqtt=V5),
    Row("connack-85", "rough", "identity", "connack.client-identifier*", "client id", rough=_connack(0x85), mqtt=V5),
    Row("connack-86", "rough", "identity", "connack.bad-user-or-password", "password", rough=_connack(0x86), mqtt=V5),
    Row("connack-87", "rough", "identity", "connack.not-authorized", "allowed", rough=_connack(0x87), mqtt=V5),
    Row("connack-88", "rough", "broker", "connack.server-unavailable", "tried again", rough=_connack(0x88), mqtt=V5),
    Row("connack-89", "rough", "broker", "connack.server-busy", "tried again", rough=_connack(0x89), mqtt=V5),
    Row("connack-8a", "rough", "identity", "connack.banned", "ban", rough=_connack(0x8A), mqtt=V5),
    Row("connack-8c", "rough", "policy", "connack.bad-authentication-method", "method", rough=_connack(0x8C), mqtt=V5),
    Row("connack-90", "rough", "policy", "connack.topic-name-invalid", "limits", rough=_connack(0x90), mqtt=V5),
    Row("connack-95", "rough", "policy", "connack.packet-too-large", "limits", rough=_connack(0x95), mqtt=V5),
    Row("connack-97", "rough", "broker", "connack.quota-exceeded", "quota", rough=_connack(0x97), mqtt=V5),
    Row("connack-9a", "rough", "policy", "connack.retain-not-supported", "limits", rough=_connack(0x9A), mqtt=V5),
    Row("connack-9b", "rough", "policy", "connack.qos-not-supported", "limits", rough=_connack(0x9B), mqtt=V5),
    Row("connack-9c", "rough", "broker", "connack.use-another-server", "address", rough=_connack(0x9C), mqtt=V5),
    Row("connack-9d", "rough", "broker", "connack.server-moved", "address", rough=_connack(0x9D), mqtt=V5),
    Row("connack-9f", "rough", "broker", "connack.connection-rate*", "tried again", rough=_connack(0x9F), mqtt=V5),
    Row("connack-ff", "rough", "protocol", "connack.0xff", "report", rough=_connack(0xFF), mqtt=V5),
    # -- refusals without a word
    Row("closed-at-the-certificate", "rough", "identity", "*.closed", "log", rough={"tls": rough.cut}),
    Row("reset-at-the-certificate", "rough", "identity", "*.closed", "log", rough={"tls": rough.reset}),
    Row("silent-at-the-certificate", "rough", "identity", "*.timeout", "", rough={"tls": rough.mute}),
    Row("closed-at-connect", "rough", "identity", "connack.closed", "log", rough={p.CONNECT: rough.cut}),
    Row("goodbye-at-connect", "rough", "identity", "connack.closed", "log", rough={p.CONNECT: rough.bye}),
    Row("reset-at-connect", "rough", "identity", "connack.closed", "log", rough={p.CONNECT: rough.reset}),
    Row("silent-at-connect", "rough", "identity", "connack.timeout", "", rough={p.CONNECT: rough.mute}),
    Row("half-a-connack", "rough", "identity", "connack.timeout", "", rough=_half(rough.mute)),
    Row("half-a-connack-and-closed", "rough", "identity", "connack.closed", "log", rough=_half(rough.cut)),
    # -- accepted, and not kept
    Row("accepted-and-closed", "rough", "identity", "established.closed", "log", rough=_after_connack(rough.cut)),
    Row("accepted-and-reset", "rough", "identity", "established.closed", "log", rough=_after_connack(rough.reset)),
    Row("accepted-and-silent", "rough", "identity", "established.timeout", "log", rough=_after_connack(rough.mute)),
    Row("accepted-and-not-authorized", "rough", "identity", "disconnect.not-authorized", "allowed",
        rough=_after_connack(rough.disconnect(0x87)), mqtt=V5),
    Row("accepted-and-garbage", "rough", "identity", "mqtt.malformed", "log",
        rough=_after_connack(rough.sends(b"\xff\xff\xff\xff\xff\xff"))),
    Row("connack-twice", "rough", "identity", "mqtt.malformed", "log",
        rough=_after_connack(lambda peer: rough.connack(0)(peer))),
    # -- accepted, but not authorised
    Row("may-not-write", "acl", "identity", "evidence.*", "allow", may=["read ECHO", "write from/#"], evidence="echo"),
    Row("may-not-read", "acl", "identity", "evidence.no-echo", "allow", may=["write ECHO", "write from/#"],
        evidence="echo"),
    Row("may-nothing", "acl", "identity", "evidence.*", "", may=[], evidence="echo"),
    Row("may-not-publish-its-own", "acl", "identity", "evidence.publish-not-authorized", "", may=["readwrite ECHO"], mqtt=V5),
    Row("swallowed", "rough", "identity", "evidence.no-echo", "allow", rough={}, evidence="echo"),
    Row("never-acknowledged", "rough", "identity", "evidence.*", "", rough={p.PUBLISH: lambda peer, body: None},
        evidence="echo"),
    Row("suback-80", "rough", "identity", "evidence.*", "", evidence="echo",
        rough={p.SUBSCRIBE: lambda peer, body: peer.send(p.packet(
            p.SUBACK, 0, body[:2] + (b"\0" if peer.version == 5 else b"") + b"\x80"))}, mqtt=(4, 5)),
    Row("puback-87", "rough", "identity", "evidence.*", "", mqtt=V5, rough={
        p.PUBLISH: lambda peer, body: peer.send(p.packet(
            p.PUBACK, 0, body[2 + body[1]:4 + body[1]] + b"\x87\0"))}),
    Row("closed-when-it-subscribes", "rough", "identity", "established.closed", "log", rough={p.SUBSCRIBE: rough.cut},
        evidence="echo"),
    # -- not MQTT
    Row("garbage-for-connack", "rough", "protocol", "mqtt.*", "MQTT broker", rough=_answer(b"\xff" * 9, rough.bye)),
    Row("pingresp-for-connack", "rough", "protocol", "mqtt.no-connack", "MQTT broker", rough=_answer(b"\xd0\0")),
    Row("publish-for-connack", "rough", "protocol", "mqtt.no-connack", "MQTT broker",
        rough=_answer(p.packet(p.PUBLISH, 0, p.text("t") + b"x"), rough.bye), mqtt=V3),
    Row("http-for-connack", "rough", "protocol", "mqtt.*", "MQTT broker",
        rough=_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n", rough.bye)),
    # -- alerts that no certificate of ours brings about; before the server's Finished TLS 1.2 sends them in the open
    Row("alert-40", "rough", "identity", "tls.handshake_failure", "TLS settings", rough={"tls": rough.says(40)},
        tls=("1.2",)),
    Row("alert-46", "rough", "identity", "tls.certificate_unknown", "log", rough={"tls": rough.says(46)}, tls=("1.2",)),
    Row("alert-49", "rough", "identity", "tls.access_denied", "allowed", rough={"tls": rough.says(49)}, tls=("1.2",)),
    Row("alert-51", "rough", "identity", "tls.decrypt_error", "one pair", rough={"tls": rough.says(51)}, tls=("1.2",)),
    Row("alert-80", "rough", "broker", "tls.internal_error", "tried again", rough={"tls": rough.says(80)}, tls=("1.2",)),
    Row("alert-20", "rough", "protocol", "tls.bad_record_mac", "report", rough={"tls": rough.says(20)}, tls=("1.2",)),
    # -- TLS 1.3 tells after CONNECT is on its way, and a reset may eat it
    Row("late-alert", "late", "identity", "tls.unknown_ca", "add the CA", new="stranger", tls=("1.3",)),
    Row("late-alert-reset", "late-reset", "identity", "*", "", new="stranger", tls=("1.3",)),
    # -- the new identity's profile leads elsewhere
    Row("nobody-listens", "strict", "network", "tcp.refused", "address", profile="refused"),
    Row("no-such-name", "strict", "network", "dns.failed", "name", profile="no-such-name"),
    Row("server-of-a-stranger", "strict", "trust", "trust.*", "", profile="stranger-server"),
    Row("server-expired", "strict", "trust", "trust.expired", "renewed", profile="expired-server"),
    Row("server-self-signed", "strict", "trust", "trust.self-signed", "fingerprint", profile="self-signed-server"),
    Row("server-of-another-name", "strict", "trust", "trust.name-mismatch", "server_name", profile="other-name"),
    Row("server-with-a-clients-purpose", "strict", "trust", "trust.invalid-purpose", "serverAuth", profile="client-server"),
    Row("no-common-tls", "strict", "policy", "tls.protocol_version", "TLS settings", profile="other-tls"),
    Row("plain-mqtt", "strict", "network", "tls.*", "TLS", profile="plain-mqtt"),
    Row("ssh-banner", "strict", "policy", "tls.not-tls", "TLS settings", profile="banner"),
    Row("closed-at-hello", "strict", "network", "tls.no-server", "TLS", profile="hello-closed"),
    Row("reset-at-hello", "strict", "network", "tls.no-server", "TLS", profile="hello-reset"),
    Row("silent-at-hello", "strict", "network", "tls.timeout", "TLS", profile="hello-silent"),
    Row("alpn", "strict", "policy", "tls.no_application_protocol", "alpn", profile="hello-alert-120"),
    Row("sni", "strict", "policy", "tls.unrecognized_name", "sni", profile="hello-alert-112"),
    Row("no-cipher", "strict", "policy", "tls.handshake_failure", "TLS settings", profile="hello-alert-40"),
    Row("firewall-says-unknown-ca", "strict", "suspect", "tls.refused-early", "between", profile="hello-alert-48"),
    # 5.0 alone: mosquitto 2.0.11 loses count where a clean 3.x session is wiped first.
    Row("connections-used-up", "full", "network", "tls.no-server", "between", new="own", mqtt=V5),
    # -- and some that are fine: the catalogue can tell
    Row("good-echo", "acl", None, "", "", may=["readwrite ECHO", "write from/#"], evidence="echo", ends="committed"),
    Row("good", "rough", None, "", "", new="own", ends="committed"),
    Row("good-at-mosquitto", "crl", None, "", "", new="own", ends="committed"),
]

# Known before anything is dialled: the command is refused.
BEFOREHAND = [
    ("expired", "expired on"),
    ("future", "not valid before"),
    ("wrong-key", "key"),
    ("no-key", "key"),
    ("garbage", "chain"),
]

CASES = [(row, tls, version) for row in CATALOGUE for tls in row.tls for version in row.mqtt]


def _case(row, tls, version):
    return "%s-%s-v%d" % (row.name, tls.replace(".", ""), version)


def _mixed(cases):
    """Where more than a fifth of the latest flips fail by network or load, the gateway takes it for an outage and waits: so
    those rows are spread evenly among the others."""
    heavy = [c for c in cases if c[0].cls in ("network", "broker") or c[0].diag.endswith("timeout")]
    light = sorted((c for c in cases if c not in heavy), key=lambda c: c[0].ends != "committed")
    step = len(light) / len(heavy)
    order = []
    for i, case in enumerate(heavy):
        order += light[round(i * step):round((i + 1) * step)] + [case]
    return order


class Authorities:
    """Who issues the candidates."""

    def __init__(self, folder, pki):
        self.folder, self.pki = folder, pki
        new = pki.new
        self.unsent = Authority(folder, "Intermediate that is not sent", parent=new)
        self.lapsed = Authority(folder, "Lapsed intermediate", parent=new, days=20, at="-60d")
        self.lapsed.at = None
        self.narrow = Authority(folder, "Narrow CA", extensions=["basicConstraints=critical,CA:TRUE,pathlen:0"])
        self.below = Authority(folder, "CA below the narrow one", parent=self.narrow)
        self.fenced = Authority(folder, "Fenced intermediate", parent=new,
                                extensions=["nameConstraints=critical,permitted;DNS:inside.example"])
        self.stale = Authority(folder, "CA with a stale CRL")
        self.crlless = Authority(folder, "CA without a CRL")
        self.ancient = Authority(folder, "Ancient CA", at="-3000d", days=20000)
        leaf = pki.old.issue("no-authority", "/O=Plant/CN=no-authority", CLIENT)
        self.leaf = Authority(folder, "A leaf", made=leaf)
        self.revoked = []

    def anchors(self):
        pki = self.pki
        return pki.bundle(pki.old, pki.new, self.narrow, self.stale, self.crlless, self.ancient, name="catalogue.pem")

    def crls(self, *authorities, stale=()):
        path = os.path.join(self.folder, "crls-%d.pem" % len(authorities))
        with open(path, "w", encoding="ascii") as out:
            for ca in (*authorities, *stale):
                with open(ca.revoke(*[r for r in self.revoked if r.issuer is ca], at="-90d" if ca in stale else None),
                          encoding="ascii") as f:
                    out.write(f.read())
        return path

    def old(self, device, broker):
        """The old identity: of an age that every clock here accepts, where clocks differ."""
        if broker in ("ahead", "behind"):
            return self.ancient.issue(device + "-old", "/O=Plant/OU=old/CN=" + device, CLIENT, days=10000)
        return self.pki.identity(device, "old")

    def new(self, device, kind):
        subject, new = "/O=Plant/OU=new/CN=" + device, self.pki.new
        name = device + "-new"
        if kind == "stranger":
            return self.pki.stranger.issue(name, subject, CLIENT)
        if kind == "self-signed":
            return Authority(self.folder, "Self " + device, subject=subject, extensions=CLIENT[1:]).pair()
        if kind == "by-a-leaf":
            return self.leaf.issue(name, subject, CLIENT)
        if kind == "no-intermediate":
            return self.unsent.issue(name, subject, CLIENT, chain=False)
        if kind == "old-intermediate":
            return self.lapsed.issue(name, subject, CLIENT)
        if kind == "path-length":
            return self.below.issue(name, subject, CLIENT)
        if kind == "name-constraint":
            return self.fenced.issue(name, subject, CLIENT + ["subjectAltName=DNS:outside.example"])
        if kind == "server-purpose":
            return new.issue(name, subject, ["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth"])
        if kind == "rsa1024":
            return new.issue(name, subject, CLIENT, kind="rsa1024")
        if kind == "sha1":
            return new.issue(name, subject, CLIENT, more=["-sha1"])
        if kind == "stale-crl":
            return self.stale.issue(name, subject, CLIENT)
        if kind == "no-crl":
            return self.crlless.issue(name, subject, CLIENT)
        if kind == "expires-soon":
            return self.ancient.issue(name, subject, CLIENT, days=3000 + 400)
        if kind == "begins-now":
            return self.ancient.issue(name, subject, CLIENT, at=None)
        pair = self.pki.identity(device, "new")
        if kind == "revoked":
            pair.issuer = new
            self.revoked.append(pair)
        return pair


class Catalogue:
    """One run of all rows, and what came of it."""

    def __init__(self, folder, pki, reactor):
        self.folder = str(folder)
        self.pki = pki
        self.reactor = reactor
        self.ca = Authorities(os.path.join(self.folder, "ca"), pki)
        self.ends = []      # to be called at the end, the last one first
        self.brokers = {}
        self.upstreams = {}
        self.rules = []
        self.clients = {}
        self.outcome = {}
        self.lines = {}

    def keep(self, thing):
        self.ends.append(thing.stop)
        return thing.start()

    def stop(self):
        for client in self.clients.values():
            client.cut()
        for end in reversed(self.ends):
            end()

    # -- brokers, and profiles that lead to them

    def mosquitto(self, name, **options):
        options.setdefault("anchors", self.ca.anchors())
        self.brokers[name] = Mosquitto(os.path.join(self.folder, name), self.pki, **options)

    def access(self):
        """The old identities may do everything, the new ones what their row says."""
        text = "topic readwrite #\n"
        for row, tls, version in CASES:
            if row.may is not None:
                device = _case(row, tls, version)
                text += "user CN=%s,OU=old,O=Plant\ntopic readwrite #\nuser CN=%s,OU=new,O=Plant\n" % (device, device)
                text += "".join("topic %s\n" % line.replace("ECHO", "certflip/echo/" + device) for line in row.may)
        return text

    def make_brokers(self):
        pki, ca, f = self.pki, self.ca, self.folder
        passwords = os.path.join(f, "passwords")
        with open(passwords, "w", encoding="ascii") as out:
            out.write("sensor:right\n")
        subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
        os.chmod(passwords, 0o600)
        self.mosquitto("strict")
        self.mosquitto("crl", anchors=pki.both(), crl=ca.crls(pki.old, pki.new))
        self.mosquitto("stale-crl", crl=ca.crls(pki.old, stale=[ca.stale]))
        self.mosquitto("acl", acl=self.access())
        self.mosquitto("ahead", clock="+800d")
        self.mosquitto("behind", clock="-800d")
        self.mosquitto("full", listener_extra="max_connections %d" % sum(r.broker == "full" for r, _, _ in CASES))
        self.mosquitto("login", extra="per_listener_settings true", name_from=None,
                       listener_extra="allow_anonymous false\npassword_file " + passwords)
        rows = {_case(r, t, v): r.rough for r, t, v in CASES if r.rough is not None}
        self.brokers["rough"] = rough.RoughBroker(pki, rows)
        # These read the client's certificate only when CONNECT is there, or with CONNECT left unread.
        self.brokers["late"] = rough.RoughBroker(pki, anchors=pki.old.cert, slow=0.6)
        self.brokers["late-reset"] = rough.RoughBroker(pki, anchors=pki.old.cert, slow=0.6, unread=True)
        for broker in self.brokers.values():
            self.keep(broker)

    def server(self, **options):
        return self.keep(rough.RoughBroker(self.pki, **options))

    def elsewhere(self, profile, tls):
        """The upstream of a new identity that leads to another place than the old one's."""
        pki, sca = self.pki, self.pki.server_ca
        subject = "/O=Plant/CN=localhost"
        if profile in ("wrong-password", "unknown-user", "no-user"):
            login = {"wrong-password": ("sensor", "wrong"), "unknown-user": ("nobody", "right"), "no-user": ("", "")}
            return {"port": self.brokers["login"].tls_port, "username": login[profile][0], "password": login[profile][1]}
        if profile == "no-such-name":
            return {"address": "no-such-host.invalid", "port": 8883}
        if profile == "refused":
            return {"port": free_port()}
        if profile == "plain-mqtt":
            return {"port": self.brokers["strict"].port}
        if profile == "stranger-server":
            server = {"server": pki.server(ca=pki.stranger)}
        elif profile == "expired-server":
            server = {"server": sca.issue("server-expired", subject, SERVER, days=30, at="-400d")}
        elif profile == "self-signed-server":
            server = {"server": Authority(self.ca.folder, "Self server", subject=subject, extensions=SERVER[1:]).pair()}
        elif profile == "other-name":
            server = {"server": sca.issue("server-other", "/O=Plant/CN=other", [*SERVER[:2], "subjectAltName=DNS:other"])}
        elif profile == "client-server":
            server = {"server": sca.issue("server-client", subject, [SERVER[0], CLIENT[1], SERVER[2]])}
        elif profile == "other-tls":
            server = {"version": ssl.TLSVersion.TLSv1_3 if tls == "1.2" else ssl.TLSVersion.TLSv1_2}
        elif profile == "banner":
            server = {"at_hello": lambda peer: peer.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")}
        elif profile == "hello-closed":
            server = {"at_hello": rough.cut}
        elif profile == "hello-reset":
            server = {"at_hello": rough.reset}
        elif profile == "hello-silent":
            server = {"at_hello": rough.mute}
        else:
            server = {"at_hello": rough.says(int(profile.rsplit("-", 1)[1]))}
        return {"port": self.server(**server).tls_port}

    def upstream(self, name, tls, port=None, **keys):
        name = "%s-%s" % (name, tls.replace(".", ""))
        if name not in self.upstreams:
            self.upstreams[name] = {
                "name": name, "address": "127.0.0.1", "server_name": "localhost", "port": port,
                "anchors": [self.pki.server_ca.cert], "tls_min": tls, "tls_max": tls, "connect_timeout_ms": 3000,
                "connack_timeout_ms": 2000, "drain_timeout_ms": 2000, "barrier_timeout_ms": 2000,
                "accept_wait_ms": 200, "echo_timeout_ms": 1500, **keys}
        return name

    # -- the run

    def make_gateway(self):
        for row in CATALOGUE:
            for tls in row.tls:
                login = {"username": "sensor", "password": "right"} if row.broker == "login" else {}
                rule = {"name": "{client_id}", "match": {"client_id": _case(row, tls, 0)[:-1] + "*"},
                        "upstream": self.upstream(row.broker, tls, self.brokers[row.broker].tls_port, **login)}
                if row.profile:
                    known = "%s-%s" % (row.profile, tls.replace(".", "")) in self.upstreams
                    rule["upstream_new"] = self.upstream(row.profile, tls,
                                                         **({} if known else self.elsewhere(row.profile, tls)))
                self.rules.append(rule)
        self.rules.append({"name": "{client_id}", "match": {"client_id": "beforehand-*"},
                           "upstream": self.upstream("strict", "1.3")})
        self.gateway = Certflipd(os.path.join(self.folder, "gateway"), self.pki, None, rules=self.rules,
                                 upstreams=list(self.upstreams.values()),
                                 flip={"probation_s": 10, "concurrent": 64, "jitter_ms": 0, "backoff_tls_s": [3, 6],
                                       "backoff_network_s": [1, 2]})

    def make_identities(self):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            pairs = {}
            for row, tls, version in CASES:
                device = _case(row, tls, version)
                pairs[device] = (pool.submit(self.ca.old, device, row.broker),
                                 pool.submit(self.ca.new, device, "revoked" if row.name == "revoked" else row.new))
            self.pairs = {d: (a.result(), b.result()) for d, (a, b) in pairs.items()}

    def begin(self):
        self.make_identities()
        self.make_brokers()
        self.make_gateway()
        for device, (old, new) in self.pairs.items():
            self.gateway.install(device, old, new)
        for kind, _ in BEFOREHAND:
            self.install_beforehand(kind)
        self.gateway.start()
        self.ends.append(self.gateway.stop)
        for row, tls, version in CASES:
            device = _case(row, tls, version)
            # Some have a Will: they take the other way of switching.
            will = ("will/" + device, "gone", 0, False) if version == 4 and tls == "1.3" else None
            self.connect(device, version, will=will)
        for kind, _ in BEFOREHAND:
            self.connect("beforehand-" + kind, 4)

    def install_beforehand(self, kind):
        device = "beforehand-" + kind
        self.gateway.install(device, new={"expired": self.pki.expired, "future": self.pki.future}[kind](device, "new")
                             if kind in ("expired", "future") else True)
        folder = os.path.join(self.gateway.identities, device, "new")
        if kind == "wrong-key":
            shutil.copy(self.pki.identity(device, "old").key, os.path.join(folder, "key.pem"))
        elif kind == "no-key":
            os.unlink(os.path.join(folder, "key.pem"))
        elif kind == "garbage":
            with open(os.path.join(folder, "chain.pem"), "w", encoding="ascii") as f:
                f.write("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")

    def connect(self, device, version, **options):
        client = Client(self.reactor, ("127.0.0.1", self.gateway.plain_port), None, version)
        self.clients[device] = client
        client.connect(device, keepalive=60, timeout=30, **options)

    def publish_all(self):
        for device, client in self.clients.items():
            if not client.ended:
                client.publish("from/" + device, "x", 1, wait=False)

    def done(self, row, device):
        """Has it come to an end?  What is on trial has to fail at least twice."""
        state = self.outcome[device] = self.gateway.device(device)
        if row.ends == "trial":
            return len(self.gateway.log.find(r"uplink-failed device=%s slot=new" % device)) >= 2
        return state["phase"] in ("rolled-back", "committed")

    def play(self):
        self.begin()
        self.publish_all()
        for case in _mixed(CASES):
            # What is told here is what the broker says: lint would have refused some of them before.
            self.gateway.flip(_case(*case), evidence=case[0].evidence, force=True)
        waiting = {_case(*case): case[0] for case in CASES}
        end, tick = time.monotonic() + seconds(75), 0
        while waiting and time.monotonic() < end:
            waiting = {d: row for d, row in waiting.items() if not self.done(row, d)}
            tick += 1
            if tick % 4 == 0:
                self.publish_all()
            time.sleep(0.25)
        self.publish_all()
        for client in self.clients.values():
            if not client.ended:
                try:
                    client.finished(timeout=5)
                except (Late, ConnectionError):
                    pass  # the tests of its row say so
        self.settle()

    def settle(self):
        """What the tests look at."""
        for line in self.gateway.log.text().splitlines():
            found = re.search(r"\bdevice=(\S+)", line)
            if found:
                self.lines.setdefault(found[1], []).append(line)
        for row, tls, version in CASES:
            self.outcome[_case(row, tls, version)] = self.gateway.device(_case(row, tls, version))


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory, pki, reactor):
    run = Catalogue(tmp_path_factory.mktemp("catalogue"), pki, reactor)
    try:
        run.play()
        yield run
    finally:
        run.stop()


def _failures(lines):
    found = [re.search(r"(?:uplink-(?:failed|lost)|evidence-refused) device=\S+ slot=new class=(\S+) cause=(\S+)", line)
             for line in lines]
    return [(m[1], m[2]) for m in found if m]


@pytest.mark.parametrize("row,tls,version", CASES, ids=[_case(*c) for c in CASES])
def test_the_candidate(catalogue, row, tls, version):
    device = _case(row, tls, version)
    state, lines, client = catalogue.outcome[device], catalogue.lines.get(device, []), catalogue.clients[device]
    story = "\n".join(lines)
    assert not client.ended, "the device was disconnected:\n" + story
    assert not client.faults, client.faults
    assert not client.inflight, "its publishes were not acknowledged:\n" + story
    assert state["phase"] == row.ends, story
    committed = [l for l in lines if re.search(r"\bto=committed", l)]
    assert bool(committed) == (row.ends == "committed"), story
    if row.ends == "committed":
        return
    error = state["last_error"]
    wrong = "%s %s, not %s %s\n%s" % (error["class"], error["name"], row.cls, row.diag, story)
    assert error["message"] and error["remedy"], wrong
    assert error["slot"] == "new" or row.ends == "trial", wrong
    seen = _failures(lines)
    assert any(c == row.cls and fnmatch.fnmatch(n, row.diag) for c, n in seen), wrong
    if error["slot"] == "new":
        assert error["class"] == row.cls and fnmatch.fnmatch(error["name"], row.diag), wrong
        assert row.remedy in error["remedy"], error["remedy"]
    if row.ends == "rolled-back":
        assert state["active"] == "old" and state["reason"], story
    # Its traffic goes out with the old identity.
    broker = catalogue.brokers[row.broker]
    if isinstance(broker, Mosquitto):
        assert "OU=old" in (broker.user(device) or "") or row.broker == "login", broker.seen(device)
    else:
        assert broker.live[device].slot == "old", story


@pytest.mark.parametrize("kind,word", BEFOREHAND)
def test_the_candidate_is_known_to_be_bad(catalogue, kind, word):
    device = "beforehand-" + kind
    with pytest.raises(Refused) as refused:
        catalogue.gateway.flip(device)
    assert refused.value.name == ("lint" if kind in ("expired", "future") else "no-identity")
    assert word in refused.value.error["message"]
    assert catalogue.gateway.device(device)["active"] == "old"
    assert "OU=old" in catalogue.brokers["strict"].user(device)
    assert not catalogue.clients[device].ended


def test_there_are_forty_and_more():
    assert len([r for r in CATALOGUE if r.ends != "committed"]) + len(BEFOREHAND) >= 40
