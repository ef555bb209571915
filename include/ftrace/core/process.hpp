// One state for the whole process, although every shared object that includes this library has its
// own copy of all its variables (with -fvisibility=hidden nothing is shared by name).
//
// Each object carries an ELF note that points to its `process_slot`. The first use in an object
// looks at the notes of all loaded objects: a slot that is filled wins; if none is, the first
// object's slot gets a new state. So the slot that decides is the same for everybody, and one
// compare-and-swap settles a race.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/lock.hpp>
#include <ftrace/core/thread_pool.hpp>
#include <new>

namespace ftrace::inline v0::detail {

struct text_state;      // patch/text_state.hpp
struct registry_state;  // ops/registry_state.hpp
struct graph_state;     // graph/graph_state.hpp
struct probe_state;     // probe/probe_chain.hpp

/// What all objects of the process share. Never freed.
struct process_state {
    FTRACE_NOTRACE process_state() = default;
    FTRACE_NOTRACE ~process_state() = default;
    process_state(const process_state&) = delete;
    process_state& operator=(const process_state&) = delete;

    thread_pool threads;
    recursive_lock lock;    ///< serialises all that changes text, filters and lists of ops
    recursive_lock images;  ///< see image_guard in sites/loaded_image.hpp; taken behind `lock`
    text_state* text = nullptr;
    registry_state* registry = nullptr;
    probe_state* probes = nullptr;
    graph_state* graph = nullptr;
};

/// Objects share a state only if they agree on the layout of everything reachable from it.
#define FTRACE_ABI_VERSION 1
#if defined(_LIBCPP_VERSION)
#define FTRACE_ABI_LIBRARY 0x100
#elif defined(_GLIBCXX_DEBUG)
#define FTRACE_ABI_LIBRARY 0x300
#elif defined(_GLIBCXX_USE_CXX11_ABI) && !_GLIBCXX_USE_CXX11_ABI
#define FTRACE_ABI_LIBRARY 0x400
#else
#define FTRACE_ABI_LIBRARY 0x200
#endif

inline constexpr std::uint32_t process_note_type = FTRACE_ABI_LIBRARY | FTRACE_ABI_VERSION;
inline constexpr char process_note_name[] = "ftrace++";

// Used from the assembly below, which names it without C++'s mangling.
__attribute__((visibility("hidden"), used)) inline constinit process_state* process_slot __asm__(
    "ftrace_v0_process_slot") = nullptr;

/// The state, if this object has met it already.
[[nodiscard]] FTRACE_STUB_INLINE process_state* shared_state() noexcept {
    return __atomic_load_n(&process_slot,
                           __ATOMIC_ACQUIRE);  // pairs with the releases in process()
}

#define FTRACE_STRINGIZE_(x) #x
#define FTRACE_STRINGIZE(x) FTRACE_STRINGIZE_(x)

// The note: name size, descriptor size, type, name, descriptor = distance from the descriptor to
// the slot. One from each file: a linker that collects garbage keeps notes only if they are in
// no group.
__asm__(".pushsection .note.ftrace, \"a\", @note\n"
        ".balign 4\n"
        ".long 9, 8, " FTRACE_STRINGIZE(FTRACE_ABI_LIBRARY) " | " FTRACE_STRINGIZE(FTRACE_ABI_VERSION) "\n"
        ".asciz \"ftrace++\"\n"
        ".balign 4\n"
        "0: .quad ftrace_v0_process_slot - 0b\n"
        ".popsection\n");

struct slot_search {
    FTRACE_NOTRACE slot_search() noexcept = default;

    process_state** first = nullptr;
    process_state* found = nullptr;
    bool other_version = false;
};

/// Looks at one PT_NOTE segment for our note.
FTRACE_NOTRACE inline void search_notes(const char* at, std::size_t size, slot_search& search) {
    const char* const end = at + size;
    const auto padded = [](std::size_t n) FTRACE_NOTRACE { return (n + 3) & ~std::size_t{3}; };
    while (at + sizeof(ElfW(Nhdr)) <= end) {
        ElfW(Nhdr) note;
        std::memcpy(&note, at, sizeof note);
        const char* const name = at + sizeof note;
        const char* const descriptor = name + padded(note.n_namesz);
        at = descriptor + padded(note.n_descsz);
        if (at > end) return;
        if (note.n_namesz != sizeof process_note_name ||
            std::memcmp(name, process_note_name, sizeof process_note_name) != 0)
            continue;
        if (note.n_type != process_note_type) {
            search.other_version = true;
            continue;
        }
        std::int64_t distance;
        std::memcpy(&distance, descriptor, sizeof distance);
        auto* slot = reinterpret_cast<process_state**>(
            reinterpret_cast<std::uintptr_t>(descriptor) + static_cast<std::uintptr_t>(distance));
        if (search.first == nullptr) search.first = slot;
        if (search.found == nullptr) search.found = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    }
}

FTRACE_NOTRACE inline int search_object(dl_phdr_info* object, std::size_t, void* data) {
    for (int i = 0; i < object->dlpi_phnum; ++i) {
        const auto& segment = object->dlpi_phdr[i];
        if (segment.p_type == PT_NOTE)
            search_notes(reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr),
                         segment.p_memsz, *static_cast<slot_search*>(data));
    }
    return 0;
}

/// The state of the process, made at first use. nullptr: no memory, or another object of this
/// process brought a version of this library with another layout.
FTRACE_LOCAL FTRACE_NOTRACE inline process_state* process() {
    process_state* state = shared_state();
    if (state != nullptr) return state;
    slot_search search;
    ::dl_iterate_phdr(search_object, &search);
    if (search.found == nullptr) {
        if (search.other_version) return nullptr;
        auto* made = new (std::nothrow) process_state;
        if (made == nullptr || !made->threads.usable()) {
            delete made;
            return nullptr;
        }
        auto* const decides = search.first != nullptr ? search.first : &process_slot;
        // release: pairs with the acquires above; everybody who sees the state sees it made.
        if (__atomic_compare_exchange_n(decides, &search.found, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            search.found = made;
        } else {
            delete made;
        }
    }
    __atomic_store_n(&process_slot, search.found, __ATOMIC_RELEASE);
    return search.found;
}

/// Which of its two reasons process() had to return nullptr.
[[nodiscard]] FTRACE_NOTRACE inline bool other_version_is_loaded() {
    slot_search search;
    ::dl_iterate_phdr(search_object, &search);
    return search.other_version;
}

}  // namespace ftrace::inline v0::detail
