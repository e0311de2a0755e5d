"""A sensor that cannot be reflashed comes in with the certificate that it has, by an exception that says whom, what, until
when and why; without it, and in whatever the exception does not say, it is refused."""

import datetime
import os
import re
import socket
import ssl
import subprocess

import pytest

from lib.gateway import Refused
from lib.pki import Authority, Pair, openssl
from lib.wait import until

SITE = {"devices": ["press-1", "press-2", "pump-1"]}

TODAY = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def _day(days):
    return (datetime.datetime.now(datetime.timezone.utc) + days * DAY).strftime("%Y-%m-%d")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Certificates with a fault each, all of press-1 but where their names say otherwise."""
    folder = tmp_path_factory.mktemp("zoo")
    stamp = "%Y%m%d%H%M%SZ"
    ca = Authority(folder, "Worn CA", kind="rsa")

    class Zoo:
        root = ca
        sha1 = ca.issue("sha1", "/CN=press-1", ["extendedKeyUsage=clientAuth"], more=["-sha1"])
        small = ca.issue("small", "/CN=press-1", ["extendedKeyUsage=clientAuth"], kind="rsa1024")
        expired = ca.issue_dated("expired", "/CN=press-1", (TODAY - 90 * DAY).strftime(stamp), (TODAY - DAY).strftime(stamp))
        expired_pump = ca.issue_dated("pump", "/CN=pump-1", (TODAY - 90 * DAY).strftime(stamp), (TODAY - DAY).strftime(stamp))
        early = ca.issue_dated("early", "/CN=press-1", (TODAY + 9 * DAY).strftime(stamp), (TODAY + 90 * DAY).strftime(stamp))
        server = ca.issue("server", "/CN=press-1", ["extendedKeyUsage=serverAuth"], more=["-sha1"])
        # An authority whose time is over, and what it issued: valid still, and expired with it.
        gone = Authority(folder, "Gone CA", days=30, at="-60d")
        of_gone = gone.issue("of-gone", "/CN=press-1", ["extendedKeyUsage=clientAuth"], days=3650)
        expired_of_gone = gone.issue("expired-of-gone", "/CN=press-1", ["extendedKeyUsage=clientAuth"], days=30)
        # Another one of the same name, that nobody has heard of.
        impostor = Authority(folder / "impostor", "Gone CA", days=30, at="-60d")
        of_impostor = impostor.issue("of-impostor", "/CN=press-1", ["extendedKeyUsage=clientAuth"], days=3650)
        impostor_expired = Authority(folder / "impostor", "Worn CA", kind="rsa").issue_dated(
            "expired", "/CN=press-1", (TODAY - 90 * DAY).strftime(stamp), (TODAY - DAY).strftime(stamp))
        # Below an intermediate that is sent along.
        middle = Authority(folder, "Worn middle", kind="rsa", parent=ca, extensions=["basicConstraints=critical,CA:TRUE"])
        sha1_of_middle = middle.issue("sha1", "/CN=press-1", ["extendedKeyUsage=clientAuth"], more=["-sha1"])

    return Zoo


def _fp(pair_or_ca):
    path = pair_or_ca.chain if isinstance(pair_or_ca, Pair) else pair_or_ca.cert
    text = openssl("x509", "-in", path, "-noout", "-fingerprint", "-sha256").decode()
    return text.split("=")[1].strip()


def _exceptions(site, zoo, *exceptions, **listener):
    """Reload with these; what they do not say is filled in."""
    conf = site.gateway.conf
    tls = site.gateway.listener()
    tls.update({"anchors": [site.pki.old.cert, site.pki.new.cert, zoo.root.cert, zoo.gone.cert], "min_rsa_bits": 2048,
                "crl_policy": "off", "crls": [], "tls_min": "1.2", **listener})
    conf["exceptions"] = [{"name": "worn-%d" % i, "device": "press-*", "until": _day(90), "reason": "cannot be reflashed",
                           **e} for i, e in enumerate(exceptions)]
    if not exceptions:
        del conf["exceptions"]
    site.gateway.reload()


def _gets_in(site, pair, device="press-1"):
    """None, or the line that says why it did not."""
    mark = site.gateway.log.mark()
    client = site.sensor(device, pair=pair, weak=True)
    try:
        client.connect(device)
    except (ConnectionError, AssertionError):
        site.gateway.log.wait("session-refused", mark)
        return site.gateway.log.lines("session-refused", mark)[0]
    client.ping()
    client.disconnect()
    return None


FAULTS = [("expired", "expired", "has expired"), ("sha1", "sha1", "proves nothing"), ("small", "small-key", "1024")]


@pytest.mark.parametrize("what,word,said", FAULTS, ids=[f[0] for f in FAULTS])
def test_each_fault_needs_its_exception(site, zoo, what, word, said):
    pair = getattr(zoo, what)
    others = [w for w in ("expired", "sha1", "small-key") if w != word]
    _exceptions(site, zoo)
    assert said in _gets_in(site, pair)
    _exceptions(site, zoo, {"fingerprint": _fp(pair), "accept": others})
    assert said in _gets_in(site, pair), "another fault than its own is accepted"
    mark = site.gateway.log.mark()
    _exceptions(site, zoo, {"fingerprint": _fp(pair), "accept": [word]})
    assert _gets_in(site, pair) is None
    if site.gateway.log.lines("exception-used", mark):  # one of ten seconds is told
        assert "exception=worn-0" in site.gateway.log.lines("exception-used", mark)[0]
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": [word]})
    assert _gets_in(site, pair) is None
    assert _gets_in(site, site.pki.sensor("press-2"), "press-2") is None, "those without a fault as ever"
    _exceptions(site, zoo)
    assert said in _gets_in(site, pair), "nothing is left of it"


def test_an_expired_authority_vouches_by_exception_alone(site, zoo):
    _exceptions(site, zoo)
    for pair in (zoo.of_gone, zoo.expired_of_gone):
        assert _gets_in(site, pair) is not None
    _exceptions(site, zoo, {"anchor": _fp(zoo.gone), "accept": ["expired"]})
    for pair in (zoo.of_gone, zoo.expired_of_gone):
        assert _gets_in(site, pair) is None
    assert _gets_in(site, zoo.of_impostor) is not None, "the name alone is not enough"
    _exceptions(site, zoo, {"fingerprint": _fp(zoo.of_gone), "anchor": _fp(zoo.gone), "accept": ["expired"]})
    assert _gets_in(site, zoo.of_gone) is None
    assert _gets_in(site, zoo.expired_of_gone) is not None
    _exceptions(site, zoo, {"fingerprint": _fp(zoo.of_gone), "accept": ["expired"]})
    assert _gets_in(site, zoo.of_gone) is not None, "its CA is not named"


def test_what_it_does_not_say_is_refused(site, zoo):
    everything = ["expired", "sha1", "small-key"]
    _exceptions(site, zoo, *[{"fingerprint": _fp(p), "accept": everything}
                             for p in (zoo.early, zoo.server, zoo.impostor_expired)])
    assert "not yet valid" in _gets_in(site, zoo.early)
    assert _gets_in(site, zoo.server) is not None, "a server's"
    assert _gets_in(site, zoo.impostor_expired) is not None, "signed by somebody else of that name"
    # The key of another certificate.
    _exceptions(site, zoo, {"fingerprint": _fp(zoo.expired), "accept": everything})
    stolen = Pair(zoo.expired.chain, zoo.expired_pump.key)
    with pytest.raises(ssl.SSLError):
        site.sensor("press-1", pair=stolen)
    code = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.gateway.port, "-tls1_2", "-cert",
                           zoo.expired.chain, "-CAfile", site.pki.server_ca.cert], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).returncode
    assert code != 0
    assert _gets_in(site, zoo.expired) is None


def test_an_intermediate_is_checked_all_the_way(site, zoo):
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": ["sha1"]})
    assert _gets_in(site, zoo.sha1_of_middle) is None
    _exceptions(site, zoo, {"anchor": _fp(zoo.gone), "accept": ["sha1"]})
    assert "proves nothing" in _gets_in(site, zoo.sha1_of_middle)


def test_it_is_for_its_devices_alone(site, zoo):
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": ["expired"]})
    line = _gets_in(site, zoo.expired_pump, "pump-1")
    assert "code=exception" in line and "pump-1" in line, line
    assert _gets_in(site, zoo.expired) is None
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": ["expired"]},
                {"anchor": _fp(zoo.root), "accept": ["expired"], "device": "pump-1"})
    assert _gets_in(site, zoo.expired_pump, "pump-1") is None
    assert _gets_in(site, zoo.expired) is None


def test_it_ends(site, zoo):
    # Once more when it was midnight meanwhile: then the last day has gone.
    today = None
    while today != _day(0):
        today = _day(0)
        _exceptions(site, zoo, {"fingerprint": _fp(zoo.expired), "accept": ["expired"], "until": today})
        refused = _gets_in(site, zoo.expired)
        messages = site.gateway.rpc("status")["messages"]
    assert refused is None, "the last day"
    assert any("worn-0" in m and "ends after" in m for m in messages), messages
    _exceptions(site, zoo, {"fingerprint": _fp(zoo.expired), "accept": ["expired"], "until": _day(-1)})
    assert "has expired" in _gets_in(site, zoo.expired)
    status = site.gateway.rpc("status")
    assert status["exceptions"][0]["in_force"] is False
    assert any("is over" in m for m in status["messages"])


def test_it_is_for_its_listeners_alone(site, zoo):
    other = dict(site.gateway.listener(), name="other", port=_free_port())
    site.gateway.conf["listeners"].append(other)
    try:
        _exceptions(site, zoo, {"fingerprint": _fp(zoo.expired), "accept": ["expired"], "listeners": ["other"]})
        assert "has expired" in _gets_in(site, zoo.expired)
        other["anchors"] = site.gateway.listener()["anchors"]
        site.gateway.reload()
        site.gateway.port, first = other["port"], site.gateway.port
        try:
            other["min_rsa_bits"] = 2048
            site.gateway.conf["devices"].append({"name": "{cn}", "match": {"listener": "other"}})
            site.gateway.reload()
            assert _gets_in(site, zoo.expired) is None
        finally:
            site.gateway.port = first
    finally:
        site.gateway.conf["listeners"].remove(other)
        site.gateway.conf["devices"] = [d for d in site.gateway.conf["devices"] if d["match"].get("listener") != "other"]
        site.gateway.conf.pop("exceptions", None)
        site.gateway.reload()


def test_status_tells_who_uses_it(site, zoo):
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": ["expired", "sha1"]}, tls_min="1.0")
    client = site.sensor("press-1", pair=zoo.expired)
    client.connect("press-1")
    until("it is counted", lambda: site.gateway.rpc("status")["exceptions"][0]["devices"] == 1, 10)
    shown = site.gateway.rpc("status")
    e = shown["exceptions"][0]
    assert (e["accept"], e["until"], e["reason"], e["sessions"]) == (
        ["expired", "sha1"], _day(90), "cannot be reflashed", 1), e
    assert e["last_used"] and e["uses"] >= 1 and e["in_force"], e
    assert shown["old_tls"] == [{"listener": "tls", "tls_min": "1.0"}]
    assert site.gateway.rpc("sessions.list")["sessions"][0]["exception"] == "worn-0"
    text = site.gateway.ctl("status")[1]
    assert "press-* may be expired, sha1 until " + _day(90) in text and "takes TLS 1.0" in text, text
    assert "accepted by exception worn-0" in site.gateway.ctl("device", "press-1")[1]
    client.disconnect()
    until("nobody uses it", lambda: site.gateway.rpc("status")["exceptions"][0]["devices"] == 0, 10)


def test_a_revoked_one_is_refused_all_the_same(site, zoo):
    crl = zoo.root.revoke(zoo.expired)
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": ["expired"]}, crl_policy="soft", crls=[crl])
    assert "revoked" in _gets_in(site, zoo.expired)
    assert _gets_in(site, zoo.expired_pump, "pump-1") is not None
    _exceptions(site, zoo, {"anchor": _fp(zoo.root), "accept": ["expired"]})
    assert _gets_in(site, zoo.expired) is None


OLD = ["-cipher", "ALL:@SECLEVEL=0"]


def _s_client(site, version, pair):
    """What openssl says of one handshake: the protocol, or None."""
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.gateway.port, version, *OLD, "-cert",
                           pair.chain, "-key", pair.key, "-CAfile", site.pki.server_ca.cert, "-ign_eof"],
                          input=b"\x00", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
    text = done.stdout.decode(errors="replace")
    found = re.search(r"Protocol *: (TLSv1\S*)", text)
    return found[1] if found and "(NONE)" not in text and "alert" not in text else None


def test_an_old_version_of_tls_lowers_no_certificate(site, zoo):
    """TLS 1.0 is for its listener to allow; what is accepted as a certificate there is as everywhere."""
    _exceptions(site, zoo)
    good = site.pki.sensor("press-1")
    assert _s_client(site, "-tls1", good) is None, "off by default"
    _exceptions(site, zoo, tls_min="1.0")
    assert _s_client(site, "-tls1", good) == "TLSv1"
    assert _s_client(site, "-tls1_1", good) == "TLSv1.1"
    for pair in (zoo.expired, zoo.sha1, zoo.small, zoo.of_gone):
        assert _s_client(site, "-tls1", pair) is None, pair.chain
    _exceptions(site, zoo, {"fingerprint": _fp(zoo.small), "accept": ["small-key"]}, tls_min="1.0")
    assert _s_client(site, "-tls1", zoo.small) == "TLSv1"
    _exceptions(site, zoo)
    assert _s_client(site, "-tls1", good) is None


def test_never_below_tls_1_2_to_a_broker(site, zoo):
    site.gateway.upstream()["tls_min"] = "1.0"
    try:
        with pytest.raises(Refused) as refused:
            site.gateway.reload()
        assert "upstreams[0].tls_min" in str(refused.value.error), refused.value.error
    finally:
        del site.gateway.upstream()["tls_min"]
    site.gateway.reload()


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
