#pragma once
// Owned bytes, 64-byte aligned, and sizes that cannot wrap.
#include "call.hpp"
#include "matrix_view.hpp"
#include "result.hpp"

#include <cstring>
#include <limits>
#include <type_traits>

namespace qlib::inline QLIB_ABI::detail {

inline constexpr std::size_t alignment = 64;

/// a * b, or the largest size_t when that does not fit: an allocation of it fails cleanly.
[[nodiscard]] QLIB_INLINE constexpr std::size_t saturating_multiply(std::size_t a, std::size_t b) noexcept {
    std::size_t c = 0;
    return __builtin_mul_overflow(a, b, &c) ? (std::numeric_limits<std::size_t>::max)() : c;
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t saturating_add(std::size_t a, std::size_t b) noexcept {
    std::size_t c = 0;
    return __builtin_add_overflow(a, b, &c) ? (std::numeric_limits<std::size_t>::max)() : c;
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t divide_up(std::size_t a, std::size_t b) noexcept {
    return a / b + (a % b != 0);
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t round_up(std::size_t a, std::size_t b) noexcept {
    return divide_up(a, b) * b;
}

[[nodiscard]] QLIB_INLINE constexpr error out_of_memory(std::size_t bytes) noexcept {
    return {errc::memory, "no memory for {0} bytes", "", {bytes}};
}

/// What every function asks of a view at its door: that its last element has an address.
template <class View>
[[nodiscard]] QLIB_INLINE constexpr status check_view(const View& m, std::size_t element_size,
                                                      const char* operand) noexcept {
    if (m.rows == 0 || m.cols == 0) return {};
    const std::size_t reach = saturating_add(saturating_multiply(m.rows - 1, m.stride), m.cols);
    if (saturating_multiply(reach, element_size) <= (std::numeric_limits<std::size_t>::max)() / 2) return {};
    return error{
        errc::shape, "{0} x {1} elements, rows {2} apart, do not fit in memory", operand, {m.rows, m.cols, m.stride}};
}
template <class T>
[[nodiscard]] QLIB_INLINE constexpr status check_view(const matrix_view<T>& m, const char* operand) noexcept {
    return check_view(m, sizeof(T), operand);
}

/// Uninitialised elements of a trivial type, freed with their owner. No exceptions:
/// allocate() says whether there was memory.
template <class T> class buffer {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignment);

public:
    QLIB_INLINE buffer() noexcept = default;
    QLIB_INLINE buffer(buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    QLIB_INLINE buffer& operator=(buffer&& other) noexcept {
        (std::swap)(data_, other.data_);
        (std::swap)(size_, other.size_);
        return *this;
    }
    QLIB_INLINE ~buffer() { release(); }

    [[nodiscard]] QLIB_TAGGED bool allocate(std::size_t count) noexcept {
        release();
        data_ = nullptr;
        size_ = 0;
        const std::size_t bytes = saturating_multiply(count, sizeof(T));
        if (count == 0) return true;
        if (bytes > (std::numeric_limits<std::size_t>::max)() / 2) return false;
        data_ = static_cast<T*>(::operator new (bytes, std::align_val_t{alignment}, std::nothrow));
        size_ = data_ != nullptr ? count : 0;
        return data_ != nullptr;
    }
    [[nodiscard]] QLIB_INLINE T* data() noexcept { return data_; }
    [[nodiscard]] QLIB_INLINE const T* data() const noexcept { return data_; }
    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return size_; }
    [[nodiscard]] QLIB_INLINE T& operator[](std::size_t i) noexcept { return data_[i]; }
    [[nodiscard]] QLIB_INLINE const T& operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    QLIB_INLINE void release() const noexcept {
        if (data_ != nullptr) ::operator delete (data_, std::align_val_t{alignment});
    }
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

/// The working memory of one call, cut into pieces: the caller's scratch, or one allocation.
class workspace {
public:
    /// What must be asked for `bytes` of pieces, each rounded up to the alignment: the first piece may begin anywhere
    /// in the caller's scratch.
    [[nodiscard]] QLIB_INLINE static constexpr std::size_t asked(std::size_t bytes) noexcept {
        return bytes == 0 ? 0 : saturating_add(bytes, alignment - 1);
    }
    /// Bytes that a piece of `count` elements takes.
    template <class T> [[nodiscard]] QLIB_INLINE static constexpr std::size_t piece(std::size_t count) noexcept {
        const std::size_t bytes = saturating_multiply(count, sizeof(T));
        return bytes > (std::numeric_limits<std::size_t>::max)() - alignment ? bytes : round_up(bytes, alignment);
    }

    QLIB_INLINE workspace() noexcept = default;
    /// Memory that somebody else made sure of, aligned.
    QLIB_INLINE explicit workspace(std::byte* memory) noexcept : at_(memory) {}
    /// error: scratch, memory.
    [[nodiscard]] QLIB_TAGGED status open(const call& how, std::size_t bytes) noexcept {
        if (how.scratch.empty()) {
            if (!own_.allocate(bytes)) return out_of_memory(bytes);
            at_ = own_.data();
            return {};
        }
        if (how.scratch.size() < asked(bytes))
            return error{errc::scratch,
                         "{0} bytes of scratch, where {1} are needed",
                         "call.scratch",
                         {how.scratch.size(), asked(bytes)}};
        const auto address = reinterpret_cast<std::uintptr_t>(how.scratch.data());
        at_ = how.scratch.data() + (alignment - address % alignment) % alignment;
        return {};
    }
    template <class T> [[nodiscard]] QLIB_INLINE T* take(std::size_t count) noexcept {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignment);
        T* const p = reinterpret_cast<T*>(at_);
        at_ += piece<T>(count);
        return p;
    }

private:
    buffer<std::byte> own_;
    std::byte* at_ = nullptr;
};

}  // namespace qlib::inline QLIB_ABI::detail
