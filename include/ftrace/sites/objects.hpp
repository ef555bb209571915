// The executable and the shared objects of this process, with every site in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/sites/function_starts.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <ftrace/sites/relocations.hpp>
#include <ftrace/sites/sorting.hpp>
#include <ftrace/sites/symbol_table.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

/// Addresses [begin, end).
struct text_range {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    [[nodiscard]] FTRACE_NOTRACE bool contains(std::uintptr_t address) const noexcept {
        return address - begin < end - begin;
    }
};

/// What was found in one object when it was scanned; says nothing of an unload since.
struct loaded_object {
    std::string path;           ///< the executable's resolved, a library's as the loader knows it
    std::uintptr_t bias = 0;    ///< address in memory = address in the file + bias
    std::uintptr_t header = 0;  ///< where its program headers are in memory: its identity
    bool is_executable = false;
    detail::plain_vector<text_range> text;  ///< its executable segments
    std::string build_id;                   ///< its bytes; empty if it has none
    /// The addresses of the five bytes to patch, sorted, behind endbr64 and behind nops that are in
    /// front of the function.
    detail::plain_vector<std::uintptr_t> sites;
    /// Sites whose five bytes end within a longer nop (clang, more than five bytes asked for). A
    /// call written there would leave a piece of that nop behind: all of it has to be replaced.
    detail::plain_vector<std::uintptr_t> wide_sites;
    /// Functions with an entry in the section, but fewer than five bytes of nop.
    detail::plain_vector<std::uintptr_t> too_short;
    /// Entries with nops enough, of which nothing tells where their function begins among them.
    detail::plain_vector<std::uintptr_t> unknown_starts;
    /// Why nothing is known of its sites: "./libz.so cannot be read (...)". Empty: they are known.
    std::string unread;

    FTRACE_NOTRACE loaded_object() = default;
    FTRACE_NOTRACE loaded_object(loaded_object&&) = default;
    FTRACE_NOTRACE loaded_object& operator=(loaded_object&&) = default;
    FTRACE_NOTRACE loaded_object(const loaded_object&) = default;
    FTRACE_NOTRACE loaded_object& operator=(const loaded_object&) = default;
    FTRACE_NOTRACE ~loaded_object() = default;

    /// The last part of the path: "libz.so.1".
    [[nodiscard]] FTRACE_NOTRACE std::string_view name() const noexcept {
        return detail::base_of_path(path);
    }
    [[nodiscard]] FTRACE_NOTRACE bool contains(std::uintptr_t address) const noexcept {
        for (const text_range& range : text)
            if (range.contains(address)) return true;
        return false;
    }
};

namespace detail {

/// Reads the entry sections of one image. Their place comes from the file, their content from
/// memory, where the loader has relocated it.
class site_scan {
public:
    site_scan(const site_scan&) = delete;
    site_scan& operator=(const site_scan&) = delete;
    FTRACE_NOTRACE ~site_scan() = default;
    FTRACE_NOTRACE site_scan(const loaded_image& image, loaded_object& object)
        : image_(image), object_(object), starts_(image.segment(PT_GNU_EH_FRAME)) {}

    FTRACE_NOTRACE void run() {
        image_file found = image_.find_file();
        object_.unread = std::move(found.problem);
        file_ = std::move(found.file);
        for (std::size_t i = 0; i < file_.section_count(); ++i) {
            const auto header = file_.section(i);
            if ((header.sh_flags & SHF_ALLOC) == 0) continue;
            const std::string_view name = file_.name_of(header);
            if (name == "__patchable_function_entries" || name == "__mcount_loc") collect(header);
        }
        if (awaits_loader_) {
            object_.unread = "is being loaded by another thread";
            return;
        }
        sort_by_key(entries_, [](std::uintptr_t entry) FTRACE_NOTRACE { return entry; });
        drop_repeated(entries_);
        if (entries_.empty()) return;
        object_.sites.reserve(entries_.size());
        for (const std::uintptr_t entry : entries_) classify(entry);
        for (auto* list :
             {&object_.sites, &object_.wide_sites, &object_.too_short, &object_.unknown_starts}) {
            sort_by_key(*list, [](std::uintptr_t site) FTRACE_NOTRACE { return site; });
            drop_repeated(*list);
        }
    }

private:
    FTRACE_NOTRACE void collect(const ElfW(Shdr) & header) {
        const std::uintptr_t begin = image_.bias + header.sh_addr;
        if (!image_.holds(begin, header.sh_size, PF_R)) return;
        const std::size_t count = header.sh_size / sizeof(std::uintptr_t);
        const std::size_t known = entries_.size();
        entries_.resize(known + count);
        std::memcpy(entries_.data() + known, reinterpret_cast<const void*>(begin),
                    count * sizeof(std::uintptr_t));
        awaits_loader_ |= await_relocation(image_, begin, {entries_.data() + known, count});
    }

    /// The end of the readable text around `entry`; 0 for what a linker left of a discarded
    /// function, which lies outside of it.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t text_end(std::uintptr_t entry) noexcept {
        if (!range_.contains(entry)) {
            range_ = {};
            for (const text_range& range : object_.text)
                if (range.contains(entry) && image_.holds(entry, 1, PF_R | PF_X)) range_ = range;
        }
        return range_.end;
    }

    FTRACE_NOTRACE void classify(std::uintptr_t entry) {
        const std::uintptr_t end = text_end(entry);
        if (end == 0) return;
        arch::entry_site found = arch::find_site(entry, start_of(entry, end), end);
        const auto* const bytes = reinterpret_cast<const unsigned char*>(found.address);
        if (found.kind == arch::entry_kind::none && arch::is_patched(bytes, end - found.address))
            found.kind = kind_in_file(found.address);
        switch (found.kind) {
        case arch::entry_kind::site: object_.sites.push_back(found.address); break;
        case arch::entry_kind::wide_nop: object_.wide_sites.push_back(found.address); break;
        case arch::entry_kind::too_short: object_.too_short.push_back(found.address); break;
        case arch::entry_kind::unknown: object_.unknown_starts.push_back(found.address); break;
        case arch::entry_kind::none:
            // All nops in front of the function, or an entry of no use at all.
            if (found.address != entry) object_.too_short.push_back(found.address);
            break;
        }
    }

    /// What stood at `address` before anybody patched it.
    [[nodiscard]] FTRACE_NOTRACE arch::entry_kind kind_in_file(
        std::uintptr_t address) const noexcept {
        const byte_view bytes = file_.loaded_from(address - image_.bias);
        return arch::classify_nops(bytes.data(), bytes.size());
    }

    /// Where the function of `entry` begins; 0 if nothing says so. Unwind information is asked
    /// first, since it is in memory; a function it does not cover costs reading all symbols.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t start_of(std::uintptr_t entry, std::uintptr_t end) {
        if (starts_.size() != 0) {
            // Entries are sorted, as the table is: nearly always the next function is meant.
            for (int steps = 0; next_ < starts_.size() && starts_[next_] < entry; ++next_)
                if (++steps == 16) {
                    next_ = starts_.lower_bound(entry);
                    break;
                }
            if (next_ < starts_.size() && starts_[next_] <= entry + most_nops &&
                (starts_[next_] == entry || starts_[next_] <= arch::end_of_nops(entry, end)))
                return starts_[next_];
            if (next_ > 0 && arch::is_site_of(entry, starts_[next_ - 1])) return starts_[next_ - 1];
        }
        if (arch::is_behind_landing_pad(entry, range_.begin)) return entry;
        const std::uintptr_t nops_end = arch::end_of_nops(entry, end);
        // Nops in front of a function that was patched since look like too few of them.
        const bool may_be_patched =
            nops_end != entry &&
            arch::is_patched(reinterpret_cast<const unsigned char*>(nops_end), end - nops_end);
        if (arch::find_site(entry, 0, end).kind != arch::entry_kind::unknown && !may_be_patched)
            return 0;
        if (!symbols_read_) {
            image_file again = image_.find_file();
            symbols_ = symbol_table(std::move(again.file), again.path);
            symbols_read_ = true;
        }
        const std::uint64_t address = entry - image_.bias;
        const std::size_t i = symbols_.upper_bound(address);
        const auto symbols = symbols_.entries();
        if (i > 0 && symbols[i - 1].address == address) return entry;
        return i < symbols.size() && symbols[i].address <= nops_end - image_.bias
                   ? symbols[i].address + image_.bias
                   : 0;
    }

    static constexpr std::uintptr_t most_nops = 1 << 16;  // gcc's limit for N

    const loaded_image& image_;
    loaded_object& object_;
    elf_file file_;
    function_starts starts_;
    std::size_t next_ = 0;
    plain_vector<std::uintptr_t> entries_;
    text_range range_{};
    symbol_table symbols_;
    bool symbols_read_ = false;
    bool awaits_loader_ = false;
};

FTRACE_NOTRACE inline void scan_image(const loaded_image& image, loaded_object& object) {
    object.path = image.readable_path();
    object.bias = image.bias;
    object.header = reinterpret_cast<std::uintptr_t>(image.segments);
    object.is_executable = image.is_executable();
    for (std::size_t i = 0; i < image.segment_count; ++i) {
        const auto& segment = image.segments[i];
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0)
            object.text.push_back(
                {image.bias + segment.p_vaddr, image.bias + segment.p_vaddr + segment.p_memsz});
    }
    const byte_view id = image.build_id();
    object.build_id.assign(reinterpret_cast<const char*>(id.data()), id.size());
    site_scan(image, object).run();
}

/// Whether the loader loaded or unloaded anything since `last` was filled by this function (at
/// first: true). Costs one look at the first object. Thread-safe but for `last`.
[[nodiscard]] FTRACE_NOTRACE inline bool objects_changed(load_count& last) {
    load_count now{};
    for_each_image([&now](const loaded_image&, load_count count) FTRACE_NOTRACE {
        now = count;
        return false;
    });
    if (now == last) return false;
    last = now;
    return true;
}

/// Brings `objects` up to date: drops those that are gone (moved to `gone`, if given), and appends
/// those that are new. Objects already known keep their sites as they were first found, since the
/// bytes there may have been patched; of one that could not be read the file is looked for anew. An
/// object that was unloaded and loaded again at the same place in between counts as known; its text
/// is new: compare load_count::removed.
FTRACE_NOTRACE inline void refresh_loaded_objects(std::vector<loaded_object>& objects,
                                                  std::vector<loaded_object>* gone = nullptr) {
    std::vector<loaded_object> now;
    for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
        if (image.is_vdso()) return true;
        const auto header = reinterpret_cast<std::uintptr_t>(image.segments);
        const std::size_t before = now.size();
        for (loaded_object& known : objects)
            if (known.header == header && known.bias == image.bias && !known.path.empty() &&
                (known.is_executable || known.path == image.path)) {
                now.push_back(std::move(known));
                known.path.clear();
                if (!now.back().unread.empty()) site_scan(image, now.back()).run();
                break;
            }
        if (now.size() == before) {
            now.emplace_back();
            scan_image(image, now.back());
        }
        return true;
    });
    if (gone != nullptr)
        for (loaded_object& object : objects)
            if (!object.path.empty()) gone->push_back(std::move(object));
    objects = std::move(now);
}

/// Every object of the process but the vdso, the executable first, each with its sites. Reads
/// the section headers of every object's file and no symbols. An object whose file is gone or
/// has no section headers is listed without sites, and says so. A site that is patched already
/// is recognised.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<loaded_object> scan_loaded_objects() {
    std::vector<loaded_object> objects;
    refresh_loaded_objects(objects);
    return objects;
}

}  // namespace detail
}  // namespace ftrace::inline v0
