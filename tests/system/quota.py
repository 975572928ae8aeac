#!/usr/bin/env python3
"""Quotas on real mounts: writers get EDQUOT, df shows what is left, what is counted agrees with what is there; and the
peer, on the same volume, sees our numbers and limits us, and we it.

Without setpriv the test counts as skipped; without the peer's program only its part is left out.
"""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import SKIPPED, Client, Mount, Volume, find_peer, run, wait_until, workspace  # noqa: E402

# Clients learn of a quota at a heartbeat and write what they used every three seconds.
OPTIONS = ["--heartbeat=1"]
KNOWN_AFTER = 2.5
BLOCK = 4096
MIB = 1 << 20


def quota(zest: Client, action: str, volume: Volume, *args, check=True) -> dict:
    done = run(zest.program, "quota", action, volume.url, *args, "--json", check=check)
    return json.loads(done.stdout) if done.stdout else {}


def used(zest: Client, volume: Volume, *target) -> tuple[int, int]:
    row = next(iter(quota(zest, "get", volume, *target).values()))
    return row["UsedSpace"], row["UsedInodes"]


def fails_with(number: int, work) -> bool:
    try:
        work()
    except OSError as e:
        assert e.errno == number, f"{errno.errorcode[e.errno]} instead of {errno.errorcode[number]}"
        return True
    return False


def as_user(uid: int, gid: int, script: str, *args) -> subprocess.CompletedProcess:
    return subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "sh", "-c", script, "sh",
                           *map(str, args)], capture_output=True, text=True)


def write(path: Path, size: int):
    with open(path, "wb") as f:
        f.write(b"x" * size)
        f.flush()
        os.fsync(f.fileno())


def check_directory(zest: Client, volume: Volume, mount: Mount):
    limited = mount.path / "limited"
    limited.mkdir()
    (limited / "sub").mkdir()
    quota(zest, "set", volume, "--path", "/limited", "--capacity", "1M", "--inodes", "4")
    time.sleep(KNOWN_AFTER)
    write(limited / "sub" / "half", MIB // 2)
    assert fails_with(errno.EDQUOT, lambda: write(limited / "much", MIB)), "a write beyond the limit"
    os.unlink(limited / "much")
    (limited / "one").touch()
    (limited / "two").touch()
    assert fails_with(errno.EDQUOT, lambda: (limited / "three").touch()), "an inode beyond the limit"
    assert fails_with(errno.EDQUOT, lambda: os.link(limited / "one", limited / "three"))
    assert fails_with(errno.EDQUOT, lambda: os.truncate(limited / "one", MIB))
    (mount.path / "outside").mkdir()
    (mount.path / "outside" / "in").touch()
    assert fails_with(errno.EDQUOT, lambda: os.rename(mount.path / "outside", limited / "outside"))

    free = os.statvfs(limited / "sub")
    assert free.f_blocks * free.f_frsize == MIB, free
    assert free.f_bavail * free.f_frsize == MIB // 2 - 3 * BLOCK, free
    assert free.f_files == 4 and free.f_favail == 0, free
    assert os.statvfs(mount.path).f_blocks * BLOCK > 1 << 40

    os.rename(limited / "sub", mount.path / "moved")
    wait_until(lambda: used(zest, volume, "--path", "/limited") == (2 * BLOCK, 2), 10, "the quota to be written")
    run(zest.program, "quota", "check", volume.url, "--path", "/limited")
    # Below a sub-directory mount, too.
    below = Mount(zest, volume, mount.path.parent / "below", "--subdir=/limited", *OPTIONS)
    with below:
        assert os.statvfs(below.path).f_blocks * BLOCK == MIB
        (below.path / "a").touch()
        (below.path / "b").touch()
        assert fails_with(errno.EDQUOT, lambda: (below.path / "c").touch())


def check_owners(zest: Client, volume: Volume, mount: Mount):
    place = mount.path / "everybody"
    place.mkdir()
    place.chmod(0o777)
    quota(zest, "set", volume, "--uid", "1001", "--inodes", "3")
    quota(zest, "set", volume, "--gid", "2001", "--capacity", "1M")
    time.sleep(KNOWN_AFTER)
    done = as_user(1001, 1001, 'cd "$1" && touch 1 2 3 && touch 4', place)
    assert done.returncode != 0 and "quota" in done.stderr.lower(), done.stderr
    assert not (place / "4").exists() and (place / "3").exists()
    done = as_user(1002, 2001, 'head -c 2000000 /dev/zero >"$1/big"', place)
    assert done.returncode != 0 and "quota" in done.stderr.lower(), done.stderr
    os.unlink(place / "big")
    assert as_user(1002, 2001, 'head -c 500000 /dev/zero >"$1/small"', place).returncode == 0
    os.chown(place / "1", 0, 0)
    time.sleep(KNOWN_AFTER)
    assert as_user(1001, 1001, 'touch "$1/4"', place).returncode == 0, "chown gave one back"
    os.unlink(place / "2")
    wait_until(lambda: used(zest, volume, "--uid", "1001") == (2 * BLOCK, 2), 10, "the quota to be written")
    wait_until(lambda: run(zest.program, "quota", "check", volume.url, check=False).returncode == 0, 10,
               "users and groups to agree with a count")


def check_older_volume(zest: Client, where: Path):
    """An older client's volume has no table of user quotas: a read-only mount adds none and works, a writing one adds it."""
    volume = Volume(where, name="older", engine="sqlite")
    zest.format(volume)
    with sqlite3.connect(volume.url.removeprefix("sqlite3://")) as db:
        db.execute("drop table jfs_user_group_quota")
    db.close()
    with Mount(zest, volume, where / "older", "--read-only", *OPTIONS) as mount:
        assert os.statvfs(mount.path).f_files > 0
        assert "heartbeat failed" not in mount.output()
    with Mount(zest, volume, where / "older", *OPTIONS) as mount:
        (mount.path / "f").touch()
    run(zest.program, "quota", "set", volume.url, "--uid", "1001", "--inodes", "1")


def check_peer(zest: Client, where: Path):
    """Both mounted: each counts its own, both see the sum, and the limit holds for both; the peer's own check agrees."""
    peer = Client("peer")
    volume = Volume(where, name="shared")
    peer.format(volume)
    with Mount(zest, volume, where / "a", *OPTIONS) as a, Mount(peer, volume, where / "b", *OPTIONS) as b:
        (a.path / "d" / "sub").mkdir(parents=True)
        (a.path / "d").chmod(0o777)
        write(a.path / "d" / "sub" / "old", 10000)
        time.sleep(1.5)
        run(peer.program, "quota", "set", volume.url, "--path", "/d", "--inodes", "7", "--capacity", "1")
        assert quota(zest, "get", volume, "--path", "/d")["/d"] == {
            "MaxSpace": 1 << 30, "MaxInodes": 7, "UsedSpace": 4 * BLOCK, "UsedInodes": 2}
        time.sleep(KNOWN_AFTER)
        write(a.path / "d" / "by-zest", 100_000)
        write(b.path / "d" / "by-peer", 100_000)
        (b.path / "d" / "sub" / "dir").mkdir()
        os.unlink(a.path / "d" / "sub" / "old")
        wait_until(lambda: used(zest, volume, "--path", "/d") == (2 * 102400 + 2 * BLOCK, 4), 15, "both to have counted")
        run(peer.program, "quota", "check", volume.url, "--path", "/d")
        run(zest.program, "quota", "check", volume.url, "--path", "/d")
        time.sleep(KNOWN_AFTER)
        for name in ("5", "6", "7"):
            (b.path / "d" / name).touch()
        wait_until(lambda: used(zest, volume, "--path", "/d")[1] == 7, 15, "the peer to have counted")
        time.sleep(KNOWN_AFTER)
        assert fails_with(errno.EDQUOT, lambda: (a.path / "d" / "8").touch()), "the peer's use limits us"
        # The other way round, with users; a tree goes out of the quota.
        os.rename(a.path / "d" / "sub", a.path / "sub")
        run(zest.program, "quota", "set", volume.url, "--uid", "1001", "--inodes", "2")
        time.sleep(KNOWN_AFTER)
        assert as_user(1001, 1001, 'touch "$1/x" "$1/y"', a.path / "d").returncode == 0
        wait_until(lambda: used(zest, volume, "--uid", "1001") == (2 * BLOCK, 2), 15, "the user to be counted")
        time.sleep(KNOWN_AFTER)
        done = as_user(1001, 1001, 'touch "$1/z"', b.path / "d")
        assert done.returncode != 0 and "quota" in done.stderr.lower(), f"our use limits the peer's users: {done.stderr}"
    for client in (zest, peer):
        run(client.program, "quota", "check", volume.url, "--path", "/d")
        run(client.program, "quota", "check", volume.url)
        client.fsck(volume)


def main():
    if shutil.which("setpriv") is None:
        print("skipped: setpriv was not found")
        sys.exit(SKIPPED)
    zest = Client("zest")
    with workspace("quota") as where:
        volume = Volume(where)
        zest.format(volume)
        with Mount(zest, volume, where / "mnt", *OPTIONS) as mount:
            check_directory(zest, volume, mount)
            check_owners(zest, volume, mount)
        run(zest.program, "quota", "check", volume.url, "--path", "/limited")
        run(zest.program, "quota", "check", volume.url)
        check_older_volume(zest, where)
        print("one client: directories, users and groups limited, shown and counted")
        if find_peer() is None:
            print("left out: the peer's client was not found")
        else:
            check_peer(zest, where)
            print("with the peer: each sees the other's use, and both checks agree")


if __name__ == "__main__":
    main()
