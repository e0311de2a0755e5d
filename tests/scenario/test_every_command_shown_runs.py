"""Whatever README.md, docs/ and the manuals show is run as it stands there, and prints what stands there.

Only trials are made shorter: nobody waits ten minutes.

CERTFLIP_DOCS=write puts what is printed now into the documents; look at the difference before you keep it.
"""

import os
import pathlib
import re
import subprocess

import pytest

from lib.documents import SKIPS, alike, blocks, with_output
from lib.gateway import build_dir
from lib.machine import Machine, compiled_paths, unavailable
from lib.wait import seconds

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
# What an integrator has before the first page: CAs, brokers, sensors.  See the file.
PLANT = (pathlib.Path(__file__).parent / "data/plant.sh").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


def documented(text):
    """As the package's programs would print it."""
    for compiled, path in compiled_paths().items():
        text = text.replace(compiled, path)
    return text


def blocks_of(path):
    return blocks(path.read_text(encoding="utf-8"))


def shortened(script):
    return re.sub(r"(--probation|\"probation_s\":|probation_s =|soak_s =|validate_s =) ?\d+", r"\1 1", script)


@pytest.fixture
def machine():
    with Machine() as made:
        made.run(PLANT)
        yield made


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if any(not block.skip for block in blocks_of(path))],
                         ids=lambda path: path.stem)
def test_commands_of(document, machine):
    text = document.read_text(encoding="utf-8")
    printed, wrong = {}, []
    for block in blocks(text):
        if block.skip:
            continue
        where = "%s:%d" % (document.relative_to(TOP), block.line)
        try:
            output = documented(machine.run(shortened(block.script), block.exit))
        except AssertionError as e:
            raise AssertionError("%s: %s" % (where, e)) from None
        if block.expected is not None:
            missing = alike(block.expected, output)
            if missing is not None:
                printed[block.line] = output
                wrong.append("%s: not printed: %s\n--- it was:\n%s" % (where, missing, output))
    if wrong and os.environ.get("CERTFLIP_DOCS") == "write":
        document.write_text(with_output(text, printed), encoding="utf-8")
    assert not wrong, "\n".join(wrong)


def test_what_is_not_run_has_a_reason():
    used = {block.skip for path in DOCUMENTS for block in blocks_of(path)} - {None}
    assert used <= set(SKIPS), "no reason of the list"
    assert set(SKIPS) <= used, "a reason that nobody has any more"


def test_every_block_is_of_a_known_kind():
    """So that nothing that looks like a command escapes; and nobody indents commands instead."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        kinds = set(re.findall(r"^```(\w*)", text, re.M)) - {""}
        assert kinds <= {"sh", "text", "conf", "json"}, path
        outside = re.sub(r"^```.*?^```$|^<!--.*?^-->$", "", text, flags=re.M | re.S)
        assert not re.findall(r"^(?: {4}|\t)\S.*", outside, re.M), path


def test_links_lead_somewhere():
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), "%s: %s" % (path, link)


def test_the_demo_ends_well():
    done = subprocess.run(["/usr/bin/python3", str(TOP / "tests/demo/demo.py"), "--build", build_dir(), "--sensors", "4"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=seconds(60))
    assert done.returncode == 0, done.stdout
    assert "1 rolled back by itself; nothing lost, nothing twice, nobody cut off" in done.stdout


def test_troubleshooting_knows_the_catalogue():
    """Every name there is one of certflip-errors(7), and every kind of failure has its symptom."""
    page = pathlib.Path(build_dir(), "src/catalogue/certflip-errors.7").read_text(encoding="utf-8").replace("\\-", "-")
    known = set(re.findall(r"(?<![\w-])[a-z]+(?:-[a-z]+)?\.[a-z0-9_-]+\b", "".join(re.findall(r"^\.B .*\n", page, re.M))))
    assert len(known) > 300
    kinds = {name.split(".")[0] for name in known}
    for path in DOCUMENTS:
        told = {name for name in re.findall(r"`([a-z-]+\.[a-z0-9_*-]+)`", path.read_text(encoding="utf-8"))
                if name.split(".")[0] in kinds}
        assert sorted(name for name in told - known if not name.endswith(".*")) == [], path
        if path.stem == "troubleshooting":
            assert kinds - {name.split(".")[0] for name in told} == set()


# -- the manual pages ---------------------------------------------------------------------------------

ROFF = (("\\-", "-"), ("\\(aq", "'"), ("\\(dq", '"'), ("\\e", "\\"), ("\\&", ""))


def literal(page):
    """What a page shows to be typed, block by block: .nf, .Bd, and lines in bold that begin with a program's name."""
    text = (TOP / page).read_text(encoding="utf-8")
    for found in re.finditer(r"^\.(?:nf|Bd -literal.*)\n(?P<block>(?:.*\n)*?)\.(?:fi|Ed)$|"
                             r"^(?P<bold>\.B (?:certflip[a-z\\-]*|openssl) .*(?:\n\.br\n\.B .*)*)$", text, re.M):
        block = found["block"] if found["bold"] is None else re.sub(r'^\.B "?|"$|^\.br\n', "", found["bold"], flags=re.M)
        for roff, plain in ROFF:
            block = block.replace(roff, plain)
        yield block.rstrip("\n")


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
# Examples that are not run here, and why.
ELSEWHERE = {
    "certflipctl logs": "reads the journal",
    "certflipctl watch": "wants a terminal",
}


def by_beginning(table, example):
    return next((value for begin, value in table.items() if example.startswith(begin)), None)


def test_examples_of_certflipctl(machine):
    """In the order of the page, at one gateway."""
    machine.run("gateway; echo x >pw; mv /media/usb/identities/* /media/usb/; rmdir /media/usb/identities; "
                "printf 'flip = { probation_s = 1; };\n' >/etc/certflip/conf.d/short.conf; "
                "sed -i '/^flip/d' /etc/certflip/certflip.conf; certflipctl reload")
    examples = list(literal("src/cli/certflipctl.1"))
    assert len(examples) >= 30
    assert set(BEFORE) <= {begin for begin in BEFORE for example in examples if example.startswith(begin)}
    for example in examples:
        if by_beginning(ELSEWHERE, example):
            continue
        before = by_beginning(BEFORE, example)
        if before:
            machine.run(before)
        script = example
        if "3f0c...e9" in script:
            script = script.replace("3f0c...e9", machine.run(by_beginning(FINGERPRINT, example)).strip())
        machine.run(shortened(script))


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


def test_examples_of_certflip_fleet(machine):
    """With the campaign file of docs/fleet.md, at one gateway."""
    (conf,) = [block for block in blocks_of(TOP / "docs/fleet.md") if block.script.startswith("cat >new-ca.conf")]
    machine.run("centre; cd /root/campaign")
    machine.run(shortened(conf.script.replace("new-ca.conf", "ca-2027.conf")))
    examples = [block for block in literal("src/fleet/certflip-fleet.1") if block.startswith("certflip-fleet ")]
    assert len(examples) >= 4
    for example in examples:
        machine.run(example.replace("certflip-fleet ", "certflip-fleet --yes ", 1), timeout=120)
