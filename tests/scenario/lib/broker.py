"""A real mosquitto: mutual TLS for devices, a plain listener for the observer, its log to know whom it saw."""

import collections
import os
import re
import shutil
import signal
import subprocess
import threading

from . import clock
from .wait import BEGIN, Log, free_port, listening, until

Seen = collections.namedtuple("Seen", "client_id protocol clean keepalive user")

BINARY = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Mosquitto:
    """Ports: `tls_port` demands a client certificate, `port` demands nothing.

    `host`: where it runs (lib.link.Host), to be reached at `address`; None: here, at the loopback.
    """

    observers = {}  # what who connects to `port` has to say in CONNECT

    def __init__(self, folder, pki, anchors=None, crl=None, server=None, acl=None, name_from="subject",
                 tls_version=None, extra="", listener_extra="", host=None, clock=None):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.port = free_port()
        self.tls_port = free_port()
        self.log = Log(os.path.join(self.folder, "mosquitto.log"))
        self.conf = os.path.join(self.folder, "mosquitto.conf")
        self.anchors = os.path.join(self.folder, "anchors.pem")
        shutil.copy(anchors or pki.both(), self.anchors)
        self.crl = crl
        self.acl = None
        if acl is not None:
            self.acl = os.path.join(self.folder, "acl")
            with open(self.acl, "w", encoding="utf-8") as f:
                f.write(acl)
            os.chmod(self.acl, 0o600)
        self.server = server or pki.server()
        self.name_from = name_from
        self.tls_version = tls_version
        self.extra = extra
        self.listener_extra = listener_extra
        self.host = host
        self.address = host.address if host else "127.0.0.1"
        self.clock = clock  # "+800d": it lives in another time
        self.process = None
        self._reading = threading.Lock()
        self._read = BEGIN
        self._connections = []  # (where its line begins, Seen)
        self._latest = {}  # client id -> Seen
        self.write()

    def write(self):
        """Write the configuration anew; restart() makes it count."""
        lines = [
            # Not per listener: mosquitto 2.0.21 then denies what is queued for a client that is away.
            "log_dest stderr",
            "log_type all",
            "connection_messages true",
            "persistence false",
            "max_inflight_messages 1000",
            "max_queued_messages 100000",  # 0, for no bound, keeps nothing in some versions
            self.extra,
            "listener %d 127.0.0.1" % self.port,
            "allow_anonymous true",
            "listener %d %s" % (self.tls_port, self.address),
            "cafile " + self.anchors,
            "certfile " + self.server.chain,
            "keyfile " + self.server.key,
            "require_certificate true",
            "use_%s_as_username true" % self.name_from if self.name_from else "",
            self.listener_extra,
        ]
        if self.tls_version:
            lines.append("tls_version " + self.tls_version)
        if self.crl:
            lines.append("crlfile " + self.crl)
        if self.acl:
            lines.append("acl_file " + self.acl)
        if os.geteuid() == 0:
            lines.insert(0, "user root")
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write("\n".join(line for line in lines if line) + "\n")

    def start(self):
        out = open(self.log.path, "ab")
        with out:
            self.process = subprocess.Popen([*(self.host.enter if self.host else ()), BINARY, "-c", self.conf],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._environment())
        until(lambda: "mosquitto listens; its log:\n" + self.log.tail(), self._up)
        return self

    def _environment(self):
        if self.clock is None:
            return None
        return {**os.environ, "LD_PRELOAD": clock.library(), "FAKETIME": self.clock}

    def _up(self):
        if self.process.poll() is not None:
            raise RuntimeError("mosquitto ended with %d:\n%s" % (self.process.returncode, self.log.tail()))
        pid = self.process.pid
        return listening(self.port, pid=pid) and listening(self.tls_port, self.address, pid)

    def _end(self, number):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.clock is not None:
            clock.forget(self.process.pid)
        self.process = None

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def freeze(self):
        """Stop answering without closing anything, as behind a dead link."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def restart(self):
        self.stop()
        return self.start()

    _CONNECTED = (r"New client connected from \S+ as (?P<id>.*?) "
                  r"\(p(?P<p>\d+), c(?P<c>\d+), k(?P<k>\d+)(?:, u'(?P<u>.*)')?\)\.?$")

    def _read_on(self):
        """Take note of the connections that the log has got since the last time: it becomes long, and is asked often."""
        with self._reading:
            lines, at = self.log.whole_lines(self._read)
            begin = self._read.chars
            for m in re.finditer(self._CONNECTED, lines, re.M):
                seen = Seen(m["id"], int(m["p"]), m["c"] == "1", int(m["k"]), m["u"])
                self._connections.append((begin + m.start(), seen))
                self._latest[seen.client_id] = seen
            self._read = at

    def seen(self, client_id=None, after=0):
        """Who has connected, in order; `user` is what the certificate made of the client."""
        self._read_on()
        return [s for at, s in self._connections if at >= after and client_id in (None, s.client_id)]

    def user(self, client_id):
        """The certificate identity of the latest connection with that client id; None before there was one."""
        self._read_on()
        seen = self._latest.get(client_id)
        return seen.user if seen else None

    def slot(self, client_id):
        """"old" or "new": which identity the broker saw last for that client id."""
        user = self.user(client_id) or ""
        for slot in ("old", "new"):
            if "OU=" + slot in user:
                return slot
        return None

    def slots(self, after=0):
        """{client id: slot} of the latest connection of each since that many bytes of the log."""
        with open(self.log.path, "rb") as f:
            f.seek(after)
            text = f.read().decode(errors="replace")
        return {m["id"]: "new" if "OU=new" in (m["u"] or "") else "old"
                for m in re.finditer(self._CONNECTED, text, re.M)}

    def wait_slot(self, client_id, slot, timeout=10):
        until(lambda: "the broker sees the %s identity of %s (it saw: %s)" % (slot, client_id, self.seen(client_id)),
              lambda: self.slot(client_id) == slot, timeout)

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()
