// Address space whose rules every unwinder finds where it looks for those of any object: at the
// dynamic linker.
//
// An object file is written into a memfd, and loaded. It has no code and asks for nothing but
// address space:
//
//     image + 0             the file's only page                      read
//     image + page          the space, nothing behind it              no access
//     image + page + size   the same page: dynamic section, symbol,   read and write
//                           .eh_frame_hdr without a table, .eh_frame
//
// The loader tells where that came to lie, and the rules are copied in.
//
// It is found without a lock (glibc 2.35, _dl_find_object), or under the dynamic linker's, as all
// else. Unwinders that are told of code take a lock of their own: see unwinders.hpp.
#pragma once

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/cpu.hpp>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/unwinders.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// Address space that every unwinder of the process finds the rules of, loaded later or not.
struct unwound_space {
    std::uintptr_t begin;
    std::size_t size;  ///< 0: none
};

/// The file (gABI, chapters 4 and 5; .eh_frame_hdr as in the LSB, core 5, 10.6.2).
struct space_image {
    static constexpr char name[] = "[ftrace++]";
    static constexpr char symbol[] = "ftrace_return_trampoline";
    static constexpr std::size_t frames_begin = 1024;

    ElfW(Ehdr) header;
    ElfW(Phdr) segments[6];
    ElfW(Dyn) dynamic[7];
    ElfW(Sym) symbols[2];  ///< the first is none; the other covers the space
    std::uint32_t hash[5];
    char no_string;
    char symbol_string[sizeof symbol];
    char name_string[sizeof name];
    alignas(4) std::uint8_t frame_header[8];
    const char* loaded_as;  ///< what the loader called it; kept for whoever looks for leaks
    alignas(frames_begin) std::uint8_t frames[page_size - frames_begin];  ///< .eh_frame

    FTRACE_NOTRACE explicit space_image(std::size_t size) noexcept {
        std::memset(static_cast<void*>(this), 0, sizeof *this);
        write_segments(size);
        write_dynamic(size);
        const std::uint8_t encodings[4] = {1, 0x1b, 0xff, 0xff};  // version; no count, no table
        std::memcpy(frame_header, encodings, sizeof encodings);
        const auto distance = static_cast<std::int32_t>(offsetof(space_image, frames) -
                                                        offsetof(space_image, frame_header) - 4);
        std::memcpy(frame_header + 4, &distance, sizeof distance);
    }
    FTRACE_NOTRACE ~space_image() = default;
    space_image(const space_image&) = delete;
    space_image& operator=(const space_image&) = delete;

private:
    FTRACE_NOTRACE void write_segments(std::size_t size) noexcept {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
        header.e_ident[EI_DATA] =
            __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_DYN;
        header.e_machine = arch::elf_machine;
        header.e_version = EV_CURRENT;
        header.e_phoff = offsetof(space_image, segments);
        header.e_ehsize = sizeof header;
        header.e_phentsize = sizeof segments[0];
        header.e_phnum = sizeof segments / sizeof segments[0];
        const std::size_t again = page_size + size;
        describe(segments[0], PT_LOAD, PF_R, 0, 0, page_size, page_size);
        describe(segments[1], PT_LOAD, 0, 0, page_size, 0, size);
        describe(segments[2], PT_LOAD, PF_R | PF_W, 0, again, page_size, page_size);
        describe(segments[3], PT_DYNAMIC, PF_R | PF_W, offsetof(space_image, dynamic),
                 again + offsetof(space_image, dynamic), sizeof dynamic, alignof(ElfW(Dyn)));
        describe(segments[4], PT_GNU_EH_FRAME, PF_R, offsetof(space_image, frame_header),
                 again + offsetof(space_image, frame_header), sizeof frame_header, 4);
        // Without it the linker would make the program's stack executable.
        describe(segments[5], PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 16);
    }
    FTRACE_NOTRACE static void describe(ElfW(Phdr) & segment, std::uint32_t type,
                                        std::uint32_t flags, std::size_t offset,
                                        std::size_t address, std::size_t file_size,
                                        std::size_t size_or_alignment) noexcept {
        segment.p_type = type;
        segment.p_flags = flags;
        segment.p_offset = offset;
        segment.p_vaddr = segment.p_paddr = address;
        segment.p_filesz = file_size;
        segment.p_memsz = type == PT_LOAD ? size_or_alignment : file_size;
        segment.p_align = type == PT_LOAD ? page_size : size_or_alignment;
    }

    FTRACE_NOTRACE void write_dynamic(std::size_t size) noexcept {
        const std::size_t base = page_size + size;
        constexpr std::size_t strings = offsetof(space_image, no_string);
        const ElfW(Dyn) entries[] = {
            {DT_SONAME, {offsetof(space_image, name_string) - strings}},
            {DT_HASH, {base + offsetof(space_image, hash)}},
            {DT_SYMTAB, {base + offsetof(space_image, symbols)}},
            {DT_SYMENT, {sizeof symbols[0]}},
            {DT_STRTAB, {base + strings}},
            {DT_STRSZ, {offsetof(space_image, name_string) + sizeof name_string - strings}},
            {DT_NULL, {0}},
        };
        static_assert(sizeof entries == sizeof dynamic);
        std::memcpy(dynamic, entries, sizeof dynamic);
        std::memcpy(symbol_string, symbol, sizeof symbol);
        std::memcpy(name_string, name, sizeof name);
        symbols[1].st_name = offsetof(space_image, symbol_string) - strings;
        symbols[1].st_info = (STB_GLOBAL << 4) | STT_FUNC;
        symbols[1].st_shndx = 1;  // not undefined
        symbols[1].st_value = page_size;
        symbols[1].st_size = size;
        // One bucket, which begins with symbol 1; two symbols, none of which has a next.
        const std::uint32_t table[5] = {1, 2, 1, 0, 0};
        std::memcpy(hash, table, sizeof hash);
    }
};
static_assert(sizeof(space_image) == page_size &&
              sizeof(arch::return_unwind_section) <= sizeof(space_image::frames));

/// Loads the image into this process.
class space_loader {
public:
    FTRACE_NOTRACE space_loader() noexcept : linker_(dynamic_linker()) {
        constexpr unsigned close_on_exec = 1, never_executable = 8;  // the latter: Linux 6.3
        constexpr char name[] = "ftrace++ return trampolines";
        if (linker_.open == nullptr || linker_.find == nullptr) return;
        file_ =
            static_cast<int>(::syscall(SYS_memfd_create, name, close_on_exec | never_executable));
        if (file_ < 0 && errno == EINVAL)
            file_ = static_cast<int>(::syscall(SYS_memfd_create, name, close_on_exec));
        if (file_ >= 0 && !spell_path()) {
            ::close(file_);
            file_ = -1;
        }
    }
    FTRACE_NOTRACE ~space_loader() {
        if (file_ >= 0) ::close(file_);
    }
    space_loader(const space_loader&) = delete;
    space_loader& operator=(const space_loader&) = delete;

    /// Address space of `size`, which is described there and then; {} if it cannot be had.
    FTRACE_NOTRACE unwound_space load(arch::return_unwind_section& section,
                                      std::size_t size) noexcept {
        const space_image file(size);
        if (file_ < 0 ||
            ::pwrite(file_, &file, sizeof file, 0) != static_cast<ssize_t>(sizeof file))
            return {};
        void* const object = linker_.open(path_, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        void* const begin = object == nullptr ? nullptr : linker_.find(object, space_image::symbol);
        if (begin == nullptr) return {};
        const auto address = reinterpret_cast<std::uintptr_t>(begin);
        section.describe(address, size);
        auto* const image = reinterpret_cast<space_image*>(address + size);
        std::memcpy(image->frames, section.begin(), section.size());
        rename(object, *image);
        return {address, size};
    }

private:
    /// "/proc/1234/fd/7", with dots and slashes between that say nothing to the kernel. The linker
    /// opens no file twice by one name, and the descriptor's number will be another file's: by
    /// the number of its inode no two files are spelled alike, nor as anybody else would.
    FTRACE_NOTRACE bool spell_path() noexcept {
        // Not "self": a debugger that is told of the object looks for it by this name.
        char process[32];
        const ssize_t length = ::readlink("/proc/self", process, sizeof process - 1);
        struct stat status;
        if (length <= 0 || ::fstat(file_, &status) != 0) return false;
        process[length] = '\0';
        char spelling[2 * 32 + 1] = {};
        for (std::size_t bit = 0; bit < 32; ++bit)
            std::memcpy(spelling + 2 * bit, (status.st_ino >> bit & 1) != 0 ? "./" : "//", 2);
        return ::snprintf(path_, sizeof path_, "/proc/%s/fd/%s%d", process, spelling, file_) > 0;
    }

    /// From here on the object is listed by a name that no file has. Debuggers and profilers would
    /// read whatever has that descriptor when they look.
    FTRACE_NOTRACE void rename(void* object, space_image& image) const noexcept {
        link_map* map = nullptr;
        if (linker_.inform != nullptr && linker_.inform(object, RTLD_DI_LINKMAP, &map) == 0) {
            image.loaded_as = map->l_name;
            map->l_name = image.name_string;
        }
    }

    const linker_functions& linker_;
    int file_ = -1;
    char path_[160] = {};
};

/// Reserves `largest` bytes (or less: halved down to `smallest`, a page at least) without memory
/// behind them, never given back, and lets what `section.describe(begin, size)` says be found for
/// them. The parts in use are mapped over it. `section` has to stay as long, for ever. Not under the
/// process's lock: asks the dynamic linker. Where that cannot load it (static programs; no /proc, no
/// memfd_create) the unwinders are told, with the consequences of unwinders.hpp. Errors:
/// out_of_memory.
FTRACE_NOTRACE inline result<unwound_space> make_unwound_space(arch::return_unwind_section& section,
                                                               std::size_t largest,
                                                               std::size_t smallest) {
    const int saved = errno;
    unwound_space space{};
    {
        space_loader loader;
        for (std::size_t size = largest; space.size == 0 && size >= smallest; size /= 2)
            space = loader.load(section, size & ~(page_size - 1));
        dynamic_linker().forget_error();
    }
    for (std::size_t size = largest; space.size == 0 && size >= smallest; size /= 2) {
        void* const memory =
            ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) continue;
        space = {reinterpret_cast<std::uintptr_t>(memory), size};
        section.describe(space.begin, size);
        register_unwind_section(section, find_unwinders(told::all));
    }
    errno = saved;
    if (space.size != 0) return space;
    return error{errc::out_of_memory,
                 "no address space for return trampolines: raise the limit of address space "
                 "(ulimit -v) by " +
                     std::to_string(smallest >> 20) + " MiB"};
}

}  // namespace ftrace::inline v0::detail
