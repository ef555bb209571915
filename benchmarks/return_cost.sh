#!/bin/sh
# Builds return_cost without Bazel, with clang's XRay in it, and runs it: benchmarks/return_cost.sh [compiler [flags of the
# benchmark...]]. The compiler is g++ if none is named; the file with XRay is always clang++-19's (package libclang-rt-19-dev).
set -eu
# Started by Bazel, it stands at the top of the tree.
[ -e benchmarks/return_cost.bench.cpp ] || cd "$(dirname "$0")/.."
cd benchmarks
compiler=${1:-g++}
[ $# -eq 0 ] || shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

flags="-std=c++20 -O2 -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror -I../include -I../arch/x86_64/include"
compile() { # compiler source flags...
    with=$1 source=$2
    shift 2
    # shellcheck disable=SC2086 # many words
    "$with" $flags "$@" -c "$source" -o "$out/${source%.cpp}.o"
}
compile "$compiler" return_cost.bench.cpp -fpatchable-function-entry=5
compile "$compiler" return_cost_traced.cpp -fpatchable-function-entry=5
compile "$compiler" return_cost_plain.cpp
compile "$compiler" return_cost_instrumented.cpp -finstrument-functions

runtime=
if command -v clang++-19 > /dev/null; then
    libraries=$(clang++-19 -print-resource-dir)/lib/linux
    if [ -e "$libraries/libclang_rt.xray-x86_64.a" ]; then
        compile clang++-19 return_cost_xray.cpp -fxray-instrument -fxray-instruction-threshold=1
        runtime="-Wl,--whole-archive $libraries/libclang_rt.xray-x86_64.a $libraries/libclang_rt.xray-basic-x86_64.a"
        runtime="$runtime -Wl,--no-whole-archive -lrt -lm"
    fi
fi
[ -n "$runtime" ] || echo "return_cost: no clang++-19 with XRay here, so no rows of it" >&2

# shellcheck disable=SC2086 # many words
"$compiler" "$out"/*.o -o "$out/return_cost" -lbenchmark $runtime -lpthread -ldl
"$out/return_cost" "$@"
