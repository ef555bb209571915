// What the program and its shared object know of each other.
#pragma once

namespace scenario {

struct shared_base {
    int value;
};
struct shared_failure : shared_base {};

void library_throws(int x);
void library_throws_its_own();
int library_catches(void (*function)(int), int x);
void library_passes(void (*function)(int), int x);

}  // namespace scenario
