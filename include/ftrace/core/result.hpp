// result<T>: a value or an error, with the member names of std::expected (C++23).
#pragma once

#include <ftrace/core/error.hpp>

#include <cstdio>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace ftrace::inline v0 {
namespace detail {

/// value() of a result that holds an error: std::expected would throw; this library never does.
[[noreturn]] FTRACE_NOTRACE inline void bad_result_access(const error& e) noexcept {
    std::fprintf(stderr, "ftrace: value() of a failed result: %s\n", e.message.c_str());
    std::abort();
}

}  // namespace detail

/// What a fallible call returns. Testing it is not optional: the type is [[nodiscard]].
/// value() on an error prints the error's message and aborts.
template <typename T>
class [[nodiscard]] result {
public:
    using value_type = T;
    using error_type = ftrace::error;

    FTRACE_NOTRACE result(T value) noexcept(std::is_nothrow_move_constructible_v<T>)
        : value_(std::move(value)), has_value_(true) {}
    FTRACE_NOTRACE result(ftrace::error e) noexcept : error_(std::move(e)), has_value_(false) {}
    FTRACE_NOTRACE result(result&& other) noexcept : has_value_(other.has_value_) {
        take(std::move(other));
    }
    FTRACE_NOTRACE result& operator=(result&& other) noexcept {
        if (this != &other) {
            clear();
            has_value_ = other.has_value_;
            take(std::move(other));
        }
        return *this;
    }
    FTRACE_NOTRACE ~result() { clear(); }

    [[nodiscard]] FTRACE_NOTRACE bool has_value() const noexcept { return has_value_; }
    FTRACE_NOTRACE explicit operator bool() const noexcept { return has_value_; }

    FTRACE_NOTRACE T& value() & { return check(), value_; }
    FTRACE_NOTRACE const T& value() const& { return check(), value_; }
    FTRACE_NOTRACE T&& value() && { return check(), std::move(value_); }
    template <typename U>
    [[nodiscard]] FTRACE_NOTRACE T value_or(U&& other) const& {
        return has_value_ ? value_ : static_cast<T>(std::forward<U>(other));
    }
    template <typename U>
    [[nodiscard]] FTRACE_NOTRACE T value_or(U&& other) && {
        return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(other));
    }
    [[nodiscard]] FTRACE_NOTRACE T& operator*() & { return value(); }
    [[nodiscard]] FTRACE_NOTRACE const T& operator*() const& { return value(); }
    [[nodiscard]] FTRACE_NOTRACE T&& operator*() && { return std::move(*this).value(); }
    [[nodiscard]] FTRACE_NOTRACE T* operator->() { return &value(); }
    [[nodiscard]] FTRACE_NOTRACE const T* operator->() const { return &value(); }

    /// The error; only where has_value() is false.
    [[nodiscard]] FTRACE_NOTRACE const ftrace::error& error() const& noexcept { return error_; }
    [[nodiscard]] FTRACE_NOTRACE ftrace::error&& error() && noexcept { return std::move(error_); }

private:
    FTRACE_NOTRACE void check() const {
        if (!has_value_) detail::bad_result_access(error_);
    }
    FTRACE_NOTRACE void take(result&& other) noexcept {
        if (has_value_)
            ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
        else
            ::new (static_cast<void*>(&error_)) ftrace::error(std::move(other.error_));
    }
    FTRACE_NOTRACE void clear() noexcept {
        if (has_value_)
            value_.~T();
        else
            error_.~error_type();
    }

    union {
        T value_;
        ftrace::error error_;
    };
    bool has_value_;
};

/// A call that yields nothing but may fail.
template <>
class [[nodiscard]] result<void> {
public:
    using value_type = void;
    using error_type = ftrace::error;

    FTRACE_NOTRACE result() noexcept = default;
    FTRACE_NOTRACE result(result&&) noexcept = default;
    FTRACE_NOTRACE result& operator=(result&&) noexcept = default;
    FTRACE_NOTRACE ~result() = default;
    FTRACE_NOTRACE result(ftrace::error e) noexcept : error_(std::move(e)), has_value_(false) {}

    [[nodiscard]] FTRACE_NOTRACE bool has_value() const noexcept { return has_value_; }
    FTRACE_NOTRACE explicit operator bool() const noexcept { return has_value_; }
    FTRACE_NOTRACE void value() const {
        if (!has_value_) detail::bad_result_access(error_);
    }
    [[nodiscard]] FTRACE_NOTRACE const ftrace::error& error() const& noexcept { return error_; }
    [[nodiscard]] FTRACE_NOTRACE ftrace::error&& error() && noexcept { return std::move(error_); }

private:
    ftrace::error error_;
    bool has_value_ = true;
};

}  // namespace ftrace::inline v0
