"""A campaign over three gateways and sixty devices under traffic: every phase in its order, no message lost, none twice;
and a wave that the broker refuses goes back alone."""

import json

import pytest

from lib.campaign import DONE, REFUSED, Campaign, Site, Wire, retired_last, trusted_before_flips, waves_in_order
from lib.pki import Pair
from lib.wait import until


@pytest.fixture(scope="module")
def site(tmp_path_factory, pki, reactor):
    with Site(tmp_path_factory.mktemp("site"), pki, reactor, devices=20) as made:
        made.connect(made.all())
        yield made


@pytest.fixture
def campaign(request, tmp_path, pki, site):
    """campaign(name, ...): a campaign over the site's devices, without those of the gateways themselves."""
    made = []

    def make(name, **changes):
        changes.setdefault("devices", ["?-*"])
        made.append(Campaign(tmp_path, site.broker.port, name, pki, old_anchors=[site.spare.cert], **changes))
        return made[-1]
    yield make
    for c in made:
        c.stop()


def anchors(site, name):
    return {a["fingerprint"]: a["state"] for a in site.gateways[name].rpc("trust.list", set="upstream")["anchors"]}


def fingerprint(path):
    return Pair(path, None).fingerprint()


def test_a_whole_campaign(site, campaign, pki, tmp_path):
    c = campaign("c1")
    mark = len(site.centre.client.messages)
    streams = site.streams()
    streams.progress(2)
    c.do("plan")
    assert not Wire(site, mark).commands("flip")
    c.start()
    c.end(DONE)
    wire = Wire(site, mark)
    rows = {r["name"]: r for r in c.rows("devices")}
    assert set(rows) == set(site.all()) and {r["step"] for r in rows.values()} == {"retired"}
    assert [r["step"] for r in c.rows("gateways")] == ["retired"] * 3
    (whole,) = c.rows("campaign")
    assert (whole["phase"], whole["mode"]) == ("finished", "done")
    wave = {d: r["wave"] for d, r in rows.items()}
    assert [list(wave.values()).count(w) for w in (0, 1, 2)] == [6, 24, 30]
    new, spare = fingerprint(pki.new.cert), fingerprint(site.spare.cert)
    waves_in_order(wire, wave)
    trusted_before_flips(wire, new)
    retired_last(wire, site.all())
    for device, row in rows.items():
        until(lambda d=device: "it is told of %s that it is through: %s" % (d, site.told(d)), lambda d=device: (
            lambda t: (t["phase"], t["slots"]["new"], t["upstream"]["state"]) == ("steady", None, "accepted"))(site.told(d)))
        told = site.told(device)
        assert told["slots"]["old"]["fingerprint"] == told["upstream"]["fingerprint"] == row["new_fp"] != row["old_fp"]
    assert set(site.users().values()) == {"CN=%s,OU=c1,O=Plant" % d for d in site.all()}
    for name in site.names:
        assert anchors(site, name)[new] == "in-force" and anchors(site, name)[spare] == "removed"
    streams.progress(2)
    streams.prove()
    status = c.json("status")
    assert (status["campaign"]["phase"], status["campaign"]["mode"], status["devices"]) == ("finished", "done", 60), status
    page, data = (str(tmp_path / ("report" + end)) for end in (".html", ".json"))
    c.do("report", "--html", page, "--json", data)
    with open(page, encoding="utf-8") as f:
        text = f.read()
    assert text.startswith("<!DOCTYPE html>") and "<svg" in text and "gw-b" in text
    assert "http://" not in text.replace("http://www.w3.org/", "") and "https://" not in text  # nothing is fetched
    with open(data, encoding="utf-8") as f:
        assert json.load(f)["campaign"]["mode"] == "done"
    assert "over" in c.do("run", expect=REFUSED)  # there is nothing left to do
    assert Wire(site, mark).commands("flip") == wire.commands("flip")


def test_a_wave_that_the_broker_refuses(site, campaign, pki):
    """It halts by itself and takes that wave back, no other one; once the broker knows the CA it goes on."""
    site.settle()
    old = site.users()
    c = campaign("c2")
    c.write()
    plan = c.json("plan")
    wave = {d["device"]: d["wave"] for g in plan["gateways"] for d in g["devices"]}
    bad = sorted(d for d, w in wave.items() if w == 1)[::4]
    c.sign_by_openssl(pki.new, pki.stranger, bad)
    mark = len(site.centre.client.messages)
    streams = site.streams()
    c.start()
    c.end(REFUSED)
    (whole,) = c.rows("campaign")
    assert (whole["mode"], whole["wave"]) == ("halted", 1) and whole["reason"], whole
    wire = Wire(site, mark)
    assert wire.ordered("flip") <= {d for d, w in wave.items() if w < 2}
    assert {d for d in wire.ordered("rollback") if wave[d] != 1} == set()
    for device, w in wave.items():
        until(lambda d=device: "%s is told to be where it belongs: %s" % (d, site.told(d)),
              lambda d=device, active="new" if w == 0 else "old": site.told(d)["active"] == active)
    failed = [r for r in c.rows("devices") if r["step"] == "failed"]
    assert failed and {r["name"] for r in failed} <= set(bad) and {r["failure"] for r in failed} == {"identity"}
    assert all(r["reason"] and r["remedy"] for r in failed)
    pilot = {d for d, w in wave.items() if w == 0}
    until(lambda: "the broker sees the pilot alone on new certificates: %s" % site.users(),
          lambda: (lambda users: {d for d in wave if users[d] != old[d]} == pilot)(site.users()), 10)
    site.believe(pki.stranger)
    c.start("resume")
    c.end(DONE)
    assert {r["step"] for r in c.rows("devices")} == {"retired"}
    waves_in_order(Wire(site, mark), wave)
    retired_last(Wire(site, mark), site.all())
    assert set(site.users().values()) == {"CN=%s,OU=c2,O=Plant" % d for d in site.all()}
    streams.progress(2)
    streams.prove()
    site.unbelieve()
