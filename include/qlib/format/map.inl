// No #pragma once: included in one_map and in each room. From weights to level units, and how far levels reach.

/// The way from weights to level units, for one group. Total: a dead group sends all weights to one level.
template <form Map, bool OuterMultiplies> struct level_units {
    floats reciprocal, z, outer_reciprocal;

    QLIB_INLINE constexpr level_units(const lane_map& m, floats outer_scale) noexcept
        : reciprocal(safe_reciprocal(m.s)),
          z(m.z),
          outer_reciprocal(safe_reciprocal(outer_scale)) {}
    QLIB_INLINE constexpr floats operator()(floats x) const noexcept {
        if constexpr (OuterMultiplies) x = times(x, outer_reciprocal);
        if constexpr (Map == form::scaled) return times(x, reciprocal);
        else if constexpr (Map == form::shifted) return times(x, reciprocal) + z;
        else return times(x - z, reciprocal);
    }
};

/// What no weight that a level decodes to exceeds in magnitude; `largest` is the largest magnitude of a level.
template <form Map, bool OuterMultiplies>
QLIB_INLINE static constexpr floats reach_of(const lane_map& m, float largest,
                                             [[maybe_unused]] floats outer_scale) noexcept {
    floats reach = splat(largest);
    if constexpr (Map == form::shifted) reach = magnitude(m.z) + reach;
    reach = times(magnitude(m.s), reach);
    if constexpr (Map == form::offset) reach = reach + magnitude(m.z);
    if constexpr (OuterMultiplies) reach = times(reach, magnitude(outer_scale));
    return reach;
}
