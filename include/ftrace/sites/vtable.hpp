// Virtual functions, through the table of their class, which is found by the name the ABI gives it.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/elf_file.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <ftrace/sites/symbol_table.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Looks for one entry of the virtual table of one class (Itanium C++ ABI, 2.5.2):
///
///     table        offsets of virtual bases and calls, where there are such bases
///                  offset to top: 0 in the class's own table, which comes first
///                  &typeid of the class
///                  its virtual functions: objects point here
///
/// What it finds is certain: the table has the very typeid, or nothing is found.
class vtable_search {
public:
    /// `type_name`: typeid(C).name(). `type`: &typeid(C), which tells tables of one name apart:
    /// classes in unnamed namespaces may share it. `offset`: of the entry, in bytes behind the first.
    FTRACE_NOTRACE vtable_search(std::string_view type_name, const void* type, std::size_t offset)
        : symbol_("_ZTV"), type_(reinterpret_cast<std::uintptr_t>(type)), offset_(offset) {
        symbol_ += type_name;
    }
    FTRACE_NOTRACE ~vtable_search() = default;
    vtable_search(const vtable_search&) = delete;
    vtable_search& operator=(const vtable_search&) = delete;

    /// Where the entry leads; 0 if no object's symbols name the class's table.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t run() {
        for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
            look_at(image);
            return function_ == 0;
        });
        return function_;
    }

private:
    FTRACE_NOTRACE void look_at(const loaded_image& image) {
        const image_file found = image.find_file();
        if (!found.file.valid()) return;
        look_at(image, found.file, SHT_DYNSYM);
        if (function_ == 0 && !look_at(image, found.file, SHT_SYMTAB))
            look_at(image, open_debug_file(found.file, found.path, "/usr/lib/debug"), SHT_SYMTAB);
    }

    /// False: the file has no such table of symbols.
    FTRACE_NOTRACE bool look_at(const loaded_image& image, const elf_file& file,
                                std::uint32_t table) {
        const std::size_t index = file.find_type(table);
        if (index == file.section_count()) return false;
        const auto header = file.section(index);
        if (header.sh_link >= file.section_count()) return false;
        const byte_view symbols = file.contents(header);
        const byte_view names = file.contents(file.section(header.sh_link));
        for (std::size_t at = 0; at + sizeof(ElfW(Sym)) <= symbols.size() && function_ == 0;
             at += sizeof(ElfW(Sym))) {
            ElfW(Sym) symbol;
            std::memcpy(&symbol, symbols.data() + at, sizeof symbol);
            if (ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT && symbol.st_shndx != SHN_UNDEF &&
                string_at(names, symbol.st_name) == symbol_)
                read(image, symbol);
        }
        return true;
    }

    /// Takes the entry, if the table is the class's.
    FTRACE_NOTRACE void read(const loaded_image& image, const ElfW(Sym) & symbol) {
        const std::uintptr_t table = image.bias + symbol.st_value;
        const std::size_t words = symbol.st_size / sizeof(std::uintptr_t);
        if (!image.holds(table, symbol.st_size, PF_R)) return;
        const auto word = [table](std::size_t i) FTRACE_NOTRACE {
            std::uintptr_t value;
            std::memcpy(&value, reinterpret_cast<const void*>(table + i * sizeof value),
                        sizeof value);
            return value;
        };
        std::size_t type = 1;
        while (type < words && (word(type) != type_ || word(type - 1) != 0)) ++type;
        const std::size_t entry = type + 1 + offset_ / sizeof(std::uintptr_t);
        if (entry < words) function_ = word(entry);
    }

    std::string symbol_;
    std::uintptr_t type_;
    std::size_t offset_;
    std::uintptr_t function_ = 0;
};

}  // namespace ftrace::inline v0::detail
