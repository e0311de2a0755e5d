"""An accepted connection proves little: a broker may acknowledge what it throws away, and grant what it never serves.
A flip that demands the echo commits only when a message of the device's own session came back on its new connection."""

import time

import pytest

from lib import packets as p
from lib.broker import Mosquitto
from lib.wait import until

VERSIONS = pytest.mark.parametrize("version", [4, 5])

STREAMS = "topic readwrite +/up/+\ntopic readwrite +/down/+\n"
OBSERVERS = "topic readwrite #\n"  # before the first user: for those without a name


def _acl(pki, device, new):
    """The old identity may do everything; `new` are the lines for the new one beside the plant's traffic."""
    names = {slot: pki.identity(device, slot).subject().partition("=")[2] for slot in ("old", "new")}
    return (OBSERVERS + "user %s\ntopic readwrite #\n" % names["old"] +
            "user %s\n%s%s" % (names["new"], STREAMS, "".join("topic %s\n" % line for line in new)))


def _site(plant, pki, tmp_path, device, new, version=4, **gateway):
    broker = Mosquitto(tmp_path / "acl-broker", pki, acl=_acl(pki, device, new))
    upstream = {"echo_timeout_ms": 1500, **gateway.pop("upstream", {})}  # for one that does not come
    broker.start()
    try:
        site = plant([device], broker=broker, upstream=upstream, **gateway)
        site.own_broker = True  # it ends with the plant
    except BaseException:
        broker.stop()
        raise
    return site, site.streams([device], 1, version, interval=0.01)


def _nothing_of_ours_came(streams, device):
    """The sensor has subscribed to its stream alone: everything it got belongs there."""
    client = streams.clients[device]
    assert all(b"certflip-echo" not in m.payload for m in client.messages)
    assert all("certflip/echo" not in m.topic for m in client.messages)


@VERSIONS
def test_who_may_write_and_read_commits(plant, pki, tmp_path, version):
    device = "may-%d" % version
    site, streams = _site(plant, pki, tmp_path, device, ["readwrite certflip/echo/" + device], version,
                          upstream={"echo_timeout_ms": 10000})
    streams.progress(10)
    site.gateway.flip(device, probation_s=2, evidence="echo")
    state = site.gateway.wait_device(device, phase="trial", waiting="probation")
    assert state["evidence"]["wanted"] == ["connack", "echo"]
    until("the echo came back", lambda: "echo" not in site.gateway.device(device)["evidence"]["missing"])
    state = site.gateway.wait_device(device, phase="committed", active="new")
    assert state["evidence"]["missing"] == []
    proven = {proof["what"]: proof for proof in state["evidence"]["proven"]}
    assert proven["connack"]["tls"].startswith("TLSv1.")
    assert proven["connack"]["fingerprint"] == pki.identity(device, "new").fingerprint().replace(":", "").lower()
    assert proven["connack"]["session_present"] is True
    assert 0 < proven["echo"]["ms"] < 10000
    assert "echo in" in state["evidence"]["text"]
    assert site.gateway.log.lines(r"flip device=%s from=trial to=committed .*proven=\"connack over" % device)
    site.broker.log.wait(r"Received UNSUBSCRIBE from " + device)
    streams.progress(10)
    streams.prove()
    _nothing_of_ours_came(streams, device)
    # What was proven is kept, and said in the audit log.
    site.gateway.restart()
    assert site.gateway.device(device)["evidence"]["text"] == state["evidence"]["text"]
    entries = site.gateway.rpc("audit.list")["entries"]
    assert any(e["what"] == "phase committed" and "echo in" in e["outcome"] for e in entries)


@VERSIONS
@pytest.mark.parametrize("may", ["read", "write", "nothing"])
def test_who_may_not_rolls_back(plant, pki, tmp_path, may, version):
    """mosquitto grants a subscription that it will never serve, and in 3.1.1 acknowledges what it throws away."""
    device = "%s-%d" % (may, version)
    new = [] if may == "nothing" else ["%s certflip/echo/%s" % (may, device)]
    site, streams = _site(plant, pki, tmp_path, device, new, version)
    streams.progress(10)
    site.gateway.flip(device, probation_s=60, evidence="echo")
    state = site.gateway.wait_device(device, phase="rolled-back", active="old")
    told = state["last_error"]
    assert told["class"] == "identity" and told["slot"] == "new"
    # 5.0 says no to what is published; to what shall be read it says nothing either.
    assert told["name"] == ("evidence.echo-not-published" if version == 5 and may != "write" else "evidence.no-echo")
    assert "certflip/echo/" + device in told["message"] and "allow" in told["remedy"]
    assert "echo" in state["evidence"]["missing"]
    site.broker.wait_slot(device, "old")
    streams.progress(10)
    streams.prove()
    _nothing_of_ours_came(streams, device)


def test_without_the_demand_nobody_notices(plant, pki, tmp_path):
    """Why one demands it: the new identity may not do a thing, and 3.1.1 has no word for that."""
    site, _ = _site(plant, pki, tmp_path, "blind", [])
    site.gateway.flip("blind", probation_s=1)
    state = site.gateway.wait_device("blind", phase="committed")
    assert state["evidence"]["wanted"] == ["connack"]


def test_the_configuration_may_demand_it(plant, pki, tmp_path):
    site, _ = _site(plant, pki, tmp_path, "conf", [], flip={"evidence": "echo"})
    site.gateway.flip("conf", probation_s=60)
    assert site.gateway.wait_device("conf", phase="rolled-back")["last_error"]["name"] == "evidence.no-echo"
    site.gateway.rpc("quarantine.clear", target="conf")
    site.gateway.flip("conf", probation_s=1, evidence="connack")  # the command knows better
    site.gateway.wait_device("conf", phase="committed")


def test_an_outage_in_the_middle_is_no_refusal(plant, pki, tmp_path):
    """The broker is gone during probation: what was proven is asked for again, and time without it does not count."""
    device = "outage"
    broker = Mosquitto(tmp_path / "acl-broker", pki, acl=_acl(pki, device, ["readwrite certflip/echo/" + device]))
    with broker:
        site = plant([device], broker=broker)
        site.connect(device)
        site.gateway.flip(device, probation_s=6, evidence="echo")
        echoed = r"evidence device=%s slot=new proof=echo" % device
        until("it is proven", lambda: site.gateway.device(device)["evidence"]["missing"] == [])
        broker.kill()
        state = site.gateway.wait_device(device, waiting="upstream")
        assert state["evidence"]["missing"] == ["connack", "echo"] and state["evidence"]["proven"] == []
        broker.start()
        state = site.gateway.wait_device(device, 40, phase="committed")
        assert state["evidence"]["missing"] == []
        assert len(site.gateway.log.lines(echoed)) == 2
        site.clients[0].disconnect()
        site.gateway.stop()


@pytest.mark.parametrize("lost", [False, True])
def test_a_link_that_falls_silent_is_no_refusal(plant, links, lost):
    """In the middle of the echo: whether TCP bridges it, or the leg is given up and the echo asked for again."""
    device = "silent"
    link = links()
    site = plant([device], link=link, workers=1, upstream={
        "echo_timeout_ms": 2000, "connect_timeout_ms": 3000, "connack_timeout_ms": 3000, "barrier_timeout_ms": 2000,
        # How long a broker may be silent follows from the keepalive.
        "keepalive_as_device": False, "keepalive_s": 4 if lost else 60})
    link.weather(rtt_ms=400)
    streams = site.streams({device: site.connect(device, timeout=30, keepalive=60)}, 1, interval=0.05)
    streams.progress(5)
    site.gateway.flip(device, probation_s=30, evidence="echo")
    # Accepted; SUBSCRIBE, PUBLISH and what comes back take 800 ms.
    site.gateway.wait_device(device, 30, waiting="probation")
    assert site.gateway.device(device)["evidence"]["missing"] == ["echo"]
    link.cut()
    time.sleep(6)  # longer than the echo may take
    link.mend()
    until("the echo came back", lambda: site.gateway.device(device)["evidence"]["missing"] == [], 40)
    assert bool(site.gateway.log.lines("uplink-lost device=%s slot=new class=network" % device)) == lost
    assert not site.gateway.log.lines("to=rolled-back|evidence-refused")
    streams.progress(5, timeout=60)
    streams.prove(duplicates=True)


def test_what_the_new_login_may_not_publish_rolls_back(plant, pki, tmp_path):
    """5.0 says it of the device's own messages, without any echo."""
    device = "own-5"
    site, streams = _site(plant, pki, tmp_path, device, [], 5)
    sensor = streams.clients[device]

    def publish(topic):
        pid = sensor.publish(topic, b"x", 1, wait=False)
        after = len(sensor.packets)
        return sensor.await_packet(p.PUBACK, pid=pid, after=max(0, after - 1)).reason

    assert publish("elsewhere") < 0x80
    site.gateway.flip(device, probation_s=60)
    site.gateway.wait_device(device, waiting="probation")
    assert publish("elsewhere") == 0x87, "the device hears the broker's own word"
    state = site.gateway.wait_device(device, phase="rolled-back", active="old")
    assert state["last_error"]["name"] == "evidence.publish-not-authorized"
    assert '"elsewhere"' in state["last_error"]["message"]
    site.broker.wait_slot(device, "old")
    assert publish("elsewhere") < 0x80
    streams.progress(10)
    streams.prove()


def test_certflipctl_tells_what_is_missing_and_ends_with_the_outcome(plant, pki, tmp_path):
    """One may, one may not, one is away: each has its line, and the exit status is that of the gravest."""
    may, may_not, away = "ctl-may", "ctl-not", "ctl-away"
    acl = _acl(pki, may, ["readwrite certflip/echo/" + may]) + _acl(pki, may_not, []).partition(OBSERVERS)[2]
    broker = Mosquitto(tmp_path / "acl-broker", pki, acl=acl)
    with broker:
        site = plant([may, may_not, away], broker=broker, upstream={"echo_timeout_ms": 3000})
        for device in (may, may_not):
            site.connect(device)
        status, out, _ = site.gateway.ctl("flip", "ctl-*", "--probation", "4", "--evidence", "echo",
                                          "--begin-within", "6", "--wait", check=False)
        assert status == 4, out
        assert "%s: trial, in probation until" % may_not in out and "missing: the echo" in out
        assert "%s: trial, waits for the sensor" % away in out
        assert "%s: committed" % may in out
        assert "%s: rolled-back: the broker took a message" % may_not in out and "\n  allow " in out
        assert "%s: given up: not accepted in time" % away in out
        assert out.endswith("3 devices: 1 committed, 1 rolled back, 1 failed\n")
        told = site.gateway.ctl("device", may)[1]
        assert "the echo came back in" in told and "accepted over TLSv1." in told
        assert "missing  " in site.gateway.ctl("device", may_not)[1]
        until("it is counted", lambda: site.gateway.rpc("status")["counters"]["evidence_refused"] == 1)
        for client in site.clients:
            client.disconnect()
        site.gateway.stop()
