#!/bin/sh
# Runs the vectors: run-vectors.sh [sync|aio]. The environment is that of tests/vectors/README.md.
set -eu
exec "${PYTHON:-python}" "$(dirname "$0")/run_vectors.py" "$@"
