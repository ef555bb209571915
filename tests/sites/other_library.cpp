// Another library, which takes the place of libplain.so's file in objects.tests.cpp.

extern "C" {
int other_first(int x) { return x + 1; }
int other_second(int x) { return x + 2; }
}
