"""What was decided survives a restart, a crash, and a crash in the middle of a trial."""

import os
import shutil

import pytest


def _plant(plant):
    return plant(["one", "two", "three"])


def test_restart_keeps_the_active_slot(plant):
    site = _plant(plant)
    for device in ("one", "two"):
        site.connect(device)
        site.gateway.flip(device, probation_s=1)
        site.gateway.wait_device(device, phase="committed")
    site.gateway.rollback("two")
    site.gateway.wait_device("two", phase="rolled-back")
    before = {d: site.gateway.device(d) for d in site.devices}
    site.gateway.restart()
    for device, was in before.items():
        now = site.gateway.device(device)
        for key in ("phase", "active", "reason", "slots", "changed"):
            assert now[key] == was[key], (device, key)
    for device, slot in (("one", "new"), ("two", "old"), ("three", "old")):
        mark = site.broker.log.mark()
        site.connect(device)
        assert "OU=" + slot in site.broker.seen(device, mark)[0].user


@pytest.mark.parametrize("when", range(4))
def test_kill_9_around_a_flip(plant, when):
    """Killed right after the reply, or a little later: one usable active identity, and the trial is resumed."""
    site = _plant(plant)
    site.connect("one")
    site.gateway.flip("one", probation_s=2)
    if when == 1:
        site.broker.wait_slot("one", "new")
    elif when == 2:
        site.gateway.wait_device("one", waiting="probation")
    elif when == 3:
        site.gateway.wait_device("one", phase="committed")
    site.gateway.kill()
    site.gateway.start()
    state = site.gateway.device("one")
    if when < 3:
        assert state["phase"] == "trial" and state["active"] == "new" and state["attempts"] == 1
    else:
        assert state["phase"] == "committed"
    site.connect("one")
    site.gateway.wait_device("one", phase="committed", active="new")
    site.broker.wait_slot("one", "new")


def test_a_trial_that_keeps_crashing_is_rolled_back(plant):
    """Like an A/B boot slot: the attempts are counted, then the old one is taken.  A restart that tries nothing, as
    the sensor is away, is none."""
    site = _plant(plant)
    site.gateway.conf["flip"]["attempts"] = 3
    site.gateway.reload()
    site.gateway.flip("one", probation_s=3600)
    for attempt in range(1, 4):
        site.connect("one")
        site.gateway.wait_device("one", attempts=attempt, waiting="probation")
        for _ in range(3 if attempt < 3 else 1):
            assert site.gateway.device("one")["phase"] == "trial"
            site.gateway.kill()
            site.gateway.start()
    state = site.gateway.device("one")
    assert (state["phase"], state["active"]) == ("rolled-back", "old")
    assert state["reason"]
    site.connect("one")
    site.broker.wait_slot("one", "old")


def test_kill_9_while_many_flip(plant):
    names = ["k-%02d" % i for i in range(30)]
    site = plant(names)
    for name in names:
        site.connect(name)
    site.gateway.flip("k-*", probation_s=1)
    site.gateway.kill()
    site.gateway.start()
    devices = site.gateway.rpc("device.list")["devices"]
    assert {(d["phase"], d["active"]) for d in devices} <= {("trial", "new"), ("staged", "old"), ("committed", "new")}
    assert {d["phase"] for d in devices} & {"trial", "committed"}
    for name in names:
        site.connect(name)
    for name in names:
        assert site.broker.slot(name) == site.gateway.device(name)["active"]


def test_the_audit_log_survives(plant):
    site = _plant(plant)
    site.gateway.flip("one")
    site.gateway.kill()
    site.gateway.start()
    entries = site.gateway.rpc("audit.list")["entries"]
    assert any(e["what"] == "flip" and "one" in e["target"] for e in entries), entries


def test_a_second_daemon_on_the_same_state_is_refused(plant):
    site = _plant(plant)
    other = plant([], broker=site.broker, start=False)
    other.gateway.conf["state"] = site.gateway.state
    other.gateway.start(wait=False)
    assert other.gateway.wait_exit() == 2
    assert site.gateway.state in other.gateway.log.text()
    site.connect("one").ping()


def test_a_damaged_database_is_an_error_that_names_it(plant):
    site = _plant(plant)
    site.gateway.flip("one", probation_s=1)
    site.gateway.stop()
    path = os.path.join(site.gateway.state, "certflip.db")
    with open(path, "r+b") as f:
        f.seek(0)
        f.write(os.urandom(8192))
    site.gateway.start(wait=False)
    assert site.gateway.wait_exit() == 2
    assert "certflip.db" in site.gateway.log.tail(3)
    for name in os.listdir(site.gateway.state):
        if name.startswith("certflip.db"):
            os.unlink(os.path.join(site.gateway.state, name))
    site.gateway.start()
    site.connect("one").ping()


def test_without_its_state_it_starts_anew(plant):
    site = _plant(plant)
    site.gateway.stop()
    shutil.rmtree(site.gateway.state)
    site.gateway.start()
    assert site.gateway.device("one")["phase"] == "staged"
