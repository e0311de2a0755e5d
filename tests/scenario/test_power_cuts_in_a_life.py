"""The power is cut, or the disk fails, at every step of keygen, install, discard and retire.  Afterwards the device has one
usable active identity, its sensor is served with it, nothing half-written is left, and the life goes on."""

import os

import pytest

from lib.gateway import Refused
from lib.pki import openssl
from lib.plant import Plant
from lib.power import Power, crash_points
from lib.wait import until

POINTS = {p: fails for p, fails in crash_points().items() if p.startswith(("files.", "change."))}
pytestmark = pytest.mark.skipif(not POINTS, reason="configure --enable-crash-points")

DEVICE = "lives"
# How often a turn passes the points at which much is different from one time to the next.
COUNTS = {"files.rename": 5, "files.renamed": 5, "change.done": 4}


class Life:
    """One device that is renewed again and again."""

    def __init__(self, site):
        self.site = site
        self.gateway = site.gateway
        self.power = Power(site)
        self.made = 0

    def sign(self, csr):
        self.made += 1
        base = os.path.join(self.site.folder, "signed-%d" % self.made)
        ca = self.site.pki.new
        with open(base + ".csr", "w", encoding="ascii") as f:
            f.write(csr)
        openssl("x509", "-req", "-in", base + ".csr", "-CA", ca.cert, "-CAkey", ca.key, "-days", "30", "-copy_extensions",
                "copyall", "-set_serial", str(self.made), "-out", base + ".pem")
        with open(base + ".pem", encoding="ascii") as f:
            return f.read()

    def step(self, discard):
        """Whatever comes next.  Returns whether the turn has ended with it."""
        now = self.gateway.device(DEVICE)
        new = now["slots"]["new"]
        if now["phase"] == "steady" and new is None:
            self.gateway.rpc("identity.keygen", target=DEVICE)
        elif now["phase"] == "steady" and discard:
            self.gateway.rpc("identity.discard", target=DEVICE)
            discard.clear()
        elif now["phase"] == "steady":
            csr = self.gateway.rpc("identity.export", device=DEVICE, what="csr")["pem"]
            self.gateway.rpc("identity.install", device=DEVICE, chain=self.sign(csr))
        elif now["phase"] == "staged":
            self.gateway.flip(DEVICE, probation_s=3600)
        elif now["phase"] == "trial":
            self.gateway.wait_device(DEVICE, waiting="probation")
            self.gateway.rpc("commit", target=DEVICE)
        else:
            self.gateway.rpc("retire", target=DEVICE)
            return True
        return False

    def turn(self):
        """From one identity to the next.  False when the power was cut."""
        discard = [True]
        try:
            while not self.step(discard):
                pass
        except (OSError, ValueError):
            return False
        return True

    def whole(self):
        """Every slot that is there holds a key, and a certificate of that key or a request with it; nothing else is left."""
        top = os.path.join(self.gateway.identities, DEVICE)
        assert set(os.listdir(top)) <= {"old", "new", "archive"}, os.listdir(top)
        for slot in ("old", "new"):
            folder = os.path.join(top, slot)
            if not os.path.isdir(folder):
                assert slot == "new"
                continue
            names = set(os.listdir(folder))
            assert names in ({"key.pem", "csr.pem"}, {"key.pem", "csr.pem", "chain.pem"}, {"key.pem", "chain.pem"}), names
            public = openssl("pkey", "-in", folder + "/key.pem", "-pubout")
            if "chain.pem" in names:
                assert openssl("x509", "-in", folder + "/chain.pem", "-noout", "-pubkey") == public
            if "csr.pem" in names:
                assert openssl("req", "-in", folder + "/csr.pem", "-noout", "-pubkey") == public

    def served(self):
        """A sensor gets through with the identity that is shown as active."""
        client = self.site.connect(DEVICE, plain=True)
        client.ping()
        now = self.gateway.device(DEVICE)
        slot = now["slots"][now["active"]]
        assert slot["usable"], now
        until("it is served with it", lambda: (self.gateway.device(DEVICE)["upstream"] or {}).get("fingerprint") ==
              slot["fingerprint"])
        return client


@pytest.fixture(scope="module")
def life(tmp_path_factory, pki, reactor):
    site = Plant(tmp_path_factory.mktemp("life"), pki, reactor, [DEVICE])
    made = Life(site)
    with site:
        site.gateway.rpc("identity.discard", target=DEVICE)
        made.client = made.served()
        yield made


CUTS = [(p, n) for p in sorted(POINTS) for n in range(1, COUNTS.get(p, 1) + 1)]


@pytest.mark.parametrize("point, count", CUTS)
def test_the_power_goes(life, point, count):
    while life.gateway.device(DEVICE)["phase"] != "steady" or life.gateway.device(DEVICE)["slots"]["new"]:
        life.turn()  # what an earlier cut has left
    life.power.arm("%s:%d" % (point, count))
    assert not life.turn(), "%s was not passed %d times" % (point, count)
    life.power.wait_death(point)
    life.power.boot()
    life.site.clients.remove(life.client)
    life.whole()
    life.client = life.served()
    assert life.turn()
    life.whole()
    assert life.gateway.device(DEVICE)["upstream"]["state"] == "accepted"


FAULTS = [(p, n, e) for p in sorted(POINTS) if POINTS[p] for n in (1, 2, 3, 4)
          for e in (("EIO", "ENOSPC", "EROFS")[n % 3],)]


def snapshot(life):
    top = os.path.join(life.gateway.identities, DEVICE)
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                found[os.path.relpath(os.path.join(folder, name), top)] = f.read()
    return found


@pytest.mark.parametrize("point, count, error", FAULTS)
def test_the_disk_fails(life, point, count, error):
    """What fails is refused and has changed nothing; commanded again it succeeds."""
    while life.gateway.device(DEVICE)["phase"] != "steady" or life.gateway.device(DEVICE)["slots"]["new"]:
        life.turn()
    life.power.arm("%s:%d:%s" % (point, count, error))
    discard = [True]
    refused = 0
    ended = False
    while not ended:
        before, shown = snapshot(life), life.gateway.device(DEVICE)
        try:
            ended = life.step(discard)
        except Refused as why:
            assert why.name == "store", why
            refused += 1
            assert snapshot(life) == before
            now = life.gateway.device(DEVICE)
            assert now["phase"] == shown["phase"] and now["slots"] == shown["slots"]
    life.power.disarm()
    assert refused == 1 or (point == "files.mkdir" and count > 3)
    life.client.ping()
    life.whole()
