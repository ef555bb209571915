// Making text writable for the length of a transaction, and what it was again.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// Pages that hold edits.
struct page_run {
    std::uintptr_t begin;
    std::uintptr_t end;
};

/// One mapping of the process: pages with the same protection.
struct mapping {
    std::uintptr_t begin;
    std::uintptr_t end;
    int protection;
};

/// What is mapped where. Asks the kernel for one mapping at a time where it can answer that (Linux
/// 6.11: 1 us), else reads all of /proc/self/maps, once.
class mappings {
public:
    FTRACE_NOTRACE mappings() noexcept : file_(open()) {}
    FTRACE_NOTRACE ~mappings() {
        if (file_ >= 0) ::close(file_);
    }
    mappings(const mappings&) = delete;
    mappings& operator=(const mappings&) = delete;

    /// The mapping that holds `address`. One that the system does not tell of is taken for what
    /// text is, up to `limit`.
    [[nodiscard]] FTRACE_NOTRACE mapping at(std::uintptr_t address, std::uintptr_t limit) {
        if (mapping found{}; lines_.empty() && query(address, found)) return found;
        if (lines_.empty()) read();
        for (const mapping& line : lines_)
            if (line.begin <= address && address < line.end) return line;
        return {address, limit, lines_.empty() ? PROT_READ | PROT_EXEC : PROT_NONE};
    }

private:
    [[nodiscard]] FTRACE_NOTRACE static int open() noexcept {
        return ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    }

    /// <linux/fs.h>: struct procmap_query, newer than the headers programs are built with.
    struct question {
        std::uint64_t size, query_flags, address, begin, end, flags, page_size, offset, inode;
        std::uint32_t major, minor, name_size, build_id_size;
        std::uint64_t name, build_id;
    };

    FTRACE_NOTRACE bool query(std::uintptr_t address, mapping& found) const noexcept {
        if (file_ < 0) return false;
        constexpr unsigned long procmap_query = _IOWR('f', 17, question);
        constexpr std::uint64_t readable = 1, writable = 2, executable = 4;
        question asked{};
        asked.size = sizeof asked;
        asked.address = address;
        if (::ioctl(file_, procmap_query, &asked) != 0) return false;
        found = {asked.begin, asked.end,
                 ((asked.flags & readable) != 0 ? PROT_READ : 0) |
                     ((asked.flags & writable) != 0 ? PROT_WRITE : 0) |
                     ((asked.flags & executable) != 0 ? PROT_EXEC : 0)};
        return true;
    }

    FTRACE_NOTRACE void read() {
        std::string text;
        char buffer[4096];
        for (ssize_t length; file_ >= 0 && (length = ::read(file_, buffer, sizeof buffer)) > 0;)
            text.append(buffer, static_cast<std::size_t>(length));
        // "55d0c8a00000-55d0c8a21000 r-xp ..."
        for (const char* line = text.c_str(); *line != '\0';) {
            char* end = nullptr;
            mapping found{};
            found.begin = std::strtoull(line, &end, 16);
            if (*end != '-') return;
            found.end = std::strtoull(end + 1, &end, 16);
            if (std::strlen(end) < sizeof " rwxp") return;
            found.protection = (end[1] == 'r' ? PROT_READ : 0) | (end[2] == 'w' ? PROT_WRITE : 0) |
                               (end[3] == 'x' ? PROT_EXEC : 0);
            lines_.push_back(found);
            const char* const next = std::strchr(end, '\n');
            if (next == nullptr) return;
            line = next + 1;
        }
    }

    int file_;
    plain_vector<mapping> lines_;
};

/// While it is open, the pages are writable. They stay executable, since threads run on them.
class writable_text {
public:
    FTRACE_NOTRACE writable_text() = default;
    FTRACE_NOTRACE ~writable_text() {
        while (opened_ > 0) (void)restore(pieces_[--opened_]);
    }
    writable_text(const writable_text&) = delete;
    writable_text& operator=(const writable_text&) = delete;

    /// Finds the pages that hold `edits` (sorted by site), among `runs`: one piece for each
    /// mapping, from its first edit to its last. Error: permission_denied, if one cannot be read.
    FTRACE_NOTRACE result<void> find(const plain_vector<arch::text_edit>& edits,
                                     const plain_vector<page_run>& runs) {
        mappings all;
        for (const arch::text_edit& edit : edits) {
            // An edit may reach into the next page, and that be another mapping.
            for (std::uintptr_t at = edit.site; at < edit.end();) {
                if (pieces_.empty() || at >= known_end_) {
                    const mapping found = all.at(at, run_end(runs, at));
                    if ((found.protection & PROT_READ) == 0)
                        return error{errc::permission_denied,
                                     "the text at " + hex(at) +
                                         " is not mapped, or cannot be read: somebody changed its "
                                         "protection. Nothing was changed",
                                     {},
                                     edit.site};
                    known_end_ = found.end;
                    const std::uintptr_t page = at & ~(page_size - 1);
                    pieces_.push_back({page, page, found.protection});
                }
                const std::uintptr_t until = edit.end() < known_end_ ? edit.end() : known_end_;
                const std::uintptr_t end = (until + page_size - 1) & ~(page_size - 1);
                if (end > pieces_.back().end) pieces_.back().end = end;
                at = until;
            }
        }
        return {};
    }

    FTRACE_NOTRACE result<void> open() {
        while (opened_ < pieces_.size()) {
            const mapping& piece = pieces_[opened_++];  // also where it fails: a part may be open
            if (piece.protection == everything) continue;
            if (auto changed = change_protection(piece.begin, piece.end, everything); !changed)
                return changed;
        }
        return {};
    }

    /// How many parts of the text there are, each with one protection.
    [[nodiscard]] FTRACE_NOTRACE std::size_t pieces() const noexcept { return pieces_.size(); }

    /// Gives every page the protection it had. Those that do not get it stay writable, and are
    /// added to `left`, which has room for all pieces.
    FTRACE_NOTRACE void close(plain_vector<mapping>& left) {
        while (opened_ > 0) {
            const mapping& piece = pieces_[--opened_];
            if (!restore(piece)) left.push_back(piece);
        }
    }
    FTRACE_NOTRACE static bool restore(const mapping& piece) noexcept {
        return piece.protection == everything ||
               ::mprotect(reinterpret_cast<void*>(piece.begin), piece.end - piece.begin,
                          piece.protection) == 0;
    }

private:
    static constexpr int everything = PROT_READ | PROT_WRITE | PROT_EXEC;

    [[nodiscard]] FTRACE_NOTRACE static std::uintptr_t run_end(const plain_vector<page_run>& runs,
                                                               std::uintptr_t address) noexcept {
        for (const page_run& run : runs)
            if (run.begin <= address && address < run.end) return run.end;
        return (address & ~(page_size - 1)) + page_size;
    }

    plain_vector<mapping> pieces_;
    std::uintptr_t known_end_ = 0;
    std::size_t opened_ = 0;
};

}  // namespace ftrace::inline v0::detail
