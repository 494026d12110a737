// No #pragma once: included in one_block and in each room. search_fit over one block in each lane: the best maps of its
// groups, judged as the wire will store them.

#include "search_group.inl"
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

/// The unit in which weights are near 1.
[[gnu::__noinline__]] static constexpr floats unit_of(const floats* x, std::size_t n) noexcept {
    const floats most = largest_of(x, n);
    return from_bits(
        select(most >= 0x1p-126f, clamp(bits(most) & 0x7F800000, 1 << 23, 253 << 23), splat(127 << 23)));
}
QLIB_INLINE static constexpr floats inverse_of_unit(floats unit) noexcept {
    return from_bits((254 << 23) - bits(unit));
}

/// Weights in their unit and what they count for: their importance, or all the same. Counting large weights for more
/// has more error and no less KL: at 3 bits on stories15M a half of |x| / rms added cost 3 %. `x` and `w` may be
/// `from` and `importance`: copies of 16 blocks of 256 would take 32 KiB of stack.
[[gnu::__noinline__]] static constexpr void open_block(const floats* from, const floats* importance, std::size_t n,
                                                       floats unit, bool all_scales_tried, floats* x,
                                                       floats* w) noexcept {
    const floats inverse_unit = inverse_of_unit(unit);
    for (std::size_t i = 0; i < n; ++i) x[i] = times(from[i], inverse_unit);
    if (importance == nullptr) {
        for (std::size_t i = 0; i < n; ++i) w[i] = splat(1.0f);
        return;
    }
    const floats inverse = safe_reciprocal(largest_of(importance, n));
    const float least = all_scales_tried ? 0.0f : 0x1p-30f;  // the least counts a little, unless all scales are tried
    for (std::size_t i = 0; i < n; ++i) w[i] = times(importance[i], inverse) + least;
}

#include "search_two_levels.inl"

/// The params of opened blocks, x in their unit, in the wanted lanes.
template <class F>
[[gnu::__noinline__]] static constexpr void search_opened(const lane_sites<room, F>& s, bool weighted, floats unit,
                                                          mask wanted, typename F::params* params) noexcept {
    constexpr const search_shape& f = search_shape_of<F>;
    const floats inverse_unit = inverse_of_unit(unit);
    if constexpr (has_sub_scales<F>) {
        super_fit<F::groups> fit{};
        search_super_blocks<level_kind_of<F>, F::has_mins>(f, s.work_x, s.work_w, weighted, unit, inverse_unit, fit);
        store_super_fit<F>(fit, wanted, params);
    } else {
        lane_map wishes[F::groups]{};
        floats space[F::map == form::offset ? F::group : 1]{};
        stored_maps_of<F> stored{{&stored_map<F>}, s.outer};
        opened_block b{&stored, splat(1.0f), unit, inverse_unit, weighted};
        if constexpr (has_byte_scale<F>)
            for (std::size_t k = 0; k < width; ++k) set_lane(b.outer_scale, k, F::outer_scale(s.outer[k]));
        search_groups<level_kind_of<F>, F::map, scale_kind_of<F>>(f, s.work_x, s.work_w, s.n, space, b, wishes);
        typename F::params found[width]{};
        project<F>(wishes, s.outer, found);
        for (std::size_t k = 0; k < width; ++k)
            if (lane(one_if(wanted), k) != 0) params[k] = found[k];
    }
}

/// Blocks too large for the wire get the plain params, which say so by a scale that is not finite: the search only
/// knows scales that are. Gives the lanes of the others.
template <class F>
static constexpr mask keep_overflows(const lane_sites<room, F>& s, typename F::params* params) noexcept {
    floats overflows = splat(0.0f);
    if (!any(largest_of(s.x, s.n) > 65504.0f)) return overflows == 0.0f;
    plain_blocks<F>(s, params);
    for (std::size_t k = 0; k < width; ++k)
        for (std::size_t g = 0; g < F::groups; ++g) {
            const affine a = F::at(params[k], g);
            if (!is_finite(a.s) || !is_finite(a.z)) set_lane(overflows, k, 1.0f);
        }
    return overflows == 0.0f;
}

/// search_fit for one block in each lane. One whose importances are all zero is searched as one without.
template <class F>
static constexpr void search_blocks(const lane_sites<room, F>& s, typename F::params* params) noexcept {
    if constexpr (has_map_in_outer<F> || requires { typename F::grid::number; }) {
        plain_blocks<F>(s, params);
    } else {
        const bool weighted = s.importance != nullptr;
        mask wanted = splat(0.0f) == 0.0f;  // all
        if constexpr (has_sub_scales<F>) wanted = keep_overflows<F>(s, params);
        const floats unit = unit_of(s.x, s.n);
        const mask seen = (weighted ? largest_of(s.importance, s.n) : splat(1.0f)) > 0.0f;
        open_block(s.x, s.importance, s.n, unit, has_power_of_two_scale<F>, s.work_x, s.work_w);
        s.spent = true;
        search_opened<F>(s, weighted, unit, wanted & seen, params);
        if (!any(no(seen))) return;
        for (std::size_t i = 0; i < s.n; ++i) s.work_w[i] = splat(1.0f);
        search_opened<F>(s, false, unit, wanted & no(seen), params);
    }
}
