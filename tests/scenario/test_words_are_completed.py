"""What bash offers when the tab key is pressed behind certflipctl and certflip-fleet: commands, options, values, files, and devices.

GATEWAY/DEVICE of a campaign: see test_fleet_link.py, which has one.
"""

import re
import subprocess

import pytest

from lib.gateway import binary
from lib.tab import offered

SITE = {"devices": ["press-1", "press-2", "pump-1"]}


def commands_of(program):
    """The first words of all commands, by its own help."""
    text = subprocess.run([binary(program), "help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    body = text[re.search(r"^commands:$", text, re.M | re.I).end():]
    return set(re.findall(r"^  ([a-z][a-z-]*)", body.split("\n\n")[0] if "\n\n" in body else body, re.M))


@pytest.mark.parametrize("program, least", [("certflipctl", 20), ("certflip-fleet", 10)])
def test_every_command_is_offered(program, least):
    assert set(offered(program + " ")) == commands_of(program)
    assert len(commands_of(program)) >= least


@pytest.mark.parametrize("line, expected", [
    ("certflipctl fl", "flip"),
    ("certflipctl quarantine ", "clear"),
    ("certflipctl trust r", "remove"),
    ("certflipctl trust list down", "downstream"),
    ("certflipctl flip --prob", "--probation"),
    ("certflipctl flip press-1 --evidence ", "connack echo"),
    ("certflipctl flip press-1 --evidence=", "connack echo"),
    ("certflipctl flip press-1 --evidence=e", "echo"),
    ("certflipctl log tls.handshake deb", "debug"),
    ("certflipctl explain tls.unknown_c", "tls.unknown_ca"),
    ("certflipctl help quarantine ", "clear"),
    ("certflipctl sign identity.key", "identity.keygen"),
    ("certflipctl nonsense ", ""),
    ("certflip-fleet pl", "plan"),
    ("certflip-fleet help resu", "resume"),
    ("certflip-fleet plan --js", "--json"),
])
def test_words(line, expected):
    assert " ".join(sorted(offered(line))) == expected


@pytest.mark.parametrize("line, expected", [
    ("certflipctl device ", "press-1 press-2 pump-1"),
    ("certflipctl flip press-1 pr", "press-1 press-2"),
    ("certflipctl rollback 'pre", "press-1 press-2"),
    ("certflipctl --json device pu", "pump-1"),
    ("certflipctl install pu", "pump-1"),
])
def test_devices(site, line, expected):
    assert " ".join(sorted(offered(line, site.gateway))) == expected


def test_devices_of_the_socket_that_is_named(site):
    for named in ("-s %s", "--socket %s", "--socket=%s"):
        assert offered("certflipctl %s device pu" % named % site.gateway.control) == ["pump-1"]


def test_files(tmp_path):
    for name in ("new-ca.pem", "new-ca.crl", "other"):
        (tmp_path / name).write_text("")
    assert sorted(offered("certflipctl crl update new", folder=tmp_path)) == ["new-ca.crl", "new-ca.pem"]
    assert offered("certflipctl lint x --anchors=o", folder=tmp_path) == ["other"]
    assert offered("certflip-fleet plan o", folder=tmp_path) == ["other"]


def test_no_daemon_no_devices_and_no_words():
    assert offered("certflipctl device ") == []
