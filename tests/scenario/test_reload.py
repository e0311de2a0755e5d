"""SIGHUP and `reload`: a bad file changes nothing and says so, a good one cuts nobody off."""

import os
import shutil
import time

import pytest

from lib.gateway import Refused, check_config
from lib.mqtt import Client, tls_context
from lib.pki import SERVER, Authority
from lib.wait import free_port, listening, until
from lib.web import Web


@pytest.fixture
def site(plant):
    return plant(["re-%d" % i for i in range(6)])


def test_a_bad_file_changes_nothing(site):
    streams = site.streams(["re-0"])
    good = dict(site.gateway.conf)
    site.gateway.conf["limits"] = {"packet_bytes": 17, "handsakes": 5}
    with pytest.raises(Refused) as refused:
        site.gateway.reload()
    assert refused.value.name == "config"
    faults = refused.value.error["data"]["faults"]
    assert len(faults) == 2
    assert any("packet_bytes" in f for f in faults) and any("handshakes" in f for f in faults)
    assert all(f.startswith(site.gateway.path + ":") for f in faults)
    streams.progress(5)
    site.gateway.conf = good
    site.gateway.reload()
    streams.progress(5)
    streams.prove()


def test_sighup_with_a_bad_and_a_good_file(site):
    streams = site.streams(["re-1"])
    good = dict(site.gateway.conf)
    site.gateway.conf["colour"] = "red"
    site.gateway.write()
    mark = site.gateway.log.mark()
    site.gateway.hangup()
    site.gateway.log.wait(r"colour", mark)
    assert site.gateway.running()
    site.gateway.conf = good
    port = free_port()
    good["listeners"] = good["listeners"] + [{"name": "more", "type": "plaintext", "address": "127.0.0.1",
                                              "port": port, "allow": ["127.0.0.1/32"]}]
    good["devices"] = good["devices"] + [{"name": "{client_id}", "match": {"listener": "more"}}]
    site.gateway.write()
    site.gateway.hangup()
    until("the new listener is there", lambda: listening(port))
    site.clients.append(late := Client(site.reactor, ("127.0.0.1", port)))
    late.connect("re-2")
    late.ping()
    streams.progress(5)
    streams.prove()


def test_a_listener_that_goes_away_leaves_its_sessions(site):
    client = site.connect("re-0", plain=True)
    site.gateway.conf["listeners"] = site.gateway.conf["listeners"][:1]
    site.gateway.conf["devices"] = site.gateway.conf["devices"][:1]
    site.gateway.reload()
    until("the listener is gone", lambda: not listening(site.gateway.plain_port))
    client.publish("still/here", "x", 1)
    client.ping()


def _sockets(port):
    """The addresses that are listened on, once for each socket: "*" and others."""
    found = []
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name) as f:
            rows = [line.split() for line in f.readlines()[1:]]
        found += [row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]
    return ["127.0.0.1" if address == "0100007F" else "*" for address in found]


@pytest.mark.parametrize("there", ["*", "127.0.0.1"])
def test_a_listener_moves_to_another_address_on_its_port(site, there):
    """The port is in use, but by ourselves: by the socket that goes, on each worker."""
    addresses = ["127.0.0.1", "*"] if there == "*" else ["127.0.0.1", "*", "127.0.0.1"]
    for address in addresses[1:]:
        site.gateway.conf["listeners"][1]["address"] = address
        site.gateway.reload()
        until("all workers listen on " + address, lambda: _sockets(site.gateway.plain_port) == [address] * 2)
    site.connect("re-1", plain=True).ping()
    assert not site.gateway.log.find("listen-failed")


def test_devices_come_change_and_go(site):
    site.gateway.install("re-new")
    assert site.gateway.rpc("config.reload")["new_devices"] == 1
    site.connect("re-new").ping()

    client = site.connect("re-3")
    other = site.pki.new.issue("re-3-other", "/O=Plant/OU=new/CN=re-3", ["extendedKeyUsage=clientAuth"])
    site.gateway.install("re-3", old=False, new=other)
    assert site.gateway.rpc("config.reload")["changed_devices"] >= 1
    assert site.gateway.device("re-3")["slots"]["new"]["fingerprint"] == other.fingerprint()
    client.ping()

    gone = site.connect("re-4")
    shutil.rmtree(os.path.join(site.gateway.identities, "re-4"))
    assert site.gateway.rpc("config.reload")["gone_devices"] == 1
    gone.wait_end()
    with pytest.raises(Refused):
        site.gateway.device("re-4")


@pytest.mark.threads
def test_reloads_under_traffic(site):
    streams = site.streams(["re-0", "re-1", "re-5"], interval=0.005)
    for n in range(20):
        site.gateway.conf["limits"]["handshakes"] = 100 + n
        if n % 2:
            site.gateway.reload()
        else:
            site.gateway.write()
            site.gateway.hangup()
        if n % 5 == 0:
            site.connect("re-2").disconnect()
        streams.progress(2)
    streams.prove()


def test_what_needs_a_restart_is_said(site):
    site.gateway.conf["workers"] = 3
    needed = site.gateway.reload()["restart_needed"]
    assert any("workers" in line for line in needed)
    site.connect("re-0").ping()


def test_server_certificate_and_anchors_change_for_new_connections(site, pki):
    stays = site.connect("re-0")
    other = pki.server("127.0.0.1", ca=pki.new)
    site.gateway.listener()["chains"] = [{"chain": other.chain, "key": other.key}]
    site.gateway.listener()["anchors"] = [pki.new.cert]
    site.gateway.listener()["revoked_sessions"] = "keep"
    site.gateway.reload()
    stays.ping()
    late = site.sensor("re-1")
    with pytest.raises(ConnectionError):
        late.open()
    site.clients.append(fresh := Client(site.reactor, ("127.0.0.1", site.gateway.port),
                                        tls_context(pki.new.cert, pki.sensor("re-1", ca=pki.new))))
    fresh.connect("re-1")
    fresh.ping()


def test_the_end_of_a_listeners_certificate_is_told_in_time(plant, pki):
    """When it comes, every sensor refuses the gateway at once: of the chain, whichever certificate ends first."""
    port = free_port()
    site = plant(["re-0"], status={"enabled": True, "port": port})
    between = Authority(pki.folder, "Ends Soon CA", parent=pki.server_ca, at="-355d", days=365)
    soon = between.issue("ends-soon", "/O=Plant/CN=localhost", SERVER, days=500)
    over = pki.server_ca.issue("is-over", "/O=Plant/CN=localhost", SERVER, at="-20d", days=10)
    early = pki.server_ca.issue("is-early", "/O=Plant/CN=localhost", SERVER, at="+20d", days=100)

    def worries():
        return [m for m in site.gateway.rpc("status")["messages"] if "the certificate of listener" in m]

    def with_chain(pair):
        site.gateway.listener()["chains"] = [{"chain": pair.chain, "key": pair.key}]
        mark = site.gateway.log.mark()
        site.gateway.reload()
        return mark

    assert worries() == []
    mark = with_chain(soon)
    line = site.gateway.log.wait(".*certificate-ends.*", after=mark)[0]
    assert " warn " in line and "listener=tls" in line and soon.chain in line
    [said] = worries()
    assert "CN=Ends Soon CA,O=Plant in %s, expires on" % soon.chain in said and "certflipctl reload" in said
    end = Web(port).metrics()['certflip_listener_certificate_expiry_timestamp_seconds{listener="tls"}']
    assert end == pytest.approx(time.time() + 10 * 86400, abs=86400)
    code, said = check_config(site.gateway.path)
    assert code == 0 and "certflipd: warning: the certificate of listener tls, CN=Ends Soon CA" in said, said
    site.connect("re-0").ping()

    for pair, word in ((over, "expired on"), (early, "is not valid before")):
        line = site.gateway.log.wait(".*certificate-ends.*", after=with_chain(pair))[0]
        assert " error " in line and word in line, line
        [said] = worries()
        assert "CN=localhost,O=Plant in %s, %s" % (pair.chain, word) in said and "sensors refuse this gateway" in said
    with_chain(pki.server())
    assert worries() == []


def test_a_port_in_use_changes_nothing(site):
    taken = site.broker.port
    site.gateway.conf["listeners"] = site.gateway.conf["listeners"] + [
        {"name": "taken", "type": "plaintext", "address": "127.0.0.1", "port": taken, "allow": ["127.0.0.1/32"]}]
    mark = site.gateway.log.mark()
    try:
        site.gateway.reload()
        site.gateway.log.wait(r"taken.*(in use|EADDRINUSE)|(in use|EADDRINUSE).*taken", mark)
    except Refused as refused:
        assert "in use" in str(refused)
    site.connect("re-0").ping()
