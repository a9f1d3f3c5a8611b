#!/usr/bin/env bash
# Runs the vectors, as tests/vectors/README.md says; build.sh comes first.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
classpath="$here/target/classes:$here/target/test-classes:$(<"$here/target/classpath")"
exec java -Dfile.encoding=UTF-8 -cp "$classpath" io.github.seqstep.client.RunVectors
