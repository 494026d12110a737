#pragma once
// The map of a range: abs-max and min-max scaling, for any grid. Shared by the plain fit and by the outer values of tiles.
#include "concept.hpp"

#include <limits>

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Lowest and highest level that a fit of F should aim at: the grid's own word, else those of its table.
template <class Grid> inline constexpr float lowest_level = [] {
    if constexpr (requires { Grid::lowest; }) {
        return float{Grid::lowest};
    } else {
        float low = std::numeric_limits<float>::max();
        for (std::size_t i = 0; i < Grid::size; ++i) low = detail::smaller(low, Grid::level(i));
        return low;
    }
}();
template <class Grid> inline constexpr float highest_level = [] {
    if constexpr (requires { Grid::highest; }) {
        return float{Grid::highest};
    } else {
        float high = std::numeric_limits<float>::lowest();
        for (std::size_t i = 0; i < Grid::size; ++i) high = detail::larger(high, Grid::level(i));
        return high;
    }
}();

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Abs-max scale of a range on a grid. A scale with a sign maps the extreme value to the end of the grid that reaches furthest (ggml's
/// Q4_0); one without maps the abs-max to the mean of both ends (for -8..7: 7.5, GPTQ's symmetric rule).
template <class Grid, bool SignedScale> constexpr float scale_of_range(float low, float high) noexcept {
    constexpr float bottom = -lowest_level<Grid>, top = highest_level<Grid>;
    if constexpr (bottom == top) return larger(-low, high) / top;
    else if constexpr (bottom <= 0) return larger(high, 0.0f) / top;
    else if constexpr (!SignedScale) return larger(-low, high) / ((bottom + top) * 0.5f);
    else return (-low > high ? low : high) / (bottom > top ? -bottom : top);
}

/// The map that sends [low, high] onto the whole grid. `SignedOffset`: offsets may be positive, so the range need not hold 0.
/// No overflow for any finite range: both ends are divided before they are subtracted.
template <form Map, class Grid, bool SignedScale, bool SignedOffset> constexpr affine map_of_range(float low, float high) noexcept {
    constexpr float bottom = lowest_level<Grid>, steps = Map == form::scaled ? 0.0f : highest_level<Grid> - bottom;
    if constexpr (Map == form::scaled) {
        return {scale_of_range<Grid, SignedScale>(low, high), 0};
    } else if constexpr (Map == form::shifted) {
        low = smaller(low, 0.0f);
        const float s = larger(high, 0.0f) / steps - low / steps;
        return safe_reciprocal(s) != 0 ? affine{s, bottom - low / s} : affine{};
    } else {
        if constexpr (!SignedOffset) low = smaller(low, 0.0f);
        high = larger(high, low);
        const float s = high / steps - low / steps;
        return {s, low - product(s, bottom)};
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
