"""A broker that does what a test tells it to: refuse, stay silent, say goodbye, ask for authentication."""

import socket
import ssl
import struct
import threading

from . import packets as p
from .wait import free_port, seconds


class Connection:
    """One client of the scripted broker, served by a thread of its own."""

    def __init__(self, sock, broker):
        self.sock = sock
        self.broker = broker
        cert = sock.getpeercert() or {}
        self.resumed = sock.session_reused
        self.cipher = sock.cipher()
        self.subject = {k: v for part in cert.get("subject", ()) for k, v in part}
        self.version = None
        self.client_id = None
        self.connect_flags = None
        self.received = []  # (kind, first byte, body)
        self.ended = threading.Event()

    @property
    def slot(self):
        return self.subject.get("organizationalUnitName")

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        try:
            self.sock.unwrap()
        except (OSError, ValueError):
            pass
        self.sock.close()

    def end(self):
        """From another thread than the one that reads."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has just ended by itself

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            got = self.sock.recv(n - len(out))
            if not got:
                raise EOFError
            out += got
        return out

    def read(self):
        first = self._exactly(1)[0]
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        return first, self._exactly(length)

    def run(self):
        try:
            while True:
                first, body = self.read()
                kind = first >> 4
                if kind == p.CONNECT:
                    name = struct.unpack(">H", body[:2])[0]
                    self.version = body[2 + name]
                    self.connect_flags = body[3 + name]
                    at = 6 + name
                    if self.version == 5:
                        at += 1 + body[at]
                    size = struct.unpack(">H", body[at:at + 2])[0]
                    self.client_id = body[at + 2:at + 2 + size].decode()
                with self.broker.cond:
                    self.received.append((kind, first, body))
                    self.broker.cond.notify_all()
                if not self.broker.script or not self.broker.script(self, kind, first, body):
                    self.answer(kind, first, body)
        except (EOFError, OSError, ValueError):
            pass
        finally:
            self.ended.set()
            with self.broker.cond:
                self.broker.cond.notify_all()

    def answer(self, kind, first, body):
        """What an obliging broker says; it delivers nothing."""
        v5 = b"\0" if self.version == 5 else b""
        if kind == p.CONNECT:
            for other in list(self.broker.connections):  # [MQTT-3.1.4-2]
                if other is not self and other.client_id == self.client_id and not other.ended.is_set():
                    other.end()
            self.send(p.packet(p.CONNACK, 0, b"\0\0" + v5))
        elif kind == p.SUBSCRIBE:
            self.send(p.packet(p.SUBACK, 0, body[:2] + v5 + b"\1"))
        elif kind == p.UNSUBSCRIBE:
            self.send(p.packet(p.UNSUBACK, 0, body[:2] + (v5 + b"\0" if v5 else b"")))
        elif kind == p.PINGREQ:
            self.send(p.packet(p.PINGRESP, 0, b""))
        elif kind == p.PUBLISH and first >> 1 & 3:
            size = struct.unpack(">H", body[:2])[0]
            pid = body[2 + size:4 + size]
            self.send(p.packet(p.PUBACK if first >> 1 & 3 == 1 else p.PUBREC, 0, pid))
        elif kind == p.PUBREL:
            self.send(p.packet(p.PUBCOMP, 0, body[:2]))
        elif kind == p.DISCONNECT:
            self.close()

    def wait(self, kind, timeout=10):
        """The first packet of that kind."""
        with self.broker.cond:
            found = self.broker.cond.wait_for(
                lambda: next((r for r in self.received if r[0] == kind), None), seconds(timeout))
        assert found, "the broker got no %s, but %s" % (p.NAMES[kind], [p.NAMES[r[0]] for r in self.received])
        return found


class ScriptedBroker:
    """`script(connection, kind, first, body)` returns True when it has dealt with the packet.

    `verify`: whether it demands (ssl.CERT_REQUIRED), asks for (CERT_OPTIONAL) or does not ask for a certificate.
    """

    def __init__(self, pki, script=None, anchors=None, version=None, server=None, verify=ssl.CERT_REQUIRED, ciphers=None):
        self.script = script
        self.cond = threading.Condition()
        self.connections = []
        self.tls_port = free_port()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server = server or pki.server()
        if ciphers:
            self._tls.set_ciphers(ciphers)
        self._tls.load_cert_chain(server.chain, server.key)
        self._tls.load_verify_locations(anchors or pki.both())
        self._tls.verify_mode = verify
        if version:
            self._tls.minimum_version = self._tls.maximum_version = version
        self._sock = None

    def start(self):
        self._sock = socket.create_server(("127.0.0.1", self.tls_port), backlog=64)
        threading.Thread(target=self._accept, name="scripted", daemon=True).start()
        return self

    def _accept(self):
        listening = self._sock
        while True:
            try:
                sock = listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), name="scripted", daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            conn = Connection(self._tls.wrap_socket(sock, server_side=True), self)
        except OSError:
            sock.close()
            return
        with self.cond:
            self.connections.append(conn)
            self.cond.notify_all()
        conn.run()

    def wait_connection(self, number=0, timeout=10):
        """The n-th connection that has completed TLS."""
        with self.cond:
            ok = self.cond.wait_for(lambda: len(self.connections) > number, seconds(timeout))
        assert ok, "connection %d never came; %d did" % (number, len(self.connections))
        return self.connections[number]

    def stop(self):
        if self._sock:
            self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
            self._sock = None
        for conn in self.connections:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            conn.sock.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()
