#!/usr/bin/env python3
"""Measures bytes: ZestFS beside the peer and beside the plain disk, on one store, on one machine, in one run.

Each side gets a volume of its own; they take turns, round by round. CPU is user + system time of the client's processes,
for a GiB where bytes are counted, else for an operation. `disk` is the file system below the store without any client.

  tests/services/with.py redis -- bench/data.py --engine redis
  bench/data.py --cases sequential,random --sides zest-dev,peer --rounds 5
  bench/data.py --cases untar --json results.json
  tests/services/with.py redis minio -- bench/data.py --engine redis --cases small --put-ms 20
"""

import argparse
import json
import os
import random
import sys
import tarfile
import time
from pathlib import Path

from sides import CLIENTS, Server, Side, build_fsload, find_peer, load, run, table, workspace

GIB = 1 << 30


class Disk:
    """The local file system, as the limit that no client can pass."""

    def __init__(self, name: str, where: Path, _engine: str, _options: list[str], _put_delay: float):
        self.name = name
        self.root = where / name
        self.root.mkdir()
        self.folder = 0

    def fresh_folder(self) -> Path:
        self.folder += 1
        path = self.root / f"folder{self.folder}"
        path.mkdir()
        return path

    def forget_kernel_caches(self):
        Path("/proc/sys/vm/drop_caches").write_text("3\n")

    def cpu_seconds(self) -> float:
        return 0.0

    def peak_mib(self) -> float:
        return 0.0

    def cleanup(self):
        pass


class Mounted(Side):
    def cleanup(self):
        self.mount.cleanup()


def fio(side, folder: Path, jobs: int, size_mib: int, *options) -> tuple[dict, float]:
    """One run over `jobs` files of `size_mib`; fio's sums and the client's CPU seconds."""
    before = side.cpu_seconds()
    done = json.loads(run("fio", "--output-format=json", "--name=job", f"--directory={folder}", f"--numjobs={jobs}",
                          "--group_reporting", f"--size={size_mib}M", "--ioengine=psync", "--fallocate=none",
                          "--filename_format=file.$jobnum", *options, timeout=1200).stdout)["jobs"][0]
    return done, side.cpu_seconds() - before


def sequential(side, options):
    """Large files, written with a sync at the end and read cold, by one process and by sixteen."""
    for jobs, size in ((1, options.size_mib), (16, options.size_mib // 16)):
        folder = side.fresh_folder()
        for verb in ("write", "read"):
            side.forget_kernel_caches()
            done, cpu = fio(side, folder, jobs, size, f"--rw={verb}", "--bs=1M", "--end_fsync=1")
            moved = done[verb]["io_bytes"]
            yield f"{verb} {jobs} file{'s' * (jobs > 1)}", "MiB/s", moved / 2**20 / (done[verb]["runtime"] / 1000), \
                cpu * 1e6 * GIB / moved
        run("rm", "-r", folder)


def random_access(side, options):
    """4 KiB at random places of one file: reads right after a sequential one, and cold ones; writes with a sync."""
    folder = side.fresh_folder()
    fio(side, folder, 1, options.size_mib, "--rw=write", "--bs=1M", "--end_fsync=1")
    for jobs in (1, 16):
        side.forget_kernel_caches()
        timed = ("--bs=4k", f"--runtime={options.seconds}", "--time_based=1", "--norandommap",
                 f"--filename={folder}/file.0")
        done, cpu = fio(side, folder, jobs, options.size_mib, "--rw=randread", *timed)
        yield f"random read 4 KiB, {jobs} job{'s' * (jobs > 1)}", "op/s", done["read"]["iops"], \
            cpu * 1e6 / max(1, done["read"]["total_ios"]), 0, done["read"]["clat_ns"]["mean"] / 1000
    done, cpu = fio(side, folder, 1, options.size_mib, "--rw=randwrite", "--bs=4k", "--norandommap", "--end_fsync=1",
                    f"--number_ios={options.count}", f"--filename={folder}/file.0")
    yield "random write 4 KiB + sync at the end", "op/s", done["write"]["total_ios"] / (done["job_runtime"] / 1000), \
        cpu * 1e6 / max(1, done["write"]["total_ios"])
    run("rm", "-r", folder)


def small_files(side, options):
    """Files of 4, 100 and 128 KiB: created, written, closed; then read cold."""
    for kib in (4, 100, 128):
        for processes in (1, 32):
            folder = side.fresh_folder()
            for verb in ("write", "read"):
                side.forget_kernel_caches()
                result = load(side, folder, f"{verb}{kib}k", processes, max(1, options.count // processes))
                yield f"{verb} files of {kib} KiB, {processes} proc", "op/s", result["per_second"], result["cpu_us"], \
                    result["server_us"], result["p50_us"]


def make_tarball(where: Path, files: int) -> Path:
    """A source tree: mostly small files, a few large ones, twelve a directory. The same at every run."""
    chance = random.Random(1)
    path = where / "tree.tar"
    with tarfile.open(path, "w") as tar:
        source = where / "content"
        source.write_bytes(chance.randbytes(1 << 20))
        for i in range(files):
            info = tarfile.TarInfo(f"tree/dir{i // 144}/sub{i // 12 % 12}/file{i}.c")
            info.size = min(1 << 20, int(chance.lognormvariate(8.5, 1.3)))
            with open(source, "rb") as content:
                tar.addfile(info, content)
    return path


def untar(side, options):
    """tar x, a walk with cold caches, rm -r."""
    folder = side.fresh_folder()

    def timed(*command):
        before, started = side.cpu_seconds(), time.monotonic()
        run(*command, timeout=1200)
        return time.monotonic() - started, side.cpu_seconds() - before
    for name, command in (("untar", ("tar", "xf", options.tarball, "-C", folder)),
                          ("read it all", ("tar", "cf", "/dev/zero", "-C", folder, "tree")),
                          ("rm -r", ("rm", "-r", folder / "tree"))):
        side.forget_kernel_caches()
        seconds, cpu = timed(*command)
        yield f"{name}, {options.files} files", "files/s", options.files / seconds, cpu * 1e6 / options.files


CASES = {"sequential": sequential, "random": random_access, "small": small_files, "untar": untar}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    sides = ["disk", "zest-dev"] + (["peer"] if find_peer() else [])
    arguments.add_argument("--sides", default=",".join(sides), help=f"of disk, {', '.join(CLIENTS)}")
    arguments.add_argument("--cases", default=",".join(CASES))
    arguments.add_argument("--engine", default="sqlite", help="or a service of tests/services/with.py, which runs this")
    arguments.add_argument("--size-mib", type=int, default=1024, help="of the large file, and of sixteen together")
    arguments.add_argument("--count", type=int, default=1600, help="small files, and random writes")
    arguments.add_argument("--files", type=int, default=3000, help="in the tree")
    arguments.add_argument("--seconds", type=int, default=5, help="of random reads")
    arguments.add_argument("--put-ms", type=float, default=0, help="what a PUT takes longer; for buckets")
    arguments.add_argument("--json")
    options = arguments.parse_args()
    names = options.sides.split(",")
    results: dict = {}
    with workspace("bench") as where:
        options.tarball = make_tarball(where, options.files)
        fsload = build_fsload(where)
        sides = [(Disk if name == "disk" else Mounted)(name, where, options.engine, [], options.put_ms / 1000)
                 for name in names]
        try:
            for number in range(options.rounds):
                for case in options.cases.split(","):
                    # Turn the order round by round, so that no side always runs on a busier machine.
                    for side in sides[number % len(sides):] + sides[:number % len(sides)]:
                        side.fsload, side.server = fsload, Server(options.engine)
                        for label, unit, speed, cpu, *rest in CASES[case](side, options):
                            results.setdefault(label, {}).setdefault(side.name, []).append(
                                (unit, speed, cpu, *(rest + [0, 0])[:2]))
                        os.sync()
                        time.sleep(1)
                print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
            print(table(results, names))
            print("\nPeak resident memory: " + ", ".join(f"{s.name} {s.peak_mib():.0f} MiB" for s in sides))
        finally:
            for side in sides:
                side.cleanup()
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
