"""MQTT packets as bytes and back, for 3.1, 3.1.1 and 5.0.  Written for tests: strict about what it reads."""

import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE = range(1, 9)
SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(9, 16)

NAMES = ("reserved CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE "
         "UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH").split()

# Property identifiers and how their value is written.
PROPERTIES = {
    "payload_format": (0x01, "u8"), "message_expiry": (0x02, "u32"), "content_type": (0x03, "str"),
    "response_topic": (0x08, "str"), "correlation_data": (0x09, "bin"), "subscription_id": (0x0B, "var"),
    "session_expiry": (0x11, "u32"), "assigned_client_id": (0x12, "str"), "server_keepalive": (0x13, "u16"),
    "auth_method": (0x15, "str"), "auth_data": (0x16, "bin"), "request_problem": (0x17, "u8"),
    "will_delay": (0x18, "u32"), "request_response": (0x19, "u8"), "response_information": (0x1A, "str"),
    "server_reference": (0x1C, "str"), "reason_string": (0x1F, "str"), "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"), "topic_alias": (0x23, "u16"), "maximum_qos": (0x24, "u8"),
    "retain_available": (0x25, "u8"), "user_property": (0x26, "pair"), "maximum_packet": (0x27, "u32"),
    "wildcard_available": (0x28, "u8"), "subscription_id_available": (0x29, "u8"),
    "shared_available": (0x2A, "u8"),
}
_BY_ID = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}


class Malformed(Exception):
    """What arrived breaks the standard."""


def var(n):
    out = b""
    while True:
        n, low = n >> 7, n & 127
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(raw)) + raw


def properties(props):
    """`props`: a dict or a list of (name, value), for those that come more than once; None for no properties."""
    body = b""
    for name, value in (props.items() if isinstance(props, dict) else props or ()):
        number, kind = PROPERTIES[name]
        body += bytes([number])
        if kind == "u8":
            body += bytes([value])
        elif kind == "u16":
            body += struct.pack(">H", value)
        elif kind == "u32":
            body += struct.pack(">I", value)
        elif kind == "var":
            body += var(value)
        elif kind == "pair":
            body += text(value[0]) + text(value[1])
        else:
            body += text(value)
    return var(len(body)) + body


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + var(len(body)) + body


def connect(client_id, version=4, clean=True, keepalive=60, username=None, password=None, will=None, props=None,
            will_props=None):
    """`will`: (topic, payload, qos, retain)."""
    flags = 2 if clean else 0
    if will:
        flags |= 4 | will[2] << 3 | (32 if will[3] else 0)
    if username is not None:
        flags |= 128
    if password is not None:
        flags |= 64
    body = text("MQIsdp" if version == 3 else "MQTT") + bytes([version, flags]) + struct.pack(">H", keepalive)
    if version == 5:
        body += properties(props)
    body += text(client_id)
    if will:
        if version == 5:
            body += properties(will_props)
        body += text(will[0]) + text(will[1])
    if username is not None:
        body += text(username)
    if password is not None:
        body += text(password)
    return packet(CONNECT, 0, body)


def publish(topic, payload, qos=0, retain=False, dup=False, pid=None, version=4, props=None):
    body = text(topic)
    if qos:
        body += struct.pack(">H", pid)
    if version == 5:
        body += properties(props)
    payload = payload if isinstance(payload, bytes) else payload.encode()
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)


def ack(kind, pid, version=4, reason=None, props=None):
    body = struct.pack(">H", pid)
    if version == 5 and (reason is not None or props):
        body += bytes([reason or 0])
        if props:
            body += properties(props)
    return packet(kind, 2 if kind == PUBREL else 0, body)


def subscribe(pid, filters, version=4, props=None):
    """`filters`: (filter, options byte) each; the options byte is the QoS in 3.1 and 3.1.1."""
    body = struct.pack(">H", pid) + (properties(props) if version == 5 else b"")
    for name, options in filters:
        body += text(name) + bytes([options])
    return packet(SUBSCRIBE, 2, body)


def unsubscribe(pid, filters, version=4, props=None):
    body = struct.pack(">H", pid) + (properties(props) if version == 5 else b"")
    return packet(UNSUBSCRIBE, 2, body + b"".join(text(name) for name in filters))


def pingreq():
    return packet(PINGREQ, 0, b"")


def disconnect(version=4, reason=None, props=None):
    body = b""
    if version == 5 and (reason is not None or props):
        body = bytes([reason or 0]) + (properties(props) if props else b"")
    return packet(DISCONNECT, 0, body)


class _Reader:
    def __init__(self, raw):
        self.raw = raw
        self.at = 0

    def take(self, n):
        if self.at + n > len(self.raw):
            raise Malformed("cut short")
        self.at += n
        return self.raw[self.at - n:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def bin(self):
        return self.take(self.u16())

    def str(self):
        return self.bin().decode("utf-8")

    def var(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value
            if shift > 21:
                raise Malformed("length of more than four bytes")

    def properties(self):
        inner = _Reader(self.take(self.var()))
        out = []
        while inner.left():
            number = inner.u8()
            if number not in _BY_ID:
                raise Malformed("unknown property %#x" % number)
            name, kind = _BY_ID[number]
            out.append((name, (inner.str(), inner.str()) if kind == "pair" else getattr(inner, kind)()))
        return out

    def left(self):
        return len(self.raw) - self.at

    def rest(self):
        return self.take(self.left())


class Packet:
    """One packet from the server.  `props` is a list of (name, value) in the order of the wire."""

    def __init__(self, first, body, version):
        self.kind = first >> 4
        self.flags = first & 15
        self.body = body
        self.pid = None
        self.reason = 0
        self.props = []
        self.topic = None
        self.payload = None
        self.qos = self.flags >> 1 & 3
        self.retain = bool(self.flags & 1)
        self.dup = bool(self.flags & 8)
        self._read(_Reader(body), version)

    def _read(self, r, version):
        kind = self.kind
        if kind != PUBLISH and self.flags != (2 if kind == PUBREL else 0):
            raise Malformed("%s with flags %#x" % (NAMES[kind], self.flags))
        if kind == CONNACK:
            self.session_present = bool(r.u8() & 1)
            self.reason = r.u8()
            if version == 5:
                self.props = r.properties()
        elif kind == PUBLISH:
            if self.qos == 3:
                raise Malformed("PUBLISH with QoS 3")
            self.topic = r.str()
            if self.qos:
                self.pid = r.u16()
            if version == 5:
                self.props = r.properties()
            self.payload = r.rest()
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.pid = r.u16()
            if version == 5 and r.left():
                self.reason = r.u8()
                if r.left():
                    self.props = r.properties()
        elif kind in (SUBACK, UNSUBACK):
            self.pid = r.u16()
            if version == 5:
                self.props = r.properties()
            self.codes = list(r.rest())
        elif kind == DISCONNECT:
            if version != 5:
                raise Malformed("DISCONNECT from a server before MQTT 5")
            if r.left():
                self.reason = r.u8()
                if r.left():
                    self.props = r.properties()
        elif kind == AUTH:
            if r.left():
                self.reason = r.u8()
                self.props = r.properties()
        elif kind != PINGRESP:
            raise Malformed("%s from a server" % NAMES[kind])
        if r.left():
            raise Malformed("%s with %d bytes too many" % (NAMES[kind], r.left()))
        if kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) and self.pid == 0:
            raise Malformed("packet identifier 0")

    def prop(self, name, default=None):
        for key, value in self.props:
            if key == name:
                return value
        return default

    def __repr__(self):
        what = NAMES[self.kind]
        if self.kind == PUBLISH:
            return "%s(%s q%d%s%s %d bytes)" % (what, self.topic, self.qos, " dup" if self.dup else "",
                                                 " retain" if self.retain else "", len(self.payload))
        return "%s(pid=%s reason=%#x)" % (what, self.pid, self.reason)


class Splitter:
    """Packets from a stream of bytes."""

    def __init__(self, version):
        self.version = version
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        out = []
        at = 0
        buf = self.buffer
        while len(buf) - at >= 2:
            length = shift = 0
            i = at + 1
            whole = False
            while i < len(buf):
                byte = buf[i]
                i += 1
                length |= (byte & 127) << shift
                shift += 7
                if not byte & 128:
                    whole = True
                    break
                if shift > 21:
                    raise Malformed("length of more than four bytes")
            if not whole or len(buf) - i < length:
                break
            out.append(Packet(buf[at], bytes(buf[i:i + length]), self.version))
            at = i + length
        del buf[:at]
        return out
