// No #pragma once: included in one_block and in each room. search_fit over one block in each lane:
// candidates for the map of a group, scored by how much of the weighted sum of squares their codes can
// explain. For levels l under weights w a scale s leaves the error sum w x^2 - (sum w x l)^2 / sum w l^2 at
// its best, so a candidate costs one pass and no division.

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

#include "search_byte_scale.inl"

/// What the wire makes of wished maps, format by format.
struct stored_maps {
    lane_map (*of)(const stored_maps& self, std::size_t group, const lane_map& wish) noexcept;
};
template <class F> struct stored_maps_of : stored_maps {
    const typename F::outer* outer;  ///< [lane]
};
/// Of group g; the outer scale is in it.
template <class F>
static constexpr lane_map stored_map(const stored_maps& self, std::size_t group, const lane_map& wish) noexcept {
    const typename F::outer* outer = static_cast<const stored_maps_of<F>&>(self).outer;
    lane_map m{splat(0.0f), splat(0.0f)};
    for (std::size_t k = 0; k < width; ++k) {
        const affine a{lane(wish.s, k), lane(wish.z, k)};
        affine at{};
        if constexpr (has_project_group<F>) {
            typename F::params p{};
            F::project_group(p, group, a, outer[k]);
            at = F::at(p, group);
        } else {
            std::array<affine, F::groups> all{};
            for (affine& each : all) each = a;
            at = F::at(F::project(all, outer[k]), group);
        }
        const float outer_scale = outer_multiplies<F> ? F::outer_scale(outer[k]) : 1.0f;
        set_lane(m.s, k, product(at.s, outer_scale));
        set_lane(m.z, k, F::map == form::offset ? product(at.z, outer_scale) : at.z);
    }
    return m;
}

/// A block in units of a power of two, and where it came from.
struct opened_block {
    const stored_maps* stored;
    floats outer_scale;  ///< for scales of 8 bits
    floats unit, inverse_unit;
    bool weighted;
};

/// The error of group g under what the wire makes of a wished map. Maps are in units of `unit`.
template <level_kind K, form M>
static constexpr floats stored_error(const search_shape& f, const search_group& w, std::size_t group,
                                     const lane_map& wish, const opened_block& b) noexcept {
    lane_map m =
        b.stored->of(*b.stored, group, {times(wish.s, b.unit), M == form::offset ? times(wish.z, b.unit) : wish.z});
    const floats s = times(m.s, b.inverse_unit), z = M == form::offset ? times(m.z, b.inverse_unit) : m.z;
    const floats inverse = safe_reciprocal(s);
    const level_rule r = f.levels;
    floats error = splat(0.0f);
    for (std::size_t i = 0; i < w.n; ++i) {
        floats y;
        if constexpr (M == form::offset) y = times(s, nearest_level<K>(r, times(w.x[i] - z, inverse))) + z;
        else if constexpr (M == form::shifted) y = times(s, nearest_level<K>(r, times(w.x[i], inverse) + z) - z);
        else y = times(s, nearest_level<K>(r, times(w.x[i], inverse)));
        const floats e = w.x[i] - y;
        error = error + times(times(w.w[i], e), e);
    }
    return error;
}

/// The better of the plain map and the one found, as stored; where scales are stored coarsely, of those with a scale a
/// little smaller or larger too.
template <level_kind K, form M>
static constexpr lane_map best_stored(const search_shape& f, const search_group& g, std::size_t group,
                                      const lane_map& found, const opened_block& b) noexcept {
    lane_map best = plain_map(f.plain, g.x, 0, g.n);
    floats least = stored_error<K, M>(f, g, group, best, b);
    const int around = f.in_f32 ? 0 : 4;
    for (int k = -around; k <= around; ++k) {
        // As finely as three bits.
        const lane_map m{k == 0 ? found.s : times(found.s, 1.0f + product(0.065f, static_cast<float>(k))), found.z};
        const floats e = stored_error<K, M>(f, g, group, m, b);
        const mask better = e < least;
        best = {select(better, m.s, best.s), select(better, m.z, best.z)};
        least = select(better, e, least);
    }
    return best;
}

/// The map of one group where a block's groups do not depend on each other, as a
/// wish. `space`: as long as the group, for offsets.
template <level_kind K, form M, scale_kind S>
static constexpr lane_map search_map(const search_shape& f, const search_group& g, std::size_t group, floats* space,
                                     const opened_block& b) noexcept {
    if constexpr (S == scale_kind::powers_of_two) {
        return search_power_of_two<K>(f, g, b.unit);
    } else if constexpr (S == scale_kind::bytes) {
        return search_byte_scale<K>(f, g, times(b.outer_scale, b.inverse_unit));
    } else {
        const lane_map plain = plain_map(f.plain, g.x, 0, g.n);
        lane_map found = plain;
        if constexpr (M == form::scaled) found = search_scaled<K>(f, g, b.weighted);
        else if constexpr (M == form::shifted) found = search_shifted<K>(f, g, b.weighted);
        else found = search_offset<K>(f, g, space, b.weighted);
        const mask none = found.s == 0.0f;  // weights so far below the block's largest that their squares vanish
        found = {select(none, plain.s, found.s), select(none, plain.z, found.z)};
        const floats size = magnitude(times(found.s, b.unit));
        // Normal and finite as f16, whose rounding then costs nothing.
        const mask fine = (size >= 0x1p-13f) & (size < 0x1p15f);
        if (f.in_f16 && !any(no(fine))) return found;
        const lane_map coarse = best_stored<K, M>(f, g, group, found, b);
        return f.in_f16 ? lane_map{select(fine, found.s, coarse.s), select(fine, found.z, coarse.z)} : coarse;
    }
}
/// The maps of all groups of n weights.
template <level_kind K, form M, scale_kind S>
[[gnu::__noinline__]] static constexpr void search_groups(const search_shape& f, const floats* x, const floats* w,
                                                          std::size_t n, floats* space, const opened_block& b,
                                                          lane_map* wishes) noexcept {
    for (std::size_t g = 0; g < f.groups && g * f.group < n; ++g) {
        const std::size_t first = g * f.group, count = n - first < f.group ? n - first : f.group;
        const lane_map m = search_map<K, M, S>(f, {x + first, w + first, count}, g, space, b);
        wishes[g] = {times(m.s, b.unit), M == form::offset ? times(m.z, b.unit) : m.z};
    }
}

/// Weights near 1 and what they count for: their importance, or all the same. Counting large weights for more has more
/// error and no less KL: at 3 bits on stories15M a half of |x| / rms added cost 3 %. Gives the unit.
[[gnu::__noinline__]] static constexpr floats open_block(const floats* from, const floats* importance, std::size_t n,
                                                         bool all_scales_tried, floats* x, floats* w) noexcept {
    const floats most = largest_of(from, n);
    const ints power = select(most >= 0x1p-126f, clamp(bits(most) & 0x7F800000, 1 << 23, 253 << 23), splat(127 << 23));
    const floats inverse_unit = from_bits((254 << 23) - power);
    for (std::size_t i = 0; i < n; ++i) x[i] = times(from[i], inverse_unit);
    if (importance == nullptr) {
        for (std::size_t i = 0; i < n; ++i) w[i] = splat(1.0f);
        return from_bits(power);
    }
    const floats inverse = safe_reciprocal(largest_of(importance, n));
    const float least = all_scales_tried ? 0.0f : 0x1p-30f;  // the least counts a little, unless all scales are tried
    for (std::size_t i = 0; i < n; ++i) w[i] = times(importance[i], inverse) + least;
    return from_bits(power);
}

#include "search_two_levels.inl"

template <class F>
static constexpr void search_opened(const lane_sites<room, F>& s, typename F::params* params) noexcept {
    constexpr const search_shape& f = search_shape_of<F>;
    floats x[block_size<F>]{}, w[block_size<F>]{};
    const floats unit = open_block(s.x, s.importance, s.n, has_power_of_two_scale<F>, x, w);
    const floats inverse_unit = from_bits((254 << 23) - bits(unit));
    if constexpr (has_sub_scales<F>) {
        super_fit<F::groups> fit{};
        search_super_blocks<level_kind_of<F>, F::has_mins>(f, x, w, s.importance != nullptr, unit, inverse_unit, fit);
        store_super_fit<F>(fit, params);
    } else {
        lane_map wishes[F::groups]{};
        floats space[F::map == form::offset ? F::group : 1]{};
        stored_maps_of<F> stored{{&stored_map<F>}, s.outer};
        opened_block b{&stored, splat(1.0f), unit, inverse_unit, s.importance != nullptr};
        if constexpr (has_byte_scale<F>)
            for (std::size_t k = 0; k < width; ++k) set_lane(b.outer_scale, k, F::outer_scale(s.outer[k]));
        search_groups<level_kind_of<F>, F::map, scale_kind_of<F>>(f, x, w, s.n, space, b, wishes);
        project<F>(wishes, s.outer, params);
    }
}

/// A block whose importances are all zero is searched as one without.
template <class F>
static constexpr void search_known(const lane_sites<room, F>& s, typename F::params* params) noexcept {
    search_opened<F>(s, params);
    if (s.importance == nullptr) return;
    const floats heaviest = largest_of(s.importance, s.n);
    if (!any(no(heaviest > 0.0f))) return;
    lane_sites<room, F> bare = s;
    bare.importance = nullptr;
    typename F::params other[width]{};
    search_opened<F>(bare, other);
    for (std::size_t k = 0; k < width; ++k)
        if (!(lane(heaviest, k) > 0)) params[k] = other[k];
}

/// Blocks too large for the wire get the plain params, which say so by a scale that is not finite: the search only
/// knows scales that are.
template <class F>
static constexpr void keep_overflows(const lane_sites<room, F>& s, typename F::params* params) noexcept {
    if (!any(largest_of(s.x, s.n) > 65504.0f)) return;
    typename F::params plain[width]{};
    plain_blocks<F>(s, plain);
    for (std::size_t k = 0; k < width; ++k) {
        bool finite = true;
        for (std::size_t g = 0; g < F::groups; ++g) {
            const affine a = F::at(plain[k], g);
            finite = finite && is_finite(a.s) && is_finite(a.z);
        }
        if (!finite) params[k] = plain[k];
    }
}

/// search_fit for one block in each lane.
template <class F>
static constexpr void search_blocks(const lane_sites<room, F>& s, typename F::params* params) noexcept {
    if constexpr (has_map_in_outer<F> || requires { typename F::grid::number; }) {
        plain_blocks<F>(s, params);
    } else {
        search_known<F>(s, params);
        if constexpr (has_sub_scales<F>) keep_overflows<F>(s, params);
    }
}
