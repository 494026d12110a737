// No #pragma once: included in one_range and in each room, after map.inl. The map of a range, in each lane.

/// Abs-max scale of a range on a grid. A scale with a sign maps the extreme value to the end of
/// the grid that reaches furthest (ggml's Q4_0); one without maps the abs-max to the mean of both
/// ends (for -8..7: 7.5, GPTQ's symmetric rule).
QLIB_INLINE static constexpr floats scale_of_range(const range_rule& rule, floats low, floats high) noexcept {
    const float down = -rule.bottom, top = rule.top;
    if (down == top) return larger(-low, high) / top;
    if (down <= 0) return larger(high, splat(0.0f)) / top;
    if (!rule.signed_scale) return larger(-low, high) / ((down + top) * 0.5f);
    return select(-low > high, low, high) / (down > top ? -down : top);
}

/// The map that sends [low, high] onto the whole grid. Unless offsets have a sign the range holds 0.
/// No overflow for any finite range: both ends are divided before they are subtracted.
QLIB_INLINE static constexpr lane_map map_of_range(const range_rule& rule, floats low, floats high) noexcept {
    const floats zero = splat(0.0f);
    if (rule.map == form::scaled) return {scale_of_range(rule, low, high), zero};
    const float steps = rule.top - rule.bottom;
    if (rule.map == form::shifted) {
        low = smaller(low, zero);
        const floats s = larger(high, zero) / steps - low / steps;
        const mask usable = magnitude(s) >= 0x1p-126f;
        return {select(usable, s, zero), select(usable, rule.bottom - low / select(usable, s, splat(1.0f)), zero)};
    }
    if (!rule.signed_offset) low = smaller(low, zero);
    high = larger(high, low);
    const floats s = high / steps - low / steps;
    return {s, low - times(s, splat(rule.bottom))};
}
