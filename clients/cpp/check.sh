#!/usr/bin/env bash
# Formatting, clang-tidy, and the tests; build.sh comes first. clang-tidy reads what is installed and the command;
# `check.sh --tidy` reads the tests and the runner of the vectors too, which takes minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
for tool in clang-format clang-tidy openssl; do
  command -v "$tool" > /dev/null ||
    { echo "install: apt-get install clang-format clang-tidy libgtest-dev openssl" >&2; exit 1; }
done
clang-format --dry-run --Werror ./*.cc seqstep/*.h

tidy() {
  printf '%s\0' "$@" | xargs --null --max-args=1 --max-procs=2 clang-tidy -p build --quiet
}

# It has a processor to itself while the tests are built and wait for their servers.
said="$(mktemp)"
trap 'rm -f "$said"' EXIT
if [ "${1:-}" = --tidy ]; then
  tidy ./*.cc > "$said" 2>&1 &
else
  tidy client.cc main.cc > "$said" 2>&1 &
fi
tidying=$!
cmake --build build --parallel --target client-test > /dev/null
GRPC_VERBOSITY=NONE build/client-test --gtest_brief=1
if ! wait "$tidying"; then
  cat "$said" >&2
  exit 1
fi
