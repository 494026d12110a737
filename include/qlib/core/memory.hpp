#pragma once
// Owned bytes, 64-byte aligned, and sizes that cannot wrap.
#include "result.hpp"

#include <cstring>
#include <limits>
#include <type_traits>

namespace qlib::inline v0::detail {

inline constexpr std::size_t alignment = 64;

/// a * b, or the largest size_t when that does not fit: an allocation of it fails cleanly.
[[nodiscard]] QLIB_INLINE constexpr std::size_t saturating_multiply(std::size_t a, std::size_t b) noexcept {
    std::size_t c = 0;
    return __builtin_mul_overflow(a, b, &c) ? std::numeric_limits<std::size_t>::max() : c;
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t saturating_add(std::size_t a, std::size_t b) noexcept {
    std::size_t c = 0;
    return __builtin_add_overflow(a, b, &c) ? std::numeric_limits<std::size_t>::max() : c;
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t divide_up(std::size_t a, std::size_t b) noexcept { return a / b + (a % b != 0); }
[[nodiscard]] QLIB_INLINE constexpr std::size_t round_up(std::size_t a, std::size_t b) noexcept { return divide_up(a, b) * b; }

/// Uninitialised elements of a trivial type, freed with their owner. No exceptions: allocate() says whether there was memory.
template <class T> class buffer {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignment);

public:
    buffer() noexcept = default;
    buffer(buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    buffer& operator=(buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~buffer() { release(); }

    [[nodiscard]] bool allocate(std::size_t count) noexcept {
        release();
        const std::size_t bytes = saturating_multiply(count, sizeof(T));
        if (count == 0) return true;
        if (bytes > std::numeric_limits<std::size_t>::max() / 2) return false;
        data_ = static_cast<T*>(::operator new(bytes, std::align_val_t{alignment}, std::nothrow));
        size_ = data_ != nullptr ? count : 0;
        return data_ != nullptr;
    }
    [[nodiscard]] QLIB_INLINE T* data() noexcept { return data_; }
    [[nodiscard]] QLIB_INLINE const T* data() const noexcept { return data_; }
    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return size_; }
    [[nodiscard]] QLIB_INLINE T& operator[](std::size_t i) noexcept { return data_[i]; }
    [[nodiscard]] QLIB_INLINE const T& operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    void release() noexcept {
        if (data_ != nullptr) ::operator delete(data_, std::align_val_t{alignment});
        data_ = nullptr;
        size_ = 0;
    }
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

[[nodiscard]] QLIB_INLINE constexpr error out_of_memory(std::size_t bytes) noexcept {
    return {errc::memory, "no memory for {0} bytes", "", {bytes}};
}

}  // namespace qlib::inline v0::detail
