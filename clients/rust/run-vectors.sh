#!/usr/bin/env bash
# Runs the vectors, as tests/vectors/README.md tells; build.sh comes first.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/target/debug/run-vectors"
