"""The new slot's profile names another broker: the device moves there with its subscriptions and comes back, no Will is
published, and what it leaves is what it would leave by going."""

import pytest

from lib.broker import Mosquitto
from lib.mqtt import Client
from lib.wait import until

WILL = {"will": ("will/moved", "died", 1, False)}
DEVICES = {  # name: version, options of connect
    "v311-clean": (4, {}),
    "v311-clean-will": (4, WILL),
    "v311-lasting-will": (4, {"clean": False, **WILL}),
    "v5-clean-will": (5, WILL),
}


class Platform:
    """The other broker, with somebody who listens and talks there."""

    def __init__(self, site, broker):
        self.site, self.broker = site, broker

    def client(self, name, version=4, **options):
        client = Client(self.site.reactor, ("127.0.0.1", self.broker.port), None, version)
        self.site.clients.append(client)
        client.connect(name, **options)
        return client

    def has_session(self, device):
        """Is there anything left of it?  (Looking leaves nothing.)"""
        look = self.client(device, clean=False)
        present = look.packets[0].session_present
        look.disconnect()
        self.client(device, clean=True).disconnect()
        return present

    def is_left_by(self, device, left_first):
        version, options = DEVICES[device]
        if "clean" not in options and (version == 4 or left_first):  # one connection more wipes it
            until("it is wiped", lambda: len(self.broker.seen(device)) == 2 and self.broker.seen(device)[1].clean)
        assert self.has_session(device) == (options.get("clean") is False), device


def _reaches(device, client, office):
    """Both ways, through the broker that `office` is connected to, once the device is there."""
    def arrives():
        client.publish("from/" + device, "fro", 1)
        return any(m.topic == "from/" + device for m in office.messages)
    until("it arrives", arrives)  # and so have the subscriptions, which go before it
    before = len(client.messages)
    office.publish("cmd/" + device, "to", 1)
    client.wait_messages(before + 1)
    office.messages.clear()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another-host", "another-port"])
def test_there_and_back(plant, pki, tmp_path, host):
    with Mosquitto(tmp_path / "platform", pki) as other:
        site = plant(DEVICES, start=False, rules=[
            {"name": "{cn}", "match": {"listener": "tls"}, "upstream": "broker", "upstream_new": "platform"}])
        site.gateway.conf["upstreams"].append({
            **site.gateway.conf["upstreams"][0], "name": "platform", "address": host, "port": other.tls_port})
        site.__enter__()
        here, there = Platform(site, site.broker), Platform(site, other)
        offices = {p: p.client("office") for p in (here, there)}
        for office in offices.values():
            office.subscribe(("from/#", 1), ("will/#", 1))
        clients = {}
        for device, (version, options) in DEVICES.items():
            clients[device] = site.connect(device, version, **options)
            clients[device].subscribe(("cmd/" + device, 1))
            _reaches(device, clients[device], offices[here])
        site.gateway.flip(list(DEVICES), probation_s=1)
        for device, client in clients.items():
            site.gateway.wait_device(device, phase="committed", active="new")
            _reaches(device, client, offices[there])
            here.is_left_by(device, host == "127.0.0.1")
        site.gateway.rollback(list(DEVICES))
        for device, client in clients.items():
            site.gateway.wait_device(device, phase="rolled-back", active="old")
            site.broker.wait_slot(device, "old")
            _reaches(device, client, offices[here])
            there.is_left_by(device, host == "127.0.0.1")
        for p, office in offices.items():
            office.ping()
            assert not [m for m in office.messages if m.topic.startswith("will/")], "a Will was published"
        for client in clients.values():
            assert not client.ended


def test_a_device_that_dies_after_it_moved_has_its_will_there(plant, pki, tmp_path):
    with Mosquitto(tmp_path / "platform", pki) as other:
        site = plant(["moved"], start=False, rules=[
            {"name": "{cn}", "match": {"listener": "tls"}, "upstream": "broker", "upstream_new": "platform"}])
        site.gateway.conf["upstreams"].append({
            **site.gateway.conf["upstreams"][0], "name": "platform", "address": "localhost", "port": other.tls_port})
        site.__enter__()
        here, there = Platform(site, site.broker), Platform(site, other)
        offices = [p.client("office") for p in (here, there)]
        for office in offices:
            office.subscribe(("will/#", 1))
        client = site.connect("moved", 4, **WILL)
        site.gateway.flip("moved", probation_s=1)
        site.gateway.wait_device("moved", phase="committed", active="new")
        client.reset()
        assert offices[1].wait_messages(1)[0].topic == "will/moved"
        offices[0].ping()
        assert not offices[0].messages
