"""A machine of its own for whoever follows the manual: certflip installed where the package has it, root, a network
without anybody else, and nothing that stays.

The root is an overlay over this machine's: whatever is written is gone with the Machine.  Names and addresses are those
that the documents use.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile

from . import journal
from .gateway import SANITIZER, binary, build_dir
from .screen import Screen
from .wait import seconds

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))
# What an integrator has before the first page: CAs, brokers, sensors.  See the file.
PLANT = os.path.join(TOP, "tests/scenario/data/plant.sh")

# A systemd-journald there; it is ready when this ends.
JOURNALD = """
mkdir -p /run/systemd/journald.conf.d /run/systemd/journal /run/log/journal
printf '[Journal]\\nReadKMsg=no\\nAudit=no\\nRateLimitBurst=0\\nStorage=volatile\\n' >/run/systemd/journald.conf.d/test.conf
[ -s /etc/machine-id ] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
setsid %s >/var/log/journald.log 2>&1 </dev/null &
python3 -Ic 'import socket, time
for left in range(500, -1, -1):
    try:
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("/run/systemd/journal/stdout")
        break
    except OSError:
        if left == 0:
            raise
        time.sleep(0.02)'
""" % journal.DAEMON

# PID 1 of the machine: makes it, and lives until its standard input ends.
INIT = r"""
set -eu
read -r pid rest < /proc/self/stat
mount --make-rprivate /
mount -t tmpfs -o size=1g tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
for empty in tmp run media dev/shm; do mount -t tmpfs tmpfs "$empty"; done
chmod 1777 tmp dev/shm  # faketime's semaphores have the names of processes, which several machines have
mount -t tmpfs -o mode=700 tmpfs root
hostname gw-hall-3
ip link set lo up
for address in 192.0.2.1 192.0.2.80 192.0.2.81; do ip address add $address/32 dev lo; done
echo "$pid"
exec chroot . /usr/bin/python3 -Ic 'import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
sys.stdin.read()'
"""

HOSTS = """127.0.0.1 localhost
192.0.2.1 gw-hall-3 gw-hall-3.example.com
192.0.2.80 broker.example.com
192.0.2.81 new-broker.example.com
"""

# What of systemctl(1) the documents use, by what the unit says.  There is no service manager here.
SYSTEMCTL = r"""#!/bin/bash
set -euo pipefail
pidfile=/run/certflipd.pid
unit=/lib/systemd/system/certflip.service
setting() { sed -n "s/^$1=//p" "$unit"; }
running() { [ -s $pidfile ] && kill -0 "$(cat $pidfile)" 2>/dev/null; }
as() { setpriv --reuid="$(setting User)" --regid="$(setting Group)" --init-groups --no-new-privs --reset-env \
    env ${ASAN_OPTIONS+"ASAN_OPTIONS=$ASAN_OPTIONS"} "$@"; }
start() {
    if running; then return 0; fi
    for dir in RuntimeDirectory:/run StateDirectory:/var/lib; do
        install -d -o "$(setting User)" -g "$(setting Group)" -m "$(setting "${dir%%:*}Mode")" \
            "${dir#*:}/$(setting "${dir%%:*}")"
    done
    ulimit -n "$(ulimit -Hn)"
    as $(setting ExecStartPre) >>/var/log/certflip.log 2>&1 || failed
    python3 /usr/lib/notify-wait $pidfile setpriv --reuid="$(setting User)" --regid="$(setting Group)" --init-groups \
        --no-new-privs $(setting ExecStart) >>/var/log/certflip.log 2>&1 || failed
}
stop() {
    running || return 0
    local pid
    pid=$(cat $pidfile)
    kill "$pid"
    for _ in $(seq 400); do if running; then sleep 0.05; fi; done
    if running; then echo "certflipd does not end" >&2; exit 1; fi
    rm -rf $pidfile /run/certflip
}
failed() {
    echo "Job for certflip.service failed because the control process exited with error code." >&2
    exit 1
}
words=()
now=
for word; do
    case $word in
    --now) now=1 ;;
    -*) ;;
    *) words+=("$word") ;;
    esac
done
case "${words[*]}" in
daemon-reload | 'enable certflip' | 'enable certflip-status') if [ -n "$now" ]; then start; fi ;;
'start certflip') start ;;
'stop certflip') stop ;;
'restart certflip') stop; start ;;
'try-restart certflip') if running; then stop; start; fi ;;
'reload certflip') running && kill -HUP "$(cat $pidfile)" ;;
'is-active certflip') if running; then echo active; else echo inactive; exit 3; fi ;;
*) echo "systemctl ${words[*]}: not known here" >&2; exit 2 ;;
esac
"""

# Starts a Type=notify service, and returns when it is ready.  Its stderr leads to the journal where there is one, as
# systemd.exec(5) has it (StandardError=journal, JOURNAL_STREAM).
NOTIFY_WAIT = r"""import os, signal, socket, subprocess, sys
path = "/run/notify.%d" % os.getpid()
more = {}
if os.path.exists("/run/systemd/journal/stdout"):
    j = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    j.connect("/run/systemd/journal/stdout")
    j.sendall(b"certflipd\ncertflip.service\n6\n1\n0\n0\n0\n")
    os.dup2(j.fileno(), 2)
    more["JOURNAL_STREAM"] = "%d:%d" % (os.fstat(2).st_dev, os.fstat(2).st_ino)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.bind(path)
    os.chmod(path, 0o777)
    s.settimeout(0.1)
    p = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, env={**os.environ, **more, "NOTIFY_SOCKET": path},
                         start_new_session=True)
    with open(sys.argv[1], "w") as f:
        f.write(str(p.pid))
    while True:
        try:
            if b"READY=1" in s.recv(4096):
                break
        except TimeoutError:
            if p.poll() is not None:
                sys.exit(1)
os.unlink(path)
"""


def unavailable():
    """Why there can be no machine here; None when there can."""
    if os.geteuid() != 0:
        return "not root: no mounts"
    done = subprocess.run(["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "sh", "-c",
                           "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && "
                           "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return None if done.returncode == 0 else "no namespaces or no overlays here: " + done.stderr.strip()


def compiled_paths():
    """Where this build looks for its configuration, state and run directory."""
    with open(os.path.join(build_dir(), "Makefile"), encoding="utf-8") as f:
        given = dict(re.findall(r"^(prefix|sysconfdir|localstatedir|runstatedir) = (.*)$", f.read(), re.M))
    for _ in range(3):
        given = {k: re.sub(r"\$\{(\w+)\}", lambda m: given[m[1]], v) for k, v in given.items()}
    return {given["sysconfdir"] + "/certflip": "/etc/certflip", given["localstatedir"] + "/lib/certflip":
            "/var/lib/certflip", given["runstatedir"] + "/certflip": "/run/certflip"}


class Machine:
    """run() runs a script there, from the working directory and environment that the one before has left."""

    def __init__(self):
        self.mounted = tempfile.mkdtemp(prefix="certflip-machine-")
        self.init = subprocess.Popen(["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child",
                                      "bash", "-c", INIT, "init", self.mounted],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.init.stdout.readline().strip()
        if not self.pid or self.init.stdout.readline() != "up\n":
            raise RuntimeError("no machine")
        self.root = "/proc/%s/root" % self.pid
        self._install()

    # -- files there

    def path(self, path):
        return self.root + path

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(path), mode)

    def read(self, path):
        with open(self.path(path), encoding="utf-8", errors="replace") as f:
            return f.read()

    def _install(self):
        """As debian/certflip.install and postinst do."""
        self.write("/etc/hosts", HOSTS)
        self.write("/usr/bin/systemctl", SYSTEMCTL, 0o755)
        self.write("/usr/lib/notify-wait", NOTIFY_WAIT)
        for name, where in (("certflipd", "/usr/sbin"), ("certflipctl", "/usr/bin"), ("certflip-fleet", "/usr/bin")):
            try:
                shutil.copy(binary(name), self.path(where))
            except RuntimeError:
                if name != "certflip-fleet":
                    raise
        shutil.copy(os.path.join(TOP, "packaging/systemd/certflip.service"), self.path("/lib/systemd/system/"))
        shutil.copy(os.path.join(TOP, "conf/certflip.conf"), self.path("/tmp/"))  # the tree may lie where we have no eyes
        self.run("""
            grep -q '^certflip:' /etc/group || echo 'certflip:x:64999:' >>/etc/group
            grep -q '^certflip:' /etc/passwd ||
                echo 'certflip:x:64999:64999::/var/lib/certflip:/usr/sbin/nologin' >>/etc/passwd
            install -d -o root -g certflip -m 750 /etc/certflip /etc/certflip/conf.d /etc/certflip/tls
            install -d -o certflip -g certflip -m 750 /var/lib/certflip /var/lib/certflip/identities
            install -o root -g certflip -m 640 /tmp/certflip.conf /etc/certflip/certflip.conf
        """)
        for compiled, documented in compiled_paths().items():
            if compiled != documented:
                self.run("mkdir -p %s && ln -sfn %s %s" % (os.path.dirname(compiled), documented, compiled))

    # -- commands there

    def run(self, script, expect=0, timeout=60):
        """Run it by bash, where an error ends it; its output, both streams as they come."""
        whole = """set -eo pipefail
cd "$(cat /tmp/.cwd 2>/dev/null || echo /root)"
if [ -e /tmp/.env ]; then . /tmp/.env; fi
trap 'pwd >/tmp/.cwd; export -p >/tmp/.env' EXIT
""" + script + "\n"
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": "dumb",
               "ASAN_OPTIONS": "detect_leaks=0"}
        done = subprocess.run(["nsenter", "-t", self.pid, "-m", "-u", "-n", "-p", "--root", "--wd", "bash", "-c", whole],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=env, check=False, timeout=seconds(timeout))
        assert not SANITIZER.search(done.stdout), done.stdout
        assert done.returncode == expect, "exit status %d instead of %d:\n%s\n--- printed:\n%s\n--- the daemon's log:\n%s" % (
            done.returncode, expect, script, done.stdout, self.log()[-3000:])
        return done.stdout

    def terminal(self, script, seen, keys):
        """Run it on a terminal until `seen` is there, then press keys, which have to end it; what stood on the terminal."""
        screen = Screen(["/usr/bin/nsenter", "-t", self.pid, "-m", "-u", "-n", "-p", "--root", "--wd", "bash", "-c",
                         'cd "$(cat /tmp/.cwd 2>/dev/null || echo /root)" && exec ' + script], columns=120,
                        PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", ASAN_OPTIONS="detect_leaks=0")
        try:
            lines = screen.wait(seen, 30)
            screen.keys(keys)
            status = screen.wait_end()
        finally:
            screen.close()
        assert status in (0, -signal.SIGINT if keys == "\x03" else 0), "exit status %d:\n%s\n--- on the terminal:\n%s" % (status, script, screen.raw.decode(errors="replace"))
        return "\n".join(lines)

    def journald(self):
        """From now on there is a journal: services that start log into it.  None, or why that cannot be."""
        why = journal.unavailable()
        if why is None:
            self.run(JOURNALD)
        return why

    def background(self, script):
        """Run it until the machine ends."""
        return subprocess.Popen(["nsenter", "-t", self.pid, "-m", "-u", "-n", "-p", "--root", "--wd", "bash", "-c",
                                 "cd /root\n" + script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def log(self):
        try:
            text = self.read("/var/log/certflip.log")
        except OSError:
            text = ""
        if os.path.exists(self.path("/run/systemd/journal/stdout")):
            text += self.run("journalctl --no-pager -o cat -t certflipd || true")
        return text

    def close(self):
        self.init.stdin.close()
        try:
            self.init.wait(10)
        except subprocess.TimeoutExpired:
            self.init.send_signal(signal.SIGKILL)
            self.init.wait()
        self.init.stdout.close()
        os.rmdir(self.mounted)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
