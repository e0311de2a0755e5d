"""Where the bytes of a stream are cut makes no difference, nor what arrives together with CONNECT."""

import pytest

from lib import packets as p

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5], ids={3: "v31", 4: "v311", 5: "v5"}.get)
PLAIN = pytest.mark.parametrize("plain", [False, True], ids=["tls", "plaintext"])


def _play(client, device, version):
    """CONNECT and what a hasty device sends behind it, as bytes; the packets that must come back, in order."""
    topic = "cut/" + device
    client.cork()
    client.inflight[2] = p.PUBACK
    client.inflight[3] = p.PUBREC
    return b"".join([
        client.connect_packet(device, will=("w", "w" * 40, 0, False), username="u", password="p"),
        p.subscribe(1, [(topic, 2)], version),
        p.publish(topic, "zero", 0, version=version),
        p.publish(topic, "one" * 100, 1, pid=2, version=version),
        p.publish(topic, "two", 2, pid=3, version=version),
        p.pingreq(),
        p.unsubscribe(4, ["other"], version),
    ])


def _check(client, device):
    client.uncork()
    got = client.wait_messages(3)
    assert sorted(m.payload for m in got) == sorted([b"zero", b"one" * 100, b"two"])
    client.await_packet(p.PINGRESP)
    client.await_packet(p.UNSUBACK)
    client.finished()
    answers = [k.kind for k in client.packets if k.kind in (p.CONNACK, p.SUBACK, p.PINGRESP, p.UNSUBACK)]
    assert answers == [p.CONNACK, p.SUBACK, p.PINGRESP, p.UNSUBACK]
    assert client.packets[0].kind == p.CONNACK
    client.disconnect()


@pytest.mark.threads
@PLAIN
@VERSIONS
def test_everything_in_one_segment_with_connect(site, version, plain):
    device = site.fresh()
    client = site.sensor(device, version, plain=plain).open()
    client.send_raw(_play(client, device, version))
    _check(client, device)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@PLAIN
@VERSIONS
def test_cut_into_pieces(site, version, plain, size):
    device = site.fresh()
    client = site.sensor(device, version, plain=plain).open()
    raw = _play(client, device, version)
    for at in range(0, len(raw), size):
        client.send_raw(raw[at:at + size])
    _check(client, device)


@PLAIN
def test_cut_once_at_every_place(site, plain):
    """One device for each place of the cut; the second half is sent when the first has been taken."""
    version = 5
    device = site.fresh()
    length = len(_play(site.sensor(device, version), device, version))
    for at in range(1, length, 4):
        client = site.sensor(device, version, plain=plain).open()
        raw = _play(client, device, version)
        client.send_raw(raw[:at])
        client.send_raw(raw[at:])
        _check(client, device)


def test_a_large_packet_in_odd_pieces(site):
    device = site.fresh()
    client = site.connect(device, plain=True)
    observer = site.observer()
    observer.subscribe(("odd/" + device, 0))
    payload = bytes(range(256)) * 2000
    raw = p.publish("odd/" + device, payload) + p.pingreq()
    at, step = 0, 1
    while at < len(raw):
        client.send_raw(raw[at:at + step])
        at += step
        step = step * 5 % 8191 + 1
    client.await_packet(p.PINGRESP)
    assert observer.wait_messages(1)[0].payload == payload


def test_bytes_behind_connect_wait_while_the_upstream_handshake_runs(site):
    """The broker does not answer for a while; nothing of what the device sent meanwhile is lost."""
    device = site.fresh()
    client = site.sensor(device, 4).open()
    site.broker.freeze()
    try:
        raw = _play(client, device, 4)
        half = len(raw) // 2
        client.send_raw(raw[:half])
        # Other devices are served by the same workers meanwhile: they get through TLS.
        others = [site.sensor(site.fresh(), 4).open() for _ in range(3)]
        client.send_raw(raw[half:])
        assert not client.packets
    finally:
        site.broker.thaw()
    _check(client, device)
    for n, other in enumerate(others):
        other.connect("other-%d-%s" % (n, device))
