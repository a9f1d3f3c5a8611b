#!/usr/bin/env bash
# Formatting, clippy, and the tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cargo fmt --all --check
cargo clippy --quiet --locked --workspace --all-targets -- --deny warnings
cargo test --quiet --locked --workspace --all-targets
cargo test --quiet --locked --doc
