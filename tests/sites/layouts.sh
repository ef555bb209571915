#!/bin/bash
# Where compilers, linkers and their flags put nops, and whether the sites are found there.
#
#     layouts.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"
here=$top/tests/sites

# check EXPECTED COMPILE_FLAGS LINK_FLAGS: subject and check in one program.
check() {
    # shellcheck disable=SC2086 # several flags each
    { "$compiler" -std=c++20 $2 -c "$here/layout_subject.cpp" -o "$work/subject.o" &&
        "$compiler" -std=c++20 $3 "$work/check.o" "$work/subject.o" -o "$work/check" &&
        "$work/check" "$1"; } > "$work/log" 2>&1
    report "$1 with [$2] [$3]" $?
}

# library EXPECTED COMPILE_FLAGS LINK_FLAGS: the subject in a shared object.
library() {
    # shellcheck disable=SC2086 # several flags each
    { "$compiler" -std=c++20 $2 -fPIC -shared $3 "$here/layout_subject.cpp" -o "$work/libsubject.so" &&
        "$work/check_library" "$1" "$work/libsubject.so"; } > "$work/log" 2>&1
    report "$1 with library [$2] [$3]" $?
}

common="-std=c++20 -O1 -I $top/include -I $top/arch/$(uname -m)/include -c $here/layout_check.cpp"
"$compiler" $common -fPIE -o "$work/check.o" &&
    "$compiler" $common -fPIE -DLAYOUT_LIBRARY -o "$work/check_library.o" &&
    "$compiler" "$work/check_library.o" -ldl -o "$work/check_library" || exit

entry=-fpatchable-function-entry
for protection in -fcf-protection=none -fcf-protection=full; do
    for layout in 5 5,0 7,2 10,5 8,3 21,16; do
        check sites "$entry=$layout $protection -O2" ""
    done
    for level in -O0 -Os; do check sites "$entry=5 $protection $level" ""; done
    for layout in 5,5 3 4 7,3 1,0; do check short "$entry=$layout $protection -O2" ""; done
    for layout in 6 7 8 9 10 11 12 13 14 15 16; do check sites "$entry=$layout $protection -O2" ""; done
    library sites "$entry=5 $protection -O2" ""
    library sites "$entry=10,5 $protection -O2" ""
    library short "$entry=5,5 $protection -O2" ""
    library sites "$entry=5 $protection -O2" -s
    library sites "$entry=10,5 $protection -O2" -s
done
library none "-O2" ""

for link in -static -static-pie "-no-pie" "-Wl,--gc-sections" "-Wl,-z,noseparate-code" "-s" "-fuse-ld=gold" \
    "-Wl,-z,pack-relative-relocs" "-Wl,-z,now,-z,relro"; do
    check sites "$entry=5 -O2 -fPIE -ffunction-sections" "$link"
    check sites "$entry=7,2 -O2 -fPIE -ffunction-sections -fcf-protection" "$link"
done
# lld by the name under which this compiler finds one: a machine with lld-19 need not have a plain ld.lld.
lld=
case $compiler in
    clang++-*) command -v "ld.lld-${compiler##*-}" > /dev/null && lld=lld-${compiler##*-} ;;
esac
[ -z "$lld" ] && command -v ld.lld > /dev/null && lld=lld
if [ -n "$lld" ]; then
    check sites "$entry=5 -O2 -fPIE -ffunction-sections" "-fuse-ld=$lld -Wl,--gc-sections"
else
    echo "No lld for $compiler here: layouts that it links are not tested"
fi
check sites "$entry=5 -O2 -flto -fPIE" "-O2 -flto $entry=5"
# Without unwind tables function starts are known from symbols alone.
bare="-O2 -fno-asynchronous-unwind-tables -fno-exceptions -fcf-protection=none"
for layout in 10,5 5 7,2; do check sites "$entry=$layout $bare" ""; done
check short "$entry=5,2 $bare" ""
# Without symbols too, only an endbr64 tells, or a nop in which no function can begin.
for layout in 5,2 7,2 10,5; do library unknown "$entry=$layout $bare -fvisibility=hidden" -s; done
for layout in 5 7,2 10,5; do library sites "$entry=$layout $bare -fcf-protection -fvisibility=hidden" -s; done
case $compiler in
    clang*) library sites "$entry=5 $bare -fvisibility=hidden" -s ;;
    *) library unknown "$entry=5 $bare -fvisibility=hidden" -s ;;
esac
if [ "$compiler" = g++ ]; then
    fentry="-pg -mfentry -mnop-mcount -mrecord-mcount -fno-pie"
    check sites "$fentry -O2" -no-pie
    check sites "$fentry -O2 -fcf-protection" -static
fi

# An object without section headers has no sites that could be found, and does no harm.
"$compiler" -std=c++20 $entry=5 -O2 -fPIC -shared "$here/layout_subject.cpp" -o "$work/libbare.so" &&
    python3 - "$work/libbare.so" << 'END' && "$work/check_library" none "$work/libbare.so"
import struct, sys
with open(sys.argv[1], "r+b") as file:
    file.seek(40)
    file.write(struct.pack("<Q", 0))
    file.seek(60)
    file.write(struct.pack("<HH", 0, 0))
END
report "no section headers" $?

finish
