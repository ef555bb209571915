// A library that comes and goes. It does not use ftrace++: its functions are sites, no more.
#include "tests/torture/work.hpp"

namespace {

constexpr int functions = 60;
constexpr auto table = torture::make_table(std::make_integer_sequence<int, functions>());

}  // namespace

/// Calls one of the library's functions; where it lies, for its filter, if `address` is not null.
extern "C" FTRACE_NOTRACE long torture_library_work(unsigned n, long x, std::uintptr_t* address) {
    const torture::function chosen = table[n % functions];
    if (address != nullptr) *address = reinterpret_cast<std::uintptr_t>(chosen);
    return chosen(x);
}
