// A std::vector for plain values. Two things set it apart: its functions are never sites, so that
// the patcher may use it while it changes those of std::vector; and a new element type costs the
// including file next to nothing, while std::vector's members take a compiler 5 ms for each.
#pragma once

#include <cstddef>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <initializer_list>
#include <new>
#include <type_traits>

namespace ftrace::inline v0::detail {

/// The memory of a plain_vector: all of it that is the same for all types.
class plain_storage {
protected:
    FTRACE_NOTRACE plain_storage() noexcept = default;
    FTRACE_NOTRACE ~plain_storage() { ::operator delete(memory_); }
    plain_storage(const plain_storage&) = delete;
    plain_storage& operator=(const plain_storage&) = delete;

    FTRACE_NOTRACE void swap(plain_storage& other) noexcept {
        exchange(memory_, other.memory_);
        exchange(size_, other.size_);
        exchange(capacity_, other.capacity_);
    }
    /// Room for `wanted` elements of `bytes` each. Throws std::bad_alloc, all left as it was.
    FTRACE_NOTRACE void make_room(std::size_t wanted, std::size_t bytes) {
        if (wanted <= capacity_) return;
        std::size_t size = 0;
        if (__builtin_mul_overflow(wanted, bytes, &size))
            size = ~std::size_t{0} / 2;  // there is not so much
        void* const larger = ::operator new(size);
        if (size_ != 0) std::memcpy(larger, memory_, size_ * bytes);
        ::operator delete(memory_);
        memory_ = larger;
        capacity_ = wanted;
    }
    /// Room for one more, so that n of them cost O(n).
    FTRACE_NOTRACE void make_room_for_one(std::size_t bytes) {
        if (size_ == capacity_) make_room(capacity_ == 0 ? 4 : 2 * capacity_, bytes);
    }

    void* memory_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;

private:
    // Not std::swap: that may be a site.
    template <class Value>
    FTRACE_NOTRACE static void exchange(Value& a, Value& b) noexcept {
        const Value value = a;
        a = b;
        b = value;
    }
};

/// As far as it goes the same as std::vector<T>, whose names it has. T may be incomplete until the
/// first member is used, is copied as bytes, and never destroyed.
template <class T>
class plain_vector : plain_storage {
public:
    FTRACE_NOTRACE plain_vector() noexcept = default;
    FTRACE_NOTRACE ~plain_vector() {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignof(std::max_align_t));
    }
    FTRACE_NOTRACE explicit plain_vector(std::size_t size, const T& value = T()) {
        resize(size, value);
    }
    FTRACE_NOTRACE plain_vector(std::initializer_list<T> values) {
        make_room(values.size(), sizeof(T));
        for (const T& value : values) push_back(value);
    }
    FTRACE_NOTRACE plain_vector(plain_vector&& other) noexcept { swap(other); }
    FTRACE_NOTRACE plain_vector& operator=(plain_vector&& other) noexcept {
        plain_vector taken(static_cast<plain_vector&&>(other));
        swap(taken);
        return *this;
    }
    FTRACE_NOTRACE plain_vector(const plain_vector& other) : plain_storage() {
        make_room(other.size_, sizeof(T));
        size_ = other.size_;
        if (size_ != 0) std::memcpy(memory_, other.memory_, size_ * sizeof(T));
    }
    FTRACE_NOTRACE plain_vector& operator=(const plain_vector& other) {
        plain_vector copy(other);
        swap(copy);
        return *this;
    }
    FTRACE_NOTRACE void swap(plain_vector& other) noexcept { plain_storage::swap(other); }

    [[nodiscard]] FTRACE_NOTRACE std::size_t size() const noexcept { return size_; }
    [[nodiscard]] FTRACE_NOTRACE std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] FTRACE_NOTRACE bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] FTRACE_NOTRACE T* data() noexcept { return static_cast<T*>(memory_); }
    [[nodiscard]] FTRACE_NOTRACE const T* data() const noexcept {
        return static_cast<const T*>(memory_);
    }
    [[nodiscard]] FTRACE_NOTRACE T* begin() noexcept { return data(); }
    [[nodiscard]] FTRACE_NOTRACE const T* begin() const noexcept { return data(); }
    [[nodiscard]] FTRACE_NOTRACE T* end() noexcept { return data() + size_; }
    [[nodiscard]] FTRACE_NOTRACE const T* end() const noexcept { return data() + size_; }
    [[nodiscard]] FTRACE_NOTRACE T& operator[](std::size_t i) noexcept { return data()[i]; }
    [[nodiscard]] FTRACE_NOTRACE const T& operator[](std::size_t i) const noexcept {
        return data()[i];
    }
    [[nodiscard]] FTRACE_NOTRACE T& front() noexcept { return data()[0]; }
    [[nodiscard]] FTRACE_NOTRACE const T& front() const noexcept { return data()[0]; }
    [[nodiscard]] FTRACE_NOTRACE T& back() noexcept { return data()[size_ - 1]; }
    [[nodiscard]] FTRACE_NOTRACE const T& back() const noexcept { return data()[size_ - 1]; }

    FTRACE_NOTRACE void reserve(std::size_t wanted) { make_room(wanted, sizeof(T)); }
    /// `value` may be one of its own.
    FTRACE_NOTRACE void push_back(const T& value) {
        const T copy = value;
        make_room_for_one(sizeof(T));
        ::new (data() + size_) T(copy);
        ++size_;
    }
    FTRACE_NOTRACE void pop_back() noexcept { --size_; }
    FTRACE_NOTRACE void clear() noexcept { size_ = 0; }
    FTRACE_NOTRACE void resize(std::size_t wanted, const T& value = T()) {
        const T copy = value;
        make_room(wanted, sizeof(T));
        for (std::size_t i = size_; i < wanted; ++i) ::new (data() + i) T(copy);
        size_ = wanted;
    }

    [[nodiscard]] FTRACE_NOTRACE bool operator==(const plain_vector& other) const noexcept {
        if (size_ != other.size_) return false;
        for (std::size_t i = 0; i < size_; ++i)
            if (!(data()[i] == other[i])) return false;
        return true;
    }
};

}  // namespace ftrace::inline v0::detail
