"""What certflipctl lint says of certificates: a zoo with each finding, and hundreds of chains beside OpenSSL's verdict."""

import datetime
import json
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lib.gateway import Refused, binary
from lib.pki import Authority
from lib.pki import SERVER as SERVER_EXTENSIONS
from lib.wait import seconds

NOW = datetime.datetime(2030, 1, 1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
          "crl_sign", "encipher_only", "decipher_only")
SEED = int(os.environ.get("CERTFLIP_TEST_SEED", "7"))
CHAINS = int(os.environ.get("CERTFLIP_LINT_CHAINS", "400"))


def days(n):
    return NOW + datetime.timedelta(days=n)


def name_of(cn, org="Plant"):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, org), x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def org_only(org):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, org)])


class Keys:
    """Keys are made once: RSA takes its time."""

    def __init__(self):
        self.made = {}

    def get(self, kind, label):
        if (kind, label) not in self.made:
            self.made[kind, label] = (
                ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p224": ec.SECP224R1}[kind]())
                if kind.startswith("p") else ed25519.Ed25519PrivateKey.generate() if kind == "ed25519"
                else rsa.generate_private_key(65537, int(kind[3:])))
        return self.made[kind, label]


KEYS = Keys()


class Cert:
    """One certificate, made of what is said and of defaults that are in order."""

    def __init__(self, issuer=None, *, cn="leaf", org="Plant", kind="p256", key=None, begin=-400, end=4000, ca=None, path_length=None,
                 usage=None, eku=None, sans=(), digest=None, serial=None, permitted=None, excluded=None, critical=False,
                 signer=None, issuer_name=None, ski=True, aki=True, version1=False):
        self.key = key or KEYS.get(kind, cn if kind.startswith("p") else kind)
        self.name = name_of(cn, org)
        builder = (x509.CertificateBuilder().subject_name(self.name)
                   .issuer_name(issuer_name or (issuer.name if issuer else self.name))
                   .not_valid_before(days(begin)).not_valid_after(days(end))
                   .serial_number(serial or x509.random_serial_number()).public_key(self.key.public_key()))
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), True)
        if usage is not None:
            builder = builder.add_extension(x509.KeyUsage(**{u: u in usage for u in USAGES}), True)
        if eku is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(eku), False)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), False)
        if permitted is not None or excluded is not None:
            builder = builder.add_extension(x509.NameConstraints(permitted, excluded), True)
        if critical:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.840.113549.3"), b"\x05\x00"), True)
        signer = signer or (issuer.key if issuer else self.key)
        if ski:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        if aki:
            other = KEYS.get("p256", "nobody") if aki == "wrong" else issuer.key if issuer else self.key
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(other.public_key()), False)
        algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else (digest or hashes.SHA256())
        self.cert = builder.sign(signer, algorithm)
        self.pem = self.cert.public_bytes(serialization.Encoding.PEM)

    def private(self):
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())


def a_root(cn="root", **more):
    return Cert(cn=cn, **{"ca": True, "usage": ["key_cert_sign", "crl_sign"], **more})


def a_ca(issuer, cn="intermediate", **more):
    return Cert(issuer, cn=cn, **{"ca": True, "usage": ["key_cert_sign", "crl_sign"], **more})


def a_leaf(issuer, cn="press-07", **more):
    return Cert(issuer, cn=cn, **{"ca": False, "usage": ["digital_signature"], "eku": [CLIENT], **more})


def write(folder, name, *certs, key=None):
    path = os.path.join(folder, name)
    with open(path, "wb") as out:
        for c in certs:
            out.write(c.pem)
        if key is not None:
            out.write(key)
    return path


def lint(*words):
    """Returns the exit status and the reports."""
    done = subprocess.run([binary("certflipctl"), "lint", "--json", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, timeout=seconds(60))
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)["reports"]


def codes(report, least="warning"):
    order = ("info", "warning", "error")
    return [f["code"][5:] for f in report["findings"] if order.index(f["severity"]) >= order.index(least)]


# -- the zoo: each is wrong in one way only, and right without that

ROOT = a_root()
NARROW = a_root("narrow", path_length=0)
FENCED = a_ca(ROOT, "fenced", permitted=[x509.DNSName("inside.example")])
BARRED = a_ca(ROOT, "barred", excluded=[x509.DirectoryName(org_only("Out"))])
STRANGER = a_root("stranger")
INSIDE = [x509.DNSName("press-07.inside.example")]


def both(purpose):
    return {"eku": [CLIENT if purpose == "client" else SERVER]}


# name: what is found, the certificates below the root (the leaf first)
ZOO = {
    "good": ([], lambda p: [a_leaf(ROOT, **both(p))]),
    "good-chain": ([], lambda p: [a_leaf(i := a_ca(ROOT), **both(p)), i]),
    "good-without-extensions": ([], lambda p: [Cert(ROOT, cn="press-07", ski=False, aki=False)]),
    "good-p384": ([], lambda p: [a_leaf(ROOT, kind="p384", **both(p))]),
    "good-ed25519": ([], lambda p: [a_leaf(ROOT, kind="ed25519", **both(p))]),
    "good-rsa": ([], lambda p: [a_leaf(ROOT, kind="rsa2048", **both(p))]),
    "good-sha512": ([], lambda p: [a_leaf(ROOT, digest=hashes.SHA512(), **both(p))]),
    "expired": (["expired"], lambda p: [a_leaf(ROOT, end=-1, **both(p))]),
    "intermediate-expired": (["expired"], lambda p: [a_leaf(i := a_ca(ROOT, end=-1), **both(p)), i]),
    "early": (["not-yet-valid"], lambda p: [a_leaf(ROOT, begin=1, **both(p))]),
    "expiring": (["expiring"], lambda p: [a_leaf(ROOT, end=20, **both(p))]),
    "short-lived": ([], lambda p: [a_leaf(ROOT, begin=-10, end=20, **both(p))]),
    "not-backdated": (["not-backdated"], lambda p: [a_leaf(ROOT, begin=-0.5, **both(p))]),
    "incomplete": (["chain-incomplete"], lambda p: [a_leaf(a_ca(ROOT), **both(p))]),
    "unknown-anchor": (["unknown-anchor"], lambda p: [a_leaf(STRANGER, **both(p)), STRANGER]),
    "self-signed": (["self-signed"], lambda p: [a_leaf(None, **both(p))]),
    "forged": (["signature-bad"], lambda p: [a_leaf(ROOT, signer=STRANGER.key, **both(p))]),
    "forged-intermediate": (["signature-bad"], lambda p: [a_leaf(i := a_ca(ROOT, signer=STRANGER.key), **both(p)), i]),
    "wrong-key-id": (["key-id"], lambda p: [a_leaf(ROOT, aki="wrong", **both(p))]),
    "other-purpose": (["extended-key-usage"], lambda p: [a_leaf(ROOT, eku=[SERVER if p == "client" else CLIENT])]),
    "both-purposes": ([], lambda p: [a_leaf(ROOT, eku=[SERVER, CLIENT])]),
    "any-purpose": (["any-purpose"], lambda p: [a_leaf(ROOT, eku=[ANY])]),
    "ca-for-another-purpose": (["extended-key-usage"], lambda p: [
        a_leaf(i := a_ca(ROOT, eku=[SERVER if p == "client" else CLIENT]), **both(p)), i]),
    "cannot-sign": (["key-usage"], lambda p: [a_leaf(ROOT, usage=["data_encipherment"], **both(p))]),
    "ca-cannot-sign": (["key-usage"], lambda p: [a_leaf(i := a_ca(ROOT, usage=["crl_sign"]), **both(p)), i]),
    "no-ca": (["basic-constraints"], lambda p: [a_leaf(i := a_ca(ROOT, ca=False), **both(p)), i]),
    "silent-about-ca": (["basic-constraints"], lambda p: [a_leaf(i := a_ca(ROOT, ca=None, usage=None), **both(p)), i]),
    "ca-as-leaf": (["ca-as-leaf"], lambda p: [a_leaf(ROOT, ca=True, usage=["digital_signature", "key_cert_sign"], **both(p))]),
    "path-length": (["path-length"], lambda p: [a_leaf(i := a_ca(NARROW), **both(p)), i]),
    "path-length-kept": ([], lambda p: [a_leaf(NARROW, **both(p))]),
    "outside-the-fence": (["name-constraints"], lambda p: [
        a_leaf(FENCED, sans=[x509.DNSName("press-07.outside.example")], **both(p)), FENCED]),
    "inside-the-fence": ([], lambda p: [a_leaf(FENCED, sans=INSIDE, **both(p)), FENCED]),
    "barred-name": (["name-constraints"], lambda p: [a_leaf(BARRED, org="Out", **both(p)), BARRED]),
    "name-not-barred": ([], lambda p: [a_leaf(BARRED, **both(p)), BARRED]),
    "critical": (["critical-extension"], lambda p: [a_leaf(ROOT, critical=True, **both(p))]),
    "rsa-1024": (["weak-key"], lambda p: [a_leaf(ROOT, kind="rsa1024", **both(p))]),
    "p224": (["weak-key"], lambda p: [a_leaf(ROOT, kind="p224", **both(p))]),
    "sha1": (["weak-digest"], lambda p: [a_leaf(ROOT, digest=hashes.SHA1(), **both(p))]),
    "stray": (["stray-certificate"], lambda p: [a_leaf(ROOT, **both(p)), STRANGER]),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("zoo"))
    anchors = write(folder, "anchors.pem", ROOT, NARROW)
    reports = {}
    for purpose in ("client", "server"):
        paths = {kind: write(folder, "%s-%s.pem" % (purpose, kind), *make(purpose)) for kind, (_, make) in ZOO.items()}
        status, said = lint(*paths.values(), "--anchors", anchors, "--purpose", purpose, "--at",
                            NOW.strftime("%Y-%m-%dT%H:%M:%SZ"))
        assert status == 6
        for kind, report in zip(paths, said):
            assert report["file"] == paths[kind]
            reports[purpose, kind] = report
    return reports


@pytest.mark.parametrize("purpose", ["client", "server"])
@pytest.mark.parametrize("kind", ZOO)
def test_each_kind_is_found_and_nothing_else(zoo, purpose, kind):
    report = zoo[purpose, kind]
    assert codes(report) == ZOO[kind][0], report
    assert report["trusted"] == (not codes(report, "error")), report
    for f in report["findings"]:
        assert f["message"] and f["remedy"]


def test_the_exit_status_tells_the_gravest(tmp_path):
    folder = str(tmp_path)
    at = ["--at", str(int((NOW - datetime.datetime(1970, 1, 1)).total_seconds()))]
    leaf = a_leaf(ROOT)
    good = write(folder, "good.pem", leaf)
    soon = write(folder, "soon.pem", a_leaf(ROOT, end=20))
    bad = write(folder, "bad.pem", a_leaf(ROOT, end=-20))
    assert lint(good, *at)[0] == 0
    assert lint(good, soon, *at)[0] == 5
    assert lint(good, soon, bad, *at)[0] == 6
    assert lint(good, "--device", "press-08", *at)[0] == 5
    key, other = os.path.join(folder, "key.pem"), os.path.join(folder, "other.pem")
    for path, content in ((key, leaf.private()), (other, ROOT.private())):
        with open(path, "wb") as out:
            out.write(content)
    assert lint(good, "--key", key, *at)[0] == 0
    status, reports = lint(good, "--key", other, *at)
    assert (status, codes(reports[0])) == (6, ["key-mismatch"])
    assert lint(write(folder, "whole.pem", ROOT, leaf, key=leaf.private()), *at)[0] == 0, "in any order, with the key"
    with open(os.path.join(folder, "two.der"), "wb") as out:
        for c in (ROOT, leaf):
            out.write(c.cert.public_bytes(serialization.Encoding.DER))
    status, reports = lint(os.path.join(folder, "two.der"), *at)
    assert status == 0 and codes(reports[0], "info") == ["root-in-chain"], "one behind the other, as DER"
    done = subprocess.run([binary("certflipctl"), "lint", os.path.join(folder, "none.pem")], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=seconds(20))
    assert done.returncode == 1 and "none.pem" in done.stderr


def test_lists_of_revoked_certificates_are_looked_at(tmp_path):
    folder, at = str(tmp_path), ["--at", "2030-01-01"]
    ca = a_ca(ROOT)
    leaf = a_leaf(ca)
    path, anchors = write(folder, "chain.pem", leaf, ca), write(folder, "anchors.pem", ROOT)

    def a_list(name, issuer, *revoked):
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.name).last_update(days(-1)).next_update(days(9))
        for c in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(c.cert.serial_number).revocation_date(days(-2)).build())
        with open(os.path.join(folder, name), "wb") as out:
            out.write(builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return os.path.join(folder, name)

    of_leaf, of_ca, of_none = a_list("leaf.crl", ca, leaf), a_list("ca.crl", ROOT, ca), a_list("none.crl", ca, ca)
    for lists, found in (([of_leaf], ["revoked"]), ([of_ca], ["revoked"]), ([of_none], []), ([of_none, of_ca], ["revoked"])):
        status, reports = lint(path, "--anchors", anchors, *at, *[w for name in lists for w in ("--crl", name)])
        assert (status, codes(reports[0])) == (6 if found else 0, found), lists
    strange = a_list("strange.crl", STRANGER, leaf)
    done = subprocess.run([binary("certflipctl"), "lint", path, "--crl", strange], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, timeout=seconds(20))
    assert done.returncode == 1 and "strange.crl" in done.stderr


def test_certificates_that_all_name_each_other_cost_a_moment(tmp_path):
    """Forty CAs of one name and forty keys, each signed by every other: no path leads out, and nobody waits for it."""
    cas = [a_ca(None, "loop", key=KEYS.get("p256", "loop-%d" % i), ski=False, aki=False,
                signer=KEYS.get("p256", "loop-%d" % ((i * 7 + 3) % 40))) for i in range(40)]
    path = write(str(tmp_path), "loops.pem", a_leaf(cas[0], aki=False), *cas)
    status, reports = lint(path, "--anchors", write(str(tmp_path), "root.pem", ROOT), "--at", "2030-01-01")
    assert status == 6 and not reports[0]["trusted"]


# -- beside OpenSSL

ROOTS = [a_root("root-%d" % i) for i in range(3)]
ROOTS += [a_root("root-short", path_length=0), a_root("root-old", end=-3), a_root("root-plain", usage=None),
          a_root("root-no-ca", ca=False), a_root("root-serves", eku=[SERVER]), a_root("root-rsa", kind="rsa2048"),
          a_root("root-small", kind="rsa1024"), a_root("root-sha1", digest=hashes.SHA1()),
          a_root("root-fenced", permitted=[x509.DNSName("example"), x509.DirectoryName(org_only("Plant"))])]
UNKNOWN = [a_root("unknown")]

DATES = [{}] * 6 + [{"end": -1}, {"begin": 1}, {"begin": -3000, "end": -2000}]
CA_FAULTS = [{}] * 24 + [{"ca": False}, {"ca": None, "usage": None}, {"ca": None}, {"usage": ["crl_sign"]}, {"usage": None},
                         {"path_length": 0}, {"path_length": 1}, {"eku": [SERVER]}, {"eku": [CLIENT]}, {"eku": [ANY]},
                         {"digest": hashes.SHA1()}, {"digest": hashes.SHA384()}, {"critical": True}, {"aki": "wrong"},
                         {"aki": False}, {"ski": False}, {"kind": "p384"}, {"kind": "rsa2048"}, {"kind": "rsa1024"},
                         {"permitted": [x509.DNSName("inside.example")]}, {"excluded": [x509.DNSName("outside.example")]},
                         {"permitted": [x509.DNSName("")]},
                         {"excluded": [x509.RFC822Name("bad.example")]}, {"permitted": [x509.RFC822Name(".good.example")]},
                         {"permitted": [x509.UniformResourceIdentifier("host.example")]},
                         {"excluded": [x509.DirectoryName(org_only("Out"))]},
                         {"permitted": [x509.DirectoryName(org_only("plant"))]},
                         {"org": "Out"}]
LEAF_FAULTS = [{}] * 12 + [{"eku": [SERVER]}, {"eku": [CLIENT, SERVER]}, {"eku": [ANY]}, {"eku": None}, {"eku": [ANY, CLIENT]},
                           {"usage": None}, {"usage": ["key_encipherment"]}, {"usage": ["key_agreement"]},
                           {"usage": ["data_encipherment"]}, {"ca": True, "usage": ["key_cert_sign", "digital_signature"]},
                           {"ca": None}, {"digest": hashes.SHA1()}, {"kind": "rsa1024"}, {"kind": "rsa2048"}, {"kind": "p384"},
                           {"kind": "ed25519"}, {"critical": True}, {"aki": "wrong"}, {"aki": False}, {"org": "Out"},
                           {"org": "PLANT "}]
SANS = [[]] * 4 + [[x509.DNSName("press.inside.example")], [x509.DNSName("press.outside.example")], [x509.DNSName("xinside.example")],
                   [x509.DNSName("press.inside.example"), x509.RFC822Name("me@bad.example")],
                   [x509.RFC822Name("me@sub.good.example")], [x509.RFC822Name("me@good.example")],
                   [x509.UniformResourceIdentifier("https://host.example/x")],
                   [x509.UniformResourceIdentifier("urn:dev:1")], [x509.UniformResourceIdentifier("https://a.host.example/")]]


def a_chain(rng, n):
    """Returns the certificates of one chain, the leaf first and the root last, and which are sent."""
    root = rng.choice(ROOTS[:3] * 6 + ROOTS + UNKNOWN)
    chain, at = [root], root
    for i in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
        more = {**rng.choice(DATES), **rng.choice(CA_FAULTS)}
        cn = "ca-%d-%d" % (n, i)
        if rng.random() < 0.06 and i > 0:  # the same name again: self-issued
            at = a_ca(at, chain[-1].cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value, **more,
                      key=KEYS.get("p256", cn))
        elif rng.random() < 0.06:
            at = a_ca(at, cn, **more, signer=STRANGER.key)
        else:
            at = a_ca(at, cn, **more)
        chain.append(at)
    more = {**rng.choice(DATES), **rng.choice(LEAF_FAULTS), "sans": rng.choice(SANS)}
    if rng.random() < 0.05:
        more["signer"] = STRANGER.key
    if rng.random() < 0.04:
        at, chain = None, []
    cn = rng.choice(("press-%d" % n, "press-%d" % n, "press.outside.example", "press.inside.example"))
    chain.append(a_leaf(at, cn, **more))
    chain.reverse()
    sent = chain[:-1] if len(chain) > 1 and rng.random() < 0.9 else list(chain)
    if len(sent) > 2 and rng.random() < 0.08:
        sent.pop(rng.randrange(1, len(sent)))
    rest = sent[1:]
    rng.shuffle(rest)
    return [sent[0]] + rest


# What OpenSSL says and lint calls otherwise.
ALIASES = {
    "X509_V_ERR_EXCLUDED_VIOLATION": "X509_V_ERR_PERMITTED_VIOLATION",  # one code for all of name constraints
    "X509_V_ERR_UNSUPPORTED_NAME_SYNTAX": "X509_V_ERR_PERMITTED_VIOLATION",
    "X509_V_ERR_CA_KEY_TOO_SMALL": "X509_V_ERR_EE_KEY_TOO_SMALL",  # one code for a key, whosever it is
}
NUMBERS = {7: "CERT_SIGNATURE_FAILURE", 9: "CERT_NOT_YET_VALID", 10: "CERT_HAS_EXPIRED", 18: "DEPTH_ZERO_SELF_SIGNED_CERT",
           19: "SELF_SIGNED_CERT_IN_CHAIN", 20: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", 2: "UNABLE_TO_GET_ISSUER_CERT",
           21: "UNABLE_TO_VERIFY_LEAF_SIGNATURE", 24: "INVALID_CA", 25: "PATH_LENGTH_EXCEEDED", 26: "INVALID_PURPOSE",
           32: "KEYUSAGE_NO_CERTSIGN", 34: "UNHANDLED_CRITICAL_EXTENSION", 47: "PERMITTED_VIOLATION", 48: "EXCLUDED_VIOLATION",
           53: "UNSUPPORTED_NAME_SYNTAX", 66: "EE_KEY_TOO_SMALL", 67: "CA_KEY_TOO_SMALL", 68: "CA_MD_TOO_WEAK",
           79: "INVALID_CA"}


def openssl(job):
    """Returns the names of all errors that OpenSSL finds on its way, the one that ends it included."""
    leaf, rest, anchors, purpose, at = job
    words = ["openssl", "verify", "-CAfile", anchors, "-no-CApath", "-no-CAstore", "-attime", str(at), "-auth_level", "2",
             "-purpose", purpose]
    if rest is not None:
        words += ["-untrusted", rest]
    done = subprocess.run([*words, leaf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=seconds(20))
    found = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("error ") and " at " in line]
    assert bool(found) == (done.returncode != 0), done.stdout
    return ["X509_V_ERR_" + NUMBERS.get(n, str(n)) for n in found]


def chains(folder, count, seed):
    """Write them, and judge them both ways.  Yields (n, purpose, names of OpenSSL's errors, report of lint)."""
    rng = random.Random(seed)
    at = int((NOW - datetime.datetime(1970, 1, 1)).total_seconds())
    anchors = write(folder, "anchors.pem", *ROOTS)
    jobs, paths = [], {"client": [], "server": []}
    for n in range(count):
        sent = a_chain(rng, n)
        purpose = rng.choice(("client", "client", "server"))
        path = write(folder, "chain-%d.pem" % n, *sent)
        jobs.append((write(folder, "leaf-%d.pem" % n, sent[0]), write(folder, "rest-%d.pem" % n, *sent[1:]) if sent[1:] else None,
                     anchors, "ssl" + purpose, at))
        paths[purpose].append((n, path))
    with ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(openssl, jobs))
    for purpose, files in paths.items():
        _, reports = lint(*[path for _, path in files], "--anchors", anchors, "--purpose", purpose, "--at", str(at))
        for (n, _), report in zip(files, reports):
            yield n, purpose, theirs[n], report


# Where the two differ, and why; all else is a fault of one of them.
def _is_any(theirs, errors, warnings, certs):
    return "any-purpose" in warnings and "X509_V_ERR_INVALID_PURPOSE" in theirs


def _agrees_on_keys(theirs, errors, warnings, certs):
    usage = certs[0].extensions.get_extension_for_class(x509.KeyUsage).value
    return not theirs and errors == ["key-usage"] and usage.key_agreement and not usage.digital_signature


def _is_forged(theirs, errors, warnings, certs):
    return theirs and "signature-bad" in errors


def _names_another_key(theirs, errors, warnings, certs):
    return "key-id" in errors and "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY" in theirs


def _names_another_key_than_its_own(theirs, errors, warnings, certs):
    ids = certs[0].extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = certs[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return ("self-signed" in errors and ids.key_identifier != own.digest
            and "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY" in theirs)


def _is_a_ca_that_cannot_sign(theirs, errors, warnings, certs):
    return "key-usage" in errors and "X509_V_ERR_INVALID_CA" in theirs


def _is_self_issued_without_key_id(theirs, errors, warnings, certs):
    return theirs == ["X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN"] and any(
        c.subject == c.issuer and not any(e.oid == x509.ExtensionOID.AUTHORITY_KEY_IDENTIFIER for e in c.extensions)
        for c in certs)


def _has_namesakes(theirs, errors, warnings, certs):
    return theirs and len({c.subject for c in certs}) < len(certs)


EXPLAINED = [
    (_is_any, "OpenSSL wants clientAuth or serverAuth by name, others take anyExtendedKeyUsage: lint warns"),
    (_agrees_on_keys, "OpenSSL lets keyAgreement pass for a client; a signature is what TLS 1.2 and 1.3 ask of it (RFC 8446, 4.4.2.2)"),
    (_is_forged, "OpenSSL looks for issuers by name and judges what it found, lint follows none that has not signed"),
    (_names_another_key, "OpenSSL does not find an issuer whose key identifier is another one, lint says why"),
    (_names_another_key_than_its_own, "the same of a self-signed one: no issuer, for OpenSSL"),
    (_is_a_ca_that_cannot_sign, "a CA without keyCertSign is no CA for OpenSSL, lint names the key usage"),
    (_is_self_issued_without_key_id, "OpenSSL takes a self-issued certificate without an authority key identifier for a root, whoever signed it"),
    (_has_namesakes, "two certificates of one name: OpenSSL judges the path that it takes first, lint the best one, which may hold"),
]


def explanation(folder, n, theirs, report):
    errors, warnings = codes(report, "error"), codes(report)
    named = {f["x509"] for f in report["findings"] if f["severity"] == "error"}
    aliased = [ALIASES.get(t, t) for t in theirs]
    if bool(aliased) == bool(errors) and (not aliased or aliased[0] in named):
        return "the same"
    with open(os.path.join(folder, "chain-%d.pem" % n), "rb") as f:
        certs = [x509.load_pem_x509_certificate(b"-----BEGIN" + part) for part in f.read().split(b"-----BEGIN")[1:]]
    for holds, why in EXPLAINED:
        try:
            if holds(aliased, errors, warnings, certs):
                return why
        except x509.ExtensionNotFound:
            pass
    return None


def test_every_verdict_that_differs_from_openssls_is_explained(tmp_path):
    """CERTFLIP_LINT_CHAINS=20000 CERTFLIP_TEST_SEED=3 plays more, and others."""
    count, said, strange = {}, set(), []
    for n, purpose, theirs, report in chains(str(tmp_path), CHAINS, SEED):
        why = explanation(str(tmp_path), n, theirs, report)
        count[why] = count.get(why, 0) + 1
        said.update(codes(report))
        if why is None:
            strange.append((n, purpose, theirs, codes(report), "in %s, seed %d" % (tmp_path, SEED)))
    assert not strange, strange[:5]
    for why, n in sorted(count.items(), key=lambda item: -item[1]):
        print("%6d %s" % (n, why))
    assert count["the same"] > CHAINS * 0.8
    assert {"expired", "not-yet-valid", "signature-bad", "extended-key-usage", "key-usage", "basic-constraints", "path-length",
            "name-constraints", "critical-extension", "weak-key", "weak-digest", "chain-incomplete", "unknown-anchor",
            "self-signed", "key-id", "any-purpose"} <= said


# -- what the gateway makes of it


def test_an_error_keeps_an_identity_from_being_flipped_to(plant, pki):
    """A certificate for a server in the new slot, an expired one in use: the one is not flipped to unless forced, the other
    serves and is told of."""
    site = plant([], start=False)
    new = pki.new.issue("wrong-purpose-new", "/O=Plant/OU=new/CN=wrong-purpose", [*SERVER_EXTENSIONS[:2]])
    site.gateway.install("wrong-purpose", new=new)
    site.gateway.install("worn", old=pki.expired("worn", "old"), new=False)
    site.gateway.install("fine")
    site.__enter__()
    state = site.gateway.device("wrong-purpose")
    assert state["phase"] == "steady" and "[lint.extended-key-usage]" in state["slots"]["new"]["fault"], state
    assert "lint.extended-key-usage" in [f["code"] for f in state["slots"]["new"]["findings"]]
    with pytest.raises(Refused) as refused:
        site.gateway.flip("wrong-purpose")
    assert refused.value.name == "lint" and "clientAuth" in refused.value.error["message"]
    assert site.gateway.device("fine")["phase"] == "staged"

    reports = {(r["device"], r["slot"]): r for r in site.gateway.rpc("identity.lint", target="*")["reports"]}
    assert sorted(reports) == [("fine", "new"), ("fine", "old"), ("worn", "old"), ("wrong-purpose", "new"),
                               ("wrong-purpose", "old")]
    assert codes(reports["worn", "old"], "error") == ["expired"] and reports["worn", "old"]["trusted"] is None
    assert not codes(reports["fine", "old"], "error")
    page = site.gateway.rpc("identity.lint", target="*", limit=1)
    assert page["next"] == "fine" and {r["device"] for r in page["reports"]} == {"fine"}
    assert any("device worn" in m and "[lint.expired]" in m for m in site.gateway.rpc("status")["messages"])
    status, out, _ = site.gateway.ctl("lint", "wrong-purpose", "--slot", "new", check=False)
    assert status == 6 and "lint.extended-key-usage" in out and "X509_V_ERR_INVALID_PURPOSE" in out

    site.gateway.flip("wrong-purpose", force=True)
    state = site.gateway.device("wrong-purpose")
    assert state["phase"] == "trial" and state["slots"]["new"]["fault"] is None, state
    entry = [e for e in site.gateway.rpc("audit.list", limit=100)["entries"] if e["what"] == "flip"][-1]
    assert entry["target"] == "wrong-purpose (forced)"
    for name in ("ä" * 200, "x" + "ä" * 200):  # also where there is no room for the target itself
        with pytest.raises(Refused):
            site.gateway.rpc("flip", target=[name], force=True)
        entry = [e for e in site.gateway.rpc("audit.list", limit=100)["entries"] if e["what"] == "flip"][-1]
        assert entry["target"].endswith("ä (forced)"), entry
    assert site.gateway.log.find(r"lint-overridden device=wrong-purpose")


def test_anchors_say_where_identities_come_from(plant, pki):
    """They are read again by a reload, and a file that is none of a CA changes nothing."""
    site = plant([], start=False)
    site.gateway.install("one")
    site.__enter__()
    assert site.gateway.device("one")["phase"] == "staged"
    site.gateway.conf["lint"] = {"anchors": [pki.old.cert]}
    site.gateway.reload()
    state = site.gateway.device("one")
    assert state["phase"] == "steady" and "[lint.chain-incomplete]" in state["slots"]["new"]["fault"], state
    reports = site.gateway.rpc("identity.lint", target="one")["reports"]
    assert [r["trusted"] for r in reports] == [True, False]
    site.gateway.conf["lint"] = {"anchors": [pki.old.cert, pki.new.cert]}
    site.gateway.reload()
    assert site.gateway.device("one")["phase"] == "staged"
    bad = os.path.join(site.gateway.folder, "bad.pem")
    with open(bad, "w", encoding="ascii") as out:
        out.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    site.gateway.conf["lint"] = {"anchors": [bad]}
    with pytest.raises(Refused) as refused:
        site.gateway.reload()
    assert "bad.pem" in str(refused.value)
    assert site.gateway.device("one")["phase"] == "staged"


def test_revoked_identities_are_found(plant, pki, tmp_path):
    """By configured lists, and by those that come at run time."""
    ca = Authority(tmp_path, "Identities CA")
    ids = {d: pki.identity(d, "new", ca=ca) for d in ("early", "late", "good")}
    first = ca.revoke(ids["early"])
    site = plant([], start=False)
    for device, pair in ids.items():
        site.gateway.install(device, new=pair)
    site.gateway.conf["listeners"][0]["anchors"].append(ca.cert)
    site.gateway.conf["lint"] = {"crls": [first]}
    site.gateway.write()
    site.gateway.start(wait=False)
    site.gateway.log.wait("lint.crls: nobody is known to sign the lists")
    assert site.gateway.wait_exit() != 0
    site.gateway.conf["lint"] = {"crls": [first], "anchors": [pki.old.cert, ca.cert]}
    site.__enter__()
    found = {d: site.gateway.device(d) for d in ids}
    assert {d: f["phase"] for d, f in found.items()} == {"early": "steady", "late": "staged", "good": "staged"}
    assert "[lint.revoked]" in found["early"]["slots"]["new"]["fault"], found["early"]
    with open(ca.revoke(ids["late"]), encoding="ascii") as f:
        site.gateway.rpc("crl.update", crl=f.read())
    reports = site.gateway.rpc("identity.lint", target=["late", "good"], slot="new")["reports"]
    assert {r["device"]: any(f["code"] == "lint.revoked" for f in r["findings"]) for r in reports} == {
        "late": True, "good": False}
    for device in ("early", "late"):
        with pytest.raises(Refused) as refused:
            site.gateway.flip(device)
        assert "revoked" in str(refused.value), device
    site.gateway.flip("good", probation_s=3600)
    site.gateway.reload()
    assert "[lint.revoked]" in site.gateway.device("late")["slots"]["new"]["fault"], "a reload keeps it"
    with pytest.raises(Refused):
        site.gateway.flip("late")


# -- certificates of others


def _pems(corpus):
    for folder, _, files in os.walk(corpus):
        for f in sorted(files):
            if f.endswith((".pem", ".crt", ".cer", ".der")):
                yield os.path.join(folder, f)


@pytest.mark.skipif("CERTFLIP_CORPUS" not in os.environ, reason="CERTFLIP_CORPUS names no folder of certificates")
def test_whatever_others_have_is_judged():
    """Each file of the corpus is read or refused, quickly, and without a word of a sanitizer."""
    seen = refused = 0
    for path in _pems(os.environ["CERTFLIP_CORPUS"]):
        done = subprocess.run([binary("certflipctl"), "lint", "--json", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, timeout=seconds(20))
        assert done.returncode in (0, 1, 5, 6), (path, done.stderr)
        seen += 1
        refused += done.returncode == 1
    print("%d files, %d hold no certificate" % (seen, refused))
    assert seen
