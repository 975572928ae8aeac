#!/usr/bin/env python3
"""Compaction, gc and fsck on a live volume, by zest and by the peer: readers never see an error, and each client finds the
volume sound after the other's work.

On any engine: tests/services/with.py redis -- tests/system/maintenance.py
"""

import argparse
import json
import mmap
import os
import random
import re
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Client, Mount, Volume, add_engine_argument, find_peer, run, workspace  # noqa: E402

KIB = 1 << 10
MIB = 1 << 20
FOUND = 3  # zest gc: leaked objects were found and left


def write_parts(path: Path, content: bytearray, seed: int, rounds: int):
    """Overwrites parts of a file, each a slice of its own; `content` follows."""
    rng = random.Random(seed)
    with open(path, "r+b", buffering=0) as f:
        for _ in range(rounds):
            part = rng.randbytes(rng.randrange(1, 30 * KIB))
            at = rng.randrange(len(content) - len(part))
            content[at:at + len(part)] = part
            os.pwrite(f.fileno(), part, at)
            os.fsync(f.fileno())


def zest_gc(zest: Client, volume: Volume, *options, code=0) -> dict:
    done = run(zest.program, "gc", "--json", *options, volume.url, check=False)
    assert done.returncode == code, f"zest gc {options} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def peer_gc(peer: Client, volume: Volume, *options) -> dict:
    """Counts of the peer's gc, which judges objects of any age."""
    done = run(peer.program, "gc", *options, volume.url, env=dict(os.environ, JFS_GC_SKIPPEDTIME="0"))
    line = [text for text in (done.stdout + done.stderr).splitlines() if "scanned" in text][-1]
    return {name: int(number) for number, name in re.findall(r"(\d+) (objects|valid|pending|compacted|leaked|skipped)", line)}


def check_sound(clients: list[Client], volume: Volume):
    for client in clients:
        client.fsck(volume)
        if client.kind == "peer":
            assert peer_gc(client, volume)["leaked"] == 0, "the peer finds leaked objects"
        else:
            assert zest_gc(client, volume, "--grace=0")["Leaked"]["Objects"] == 0


def objects(volume: Volume) -> list[Path]:
    return [path for path in (volume.bucket / volume.name / "chunks").rglob("*_*_*") if path.is_file()]


def leak(volume: Volume, slice_id: int) -> Path:
    """An object of a slice that nobody knows."""
    path = volume.bucket / volume.name / f"chunks/{slice_id // 1000000}/{slice_id // 1000}/{slice_id}_0_5"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"leaky")
    return path


def readers_survive(where: Path, zest: Client, engine: str, seconds: float):
    """One mount rewrites a file and compacts it, with the trash off, so objects disappear all the time; another reads it
    past its caches. The file always holds one of the versions of each block, and never an error."""
    volume = Volume(where, "survive", engine=engine)
    zest.format(volume, "--block-size=64K")
    with Mount(zest, volume, where / "s1") as one, Mount(zest, volume, where / "s2", "--cache-size=0") as two:
        name, size = "file", 1 * MIB
        (one.path / name).write_bytes(bytes(size))
        stop, problems, reads = threading.Event(), [], 0

        def rewrite():
            version = 0
            fd = os.open(one.path / name, os.O_RDWR)
            while not stop.is_set():
                version = version % 255 + 1
                for at in random.Random(version).sample(range(0, size, 4 * KIB), 12):
                    os.pwrite(fd, bytes([version]) * (4 * KIB), at)
                    os.fsync(fd)
                done = run(zest.program, "compact", one.path / name, check=False)
                if done.returncode != 0:
                    problems.append(f"compact: {done.stderr}")
            os.close(fd)

        writer = threading.Thread(target=rewrite)
        writer.start()
        fd = os.open(two.path / name, os.O_RDONLY | os.O_DIRECT)
        buffer = memoryview(mmap.mmap(-1, size))  # aligned, so that no page is read in two requests
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and not problems:
                assert os.preadv(fd, [buffer], 0) == size, "a short read"
                reads += 1
                for at in range(0, size, 4 * KIB):
                    block = buffer[at:at + 4 * KIB]
                    assert block == bytes([block[0]]) * (4 * KIB), f"a torn page at {at}"
        finally:
            stop.set()
            writer.join()
            os.close(fd)
        assert not problems, problems
        assert "missing in the store" not in two.output(), two.output()[-2000:]
    zest.fsck(volume)
    leaked = zest_gc(zest, volume, "--grace=0")["Leaked"]["Objects"]
    assert leaked == 0, f"{leaked} objects leaked"
    print(f"readers survive compaction: {reads} reads of 1 MiB without an error")


def appends_have_no_holes(where: Path, zest: Client, engine: str, seconds: float):
    """One mount appends lines, another reads the growing file through its page cache: what the size covers is there, and
    is never zeros."""
    volume = Volume(where, "append", engine=engine)
    zest.format(volume)
    with Mount(zest, volume, where / "a1") as one, Mount(zest, volume, where / "a2") as two:
        stop, written = threading.Event(), []

        def append():
            with open(one.path / "log", "ab", buffering=0) as f:
                rng = random.Random(1)
                while not stop.is_set():
                    f.write(bytes([rng.randrange(1, 256)]) * rng.randrange(1, 3000))
                    if rng.random() < 0.3:
                        os.fsync(f.fileno())
                    written.append(1)

        (one.path / "log").touch()
        writer = threading.Thread(target=append)
        writer.start()
        looks, longest = 0, 0
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                data = (two.path / "log").read_bytes()
                assert data.count(0) == 0, f"zeros at {data.index(0)} of {len(data)} bytes"
                assert len(data) >= longest, f"the file shrank from {longest} to {len(data)}"
                longest, looks = len(data), looks + 1
        finally:
            stop.set()
            writer.join()
        assert longest > 0 and looks > 10
        assert (two.path / "log").read_bytes() == (one.path / "log").read_bytes()
    print(f"appends: {looks} looks at a file that grew to {longest} bytes in {len(written)} writes, no zeros")


def both_compact(where: Path, zest: Client, peer: Client, engine: str, trash_days: int):
    """Each client compacts what the other wrote; both see the same bytes and find nothing lost or leaked."""
    volume = Volume(where, f"both{trash_days}", trash_days=trash_days, engine=engine)
    zest.format(volume)
    content = bytearray(random.Random(9).randbytes(300 * KIB))
    for i, (writer, compactor) in enumerate(((peer, zest), (zest, peer), (zest, zest))):
        with Mount(writer, volume, where / f"w{trash_days}{i}") as mount:
            (mount.path / "file").write_bytes(content)
            write_parts(mount.path / "file", content, i, 30)
        with Mount(compactor, volume, where / f"c{trash_days}{i}") as mount:
            run(compactor.program, "compact", mount.path / "file")
            assert (mount.path / "file").read_bytes() == content, f"{compactor.kind} changed data"
        check_sound([zest, peer], volume)
        with Mount(zest, volume, where / f"r{trash_days}{i}") as mount:
            assert (mount.path / "file").read_bytes() == content, "data differ after gc"
        with Mount(peer, volume, where / f"p{trash_days}{i}") as mount:
            assert (mount.path / "file").read_bytes() == content, "data differ for the peer"
    delayed = zest_gc(zest, volume)["Delayed"]["Objects"] + zest_gc(zest, volume)["Young"]["Objects"]
    assert (delayed > 1) == (trash_days > 0), f"{delayed} objects of compacted slices with {trash_days} days of trash"
    print(f"both compact: data and referees agree, with {trash_days} days of trash")


def both_collect(where: Path, zest: Client, clients: list[Client], engine: str):
    """Leaked objects are found and removed, young ones are not, by whoever runs gc; gc --compact keeps the data."""
    volume = Volume(where, "collect", engine=engine)
    zest.format(volume)
    content = bytearray(random.Random(3).randbytes(200 * KIB))
    with Mount(zest, volume, where / "g1") as mount:
        (mount.path / "file").write_bytes(content)
        write_parts(mount.path / "file", content, 5, 20)
        (mount.path / "gone").write_bytes(b"x" * 100_000)
    sound = len(objects(volume))
    for client in clients:
        leaked = [leak(volume, 90_000_000 + i) for i in range(5)]
        assert zest_gc(zest, volume)["Leaked"]["Objects"] == 0, "young objects were judged"
        assert zest_gc(zest, volume, "--delete")["Removed"]["Objects"] == 0, "young objects were removed"
        old = time.time() - 7200
        for path in leaked:
            os.utime(path, (old, old))
        assert zest_gc(zest, volume, code=FOUND)["Leaked"] == {"Objects": 5, "Bytes": 25}
        if client.kind == "peer":
            peer_gc(client, volume, "--delete")
        else:
            assert zest_gc(client, volume, "--delete")["Removed"]["Objects"] == 5
        assert not any(path.exists() for path in leaked)
        assert len(objects(volume)) == sound, "gc removed an object that is in use"
    run(zest.program, "gc", "--compact", volume.url)
    run(zest.program, "gc", "--delete", volume.url)
    check_sound(clients, volume)
    assert len(objects(volume)) <= 4, objects(volume)
    with Mount(zest, volume, where / "g2") as mount:
        assert (mount.path / "file").read_bytes() == content
        os.unlink(mount.path / "gone")
    run(zest.program, "gc", "--delete", volume.url)
    check_sound(clients, volume)
    print("both collect: leaked objects go, young ones and data stay")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_engine_argument(arguments)
    arguments.add_argument("--seconds", type=float, default=8)
    options = arguments.parse_args()
    zest = Client("zest")
    peer = Client("peer") if find_peer() else None
    with workspace("maintenance") as where:
        readers_survive(where, zest, options.engine, options.seconds)
        appends_have_no_holes(where, zest, options.engine, options.seconds)
        both_collect(where, zest, [zest, peer] if peer else [zest], options.engine)
        if peer:
            for trash_days in (0, 1):
                both_compact(where, zest, peer, options.engine, trash_days)
        else:
            print("the peer's client was not found: what both do was not tested")


if __name__ == "__main__":
    main()
