// Tells a debugger about code that no object file contains: gdb's JIT interface (gdb manual, chapter
// 30).
//
// The debugger keeps a breakpoint in a function of a known name, or looks at a variable of a known
// name when it attaches. There it finds object files in the program's memory, and reads them as any
// other. Each of ours has one function and the rules of its frames:
//
//     header, sections: none, .text (no bytes: an address), .eh_frame, .of_symbols, .strtab
//     symbols:          none, the function
//
// Without a debugger nobody ever looks.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/cpu.hpp>
#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/core/config.hpp>
#include <new>

namespace ftrace::inline v0::detail {

/// One object file in memory: `struct jit_code_entry` of the interface.
struct debugger_entry {
    debugger_entry* next;
    debugger_entry* previous;
    const void* file;
    std::uint64_t size;
};
/// All of them: `struct jit_descriptor`.
struct debugger_entries {
    std::uint32_t version, action;
    debugger_entry* relevant;
    debugger_entry* first;
};

// Under the names that debuggers know. Weak: a program that has them already, as LLVM's JIT does, keeps
// its own, and our entries stand among its entries. (Not `inline`, which gcc makes a unique symbol of.)
// Hidden: each shared object has its own, and a debugger looks into all.
FTRACE_LOCAL __attribute__((weak)) extern debugger_entries known_to_debugger __asm__(
    "__jit_debug_descriptor");
debugger_entries known_to_debugger = {1, 0, nullptr, nullptr};
/// Where a debugger waits for news.
FTRACE_LOCAL FTRACE_NOTRACE __attribute__((weak, noinline)) void call_debugger() noexcept
    __asm__("__jit_debug_register_code");
void call_debugger() noexcept { __asm__ volatile("" : : : "memory"); }

/// The object file of one function. It stays where it is.
class debugger_object {
public:
    FTRACE_NOTRACE debugger_object(const char* name, std::uintptr_t begin, std::size_t size,
                                   const arch::unwind_section& frames) noexcept {
        std::memset(static_cast<void*>(this), 0, sizeof *this);
        std::memcpy(frames_, frames.begin(), frames.size());
        std::memcpy(strings_, section_names, sizeof section_names);
        std::strncpy(strings_ + sizeof section_names, name, name_size - 1);
        write_header();
        const auto in_file = [this](const void* part) FTRACE_NOTRACE {
            return static_cast<std::size_t>(static_cast<const char*>(part) -
                                            reinterpret_cast<const char*>(&header_));
        };
        write_section(of_text, SHT_NOBITS, SHF_ALLOC | SHF_EXECINSTR, 0, size);
        sections_[of_text].sh_addr = begin;
        write_section(of_frames, SHT_PROGBITS, SHF_ALLOC, in_file(frames_), frames.size());
        sections_[of_frames].sh_addr = reinterpret_cast<std::uintptr_t>(frames_);
        write_section(of_symbols, SHT_SYMTAB, 0, in_file(symbols_), sizeof symbols_);
        sections_[of_symbols].sh_link = of_strings;
        sections_[of_symbols].sh_info = 1;  // the first that is not local
        sections_[of_symbols].sh_entsize = sizeof symbols_[0];
        write_section(of_strings, SHT_STRTAB, 0, in_file(strings_), sizeof strings_);
        symbols_[1].st_name = sizeof section_names;
        symbols_[1].st_info = STB_GLOBAL << 4 | STT_FUNC;
        symbols_[1].st_shndx = of_text;
        symbols_[1].st_value = begin;
        symbols_[1].st_size = size;
    }
    FTRACE_NOTRACE ~debugger_object() = default;
    debugger_object(const debugger_object&) = delete;
    debugger_object& operator=(const debugger_object&) = delete;

    FTRACE_NOTRACE void tell() noexcept {
        debugger_entries& all = known_to_debugger;
        entry_ = {all.first, nullptr, &header_, sizeof *this - offsetof(debugger_object, header_)};
        if (all.first != nullptr) all.first->previous = &entry_;
        all.first = all.relevant = &entry_;
        constexpr std::uint32_t registers = 1;
        all.action = registers;
        call_debugger();
        all.action = 0;
        all.relevant = nullptr;
    }

private:
    enum section { of_none, of_text, of_frames, of_symbols, of_strings, section_count };
    static constexpr char section_names[] = "\0.text\0.eh_frame\0.symtab\0.strtab";
    static constexpr std::size_t name_size = 32;

    FTRACE_NOTRACE void write_header() noexcept {
        std::memcpy(header_.e_ident, ELFMAG, SELFMAG);
        header_.e_ident[EI_CLASS] = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
        header_.e_ident[EI_DATA] =
            __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
        header_.e_ident[EI_VERSION] = EV_CURRENT;
        header_.e_type = ET_EXEC;
        header_.e_machine = arch::elf_machine;
        header_.e_version = EV_CURRENT;
        header_.e_shoff = sizeof header_;
        header_.e_ehsize = sizeof header_;
        header_.e_shentsize = sizeof sections_[0];
        header_.e_shnum = section_count;
        header_.e_shstrndx = of_strings;
    }
    FTRACE_NOTRACE void write_section(section which, std::uint32_t type, std::size_t flags,
                                      std::size_t offset, std::size_t size) noexcept {
        ElfW(Shdr)& header = sections_[which];
        const char* name = section_names;
        for (int i = 0; i < which; ++i) name += std::strlen(name) + 1;
        header.sh_name = static_cast<std::uint32_t>(name - section_names);
        header.sh_type = type;
        header.sh_flags = flags;
        header.sh_offset = offset;
        header.sh_size = size;
        header.sh_addralign = 8;
    }

    debugger_entry entry_;
    // The file.
    ElfW(Ehdr) header_;
    ElfW(Shdr) sections_[section_count];
    ElfW(Sym) symbols_[2];
    char strings_[sizeof section_names + name_size];
    alignas(8) std::uint8_t frames_[arch::unwind_section::most_bytes];
};

/// Tells debuggers, those that come later too, of a function at [begin, begin + size), for ever.
/// `name`: at most 31 characters. Without memory for it, they see no farther than there. Under the
/// process's lock. (Nothing guards the list of a JIT that shares it, should it compile in another
/// thread at that moment.)
FTRACE_NOTRACE inline void tell_debugger(const char* name, std::uintptr_t begin, std::size_t size,
                                         const arch::unwind_section& frames) noexcept {
    auto* const object = new (std::nothrow) debugger_object(name, begin, size, frames);
    if (object != nullptr) object->tell();
}

}  // namespace ftrace::inline v0::detail
