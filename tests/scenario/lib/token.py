"""A PKCS#11 token: SoftHSM, behind a module that is slow or fails when told to (tests/unit/token_shim.c)."""

import os
import shutil
import subprocess

from . import pki as _pki
from .gateway import build_dir
from .wait import until

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"

# Return values of PKCS#11.
NOT_PRESENT = 0xe0
DEVICE_ERROR = 0x30


class Token:
    """A token `label`, and its entry `conf` for the configuration."""

    def __init__(self, folder, label="hsm", pin="1234"):
        self.folder = os.path.join(str(folder), "token")
        self.label = label
        self.pin = pin
        self._ids = 0
        os.makedirs(os.path.join(self.folder, "tokens"))
        with open(self._path("softhsm2.conf"), "w", encoding="ascii") as f:
            f.write("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n" % self._path("tokens"))
        self.env = {"SOFTHSM2_CONF": self._path("softhsm2.conf"), "TOKEN_SHIM_DIR": self.folder,
                    "TOKEN_SHIM_MODULE": SOFTHSM}
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "87654321")
        self.pin_file = self._path("pin")
        self.write_pin(pin)
        self.conf = {"name": label, "module": os.path.join(build_dir(), "tests/unit/token_shim.so"), "label": label,
                     "pin_file": self.pin_file}

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _run(self, *command):
        done = subprocess.run(command, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def tool(self, *arguments):
        """pkcs11-tool, logged in; what it printed."""
        return self._run("pkcs11-tool", "--module", SOFTHSM, "--token-label", self.label, "--login", "--pin", self.pin,
                         *arguments)

    def write_pin(self, pin):
        with open(self.pin_file + ".part", "w", encoding="ascii") as f:
            f.write(pin + "\n")
        os.chmod(self.pin_file + ".part", 0o600)
        os.rename(self.pin_file + ".part", self.pin_file)

    # -- keys

    def take(self, pair, name):
        """Put the pair's key in; returns its URI."""
        self._ids += 1
        key = self._path("import.p8")
        _pki.openssl("pkcs8", "-topk8", "-nocrypt", "-in", pair.key, "-out", key)
        self._run("softhsm2-util", "--import", key, "--token", self.label, "--label", name, "--id", "%04x" % self._ids,
                  "--pin", self.pin)
        os.unlink(key)
        return "pkcs11:token=%s;object=%s;type=private" % (self.label, name)

    def install(self, gateway, device, slot, pair, uri=None):
        """The identity's certificate in the slot, its key in the token."""
        uri = uri or self.take(pair, "%s-%s" % (device, slot))
        folder = os.path.join(gateway.identities, device, slot)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        shutil.copy(pair.chain, os.path.join(folder, "chain.pem"))
        with open(os.path.join(folder, "key.uri"), "w", encoding="ascii") as f:
            f.write(uri + "\n")

    # -- trouble

    def block(self):
        """C_Sign does not return any more."""
        self._tell("block", "")

    def unblock(self):
        os.unlink(self._path("block"))

    def wait_blocked(self, timeout=20):
        until("the token is asked for a signature", lambda: os.path.exists(self._path("blocked")), timeout)

    def fail(self, rv):
        """Slots, sessions and signatures are refused with this CK_RV."""
        self._tell("rv", "0x%x" % rv)

    def heal(self):
        os.unlink(self._path("rv"))

    def _tell(self, name, text):
        with open(self._path(name + ".part"), "w", encoding="ascii") as f:
            f.write(text)
        os.rename(self._path(name + ".part"), self._path(name))

    def count(self, what):
        """How many "signs" or "logins" there were."""
        try:
            return os.path.getsize(self._path(what))
        except FileNotFoundError:
            return 0
