#!/usr/bin/env bash
# Installs the POSIX test programs (pjdfstest, fsx) into ${XDG_CACHE_HOME:-~/.cache}/zest-test-tools and prints
# that folder's bin. Pinned versions; nothing happens when they are there.
set -euo pipefail
tools="${ZEST_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/zest-test-tools}"
install_tool() {
  local name=$1 version=$2
  if [ ! -x "$tools/bin/$name" ] || ! "$tools/bin/$name" --version | grep -qF "$version"; then
    cargo install --quiet --locked --root "$tools" --version "$version" "$name" >&2
  fi
}
mkdir -p "$tools"
exec 9>"$tools/.lock"
flock 9
install_tool pjdfstest 0.2.2
install_tool fsx 0.3.2
echo "$tools/bin"
