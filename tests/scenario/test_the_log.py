"""Where the log goes, what is found in it, and that nobody waits for whoever reads it."""

import fcntl
import json
import os
import re
import subprocess

import pytest

from lib import journal as _journal
from lib.gateway import binary
from lib.wait import until


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
    site = plant(["press-07", "other"], start=False)
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
    site = plant(["press-07"], log={"repeat_burst": 2, "repeat_window_s": 3})
    mark = site.gateway.log.mark()
    for _ in range(12):
        site.sensor("nobody").connect("nobody", expect=5)
    site.sensor("nobody-else").connect("nobody-else", expect=5)
    line = site.gateway.log.wait(r"session-refused .*repeated=10 .*device nobody .*", mark).group()
    assert re.search(r' repeated=10 seconds=\d msg="repeated 10 times in \d s: .+"$', line), line
    refused = site.gateway.log.lines("session-refused .*nobody", mark)
    assert len([l for l in refused if "repeated=" not in l and "nobody-else" not in l]) == 2
    assert len([l for l in refused if "nobody-else" in l]) == 1
    site.gateway.conf["log"]["repeat_burst"] = 0
    site.gateway.reload()
    mark = site.gateway.log.mark()
    for _ in range(6):
        site.sensor("nobody").connect("nobody", expect=5)
    until("each has its line", lambda: len(site.gateway.log.lines("session-refused .*nobody", mark)) == 6)
