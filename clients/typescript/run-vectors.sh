#!/usr/bin/env bash
# Runs the vectors with the variant that is named, grpc-js, connect or web, as tests/vectors/README.md says; build.sh comes
# first.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
variant="${1:?name a variant: grpc-js, connect or web}"
if [ "$variant" = web ] && [ -n "${CA:-}" ]; then
  # A program cannot tell `fetch` whom to trust.
  export NODE_EXTRA_CA_CERTS="$CA"
fi
exec node "$here/dist/vectors/run.js" "$variant"
