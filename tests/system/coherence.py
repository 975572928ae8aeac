#!/usr/bin/env python3
"""Two mounts of one volume: locks and what is written under them, what open shows after another mount's close, a reader
of a growing file, and a mount that was paused for longer than its session lasts.

Everything goes through the kernel and its caches with their usual time-outs.
"""

import argparse
import errno
import fcntl
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Client, Mount, Volume, wait_until, workspace  # noqa: E402

LEASE = ["--heartbeat=1"]  # a session lasts five heartbeats


def lock_file(fd: int, kind: str, operation: int):
    (fcntl.lockf if kind == "fcntl" else fcntl.flock)(fd, operation)


def count(path: str, kind: str, times: int):
    """Adds one to the number in the file, `times` times, through one descriptor."""
    fd = os.open(path, os.O_RDWR)
    for _ in range(times):
        lock_file(fd, kind, fcntl.LOCK_EX)
        number = int(os.pread(fd, 20, 0) or b"0")
        os.pwrite(fd, str(number + 1).encode(), 0)
        lock_file(fd, kind, fcntl.LOCK_UN)
    os.close(fd)


def counters(one: Path, two: Path):
    """Two processes a mount count in one file under flock and fcntl locks: no step is lost."""
    times = 40
    for kind in ("flock", "fcntl"):
        name = f"counter-{kind}"
        (one / name).write_text("0")
        workers = [multiprocessing.Process(target=count, args=(str(where / name), kind, times))
                   for where in (one, two) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
            assert worker.exitcode == 0, f"a counting process ended with {worker.exitcode}"
        for where in (one, two):
            with open(where / name) as f:
                fcntl.flock(f, fcntl.LOCK_SH)
                found = f.read()
                assert found == str(4 * times), f"{kind}: steps were lost: {found} of {4 * times} on {where.name}"


def close_to_open(one: Path, two: Path):
    """What a close made durable, the other mount's next open shows: content, size, shorter and longer."""
    path = "cto"
    (one / path).write_text("first")
    os.stat(two / path)
    for i in range(300):
        writer, reader = (one, two) if i % 2 == 0 else (two, one)
        content = (f"{i}:" * (1 + (i * 37) % 900)).encode()
        os.stat(reader / path)  # so that the kernel has attributes to forget
        with open(writer / path, "wb" if i % 3 else "r+b") as f:
            f.write(content)
            f.truncate()
        fd = os.open(reader / path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        seen = os.read(fd, 1 << 20)
        os.close(fd)
        assert size == len(content), f"round {i}: fstat after open shows {size} bytes, not {len(content)}"
        assert seen == content, f"round {i}: open shows old content"


def names(one: Path, two: Path):
    """A name is seen within the time-out of the kernel's cache; a file that is replaced is there all the time."""
    (one / "dir").mkdir()
    assert os.listdir(two / "dir") == []
    for i in range(50):  # New names are not cached: at once.
        (one / "dir" / f"n{i}").touch()
        assert (two / "dir" / f"n{i}").exists()
    assert len(os.listdir(two / "dir")) == 50
    os.unlink(one / "dir" / "n0")
    wait_until(lambda: not (two / "dir" / "n0").exists(), 2, "an unlinked name to go")
    (one / "dir" / "n1").rename(one / "dir" / "m1")
    assert (two / "dir" / "m1").exists()
    wait_until(lambda: not (two / "dir" / "n1").exists(), 2, "the old name to go")
    target = "dir/config"
    (one / target).write_text("0")
    end = time.monotonic() + 4
    i = 0
    while time.monotonic() < end:
        i += 1
        (one / "dir" / "new").write_text(str(i))
        os.rename(one / "dir" / "new", one / target)
        seen = int((two / target).read_text())  # Fails with ENOENT if the name led to a replaced file.
        assert 0 <= seen <= i
    wait_until(lambda: (two / target).read_text() == str(i), 2, "the last version")


def append(path: str, lines: int):
    with open(path, "ab", buffering=0) as f:
        for i in range(lines):
            f.write(b"%06d %s\n" % (i, b"x" * (i % 150)))
            if i % 7 == 0:
                os.fsync(f.fileno())


def growing(one: Path, two: Path):
    """A reader on the second mount never sees a zero in a file that the first one appends to."""
    path = "log"
    (one / path).touch()
    writer = multiprocessing.Process(target=append, args=(str(one / path), 4000))
    writer.start()
    fd = os.open(two / path, os.O_RDONLY)
    looks = 0
    while writer.is_alive():
        looks += 1
        size = os.fstat(fd).st_size
        data = os.pread(fd, 1 << 22, max(0, size - 20_000))
        assert b"\0" not in data, f"zeros at {data.index(0)} of {len(data)} bytes, size {size}, look {looks}"
        if looks % 50 == 0:
            os.close(fd)
            fd = os.open(two / path, os.O_RDONLY)
    os.close(fd)
    writer.join()
    assert writer.exitcode == 0
    assert (two / path).read_bytes() == (one / path).read_bytes()


def hold(path: str, kind: str, ready, release):
    fd = os.open(path, os.O_RDWR)
    lock_file(fd, kind, fcntl.LOCK_EX)
    ready.set()
    release.wait(60)


def wait_for_lock(path: str, kind: str, got):
    signal.signal(signal.SIGALRM, lambda *_: None)
    fd = os.open(path, os.O_RDWR)
    try:
        lock_file(fd, kind, fcntl.LOCK_EX)
    except InterruptedError:
        sys.exit(3)
    got.set()


def waiting(one: Path, two: Path):
    """A waiter is served soon after the release, on its own mount and on the other; killing it leaves nothing behind."""
    for kind in ("flock", "fcntl"):
        name = f"held-{kind}"
        (one / name).touch()
        ready, release, got = (multiprocessing.Event() for _ in range(3))
        holder = multiprocessing.Process(target=hold, args=(str(one / name), kind, ready, release))
        holder.start()
        assert ready.wait(10)
        killed = multiprocessing.Process(target=wait_for_lock, args=(str(two / name), kind, multiprocessing.Event()))
        killed.start()
        waiter = multiprocessing.Process(target=wait_for_lock, args=(str(two / name), kind, got))
        waiter.start()
        time.sleep(1)
        killed.kill()
        killed.join(10)
        assert killed.exitcode == -signal.SIGKILL, "a waiting process could not be killed"
        assert not got.is_set()
        released = time.monotonic()
        release.set()
        holder.join(10)
        assert got.wait(5), f"{kind}: the waiter was not served"
        assert time.monotonic() - released < 1, "the waiter was served late"
        waiter.join(10)
        with open(one / name, "r+") as f:  # Nobody holds it now, the killed one least of all.
            lock_file(f.fileno(), kind, fcntl.LOCK_EX | fcntl.LOCK_NB)


def deadlock(one: Path, two: Path):
    """A circle of fcntl waiters on one mount ends with EDEADLK."""
    for name in "ab":
        (one / f"circle-{name}").touch()

    def worker(first, second, barrier, result):
        files = [os.open(one / f"circle-{name}", os.O_RDWR) for name in (first, second)]
        fcntl.lockf(files[0], fcntl.LOCK_EX)
        barrier.wait(20)
        try:
            fcntl.lockf(files[1], fcntl.LOCK_EX)
            result.put("locked")
        except OSError as e:
            result.put("EDEADLK" if e.errno == errno.EDEADLK else str(e))

    barrier, result = multiprocessing.Barrier(2), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=worker, args=(*pair, barrier, result)) for pair in ("ab", "ba")]
    for process in workers:
        process.start()
    found = sorted(result.get(timeout=20) for _ in workers)
    for process in workers:
        process.join(10)
    assert found == ["EDEADLK", "locked"], found


def fails_with(number: int, operation) -> bool:
    try:
        operation()
    except OSError as e:
        return e.errno == number
    return False


def paused(one: Path, two: Path, mounts):
    """A mount that stands still for longer than its session lasts writes nothing more of what it held, says so, and goes on
    by itself with a new session."""
    first, _ = mounts
    (one / "locked").write_text("before")
    (one / "open").write_text("before")
    locked = os.open(one / "locked", os.O_RDWR)
    fcntl.flock(locked, fcntl.LOCK_EX)
    plain = os.open(one / "open", os.O_RDWR)
    dirty = os.open(one / "dirty", os.O_RDWR | os.O_CREAT)
    os.write(dirty, b"never stored")
    first.process.send_signal(signal.SIGSTOP)
    try:
        with open(two / "locked", "r+") as f:
            wait_until(lambda: not fails_with(errno.EAGAIN, lambda: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)), 30,
                       "the paused mount's lock to be taken over")
            f.write("after!")
    finally:
        first.process.send_signal(signal.SIGCONT)
    wait_until(lambda: "a new session is open" in first.output(), 15, "a new session")
    wait_until(lambda: not fails_with(errno.EIO, lambda: (one / "alive").touch()), 15, "writing to work again")
    assert fails_with(errno.EIO, lambda: os.pwrite(locked, b"stale!", 0)), "a lost lock must not protect writes"
    assert fails_with(errno.EIO, lambda: os.fsync(dirty)), "lost data must be reported"
    os.close(dirty)
    os.pwrite(plain, b"plain!", 0)
    os.fsync(plain)
    os.close(plain)
    os.close(locked)
    assert (two / "locked").read_text() == "after!"
    assert (one / "locked").read_text() == "after!", "the paused mount's own caches are old"
    assert (two / "open").read_text() == "plain!"
    assert (two / "dirty").read_bytes() == b""
    assert "another client has ended this client's session" in first.output()
    with open(one / "locked", "r+") as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)


CHECKS = {f.__name__: f for f in (counters, close_to_open, names, growing, waiting, deadlock, paused)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="default: all")
    options = arguments.parse_args()
    client = Client("zest")
    with workspace("coherence") as where:
        for name in options.checks or CHECKS:
            volume = Volume(where, name=name.replace("_", ""))
            client.format(volume)
            with Mount(client, volume, where / f"{name}1", *LEASE) as first, \
                    Mount(client, volume, where / f"{name}2", *LEASE) as second:
                mounts = (first, second)
                check = CHECKS[name]
                extra = (mounts,) if check is paused else ()
                started = time.monotonic()
                check(first.path, second.path, *extra)
                print(f"{name}: ok, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
