#include "library.hpp"

int library::twice(int x) { return 2 * x; }
