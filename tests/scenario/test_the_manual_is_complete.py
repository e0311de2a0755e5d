"""What an operator meets in the log, in the counters and in the events is in certflipd(8)."""

import pathlib
import re
import shutil
import subprocess

import pytest

from lib.gateway import build_dir

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"
MANUAL = (SRC / "daemon/certflipd.8").read_text(encoding="utf-8")
WORDS = set(re.findall(r"[a-z][a-z0-9._-]*[a-z0-9]", MANUAL))


CALL = re.compile(r'log_(?:event|fact)\(\s*[^",;]+,\s*[^",;]+,\s*([^",;]*"[a-z0-9-]+"(?:\s*:\s*"[a-z0-9-]+")?)\s*,')


def code(path):
    return (SRC / path).read_text(encoding="utf-8")


def log_lines():
    """The names in log_event and log_fact(subsystem, level, name, ...), of both branches where there are two."""
    for path in sorted(SRC.rglob("*.c")):
        for call in CALL.findall(path.read_text(encoding="utf-8")):
            yield from re.findall(r'"([a-z0-9-]+)"', call)


def names(path, array):
    body = re.search(re.escape(array) + r".*?\{(.*?)\};", code(path), re.DOTALL).group(1)
    return re.findall(r'"([a-z-]+)"', body)


def counters():
    body = re.search(r"define HUB_STATS\(X\)(.*?)\n\n", code("control/hub.h"), re.DOTALL).group(1)
    return re.findall(r"X\((\w+)\)", body) + ["hold_us_max", "age_ms"]


KINDS = {
    "log line": set(log_lines()),
    "counter": set(counters()),
    "phase": set(names("flip/engine.c", "phase_names[FLIP_PHASES]")),
    "proof": set(names("flip/engine.c", "proof_names[FLIP_PROOFS]")),
    # What is never a cause: nothing is told of it, or nobody can command it yet.
    "cause": set(names("flip/engine.c", "event_names[FLIP_EVENTS]"))
    - {"none", "lost", "suspect", "restarted", "retired"},
    "class": set(re.findall(r'\[DIAG_\w+\] = \{"([a-z]+)"', code("catalogue/catalogue.c"))) - {"ok"},
    "method": set(re.findall(r'X\(RPC_\w+,\s+"([a-z.]+)"', code("control/rpc.h"))),
}


# What wears a name of the catalogue in the log, in replies and in counts, where no table has it.
def told():
    """Names that are written where something fails, rather than looked up."""
    for path in sorted(SRC.glob("session/*.c")):
        text = path.read_text(encoding="utf-8")
        yield from re.findall(r'(?:session_tell_refused|session_refuse)\((?:[^;]*?)"([a-z-]+)"', text)
        yield from re.findall(r'\*?code = (?:[^;"]*\? )?"([a-z-]+)"', text)
        yield from re.findall(r'return "(limit-[a-z]+|network|stopping)"', text)


def test_every_refusal_is_in_the_catalogue():
    """certflipctl explain knows whatever session-refused may carry as its code."""
    rows = set(re.findall(r'\{ "refused", "([a-z-]+)"', code("catalogue/rows.c")))
    found = set(told())
    assert len(found) >= 15
    assert sorted(found - rows) == []


def test_names_of_failures_are_looked_up():
    """Nobody above the catalogue makes one up; and a row that is looked up by its word is there."""
    for path in [*SRC.glob("session/*.c"), *SRC.glob("control/*.c"), *SRC.glob("worker/*.c")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'\.name = "[a-z]+\.[a-z-]+"|printf\(\w+(?:\.|->)name[^;]*"[a-z]+\.', text), path
    words = re.findall(r'(?:fail\(s, |[?:=] )"([a-z]+(?:-[a-z]+)+)"', code("session/evidence.c"))
    rows = re.findall(r'\{ "evidence", "([a-z-]+)"', code("catalogue/rows.c"))
    assert sorted(words) == sorted(rows)


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_page_of_errors_is_well_formed():
    page = pathlib.Path(build_dir()) / "src/catalogue/certflip-errors.7"
    done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", str(page)], stderr=subprocess.PIPE, text=True,
                          check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_is_explained(kind):
    assert len(KINDS[kind]) >= (60 if kind == "log line" else 3)
    assert sorted(KINDS[kind] - WORDS) == []
