#!/bin/bash
# Each test case of these folders runs in a process of its own: their BUILD files tell how many there are, which
# must be true. None of them calls SKIP: a process all of whose cases do that fails.
#
#     shards.sh FOLDER...
set -u
status=0
checked=0

# stated FOLDER NAME: the number in the BUILD file: `"name": 3` in its table, or `cases = 3` in the test's own rule.
stated() {
    awk -v name="\"$2\"" '
        $1 == name ":" { sub(",", "", $2); print $2; exit }
        $1 == "name" && $3 == name "," { inside = 1 }
        inside && $1 == "cases" { sub(",", "", $3); print $3; exit }
        inside && /^ *)$/ { exit }' "$1/BUILD.bazel"
}

for folder in "$@"; do
    for file in "$folder"/*.tests.cpp; do
        name=$(basename "$file" .tests.cpp)
        cases=$(grep -cE '^(TEST_CASE|SCENARIO|TEMPLATE_TEST_CASE)' "$file")
        number=$(stated "$folder" "$name")
        checked=$((checked + 1))
        if [ "${number:-1}" != "$cases" ]; then
            echo "FAILED: $file has $cases test cases, $folder/BUILD.bazel says ${number:-nothing}"
            status=1
        fi
        if grep -n 'SKIP(' "$file"; then
            echo "FAILED: $file calls SKIP"
            status=1
        fi
    done
done
[ "$checked" -gt 15 ] || { echo "FAILED: only $checked files found"; status=1; }
exit $status
