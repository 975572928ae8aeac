#!/usr/bin/env python3
"""Real programs on a mounted volume: builds a C++ project, clones and checks a git repository, unpacks and compares a
tree, runs SQLite with concurrent writers, fio with verification, and every kind of write on a read-only mount.

Each check ends with the program's own verdict; after an unmount and a new mount the results are looked at again.
"""

import argparse
import errno
import multiprocessing
import os
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import (REPOSITORY, Client, Mount, Volume, add_client_arguments, assert_same_tree, client_of, run, tree,
                     workspace)  # noqa: E402


def build_project(mount: Path, scratch: Path):
    """Builds ZestFS's own base and format modules and runs their tests, sources and build tree on the mount."""
    source = mount / "project"
    source.mkdir()
    for part in ["CMakeLists.txt", "CMakePresets.json", "cmake", "src"]:
        run("cp", "-a", REPOSITORY / part, source / part)
    environment = dict(os.environ, CCACHE_DISABLE="1")
    build = source / "build"
    run("cmake", "-G", "Ninja", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Debug", env=environment)
    run("ninja", "-C", build, "zest_base_test", env=environment, timeout=900)
    run(build / "src/zest/base/zest_base_test")
    again = run("ninja", "-C", build, "-n", "-v", "zest_base_test", env=environment)
    assert "no work to do" in again.stdout, f"ninja wants to build again: time stamps are wrong\n{again.stdout[-500:]}"


def git_clone(mount: Path, scratch: Path):
    """Clones this repository (or a generated one), checks it, commits, repacks."""
    origin = scratch / "origin"
    run("git", "init", "-q", "-b", "main", origin)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for step in range(20):
        for i in range(20):
            path = origin / f"dir{i % 5}" / f"file{step}-{i}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{step} {i}\n" * (i * 50 + 1))
        run("git", "-C", origin, "add", "-A")
        run("git", "-C", origin, *identity, "commit", "-q", "-m", f"step {step}")
    clone = mount / "clone"
    run("git", "clone", "-q", "--no-hardlinks", origin, clone)
    run("git", "-C", clone, "fsck", "--full", "--strict")
    (clone / "new.txt").write_text("new\n")
    run("git", "-C", clone, "add", "new.txt")
    run("git", "-C", clone, *identity, "commit", "-q", "-m", "new")
    run("git", "-C", clone, "gc", "-q", "--prune=now")
    run("git", "-C", clone, "fsck", "--full", "--strict")
    status = run("git", "-C", clone, "status", "--porcelain").stdout
    assert status == "", f"git sees changes where none are:\n{status}"


def tar_and_diff(mount: Path, scratch: Path):
    """Unpacks a tree of a few thousand files and compares it with the original, also as a tar stream."""
    archive = scratch / "include.tar"
    run("tar", "-C", "/usr", "--exclude=boost", "-cf", archive, "include")
    run("tar", "-C", scratch, "-xf", archive)
    run("tar", "-C", mount, "-xf", archive)
    run("diff", "-r", "--no-dereference", scratch / "include", mount / "include")
    back = scratch / "back.tar"
    run("tar", "-C", mount, "--sort=name", "-cf", back, "include")
    original = scratch / "original.tar"
    run("tar", "-C", scratch, "--sort=name", "-cf", original, "include")
    listing = [run("tar", "-tvf", a).stdout for a in (original, back)]
    assert listing[0] == listing[1], "modes, owners, sizes or times of the copied tree differ"
    run("rm", "-rf", mount / "include")
    assert not (mount / "include").exists()


def sqlite_writer(path: str, journal: str, worker: int, rounds: int):
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={journal}")
    for i in range(rounds):
        database.execute("BEGIN IMMEDIATE")
        total = database.execute("SELECT value FROM total").fetchone()[0]
        database.execute("INSERT INTO entry VALUES (?, ?, randomblob(?))", (worker, i, 200 + 37 * i % 5000))
        database.execute("UPDATE total SET value = ?", (total + 1,))
        database.execute("COMMIT")
    database.close()


def sqlite_writers(mount: Path, scratch: Path):
    """Four processes add to one database, in rollback and in WAL mode; no update may be lost, no page torn."""
    for journal in ("DELETE", "WAL"):
        path = str(mount / f"{journal.lower()}.db")
        database = sqlite3.connect(path)
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute("CREATE TABLE entry (worker INT, i INT, filler BLOB, PRIMARY KEY (worker, i))")
        database.execute("CREATE TABLE total (value INT)")
        database.execute("INSERT INTO total VALUES (0)")
        database.commit()
        database.close()
        rounds = 40
        workers = [multiprocessing.Process(target=sqlite_writer, args=(path, journal, w, rounds)) for w in range(4)]
        for w in workers:
            w.start()
        for w in workers:
            w.join(300)
        assert all(w.exitcode == 0 for w in workers), f"{journal}: a writer failed"
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        rows, total = (database.execute(q).fetchone()[0]
                       for q in ("SELECT count(*) FROM entry", "SELECT value FROM total"))
        database.close()
        assert rows == total == 4 * rounds, f"{journal}: {rows} rows, total {total}, expected {4 * rounds}"


def fio_verify(mount: Path, scratch: Path):
    """fio writes with checksums and reads everything back: sequential and random, several jobs, mmap, direct I/O."""
    jobs = [
        ("seq", ["--rw=write", "--bs=1M", "--size=128M", "--ioengine=psync"]),
        ("rand", ["--rw=randwrite", "--bs=4k", "--size=24M", "--ioengine=psync", "--numjobs=2"]),
        ("randbs", ["--rw=randwrite", "--bsrange=1k-256k", "--size=48M", "--ioengine=psync", "--fsync=64"]),
        ("mmap", ["--rw=randwrite", "--bs=4k", "--size=24M", "--ioengine=mmap"]),
        ("direct", ["--rw=randwrite", "--bs=64k", "--size=48M", "--ioengine=libaio", "--iodepth=8", "--direct=1"]),
        ("mixed", ["--rw=randrw", "--bs=16k", "--size=32M", "--ioengine=psync", "--verify_backlog=256"]),
    ]
    folder = mount / "fio"
    folder.mkdir()
    for name, options in jobs:
        run("fio", f"--name={name}", f"--directory={folder}", "--verify_state_save=0", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1",
            "--group_reporting", "--fallocate=none", *options, timeout=600)
    run("sh", "-c", f"rm -r {folder}")


def read_only_mount(client: Client, volume: Volume, where: Path):
    """Everything that writes fails with EROFS on a read-only mount, and reading works."""
    with Mount(client, volume, where, "--read-only") as mount:
        root = mount.path
        target = root / "clone" / "new.txt"
        assert target.read_text() == "new\n"
        attempts = {
            "open for write": lambda: os.close(os.open(target, os.O_WRONLY)),
            "create": lambda: os.close(os.open(root / "x", os.O_CREAT | os.O_WRONLY)),
            "mkdir": lambda: os.mkdir(root / "x"),
            "unlink": lambda: os.unlink(target),
            "rmdir": lambda: os.rmdir(root / "clone"),
            "rename": lambda: os.rename(target, root / "y"),
            "link": lambda: os.link(target, root / "y"),
            "symlink": lambda: os.symlink("a", root / "y"),
            "mknod": lambda: os.mkfifo(root / "y"),
            "chmod": lambda: os.chmod(target, 0o600),
            "chown": lambda: os.chown(target, 1, 1),
            "truncate": lambda: os.truncate(target, 0),
            "utime": lambda: os.utime(target),
            "setxattr": lambda: os.setxattr(target, "user.a", b"b"),
        }
        for name, attempt in attempts.items():
            try:
                attempt()
                raise AssertionError(f"{name} succeeded on a read-only mount")
            except OSError as e:
                assert e.errno == errno.EROFS, f"{name}: {e}, expected EROFS"


CHECKS = [tar_and_diff, git_clone, sqlite_writers, fio_verify, build_project]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_client_arguments(arguments)
    arguments.add_argument("checks", nargs="*", help="only these: " + ", ".join(c.__name__ for c in CHECKS))
    options = arguments.parse_args()
    with client_of(options) as (client, mount_options), workspace("programs") as where:
        volume = Volume(where, engine=options.engine)
        client.format(volume)
        scratch = where / "scratch"
        scratch.mkdir()
        with Mount(client, volume, where / "mnt", "--enable-xattr", *mount_options) as mount:
            for check in CHECKS:
                if options.checks and check.__name__ not in options.checks:
                    continue
                started = time.monotonic()
                check(mount.path, scratch)
                print(f"{check.__name__}: ok, {time.monotonic() - started:.1f} s", flush=True)
            before = tree(mount.path, skip=(".trash",))
        with Mount(client, volume, where / "mnt", "--enable-xattr", *mount_options) as mount:
            assert_same_tree(before, tree(mount.path, skip=(".trash",)), ("before the remount", "after"))
            print(f"remount: {len(before)} paths are the same")
        if (not options.checks or "git_clone" in options.checks) and client.kind == "zest":
            read_only_mount(client, volume, where / "ro")
            print("read_only_mount: ok")


if __name__ == "__main__":
    main()
