"""What passes directly passes through the gateway: every version, every QoS, TLS and plaintext."""

import os
import re
import shutil
import ssl
import subprocess

import paho.mqtt.client as paho
import pytest

from lib import packets as p
from lib.mqtt import Client
from lib.wait import seconds, until

VERSIONS = [3, 4, 5]
IDS = {3: "v31", 4: "v311", 5: "v5"}.get
WAYS = pytest.mark.parametrize("plain", [False, True], ids=["tls", "plaintext"])
EACH_VERSION = pytest.mark.parametrize("version", VERSIONS, ids=IDS)


@pytest.mark.threads
@WAYS
@EACH_VERSION
def test_numbered_messages_both_ways(site, version, plain):
    streams = []
    for qos in (0, 1, 2):
        device = site.fresh()
        streams.append(site.streams({device: site.connect(device, version, plain=plain)}, qos, interval=0.01))
    for s in streams:
        s.progress(40)
    for s in streams:
        s.prove()


@EACH_VERSION
def test_retained_messages(site, version):
    device = site.fresh()
    client = site.connect(device, version)
    topic = "retained/%s" % device
    client.publish(topic, "kept", 1, retain=True)
    client.subscribe((topic, 1))
    message = client.wait_messages(1)[0]
    assert (message.payload, message.retain, message.qos) == (b"kept", True, 1)
    client.publish(topic, "", 1, retain=True)
    other = site.observer()
    other.subscribe((topic, 1))
    other.ping()
    assert not other.messages


@EACH_VERSION
def test_a_megabyte_both_ways(site, version):
    device = site.fresh()
    client = site.connect(device, version)
    observer = site.observer(version)
    up, down = os.urandom(1 << 20), os.urandom(1 << 20)
    observer.subscribe(("big/up/" + device, 2))
    client.subscribe(("big/down/" + device, 2))
    for qos in (0, 1, 2):
        client.publish("big/up/" + device, up, qos, timeout=30)
        observer.publish("big/down/" + device, down, qos, timeout=30)
    assert [m.payload == up for m in observer.wait_messages(3, 30)] == [True] * 3
    assert [m.payload == down for m in client.wait_messages(3, 30)] == [True] * 3


@EACH_VERSION
def test_topics_of_60000_bytes(site, version):
    device = site.fresh()
    client = site.connect(device, version)
    topic = "long/" + device + "/" + "t" * (60000 - 6 - len(device))
    assert len(topic) == 60000
    client.subscribe((topic, 1))
    client.publish(topic, "x", 1)
    assert client.wait_messages(1)[0].topic == topic
    client.unsubscribe(topic)


@EACH_VERSION
def test_empty_payload_and_utf8_topics(site, version):
    device = site.fresh()
    client = site.connect(device, version)
    client.subscribe(("ü/%s/+" % device, 1), ("€/%s/#" % device, 0))
    client.publish("ü/%s/grün" % device, b"", 1)
    client.publish("€/%s/a/b/c" % device, b"\0\xff", 0)
    got = client.wait_messages(2)
    assert sorted((m.topic, m.payload) for m in got) == [("ü/%s/grün" % device, b""),
                                                         ("€/%s/a/b/c" % device, b"\0\xff")]


def test_a_subscription_ends(site):
    device = site.fresh()
    client = site.connect(device)
    client.subscribe(("ends/" + device, 1))
    client.publish("ends/" + device, "1", 1)
    client.wait_messages(1)
    client.unsubscribe("ends/" + device)
    client.publish("ends/" + device, "2", 1)
    client.ping()
    assert len(client.messages) == 1


def test_system_topics_and_shared_subscriptions(site):
    first, second = site.fresh(), site.fresh()
    a, b = site.connect(first, 5), site.connect(second, 5)
    a.subscribe("$SYS/broker/version")
    assert b"mosquitto" in a.wait_messages(1)[0].payload
    a.messages.clear()
    for client in (a, b):
        assert client.subscribe(("$share/group/shared/%s" % first, 1)).codes == [1]
    observer = site.observer()
    for i in range(20):
        observer.publish("shared/%s" % first, str(i), 1)
    until("20 in all", lambda: len(a.messages) + len(b.messages) == 20)
    assert sorted(int(m.payload) for m in a.messages + b.messages) == list(range(20))
    assert a.messages and b.messages


def test_a_wrong_filter_gets_the_brokers_answer(site):
    """SUBACK 0x80 or the end of the connection: whatever the broker says about a denied or odd filter."""
    device = site.fresh()
    client = site.connect(device)
    ack = client.subscribe(("a/b", 0), ("c/#", 1), ("d/+", 2))
    assert ack.codes == [0, 1, 2]


def _v5_play(client, base):
    """The same play, at the broker and through the gateway: everything that came back."""
    got = []
    client.subscribe((base + "/a/#", 2), props=[("subscription_id", 7), ("user_property", ("k", "v"))])
    client.subscribe((base + "/+/x", 1), props={"subscription_id": 268435455})
    props = [("payload_format", 1), ("content_type", "text/plain"), ("response_topic", "r/t"),
             ("correlation_data", bytes(range(256))), ("user_property", ("a", "1")), ("user_property", ("b", "")),
             ("user_property", ("a", "1")), ("user_property", ("a", "2"))]
    client.publish(base + "/a/x", "one", 1, props=props)
    client.publish(base + "/a/y", "two", 2, props=props[:2])
    client.wait_messages(3)
    alias = [("topic_alias", 3)]
    client.publish(base + "/a/z", "three", 1, props=alias)
    client.publish("", "four", 1, props=alias)
    client.wait_messages(5)
    for m in sorted(client.messages, key=lambda m: (m.topic, m.payload, m.props)):
        got.append((m.topic.replace(base, ""), m.payload, m.qos, m.retain, m.props))
    return got


def test_v5_properties(site):
    device = site.fresh()
    through = _v5_play(site.connect(device, 5), "props/" + device)
    direct = _v5_play(site.observer(5), "props/direct")
    assert through == direct


def test_v5_subscription_options(site):
    """No Local, Retain As Published, Retain Handling."""
    device = site.fresh()
    client, observer = site.connect(device, 5), site.observer(5)
    topic = "options/" + device
    observer.publish(topic, "kept", 1, retain=True)
    client.subscribe((topic, 1 | 4 | 8 | 2 << 4))  # no local, as published, no retained ones
    client.publish(topic, "own", 1)
    observer.publish(topic, "theirs", 1, retain=True)
    got = client.wait_messages(1)
    client.ping()
    assert [(m.payload, m.retain) for m in client.messages] == [(b"theirs", True)] and got
    observer.publish(topic, "", 1, retain=True)


def test_v5_publish_to_nobody_gets_the_brokers_reason(site):
    device = site.fresh()
    client = site.connect(device, 5)
    pid = client.publish("nobody/listens/" + device, "x", 1)
    direct = site.observer(5)
    there = direct.publish("nobody/listens/" + device, "x", 1)
    assert client.await_packet(p.PUBACK, pid=pid).reason == direct.await_packet(p.PUBACK, pid=there).reason


def test_v5_connack_is_the_brokers(site):
    device = site.fresh()
    options = {"props": [("receive_maximum", 5), ("topic_alias_maximum", 4), ("maximum_packet", 100000),
                         ("request_problem", 1), ("user_property", ("x", "y")), ("session_expiry", 30)]}
    through = site.sensor(device, 5).connect(device, **options)
    site.clients.append(direct := Client(site.reactor, ("127.0.0.1", site.broker.port), None, 5))
    there = direct.connect("direct-" + device, **options)
    assert (through.reason, through.session_present) == (there.reason, there.session_present)
    assert sorted(through.props) == sorted(there.props)


def test_zero_length_client_ids(site):
    device = site.fresh()
    with_none = site.sensor(device, 4)
    with_none.connect("", clean=True)
    with_none.subscribe(("zero/" + device, 1))
    with_none.publish("zero/" + device, "x", 1)
    with_none.wait_messages(1)
    five = site.sensor(site.fresh(), 5)
    assigned = five.connect("", clean=True).prop("assigned_client_id")
    assert assigned
    site.wait_up(assigned)


def test_zero_length_client_id_without_clean_session_is_refused(site):
    client = site.sensor(site.fresh(), 4)
    ack = client.connect("", clean=False, expect=None)
    assert ack.reason == 2
    assert client.wait_end()


def test_v5_unknown_authentication_method_is_answered_by_the_broker(site):
    client = site.sensor(site.fresh(), 5)
    ack = client.connect("auth", props=[("auth_method", "RIDDLE"), ("auth_data", b"?")], expect=None)
    assert ack.reason == 0x8C


def test_username_and_password_pass(site):
    """The broker here takes the name from the certificate, so it is enough that a login is no obstacle."""
    client = site.sensor(site.fresh(), 4)
    client.connect("login-1", username="user", password=b"\0secret")
    client.ping()


def test_sessions_persist_when_the_device_asks(site):
    device = site.fresh()
    client = site.connect(device, 4, clean=False)
    client.subscribe(("persist/" + device, 1))
    client.disconnect()
    site.broker.log.wait(r"Client %s disconnected" % device)
    observer = site.observer()
    for i in range(5):
        observer.publish("persist/" + device, str(i), 1)
    again = site.sensor(device, 4)
    assert again.connect(device, clean=False).session_present
    assert [m.payload for m in again.wait_messages(5)] == [b"%d" % i for i in range(5)]
    again.disconnect()


@pytest.mark.parametrize("version", [4, 5], ids=IDS)
def test_a_clean_session_sees_nothing_of_an_earlier_life(site, version):
    device = site.fresh()
    client = site.connect(device, version, clean=True)
    client.subscribe(("earlier/" + device, 1))
    client.disconnect()
    site.broker.log.wait(r"Client %s disconnected" % device)
    observer = site.observer()
    observer.publish("earlier/" + device, "for nobody", 1)
    again = site.sensor(device, version)
    assert not again.connect(device, clean=True).session_present
    observer.publish("earlier/" + device, "for nobody either", 1)
    again.ping()
    assert not again.messages


def test_a_clean_session_cut_off_sees_nothing_of_it_either(site):
    device = site.fresh()
    client = site.connect(device, 4, clean=True)
    client.subscribe(("cut/" + device, 1))
    mark = site.broker.log.mark()
    client.reset()
    site.broker.log.wait(r"Client %s (closed|disconnected)|error on client %s" % (device, device), mark)
    observer = site.observer()
    observer.publish("cut/" + device, "for nobody", 1)
    again = site.sensor(device, 4)
    assert not again.connect(device, clean=True).session_present
    again.ping()
    assert not again.messages
    assert not site.connect(site.fresh(), 4, clean=False).packets[0].session_present


def test_unacknowledged_messages_come_again_after_reconnecting(site):
    device = site.fresh()
    client = site.connect(device, 4, clean=False)
    client.subscribe(("again/" + device, 1))
    client.auto_ack = False
    observer = site.observer()
    observer.publish("again/" + device, "x", 1)
    first = client.wait_messages(1)[0]
    client.reset()
    again = site.sensor(device, 4)
    assert again.connect(device, clean=False).session_present
    second = again.wait_messages(1)[0]
    assert (second.payload, second.dup, second.pid) == (b"x", True, first.pid)
    again.disconnect()


def test_a_device_may_acknowledge_late(site):
    device = site.fresh()
    client = site.connect(device, 4)
    client.subscribe(("late/" + device, 2))
    client.auto_ack = False
    observer = site.observer()
    for i in range(10):
        observer.publish("late/" + device, str(i), 1 + i % 2)
    got = client.wait_messages(10)
    client.ping()
    for m in got:
        client.send_raw(p.ack(p.PUBACK if m.qos == 1 else p.PUBREC, m.pid))
    client.auto_ack = True
    for m in got:
        if m.qos == 2:
            client.await_packet(p.PUBREL, pid=m.pid)
    client.ping()
    assert len(client.messages) == 10


def test_paho_through_tls(site):
    """A client that we did not write."""
    for version in (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5):
        device = site.fresh()
        got, up = [], []
        pair = site.pki.sensor(device)
        client = paho.Client(client_id=device, protocol=version)
        client.tls_set(site.pki.server_ca.cert, pair.chain, pair.key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.on_connect = lambda c, u, f, rc, *more: up.append(rc)
        client.on_message = lambda c, u, m: got.append((m.topic, m.payload))
        client.connect("127.0.0.1", site.gateway.port)
        client.loop_start()
        try:
            until("paho is connected", lambda: up)
            assert int(getattr(up[0], "value", up[0])) == 0
            client.subscribe("paho/" + device, 2)
            for i in range(20):
                client.publish("paho/" + device, str(i), 2).wait_for_publish(seconds(10))
            until("all is back", lambda: len(got) >= 20)
            assert [m[1] for m in got] == [b"%d" % i for i in range(20)]
        finally:
            client.disconnect()
            client.loop_stop()


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed")
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
def test_mosquitto_clients_through_tls(site, version):
    subscriber, publisher = site.fresh(), site.fresh()

    def command(tool, device, *args):
        pair = site.pki.sensor(device)
        return [tool, "-h", "localhost", "-p", str(site.gateway.port), "--cafile", site.pki.server_ca.cert, "--cert",
                pair.chain, "--key", pair.key, "-i", device, "-V", version, "-q", "1", "-t", "tool/" + subscriber,
                *args]
    mark = site.broker.log.mark()
    with subprocess.Popen(command("mosquitto_sub", subscriber, "-C", "3", "-W", "20"), stdout=subprocess.PIPE,
                          text=True) as sub:
        site.broker.log.wait(r"Sending SUBACK to " + re.escape(subscriber), mark)
        for i in range(3):
            subprocess.run(command("mosquitto_pub", publisher, "-m", "m%d" % i), check=True, timeout=seconds(20))
        assert sub.communicate(timeout=seconds(20))[0].split() == ["m0", "m1", "m2"]
        assert sub.returncode == 0


def test_tls_1_2_and_1_3_clients(site):

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        device = site.fresh()
        client = site.sensor(device, tls_version=version)
        client.connect(device)
        client.publish("tls/" + device, "x", 1)
        session = site.gateway.device(device)["sessions"][0]
        assert session["tls"] == version.name.replace("_", ".")
