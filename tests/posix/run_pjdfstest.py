#!/usr/bin/env python3
"""Runs pjdfstest on a mount and compares its outcome with what is expected: nothing fails, and only the tests
listed here are skipped, each for a reason that the list states."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import Mount, Volume, add_client_arguments, client_of, tools, workspace  # noqa: E402

# Reason by pattern of the reason that pjdfstest itself gives; everything else that is skipped fails this test.
ALLOWED_SKIPS = {
    r"Cannot get value for LINK_MAX": "pathconf(_PC_LINK_MAX) of a FUSE mount has no limit to test against",
    r"allow_remount": "remounts a FUSE file system by name of its helper; EROFS is tested by tests/system/programs.py",
}

CONFIG = """
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"""


def parse(output: str):
    """pjdfstest's lines → {test: (outcome, reason)}."""
    results, last = {}, None
    for line in re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines():
        match = re.match(r"^(\S+::\S+)\s+(ok|FAILED|skipped|PASSED UNEXPECTEDLY|.*fail.*)$", line)
        if match:
            last = match[1]
            results[last] = [match[2], ""]
        elif last and line.startswith("\t"):
            results[last][1] += line.strip() + " "
    return results


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_client_arguments(arguments)
    arguments.add_argument("patterns", nargs="*", help="only tests whose names contain these")
    options = arguments.parse_args()
    with client_of(options) as (client, mount_options), workspace("pjdfstest") as where:
        volume = Volume(where, engine=options.engine)
        client.format(volume)
        secondary = where / "secondary"
        secondary.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(secondary)], check=True)
        config = where / "pjdfstest.toml"
        config.write_text(CONFIG)
        with Mount(client, volume, where / "mnt", "--enable-xattr", *mount_options) as mount:
            base = mount.path / "pjd"
            base.mkdir(mode=0o755)
            done = subprocess.run([f"{tools()}/pjdfstest", "-c", str(config), "-p", str(base), "-s", str(secondary),
                                   *options.patterns],
                                  text=True, capture_output=True, timeout=900,
                                  env=dict(os.environ, RUST_BACKTRACE="0"))
    results = parse(done.stdout)
    failed = {t: r for t, r in results.items() if r[0] not in ("ok", "skipped")}
    skipped = {t: r[1] for t, r in results.items() if r[0] == "skipped"}
    unexplained = {t: why for t, why in skipped.items() if not any(re.search(p, why) for p in ALLOWED_SKIPS)}
    for test, (outcome, reason) in sorted(failed.items()):
        print(f"FAILED   {test}: {outcome} {reason}")
    for test, why in sorted(skipped.items()):
        reason = next((r for p, r in ALLOWED_SKIPS.items() if re.search(p, why)), "NOT EXPECTED: " + why)
        print(f"skipped  {test}: {reason}")
    passed = sum(r[0] == "ok" for r in results.values())
    print(f"pjdfstest on {client.kind}: {passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    if passed < (300 if not options.patterns else 1):
        print(f"too few tests ran:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return 1
    return 1 if failed or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
