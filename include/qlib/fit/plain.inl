// No #pragma once: included in one_block and in each room's lanes. Abs-max or min-max maps, and the codes under the maps as stored.

/// F's maps of group g as the decoder will use them.
template <class F> QLIB_INLINE static constexpr lane_map map_of(const typename F::params* params, std::size_t g) noexcept {
    lane_map m{splat(0.0f), splat(0.0f)};
    for (std::size_t l = 0; l < width; ++l) {
        const affine a = F::at(params[l], g);
        set_lane(m.s, l, a.s);
        set_lane(m.z, l, a.z);
    }
    return m;
}

/// Params of the maps that each lane wishes.
template <class F> QLIB_INLINE static constexpr void project(const lane_map* wishes, const typename F::outer* outer, typename F::params* params) noexcept {
    for (std::size_t l = 0; l < width; ++l) {
        std::array<affine, F::groups> wish{};
        for (std::size_t g = 0; g < F::groups; ++g) wish[g] = {lane(wishes[g].s, l), lane(wishes[g].z, l)};
        params[l] = F::project(wish, outer[l]);
    }
}

/// Weights of group g in a site of n: fewer, or none, beyond a ragged end.
template <class F> QLIB_INLINE static constexpr std::size_t group_end(std::size_t n, std::size_t g) noexcept {
    return n < (g + 1) * F::group ? n : (g + 1) * F::group;
}

/// The plain map of weights [first, end). A grid of two levels gets the mean magnitude, which is its least-squares scale.
template <class F> QLIB_INLINE static constexpr lane_map plain_map(const floats* x, std::size_t first, std::size_t end) noexcept {
    if (first >= end) return {splat(0.0f), splat(0.0f)};
    if constexpr (F::grid::size == 2 && F::map == form::scaled) {
        floats sum = splat(0.0f);
        for (std::size_t i = first; i < end; ++i) sum += magnitude(x[i]);
        return {sum / static_cast<float>(end - first) / highest_level<typename F::grid>, splat(0.0f)};
    } else {
        floats low = x[first], high = x[first];
        for (std::size_t i = first + 1; i < end; ++i) {
            low = smaller(low, x[i]);
            high = larger(high, x[i]);
        }
        if constexpr (requires { F::plain_map(0.0f, 0.0f); }) {  // the format's own rule
            lane_map m{low, splat(0.0f)};
            for (std::size_t l = 0; l < width; ++l) {
                const affine a = F::plain_map(lane(low, l), lane(high, l));
                set_lane(m.s, l, a.s);
                set_lane(m.z, l, a.z);
            }
            return m;
        } else {
            return map_of_range<F::map, typename F::grid, scale_has_sign<F>, offset_has_sign<F>>(low, high);
        }
    }
}

template <class F> static constexpr void plain_blocks(const lane_sites<lanes, F>& s, typename F::params* params) noexcept {
    lane_map wishes[F::groups] = {};
    for (std::size_t g = 0; g < F::groups; ++g) wishes[g] = plain_map<F>(s.x, g * F::group, group_end<F>(s.n, g));
    project<F>(wishes, s.outer, params);
}

/// The code of a small float's grid: its bits, rounded to nearest even, saturating.
template <int E, int M, int Bias, specials S> QLIB_INLINE static constexpr ints minifloat_code(minifloat<E, M, Bias, S>*, floats u) noexcept {
    using number = minifloat<E, M, Bias, S>;
    constexpr float smallest_normal = float_of(static_cast<std::uint32_t>(128 - Bias) << 23), steps = float_of(static_cast<std::uint32_t>(126 + Bias + M) << 23);
    const ints sign = (bits(u) >> 31) & static_cast<std::int32_t>(number::sign_bit);
    const floats a = magnitude(u);
    const ints v = bits(a) - ((127 - Bias) << 23), normal = (v + ((1 << (22 - M)) - 1) + ((v >> (23 - M)) & 1)) >> (23 - M);
    const ints subnormal = round_even(times(select(a < smallest_normal, a, splat(0.0f)), splat(steps)));
    const ints code = select(a < smallest_normal, subnormal, select(a < number::max(), normal, splat(static_cast<std::int32_t>(number::max_code))));
    if constexpr (S == specials::fnuz) return select(code == 0, code, code | sign);
    else return code | sign;
}

/// The code of the level nearest to u, in level units: what F::nearest gives for one weight.
template <class F> QLIB_INLINE static constexpr ints nearest_code(floats u) noexcept {
    using grid = typename F::grid;
    if constexpr (requires { grid::flip; }) {
        constexpr auto low = static_cast<std::int32_t>(grid::lowest), high = static_cast<std::int32_t>(grid::highest);
        return (round_clamped(u, low, high) - static_cast<std::int32_t>(grid::level(grid::flip))) ^ static_cast<std::int32_t>(grid::flip);
    } else if constexpr (requires { grid::sorted.midpoint; requires grid::size <= 16; }) {
        ints rank = splat(0);
        if constexpr (looks_up_fast) {
#pragma GCC unroll 4
            for (const std::int32_t step : {8, 4, 2, 1}) rank = select(u > look_up(grid::sorted.steps, rank + (step - 1)), rank + step, rank);
        } else {
#pragma GCC unroll 16
            for (std::size_t i = 0; i + 1 < grid::sorted.count; ++i) rank += one_if(u > grid::sorted.midpoint[i]);
        }
        if constexpr (grid::sorted.ascending) return rank;
        else return truncate(look_up(grid::sorted.code_table, rank));
    } else if constexpr (requires { typename grid::element; }) {
        return minifloat_code(static_cast<typename grid::element*>(nullptr), u);
    } else {
        ints code = splat(0);
        for (std::size_t l = 0; l < width; ++l) {
            const float one = lane(u, l);
            set_lane(code, l, F::nearest(&one, nullptr));
        }
        return code;
    }
}

/// The way from weights to level units, for one group: to_levels in lanes.
template <class F> struct lane_units {
    floats reciprocal, z, outer_reciprocal;
    QLIB_INLINE constexpr floats operator()(floats x) const noexcept {
        if constexpr (outer_multiplies<F>) x = times(x, outer_reciprocal);
        if constexpr (F::map == form::scaled) return times(x, reciprocal);
        else if constexpr (F::map == form::shifted) return times(x, reciprocal) + z;
        else return times(x - z, reciprocal);
    }
};

/// Codes for given params: each weight rounded to the nearest level under the map that will decode it.
template <class F> static constexpr void choose_codes(const lane_sites<lanes, F>& s, lane_blocks<lanes, F>& out) noexcept {
    floats outer_scale = splat(1.0f);
    for (std::size_t l = 0; l < width; ++l) set_lane(outer_scale, l, F::outer_scale(s.outer[l]));
    for (std::size_t g = 0; g < F::groups && g * F::group < s.n; ++g) {
        const lane_map m = map_of<F>(out.params, g);
        const lane_units<F> units{safe_reciprocal(m.s), m.z, safe_reciprocal(outer_scale)};
        const std::size_t end = group_end<F>(s.n, g);
        for (std::size_t i = g * F::group; i < end; ++i) put(&out.code[i * width], nearest_code<F>(units(s.x[i])));
    }
}
