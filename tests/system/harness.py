"""What the system tests share: finding the two clients, volumes in temporary directories, mounts that always go away.

Everything lives below one temporary directory a test; nothing outside of it is touched. The peer is the reference
client of the volume format; ZEST_PEER, PATH and ~/.cache/zest-peer are searched for it.

Volumes are on SQLite, or on the server that tests/services/with.py has started:

    tests/services/with.py redis -- tests/posix/run_fsx.py
"""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "services"))
from services import SERVICES, Database  # noqa: E402

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
INTERNAL_INODES = 0x7FFFFFFF00000000
REPOSITORY = Path(__file__).resolve().parents[2]


def find_zest() -> str:
    """The program under test: $ZEST, else the release build of this checkout."""
    path = os.environ.get("ZEST", str(REPOSITORY / "build/release/zest"))
    if not os.access(path, os.X_OK):
        sys.exit(f"error: no zest program at {path}: run ./dev build, or set ZEST")
    return path


def find_peer() -> str | None:
    """The peer's program, or None."""
    candidates = [os.environ.get("ZEST_PEER"), shutil.which("juicefs"),
                  os.path.expanduser("~/.cache/zest-peer/juicefs")]
    return next((c for c in candidates if c and os.access(c, os.X_OK)), None)


def require_peer() -> str:
    peer = find_peer()
    if peer is None:
        print("skipped: the peer's client was not found (set ZEST_PEER to its path)")
        sys.exit(SKIPPED)
    return peer


def run(*args, check=True, timeout=300, **kwargs) -> subprocess.CompletedProcess:
    """Runs a command, captures its output, and shows it when it fails."""
    done = subprocess.run([str(a) for a in args], text=True, capture_output=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(str(a) for a in args)} ended with {done.returncode}\n"
                             f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


def tools() -> str:
    """The folder with pjdfstest and fsx; without a Rust toolchain that can build them the test counts as skipped."""
    if shutil.which("cargo") is None:
        print("skipped: cargo was not found, which installs pjdfstest and fsx from crates")
        sys.exit(SKIPPED)
    return run(REPOSITORY / "tests/posix/tools.sh", timeout=900).stdout.strip()


def is_mounted(path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def wait_until(condition, seconds=15.0, what="condition"):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {seconds} s waiting for {what}")
        time.sleep(0.02)


class Client:
    """One of the two programs, with the few commands that differ."""

    def __init__(self, kind: str):
        self.kind = kind
        self.program = find_zest() if kind == "zest" else require_peer()

    def format(self, volume: "Volume", *options):
        run(self.program, "format", *volume.storage, "--trash-days", str(volume.trash_days), *options, volume.url,
            volume.name)

    def fsck(self, volume: "Volume") -> str:
        """Raises when the client finds the volume damaged; returns what it printed."""
        done = run(self.program, "fsck", volume.url)
        return done.stdout + done.stderr


class Volume:
    """A volume in a local directory or in a bucket of its own, its metadata in an empty database of `engine`: SQLite, or a
    running service."""

    def __init__(self, where: Path, name="testvol", trash_days=0, engine=None):
        engine = engine or os.environ.get("ZEST_TEST_ENGINE", "sqlite")
        self.name = name
        self.trash_days = trash_days
        self.engine = engine
        self.bucket = where / f"{name}-bucket"
        self.storage = self.find_storage()
        if engine == "sqlite":
            self.url = f"sqlite3://{where / name}.db"
            return
        services = os.environ.get("ZEST_TEST_SERVICES")
        if services is None:
            sys.exit(f"error: no server for {engine}: run tests/services/with.py {engine} -- {' '.join(sys.argv)} ")
        self.held = Database(Path(services) / engine)  # ours as long as this object lives
        self.url = self.held.url

    def find_storage(self) -> list[str]:
        """The options of `format` that say where the data go."""
        store = os.environ.get("ZEST_TEST_STORE")
        if store is None:
            return ["--storage", "file", "--bucket", f"{self.bucket}/"]
        self.held_bucket = Database(Path(os.environ["ZEST_TEST_SERVICES"]) / store)
        keys = "ZEST_TEST_RGW" if store == "ceph" else "ZEST_TEST_MINIO"
        options = ["--storage", "s3" if store == "ceph" else "minio", "--bucket", self.held_bucket.url, "--access-key",
                   os.environ[f"{keys}_ACCESS_KEY"], "--secret-key", os.environ[f"{keys}_SECRET_KEY"]]
        if store == "ceph":
            # The peer names a region that Ceph does not know when it makes a bucket, so another volume makes it.
            run(find_zest(), "format", *options, f"sqlite3://{self.bucket}.maker.db", "maker")
        return options


class Mount:
    """A mounted volume, in the foreground as a child of the test, so that it can be killed."""

    def __init__(self, client: Client, volume: Volume, where: Path, *options):
        self.client, self.volume, self.path, self.options = client, volume, Path(where), options
        self.process = None
        self.log = None

    def start(self) -> "Mount":
        if not is_mounted(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.log = open(f"{self.path}.log", "ab")
        command = [self.client.program, "mount", *self.options, self.volume.url, str(self.path)]
        environment = dict(os.environ)
        if self.client.kind == "peer":
            command[2:2] = ["--no-usage-report", "--cache-dir", f"{self.path}.cache", "--backup-meta", "0"]
            environment["JFS_SUPERVISOR"] = "test"  # one process, so that kill -9 hits the client itself
        # A dead mount answers stat from the kernel's cache for a while, so zest's own word is waited for.
        said_before = self.output().count("is ready at")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.client.kind} mount ended with {self.process.returncode}:\n{self.output()[-6000:]}")
            with contextlib.suppress(OSError):
                if self.client.kind == "zest" and self.output().count("is ready at") == said_before:
                    return False
                return is_mounted(self.path) and os.stat(self.path).st_ino == 1
            return False
        wait_until(ready, 20, f"{self.client.kind} to mount {self.path}")
        return self

    def output(self) -> str:
        return Path(f"{self.path}.log").read_text(errors="replace")

    def stop(self):
        """Unmounts and waits for the client, which must end without a failure."""
        if is_mounted(self.path):
            if self.client.kind == "zest":
                run(self.client.program, "umount", self.path)
            else:
                run("umount", self.path)
        code = self.process.wait(timeout=60)
        if code != 0:
            raise AssertionError(f"{self.client.kind} client ended with {code}:\n{self.output()[-6000:]}")
        self.log.close()

    def kill(self):
        """kill -9, as a crash would; leaves the dead mount behind."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)
        self.log.close()

    def cleanup(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)
        while is_mounted(self.path):
            subprocess.run(["umount", "-l", str(self.path)], check=False)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                print(f"--- last output of the {self.client.kind} client ---\n{self.output()[-6000:]}", file=sys.stderr)
        finally:
            self.cleanup()


URING_SWITCH = Path("/sys/module/fuse/parameters/enable_uring")


@contextlib.contextmanager
def transport(name: str):
    """Yields the mount options for `--transport NAME`; switches FUSE over io_uring on meanwhile where that needs it."""
    before = URING_SWITCH.read_text().strip() if URING_SWITCH.exists() else ""
    if name == "uring" and before == "N":
        URING_SWITCH.write_text("Y")
    try:
        yield [f"--transport={name}"]
    finally:
        if name == "uring" and before == "N":
            URING_SWITCH.write_text("N")


def add_engine_argument(arguments):
    """--engine, for tests that run on any of them."""
    arguments.add_argument("--engine", choices=["sqlite", *SERVICES],
                           default=os.environ.get("ZEST_TEST_ENGINE", "sqlite"))


def add_client_arguments(arguments):
    """--client, --engine and --transport, for tests that can run either client."""
    add_engine_argument(arguments)
    arguments.add_argument("--client", choices=["zest", "peer"], default="zest")
    arguments.add_argument("--transport", choices=["auto", "dev", "uring"], default="auto")


@contextlib.contextmanager
def client_of(options):
    """The client that add_client_arguments's options name, and its mount options."""
    client = Client(options.client)
    if client.kind == "peer":
        yield client, []
        return
    with transport(options.transport) as mount_options:
        yield client, mount_options


@contextlib.contextmanager
def workspace(name: str):
    """A temporary directory, removed at the end; kept with ZEST_KEEP=1."""
    base = os.environ.get("ZEST_TEST_DIR", "/var/tmp")
    path = Path(tempfile.mkdtemp(prefix=f"zest-{name}-", dir=base))
    path.chmod(0o755)  # tests switch to other users
    try:
        yield path
    finally:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            target = line.split()[4]
            if target.startswith(f"{path}/"):
                subprocess.run(["umount", "-l", target], check=False)
        if not os.environ.get("ZEST_KEEP"):
            shutil.rmtree(path, ignore_errors=True)


def tree(root: Path, times=True, skip=()) -> dict:
    """Everything that a client can see below `root`: path → (type, mode, owner, size, links, times, content)."""
    result = {}
    for directory, directories, files in os.walk(root):
        directories[:] = sorted(d for d in directories if d not in skip)
        for name in directories + files:
            path = os.path.join(directory, name)
            s = os.lstat(path)
            if s.st_ino >= INTERNAL_INODES:
                continue  # virtual files: different on purpose, and .accesslog never ends
            entry = {"mode": oct(s.st_mode), "uid": s.st_uid, "gid": s.st_gid, "ino": s.st_ino, "nlink": s.st_nlink,
                     "rdev": s.st_rdev}
            if not stat.S_ISDIR(s.st_mode):
                entry["size"] = s.st_size
            if times:
                entry["mtime"] = s.st_mtime_ns
                entry["ctime"] = s.st_ctime_ns
            if stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    entry["sha256"] = hashlib.file_digest(f, "sha256").hexdigest()
            if stat.S_ISLNK(s.st_mode):
                entry["target"] = os.readlink(path)
            if stat.S_ISREG(s.st_mode) or stat.S_ISDIR(s.st_mode):
                with contextlib.suppress(OSError):
                    entry["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False).hex()
                                       for n in sorted(os.listxattr(path, follow_symlinks=False))}
            result[os.path.relpath(path, root)] = entry
    return result


def assert_same_tree(a: dict, b: dict, names=("first", "second")):
    problems = []
    for path in sorted(a.keys() | b.keys()):
        if path not in a or path not in b:
            problems.append(f"{path}: only in {names[0] if path in a else names[1]}")
        elif a[path] != b[path]:
            fields = [f"{k}: {a[path].get(k)} / {b[path].get(k)}" for k in sorted(a[path].keys() | b[path].keys())
                      if a[path].get(k) != b[path].get(k)]
            problems.append(f"{path}: {'; '.join(fields)}")
    if problems:
        raise AssertionError(f"{len(problems)} differences ({names[0]} / {names[1]}):\n" + "\n".join(problems[:30]))
