"""What the manual pages show to be typed is run as it stands there.

Only trials are made shorter.  certflip-fleet(1) is run by test_every_fleet_command_runs.py.
"""

import re
import subprocess

import pytest

from lib.documents import TOP, literal, shortened
from lib.gateway import build_dir
from lib.wait import seconds, until

# What has to be so before an example, by its first words.
BEFORE = {
    "certflipctl lint": "cp pki/press-12.pem chain.pem; cp pki/old-ca.pem ca.pem",
    "certflipctl flip 'press-*' --prob": "staged press-12 press-13 press-14",
    "certflipctl confirm": "certflipctl quarantine clear press-12; certflipctl flip press-12 --confirm central",
    "certflipctl commit": "certflipctl rollback press-12 --wait; certflipctl quarantine clear press-12; "
                          "certflipctl flip press-12 --probation 600",
    "certflipctl quarantine": "certflipctl rollback press-12 --wait",
    "certflipctl keygen": "certflipctl discard press-12; certflipctl retire press-13 press-14; mkdir -p requests",
    "certflipctl install": "sign requests/press-12.csr press-12.pem",
    "certflipctl retire": "staged press-12 press-13 press-14; certflipctl flip 'press-*' --probation 1 --wait",
    "certflipctl trust remove": "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null "
                                "-subj /CN=nobody -out nobodys.pem; certflipctl trust add downstream nobodys.pem",
    "certflipctl crl update": "revoke-nothing /root/devices-ca.crl",
    "certflipctl import press-12": "openssl pkcs12 -export -in pki/press-12.pem -inkey pki/press-12.key -passout pass: "
                                   "-out press-12.p12",
    "certflipctl flip press-12 --wait": "staged press-13 press-14",
}
# What prints the fingerprint that stands for 3f0c...e9.
FINGERPRINT = {
    "certflipctl confirm": "certflipctl --json device press-12 | jq -r .slots.new.fingerprint",
    "certflipctl trust check": "openssl x509 -in new-ca.pem -outform DER | sha256sum | cut -c 1-64",
    "certflipctl trust remove": "openssl x509 -in nobodys.pem -outform DER | sha256sum | cut -c 1-64",
}
# What has to be seen on the terminal of an example that fills one, before it is ended by q.
TERMINAL = {
    "certflipctl watch": "press-12",
}


def by_beginning(table, example):
    return next((value for begin, value in table.items() if example.startswith(begin)), None)


def refused(machine, name):
    """A sensor that calls itself so is refused in its handshake."""
    machine.run("""cd /root/pki
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout self.key -out self.pem -subj /CN=%s 2>/dev/null
! mosquitto_pub -h gw-hall-3.example.com -p 8883 --cafile broker-ca.pem --cert self.pem --key self.key -i x -t t -m m 2>/dev/null
cd -""" % name)


def examples_of_the_log(machine, example):
    """One finds what has happened, the other goes on with what happens."""
    found, followed = example.splitlines()
    refused(machine, "press-12")
    until("the refusal is found", lambda: "warn tls.handshake session-refused" in machine.run(found), 20, 0.1)
    machine.run("setsid %s >/root/followed 2>&1 </dev/null & echo $! >/root/follower" % followed)
    until("the refusal is told", lambda: "CN=press-12" in machine.read("/root/followed"), 20)
    refused(machine, "a-stranger")
    until("the next one is told", lambda: "CN=a-stranger" in machine.read("/root/followed"), 20)
    machine.run("kill $(cat /root/follower)")


def test_examples_of_certflipctl(machine):
    """In the order of the page, at one gateway; those of the log first without a journal, then with one."""
    machine.run("gateway; echo x >pw; mv /media/usb/identities/* /media/usb/; rmdir /media/usb/identities; "
                "printf 'flip = { probation_s = 1; };\n' >/etc/certflip/conf.d/short.conf; "
                "sed -i '/^flip/d' /etc/certflip/certflip.conf; certflipctl reload")
    examples = list(literal("src/cli/certflipctl.1"))
    assert len(examples) >= 30
    assert set(BEFORE) <= {begin for begin in BEFORE for example in examples if example.startswith(begin)}
    for example in examples:
        if example.startswith("certflipctl logs"):
            examples_of_the_log(machine, example)
            continue
        if by_beginning(TERMINAL, example):
            machine.terminal(example, by_beginning(TERMINAL, example), "q")
            continue
        before = by_beginning(BEFORE, example)
        if before:
            machine.run(before)
        script = example
        if "3f0c...e9" in script:
            script = script.replace("3f0c...e9", machine.run(by_beginning(FINGERPRINT, example)).strip())
        machine.run(shortened(script))
    why = machine.journald()
    if why:
        pytest.skip("NOT TESTED: the examples of the log with a journal: " + why)
    machine.run("systemctl restart certflip")
    (example,) = [example for example in examples if example.startswith("certflipctl logs")]
    examples_of_the_log(machine, example)
    assert "session-refused" in machine.run("journalctl --no-pager -t certflipd"), "it came from there"


def test_examples_of_the_configuration(machine):
    """Whole ones as they are, lists of groups within a configuration."""
    machine.run("""cd /etc/certflip/tls && cp /root/pki/server.pem server-chain.pem && cp /root/pki/server.key server-key.pem
        cp server-chain.pem legacy-chain.pem && cp server-key.pem legacy-key.pem
        for ca in old-ca new-ca broker-ca legacy-ca old-broker-ca cloud-ca devices-ca; do cp /root/pki/old-ca.pem $ca.pem; done
        chgrp certflip * && chmod 640 *
        cd .. && echo 1234 >soft.pin && chmod 640 soft.pin && chgrp certflip soft.pin""")
    text = (TOP / "src/conf/certflip.conf.5").read_text(encoding="utf-8")
    begin = len(re.findall(r"^\.Bd -literal", text[:text.index("\n.Sh EXAMPLES")], re.M))
    examples = list(literal("src/conf/certflip.conf.5"))[begin:]
    assert len(examples) >= 4
    rest = {"listeners": """listeners = ( { name = "s"; chains = ( { chain = "tls/server-chain.pem";
                            key = "tls/server-key.pem"; } ); anchors = [ "tls/old-ca.pem" ]; } );""",
            "upstreams": 'upstreams = ( { name = "main"; address = "b"; anchors = [ "tls/old-ca.pem" ]; } );',
            "devices": 'devices = ( { name = "{cn}"; match = { cn = "*"; }; } );'}
    for example in examples:
        if example.startswith("{"):
            example = "listeners = ( %s );" % example
        whole = example + "\n" + "\n".join(more for key, more in rest.items() if key + " =" not in example)
        if "315f...94ed" in whole:
            whole = whole.replace("315f...94ed", "31" * 32)
        machine.write("/etc/certflip/certflip.conf", whole)
        assert machine.run("certflipd --check-config").endswith(": ok\n"), whole


def test_examples_through_the_broker(machine):
    """A command with its reply, and what the page of the contract shows."""
    machine.run("gateway; staged press-12")
    machine.run("""cat >/etc/certflip/conf.d/management.conf <<EOF
management = { enabled = true; device = "gw-hall-3"; };
EOF
cd pki; openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout gw-hall-3.key -subj /CN=gw-hall-3 \\
    -out gw.csr 2>/dev/null; sign gw.csr gw-hall-3.pem; cd ..
certflipctl reload; certflipctl import gw-hall-3 pki/gw-hall-3.pem --key pki/gw-hall-3.key
systemctl restart certflip; until_online press-12
for _ in $(seq 200); do if certflipctl status | grep -q '^central.*connected'; then exit 0; fi; sleep 0.05; done; certflipctl status; exit 1""")
    machine.run("openssl genpkey -algorithm ed25519 -out alice.pem")
    for page, least in (("src/daemon/certflipd.8", 1), ("src/control/certflip-mqtt.7", 3)):
        examples = [block for block in literal(page) if re.match(r"(mosquitto_|certflipctl )", block)]
        assert len(examples) >= least
        for example in examples:
            if example.startswith("mosquitto_sub"):  # it ends by its own time limit, and says so
                assert '"gateway"' in machine.run(example, 27)
                continue
            reply = machine.run(shortened(example).replace("mosquitto_rr", "mosquitto_rr -W 20"))
            assert not example.startswith("mosquitto_rr") or '"result"' in reply, reply


def test_the_demo_ends_well():
    done = subprocess.run(["/usr/bin/python3", str(TOP / "tests/demo/demo.py"), "--build", build_dir(), "--sensors", "4"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=seconds(60))
    assert done.returncode == 0, done.stdout
    assert "1 rolled back by itself; nothing lost, nothing twice, nobody cut off" in done.stdout
