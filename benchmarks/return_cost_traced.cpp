// Compiled with sites.
#include "return_cost_work.hpp"

RETURN_COST_WORK(traced_work)
RETURN_COST_NESTED(traced_nested)
