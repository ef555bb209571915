// Address space that unwinders know the rules of: found without being registered, and harmless to whoever looks at the
// objects of the process.
#include <ftrace/patch/unwound_space.hpp>

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ftrace/sites/available.hpp>
#include <ftrace/sites/symbols.hpp>
#include <string>
#include <vector>

#include "child.hpp"
#include "sanitizers.hpp"

// What unwinders ask glibc, and what libgcc asks itself first.
extern "C" const void* _Unwind_Find_FDE(void* pc, void* bases);

using namespace ftrace;
using detail::make_unwound_space;
using detail::unwound_space;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

unwound_space make(std::size_t largest, std::size_t smallest) {
    static auto& kept = *new std::vector<arch::return_unwind_section*>;  // they stay, as the space
    kept.push_back(new arch::return_unwind_section);
    auto* const section = kept.back();
    return make_unwound_space(*section, largest, smallest).value_or(unwound_space{});
}

/// The FDE that libgcc finds for an address; nullptr: none.
const void* fde_of(std::uintptr_t address) {
    void* bases[3] = {};
    return _Unwind_Find_FDE(reinterpret_cast<void*>(address), bases);
}

struct lookup {
    std::uintptr_t address;
    std::string name;
};
/// The object that the loader lists for an address.
lookup object_of(std::uintptr_t address) {
    lookup found{address, {}};
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* data) {
            auto& self = *static_cast<lookup*>(data);
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& segment = info->dlpi_phdr[i];
                if (segment.p_type == PT_LOAD &&
                    self.address - (info->dlpi_addr + segment.p_vaddr) < segment.p_memsz)
                    self.name = info->dlpi_name;
            }
            return 0;
        },
        &found);
    return found;
}

}  // namespace

TEST_CASE("unwound space: unwinders find its rules at both ends, and not beyond", "[patch]") {
    const unwound_space space = make(64 * mib, 64 * mib);
    REQUIRE(space.size == 64 * mib);
    CHECK(space.begin % detail::page_size == 0);
    const void* const fde = fde_of(space.begin);
    CHECK(fde != nullptr);
    CHECK(fde_of(space.begin + space.size / 2) == fde);
    CHECK(fde_of(space.begin + space.size - 1) == fde);
    CHECK(fde_of(space.begin - 1) == nullptr);
    CHECK(fde_of(space.begin + space.size) == nullptr);
    // It is in the loaded object and not in the section, which nobody was told of.
    CHECK(reinterpret_cast<std::uintptr_t>(fde) - (space.begin + space.size) < detail::page_size);
}

TEST_CASE("unwound space: as much as a process may want", "[patch]") {
    if (built_with::address_sanitizer || built_with::thread_sanitizer) {
        WARN("not tested: sanitizers take that address space for themselves");
        return;
    }
    const std::size_t wanted = std::size_t{256} << 30;
    const unwound_space space = make(wanted, wanted);
    REQUIRE(space.size == wanted);
    CHECK(fde_of(space.begin + space.size - 1) != nullptr);
    // The caller maps over it what it needs.
    void* const at = reinterpret_cast<void*>(space.begin + (wanted >> 1));
    void* const mapped = ::mmap(at, detail::page_size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(mapped == at);
    *static_cast<volatile int*>(at) = 1;
}

TEST_CASE("unwound space: two of them are two, though the descriptor has one number", "[patch]") {
    const unwound_space first = make(mib, mib), second = make(mib, mib);
    REQUIRE((first.size == mib && second.size == mib));
    CHECK(first.begin != second.begin);
    CHECK(fde_of(first.begin) != fde_of(second.begin));
}

TEST_CASE("unwound space: is listed by a name that no file has", "[patch]") {
    const unwound_space space = make(mib, mib);
    REQUIRE(space.size == mib);
    CHECK(object_of(space.begin).name == "[ftrace++]");
    void* address = reinterpret_cast<void*>(space.begin + 5);
    char** const lines = ::backtrace_symbols(&address, 1);
    REQUIRE(lines != nullptr);
    CHECK(std::string(lines[0]).starts_with("[ftrace++](ftrace_return_trampoline+0x5)"));
    std::free(lines);
    // A program's own library in a memfd is no other's, whatever descriptor it got.
    for (int number = 3; number < 32; ++number)
        CHECK(::dlopen(("/proc/self/fd/" + std::to_string(number)).c_str(),
                       RTLD_NOW | RTLD_NOLOAD) == nullptr);
}

TEST_CASE("unwound space: leaves no error of the dynamic linker's, and errno alone", "[patch]") {
    ::dlerror();
    errno = 17;
    REQUIRE(make(mib, mib).size == mib);
    CHECK(errno == 17);
    CHECK(::dlerror() == nullptr);
    REQUIRE(make(std::size_t{1} << 62, mib).size >= mib);  // halved often
    CHECK(::dlerror() == nullptr);
}

TEST_CASE("unwound space: is no object that cannot be read, and hides none", "[patch]") {
    const auto before = available_filter_functions().size();
    const unwound_space space = make(mib, mib);
    REQUIRE(space.size == mib);
    const auto objects = detail::scan_loaded_objects();
    bool listed = false;
    for (const loaded_object& object : objects) {
        if (object.path == "[ftrace++]") {
            listed = true;
            CHECK(object.text.empty());
            CHECK(object.sites.empty());
        }
        CHECK(object.unread.empty());
    }
    CHECK(listed);
    CHECK(available_filter_functions().size() == before);
    CHECK(symbol_of(space.begin).name == detail::hex(space.begin));
    CHECK(address_of_symbol("no_such_function") == 0);
    CHECK(detail::exported_function("dlopen") != 0);
    CHECK(detail::exported_function("no_such_function") == 0);
}

TEST_CASE("unwound space: where nothing can be loaded the unwinders are told", "[patch]") {
    const auto seen = child::run([](int) -> std::string {
        if (!child::forbid({SYS_memfd_create})) return "no seccomp";
        const unwound_space space = make(mib, mib);
        if (space.size != mib) return "no space";
        if (!object_of(space.begin).name.empty()) return "loaded";
        if (fde_of(space.begin) == nullptr || fde_of(space.begin + mib - 1) == nullptr)
            return "no rules";
        return fde_of(space.begin + mib) == nullptr ? "told" : "too many rules";
    });
    CHECK(seen.text == "told");
}

TEST_CASE("unwound space: less where the process may not have as much, or an error", "[patch]") {
    if (built_with::address_sanitizer || built_with::thread_sanitizer) {
        WARN("not tested: sanitizers need their address space");
        return;
    }
    const auto with_limit = [](std::size_t more, std::size_t smallest) {
        return child::run([=](int) -> std::string {
            std::size_t pages = 0;
            FILE* const file = std::fopen("/proc/self/statm", "r");
            if (file == nullptr || std::fscanf(file, "%zu", &pages) != 1) return "no statm";
            std::fclose(file);
            const rlimit limit{pages * detail::page_size + more, RLIM_INFINITY};
            if (::setrlimit(RLIMIT_AS, &limit) != 0) return "no limit";
            auto* const section = new arch::return_unwind_section;
            auto made = make_unwound_space(*section, 1024 * mib, smallest);
            if (!made) return made.error().message;
            return std::to_string(made->size / mib) + (fde_of(made->begin) != nullptr ? "" : "?");
        });
    };
    CHECK(with_limit(300 * mib, mib).text == "256");
    CHECK(with_limit(100 * mib, 256 * mib).text.starts_with("no address space for return"));
}
