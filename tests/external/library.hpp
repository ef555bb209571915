#pragma once

namespace library {

int twice(int x);

}  // namespace library
