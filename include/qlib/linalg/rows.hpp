#pragma once
// The one hot loop of linalg, rows.inl, in the room of a call. Blocking, vector width and threads only choose which
// chains of FMAs run side by side, so all results are the same bits everywhere.
#include "../core/call.hpp"
#include "../core/matrix_view.hpp"
#include "../core/memory.hpp"
#include "../room/rooms.hpp"
#include "strided.hpp"

#include <cstddef>

namespace qlib::inline QLIB_ABI::detail {

/// The row kernels of one room; rows.inl says what they do.
struct row_kernels {
    void (*add_product)(matrix_view<float> y, strided c, strided x, std::size_t depth) noexcept;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The kernels of a room that this machine has.
[[nodiscard]] inline row_kernels rows_of(isa room) noexcept {
    return with_room(room, [](auto in) -> row_kernels { return {&decltype(in)::add_product}; });
}

/// The kernels that a call asks for; tells its report. errc::unsupported when the machine lacks the room.
[[nodiscard]] inline result<row_kernels> open_rows(const call& how) noexcept {
    if (const status s = check_room(how.room); !s) return s.error();
    if (how.report != nullptr) how.report->room = resolve_room(how.room);
    return rows_of(how.room);
}

[[nodiscard]] QLIB_INLINE constexpr std::ptrdiff_t signed_size(std::size_t n) noexcept {
    return static_cast<std::ptrdiff_t>(n);
}
/// The floats from one row's start to the next's: an odd number of cache lines, so
/// that rows do not fight for the same cache sets.
[[nodiscard]] QLIB_INLINE constexpr std::size_t row_stride(std::size_t cols) noexcept {
    return (divide_up(cols, 16) | 1) * 16;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
