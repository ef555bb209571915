// Thrown, caught, rethrown, kept and thrown again, thrown while another is on its way, thrown out
// of constructors, destructors and function-try-blocks.
#include <exception>
#include <stdexcept>

#include "scenario.hpp"

struct wrapped : std::logic_error, std::nested_exception {
    wrapped() : std::logic_error("wrapped") {}
};

namespace scenario {

struct failure {
    int value;
};
struct base {
    int value = 1;
};
struct derived : base {};

// Plain: through one frame, with and without.

TRACED int leaf(int x) {
    KEEP(x);
    if (x < 0) throw std::runtime_error("negative");
    return x * 2;
}
TRACED int middle(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}
TRACED int top(int x) {
    try {
        return middle(x);
    } catch (const std::runtime_error& e) {
        std::printf("caught %s\n", e.what());
        return -1;
    }
}

// By another type, by base, by pointer, by `...`; past handlers of other types.

TRACED void throws_kind(int kind) {
    KEEP(kind);
    switch (kind) {
    case 0: throw 17;
    case 1: throw "text";
    case 2: throw failure{18};
    case 3: throw derived{};
    default: throw static_cast<long double>(19);
    }
}
TRACED int passes_over(int kind) {
    try {
        throws_kind(kind);
    } catch (unsigned long) {
        return -1;
    } catch (const std::exception&) {
        return -2;
    }
    return -3;
}
TRACED int catches_kind(int kind) {
    try {
        return passes_over(kind);
    } catch (int x) {
        return x;
    } catch (const char* text) {
        return text[0];
    } catch (failure x) {
        return x.value;
    } catch (const base& x) {
        return x.value;
    } catch (...) {
        return 19;
    }
}

// Destructors run on the way, last first, and may themselves throw and catch.

TRACED void throws_inside() { throw failure{3}; }

struct local {
    UNTRACED explicit local(int n) : number(n) {}
    TRACED ~local();
    int number;
};
local::~local() {
    if (number == 2) {
        try {
            throws_inside();
        } catch (const failure& inner) {
            std::printf("inside: %d, %d on the way\n", inner.value, std::uncaught_exceptions());
        }
    }
    std::printf("gone: %d\n", number);
}
TRACED int with_locals(int x) {
    local one(1), two(2);
    int below = leaf(x);
    KEEP(below);
    return below;
}
TRACED int catches_over_locals(int x) {
    try {
        return with_locals(x);
    } catch (const std::runtime_error&) {
        return -1;
    }
}

// Rethrown: as it is, as another, and caught twice in one frame.

TRACED int rethrows(int x) {
    try {
        return middle(x);
    } catch (const std::runtime_error&) {
        std::puts("rethrows");
        throw;
    }
}
TRACED int throws_another(int x) {
    try {
        return rethrows(x);
    } catch (const std::exception& e) {
        throw failure{e.what()[0]};
    }
}
TRACED int catches_another(int x) {
    int seen = 0;
    try {
        try {
            seen = throws_another(x);
        } catch (const failure& f) {
            seen = f.value;
            throw;
        }
    } catch (const failure& f) {
        seen += f.value;
    }
    return seen;
}

// In a handler, a try block of its own; the outer exception is still there afterwards.

TRACED int handler_within() {
    int seen = 0;
    try {
        throws_kind(2);
    } catch (const failure& outer) {
        seen = catches_kind(0);
        try {
            throws_inside();
        } catch (const failure& inner) {
            seen += inner.value * 100;
        }
        seen += outer.value * 10000;
    }
    return seen;
}

// exception_ptr: kept when the frames are gone, thrown from elsewhere, twice.

std::exception_ptr kept;

TRACED void keeps() {
    try {
        middle(-1);
    } catch (...) {
        kept = std::current_exception();
    }
}
TRACED void throws_kept() { std::rethrow_exception(kept); }
TRACED int catches_kept() {
    int caught = 0;
    for (int i = 0; i < 2; ++i) {
        try {
            throws_kept();
        } catch (const std::runtime_error&) {
            ++caught;
        }
    }
    kept = nullptr;
    return caught;
}

// A nested exception, unpacked by recursion.

TRACED void wraps() {
    try {
        leaf(-1);
    } catch (...) {
        throw wrapped();
    }
}
TRACED void unpacks(const std::exception& e) {
    std::printf("unpacks %s\n", e.what());
    try {
        std::rethrow_if_nested(e);
    } catch (const std::exception& inner) {
        unpacks(inner);
    }
}
TRACED void catches_nested() {
    try {
        wraps();
    } catch (const std::exception& e) {
        unpacks(e);
    }
}

// Out of constructors: what was built goes. Members, bases, array elements, new.

struct part {
    TRACED explicit part(int number);
    TRACED ~part();
    int number;
};
part::part(int n) : number(n) {
    if (n == 3) throw failure{n};
    std::printf("part %d\n", n);
}
part::~part() { std::printf("no part %d\n", number); }

struct whole : part {
    TRACED whole();
    TRACED ~whole();
    part second, third;
};
whole::whole() : part(1), second(2), third(3) {}
whole::~whole() {}

TRACED int builds() {
    try {
        whole w;
        return 0;
    } catch (const failure& f) {
        return f.value;
    }
}
struct element {
    TRACED element();
    TRACED ~element();
    static int made;
};
int element::made = 0;
element::element() {
    if (++made == 3) throw failure{made};
}
element::~element() { --made; }
TRACED int builds_array() {
    try {
        element elements[4];
        return elements[0].made;
    } catch (const failure& f) {
        return f.value + element::made * 10;
    }
}
TRACED int builds_by_new() {
    try {
        part* const p = new part(3);
        delete p;
        return 0;
    } catch (const failure& f) {
        return f.value;
    }
}

// Out of a destructor that may.

struct thrower {
    TRACED ~thrower() noexcept(false);
};
thrower::~thrower() noexcept(false) { throw failure{4}; }
TRACED int destroys() {
    try {
        thrower t;
        local after(5);
    } catch (const failure& f) {
        return f.value;
    }
    return 0;
}

// Function-try-blocks: of a function, and of a constructor, which always rethrows.

TRACED int tries_as_a_whole(int x) try { return middle(x); } catch (const std::runtime_error&) {
    return -7;
}
struct tried {
    TRACED tried();
    part only;
};
tried::tried() try : only(3) {
} catch (const failure& f) {
    std::printf("tried %d\n", f.value);
}
TRACED int builds_tried() {
    try {
        tried t;
        return 0;
    } catch (const failure& f) {
        return f.value;
    }
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    expect(top(1) == 3 && top(-1) == -1, "top");
    const int kinds[] = {17, 't', 18, 1, 19};
    for (int kind = 0; kind < 5; ++kind) expect(catches_kind(kind) == kinds[kind], "kind");
    expect(catches_over_locals(1) == 2, "with locals");
    expect(catches_over_locals(-1) == -1, "over locals");
    expect(catches_another(1) == 3, "nothing rethrown");
    expect(catches_another(-1) == 2 * 'n', "rethrown");
    expect(handler_within() == 180317, "handlers");
    keeps();
    expect(catches_kept() == 2, "kept");
    catches_nested();
    expect(builds() == 3, "constructor");
    expect(builds_array() == 3 + 10 * 1, "array");
    expect(builds_by_new() == 3, "new");
    expect(destroys() == 4, "destructor");
    expect(tries_as_a_whole(1) == 3 && tries_as_a_whole(-1) == -7, "function-try-block");
    expect(builds_tried() == 3, "constructor's function-try-block");
    std::puts("done");
}
