// A library that knows nothing of being traced: one function of each kind of symbol.

// An exported function right in front of the hidden one, whose name must not be taken for its.
extern "C" int plain_first(int x) { return x + 5; }

namespace plain {

struct parser {
    parser();
    int parse(int x) const;
};
__attribute__((noinline)) static int hidden(int x) { return x + 1; }
__attribute__((noinline)) parser::parser() = default;
__attribute__((noinline)) int parser::parse(int x) const { return hidden(x) * 2; }

}  // namespace plain

extern "C" {
int plain_parse(int x) { return plain::parser().parse(x); }
int plain_alias(int x) __attribute__((alias("plain_parse")));
void* plain_hidden() { return reinterpret_cast<void*>(&plain::hidden); }
__attribute__((patchable_function_entry(0, 0))) int plain_no_site(int x) { return x; }
}
