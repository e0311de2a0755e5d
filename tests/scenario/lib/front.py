"""What stands before many brokers: a front that passes TCP on, and can stop doing so.  A process of its own.

`front.tarpit("new")`: from now on, who shows a certificate with that OU gets its handshake, and never an answer to what it
says then.  The front reads the certificate, so it needs TLS 1.2, where it is in the clear.
`front.cut()`: every connection that there is ends with RST, and the broker's side of it, too.
"""

import os
import selectors
import socket
import struct
import subprocess
import sys

RESET = struct.pack("ii", 1, 0)
APPLICATION_DATA = 23


class Front:
    def __init__(self, target_port):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(target_port)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.port = int(self.process.stdout.readline())

    def _say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the front ended with %s" % self.process.wait())
        return int(answer)

    def tarpit(self, slot):
        self._say("tarpit", slot)

    def refuse(self):
        """Who comes from now on gets RST."""
        self._say("refuse")

    def open(self):
        """End of the tarpit, or of the refusals, for connections that are still to come."""
        self._say("open")

    def cut(self):
        """Returns how many connections there were."""
        return self._say("cut")

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        assert code == 0, "the front ended with %d" % code


# -- the process


class _Half:
    """What comes from one socket and goes to the other."""

    def __init__(self, serving, sock):
        self.serving, self.sock, self.other, self.out = serving, sock, None, bytearray()
        self.ends = False  # FIN once `out` is sent
        self.records = None  # of a client: what of its handshake has been looked at

    def read(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.serving.drop(self)
            return
        if data:
            self.other.out += self.look(data) if self.records is not None else data
        else:
            self.serving.unwatch(self, selectors.EVENT_READ)
            self.other.ends = True
        self.other.write()

    def look(self, data):
        """Returns what of it is passed on."""
        self.records += data
        at = 0
        while len(self.records) - at >= 5:
            kind, length = self.records[at], struct.unpack(">H", self.records[at + 3:at + 5])[0]
            if kind == APPLICATION_DATA:
                if self.serving.tarpit and b"\x0c" + bytes([len(self.serving.tarpit)]) + self.serving.tarpit \
                        in self.handshake:
                    self.records.clear()
                    self.serving.unwatch(self, selectors.EVENT_READ)
                    return b""
                rest, self.records = bytes(self.records), None
                return rest
            if len(self.records) - at < 5 + length:
                break
            self.handshake += self.records[at:at + 5 + length]
            at += 5 + length
        passed = bytes(self.records[:at])
        del self.records[:at]
        return passed

    def write(self):
        try:
            while self.out:
                del self.out[:self.sock.send(self.out[:262144])]
        except BlockingIOError:
            self.serving.watch(self, selectors.EVENT_WRITE)
            return
        except OSError:
            self.serving.drop(self)
            return
        self.serving.unwatch(self, selectors.EVENT_WRITE)
        if self.ends:
            self.ends = False
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            if not self.serving.reads(self):  # both ways have ended
                self.serving.drop(self, reset=False)


class _Serving:
    def __init__(self, target_port):
        self.selector = selectors.DefaultSelector()
        self.target = ("127.0.0.1", target_port)
        self.tarpit = None
        self.refusing = False
        self.halves = set()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listening.setblocking(False)
        self.selector.register(self.listening, selectors.EVENT_READ, self.accept)
        self.selector.register(0, selectors.EVENT_READ, self.obey)
        print(self.listening.getsockname()[1], flush=True)

    def watch(self, half, mask):
        key = self.selector.get_map().get(half.sock)
        now = key.events if key else 0
        if now | mask != now:
            (self.selector.modify if key else self.selector.register)(half.sock, now | mask, half)

    def unwatch(self, half, mask):
        key = self.selector.get_map().get(half.sock)
        if key and key.events & mask:
            if key.events & ~mask:
                self.selector.modify(half.sock, key.events & ~mask, half)
            else:
                self.selector.unregister(half.sock)

    def reads(self, half):
        key = self.selector.get_map().get(half.sock)
        return bool(key and key.events & selectors.EVENT_READ)

    def accept(self, *unused):
        try:
            near = self.listening.accept()[0]
        except BlockingIOError:
            return
        try:
            far = None if self.refusing else socket.create_connection(self.target)
        except OSError:
            far = None
        if far is None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            near.close()
            return
        pair = [_Half(self, near), _Half(self, far)]
        pair[0].records, pair[0].handshake = bytearray(), bytearray()
        for half, other in (pair, reversed(pair)):
            half.other = other
            half.sock.setblocking(False)
            half.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.halves.add(half)
            self.watch(half, selectors.EVENT_READ)

    def drop(self, half, reset=True):
        for h in (half, half.other):
            if h in self.halves:
                self.halves.discard(h)
                self.unwatch(h, selectors.EVENT_READ | selectors.EVENT_WRITE)
                if reset:
                    h.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                h.sock.close()

    def obey(self, *unused):
        words = sys.stdin.readline().split()
        if not words:
            sys.exit(0)
        count = len(self.halves) // 2
        if words[0] == "tarpit":
            self.tarpit = words[1].encode()
        elif words[0] == "refuse":
            self.refusing = True
        elif words[0] == "open":
            self.tarpit, self.refusing = None, False
        else:
            for half in list(self.halves):
                self.drop(half)
        print(count, flush=True)

    def run(self):
        while True:
            for key, mask in self.selector.select():
                if not isinstance(key.data, _Half):
                    key.data()
                    continue
                if mask & selectors.EVENT_WRITE and key.data in self.halves:
                    key.data.write()
                if mask & selectors.EVENT_READ and key.data in self.halves:
                    key.data.read()


if __name__ == "__main__":
    _Serving(int(sys.argv[1])).run()
