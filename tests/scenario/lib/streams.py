"""Numbered messages both ways for many devices, and the account of them: lost, twice, out of order.

Up: the device publishes 1, 2, 3 ... to up/<device>; an observer that is connected straight to the broker receives.
Down: the observer publishes 1, 2, 3 ... to down/<device>; the device receives.
"""

import threading
import time

from .wait import until


class Account:
    """One direction of one device."""

    def __init__(self):
        self.sent = 0
        self.got = []

    def lost(self):
        return self.sent - len(set(self.got))

    def duplicated(self):
        return len(self.got) - len(set(self.got))

    def reordered(self):
        return sum(1 for a, b in zip(self.got, self.got[1:]) if b < a)

    def __str__(self):
        return "%d sent, %d lost, %d twice, %d out of order" % (self.sent, self.lost(), self.duplicated(),
                                                                self.reordered())


class NumberedStreams:
    """`clients`: {device: Client}, connected; `observer`: a Client at the broker, connected, MQTT 3.1.1 or 5.

    Every `interval` seconds each device gets one message more in each direction, so long as fewer than `window` are
    unacknowledged.
    """

    def __init__(self, clients, observer, qos=1, interval=0.02, window=10, size=32, prefix=""):
        self.clients = clients
        self.observer = observer
        self.qos = qos
        self.interval = interval
        self.window = window
        self.size = size
        self.prefix = prefix
        self.up = {d: Account() for d in clients}
        self.down = {d: Account() for d in clients}
        self.quiet = set()  # devices that have a pause
        self.written_off = dict.fromkeys(clients, 0)  # messages to each that a broker took along when it died
        self.muted = False  # the observer has one
        self._stop = threading.Event()
        self._error = None
        self._thread = None

    def _topic(self, way, device):
        return "%s%s/%s" % (self.prefix, way, device)

    def start(self):
        options = self.qos
        self.observe(self.observer)
        for device, client in self.clients.items():
            client.on_message = lambda m, d=device: self._arrived_down(d, m)
            client.subscribe((self._topic("down", device), options))
        self._thread = threading.Thread(target=self._pump, name="streams", daemon=True)
        self._thread.start()
        return self

    def resume(self, device, client):
        """Another connection of the device, which goes on with the session of the former."""
        with client.reactor.cond:
            self.clients[device] = client

    def observe(self, observer):
        """Go on with another observer, the former one's connection having ended."""
        observer.on_message = self._arrived_up
        observer.subscribe((self.prefix + "up/#", 2))
        self.observer = observer

    def _arrived_up(self, message):
        device = message.topic.rsplit("/", 1)[1]
        if message.topic == self._topic("up", device) and device in self.up:
            self.up[device].got.append(int(message.payload.split(b" ", 1)[0]))

    def _arrived_down(self, device, message):
        if message.topic == self._topic("down", device):
            self.down[device].got.append(int(message.payload.split(b" ", 1)[0]))

    def _payload(self, number):
        return (b"%d " % number).ljust(self.size, b".")

    def _room(self, device):
        """May the observer send one more?  What QoS 0 has lost must not stop it."""
        behind = self.down[device].sent - len(self.down[device].got) - self.written_off[device]
        if self.qos == 0:
            return self.observer.unsent() < 65536
        return behind < self.window * 4 and len(self.observer.inflight) < 500

    def _pump(self):
        cond = self.observer.reactor.cond
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                for device, client in self.clients.items():
                    with cond:
                        if client.ended or device in self.quiet:
                            continue
                        if len(client.inflight) < self.window and client.unsent() < 65536:
                            self.up[device].sent += 1
                            client.publish(self._topic("up", device), self._payload(self.up[device].sent), self.qos,
                                           wait=False)
                        if not self.muted and not self.observer.ended and self._room(device):
                            self.down[device].sent += 1
                            self.observer.publish(self._topic("down", device),
                                                  self._payload(self.down[device].sent), self.qos, wait=False)
                due += self.interval
                self._stop.wait(max(0, due - time.monotonic()))
        except Exception as e:  # told by stop()
            self._error = e

    def progress(self, count=20, devices=None, timeout=20):
        """Wait until `count` messages more have arrived in both directions for each of the devices."""
        devices = list(devices or self.clients)
        goal = {d: (len(self.up[d].got) + count, len(self.down[d].got) + count) for d in devices}
        until(lambda: "traffic goes on: " + self.summary(),
              lambda: all(len(self.up[d].got) >= goal[d][0] and len(self.down[d].got) >= goal[d][1]
                          for d in devices), timeout)

    def stop(self, timeout=20):
        """End the traffic and wait for what is under way.  Returns whether everything has arrived by then."""
        self._stop.set()
        self._thread.join()
        if self._error:
            raise self._error
        try:
            until("all has arrived", lambda: all(a.lost() == 0 for a in self.accounts()), timeout)
            for client in self.clients.values():
                if not client.ended:
                    client.finished(timeout=timeout)
            return True
        except (AssertionError, ConnectionError):
            return False

    def accounts(self):
        return list(self.up.values()) + list(self.down.values())

    def summary(self):
        out = []
        for device in self.clients:
            out.append("%s up: %s; down: %s; connection: %s" % (device, self.up[device], self.down[device],
                                                                 self.clients[device].ended or "up"))
        return "\n".join(out)

    def prove(self, duplicates=False):
        """Everything arrived, in order, once (or, with `duplicates`, at least once), and no device was cut off."""
        complete = self.stop()
        bad = []
        for device in self.clients:
            for way, account in (("up", self.up[device]), ("down", self.down[device])):
                if account.lost() or account.sent == 0:
                    bad.append("%s %s: %s" % (device, way, account))
                elif not duplicates and (account.duplicated() or account.reordered()):
                    bad.append("%s %s: %s: %s" % (device, way, account, _around(account.got)))
            if self.clients[device].ended:
                bad.append("%s: its connection ended: %s" % (device, self.clients[device].ended))
            if self.clients[device].faults:
                bad.append("%s: %s" % (device, self.clients[device].faults))
        assert complete and not bad, "\n".join(bad) or "exchanges did not end"


def _around(numbers):
    for i, (a, b) in enumerate(zip(numbers, numbers[1:])):
        if b != a + 1:
            return "... %s ..." % numbers[max(0, i - 5):i + 7]
    return ""
