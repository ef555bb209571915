#include "library.hpp"

int library::twice(int x) { return half(4 * x); }
