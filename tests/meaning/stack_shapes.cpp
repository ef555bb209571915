// Frames of every shape: alloca, variable length arrays, large and over-aligned locals, deep
// recursion of each, arguments on the stack; 100,000 nested calls. What is on the stack keeps its
// place and its alignment.
#include <alloca.h>
#include <pthread.h>

#include <cstdint>
#include <cstring>

#include "scenario.hpp"

#pragma GCC diagnostic ignored "-Wvla"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wvla-cxx-extension"
#endif

namespace scenario {

TRACED int adds(const unsigned char* bytes, int count) {
    KEEP(bytes);
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += bytes[i];
    return sum;
}

TRACED int with_alloca(int count) {
    auto* const bytes = static_cast<unsigned char*>(alloca(static_cast<std::size_t>(count)));
    std::memset(bytes, count, static_cast<std::size_t>(count));
    int sum = adds(bytes, count);
    if (count > 1) sum += with_alloca(count - 1);
    return sum + adds(bytes, count);
}
// In a loop: the stack pointer moves from call to call.
TRACED int alloca_in_loop(int count) {
    unsigned char* kept[20];
    int sum = 0;
    for (int i = 0; i < count; ++i) {
        kept[i] = static_cast<unsigned char*>(alloca(100));
        std::memset(kept[i], i, 100);
        sum += adds(kept[i], 100);
    }
    for (int i = 0; i < count; ++i) sum += adds(kept[i], 100);
    return sum;
}
TRACED int with_array(int count) {
    __extension__ unsigned char bytes[count];
    std::memset(bytes, 1, static_cast<std::size_t>(count));
    int sum = adds(bytes, count);
    if (count > 100) sum += with_array(count / 2);
    return sum + adds(bytes, count);
}
TRACED int large(int depth) {
    unsigned char bytes[40000];
    std::memset(bytes, depth, sizeof bytes);
    int sum = depth == 0 ? 0 : large(depth - 1);
    return sum + adds(bytes + 100, 10);
}
TRACED int aligned(int depth) {
    alignas(128) unsigned char bytes[128];
    std::memset(bytes, 1, sizeof bytes);
    const unsigned char* where = bytes;
    KEEP(where);
    if (reinterpret_cast<std::uintptr_t>(where) % 128 != 0) std::puts("WRONG: alignment");
    int sum = depth == 0 ? 0 : aligned(depth - 1);
    return sum + adds(bytes, 128);
}
TRACED int aligned_and_dynamic(int count) {
    alignas(64) unsigned char bytes[64];
    std::memset(bytes, 2, sizeof bytes);
    auto* const more = static_cast<unsigned char*>(alloca(static_cast<std::size_t>(count)));
    std::memset(more, 3, static_cast<std::size_t>(count));
    int sum = count == 1 ? 0 : aligned_and_dynamic(count - 1);
    return sum + adds(bytes, 64) + adds(more, count);
}
struct triple {
    long a, b, c;
};
TRACED long on_stack(int depth, triple x, long double y, triple z) {
    KEEP(depth);
    if (depth == 0) return x.a + x.c + static_cast<long>(y) + z.b;
    long below = on_stack(depth - 1, z, y + 1, x);
    KEEP(below);
    return below + x.b;
}
TRACED int nested(int depth) {
    KEEP(depth);
    if (depth == 1) return 1;
    int below = nested(depth - 1);
    KEEP(below);
    return below + 1;
}
TRACED void* deep(void* result) {
    *static_cast<int*>(result) = nested(100000);
    return nullptr;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    // 2 (1 + 4 + 9 + ... + 100)
    expect(with_alloca(10) == 770, "alloca");
    // 200 (0 + 1 + ... + 19)
    expect(alloca_in_loop(20) == 38000, "alloca in a loop");
    // 2 (1000 + 500 + 250 + 125 + 62)
    expect(with_array(1000) == 3874, "variable length");
    // 10 (0 + 1 + ... + 5)
    expect(large(5) == 150, "large frames");
    expect(aligned(3) == 4 * 128, "over-aligned");
    // 5 * 128 + 3 (1 + 2 + 3 + 4 + 5)
    expect(aligned_and_dynamic(5) == 685, "over-aligned and dynamic");
    expect(on_stack(2, {1, 2, 3}, 10, {4, 5, 6}) == 28, "arguments on the stack");

    int result = 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, std::size_t{64} << 20);
    pthread_t thread;
    pthread_create(&thread, &attributes, deep, &result);
    pthread_join(thread, nullptr);
    expect(result == 100000, "100,000 nested calls");
    std::puts("done");
}
