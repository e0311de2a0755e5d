"""A real ejabberd with mod_mqtt: the second broker, written by other people in another language (HACKING.md tells how it
differs from mosquitto).

It checks the client's certificate after TLS and refuses in CONNACK; its user is the certificate's CN, which has to be the
client id of who sends no user name.  It does not tell which certificate it saw: `slot()` is unknown here.
"""

import glob
import os
import re
import shutil
import signal
import subprocess

from .broker import Seen
from .wait import Log, free_port, listening, until

CONF = """
loglevel: info
log_rotate_size: infinity
hosts: [localhost]
certfiles: ["{0.certificate}"]
c2s_cafile: "{0.anchors}"
auth_method: [anonymous]
anonymous_protocol: login_anon
allow_multiple_connections: true
disable_sasl_mechanisms: [digest-md5]
shaper_rules: {{}}
listen:
  - {{ip: "127.0.0.1", port: {0.port}, module: mod_mqtt, backlog: 1000, max_payload_size: 4194304}}
  - {{ip: "{0.address}", port: {0.tls_port}, module: mod_mqtt, backlog: 1000, max_payload_size: 4194304, tls: true,
     tls_verify: true}}
modules:
  mod_mqtt: {{max_queue: 100000, session_expiry: 3600}}
"""


def root():
    """ERL_LIBS of Debian's package, or None where it is not installed."""
    found = glob.glob("/usr/lib/*/ejabberd-*/ebin/mod_mqtt.beam")
    return os.path.dirname(os.path.dirname(os.path.dirname(found[0]))) if found and shutil.which("erl") else None


def unavailable():
    """Why there can be no ejabberd on this machine, or None."""
    return None if root() else "ejabberd is not installed"


class Ejabberd:
    """Ports as Mosquitto's: `tls_port` demands a client certificate, `port` a login (`observers`), no matter which."""

    observers = {"username": "observer", "password": "observer"}

    def __init__(self, folder, pki, anchors=None, server=None, host=None):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.port = free_port()
        self.tls_port = free_port()
        self.host = host
        self.address = host.address if host else "127.0.0.1"
        self.log = Log(os.path.join(self.folder, "ejabberd.log"))
        self.anchors = os.path.join(self.folder, "anchors.pem")
        shutil.copy(anchors or pki.both(), self.anchors)
        server = server or pki.server()
        self.certificate = os.path.join(self.folder, "server.pem")
        with open(self.certificate, "w", encoding="ascii") as out:
            for path in (server.chain, server.key):
                with open(path, encoding="ascii") as f:
                    out.write(f.read())
        os.chmod(self.certificate, 0o600)
        self.conf = os.path.join(self.folder, "ejabberd.yml")
        self.process = None
        self.write()

    def write(self):
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(CONF.format(self))

    def start(self):
        # Not a node of a cluster: no epmd, no cookie, nothing outside its folder.
        env = {**os.environ, "HOME": self.folder, "ERL_LIBS": root(), "EJABBERD_CONFIG_PATH": self.conf,
               "EJABBERD_LOG_PATH": self.log.path, "ERL_CRASH_DUMP_BYTES": "0"}
        command = ["erl", "-noinput", "+S", "2:2", "+sbwt", "none", "-mnesia", "dir", '"%s/mnesia"' % self.folder,
                   "-s", "ejabberd"]
        with open(os.path.join(self.folder, "erl.log"), "ab") as out:
            self.process = subprocess.Popen([*(self.host.enter if self.host else ()), *command], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, env=env, cwd=self.folder)
        until(lambda: "ejabberd listens; its log:\n" + self.log.tail(), self._up, 60)
        return self

    def _up(self):
        if self.process.poll() is not None:
            raise RuntimeError("ejabberd ended with %d:\n%s" % (self.process.returncode, self.log.tail()))
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

    _OPENED = r"(?:Opened|Reopened) MQTT session(?: via \S+)? for (?P<user>\S+?)/(?P<id>\S+) from"

    def seen(self, client_id=None, after=0):
        """Whose CONNECT was accepted, in order; what it does not log of them is None."""
        found = [Seen(m["id"], None, None, None, m["user"]) for m in re.finditer(self._OPENED, self.log.text()[after:])]
        return [s for s in found if client_id is None or s.client_id == client_id]

    def slot(self, client_id):
        """Unknown."""

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()
