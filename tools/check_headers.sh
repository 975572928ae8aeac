#!/usr/bin/env bash
# Compiles each given header alone: it must include all that it uses.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit
check() {
  g++ -std=c++23 -fsyntax-only -Isrc -I. -x c++ -Wno-pragma-once-outside-header "$1" || echo "not self-contained: $1" >&2
}
export -f check
out=$(printf '%s\n' "$@" | xargs -r -P "$(nproc)" -I{} bash -c 'check {}' 2>&1)
[[ -z $out ]] || { echo "$out"; exit 1; }
