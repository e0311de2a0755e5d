#!/usr/bin/python3
"""How long a flip holds a device's traffic, over links of 0, 50 and 200 ms.

The bound: at most 2 round trips and 2 ms at the 99th percentile, beyond the wait for what is under way to be acknowledged.
Both ends of the link are network namespaces (lib/link.py), so this needs root.  A real mosquitto, MQTT 3.1.1; flips and
rollbacks alternate, one device shortly after the other.

Two clocks: certflipd's own (hold_us less drain_us of its log), and, under load, the sensor's: the longest gap between two
PUBACKs around the flip, less the usual gap and less the one round trip that the first PUBACK after the hold takes anyway.

    bench_hold.py --build DIR             everything, about five minutes;  --quick  a minute
    bench_hold.py --build DIR --rtt 50    one link
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))

from lib import link as links  # noqa: E402
from lib import packets as p  # noqa: E402
from lib.mqtt import Client, Reactor  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.plant import Plant  # noqa: E402
from lib.streams import NumberedStreams  # noqa: E402

INTERVAL_S = 0.05  # of each device's messages, under load
APART_S = 0.03  # between the commands to two devices: one handshake does not wait for another
AROUND_S = 0.5  # a flip is over so long after its command, and ten round trips


class Sensor(Client):
    """Remembers when each PUBACK came."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.acks = []

    def _handle(self, packet):
        if packet.kind == p.PUBACK:
            self.acks.append(time.monotonic())
        super()._handle(packet)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.pki = Pki(os.path.join(folder, "pki"))
        self.reactor = Reactor()
        self.rows = []
        self.bare = []  # (RTT, p50, p99) of two round trips without a broker: what the link itself takes

    def run(self):
        for rtt_ms in self.args.rtt:
            self.measure_link(rtt_ms)
            for tls in self.args.tls:
                self.plant(rtt_ms, tls)
        self.reactor.stop()

    def measure_link(self, rtt_ms):
        """A byte there and back, twice, as a flip's least is."""
        took = []
        with links.Link() as link:
            link.weather(rtt_ms=rtt_ms)
            far = link.broker.socket(socket.AF_INET, socket.SOCK_STREAM)
            far.bind((link.broker.address, 0))
            far.listen()
            near = link.gateway.socket(socket.AF_INET, socket.SOCK_STREAM)
            near.connect(far.getsockname())
            there = far.accept()[0]
            for end in (near, there):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.echo, args=(there,), daemon=True).start()
            for _ in range(20 if self.args.quick else 50):
                begin = time.monotonic()
                for _ in range(2):
                    near.sendall(b"x")
                    near.recv(1)
                took.append((time.monotonic() - begin) * 1000)
            for end in (near, far):
                end.close()
        self.bare.append((rtt_ms, percentile(took, .5), percentile(took, .99)))

    @staticmethod
    def echo(end):
        with end:
            while byte := end.recv(1):
                end.sendall(byte)

    def plant(self, rtt_ms, tls):
        link = links.Link()
        # Ahead of whatever else runs on this machine, as if it were quiet; the daemon has a CPU of its own.
        link.broker.enter += ("chrt", "-f", "1", "taskset", "-c", "0")
        link.gateway.enter += ("chrt", "-f", "1", "taskset", "-c", str(os.cpu_count() - 1))
        devices = ["%s-%02d" % (will, i) for will in ("will", "none") for i in range(self.args.devices)]
        folder = os.path.join(self.folder, "%s-%s" % (rtt_ms, tls))
        try:
            with Plant(folder, self.pki, self.reactor, devices, link=link, upstream={"tls_min": tls, "tls_max": tls},
                       flip={"jitter_ms": 0, "probation_s": 1}) as site:
                link.weather(rtt_ms=rtt_ms)
                sensors = {d: self.connect(site, d) for d in devices}
                for load in self.args.load:
                    self.measure(site, rtt_ms, tls, sensors, load)
        finally:
            link.close()

    def connect(self, site, device):
        sensor = Sensor(self.reactor, ("127.0.0.1", site.gateway.plain_port), None, 4, host=site.here)
        sensor.connect(device, timeout=30, keepalive=0,
                       will=("will/" + device, "died", 1, False) if device.startswith("will") else None)
        site.clients.append(sensor)
        return sensor

    def measure(self, site, rtt_ms, tls, sensors, load):
        print("hold: %d ms, TLS %s, %s" % (rtt_ms, tls, load), file=sys.stderr, flush=True)
        streams = None
        if load == "loaded":
            streams = NumberedStreams(sensors, site.observer(), 1, interval=INTERVAL_S, window=30,
                                      prefix="l%s/" % tls).start()
            streams.progress(20, timeout=60)
        held = {d: [] for d in sensors}  # (microseconds by certflipd, when it was told to by our clock)
        for _ in range(self.args.cycles):
            for slot, phase, command in (("new", "committed", site.gateway.flip),
                                         ("old", "rolled-back", site.gateway.rollback)):
                mark = site.gateway.log.mark()
                told = {}
                for device in sensors:
                    told[device] = time.monotonic()
                    command(device)
                    time.sleep(APART_S)
                for device in sensors:
                    found = site.gateway.log.wait(r"\brehomed device=%s slot=%s .*hold_us=(\d+) drain_us=(\d+)" % (
                        device, slot), mark, 30)
                    held[device].append((int(found[1]) - int(found[2]), told[device]))
                for device in sensors:
                    site.gateway.wait_device(device, phase=phase, timeout=60)
            site.gateway.rpc("quarantine.clear", target=list(sensors))
        if streams:
            streams.progress(10, timeout=60)
            if not streams.stop():
                raise RuntimeError("messages were lost:\n" + streams.summary())
        for will in ("none", "will"):
            mine = [us for d in held if d.startswith(will) for us, _ in held[d]]
            seen = [g for d in held if d.startswith(will) for g in self.gaps(sensors[d], held[d], rtt_ms)] if streams else []
            self.rows.append({"rtt_ms": rtt_ms, "tls": tls, "load": load, "will": will == "will", "flips": len(mine),
                              "bound_ms": 2 * rtt_ms + 2,
                              "p50_ms": percentile(mine, .5) / 1000, "p99_ms": percentile(mine, .99) / 1000,
                              "seen_p50_ms": percentile(seen, .5) if seen else None,
                              "seen_p99_ms": percentile(seen, .99) if seen else None})

    @staticmethod
    def gaps(sensor, held, rtt_ms):
        """What the sensor saw of each hold, in milliseconds."""
        gaps = [(a, b - a) for a, b in zip(sensor.acks, sensor.acks[1:])]
        usual = statistics.median(g for _, g in gaps)
        for _, told in held:
            around = [g for a, g in gaps if told < a < told + AROUND_S + rtt_ms / 100]
            if around:
                yield max(0, (max(around) - usual) * 1000 - rtt_ms)

    def table(self):
        def ms(value):
            return "" if value is None else "%.1f" % value
        out = ["| link | TLS | load | Will | flips | hold p50 | p99 | bound | | seen by the sensor p50 | p99 |",
               "|" + " --- |" * 11]
        for r in self.rows:
            out.append("| %d ms | %s | %s | %s | %d | %s ms | %s ms | %d ms | %s | %s | %s |" % (
                r["rtt_ms"], r["tls"], r["load"], "yes" if r["will"] else "no", r["flips"], ms(r["p50_ms"]), ms(r["p99_ms"]),
                r["bound_ms"], "met" if r["p99_ms"] <= r["bound_ms"] else "MISSED", ms(r["seen_p50_ms"]),
                ms(r["seen_p99_ms"])))
        out += ["", "- hold: beyond the wait for what was under way; the round trip is the link's alone, what the machine "
                "and the broker add is in the figure", "- the sensor's figures hold what its own scheduling adds, and its "
                "messages are %d ms apart: a gap can be seen as up to so much too long" % (INTERVAL_S * 1000)]
        out += ["- two bare round trips on the link of %d ms: p50 %.1f ms, p99 %.1f ms" % row for row in self.bare]
        return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with certflipd, built with optimisation")
    parser.add_argument("--quick", action="store_true", help="few flips")
    parser.add_argument("--rtt", nargs="+", type=int, default=[0, 50, 200], metavar="MS")
    parser.add_argument("--tls", nargs="+", default=["1.2", "1.3"], choices=["1.2", "1.3"])
    parser.add_argument("--load", nargs="+", default=["idle", "loaded"], choices=["idle", "loaded"])
    parser.add_argument("--devices", type=int, help="with a Will, and as many without (default: 10, with --quick 4)")
    parser.add_argument("--cycles", type=int, help="flip and rollback of each (default: 5, with --quick 2)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    args = parser.parse_args()
    args.devices = args.devices or (4 if args.quick else 10)
    args.cycles = args.cycles or (2 if args.quick else 5)
    os.environ["CERTFLIP_BUILD"] = os.path.abspath(args.build)
    why = links.unavailable()
    if why:
        print("hold: not measured: " + why)
        return 0
    folder = tempfile.mkdtemp(prefix="certflip-hold-", dir="/tmp")
    try:
        bench = Bench(args, folder)
        bench.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(bench.table(), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(bench.rows, f, indent=1)
            f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
