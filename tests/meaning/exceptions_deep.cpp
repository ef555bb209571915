// An exception thrown through 10,000 frames; with and without a destructor in each.
#include "scenario.hpp"

namespace scenario {

constexpr int frames = 10000;
int destroyed = 0;

struct counted {
    UNTRACED ~counted() { ++destroyed; }
};

TRACED int plain(int below) {
    KEEP(below);
    if (below == 1) throw frames;
    int result = plain(below - 1);
    KEEP(result);
    return result;
}
TRACED int with_local(int below) {
    const counted local;
    KEEP(below);
    if (below == 1) throw 0.5;
    int result = with_local(below - 1);
    KEEP(result);
    return result;
}
TRACED int catches_plain() {
    try {
        return plain(frames);
    } catch (int x) {
        return x;
    }
}
TRACED int catches_with_local() {
    try {
        return with_local(frames);
    } catch (double) {
        return destroyed;
    }
}
// Caught and thrown again on the way, in each hundredth frame.
TRACED int in_stages(int below) {
    KEEP(below);
    if (below == 1) throw 'x';
    if (below % 100 != 0) {
        int result = in_stages(below - 1);
        KEEP(result);
        return result;
    }
    try {
        int result = in_stages(below - 1);
        KEEP(result);
        return result;
    } catch (char) {
        ++destroyed;
        throw;
    }
}
TRACED int catches_stages() {
    try {
        return in_stages(1000);
    } catch (char) {
        return destroyed;
    }
}

}  // namespace scenario

int main() {
    using namespace scenario;
    recorder::expect(catches_plain() == frames, "plain");
    recorder::expect(catches_with_local() == frames, "with locals");
    recorder::expect(catches_stages() == frames + 10, "in stages");
    std::puts("done");
}
