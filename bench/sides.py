"""What the benchmarks share: clients with their mounts, their CPU and memory, and the table of results."""

import contextlib
import json
import os
import re
import statistics
import sys
import urllib.parse
from pathlib import Path

from slow_store import SlowStore

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/system"))
from harness import REPOSITORY, Client, Mount, Volume, find_peer, run, workspace  # noqa: E402, F401

CLIENTS = {
    "zest-dev": ("zest", ["--transport=dev"]),
    "zest-uring": ("zest", ["--transport=uring"]),
    "zest-fsync": ("zest", ["--transport=dev", "--sync=fsync"]),
    "peer": ("peer", []),
}
MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Server:
    """The processes of the metadata engine's server; none for SQLite."""

    def __init__(self, engine: str):
        folder = Path(os.environ.get("ZEST_TEST_SERVICES", "/nonexistent")) / engine / "run"
        self.leaders = [int(f.read_text().split()[0]) for f in folder.glob("*.pid")] if engine != "sqlite" else []

    def cpu_seconds(self) -> float:
        """Of the leaders and of all in their sessions (PostgreSQL has a process a connection)."""
        total = sum(cpu_of(pid) for pid in self.leaders)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) in self.leaders:
                    total += cpu_of(path.parent.name)
        return total


def behind_proxy(storage: list[str], delay: float) -> tuple[SlowStore, list[str]]:
    """The options of `format` for the same bucket, where each PUT takes `delay` seconds longer."""
    url = urllib.parse.urlsplit(storage[storage.index("--bucket") + 1])
    proxy = SlowStore(url.netloc, delay)
    there = url._replace(netloc=proxy.address).geturl()
    return proxy, [there if option == url.geturl() else option for option in storage]


class Side:
    """One client with its mounted volume."""

    def __init__(self, name: str, where: Path, engine: str, options: list[str], put_delay: float = 0):
        kind, mount_options = CLIENTS[name]
        self.name = name
        client = Client(kind)
        volume = Volume(where, name=f"{name}vol", engine=engine)
        if put_delay > 0:
            self.proxy, volume.storage = behind_proxy(volume.storage, put_delay)
        client.format(volume)
        self.mount = Mount(client, volume, where / name, *mount_options, *options).start()
        self.folder = 0

    def processes(self):
        """The client's process and its children (the peer's launcher starts a worker)."""
        pids, found = [self.mount.process.pid], []
        while pids:
            pid = pids.pop()
            found.append(pid)
            children = Path(f"/proc/{pid}/task/{pid}/children")
            pids += [int(p) for p in children.read_text().split()] if children.exists() else []
        return found

    def cpu_seconds(self) -> float:
        return sum(cpu_of(pid) for pid in self.processes())

    def peak_mib(self) -> float:
        total = 0
        for pid in self.processes():
            line = next(ln for ln in Path(f"/proc/{pid}/status").read_text().splitlines() if ln.startswith("VmHWM"))
            total += int(line.split()[1])
        return total / 1024

    def restarts(self) -> int | None:
        """What the client's own statistics say, where they have it."""
        stats = (self.mount.path / ".stats").read_text() if (self.mount.path / ".stats").exists() else ""
        found = re.search(r"^juicefs_transaction_restart\S* (\d+)", stats, re.M)
        return int(found[1]) if found else None

    def fresh_folder(self) -> Path:
        self.folder += 1
        path = self.mount.path / f"folder{self.folder}"
        path.mkdir()
        return path

    def forget_kernel_caches(self):
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


def build_fsload(where: Path) -> Path:
    program = where / "fsload"
    run("g++", "-O2", "-std=c++23", "-o", program, REPOSITORY / "bench/fsload.cc")
    return program


def load(side: Side, folder: Path, operation: str, processes: int, count: int) -> dict:
    """One run of fsload; adds the client's and the server's CPU per operation."""
    before, server_before = side.cpu_seconds(), side.server.cpu_seconds()
    result = json.loads(run(side.fsload, folder, operation, processes, count).stdout)
    result["cpu_us"] = (side.cpu_seconds() - before) * 1e6 / result["operations"]
    result["server_us"] = (side.server.cpu_seconds() - server_before) * 1e6 / result["operations"]
    return result


def table(results: dict, names: list[str]) -> str:
    """Markdown: one line a case, medians, ratios to the peer."""
    against = [n for n in names if n != "peer"] if "peer" in names else []
    lines = ["| case | " + " | ".join(names + [f"{n} / peer: speed, p50, CPU" for n in against]) + " |"]
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for case, sides in results.items():
        cells = [cell(sides[name]) for name in names] + [ratios(sides[name], sides["peer"]) for name in against]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(runs: list) -> str:
    """The medians of one client's runs of one case."""
    speed, cpu, server, p50 = (statistics.median(run[i] for run in runs) for i in range(1, 5))
    return (f"{speed:,.0f} {runs[0][0]}, " + (f"p50 {p50:,.0f} µs, " if p50 else "") +
            f"CPU {cpu:,.0f} µs" + (f" + {server:,.0f} µs" if server else ""))


def ratios(runs: list, peers: list) -> str:
    """Medians of the rounds' ratios: speed, p50 where it was measured, the client's CPU."""
    def median(index):
        pairs = [run[index] / peer[index] for run, peer in zip(runs, peers) if peer[index] > 0]
        return f"{statistics.median(pairs):.2f} ×" if pairs else ""

    speed = statistics.median(run[1] / peer[1] for run, peer in zip(runs, peers))
    return ", ".join(part for part in (f"**{speed:.1f} ×**", median(4), median(2)) if part)
