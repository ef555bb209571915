// layouts.sh links it with layout_subject.cpp: are the sites found exactly where they have to be?
//
//     layout_check sites|short|unknown|none [library]
//
// sites: each function of the subject has one, behind its endbr64, if any, and nothing in front of
// it. short: each is listed as too short. unknown: each is listed as one whose begin is not known.
// none: nothing is found, and nothing fails. With `library` the subject is that file.

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <ftrace/sites/objects.hpp>
#include <span>
#include <string>

#ifndef LAYOUT_LIBRARY
extern "C" int subject_table_size();
extern "C" void* subject_table(int i);
extern "C" int subject_use();
#endif

namespace {

int failures = 0;

void fail(const char* what, std::uintptr_t address) {
    std::printf("%s: %#lx\n", what, static_cast<unsigned long>(address));
    ++failures;
}

bool has(std::span<const std::uintptr_t> list, std::uintptr_t address) {
    for (const std::uintptr_t each : list)
        if (each == address) return true;
    return false;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) return 2;
    const std::string expected = arguments[1];
#ifdef LAYOUT_LIBRARY
    void* const library = count == 3 ? dlopen(arguments[2], RTLD_NOW) : nullptr;
    if (library == nullptr) return std::puts("no library"), 2;
    const auto subject_table_size =
        reinterpret_cast<int (*)()>(dlsym(library, "subject_table_size"));
    const auto subject_table = reinterpret_cast<void* (*)(int)>(dlsym(library, "subject_table"));
    const auto subject_use = reinterpret_cast<int (*)()>(subject_table(subject_table_size() - 1));
#endif
    if (subject_use() != 1) return 2;
    const auto objects = ftrace::detail::scan_loaded_objects();
    for (int i = 0; i < subject_table_size(); ++i) {
        const auto start = reinterpret_cast<std::uintptr_t>(subject_table(i));
        const ftrace::loaded_object* home = nullptr;
        for (const auto& object : objects)
            if (object.contains(start)) home = &object;
        if (home == nullptr) {
            fail("in no object", start);
            continue;
        }
        const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
        const bool landing_pad =
            std::memcmp(reinterpret_cast<const void*>(start), endbr64, sizeof endbr64) == 0;
        const std::uintptr_t site = landing_pad ? start + sizeof endbr64 : start;
        const bool found = has(home->sites, site) || has(home->wide_sites, site);
        if (found != (expected == "sites")) fail(found ? "a site" : "no site", site);
        if (has(home->too_short, site) != (expected == "short")) fail("too short or not", site);
        bool listed_as_unknown = false;
        for (std::uintptr_t entry = start - 16; entry <= start; ++entry)
            listed_as_unknown = listed_as_unknown || has(home->unknown_starts, entry);
        if (listed_as_unknown != (expected == "unknown")) fail("begin unknown or not", site);
        for (std::uintptr_t near = start - 16; near < start + 16; ++near)
            if (near != site && (has(home->sites, near) || has(home->wide_sites, near)) &&
                near + 5 > start && near < start + 5)
                fail("a site beside the true one", near);
        for (const std::uintptr_t each : home->sites)
            if (ftrace::arch::classify_nops(reinterpret_cast<const unsigned char*>(each), 32) !=
                ftrace::arch::entry_kind::site)
                fail("no five bytes of nop", each);
    }
    return failures == 0 ? 0 : 1;
}
