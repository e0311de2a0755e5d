"""A stranger at the broker has the client id of a device: it is backed off, the device is held, and somebody is told."""

import pytest

from lib.mqtt import Client
from lib.wait import until


def takes_over(site, device, version):
    client = Client(site.reactor, ("127.0.0.1", site.broker.port), None, version, host=site.there)
    site.clients.append(client)
    client.connect(device)
    return client


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
def test_a_stranger_is_recognised_and_backed_off(plant, version):
    site = plant(["twin"], flip={"backoff_network_s": [1], "backoff_tls_s": [6]})
    client = site.connect("twin", version, keepalive=0)
    said = lambda: site.gateway.log.find(r"uplink-lost device=twin .*taken-over")
    stranger = takes_over(site, "twin", version)
    while not said():  # at once where the broker has a word for it, else the third time
        stranger.wait_end(timeout=20)  # the gateway comes back
        stranger = takes_over(site, "twin", version)
        until("the takeover is noticed", lambda: not site.gateway.device("twin")["sessions"][0].get("leg") or said(), 5)

    def told():  # the worker logs it, then main hears of it
        error = site.gateway.device("twin")["last_error"]
        return error if "taken-over" in error["name"] else None
    error = until("the device's last error says so", told)
    assert error["class"] == "policy" and "client id" in error["remedy"], error
    client.ping()  # it notices nothing
    client.publish("kept/twin", "held", 1, wait=False)
    observer = site.observer()
    observer.subscribe(("kept/#", 1))
    stranger.disconnect()  # has not been kicked out again, and gives up
    assert observer.wait_messages(1, timeout=20)[0].payload == b"held"
    client.finished()
    assert not client.ended
