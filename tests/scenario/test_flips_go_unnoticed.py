"""A flip and the way back under traffic: the device stays connected, no message is lost, the broker sees the other
identity."""

import pytest

from lib import packets as p
from lib.gateway import Refused
from lib.streams import NumberedStreams
from lib.wait import FACTOR, until

VERSION_IDS = {3: "v31", 4: "v311", 5: "v5"}.get
VERSIONS = pytest.mark.parametrize("version", [3, 4, 5], ids=VERSION_IDS)


def _committed(site, *devices):
    for device in devices:
        site.gateway.wait_device(device, phase="committed", active="new")
        site.broker.wait_slot(device, "new")


def _back(site, *devices):
    for device in devices:
        site.gateway.wait_device(device, phase="rolled-back", active="old")
        site.broker.wait_slot(device, "old")


@pytest.mark.threads
@VERSIONS
def test_flip_and_rollback_under_traffic(site, version):
    """QoS 0, 1 and 2, with and without a Will, on TLS and plaintext: six devices at once."""
    observer = site.observer()
    streams, devices = [], []
    for qos in (0, 1, 2):
        for will in (False, True):
            device = site.fresh()
            devices.append(device)
            options = {"will": ("will/" + device, "died", 1, False)} if will else {}
            observer.subscribe(("will/" + device, 1))  # not of those that earlier tests have left behind
            client = site.connect(device, version, plain=qos == 2, **options)
            streams.append(site.streams({device: client}, qos, interval=0.005))
    for s in streams:
        s.progress(20)
    assert {site.broker.slot(d) for d in devices} == {"old"}
    assert site.gateway.flip(devices, probation_s=1)["done"] == len(devices)
    _committed(site, *devices)
    for s in streams:
        s.progress(20)
    assert site.gateway.rollback(devices)["done"] == len(devices)
    _back(site, *devices)
    for s in streams:
        s.progress(20)
    for s in streams:
        device = list(s.clients)[0]
        if s.qos == 0 and devices.index(device) % 2:
            # With a Will the old connection says DISCONNECT first; the broker keeps no QoS 0 for who is away.
            s.stop(timeout=3)
            assert not s.clients[device].ended and s.up[device].lost() == 0 and s.up[device].duplicated() == 0
        else:
            s.prove()
    observer.ping()
    assert not observer.messages, "a Will was published: %s" % observer.messages
    for device in devices:
        # 3.1 cannot tell whether an earlier session is left: one connection more wipes it first.
        assert len(site.broker.seen(device)) == 3 + (version == 3), site.broker.seen(device)
    hold_ms = [int(m[1]) // 1000 for m in site.gateway.log.find(r"rehomed .*hold_us=(\d+)")]
    assert len(hold_ms) >= 2 * len(devices) and max(hold_ms) < 2000 * FACTOR, hold_ms


@pytest.mark.parametrize("mode", ["takeover", "disconnect"])
def test_either_way_of_switching(plant, mode):
    devices = ["way-%d" % q for q in (0, 1, 2)]
    site = plant(devices, upstream={"switch": mode})
    all_streams = []
    for qos, device in enumerate(devices):
        all_streams.append(site.streams([device], qos, interval=0.005))
    for s in all_streams:
        s.progress(20)
    site.gateway.flip("way-*", probation_s=1)
    _committed(site, *devices)
    for s in all_streams:
        s.progress(20)
        if s.qos == 0 and mode == "disconnect":
            s.stop(timeout=3)
            assert s.up["way-0"].lost() == s.up["way-0"].duplicated() == 0 and not s.clients["way-0"].ended
        else:
            s.prove()


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_flips_under_either_version_of_tls(plant, tls):
    site = plant(["tls-1"], upstream={"tls_min": tls, "tls_max": tls})
    streams = site.streams(["tls-1"])
    streams.progress(5)
    site.gateway.flip("tls-1", probation_s=1)
    _committed(site, "tls-1")
    assert site.gateway.device("tls-1")["upstream"]["tls"] == "TLSv" + tls
    streams.progress(5)
    streams.prove()


def test_back_and_forth_ten_times(site):
    device = site.fresh()
    streams = site.streams([device], 1, interval=0.003)
    streams.progress(10)
    for n in range(5):
        site.gateway.flip(device, probation_s=30)
        site.broker.wait_slot(device, "new")
        streams.progress(5)
        site.gateway.rollback(device)
        site.gateway.wait_device(device, phase="rolled-back", active="old")
        site.broker.wait_slot(device, "old")
        site.gateway.rpc("quarantine.clear", target=device)
        streams.progress(5)
        assert len(site.broker.seen(device)) == 3 + 2 * n
    streams.prove()


def test_exchanges_under_way_are_finished_first_or_sent_again(site):
    """The device has QoS 1 and 2 messages that it does not acknowledge while the flip goes on."""
    device = site.fresh()
    client = site.connect(device, 4, clean=False)
    client.subscribe(("held/" + device, 2))
    client.auto_ack = False
    observer = site.observer()
    for i in range(4):
        observer.publish("held/" + device, str(i), 1 + i % 2)
    client.wait_messages(4)
    site.gateway.flip(device, probation_s=1)
    site.broker.wait_slot(device, "new", 20)
    client.auto_ack = True
    for m in client.messages[:4]:
        client.send_raw(p.ack(p.PUBACK if m.qos == 1 else p.PUBREC, m.pid))
    _committed(site, device)
    observer.publish("held/" + device, "after", 1)
    client.reactor.wait("the message behind them", lambda: client.messages[-1].payload == b"after")
    client.ping()
    # QoS 2 exactly once.  QoS 1 may come again, marked as a duplicate.
    twos = [m.payload for m in client.messages if m.qos == 2]
    ones = {m.payload for m in client.messages if m.qos == 1}
    assert sorted(twos) == [b"1", b"3"] and ones == {b"0", b"2", b"after"}
    assert not client.ended


def test_subscriptions_and_retained_messages_survive(site):
    """Nothing is subscribed twice: retained messages do not come again."""
    device = site.fresh()
    observer = site.observer()
    observer.publish("kept/" + device, "retained", 1, retain=True)
    client = site.connect(device)
    client.subscribe(("kept/" + device, 1), ("also/%s/+" % device, 0))
    client.wait_messages(1)
    site.gateway.flip(device, probation_s=1)
    _committed(site, device)
    observer.publish("also/%s/x" % device, "after", 0)
    assert [m.payload for m in client.wait_messages(2)] == [b"retained", b"after"]
    observer.publish("kept/" + device, "", 1, retain=True)


def test_what_is_known_of_a_flip(site):
    device = site.fresh()
    site.connect(device)
    before = site.gateway.device(device)
    assert (before["phase"], before["active"], before["online"]) == ("staged", "old", True)
    assert before["slots"]["new"]["fingerprint"] == site.pki.identity(device, "new").fingerprint()
    outcome = site.gateway.flip(device, probation_s=2)
    assert outcome["done"] == 1 and outcome["refused"] == 0
    assert outcome["devices"][0]["changed"] and outcome["devices"][0]["phase"] == "trial"
    trial = site.gateway.wait_device(device, phase="trial", waiting="probation")
    assert trial["active"] == "new" and trial["due"]
    assert trial["upstream"]["fingerprint"] == before["slots"]["new"]["fingerprint"]
    assert trial["upstream"]["state"] == "accepted"
    again = site.gateway.flip(device)
    assert not again["devices"][0]["changed"]
    _committed(site, device)
    lines = site.gateway.log.lines(r"device=%s\b.*(trial|committed)" % device)
    assert lines, site.gateway.log.tail()


def test_a_device_that_is_away_is_tried_when_it_comes(site):
    device = site.fresh()
    site.gateway.flip(device, probation_s=1)
    site.gateway.wait_device(device, phase="trial", waiting="device")
    client = site.connect(device)
    _committed(site, device)
    assert len(site.broker.seen(device)) == 1
    client.ping()


def test_rollback_of_a_device_that_is_away(site):
    device = site.fresh()
    site.connect(device).disconnect()
    site.gateway.flip(device, probation_s=1)
    site.gateway.rollback(device)
    site.gateway.wait_device(device, phase="rolled-back", active="old")
    site.connect(device)
    site.broker.wait_slot(device, "old")


def test_a_device_that_leaves_in_the_middle(site):
    """Flip, and the device goes at any moment of it: the next connection uses what is active."""
    device = site.fresh()
    for n in range(6):
        client = site.connect(device)
        client.publish("x", "x", 1)
        site.gateway.flip(device, probation_s=30)
        if n % 2:
            client.reset()
        else:
            client.disconnect()
        state = site.gateway.device(device)
        assert state["phase"] == "trial" and state["active"] == "new"
        again = site.connect(device)
        site.broker.wait_slot(device, "new")
        site.gateway.rollback(device)
        site.gateway.wait_device(device, phase="rolled-back")
        site.broker.wait_slot(device, "old")
        again.ping()
        again.disconnect()
        site.gateway.rpc("quarantine.clear", target=device)


def test_confirmed_by_the_centre(site):
    device = site.fresh()
    streams = site.streams([device])
    site.gateway.flip(device, confirm="central", confirm_s=60, probation_s=1)
    site.gateway.wait_device(device, phase="trial", waiting="confirm")
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("confirm", target=device, fingerprint=site.pki.identity(device, "old").fingerprint())
    assert refused.value.name == "fingerprint"
    site.gateway.rpc("confirm", target=device, fingerprint=site.pki.identity(device, "new").fingerprint())
    _committed(site, device)
    streams.progress(5)
    streams.prove()


def test_not_confirmed_in_time(site):
    device = site.fresh()
    streams = site.streams([device])
    site.gateway.flip(device, confirm="central", confirm_s=1, probation_s=1)
    site.broker.wait_slot(device, "new")
    _back(site, device)
    streams.progress(5)
    streams.prove()
    assert site.gateway.device(device)["reason"]


def test_refused_commands(site):
    device = site.fresh()
    for name, call in (
            ("no-such-device", lambda: site.gateway.flip("nobody")),
            ("no-such-device", lambda: site.gateway.flip("nobody-*")),
            ("phase", lambda: site.gateway.rollback(device)),
            ("phase", lambda: site.gateway.rpc("commit", target=device)),
            ("invalid-params", lambda: site.gateway.rpc("flip")),
            ("invalid-params", lambda: site.gateway.rpc("flip", target=device, colour="red")),
            ("invalid-params", lambda: site.gateway.flip(device, probation_s=-1)),
            ("invalid-params", lambda: site.gateway.flip(7)),
            ("too-late", lambda: site.gateway.flip(device, not_after_s=1000000000)),
            ("no-such-method", lambda: site.gateway.rpc("explode"))):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.name == name
        assert refused.value.error["message"]
    assert site.gateway.device(device)["phase"] == "staged"


def test_quarantine(site):
    device = site.fresh()
    client = site.connect(device)
    site.gateway.flip(device)
    site.broker.wait_slot(device, "new")
    site.gateway.rollback(device)
    site.gateway.wait_device(device, phase="rolled-back")
    with pytest.raises(Refused) as refused:
        site.gateway.flip(device)
    assert refused.value.name == "quarantined"
    assert "quarantine" in (refused.value.error["data"].get("remedy") or refused.value.error["message"])
    site.gateway.rpc("quarantine.clear", target=device)
    site.gateway.flip(device, probation_s=1)
    _committed(site, device)
    client.ping()


def test_a_device_without_new_identity_cannot_flip(plant):
    site = plant([])
    site.gateway.install("bare", new=False)
    site.gateway.rpc("config.reload")
    assert site.gateway.device("bare")["phase"] == "steady"
    with pytest.raises(Refused) as refused:
        site.gateway.flip("bare")
    assert refused.value.name in ("no-identity", "phase")


def test_fifty_at_once(plant):
    names = ["wave-%02d" % i for i in range(50)]
    site = plant(names)
    clients = {n: site.connect(n, (4, 5)[i % 2]) for i, n in enumerate(names)}
    streams = NumberedStreams(clients, site.observer(), 1, interval=0.05).start()
    streams.progress(5)
    site.gateway.flip("wave-*", probation_s=1)
    _committed(site, *names)
    site.gateway.rollback("wave-*")
    _back(site, *names)
    streams.progress(5)
    streams.prove()
    until("one session each", lambda: site.gateway.rpc("status")["counters"]["sessions"] == 50)
