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
import json
import os
import sys
import time
from pathlib import Path

from sides import CLIENTS, MIB, Server, Side, build_fsload, find_peer, load, run, table, workspace


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
        fsload = build_fsload(where)
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
