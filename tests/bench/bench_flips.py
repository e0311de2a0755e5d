#!/usr/bin/python3
"""Thousands of devices on one gateway, flipped and rolled back by one command each, under traffic.

fleet.c plays the devices (plaintext, MQTT 3.1.1, numbered messages of QoS 1 both ways) and the back office; a real
mosquitto takes their mutual TLS.  Told are flips in a second, CPU, memory, the hold of each session, how long the control
socket takes to answer meanwhile, and what was lost, came twice or was cut off, of which nothing may be.

All of them share this machine: next to the flips in a second stands what mosquitto alone takes from a client that does
nothing but handshakes.

    bench_flips.py --build DIR                     10,000 devices, about two minutes
    bench_flips.py --build DIR --devices 1000
    bench_flips.py --build DIR --rtt 50            with a link between gateway and broker (root)
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))

from lib.broker import Mosquitto  # noqa: E402
from lib.fleet import Fleet, build, issue  # noqa: E402
from lib.gateway import Certflipd  # noqa: E402
from lib.link import Link  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.wait import until  # noqa: E402

SPARE_FILES = 200  # of the gateway, beside two for each device and one for each that moves


class Quiet(Mosquitto):
    """Without the lines for each connection and packet: that is not what is measured."""

    def write(self):
        super().write()
        with open(self.conf, encoding="utf-8") as f:
            text = f.read()
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(text.replace("log_type all", "log_type error")
                    .replace("connection_messages true", "connection_messages false"))
            if self.host:  # the back office is with the devices
                f.write("listener %d %s\nallow_anonymous true\n" % (self.port, self.address))


def cpu_s(pid):
    """User and system time of the process, nanoseconds from the kernel."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_kib(pid, what):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(what + ":"))


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))] if values else float("nan")


class Phase:
    """One command for all, until the last of them has moved."""

    def __init__(self, bench, name, command):
        gateway, broker, fleet, count = bench.gateway, bench.broker, bench.fleet, bench.count
        fleet("mark")
        log_at = os.path.getsize(gateway.log.path)
        cpu, broker_cpu = cpu_s(gateway.pid), cpu_s(broker.process.pid)
        self.name, self.answers, self.widest = name, [], 0
        start = time.monotonic()
        done = command()
        self.command_s = time.monotonic() - start
        assert done["done"] == count, done
        seen = 0
        while seen < count:
            asked = time.monotonic()
            status = gateway.rpc("status")
            self.answers.append(time.monotonic() - asked)
            self.widest = max(self.widest, status["pace"]["moving"])
            if status["pace"]["waiting"] == 0 and status["pace"]["moving"] == 0:
                break
            time.sleep(0.1)
        self.wall_s = time.monotonic() - start
        # Without what the traffic alone costs.
        self.cpu_s = cpu_s(gateway.pid) - cpu - bench.idle_cpu[0] * self.wall_s
        self.broker_cpu_s = cpu_s(broker.process.pid) - broker_cpu - bench.idle_cpu[1] * self.wall_s
        self.rss_kib = memory_kib(gateway.pid, "VmRSS")
        with open(gateway.log.path, encoding="utf-8", errors="replace") as f:
            f.seek(log_at)
            self.holds = [int(line.rsplit("hold_us=", 1)[1].split()[0]) / 1000 for line in f if " rehomed " in line]
        self.stat = fleet("stat")

    def row(self, count):
        return "| %s | %d | %.1f | %.0f | %.2f | %.2f | %.2f / %.2f / %.1f | %.1f / %.1f | %d | %.0f / %.0f |" % (
            self.name, len(self.holds), self.wall_s, count / self.wall_s, self.cpu_s / count * 1000,
            self.broker_cpu_s / count * 1000, percentile(self.holds, 0.5), percentile(self.holds, 0.99),
            max(self.holds, default=0), self.stat["p99_ms"], self.stat["max_ms"], self.widest,
            statistics.median(self.answers) * 1000, max(self.answers + [self.command_s]) * 1000)


HEAD = ("| | moves | s | flips/s | certflipd: CPU ms / flip | mosquitto: CPU ms / flip | hold p50 / p99 / max, ms "
        "| sensor's PUBACK p99 / max, ms | at once, at most | status, median / max incl. the command, ms |\n" + "| --- " * 10 + "|")


class Bench:
    def __init__(self, args, folder):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        most = (hard - args.concurrent - SPARE_FILES) // 2
        self.count = min(args.devices, most)
        if self.count < args.devices:
            print("RLIMIT_NOFILE is %d here, which is enough for %d devices" % (hard, self.count), file=sys.stderr)
        self.args, self.folder = args, folder
        program = build(folder)
        self.pki = Pki(os.path.join(folder, "pki"))
        self.link = Link() if args.rtt else None
        if self.link:
            self.link.weather(rtt_ms=args.rtt)
        self.broker = Quiet(os.path.join(folder, "broker"), self.pki, host=self.link and self.link.broker)
        self.gateway = Certflipd(
            os.path.join(folder, "gateway"), self.pki, self.broker, host=self.link and self.link.gateway,
            workers=args.workers,
            rules=[{"name": "{client_id}", "match": {"listener": "plain"}}],
            limits={"connections": self.count + 100}, flip={"concurrent": args.concurrent, "jitter_ms": 0})
        # As shipped: a bench that ends tidily is no reason for other waits.
        for key in ("backoff_tls_s", "backoff_network_s"):
            del self.gateway.conf["flip"][key]
        self.gateway.listener("plain")["backlog"] = 4096
        if args.central:
            self.pki.prepare(["gw"], sensors=False)
            self.gateway.install("gw", new=False)
            self.gateway.conf["management"] = {"enabled": True, "device": "gw",
                                               "socket": os.path.join(self.gateway.run, "management.sock")}
        start = time.monotonic()
        issue(program, self.pki, self.gateway.identities, self.count)
        print("%d identities in %.1f s" % (2 * self.count, time.monotonic() - start), file=sys.stderr, flush=True)
        self.fleet = Fleet(program, self.count, self.gateway, self.broker)

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def run(self):
        self.broker.start()
        pair = self.pki.identity("shaker", "old")
        shaken = self.fleet("shake", self.broker.tls_port, self.pki.server_ca.cert, pair.chain, pair.key, 5, 16)
        self.gateway.start()
        empty = memory_kib(self.gateway.pid, "VmRSS")
        start = time.monotonic()
        self.fleet("connect", 50)
        self.say("%d devices connected in %.1f s" % (self.count, time.monotonic() - start))
        idle = memory_kib(self.gateway.pid, "VmRSS")
        self.fleet("go", self.args.interval * 1000)
        time.sleep(self.args.interval)
        pids = (self.gateway.pid, self.broker.process.pid)
        cpu, asleep = [cpu_s(p) for p in pids], time.monotonic()
        time.sleep(self.args.interval)
        asleep = time.monotonic() - asleep
        self.idle_cpu = [(cpu_s(p) - c) / asleep for p, c in zip(pids, cpu)]
        before = self.fleet("stat")
        phases = []
        for _ in range(self.args.rounds):
            phases.append(Phase(self, "flip", lambda: self.gateway.rpc("flip", target="dev-*", probation_s=1)))
            self.say(phases[-1].row(self.count))
            self._until_phase("committed")
            phases.append(Phase(self, "rollback", lambda: self.gateway.rpc("rollback", target="dev-*")))
            self.say(phases[-1].row(self.count))
            self._until_phase("rolled_back")
            self.gateway.rpc("quarantine.clear", target="dev-*")
        peak = memory_kib(self.gateway.pid, "VmHWM")
        stat = self.fleet("quiet", 60)
        moves = sum(len(p.holds) for p in phases)
        until("the workers have told how many moved",
              lambda: self.gateway.rpc("status")["counters"]["rehomes"] >= moves, 5)
        status = self.gateway.rpc("status")
        counters = status["counters"]
        print("%s; %d devices, a message each way in %d s for each; round trip %s" % (
            machine(), self.count, self.args.interval, "%d ms" % self.args.rtt if self.args.rtt else "that of the loopback"))
        print()
        print(HEAD)
        for phase in phases:
            print(phase.row(self.count))
        print()
        print("- mosquitto alone, from one client that does nothing but TLS 1.3 handshakes and CONNECT: %.0f a second, "
              "%.2f ms of the client's CPU each" % (shaken["done"] / shaken["wall_s"], shaken["cpu_s"] / shaken["done"] * 1000))
        print("- memory of certflipd: %.1f MiB with all identities, %.1f with all connected (%.1f KiB each), %.1f at most" % (
            empty / 1024, idle / 1024, (idle - empty) / self.count, peak / 1024))
        print("- traffic alone: CPU s in a second of certflipd %.3f, mosquitto %.3f; it is taken off above" % tuple(self.idle_cpu))
        print("- before the flips: PUBACK p50 %.2f ms, p99 %.2f, max %.2f" % (before["p50_ms"], before["p99_ms"], before["max_ms"]))
        print("- messages up %(up)d, down %(down)d: lost %(missing)d, out of place %(skipped)d, twice %(twice)d; "
              "connections of devices cut off: %(ended)d" % stat)
        print("- by the gateway's account: re-homes %(rehomes)d, failed %(rehomes_failed)d, replayed %(replayed)d, "
              "messages lost %(rehome_lost)d" % counters)
        if self.args.central:
            print("- events for the centre that were dropped: %d" % status["central"]["events_dropped"])
        bad = stat["missing"] + stat["skipped"] + stat["twice"] + stat["ended"]
        if self.args.json:
            with open(self.args.json, "w", encoding="utf-8") as f:
                json.dump({"devices": self.count, "machine": machine(), "alone": shaken, "stat": stat, "counters": counters,
                           "memory_kib": {"identities": empty, "connected": idle, "peak": peak},
                           "phases": [{k: v for k, v in vars(p).items()} for p in phases]}, f, indent=1)
        return 1 if bad else 0

    def _until_phase(self, phase):
        until(lambda: "all are %s: %s" % (phase, self.gateway.rpc("status")["devices"]),
              lambda: self.gateway.rpc("status")["devices"][phase] == self.count, 300, 0.2)

    def stop(self):
        self.gateway.stop()  # first: thousands of devices that break off would all be cleared up after
        self.fleet.stop()
        self.broker.stop()
        if self.link:
            self.link.close()


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "?")
    return "%s, %d CPUs, Linux %s" % (model, os.cpu_count(), platform.release())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with certflipd, built with optimisation")
    parser.add_argument("--devices", type=int, default=10000)
    parser.add_argument("--interval", type=int, default=5, metavar="S", help="a message each way of each device (default 5 s)")
    parser.add_argument("--concurrent", type=int, default=500, help="flip.concurrent (default: as shipped)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--central", action="store_true", help="with a management client that publishes each transition")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rtt", type=int, default=0, metavar="MS", help="put a link of so much between gateway and broker (root)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    args = parser.parse_args()
    os.environ["CERTFLIP_BUILD"] = os.path.abspath(args.build)
    folder = tempfile.mkdtemp(prefix="certflip-flips-", dir="/tmp")
    bench = None
    try:
        bench = Bench(args, folder)
        return bench.run()
    finally:
        if bench is not None:
            bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
