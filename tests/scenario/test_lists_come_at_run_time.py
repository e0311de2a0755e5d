"""`crl update`: a list that comes while the gateway runs is verified, kept, used at once, and outlives a restart."""

import base64
import os

import pytest

from lib.gateway import Refused
from lib.pki import Authority, openssl
from test_revoked_devices import CA, PAST, Site


@pytest.fixture
def site(plant, pki, tmp_path):
    return Site(plant, pki, tmp_path)


def _text(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def _stored(site):
    folder = os.path.join(site.gateway.state, "crls")
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def test_a_list_is_used_at_once_and_after_a_restart(site):
    stays, goes, next_one = site.connect("stays"), site.connect("goes"), site.connect("next")
    said = site.gateway.ctl("crl", "update", site.root.revoke(site.pair("goes")))[1]
    assert "CN=Root,O=Plant: taken, 1 revoked" in said and "for listener tls" in said, said
    goes.wait_end()
    site.refused("goes", "was revoked by its CA")
    der = os.path.join(site.folder, "root.der")
    openssl("crl", "-in", site.root.revoke(site.pair("next")), "-outform", "DER", "-out", der)
    site.gateway.ctl("crl", "update", der)
    next_one.wait_end()
    stays.ping()
    row, = site.gateway.rpc("crl.list")["crls"]
    assert row["entries"] == 2 and row["state"] == "current" and row["issuer"] == "CN=Root,O=Plant", row
    assert row["used_by"] == [{"kind": "listener", "name": "tls"}]
    assert row["file"].startswith(site.gateway.state)
    assert "CN=Root" in site.gateway.ctl("crl", "list")[1]
    assert len(_stored(site)) == 1
    site.gateway.restart()
    site.refused("goes", "was revoked by its CA")
    site.connect("stays")
    audit = site.gateway.rpc("audit.list")["entries"]
    assert [e["target"] for e in audit if e["what"] == "crl.update"] == ["CN=Root,O=Plant"] * 2


def test_an_older_list_is_refused_unless_forced(site):
    older = _text(site.root.revoke(site.pair("first")))
    newer = _text(site.root.revoke(site.pair("second")))
    assert site.gateway.rpc("crl.update", crl=newer)["changed"]
    assert not site.gateway.rpc("crl.update", crl=newer)["changed"]
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("crl.update", crl=older)
    assert "is older (number 01" in str(refused.value) and "number 02" in str(refused.value)
    site.refused("second", "was revoked by its CA")
    assert site.gateway.rpc("crl.update", crl=older, force=True)["entries"] == 1
    assert site.gateway.rpc("audit.list")["entries"][-1]["target"] == "CN=Root,O=Plant (forced)"
    site.connect("second")
    site.gateway.restart()
    site.connect("second")
    site.set(crls=[site.root.crl])  # the newer one as a file does not take its place either
    site.connect("second")
    bare = "".join(l for l in _text(site.root.revoke()).splitlines() if "-----" not in l)
    assert site.gateway.rpc("crl.update", crl=bare)["entries"] == 2
    site.refused("second", "was revoked by its CA")


def test_what_cannot_be_used_changes_nothing(site):
    goes, stays = site.connect("goes"), site.connect("stays")
    good = _text(site.root.revoke(site.pair("goes")))
    stranger = Authority(site.folder, "Nobody")
    impostor = Authority(site.folder, "Impostor", subject="/O=Plant/CN=Root")
    middle = base64.b64encode(b"0" * 300).decode()
    for text, why in ((_text(stranger.revoke(site.pair("goes"))), "CN=Nobody,O=Plant is by a CA that is not known"),
                      (_text(impostor.revoke()), "signature is not that of its issuer"),
                      (_text(site.root.cert), "holds no CRL"), (good + good, "holds several"),
                      (good[:300], "no END line"), (middle, "no CRL that can be read"), ("???", "not base64"),
                      (good.replace("-----END", "-----END "), "END")):
        with pytest.raises(Refused) as refused:
            site.gateway.rpc("crl.update", crl=text)
        assert why in str(refused.value), (why, str(refused.value))
        assert _stored(site) == []
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("crl.update", file="/nowhere.crl")
    assert "/nowhere.crl" in str(refused.value)
    goes.ping()
    site.set(crl_policy="off")
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("crl.update", crl=good)
    site.set(crl_policy="soft")
    site.gateway.rpc("crl.update", crl=good)
    goes.wait_end()
    stays.ping()


def test_a_list_of_an_intermediate_brings_its_certificate(site):
    below = Authority(site.folder, "Below", parent=site.root, extensions=CA)
    goes = site.connect("below-1", ca=below)
    crl = _text(below.revoke(site.pair("below-1", below)))
    with pytest.raises(Refused):
        site.gateway.rpc("crl.update", crl=crl)
    site.gateway.rpc("crl.update", crl=crl + _text(below.cert))
    goes.wait_end()
    site.gateway.restart()
    site.refused("below-1", "was revoked by its CA", ca=below)


def test_lists_that_are_out_of_date_are_spoken_of(site):
    mark = site.gateway.log.mark()
    site.gateway.rpc("crl.update", crl=_text(site.root.revoke(dates=PAST)))
    assert any("CN=Root,O=Plant is past its next update at 2020-02-01" in m for m in
               site.gateway.rpc("status")["messages"])
    assert site.gateway.rpc("crl.list")["crls"][0]["state"] == "stale"
    site.gateway.restart()
    site.gateway.log.wait("crl-stale", mark)


def test_thousands_of_entries_are_taken_in_no_time(site):
    """Too large for one request: the daemon reads it where it lies."""
    stays, goes = site.connect("stays"), site.connect("goes")
    site.root.revoke(site.pair("goes"))
    with open(os.path.join(site.root.folder, "index.txt"), "a", encoding="ascii") as out:
        for i in range(100000):
            out.write("R\t491231235959Z\t250101000000Z\t%032X\tunknown\t/CN=x\n" % (7919 * (i + 1)))
    site.gateway.ctl("crl", "update", site.root.revoke())
    goes.wait_end()
    stays.ping()
    assert site.gateway.rpc("crl.list")["crls"][0]["entries"] == 100001
