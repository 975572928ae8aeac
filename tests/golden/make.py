#!/usr/bin/env python3
"""Regenerates the golden data in this folder by letting the peer write volumes; see README.md.

    sudo tests/golden/make.py [--keep] [redis|sqlite|etcd|settings|cache ...]

Finds the peer by ZEST_PEER, else `juicefs` in PATH, else ~/.cache/zest-peer/juicefs; needs root, FUSE, and for the
volumes redis-server, redis-cli and etcd (ETCD names another program). Runs in network and host-name namespaces of its
own, so that nothing about the machine reaches the data.
"""

import base64
import ctypes
import fcntl
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = "/tmp/zest-golden"
NAMESPACE_MARK = "ZEST_GOLDEN_NAMESPACE"
REDIS = f"{ROOT}/redis.sock"
ETCD_URL = "http://127.0.0.1:23790"
FS_IOC_SETFLAGS = 0x40086602
FLAG_SKIP_TRASH, FLAG_IMMUTABLE, FLAG_APPEND = 0x01, 0x10, 0x20


def find_peer():
    candidates = [os.environ.get("ZEST_PEER"), shutil.which("juicefs"), os.path.expanduser("~/.cache/zest-peer/juicefs")]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    sys.exit("no peer: set ZEST_PEER, or put juicefs into PATH or ~/.cache/zest-peer/")


def enter_namespaces():
    """Starts this script again with a host name and a network interface that are made up."""
    if os.environ.get(NAMESPACE_MARK):
        return
    setup = (
        "hostname golden && ip link set lo up && ip link add golden0 type veth && "
        "ip addr add 192.0.2.1/24 dev golden0 && ip link set golden0 up && exec \"$@\""
    )
    os.environ[NAMESPACE_MARK] = "1"
    os.execvp("unshare", ["unshare", "--uts", "--net", "sh", "-c", setup, "sh", sys.executable, *sys.argv])


def run(*command, check=True, text=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=text)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def escape(value):
    """Printable without blanks, as the change log escapes, so that the test reads it with the same function."""
    if isinstance(value, str):
        value = value.encode()
    return "".join(chr(b) if 32 < b < 127 and b not in b",%()\"\\" else f"%{b:02X}" for b in value)


def field(value):
    """A field of its own: a lone percent sign stands for nothing."""
    return escape(value) or "%"


def write_lines(name, lines):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as out:
        out.write("\n".join(lines) + "\n")
    print(f"{name}: {len(lines)} lines")


# ---------------------------------------------------------------------------------------------------- the operations


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags))
    os.close(fd)


def write(path, pieces):
    """Writes each (offset, bytes) and syncs, so that each becomes a slice of its own."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for offset, content in pieces:
        os.pwrite(fd, content, offset)
        os.fsync(fd)
    os.close(fd)


def punch(path, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDWR)
    if libc.fallocate(fd, 3, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")
    os.close(fd)


def exercise(mount, big_ids):
    """Every kind of record once. Returns what has to stay open until the dump."""
    at = lambda name: os.path.join(mount, name)
    os.mkdir(at("dir"))
    os.chmod(at("dir"), 0o2775)
    os.chown(at("dir"), 1000, 2000)
    os.mkdir(at("dir/sub"))
    write(at("plain"), [(0, b"hello\n")])
    os.link(at("plain"), at("dir/linked"))
    os.symlink("some/target \u00e9", at("symlink"))
    os.mkfifo(at("fifo"), 0o600)
    os.mknod(at("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(at("loop"), stat.S_IFBLK | 0o660, os.makedev(7, 300))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(at("socket"))
    write(at("setuid"), [(0, b"#!")])
    os.chown(at("setuid"), 3000000000 if big_ids else 30000, 65534)
    os.chmod(at("setuid"), 0o6755)
    write(at("old"), [(0, b"x")])
    os.utime(at("old"), ns=(-1_500_000_001, -999_999_999))
    os.setxattr(at("plain"), "user.x", b"y")
    os.setxattr(at("plain"), "user.bytes", bytes(range(256)))
    os.setxattr(at("dir"), "user.empty", b"")
    write(os.path.join(mount.encode(), b"\xff\xfe raw %"), [(0, b"x")])
    write(at("n" * 255), [(0, b"long name")])
    # Data: growth, shrinking, sparse chunks, overwriting, holes, shared slices.
    write(at("grown"), [(0, b"hello\n")])
    os.truncate(at("grown"), 200)
    write(at("shrunk"), [(0, b"z" * 10000)])
    os.truncate(at("shrunk"), 100)
    write(at("sparse"), [])
    os.truncate(at("sparse"), 100 << 20)
    write(at("sparse"), [(70_000_000, b"abc")])
    write(at("overwritten"), [(0, b"a" * 300000), (1000, b"b" * 500), (250000, b"c" * 100000), (5000000, b"d" * 100)])
    write(at("blocks"), [(0, b"e" * ((4 << 20) + 10)), ((4 << 20) - 5, b"f" * 10)])
    write(at("punched"), [(0, b"g" * 20000)])
    punch(at("punched"), 4096, 8192)
    write(at("copied"), [(0, b"h" * 10)])
    source, target = os.open(at("overwritten"), os.O_RDONLY), os.open(at("copied"), os.O_RDWR)
    os.copy_file_range(source, target, 5000, 100, 20)
    os.close(source)
    os.close(target)
    write(at("compacted"), [(i * 100, bytes([65 + i]) * 150) for i in range(6)])
    # ACLs.
    write(at("acl"), [(0, b"x")])
    run("setfacl", "-m", "u:1000:rw,g:2000:r", at("acl"))
    os.mkdir(at("acldir"))
    run("setfacl", "-d", "-m", "u:1000:rwx", at("acldir"))
    os.close(os.open(at("acldir/child"), os.O_CREAT | os.O_WRONLY, 0o666))
    os.mkdir(at("acldir/sub"))
    # Trash, and files without a name.
    write(at("deleted"), [(0, b"trash")])
    os.unlink(at("deleted"))
    write(at("d" * 255), [(0, b"trash")])
    os.unlink(at("d" * 255))
    os.mkdir(at("rmdir"))
    os.rmdir(at("rmdir"))
    os.unlink(at("dir/linked"))
    os.mkdir(at("notrash"))
    set_flags(at("notrash"), FLAG_SKIP_TRASH)
    kept = [os.open(at("notrash/open"), os.O_CREAT | os.O_RDWR)]
    os.write(kept[0], b"sustained")
    os.fsync(kept[0])
    os.unlink(at("notrash/open"))
    for name, flags in (("immutable", FLAG_IMMUTABLE), ("append", FLAG_APPEND)):
        write(at(name), [(0, b"x")])
        set_flags(at(name), flags)
    return kept


def take_locks(mount):
    held = []
    for name in ("flock-w", "flock-r", "posix"):
        held.append(os.open(os.path.join(mount, name), os.O_CREAT | os.O_RDWR))
    fcntl.flock(held[0], fcntl.LOCK_EX)
    fcntl.flock(held[1], fcntl.LOCK_SH)
    fcntl.lockf(held[2], fcntl.LOCK_EX, 10, 5)
    fcntl.lockf(held[2], fcntl.LOCK_SH, 20, 100)
    fcntl.lockf(held[2], fcntl.LOCK_EX, 0, 1000)
    return held


def release_flags(mount):
    for name in ("immutable", "append"):
        set_flags(os.path.join(mount, name), 0)


def stat_lines(mount):
    """What the peer shows of every file: the truth that decoded attributes are compared with."""
    lines = []
    pending = [mount.encode()]
    while pending:
        path = pending.pop()
        s = os.lstat(path)
        name = os.path.relpath(path, mount.encode())
        lines.append(
            f"stat {s.st_ino} {s.st_mode} {s.st_uid} {s.st_gid} {s.st_nlink} {s.st_size} {s.st_rdev} "
            f"{s.st_atime_ns} {s.st_mtime_ns} {s.st_ctime_ns} {field(name)}"
        )
        if stat.S_ISDIR(s.st_mode):
            pending += sorted((os.path.join(path, e) for e in os.listdir(path)), reverse=True)
    return lines


def object_lines(peer, mount):
    """The peer's view of files with several slices: `object inode chunk key size offset length`."""
    lines = []
    for name in ("overwritten", "blocks", "punched", "copied", "grown", "sparse"):
        path = os.path.join(mount, name)
        ino = os.lstat(path).st_ino
        for row in run(peer, "info", path).splitlines():
            cells = [c.strip() for c in row.strip("|").split("|")]
            if row.startswith("|") and cells[0].isdigit():
                chunk, key, size, offset, length = cells[:5]
                lines.append(f"object {ino} {chunk} {field(key)} {size} {offset} {length}")
    return lines


# ----------------------------------------------------------------------------------------------------------- engines


def redis(db, *command):
    return subprocess.run(["redis-cli", "-s", REDIS, "-n", str(db), *command], stdout=subprocess.PIPE, check=True).stdout


def redis_list(db, *command):
    """The elements of a reply as bytes; a script joins them in hex, because names may hold line ends."""
    script = (
        "local r = redis.call(unpack(ARGV)) local o = {} for i, v in ipairs(r) do "
        "o[i] = v:gsub('.', function(c) return string.format('%02x', c:byte()) end) end return table.concat(o, ',')"
    )
    reply = redis(db, "eval", script, "0", *command).decode().strip()
    return [bytes.fromhex(part) for part in reply.split(",")] if reply else []


def dump_redis(db):
    lines = []
    for key in sorted(k.decode() for k in redis_list(db, "keys", "*")):
        kind = redis(db, "type", key).decode().strip()
        if kind == "string":
            value = redis(db, "--raw", "get", key)[:-1]
            if key == "setting":
                value = value.decode().encode()
            lines.append(f"string {field(key)} {field(value)}")
        elif kind == "list":
            lines += [f"list {field(key)} {field(v)}" for v in redis_list(db, "lrange", key, "0", "-1")]
        elif kind == "set":
            lines += [f"set {field(key)} {field(v)}" for v in sorted(redis_list(db, "smembers", key))]
        else:
            flat = redis_list(db, *(("hgetall", key) if kind == "hash" else ("zrange", key, "0", "-1", "withscores")))
            pairs = sorted(zip(flat[::2], flat[1::2]))
            lines += [f"{kind} {field(key)} {field(f)} {field(v)}" for f, v in pairs]
    return lines


def dump_sqlite(path):
    """`row table column=value …`; NULL is left out, blobs and texts are escaped."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    database.text_factory = bytes
    tables = database.execute("select name from sqlite_master where type='table' and name like 'jfs_%' order by name")
    lines = []
    for (table,) in tables.fetchall():
        cursor = database.execute(f"select * from {table.decode()} order by 1, 2")
        columns = [c[0] for c in cursor.description]
        for row in cursor:
            cells = [f"{c}={v if isinstance(v, int) else escape(v)}" for c, v in zip(columns, row) if v is not None]
            lines.append(f"row {table.decode()} {' '.join(cells)}")
    return lines


def dump_etcd(prefix):
    encode = lambda b: base64.b64encode(b).decode()
    body = json.dumps({"key": encode(prefix), "range_end": encode(prefix[:-1] + bytes([prefix[-1] + 1]))}).encode()
    reply = json.load(urllib.request.urlopen(urllib.request.Request(f"{ETCD_URL}/v3/kv/range", data=body)))
    decode = lambda item, field: base64.b64decode(item.get(field, ""))
    return [f"kv {field(decode(kv, 'key'))} {field(decode(kv, 'value'))}" for kv in reply["kvs"]]


def unmount(peer, mount):
    """Unmounts and waits for the client's processes, which still talk to the engine after the unmount."""
    with open(f"{mount}/.config") as file:
        config = json.load(file)
    run(peer, "umount", "--force", mount)
    deadline = time.monotonic() + 30
    for pid in (config["Pid"], config["PPid"]):
        while pid > 1 and os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.1)


def volume(peer, engine, url, name, dump, format_options=(), big_ids=True, change_log=False):
    mount = f"{ROOT}/{name}-mnt"
    os.makedirs(mount)
    run(peer, "format", "--storage", "file", "--bucket", f"{ROOT}/{name}/", "--enable-acl", *format_options, url, "golden")
    if change_log:
        run(peer, "config", "-y", "--changelog", url)
    run(peer, "mount", "-d", "--no-usage-report", "--no-bgjob", "--enable-xattr", "--enable-ioctl", "--cache-dir",
        f"{ROOT}/{name}-cache", url, mount)
    try:
        kept = exercise(mount, big_ids)
        run(peer, "compact", os.path.join(mount, "compacted"))
        run(peer, "quota", "set", url, "--path", "/dir", "--capacity", "1", "--inodes", "100")
        run(peer, "quota", "set", url, "--uid", "1000", "--capacity", "2", check=False)
        kept += take_locks(mount)
        time.sleep(4)  # usage, directory statistics and quotas are written about once a second
        lines = stat_lines(mount)
        lines += dump()
        lines += object_lines(peer, mount)
        write_lines(f"volumes/{engine}.txt", lines)
        for fd in kept:
            os.close(fd)
        release_flags(mount)
    finally:
        unmount(peer, mount)


def start_redis():
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", REDIS, "--save", "", "--maxmemory-policy",
                               "noeviction", "--dir", ROOT], stdout=subprocess.DEVNULL)
    while not os.path.exists(REDIS):
        time.sleep(0.05)
    return server


def make_redis(peer):
    server = start_redis()
    try:
        volume(peer, "redis", f"unix://{REDIS}?db=1", "redis", lambda: dump_redis(1), change_log=True)
        volume(peer, "redis-hash-prefix", f"unix://{REDIS}?db=2", "redis2", lambda: dump_redis(2),
               ("--hash-prefix", "--block-size", "64K"))
    finally:
        server.terminate()
        server.wait()


def make_sqlite(peer):
    path = f"{ROOT}/golden.db"
    volume(peer, "sqlite", f"sqlite3://{path}", "sqlite", lambda: dump_sqlite(path), change_log=True)


def make_etcd(peer):
    server = subprocess.Popen([os.environ.get("ETCD", "etcd"), "--data-dir", f"{ROOT}/etcd-data", "--listen-client-urls",
                               ETCD_URL, "--advertise-client-urls", ETCD_URL, "--listen-peer-urls",
                               "http://127.0.0.1:23800"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        volume(peer, "etcd", f"etcd://127.0.0.1:23790/vole", "etcd", lambda: dump_etcd(b"/vole\xfd"))
    finally:
        server.terminate()
        server.wait()


# ------------------------------------------------------------------------------------------------ settings and cache


def make_settings(peer):
    key = f"{ROOT}/key.pem"
    run("openssl", "genrsa", "-traditional", "-out", key, "2048")
    kerberos = f"{ROOT}/kerberos.conf"
    with open(kerberos, "w") as out:
        out.write("proxyuser.<a>&b=*\n")
    variants = {
        "default": ([], []),
        "secrets": (["--access-key", "ak", "--secret-key", "s<k>&\u00e9", "--session-token", "t\"\\"], []),
        "all-format": (["--storage-class", "IA", "--block-size", "1M", "--compress", "lz4", "--hash-prefix", "--capacity",
                        "10", "--inodes", "1000", "--trash-days", "0", "--enable-acl", "--encrypt-algo", "chacha20-rsa",
                        "--ranger-rest-url", "http://192.0.2.9/?a=b&c", "--ranger-service", "svc"], []),
        "shards": (["--shards", "2"], []),
        "encrypted": (["--encrypt-rsa-key", key], []),
        "kerberos": (["--kerberos-config-file", kerberos], []),
        "tiers": ([], [["--tier", "1", "--storage-class", "COLD", "--tag", "a=b"], ["--tier", "3", "--storage-class", "X"]]),
        "all-config": ([], [["--upload-limit", "80", "--download-limit", "160", "--capacity", "5", "--inodes", "7",
                             "--user-group-quota", "--changelog", "--changelog-max-lines", "100", "--max-client-version",
                             "2.0.0", "--min-client-version", "1.3.0", "--dir-stats=false", "--trash-days", "30"]]),
    }
    for name, (format_options, configs) in variants.items():
        path = f"{ROOT}/setting-{name}.db"
        bucket = f"{ROOT}/setting-{name}" + ("-%d/" if name == "shards" else "/")
        run(peer, "format", "--storage", "file", "--bucket", bucket, *format_options, f"sqlite3://{path}", name)
        for options in configs:
            run(peer, "config", "-y", *options, f"sqlite3://{path}")
        with sqlite3.connect(path) as database:
            ((text,),) = database.execute("select value from jfs_setting where name='format'").fetchall()
        os.makedirs(f"{HERE}/settings", exist_ok=True)
        with open(f"{HERE}/settings/{name}.json", "w") as out:
            out.write(text)
        if name == "encrypted":
            for folder, _, files in os.walk(f"{ROOT}/setting-{name}"):
                for file in files:
                    if file == "juicefs_uuid":
                        with open(os.path.join(folder, file), "rb") as stored:
                            write_lines("sealed-uuid.txt", [stored.read().hex()])
    print(f"settings: {len(variants)}")


def make_cache(peer):
    """Files of the disk cache: with checksums, without, and staged ones with a tier's footer."""
    lines = []
    for level in ("extend", "none"):
        url, mount, cache = f"sqlite3://{ROOT}/cache-{level}.db", f"{ROOT}/cache-{level}-mnt", f"{ROOT}/cache-{level}"
        os.makedirs(mount)
        run(peer, "format", "--storage", "file", "--bucket", f"{ROOT}/cache-{level}-b/", url, "golden")
        run(peer, "config", "-y", "--tier", "1", "--storage-class", "COLD", url)
        run(peer, "mount", "-d", "--no-usage-report", "--cache-dir", cache, "--verify-cache-checksum", level, "--writeback",
            "--upload-delay", "1h", url, mount)
        try:
            os.mkdir(f"{mount}/cold")
            run(peer, "tier", "set", url, "--tier", "1", "/cold")
            for name, size in (("small", 6), ("units", 32768), ("more", 70000), ("cold/small", 5), ("cold/more", 40000)):
                write(f"{mount}/{name}", [(0, (b"hello\n" * (size // 6 + 1))[:size])])
            time.sleep(1)
            for folder, _, files in os.walk(cache):
                for file in sorted(files):
                    match = re.fullmatch(r"(\d+)_(\d+)_(\d+)", file)
                    if match and "/rawstaging/" in folder + "/":
                        with open(os.path.join(folder, file), "rb") as block:
                            content = block.read()
                        key = f"{folder.split('/rawstaging/')[1]}/{file}"
                        lines.append(f"{level} {key} {content[int(match[3]):].hex() or '-'}")
        finally:
            unmount(peer, mount)
    write_lines("cache.txt", sorted(lines))


def main():
    if os.geteuid() != 0:
        sys.exit("mounting and namespaces need root")
    enter_namespaces()
    peer = find_peer()
    makers = {"redis": make_redis, "sqlite": make_sqlite, "etcd": make_etcd, "settings": make_settings, "cache": make_cache}
    chosen = [a for a in sys.argv[1:] if a in makers] or list(makers)
    shutil.rmtree(ROOT, ignore_errors=True)
    os.makedirs(ROOT)
    print(run(peer, "version").strip())
    try:
        for name in chosen:
            makers[name](peer)
    finally:
        if "--keep" not in sys.argv:
            shutil.rmtree(ROOT, ignore_errors=True)


if __name__ == "__main__":
    main()
