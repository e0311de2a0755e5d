"""Who may not connect gets the proper code, and there is one log line that says why."""

import os
import subprocess

import pytest

from lib.wait import until

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5], ids=["v31", "v311", "v5"])


SITE = {"devices": ["press-1", "press-2"]}


def _refused(site, mark, *words):
    """Exactly one line about the refusal, with these words in it."""
    site.gateway.log.wait("session-refused", mark)
    lines = site.gateway.log.lines("session-refused", mark)
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0], lines[0]


@VERSIONS
def test_unknown_device(site, version):
    """A good certificate, but no device of that name."""
    mark = site.gateway.log.mark()
    client = site.sensor("nobody", version)
    client.connect("nobody", expect={3: 5, 4: 5, 5: 0x87}[version])
    client.wait_end()
    _refused(site, mark, "nobody")


@VERSIONS
def test_client_id_of_another_device(site, version):
    mark = site.gateway.log.mark()
    client = site.sensor("press-1", version)
    client.connect("press-2", expect={3: 2, 4: 2, 5: 0x85}[version])
    client.wait_end()
    _refused(site, mark, "press-1", "press-2")


def test_certificate_of_a_stranger(site, pki):
    mark = site.gateway.log.mark()
    client = site.sensor("press-1", pair=pki.sensor("press-1", ca=pki.stranger))
    with pytest.raises(ConnectionError):
        client.connect("press-1")
    assert "alert" in client.ended
    _refused(site, mark, "certificate")


@pytest.mark.parametrize("what", ["expired", "future"])
def test_certificate_out_of_its_time(site, pki, what):
    mark = site.gateway.log.mark()
    client = site.sensor("press-1", pair=getattr(pki, what)("press-1", "old"))
    with pytest.raises(ConnectionError):
        client.connect("press-1")
    _refused(site, mark, "certificate")


def test_no_certificate(site):
    mark = site.gateway.log.mark()
    client = site.sensor("press-1", pair=None)
    with pytest.raises(ConnectionError):
        client.connect("press-1")
    assert "alert" in client.ended
    _refused(site, mark)


def test_somebody_elses_key(site, pki):
    """The certificate alone proves nothing: openssl will not even send it without its key; a copy signed by the sensor's
    own key does not verify."""
    own, other = pki.sensor("press-1"), pki.sensor("press-2")
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.gateway.port, "-cert", own.chain,
                           "-key", other.key], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("tls", ["tls1", "tls1_1"])
def test_tls_below_the_listeners_minimum(site, tls):
    pair = site.pki.sensor("press-1")
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.gateway.port, "-" + tls, "-cipher",
                           "ALL:@SECLEVEL=0", "-cert", pair.chain, "-key", pair.key],
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert b"alert" in done.stderr + done.stdout


def test_network_that_is_not_allowed(plant):
    site = plant(["press-1"], start=False)
    site.gateway.listener("plain")["allow"] = ["192.0.2.0/24", "2001:db8::/32"]
    site.__enter__()
    mark = site.gateway.log.mark()
    client = site.sensor("press-1", plain=True)
    try:
        client.connect("press-1")
        raise AssertionError("it was let in")
    except ConnectionError:
        pass
    _refused(site, mark, "127.0.0.1", "plain")


def test_device_whose_identity_is_missing(plant):
    """It is refused as long as the file is missing; the daemon serves the others."""
    site = plant(["whole", "broken"], start=False)
    os.unlink(os.path.join(site.gateway.identities, "broken", "old", "key.pem"))
    site.__enter__()
    mark = site.gateway.log.mark()
    client = site.sensor("broken", 5)
    assert client.connect("broken", expect=None).reason in (0x87, 0x88)
    _refused(site, mark, "broken")
    site.connect("whole").ping()


def test_rules_by_login_fingerprint_and_client_id(plant, pki):
    site = plant(["by-fp", "by-login", "by-id-7"], rules=[
        {"name": "by-fp", "match": {"fingerprint": pki.sensor("whoever").fingerprint()}},
        {"name": "by-login", "match": {"listener": "plain", "username": "pump", "password": "s3cret"}},
        {"name": "{client_id}", "match": {"listener": "plain", "client_id": "by-id-*"}},
    ])
    by_fp = site.sensor("whoever")
    by_fp.connect("x")
    site.connect("by-id-7", plain=True)
    login = site.sensor("-", plain=True)
    login.connect("pump", username="pump", password="s3cret")
    assert {s["device"] for s in site.gateway.rpc("sessions.list")["sessions"]} == {"by-fp", "by-login", "by-id-7"}
    for client_id, options in (("pump", {"username": "pump", "password": "s3creT"}), ("pump", {"username": "pump"}),
                               ("by-ix-7", {})):
        wrong = site.sensor("-", plain=True)
        wrong.connect(client_id, expect=5, **options)
    assert "s3cre" not in site.gateway.log.text()


def test_client_id_must_be_the_name_when_the_rule_says_so(plant):
    site = plant(["strict"], rules=[{"name": "{cn}", "match": {"listener": "tls"}, "any_client_id": False}])
    site.connect("strict").disconnect()
    site.sensor("strict", 4).connect("other", expect=2)
    site.sensor("strict", 5).connect("other", expect=0x85)


def test_too_many_connections(plant):
    site = plant(["limit-%d" % i for i in range(4)], limits={"connections": 3})
    kept = [site.connect("limit-%d" % i) for i in range(3)]
    late = site.sensor("limit-3")
    try:
        ack = late.connect("limit-3", expect=None)
        assert ack.reason in (3, 0x97)
    except ConnectionError:
        pass
    site.gateway.log.wait("session-refused.*limit")
    kept[0].disconnect()
    until("one is gone", lambda: site.gateway.rpc("sessions.list")["total"] == 2)
    site.connect("limit-3").ping()
    kept[1].ping()


def test_refusals_are_counted(site):
    site.sensor("nobody", 4).connect("nobody", expect=5)
    until("the workers have been asked", lambda: site.gateway.rpc("status")["refused"])
    assert site.gateway.rpc("status")["refused"].get("no-identity", 0) >= 1
