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
    return re.sub(r"(--probation|\"probation_s\":|probation_s =) ?\d+", r"\1 1", script)


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
