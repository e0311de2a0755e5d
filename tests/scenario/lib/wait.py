"""Deadlines.  Nothing here sleeps for a guessed time: it waits until something holds, or says what did not."""

import collections
import io
import os
import random
import re
import socket
import threading
import time
import traceback

# One knob for slow machines and slow builds (sanitizers, valgrind).
FACTOR = float(os.environ.get("CERTFLIP_TEST_TIMEOUT_FACTOR", "1"))


def seconds(nominal):
    """How long `nominal` seconds are allowed to take here."""
    return nominal * FACTOR


class Late(AssertionError):
    """A condition did not come true in time."""


def until(what, condition, timeout=10, pause=0.01):
    """Wait for condition() to be true and return its value; `what` says in words what was awaited.

    `what` may be a function, so that the message can show the state at the end.
    """
    end = time.monotonic() + seconds(timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Late("after %g s still not so: %s" % (seconds(timeout), what() if callable(what) else what))
        time.sleep(pause)


def abreast(story, cases):
    """Run story(case) for all cases at the same time, each in a thread; then one failure that names every case that failed.

    For stories that wait more than they work.
    """
    faults = {}

    def run(case):
        try:
            story(case)
        except BaseException:  # told below
            faults[str(case)] = traceback.format_exc()
    threads = [threading.Thread(target=run, args=(case,), name=str(case), daemon=True) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, "%d of %d failed:\n" % (len(faults), len(threads)) + "\n".join(
        "--- %s\n%s" % fault for fault in sorted(faults.items()))


_given = set()
# Where several runs of tests go side by side (pytest -n), each has ports of its own.
_LANE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_LANES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port():
    """A TCP port of the loopback that nobody listens on, never the same twice in a run.

    None of those that the kernel gives to connections: one of them could take it before it is listened on.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        end = max(int(f.read().split()[0]), 12000)
    while True:
        port = random.randrange(10000, end)
        if port % _LANES != _LANE:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


def listening(port, host="127.0.0.1", pid="self"):
    """Does somebody accept connections there?  Asked of the kernel, so that the listener sees nothing.

    `pid`: a process in whose network namespace that is.
    """
    want = "%s:%04X" % ("".join("%02X" % b for b in reversed(socket.inet_aton(host))), port)
    anyone = "00000000:%04X" % port
    with open("/proc/%s/net/tcp" % pid, encoding="ascii") as f:
        for line in f.readlines()[1:]:
            field = line.split()
            if field[3] == "0A" and field[1] in (want, anyone):
                return True
    return False


Place = collections.namedtuple("Place", "bytes chars")  # in a log; characters as Log.text() counts them
BEGIN = Place(0, 0)


class Log:
    """A log file that is still being written."""

    def __init__(self, path):
        self.path = path

    def text(self):
        try:
            with open(self.path, "r", encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def whole_lines(self, place):
        """The lines from this Place on that are complete, and the Place behind them."""
        try:
            with open(self.path, "rb") as f:
                f.seek(place.bytes)
                data = f.read()
        except FileNotFoundError:
            return "", place
        data = data[:data.rfind(b"\n") + 1]
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace").read()
        return text, Place(place.bytes + len(data), place.chars + len(text))

    def mark(self):
        """The present end: pass it as `after` to look only at what comes later."""
        return len(self.text())

    def find(self, pattern, after=0):
        """All matches of the regular expression, as match objects."""
        return list(re.finditer(pattern, self.text()[after:], re.M))

    def wait(self, pattern, after=0, timeout=10):
        """The first match, once it is there."""
        return until(
            lambda: "%s in %s, whose end is:\n%s" % (pattern, self.path, self.tail()),
            lambda: (self.find(pattern, after) or [None])[0],
            timeout,
        )

    def lines(self, pattern, after=0):
        """The whole lines in which the pattern occurs."""
        return [line for line in self.text()[after:].splitlines() if re.search(pattern, line)]

    def tail(self, count=25):
        return "\n".join(self.text().splitlines()[-count:])
