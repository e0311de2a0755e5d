"""A broker that treats each client as its row of a table says, from the first byte on: cuts, resets, falls silent in the
middle of the handshake, sends alerts by hand, answers late, in halves, or not at all.

Unlike ScriptedBroker it moves the bytes of TLS itself, so a behaviour may choose which of them are sent.  One thread
serves all connections.
"""

import collections
import selectors
import socket
import ssl
import struct
import threading
import time

from . import packets as p
from .wait import free_port


def alert(number):
    """A fatal alert as a record without protection: what a TLS 1.2 server may still send before its Finished."""
    return b"\x15\x03\x03\x00\x02\x02" + bytes([number])


class Peer:
    """One connection.  The behaviours below work on it."""

    def __init__(self, broker, sock):
        self.broker = broker
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = broker.tls.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.up = False
        self.data = b""
        self.version = 4
        self.client_id = None
        self.name = self.slot = None
        self.first = True       # nothing was read yet
        self.silent = False     # from now on nothing is sent
        self.flights = 0
        self.kept = None        # bytes that are handed to TLS later
        self.behaviour = {}
        self.received = collections.Counter()

    # -- the socket

    def push(self):
        out = self.outgoing.read()
        if out and not self.silent and self.sock is not None:
            try:
                self.sock.setblocking(True)
                self.sock.sendall(out)
            except OSError:
                pass
            finally:
                if self.sock is not None:
                    self.sock.setblocking(False)

    def raw(self, data):
        if self.sock is not None:
            try:
                self.sock.sendall(data)
            except OSError:
                pass

    def send(self, data):
        if not self.silent and self.sock is not None:
            self.tls.write(data)
            self.push()

    def close(self):
        if self.sock is not None:
            self.broker.forget(self)
            try:  # what was written goes out, whatever lies unread
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.sock.close()
            self.sock = None

    def finish(self):
        """close_notify, then close."""
        if self.up and not self.silent:
            try:
                self.tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass
            self.push()
        self.close()

    def reset(self):
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_hard()

    def close_hard(self):
        self.broker.forget(self)
        self.sock.close()
        self.sock = None

    # -- what comes

    def feed(self, data):
        if self.silent:
            return
        if self.first:
            self.first = False
            hello = self.broker.at_hello
            if hello is not None:
                hello(self)
                return
        if self.kept is not None:
            self.kept += data
            return
        self.flights += 1
        if self.broker.slow and self.flights == 2:
            self.kept = data
            if self.broker.unread:
                self.broker.hear(self, False)
            self.broker.later(self.broker.slow, self.go_on)
            return
        self.incoming.write(data)
        self.turn()

    def go_on(self):
        if self.sock is not None:
            self.incoming.write(self.kept)
            self.kept = None
            self.turn()
            if self.broker.unread and self.sock is not None:
                self.broker.hear(self, True)

    def turn(self):
        try:
            if not self.up:
                self.tls.do_handshake()
                self.up = True
                self.known()
                if self.sock is None:
                    return
                self.push()
            while self.sock is not None:
                data = self.tls.read(65536)
                if not data:
                    self.close()
                    return
                self.plain(data)
        except ssl.SSLWantReadError:
            self.push()
        except ssl.SSLError:
            self.push()  # its alert
            self.close()

    def known(self):
        """The handshake is complete here; nothing of our last flight has gone out."""
        cert = self.tls.getpeercert() or {}
        subject = {k: v for part in cert.get("subject", ()) for k, v in part}
        self.name, self.slot = subject.get("commonName"), subject.get("organizationalUnitName")
        self.behaviour = self.broker.behaviour(self.name, self.slot)
        act = self.behaviour.get("tls")
        if act is not None:
            act(self)

    def plain(self, data):
        self.data += data
        while len(self.data) > 1 and self.sock is not None:
            length = shift = 0
            at = 1
            while at < len(self.data):
                byte = self.data[at]
                length |= (byte & 127) << shift
                shift += 7
                at += 1
                if not byte & 128:
                    break
            else:
                return
            if len(self.data) < at + length:
                return
            first, body = self.data[0], self.data[at:at + length]
            self.data = self.data[at + length:]
            self.packet(first >> 4, first, body)

    def packet(self, kind, first, body):
        self.received[kind] += 1
        if kind == p.CONNECT:
            name = struct.unpack(">H", body[:2])[0]
            self.version = body[2 + name]
            at = 6 + name
            if self.version == 5:
                at += 1 + body[at]
            size = struct.unpack(">H", body[at:at + 2])[0]
            self.client_id = body[at + 2:at + 2 + size].decode()
            self.broker.connected(self)
        self.broker.counted(self, kind)
        act = self.behaviour.get(kind)
        if act is not None and act(self, body) is not False:
            return
        self.answer(kind, first, body)

    def answer(self, kind, first, body):
        """What an obliging broker says; it delivers to the sender what it has subscribed to, at QoS 0."""
        v5 = b"\0" if self.version == 5 else b""
        if kind == p.CONNECT:
            self.broker.taken_over(self)
            self.send(p.packet(p.CONNACK, 0, b"\0\0" + v5))
        elif kind == p.SUBSCRIBE:
            self.send(p.packet(p.SUBACK, 0, body[:2] + v5 + b"\1"))
        elif kind == p.PINGREQ:
            self.send(p.packet(p.PINGRESP, 0, b""))
        elif kind == p.PUBLISH and first >> 1 & 3:
            size = struct.unpack(">H", body[:2])[0]
            self.send(p.packet(p.PUBACK if first >> 1 & 3 == 1 else p.PUBREC, 0, body[2 + size:4 + size]))
        elif kind == p.PUBREL:
            self.send(p.packet(p.PUBCOMP, 0, body[:2]))
        elif kind == p.DISCONNECT:
            self.finish()


class RoughBroker:
    """`rows`: {device: behaviour of its new identity}.  A behaviour is {what: function(peer, body)}: "tls" when the
    handshake is complete, or a packet's kind; without one for it, the packet is answered.  `at_hello(peer)`: instead of
    TLS, when the first bytes are here.  `slow`: the client's certificate is looked at so many seconds after it came;
    `unread`: what came meanwhile is never read, so that a close is a reset."""

    def __init__(self, pki, rows=None, at_hello=None, server=None, version=None, anchors=None, slow=0, unread=False):
        self.rows = rows if rows is not None else {}
        self.at_hello = at_hello
        self.tls_port = free_port()
        self.lock = threading.Lock()
        self.acks = collections.Counter()   # (client id, slot) -> QoS 1 PUBLISHes taken
        self.connects = collections.Counter()  # (client id, slot) -> CONNECTs seen
        self.arrivals = []                  # when connections came
        self.live = {}                      # client id -> its accepted connection
        self.slow, self.unread = slow, unread
        self.everybody = None               # the behaviour towards all, whoever it is
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server = server or pki.server()
        self.tls.load_cert_chain(server.chain, server.key)
        self.tls.load_verify_locations(anchors or pki.both())
        self.tls.verify_mode = ssl.CERT_REQUIRED
        if version:
            self.tls.minimum_version = self.tls.maximum_version = version
        self._selector = selectors.DefaultSelector()
        self._later = []
        self._stop = False
        self._thread = None

    def behaviour(self, name, slot):
        if self.everybody is not None:
            return self.everybody
        return self.rows.get(name, {}) if slot == "new" else {}

    def connected(self, peer):
        with self.lock:
            self.connects[peer.client_id, peer.slot] += 1

    def counted(self, peer, kind):
        if kind == p.PUBLISH:
            with self.lock:
                self.acks[peer.client_id, peer.slot] += 1

    def taken_over(self, peer):
        former = self.live.get(peer.client_id)
        self.live[peer.client_id] = peer
        if former is not None and former is not peer:
            former.finish()

    def later(self, seconds, act):
        self._later.append((time.monotonic() + seconds, act))

    def cut_all(self):
        """Everybody's connection ends now, and whoever comes back is welcome."""
        self.later(0, lambda: [peer.close() for peer in list(self.live.values())])

    def hear(self, peer, on):
        if on:
            self._selector.register(peer.sock, selectors.EVENT_READ, peer)
        else:
            self._selector.unregister(peer.sock)

    def forget(self, peer):
        if peer.sock in self._selector.get_map():
            self._selector.unregister(peer.sock)
        if self.live.get(peer.client_id) is peer:
            del self.live[peer.client_id]

    def start(self):
        self._listening = socket.create_server(("127.0.0.1", self.tls_port), backlog=512)
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="rough", daemon=True)
        self._thread.start()
        return self

    def _run(self):
        while not self._stop:
            for key, _ in self._selector.select(0.05):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            now = time.monotonic()
            due, self._later = ([l for l in self._later if l[0] <= now], [l for l in self._later if l[0] > now])
            for _, act in due:
                act()

    def _accept(self):
        try:
            sock = self._listening.accept()[0]
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.arrivals.append(time.monotonic())
        self._selector.register(sock, selectors.EVENT_READ, Peer(self, sock))

    def _read(self, peer):
        if peer.sock is None:
            return
        try:
            data = peer.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if peer.silent:  # it stays silent even now
                self.forget(peer)
                peer.sock.close()
                peer.sock = None
            else:
                peer.close()
            return
        peer.feed(data)

    def stop(self):
        self._stop = True
        if self._thread:
            self._thread.join()
            self._thread = None
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()
            self._selector.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()


# ---- behaviours of the handshake

def cut(peer, body=None):
    """The end of the connection, without close_notify."""
    peer.close()


def bye(peer, body=None):
    """close_notify, and the end."""
    peer.finish()


def reset(peer, body=None):
    peer.reset()


def mute(peer, body=None):
    peer.silent = True


def says(number):
    """An alert by hand (TLS 1.2, or instead of any TLS), then the end."""
    def act(peer, body=None):
        peer.outgoing.read()
        peer.raw(alert(number))
        peer.close()
    return act


# ---- behaviours of MQTT

def connack(code, then=None):
    """CONNACK of that code; then that."""
    def act(peer, body=None):
        if code == 0:
            peer.broker.taken_over(peer)
        peer.send(p.packet(p.CONNACK, 0, bytes([0, code]) + (b"\0" if peer.version == 5 else b"")))
        if then is not None:
            then(peer)
    return act


def sends(data, then=None):
    def act(peer, body=None):
        peer.send(data)
        if then is not None:
            then(peer)
    return act


def disconnect(code):
    """MQTT 5: DISCONNECT of that code, and the end."""
    return sends(p.packet(p.DISCONNECT, 0, bytes([code, 0])), bye)
