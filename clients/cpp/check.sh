#!/usr/bin/env bash
# Formatting, and the tests; `check.sh --tidy` runs clang-tidy too, which takes minutes. build.sh comes first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v clang-format > /dev/null || { echo "install: apt-get install clang-format libgtest-dev openssl" >&2; exit 1; }
clang-format --dry-run --Werror ./*.cc seqstep/*.h
cmake --build build --parallel --target client-test > /dev/null
GRPC_VERBOSITY=NONE build/client-test --gtest_brief=1
if [ "${1:-}" = --tidy ]; then
  clang-tidy -p build --quiet client.cc main.cc run_vectors.cc client_test.cc
fi
