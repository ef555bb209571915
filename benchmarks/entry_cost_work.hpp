// The function whose calls are measured: once compiled with a site, once without.
#pragma once

int plain_work(int x) noexcept;
int traced_work(int x) noexcept;

#define ENTRY_COST_WORK(name) \
    __attribute__((noinline, aligned(64))) int name(int x) noexcept { return x * 5 + 1; }

// What the hand-written stubs call: nothing, and nothing within a recursion guard that keeps errno.
extern "C" {
void limit_empty(unsigned long ip, unsigned long parent_ip, void* context, void* regs) noexcept;
void limit_guarded(unsigned long ip, unsigned long parent_ip, void* context, void* regs) noexcept;
}
