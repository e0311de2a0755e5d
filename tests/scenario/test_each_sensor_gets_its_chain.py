"""Several chains of one listener: old sensors get the one that they pinned, others one that they can verify."""

import os
import re
import shutil
import subprocess

import pytest

from lib import packets as p
from lib.gateway import Certflipd, Refused
from lib.pki import SERVER, Pair, openssl
from lib.wait import seconds

OLD_STACK = ["-cipher", "ALL@SECLEVEL=0"]


def sha1_chain(pki):
    """Of an RSA authority from the days of SHA-1."""
    pair = Pair(os.path.join(pki.folder, "chain-sha1.pem"), os.path.join(pki.folder, "chain-sha1.key"))
    if not os.path.exists(pair.chain):
        more = [x for ext in SERVER for x in ("-addext", ext)]
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha1", "-keyout", pair.key, "-out", pair.chain, "-days", 30,
                "-subj", "/O=Plant/CN=chain-old", "-CA", pki.rsa.cert, "-CAkey", pki.rsa.key,
                "-addext", "basicConstraints=critical,CA:FALSE", *more)
        os.chmod(pair.key, 0o600)
    return pair


def one(pair, **conditions):
    return {"chain": pair.chain, "key": pair.key, **conditions}


class Site:
    """The new chain is ECDSA by the new CA, the old one RSA by the old CA with SHA-1."""

    def __init__(self, folder, pki):
        self.pki = pki
        self.pairs = {"new": pki.server("chain-new", ca=pki.new), "old": sha1_chain(pki),
                      "named": pki.server("chain-named", ca=pki.server_ca),
                      "near": pki.server("chain-near", ca=pki.old)}
        self.gateway = Certflipd(folder, pki, None)
        self.gateway.conf["log"] = {"levels": [{"subsystem": "*", "level": "debug"}]}
        self.gateway.conf["devices"] = [{"name": "nobody", "match": {"client_id": "nobody"}}]
        self.listener = self.gateway.listener()
        self.listener["address"] = "*"
        self.listener["tls_min"] = "1.0"
        self.listener["anchors"] = [pki.old.cert, pki.rsa.cert]
        self.chains("new", "old")

    def chains(self, *names, **more):
        self.listener["chains"] = [one(self.pairs[name]) for name in names] + [
            one(self.pairs[name], **conditions) for name, conditions in more.items()]

    def visit(self, *flags, address="127.0.0.1"):
        """The CN of the chain's leaf, and why it was that one."""
        at = self.gateway.log.mark()
        rsa = "RSA+SHA1:RSA+SHA256" in flags  # it signs with nothing else, either
        pair = self.pki.sensor("press", "rsa", self.pki.rsa) if rsa else self.pki.sensor("press")
        done = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % (address, self.gateway.port), "-nocommands", "-ign_eof",
                               "-cert", pair.chain, "-key", pair.key, *flags], input=p.connect("x", 4),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=seconds(20))
        text = done.stdout.decode(errors="replace")
        assert b"\x20\x02\x00\x05" in done.stdout, text[-1500:]  # CONNACK: it has come through
        seen = re.search(r"^subject=.*CN ?= ?chain-(\w+)", text, re.M)[1]
        line = self.gateway.log.wait(r" handshake .*", at)[0]
        assert "CN=chain-%s," % seen in line, line
        return seen, re.search(r" chosen=(\S+)", line)[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory, pki):
    site = Site(tmp_path_factory.mktemp("chains"), pki)
    with site.gateway:
        yield site


@pytest.mark.parametrize("flags,gets", [
    ([], ("new", "fits")),
    (["-tls1_2"], ("new", "fits")),
    # It names no SHA-1, and can use no other chain all the same.
    (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-sigalgs", "RSA+SHA256:ECDSA+SHA256"], ("old", "usable")),
    (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", "-sigalgs", "RSA+SHA256:RSA+SHA1:ECDSA+SHA256"], ("old", "fits")),
    (["-tls1_2", "-sigalgs", "RSA+SHA1:RSA+SHA256", *OLD_STACK], ("old", "fits")),
    (["-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"], ("old", "fits")),
    (["-tls1_1", "-cipher", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0"], ("old", "fits")),
])
def test_by_what_it_can_do(site, flags, gets):
    """Whoever names its suites or algorithms gets what goes with them."""
    seen = site.visit(*flags)
    assert seen == gets


def test_by_the_ca_that_it_names(site, pki):
    """Two CAs side by side."""
    site.chains("new", "near")
    site.gateway.reload()
    assert site.visit("-requestCAfile", pki.new.cert) == ("new", "fits")
    assert site.visit("-requestCAfile", pki.bundle(pki.stranger, pki.old, name="named-cas.pem")) == ("near", "fits")
    # Nothing fits: the first, as without a word.
    assert site.visit("-requestCAfile", pki.stranger.cert) == ("new", "usable")
    site.chains("new", "old")
    site.gateway.reload()


def test_by_name_network_and_version(site):
    """The one for the name comes first; conditions that do not hold are passed over; at last the one without any."""
    site.listener["chains"] = [one(site.pairs["near"], networks=["127.0.0.2/32", "::1"]),
                               one(site.pairs["old"], tls_max="1.1"),
                               one(site.pairs["new"]),
                               one(site.pairs["named"], sni="*.Old.example")]
    site.gateway.reload()
    assert site.visit() == ("new", "fits")
    assert site.visit("-servername", "press.old.EXAMPLE") == ("named", "fits")
    assert site.visit("-servername", "press.example") == ("new", "fits")
    assert site.visit("-tls1_1", *OLD_STACK) == ("old", "fits")
    assert site.visit(address="[::1]") == ("near", "fits")
    assert site.visit("-servername", "x.old.example", address="[::1]") == ("named", "fits")
    site.chains("new", "old")
    site.gateway.reload()


def test_a_listener_needs_one_without_conditions(site):
    good = site.listener["chains"]
    site.listener["chains"] = [one(site.pairs["new"], networks=["10.0.0.0/8"]), one(site.pairs["old"], tls_max="1.1")]
    with pytest.raises(Refused) as refused:
        site.gateway.reload()
    assert "one without any must serve whom no other fits" in refused.value.error["data"]["faults"][0]
    site.listener["chains"] = good
    site.gateway.reload()


LIVE = 200


def test_chains_are_exchanged_under_live_sessions(plant, pki):
    """No session is cut, the next handshake sees the new ones; a bad file changes nothing."""
    site = plant(start=False)
    # Ours to change; what the sensors verify stays the same CA.
    first, second, old = pki.server("chain-first"), pki.server("chain-second"), sha1_chain(pki)
    bad = os.path.join(site.folder, "bad.pem")
    listener = site.gateway.listener()
    listener["chains"] = [one(first), one(old)]
    devices = ["chained-%d" % i for i in range(LIVE)]
    pair = pki.sensor("chained")
    site.gateway.conf["devices"] = [{"name": "{client_id}", "match": {"listener": "tls"}}]
    for device in devices:
        site.gateway.install(device, old=pki.identity("chained", "old"), new=False)
    site.__enter__()
    clients = []
    for device in devices:
        clients.append(site.sensor(device, pair=pair))
        clients[-1].connect(device)

    def sees():
        got = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.gateway.port, "-tls1_2"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                             timeout=seconds(20)).stdout.decode(errors="replace")
        return re.search(r"^subject=.*CN ?= ?chain-(\w+)", got, re.M)[1]

    assert sees() == "first"
    shutil.copy(old.chain, bad)
    with open(bad, "r+b") as f:
        f.truncate(300)
    listener["chains"] = [one(second), {"chain": bad, "key": old.key}]
    with pytest.raises(Refused):
        site.gateway.reload()
    listener["chains"] = [one(second), {"chain": old.chain, "key": first.key}]  # a key of another
    with pytest.raises(Refused):
        site.gateway.reload()
    assert sees() == "first"
    listener["chains"] = [one(second), one(old)]
    site.gateway.reload()
    assert sees() == "second"
    for client in clients:
        client.ping()
