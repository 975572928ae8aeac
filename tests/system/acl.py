#!/usr/bin/env python3
"""POSIX ACLs on real mounts, with setfacl and getfacl: what they show, that the kernel enforces them for other users,
inheritance, chmod; and that the peer sees the same rules on the same volume, and we the peer's.

Without setfacl (package acl) the test counts as skipped; without the peer's program only its part is left out.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import SKIPPED, Client, Mount, Volume, find_peer, run, workspace  # noqa: E402

# Other clients' changes at once: coherence is tested here, not caches.
FRESH = ["--attr-cache=0", "--entry-cache=0", "--dir-entry-cache=0"]


def setfacl(*args):
    run("setfacl", *args)


def getfacl(path) -> list[str]:
    """The ACL's lines without the comments, sorted, so that two clients' orders compare."""
    printed = run("getfacl", "-n", "-p", "-E", path).stdout
    return sorted(line for line in printed.splitlines() if line and not line.startswith("#"))


def can(uid: int, gid: int, script: str, *args) -> bool:
    """Whether a shell command succeeds as another user without supplementary groups."""
    done = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "sh", "-c", script, "sh",
                           *map(str, args)], capture_output=True, text=True)
    return done.returncode == 0


def check_enforcement(root: Path):
    secret = root / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    assert not can(1001, 1001, 'cat "$1"', secret)
    setfacl("-m", "u:1001:r", secret)
    assert can(1001, 1001, 'cat "$1"', secret), "the named user may read"
    assert not can(1001, 1001, 'echo x >>"$1"', secret), "but not write"
    assert not can(1002, 1002, 'cat "$1"', secret), "and nobody else may"
    setfacl("-m", "g:2001:rw", secret)
    assert can(1002, 2001, 'echo x >>"$1"', secret), "a member of the named group may write"
    os.chmod(secret, 0o640)  # the mask: r--
    assert not can(1002, 2001, 'echo x >>"$1"', secret), "chmod took w out of the mask"
    assert getfacl(secret) == sorted(["user::rw-", "user:1001:r--", "group::---", "group:2001:rw-", "mask::r--",
                                      "other::---"]), getfacl(secret)
    setfacl("-m", "u:1003:---", secret)
    os.chmod(secret, 0o664)
    assert not can(1003, 1003, 'cat "$1"', secret), "a named user without rights is denied what others may"
    setfacl("-b", secret)
    assert getfacl(secret) == sorted(["user::rw-", "group::---", "other::r--"]), getfacl(secret)
    assert secret.stat().st_mode & 0o777 == 0o604
    assert os.listxattr(secret) == []


def check_inheritance(root: Path):
    parent = root / "parent"
    parent.mkdir(mode=0o755)
    setfacl("-m", "d:u:1001:rwx,d:g::r-x,d:o::---", parent)
    assert parent.stat().st_mode & 0o777 == 0o755
    assert "system.posix_acl_default" in os.listxattr(parent)
    old = os.umask(0o077)
    try:
        (parent / "file").write_text("x")
        (parent / "dir").mkdir()
        os.mkfifo(parent / "fifo")
        os.symlink("file", parent / "link")
    finally:
        os.umask(old)
    assert "user:1001:rwx" in getfacl(parent / "file")
    assert (parent / "file").stat().st_mode & 0o777 == 0o660, "the default ACL decides, not the umask"
    assert "default:user:1001:rwx" in getfacl(parent / "dir")
    assert "user:1001:rwx" in getfacl(parent / "dir")
    assert can(1001, 1001, 'echo y >"$1/file" && touch "$1/dir/made"', parent)
    assert "user:1001:rwx" in getfacl(parent / "dir" / "made"), "a child of the child inherits, too"
    assert not can(1002, 1002, 'cat "$1/file"', parent)
    setfacl("-k", parent)
    assert not any(line.startswith("default:") for line in getfacl(parent))


def check_copies(root: Path):
    """cp -a and tar keep ACLs; a new mount shows them, too (see main)."""
    source = root / "source"
    source.mkdir()
    (source / "f").write_text("x")
    setfacl("-m", "u:1001:rwx", source / "f")
    setfacl("-m", "d:u:1001:rwx", source)
    run("cp", "-a", source, root / "copy")
    assert getfacl(source / "f")[1:] == getfacl(root / "copy" / "f")[1:]
    assert getfacl(source) == getfacl(root / "copy")


def check_not_enabled(zest: Client, where: Path):
    """A volume without EnableACL says ENOTSUP, until `config --enable-acl`, which cannot be undone."""
    volume = Volume(where, name="plain")
    zest.format(volume)
    with Mount(zest, volume, where / "plain") as mount:
        (mount.path / "f").write_text("x")
        done = run("setfacl", "-m", "u:1001:r", mount.path / "f", check=False)
        assert "not supported" in done.stderr, done.stderr
    changed = run(zest.program, "config", "--enable-acl", volume.url).stdout
    assert "enable-acl: false -> true" in changed, changed
    assert '"MinClientVersion": "1.2.0-A"' in run(zest.program, "config", volume.url).stdout
    refused = run(zest.program, "config", "--enable-acl=false", volume.url, check=False)
    assert refused.returncode == 1 and "cannot be switched off" in refused.stderr, refused.stderr
    with Mount(zest, volume, where / "plain") as mount:
        setfacl("-m", "u:1001:r", mount.path / "f")
        assert "user:1001:r--" in getfacl(mount.path / "f")


def check_peer(zest: Client, where: Path):
    """Rules set through one client are shown by the other, both mounted at once, whoever formatted."""
    peer = Client("peer")
    for formatter in (zest, peer):
        volume = Volume(where, name=f"by-{formatter.kind}")
        formatter.format(volume, "--enable-acl")
        with Mount(zest, volume, where / f"{formatter.kind}-a", *FRESH) as a, \
                Mount(peer, volume, where / f"{formatter.kind}-b", *FRESH) as b:
            for writer, reader in ((a.path, b.path), (b.path, a.path)):
                kind = "zest" if writer == a.path else "peer"
                directory = writer / f"dir-{kind}"
                directory.mkdir()
                setfacl("-m", "d:u:1001:rwx,d:g:2001:r-x,u:1002:r-x", directory)
                (directory / "child").write_text("x")
                (directory / "sub").mkdir()
                (writer / f"file-{kind}").write_text("x")
                setfacl("-m", "u:1001:rw,g:2001:r", writer / f"file-{kind}")
                # chmod and inheritance through the other client.
                os.chmod(reader / f"file-{kind}", 0o640)
                (reader / f"dir-{kind}" / "other-child").write_text("x")
                time.sleep(0.1)
                for name in (f"dir-{kind}", f"dir-{kind}/child", f"dir-{kind}/sub", f"dir-{kind}/other-child",
                             f"file-{kind}"):
                    seen = getfacl(writer / name), getfacl(reader / name)
                    assert seen[0] == seen[1], f"{name}: {seen}"
                    assert (writer / name).stat().st_mode == (reader / name).stat().st_mode, name
                assert "mask::r--" in getfacl(writer / f"file-{kind}")
                assert can(1001, 1001, 'echo y >"$1"', reader / f"dir-{kind}" / "child")
                setfacl("-b", reader / f"file-{kind}")
                assert len(getfacl(writer / f"file-{kind}")) == 3
        zest.fsck(volume)
        peer.fsck(volume)


def main():
    if shutil.which("setfacl") is None or shutil.which("setpriv") is None:
        print("skipped: setfacl (package acl) or setpriv was not found")
        sys.exit(SKIPPED)
    zest = Client("zest")
    with workspace("acl") as where:
        volume = Volume(where)
        zest.format(volume, "--enable-acl")
        with Mount(zest, volume, where / "mnt") as mount:
            root = mount.path / "root"
            root.mkdir(mode=0o755)
            check_enforcement(root)
            check_inheritance(root)
            check_copies(root)
            before = getfacl(root / "copy" / "f")
        with Mount(zest, volume, where / "mnt") as mount:
            assert getfacl(mount.path / "root" / "copy" / "f") == before
        print("one client: shown, enforced, inherited, changed by chmod, copied, kept")
        check_not_enabled(zest, where)
        if find_peer() is None:
            print("left out: the peer's client was not found")
        else:
            check_peer(zest, where)
            print("with the peer: both see the same rules")


if __name__ == "__main__":
    main()
