"""An upstream profile may speak another version of MQTT than the device, and put a prefix before its topics.  The device
sees nothing of it, and flips lead from any profile to any other, at the same broker or another one, and back."""

import json
import os

import pytest

from lib.broker import Mosquitto
from lib.streams import NumberedStreams
from lib.wait import until

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5], ids={3: "v31", 4: "v311", 5: "v5"}.get)
MQTT5 = 5  # as mosquitto logs it; 2 is 3.1.1


def _profiles(site, old, new, broker=None):
    """Two profiles: that of the old slot, and that of the new one, perhaps at another broker."""
    gateway = site.gateway
    base = gateway.conf["upstreams"][0]
    other = {**base, "name": "other", **new}
    if broker is not None:
        other["port"] = broker.tls_port
    gateway.conf["upstreams"] = [{**base, **old}, other]
    for rule in gateway.conf["devices"]:
        rule.update(upstream="broker", upstream_new="other")


@pytest.fixture
def moved(plant, pki, tmp_path):
    """A function that makes a plant whose new identities belong to another profile."""
    ended = []

    def make(devices, old, new, other_broker=False):
        site = plant(devices, start=False)
        broker = None
        if other_broker:
            broker = Mosquitto(os.path.join(tmp_path, "other-broker"), pki).start()
            ended.append(broker)
        _profiles(site, old, new, broker)
        site.__enter__()
        return site, broker
    yield make
    for broker in ended:
        broker.stop()


def _flip(site, broker, *devices):
    site.gateway.flip(list(devices), probation_s=1)
    for device in devices:
        site.gateway.wait_device(device, phase="committed", active="new")
        broker.wait_slot(device, "new")


def _leg(site, device):
    upstream = site.gateway.device(device)["upstream"]
    return upstream["slot"], upstream["state"]


def _back(site, *devices):
    site.gateway.rollback(list(devices))
    for device in devices:
        site.gateway.wait_device(device, phase="rolled-back", active="old")
        until("%s is back" % device, lambda d=device: _leg(site, d) == ("old", "accepted"))


class TwoPlatforms:
    """One back office that is connected to two brokers.  It listens at both, and tells both; at each the device's topics
    begin with that platform's prefix."""

    def __init__(self, reactor, *ends):
        self.reactor = reactor
        self.ends = ends  # (client, prefix)
        self.on_message = None
        self.heard = [[] for _ in ends]  # numbers of what came at each
        for (client, prefix), heard in zip(ends, self.heard):
            client.on_message = lambda m, n=len(prefix), heard=heard: self._heard(m, n, heard)

    def _heard(self, message, n, heard):
        message.topic = message.topic[n:]
        heard.append(int(message.payload.split(b" ", 1)[0]))
        self.on_message(message)

    @property
    def inflight(self):
        return max((client.inflight for client, _ in self.ends), key=len)

    @property
    def ended(self):
        return next((client.ended for client, _ in self.ends if client.ended), None)

    def unsent(self):
        return max(client.unsent() for client, _ in self.ends)

    def subscribe(self, *filters):
        for client, prefix in self.ends:
            client.subscribe(*((prefix + f, options) for f, options in filters))

    def publish(self, topic, payload, qos, wait=True):
        for client, prefix in self.ends:
            client.publish(prefix + topic, payload, qos, wait=wait)


def _jumps(numbers):
    return sum(1 for a, b in zip(numbers, numbers[1:]) if b != a + 1)


@VERSIONS
def test_to_another_platform_and_back(moved, reactor, version):
    """Another broker, which is spoken to in MQTT 5.0, with other topics.  What the device publishes arrives once, and in
    order, wherever the device is.  What is published to it is published at both, which are not abreast to the message:
    each of the two moves may leave out some numbers or repeat some, and that is all."""
    devices = ["away-%d-%d" % (version, qos) for qos in (0, 1, 2)]
    site, other = moved(devices, {"topic_prefix": "plant/"}, {"protocol": "5", "topic_prefix": "cloud/{gateway}/"}, True)
    there = site.__class__.observer  # connected like every observer, but to the other broker
    all_streams = []
    for qos, device in enumerate(devices):
        here = site.observer()
        own, site.broker = site.broker, other
        away = there(site, name="away-observer-%d" % qos)
        site.broker = own
        platforms = TwoPlatforms(reactor, (here, "plant/"), (away, "cloud/gw-test/"))
        clients = {device: site.connect(device, version)}
        all_streams.append(NumberedStreams(clients, platforms, qos, interval=0.005, prefix="s%d/" % qos).start())
    for s in all_streams:
        s.progress(20)
    _flip(site, other, *devices)
    for s in all_streams:
        s.progress(20)
    assert [seen.protocol for d in devices for seen in other.seen(d)] == [MQTT5] * 3
    _back(site, *devices)
    for device, s in zip(devices, all_streams):
        s.progress(20)
        s.stop(timeout=1)
        client, up, down = s.clients[device], s.up[device], s.down[device]
        assert not client.ended and not client.faults
        assert (up.lost(), up.duplicated()) == (0, 0), s.summary()
        for heard in s.observer.heard:  # each with its own way to us
            assert heard == sorted(heard) and len(heard) > 10
        assert _jumps(s.observer.heard[0]) == 1 and _jumps(s.observer.heard[1]) == 0  # away, and back
        assert _jumps(down.got) <= 2, s.summary()
        assert {m.topic for m in client.messages} == {"s%d/down/%s" % (s.qos, device)}


@VERSIONS
def test_in_mqtt_5_and_back_with_nothing_lost(moved, version):
    """The old profile speaks as the device does, the new one 5.0, at one broker: the session goes on."""
    devices = ["five-%d-%d" % (version, qos) for qos in (0, 1, 2)]
    site, _ = moved(devices, {}, {"protocol": "5"})
    all_streams = [site.streams([device], qos, version, interval=0.005) for qos, device in enumerate(devices)]
    for s in all_streams:
        s.progress(20)
    _flip(site, site.broker, *devices)
    assert {site.broker.seen(d)[-1].protocol for d in devices} == {MQTT5}
    for s in all_streams:
        s.progress(20)
    _back(site, *devices)
    for s in all_streams:
        s.progress(20)
        s.prove()
    counters = site.gateway.rpc("status")["counters"]
    assert counters["restored_subscriptions"] == counters["rehome_lost"] == 0


def test_a_delayed_will_takes_over_without_a_gap(plant):
    """Devices with a Will: QoS 0 in both directions, no Will published, and no second connection in reserve."""
    devices = ["will-%d-%d" % (version, qos) for version in (4, 5) for qos in (0, 1, 2)]
    site = plant(devices, upstream={"protocol": "5", "will_delay_s": 1})
    observer = site.observer()
    observer.subscribe(("will/#", 1))
    all_streams = []
    for device in devices:
        version, qos = (int(n) for n in device.split("-")[1:])
        client = site.connect(device, version, will=("will/" + device, "died", 1, False))
        all_streams.append(site.streams({device: client}, qos, interval=0.005))
    for s in all_streams:
        s.progress(20)
    _flip(site, site.broker, *devices)
    for s in all_streams:
        s.progress(20)
    _back(site, *devices)
    for s in all_streams:
        s.progress(20)
        s.prove()
    observer.ping()
    assert not observer.messages, observer.messages
    assert not site.gateway.log.find(r"from=\S+ event=\S+ to=leaving")
    for device in devices:
        assert len(site.broker.seen(device)) == 3, site.broker.seen(device)
    for s in all_streams:  # and it is published when they die, some time within the delay
        list(s.clients.values())[0].reset()
    died = {m.topic for m in observer.wait_messages(len(devices))}
    assert died == {"will/" + d for d in devices}


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "lasting"])
@pytest.mark.parametrize("version", [3, 4])
def test_sessions_and_wills_are_as_3_x_has_them(plant, version, clean):
    device = "as3-%d-%d" % (version, clean)
    site = plant([device], upstream={"protocol": "5"})
    observer = site.observer()
    observer.subscribe(("will/#", 1))
    will = ("will/" + device, "died", 1, False)
    client = site.connect(device, version, clean=clean, will=will)
    client.subscribe(("to/" + device, 1))
    client.disconnect()
    site.broker.log.wait(r"Client %s disconnected" % device)
    observer.publish("to/" + device, "while away", 1)
    observer.ping()
    assert not observer.messages  # it left in order
    # A connection of the other kind: it is shown what a lasting session has, and nothing of a clean one.
    client = site.connect(device, version, clean=False, will=will)
    if clean:
        client.ping()
        assert not client.messages
    else:
        assert client.wait_messages(1)[0].payload == b"while away"
    client.reset()
    assert observer.wait_messages(1)[0].payload == b"died"


def test_what_the_broker_denies_is_acknowledged_and_counted(plant, pki, tmp_path):
    """In 3.1.1 there is no other answer, and with MQTT 5.0 upstream the gateway knows; a trial does not survive it."""
    device = "denied-1"
    names = {slot: pki.identity(device, slot).subject().partition("=")[2] for slot in ("old", "new")}
    acl = ("topic readwrite #\nuser %s\ntopic readwrite #\nuser %s\ntopic readwrite s/#\n" % (names["old"], names["new"]))
    broker = Mosquitto(tmp_path / "acl-broker", pki, acl=acl).start()
    try:
        site = plant([device], broker=broker, upstream={"protocol": "5"})
        client = site.connect(device)
        client.publish("p/1", "may", 1)
        client.publish("p/1", "may", 2)
        site.gateway.flip(device, probation_s=60)
        broker.wait_slot(device, "new")
        client.publish("p/1", "may not", 2)  # PUBREC, PUBREL, PUBCOMP: it is led to the end
        site.gateway.wait_device(device, phase="rolled-back", active="old")
        until("it is counted", lambda: site.gateway.rpc("status")["counters"]["publishes_denied"] == 1)
        assert "1 refused by a broker" in site.gateway.ctl("status")[1]
        client.publish("p/1", "may", 2)
        assert not client.ended and not client.inflight
    finally:
        site.gateway.stop()
        broker.stop()


@VERSIONS
def test_topics_below_a_prefix(plant, version):
    """Subscriptions of every kind, Wills and retained messages; the broker's own topics have none."""
    device = "prefix-%d" % version
    site = plant([device], upstream={"topic_prefix": "plant/{gateway}/{device}/"})
    top = "plant/gw-test/%s/" % device
    observer = site.observer()
    observer.subscribe((top + "#", 1))
    observer.publish(top + "kept", "retained", 1, retain=True)
    client = site.connect(device, version, will=("will", "died", 1, False))
    client.subscribe(("kept", 1), ("one/+/#", 1), ("own", 1), ("$SYS/broker/version", 0), ("$share/group/work", 1))
    client.reactor.wait("retained messages", lambda: {m.topic for m in client.messages} >= {"kept", "$SYS/broker/version"})
    observer.publish(top + "one/level/more", "deep", 1)
    observer.publish("elsewhere", "not for it", 1)
    observer.publish(top + "work", "shared", 1)
    client.publish("own", "from the device", 2)
    client.reactor.wait("its own, from the broker", lambda: any(m.topic == "own" for m in client.messages))
    assert sorted(m.topic for m in client.messages) == ["$SYS/broker/version", "kept", "one/level/more", "own", "work"]
    client.reset()
    observer.reactor.wait("the Will", lambda: any(m.topic == top + "will" for m in observer.messages))
    observer.publish(top + "kept", "", 1, retain=True)


def test_another_prefix_at_the_same_broker(moved):
    """The session is there, with the former subscriptions and what was queued for them."""
    device = "renamed-1"
    site, broker = moved([device], {"topic_prefix": "old/"}, {"topic_prefix": "new/"})
    observer = site.observer()
    client = site.connect(device, clean=False)
    client.subscribe(("c/#", 1))
    _flip(site, broker or site.broker, device)
    observer.publish("old/c/1", "is nothing to it any more", 1)
    observer.publish("new/c/2", "new", 1)
    client.wait_messages(1)
    _back(site, device)
    observer.publish("new/c/3", "is nothing to it any more", 1)
    observer.publish("old/c/4", "old", 1)
    assert [(m.topic, m.payload) for m in client.wait_messages(2)] == [("c/2", b"new"), ("c/4", b"old")]
    client.ping()
    assert len(client.messages) == 2


def test_the_centre_below_a_prefix(plant):
    """The command channel is a device as any other: the centre finds it below its profile's prefix."""
    site = plant(["gw-test"], upstream={"topic_prefix": "site-7/"}, start=False)
    site.gateway.conf["management"] = {"enabled": True, "device": "gw-test",
                                       "socket": os.path.join(site.gateway.run, "mqtt.sock")}
    site.__enter__()
    observer = site.observer()
    observer.subscribe(("site-7/certflip/v1/gw-test/#", 1))
    observer.reactor.wait("the state is announced", lambda: any(
        m.topic.endswith("/state") and json.loads(m.payload)["online"] for m in observer.messages), 15)
    observer.publish("site-7/certflip/v1/gw-test/cmd", '{"jsonrpc": "2.0", "id": 1, "method": "status"}', 1)
    observer.reactor.wait("a reply", lambda: any(m.topic.endswith("/reply") for m in observer.messages), 15)
