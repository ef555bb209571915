// What the loader has in memory: one image for the executable and each shared object.
#pragma once

#include <link.h>
#include <sys/auxv.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/elf_file.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Valid within the visit of for_each_image() only: the loader's lock keeps it loaded.
struct loaded_image {
    const char* path;  ///< as the loader knows it; "" for the executable
    std::uintptr_t bias;
    const ElfW(Phdr) * segments;
    std::size_t segment_count;

    [[nodiscard]] FTRACE_NOTRACE bool is_executable() const noexcept {
        return reinterpret_cast<std::uintptr_t>(segments) == ::getauxval(AT_PHDR);
    }
    /// Whether one segment of this type, with these permissions at least, holds the whole range.
    [[nodiscard]] FTRACE_NOTRACE bool holds(std::uintptr_t begin, std::size_t size,
                                            std::uint32_t permissions) const noexcept {
        for (std::size_t i = 0; i < segment_count; ++i) {
            const auto& segment = segments[i];
            if (segment.p_type != PT_LOAD || (segment.p_flags & permissions) != permissions)
                continue;
            const std::uintptr_t offset = begin - (bias + segment.p_vaddr);
            if (offset <= segment.p_memsz && size <= segment.p_memsz - offset) return true;
        }
        return false;
    }
    /// The loaded bytes of the first segment of a type.
    [[nodiscard]] FTRACE_NOTRACE byte_view segment(std::uint32_t type) const noexcept {
        for (std::size_t i = 0; i < segment_count; ++i) {
            const std::uintptr_t begin = bias + segments[i].p_vaddr;
            if (segments[i].p_type == type && holds(begin, segments[i].p_memsz, PF_R))
                return {reinterpret_cast<const unsigned char*>(begin), segments[i].p_memsz};
        }
        return {};
    }
    [[nodiscard]] FTRACE_NOTRACE byte_view build_id() const noexcept {
        for (std::size_t i = 0; i < segment_count; ++i) {
            const std::uintptr_t begin = bias + segments[i].p_vaddr;
            if (segments[i].p_type != PT_NOTE || !holds(begin, segments[i].p_memsz, PF_R)) continue;
            const byte_view id =
                find_build_id({reinterpret_cast<const unsigned char*>(begin), segments[i].p_memsz});
            if (!id.empty()) return id;
        }
        return {};
    }
    /// The kernel's vdso has no file.
    [[nodiscard]] FTRACE_NOTRACE bool is_vdso() const noexcept {
        const std::uintptr_t header = ::getauxval(AT_SYSINFO_EHDR);
        return header != 0 && holds(header, 1, PF_R);
    }
    /// The file this image was loaded from. Not valid() if there is none any more, or another one
    /// under its name: the program headers have to be those in memory.
    [[nodiscard]] FTRACE_NOTRACE elf_file open_file() const {
        if (is_vdso()) return {};
        const bool executable = is_executable();
        elf_file file(executable ? "/proc/self/exe" : path);
        if (executable && !file.valid())  // no /proc in this sandbox
            file = elf_file(reinterpret_cast<const char*>(::getauxval(AT_EXECFN)));
        if (!file.valid() || file.segment_count() != segment_count) return {};
        for (std::size_t i = 0; i < segment_count; ++i) {
            const auto on_disk = file.segment(i);
            if (std::memcmp(&on_disk, &segments[i], sizeof on_disk) != 0) return {};
        }
        const byte_view id = build_id(), id_on_disk = file.build_id();
        const bool same = id.size() == id_on_disk.size() &&
                          (id.empty() || std::memcmp(id.data(), id_on_disk.data(), id.size()) == 0);
        return same || id_on_disk.empty() ? static_cast<elf_file&&>(file) : elf_file();
    }
    /// A path for people.
    [[nodiscard]] FTRACE_NOTRACE std::string readable_path() const {
        if (!is_executable()) return path;
        char target[4096];
        const auto length = ::readlink("/proc/self/exe", target, sizeof target);
        if (length > 0) return {target, static_cast<std::size_t>(length)};
        const auto* const started_as = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
        return started_as != nullptr ? started_as : "";
    }
};

/// The loader's counts of objects that came and went.
struct load_count {
    std::uint64_t added = 0;
    std::uint64_t removed = 0;

    FTRACE_NOTRACE load_count() noexcept = default;
    FTRACE_NOTRACE load_count(std::uint64_t objects_added, std::uint64_t objects_removed) noexcept
        : added(objects_added), removed(objects_removed) {}
    [[nodiscard]] FTRACE_NOTRACE friend bool operator==(const load_count& a,
                                                        const load_count& b) noexcept {
        return a.added == b.added && a.removed == b.removed;
    }
};

template <typename Visitor>
struct image_visit {
    Visitor& visitor;

    FTRACE_NOTRACE static int visit(dl_phdr_info* info, std::size_t size, void* self) {
        const loaded_image image{info->dlpi_name != nullptr ? info->dlpi_name : "",
                                 static_cast<std::uintptr_t>(info->dlpi_addr), info->dlpi_phdr,
                                 info->dlpi_phnum};
        load_count count{};
        if (size >= offsetof(dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs)
            count = {info->dlpi_adds, info->dlpi_subs};
        return static_cast<image_visit*>(self)->visitor(image, count) ? 0 : 1;
    }
};

/// Calls visitor(const loaded_image&, load_count) for each object until it returns false. Nothing
/// is unloaded meanwhile, and the visitor must neither load anything nor wait for another thread.
template <typename Visitor>
FTRACE_NOTRACE void for_each_image(Visitor&& visitor) {
    image_visit<Visitor> visit{visitor};
    ::dl_iterate_phdr(&image_visit<Visitor>::visit, &visit);
}

/// The last part of a path.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view base_of_path(std::string_view path) noexcept {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace ftrace::inline v0::detail
