// Results on the x87 stack, out of the way of callbacks that use it themselves.
#pragma once

#include <cpuid.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// Whether XGETBV tells which parts of the processor's state are in use: CPUID.(EAX=0DH,ECX=1):EAX[2]
/// (SDM volume 1, 13.2). CPUID leaves a virtual machine: ask once.
[[nodiscard]] FTRACE_NOTRACE inline bool tells_state_in_use() noexcept {
    constexpr unsigned osxsave = 1u << 27, with_in_use = 1u << 2;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (::__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0) return false;
    return ::__get_cpuid_count(0xd, 1, &a, &b, &c, &d) != 0 && (a & with_in_use) != 0;
}

/// st0 and st1 of a function that returns long double or a complex one (psABI 3.2.3). The
/// constructor takes them off the stack, the destructor puts them back.
class x87_results {
public:
    /// `tells`: tells_state_in_use().
    FTRACE_NO_INSTRUMENTATION explicit x87_results(bool tells) noexcept {
        if (__builtin_expect(!tells || in_use(), 0)) take();
    }
    FTRACE_NO_INSTRUMENTATION ~x87_results() {
        while (__builtin_expect(count_ != 0, 0)) put_back(bytes_[--count_]);
    }
    x87_results(const x87_results&) = delete;
    x87_results& operator=(const x87_results&) = delete;

private:
    static constexpr unsigned most = 2;

    // XINUSE[0]: the x87 state is not the initial one (SDM volume 1, 13.6).
    FTRACE_NO_INSTRUMENTATION static bool in_use() noexcept {
        std::uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
        return (low & 1) != 0;
    }
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void take() noexcept {
        while (count_ < most && !top_is_empty())
            __asm__ volatile("fstpt %0" : "=m"(bytes_[count_++])::"memory");
    }
    // C3, C2, C0 = 1, 0, 1 (SDM volume 2, FXAM).
    FTRACE_NO_INSTRUMENTATION static bool top_is_empty() noexcept {
        constexpr std::uint16_t c0 = 0x0100, c2 = 0x0400, c3 = 0x4000;
        std::uint16_t status;
        __asm__ volatile("fxam\n fnstsw %0" : "=a"(status));
        return (status & (c3 | c2 | c0)) == (c3 | c0);
    }
    struct extended {
        alignas(16) std::byte bytes[16];
    };
    FTRACE_NO_INSTRUMENTATION static void put_back(const extended& value) noexcept {
        __asm__ volatile("fldt %0" ::"m"(value));
    }

    unsigned count_ = 0;
    extended bytes_[most];
};

}  // namespace ftrace::inline v0::arch
