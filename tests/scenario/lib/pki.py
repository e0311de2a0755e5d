"""Certificates, made by the openssl command: authorities, servers, devices with an old and a new identity.

Everything goes under one folder and is made once; asking again returns what is there.
"""

import concurrent.futures
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import threading

from .clock import TAKEN


def openssl(*args, stdin=None, at=None):
    """`at`: a date, or "+800d", for the command's clock."""
    command = [*(["faketime", "-f", at] if at else []), "openssl", *map(str, args)]
    for _ in range(20):
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if TAKEN not in done.stderr:  # else again, with another process identifier
            break
    if done.returncode != 0:
        raise RuntimeError("openssl %s\n%s" % (" ".join(map(str, args)), done.stderr.decode(errors="replace")))
    return done.stdout


NEW_KEY = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "ed25519": ["-newkey", "ed25519"],
    "rsa": ["-newkey", "rsa:2048"],
    "rsa1024": ["-newkey", "rsa:1024"],
}


OWN = object()  # the authority's own clock


class Pair:
    """A certificate (chain) and its key, as files."""

    def __init__(self, chain, key):
        self.chain = str(chain)
        self.key = str(key)

    def fingerprint(self):
        """SHA-256 of the leaf, 64 lower-case hex digits."""
        with open(self.chain, encoding="ascii") as f:
            leaf = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", f.read(), re.S)[0]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest()

    def subject(self):
        return openssl("x509", "-in", self.chain, "-noout", "-subject", "-nameopt", "RFC2253").decode().strip()


class Authority:
    """A CA that issues straight from its root; with `parent`, an intermediate.  `at`: its clock.  `made`: a leaf that
    pretends to be one."""

    def __init__(self, folder, name, kind="ec", parent=None, extensions=(), days=3650, at=None, subject=None, made=None):
        self.name = name
        self.parent = parent
        self.at = at
        self.kind = kind
        self.folder = os.path.join(str(folder), name.replace(" ", "-").lower())
        self.cert = os.path.join(self.folder, "ca.pem")
        self.key = os.path.join(self.folder, "ca.key")
        self.crl = os.path.join(self.folder, "ca.crl")
        self._lock = threading.Lock()
        os.makedirs(self.folder, exist_ok=True)
        if made is not None:
            self.cert, self.key, self.parent = made.chain, made.key, self
        if not os.path.exists(self.cert):
            more = ["-CA", parent.cert, "-CAkey", parent.key] if parent else []
            for ext in extensions:
                more += ["-addext", ext]
            openssl("req", "-x509", *NEW_KEY[kind], "-nodes", "-keyout", self.key, "-out", self.cert,
                    "-days", days, "-subj", subject or "/O=Plant/CN=" + name,
                    "-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign", *more, at=at)

    def pair(self):
        """Itself, as if it were a leaf."""
        os.chmod(self.key, 0o600)
        return Pair(self.cert, self.key)

    def crossed(self, parent):
        """Its certificate of another CA: the same name and key."""
        path = os.path.join(self.folder, "by-%s.pem" % os.path.basename(parent.folder))
        if not os.path.exists(path):
            openssl("req", "-x509", "-key", self.key, "-out", path, "-days", 3650, "-subj", "/O=Plant/CN=" + self.name,
                    "-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
                    "-CA", parent.cert, "-CAkey", parent.key)
        return path

    def issue(self, name, subject, extensions, kind="ec", days=365, more=(), chain=True, at=OWN,
              key=None):
        """A leaf, made with its key in one go, or for the key `key`; behind it, unless told otherwise, the intermediate
        that issued it."""
        pair = Pair(os.path.join(self.folder, name + ".pem"), os.path.join(self.folder, name + ".key"))
        if not os.path.exists(pair.chain):
            more = list(more)
            for ext in extensions:
                more += ["-addext", ext]
            if key:
                shutil.copy(key, pair.key)
            made = ["-key", key] if key else [*NEW_KEY[kind], "-nodes", "-keyout", pair.key]
            openssl("req", "-x509", *made, "-out", pair.chain + ".part",
                    "-days", days, "-subj", subject, "-CA", self.cert, "-CAkey", self.key,
                    "-addext", "basicConstraints=critical,CA:FALSE", *more, at=self.at if at is OWN else at)
            if self.parent is not None and chain:
                with open(pair.chain + ".part", "ab") as out, open(self.cert, "rb") as f:
                    out.write(f.read())
            os.chmod(pair.key, 0o600)
            os.rename(pair.chain + ".part", pair.chain)
        return pair

    def issue_dated(self, name, subject, start, end, kind="ec"):
        """A client certificate with the given dates (YYYYMMDDHHMMSSZ)."""
        pair = Pair(os.path.join(self.folder, name + ".pem"), os.path.join(self.folder, name + ".key"))
        if os.path.exists(pair.chain):
            return pair
        csr = pair.chain + ".csr"
        openssl("req", "-new", *NEW_KEY[kind], "-nodes", "-keyout", pair.key, "-out", csr, "-subj", subject)
        os.chmod(pair.key, 0o600)
        with self._lock:
            openssl("ca", "-batch", "-notext", "-config", self._database(), "-in", csr, "-out", pair.chain,
                    "-startdate", start, "-enddate", end, "-extensions", "client")
        return pair

    def revoke(self, *pairs, at=None, reason=None, dates=None):
        """Write a CRL that names these certificates (and those revoked before); returns its path.  `dates`: of this
        update and the next one (YYYYMMDDHHMMSSZ)."""
        with self._lock:
            conf = self._database()
            for pair in pairs:
                openssl("ca", "-config", conf, "-revoke", pair.chain, *(["-crl_reason", reason] if reason else []))
            valid = ["-crl_lastupdate", dates[0], "-crl_nextupdate", dates[1]] if dates else ["-crldays", "30"]
            openssl("ca", "-config", conf, "-gencrl", *valid, "-out", self.crl, at=at)
        return self.crl

    def _database(self):
        conf = os.path.join(self.folder, "ca.cnf")
        if not os.path.exists(conf):
            for name, text in (("index.txt", ""), ("index.txt.attr", "unique_subject = no\n"),
                               ("serial", "%016X\n" % (int.from_bytes(os.urandom(8), "big") >> 1)), ("crlnumber", "01\n")):
                with open(os.path.join(self.folder, name), "w", encoding="ascii") as f:
                    f.write(text)
            with open(conf, "w", encoding="utf-8") as f:
                f.write("""[ca]
default_ca = here
[here]
database = {0}/index.txt
serial = {0}/serial
crlnumber = {0}/crlnumber
new_certs_dir = {0}
certificate = {0}/ca.pem
private_key = {0}/ca.key
default_md = sha256
policy = any
copy_extensions = none
[any]
O = optional
OU = optional
CN = supplied
[client]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth
""".format(self.folder))
        return conf


CLIENT = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth"]
SERVER = ["keyUsage=critical,digitalSignature,keyEncipherment", "extendedKeyUsage=serverAuth",
          "subjectAltName=DNS:localhost,IP:127.0.0.1"]


class Pki:
    """The plant's authorities: old and new for identities, one for servers, one that nobody trusts."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.old = Authority(self.folder, "Plant Old CA")
        self.new = Authority(self.folder, "Plant New CA")
        self.stranger = Authority(self.folder, "Stranger CA")
        self.server_ca = Authority(self.folder, "Server CA")
        self._rsa = None

    @property
    def rsa(self):
        """An RSA authority, made when first asked for."""
        if self._rsa is None:
            self._rsa = Authority(self.folder, "Plant RSA CA", "rsa")
        return self._rsa

    def server(self, name="localhost", kind="ec", ca=None):
        return (ca or self.server_ca).issue("server-%s-%s" % (name, kind), "/O=Plant/CN=" + name, SERVER, kind)

    def sensor(self, device, kind="ec", ca=None):
        """What is baked into the sensor: shown to the gateway."""
        return (ca or self.old).issue("sensor-%s-%s" % (device, kind), "/O=Plant/OU=sensor/CN=" + device, CLIENT, kind)

    def identity(self, device, slot, kind="ec", ca=None, key=None):
        """What the gateway shows to the broker for that device; OU tells the slots apart.  `key`: a key that is there."""
        ca = ca or (self.old if slot == "old" else self.new)
        name = "%s-%s-%s" % (device, slot, "given" if key else kind)
        return ca.issue(name, "/O=Plant/OU=%s/CN=%s" % (slot, device), CLIENT, kind, key=key)

    def expired(self, device, slot, ca=None):
        ca = ca or (self.old if slot == "old" else self.new)
        return ca.issue_dated("%s-%s-expired" % (device, slot), "/O=Plant/OU=%s/CN=%s" % (slot, device),
                              "20200101000000Z", "20210101000000Z")

    def future(self, device, slot, ca=None):
        ca = ca or (self.old if slot == "old" else self.new)
        return ca.issue_dated("%s-%s-future" % (device, slot), "/O=Plant/OU=%s/CN=%s" % (slot, device),
                              "20390101000000Z", "20400101000000Z")

    def bundle(self, *authorities, name=None):
        """One file with the certificates of several authorities."""
        path = os.path.join(self.folder, name or "+".join(os.path.basename(a.folder) for a in authorities) + ".pem")
        text = ""
        for ca in authorities:
            with open(ca.cert, encoding="ascii") as f:
                text += f.read()
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def both(self):
        """Old and new CA side by side."""
        return self.bundle(self.old, self.new)

    def prepare(self, devices, slots=("old", "new"), sensors=True):
        """Make the certificates of many devices, several at a time."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            jobs = []
            for device in devices:
                if sensors:
                    jobs.append(pool.submit(self.sensor, device))
                for slot in slots:
                    jobs.append(pool.submit(self.identity, device, slot))
            for job in jobs:
                job.result()


def install(identities, device, slot, pair):
    """Put a certificate and key where the gateway looks for them."""
    folder = os.path.join(str(identities), device, slot)
    os.makedirs(folder, exist_ok=True)
    shutil.copy(pair.chain, os.path.join(folder, "chain.pem"))
    shutil.copy(pair.key, os.path.join(folder, "key.pem"))
    os.chmod(os.path.join(folder, "key.pem"), 0o600)
    return folder
