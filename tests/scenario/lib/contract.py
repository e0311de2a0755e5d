"""What is said over the control socket and the broker, held against the schemas of conf/schema.

The schemas are open, so that a program written for today's daemon understands tomorrow's; here they are closed: a member
that they do not name is a fault.  A request that they do not allow has to be refused.
"""

import base64
import json
import os
import re

import jsonschema

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "conf", "schema")
TOPIC = re.compile(r"/([^/]+)/(?:(cmd|reply|state|event)|(device)/[^/]+)$")


def _merged(base, more):
    """A schema beside a $ref: both hold, so what is said of objects adds up."""
    out = dict(base)
    for key, value in more.items():
        if key == "properties":
            out[key] = {**out.get(key, {}), **value}
        elif key == "required":
            out[key] = [*out.get(key, []), *value]
        else:
            out[key] = value
    return out


class Schemas:
    """All of them, without references (which cost more than all else) and closed; validators are made once."""

    def __init__(self, folder=FOLDER):
        self.texts = {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    self.texts[name[:-len(".json")]] = json.load(f)
        self._made = {}
        self._good = set()

    @property
    def methods(self):
        return [name for name in self.texts if name != "common" and not name.startswith("message.")]

    def _plain(self, schema, home, inside_if=False):
        if isinstance(schema, list):
            return [self._plain(s, home, inside_if) for s in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name, _, path = schema["$ref"].partition("#/$defs/")
            where = name[:-len(".json")] if name else home
            beside = {k: v for k, v in schema.items() if k != "$ref"}
            return self._plain(_merged(self.texts[where]["$defs"][path], beside), where, inside_if)
        out = {}
        for key, value in schema.items():
            if key in ("$schema", "$id", "$defs", "title", "description"):
                continue
            if key == "properties":
                out[key] = {k: self._plain(v, home, inside_if) for k, v in value.items()}
            else:
                out[key] = value if key in ("enum", "const", "required", "dependentRequired") else \
                    self._plain(value, home, inside_if or key == "if")
        if out.get("type") == "object" and "properties" in out and not inside_if:
            out.setdefault("additionalProperties", False)
        return out

    def validator(self, name, part=None):
        """Of messages ("message.state"), or of the "params" or "result" of a method."""
        made = self._made.get((name, part))
        if made is None:
            schema = self.texts[name]
            schema = self._plain(schema["properties"][part] if part else schema, name)
            made = self._made[(name, part)] = jsonschema.Draft202012Validator(schema)
        return made

    def faults(self, value, name, part=None):
        """What is wrong with a value, or None.  What was good once is not looked at again."""
        key = (name, part, json.dumps(value))
        if key in self._good:
            return None
        found = jsonschema.exceptions.best_match(self.validator(name, part).iter_errors(value))
        if found is None:
            if len(self._good) > 20000:
                self._good.clear()
            self._good.add(key)
            return None
        return "%s%s: %s: %s" % (name, " " + part if part else "", found.json_path, found.message[:600])


schemas = Schemas()


class Broken(AssertionError):
    """Something on the wire is not as its schema says."""


def _ones(value):
    return value if isinstance(value, list) else [value]


def _request_is_good(request):
    return schemas.faults(request, "message.request") is None and \
        schemas.faults(request.get("params") or {}, request["method"], "params") is None


def check_reply(request, reply):
    """One reply; `request` is that which it answers, None: not known."""
    fault = schemas.faults(reply, "message.reply")
    if fault:
        raise Broken("%s\nin the reply %.2000s" % (fault, json.dumps(reply)))
    if not isinstance(request, dict) or "result" not in reply:
        return
    if not _request_is_good(request):
        raise Broken("not allowed by its schema, and done: %.2000s" % json.dumps(request))
    fault = schemas.faults(reply["result"], request["method"], "result")
    if fault:
        raise Broken("%s\nin the reply to %.300s: %.2000s" % (fault, json.dumps(request), json.dumps(reply)))


def _parsed(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not UTF-8, or a million brackets
        return None


def requests_of(text):
    """The requests in what was sent: JSON, or a signed command."""
    text = text if isinstance(text, bytes) else text.encode()
    value = _parsed(text)
    if value is None and text.count(b".") == 2:
        try:
            payload = text.split(b".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            value = claims.get("request") if isinstance(claims, dict) else None
        except ValueError:
            value = None
    return [r for r in _ones(value) if isinstance(r, dict)]


def check_exchange(lines, replies):
    """What was sent over the control socket, and what came back."""
    by_id = {}
    for line in lines:
        for request in requests_of(line):
            by_id[json.dumps(request.get("id"))] = request
    for reply in replies:
        for one in _ones(reply):
            check_reply(by_id.get(json.dumps(one.get("id"))), one)


def check_messages(messages):
    """What a client saw of the gateways, [(topic, payload), ...] in their order."""
    by_id = {}
    for topic, payload in messages:
        found = TOPIC.search(topic)
        if found and found.group(2) == "cmd":
            for request in requests_of(payload):
                by_id.setdefault(json.dumps(request.get("id")), []).append(request)
    for topic, payload in messages:
        found = TOPIC.search(topic)
        kind = found and (found.group(2) or found.group(3))
        if not payload or kind == "cmd":
            continue
        if kind == "reply" or (not kind and payload.lstrip(b"[").startswith(b'{"jsonrpc"')):
            for one in _ones(json.loads(payload)):
                same = by_id.get(json.dumps(one.get("id")), [])
                check_reply(same[0] if len({r.get("method") for r in same}) == 1 else None, one)
        elif kind:
            value = json.loads(payload)
            fault = schemas.faults(value, "message." + kind)
            if fault:
                raise Broken("%s\non %s: %.2000s" % (fault, topic, payload.decode()))
