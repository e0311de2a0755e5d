"""Whatever README.md and docs/ show is run as it stands there, and prints what stands there.

Only trials are made shorter: nobody waits ten minutes.  docs/fleet.md is run by test_every_fleet_command_runs.py, what the
manual pages show by test_every_example_runs.py.
"""

import pathlib
import re

import pytest

from lib.documents import DOCUMENTS, SKIPS, TOP, blocks_of, follow
from lib.gateway import build_dir


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.stem != "fleet" and
                                      any(not block.skip for block in blocks_of(path))], ids=lambda path: path.stem)
def test_commands_of(document, machine):
    follow(document, machine)


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
