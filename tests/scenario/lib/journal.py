"""A systemd-journald of a test's own, in a mount namespace of its own: no service manager is needed.

There are a /run, a /var/log and a machine id that nobody else sees.  It needs root and Debian's systemd package.
"""

import os
import shutil
import subprocess
import tempfile

from .wait import seconds, until

DAEMON = "/lib/systemd/systemd-journald"

SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/systemd/journald.conf.d /run/systemd/journal /run/log/journal /var/log/journal
printf '[Journal]\\nReadKMsg=no\\nAudit=no\\nRateLimitBurst=0\\nStorage=%s\\n' "$3" >/run/systemd/journald.conf.d/test.conf
echo 0123456789abcdef0123456789abcdef >"$1/machine-id"
[ -e /etc/machine-id ] && mount --bind "$1/machine-id" /etc/machine-id
"$2" & echo $! >"$1/journald.pid"
exec sleep infinity
"""


def unavailable():
    """Why there can be no journald here, or None."""
    if os.geteuid() != 0:
        return "a mount namespace needs root"
    if not os.access(DAEMON, os.X_OK) or shutil.which("journalctl") is None:
        return "systemd is not installed"
    if not os.path.exists("/etc/machine-id"):
        return "there is no /etc/machine-id to put another one over"
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/var/log"], stdin=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return "no mount namespaces here"
    return None


class Journal:
    """`enter` stands before a command that is to see it; usable as the host of a Certflipd."""

    address = "127.0.0.1"

    def __init__(self, storage="volatile"):
        self.folder = tempfile.mkdtemp(prefix="certflip-journal-")
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", SETUP, "sh", self.folder, DAEMON, storage], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.enter = ("nsenter", "--mount=/proc/%d/ns/mnt" % self._holder.pid)
        until("journald has its socket", lambda: self.run("test", "-S", "/run/systemd/journal/socket").returncode == 0, 20, 0.1)

    def run(self, *command):
        return subprocess.run([*self.enter, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=seconds(20))

    def ctl(self, *args):
        """What journalctl prints."""
        done = self.run("journalctl", "--no-pager", *args)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def close(self):
        pid = os.path.join(self.folder, "journald.pid")
        if os.path.exists(pid):
            with open(pid, encoding="ascii") as f:
                os.kill(int(f.read()), 9)
        self._holder.kill()
        self._holder.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)
