#!/usr/bin/env python3
"""kill -9 of the client while programs write: after a new mount, everything that was acknowledged is there and right.

Each round mounts the volume, lets writers work, kills the client at a random moment, cleans up the dead mount with a
fresh `zest mount` on it, and compares. A writer notes (outside of the volume) what it is about to do and what was
acknowledged: a file is `synced` once its fsync or close returned, a name once its system call returned.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import (Mount, Volume, add_client_arguments, client_of, find_peer, is_mounted, run,
                     workspace)  # noqa: E402

WRITER = r"""
import hashlib, json, os, random, sys
root, journal, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = random.Random(seed)
log = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(**event):
    os.write(log, (json.dumps(event) + "\n").encode())

names = []
step = 0
while True:
    step += 1
    kind = rng.random()
    if kind < 0.45 or not names:
        name = f"{seed}-{step}"
        content = rng.randbytes(rng.choice([0, 10, 5000, 70000, 1 << 20, 5 << 20]))
        note(begin="write", name=name)
        with open(f"{root}/{name}", "wb") as f:
            for at in range(0, len(content), 1 << 18):
                f.write(content[at:at + (1 << 18)])
                if rng.random() < 0.3:
                    f.flush(); os.fsync(f.fileno())
                    note(prefix=name, length=f.tell(), sha=hashlib.sha256(content[:f.tell()]).hexdigest())
        note(done="write", name=name, length=len(content), sha=hashlib.sha256(content).hexdigest())
        names.append(name)
    elif kind < 0.6:
        name = rng.choice(names)
        note(begin="append", name=name)
        with open(f"{root}/{name}", "ab") as f:
            f.write(rng.randbytes(rng.randrange(1, 200000)))
            f.flush(); os.fsync(f.fileno())
        with open(f"{root}/{name}", "rb") as f:
            content = f.read()
        note(done="write", name=name, length=len(content), sha=hashlib.sha256(content).hexdigest())
    elif kind < 0.75:
        old = names.pop(rng.randrange(len(names)))
        new = old.split("+")[0] + f"+{step}"
        note(begin="rename", name=old, to=new)
        os.rename(f"{root}/{old}", f"{root}/{new}")
        note(done="rename", name=old, to=new)
        names.append(new)
    elif kind < 0.9:
        name = names.pop(rng.randrange(len(names)))
        note(begin="unlink", name=name)
        os.unlink(f"{root}/{name}")
        note(done="unlink", name=name)
    else:
        name = f"dir-{seed}-{step}"
        note(begin="mkdir", name=name)
        os.mkdir(f"{root}/{name}")
        note(done="mkdir", name=name)
"""


def expected(journal: Path):
    """Replays a writer's journal: what must be there, and the one operation that was under way."""
    files, directories, prefixes, pending = {}, set(), {}, None
    for line in journal.read_text().splitlines():
        event = json.loads(line)
        if "begin" in event:
            pending = event
        elif "prefix" in event:
            prefixes[event["prefix"]] = event
        else:
            pending = None
            if event["done"] == "write":
                files[event["name"]] = (event["length"], event["sha"])
                prefixes.pop(event["name"], None)
            elif event["done"] == "rename":
                files[event["to"]] = files.pop(event["name"])
            elif event["done"] == "unlink":
                del files[event["name"]]
            else:
                directories.add(event["name"])
    return files, directories, prefixes, pending


def verify(root: Path, journal: Path):
    files, directories, prefixes, pending = expected(journal)
    uncertain = {pending["name"], pending.get("to")} if pending else set()
    for name, (length, sha) in files.items():
        if name in uncertain:
            continue
        content = (root / name).read_bytes()
        assert len(content) == length and hashlib.sha256(content).hexdigest() == sha, \
            f"{name}: {len(content)} bytes, acknowledged were {length}; content {'differs' if len(content) >= length else 'is short'}"
    for name, event in prefixes.items():
        content = (root / name).read_bytes()[:event["length"]]
        assert hashlib.sha256(content).hexdigest() == event["sha"], f"{name}: what was fsynced before the kill is wrong"
    for name in directories:
        assert (root / name).is_dir(), f"{name}: an acknowledged mkdir is gone"
    if pending and pending["begin"] == "rename":
        old, new = (root / pending["name"]).exists(), (root / pending["to"]).exists()
        assert old != new, f"rename under way: old {'there' if old else 'gone'}, new {'there' if new else 'gone'}"
        content = (root / (pending["name"] if old else pending["to"])).read_bytes()
        assert hashlib.sha256(content).hexdigest() == files[pending["name"]][1], "the file being renamed changed"
    if pending and pending["begin"] == "append":
        length, sha = files[pending["name"]]
        content = (root / pending["name"]).read_bytes()[:length]
        assert hashlib.sha256(content).hexdigest() == sha, "bytes acknowledged before an append under way are gone"
    return len(files) + len(directories)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_client_arguments(arguments)
    arguments.add_argument("--rounds", type=int, default=8)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments.add_argument("--writers", type=int, default=3)
    options = arguments.parse_args()
    print(f"seed {options.seed}")
    rng = random.Random(options.seed)
    with client_of(options) as (client, mount_options), workspace("crash") as where:
        volume = Volume(where, engine=options.engine)
        client.format(volume)
        journals = []
        checked = 0
        for number in range(options.rounds + 1):
            mount = Mount(client, volume, where / "mnt", *mount_options)
            if client.kind == "peer":
                while is_mounted(mount.path):
                    run("umount", "-l", mount.path)
            try:
                mount.start()  # on the dead mount of the round before: must clean it up
                for root, journal in journals:
                    checked += verify(mount.path / root, journal)
                if number == options.rounds:
                    mount.stop()
                    break
                writers = []
                journals = []
                for w in range(options.writers):
                    root = f"round{number}-{w}"
                    (mount.path / root).mkdir()
                    journal = where / f"{root}.jsonl"
                    writers.append(subprocess.Popen(
                        [sys.executable, "-c", WRITER, str(mount.path / root), str(journal), str(rng.randrange(1 << 30))],
                        stderr=subprocess.DEVNULL))
                    journals.append((root, journal))
                time.sleep(rng.uniform(0.5, 2.5))
                assert mount.process.poll() is None, f"the client died by itself:\n{mount.output()}"
                mount.kill()
                for w in writers:
                    assert w.wait(timeout=30) != 0  # its next system call fails: nothing hangs on the dead mount
            except BaseException:
                print(mount.output()[-6000:])
                mount.cleanup()
                raise
        print(f"{options.rounds} kills, {checked} acknowledged files and directories were right")
        if client.kind == "zest":
            print(f"zest fsck: {run(client.program, 'fsck', volume.url).stdout.strip()}")
        peer = find_peer()
        if peer:
            run(peer, "fsck", volume.url)
            report = run(peer, "gc", volume.url, env=dict(os.environ, JFS_GC_SKIPPEDTIME="0"))
            summary = [line for line in (report.stdout + report.stderr).splitlines() if "scanned" in line]
            print(f"peer's fsck: clean; gc: {summary[-1].split('>: ')[-1]}")
        else:
            print("the peer's client was not found: its fsck was not run")


if __name__ == "__main__":
    main()
