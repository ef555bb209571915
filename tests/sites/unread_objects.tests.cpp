// Objects whose file cannot be read, or not where the loader says it is.
#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstdlib>
#include <filesystem>
#include <ftrace/ftrace.hpp>
#include <string>

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using ftrace::loaded_object;
using ftrace::trace_reason;

namespace {

// A folder of its own, with a copy of a library, left again behind the test.
struct workplace {
    explicit workplace(const std::string& name)
        : before(fs::current_path()),
          folder(fs::temp_directory_path() / (std::to_string(getpid()) + name)),
          library(folder / (name + ".so")) {
        fs::create_directories(folder / "inner");
        fs::copy_file("tests/sites/libplain.so", library, fs::copy_options::overwrite_existing);
    }
    ~workplace() {
        if (handle != nullptr) dlclose(handle);
        fs::current_path(before);
        fs::remove_all(folder);
    }
    fs::path before, folder, library;
    void* handle = nullptr;
};

struct no_files_left {
    no_files_left() {
        getrlimit(RLIMIT_NOFILE, &before);
        rlimit none = before;
        none.rlim_cur = 0;
        setrlimit(RLIMIT_NOFILE, &none);
    }
    ~no_files_left() { setrlimit(RLIMIT_NOFILE, &before); }
    rlimit before{};
};

const loaded_object& find(const std::vector<loaded_object>& objects, std::string_view name) {
    for (const auto& object : objects)
        if (object.name() == name) return object;
    FAIL("not loaded: " << name);
    return objects[0];
}

void callback(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}

}  // namespace

TEST_CASE("unread: the kernel's list of mappings tells which file is where", "[sites]") {
    const std::string_view map =
        "10000-12000 r--p 00000000 08:01 17      /opt/a file.so\n"
        "12000-13000 r-xp 00002000 08:01 17      /opt/a file.so (deleted)\n"
        "13000-14000 rw-p 00000000 00:00 0 \n"
        "ffffffff60000-ffffffff61000 r-xp 00000000 00:00 0   [vsyscall]\n";
    using ftrace::detail::mapped_path;
    CHECK(mapped_path(map, 0xffff).empty());
    CHECK(mapped_path(map, 0x10000) == "/opt/a file.so");
    CHECK(mapped_path(map, 0x11fff) == "/opt/a file.so");
    CHECK(mapped_path(map, 0x12000) == "/opt/a file.so (deleted)");
    CHECK(mapped_path(map, 0x13000).empty());
    CHECK(mapped_path(map, 0xffffffff60000).empty());
    CHECK(mapped_path("", 0).empty());
    CHECK(mapped_path("nonsense\n-\n1-", 1).empty());
    const std::string own = ftrace::detail::memory_map();
    CHECK(mapped_path(own, reinterpret_cast<std::uintptr_t>(&callback)) ==
          fs::read_symlink("/proc/self/exe").native());
}

TEST_CASE("unread: a library under a relative name is found after chdir", "[sites]") {
    workplace place("relative");
    fs::current_path(place.folder);
    place.handle = dlopen("./relative.so", RTLD_NOW);
    REQUIRE(place.handle != nullptr);
    fs::current_path(place.folder / "inner");
    const auto objects = ftrace::detail::scan_loaded_objects();
    CHECK(find(objects, "relative.so").unread.empty());
    CHECK_FALSE(find(objects, "relative.so").sites.empty());
    ftrace::ops<callback> op;
    CHECK(op.set_filter("plain_parse:mod:relative").value() == 1);
}

TEST_CASE("unread: a library that was renamed is found", "[sites]") {
    workplace place("renamed");
    place.handle = dlopen(place.library.c_str(), RTLD_NOW);
    REQUIRE(place.handle != nullptr);
    fs::rename(place.library, place.folder / "other.so");
    // Another file under its name is not taken for it.
    fs::copy_file("tests/sites/libother.so", place.library);
    const auto objects = ftrace::detail::scan_loaded_objects();
    CHECK(find(objects, "renamed.so").unread.empty());
    CHECK_FALSE(find(objects, "renamed.so").sites.empty());
    CHECK_FALSE(ftrace::detail::symbols_of(find(objects, "renamed.so")).entries().empty());
}

TEST_CASE("unread: a library whose file is gone says so, and is tried again", "[sites]") {
    workplace place("gone");
    const fs::path kept = place.folder / "kept";
    fs::copy_file(place.library, kept);
    place.handle = dlopen(place.library.c_str(), RTLD_NOW);
    REQUIRE(place.handle != nullptr);
    ftrace::ops<callback> op;
    const auto refused = [&](const char* why) {
        const auto objects = ftrace::detail::scan_loaded_objects();
        CHECK(find(objects, "gone.so").sites.empty());
        CHECK_THAT(find(objects, "gone.so").unread, ContainsSubstring(why));
        bool listed = false;
        for (const auto& function : ftrace::available_filter_functions())
            if (function.object == "gone.so") {
                CHECK_FALSE(listed);
                CHECK(function.reason == trace_reason::unread);
                CHECK(function.site == 0);
                CHECK_THAT(function.name, ContainsSubstring("gone.so: ") && ContainsSubstring(why));
                listed = true;
            }
        CHECK(listed);
        const auto matched = op.set_filter("plain_parse:mod:gone");
        REQUIRE_FALSE(matched);
        CHECK_THAT(matched.error().message,
                   ContainsSubstring("Nothing is known of gone.so: ") && ContainsSubstring(why));
    };
    fs::remove(place.library);
    refused("No such file");
    fs::copy_file("tests/sites/libother.so", place.library);
    refused("another file");
    fs::remove(place.library);
    fs::rename(kept, place.library);
    CHECK(op.set_filter("plain_parse:mod:gone").value() == 1);
}

TEST_CASE("unread: without a file descriptor nothing is known, and later everything", "[sites]") {
    workplace place("descriptor");
    place.handle = dlopen(place.library.c_str(), RTLD_NOW);
    REQUIRE(place.handle != nullptr);
    ftrace::ops<callback> op;
    std::vector<loaded_object> objects;
    {
        const no_files_left limit;
        const auto matched = op.set_filter("plain_parse:mod:descriptor");
        objects = ftrace::detail::scan_loaded_objects();
        const std::string name =
            ftrace::symbol_of(reinterpret_cast<std::uintptr_t>(dlsym(place.handle, "plain_parse")))
                .name;
        const std::size_t symbols =
            ftrace::detail::symbols_of(find(objects, "descriptor.so")).entries().size();
        REQUIRE_FALSE(matched);
        CHECK_THAT(matched.error().message, ContainsSubstring("Too many open files"));
        CHECK_THAT(find(objects, "descriptor.so").unread, ContainsSubstring("Too many open files"));
        CHECK(name.starts_with("descriptor.so+0x"));
        CHECK(symbols == 0);
    }
    CHECK(op.set_filter("plain_parse:mod:descriptor").value() == 1);
    ftrace::detail::refresh_loaded_objects(objects);
    CHECK(find(objects, "descriptor.so").unread.empty());
    CHECK_FALSE(find(objects, "descriptor.so").sites.empty());
    CHECK_FALSE(ftrace::detail::symbols_of(find(objects, "descriptor.so")).entries().empty());
}

// Run by the next one, in a process of its own.
TEST_CASE("unread: within a program that was started by its loader", "[.by_loader]") {
    const auto objects = ftrace::detail::scan_loaded_objects();
    CHECK(objects[0].is_executable);
    CHECK(objects[0].unread.empty());
    CHECK(objects[0].name() == std::string_view(std::getenv("BY_LOADER_NAME")));
    CHECK_FALSE(objects[0].sites.empty());
    CHECK(ftrace::symbol_of(reinterpret_cast<std::uintptr_t>(&callback)).name.starts_with("_Z"));
}

TEST_CASE("unread: a program that was started by its loader knows its file", "[sites]") {
    std::string loader;
    ftrace::detail::for_each_image([&](const ftrace::detail::loaded_image& image, auto) {
        const auto name = image.segment(PT_INTERP);
        loader = reinterpret_cast<const char*>(name.data());
        return false;
    });
    REQUIRE(fs::exists(loader));
    const fs::path program = fs::read_symlink("/proc/self/exe");
    const std::string start = "BY_LOADER_NAME='" + program.filename().native() + "' ",
                      run = " '[.by_loader]' > /dev/null";
    CHECK(std::system((start + loader + " '" + program.native() + "'" + run).c_str()) == 0);
    // Under a relative name.
    const std::string enter = "cd '" + program.parent_path().native() + "' && ";
    CHECK(std::system((enter + start + loader + " './" + program.filename().native() + "'" + run)
                          .c_str()) == 0);
}
