#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <filesystem>
#include <ftrace/sites/objects.hpp>
#include <string>

using ftrace::loaded_object;
using ftrace::detail::load_count;

namespace {

const char* const library = "tests/sites/libplain.so";

std::uintptr_t address_of(void* handle, const char* name) {
    return reinterpret_cast<std::uintptr_t>(dlsym(handle, name));
}

const loaded_object* find(const std::vector<loaded_object>& objects, std::string_view name) {
    for (const auto& object : objects)
        if (object.name() == name) return &object;
    return nullptr;
}

bool has_site(const loaded_object& object, std::uintptr_t function) {
    for (const std::uintptr_t site : object.sites)
        if (ftrace::arch::is_site_of(site, function)) return true;
    return false;
}

// Not told to ThreadSanitizer, which takes text to be read only.
FTRACE_NO_INSTRUMENTATION void write_first_byte(unsigned char* text, unsigned char byte) {
    *text = byte;
}

// A copy of its own, loaded.
struct copied_library {
    explicit copied_library(const char* name)
        : path(std::filesystem::temp_directory_path() / (std::to_string(getpid()) + name)) {
        std::filesystem::copy_file(library, path,
                                   std::filesystem::copy_options::overwrite_existing);
        handle = dlopen(path.c_str(), RTLD_NOW);
    }
    ~copied_library() {
        if (handle != nullptr) dlclose(handle);
        std::filesystem::remove(path);
    }
    std::filesystem::path path;
    void* handle = nullptr;
};

}  // namespace

namespace subject {
__attribute__((noinline)) int traced(int x) { return x + 1; }
FTRACE_NOTRACE __attribute__((noinline)) int untraced(int x) { return x + 2; }
FTRACE_TRACEABLE int marked(int x) { return x + 3; }
__attribute__((noinline, patchable_function_entry(7, 2))) int nops_in_front(int x) { return x + 4; }
extern "C" int all_nops_in_front(int x);
// Its own first instruction is a jump, as of any function that ends in its only call.
asm(".pushsection .text.all_nops_in_front, \"ax\", @progbits\n"
    "1: .fill 5, 1, 0x90\n"
    ".globl all_nops_in_front\n.type all_nops_in_front, @function\n"
    "all_nops_in_front: .cfi_startproc\n"
    ".byte 0xe9, 0, 0, 0, 0\n"  // jmp to the next instruction
    "lea 5(%rdi), %eax\n"
    "ret\n"
    ".cfi_endproc\n.size all_nops_in_front, . - all_nops_in_front\n"
    ".popsection\n"
    ".pushsection __patchable_function_entries, \"aw\", @progbits\n"
    ".balign 8\n.quad 1b\n.popsection");
}  // namespace subject

TEST_CASE("objects: the executable comes first, with its functions", "[sites]") {
    const auto objects = ftrace::detail::scan_loaded_objects();
    REQUIRE(objects.size() > 1);
    const loaded_object& program = objects[0];
    CHECK(program.is_executable);
    CHECK(program.path == std::filesystem::read_symlink("/proc/self/exe"));
    CHECK(subject::traced(1) + subject::untraced(1) + subject::marked(1) == 9);
    const auto address = [](int (*function)(int)) {
        return reinterpret_cast<std::uintptr_t>(function);
    };
    CHECK(program.contains(address(&subject::traced)));
    CHECK(has_site(program, address(&subject::traced)));
    CHECK(has_site(program, address(&subject::marked)));
    CHECK_FALSE(has_site(program, address(&subject::untraced)));
    for (std::size_t i = 1; i < program.sites.size(); ++i)
        REQUIRE(program.sites[i - 1] < program.sites[i]);
    for (std::size_t i = 1; i < objects.size(); ++i) {
        CHECK_FALSE(objects[i].is_executable);
        CHECK_FALSE(objects[i].path.empty());  // the vdso is not among them
    }
}

TEST_CASE("objects: a site that was patched meanwhile is found again, with nops in front too",
          "[sites]") {
    CHECK(subject::nops_in_front(1) + subject::all_nops_in_front(1) == 11);
    const auto function = reinterpret_cast<std::uintptr_t>(&subject::nops_in_front);
    const auto jumps = reinterpret_cast<std::uintptr_t>(&subject::all_nops_in_front);
    const auto before = ftrace::detail::scan_loaded_objects();
    CHECK(has_site(before[0], function));

    const auto site = function + (ftrace::arch::is_landing_pad(
                                      reinterpret_cast<const unsigned char*>(function), 4)
                                      ? ftrace::arch::farthest_site
                                      : 0);
    auto* const bytes = reinterpret_cast<unsigned char*>(site);
    auto* const page = reinterpret_cast<void*>(site & ~std::uintptr_t{4095});
    REQUIRE(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
    const unsigned char kept = bytes[0];
    for (const int first : {0xe8, 0xe9, 0xcc}) {
        write_first_byte(bytes, static_cast<unsigned char>(first));
        const auto patched = ftrace::detail::scan_loaded_objects();
        CHECK(has_site(patched[0], function));
        CHECK(patched[0].sites == before[0].sites);
        CHECK(patched[0].too_short == before[0].too_short);
    }
    write_first_byte(bytes, kept);
    REQUIRE(mprotect(page, 8192, PROT_READ | PROT_EXEC) == 0);

    // A jump of the function's own is no patch.
    CHECK_FALSE(has_site(before[0], jumps));
    bool listed = false;
    for (const std::uintptr_t each : before[0].too_short) listed = listed || each == jumps;
    CHECK(listed);
}

TEST_CASE("objects: a library that does not know of the tracer comes and goes", "[sites]") {
    load_count count;
    CHECK(ftrace::detail::objects_changed(count));
    CHECK_FALSE(ftrace::detail::objects_changed(count));
    auto objects = ftrace::detail::scan_loaded_objects();
    const std::size_t before = objects.size();
    const auto sites = objects[0].sites;

    void* const handle = dlopen(library, RTLD_NOW);
    REQUIRE(handle != nullptr);
    CHECK(ftrace::detail::objects_changed(count));
    ftrace::detail::refresh_loaded_objects(objects);
    CHECK(objects.size() == before + 1);
    CHECK(objects[0].sites == sites);
    const loaded_object* const found = find(objects, "libplain.so");
    REQUIRE(found != nullptr);
    CHECK(has_site(*found, address_of(handle, "plain_parse")));
    CHECK(has_site(*found, address_of(handle, "_ZNK5plain6parser5parseEi")));
    CHECK_FALSE(has_site(*found, address_of(handle, "plain_no_site")));
    CHECK_FALSE(found->build_id.empty());

    dlclose(handle);
    CHECK(ftrace::detail::objects_changed(count));
    std::vector<loaded_object> gone;
    ftrace::detail::refresh_loaded_objects(objects, &gone);
    CHECK(objects.size() == before);
    REQUIRE(gone.size() == 1);
    CHECK(gone[0].name() == "libplain.so");
    CHECK_FALSE(gone[0].sites.empty());
}

TEST_CASE("objects: known objects are not read again", "[sites]") {
    auto objects = ftrace::detail::scan_loaded_objects();
    const std::size_t count = objects[0].sites.size();
    objects[0].sites.pop_back();  // a mark that a scan would not leave
    ftrace::detail::refresh_loaded_objects(objects);
    CHECK(objects[0].sites.size() == count - 1);
}

TEST_CASE("objects: a file that is gone or replaced leaves an object without sites", "[sites]") {
    SECTION("gone") {
        const copied_library copy("gone.so");
        REQUIRE(copy.handle != nullptr);
        const std::string name = copy.path.filename();
        CHECK_FALSE(find(ftrace::detail::scan_loaded_objects(), name)->sites.empty());
        std::filesystem::remove(copy.path);
        const auto objects = ftrace::detail::scan_loaded_objects();
        REQUIRE(find(objects, name) != nullptr);
        CHECK(find(objects, name)->sites.empty());
        CHECK_FALSE(find(objects, name)->unread.empty());
    }
    SECTION("replaced by another library") {
        const copied_library copy("replaced.so");
        REQUIRE(copy.handle != nullptr);
        std::filesystem::remove(copy.path);
        std::filesystem::copy_file("tests/sites/libother.so", copy.path);
        const auto objects = ftrace::detail::scan_loaded_objects();
        REQUIRE(find(objects, copy.path.filename().native()) != nullptr);
        CHECK(find(objects, copy.path.filename().native())->sites.empty());
    }
}
