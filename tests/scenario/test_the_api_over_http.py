"""/api/v1 says what the control socket says, a piece at a time, and changes nothing."""

import time

import pytest

from lib.gateway import Refused
from lib.wait import free_port, seconds, until
from lib.web import Web

PORT = free_port()
SITE = {"status": {"enabled": True, "port": PORT}, "devices": ["dev-%02d" % i for i in range(1, 13)]}


@pytest.fixture
def web(site):
    return Web(PORT)


def _same(a, b, moving=()):
    """Two answers of the same moment, but for what moves by itself."""
    return {k: v for k, v in a.items() if k not in moving} == {k: v for k, v in b.items() if k not in moving}


def test_it_says_what_the_control_socket_says(site, web):
    rpc = site.gateway.rpc
    device = site.fresh()
    site.connect(device)
    site.gateway.flip(device, probation_s=1)
    site.gateway.wait_device(device, phase="committed")
    moving = ("now", "uptime_s", "counters", "clock")
    until("the status is the same, twice in a row",
          lambda: _same(web.json("/api/v1/status"), rpc("status"), moving))
    assert set(web.json("/api/v1/status")) == set(rpc("status"))
    assert set(web.json("/api/v1/status")["counters"]) == set(rpc("status")["counters"])
    assert web.json("/api/v1/devices") == rpc("device.list")
    assert web.json("/api/v1/device/" + device) == rpc("device.get", device=device)
    assert web.json("/api/v1/sessions") == rpc("sessions.list")
    assert web.json("/api/v1/sessions?target=nobody") == {"sessions": [], "total": 0}
    assert web.json("/api/v1/trust") == rpc("trust.list")
    assert web.json("/api/v1/trust?set=upstream") == rpc("trust.list", set="upstream")
    assert web.json("/api/v1/crls") == rpc("crl.list")
    assert web.json("/api/v1/audit?limit=3") == rpc("audit.list", limit=3)
    assert web.json("/api/v1/audit?after=1&limit=2") == rpc("audit.list", after=1, limit=2)
    assert web.json("/api/v1/audit")["entries"], "and the flip is in it"


def test_pages_join_up(site, web):
    rpc = site.gateway.rpc
    names, after = [], ""
    while after is not None:
        page = web.json("/api/v1/devices?limit=5" + ("&after=" + after if after else ""))
        assert page == rpc("device.list", limit=5, **({"after": after} if after else {}))
        names += [d["device"] for d in page["devices"]]
        after = page["next"]
    assert names == site.devices
    assert web.json("/api/v1/devices?target=dev-0*&limit=2")["total"] == 9


@pytest.mark.parametrize("path, status, name, why", [
    ("device/nobody", 404, "no-such-device", "there is no device nobody"),
    ("device/", 400, "invalid-params", "device: must be a string"),
    ("device/..%2f..%2fetc", 404, "no-such-device", "there is no device ../../etc"),
    ("device/%3Cscript%3E", 404, "no-such-device", "<script>"),
    ("devices?limit=0", 400, "invalid-params", "limit: must be a whole number of 1 to 250"),
    ("devices?limit=251", 400, "invalid-params", "limit: must be"), ("devices?limit=x", 400, "invalid-params", "limit"),
    ("devices?limit=99999999999999999999", 400, "invalid-params", "limit"),
    ("devices?colour=blue", 400, "invalid-params", "colour: there is no such parameter"),
    ("devices?target=", 400, "invalid-params", "target"), ("audit?after=x", 400, "invalid-params", "after"),
    ("trust?set=sideways", 400, "invalid-params", "set"), ("view?show=blue", 400, "invalid-params", "show"),
    ("view?sort=blue", 400, "invalid-params", "sort"), ("view?order=blue", 400, "invalid-params", "order"),
    ("view?offset=-1", 400, "invalid-params", "offset"), ("view?colour=blue", 400, "invalid-params", "colour"),
    ("view?search=" + "x" * 200, 400, "invalid-params", "search"),
    ("flip?target=*", 404, "no-such-method", "there is: status"), ("config.reload", 404, "no-such-method", "there is"),
    ("", 404, "no-such-method", "there is: status")])
def test_what_is_wrong_is_said(web, path, status, name, why):
    error = web.json("/api/v1/" + path, status)["error"]
    assert error["name"] == name and why in error["message"], error


def test_what_did_not_change_is_not_sent_again(site, web):
    first = web.ask("/api/v1/devices?limit=3&target=dev-1*")
    tag = first.headers["ETag"]
    again = web.ask("/api/v1/devices?limit=3&target=dev-1*", headers={"If-None-Match": tag})
    assert again.status == 304 and again.body == b"" and again.headers["ETag"] == tag
    assert web.ask("/api/v1/devices?limit=3&target=dev-1*", headers={"If-None-Match": '"other"'}).body == first.body
    site.gateway.flip("dev-12")
    other = web.ask("/api/v1/devices?limit=3&target=dev-1*", headers={"If-None-Match": tag})
    assert other.status == 200 and other.headers["ETag"] != tag
    assert first.headers["Cache-Control"] == "no-cache"


def test_the_view_is_searched_filtered_and_sorted(plant):
    port = free_port()
    site = plant([], start=False, status={"enabled": True, "port": port})
    web = Web(port)
    ends = {"press-c": 5, "press-a": 300, "press-b": 40, "oven-1": 20, "oven-2": 1000}
    now = time.time()
    for name, days in ends.items():
        at = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(t)) for t in (now - 86400 * 9, now + 86400 * days)]
        site.gateway.install(name, old=site.pki.old.issue_dated(name + "-view", "/CN=%s/O=Hall %s" % (name, name[-1]), *at),
                             new=name == "oven-1")
    site.__enter__()

    def names(query):
        view = web.json("/api/v1/view?" + query)
        found = [d["device"] for d in view["devices"]]
        assert view["total"] >= len(found)
        assert view["devices"] == [site.gateway.rpc("device.list", target=n)["devices"][0] for n in found]
        return found, view["total"]

    assert names("") == (["oven-1", "oven-2", "press-a", "press-b", "press-c"], 5)
    assert names("search=PRESS&order=desc") == (["press-c", "press-b", "press-a"], 3)
    assert names("search=Hall%20B")[0] == ["press-b"], "of the subject, too"
    assert names("sort=expiry") == (["press-c", "oven-1", "press-b", "press-a", "oven-2"], 5)
    assert names("sort=expiry&order=desc&offset=1&limit=2") == (["press-a", "press-b"], 5)
    assert names("show=staged") == (["oven-1"], 1) and names("show=trial") == ([], 0)
    assert names("show=attention")[0] == ["oven-1", "press-c"], "these end within 30 days"
    assert names("show=online") == ([], 0) and names("show=offline")[1] == 5 and names("show=failed") == ([], 0)
    assert names("offset=99") == ([], 5)
    line = web.json("/api/v1/timeline")
    assert (line["expired"], line["later"], line["none"], sum(line["weeks"])) == (0, 1, 0, 4)
    assert [i for i, n in enumerate(line["weeks"]) if n] == [0, 2, 5, 42]


def test_who_asks_without_end_is_refused_and_health_is_not(site, web):
    """The main thread's time for it is bounded: what is beyond comes back with 503, and the rest goes on."""
    streams = site.streams([site.fresh()], interval=0.01)
    codes, end = [], time.monotonic() + seconds(8)
    while 503 not in codes and time.monotonic() < end:
        refused = web.ask("/api/v1/view?limit=250")
        codes.append(refused.status)
    if 503 in codes:  # a fast machine does not come to the bound by asking one after the other
        assert refused.headers["Retry-After"] == "1" and b"this second" in refused.body
        assert web.text("/healthz") == "healthy\n" and web.text("/readyz") == "ready\n"
    streams.progress(20)
    streams.prove()
    until("answers again", lambda: web.ask("/api/v1/status").status == 200)


def test_no_secret_is_in_it(site, web):
    """Of keys there is not a word in what can be asked for."""
    for path in ("status", "devices?limit=250", "sessions", "trust", "crls", "audit?limit=250", "view?limit=250"):
        assert b"PRIVATE" not in web.ask("/api/v1/" + path).body
    with pytest.raises(Refused):
        site.gateway.rpc("device.get", device="nobody")
