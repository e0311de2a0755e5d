"""A device that connects anew ends its own former connection, and does not wait for it."""

import pytest

from lib import packets as p
from lib.wait import until


@pytest.mark.threads
@pytest.mark.parametrize("version", [3, 4, 5], ids=["v31", "v311", "v5"])
def test_the_later_connection_wins(site, version):
    device = site.fresh()
    first = site.connect(device, version, clean=False, **({"props": {"session_expiry": 60}} if version == 5 else {}))
    first.subscribe(("over/" + device, 1))
    second = site.sensor(device, version)
    second.connect(device, clean=False, **({"props": {"session_expiry": 60}} if version == 5 else {}))
    first.wait_end()
    if version == 5:
        assert [k.reason for k in first.packets if k.kind == p.DISCONNECT] == [0x8E]
    site.observer().publish("over/" + device, "x", 1)
    assert second.packets[0].session_present or version == 3  # 3.1 has no such flag
    assert second.wait_messages(1)[0].payload == b"x"
    second.ping()
    until("one session is left", lambda: len(site.gateway.device(device)["sessions"]) == 1)
    second.disconnect()


def test_the_former_one_may_be_dead(site):
    """It reads nothing any more and has unread data: the new one gets through all the same."""
    device = site.fresh()
    first = site.sensor(device, 4, receive_buffer=4096)
    first.connect(device, keepalive=0)
    first.subscribe(("flood/" + device, 0))
    first.read(False)
    observer = site.observer()
    for _ in range(100):
        observer.publish("flood/" + device, b"." * 60000, 0)
    second = site.sensor(device, 4)
    second.connect(device)
    second.ping()
    second.publish("ok/" + device, "x", 1)


def test_the_will_of_the_former_one(site):
    """The old connection ended without DISCONNECT, so its Will is published."""
    device = site.fresh()
    observer = site.observer()
    observer.subscribe(("will/" + device, 1))
    first = site.connect(device, will=("will/" + device, "gone", 1, False))
    second = site.connect(device)
    first.wait_end()
    assert observer.wait_messages(1)[0].payload == b"gone"
    second.ping()


def test_ten_in_a_row(site):
    device = site.fresh()
    clients = []
    for _ in range(10):
        clients.append(site.sensor(device, 4, plain=True).open(wait=False))
    for client in clients:
        client.opened()
        client.send_raw(client.connect_packet(device))
    winner = site.reactor.wait("nine of ten have ended", lambda: (
        [c for c in clients if not c.ended] if sum(1 for c in clients if c.ended) == 9 else None), 15)[0]
    winner.connack(expect=0)
    winner.ping()
    until("one session is left", lambda: len(site.gateway.device(device)["sessions"]) == 1)


def test_what_the_former_session_leaves_is_not_cleared_under_the_next_one(plant, links):
    """A clean session of 3.1.1 is cleared behind the device by one more connection.  The device is back before that, on the
    other worker: the clearing must not take its session over."""
    link = links()
    site = plant(["back"], link=link)
    link.weather(rtt_ms=60)

    def comes():
        client = site.sensor("back")
        client.connect("back", keepalive=0)
        return client, site.gateway.rpc("sessions.list")["sessions"][-1]["worker"]

    client, worker = comes()
    for _ in range(20):  # which worker gets it is the kernel's choice
        former = worker
        client.disconnect()
        mark = site.broker.log.mark()
        client, worker = comes()
        if worker != former:
            break
    assert worker != former
    client.subscribe(("back", 1))
    site.observer().publish("back", "x", 1)
    assert client.wait_messages(1)[0].payload == b"x"
    assert not site.broker.log.find("Client back already connected", mark)
    assert not site.gateway.log.find("uplink-lost")
