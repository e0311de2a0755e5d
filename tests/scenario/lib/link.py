"""A bad link between the gateway and the broker: two hosts of their own (network namespaces) and link.c between them.

It needs root, network namespaces and TUN, and nothing else of the kernel: not tc netem, which many kernels lack, and which
can neither be cut in one step nor answer with RST.
"""

import ctypes
import functools
import os
import socket
import subprocess
import threading

from .gateway import build_dir

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_building = threading.Lock()


@functools.lru_cache(maxsize=None)
def program():
    """link.c, built as certflipd was."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    made = subprocess.run(["make", "-s", "-C", build_dir(), "tests/scenario/link"], stdin=subprocess.DEVNULL, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if made.returncode != 0:
        raise RuntimeError("link.c: " + made.stdout)
    return os.path.join(build_dir(), "tests", "scenario", "link")


def unavailable():
    """Why there can be no link on this machine, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    if subprocess.run(["unshare", "--net", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                      check=False).returncode != 0:
        return "no network namespaces here"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        return "/dev/net/tun: %s" % e.strerror
    return None


def _join(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Host:
    """One end of the link.  Its loopback is its own; `address` is how the other end reaches it."""

    def __init__(self, address, namespace):
        self.address = address
        self.enter = ("nsenter", "--net=" + namespace)  # before a command
        self._namespace = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)

    def socket(self, family, kind):
        """A socket of that host.  It stays one wherever it is used."""
        made = []

        def make():  # a thread of its own: which namespace one is in belongs to the thread
            try:
                _join(self._namespace)
                made.append(socket.socket(family, kind))
            except OSError as e:
                made.append(e)
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def close(self):
        os.close(self._namespace)


class Link:
    """`gateway` and `broker` are the hosts.  "up" is towards the broker.

    Nothing of it outlives this process: the namespaces have no name, and link.c ends when its standard input does.
    """

    WAYS = {"up": "ab", "down": "ba", "both": "both"}

    def __init__(self, seed=1):
        with _building:
            program()
        self.process = subprocess.Popen([program(), "198.51.100.1", "198.51.100.2", str(seed)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self._lock = threading.Lock()
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise RuntimeError("link.c ended with %d" % self.process.wait())
        self.gateway, self.broker = (
            Host("198.51.100.%d" % n, "/proc/%d/fd/%s" % (self.process.pid, fd)) for n, fd in enumerate(words[1:], 1))

    def _say(self, *words):
        with self._lock:
            self.process.stdin.write(" ".join(words) + "\n")
            answer = self.process.stdout.readline().split()
        if answer[:1] != ["ok"]:
            raise RuntimeError("link.c: %s: %s" % (" ".join(words), " ".join(answer) or "ended"))
        return [int(n) for n in answer[1:]]

    def set(self, way="both", **settings):
        """Settings as link.c has them, e.g. delay_us=25000; they stay until they are set again."""
        self._say("set", self.WAYS[way], *("%s=%s" % pair for pair in settings.items()))

    def weather(self, rtt_ms=0, loss=0.0, jitter_ms=0, late=0.0, rate=0):
        """The same both ways; `loss`, `late`: shares of 1; what is late comes a round trip later; `rate`: bytes/s."""
        self.set(delay_us=int(rtt_ms * 500), jitter_us=int(jitter_ms * 1000), loss_ppm=int(loss * 1e6),
                 late_ppm=int(late * 1e6), late_us=int(rtt_ms * 1000), rate=rate)

    def cut(self, way="both"):
        """Everything vanishes, with what is under way.  Nobody is told."""
        self.set(way, state="drop")

    def refuse(self, way="up"):
        """Everything is answered with RST."""
        self.set(way, state="reset")

    def mend(self, way="both"):
        self.set(way, state="pass", mtu=0)

    def count(self, way="both"):
        """(packets that came through, their bytes, packets that did not)."""
        return tuple(self._say("count", self.WAYS[way]))

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        self.gateway.close()
        self.broker.close()
        assert code == 0, "link.c ended with %d" % code

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
