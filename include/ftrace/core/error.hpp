// What went wrong, where, and what to do about it.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace ftrace::inline v0 {

/// The kind of a failure. The kernel's name for the same failure stands beside it.
enum class errc : std::uint8_t {
    already_registered,  ///< the ops is registered (EBUSY)
    not_registered,      ///< the ops is not registered (EBUSY)
    invalid_argument,    ///< flags, filters or values that do not go together (EINVAL)
    no_match,            ///< a filter that matches no traceable function (EINVAL)
    not_a_site,          ///< an address that is no site (EINVAL)
    ip_modify_conflict,  ///< a second IPMODIFY ops on a function (EBUSY)
    unexpected_bytes,    ///< the text at a site is not what this library left there (EFAULT)
    out_of_reach,        ///< no memory for a veneer within 2 GiB of a site
    permission_denied,   ///< the system forbids changing text (EPERM)
    out_of_memory,       ///< (ENOMEM)
    busy,                ///< a thread stands where text has to change, and did not move (EAGAIN)
    version_mismatch,    ///< another object of this process holds a registry of another version
    system_failure,      ///< a system call failed for another reason
};

/// The name of an errc, as it is spelled in the source.
[[nodiscard]] FTRACE_NOTRACE constexpr std::string_view to_string(errc code) noexcept {
    switch (code) {
    case errc::already_registered: return "already_registered";
    case errc::not_registered: return "not_registered";
    case errc::invalid_argument: return "invalid_argument";
    case errc::no_match: return "no_match";
    case errc::not_a_site: return "not_a_site";
    case errc::ip_modify_conflict: return "ip_modify_conflict";
    case errc::unexpected_bytes: return "unexpected_bytes";
    case errc::out_of_reach: return "out_of_reach";
    case errc::permission_denied: return "permission_denied";
    case errc::out_of_memory: return "out_of_memory";
    case errc::busy: return "busy";
    case errc::version_mismatch: return "version_mismatch";
    case errc::system_failure: return "system_failure";
    }
    return "unknown";
}

/// A failure: its kind, the function and address it concerns (empty and 0 where none), and a
/// sentence for people that says what happened and what to do.
struct error {
    FTRACE_NOTRACE error() = default;
    FTRACE_NOTRACE error(errc what, std::string text, std::string of_function = {},
                         std::uintptr_t at = 0)
        : code(what), message(std::move(text)), function(std::move(of_function)), address(at) {}
    FTRACE_NOTRACE error(const error&) = default;
    FTRACE_NOTRACE error(error&&) noexcept = default;
    FTRACE_NOTRACE error& operator=(const error&) = default;
    FTRACE_NOTRACE error& operator=(error&&) noexcept = default;
    FTRACE_NOTRACE ~error() = default;

    errc code{};
    std::string message;
    std::string function;
    std::uintptr_t address = 0;
};

namespace detail {

/// "0x7f12": for messages; the core includes no formatting library.
[[nodiscard]] FTRACE_NOTRACE inline std::string hex(std::uintptr_t value) {
    char digits[2 * sizeof value];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % 16];
        value /= 16;
    } while (value != 0);
    std::string text = "0x";
    while (count > 0) text += digits[--count];
    return text;
}

}  // namespace detail
}  // namespace ftrace::inline v0
