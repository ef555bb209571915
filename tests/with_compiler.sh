# Sourced at the beginning of scripts that build programs with one compiler and are called as SCRIPT COMPILER TOP ...:
#
#     . "$2/tests/with_compiler.sh"
#
# TOP holds include/, arch/ and tests/. Sets $compiler, $top, $work (a folder that goes at the end) and ${build[@]}, the
# compiler with the folders of the library and warnings that are errors. The script reports its cases one by one, and
# its last command is `finish`. In CI (REQUIRE_COMPILERS=1) a missing compiler is a failure.
# shellcheck shell=bash
set -u
compiler=$1
top=$2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/$(basename "$0" .sh).XXXXXX")
trap 'rm -rf "$work"' EXIT
cases=()
failures=0

if ! command -v "$compiler" > /dev/null; then
    echo "No $compiler here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

# shellcheck disable=SC2034 # of the script that sources this
build=("$compiler" -std=c++20 -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror -I "$top" -I "$top/include"
    -I "$top/arch/$(uname -m)/include")

# report NAME STATUS [WHY]: one test case. Of one that failed the beginning of $work/log is shown.
report() {
    local name=${1//"$work/"/} xml
    xml=${name//&/'&amp;'} xml=${xml//</'&lt;'} xml=${xml//\"/'&quot;'} xml=${xml//$'\n'/ }
    if [ "$2" = 0 ]; then
        cases+=("<testcase name=\"$xml\"/>")
    else
        failures=$((failures + 1))
        cases+=("<testcase name=\"$xml\"><failure/></testcase>")
        echo "FAILED: $name: ${3:-status $2}"
        [ -f "$work/log" ] && head -n 20 "$work/log"
    fi
    rm -f "$work/log"
}

finish() {
    {
        echo "<testsuites><testsuite name=\"$(basename "$0" .sh)\" tests=\"${#cases[@]}\" failures=\"$failures\">"
        printf '%s\n' "${cases[@]}"
        echo "</testsuite></testsuites>"
    } > "${XML_OUTPUT_FILE:-/dev/null}"
    echo "$compiler: $((${#cases[@]} - failures)) passed, $failures failed"
    [ "$failures" = 0 ] && [ "${#cases[@]}" != 0 ]
}
