#pragma once
// matrix_view<T>: rows of contiguous elements that somebody else owns.
#include "abi.hpp"

#include <cstddef>
#include <type_traits>

namespace qlib::inline QLIB_ABI {

/// A row-major matrix in foreign memory. `stride` counts elements from one row's start to the next's.
template <class T> struct matrix_view {
    T* data = nullptr;
    std::size_t rows = 0, cols = 0;
    std::size_t stride = cols;

    [[nodiscard]] QLIB_INLINE constexpr T* row(std::size_t r) const noexcept { return data + r * stride; }
    [[nodiscard]] QLIB_INLINE constexpr T& operator()(std::size_t r, std::size_t c) const noexcept {
        return data[r * stride + c];
    }
    [[nodiscard]] QLIB_INLINE constexpr matrix_view row_range(std::size_t first, std::size_t count) const noexcept {
        return {row(first), count, cols, stride};
    }
    QLIB_INLINE constexpr operator matrix_view<const T>() const noexcept requires(!std::is_const_v<T>) {
        return {data, rows, cols, stride};
    }
};
template <class T> matrix_view(T*, std::size_t, std::size_t) -> matrix_view<T>;
template <class T> matrix_view(T*, std::size_t, std::size_t, std::size_t) -> matrix_view<T>;

}  // namespace qlib::inline QLIB_ABI
