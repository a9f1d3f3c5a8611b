#!/usr/bin/env bash
# Runs the vectors, as tests/vectors/README.md says; build.sh comes first.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
classpath="$here/target/classes:$here/target/test-classes:$(<"$here/target/classpath")"
if [ -n "${CLIENT_KEY:-}" ]; then
  # Java reads keys in PKCS #8 only.
  scratch="$(mktemp -d)"
  trap 'rm -rf "$scratch"' EXIT
  openssl pkcs8 -topk8 -nocrypt -in "$CLIENT_KEY" -out "$scratch/key.pem"
  export CLIENT_KEY="$scratch/key.pem"
fi
java -Dfile.encoding=UTF-8 -cp "$classpath" io.github.seqstep.client.RunVectors
