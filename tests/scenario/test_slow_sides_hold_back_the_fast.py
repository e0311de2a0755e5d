"""A side that does not read holds the other one back; memory stays bounded and nothing is lost."""

from lib import packets as p
from lib.wait import until

MIB = 1 << 20
# ASan keeps what is freed for a while: little of it, so that resident memory still says something.
ENV = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


def _plant(plant, devices):
    made = plant(devices, start=False)
    made.gateway.env = ENV
    made.__enter__()
    return made


def test_a_device_that_stops_reading(plant):
    """24 MiB wait at the broker, not in the gateway; another device is served meanwhile."""
    site = _plant(plant, ["slow", "other"])
    slow = site.sensor("slow", 4, receive_buffer=8192)
    slow.connect("slow")
    slow.subscribe(("much", 0))
    streams = site.streams(["other"])
    observer = site.observer()
    streams.progress(5)
    before = site.gateway.rss_kib()
    slow.read(False)
    payload = b"." * (64 * 1024 - 20)
    for i in range(384):
        observer.publish("much", b"%6d" % i + payload, 0)
    until("the broker has taken it all", lambda: observer.unsent() == 0, 30)
    streams.progress(20)
    grown = site.gateway.rss_kib() - before
    assert grown < 6 * 1024, "resident memory has grown by %d KiB" % grown
    slow.read(True)
    got = slow.wait_messages(384, 60)
    assert [int(m.payload[:6]) for m in got] == list(range(384))
    streams.prove()


def test_a_broker_that_stops_reading(plant):
    """The device is held back; PINGREQ apart, it cannot send more than the buffers hold."""
    site = _plant(plant, ["fast"])
    fast = site.connect("fast", keepalive=0)
    observer = site.observer(keepalive=0)
    observer.subscribe(("much", 0))
    before = site.gateway.rss_kib()
    site.broker.freeze()
    payload = b"." * (64 * 1024 - 20)
    for i in range(384):
        fast.send_raw(p.publish("much", b"%6d" % i + payload))
    stuck = [fast.unsent(), 0]

    def settled():
        stuck.append(fast.unsent())
        return len(stuck) > 60 and stuck[-1] == stuck[-50] > 0
    until(lambda: "the device is held back: %d bytes are unsent" % stuck[-1], settled, 20)
    assert stuck[-1] > 8 * MIB, "only %d bytes were held back" % stuck[-1]
    grown = site.gateway.rss_kib() - before
    site.broker.thaw()
    assert grown < 6 * 1024, "resident memory has grown by %d KiB" % grown
    got = observer.wait_messages(384, 60)
    assert [int(m.payload[:6]) for m in got] == list(range(384))
    fast.ping()


def test_a_device_that_trickles(plant):
    """One byte at a time for a while costs nobody else anything."""
    site = _plant(plant, ["trickle", "other"])
    trickle = site.connect("trickle", plain=True)
    streams = site.streams(["other"], interval=0.005)
    streams.progress(5)
    raw = p.publish("trickle", "x" * 2000, 1, pid=9)
    trickle.inflight[9] = p.PUBACK
    for i in range(len(raw)):
        trickle.send_raw(raw[i:i + 1])
        if i % 200 == 0:
            streams.progress(2)
    trickle.finished(9)
    streams.prove()
