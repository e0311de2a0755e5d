"""A flip on a bad link: slow, lossy, cut at any moment of it.  No message is lost, and bad weather alone rolls nothing back.

The link is lib/link.py's: two network namespaces, root needed.
"""

import collections
import random
import time

import pytest

from lib import packets as p
from lib.wait import abreast, seconds, until

# So that bounds are reached within the time that a test has; the link's round trip is far below them.
BOUNDS = {"connect_timeout_ms": 3000, "connack_timeout_ms": 3000, "drain_timeout_ms": 2000, "barrier_timeout_ms": 2000}
# Where what a session does, step by step, can be waited for.
STEPS = {"levels": [{"subsystem": "*", "level": "info"}, {"subsystem": "session", "level": "debug"}]}


def _over(link, plant, devices, **options):
    upstream = {**BOUNDS, **options.pop("upstream", {})}
    return plant(devices, link=link, upstream=upstream, log=STEPS, **options)


def _committed(site, *devices, timeout=60):
    for device in devices:
        site.gateway.wait_device(device, phase="committed", active="new", timeout=timeout)


def _never_rolled_back(site):
    assert not site.gateway.log.lines("to=rolled-back"), site.gateway.log.lines("rolled-back|uplink-")


def _whole(*all_streams, twice=False):
    """Everything is there.  `twice`: a leg was lost, so QoS 1 may come again."""
    for s in all_streams:
        s.progress(10, timeout=60)
    for s in all_streams:
        s.prove(duplicates=twice and s.qos == 1)


@pytest.mark.slow
def test_slow_and_lossy_links(plant, links):
    """There and back again, in every QoS: nothing is lost, doubled or out of order."""
    def story(case):
        rtt_ms, loss, tls = case
        devices = ["far-%d" % i for i in range(6)]
        link = links()
        site = plant(devices, link=link, workers=1, upstream={"tls_min": tls, "tls_max": tls})
        link.weather(rtt_ms, loss, jitter_ms=5, late=0.01)
        streams = [site.streams({d: site.connect(d, (4, 5)[i % 2], timeout=30)}, i // 2, interval=0.02)
                   for i, d in enumerate(devices)]
        for s in streams:
            s.progress(10)
        site.gateway.flip("far-*", probation_s=1)
        _committed(site, *devices)
        for s in streams:
            s.progress(10, timeout=60)
        site.gateway.rollback("far-*")
        for device in devices:
            site.gateway.wait_device(device, phase="rolled-back", active="old", timeout=30)
            site.broker.wait_slot(device, "old", 30)
        _whole(*streams)
        assert link.count()[2] > 10, "the link lost nothing"
    abreast(story, [(rtt_ms, loss, tls) for rtt_ms, loss in ((50, 0.05), (200, 0.02)) for tls in ("1.2", "1.3")])


def _alive(clients, for_s, patience_s=10):
    """For so long the sensors ask, and are answered in time: they have no reason to give up."""
    end = time.monotonic() + for_s
    asked = {client: [] for client in clients}
    before = {client: _answers(client) for client in clients}
    while time.monotonic() < end:
        for client in clients:
            assert not client.ended, client.ended
            client.send_raw(p.pingreq())
            asked[client].append(time.monotonic())
            behind = asked[client][_answers(client) - before[client]:]
            assert not behind or behind[0] > time.monotonic() - seconds(patience_s), "%r is not answered" % client
        time.sleep(0.5)


def _answers(client):
    return sum(1 for packet in client.packets if packet.kind == p.PINGRESP)


class Cut(collections.namedtuple("Cut", "step how for_s")):
    """At which step of the re-home, how, and for how long."""

    def __str__(self):
        return "%s, %s, %g s" % self

    def begin(self, link):
        if self.how == "reset":
            link.refuse()
        else:
            link.cut(self.how)


STEP = ["dialing", "draining", "barrier", "leaving", "switching"]
CUTS = [Cut(step, "both", for_s) for for_s in (1, 6, 32) for step in STEP]  # bridged by TCP, past every bound, half a minute
CUTS += [Cut(step, how, 6) for step in ("barrier", "leaving", "switching") for how in ("up", "down")]
CUTS += [Cut(step, "reset", 3) for step in STEP]


@pytest.mark.slow
def test_the_link_is_cut_at_each_step_of_a_flip(plant, links):
    """The device stays, its messages are held, and all of them arrive; the trial goes on when the link is back."""
    def story(cut):
        # What was sent in QoS 0 is safe so long as no connection breaks, and none is left for another one.
        devices = ["q0", "q1", "q2"] if cut.for_s == 1 and cut.step != "leaving" else ["q1", "q2"]
        bounds = {key: 10000 for key in BOUNDS} if cut.for_s == 1 else BOUNDS
        link = links()
        site = plant(devices, link=link, workers=1, log=STEPS, upstream={
            "switch": "disconnect" if cut.step == "leaving" else "takeover",
            "tls_max": ("1.2", "1.3")[STEP.index(cut.step) + len(cut.how) & 1], **bounds})
        link.weather(rtt_ms=100)
        streams = [site.streams({d: site.connect(d, (4, 5)[i % 2], timeout=20, keepalive=4)}, int(d[1]), interval=0.02)
                   for i, d in enumerate(devices)]
        clients = [c for s in streams for c in s.clients.values()]
        for s in streams:
            s.progress(10)
        mark = site.gateway.log.mark()
        site.gateway.flip(devices, probation_s=1)
        site.gateway.log.wait("rehome-step .*to=%s$" % cut.step, mark)
        cut.begin(link)
        _alive(clients, cut.for_s)
        link.mend()
        for s in streams:
            s.progress(10, timeout=60)
        _committed(site, *devices)
        _never_rolled_back(site)
        _whole(*streams, twice=cut.for_s > 1)
    abreast(story, CUTS)


def test_large_packets_vanish(plant, links):
    """A hole for what is larger than 700 bytes, as a tunnel makes it: small packets pass, the handshake's do not."""
    link = links()
    site = _over(link, plant, ["hole"])
    link.weather(rtt_ms=20)
    streams = site.streams(["hole"], 1, interval=0.02)
    streams.progress(10)
    link.set("down", mtu=700)
    site.gateway.flip("hole", probation_s=1)
    until("two attempts have failed", lambda: len(site.gateway.log.lines("uplink-failed device=hole")) >= 2, 30)
    streams.progress(10)
    state = site.gateway.device("hole")
    assert (state["phase"], state["active"], state["last_error"]["class"]) == ("trial", "new", "network")
    assert site.broker.slot("hole") == "old"
    link.mend()
    _committed(site, "hole")
    _whole(streams)


@pytest.mark.slow
def test_the_link_flaps_during_trials(plant, links):
    """Cut, one way or both, or refusing, for up to a second at a time: ten times, and ten times not."""
    devices = ["flap-%d" % i for i in range(8)]
    link = links(seed=5)
    site = _over(link, plant, devices)
    link.weather(rtt_ms=30, loss=0.01)
    streams = [site.streams({d: site.connect(d, (3, 4, 5)[i % 3], plain=i % 4 == 3, timeout=20,
                                             will=("will", d, 1, False) if i % 4 == 0 else None)}, 1 + i % 2, interval=0.02)
               for i, d in enumerate(devices)]
    clients = [c for s in streams for c in s.clients.values()]
    for s in streams:
        s.progress(10)
    lots = random.Random(7)
    site.gateway.flip("flap-*", probation_s=15)
    for _ in range(10):
        how = lots.choice(("both", "up", "down", "reset"))
        Cut(None, how, 0).begin(link)
        _alive(clients, lots.uniform(0.1, 1), patience_s=20)
        link.mend()
        _alive(clients, lots.uniform(0.1, 1), patience_s=20)
    for device in devices:
        assert site.gateway.device(device)["phase"] == "trial", site.gateway.device(device)
    for s in streams:
        s.progress(10, timeout=60)
    _committed(site, *devices)
    _never_rolled_back(site)
    _whole(*streams, twice=True)
