// The regions of trampolines and shadow stacks of all threads.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/thread_pool.hpp>
#include <ftrace/graph/shadow_stack.hpp>
#include <ftrace/patch/unwound_space.hpp>
#include <new>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

/// Address space for the regions of many threads, made once and never unmapped: a hooked function
/// may return at any time. A region's memory is taken when its thread hooks its first call: two
/// system calls, no lock, and no unwinder to tell, since one FDE describes them all. When all are
/// taken, those of threads that are gone serve again.
class region_pool {
    using region = arch::return_region;

public:
    static constexpr std::size_t most = 1024, fewest = 8;  // threads

    FTRACE_NOTRACE region_pool() noexcept {}

    /// Not under the process's lock: asks the dynamic linker. Errors: out_of_memory,
    /// permission_denied.
    FTRACE_NOTRACE result<void> make(std::uintptr_t stub) {
        // Shared, because mremap duplicates shared mappings only: all regions' code is one copy.
        void* const code = ::mmap(nullptr, region::code_size, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (code == MAP_FAILED) return no_memory(errno);
        arch::write_return_trampolines(static_cast<std::byte*>(code));
        if (::mprotect(code, region::code_size, PROT_READ | PROT_EXEC) != 0) {
            const int number = errno;
            ::munmap(code, region::code_size);
            return error{errc::permission_denied, "cannot make return trampolines executable: " +
                                                      why_text_is_protected(number) +
                                                      ". Exit hooks are not available"};
        }
        // The space last, since it stays whatever happens.
        auto* const section = new (std::nothrow) arch::return_unwind_section;
        if (section == nullptr) {
            ::munmap(code, region::code_size);
            return no_memory(ENOMEM);
        }
        auto space =
            make_unwound_space(*section, (most + 1) * region::size, (fewest + 1) * region::size);
        if (!space) {
            delete section;
            ::munmap(code, region::code_size);
            return std::move(space).error();
        }
        section_ = section;
        base_ = (space->begin + region::size - 1) & ~(region::size - 1);
        capacity_ = (space->begin + space->size - base_) / region::size;
        if (capacity_ > most) capacity_ = most;
        if (::mremap(code, region::code_size, region::code_size, MREMAP_MAYMOVE | MREMAP_FIXED,
                     reinterpret_cast<void*>(base_)) == MAP_FAILED) {
            const int number = errno;
            ::munmap(code, region::code_size);
            return no_memory(number);
        }
        stub_ = stub;
        find_stacks();
        return {};
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool contains(std::uintptr_t address) const noexcept {
        return address - base_ < capacity_ * region::size;
    }

    /// The calling thread's shadow stack; `slot`: an address on its stack. nullptr: too many
    /// threads, or no memory.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_stack* of(thread_state& thread,
                                                             std::uintptr_t slot) noexcept {
        auto* stack = static_cast<shadow_stack*>(thread.graph);
        if (__builtin_expect(contains(reinterpret_cast<std::uintptr_t>(stack)) &&
                                 stack->belongs_to(&thread, thread.generation),
                             1))
            return stack;
        // Something else: the last slot of the thread pool, see graph_home().
        if (stack != nullptr && !contains(reinterpret_cast<std::uintptr_t>(stack))) return nullptr;
        const int saved = errno;
        stack = open();
        errno = saved;
        thread.graph = stack;
        if (stack != nullptr) stack->hand_over(stub_, &thread, thread.generation, stack_of(slot));
        return stack;
    }

    /// Calls `use(shadow_stack&)` for every stack there is.
    template <class Use>
    FTRACE_NOTRACE void for_each(Use use) const {
        const std::size_t opened = __atomic_load_n(&opened_, __ATOMIC_ACQUIRE);
        for (std::size_t i = 0; i < opened && i < capacity_; ++i)
            if (__atomic_load_n(&owners_[i].pid, __ATOMIC_ACQUIRE) != 0)
                use(shadow_stack::of(base_ + i * region::size));
    }

private:
    FTRACE_NOTRACE static error no_memory(int number) {
        return {errc::out_of_memory, std::string("no memory for return trampolines (") +
                                         std::strerror(number) +
                                         "): free some, or trace entries only"};
    }

    // The stack of the first thread reaches from below its arguments, which the kernel puts at its
    // top, as far as the limit allows; nothing else is mapped for 128 MiB. Other threads' stacks
    // end near the thread pointer. A wrong guess costs exit events, see shadow_stack.hpp.
    FTRACE_NOTRACE void find_stacks() noexcept {
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
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION stack_range
    stack_of(std::uintptr_t slot) const noexcept {
        if (first_thread_.contains(slot)) return first_thread_;
        const auto end = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
        return {end > stack_size_ ? end - stack_size_ : 0, end};
    }

    // A new region, or that of a thread that is gone.
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) shadow_stack* open() noexcept {
        const pid_t pid = ::getpid();
        const auto tid = static_cast<pid_t>(::syscall(SYS_gettid));
        std::size_t i = __atomic_load_n(&opened_, __ATOMIC_RELAXED);
        while (i < capacity_ && !__atomic_compare_exchange_n(&opened_, &i, i + 1, true,
                                                             __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        }
        if (i >= capacity_) return inherit(pid, tid);
        const std::uintptr_t at = base_ + i * region::size;
        // An old size of 0 duplicates a shared mapping (mremap(2)). The first region has the code.
        const bool made = (i == 0 || ::mremap(reinterpret_cast<void*>(base_), 0, region::code_size,
                                              MREMAP_MAYMOVE | MREMAP_FIXED,
                                              reinterpret_cast<void*>(at)) != MAP_FAILED) &&
                          ::mprotect(reinterpret_cast<void*>(at + region::code_size),
                                     region::code_size, PROT_READ | PROT_WRITE) == 0;
        if (!made) return nullptr;
        __atomic_store_n(&owners_[i].tid, tid, __ATOMIC_RELAXED);
        // release: pairs with for_each() and inherit(), which then find the memory.
        __atomic_store_n(&owners_[i].pid, pid, __ATOMIC_RELEASE);
        return &shadow_stack::of(at);
    }

    // Not from threads of a process that forked this one: that which called fork goes on here,
    // under another number.
    FTRACE_NO_INSTRUMENTATION shadow_stack* inherit(pid_t pid, pid_t tid) noexcept {
        const std::size_t from = __atomic_fetch_add(&inherited_, 1, __ATOMIC_RELAXED);
        for (std::size_t n = 0; n < capacity_; ++n) {
            const std::size_t i = (from + n) % capacity_;
            if (__atomic_load_n(&owners_[i].pid, __ATOMIC_ACQUIRE) != pid) continue;
            pid_t before = __atomic_load_n(&owners_[i].tid, __ATOMIC_RELAXED);
            if (before == tid || thread_pool::alive(before)) continue;
            if (__atomic_compare_exchange_n(&owners_[i].tid, &before, tid, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED))
                return &shadow_stack::of(base_ + i * region::size);
        }
        return nullptr;
    }

    struct region_owner {
        pid_t pid;  // 0: no memory yet
        pid_t tid;
    };

    std::uintptr_t base_ = 0;
    std::size_t capacity_ = 0;
    std::size_t opened_ = 0;
    std::uintptr_t stub_ = 0;
    stack_range first_thread_{};
    std::size_t stack_size_ = std::size_t{8} << 20;
    std::size_t inherited_ = 0;
    region_owner owners_[most]{};
    const arch::return_unwind_section* section_ = nullptr;  // kept: an unwinder may refer to it
};

}  // namespace ftrace::inline v0::detail
