// result<T>: a value or an error, with the member names of std::expected (C++23).
#pragma once

#include <ftrace/core/error.hpp>

#include <cstdio>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace ftrace::inline v0 {

template <typename T>
class result;

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
    FTRACE_NOTRACE result(result&& that) noexcept : has_value_(that.has_value_) {
        take(std::move(that));
    }
    FTRACE_NOTRACE result& operator=(result&& that) noexcept {
        if (this != &that) {
            clear();
            has_value_ = that.has_value_;
            take(std::move(that));
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
    [[nodiscard]] FTRACE_NOTRACE T value_or(U&& that) const& {
        return has_value_ ? value_ : static_cast<T>(std::forward<U>(that));
    }
    template <typename U>
    [[nodiscard]] FTRACE_NOTRACE T value_or(U&& that) && {
        return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(that));
    }
    [[nodiscard]] FTRACE_NOTRACE T& operator*() & { return value(); }
    [[nodiscard]] FTRACE_NOTRACE const T& operator*() const& { return value(); }
    [[nodiscard]] FTRACE_NOTRACE T&& operator*() && { return std::move(*this).value(); }
    [[nodiscard]] FTRACE_NOTRACE T* operator->() { return &value(); }
    [[nodiscard]] FTRACE_NOTRACE const T* operator->() const { return &value(); }

    /// The error; only where has_value() is false.
    [[nodiscard]] FTRACE_NOTRACE const ftrace::error& error() const& noexcept { return error_; }
    [[nodiscard]] FTRACE_NOTRACE ftrace::error&& error() && noexcept { return std::move(error_); }
    [[nodiscard]] FTRACE_NOTRACE ftrace::error error_or(ftrace::error that) const& {
        return has_value_ ? std::move(that) : error_;
    }

    /// `next(value)`, which is another result, or this error.
    template <typename Next>
    FTRACE_NOTRACE auto and_then(Next&& next) && -> std::invoke_result_t<Next, T&&> {
        if (!has_value_) return std::move(error_);
        return std::forward<Next>(next)(std::move(value_));
    }
    /// A result of `change(value)`, or of this error.
    template <typename Change>
    FTRACE_NOTRACE auto transform(
        Change&& change) && -> result<std::remove_cv_t<std::invoke_result_t<Change, T&&>>> {
        if (!has_value_) return std::move(error_);
        if constexpr (std::is_void_v<std::invoke_result_t<Change, T&&>>)
            return std::forward<Change>(change)(std::move(value_)),
                   result<std::invoke_result_t<Change, T&&>>();
        else
            return std::forward<Change>(change)(std::move(value_));
    }
    /// This value, or `instead(error)`, which is a result of the same type.
    template <typename Instead>
    FTRACE_NOTRACE result or_else(Instead&& instead) && {
        if (has_value_) return std::move(*this);
        return std::forward<Instead>(instead)(std::move(error_));
    }
    /// This value, or the error that `change(error)` makes of it.
    template <typename Change>
    FTRACE_NOTRACE result transform_error(Change&& change) && {
        if (has_value_) return std::move(*this);
        return result(ftrace::error(std::forward<Change>(change)(std::move(error_))));
    }

    template <typename... Args>
    FTRACE_NOTRACE T& emplace(Args&&... args) noexcept {
        clear();
        ::new (static_cast<void*>(&value_)) T(std::forward<Args>(args)...);
        has_value_ = true;
        return value_;
    }
    FTRACE_NOTRACE void swap(result& that) noexcept {
        result mine(std::move(*this));
        *this = std::move(that);
        that = std::move(mine);
    }
    FTRACE_NOTRACE friend void swap(result& a, result& b) noexcept { a.swap(b); }
    /// Errors are equal to no value.
    [[nodiscard]] FTRACE_NOTRACE friend bool operator==(const result& a, const T& b) {
        return a.has_value_ && a.value_ == b;
    }

private:
    FTRACE_NOTRACE void check() const {
        if (!has_value_) detail::bad_result_access(error_);
    }
    FTRACE_NOTRACE void take(result&& that) noexcept {
        if (has_value_)
            ::new (static_cast<void*>(&value_)) T(std::move(that.value_));
        else
            ::new (static_cast<void*>(&error_)) ftrace::error(std::move(that.error_));
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

/// A call that yields nothing but may fail. Where it did not, no error is made and none destroyed:
/// strings are templates, and may be traced.
template <>
class [[nodiscard]] result<void> {
public:
    using value_type = void;
    using error_type = ftrace::error;

    FTRACE_NOTRACE result() noexcept : has_value_(true) {}
    FTRACE_NOTRACE result(ftrace::error e) noexcept : error_(std::move(e)), has_value_(false) {}
    FTRACE_NOTRACE result(result&& that) noexcept : has_value_(that.has_value_) {
        take(std::move(that));
    }
    FTRACE_NOTRACE result& operator=(result&& that) noexcept {
        if (this != &that) {
            clear();
            has_value_ = that.has_value_;
            take(std::move(that));
        }
        return *this;
    }
    FTRACE_NOTRACE ~result() { clear(); }

    [[nodiscard]] FTRACE_NOTRACE bool has_value() const noexcept { return has_value_; }
    FTRACE_NOTRACE explicit operator bool() const noexcept { return has_value_; }
    FTRACE_NOTRACE void value() const {
        if (!has_value_) detail::bad_result_access(error_);
    }
    FTRACE_NOTRACE void operator*() const { value(); }
    [[nodiscard]] FTRACE_NOTRACE const ftrace::error& error() const& noexcept { return error_; }
    [[nodiscard]] FTRACE_NOTRACE ftrace::error&& error() && noexcept { return std::move(error_); }
    [[nodiscard]] FTRACE_NOTRACE ftrace::error error_or(ftrace::error that) const& {
        return has_value_ ? std::move(that) : error_;
    }

    /// As those of result<T>, with functions that take no value.
    template <typename Next>
    FTRACE_NOTRACE auto and_then(Next&& next) && -> std::invoke_result_t<Next> {
        if (!has_value_) return std::move(error_);
        return std::forward<Next>(next)();
    }
    template <typename Change>
    FTRACE_NOTRACE auto transform(
        Change&& change) && -> result<std::remove_cv_t<std::invoke_result_t<Change>>> {
        if (!has_value_) return std::move(error_);
        if constexpr (std::is_void_v<std::invoke_result_t<Change>>)
            return std::forward<Change>(change)(), result();
        else
            return std::forward<Change>(change)();
    }
    template <typename Instead>
    FTRACE_NOTRACE result or_else(Instead&& instead) && {
        if (has_value_) return {};
        return std::forward<Instead>(instead)(std::move(error_));
    }
    template <typename Change>
    FTRACE_NOTRACE result transform_error(Change&& change) && {
        if (has_value_) return {};
        return result(ftrace::error(std::forward<Change>(change)(std::move(error_))));
    }
    FTRACE_NOTRACE void emplace() noexcept { *this = result(); }
    FTRACE_NOTRACE void swap(result& that) noexcept { std::swap(*this, that); }

private:
    FTRACE_NOTRACE void take(result&& that) noexcept {
        if (!has_value_) ::new (static_cast<void*>(&error_)) ftrace::error(std::move(that.error_));
    }
    FTRACE_NOTRACE void clear() noexcept {
        if (!has_value_) error_.~error_type();
    }

    union {
        ftrace::error error_;
    };
    bool has_value_;
};

}  // namespace ftrace::inline v0
