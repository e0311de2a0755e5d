"""A broker, a gateway before it and sensors: what most scenarios begin with."""

import os

from .broker import Mosquitto
from .contract import check_messages
from .gateway import Certflipd
from .mqtt import Client, tls_context
from .streams import NumberedStreams
from .wait import until


# pytest --direct: sensors talk straight to the broker.  What a test of the data plane expects must hold there, too.
DIRECT = "CERTFLIP_TEST_DIRECT"


class Plant:
    """Broker and gateway up and running.  Closes all clients that it made, then checks them and the daemon.

    `link`: a lib.link.Link; gateway and sensors are at its one end then, the broker and its observers at the other.
    """

    def __init__(self, folder, pki, reactor, devices=(), broker=None, link=None, **gateway):
        self.folder = str(folder)
        self.pki = pki
        self.reactor = reactor
        self.own_broker = broker is None
        self.here, self.there = (link.gateway, link.broker) if link else (None, None)
        self.broker = broker or Mosquitto(os.path.join(self.folder, "broker"), pki, host=self.there)
        self.gateway = Certflipd(os.path.join(self.folder, "gateway"), pki, self.broker, host=self.here, **gateway)
        self.clients = []
        self.devices = list(devices)
        self._unused = iter(self.devices)
        self._anchors = pki.server_ca.cert
        pki.prepare(devices)
        for device in devices:
            self.gateway.install(device)

    def __enter__(self):
        if self.own_broker:
            self.broker.start()
        if os.environ.get(DIRECT):
            self.gateway.port, self.gateway.plain_port = self.broker.tls_port, self.broker.port
            return self
        try:
            self.gateway.start()
        except BaseException:
            self._end(failed=True)
            raise
        return self

    def __exit__(self, kind, *unused):
        self._end(failed=kind is not None)

    def _end(self, failed):
        faults = ["%r: %s" % (c, c.faults) for c in self.clients if c.faults]
        for client in self.clients:
            client.cut()
        try:
            self.gateway.__exit__(RuntimeError if failed else None)
        finally:
            if self.own_broker:
                self.broker.stop()
        assert failed or not faults, faults
        if not failed:
            for client in self.clients:
                check_messages([(m.topic, m.payload) for m in getattr(client, "messages", ())])

    def fresh(self):
        """The name of a device that no test has used before."""
        return next(self._unused)

    def sensor(self, device, version=4, pair="own", tls_version=None, receive_buffer=None, plain=False, weak=False):
        """A client for the gateway with the device's baked-in certificate; not yet opened."""
        if plain:
            client = Client(self.reactor, ("127.0.0.1", self.gateway.plain_port), None, version,
                            receive_buffer=receive_buffer, host=self.here)
        else:
            if pair == "own":
                pair = self.pki.sensor(device)
            client = Client(self.reactor, ("127.0.0.1", self.gateway.port),
                            tls_context(self._anchors, pair, tls_version, weak=weak), version, receive_buffer=receive_buffer,
                            host=self.here)
        self.clients.append(client)
        return client

    def connect(self, device, version=4, plain=False, **options):
        """A sensor, connected; its client id is its name."""
        client = self.sensor(device, version, plain=plain)
        client.connect(options.pop("client_id", device), **options)
        return client

    def observer(self, version=4, name=None, **options):
        """A client at the broker itself, as the plant's back office."""
        client = Client(self.reactor, ("127.0.0.1", self.broker.port), None, version, host=self.there)
        client.connect(name or "observer-%d" % len(self.clients), **{**self.broker.observers, "keepalive": 0, **options})
        self.clients.append(client)
        return client

    def streams(self, devices, qos=1, version=4, **options):
        """Numbered traffic of these devices (names, or {name: connected client}), under way."""
        clients = devices if isinstance(devices, dict) else {d: self.connect(d, version) for d in devices}
        return NumberedStreams(clients, self.observer(), qos, prefix="s%d/" % len(self.clients), **options).start()

    def wait_up(self, *clients_or_ids, timeout=10):
        """Until the broker has seen each of these client ids."""
        for client_id in clients_or_ids:
            until("the broker sees " + client_id, lambda c=client_id: self.broker.seen(c), timeout)
