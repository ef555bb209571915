// A program that is traced from outside: built in several ways by matrix.sh, without Bazel.
#include <ftrace/autostart.hpp>

namespace app {

__attribute__((noinline)) int leaf(int x) {
    asm volatile("" : "+r"(x));
    return x + 1;
}
__attribute__((noinline)) int work(int x) {
    int sum = leaf(x);
    asm volatile("" : "+r"(sum));
    return sum + leaf(sum);
}

}  // namespace app

// 1 + 1 = 2, 2 + (2 + 1) = 5.
int main(int count, char**) { return app::work(count) == 5 ? 0 : 1; }
