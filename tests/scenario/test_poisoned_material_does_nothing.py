"""Thousands of broken files of every kind, read again under live sessions, and broken anchors, lists and certificates that
come by command: who has to be refused still is, nobody who is in is cut off, the daemon goes on, and what it says names the
file.

CERTFLIP_POISON_N says how many (default: some hundred; a quarter of it by command), CERTFLIP_TEST_SEED which ones.
"""

import base64
import os
import random
import shutil

import pytest

from lib.gateway import Refused
from lib.pki import Authority, openssl
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

    # What is no file, as a word for _put.

    def folder(self, unused):
        return "folder"

    def pipe(self, unused):
        return "pipe"

    def loop(self, unused):
        return "loop"

    def broken_disk(self, unused):
        return "broken disk"

    def unbalanced(self, data):
        at = self.rng.choice([i for i, c in enumerate(data) if c in b"{}()[]"])
        return data[:at] + data[at + 1:]

    WAYS = [flip_bits, flip_bits, flip_der, flip_der, flip_der, truncate, truncate, cut_out, empty, zeros, noise, another,
            folder, pipe, loop, broken_disk]
    # A configuration with one letter changed may be another one that is good: without the line that names a list, say.
    OF_CONFIGURATION = [unbalanced, unbalanced, unbalanced, empty, zeros, another, folder, pipe, loop, broken_disk]
    # What may come by command.
    OF_TEXT = [flip_bits, flip_der, flip_der, flip_der, truncate, cut_out, empty, zeros, noise, another]

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
    """Put these bytes in its place, or something that is no file."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)
    if data == "folder":
        os.mkdir(path)
    elif data == "pipe":
        os.mkfifo(path, 0o600)
    elif data == "loop":
        os.symlink(os.path.basename(path), path)
    elif data == "broken disk":
        os.symlink("/proc/self/mem", path)  # a regular file, and reading its beginning is EIO
    else:
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


class Commands:
    """Each offers something good in a spoilt form; what is taken all the same has to be the good thing, and is taken back."""

    def __init__(self, site, rng):
        self.site = site
        self.gateway = site.gateway
        self.coming = Authority(site.folder, "Coming")
        self.donors = [self.coming.key, self.gateway.path, site.root.crl]
        self.poison = Poison(rng, self.donors)
        # By this CA lint knows a certificate whose signature is wrong.
        self.gateway.conf["lint"] = {"anchors": [site.pki.new.cert]}
        self.gateway.reload()
        self.gateway.rpc("identity.discard", target="fleet")
        self.order()
        self.methods = {"trust.add": self.add, "crl.update": self.update, "identity.install": self.install}

    def order(self):
        """A key waits for its certificate, which is this one."""
        row, = self.gateway.rpc("identity.keygen", target="fleet", renew=True)["devices"]
        request, self.signed = (os.path.join(self.site.folder, "fleet." + end) for end in ("csr", "pem"))
        with open(request, "w", encoding="ascii") as f:
            f.write(row["csr"])
        ca = self.site.pki.new
        openssl("x509", "-req", "-in", request, "-CA", ca.cert, "-CAkey", ca.key, "-days", 365, "-out", self.signed,
                "-set_serial", "0x" + os.urandom(8).hex())
        self.fingerprint = _fingerprint(self.signed)
        with open(self.signed, "ab") as chain, open(ca.cert, "rb") as issuer:
            chain.write(issuer.read())

    def _offer(self, method, way, path, **params):
        """The result, or None; and it is said why."""
        with open(path, "rb") as f:
            good = f.read()
        # What would be good of its kind from elsewhere would be obeyed.
        bad = way(self.poison, good)
        if bad == good:
            return None
        name = next(k for k, v in params.items() if v is None)
        params[name] = bad.decode("latin-1").replace("\0", "\1")  # the server's JSON knows no U+0000
        try:
            return self.gateway.rpc(method, **params)
        except Refused as refused:
            error = refused.error
            assert error["data"]["name"] not in ("internal", "store", "no-such-device"), (method, way.__name__, error)
            assert len(error["message"]) > 10, error
            return None

    def add(self, way):
        before = self.gateway.rpc("trust.list")
        done = self._offer("trust.add", way, self.coming.cert, set="downstream", pem=None)
        if done is None:
            assert self.gateway.rpc("trust.list") == before, way.__name__
            _refused(self.site, "coming", self.coming, way.__name__)
            return False
        for anchor in done["anchors"]:
            assert anchor["fingerprint"] == _fingerprint(self.coming.cert), way.__name__
            self.gateway.rpc("trust.remove", set="downstream", fingerprint=anchor["fingerprint"], force=True)
        return True

    def update(self, way):
        before = self.gateway.rpc("crl.list")
        done = self._offer("crl.update", way, self.site.other.crl, crl=None)
        # It is in force already: only the very same list can be taken.
        assert done is None or not done["changed"], (way.__name__, done)
        assert self.gateway.rpc("crl.list") == before, way.__name__
        return done is not None

    def install(self, way):
        before = self.gateway.device("fleet")
        done = self._offer("identity.install", way, self.signed, device="fleet", chain=None)
        after = self.gateway.device("fleet")
        assert after["active"] == "old" and after["slots"]["old"] == before["slots"]["old"]
        if done is None:
            assert after["slots"]["new"] == before["slots"]["new"], way.__name__
            return False
        assert after["slots"]["new"]["fingerprint"] == self.fingerprint, way.__name__
        self.gateway.rpc("identity.discard", target="fleet")
        self.order()
        return True


def _fingerprint(path):
    text = openssl("x509", "-in", path, "-noout", "-fingerprint", "-sha256").decode()
    return text.split("=")[1].strip().replace(":", "").lower()


def test_broken_material_by_command(site):
    print("CERTFLIP_TEST_SEED=%d" % SEED)
    rng = random.Random(SEED)
    stranger = Authority(site.folder, "Stranger")
    site.root.revoke(site.pair("revoked"))
    site.other.revoke(site.pair("other-revoked", site.other))
    site.set(crls=[site.root.crl])
    with open(site.other.crl, encoding="ascii") as f:
        site.gateway.rpc("crl.update", crl=f.read())
    live = [site.connect("live-%d" % i, 4 + i % 2, ca=(site.root, site.other)[i % 2]) for i in range(6)]
    commands = Commands(site, rng)
    taken = dict.fromkeys(commands.methods, 0)
    for i in range(max(30, COUNT // 4)):
        method = rng.choice(list(commands.methods))
        way = rng.choice(Poison.OF_TEXT)
        taken[method] += commands.methods[method](way)
        what = "%d: %s %s" % (i, method, way.__name__)
        assert site.gateway.running(), what
        name, ca = rng.choice((("revoked", site.root), ("other-revoked", site.other), ("stranger", stranger)))
        _refused(site, name, ca, what)
        rng.choice(live).ping()
    # The good ones are taken still, and nobody was cut off meanwhile.
    with open(commands.signed, encoding="ascii") as f:
        assert site.gateway.rpc("identity.install", device="fleet", chain=f.read())["phase"] == "staged"
    with open(commands.coming.cert, encoding="ascii") as f:
        assert site.gateway.rpc("trust.add", set="downstream", pem=f.read())["changed"] == 1
    site.connect("coming", ca=commands.coming)
    for client in live:
        assert not client.ended
        client.ping()
    site.counted(cut_revoked=0, cut_distrusted=0)
    print("taken, as what was changed has no meaning: %s" % taken)
