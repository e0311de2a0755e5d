"""certflipctl watch, on terminals of several kinds and sizes."""

import os
import signal
import subprocess
import termios

import pytest

from lib.gateway import binary
from lib.screen import Screen
from lib.wait import until

DEVICES = ["dev-%02d" % i for i in range(1, 31)]
SITE = {"devices": DEVICES, "flip": {"probation_s": 900, "backoff_tls_s": [1]}}


@pytest.fixture
def watch(site):
    made = []

    def begin(*args, at=None, **options):
        s = Screen([binary("certflipctl"), "-s", (at or site).gateway.control, "watch", "--interval", "1", *args], **options)
        made.append(s)
        return s
    yield begin
    for s in made:
        s.close()


def _row(lines, device):
    return next((line for line in lines if line.startswith(device + " ")), "")


def test_the_gateway_at_a_glance(site, watch):
    """In 80 x 24: the gateway, the devices, the chosen one, what happened, the keys; the last line is the last row."""
    s = watch()
    lines = s.wait("30/30")
    assert lines[0].startswith("gw-test  certflipd 0.1.0  up ")
    assert lines[1].startswith("30 devices: ")
    assert lines[3].split() == ["DEVICE", "PHASE", "ON", "ID", "BROKER", "OLD", "NEW"]
    assert len(lines) == 24 and lines[23] == "30/30  q end  ? help  Enter details  f filter: all  s sort: need  / search"
    assert any("notice started" in line for line in lines[18:23])
    site.connect("dev-30")
    s.wait(lambda seen: _row(seen, "dev-30").split()[1:5] == [] or "dev-30" in "".join(seen))
    s.keys("G")
    s.wait(lambda seen: _row(seen, "dev-30").split()[1:5] == ["staged", "on", "old", "up"])
    s.keys("q")
    assert s.wait_end() == 0


def test_a_trial_counts_down_and_comes_first(site, watch):
    site.connect("dev-20")
    s = watch()
    s.wait("30/30")
    site.gateway.flip("dev-20", probation_s=100)
    first = s.wait(lambda seen: seen[4].startswith("dev-20 trial") and " s left" in seen[4])
    left = lambda line: int(line.split(" s left")[0].split()[-1])
    s.wait(lambda seen: seen[4].startswith("dev-20 trial") and left(seen[4]) < left(first[4]))
    assert any("staged -> trial: flip" in line for line in s.lines), s.text()
    site.gateway.rollback("dev-20")
    s.wait(lambda seen: _row(seen, "dev-20").split()[1:2] == ["rolled-back"])


def test_search_filter_sort_and_details(site, watch):
    s = watch()
    s.wait("30/30")
    s.keys("/v-1")
    s.wait("search: v-1_")
    s.wait(lambda seen: _row(seen, "dev-10") and not _row(seen, "dev-09"))
    s.keys("\r")
    s.wait("10/30  q end  ? help  Enter details  f filter: all  s sort: need  / search: v-1")
    s.keys("\x1b")
    s.wait("30/30")
    s.keys("/*-0[12]\r")
    s.wait("2/30 ")
    s.keys("j\r")
    s.wait(lambda seen: seen[3] == "dev-02" and any("CN=dev-02,OU=old,O=Plant" in line for line in seen))
    s.keys("\x1b")
    s.wait("DEVICE")
    s.keys("\x1b")
    s.wait("30/30")
    s.keys("f")
    s.wait("f filter: trials")
    s.keys("ffff")
    s.wait("f filter: all")
    s.keys("s")
    s.wait("s sort: name")
    s.keys("?")
    s.wait("Esc: back")
    s.keys("\x1b")
    s.wait("DEVICE")


def test_every_size(site, watch):
    """It follows the window, whatever it becomes, and says so where there is no room."""
    s = watch()
    s.wait("30/30")
    for columns, rows in ((132, 50), (80, 24), (60, 16), (40, 10), (200, 60)):
        s.resize(columns, rows)
        s.wait(lambda seen, rows=rows: len(seen) == rows and seen[rows - 1].startswith("30/30  q end") and
               any(line.startswith("DEVICE") for line in seen))
        assert all(len(line) <= columns for line in s.lines)
    s.resize(30, 8)
    s.wait("too small")
    s.resize(80, 24)
    s.wait("30/30")


@pytest.mark.parametrize("env, coloured", [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "vt100"}, False),
                                           ({"LC_ALL": "C"}, True)])
def test_colours_are_used_where_they_are_wanted(site, watch, env, coloured):
    s = watch(**env)
    s.wait("s sort: need")
    s.keys("q")
    assert s.wait_end() == 0
    assert (b"\x1b[32m" in s.raw or b"\x1b[39;49m" in s.raw) == coloured, s.raw[:400]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(site, watch, number):
    s = watch()
    s.wait("30/30")
    held = os.dup(s.fd)  # the modes can be asked for afterwards
    assert s.end(number) == 0
    after = termios.tcgetattr(held)
    os.close(held)
    assert after[:4] == s.modes[:4]
    assert s.raw.rstrip().endswith((b"\x1b[?1049l", b"\x1b>", b"\x1b[?12l\x1b[?25h")) or b"\x1b[?1049l" in s.raw[-80:]


def test_an_idle_gateway_costs_nothing(site, watch):
    """Nothing changes, so next to nothing is written: the link may be slow."""
    s = watch()
    s.wait("30/30")
    s.bytes_in(1.2)
    assert s.bytes_in(2.5) < 200, s.raw[-400:]


def test_nothing_a_sensor_says_reaches_the_terminal(site, watch):
    s = watch()
    s.wait("30/30")
    for name in ("\x1b]0;owned\x07", "\u009b2J\u202eevil"):
        client = site.sensor("dev-01", plain=True)
        try:
            client.connect(name, expect=None)
        except ConnectionError:
            pass
    s.wait(lambda seen: sum("session-refused" in line for line in seen) >= 2 or any("evil" in line for line in seen))
    assert b"\x1b]0;" not in s.raw and b"\x07" not in s.raw
    assert "\u009b".encode() not in s.raw and "\u202e".encode() not in s.raw


def test_the_daemon_goes_away_and_comes_back(plant, watch):
    site = plant(["dev-01", "dev-02"])
    s = watch(at=site)
    s.wait("2/2 ")
    site.gateway.kill()
    lines = s.wait("certflipd is not there; what it said last")
    assert _row(lines, "dev-01"), "what was known stays"
    site.gateway.install("dev-03")
    site.pki.prepare(["dev-03"])
    site.gateway.start()
    s.wait("3/3 ")
    s.wait(lambda seen: not any("is not there" in line for line in seen))
    s.keys("q")
    assert s.wait_end() == 0


def test_refusals(site):
    """It says what it needs, and leaves the output alone."""
    for env, said in (({}, "needs a terminal"),):
        done = subprocess.run([binary("certflipctl"), "-s", site.gateway.control, "watch"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, **env})
        assert done.returncode == 2 and said in done.stderr and done.stdout == ""
    s = Screen([binary("certflipctl"), "-s", site.gateway.control, "watch"], TERM="no-such-terminal")
    until("it has ended", lambda: not s.read(0.1))
    assert s.wait_end() == 2 and b"set TERM" in s.raw
    s.close()
