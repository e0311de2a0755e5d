"""A gateway whose wall clock says 1970, or a date ten years ahead, rolls nothing back, cuts nobody off, and goes on when
the clock is right again."""

import glob
import os

import pytest

from lib.gateway import Refused, build_dir, sanitizer
from lib.wait import until

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def _program():
    """A certflipd without sanitizers, which do not live with libfaketime: ours, or that of ./bootstrap check."""
    folder = os.path.join(os.path.dirname(build_dir()), "plain") if sanitizer() else build_dir()
    path = os.path.join(folder, "certflipd")
    return path if os.access(path, os.X_OK) else None


WRONG = pytest.mark.parametrize("wrong", ["@1970-01-02 00:00:00", "+10y"], ids=["1970", "ten-years-ahead"])


class Clock:
    """The wall clock of a gateway, and of nobody else."""

    def __init__(self, site, program):
        self.path = os.path.join(site.folder, "clock")
        site.gateway.program = program
        site.gateway.env.update({"LD_PRELOAD": LIBRARY, "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                                 "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"})
        self.set("+0")

    def set(self, text):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(text + "\n")
        os.rename(self.path + ".new", self.path)


@pytest.fixture
def timed(plant):
    program = _program()
    if not (LIBRARY and program):
        pytest.skip("needs faketime, and a build without sanitizers")

    def make(devices):
        site = plant(devices, start=False)
        site.clock = Clock(site, program)
        return site.__enter__()
    return make


def _year(site):
    return int(site.gateway.rpc("status")["now"][:4])


@WRONG
def test_it_becomes_wrong_during_a_trial(timed, wrong):
    site = timed(["one", "two"])
    right = _year(site)
    streams = site.streams({d: site.connect(d, plain=True) for d in ("one", "two")}, interval=0.01)
    site.gateway.flip("one", probation_s=3)
    site.gateway.flip("two", probation_s=3600)
    for device in ("one", "two"):
        site.gateway.wait_device(device, waiting="probation")
    site.clock.set(wrong)
    assert _year(site) != right
    assert site.gateway.device("one")["phase"] == "trial", "probation has not jumped"
    streams.progress(5)
    site.gateway.wait_device("one", phase="committed", timeout=6)
    # Every way to the broker is refused by us now, and that is no fault of an identity.
    site.broker.restart()
    for device in ("one", "two"):
        until("%s cannot be connected" % device,
              lambda d=device: (site.gateway.device(d)["last_error"] or {}).get("class") == "trust", 15)
    for device, phase in (("one", "committed"), ("two", "trial")):
        state = site.gateway.device(device)
        assert (state["phase"], state["active"]) == (phase, "new"), state
    site.clock.set("+0")
    assert _year(site) == right
    site.gateway.wait_device("two", waiting="probation", timeout=20)
    assert not any(c.ended for c in streams.clients.values()), "no sensor was cut off"
    site.connect("one", plain=True, client_id="one").ping()
    entries = [e["seq"] for e in site.gateway.rpc("audit.list", after=0)["entries"]]
    assert entries == list(range(1, len(entries) + 1))


# Nine: in ten years the authorities of the tests have expired as well.
@pytest.mark.parametrize("wrong", ["@1970-01-02 00:00:00", "+9y"], ids=["1970", "nine-years-ahead"])
def test_it_starts_with_a_wrong_clock(timed, wrong):
    site = timed(["one", "two", "three"])
    site.connect("one", plain=True)
    site.gateway.flip("one", probation_s=3600)
    site.gateway.wait_device("one", waiting="probation")
    site.gateway.flip("two", probation_s=1)
    site.gateway.kill()
    site.clock.set(wrong)
    site.gateway.start()
    for device, phase in (("one", "trial"), ("two", "trial"), ("three", "staged")):
        assert site.gateway.device(device)["phase"] == phase
        site.sensor(device, plain=True).connect(device, expect=None)
        until("the broker is not believed", lambda d=device: (
            site.gateway.device(d)["last_error"] or {}).get("class") == "trust", 15)
        assert site.gateway.device(device)["phase"] == phase
    with pytest.raises(Refused) as refused:
        site.gateway.flip("three")
    assert "not valid before" in str(refused.value) or "expired" in str(refused.value)
    site.clock.set("+0")
    site.connect("one", plain=True)
    site.connect("two", plain=True)
    site.gateway.wait_device("one", waiting="probation")
    site.gateway.wait_device("two", phase="committed")
    site.gateway.flip("three", probation_s=1)
    site.connect("three", plain=True)
    site.gateway.wait_device("three", phase="committed")


def test_without_a_valid_anchor_a_start_is_worth_another_try(timed):
    """Exit status 1, and not that of a configuration which cannot work: systemd starts it again, until the clock is
    right."""
    site = timed(["one"])
    site.gateway.flip("one", probation_s=3600)
    site.gateway.stop()
    site.clock.set("+10y")
    site.gateway.start(wait=False)
    assert site.gateway.wait_exit() == 1
    assert "check the clock" in site.gateway.log.tail(3)
    site.clock.set("+0")
    site.gateway.start()
    site.connect("one", plain=True)
    site.gateway.wait_device("one", waiting="probation")
