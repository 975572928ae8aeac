#!/usr/bin/env python3
"""Both clients on one volume: ZestFS and the peer (JuiceFS) read each other's trees, mounted one after the other and at
the same time, and both find the volume sound afterwards.

On any engine that both have: tests/services/with.py redis -- tests/interop/interop.py --engine redis

Without the peer's program (ZEST_PEER, PATH, ~/.cache/zest-peer/juicefs) the test says so and counts as skipped.
"""

import argparse
import fcntl
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import Client, Mount, Volume, add_engine_argument, assert_same_tree, require_peer, run, tree, workspace  # noqa: E402

# Cached attributes would hide the other client's changes for a second; coherence is what is tested here.
FRESH = ["--attr-cache=0", "--entry-cache=0", "--dir-entry-cache=0"]
MIB = 1 << 20
VIRTUAL = {".accesslog", ".config", ".stats", ".trash"}


def pattern(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(root: Path, seed: int, engine: str):
    """One of everything that the format can hold (ACLs and quotas have tests of their own)."""
    root.mkdir()
    os.chmod(root, 0o1777)
    files = root / "files"
    files.mkdir(mode=0o750)
    for size in (0, 1, 4095, 4096, 4097, 65536, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB):
        (files / f"size-{size}").write_bytes(pattern(size, seed + size))
    # Across a chunk boundary, with a hole before it.
    with open(files / "sparse", "wb") as f:
        f.seek(64 * MIB - 1000)
        f.write(pattern(5000, seed))
        f.truncate(200 * MIB)
    # Overlapping writes, truncation both ways, punched holes, appends.
    with open(files / "patched", "wb") as f:
        f.write(pattern(10 * MIB, seed + 1))
        f.flush()
        os.fsync(f.fileno())
        for i in range(20):
            f.seek(random.Random(seed + i).randrange(9 * MIB))
            f.write(pattern(50_000, seed + 100 + i))
            f.flush()
            os.fsync(f.fileno())
        f.truncate(7 * MIB)
        f.truncate(8 * MIB)
    # Small writes that are not synced one by one: several slices may be in one object.
    with open(files / "scattered", "wb") as f:
        f.truncate(70 * MIB)
        for i in range(200):
            os.pwrite(f.fileno(), pattern(3000, seed + 200 + i), random.Random(seed - i).randrange(70 * MIB))
    run("fallocate", "-p", "-o", 1 * MIB, "-l", 300_000, files / "patched")
    run("fallocate", "-z", "-o", 3 * MIB, "-l", 100_000, files / "patched")
    run("fallocate", "-l", 100_000, files / "preallocated")
    with open(files / "appended", "wb") as f:
        f.write(b"one\n")
    for word in (b"two\n", b"three\n"):
        with open(files / "appended", "ab") as f:
            f.write(word)
    # Names: bytes that are not UTF-8, blanks, the longest, dots.
    names = root / "names"
    names.mkdir()
    for name in (b"with blank", b"\xff\xfe-not-utf8", b"n" * 255, "ünïcødé-☃".encode(), b".hidden", b"a%41b", b"new\nline"):
        with open(os.path.join(os.fsencode(names), name), "wb") as f:
            f.write(name)
    # Links, special files, attributes.
    links = root / "links"
    links.mkdir()
    os.symlink("../files/size-1", links / "relative")
    os.symlink("/" + "x" * 4000, links / "long-dangling")
    os.link(files / "size-4097", links / "hard")
    os.link(files / "size-4097", root / "hard2")
    os.mkfifo(links / "fifo", 0o640)
    os.mknod(links / "char", 0o620 | 0o020000, os.makedev(1, 3))
    os.mknod(links / "block", 0o620 | 0o060000, os.makedev(7, 300))
    os.mknod(links / "socket", 0o755 | 0o140000)
    attributes = root / "attributes"
    attributes.mkdir()
    for mode in (0o000, 0o644, 0o777, 0o4755, 0o2755, 0o1777):
        path = attributes / f"mode-{mode:o}"
        path.touch()
        os.chown(path, 1000 + mode % 7, 2000)
        os.chmod(path, mode)
    times = attributes / "times"
    times.touch()
    os.utime(times, ns=(1_000_000_000_123_456_789, 1_234_567_890_987_654_321))
    before_1970 = attributes / "before-1970"
    before_1970.touch()
    # Whole seconds: the peer misreads a fraction before 1970 in a SQL volume.
    os.utime(before_1970, ns=(-1_000_000_000, -86_400_000_000_000))
    os.setxattr(attributes / "mode-644", "user.text", b"value")
    os.setxattr(attributes / "mode-644", "user.bytes", bytes(range(256)))
    if engine != "etcd":  # where the peer takes an empty value for none
        os.setxattr(attributes / "mode-644", "user.empty", b"")
    os.setxattr(attributes, "user.on-directory", b"yes")
    # Renames over existing things, exchanged names, removed things, deep and wide directories.
    moved = root / "moved"
    moved.mkdir()
    (moved / "a").write_text("a")
    (moved / "b").write_text("b")
    os.rename(moved / "a", moved / "b")
    (moved / "dir").mkdir()
    (moved / "dir" / "in").write_text("in")
    os.rename(moved / "dir", root / "dir-moved")
    (moved / "gone").write_bytes(pattern(100_000, seed))
    os.unlink(moved / "gone")
    deep = root
    for i in range(30):
        deep = deep / f"deep{i}"
        deep.mkdir()
    (deep / "bottom").write_text("bottom")
    wide = root / "wide"
    wide.mkdir()
    for i in range(1500):
        (wide / f"entry-{i:05}").touch()
    (root / "dir-moved" / "copy").write_bytes((files / "patched").read_bytes())


def change(root: Path, seed: int):
    """Changes a tree that the other client made."""
    files = root / "files"
    with open(files / "patched", "r+b") as f:
        f.seek(2 * MIB + 17)
        f.write(pattern(3 * MIB, seed + 7))
        f.truncate(6 * MIB + 1)
    with open(files / f"size-{4 * MIB}", "ab") as f:
        f.write(pattern(100_000, seed))
    with open(files / "sparse", "r+b") as f:
        f.seek(130 * MIB)
        f.write(pattern(70_000, seed))
        f.truncate(150 * MIB)
    os.truncate(files / f"size-{9 * MIB}", 1000)
    os.link(root / "hard2", root / "hard3")
    os.unlink(root / "links" / "hard")
    os.rename(root / "moved" / "b", root / "names" / "b")
    os.rename(root / "dir-moved", root / "wide" / "dir")
    os.removexattr(root / "attributes" / "mode-644", "user.text")
    os.setxattr(root / "attributes" / "mode-644", "user.bytes", b"shorter")
    os.chmod(root / "attributes" / "mode-777", 0o700)
    os.chown(root / "attributes" / "mode-644", 5, 6)
    for i in range(0, 1500, 3):
        os.unlink(root / "wide" / f"entry-{i:05}")
    run("rm", "-r", root / "deep0")


def check_volume(zest: Client, peer: Client, volume: Volume, exact_statistics: bool):
    """The peer's referees: fsck of all blocks, fsck of directories (and their statistics), gc without leaks.

    Statistics are exact only with one writer at a time: two peers that change one file at once get them wrong too.
    """
    zest.fsck(volume)
    peer.fsck(volume)
    run(peer.program, "fsck", "--path", "/", "--recursive", *(["--sync-dir-stat"] if exact_statistics else []),
        volume.url)
    report = run(peer.program, "gc", volume.url, env=dict(os.environ, JFS_GC_SKIPPEDTIME="0"))
    summary = [line for line in (report.stdout + report.stderr).splitlines() if "scanned" in line]
    print(f"    gc: {summary[-1].split('>: ')[-1] if summary else 'no summary'}")


def dump(peer: Client, volume: Volume) -> dict:
    """What the peer's dump says about the volume, without what differs from one dump to the next."""
    path = Path(f"{volume.bucket}.json")
    run(peer.program, "dump", volume.url, path, timeout=600)
    content = json.loads(path.read_text())
    content.pop("Sustained", None)
    for counters in (content.get("Counters") or {},):
        for name in ("nextSession", "nextInodes", "nextChunk", "nextTrash"):
            counters.pop(name, None)
    return content


def differences(before, after, path="") -> list[str]:
    """Where two dumps differ, as readable paths."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [d for k in sorted(before.keys() | after.keys())
                for d in differences(before.get(k), after.get(k), f"{path}/{k}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [d for i, (b, a) in enumerate(zip(before, after)) for d in differences(b, a, f"{path}[{i}]")]
    return [] if before == after else [f"{path}: {before} / {after}"]


# Differs between any two sessions, whoever writes: time stamps of directories that a rename passed through.
TOUCHED = re.compile(r"/attr/(mtime|ctime|mtimensec|ctimensec)$")


def dumps_agree(zest: Client, peer: Client, where: Path, seed: int, engine: str):
    """The peer's dump of a volume that the peer made: the same after ZestFS has read, moved there and back, written the
    same bytes, and removed what it had added. Only time stamps of what was touched may differ."""
    volume = Volume(where, "dumped", engine=engine)
    peer.format(volume)
    with Mount(peer, volume, where / "mnt", "--enable-xattr") as m:
        fill(m.path / "data", seed, engine)
    before = dump(peer, volume)
    with Mount(zest, volume, where / "mnt", "--enable-xattr") as m:
        data = m.path / "data"
        tree(data)
        os.rename(data / "wide", data / "elsewhere")
        os.rename(data / "elsewhere", data / "wide")
        os.link(data / "files" / "size-1", data / "another-name")
        os.unlink(data / "another-name")
        os.setxattr(data / "files", "user.passing", b"x")
        os.removexattr(data / "files", "user.passing")
        (data / "new").mkdir()
        (data / "new" / "file").write_bytes(pattern(5 * MIB, seed))
        run("rm", "-r", data / "new")
        os.chmod(data / "files", 0o700)
        os.chmod(data / "files", 0o750)
    found = [d for d in differences(before, dump(peer, volume)) if not TOUCHED.search(d.split(":")[0])]
    assert not found, f"{len(found)} differences between the peer's dumps (before / after):\n" + "\n".join(found[:30])
    check_volume(zest, peer, volume, exact_statistics=True)
    print("dumps: the same before and after")


def one_after_the_other(zest: Client, peer: Client, where: Path, seed: int, engine: str):
    """Each client formats and fills a volume, the other sees the same and changes it, the first sees the changes."""
    for number, (first, second) in enumerate(((zest, peer), (peer, zest))):
        volume = Volume(where, f"turns{number}", engine=engine)
        first.format(volume)
        with Mount(first, volume, where / "mnt", "--enable-xattr") as m:
            fill(m.path / "data", seed, engine)
            made = tree(m.path / "data")
        with Mount(second, volume, where / "mnt", "--enable-xattr") as m:
            assert_same_tree(made, tree(m.path / "data"), (first.kind, second.kind))
            change(m.path / "data", seed)
            changed = tree(m.path / "data")
        with Mount(first, volume, where / "mnt", "--enable-xattr") as m:
            assert_same_tree(changed, tree(m.path / "data"), (second.kind, first.kind))
        check_volume(zest, peer, volume, exact_statistics=True)
        print(f"{first.kind} first, then {second.kind}: {len(made)} paths are the same, fsck clean")


def both_at_once(zest: Client, peer: Client, where: Path, seed: int, engine: str):
    """Both mounted: what one closes, the other opens; directories, renames, locks and appends in turns."""
    volume = Volume(where, "both", engine=engine)
    peer.format(volume)
    with Mount(zest, volume, where / "a", "--enable-xattr", *FRESH) as a, \
            Mount(peer, volume, where / "b", "--enable-xattr", *FRESH) as b:
        rng = random.Random(seed)
        roots = [a.path, b.path]
        for step in range(120):
            writer, reader = roots if rng.random() < 0.5 else roots[::-1]
            name = f"file{rng.randrange(12)}"
            if rng.random() < 0.5:
                content = rng.randbytes(rng.randrange(1, 3 * MIB))
                (writer / name).write_bytes(content)
                assert (reader / name).read_bytes() == content, f"step {step}: {name} differs after a rewrite"
            else:
                old = (reader / name).read_bytes() if (reader / name).exists() else b""
                more = rng.randbytes(rng.randrange(1, 100_000))
                with open(writer / name, "ab") as f:
                    f.write(more)
                assert (reader / name).read_bytes() == old + more, f"step {step}: {name} differs after an append"
        for step in range(60):
            writer, reader = roots if rng.random() < 0.5 else roots[::-1]
            (writer / f"dir{step}").mkdir()
            os.rename(writer / f"dir{step}", writer / f"renamed{step}")
            assert (reader / f"renamed{step}").is_dir() and not (reader / f"dir{step}").exists()
            os.rmdir(reader / f"renamed{step}")
            assert not (writer / f"renamed{step}").exists()
        listings = [{n for n in os.listdir(root) if n not in VIRTUAL} for root in roots]
        assert listings[0] == listings[1], f"names differ: {listings[0] ^ listings[1]}"
        exclusive_creates(roots)
        locks(a.path, b.path)
        parallel_writers(roots, seed)
        locked_counter(roots)
        assert_same_tree(tree(a.path, skip=(".trash",)), tree(b.path, skip=(".trash",)), ("zest", "peer"))
    check_volume(zest, peer, volume, exact_statistics=False)
    print("both at once: contents, names, locks agree; fsck clean")


def exclusive_creates(roots):
    """Both try to create the same names; exactly one wins each."""
    script = ("import os,sys\nwon=0\nfor i in range(200):\n  try:\n"
              "    os.close(os.open(f'{sys.argv[1]}/race{i}', os.O_CREAT|os.O_EXCL|os.O_WRONLY)); won+=1\n"
              "  except FileExistsError: pass\nprint(won)")
    racers = [subprocess.Popen([sys.executable, "-c", script, str(r)], stdout=subprocess.PIPE, text=True) for r in roots]
    wins = [int(r.communicate(timeout=120)[0]) for r in racers]
    assert all(r.returncode == 0 for r in racers) and sum(wins) == 200, f"200 names were created {wins} times"


def locks(a: Path, b: Path):
    """flock and POSIX locks taken through one client are seen by the other."""
    (a / "locked").write_bytes(b"x" * 100)
    with open(a / "locked", "r+b") as fa, open(b / "locked", "r+b") as fb:
        for lock, unlock in ((lambda f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda f: fcntl.flock(f, fcntl.LOCK_UN)),
                             (lambda f: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5),
                              lambda f: fcntl.lockf(f, fcntl.LOCK_UN, 10, 5))):
            for holder, other in ((fa, fb), (fb, fa)):
                lock(holder)
                # The other side asks in a process of its own: POSIX locks of one process never conflict.
                child = os.fork()
                if child == 0:
                    try:
                        lock(other)
                        os._exit(1)
                    except BlockingIOError:
                        os._exit(0)
                assert os.waitpid(child, 0)[1] == 0, "a lock held through the other client was granted"
                unlock(holder)


def locked_counter(roots):
    """Both add to one number under a lock: no update is lost."""
    script = """
import fcntl, os, sys
path = f'{sys.argv[1]}/counter'
guard = os.open(path + '.guard', os.O_RDWR | os.O_CREAT)
for i in range(150):
    fcntl.lockf(guard, fcntl.LOCK_EX)
    with open(path) as f: number = int(f.read())
    with open(path, 'w') as f: f.write(str(number + 1))
    fcntl.lockf(guard, fcntl.LOCK_UN)
"""
    (roots[0] / "counter").write_text("0")
    adders = [subprocess.Popen([sys.executable, "-c", script, str(r)]) for r in roots]
    assert all(p.wait(timeout=300) == 0 for p in adders)
    for r in roots:
        assert (r / "counter").read_text() == "300", f"{r}: {(r / 'counter').read_text()} instead of 300 under a lock"


def parallel_writers(roots, seed):
    """Both write at the same time: disjoint files, one directory, and disjoint ranges of one file."""
    script = """
import os, sys, random
root, me, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed + me)
os.makedirs(f'{root}/shared', exist_ok=True)
for i in range(150):
    with open(f'{root}/shared/{me}-{i}', 'wb') as f: f.write(rng.randbytes(rng.randrange(60000)))
    if i % 3 == 0: os.rename(f'{root}/shared/{me}-{i}', f'{root}/shared/{me}-{i}-moved')
    if i % 5 == 0 and i: os.unlink(f'{root}/shared/{me}-{i-1}') if (i-1) % 3 else None
fd = os.open(f'{root}/ranges', os.O_RDWR | os.O_CREAT)
for i in range(me, 60, 2):
    os.pwrite(fd, bytes([65 + me]) * 10000, i * 10000)
    if i % 8 < 2: os.fsync(fd)
os.close(fd)
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, str(r), str(i), str(seed)]) for i, r in enumerate(roots)]
    assert all(w.wait(timeout=300) == 0 for w in writers)
    expected = b"".join(bytes([65 + i % 2]) * 10000 for i in range(60))
    for r in roots:
        assert (r / "ranges").read_bytes() == expected, f"{r}: ranges written by two clients are mixed up"


PARTS = [one_after_the_other, both_at_once, dumps_agree]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    add_engine_argument(arguments)
    arguments.add_argument("parts", nargs="*", help="only these: " + ", ".join(p.__name__ for p in PARTS))
    options = arguments.parse_args()
    require_peer()
    print(f"seed {options.seed}")
    zest, peer = Client(os.environ.get("ZEST_INTEROP_FIRST", "zest")), Client("peer")
    with workspace("interop") as where:
        started = time.monotonic()
        for part in PARTS:
            if not options.parts or part.__name__ in options.parts:
                part(zest, peer, where, options.seed, options.engine)
        print(f"interop: ok, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
