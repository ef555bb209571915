#!/bin/bash
# Builds scenarios with one compiler at five levels of optimisation, and runs each untraced, traced, and with everything
# traced. Output and exit code are to be the same, and the tree of calls that recorder.cpp writes to be as expected.
#
#     run.sh COMPILER TOP [FLAG...] NAME...
#
# NAME: of NAME.cpp (or NAME.c) here; NAME_library.cpp beside it becomes a shared object that it is linked to. Its head
# comment may say
#
#     Runs: A B ...     once for each word, which is its argument
#     Flags: -x ...     to build it; "Flags of gcc: ..." there alone
#     Needs: gcc        left out elsewhere; or libstdc++, or a header that may not be installed: <...>
#
# Expected is the first of these that exists, with .A behind NAME if there are several runs, and FAMILY one of gcc, clang
# and libc++ (which is clang where it has no file of its own):
#
#     NAME.FAMILY-O2.tree  NAME.FAMILY.tree  NAME.tree
#
# In it, lines that begin with # are comments; "child:" begins what a process of that name wrote; "exit code 3" is
# expected at the end if it is not 0.
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"
shift 2
here=$top/tests/meaning
ulimit -c 0

flags=()
names=()
for word in "$@"; do
    case $word in
        -*) flags+=("$word") ;;
        *) names+=("$word") ;;
    esac
done
case "$compiler ${flags[*]-}" in
    clang*-stdlib=libc++*) families=(libc++ clang) ;;
    clang*) families=(clang) ;;
    *) families=(gcc) ;;
esac
# -Wno-unused-command-line-argument: some are for the linker, some for the compiler.
[ "${families[0]}" = gcc ] || flags+=(-Wno-unused-command-line-argument)

if ! echo 'int main() {}' | "${build[@]}" "${flags[@]}" -x c++ - -o "$work/has" > /dev/null 2>&1; then
    echo "Not installed: ${flags[*]}"
    exit "${REQUIRE_COMPILERS:-0}"
fi

# said WORD FILE: what the head comment says behind "WORD:".
said() {
    sed -n "/^\/\//!q; s/.*$1: //p" "$2"
}

# expected NAME LEVEL: prints the name of the file.
expected() {
    local family
    for family in "${families[@]}"; do
        [ -f "$here/$1.$family$2.tree" ] && echo "$here/$1.$family$2.tree" && return
        [ -f "$here/$1.$family.tree" ] && echo "$here/$1.$family.tree" && return
    done
    echo "$here/$1.tree"
}

# execute FOLDER PROGRAM ARGUMENT: runs it; what comes of it lies in the folder.
execute() {
    mkdir -p "$work/$1"
    # The shell would report a signal on its own output.
    { (cd "$work/$1" && timeout 120 "$2" ${3:+"$3"} > output 2>&1; echo $? > code); } 2> /dev/null
}

# compare NAME LEVEL PROGRAM ARGUMENT: the three runs.
compare() {
    local name=$1 level=$2 program=$3 run=$4 tree
    rm -rf "$work"/run.*
    execute run.untraced "$program" "$run"
    TREE=$work/run.tree execute run.traced "$program" "$run"
    TREE=$work/run.everything FILTER='*' execute run.all "$program" "$run"
    for tree in "$work"/run.tree "$work"/run.tree.*; do
        [ -f "$tree" ] || continue
        [ "$tree" = "$work/run.tree" ] || echo "${tree##*.}:"
        cat "$tree"
    done > "$work/tree"
    [ "$(cat "$work/run.traced/code")" = 0 ] || echo "exit code $(cat "$work/run.traced/code")" >> "$work/tree"
    grep -v '^#' "$(expected "$name${run:+.$run}" "$level")" > "$work/expected"
    {
        diff -u --label untraced --label traced "$work/run.untraced/output" "$work/run.traced/output" &&
            diff -u --label untraced --label "everything traced" "$work/run.untraced/output" "$work/run.all/output" &&
            diff "$work/run.untraced/code" "$work/run.traced/code" &&
            diff "$work/run.untraced/code" "$work/run.all/code" &&
            ! grep WRONG "$work/run.untraced/output" &&
            diff -u --label "expected tree" --label "tree" "$work/expected" "$work/tree" &&
            ! grep -h '^order:' "$work"/run.everything* 2> /dev/null
    } > "$work/log" 2>&1
    report "$name $level${run:+ $run}" $?
}

# scenario NAME LEVEL: builds it and runs it.
scenario() {
    local name=$1 level=$2 source=$here/$1.cpp more=() runs run need
    [ -f "$source" ] || source=$here/$name.c
    for need in $(said Needs "$source"); do
        case $need in
            "<"*)
                # Preprocessed only: it may take a second to compile.
                echo "#if !__has_include($need)
#error
#endif" | "${build[@]}" "${flags[@]}" -E -x c++ - > /dev/null 2>&1 || {
                    [ "$level" != -O0 ] || echo "Not installed: $need"
                    return "${REQUIRE_COMPILERS:-0}"
                }
                ;;
            libstdc++) [ "${families[0]}" != libc++ ] || return 0 ;;
            *) [ "${families[0]}" = "$need" ] || return 0 ;;
        esac
    done
    read -r -a more <<< "$(said Flags "$source") $(said "Flags of ${families[0]}" "$source")"
    local traced=("$level" "${flags[@]}" -fpatchable-function-entry=5)
    {
        if [ -f "$here/${name}_library.cpp" ]; then
            "${build[@]}" "${traced[@]}" -fPIC -shared "$here/${name}_library.cpp" -o "$work/lib$name.so" || return
            more+=("$work/lib$name.so")
        fi
        case $source in
            *.c) "${compiler/g++/gcc}" -Wall -Wextra -Werror "${traced[@]}" -c "$source" -o "$work/$name.o" ;;
            *) "${build[@]}" "${traced[@]}" -c "$source" -o "$work/$name.o" "${more[@]}" ;;
        esac &&
            "$compiler" "${flags[@]}" "$work/$name.o" "$work/recorder$recorder.o" "${more[@]}" -pthread -o "$work/program"
    } > "$work/log" 2>&1 || { report "$name $level" $?; return; }
    runs=$(said Runs "$source")
    for run in ${runs:-""}; do compare "$name" "$level" "$work/program" "$run"; done
}

# The recorder's functions are no sites. It takes ten times as long to compile as a scenario, so that it serves for more
# than one level.
for level in ${LEVELS:--O0 -O1 -O2 -O3 -Os}; do
    case $level in
        -O0 | -O1) recorder=-O0 ;;
        *) recorder=-O2 ;;
    esac
    [ -f "$work/recorder$recorder.o" ] ||
        "${build[@]}" "$recorder" "${flags[@]}" -c "$here/recorder.cpp" -o "$work/recorder$recorder.o" > "$work/log" 2>&1 ||
        { report "recorder $recorder" $?; continue; }
    for name in "${names[@]}"; do scenario "$name" "$level" || report "$name $level" 1 "not installed"; done
done

finish
