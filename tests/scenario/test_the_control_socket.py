"""certflipctl and the socket that it talks to: who may, what is said, what comes back."""

import json
import os
import socket
import stat
import subprocess
import sys

import pytest

from lib.gateway import Refused, binary
from lib.wait import seconds, until

SITE = {"devices": ["press-%d" % i for i in range(1, 13)]}


def test_status_devices_and_device(site):
    site.connect("press-1")
    status = site.gateway.ctl_json("status")
    assert status["gateway"] == "gw-test" and status["devices"]["total"] == 12
    assert "gw-test" in site.gateway.ctl("status")[1]
    listed = site.gateway.ctl_json("devices")["devices"]
    assert [d["device"] for d in listed] == sorted(SITE["devices"])
    table = site.gateway.ctl("devices", "press-1*")[1]
    assert "press-10" in table and "press-2" not in table
    one = site.gateway.ctl_json("device", "press-1")
    assert one["online"] and one["sessions"][0]["client_id"] == "press-1"
    text = site.gateway.ctl("device", "press-1")[1]
    assert one["slots"]["old"]["fingerprint"] in text.replace(":", "").lower()
    assert "press-1" in site.gateway.ctl("sessions")[1]


def test_flip_rollback_and_quarantine(site):
    device = "press-2"
    site.connect(device)
    assert site.gateway.ctl("flip", device, "--probation", "1", "--wait")[0] == 0
    assert site.gateway.device(device)["phase"] == "committed"
    assert site.gateway.ctl("rollback", device, "--wait", "--reason", "because it rains")[0] == 0
    state = site.gateway.device(device)
    assert state["phase"] == "rolled-back" and "because it rains" in state["reason"]
    code, _, said = site.gateway.ctl("flip", device, check=False)
    assert code not in (0, None) and "quarantine" in said
    site.gateway.ctl("quarantine", "clear", device)
    assert site.gateway.ctl_json("flip", device, "--probation", "1")["done"] == 1
    audit = site.gateway.ctl("audit")[1]
    assert "rollback" in audit and device in audit


def test_flip_and_wait_tells_of_a_rollback(plant, pki):
    made = plant([], start=False)
    made.gateway.install("bad", new=pki.identity("bad", "new", ca=pki.stranger))
    made.__enter__()
    made.connect("bad")
    code, out, err = made.gateway.ctl("flip", "bad", "--wait", check=False)
    assert code not in (0, None) and "rolled" in out + err


def test_who_waits_does_so_over_a_restart(site):
    device = "press-4"
    with subprocess.Popen([binary("certflipctl"), "-s", site.gateway.control, "flip", device, "--probation", "1",
                           "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ctl:
        assert device in ctl.stdout.readline()
        assert "waits for the sensor" in ctl.stdout.readline()
        site.gateway.kill()
        assert "has stopped" in ctl.stdout.readline()
        site.gateway.start()
        site.connect(device)
        out, err = ctl.communicate(timeout=seconds(20))
    assert ctl.returncode == 0 and err == "" and "committed" in out


def test_wrong_words(site):
    for args in (["flipp", "press-1"], ["flip"], ["device"], ["flip", "press-1", "--colour"], ["status", "x"]):
        code, out, err = site.gateway.ctl(*args, check=False)
        assert code == 2 and err and not out, args
    assert "flip" in site.gateway.ctl("flipp", "press-1", check=False)[2]
    code, _, err = site.gateway.ctl("device", "nobody", check=False)
    assert code == 1 and "nobody" in err
    assert site.gateway.ctl("help")[0] == 0


def test_no_daemon(tmp_path):
    done = subprocess.run([binary("certflipctl"), "-s", str(tmp_path / "none.sock"), "status"], capture_output=True,
                          text=True, check=False)
    assert done.returncode not in (0, None) and "none.sock" in done.stderr


def test_reload_and_log_levels(site):
    site.gateway.ctl("reload")
    site.gateway.ctl("log", "session", "debug")
    assert site.gateway.rpc("log.level")["levels"]["session"] == "debug"
    site.gateway.ctl("log", "session", "info")
    with pytest.raises(Refused):
        site.gateway.rpc("log.level", subsystem="nonsense", level="info")


def test_pages_of_devices(site):
    got, after = [], None
    while True:
        page = site.gateway.rpc("device.list", limit=5, **({"after": after} if after else {}))
        got += [d["device"] for d in page["devices"]]
        after = page["next"]
        if not after:
            break
    assert got == sorted(SITE["devices"]) and page["total"] == 12


def test_the_socket_is_not_for_everybody(site):
    mode = os.stat(site.gateway.control)
    assert stat.S_IMODE(mode.st_mode) == 0o660 and mode.st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_may_only_look(plant):
    """The socket's mode is loosened by hand: what the kernel says about the peer still decides."""
    site = plant(["dev"])
    os.chmod(site.gateway.control, 0o666)
    script = ("import socket,sys\ns=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n"
              "s.sendall(sys.argv[2].encode()+b'\\n');print(s.makefile().readline())")

    def ask(method, params):
        done = subprocess.run([sys.executable, "-c", script, site.gateway.control, json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})], user=65534, group=65534,
            extra_groups=[], cwd="/", capture_output=True, text=True, check=False, timeout=seconds(20))
        return json.loads(done.stdout)
    assert ask("status", {})["result"]["gateway"] == "gw-test"
    assert ask("flip", {"target": "dev"})["error"]["data"]["name"] == "denied"
    assert ask("config.reload", {})["error"]["data"]["name"] == "denied"
    site.gateway.log.wait("command-refused by=\"local:nobody\" method=config.reload cause=denied")
    assert site.gateway.device("dev")["phase"] == "staged"


def test_nonsense_on_the_socket(site):
    for raw in (b"", b"{", b"\0" * 100, b"[]", b"null", b'"x"', b"[" * 100000, b"\xff\xfe", b"{}",
                b'{"jsonrpc":"2.0","id":1,"method":"status","params":7}'):
        if raw:
            reply = site.gateway.call(raw)[0]
            for one in reply if isinstance(reply, list) else [reply]:
                assert one["error"]["message"], raw
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(site.gateway.control)
        s.sendall(b'{"jsonrpc":"2.0","id":1,"meth')
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(seconds(20))
        s.connect(site.gateway.control)
        try:
            s.sendall(b"x" * (3 << 20) + b"\n")
            assert b"too-big" in s.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert site.gateway.rpc("status")


def test_many_requests_in_one_write(site):
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "status"})
    assert len(site.gateway.call(*[request] * 500)) == 500


def test_a_client_that_does_not_read(site):
    """It is not read from any more, and nobody else waits for it."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "device.list"}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(site.gateway.control)
        s.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += s.send(request * 100)
        except BlockingIOError:
            pass
        assert sent < 32 << 20
        assert site.gateway.rpc("status")
    until("it is served on", lambda: site.gateway.rpc("status"))


def test_a_socket_left_over_by_a_crash_is_replaced(plant):
    site = plant(["dev"])
    site.gateway.kill()
    assert os.path.exists(site.gateway.control)
    site.gateway.start()


def test_json_log_lines(plant):
    site = plant(["dev"], log={"format": "json"})
    site.connect("dev")
    site.sensor("nobody").connect("nobody", expect=5)
    lines = site.gateway.log.text().splitlines()
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)
