// No #pragma once: included in one_lane and, through room/vectors.inl, in each room.
// What follows from the vocabulary alone.

/// The map of a group in each lane.
struct lane_map {
    floats s, z;
};
QLIB_INLINE static constexpr floats magnitude(floats x) noexcept { return from_bits(bits(x) & 0x7FFFFFFF); }
QLIB_INLINE static constexpr ints clamp(ints x, std::int32_t low, std::int32_t high) noexcept {
    return smaller(larger(x, splat(low)), splat(high));
}
QLIB_INLINE static constexpr floats clamp(floats x, float low, float high) noexcept {  // a NaN gives low
    return smaller(splat(high), larger(splat(low), x));
}
/// See numeric/exact.hpp: the same functions of one float.
QLIB_INLINE static constexpr ints round_even(floats x) noexcept { return bits(x + 12582912.0f) - 0x4B400000; }
QLIB_INLINE static constexpr ints round_clamped(floats x, std::int32_t low, std::int32_t high) noexcept {
    return round_even(clamp(x, static_cast<float>(low), static_cast<float>(high)));
}
QLIB_INLINE static constexpr floats safe_reciprocal(floats s) noexcept {
    const mask m = magnitude(s) >= 0x1p-126f;
    return select(m, 1.0f / select(m, s, splat(1.0f)), splat(0.0f));  // no compile-time value divides by zero
}
