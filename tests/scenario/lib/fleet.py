"""Thousands of devices: tests/bench/fleet.c, compiled when it is needed, driven line by line."""

import json
import os
import subprocess

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "fleet.c")


def flags():
    """What compiles against OpenSSL here; empty without its development files."""
    return subprocess.run(["pkg-config", "--cflags", "--libs", "libssl", "libcrypto"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False).stdout.split()


def build(folder):
    """The path of the program."""
    found = flags()
    if not found:
        raise RuntimeError("fleet.c needs OpenSSL's development files (Debian: apt install libssl-dev pkg-config)")
    program = os.path.join(str(folder), "fleet")
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-o", program, SOURCE, *found], check=True)
    return program


def issue(program, pki, identities, count, slots=("old", "new"), authorities=None):
    """Identities of dev-00000 and so on, straight into the gateway's folder."""
    for slot in slots:
        ca = (authorities or {}).get(slot) or (pki.old if slot == "old" else pki.new)
        subprocess.run([program, "issue", ca.cert, ca.key, str(identities), slot, str(count)], check=True)


def names(count):
    return ["dev-%05d" % i for i in range(count)]


class Fleet:
    """`fleet run`: each call is a command, and returns what it answers."""

    def __init__(self, program, count, gateway, broker):
        self.process = subprocess.Popen([*(gateway.host.enter if gateway.host else ()), program, "run", str(count),
                                         str(gateway.plain_port), str(broker.port), broker.address],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the fleet ended with %s" % self.process.wait())
        return json.loads(line)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
