#!/usr/bin/env bash
# Builds the client and the runner of the vectors, and installs the plugins that make the stubs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cargo build --quiet --locked --workspace --bins --examples
for plugin in protoc-gen-prost@0.5.0 protoc-gen-tonic@0.5.0; do
  [ -x "target/tools/bin/${plugin%@*}" ] || cargo install --quiet --locked --root target/tools "$plugin"
done
