#!/usr/bin/env bash
# Builds the clients, their tests and the runner of the vectors; fetches what they need if that has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  npm ci --loglevel=error
fi
rm -rf dist
npx --no-install tsc
