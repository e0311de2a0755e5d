"""Every fault of a configuration is told in one run, as file:line: key: what is wrong: what is allowed.  At the start
a fault means one clear line and exit status 2."""

import os
import re
import subprocess

import pytest

from lib.gateway import binary, check_config, config_text


@pytest.fixture
def gateway(plant):
    """Not started; gateway.conf may be spoiled."""
    return plant(["dev"], start=False).gateway


def _check(gateway):
    gateway.write()
    return check_config(gateway.path)


def _starts_not(gateway, *words):
    gateway.write()
    gateway.launch(wait=False)
    assert gateway.wait_exit() == 2
    lines = gateway.log.text().splitlines()
    said = [line for line in lines if all(w in line for w in words)]
    assert len(said) == 1, lines


def test_a_good_file(gateway):
    code, said = _check(gateway)
    assert code == 0, said


def test_the_example_as_shipped_is_well_formed():
    """Its files are not there, which is all that may be wrong with it."""
    path = os.path.join(os.path.dirname(__file__), "..", "..", "conf", "certflip.conf")
    _, said = check_config(path)
    for line in said.splitlines():
        assert re.search(r"no such file|cannot be read|not (there|found)|missing", line), line


def test_all_faults_in_one_run(gateway):
    gateway.conf["gatway"] = "x"
    gateway.conf["workers"] = 100000
    gateway.conf["limits"] = {"packet_bytes": "2 furlongs", "handshakes": "many", "inflite": 3}
    gateway.listener()["type"] = "telnet"
    gateway.upstream()["anchors"] = ["/nowhere/ca.pem"]
    gateway.upstream()["tls_min"] = "1.0"
    gateway.conf["devices"].append({"name": "{colour}", "match": {"cn": "x"}})
    gateway.conf["devices"].append({"name": "y", "match": {"cn": "y", "upsteam": "z"}})
    code, said = _check(gateway)
    assert code == 2, said
    text = open(gateway.path, encoding="utf-8").read().splitlines()
    for key, words in (("gatway", ["gateway"]), ("workers", ["256"]), ("packet_bytes", ["KiB"]), ("handshakes", []),
                       ("inflite", []), ("type", ["telnet", "plaintext"]), ("anchors", ["/nowhere/ca.pem"]),
                       ("tls_min", ["1.2"]), ("name", ["colour", "{cn}"]), ("upsteam", [])):
        lines = [line for line in said.splitlines() if re.search(r":\d+: [\w.\[\]]*\b%s\b" % key, line)]
        assert lines, "nothing about %s in:\n%s" % (key, said)
        assert any(all(w in line for w in words) for line in lines), lines
        number = int(re.match(re.escape(gateway.path) + r":(\d+): ", lines[0]).group(1))
        assert key in text[number - 1], (lines[0], text[number - 1])


def test_a_syntax_error(gateway):
    gateway.write()
    with open(gateway.path, "a", encoding="utf-8") as f:
        f.write("\nlimits = { packet_bytes = ;\n")
    code, said = check_config(gateway.path)
    assert code == 2 and re.match(re.escape(gateway.path) + r":\d+: ", said), said


def test_includes_and_conf_d(gateway, tmp_path):
    """Faults are told with the file that they stand in."""
    more = tmp_path / "more.conf"
    more.write_text("# a comment\nlimits = { connections = 0; };\n")
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "10-first.conf").write_text("log = { format = \"xml\"; };\n")
    (folder / "ignored.conf.bak").write_text("nonsense nonsense\n")
    del gateway.conf["limits"], gateway.conf["log"]
    gateway.conf["include_dir"] = str(folder)
    with open(gateway.path, "w", encoding="utf-8") as f:
        f.write(config_text(gateway.conf) + '@include "%s"\n' % more)
    code, said = check_config(gateway.path)
    assert code == 2
    assert "%s:2: " % more in said
    assert "%s:1: " % (folder / "10-first.conf") in said
    assert len(said.splitlines()) == 2, said
    more.write_text("limits = { connections = 5; };\n")
    (folder / "10-first.conf").write_text("log = { format = \"json\"; };\n")
    assert check_config(gateway.path)[0] == 0


def test_no_such_file(tmp_path):
    code, said = check_config(tmp_path / "none.conf")
    assert code == 2 and "none.conf" in said


def test_binary_nonsense(tmp_path):
    path = tmp_path / "x.conf"
    path.write_bytes(os.urandom(5000))
    code, said = check_config(path)
    assert code == 2 and said


def test_a_bad_file_is_no_start(gateway):
    gateway.conf["workers"] = -1
    _starts_not(gateway, "workers")


def test_a_port_in_use(gateway):
    gateway.broker.start()
    gateway.listener("plain")["port"] = gateway.broker.port
    _starts_not(gateway, str(gateway.broker.port), "in use")


def test_an_address_that_is_not_ours(gateway):
    gateway.listener("plain")["address"] = "192.0.2.1"
    _starts_not(gateway, "192.0.2.1")


def test_a_state_folder_that_cannot_be_written(gateway):
    with open(os.path.join(gateway.folder, "file"), "w", encoding="ascii"):
        pass
    gateway.conf["state"] = os.path.join(gateway.folder, "file", "state")
    _starts_not(gateway, os.path.join(gateway.folder, "file"))


def test_a_server_key_that_does_not_match(gateway, pki):
    gateway.listener()["chains"][0]["key"] = pki.server("other").key
    gateway.write()
    gateway.launch(wait=False)
    assert gateway.wait_exit() == 2
    assert pki.server("other").key in gateway.log.text()


def test_all_faults_of_certificates_and_ciphers_in_one_run(gateway, pki):
    gateway.listener()["chains"][0]["key"] = pki.server("other").key
    gateway.upstream()["ciphers"] = "NO-SUCH-CIPHER"
    code, said = _check(gateway)
    assert code == 2
    lines = said.splitlines()
    assert len(lines) == 2, said
    assert lines[0].startswith("certflipd: listener tls: ") and pki.server("other").key in lines[0]
    assert lines[1].startswith("certflipd: upstream broker: ") and "cipher" in lines[1]


def test_unreadable_identities_cost_only_themselves(plant, pki):
    """A missing certificate, garbage, a key that does not match, a wrong kind of file: each is named with its file."""
    site = plant(["good", "no-cert", "garbage", "mismatch", "folder", "world"], start=False)
    ids = site.gateway.identities
    os.unlink(os.path.join(ids, "no-cert", "new", "chain.pem"))
    with open(os.path.join(ids, "garbage", "new", "chain.pem"), "w", encoding="ascii") as f:
        f.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with open(pki.identity("good", "new").key, encoding="ascii") as f, \
            open(os.path.join(ids, "mismatch", "new", "key.pem"), "w", encoding="ascii") as out:
        out.write(f.read())
    os.unlink(os.path.join(ids, "folder", "new", "key.pem"))
    os.mkdir(os.path.join(ids, "folder", "new", "key.pem"))
    site.__enter__()
    for name in ("no-cert", "garbage", "mismatch", "folder"):
        state = site.gateway.device(name)
        assert state["slots"]["old"]["usable"] and not state["slots"]["new"]["usable"], name
        assert os.path.join(ids, name, "new") in state["slots"]["new"]["fault"], state["slots"]["new"]["fault"]
        assert site.gateway.log.lines(re.escape(os.path.join(ids, name, "new"))), name
        site.connect(name).ping()
    assert site.gateway.device("good")["phase"] == "staged"
    os.unlink(os.path.join(ids, "garbage", "old", "key.pem"))
    site.gateway.rpc("config.reload")
    assert site.gateway.rpc("status")["devices"]["faulty"] == 4  # those with an identity that is unusable


def test_words_of_the_command_line():
    for args, code in ((["--version"], 0), (["--help"], 0), (["--frobnicate"], 2)):
        done = subprocess.run([binary("certflipd"), *args], capture_output=True, text=True, check=False)
        assert done.returncode == code and done.stdout + done.stderr
