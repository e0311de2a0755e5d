"""Whatever arrives on a socket costs at most its own connection."""

import os
import random
import time

import pytest

from lib import packets as p
from lib.mqtt import Link
from lib.wait import seconds, until

SITE = {"limits": {"packet_bytes": "256KiB", "connect_timeout_ms": 1000, "handshake_timeout_ms": 1000,
                   "idle_close_ms": 300}}


class Raw(Link):
    """Bytes, no protocol."""

    def __init__(self, site, port, tls=None):
        super().__init__(site.reactor, ("127.0.0.1", port), tls)
        self.data = b""
        site.clients.append(self)
        self.faults = []

    def received(self, data):
        self.data += data


@pytest.fixture
def bystander(site):
    """A device whose traffic must not suffer."""
    device = site.devices[-1]
    streams = site.streams({device: site.connect(device)}, 1)
    yield streams
    streams.progress(5)
    streams.prove()
    streams.clients[device].disconnect()
    assert site.gateway.running()


TOPIC = p.text("t")

# Packets after CONNECT that break the standard; what MQTT 5 calls it.
MALFORMED = {
    "reserved type 0": (b"\x00\x00", 0x81),
    "length of five bytes": (b"\x30\xff\xff\xff\xff\x01", 0x81),
    "length not minimal, five bytes": (b"\xc0\x80\x80\x80\x80\x00", 0x81),
    "PUBLISH with QoS 3": (b"\x36" + p.var(7) + TOPIC + b"\0\1" + b"\0x", 0x81),
    "PUBLISH with identifier 0": (b"\x32" + p.var(6) + TOPIC + b"\0\0" + b"\0", 0x82),
    "PUBLISH with a wildcard": (p.publish("a/#", "x", version=5), 0x90),
    "PUBLISH cut inside its topic": (b"\x30\x03\x00\x09a", 0x81),
    "topic with NUL": (b"\x30" + p.var(6) + b"\0\3a\0b\0", 0x81),
    "topic not UTF-8": (b"\x30" + p.var(5) + b"\0\2\xc3\x28\0", 0x81),
    "topic with a surrogate": (b"\x30" + p.var(6) + b"\0\3\xed\xa0\x80\0", 0x81),
    "SUBSCRIBE with wrong flags": (b"\x80" + p.subscribe(1, [("a", 0)], 5)[1:], 0x81),
    "SUBSCRIBE without filters": (p.packet(p.SUBSCRIBE, 2, b"\0\1\0"), 0x82),
    "SUBSCRIBE with options that are reserved": (p.subscribe(1, [("a", 0xC0)], 5), 0x81),
    "SUBSCRIBE with an empty filter": (p.subscribe(1, [("", 0)], 5), 0x8F),
    "PUBREL with wrong flags": (b"\x60\x02\0\1", 0x81),
    "PINGREQ with a body": (b"\xc0\x01x", 0x81),
    "a second CONNECT": (p.connect("again", 5), 0x82),
    "CONNACK from a client": (p.packet(p.CONNACK, 0, b"\0\0\0"), 0x82),
    "PINGRESP from a client": (b"\xd0\x00", 0x82),
    "unknown property": (b"\x30" + p.var(6) + TOPIC + b"\x02\x7f\x00", 0x81),
    "property twice": (p.publish("t", "x", version=5, props=[("content_type", "a"), ("content_type", "b")]), 0x82),
    "property of another packet": (p.publish("t", "x", version=5, props=[("will_delay", 1)]), 0x82),
    "properties longer than the packet": (b"\x30" + p.var(5) + TOPIC + b"\x20\x01", 0x81),
    "packet too large": (b"\x30" + p.var(300 * 1024) + TOPIC + b"\0", 0x95),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_packets_end_the_connection_with_the_reason(site, name):
    raw, code = MALFORMED[name]
    client = site.connect(site.devices[0], 5, plain=True)
    client.send_raw(raw)
    client.wait_end()
    said = [k.reason for k in client.packets if k.kind == p.DISCONNECT]
    # The standard's own tables leave some room between "malformed" and "protocol error".
    allowed = {0x95} if code == 0x95 else {0x81, 0x82, 0x8F, 0x90}
    assert len(said) == 1 and said[0] in allowed, [hex(c) for c in said]


@pytest.mark.parametrize("version", [3, 4], ids=["v31", "v311"])
@pytest.mark.parametrize("raw", [b"\x00\x00", b"\x30\xff\xff\xff\xff\x01", b"\x36\x05\0\1t\0\1", b"\xf0\x00",
                                 b"\x82\x02\0\1", b"\x32\x05\0\1t\0\0", b"\xe0\x01\0"], ids=lambda b: b.hex())
def test_malformed_packets_before_mqtt_5(site, bystander, version, raw):
    client = site.connect(site.devices[1], version, plain=True)
    client.send_raw(raw)
    client.wait_end()
    assert not client.faults


FIRST = {
    "garbage": os.urandom(4000),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "PUBLISH first": p.publish("t", "x"),
    "PINGREQ first": p.pingreq(),
    "unknown protocol": p.packet(p.CONNECT, 0, p.text("MQTX") + b"\4\2\0\x3c" + p.text("x")),
    "unknown level": p.packet(p.CONNECT, 0, p.text("MQTT") + b"\x09\2\0\x3c" + p.text("x")),
    "reserved flag": p.packet(p.CONNECT, 0, p.text("MQTT") + b"\4\3\0\x3c" + p.text("x")),
    "will QoS 3": p.packet(p.CONNECT, 0, p.text("MQTT") + b"\4\x1e\0\x3c" + p.text("x") + p.text("w") + p.text("w")),
    "cut inside the client id": p.packet(p.CONNECT, 0, p.text("MQTT") + b"\4\2\0\x3c\0\x20x"),
    "bytes too many": p.packet(p.CONNECT, 0, p.text("MQTT") + b"\4\2\0\x3c" + p.text("x") + b"zz"),
    "huge length": b"\x10\xff\xff\xff\x7f" + b"x" * 1000,
    "TLS": bytes.fromhex("160301020001000001fc0303") + os.urandom(500),
    "nothing": b"",
    "half a CONNECT": p.connect("half")[:7],
}


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plaintext"])
def test_wrong_beginnings(site, bystander, tls):
    """All at once: each ends within the deadlines, silent ones included."""
    links = []
    for raw in FIRST.values():
        if tls:
            link = site.sensor(site.devices[2]).open()
        else:
            link = Raw(site, site.gateway.plain_port).open()
        links.append(link)
        if raw:
            link.send_raw(raw)
    for name, link in zip(FIRST, links):
        assert link.wait_end(10), name
        link.faults = []


def test_no_tls_on_the_tls_port(site, bystander):
    links = []
    for raw in list(FIRST.values()) + [bytes.fromhex("1603010005010000fc03")]:
        links.append(Raw(site, site.gateway.port).open())
        if raw:
            links[-1].send_raw(raw)
    for link in links:
        link.wait_end(10)


def test_random_bytes_after_connect(site, bystander):
    """300 connections, each with its own noise behind a good CONNECT."""
    rng = random.Random(1)
    for crowd in range(10):  # that of all of them the CONNECT comes before limits.connect_timeout_ms
        clients = [site.sensor("noise-%d-%d" % (crowd, n), rng.choice((3, 4, 5)), plain=True) for n in range(30)]
        for client in clients:
            client.open(wait=False)
        for client in clients:
            client.opened()
            raw = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200)))
            client.send_raw(client.connect_packet(site.devices[3]) + raw)
            client.cut() if rng.random() < 0.3 else client.half_close()
        for client in clients:
            client.wait_end(20)
            client.faults = []


def test_connections_that_never_speak_do_not_crowd_out_others(site, bystander):
    silent = [Raw(site, site.gateway.port if n % 2 else site.gateway.plain_port) for n in range(200)]
    for link in silent:
        link.open(wait=False)
    for link in silent:
        link.opened()
    began = time.monotonic()
    client = site.connect(site.devices[4])
    client.ping()
    assert time.monotonic() - began < seconds(5)
    for link in silent:
        link.wait_end(10)


def test_what_is_gone_is_freed(site):
    """No session and no descriptor is left over from all of the above."""
    for client in site.clients:
        if not client.ended:
            client.cut()
    until(lambda: "no session is left: %s" % site.gateway.rpc("sessions.list"),
          lambda: site.gateway.rpc("sessions.list")["total"] == 0)
    fds = "/proc/%d/fd" % site.gateway.pid
    until(lambda: "descriptors are closed: %s" % [os.readlink(fds + "/" + f) for f in os.listdir(fds)],
          lambda: len(os.listdir(fds)) < 60)
