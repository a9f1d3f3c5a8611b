#!/usr/bin/env bash
# Formatting and the tests; build.sh, which comes first, has javac's warnings as errors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mvn --quiet --batch-mode spotless:check surefire:test
