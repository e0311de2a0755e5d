"""A resumed TLS session carries the identity of the connection that began it, silently: no leg ever resumes one.

Sensors and brokers try: with session identifiers, with tickets, with the pre-shared keys of TLS 1.3; with the session of
another device and a certificate of one's own.  Then a soak of random devices, flips, rollbacks and reconnects, after which
the broker's log has to name the intended identity every single time.
"""

import collections
import os
import random
import re
import socket
import ssl
import subprocess
import time

import pytest

from lib import packets as p
from lib.broker import Mosquitto
from lib.gateway import sanitizer
from lib.mqtt import Client, tls_context
from lib.scripted import ScriptedBroker
from lib.wait import seconds, until

SITE = {"devices": ["dev-%02d" % i for i in range(1, 21)]}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def connect(site, device, ctx, session=None, port=None, clean=True):
    """CONNECT as a sensor; returns the connected socket, its CONNACK being here."""
    sock = ctx.wrap_socket(socket.create_connection(("127.0.0.1", port or site.gateway.port), seconds(10)),
                           server_hostname="localhost", session=session)
    sock.sendall(p.connect(device, 4, clean=clean))
    assert sock.recv(4)[:2] == b"\x20\x02"
    return sock


# -- sensors


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sensor_cannot_resume_its_session(site, version):
    device = site.fresh()
    ctx = tls_context(site.pki.server_ca.cert, site.pki.sensor(device), VERSIONS[version])
    with connect(site, device, ctx) as sock:
        session = sock.session
        assert session is None or not (session.has_ticket or session.id) or version == "1.3"
        assert session is None or not session.has_ticket
    for _ in range(2):
        with connect(site, device, ctx, session) as sock:
            assert not sock.session_reused


@pytest.mark.parametrize("version", VERSIONS)
def test_the_session_of_another_device_is_worth_nothing(site, version):
    """Whose certificate is shown in this handshake counts, and nothing else."""
    first, second = site.fresh(), site.fresh()
    ctx = tls_context(site.pki.server_ca.cert, site.pki.sensor(first), VERSIONS[version])
    with connect(site, first, ctx) as sock:
        session = sock.session
    pair = site.pki.sensor(second)
    ctx.load_cert_chain(pair.chain, pair.key)
    with connect(site, second, ctx, session) as sock:
        assert not sock.session_reused
    assert site.gateway.log.find(r"session-begun device=%s " % second)
    assert "CN=%s," % second in site.broker.user(second) + ","


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_the_broker_is_no_session_here(site, version):
    """What the gateway never gave out, but a client offers (a ticket, a pre-shared key): the handshake is a full one."""
    device = site.fresh()
    ctx = tls_context(site.pki.server_ca.cert, site.pki.sensor(device), VERSIONS[version])
    with connect(site, "thief", ctx, port=site.broker.tls_port) as sock:
        session = sock.session
    assert session.has_ticket
    with connect(site, "thief", ctx, session, site.broker.tls_port) as sock:
        assert sock.session_reused  # there it is one
        session = sock.session
    with connect(site, device, ctx, session) as sock:
        assert not sock.session_reused
    assert site.broker.slot(device) == "old"


@pytest.mark.parametrize("flags", [["-tls1_2"], ["-tls1_2", "-no_ticket"], ["-tls1_3"]], ids=" ".join)
def test_openssl_has_nothing_to_resume(site, tmp_path, flags):
    """No ticket is offered, no session identifier given; what was kept all the same is not taken."""
    device = site.fresh()
    pair = site.pki.sensor(device)
    kept = tmp_path / "session.pem"
    command = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.gateway.port, "-CAfile",
               site.pki.server_ca.cert, "-cert", pair.chain, "-key", pair.key, *flags]

    def run(*more):
        # CONNECT, and CONNACK behind it: whatever the server sends after the handshake has come.
        with subprocess.Popen([*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as client:
            client.stdin.write(p.connect(device, 4))
            client.stdin.flush()
            out = b""
            while b"\x20\x02\x00\x00" not in out:
                got = client.stdout.read1()
                assert got, out
                out += got
            client.stdin.close()
            out += client.stdout.read()
            assert client.wait(seconds(10)) == 0
        return out.decode(errors="replace")

    text = run("-sess_out", str(kept))
    assert "New, TLSv1" in text and "TLS session ticket" not in text
    assert re.search(r"^ *Session-ID: *$", text, re.M) or flags == ["-tls1_3"]
    if kept.exists():
        text = run("-sess_in", str(kept))
        assert "New, TLSv1" in text and "Reused, " not in text


# -- brokers


def resuming_broker(pki, version):
    """A broker that would gladly resume: tickets on, sessions kept; it notes whether one was."""
    return ScriptedBroker(pki, version=VERSIONS[version])


@pytest.mark.parametrize("version", VERSIONS)
def test_no_connection_to_a_broker_is_resumed(plant, pki, version):
    """Reconnects, a flip, a rollback, a lost connection: each of them a full handshake with the certificate meant."""
    with resuming_broker(pki, version) as broker:
        # It does resume, for a client that asks for it: else this test would prove nothing.
        control = pki.sensor("control")
        ctx = tls_context(pki.server_ca.cert, control, VERSIONS[version])
        session = None
        for reused in (False, True):
            with ctx.wrap_socket(socket.create_connection(("127.0.0.1", broker.tls_port)),
                                 server_hostname="localhost", session=session) as sock:
                sock.sendall(p.connect("control", 4))
                assert sock.recv(4) == b"\x20\x02\x00\x00"
                assert sock.session_reused == reused
                session = sock.session
        before = len(broker.connections)
        site = plant(["res-1"], broker=broker)

        def seen():
            return broker.connections[before:]

        def wait_more(slot, after):
            until(lambda: "a connection as %s after the first %d: %s" % (slot, after, [c.slot for c in seen()]),
                  lambda: any(c.slot == slot for c in seen()[after:]))

        client = site.connect("res-1")
        at = len(seen())
        client.disconnect()
        wait_more("old", at)  # it clears what the sensor left; a sensor that is back first does that itself
        at = len(seen())
        client = site.connect("res-1")
        wait_more("old", at)
        assert site.gateway.flip("res-1", probation_s=3600)["done"] == 1
        wait_more("new", at)
        site.gateway.wait_device("res-1", phase="trial", active="new", waiting="probation")
        at = len(seen())
        assert site.gateway.rollback("res-1")["done"] == 1
        wait_more("old", at)
        site.gateway.wait_device("res-1", phase="rolled-back", active="old")
        at = len(seen())
        seen()[-1].end()  # the connection is lost, and made anew
        wait_more("old", at)
        slots = [c.slot for c in seen()]
        assert re.fullmatch("(old ){3,}(new )+(old ){2,}", " ".join(slots) + " "), slots
        for number, connection in enumerate(seen()):
            assert not connection.resumed, "connection %d was resumed" % number
            assert connection.subject.get("commonName") == "res-1"
        client.disconnect()


# -- the soak


class Watch:
    """The broker's log, read on: whom it has accepted, as (client id, CN, slot)."""

    LINE = re.compile(rb"New client connected from \S+ as (\S+) \(.*?u'([^']*)'")

    def __init__(self, broker):
        self.file = open(broker.log.path, "rb")  # closed by whoever made it
        self.rest = b""
        self.total = 0
        self.last = {}  # client id -> slot
        self.fresh = collections.defaultdict(list)  # client id -> slots since take()

    def read(self):
        text = self.rest + self.file.read()
        whole, _, self.rest = text.rpartition(b"\n")
        for client_id, user in self.LINE.findall(whole):
            if client_id == b"thief":
                continue
            client_id, user = client_id.decode(), dict(part.split("=", 1) for part in user.decode().split(","))
            assert user["CN"] == client_id, "the broker saw %s as %s" % (client_id, user)
            self.total += 1
            self.last[client_id] = user["OU"]
            self.fresh[client_id].append(user["OU"])

    def take(self):
        self.read()
        fresh, self.fresh = self.fresh, collections.defaultdict(list)
        return fresh


class Soak:
    """Devices on a plaintext listener and on one with TLS, whose connections to a broker with tickets carry what is meant."""

    def __init__(self, site, rng):
        self.site, self.rng = site, rng
        self.watch = Watch(site.broker)
        self.meant = {d: "old" for d in site.devices}
        self.staged = set(site.devices)  # may be flipped at once
        self.clients = {}
        self.sessions = []  # TLS sessions of any sensor, and of the broker, to be tried with any certificate
        self.resumable = tls_context(site.pki.server_ca.cert, site.pki.sensor(site.devices[0]))
        self.tried = 0

    def reconnect(self, devices):
        """Each of them anew, all at once; the former connection may be there still, closed, cut or reset.

        Their sessions last: behind one that does not, the gateway comes once more to clear it, when it likes.
        """
        for device in devices:
            former = self.clients.pop(device, None)
            if former is not None:
                self.rng.choice((former.disconnect, former.cut, former.reset, lambda: None))()
            client = self.clients[device] = Client(self.site.reactor, ("127.0.0.1", self.site.gateway.plain_port))
            client.open(wait=False)
        for device in devices:
            client = self.clients[device].opened(30)
            client.send_raw(client.connect_packet(device, keepalive=0, clean=False))
        for device in devices:
            self.clients[device].connack(30)

    def resume(self, device):
        """Over TLS, with this device's certificate and a session of another one, or one that the broker gave."""
        if self.rng.random() < 0.5:
            with connect(self.site, "thief", self.resumable, port=self.site.broker.tls_port) as sock:
                self.sessions.append(sock.session)
        pair = self.site.pki.sensor(device)
        self.resumable.load_cert_chain(pair.chain, pair.key)
        former = self.clients.pop(device, None)
        if former is not None:
            former.disconnect()
        with connect(self.site, device, self.resumable, self.rng.choice(self.sessions or [None]),
                     clean=False) as sock:
            assert not sock.session_reused
            if sock.session is not None:
                self.sessions = (self.sessions + [sock.session])[-16:]
            self.tried += 1

    def flip_some(self):
        """Random flips, rollbacks and pardons, each of one command; returns who is meant to move where."""
        gateway, moved = self.site.gateway, {}
        online = sorted(self.clients)
        go = [d for d in online if self.meant[d] == "old" and d in self.staged and self.rng.random() < 0.4]
        back = [d for d in online if self.meant[d] == "new" and self.rng.random() < 0.5]
        pardoned = [d for d in self.site.devices if self.meant[d] == "old" and d not in self.staged]
        if go:
            assert gateway.flip(go, probation_s=3600)["done"] == len(go)
        if back:
            assert gateway.rollback(back)["done"] == len(back)
        if pardoned:
            gateway.rpc("quarantine.clear", target=pardoned)
        self.staged = (self.staged | set(pardoned)) - set(go) - set(back)
        moved.update({d: "new" for d in go})
        moved.update({d: "old" for d in back})
        self.meant.update(moved)
        return moved

    def settle(self, moved):
        """Until the broker has seen everybody with the identity meant; then nobody may have been seen otherwise."""
        def so():
            self.watch.read()
            return all(self.watch.last.get(d) == slot for d, slot in moved.items())
        until(lambda: "as meant: %s" % {d: (s, self.watch.last.get(d)) for d, s in moved.items()
                                        if self.watch.last.get(d) != s}, so, 60, 0.02)

    def judge(self):
        for device, slots in self.watch.take().items():
            assert set(slots) == {self.meant[device]}, "%s is meant to be %s, the broker saw %s" % (
                device, self.meant[device], slots)

    def round(self):
        self.reconnect(self.rng.sample(self.site.devices, len(self.site.devices)))
        self.settle(self.meant)
        self.judge()
        moved = self.flip_some()
        self.settle(moved)
        self.judge()
        for device in self.rng.sample(self.site.devices, 2):
            self.resume(device)
        self.settle(self.meant)
        self.judge()

    def lose_the_broker(self):
        """It comes back without a ticket key and without a session; everybody returns to it as before."""
        self.reconnect(self.site.devices)
        self.settle(self.meant)
        self.judge()
        self.site.broker.restart()
        until(lambda: "all are back: %d" % len(self.watch.fresh),
              lambda: self.watch.read() or len(self.watch.fresh) == len(self.site.devices), 60, 0.02)
        self.judge()

    def end(self):
        self.watch.file.close()
        for client in self.clients.values():
            client.cut()


@pytest.mark.slow
def test_the_broker_sees_the_intended_identity_every_single_time(plant, pki, tmp_path):
    """CERTFLIP_RESUME_CONNECTIONS=1000000 is the long one, CERTFLIP_RESUME_SEED plays one again."""
    wanted = int(os.environ.get("CERTFLIP_RESUME_CONNECTIONS", "2000" if sanitizer() == "tsan" else "10000"))
    seed = int(os.environ.get("CERTFLIP_RESUME_SEED", random.randrange(1 << 32)))
    print("CERTFLIP_RESUME_SEED=%d" % seed)
    broker = Mosquitto(tmp_path / "broker", pki, extra="set_tcp_nodelay true")
    devices = ["soak-%s-%02d" % (version, i) for version in ("12", "13") for i in range(50)]
    with broker:
        site = plant(devices, start=False, broker=broker, rules=[
            {"name": "{cn}", "match": {"listener": "tls", "cn": "soak-12-*"}, "upstream": "broker12"},
            {"name": "{cn}", "match": {"listener": "tls"}, "upstream": "broker"},
            {"name": "{client_id}", "match": {"listener": "plain", "client_id": "soak-12-*"}, "upstream": "broker12"},
            {"name": "{client_id}", "match": {"listener": "plain"}, "upstream": "broker"}])
        conf = site.gateway.conf
        conf["upstreams"].append({**conf["upstreams"][0], "name": "broker12", "tls_max": "1.2"})
        conf["limits"]["connections_per_source"] = 1000
        conf["flip"].update(concurrent=100, jitter_ms=0)
        conf["log"]["levels"][0]["level"] = "warn"
        site.__enter__()
        soak = Soak(site, random.Random(seed))
        begun = time.monotonic()
        try:
            for restart in (wanted / 3, wanted * 2 / 3, None):
                while soak.watch.total < (restart or wanted):
                    soak.round()
                if restart:
                    soak.lose_the_broker()
        except BaseException:
            print("seed %d, after %d connections" % (seed, soak.watch.total))
            raise
        finally:
            soak.end()
        print("%d connections, %d attempts to resume, %.0f s" % (soak.watch.total, soak.tried, time.monotonic() - begun))
        assert soak.tried >= wanted // 250
