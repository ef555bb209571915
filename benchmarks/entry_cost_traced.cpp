// Compiled with sites.
#include "entry_cost_work.hpp"

ENTRY_COST_WORK(traced_work)
