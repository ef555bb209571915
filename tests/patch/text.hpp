// What the tests of ops and patching look at: the bytes at sites, and where their calls lead.
#pragma once

#include <cstdint>
#include <cstring>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/arch/veneer.hpp>
#include <ftrace/ops/stubs.hpp>
#include <ftrace/sites/objects.hpp>
#include <vector>

namespace text {

using ftrace::arch::read_site;
using ftrace::arch::site_bytes;

/// The five bytes of a function of this program.
template <class Function>
FTRACE_NOTRACE std::uintptr_t site_of(Function* function) {
    const auto begin = reinterpret_cast<std::uintptr_t>(function);
    const auto* bytes = reinterpret_cast<const unsigned char*>(begin);
    return ftrace::arch::is_landing_pad(bytes, sizeof(ftrace::arch::landing_pad))
               ? begin + sizeof(ftrace::arch::landing_pad)
               : begin;
}

/// Where the call at a site leads; 0 if no call stands there.
FTRACE_NOTRACE inline std::uintptr_t call_target(std::uintptr_t site) {
    const std::int32_t distance = ftrace::arch::call_distance(read_site(site));
    return distance == 0 ? 0
                         : site + ftrace::arch::site_size +
                               static_cast<std::uintptr_t>(std::int64_t{distance});
}

/// Whether an address is a veneer: both of its instructions, which take their operands from one
/// place.
FTRACE_NOTRACE inline bool is_veneer(std::uintptr_t at) {
    using namespace ftrace::arch;
    unsigned char page[veneer_page];
    write_veneer_page(page);
    veneer_code wanted, found;
    std::memcpy(&wanted, page, sizeof wanted);
    std::memcpy(&found, reinterpret_cast<const void*>(at), sizeof found);
    const auto moved =
        static_cast<std::int32_t>(found.push.displacement - wanted.push.displacement);
    wanted.push.displacement = found.push.displacement;
    wanted.jump.displacement += moved;
    return std::memcmp(&wanted, &found, sizeof wanted) == 0;
}

/// What a veneer pushes, and where it jumps.
FTRACE_NOTRACE inline ftrace::arch::veneer_data veneer_at(std::uintptr_t at) {
    ftrace::arch::push_indirect_insn push;
    std::memcpy(&push, reinterpret_cast<const void*>(at), sizeof push);
    ftrace::arch::veneer_data data;
    std::memcpy(
        &data,
        reinterpret_cast<const void*>(at + sizeof push +
                                      static_cast<std::uintptr_t>(std::int64_t{push.displacement})),
        sizeof data);
    return data;
}

/// Whether an address is one of a table's stubs: where a site calls it, or (`behind_context`) where
/// a veneer jumps to.
FTRACE_NOTRACE inline bool is_stub(const ftrace::detail::stub_table& stubs, std::uintptr_t address,
                                   bool behind_context = false) {
    if (behind_context) address -= ftrace::arch::own_context_size;
    for (const auto entry : stubs.entry)
        if (reinterpret_cast<std::uintptr_t>(entry) == address) return true;
    return false;
}

/// Whether the site calls one of these stubs through a veneer.
FTRACE_NOTRACE inline bool calls_through_veneer(std::uintptr_t site,
                                                const ftrace::detail::stub_table& stubs) {
    const std::uintptr_t target = call_target(site);
    return target != 0 && is_veneer(target) &&
           is_stub(stubs, reinterpret_cast<std::uintptr_t>(veneer_at(target).target), true);
}

/// Whether the site calls one of these stubs without anything in between.
FTRACE_NOTRACE inline bool calls_directly(std::uintptr_t site,
                                          const ftrace::detail::stub_table& stubs) {
    return is_stub(stubs, call_target(site));
}

/// The bytes of every site of the process.
FTRACE_NOTRACE inline std::vector<site_bytes> all_sites() {
    std::vector<site_bytes> bytes;
    for (const auto& object : ftrace::detail::scan_loaded_objects())
        for (const auto* sites : {&object.sites, &object.wide_sites})
            for (const std::uintptr_t site : *sites) bytes.push_back(read_site(site));
    return bytes;
}

}  // namespace text
