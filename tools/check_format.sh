#!/bin/sh
# Checks the format of every C++ file under version control; --fix formats them.
set -eu
cd "$(dirname "$0")/.."

if ! command -v clang-format-19 > /dev/null; then
    echo "check_format: no clang-format-19 here, nothing checked (.ci/run installs it)" >&2
    exit 0
fi
case "${1:-}" in
    --fix) flags=-i ;;
    *) flags="--dry-run -Werror" ;;
esac
# shellcheck disable=SC2086 # two words
git ls-files -z '*.hpp' '*.cpp' | xargs -0 clang-format-19 $flags
