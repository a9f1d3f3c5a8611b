#!/usr/bin/env bash
# Builds the client, its jar, its tests and the runner of the vectors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mvn --quiet --batch-mode test-compile dependency:build-classpath jar:jar
