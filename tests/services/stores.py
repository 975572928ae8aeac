"""Servers of the object stores: MinIO, and Ceph with its gateway."""

import fcntl
import json
import os
import shutil
import ssl
import subprocess
import uuid
from pathlib import Path

from service import HOST, Failure, Service, call, port_answers, program, web_answers, works

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "zest-tests"


def go_program(name: str, module: str, version: str, *arguments) -> str:
    """A program of a Go module, built from the module proxy once a machine into the cache folder.

    `go install` refuses modules that replace others, so the module's own requirements and checksums are taken over into
    a scratch module.
    """
    path = CACHE / "bin" / f"{name}-{version}"
    folder = CACHE / "build" / f"{name}-{version}"
    (CACHE / "bin").mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another build directory's tests may be at it
        if path.exists():
            return str(path)
        go = program("go", "/usr/local/go/bin/go")
        environment = dict(os.environ, GOFLAGS="-mod=mod", CGO_ENABLED="0")
        source = Path(json.loads(call(go, "mod", "download", "-json", f"{module}@{version}", cwd=folder,
                                      env=environment, seconds=900))["Dir"])
        lines = (source / "go.mod").read_text().split("\n")
        lines = ["module scratch" if line.startswith("module ") else line for line in lines]
        (folder / "go.mod").write_text("\n".join([*lines, f"require {module} {version}", ""]))
        (folder / "go.sum").write_bytes((source / "go.sum").read_bytes())
        try:
            call(go, "build", "-trimpath", "-ldflags", "-s -w", *arguments, "-o", f"{path}.tmp", module, cwd=folder,
                 env=environment, seconds=1700)
        except (Failure, subprocess.TimeoutExpired) as failure:
            raise Failure(f"{name} cannot be built; it needs the Go that its go.mod names (Debian's own is too old), and "
                          f"the Go module proxy: {failure}") from failure
        os.rename(f"{path}.tmp", path)
        shutil.rmtree(folder)
    return str(path)


def new_bucket(number: int) -> str:
    """Bucket names are never used twice, so every one is empty."""
    return f"t{number}-{uuid.uuid4().hex[:12]}"


class Minio(Service):
    kind = "minio"
    port_count = 2
    version = "v0.0.0-20250907161309-07c3a429bfed"  # RELEASE.2025-09-07T16-13-09Z
    scheme = "http"
    variable = "ZEST_TEST_MINIO"
    credentials = ("minioadmin", "minio-secret")

    @classmethod
    def install(cls):
        if "ZEST_TEST_MINIO_PROGRAM" in os.environ:
            return os.environ["ZEST_TEST_MINIO_PROGRAM"]
        return go_program("minio", "github.com/minio/minio", cls.version, "-tags", "kqueue")

    def options(self) -> list:
        return []

    def launch(self):
        user, secret = self.credentials
        self.spawn("minio", "env", f"MINIO_ROOT_USER={user}", f"MINIO_ROOT_PASSWORD={secret}", "MINIO_BROWSER=off",
                   "MINIO_UPDATE=off", "MINIO_CI_CD=1", f"HOME={self.folder}/conf", self.install(), "server", "--quiet",
                   "--address", f"{HOST}:{self.port}", "--console-address", f"{HOST}:{self.ports[1]}", *self.options(),
                   self.folder / "data" / "disk")
        self.await_true("minio", lambda: web_answers(f"{self.url()}/minio/health/ready", self.trusted()))

    def trusted(self):
        return None

    def url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}"

    def values(self):
        return {self.variable: self.url(), "ZEST_TEST_MINIO_ACCESS_KEY": self.credentials[0],
                "ZEST_TEST_MINIO_SECRET_KEY": self.credentials[1]}

    def make_database(self, number: int) -> str:
        return f"{self.url()}/{new_bucket(number)}"


class MinioTls(Minio):
    """With a certificate for this address and for localhost, of an authority that nobody knows."""

    kind = "minio-tls"
    scheme = "https"
    variable = "ZEST_TEST_MINIO_TLS"

    def certificates(self) -> Path:
        return self.folder / "conf" / "certs"

    def options(self) -> list:
        folder = self.certificates()
        if not (folder / "public.crt").exists():
            (folder / "CAs").mkdir(parents=True, exist_ok=True)
            call("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                 "30", "-subj", "/CN=tests", "-addext", "keyUsage=keyCertSign", "-keyout", folder / "authority.key", "-out",
                 folder / "authority.pem")
            call("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                 "/CN=minio", "-keyout", folder / "private.key", "-out", folder / "minio.csr")
            (folder / "names").write_text(f"subjectAltName=IP:{HOST},DNS:localhost\n")
            call("openssl", "x509", "-req", "-days", "30", "-in", folder / "minio.csr", "-CA", folder / "authority.pem",
                 "-CAkey", folder / "authority.key", "-CAcreateserial", "-extfile", folder / "names", "-out",
                 folder / "public.crt")
        return ["--certs-dir", folder]

    def trusted(self):
        return ssl.create_default_context(cafile=str(self.certificates() / "authority.pem"))

    def values(self):
        return {**super().values(), "ZEST_TEST_MINIO_TLS_AUTHORITY": str(self.certificates() / "authority.pem")}


CEPH_CONF = """[global]
fsid = {fsid}
mon host = [v2:{host}:{mon_port}]
ms bind ipv6 = false
ms bind msgr1 = false
public addr = {host}
cluster addr = {host}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/conf/keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file =
crash dir = {folder}/log
log to stderr = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 2000
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
[mon]
mon data = {folder}/data/mon
mon cluster log file = {folder}/log/cluster.log
mon cluster log to stderr = false
[mon.a]
host = localhost
[osd]
keyring = {folder}/data/osd/keyring
osd data = {folder}/data/osd
osd objectstore = bluestore
bluestore block size = 21474836480
bluestore block create = true
bluestore fsck on mount = false
bluestore cache autotune = false
bluestore cache size = 67108864
osd memory target = 939524096
osd class load list = *
osd class default list = *
osd scrub load threshold = 2000
[client.rgw]
rgw frontends = beast endpoint={host}:{rgw_port}
rgw data = {folder}/data/rgw
rgw swift account in url = true
rgw swift url = http://{host}:{rgw_port}
rgw enable usage log = false
rgw thread pool size = 32
"""


class Ceph(Service):
    """One monitor, one OSD on a sparse file, one gateway: RADOS, S3 and Swift (auth version 1)."""

    kind = "ceph"
    port_count = 2
    user, access_key, secret_key, swift_key = "test", "testaccess", "testsecret", "swiftsecret"

    def conf(self) -> Path:
        return self.folder / "conf" / "ceph.conf"

    def keyring(self) -> Path:
        return self.folder / "conf" / "keyring"

    def ceph(self, *words) -> str:
        return call(program("ceph"), "--connect-timeout", 20, "-c", self.conf(), "-k", self.keyring(), *words)

    def configure(self):
        if self.conf().exists():
            return
        self.conf().write_text(CEPH_CONF.format(fsid=uuid.uuid4(), host=HOST, mon_port=self.port,
                                                rgw_port=self.ports[1], folder=self.folder))

    def make_monitor(self):
        data, tool = self.folder / "data" / "mon", program("ceph-authtool")
        if (self.folder / "data" / "mon.made").exists():
            return
        shutil.rmtree(data, ignore_errors=True)
        call(tool, "--create-keyring", self.keyring(), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        everything = [word for part in ("mon", "osd", "mds", "mgr") for word in ("--cap", part, "allow *")]
        call(tool, self.keyring(), "--gen-key", "-n", "client.admin", *everything)
        call(tool, self.keyring(), "--gen-key", "-n", "client.rgw", "--cap", "mon", "allow rw", "--cap", "osd", "allow rwx")
        fsid = self.conf().read_text().split("\n")[1].split(" = ")[1]
        map_file = self.folder / "conf" / "monmap"
        call(program("monmaptool"), "--create", "--clobber", "--addv", "a", f"[v2:{HOST}:{self.port}]", "--fsid", fsid,
             map_file)
        call(program("ceph-mon"), "-c", self.conf(), "-i", "a", "--mkfs", "--monmap", map_file, "--keyring",
             self.keyring())
        (self.folder / "data" / "mon.made").touch()

    def make_osd(self):
        data = self.folder / "data" / "osd"
        if (self.folder / "data" / "osd.made").exists():
            return
        data.mkdir(exist_ok=True)
        name = uuid.uuid4()
        number = self.ceph("osd", "new", name).strip()
        self.ceph("auth", "get-or-create", f"osd.{number}", "mon", "allow profile osd", "osd", "allow *", "-o",
                  data / "keyring")
        call(program("ceph-osd"), "-c", self.conf(), "-i", number, "--mkfs", "--osd-uuid", name)
        (self.folder / "data" / "osd.made").touch()

    def make_users(self):
        made = self.folder / "data" / "users.made"
        if made.exists():
            return
        admin = [program("radosgw-admin"), "-c", self.conf(), "-k", self.keyring(), "-n", "client.admin"]
        call(*admin, "user", "create", f"--uid={self.user}", "--display-name=test", f"--access-key={self.access_key}",
             f"--secret={self.secret_key}", "--max-buckets=0")
        call(*admin, "subuser", "create", f"--uid={self.user}", f"--subuser={self.user}:swift", "--access=full",
             "--key-type=swift", f"--secret={self.swift_key}")
        made.touch()

    def launch(self):
        self.configure()
        self.make_monitor()
        common = ["-f", "-c", self.conf()]
        self.spawn("mon", program("ceph-mon"), *common, "-i", "a")
        self.await_true("ceph-mon", lambda: works(program("ceph"), "--connect-timeout", 5, "-c", self.conf(), "-k",
                                                  self.keyring(), "-s"))
        self.make_osd()
        self.spawn("osd", program("ceph-osd"), *common, "-i", "0")
        self.await_true("ceph-osd", lambda: "1 up" in self.ceph("osd", "stat"))
        if "testpool" not in self.ceph("osd", "pool", "ls").split():
            self.ceph("osd", "pool", "create", "testpool", 8)
            self.ceph("osd", "pool", "application", "enable", "testpool", "rados")
        (self.folder / "data" / "rgw").mkdir(exist_ok=True)
        self.spawn("rgw", program("radosgw"), *common, "-n", "client.rgw")
        self.await_true("radosgw", lambda: port_answers(self.ports[1]), 120)
        self.make_users()

    def values(self):
        web = f"http://{HOST}:{self.ports[1]}"
        return {"ZEST_TEST_RGW": web, "ZEST_TEST_RGW_ACCESS_KEY": self.access_key,
                "ZEST_TEST_RGW_SECRET_KEY": self.secret_key,
                "ZEST_TEST_SWIFT": f"{web}/auth/v1.0", "ZEST_TEST_SWIFT_USER": f"{self.user}:swift",
                "ZEST_TEST_SWIFT_KEY": self.swift_key,
                "ZEST_TEST_CEPH_CONF": str(self.conf()), "ZEST_TEST_CEPH_KEYRING": str(self.keyring()),
                "ZEST_TEST_CEPH_USER": "client.admin", "ZEST_TEST_CEPH_POOL": "testpool"}

    def make_database(self, number: int) -> str:
        return f"http://{HOST}:{self.ports[1]}/{new_bucket(number)}"


STORES = (Minio, MinioTls, Ceph)
