#!/usr/bin/env python3
"""Operations that programs seldom use, on real mounts: files without names, files that another mount deletes while they
are open, inode flags, fallocate, directories that change while they are listed.

Each check gets two mounts of one volume without a trash.
"""

import argparse
import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import (Mount, Volume, add_client_arguments, assert_same_tree, client_of, find_zest, run, tree, wait_until,
                     workspace)  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
SECURE_REMOVAL, IMMUTABLE, APPEND = 0x01, 0x10, 0x20


def fails_with(expected: int, call, *args):
    try:
        call(*args)
    except OSError as e:
        assert e.errno == expected, f"{call} failed with {e}, expected {errno.errorcode[expected]}"
        return
    raise AssertionError(f"{call} succeeded, expected {errno.errorcode[expected]}")


def link_open_file(fd: int, path: Path):
    follow, here = 0x400, -100
    if LIBC.linkat(here, b"/proc/self/fd/%d" % fd, here, os.fsencode(path), follow) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def unnamed_files(a: Path, b: Path):
    """O_TMPFILE, named by linkat(2) through /proc/self/fd and through AT_EMPTY_PATH, and never named."""
    directory = a / "tmp"
    directory.mkdir()
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"first")
    os.fdatasync(fd)
    assert os.fstat(fd).st_nlink == 0 and not os.listdir(b / "tmp")
    link_open_file(fd, directory / "named")
    assert os.fstat(fd).st_nlink == 1
    os.write(fd, b" second")
    os.close(fd)
    assert (b / "tmp/named").read_bytes() == b"first second"
    os.link(directory / "named", directory / "again")
    assert os.stat(directory / "again").st_nlink == 2

    fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
    at_empty_path = 0x1000
    done = LIBC.linkat(fd, b"", -100, os.fsencode(directory / "empty"), at_empty_path)
    assert done == 0, os.strerror(ctypes.get_errno())
    os.close(fd)
    assert os.stat(b / "tmp/empty").st_nlink == 1

    fd = os.open(directory, os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)
    fails_with(errno.ENOENT, link_open_file, fd, directory / "x")
    os.close(fd)
    fd = os.open(directory / "empty", os.O_RDONLY)
    os.unlink(directory / "empty")
    fails_with(errno.ENOENT, link_open_file, fd, directory / "x")
    os.close(fd)
    os.unlink(directory / "named")
    os.unlink(directory / "again")
    os.rmdir(directory)


def deleted_by_another_mount(a: Path, b: Path):
    """What mount B unlinks, or replaces by rename, while it is open through A, stays readable and writable there."""
    data = os.urandom(9 << 20)
    (a / "open").write_bytes(data)
    (a / "replaced").write_bytes(data)
    (b / "new").write_bytes(b"new")
    opened = [os.open(a / name, os.O_RDWR) for name in ("open", "replaced")]
    os.unlink(b / "open")
    os.rename(b / "new", b / "replaced")
    for fd in opened:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, len(data), 0) == data
        os.pwrite(fd, b"changed", 4 << 20)
        os.fsync(fd)
        os.ftruncate(fd, 5 << 20)
        assert os.pread(fd, 7, 4 << 20) == b"changed"
        wait_until(lambda fd=fd: os.fstat(fd).st_nlink == 0, what="the attributes of a deleted file")
        assert os.fstat(fd).st_size == 5 << 20
    # Within a second the kernel may still take the name for the old file.
    wait_until(lambda: (a / "replaced").read_bytes() == b"new", what="the new file of that name")
    for fd in opened:
        os.close(fd)
    assert sorted(os.listdir(a)) == ["replaced"], os.listdir(a)
    os.unlink(a / "replaced")


def inode_flags(a: Path, b: Path):
    """chattr +i, +a, +s through FS_IOC_SETFLAGS, as set through one mount and obeyed by both."""
    path = a / "flags"
    path.write_text("x")

    def flags(where: Path) -> int:
        with open(where) as f:
            return struct.unpack("l", fcntl.ioctl(f, FS_IOC_GETFLAGS, bytes(8)))[0]

    def set_flags(value: int):
        with open(path) as f:
            fcntl.ioctl(f, FS_IOC_SETFLAGS, struct.pack("l", value))

    set_flags(IMMUTABLE)
    assert flags(b / "flags") == IMMUTABLE
    for root in (a, b):
        fails_with(errno.EPERM, open, root / "flags", "w")
        fails_with(errno.EPERM, os.unlink, root / "flags")
        fails_with(errno.EPERM, os.link, root / "flags", root / "other")
        fails_with(errno.EPERM, os.rename, root / "flags", root / "other")
    set_flags(APPEND | SECURE_REMOVAL)
    assert flags(b / "flags") == APPEND | SECURE_REMOVAL
    fails_with(errno.EPERM, open, path, "w")
    with open(path, "a") as f:
        f.write("y")
    wait_until(lambda: (b / "flags").read_text() == "xy", what="the appended byte")
    fails_with(errno.EPERM, os.truncate, path, 0)
    unknown = 0x80
    fails_with(errno.EOPNOTSUPP, set_flags, unknown)
    set_flags(0)
    os.unlink(path)


def allocation(a: Path, b: Path):
    """Every mode of fallocate(2), with its errno, and its effect as the other mount sees it."""
    keep, punch, collapse, zero, insert = 1, 2, 8, 16, 32
    path = a / "allocated"
    data = os.urandom(200_000)
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)

    def allocate(mode: int, offset: int, length: int):
        done = LIBC.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
        if done != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    allocate(keep, 150_000, 100_000)
    assert os.fstat(fd).st_size == 200_000
    allocate(punch | keep, 1000, 50_000)
    allocate(zero | keep, 190_000, 50_000)
    assert os.fstat(fd).st_size == 200_000
    expected = data[:1000] + bytes(50_000) + data[51_000:190_000] + bytes(10_000)
    assert (b / "allocated").read_bytes() == expected
    allocate(zero, 195_000, 10_000)
    allocate(0, 0, 300_000)
    assert os.fstat(fd).st_size == 300_000
    for mode, code in [(punch, errno.EOPNOTSUPP), (collapse, errno.EOPNOTSUPP), (insert, errno.EOPNOTSUPP)]:
        fails_with(code, allocate, mode, 0, 4096)
    fails_with(errno.EINVAL, allocate, 0, 0, 0)
    os.close(fd)
    os.unlink(path)


def copies(a: Path, b: Path):
    """copy_file_range(2) across the borders of chunks, within one file and between two."""
    mib = 1 << 20
    source, target = a / "source", a / "target"
    with open(source, "wb") as f:
        for at in range(0, 200 * mib, 50 * mib):
            f.seek(at)
            f.write(os.urandom(3 * mib))
        f.truncate(191 * mib)
    target.write_bytes(b"x" * 100)
    with open(source, "rb") as f, open(target, "r+b") as g:
        done = 0
        while done < 150 * mib:
            part = os.copy_file_range(f.fileno(), g.fileno(), 150 * mib - done, 40 * mib + 77 + done, 61 * mib + 5 + done)
            assert part > 0
            done += part
    expected = bytearray(61 * mib + 5)
    expected[:100] = b"x" * 100
    with open(b / "source", "rb") as f:
        f.seek(40 * mib + 77)
        expected += f.read(150 * mib)
    assert (b / "target").read_bytes() == expected
    os.unlink(source)
    os.unlink(target)


def listing_while_it_changes(a: Path, b: Path):
    """rm -r of many entries, each deleted once; seekdir and rewinddir; entries that stay are listed exactly once."""
    directory = a / "many"
    directory.mkdir()
    names = [f"file-{i:05}" for i in range(12_000)]
    for name in names:
        os.close(os.open(directory / name, os.O_CREAT | os.O_WRONLY, 0o644))
    seen = []
    with os.scandir(b / "many") as entries:
        for i, entry in enumerate(entries):
            seen.append(entry.name)
            if i % 3 == 0:
                os.unlink(directory / entry.name)
    assert len(seen) == len(set(seen)), "listed twice"
    assert set(seen) == set(names)
    gone = {name for i, name in enumerate(seen) if i % 3 == 0}
    assert set(os.listdir(directory)) == set(names) - gone
    positions(directory)
    removed = subprocess.run(["rm", "-r", str(directory)], capture_output=True, text=True, check=False)
    assert removed.returncode == 0 and not removed.stderr, removed.stderr[:2000]
    assert not os.path.exists(b / "many") or wait_until(lambda: not os.path.exists(b / "many")) is None


def clones(a: Path, b: Path):
    """zest clone: a tree with data, links and attributes; through a user without rights; its errors."""
    zest = find_zest()
    top = a / "original"
    (top / "sub").mkdir(parents=True)
    for i in range(300):
        (top / "sub" / f"f{i}").write_bytes(os.urandom(1000 + i))
    (top / "big").write_bytes(os.urandom(70 << 20))
    os.symlink("sub/f1", top / "link")
    os.mkfifo(top / "pipe")
    os.setxattr(top / "big", "user.tag", b"value")
    os.chown(top / "sub/f3", 1000, 1000)
    os.chmod(top / "sub/f4", 0o600)
    done = run(zest, "clone", "--preserve", top, a / "copy")
    assert "305 entries cloned" in done.stdout, done.stdout

    def comparable(root: Path) -> dict:
        return {path: {k: v for k, v in entry.items() if k not in ("ino", "ctime")} for path, entry in tree(root).items()}

    assert_same_tree(comparable(top), comparable(b / "copy"), ("the original", "the clone"))
    run(zest, "clone", a / "original/big", f"{a}/copy/sub/")
    assert (b / "copy/sub/big").read_bytes() == (a / "original/big").read_bytes()
    with open(a / "copy/big", "r+b") as f:
        f.write(b"changed")
    assert (a / "original/big").read_bytes()[:7] != b"changed"
    for source, target, text in [(top, a / "copy", "exists already"), (a / "none", a / "x", "none"),
                                 (top, "/tmp/zest-clone-outside", "not in a mounted volume")]:
        failed = run(zest, "clone", source, target, check=False)
        assert failed.returncode == 1 and text in failed.stderr, failed.stderr
    os.chmod(a, 0o777)
    failed = run(zest, "clone", top, a / "mine", check=False, user=1234, group=1234)
    assert failed.returncode == 1 and "Permission denied" in failed.stderr, failed.stderr
    assert not os.path.exists(b / "mine")
    run(zest, "clone", top / "sub/f5", a / "mine", user=1234, group=1234)
    assert os.stat(a / "mine").st_uid == 1234
    run("rm", "-r", top, a / "copy", a / "mine")


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("length", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]


def positions(directory: Path):
    """telldir, seekdir, rewinddir."""
    LIBC.opendir.restype = ctypes.c_void_p
    LIBC.readdir.restype = ctypes.POINTER(Dirent)
    LIBC.telldir.restype = ctypes.c_long
    stream = ctypes.c_void_p(LIBC.opendir(os.fsencode(directory)))
    order, where = [], []
    while True:
        where.append(LIBC.telldir(stream))
        entry = LIBC.readdir(stream)
        if not entry:
            break
        order.append(entry.contents.name)
    for i in (0, 5, 4999, 1500, len(order) - 1):
        LIBC.seekdir(stream, ctypes.c_long(where[i]))
        entry = LIBC.readdir(stream)
        assert entry and entry.contents.name == order[i], i
    LIBC.rewinddir(stream)
    assert LIBC.readdir(stream).contents.name == order[0]
    LIBC.closedir(stream)


CHECKS = [unnamed_files, deleted_by_another_mount, inode_flags, allocation, copies, clones, listing_while_it_changes]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_client_arguments(arguments)
    arguments.add_argument("checks", nargs="*", help="only these: " + ", ".join(c.__name__ for c in CHECKS))
    options = arguments.parse_args()
    with client_of(options) as (client, mount_options), workspace("operations") as where:
        volume = Volume(where)
        client.format(volume)
        mount_options = ["--enable-ioctl", "--enable-xattr", "--hide-internal", *mount_options]
        with (Mount(client, volume, where / "a", *mount_options) as a,
              Mount(client, volume, where / "b", *mount_options) as b):
            for check in CHECKS:
                if options.checks and check.__name__ not in options.checks:
                    continue
                started = time.monotonic()
                check(a.path, b.path)
                print(f"{check.__name__}: ok, {time.monotonic() - started:.1f} s", flush=True)
        run(client.program, "fsck", volume.url)


if __name__ == "__main__":
    main()
