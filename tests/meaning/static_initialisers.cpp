// Before main, and at first use: initialisers that throw and catch, a local static whose
// constructor throws and is tried again, a thread_local one. With the argument "uncaught" an
// initialiser's exception ends the program. Runs: caught uncaught
#include <cstring>
#include <stdexcept>

#include "scenario.hpp"

namespace scenario {

TRACED int throws(int x) {
    KEEP(x);
    throw std::runtime_error("too early");
}
TRACED int catches(int x) {
    try {
        return throws(x);
    } catch (const std::runtime_error&) {
        return x;
    }
}
int early = catches(1);

int arguments = 0;
bool uncaught = false;
// glibc passes the program's arguments to these.
__attribute__((constructor(102))) UNTRACED void look_at_arguments(int count, char** values) {
    arguments = count;
    uncaught = count > 1 && std::strcmp(values[1], "uncaught") == 0;
}

TRACED int may_throw(int x) {
    KEEP(x);
    return uncaught ? throws(x) : x;
}
int late = may_throw(2);

struct difficult {
    TRACED difficult();
    TRACED ~difficult();
    TRACED int value();
    static int attempts;
};
int difficult::attempts = 0;
difficult::difficult() {
    if (++attempts < 3) throw attempts;
}
difficult::~difficult() { std::puts("difficult goes"); }
int difficult::value() {
    int result = attempts;
    KEEP(result);
    return result;
}

TRACED difficult& only() {
    static difficult object;
    return object;
}
TRACED int tries() {
    for (int i = 1;; ++i) {
        try {
            return only().value() * 10 + i;
        } catch (int attempt) {
            recorder::expect(attempt == i, "each attempt throws its number");
        }
    }
}

struct at_thread {
    TRACED at_thread();
    TRACED ~at_thread();
    int value = 4;
};
at_thread::at_thread() { catches(3); }
at_thread::~at_thread() { std::puts("the thread's goes"); }

TRACED int uses_thread_local() {
    thread_local at_thread of_thread;
    int result = of_thread.value;
    KEEP(result);
    return result;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    recorder::expect(early == 1 && late == 2, "before main");
    recorder::expect(tries() == 33, "local static");
    recorder::expect(uses_thread_local() == 4, "thread_local");
    std::puts("done");
}
