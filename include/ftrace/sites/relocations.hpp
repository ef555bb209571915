// Whether the loader has relocated an object: while one thread is in dlopen(), others see objects that are mapped, and
// listed, but do not say yet where their functions are.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <span>

namespace ftrace::inline v0::detail {

/// The relocations by which words get the image's bias (DT_RELA; gABI, "Dynamic Section").
[[nodiscard]] FTRACE_NOTRACE inline std::span<const ElfW(Rela)> relocations_of(
    const loaded_image& image) noexcept {
    const byte_view section = image.segment(PT_DYNAMIC);
    std::uintptr_t table = 0;
    std::size_t size = 0;
    for (std::size_t at = 0; at + sizeof(ElfW(Dyn)) <= section.size(); at += sizeof(ElfW(Dyn))) {
        ElfW(Dyn) entry;
        std::memcpy(&entry, section.data() + at, sizeof entry);
        if (entry.d_tag == DT_RELA) table = entry.d_un.d_ptr;
        if (entry.d_tag == DT_RELASZ) size = entry.d_un.d_val;
    }
    // glibc makes an address of it, others leave it an offset.
    if (!image.holds(table, size, PF_R)) table += image.bias;
    if (size == 0 || !image.holds(table, size, PF_R)) return {};
    return {reinterpret_cast<const ElfW(Rela)*>(table), size / sizeof(ElfW(Rela))};
}

/// Whether words at `begin`, which are addresses of functions, still wait for the loader. Linkers
/// write there what is to be added to the bias, or leave 0; they leave 0, too, of a discarded function.
[[nodiscard]] FTRACE_NOTRACE inline bool await_relocation(
    const loaded_image& image, std::uintptr_t begin,
    std::span<const std::uintptr_t> words) noexcept {
    if (image.bias == 0) return false;
    bool zeros = false;
    for (const std::uintptr_t word : words) {
        zeros |= word == 0;
        if (word != 0 && !image.holds(word, 1, PF_X) && image.holds(word + image.bias, 1, PF_X))
            return true;
    }
    if (!zeros) return false;
    for (const ElfW(Rela) & relocation : relocations_of(image)) {
        const std::uintptr_t offset = image.bias + relocation.r_offset - begin;
        if (ELF64_R_TYPE(relocation.r_info) == arch::relative_relocation &&
            offset / sizeof(std::uintptr_t) < words.size() &&
            words[offset / sizeof(std::uintptr_t)] == 0)
            return true;
    }
    return false;
}

}  // namespace ftrace::inline v0::detail
