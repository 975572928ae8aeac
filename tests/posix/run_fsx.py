#!/usr/bin/env python3
"""Runs fsx (random reads, writes, mmap, truncate, fallocate, punch, copy against a byte-exact model) on a mount."""

import argparse
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import Mount, Volume, add_client_arguments, client_of, tools, workspace  # noqa: E402

# Two shapes: small files that stay in one block, and files of several blocks that cross a chunk only rarely.
PROFILES = {
    "small": "flen = 262144\n[opsize]\nmax = 65536\n",
    "large": "flen = 16777216\n[opsize]\nmax = 1048576\n",
}
WEIGHTS = """[weights]
close_open = 1
read = 10
write = 10
mapread = 5
mapwrite = 5
invalidate = 1
truncate = 3
fsync = 1
fdatasync = 1
posix_fallocate = 2
punch_hole = 3
sendfile = 2
posix_fadvise = 1
copy_file_range = 3
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    add_client_arguments(arguments)
    arguments.add_argument("--operations", type=int, default=50_000, help="in all, over the seeds of a profile")
    arguments.add_argument("--seeds", type=int, nargs="*", help="default: three random ones")
    arguments.add_argument("--profile", choices=sorted(PROFILES), nargs="*", default=sorted(PROFILES))
    options = arguments.parse_args()
    seeds = options.seeds or [random.randrange(1 << 32) for _ in range(3)]
    failures = 0
    with client_of(options) as (client, mount_options), workspace("fsx") as where:
        volume = Volume(where, engine=options.engine)
        client.format(volume)
        with Mount(client, volume, where / "mnt", *mount_options) as mount:
            for profile in options.profile:
                config = where / f"{profile}.toml"
                config.write_text(PROFILES[profile] + WEIGHTS)
                count = options.operations // len(seeds) // (1 if profile == "small" else 5)
                for seed in seeds:
                    done = subprocess.run([f"{tools()}/fsx", "-q", "-f", str(config), "-N", str(count), "-S", str(seed),
                                           "-P", str(where), str(mount.path / f"{profile}-{seed}")],
                                          text=True, capture_output=True, timeout=1200)
                    print(f"fsx {profile} seed {seed}, {count} operations: "
                          f"{'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
                    if done.returncode != 0:
                        failures += 1
                        print(done.stdout[-3000:] + done.stderr[-3000:])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
