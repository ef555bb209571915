// The shared object.
#include "exceptions_across_objects.hpp"
#include "scenario.hpp"

namespace scenario {
namespace {
struct own_failure : shared_base {};
}  // namespace

struct leaves {
    TRACED ~leaves();
};
leaves::~leaves() { std::puts("leaves the object"); }

TRACED void library_throws(int x) {
    KEEP(x);
    throw shared_failure{x};
}
TRACED void library_throws_its_own() { throw own_failure{8}; }
TRACED int library_catches(void (*function)(int), int x) {
    try {
        function(x);
    } catch (const shared_failure& f) {
        return f.value;
    }
    return 0;
}
TRACED void library_passes(void (*function)(int), int x) {
    const leaves local;
    function(x);
}

}  // namespace scenario
