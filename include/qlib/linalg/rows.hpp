#pragma once
// The one hot loop of linalg, in every room: y += c * x, where every element is one chain of FMAs in one order. Blocking,
// vector width and threads only choose which chains run side by side, so all results are the same bits everywhere.
#include "../core/call.hpp"
#include "../core/matrix_view.hpp"
#include "../core/memory.hpp"
#include "../kernel/dispatch.hpp"
#include "../kernel/room.hpp"
#include "../numeric/exact.hpp"

#include <cstddef>

namespace qlib::inline QLIB_ABI::detail {

/// Read-only elements: (r, t) stands at data[r * row + t * col]. Steps may be negative: a chain that runs downward.
struct strided {
    const float* data;
    std::ptrdiff_t row, col = 1;
    [[nodiscard]] QLIB_INLINE strided from(std::size_t r, std::size_t t) const noexcept {
        return {data + static_cast<std::ptrdiff_t>(r) * row + static_cast<std::ptrdiff_t>(t) * col, row, col};
    }
};

/// The row kernels of one room; rows.inl says what they do.
struct row_kernels {
    void (*add_product)(matrix_view<float> y, strided c, strided x, std::size_t depth) noexcept;
};

}  // namespace qlib::inline QLIB_ABI::detail

// O3 for users of g++ -O2, whose cost model leaves loops of unknown length alone.
QLIB_EXACT_BEGIN
#if !defined(__clang__)
_Pragma("GCC optimize(\"O3\")")
#endif
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {
#define QLIB_ROWS portable_rows
#include "rows.inl"
#undef QLIB_ROWS
}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

#if defined(__x86_64__)
QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {
#define QLIB_ROWS avx512_rows
#include "rows.inl"
#undef QLIB_ROWS
}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The kernels of a room that this machine has.
[[nodiscard]] inline row_kernels rows_of(isa room) noexcept {
#if defined(__x86_64__)
    if (resolve_room(room) == isa::avx512) return {&avx512_rows::add_product};
#endif
    (void)room;
    return {&portable_rows::add_product};
}

/// The kernels that a call asks for; tells its report. errc::unsupported when the machine lacks the room.
[[nodiscard]] inline result<row_kernels> open_rows(const call& how) noexcept {
    if (const status s = check_room(how.room); !s) return s.error();
    if (how.report != nullptr) how.report->room = resolve_room(how.room);
    return rows_of(how.room);
}

[[nodiscard]] QLIB_INLINE constexpr std::ptrdiff_t signed_size(std::size_t n) noexcept { return static_cast<std::ptrdiff_t>(n); }
/// The floats from one row's start to the next's: an odd number of cache lines, so that rows do not fight for the same cache sets.
[[nodiscard]] QLIB_INLINE constexpr std::size_t row_stride(std::size_t cols) noexcept { return (divide_up(cols, 16) | 1) * 16; }

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
