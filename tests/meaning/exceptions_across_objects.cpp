// Exceptions that cross a shared object: thrown there and caught here, the other way round, and
// through it; types that both know, and one that only the object can name.
#include "exceptions_across_objects.hpp"

#include "scenario.hpp"

namespace scenario {

TRACED void throws_here(int x) {
    KEEP(x);
    throw shared_failure{x};
}
TRACED int back_again(int x) {
    library_passes(throws_here, x);
    return x;
}
TRACED int catches_from_there(int x) {
    try {
        library_throws(x);
    } catch (const shared_failure& f) {
        return f.value;
    }
    return 0;
}
TRACED int catches_over_there(int x) {
    try {
        return back_again(x);
    } catch (const shared_failure& f) {
        return -f.value;
    }
}
TRACED int catches_unnamed() {
    try {
        library_throws_its_own();
    } catch (const shared_base& b) {
        return b.value;
    }
    return 0;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    expect(catches_from_there(5) == 5, "thrown there");
    expect(library_catches(throws_here, 6) == 6, "thrown here");
    expect(catches_over_there(7) == -7, "through it");
    expect(catches_unnamed() == 8, "of its own");
    std::puts("done");
}
