#!/usr/bin/env python3
"""A directory with very many entries, and a tree with as many files: made through several mounts, listed, walked, removed.

Prints one JSON object: seconds, rates and the largest resident memory of a client in each phase. Fails where `ls -f`
prints nothing within a second, a client needs more than 200 MiB, or an entry is lost or listed twice.

    tests/services/with.py redis -- tests/system/big_directory.py --engine redis --entries 1000000
"""

import argparse
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Mount, Volume, add_client_arguments, client_of, workspace  # noqa: E402

PER_DIRECTORY = 1000  # files in each directory of the tree
MEMORY_MIB_MAX = 200
FIRST_OUTPUT_S_MAX = 1.0


def create(paths: list[str]):
    for path in paths:
        os.mknod(path, stat.S_IFREG | 0o644)


def in_parallel(body, parts: list):
    processes = [multiprocessing.Process(target=body, args=(part,)) for part in parts]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    assert all(p.exitcode == 0 for p in processes), "a creating process failed"


class Memory:
    """The largest resident memory of clients since the last question."""

    def __init__(self, mounts: list[Mount]):
        self.mounts = mounts
        self.peak_mib()

    def peak_mib(self) -> int:
        peaks = []
        for mount in self.mounts:
            process = Path(f"/proc/{mount.process.pid}")
            lines = (process / "status").read_text().splitlines()
            peaks.append(int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024)
            (process / "clear_refs").write_text("5")  # the mark starts anew
        return max(peaks)


class Phases:
    def __init__(self, memory: Memory):
        self.memory = memory
        self.results = {}

    def run(self, name: str, count: int, body):
        started = time.monotonic()
        more = body() or {}
        seconds = time.monotonic() - started
        self.results[name] = {"seconds": round(seconds, 2), "per_second": round(count / seconds),
                              "client_peak_mib": self.memory.peak_mib(), **more}
        print(f"{name}: {self.results[name]}", file=sys.stderr, flush=True)


def list_names(directory: Path, expected: int) -> dict:
    """ls -f: when it began to print, and that it printed each entry once."""
    started = time.monotonic()
    with subprocess.Popen(["ls", "-f", directory], stdout=subprocess.PIPE) as ls:
        names = ls.stdout.read1(1)
        first = time.monotonic() - started
        names += ls.stdout.read()
    assert ls.returncode == 0, f"ls ended with {ls.returncode}"
    lines = names.split()
    assert len(lines) == len(set(lines)) == expected + 2, \
        f"{len(lines)} names, {len(set(lines))} different ones, expected {expected} and the two dots"
    return {"first_output_s": round(first, 3)}


def walk(root: Path, expected: int) -> dict:
    found = int(subprocess.run(f"find '{root}' -type f -printf x | wc -c", shell=True, check=True,
                               capture_output=True, text=True).stdout)
    assert found == expected, f"the walk found {found} files, expected {expected}"
    return {}


def remove(root: Path) -> dict:
    subprocess.run(["rm", "-r", root], check=True)
    assert not root.exists()
    return {}


def spread(names: list[str], mounts: list[Mount], workers: int) -> list[list[str]]:
    """The paths of `names` below the mounts, for `workers` processes on each."""
    parts = len(mounts) * workers
    return [[f"{mounts[i % len(mounts)].path}/{name}" for name in names[i::parts]] for i in range(parts)]


def run_phases(mounts: list[Mount], options) -> dict:
    first, last = mounts[0], mounts[-1]
    phases = Phases(Memory(mounts))
    count = options.entries
    (first.path / "big").mkdir()
    names = [f"big/entry-{i:08}" for i in range(count)]
    phases.run("create", count, lambda: in_parallel(create, spread(names, mounts, options.workers)))
    phases.run("list", count, lambda: list_names(last.path / "big", count))
    phases.run("remove", count, lambda: remove(last.path / "big"))
    if options.no_tree:
        return phases.results
    (first.path / "tree").mkdir()
    for i in range(0, count, PER_DIRECTORY):
        (first.path / f"tree/dir-{i // PER_DIRECTORY:05}").mkdir()
    names = [f"tree/dir-{i // PER_DIRECTORY:05}/file-{i:08}" for i in range(count)]
    phases.run("create_tree", count, lambda: in_parallel(create, spread(names, mounts, options.workers)))
    phases.run("walk_tree", count, lambda: walk(last.path / "tree", count))
    phases.run("remove_tree", count, lambda: remove(last.path / "tree"))
    return phases.results


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_client_arguments(arguments)
    arguments.add_argument("--entries", type=int, default=1_000_000)
    arguments.add_argument("--mounts", type=int, default=2)
    arguments.add_argument("--workers", type=int, default=2, help="creating processes on each mount")
    arguments.add_argument("--no-tree", action="store_true", help="only the one directory")
    arguments.add_argument("--measure-only", action="store_true", help="print, but compare with no limit (for the peer)")
    options = arguments.parse_args()
    with client_of(options) as (client, mount_options), workspace("big") as where:
        volume = Volume(where, engine=options.engine)
        client.format(volume)
        mounts = [Mount(client, volume, where / f"mnt{i}", *mount_options) for i in range(options.mounts)]
        try:
            for mount in mounts:
                mount.start()
            results = run_phases(mounts, options)
            for mount in mounts:
                mount.stop()
        finally:
            for mount in mounts:
                mount.cleanup()
    print(json.dumps({"engine": options.engine, "client": options.client, "entries": options.entries, **results}))
    if options.measure_only:
        return 0
    peak = max(phase["client_peak_mib"] for phase in results.values())
    first = results["list"]["first_output_s"]
    if peak > MEMORY_MIB_MAX or first > FIRST_OUTPUT_S_MAX:
        print(f"too much: {peak} MiB of memory (at most {MEMORY_MIB_MAX}), first output after {first} s (at most "
              f"{FIRST_OUTPUT_S_MAX})")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
