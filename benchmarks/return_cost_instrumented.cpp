// Compiled with -finstrument-functions: the compiler calls two hooks around every function, which are in
// return_cost_plain.cpp, so that they are not put in line.
#include "return_cost_work.hpp"

RETURN_COST_WORK(instrumented_work)
