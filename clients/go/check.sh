#!/usr/bin/env bash
# Formatting, vet, staticcheck, and the tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
unformatted="$(gofmt -l .)"
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted" >&2; exit 1; }
go build -C vectors -o ../target/staticcheck honnef.co/go/tools/cmd/staticcheck
for module in . vectors; do
  (cd "$module" && go vet ./... && "$OLDPWD/target/staticcheck" ./...)
done
go test ./...
