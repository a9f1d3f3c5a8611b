#!/usr/bin/env bash
# Builds the client and the runner of the vectors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p target
go build -o target/ ./cmd/...
go build -C vectors -o ../target/run-vectors .
