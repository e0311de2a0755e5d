"""The broker comes back without the sessions that it had: the device notices nothing, and misses nothing."""

import os

import pytest

from lib import packets as p
from lib.broker import Mosquitto
from lib.wait import until

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5], ids=["v31", "v311", "v5"])


def forget_sessions(site, **retained):
    """Restart the broker with nothing but these retained messages; they are there before anybody can connect."""
    site.broker.stop()
    folder = os.path.join(site.folder, "retained") + os.sep
    os.makedirs(folder, exist_ok=True)
    site.broker.extra = "persistence true\npersistence_location %s" % folder
    maker = Mosquitto(os.path.join(site.folder, "maker"), site.pki, extra=site.broker.extra)
    if os.path.exists(folder + "mosquitto.db"):
        os.unlink(folder + "mosquitto.db")
    with maker:
        ports, site.broker.port = site.broker.port, maker.port
        teller = site.observer(name="maker")
        for topic, payload in retained.items():
            teller.publish("set/" + topic, payload, 1, retain=True)
        teller.disconnect()
        site.broker.port = ports
    site.broker.write()
    site.broker.start()


def counters(site):
    return site.gateway.rpc("status")["counters"]


def settled(client, site, count=1):
    """Everything that the restored subscriptions bring has come: what is published behind it has."""
    until("subscriptions are restored", lambda: counters(site)["restored_subscriptions"] >= count, 30)
    mark = site.observer()
    mark.publish("set/mark", str(count), 1)
    client.reactor.wait("the mark", lambda: [m for m in client.messages
                                             if m.topic == "set/mark" and m.payload == str(count).encode()], 20)


def of(client, topic):
    return [(m.payload, m.retain) for m in client.messages if m.topic == "set/" + topic]


@VERSIONS
def test_retained_messages_do_not_come_again(plant, version):
    """Only what has changed meanwhile, and what the device asks for itself."""
    site = plant(["sensor"])
    teller = site.observer()
    for topic, qos in (("a", 0), ("b", 1), ("c", 2)):
        teller.publish("set/" + topic, "1", qos, retain=True)
    client = site.connect("sensor", version, keepalive=0)
    client.subscribe(("set/#", 2))
    client.wait_messages(3)
    teller.publish("set/live", "1", 1, retain=True)
    client.wait_messages(4)
    forget_sessions(site, a="1", b="1", c="changed", live="1", new="1")
    settled(client, site)
    assert of(client, "a") == [(b"1", True)] and of(client, "b") == [(b"1", True)], client.messages
    assert of(client, "c") == [(b"1", True), (b"changed", True)], client.messages
    assert of(client, "live") == [(b"1", False)], client.messages
    assert of(client, "new") == [(b"1", True)], client.messages
    until("they are counted", lambda: counters(site)["retained_suppressed"] == 3)
    assert site.gateway.log.lines("retained-kept-back.*device=sensor")
    client.subscribe(("set/a", 1))  # its own wish
    until("it comes", lambda: len(of(client, "a")) == 2)
    assert not client.ended


@VERSIONS
def test_identifiers_that_the_broker_uses_again(plant, version):
    """A QoS 2 message is half received when the broker forgets it, and begins to count anew."""
    site = plant(["slow"])
    client = site.connect("slow", version, keepalive=0)
    client.subscribe(("set/#", 2))
    client.auto_ack = False
    site.observer().publish("set/x", "old", 2)
    old = client.wait_messages(1)[0]
    site.broker.restart()
    until("subscriptions are restored", lambda: counters(site)["restored_subscriptions"] == 1, 30)
    client.auto_ack = True
    teller = site.observer()
    for i in range(5):
        teller.publish("set/x", "new %d" % i, 2)
    client.wait_messages(6)
    assert [m.payload for m in client.messages] == [b"old"] + [b"new %d" % i for i in range(5)]
    client.send_raw(p.ack(p.PUBREC, old.pid, version))
    client.await_packet(p.PUBREL, pid=old.pid)
    teller.publish("set/x", "last", 2)
    client.wait_messages(7)
    assert not client.ended and not client.faults


def test_a_device_publishes_all_the_while(plant):
    """QoS 1 and 2, over three brokers that know nothing of each other: nothing is lost, QoS 2 is in order."""
    site = plant(["busy"])
    client = site.connect("busy", 4, keepalive=0)
    client.subscribe(("set/#", 1))
    got = []
    for life in range(3):
        observer = site.observer()
        observer.subscribe(("from/#", 2))
        for i in range(50):
            client.publish("from/busy", "%d/%d" % (life, i), 1 + i % 2, wait=False)
        client.finished(timeout=30)
        # The broker has it, and may have to deliver it still.
        mine = {"%d/%d" % (life, i) for i in range(50)}
        until("all has been delivered", lambda o=observer, m=mine: m <= {x.payload.decode() for x in list(o.messages)}, 30)
        got += [m.payload.decode() for m in observer.messages]
        if life < 2:
            site.broker.kill()
            client.publish("from/busy", "%d/held" % life, 0)
            site.broker.start()
            until("restored", lambda n=life + 1: counters(site)["restored_subscriptions"] == n, 30)
    want = ["%d/%d" % (life, i) for life in range(3) for i in range(50)]
    assert set(want) <= set(got), sorted(set(want) - set(got))
    assert counters(site)["rehome_lost"] == 0 and not client.ended


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_subscriptions_of_an_earlier_connection(plant, version):
    """The device takes its session up, and does not subscribe again: what it had is restored all the same."""
    site = plant(["lasting"], workers=2)
    options = {"clean": False, "keepalive": 0}
    if version == 5:
        options["props"] = {"session_expiry": 3600}
    client = site.connect("lasting", version, **options)
    client.subscribe(("set/#", 1))
    for _ in range(3):
        client.disconnect()
        client.wait_end()
        client = site.connect("lasting", version, **options)
    site.broker.restart()
    settled(client, site)
    assert not client.ended


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_a_session_that_nobody_knows_is_not_pretended(plant, version):
    """After a restart of the gateway nobody knows the subscriptions: the device has to hear that they are lost."""
    site = plant(["unknown"])
    options = {"clean": False, "keepalive": 0}
    if version == 5:
        options["props"] = {"session_expiry": 3600}
    client = site.connect("unknown", version, **options)
    client.subscribe(("set/#", 1))
    site.gateway.restart()
    client.wait_end()
    client = site.connect("unknown", version, **options)
    assert client.packets[0].session_present
    site.broker.restart()
    client.wait_end(timeout=30)
    client = site.connect("unknown", version, **options)
    assert not client.packets[0].session_present
