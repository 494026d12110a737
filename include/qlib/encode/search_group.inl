// No #pragma once: part of search.inl. The map of one group: candidates, scored by how much of the weighted sum of
// squares their codes can explain. For levels l under weights w a scale s leaves the error
// sum w x^2 - (sum w x l)^2 / sum w l^2 at its best, so a candidate costs one pass and no division.

/// A group of weights near 1, and what each of them counts.
struct search_group {
    const floats* x;
    const floats* w;
    std::size_t n;
};

/// Sums over a group under chosen levels l: w * l, w * l * l, w * x * l.
struct level_sums {
    floats l, ll, xl;
};

/// a / b, or 0 where b is not positive.
QLIB_INLINE static constexpr floats quotient(floats a, floats b) noexcept {
    const mask m = b > 0.0f;
    return select(m, a / select(m, b, splat(1.0f)), splat(0.0f));
}

/// The level nearest to u, in level units.
template <level_kind K> QLIB_INLINE static constexpr floats nearest_level(const level_rule& r, floats u) noexcept {
    if constexpr (K == level_kind::integers) {
        return (smaller(splat(r.high), larger(splat(r.low), u)) + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23
    } else if constexpr (K == level_kind::table) {
        ints i = select(u > (*r.midpoint)[7], splat(8), splat(0));
        i = i + select(u > look_up(*r.midpoint, i + 3), splat(4), splat(0));
        i = i + select(u > look_up(*r.midpoint, i + 1), splat(2), splat(0));
        i = i + select(u > look_up(*r.midpoint, i), splat(1), splat(0));
        return look_up(*r.level, i);
    } else if constexpr (K == level_kind::small_float) {
        const floats v = clamp(u, r.low, r.high);
        const ints binade = larger(bits(v) & 0x7F800000, splat(minifloat_rule::exponent(128 - r.number.bias)));
        // 1.5 times what has steps as wide as v's binade
        const floats magic = from_bits((binade + minifloat_rule::exponent(23 - r.number.mantissa_bits)) | 0x400000);
        return (v + magic) - magic;
    } else {
        for (std::size_t k = 0; k < width; ++k) set_lane(u, k, r.nearest(lane(u, k)));
        return u;
    }
}

/// One pass: the levels that a map chooses, and their sums.
template <level_kind K, form M>
QLIB_INLINE static constexpr level_sums sums_of(const search_shape& f, const search_group& g, floats inverse,
                                                floats z) noexcept {
    const level_rule r = f.levels;
    level_sums t{splat(0.0f), splat(0.0f), splat(0.0f)};
    for (std::size_t i = 0; i < g.n; ++i) {
        floats l;
        if constexpr (M == form::offset) l = nearest_level<K>(r, times(g.x[i] - z, inverse));
        else if constexpr (M == form::shifted) l = nearest_level<K>(r, times(g.x[i], inverse) + z) - z;
        else l = nearest_level<K>(r, times(g.x[i], inverse));
        const floats wl = times(g.w[i], l);
        if constexpr (M == form::offset) t.l = t.l + wl;
        t.ll = t.ll + times(l, wl);
        t.xl = t.xl + times(g.x[i], wl);
    }
    return t;
}

struct search_range {
    floats low, high, extreme;
};
QLIB_INLINE static constexpr search_range range_of(const search_group& g) noexcept {
    floats low = g.x[0], high = g.x[0];
    for (std::size_t i = 1; i < g.n; ++i) {
        low = smaller(low, g.x[i]);
        high = larger(high, g.x[i]);
    }
    return {low, high, select(high < -low, low, high)};
}

/// The best codes so far: their least-squares scale is xl / rest, and square / rest is what it explains.
struct best_levels {
    floats square, rest, xl, z;
};
QLIB_INLINE static constexpr void keep_better(best_levels& best, floats xl, floats rest, floats z) noexcept {
    const floats square = times(xl, xl);
    const mask m = times(square, best.rest) > times(best.square, rest);
    best = {select(m, square, best.square), select(m, rest, best.rest), select(m, xl, best.xl), select(m, z, best.z)};
}
QLIB_INLINE static constexpr best_levels no_levels() noexcept {
    return {splat(0.0f), splat(1.0f), splat(0.0f), splat(0.0f)};
}

template <level_kind K, form M>
static constexpr void try_scale(const search_shape& f, const search_group& g, const floats& inverse, const floats& z,
                                best_levels& best) noexcept {
    const level_sums t = sums_of<K, M>(f, g, inverse, z);
    keep_better(best, t.xl, t.ll, z);
}

/// Scales that send the extreme weight to about level `end`.
template <level_kind K, form M>
static constexpr void try_scales(const search_shape& f, const search_group& g, floats extreme, floats end,
                                 bool weighted, best_levels& best) noexcept {
    const floats plain = times(end, safe_reciprocal(extreme));
    try_scale<K, M>(f, g, plain, splat(0.0f), best);
    const scale_steps steps = f.steps[weighted ? 1 : 0];
    float factor = steps.from;
    for (int k = 0; k < steps.count; ++k) {
        try_scale<K, M>(f, g, times(plain, factor), splat(0.0f), best);
        factor = product(factor, steps.ratio) + steps.step;
    }
}

/// Chooses codes under the best scale and solves for the scale again.
template <level_kind K, form M>
static constexpr floats settled_scale(const search_shape& f, const search_group& g, best_levels& best,
                                      int rounds) noexcept {
    for (int k = 0; k < rounds; ++k) try_scale<K, M>(f, g, safe_reciprocal(best.xl / best.rest), best.z, best);
    return best.xl / best.rest;
}

/// What a scale is multiplied by where nothing is known of the inputs. Least squares leaves sum x y / sum
/// x^2 = explained / all below 1: all weights shrink, layer upon layer, which costs a model more than the error says.
/// Giving a part f of it back costs f^2 of what giving back all would cost in decibels, .16 at 3 bits and .3 at 2: half
/// of it brings most of the gain, 2 to 5 % of KL on stories15M.
QLIB_INLINE static constexpr floats regained(const search_shape& f, floats explained, floats all) noexcept {
    return 1.0f + times(quotient(all, larger(explained, times(all, 0.9f))) - 1.0f, f.regained);
}
QLIB_INLINE static constexpr floats sum_of_squares(const search_group& g) noexcept {
    floats sum = splat(0.0f);
    for (std::size_t i = 0; i < g.n; ++i) sum = sum + times(times(g.w[i], g.x[i]), g.x[i]);
    return sum;
}

template <level_kind K>
static constexpr lane_map search_scaled(const search_shape& f, const search_group& g, bool weighted) noexcept {
    constexpr form M = form::scaled;
    const float low = f.levels.low, high = f.levels.high;
    const search_range r = range_of(g);
    best_levels best = no_levels();
    if (-low == high) {
        try_scales<K, M>(f, g, magnitude(r.extreme), splat(high), weighted, best);
    } else if (f.signed_scale) {
        try_scales<K, M>(f, g, r.extreme, splat(low), weighted, best);
        try_scales<K, M>(f, g, r.extreme, splat(high), weighted, best);
    } else {
        try_scales<K, M>(f, g, r.extreme, select(r.extreme < 0.0f, splat(low), splat(high)), weighted, best);
    }
    floats s = settled_scale<K, M>(f, g, best, 2);
    if (!weighted) s = times(s, regained(f, quotient(best.square, best.rest), sum_of_squares(g)));
    return {s, splat(0.0f)};
}

/// Integer zero points follow from the range that is sent onto the grid. Under importance
/// the neighbours of the best map are tried, too.
template <level_kind K>
static constexpr lane_map search_shifted(const search_shape& f, const search_group& g, bool weighted) noexcept {
    constexpr form M = form::shifted;
    const float bottom = f.levels.low, top = f.levels.high, span = top - bottom;
    const search_range r = range_of(g);
    const floats low = smaller(r.low, splat(0.0f)), inverse_size = safe_reciprocal(larger(r.high, splat(0.0f)) - low);
    const range_starts starts = shifted_starts_of(weighted);
    best_levels best = no_levels();
    for (int a = -1; a < starts.count; ++a)
        for (int b = 0; b < (a < 0 ? 1 : starts.count); ++b) {
            const float cut_low = a < 0 ? 0.0f : starts.from + product(starts.step, static_cast<float>(a));
            const float cut_high = a < 0 ? 0.0f : starts.from + product(starts.step, static_cast<float>(b));
            const floats inverse = times(inverse_size, span * span / (span - cut_low - cut_high));
            try_scale<K, M>(f, g, inverse, nearest_level<K>(f.levels, (bottom - cut_low) - times(low, inverse)), best);
        }
    for (int round = 0; round < starts.alternations; ++round) {
        const floats z = best.z, inverse = safe_reciprocal(best.xl / best.rest);
        for (int up = -1; up <= 1; ++up)
            for (int k = -2; k <= 2; ++k)
                try_scale<K, M>(f, g, times(inverse, 1.0f + product(0.03f, static_cast<float>(k))),
                                clamp(z + static_cast<float>(up), bottom, top), best);
    }
    const floats s = settled_scale<K, M>(f, g, best, 2);
    return {s, best.z};
}

/// Tries a map of a group less its weighted mean, so that the least-squares offset depends on the levels' mean alone.
/// Gives the least-squares map for the codes that it chose.
template <level_kind K>
static constexpr lane_map try_offset(const search_shape& f, const search_group& g, const floats& inverse_weight,
                                     const floats& inverse, const floats& z, best_levels& best) noexcept {
    const level_sums t = sums_of<K, form::offset>(f, g, inverse, z);
    const floats mean = times(t.l, inverse_weight), rest = t.ll - times(t.l, mean);
    keep_better(best, t.xl, rest, mean);
    const floats s = quotient(t.xl, rest);
    return {s, times(times(s, mean), -1.0f)};
}

template <level_kind K>
static constexpr lane_map search_offset(const search_shape& f, const search_group& given, floats* x,
                                        bool weighted) noexcept {
    const float bottom = f.levels.low, span = f.levels.high - bottom;
    floats weight = splat(0.0f), sum = splat(0.0f);
    for (std::size_t i = 0; i < given.n; ++i) {
        weight = weight + given.w[i];
        sum = sum + times(given.w[i], given.x[i]);
    }
    const floats inverse_weight = safe_reciprocal(weight), center = times(sum, inverse_weight);
    for (std::size_t i = 0; i < given.n; ++i) x[i] = given.x[i] - center;
    const search_group g{x, given.w, given.n};
    const search_range r = range_of(g);
    const floats size = r.high - r.low, inverse_size = safe_reciprocal(size);
    const range_starts starts = range_starts_of(weighted);
    best_levels best = no_levels();
    try_offset<K>(f, g, inverse_weight, times(inverse_size, span), r.low - times(size, bottom / span), best);
    for (int a = 0; a < starts.count; ++a)
        for (int b = 0; b < starts.count; ++b) {
            const float cut_low = starts.from + product(starts.step, static_cast<float>(a));
            const float cut_high = starts.from + product(starts.step, static_cast<float>(b));
            const float steps = span - cut_low - cut_high;
            floats inverse = times(inverse_size, span * span / steps),
                   z = r.low + times(size, (cut_low - bottom * steps / span) / span);
            for (int k = 1;; ++k) {
                const lane_map m = try_offset<K>(f, g, inverse_weight, inverse, z, best);
                if (k >= starts.alternations) break;
                inverse = safe_reciprocal(m.s);
                z = m.z;
            }
        }
    floats s = best.xl / best.rest;
    try_offset<K>(f, g, inverse_weight, safe_reciprocal(s), times(times(s, best.z), -1.0f), best);
    s = best.xl / best.rest;
    return {s, center - times(s, best.z)};
}
