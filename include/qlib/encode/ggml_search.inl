// No #pragma once: included in one_block and in each room. The searches of ggml's own encoders, to the bit, one
// block in each lane: the order of every sum and product is part of the format's bytes. A lane without anything to
// search goes along on harmless numbers. Source: ggml-quants.c, functions make_qx_quants, make_q3_quants,
// make_qkx2_quants, make_qkx3_quants, make_qp_quants.

static constexpr float ggml_group_max_eps = 1e-15f;

/// a / b where ok; 0 elsewhere, without a division by zero.
QLIB_INLINE static constexpr floats quotient(mask ok, floats a, floats b) noexcept {
    return select(ok, a / select(ok, b, splat(1.0f)), splat(0.0f));
}

/// The value of largest magnitude, the first of equals.
template <std::size_t N> static constexpr floats extreme_of(const floats* x) noexcept {
    floats largest = splat(0.0f), extreme = splat(0.0f);
    for (std::size_t i = 0; i < N; ++i) {
        const floats a = magnitude(x[i]);
        extreme = select(a > largest, x[i], extreme);
        largest = larger(largest, a);
    }
    return extreme;
}

/// The sum of squares, in order.
template <std::size_t N> static constexpr floats sum_of_squares(const floats* x) noexcept {
    floats sum = splat(0.0f);
    for (std::size_t i = 0; i < N; ++i) sum += times(x[i], x[i]);
    return sum;
}

/// x + 1.5 * 2^23, whose lower bits are round_even(x).
static constexpr float ggml_zero_sum = 12582912.0f;
QLIB_INLINE static constexpr floats ggml_sum(floats x) noexcept { return x + ggml_zero_sum; }
/// The same for any x. ggml's nearest_int looks at 23 bits whatever the exponent, so beyond 2^22 it gives what they say
/// there: -2^22 for an infinity, 0 for a NaN. Scales of subnormal weights have such inverses.
QLIB_INLINE static constexpr floats ggml_tame_sum(floats x) noexcept {
    return from_bits((bits(ggml_sum(x)) & 0x007FFFFF) | 0x4B000000);
}
/// The level that such a sum means, kept between low and high: as a float and as an integer.
QLIB_INLINE static constexpr floats ggml_level(floats sum, int low, int high) noexcept {
    return clamp(sum, ggml_zero_sum + static_cast<float>(low), ggml_zero_sum + static_cast<float>(high)) -
           ggml_zero_sum;
}
QLIB_INLINE static constexpr ints ggml_level_int(floats sum, int low, int high) noexcept {
    return bits(clamp(sum, ggml_zero_sum + static_cast<float>(low), ggml_zero_sum + static_cast<float>(high))) -
           bits(splat(ggml_zero_sum));
}
QLIB_INLINE static constexpr ints ggml_nearest_int(floats x) noexcept {
    return bits(ggml_tame_sum(x)) - bits(splat(ggml_zero_sum));
}

/// make_qx_quants, rmse type 1: a scale for levels -nmax .. nmax-1, weights w or, without, x^2. Writes levels + nmax.
template <std::size_t N>
[[gnu::__noinline__]] static constexpr floats ggml_signed_search(int nmax, const floats* x, const floats* w,
                                                                 std::uint8_t* codes) noexcept {
    const floats extreme = extreme_of<N>(x);
    const mask dead = magnitude(extreme) < ggml_group_max_eps;
    const floats divisor = select(dead, splat(1.0f), extreme);
    floats finite[N], weight[N], weighted[N];
    for (std::size_t i = 0; i < N; ++i) {
        // Of scales one may have overflowed: it gets level 0.
        finite[i] = select(bits(magnitude(x[i])) < 0x7F800000, x[i], splat(0.0f));
        weight[i] = w != nullptr ? w[i] : times(x[i], x[i]);
        weighted[i] = times(weight[i], x[i]);
    }
    const auto steps = static_cast<float>(nmax);
    floats scale = splat(0.0f), best = splat(0.0f), found = splat(0.0f);
    constexpr std::size_t T = 4;         // trials at once, as each has its own chains of sums
    for (int k = -1; k <= 18; k += T) {  // the plain scale first, twice; then -9 .. 9 tenths of a level around it
        floats inverse[T], lx[T], ll[T];
        for (std::size_t t = 0; t < T; ++t) {
            const int j = k + static_cast<int>(t), is = j <= 0 ? 0 : j <= 9 ? j - 10 : j - 9;
            inverse[t] = -(steps + product(0.1f, static_cast<float>(is))) / divisor;
            lx[t] = ll[t] = splat(0.0f);
        }
        for (std::size_t i = 0; i < N; ++i)
            for (std::size_t t = 0; t < T; ++t) {
                const floats l = ggml_level(ggml_sum(times(inverse[t], finite[i])), -nmax, nmax - 1);
                lx[t] += times(weighted[i], l);
                ll[t] += times(times(weight[i], l), l);
            }
        for (std::size_t t = 0; t < T; ++t) {
            mask better = (ll[t] > 0.0f) & (times(lx[t], lx[t]) > times(best, ll[t]));
            if (k < 0 && t == 0) better = magnitude(extreme) >= 0.0f;
            const floats tried = quotient(ll[t] != 0.0f, lx[t], ll[t]);
            found = select(better, inverse[t], found);
            scale = select(better, tried, scale);
            best = select(better, times(tried, lx[t]), best);
        }
    }
    for (std::size_t i = 0; i < N; ++i)
        put(codes + i * width,
            select(dead, splat(0), ggml_level_int(ggml_sum(times(found, finite[i])), -nmax, nmax - 1) + nmax));
    return select(dead, splat(0.0f), scale);
}

/// How far from its level a weight may come to lie until it could get another one, in levels: half of one and less, or
/// where there is none further out as far as nearest_int can tell.
QLIB_INLINE static constexpr void ggml_slack_of(floats level, float low, float high, floats& down,
                                                floats& up) noexcept {
    down = select(level == low, splat(-0x1p20f), splat(-0.49f));
    up = select(level == high, splat(0x1p20f), splat(0.49f));
}

/// The search for better levels, one by one, that ends make_q3_quants and make_qp_quants: five rounds, or until
/// nothing has changed for one. lx and ll are the sums of w x l and w l l. `convex`: a weight without whose
/// share no sum of w l l is left keeps its level. `space`: 4 N, to work in.
template <std::size_t N>
[[gnu::__noinline__]] static constexpr void ggml_descend(const floats* x, const floats* w, int low, int high,
                                                         bool convex, floats* level, floats& lx, floats& ll,
                                                         floats* space) noexcept {
    const auto bottom = static_cast<float>(low), top = static_cast<float>(high);
    floats *const share_x = space, *const share_l = space + N;
    floats *const down = space + 2 * N, *const up = space + 3 * N;
    for (std::size_t i = 0; i < N; ++i) {
        share_x[i] = times(times(w[i], x[i]), level[i]);
        share_l[i] = times(times(w[i], level[i]), level[i]);
        ggml_slack_of(level[i], bottom, top, down[i], up[i]);
    }
    for (std::size_t step = 0, quiet = 0; step < 5 * N && quiet < N; ++step) {
        const std::size_t i = step % N;
        const floats l = level[i], rest_lx = lx - share_x[i], rest_ll = ll - share_l[i], aim = times(x[i], rest_ll);
        const floats off = aim - times(l, rest_lx);  // most weights stay for sure, and need no division
        ++quiet;
        mask open = rest_lx > 0.0f;
        if (convex) open = open & (rest_ll > 0.0f);
        if (!any(open & (off != smaller(times(rest_lx, up[i]), larger(times(rest_lx, down[i]), off)))))
            continue;
        const floats tried = ggml_level(ggml_tame_sum(quotient(open, aim, rest_lx)), low, high);
        const floats try_x = times(times(w[i], x[i]), tried), try_l = times(times(w[i], tried), tried);
        const floats new_lx = rest_lx + try_x, new_ll = rest_ll + try_l;
        const mask gain = times(times(new_lx, new_lx), ll) > times(times(lx, lx), new_ll),
                   better = open & (tried != l) & (new_ll > 0.0f) & gain;
        if (!any(better)) continue;
        quiet = 0;
        level[i] = select(better, tried, l);
        share_x[i] = select(better, try_x, share_x[i]);
        share_l[i] = select(better, try_l, share_l[i]);
        ggml_slack_of(level[i], bottom, top, down[i], up[i]);
        lx = select(better, new_lx, lx);
        ll = select(better, new_ll, ll);
    }
}

/// make_q3_quants: a scale for levels -nmax .. nmax-1 under weights x^2. Writes levels + nmax. `space`: 6 N.
template <std::size_t N>
[[gnu::__noinline__]] static constexpr floats ggml_descent_search(int nmax, const floats* x, std::uint8_t* codes,
                                                                  floats* space) noexcept {
    const floats extreme = extreme_of<N>(x);
    const mask dead = magnitude(extreme) < ggml_group_max_eps;
    const floats inverse = -static_cast<float>(nmax) / select(dead, splat(1.0f), extreme);
    floats lx = splat(0.0f), ll = splat(0.0f), *const w = space, *const level = space + N;
    for (std::size_t i = 0; i < N; ++i) {
        w[i] = times(x[i], x[i]);
        level[i] = ggml_level(ggml_sum(times(inverse, x[i])), -nmax, nmax - 1);
        lx += times(times(w[i], x[i]), level[i]);
        ll += times(times(w[i], level[i]), level[i]);
    }
    ggml_descend<N>(x, w, -nmax, nmax - 1, false, level, lx, ll, space + 2 * N);
    for (std::size_t i = 0; i < N; ++i) put(codes + i * width, select(dead, splat(0), truncate(level[i]) + nmax));
    return quotient((ll > 0.0f) & no(dead), lx, ll);
}

/// Where make_qkx2_quants and make_qkx3_quants start and how far they step.
struct ggml_min_steps {
    float first, delta;
    int count;
    bool absolute_error = false;
};

/// Value = scale * l - min.
struct ggml_scale_and_min {
    floats scale, min;
};

/// A group in make_qkx2_quants: what is known of it, the best so far, and where its
/// codes come from: inverse * (x - base).
struct ggml_min_state {
    floats lowest, high, sum_w, sum_x, low, scale, best, inverse, base;
    mask dead;
};

template <std::size_t N>
QLIB_INLINE static constexpr ggml_min_state ggml_min_begin(const floats* x, const floats* w) noexcept {
    ggml_min_state g{};
    g.low = g.high = x[0];
    g.sum_w = w[0];
    g.sum_x = times(w[0], x[0]);
    for (std::size_t i = 1; i < N; ++i) {
        g.low = smaller(g.low, x[i]);
        g.high = larger(g.high, x[i]);
        g.sum_w += w[i];
        g.sum_x += times(w[i], x[i]);
    }
    g.lowest = g.low = select(g.low > 0.0f, splat(0.0f), g.low);
    g.dead = g.high <= g.low;  // make_qkx2 asks for equality: the same, as low <= 0
    return g;
}

/// The inverse scale that sends the group's range to 0 .. top; `wild`: one beyond which nearest_int goes astray.
QLIB_INLINE static constexpr floats ggml_min_inverse(const ggml_min_state& g, float top, bool& wild) noexcept {
    const floats range = g.high - g.low, inverse = top / select(g.dead, splat(1.0f), range);
    wild = wild || any(no(times(magnitude(inverse), larger(magnitude(range), magnitude(g.lowest - g.low))) < 0x1p22f));
    return inverse;
}

/// The levels of P groups of N under inverse * (x - low), and their sums with the weights.
template <std::size_t N, std::size_t P> struct ggml_min_trial {
    floats level[N * P], inverse[P], l1[P], l2[P], xl[P];

    template <bool Wild>
    QLIB_INLINE constexpr void run(int nmax, const floats* x, const floats* w, const ggml_min_state* g) noexcept {
        for (std::size_t p = 0; p < P; ++p) l1[p] = l2[p] = xl[p] = splat(0.0f);
        for (std::size_t i = 0; i < N; ++i)
            for (std::size_t p = 0; p < P; ++p) {
                const floats v = x[p * N + i], units = times(inverse[p], v - g[p].low);
                const floats l = ggml_level(Wild ? ggml_tame_sum(units) : ggml_sum(units), 0, nmax),
                             wl = times(w[p * N + i], l);
                level[p * N + i] = l;
                l1[p] += wl;
                l2[p] += times(wl, l);
                xl[p] += times(wl, v);
            }
    }
    /// The least-squares map of group p onto its levels; `solvable` where there is
    /// one. Its low end stays at 0 or below.
    QLIB_INLINE constexpr lane_map solve(std::size_t p, const ggml_min_state& g, mask& solvable) const noexcept {
        const floats det = times(g.sum_w, l2[p]) - times(l1[p], l1[p]);
        solvable = det > 0.0f;
        lane_map m{quotient(solvable, times(g.sum_w, xl[p]) - times(g.sum_x, l1[p]), det),
                   quotient(solvable, times(l2[p], g.sum_x) - times(l1[p], xl[p]), det)};
        const mask above = m.z > 0.0f;
        if (any(above)) {
            m.s = select(above, quotient(above, xl[p], l2[p]), m.s);
            m.z = select(above, splat(0.0f), m.z);
        }
        return m;
    }
    /// The errors under the maps s * level + z.
    QLIB_INLINE constexpr void errors(const floats* x, const floats* w, const lane_map* m, bool absolute,
                                      floats* sum) const noexcept {
        for (std::size_t p = 0; p < P; ++p) sum[p] = splat(0.0f);
        for (std::size_t i = 0; i < N; ++i)
            for (std::size_t p = 0; p < P; ++p) {
                const floats e = times(m[p].s, level[p * N + i]) + m[p].z - x[p * N + i];
                sum[p] += times(w[p * N + i], absolute ? magnitude(e) : times(e, e));
            }
    }
};

/// make_qkx2_quants / make_qkx3_quants: scale and min for levels 0 .. nmax under weights w. Writes levels. P
/// groups at once: each has its own chains of sums.
template <std::size_t N, std::size_t P>
[[gnu::__noinline__]] static constexpr void ggml_min_search(int nmax, const floats* x, const floats* w,
                                                            std::uint8_t* codes, ggml_min_steps steps,
                                                            ggml_scale_and_min* out) noexcept {
    ggml_min_state g[P] = {};
    ggml_min_trial<N, P> trial;
    for (std::size_t p = 0; p < P; ++p) g[p] = ggml_min_begin<N>(x + p * N, w + p * N);
    for (int is = -1; is <= steps.count; ++is) {  // the range as it is comes first
        const float top = is < 0
                              ? static_cast<float>(nmax)
                              : steps.first + product(steps.delta, static_cast<float>(is)) + static_cast<float>(nmax);
        bool wild = false;
        for (std::size_t p = 0; p < P; ++p) trial.inverse[p] = ggml_min_inverse(g[p], top, wild);
        if (wild) trial.template run<true>(nmax, x, w, g);
        else trial.template run<false>(nmax, x, w, g);
        lane_map m[P];
        mask solvable[P];
        for (std::size_t p = 0; p < P; ++p) {
            m[p] = trial.solve(p, g[p], solvable[p]);
            if (is < 0) m[p] = {1.0f / trial.inverse[p], g[p].low};
        }
        floats error[P];
        trial.errors(x, w, m, steps.absolute_error, error);
        for (std::size_t p = 0; p < P; ++p) {
            const mask better = is < 0 ? g[p].high >= g[p].low : solvable[p] & (error[p] < g[p].best);
            g[p].best = select(better, error[p], g[p].best);
            g[p].scale = select(better, m[p].s, g[p].scale);
            g[p].inverse = select(better, trial.inverse[p], g[p].inverse);
            g[p].base = select(better, g[p].low, g[p].base);
            // Later steps start from the updated minimum, as the original does.
            g[p].low = select(better, m[p].z, g[p].low);
        }
    }
    for (std::size_t p = 0; p < P; ++p) {
        for (std::size_t i = p * N; i < (p + 1) * N; ++i) {
            const ints code = ggml_level_int(ggml_tame_sum(times(g[p].inverse, x[i] - g[p].base)), 0, nmax);
            put(codes + i * width, select(g[p].dead, splat(0), code));
        }
        out[p] = {select(g[p].dead, splat(0.0f), g[p].scale), -select(g[p].dead, g[p].lowest, g[p].low)};
    }
}

/// The error of make_qp_quants' levels under an inverse scale.
template <std::size_t N>
QLIB_INLINE static constexpr floats ggml_positive_error(int nmax, const floats* x, const floats* w, floats inverse,
                                                        bool limit) noexcept {
    const floats scale = 1.0f / inverse;
    floats sum = splat(0.0f);
    for (std::size_t i = 0; i < N; ++i) {
        floats l = ggml_tame_sum(times(inverse, x[i])) - ggml_zero_sum;
        if (limit) l = smaller(l, splat(static_cast<float>(nmax)));
        const floats e = x[i] - times(scale, l);
        sum += times(times(w[i], e), e);
    }
    return sum;
}

/// make_qp_quants: a scale for non-negative values on levels 0 .. nmax under weights w. `space`: 5 N.
template <std::size_t N>
[[gnu::__noinline__]] static constexpr floats ggml_positive_search(int nmax, const floats* x, const floats* w,
                                                                   std::uint8_t* codes, floats* space) noexcept {
    floats high = splat(0.0f);
    for (std::size_t i = 0; i < N; ++i) high = larger(high, x[i]);
    const mask dead = high < ggml_group_max_eps;
    high = select(dead, splat(1.0f), high);
    const auto top = static_cast<float>(nmax);
    floats inverse = top / high, best = ggml_positive_error<N>(nmax, x, w, inverse, false);
    for (int is = -4; is <= 4; ++is) {
        if (is == 0) continue;
        const floats tried = (product(0.1f, static_cast<float>(is)) + top) / high;
        const floats e = ggml_positive_error<N>(nmax, x, w, tried, true);
        inverse = select(e < best, tried, inverse);
        best = select(e < best, e, best);
    }
    floats *const level = space, lx = splat(0.0f), ll = splat(0.0f);
    for (std::size_t i = 0; i < N; ++i) {
        const ints l = ggml_level_int(ggml_tame_sum(times(inverse, x[i])), -nmax, nmax);
        lx += times(times(w[i], x[i]), to_float(l));
        ll += times(times(w[i], to_float(l)), to_float(l));
        level[i] = to_float(l & 255);  // the original keeps bytes
    }
    ggml_descend<N>(x, w, 0, nmax, true, level, lx, ll, space + N);
    for (std::size_t i = 0; i < N; ++i) put(codes + i * width, select(dead, splat(0), truncate(level[i])));
    return quotient((ll > 0.0f) & no(dead), lx, ll);
}

/// Importance as ggml's block types count it: qw * sqrt(sigma^2 + x^2). Gives the weights' sum, in order.
template <std::size_t N>
QLIB_INLINE static constexpr floats ggml_weights(const floats* importance, floats sigma2, const floats* x,
                                                 floats* w) noexcept {
    floats sum = splat(0.0f);
    for (std::size_t i = 0; i < N; ++i) {
        w[i] = times(importance[i], square_root(sigma2 + times(x[i], x[i])));
        sum += w[i];
    }
    return sum;
}
