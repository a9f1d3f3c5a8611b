#!/usr/bin/env bash
# eslint, prettier and the tests, of what build.sh has built, and whether the client for browsers needs nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
npm run --silent lint
npx --no-install tsc --project tsconfig.web.json
npm run --silent test
