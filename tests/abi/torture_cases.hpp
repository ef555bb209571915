// Included at the end of a generated file of signatures, `tests`. Every argument read, changed, and
// every result read, changed and replaced, in callbacks that destroy all the registers they may.
#pragma once

#include <ftrace/ftrace.hpp>

#include "tests/abi/stubs.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>

namespace torture {
namespace {

enum class width { xmm, ymm, zmm };

bool cpu_has(width w) {
    if (w == width::ymm) return __builtin_cpu_supports("avx");
    if (w == width::zmm) return __builtin_cpu_supports("avx512f");
    return true;
}

/// Makes one call of `now` through `entry` (nullptr: directly) with fresh values, and returns what
/// went wrong.
std::string run(const test& now, mode what, void (*entry)()) {
    state.now = &now;
    state.what = what;
    state.body_runs = state.callbacks = state.mismatches = 0;
    state.first_mismatch[0] = 0;
    const unsigned n = now.parameters;
    const auto seed = static_cast<unsigned long>(&now - tests) * 1000;
    for (unsigned i = 0; i < n; ++i) {
        now.types[i]->construct(&state.passed[i], seed + i);
        now.types[i]->construct(&state.wanted[i], seed + i);
        now.types[i]->construct(&state.written[i], seed + 100 + i);
    }
    const type_ops* const result = now.types[n];
    const bool by_reference = (now.by_reference >> n & 1) != 0;
    if (result != nullptr) {
        result->construct(&state.returned, seed + 200);
        result->construct(&state.wanted_result, seed + 200);
        result->construct(&state.overridden, seed + 300);
    }
    target = reinterpret_cast<void (*)()>(now.function());
    std::memset(&state.result, 0x5a, sizeof state.result);

    now.call(entry);

    const bool skipped = what == mode::override_result;
    const bool changed = skipped || what == mode::write_result;
    if (state.body_runs != (skipped ? 0 : 1)) mismatch("runs of the body", state.body_runs);
    if (state.callbacks != (what == mode::nothing ? 0 : 1)) mismatch("callbacks", state.callbacks);
    if (result != nullptr) {
        slot fresh;
        result->construct(&fresh, seed + (changed ? 300 : 200));
        if (by_reference) {
            if (state.result_address != (changed ? &state.overridden : &state.returned))
                mismatch("caller gets", n);
        } else {
            if (!result->equal(&state.result, &fresh)) mismatch("caller gets", n);
            result->destroy(&state.result);
        }
        for (slot* s : {&state.returned, &state.wanted_result, &state.overridden, &fresh})
            result->destroy(s);
    }
    for (unsigned i = 0; i < n; ++i) {
        for (slot* s : {&state.passed[i], &state.wanted[i], &state.written[i]})
            now.types[i]->destroy(s);
    }
    return state.mismatches == 0 ? "" : state.first_mismatch;
}

unsigned run_all(mode what, void (*entry)()) {
    unsigned calls = 0, failures = 0;
    for (const test& t : tests) {
        ++calls;
        const std::string wrong = run(t, what, entry);
        if (!wrong.empty() && ++failures <= 20) UNSCOPED_INFO(t.name << ": " << wrong);
    }
    INFO(failures << " of " << calls << " calls went wrong");
    CHECK(failures == 0);
    return calls;
}

template <ftrace::arch::saved_set Set, ftrace::arch::vector_width Width>
void enter_all() {
    run_all(mode::read, site<Set, Width>::enter);
    run_all(mode::write, site<Set, Width>::enter);
    run_all(mode::override_result, site<Set, Width>::enter);
}

}  // namespace

TEST_CASE("torture: the functions do what the test expects when nobody traces them", "[abi]") {
    CHECK(run_all(mode::nothing, nullptr) == std::size(tests));
}

TEST_CASE("torture: a function called with another value is found out", "[abi]") {
    const test& victim = tests[0];
    CHECK(run(victim, mode::nothing, nullptr).empty());
    CHECK_FALSE(run(victim, mode::read, nullptr).empty());  // there is no callback
}

TEST_CASE("torture: entry callbacks read, write and override under every policy", "[abi]") {
    using enum ftrace::arch::vector_width;
    using enum ftrace::arch::saved_set;
    owner::clobber = cpu_has(width::ymm) ? clobber_avx : clobber_xmm;
    if (widest_vector <= 16) {
        owner::clobber = clobber_xmm;
        state.vectors_saved = false;
        enter_all<arguments, none>();
        state.vectors_saved = true;
        enter_all<arguments, xmm>();
        enter_all<all, xmm>();
        owner::clobber = cpu_has(width::ymm) ? clobber_avx : clobber_xmm;
    }
    if (cpu_has(width::ymm) && widest_vector <= 32) {
        enter_all<arguments, ymm>();
        enter_all<all, ymm>();
    }
    if (cpu_has(width::zmm)) {
        enter_all<arguments, zmm>();
        enter_all<all, zmm>();
    }
}

namespace {

void on_patched(unsigned long, unsigned long, ftrace::ftrace_ops&,
                ftrace::ftrace_regs& regs) noexcept {
    owner::callee(0, 0, nullptr, regs);
}

/// By the rules this has no vector registers to destroy: see integer_owner.
FTRACE_GENERAL_REGS_ONLY void on_patched_integer(unsigned long, unsigned long, ftrace::ftrace_ops&,
                                                 ftrace::integer_regs& regs) noexcept {
    integer_owner::callee(0, 0, nullptr, regs);
}

template <class Ops>
void trace_all() {
    static Ops op;
    for (const test& t : tests) {
        const auto added = op.set_filter_ip(t.function());
        INFO(t.name << ": " << (added ? "" : added.error().message));
        REQUIRE(added.has_value());
    }
    auto registered = ftrace::register_ftrace_function(op);
    INFO((registered ? "" : registered.error().message));
    REQUIRE(registered.has_value());
    run_all(mode::read, nullptr);
    run_all(mode::write, nullptr);
    run_all(mode::override_result, nullptr);
}

}  // namespace

TEST_CASE("torture: the functions themselves, traced, then untraced again", "[abi]") {
    owner::clobber = cpu_has(width::ymm) ? clobber_avx : clobber_xmm;
    if ((widest_vector > 16 && !cpu_has(width::ymm)) ||
        (widest_vector > 32 && !cpu_has(width::zmm)))
        return;
    trace_all<ftrace::ops<on_patched, ftrace::ARGS>>();
    trace_all<ftrace::ops<on_patched, ftrace::SAVE_REGS>>();
    if (widest_vector <= 16) {
        owner::clobber = clobber_xmm;
        state.vectors_saved = false;
        trace_all<ftrace::ops<on_patched_integer, ftrace::ARGS_INTEGER>>();
        state.vectors_saved = true;
    }
    run_all(mode::nothing, nullptr);
}

TEST_CASE("torture: exit callbacks read and change results", "[abi]") {
    if (widest_vector <= 16) {
        run_all(mode::read_result, exit_xmm);
        run_all(mode::write_result, exit_xmm);
    }
    if (cpu_has(width::ymm) && widest_vector <= 32) {
        run_all(mode::read_result, exit_ymm);
        run_all(mode::write_result, exit_ymm);
    }
    if (cpu_has(width::zmm)) {
        run_all(mode::read_result, exit_zmm);
        run_all(mode::write_result, exit_zmm);
    }
}

}  // namespace torture
