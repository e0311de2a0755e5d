"""A campaign whose commands are signed, and what comes in between: a controller that is killed, a gateway that drops
off, other operators, a pause, forgeries."""

import base64
import json
import os
import time

import pytest

from lib.campaign import DONE, ENDED, REFUSED, Campaign, Operator, Site, Wire, retired_last, waves_in_order
from lib.wait import until


@pytest.fixture(scope="module")
def operators(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operators")
    return {name: Operator(folder, name) for name in ("anna", "mallory")}


@pytest.fixture(scope="module")
def site(tmp_path_factory, pki, reactor, operators):
    with Site(tmp_path_factory.mktemp("site"), pki, reactor, devices=6, operators=[operators["anna"]]) as made:
        made.connect(made.all())
        yield made


@pytest.fixture
def campaign(tmp_path, pki, site, operators):
    made = []
    site.settle()

    def make(name, **changes):
        made.append(Campaign(tmp_path, site.broker.port, name, pki, **{
            "devices": ["?-*"], "operator": operators["anna"].signs(), "waves": {"pilot": 3, "percent": [50, 100]},
            **changes}))
        return made[-1]
    yield make
    for c in made:
        c.stop()


def whole(c):
    return (c.rows("campaign") or [{}])[0]


def steps(c):
    return {r["name"]: r["step"] for r in c.rows("devices")}


def flips(site, mark):
    """{device: how often a trial has begun}, as the gateways tell it."""
    begun = {}
    for _, what, value in Wire(site, mark):
        if what == "event" and value.get("event") == "flip" and value["to"] == "trial" and value["from"] == "staged":
            begun[value["device"]] = begun.get(value["device"], 0) + 1
    return begun


def test_killed_in_each_phase(site, campaign, pki):
    """kill -9 after the first command of each kind: it goes on where it was, nothing is done twice, nothing left out."""
    c = campaign("k1", retire={"anchors": [{"set": "upstream", "file": site.spare.cert}]})
    c.sign_by_openssl(pki.new)
    mark = len(site.centre.client.messages)
    marks = site.audit_marks()
    streams = site.streams()

    def seen(method, count=1):
        return len(Wire(site, mark).commands(method)) >= count
    stages = [("trust.add", lambda: seen("trust.add")),
              ("keygen", lambda: seen("identity.keygen")),
              ("signing", lambda: len(c.signed()) >= 4),
              ("install", lambda: seen("identity.install", 2)),
              ("the pilot", lambda: seen("flip")),
              ("a wave", lambda: any(r["step"] == "flipping" for r in c.rows("devices", wave=1))),
              ("the last wave", lambda: any(r["step"] == "flipping" for r in c.rows("devices", wave=2))),
              ("retire", lambda: seen("retire")),
              ("trust.remove", lambda: seen("trust.remove"))]
    have = {}  # devices whose certificate is in the ledger, and how often they were signed by then

    def count(device):
        return sum(1 for line in c.signed() if line.split()[1] == device)
    for name, reached in stages:
        process = c.start("resume" if c.rows("campaign") else "run")
        until(lambda name=name: "it comes to %s:\n%s" % (name, c.log.tail()), lambda: reached() or process.poll() is not None,
              40, 0.002)
        assert process.poll() is None, "it ended before %s:\n%s" % (name, c.log.tail())
        c.kill()
        for r in c.rows("devices"):
            if r["new_fp"]:
                have.setdefault(r["name"], count(r["name"]))
    c.start("resume")
    c.end(DONE)
    assert os.listdir(c.tmp) == [], "what those that were killed had for their signing commands"
    assert set(steps(c).values()) == {"retired"} and len(steps(c)) == 18
    assert flips(site, mark) == {d: 1 for d in site.all()}
    wave = {r["name"]: r["wave"] for r in c.rows("devices")}
    waves_in_order(Wire(site, mark), wave)
    retired_last(Wire(site, mark), site.all())
    # What was sent again had its id, so that the gateways, who write down what they did, did it once.
    for method, most in (("identity.keygen", 1), ("flip", 1), ("retire", 1)):
        done = {}
        for rows in site.audit(method, marks).values():
            for r in rows:
                assert r["who"] == "operator:anna", r
                for device in json.loads(r["target"]) if r["target"].startswith("[") else [r["target"]]:
                    done[device] = done.get(device, 0) + 1
        assert done == {d: most for d in site.all()}, method
    installed = {d: 0 for d in site.all()}
    for rows in site.audit("identity.install", marks).values():
        for r in rows:
            installed[r["target"]] += 1
    assert set(installed.values()) == {1}
    # Of those that were at the CA when it was killed the answer is lost; no other one is signed again.
    assert have == {d: count(d) for d in site.all()}
    assert set(site.users().values()) == {"CN=%s,OU=k1,O=Plant" % d for d in site.all()}
    streams.prove()


def test_a_gateway_drops_off(site, campaign):
    """It is waited for, and is no success; the others are not kept waiting by it within their wave."""
    c = campaign("g1", flip={"probation_s": 2})
    mark = len(site.centre.client.messages)
    streams = site.streams([d for d in site.all() if not d.startswith("b")])
    c.start()
    until(lambda: "gw-b flips: " + c.log.tail(), lambda: any(
        g == "gw-b" for g, _ in Wire(site, mark).commands("flip")), 30, 0.01)
    site.gateways["gw-b"].kill()
    until("the others of the wave are through", lambda: all(
        r["step"] == "migrated" for r in c.rows("devices", wave=0) if r["gateway"] != "gw-b"), 30)
    until("it is seen to be away", lambda: c.rows("gateways", name="gw-b")[0]["trouble"], 30)
    assert (whole(c)["mode"], whole(c)["wave"]) == ("running", 0)
    assert c.process.poll() is None
    site.gateways["gw-b"].start()
    site.connect(site.devices["gw-b"])
    c.end(DONE)
    assert set(steps(c).values()) == {"retired"}
    waves_in_order(Wire(site, mark), {r["name"]: r["wave"] for r in c.rows("devices")})
    streams.prove()


def test_two_operators_and_their_wishes(site, campaign):
    """One runs it at a time; whoever else is there may have it paused, ended and taken back."""
    c = campaign("o1", waves={"pilot": 3, "percent": [100], "soak_s": 600})
    streams = site.streams()
    c.start()
    until("the pilot soaks", lambda: whole(c).get("soak_until_s"), 30)
    soak = whole(c)["soak_until_s"]
    said = c.do("run", expect=REFUSED)
    assert "pid" in said or str(c.process.pid) in said, said
    other = campaign("other", ledger=c.ledger)
    for word in (["abort"], ["pause"], ["rollback", "--all"], ["skip", next(iter(c.rows("devices")))["gateway"] + "/x"]):
        assert "is the ledger of campaign o1, not of other" in other.do(*word, expect=REFUSED)
    assert whole(c)["mode"] == "running"
    c.do("pause")
    c.end(ENDED)
    assert whole(c)["mode"] == "paused"
    assert "is the ledger of campaign o1, not of other" in other.do("abort", expect=REFUSED)
    time.sleep(1.1)  # the clock of the ledger is one of seconds
    c.start("resume")
    until("it goes on", lambda: whole(c)["mode"] == "running")
    until("the pilot soaks anew: nobody has watched it meanwhile", lambda: whole(c)["soak_until_s"] > soak)
    # Whoever stops it may have no key of anything.
    keys = dict(c.conf["operator"])
    c.conf["operator"]["key_file"] = c.conf["sign"]["ca_key_file"] = c.conf["trust"][0]["file"] = "/gone.pem"
    assert "o1" in c.do("status")
    c.do("stragglers")
    c.do("abort")
    c.end(ENDED)
    c.conf["operator"], c.conf["trust"][0]["file"] = keys, c.pki.new.cert
    assert whole(c)["mode"] == "aborted"
    pilot = {r["name"] for r in c.rows("devices", wave=0)}
    until("the pilot alone has moved", lambda: {d for d in site.all() if site.told(d)["active"] == "new"} == pilot)
    c.do("rollback", "--all")
    until("they are back", lambda: all(site.told(d)["active"] == "old" for d in site.all()))
    assert {r["step"] for r in c.rows("devices", wave=0)} == {"returned"}
    streams.prove()


def forge(command):
    """Variations of a signed command that a gateway has taken."""
    header, payload, signature = command.split(b".")
    claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    claims["request"]["params"] = {"target": "*"}
    claims["request"]["method"] = "rollback"
    other = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return [b".".join([header, other, signature]), b".".join([header, payload, signature[::-1]]),
            json.dumps(claims["request"]).encode()]


def test_forged_and_replayed_commands(site, campaign, operators):
    """Meanwhile somebody at the broker sends again what he has seen, changes it, and asks without a signature."""
    c = campaign("f1")
    mark = len(site.centre.client.messages)
    client = site.centre.client

    def taken():
        return [m for m in list(client.messages)[mark:] if m.topic.endswith("/cmd")]
    refused = {name: g.rpc("status")["central"]["signed"]["refused"] for name, g in site.gateways.items()}
    c.start()
    sent = set()

    def attack():
        for m in taken():
            if m.payload.count(b".") == 2 and m.payload not in sent:
                sent.add(m.payload)
                client.publish(m.topic, m.payload, 1)
                for forgery in forge(m.payload):
                    sent.add(forgery)
                    client.publish(m.topic, forgery, 1)
        return c.process.poll() is not None
    until(lambda: "it ends: " + c.log.tail(), attack, 60)
    c.end(DONE)
    assert len(sent) > 20 and set(steps(c).values()) == {"retired"}
    assert flips(site, mark) == {d: 1 for d in site.all()}
    assert not any(what == "event" and value.get("to") == "rolled-back" for _, what, value in Wire(site, mark))
    for name, g in site.gateways.items():
        now = g.rpc("status")["central"]["signed"]["refused"]
        assert now.get("signature", 0) > refused[name].get("signature", 0), now
        assert now.get("unsigned", 0) > refused[name].get("unsigned", 0), now
    with_other_key = Campaign(c.folder, site.broker.port, "f2", site.pki, devices=["?-*"],
                              operator={"name": "anna", "key_file": operators["mallory"].key},
                              limits={"reply_timeout_s": 1})
    with_other_key.start()
    try:
        until(lambda: "it says that nobody believes it: " + with_other_key.log.tail(40),
              lambda: "signature" in with_other_key.log.text() or any(
                  "signature" in g["trouble"] for g in with_other_key.rows("gateways")), 20)
    finally:
        with_other_key.stop()
    assert flips(site, mark) == {d: 1 for d in site.all()}
