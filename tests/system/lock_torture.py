#!/usr/bin/env python3
"""Locks between two mounts of one volume: flock and POSIX locks (fcntl), ranges, upgrades and downgrades, counters
under a lock, and what becomes of the locks of a killed process and of a killed mount.

What a lock promises is checked in memory that all workers share: whoever holds a lock notes it there, and nobody may
ever find an opposite note. `--client peer` and `--second peer` put the peer on one side or on both.
"""

import argparse
import contextlib
import fcntl
import json
import mmap
import multiprocessing
import os
import random
import signal
import struct
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Client, Mount, Volume, add_client_arguments, client_of, wait_until, workspace  # noqa: E402

RECORDS = 16  # ranges that are locked one by one or together
SIZE = 10     # bytes of each
FRESH = ["--attr-cache=0", "--entry-cache=0", "--dir-entry-cache=0"]


class Notes:
    """Who holds what, in memory shared by all workers: for each record, +1 a reader, -1 the writer."""

    def __init__(self, count: int):
        self.memory = mmap.mmap(-1, 8 * count)
        self.lock = multiprocessing.Lock()

    def change(self, first: int, count: int, wanted: str, delta: int, what: str):
        """Notes a lock ("r" or "w") or with a negative delta its end; a lock that contradicts another is an error."""
        with self.lock:
            for i in range(first, first + count):
                value = struct.unpack_from("q", self.memory, 8 * i)[0]
                if delta > 0 and ((wanted == "w" and value != 0) or (wanted == "r" and value < 0)):
                    raise AssertionError(f"{what}: got record {i} {'exclusively' if wanted == 'w' else 'shared'} while "
                                         f"{'another writer' if value < 0 else f'{value} readers'} had it")
                struct.pack_into("q", self.memory, 8 * i, value + (delta if wanted == "r" else -delta))


def record_worker(path: Path, notes: Notes, seed: int, seconds: float, counts):
    """POSIX locks on random ranges: waiting and not waiting, upgraded, downgraded, released in two parts."""
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDWR)
    end = time.monotonic() + seconds
    what = f"process {os.getpid()} on {path}"
    while time.monotonic() < end:
        first = rng.randrange(RECORDS)
        count = rng.randrange(1, min(4, RECORDS - first) + 1)
        wanted = rng.choice("rw")
        place = (count * SIZE, first * SIZE)
        kind = {"r": fcntl.LOCK_SH, "w": fcntl.LOCK_EX}
        try:
            fcntl.lockf(fd, kind[wanted] | (fcntl.LOCK_NB if rng.random() < 0.5 else 0), *place)
        except BlockingIOError:
            counts["busy"] += 1
            continue
        notes.change(first, count, wanted, 1, what)
        counts["locks"] += 1
        time.sleep(rng.random() * 0.002)
        if wanted == "w" and rng.random() < 0.3:
            notes.change(first, count, "w", -1, what)
            notes.change(first, count, "r", 1, what)  # before the downgrade: from then on others may come
            fcntl.lockf(fd, fcntl.LOCK_SH, *place)
            wanted = "r"
            counts["downgrades"] += 1
        elif wanted == "r" and rng.random() < 0.3:
            notes.change(first, count, "r", -1, what)
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, *place)
                wanted = "w"
                counts["upgrades"] += 1
            notes.change(first, count, wanted, 1, what)
        for i in range(first, first + count):  # released piece by piece
            notes.change(i, 1, wanted, -1, what)
            fcntl.lockf(fd, fcntl.LOCK_UN, SIZE, i * SIZE)
    os.close(fd)


def flock_worker(path: Path, notes: Notes, seed: int, seconds: float, counts):
    """flock: shared and exclusive, waiting and not."""
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    what = f"process {os.getpid()} on {path}"
    while time.monotonic() < end:
        with open(path, "r+b") as file:
            wanted = rng.choice("rw")
            try:
                fcntl.flock(file, {"r": fcntl.LOCK_SH, "w": fcntl.LOCK_EX}[wanted] |
                            (fcntl.LOCK_NB if rng.random() < 0.5 else 0))
            except BlockingIOError:
                counts["busy"] += 1
                continue
            notes.change(0, 1, wanted, 1, what)
            counts["locks"] += 1
            time.sleep(rng.random() * 0.002)
            notes.change(0, 1, wanted, -1, what)
            if rng.random() < 0.5:
                fcntl.flock(file, fcntl.LOCK_UN)  # otherwise close releases it


def counter_worker(path: Path, notes: Notes, seed: int, seconds: float, counts):
    """Adds to a number in a file, under fcntl or flock; opened under the lock, so the number is current."""
    rng = random.Random(seed)
    guard = os.open(path.with_name(path.name + ".guard"), os.O_RDWR | os.O_CREAT)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fcntl.lockf(guard, fcntl.LOCK_EX)
        number = int(path.read_text() or "0")
        path.write_text(str(number + 1))
        counts["added"] += 1
        fcntl.lockf(guard, fcntl.LOCK_UN)
        time.sleep(rng.random() * 0.001)
    os.close(guard)


def open_counter_worker(path: Path, notes: Notes, seed: int, seconds: float, counts):
    """The same without closing the file: what was written is out when the lock is released, as on NFS."""
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDWR)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1 << 20)
        number = int(os.pread(fd, 20, 0).strip(b"\0 ") or b"0")
        os.pwrite(fd, b"%20d" % (number + 1), 0)
        counts["added"] += 1
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, 1 << 20)
        time.sleep(rng.random() * 0.001)
    os.close(fd)


def worker_main(body, path, notes, seed, seconds, counts, failures):
    try:
        body(path, notes, seed, seconds, counts)
    except BaseException:
        failures.put(traceback.format_exc())
        raise


def many(body, paths: list[Path], seed: int, seconds: float, workers=3) -> dict:
    """Runs `workers` processes on each path; their counts, added up."""
    notes = Notes(RECORDS)
    failures = multiprocessing.Queue()
    with multiprocessing.Manager() as manager:
        shared = [manager.dict(locks=0, busy=0, upgrades=0, downgrades=0, added=0) for _ in range(workers * len(paths))]
        processes = [multiprocessing.Process(target=worker_main, args=(body, path, notes, seed + 100 * i + k, seconds,
                                                                       shared[i * workers + k], failures))
                     for i, path in enumerate(paths) for k in range(workers)]
        for p in processes:
            p.start()
        for p in processes:
            p.join(seconds + 60)
        stuck = [p for p in processes if p.is_alive()]
        for p in stuck:
            p.kill()
        if not failures.empty():
            raise AssertionError(failures.get())
        assert not stuck, f"{len(stuck)} of {len(processes)} workers wait for a lock that nobody holds"
        assert all(p.exitcode == 0 for p in processes), f"exit codes {[p.exitcode for p in processes]}"
        return {k: v for k in shared[0].keys() if (v := sum(s[k] for s in shared))}


# ---- checks: (first mount, second mount, seed, seconds) → counts

def records(a: Mount, b: Mount, seed: int, seconds: float):
    (a.path / "records").write_bytes(b"x" * RECORDS * SIZE)
    return many(record_worker, [m.path / "records" for m in (a, b)], seed, seconds)


def flocks(a: Mount, b: Mount, seed: int, seconds: float):
    (a.path / "flocks").touch()
    return many(flock_worker, [m.path / "flocks" for m in (a, b)], seed, seconds)


def counter(a: Mount, b: Mount, seed: int, seconds: float):
    path = a.path / "counter"
    path.write_text("0")
    counts = many(counter_worker, [m.path / "counter" for m in (a, b)], seed, seconds)
    assert int(path.read_text()) == counts["added"], f"{path.read_text()} instead of {counts['added']}: updates were lost"
    return counts


def open_counter(a: Mount, b: Mount, seed: int, seconds: float):
    path = a.path / "open-counter"
    path.write_bytes(b"%20d" % 0)
    counts = many(open_counter_worker, [m.path / "open-counter" for m in (a, b)], seed, seconds)
    found = int(path.read_text())
    assert found == counts["added"], f"{found} instead of {counts['added']}: updates were lost"
    return counts


def can_lock(path: Path, kind: int, place: tuple, flock=False) -> bool:
    """Whether another process gets the lock at once."""
    child = os.fork()
    if child == 0:
        try:
            fd = os.open(path, os.O_RDWR)
            if flock:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
            else:
                fcntl.lockf(fd, kind | fcntl.LOCK_NB, *place)
            os._exit(0)
        except BlockingIOError:
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), f"locking {path} failed"
    return code == 0


def ranges(a: Mount, b: Mount, seed: int, seconds: float):
    """Ranges that are split, joined, and asked about through the other mount."""
    (a.path / "ranges").write_bytes(b"x" * 100)
    with open(a.path / "ranges", "r+b") as file:
        def free(begin, length, kind=fcntl.LOCK_EX):
            return can_lock(b.path / "ranges", kind, (length, begin))
        fcntl.lockf(file, fcntl.LOCK_EX, 100, 0)
        assert not free(0, 1) and not free(99, 1) and free(100, 50)
        fcntl.lockf(file, fcntl.LOCK_UN, 20, 40)
        assert free(40, 20) and not free(39, 2) and not free(59, 2)
        fcntl.lockf(file, fcntl.LOCK_SH, 10, 0)  # a downgrade of the beginning
        assert free(0, 10, fcntl.LOCK_SH) and not free(0, 10) and not free(0, 11, fcntl.LOCK_SH)
        fcntl.lockf(file, fcntl.LOCK_EX, 0, 100)  # from 100 to the end, however far
        assert not free(1 << 40, 1) and free(40, 20)
        with open(b.path / "ranges", "r+b") as other:
            query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 60, 5, 0)
            child = os.fork()
            if child == 0:  # as another process: one's own locks are no obstacle
                kind, _, start, length, _ = struct.unpack("hhqqi4x", fcntl.fcntl(other, fcntl.F_GETLK, query))
                os._exit(0 if (kind, start, length) == (fcntl.F_WRLCK, 60, 0) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "F_GETLK does not tell who is in the way"
        fcntl.lockf(file, fcntl.LOCK_UN, 0, 0)
        assert free(0, 1 << 40)
    return {}


def hold(path: Path, ready):
    """Takes both kinds of lock and keeps them until it is killed."""
    file = open(path, "r+b")
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
    ready.set()
    signal.pause()


def holder_on(path: Path) -> multiprocessing.Process:
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=hold, args=(path, ready))
    process.start()
    assert ready.wait(30), f"no lock on {path}"
    return process


def killed_holder(a: Mount, b: Mount, seed: int, seconds: float):
    """The locks of a killed process are free at once, also for those who wait through the other mount."""
    (a.path / "held").write_bytes(b"x" * 10)
    process = holder_on(a.path / "held")
    assert not can_lock(b.path / "held", fcntl.LOCK_EX, (10, 0))
    assert not can_lock(b.path / "held", fcntl.LOCK_SH, (), flock=True)
    process.kill()
    process.join()
    started = time.monotonic()
    for flock in (False, True):
        wait_until(lambda f=flock: can_lock(b.path / "held", fcntl.LOCK_EX, (10, 0), f), 10, "a dead process's lock")
    return {"freed_after_s": round(time.monotonic() - started, 2)}


def killed_mount(a: Mount, b: Mount, seed: int, seconds: float):
    """The locks of a killed client are free when its session has expired, not before, and not much later."""
    (a.path / "orphaned").write_bytes(b"x" * 10)
    process = holder_on(a.path / "orphaned")
    a.kill()
    started = time.monotonic()
    assert not can_lock(b.path / "orphaned", fcntl.LOCK_EX, (10, 0)), "the lock was free before the session expired"
    for flock in (False, True):
        wait_until(lambda f=flock: can_lock(b.path / "orphaned", fcntl.LOCK_EX, (10, 0), f), 150,
                   f"{'a flock' if flock else 'an fcntl lock'} of a killed client")
    process.kill()
    process.join()
    return {"freed_after_s": round(time.monotonic() - started, 1)}


CHECKS = [records, flocks, counter, open_counter, ranges, killed_holder, killed_mount]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_client_arguments(arguments)
    arguments.add_argument("--second", choices=["zest", "peer"], help="the client of the second mount")
    arguments.add_argument("--seconds", type=float, default=5, help="for each of the checks that repeat")
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments.add_argument("checks", nargs="*", help="only these: " + ", ".join(c.__name__ for c in CHECKS))
    options = arguments.parse_args()
    print(f"seed {options.seed}")
    with client_of(options) as (client, mount_options), workspace("locks") as where:
        second = Client(options.second or options.client)
        volume = Volume(where, engine=options.engine)
        client.format(volume)
        beat = ["--heartbeat=2s" if c.kind == "zest" else "--heartbeat=2" for c in (client, second)]
        more = mount_options if second.kind == "zest" else []
        a = Mount(client, volume, where / "a", *FRESH, beat[0], *mount_options)
        with contextlib.ExitStack() as stack:
            stack.callback(a.cleanup)  # killed_mount kills it
            a.start()
            b = stack.enter_context(Mount(second, volume, where / "b", *FRESH, beat[1], *more))
            for check in CHECKS:
                if options.checks and check.__name__ not in options.checks:
                    continue
                started = time.monotonic()
                counts = check(a, b, options.seed, options.seconds)
                print(f"{check.__name__}: ok, {time.monotonic() - started:.1f} s {json.dumps(counts)}", flush=True)
            if a.process.poll() is None:
                a.stop()


if __name__ == "__main__":
    main()
