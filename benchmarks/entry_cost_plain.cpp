// Compiled without sites.
#include "entry_cost_work.hpp"

ENTRY_COST_WORK(plain_work)

namespace {
__attribute__((tls_model("initial-exec"))) thread_local int guard, missed, error_number;
}

void limit_empty(unsigned long, unsigned long, void*, void*) noexcept {}

void limit_guarded(unsigned long, unsigned long, void*, void*) noexcept {
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
