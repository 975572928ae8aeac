#!/usr/bin/env python3
"""Checks of the sources that no compiler makes: layering, banned calls, sizes, files missing from CMake.

Usage: tools/tidy.py [ROOT]. Prints one `file:line: message` a finding and exits with 1 if there is any.

A finding that is right as it is gets a comment with its reason on its line or the line above:
    // tidy: allow(new) the constructor is private
"""

import re
import sys
from pathlib import Path

LINES_PER_FUNCTION_MAX = 70
LINES_PER_FILE_MAX = 600

# What a module may include, besides itself. Dependencies point one way only.
BELOW = {
    "base": [],
    "runtime": ["base"],
    "format": ["base", "runtime"],
    "object": ["base", "runtime", "format"],
    "meta": ["base", "runtime", "format"],
    "chunk": ["base", "runtime", "format", "object", "meta"],
    "vfs": ["base", "runtime", "format", "object", "meta", "chunk"],
    "fuse": ["base", "runtime", "format", "object", "meta", "chunk", "vfs"],
    "admin": ["base", "runtime", "format", "object", "meta", "chunk"],
    "cli": ["base", "runtime", "format", "object", "meta", "chunk", "vfs", "fuse", "admin"],
}
# Inside of a module: (folder, what it must not include, why).
INNER = [
    ("meta/ops/", "zest/meta/engine/", "operations know the Engine interface only"),
    ("meta/engine/", "zest/meta/ops/", "engines hold no rules"),
]

HEAVY_HEADER = re.compile(
    r"^(fmt/|spdlog/|nlohmann/|CLI/|boost/|curl/|openssl/|sqlite3\.h|liburing\.h|lz4|zstd|libpq|mysql)")

# (name for allow(), pattern, what to do instead, modules exempt from it, also in tests?)
BANNED = [
    ("co_await", r"\bco_(await|return|yield)\b", "write an ordinary function on a fiber", (), True),
    ("value", r"\.value\(\)", "test the Result or optional, then use *r", ("base",), False),
    ("sleep", r"std::this_thread::sleep_|\b(::)?(usleep|nanosleep|sleep)\(", "wait on the loop: Loop::sleep_for", ("cli",), False),
    ("throw", r"\bthrow\b", "return an Error", (), False),
    ("detach", r"\.detach\(\)|\bpthread_detach\b", "give the fiber or thread an owner that joins it", (), True),
    ("printf", r"(?<![\w.:])(std::)?(printf|fprintf|puts|fputs)\(|\bstd::(cout|cerr|clog)\b",
     "use the Logger; people's output goes through cli/output.h", ("base",), False),
    ("new", r"\bnew\s+[A-Za-z_:(]", "use std::make_unique or a container", (), False),
    ("delete", r"(?<!= )(?<!operator )\bdelete\b(\s*\[\])?\s+[A-Za-z_*(]", "use std::unique_ptr", (), False),
    ("rand", r"\b(std::)?s?rand\(|std::random_device", "draw from Rng", ("cli",), False),
    ("clock", r"(system|steady|high_resolution)_clock::now\(|\b(::)?(time|gettimeofday|clock_gettime)\((nullptr|NULL|0|&|CLOCK)",
     "ask the Clock or the Loop", ("base", "runtime", "cli"), False),
    ("thread_local", r"\bthread_local\b", "pass a Context", ("runtime",), False),
    ("using_namespace", r"\busing namespace\b(?! (std::)?(chrono_)?literals| std::(string_view_|chrono_)?literals)",
     "name what you use", (), False),
    ("todo", r"\b(TODO|FIXME|XXX|HACK)\b", "do it, or write it into an issue", (), True),
    ("catch_all", r"catch \(\.\.\.\)", "catch what the library documents", (), False),
]
PRODUCTS = re.compile(
    r"(?<![a-z])(redis|sqlite3?|mysql|mariadb|postgres|postgresql|etcd|tikv|s3|swift|ceph|rados|minio|azure)(?![a-z])",
    re.IGNORECASE)
# Folders and files that may name products: drivers, the layouts of the format, and those who choose among drivers.
PRODUCTS_ALLOWED = re.compile(r"^(format/|meta/engine/|object/[a-z0-9]+/|object/make_store|cli/|admin/)")


def strip(text: str, keep_strings: bool = False) -> str:
    """Blanks out comments (and strings), keeping line numbers."""
    out = []
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-zA-Z])\'(?:\\.|[^\'\\\n])+\'', re.S)
    last = 0
    for match in pattern.finditer(text):
        out.append(text[last:match.start()])
        token = match.group(0)
        is_comment = token.startswith("/")
        if is_comment or not keep_strings:
            quote = "" if is_comment else '"'
            out.append(quote + "\n" * token.count("\n") + quote)
        else:
            out.append(token)
        last = match.end()
    out.append(text[last:])
    return "".join(out)


def is_test(path: Path) -> bool:
    return (path.name.endswith("_test.cc") or path.name.startswith(("test_", "testing")) or path.parts[0] in ("tests", "bench")
            or "testing" in path.parts)


class Findings:
    def __init__(self):
        self.items = []

    def add(self, path, line, message):
        self.items.append((str(path), line, message))


def allowed(raw_lines, number, name):
    """True when the line or the one above carries `tidy: allow(name)`."""
    for index in (number - 1, number - 2):
        if 0 <= index < len(raw_lines) and f"tidy: allow({name})" in raw_lines[index]:
            return True
    return False


def check_includes(path, raw_lines, findings):
    inside = path.parts[:2] == ("src", "zest")
    module = path.parts[2] if inside else None
    rest = "/".join(path.parts[2:]) if inside else ""
    for number, line in enumerate(raw_lines, 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if not match:
            continue
        header = match.group(1)
        if path.suffix == ".h" and HEAVY_HEADER.match(header) and not allowed(raw_lines, number, "heavy"):
            findings.add(path, number, f"{header} costs seconds in every file: include it in .cc files only")
        if not inside or not header.startswith("zest/"):
            continue
        target = header.split("/")[1]
        test_only = is_test(path) or allowed(raw_lines, number, "layer")
        if target != module and target not in BELOW.get(module, []) and not test_only:
            findings.add(path, number, f"{module} must not include {header}: it stands above or beside it")
        for folder, banned, why in INNER:
            if rest.startswith(folder) and header.startswith(banned) and not test_only:
                findings.add(path, number, f"must not include {header}: {why}")


def check_banned(path, raw_lines, code_lines, findings):
    module = path.parts[2] if path.parts[:2] == ("src", "zest") else ""
    for name, pattern, instead, exempt, in_tests in BANNED:
        if module in exempt or (is_test(path) and not in_tests):
            continue
        lines = raw_lines if name == "todo" else code_lines
        for number, line in enumerate(lines, 1):
            if re.search(pattern, line) and not allowed(raw_lines, number, name):
                findings.add(path, number, f"{name} is banned: {instead}")


def check_products(path, raw_lines, text, findings):
    if path.parts[:2] != ("src", "zest") or is_test(path):
        return
    if PRODUCTS_ALLOWED.match("/".join(path.parts[2:])):
        return
    for number, line in enumerate(strip(text, keep_strings=True).split("\n"), 1):
        match = PRODUCTS.search(line)
        if match and not allowed(raw_lines, number, "product"):
            findings.add(path, number, f"'{match.group(0)}' outside of its driver: ask for a capability instead")


CONTAINER = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")


def functions(code: str):
    """Yields (first line, number of lines) of each outermost function body, by counting braces."""
    stack = []  # True: a namespace or class, whose braces may hold functions
    head_start = 0
    function_depth = None
    function_line = 0
    parens = 0
    for index, char in enumerate(code):
        if char == "(":
            parens += 1
        elif char == ")":
            parens -= 1
        elif char == "{":
            head = code[head_start:index]
            container = bool(CONTAINER.search(re.sub(r"<[^<>]*>", "", head))) and "(" not in head.split("namespace")[0].rsplit("\n", 1)[-1]
            is_function = function_depth is None and "(" in head and not (container and not re.search(r"\)\s*(const|noexcept|override|final|mutable|requires.*|->.*|:.*)*\s*$", head, re.S))
            if is_function and all(stack):
                function_depth = len(stack)
                lead = len(head) - len(head.lstrip())
                function_line = code.count("\n", 0, head_start + lead) + 1
            stack.append(container and not is_function)
            head_start = index + 1
        elif char == "}":
            if stack:
                stack.pop()
            if function_depth is not None and len(stack) == function_depth:
                yield function_line, code.count("\n", 0, index) + 1 - function_line + 1
                function_depth = None
            head_start = index + 1
        elif char == ";" and parens <= 0:
            head_start = index + 1


def check_sizes(path, raw_lines, code, findings):
    if len(raw_lines) > LINES_PER_FILE_MAX:
        findings.add(path, 1, f"{len(raw_lines)} lines; a file has at most {LINES_PER_FILE_MAX}")
    code = re.sub(r"^\s*#(?:[^\n\\]|\\\n)*", lambda m: "\n" * m.group(0).count("\n"), code, flags=re.M)
    for line, count in functions(code):
        if count > LINES_PER_FUNCTION_MAX and not allowed(raw_lines, line, "length"):
            findings.add(path, line, f"function of {count} lines; at most {LINES_PER_FUNCTION_MAX}")


def check_cmake(root, paths, findings):
    """Every .cc is named by the nearest CMakeLists.txt above it that names it relatively."""
    for path in paths:
        if path.suffix != ".cc":
            continue
        folder = (root / path).parent
        # A script beside it may compile it, as bench/ does for a program without our flags.
        found = any(path.name in script.read_text() for script in folder.glob("*.py"))
        while not found:
            lists = folder / "CMakeLists.txt"
            if lists.exists():
                relative = (root / path).relative_to(folder).as_posix()
                text = lists.read_text()
                stem = relative[:-3]
                if re.search(rf"(?<![\w/]){re.escape(relative)}(?!\w)", text) or (
                        "${" in text and re.search(rf"(?<![\w/]){re.escape(stem)}(?![\w/])", text)):
                    found = True
                    break
            if folder == root:
                break
            folder = folder.parent
        if not found:
            findings.add(path, 1, "no CMakeLists.txt names this file")


def check_semantics(root, findings):
    """docs/semantics.md names a test for each guarantee: `Suite.Case`, `tests/x.py` or `tests/x.py:function`."""
    path = root / "docs/semantics.md"
    if not path.exists():
        return
    cases = set()
    for source in list((root / "src").rglob("*_test.cc")) + list((root / "tests").rglob("*.cc")):
        for suite, case in re.findall(r"^TEST(?:_[FP])?\((\w+), (\w+)\)", source.read_text(errors="replace"), re.M):
            cases.add(f"{suite}.{case}")
    for number, line in enumerate(path.read_text().split("\n"), 1):
        for name in re.findall(r"`([A-Z]\w+\.[A-Z]\w+)`", line):
            if name not in cases:
                findings.add("docs/semantics.md", number, f"there is no test {name}")
        for script, function in re.findall(r"`(tests/[\w/.]+\.py):?(\w*)`", line):
            text = (root / script).read_text() if (root / script).exists() else None
            if text is None or (function and f"def {function}(" not in text):
                findings.add("docs/semantics.md", number, f"there is no test {script} {function}".rstrip())


def check(root: Path) -> Findings:
    findings = Findings()
    paths = sorted(p.relative_to(root) for top in ("src", "tests", "bench") for p in (root / top).rglob("*")
                   if p.suffix in (".h", ".cc") and p.is_file())
    for path in paths:
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        raw_lines = text.split("\n")
        if raw_lines and raw_lines[-1] == "":
            raw_lines.pop()
        code = strip(text)
        code_lines = code.split("\n")
        if path.suffix == ".h" and "#pragma once" not in text:
            findings.add(path, 1, "a header begins with #pragma once")
        check_includes(path, raw_lines, findings)
        check_banned(path, raw_lines, code_lines, findings)
        check_products(path, raw_lines, text, findings)
        check_sizes(path, raw_lines, code, findings)
    check_cmake(root, paths, findings)
    check_semantics(root, findings)
    return findings


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    findings = check(root)
    for path, line, message in sorted(findings.items):
        print(f"{path}:{line}: {message}")
    print(f"tidy: {len(findings.items)} findings")
    return 1 if findings.items else 0


if __name__ == "__main__":
    sys.exit(main())
