// Functions of a shared library: their sites are out of reach of the stubs in the executable, and
// come and go with the library.
#include <dlfcn.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <ftrace/ftrace.hpp>
#include <string>

#include "text.hpp"

using namespace ftrace;

namespace {

int calls, sum;
double last_vector;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    ++calls;
    sum += static_cast<int>(arch_access::saved(regs).gpr.di);
    std::memcpy(&last_vector, arch_access::vector(regs, 0), sizeof last_vector);
}
void count_all(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    if (get_regs(regs) != nullptr) ++calls;
}

/// The library, as long as it lives.
struct library {
    library() : handle(::dlopen(FAR_LIBRARY, RTLD_NOW | RTLD_LOCAL)) {
        INFO("dlopen(" FAR_LIBRARY ")");
        REQUIRE(handle != nullptr);
        add = reinterpret_cast<int (*)(int, int)>(::dlsym(handle, "library_add"));
        half = reinterpret_cast<double (*)(double)>(::dlsym(handle, "library_half"));
        REQUIRE(add != nullptr);
        REQUIRE(half != nullptr);
    }
    ~library() { ::dlclose(handle); }
    library(const library&) = delete;
    library& operator=(const library&) = delete;

    void* handle;
    int (*add)(int, int) = nullptr;
    double (*half)(double) = nullptr;
};

}  // namespace

TEST_CASE("library: its sites call stubs of the executable through veneers", "[patch][library]") {
    const library lib;
    const std::uintptr_t site = text::site_of(lib.add);
    ops<count> own;
    REQUIRE(own.set_filter("library_*").value() == 2);
    const auto handle = register_ftrace_function(own);
    if (!handle) FAIL(handle.error().message);
    calls = sum = 0;
    CHECK(lib.add(3, 4) == 7);
    CHECK(calls == 1);
    CHECK(sum == 3);
    CHECK(lib.half(5.0) == 2.5);
    CHECK(calls == 2);
    CHECK(last_vector == 5.0);

    const auto stub = reinterpret_cast<std::uintptr_t>(
        detail::own_stubs_of<count, ARGS, FTRACE_OPS_FL_RECURSION>.stubs->entry[0]);
    const detail::stub_table& stubs =
        *detail::own_stubs_of<count, ARGS, FTRACE_OPS_FL_RECURSION>.stubs;
    if (arch::call_reaches(site, stub))
        CHECK(text::calls_directly(site, stubs));
    else
        CHECK(text::calls_through_veneer(site, stubs));

    ops<count_all, SAVE_REGS> all;
    REQUIRE(all.set_filter("library_add:mod:" FAR_LIBRARY_NAME).value() == 1);
    auto all_handle = register_ftrace_function(all);
    REQUIRE(all_handle);
    calls = 0;
    CHECK(lib.add(1, 1) == 2);
    CHECK(calls == 2);
    REQUIRE(all_handle->unregister());
    CHECK(lib.add(1, 1) == 2);
    CHECK(calls == 3);
}

TEST_CASE("library: unloaded while traced, and loaded again", "[patch][library]") {
    ops<count> op;
    registration handle;
    {
        const library lib;
        REQUIRE(op.set_filter("library_add"));
        handle = register_ftrace_function(op).value();
        calls = 0;
        CHECK(lib.add(1, 2) == 3);
        CHECK(calls == 1);
    }
    CHECK(handle.unregister());
    // A filter names sites that were there; the library's new sites are new.
    const library lib;
    calls = 0;
    CHECK(lib.add(1, 2) == 3);
    CHECK(calls == 0);
    REQUIRE(op.set_filter("library_add", true).value() == 1);
    const auto again = register_ftrace_function(op);
    REQUIRE(again);
    CHECK(lib.add(1, 2) == 3);
    CHECK(calls == 1);
}

TEST_CASE("library: one unloaded between two changes is left alone", "[patch][library]") {
    ops<count> op;
    registration handle;
    {
        const library lib;
        REQUIRE(op.set_filter("library_add"));
        REQUIRE(op.set_filter("library_half"));
        handle = register_ftrace_function(op).value();
    }
    const library lib;
    CHECK(handle.unregister());
    calls = 0;
    CHECK(lib.add(20, 2) == 22);
    CHECK(lib.half(3.0) == 1.5);
    CHECK(calls == 0);
}
