#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <fstream>
#include <ftrace/sites/elf_file.hpp>
#include <ftrace/sites/function_starts.hpp>
#include <ftrace/sites/symbol_table.hpp>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

using ftrace::detail::byte_view;
using ftrace::detail::elf_file;
using ftrace::detail::symbol_table;

namespace {

// Reads all there is to read; what it finds does not matter.
std::size_t read_all(byte_view image) {
    const elf_file file(image);
    std::size_t sum = file.build_id().size() + file.link_to_debug_file().name.size();
    for (std::size_t i = 0; i < file.section_count(); ++i) {
        const auto header = file.section(i);
        sum += file.name_of(header).size();
        for (const unsigned char byte : file.contents(header)) sum += byte;
    }
    for (std::size_t i = 0; i < file.segment_count(); ++i) sum += file.segment(i).p_memsz;
    const symbol_table symbols(elf_file(image), "no such file");
    for (const auto& entry : symbols.entries()) sum += entry.linker_name().size();
    sum += symbols.containing(0x1234) != nullptr;
    return sum;
}

// On the heap, in exactly as many bytes: a sanitizer sees a read behind them.
std::size_t read_copy(const unsigned char* from, std::size_t size) {
    const auto copy = std::make_unique<unsigned char[]>(size);
    std::memcpy(copy.get(), from, size);
    return read_all({copy.get(), size});
}

// A small but complete object: the test's library.
std::vector<unsigned char> library_bytes() {
    std::ifstream file("tests/sites/libplain.so", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

extern "C" __attribute__((noinline)) int function_of_this_test() { return 1; }

TEST_CASE("ELF file: sections, segments and symbols of this program", "[sites]") {
    const elf_file file("/proc/self/exe");
    REQUIRE(file.valid());
    CHECK(file.find_section(".text") < file.section_count());
    CHECK(file.find_section(".nonsense") == file.section_count());
    CHECK((file.section(file.find_section(".text")).sh_flags & SHF_EXECINSTR) != 0);
    CHECK(file.segment_count() > 3);
    const symbol_table symbols(elf_file("/proc/self/exe"), "/proc/self/exe");
    const auto* const entry = symbols.named("function_of_this_test");
    REQUIRE(entry != nullptr);
    CHECK(symbols.containing(entry->address) == entry);
    CHECK(symbols.containing(entry->address + entry->size - 1) == entry);
    CHECK(symbols.containing(entry->address + entry->size) != entry);
    for (std::size_t i = 1; i < symbols.entries().size(); ++i)
        REQUIRE(symbols.entries()[i - 1].address <= symbols.entries()[i].address);
}

TEST_CASE("ELF file: what is none", "[sites]") {
    CHECK_FALSE(elf_file("/no/such/file").valid());
    CHECK_FALSE(elf_file("/proc").valid());
    CHECK_FALSE(elf_file("/proc/self/maps").valid());
    CHECK_FALSE(elf_file("/dev/zero").valid());
    CHECK_FALSE(elf_file(byte_view{}).valid());
    elf_file moved("/proc/self/exe");
    const elf_file into = std::move(moved);
    CHECK(into.valid());
}

TEST_CASE("ELF file: a truncated file is read as far as it goes", "[sites]") {
    const std::vector<unsigned char> whole = library_bytes();
    REQUIRE(whole.size() > 4096);
    const std::size_t all = read_all({whole.data(), whole.size()});
    for (std::size_t size = 0; size < whole.size(); size += size < 512 ? 1 : 97)
        CHECK(read_copy(whole.data(), size) < all);
}

TEST_CASE("ELF file: a corrupt file is read within its bounds", "[sites]") {
    const std::vector<unsigned char> whole = library_bytes();
    REQUIRE(whole.size() > 4096);
    const elf_file good({whole.data(), whole.size()});
    REQUIRE(good.section_count() > 5);
    const std::size_t headers = good.section(0).sh_offset;
    CHECK(headers == 0);
    std::mt19937 random(20240611);
    std::size_t sum = 0;
    for (int round = 0; round < 3000; ++round) {
        std::vector<unsigned char> bad = whole;
        for (int i = 0; i < 4; ++i) {
            // The ELF header, the section headers (at the end), or anything.
            const std::size_t region = random() % 3;
            const std::size_t at = region == 0   ? random() % sizeof(ElfW(Ehdr))
                                   : region == 1 ? bad.size() - 1 - random() % 2000
                                                 : random() % bad.size();
            if (at >= EI_DATA + 1) bad[at] = static_cast<unsigned char>(random());
        }
        sum += read_copy(bad.data(), bad.size());
    }
    CHECK(sum > 0);
}

TEST_CASE("ELF file: notes and strings that do not end", "[sites]") {
    using ftrace::detail::find_build_id;
    std::vector<unsigned char> note(sizeof(ElfW(Nhdr)) + 4 + 3);
    ElfW(Nhdr) header{4, 3, NT_GNU_BUILD_ID};
    std::memcpy(note.data(), &header, sizeof header);
    std::memcpy(note.data() + sizeof header, "GNU\0abc", 7);
    REQUIRE(find_build_id({note.data(), note.size()}).size() == 3);
    CHECK(find_build_id({note.data(), note.size()})[0] == 'a');
    CHECK(find_build_id({note.data(), note.size() - 1}).empty());
    header.n_namesz = 0xfffffffc;
    std::memcpy(note.data(), &header, sizeof header);
    CHECK(find_build_id({note.data(), note.size()}).empty());
    const unsigned char text[] = {'a', 'b', 0, 'c'};
    CHECK(ftrace::detail::string_at(text, 0) == "ab");
    CHECK(ftrace::detail::string_at(text, 2).empty());
    CHECK(ftrace::detail::string_at(text, 3).empty());
    CHECK(ftrace::detail::string_at(text, 4).empty());
}

TEST_CASE("ELF file: the checksum of a debug link", "[sites]") {
    // The check value of CRC-32/ISO-HDLC.
    const char digits[] = "123456789";
    CHECK(ftrace::detail::checksum_of({reinterpret_cast<const unsigned char*>(digits), 9}) ==
          0xcbf43926);
}

TEST_CASE("function starts: only a table of the usual encoding is read", "[sites]") {
    alignas(4) unsigned char section[12 + 2 * 8] = {1, 0x1b, 0x03, 0x3b};
    const std::int32_t count = 2, first = 0x100, second = 0x200;
    std::memcpy(section + 8, &count, 4);
    std::memcpy(section + 12, &first, 4);
    std::memcpy(section + 20, &second, 4);
    const auto base = reinterpret_cast<std::uintptr_t>(section);
    const ftrace::detail::function_starts starts(section);
    REQUIRE(starts.size() == 2);
    CHECK(starts[0] == base + 0x100);
    CHECK(starts.lower_bound(base) == 0);
    CHECK(starts.lower_bound(base + 0x100) == 0);
    CHECK(starts.lower_bound(base + 0x101) == 1);
    CHECK(starts.lower_bound(base + 0x201) == 2);
    // A count beyond the section.
    CHECK(ftrace::detail::function_starts({section, 12 + 8}).size() == 1);
    CHECK(ftrace::detail::function_starts({section, 11}).size() == 0);
    section[3] = 0x1b;
    CHECK(ftrace::detail::function_starts(section).size() == 0);
}
