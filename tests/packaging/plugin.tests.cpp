// A library that is loaded, traces functions of the program, and is unloaded: threads may still
// stand in the first or last instructions of its stubs, which no operation can wait for.
#include <dlfcn.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/packaging/library.hpp"

namespace {

__attribute__((noinline)) int plugin_target(int x) {
    asm volatile("");
    return x + 1;
}

/// The library as one that is loaded while the program runs.
struct plugin {
    FTRACE_NOTRACE plugin() : handle(::dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL)) {
        INFO("dlopen(" PLUGIN ")");
        REQUIRE(handle != nullptr);
        const auto open =
            reinterpret_cast<decltype(&first_library)>(::dlsym(handle, "first_library"));
        REQUIRE(open != nullptr);
        interface = open();
    }
    FTRACE_NOTRACE ~plugin() { ::dlclose(handle); }
    plugin(const plugin&) = delete;
    plugin& operator=(const plugin&) = delete;

    void* handle;
    const library_interface* interface;
};

/// Whether the plugin's code is in this process.
FTRACE_NOTRACE bool is_loaded() {
    void* const handle = ::dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD);
    if (handle != nullptr) ::dlclose(handle);
    return handle != nullptr;
}

}  // namespace

TEST_CASE("plugin: an object whose ops was registered stays loaded", "[packaging]") {
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i)
        callers.emplace_back([&, i]() FTRACE_NOTRACE {
            while (!stop)
                if (plugin_target(i) != i + 1) ++wrong;
        });
    for (int round = 0; round < 20; ++round) {
        const plugin opened;
        const int before = opened.interface->calls();
        CHECK(opened.interface->attach("*plugin_target") == std::string_view());
        plugin_target(1);
        CHECK(opened.interface->calls() > before);
        opened.interface->detach();
    }
    stop = true;
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
    CHECK(is_loaded());  // by gcc's unique symbols it would in any case
}
