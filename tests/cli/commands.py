#!/usr/bin/env python3
"""Every command that needs no mount: what it prints, which errors it gives, and that no secret shows.

Goal: a person who makes a mistake learns what it was; exit codes are 0, 1 (failed), 2 (usage).
"""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import REPOSITORY, find_zest, workspace  # noqa: E402


class CommandTest(unittest.TestCase):
    def setUp(self):
        self.workspace = workspace("cli")
        self.dir = self.workspace.__enter__()
        self.addCleanup(self.workspace.__exit__, None, None, None)
        self.database = self.dir / "meta.db"
        self.url = f"sqlite3://{self.database}"
        self.bucket = self.dir / "bucket"

    def zest(self, *args, code=0, env=None, cwd=None):
        """Runs the program; its standard output, or standard error when it has to fail."""
        done = subprocess.run([find_zest(), *map(str, args)], text=True, capture_output=True, timeout=60,
                              env={**os.environ, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, code, f"zest {args}:\n{done.stdout}{done.stderr}")
        return done.stderr if code else done.stdout

    def format(self, *args, name="vol", code=0, env=None):
        return self.zest("format", "--storage", "file", "--bucket", self.bucket, *args, self.url, name, code=code, env=env)

    def setting(self):
        with sqlite3.connect(self.database) as db:
            return json.loads(db.execute("select value from jfs_setting where name = 'format'").fetchone()[0])

    def change_setting(self, **fields):
        document = {**self.setting(), **fields}
        with sqlite3.connect(self.database) as db:
            db.execute("update jfs_setting set value = ? where name = 'format'", (json.dumps(document),))
        db.close()

    # ---- the command line itself

    def test_version_and_help(self):
        self.assertIn("zest version 0.1.0", self.zest("version"))
        self.assertIn("zest version 0.1.0", self.zest("--version"))
        self.assertIn("format", self.zest("--help"))
        self.assertIn("--trash-days", self.zest("format", "--help"))

    def test_usage_errors_end_with_2(self):
        self.zest(code=2)
        self.assertIn("frobnicate", self.zest("frobnicate", code=2))
        self.assertIn("--frobnicate", self.zest("status", "--frobnicate", self.url, code=2))
        self.assertIn("META-URL", self.zest("status", code=2))

    def test_bad_values_name_the_option(self):
        for option, value in (("--block-size", "4X"), ("--capacity", "-1"), ("--inodes", "many"), ("--trash-days", "x")):
            self.assertIn(option, self.format(f"{option}={value}", code=2))
        for option, value in (("--buffer-size", "1Q"), ("--attr-cache", "soon"), ("--umask", "888"), ("--sync", "often"),
                              ("--transport", "pigeon"), ("--threads", "-3"), ("--buffer-size", "1M"),
                              ("--max-fuse-io", "4M"), ("--custom-labels", "a=b"), ("--heartbeat", "1ms")):
            self.assertIn(option, self.zest("mount", f"{option}={value}", self.url, self.dir, code=2))

    def test_options_may_stand_anywhere_and_have_one_dash(self):
        self.zest("format", self.url, "vol", "-storage", "file", "-bucket", self.bucket, "-trash-days=3")
        self.assertEqual(self.setting()["TrashDays"], 3)

    def test_options_of_the_peer_are_refused_or_noted_never_ignored(self):
        message = self.zest("mount", "--writeback", self.url, self.dir, code=2)
        self.assertIn("--writeback", message)
        self.assertIn("not supported by this version", message)
        self.assertIn("not supported by this version", self.format("--tag", "a=b", code=2))
        self.format()
        # No effect and no harm: one line, and on it goes (to the mount point, which is missing).
        message = self.zest("mount", "--no-usage-report", self.url, self.dir / "none", code=1)
        self.assertIn("--no-usage-report has no effect", message)

    # ---- format

    def test_format_creates_a_volume(self):
        printed = json.loads(self.format("--trash-days", "0", "--capacity", "2", "--block-size", "1M"))
        stored = self.setting()
        self.assertEqual(printed, stored)
        self.assertEqual(stored["Name"], "vol")
        self.assertEqual(stored["Bucket"], f"{self.bucket}/")
        self.assertEqual(stored["Capacity"], 2 << 30)
        self.assertEqual(stored["BlockSize"], 1024)
        self.assertEqual((self.bucket / "vol/juicefs_uuid").read_text(), stored["UUID"])
        self.assertEqual(os.listdir(self.bucket / "vol/testing") if (self.bucket / "vol/testing").exists() else [], [])

    def test_the_setting_has_the_peers_fields_in_its_order(self):
        self.format()
        self.assertEqual(list(self.setting()), ["Name", "UUID", "Storage", "Tiers", "Bucket", "BlockSize", "Compression",
                                                "EncryptAlgo", "TrashDays", "MetaVersion", "MinClientVersion", "DirStats",
                                                "EnableACL"])

    def test_acls_are_switched_on_for_good(self):
        self.format("--enable-acl")
        self.assertTrue(self.setting()["EnableACL"])
        self.assertEqual(self.setting()["MinClientVersion"], "1.2.0-A")
        self.format("--trash-days", "2")
        self.assertTrue(self.setting()["EnableACL"])
        self.assertIn("cannot be switched off", self.format("--enable-acl=false", code=1))
        self.assertIn("cannot be switched off", self.zest("config", self.url, "--enable-acl=false", code=1))

    def test_format_again_updates(self):
        self.format()
        before = self.setting()
        self.format("--trash-days", "9")
        after = self.setting()
        self.assertEqual(after["TrashDays"], 9)
        self.assertEqual(after["UUID"], before["UUID"])
        self.assertIn("cannot be changed", self.format("--block-size", "64K", code=1))
        self.assertIn("cannot be changed", self.format(name="other", code=1))
        self.format("--no-update", "--trash-days", "1", name="other")
        self.assertEqual(self.setting(), after)

    def test_format_refuses_foreign_objects(self):
        (self.bucket / "vol/chunks").mkdir(parents=True)
        (self.bucket / "vol/chunks/x").write_text("somebody's data")
        self.assertIn("is not empty", self.format(code=1))
        self.format("--force")

    def test_format_refuses_bad_names(self):
        for name in ("a", "UPPER", "under_score", "-dash", "x" * 64):
            message = self.zest("format", "--bucket", self.bucket, self.url, "--", name, code=1)
            self.assertIn("name", message)
        self.assertFalse(self.database.exists(), "a bad name must not leave a database behind")

    def test_format_needs_a_writable_bucket(self):
        (self.dir / "file").write_text("x")
        message = self.zest("format", "--bucket", self.dir / "file/bucket", self.url, "vol", code=1)
        self.assertIn("not writable", message)
        self.assertIn(str(self.dir / "file/bucket"), message)

    def test_unknown_and_unsupported_storage(self):
        self.assertIn('unknown object storage "pigeon"',
                      self.zest("format", "--storage", "pigeon", self.url, "vol", code=1))
        self.assertIn("not supported yet",
                      self.zest("format", "--storage", "swift", "--bucket", "http://x", self.url, "vol", code=1))

    # ---- engines

    def test_unknown_and_unsupported_engines(self):
        self.assertIn("not supported", self.zest("status", "tikv://localhost/volume", code=1))
        self.assertIn("unknown metadata engine", self.zest("status", "pigeon://coop", code=1))

    def test_no_password_in_messages(self):
        for command in (("status",), ("config",), ("format", "--bucket", self.bucket)):
            name = ("vol",) if command[0] == "format" else ()
            urls = ["tikv://user:hunter2@localhost/volume", "redis://user:hunter2@127.0.0.1:1/1"]
            if command == ("status",):  # these wait a moment for the server
                urls += ["mysql://user:hunter2@(127.0.0.1:1)/db", "postgres://user:hunter2@127.0.0.1:1/db"]
            for url in urls:
                message = self.zest(*command, url, *name, code=1)
                self.assertNotIn("hunter2", message)
                self.assertIn("****" if url.startswith("tikv") else "127.0.0.1", message)
            message = self.zest(*command, "redis://localhost/1", *name, code=1, env={"META_PASSWORD": "hunter2"})
            self.assertNotIn("hunter2", message)

    def test_password_file_that_is_missing(self):
        message = self.zest("status", self.url, code=1, env={"META_PASSWORD_FILE": str(self.dir / "none")})
        self.assertIn(str(self.dir / "none"), message)

    def test_a_database_that_is_not_there(self):
        for command in ("status", "config"):
            message = self.zest(command, self.url, code=1)
            self.assertIn(str(self.database), message)
        self.assertFalse(self.database.exists(), "looking must not create a database")
        message = self.zest("format", "--bucket", self.bucket, f"sqlite3://{self.dir}/none/meta.db", "vol", code=1)
        self.assertIn(f"{self.dir}/none/meta.db", message)

    def test_a_file_that_is_no_database(self):
        self.database.write_text("This is no database, only a text that is long enough to look like something.\n" * 100)
        self.assertIn(str(self.database), self.zest("status", self.url, code=1))

    def test_a_database_without_a_volume(self):
        sqlite3.connect(self.database).execute("create table t (x)").connection.close()
        message = self.zest("status", self.url, code=1)
        self.assertIn("no volume", message)
        self.assertIn("zest format", message)

    # ---- versions and features

    def test_a_volume_of_a_newer_format_is_refused(self):
        self.format()
        self.change_setting(MetaVersion=2)
        for command in (("status", self.url), ("config", self.url), ("mount", self.url, self.mount_point())):
            self.assertIn("version", self.zest(*command, code=1).lower())

    def test_a_volume_that_demands_newer_clients_is_refused(self):
        self.format()
        self.change_setting(MinClientVersion="9.0.0")
        message = self.zest("mount", self.url, self.mount_point(), code=1)
        self.assertIn("9.0.0", message)

    def test_volumes_with_unsupported_features_are_not_mounted(self):
        self.format()
        for field, value in (("ChangeLog", True),):
            self.change_setting(**{field: value})
            self.assertIn("not support", self.zest("mount", self.url, self.mount_point(), code=1))
            self.change_setting(**{field: type(value)()})
        self.change_setting(Storage="swift")
        self.assertIn("not supported yet", self.zest("mount", self.url, self.mount_point(), code=1))

    def test_a_volume_whose_key_is_damaged_is_not_mounted(self):
        self.format()
        self.change_setting(EncryptKey="-----BEGIN RSA PRIVATE KEY-----")
        message = self.zest("mount", self.url, self.mount_point(), code=1)
        self.assertIn("no private key", message)
        self.assertNotIn("BEGIN RSA", message)

    # ---- secrets

    def test_secrets_are_encrypted_in_the_database_and_never_shown(self):
        secret = "hunter2-the-secret"
        printed = self.format(env={"ACCESS_KEY": "me", "SECRET_KEY": secret})
        self.assertNotIn(secret, printed)
        self.assertEqual(json.loads(printed)["SecretKey"], "removed")
        stored = self.setting()
        self.assertTrue(stored["KeyEncrypted"])
        self.assertEqual(stored["AccessKey"], "me")
        self.assertNotIn(secret.encode(), self.database.read_bytes() + Path(f"{self.database}-wal").read_bytes()
                         if Path(f"{self.database}-wal").exists() else self.database.read_bytes())
        for command in ("config", "status"):
            shown = self.zest(command, self.url)
            self.assertNotIn(secret, shown)
            self.assertNotIn(stored["SecretKey"], shown)
        shown = self.zest("config", self.url, "--secret-key", "another-secret")
        self.assertIn("secret-key: removed -> removed", shown)

    # ---- config and status

    def test_config_shows_and_changes(self):
        self.format()
        self.assertEqual(json.loads(self.zest("config", self.url)), self.setting())
        self.assertIn("trash-days: 1 -> 7", self.zest("config", self.url, "--trash-days", "7"))
        self.assertEqual(self.setting()["TrashDays"], 7)
        self.assertIn("Nothing changed", self.zest("config", self.url, "--trash-days", "7"))
        self.zest("config", self.url, "--capacity", "1T", "--inodes", "1000", "--yes")
        self.assertEqual((self.setting()["Capacity"], self.setting()["Inodes"]), (1 << 40, 1000))

    def test_config_tests_a_new_bucket(self):
        self.format()
        (self.dir / "file").write_text("x")
        self.assertIn("not writable", self.zest("config", self.url, "--bucket", self.dir / "file/b", code=1))
        self.assertEqual(self.setting()["Bucket"], f"{self.bucket}/")

    def test_status_has_the_peers_keys(self):
        self.format("--capacity", "1")
        status = json.loads(self.zest("status", self.url))
        self.assertEqual(list(status), ["Setting", "Sessions", "Stat"])
        self.assertEqual(status["Sessions"], [])
        self.assertEqual(status["Stat"], {"UsedSpace": 0, "AvailableSpace": 1 << 30, "UsedInodes": 0,
                                          "AvailableInodes": 10485760})
        self.assertIn("no session 7", self.zest("status", "--session", "7", self.url, code=1))

    # ---- quotas (with mounts: tests/system/quota.py)

    def quota(self, action, *args, code=0):
        return self.zest("quota", action, self.url, *args, code=code)

    def test_quotas_are_set_shown_listed_and_removed(self):
        self.format()
        self.assertIn("there is no", self.quota("set", "--path", "/a/b", "--capacity", "1", code=1))
        printed = self.quota("set", "--path", "/a/b", "--capacity", "1", "--inodes", "1000000", "--create")
        self.assertIn("| Path | ", printed)
        for cell in ("/a/b", "1.0 GiB", "0 B", "0%", "1,000,000"):
            self.assertIn(cell, printed)
        self.assertEqual(json.loads(self.quota("get", "--path", "/a/b", "--json")),
                         {"/a/b": {"MaxSpace": 1 << 30, "MaxInodes": 1000000, "UsedSpace": 0, "UsedInodes": 0}})
        self.quota("set", "--path", "/a", "--inodes", "5")
        self.assertEqual(json.loads(self.quota("get", "--path", "/a", "--json"))["/a"]["UsedInodes"], 1)
        self.quota("set", "--uid", "1000", "--capacity", "1M")
        self.quota("set", "--gid", "100", "--inodes", "7")
        self.assertTrue(self.setting()["UserGroupQuota"])
        self.assertEqual(list(json.loads(self.quota("ls", "--json"))), ["/a", "/a/b", "gid:100", "uid:1000"])
        self.assertEqual(list(json.loads(self.quota("list", "--uid", "1000", "--json"))), ["uid:1000"])
        self.quota("delete", "--path", "/a")
        self.quota("del", "--uid", "1000")
        self.assertEqual(list(json.loads(self.quota("list", "--json"))), ["/a/b", "gid:100"])
        self.assertEqual(self.quota("get", "--path", "/a"), "")

    def test_quotas_are_checked_and_repaired(self):
        self.format()
        self.quota("set", "--path", "/a/b", "--inodes", "9", "--create")
        self.quota("set", "--path", "/a", "--inodes", "9")
        self.quota("check", "--path", "/a")
        with sqlite3.connect(self.database) as db:
            db.execute("update jfs_dir_quota set used_inodes = 77 where max_inodes = 9")
        db.close()
        self.assertIn("/a: quota(77, 4.0 KiB) != counted(1, 4.0 KiB)", self.quota("check", "--path", "/a", code=1))
        self.assertIn("4.0 KiB", self.quota("check", "--path", "/a", "--repair"))
        self.assertEqual(json.loads(self.quota("get", "--path", "/a", "--json"))["/a"]["UsedInodes"], 1)
        self.quota("check", "--path", "/a")
        self.assertIn("there is no quota", self.quota("check", "--path", "/", code=1))
        self.assertIn("uid:0: quota(0, 0 B) != counted(2, 8.0 KiB)", self.quota("check", code=1))
        self.quota("check", "--repair")
        self.quota("check")

    def test_quota_usage_errors(self):
        self.format()
        self.assertIn("--path", self.quota("get", code=2))
        self.assertIn("--capacity", self.quota("set", "--uid", "7", code=2))
        self.assertIn("only one", self.quota("get", "--uid", "7", "--gid", "7", code=2))
        self.assertIn("root", self.quota("set", "--uid", "0", "--inodes", "1", code=2))
        self.assertIn("frobnicate", self.quota("frobnicate", code=2))
        self.quota("set", "--path", "/", "--inodes", "100")
        self.assertIn("1 directories have quotas", self.zest("config", self.url, "--dir-stats=false", code=1))

    def test_user_group_quota_can_be_switched(self):
        self.format()
        self.assertIn("user-group-quota: false -> true", self.zest("config", self.url, "--user-group-quota"))
        self.assertTrue(self.setting()["UserGroupQuota"])
        self.assertIn("user-group-quota: true -> false", self.zest("config", self.url, "--user-group-quota=false"))

    def test_relative_urls(self):
        self.zest("format", "--bucket", "blocks", "sqlite3://rel.db", "vol", cwd=self.dir)
        self.database = self.dir / "rel.db"
        self.assertEqual(self.setting()["Bucket"], f"{self.dir}/blocks/")

    # ---- mount points; nothing of this gets as far as FUSE

    def mount_point(self) -> Path:
        (self.dir / "mnt").mkdir(exist_ok=True)
        return self.dir / "mnt"

    def test_mount_points(self):
        self.format()
        self.assertIn("No such", self.zest("mount", self.url, self.dir / "none", code=1))
        (self.dir / "file").write_text("x")
        self.assertIn("directory", self.zest("mount", self.url, self.dir / "file", code=1))
        (self.mount_point() / "file").write_text("x")
        message = self.zest("mount", self.url, self.mount_point(), code=1)
        self.assertIn("is not empty", message)
        self.assertIn("--force", message)

    def test_unknown_fuse_options(self):
        self.format()
        self.assertIn("pigeon", self.zest("mount", "-o", "pigeon", self.url, self.mount_point(), code=1))

    def test_background_mounts_report_failures_like_others(self):
        self.format()
        self.change_setting(MinClientVersion="9.0.0")
        message = self.zest("mount", "-d", "--log", self.dir / "log", self.url, self.mount_point(), code=1)
        self.assertIn("9.0.0", message)

    def test_umount_of_what_is_not_mounted(self):
        self.assertIn("nothing is mounted", self.zest("umount", self.mount_point(), code=1))
        self.assertIn("not of zest", self.zest("umount", "/proc", code=1))

    # ---- documentation

    def test_completion_scripts_are_valid(self):
        for shell, check in (("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])):
            script = self.zest("completion", shell)
            self.assertIn("trash-days", script)
            self.assertIn("umount", script)
            if shutil.which(shell):
                subprocess.run(check, input=script, text=True, check=True, timeout=30)

    def test_bash_completes_commands_and_options(self):
        script = self.zest("completion", "bash") + """
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zest; printf '%s\\n' "${COMPREPLY[@]}"; }
complete_line zest fo; complete_line zest format --trash; complete_line zest mount --wri
"""
        done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True)
        self.assertEqual(done.stdout.split(), ["format", "--trash-days", "--writeback-cache", "--writeback",
                                               "--writeback-threshold-size"])

    def test_the_manual_in_the_repository_is_this_programs(self):
        for kind, path in (("markdown", "docs/commands.md"), ("roff", "docs/man/zest.1")):
            self.assertEqual((REPOSITORY / path).read_text(), self.zest("manual", kind, env={"HOME": "/root"}),
                             f"run: build/release/zest manual {kind} > {path}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
