#!/bin/bash
# A project of its own uses the library as an external repository: builds and runs its programs with a Bazel inside
# this test. The library's copy holds what other projects may read, and nothing else.
set -u
here=$PWD
export HOME=$TEST_TMPDIR
bazel=(bazel --output_user_root="$TEST_TMPDIR/bazel" --max_idle_secs=10)
status=0

mkdir "$TEST_TMPDIR/projects" && cd "$TEST_TMPDIR/projects" || exit
cp -rL "$here/tests/external" user && cp -rL "$here" ftrace && rm -rf ftrace/tests && cd user || exit

build() {
    "${bazel[@]}" build --noshow_progress "$@" < /dev/null || exit
}

# expect TARGET LINE: what the program prints.
expect() {
    local printed
    printed=$("bazel-bin/$1")
    if [ "$printed" != "$2" ]; then
        echo "FAILED: $1 printed '$printed', not '$2'"
        status=1
    fi
}

build :by_macro :by_copts :with_library :plain
expect by_macro "1 sites, 1 calls"
expect by_copts "1 sites, 1 calls"
expect with_library "2 sites, 2 calls"
expect plain "0 sites, 0 calls"
# gcc 12's repair, for what knows nothing of the library.
build :whole --copt="-B$TEST_TMPDIR/projects/ftrace/tools/gcc12/"
expect whole "2 sites, 2 calls"

"${bazel[@]}" shutdown
exit $status
