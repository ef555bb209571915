// A function by its name, as the dynamic linker would find it: among what objects export, in
// memory, without reading a file.
#pragma once

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/sites/elf_file.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// The dynamic symbols of one image (gABI, chapter 5; the GNU hash table is that of binutils).
class dynamic_symbols {
public:
    dynamic_symbols(const dynamic_symbols&) = delete;
    dynamic_symbols& operator=(const dynamic_symbols&) = delete;
    FTRACE_NOTRACE ~dynamic_symbols() = default;
    FTRACE_NOTRACE explicit dynamic_symbols(const loaded_image& image) noexcept : image_(image) {
        const byte_view section = image.segment(PT_DYNAMIC);
        for (std::size_t at = 0; at + sizeof(ElfW(Dyn)) <= section.size();
             at += sizeof(ElfW(Dyn))) {
            ElfW(Dyn) entry;
            std::memcpy(&entry, section.data() + at, sizeof entry);
            switch (entry.d_tag) {
            case DT_NULL: return;
            case DT_SYMTAB: symbols_ = address(entry.d_un.d_ptr); break;
            case DT_STRTAB: names_ = address(entry.d_un.d_ptr); break;
            case DT_STRSZ: names_size_ = entry.d_un.d_val; break;
            case DT_GNU_HASH: gnu_hash_ = address(entry.d_un.d_ptr); break;
            case DT_HASH: hash_ = address(entry.d_un.d_ptr); break;
            case DT_VERSYM: versions_ = address(entry.d_un.d_ptr); break;
            default: break;
            }
        }
    }

    /// The address of a function that the image exports, in its default version; 0 if there
    /// is none.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t find(std::string_view name) const noexcept {
        if (symbols_ == 0 || names_ == 0) return 0;
        return gnu_hash_ != 0 ? find_by_gnu_hash(name) : hash_ != 0 ? find_by_walk(name) : 0;
    }

private:
    /// What a d_ptr points to: the loader has added the bias to it, or not.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t address(std::uintptr_t pointer) const noexcept {
        if (image_.holds(pointer, 1, PF_R)) return pointer;
        return image_.holds(pointer + image_.bias, 1, PF_R) ? pointer + image_.bias : 0;
    }
    template <typename T>
    [[nodiscard]] FTRACE_NOTRACE T read(std::uintptr_t at, std::size_t index) const noexcept {
        T value{};
        if (image_.holds(at + index * sizeof value, sizeof value, PF_R))
            std::memcpy(&value, reinterpret_cast<const void*>(at + index * sizeof value),
                        sizeof value);
        return value;
    }

    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t find_by_gnu_hash(
        std::string_view name) const noexcept {
        std::uint32_t hash = 5381;
        for (const char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
        const auto buckets = read<std::uint32_t>(gnu_hash_, 0);
        const auto first = read<std::uint32_t>(gnu_hash_, 1);
        const auto bloom_words = read<std::uint32_t>(gnu_hash_, 2);
        if (buckets == 0) return 0;
        const std::uintptr_t bucket =
            gnu_hash_ + 4 * sizeof(std::uint32_t) + bloom_words * sizeof(std::uintptr_t);
        const std::uintptr_t chain = bucket + buckets * sizeof(std::uint32_t);
        std::uint32_t i = read<std::uint32_t>(bucket, hash % buckets);
        if (i < first) return 0;
        for (;; ++i) {
            // An odd hash ends the chain; so does what cannot be read.
            const auto known = read<std::uint32_t>(chain, i - first);
            if ((known | 1) == (hash | 1))
                if (const std::uintptr_t found = function(i, name)) return found;
            if ((known & 1) != 0 || known == 0) return 0;
        }
    }
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t find_by_walk(std::string_view name) const noexcept {
        const auto count = read<std::uint32_t>(hash_, 1);
        for (std::uint32_t i = 0; i < count; ++i)
            if (const std::uintptr_t found = function(i, name)) return found;
        return 0;
    }

    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t function(std::uint32_t index,
                                                         std::string_view name) const noexcept {
        const auto symbol = read<ElfW(Sym)>(symbols_, index);
        const unsigned binding = ELF64_ST_BIND(symbol.st_info);
        constexpr std::uint16_t hidden = 0x8000;  // an older version
        if (symbol.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol.st_info) != STT_FUNC ||
            (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE) ||
            (versions_ != 0 && (read<std::uint16_t>(versions_, index) & hidden) != 0) ||
            !image_.holds(names_, names_size_, PF_R))
            return 0;
        const byte_view names(reinterpret_cast<const unsigned char*>(names_), names_size_);
        return string_at(names, symbol.st_name) == name ? image_.bias + symbol.st_value : 0;
    }

    const loaded_image& image_;
    std::uintptr_t symbols_ = 0;
    std::uintptr_t names_ = 0;
    std::size_t names_size_ = 0;
    std::uintptr_t gnu_hash_ = 0;
    std::uintptr_t hash_ = 0;
    std::uintptr_t versions_ = 0;
};

/// The function that `name` means to the dynamic linker: that of the first object that exports one.
/// 0 if none does, as in a static program.
[[nodiscard]] FTRACE_NOTRACE inline std::uintptr_t exported_function(std::string_view name) {
    std::uintptr_t address = 0;
    for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
        if (!image.is_vdso()) address = dynamic_symbols(image).find(name);
        return address == 0;
    });
    return address;
}

/// Functions of the dynamic linker, nullptr where the process has none: static programs, and those
/// linked without libdl, where that is a library of its own.
struct linker_functions {
    constexpr FTRACE_NOTRACE linker_functions() noexcept = default;

    decltype(::dlopen)* open = nullptr;
    decltype(::dlsym)* find = nullptr;
    int (*inform)(void*, int, void*) = nullptr;  ///< dlinfo, which has attributes of its own
    decltype(::dlerror)* last_error = nullptr;

    /// The program's next dlerror() is its own.
    FTRACE_NOTRACE void forget_error() const noexcept {
        if (last_error != nullptr) last_error();
    }
};

FTRACE_LOCAL inline constinit linker_functions found_linker_functions;
FTRACE_LOCAL inline constinit bool looked_for_linker_functions = false;

/// Looked up, once, and not named, since naming dlopen makes the linker warn about every static
/// program. Calls of them are made outside of sections and of the process's lock: the dynamic
/// linker has a lock of its own, which it holds while it runs constructors.
FTRACE_NOTRACE inline const linker_functions& dynamic_linker() {
    if (__atomic_load_n(&looked_for_linker_functions, __ATOMIC_ACQUIRE))
        return found_linker_functions;
    const internal_section untraced;
    // Two threads that do this at the same time find the same.
    const auto look_up = []<class Function>(Function*& function, const char* name) FTRACE_NOTRACE {
        __atomic_store_n(&function, reinterpret_cast<Function*>(exported_function(name)),
                         __ATOMIC_RELAXED);
    };
    look_up(found_linker_functions.open, "dlopen");
    look_up(found_linker_functions.find, "dlsym");
    look_up(found_linker_functions.inform, "dlinfo");
    look_up(found_linker_functions.last_error, "dlerror");
    __atomic_store_n(&looked_for_linker_functions, true, __ATOMIC_RELEASE);
    return found_linker_functions;
}

}  // namespace ftrace::inline v0::detail
