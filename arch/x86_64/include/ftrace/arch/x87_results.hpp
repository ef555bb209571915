// Results on the x87 stack, out of the way of callbacks that use it themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// st(0) and st(1) as an exit callback finds them in its registers: in the place of r15 to bp, which
/// a return stub does not save.
struct x87_saved {
    static constexpr unsigned most = 2;
    struct extended {
        std::byte bytes[16];  // ten of them are used
    };
    extended values[most];
    std::uint64_t count;  ///< of those that were not empty

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static x87_saved& of(ftrace_regs& regs) noexcept {
        return *reinterpret_cast<x87_saved*>(&arch_access::saved(regs).gpr);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static const x87_saved& of(
        const ftrace_regs& regs) noexcept {
        return *reinterpret_cast<const x87_saved*>(&arch_access::saved(regs).gpr);
    }
} __attribute__((may_alias));
static_assert(offsetof(x87_saved, count) == offsetof(pt_regs, bp) &&
              sizeof(x87_saved) <= offsetof(pt_regs, r11));

/// st(0) and st(1) of a function that returns long double or a complex one (psABI 3.2.3): take_off()
/// takes them off the stack and into `regs`, the destructor puts them back.
class x87_results {
public:
    FTRACE_NO_INSTRUMENTATION explicit x87_results(ftrace_regs& regs) noexcept
        : saved_(x87_saved::of(regs)) {
        saved_.count = 0;
    }
    FTRACE_NO_INSTRUMENTATION ~x87_results() {
        while (__builtin_expect(saved_.count != 0, 0)) put_back(saved_.values[--saved_.count]);
    }
    x87_results(const x87_results&) = delete;
    x87_results& operator=(const x87_results&) = delete;

    /// May be called again.
    FTRACE_NO_INSTRUMENTATION void take_off() noexcept {
        while (saved_.count < x87_saved::most && __builtin_expect(!top_is_empty(), 0))
            __asm__ volatile("fstpt %0" : "=m"(saved_.values[saved_.count++])::"memory");
    }

private:
    // C3, C2, C0 = 1, 0, 1 (SDM volume 2, FXAM).
    FTRACE_NO_INSTRUMENTATION static bool top_is_empty() noexcept {
        constexpr unsigned c0 = 0x0100, c2 = 0x0400, c3 = 0x4000;
        std::uint16_t status;
        __asm__ volatile("fxam\n fnstsw %0" : "=a"(status));
        return (status & (c3 | c2 | c0)) == (c3 | c0);
    }
    FTRACE_NO_INSTRUMENTATION static void put_back(const x87_saved::extended& value) noexcept {
        __asm__ volatile("fldt %0" ::"m"(value));
    }

    x87_saved& saved_;
};

}  // namespace ftrace::inline v0::arch
