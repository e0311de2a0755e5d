"""Power cuts: a gateway whose power a test can cut at any named point, and what must hold when it is back.

The points are those of src/base/crash.h; only builds of configure --enable-crash-points have them.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile

from .gateway import Refused, binary
from .wait import seconds, until

ACTIVE = {"steady": "old", "staged": "old", "trial": "new", "committed": "new", "rolled-back": "old"}


def crash_points():
    """{name: whether an error can be armed there}; empty where they are not compiled in."""
    done = subprocess.run([binary("certflipd"), "--crash-points"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False, timeout=seconds(20))
    if done.returncode:
        return {}
    return {line.split()[0]: line.endswith(" fails") for line in done.stdout.splitlines()}


def read_journal(state):
    """What the database says, read by somebody else: {device: row}.  Whole, or AssertionError.

    A copy is read, so that the daemon finds what it left behind; and one of both files as they were at one time, where it
    is writing still.
    """
    files = [os.path.join(state, name) for name in ("certflip.db", "certflip.db-wal")]

    def stamps():
        return [(s.st_ino, s.st_size, s.st_mtime_ns) for s in map(os.stat, filter(os.path.exists, files))]
    with tempfile.TemporaryDirectory() as folder:
        before = None
        while before != stamps():
            before = stamps()
            for file in filter(os.path.exists, files):
                shutil.copy(file, folder)
        db = sqlite3.connect(os.path.join(folder, "certflip.db"))
        try:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            db.row_factory = sqlite3.Row
            rows = {r["name"]: dict(r) for r in db.execute("SELECT * FROM devices")}
            events = db.execute("SELECT count(*) FROM audit WHERE what LIKE 'phase %'").fetchone()[0]
            told = db.execute("SELECT value FROM \"values\" WHERE key = 'event-seq'").fetchone()
            assert (told[0] if told else 0) == events, "events and audit log are of one transaction"
        finally:
            db.close()
    for row in rows.values():
        assert row["phase"] in ACTIVE, row
        if row["phase"] == "trial":
            assert 0 <= row["attempts"] <= row["max_attempts"], row
        else:
            assert row["attempts"] == 0 and row["due_ms"] == 0 and row["dead_ms"] == 0, row
    return rows


class Power:
    """Arms points of a gateway and cuts its power; knows which phase each device may be in."""

    def __init__(self, site):
        self.site = site
        self.gateway = site.gateway
        self.armed = os.path.join(site.folder, "crash")
        self.gateway.env["CERTFLIP_CRASH"] = self.armed
        self.may = {}  # device -> phases that it may be in, for all that was answered
        self.disarm()

    def arm(self, line):
        # Renamed into place, so that no half of it is read.
        with open(self.armed + ".new", "w", encoding="ascii") as f:
            f.write(line)
        os.rename(self.armed + ".new", self.armed)

    def disarm(self):
        self.arm("")

    # -- commands, with an account of what they may have done

    def command(self, method, leads, **params):
        """`leads`: {device: (phase by this command, phases that may follow by themselves ...)}.  Returns whether it
        was answered; a refusal is raised."""
        for device, phases in leads.items():
            self.may[device] |= set(phases)
        try:
            self.gateway.rpc(method, **params)
        except Refused:
            raise
        except (OSError, ValueError):
            return False
        for device, phases in leads.items():
            self.may[device] = set(phases)
        return True

    # -- the end, and the beginning

    def dead(self):
        """Is the power cut?  A connection that just broke says that it will be."""
        return self.gateway.process.poll() is not None

    def wait_death(self, point=None, timeout=15):
        """Until the process is gone, by SIGKILL, and at that point.  The kernel takes a moment."""
        process = self.gateway.process
        until(lambda: "the power is cut at %s; the log:\n%s" % (point, self.gateway.log.tail()),
              lambda: process.poll() is not None, timeout)
        assert process.returncode == -signal.SIGKILL, (process.returncode, self.gateway.log.tail(60))
        self.gateway.process = None
        self.gateway.check_log()
        if point:
            assert self.gateway.log.lines("^crash-point: %s$" % point), self.gateway.log.tail()

    def boot(self):
        """Start again, and check every device against what was journalled.  Returns the journal of before."""
        self.disarm()
        journal = read_journal(self.gateway.state)
        for device, phases in self.may.items():
            assert journal[device]["phase"] in phases, (device, journal[device], phases)
        self.gateway.launch()
        shown = {d["device"]: d for d in self.gateway.rpc("device.list")["devices"]}
        for device in self.may:
            row, now = journal[device], shown[device]
            phase = row["phase"]
            if phase == "trial" and row["attempts"] >= row["max_attempts"]:
                phase = "rolled-back"
            assert (now["phase"], now["active"]) == (phase, ACTIVE[phase]), (row, now)
            if phase == "trial":
                assert now["attempts"] == row["attempts"], (row, now)
            self.may[device] = {phase}
        return journal
