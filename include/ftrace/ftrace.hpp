// ftrace++: the Linux kernel's function tracer inside any C++ program.
//
// How a call becomes a callback:
//
//   sites/   a function compiled with -fpatchable-function-entry=5 begins with five bytes of nop: a site
//   ops/     an ops is a callback, a filter over sites, and the registers it wants
//   patch/   registering it turns the nops of its sites into calls, while all threads go on running
//   arch/    such a call enters a stub: it saves registers, and calls the C++ side ...
//   ops/     ... which calls the callback (dispatch.hpp); then the stub restores everything
//   args/    in the callback, accessors read and write the function's arguments by its signature
//   probe/   or the site jumps to a function that the compiler made of the signature, with handlers at both ends
//
// Includes no text formatting; <ftrace/trace/...> and <ftrace/export/...> build tracers on this.
#pragma once

#include <ftrace/args/args.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/error.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/flags.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/ops.hpp>
#include <ftrace/ops/registry.hpp>
#include <ftrace/ops/static_registry.hpp>
#include <ftrace/probe/probe.hpp>
#include <ftrace/sites/available.hpp>
