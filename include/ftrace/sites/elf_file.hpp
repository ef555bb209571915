// A read-only view of an ELF file: sections, notes, symbol tables. Any file, however broken, is
// answered with less content, never with a read outside of it.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <span>
#include <string_view>
#include <utility>

namespace ftrace::inline v0::detail {

using byte_view = std::span<const unsigned char>;

/// The null-terminated string at `offset`; empty if it does not end within `table`.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view string_at(byte_view table,
                                                               std::size_t offset) noexcept {
    if (offset >= table.size()) return {};
    const unsigned char* const begin = table.data() + offset;
    const void* const end = std::memchr(begin, 0, table.size() - offset);
    if (end == nullptr) return {};
    return {reinterpret_cast<const char*>(begin),
            static_cast<std::size_t>(static_cast<const unsigned char*>(end) - begin)};
}

/// The descriptor of the GNU build-id among the notes of a PT_NOTE segment or SHT_NOTE section.
[[nodiscard]] FTRACE_NOTRACE inline byte_view find_build_id(byte_view notes) noexcept {
    constexpr char gnu[] = "GNU";
    std::size_t at = 0;
    const auto padded = [](std::uint64_t n) FTRACE_NOTRACE { return (n + 3) & ~std::uint64_t{3}; };
    while (notes.size() - at >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        std::memcpy(&note, notes.data() + at, sizeof note);
        const std::uint64_t name = at + sizeof note;
        const std::uint64_t descriptor = name + padded(note.n_namesz);
        const std::uint64_t next = descriptor + padded(note.n_descsz);
        if (descriptor + note.n_descsz > notes.size()) break;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof gnu &&
            std::memcmp(notes.data() + name, gnu, sizeof gnu) == 0)
            return notes.subspan(static_cast<std::size_t>(descriptor), note.n_descsz);
        if (next >= notes.size()) break;
        at = static_cast<std::size_t>(next);
    }
    return {};
}

/// Views into the file stay valid as long as the object they came from, moves included.
class elf_file {
public:
    FTRACE_NOTRACE elf_file() noexcept = default;
    /// Maps the file. What cannot be opened, or is no ELF file of this process's word size and byte
    /// order, gives an object that is not valid(). Truncating the file while it is mapped ends the
    /// process (SIGBUS), as for any loaded library.
    FTRACE_NOTRACE explicit elf_file(const char* path) noexcept {
        const int file = ::open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        struct stat status;
        if (::fstat(file, &status) == 0 && S_ISREG(status.st_mode) &&
            status.st_size >= static_cast<off_t>(sizeof(ElfW(Ehdr)))) {
            const auto size = static_cast<std::size_t>(status.st_size);
            void* const base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
            if (base != MAP_FAILED) {
                image_ = {static_cast<const unsigned char*>(base), size};
                mapped_ = true;
                read_header();
            }
        }
        ::close(file);
    }
    /// Reads an image that somebody else keeps.
    FTRACE_NOTRACE explicit elf_file(byte_view image) noexcept : image_(image) { read_header(); }
    elf_file(const elf_file&) = delete;
    elf_file& operator=(const elf_file&) = delete;
    FTRACE_NOTRACE elf_file(elf_file&& other) noexcept { swap(other); }
    FTRACE_NOTRACE elf_file& operator=(elf_file&& other) noexcept {
        swap(other);
        return *this;
    }
    FTRACE_NOTRACE ~elf_file() {
        if (mapped_) ::munmap(const_cast<unsigned char*>(image_.data()), image_.size());
    }

    [[nodiscard]] FTRACE_NOTRACE bool valid() const noexcept { return valid_; }

    /// Section headers that lie within the file; 0 where a tool removed them.
    [[nodiscard]] FTRACE_NOTRACE std::size_t section_count() const noexcept { return sections_; }
    /// `index` < section_count().
    [[nodiscard]] FTRACE_NOTRACE ElfW(Shdr) section(std::size_t index) const noexcept {
        return read<ElfW(Shdr)>(section_offset_ + index * sizeof(ElfW(Shdr)));
    }
    [[nodiscard]] FTRACE_NOTRACE std::string_view name_of(const ElfW(Shdr) &
                                                          header) const noexcept {
        return string_at(names_, header.sh_name);
    }
    /// The bytes of a section; none where the file holds none (SHT_NOBITS), or not all of them.
    [[nodiscard]] FTRACE_NOTRACE byte_view contents(const ElfW(Shdr) & header) const noexcept {
        if (header.sh_type == SHT_NOBITS || (header.sh_flags & SHF_COMPRESSED) != 0) return {};
        return slice(header.sh_offset, header.sh_size);
    }
    /// The first section of that name: index, or section_count().
    [[nodiscard]] FTRACE_NOTRACE std::size_t find_section(std::string_view name) const noexcept {
        std::size_t i = 0;
        while (i < sections_ && name_of(section(i)) != name) ++i;
        return i;
    }
    /// The first section of that type: index, or section_count().
    [[nodiscard]] FTRACE_NOTRACE std::size_t find_type(std::uint32_t type) const noexcept {
        std::size_t i = 0;
        while (i < sections_ && section(i).sh_type != type) ++i;
        return i;
    }

    [[nodiscard]] FTRACE_NOTRACE std::size_t segment_count() const noexcept { return segments_; }
    [[nodiscard]] FTRACE_NOTRACE ElfW(Phdr) segment(std::size_t index) const noexcept {
        return read<ElfW(Phdr)>(segment_offset_ + index * sizeof(ElfW(Phdr)));
    }

    /// What the file holds for the address `at` of its segment, up to the segment's end; empty for
    /// what no segment loads.
    [[nodiscard]] FTRACE_NOTRACE byte_view loaded_from(std::uint64_t at) const noexcept {
        for (std::size_t i = 0; i < segments_; ++i) {
            const auto header = segment(i);
            if (header.p_type != PT_LOAD || at - header.p_vaddr >= header.p_filesz) continue;
            const std::uint64_t offset = at - header.p_vaddr;
            return slice(header.p_offset + offset, header.p_filesz - offset);
        }
        return {};
    }

    /// Empty where the file has none.
    [[nodiscard]] FTRACE_NOTRACE byte_view build_id() const noexcept {
        for (std::size_t i = 0; i < sections_; ++i) {
            const auto header = section(i);
            if (header.sh_type != SHT_NOTE) continue;
            if (const byte_view id = find_build_id(contents(header)); !id.empty()) return id;
        }
        return {};
    }

    /// What .gnu_debuglink says: the name of the file with the symbols, and its CRC-32.
    struct debug_link {
        std::string_view name;
        std::uint32_t checksum = 0;
    };
    [[nodiscard]] FTRACE_NOTRACE debug_link link_to_debug_file() const noexcept {
        debug_link link{};
        const std::size_t index = find_section(".gnu_debuglink");
        if (index == sections_) return link;
        const byte_view bytes = contents(section(index));
        const std::string_view name = string_at(bytes, 0);
        const std::size_t checksum = (name.size() + 1 + 3) & ~std::size_t{3};
        if (name.empty() || checksum + sizeof link.checksum > bytes.size()) return link;
        std::memcpy(&link.checksum, bytes.data() + checksum, sizeof link.checksum);
        link.name = name;
        return link;
    }

    [[nodiscard]] FTRACE_NOTRACE byte_view image() const noexcept { return image_; }

private:
    template <typename T>
    [[nodiscard]] FTRACE_NOTRACE T read(std::size_t offset) const noexcept {
        T value;  // copied: a broken file may put it at any address
        std::memcpy(&value, image_.data() + offset, sizeof value);
        return value;
    }
    [[nodiscard]] FTRACE_NOTRACE byte_view slice(std::uint64_t offset,
                                                 std::uint64_t size) const noexcept {
        if (offset > image_.size() || size > image_.size() - offset) return {};
        return image_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
    }
    /// How many of `count` entries from `offset` on lie within the file.
    [[nodiscard]] FTRACE_NOTRACE std::size_t fitting(std::uint64_t offset, std::uint64_t count,
                                                     std::size_t size) const noexcept {
        if (offset == 0 || offset > image_.size()) return 0;
        const std::uint64_t room = (image_.size() - offset) / size;
        return static_cast<std::size_t>(count < room ? count : room);
    }
    FTRACE_NOTRACE void read_header() noexcept {
        if (image_.size() < sizeof(ElfW(Ehdr))) return;
        const auto header = read<ElfW(Ehdr)>(0);
        constexpr unsigned char word = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
        constexpr unsigned char order =
            __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
        if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != word ||
            header.e_ident[EI_DATA] != order)
            return;
        valid_ = true;
        if (header.e_phentsize == sizeof(ElfW(Phdr))) {
            segments_ = fitting(header.e_phoff, header.e_phnum, sizeof(ElfW(Phdr)));
            segment_offset_ = static_cast<std::size_t>(header.e_phoff);
        }
        if (header.e_shentsize != sizeof(ElfW(Shdr)) ||
            fitting(header.e_shoff, 1, sizeof(ElfW(Shdr))) == 0)
            return;
        section_offset_ = static_cast<std::size_t>(header.e_shoff);
        // Counts that do not fit the header are kept in the first section header (gABI, chapter 4).
        const auto first = section(0);
        const std::uint64_t count = header.e_shnum != 0 ? header.e_shnum : first.sh_size;
        sections_ = fitting(header.e_shoff, count, sizeof(ElfW(Shdr)));
        const std::size_t names =
            header.e_shstrndx == SHN_XINDEX ? first.sh_link : header.e_shstrndx;
        if (names < sections_) names_ = contents(section(names));
    }
    FTRACE_NOTRACE void swap(elf_file& other) noexcept {
        std::swap(image_, other.image_);
        std::swap(names_, other.names_);
        std::swap(section_offset_, other.section_offset_);
        std::swap(sections_, other.sections_);
        std::swap(segment_offset_, other.segment_offset_);
        std::swap(segments_, other.segments_);
        std::swap(mapped_, other.mapped_);
        std::swap(valid_, other.valid_);
    }

    byte_view image_{};
    byte_view names_{};
    std::size_t section_offset_ = 0;
    std::size_t sections_ = 0;
    std::size_t segment_offset_ = 0;
    std::size_t segments_ = 0;
    bool mapped_ = false;
    bool valid_ = false;
};

}  // namespace ftrace::inline v0::detail
