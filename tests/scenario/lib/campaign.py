"""What a campaign needs: simulated gateways, somebody at the centre, and certflip-fleet with its file."""

import concurrent.futures
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess

from .broker import Mosquitto
from .contract import check_messages, requests_of
from .gateway import SANITIZER, SUPPRESSIONS, Certflipd, binary, build_dir, config_text, merge
from .mqtt import Client
from .pki import Authority, openssl
from .streams import NumberedStreams
from .wait import Log, seconds, until

ROOT = "certflip/v1"


def environment(**more):
    env = {**os.environ, **more}
    env["LSAN_OPTIONS"] = env.get("LSAN_OPTIONS", "") + ":print_suppressions=0:suppressions=" + SUPPRESSIONS % "lsan"
    return env


class Simulation:
    """tests/fleet/fleet_sim: `gateways` times `devices` behind the broker at `port`.

    Called with words it is told something, see tests/fleet/main.c.  `anchors`: ("upstream", path), ...; `operators`:
    {name: path of the public key}, then commands have to be signed.
    """

    def __init__(self, folder, port, gateways, devices, anchors=(), operators=(), connect_ms=20, build=None):
        program = os.path.join(build or build_dir(), "tests/fleet/fleet_sim")
        if not os.access(program, os.X_OK):
            raise RuntimeError("no %s: make tests/fleet/fleet_sim" % program)
        words = [program, "--port", port, "--gateways", gateways, "--devices", devices, "--connect-ms", connect_ms]
        for side, path in anchors:
            words += ["--anchor", "%s=%s" % (side, path)]
        for name, path in dict(operators).items():
            words += ["--operator", "%s=%s" % (name, path)]
        os.makedirs(str(folder), exist_ok=True)
        self.log = Log(os.path.join(str(folder), "fleet_sim.log"))
        with open(self.log.path, "ab") as out:
            self.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
                                            text=True, bufsize=1, env=environment())

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the simulation ended with %s:\n%s" % (self.process.wait(), self.log.tail()))
        answer = json.loads(line)
        assert answer.get("ok", True), "not understood: %s" % (words,)
        return answer

    def stats(self):
        return self("stats")

    def wait(self, what, condition, timeout=30):
        """Until condition(stats) holds; returns them."""
        last = {}

        def so():
            last.clear()
            last.update(self.stats())
            return condition(last)
        until(lambda: "%s: %s" % (what, last), so, timeout, 0.05)
        return last

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.write("quit\n")
        self.process.stdin.close()
        code = self.process.wait(seconds(60))
        self.process.stdout.close()
        text = self.log.text()
        assert code == 0 and not SANITIZER.search(text), "%d:\n%s" % (code, text)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.communicate()


class Centre:
    """Somebody at the broker who sees everything below the root, and may command."""

    def __init__(self, client, root=ROOT):
        self.client = client
        self.root = root
        self.ids = 0
        client.subscribe((root + "/#", 1))

    def payloads(self, topic):
        """What has come on a topic below the root, in order."""
        return [m.payload for m in list(self.client.messages) if m.topic == "%s/%s" % (self.root, topic)]

    def latest(self, topic):
        got = self.payloads(topic)
        return json.loads(got[-1]) if got and got[-1] else None

    def send(self, gateway, request):
        self.client.publish("%s/%s/cmd" % (self.root, gateway), request if isinstance(request, (str, bytes)) else
                            json.dumps(request), 1)

    def replies(self, gateway, request_id):
        return [r for r in map(json.loads, self.payloads(gateway + "/reply")) if r.get("id") == request_id]

    def ask(self, gateway, method, request_id=None, **params):
        """The whole reply."""
        self.ids += 1
        name = request_id or "ask-%d-%d" % (os.getpid(), self.ids)
        before = len(self.replies(gateway, name))
        self.send(gateway, {"jsonrpc": "2.0", "id": name, "method": method, "params": params})
        return until("a reply to " + method, lambda: self.replies(gateway, name)[before:])[0]

    def result(self, gateway, method, **params):
        reply = self.ask(gateway, method, **params)
        assert "result" in reply, reply
        return reply["result"]

    def refused(self, gateway, method, **params):
        reply = self.ask(gateway, method, **params)
        assert "error" in reply, reply
        return reply["error"]["data"]["name"]

    def online(self, gateway):
        return (self.latest(gateway + "/state") or {}).get("online")

    def device(self, gateway, device):
        return self.latest("%s/device/%s" % (gateway, device))

    def wait(self, gateway, device, timeout=20, **expected):
        return until(lambda: "%s of %s/%s: %s" % (expected, gateway, device, self.device(gateway, device)),
                     lambda: (lambda d: d if d and all(d.get(k) == v for k, v in expected.items()) else None)(
                         self.device(gateway, device)), timeout)


# What certflip-fleet ends with.
DONE, REFUSED, USAGE, UNREACHED, ENDED = range(5)

SIGN = """#!/bin/sh
# As a CA's own command line would be: PEM in, PEM out.  Who is refused is named in a file beside it.
set -eu
folder=$(dirname "$0")
ca=$folder/ca
if [ -e "$folder/other-$CERTFLIP_DEVICE" ]; then ca=$folder/other; fi
cat >"$folder/$CERTFLIP_DEVICE.csr"
echo "$CERTFLIP_GATEWAY $CERTFLIP_DEVICE" >>"$folder/signed"
exec openssl x509 -req -in "$folder/$CERTFLIP_DEVICE.csr" -CA "$ca.pem" -CAkey "$ca.key" -days 30 \\
    -copy_extensions copyall -set_serial "0x$(openssl rand -hex 8)" 2>>"$folder/errors"
"""


class Campaign:
    """A campaign file, and certflip-fleet that works on it.  `changes` to the defaults below, groups are merged."""

    def __init__(self, folder, port, name, pki, old_anchors=(), program_build=None, **changes):
        self.folder = os.path.join(str(folder), name)
        os.makedirs(self.folder, exist_ok=True)
        self.name = name
        self.pki = pki
        self.path = os.path.join(self.folder, name + ".conf")
        self.ledger = os.path.join(self.folder, name + ".db")
        self.log = Log(os.path.join(self.folder, name + ".log"))
        self.tmp = os.path.join(self.folder, "tmp")
        self.program_build = program_build
        self.process = None
        self.conf = merge({
            "name": name,
            "broker": {"host": "127.0.0.1", "port": port},
            "gateways": ["*"],
            "ledger": self.ledger,
            "identity": {"key": "ec-p256", "subject": "CN={device},OU=%s,O=Plant" % name},
            "sign": {"ca_cert_file": pki.new.cert, "ca_key_file": pki.new.key, "days": 30},
            "trust": [{"set": "upstream", "file": pki.new.cert}],
            "waves": {"pilot": 6, "percent": [50, 100], "soak_s": 0},
            "flip": {"probation_s": 1},
            "limits": {"per_gateway": 1000, "in_flight": 1000000, "keygen_per_gateway": 100, "reply_timeout_s": 5},
            "retire": {"identities": True, "validate_s": 0,
                       "anchors": [{"set": "upstream", "file": path} for path in old_anchors]},
        }, changes)

    def environment(self):
        """Where its programs put what they need for a while, and have to take it away, is `tmp`."""
        os.makedirs(self.tmp, exist_ok=True)
        return environment(TMPDIR=self.tmp)

    def write(self):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(config_text(self.conf))

    def sign_by_openssl(self, ca, other=None, devices=()):
        """Certificates come from the command openssl, of `ca`; those of `devices` from the CA `other`."""
        folder = os.path.join(self.folder, "sign")
        os.makedirs(folder, exist_ok=True)
        for name, one in (("ca", ca), ("other", other)):
            if one is not None:
                shutil.copy(one.cert, os.path.join(folder, name + ".pem"))
                shutil.copy(one.key, os.path.join(folder, name + ".key"))
        for device in devices:
            with open(os.path.join(folder, "other-" + device), "w", encoding="ascii"):
                pass
        path = os.path.join(folder, "sign")
        with open(path, "w", encoding="utf-8") as f:
            f.write(SIGN)
        os.chmod(path, 0o755)
        self.conf["sign"] = {"command": path, "days": 30, "backdate_h": 0}

    def signed(self):
        """What the command was asked to sign: "GATEWAY DEVICE", in order."""
        try:
            with open(os.path.join(self.folder, "sign", "signed"), encoding="ascii") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def program(self):
        if self.program_build is None:
            return binary("certflip-fleet")
        return os.path.join(self.program_build, "certflip-fleet")

    # -- in the foreground

    def do(self, *words, expect=DONE, timeout=60):
        """One command until it ends; what it has printed."""
        self.write()
        done = subprocess.run([self.program(), "--yes", *words[:1], self.path, *words[1:]], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, env=self.environment(),
                              timeout=seconds(timeout))
        assert not SANITIZER.search(done.stderr), done.stderr
        assert done.returncode == expect, "%s: %d instead of %d:\n%s%s" % (words, done.returncode, expect, done.stdout[-3000:],
                                                                         done.stderr[-3000:])
        return done.stdout + done.stderr

    def json(self, *words):
        done = subprocess.run([self.program(), "--json", *words[:1], self.path, *words[1:]], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False, env=self.environment(), timeout=seconds(30))
        return json.loads(done.stdout)

    # -- beside the test

    def start(self, word="run"):
        """`run` or `resume`, under way."""
        self.write()
        with open(self.log.path, "ab") as out:
            self.process = subprocess.Popen([self.program(), "--yes", word, self.path], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, env=self.environment())
        return self.process

    def check_log(self):
        text = self.log.text()
        found = SANITIZER.search(text)
        assert not found, text[max(0, found.start() - 400):found.start() + 6000]

    def kill(self):
        """kill -9, as by a power cut."""
        self.process.kill()
        self.process.wait()
        self.check_log()

    def end(self, expect=DONE, timeout=60):
        """Wait until it ends by itself."""
        try:
            code = self.process.wait(seconds(timeout))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("certflip-fleet goes on and on:\n%s\n%s" % (
                self.log.tail(60), self.rows("gateways") + self.rows("requests"))) from None
        self.check_log()
        assert code == expect, "certflip-fleet ended with %d instead of %d:\n%s" % (code, expect, self.log.tail(40))

    def stop(self):
        """For the end of a test: whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # -- what has become of it

    def rows(self, table, **where):
        """Rows of the ledger, as they are on disk; [] before there is one."""
        if not os.path.exists(self.ledger):
            return []
        with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % self.ledger, uri=True, timeout=seconds(5))) as db:
            db.row_factory = sqlite3.Row
            try:
                found = [dict(r) for r in db.execute("SELECT * FROM " + table)]
            except sqlite3.OperationalError:  # it was not made yet
                return []
        return [r for r in found if all(r[k] == v for k, v in where.items())]


class Operator:
    """Somebody with a key that openssl made."""

    def __init__(self, folder, name):
        self.name = name
        self.key, self.pub = (os.path.join(str(folder), name + end) for end in (".pem", ".pub"))
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.key)
        openssl("pkey", "-in", self.key, "-pubout", "-out", self.pub)

    def conf(self, *roles):
        return {"name": self.name, "key": self.pub, "roles": list(roles)}

    def signs(self):
        """The group `operator` of a campaign file."""
        return {"name": self.name, "key_file": self.key}


class Site:
    """Three gateways before one broker, with sensors on their plaintext listeners; the centre sees all of it.

    `operators`: whose signature a command must have (Operator); none: nobody's.  Devices are called after their gateway ("a-01" of "gw-a") and have an old identity alone.  The brokers are believed by
    `anchors`: the servers' CA, and one that nobody needs and a campaign may retire.
    """

    def __init__(self, folder, pki, reactor, devices=20, gateways=("gw-a", "gw-b", "gw-c"), operators=(), **conf):
        self.folder = str(folder)
        self.pki, self.reactor = pki, reactor
        self.capath = os.path.join(self.folder, "broker-cas")
        os.makedirs(self.capath)
        self.broker = Mosquitto(os.path.join(self.folder, "broker"), pki, listener_extra="capath " + self.capath)
        self.spare = Authority(self.folder, "Spare Server CA")
        self.names = list(gateways)
        self.gateways = {}
        self.devices = {}
        self.clients = {}
        self._observers = []
        self._streams = 0
        for name in self.names:
            self.devices[name] = ["%s-%02d" % (name[-1], i) for i in range(1, devices + 1)]
            g = Certflipd(os.path.join(self.folder, name), pki, self.broker,
                          upstream={"anchors": [pki.server_ca.cert, self.spare.cert]}, gateway=name, workers=1, **conf)
            g.conf["management"] = {"enabled": True, "device": name, "version": 5,
                                    "socket": os.path.join(g.run, "mqtt.sock")}
            if operators:
                g.conf["operators"] = [o.conf("observe", "operate", "trust") for o in operators]
                g.conf["management"]["signed"] = {"observe": "optional", "operate": "required", "trust": "required"}
            self.gateways[name] = g
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            for device, pair in [(d, pool.submit(pki.identity, d, "old")) for d in [*self.all(), *self.names]]:
                self.gateways[self.gateway_of(device)].install(device, old=pair.result(), new=False)

    def all(self):
        return [d for name in self.names for d in self.devices[name]]

    def gateway_of(self, device):
        return device if device in self.names else "gw-" + device.split("-")[0]

    def __enter__(self):
        self.broker.start()
        try:
            for g in self.gateways.values():
                g.start(wait=False)
            for g in self.gateways.values():
                until(lambda g=g: "certflipd answers: " + g.log.tail(), g._ready, 30)
            self.centre = Centre(self.observer("centre", 5))
            until("all gateways are online", lambda: all(self.centre.online(name) for name in self.names))
        except BaseException:
            self._end(failed=True)
            raise
        return self

    def __exit__(self, kind, *unused):
        self._end(failed=kind is not None)

    def _end(self, failed):
        faults = ["%r: %s" % (c, c.faults) for c in [*self.clients.values(), *self._observers] if c.faults]
        for client in [*self.clients.values(), *self._observers]:
            client.cut()
        errors = []
        for g in self.gateways.values():
            try:
                g.__exit__(RuntimeError if failed else None)
            except BaseException as e:  # all are ended, then the first fault is told
                errors.append(e)
        self.broker.stop()
        if errors:
            raise errors[0]
        assert failed or not faults, faults
        if not failed:
            check_messages([(m.topic, m.payload) for m in self.centre.client.messages])

    def observer(self, name=None, version=4):
        client = Client(self.reactor, ("127.0.0.1", self.broker.port), None, version)
        client.connect(name or "observer-%d" % len(self._observers), keepalive=0)
        self._observers.append(client)
        return client

    def connect(self, devices):
        """Sensors of these devices, connected; those that are stay as they are."""
        for device in devices:
            if device not in self.clients or self.clients[device].ended:
                client = Client(self.reactor, ("127.0.0.1", self.gateways[self.gateway_of(device)].plain_port), None, 4)
                client.connect(device)
                self.clients[device] = client

    def streams(self, devices=None, interval=0.1):
        devices = list(devices or self.all())
        self.connect(devices)
        self._streams += 1
        return NumberedStreams({d: self.clients[d] for d in devices}, self.observer(), 1, interval=interval,
                               prefix="s%d/" % self._streams).start()

    def believe(self, ca):
        """The broker takes certificates of this CA, too, from the next connection on."""
        number = openssl("x509", "-noout", "-hash", "-in", ca.cert).decode().strip()
        shutil.copy(ca.cert, os.path.join(self.capath, number + ".0"))

    def unbelieve(self):
        """Of the CAs that believe() has added none is left; the broker may keep what it has read until it restarts."""
        for name in os.listdir(self.capath):
            os.unlink(os.path.join(self.capath, name))

    def told(self, device):
        return self.centre.device(self.gateway_of(device), device)

    def users(self, devices=None):
        """{device: the subject that the broker has seen of it last}."""
        found = {}
        for s in self.broker.seen():
            found[s.client_id] = s.user
        return {d: found.get(d) for d in devices or self.all()}

    def settle(self):
        """Every device back in phase steady, on the identity that it is on; no campaign has left anything behind."""
        for name, g in self.gateways.items():
            phases = {d["device"]: d["phase"] for d in g.rpc("device.list")["devices"]}
            back = [d for d, p in phases.items() if p in ("trial", "committed")]
            if back:
                g.rollback(back)
            for device in back:
                g.wait_device(device, phase="rolled-back")
            g.rpc("identity.discard", target=self.devices[name])
        until("the centre sees them settled", lambda: all(
            (lambda d: d and d["phase"] == "steady" and d["slots"]["new"] is None)(self.told(d)) for d in self.all()))

    def audit(self, what, since=None):
        """{gateway: rows of the audit log of that method}, those after the marks `since`."""
        found = {}
        for name, g in self.gateways.items():
            rows, after = [], (since or {}).get(name, 0)
            while after is not None:
                page = g.rpc("audit.list", after=after, limit=1000)
                rows += page["entries"]
                after = page["next"]
            found[name] = [r for r in rows if r["what"] == what]
        return found

    def audit_marks(self):
        return {name: max([r["seq"] for r in g.rpc("audit.list", limit=1)["entries"]], default=0)
                for name, g in self.gateways.items()}


class Wire:
    """What went over the broker, in its order, since `mark`."""

    def __init__(self, site, mark=0):
        self.messages = list(site.centre.client.messages)[mark:]
        self.site = site

    def _each(self, only=None):
        for m in self.messages:
            _, _, gateway, what, *_ = m.topic.split("/")
            if only is not None and what != only:
                continue
            if what == "cmd":
                for request in requests_of(m.payload):
                    yield gateway, what, request
            elif m.payload:
                yield gateway, what, json.loads(m.payload)

    def __iter__(self):
        """(gateway, what, value) of each message: "cmd", "reply", "state", "event", "device"; of a signed command what
        was signed."""
        return self._each()

    def targets(self, request):
        target = request["params"].get("target", request["params"].get("device"))
        return [] if target is None else [target] if isinstance(target, str) else target

    def commands(self, method):
        """(gateway, devices) of each command, the first time that it was sent."""
        seen, out = set(), []
        for gateway, _, value in self._each("cmd"):
            if value.get("method") == method and (gateway, value["id"]) not in seen:
                seen.add((gateway, value["id"]))
                out.append((gateway, self.targets(value)))
        return out

    def ordered(self, method):
        return {d for _, targets in self.commands(method) for d in targets}


def waves_in_order(wire, wave):
    """No device is ordered to flip before those of the earlier waves are committed; {device: wave}."""
    committed = set()
    for _, what, value in wire:
        if what == "event" and value.get("event") == "flip":
            if value["to"] == "committed":
                committed.add(value["device"])
            elif value["from"] in ("committed", "trial"):
                committed.discard(value["device"])
        elif what == "cmd" and value.get("method") == "flip":
            for device in wire.targets(value):
                behind = {d for d, w in wave.items() if w < wave[device]} - committed
                assert not behind, "%s of wave %d is flipped before %s" % (device, wave[device], sorted(behind))


def trusted_before_flips(wire, fingerprint):
    """On each gateway the new anchor is in force before its first flip, and anywhere before the first of all."""
    trusted = set()
    for gateway, what, value in wire:
        if what == "state" and value["online"]:
            if any(a["fingerprint"] == fingerprint for a in value["trust"]["upstream"]):
                trusted.add(gateway)
        elif what == "cmd" and value.get("method") == "flip":
            assert trusted == set(wire.site.names), "a flip, and of %s nobody knows whom they believe" % (
                set(wire.site.names) - trusted)


def retired_last(wire, devices):
    committed = set()
    for _, what, value in wire:
        if what == "event" and value.get("event") == "flip" and value["to"] == "committed":
            committed.add(value["device"])
        elif what == "cmd" and value.get("method") in ("retire", "trust.remove"):
            assert committed >= set(devices), "retired before %s is through" % sorted(set(devices) - committed)
