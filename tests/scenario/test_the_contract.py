"""The schemas of conf/schema: they are sound, certflipctl prints them, and what breaks them is found.

That everything that the other scenarios see keeps to them is checked by lib/contract.py, wherever it is seen.
"""

import copy
import json
import pathlib
import re
import subprocess

import jsonschema
import pytest

from lib import contract
from lib.gateway import binary
from lib.wait import seconds

DEVICE = {
    "device": "p-1", "phase": "steady", "waiting": None, "active": "old", "due": None, "deadline": None, "begin_by": None,
    "attempts": 0, "evidence": None, "online": True, "slots": {"old": {"usable": False, "fault": None}, "new": None},
    "upstream": None, "reason": None, "reason_remedy": None, "last_error": None, "changed": None}
FLIP = {"jsonrpc": "2.0", "id": 1, "method": "flip", "params": {"target": "p-1"}}
DONE = {"jsonrpc": "2.0", "id": 1, "result": {"done": 1, "refused": 0, "devices": [
    {"device": "p-1", "ok": True, "phase": "trial", "changed": True}]}}
TOPIC = "certflip/v1/gw/"


def printed(*args):
    done = subprocess.run([binary("certflipctl"), "-s", "/nowhere", "schema", *args], capture_output=True, text=True,
                          check=False, timeout=seconds(10))
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout


@pytest.mark.parametrize("name", sorted(contract.schemas.texts))
def test_every_file_is_a_schema(name):
    jsonschema.Draft202012Validator.check_schema(contract.schemas.texts[name])


def test_what_is_printed_stands_alone():
    """Without a daemon, and without a file beside it: the references are resolved in what is printed."""
    listed = [row["schema"] for row in json.loads(printed("--json"))]
    assert sorted(listed) == sorted(set(contract.schemas.texts) - {"common"})
    flip = json.loads(printed("flip"))
    assert flip == json.loads(printed("flip", "--json"))
    exchange = jsonschema.Draft202012Validator(flip)
    exchange.validate({"params": FLIP["params"], "result": DONE["result"]})
    for bad in ({"params": {}}, {"params": {"target": "p-1", "force": "yes"}}, {"params": {"target": "p-1", "colour": "red"}},
                {"params": FLIP["params"], "result": {"done": 1}}):
        assert not exchange.is_valid(bad), bad
    device = jsonschema.Draft202012Validator(json.loads(printed("message.device")))
    device.validate(DEVICE)
    assert not device.is_valid({**DEVICE, "phase": "lost"})


def manual():
    page = (pathlib.Path(contract.FOLDER) / "../../src/control/certflip-mqtt.7").resolve().read_text(encoding="utf-8")
    return page, re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", page, re.DOTALL | re.MULTILINE)


def members(schema):
    """The names of all members that a schema speaks of."""
    if isinstance(schema, list):
        return set().union(*map(members, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*(members(v) for v in schema.values()))


def test_the_examples_of_the_manual_keep_to_the_schemas():
    messages = [(text.partition("\n")[0], text.partition("\n")[2].encode()) for text in manual()[1]
                if text.startswith("certflip/v1/")]
    kinds = [topic.split("/")[3] for topic, _ in messages]
    assert {k: kinds.count(k) for k in kinds} == {"cmd": 1, "reply": 2, "state": 1, "device": 1, "event": 2}
    contract.check_messages(messages)


@pytest.mark.parametrize("name", ["request", "reply", "state", "device", "event"])
def test_the_manual_has_every_member(name):
    page = manual()[0]
    told = set(re.findall(r"[a-z][a-z0-9_]*", page[page.index(".Sh TOPICS"):]))
    schema = contract.schemas.validator("message." + name).schema
    # A dependent and a finding are certflipd(8)'s; here they are members of errors alone.
    apart = members(contract.schemas.texts["common"]["$defs"]["finding"]) | \
        members(contract.schemas.texts["common"]["$defs"]["lint"]) | \
        members(contract.schemas.texts["common"]["$defs"]["dependent"]) if name == "reply" else set()
    assert not members(schema) - apart - told


def broken(check, *args):
    with pytest.raises(contract.Broken):
        check(*args)


def test_what_breaks_the_contract_is_found():
    line = json.dumps(FLIP)
    contract.check_exchange([line], [DONE])
    for change in (lambda r: r.pop("jsonrpc"), lambda r: r["result"].pop("done"),
                   lambda r: r["result"].update(more=1), lambda r: r["result"]["devices"][0].update(phase="gone"),
                   lambda r: r["result"]["devices"][0].pop("changed")):
        reply = copy.deepcopy(DONE)
        change(reply)
        broken(contract.check_exchange, [line], [reply])
    # What the schema does not allow must not be done.
    broken(contract.check_exchange, [json.dumps({**FLIP, "params": {"target": "p-1", "colour": "red"}})], [DONE])
    refusal = {"code": -32602, "message": "colour?", "data": {"name": "invalid-params", "remedy": None}}
    contract.check_exchange([json.dumps({**FLIP, "params": {"colour": "red"}})],
                            [{"jsonrpc": "2.0", "id": 1, "error": refusal}])
    broken(contract.check_exchange, [line], [{"jsonrpc": "2.0", "id": 1, "error": {**refusal, "code": -1}}])


def test_what_breaks_the_contract_over_mqtt_is_found():
    def message(name, value):
        return TOPIC + name, json.dumps(value).encode()
    good = [message("cmd", FLIP), message("reply", DONE), message("device/p-1", DEVICE), (TOPIC + "device/p-2", b"")]
    contract.check_messages(good)
    contract.check_messages([("my/answers", b"7"), ("elsewhere", b"no JSON")])
    broken(contract.check_messages, [message("device/p-1", {**DEVICE, "phase": "lost"})])
    broken(contract.check_messages, [message("state", {"online": True})])
    broken(contract.check_messages, [message("event", {"seq": 0})])
    reply = {**DONE, "result": {"methods": []}}
    broken(contract.check_messages, [message("cmd", FLIP), message("reply", reply)])
    broken(contract.check_messages, [message("cmd", FLIP), ("my/answers", json.dumps(reply).encode())])
    claims = "eyJhbGciOiJFZERTQSJ9.eyJyZXF1ZXN0Ijp7Im1ldGhvZCI6ImZsaXAiLCJpZCI6MX19.AA"
    assert contract.requests_of(claims) == [{"method": "flip", "id": 1}]
