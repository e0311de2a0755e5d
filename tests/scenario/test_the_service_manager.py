"""What certflipd tells the service manager: that it is ready, that it works, and by silence that it does not."""

import os
import re
import socket

import pytest

from lib.mqtt import Client
from lib.power import crash_points
from lib.wait import free_port, until
from lib.web import Web


class Manager:
    """The socket of sd_notify(3), and what came through it."""

    def __init__(self, folder):
        self.path = os.path.join(str(folder), "notify.sock")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.setblocking(False)
        self.lines = []

    def heard(self, line):
        """How often, until now."""
        try:
            while True:
                self.lines += self.sock.recv(4096).decode().splitlines()
        except BlockingIOError:
            pass
        return self.lines.count(line)

    def hears(self, line, times=1):
        return self.heard(line) >= times


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path)
    yield made
    made.sock.close()


def _plant(plant, manager, watchdog_s=None):
    site = plant(["press-01"], start=False)
    site.gateway.env["NOTIFY_SOCKET"] = manager.path
    if watchdog_s:
        site.gateway.env["WATCHDOG_USEC"] = str(watchdog_s * 1000000)
    return site


def test_ready_reloading_and_stopping_are_told(plant, manager):
    with _plant(plant, manager) as site:
        until("READY", lambda: manager.hears("READY=1"))
        site.gateway.hangup()
        until("RELOADING, and READY again", lambda: manager.hears("RELOADING=1") and manager.hears("READY=1", 2))
    assert manager.hears("STOPPING=1")
    assert not manager.hears("WATCHDOG=1"), "nobody asked for it"


def test_who_asks_again_and_again_gets_the_same_end(plant):
    site = plant(["press-01"])
    process = site.gateway.process
    until("it ends", lambda: process.poll() is not None or process.terminate())
    assert site.gateway.wait_exit() == 0


@pytest.mark.skipif(not crash_points(), reason="configure --enable-crash-points")
def test_one_stuck_worker_is_noticed(plant, manager, tmp_path):
    armed = tmp_path / "armed"
    site = _plant(plant, manager, watchdog_s=8)
    web = Web(free_port())
    site.gateway.conf["status"] = {"enabled": True, "port": web.port}
    site.gateway.env["CERTFLIP_CRASH"] = str(armed)
    site.__enter__()
    until("the watchdog is fed", lambda: manager.hears("WATCHDOG=1", 2), 20)
    web.wait_ready()
    assert web.text("/healthz") == "healthy\n" and web.text("/readyz") == "ready\n"
    armed.write_text("rehome.dial:1:HANG\n", encoding="ascii")
    site.clients.append(client := Client(site.reactor, ("127.0.0.1", site.gateway.plain_port)))
    client.open()
    client.send_raw(client.connect_packet("press-01"))
    site.gateway.log.wait("worker-stuck")  # seen by who feeds the watchdog; the health has a bound of its own
    until("it is told", lambda: web.ask("/healthz").status == 503)
    assert re.match(r"worker \d has not answered for 5 s", web.text("/healthz", 503))
    assert re.match(r"worker \d has not answered for 5 s", web.text("/readyz", 503))
    fed = manager.heard("WATCHDOG=1")
    assert site.gateway.rpc("status")["gateway"], "the main thread lives"
    site.gateway.log.wait("worker-stuck", site.gateway.log.mark())
    assert manager.heard("WATCHDOG=1") == fed, "and still says nothing"
    site.gateway.kill()
