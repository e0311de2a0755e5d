"""A program on a terminal of its own, and what is seen there (pyte)."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

import pyte

from .wait import seconds, until


class Screen:
    """Rows and columns may change; `written` counts bytes, as they would go over a slow link."""

    def __init__(self, command, columns=80, rows=24, **env):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.status = None
        looked, look = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.read(looked, 1)  # before the program changes the modes, they are looked at
            os.environ.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env})
            os.environ.pop("NO_COLOR", None) if "NO_COLOR" not in env else None
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(self.fd)
        os.write(look, b"x")
        os.close(looked)
        os.close(look)

    def read(self, wait=0):
        """What has been written until now; False when the program has ended."""
        while select.select([self.fd], [], [], wait)[0]:
            try:
                got = os.read(self.fd, 65536)
            except OSError:
                got = b""
            if not got:
                return False
            self.raw += got
            self.stream.feed(got)
            wait = 0
        return True

    @property
    def lines(self):
        self.read()
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines)

    def wait(self, what, timeout=15):
        """Until this text is seen (or, of a function, until it is true of the lines)."""
        seen = what if callable(what) else lambda lines: any(what in line for line in lines)
        until(lambda: "%s is seen:\n%s" % (what, self.text()), lambda: self.read(0.05) is not None and seen(self.lines), timeout,
              0.02)
        return self.lines

    def keys(self, text):
        os.write(self.fd, text.encode())

    def resize(self, columns, rows):
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def bytes_in(self, duration):
        """How many bytes come in so many seconds, when nobody does anything."""
        self.read()
        before, end = len(self.raw), time.monotonic() + duration
        while time.monotonic() < end:
            self.read(max(0, end - time.monotonic()))
        return len(self.raw) - before

    def end(self, number=None):
        """Send a signal, if any; returns (exit status or -signal, is the terminal as it was)."""
        if number is not None:
            os.kill(self.pid, number)
        return self.wait_end()

    def wait_end(self):
        deadline = time.monotonic() + seconds(10)
        while self.read(0.05):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.status = -9
        os.close(self.fd)
