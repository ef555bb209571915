#include <ftrace/ftrace_trace.hpp>

#include <ftrace/ftrace.hpp>

namespace other_file {

__attribute__((noinline)) int work(int x) {
    asm volatile("");
    return x + 1;
}

}  // namespace other_file
