#!/usr/bin/python3
"""A whole campaign of certflip-fleet over simulated gateways and one mosquitto: time, memory and messages, and how they
grow with the fleet.

    make fleet-scale                                10 x 100, 100 x 100, 1000 x 100
    make fleet-scale FLEET_FLAGS='--sizes 300x100 --sign openssl --faults 0.01'
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scenario"))

from lib.broker import Mosquitto  # noqa: E402
from lib.campaign import Campaign, Simulation  # noqa: E402
from lib.pki import Authority, Pki  # noqa: E402
from lib.wait import until  # noqa: E402

PHASES = ("prepare", "migrate", "validate", "retire")


class Watch:
    """What the simulation has seen, and when: the phases as the gateways know them."""

    def __init__(self, sim, devices, begun):
        self.sim, self.devices, self.begun = sim, devices, begun
        self.ends = {}
        self.stats = sim.stats()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        while not self._stop.wait(0.1):
            self.stats = s = self.sim.stats()
            now = time.monotonic() - self.begun
            if s["flips"]:
                self.ends.setdefault("prepare", now)
            if s["migrated"] >= self.devices or s["retires"]:
                self.ends.setdefault("migrate", now)
            if s["retires"]:
                self.ends.setdefault("validate", now)

    def end(self):
        self._stop.set()
        self._thread.join()
        self.ends["retire"] = time.monotonic() - self.begun
        self.stats = self.sim.stats()
        return self.stats

    def phases(self):
        """{phase: seconds}"""
        out, last = {}, 0
        for phase in PHASES:
            if phase in self.ends:
                out[phase] = self.ends[phase] - last
                last = self.ends[phase]
        return out


def run(folder, pki, gateways, devices, build, sign="ca", faults=0.0, changes=None, expect=0):
    """One campaign; a dict of what it took."""
    broker = Mosquitto(os.path.join(folder, "broker"), pki, extra="max_keepalive 600")
    with open(broker.conf, encoding="utf-8") as f:
        text = f.read()
    with open(broker.conf, "w", encoding="utf-8") as f:  # a line for each message would be the most of its work
        f.write(text.replace("log_type all", "log_type error"))
    spare = Authority(folder, "Spare Server CA")
    total = gateways * devices
    with broker, Simulation(os.path.join(folder, "sim"), broker.port, gateways, devices,
                            [("upstream", pki.server_ca.cert), ("upstream", spare.cert)], build=build) as sim:
        sim.wait("all have said what they are", lambda s: s["online"] == gateways and s["sent"] >= total, 120)
        if faults:
            sim("replies", "lost", faults)
            sim("replies", "twice", faults)
            sim("replies", "late", 5 * faults, 500)
            sim("flap", faults / 5, 2000)
        campaign = Campaign(folder, broker.port, "scale", pki, old_anchors=[spare.cert], program_build=build,
                            **(changes or {}))
        if sign == "openssl":
            campaign.sign_by_openssl(pki.new)
        begun = time.monotonic()
        process = campaign.start("run")
        watch = Watch(sim, total, begun)
        _, status, use = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stats = watch.end()
        took = time.monotonic() - begun
        if process.returncode != expect:
            raise RuntimeError("certflip-fleet ended with %d:\n%s" % (process.returncode, campaign.log.tail(40)))
        with open("/proc/%d/status" % broker.process.pid, encoding="ascii") as f:
            broker_kib = int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
        ledger = sum(os.path.getsize(campaign.ledger + end) for end in ("", "-wal") if os.path.exists(campaign.ledger + end))
    return {"gateways": gateways, "devices": total, "s": took, "phases": watch.phases(), "rss_kib": use.ru_maxrss,
            "cpu_s": use.ru_utime + use.ru_stime, "ledger": ledger, "stats": stats, "broker_kib": broker_kib,
            "log": campaign.log}


def row(r):
    s, n = r["stats"], r["devices"]
    phases = " ".join("%7.1f" % r["phases"].get(p, float("nan")) for p in PHASES)
    return "%5d x %3d %7.1f %s %7.1f %7.1f %9.1f %7d %9d %7.1f %7.2f %8.1f" % (
        r["gateways"], n // r["gateways"], r["s"], phases, r["cpu_s"], r["rss_kib"] / 1024, r["broker_kib"] / 1024,
        s["received"], s["sent"], s["sent"] / n, s["sent_bytes"] / n / 1024, r["ledger"] / n)


HEAD = ("     fleet       s %s   CPU s  RSS MiB  broker MiB commands  messages /device KiB/device ledger B/device"
        % " ".join("%7s" % p for p in PHASES))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--sizes", default="10x100,100x100,1000x100")
    parser.add_argument("--sign", choices=("ca", "openssl"), default="ca")
    parser.add_argument("--faults", type=float, default=0, metavar="SHARE",
                        help="so many replies are lost, as many come twice, more are late, and gateways drop off")
    args = parser.parse_args()
    os.environ["CERTFLIP_BUILD"] = args.build
    print(HEAD)
    for size in args.sizes.split(","):
        gateways, devices = map(int, size.split("x"))
        with tempfile.TemporaryDirectory(prefix="certflip-scale-") as folder:
            print(row(run(folder, Pki(os.path.join(folder, "pki")), gateways, devices, args.build, args.sign,
                          args.faults)), flush=True)


if __name__ == "__main__":
    main()
