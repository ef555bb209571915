#!/bin/bash
# The trace of a JSON parser has the shape it should: times differ from run to run, and which functions remain depends
# on the optimiser.
#
#     json_trace.sh PROGRAM INPUT
set -u
output=$("$1" "$2" 2>&1) || { echo "FAILED: ended with $?:"; echo "$output"; exit 1; }
status=0

expect() {
    grep -qE "$1" <<< "$output" || { echo "FAILED: no line matches: $1"; status=1; }
}

duration='[ +!#*@$] [0-9.]+ us +'
expect '^# tracer: function_graph$'
expect '^# CPU  DURATION                  FUNCTION CALLS$'
expect '^ +[0-9]+\)               \|  basic_json::parse\(\) \{$'
expect '^ +[0-9]+\)               \|    parser::parse\(\) \{$'
expect '^ +[0-9]+\)               \|      parser::sax_parse_internal\(\) \{$'
expect "^ +[0-9]+\) $duration\|          lexer::scan_string\(\);$"
expect "^ +[0-9]+\) $duration\|        \}$"
expect '^    \.\.\. and [0-9]{6} events more\. [0-9]+ functions were traced, [0-9]+ languages read\.$'
expect '^  Function                                     Hit    Time            Self            Avg             s\^2$'
expect "^  parser::parse                                  1    [0-9.]+ us "
# Three tokens a language at the least, of which one is a string.
expect "^  lexer::scan                               +[0-9]{6}    "
expect "^  lexer::scan_string                         +[0-9]{5}    "

# Both tables have the ten rows that they promise.
rows=$(grep -cE '^  [A-Za-z_:~<>*=]+ +[0-9]+    [0-9.]+ us ' <<< "$output")
[ "$rows" = 20 ] || { echo "FAILED: $rows rows in two tables of ten"; status=1; }

# Other input gets an answer, and little input no absurd number.
answer() {
    local printed
    printed=$("$1" <(echo "$2") 2>&1) && { echo "FAILED: $2 was taken"; status=1; }
    grep -qE "^/dev/fd/[0-9]+ $3$" <<< "$printed" || { echo "FAILED: for $2: $printed"; status=1; }
}
answer "$1" '[1, 2]' 'is not ISO 639-3: it has no "639-3"'
answer "$1" '{"a": 1}' 'is not ISO 639-3: it has no "639-3"'
answer "$1" '{"a": ' 'is no JSON'
few=$("$1" <(echo '{"639-3": []}')) || { echo "FAILED: ended with $? for no language"; status=1; }
grep -qE '    \.\.\. and 0 events more\. [0-9]+ functions were traced, 0 languages read\.$' <<< "$few" ||
    { echo "FAILED: for no language: $few"; status=1; }

# Nothing was lost, no name is longer than two components, and braces close at the depth they open.
grep -q 'LOST' <<< "$output" && { echo "FAILED: events were lost"; status=1; }
grep -q 'nlohmann' <<< "$output" && { echo "FAILED: a long name"; status=1; }
awk -F'[|]  ' '/ us +[|]|^ +[0-9]+[)] +[|]/ {
    depth = match($2, /[^ ]/)
    if ($2 ~ /[{]$/) open[depth]++
    if ($2 ~ /^ *[}]/ && --open[depth] < 0) { print "FAILED: a brace too many: " $0; exit 1 }
}' <<< "$output" || status=1
[ "$status" = 0 ] || echo "$output"
exit $status
