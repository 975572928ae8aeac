#!/usr/bin/env python3
"""The life of a mount: start, failures, signals, umount, what other commands tell about it.

Goal: `mount` returns when the volume can be used, `umount` when everything is stored, and each way to fail says why.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from harness import SKIPPED, find_zest, is_mounted, wait_until, workspace  # noqa: E402


class MountTest(unittest.TestCase):
    def setUp(self):
        self.workspace = workspace("cli")
        self.dir = self.workspace.__enter__()
        self.processes = []
        self.addCleanup(self.clean_up)
        self.url = f"sqlite3://{self.dir}/meta.db"
        self.mnt = self.dir / "mnt"
        self.mnt.mkdir()
        self.zest("format", "--bucket", self.dir / "bucket", "--trash-days", "0", self.url, "vol")

    def clean_up(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(timeout=30)
        self.workspace.__exit__(None, None, None)

    def zest(self, *args, code=0, program=None):
        done = subprocess.run([program or find_zest(), *map(str, args)], text=True, capture_output=True, timeout=90,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, code, f"zest {args}:\n{done.stdout}{done.stderr}{self.log()}")
        return done.stdout + done.stderr

    def log(self):
        path = self.dir / "log"
        return f"\n--- log\n{path.read_text()[-3000:]}" if path.exists() else ""

    def mount(self, *options, code=0):
        return self.zest("mount", "-d", "--log", self.dir / "log", "--metrics", "127.0.0.1:0", *options, self.url, self.mnt,
                         code=code)

    def mount_in_foreground(self, *options):
        process = subprocess.Popen([find_zest(), "mount", "--metrics", "off", *options, self.url, str(self.mnt)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.processes.append(process)
        wait_until(lambda: is_mounted(self.mnt) or process.poll() is not None, 20, "the mount")
        self.assertIsNone(process.poll(), "ended before it was mounted")
        return process

    def server(self) -> int:
        return json.loads((self.mnt / ".config").read_text())["Pid"]

    @staticmethod
    def alive(pid) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
        except FileNotFoundError:
            return False

    # ---- start

    def test_a_background_mount_can_be_used_when_the_command_returns(self):
        self.assertIn(f"volume vol is ready at {self.mnt}", self.mount())
        (self.mnt / "file").write_text("hello")
        self.assertEqual((self.mnt / "file").read_text(), "hello")
        self.zest("umount", self.mnt)

    def test_the_mount_table_names_the_volume(self):
        self.mount()
        line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {self.mnt} " in line)
        self.assertTrue(line.startswith("ZestFS:vol "), line)
        for option in ("rw", "nosuid", "nodev", "default_permissions"):
            self.assertIn(option, line.split()[3].split(","))
        self.zest("umount", self.mnt)

    def test_a_volume_is_mounted_once_at_a_place(self):
        self.mount()
        message = self.mount(code=1)
        self.assertRegex(message, "mounted on .* already|still running")
        (self.mnt / "file").write_text("the first mount still works")
        self.mount("--force")
        self.assertEqual((self.mnt / "file").read_text(), "the first mount still works")
        self.zest("umount", self.mnt)
        self.zest("umount", self.mnt)
        self.assertFalse(is_mounted(self.mnt))

    def test_read_only(self):
        for options in (["--read-only"], ["-o", "ro"]):
            self.mount(*options)
            with self.assertRaises(OSError) as caught:
                (self.mnt / "file").write_text("x")
            self.assertEqual(caught.exception.errno, 30)
            self.zest("umount", self.mnt)

    def test_a_subdirectory_is_created_and_mounted(self):
        self.mount("--subdir", "a/b")
        (self.mnt / "inside").write_text("x")
        self.assertIn("path: /a/b/inside", self.zest("info", self.mnt / "inside"))
        self.assertIn("path: /a/b\n", self.zest("info", self.mnt))
        self.zest("umount", self.mnt)
        self.mount()
        self.assertEqual((self.mnt / "a/b/inside").read_text(), "x")
        self.zest("umount", self.mnt)

    def test_called_by_mount(self):
        helper = self.dir / "mount.zest"
        helper.symlink_to(find_zest())
        self.zest(self.url, self.mnt, "-o", f"rw,_netdev,read-only,log={self.dir}/log,metrics=off,noexec", program=helper)
        options = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {self.mnt} " in line)
        self.assertIn("noexec", options)
        self.assertIn("ro,", options)
        self.zest("umount", self.mnt)

    # ---- end

    def test_umount_returns_when_everything_is_stored(self):
        self.mount()
        server = self.server()
        content = os.urandom(9 << 20)
        with open(self.mnt / "big", "wb") as file:
            file.write(content)
        self.zest("umount", self.mnt)
        self.assertFalse(self.alive(server))
        self.assertEqual(json.loads(self.zest("status", self.url))["Sessions"], [])
        self.mount()
        self.assertEqual((self.mnt / "big").read_bytes(), content)
        self.zest("umount", self.mnt)

    def test_umount_of_a_busy_mount(self):
        self.mount()
        with open(self.mnt / "open", "w") as file:
            message = self.zest("umount", self.mnt, code=1)
            self.assertIn("is in use", message)
            self.assertTrue(is_mounted(self.mnt))
            file.write("still works")
        self.zest("umount", self.mnt)

    def test_force_unmounts_a_busy_mount(self):
        self.mount()
        file = open(self.mnt / "open", "w")
        self.zest("umount", "--force", self.mnt)
        self.assertFalse(is_mounted(self.mnt))
        try:
            file.close()
        except OSError:
            pass

    def test_sigterm_unmounts_and_keeps_data(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.mount_in_foreground()
            (self.mnt / "file").write_text(f"before signal {number}")
            process.send_signal(number)
            output, _ = process.communicate(timeout=30)
            self.assertEqual(process.returncode, 0, output)
            self.assertFalse(is_mounted(self.mnt))
        self.mount()
        self.assertEqual((self.mnt / "file").read_text(), "before signal 2")
        self.zest("umount", self.mnt)

    def test_a_signal_while_in_use_waits_and_a_second_one_forces(self):
        process = self.mount_in_foreground()
        file = open(self.mnt / "open", "w")
        process.send_signal(signal.SIGTERM)
        time.sleep(1.5)  # longer than it takes to try again
        file.write("the open file goes on")
        file.flush()
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        self.assertFalse(is_mounted(self.mnt))
        try:
            file.close()
        except OSError:
            pass

    def test_a_signal_while_in_use_unmounts_when_the_last_file_is_closed(self):
        process = self.mount_in_foreground()
        file = open(self.mnt / "open", "w")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        file.write("kept")
        file.close()
        output, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, output)
        self.mount()
        self.assertEqual((self.mnt / "open").read_text(), "kept")
        self.zest("umount", self.mnt)

    def test_a_dead_mount_is_replaced(self):
        self.mount()
        os.kill(self.server(), signal.SIGKILL)
        wait_until(lambda: self.is_dead(), 10, "the mount to be dead")
        self.mount()
        (self.mnt / "file").write_text("x")
        self.zest("umount", self.mnt)

    def test_a_dead_mount_can_be_unmounted(self):
        for options in ([], ["--force"]):
            self.mount()
            os.kill(self.server(), signal.SIGKILL)
            wait_until(lambda: self.is_dead(), 10, "the mount to be dead")
            self.zest("umount", *options, self.mnt)
            self.assertFalse(is_mounted(self.mnt))

    def is_dead(self):
        try:
            os.stat(self.mnt)
            return False
        except OSError as error:
            return error.errno == 107

    # ---- what others see

    def test_info(self):
        self.mount()
        (self.mnt / "dir").mkdir()
        (self.mnt / "dir/file").write_bytes(b"x" * (5 << 20))
        os.link(self.mnt / "dir/file", self.mnt / "name2")
        os.sync()
        told = self.zest("info", self.mnt / "dir/file")
        self.assertIn("vol/chunks/0/0/1_0_4194304", told)
        self.assertIn("vol/chunks/0/0/1_1_1048576", told)
        self.assertIn("\t/dir/file\n\t/name2\n", told)
        inode = os.stat(self.mnt / "name2").st_ino
        self.assertIn("/name2", self.zest("info", "-i", inode, self.url))
        self.assertIn("/name2", self.zest("info", "-i", inode, self.mnt))
        self.assertIn("/name2", self.zest("info", self.url, "/dir/file"))
        told = self.zest("info", "-r", self.mnt)
        self.assertIn("dirs: 2", told)
        self.assertIn("path: /\n", told)
        self.assertIn("sliceId", self.zest("info", "--raw", self.mnt / "name2"))
        self.assertIn("No such", self.zest("info", self.mnt / "none", code=1))
        self.assertIn("is not in a volume", self.zest("info", "/proc/self/status", code=1))
        self.zest("umount", self.mnt)

    def test_status_shows_the_session(self):
        self.mount()
        session, = json.loads(self.zest("status", self.url))["Sessions"]
        self.assertEqual(session["MountPoint"], str(self.mnt))
        self.assertEqual(session["ProcessID"], self.server())
        self.assertEqual(session["HostName"], os.uname().nodename)
        self.assertTrue(session["Version"].startswith("1.4.1+zest."))
        self.assertIn("Sid", json.loads(self.zest("status", "--session", session["Sid"], self.url))["Sessions"][0])
        self.zest("umount", self.mnt)

    def test_metrics(self):
        self.mount("--custom-labels", "team:storage")
        line = next(line for line in (self.dir / "log").read_text().splitlines() if "/metrics" in line)
        url = next(word for word in line.replace('"', " ").replace("=", " ").split() if word.startswith("http://"))
        (self.mnt / "file").write_text("x")
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        self.assertIn("juicefs_uptime{", text)
        self.assertIn('vol_name="vol"', text)
        self.assertIn(f'mp="{self.mnt}"', text)
        self.assertIn('team="storage"', text)
        self.zest("umount", self.mnt)

    def test_a_mount_in_the_background_lets_go_of_its_caller(self):
        began = time.monotonic()
        # With an inherited descriptor, reading the caller's output to its end would last as long as the mount.
        self.mount()
        self.assertLess(time.monotonic() - began, 20)
        self.zest("umount", self.mnt)

    # ---- without root

    def test_an_unprivileged_user_mounts_through_fusermount3(self):
        """Like any user on a usual system, where everybody may open /dev/fuse."""
        home = self.dir / "home"
        (home / "mnt").mkdir(parents=True)
        for path in (home, home / "mnt"):
            os.chown(path, 1, 1)
        program = home / "zest-program"
        shutil.copy(find_zest(), program)  # the checkout may be closed to others
        mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
        os.chmod("/dev/fuse", 0o666)
        self.addCleanup(os.chmod, "/dev/fuse", mode)

        def as_user(*command):
            done = subprocess.run([*map(str, command)], text=True, capture_output=True, timeout=90, user=1, group=1,
                                  extra_groups=[], stdin=subprocess.DEVNULL, cwd=home,
                                  env=dict(os.environ, HOME=str(home), XDG_RUNTIME_DIR=str(home)))
            self.assertEqual(done.returncode, 0, f"{command}:\n{done.stdout}{done.stderr}")
            return done.stdout

        url = f"sqlite3://{home}/meta.db"
        as_user(program, "format", "--bucket", home / "bucket", url, "uservol")
        as_user(program, "mount", "-d", "--log", home / "log", "--metrics", "127.0.0.1:0", url, home / "mnt")
        self.assertEqual(as_user("sh", "-c", "echo hello > mnt/file && cat mnt/file"), "hello\n")
        as_user(program, "umount", home / "mnt")
        self.assertFalse(is_mounted(home / "mnt"))


    def test_restore_brings_back_what_was_deleted(self):
        self.zest("config", "--trash-days", "1", self.url)
        self.mount()
        (self.mnt / "dir/sub").mkdir(parents=True)
        (self.mnt / "dir/sub/file").write_text("precious")
        shutil.rmtree(self.mnt / "dir")
        (self.mnt / "dir").mkdir()
        hour, = os.listdir(self.mnt / ".trash")
        self.assertIn("1 belong outside", self.zest("restore", self.url, hour))
        told = self.zest("restore", "--put-back", self.url, hour, code=1)
        self.assertIn("-dir stays in the trash", told)
        os.rmdir(self.mnt / "dir")
        # Two directories of that name were deleted now; the one that comes first gets it.
        report, = json.loads(self.zest("restore", "--json", self.url, hour))
        self.assertEqual(report, {"Hour": hour, "Entries": 2, "Restored": 0, "Left": 2, "Conflicts": 0, "Failed": 0})
        self.zest("restore", "--put-back", self.url, hour, code=1)
        os.rename(self.mnt / "dir", self.mnt / "first")
        self.zest("restore", "--put-back", self.url, hour)
        self.assertEqual([path.read_text() for path in self.mnt.glob("*/sub/file")], ["precious"])
        self.zest("restore", self.url, "2001-01-01-01", code=1)
        self.zest("restore", self.url, "yesterday", code=1)


if __name__ == "__main__":
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("skipped: no access to /dev/fuse")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
