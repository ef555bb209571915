// How the functions are marked that tests trace.
//
// A compiler that sees all of a file knows that a function in it does not touch the counters of a
// callback in the same file, and keeps them in registers across its calls. `noipa` takes that
// knowledge from gcc, a clobber of memory in the function's body takes it from clang.
#pragma once

#if defined(__clang__)
#define PROGRAM __attribute__((noinline))
#else
#define PROGRAM __attribute__((noipa))
#endif

#define TOUCH_MEMORY __asm__ volatile("" ::: "memory")
