#!/usr/bin/env bash
# Makes the stubs, and builds the client and the runner of the vectors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
buf generate --template clients/cpp/buf.gen.yaml
# CMake refuses a folder that it knows by another path, so a link to it is followed first.
folder="$(cd clients/cpp && pwd -P)"
cmake -S "$folder" -B "$folder/build" -DCMAKE_BUILD_TYPE="${BUILD_TYPE:-Debug}" \
  -DCMAKE_EXPORT_COMPILE_COMMANDS=ON > /dev/null
cmake --build "$folder/build" --parallel > /dev/null
