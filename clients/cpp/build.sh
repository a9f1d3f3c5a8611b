#!/usr/bin/env bash
# Makes the stubs, and builds the client and the runner of the vectors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
buf generate --template clients/cpp/buf.gen.yaml
cmake -S clients/cpp -B clients/cpp/build -DCMAKE_BUILD_TYPE=Debug > /dev/null
cmake --build clients/cpp/build --parallel > /dev/null
