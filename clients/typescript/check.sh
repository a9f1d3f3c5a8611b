#!/usr/bin/env bash
# eslint, prettier and the tests, of what build.sh has built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
npm run --silent lint
npm run --silent test
