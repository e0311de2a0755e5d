"""The tab key in bash, behind a line of ours, with the completion that is installed; no one sits there."""

import os
import pathlib
import subprocess

from .gateway import binary
from .wait import seconds

TOP = pathlib.Path(__file__).resolve().parents[3]

# As readline would: breaks the line, calls the function, prints what it offers.
PRESS_TAB = r"""
cd "$1" && source "$2" && line=$3
program=${line%% *}
COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=() COMP_TYPE=9 COMP_KEY=9
broken=${line//=/ = }
read -ra COMP_WORDS <<<"$broken"
if [[ $broken == *' ' && ${COMP_WORDS[-1]} != = ]]; then COMP_WORDS+=(""); fi
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
how=$(complete -p "$program") || exit 3
function=$(sed -n 's/.* -F \([^ ]*\) .*/\1/p' <<<"$how")
"$function" "$program" "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\n' "${COMPREPLY[@]}"
"""


def offered(line, gateway=None, folder="/"):
    """What is offered for the last word."""
    program = line.split()[0]
    env = {**os.environ, "PATH": os.path.dirname(binary(program)) + ":" + os.environ["PATH"], "LC_ALL": "C",
           "CERTFLIP_SOCKET": gateway.control if gateway else "/nonexistent"}
    done = subprocess.run(["bash", "--norc", "-c", PRESS_TAB, "tab", str(folder), str(TOP / "packaging/completion" / program),
                           line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=env, check=False, timeout=seconds(20))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()
