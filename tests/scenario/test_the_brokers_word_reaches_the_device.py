"""What a broker says at the edges of a connection: reasons, last packets, authentication, silence."""

import pytest

from lib import packets as p
from lib.scripted import ScriptedBroker


@pytest.fixture
def scripted(plant, pki):
    """scripted(script) -> (broker, site) with one device "edge"."""
    brokers = []

    def make(script=None, **options):
        broker = ScriptedBroker(pki, script).start()
        brokers.append(broker)
        return broker, plant(["edge"], broker=broker, **options)
    yield make
    for broker in brokers:
        broker.stop()


@pytest.mark.parametrize("version,code", [(3, 2), (4, 1), (4, 2), (4, 3), (4, 4), (4, 5), (5, 0x80), (5, 0x84),
                                          (5, 0x85), (5, 0x87), (5, 0x88), (5, 0x8A), (5, 0x97), (5, 0x9C)])
def test_refusals_of_connect(scripted, version, code):
    def script(conn, kind, first, body):
        if kind == p.CONNECT:
            props = p.properties([("reason_string", "because"), ("user_property", ("a", "b"))]) if version == 5 else b""
            conn.send(p.packet(p.CONNACK, 0, bytes([0, code]) + props))
            conn.close()
        return True
    _, site = scripted(script)
    client = site.sensor("edge", version)
    ack = client.connect("edge", expect=code)
    if version == 5:
        assert ack.props == [("reason_string", "because"), ("user_property", ("a", "b"))]
    client.wait_end()


def test_v5_disconnect_and_what_came_before_it(scripted):
    """The broker's last messages, its DISCONNECT with reason, and the close, all at once."""
    def script(conn, kind, first, body):
        if kind == p.SUBSCRIBE:
            conn.answer(kind, first, body)
            conn.send(b"".join(p.publish("last", str(i), version=5) for i in range(50)) +
                      p.packet(p.DISCONNECT, 0, b"\x98" + p.properties([("reason_string", "maintenance")])))
            conn.close()
            return True
        return False
    _, site = scripted(script, upstream={"uplink_lost": "drop"})
    client = site.connect("edge", 5)
    client.subscribe(("last", 0))
    client.wait_end()
    assert [m.payload for m in client.messages] == [b"%d" % i for i in range(50)]
    bye = client.packets[-1]
    assert (bye.kind, bye.reason, bye.prop("reason_string")) == (p.DISCONNECT, 0x98, "maintenance")


def test_the_last_packet_before_a_close_reaches_the_device(scripted):
    def script(conn, kind, first, body):
        if kind == p.PUBLISH:
            conn.answer(kind, first, body)
            conn.send(p.publish("last", "word"))
            conn.close()
            return True
        return False
    _, site = scripted(script, upstream={"uplink_lost": "drop"})
    client = site.connect("edge", 4)
    client.publish("t", "x", 1)
    assert client.wait_messages(1)[0].payload == b"word"
    client.wait_end()


def test_authentication_of_several_rounds(scripted):
    method = [("auth_method", "RIDDLE")]

    def script(conn, kind, first, body):
        rounds = sum(1 for r in conn.received if r[0] == p.AUTH)
        if kind == p.CONNECT or (kind == p.AUTH and rounds < 3):
            conn.send(p.packet(p.AUTH, 0, b"\x18" + p.properties(method + [("auth_data", b"?%d" % rounds)])))
            return True
        if kind == p.AUTH and rounds == 3:
            conn.send(p.packet(p.CONNACK, 0, b"\0\0" + p.properties(method + [("auth_data", b"ok")])))
            return True
        if kind == p.AUTH:  # once more, while connected
            conn.send(p.packet(p.AUTH, 0, b"\0" + p.properties(method)))
            return True
        return False
    broker, site = scripted(script)
    client = site.sensor("edge", 5).open()
    client.send_raw(client.connect_packet("edge", props=method + [("auth_data", b"hello")]))
    for n in range(3):
        client.reactor.wait("AUTH %d" % n, lambda n=n: sum(1 for k in client.packets if k.kind == p.AUTH) > n)
        last = [k for k in client.packets if k.kind == p.AUTH][-1]
        assert (last.reason, last.prop("auth_data")) == (0x18, b"?%d" % n)
        client.send_raw(p.packet(p.AUTH, 0, b"\x18" + p.properties(method + [("auth_data", b"%d" % n)])))
    assert client.connack().prop("auth_data") == b"ok"
    client.send_raw(p.packet(p.AUTH, 0, b"\x19" + p.properties(method)))
    client.reactor.wait("AUTH again", lambda: client.packets[-1].kind == p.AUTH)
    assert client.packets[-1].reason == 0
    got = [r[2] for r in broker.connections[-1].received if r[0] == p.AUTH]
    assert len(got) == 4 and got[3][0] == 0x19


def test_a_broker_that_never_sends_connack(scripted):
    _, site = scripted(lambda conn, kind, first, body: True, upstream={"connack_timeout_ms": 500})
    client = site.sensor("edge", 4)
    client.connect("edge", expect=3)
    client.wait_end()
    client = site.sensor("edge", 5)
    client.connect("edge", expect=0x88)
    client.wait_end()


def test_templates_for_client_id_and_login(scripted):
    broker, site = scripted(upstream={"client_id": "{gateway}-{device}-{client_id}", "username": "u-{cn}",
                                      "password": "{{{password}"})
    site.sensor("edge", 4).connect("me", username="mine", password="secret")
    conn = broker.wait_connection()
    body = conn.wait(p.CONNECT)[2]
    assert conn.client_id == "gw-test-edge-me"
    assert body.endswith(p.text("u-edge") + p.text("{secret"))


def test_no_login_upstream(scripted):
    broker, site = scripted(upstream={"username": "", "password": ""})
    site.sensor("edge", 4).connect("edge", username="mine", password="secret")
    conn = broker.wait_connection()
    conn.wait(p.CONNECT)
    assert conn.connect_flags & 0xC0 == 0


def test_keepalive_of_our_own(scripted):
    broker, site = scripted(upstream={"keepalive_as_device": False, "keepalive_s": 7})
    site.connect("edge", 4, keepalive=0)
    body = broker.wait_connection().wait(p.CONNECT)[2]
    assert body[8:10] == b"\0\x07"


def test_a_topic_alias_of_the_brokers(scripted):
    """Aliases from the broker are understood by the device, before and after a flip."""
    def script(conn, kind, first, body):
        if kind == p.CONNECT:
            conn.answer(kind, first, body)
            conn.send(p.publish("alias/" + conn.slot, "1", version=5, props={"topic_alias": 1}))
            conn.send(p.publish("", "2", version=5, props={"topic_alias": 1}))
            return True
        return False
    _, site = scripted(script)
    client = site.sensor("edge", 5)
    client.connect("edge", props={"topic_alias_maximum": 3})
    client.wait_messages(2)
    site.gateway.flip("edge", probation_s=1)
    got = client.wait_messages(4)
    aliases = {}
    topics = []
    for m in got:
        alias = dict(m.props).get("topic_alias")
        if m.topic:
            aliases[alias] = m.topic
        topics.append(m.topic or aliases[alias])
    assert topics == ["alias/old"] * 2 + ["alias/new"] * 2


def test_a_devices_topic_aliases_hold_over_a_flip(plant):
    site = plant(["aliased"])
    client = site.connect("aliased", 5)
    observer = site.observer()
    observer.subscribe(("al/#", 1))
    client.publish("al/one", "1", 1, props={"topic_alias": 1})
    client.publish("al/two", "2", 1, props={"topic_alias": 2})
    client.publish("", "3", 1, props={"topic_alias": 1})
    site.gateway.flip("aliased", probation_s=1)
    site.broker.wait_slot("aliased", "new")
    client.publish("", "4", 1, props={"topic_alias": 2})
    client.publish("al/three", "5", 1, props={"topic_alias": 1})
    client.publish("", "6", 1, props={"topic_alias": 1})
    assert [(m.topic, m.payload) for m in observer.wait_messages(6)] == [
        ("al/one", b"1"), ("al/two", b"2"), ("al/one", b"3"), ("al/two", b"4"), ("al/three", b"5"), ("al/three", b"6")]
