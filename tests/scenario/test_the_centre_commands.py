"""Commands through the broker: the same ones, answered there; what is retained there is true."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from lib.broker import Mosquitto
from lib.front import Front
from lib.pki import openssl
from lib.wait import seconds, until

GATEWAY = "gw-test"
ROOT = "certflip/v1/" + GATEWAY


class Centre:
    def __init__(self, site, version=4):
        self.client = site.observer(version)
        self.client.subscribe((ROOT + "/#", 1))
        self.ids = 0

    def topic(self, name):
        """Payloads on a topic below the root, in order."""
        return [m.payload for m in list(self.client.messages) if m.topic == ROOT + "/" + name]

    def latest(self, name):
        got = self.topic(name)
        return json.loads(got[-1]) if got and got[-1] else None

    def send(self, request, **options):
        self.client.publish(ROOT + "/cmd", request if isinstance(request, (str, bytes)) else json.dumps(request), 1,
                            **options)

    def replies(self, request_id):
        return [r for r in map(json.loads, self.topic("reply")) if isinstance(r, dict) and r.get("id") == request_id]

    def command(self, method, **params):
        self.ids += 1
        name = "c-%d-%d" % (os.getpid(), self.ids)
        self.send({"jsonrpc": "2.0", "id": name, "method": method, "params": params})
        until("a reply to " + method, lambda: self.replies(name))
        return self.replies(name)[0]

    def wait(self, device, **expected):
        return until(lambda: "%s is %s: %s" % (device, expected, self.latest("device/" + device)),
                     lambda: (lambda d: d if d and all(d.get(k) == v for k, v in expected.items()) else None)(
                         self.latest("device/" + device)), 20)


@pytest.fixture
def managed(plant):
    """managed(version): a plant with the command channel, which speaks that version of MQTT."""
    def make(version):
        made = plant(["p-1", "p-2", "p-3", GATEWAY], start=False)
        made.socket = os.path.join(made.gateway.run, "mqtt.sock")
        made.gateway.conf["management"] = {"enabled": True, "device": GATEWAY, "socket": made.socket,
                                           "version": version}
        return made.__enter__()
    return make


@pytest.fixture
def site(managed):
    return managed(5)


@pytest.mark.threads
@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_flip_by_command_through_the_broker(managed, version):
    site = managed(version)
    centre = Centre(site)
    until("the state is announced", lambda: (centre.latest("state") or {}).get("online"))
    streams = site.streams(["p-1", "p-2", "p-3"])
    streams.progress(5)
    result = centre.command("flip", target="p-*", probation_s=1)["result"]
    assert result["done"] == 3
    for device in ("p-1", "p-2", "p-3"):
        told = centre.wait(device, phase="committed", active="new")
        assert told["slots"]["new"]["fingerprint"] == site.pki.identity(device, "new").fingerprint()
        assert site.broker.slot(device) == "new"
    centre.command("rollback", target=["p-1"])
    centre.wait("p-1", phase="rolled-back", active="old")
    streams.progress(5)
    streams.prove()
    assert site.broker.slot("certflip-" + GATEWAY) == "old"


def test_the_gateways_own_identity(site):
    """The management client is a device like any other: it is flipped through itself."""
    centre = Centre(site)
    client_id = "certflip-" + GATEWAY
    until("it is connected", lambda: centre.latest("state"))
    assert centre.command("flip", target=GATEWAY, probation_s=1)["result"]["done"] == 1
    centre.wait(GATEWAY, phase="committed", active="new")
    assert site.broker.slot(client_id) == "new"
    assert centre.command("rollback", target=GATEWAY)["result"]["done"] == 1
    centre.wait(GATEWAY, phase="rolled-back", active="old")
    site.broker.wait_slot(client_id, "old")
    assert centre.command("status")["result"]["central"]["connected"]


def manage(made, version=5):
    made.gateway.conf["management"] = {"enabled": True, "device": GATEWAY, "version": version,
                                       "socket": os.path.join(made.gateway.run, "mqtt.sock")}
    return made.__enter__()


def flip_the_channel(centre, **params):
    """Flip the gateway's own identity through it, with commands on their way all the time.  Returns the commands' ids."""
    ids = []

    def more(n):
        for _ in range(n):
            ids.append("during-%d" % len(ids))
            centre.send({"jsonrpc": "2.0", "id": ids[-1], "method": "device.get", "params": {"device": "p-1"}}, wait=False)
    more(10)
    assert centre.command("flip", target=GATEWAY, **params)["result"]["done"] == 1
    more(10)
    return ids


def nothing_was_lost(centre, ids, first, twice=False):
    """Each command was answered, once; the events from `first` on have no gap, and the state has the last of them.  `twice`:
    after a connection that was lost some may come again, as is the nature of QoS 1."""
    until(lambda: "all are answered: %s" % [i for i in ids if not centre.replies(i)],
          lambda: all(centre.replies(i) for i in ids), 20)
    assert all(len(centre.replies(i)) == 1 for i in ids)

    def told():  # one more may be on its way
        events = [json.loads(e) for e in centre.topic("event")]
        return events if centre.latest("state")["event_seq"] == events[-1]["seq"] else None
    events = until("the state has the number of the latest event", told)
    numbers = [e["seq"] for e in events if e["seq"] >= first]
    assert (list(dict.fromkeys(numbers)) if twice else numbers) == list(range(first, events[-1]["seq"] + 1))
    assert {e["epoch"] for e in events} == {centre.latest("state")["epoch"]}
    return [(e["from"], e["to"]) for e in events if e.get("device") == GATEWAY and e["seq"] >= first]


def test_the_channels_identity_is_confirmed_through_itself(site):
    """On the new identity the centre is still heard: its word, through that very connection, ends the trial."""
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    first = centre.latest("state")["event_seq"] + 1
    ids = flip_the_channel(centre, confirm="central", confirm_s=600, probation_s=1)
    told = centre.wait(GATEWAY, phase="trial", waiting="confirm")
    assert told["upstream"]["slot"] == "new" and site.broker.slot("certflip-" + GATEWAY) == "new"
    fingerprint = told["slots"]["new"]["fingerprint"]
    assert centre.command("confirm", target=GATEWAY, fingerprint="0" * 64)["error"]["data"]["name"] == "fingerprint"
    assert centre.command("confirm", target=GATEWAY, fingerprint=fingerprint)["result"]["done"] == 1
    centre.wait(GATEWAY, phase="committed", active="new")
    steps = nothing_was_lost(centre, ids, first)
    assert (steps[0], steps[-1]) == (("staged", "trial"), ("trial", "committed"))
    assert centre.command("retire", target=GATEWAY)["result"]["done"] == 1
    assert centre.wait(GATEWAY, phase="steady")["slots"]["old"]["fingerprint"] == fingerprint


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_the_channel_comes_back_when_its_new_identity_is_refused(plant, pki, version):
    """The broker does not know the CA of the new one: the trial ends where it began, by itself, and the channel tells it."""
    site = plant(["p-1"], start=False)
    site.gateway.install(GATEWAY, new=pki.identity(GATEWAY, "new", ca=pki.stranger))
    manage(site, version)
    centre = Centre(site, version)
    until("it is connected", lambda: centre.latest("state"))
    first = centre.latest("state")["event_seq"] + 1
    ids = flip_the_channel(centre)
    told = centre.wait(GATEWAY, phase="rolled-back", active="old")
    assert told["last_error"]["class"] == "identity" and told["last_error"]["remedy"]
    assert nothing_was_lost(centre, ids, first)[:2] == [("staged", "trial"), ("trial", "rolled-back")]
    event = next(json.loads(e) for e in centre.topic("event") if b'"to":"rolled-back"' in e)
    assert (event["message"], event["remedy"]) == (told["last_error"]["message"], told["last_error"]["remedy"])
    assert site.broker.slot("certflip-" + GATEWAY) == "old"
    assert all(json.loads(s)["online"] for s in centre.topic("state"))
    assert centre.command("flip", target=GATEWAY)["error"]["data"]["name"] == "quarantined"


def test_the_channel_comes_back_when_nobody_is_heard_on_its_new_identity(plant, pki, tmp_path):
    """The broker takes the new identity, and lets it read nothing: no word of the centre comes through, so it goes back, and
    what was said meanwhile is heard then."""
    names = {slot: pki.identity(GATEWAY, slot).subject().partition("=")[2] for slot in ("old", "new")}
    acl = "topic readwrite #\nuser %s\ntopic readwrite #\nuser %s\ntopic write #\n" % (names["old"], names["new"])
    with Mosquitto(tmp_path / "acl-broker", pki, acl=acl) as broker:
        site = plant(["p-1", GATEWAY], start=False, broker=broker)
        manage(site)
        centre = Centre(site)
        until("it is connected", lambda: centre.latest("state"))
        first = centre.latest("state")["event_seq"] + 1
        fingerprint = centre.wait(GATEWAY, phase="staged")["slots"]["new"]["fingerprint"]
        centre.command("flip", target=GATEWAY, confirm="central", confirm_s=3, probation_s=1)
        centre.wait(GATEWAY, phase="trial", waiting="confirm")
        centre.send({"jsonrpc": "2.0", "id": "unheard", "method": "confirm",
                     "params": {"target": GATEWAY, "fingerprint": fingerprint}})
        centre.wait(GATEWAY, phase="rolled-back", active="old")
        broker.wait_slot("certflip-" + GATEWAY, "old")
        nothing_was_lost(centre, [], first)
        assert not [r for r in centre.replies("unheard") if "result" in r]
        assert centre.command("status")["result"]["central"]["connected"]


def test_the_same_request_twice_acts_once(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    site.connect("p-1")
    request = {"jsonrpc": "2.0", "id": "twice", "method": "flip", "params": {"target": "p-1", "probation_s": 1}}
    centre.send(request)
    until("the first reply", lambda: len(centre.replies("twice")) == 1)
    centre.wait("p-1", phase="committed")
    centre.command("rollback", target="p-1")
    centre.wait("p-1", phase="rolled-back")
    centre.send(request)
    until("the second reply", lambda: len(centre.replies("twice")) == 2)
    assert centre.replies("twice")[0] == centre.replies("twice")[1]
    assert site.gateway.device("p-1")["phase"] == "rolled-back"
    centre.send({**request, "method": "rollback"})
    until("a third", lambda: len(centre.replies("twice")) == 3)
    assert centre.replies("twice")[2]["error"]["data"]["name"] == "id-reused"


def test_nonsense_is_answered_or_ignored(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    before = len(centre.topic("reply"))
    bad = ["", "{", "[]", "7", "null", '{"jsonrpc":"2.0"}', '{"jsonrpc":"1.0","id":1,"method":"status"}',
           b"\xff\xfe", "[" * 10000, '{"jsonrpc":"2.0","id":{},"method":"status"}',
           '{"jsonrpc":"2.0","id":"x","method":"flip","params":[1]}', "{}" + " " * 100000]
    for request in bad:
        centre.send(request)
    assert centre.command("status")["result"]["gateway"] == GATEWAY
    for raw in centre.topic("reply")[before:-1]:
        reply = json.loads(raw)
        for one in reply if isinstance(reply, list) else [reply]:
            assert "error" in one and one["error"]["message"]


def test_a_batch(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    centre.send([{"jsonrpc": "2.0", "id": "b1", "method": "status"},
                 {"jsonrpc": "2.0", "method": "status"},
                 {"jsonrpc": "2.0", "id": "b2", "method": "device.get", "params": {"device": "p-9"}}])
    reply = until("the reply", lambda: next((r for r in map(json.loads, centre.topic("reply"))
                                             if isinstance(r, list)), None))
    assert {r["id"] for r in reply} == {"b1", "b2"}
    assert next(r for r in reply if r["id"] == "b2")["error"]["data"]["name"] == "no-such-device"


def test_v5_response_topic_and_correlation_data(site):
    centre = Centre(site, 5)
    until("it is connected", lambda: centre.latest("state"))
    centre.client.subscribe(("my/answers", 1))
    centre.send({"jsonrpc": "2.0", "id": 7, "method": "status"},
                props=[("response_topic", "my/answers"), ("correlation_data", b"\0\1\2")])
    message = centre.client.reactor.wait("the answer", lambda: next(
        (m for m in centre.client.messages if m.topic == "my/answers"), None))
    assert json.loads(message.payload)["id"] == 7
    assert dict(message.props)["correlation_data"] == b"\0\1\2"


def test_the_commands_of_the_manual_do_what_it_says(site):
    until("it is connected", lambda: site.gateway.rpc("status")["central"]["connected"])
    with open(os.path.join(os.path.dirname(__file__), "../../src/control/certflip-mqtt.7"), encoding="utf-8") as f:
        page = f.read()
    ask, watch = (next(line for line in page.splitlines() if line.startswith(program + " "))
                  for program in ("mosquitto_rr", "mosquitto_sub"))

    def run(line, *more):
        words = shlex.split(line.replace("gw-hall-3", GATEWAY))
        return subprocess.run([words[0], "-p", str(site.broker.port), *words[1:], *more], capture_output=True, text=True,
                              timeout=seconds(20), check=False).stdout
    assert json.loads(run(ask, "-W", "10"))["result"]["gateway"] == GATEWAY
    assert json.loads(run(watch, "-C", "1"))["online"]


def test_state_is_offline_when_the_gateway_is(site):
    centre = Centre(site)
    until("it is online", lambda: (centre.latest("state") or {}).get("online"))
    site.gateway.kill()
    until("offline by Will", lambda: centre.latest("state").get("online") is False)
    site.gateway.start()
    until("online again", lambda: centre.latest("state").get("online"))
    site.gateway.stop()
    until("offline, said goodbye", lambda: centre.latest("state").get("online") is False)
    late = Centre(site)
    assert until("it is retained", lambda: late.latest("state")).get("online") is False


@pytest.mark.parametrize("change", [{"enabled": False}, {"root": "elsewhere/v1"}], ids=["disabled", "another-root"])
def test_state_is_offline_when_a_reload_takes_the_channel_away(site, change):
    centre = Centre(site)
    until("it is online", lambda: (centre.latest("state") or {}).get("online"))
    site.gateway.conf["management"].update(change)
    site.gateway.reload()
    until("offline, said goodbye", lambda: centre.latest("state").get("online") is False)
    late = Centre(site)
    assert until("it is retained", lambda: late.latest("state")).get("online") is False


def test_the_channels_socket_is_gone_afterwards(site):
    until("it is connected", lambda: site.gateway.rpc("status")["central"]["connected"])
    assert os.path.exists(site.socket)
    site.gateway.stop()
    assert not os.path.exists(site.socket)


def test_retained_device_topics_are_true_after_restart(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    site.connect("p-2")
    site.gateway.flip("p-2", probation_s=1)
    centre.wait("p-2", phase="committed")
    site.gateway.restart()
    until("it is connected again", lambda: (centre.latest("state") or {}).get("online"))
    late = Centre(site)
    assert late.wait("p-2", phase="committed", active="new")
    assert late.wait("p-3", phase="staged", active="old")


def test_what_is_retained_is_true_within_a_second(site):
    centre = Centre(site)
    centre.wait("p-2", online=False, upstream=None)
    until("all are counted", lambda: centre.latest("state")["devices"]["total"] == 4)
    for online in (True, False):
        began = time.monotonic()
        if online:
            sensor = site.connect("p-2")
        else:
            sensor.disconnect()
        told = centre.wait("p-2", online=online)
        until("it is counted", lambda n=1 + online: centre.latest("state")["devices"]["online"] == n)  # the channel is one
        assert time.monotonic() - began < seconds(1)
        assert told == {k: v for k, v in site.gateway.device("p-2").items() if k != "sessions"} or \
            until("the connection to the broker, too",
                  lambda: centre.latest("device/p-2")["upstream"] == site.gateway.device("p-2")["upstream"], 1)
    assert centre.latest("state")["clock"]["synchronised"] == site.gateway.rpc("status")["clock"]["synchronised"]


def test_a_clock_that_is_lost_is_told(plant):
    site = plant(["p-1", GATEWAY], start=False)
    kernel, said = os.path.join(site.folder, "adjtimex.so"), os.path.join(site.folder, "sync")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", kernel,
                    os.path.join(os.path.dirname(__file__), "adjtimex.c")], check=True, stdin=subprocess.DEVNULL)
    site.gateway.env.update({"LD_PRELOAD": kernel, "CERTFLIP_TEST_SYNC": said,
                             "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
    site.gateway.conf["clock"] = {"require_sync": True}

    def kernel_says(word):
        with open(said + ".new", "w", encoding="ascii") as f:
            f.write(word)
        os.rename(said + ".new", said)

    def clock():
        told = (centre.latest("state") or {}).get("clock") or {}
        return told.get("synchronised"), told.get("flips")
    kernel_says("yes")
    manage(site)
    centre = Centre(site)
    until("it is synchronised", lambda: clock() == (True, True))
    kernel_says("no")
    until("it is told", lambda: clock() == (False, False), 4)
    assert centre.command("flip", target="p-1")["error"]["data"]["name"] == "clock"
    kernel_says("yes")
    until("that it is back, too", lambda: clock() == (True, True), 4)


def test_a_command_is_answered_while_another_runs(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    assert centre.command("identity.discard", target="p-*")["result"]["done"] == 3
    centre.send({"jsonrpc": "2.0", "id": "long", "method": "identity.keygen", "params": {"target": "p-*", "key": "rsa-3072"}})
    centre.send({"jsonrpc": "2.0", "id": "short", "method": "status"})
    until("both are answered", lambda: centre.replies("long") and centre.replies("short"), 120)
    answered = [json.loads(r)["id"] for r in centre.topic("reply")]
    assert answered.index("short") < answered.index("long")
    assert centre.replies("long")[0]["result"]["done"] == 3


def test_a_command_for_many_devices_tells_how_far_it_has_come(plant, pki):
    site = plant([GATEWAY], start=False)
    for i in range(120):
        site.gateway.install("m-%03d" % i, old=pki.identity("many", "old"), new=pki.identity("many", "new"))
    manage(site)
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    assert centre.command("identity.discard", target="m-*")["result"]["done"] == 120
    told = [e for e in map(json.loads, centre.topic("event")) if e["event"] == "progress"]
    assert told and all(e["method"] == "identity.discard" and e["id"] == "c-%d-1" % os.getpid() and e["total"] == 120
                        and e["by"] == "central" for e in told)
    assert [e["done"] for e in told] == sorted({e["done"] for e in told}) and 0 < told[-1]["done"] < 120
    nothing_was_lost(centre, [], told[0]["seq"])


def test_commands_on_an_uplink_that_flaps_are_carried_out_once(plant):
    """The connection to the broker is cut again and again, in the middle of commands, replies and events."""
    site = plant(["p-1", "p-2", "p-3", GATEWAY], start=False)
    site.broker.start()
    site.own_broker = False
    front = Front(site.broker.tls_port)
    try:
        site.gateway.conf["upstreams"][0]["port"] = front.port
        manage(site)
        centre = Centre(site)
        until("it is connected", lambda: centre.latest("state"))
        first = centre.latest("state")["event_seq"] + 1
        ids = []
        for method in ("flip", "rollback", "quarantine.clear") * 3:
            ids.append("%s-%d" % (method, len(ids)))
            centre.send({"jsonrpc": "2.0", "id": ids[-1], "method": method, "params": {"target": "p-*"}})
            front.cut()
            until(lambda: "answered: " + ids[-1], lambda: centre.replies(ids[-1]), 30)
        assert all(centre.replies(i)[0]["result"]["done"] == 3 for i in ids)
        until("the state is there again", lambda: centre.latest("state")["online"], 30)
        nothing_was_lost(centre, [], first, twice=True)
        commands = [e for e in site.gateway.rpc("audit.list", limit=200)["entries"] if e["who"] == "central"]
        assert len([e for e in commands if e["what"] in ("flip", "rollback", "quarantine.clear")]) == len(ids)
        assert site.gateway.rpc("status")["central"]["events_dropped"] == 0
        site.gateway.stop()
    finally:
        site.gateway.__exit__(None)
        front.close()
        site.broker.stop()


def test_what_is_retained_of_a_device_that_went_away_is_cleared(site):
    centre = Centre(site)
    centre.wait("p-2", phase="staged")
    site.gateway.stop()
    shutil.rmtree(os.path.join(site.gateway.identities, "p-2"))
    site.gateway.start()
    until("it is cleared", lambda: centre.topic("device/p-2")[-1] == b"")


def test_events_are_numbered(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    site.connect("p-3")
    centre.command("flip", target="p-3", probation_s=1)
    centre.wait("p-3", phase="committed")
    events = until("two transitions", lambda: (lambda e: e if len(e) >= 2 else None)(
        [e for e in map(json.loads, centre.topic("event")) if e.get("device") == "p-3"]))
    numbers = [e["seq"] for e in map(json.loads, centre.topic("event"))]
    assert numbers == sorted(set(numbers))
    assert events


def test_status_says_since_when_the_broker_is_away(site):
    def central():
        return site.gateway.rpc("status")["central"]
    since = until("it is connected", lambda: central()["connected"] and central()["since"])
    until("a second has passed", lambda: site.gateway.rpc("status")["now"] > since)
    site.broker.stop()
    until("it is not connected", lambda: not central()["connected"])
    assert central()["since"] > since
    site.broker.start()
    until("it is connected again", lambda: central()["connected"], 40)


def test_what_the_broker_did_not_allow_is_told_after_a_reload(plant, pki, tmp_path):
    """One line and a word in the status say so, however many devices there are; once it is allowed, and the
    configuration was read again, the centre knows all of them."""
    everybody = "topic readwrite #\npattern %s #\n"  # those without a name, and those with one
    devices = ["p-%d" % i for i in range(1, 6)]
    broker = Mosquitto(tmp_path / "acl-broker", pki, acl=everybody % "read")
    with broker:
        site = plant([*devices, GATEWAY], start=False, broker=broker)
        site.gateway.conf["management"] = {"enabled": True, "device": GATEWAY, "version": 5,
                                           "socket": os.path.join(site.gateway.run, "mqtt.sock")}
        site.__enter__()
        centre = Centre(site)

        def central():
            return site.gateway.rpc("status")["central"]
        until("it is refused", lambda: "refuses what is published" in (central()["last_error"] or ""))
        assert central()["connected"]
        # Those of the devices, of the gateway's own, and the state: none is under way when the list is read again.
        until("all were refused", lambda: broker.log.text().count("Denied PUBLISH") >= len(devices) + 2)
        with open(broker.acl, "w", encoding="utf-8") as f:
            f.write(everybody % "readwrite")
        mark = broker.log.mark()
        broker.process.send_signal(signal.SIGHUP)
        broker.log.wait("Reloading config", mark)
        site.gateway.rpc("config.reload")
        for device in devices:
            centre.wait(device, phase="staged")
        until("the last of them is allowed", lambda: central()["last_error"] is None)
        assert len(site.gateway.log.lines("central-publish-refused")) == 1


def test_a_broker_that_is_away_is_said_once(plant):
    """What libmosquitto makes of our own refusal, a fault in the protocol, misleads; and each attempt fails alike."""
    site = plant([GATEWAY], start=False)
    site.gateway.conf["management"] = {"enabled": True, "device": GATEWAY, "version": 5,
                                       "socket": os.path.join(site.gateway.run, "mqtt.sock")}
    site.broker.start()
    site.broker.stop()
    site.own_broker = False
    site.__enter__()
    until("it was tried thrice", lambda: len(site.gateway.log.lines("uplink-failed device=" + GATEWAY)) >= 3)
    said = site.gateway.rpc("status")["central"]["last_error"]
    assert said.endswith("certflipctl device %s says why" % GATEWAY), said
    assert len(site.gateway.log.lines("central-offline")) == 1


def test_what_a_start_decides_is_told(site):
    """The events have no gaps: a new identity that was installed while the gateway was off is one of them."""
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    centre.command("flip", target="p-3")
    last = until("its event", lambda: next((e["seq"] for e in map(json.loads, centre.topic("event"))
                                            if e["to"] == "trial"), None))
    site.gateway.stop()
    other = site.pki.new.issue("p-1-other", "/O=Plant/OU=new/CN=p-1", ["extendedKeyUsage=clientAuth"])
    site.gateway.install("p-1", old=False, new=other)
    site.gateway.start()
    event = until("the event of the start", lambda: next(
        (e for e in map(json.loads, centre.topic("event")) if e["device"] == "p-1" and e["seq"] > last), None))
    assert (event["seq"], event["to"], event["cause"]) == (last + 1, "staged", "installed")


def test_the_broker_is_away_for_a_while(site):
    centre = Centre(site)
    until("it is connected", lambda: centre.latest("state"))
    site.broker.restart()
    again = Centre(site)
    until("the state is there anew", lambda: (again.latest("state") or {}).get("online"), 40)
    assert again.command("status")["result"]["central"]["connected"]
    assert again.wait("p-1", phase="staged")


def test_an_identity_is_renewed_through_the_broker(site):
    """Also that of the channel itself: the key never leaves the gateway, the request and the certificate travel."""
    centre = Centre(site)
    until("the state is announced", lambda: (centre.latest("state") or {}).get("online"))
    for device in ("p-1", GATEWAY):
        assert centre.command("identity.discard", target=device)["result"]["done"] == 1
        request = {"jsonrpc": "2.0", "id": "twice-" + device, "method": "identity.keygen",
                   "params": {"target": device, "key": "rsa-2048"}}
        centre.send(request)
        centre.send(request)  # while the first is under way
        until("both are answered", lambda: len(centre.replies(request["id"])) == 2)
        first, second = centre.replies(request["id"])
        assert first == second and first["result"]["devices"][0]["changed"]
        csr = first["result"]["devices"][0]["csr"]
        until("what is retained shows the key",
              lambda d=device: "csr_since" in (centre.wait(d, phase="steady")["slots"]["new"] or {}))
        path = os.path.join(site.folder, device)
        with open(path + ".csr", "w", encoding="ascii") as f:
            f.write(csr)
        openssl("x509", "-req", "-in", path + ".csr", "-CA", site.pki.new.cert, "-CAkey", site.pki.new.key, "-days", "30",
                "-copy_extensions", "copyall", "-out", path + ".pem", "-set_serial", "0x" + os.urandom(8).hex())
        with open(path + ".pem", encoding="ascii") as f:
            assert centre.command("identity.install", device=device, chain=f.read())["result"]["phase"] == "staged"
        if device == "p-1":
            site.connect(device)
        assert centre.command("flip", target=device, probation_s=1)["result"]["done"] == 1
        centre.wait(device, phase="committed")
        assert centre.command("retire", target=device)["result"]["devices"][0]["phase"] == "steady"
        until("and that the new slot is free",
              lambda d=device: centre.wait(d, phase="steady")["slots"]["new"] is None)
    assert centre.command("status")["result"]["central"]["connected"]
    assert "PRIVATE KEY" not in json.dumps([m.payload if isinstance(m.payload, str) else m.payload.decode()
                                            for m in centre.client.messages])
