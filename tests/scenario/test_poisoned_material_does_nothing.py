"""Thousands of broken files of every kind, read again under live sessions: who has to be refused still is, nobody who is in
is cut off, the daemon goes on, and what it says names the file.

CERTFLIP_POISON_N says how many (default: some hundred), CERTFLIP_TEST_SEED which ones.
"""

import base64
import os
import random
import shutil

import pytest

from lib.gateway import Refused
from lib.pki import Authority
from test_revoked_devices import Site

COUNT = int(os.environ.get("CERTFLIP_POISON_N", "240"))
SEED = int(os.environ.get("CERTFLIP_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


class Poison:
    """Makes a file bad in one way or another, and good again."""

    def __init__(self, rng, donors):
        self.rng = rng
        self.donors = donors  # files of other kinds

    def flip_bits(self, data):
        data = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 1, 2, 8, 64))):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return bytes(data)

    def flip_der(self, data):
        """One bit of what is in the armour, which is whole."""
        head, body, tail = self._parts(data)
        if body is None:
            return self.flip_bits(data)
        der = bytearray(body)
        der[self.rng.randrange(len(der))] ^= 1 << self.rng.randrange(8)
        return head + self._armour(bytes(der)) + tail

    def truncate(self, data):
        return data[:self.rng.randrange(len(data))]

    def cut_out(self, data):
        at = self.rng.randrange(len(data))
        return data[:at] + data[at + self.rng.randrange(1, 200):]

    def empty(self, unused):
        return b""

    def zeros(self, data):
        return bytes(len(data))

    def noise(self, unused):
        return self.rng.randbytes(self.rng.choice((1, 100, 5000)))

    def another(self, unused):
        """What belongs elsewhere.  Not one CA in another's place: that would be a good file, and obeyed."""
        with open(self.rng.choice(self.donors), "rb") as f:
            return f.read()

    def huge(self, data):
        return data + b"\n" * (70 << 20)

    def folder(self, unused):
        return None

    def unbalanced(self, data):
        at = self.rng.choice([i for i, c in enumerate(data) if c in b"{}()[]"])
        return data[:at] + data[at + 1:]

    WAYS = [flip_bits, flip_bits, flip_der, flip_der, flip_der, truncate, truncate, cut_out, empty, zeros, noise, another,
            folder]
    # A configuration with one letter changed may be another one that is good: without the line that names a list, say.
    OF_CONFIGURATION = [unbalanced, unbalanced, unbalanced, empty, zeros, another, folder]

    @staticmethod
    def _parts(data):
        lines = data.splitlines(keepends=True)
        begins = [i for i, line in enumerate(lines) if line.startswith(b"-----BEGIN")]
        ends = [i for i, line in enumerate(lines) if line.startswith(b"-----END")]
        if not begins or not ends:
            return data, None, b""
        return (b"".join(lines[:begins[0] + 1]), base64.b64decode(b"".join(lines[begins[0] + 1:ends[0]])),
                b"".join(lines[ends[0]:]))

    @staticmethod
    def _armour(der):
        return base64.encodebytes(der)


def _refused(site, name, ca, what="at the end"):
    client = site.sensor(name, ca=ca)
    try:
        client.connect(name)
    except ConnectionError:
        return
    raise AssertionError("%s was let in after %s" % (name, what))


def _put(path, data):
    if os.path.isdir(path):
        os.rmdir(path)
    elif data is None:
        os.unlink(path)
    if data is None:
        os.mkdir(path)
        return
    with open(path, "wb") as f:
        os.chmod(path, 0o600)
        f.write(data)


@pytest.fixture
def site(plant, pki, tmp_path):
    return Site(plant, pki, tmp_path)


def test_broken_files_of_every_kind(site):
    print("CERTFLIP_TEST_SEED=%d" % SEED)
    rng = random.Random(SEED)
    stranger = Authority(site.folder, "Stranger")
    site.root.revoke(site.pair("revoked"))
    files = os.path.join(site.folder, "files")
    os.makedirs(os.path.join(files, "lists"))

    def own(source, name):
        path = os.path.join(files, name)
        shutil.copy(source, path)
        os.chmod(path, 0o600)
        return path

    site.other.revoke(site.pair("other-revoked", site.other))
    site.tls["anchors"] = [own(site.root.cert, "root.pem"), own(site.other.cert, "other.pem")]
    site.tls["crls"] = [own(site.root.crl, "root.crl"), os.path.join(files, "lists")]
    own(site.other.crl, "lists/other.crl")
    server = site.tls["chains"][0]
    site.tls["chains"] = [{"chain": own(server["chain"], "server.pem"), "key": own(server["key"], "server.key")}]
    upstream = site.gateway.conf["upstreams"][0]
    upstream["anchors"] = [own(upstream["anchors"][0], "upstream.pem")]
    site.gateway.reload()
    below = Authority(site.folder, "Below", parent=site.root, extensions=["basicConstraints=critical,CA:TRUE"])
    with open(below.revoke(site.pair("below-revoked", below)), encoding="ascii") as crl, \
            open(below.cert, encoding="ascii") as cert:
        site.gateway.rpc("crl.update", crl=crl.read() + cert.read())
    stored = os.path.join(site.gateway.state, "crls")
    identity = os.path.join(site.gateway.identities, "fleet", "old")
    targets = [os.path.join(files, n) for n in os.listdir(files) if n != "lists"]
    targets += [os.path.join(files, "lists", "other.crl"), site.gateway.path, os.path.join(stored, os.listdir(stored)[0]),
                os.path.join(identity, "chain.pem"), os.path.join(identity, "key.pem")]
    server = site.tls["chains"][0]
    pairs = {server["chain"]: server["key"], server["key"]: server["chain"]}
    good = {}
    for path in targets:
        with open(path, "rb") as f:
            good[path] = f.read()
    live = [site.connect("live-%d" % i, 4 + i % 2, ca=(site.root, site.other, below)[i % 3]) for i in range(12)]
    anchors = [*site.tls["anchors"], *upstream["anchors"]]
    elsewhere = Poison(rng, [server["key"], site.tls["crls"][0], site.root.key, site.gateway.path])
    anywhere = Poison(rng, [*targets, site.root.key])
    taken = 0
    for i in range(COUNT):
        path = rng.choice(targets)
        ways = Poison.OF_CONFIGURATION if path == site.gateway.path else Poison.WAYS
        way = rng.choice(ways) if i % 60 or path == site.gateway.path else Poison.huge
        bad = way(elsewhere if path in anchors else anywhere, good[path])
        if bad in (good[path], good.get(pairs.get(path))):
            continue
        what = "%d: %s %s" % (i, way.__name__, path)
        _put(path, bad)
        try:
            reply = site.gateway.rpc("config.reload")
            taken += 1
            # Words between the armour, or what a file says that is good by itself, may change.
            if path.startswith(identity):
                fault = site.gateway.device("fleet")["slots"]["old"]["fault"]
                assert reply["faulty_devices"] == 0 or identity in fault, (what, fault)
        except Refused as refused:
            faults = refused.error["data"]["faults"]
            # A certificate and a key that do not belong together are named by either.
            # Where another good one took its place, it may be who relies on it that cannot be used.
            names = targets if way is Poison.another else [path, pairs.get(path, path)]
            assert any(n in f for n in names for f in faults), (what, faults)
        assert site.gateway.running(), what
        for name, ca in (("revoked", site.root), ("other-revoked", site.other), ("below-revoked", below),
                         ("stranger", stranger)):
            if rng.random() < 0.5:
                _refused(site, name, ca, what)
        rng.choice(live).ping()
        _put(path, good[path])
        if rng.random() < 0.3:
            site.gateway.reload()
    site.gateway.reload()
    for client in live:
        assert not client.ended
        client.ping()
    for name, ca in (("revoked", site.root), ("other-revoked", site.other), ("below-revoked", below)):
        _refused(site, name, ca)
    site.connect("late")
    site.counted(cut_revoked=0, cut_distrusted=0)
    print("%d of %d were taken, as what was changed has no meaning" % (taken, COUNT))
