// Threads that change the text, each in a way of its own, until the program stops.
#pragma once

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <string>

#include <ftrace/graph/fprobe.hpp>

#include "tests/torture/program.hpp"

namespace torture {

using namespace ftrace;

/// What the library has (library.cpp).
extern "C" long torture_library_work(unsigned n, long x, std::uintptr_t* address);
constexpr std::uint32_t library_functions = 60;

/// What an ops' callbacks count. They must not run once the ops is unregistered.
struct seen {
    static constexpr std::uint64_t alive = 0x6c69766521216c69;
    std::atomic<std::uint64_t> state{alive};
    std::atomic<std::uint64_t> entries{0}, ends{0};
};
FTRACE_NOTRACE inline void note_callback(void* data, std::atomic<std::uint64_t> seen::* counter) {
    auto& mine = *static_cast<seen*>(data);
    if (mine.state.load(std::memory_order_relaxed) != seen::alive)
        fail("a callback runs after its ops was unregistered");
    (mine.*counter).fetch_add(1, std::memory_order_relaxed);
}

FTRACE_NOTRACE inline void on_call(unsigned long, unsigned long, ftrace_ops& op,
                                   ftrace_regs&) noexcept {
    note_callback(op.private_data, &seen::entries);
}
FTRACE_GENERAL_REGS_ONLY FTRACE_NOTRACE inline void on_integer_call(unsigned long, unsigned long,
                                                                    ftrace_ops& op,
                                                                    integer_regs&) noexcept {
    auto& mine = *static_cast<seen*>(op.private_data);
    auto* const state = reinterpret_cast<const std::uint64_t*>(&mine.state);
    if (__atomic_load_n(state, __ATOMIC_RELAXED) != seen::alive) __builtin_trap();  // too late
    auto* const counter = reinterpret_cast<std::uint64_t*>(&mine.entries);
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/// While it lives, callbacks may run; then its memory is gone.
class seen_while_registered {
public:
    FTRACE_NOTRACE seen_while_registered() : seen_(new seen) {}
    FTRACE_NOTRACE ~seen_while_registered() {
        done.callbacks += seen_->entries;
        done.returns += seen_->ends;
        seen_->state = 0;
    }
    seen_while_registered(const seen_while_registered&) = delete;
    seen_while_registered& operator=(const seen_while_registered&) = delete;
    FTRACE_NOTRACE seen& operator*() const { return *seen_; }
    FTRACE_NOTRACE seen* get() const { return seen_.get(); }

private:
    std::unique_ptr<seen> seen_;
};

/// Registers an ops for some functions, changes its filter while it is registered, and takes it off.
FTRACE_NOTRACE inline void use_ops(random_numbers& random, ftrace_ops& op) {
    const seen_while_registered counted;
    op.private_data = counted.get();
    (void)succeeded(op.set_filter_ips(some_sites(random, 300), false, true), "set_filter_ips");
    auto handle = register_ftrace_function(op);
    if (!succeeded(handle, "register_ftrace_function")) return;
    for (std::uint32_t changes = random.below(4); changes != 0; --changes) {
        run_some(random, 20);
        (void)succeeded(op.set_filter_ips(some_sites(random, 50), false, random.once_in(2)),
                        "set_filter_ips of a registered ops");
    }
    pause_for(random.below(3000));
    // It is off in any case: busy says only that text could not be restored.
    (void)succeeded(handle.value().unregister(), "unregister");
}

FTRACE_NOTRACE inline void use_graph(random_numbers& random) {
    const seen_while_registered counted;
    fgraph_ops graph(
        [](const ftrace_graph_ent&, fgraph_ops& self, ftrace_regs&) noexcept {
            note_callback(self.private_data, &seen::entries);
            return true;
        },
        [](const ftrace_graph_ret&, fgraph_ops& self, ftrace_regs&) noexcept {
            note_callback(self.private_data, &seen::ends);
        },
        counted.get(), {.call_data = random.below(3) * 40U});
    (void)succeeded(graph.ops.set_filter_ips(some_sites(random, 300)), "a graph's filter");
    auto handle = register_ftrace_graph(graph);
    if (!succeeded(handle, "register_ftrace_graph")) return;
    run_some(random, 50);
    pause_for(random.below(3000));
    (void)succeeded(handle.value().unregister(), "unregister of a graph");
}

FTRACE_NOTRACE inline void use_fprobe(random_numbers& random) {
    const seen_while_registered counted;
    fprobe probe(
        [](fprobe& self, unsigned long, unsigned long, ftrace_regs&, void*) noexcept {
            note_callback(self.private_data, &seen::entries);
            return 0;
        },
        [](fprobe& self, const fprobe_exit&, ftrace_regs&, void*) noexcept {
            note_callback(self.private_data, &seen::ends);
        },
        16, counted.get());
    auto handle = register_fprobe_ips(probe, some_sites(random, 100));
    if (!succeeded(handle, "register_fprobe_ips")) return;
    run_some(random, 50);
    pause_for(random.below(2000));
    (void)succeeded(handle.value().unregister(), "unregister of an fprobe");
}

/// A typed probe sees what the function was given, and what it makes of it.
template <int N>
FTRACE_NOTRACE void use_probe(random_numbers& random) {
    auto typed = ftrace::probe<&work<N>>([](long& x) { return x; },
                                         [](long& result, long& x) { check(N, x, result); });
    if (!succeeded(typed, "probe")) return;
    run_one(N, argument_from(random.below(1U << 31)));
    pause_for(random.below(2000));
}

/// Uses ops of all kinds, one after the other.
FTRACE_NOTRACE inline void change_text(std::uint64_t own_seed) {
    random_numbers random(own_seed);
    while (!stopping) {
        switch (random.below(8)) {
        case 0: {
            ftrace::ops<on_call> op;
            use_ops(random, op);
            break;
        }
        case 1: {
            ftrace::ops<on_call, SAVE_REGS> op;
            use_ops(random, op);
            break;
        }
        case 2: {
            ftrace::ops<on_integer_call, ARGS_INTEGER> op;
            use_ops(random, op);
            break;
        }
        case 3: {
            ftrace_ops op(on_call, random.once_in(2) ? ARGS : SAVE_REGS);
            use_ops(random, op);
            break;
        }
        case 4: use_graph(random); break;
        case 5: use_fprobe(random); break;
        case 6: use_probe<6>(random); break;
        default: use_probe<12>(random); break;
        }
    }
}

/// Held while everything is off, and by who counts callbacks.
inline std::mutex switched;

/// Switches everything off and on.
FTRACE_NOTRACE inline void switch_all(std::uint64_t own_seed) {
    random_numbers random(own_seed);
    while (!stopping) {
        pause_for(2000 + random.below(20'000));
        const std::lock_guard locked(switched);
        (void)succeeded(set_enabled(false), "set_enabled(false)");
        pause_for(random.below(500));
        while (!succeeded(set_enabled(true), "set_enabled(true)")) pause_for(100);
    }
}

/// glibc's fork() does not take the loader's locks: a child that is made while another thread loads or
/// unloads something finds them locked for ever, with or without this library.
inline std::mutex loading;
FTRACE_NOTRACE inline void* load(const std::string& path) {
    const std::lock_guard locked(loading);
    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) fail("dlopen: %s", ::dlerror());
    return library;
}
FTRACE_NOTRACE inline void unload(void* library) {
    const std::lock_guard locked(loading);
    ::dlclose(library);
    done.loads.fetch_add(1, std::memory_order_relaxed);
}

/// Loads a library, traces what is in it, and unloads it again.
FTRACE_NOTRACE inline void load_library(std::uint64_t own_seed, const std::string& path) {
    random_numbers random(own_seed);
    while (!stopping) {
        void* const library = load(path);
        const auto library_work = reinterpret_cast<decltype(&torture_library_work)>(
            ::dlsym(library, "torture_library_work"));
        if (library_work == nullptr) fail("dlsym: %s", ::dlerror());
        const auto call = [&](std::uint32_t n) FTRACE_NOTRACE {
            const long x = argument_from(random.below(1U << 31));
            std::uintptr_t address = 0;
            check(static_cast<int>(n), x, library_work(n, x, &address));
            return address;
        };
        const std::uint32_t n = random.below(library_functions);
        {
            const seen_while_registered counted;
            ftrace::ops<on_call> op;
            op.private_data = counted.get();
            (void)succeeded(op.set_filter_ip(call(n)), "a library's function");
            auto handle = register_ftrace_function(op);
            if (succeeded(handle, "register for a library")) {
                {
                    const std::lock_guard locked(switched);
                    const std::uint64_t before = (*counted).entries;
                    call(n);
                    if ((*counted).entries != before + 1)
                        fail("a library's function was called without its callback");
                }
                // The library may go first.
                if (!random.once_in(2))
                    (void)succeeded(handle.value().unregister(), "unregister in a library");
            }
            if (random.once_in(2)) {
                unload(library);
                continue;
            }
        }
        unload(library);
    }
}

/// Children that go on tracing on their own.
FTRACE_NOTRACE inline void fork_children(std::uint64_t own_seed) {
    random_numbers random(own_seed);
    while (!stopping) {
        loading.lock();
        const pid_t child = ::fork();
        loading.unlock();
        if (child < 0) fail("fork");
        if (child == 0) {
            ::alarm(60);
            run_some(random, 50);
            {
                ftrace::ops<on_call> op;
                use_ops(random, op);
            }
            use_graph(random);
            run_some(random, 50);
            ::_exit(7);
        }
        int status = 0;
        if (::waitpid(child, &status, 0) != child) fail("waitpid");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
            fail("child %d ended with status 0x%x", static_cast<int>(child),
                 static_cast<unsigned>(status));
        done.forks.fetch_add(1, std::memory_order_relaxed);
        pause_for(random.below(20'000));
    }
}

/// Threads that come and go.
FTRACE_NOTRACE inline void make_threads(std::uint64_t own_seed) {
    random_numbers random(own_seed);
    while (!stopping) {
        std::thread([&]() FTRACE_NOTRACE {
            run_some(random, 1 + static_cast<int>(random.below(50)));
        }).join();
        done.threads.fetch_add(1, std::memory_order_relaxed);
        pause_for(random.below(1000));
    }
}

/// Signals to threads that run functions; their handler runs some, too.
class signalled_threads {
public:
    FTRACE_NOTRACE static void install() {
        struct sigaction action{};
        action.sa_handler = on_signal;
        action.sa_flags = SA_RESTART;
        ::sigemptyset(&action.sa_mask);
        if (::sigaction(SIGUSR1, &action, nullptr) != 0) fail("sigaction");
    }
    /// The calling thread gets them until it is gone from the list.
    FTRACE_NOTRACE void join() {
        const std::lock_guard locked(mutex_);
        threads_.push_back(::pthread_self());
    }
    FTRACE_NOTRACE void leave() {
        const std::lock_guard locked(mutex_);
        std::erase_if(threads_, [](pthread_t t) FTRACE_NOTRACE {
            return ::pthread_equal(t, ::pthread_self());
        });
    }
    FTRACE_NOTRACE void send(std::uint64_t own_seed) {
        random_numbers random(own_seed);
        while (!stopping) {
            pause_for(random.below(2000));
            const std::lock_guard locked(mutex_);
            if (threads_.empty()) continue;
            ::pthread_kill(threads_[random.below(static_cast<std::uint32_t>(threads_.size()))],
                           SIGUSR1);
            done.signals.fetch_add(1, std::memory_order_relaxed);
        }
    }

private:
    // Leaves that throw nothing.
    FTRACE_NOTRACE static void on_signal(int) {
        const int saved = errno;
        static std::atomic<int> next;
        for (int i = 0; i < 5; ++i) run_one(next.fetch_add(1) % (count / 6) * 6, i + 1);
        errno = saved;
    }
    std::mutex mutex_;
    std::vector<pthread_t> threads_;
};

}  // namespace torture
