"""Hundreds of trials at once: an outage rolls back none of them, a broker that refuses the new CA all of them.

CERTFLIP_TEST_FLEET says how many devices (default: 200).
"""

import datetime
import os
import re
import signal

import pytest

from lib import fleet
from lib.broker import Mosquitto
from lib.gateway import Certflipd, sanitizer
from lib.wait import until

COUNT = int(os.environ.get("CERTFLIP_TEST_FLEET", "200"))
CENTRAL = 10  # dev-00000 to dev-00009

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not fleet.flags(), reason="fleet.c needs OpenSSL's development files"),
              pytest.mark.skipif(sanitizer() == "tsan", reason="TSan makes a handshake a hundred times as dear")]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return fleet.build(tmp_path_factory.mktemp("fleet"))


class Site:
    """A broker that remembers over a restart, a gateway and a fleet of devices with traffic."""

    def __init__(self, folder, pki, program, **upstream):
        self.pki = pki
        kept = folder / "kept"
        kept.mkdir(mode=0o777)
        self.broker = Mosquitto(folder / "broker", pki,
                                extra="persistence true\npersistence_location %s/\nautosave_interval 0" % kept)
        self.kept = kept / "mosquitto.db"
        self.gateway = Certflipd(folder / "gateway", pki, self.broker, upstream=upstream,
                                 flip={"backoff_network_s": [1, 2], "jitter_ms": 0})
        self.gateway.listener("plain")["backlog"] = 1024
        fleet.issue(program, pki, self.gateway.identities, COUNT)
        self.fleet = fleet.Fleet(program, COUNT, self.gateway, self.broker)
        self.fleet_up = True

    def __enter__(self):
        self.broker.start()
        self.gateway.start()
        self.fleet("connect", 20)
        return self

    def __exit__(self, kind, *unused):
        self.fleet.stop()
        self.gateway.__exit__(kind)
        self.broker.stop()

    def counts(self):
        return self.gateway.rpc("status")["devices"]

    def wait_counts(self, timeout=60, **wanted):
        until(lambda: "there are %s: %s" % (wanted, self.counts()),
              lambda: wanted.items() <= self.counts().items(), timeout, 0.1)

    def wait_pace(self, what, condition, timeout=60):
        until(lambda: "%s: %s" % (what, self.gateway.rpc("status")["pace"]),
              lambda: condition(self.gateway.rpc("status")["pace"]), timeout, 0.01)

    def some_traffic(self, interval_ms=2000):
        """A message each way for each device, at least."""
        self.fleet("go", interval_ms)
        until(lambda: "there is traffic: %s" % self.fleet("stat"),
              lambda: min(self.fleet("stat")[way] for way in ("up", "down")) > COUNT, 60, 0.1)

    def save(self):
        """The broker writes down what it knows."""
        before = self.kept.stat().st_mtime_ns if self.kept.exists() else 0
        self.broker.process.send_signal(signal.SIGUSR1)
        until("the broker has saved", lambda: self.kept.exists() and self.kept.stat().st_mtime_ns > before)

    def prove(self):
        """Everything has arrived, nobody was cut off.  QoS 1 may be sent again where the broker dies."""
        stat = self.fleet("quiet", 60)
        assert (stat["ready"], stat["ended"], stat["missing"], stat["skipped"]) == (COUNT, 0, 0, 0), stat
        assert stat["up"] > COUNT and stat["down"] > COUNT, stat
        return stat

    def times(self, pattern):
        """{device: time of its first line that matches}, in seconds."""
        found = {}
        for line in self.gateway.log.text().splitlines():
            if re.search(pattern, line):
                device = re.search(r"device=(\S+)", line)[1]
                at = datetime.datetime.fromisoformat(line.split(" ", 1)[0].replace("Z", "+00:00"))
                found.setdefault(device, at.timestamp())
        return found


def begin(site):
    """Ten trials that somebody has to confirm, all others decide by themselves; a third of them has moved."""
    site.gateway.rpc("flip", target="dev-0000?", probation_s=1, confirm="central", confirm_s=6)
    site.gateway.rpc("flip", target="dev-0*", probation_s=4)
    site.wait_pace("a third has moved", lambda p: p["waiting"] < COUNT * 2 // 3)


def end(site):
    """The outage has lasted beyond every deadline; the trials go on where they were."""
    site.wait_counts(committed=COUNT - CENTRAL, rolled_back=CENTRAL)
    site.wait_pace("all have moved", lambda p: p["waiting"] == p["moving"] == 0 and not p["paused"])
    stat = site.prove()
    for device in fleet.names(CENTRAL):
        assert site.gateway.device(device)["reason"] == "nobody confirmed in time"
    return stat


def test_a_broker_that_dies_rolls_back_no_trial(tmp_path, pki, program):
    """Killed in the middle of the flips, back after every probation and time to confirm has passed."""
    with Site(tmp_path, pki, program) as site:
        site.some_traffic()
        site.fleet("quiet", 20)  # what it has acknowledged, and not saved, dies with it
        begin(site)
        site.save()
        site.broker.kill()
        site.fleet("go", 2000)
        site.wait_counts(rolled_back=CENTRAL)  # their deadline goes on counting: that is its purpose
        site.wait_pace("the outage is seen as one", lambda p: p["paused"])
        counts = site.counts()
        assert (counts["trial"], counts["committed"]) == (COUNT - CENTRAL, 0), counts
        site.broker.start()
        end(site)


def test_a_link_that_is_dead_rolls_back_no_trial(tmp_path, pki, program):
    """The broker stops in the middle of the flips, without a word, and goes on later."""
    with Site(tmp_path, pki, program, connect_timeout_ms=1500, connack_timeout_ms=1500,
              barrier_timeout_ms=1000) as site:
        site.some_traffic()
        begin(site)
        site.broker.freeze()
        site.wait_counts(rolled_back=CENTRAL)
        site.wait_pace("the outage is seen as one", lambda p: p["paused"])
        assert site.counts()["rolled_back"] == CENTRAL
        site.broker.thaw()
        end(site)


def whole_within(site, failed, whole, bound_s=2):
    """Each device was whole again so soon after its failure was detected."""
    assert set(failed) <= set(whole), sorted(set(failed) - set(whole))
    took = sorted(whole[d] - failed[d] for d in failed)
    assert took[-1] <= bound_s, "median %.2f s, longest %.2f s" % (took[len(took) // 2], took[-1])


@pytest.mark.timed
def test_a_broker_that_refuses_the_new_ca_rolls_back_all(tmp_path, pki, program):
    """The old legs were never left, so nobody waits for anything."""
    with Site(tmp_path, pki, program) as site:
        with open(site.broker.anchors, "wb") as f, open(pki.old.cert, "rb") as old:
            f.write(old.read())
        site.broker.restart()
        until("all are back on the broker", lambda: site.gateway.rpc("status")["counters"]["legs_up"] == COUNT, 60, 0.1)
        site.some_traffic(1000)
        site.fleet("mark")
        assert site.gateway.rpc("flip", target="dev-*")["done"] == COUNT
        site.wait_counts(rolled_back=COUNT)
        stat = site.prove()
        assert stat["twice"] == 0 and stat["max_ms"] < 2000, stat
        failed = site.times(r" uplink-failed .*slot=new class=identity cause=tls\.unknown_ca")
        assert len(failed) == COUNT
        whole_within(site, failed, site.times(r' flip device=\S+ from=rolled-back to=rolled-back cause="?rolled\b'))


def test_a_ca_that_is_taken_away_in_a_trial_rolls_back_all(tmp_path, pki, program):
    """All legs are lost, and the new identities do not get in any more: no leg is there to go back to."""
    with Site(tmp_path, pki, program) as site:
        assert site.gateway.rpc("flip", target="dev-*", probation_s=600)["done"] == COUNT
        site.wait_pace("all have moved", lambda p: p["waiting"] == p["moving"] == 0)
        site.some_traffic()
        site.fleet("quiet", 20)
        site.save()
        with open(site.broker.anchors, "wb") as f, open(pki.old.cert, "rb") as old:
            f.write(old.read())
        site.broker.kill()
        site.fleet("go", 2000)
        site.broker.start()
        site.wait_counts(rolled_back=COUNT)
        site.prove()
        failed = site.times(r" uplink-failed .*slot=new class=identity")
        assert len(failed) == COUNT
        whole_within(site, failed, site.times(r" rehomed device=\S+ slot=old"))
