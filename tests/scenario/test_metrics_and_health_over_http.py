"""Metrics, health, and who may ask for them: what is counted is what happened, and nobody who asks disturbs a sensor."""

import json
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

from lib.gateway import Refused, check_config, config_text
from lib.power import Power, crash_points
from lib.wait import free_port, seconds, until
from lib.web import Web

PORT = free_port()
SITE = {"status": {"enabled": True, "port": PORT}, "devices": ["dev-%02d" % i for i in range(1, 8)]}
PHASES = ("steady", "staged", "trial", "committed", "rolled-back")


@pytest.fixture
def web(site):
    return Web(PORT)


def _grown(before, after, name):
    return after.get(name, 0) - before.get(name, 0)


# -- what is counted

@pytest.mark.threads
def test_known_traffic_makes_known_numbers(site, web):
    """Ten messages up and five down, a flip, a rollback by command, a refused identity and a stranger."""
    names = [site.fresh() for _ in range(3)]
    good, bad, quiet = names
    site.gateway.install(bad, old=False, new=site.pki.expired(bad, "new"))
    site.gateway.reload()
    clients = {name: site.connect(name) for name in names}
    observer = site.observer()
    for name, client in clients.items():
        client.subscribe(("down/" + name, 1))
    before = web.wait_metrics(certflip_sessions=3)
    for i in range(10):
        clients[good].publish("up/" + good, b"x%d" % i, 1)
    for i in range(5):
        observer.publish("down/" + quiet, b"y%d" % i, 1)
    clients[quiet].wait_messages(5)
    site.gateway.flip(good, probation_s=1)
    site.gateway.wait_device(good, phase="committed")
    site.gateway.flip(bad, probation_s=1, force=True)
    site.gateway.wait_device(bad, phase="rolled-back")
    site.gateway.rollback(good)
    site.gateway.wait_device(good, phase="rolled-back")
    site.broker.wait_slot(good, "old")
    stranger = site.sensor("stranger", pair=site.pki.sensor("stranger"))
    stranger.open()
    stranger.send_raw(stranger.connect_packet("stranger"))
    stranger.wait_end()
    expected = {
        'certflip_messages_total{direction="from-sensor"}': 10,
        'certflip_messages_total{direction="to-sensor"}': 5,
        'certflip_flips_begun_total': 2,
        'certflip_flips_total{outcome="committed"}': 1,
        'certflip_flips_total{outcome="rolled-back"}': 1,
        'certflip_flips_total{outcome="late"}': 0,
        'certflip_rollbacks_total{cause="rollback"}': 1,
        'certflip_connections_refused_total{reason="no-identity"}': 1,
        'certflip_connections_accepted_total': 0,
        # To the new identity and back.  That of the one that was refused may have ended on its old leg.
        'certflip_handshake_seconds_count{with="sensor"}': 1,
        'certflip_messages_lost_total': 0,
        'certflip_devices{phase="rolled-back"}': 2,
    }
    after = {}

    def all_so():
        after.clear()
        after.update(web.metrics())
        return {k: _grown(before, after, k) for k in expected} == expected
    until(lambda: "the numbers: %s" % {k: (_grown(before, after, k), v) for k, v in expected.items()
                                       if _grown(before, after, k) != v}, all_so, 10, 0.2)
    rejected = _grown(before, after, 'certflip_rollbacks_total{cause="rejected"}') + \
        _grown(before, after, 'certflip_rollbacks_total{cause="old-accepted"}')
    assert rejected == 1
    moves = _grown(before, after, 'certflip_rehomes_total{outcome="done"}')
    assert moves >= 2
    assert _grown(before, after, "certflip_hold_seconds_count") == moves
    assert 0 < _grown(before, after, "certflip_hold_seconds_sum") < seconds(10)
    assert _grown(before, after, 'certflip_handshake_seconds_count{with="broker"}') >= 2
    # 10 PUBLISH and their PUBACKs come from one, 5 PUBACKs from another: each is counted, and so are its bytes.
    assert _grown(before, after, 'certflip_mqtt_packets_total{direction="from-sensor"}') >= 15
    assert _grown(before, after, 'certflip_mqtt_bytes_total{direction="from-sensor"}') >= 10 * len("..up/dev-01..x0")
    counters = site.gateway.rpc("status")["counters"]
    assert after["certflip_sessions"] == counters["sessions"] == 3
    assert sum(after['certflip_devices{phase="%s"}' % p] for p in PHASES) == len(site.devices)
    for client in clients.values():
        client.disconnect()
    web.wait_metrics(certflip_sessions=0, certflip_devices_online=0)


def test_buckets_add_up(web):
    metrics = web.metrics()
    for name in ("hold_seconds", 'handshake_seconds{with="sensor"}', 'handshake_seconds{with="broker"}',
                 'loop_delay_seconds{loop="main"}', 'loop_delay_seconds{loop="workers"}'):
        base, _, labels = name.partition("{")
        labels = labels.rstrip("}")
        row = [v for k, v in metrics.items()
               if k.startswith("certflip_%s_bucket{%s" % (base, labels + "," if labels else ""))]
        assert len(row) == 15 and row == sorted(row), (name, row)
        assert row[-1] == metrics["certflip_%s_count%s" % (base, "{%s}" % labels if labels else "")]


def test_expiring_certificates_are_counted(plant):
    """Those in use: within a day, a week, a month, a quarter; and no device, whatever it is called, is a label."""
    port = free_port()
    days = {"ends-today": 0.5, "ends-this-week": 5, "ends-this-month": 20, "ends-this-quarter": 80, "ends-later": 300}
    site = plant([], start=False, status={"enabled": True, "port": port})
    for name, left in days.items():
        now = time.time()
        at = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(t)) for t in (now - 86400 * 100, now + 86400 * left)]
        site.gateway.install(name, old=site.pki.old.issue_dated(name + "-old", "/CN=" + name, *at), new=False)
    site.__enter__()
    Web(port).wait_ready()  # what a worker has not said yet is no line
    metrics = Web(port).metrics()
    assert {k[34:-2]: v for k, v in metrics.items() if k.startswith("certflip_devices_expiring{")} == {
        "0d": 0, "1d": 1, "7d": 2, "30d": 3, "90d": 4}
    assert metrics["certflip_soonest_expiry_timestamp_seconds"] == pytest.approx(time.time() + 43200, abs=seconds(60))
    text = Web(port).text("/metrics")
    assert "ends-" not in text
    # Ten times the devices make no line more.
    lines = len(text.splitlines())
    for i in range(45):
        site.gateway.install("more-%02d" % i, old=site.pki.identity("ends-later", "old"), new=False)
    site.gateway.reload()
    text = Web(port).text("/metrics")
    assert len(text.splitlines()) == lines and 'certflip_devices{phase="steady"} 50' in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus")
def test_prometheus_reads_them(web):
    done = subprocess.run(["promtool", "check", "metrics"], input=web.text("/metrics"), text=True, capture_output=True,
                          check=False, timeout=seconds(30))
    assert done.returncode == 0 and done.stderr == "" and done.stdout == "", done


def test_each_family_says_what_it_is(web):
    answer = web.ask("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    kinds = dict(re.match(r"# TYPE (\S+) (\S+)$", l).groups() for l in lines if l.startswith("# TYPE"))
    helps = {l.split()[2] for l in lines if l.startswith("# HELP")}
    assert set(kinds) == helps
    for line in lines:
        name = re.sub(r"[{ ].*", "", line)
        if not line.startswith("#"):
            assert name in kinds or kinds[re.sub("_(bucket|sum|count)$", "", name)] == "histogram", line
    for name, kind in kinds.items():
        assert name.startswith("certflip_") and (kind == "counter") == name.endswith("_total"), name


# -- health

def test_healthy_and_ready(web):
    web.wait_ready()
    assert web.text("/healthz") == "healthy\n"
    assert web.text("/readyz") == "ready\n"


@pytest.mark.skipif(not crash_points(), reason="configure --enable-crash-points")
def test_not_ready_while_the_state_cannot_be_written(plant):
    port = free_port()
    site = plant(["one"], start=False, status={"enabled": True, "port": port})
    power, web = Power(site), Web(port)
    site.__enter__()
    web.wait_ready()
    assert web.text("/readyz") == "ready\n" and web.metrics()["certflip_state_writable"] == 1
    power.arm("disk.sync:1+:EIO")
    with pytest.raises(Refused):
        site.gateway.flip("one")
    why = web.text("/readyz", 503)
    assert re.search("the state could not be written at .*: mend the state directory", why), why
    assert web.text("/healthz") == "healthy\n", "to start it anew would not help"
    assert web.metrics()["certflip_state_writable"] == 0
    power.disarm()
    site.gateway.flip("one")
    assert web.text("/readyz") == "ready\n" and web.metrics()["certflip_state_writable"] == 1


def test_not_ready_when_no_device_can_connect(plant):
    port = free_port()
    site = plant([], status={"enabled": True, "port": port})
    web = Web(port)
    web.wait_ready()
    assert web.text("/readyz") == "ready\n", "without devices there is nothing wrong"
    site.pki.prepare(["one"])
    site.gateway.install("one")
    chain, key = (site.folder + "/gateway/identities/one/old/" + f for f in ("chain.pem", "key.pem"))
    with open(key, encoding="ascii") as f:
        kept = f.read()
    with open(key, "w", encoding="ascii") as f:
        f.write("no key\n")
    site.gateway.reload()
    assert "no device can connect" in web.text("/readyz", 503), chain
    with open(key, "w", encoding="ascii") as f:
        f.write(kept)
    site.gateway.reload()
    assert web.text("/readyz") == "ready\n"


# -- who may ask, and what

def test_only_to_be_looked_at(web):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FLIP"):
        answer = web.ask("/metrics", method)
        assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD", method
    assert web.ask("/metrics", "POST", body=b"x" * 100000).status == 405
    assert web.ask("/metrics", "GET", body=b"x").status == 400
    whole, head = web.ask("/healthz"), web.ask("/healthz", "HEAD")
    assert head.status == 200 and head.body == b"" and head.headers["Content-Length"] == str(len(whole.body))


@pytest.mark.parametrize("name, status", [
    ("127.0.0.1", 200), ("[::1]:1", 200), ("localhost", 200), ("LOCALHOST:{port}", 200), ("gw-test", 200),
    (socket.gethostname(), 200), ("evil.example.com", 421), ("localhost.evil.example.com", 421), ("", 421),
    ("127.0.0.1.evil.example.com:80", 421), ("x" * 300, 421), ("[", 421)])
def test_a_foreign_page_cannot_ask(web, name, status):
    """A name of somebody else's that leads to this address is not answered."""
    answer = web.ask("/healthz", headers={"Host": name.replace("{port}", str(PORT))})
    assert answer.status == status
    assert status == 200 or b"status.hosts" in answer.body


def test_what_a_browser_is_told(web):
    headers = web.ask("/healthz").headers
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("path", [
    "/nothing", "/metrics/", "//metrics", "/../metrics", "/healthz/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
    "/metrics%00", "/.git/config", "/api", "/api/v1/", "/api/v1/status/x", "/\\", "/%", "/%zz", "*"])
def test_paths_that_are_none(web, path):
    first = web.raw(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
    assert first.split(b" ")[1] in (b"404", b"400", b"200" if path == "/metrics%00" else b"404"), first[:200]


# -- those who mean harm

def _alive(web):
    assert web.text("/healthz") == "healthy\n"


@pytest.mark.parametrize("head", [
    b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    b"GET /healthz?" + b"a=b&" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00" * 100000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 40, b"GET\r\n\r\n", b"\r\n" * 50000,
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06dev-01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
], ids=range(11))
def test_requests_that_are_none(web, head):
    reply = web.raw(head, 40)
    assert b" 200 " not in reply[:16]
    _alive(web)


@pytest.mark.threads
def test_many_and_slow_visitors_disturb_nobody(site, web):
    """More connections than are taken, most of which never end their request, and some that read no answer: sensors
    are served and flipped meanwhile, and who asks properly gets an answer once those are sent away."""
    device = site.fresh()
    streams = site.streams([device], interval=0.01)
    crowd = []
    try:
        for i in range(100):
            s = socket.create_connection(("127.0.0.1", PORT))
            crowd.append(s)
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + (b"\r\n" * 1 if i % 10 == 0 else b"X: "))
        streams.progress(30)
        site.gateway.flip(device, probation_s=1)
        site.gateway.wait_device(device, phase="committed")
        _alive(web)
        assert web.metrics()["certflip_http_connections"] <= 64
        streams.progress(30)
        streams.prove()
    finally:
        for s in crowd:
            s.close()


# -- where it listens

def test_a_port_in_use_keeps_no_sensor_out(plant):
    port, other = free_port(), free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        site = plant(["one"], status={"enabled": True, "port": port})
        site.connect("one")
        line = site.gateway.log.wait("status-unavailable .*").group()
        assert "127.0.0.1 port %d" % port in line and "todo=" in line
        site.gateway.conf["status"]["port"] = other
        site.gateway.reload()
        assert Web(other).text("/healthz") == "healthy\n"
    site.gateway.conf["status"]["port"] = port
    site.gateway.reload()
    assert Web(port).text("/healthz") == "healthy\n"
    with pytest.raises(ConnectionRefusedError):
        Web(other).ask("/healthz")
    site.gateway.conf["status"]["enabled"] = False
    site.gateway.reload()
    with pytest.raises(ConnectionRefusedError):
        Web(port).ask("/healthz")


@pytest.mark.parametrize("address, remote, fault", [
    ("0.0.0.0", False, "can be reached from other machines"), ("192.0.2.1", False, "can be reached from other machines"),
    ("::", False, "can be reached from other machines"), ("localhost", False, "is no IP address"),
    ("0.0.0.0", True, None), ("127.3.4.5", False, None), ("::1", False, None)])
def test_others_reach_it_only_on_purpose(tmp_path, site, address, remote, fault):
    conf = dict(site.gateway.conf, status={"address": address, "allow_remote": remote})
    path = tmp_path / "certflip.conf"
    path.write_text(config_text(conf), encoding="utf-8")
    code, said = check_config(path)
    assert (code != 0) == (fault is not None) and (fault or "ok") in said, said


# -- what Prometheus and Grafana make of it

PACKAGING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging")


def _expressions():
    """{where: expression} of the alert rules and of the dashboard."""
    with open(os.path.join(PACKAGING, "prometheus", "certflip.rules.yml"), encoding="utf-8") as f:
        text = f.read()
    rules = re.findall(r"- alert: (\S+)\n +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text)
    assert len(rules) == text.count("- alert:") > 20
    out = {name: folded or plain for name, folded, plain in rules}
    with open(os.path.join(PACKAGING, "grafana", "certflip.json"), encoding="utf-8") as f:
        dashboard = json.load(f)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            out["panel %s, %s" % (panel["title"], target["refId"])] = target["expr"]
    for note in dashboard["annotations"]["list"]:
        out["annotation " + note["name"]] = note["expr"]
    return out


def test_rules_and_dashboard_ask_for_what_there_is(web):
    """Every metric that they name, with every label, and every value of one that is always there."""
    labels, families = {}, set()
    for line in web.text("/metrics").splitlines():
        if line.startswith("# TYPE"):
            families.add(line.split()[2])
            if line.endswith(" histogram"):
                families.update(line.split()[2] + end for end in ("_bucket", "_sum", "_count"))
        elif not line.startswith("#"):
            name, _, rest = line.partition("{")
            for label, value in re.findall(r'(\w+)="([^"]*)"', rest):
                labels.setdefault(name, {}).setdefault(label, set()).add(value)
    from_outside = {"instance", "job"}
    for where, expression in _expressions().items():
        named = re.findall(r"(certflip_\w+)(?:\{([^}]*)\})?", expression)
        assert named or 'up{job="certflip"' in expression, where
        for name, matchers in named:
            assert name in families, (where, name)
            for label, value in re.findall(r'(\w+)="([^"]*)"', matchers):
                assert label in from_outside or value in labels.get(name, {}).get(label, ()), (where, name, label, value)
        for label in re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", expression))):
            known = set().union(*(labels.get(name, {}) for name, _ in named)) | from_outside
            assert label in known or not any(labels.get(name) for name, _ in named), (where, label)


def test_the_dashboard_is_whole():
    with open(os.path.join(PACKAGING, "grafana", "certflip.json"), encoding="utf-8") as f:
        dashboard = json.load(f)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids) > 20 and dashboard["uid"] == "certflip"
    taken = {}
    for panel in dashboard["panels"]:
        g = panel["gridPos"]
        assert g["x"] + g["w"] <= 24, panel["title"]
        for cell in ((x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])):
            assert taken.setdefault(cell, panel["title"]) == panel["title"], (panel["title"], taken[cell])
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus")
@pytest.mark.parametrize("what", [("check", "rules", "certflip.rules.yml"), ("test", "rules", "certflip.test.yml")],
                         ids=["check", "test"])
def test_the_rules_hold(what):
    done = subprocess.run(["promtool", *what], cwd=os.path.join(PACKAGING, "prometheus"), text=True, capture_output=True,
                          check=False, timeout=seconds(30))
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done
