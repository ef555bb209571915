// All accessors of a traced call's registers, arguments and result.
#pragma once

#include <ftrace/args/arguments.hpp>
#include <ftrace/args/registers.hpp>
#include <ftrace/args/regs_views.hpp>
#include <ftrace/args/return_value.hpp>
#include <ftrace/args/signature.hpp>
#include <ftrace/args/variadic.hpp>
