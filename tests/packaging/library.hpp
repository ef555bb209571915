// What each of the two libraries of one_registry.tests.cpp offers: an ops and an fgraph_ops of its
// own, and a function to trace.
#pragma once

#include <ftrace/ftrace.hpp>

struct library_interface {
    /// Registers the library's ops on the functions of this name; the empty string, or what went
    /// wrong.
    const char* (*attach)(const char* filter);
    void (*detach)();
    /// How often the ops' callback ran.
    int (*calls)();
    /// A traced function: x + 1.
    int (*work)(int x);
    /// The same with the library's fgraph_ops, whose ends are counted.
    const char* (*attach_graph)(const char* filter);
    void (*detach_graph)();
    int (*ends)();
    /// The library's ops itself, for others to register.
    ftrace::ftrace_ops* ops;
};

extern "C" __attribute__((visibility("default"))) const library_interface* first_library();
extern "C" __attribute__((visibility("default"))) const library_interface* second_library();
