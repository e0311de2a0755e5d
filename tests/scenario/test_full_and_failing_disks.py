"""A disk that is full, cannot be synced or has become read-only: what is commanded is refused with a sentence, nothing is
changed, no sensor is stranded, and all goes on when it is mended."""

import os
import shutil
import subprocess

import pytest

from lib import pki as _pki
from lib.gateway import Refused
from lib.pki import openssl
from lib.power import Power, crash_points, read_journal
from lib.wait import until

FAULTS = pytest.mark.skipif(not crash_points(), reason="configure --enable-crash-points")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
EACH = pytest.mark.parametrize("fault", ["disk.write:1+:ENOSPC", "disk.sync:1+:EIO", "disk.write:1+:EROFS"],
                               ids=["full", "not-synced", "read-only"])


def _refused(site, method, device, **params):
    with pytest.raises(Refused) as refused:
        site.gateway.rpc(method, target=device, **params)
    assert refused.value.name == "store", refused.value.error
    assert "nothing was done" in str(refused.value)
    return str(refused.value)


@FAULTS
def test_a_commit_that_was_not_synced_does_not_come_back(plant):
    """It is in the log already when its sync fails; the power cut that follows must not bring it to life."""
    site = plant(["one"], start=False)
    power = Power(site)
    site.__enter__()
    site.connect("one")
    power.arm("disk.sync:1:EIO")
    _refused(site, "flip", "one")
    site.gateway.kill()
    power.disarm()
    assert read_journal(site.gateway.state)["one"]["phase"] == "staged"
    site.gateway.start()
    assert site.gateway.device("one")["phase"] == "staged"
    site.gateway.flip("one", probation_s=1)
    site.connect("one")
    site.gateway.wait_device("one", phase="committed")


@FAULTS
@EACH
def test_commands_are_refused_and_traffic_goes_on(plant, fault):
    site = plant(["one", "two", "three"], start=False)
    power = Power(site)
    site.__enter__()
    streams = site.streams(["one", "two", "three"], interval=0.01)
    site.gateway.flip("two", probation_s=3600)
    site.gateway.wait_device("two", waiting="probation")
    site.gateway.flip("three", probation_s=1)
    armed = site.gateway.log.mark()
    power.arm(fault)
    streams.progress(5)
    before = {d: site.gateway.device(d) for d in ("one", "two")}
    said = _refused(site, "flip", "one")
    assert ("make room" in said) == ("ENOSPC" in fault), said
    _refused(site, "rollback", "two")
    for device, was in before.items():
        now = site.gateway.device(device)
        assert (now["phase"], now["active"], now["attempts"]) == (was["phase"], was["active"], was["attempts"])
    site.gateway.log.wait("save-failed")
    assert not site.gateway.log.lines("method=(flip|rollback) target=\"(one|two)\".*done 1", armed)
    assert "could not be written" in site.gateway.rpc("status")["messages"][0]
    site.gateway.wait_device("three", waiting="store")
    streams.progress(5)
    power.disarm()
    # What has come due meanwhile is saved when it can be, and commands are taken again.
    site.gateway.wait_device("three", phase="committed")
    site.gateway.rollback("two")
    site.gateway.flip("one", probation_s=1)
    site.gateway.wait_device("one", phase="committed")
    site.gateway.wait_device("two", phase="rolled-back")
    streams.progress(5)
    streams.prove()
    assert read_journal(site.gateway.state)["two"]["phase"] == "rolled-back"


def _distrust_new(site):
    """The broker does not take the new CA any more."""
    with open(site.pki.old.cert, encoding="ascii") as f, open(site.broker.anchors, "w", encoding="ascii") as out:
        out.write(f.read())
    site.broker.restart()


@FAULTS
@EACH
@pytest.mark.parametrize("phase", ["trial", "committed"])
def test_a_refused_identity_is_left_though_that_cannot_be_saved(plant, fault, phase):
    """The device is served by its old identity meanwhile, sensors that come newly included; the rollback is durable as
    soon as there is room."""
    site = plant(["one", "two"], start=False)
    power = Power(site)
    site.__enter__()
    client = site.connect("one")
    site.gateway.flip("*", probation_s=1 if phase == "committed" else 3600)
    if phase == "committed":
        other = site.connect("two")
        site.gateway.wait_device("two", phase=phase)
        other.disconnect()
    site.gateway.wait_device("one", phase=phase, **({"waiting": "probation"} if phase == "trial" else {}))
    power.arm(fault)
    mark = site.broker.log.mark()
    _distrust_new(site)
    for device, sensor in (("one", client), ("two", None)):
        sensor = sensor or site.connect(device, timeout=30)
        until("%s is on its old identity" % device,
              lambda d=device: any("OU=old" in s.user for s in site.broker.seen(d, mark) if s.user), 30)
        sensor.publish("up/" + device, "x", 1, timeout=30)
        assert site.gateway.device(device)["phase"] == phase, "nothing was saved"
    assert read_journal(site.gateway.state)["one"]["phase"] == phase
    power.disarm()
    for device in ("one", "two"):
        state = site.gateway.wait_device(device, phase="rolled-back", active="old")
        assert state["reason"]
    assert not client.ended
    client.publish("up/one", "y", 1)
    assert read_journal(site.gateway.state)["one"]["phase"] == "rolled-back"


class SmallDisk:
    """certflipd's state (or another folder) on a file system of its own, in a mount namespace that lives as long as
    this."""

    def __init__(self, site, size="2m", folder=None):
        self.state = folder or site.gateway.state
        # sleep has the mount when it is there.
        self.holder = subprocess.Popen(["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=%s,mode=700 none '%s' && "
                                        "exec sleep 1000" % (size, self.state)], stdin=subprocess.DEVNULL)
        until("the file system is mounted", self._mounted)
        self.wrap = ("nsenter", "-t", str(self.holder.pid), "-m", "--")

    def _mounted(self):
        with open("/proc/%d/mounts" % self.holder.pid, encoding="utf-8") as f:
            return self.state in f.read()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.holder.kill()
        self.holder.wait()

    def path(self, name=""):
        return os.path.join("/proc/%d/root%s" % (self.holder.pid, self.state), name)

    def fill(self):
        fd = os.open(self.path("filling"), os.O_WRONLY | os.O_CREAT)
        try:
            for size in (65536, 1024, 1):
                try:
                    while True:
                        os.write(fd, b"x" * size)
                except OSError:
                    pass
        finally:
            os.close(fd)

    def empty(self):
        os.unlink(self.path("filling"))


@pytest.fixture
def small(plant):
    """small(devices): a plant, not started, whose gateway has a small disk for its state."""
    disks = []

    def make(devices, **options):
        site = plant(devices, start=False, **options)
        site.broker.start()
        site.gateway.write()
        site.disk = SmallDisk(site)
        disks.append((site, site.disk))
        return site
    yield make
    for site, disk in disks:
        site.gateway.stop()
        disk.__exit__()


@ROOT
def test_a_power_cut_on_a_full_disk_strands_nobody(small):
    """It starts with what the journal says, though it can write nothing down."""
    devices = ["staged", "trial", "committed", "rolled-back", "used-up", "late"]
    site = small(devices, flip={"attempts": 1})
    late = os.path.join(site.folder, "late")
    os.rename(os.path.join(site.gateway.identities, "late"), late)
    site.gateway.launch(wrap=site.disk.wrap)
    for device in devices[1:5]:
        site.connect(device)
    site.gateway.flip(devices[2:4], probation_s=1)
    site.gateway.wait_device("committed", phase="committed")
    site.gateway.rollback("rolled-back")
    site.gateway.flip("used-up", probation_s=3600)
    site.gateway.wait_device("used-up", waiting="probation")
    for client in site.clients:
        if client.client_id == "trial":
            client.disconnect()
    until("the sensor is gone", lambda: not site.gateway.device("trial")["sessions"])
    site.gateway.flip("trial", probation_s=3600)
    for end in (site.gateway.kill, site.gateway.stop):
        if os.path.exists(late):
            os.rename(late, os.path.join(site.gateway.identities, "late"))
        end()
        if not os.path.exists(site.disk.path("filling")):
            site.disk.fill()
        site.gateway.launch(wrap=site.disk.wrap)
        for device, slot in (("staged", "old"), ("trial", "new"), ("committed", "new"), ("rolled-back", "old"),
                             ("used-up", "old"), ("late", "old")):
            mark = site.broker.log.mark()
            site.connect(device).publish("up", "x", 1)
            assert "OU=" + slot in site.broker.seen(device, mark)[-1].user, device
    site.disk.empty()
    site.gateway.wait_device("used-up", phase="rolled-back", active="old")
    site.gateway.wait_device("late", phase="staged")
    assert read_journal(site.disk.path())["late"]["phase"] == "staged"
    site.gateway.flip("late", probation_s=1)
    site.gateway.wait_device("late", phase="committed")


@ROOT
def test_a_real_disk_that_is_full(small):
    site = small(["one", "two"])
    site.gateway.launch(wrap=site.disk.wrap)
    streams = site.streams(["one"], interval=0.01)
    site.disk.fill()
    said = None
    for _ in range(200):  # the log may have room of its own
        try:
            site.gateway.flip("two")
            site.gateway.rollback("two")
            site.gateway.rpc("quarantine.clear", target="two")
        except Refused as refused:
            said = refused
            break
    assert said and said.name == "store" and "make room" in str(said), said
    streams.progress(5)
    site.disk.empty()
    site.gateway.flip("one", probation_s=1)
    site.gateway.wait_device("one", phase="committed")
    streams.prove()


@ROOT
def test_a_renewal_on_a_full_disk_changes_nothing(plant):
    """A key, or a certificate, for which there is no room is refused whole."""
    site = plant(["one"], start=False)
    site.broker.start()
    site.gateway.write()
    home = os.path.join(site.gateway.identities, "one")
    with SmallDisk(site, "200k", home) as disk:
        shutil.copytree(_kept(site, "one"), disk.path("old"))
        site.gateway.launch(wrap=disk.wrap)
        streams = site.streams(["one"])

        def tree():
            return sorted(os.path.relpath(os.path.join(f, n), disk.path()) for f, _, names in os.walk(disk.path())
                          for n in names if n != "filling")
        disk.fill()
        before = tree()
        with pytest.raises(Refused) as refused:
            site.gateway.rpc("identity.keygen", target="one")
        assert refused.value.name == "store" and "free some space" in str(refused.value)
        assert tree() == before == ["old/chain.pem", "old/key.pem"]
        disk.empty()
        csr = site.gateway.rpc("identity.keygen", target="one")["devices"][0]["csr"]
        signed = openssl("x509", "-req", "-CA", site.pki.new.cert, "-CAkey", site.pki.new.key, "-days", "30",
                         "-set_serial", "77", stdin=csr.encode()).decode()
        disk.fill()
        before = tree()
        with pytest.raises(Refused) as refused:
            site.gateway.rpc("identity.install", device="one", chain=signed)
        assert refused.value.name == "store" and tree() == before
        assert site.gateway.device("one")["slots"]["new"]["csr_since"]
        disk.empty()
        assert site.gateway.rpc("identity.install", device="one", chain=signed)["phase"] == "staged"
        streams.prove()
        site.gateway.stop()


def _kept(site, device):
    """The usual old identity of a device, in a folder beside the one that the mount hides."""
    kept = os.path.join(site.folder, "kept")
    _pki.install(kept, device, "old", site.pki.identity(device, "old"))
    return os.path.join(kept, device, "old")
