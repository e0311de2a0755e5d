"""Campaigns over simulated gateways (tests/fleet): many of them, and such as no daemon of ours would be.

How it grows is measured by make fleet-scale; here it is small."""

import importlib.util
import os

import pytest

from lib.broker import Mosquitto
from lib.campaign import DONE, REFUSED, Campaign, Centre, Simulation
from lib.contract import check_messages
from lib.gateway import build_dir
from lib.mqtt import Client

SCALE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fleet", "scale.py")


def scale():
    spec = importlib.util.spec_from_file_location("scale", SCALE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_fleet_on_a_bad_day(tmp_path, pki):
    """Replies are lost, come twice and late, gateways drop off: everything is done, and done once."""
    limits = {"per_gateway": 4, "in_flight": 60, "keygen_per_gateway": 10, "reply_timeout_s": 1}
    ran = scale().run(str(tmp_path), pki, 20, 6, build_dir(), faults=0.05, changes={"limits": limits})
    s = ran["stats"]
    assert s["phases"]["steady"] == s["retires"] == s["commits"] == s["flips"] == 120, s
    assert (s["most_flips"], s["most_keygens"], s["most_installs"]) == (1, 1, 1), s
    assert s["untrusted_flips"] == 0 and s["least_migrated_at_retire"] == 120, s
    assert s["most_gateway_trials"] <= 4 and s["most_trials"] <= 60, s
    assert s["repeated"] > 0, "nothing was sent again: %s" % s


@pytest.fixture
def small(tmp_path, pki, reactor):
    """(simulation of 4 x 5, function that makes campaigns); all that goes over the broker has to be as the schemas say."""
    with Mosquitto(tmp_path / "broker", pki) as broker, \
            Simulation(tmp_path / "sim", broker.port, 4, 5, [("upstream", pki.server_ca.cert)], connect_ms=5) as sim:
        sim.wait("all are there", lambda s: s["online"] == 4 and s["sent"] >= 20)
        client = Client(reactor, ("127.0.0.1", broker.port), None, 5)
        client.connect("centre", keepalive=0)
        Centre(client)
        made = []

        def make(name, **changes):
            made.append(Campaign(tmp_path, broker.port, name, pki, **changes))
            return made[-1]
        yield sim, make
        for c in made:
            c.stop()
        client.cut()
        check_messages([(m.topic, m.payload) for m in client.messages])


def test_a_gateway_that_asks_for_somebody_elses_certificate(small):
    sim, campaign = small
    sim("lie", "gw-0001")
    c = campaign("liar")
    c.start()
    c.end(REFUSED)
    s = sim.stats()
    assert s["lies"] >= 5
    bad = [r for r in c.rows("devices") if r["gateway"] == "gw-0001"]
    assert {r["new_fp"] for r in bad} == {""} and all(r["reason"] for r in bad), bad
    assert s["retires"] == 0 and s["untrusted_flips"] == 0


def test_devices_that_fail_within_the_threshold(small):
    """They are listed, and as long as they are not through nothing is retired."""
    sim, campaign = small
    sim("refuse", 1, "identity", "gw-0002/d-0002-003")
    c = campaign("lenient", waves={"pilot": 0, "percent": [100], "threshold": 90})
    c.start()
    c.end(REFUSED)
    s = sim.stats()
    assert (s["commits"], s["phases"]["committed"], s["phases"]["rolled-back"], s["retires"]) == (19, 19, 1, 0), s
    assert "d-0002-003" in c.do("stragglers")
    c.do("skip", "gw-0002/d-0002-003")
    c.start("resume")
    c.end(DONE)
    s = sim.stats()
    assert s["retires"] == 19 and s["phases"]["rolled-back"] == 1, s


def test_a_lost_reply_that_was_too_long_to_keep(tmp_path, pki):
    """A gateway does not keep forty requests for certificates: asked again it says that all is done, and no more."""
    with Mosquitto(tmp_path / "broker", pki) as broker, Simulation(tmp_path / "sim", broker.port, 1, 40, connect_ms=5) as sim:
        sim.wait("it is there", lambda s: s["sent"] > 40)
        sim("replies", "lost", 1)
        c = Campaign(tmp_path, broker.port, "long", pki, limits={"reply_timeout_s": 1})
        c.start()
        try:
            sim.wait("keys are made", lambda s: s["methods"].get("identity.keygen"))
            sim("replies", "lost", 0)
            c.end(DONE)
        finally:
            c.stop()
        s = sim.stats()
        assert (s["retires"], s["most_keygens"], s["most_installs"], s["most_flips"]) == (40, 1, 1, 1), s
