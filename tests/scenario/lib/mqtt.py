"""MQTT clients for tests: what a sensor does, and what a broken or hostile one does.

One thread (the Reactor) serves every connection, so that 500 devices cost no 500 threads.  A test calls blocking
methods that wait for a condition with a deadline.  Every byte can be sent by hand; how the other side ended the
connection is told apart: close_notify, plain end of file, reset, alert.
"""

import errno
import selectors
import socket
import ssl
import struct
import threading
import time

from . import packets as p
from .wait import Late, seconds


def tls_context(anchors, pair=None, version=None, verify=True, weak=False):
    """A client's TLS; `version`: ssl.TLSVersion to allow nothing else."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if anchors:
        ctx.load_verify_locations(anchors)
    if not verify:
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
    if weak:  # as old sensors are: a certificate that OpenSSL would not load any more
        ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    if pair:
        ctx.load_cert_chain(pair.chain, pair.key)
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    return ctx


class Reactor:
    """The thread that reads and writes for all clients.  `cond` guards everything that clients hold."""

    def __init__(self):
        self.cond = threading.Condition(threading.RLock())
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        self._changes = []
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="reactor", daemon=True)
        self._thread.start()

    def stop(self):
        self._stop = True
        self._wake_w.send(b"x")
        self._thread.join()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()

    def wait(self, what, condition, timeout=10):
        """Wait under the lock for condition() to be true; returns its value."""
        end = time.monotonic() + seconds(timeout)
        with self.cond:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise Late("after %g s still not so: %s" % (seconds(timeout), what() if callable(what) else what))
                self.cond.wait(left)

    def watch(self, link):
        """Take over `link` (or notice that what it wants has changed).  Under the lock."""
        self._changes.append(link)
        if threading.current_thread() is not self._thread and len(self._changes) == 1:
            self._wake_w.send(b"x")

    def _apply(self):
        for link in self._changes:
            want = link.wanted() if link.sock is not None else 0
            have = link.registered
            if link.sock is None or want == have:
                continue
            if not have:
                self._selector.register(link.sock, want, link)
            elif not want:
                self._selector.unregister(link.sock)
            else:
                self._selector.modify(link.sock, want, link)
            link.registered = want
        self._changes.clear()

    def forget(self, link):
        """Before link.sock is closed.  Under the lock."""
        if link.registered:
            self._selector.unregister(link.sock)
            link.registered = 0

    def _run(self):
        while not self._stop:
            events = self._selector.select()
            with self.cond:
                for key, mask in events:
                    if key.data is None:
                        self._wake_r.recv(65536)
                    elif key.data.registered:
                        try:
                            key.data.ready(mask)
                        except ConnectionError as e:  # it ended while an answer was written
                            key.data._finish(str(e))
                self._apply()
                self.cond.notify_all()


class Link:
    """A TCP or TLS connection served by the reactor.  Subclasses get received().

    `host`: where the socket is made (lib.link.Host); None: here.
    """

    def __init__(self, reactor, address, tls=None, server_name="localhost", receive_buffer=None, host=None):
        self.reactor = reactor
        self.address = address
        self.tls = tls
        self.server_name = server_name
        self.host = host
        self.sock = None
        self.registered = 0
        self.reading = True
        self.ended = None  # "close_notify", "eof", "reset", "alert: ...", "closed here", "refused: ..."
        self.up = False  # TCP and TLS are through
        self.bytes_in = 0
        self._receive_buffer = receive_buffer
        self.send_buffer = None  # bytes that the kernel takes at once; to be set before open()
        self._connecting = False
        self._out = bytearray()
        self._ssl = None
        self._dead = False

    # -- what tests call

    def open(self, timeout=10, wait=True):
        """Connect (and shake hands); raises ConnectionError when the other side refused."""
        with self.reactor.cond:
            unix = isinstance(self.address, str)
            make = self.host.socket if self.host else socket.socket
            self.sock = make(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
            self.sock.setblocking(False)
            if self._receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            if self.send_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
            if not unix:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self.sock.connect_ex(self.address)
            if code not in (0, errno.EINPROGRESS):
                self._finish("refused: " + errno.errorcode.get(code, str(code)))
            else:
                self._connecting = True
                self.reactor.watch(self)
        if wait:
            self.opened(timeout)
        return self

    def opened(self, timeout=10):
        """Wait for what open(wait=False) began."""
        self.reactor.wait(lambda: "connected to %s" % (self.address,), lambda: self.up or self.ended, timeout)
        if not self.up:
            raise ConnectionError(self.ended)
        return self

    def send_raw(self, data):
        with self.reactor.cond:
            if self.ended:
                raise ConnectionError(self.ended)
            if self._ssl:
                self._ssl.write(data)
                self._collect()
            else:
                self._out += data
            self._flush()

    def unsent(self):
        """Bytes that the other side has not taken yet."""
        with self.reactor.cond:
            return len(self._out)

    def read(self, on):
        """Stop or go on reading, as a slow reader does."""
        with self.reactor.cond:
            self.reading = on
            if on and self._ssl and self.up:
                self._pump()
            self.reactor.watch(self)

    def close(self):
        """The clean end: close_notify, then FIN."""
        with self.reactor.cond:
            if self._ssl and self.up and not self.ended:
                try:
                    self._ssl.unwrap()
                except ssl.SSLError:
                    pass
                self._collect()
                self._flush()
            self._finish("closed here")

    def cut(self):
        """FIN without close_notify: the process died."""
        with self.reactor.cond:
            self._finish("closed here")

    def reset(self):
        """RST: the device lost power behind a NAT that answers for it."""
        with self.reactor.cond:
            if self.sock is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._finish("closed here")

    def half_close(self):
        """FIN, but go on reading."""
        with self.reactor.cond:
            if self.sock is not None:
                try:
                    self.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # the other side was faster

    def wait_end(self, timeout=10):
        """Wait for the other side to end the connection; returns how."""
        return self.reactor.wait(lambda: "the connection of %r was ended" % self, lambda: self.ended, timeout)

    # -- what the reactor calls, under the lock

    def wanted(self):
        if self._connecting or self._out:
            return selectors.EVENT_WRITE | (selectors.EVENT_READ if self.reading and not self._connecting else 0)
        return selectors.EVENT_READ if self.reading else 0

    def ready(self, mask):
        if self._connecting:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._finish("refused: " + errno.errorcode.get(code, str(code)))
                return
            self._connecting = False
            if self.tls:
                self._in_bio, self._out_bio = ssl.MemoryBIO(), ssl.MemoryBIO()
                self._ssl = self.tls.wrap_bio(self._in_bio, self._out_bio, server_hostname=self.server_name)
                self._shake()
            else:
                self._is_up()
            self.reactor.watch(self)
            return
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ and self.sock is not None:
            self._receive()

    def _receive(self):
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError as e:
            self._finish("reset" if e.errno == errno.ECONNRESET else errno.errorcode.get(e.errno, str(e)))
            return
        self.bytes_in += len(data)
        if not self._ssl:
            if data:
                self._deliver(data)
            else:
                self._finish("eof")
            return
        if data:
            self._in_bio.write(data)
        else:
            self._in_bio.write_eof()
        if not self.up:
            self._shake()
        if self.up:
            self._pump()

    def _shake(self):
        try:
            self._ssl.do_handshake()
            self._is_up()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as e:
            self._collect()
            self._flush()
            self._finish(self._name(e))
            return
        self._collect()
        self._flush()

    def _pump(self):
        try:
            while self.reading and not self.ended:
                data = self._ssl.read(65536)
                if not data:
                    # An SSLObject reads b"" for close_notify and for an end without it alike; only the latter is an
                    # error when one insists.
                    self._finish(self._how_ended())
                    return
                self._deliver(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._finish("close_notify")
        except ssl.SSLError as e:
            self._finish(self._name(e))
            return
        if not self.ended:
            self._collect()
            self._flush()

    def _how_ended(self):
        try:
            self._ssl.unwrap()
            return "close_notify"
        except ssl.SSLError as e:
            return "close_notify" if isinstance(e, (ssl.SSLZeroReturnError, ssl.SSLWantReadError)) else self._name(e)

    @staticmethod
    def _name(e):
        if isinstance(e, ssl.SSLEOFError) or "UNEXPECTED_EOF" in (e.reason or ""):
            return "eof"
        return "alert: " + (e.reason or str(e)).lower().replace("_", " ")

    def _collect(self):
        self._out += self._out_bio.read()

    def _flush(self):
        if self.sock is None or self._connecting:
            return
        while self._out:
            try:
                n = self.sock.send(self._out[:1 << 18])
            except BlockingIOError:
                break
            except OSError as e:
                # What the other side said last may still be readable.
                self._out.clear()
                if self.reading and not self._dead:
                    self._dead = True
                    self.reactor.watch(self)
                else:
                    self._finish("reset" if e.errno in (errno.ECONNRESET, errno.EPIPE) else str(e))
                return
            del self._out[:n]
        self.reactor.watch(self)

    def _is_up(self):
        self.up = True
        self.reactor.cond.notify_all()

    def _deliver(self, data):
        self.received(data)

    def _finish(self, how):
        if self.ended is None:
            self.ended = how
        if self.sock is not None:
            self.reactor.forget(self)
            self.sock.close()
            self.sock = None
        self.reactor.cond.notify_all()

    def received(self, data):
        raise NotImplementedError


class Message:
    """A PUBLISH that came in."""

    def __init__(self, packet):
        self.topic = packet.topic
        self.payload = packet.payload
        self.qos = packet.qos
        self.retain = packet.retain
        self.dup = packet.dup
        self.pid = packet.pid
        self.props = packet.props

    def __repr__(self):
        return "%s=%r(q%d%s%s)" % (self.topic, self.payload[:40], self.qos, " retain" if self.retain else "",
                                    " dup" if self.dup else "")


class Client(Link):
    """An MQTT client.  Acknowledges what comes in unless `auto_ack` is off; `faults` collects what the server did wrong."""

    def __init__(self, reactor, address, tls=None, version=4, server_name="localhost", receive_buffer=None,
                 host=None):
        super().__init__(reactor, address, tls, server_name, receive_buffer, host)
        self.version = version
        self.client_id = None
        self.auto_ack = True
        self.auto_pubrel = True
        self.packets = []  # everything that came, in order
        self.messages = []  # PUBLISH only
        self.faults = []
        self.inflight = {}  # pid -> kind that is awaited
        self._sent = {}  # pid -> what publish() was given, to send it again
        self.on_message = None  # called under the lock
        self._splitter = p.Splitter(version)
        self._next_pid = 1
        self._qos2_in = set()
        self._corked = None

    def __repr__(self):
        return "client %s v%d" % (self.client_id, self.version)

    # -- incoming

    def received(self, data):
        try:
            for packet in self._splitter.feed(data):
                self.packets.append(packet)
                self._handle(packet)
        except (p.Malformed, UnicodeDecodeError) as e:
            self.faults.append(str(e))
            self._finish("malformed: %s" % e)
        self.reactor.cond.notify_all()

    def _handle(self, packet):
        kind = packet.kind
        if kind == p.PUBLISH:
            if packet.qos == 2 and packet.pid in self._qos2_in:
                if not packet.dup:
                    self.faults.append("packet identifier %d used again before PUBREL" % packet.pid)
            else:
                if packet.qos == 2:
                    self._qos2_in.add(packet.pid)
                message = Message(packet)
                self.messages.append(message)
                if self.on_message:
                    self.on_message(message)
            if self.auto_ack and packet.qos:
                self._answer(p.ack(p.PUBACK if packet.qos == 1 else p.PUBREC, packet.pid, self.version))
        elif kind == p.PUBREL:
            self._qos2_in.discard(packet.pid)
            if self.auto_ack:
                self._answer(p.ack(p.PUBCOMP, packet.pid, self.version))
        elif kind in (p.PUBACK, p.PUBREC, p.PUBCOMP):
            waiting = self.inflight.get(packet.pid)
            if waiting is None:
                self.faults.append("%s for %d, which is not under way" % (p.NAMES[kind], packet.pid))
            elif kind == p.PUBREC and packet.reason < 0x80:
                self.inflight[packet.pid] = p.PUBCOMP
                if self.auto_pubrel:
                    self._answer(p.ack(p.PUBREL, packet.pid, self.version))
            elif waiting != kind and packet.reason < 0x80:
                self.faults.append("%s for %d, awaited %s" % (p.NAMES[kind], packet.pid, p.NAMES[waiting]))
            else:
                del self.inflight[packet.pid]
                self._sent.pop(packet.pid, None)

    def _answer(self, data):
        if self._corked is None:
            self.send_raw(data)
        else:
            self._corked += data

    def cork(self):
        """Keep automatic answers back: the test is in the middle of a packet."""
        with self.reactor.cond:
            self._corked = b""

    def uncork(self):
        with self.reactor.cond:
            kept, self._corked = self._corked, None
            if kept:
                self.send_raw(kept)

    # -- outgoing

    def pid(self):
        with self.reactor.cond:
            while self._next_pid in self.inflight:
                self._next_pid = self._next_pid % 65535 + 1
            got = self._next_pid
            self._next_pid = got % 65535 + 1
            return got

    def connect_packet(self, client_id, **options):
        self.client_id = client_id
        return p.connect(client_id, self.version, **options)

    def connect(self, client_id, timeout=10, expect=0, **options):
        """Open if need be, CONNECT, and return CONNACK; `expect` is the code it must carry (None: whatever comes)."""
        if self.sock is None and not self.ended:
            self.open(timeout)
        self.opened(timeout)
        self.send_raw(self.connect_packet(client_id, **options))
        return self.connack(timeout, expect)

    def resume(self, former, timeout=10, **options):
        """Connect in the place of `former`, whose connection has ended, and go on with its session: what was under
        way is sent again with its identifiers, in its order [MQTT-4.4.0-1].  The server must have the session."""
        self.resume_begin(former, timeout, **options)
        return self.resume_end(timeout)

    def resume_begin(self, former, timeout=10, **options):
        """The first half, which does not wait for CONNACK."""
        with self.reactor.cond:
            assert former.ended, "%r is still connected" % former
            self.inflight, self._sent, self._qos2_in = former.inflight, former._sent, former._qos2_in
            self._next_pid, self.on_message = former._next_pid, former.on_message
        self.open(timeout)
        self.send_raw(self.connect_packet(former.client_id, clean=False, **options))

    def resume_end(self, timeout=10):
        ack = self.connack(timeout)
        assert ack.session_present, "the server has no session of %r" % self
        with self.reactor.cond:
            for pid, awaited in self.inflight.items():
                if awaited == p.PUBCOMP:
                    self.send_raw(p.ack(p.PUBREL, pid, self.version))
                else:
                    topic, payload, qos, retain, props = self._sent[pid]
                    self.send_raw(p.publish(topic, payload, qos, retain, True, pid, self.version, props))
        return ack

    def connack(self, timeout=10, expect=0):
        ack = self.await_packet(p.CONNACK, timeout)
        if expect is not None:
            assert ack.reason == expect, "CONNACK %#x for %r, not %#x" % (ack.reason, self, expect)
        return ack

    def await_packet(self, kind, timeout=10, pid=None, after=0):
        """The first packet of that kind (and packet identifier) among packets[after:]."""
        def found():
            for packet in self.packets[after:]:
                if packet.kind == kind and pid in (None, packet.pid):
                    return packet
            if self.ended:
                raise ConnectionError("%r awaits %s, but: %s" % (self, p.NAMES[kind], self.ended))
            return None
        return self.reactor.wait(lambda: "%s for %r" % (p.NAMES[kind], self), found, timeout)

    def subscribe(self, *filters, timeout=10, props=None):
        """Each filter is "name" (QoS 0), or (name, options).  Returns SUBACK."""
        filters = [(f, 0) if isinstance(f, str) else f for f in filters]
        pid = self.pid()
        self.send_raw(p.subscribe(pid, filters, self.version, props))
        return self.await_packet(p.SUBACK, timeout, pid)

    def unsubscribe(self, *filters, timeout=10):
        pid = self.pid()
        self.send_raw(p.unsubscribe(pid, filters, self.version))
        return self.await_packet(p.UNSUBACK, timeout, pid)

    def publish(self, topic, payload, qos=0, retain=False, props=None, wait=True, timeout=10):
        """Returns the packet identifier (None for QoS 0); waits for the exchange to end unless told otherwise."""
        with self.reactor.cond:
            pid = self.pid() if qos else None
            if qos:
                self.inflight[pid] = p.PUBACK if qos == 1 else p.PUBREC
                self._sent[pid] = (topic, payload, qos, retain, props)
            self.send_raw(p.publish(topic, payload, qos, retain, False, pid, self.version, props))
        if wait and qos:
            self.finished(pid, timeout)
        return pid

    def finished(self, pid=None, timeout=10):
        """Wait until that exchange, or every one, has ended."""
        def done():
            if pid not in self.inflight if pid is not None else not self.inflight:
                return True
            if self.ended:
                raise ConnectionError("%r with %s under way: %s" % (self, self.inflight, self.ended))
            return False
        self.reactor.wait(lambda: "exchanges of %r end: %s" % (self, self.inflight), done, timeout)

    def ping(self, timeout=10):
        with self.reactor.cond:
            after = len(self.packets)
            self.send_raw(p.pingreq())
        return self.await_packet(p.PINGRESP, timeout, after=after)

    def disconnect(self, reason=None, props=None):
        """DISCONNECT and the clean end."""
        if self.ended:
            return
        self.send_raw(p.disconnect(self.version, reason, props))
        self.close()

    def wait_messages(self, count, timeout=10, topic=None):
        def enough():
            got = [m for m in self.messages if topic in (None, m.topic)]
            if len(got) >= count:
                return got
            if self.ended:
                raise ConnectionError("%r with %d of %d messages: %s" % (self, len(got), count, self.ended))
            return None
        return self.reactor.wait(lambda: "%d messages for %r (has %d)" % (count, self, len(self.messages)), enough,
                                 timeout)
