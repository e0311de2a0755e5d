"""Fixtures of the scenarios.  Set CERTFLIP_TEST_TIMEOUT_FACTOR=4 on a slow machine or under TSan."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib.mqtt import Reactor  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.plant import Plant  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--builddir", help="where certflip was built (default: $CERTFLIP_BUILD)")


def pytest_configure(config):
    if config.getoption("--builddir"):
        os.environ["CERTFLIP_BUILD"] = config.getoption("--builddir")


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def reactor():
    r = Reactor()
    yield r
    r.stop()


@pytest.fixture
def plant(tmp_path, pki, reactor):
    """A function that makes plants (see lib.plant.Plant); all that it made is ended and checked after the test."""
    made = []

    def make(devices=(), start=True, **options):
        p = Plant(tmp_path / ("plant%d" % len(made)), pki, reactor, devices, **options)
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
