#!/usr/bin/env python3
"""Measures ZestFS beside the peer: the same engine, the same store (local disk), the same machine, one run.

For every case the clients take turns, round by round, each on a volume of its own that is mounted for the whole run.
The table gives medians and, behind them, the ratio to the peer; CPU is user + system time of the client's processes,
p50 the median time that one process waits for one operation.

  bench/compare.py                      everything, three rounds
  bench/compare.py --rounds 5 --cases create,stat --clients zest-dev,peer
  bench/compare.py --json results.json  the raw figures as well
  tests/services/with.py redis -- bench/compare.py --engine redis --cases meta1,meta8 --clients zest-dev,peer
                                        names and nodes only, on a Redis of its own, with the server's CPU
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/system"))
from harness import REPOSITORY, Client, Mount, Volume, find_peer, run, workspace  # noqa: E402

CLIENTS = {
    "zest-dev": ("zest", ["--transport=dev"]),
    "zest-uring": ("zest", ["--transport=uring"]),
    "zest-fsync": ("zest", ["--transport=dev", "--sync=fsync"]),
    "peer": ("peer", []),
}
MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Server:
    """The processes of the metadata engine's server; none for SQLite."""

    def __init__(self, engine: str):
        folder = Path(os.environ.get("ZEST_TEST_SERVICES", "/nonexistent")) / engine / "run"
        self.leaders = [int(f.read_text().split()[0]) for f in folder.glob("*.pid")] if engine != "sqlite" else []

    def cpu_seconds(self) -> float:
        """Of the leaders and of all in their sessions (PostgreSQL has a process a connection)."""
        total = sum(cpu_of(pid) for pid in self.leaders)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) in self.leaders:
                    total += cpu_of(path.parent.name)
        return total


class Side:
    """One client with its mounted volume."""

    def __init__(self, name: str, where: Path, engine: str, options: list[str]):
        kind, mount_options = CLIENTS[name]
        self.name = name
        client = Client(kind)
        volume = Volume(where, name=f"{name}vol", engine=engine)
        client.format(volume)
        self.mount = Mount(client, volume, where / name, *mount_options, *options).start()
        self.folder = 0

    def processes(self):
        """The client's process and its children (the peer's launcher starts a worker)."""
        pids, found = [self.mount.process.pid], []
        while pids:
            pid = pids.pop()
            found.append(pid)
            children = Path(f"/proc/{pid}/task/{pid}/children")
            pids += [int(p) for p in children.read_text().split()] if children.exists() else []
        return found

    def cpu_seconds(self) -> float:
        return sum(cpu_of(pid) for pid in self.processes())

    def peak_mib(self) -> float:
        total = 0
        for pid in self.processes():
            line = next(ln for ln in Path(f"/proc/{pid}/status").read_text().splitlines() if ln.startswith("VmHWM"))
            total += int(line.split()[1])
        return total / 1024

    def restarts(self) -> int | None:
        """What the client's own statistics say, where they have it."""
        stats = (self.mount.path / ".stats").read_text() if (self.mount.path / ".stats").exists() else ""
        found = re.search(r"^juicefs_transaction_restart\S* (\d+)", stats, re.M)
        return int(found[1]) if found else None

    def fresh_folder(self) -> Path:
        self.folder += 1
        path = self.mount.path / f"folder{self.folder}"
        path.mkdir()
        return path

    def forget_kernel_caches(self):
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


def load(side: Side, folder: Path, operation: str, processes: int, count: int) -> dict:
    """One run of fsload; adds the client's and the server's CPU per operation."""
    before, server_before = side.cpu_seconds(), side.server.cpu_seconds()
    result = json.loads(run(side.fsload, folder, operation, processes, count).stdout)
    result["cpu_us"] = (side.cpu_seconds() - before) * 1e6 / result["operations"]
    result["server_us"] = (side.server.cpu_seconds() - server_before) * 1e6 / result["operations"]
    return result


def metadata(side: Side, processes: int):
    """Names and nodes only: what an engine's round trips cost. `stat` is cold for the kernel."""
    count = 4000 // processes
    folder = side.fresh_folder()
    shared = ("shared:mkdir", "shared:create") if processes > 1 else ()
    for operation in ("mkdir", "rmdir", "create", "stat", "chmod", "rename", "unlink", *shared):
        if operation == "stat":
            side.forget_kernel_caches()
        result = load(side, folder, operation, processes, count)
        label = operation.replace("shared:", "") + (" in one directory" if operation in shared else "")
        yield f"{label}, {processes} proc", "op/s", result["per_second"], result["cpu_us"], result["server_us"], result["p50_us"]


def small_operations(side: Side, processes: int):
    """create → stat (cold) → readdir → open → rename → unlink on one set of files, then 4 KiB files."""
    count = 1500 // processes
    folder = side.fresh_folder()
    for operation in ("create", "stat", "readdir", "open", "rename", "unlink"):
        if operation in ("stat", "readdir", "open"):
            side.forget_kernel_caches()
        result = load(side, folder, operation, processes, count)
        yield f"{operation}, {processes} proc", "op/s", result["per_second"], result["cpu_us"], 0, result["p50_us"]
    folder = side.fresh_folder()
    result = load(side, folder, "write4k", processes, count // 2)
    yield f"write 4 KiB files, {processes} proc", "op/s", result["per_second"], result["cpu_us"], 0, result["p50_us"]
    side.forget_kernel_caches()
    result = load(side, folder, "read4k", processes, count // 2)
    yield f"read 4 KiB files, {processes} proc", "op/s", result["per_second"], result["cpu_us"], 0, result["p50_us"]


def big_file(side: Side, size_mib: int):
    """Sequential write with fsync, cold sequential read, then 4 KiB random reads, cold and cached."""
    path = side.mount.path / "big"
    fio = ["fio", "--output-format=json", f"--filename={path}", f"--size={size_mib}M", "--ioengine=psync", "--name=job"]

    def measure(*options):
        before = side.cpu_seconds()
        done = json.loads(run(*fio, *options, timeout=900).stdout)["jobs"][0]
        return done, side.cpu_seconds() - before

    done, cpu = measure("--rw=write", "--bs=1M", "--end_fsync=1", "--fallocate=none")
    yield "sequential write + fsync", "MiB/s", size_mib / (done["job_runtime"] / 1000), cpu * 1e6 / size_mib
    side.forget_kernel_caches()
    done, cpu = measure("--rw=read", "--bs=1M")
    yield "sequential read", "MiB/s", done["read"]["bw_bytes"] / MIB, cpu * 1e6 / size_mib
    side.forget_kernel_caches()
    done, cpu = measure("--rw=randread", "--bs=4k", "--runtime=5", "--time_based=1", "--io_size=40M", "--norandommap")
    yield "random read 4 KiB", "op/s", done["read"]["iops"], cpu * 1e6 / max(1, done["read"]["total_ios"])
    path.unlink()


def table(results: dict, names: list[str]) -> str:
    """Markdown: one line a case, medians, ratios to the peer."""
    against = [n for n in names if n != "peer"] if "peer" in names else []
    lines = ["| case | " + " | ".join(names + [f"{n} / peer: speed, p50, CPU" for n in against]) + " |"]
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for case, sides in results.items():
        cells = [cell(sides[name]) for name in names] + [ratios(sides[name], sides["peer"]) for name in against]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(runs: list) -> str:
    """The medians of one client's runs of one case."""
    speed, cpu, server, p50 = (statistics.median(run[i] for run in runs) for i in range(1, 5))
    return (f"{speed:,.0f} {runs[0][0]}, " + (f"p50 {p50:,.0f} µs, " if p50 else "") +
            f"CPU {cpu:,.0f} µs" + (f" + {server:,.0f} µs" if server else ""))


def ratios(runs: list, peers: list) -> str:
    """Medians of the rounds' ratios: speed, p50 where it was measured, the client's CPU."""
    def median(index):
        pairs = [run[index] / peer[index] for run, peer in zip(runs, peers) if peer[index] > 0]
        return f"{statistics.median(pairs):.2f} ×" if pairs else ""

    speed = statistics.median(run[1] / peer[1] for run, peer in zip(runs, peers))
    return ", ".join(part for part in (f"**{speed:.1f} ×**", median(4), median(2)) if part)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--clients", default=",".join(c for c in CLIENTS if c != "zest-fsync" and (c != "peer" or find_peer())))
    arguments.add_argument("--cases", default="small1,small8,big")
    arguments.add_argument("--engine", default="sqlite", help="or a service of tests/services/with.py, which runs this")
    arguments.add_argument("--size-mib", type=int, default=1024)
    arguments.add_argument("--json")
    options = arguments.parse_args()
    names = options.clients.split(",")
    results: dict = {}
    with workspace("bench") as where:
        fsload = where / "fsload"
        run("g++", "-O2", "-std=c++23", "-o", fsload, REPOSITORY / "bench/fsload.cc")
        server = Server(options.engine)
        sides = [Side(name, where, options.engine, []) for name in names]
        try:
            for number in range(options.rounds):
                for case in options.cases.split(","):
                    # Turn the order round by round, so that no client always runs on a busier machine.
                    for side in sides[number % len(sides):] + sides[:number % len(sides)]:
                        side.fsload, side.server = fsload, server
                        if case == "big":
                            steps = big_file(side, options.size_mib)
                        elif case.startswith("meta"):
                            steps = metadata(side, int(case[4:]))
                        else:
                            steps = small_operations(side, int(case[5:]))
                        for label, unit, speed, cpu, *rest in steps:
                            results.setdefault(label, {}).setdefault(side.name, []).append((unit, speed, cpu, *(rest or [0, 0])))
                        os.sync()
                        time.sleep(1)
                print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
            print(table(results, names))
            for side in sides:
                if side.restarts() is not None:
                    print(f"\n{side.name}: {side.restarts()} transactions were tried again")
            print("\nPeak resident memory: " + ", ".join(f"{s.name} {s.peak_mib():.0f} MiB" for s in sides))
        finally:
            for side in sides:
                side.mount.cleanup()
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
