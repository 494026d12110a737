// No #pragma once: included in one_block and in each room. Abs-max or min-max maps,
// and the codes under the maps as stored.

/// A small float's bits, rounded to nearest even; too large ones saturate, or become
/// infinite where `Overflow` and the type say so.
template <overflow Overflow>
QLIB_INLINE static constexpr ints minifloat_code(const minifloat_rule& r, floats u) noexcept {
    const std::int32_t shift = 23 - r.mantissa_bits;
    const float smallest_normal = float_of(static_cast<std::uint32_t>(128 - r.bias) << 23);
    const float steps = float_of(static_cast<std::uint32_t>(126 + r.bias + r.mantissa_bits) << 23);
    const std::int32_t beyond = r.most + (Overflow == overflow::special && r.ieee ? 1 : 0);
    const ints sign = (bits(u) >> 31) & r.sign_bit();
    const floats a = magnitude(u);
    const ints v = bits(a) - splat(r.exponent(127 - r.bias)), half = splat((1 << (shift - 1)) - 1);
    const ints normal = (v + half + ((v >> shift) & 1)) >> shift;
    const ints subnormal = round_even(times(select(a < smallest_normal, a, splat(0.0f)), splat(steps)));
    const ints code = select(a < smallest_normal, subnormal, select(normal > r.most, splat(beyond), normal));
    return r.fnuz ? select(code == 0, code, code | sign) : code | sign;
}
/// The value of a small float's bits; infinity for all that are no number.
QLIB_INLINE static constexpr floats minifloat_value(const minifloat_rule& r, ints code) noexcept {
    const std::int32_t shift = 23 - r.mantissa_bits;
    const float step = float_of(static_cast<std::uint32_t>(127 + 1 - r.bias - r.mantissa_bits) << 23);
    const ints a = code & (r.sign_bit() - 1),
               sign = select((code & r.sign_bit()) == 0, splat(0), splat(std::int32_t{-0x7FFFFFFF - 1}));
    const ints normal = select(a > r.most, splat(0x7F800000), (a << shift) + splat(r.exponent(127 - r.bias)));
    return from_bits(select(a < splat(1 << r.mantissa_bits), bits(times(to_float(a), splat(step))), normal) | sign);
}

/// The bits of a T, f32 or a small IEEE float, and the value of such bits.
template <class T> QLIB_INLINE static constexpr ints number_bits(floats x) noexcept {
    if constexpr (std::same_as<T, f32>) return bits(x);
    else return minifloat_code<overflow::special>(minifloat_rule_of<T>, x);
}
template <class T> QLIB_INLINE static constexpr floats number_value(ints x) noexcept {
    if constexpr (std::same_as<T, f32>) return from_bits(x);
    else return minifloat_value(minifloat_rule_of<T>, x);
}

/// How F's params are made in lanes, if they are: as one_level's with scales of an IEEE
/// float and nothing outside, or as two_level's.
enum class lane_params { none, one_level, two_levels };
template <class Grid, form Map, std::size_t N, int E, int M, int Bias, specials S, std::size_t Groups>
static constexpr lane_params params_of(one_level<Grid, Map, N, minifloat<E, M, Bias, S>, Groups, false>*) noexcept {
    return E < 8 && S == specials::ieee ? lane_params::one_level : lane_params::none;
}
template <class Grid, form Map, std::size_t N, std::size_t Groups>
static constexpr lane_params params_of(one_level<Grid, Map, N, f32, Groups, false>*) noexcept {
    return lane_params::one_level;
}
static constexpr lane_params params_of(const void*) noexcept { return lane_params::none; }
/// Whether F overrides what its part does, in whatever signature.
template <class F> static constexpr bool has_own_params = !requires {
    requires(&F::project == &F::part::project);
    requires(&F::at == &F::part::at);
};
template <class F>
static constexpr lane_params lane_params_of = [] {
    if constexpr (width == 1) return lane_params::none;
    else if constexpr (has_own_params<F>) return lane_params::none;
    else if constexpr (requires { F::part::two_levels; })
        return std::same_as<typename F::stored_scale, f16> ? lane_params::two_levels : lane_params::none;
    else return params_of(static_cast<typename F::part*>(nullptr));
}();

/// All lanes, one by one.
QLIB_INLINE static constexpr std::array<std::int32_t, width> lanes_of(ints v) noexcept {
    return __builtin_bit_cast(std::array<std::int32_t, width>, v);
}

/// One number of each lane's params: of(params) -> integer.
template <class P, class Of> QLIB_INLINE static constexpr ints of_each(const P* params, const Of& of) noexcept {
    std::array<std::int32_t, width> v{};
#pragma GCC unroll 16
    for (std::size_t l = 0; l < width; ++l) v[l] = static_cast<std::int32_t>(of(params[l]));
    return __builtin_bit_cast(ints, v);
}

/// F's maps of all groups as the decoder will use them.
template <class F> static constexpr void maps_of(const typename F::params* params, lane_map* maps) noexcept {
    using params_t = typename F::params;
    if constexpr (lane_params_of<F> == lane_params::none) {
        for (std::size_t g = 0; g < F::groups; ++g) {
            std::array<float, width> s{}, z{};
#pragma GCC unroll 16
            for (std::size_t l = 0; l < width; ++l) {
                const affine a = F::at(params[l], g);
                s[l] = a.s;
                z[l] = a.z;
            }
            maps[g] = {__builtin_bit_cast(floats, s), __builtin_bit_cast(floats, z)};
        }
    } else {
        using number = typename F::stored_scale;
        floats super = splat(0.0f), super_min = splat(0.0f);
        if constexpr (lane_params_of<F> == lane_params::two_levels) {
            super = number_value<number>(
                of_each(params, [](const params_t& p) QLIB_INLINE_LAMBDA { return p.super.bits; }));
            if constexpr (F::has_mins)
                super_min = number_value<number>(
                    of_each(params, [](const params_t& p) QLIB_INLINE_LAMBDA { return p.super_min.bits; }));
        }
        for (std::size_t g = 0; g < F::groups; ++g) {
            lane_map& m = maps[g];
            m.z = splat(0.0f);
            if constexpr (lane_params_of<F> == lane_params::two_levels) {
                m.s = times(super,
                            to_float(of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.sub[g]; })));
                if constexpr (F::has_mins) {
                    const ints mins = of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.min[g]; });
                    m.z = -times(super_min, to_float(mins));
                }
            } else {
                m.s = number_value<number>(
                    of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.scale[g].bits; }));
                if constexpr (F::map == form::offset)
                    m.z = number_value<number>(
                        of_each(params, [g](const params_t& p) QLIB_INLINE_LAMBDA { return p.zeros[g].bits; }));
                if constexpr (F::map == form::shifted) {
                    std::array<float, width> z{};
#pragma GCC unroll 16
                    for (std::size_t l = 0; l < width; ++l) z[l] = F::grid::level(params[l].zeros[g]);
                    m.z = __builtin_bit_cast(floats, z);
                }
            }
        }
    }
}

/// storable_scale of each lane: its bits, and its value.
template <class T> struct lane_scale {
    ints bits;
    QLIB_INLINE explicit constexpr lane_scale(floats wish) noexcept
        : bits(number_bits<T>(select(magnitude(wish) < 0x1p-126f, splat(0.0f), wish))) {}
    QLIB_INLINE constexpr floats value() const noexcept { return number_value<T>(bits); }
};

/// two_level's project.
template <class F>
QLIB_INLINE static constexpr void project_two_levels(const lane_map* wishes, typename F::params* params) noexcept {
    floats extreme = splat(0.0f), deepest = splat(0.0f);
    for (std::size_t g = 0; g < F::groups; ++g) {
        extreme = select(magnitude(wishes[g].s) > magnitude(extreme), wishes[g].s, extreme);
        deepest = larger(deepest, -wishes[g].z);
    }
    const lane_scale<f16> super(extreme / static_cast<float>(F::sub_signed ? F::sub_low : F::sub_high));
    const lane_scale<f16> super_min(F::has_mins ? deepest / static_cast<float>(F::min_high) : splat(0.0f));
    const floats inverse = safe_reciprocal(super.value()), inverse_min = safe_reciprocal(super_min.value());
    const auto super_bits = lanes_of(super.bits), min_bits = lanes_of(super_min.bits);
#pragma GCC unroll 16
    for (std::size_t l = 0; l < width; ++l) {
        params[l].super = {static_cast<std::uint16_t>(super_bits[l])};
        params[l].super_min = {static_cast<std::uint16_t>(min_bits[l])};
    }
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto sub = lanes_of(round_clamped(times(wishes[g].s, inverse), F::sub_low, F::sub_high));
        const auto deep =
            lanes_of(F::has_mins ? round_clamped(times(-wishes[g].z, inverse_min), 0, F::min_high) : splat(0));
#pragma GCC unroll 16
        for (std::size_t l = 0; l < width; ++l) {
            params[l].sub[g] = static_cast<std::int8_t>(sub[l]);
            params[l].min[g] = static_cast<std::uint8_t>(deep[l]);
        }
    }
}

/// Params of the maps that each lane wishes.
template <class F>
static constexpr void project(const lane_map* wishes, const typename F::outer* outer,
                              typename F::params* params) noexcept {
    if constexpr (lane_params_of<F> == lane_params::two_levels) {
        project_two_levels<F>(wishes, params);
    } else if constexpr (lane_params_of<F> == lane_params::one_level) {
        using number = typename F::stored_scale;
        for (std::size_t g = 0; g < F::groups; ++g) {
            const auto s = lanes_of(lane_scale<number>(wishes[g].s).bits);
#pragma GCC unroll 16
            for (std::size_t l = 0; l < width; ++l) params[l].scale[g] = {static_cast<typename number::storage>(s[l])};
            if constexpr (F::map == form::offset) {
                const auto z = lanes_of(number_bits<number>(wishes[g].z));
#pragma GCC unroll 16
                for (std::size_t l = 0; l < width; ++l)
                    params[l].zeros[g] = {static_cast<typename number::storage>(z[l])};
            } else if constexpr (F::map == form::shifted) {
                const auto z = lanes_of(nearest_code<code_kind_of<F>>(code_rule_of<F>, wishes[g].z));
#pragma GCC unroll 16
                for (std::size_t l = 0; l < width; ++l) params[l].zeros[g] = static_cast<typename F::code>(z[l]);
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

/// The plain map of weights [first, end).
[[gnu::__noinline__]] static constexpr lane_map plain_map(const plain_rule& rule, const floats* x, std::size_t first,
                                                          std::size_t end) noexcept {
    if (first >= end) return {splat(0.0f), splat(0.0f)};
    if (rule.mean) {
        floats sum = splat(0.0f);
        for (std::size_t i = first; i < end; ++i) sum += magnitude(x[i]);
        return {sum / static_cast<float>(end - first) / rule.range.top, splat(0.0f)};
    }
    // Four stretches side by side, for their latency; of equal ones still the first, as zeros have signs.
    const std::size_t stretches = (end - first) % 4 == 0 ? 4 : 1, n = (end - first) / stretches,
                      apart = stretches == 4 ? n : 0;
    floats lows[4], highs[4];
    for (std::size_t p = 0; p < 4; ++p) lows[p] = highs[p] = x[first + p * apart];
    for (std::size_t i = 1; i < n; ++i) {
#pragma GCC unroll 4
        for (std::size_t p = 0; p < 4; ++p) {
            const floats v = x[first + p * apart + i];
            lows[p] = smaller(lows[p], v);
            highs[p] = larger(highs[p], v);
        }
    }
    const floats low = smaller(smaller(lows[0], lows[1]), smaller(lows[2], lows[3]));
    const floats high = larger(larger(highs[0], highs[1]), larger(highs[2], highs[3]));
    if (rule.own == nullptr) return map_of_range(rule.range, low, high);
    lane_map m{low, splat(0.0f)};
    for (std::size_t l = 0; l < width; ++l) {
        const affine a = rule.own(lane(low, l), lane(high, l));
        set_lane(m.s, l, a.s);
        set_lane(m.z, l, a.z);
    }
    return m;
}

template <class F>
[[gnu::__noinline__]] static constexpr void plain_blocks(const lane_sites<room, F>& s,
                                                         typename F::params* params) noexcept {
    lane_map wishes[F::groups] = {};
    for (std::size_t g = 0; g < F::groups; ++g)
        wishes[g] = plain_map(plain_rule_of<F>, s.x, g * F::group, group_end<F>(s.n, g));
    project<F>(wishes, s.outer, params);
}

/// The code of the level nearest to u, in level units: what the format's nearest() gives for one weight.
template <code_kind K> QLIB_INLINE static constexpr ints nearest_code(const code_rule& r, floats u) noexcept {
    if constexpr (K == code_kind::whole_steps || K == code_kind::steps) {
        if constexpr (K == code_kind::steps) u = times(u, r.step_inverse);
        return (bits(clamp(u, r.low, r.high) + 12582912.0f) - r.zero) ^ r.flip;
    } else if constexpr (K == code_kind::table) {
        ints rank = splat(0);
        if constexpr (looks_up_fast) {
#pragma GCC unroll 4
            for (const std::int32_t step : {8, 4, 2, 1})
                rank = select(u > look_up(*r.steps_table, rank + (step - 1)), rank + step, rank);
        } else {
            for (std::size_t i = 0; i < r.count; ++i) rank += one_if(u > r.thresholds[i]);
        }
        return r.codes == nullptr ? rank : truncate(look_up(*r.codes, rank));
    } else if constexpr (K == code_kind::signed_table) {
        const floats size = magnitude(u);
        ints rank = splat(0);
        for (std::size_t i = 0; i < r.count; ++i) rank += one_if(size > r.thresholds[i]);
        return truncate(look_up(*r.codes, rank)) + select(u < 0.0f, splat(r.flip), splat(0));
    } else if constexpr (K == code_kind::small_float) {
        return minifloat_code<overflow::saturate>(r.number, u);
    } else {
        ints code = splat(0);
        for (std::size_t l = 0; l < width; ++l) set_lane(code, l, r.nearest(lane(u, l)));
        return code;
    }
}
template <class F> QLIB_INLINE static constexpr ints nearest_code(floats u) noexcept {
    return nearest_code<code_kind_of<F>>(code_rule_of<F>, u);
}

/// The largest magnitude of n weights.
QLIB_INLINE static constexpr floats largest_of(const floats* x, std::size_t n) noexcept {
    floats most = splat(0.0f);
    for (std::size_t i = 0; i < n; ++i) most = larger(most, magnitude(x[i]));
    return most;
}

/// bitsandbytes' double quantization: codes are chosen under the abs-max, then that is
/// quantized, so they decode under another scale.
template <class F>
static constexpr void codes_before_scale(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    const floats largest = largest_of(s.x, s.n), reciprocal = safe_reciprocal(largest);
    for (std::size_t i = 0; i < s.n; ++i) put(&out.code[i * width], nearest_code<F>(times(s.x[i], reciprocal)));
    for (std::size_t l = 0; l < width; ++l) out.params[l] = F::project({affine{lane(largest, l), 0}}, s.outer[l]);
}

/// NVIDIA's encoders: a block's scale is scale_of(abs-max, outer); codes are quotients
/// rounded to nearest even, and a zero has no sign.
template <class F, class ScaleOf>
static constexpr void divided_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out,
                                    const ScaleOf& scale_of) noexcept {
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

/// Codes of `groups` whole groups under the maps that will decode them. False: some level may not decode to a finite
/// weight, as all_finite says.
template <code_kind K, form Map, bool OuterMultiplies>
[[gnu::__noinline__]] static bool round_groups(const code_rule& given, const floats* x, std::size_t groups,
                                               std::size_t group, const lane_map* maps, floats outer_scale,
                                               std::uint8_t* code) noexcept {
    const code_rule rule = given;  // codes are bytes, which may alias whatever lies in memory
    ints most = splat(0);
    for (std::size_t g = 0; g < groups; ++g) {
        const lane_map m = maps[g];
        most = larger(most, bits(magnitude(reach_of<Map, OuterMultiplies>(m, rule.largest, outer_scale))));
        const level_units<Map, OuterMultiplies> units(m, outer_scale);
        const auto code_of = [&](std::size_t i) QLIB_INLINE_LAMBDA { return nearest_code<K>(rule, units(x[i])); };
        std::size_t i = 0;
        for (; i + 4 <= group; i += 4)
            put_4(code + i * width, code_of(i), code_of(i + 1), code_of(i + 2), code_of(i + 3));
        for (; i < group; ++i) put(code + i * width, code_of(i));
        x += group;
        code += group * width;
    }
    return !any(most >= 0x7F800000);
}

/// Codes for given params: each weight rounded to the nearest level. False: see round_groups.
template <class F> static bool choose_codes(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    floats outer_scale = splat(1.0f);
    if constexpr (outer_multiplies<F>)
        for (std::size_t l = 0; l < width; ++l) set_lane(outer_scale, l, F::outer_scale(s.outer[l]));
    lane_map maps[F::groups] = {};
    maps_of<F>(out.params, maps);
    return round_groups<code_kind_of<F>, F::map, outer_multiplies<F>>(code_rule_of<F>, s.x, F::groups, F::group, maps,
                                                                      outer_scale, out.code);
}
