#!/usr/bin/env bash
# Checks that the contract breaks no client of the one before it, compiled again or not.
#
# The one before it is the newest commit on main whose protos differ from those here. So a change is compared with main
# before it is committed, and against what it replaced once it is there.
set -euo pipefail

# Before anything was released, `go_package` became a path that Go can import. Against the one contract that had the old
# one, named by the hash of its tree, all rules but that of `go_package` hold; against every other all of them do.
unreleased=ef52327ab7fa9ceed37f1a5ee19f6d500bea7e25
without_go_package='{"version":"v2","modules":[{"path":"protos"}],"breaking":{"use":["FILE"],"except":["FILE_SAME_GO_PACKAGE"]}}'

main=main
git rev-parse --quiet --verify "$main" >/dev/null || main=HEAD
for commit in $(git rev-list "$main" -- protos); do
  tree="$(git rev-parse --quiet --verify "$commit:protos")" || continue
  if ! git diff --quiet "$commit" -- protos || [ -n "$(git ls-files --others --exclude-standard protos)" ]; then
    if [ "$tree" = "$unreleased" ]; then
      exec buf breaking --config "$without_go_package" --against ".git#ref=$commit"
    fi
    exec buf breaking --against ".git#ref=$commit"
  fi
done
echo "buf breaking: skipped, there is no earlier contract on $main to compare with."
