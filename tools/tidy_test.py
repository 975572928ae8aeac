#!/usr/bin/env python3
"""Self-test of tidy.py: every rule finds its planted violation, and leaves the right form alone."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import tidy  # noqa: E402


class TidyTest(unittest.TestCase):
    def findings(self, files: dict) -> list:
        """Messages for a tree with these files; sources are listed in a CMakeLists.txt of their folder."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
                lists = (root / path).parent / "CMakeLists.txt"
                if path.endswith(".cc") and not lists.exists() and str(lists.relative_to(root)) not in files:
                    lists.write_text(" ".join(Path(f).name for f in files))
            return [message for _, _, message in tidy.check(root).items]

    def one(self, path: str, text: str, expected: str):
        found = self.findings({path: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])

    def none(self, path: str, text: str):
        self.assertEqual(self.findings({path: text}), [])

    def test_layers(self):
        self.one("src/zest/object/a.cc", '#include "zest/meta/meta.h"\n', "must not include")
        self.one("src/zest/admin/a.cc", '#include "zest/vfs/vfs.h"\n', "must not include")
        self.one("src/zest/meta/ops/a.cc", '#include "zest/meta/engine/sql/x.h"\n', "interface only")
        self.none("src/zest/chunk/a.cc", '#include "zest/object/store.h"\n')
        self.none("src/zest/meta/ops/a_test.cc", '#include "zest/meta/engine/memory/x.h"\n')
        self.none("tests/model/a.cc", '#include "zest/cli/x.h"\n')

    def test_heavy_headers_only_in_sources(self):
        self.one("src/zest/base/a.h", "#pragma once\n#include <fmt/format.h>\n", "costs seconds")
        self.none("src/zest/base/a.cc", "#include <fmt/format.h>\n")

    def test_banned_calls(self):
        for text in ("co_await f();", "x.value();", "std::this_thread::sleep_for(s);", "throw 1;", "t.detach();",
                     'printf("x");', 'std::cerr << "x";', "new Thing();", "delete thing;", "std::random_device d;",
                     "auto t = std::chrono::system_clock::now();", "thread_local int x;", "using namespace std;",
                     "// TODO later", "try { f(); } catch (...) {"):
            with self.subTest(text):
                found = self.findings({"src/zest/vfs/a.cc": text + "\n"})
                self.assertEqual(len(found), 1, found)
                self.assertIn("banned", found[0])

    def test_what_is_not_banned(self):
        for text in ("// co_await is banned", 'log("throw away");', "A(A const&) = delete;", "loop.sleep_for(ctx, s);",
                     "ino.value + 1;", "snprintf(b, n, f);", "void* operator new(std::size_t);", "int renew = 1;",
                     "new Thing();  // tidy: allow(new) private constructor",
                     "using namespace std::chrono_literals;"):
            with self.subTest(text):
                self.none("src/zest/vfs/a.cc", text + "\n")

    def test_products_stay_in_their_drivers(self):
        self.one("src/zest/meta/a.cc", 'auto x = "sqlite3";\n', "outside of its driver")
        self.one("src/zest/vfs/a.cc", "bool is_redis = true;\n", "outside of its driver")
        self.none("src/zest/meta/engine/sql/a.cc", "int sqlite3 = 1;\n")
        self.none("src/zest/meta/a.cc", "// Redis does it in one trip.\n")

    def test_sizes(self):
        body = "  f();\n"
        self.one("src/zest/vfs/a.cc", "void g(int a) {\n" + body * 69 + "}\n", "function of 71 lines")
        self.none("src/zest/vfs/a.cc", "void g(int a) {\n" + body * 68 + "}\n")
        self.one("src/zest/vfs/a.cc", "namespace zest {\nint A::g() const noexcept {\n" + body * 70 + "}\n}\n", "function of 72")
        self.none("src/zest/vfs/a.cc", "namespace zest {\nclass A {\n" + "  int x;\n" * 100 + "};\n}\n")
        self.one("src/zest/vfs/a.cc", "class A {\n void g() {\n" + body * 80 + "}\n};\n", "function of 82")
        self.one("src/zest/vfs/a.cc", "int x;\n" * 601, "601 lines")

    def test_headers_have_a_guard(self):
        self.one("src/zest/base/a.h", "int x;\n", "pragma once")

    def test_guarantees_name_tests_that_exist(self):
        files = {"src/zest/vfs/a_test.cc": "TEST(Vfs, Reads) {}\n", "tests/cli/a.py": "def test_it(self):\n"}
        good = "| x | `Vfs.Reads`, `tests/cli/a.py:test_it`, `tests/cli/a.py` |\n"
        self.assertEqual(self.findings({**files, "docs/semantics.md": good}), [])
        for bad in ("`Vfs.Writes`", "`tests/cli/a.py:test_other`", "`tests/cli/b.py`"):
            found = self.findings({**files, "docs/semantics.md": bad})
            self.assertEqual(len(found), 1, found)
            self.assertIn("there is no test", found[0])

    def test_every_source_is_built(self):
        found = self.findings({"src/zest/vfs/a.cc": "int x;\n", "src/zest/vfs/CMakeLists.txt": "zest_module(vfs SOURCES b.cc)"})
        self.assertEqual(found, ["no CMakeLists.txt names this file"])
        self.none("src/zest/vfs/a.cc", "int x;\n")


if __name__ == "__main__":
    unittest.main()
