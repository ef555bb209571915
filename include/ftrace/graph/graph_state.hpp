// What all fgraph_ops of the process share: the regions of trampolines and shadow stacks, and the
// table that says whether an fgraph_ops that hooked a call is still there when it returns.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/core/unwinders.hpp>
#include <ftrace/graph/shadow_stack.hpp>
#include <ftrace/sites/pin.hpp>
#include <new>

namespace ftrace::inline v0 {

class fgraph_ops;

namespace detail {

/// Registered fgraph_ops. A hooked call remembers index and generation, so that the return of a
/// removed ops never meets a new one at its index.
class graph_table {
public:
    static constexpr std::uint32_t capacity = 16;  // as in the kernel

    FTRACE_NOTRACE graph_table() noexcept {}

    /// A ticket for calls to be hooked, or 0: the table is full. Under the process's lock.
    [[nodiscard]] FTRACE_NOTRACE std::uint32_t add(fgraph_ops& ops) noexcept {
        for (std::uint32_t tried = 0; tried < capacity; ++tried) {
            const std::uint32_t i = next_++ % capacity;  // not the one that was given back last
            entry& at = entries_[i];
            if (__atomic_load_n(&at.ops, __ATOMIC_RELAXED) != nullptr) continue;
            const std::uint32_t before = __atomic_load_n(&at.ticket, __ATOMIC_RELAXED);
            // The next generation of this index; generation 0 is left out, since no ticket is 0.
            std::uint32_t ticket = (before / capacity + 1) * capacity + i;
            if (ticket < capacity) ticket += capacity;
            __atomic_store_n(&at.ticket, ticket, __ATOMIC_RELAXED);
            // release: who sees the ops sees its ticket.
            __atomic_store_n(&at.ops, &ops, __ATOMIC_RELEASE);
            return ticket;
        }
        return 0;
    }
    /// False: the ticket is no longer valid. Under the process's lock.
    FTRACE_NOTRACE bool remove(std::uint32_t ticket) noexcept {
        entry& at = entries_[ticket % capacity];
        if (at.ops == nullptr || at.ticket != ticket) return false;
        __atomic_store_n(&at.ops, nullptr, __ATOMIC_RELEASE);
        return true;
    }
    /// Inside a section only: remove() is followed by a grace period.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION fgraph_ops* find(std::uint32_t ticket) const noexcept {
        const entry& at = entries_[ticket % capacity];
        fgraph_ops* const ops = __atomic_load_n(&at.ops, __ATOMIC_ACQUIRE);
        return __atomic_load_n(&at.ticket, __ATOMIC_RELAXED) == ticket ? ops : nullptr;
    }

private:
    struct entry {
        fgraph_ops* ops;
        std::uint32_t ticket;
    };
    entry entries_[capacity]{};
    std::uint32_t next_ = 0;
};

/// Address space for the regions of many threads, made once and never unmapped: a hooked function
/// may return at any time. A region's memory is taken when its thread hooks its first call: two
/// system calls, no lock, and no unwinder to tell, since one FDE describes them all.
class region_pool {
    using region = arch::return_region;

public:
    static constexpr std::size_t most = 1024, fewest = 8;  // threads

    FTRACE_NOTRACE region_pool() noexcept {}

    /// Errors: out_of_memory, permission_denied.
    FTRACE_NOTRACE result<void> make(std::uintptr_t stub) {
        for (capacity_ = most; capacity_ >= fewest; capacity_ /= 2)
            if (reserve()) break;
        if (base_ == 0)
            return error{errc::out_of_memory,
                         "no address space for return trampolines: raise the limit of address "
                         "space (ulimit -v) by " +
                             std::to_string(fewest * region::size >> 20) + " MiB"};
        // Shared, because mremap duplicates shared mappings only: all regions' code is one copy.
        void* const code =
            ::mmap(reinterpret_cast<void*>(base_), region::code_size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (code == MAP_FAILED) {
            const int number = errno;
            give_back();
            return error{errc::out_of_memory, std::string("no memory for return trampolines (") +
                                                  std::strerror(number) +
                                                  "): free some, or trace entries only"};
        }
        arch::write_return_trampolines(static_cast<std::byte*>(code));
        if (::mprotect(code, region::code_size, PROT_READ | PROT_EXEC) != 0) {
            const int number = errno;
            give_back();
            return error{errc::permission_denied, "cannot make return trampolines executable: " +
                                                      why_text_is_protected(number) +
                                                      ". Exit hooks are not available"};
        }
        stub_ = stub;
        section_.describe(base_, capacity_ * region::size);
        unwinder_registrar(section_).register_all();
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
        if (__builtin_expect(!contains(reinterpret_cast<std::uintptr_t>(stack)), 0)) {
            stack = open(thread);
            if (stack == nullptr) return nullptr;
            stack->reset(stub_, thread.generation, stack_of(slot));
        } else if (__builtin_expect(stack->generation() != thread.generation, 0)) {
            stack->reset(stub_, thread.generation, stack_of(slot));
        }
        return stack;
    }

    /// Calls `use(shadow_stack&)` for every stack there is.
    template <class Use>
    FTRACE_NOTRACE void for_each(Use use) const {
        const std::size_t opened = __atomic_load_n(&opened_, __ATOMIC_ACQUIRE);
        for (std::size_t i = 0; i < opened && i < capacity_; ++i)
            if (__atomic_load_n(&ready_[i], __ATOMIC_ACQUIRE))
                use(shadow_stack::of(base_ + i * region::size));
    }

private:
    // Aligned address space without memory behind it.
    FTRACE_NOTRACE bool reserve() noexcept {
        const std::size_t size = (capacity_ + 1) * region::size;
        void* const memory =
            ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return false;
        const auto begin = reinterpret_cast<std::uintptr_t>(memory);
        base_ = (begin + region::size - 1) & ~(region::size - 1);
        const std::uintptr_t end = base_ + capacity_ * region::size;
        if (base_ != begin) ::munmap(memory, base_ - begin);
        if (end != begin + size) ::munmap(reinterpret_cast<void*>(end), begin + size - end);
        return true;
    }

    FTRACE_NOTRACE void give_back() noexcept {
        ::munmap(reinterpret_cast<void*>(base_), capacity_ * region::size);
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

    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) shadow_stack* open(
        thread_state& thread) noexcept {
        // A slot of the thread pool that holds something else: graph_of().
        if (thread.graph != nullptr) return nullptr;
        std::size_t i = __atomic_load_n(&opened_, __ATOMIC_RELAXED);
        do {
            if (i >= capacity_) return nullptr;
        } while (!__atomic_compare_exchange_n(&opened_, &i, i + 1, true, __ATOMIC_ACQ_REL,
                                              __ATOMIC_RELAXED));
        const std::uintptr_t at = base_ + i * region::size;
        const int saved = errno;
        // An old size of 0 duplicates a shared mapping (mremap(2)). The first region has the code.
        const bool made = (i == 0 || ::mremap(reinterpret_cast<void*>(base_), 0, region::code_size,
                                              MREMAP_MAYMOVE | MREMAP_FIXED,
                                              reinterpret_cast<void*>(at)) != MAP_FAILED) &&
                          ::mprotect(reinterpret_cast<void*>(at + region::code_size),
                                     region::code_size, PROT_READ | PROT_WRITE) == 0;
        errno = saved;
        if (!made) return nullptr;
        auto* const stack = &shadow_stack::of(at);
        thread.graph = stack;
        __atomic_store_n(&ready_[i], true, __ATOMIC_RELEASE);  // pairs with for_each()
        return stack;
    }

    std::uintptr_t base_ = 0;
    std::size_t capacity_ = 0;
    std::size_t opened_ = 0;
    std::uintptr_t stub_ = 0;
    stack_range first_thread_{};
    std::size_t stack_size_ = std::size_t{8} << 20;
    bool ready_[most]{};
    arch::return_unwind_section section_;
};

/// Never freed.
struct graph_state {
    FTRACE_NOTRACE graph_state() noexcept {}

    graph_table table;
    region_pool regions;
    std::uint64_t unhooked = 0;  ///< calls of threads that have no shadow stack

    /// The return address that a hook replaced, or `address` itself.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t true_return(
        std::uintptr_t address) const noexcept {
        if (__builtin_expect(!regions.contains(address), 1)) return address;
        return shadow_stack::of(address).frame(arch::return_region::index_of(address)).ret;
    }
};

/// Where the process keeps its graph_state: the last slot of the thread pool stands for the process
/// itself. A thread that got this slot, the 65,536th, would have no shadow stack.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline void*& graph_home(process_state& process) noexcept {
    return process.threads[thread_pool::capacity - 1].graph;
}

/// This object's shortcut to the process's state.
FTRACE_LOCAL inline constinit graph_state* graph_shortcut = nullptr;

/// The state, if any fgraph_ops was ever registered in this process.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline graph_state* shared_graph() noexcept {
    graph_state* state = __atomic_load_n(&graph_shortcut, __ATOMIC_ACQUIRE);
    if (__builtin_expect(state != nullptr, 1)) return state;
    process_state* const process = shared_state();
    if (process == nullptr) return nullptr;
    // acquire: pairs with the release in graph().
    state = static_cast<graph_state*>(__atomic_load_n(&graph_home(*process), __ATOMIC_ACQUIRE));
    __atomic_store_n(&graph_shortcut, state, __ATOMIC_RELEASE);
    return state;
}

/// The state, made at first use; `stub` is what trampolines will call. Under the process's lock.
FTRACE_NOTRACE inline result<graph_state*> graph(process_state& process, std::uintptr_t stub) {
    if (graph_state* const state = shared_graph()) return state;
    if (arch::has_hardware_shadow_stack())
        return error{errc::permission_denied,
                     "this process runs with a hardware shadow stack (CET), which does not allow "
                     "return addresses to be replaced: start it without "
                     "(GLIBC_TUNABLES=glibc.cpu.x86_shstk=off), or trace entries only"};
    auto* const state = new (std::nothrow) graph_state;
    if (state == nullptr) return error{errc::out_of_memory, "no memory for the graph's state"};
    if (auto made = state->regions.make(stub); !made) {
        delete state;
        return std::move(made).error();
    }
    pin_object(reinterpret_cast<const void*>(stub));
    __atomic_store_n(&graph_home(process), static_cast<void*>(state), __ATOMIC_RELEASE);
    return shared_graph();
}

}  // namespace detail
}  // namespace ftrace::inline v0
