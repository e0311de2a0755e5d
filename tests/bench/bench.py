#!/usr/bin/python3
"""What certflipd costs, against HAProxy, nginx stream and stunnel doing the same job.

The job: mutual TLS in, mutual TLS out with the device's own certificate.  load.c plays the devices and the broker
on CPU 0, the proxy is pinned to CPU 1 with one worker or thread.  Counted is the CPU time of the proxy's processes
(user and system, nanoseconds from the kernel) per unit of work, so that the speed of the load generator does not
matter.  Runs are interleaved (A B C A B C); the table shows medians, and min..max in parentheses.

    bench.py --build DIR                     everything, about twenty minutes
    bench.py --build DIR --quick             small numbers, under two minutes
    bench.py --build DIR --rows ec qos0      some rows;  --peers haproxy  some peers
    bench.py --build DIR --rows ec --peers   certflipd alone
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))

from lib.gateway import config_text  # noqa: E402
from lib.wait import free_port, listening, until  # noqa: E402

LOAD_CPU = "0"
PROXY_CPU = "1"


# -- processes

def prepare_child():
    """As many files as allowed; ahead of whatever else runs on this machine, if allowed, as if it were quiet."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass


def prefer_me(yes):
    """This program itself ahead of the proxies, or back among the others."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO if yes else os.SCHED_OTHER, os.sched_param(2 if yes else 0))
    except OSError:
        pass


def family(pid):
    """The process and its descendants."""
    found = [pid]
    for p in found:
        for task in os.listdir("/proc/%d/task" % p):
            try:
                with open("/proc/%d/task/%s/children" % (p, task), encoding="ascii") as f:
                    found += [int(c) for c in f.read().split()]
            except (FileNotFoundError, ProcessLookupError):
                pass  # that thread has just ended
    return found


def cpu_s(pid):
    """User and system time of the process with all its threads, ended ones too, and of its children."""
    return sum(time.clock_gettime((~p << 3) | 2) for p in family(pid))


def threads_s(pid):
    """{thread: CPU seconds} of one process."""
    out = {}
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as f:
            out[int(task)] = int(f.read().split()[0]) / 1e9
    return out


def rss_kib(pid):
    total = 0
    for p in family(pid):
        with open("/proc/%d/status" % p, encoding="ascii") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
    return total


def settled_cpu(pid, quiet_s=0.1, limit_s=5):
    """CPU time once the process has come to rest."""
    end = time.monotonic() + limit_s
    last = cpu_s(pid)
    while time.monotonic() < end:
        time.sleep(quiet_s)
        now = cpu_s(pid)
        if now - last < 0.002 * quiet_s / 0.1:
            return now
        last = now
    return last


class Load:
    """load.c, driven line by line."""

    def __init__(self, bench, kind, count, *flags, cpu=LOAD_CPU):
        flags = list(flags) + (["-2"] if kind == "rsa" else [])
        self.process = subprocess.Popen(["taskset", "-c", cpu, bench.load, "run", *flags, bench.pki(kind, count), str(count)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        preexec_fn=prepare_child)
        self.own_certificates = not {"-p"} & set(flags)
        self.port = self._read()["port"]

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended with %s" % self.process.wait())
        return json.loads(line)

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        answer = self._read()
        if answer.get("foreign") and self.own_certificates:
            raise RuntimeError("%d connections came with another device's certificate" % answer["foreign"])
        if answer["lost"]:
            raise RuntimeError("%s: %d connections were lost" % (" ".join(map(str, words)), answer["lost"]))
        return answer

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


# -- the proxies

class Proxy:
    """One proxy between devices and the sink at `sink`.  Subclasses say what to run and how it is configured."""

    name = binary = version_flag = None
    cpus = PROXY_CPU
    plain = False
    shared_certificate = False

    def __init__(self, bench, kind, count, sink, cpus=PROXY_CPU, workers=1):
        self.folder = tempfile.mkdtemp(prefix=self.name + "-", dir=bench.folder)
        self.bench, self.kind, self.count, self.sink, self.workers = bench, kind, count, sink, workers
        self.pki = bench.pki(kind, count)
        self.port = free_port()
        self.tls = "1.2" if kind == "rsa" else "1.3"
        self.log = os.path.join(self.folder, "log")
        command = self.configure()
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(["taskset", "-c", cpus, *command], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, preexec_fn=prepare_child)
        try:
            until(lambda: "%s listens; it said:\n%s" % (self.name, self.said()), self._up, 60)
            settled_cpu(self.pid)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    @classmethod
    def path(cls):
        return shutil.which(cls.binary, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    @classmethod
    def version(cls):
        done = subprocess.run([cls.path(), cls.version_flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        lines = [line for line in done.stdout.splitlines() if cls.name in line.lower()]
        return lines[0].strip() if lines else "?"

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()[-3000:]

    def _up(self):
        if self.process.poll() is not None:
            raise RuntimeError("%s ended with %d:\n%s" % (self.name, self.process.returncode, self.said()))
        return listening(self.port)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Certflip(Proxy):
    name = "certflip"
    binary = "certflipd"
    version_flag = "--version"
    build = None  # path of the program

    @classmethod
    def path(cls):
        return cls.build

    def configure(self):
        state = os.path.join(self.folder, "state")
        os.makedirs(state, 0o700)
        conf = {
            "gateway": "bench", "workers": self.workers, "identities": self.pki + "/identities", "state": state,
            "include_dir": "", "control": {"socket": os.path.join(self.folder, "c.sock")},
            "listeners": [{"name": "in", "type": "tls", "address": "127.0.0.1", "port": self.port, "backlog": 4096,
                           "chains": [{"chain": self.pki + "/server.pem", "key": self.pki + "/server.key"}],
                           "anchors": [self.pki + "/old-ca.pem"], "client_cert": "require",
                           "tls_min": self.tls, "tls_max": self.tls}],
            "upstreams": [{"name": "broker", "address": "127.0.0.1", "port": self.sink, "server_name": "localhost",
                           "anchors": [self.pki + "/new-ca.pem"], "tls_min": self.tls, "tls_max": self.tls}],
            "devices": [{"name": "{cn}", "match": {"listener": "in"}}],
            "log": {"levels": [{"subsystem": "*", "level": "warn"}]},
        }
        return [self.path(), "-c", self.write("certflip.conf", config_text(conf))]


class Haproxy(Proxy):
    name = binary = "haproxy"
    version_flag = "-v"

    def configure(self):
        p = self.pki
        version = "ssl-min-ver TLSv%s ssl-max-ver TLSv%s" % (self.tls, self.tls)
        lines = ["global", " nbthread 1", " maxconn 9000", " tune.ssl.cachesize 0",
                 "defaults", " mode tcp", " timeout connect 20s", " timeout client 2h", " timeout server 2h",
                 "frontend in", " maxconn 9000",
                 " bind 127.0.0.1:%d backlog 4096 ssl crt %s/server-both.pem ca-file %s/old-ca.pem verify required "
                 "no-tls-tickets %s" % (self.port, p, p, version),
                 " use_backend %[ssl_c_s_dn(cn)]"]
        for i in range(self.count):
            lines += ["backend dev-%05d" % i,
                      " server s 127.0.0.1:%d ssl crt %s/both/dev-%05d.pem ca-file %s/new-ca.pem verify required "
                      "verifyhost localhost sni str(localhost) no-ssl-reuse no-tls-tickets %s" % (self.sink, p, i, p, version)]
        return [self.path(), "-db", "-f", self.write("haproxy.cfg", "\n".join(lines) + "\n")]


class Relay(Haproxy):
    """The bare TCP relay: no TLS on either side."""
    name = "tcp-relay"
    plain = True

    def configure(self):
        return [self.path(), "-db", "-f", self.write("haproxy.cfg", """global
 nbthread 1
 maxconn 9000
defaults
 mode tcp
 timeout connect 20s
 timeout client 2h
 timeout server 2h
listen in
 bind 127.0.0.1:%d backlog 4096
 server s 127.0.0.1:%d
""" % (self.port, self.sink))]


class Nginx(Proxy):
    name = binary = "nginx"
    version_flag = "-v"
    modules = ("/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so",
               "/usr/share/nginx/modules/ngx_stream_module.so")

    def configure(self):
        module = next((m for m in self.modules if os.path.exists(m)), None)
        return [self.path(), "-p", self.folder, "-e", "stderr", "-c", self.write("nginx.conf", """%s
%s
daemon off;
worker_processes 1;
worker_rlimit_nofile %d;
error_log stderr crit;
pid %s/pid;
events { worker_connections 18000; }
stream {
  map $ssl_client_s_dn $device { "~^CN=(?<cn>.+)$" $cn; }
  server {
    listen 127.0.0.1:%d ssl backlog=4096;
    ssl_protocols TLSv%s;
    ssl_certificate %s/server.pem;
    ssl_certificate_key %s/server.key;
    ssl_client_certificate %s/old-ca.pem;
    ssl_verify_client on;
    ssl_session_cache off;
    ssl_session_tickets off;
    tcp_nodelay on;
    proxy_pass 127.0.0.1:%d;
    proxy_timeout 2h;
    proxy_ssl on;
    proxy_ssl_protocols TLSv%s;
    proxy_ssl_certificate %s/identities/$device/old/chain.pem;
    proxy_ssl_certificate_key %s/identities/$device/old/key.pem;
    proxy_ssl_trusted_certificate %s/new-ca.pem;
    proxy_ssl_verify on;
    proxy_ssl_name localhost;
    proxy_ssl_server_name on;
    proxy_ssl_session_reuse off;
  }
}
""" % ("load_module %s;" % module if module else "", "user root;" if os.geteuid() == 0 else "",
            resource.getrlimit(resource.RLIMIT_NOFILE)[1], self.folder, self.port, self.tls, self.pki, self.pki, self.pki,
            self.sink, self.tls, self.pki, self.pki, self.pki))]


class Stunnel(Proxy):
    name = "stunnel"
    binary = "stunnel4"
    version_flag = "-version"
    shared_certificate = True

    def configure(self):
        p = self.pki
        common = "sslVersion = TLSv%s\noptions = NO_TICKET\nsessionResume = no\nverifyChain = yes\n" % self.tls
        inner = free_port()
        return [self.path(), self.write("stunnel.conf", """foreground = yes
pid =
syslog = no
debug = 3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[in]
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
cert = %s/server.pem
key = %s/server.key
CAfile = %s/old-ca.pem
%s[out]
client = yes
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
cert = %s/identities/dev-00000/old/chain.pem
key = %s/identities/dev-00000/old/key.pem
CAfile = %s/new-ca.pem
checkHost = localhost
%s""" % (self.port, inner, p, p, p, common, inner, self.sink, p, p, p, common))]


class Direct:
    """No proxy: devices at the sink."""
    name = "direct"
    plain = False
    shared_certificate = False

    def __init__(self, bench, kind, count, sink):
        self.port = sink

    def stop(self):
        pass


class Setup:
    """A load generator and a proxy, for one run."""

    def __init__(self, bench, what, kind, count, *flags, load_cpu=LOAD_CPU, **how):
        self.load = Load(bench, kind, count, *flags, *(["-p"] if what.plain else []), cpu=load_cpu)
        self.proxy = None
        try:
            self.proxy = what(bench, kind, count, self.load.port, **how)
            self.load.own_certificates &= not what.shared_certificate
            self.load("target", self.proxy.port)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.proxy:
            self.proxy.stop()
        self.load.stop()

    def cost(self, *words):
        """(CPU seconds of the proxy, answer of the generator) for one command."""
        before = cpu_s(self.proxy.pid)
        answer = self.load(*words)
        return settled_cpu(self.proxy.pid) - before, answer


# -- the rows

class Row:
    def __init__(self, title, unit, bound, digits=3):
        self.title, self.unit, self.bound, self.digits = title, unit, bound, digits


ROWS = {
    "ec": Row("1,000 new devices, TLS 1.3, ECDSA P-256, full handshakes on both sides", "CPU s / 1,000", 0.45),
    "rsa": Row("1,000 new devices, TLS 1.2, RSA-2048, full handshakes on both sides", "CPU s / 1,000", 0.8),
    "qos0": Row("QoS 0 at saturation, 200-byte messages", "CPU s / 100,000", 0.7),
    "qos1": Row("QoS 1 at saturation, window 10", "CPU s / 100,000", 0.7),
    "paced": Row("10,000 messages/s evenly spaced over 100 devices, QoS 0", "CPU s / 100,000", 0.85),
    "p50": Row("latency added at 1,000 messages/s over 500 devices, p50", "us", 1.0, 1),
    "p99": Row("latency added at 1,000 messages/s over 500 devices, p99", "us", 1.0, 1),
    "memory": Row("resident memory per connected idle device, 2 subscriptions", "KiB", 14, 1),
    "after": Row("resident memory after devices have come and gone, against before", "x", 1.3, 2),
    "workers": Row("two workers on two cores against one", "x", 1.7, 2),
}
AGAINST_PEERS = ("ec", "rsa", "qos0", "qos1", "paced", "p50", "p99")
GROUPS = {"latency": ["p50", "p99"], "qos": ["qos0", "qos1"], "all": list(ROWS)}


class Bench:
    def __init__(self, args, folder):
        self.args = args
        self.folder = folder
        self.load = os.path.join(folder, "load")
        self.results = {row: {} for row in ROWS}  # row -> proxy -> values, one a run
        self.notes = {}
        self.apart = {}  # row -> proxy -> (CPU seconds, messages per wall second), the generator on the other CPU
        self.late = {"paced": [], "latency": []}  # how late the generator was at worst, a run
        self.paced_latency = {}  # proxy -> (p50, p99) in microseconds, a run
        self.suites = {}
        self._pki = {}
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libssl", "libcrypto"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, check=False).stdout.split()
        if not flags:
            sys.exit("bench.py: the load generator needs OpenSSL's development files (Debian: apt install libssl-dev pkg-config)")
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-o", self.load, os.path.join(HERE, "load.c"), *flags],
                       check=True)
        peers = [Haproxy, Nginx, Stunnel]
        self.peers = [p for p in peers if p.path() and p.name in args.peers]
        self.missing = [p.name for p in peers if not p.path()]

    def pki(self, kind, count):
        """Folder with certificates for so many devices."""
        key = (kind, count)
        if key not in self._pki:
            folder = os.path.join(self.folder, "pki-%s-%d" % key)
            subprocess.run([self.load, "pki", folder, str(count), kind], check=True)
            self._pki[key] = folder
        return self._pki[key]

    def add(self, row, what, value):
        self.results[row].setdefault(what.name, []).append(value)

    def note(self, row, text):
        if text not in self.notes.setdefault(row, []):
            self.notes[row].append(text)

    def rounds(self, title, participants, once, runs=None):
        """A B C A B C ..."""
        for i in range(runs or self.args.runs):
            for what in participants:
                print("  %s: run %d, %s" % (title, i + 1, what.name), file=sys.stderr, flush=True)
                once(what)

    def size(self, full, quick):
        return quick if self.args.quick else full

    def wanted(self, *rows):
        return any(r in self.args.rows for r in rows)

    def run(self):
        for kind in ("ec", "rsa"):
            if self.wanted(kind):
                self.handshakes(kind)
        if self.wanted("qos0", "qos1"):
            self.saturation()
        if self.wanted("paced"):
            self.paced()
        if self.wanted("p50", "p99"):
            self.latency()
        if self.wanted("memory"):
            self.memory()
        if self.wanted("after"):
            self.after()
        if self.wanted("workers"):
            self.workers()

    def handshakes(self, kind):
        count = self.size(1000, 250)

        def once(what):
            with Setup(self, what, kind, count) as s:
                cost, answer = s.cost("connect", 0, count, 50)
                self.add(kind, what, cost * 1000 / count)
                self.suites[(kind, what.name)] = "in %s, out %s" % (answer["device_suite"], answer["sink_suite"])
                leave, answer = s.cost("leave", 50)
                self.note(kind, "%s: when the %d devices leave: %.3f CPU s / 1,000, %d more connections to the broker" % (
                    what.name, count, leave * 1000 / count, answer["extra_connects"]))
        self.notes[kind] = []
        self.rounds(kind, [Certflip] + self.peers, once)
        # One line each for leaving will do: the last run's.
        latest = {}
        for text in self.notes[kind]:
            latest[text.split(":")[0]] = text
        self.notes[kind] = list(latest.values())

    def saturation(self):
        """A proxy that is faster than the generator is not saturated: it would sleep and wake between bursts.  So both
        share a CPU here, and take turns: the proxy always finds as much as can be waiting.  With the generator on the
        other CPU it is measured too, for the notes (not with --quick)."""
        total = 100000

        def once(what):
            for load_cpu in self.size((PROXY_CPU, LOAD_CPU), (PROXY_CPU,)):
                with Setup(self, what, "ec", 100, load_cpu=load_cpu) as s:
                    s.load("connect", 0, 100, 50)
                    for row, qos, window in (("qos0", 0, 0), ("qos1", 1, 10)):
                        if not self.wanted(row):
                            continue
                        s.load("publish", qos, total // 10, window)
                        settled_cpu(s.proxy.pid)
                        cost, answer = s.cost("publish", qos, total, window)
                        if load_cpu == PROXY_CPU:
                            self.add(row, what, cost * 100000 / total)
                        else:
                            self.apart.setdefault(row, {}).setdefault(what.name, []).append(
                                (cost * 100000 / total, total / answer["wall_s"]))
        self.rounds("saturation", [Certflip] + self.peers, once)

    def paced(self):
        total = self.size(60000, 20000)

        def once(what):
            with Setup(self, what, "ec", 100) as s:
                s.load("connect", 0, 100, 50)
                s.load("pace", 10000, 5000, 0)
                settled_cpu(s.proxy.pid)
                cost, answer = s.cost("pace", 10000, total, 0)
                if answer["got"] != total:
                    raise RuntimeError("%s: %d of %d messages arrived" % (what.name, answer["got"], total))
                self.add("paced", what, cost * 100000 / total)
                self.paced_latency.setdefault(what.name, []).append((answer["p50_us"], answer["p99_us"]))
                self.late["paced"].append(answer["late_us"])
        participants = [Certflip] + self.peers + ([Relay] if Haproxy in self.peers and not self.args.quick else [])
        self.rounds("paced", participants, once)

    def latency(self):
        """All of them stand ready, and take turns of one second: what else happens on the machine hits all alike."""
        participants = [Direct, Certflip] + self.peers
        with contextlib.ExitStack() as stack:
            setups = []
            for what in participants:
                print("  latency: start %s" % what.name, file=sys.stderr, flush=True)
                s = stack.enter_context(Setup(self, what, "ec", 500))
                s.load("connect", 0, 500, 50)
                s.load("pace", 1000, 1000, 0)
                setups.append(s)
            turns = self.size(8, 2) * self.args.runs
            print("  latency: %d turns" % turns, file=sys.stderr, flush=True)
            for _ in range(turns):
                answers = [s.load("pace", 1000, 1000, 0) for s in setups]
                self.late["latency"] += [a["late_us"] for a in answers]
                for row in ("p50", "p99"):
                    direct = answers[0][row + "_us"]
                    self.add(row, Direct, direct)
                    for what, answer in zip(participants[1:], answers[1:]):
                        self.add(row, what, answer[row + "_us"] - direct)

    def memory(self):
        count = self.size(2000, 500)

        def once(what):
            with Setup(self, what, "ec", count) as s:
                before = rss_kib(s.proxy.pid)
                s.load("connect", 0, count, 50)
                s.load("subscribe", 2)
                settled_cpu(s.proxy.pid, 0.3)
                self.add("memory", what, (rss_kib(s.proxy.pid) - before) / count)
        self.note("memory", "with %d devices" % count)
        self.rounds("memory", [Certflip] + self.peers, once, self.size(3, 1))

    def after(self):
        count = self.size(5000, 1000)

        def once(what):
            with Setup(self, what, "ec", count) as s:
                before = rss_kib(s.proxy.pid)
                s.load("connect", 0, 20, 20)
                s.load("leave", 50)
                settled_cpu(s.proxy.pid, 0.3)
                warm = rss_kib(s.proxy.pid)
                s.load("connect", 0, count, 100)
                s.load("subscribe", 2)
                settled_cpu(s.proxy.pid, 0.3)
                full = rss_kib(s.proxy.pid)
                s.load("leave", 50)
                # It may take its time to give memory back: until nothing changes any more.
                start = time.monotonic()
                seconds, rest = 0, rss_kib(s.proxy.pid)
                while time.monotonic() - start < seconds + self.size(10, 3):
                    time.sleep(0.5)
                    now = rss_kib(s.proxy.pid)
                    if now != rest:
                        seconds, rest = time.monotonic() - start, now
                self.add("after", what, rest / before)
                self.note("after", "%s: at start %.1f MiB, after the first 20 devices %.1f, with %d at once %.1f, when they "
                          "have gone %.1f, reached after %.0f s (%.2f x what it was after the first 20)" % (
                              what.name, before / 1024, warm / 1024, count, full / 1024, rest / 1024, seconds, rest / warm))
        self.rounds("after", [Certflip] + [p for p in self.peers if p is not Stunnel], once, 1)

    def workers(self):
        """One worker on one core, then two on both, with the generator asleep: all messages wait in the kernel's socket
        buffers while the proxy is stopped; then it runs, and the wall clock tells its capacity."""
        devices, each = self.size(2000, 1000), 100
        got = {1: [], 2: []}

        def once(workers):
            with Setup(self, Certflip, "ec", devices, "-b", workers=workers, cpus="0,1" if workers == 2 else PROXY_CPU) as s:
                s.load("connect", 0, devices, 50)
                s.load("publish", 0, devices * 10, 0)
                pid = s.proxy.pid
                settled_cpu(pid)
                before = threads_s(pid)
                os.kill(pid, signal.SIGSTOP)
                left = s.load("fill", each)["left"]
                prefer_me(True)  # before the proxy, which may fill both CPUs
                if left:
                    raise RuntimeError("the kernel's buffers did not take the backlog: %d bytes are left" % left)
                start = time.monotonic()
                os.kill(pid, signal.SIGCONT)
                end, last = start, cpu_s(pid)
                while time.monotonic() - end < 0.15:
                    time.sleep(0.002)
                    now = cpu_s(pid)
                    if now - last > 0.0002:
                        end = time.monotonic()
                    last = now
                prefer_me(False)
                spent = sorted((v - before.get(t, 0) for t, v in threads_s(pid).items()), reverse=True)[:workers]
                s.load("drain", devices * each)
                got[workers].append({"wall": end - start, "cpu": sum(spent), "balance": sum(spent) / workers / max(spent)})
        for i in range(self.size(max(3, self.args.runs), 2)):
            for workers in (1, 2):
                print("  workers: run %d, %d worker(s)" % (i + 1, workers), file=sys.stderr, flush=True)
                once(workers)
        for one, two in zip(got[1], got[2]):
            self.results["workers"].setdefault("certflip", []).append(one["wall"] / two["wall"])

        def median(n, key):
            return statistics.median(r[key] for r in got[n])
        self.note("workers", "backlog of %d messages from %d devices, wall clock: one worker %.0f ms, two %.0f ms" % (
            devices * each, devices, median(1, "wall") * 1000, median(2, "wall") * 1000))
        self.note("workers", "CPU: one worker %.3f s, two %.3f s, balance (mean / busiest worker) %.2f: 2 x CPU one / CPU two x "
                  "balance = %.2f" % (median(1, "cpu"), median(2, "cpu"), median(2, "balance"),
                                      2 * median(1, "cpu") / median(2, "cpu") * median(2, "balance")))

    # -- what came out

    def verdict(self, row):
        """(certflip's figure against the bound, met?, name of the better peer, per-run ratios)."""
        values = self.results[row]
        if "certflip" not in values:
            return None
        mine = statistics.median(values["certflip"])
        bound = ROWS[row].bound
        if row not in AGAINST_PEERS:
            return mine, (mine >= bound if row == "workers" else mine <= bound), None, None
        rivals = {n: statistics.median(values[n]) for n in ("haproxy", "nginx") if n in values}
        if not rivals:
            return None
        best = min(rivals, key=rivals.get)
        if rivals[best] <= 0:
            return None
        each = [a / b for a, b in zip(values["certflip"], values[best]) if b > 0]
        return mine / rivals[best], mine / rivals[best] <= bound, best, each

    def table(self):
        def cell(row, name):
            values = self.results[row].get(name)
            if not values:
                return ""
            d = ROWS[row].digits
            text = "%.*f" % (d, statistics.median(values))
            return text if len(values) < 2 else "%s (%.*f..%.*f)" % (text, d, min(values), d, max(values))
        names = ["certflip", "haproxy", "nginx", "stunnel"]
        out = ["| row | work | unit | %s | against the better peer | bound | |" % " | ".join(names),
               "|" + " --- |" * (len(names) + 6)]
        for row in ROWS:
            if row not in self.args.rows or not self.results[row]:
                continue
            verdict = self.verdict(row)
            ratio = met = ""
            if verdict:
                met = "met" if verdict[1] else "MISSED"
                if verdict[2]:
                    ratio = "%.2f x %s (%.2f..%.2f)" % (verdict[0], verdict[2], min(verdict[3]), max(verdict[3]))
            bound = ROWS[row].bound
            bound = "%s %g%s" % (">=" if row == "workers" else "<=", bound,
                                 " KiB" if row == "memory" else " x")
            out.append("| %s | %s | %s | %s | %s | %s | %s |" % (
                row, ROWS[row].title, ROWS[row].unit, " | ".join(cell(row, n) for n in names), ratio, bound, met))
        out.append("")
        for row in ROWS:
            if row not in self.args.rows:
                continue
            for extra in ("tcp-relay", "direct"):
                if cell(row, extra):
                    out.append("- %s: %s %s %s" % (row, {"tcp-relay": "bare TCP relay without TLS",
                                                         "direct": "direct connection"}[extra], cell(row, extra), ROWS[row].unit))
            for name, values in self.apart.get(row, {}).items():
                out.append("- %s: %s with the generator on the other CPU, not always saturated: %.3f CPU s / 100,000, %d "
                           "messages per wall second" % (row, name, *(statistics.median(v) for v in zip(*values))))
            for name, values in self.paced_latency.items() if row == "paced" else ():
                out.append("- paced: %s: device to broker p50 %.0f us, p99 %.0f us" % (
                    name, *(statistics.median(v) for v in zip(*values))))
            for (kind, name), suite in self.suites.items():
                if kind == row:
                    out.append("- %s: %s: %s" % (row, name, suite))
            out += ["- %s: %s" % (row, text) for text in self.notes.get(row, [])]
        for row, values in self.late.items():
            if values:
                out.append("- %s: in each run the generator itself was late by at most %.1f ms (median; worst %.1f)" % (
                    row, statistics.median(values) / 1000, max(values) / 1000))
        out.append("- stunnel shows one certificate for all devices; it is there for information and is not a peer of the bounds")
        if self.missing:
            out.append("- not installed here: " + ", ".join(self.missing))
        return "\n".join(out)

    def as_json(self):
        verdicts = {}
        for row in self.args.rows:
            v = self.verdict(row)
            if v:
                verdicts[row] = {"value": v[0], "bound": ROWS[row].bound, "met": v[1], "peer": v[2]}
        return {"quick": self.args.quick, "machine": machine(), "verdicts": verdicts,
                "results": {r: v for r, v in self.results.items() if v}, "generator_apart": self.apart, "paced_latency_us": self.paced_latency, "notes": self.notes}

    def versions(self):
        return {p.name: p.version() for p in [Certflip] + self.peers}


def machine():
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return "%s, %d CPUs, Linux %s" % (model, os.cpu_count(), platform.release())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with certflipd, built with optimisation")
    parser.add_argument("--quick", action="store_true", help="small numbers, two runs")
    parser.add_argument("--rows", nargs="+", default=["all"], metavar="ROW", choices=list(ROWS) + list(GROUPS),
                        help="of: %s" % " ".join(list(ROWS) + list(GROUPS)))
    parser.add_argument("--peers", nargs="*", metavar="PEER", choices=["haproxy", "nginx", "stunnel"],
                        help="of: haproxy nginx stunnel (default: what is installed; with --quick not stunnel)")
    parser.add_argument("--runs", type=int, help="rounds (default: 5, with --quick 2)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    args = parser.parse_args()
    args.rows = [r for name in args.rows for r in GROUPS.get(name, [name])]
    if args.peers is None:
        args.peers = ["haproxy", "nginx"] + ([] if args.quick else ["stunnel"])
    args.runs = args.runs or (2 if args.quick else 5)
    built = os.path.join(os.path.abspath(args.build), "certflipd")
    if not os.access(built, os.X_OK):
        parser.error("no certflipd in %s" % args.build)
    if os.cpu_count() < 2:
        parser.error("two CPUs are needed: one for the proxy, one for the load")
    def terminated(*unused):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, terminated)
    folder = tempfile.mkdtemp(prefix="certflip-bench-", dir="/tmp")  # short: a socket lies in it
    try:
        # A copy, so that a build meanwhile does not mix two programs into one figure.
        Certflip.build = shutil.copy2(built, folder)
        bench = Bench(args, folder)
        versions = bench.versions()
        interrupted = False
        try:
            bench.run()
        except KeyboardInterrupt:
            interrupted = True
            print("interrupted; this is what there is:", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%s; %s" % (machine(), "; ".join("%s: %s" % (n, v) for n, v in versions.items())))
    print()
    print(bench.table(), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"versions": versions, **bench.as_json()}, f, indent=1)
            f.write("\n")
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
