#!/usr/bin/python3
"""certflip's main job, to watch: legacy sensors get new certificates towards the broker and do not notice.

What runs here is real: openssl makes an old and a new CA, mosquitto demands client certificates of one of the two,
paho clients play the sensors with their baked-in old certificates, certflipd stands between, and the centre
commands it through the broker.  Ends with a table; the exit status is 0 only when nothing was lost, nothing came
twice, no sensor was cut off and every flip ended as it should.
"""

import argparse
import collections
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))

import paho.mqtt.client as paho  # noqa: E402

from lib.broker import Mosquitto  # noqa: E402
from lib.gateway import Certflipd, binary  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.wait import until  # noqa: E402

GATEWAY = "plant-7"
ROOT = "certflip/v1/" + GATEWAY


class Screen:
    """Sections and short lines; colours on a terminal only."""

    def __init__(self):
        self.colour = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "NO_COLOR" not in os.environ
        self.began = time.monotonic()

    def paint(self, code, text):
        return "\033[%sm%s\033[0m" % (code, text) if self.colour else text

    def section(self, text):
        print()
        print(self.paint("1", "== %s" % text) + self.paint("2", "  [%.1f s]" % (time.monotonic() - self.began)))

    def say(self, text):
        print("   " + text, flush=True)

    def good(self, text):
        return self.paint("32", text)

    def bad(self, text):
        return self.paint("31", text)

    def warn(self, text):
        return self.paint("33", text)

    def table(self, head, rows, colours=()):
        widths = [max(len(str(r[i])) for r in [head] + rows) for i in range(len(head))]
        number = [all(isinstance(r[i], int) for r in rows) for i in range(len(head))]

        def line(row):
            return "  ".join(str(c).rjust(w) if n else str(c).ljust(w) for c, w, n in zip(row, widths, number)).rstrip()
        self.say(self.paint("1", line(head)))
        for i, row in enumerate(rows):
            text = line(row)
            self.say(colours[i](text) if i < len(colours) and colours[i] else text)


class Count:
    """Numbered messages in one direction."""

    def __init__(self):
        self.sent = 0
        self.got = collections.Counter()

    def lost(self):
        return self.sent - len(self.got)

    def twice(self):
        return sum(self.got.values()) - len(self.got)


class Sensor:
    """A paho client that knows one certificate, one address, and nothing about flips."""

    def __init__(self, name, gateway, pki):
        self.name = name
        self.up = Count()
        self.down = Count()
        self.disconnects = 0
        self.connects = 0
        self.leaving = False
        self.subscribed = threading.Event()
        self._gateway = gateway
        baked_in = pki.sensor(name)
        self.client = paho.Client(client_id=name, clean_session=True, protocol=paho.MQTTv311)
        self.client.tls_set(pki.server_ca.cert, baked_in.chain, baked_in.key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_subscribe = lambda *unused: self.subscribed.set()
        self.client.on_message = self._commanded

    def start(self):
        self.client.connect("127.0.0.1", self._gateway.port, keepalive=30)
        self.client.loop_start()

    def _connected(self, client, userdata, flags, code):
        if code == 0:
            self.connects += 1
            client.subscribe("plant/%s/command" % self.name, qos=1)

    def _disconnected(self, client, userdata, code):
        if not self.leaving:
            self.disconnects += 1

    def _commanded(self, client, userdata, message):
        self.down.got[int(message.payload)] += 1

    def measure(self):
        self.up.sent += 1
        self.client.publish("plant/%s/value" % self.name, str(self.up.sent), qos=1)

    def stop(self):
        self.leaving = True
        self.client.disconnect()
        self.client.loop_stop()


class Centre:
    """The back office: straight at the broker, sends commands to sensors and gateways, counts what arrives."""

    def __init__(self, broker, gateway):
        self.gateway = gateway
        self.sensors = {}
        self.devices = {}
        self.replies = {}
        self.state = None
        self._ids = 0
        self.client = paho.Client(client_id="centre", protocol=paho.MQTTv311)
        self.client.max_inflight_messages_set(500)
        self.client.on_message = self._message
        self.client.connect("127.0.0.1", broker.port)
        self._granted = threading.Event()
        self.client.on_subscribe = lambda *unused: self._granted.set()
        self.client.loop_start()
        self.client.subscribe([("plant/+/value", 2), (ROOT + "/reply", 1), (ROOT + "/device/+", 1), (ROOT + "/state", 1)])
        until("the centre's subscriptions stand", self._granted.is_set)

    def _message(self, client, userdata, message):
        if message.topic.startswith("plant/"):
            sensor = self.sensors.get(message.topic.split("/")[1])
            if sensor:
                sensor.up.got[int(message.payload)] += 1
        elif message.topic == ROOT + "/reply":
            reply = json.loads(message.payload)
            self.replies[reply["id"]] = reply
        elif message.topic == ROOT + "/state":
            self.state = json.loads(message.payload)
        elif message.payload:
            self.devices[message.topic.rsplit("/", 1)[1]] = json.loads(message.payload)

    def feed(self, sensor):
        sensor.down.sent += 1
        self.client.publish("plant/%s/command" % sensor.name, str(sensor.down.sent), qos=1)

    def command(self, method, **params):
        """JSON-RPC through the broker; returns the result."""
        self._ids += 1
        name = "demo-%d-%d" % (os.getpid(), self._ids)
        self.client.publish(ROOT + "/cmd", json.dumps({"jsonrpc": "2.0", "id": name, "method": method,
                                                        "params": params}), qos=1)
        reply = until("the gateway answers " + method, lambda: self.alive() and self.replies.get(name), 20)
        if "error" in reply:
            raise RuntimeError("%s: %s" % (method, reply["error"]["message"]))
        return reply["result"]

    def wait(self, device, timeout=20, **expected):
        """Until the retained topic of the device says so."""
        def so():
            self.alive()
            told = self.devices.get(device, {})
            return told if all(told.get(k) == v for k, v in expected.items()) else None

        def words():
            told = self.devices.get(device, {})
            return "%s is %s; it is %s, because: %s" % (
                device, expected["phase"], told.get("phase"), told.get("reason") or told.get("last_error"))
        return until(words, so, timeout)

    def alive(self):
        """True, or RuntimeError: no gateway, no answer."""
        if not self.gateway.running():
            raise RuntimeError("certflipd is gone; its log:\n" + self.gateway.log.tail())
        return True

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


class Traffic:
    """Every sensor measures, every sensor is fed, again and again, until stopped."""

    def __init__(self, sensors, centre, interval):
        self.sensors = sensors
        self.centre = centre
        self.interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(self.interval):
            for sensor in self.sensors:
                sensor.measure()
                self.centre.feed(sensor)

    def more(self, count):
        """Until every sensor has exchanged so many messages more, both ways."""
        goal = {s.name: (len(s.up.got) + count, len(s.down.got) + count) for s in self.sensors}
        until("traffic goes on", lambda: all(len(s.up.got) >= goal[s.name][0] and len(s.down.got) >= goal[s.name][1]
                                             for s in self.sensors), 30)

    def stop(self):
        self._stop.set()
        self._thread.join()
        try:
            until("all has arrived", lambda: all(s.up.lost() == 0 and s.down.lost() == 0 for s in self.sensors), 10)
        except AssertionError:
            pass  # the table tells


def run(args, folder, screen):
    os.environ["CERTFLIP_BUILD"] = args.build
    names = ["sensor-%02d" % i for i in range(1, args.sensors + 1)]
    refused = names[len(names) // 2]
    stack = []
    try:
        return play(args, folder, screen, names, refused, stack)
    finally:
        for stop in reversed(stack):
            try:
                stop()
            except Exception as e:  # the others must be stopped all the same
                print("while stopping: %s" % e, file=sys.stderr)


def play(args, folder, screen, names, refused, stack):
    screen.section("Certificates")
    pki = Pki(os.path.join(folder, "pki"))
    pki.prepare(names + [GATEWAY])
    screen.say("Plant Old CA and Plant New CA, made by openssl")
    screen.say("%d sensors, each with its baked-in certificate from the old CA" % len(names))
    screen.say("for each sensor the gateway holds an old and a new identity")
    screen.say("the new identity of %s comes, by mistake, from a CA that the broker does not know" % refused)

    screen.section("Broker")
    broker = Mosquitto(os.path.join(folder, "broker"), pki)
    stack.append(broker.stop)
    broker.start()
    screen.say("mosquitto on port %d demands client certificates, trusts both CAs" % broker.tls_port)

    screen.section("Gateway")
    gateway = Certflipd(os.path.join(folder, "gateway"), pki, broker, gateway=GATEWAY, management={
        "enabled": True, "device": GATEWAY, "socket": os.path.join(folder, "mqtt.sock")})
    for name in names + [GATEWAY]:
        gateway.install(name, new=pki.identity(name, "new", ca=pki.stranger) if name == refused else True)
    stack.append(lambda: gateway.__exit__(None if gateway.running() else RuntimeError))
    gateway.start()
    centre = Centre(broker, gateway)
    stack.append(centre.stop)
    until(lambda: "the gateway announces itself; its log:\n" + gateway.log.tail(), lambda: centre.state, 20)
    screen.say("certflipd %s listens on port %d" % (gateway.rpc("status")["version"], gateway.port))
    screen.say("it takes commands through the broker, on %s/cmd" % ROOT)

    screen.section("Sensors")
    sensors = [Sensor(name, gateway, pki) for name in names]
    centre.sensors = {s.name: s for s in sensors}
    for sensor in sensors:
        stack.append(sensor.stop)
        sensor.start()
    for sensor in sensors:
        until("%s is connected and subscribed; the gateway's log:\n%s" % (sensor.name, gateway.log.tail()),
              sensor.subscribed.is_set, 20)
    traffic = Traffic(sensors, centre, args.interval)
    stack.append(traffic.stop)
    traffic.more(10)
    screen.say("%d paho clients publish numbered QoS 1 messages and are sent numbered commands" % len(sensors))
    screen.say("all with their old identity:")
    show(screen, broker, names, {})

    screen.section("Pilot: flip %s by command through the broker" % names[0])
    flip(screen, centre, names[:1])
    outcome = follow(screen, centre, broker, names[:1], refused)

    screen.section("Wave: flip the other %d" % (len(names) - 1))
    flip(screen, centre, names[1:])
    outcome.update(follow(screen, centre, broker, names[1:], refused))
    said = centre.devices[refused]
    error = said.get("last_error") or {}
    screen.say("")
    screen.say("%s is back on its old identity by itself:" % refused)
    for label, text in (("why", said.get("reason") or error.get("message")), ("remedy", error.get("remedy"))):
        if text:
            screen.say("   %-7s %s" % (label, text))

    screen.section("The gateway's own identity, by the same command, through itself")
    flip(screen, centre, [GATEWAY])
    outcome.update(follow(screen, centre, broker, [GATEWAY], refused, client="certflip-" + GATEWAY))

    traffic.more(20)
    traffic.stop()
    screen.section("What the technician sees: certflipctl devices")
    done = subprocess.run([binary("certflipctl"), "-s", gateway.control, "devices"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in done.stdout.splitlines():
        screen.say(line)

    screen.section("Account")
    return account(screen, sensors, centre, broker, outcome, refused)


def flip(screen, centre, targets):
    result = centre.command("flip", target=targets, probation_s=1)
    shown = ", ".join(targets) if len(targets) < 3 else "%s ... %s" % (targets[0], targets[-1])
    screen.say("-> flip %s: %d begun, %d refused" % (shown, result["done"], result["refused"]))


def follow(screen, centre, broker, names, refused, client=None):
    """Wait for each trial to end as it should; returns {name: device}."""
    for name in names:
        if name == refused:
            centre.wait(name, phase="rolled-back", active="old")
        else:
            centre.wait(name, phase="committed", active="new")
            broker.wait_slot(client or name, "new")
    outcome = {name: dict(centre.devices[name]) for name in names}
    show(screen, broker, names, outcome, client)
    return outcome


def show(screen, broker, names, outcome, client=None):
    for name in names:
        phase = outcome.get(name, {}).get("phase", "")
        text = "%-10s the broker sees  %-34s %s" % (name, broker.user(client or name), phase)
        screen.say(screen.warn(text) if phase == "rolled-back" else screen.good(text) if phase else text)


def account(screen, sensors, centre, broker, outcome, refused):
    rows, colours, fine = [], [], True
    for s in sensors:
        device = centre.devices.get(s.name, {})
        expected = ("old", "rolled-back") if s.name == refused else ("new", "committed")
        seen = broker.slot(s.name)
        good = (s.up.lost() == s.up.twice() == s.down.lost() == s.down.twice() == s.disconnects == 0 and s.connects == 1
                and (device.get("active"), device.get("phase")) == expected and seen == expected[0])
        fine = fine and good and s.up.sent > 0 and s.down.sent > 0
        rows.append([s.name, device.get("active", "?"), seen or "?", device.get("phase", "?"),
                     s.up.sent, len(s.up.got), s.up.lost(), s.up.twice(),
                     s.down.sent, len(s.down.got), s.down.lost(), s.down.twice(), s.disconnects])
        colours.append(None if good else screen.bad)
    total = ["total", "", "", ""] + [sum(r[i] for r in rows) for i in range(4, 13)]
    screen.table(["device", "active", "broker", "phase", "sent up", "recv", "lost", "dup",
                  "sent down", "recv", "lost", "dup", "cut off"], rows + [total], colours)
    screen.say("")
    if fine:
        screen.say(screen.good("%d devices flipped, 1 rolled back by itself; nothing lost, nothing twice, nobody cut off."
                               % (len(sensors) - 1)))
    else:
        screen.say(screen.bad("Not as it should be: see above."))
    return 0 if fine else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="where certflip was built")
    parser.add_argument("--sensors", type=int, default=12, help="how many (default: 12)")
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between a sensor's messages")
    parser.add_argument("--keep", action="store_true", help="keep certificates, configurations and logs")
    args = parser.parse_args()
    if not 2 <= args.sensors <= 200:
        parser.error("--sensors: 2 to 200")
    args.build = os.path.abspath(args.build)
    folder = tempfile.mkdtemp(prefix="certflip-demo-")
    screen = Screen()
    try:
        code = run(args, folder, screen)
    except (AssertionError, RuntimeError, OSError) as e:
        print(file=sys.stderr)
        print(screen.bad("The demo broke off: %s" % e), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    if args.keep:
        print("   kept: " + folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
