#!/usr/bin/env python3
"""Runs a program with servers: with.py SERVICE… -- PROGRAM ARGUMENT…

For each service the program finds the URL of an empty database of its own in the environment (ZEST_TEST_REDIS,
ZEST_TEST_MYSQL, ZEST_TEST_POSTGRES, ZEST_TEST_ETCD, …; see services.py). With --services DIR, servers that run below
DIR/SERVICE are used; without, and with --own for tests that kill servers, they are started for this run and wiped
after it. ZEST_TEST_SERVICES tells the program where they are, ZEST_TEST_ENGINE and ZEST_TEST_STORE
the names of the first engine and of the first object store. A server that does not start fails the run.

With --proxy the URLs lead through a proxy that cuts connections while the file $ZEST_TEST_PROXY exists. With --own,
$ZEST_TEST_RESTART is a command that kills the servers and starts them again.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fault"))
from proxy import Proxy  # noqa: E402
from services import SERVICES, Database, Failure, service_in  # noqa: E402
from stores import STORES  # noqa: E402


def through_proxy(url: str, control: str) -> tuple[Proxy, str]:
    """A proxy before the server of `url`, and the URL that leads through it."""
    address = re.search(r"127\.0\.0\.1:(\d+)", url)
    proxy = Proxy(int(address[1]), control)
    return proxy, url.replace(address[0], f"127.0.0.1:{proxy.port}")


def run(options, command: list[str], root: Path, own: bool) -> int:
    environment = dict(os.environ, ZEST_TEST_SERVICES=str(root))
    stores = [store.kind for store in STORES]
    for kind in reversed(options.services_named):
        environment["ZEST_TEST_STORE" if kind in stores else "ZEST_TEST_ENGINE"] = kind
    if own:
        folders = " ".join(f"{root}/{kind}" for kind in options.services_named)
        environment["ZEST_TEST_RESTART"] = (
            f"for folder in {folders}; do {sys.executable} {Path(__file__).parent}/services.py restart $folder; done")
    control = f"{tempfile.gettempdir()}/zest-proxy-{os.getpid()}"
    databases = []
    proxies = []
    for kind in options.services_named:
        if own:
            SERVICES[kind](root / kind).start()
        service = service_in(root / kind)
        databases.append(Database(root / kind))
        environment.update(service.values())
        url = databases[-1].url
        if options.proxy:
            proxy, url = through_proxy(url, control)
            proxies.append(proxy)
            environment["ZEST_TEST_PROXY"] = control
        environment[next(iter(service.values()))] = url
    try:
        return execute(command, environment, options.expect_tests)
    finally:
        for proxy in proxies:
            print(f"the proxy cut {proxy.cuts} connections")


def execute(command: list[str], environment: dict[str, str], expect_tests: bool) -> int:
    if not expect_tests:
        return subprocess.run(command, env=environment, check=False).returncode
    # gtest is content with a filter that no test matches; this run is not.
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    ran = 0
    for line in process.stdout:
        print(line, end="", flush=True)
        if match := re.match(r"\[=+\] (\d+) tests? from .* ran\.", line):
            ran = int(match[1])
    code = process.wait()
    if code == 0 and ran == 0:
        print("with.py: no test ran: the engine is not registered for this service")
        return 1
    return code


def main():
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--services", metavar="DIR", help="where servers run already")
    arguments.add_argument("--proxy", action="store_true", help="put a proxy before the server that cuts connections")
    arguments.add_argument("--own", action="store_true", help="start servers for this run only")
    arguments.add_argument("--expect-tests", action="store_true", help="fail when a gtest program ran no test")
    arguments.add_argument("services_named", nargs="+", choices=list(SERVICES), metavar="SERVICE")
    options = arguments.parse_args(words[:cut])
    command = words[cut + 1:]
    if not command:
        arguments.error("no program after --")
    own = options.own or options.services is None
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # servers are stopped then, too
    try:
        if not own:
            return run(options, command, Path(options.services).absolute(), own)
        with tempfile.TemporaryDirectory(prefix="zest-services-", dir=os.environ.get("ZEST_TEST_DIR", "/var/tmp"),
                                         ignore_cleanup_errors=True) as folder:
            os.chmod(folder, 0o755)
            try:
                return run(options, command, Path(folder), own)
            finally:
                for kind in options.services_named:
                    if (Path(folder) / kind / "kind").exists():
                        service_in(Path(folder) / kind).stop()
    except Failure as failure:
        print(f"with.py: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
