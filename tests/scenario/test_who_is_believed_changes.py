"""Anchors are added, looked at and removed while sensors are connected: nobody is cut, and what was commanded lasts."""

import json
import os

import pytest

from lib.gateway import Refused, check_config
from lib.mqtt import Client, tls_context
from lib.pki import CLIENT, SERVER, Authority
from lib.power import Power, crash_points
from lib.wait import free_port, until

DOWN, UP = "downstream", "upstream"


def text(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def fingerprint(ca):
    return ca.pair().fingerprint()


class Trust:
    """The commands about anchors of a gateway."""

    def __init__(self, gateway):
        self.gateway = gateway

    def list(self, which=None):
        rows = self.gateway.rpc("trust.list", **({"set": which} if which else {}))["anchors"]
        return {(r["set"], r["fingerprint"]): r for r in rows}

    def row(self, which, ca):
        return self.list().get((which, fingerprint(ca)))

    def add(self, which, ca, **more):
        return self.gateway.rpc("trust.add", set=which, pem=text(ca.cert), **more)

    def check(self, which, ca):
        return self.gateway.rpc("trust.check", set=which, fingerprint=fingerprint(ca))

    def remove(self, which, ca, **more):
        return self.gateway.rpc("trust.remove", set=which, fingerprint=fingerprint(ca), **more)


@pytest.fixture
def site(plant, pki):
    """Only the old CA is believed at first, and the brokers' one."""
    made = plant(["tr-%d" % i for i in range(6)], listener={"anchors": [pki.old.cert]})
    made.trust = Trust(made.gateway)
    return made


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """A CA that no file of a configuration knows, with an intermediate of its own."""
    folder = tmp_path_factory.mktemp("later")
    root = Authority(folder, "Later CA")
    return root, Authority(folder, "Later Issuing CA", parent=root)


def new_sensor(site, device, ca, chain=True):
    pair = ca.issue("sensor-%s-%s" % (device, "whole" if chain else "bare"), "/O=Plant/OU=sensor/CN=" + device, CLIENT,
                    chain=chain)
    return site.sensor(device, pair=pair)


def is_let_in(site, device, ca, chain=True):
    client = new_sensor(site, device, ca, chain)
    client.connect(device)
    client.publish("trust/" + device, "x", 1)
    return client


def is_kept_out(site, device, ca, chain=True):
    mark = site.gateway.log.mark()
    client = new_sensor(site, device, ca, chain)
    with pytest.raises(Exception):
        client.connect(device, timeout=5)
    site.gateway.log.wait("session-refused", mark)
    site.clients.remove(client)
    client.cut()


def test_old_and_new_side_by_side(site, later):
    """The dual-trust period of the sensors: a CA comes, both serve, the old one goes when nothing needs it."""
    root, _ = later
    old = site.streams(["tr-0", "tr-1"])
    is_kept_out(site, "tr-2", root)
    done = site.trust.add(DOWN, root, note="dual trust until May")
    assert done["changed"] == 1 and done["anchors"][0]["fingerprint"] == fingerprint(root)
    new = is_let_in(site, "tr-2", root)  # at once, without a reload
    old.progress(5)

    row = site.trust.row(DOWN, root)
    assert (row["state"], row["by"][:6], row["note"], row["files"]) == ("in-force", "local:", "dual trust until May", [])
    assert (row["devices"], row["sessions"], row["serves"]) == (1, 1, ["tls"])
    row = site.trust.row(DOWN, site.pki.old)
    assert (row["by"], row["sessions"]) == (None, 2) and row["files"][0].endswith("ca.pem:1")

    assert site.trust.add(DOWN, root)["changed"] == 0, "it is there already"
    with pytest.raises(Refused) as refused:
        site.trust.remove(DOWN, site.pki.old)
    assert refused.value.name == "in-use"
    rows = refused.value.error["data"]["dependents"]
    sensors = {r["name"]: r["sessions"] for r in rows if r["what"] == "sensor"}
    assert sensors == {"tr-0": 1, "tr-1": 1}
    # The identities of all devices come of it, too: in the slots "old".
    assert {r["name"] for r in rows if r["what"] == "identity" and r["slot"] == "old"} == set(site.devices)
    assert site.trust.check(DOWN, site.pki.old)["breaks"] == len(rows)
    assert site.trust.row(DOWN, site.pki.old)["state"] == "in-force", "a refusal changes nothing"

    old.prove()
    done = site.trust.remove(DOWN, site.pki.old, force=True, note="the period\nis over\n-----BEGIN")
    entry = [e for e in site.gateway.rpc("audit.list")["entries"] if e["what"] == "trust.remove"][-1]
    assert entry["target"].endswith(" (forced)"), entry
    assert "\nnote: the period is over -----BEGIN\n" in text(done["archived"])
    assert done["changed"] and done["broken"] >= len(rows)
    assert done["files"][0].endswith("ca.pem:1"), "it stands there still"
    assert os.path.exists(done["archived"])
    for client in old.clients.values():
        client.wait_end(5)  # listeners.revoked_sessions is "cut"
    is_kept_out(site, "tr-3", site.pki.old)
    new.ping()
    assert not site.trust.remove(DOWN, site.pki.old)["changed"]

    site.trust.add(DOWN, site.pki.old)
    is_let_in(site, "tr-3", site.pki.old)
    said = [(e["what"], e["outcome"].split(":")[0]) for e in site.gateway.rpc("audit.list")["entries"]
            if e["what"].startswith("trust.")]
    assert said == [("trust.add", "done"), ("trust.add", "done"), ("trust.remove", "refused"), ("trust.remove", "done"),
                    ("trust.remove", "done"), ("trust.add", "done")]


def test_a_sensor_that_is_away_is_not_forgotten(site, later):
    """Removed while it sleeps, its CA would strand it."""
    root, _ = later
    site.trust.add(DOWN, root)
    client = is_let_in(site, "tr-0", root)
    client.disconnect()
    until("it is away", lambda: site.gateway.device("tr-0")["online"] is False)
    for _ in range(2):
        rows = site.trust.check(DOWN, root)["dependents"]
        assert [(r["what"], r["name"], r["sessions"]) for r in rows] == [("sensor", "tr-0", 0)]
        site.gateway.restart()


def test_it_lasts_over_restart_and_reload(site, later):
    root, issuing = later
    site.trust.add(DOWN, root)
    site.trust.add(DOWN, issuing, intermediate=True)
    site.trust.remove(DOWN, site.pki.old, force=True)
    before = site.trust.list()
    for again in (site.gateway.restart, site.gateway.reload, lambda: site.gateway.kill() or site.gateway.launch()):
        again()
        after = site.trust.list()
        for key, row in before.items():
            for member in ("state", "kind", "by", "time", "note", "subject", "serves"):
                assert after[key][member] == row[member], (key, member)
        is_let_in(site, "tr-0", root).disconnect()
        is_let_in(site, "tr-1", issuing, chain=False).disconnect()
        is_kept_out(site, "tr-2", site.pki.old)


def test_a_lost_database_learns_from_the_files(site, later):
    """Certificates on disk suffice to rebuild it; what was removed does not come back with the configuration."""
    root, _ = later
    site.trust.add(DOWN, root, note="kept")
    site.trust.remove(DOWN, site.pki.old, force=True)
    site.gateway.stop()
    for name in os.listdir(site.gateway.state):
        if name.startswith("certflip.db"):
            os.unlink(os.path.join(site.gateway.state, name))
    site.gateway.launch()
    assert site.trust.row(DOWN, root)["note"] == "kept"
    assert site.trust.row(DOWN, site.pki.old)["state"] == "removed"
    is_let_in(site, "tr-0", root)
    is_kept_out(site, "tr-2", site.pki.old)


def test_brokers_old_and_new(site, later):
    """The other side: the broker gets a certificate of a CA that was added before; legs that stand are not touched."""
    root, _ = later
    with pytest.raises(Refused) as refused:
        site.trust.remove(UP, site.pki.server_ca)
    assert "broker has no other anchor" in json.dumps(refused.value.error)
    site.trust.add(UP, root)
    streams = site.streams(["tr-0", "tr-1"])
    row = site.trust.row(UP, site.pki.server_ca)
    assert (row["devices"], row["sessions"], row["serves"]) == (2, 2, ["broker"])
    rows = site.trust.check(UP, site.pki.server_ca)["dependents"]
    assert {(r["what"], r["name"]) for r in rows} == {("broker", "tr-0"), ("broker", "tr-1")}
    site.trust.remove(UP, site.pki.server_ca, force=True)
    streams.progress(5)
    streams.prove()

    mark = site.gateway.log.mark()
    late = site.sensor("tr-2")
    with pytest.raises(Exception):
        late.connect("tr-2", timeout=5)
    site.clients.remove(late)
    late.cut()
    assert "UNABLE_TO_GET_ISSUER_CERT" in json.dumps(site.gateway.device("tr-2")["last_error"])
    site.gateway.log.wait("unknown CA", mark)
    server = root.issue("server-later", "/O=Plant/CN=localhost", SERVER)
    site.broker.server = server
    site.broker.write()
    site.broker.restart()
    site.connect("tr-3").publish("late", "x", 1)
    assert site.trust.row(UP, root)["sessions"] >= 1


def test_sensors_that_send_half_a_chain(site, later):
    root, issuing = later
    with pytest.raises(Refused) as refused:
        site.trust.add(DOWN, issuing, intermediate=True)
    assert "was issued by" in refused.value.error["message"]
    site.trust.add(DOWN, root)
    is_let_in(site, "tr-0", issuing)
    is_kept_out(site, "tr-1", issuing, chain=False)
    site.trust.add(DOWN, issuing, intermediate=True)
    is_let_in(site, "tr-1", issuing, chain=False)
    assert site.trust.row(DOWN, issuing)["kind"] == "intermediate"
    assert site.trust.row(DOWN, root)["sessions"] == 2, "the anchor vouches, not the intermediate"
    # Without its anchor it completes nobody's chain, and neither does what others sent before.
    site.trust.remove(DOWN, root, force=True)
    is_kept_out(site, "tr-2", issuing, chain=False)
    is_kept_out(site, "tr-3", issuing)


def test_an_intermediate_that_the_new_root_has_signed_too(site, later, tmp_path):
    """A sensor goes on sending the one of the old root, which nobody believes any more."""
    root, _ = later
    issuing = Authority(tmp_path, "Moving CA", parent=Authority(tmp_path, "Former CA"))
    site.trust.add(DOWN, root)
    is_kept_out(site, "tr-0", issuing)
    with open(issuing.crossed(root), encoding="ascii") as f:
        site.gateway.rpc("trust.add", set=DOWN, pem=f.read(), intermediate=True)
    is_let_in(site, "tr-0", issuing)
    is_let_in(site, "tr-1", issuing, chain=False)
    assert site.trust.row(DOWN, root)["sessions"] == 2


def test_for_one_listener_alone(plant, pki, later):
    root, _ = later
    site = plant(["tr-0", "tr-1"], listener={"anchors": [pki.old.cert]})
    trust = Trust(site.gateway)
    first = dict(site.gateway.conf["listeners"][0])
    port = free_port()
    site.gateway.conf["listeners"] = site.gateway.conf["listeners"] + [{**first, "name": "other", "port": port}]
    site.gateway.conf["devices"] = site.gateway.conf["devices"] + [{"name": "{cn}", "match": {"listener": "other"}}]
    site.gateway.reload()
    with pytest.raises(Refused) as refused:
        trust.add(DOWN, root, only=["nowhere"])
    assert "nowhere" in refused.value.error["message"]
    trust.add(DOWN, root, only=["other"])
    assert trust.row(DOWN, root)["serves"] == ["other"] and trust.row(DOWN, root)["only"] == ["other"]
    is_kept_out(site, "tr-0", root)
    client = Client(site.reactor, ("127.0.0.1", port),
                    tls_context(pki.server_ca.cert, root.issue("s", "/CN=tr-0", CLIENT)))
    site.clients.append(client)
    client.connect("tr-0")


def test_what_is_added_once_more_takes_nothing_away_unawares(site, later):
    """As an intermediate, or for one listener alone, it would be removed where it is needed."""
    root, between = later
    trust, serves = site.trust, site.gateway.listener()["name"]
    port = free_port()
    site.gateway.listener()["anchors"].append(between.cert)
    site.gateway.conf["listeners"] = site.gateway.conf["listeners"] + [
        {**site.gateway.listener(), "name": "other", "port": port}]
    site.gateway.reload()
    trust.add(DOWN, root)
    stays = is_let_in(site, "tr-0", root)
    for less in ({"intermediate": True}, {"only": ["other"]}):
        with pytest.raises(Refused) as refused:
            trust.add(DOWN, root, **less)
        assert refused.value.name == "in-use", refused.value.error
        assert "listener %s would believe" % serves in refused.value.error["message"]
        assert [(d["what"], d["name"]) for d in refused.value.error["data"]["dependents"]] == [("sensor", "tr-0")]
        stays.ping()
    assert trust.row(DOWN, root)["kind"] == "anchor" and trust.row(DOWN, root)["serves"] == [serves, "other"]

    # What stands in a file of anchors is one, and an intermediate besides says nothing.
    assert trust.add(DOWN, between, intermediate=True)["changed"] == 0
    assert trust.row(DOWN, between)["kind"] == "anchor"
    trust.remove(DOWN, between)
    with pytest.raises(Refused) as refused:
        trust.add(DOWN, between, intermediate=True)
    assert refused.value.name == "anchor" and between.cert + ":1" in refused.value.error["message"]
    assert trust.row(DOWN, between)["state"] == "removed"

    # On purpose it is done, and who came in by it is cut off.
    trust.add(DOWN, root, only=["other"], force=True)
    assert trust.row(DOWN, root)["serves"] == ["other"]
    until(lambda: "tr-0 is cut off", lambda: site.gateway.rpc("status")["counters"]["cut_distrusted"] == 1)
    is_kept_out(site, "tr-1", root)


@pytest.mark.parametrize("pem, says", [
    ("nothing", "holds no certificate"),
    ("-----BEGIN CERTIFICATE-----\nAAAA\n", "has no END line"),
    ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "not base64"),
    ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not an X.509 certificate"),
])
def test_poison_is_refused_with_the_reason(site, pem, says):
    before = site.trust.list()
    for whole in (pem, text(site.pki.new.cert) + pem) if says != "holds no certificate" else (pem,):
        with pytest.raises(Refused) as refused:
            site.gateway.rpc("trust.add", set=DOWN, pem=whole)
        assert refused.value.name == "anchor" and says in refused.value.error["message"]
    assert site.trust.list() == before
    assert not os.path.exists(os.path.join(site.gateway.state, "trust", DOWN))


def test_what_may_not_be_an_anchor(site, tmp_path):
    weak = Authority(tmp_path, "Weak CA", "rsa1024")
    gone = Authority(tmp_path, "Gone CA", days=1, at="-800d")
    leaf = site.pki.sensor("tr-0")
    for what, ca, says in (("weak", weak, "1024 bits"), ("gone", gone, "expired on")):
        with pytest.raises(Refused) as refused:
            site.trust.add(DOWN, ca)
        assert says in refused.value.error["message"], what
    with pytest.raises(Refused) as refused:
        site.gateway.rpc("trust.add", set=DOWN, pem=text(leaf.chain), force=True)
    assert "is no CA" in refused.value.error["message"]


def test_a_full_disk_leaves_all_as_it_was(site, later):
    """No row without its file, no file without its row, and the answer says that nothing was done."""
    if not crash_points():
        pytest.skip("configure --enable-crash-points")
    root, _ = later
    site.gateway.stop()
    power = Power(site)
    site.gateway.launch()
    folder = os.path.join(site.gateway.state, "trust", DOWN)
    power.arm("disk.write:1+:ENOSPC")
    with pytest.raises(Refused) as refused:
        site.trust.add(DOWN, root)
    assert refused.value.name == "store"
    with pytest.raises(Refused):
        site.trust.remove(DOWN, site.pki.old, force=True)
    power.disarm()
    assert site.trust.row(DOWN, root) is None
    assert os.listdir(folder) == []
    assert site.trust.row(DOWN, site.pki.old)["state"] == "in-force"
    is_let_in(site, "tr-1", site.pki.old)
    site.trust.add(DOWN, root)
    is_let_in(site, "tr-2", root)


def test_a_power_cut_anywhere_in_a_change(site, later):
    """Afterwards it was done or it was not, as its row says; what was answered was done."""
    points = [p for p in crash_points() if p.startswith("trust.")]
    if not points:
        pytest.skip("configure --enable-crash-points")
    root, _ = later
    site.gateway.stop()
    power = Power(site)
    site.gateway.launch()
    folder = os.path.join(site.gateway.state, "trust", DOWN)
    reached = set()
    for point in points:
        for there in (False, True):
            row = site.trust.row(DOWN, root)
            if (row is not None and row["state"] == "in-force") != there:
                site.trust.remove(DOWN, root, force=True) if not there else site.trust.add(DOWN, root)
            power.arm(point)
            try:
                site.trust.remove(DOWN, root, force=True) if there else site.trust.add(DOWN, root)
                answered = True
            except (OSError, ValueError):
                answered = False
            if answered and not power.dead():
                power.disarm()
                continue
            power.wait_death(point)
            reached.add(point)
            power.disarm()
            site.gateway.launch()
            row = site.trust.row(DOWN, root)
            now = row is not None and row["state"] == "in-force"
            assert now in ((not there,) if answered else (there, not there))
            assert os.path.exists(os.path.join(folder, fingerprint(root) + ".pem")) == now
            (is_let_in if now else is_kept_out)(site, "tr-0", root)
            assert row is None or row["fault"] is None
    assert reached == set(points)


def test_swaps_under_200_sessions(plant, pki, later):
    """Nobody is cut while anchors come and go, and who comes in between is let in by what is in force."""
    root, _ = later
    devices = ["many-%03d" % i for i in range(200)]
    site = plant([], listener={"anchors": [pki.old.cert], "revoked_sessions": "keep"})
    trust = Trust(site.gateway)
    pki.prepare(devices[:2])
    for device in devices:  # they share certificates: the sensors are told apart by their client id
        site.gateway.install(device, new=False, old=pki.identity("many-000", "old"))
    pair = pki.sensor("many-000")
    site.gateway.conf["devices"] = [{"name": "{client_id}", "match": {"listener": "tls"}, "any_client_id": True}]
    site.gateway.reload()
    clients = [site.sensor(d, pair=pair) for d in devices]
    for client in clients:
        client.open()
    for client, device in zip(clients, devices):
        client.connect(device)
    assert trust.row(DOWN, pki.old)["sessions"] == 200
    for _ in range(5):
        trust.add(DOWN, root)
        trust.add(UP, root)
        trust.remove(DOWN, root)
        trust.remove(UP, root)
    trust.remove(DOWN, pki.old, force=True)
    for client in clients:
        client.ping()
    assert trust.row(DOWN, pki.old)["sessions"] == 200
    assert site.gateway.rpc("status")["devices"]["online"] == 200


def test_the_tool(site, later, tmp_path):
    root, _ = later
    ctl = site.gateway.ctl
    assert "is now in the set downstream" in ctl("trust", "add", DOWN, root.cert, "--note", "by hand")[1]
    assert "was already in" in ctl("trust", "add", DOWN, root.cert)[1]
    shown = ctl("trust", "list", DOWN)[1]
    assert fingerprint(root) in shown and "in-force" in shown and "local:" in shown
    assert "nothing that is known depends on it" in ctl("trust", "check", DOWN, fingerprint(root))[1]
    site.connect("tr-0")
    status, _, said = ctl("trust", "remove", DOWN, fingerprint(site.pki.old), check=False)
    assert status == 1 and "device tr-0: its sensor is let in by it, and is connected" in said
    done = ctl("trust", "remove", DOWN, fingerprint(root))[1]
    assert "is believed no more" in done and "archive" in done
    assert site.gateway.ctl_json("trust", "list")["anchors"]
    status, _, said = ctl("trust", "add", DOWN, "/nowhere.pem", check=False)
    assert status == 2 and "there is no such file" in said
    both = tmp_path / "both.pem"
    both.write_text(open(root.cert).read() + open(root.key).read())
    status, _, said = ctl("trust", "add", DOWN, both, check=False)
    assert status == 2 and "holds a private key" in said
    status = site.gateway.rpc("status")
    assert status["trust"][DOWN]["anchors"] == 1 and status["trust"][DOWN]["removed"] == 1
    assert status["trust"][UP]["soonest"]["fingerprint"] == fingerprint(site.pki.server_ca)
    assert check_config(site.gateway.path)[0] == 0


def test_the_last_anchor_that_serves_was_added(site, later, tmp_path):
    """What the configuration names has expired: what was added carries the start."""
    root, _ = later
    site.trust.add(DOWN, root)
    gone = Authority(tmp_path, "Gone CA", days=1, at="-800d")
    site.gateway.conf["listeners"][0]["anchors"] = [gone.cert]
    site.gateway.reload()
    site.gateway.restart()
    is_let_in(site, "tr-0", root)
    row = site.trust.row(DOWN, gone)
    assert row["state"] == "expired"
    assert any("Gone CA" in m and "expired" in m for m in site.gateway.rpc("status")["messages"])
    # Taken away by force, the daemon starts all the same, and says what is wrong.
    site.trust.remove(DOWN, root, force=True)
    site.trust.remove(DOWN, gone)
    site.gateway.restart()
    is_kept_out(site, "tr-1", root)
    assert any("listener tls has no anchor in force" in m for m in site.gateway.rpc("status")["messages"])
