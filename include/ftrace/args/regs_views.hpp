// ftrace_regs with the save policy in the type: what was not saved is then refused while compiling.
#pragma once

#include <ftrace/arch/registers.hpp>

namespace ftrace::inline v0 {

/// The registers of a call traced under ARGS: the arguments, integer and vector ones, and the
/// caller-saved rest of what the policy saves. An ops' callback may take this type in place
/// of ftrace_regs.
class args_regs : public ftrace_regs {
public:
    args_regs() = delete;
};

/// The registers of a call traced under SAVE_REGS: a full pt_regs, and the vector arguments.
class full_regs : public ftrace_regs {
public:
    full_regs() = delete;
};

/// The registers of a call traced under ARGS_INTEGER: no vector register was saved, so no accessor
/// of this type reads one.
class integer_regs : public ftrace_regs {
public:
    integer_regs() = delete;
};

}  // namespace ftrace::inline v0
