"""What the gateway shows over HTTP, as a client sees it."""

import collections
import http.client
import json
import re
import socket

from .wait import seconds, until

Answer = collections.namedtuple("Answer", "status headers body")
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')


class Web:
    """One address of it; each request has a connection of its own."""

    def __init__(self, port, host="127.0.0.1"):
        self.port = port
        self.host = host

    def ask(self, path, method="GET", headers=None, body=None):
        c = http.client.HTTPConnection(self.host, self.port, timeout=seconds(20))
        try:
            c.request(method, path, body, headers or {})
            reply = c.getresponse()
            return Answer(reply.status, reply.headers, reply.read())
        finally:
            c.close()

    def text(self, path, status=200):
        answer = self.ask(path)
        assert answer.status == status, (path, answer)
        return answer.body.decode()

    def wait_ready(self):
        """The workers have answered once, which they do a moment after the start."""
        until("ready", lambda: self.ask("/readyz").status == 200)

    def json(self, path, status=200):
        answer = self.ask(path)
        assert answer.status == status, (path, answer)
        assert answer.headers["Content-Type"] == "application/json", answer.headers
        return json.loads(answer.body)

    def metrics(self):
        """{name: value} of all samples, with their labels as they are written: 'certflip_x{a="b"}'."""
        out = {}
        for line in self.text("/metrics").splitlines():
            if line.startswith("#"):
                continue
            match = SAMPLE.match(line)
            assert match, line
            key = match[1] + ("{%s}" % match[2] if match[2] else "")
            assert key not in out, "twice: " + key
            out[key] = float(match[3])
        return out

    def wait_metrics(self, timeout=10, **expected):
        """Until they say so: wait_metrics(certflip_sessions=3).  Returns all of them."""
        last = {}

        def so():
            last.clear()
            last.update(self.metrics())
            return all(last.get(k) == v for k, v in expected.items())
        until(lambda: "%s; there is %s" % (expected, {k: last.get(k) for k in expected}), so, timeout, 0.1)
        return last

    def raw(self, data, timeout=10):
        """Send bytes as they are; what comes back until the other side ends the connection, or b"" when it just does."""
        with socket.create_connection((self.host, self.port), timeout=seconds(timeout)) as s:
            got = b""
            try:
                s.sendall(data)
                while True:
                    part = s.recv(65536)
                    if not part:
                        return got
                    got += part
            except (ConnectionResetError, BrokenPipeError):
                return got
