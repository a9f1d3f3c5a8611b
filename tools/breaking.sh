#!/usr/bin/env bash
# Checks that the contract breaks no client of the one before it.
#
# The one before it is the newest commit on main whose protos differ from those here. So a change is compared with main
# before it is committed, and against what it replaced once it is there.
set -euo pipefail

main=main
git rev-parse --quiet --verify "$main" >/dev/null || main=HEAD
for commit in $(git rev-list "$main" -- protos); do
  git cat-file -e "$commit:protos" 2>/dev/null || continue
  if ! git diff --quiet "$commit" -- protos || [ -n "$(git ls-files --others --exclude-standard protos)" ]; then
    exec buf breaking --against ".git#ref=$commit"
  fi
done
echo "buf breaking: skipped, there is no earlier contract on $main to compare with."
