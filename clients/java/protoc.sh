#!/usr/bin/env bash
# Runs protoc in the version that pom.xml names; Maven brings it, once.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
protoc="$here/target/protoc"
if [ ! -x "$protoc" ] || [ "$here/pom.xml" -nt "$protoc" ]; then
  mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy@protoc >&2
  chmod +x "$protoc"
  touch "$protoc"
fi
exec "$protoc" "$@"
