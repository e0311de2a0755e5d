"""The daemon under test, its configuration, and who commands it."""

import copy
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import pki as _pki
from .contract import check_exchange
from .wait import Log, free_port, seconds, until

RUN = "certflip-run-"  # a folder of sockets
# What no run of ours may ever print.
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "%s.supp")
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error: )")


def build_dir():
    """Where the programs under test are: CERTFLIP_BUILD (pytest's --builddir sets it)."""
    found = os.environ.get("CERTFLIP_BUILD")
    if not found:
        raise RuntimeError("say where certflip was built: CERTFLIP_BUILD=DIR, or --builddir DIR")
    return os.path.abspath(found)


def binary(name):
    for sub in (".", "sbin", "bin", "src/daemon", "src/cli"):
        path = os.path.join(build_dir(), sub, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise RuntimeError("no %s under %s" % (name, build_dir()))


def sanitizer():
    """"asan", "tsan" or None: what the programs under test were built with."""
    with open(binary("certflipd"), "rb") as f:
        image = f.read()
    return next((name for name in ("asan", "tsan") if b"__%s_init" % name.encode() in image), None)


def libconfig(value, indent=0):
    """Python values as libconfig text."""
    pad = "  " * (indent + 1)
    if isinstance(value, dict):
        return "{\n%s%s}" % ("".join("%s%s = %s;\n" % (pad, k, libconfig(v, indent + 1))
                                     for k, v in value.items() if v is not None), "  " * indent)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(v, dict) for v in value):
            return "(\n%s%s)" % (",\n".join(pad + libconfig(v, indent + 1) for v in value) + "\n", "  " * indent)
        return "[ %s ]" % ", ".join(libconfig(v) for v in value)
    raise TypeError(value)


def config_text(conf):
    return "".join("%s = %s;\n" % (k, libconfig(v)) for k, v in conf.items() if v is not None)


def merge(base, changes):
    """Groups are merged, everything else is replaced; None takes a key away."""
    out = copy.copy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


class Refused(Exception):
    """The daemon answered a command with an error; `error` is the JSON-RPC object."""

    def __init__(self, error):
        super().__init__("%s: %s" % (error.get("data", {}).get("name", error["code"]), error["message"]))
        self.error = error
        self.name = error.get("data", {}).get("name")


class Certflipd:
    """One daemon: TLS listener at `port`, plaintext listener at `plain_port`, both on the loopback.

    `listener`, `upstream`: keys that differ from the defaults below; `conf`: the same for everything else.
    `host`: where it runs (lib.link.Host); None: here.
    `conf` is a dict that tests may change before (re)start or reload; write() puts it on disk.
    """

    def __init__(self, folder, pki, broker, listener=None, upstream=None, rules=None, host=None, **changes):
        self.folder = str(folder)
        self.host = host
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o755)
        self.pki = pki
        self.broker = broker
        self.port = free_port()
        self.plain_port = free_port()
        self.identities = os.path.join(self.folder, "identities")
        self.state = os.path.join(self.folder, "state")
        # A socket's path is short, a test's folder is not.
        self.run = tempfile.mkdtemp(prefix=RUN)
        os.chmod(self.run, 0o755)
        self.control = os.path.join(self.run, "control.sock")
        self.path = os.path.join(self.folder, "certflip.conf")
        self.log = Log(os.path.join(self.folder, "certflipd.log"))
        self.process = None
        self.exit_allowed = (0,)
        self.env = {}  # more environment for the daemon
        self.program = None  # another certflipd than that of CERTFLIP_BUILD
        os.makedirs(self.identities, exist_ok=True)
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        server = pki.server()
        self.conf = merge({
            "gateway": "gw-test",
            "workers": 2,
            "identities": self.identities,
            "state": self.state,
            "include_dir": "",
            "control": {"socket": self.control},
            "listeners": [
                merge({
                    "name": "tls", "type": "tls", "address": "127.0.0.1", "port": self.port,
                    "chains": [{"chain": server.chain, "key": server.key}],
                    "anchors": [pki.old.cert, pki.new.cert],
                    "client_cert": "require",
                    "tls_min": "1.2", "tls_max": "1.3",
                }, listener or {}),
                {"name": "plain", "type": "plaintext", "address": "127.0.0.1", "port": self.plain_port,
                 "allow": ["127.0.0.0/8"]},
            ],
            "upstreams": [
                merge({
                    "name": "broker", "address": getattr(broker, "address", "127.0.0.1"),
                    "port": broker.tls_port if broker else 1,
                    "server_name": "localhost", "anchors": [pki.server_ca.cert],
                }, upstream or {}),
            ],
            "devices": rules or [
                # Over TLS the certificate names the device, on the plaintext listener its client id does.
                {"name": "{cn}", "match": {"listener": "tls"}},
                {"name": "{client_id}", "match": {"listener": "plain"}},
            ],
            # What a sensor may take for its part, by default, and more where all is slow.
            "limits": {"packet_bytes": "4MiB", "handshake_timeout_ms": int(seconds(20000)),
                       "connect_timeout_ms": int(seconds(20000))},
            "flip": {"probation_s": 1, "backoff_tls_s": [1], "backoff_network_s": [1]},
            "clock": {"require_sync": False},  # that of a container or a builder seldom is
            "status": {"enabled": False},
            "log": {"levels": [{"subsystem": "*", "level": "info"}]},
        }, changes)

    # -- files

    def write(self):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(config_text(self.conf))

    def install(self, device, old=True, new=True):
        """Identities of a device: True for the usual ones, a Pair for that one, False for none."""
        for slot, pair in (("old", old), ("new", new)):
            if pair:
                _pki.install(self.identities, device, slot, self.pki.identity(device, slot) if pair is True else pair)

    def listener(self, name="tls"):
        return next(l for l in self.conf["listeners"] if l["name"] == name)

    def upstream(self):
        return self.conf["upstreams"][0]

    # -- the process

    def start(self, wait=True):
        self.write()
        return self.launch(wait)

    def launch(self, wait=True, wrap=()):
        """Start with the configuration that is on disk."""
        env = {**os.environ, **self.env}
        env["TSAN_OPTIONS"] = env.get("TSAN_OPTIONS", "") + ":suppressions=" + SUPPRESSIONS % "tsan"
        env["LSAN_OPTIONS"] = env.get("LSAN_OPTIONS", "") + ":print_suppressions=0:suppressions=" + SUPPRESSIONS % "lsan"
        with open(self.log.path, "ab") as out:
            program = self.program or binary("certflipd")
            self.process = subprocess.Popen([*(self.host.enter if self.host else ()), *wrap, program,
                                             "-c", self.path], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        if wait:
            until(lambda: "certflipd answers on its control socket; its log:\n" + self.log.tail(), self._ready, 30)
        return self

    def _ready(self):
        if self.process.poll() is not None:
            raise RuntimeError("certflipd ended with %d:\n%s" % (self.process.returncode, self.log.tail(60)))
        try:
            self.rpc("status")
            return True
        except OSError:
            return False

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, timeout=20):
        """The exit status of a daemon that ends by itself."""
        code = self.process.wait(seconds(timeout))
        self.process = None
        self.check_log()
        return code

    def stop(self):
        """SIGTERM; the exit status must be right and no sanitizer may have spoken."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds(20))
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            self.process = None
            raise AssertionError("certflipd does not end on SIGTERM:\n" + self.log.tail(60)) from None
        self.process = None
        self.check_log()
        assert code in self.exit_allowed, "certflipd ended with %d:\n%s" % (code, self.log.tail(60))

    def kill(self):
        """SIGKILL, as by a power cut."""
        self.process.kill()
        self.process.wait()
        self.process = None
        self.check_log()

    def restart(self):
        self.stop()
        return self.start()

    def check_log(self):
        text = self.log.text()
        found = SANITIZER.search(text)
        assert not found, text[max(0, found.start() - 400):found.start() + 6000]

    def hangup(self):
        self.process.send_signal(signal.SIGHUP)

    def reload(self):
        """Write the configuration and have it read; returns the reply, raises Refused."""
        self.write()
        return self.rpc("config.reload")

    def rss_kib(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def cpu_s(self):
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as f:
            field = f.read().rsplit(") ", 1)[1].split()
        return (int(field[11]) + int(field[12])) / os.sysconf("SC_CLK_TCK")

    # -- commands, straight through the control socket

    def call(self, *lines, timeout=10):
        """Send lines as they are; one parsed reply for each.  All of it has to be as the schemas say."""
        replies = []
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(seconds(timeout))
            s.connect(self.control)
            s.sendall(b"".join((l if isinstance(l, bytes) else l.encode()) + b"\n" for l in lines))
            with s.makefile("rb") as f:
                for _ in lines:
                    line = f.readline()
                    if not line:
                        raise ConnectionError("the control socket was closed")
                    replies.append(json.loads(line))
        check_exchange(lines, replies)
        return replies

    _ids = itertools.count(1)

    def rpc(self, method, **params):
        """One command; its result, or Refused."""
        request = {"jsonrpc": "2.0", "id": "t%d-%d" % (os.getpid(), next(self._ids)), "method": method,
                   "params": params}
        reply = self.call(json.dumps(request))[0]
        assert reply["jsonrpc"] == "2.0" and reply["id"] == request["id"], reply
        if "error" in reply:
            raise Refused(reply["error"])
        return reply["result"]

    def device(self, name):
        return self.rpc("device.get", device=name)

    def wait_device(self, name, timeout=15, **expected):
        """Wait until device.get says so: wait_device("press-01", phase="committed", active="new")."""
        last = {}

        def so():
            last.clear()
            last.update(self.device(name))
            return all(last.get(k) == v for k, v in expected.items())
        until(lambda: "%s of %s, which is %s\n%s" % (expected, name, json.dumps(last, indent=1), self.log.tail(15)),
              so, timeout, 0.02)
        return last

    def counters(self):
        """Those of the workers, of now: `status` shows what they said when they were asked last, within a second."""
        begun = time.monotonic()

        def of_now():
            waited_ms = (time.monotonic() - begun) * 1000
            shown = self.rpc("status")["counters"]
            return shown if 0 <= shown["age_ms"] < waited_ms else None
        return until("the workers have said what they count", of_now)

    def flip(self, target, **params):
        return self.rpc("flip", target=target, **params)

    def rollback(self, target):
        return self.rpc("rollback", target=target)

    # -- certflipctl

    def ctl(self, *args, check=True):
        """Run certflipctl; returns (exit status, standard output, standard error)."""
        done = subprocess.run([binary("certflipctl"), "-s", self.control, *args], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                              timeout=seconds(20))
        assert not SANITIZER.search(done.stderr), done.stderr
        if check:
            assert done.returncode == 0, "certflipctl %s: %d: %s" % (args, done.returncode, done.stderr)
        return done.returncode, done.stdout, done.stderr

    def ctl_json(self, *args):
        return json.loads(self.ctl("--json", *args)[1])

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *unused):
        try:
            if kind is None:
                self.stop()
            elif self.process is not None:
                self.process.kill()
                self.process.wait()
                self.process = None
        finally:
            shutil.rmtree(self.run, ignore_errors=True)


def check_config(path):
    """certflipd --check-config: (exit status, everything that it printed)."""
    done = subprocess.run([binary("certflipd"), "--check-config", "-c", str(path)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=seconds(20))
    assert not SANITIZER.search(done.stdout), done.stdout
    return done.returncode, done.stdout
