// No #pragma once: included in one_range and in each room's lanes. The map of a range, in each lane.

/// Abs-max scale of a range on a grid. A scale with a sign maps the extreme value to the end of the grid that reaches furthest (ggml's
/// Q4_0); one without maps the abs-max to the mean of both ends (for -8..7: 7.5, GPTQ's symmetric rule).
template <class Grid, bool SignedScale> QLIB_INLINE static constexpr floats scale_of_range(floats low, floats high) noexcept {
    constexpr float bottom = -lowest_level<Grid>, top = highest_level<Grid>;
    if constexpr (bottom == top) return larger(-low, high) / top;
    else if constexpr (bottom <= 0) return larger(high, splat(0.0f)) / top;
    else if constexpr (!SignedScale) return larger(-low, high) / ((bottom + top) * 0.5f);
    else return select(-low > high, low, high) / (bottom > top ? -bottom : top);
}

/// The map that sends [low, high] onto the whole grid. `SignedOffset`: offsets may be positive, so the range need not hold 0.
/// No overflow for any finite range: both ends are divided before they are subtracted.
template <form Map, class Grid, bool SignedScale, bool SignedOffset> QLIB_INLINE static constexpr lane_map map_of_range(floats low, floats high) noexcept {
    constexpr float bottom = lowest_level<Grid>, steps = Map == form::scaled ? 0.0f : highest_level<Grid> - bottom;
    const floats zero = splat(0.0f);
    if constexpr (Map == form::scaled) {
        return {scale_of_range<Grid, SignedScale>(low, high), zero};
    } else if constexpr (Map == form::shifted) {
        low = smaller(low, zero);
        const floats s = larger(high, zero) / steps - low / steps;
        const mask usable = magnitude(s) >= 0x1p-126f;
        return {select(usable, s, zero), select(usable, bottom - low / select(usable, s, splat(1.0f)), zero)};
    } else {
        if constexpr (!SignedOffset) low = smaller(low, zero);
        high = larger(high, low);
        const floats s = high / steps - low / steps;
        return {s, low - times(s, splat(bottom))};
    }
}
