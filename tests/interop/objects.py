#!/usr/bin/env python3
"""Both clients on volumes whose objects are encrypted, compressed, sharded and hash-prefixed: what one writes the other
reads, fsck of both is content, gc of both finds nothing to remove, and a wrong passphrase is a clear refusal.

The ciphers, compressions and layouts each meet in a few combinations; --all runs every one. Without the peer's program
the test counts as skipped.
"""

import argparse
import itertools
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import Client, Mount, Volume, assert_same_tree, require_peer, run, tree, workspace  # noqa: E402

MIB = 1 << 20
CIPHERS = (None, "aes256gcm-rsa", "chacha20-rsa")
COMPRESSIONS = ("none", "lz4", "zstd")
LAYOUTS = ((), ("--hash-prefix",), ("--shards", "3"), ("--shards", "3", "--hash-prefix"))
SOME = [("aes256gcm-rsa", "none", ()), ("chacha20-rsa", "lz4", LAYOUTS[3]), (None, "zstd", LAYOUTS[2]),
        ("aes256gcm-rsa", "zstd", LAYOUTS[1])]
XATTR = ["--enable-xattr"]
PASSPHRASE = "open sesame"


def fill(root: Path, seed: int):
    chance = random.Random(seed)
    root.mkdir()
    for size in (0, 1, 4096, 100_000, 4 * MIB, 9 * MIB + 1):
        # Half of it can be compressed.
        (root / f"size-{size}").write_bytes(chance.randbytes(size // 2) + bytes(size - size // 2))
    with open(root / "patched", "wb") as f:
        f.truncate(6 * MIB)
        for _ in range(30):
            os.pwrite(f.fileno(), chance.randbytes(3000), chance.randrange(6 * MIB))


def check_tree(client: Client, expected: dict, root: Path):
    """The client shows the tree. The peer may show old bytes of overlapping writes, its own ones too, while it compacts
    them, which the first look starts; so it gets a second one."""
    for last in (client.kind == "zest", True):
        try:
            return assert_same_tree(expected, tree(root), ("expected", client.kind))
        except AssertionError:
            if last:
                raise
        time.sleep(3)
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


def check_gc(client: Client, volume: Volume):
    done = run(client.program, "gc", volume.url, env=dict(os.environ, JFS_GC_SKIPPEDTIME="0"))
    if client.kind == "peer":
        found = re.search(r"(\d+) leaked", done.stdout + done.stderr)
        assert found and found[1] == "0", f"the peer's gc of {volume.url}:\n{done.stdout}{done.stderr}"


def check_wrong_passphrase(zest: Client, volume: Volume, where: Path):
    where.mkdir()
    wrong = subprocess.run([zest.program, "mount", volume.url, str(where)], capture_output=True, text=True, timeout=60,
                           env=dict(os.environ, JFS_RSA_PASSPHRASE="guessed"))
    assert wrong.returncode == 1 and "JFS_RSA_PASSPHRASE" in wrong.stderr, wrong
    assert "guessed" not in wrong.stderr + wrong.stdout and PASSPHRASE not in wrong.stderr + wrong.stdout


def check(where: Path, key: Path, first: Client, second: Client, combination):
    cipher, compression, layout = combination
    volume = Volume(where, name="vol")
    if "--shards" in layout:
        volume.storage = ["--storage", "file", "--bucket", f"{where}/bucket-%d/"]
    encryption = ["--encrypt-rsa-key", key, "--encrypt-algo", cipher] if cipher else []
    first.format(volume, "--compress", compression, *layout, *encryption)
    with Mount(first, volume, where / "first", *XATTR) as mount:
        fill(mount.path / "by-first", 1)
        written = tree(mount.path / "by-first")
    with Mount(second, volume, where / "second", *XATTR) as mount:
        check_tree(second, written, mount.path / "by-first")
        fill(mount.path / "by-second", 2)
        (mount.path / "by-first" / "size-4096").unlink()
        written = {name: tree(mount.path / name) for name in ("by-first", "by-second")}
    with Mount(first, volume, where / "again", *XATTR) as mount:
        for name, seen in written.items():
            check_tree(first, seen, mount.path / name)
    for client in (first, second):
        client.fsck(volume)
        check_gc(client, volume)
    if cipher:
        plain = b"\0" * 4096  # every file ends with many
        objects = [p for bucket in where.glob("*bucket*") for p in bucket.rglob("*_*_*")]
        assert objects and not any(plain in p.read_bytes() for p in objects), "an object is not encrypted"
        check_wrong_passphrase(next(c for c in (first, second) if c.kind == "zest"), volume, where / "wrong")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--all", action="store_true", help="every combination of cipher, compression and layout")
    options = arguments.parse_args()
    require_peer()
    os.environ["JFS_RSA_PASSPHRASE"] = PASSPHRASE
    zest, peer = Client("zest"), Client("peer")
    with workspace("objects") as where:
        key = where / "key.pem"
        run("openssl", "genrsa", "-traditional", "-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", key, "2048")
        combinations = list(itertools.product(CIPHERS, COMPRESSIONS, LAYOUTS)) if options.all else SOME
        for number, combination in enumerate(combinations):
            for first, second in ((zest, peer), (peer, zest)):
                folder = where / f"{number}-{first.kind}"
                folder.mkdir()
                check(folder, key, first, second, combination)
            cipher, compression, layout = combination
            print(f"{cipher or 'plain'}, {compression}, {' '.join(layout) or 'one bucket'}: the same both ways")


if __name__ == "__main__":
    main()
