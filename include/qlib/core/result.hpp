#pragma once
// status and result<T>: how every function of qlib says that it failed. No exceptions, no heap.
#include "abi.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>
#include <utility>

namespace qlib::inline QLIB_ABI {

/// What kind of rule was broken.
enum class errc : std::uint8_t {
    shape,         ///< two operands disagree, or a size overflows
    ragged,        ///< the format's rows must hold whole blocks
    unsliceable,   ///< blocks run over row ends: the matrix has no rows to work on
    non_finite,    ///< a NaN or an infinity in the input
    overflow,      ///< a scale that the format cannot store
    importance,    ///< an importance that is negative, not finite, or of the wrong length
    unsupported,   ///< this format or machine cannot do it
    argument,      ///< an option outside its range
    memory,        ///< an allocation failed
    scratch,       ///< call.scratch is smaller than scratch_bytes() says
    cancelled,     ///< call.progress asked to stop
    not_positive,  ///< a Hessian that no damping makes positive definite
    truncated,     ///< a file that ends too early
    malformed,     ///< a file that breaks its own format's rules
    io,            ///< the operating system refused
};

/// One broken rule. Copies are cheap; texts are static strings.
struct error {
    errc code{};
    const char* rule = "";     ///< a sentence with {0}..{3} where sizes go
    const char* operand = "";  ///< which argument, tensor part or field
    std::array<std::uint64_t, 4> sizes{};

    /// Writes "name: operand: rule" with the sizes filled in. Returns the part of
    /// `buffer` that was used; what does not fit is cut.
    [[nodiscard]] QLIB_TAGGED std::string_view format(std::span<char> buffer,
                                                      std::string_view name = {}) const noexcept {
        std::size_t at = 0;
        const auto put = [&](char c) {
            if (at < buffer.size()) buffer[at++] = c;
        };
        const auto text = [&](std::string_view s) {
            for (const char c : s) put(c);
        };
        for (const std::string_view part : {name, std::string_view(operand)})
            if (!part.empty()) {
                text(part);
                text(": ");
            }
        for (const char* c = rule; *c != 0; ++c) {
            if (c[0] == '{' && c[1] >= '0' && c[1] <= '3' && c[2] == '}') {
                number(sizes[static_cast<std::size_t>(c[1] - '0')], put);
                c += 2;
            } else {
                put(*c);
            }
        }
        return {buffer.data(), at};
    }

private:
    template <class Put> QLIB_INLINE static void number(std::uint64_t v, const Put& put) {
        char digits[20];
        std::size_t n = 0;
        do {
            digits[n++] = static_cast<char>('0' + v % 10);
            v /= 10;
        } while (v != 0);
        while (n != 0) put(digits[--n]);
    }
};

/// Success, or an error.
class [[nodiscard]] status {
public:
    QLIB_INLINE constexpr status() noexcept = default;
    QLIB_INLINE constexpr status(const qlib::error& e) noexcept : failed_(true), error_(e) {}
    [[nodiscard]] QLIB_INLINE constexpr bool ok() const noexcept { return !failed_; }
    [[nodiscard]] QLIB_INLINE constexpr explicit operator bool() const noexcept { return ok(); }
    /// The error; a default one when ok().
    [[nodiscard]] QLIB_INLINE constexpr const qlib::error& error() const noexcept { return error_; }

private:
    bool failed_ = false;
    qlib::error error_{};
};

/// A value, or an error. value(), * and -> on an error trap: that is a mistake of the program, not of its input.
template <class T> class [[nodiscard]] result {
public:
    QLIB_INLINE result(T value) noexcept : ok_(true) { ::new (static_cast<void*>(&value_)) T(std::move(value)); }
    QLIB_INLINE result(const qlib::error& e) noexcept : error_(e) {}
    QLIB_INLINE result(result&& other) noexcept : ok_(other.ok_) {
        if (ok_) ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
        else error_ = other.error_;
    }
    QLIB_INLINE result& operator=(result&& other) noexcept {
        if (this != &other) {
            this->~result();
            ::new (static_cast<void*>(this)) result(std::move(other));
        }
        return *this;
    }
    QLIB_INLINE ~result() {
        if (ok_) value_.~T();
    }

    [[nodiscard]] QLIB_INLINE bool has_value() const noexcept { return ok_; }
    [[nodiscard]] QLIB_INLINE explicit operator bool() const noexcept { return ok_; }
    [[nodiscard]] QLIB_INLINE const qlib::error& error() const noexcept { return error_; }
    [[nodiscard]] QLIB_INLINE T& value() & noexcept { return need_value(), value_; }
    [[nodiscard]] QLIB_INLINE const T& value() const& noexcept { return need_value(), value_; }
    [[nodiscard]] QLIB_INLINE T value() && noexcept { return need_value(), std::move(value_); }
    [[nodiscard]] QLIB_INLINE T& operator*() & noexcept { return value(); }
    [[nodiscard]] QLIB_INLINE const T& operator*() const& noexcept { return value(); }
    [[nodiscard]] QLIB_INLINE T operator*() && noexcept { return std::move(*this).value(); }
    [[nodiscard]] QLIB_INLINE T* operator->() noexcept { return &value(); }
    [[nodiscard]] QLIB_INLINE const T* operator->() const noexcept { return &value(); }

private:
    QLIB_INLINE void need_value() const noexcept {
        if (!ok_) __builtin_trap();
    }
    bool ok_ = false;
    qlib::error error_{};
    union {
        T value_;
    };
};

}  // namespace qlib::inline QLIB_ABI
