"""Identities whose keys are in a PKCS#11 token: they connect and flip like others, a slow token holds up nobody, and one in
trouble is neither the broker's refusal nor the network's failure."""

import os
import shutil

import pytest

from lib.gateway import Refused
from lib.pki import openssl
from lib.token import DEVICE_ERROR, NOT_PRESENT, SOFTHSM, Token
from lib.wait import until

pytestmark = pytest.mark.skipif(not os.path.exists(SOFTHSM), reason="no SoftHSM on this machine")


@pytest.fixture
def token(tmp_path):
    return Token(tmp_path)


def _site(plant, token, devices, **options):
    """Not yet started."""
    site = plant(devices, start=False, tokens=[token.conf], **options)
    site.gateway.env.update(token.env)
    return site


def _state(site):
    return site.gateway.rpc("status")["tokens"][0]["state"]


def _wait_state(site, state):
    until("the token is " + state, lambda: _state(site) == state, 20)


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_keys_of_every_kind_flip_there_and_back(plant, pki, token, tls):
    kinds = {"tok-ec": "ec", "tok-p384": "p384", "tok-rsa": "rsa"}
    site = _site(plant, token, list(kinds), upstream={"tls_min": tls, "tls_max": tls})
    for device, kind in kinds.items():
        token.install(site.gateway, device, "new", pki.identity(device, "new", kind))
    # This one goes from the token to a file.
    token.install(site.gateway, "tok-ec", "old", pki.identity("tok-ec", "old"))
    shutil.rmtree(os.path.join(site.gateway.identities, "tok-ec", "new"))
    site.gateway.install("tok-ec", old=False)
    site.__enter__()
    streams = site.streams(list(kinds), 1, interval=0.005)
    streams.progress(10)
    site.gateway.flip("tok-*", probation_s=1)
    for device in kinds:
        site.gateway.wait_device(device, phase="committed", active="new")
        site.broker.wait_slot(device, "new")
    streams.progress(10)
    site.gateway.rollback("tok-*")
    for device in kinds:
        site.gateway.wait_device(device, active="old")
        site.broker.wait_slot(device, "old")
    streams.progress(10)
    streams.prove()
    shown = site.gateway.rpc("status")["tokens"][0]
    assert shown["state"] == "ready" and shown["failures"] == 0 and shown["model"] == "SoftHSM v2"
    assert 4 <= shown["operations"] == token.count("signs")
    assert "hsm ready" in site.gateway.ctl("status")[1]
    site.gateway.log.wait(r"token-ready token=hsm")


@pytest.mark.threads
def test_a_token_that_does_not_answer_holds_up_nobody(plant, pki, token):
    site = _site(plant, token, ["slow", "fast", "late"], workers=1)
    token.install(site.gateway, "slow", "new", pki.identity("slow", "new"))
    site.gateway.upstream()["connect_timeout_ms"] = "60s"
    site.__enter__()
    streams = site.streams(["slow", "fast"], 1, interval=0.002)
    streams.progress(10)
    token.block()
    site.gateway.flip("slow", probation_s=1)
    token.wait_blocked()
    streams.progress(100)  # by the same worker, the slow one's own among them
    site.connect("late")
    site.gateway.flip("fast", probation_s=1)
    site.gateway.wait_device("fast", phase="committed", active="new")
    assert site.gateway.device("slow")["phase"] == "trial"
    token.unblock()
    site.gateway.wait_device("slow", phase="committed", active="new")
    streams.progress(10)
    streams.prove()


@pytest.mark.threads
def test_what_waits_for_a_token_may_be_given_up(plant, pki, token):
    """By its deadline, by its sensor, and by the end of the daemon."""
    site = _site(plant, token, ["wait-%d" % i for i in range(4)], upstream={"connect_timeout_ms": "2s"})
    for device in site.devices:
        token.install(site.gateway, device, "old", pki.identity(device, "old"))
    site.gateway.conf["tokens"][0] = {**token.conf, "timeout_ms": "200ms"}
    site.__enter__()
    kept = site.connect("wait-0")
    token.block()
    site.broker.restart()
    token.wait_blocked()
    impatient = site.sensor("wait-1")
    impatient.open()
    impatient.send_raw(impatient.connect_packet("wait-1"))
    until("its deadline passes", lambda: (site.gateway.device("wait-0")["last_error"] or {}).get("name") == "token.silent",
          20)
    state = site.gateway.device("wait-0")
    assert state["last_error"]["class"] == "policy" and state["phase"] == "staged"
    _wait_state(site, "silent")
    impatient.cut()
    token.unblock()
    site.broker.wait_slot("wait-0", "old")
    _wait_state(site, "ready")
    kept.ping()
    token.block()
    site.broker.restart()
    token.wait_blocked()
    site.gateway.stop()


def test_a_token_that_is_away_waits_and_does_not_roll_back(plant, pki, token):
    site = _site(plant, token, ["there", "trial"])
    token.install(site.gateway, "there", "old", pki.identity("there", "old"))
    token.install(site.gateway, "trial", "new", pki.identity("trial", "new"))
    site.__enter__()
    streams = site.streams(["there", "trial"], 1, interval=0.01)
    streams.progress(10)
    token.fail(NOT_PRESENT)
    site.gateway.flip("trial", probation_s=1)
    until("its token is missed",
          lambda: (site.gateway.device("trial")["last_error"] or {}).get("name") == "token.absent", 20)
    _wait_state(site, "absent")
    streams.progress(20)  # on the old leg
    state = site.gateway.device("trial")
    assert state["phase"] == "trial" and state["last_error"]["class"] == "policy"
    assert "certflipctl status" in state["last_error"]["remedy"]
    assert "CKR_TOKEN_NOT_PRESENT" in site.gateway.log.text()
    site.gateway.log.wait(r"token-trouble token=hsm state=absent")
    assert "CKR_TOKEN_NOT_PRESENT" in site.gateway.ctl("status")[1]
    assert len(site.broker.seen("trial")) == 1
    token.heal()
    site.gateway.wait_device("trial", phase="committed", active="new")
    streams.progress(10)
    streams.prove()
    # Now both have their keys there, and lose their uplink while the token is away.
    token.fail(DEVICE_ERROR)
    site.broker.restart()
    for device in ("there", "trial"):
        until("its token fails",
              lambda d=device: (site.gateway.device(d)["last_error"] or {}).get("name") == "token.failed", 20)
    # Nobody is dialled for nothing while it lasts.
    mark = site.broker.log.mark()
    missed = site.gateway.log.mark()
    until("it was looked for again", lambda: len(site.gateway.log.find(r"uplink-failed device=there", missed)) >= 2, 20)
    assert not site.broker.log.find(r"New connection from \S+ on port %d" % site.broker.tls_port, mark)
    assert site.gateway.device("trial")["phase"] == "committed"
    token.heal()
    site.broker.wait_slot("there", "old", 20)
    site.broker.wait_slot("trial", "new", 20)
    assert site.gateway.device("trial")["phase"] == "committed"


def test_a_wrong_pin_is_tried_once(plant, pki, token):
    site = _site(plant, token, ["pin-0", "pin-1"])
    for device in site.devices:
        token.install(site.gateway, device, "old", pki.identity(device, "old"))
    token.write_pin("4321")
    site.__enter__()
    for device in site.devices:
        sensor = site.sensor(device)
        sensor.open()
        sensor.send_raw(sensor.connect_packet(device))
        until("it is refused", lambda d=device: (site.gateway.device(d)["last_error"] or {}).get("name") == "token.login",
              20)
    site.gateway.rpc("config.reload")
    assert token.count("logins") == 1
    assert _state(site) == "no-login"
    said = site.gateway.ctl("status")[1]
    assert "CKR_PIN_INCORRECT" in said and "the PIN in %s was refused" % token.pin_file in said
    assert "4321" not in site.gateway.log.text()
    token.write_pin("1234")
    until("the token lets us in", lambda: site.gateway.rpc("config.reload") and _state(site) == "ready", 20)
    site.connect("pin-0")
    site.broker.wait_slot("pin-0", "old")
    assert "1234" not in site.gateway.log.text()


def test_a_key_that_is_not_the_certificates_is_found_when_it_is_read(plant, pki, token):
    site = _site(plant, token, ["mixed"])
    uri = token.take(pki.identity("mixed", "old"), "other")
    token.install(site.gateway, "mixed", "new", pki.identity("mixed", "new"), uri)
    site.__enter__()
    fault = site.gateway.device("mixed")["slots"]["new"]["fault"]
    assert "does not belong to the certificate" in fault and "key.uri" in fault
    site.connect("mixed")


@pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
def test_a_key_is_made_in_the_token_signed_for_and_flipped_to(plant, pki, token, kind, tmp_path):
    site = _site(plant, token, ["born"], keygen={"token": "hsm"})
    shutil.rmtree(os.path.join(site.gateway.identities, "born", "new"))
    site.__enter__()
    streams = site.streams(["born"], 1, interval=0.005)
    site.gateway.ctl("keygen", "born", "--kind", kind, "--token", "hsm", "--out", str(tmp_path / "born.csr"))
    slot = os.path.join(site.gateway.identities, "born", "new")
    assert sorted(os.listdir(slot)) == ["csr.pem", "key.uri"]
    openssl("req", "-in", tmp_path / "born.csr", "-verify", "-noout")
    again = site.gateway.rpc("identity.keygen", target="born")["devices"][0]
    with open(tmp_path / "born.csr", encoding="ascii") as f:
        assert again["csr"].strip() == f.read().strip()
    openssl("x509", "-req", "-in", tmp_path / "born.csr", "-CA", pki.new.cert, "-CAkey", pki.new.key, "-days", "30",
            "-copy_extensions", "copy", "-out", tmp_path / "born.pem")
    with pytest.raises(Refused):
        with open(pki.identity("born", "new").chain, encoding="ascii") as f:
            site.gateway.rpc("identity.install", device="born", chain=f.read())
    site.gateway.ctl("install", "born", str(tmp_path / "born.pem"))
    assert site.gateway.device("born")["slots"]["new"]["key"] == "token"
    site.gateway.flip("born", probation_s=1)
    site.gateway.wait_device("born", phase="committed", active="new")
    streams.progress(10)
    site.gateway.ctl("retire", "born")
    assert "key.uri" in os.listdir(os.path.join(site.gateway.identities, "born", "old"))
    streams.progress(10)
    streams.prove()
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("identity.keygen", target="born", token="nowhere")
    assert "nowhere" in str(refused.value)
    site.gateway.ctl("keygen", "born", "--token", "", "--out", str(tmp_path / "again.csr"))
    assert sorted(os.listdir(slot)) == ["csr.pem", "key.pem"]


@pytest.mark.threads
def test_fifty_at_once_through_one_token(plant, pki, token):
    devices = ["many-%02d" % i for i in range(50)]
    site = _site(plant, token, devices)
    key = pki.identity("many-00", "new").key
    uri = token.take(pki.identity("many-00", "new"), "shared")  # to make fifty takes long
    for device in devices:
        token.install(site.gateway, device, "new", pki.identity(device, "new", key=key), uri)
    site.__enter__()
    streams = site.streams(devices, 1, interval=0.05)
    streams.progress(2)
    site.gateway.flip("many-*", probation_s=1)
    for device in devices:
        site.gateway.wait_device(device, phase="committed", active="new", timeout=30)
    streams.progress(2)
    streams.prove()
    site.broker.restart()
    until("each has signed once more", lambda: token.count("signs") >= 100, 30)
    until("all of them are back",
          lambda: all(site.gateway.device(d)["upstream"]["state"] == "accepted" for d in devices), 30)
    shown = site.gateway.rpc("status")["tokens"][0]
    assert shown["operations"] >= 100 and shown["failures"] == 0
