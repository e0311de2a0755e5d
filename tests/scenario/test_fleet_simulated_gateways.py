"""The simulated gateways of tests/fleet do as real ones would: what campaigns are tried on can be believed."""

import json

import pytest

from lib.broker import Mosquitto
from lib.campaign import Centre, Simulation
from lib.contract import check_messages
from lib.mqtt import Client
from lib.pki import openssl
from lib.wait import until

GATEWAYS = ["gw-%04d" % i for i in range(3)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory, pki):
    with Mosquitto(tmp_path_factory.mktemp("broker"), pki) as made:
        yield made


@pytest.fixture
def centre(broker, reactor):
    client = Client(reactor, ("127.0.0.1", broker.port), None, 5)
    client.connect("centre", keepalive=0)
    yield Centre(client)
    client.cut()
    check_messages([(m.topic, m.payload) for m in client.messages])


@pytest.fixture
def sim(tmp_path, pki, broker, centre):
    with Simulation(tmp_path / "sim", broker.port, 3, 4, [("upstream", pki.server_ca.cert)], connect_ms=5) as made:
        until("all are there", lambda: all(centre.online(g) and centre.device(g, "d-%s-003" % g[3:]) for g in GATEWAYS))
        yield made


def sign(pki, tmp_path, csr):
    path = str(tmp_path / "request")
    with open(path + ".csr", "w", encoding="ascii") as f:
        f.write(csr)
    openssl("x509", "-req", "-in", path + ".csr", "-CA", pki.new.cert, "-CAkey", pki.new.key, "-days", "30",
            "-copy_extensions", "copyall", "-out", path + ".pem")
    with open(path + ".pem", encoding="ascii") as f:
        return f.read()


def stage(centre, pki, tmp_path, gateway, device):
    """keygen, sign, install; the fingerprint that is told of it."""
    row = centre.result(gateway, "identity.keygen", target=device)["devices"][0]
    assert "CN = " + device in openssl("req", "-noout", "-verify", "-subject", stdin=row["csr"].encode()).decode()
    chain = sign(pki, tmp_path, row["csr"])
    slot = centre.result(gateway, "identity.install", device=device, chain=chain)["slot"]
    told = centre.wait(gateway, device, phase="staged")
    assert told["slots"]["new"]["fingerprint"] == slot["fingerprint"]
    seen = openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=chain.encode()).decode()
    assert seen.split("=")[1].strip().replace(":", "").lower() == slot["fingerprint"]
    return slot["fingerprint"]


def test_the_life_of_an_identity(sim, centre, pki, tmp_path):
    gateway, device = GATEWAYS[0], "d-0000-000"
    old = centre.device(gateway, device)["slots"]["old"]["fingerprint"]
    fp = stage(centre, pki, tmp_path, gateway, device)
    assert centre.refused(gateway, "identity.keygen", target=device) == "phase"
    assert centre.refused(gateway, "retire", target=device) == "phase"
    assert centre.refused(gateway, "flip", target="nobody") == "no-such-device"
    assert centre.refused(gateway, "flip", target="d-0000-001") == "no-identity"
    assert centre.refused(gateway, "flip", target=device, soon=True) == "invalid-params"
    assert centre.result(gateway, "flip", target=device, probation_s=1, confirm="central", confirm_s=60)["done"] == 1
    centre.wait(gateway, device, phase="trial", waiting="probation")
    assert centre.refused(gateway, "confirm", target=device, fingerprint=old) == "fingerprint"
    assert centre.result(gateway, "confirm", target=device, fingerprint=fp)["done"] == 1
    told = centre.wait(gateway, device, phase="committed", active="new")
    assert told["upstream"]["fingerprint"] == fp and told["upstream"]["slot"] == "new"
    assert centre.result(gateway, "rollback", target="d-0000-*")["done"] == 1
    centre.wait(gateway, device, phase="rolled-back", active="old")
    assert centre.refused(gateway, "flip", target=device) == "quarantined"
    assert centre.result(gateway, "quarantine.clear", target=device)["done"] == 1
    assert centre.result(gateway, "flip", target=device, probation_s=1)["done"] == 1
    centre.wait(gateway, device, phase="committed")
    assert centre.result(gateway, "retire", target=device)["devices"][0]["phase"] == "steady"
    told = centre.wait(gateway, device, phase="steady")
    assert told["slots"]["old"]["fingerprint"] == fp and told["slots"]["new"] is None
    events = [json.loads(p) for p in centre.payloads(gateway + "/event")]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    until("the state counts it", lambda: centre.latest(gateway + "/state")["devices"]["steady"] == 4)
    assert sim.stats()["retires"] == 1


def test_a_foreign_certificate_is_not_installed(sim, centre, pki, tmp_path):
    gateway = GATEWAYS[0]
    csr = centre.result(gateway, "identity.keygen", target="d-0000-001")["devices"][0]["csr"]
    centre.result(gateway, "identity.keygen", target="d-0000-002")
    chain = sign(pki, tmp_path, csr)
    assert centre.refused(gateway, "identity.install", device="d-0000-002", chain=chain) == "invalid-params"
    assert centre.result(gateway, "identity.install", device="d-0000-001", chain=chain)["phase"] == "staged"


def test_each_id_is_carried_out_once(sim, centre, pki, tmp_path):
    gateway = GATEWAYS[1]
    first = centre.ask(gateway, "identity.keygen", "k-1", target=["d-0001-000", "d-0001-001"])
    assert first == centre.ask(gateway, "identity.keygen", "k-1", target=["d-0001-000", "d-0001-001"])
    other = centre.ask(gateway, "identity.keygen", "k-1", target="d-0001-000")
    assert other["error"]["data"]["name"] == "id-reused"
    again = centre.result(gateway, "identity.keygen", target="d-0001-000")["devices"][0]
    assert again["changed"] is False and again["csr"] == first["result"]["devices"][0]["csr"]
    stats = sim.stats()
    assert (stats["repeated"], stats["reused"], stats["most_keygens"]) == (1, 1, 1)


def test_anchors_come_and_go(sim, centre, pki):
    gateway = GATEWAYS[2]

    def in_force():
        return {a["fingerprint"] for a in centre.latest(gateway + "/state")["trust"]["upstream"]}
    (old,) = in_force()
    with open(pki.new.cert, encoding="ascii") as f:
        added = centre.result(gateway, "trust.add", set="upstream", pem=f.read(), note="a test")["anchors"][0]
    until("it is in force", lambda: in_force() == {old, added["fingerprint"]})
    sim("broker-anchor", old)
    assert centre.result(gateway, "trust.check", set="upstream", fingerprint=old)["breaks"] == 4
    assert centre.refused(gateway, "trust.remove", set="upstream", fingerprint=old) == "in-use"
    sim("broker-anchor", added["fingerprint"])
    assert centre.result(gateway, "trust.remove", set="upstream", fingerprint=old)["changed"]
    until("it is gone", lambda: in_force() == {added["fingerprint"]})
    states = {a["fingerprint"]: a["state"] for a in centre.result(gateway, "trust.list", set="upstream")["anchors"]}
    assert states == {old: "removed", added["fingerprint"]: "in-force"}


def test_what_goes_wrong_on_purpose(sim, centre, pki, tmp_path):
    gateway, device = GATEWAYS[0], "d-0000-003"
    stage(centre, pki, tmp_path, gateway, device)
    sim("refuse", 1, "identity", gateway + "/*")
    centre.result(gateway, "flip", target=device, probation_s=1)
    told = centre.wait(gateway, device, phase="rolled-back", active="old")
    assert told["last_error"]["class"] == "identity" and told["last_error"]["alert"]["name"] == "unknown_ca"
    sim("drop", gateway)
    until("the Will says so", lambda: centre.online(gateway) is False)
    sim("back", gateway)
    until("it is back", lambda: centre.online(gateway))
    sim("lie", GATEWAYS[1])
    csr = centre.result(GATEWAYS[1], "identity.keygen", target="d-0001-003")["devices"][0]["csr"]
    assert "CN = d-0002-000" in openssl("req", "-noout", "-subject", stdin=csr.encode()).decode()
    sim("replies", "twice", 1)
    name = "twice-1"
    centre.send(gateway, {"jsonrpc": "2.0", "id": name, "method": "status"})
    until("it comes twice", lambda: len(centre.replies(gateway, name)) == 2)
    sim("replies", "twice", 0)
    sim("replies", "lost", 1)
    centre.send(gateway, {"jsonrpc": "2.0", "id": "lost-1", "method": "status"})
    sim.wait("it is lost", lambda s: s["lost"] == 1)
    sim("replies", "lost", 0)
    assert centre.result(gateway, "status")["gateway"] == gateway
    assert not centre.replies(gateway, "lost-1")
