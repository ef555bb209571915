// What the loader has in memory: one image for the executable and each shared object.
#pragma once

#include <errno.h>
#include <link.h>
#include <sys/auxv.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/sites/elf_file.hpp>
#include <ftrace/sites/mapped_path.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace ftrace::inline v0::detail {

struct loaded_image;

/// The file an image was loaded from, or why it cannot be read.
struct image_file {
    elf_file file;          ///< with section headers; not valid() if there is a problem
    std::string path{};     ///< where it was found
    std::string problem{};  ///< "./libz.so cannot be read (No such file or directory)"

    FTRACE_NOTRACE image_file() noexcept = default;
    FTRACE_NOTRACE image_file(image_file&&) noexcept = default;
    FTRACE_NOTRACE image_file& operator=(image_file&&) noexcept = default;
    FTRACE_NOTRACE ~image_file() = default;

    /// Takes the file of that name, if it is the image's. Keeps the first name's problem.
    FTRACE_NOTRACE bool take(std::string_view candidate, const loaded_image& image);
};

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
    /// Whether there are functions in it, and a file that names them. Objects without code are
    /// data, or nothing but address space (patch/unwound_space.hpp).
    [[nodiscard]] FTRACE_NOTRACE bool has_functions() const noexcept {
        for (std::size_t i = 0; i < segment_count; ++i)
            if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) != 0)
                return !is_vdso();
        return false;
    }
    /// Looks for the file this image was loaded from, if it has functions: under the loader's name
    /// for it; as /proc/self/exe, which is there even if the file was deleted; then where the
    /// kernel says it lies now. A relative name may have lost its meaning since, a file its name,
    /// and a program started through its loader, `ld-linux-x86-64.so.2 ./program`, is not what
    /// /proc/self/exe is.
    [[nodiscard]] FTRACE_NOTRACE image_file find_file() const {
        image_file found;
        if (!has_functions()) return found;
        if (is_executable() ? found.take("/proc/self/exe", *this) || found.take(started_as(), *this)
                            : found.take(path, *this))
            return found;
        const std::string map = memory_map();
        if (!found.take(mapped_path(map, first_byte()), *this) && found.problem.empty())
            found.problem = "has no file that could be found";
        return found;
    }
    /// Whether this image may have been loaded from `file`: it has the same program headers, and
    /// the same build-id.
    [[nodiscard]] FTRACE_NOTRACE bool is_image_of(const elf_file& file) const noexcept {
        if (!file.valid() || file.segment_count() != segment_count) return false;
        for (std::size_t i = 0; i < segment_count; ++i) {
            const auto on_disk = file.segment(i);
            if (std::memcmp(&on_disk, &segments[i], sizeof on_disk) != 0) return false;
        }
        const byte_view id = build_id(), id_on_disk = file.build_id();
        return id_on_disk.empty() || (id.size() == id_on_disk.size() &&
                                      std::memcmp(id.data(), id_on_disk.data(), id.size()) == 0);
    }

    /// A path for people.
    [[nodiscard]] FTRACE_NOTRACE std::string readable_path() const {
        if (!is_executable()) return path;
        char target[4096];
        const auto length =
            is_started_by_loader() ? 0 : ::readlink("/proc/self/exe", target, sizeof target);
        if (length > 0) return {target, static_cast<std::size_t>(length)};
        return std::string(started_as());
    }

private:
    /// What the program was started as, if the kernel or the loader says so.
    [[nodiscard]] FTRACE_NOTRACE static std::string_view started_as() noexcept {
        const auto* const name = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
        return name != nullptr ? name : "";
    }
    /// Whether the kernel started the loader, which then loaded the executable: it wants a loader,
    /// and the kernel brought none.
    [[nodiscard]] FTRACE_NOTRACE bool is_started_by_loader() const noexcept {
        return !segment(PT_INTERP).empty() && ::getauxval(AT_BASE) == 0;
    }
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t first_byte() const noexcept {
        for (std::size_t i = 0; i < segment_count; ++i)
            if (segments[i].p_type == PT_LOAD && segments[i].p_filesz != 0)
                return bias + segments[i].p_vaddr;
        return bias;
    }
};

inline bool image_file::take(std::string_view candidate, const loaded_image& image) {
    if (candidate.empty()) return false;
    const std::string name(candidate);
    errno = 0;
    elf_file opened(name.c_str());
    const int number = errno;
    std::string why;
    if (!opened.valid())
        why = name + " cannot be read (" + (number != 0 ? std::strerror(number) : "no ELF file") +
              ')';
    else if (!image.is_image_of(opened))
        why = name + " is another file: it was replaced after it was loaded";
    else if (opened.section_count() == 0)
        why = name + " has no section headers: link it anew, or do not strip them";
    if (why.empty()) {
        file = std::move(opened);
        path = name;
        problem.clear();
        return true;
    }
    if (problem.empty()) problem = std::move(why);
    return false;
}

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

/// Held while loaded objects are looked at and their symbols read. fork() takes it, so that no
/// thread is inside the loader's own lock then, which a child would find locked for ever.
class image_guard {
public:
    FTRACE_NOTRACE image_guard() noexcept : process_(process()) {
        if (process_ != nullptr) process_->images.lock();
    }
    FTRACE_NOTRACE ~image_guard() {
        if (process_ != nullptr) process_->images.unlock();
    }
    image_guard(const image_guard&) = delete;
    image_guard& operator=(const image_guard&) = delete;

private:
    process_state* process_;
};

/// Calls visitor(const loaded_image&, load_count) for each object until it returns false. Nothing
/// is unloaded meanwhile, and the visitor must neither load anything nor wait for another thread.
template <typename Visitor>
FTRACE_NOTRACE void for_each_image(Visitor&& visitor) {
    const image_guard guard;
    image_visit<Visitor> visit{visitor};
    ::dl_iterate_phdr(&image_visit<Visitor>::visit, &visit);
}

/// The last part of a path.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view base_of_path(std::string_view path) noexcept {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace ftrace::inline v0::detail
