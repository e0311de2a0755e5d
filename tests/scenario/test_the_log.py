"""Where the log goes, what is found in it, and that nobody waits for whoever reads it."""

import fcntl
import json
import os
import re
import subprocess

import pytest

from lib import journal as _journal
from lib.gateway import binary
from lib.wait import seconds, until


# -- the journal


@pytest.fixture(scope="module")
def journal():
    why = _journal.unavailable()
    if why:
        pytest.skip("NOT TESTED: fields in a real journal: " + why)
    made = _journal.Journal()
    yield made
    made.close()


class UnderJournald:
    """A gateway as the service manager starts it: stderr leads to the journal, and JOURNAL_STREAM says so."""

    def __init__(self, site, journal):
        self.site = site
        self.journal = journal
        gateway = site.gateway
        gateway.host = journal
        with open(gateway.log.path, "ab") as f:
            seen = os.fstat(f.fileno())
        gateway.env["JOURNAL_STREAM"] = "%d:%d" % (seen.st_dev, seen.st_ino)

    def entries(self, *matches):
        return [json.loads(line) for line in self.journal.ctl("-o", "json", *matches).splitlines()]


@pytest.fixture
def under(plant, journal):
    site = plant(["press-07", "other", "saw-01"], start=False)
    made = UnderJournald(site, journal)
    with site:
        yield made


def test_journalctl_finds_a_device_by_its_field(under):
    """As the manual has it; each pair is a field, the priority is the level's."""
    under.site.connect("press-07")
    under.site.connect("other")
    until("both are there", lambda: len(under.entries("CERTFLIP_EVENT=session-begun")) >= 2, 10, 0.2)
    shown = under.journal.ctl("CERTFLIP_DEVICE=press-07")
    assert "session-begun device=press-07" in shown and "device=other" not in shown
    entry, = under.entries("CERTFLIP_DEVICE=press-07", "CERTFLIP_EVENT=session-begun")
    assert entry["PRIORITY"] == "6" and entry["SYSLOG_IDENTIFIER"] == "certflipd"
    assert entry["CERTFLIP_SUBSYSTEM"] == "session" and entry["CERTFLIP_LISTENER"] == "tls"
    assert entry["CERTFLIP_PEER"].startswith("127.0.0.1:") and entry["CERTFLIP_TLS"].startswith("TLSv1.")
    assert entry["_TRANSPORT"] == "journal" and entry["_PID"] == str(under.site.gateway.pid)
    assert "session-begun" not in under.site.gateway.log.text(), "it goes to one place"


def test_logs_come_from_the_journal(under):
    """certflipctl logs reads what journalctl does, when the daemon writes there; also of a daemon that is down."""
    site = under.site
    site.connect("saw-01")
    
    def logs(*args):
        return under.journal.run(binary("certflipctl"), "-s", site.gateway.control, "logs", *args)
    until("the line is there", lambda: "session-begun device=saw-01" in logs("--device", "saw-01").stdout, 10, 0.2)
    shown = logs("--device", "saw-01", "--event", "session-begun").stdout
    assert re.fullmatch(r"20\S+Z info session session-begun device=saw-01 peer=\S+ listener=tls version=\S+ tls=\S+\n", shown)
    row, = map(json.loads, logs("--device", "saw-01", "--event", "session-begun", "--json").stdout.splitlines())
    assert row["fields"]["device"] == "saw-01" and row["event"] == "session-begun" and row["subsystem"] == "session"
    assert "session-begun device=saw-01" in logs("--source", "memory", "--device", "saw-01").stdout, "it is in both"
    assert logs("--grep", "no such text").stderr.startswith("certflipctl: logs: no line is like that")
    latest = logs("--limit", "2").stdout.splitlines()
    assert len(latest) == 2 and latest == logs("--since", "1h").stdout.splitlines()[-2:]
    site.gateway.stop()
    last = logs("--limit", "1")
    assert last.returncode == 0 and " notice daemon stopped pid=" in last.stdout


# -- memory


def test_tls_failures_of_a_device_are_found(plant, pki):
    """By the words of the manual, at the broker's end and at the sensor's, on a gateway without a journal."""
    site = plant(["press-07", "press-1"], upstream={"anchors": [pki.old.cert]})  # which the broker's chain does not end at
    site.sensor("press-07").connect("press-07", expect=None)
    for name in ("press-07", "press-0"):
        with pytest.raises(ConnectionError):
            site.sensor(name, pair=pki.expired(name, "sensor")).connect(name)
    site.gateway.log.wait("session-refused.*press-07.*expired")

    def found(*args):
        return site.gateway.ctl("logs", "--device", "press-07", "--grep", "TLS handshake", *args)[1].splitlines()
    shown = found()
    assert any("warn tls.handshake uplink-failed device=press-07 slot=old class=trust" in line for line in shown), shown
    assert any(re.search(r"warn tls.handshake session-refused .*CN=press-07", line) for line in shown), shown
    assert all("TLS handshake" in line and "press-07" in line for line in shown)
    assert found("--event", "session-*") == [line for line in shown if "session-refused" in line]
    assert found("--level", "error") == [] and found("--since", "2h") == shown == found("--source", "memory")
    rows = [json.loads(line) for line in found("--json")]
    assert [r["event"] for r in rows] == [line.split()[3] for line in shown]
    assert shown[0] in site.gateway.log.text(), "it is the line that stderr got"


def test_logs_follow_through_a_restart(plant):
    site = plant(["press-07"])
    out = open(os.path.join(site.folder, "followed"), "w+", encoding="utf-8")
    follower = subprocess.Popen([binary("certflipctl"), "-s", site.gateway.control, "logs", "-f", "--event", "session-begun",
                                 "--limit", "5"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def lines():
        out.seek(0)
        return out.read().splitlines()
    try:
        site.connect("press-07", plain=True).cut()
        until("the line is followed", lambda: len(lines()) == 1)
        site.gateway.restart()
        site.connect("press-07", plain=True)
        until("the new one's line, too", lambda: len([l for l in lines() if "session-begun" in l]) == 2)
        assert any("certflipd" in line and line.startswith("certflipctl: logs: -- ") for line in lines())
    finally:
        follower.terminate()
        follower.wait()
        out.close()


def test_logs_without_a_daemon(plant):
    site = plant(["press-07"])
    site.gateway.stop()
    status, _, err = site.gateway.ctl("logs", "--source", "memory", check=False)
    assert status == 3 and "control.sock" in err
    site.gateway.start()
    status, _, err = site.gateway.ctl("log", "no.such", "debug", check=False)
    assert status == 2 and "certflipctl log lists them all" in err


# -- stderr


def test_json_on_the_command_line(plant):
    """Whatever the configuration says, also after a reload."""
    site = plant(["dev"], start=False)
    site.gateway.program = _wrapped(site, "--log-format", "json")
    with site:
        site.gateway.reload()
        site.connect("dev")
        lines = site.gateway.log.text().splitlines()
    assert {"started", "session-begun"} <= {json.loads(line)["event"] for line in lines}
    done = subprocess.run([binary("certflipd"), "--log-format", "xml"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True, check=False)
    assert done.returncode == 2 and "--log-format text|json" in done.stderr


def _wrapped(site, *options):
    """A certflipd with more options."""
    path = os.path.join(site.gateway.folder, "certflipd-and")
    with open(path, "w", encoding="utf-8") as f:
        f.write('#!/bin/sh\nexec "%s" "$@" %s\n' % (binary("certflipd"), " ".join(options)))
    os.chmod(path, 0o755)
    return path


def test_nobody_waits_for_who_does_not_read(plant):
    """stderr is a pipe that is full: sensors are served on, and what was logged is there when somebody reads."""
    site = plant(["press-07", "press-08"], start=False, log={"levels": [{"subsystem": "*", "level": "debug"}], "repeat_burst": 0})
    path = os.path.join(site.gateway.folder, "fifo")
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        site.gateway.program = _wrapped(site, "2>'%s'" % path)
        with site:
            streams = site.streams(["press-07", "press-08"])
            for _ in range(60):
                site.sensor("nobody").connect("nobody", expect=5)
            streams.progress(20)
            streams.stop()
            streams.prove()
            text = b""
            while text.count(b"session-refused") < 60:
                text += until("what was logged comes", lambda: _read(pipe))
    finally:
        os.close(pipe)
    lines = text.decode().splitlines()[:-1]
    assert len(lines) > 120 and all(LINE.match(line) for line in lines)
    times = [line.split()[0] for line in lines if "handshake peer=" in line]
    assert len(times) >= 60 and not any("log-lost" in line for line in lines)


LINE = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|notice|info|debug) [a-z.]+ [a-z-]+ ")


def _read(pipe):
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return b""


# -- levels


SITE = {"devices": ["press-07", "press-08"]}


def test_levels_at_run_time(site):
    """The documented subsystems are those that there are; a level holds until the configuration has another one."""
    levels = site.gateway.ctl_json("log")["levels"]
    assert list(levels) == ["daemon", "config", "listen", "tls.handshake", "cert.validation", "mqtt", "session", "flip",
                            "store", "control", "central"]
    assert set(levels.values()) == {"info"}
    site.gateway.ctl("log", "tls.handshake", "debug")
    mark = site.gateway.log.mark()
    site.connect("press-08")
    site.gateway.log.wait(r"debug tls\.handshake handshake peer=.* version=TLSv1\.", mark)
    site.gateway.log.wait(r"debug tls\.handshake handshake device=press-08 slot=old upstream=broker version=TLSv1\.", mark)
    site.gateway.reload()
    assert site.gateway.ctl_json("log")["levels"]["tls.handshake"] == "debug"
    site.gateway.conf["log"]["levels"].append({"subsystem": "tls.handshake", "level": "warn"})
    site.gateway.reload()
    assert site.gateway.ctl_json("log")["levels"]["tls.handshake"] == "warn"
    site.gateway.ctl("log", "*", "error")
    answer = site.gateway.ctl_json("log", "*", "default")
    assert answer["levels"] == answer["configured"] == {**levels, "tls.handshake": "warn"}
    site.gateway.conf["log"]["levels"].pop()
    site.gateway.reload()
    assert site.gateway.ctl_json("log")["levels"] == levels


# -- repetition


def test_repetition_is_counted(plant):
    """A sensor that comes again and again; one that is refused for something else is not lost among its lines."""
    site = plant(["press-07"], log={"repeat_burst": 2, "repeat_window_s": int(seconds(3))})
    mark = site.gateway.log.mark()
    for _ in range(12):
        site.sensor("nobody").connect("nobody", expect=5)
    site.sensor("nobody-else").connect("nobody-else", expect=5)
    line = site.gateway.log.wait(r"session-refused .*repeated=10 .*device nobody .*", mark).group()
    assert re.search(r' repeated=10 seconds=\d+ msg="repeated 10 times in \d+ s: .+"$', line), line
    refused = site.gateway.log.lines("session-refused .*nobody", mark)
    assert len([l for l in refused if "repeated=" not in l and "nobody-else" not in l]) == 2
    assert len([l for l in refused if "nobody-else" in l]) == 1
    site.gateway.conf["log"]["repeat_burst"] = 0
    site.gateway.reload()
    mark = site.gateway.log.mark()
    for _ in range(6):
        site.sensor("nobody").connect("nobody", expect=5)
    until("each has its line", lambda: len(site.gateway.log.lines("session-refused .*nobody", mark)) == 6)
