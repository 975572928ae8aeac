#!/usr/bin/env python3
"""Memory of a mount with default options: idle, and with sixteen writers and readers of large files at a time, which
also must not end in more slices than large files need.

The peer's reports of this kind are gigabytes; here the bound is --buffer-size (300 MiB) and the cache (100 MiB).
"""

import multiprocessing
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Client, Mount, Volume, workspace  # noqa: E402

MIB = 1 << 20
FILES, SIZE = 16, 128 * MIB
IDLE_MAX, PEAK_MAX = 30 * MIB, 450 * MIB


def peak(pid: int) -> int:
    line = next(ln for ln in Path(f"/proc/{pid}/status").read_text().splitlines() if ln.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def write(path: Path, seed: int):
    piece = random.Random(seed).randbytes(MIB)
    with open(path, "wb", buffering=0) as f:
        for _ in range(SIZE // MIB):
            f.write(piece)


def read(path: Path, seed: int):
    piece = random.Random(seed).randbytes(MIB)
    with open(path, "rb", buffering=0) as f:
        for i in range(SIZE // MIB):
            assert f.read(MIB) == piece, f"{path.name}: MiB {i} is not what was written"


def in_parallel(work, root: Path):
    workers = [multiprocessing.Process(target=work, args=(root / f"file{i}", i)) for i in range(FILES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0, f"{work.__name__}: a process ended with {worker.exitcode}"


def main():
    with workspace("memory") as where:
        client = Client("zest")
        volume = Volume(where)
        client.format(volume)
        with Mount(client, volume, where / "mnt") as mount:
            pid = mount.process.pid
            idle = peak(pid)
            assert idle < IDLE_MAX, f"an idle mount takes {idle / MIB:.0f} MiB"
            in_parallel(write, mount.path)
            objects = sum(1 for path in where.rglob("*_*_*") if path.is_file())
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
            in_parallel(read, mount.path)
            most = peak(pid)
            assert most < PEAK_MAX, f"the mount took {most / MIB:.0f} MiB"
            # 4 MiB each where no slice was cut short; a slow disk may cut some.
            least = FILES * SIZE // (4 * MIB)
            assert least <= objects < 2 * least, f"{objects} objects where {least} would do"
    print(f"memory: idle {idle / MIB:.0f} MiB, peak {most / MIB:.0f} MiB, {objects} objects")


if __name__ == "__main__":
    main()
