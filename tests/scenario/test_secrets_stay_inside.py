"""Private keys, and the passphrase that they are under, are nowhere but where they have to be: once they are dropped nothing
of them is left in memory, and they never stand in a log, a reply, the database or a core dump."""

import base64
import glob
import os
import re
import shutil

import pytest

from lib.gateway import build_dir, sanitizer
from lib.pki import openssl
from lib.wait import until

PASSPHRASE = "Tr0ub4dor-and-a-horse"


def needles(key_file):
    """The private scalar of an EC key as it may lie about: as it is, in limbs, in PEM."""
    text = openssl("pkey", "-in", key_file, "-noout", "-text").decode()
    scalar = bytes.fromhex(re.sub(r"[^0-9a-f]", "", re.search(r"priv:(.*?)pub:", text, re.S)[1]))[-32:]
    with open(key_file, encoding="ascii") as f:
        pem = "".join(line.strip() for line in f if "-----" not in line)
    limbs = b"".join(scalar[i:i + 8][::-1] for i in range(0, 32, 8))
    return {"scalar": scalar, "reversed": scalar[::-1], "limbs": limbs,
            "base64": base64.b64encode(base64.b64decode(pem))[40:88]}


def memory(pid):
    """What is written in the process' memory, a mapping at a time; of huge ones what is present."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/%d/maps" % pid, encoding="ascii") as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem, \
            open("/proc/%d/pagemap" % pid, "rb", 0) as pagemap:
        for line in maps:
            at, flags = line.split()[:2]
            start, end = (int(x, 16) for x in at.split("-"))
            if "w" not in flags or "r" not in flags or "[v" in line or end - start > 8 << 30:
                continue  # what is so large is AddressSanitizer's shadow
            step = 64 << 20
            for chunk in range(start, end, step):
                size = min(step, end - chunk)
                if end - start > step:
                    pagemap.seek(chunk // page * 8)
                    if not any(pagemap.read(size // page * 8)):
                        continue
                try:
                    mem.seek(chunk)
                    yield line, mem.read(size)
                except (OSError, OverflowError):
                    continue


def found(pid, what):
    hits = []
    for line, data in memory(pid):
        hits += ["%s in %s" % (name, line.strip()) for name, needle in what.items() if needle in data]
    return hits


@pytest.mark.skipif(os.geteuid() != 0, reason="reads another process' memory")
def test_nothing_is_left_of_a_key_that_was_dropped(plant, pki, tmp_path):
    site = plant(["stays"], start=False)
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n", encoding="ascii")
    secret.chmod(0o600)
    site.gateway.conf["keys"] = {"encrypt": True, "passphrase_file": str(secret), "core_dumps": True}
    site.__enter__()
    old, new = pki.identity("goes", "old"), pki.identity("goes", "new")
    what = {"%s %s" % (pair, k): v for pair, p in (("old", old), ("new", new)) for k, v in needles(p.key).items()}
    other = {"stays " + k: v for k, v in needles(pki.identity("stays", "old").key).items()}

    site.gateway.ctl("import", "goes", old.chain, old.key)
    site.gateway.ctl("import", "goes", new.chain, new.key)
    client = site.connect("goes")
    site.gateway.ctl("flip", "goes", "--probation", "1", "--wait")
    site.gateway.ctl("rollback", "goes", "--wait")
    assert any("scalar" in hit for hit in found(site.gateway.pid, what)), "the search finds what is in use"

    client.disconnect()
    until("the sensor is gone", lambda: not site.gateway.device("goes")["online"])
    shutil.rmtree(os.path.join(site.gateway.identities, "goes"))
    site.gateway.ctl("reload")
    assert [d["device"] for d in site.gateway.ctl_json("devices")["devices"]] == ["stays"]
    until(lambda: "nothing is left: %s" % found(site.gateway.pid, what), lambda: not found(site.gateway.pid, what))
    assert any("scalar" in hit for hit in found(site.gateway.pid, other))

    # Elsewhere it never was.
    said = (site.gateway.ctl("audit", "--json")[1] + site.gateway.ctl("--json", "status")[1] +
            site.gateway.ctl("logs", "--json", "--source", "memory")[1])
    places = {"replies": said.encode()}
    for path in [site.gateway.log.path, *glob.glob(site.gateway.state + "/*")]:
        if os.path.isfile(path):
            with open(path, "rb") as f:
                places[path] = f.read()
    for name, needle in {**what, **other, "passphrase": PASSPHRASE.encode()}.items():
        assert not [p for p, data in places.items() if needle in data], name


def program():
    """A certflipd whose dump is not a sanitizer's terabytes: ours, or that of ./bootstrap check."""
    folder = os.path.join(os.path.dirname(build_dir()), "plain") if sanitizer() else build_dir()
    path = os.path.join(folder, "certflipd")
    return path if os.access(path, os.X_OK) else None


def left_out(pid):
    """The mappings that the kernel leaves out of a core dump: {range as in maps}."""
    out, place = set(), None
    with open("/proc/%d/smaps" % pid, encoding="ascii") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                place = line.split()[0]
            elif line.startswith("VmFlags:") and "dd" in line.split():
                out.add(place)
    return out


@pytest.mark.skipif(os.geteuid() != 0, reason="reads another process' memory")
def test_a_core_dump_holds_no_key(plant, pki, tmp_path):
    """Neither of a key that is in use, encrypted on disk or not, nor of the passphrase: all of them are in memory, and
    only where the kernel does not dump."""
    path = program()
    if path is None:
        pytest.skip("needs a build without sanitizers")
    site = plant(["one", "two"], start=False)
    site.gateway.program = path
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n", encoding="ascii")
    secret.chmod(0o600)
    site.gateway.conf["keys"] = {"encrypt": True, "passphrase_file": str(secret), "core_dumps": True}
    site.__enter__()
    site.gateway.ctl("rekey", "two")
    site.gateway.ctl("reload")
    for device in ("one", "two"):
        site.connect(device)
    site.gateway.flip("one", probation_s=1)
    site.gateway.wait_device("one", phase="committed")
    what = {"%s %s %s" % (device, slot, k): v for device in ("one", "two") for slot in ("old", "new")
            for k, v in needles(pki.identity(device, slot).key).items()}
    what["passphrase"] = PASSPHRASE.encode()
    pid = site.gateway.pid
    hidden = left_out(pid)
    hits = [(name, line.split()[0]) for line, data in memory(pid) for name, needle in what.items() if needle in data]
    seen = {name for name, _ in hits}
    assert "passphrase" in seen and all("%s %s scalar" % (d, s) in seen for d in ("one", "two") for s in ("old", "new")), \
        "the search finds what is in use"
    assert not [hit for hit in hits if hit[1] not in hidden]
