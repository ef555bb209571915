#!/bin/bash
# Builds app.cpp with one compiler in every way the library supports, as a user without Bazel does, and runs it.
#
#     matrix.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"
app=$top/tests/packaging/app.cpp

# gcc 12 needs help with programs of several files: see tools/gcc12/as.
case $compiler in
    clang*) help=() ;;
    *) help=(-B "$top/tools/gcc12/") ;;
esac

# A second file, which has its own copies of the inline functions of the first.
printf '#include <ftrace/ftrace.hpp>\n%s\n' 'std::string second(unsigned long n) { return std::string(n, 37) + std::string(n, 37); }' \
    > "$work/second.cpp"

build+=(-fpatchable-function-entry=5)

# program FLAG...: a program built with these flags runs.
program() {
    { "${build[@]}" "$@" "$app" -o "$work/app" && "$work/app"; } > "$work/log" 2>&1
    report "$*" $?
}

# library FLAG...: so does a shared library, under a program that knows nothing of the library.
library() {
    {
        "${build[@]}" "$@" -fPIC -shared -DAPP_IS_LIBRARY "$app" -o "$work/libapp.so" &&
            echo 'extern "C" int app_main(); int main() { return app_main(); }' > "$work/main.cpp" &&
            "$compiler" "$work/main.cpp" -L "$work" -lapp -Wl,-rpath,"$work" -o "$work/main" &&
            "$work/main"
    } > "$work/log" 2>&1
    report "$* -fPIC -shared" $?
}

# autostart FLAG...: a program built with these flags obeys the environment, which asks for a graph of two functions.
autostart() {
    {
        "${build[@]}" "$@" "$top/tests/packaging/autostart_app.cpp" -o "$work/autostart" &&
            FTRACE_TRACER=function_graph FTRACE_FILTER='app::*' FTRACE_OUTPUT="$work/trace" "$work/autostart" &&
            grep -qE 'app::work\(.*\) \{' "$work/trace" && [ "$(grep -cE 'app::leaf\(.*\);' "$work/trace")" = 2 ] ||
            { echo "the trace, or what came before it:"; cat "$work/trace"; false; }
    } > "$work/log" 2>&1
    report "$* autostart" $?
    rm -f "$work/trace"
}

# The older clang differs from the newer one in what it makes of code, not in how it links.
if [ "$compiler" = clang++-16 ]; then
    for level in -O0 -O2 -Os; do program "$level"; done
    program -O2 -static
    program -O2 -fno-exceptions -fno-rtti
    library -O2
    finish
    exit
fi

for level in -O0 -O2 -O3 -Os; do program "$level"; done
program -O2 -g
for level in -O0 -O2; do
    program "$level" "${help[@]}" "$work/second.cpp"
    if command -v ld.gold > /dev/null; then program "$level" "${help[@]}" "$work/second.cpp" -fuse-ld=gold; fi
done
program -O2 -fPIC
program -O2 -fcf-protection
program -O2 -fno-exceptions -fno-rtti
program -O2 -fno-omit-frame-pointer
program -O2 -fvisibility=hidden
program -O2 -no-pie
program -O2 -static
program -O2 -static-pie
program -O2 -static -fno-exceptions -fno-rtti
program -O2 -Wl,--gc-sections -ffunction-sections -fdata-sections
program -O2 -Wl,-z,now -Wl,-z,relro
case $compiler in
    clang*) program -O2 -flto "-fuse-ld=lld-${compiler##*-}" && program -O2 -flto=thin "-fuse-ld=lld-${compiler##*-}" ;;
    *) program -O2 -flto && program -O2 -flto -fno-fat-lto-objects -fPIC ;;
esac
library -O0
library -O2
library -O2 -fvisibility=hidden
library -O2 -fno-exceptions -fno-rtti
# What makes text includes fmt, which ftrace.hpp does not.
if [ -d /usr/include/fmt ]; then
    autostart -O2
    autostart -O2 -static
    autostart -O2 -fno-exceptions -fno-rtti
else
    echo "No /usr/include/fmt here: programs with <ftrace/autostart.hpp> are not tested (install libfmt-dev)"
fi
finish
