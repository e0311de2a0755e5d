"""Documents with commands in them: what the reader types, what is printed, and what a test does unseen.

    ```sh                     commands, in order; `exit=N` behind it: how they end; `skip=REASON`: not run here, see SKIPS;
                              `terminal=WORD`: one that fills a terminal, until WORD is seen there and Ctrl-C is pressed
    ```text                   behind commands: what they print; `...` stands for any text, a line of it for any lines
    <!-- test                 commands that the reader does not see: what happened before, or meanwhile; ends with -->

Dates, fingerprints, durations, sizes and the like differ from run to run: they are compared by their kind.
"""

import collections
import os
import pathlib
import re

from .machine import compiled_paths

TOP = pathlib.Path(__file__).resolve().parents[3]
DOCUMENTS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
# Why a block is not run on the scratch machine, and where it is instead.
SKIPS = {
    "package": "apt and dpkg: run by packaging/tests/lifecycle.sh in a chroot",
    "build": "builds all of it: ./bootstrap check and make distcheck do so",
    "timesyncd": "sets the machine's clock",
    "demo": "installs what is missing first: test_the_demo_ends_well runs the rest of it",
}

Block = collections.namedtuple("Block", "line kind script expected exit skip terminal")

FENCE = re.compile(r"^```(\w+)?(.*)$")


def blocks(text):
    """The blocks of a document, in order; kind is "shown" or "hidden"."""
    lines = text.splitlines()
    found, at = [], 0
    while at < len(lines):
        line, fence = lines[at], FENCE.match(lines[at])
        if line.startswith("<!-- test"):
            end = lines.index("-->", at)
            found.append(Block(at + 1, "hidden", "\n".join(lines[at + 1:end]), None, 0, None, None))
            at = end
        elif fence:
            end = lines.index("```", at + 1)
            body = lines[at + 1:end]
            words = dict(re.findall(r"(\w+)=(\S+)", fence[2]))
            if fence[1] == "sh":
                found.append(Block(at + 1, "shown", "\n".join(body), None, int(words.get("exit", 0)), words.get("skip"),
                                   words.get("terminal")))
            elif fence[1] == "text" and found and found[-1].kind == "shown" and found[-1].expected is None:
                found[-1] = found[-1]._replace(expected="\n".join(body))
            at = end
        at += 1
    return found


def blocks_of(path):
    return blocks(path.read_text(encoding="utf-8"))


def documented(text):
    """As the package's programs would print it."""
    for compiled, path in compiled_paths().items():
        text = text.replace(compiled, path)
    return text


def shortened(script):
    """Only trials are made shorter: nobody waits ten minutes."""
    return re.sub(r"(--probation|\"probation_s\":|probation_s =|soak_s =|validate_s =) ?\d+", r"\1 1", script)


KINDS = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME"),
    (r"(root@[\w-]+/)\d+", r"\1PID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?", "TIME"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"\b[0-9a-f]{16,64}\b", "HEX"),
    (r"\b([0-9A-F]{2}:){15,31}[0-9A-F]{2}\b", "HEX"),
    (r"\b\d+(\.\d+)? (us|ms|s|min|h|d)( \d+ (s|min|h))?\b", "SPAN"),
    (r"process \d+, \d+ worker(s?)", "process N"),
    (r"(port |\d+\.\d+\.\d+\.\d+:)\d{5}\b", r"\1PORT"),
    (r"0\.\d\.\d|5\.\d+\.\d+", "VERSION"),
    (r" +", " "),  # columns are as wide as what stands in them
)


def by_kind(line):
    for pattern, kind in KINDS:
        line = re.sub(pattern, kind, line)
    return line.strip()


def alike(expected, printed):
    """None, or the first line of `expected` that was not printed."""
    have = [by_kind(line) for line in printed.rstrip("\n").split("\n")]
    at, any_lines = 0, False
    for line in expected.split("\n"):
        if line.strip() == "...":
            any_lines = True
            continue
        pattern = ".*".join(re.escape(part) for part in by_kind(line).split("..."))
        while True:
            if at < len(have) and re.fullmatch(pattern, have[at]):
                break
            if not any_lines or at >= len(have):
                return line
            at += 1
        at, any_lines = at + 1, False
    return None if any_lines or at >= len(have) or have[at:] == [""] else "and then nothing (there was: %s)" % have[at]


def with_output(text, printed):
    """The document with what was printed in the place of what it shows; `printed`: by line of the block."""
    lines = text.splitlines()
    for line in sorted(printed, reverse=True):
        at = lines.index("```", line) + 1
        while not lines[at].startswith("```text"):
            at += 1
        end = lines.index("```", at)
        lines[at + 1:end] = printed[line].rstrip("\n").split("\n")
    return "\n".join(lines) + "\n"


def follow(document, machine):
    """Run all commands of a document on the machine, and compare what they print.

    CERTFLIP_DOCS=write puts what is printed now into the document; look at the difference before you keep it.
    """
    text = document.read_text(encoding="utf-8")
    printed, wrong = {}, []
    for block in blocks(text):
        if block.skip:
            continue
        where = "%s:%d" % (document.relative_to(TOP), block.line)
        try:
            if block.terminal:
                output = machine.terminal(block.script, block.terminal, "\x03")
            else:
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


# -- the manual pages

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
