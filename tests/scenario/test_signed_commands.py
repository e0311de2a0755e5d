"""Commands that operators have signed: good ones are carried out once; forged, replayed, late, misaddressed and
unauthorised ones are refused by name, counted and written down."""

import base64
import json
import os
import subprocess
import time

import pytest

from lib.gateway import Refused, binary
from lib.wait import until

GATEWAY = "gw-test"
ROOT = "certflip/v1/" + GATEWAY


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*args):
    return subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60).stdout


class Operator:
    """Somebody with a key that openssl made; signs with openssl, so nothing of ours checks itself."""

    def __init__(self, folder, name):
        self.name, self.key, self.pub = name, os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".pub")
        self.folder = folder
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.key)
        openssl("pkey", "-in", self.key, "-pubout", "-out", self.pub)

    def conf(self, *roles):
        return {"name": self.name, "key": self.pub, "roles": list(roles)}

    def sign(self, method, params=None, jti=None, header=None, **claims):
        now = int(time.time())
        jti = jti or b64(os.urandom(12))
        payload = {"aud": GATEWAY, "iat": now, "exp": now + 300, "jti": jti,
                   "request": {"jsonrpc": "2.0", "id": jti, "method": method, "params": params or {}}}
        payload.update(claims)
        text = "%s.%s" % (b64(json.dumps(header or {"alg": "EdDSA", "kid": self.name}).encode()),
                          b64(json.dumps(payload).encode()))
        path = os.path.join(self.folder, "input")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return text + "." + b64(openssl("pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", path))


class Centre:
    def __init__(self, site):
        self.client = site.observer(5)
        self.client.subscribe((ROOT + "/#", 1))

    def replies(self):
        return [json.loads(m.payload) for m in list(self.client.messages) if m.topic == ROOT + "/reply"]

    def online(self):
        states = [m.payload for m in list(self.client.messages) if m.topic == ROOT + "/state" and m.payload]
        return bool(states) and json.loads(states[-1]).get("online")

    def ask(self, text):
        """The reply to what is published; commands come one after the other."""
        before = len(self.replies())
        self.client.publish(ROOT + "/cmd", text, 1)
        return until("a reply", lambda: self.replies()[before:])[0]

    def refused(self, text, name):
        reply = self.ask(text)
        assert reply.get("error", {}).get("data", {}).get("name") == name, reply
        assert reply["error"]["data"]["remedy"], reply
        return reply


@pytest.fixture
def site(plant, tmp_path):
    made = plant(["p-1", "p-2", GATEWAY], start=False)
    made.alice, made.bob, made.mallory = (Operator(str(tmp_path), name) for name in ("alice", "bob", "mallory"))
    made.gateway.conf["management"] = {
        "enabled": True, "device": GATEWAY, "socket": os.path.join(made.gateway.run, "mqtt.sock"),
        "signed": {"observe": "optional", "operate": "required", "trust": "required"}}
    made.gateway.conf["operators"] = [made.alice.conf("observe", "operate", "trust"), made.bob.conf("observe")]
    made = made.__enter__()
    made.centre = Centre(made)
    until("it is connected", made.centre.online)
    return made


def account(site):
    return site.gateway.rpc("status")["central"]["signed"]


def audit(site):
    return [(e["who"], e["what"], e["target"], e["outcome"]) for e in site.gateway.rpc("audit.list")["entries"]]


def flip(target="p-1"):
    return {"jsonrpc": "2.0", "id": "u", "method": "flip", "params": {"target": target, "probation_s": 1}}


def test_a_good_command_is_carried_out_once(site):
    site.connect("p-1")
    command = site.alice.sign("flip", {"target": "p-1", "probation_s": 1}, jti="once")
    first = site.centre.ask(command)
    assert first["result"]["done"] == 1 and first["id"] == "once"
    site.gateway.wait_device("p-1", phase="committed")
    assert ("operator:alice", "flip", "p-1", "done 1, refused 0") in audit(site)
    site.centre.ask(site.alice.sign("rollback", {"target": "p-1"}))
    site.gateway.wait_device("p-1", phase="rolled-back")
    # The same command again, and that after a power cut: what it did is not done again.
    assert site.centre.ask(command) == first
    site.gateway.kill()
    site.gateway.start()
    until("it is connected again", lambda: site.gateway.rpc("status")["central"]["connected"])
    assert site.centre.ask(command) == first
    assert site.gateway.device("p-1")["phase"] == "rolled-back"
    # Something else under its name is a replay, whoever signs it.
    site.centre.refused(site.alice.sign("flip", {"target": "p-2"}, jti="once"), "id-reused")
    assert site.gateway.device("p-2")["active"] == "old"
    assert account(site)["refused"] == {"id-reused": 1}


def test_what_is_not_in_order_is_refused(site):
    now = int(time.time())
    params = {"target": "p-1"}
    good = site.alice.sign("flip", params)
    header, payload, signature = good.split(".")
    other = json.loads(base64.urlsafe_b64decode(payload + "=="))
    other["request"]["params"]["target"] = "*"
    before = site.gateway.device("p-1")["changed"]
    centre = site.centre
    centre.refused(json.dumps(flip()), "unsigned")
    centre.refused("%s.%s.%s" % (header, b64(json.dumps(other).encode()), signature), "signature")
    centre.refused("%s.%s." % (b64(b'{"alg":"none","kid":"alice"}'), payload), "signature")
    centre.refused(site.mallory.sign("flip", params), "signature")
    centre.refused(site.mallory.sign("flip", params, header={"alg": "EdDSA", "kid": "alice"}), "signature")
    reply = centre.refused(site.alice.sign("flip", params, exp=now - 200, iat=now - 300, jti="late"), "expired")
    assert reply["id"] == "late"
    centre.refused(site.alice.sign("flip", params, nbf=now + 1000), "not-yet")
    centre.refused(site.alice.sign("flip", params, exp=now + 90000), "expiry-too-far")
    centre.refused(site.alice.sign("flip", params, aud="gw-other"), "wrong-gateway")
    centre.refused(site.bob.sign("flip", params), "not-authorised")
    assert site.gateway.device("p-1")["changed"] == before
    assert account(site)["refused"] == {"unsigned": 1, "signature": 4, "expired": 1, "not-yet": 1, "expiry-too-far": 1,
                                        "wrong-gateway": 1, "not-authorised": 1}
    told = audit(site)
    assert any(who == "central" and what == "flip" and outcome.startswith("refused: unsigned") for who, what, _, outcome in told)
    assert any(who == "operator:alice" and outcome.startswith("refused: expired") for who, _, _, outcome in told)
    assert any(who == "operator:bob" and target == "p-1" and outcome.startswith("refused: not-authorised")
               for who, _, target, outcome in told)
    assert "command-refused" in site.gateway.log.text()
    # More of it is counted, and not written down any more.
    for _ in range(10):
        centre.refused(site.mallory.sign("flip", params), "signature")
    assert account(site)["refused"]["signature"] == 14
    assert len([row for row in audit(site) if row[3].startswith("refused")]) <= 12
    # Reading may go unsigned here; and whoever may read, may do it signed. The command itself is still good.
    assert centre.ask(json.dumps({**flip(), "method": "status", "params": {}}))["result"]["gateway"] == GATEWAY
    assert centre.ask(site.bob.sign("device.get", {"device": "p-1"}))["result"]["device"] == "p-1"
    assert centre.ask(good)["result"]["done"] == 1


def test_our_own_tool_signs_and_a_reload_takes_an_operator_away(site):
    def sign(*args):
        return subprocess.run([binary("certflipctl"), "sign", *args], capture_output=True, check=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, env={**os.environ, "CERTFLIP_OPERATOR_KEY": site.alice.key}).stdout

    assert site.centre.ask(sign("--gateway", GATEWAY, "log.level"))["result"]["levels"]
    assert site.centre.ask(sign("--gateway", GATEWAY, "--json", "--expires", "5m", "device.get",
                                '{"device":"p-2"}'))["result"]["device"] == "p-2"
    site.centre.refused(sign("--gateway", "gw-other", "log.level"), "wrong-gateway")
    assert account(site)["operators"] == 2 and account(site)["good"] == 2
    # Nobody would be left who may sign what has to be signed: that is no configuration.
    alice = site.gateway.conf["operators"].pop(0)
    with pytest.raises(Refused) as refused:
        site.gateway.reload()
    assert "nobody in operators has the role operate" in json.dumps(refused.value.error)
    site.gateway.conf["management"]["signed"] = {"operate": "optional", "trust": "optional"}
    site.gateway.reload()
    site.centre.refused(sign("--gateway", GATEWAY, "log.level"), "signature")
    # A key that cannot be used is no configuration either.
    with open(site.alice.pub, "w", encoding="ascii") as f:
        f.write(openssl("ecparam", "-name", "secp384r1", "-genkey").decode())
    site.gateway.conf["operators"].append(alice)
    with pytest.raises(Refused) as refused:
        site.gateway.reload()
    assert "alice.pub" in json.dumps(refused.value.error)
    assert account(site)["operators"] == 1


def test_without_a_clock_no_signed_command_is_taken(site):
    """The kernel of a container or a builder seldom says that the clock is synchronised; where it does, there is nothing
    to refuse."""
    site.gateway.conf["clock"] = {"require_sync": True}
    site.gateway.reload()
    command = site.alice.sign("log.level")
    if site.gateway.rpc("status")["clock"]["synchronised"]:
        assert site.centre.ask(command)["result"]["levels"]
    else:
        site.centre.refused(command, "clock")
        assert account(site)["refused"] == {"clock": 1}
        site.gateway.conf["clock"] = {"require_sync": False}
        site.gateway.reload()
        assert site.centre.ask(command)["result"]["levels"]
