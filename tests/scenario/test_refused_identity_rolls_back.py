"""A new identity that the broker refuses costs the device nothing: it is back on the old one by itself.  What is not the
identity's fault rolls nothing back."""

import shutil
import ssl
import time

import pytest

from lib import packets as p
from lib import rough
from lib.gateway import Refused
from lib.scripted import ScriptedBroker
from lib.wait import until

TLS = pytest.mark.parametrize("tls", ["1.2", "1.3"])


def _tls(version):
    return {"upstream": {"tls_min": version, "tls_max": version}}


def _rolled_back(site, device):
    state = site.gateway.wait_device(device, phase="rolled-back", active="old")
    assert state["reason"]
    assert state["last_error"]["class"] == "identity" and state["last_error"]["slot"] == "new"
    assert state["last_error"]["remedy"]
    assert site.gateway.log.lines(r"device=%s\b.*rolled-back" % device), site.gateway.log.tail()
    return state


@pytest.mark.threads
@TLS
def test_the_broker_does_not_know_the_new_ca(plant, pki, tls):
    devices = ["ca-%d" % i for i in range(4)]
    site = plant(devices, start=False, **_tls(tls))
    with open(pki.old.cert, encoding="ascii") as f, open(site.broker.anchors, "w", encoding="ascii") as out:
        out.write(f.read())
    site.__enter__()
    # ca-3 has a Will: it takes the other way of switching.
    clients = {d: site.connect(d, will=("will", d, 1, False) if d == "ca-3" else None) for d in devices}
    streams = site.streams(clients, 1, interval=0.005)
    streams.progress(10)
    site.gateway.flip("ca-*", probation_s=5)
    for device in devices:
        state = _rolled_back(site, device)
        assert "unknown_ca" in state["last_error"]["name"]
        assert state["last_error"]["alert"] == {"number": 48, "name": "unknown_ca"}
        assert state["last_error"]["x509"] == "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
        assert len(site.broker.seen(device)) == 1, "it never left its old connection"
    streams.progress(10)
    streams.prove()
    with pytest.raises(Refused) as refused:
        site.gateway.flip("ca-1")
    assert refused.value.name == "quarantined"


@TLS
def test_the_broker_has_revoked_the_new_certificate(plant, pki, tls):
    site = plant(["rev-%s" % tls, "fine-%s" % tls], start=False, **_tls(tls))
    revoked, fine = site.devices
    crl = site.folder + "/crls.pem"
    texts = []
    for path in (pki.old.revoke(), pki.new.revoke(pki.identity(revoked, "new"))):
        with open(path, encoding="ascii") as f:
            texts.append(f.read())
    with open(crl, "w", encoding="ascii") as f:
        f.write("".join(texts))
    site.broker.crl = crl
    site.broker.write()
    site.__enter__()
    streams = site.streams([revoked, fine], 1, interval=0.005)
    streams.progress(10)
    site.gateway.flip([revoked, fine], probation_s=1)
    assert "revoked" in _rolled_back(site, revoked)["last_error"]["name"]
    site.gateway.wait_device(fine, phase="committed", active="new")
    streams.progress(10)
    streams.prove()


@TLS
def test_both_identities_are_refused(plant, pki, tls):
    """Nothing can be done here: then the broker is asked at the pace of flip.backoff_tls_s, not without a pause."""
    site = plant(["both"], **_tls(tls))
    site.connect("both")
    site.gateway.flip("both", probation_s=1)
    site.gateway.wait_device("both", phase="committed")
    shutil.copy(pki.server_ca.cert, site.broker.anchors)
    mark = site.broker.log.mark()
    site.broker.restart()

    def tries():
        return len(site.broker.log.find(r"New connection from \S+ on port %d" % site.broker.tls_port, mark))
    until("both were tried", lambda: tries() >= 6, 20)
    before, begin = tries(), time.monotonic()
    until("they were tried again", lambda: tries() >= before + 9, 40)
    assert time.monotonic() - begin > 1.5
    assert site.gateway.device("both")["phase"] == "committed"
    with open(site.broker.anchors, "a", encoding="ascii") as out, open(pki.old.cert, encoding="ascii") as f:
        out.write(f.read())
    site.broker.restart()
    _rolled_back(site, "both")
    site.broker.wait_slot("both", "old")


@pytest.mark.parametrize("what", ["expired", "future"])
def test_the_new_certificate_is_out_of_its_time(plant, pki, what):
    """Known before anything is dialled: the command is refused, and says why."""
    name = "date-" + what
    site = plant([], start=False)
    site.gateway.install(name, new=getattr(pki, what)(name, "new"))
    site.__enter__()
    streams = site.streams([name], 1, interval=0.005)
    streams.progress(5)
    with pytest.raises(Refused) as refused:
        site.gateway.flip(name, probation_s=1)
    assert refused.value.name == "lint"
    assert ("expired on 2" if what == "expired" else "not valid before 2") in refused.value.error["message"]
    assert site.gateway.device(name)["phase"] == "staged"
    assert not site.gateway.log.lines(r"(?<!identity-lint )device=%s\b.*slot=new" % name), "nothing was dialled"
    streams.progress(5)
    streams.prove()
    assert site.broker.slot(name) == "old"


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
@pytest.mark.parametrize("will", [False, True], ids=["no will", "will"])
def test_the_broker_refuses_the_login(plant, pki, version, will):
    """TLS is fine, CONNACK says "not authorized" to the new identity only."""
    def script(conn, kind, first, body):
        if kind == p.CONNECT and conn.slot == "new":
            conn.send(p.packet(p.CONNACK, 0, b"\0\x87\0" if conn.version == 5 else b"\0\x05"))
            conn.close()
            return True
        return False
    with ScriptedBroker(pki, script) as broker:
        site = plant(["login"], broker=broker)
        client = site.connect("login", version, will=("w", "w", 0, False) if will else None)
        sent = []

        def publish():
            sent.append(client.publish("t", "x", 1))
        publish()
        site.gateway.flip("login", probation_s=1)
        until("a rolled back trial", lambda: publish() or site.gateway.device("login")["phase"] == "rolled-back", 20)
        _rolled_back(site, "login")
        publish()
        client.ping()
        assert not client.ended
        assert any(c.slot == "new" and c.client_id for c in broker.connections)


def test_an_uplink_that_is_down_rolls_nothing_back(plant):
    """Old and new fail alike, so it is not the identity: the trial goes on when the broker returns."""
    site = plant(["down"])
    client = site.connect("down", keepalive=0)
    site.broker.kill()
    site.gateway.flip("down", probation_s=1)
    until("an attempt has failed", lambda: site.gateway.device("down")["last_error"], 15)
    state = site.gateway.device("down")
    assert (state["phase"], state["active"]) == ("trial", "new")
    assert state["last_error"]["class"] == "network"
    client.ping()
    site.broker.start()
    site.gateway.wait_device("down", phase="committed", active="new", timeout=30)
    client.ping()
    assert not client.ended


def test_a_broker_that_we_do_not_trust_rolls_nothing_back(plant, pki):
    """The broker's certificate comes from another CA: our refusal of it says nothing about our identity."""
    broker = ScriptedBroker(pki)
    with broker:
        site = plant(["trust"], broker=broker)
        client = site.connect("trust", keepalive=0)
        stranger = pki.server(ca=pki.stranger)
        broker._tls.load_cert_chain(stranger.chain, stranger.key)
        site.gateway.flip("trust", probation_s=1)
        until("the attempt has failed", lambda: site.gateway.device("trust")["last_error"], 15)
        state = site.gateway.device("trust")
        assert state["last_error"]["class"] == "trust"
        assert state["phase"] == "trial"
        client.ping()
        assert not client.ended


def test_a_broker_that_closes_without_a_word(plant, pki):
    """Nobody says that it is the identity; the old one is accepted in the same moment, so it is."""
    def script(conn, kind, first, body):
        if kind == p.CONNECT and conn.slot == "new":
            conn.close()
            return True
        return False
    with ScriptedBroker(pki, script, version=ssl.TLSVersion.TLSv1_2) as broker:
        site = plant(["mute"], broker=broker)
        client = site.connect("mute", keepalive=0)
        site.gateway.flip("mute", probation_s=1)
        site.gateway.wait_device("mute", phase="rolled-back", active="old", timeout=30)
        client.ping()
        assert not client.ended


@pytest.mark.parametrize("how", [rough.cut, rough.reset, rough.mute], ids=["closed", "reset", "silent"])
@pytest.mark.parametrize("where", ["tls", p.CONNECT], ids=["certificate", "connect"])
def test_a_network_that_loses_new_connections(plant, pki, where, how):
    """A firewall that has had enough, or a broker that is full: what stands goes on, and nobody new gets through, with
    whatever identity.  That rolls nothing back."""
    with rough.RoughBroker(pki) as broker:
        site = plant(["weather"], broker=broker, upstream={"connack_timeout_ms": 1000, "connect_timeout_ms": 2000},
                     flip={"backoff_tls_s": [1], "backoff_network_s": [1]})
        client = site.connect("weather", keepalive=0)
        broker.everybody = {where: how}
        site.gateway.flip("weather", probation_s=1)
        until("several rounds", lambda: len(site.gateway.log.find(r"uplink-failed device=weather slot=old")) >= 4, 40)
        state = site.gateway.device("weather")
        assert (state["phase"], state["active"]) == ("trial", "new")
        assert not site.gateway.log.find(r"uplink-failed device=weather .*class=identity")
        client.publish("t", "x", 1)
        assert not site.gateway.log.find(r"uplink-lost"), "the old connection stood all the time"
        broker.everybody = None
        site.gateway.wait_device("weather", phase="committed", active="new", timeout=20)
        client.publish("t", "x", 1)
        assert not client.ended


def test_a_broker_that_never_answers_the_barrier(plant, pki):
    """PINGRESP does not come: bounded, then the switch is made or given up; the device stays."""
    def script(conn, kind, first, body):
        return kind == p.PINGREQ and conn.slot == "old"
    with ScriptedBroker(pki, script) as broker:
        site = plant(["barrier"], broker=broker, upstream={"barrier_timeout_ms": 300})
        client = site.connect("barrier", keepalive=0)
        site.gateway.flip("barrier", probation_s=1)
        site.gateway.wait_device("barrier", phase="committed", timeout=20)
        client.publish("t", "x", 1)
        client.ping()


def test_an_identity_that_is_lost_after_it_was_accepted(plant, pki):
    """Within probation the broker cuts the new identity off and refuses it: back to the old one."""
    refuse = []

    def script(conn, kind, first, body):
        if kind == p.CONNECT and conn.slot == "new" and refuse:
            conn.send(p.packet(p.CONNACK, 0, b"\0\x05"))
            conn.close()
            return True
        return False
    with ScriptedBroker(pki, script) as broker:
        site = plant(["later"], broker=broker)
        client = site.connect("later", keepalive=0)
        site.gateway.flip("later", probation_s=60)
        site.gateway.wait_device("later", phase="trial", waiting="probation")
        refuse.append(True)
        next(c for c in broker.connections if c.slot == "new" and c.client_id).close()
        site.gateway.wait_device("later", phase="rolled-back", active="old", timeout=30)
        client.publish("t", "x", 1)
        assert not client.ended
