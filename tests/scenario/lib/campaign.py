"""What a campaign needs: simulated gateways, somebody at the centre, and certflip-fleet with its file."""

import json
import os
import signal
import subprocess
import time

from .gateway import SANITIZER, SUPPRESSIONS, binary, build_dir, config_text, merge
from .wait import Log, seconds, until

ROOT = "certflip/v1"


def environment():
    env = dict(os.environ)
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
