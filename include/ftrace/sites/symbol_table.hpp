// The function symbols of one object, sorted by address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/sites/elf_file.hpp>
#include <ftrace/sites/sorting.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace ftrace::inline v0::detail {

/// A function symbol; addresses are those of the file: add the object's bias.
struct symbol_entry {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    const char* name = nullptr;
    std::uint32_t name_size = 0;
    std::uint32_t rank = 0;  ///< lower is the better name for an address

    FTRACE_NOTRACE symbol_entry() noexcept = default;
    FTRACE_NOTRACE symbol_entry(const ElfW(Sym) & symbol, std::string_view linker_name,
                                std::uint32_t its_rank) noexcept
        : address(symbol.st_value),
          size(symbol.st_size),
          name(linker_name.data()),
          name_size(static_cast<std::uint32_t>(linker_name.size())),
          rank(its_rank) {}

    [[nodiscard]] FTRACE_NOTRACE std::string_view linker_name() const noexcept {
        return {name, name_size};
    }
    /// Whether only its own file can call it by this name (STB_LOCAL).
    [[nodiscard]] FTRACE_NOTRACE bool is_local() const noexcept { return (rank & local) != 0; }

    static constexpr std::uint32_t local = 4;  ///< bit of `rank`
};

/// CRC-32 of .gnu_debuglink (IEEE 802.3, reflected; gdb manual, "Debug Link").
[[nodiscard]] FTRACE_NOTRACE inline std::uint32_t checksum_of(byte_view bytes) noexcept {
    constexpr std::uint32_t polynomial = 0xedb88320;
    std::uint32_t table[16];
    for (std::uint32_t i = 0; i < 16; ++i) {
        table[i] = i;
        for (int bit = 0; bit < 4; ++bit)
            table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? polynomial : 0);
    }
    std::uint32_t sum = ~std::uint32_t{0};
    for (const unsigned char byte : bytes) {
        sum = table[(sum ^ byte) & 15] ^ (sum >> 4);
        sum = table[(sum ^ (byte >> 4)) & 15] ^ (sum >> 4);
    }
    return ~sum;
}

/// Opens the file that holds the symbols `strip` took from `file`, which lies at `path`: by
/// build-id under `root`, then by .gnu_debuglink beside the file, in .debug, and under `root`.
[[nodiscard]] FTRACE_NOTRACE inline elf_file open_debug_file(const elf_file& file,
                                                             std::string_view path,
                                                             const std::string& root) {
    const byte_view id = file.build_id();
    if (id.size() >= 2) {
        std::string name = root + "/.build-id/";
        for (std::size_t i = 0; i < id.size(); ++i) {
            if (i == 1) name += '/';
            name += "0123456789abcdef"[id[i] >> 4];
            name += "0123456789abcdef"[id[i] & 15];
        }
        elf_file debug((name + ".debug").c_str());
        if (debug.valid()) return debug;
    }
    const auto link = file.link_to_debug_file();
    if (link.name.empty()) return {};
    const std::size_t slash = path.rfind('/');
    const std::string folder(path.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
    const std::string name(link.name);
    for (const std::string& place :
         {folder + name, folder + ".debug/" + name, root + "/" + folder + name}) {
        if (place == path) continue;  // `file` itself
        elf_file debug(place.c_str());
        if (debug.valid() && checksum_of(debug.image()) == link.checksum) return debug;
    }
    return {};
}

class symbol_table {
public:
    FTRACE_NOTRACE symbol_table() = default;
    FTRACE_NOTRACE symbol_table(symbol_table&&) = default;
    FTRACE_NOTRACE symbol_table& operator=(symbol_table&&) = default;
    FTRACE_NOTRACE ~symbol_table() = default;

    /// Reads .symtab; if the file was stripped of it, that of its debug file; if there is none,
    /// .dynsym. `path` is where `file` lies, to look beside it. `wanted`, sorted, limits the table
    /// to symbols of these addresses, in a fraction of the time; empty: all.
    FTRACE_NOTRACE symbol_table(elf_file file, std::string_view path,
                                std::span<const std::uint64_t> wanted = {})
        : file_(std::move(file)), wanted_(wanted) {
        choose(path);
        wanted_ = {};
    }

    /// Sorted by address; the best name of an address comes first.
    [[nodiscard]] FTRACE_NOTRACE std::span<const symbol_entry> entries() const noexcept {
        return {entries_.data(), entries_.size()};
    }

    /// The index of the first symbol behind `address`.
    [[nodiscard]] FTRACE_NOTRACE std::size_t upper_bound(std::uint64_t address) const noexcept {
        std::size_t low = 0, high = entries_.size();
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            if (entries_[middle].address <= address)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }

    /// The function that contains `address`, under its best name; nullptr if none does. A symbol
    /// without a size reaches to the next one.
    [[nodiscard]] FTRACE_NOTRACE const symbol_entry* containing(
        std::uint64_t address) const noexcept {
        std::size_t i = upper_bound(address);
        // Functions may be nested (a label with a size inside of another): a few steps
        // back suffice.
        for (int steps = 0; i > 0 && steps < 4; ++steps) {
            const std::size_t first = first_at(i - 1);
            for (std::size_t k = first; k < i; ++k) {
                const symbol_entry& entry = entries_[k];
                if (entry.size == 0 ? steps == 0 : address - entry.address < entry.size)
                    return &entry;
            }
            i = first;
        }
        return nullptr;
    }

    /// The first function of that linker name; nullptr if there is none.
    [[nodiscard]] FTRACE_NOTRACE const symbol_entry* named(
        std::string_view linker_name) const noexcept {
        for (const symbol_entry& entry : entries_)
            if (entry.linker_name() == linker_name) return &entry;
        return nullptr;
    }

private:
    FTRACE_NOTRACE void choose(std::string_view path) {
        if (!file_.valid() || read(file_, SHT_SYMTAB)) return;
        elf_file debug = open_debug_file(file_, path, "/usr/lib/debug");
        if (debug.valid() && read(debug, SHT_SYMTAB))
            file_ = std::move(debug);
        else
            read(file_, SHT_DYNSYM);
    }

    [[nodiscard]] FTRACE_NOTRACE bool is_wanted(std::uint64_t address) const noexcept {
        if (wanted_.empty()) return true;
        if (address < wanted_.front() || address > wanted_.back()) return false;
        std::size_t low = 0, high = wanted_.size();
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            if (wanted_[middle] < address)
                low = middle + 1;
            else
                high = middle;
        }
        return wanted_[low] == address;
    }

    [[nodiscard]] FTRACE_NOTRACE std::size_t first_at(std::size_t i) const noexcept {
        while (i > 0 && entries_[i - 1].address == entries_[i].address) --i;
        return i;
    }

    /// Global before weak before local, functions before labels, sized before unsized, and a
    /// constructor's complete form before its base form.
    [[nodiscard]] FTRACE_NOTRACE static std::uint32_t rank_of(const ElfW(Sym) & symbol,
                                                              std::string_view name) noexcept {
        const unsigned binding = ELF64_ST_BIND(symbol.st_info);
        std::uint32_t rank = symbol.st_size == 0 ? 16 : 0;
        if (ELF64_ST_TYPE(symbol.st_info) == STT_NOTYPE) rank += 8;
        rank += binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 2 : symbol_entry::local;
        for (const std::string_view base : {"C2E", "D2E"})
            if (name.find(base) != std::string_view::npos) rank += 1;
        return rank;
    }

    /// False: the file has no function symbols of that kind, wanted or not.
    FTRACE_NOTRACE bool read(const elf_file& file, std::uint32_t type) {
        const std::size_t index = file.find_type(type);
        if (index == file.section_count()) return false;
        const auto header = file.section(index);
        if (header.sh_link >= file.section_count()) return false;
        const byte_view symbols = file.contents(header);
        const byte_view names = file.contents(file.section(header.sh_link));
        // Not <vector>'s bool, which costs more to compile.
        std::string executable(file.section_count(), '\0');
        for (std::size_t i = 0; i < executable.size(); ++i)
            executable[i] = (file.section(i).sh_flags & SHF_EXECINSTR) != 0 ? 1 : 0;
        const std::size_t count = symbols.size() / sizeof(ElfW(Sym));
        plain_vector<symbol_entry> found;
        if (wanted_.empty()) found.reserve(count / 2);
        bool any = false;
        for (std::size_t i = 0; i < count; ++i) {
            ElfW(Sym) symbol;
            std::memcpy(&symbol, symbols.data() + i * sizeof symbol, sizeof symbol);
            const unsigned kind = ELF64_ST_TYPE(symbol.st_info);
            if (kind != STT_FUNC && kind != STT_GNU_IFUNC && kind != STT_NOTYPE) continue;
            // Beyond SHN_LORESERVE only the extended index is ordinary; such a file has 65,280
            // sections or more, and a function's type says enough there.
            if (symbol.st_shndx == SHN_UNDEF ||
                (symbol.st_shndx < SHN_LORESERVE
                     ? symbol.st_shndx >= executable.size() || executable[symbol.st_shndx] == 0
                     : symbol.st_shndx != SHN_XINDEX || kind == STT_NOTYPE))
                continue;
            any = true;
            if (!is_wanted(symbol.st_value)) continue;
            std::string_view name = string_at(names, symbol.st_name);
            name = name.substr(0, name.find('@', 1));  // the symbol's version
            if (name.empty() || name[0] == '$' || name.starts_with(".L")) continue;
            found.push_back(symbol_entry(symbol, name, rank_of(symbol, name)));
        }
        sort_by_key(found, [](const symbol_entry& e) FTRACE_NOTRACE { return e.address; });
        order_aliases(found);
        entries_ = std::move(found);
        return wanted_.empty() ? !entries_.empty() : any;
    }

    /// Sorts the few symbols of one address by rank, then by name.
    FTRACE_NOTRACE static void order_aliases(plain_vector<symbol_entry>& entries) {
        const auto before = [](const symbol_entry& a, const symbol_entry& b) FTRACE_NOTRACE {
            return a.rank != b.rank ? a.rank < b.rank : a.linker_name() < b.linker_name();
        };
        constexpr std::size_t most = 64;  // a broken file may have any number at one address
        for (std::size_t i = 1; i < entries.size(); ++i)
            for (std::size_t k = i;
                 k > 0 && i - k < most && entries[k - 1].address == entries[k].address &&
                 before(entries[k], entries[k - 1]);
                 --k)
                std::swap(entries[k - 1], entries[k]);
    }

    elf_file file_;
    plain_vector<symbol_entry> entries_;
    std::span<const std::uint64_t> wanted_{};  ///< while it is read
};

}  // namespace ftrace::inline v0::detail
