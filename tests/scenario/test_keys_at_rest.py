"""Private keys lie on disk encrypted: those that are made here and those that were there before; the passphrase is changed,
lost and mistyped, and no device that works is the worse for it."""

import os
import re
import shutil
import subprocess

import pytest

from lib.gateway import Refused
from lib.pki import openssl
from lib.power import Power, crash_points
from lib.token import SOFTHSM, Token
from lib.wait import until

FAULTS = pytest.mark.skipif(not crash_points(), reason="configure --enable-crash-points")
FIRST, SECOND = "corr\u00e9ct horse", "battery staple"


class Passphrases:
    """The file of keys.passphrase_file."""

    def __init__(self, folder, *lines):
        self.path = str(folder / "passphrase")
        self.write(*lines)

    def conf(self):
        return {"encrypt": True, "passphrase_file": self.path}

    def write(self, *lines):
        with open(self.path + ".part", "w", encoding="utf-8") as f:
            f.write("".join(line + "\n" for line in lines))
        os.chmod(self.path + ".part", 0o600)
        os.rename(self.path + ".part", self.path)


@pytest.fixture
def secret(tmp_path):
    return Passphrases(tmp_path, FIRST)


def path_of(site, device, slot):
    return os.path.join(site.gateway.identities, device, slot, "key.pem")


def opens(path, phrase):
    """Does OpenSSL read the key with this passphrase?  It has to be under one."""
    with open(path, encoding="ascii") as f:
        assert f.read().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----"), path
    done = subprocess.run(["openssl", "pkey", "-in", path, "-passin", "env:PHRASE", "-noout"], check=False,
                          env={**os.environ, "PHRASE": phrase}, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def is_plain(path):
    with open(path, encoding="ascii") as f:
        return re.match(r"-----BEGIN (EC )?PRIVATE KEY-----", f.read()) is not None


def slots_of(site, *devices):
    return {(d, s): path_of(site, d, s) for d in devices for s in ("old", "new")}


def refused_reload(site):
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("config.reload")
    return str(refused.value)


def usable(site, *devices):
    return all(site.gateway.device(d)["slots"][s]["usable"] for d in devices for s in ("old", "new"))


@pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
def test_a_key_that_is_made_here_is_encrypted_all_its_life(plant, pki, secret, tmp_path, kind):
    site = plant(["born"], start=False, keys=secret.conf())
    shutil.rmtree(os.path.join(site.gateway.identities, "born", "new"))
    site.__enter__()
    streams = site.streams(["born"], interval=0.01)
    request, signed = tmp_path / "born.csr", tmp_path / "born.pem"
    site.gateway.ctl("keygen", "born", "--kind", kind, "--out", str(request))
    new, old = path_of(site, "born", "new"), path_of(site, "born", "old")
    assert opens(new, FIRST) and not opens(new, SECOND)
    openssl("x509", "-req", "-in", request, "-CA", pki.new.cert, "-CAkey", pki.new.key, "-days", "30",
            "-copy_extensions", "copy", "-out", signed)
    site.gateway.ctl("install", "born", str(signed))
    assert opens(new, FIRST)
    site.gateway.flip("born", probation_s=1)
    site.gateway.wait_device("born", phase="committed", active="new")
    site.gateway.ctl("retire", "born")
    assert opens(old, FIRST)
    site.gateway.wait_device("born", phase="steady", active="old")
    streams.progress(5)
    streams.stop()
    streams.prove()
    fingerprint = site.gateway.device("born")["slots"]["old"]["fingerprint"]
    site.gateway.restart()
    state = site.gateway.device("born")
    assert state["slots"]["old"]["usable"] and state["slots"]["old"]["fingerprint"] == fingerprint
    site.connect("born")
    until("it is on the identity that was made here", lambda:
          (site.gateway.device("born")["upstream"] or {}).get("fingerprint") == fingerprint)


def test_rekey_and_a_change_of_passphrase_under_traffic(plant, secret):
    devices = ["one", "two"]
    site = plant(devices, start=False, keys={**secret.conf(), "encrypt": False})
    site.__enter__()
    streams = site.streams(devices, interval=0.01)
    files = slots_of(site, *devices)
    former = {p: open(p, "rb").read() for p in files.values()}

    # From plain to encrypted.
    site.gateway.conf["keys"]["encrypt"] = True
    site.gateway.write()
    site.gateway.ctl("reload")
    site.gateway.log.wait(r"keys-at-rest plain=4 former=0 first=one")
    assert {p: open(p, "rb").read() for p in files.values()} == former, "until it is commanded"
    assert "1 devices' keys were written anew, 0 were as they have to be" in site.gateway.ctl("rekey", "one")[1]
    assert "1 devices' keys were written anew, 1 were as they have to be" in site.gateway.ctl("rekey")[1]
    assert all(opens(p, FIRST) for p in files.values())

    # Another passphrase: before the former one, then alone.
    secret.write(SECOND, FIRST)
    mark = site.gateway.log.mark()
    site.gateway.ctl("reload")
    site.gateway.log.wait(r"keys-at-rest plain=0 former=4 first=one", mark)
    assert usable(site, *devices) and not site.gateway.log.find("identity-unusable", mark)
    site.gateway.ctl("rekey")
    assert all(opens(p, SECOND) and not opens(p, FIRST) for p in files.values())
    secret.write(SECOND)
    site.gateway.ctl("reload")
    assert "0 devices' keys were written anew, 2 were" in site.gateway.ctl("rekey")[1]
    assert usable(site, *devices)
    streams.progress(5)
    site.gateway.flip("*", probation_s=1)
    for device in devices:
        site.gateway.wait_device(device, phase="committed", active="new")

    # And back.
    site.gateway.conf["keys"]["encrypt"] = False
    site.gateway.write()
    site.gateway.ctl("reload")
    site.gateway.ctl("rekey")
    assert all(is_plain(p) for p in files.values())
    streams.progress(5)
    streams.stop()
    streams.prove()
    site.gateway.restart()
    assert usable(site, *devices)


def test_without_its_passphrase_a_key_is_faulty_and_the_others_go_on(plant, secret):
    site = plant(["locked", "plain"], start=False, keys=secret.conf())
    site.__enter__()
    site.gateway.ctl("rekey", "locked")
    site.gateway.stop()
    os.rename(secret.path, secret.path + ".away")
    mark = site.gateway.log.mark()
    site.gateway.start()
    line = site.gateway.log.wait(r"passphrase-missing .*", mark)
    assert secret.path in str(line[0] if not isinstance(line, str) else line)
    fault = site.gateway.device("locked")["slots"]["old"]["fault"]
    assert path_of(site, "locked", "old") in fault and "is encrypted" in fault and "keys.passphrase_file" in fault
    assert usable(site, "plain")
    client = site.connect("plain")
    said = refused_reload(site)
    assert secret.path in said

    os.rename(secret.path + ".away", secret.path)
    site.gateway.ctl("reload")
    assert usable(site, "locked", "plain") and not client.faults
    site.connect("locked")


@pytest.mark.parametrize("how", ["wrong", "none-configured", "wrong-file"])
def test_a_reload_with_the_wrong_passphrase_is_refused_and_nothing_is_cut(plant, secret, tmp_path, how):
    devices = ["one", "two"]
    site = plant(devices, start=False, keys=secret.conf())
    site.__enter__()
    site.gateway.ctl("rekey")
    streams = site.streams(devices, interval=0.01)
    sessions = {d: site.gateway.device(d)["sessions"][0]["session"] for d in devices}
    if how == "wrong":
        secret.write(SECOND)
    elif how == "none-configured":
        site.gateway.conf["keys"] = {"encrypt": False}
        site.gateway.write()
    else:
        (tmp_path / "other").mkdir()
        site.gateway.conf["keys"]["passphrase_file"] = Passphrases(tmp_path / "other", SECOND).path
        site.gateway.write()
    for _ in range(2):  # what was refused is not half taken
        said = refused_reload(site)
        assert path_of(site, "one", "old") in said and "(and 3 other keys in use)" in said, said
        assert "keys.passphrase_file" in said and "is encrypted" in said
    mark = site.gateway.log.mark()
    site.gateway.hangup()
    site.gateway.log.wait(r"reload-refused", mark)
    assert usable(site, *devices)
    # What is read and written meanwhile is so under the passphrase in force.
    site.gateway.ctl("discard", "two")
    pair = site.pki.identity("two", "new")
    site.gateway.ctl("import", "two", pair.chain, pair.key)
    assert opens(path_of(site, "two", "new"), FIRST)
    site.gateway.flip("one", probation_s=1)
    site.gateway.wait_device("one", phase="committed", active="new")
    streams.progress(5)
    streams.stop()
    streams.prove()
    assert {d: site.gateway.device(d)["sessions"][0]["session"] for d in devices} == sessions

    secret.write(SECOND, FIRST)  # the remedy
    site.gateway.conf["keys"] = secret.conf()
    site.gateway.write()
    site.gateway.ctl("reload")
    site.gateway.ctl("rekey")
    assert opens(path_of(site, "one", "old"), SECOND)


@FAULTS
@pytest.mark.parametrize("point", ["durable.write", "durable.sync", "durable.rename", "durable.sync-folder"])
def test_a_power_cut_during_rekey_leaves_keys_that_are_read(plant, secret, point):
    site = plant(["one"], start=False, keys=secret.conf())
    power = Power(site)
    site.__enter__()
    before = site.gateway.device("one")["slots"]["new"]["fingerprint"]
    power.arm("%s:2" % point)  # one is written, the other is not
    assert site.gateway.ctl("rekey", check=False)[0] == 3
    power.wait_death(point)
    power.disarm()
    site.gateway.start()
    assert usable(site, "one") and site.gateway.device("one")["slots"]["new"]["fingerprint"] == before
    assert opens(path_of(site, "one", "old"), FIRST)
    site.gateway.ctl("rekey")
    assert all(opens(p, FIRST) for p in slots_of(site, "one").values())
    for slot in ("old", "new"):
        assert sorted(os.listdir(os.path.dirname(path_of(site, "one", slot)))) == ["chain.pem", "key.pem"]


@pytest.mark.skipif(not os.path.exists(SOFTHSM), reason="no SoftHSM on this machine")
def test_keys_in_a_token_have_no_part_in_it(plant, pki, secret, tmp_path):
    token = Token(tmp_path)
    site = plant(["file", "token"], start=False, keys=secret.conf(), tokens=[token.conf])
    site.gateway.env.update(token.env)
    token.install(site.gateway, "token", "new", pki.identity("token", "new"))
    site.__enter__()
    uri = os.path.join(site.gateway.identities, "token", "new", "key.uri")
    before, pin = open(uri, "rb").read(), open(token.pin_file, "rb").read()
    site.gateway.ctl("rekey")
    assert open(uri, "rb").read() == before and open(token.pin_file, "rb").read() == pin
    assert opens(path_of(site, "token", "old"), FIRST)
    site.connect("token")
    site.gateway.flip("token", probation_s=1)
    site.gateway.wait_device("token", phase="committed", active="new")
    site.gateway.stop()
    os.rename(secret.path, secret.path + ".away")
    site.gateway.start()
    state = site.gateway.device("token")["slots"]
    assert state["new"]["usable"] and not state["old"]["usable"]
    site.connect("token")  # it is on its new identity, whose key the token has
    site.broker.wait_slot("token", "new")


@FAULTS
@pytest.mark.skipif(not os.path.exists(SOFTHSM), reason="no SoftHSM on this machine")
@pytest.mark.parametrize("fault", ["files.rename:1+:EIO", "disk.write:1+:ENOSPC"])
def test_a_key_that_is_left_in_a_token_is_told_of(plant, tmp_path, fault):
    token = Token(tmp_path)
    site = plant(["born"], start=False, tokens=[token.conf], keygen={"token": "hsm"})
    site.gateway.env.update(token.env)
    shutil.rmtree(os.path.join(site.gateway.identities, "born", "new"))
    power = Power(site)
    site.__enter__()
    power.arm(fault)
    with pytest.raises(Refused):
        site.gateway.rpc("identity.keygen", target="born")
    power.disarm()
    site.gateway.log.wait(r"key-left-in-token device=born token=\"?hsm\"? uri=\"?pkcs11:token=hsm;.*pkcs11-tool")
    assert not os.path.exists(os.path.join(site.gateway.identities, "born", "new"))
    row = site.gateway.rpc("identity.keygen", target="born")["devices"][0]
    assert row["changed"]
