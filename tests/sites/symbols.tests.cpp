#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/exported_function.hpp>
#include <ftrace/sites/match.hpp>
#include <ftrace/sites/symbols.hpp>
#include <string>

using ftrace::symbol_of;
using ftrace::detail::elf_file;

namespace {

std::uintptr_t address_of(void* function) { return reinterpret_cast<std::uintptr_t>(function); }

std::uintptr_t symbol(void* handle, const char* name) { return address_of(dlsym(handle, name)); }

}  // namespace

namespace subject {

__attribute__((noinline)) int traced(int x) { return x + 1; }
static __attribute__((noinline)) int local(int x) { return x + 2; }
struct thing {
    thing();
    int value;
};
__attribute__((noinline)) thing::thing() : value(3) {}

}  // namespace subject

extern "C" {
int c_function() { return 1; }
void label_without_size();
}
// A function of an assembler file, as far as its symbol goes.
asm(".pushsection .text.label\n.globl label_without_size\nlabel_without_size: ret\nnop\n"
    ".popsection");

TEST_CASE("symbols: from an address to a function and back", "[sites]") {
    const auto start = reinterpret_cast<std::uintptr_t>(&subject::traced);
    for (const std::uintptr_t address : {start, start + 1}) {
        const ftrace::function_symbol found = symbol_of(address);
        CHECK(found.name == "_ZN7subject6tracedEi");
        CHECK(found.start == start);
        CHECK(found.size > 1);
    }
    CHECK(ftrace::address_of_symbol("_ZN7subject6tracedEi") == start);
    CHECK(symbol_of(reinterpret_cast<std::uintptr_t>(&subject::local)).name ==
          "_ZN7subjectL5localEi");
    CHECK(symbol_of(reinterpret_cast<std::uintptr_t>(&c_function)).name == "c_function");
    CHECK(symbol_of(reinterpret_cast<std::uintptr_t>(&label_without_size)).name ==
          "label_without_size");
    CHECK(subject::local(1) + subject::thing().value == 6);
    CHECK(ftrace::address_of_symbol("no_such_function") == 0);
}

// As a program may have them; the dynamic linker does not see them.
static __attribute__((used)) void* own_dlerror() __asm__("dlerror");
static void* own_dlerror() { return nullptr; }
extern "C" __attribute__((visibility("hidden"), used)) void hidden_from_the_linker() {}

TEST_CASE("symbols: an exported function is what the dynamic linker would find", "[sites]") {
    using ftrace::detail::exported_function;
    const auto found_by_linker = [](const char* name) {
        return address_of(dlsym(RTLD_DEFAULT, name));
    };
    for (const char* name : {"dlopen", "dlsym", "dlerror", "qsort", "pthread_create", "getpid"}) {
        CAPTURE(name);
        CHECK(exported_function(name) != 0);
        CHECK(exported_function(name) == found_by_linker(name));
    }
    CHECK(exported_function("dlerror") != reinterpret_cast<std::uintptr_t>(&own_dlerror));
    CHECK(exported_function("hidden_from_the_linker") == 0);
    CHECK(exported_function("no_such_function") == 0);
    CHECK(exported_function("environ") == 0);  // no function
    CHECK(exported_function("") == 0);
    void* const handle = dlopen("tests/sites/libplain.so", RTLD_NOW);
    REQUIRE(handle != nullptr);
    CHECK(exported_function("plain_parse") == symbol(handle, "plain_parse"));
    CHECK(ftrace::address_of_symbol("hidden_from_the_linker") != 0);
}

TEST_CASE("symbols: of two names for a constructor the complete object's is shown", "[sites]") {
    const std::uintptr_t start = ftrace::address_of_symbol("_ZN7subject5thingC1Ev");
    REQUIRE(start != 0);
    CHECK(symbol_of(start).name == "_ZN7subject5thingC1Ev");
}

TEST_CASE("symbols: an address outside of everything is a number", "[sites]") {
    CHECK(symbol_of(0x10).name == "0x10");
    CHECK(symbol_of(0x10).start == 0x10);
}

TEST_CASE("symbols: a stripped library has its dynamic names, and offsets", "[sites]") {
    void* const handle = dlopen("tests/sites/libstripped.so", RTLD_NOW);
    REQUIRE(handle != nullptr);
    const std::uintptr_t exported = symbol(handle, "_ZNK5plain6parser5parseEi");
    CHECK(symbol_of(exported).name == "_ZNK5plain6parser5parseEi");
    const auto hidden = reinterpret_cast<void* (*)()>(dlsym(handle, "plain_hidden"));
    REQUIRE(hidden != nullptr);
    Dl_info info;
    REQUIRE(dladdr(hidden(), &info) != 0);
    const std::uintptr_t offset = address_of(hidden()) - address_of(info.dli_fbase);
    CHECK(symbol_of(address_of(hidden())).name == "libstripped.so+" + ftrace::detail::hex(offset));
    CHECK(symbol_of(address_of(hidden())).size == 0);
    // plain_alias and plain_parse are one function.
    const std::string name = symbol_of(symbol(handle, "plain_parse")).name;
    CHECK((name == "plain_parse" || name == "plain_alias"));
}

TEST_CASE("symbols: a debug file beside the library names what was stripped", "[sites]") {
    void* const handle = dlopen("tests/sites/liblinked.so", RTLD_NOW);
    REQUIRE(handle != nullptr);
    const auto hidden = reinterpret_cast<void* (*)()>(dlsym(handle, "plain_hidden"));
    REQUIRE(hidden != nullptr);
    CHECK(symbol_of(address_of(hidden())).name == "_ZN5plainL6hiddenEi");
}

TEST_CASE("symbols: debug files are found by build-id, and refused with a wrong checksum",
          "[sites]") {
    namespace fs = std::filesystem;
    const fs::path root = fs::temp_directory_path() / ("sites" + std::to_string(getpid()));
    const elf_file stripped("tests/sites/libstripped.so");
    REQUIRE(stripped.build_id().size() > 2);
    std::string id;
    for (const unsigned char byte : stripped.build_id()) {
        id += "0123456789abcdef"[byte >> 4];
        id += "0123456789abcdef"[byte & 15];
    }
    const fs::path folder = root / ".build-id" / id.substr(0, 2);
    CHECK_FALSE(open_debug_file(stripped, "/a/libstripped.so", root.native()).valid());
    fs::create_directories(folder);
    fs::copy_file("tests/sites/liblinked.debug", folder / (id.substr(2) + ".debug"));
    CHECK(open_debug_file(stripped, "/a/libstripped.so", root.native()).valid());

    const elf_file linked("tests/sites/liblinked.so");
    REQUIRE(linked.link_to_debug_file().name == "liblinked.debug");
    const fs::path beside = root / "beside";
    fs::create_directories(beside / ".debug");
    const std::string path = beside / "liblinked.so";
    const fs::path nowhere = root / "nowhere";
    CHECK_FALSE(open_debug_file(linked, path, nowhere.native()).valid());
    fs::copy_file("tests/sites/liblinked.debug", beside / ".debug" / "liblinked.debug");
    CHECK(open_debug_file(linked, path, nowhere.native()).valid());
    std::ofstream(beside / ".debug" / "liblinked.debug", std::ios::app) << "changed";
    CHECK_FALSE(open_debug_file(linked, path, nowhere.native()).valid());
    fs::remove_all(root);
}

TEST_CASE("symbols: every site of this program has the name of its function", "[sites]") {
    const auto objects = ftrace::detail::scan_loaded_objects();
    const auto& symbols = ftrace::detail::symbols_of(objects[0]);
    std::size_t named = 0;
    ftrace::detail::for_each_site_symbols(
        objects[0], objects[0].sites, symbols,
        [&](std::uintptr_t site, std::span<const ftrace::detail::symbol_entry> aliases) {
            REQUIRE(!aliases.empty());
            const std::uintptr_t start = aliases[0].address + objects[0].bias;
            REQUIRE(ftrace::arch::is_site_of(site, start));
            REQUIRE(symbol_of(site).name == aliases[0].linker_name());
            ++named;
        });
    CHECK(named == objects[0].sites.size());
    CHECK(named > 10);
}

TEST_CASE("symbols: those of a few sites are the same as among all", "[sites]") {
    const auto objects = ftrace::detail::scan_loaded_objects();
    const auto& all = ftrace::detail::symbols_of(objects[0]);
    const auto names_of = [&](const ftrace::detail::symbol_table& table,
                              std::span<const std::uintptr_t> sites) {
        std::vector<std::string> names;
        ftrace::detail::for_each_site_symbols(
            objects[0], sites, table,
            [&](std::uintptr_t, std::span<const ftrace::detail::symbol_entry> aliases) {
                for (const auto& alias : aliases) names.emplace_back(alias.linker_name());
                names.emplace_back();
            });
        return names;
    };
    const auto& sites = objects[0].sites;
    for (std::size_t first = 0; first < sites.size(); first += 97) {
        const auto few =
            std::span(sites).subspan(first, std::min<std::size_t>(7, sites.size() - first));
        std::vector<std::uint64_t> starts;
        for (const auto site : few)
            for (const std::uint64_t distance : {std::uint64_t{4}, std::uint64_t{0}})
                starts.push_back(site - distance - objects[0].bias);
        std::sort(starts.begin(), starts.end());
        const ftrace::detail::symbol_table table(elf_file("/proc/self/exe"), "", starts);
        CHECK(table.entries().size() <= all.entries().size() / 2);
        CHECK(names_of(table, few) == names_of(all, few));
    }
    // Symbols there are, though none of those wanted: the dynamic ones are no substitute.
    const std::uint64_t nowhere = 1;
    CHECK(ftrace::detail::symbol_table(elf_file("/proc/self/exe"), "", {&nowhere, 1})
              .entries()
              .empty());
}

TEST_CASE("symbols: a few are read without reading all, until somebody asks often", "[sites]") {
    void* const handle = dlopen("tests/sites/libother.so", RTLD_NOW);
    REQUIRE(handle != nullptr);
    const auto objects = ftrace::detail::scan_loaded_objects();
    const ftrace::loaded_object* other = nullptr;
    for (const auto& object : objects)
        if (object.name() == "libother.so") other = &object;
    REQUIRE(other != nullptr);
    REQUIRE_FALSE(other->sites.empty());
    const auto known = [&] {
        auto& cache = ftrace::detail::symbols_read();
        return cache.find(other->path, other->build_id, other->header, other->bias) != nullptr;
    };
    const auto ask = [&] {
        std::size_t named = 0;
        ftrace::detail::symbols_of_few(*other, other->sites, [&](const auto& symbols) {
            ftrace::detail::for_each_site_symbols(
                *other, other->sites, symbols,
                [&](std::uintptr_t, std::span<const ftrace::detail::symbol_entry> aliases) {
                    named += !aliases.empty();
                });
        });
        return named;
    };
    CHECK(ask() == other->sites.size());
    CHECK_FALSE(known());
    for (int i = 0; i < 100; ++i) CHECK(ask() == other->sites.size());
    CHECK(known());
    CHECK(ask() == other->sites.size());
}

TEST_CASE("demangle: mangled names only", "[sites]") {
    CHECK(ftrace::demangle("_Z5parsePKci") == "parse(char const*, int)");
    CHECK(ftrace::demangle("main") == "main");
    CHECK(ftrace::demangle("f") == "f");  // as a mangled type it would be float
    CHECK(ftrace::demangle("") == "");
    CHECK(ftrace::demangle("_Z") == "_Z");
    CHECK(ftrace::demangle("_Znonsense") == "_Znonsense");
    // The buffer grows and is used again.
    ftrace::detail::demangler demangle;
    const std::string long_name(500, 'x');
    CHECK(demangle("_Z1fv") == "f()");
    CHECK(demangle("_Z500" + long_name + "v") == long_name + "()");
    CHECK(demangle("_Z1gv") == "g()");
}

TEST_CASE("demangle: builtin types that demanglers do not know", "[sites]") {
    using ftrace::demangle;
    CHECK(demangle("_Z3f11DF16_i") == "f11(_Float16, int)");
    CHECK(demangle("_Z1fDF16bi") == "f(std::bfloat16_t, int)");
    CHECK(demangle("_Z1fDF32_DF64_DF128_DF64x") == "f(_Float32, _Float64, _Float128, _Float64x)");
    CHECK(demangle("_Z1fDB17_DU5_i") == "f(_BitInt(17), unsigned _BitInt(5), int)");
    CHECK(demangle("_Z1fPKDF16_RDF16_") == "f(_Float16 const*, _Float16&)");
    CHECK(demangle("_ZN2ns1fIDF16_EEvT_") == "void ns::f<_Float16>(_Float16)");
    // Substitutions count as before.
    CHECK(demangle("_Z1fDF16_P3FooS0_S_") == "f(_Float16, Foo*, Foo*, Foo)");
    // Names that look like the types, or like what stands in for them.
    CHECK(demangle("_Z6fDF16_i") == "fDF16_(int)");
    CHECK(demangle("_ZN4half10decimal1281fEDF16_DB7_") ==
          "half::decimal128::f(_Float16, _BitInt(7))");
    CHECK(demangle("_Z1fDF16_DfDd") == "f(_Float16, decimal32, decimal64)");
    CHECK(demangle("_Z1fDF16_.isra.0").starts_with("f(_Float16)"));
    // More of them than can be told apart, and what is no name.
    CHECK_FALSE(demangle("_Z1fDF16_DF32_DF64_DF128_DF16bi").empty());
    CHECK_FALSE(demangle("_Z1fDF16").empty());
    CHECK(demangle("_Z1fDh") == "f(half)");
}
