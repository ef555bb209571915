#include <dlfcn.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <ftrace/sites/available.hpp>
#include <string>
#include <string_view>

#include "sanitizers.hpp"

using ftrace::available_function;
using ftrace::trace_reason;

namespace subject {

__attribute__((noinline)) int traced(int x) { return x + 1; }
FTRACE_NOTRACE __attribute__((noinline)) int untraced(int x) { return x + 2; }
__attribute__((noinline, patchable_function_entry(3))) int short_entry(int x) { return x + 3; }
// Named as gcc names what it makes of a function.
__attribute__((noinline)) int changed(int x) __asm__("_ZN7subject7changedEi.constprop.0");
__attribute__((noinline)) int changed(int x) { return x + 4; }
__attribute__((noinline)) int takes_ours(const ftrace::text_range& range) {
    return range.contains(1) ? 1 : 0;
}

}  // namespace subject

namespace {

const available_function* find(const std::vector<available_function>& list, std::string_view name) {
    for (const auto& function : list)
        if (function.name == name) return &function;
    return nullptr;
}

std::uintptr_t start_of(int (*function)(int)) { return reinterpret_cast<std::uintptr_t>(function); }

}  // namespace

TEST_CASE("available: each function with its site, or the reason why not", "[sites]") {
    CHECK(subject::traced(0) + subject::untraced(0) + subject::short_entry(0) +
              subject::changed(0) + subject::takes_ours({1, 2}) ==
          11);
    const auto list = ftrace::available_filter_functions();

    const available_function* const traced = find(list, "subject::traced(int)");
    REQUIRE(traced != nullptr);
    CHECK(traced->reason == trace_reason::traceable);
    CHECK(ftrace::arch::is_site_of(traced->site, start_of(&subject::traced)));
    CHECK(traced->linker_name == "_ZN7subject6tracedEi");
    CHECK(traced->object == std::filesystem::read_symlink("/proc/self/exe").filename().native());
    CHECK(traced->is_traceable());

    const available_function* const untraced = find(list, "subject::untraced(int)");
    REQUIRE(untraced != nullptr);
    CHECK(untraced->reason == trace_reason::no_site);
    CHECK(untraced->site == 0);
    CHECK_FALSE(untraced->is_traceable());

    const available_function* const short_entry = find(list, "subject::short_entry(int)");
    REQUIRE(short_entry != nullptr);
    CHECK(short_entry->reason == trace_reason::too_short);
    CHECK(short_entry->site == 0);

    const available_function* const changed =
        find(list, ftrace::demangle("_ZN7subject7changedEi.constprop.0"));
    REQUIRE(changed != nullptr);
    CHECK(changed->reason == trace_reason::clone);
    CHECK(ftrace::arch::is_site_of(changed->site, start_of(&subject::changed)));

    for (const auto& function : list) {
        const bool has_site = function.site != 0;
        const bool may_have = function.reason == trace_reason::traceable ||
                              function.reason == trace_reason::symbol_missing ||
                              function.reason == trace_reason::clone;
        if (has_site && !may_have) FAIL(function.name << ": " << to_string(function.reason));
        if (function.name.starts_with("ftrace::") && has_site) FAIL(function.name);
        if (function.name.empty()) FAIL("no name");
    }
    const available_function* const ours =
        find(list, "subject::takes_ours(ftrace::v0::text_range const&)");
    REQUIRE(ours != nullptr);
    CHECK(ours->reason == trace_reason::library_own);
    CHECK(ours->site == 0);
}

TEST_CASE("available: a stripped library is traceable by offsets", "[sites]") {
    void* const handle = dlopen("tests/sites/libstripped.so", RTLD_NOW);
    REQUIRE(handle != nullptr);
    const auto hidden = reinterpret_cast<void* (*)()>(dlsym(handle, "plain_hidden"));
    REQUIRE(hidden != nullptr);
    const auto start = reinterpret_cast<std::uintptr_t>(hidden());
    const auto list = ftrace::available_filter_functions();
    std::size_t missing = 0;
    const available_function* nameless = nullptr;
    for (const auto& function : list) {
        if (function.object != "libstripped.so") continue;
        missing += function.reason == trace_reason::symbol_missing;
        if (function.site != 0 && ftrace::arch::is_site_of(function.site, start))
            nameless = &function;
    }
    // gcc's sanitizers add a constructor of the module, AddressSanitizer a destructor, too; clang
    // gives such functions no site.
#if defined(__clang__)
    constexpr std::size_t added = 0;
#else
    constexpr std::size_t added = built_with::address_sanitizer ? 2 : built_with::thread_sanitizer;
#endif
    CHECK(missing == 1 + added);
    REQUIRE(nameless != nullptr);
    CHECK(nameless->reason == trace_reason::symbol_missing);
    CHECK(nameless->name.starts_with("libstripped.so+0x"));
    CHECK(nameless->linker_name == nameless->name);
    const auto* const exported = find(list, "plain::parser::parse(int) const");
    REQUIRE(exported != nullptr);
    CHECK(exported->reason == trace_reason::traceable);
    const auto* const no_site = find(list, "plain_no_site");
    REQUIRE(no_site != nullptr);
    CHECK(no_site->reason == trace_reason::no_site);
    // Names of objects outlive them.
    const std::string_view object = nameless->object;
    dlclose(handle);
    CHECK(object == "libstripped.so");
}

TEST_CASE("available: libraries without a site are not listed", "[sites]") {
    for (const auto& function : ftrace::available_filter_functions())
        if (function.object.starts_with("libc.so")) FAIL(function.name);
    SUCCEED();
}

TEST_CASE("available: every reason is a sentence of its own", "[sites]") {
    const trace_reason reasons[] = {trace_reason::traceable,  trace_reason::symbol_missing,
                                    trace_reason::clone,      trace_reason::no_site,
                                    trace_reason::too_short,  trace_reason::start_unknown,
                                    trace_reason::library_own};
    for (const auto a : reasons) {
        CHECK(to_string(a) != "unknown");
        for (const auto b : reasons) CHECK((a == b) == (to_string(a) == to_string(b)));
    }
}
