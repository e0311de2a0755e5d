"""Certificates that their CA has revoked, and CAs that are trusted no longer: refused at the door, cut off when inside,
and nobody else is disturbed."""

import os
import shutil
import time

import pytest

from lib import packets as p
from lib.gateway import Refused
from lib.mqtt import Client, tls_context
from lib.pki import Authority
from lib.wait import seconds, until

CA = ["basicConstraints=critical,CA:TRUE"]
FLEET = {"name": "fleet", "match": {"listener": "tls"}, "any_client_id": True, "max_connections": 1000}
PAST = ("20200101000000Z", "20200201000000Z")


class Site:
    """A plant whose sensors come from CAs of this test alone: one device, which they all are."""

    def __init__(self, plant, pki, folder, **listener):
        self.pki = pki
        self.folder = str(folder)
        self.root = Authority(folder, "Root")
        self.other = Authority(folder, "Other")
        self.plant = plant(["fleet"], rules=[FLEET],
                           listener={"anchors": [self.root.cert, self.other.cert], **listener})
        self.gateway = self.plant.gateway
        self.tls = self.gateway.conf["listeners"][0]

    def pair(self, name, ca=None):
        return self.pki.sensor(name, ca=ca or self.root)

    def sensor(self, name, version=4, ca=None, pair=None):
        client = Client(self.plant.reactor, ("127.0.0.1", self.gateway.port),
                        tls_context(self.pki.server_ca.cert, pair or self.pair(name, ca)), version)
        self.plant.clients.append(client)
        return client

    def connect(self, name, version=4, ca=None, **options):
        client = self.sensor(name, version, ca)
        client.connect(options.pop("client_id", name), **options)
        client.ping()
        return client

    def refused(self, name, *words, ca=None, pair=None):
        """It is not let in, and the one line about it has these words."""
        mark = self.gateway.log.mark()
        client = self.sensor(name, ca=ca, pair=pair)
        with pytest.raises(ConnectionError):
            client.connect(name)
        self.gateway.log.wait("session-refused", mark)
        line, = self.gateway.log.lines("session-refused", mark)
        for word in words:
            assert word in line, line

    def set(self, **listener):
        self.tls.update(listener)
        self.gateway.reload()

    def file(self, name, *parts):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as out:
            for part in parts:
                with open(part, "rb") as f:
                    out.write(f.read())
        return path

    def counted(self, **expected):
        until("%s are counted" % expected,
              lambda: expected.items() <= self.gateway.rpc("status")["counters"].items())


@pytest.fixture
def site(plant, pki, tmp_path):
    return Site(plant, pki, tmp_path)


def test_a_revoked_certificate_is_cut_off_and_refused(site):
    watcher = site.plant.observer()
    watcher.subscribe(("wills/#", 1))
    stays, goes = site.connect("stays", 5), site.connect("goes", 5, will=("wills/goes", "dead", 1, False))
    old = site.connect("goes", 4, client_id="goes-31", will=("wills/goes-31", "dead", 1, False))
    mark = site.gateway.log.mark()
    began = time.monotonic()
    site.set(crls=[site.root.revoke(site.pair("goes"), reason="keyCompromise")])
    goes.wait_end()
    old.wait_end()
    assert time.monotonic() - began < seconds(1)
    assert goes.await_packet(p.DISCONNECT).reason == 0x87
    until("both Wills are there", lambda: {m.topic for m in watcher.messages} >= {"wills/goes", "wills/goes-31"})
    assert len(site.gateway.log.lines("session-cut.*code=revoked", mark)) == 2
    stays.ping()
    site.refused("goes", "certificate", "was revoked by its CA (keyCompromise, 20")
    site.connect("another").ping()
    site.counted(cut_revoked=2, cut_distrusted=0)


def test_one_that_has_expired_too_is_called_revoked(site):
    pair = site.root.issue_dated("late", "/O=Plant/CN=late", "20200101000000Z", "20210101000000Z")
    site.refused("late", "has expired", pair=pair)
    site.set(crls=[site.root.revoke(pair)])
    site.refused("late", "was revoked by its CA", "and has expired", pair=pair)


def test_a_revoked_intermediate_takes_all_below_it_along(site):
    below = Authority(site.folder, "Below", parent=site.root, extensions=CA)
    beside = Authority(site.folder, "Beside", parent=site.root, extensions=CA)
    goes, stays = site.connect("below-1", ca=below), site.connect("beside-1", ca=beside)
    site.set(crls=[site.root.revoke(below.pair())])
    goes.wait_end()
    stays.ping()
    site.refused("below-2", "CA certificate", "CN=Below", "was revoked by its CA", ca=below)
    # The same where the intermediate is an anchor itself, and no chain leads through it.
    site.set(anchors=[site.root.cert, below.cert])
    site.refused("below-3", "was revoked by its CA", ca=below)


def test_lists_of_intermediates_stand_beside_their_certificates(site):
    below = Authority(site.folder, "Below", parent=site.root, extensions=CA)
    goes, stays = site.connect("below-1", ca=below), site.connect("below-2", ca=below)
    crl = below.revoke(site.pair("below-1", below))
    with pytest.raises(Refused) as refused:
        site.set(crls=[crl])
    assert crl in str(refused.value) and "not known here" in str(refused.value)
    goes.ping()
    site.set(crls=[site.file("below.pem", crl, below.cert)])
    goes.wait_end()
    stays.ping()


@pytest.mark.parametrize("policy", ["soft", "strict", "off"])
def test_what_becomes_of_those_without_a_list(site, policy):
    root = site.root.revoke(site.pair("revoked"), dates=PAST)
    site.set(crls=[root], crl_policy=policy)
    if policy == "strict":
        site.refused("stale", "whose CRL is out of date")
        site.refused("missing", "without a valid CRL", ca=site.other)
        site.refused("revoked", "was revoked by its CA")
        _status_tells(site)
        site.root.revoke()
        site.other.revoke()
        site.set(crls=[site.root.crl, site.other.crl])
        status = site.gateway.rpc("status")
        assert (status["crls"]["lists"], status["crls"]["stale"], status["crls"]["missing"]) == (2, 0, [])
        assert not [m for m in status["messages"] if "crl" in m]
    site.connect("stale")
    site.connect("missing", ca=site.other)
    if policy == "off":
        site.connect("revoked")
    else:
        site.refused("revoked", "was revoked by its CA")
    site.counted(**dict.fromkeys(("crl_missing", "crl_stale"), 1 if policy == "soft" else 0))


def _status_tells(site):
    """Root's list is out of date, and Other has none: to see at a glance, and as what is wrong now."""
    status = site.gateway.rpc("status")
    crls = status["crls"]
    assert (crls["lists"], crls["stale"], crls["due"]) == (1, 1, 0)
    assert (crls["next_update"], crls["issuer"][:7]) == ("2020-02-01T00:00:00Z", "CN=Root")
    missing, = crls["missing"]
    assert (missing["kind"], missing["name"]) == ("listener", "tls") and "CN=Other" in missing["anchor"]
    for words in ("CN=Root,O=Plant is past its next update", "tls believes nobody of CN=Other"):
        assert [m for m in status["messages"] if words in m], status["messages"]
    shown = site.gateway.ctl("status")[1]
    assert "1 list, 1 out of date, next update 2020-02-01T00:00:00Z (CN=Root,O=Plant)" in shown
    assert "no list, which must be there, of CN=Other,O=Plant (listener tls)" in shown


def test_a_list_by_somebody_else_changes_nothing(site):
    stays = site.connect("stays")
    impostor = Authority(site.folder, "Impostor", subject="/O=Plant/CN=Root")
    impostor.revoke(site.pair("stays", site.other))  # any serial
    mixed = os.path.join(site.folder, "mixed")
    os.makedirs(mixed)
    shutil.copy(site.root.key, os.path.join(mixed, "key.pem"))
    for crl, why in ((impostor.crl, "signature is not that of its issuer"), (mixed, "key.pem: holds no CRL"),
                     ("/nowhere.crl", "no such file")):
        with pytest.raises(Refused) as refused:
            site.set(crls=[crl])
        assert crl in str(refused.value) and why in str(refused.value)
    stays.ping()
    site.counted(cut_revoked=0)


def test_an_anchor_that_is_taken_away_takes_its_devices_along(site):
    goes, stays = site.connect("goes", 5, ca=site.other), site.connect("stays", 5)
    site.set(anchors=[site.root.cert])
    goes.wait_end()
    assert goes.await_packet(p.DISCONNECT).reason == 0x87
    stays.ping()
    site.refused("goes", "unknown CA", ca=site.other)
    site.counted(cut_distrusted=1)
    site.set(anchors=[site.other.cert, site.root.cert])
    stays.ping()
    site.connect("goes", ca=site.other)


def test_who_is_connected_may_be_kept(site):
    site.set(revoked_sessions="keep")
    stays, too = site.connect("goes"), site.connect("other", ca=site.other)
    site.set(crls=[site.root.revoke(site.pair("goes"))], anchors=[site.root.cert])
    site.refused("goes", "was revoked by its CA")
    site.refused("other", "unknown CA", ca=site.other)
    stays.ping()
    too.ping()
    site.set(revoked_sessions="cut")
    stays.wait_end()
    too.wait_end()


@pytest.mark.threads
def test_lists_and_anchors_change_under_many_sessions(site):
    names = ["many-%d" % i for i in range(20)]
    others = ["other-%d" % i for i in range(5)]
    clients = {}
    for copy in range(8):
        for name in names + others:
            client = site.sensor(name, 4 + copy % 2, ca=site.other if name in others else None)
            client.open(wait=False)
            clients.setdefault(name, []).append((client, "%s-%d" % (name, copy)))
        for pairs in clients.values():
            client, client_id = pairs[-1]
            client.connect(client_id)
    gone = set()

    def check():
        for name, pairs in clients.items():
            for client, client_id in pairs:
                if name in gone:
                    client.wait_end()
                else:
                    client.ping()

    for step in range(5):
        fresh = names[2 * step:2 * step + 2]
        gone.update(fresh)
        site.set(crls=[site.root.revoke(*[site.pair(n) for n in fresh])],
                 anchors=[site.root.cert, site.other.cert][::1 if step % 2 else -1])
        check()
    gone.update(others)
    site.set(anchors=[site.root.cert])
    check()
    site.counted(cut_revoked=80, cut_distrusted=40)
