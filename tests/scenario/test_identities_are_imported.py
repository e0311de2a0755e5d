"""Identities that were made elsewhere: files of every kind, one device or hundreds at once, under traffic; whatever happens
in the middle, a slot is as before or wholly the new one."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys

import pytest

from lib.gateway import Refused, binary
from lib.pki import install, openssl
from lib.power import Power, crash_points
from lib.wait import seconds, until

FAULTS = pytest.mark.skipif(not crash_points(), reason="configure --enable-crash-points")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
PASSWORD = "corréct horse"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n", encoding="utf-8")
    secret.chmod(0o600)
    return folder


def p12(pair, path, *more):
    openssl("pkcs12", "-export", "-in", pair.chain, "-inkey", pair.key, "-passout", "pass:" + PASSWORD, "-out", path, *more)
    return str(path)


def password_of(files):
    return ("--password-file", str(files.parent / "password"))


def folder_of(gateway, device, slot):
    return os.path.join(gateway.identities, device, slot)


def content(gateway, device, slot):
    folder = folder_of(gateway, device, slot)
    if not os.path.isdir(folder):
        return None
    return {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}


def test_the_first_goes_into_old_and_the_next_into_new(plant, pki, files):
    site = plant([], start=False)
    site.__enter__()
    old, new = pki.identity("press-1", "old"), pki.identity("press-1", "new")
    said = site.gateway.ctl("import", "press-1", p12(old, files / "a.p12"), *password_of(files))[1]
    assert "press-1 old: imported" in said and "CN=press-1" in said
    state = site.gateway.device("press-1")
    assert state["phase"] == "steady" and state["slots"]["old"]["fingerprint"] == old.fingerprint()
    folder = folder_of(site.gateway, "press-1", "old")
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(os.path.join(folder, "key.pem")).st_mode & 0o777 == 0o600
    client = site.connect("press-1")

    # The same again is nothing new, in whatever form.
    assert "same as before" in site.gateway.ctl("import", "press-1", old.chain, "--key", old.key)[1]
    assert "same as before" in site.gateway.ctl("import", "press-1", old.chain, old.key, "--slot", "old")[1]

    said = site.gateway.ctl("import", "press-1", new.chain, new.key, "--dry-run")[1]
    assert "would import" in said and content(site.gateway, "press-1", "new") is None
    site.gateway.ctl("import", "press-1", new.chain, new.key)
    assert site.gateway.device("press-1")["phase"] == "staged"
    site.gateway.ctl("flip", "press-1", "--probation", "1", "--wait")
    assert site.gateway.device("press-1")["upstream"]["fingerprint"] == new.fingerprint()
    assert not client.faults and site.gateway.device("press-1")["online"]

    # The identity in use is not taken away by mistake.
    other = pki.identity("press-1", "new", ca=pki.old)
    code, _, said = site.gateway.ctl("import", "press-1", other.chain, other.key, "--slot", "new", check=False)
    assert code == 1 and "is in use" in said
    code, _, said = site.gateway.ctl("import", "press-1", other.chain, other.key, "--slot", "old", check=False)
    assert code == 1 and "--replace" in said
    site.gateway.ctl("import", "press-1", other.chain, other.key, "--slot", "old", "--replace")
    assert site.gateway.device("press-1")["slots"]["old"]["fingerprint"] == other.fingerprint()
    audit = site.gateway.ctl("audit")[1]
    assert "identity.import" in audit and "PRIVATE" not in audit and "press-1 (replace)" in audit


def test_every_refusal_names_file_and_remedy(plant, pki, files):
    site = plant(["other"])
    pair = pki.identity("press-2", "old")
    good = p12(pair, files / "good.p12")
    with open(good, "rb") as f:
        data = f.read()
    (files / "cut.p12").write_bytes(data[:len(data) // 2])
    (files / "wrong").write_text("wrong\n", encoding="ascii")

    def refused(*args):
        code, out, err = site.gateway.ctl("import", "press-2", *args, check=False)
        assert code == 1 and not out, (code, out, err)
        assert "PRIVATE KEY-----" not in err
        return err

    assert "good.p12: wrong password" in refused(good, "--password-file", str(files / "wrong"))
    assert "good.p12: is under a password: give it with --password-file" in refused(good)
    assert "cut.p12: is neither PEM, nor DER, nor PKCS#12, or cut off" in refused(str(files / "cut.p12"), *password_of(files))
    assert "there is no such file" in refused(str(files / "absent.p12"))
    assert "does not match the certificate" in refused(pair.chain, pki.identity("other", "old").key)
    assert "--key FILE" in refused(pair.chain, pair.chain)
    code, _, err = site.gateway.ctl("import", "bad/name", pair.chain, pair.key, check=False)
    assert code == 1 and "is not a device's name" in err
    assert site.gateway.ctl("import", "press-2", check=False)[0] == 2
    assert not os.path.exists(os.path.join(site.gateway.identities, "press-2"))


def test_a_folder_of_devices_is_imported_under_traffic(plant, pki, files):
    busy = ["busy-%d" % i for i in range(3)]
    site = plant(busy)
    names = ["dev-%03d" % i for i in range(120)]
    pki.prepare(names, slots=("old",), sensors=False)
    for i, name in enumerate(names):
        pair = pki.identity(name, "old")
        if i % 10 == 0:
            p12(pair, files / (name + ".p12"))
        elif i % 3 == 0:
            shutil.copy(pair.chain, files / (name + ".pem"))
            shutil.copy(pair.key, files / (name + ".key"))
        elif i % 3 == 1:
            with open(pair.chain, "rb") as chain, open(pair.key, "rb") as key:
                (files / (name + ".pem")).write_bytes(key.read() + chain.read())
        else:
            folder = files / name / "old"
            folder.mkdir(parents=True)
            shutil.copy(pair.chain, folder / "cert.pem")
            shutil.copy(pair.key, folder / "key.pem")
    (files / "notes.txt").write_text("whatever lies there", encoding="ascii")
    (files / "broken.p12").write_bytes(b"\x30\x82\x01")
    streams = site.streams(busy, interval=0.01)
    said = site.gateway.ctl("import", "--dir", str(files), *password_of(files), "--dry-run", check=False)
    assert said[0] == 1 and "would import 120, same as before 0, refused 1" in said[1], said
    assert sorted(os.listdir(site.gateway.identities)) == busy

    code, out, err = site.gateway.ctl("import", "--dir", str(files), *password_of(files), check=False)
    assert code == 1 and "imported 120, same as before 0, refused 1; 1 files" in out, (out, err)
    assert "broken" in err and out.count(": imported: ") == 120
    streams.progress(5)
    streams.stop()
    streams.prove()
    listed = {d["device"]: d for d in site.gateway.ctl_json("devices")["devices"]}
    assert set(listed) == set(names + busy) and list(listed) == sorted(listed)
    assert all(listed[n]["slots"]["old"]["fingerprint"] == pki.identity(n, "old").fingerprint() for n in names)
    site.connect(names[7])
    site.wait_up(names[7])

    report = json.loads(site.gateway.ctl("--json", "import", "--dir", str(files), *password_of(files), check=False)[1])
    assert (report["imported"], report["same"], report["refused"]) == (0, 120, 1)
    site.gateway.restart()
    assert site.gateway.ctl_json("status")["devices"]["total"] == 123


def test_a_pattern_names_the_files(plant, pki, files):
    site = plant([])
    for name in ("a-1", "a-2"):
        pair = pki.identity(name, "old")
        folder = files / ("site-%s" % name)
        folder.mkdir()
        shutil.copy(pair.chain, folder / "client.crt")
        shutil.copy(pair.key, folder / "client.rsa")
    site.gateway.ctl("import", "--dir", str(files), "--pattern", "site-{device}/client.crt",
                     "--key", "site-{device}/client.rsa")
    assert [d["device"] for d in site.gateway.ctl_json("devices")["devices"]] == ["a-1", "a-2"]
    assert "must hold {device} once" in site.gateway.ctl("import", "--dir", str(files), "--pattern", "x", check=False)[2]


def test_the_password_is_asked_for_without_echo(plant, pki, files):
    site = plant([])
    path = p12(pki.identity("press-3", "old"), files / "press-3.p12")
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    ctl = subprocess.Popen([sys.executable, "-c", terminal, binary("certflipctl"), "-s", site.gateway.control, "import",
                            "press-3", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    seen = b""

    def read_until(what, times=1):
        nonlocal seen
        while seen.count(what) < times:
            assert select.select([ctl.stdout], [], [], seconds(20))[0], seen
            more = os.read(ctl.stdout.fileno(), 4096)
            assert more, seen
            seen += more

    read_until(b"password of")
    os.write(ctl.stdin.fileno(), b"wrong\n")
    read_until(b"wrong password")
    read_until(b"password of", 2)
    os.write(ctl.stdin.fileno(), PASSWORD.encode() + b"\n")
    read_until(b"imported")
    ctl.stdin.close()
    assert ctl.wait(seconds(20)) == 0
    ctl.stdout.close()
    assert PASSWORD.encode() not in seen
    assert site.gateway.device("press-3")["slots"]["old"]["usable"]


@FAULTS
@pytest.mark.parametrize("point", ["durable.write", "durable.sync", "durable.rename", "files.filled", "files.renamed",
                                   "files.put", "change.put", "save.begin", "save.commit", "save.committed",
                                   "change.done", "reply.send"])
def test_a_power_cut_leaves_a_slot_as_before_or_new(plant, pki, files, point):
    site = plant(["one"], start=False)
    power = Power(site)
    site.__enter__()
    new = pki.identity("one", "new", ca=pki.old)
    before = pki.identity("one", "new").fingerprint()
    power.arm("%s:1" % point)
    code = site.gateway.ctl("import", "one", new.chain, new.key, "--slot", "new", check=False)[0]
    assert code == 3
    power.wait_death(point)
    power.disarm()
    site.gateway.start()
    state = site.gateway.device("one")
    assert state["phase"] == "staged" and state["slots"]["new"]["usable"]
    assert state["slots"]["new"]["fingerprint"] in (before, new.fingerprint())
    assert "same as before" in site.gateway.ctl("import", "one", new.chain, new.key, "--slot", "new")[1] \
        or site.gateway.device("one")["slots"]["new"]["fingerprint"] == new.fingerprint()
    assert sorted(os.listdir(folder_of(site.gateway, "one", "new"))) == ["chain.pem", "key.pem"]


@FAULTS
@pytest.mark.parametrize("fault", ["files.mkdir:1+:ENOSPC", "files.mkdir:1+:EROFS", "files.rename:1+:EIO",
                                   "files.rename:1+:EROFS"])
def test_a_fault_leaves_the_former_state(plant, pki, fault):
    site = plant(["one"], start=False)
    power = Power(site)
    site.__enter__()
    client = site.connect("one")
    before = {slot: content(site.gateway, "one", slot) for slot in ("old", "new")}
    pair = pki.identity("one", "new", ca=pki.old)
    for args in (("--slot", "new"), ("--slot", "old", "--replace")):
        power.arm(fault)
        code, _, err = site.gateway.ctl("import", "one", pair.chain, pair.key, *args, check=False)
        assert code == 1 and site.gateway.identities in err, err
        power.disarm()
        assert {slot: content(site.gateway, "one", slot) for slot in ("old", "new")} == before
    power.arm(fault)
    code = site.gateway.ctl("import", "two", pki.identity("two", "old").chain, pki.identity("two", "old").key,
                            check=False)[0]
    assert code == 1 and content(site.gateway, "two", "old") is None
    power.disarm()
    state = site.gateway.device("one")
    assert not client.faults and state["online"] and state["phase"] == "staged"
    site.gateway.ctl("import", "two", pki.identity("two", "old").chain, pki.identity("two", "old").key)


@FAULTS
@pytest.mark.parametrize("fault", ["disk.write:1+:ENOSPC", "disk.sync:1+:EIO"])
@pytest.mark.parametrize("staged", [True, False])
def test_what_cannot_be_saved_was_not_imported(plant, pki, fault, staged):
    site = plant(["one"], start=False)
    power = Power(site)
    if not staged:
        shutil.rmtree(folder_of(site.gateway, "one", "new"))
    site.__enter__()
    client = site.connect("one")
    before = site.gateway.device("one"), content(site.gateway, "one", "new")
    pair = pki.identity("one", "new", ca=pki.old)
    power.arm(fault)
    code, out, err = site.gateway.ctl("import", "one", pair.chain, pair.key, "--slot", "new", check=False)
    assert code == 1 and "nothing was done" in err and not out, (out, err)
    power.disarm()
    now = site.gateway.device("one")
    assert content(site.gateway, "one", "new") == before[1]
    assert (now["phase"], now["slots"]) == (before[0]["phase"], before[0]["slots"])
    assert sorted(os.listdir(os.path.join(site.gateway.identities, "one"))) == (["new", "old"] if staged else ["old"])
    site.gateway.ctl("import", "one", pair.chain, pair.key, "--slot", "new")
    assert site.gateway.device("one")["slots"]["new"]["fingerprint"] == pair.fingerprint()
    assert site.gateway.device("one")["phase"] == "staged" and not client.faults


def test_lint_refuses_what_is_to_be_flipped_to_and_warns_of_the_rest(plant, pki, files):
    site = plant(["one"], lint={"name_match": "error"})
    site.connect("one")
    before = content(site.gateway, "one", "new")
    other = pki.identity("press-9", "new")  # issued to somebody else
    for more in ((), ("--dry-run",)):
        code, out, err = site.gateway.ctl("import", "one", other.chain, other.key, "--slot", "new", *more, check=False)
        assert code == 1 and not out and "the new identity:" in err and "[lint.name]" in err, err
    assert content(site.gateway, "one", "new") == before and site.gateway.device("one")["phase"] == "staged"
    report = json.loads(site.gateway.ctl("--json", "import", "one", other.chain, other.key, "--slot", "new", check=False)[1])
    assert report["results"][0]["lint"]["worst"] == "error"

    # The identity in use is what it is; it is said all the same.
    out = site.gateway.ctl("import", "one", other.chain, other.key, "--slot", "old", "--replace")[1]
    assert "one old: imported" in out and "  one: error: " in out and "[lint.name]" in out

    expired = pki.expired("one", "new")
    err = site.gateway.ctl("import", "one", expired.chain, expired.key, "--slot", "new", check=False)[2]
    assert "[lint.expired]" in err

    # A warning is shown, and keeps nothing.
    site.gateway.conf["lint"] = {"name_match": "warn"}
    site.gateway.write()
    site.gateway.ctl("reload")
    out = site.gateway.ctl("import", "one", other.chain, other.key, "--slot", "new", "--dry-run")[1]
    assert "one new: would import" in out and "  one: warning: " in out
    install(files, "one", "new", other)
    report = json.loads(site.gateway.ctl("--json", "import", "--dir", str(files))[1])
    found = report["results"][0]
    assert found["result"] == "imported" and found["lint"]["worst"] == "warning"
    assert any(f["severity"] == "warning" and f["code"] == "lint.name" for f in found["lint"]["findings"])
    assert site.gateway.device("one")["slots"]["new"]["fingerprint"] == other.fingerprint()


def test_a_key_that_waits_for_its_certificate_is_not_lost(plant, pki):
    site = plant(["one"], start=False)
    shutil.rmtree(folder_of(site.gateway, "one", "new"))
    site.__enter__()
    site.gateway.rpc("identity.keygen", target="one")
    waits = content(site.gateway, "one", "new")
    pair = pki.identity("one", "new")
    code, _, err = site.gateway.ctl("import", "one", pair.chain, pair.key, "--slot", "new", check=False)
    assert code == 1 and "a key waits for its certificate" in err and content(site.gateway, "one", "new") == waits
    site.gateway.ctl("import", "one", pair.chain, pair.key, "--slot", "new", "--replace")
    assert site.gateway.device("one")["phase"] == "staged"


@ROOT
def test_a_full_disk_refuses_the_rest(plant, pki, files):
    site = plant([], start=False)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80k", "none", site.gateway.identities], check=True)
    try:
        site.__enter__()
        names = ["dev-%02d" % i for i in range(20)]
        pki.prepare(names, slots=("old",), sensors=False)
        for name in names:
            pair = pki.identity(name, "old")
            with open(pair.chain, "rb") as chain, open(pair.key, "rb") as key:
                (files / (name + ".pem")).write_bytes(key.read() + chain.read())
        code, out, err = site.gateway.ctl("import", "--dir", str(files), check=False)
        assert code == 1 and "free some space" in err, (out, err)
        known = {d["device"]: d for d in site.gateway.ctl_json("devices")["devices"]}
        done = [n for n in names if "%s old: imported" % n in out]
        assert 0 < len(done) < len(names)
        for name in names:
            whole = content(site.gateway, name, "old")
            assert (whole is not None and set(whole) == {"chain.pem", "key.pem"}) == (name in done)
            assert name not in done or known[name]["slots"]["old"]["usable"]
        site.gateway.stop()
    finally:
        subprocess.run(["umount", site.gateway.identities], check=True)


def test_who_imports_may_be_killed(plant, pki, files):
    site = plant([])
    names = ["dev-%02d" % i for i in range(30)]
    pki.prepare(names, slots=("old",), sensors=False)
    for name in names:
        install(files, name, "old", pki.identity(name, "old"))
    ctl = subprocess.Popen([binary("certflipctl"), "-s", site.gateway.control, "import", "--dir", str(files)],
                           stdout=subprocess.DEVNULL)
    until("some are there", lambda: len(os.listdir(site.gateway.identities)) > 3)
    ctl.send_signal(signal.SIGKILL)
    ctl.wait(seconds(10))
    for name in os.listdir(site.gateway.identities):
        assert site.gateway.device(name)["slots"]["old"]["usable"]
    site.gateway.ctl("import", "--dir", str(files))
    assert site.gateway.ctl_json("status")["devices"]["total"] == 30


def test_the_method_needs_an_operator_and_checks_what_it_is_given(plant, pki):
    site = plant([])
    pair = pki.identity("one", "old")
    with open(pair.chain, encoding="ascii") as f:
        chain = f.read()
    with open(pki.identity("other", "old").key, encoding="ascii") as f:
        key = f.read()
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("identity.import", device="one", chain=chain, key=key)
    assert "does not match" in str(refused.value)
    assert os.listdir(site.gateway.identities) == []
