// What ends in std::terminate ends there, with the same report: an exception that nobody catches,
// one that leaves a noexcept function or a destructor, a second one on the way of a first, one out
// of a thread; a rethrow of nothing; a handler of the program's own.
// Runs: uncaught noexcept destructor second thread nothing handler constructor
#include <pthread.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "scenario.hpp"

namespace scenario {

TRACED void throws() { throw std::runtime_error("nobody wants it"); }

struct local {
    TRACED ~local();
};
local::~local() { std::puts("local goes"); }

TRACED void passes() {
    const local on_the_way;
    throws();
}
TRACED void promises() noexcept {
    passes();
    std::puts("never");
}
TRACED void catches_in_vain(void (*function)()) {
    try {
        function();
    } catch (const std::logic_error&) {
        std::puts("never");
    }
}
TRACED void catches(void (*function)()) {
    try {
        function();
    } catch (const std::runtime_error&) {
        std::puts("never");
    }
}

struct ill_behaved {
    TRACED ~ill_behaved();
};
ill_behaved::~ill_behaved() { throws(); }

TRACED void destroys() {
    const ill_behaved object;
    std::puts("destroys");
}

struct second {
    TRACED ~second() noexcept(false);
};
second::~second() noexcept(false) { throw 2; }

TRACED void throws_twice() {
    const second object;
    throws();
}

TRACED void rethrows() { throw; }

struct builds {
    TRACED builds() noexcept;
};
builds::builds() noexcept { passes(); }
TRACED void constructs() {
    const builds object;
    (void)object;
    std::puts("never");
}

TRACED void reports() {
    std::puts("handler of the program");
    std::fflush(stdout);
}
UNTRACED void handler() {
    reports();
    std::abort();
}

TRACED void* in_thread(void*) {
    catches_in_vain(throws);
    return nullptr;
}

}  // namespace scenario

int main(int count, char** arguments) {
    using namespace scenario;
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    const char* const how = count > 1 ? arguments[1] : "";
    if (std::strcmp(how, "uncaught") == 0) catches_in_vain(passes);
    if (std::strcmp(how, "noexcept") == 0) catches(promises);
    if (std::strcmp(how, "destructor") == 0) catches(destroys);
    if (std::strcmp(how, "second") == 0) catches(throws_twice);
    if (std::strcmp(how, "nothing") == 0) catches(rethrows);
    if (std::strcmp(how, "constructor") == 0) catches(constructs);
    if (std::strcmp(how, "handler") == 0) {
        std::set_terminate(handler);
        catches_in_vain(passes);
    }
    if (std::strcmp(how, "thread") == 0) {
        pthread_t id;
        pthread_create(&id, nullptr, in_thread, nullptr);
        pthread_join(id, nullptr);
    }
    std::puts("never");
}
