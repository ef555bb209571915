// Compiled without sites.
#include "return_cost_work.hpp"

RETURN_COST_WORK(plain_work)
RETURN_COST_NESTED(plain_nested)

namespace {
__attribute__((tls_model("initial-exec"))) thread_local int guard, missed, error_number;
std::uintptr_t shadow_stack[4096];
}  // namespace

// The benchmark has one thread.
extern "C" {
__attribute__((tls_model("local-exec"))) thread_local std::uintptr_t* hijack_top = shadow_stack;
}

void hijack_empty(unsigned long, unsigned long, void*, void*) noexcept {}

void hijack_within_guard(unsigned long, unsigned long, void*, void*) noexcept {
    if (guard != 0) {
        ++missed;
        return;
    }
    guard = 1;
    const int saved = error_number;
    __asm__ volatile("" ::: "memory");  // the callback, inlined
    error_number = saved;
    guard = 0;
}

constinit thread_local recorded_ring ring_by_hand{};

// As function_graph: an event at the entry and one at the end, which says when the call began.
__attribute__((noinline, aligned(64))) int recorded_in_line(int x) noexcept {
    recorded_ring& ring = ring_by_hand;
    const auto function = reinterpret_cast<std::uint64_t>(&recorded_in_line);
    const std::uint64_t began =
        ring.add(1, function, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
    const int result = x * 5 + 1;
    ring.add(2, function, began);
    return result;
}

// Both times in one event.
__attribute__((noinline, aligned(64))) int recorded_in_one_event(int x) noexcept {
    recorded_ring& ring = ring_by_hand;
    const std::uint64_t began = __builtin_ia32_rdtsc();
    const int result = x * 5 + 1;
    ring.add(1, reinterpret_cast<std::uint64_t>(&recorded_in_one_event), began);
    return result;
}

// What -finstrument-functions calls: nothing, or a recorder. One test more than hooks that are always empty.
namespace {
bool hooks_record = false;
bool attach(bool records) {
    hooks_record = records;
    return true;
}
void detach() { hooks_record = false; }
}  // namespace

extern "C" {
void __cyg_profile_func_enter(void* function, void* parent) {
    if (hooks_record)
        ring_by_hand.add(1, reinterpret_cast<std::uint64_t>(function),
                         reinterpret_cast<std::uint64_t>(parent));
}
void __cyg_profile_func_exit(void* function, void*) {
    if (hooks_record) ring_by_hand.add(2, reinterpret_cast<std::uint64_t>(function), 0);
}
}

extern const compiler_hooks instrumented{instrumented_work, attach, detach};
