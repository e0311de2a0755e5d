"""Fixtures of the scenarios.  Set CERTFLIP_TEST_TIMEOUT_FACTOR=4 on a slow machine or under TSan."""

import os
import shutil
import sys
import tempfile
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib.gateway import RUN, binary  # noqa: E402
from lib.link import Link, unavailable  # noqa: E402
from lib.machine import PLANT, Machine, unavailable as no_machine  # noqa: E402
from lib.mqtt import Reactor  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.plant import DIRECT, Plant  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--builddir", help="where certflip was built (default: $CERTFLIP_BUILD)")


    parser.addoption("--direct", action="store_true", help="without certflip in between: do the tests expect what "
                     "the broker does?  For those of the data plane")


# Where programs and tests put what is nobody else's: $TMPDIR of all of them, checked and removed at the end.
SCRATCH = "CERTFLIP_TEST_SCRATCH"


def pytest_configure(config):
    if SCRATCH not in os.environ:  # else of a worker of pytest-xdist, which has it from the first process
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest keeps some folders for who looks for a fault
        config.scratch = tempfile.mkdtemp(prefix="certflip-test-", dir="/tmp")  # short: sockets lie there
        os.chmod(config.scratch, 0o755)
        os.environ[SCRATCH] = os.environ["TMPDIR"] = tempfile.tempdir = config.scratch
    if config.getoption("--direct"):
        os.environ[DIRECT] = "1"
    if config.getoption("--builddir"):
        os.environ["CERTFLIP_BUILD"] = config.getoption("--builddir")
    if not config.getoption("--collect-only"):
        try:
            binary("certflipd")
        except RuntimeError as e:
            raise pytest.UsageError(str(e)) from None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """What has been left in the scratch folder is a fault of who made it: each name says who.

    The folders of gateways' sockets are ours, and go with it.
    """
    session.config.left = sorted(name for name in os.listdir(session.config.scratch) if not name.startswith(RUN)
                                 ) if hasattr(session.config, "scratch") else []
    if session.config.left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if getattr(config, "left", None):
        terminalreporter.section("left behind in $TMPDIR", red=True)
        for name in config.left:
            path = os.path.join(config.scratch, name)
            terminalreporter.line("%s: %s" % (name, " ".join(os.listdir(path)) if os.path.isdir(path) else "a file"))


def pytest_unconfigure(config):
    if hasattr(config, "scratch"):
        shutil.rmtree(config.scratch, ignore_errors=True)


# Of files that go side by side (pytest -n) the long ones begin.
LONG = ("test_the_matrix_of_flips", "test_power_cuts", "test_flips_on_bad_links", "test_catalogue_of_bad_candidates",
        "test_refused_identity_rolls_back", "test_a_trial_needs_evidence", "test_many_trials_and_an_outage",
        "test_tls_sessions_are_never_resumed")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def reactor():
    r = Reactor()
    yield r
    r.stop()


@pytest.fixture(scope="module")
def site(request, tmp_path_factory, pki, reactor):
    """One plant for a whole module; site.fresh() gives each test devices of its own.

    A module may say SITE = {...} (arguments of Plant); it has 80 devices unless it says otherwise.
    """
    options = dict(getattr(request.module, "SITE", {}))
    options.setdefault("devices", ["dev-%02d" % i for i in range(1, 81)])
    with Plant(tmp_path_factory.mktemp("site"), pki, reactor, **options) as p:
        yield p


@pytest.fixture
def machine():
    """A machine of its own with an integrator's plant on it (see lib.machine and data/plant.sh)."""
    why = no_machine()
    if why:
        pytest.skip(why)
    with open(PLANT, encoding="utf-8") as f, Machine() as made:
        made.run(f.read())
        yield made


@pytest.fixture
def links():
    """A function that makes links (see lib.link.Link); skips the test where there can be none."""
    why = unavailable()
    if why:
        pytest.skip(why)
    made = []

    def make(*args, **options):
        made.append(Link(*args, **options))
        return made[-1]
    yield make
    for link in made:
        link.close()


@pytest.fixture
def plant(tmp_path, pki, reactor):
    """A function that makes plants (see lib.plant.Plant); all that it made is ended and checked after the test."""
    made = []
    one_at_a_time = threading.Lock()

    def make(devices=(), start=True, **options):
        with one_at_a_time:
            folder = tmp_path / ("plant%d" % len(made))
            p = Plant(folder, pki, reactor, devices, **options)
            made.append(p)
        return p.__enter__() if start else p
    yield make
    faults = []
    for p in reversed(made):
        try:
            p.__exit__(None)
        except BaseException as e:  # every plant is ended, then the first fault is told
            faults.append(e)
    if faults:
        raise faults[0]
