"""What the servers of the tests have in common: processes below one folder, ports, waiting until they serve."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HOST = "127.0.0.1"


class Failure(Exception):
    """What a person has to know; printed without a trace."""


def call(*command, seconds=180, **options) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, timeout=seconds, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(str(c) for c in command)} ended with {done.returncode}: {done.stdout[-2000:]}"
                      f"{done.stderr[-2000:]}")
    return done.stdout


def works(*command, **options) -> bool:
    try:
        call(*command, **options)
    except (Failure, subprocess.TimeoutExpired):
        return False
    return True


def program(*names) -> str:
    """The first of the programs that is installed; folders that PATH of root lacks are searched, too."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/local/sbin"]
    folders += sorted((str(p) for p in Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    for name in names:
        for folder in folders:
            if os.access(f"{folder}/{name}", os.X_OK):
                return f"{folder}/{name}"
    raise Failure(f"{names[0]} is not installed: run ./dev setup")


def free_ports(count: int) -> list[int]:
    """Ports below the ephemeral range, where no client's socket takes them before the server does."""
    ports = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind((HOST, port))
            if port not in ports:
                ports.append(port)
    return ports


def ports_free(ports: list[int]) -> bool:
    try:
        for port in ports:
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((HOST, port))
    except OSError:
        return False
    return True


def port_answers(port: int) -> bool:
    with socket.socket() as s, contextlib.suppress(OSError):
        s.settimeout(5)
        s.connect((HOST, port))
        return True
    return False


def web_answers(url: str, trusted=None) -> bool:
    """Does a GET of this URL succeed? No proxy is asked: it is a server of this machine."""
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)]
    with contextlib.suppress(OSError):
        with urllib.request.build_opener(*handlers).open(url, timeout=5) as reply:
            return reply.status == 200
    return False


def birth_of(pid: int) -> str:
    """When the process began, in the kernel's ticks: a number that came around is another process."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def session_lives(leader: int) -> bool:
    """Whether any process of the session that `leader` began still runs (zombies do not)."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                return True
    return False


class Service:
    """A group of processes below one folder; subclasses say which, and when they serve."""

    kind = ""
    port_count = 1

    @classmethod
    def install(cls):
        """Gets what no package has; once a machine. start() does it, too."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("run", "log", "data", "conf"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name).chmod(0o755)
        folder.chmod(0o755)  # some servers run as a user of their own
        kept = folder / "ports"
        if not kept.exists():
            kept.write_text(json.dumps(free_ports(self.port_count)))
        self.ports = json.loads(kept.read_text())
        self.port = self.ports[0]

    def launch(self):
        raise NotImplementedError

    def values(self) -> dict[str, str]:
        """What the tests are told, as environment variables."""
        raise NotImplementedError

    # ---- processes

    def alive(self, name: str) -> bool:
        with contextlib.suppress(OSError, ValueError):
            pid, birth = (self.folder / "run" / f"{name}.pid").read_text().split()
            return birth_of(int(pid)) == birth
        return False

    def spawn(self, name: str, *command):
        """Starts a daemon that stays in the foreground, unless it runs; its output is in log/NAME.log."""
        if self.alive(name):
            return
        with open(self.folder / "log" / f"{name}.log", "ab") as log:
            process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                       start_new_session=True, cwd=self.folder)
        (self.folder / "run" / f"{name}.pid").write_text(f"{process.pid} {birth_of(process.pid)}")
        process.returncode = 0  # It is not ours to wait for: it outlives this program.

    def await_true(self, what: str, condition, seconds=90.0):
        end = time.monotonic() + seconds
        while not condition():
            dead = [n for n in self.names() if not self.alive(n)]
            if dead or time.monotonic() > end:
                logs = "".join(f"\n--- {f.name}\n{f.read_text(errors='replace')[-1500:]}"
                               for f in sorted((self.folder / "log").iterdir()))
                raise Failure(f"{what}: {f'{dead[0]} ended' if dead else f'not within {seconds:.0f} s'}{logs}")
            time.sleep(0.05)

    def names(self) -> list[str]:
        return sorted(p.stem for p in (self.folder / "run").glob("*.pid"))

    def end(self, name: str, number: signal.Signals, seconds=30.0):
        """Ends one process that spawn() started, and waits; SIGKILL when it does not obey."""
        file = self.folder / "run" / f"{name}.pid"
        if self.alive(name):
            pid = int(file.read_text().split()[0])
            os.kill(pid, number)
            stop = time.monotonic() + seconds
            while self.alive(name):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                if time.monotonic() > stop:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)
            while session_lives(pid) and time.monotonic() < stop:
                time.sleep(0.01)  # its children see the death of their parent and follow
        file.unlink(missing_ok=True)

    stop_signal = signal.SIGTERM

    def stop(self):
        for name in self.names():
            self.end(name, self.stop_signal)

    def start(self) -> dict[str, str]:
        (self.folder / "kind").write_text(self.kind)
        self.launch()
        values = self.values()
        (self.folder / "env").write_text("".join(f"{k}={v}\n" for k, v in values.items()))
        return values

    def restart(self, only: str = ""):
        for name in [only] if only else self.names():
            self.end(name, signal.SIGKILL)
        end = time.monotonic() + 10
        while not only and not ports_free(self.ports) and time.monotonic() < end:
            time.sleep(0.01)  # threads of a killed process close its sockets a moment after it is gone
        self.start()

    # ---- databases of tests

    def make_database(self, number: int) -> str:
        """Empties database `number`; its URL."""
        raise NotImplementedError
