// Where threads have their own stacks: a guess that needs no lock and no memory.
#pragma once

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/stack_range.hpp>

namespace ftrace::inline v0::detail {

/// The stack of the first thread reaches from below its arguments, which the kernel puts at its
/// top, as far as the limit allows; nothing else is mapped for 128 MiB. Other threads' stacks end
/// near the thread pointer. What a wrong guess costs: shadow_stack.hpp.
class own_stacks {
public:
    FTRACE_NOTRACE own_stacks() noexcept {
        constexpr std::uintptr_t kernel_gap = std::uintptr_t{128} << 20;
        rlimit limit{};
        std::uintptr_t size = kernel_gap;
        if (::getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
            limit.rlim_cur > size)
            size = limit.rlim_cur;
        const std::uintptr_t end = ::getauxval(AT_RANDOM);
        first_thread_ = {end > size ? end - size : 0, end};
        pthread_attr_t attributes;
        if (::pthread_attr_init(&attributes) != 0) return;
        ::pthread_attr_getstacksize(&attributes, &stack_size_);
        ::pthread_attr_destroy(&attributes);
    }

    /// That of the calling thread, on which `address` may lie.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION stack_range
    of_this_thread(std::uintptr_t address) const noexcept {
        if (first_thread_.contains(address)) return first_thread_;
        const auto end = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
        return {end > stack_size_ ? end - stack_size_ : 0, end};
    }

private:
    stack_range first_thread_{};
    std::size_t stack_size_ = std::size_t{8} << 20;
};

}  // namespace ftrace::inline v0::detail
