// No #pragma once: included in one_block and in each room, after ggml_search.inl. ggml's own
// encoders of whole blocks, one block in each lane. Source: ggml-quants.c, the quantize_row_*_ref,
// and under an importance matrix quantize_row_*_impl.

/// The bits of f16::from, NaN excepted.
QLIB_INLINE static constexpr ints half_bits(floats x) noexcept {
    const floats a = magnitude(x);
    const mask tiny = a < 0x1p-14f;
    const ints normal = (bits(a) - (112 << 23) + 0xFFF + ((bits(a) >> 13) & 1)) >> 13;
    const ints subnormal = round_even(times(select(tiny, a, splat(0.0f)), 0x1p24f));
    return select(tiny, subnormal, smaller(normal, splat(0x7C00))) | ((bits(x) >> 16) & 0x8000);
}
/// Their value, where it is finite.
QLIB_INLINE static constexpr floats half_value(ints h) noexcept {
    const ints a = h & 0x7FFF;
    const floats value = select(a < 0x400, times(to_float(a), 0x1p-24f), from_bits((a << 13) + (112 << 23)));
    return from_bits(bits(value) | ((h & 0x8000) << 16));
}
/// Rounds to f16, stores that where member(params) says, and gives its value.
template <class F, class Member>
QLIB_INLINE static constexpr floats ggml_store_half(floats x, lane_blocks<room, F>& out,
                                                    const Member& member) noexcept {
    const ints h = half_bits(x);
    std::uint8_t low[width], high[width];
    put(low, h);
    put(high, h >> 8);
    for (std::size_t l = 0; l < width; ++l)
        member(out.params[l]).bits = static_cast<std::uint16_t>(low[l] | high[l] << 8);
    return half_value(h);
}
template <class F> QLIB_INLINE static constexpr void ggml_store_scale(floats x, lane_blocks<room, F>& out) noexcept {
    ggml_store_half(x, out, [](typename F::params& p) QLIB_INLINE_LAMBDA -> f16& { return p.scale[0]; });
}
template <class F> QLIB_INLINE static constexpr floats ggml_store_super(floats x, lane_blocks<room, F>& out) noexcept {
    return ggml_store_half(x, out, [](typename F::params& p) QLIB_INLINE_LAMBDA -> f16& { return p.super; });
}

/// nearest_int((x + min) / scale) for each weight, clamped, as codes from 0 on; where scale is 0 they stay.
/// The quotient is that with the reciprocal but for some units in the last place, which only tell beside a
/// half or, where nearest_int goes astray, far outside.
template <std::size_t N>
[[gnu::__noinline__]] static constexpr void ggml_choose(const floats* x, floats scale, floats min, int low, int high,
                                                        std::uint8_t* codes) noexcept {
    const mask kept = scale == 0.0f;
    const floats divisor = select(kept, splat(1.0f), scale), reciprocal = 1.0f / divisor;
    floats farthest = splat(0.0f), worst = splat(0.0f);
    const bool keeps = any(kept);
    if (!keeps)
        for (std::size_t i = 0; i < N; ++i) {
            const floats units = times(x[i] + min, reciprocal),
                         inside = clamp(units, static_cast<float>(low), static_cast<float>(high));
            const floats sum = ggml_sum(inside), rest = inside - (sum - ggml_zero_sum);
            farthest = larger(farthest, magnitude(units));
            worst = larger(worst, magnitude(rest));
            put(codes + i * width, bits(sum) - bits(splat(ggml_zero_sum)) - low);
        }
    if (!keeps && !any((farthest > 0x1p20f) | (worst > 0.49995f) | no(magnitude(reciprocal) < 0x1p100f))) return;
#pragma GCC unroll 1
    for (std::size_t i = 0; i < N; ++i) {
        ints code = ggml_level_int(ggml_tame_sum((x[i] + min) / divisor), low, high) - low;
        if (keeps) code = select(kept, get(codes + i * width), code);
        put(codes + i * width, code);
    }
}

/// Codes chosen again under the scales as stored, value = scale * l - min; a group whose scale became 0 keeps what its
/// search left. subs and mins: [group][lane].
template <class F>
static constexpr void ggml_requantize(const lane_sites<room, F>& s, floats super, const std::uint8_t* subs,
                                      floats super_min, const std::uint8_t* mins,
                                      lane_blocks<room, F>& out) noexcept {
    constexpr int low = static_cast<int>(F::grid::lowest), high = static_cast<int>(F::grid::highest);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const floats scale = times(super, to_float((get(subs + g * width) ^ 128) - 128));  // they have signs
        const floats min = mins != nullptr ? times(super_min, to_float(get(mins + g * width))) : splat(0.0f);
        ggml_choose<F::group>(s.x + g * F::group, scale, min, low, high, &out.code[g * F::group * width]);
        for (std::size_t l = 0; l < width; ++l) {
            out.params[l].sub[g] = static_cast<std::int8_t>(subs[g * width + l]);
            out.params[l].min[g] = mins != nullptr ? mins[g * width + l] : std::uint8_t{0};
        }
    }
}

/// Sub-scales or mins on 0 .. nmax, each group's `v`, without importance: the largest decides. Gives the super-scale.
template <std::size_t N>
static constexpr floats ggml_plain_subs(const floats* v, int nmax, std::uint8_t* subs) noexcept {
    floats high = splat(0.0f);
    for (std::size_t g = 0; g < N; ++g) high = larger(high, v[g]);
    const floats inverse = quotient(high > 0.0f, splat(static_cast<float>(nmax)), high);
    for (std::size_t g = 0; g < N; ++g)
        put(subs + g * width, clamp(ggml_nearest_int(times(inverse, v[g])) & 255, 0, nmax));
    return high / static_cast<float>(nmax);
}

/// What differs between the encoders of Q2_K, Q4_K and Q5_K.
struct ggml_mins_recipe {
    ggml_min_steps plain;  ///< without importance
    bool rms_weight;       ///< weights there: the group's rms + |x|, or |x| alone
    float sigma2_factor;   ///< times the block's mean square: sigma^2 under an importance matrix
};

/// quantize_row_q2_K_ref, q4_K_ref and q5_K_ref.
template <class F>
static constexpr void ggml_block_with_mins(const lane_sites<room, F>& s, lane_blocks<room, F>& out,
                                           ggml_mins_recipe recipe) noexcept {
    constexpr std::size_t G = F::groups, N = F::group, P = 2;
    constexpr int nmax = static_cast<int>(F::grid::highest);
    const bool weighted = s.importance != nullptr;
    const floats sigma2 =
        weighted ? times(sum_of_squares<G * N>(s.x), recipe.sigma2_factor) / static_cast<float>(G * N) : splat(0.0f);
    // A group's scale and min stand where weights did that are not needed any more, and so do later searches.
    static_assert(G + P <= N * P && 7 * G <= N * G);
    floats* const space = s.work_w + 2 * G;
    floats *const scale = s.work_w, *const min = s.work_w + G, weight_sum[G];
    for (std::size_t g = 0; g < G; g += P) {
        const floats* const x = s.x + g * N;
        floats* const w = s.work_w + g * N;
        for (std::size_t p = 0; p < P; ++p) {
            if (weighted) {
                weight_sum[g + p] = ggml_weights<N>(s.importance + (g + p) * N, sigma2, x + p * N, w + p * N);
            } else {
                const floats rms =
                    recipe.rms_weight ? square_root(sum_of_squares<N>(x + p * N) / static_cast<float>(N)) : splat(0.0f);
                for (std::size_t i = p * N; i < (p + 1) * N; ++i) w[i] = rms + magnitude(x[i]);
            }
        }
        ggml_scale_and_min found[P];
        ggml_min_search<N, P>(nmax, x, w, &out.code[g * N * width],
                              weighted ? ggml_min_steps{-0.9f, 0.05f, 36} : recipe.plain, found);
        for (std::size_t p = 0; p < P; ++p) {
            scale[g + p] = found[p].scale;
            min[g + p] = found[p].min;
        }
    }
    std::uint8_t subs[G * width], mins[G * width];
    const floats super = weighted ? ggml_positive_search<G>(F::sub_high, scale, weight_sum, subs, space)
                                  : ggml_plain_subs<G>(scale, F::sub_high, subs);
    const floats super_min = weighted ? ggml_positive_search<G>(F::min_high, min, weight_sum, mins, space)
                                      : ggml_plain_subs<G>(min, F::min_high, mins);
    const floats stored = ggml_store_super<F>(super, out);
    const floats stored_min =
        ggml_store_half(super_min, out, [](typename F::params& p) QLIB_INLINE_LAMBDA -> f16& { return p.super_min; });
    ggml_requantize<F>(s, stored, subs, stored_min, mins, out);
}

/// quantize_row_q3_K_ref.
template <class F>
static constexpr void ggml_q3_super_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    constexpr int nmax = -static_cast<int>(F::grid::lowest), low = F::sub_low, high = F::sub_high;
    floats scale[G], super = splat(0.0f);
    std::uint8_t subs[G * width];
    if (s.importance != nullptr) {
        const floats sigma2 = times(sum_of_squares<G * N>(s.x), 2.0f) / static_cast<float>(G * N);
        floats weight_sum[G];
        for (std::size_t g = 0; g < G; ++g) {
            floats* const w = s.work_w + g * N;
            weight_sum[g] = ggml_weights<N>(s.importance + g * N, sigma2, s.x + g * N, w);
            scale[g] = ggml_signed_search<N>(nmax, s.x + g * N, w, &out.code[g * N * width]);
        }
        std::uint8_t codes[G * width];
        super = ggml_signed_search<G>(-low, scale, weight_sum, codes);
#pragma GCC unroll 1
        for (std::size_t g = 0; g < G; ++g) put(subs + g * width, get(codes + g * width) + low);
    } else {
        for (std::size_t g = 0; g < G; ++g)
            scale[g] = ggml_descent_search<N>(nmax, s.x + g * N, &out.code[g * N * width], s.work_w);
        const floats extreme = extreme_of<G>(scale);
        const mask live = extreme != 0.0f;
        const floats inverse = quotient(live, splat(static_cast<float>(low)), extreme);
        for (std::size_t g = 0; g < G; ++g)
            put(subs + g * width,
                select(live, ggml_level_int(ggml_tame_sum(times(inverse, scale[g])), low, high), splat(low)));
        super = quotient(live, splat(1.0f), inverse);
    }
    ggml_requantize<F>(s, ggml_store_super<F>(super, out), subs, splat(0.0f), nullptr, out);
}

/// quantize_row_q6_K_ref; its _impl takes the importance as the weight.
template <class F>
static constexpr void ggml_signed_super_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    floats scale[G];
    for (std::size_t g = 0; g < G; ++g)
        scale[g] =
            ggml_signed_search<N>(-static_cast<int>(F::grid::lowest), s.x + g * N,
                                  s.importance != nullptr ? s.importance + g * N : nullptr, &out.code[g * N * width]);
    const floats extreme = extreme_of<G>(scale);
    const mask dead = magnitude(extreme) < ggml_group_max_eps;  // then the block is all zero bytes
    const floats inverse = static_cast<float>(F::sub_low) / select(dead, splat(1.0f), extreme);
    std::uint8_t subs[G * width];
    for (std::size_t g = 0; g < G; ++g) {
        const ints l = ggml_nearest_int(times(inverse, scale[g]));
        put(subs + g * width, select(dead, splat(0), select(l > F::sub_high, splat(F::sub_high), l)));
    }
    if (any(dead))
#pragma GCC unroll 1
        for (std::size_t i = 0; i < G * N; ++i)
            put(&out.code[i * width], select(dead, splat(0), get(&out.code[i * width])));
    ggml_requantize<F>(s, ggml_store_super<F>(select(dead, splat(0.0f), 1.0f / inverse), out), subs, splat(0.0f),
                       nullptr, out);
}

/// F's 16 ascending levels, and what lies in the middle between two of them.
template <class F>
static constexpr std::array<float, 16> ggml_levels = [] {
    std::array<float, 16> t{};
    for (std::size_t i = 0; i < 16; ++i) t[i] = F::grid::level(i);
    return t;
}();
template <class F>
static constexpr std::array<float, 16> ggml_middles = [] {
    std::array<float, 16> t{};
    for (std::size_t i = 0; i < 15; ++i) t[i] = (F::grid::level(i) + F::grid::level(i + 1)) / 2;
    return t;
}();

/// best_index_int8: the nearer of the two levels around x, of equals the upper. It compares x -
/// lower with upper - x, which near the middle, the only place where rounding could tell, are
/// exact for these levels: integers and their halves.
template <class F> QLIB_INLINE static constexpr ints ggml_iq4_index(floats x) noexcept {
    constexpr auto& middle = ggml_middles<F>;
    ints i = select(x >= middle[7], splat(8), splat(0));
    i = select(x >= look_up(middle, i + 3), i + 4, i);
    i = select(x >= look_up(middle, i + 1), i + 2, i);
    return select(x >= look_up(middle, i), i + 1, i);
}

/// The scale of 32 weights that quantize_row_iq4_nl_impl finds in 15 trials, under
/// ggml's weights. 0 for a group of zeros.
template <class F>
[[gnu::__noinline__]] static constexpr floats ggml_iq4_scale(const floats* x, const floats* importance,
                                                             floats sigma2) noexcept {
    const floats extreme = extreme_of<32>(x);
    const mask dead = magnitude(extreme) < ggml_group_max_eps;
    const floats divisor = select(dead, splat(1.0f), extreme);
    constexpr float lowest = ggml_levels<F>[0];
    floats w[32];
    if (importance != nullptr) ggml_weights<32>(importance, sigma2, x, w);
    else
        for (std::size_t i = 0; i < 32; ++i) w[i] = times(x[i], x[i]);
    floats scale = splat(0.0f), best = splat(0.0f);
    for (int trial = -1; trial < 15; ++trial) {  // the plain scale first, then -7 .. 7 steps around it
        const floats inverse =
            trial < 0 ? 1.0f / (-divisor / lowest) : (static_cast<float>(trial - 7) + lowest) / divisor;
        floats qx = splat(0.0f), qq = splat(0.0f);
        for (std::size_t i = 0; i < 32; ++i) {
            const floats q = look_up(ggml_levels<F>, ggml_iq4_index<F>(times(inverse, x[i]))), wq = times(w[i], q);
            qx += times(wq, x[i]);
            qq += times(wq, q);
        }
        mask better = qq > 0.0f;
        if (trial >= 0) better = better & (times(qx, qx) > times(best, qq));
        const floats tried = quotient(better, qx, qq);
        scale = select(better, tried, scale);
        best = select(better, times(tried, qx), best);
    }
    return select(dead, splat(0.0f), scale);
}

/// quantize_iq4_nl.
template <class F>
static constexpr void ggml_iq4_nl_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    const floats d = ggml_iq4_scale<F>(s.x, s.importance, times(sum_of_squares<32>(s.x), 2.0f / 32));
    const floats inverse = quotient(d != 0.0f, splat(1.0f), d);  // codes come from the scale before it is rounded
    ggml_store_scale(d, out);
    for (std::size_t i = 0; i < 32; ++i) put(&out.code[i * width], ggml_iq4_index<F>(times(inverse, s.x[i])));
}

/// quantize_iq4_xs.
template <class F>
static constexpr void ggml_iq4_xs_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    const floats sigma2 = times(sum_of_squares<256>(s.x), 2.0f / 256);
    floats scale[8];
    for (std::size_t g = 0; g < 8; ++g)
        scale[g] = ggml_iq4_scale<F>(s.x + 32 * g, s.importance != nullptr ? s.importance + 32 * g : nullptr, sigma2);
    const floats d = -extreme_of<8>(scale) / 32.0f, inverse = quotient(d != 0.0f, splat(1.0f), d);
    ggml_store_super<F>(d, out);
    for (std::size_t g = 0; g < 8; ++g) {
        const ints l = ggml_level_int(ggml_tame_sum(times(inverse, scale[g])), -32, 31);
        const floats sub = times(d, to_float(l)), sub_inverse = quotient(sub != 0.0f, splat(1.0f), sub);
        std::uint8_t stored[width];
        put(stored, l);
        for (std::size_t k = 0; k < width; ++k) out.params[k].sub[g] = static_cast<std::int8_t>(stored[k]);
        for (std::size_t i = 32 * g; i < 32 * g + 32; ++i)
            put(&out.code[i * width], ggml_iq4_index<F>(times(sub_inverse, s.x[i])));
    }
}

#include "ggml_one_level_blocks.inl"
