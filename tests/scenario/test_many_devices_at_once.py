"""500 devices at once, and what remains of them."""

import pytest

from lib.gateway import Certflipd, sanitizer
from lib.streams import NumberedStreams
from lib.wait import until



@pytest.mark.threads
@pytest.mark.slow
def test_500_devices_at_once(plant):
    """All connect in the same moment, talk both ways, are flipped in one command under traffic, and go."""
    count = 100 if sanitizer() == "tsan" else 500  # TSan makes a handshake a hundred times as dear
    names = ["many-%03d" % i for i in range(count)]
    site = plant(names)
    site.gateway.conf["flip"]["concurrent"] = 64
    site.gateway.reload()
    clients = {}
    for i, name in enumerate(names):
        client = clients[name] = site.sensor(name, (3, 4, 5)[i % 3], plain=i % 5 == 0)
        client.open(wait=False)
    for name, client in clients.items():
        client.opened(60)
        client.send_raw(client.connect_packet(name, keepalive=0))
    for client in clients.values():
        client.connack(60)
    streams = NumberedStreams(clients, site.observer(keepalive=0), 1, interval=0.5, prefix="m/").start()
    streams.progress(3, timeout=60)
    assert site.gateway.rpc("status")["devices"]["online"] == count
    until("they are counted", lambda: site.gateway.rpc("status")["counters"]["sessions"] == count)

    assert site.gateway.flip("many-*", probation_s=1)["done"] == count
    until(lambda: "all are committed: %s" % site.gateway.rpc("status")["devices"],
          lambda: site.gateway.rpc("status")["devices"]["committed"] == count, 90, 0.1)
    streams.progress(2, timeout=60)
    streams.prove()
    assert {site.broker.slot(name) for name in names} == {"new"}

    for client in clients.values():
        client.disconnect()
    until(lambda: "all are gone: %s" % site.gateway.rpc("status")["counters"],
          lambda: site.gateway.rpc("status")["counters"]["sessions"] == 0, 30, 0.1)


def test_too_few_files_are_told(tmp_path, pki):
    """A gateway that could not hold the devices that it is configured for says so at once."""
    gateway = Certflipd(tmp_path / "gateway", pki, None)
    try:
        for connections, told in ((1000, True), (100, False)):
            gateway.conf["limits"]["connections"] = connections
            gateway.write()
            at = len(gateway.log.text())
            gateway.launch(wrap=("prlimit", "--nofile=1024:1024"))
            assert ("few-files have=1024 wanted=2700 " in gateway.log.text()[at:]) == told
            gateway.stop()
    finally:
        gateway.__exit__(None)
