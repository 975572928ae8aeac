#!/usr/bin/env python3
"""Real servers for tests, on loopback, with all their files below one folder.

    services.py start SERVICE DIR    start what does not run yet, wait until it serves, print NAME=value lines
    services.py stop DIR             stop everything that was started there; the data stay
    services.py restart DIR [NAME]   kill -9 the processes (or the one of that name) and start them again
    services.py status DIR           the processes; exit status 1 when one of them is gone
    services.py wipe DIR             stop, and delete the folder
    services.py kill-leader DIR      kill -9 the leader of an etcd-cluster
    services.py install SERVICE…     what they need and no package has: builds minio once, which takes minutes

A service is redis, sentinel (three servers, three sentinels), cluster (three nodes, or six with replicas:
ZEST_CLUSTER_NODES=6), mysql (MariaDB), galera (three nodes), postgres, etcd or etcd-cluster (three members); minio or
minio-tls (S3), ceph (one node: RADOS, and a gateway that speaks S3 and Swift). Nothing is
flushed to the disk: what was acknowledged survives kill -9, not a power cut. Ports are free ones of the first start and stay the same.

Each test gets a database of its own (Database): tests on one server do not see each other.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from service import HOST, Failure, Service, call, program, works  # noqa: E402
from stores import STORES  # noqa: E402

DATABASES = 200  # a server, used at the same time


class Redis(Service):
    kind = "redis"

    def configure(self, name: str, port: int, *lines):
        folder = self.folder / "data" / name
        folder.mkdir(exist_ok=True)
        path = self.folder / "conf" / f"{name}.conf"
        if not path.exists():  # replicas, nodes and sentinels keep their state in it
            path.write_text("\n".join([f"bind {HOST}", f"port {port}", f"dir {folder}", "daemonize no",
                                       "protected-mode no", 'save ""', "appendonly yes", "appendfsync no",
                                       f"databases {DATABASES + 1}", *lines, ""]))
        return path

    def ask(self, port: int, *words) -> str:
        return call(program("redis-cli"), "-h", HOST, "-p", port, *words).strip()

    def answers(self, port: int) -> bool:
        return works(program("redis-cli"), "-h", HOST, "-p", port, "ping") and self.ask(port, "ping") == "PONG"

    def launch(self):
        self.spawn("redis", program("redis-server"), self.configure("redis", self.port))
        self.await_true("redis", lambda: self.answers(self.port))

    def values(self):
        return {"ZEST_TEST_REDIS": f"redis://{HOST}:{self.port}/0"}

    def make_database(self, number: int) -> str:
        self.ask(self.port, "-n", number, "flushdb")
        return f"redis://{HOST}:{self.port}/{number}"


class Sentinel(Redis):
    """Three servers, the first of which is the master in the beginning, and three sentinels."""

    kind = "sentinel"
    port_count = 6

    def launch(self):
        for i in range(3):
            lines = [f"replicaof {HOST} {self.port}"] if i else []
            self.spawn(f"redis{i}", program("redis-server"), self.configure(f"redis{i}", self.ports[i], *lines))
        for port in self.ports[:3]:
            self.await_true("redis", lambda p=port: self.answers(p))
        for i, port in enumerate(self.ports[3:]):
            path = self.folder / "conf" / f"sentinel{i}.conf"
            (self.folder / "data" / f"sentinel{i}").mkdir(exist_ok=True)
            if not path.exists():
                path.write_text(f"bind {HOST}\nport {port}\ndir {self.folder}/data/sentinel{i}\n"
                                f"sentinel monitor mymaster {HOST} {self.port} 2\n"
                                "sentinel down-after-milliseconds mymaster 1000\n"
                                "sentinel failover-timeout mymaster 5000\n")
            self.spawn(f"sentinel{i}", program("redis-sentinel"), path)
        self.await_true("sentinels", lambda: self.answers(self.ports[3]) and
                        self.ask(self.ports[3], "sentinel", "ckquorum", "mymaster").startswith("OK 3"))

    def values(self):
        return {"ZEST_TEST_REDIS_SENTINEL": f"redis://mymaster,{HOST}:{self.ports[3]}/0"}

    def make_database(self, number: int) -> str:
        host, port = self.ask(self.ports[3], "sentinel", "get-master-addr-by-name", "mymaster").split()
        self.ask(int(port), "-h", host, "-n", number, "flushdb")
        return f"redis://mymaster,{HOST}:{self.ports[3]}/{number}"


class Cluster(Redis):
    kind = "cluster"
    nodes = int(os.environ.get("ZEST_CLUSTER_NODES", "3"))
    port_count = 6

    def launch(self):
        ports = self.ports[:self.nodes]
        for i, port in enumerate(ports):
            path = self.configure(f"node{i}", port, "cluster-enabled yes", f"cluster-config-file nodes{i}.conf",
                                  "cluster-node-timeout 2000")
            self.spawn(f"node{i}", program("redis-server"), path)
        for port in ports:
            self.await_true("cluster node", lambda p=port: self.answers(p))
        if "cluster_slots_assigned:16384" not in self.ask(self.port, "cluster", "info"):
            call(program("redis-cli"), "--cluster", "create", *[f"{HOST}:{p}" for p in ports],
                 "--cluster-replicas", 1 if self.nodes >= 6 else 0, "--cluster-yes")
        for port in ports:
            self.await_true("cluster", lambda p=port: "cluster_state:ok" in self.ask(p, "cluster", "info"))

    def values(self):
        return {"ZEST_TEST_REDIS_CLUSTER": f"redis://{HOST}:{self.port}/0"}

    def make_database(self, number: int) -> str:
        # The number is a key prefix with a hash tag here, so one volume is in one slot.
        for port in self.ports[:self.nodes]:
            keys = self.ask(port, "keys", f"{{{number}}}*").split("\n")
            for key in filter(None, keys):
                self.ask(port, "-c", "del", key)
        return f"redis://{HOST}:{self.port}/{number}"


class MariaDb(Service):
    kind = "mysql"
    node_count = 1

    def configure(self, name: str, port: int, *lines):
        path = self.folder / "conf" / f"{name}.cnf"
        user = ["user=root"] if os.geteuid() == 0 else []
        path.write_text("\n".join([
            "[mysqld]", *user, f"datadir={self.folder}/data/{name}", f"socket={self.folder}/run/{name}.sock",
            f"pid-file={self.folder}/run/{name}.own", f"bind-address={HOST}", f"port={port}", "skip-name-resolve",
            "character-set-server=utf8mb4", "innodb_buffer_pool_size=64M", "innodb_log_file_size=32M",
            "innodb_flush_log_at_trx_commit=2", "innodb_flush_method=nosync", "innodb_doublewrite=0", "sync_binlog=0",
            "max_connections=300", "max_allowed_packet=64M", "performance_schema=OFF", *lines, ""]))
        if not (self.folder / "data" / name / "mysql").exists():
            call(program("mariadb-install-db"), f"--defaults-file={path}", "--auth-root-authentication-method=normal",
                 "--skip-test-db", *([] if os.geteuid() else ["--user=root"]))
        return path

    def ask(self, name: str, statement: str) -> str:
        return call(program("mariadb"), "-uroot", f"--socket={self.folder}/run/{name}.sock", "-N", "-e", statement)

    def answers(self, name: str) -> bool:
        return works(program("mariadb"), "-uroot", f"--socket={self.folder}/run/{name}.sock", "-e", "select 1")

    def grant(self, name: str):
        self.ask(name, "CREATE DATABASE IF NOT EXISTS test; "
                 "CREATE USER IF NOT EXISTS test@'%' IDENTIFIED BY 'test'; GRANT ALL ON *.* TO test@'%'")

    def launch(self):
        self.spawn("db", program("mariadbd"), f"--defaults-file={self.configure('db', self.port)}")
        self.await_true("mariadb", lambda: self.answers("db"))
        self.grant("db")

    first = "db"

    def url(self, database: str) -> str:
        return f"mysql://test:test@({HOST}:{self.port})/{database}"

    def values(self):
        return {"ZEST_TEST_MYSQL": self.url("test")}

    def make_database(self, number: int) -> str:
        self.ask(self.first, f"DROP DATABASE IF EXISTS t{number}; CREATE DATABASE t{number}")
        return self.url(f"t{number}")


class Galera(MariaDb):
    """Three nodes that commit together; stopped and started as a whole, or one of them killed."""

    kind = "galera"
    port_count = 12
    first = "node0"

    def options(self, i: int) -> list[str]:
        group, incremental, transfer = (self.ports[3 + 3 * i + k] for k in range(3))
        everybody = ",".join(f"{HOST}:{self.ports[3 + 3 * k]}" for k in range(3))
        return ["binlog_format=ROW", "innodb_autoinc_lock_mode=2", "wsrep_on=ON",
                "wsrep_provider=/usr/lib/galera/libgalera_smm.so", "wsrep_cluster_name=test",
                f"wsrep_cluster_address=gcomm://{everybody}", f"wsrep_node_name=node{i}",
                f"wsrep_node_address={HOST}:{group}", "wsrep_sst_method=mariabackup", "wsrep_sst_auth=root:",
                f"wsrep_sst_receive_address={HOST}:{transfer}",
                f"wsrep_provider_options=base_port={group};gmcast.listen_addr=tcp://{HOST}:{group};"
                f"ist.recv_addr={HOST}:{incremental};gcache.size=32M"]

    def launch(self):
        running = any(self.alive(f"node{i}") for i in range(3))
        order = [0, 1, 2]
        for i in order:  # who stopped last begins
            state = self.folder / "data" / f"node{i}" / "grastate.dat"
            if not running and state.exists() and "safe_to_bootstrap: 1" in state.read_text():
                order = [i] + [k for k in order if k != i]
                break
        else:
            state = self.folder / "data/node0/grastate.dat"
            if not running and state.exists():
                state.write_text(state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
        for i in order:
            name = f"node{i}"
            path = self.configure(name, self.ports[i], *self.options(i))
            boot = [] if running else ["--wsrep-new-cluster"]
            self.spawn(name, program("mariadbd"), f"--defaults-file={path}", *boot)
            running = True
            self.await_true(name, lambda n=name: self.answers(n) and
                            "Synced" in self.ask(n, "show status like 'wsrep_local_state_comment'"), 180)
        self.grant("node0")

    def values(self):
        return {"ZEST_TEST_GALERA": self.url("test"),
                "ZEST_TEST_GALERA_NODES": ",".join(f"{HOST}:{p}" for p in self.ports[:3])}


def works_in(folder: Path) -> bool:
    """Does a process have this current directory?"""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(folder):
                return True
    return False


class Postgres(Service):
    kind = "postgres"
    stop_signal = signal.SIGINT  # does not wait for clients

    def launch(self):
        data = self.folder / "data" / "pg"
        become = []
        if os.geteuid() == 0:  # it refuses to run as root
            become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            shutil.chown(self.folder / "data", "postgres", "postgres")
        if not (data / "PG_VERSION").exists():
            # With passwords, so that a wrong one is refused.
            password = self.folder / "data" / "password"
            password.write_text("test\n")
            call(*become, program("initdb"), "-D", data, "-U", "test", "--auth=scram-sha-256", f"--pwfile={password}",
                 "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", cwd="/")
        if not self.alive("postgres"):  # killed, it leaves its number behind, which a zombie may still have
            (data / "postmaster.pid").unlink(missing_ok=True)
            # Killed, its children notice a moment later; each is a session of its own and holds the shared memory.
            stop = time.monotonic() + 30
            while works_in(data) and time.monotonic() < stop:
                time.sleep(0.02)
        self.spawn("postgres", *become, program("postgres"), "-D", data, "-c", f"listen_addresses={HOST}",
                   "-c", f"port={self.port}", "-c", "unix_socket_directories=", "-c", "fsync=off",
                   "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB")
        self.await_true("postgres", lambda: works(*self.client("postgres"), "-c", "select 1"))
        if "1" not in call(*self.client("postgres"), "-c", "select 1 from pg_database where datname='test'"):
            call(*self.client("postgres"), "-c", "create database test")

    def client(self, database: str) -> list:
        return [program("psql"), "-qtA", f"host={HOST} port={self.port} user=test password=test dbname={database}"]

    def url(self, database: str) -> str:
        return f"postgres://test:test@{HOST}:{self.port}/{database}?sslmode=disable"

    def values(self):
        return {"ZEST_TEST_POSTGRES": self.url("test")}

    def make_database(self, number: int) -> str:
        call(*self.client("postgres"), "-c", f"drop database if exists t{number} with (force)",
             "-c", f"create database t{number}")
        return self.url(f"t{number}")


class Etcd(Service):
    kind = "etcd"
    port_count = 2

    def ask(self, *words) -> str:
        return call(program("etcdctl"), f"--endpoints={HOST}:{self.port}", *words,
                    env=dict(os.environ, ETCDCTL_API="3"))

    def launch(self):
        self.spawn("etcd", program("etcd"), "--name", "etcd", "--data-dir", self.folder / "data/etcd",
                   "--listen-client-urls", f"http://{HOST}:{self.port}",
                   "--advertise-client-urls", f"http://{HOST}:{self.port}",
                   "--listen-peer-urls", f"http://{HOST}:{self.ports[1]}",
                   "--initial-advertise-peer-urls", f"http://{HOST}:{self.ports[1]}",
                   "--initial-cluster", f"etcd=http://{HOST}:{self.ports[1]}", "--initial-cluster-state", "new")
        self.await_true("etcd", lambda: works(program("etcdctl"), f"--endpoints={HOST}:{self.port}", "endpoint", "health",
                                              env=dict(os.environ, ETCDCTL_API="3")))

    def values(self):
        return {"ZEST_TEST_ETCD": f"etcd://{HOST}:{self.port}/test"}

    def make_database(self, number: int) -> str:
        self.ask("del", "--prefix", f"/t{number:03}")
        return f"etcd://{HOST}:{self.port}/t{number:03}"


class EtcdCluster(Service):
    """Three members; the test kills their leader."""

    kind = "etcd-cluster"
    port_count = 6

    def endpoints(self) -> str:
        return ",".join(f"{HOST}:{port}" for port in self.ports[:3])

    def ask(self, *words) -> str:
        return call(program("etcdctl"), f"--endpoints={self.endpoints()}", *words, env=dict(os.environ, ETCDCTL_API="3"))

    def launch(self):
        members = ",".join(f"etcd{i}=http://{HOST}:{self.ports[3 + i]}" for i in range(3))
        for i in range(3):
            client, peer = f"http://{HOST}:{self.ports[i]}", f"http://{HOST}:{self.ports[3 + i]}"
            self.spawn(f"etcd{i}", program("etcd"), "--name", f"etcd{i}", "--data-dir", self.folder / f"data/etcd{i}",
                       "--listen-client-urls", client, "--advertise-client-urls", client,
                       "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                       "--initial-cluster", members, "--initial-cluster-state", "new")
        self.await_true("etcd", lambda: works(program("etcdctl"), f"--endpoints={self.endpoints()}", "endpoint", "health",
                                              env=dict(os.environ, ETCDCTL_API="3")))

    def kill_leader(self):
        for status in json.loads(self.ask("endpoint", "status", "-w", "json")):
            if status["Status"]["leader"] == status["Status"]["header"]["member_id"]:
                port = int(status["Endpoint"].rpartition(":")[2])
                self.end(f"etcd{self.ports.index(port)}", signal.SIGKILL)
                return
        raise Failure("etcd: no member says that it leads")

    def values(self):
        return {"ZEST_TEST_ETCD_CLUSTER": f"etcd://{self.endpoints()}/test",
                "ZEST_TEST_ETCD_KILL": f"{sys.executable} {Path(__file__).resolve()} kill-leader {self.folder}"}

    def make_database(self, number: int) -> str:
        self.ask("del", "--prefix", f"/t{number:03}")
        return f"etcd://{self.endpoints()}/t{number:03}"


SERVICES = {s.kind: s for s in (Redis, Sentinel, Cluster, MariaDb, Galera, Postgres, Etcd, EtcdCluster, *STORES)}


def service_in(folder: Path) -> Service:
    """The service that was started in `folder`."""
    kind = folder / "kind"
    if not kind.exists():
        raise Failure(f"{folder}: no service was started here")
    return SERVICES[kind.read_text()](folder)


class Database:
    """An empty database of a running service, nobody else's until close() or the end of the process."""

    def __init__(self, folder: Path):
        service = service_in(folder)
        (folder / "taken").mkdir(exist_ok=True)
        for number in range(1, DATABASES + 1):
            self.lock = open(folder / "taken" / str(number), "w")
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.url = service.make_database(number)
                return
            self.lock.close()
        raise Failure(f"{folder}: all databases are in use")

    def close(self):
        self.lock.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("verb", choices=["start", "stop", "restart", "status", "wipe", "kill-leader", "install"])
    arguments.add_argument("words", nargs="+", metavar="SERVICE DIR | DIR [NAME] | SERVICE…")
    options = arguments.parse_args()
    try:
        if options.verb == "start":
            kind, folder = options.words
            service = SERVICES[kind](Path(folder).absolute())
            print("".join(f"{k}={v}\n" for k, v in service.start().items()), end="")
            return 0
        if options.verb == "install":
            for kind in options.words:
                SERVICES[kind].install()
            return 0
        folder = Path(options.words[0]).absolute()
        if options.verb == "wipe" and not (folder / "kind").exists():
            return 0
        service = service_in(folder)
        if options.verb == "restart":
            service.restart(*options.words[1:])
        elif options.verb == "kill-leader":
            service.kill_leader()
        elif options.verb == "status":
            states = {name: service.alive(name) for name in service.names()}
            print("".join(f"{'up' if up else 'down'} {name}\n" for name, up in states.items()), end="")
            return 0 if states and all(states.values()) else 1
        else:
            service.stop()
            if options.verb == "wipe":
                shutil.rmtree(folder)
    except Failure as failure:
        print(f"services.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
