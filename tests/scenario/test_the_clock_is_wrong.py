"""A gateway whose wall clock says 1970, or a date ten years ahead, rolls nothing back, cuts nobody off, begins no trial,
and goes on when the clock is right again."""

import datetime
import os
import subprocess

import pytest

from lib import clock
from lib.gateway import Refused, build_dir, sanitizer
from lib.wait import until

LIBRARY = clock.library("libfaketimeMT.so.1")


def _program():
    """A certflipd without sanitizers, which do not live with libfaketime: ours, or that of ./bootstrap check."""
    folder = os.path.join(os.path.dirname(build_dir()), "plain") if sanitizer() else build_dir()
    path = os.path.join(folder, "certflipd")
    return path if os.access(path, os.X_OK) else None


WRONG = pytest.mark.parametrize("wrong", ["@1970-01-02 00:00:00", "+10y"], ids=["1970", "ten-years-ahead"])


class Clock:
    """The wall clock of a gateway, and of nobody else; and what the kernel says of it: "yes", "no", or nothing."""

    def __init__(self, site, program):
        self.path = os.path.join(site.folder, "clock")
        self.sync_path = os.path.join(site.folder, "sync")
        kernel = os.path.join(site.folder, "adjtimex.so")
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", kernel,
                        os.path.join(os.path.dirname(__file__), "adjtimex.c")], check=True, stdin=subprocess.DEVNULL)
        site.gateway.program = program
        site.gateway.env.update({"LD_PRELOAD": LIBRARY + ":" + kernel, "FAKETIME_TIMESTAMP_FILE": self.path,
                                 "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
                                 "CERTFLIP_TEST_SYNC": self.sync_path})
        self.set("+0")
        self.synchronised("no")

    def set(self, text):
        self._write(self.path, text)

    def synchronised(self, text):
        self._write(self.sync_path, text)

    @staticmethod
    def _write(path, text):
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(text + "\n")
        os.rename(path + ".new", path)


@pytest.fixture
def timed(plant):
    program = _program()
    if not (LIBRARY and program):
        pytest.skip("needs faketime, and a build without sanitizers")

    made = []

    def make(devices):
        site = plant(devices, start=False)
        made.append(site)
        site.clock = Clock(site, program)
        return site.__enter__()
    yield make
    for site in made:
        for life in site.gateway.log.find(r"daemon started .*pid=(\d+)"):
            clock.forget(int(life[1]))


def _year(site):
    return int(site.gateway.rpc("status")["now"][:4])


@WRONG
def test_it_becomes_wrong_during_a_trial(timed, wrong):
    site = timed(["one", "two"])
    right = _year(site)
    streams = site.streams({d: site.connect(d, plain=True) for d in ("one", "two")}, interval=0.01)
    site.gateway.flip("one", probation_s=5)
    site.gateway.flip("two", probation_s=3600)
    for device in ("one", "two"):
        site.gateway.wait_device(device, waiting="probation")
    site.clock.set(wrong)
    assert _year(site) != right
    assert site.gateway.device("one")["phase"] == "trial", "probation has not jumped"
    streams.progress(5)
    site.gateway.wait_device("one", phase="committed", timeout=15)
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
    site = timed(["one", "two", "three", "four"])
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
    assert ("the clock is wrong" if "1970" in wrong else "expired") in str(refused.value)
    site.gateway.flip("four", force=True, probation_s=1)  # whoever says so answers for clock and dates
    assert site.gateway.device("four")["phase"] == "trial"
    site.clock.set("+0")
    site.clock.synchronised("yes")  # else somebody has to say which of the two times was wrong
    site.connect("one", plain=True)
    site.connect("two", plain=True)
    site.gateway.wait_device("one", waiting="probation")
    site.gateway.wait_device("two", phase="committed")
    site.gateway.flip("three", probation_s=1)
    site.connect("three", plain=True)
    site.gateway.wait_device("three", phase="committed")
    site.connect("four", plain=True)
    site.gateway.wait_device("four", phase="committed")


def test_without_a_valid_anchor_a_start_is_worth_another_try(timed):
    """Exit status 1, and not that of a configuration which cannot work: systemd starts it again, until the clock is
    right."""
    site = timed(["one"])
    site.gateway.flip("one", probation_s=3600)
    site.gateway.stop()
    site.clock.set("+10y")
    pid = site.gateway.start(wait=False).pid
    assert site.gateway.wait_exit() == 1
    clock.forget(pid)
    assert "check the clock" in site.gateway.log.tail(3)
    site.clock.set("+0")
    site.gateway.start()
    site.connect("one", plain=True)
    site.gateway.wait_device("one", waiting="probation")


def test_a_flip_needs_a_clock_that_somebody_keeps_right(timed):
    site = timed(["one", "two"])
    site.gateway.conf["clock"]["require_sync"] = True
    site.gateway.reload()
    site.connect("one", plain=True)
    with pytest.raises(Refused) as refused:
        site.gateway.flip("one")
    assert refused.value.name == "clock" and "--force" in refused.value.error["data"]["remedy"], refused.value
    code, _, err = site.gateway.ctl("flip", "one", check=False)
    assert code == 1 and "the clock is not synchronised" in err and "timedatectl" in err, err
    status = site.gateway.ctl("status")[1]
    assert "not synchronised" in status and "flips are refused" in status, status
    site.gateway.ctl("flip", "one", "--force", "--probation", "3600")
    site.gateway.wait_device("one", waiting="probation")
    assert "flip-forced" in site.gateway.log.text()
    site.gateway.rpc("rollback", target="one")  # never refused for the clock
    site.gateway.wait_device("one", phase="rolled-back")
    site.clock.synchronised("?")
    until("it is not known", lambda: site.gateway.rpc("status")["clock"]["synchronised"] is None, 5)
    with pytest.raises(Refused) as refused:
        site.gateway.flip("two")
    assert "does not say" in str(refused.value)
    site.clock.synchronised("yes")
    until("it is synchronised", lambda: site.gateway.rpc("status")["clock"]["synchronised"], 5)
    assert "within 4 ms" in site.gateway.ctl("status")[1]
    site.gateway.flip("two", probation_s=3600)
    assert site.gateway.device("two")["phase"] == "trial"
    site.clock.synchronised("no")  # what has begun goes on
    site.connect("two", plain=True)
    site.gateway.wait_device("two", waiting="probation")
    site.gateway.conf["clock"]["require_sync"] = False
    site.gateway.reload()
    site.gateway.rpc("quarantine.clear", target="one")
    site.gateway.flip("one", probation_s=3600)
    assert site.gateway.rpc("status")["clock"]["flips"] is True


def test_a_clock_without_a_battery_strands_nobody(timed):
    """After a power cut it says 1970, and no time server can be reached.  What was valid when the clock was last right is
    valid; what had expired is not."""
    site = timed(["one", "two"])
    day = datetime.timedelta(days=1)
    today = datetime.datetime.now(datetime.timezone.utc)
    stamp = "%Y%m%d%H%M%SZ"
    gone = site.pki.old.issue_dated("gone", "/CN=two", (today - 30 * day).strftime(stamp), (today - day / 24).strftime(stamp))
    site.clock.synchronised("yes")
    site.gateway.restart()
    site.connect("one")
    site.gateway.kill()
    site.clock.set("@1970-01-02 00:00:00")
    site.clock.synchronised("no")
    site.gateway.start()
    assert _year(site) == 1970
    assert "clock-behind" in site.gateway.log.text()
    site.connect("one").ping()
    until("its leg is accepted", lambda: (site.gateway.device("one")["upstream"] or {}).get("state") == "accepted", 15)
    sensor = site.sensor("two", pair=gone)
    with pytest.raises(ConnectionError):
        sensor.connect("two")
    assert "has expired" in site.gateway.log.text()
    with pytest.raises(Refused) as refused:
        site.gateway.flip("one")
    assert refused.value.name == "clock", refused.value
    site.clock.set("+0")
    site.clock.synchronised("yes")
    until("it is heard of", lambda: site.gateway.rpc("status")["clock"]["flips"], 5)
    site.gateway.flip("one", probation_s=1)
    site.gateway.wait_device("one", phase="committed")
