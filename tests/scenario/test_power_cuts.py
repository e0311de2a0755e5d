"""The power is cut at every step that matters, and at any moment of a storm of flips.  Afterwards each device has one
active identity, the journalled one, a trial goes on or is rolled back, and what a sensor was acknowledged is at the far
end."""

import json
import os
import random
import signal
import threading
import time

import pytest

from lib.gateway import Refused
from lib.pki import CLIENT
from lib.plant import Plant
from lib.power import ACTIVE, Power, crash_points
from lib.wait import seconds, until

POINTS = crash_points()
pytestmark = pytest.mark.skipif(not POINTS, reason="configure --enable-crash-points")

# Reached by none of certflipd's own doings yet: tests/unit/test_base_crash.c cuts the power at them.
ELSEWHERE = {p for p in POINTS if p.startswith("durable.")}
# Of other commands: test_who_is_believed_changes.py.
ELSEWHERE |= {p for p in POINTS if p.startswith("trust.")}
# With the command channel: test_a_command_of_the_centre_is_carried_out.
CENTRAL = {p for p in POINTS if p.startswith("central.")}
# While an identity is renewed: test_power_cuts_in_a_life.py.
LIFE = {p for p in POINTS if p.startswith(("files.", "change."))}
LONG = 3600


class Sensors:
    """Sensors with lasting sessions and numbered messages both ways, who come back after every power cut."""

    def __init__(self, site, devices, wills=()):
        self.site = site
        self.wills = set(wills)
        self.clients = {}
        self.streams = []
        self.qos = {}
        for qos in (1, 2):
            group = devices[qos - 1::2]
            clients = {}
            for i, device in enumerate(group):
                version = 5 if i % 2 else 4
                client = site.sensor(device, version, plain=True)
                client.connect(device, clean=False, **self.options(device, version))
                clients[device] = client
                self.qos[device] = qos
            self.clients.update(clients)
            self.streams.append(site.streams(clients, qos, interval=0.02))

    def options(self, device, version):
        out = {"will": ("wills", device, 1, False)} if device in self.wills else {}
        if version == 5:
            out["props"] = {"session_expiry": LONG}
        return out

    def stream(self, device):
        return self.streams[self.qos[device] - 1]

    def all_ended(self):
        until("all sensors have noticed", lambda: all(c.ended for c in self.clients.values()))

    def come_back(self, timeout=20):
        """All connect again and go on where they were."""
        self.all_ended()
        formers = dict(self.clients)
        for device, former in formers.items():
            client = self.site.sensor(device, former.version, plain=True)
            self.site.clients.remove(former)
            assert not former.faults, (former, former.faults)
            client.resume_begin(former, timeout, **self.options(device, former.version))
            self.clients[device] = client
        for device, client in self.clients.items():
            client.resume_end(timeout)
            self.stream(device).resume(device, client)

    def account(self, timeout=20):
        """What has been sent by now arrives, both ways; twice only what QoS 1 allows."""
        for streams in self.streams:
            sent = {(way, d): account[d].sent for way, account in (("up", streams.up), ("down", streams.down))
                    for d in account}
            for (way, device), count in sent.items():
                got = getattr(streams, way)[device].got
                until(lambda d=device: "all %s of %s: %s" % (way, d, streams.summary()),
                      lambda g=got, n=count: len(set(g) & set(range(1, n + 1))) == n, timeout)
                if streams.qos == 2:
                    assert len(got) == len(set(got)), (way, device, streams.summary())
            for device, client in streams.clients.items():
                for pid in [*client.inflight]:
                    client.finished(pid, timeout)

    def stop(self):
        for streams in self.streams:
            assert streams.stop(), "%s\n%s" % (streams.summary(), [c.inflight for c in self.clients.values()])


# What becomes of each device in every round: it is flipped, flipped with a Will, flipped to what the broker refuses, rolled
# back, committed, given another identity.
ROLES = ["goes", "goes-with-will", "is-refused", "comes-back", "stays", "is-reissued"]


@pytest.fixture(scope="module")
def power(tmp_path_factory, pki, reactor):
    site = Plant(tmp_path_factory.mktemp("power"), pki, reactor, ROLES, flip={"probation_s": LONG, "attempts": 3})
    site.gateway.install("is-refused", old=False, new=pki.identity("is-refused", "new", ca=pki.stranger))
    made = Power(site)
    made.sound = False  # a round that fails half way says so; the end must not say it again
    try:
        site.__enter__()
        made.may = {d: {"staged"} for d in ROLES}
        made.reissued = False
        made.sensors = Sensors(site, ROLES, wills=["goes-with-will"])
        yield made
        if made.sound:
            made.sensors.stop()
    finally:
        site.__exit__(None if made.sound else RuntimeError)


def _reset(power):
    """Everybody staged, but for those who begin in trial.  Returns False when the power was cut meanwhile."""
    back = {d for d in ROLES if power.may[d] != {"staged"}}
    steps = [("rollback", {d: ("rolled-back",) for d in back}, {}),
             ("quarantine.clear", {d: ("staged",) for d in back}, {}),
             ("flip", {d: ("trial",) for d in ("comes-back", "stays")}, {"probation_s": LONG})]
    for method, leads, params in steps:
        if leads and not power.command(method, leads, target=sorted(leads), **params):
            return False
    for device in ("comes-back", "stays"):
        power.gateway.wait_device(device, waiting="probation")
    return True


def _reissue(power):
    """The one or the other, in turns."""
    power.reissued = not power.reissued
    pair = power.site.pki.new.issue("is-reissued-%s" % power.reissued, "/O=Plant/OU=new/CN=is-reissued", CLIENT)
    power.gateway.install("is-reissued", old=False, new=pair)


def _act(power, stop):
    """One round.  Ends early when the power is cut."""
    steps = [
        lambda: power.command("flip", {"goes": ("trial",), "goes-with-will": ("trial",),
                                       "is-refused": ("trial", "rolled-back")},
                              target=["goes", "goes-with-will", "is-refused"]),
        lambda: power.command("rollback", {"comes-back": ("rolled-back",)}, target="comes-back"),
        lambda: power.command("commit", {"stays": ("committed",)}, target="stays"),
        lambda: (_reissue(power), power.command("config.reload", {"is-reissued": ("staged",)}))[1],
    ]
    for step in steps:
        if not step():
            return
    if stop:
        power.gateway.process.terminate()
        return
    deadline = time.monotonic() + seconds(5)
    while not power.dead() and time.monotonic() < deadline:
        shown = {d: power.gateway.device(d) for d in ROLES} if not power.dead() else {}
        if shown and shown["is-refused"]["phase"] == "rolled-back" and \
                all(shown[d]["waiting"] == "probation" for d in ("goes", "goes-with-will")):
            return


def _settle(power):
    """The sensors are back: each is served with its active identity, and nothing that they were told is untrue."""
    journal = power.boot()
    power.sensors.come_back()
    for device in ROLES:
        phase = next(iter(power.may[device]))
        if device == "is-refused" and phase == "trial":
            power.gateway.wait_device(device, phase="rolled-back")
            power.may[device] = {"rolled-back"}
            phase = "rolled-back"
        power.site.broker.wait_slot(device, ACTIVE[phase])
        if phase == "trial":
            now = power.gateway.wait_device(device, waiting="probation")
            assert now["attempts"] == journal[device]["attempts"] + 1, (journal[device], now)
    power.sensors.account()
    power.sound = True


def _cut(power, point, line, stop=False, rounds=5):
    mark = power.gateway.log.mark()
    power.sound = False
    _reset(power)
    power.arm(line)
    try:
        _act(power, stop)
        for _ in range(rounds - 1):
            if stop or power.dead() or not _reset(power):
                break
            _act(power, stop)
    except (OSError, ValueError):
        pass  # the power was cut while somebody looked
    power.wait_death(point)
    assert power.gateway.log.find("^crash-point: %s$" % point, mark)
    _settle(power)


IN_FLIGHT = sorted(set(POINTS) - ELSEWHERE - CENTRAL - LIFE - {p for p in POINTS if p.split(".")[0] in ("start", "stop")})


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("point", IN_FLIGHT)
def test_at_every_point(power, point, count):
    _cut(power, point, "%s:%d" % (point, count))


@pytest.mark.parametrize("point", sorted(p for p in POINTS if p.startswith("stop.")))
def test_while_it_stops(power, point):
    _cut(power, point, point, stop=True)


@pytest.mark.parametrize("point", sorted(p for p in POINTS if p.startswith("start.")) +
                         ["save.begin", "save.commit", "save.committed", "tell.device", "disk.write", "disk.sync",
                          "disk.synced"])
def test_and_again_at_the_start(power, point):
    """The power comes, and goes, and comes."""
    power.sound = False
    _reset(power)
    power.arm("tell.device-told:2")
    while power.command("flip", {"goes": ("trial",)}, target="goes") and \
            power.command("rollback", {"goes": ("rolled-back",)}, target="goes"):
        power.command("quarantine.clear", {"goes": ("staged",)}, target="goes")
    power.wait_death("tell.device-told")
    power.arm(point)
    power.gateway.launch(wait=False)
    power.wait_death(point)
    _settle(power)


# -- a storm

STORM_S = float(os.environ.get("CERTFLIP_STORM_S", "45"))
STORM_SEED = int(os.environ.get("CERTFLIP_STORM_SEED", "1"))
BECOMES = {"flip": "trial", "rollback": "rolled-back", "commit": "committed", "quarantine.clear": "staged"}


class Storm:
    """Commands to whoever, and what each device may have become of them."""

    def __init__(self, power, devices, refused, dice):
        self.power = power
        self.devices = devices
        self.refused = refused
        self.dice = dice
        self.commands = 0

    def follow(self):
        """What may follow by itself: probation is over, or the broker refuses."""
        for device, phases in self.power.may.items():
            if "trial" in phases:
                phases.add("rolled-back" if device in self.refused else "committed")

    def command(self):
        """Returns False when nobody answers."""
        method = self.dice.choice(["flip", "flip", "flip", "rollback", "rollback", "commit", "quarantine.clear",
                                   "quarantine.clear", "config.reload"])
        if method == "config.reload":
            params, target = {}, []
        else:
            target = self.dice.sample(self.devices, self.dice.randint(1, len(self.devices)))
            params = {"target": target}
            if method == "flip":
                params["probation_s"] = self.dice.choice([1, 1, 3600])
        before = {d: set(self.power.may[d]) for d in target}
        for device in target:
            self.power.may[device].add(BECOMES[method])
        self.follow()
        try:
            result = self.power.gateway.rpc(method, **params)
        except Refused as refused:
            for row in refused.error.get("data", {}).get("results", []):
                before[row["device"]] = {row["phase"]}
            self.power.may.update(before)
        except (OSError, ValueError):
            return False
        else:
            for row in result.get("devices", []):
                self.power.may[row["device"]] = {row["phase"]}
        self.follow()
        self.commands += 1
        return True

    def round(self, number):
        """Commands until the power is cut, or, now and then, it is ended in order."""
        process = self.power.gateway.process
        self.power.cut = threading.Timer(self.dice.uniform(0.01, 0.6), process.send_signal, [number])
        self.power.cut.start()
        while self.command():
            pass
        self.power.cut.join()


def test_a_storm_of_flips(tmp_path, pki, reactor):
    """CERTFLIP_STORM_S and CERTFLIP_STORM_SEED make a soak of it."""
    devices = ["storm-%02d" % i for i in range(40)]
    refused = set(devices[::8])
    dice = random.Random(STORM_SEED)
    site = Plant(tmp_path, pki, reactor, devices, flip={"attempts": 3, "backoff_tls_s": [1], "backoff_network_s": [1]})
    for device in refused:
        site.gateway.install(device, old=False, new=pki.identity(device, "new", ca=pki.stranger))
    power = Power(site)
    cuts = orders = 0
    sound = False
    try:
        site.__enter__()
        power.may = {d: {"staged"} for d in devices}
        sensors = Sensors(site, devices, wills=devices[5::6])
        storm = Storm(power, devices, refused, dice)
        end = time.monotonic() + STORM_S
        while time.monotonic() < end:
            number = signal.SIGTERM if dice.random() < 0.1 else signal.SIGKILL
            storm.round(number)
            if number == signal.SIGKILL:
                power.wait_death()
                cuts += 1
            else:
                site.gateway.stop()
                orders += 1
            power.boot()
            storm.follow()
            mark = os.path.getsize(site.broker.log.path)
            sensors.come_back()
            expected = {d: {ACTIVE[p] for p in power.may[d]} for d in devices}
            until(lambda m=mark, e=expected: "the broker sees %s, not %s" % (e, site.broker.slots(m)),
                  lambda m=mark, e=expected: (lambda seen: all(seen.get(d) in e[d] for d in devices))(
                      site.broker.slots(m)), 20)
        # In the end everything stands where it is shown, and all has arrived.
        for device in devices:
            now = until("%s has come to rest" % device,
                        lambda d=device: (lambda s: s if s["phase"] != "trial" or s["waiting"] == "probation" else None)(
                            site.gateway.device(d)), 20)
            site.broker.wait_slot(device, now["active"])
        sensors.account(30)
        sensors.stop()
        assert cuts > 0
        sound = True
    finally:
        site.__exit__(None if sound else RuntimeError)
    print("\nstorm of seed %d: %d power cuts of %d devices each, %d device-points; %d orderly ends; %d commands" %
          (STORM_SEED, cuts, len(devices), cuts * len(devices), orders, storm.commands))


# -- commands of the centre

GATEWAY = "gw-test"


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
@pytest.mark.parametrize("point", sorted(CENTRAL) + ["save.begin", "save.commit", "save.committed", "tell.device",
                                                     "tell.event"])
def test_a_command_of_the_centre_is_carried_out(plant, point, version):
    """Once, and answered, wherever the power is cut: the broker has it until the gateway has carried it out."""
    site = plant(["one", GATEWAY], start=False)
    site.gateway.conf["management"] = {"enabled": True, "device": GATEWAY, "version": version,
                                       "socket": os.path.join(site.gateway.run, "mqtt.sock")}
    power = Power(site)
    site.__enter__()
    site.connect("one")
    centre = site.observer(version)
    centre.subscribe(("certflip/v1/%s/#" % GATEWAY, 1))

    def got(topic):
        return [json.loads(m.payload) for m in list(centre.messages)
                if m.topic == "certflip/v1/%s/%s" % (GATEWAY, topic) and m.payload]
    until("the gateway is there", lambda: any(s.get("online") for s in got("state")))
    power.arm(point)
    request = {"jsonrpc": "2.0", "id": "c-1", "method": "flip", "params": {"target": "one", "probation_s": LONG}}
    centre.publish("certflip/v1/%s/cmd" % GATEWAY, json.dumps(request), 1)
    power.wait_death(point)
    power.disarm()
    site.gateway.launch()
    site.connect("one")
    replies = until("a reply", lambda: [r for r in got("reply") if r.get("id") == "c-1"], 20)
    assert replies[0]["result"]["done"] == 1 and replies[0]["result"]["devices"][0]["changed"], replies
    assert all(r == replies[0] for r in replies)
    site.gateway.wait_device("one", phase="trial", waiting="probation", attempts=1 if point < "save.committed" and
                             point != "central.reply" else 2)
    flips = [e for e in site.gateway.rpc("audit.list")["entries"] if e["what"] == "flip"]
    assert len(flips) == 1, flips
