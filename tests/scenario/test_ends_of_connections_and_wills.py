"""How a connection ends decides over the Will, and nothing that was sent before the end is lost."""

import time

import pytest

from lib import packets as p
from lib.wait import until

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5], ids={3: "v31", 4: "v311", 5: "v5"}.get)
PLAIN = pytest.mark.parametrize("plain", [False, True], ids=["tls", "plaintext"])


def _with_will(site, version, plain=False, **options):
    device = site.fresh()
    observer = site.observer()
    observer.subscribe(("will/" + device, 1))
    client = site.connect(device, version, plain, will=("will/" + device, "gone", 1, False), **options)
    return device, client, observer


def _no_will(site, device, observer, mark):
    """The broker has seen the end, and what it had to say about it has reached the observer by now."""
    site.broker.log.wait(r"Client %s (disconnected|closed its connection)" % device, mark)
    observer.ping()
    assert not observer.messages


@pytest.mark.parametrize("how", ["reset", "cut", "close"])
@PLAIN
@VERSIONS
def test_a_device_that_dies_leaves_its_will(site, version, plain, how):
    _, client, observer = _with_will(site, version, plain)
    getattr(client, how)()
    assert observer.wait_messages(1)[0].payload == b"gone"


@PLAIN
@VERSIONS
def test_a_device_that_says_disconnect_leaves_none(site, version, plain):
    device, client, observer = _with_will(site, version, plain)
    mark = site.broker.log.mark()
    client.disconnect()
    _no_will(site, device, observer, mark)


def test_v5_disconnect_with_will_leaves_it(site):
    _, client, observer = _with_will(site, 5)
    client.disconnect(0x04)
    assert observer.wait_messages(1)[0].payload == b"gone"


def test_v5_will_delay_and_its_properties(site):
    device = site.fresh()
    observer = site.observer(5)
    observer.subscribe(("will/" + device, 1))
    client = site.connect(device, 5, will=("will/" + device, "gone", 1, False), props={"session_expiry": 60},
                          will_props=[("will_delay", 1), ("content_type", "text/x"), ("user_property", ("a", "b"))])
    died = time.monotonic()
    client.reset()
    message = observer.wait_messages(1)[0]
    assert time.monotonic() - died > 0.9
    assert sorted(message.props) == [("content_type", "text/x"), ("user_property", ("a", "b"))]


def test_v5_device_that_returns_within_the_delay_leaves_none(site):
    device = site.fresh()
    observer = site.observer()
    observer.subscribe(("will/" + device, 1))
    will = {"will": ("will/" + device, "gone", 1, False), "props": {"session_expiry": 60}}
    client = site.connect(device, 5, will_props={"will_delay": 2}, **will)
    client.reset()
    again = site.sensor(device, 5)
    assert again.connect(device, clean=False, will_props={"will_delay": 2}, **will).session_present
    again.disconnect()
    marker = site.observer()
    time.sleep(2.5)  # it is the passing of this time that is tested
    marker.publish("will/" + device, "marker", 1)
    assert [m.payload for m in observer.wait_messages(1)] == [b"marker"]


def test_a_retained_will(site):
    device = site.fresh()
    client = site.connect(device, will=("status/" + device, "offline", 1, True))
    client.publish("status/" + device, "online", 1, retain=True)
    client.reset()
    observer = site.observer()
    observer.subscribe(("status/" + device, 1))
    observer.reactor.wait("the Will is retained",
                          lambda: observer.messages and observer.messages[-1].payload == b"offline")


def _leaves_in_a_hurry(site, device, version, plain, first=0):
    """500 messages, DISCONNECT and the end, in one go.  The small buffer makes the last ones come late at the broker."""
    client = site.sensor(device, version, plain=plain)
    client.send_buffer = 8192
    client.connect(device)
    raw = b"".join(p.publish("last/" + device, "%d " % i + "." * 100, version=version)
                   for i in range(first, first + 500))
    client.send_raw(raw + p.disconnect(version))
    until("the kernel has all of it", lambda: client.unsent() == 0)  # close() drops what it has not
    client.close()


@PLAIN
@VERSIONS
def test_nothing_sent_before_the_disconnect_is_lost(site, version, plain):
    """Whatever clears the broker's session must not take it over before all was read."""
    device = site.fresh()
    observer = site.observer()
    observer.subscribe(("last/" + device, 0))
    _leaves_in_a_hurry(site, device, version, plain)
    got = observer.wait_messages(500)
    assert [int(m.payload.split()[0]) for m in got] == list(range(500))


@PLAIN
@VERSIONS
def test_nothing_is_lost_when_the_device_is_back_at_once(site, version, plain):
    """Its next session must not take over what the former one's leg still has on its way."""
    device = site.fresh()
    observer = site.observer()
    observer.subscribe(("last/" + device, 0))
    for i in range(5):
        _leaves_in_a_hurry(site, device, version, plain, first=500 * i)
    got = observer.wait_messages(2500)
    assert [int(m.payload.split()[0]) for m in got] == list(range(2500))


@PLAIN
def test_nothing_sent_before_a_sudden_end_is_lost(site, plain):
    device, client, observer = _with_will(site, 4, plain)
    observer.subscribe(("last/" + device, 0))
    client.send_raw(b"".join(p.publish("last/" + device, str(i)) for i in range(200)))
    client.cut()
    got = observer.wait_messages(201)
    assert [m.payload for m in got] == [b"%d" % i for i in range(200)] + [b"gone"]


def test_half_closed_connections_end(site):
    device, client, observer = _with_will(site, 4, plain=True)
    client.half_close()
    assert observer.wait_messages(1)[0].payload == b"gone"
    client.wait_end()


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_a_silent_device_is_given_up_after_its_keepalive(site, version):
    begun = time.monotonic()  # not later than its CONNECT, the last that is heard of it
    _, client, observer = _with_will(site, version, keepalive=1)
    assert observer.wait_messages(1)[0].payload == b"gone"
    assert time.monotonic() - begun > 1.4
    client.wait_end()
    assert all(k.reason == 0x8D for k in client.packets if k.kind == p.DISCONNECT)


def test_pings_keep_a_device(site):
    device, client, observer = _with_will(site, 4, keepalive=2)
    end = time.monotonic() + 4  # without a ping it is given up after 3
    while time.monotonic() < end:
        client.ping()
        time.sleep(0.4)
    assert not client.ended and not observer.messages


def test_keepalive_0_means_no_timer(site):
    device, client, observer = _with_will(site, 4, keepalive=0)
    site.wait_up(device)
    assert site.broker.seen(device)[-1].keepalive == 0
    quick = site.connect(site.fresh(), keepalive=1)
    quick.wait_end()
    client.ping()
    assert not observer.messages
