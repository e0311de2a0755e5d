"""certflip-fleet looks at gateways through a broker: what there is, what is wrong; and its link sends commands that are
signed, sent again and answered once, across restarts of the broker, and says what is wrong when it cannot connect."""

import json
import os
import queue
import socket
import subprocess
import threading

import pytest

from lib import tab
from lib.broker import Mosquitto
from lib.gateway import binary, config_text, sanitizer
from lib.plant import Plant
from lib.wait import seconds, until

GATEWAY = "gw-test"
DEVICES = ["p-1", "p-2", GATEWAY]


def openssl(*args):
    return subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def alice(folder):
    """Private key and public key of an operator."""
    key, pub = os.path.join(folder, "alice.pem"), os.path.join(folder, "alice.pub")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", pub)
    return key, pub


@pytest.fixture(scope="module")
def site(tmp_path_factory, pki, reactor, alice):
    made = Plant(tmp_path_factory.mktemp("site"), pki, reactor, devices=DEVICES)
    made.gateway.conf["management"] = {
        "enabled": True, "device": GATEWAY, "socket": os.path.join(made.gateway.run, "mqtt.sock"),
        "signed": {"observe": "optional", "operate": "required", "trust": "required"}}
    made.gateway.conf["operators"] = [{"name": "alice", "key": alice[1], "roles": ["observe", "operate", "trust"]}]
    with made as plant:
        until("it is connected", lambda: plant.gateway.rpc("status")["central"]["connected"])
        yield plant


def campaign(folder, port, name="c.conf", operator=None, **broker):
    path = os.path.join(folder, name)
    conf = {"name": "c", "broker": {"host": "127.0.0.1", "port": port, **broker}, "gateways": ["gw-*"],
            "sign": {"command": "false"}, "limits": {"reply_timeout_s": int(seconds(10))}}
    if operator:
        conf["operator"] = {"name": "alice", "key_file": operator}
    with open(path, "w", encoding="utf-8") as f:
        f.write(config_text(conf))
    return path


def fleet(*args, status=0):
    done = subprocess.run([binary("certflip-fleet"), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds(60), check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "Sanitizer" not in done.stderr
    return done.stdout if status in (0, 1) and not done.stderr.startswith("certflip-fleet: ") else done.stderr


class Link:
    """tests/scenario/fleet_link.c."""

    def __init__(self, **conf):
        self.process = subprocess.Popen([os.path.join(os.environ["CERTFLIP_BUILD"], "tests/scenario/fleet_link"),
                                         *("%s=%s" % item for item in conf.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events, self.seen = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def wait(self, event, timeout=20, **members):
        """The next event of this kind with these members; those before it are dropped."""
        while True:
            e = self.events.get(timeout=seconds(timeout))
            self.seen.append(e)
            if e["event"] == event and all(e.get(k) == v for k, v in members.items()):
                return e

    def ask(self, ident, method, params=None, gateway=GATEWAY):
        self.say("request", gateway, ident, method, json.dumps(params or {}))
        sent = self.wait("sent", id=ident)
        assert sent["rc"] == 0, sent
        return self.wait("reply", gateway=gateway, id=ident)["reply"]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.stdin.close()
        assert self.process.wait(seconds(20)) == 0
        self.process.stdout.close()


def plain(site, **more):
    return Link(host="127.0.0.1", port=site.broker.port, **more)


def test_inventory_tells_what_is_retained(site, folder):
    path = campaign(folder, site.broker.port)
    table = fleet("inventory", path)
    assert table.startswith("EXPIRES") and "p-1" in table and "1 gateway, 1 online; 3 devices" in table
    found = json.loads(fleet("--json", "inventory", path, "--device", "p-*"))
    assert [(d["gateway"], d["device"], d["phase"]) for d in found["devices"]] == [
        (GATEWAY, "p-1", "staged"), (GATEWAY, "p-2", "staged")]
    assert found["devices"][0]["fingerprint"] == site.pki.identity("p-1", "old").fingerprint()
    assert found["gateways"][0]["devices_told"] == 3
    rows = fleet("inventory", path, "--csv").splitlines()
    assert rows[0].startswith("gateway,device,phase") and len(rows) == 4
    assert "none of 1 gateways and 3 devices" in fleet("inventory", path, "--gateway", "other", status=1)
    assert fleet("inventory", path, "--expiring", "0").startswith("none of 3 devices expires within 0 days")
    assert "none of 1 gateways and 3 devices" in fleet("inventory", path, "--expiring", "0", "--device", "other", status=1)


def test_doctor_gives_a_verdict(site, folder, alice):
    path = campaign(folder, site.broker.port)
    site.connect("p-1")
    site.gateway.wait_device("p-1", online=True)
    report = json.loads(fleet("doctor", path, "--json", status=1))
    assert report["verdict"] == "error"
    codes = {f["code"]: f for f in report["gateways"][0]["findings"]}
    assert "signed.no-key" in codes and codes["signed.no-key"]["remedy"]
    # With the operator's key nothing stands in the way.
    signs = campaign(folder, site.broker.port, "signed.conf", operator=alice[0])
    report = json.loads(fleet("doctor", signs, "--json"))
    assert not [f for f in report["gateways"][0]["findings"] if f["severity"] == "error"], report
    assert report["gateways"][0]["answered"] and report["gateways"][0]["clock"] is not None
    assert report["gateways"][0]["signed"]["good"] >= 1
    table = fleet("doctor", signs)
    assert GATEWAY in table and "1 gateway: " in table
    # A gateway that was there, and is gone.
    observer = site.observer()
    observer.publish("certflip/v1/gw-gone/state", json.dumps({"online": False, "gateway": "gw-gone"}), 1, retain=True)
    table = fleet("doctor", signs, status=1)
    assert "gw-gone: it is offline [gateway.offline]" in table
    observer.publish("certflip/v1/gw-gone/state", "", 1, retain=True)


def test_a_signed_command_that_comes_again_is_answered_as_the_first_time(site, alice):
    flip = {"target": "p-2", "probation_s": 1}
    site.connect("p-2")
    with plain(site, operator="alice", operator_key=alice[0]) as link:
        link.wait("settled", settled=True)
        first = link.ask("c1-flip", "flip", flip)
        assert first["result"]["done"] == 1 and first["id"] == "c1-flip"
        site.gateway.wait_device("p-2", phase="committed")
        assert link.ask("c1-back", "rollback", {"target": "p-2"})["result"]["done"] == 1
        site.gateway.wait_device("p-2", phase="rolled-back")
        assert link.ask("c1-flip", "flip", flip) == first
    # Another controller with the same key, and the gateway after a power cut.
    site.gateway.kill()
    site.gateway.start()
    with plain(site, operator="alice", operator_key=alice[0]) as link:
        link.wait("settled", settled=True)
        until("it is back", lambda: site.gateway.rpc("status")["central"]["connected"])
        assert link.ask("c1-flip", "flip", flip) == first
        assert site.gateway.device("p-2")["phase"] == "rolled-back"
        # The id of another request is that one's.
        assert link.ask("c1-flip", "flip", {"target": "p-1"})["error"]["data"]["name"] == "id-reused"
        assert link.ask("c1-clear", "quarantine.clear", {"target": "p-2"})["result"]["done"] == 1
    refused = site.gateway.rpc("status")["central"]["signed"]["refused"]
    assert refused.get("id-reused") == 1
    # Who has not signed is refused, and so is a key that is not alice's: no id can be told, but correlation can.
    with plain(site) as link:
        link.wait("settled", settled=True)
        assert link.ask("u-1", "flip", flip)["error"]["data"]["name"] == "unsigned"
    other = alice[0] + ".other"
    openssl("genpkey", "-algorithm", "ed25519", "-out", other)
    with plain(site, operator="alice", operator_key=other) as link:
        link.wait("settled", settled=True)
        assert link.ask("m-1", "flip", flip)["error"]["data"]["name"] == "signature"


def test_two_controllers_read_their_own_replies(site):
    with plain(site) as one, plain(site) as two:
        for link in (one, two):
            link.wait("settled", settled=True)
        assert one.ask("same", "device.get", {"device": "p-1"})["result"]["device"] == "p-1"
        assert two.ask("same", "device.get", {"device": "p-2"})["result"]["device"] == "p-2"
        assert one.ask("last", "trust.list")["result"]["anchors"]
        one.say("counts")
        counts = one.wait("counts")
        assert counts["version"] == 5 and counts["sent"] == counts["acknowledged"] == 2
        assert [e["id"] for e in one.seen if e["event"] == "reply"] == ["same", "last"]


class OldBroker:
    """What stands before a broker and knows no MQTT 5: it says so (`answer`), or hangs up."""

    def __init__(self, port, answer):
        self.to, self.answer, self.listener = port, answer, socket.create_server(("127.0.0.1", 0))
        self.port, self.ends = self.listener.getsockname()[1], []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            first = client.recv(4096)
            if first[first.index(b"MQTT") + 4] == 5:
                client.sendall(self.answer)
                client.close()
                continue
            broker = socket.create_connection(("127.0.0.1", self.to))
            broker.sendall(first)
            self.ends += [client, broker]
            for a, b in ((client, broker), (broker, client)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    @staticmethod
    def _pass(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.listener.shutdown(socket.SHUT_RDWR)
        for end in (self.listener, *self.ends):
            end.close()


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b""], ids=["refuses", "hangs up"])
def test_a_broker_that_knows_no_mqtt_5(site, alice, answer):
    """Replies come on a topic that all controllers share: each takes its own."""
    with OldBroker(site.broker.port, answer) as old:
        with Link(host="127.0.0.1", port=old.port) as one, plain(site) as two:
            one.wait("settled", settled=True)
            two.wait("settled", settled=True)
            assert one.ask("same", "device.get", {"device": "p-1"})["result"]["device"] == "p-1"
            one.say("counts")
            assert one.wait("counts")["version"] == 4
            assert two.ask("same", "device.get", {"device": "p-2"})["result"]["device"] == "p-2"
            assert one.ask("other", "trust.list")["result"]["anchors"]
            assert [e["id"] for e in one.seen if e["event"] == "reply"] == ["same", "other"]
            assert not [e for e in two.seen if e["event"] == "reply" and e["id"] == "other"]
            assert {e["topic"] for e in one.seen if e["event"] == "message" and "/device/" in e["topic"]} >= {
                "certflip/v1/%s/device/%s" % (GATEWAY, d) for d in DEVICES}
        with Link(host="127.0.0.1", port=old.port, operator="alice", operator_key=alice[0]) as link:
            link.wait("settled", settled=True)
            first = link.ask("old-" + str(len(answer)), "config.reload")
            assert "changed_devices" in first["result"]
            assert link.ask("old-" + str(len(answer)), "config.reload") == first


def test_the_broker_restarts(site):
    with plain(site) as link:
        link.wait("settled", settled=True)
        site.broker.stop()
        down = link.wait("down")
        assert "the broker ended the connection" in down["why"] or "Connection refused" in down["why"], down
        link.say("request", GATEWAY, "r-1", "trust.list", "{}")
        busy = link.wait("sent", id="r-1")
        assert busy["rc"] < 0 and "not connected" in busy["why"]
        site.broker.start()
        link.wait("up")
        # The gateway comes back by itself, and tells everything anew.
        link.wait("message", topic="certflip/v1/%s/state" % GATEWAY)
        until("it is back", lambda: site.gateway.rpc("status")["central"]["connected"], 30)
        assert link.ask("r-1", "trust.list")["result"]["anchors"]
        link.say("refresh", GATEWAY + "/device/+")
        link.wait("refresh", rc=0)
        link.wait("message", topic="certflip/v1/%s/device/p-1" % GATEWAY)
        link.wait("settled", settled=True)


def test_it_says_why_it_cannot_connect(site, folder, pki):
    def why(status=3, **broker):
        return fleet("inventory", campaign(folder, broker.pop("port", site.broker.tls_port), "t.conf", **broker),
                     status=status)

    me = pki.identity("p-1", "old")
    good = {"host": "localhost", "ca_file": pki.server_ca.cert, "cert_file": me.chain, "key_file": me.key}
    assert "1 gateway, 1 online" in why(status=0, **good)
    assert "1 gateway, 1 online" in why(status=0, **{**good, "host": "127.0.0.1", "tls_name": "localhost"})
    assert "not believed" in why(**{**good, "ca_file": pki.old.cert})
    assert "another name than broker.example" in why(**{**good, "tls_name": "broker.example"})
    assert "cert_file and key_file" in why(**{**good, "cert_file": None, "key_file": None})
    assert "private key of cert_file" in why(status=1, **{**good, "key_file": pki.identity("p-2", "old").key})
    assert "Name or service not known" in why(host="nobody.invalid")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert "Connection refused" in why(port=s.getsockname()[1])
    # TLS spoken to a port without it, and the other way round.
    assert "does it want TLS" in why() or "ended the connection" in why()
    assert "port" in why(**{**good, "port": site.broker.port})


def test_devices_of_a_campaign_that_was_begun_are_completed(site, folder):
    path = campaign(folder, site.broker.port, "begun.conf")

    def offered(*words):
        return subprocess.run([binary("certflip-fleet"), "complete", *words], stdin=subprocess.DEVNULL, check=False,
                              capture_output=True, text=True, timeout=seconds(20)).stdout.split()

    assert offered("skip", path, "gw") == []
    running = subprocess.Popen([binary("certflip-fleet"), "--yes", "run", path], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until("the campaign has begun", lambda: offered("skip", path, GATEWAY + "/p"), 20)
        assert offered("skip", path, GATEWAY + "/p") == [GATEWAY + "/p-1", GATEWAY + "/p-2"]
        assert offered("skip", path, GATEWAY + "/p-1", "other") == []
        for typed, expected in (("skip FILE GW/p", ["p-1", "p-2"]), ("skip FILE 'GW/p-2", ["p-2"]), ("skip FILE GW/x", []),
                                ("--yes skip FILE GW/p-1 GW/p", ["p-1", "p-2"]), ("skip FILE ", DEVICES)):
            line = "certflip-fleet " + typed.replace("FILE", path).replace("GW", GATEWAY)
            assert sorted(tab.offered(line)) == sorted(GATEWAY + "/" + device for device in expected), line
    finally:
        running.kill()
        running.wait()


def test_a_password_is_asked_for(folder, tmp_path, pki):
    users = str(tmp_path / "users")
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "anna", "secret"], check=True, stdin=subprocess.DEVNULL)
    os.chmod(users, 0o644)
    broker = Mosquitto(tmp_path / "broker", pki, listener_extra="")
    broker.extra = "password_file " + users
    broker.write()
    with open(broker.conf, encoding="utf-8") as f:
        text = f.read().replace("allow_anonymous true", "allow_anonymous false")
    with open(broker.conf, "w", encoding="utf-8") as f:
        f.write(text)
    with broker:
        def ask(word, status):
            secret = os.path.join(folder, "password")
            with open(secret, "w", encoding="utf-8") as f:
                f.write(word + "\n")
            os.chmod(secret, 0o600)
            return fleet("inventory", campaign(folder, broker.port, "p.conf", username="anna", password_file=secret),
                         status=status)

        assert "check username and password_file" in ask("wrong", 3)
        assert "nothing is retained below certflip/v1" in ask("secret", 1)
        assert "check username and password_file" in fleet("inventory", campaign(folder, broker.port), status=3)


@pytest.mark.skipif(sanitizer() == "tsan", reason="many messages")
def test_a_fleet_that_does_not_fit_into_the_brokers_queue(folder, tmp_path, pki, reactor):
    """mosquitto drops what is beyond 1,000 messages; so each gateway is asked in turn."""
    from lib.mqtt import Client

    broker = Mosquitto(tmp_path / "broker", pki)
    with open(broker.conf, encoding="utf-8") as f:
        text = f.read().replace("max_queued_messages 100000", "max_queued_messages 100")
    with open(broker.conf, "w", encoding="utf-8") as f:
        f.write(text.replace("max_inflight_messages 1000", "max_inflight_messages 20"))
    with broker:
        client = Client(reactor, ("127.0.0.1", broker.port), None, 4)
        client.connect("publisher")
        for g in range(40):
            client.publish("certflip/v1/gw-%d/state" % g,
                           json.dumps({"online": True, "gateway": "gw-%d" % g, "devices": {"total": 50}}), 0, retain=True)
            for d in range(50):
                client.publish("certflip/v1/gw-%d/device/p-%d" % (g, d),
                               json.dumps({"device": "p-%d" % d, "reason": "x" * 4000}), 0, retain=True)
        client.publish("done", "x", 1)
        found = json.loads(fleet("inventory", campaign(folder, broker.port), "--json"))
        client.cut()
    assert len(found["gateways"]) == 40 and len(found["devices"]) == 2000


def test_what_a_hostile_gateway_says(folder, tmp_path, pki, reactor):
    """A reply beyond all bounds is dropped; nonsense does not fill the log; a device of somebody else is not planned."""
    from lib.mqtt import Client

    def tell(gateway, device):
        client.publish("certflip/v1/%s/state" % gateway, json.dumps({"online": True, "gateway": gateway}), 0, retain=True)
        client.publish("certflip/v1/%s/device/%s" % (gateway, device), json.dumps({
            "device": device, "phase": "steady", "slots": {"old": {"usable": True}}}), 0, retain=True)

    with Mosquitto(tmp_path / "broker", pki) as broker:
        client = Client(reactor, ("127.0.0.1", broker.port), None, 4)
        client.connect("publisher")
        client.subscribe(("certflip/v1/gw-1/cmd", 1))
        with Link(host="127.0.0.1", port=broker.port) as link:
            link.wait("settled", settled=True)
            link.say("request", "gw-1", "big", "device.list", "{}")
            until("it is asked", lambda: client.messages)
            for result in ("x" * 5000000, "small"):
                client.publish("certflip/v1/gw-1/reply", json.dumps({"id": "big", "result": result}), 1)
            assert link.wait("reply", id="big")["reply"]["result"] == "small"
        tell("gw-1", "press-1")
        for i in range(200):
            client.publish("certflip/v1/gw-%d/state" % (1000 + i), "nonsense", 0, retain=True)
        client.publish("done", "x", 1)
        said = fleet("--yes", "plan", campaign(folder, broker.port))
        assert 1 <= said.count("not-understood") <= 10, said
        tell("gw-2", "press-1")
        client.publish("done", "x", 1)
        assert "device press-1 stands at gateway gw-1 and at gateway gw-2" in fleet("plan", campaign(folder, broker.port), status=1)
        client.cut()
