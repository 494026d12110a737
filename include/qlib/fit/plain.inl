// No #pragma once: included in one_block and in each room's lanes. Abs-max or min-max maps, and the codes under the maps as stored.

/// A small float's bits, rounded to nearest even; too large ones as Overflow says. Not for floats with f32's exponents.
template <overflow Overflow, int E, int M, int Bias, specials S> QLIB_INLINE static constexpr ints minifloat_code(minifloat<E, M, Bias, S>*, floats u) noexcept {
    using number = minifloat<E, M, Bias, S>;
    constexpr float smallest_normal = float_of(static_cast<std::uint32_t>(128 - Bias) << 23), steps = float_of(static_cast<std::uint32_t>(126 + Bias + M) << 23);
    constexpr auto most = static_cast<std::int32_t>(number::max_code), beyond = most + (Overflow == overflow::special && S == specials::ieee ? 1 : 0);
    const ints sign = (bits(u) >> 31) & static_cast<std::int32_t>(number::sign_bit);
    const floats a = magnitude(u);
    const ints v = bits(a) - ((127 - Bias) << 23), normal = (v + ((1 << (22 - M)) - 1) + ((v >> (23 - M)) & 1)) >> (23 - M);
    const ints subnormal = round_even(times(select(a < smallest_normal, a, splat(0.0f)), splat(steps)));
    const ints code = select(a < smallest_normal, subnormal, select(normal > most, splat(beyond), normal));
    if constexpr (S == specials::fnuz) return select(code == 0, code, code | sign);
    else return code | sign;
}
/// The value of a small float's bits; infinity for all that are no number.
template <int E, int M, int Bias, specials S> QLIB_INLINE static constexpr floats minifloat_value(minifloat<E, M, Bias, S>*, ints code) noexcept {
    using number = minifloat<E, M, Bias, S>;
    constexpr float step = float_of(static_cast<std::uint32_t>(127 + 1 - Bias - M) << 23);
    constexpr auto sign_bit = static_cast<std::int32_t>(number::sign_bit);
    const ints a = code & (sign_bit - 1), sign = select((code & sign_bit) == 0, splat(0), splat(std::int32_t{-0x7FFFFFFF - 1}));
    const ints normal = select(a > static_cast<std::int32_t>(number::max_code), splat(0x7F800000), (a << (23 - M)) + ((127 - Bias) << 23));
    return from_bits(select(a < (1 << M), bits(times(to_float(a), splat(step))), normal) | sign);
}

/// How F's params are made in lanes, if they are: as one_level's with scales of an IEEE float and nothing outside, or as two_level's.
enum class lane_params { none, one_level, two_levels };
template <class Grid, form Map, std::size_t N, int E, int M, int Bias, specials S, std::size_t Groups>
static constexpr lane_params params_of(one_level<Grid, Map, N, minifloat<E, M, Bias, S>, Groups, false>*) noexcept {
    return E < 8 && S == specials::ieee ? lane_params::one_level : lane_params::none;
}
static constexpr lane_params params_of(const void*) noexcept { return lane_params::none; }
template <class F> static constexpr lane_params lane_params_of = [] {
    if constexpr (width == 1 || !requires { typename F::part; }) return lane_params::none;
    else if constexpr (&F::project != &F::part::project || &F::at != &F::part::at) return lane_params::none;
    else if constexpr (requires { F::part::two_levels; }) return std::same_as<typename F::stored_scale, f16> ? lane_params::two_levels : lane_params::none;
    else return params_of(static_cast<typename F::part*>(nullptr));
}();

/// One number of each lane's params: of(params) -> integer.
template <class P, class Of> QLIB_INLINE static constexpr ints of_each(const P* params, const Of& of) noexcept {
    ints v = splat(0);
    for (std::size_t l = 0; l < width; ++l) set_lane(v, l, static_cast<std::int32_t>(of(params[l])));
    return v;
}

/// F's maps of all groups as the decoder will use them.
template <class F> QLIB_INLINE static constexpr void maps_of(const typename F::params* params, lane_map* maps) noexcept {
    using params_t = typename F::params;
    if constexpr (lane_params_of<F> == lane_params::none) {
        for (std::size_t g = 0; g < F::groups; ++g) {
            std::array<float, width> s{}, z{};
            for (std::size_t l = 0; l < width; ++l) {
                const affine a = F::at(params[l], g);
                s[l] = a.s;
                z[l] = a.z;
            }
            maps[g] = {__builtin_bit_cast(floats, s), __builtin_bit_cast(floats, z)};
        }
    } else {
        constexpr typename F::stored_scale* number = nullptr;
        floats super = splat(0.0f), super_min = splat(0.0f);
        if constexpr (lane_params_of<F> == lane_params::two_levels) {
            super = minifloat_value(number, of_each(params, [](const params_t& p) QLIB_INLINE_LAMBDA { return p.super.bits; }));
            if constexpr (F::has_mins) super_min = minifloat_value(number, of_each(params, [](const params_t& p) QLIB_INLINE_LAMBDA { return p.super_min.bits; }));
        }
        for (std::size_t g = 0; g < F::groups; ++g) {
            lane_map& m = maps[g];
            m.z = splat(0.0f);
            if constexpr (lane_params_of<F> == lane_params::two_levels) {
                m.s = times(super, to_float(of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.sub[g]; })));
                if constexpr (F::has_mins) m.z = -times(super_min, to_float(of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.min[g]; })));
            } else {
                m.s = minifloat_value(number, of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.scale[g].bits; }));
                if constexpr (F::map == form::offset)
                    m.z = minifloat_value(number, of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.zeros[g].bits; }));
                if constexpr (F::map == form::shifted)
                    for (std::size_t l = 0; l < width; ++l) set_lane(m.z, l, F::grid::level(params[l].zeros[g]));
            }
        }
    }
}

/// storable_scale of each lane: its bits, and its value.
template <class T> struct lane_scale {
    ints bits;
    QLIB_INLINE explicit constexpr lane_scale(floats wish) noexcept
        : bits(minifloat_code<overflow::special>(static_cast<T*>(nullptr), select(magnitude(wish) < 0x1p-126f, splat(0.0f), wish))) {}
    QLIB_INLINE constexpr floats value() const noexcept { return minifloat_value(static_cast<T*>(nullptr), bits); }
    QLIB_INLINE constexpr T of(std::size_t l) const noexcept { return {static_cast<typename T::storage>(lane(bits, l))}; }
};

/// two_level's project.
template <class F> QLIB_INLINE static constexpr void project_two_levels(const lane_map* wishes, typename F::params* params) noexcept {
    floats extreme = splat(0.0f), deepest = splat(0.0f);
    for (std::size_t g = 0; g < F::groups; ++g) {
        extreme = select(magnitude(wishes[g].s) > magnitude(extreme), wishes[g].s, extreme);
        deepest = larger(deepest, -wishes[g].z);
    }
    const lane_scale<f16> super(extreme / static_cast<float>(F::sub_signed ? F::sub_low : F::sub_high));
    const lane_scale<f16> super_min(F::has_mins ? deepest / static_cast<float>(F::min_high) : splat(0.0f));
    const floats inverse = safe_reciprocal(super.value()), inverse_min = safe_reciprocal(super_min.value());
    for (std::size_t l = 0; l < width; ++l) {
        params[l].super = super.of(l);
        params[l].super_min = super_min.of(l);
    }
    for (std::size_t g = 0; g < F::groups; ++g) {
        const ints sub = round_clamped(times(wishes[g].s, inverse), F::sub_low, F::sub_high);
        const ints min = F::has_mins ? round_clamped(times(-wishes[g].z, inverse_min), 0, F::min_high) : splat(0);
        for (std::size_t l = 0; l < width; ++l) {
            params[l].sub[g] = static_cast<std::int8_t>(lane(sub, l));
            params[l].min[g] = static_cast<std::uint8_t>(lane(min, l));
        }
    }
}

/// Params of the maps that each lane wishes.
template <class F> QLIB_INLINE static constexpr void project(const lane_map* wishes, const typename F::outer* outer, typename F::params* params) noexcept {
    if constexpr (lane_params_of<F> == lane_params::two_levels) {
        project_two_levels<F>(wishes, params);
    } else if constexpr (lane_params_of<F> == lane_params::one_level) {
        using number = typename F::stored_scale;
        for (std::size_t g = 0; g < F::groups; ++g) {
            const lane_scale<number> s(wishes[g].s);
            for (std::size_t l = 0; l < width; ++l) params[l].scale[g] = s.of(l);
            if constexpr (F::map == form::offset) {
                const ints z = minifloat_code<overflow::special>(static_cast<number*>(nullptr), wishes[g].z);
                for (std::size_t l = 0; l < width; ++l) params[l].zeros[g] = {static_cast<typename number::storage>(lane(z, l))};
            } else if constexpr (F::map == form::shifted) {
                const ints z = nearest_code<F>(wishes[g].z);
                for (std::size_t l = 0; l < width; ++l) params[l].zeros[g] = static_cast<typename F::code>(lane(z, l));
            }
        }
    } else {
        for (std::size_t l = 0; l < width; ++l) {
            std::array<affine, F::groups> wish{};
            for (std::size_t g = 0; g < F::groups; ++g) wish[g] = {lane(wishes[g].s, l), lane(wishes[g].z, l)};
            params[l] = F::project(wish, outer[l]);
        }
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
        // Four stretches side by side, for their latency; of equal ones still the first, as zeros have signs.
        const std::size_t parts = (end - first) % 4 == 0 ? 4 : 1, n = (end - first) / parts;
        floats lows[4], highs[4];
        for (std::size_t p = 0; p < 4; ++p) lows[p] = highs[p] = x[first + (p < parts ? p * n : 0)];
        for (std::size_t i = 1; i < n; ++i) {
#pragma GCC unroll 4
            for (std::size_t p = 0; p < 4; ++p) {
                const floats v = x[first + (p < parts ? p * n : 0) + i];
                lows[p] = smaller(lows[p], v);
                highs[p] = larger(highs[p], v);
            }
        }
        const floats low = smaller(smaller(lows[0], lows[1]), smaller(lows[2], lows[3])), high = larger(larger(highs[0], highs[1]), larger(highs[2], highs[3]));
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

/// The code of the level nearest to u, in level units: what F::nearest gives for one weight.
template <class F> QLIB_INLINE static constexpr ints nearest_code(floats u) noexcept {
    using grid = typename F::grid;
    if constexpr (requires { grid::flip; }) {
        constexpr float steps = 1 / (grid::level(grid::flip ^ 1) - grid::level(grid::flip));
        constexpr auto low = static_cast<std::int32_t>(grid::lowest * steps), high = static_cast<std::int32_t>(grid::highest * steps);
        constexpr auto first = static_cast<std::int32_t>(grid::level(grid::flip) * steps);
        return (round_clamped(steps == 1 ? u : times(u, steps), low, high) - first) ^ static_cast<std::int32_t>(grid::flip);
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
    } else if constexpr (requires { grid::magnitude_thresholds; }) {  // a sign bit above the codes of magnitudes
        const floats size = magnitude(u);
        ints rank = splat(0);
#pragma GCC unroll 16
        for (const float t : grid::magnitude_thresholds) rank += one_if(size > t);
        return truncate(look_up(grid::magnitude_codes, rank)) + select(u < 0.0f, splat(static_cast<std::int32_t>(grid::size / 2)), splat(0));
    } else if constexpr (requires { typename grid::element; }) {
        return minifloat_code<overflow::saturate>(static_cast<typename grid::element*>(nullptr), u);
    } else {
        ints code = splat(0);
        for (std::size_t l = 0; l < width; ++l) {
            const float one = lane(u, l);
            set_lane(code, l, F::nearest(&one, nullptr));
        }
        return code;
    }
}

/// The largest magnitude of n weights.
QLIB_INLINE static constexpr floats largest_of(const floats* x, std::size_t n) noexcept {
    floats most = splat(0.0f);
    for (std::size_t i = 0; i < n; ++i) most = larger(most, magnitude(x[i]));
    return most;
}

/// bitsandbytes' double quantization: codes are chosen under the abs-max, then that is quantized, so they decode under another scale.
template <class F> static constexpr void codes_before_scale(const lane_sites<lanes, F>& s, lane_blocks<lanes, F>& out) noexcept {
    const floats largest = largest_of(s.x, s.n), reciprocal = safe_reciprocal(largest);
    for (std::size_t i = 0; i < s.n; ++i) put(&out.code[i * width], nearest_code<F>(times(s.x[i], reciprocal)));
    for (std::size_t l = 0; l < width; ++l) out.params[l] = F::project({affine{lane(largest, l), 0}}, s.outer[l]);
}

/// NVIDIA's encoders: a block's scale is scale_of(abs-max, outer); codes are quotients rounded to nearest even, and a zero has no sign.
template <class F, class ScaleOf>
static constexpr void divided_block(const lane_sites<lanes, F>& s, lane_blocks<lanes, F>& out, const ScaleOf& scale_of) noexcept {
    const floats largest = largest_of(s.x, s.n);
    floats divisor = splat(1.0f);
    for (std::size_t l = 0; l < width; ++l) {
        out.params[l].stored = scale_of(lane(largest, l), s.outer[l]);
        F::take_outer(out.params[l], s.outer[l]);
        set_lane(divisor, l, out.params[l].scale);
    }
    for (std::size_t i = 0; i < s.n; ++i) {
        const floats u = s.x[i] / divisor;
        put(&out.code[i * width], select(magnitude(u) > 0.0f, nearest_code<F>(u), splat(0)));
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

/// Codes for given params: each weight rounded to the nearest level under the map that will decode it. False: some level may not decode to a finite
/// weight, as all_finite says.
template <class F> static constexpr bool choose_codes(const lane_sites<lanes, F>& s, lane_blocks<lanes, F>& out) noexcept {
    floats outer_scale = splat(1.0f);
    for (std::size_t l = 0; l < width; ++l) set_lane(outer_scale, l, F::outer_scale(s.outer[l]));
    lane_map maps[F::groups] = {};
    maps_of<F>(out.params, maps);
    ints most = splat(0);
    for (std::size_t g = 0; g < F::groups && g * F::group < s.n; ++g) {
        const lane_map m = maps[g];
        constexpr float last = largest_level<typename F::grid>;
        floats reach = F::map == form::shifted ? times(magnitude(m.s), magnitude(m.z) + last) : times(magnitude(m.s), last);
        if constexpr (F::map == form::offset) reach = reach + magnitude(m.z);
        if constexpr (outer_multiplies<F>) reach = times(reach, magnitude(outer_scale));
        most = larger(most, bits(magnitude(reach)));
        const lane_units<F> units{safe_reciprocal(m.s), m.z, safe_reciprocal(outer_scale)};
        const std::size_t end = width != 1 ? (g + 1) * F::group : group_end<F>(s.n, g);
        if constexpr (width != 1 && F::group % 4 == 0) {  // whole blocks
            const auto code = [&](std::size_t i) QLIB_INLINE_LAMBDA { return nearest_code<F>(units(s.x[i])); };
            for (std::size_t i = g * F::group; i < end; i += 4) put_4(&out.code[i * width], code(i), code(i + 1), code(i + 2), code(i + 3));
        } else {
            for (std::size_t i = g * F::group; i < end; ++i) put(&out.code[i * width], nearest_code<F>(units(s.x[i])));
        }
    }
    return !any(most >= 0x7F800000);
}
