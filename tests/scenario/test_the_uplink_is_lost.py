"""The broker goes away and comes back: the device stays (hold) or is cut off at once (drop)."""

import os
import time

import pytest

from lib import packets as p
from lib.rough import RoughBroker
from lib.wait import until


def _finished(client, *pids):
    """All exchanges, or these, have ended; the sensor pings meanwhile, as one does whose keepalive they may exceed."""
    def so():
        client.ping(20)
        return not client.inflight.keys() & set(pids or client.inflight)
    until(lambda: "exchanges of %r end: %s" % (client, client.inflight), so, 30, 0.1)


def test_held_devices_do_not_notice(plant):
    """The sensor stays connected, is answered its pings, and what it publishes meanwhile arrives."""
    site = plant(["held"])
    client = site.connect("held", 4, keepalive=2)
    client.subscribe(("to/held", 1))
    site.broker.kill()
    site.gateway.log.wait(r"device=held")
    pids = [client.publish("from/held", str(i), 1, wait=False) for i in range(20)]
    for _ in range(3):
        client.ping()
    site.broker.start()
    observer = site.observer()
    observer.subscribe(("from/held", 1))
    _finished(client)
    until("subscriptions are restored", lambda: "to/held" in site.broker.log.text().split("mosquitto version")[-1], 15)
    observer.publish("to/held", "hello", 1)
    assert client.wait_messages(1)[0].payload == b"hello"
    assert pids and not client.ended


def test_an_outage_that_lasts_does_not_fill_the_log(plant):
    """Failures that are alike are written ever more rarely, and anew when the broker had been there."""
    site = plant(["long"], flip={"backoff_network_s": [1]})
    client = site.connect("long", 4, keepalive=0)
    failed = "uplink-failed device=long .*cause=tcp.refused"
    site.broker.stop()
    site.gateway.log.wait(failed + " times=8", timeout=30)
    lines = site.gateway.log.lines(failed)
    assert len(lines) == 4 + 1, lines
    assert [" times=" in line for line in lines] == [False] * 4 + [True]
    site.broker.start()
    until("it is back", lambda: site.gateway.device("long")["upstream"]["state"] == "accepted", 20)
    mark = site.gateway.log.mark()
    site.broker.stop()
    assert " times=" not in site.gateway.log.wait(failed + ".*", mark).group()
    assert not client.ended
    site.broker.start()


def test_qos_1_under_way_is_sent_again(plant):
    """20 messages are in the broker's hands when it dies without having answered."""
    site = plant(["again"])
    client = site.connect("again", 4, keepalive=0)
    site.broker.freeze()
    for i in range(20):
        client.publish("from/again", str(i), 1, wait=False)
    client.publish("from/again", "two", 2, wait=False)
    site.broker.kill()
    site.broker.start()
    observer = site.observer()
    client.finished(timeout=30)
    assert not client.ended and observer


def test_dropped_devices_are_cut_off(plant):
    site = plant(["drop"], upstream={"uplink_lost": "drop"})
    old = site.connect("drop", 4, keepalive=0)
    site.broker.kill()
    old.wait_end()
    five = site.sensor("drop", 5)
    ack = five.connect("drop", expect=None)
    assert ack.reason == 0x88
    five.wait_end()
    three = site.sensor("drop", 4)
    assert three.connect("drop", expect=None).reason == 3


@pytest.mark.parametrize("version,code", [(3, 3), (4, 3), (5, 0x88)], ids=["v31", "v311", "v5"])
def test_a_first_connection_without_uplink_is_refused(plant, version, code):
    """There is no session yet that could be held; the device learns it and tries again by itself."""
    site = plant(["first"])
    site.broker.kill()
    client = site.sensor("first", version)
    client.connect("first", expect=code)
    client.wait_end()
    assert len(site.gateway.log.lines("session-refused.*device=first")) == 1
    site.broker.start()
    site.connect("first", version)


def test_a_silent_broker_is_noticed_by_keepalive(plant):
    """Behind a dead link nothing is closed: PINGREQ without PINGRESP tells."""
    site = plant(["link"])
    client = site.connect("link", 4, keepalive=2)

    def state():
        client.send_raw(p.pingreq())  # the device does its part
        return site.gateway.device("link")["upstream"]["state"]
    site.broker.freeze()
    try:
        until("the loss is noticed", lambda: state() != "accepted", 20, 0.2)
    finally:
        site.broker.thaw()
    until("it is connected again", lambda: state() == "accepted", 20, 0.2)
    client.ping()


def test_wills_fire_when_the_gateway_dies(plant):
    site = plant(["will"])
    site.connect("will", will=("will/x", "gone", 1, False))
    observer = site.observer()
    observer.subscribe(("will/#", 1))
    site.gateway.kill()
    assert observer.wait_messages(1)[0].payload == b"gone"


def test_a_gateway_that_stops_ends_its_sessions(plant):
    """SIGTERM: devices are cut off, the daemon ends with 0."""
    site = plant(["end-1", "end-2"])
    clients = [site.connect("end-1", 4), site.connect("end-2", 5, plain=True)]
    site.gateway.stop()
    for client in clients:
        client.wait_end()


def test_a_rollback_is_not_waited_for_where_the_broker_is_away(plant):
    """It is decided, and durable; the way back to the broker may take for ever."""
    site = plant(["away"])
    site.connect("away")
    site.gateway.flip("away", probation_s=1)
    site.gateway.wait_device("away", phase="committed")
    site.broker.stop()
    until("it is noticed", lambda: site.gateway.device("away")["upstream"]["state"] != "accepted")
    told = site.gateway.ctl("rollback", "away", "--wait", "--timeout", "30")[1]
    assert "rolled-back here; not connected" in told, told
    assert site.gateway.device("away")["active"] == "old"


@pytest.mark.parametrize("phase", ["trial", "committed"])
def test_a_technician_rolls_back_with_a_dead_uplink(plant, phase):
    """At the gateway, with nobody to ask: decided and durable at once, and carried out when the broker is back."""
    device = "dead-" + phase
    site = plant([device])
    sensor = site.connect(device)
    site.gateway.flip(device, probation_s=600 if phase == "trial" else 1)
    site.gateway.wait_device(device, phase=phase, active="new")
    site.broker.wait_slot(device, "new")
    site.broker.kill()
    status, out, _ = site.gateway.ctl("rollback", device, "--reason", "uplink is dead")
    assert status == 0 and "rolled-back" in out
    state = site.gateway.device(device)
    assert (state["phase"], state["active"], state["reason"]) == ("rolled-back", "old", "uplink is dead")
    site.gateway.kill()  # as if the power went, too
    site.gateway.launch()
    assert site.gateway.device(device)["phase"] == "rolled-back"
    site.broker.start()
    sensor.cut()
    site.connect(device)
    site.broker.wait_slot(device, "old", 30)
    entries = site.gateway.rpc("audit.list")["entries"]
    assert any(e["what"] == "phase rolled-back" and "uplink is dead" in e["outcome"] for e in entries)


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_a_sensor_that_keeps_publishing_is_bounded(plant, version):
    """QoS 0 without end, and no uplink: the sensor is held back, then what is too much is dropped; it is answered its pings,
    and the gateway does not grow."""
    site = plant(["busy"], start=False, limits={"queue_bytes": "64KiB"})
    # AddressSanitizer keeps what was freed, up to this; it is not the gateway that grows by that.
    site.gateway.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    site.__enter__()
    client = site.connect("busy", version, keepalive=2)
    client.subscribe(("to/busy", 1))
    site.broker.kill()
    site.gateway.log.wait(r"uplink-lost device=busy")
    before, sent = site.gateway.rss_kib(), 0
    for _ in range(4):  # beyond one and a half keepalives
        until("what was sent has gone out", lambda: client.unsent() < 65536, 20)
        for _ in range(500):
            client.publish("from/busy", "x" * 2000, 0)
        sent += 500
        client.ping(20)
    assert site.gateway.rss_kib() - before < 8 * 1024
    shed = until("what was dropped is counted", lambda: site.gateway.rpc("status")["counters"]["publishes_shed"])
    pid = client.publish("from/busy", "last", 1, wait=False)
    site.broker.start()
    _finished(client, pid)
    assert site.gateway.log.wait(r"held-dropped device=busy count=\d+ .*queue_bytes")
    assert not client.ended and shed <= sent


def test_a_crowd_that_was_cut_off_does_not_come_back_together(plant, pki):
    """Each waits by itself, up to a fifth more or less."""
    devices = ["crowd-%03d" % i for i in range(120)]
    with RoughBroker(pki) as broker:
        site = plant(devices, broker=broker, flip={"backoff_network_s": [2]})
        clients = [site.connect(d, 4, plain=True, keepalive=0) for d in devices]
        cut = time.monotonic()
        broker.cut_all()
        until("all are back", lambda: len([t for t in broker.arrivals if t > cut]) >= len(devices), 30)
        waits = sorted(t - cut for t in broker.arrivals if t > cut)
        assert waits[0] > 1.5, waits[:5]
        assert waits[-1] - waits[0] > 0.5, (waits[0], waits[-1])
        busiest = max(sum(w <= x < w + 0.1 for x in waits) for w in waits)
        assert busiest < len(devices) / 2, waits
        for client in clients:
            client.ping()
            assert not client.ended
