"""The broker that comes back allows less than the device was told: Maximum QoS, Receive Maximum, RETAIN, size."""

import pytest

from lib import packets as p
from lib.wait import until


def restart_with(site, *lines, everybody=""):
    """`lines` are for the gateway's listener."""
    site.broker.stop()
    site.broker.listener_extra = "\n".join(lines)
    site.broker.extra = everybody
    site.broker.write()
    site.broker.start()


def counters(site):
    return site.gateway.rpc("status")["counters"]


def back(site, device):
    until("the session is back", lambda: site.gateway.device(device)["upstream"]["state"] == "accepted", 30)


@pytest.mark.parametrize("most", [0, 1])
def test_qos_and_retain_are_lowered(plant, most):
    """The device keeps its QoS 2 and its RETAIN; everything arrives, in its order, as the broker takes it."""
    site = plant(["low"])
    client = site.connect("low", 5, keepalive=0)
    client.subscribe(("to/low", 1))
    restart_with(site, "max_qos %d" % most, "retain_available false")
    back(site, "low")
    observer = site.observer()
    observer.subscribe(("from/#", 2))
    for i in range(100):
        client.publish("from/%d" % (i % 3), str(i), i % 3, retain=i % 2 == 1, wait=False)
    client.finished(timeout=30)
    observer.wait_messages(100)
    for topic in range(3):
        got = [int(m.payload) for m in observer.messages if m.topic == "from/%d" % topic]
        assert got == list(range(topic, 100, 3))
    assert max(m.qos for m in observer.messages) <= most and not any(m.retain for m in observer.messages)
    until("they are counted", lambda: counters(site)["publishes_lowered"] >= 60)
    assert counters(site)["rehome_lost"] == 0
    assert not client.ended and not client.faults
    assert site.gateway.log.lines("broker-allows-less.*device=low.*maximum_qos=%d" % most)


def test_receive_maximum_is_kept(plant):
    """Five at a time, where the device was told a thousand: mosquitto ends the connection of who exceeds it."""
    site = plant(["window"])
    client = site.connect("window", 5, keepalive=0)
    restart_with(site, everybody="max_inflight_messages 5")
    back(site, "window")
    observer = site.observer(4)
    observer.subscribe(("from/#", 2))
    for i in range(300):
        client.publish("from/window", str(i), 1 + i % 2, wait=False)
    client.finished(timeout=60)
    observer.wait_messages(300)
    assert sorted(int(m.payload) for m in observer.messages) == list(range(300))
    # mosquitto itself delivers out of order when its own window is so small: what it got is in order.
    got = [int(m["pid"]) for m in site.broker.log.find(r"Received PUBLISH from window \(d0, q\d, r0, m(?P<pid>\d+)")]
    assert got == list(range(got[0], got[0] + 300))
    assert len(site.broker.seen("window")) == 2 and not client.faults  # once before, once after the restart


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_a_packet_that_is_too_large_costs_itself_alone(plant, version):
    """It is refused in the broker's place; the connection stays, and what follows arrives."""
    site = plant(["large"], upstream={"protocol": "5"} if version == 4 else None)
    client = site.connect("large", version, keepalive=0)
    restart_with(site, everybody="max_packet_size 2000")
    back(site, "large")
    observer = site.observer()
    observer.subscribe(("from/#", 1))
    large = client.publish("from/large", "x" * 5000, 1, wait=False)
    client.publish("from/large", "x" * 1900, 1)
    client.finished(timeout=10)
    assert len(observer.wait_messages(1)[0].payload) == 1900
    answer = client.await_packet(p.PUBACK, pid=large)
    assert answer.reason == (0x97 if version == 5 else 0)
    until("it is counted", lambda: counters(site)["packets_inexpressible"] == 1)
    assert len(site.broker.seen("large")) == 2 and not client.ended
    assert site.gateway.log.lines("packet-inexpressible.*device=large")
