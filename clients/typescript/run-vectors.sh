#!/usr/bin/env bash
# Runs the vectors with the variant that is named, grpc-js or connect, as tests/vectors/README.md says; build.sh comes
# first.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
exec node "$here/dist/vectors/run.js" "${1:?name a variant: grpc-js or connect}"
