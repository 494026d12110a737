// No #pragma once: part of search.inl. Scales of 8 bits are tried code after code, by their exact error.

/// Weighted squared error of a group under scale s, and the part of it that is due to saturation:
/// no smaller scale has less.
struct scale_error {
    floats all, saturated;
};
template <level_kind K>
QLIB_INLINE static constexpr scale_error scale_error_of(const level_rule& levels, const search_group& g,
                                                        floats s) noexcept {
    const floats inverse = safe_reciprocal(s);
    scale_error sum{splat(0.0f), splat(0.0f)};
    for (std::size_t i = 0; i < g.n; ++i) {
        const floats u = times(g.x[i], inverse), e = g.x[i] - times(s, nearest_level<K>(levels, u)),
                     beyond = g.x[i] - times(s, clamp(u, levels.low, levels.high));
        sum.all = sum.all + times(times(g.w[i], e), e);
        sum.saturated = sum.saturated + times(times(g.w[i], beyond), beyond);
    }
    return sum;
}

/// The power of two with the least error, of all that the wire can hold. At the first one tried no weight saturates, so
/// all of its levels that the weights use are levels of any larger one as well: none of those is better. Below, the
/// search goes on until saturation alone costs more than the best. `unit` is a power of two.
template <level_kind K>
static constexpr lane_map search_power_of_two(const search_shape& f, const search_group& g, floats unit) noexcept {
    const level_rule levels = f.levels;
    const int least_power = f.least_power;
    const search_range r = range_of(g);
    floats ratio = larger(times(r.high, 1.0f / levels.high), splat(0.0f));
    if (levels.low < 0) ratio = larger(ratio, times(r.low, 1.0f / levels.low));
    const ints up = select((bits(ratio) & 0x007FFFFF) != 0, splat(1 << 23), splat(0));
    floats s = from_bits((bits(ratio) & 0x7F800000) + up), best = s, least = splat((std::numeric_limits<float>::max)());
    ints power = ((bits(s) >> 23) - 127) + ((bits(unit) >> 23) - 127);
    for (;;) {
        const scale_error error = scale_error_of<K>(levels, g, s);
        const mask m = (error.all < least) & (power >= least_power);
        best = select(m, s, best);
        least = select(m, error.all, least);
        power = power - 1;
        s = times(s, 0.5f);
        if (!any((error.saturated < least) & (power >= least_power))) return {best, splat(0.0f)};
    }
}

/// Scales of 8 bits: the exact error of each code around the plain one. `unit` is what a scale of 1 means here.
template <level_kind K>
static constexpr lane_map search_byte_scale(const search_shape& f, const search_group& g, floats unit) noexcept {
    const float low = f.levels.low, high = f.levels.high;
    const search_range r = range_of(g);
    const floats end = -low == high ? splat(high) : select(r.extreme < 0.0f, splat(-low), splat(high));
    const floats plain = quotient(magnitude(r.extreme), times(unit, end));
    std::int32_t code[width]{};
    for (std::size_t k = 0; k < width; ++k) code[k] = f.scale_code(lane(plain, k));
    floats best = splat(0.0f), explained = splat(0.0f);
    for (int step = -f.below; step <= f.above; ++step) {
        floats s = splat(0.0f);
        for (std::size_t k = 0; k < width; ++k) {
            const int c = code[k] + step;
            set_lane(s, k, (*f.scale_values)[static_cast<std::size_t>(c < 0 ? 0 : c > f.last ? f.last : c)]);
        }
        s = times(s, unit);
        const level_sums t = sums_of<K, form::scaled>(f, g, safe_reciprocal(s), splat(0.0f));
        const floats e = times(s, times(t.xl, 2.0f) - times(s, t.ll));
        const mask m = e > explained;
        best = select(m, s, best);
        explained = select(m, e, explained);
    }
    return {best, splat(0.0f)};
}
