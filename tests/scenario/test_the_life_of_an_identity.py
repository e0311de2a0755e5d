"""A key is made at the edge and never leaves it: keygen, a CA signs, install, flip, commit, retire, and again, while the
device's messages go on.  What is refused, or fails, leaves everything as it was."""

import glob
import json
import os
import stat
import threading
import time

import pytest

from lib.gateway import Refused
from lib.pki import openssl
from lib.wait import until

SUBJECT = "CN={device},OU=Hall 3,O=Plant\\\\, Nörd"
SANS = ["DNS:{device}.sensors.example.com", "URI:urn:certflip:{gateway}:{device}"]


@pytest.fixture
def site(plant):
    return plant(["life-0", "life-1", "life-2"], keygen={"subject": SUBJECT.replace("\\\\", "\\"), "sans": SANS})


def slot(site, device, which="new"):
    return os.path.join(site.gateway.identities, device, which)


def files(site, device):
    """Every file below the device's folder with its contents."""
    top = os.path.join(site.gateway.identities, device)
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                found[os.path.relpath(os.path.join(folder, name), top)] = f.read()
    return found


def only_old(site, *devices):
    """As it is before the first renewal: one identity, in the old slot."""
    for device in devices:
        if site.gateway.device(device)["phase"] != "steady":
            site.gateway.rpc("identity.discard", target=device)
        site.gateway.wait_device(device, phase="steady")


def keygen(site, device, **params):
    """The request of one device, and its row."""
    row = site.gateway.rpc("identity.keygen", target=device, **params)["devices"][0]
    assert row["ok"] and row["device"] == device, row
    return row["csr"], row


def sign(site, csr, days=365, ca=None, name="signed", more=()):
    """What the CA makes of it, as PEM."""
    ca = ca or site.pki.new
    folder = os.path.join(site.folder, "ca")
    os.makedirs(folder, exist_ok=True)
    request, out, ext = (os.path.join(folder, name + end) for end in (".csr", ".pem", ".ext"))
    with open(request, "w", encoding="ascii") as f:
        f.write(csr)
    with open(ext, "w", encoding="ascii") as f:
        f.write("basicConstraints=critical,CA:FALSE\n" + "\n".join(more))
    openssl("x509", "-req", "-in", request, "-CA", ca.cert, "-CAkey", ca.key, "-days", days, "-out", out,
            "-copy_extensions", "copyall", "-extfile", ext, "-set_serial", "0x" + os.urandom(8).hex())
    with open(out, encoding="ascii") as f:
        return f.read()


def text_of(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def assert_private(site, device):
    for folder, names, leaves in os.walk(os.path.join(site.gateway.identities, device)):
        for name in leaves:
            if name == "key.pem":
                assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600
        for name in names:
            assert not name.startswith("."), os.path.join(folder, name)


def key_of(site, device, which="new"):
    return text_of(os.path.join(slot(site, device, which), "key.pem"))


def assert_told_to_nobody(site, *keys):
    """Neither log nor state holds a line of these keys."""
    text = site.gateway.log.text()
    for path in glob.glob(site.gateway.state + "/*"):
        with open(path, "rb") as f:
            text += f.read().decode("latin-1")
    assert "PRIVATE KEY" not in text
    for key in keys:
        for line in key.splitlines()[1:-1]:
            assert line not in text


@pytest.mark.parametrize("kind, kind_text", [("ec-p256", "prime256v1"), ("ec-p384", "secp384r1"),
                                             ("rsa-2048", "(2048 bit)")])
def test_the_whole_life_twice_under_traffic(site, kind, kind_text):
    device = "life-0"
    only_old(site, device)
    streams = site.streams([device])
    session = site.gateway.device(device)["sessions"][0]["session"]
    for turn in range(2):
        csr, row = keygen(site, device, key=kind)
        assert row["changed"] and row["key"] == kind and row["phase"] == "steady"
        told = openssl("req", "-verify", "-noout", "-text", "-nameopt", "RFC2253,utf8,-esc_msb",
                       stdin=csr.encode()).decode()
        assert "Subject: CN=life-0,OU=Hall 3,O=Plant\\, Nörd" in told and kind_text in told
        assert "DNS:life-0.sensors.example.com, URI:urn:certflip:gw-test:life-0" in told
        again, row = keygen(site, device)
        assert again == csr and not row["changed"]
        waiting = site.gateway.device(device)
        assert waiting["slots"]["new"]["csr_since"] and waiting["slots"]["new"]["fault"] is None
        assert site.gateway.rpc("status")["devices"]["faulty"] == 0
        key = key_of(site, device)
        # In a strange order, and with the root.
        chain = text_of(site.pki.new.cert) + sign(site, csr)
        done = site.gateway.rpc("identity.install", device=device, chain=chain)
        assert done["phase"] == "staged" and done["changed"] and done["slot"]["usable"]
        assert text_of(slot(site, device) + "/chain.pem").count("BEGIN CERTIFICATE") == 1  # the root is not shown
        assert not site.gateway.rpc("identity.install", device=device, chain=chain)["changed"]
        site.gateway.flip(device, probation_s=1)
        site.gateway.wait_device(device, phase="committed", active="new")
        fingerprint = done["slot"]["fingerprint"]
        former = site.gateway.device(device)["slots"]["old"]["fingerprint"]
        streams.progress(10)
        rehomes = site.gateway.counters()["rehomes"]
        retired = site.gateway.rpc("retire", target=device)["devices"][0]
        assert retired["changed"] and retired["phase"] == "steady"
        streams.progress(10)
        now = site.gateway.wait_device(device, phase="steady", active="old")
        assert now["slots"]["old"]["fingerprint"] == fingerprint and now["slots"]["new"] is None
        assert now["sessions"][0]["session"] == session
        assert now["upstream"]["slot"] == "old" and now["upstream"]["state"] == "accepted"
        assert now["upstream"]["fingerprint"] == fingerprint
        assert site.gateway.counters()["rehomes"] == rehomes
        archive = os.listdir(os.path.join(site.gateway.identities, device, "archive"))
        assert len(archive) == turn + 1 and any(name.endswith("-" + former[:16]) for name in archive)
        assert not site.gateway.rpc("retire", target=device)["devices"][0]["changed"]
        assert_private(site, device)
        assert_told_to_nobody(site, key)
    streams.prove()


def test_rsa_4096_does_not_keep_the_others_waiting(site):
    only_old(site, "life-0", "life-1")
    streams = site.streams(["life-1"])
    result = {}
    worker = threading.Thread(target=lambda: result.update(
        site.gateway.call(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "identity.keygen",
                                      "params": {"target": "life-0", "key": "rsa-4096"}}), timeout=120)[0]))
    worker.start()
    answered = 0
    while worker.is_alive():
        site.gateway.rpc("status")
        answered += 1
        worker.join(0.02)
    assert answered > 3, "the key was made too soon to tell"
    streams.progress(5)
    csr = result["result"]["devices"][0]["csr"]
    assert "(4096 bit)" in openssl("req", "-verify", "-noout", "-text", stdin=csr.encode()).decode()
    site.gateway.rpc("identity.install", device="life-0", chain=sign(site, csr))
    site.gateway.wait_device("life-0", phase="staged")
    site.gateway.rpc("identity.discard", target="life-0")
    assert site.gateway.device("life-0")["slots"]["new"] is None
    streams.prove()


def test_an_end_while_a_key_is_made(site):
    """The daemon ends cleanly, and the slot is as it was."""
    only_old(site, "life-0")
    before = files(site, "life-0")

    def ask():
        try:
            site.gateway.call(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "identity.keygen",
                                          "params": {"target": "life-0", "key": "rsa-4096"}}), timeout=60)
        except OSError:
            pass  # the connection is closed
    worker = threading.Thread(target=ask)
    worker.start()
    site.gateway.restart()
    worker.join(60)
    assert files(site, "life-0") == before


def refused(site, name, method, **params):
    with pytest.raises(Refused) as why:
        site.gateway.rpc(method, **params)
    assert why.value.name == name, why.value
    return str(why.value)


def test_since_when_the_broker_has_accepted_stays_true(site):
    """What is done about the new slot moves no session, and makes no connection younger."""
    only_old(site, "life-0")
    site.connect("life-0").ping()
    since = site.gateway.wait_device("life-0", online=True)["upstream"]["since"]
    until(lambda: "the second after " + since, lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > since)
    csr, _ = keygen(site, "life-0")
    site.gateway.rpc("identity.install", device="life-0", chain=sign(site, csr))
    site.gateway.rpc("identity.discard", target="life-0")
    site.gateway.reload()
    assert site.gateway.device("life-0")["upstream"]["since"] == since


def flips_too_early(site, device, says, todo):
    """Whoever does is told what comes next."""
    error = _error(site, "flip", target=device)
    assert error["data"]["name"] == "no-identity" and says in error["message"] and todo in error["data"]["remedy"], error


def test_what_is_no_certificate_of_the_key_changes_nothing(site):
    only_old(site, "life-0", "life-1")
    assert "keygen" in json.dumps(_error(site, "identity.install", device="life-0", chain="x"))
    csr, _ = keygen(site, "life-0")
    other, _ = keygen(site, "life-1")
    good = sign(site, csr)
    before, rows = files(site, "life-0"), site.gateway.device("life-0")
    key = key_of(site, "life-0")
    faults = {
        "another device's": sign(site, other, name="other"),
        "garbage": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "cut off": good[:-60],
        "no PEM": "hello",
        "the request": csr,
        "a key with it": good + key_of(site, "life-1"),
        "the CA alone": text_of(site.pki.new.cert),
        "huge": good * 500,
    }
    for what, chain in faults.items():
        with pytest.raises(Refused) as why:
            site.gateway.rpc("identity.install", device="life-0", chain=chain)
        assert why.value.name in ("invalid-params", "no-identity"), (what, why.value)
        assert files(site, "life-0") == before, what
        assert site.gateway.device("life-0") == rows, what
    assert "expired" in refused(site, "no-identity", "identity.install", device="life-0",
                                chain=sign_dated(site, csr, "20200101000000Z", "20200201000000Z"))
    assert files(site, "life-0") == before
    flips_too_early(site, "life-0", "waits for its certificate", "certflipctl install life-0 FILE")
    assert_told_to_nobody(site, key, key_of(site, "life-1"))
    assert site.gateway.rpc("identity.install", device="life-0", chain=good)["phase"] == "staged"
    site.gateway.rpc("identity.discard", target=["life-0", "life-1"])
    flips_too_early(site, "life-1", "there is no new identity", "certflipctl keygen life-1")


def sign_dated(site, csr, start, end):
    folder = os.path.join(site.folder, "ca")
    with open(folder + "/dated.csr", "w", encoding="ascii") as f:
        f.write(csr)
    openssl("ca", "-batch", "-notext", "-config", site.pki.new._database(), "-in", folder + "/dated.csr", "-out",
            folder + "/dated.pem", "-startdate", start, "-enddate", end, "-extensions", "client")
    return text_of(folder + "/dated.pem")


def _error(site, method, **params):
    with pytest.raises(Refused) as why:
        site.gateway.rpc(method, **params)
    return why.value.error


def test_a_slot_that_is_taken_is_not_overwritten(site):
    device = "life-2"
    site.gateway.wait_device(device, phase="staged")
    assert "discard" in refused(site, "phase", "identity.keygen", target=device)
    before = files(site, device)
    streams = site.streams([device])
    site.gateway.flip(device, probation_s=30)
    site.gateway.wait_device(device, phase="trial")
    for method, params in (("identity.keygen", {"target": device}), ("identity.discard", {"target": device}),
                           ("retire", {"target": device}),
                           ("identity.install", {"device": device, "chain": "x"})):
        assert refused(site, "phase", method, **params)
    assert files(site, device) == before
    site.gateway.rollback(device)
    site.gateway.wait_device(device, phase="rolled-back", active="old")
    assert "discard" in refused(site, "phase", "identity.keygen", target=device)
    refused(site, "phase", "retire", target=device)
    site.gateway.rpc("identity.discard", target=device)
    csr, _ = keygen(site, device)
    renewed, row = keygen(site, device, renew=True)
    assert row["changed"] and renewed != csr
    assert "another kind" in refused(site, "phase", "identity.keygen", target=device, key="rsa-2048")
    site.gateway.rpc("identity.discard", target=device)
    assert set(files(site, device)) == {"old/chain.pem", "old/key.pem"}
    assert not site.gateway.rpc("identity.discard", target=device)["devices"][0]["changed"]
    streams.prove()


def test_a_retirement_does_not_lead_to_another_broker(site):
    """The new slot has another profile: first the configuration has to say that it is the old one's, too."""
    device = "life-1"
    only_old(site, device)
    upstream = dict(site.gateway.upstream(), name="second")
    site.gateway.conf["upstreams"].append(upstream)
    for rule in site.gateway.conf["devices"]:
        rule.update(upstream="broker", upstream_new="second")
    site.gateway.reload()
    streams = site.streams([device])
    csr, _ = keygen(site, device)
    site.gateway.rpc("identity.install", device=device, chain=sign(site, csr))
    site.gateway.flip(device, probation_s=1)
    site.gateway.wait_device(device, phase="committed")
    before = files(site, device)
    error = _error(site, "retire", target=device)
    assert error["data"]["name"] == "config" and "certflip.conf:" in error["message"]
    assert files(site, device) == before
    for rule in site.gateway.conf["devices"]:
        rule.update(upstream="second", upstream_new=None)
    site.gateway.reload()
    streams.progress(5)
    assert site.gateway.rpc("retire", target=device)["done"] == 1
    streams.progress(5)
    now = site.gateway.device(device)
    assert now["phase"] == "steady" and now["upstream"]["state"] == "accepted"
    streams.prove()


def test_requests_of_many_devices_at_once(site):
    only_old(site, "life-0", "life-1", "life-2")
    done = site.gateway.rpc("identity.keygen", target="life-*", sans=[], subject="CN={device}")
    assert done["done"] == 3 and done["refused"] == 0
    for row in done["devices"]:
        told = openssl("req", "-verify", "-noout", "-text", stdin=row["csr"].encode()).decode()
        assert "CN = " + row["device"] in told and "DNS:" not in told
    error = _error(site, "identity.keygen", target="life-0", renew=True, subject="CN=" + "x" * 65)
    assert error["data"]["name"] == "invalid-params" and "65 characters" in error["message"]
    site.gateway.rpc("identity.discard", target="life-*")


def test_an_export_never_holds_a_key(site):
    only_old(site, "life-0")
    csr, _ = keygen(site, "life-0")
    assert site.gateway.rpc("identity.export", device="life-0", what="csr")["pem"] == csr
    refused(site, "no-identity", "identity.export", device="life-0", what="cert")
    both = slot(site, "life-0", "old") + "/chain.pem"
    chain = text_of(both)
    with open(both, "w", encoding="ascii") as f:  # as some keep them
        f.write(key_of(site, "life-0", "old") + chain)
    pem = site.gateway.rpc("identity.export", device="life-0", what="cert", slot="old")["pem"]
    assert "PRIVATE" not in pem and pem == chain
    for cut in ("-----END CERTIFICATE-----", "-----\n", "\n-----END CERTIFICATE-----\n"):
        # A certificate whose end was lost on the way is none, and the key behind it no part of it.
        with open(both, "w", encoding="ascii") as f:
            f.write(chain[:chain.rindex(cut)] + "\n" + key_of(site, "life-0", "old") + chain)
        pem = site.gateway.rpc("identity.export", device="life-0", what="cert", slot="old")["pem"]
        assert "PRIVATE" not in pem and pem == chain, pem
    with open(both, "w", encoding="ascii") as f:
        f.write(chain)
    site.gateway.rpc("identity.discard", target="life-0")


def test_a_restart_keeps_what_waits(site):
    only_old(site, "life-0")
    csr, _ = keygen(site, "life-0")
    site.gateway.restart()
    assert site.gateway.device("life-0")["slots"]["new"]["csr_since"]
    again, row = keygen(site, "life-0")
    assert again == csr and not row["changed"]
    site.gateway.rpc("identity.install", device="life-0", chain=sign(site, csr))
    site.gateway.restart()
    site.gateway.wait_device("life-0", phase="staged")
    site.gateway.rpc("identity.discard", target="life-0")


def test_a_device_whose_sensor_is_away_is_retired(site):
    device = "life-1"
    if site.gateway.device(device)["phase"] == "steady":
        csr, _ = keygen(site, device)
        site.gateway.rpc("identity.install", device=device, chain=sign(site, csr))
    client = site.connect(device)
    site.gateway.flip(device, probation_s=1)
    site.gateway.wait_device(device, phase="committed")
    fingerprint = site.gateway.device(device)["slots"]["new"]["fingerprint"]
    client.disconnect()
    site.gateway.wait_device(device, online=False)
    site.gateway.rpc("retire", target=device)
    client = site.connect(device)
    client.ping()
    now = site.gateway.wait_device(device, phase="steady", active="old")
    assert now["upstream"]["fingerprint"] == fingerprint and now["upstream"]["slot"] == "old"


def test_audit_and_events_tell_the_life(site):
    only_old(site, "life-0")
    csr, _ = keygen(site, "life-0")
    site.gateway.rpc("identity.install", device="life-0", chain=sign(site, csr))
    site.gateway.rpc("identity.discard", target="life-0")
    rows = site.gateway.rpc("audit.list", limit=10)["entries"]
    told = [(r["what"], r["target"], r["outcome"].split(",")[0]) for r in rows]
    for what in ("identity.keygen", "identity.install", "identity.discard"):
        assert any(t[0] == what and t[1] == "life-0" and t[2].startswith("done") for t in told), told
    assert any(t[0] == "phase steady" for t in told)


def test_certflipctl_leads_through_it(site):
    """With nothing but the command line, and openssl."""
    folder = os.path.join(site.folder, "desk")

    def ctl(*args, fails=0):
        status, out, err = site.gateway.ctl(*args, check=not fails)
        assert status == fails, (args, out, err)
        return out + err
    only_old(site, "life-0", "life-1", "life-2")
    os.makedirs(folder, exist_ok=True)
    one = ctl("keygen", "life-0", "--kind", "ec-p384")
    assert one.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert ctl("export", "life-0", "--csr") == one
    assert "awaited since" in ctl("device", "life-0")
    ctl("keygen", "life-*", "--out", folder + "/nowhere", fails=2)
    told = ctl("keygen", "life-*", "--out", folder)
    for device in ("life-0", "life-1", "life-2"):
        assert os.path.join(folder, device + ".csr") in told
        with open(os.path.join(folder, device + ".pem"), "w", encoding="ascii") as f:
            f.write(sign(site, text_of(os.path.join(folder, device + ".csr")), name=device))
    told = ctl("install", "life-0", folder + "/life-0.pem")
    assert "staged" in told and "CN=life-0" in told
    assert json.loads(ctl("install", "life-1", folder + "/life-1.pem", "--json"))["phase"] == "staged"
    assert "life-2" in ctl("install", "life-2", folder + "/life-1.pem", fails=1)
    assert "private key" in ctl("install", "life-2", slot(site, "life-0") + "/key.pem", fails=2)
    ctl("install", "life-2", folder + "/none.pem", fails=2)
    ctl("export", "life-0", fails=2)
    ctl("export", "life-0", "--cert", "--out", folder + "/cert.pem")
    assert text_of(folder + "/cert.pem") == text_of(slot(site, "life-0") + "/chain.pem")
    site.connect("life-0")
    ctl("flip", "life-0", "--probation", "1", "--wait")
    assert "steady" in ctl("retire", "life-0")
    ctl("retire", "life-1", fails=1)
    ctl("discard", "life-1", "life-2")
    ctl("discard", "life-9", fails=1)
