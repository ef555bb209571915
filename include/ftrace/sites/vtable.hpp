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
///     table +  0   offset to top
///           +  8   &typeid of the class
///           + 16   its virtual functions: objects point here
class vtable_search {
public:
    /// `type_name`: typeid(C).name(). `type`: &typeid(C), which tells tables of one name apart:
    /// classes in unnamed namespaces may share it. `offset`: of the entry, in bytes behind the first.
    FTRACE_NOTRACE vtable_search(std::string_view type_name, const void* type, std::size_t offset)
        : symbol_("_ZTV"), type_(type), offset_(offset) {
        symbol_ += type_name;
    }
    FTRACE_NOTRACE ~vtable_search() = default;
    vtable_search(const vtable_search&) = delete;
    vtable_search& operator=(const vtable_search&) = delete;

    /// Where the entry leads; 0 if no object's symbols name the table.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t run() {
        for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
            look_at(image);
            return !certain_;
        });
        return function_;
    }

private:
    FTRACE_NOTRACE void look_at(const loaded_image& image) {
        const image_file found = image.find_file();
        if (!found.file.valid()) return;
        look_at(image, found.file, SHT_DYNSYM);
        if (!certain_ && !look_at(image, found.file, SHT_SYMTAB))
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
        for (std::size_t at = 0; at + sizeof(ElfW(Sym)) <= symbols.size() && !certain_;
             at += sizeof(ElfW(Sym))) {
            ElfW(Sym) symbol;
            std::memcpy(&symbol, symbols.data() + at, sizeof symbol);
            if (ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT && symbol.st_shndx != SHN_UNDEF &&
                string_at(names, symbol.st_name) == symbol_)
                read(image, symbol);
        }
        return true;
    }

    /// Takes the entry if the table is the class's; if no table is known to be, that of the first
    /// name that means the same everywhere.
    FTRACE_NOTRACE void read(const loaded_image& image, const ElfW(Sym) & symbol) {
        const std::size_t entry = functions_at + offset_;
        const std::uintptr_t table = image.bias + symbol.st_value;
        if (entry + sizeof function_ > symbol.st_size || !image.holds(table, symbol.st_size, PF_R))
            return;
        const void* type;
        std::memcpy(&type, reinterpret_cast<const void*>(table + type_at), sizeof type);
        certain_ = type == type_;
        const bool is_local = ELF64_ST_BIND(symbol.st_info) == STB_LOCAL;
        if (certain_ || (function_ == 0 && !is_local))
            std::memcpy(&function_, reinterpret_cast<const void*>(table + entry), sizeof function_);
    }

    static constexpr std::size_t type_at = 8, functions_at = 16;

    std::string symbol_;
    const void* type_;
    std::size_t offset_;
    std::uintptr_t function_ = 0;
    bool certain_ = false;
};

}  // namespace ftrace::inline v0::detail
