// Functions of a file that never heard of the library; layouts.sh compiles it in every layout.

// With -fvisibility=hidden these are all that a library's symbols name, once it is stripped.
extern "C" {
__attribute__((visibility("default"))) int subject_table_size();
__attribute__((visibility("default"))) void* subject_table(int i);
}

namespace {
int calls = 0;
__attribute__((noinline)) int hidden(int x) { return calls += x; }
__attribute__((noinline)) int empty_body() { return 0; }
}  // namespace

struct subject_class {
    virtual ~subject_class() = default;
    virtual int method(int x) const { return hidden(x) + 1; }
};

__attribute__((noinline)) int tail_call(int x) { return hidden(x); }
template <typename T>
__attribute__((noinline)) T instance(T x) {
    return x * 2;
}
static int (subject_class::* const kept)(int) const = &subject_class::method;

extern "C" int subject_use() {
    const subject_class object;
    return (object.*kept)(1) + tail_call(2) + instance(3L) + instance(4) > 0;
}
__attribute__((patchable_function_entry(0, 0), no_instrument_function)) int subject_table_size() {
    return 6;
}
__attribute__((patchable_function_entry(0, 0), no_instrument_function)) void* subject_table(int i) {
    void* const functions[] = {
        reinterpret_cast<void*>(&hidden),         reinterpret_cast<void*>(&empty_body),
        reinterpret_cast<void*>(&tail_call),      reinterpret_cast<void*>(&instance<int>),
        reinterpret_cast<void*>(&instance<long>), reinterpret_cast<void*>(&subject_use),
    };
    return functions[i];
}
