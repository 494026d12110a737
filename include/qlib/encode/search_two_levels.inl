// No #pragma once: part of search.inl. Super-blocks: first what each group would wish for alone, then super-scales
// under which whole numbers of steps come close, then for each group the numbers around with the least exact
// error, and the super-scales again by least squares.

/// Sub-scales and mins, as bytes, under the super-scales of the best attempt.
template <std::size_t G> struct super_fit {
    floats super, super_min, error;
    std::uint8_t sub[G * width], min[G * width];  ///< [group][lane]
};
template <std::size_t G> static constexpr void keep_better(super_fit<G>& best, const super_fit<G>& tried) noexcept {
    const mask m = tried.error < best.error;
    best.super = select(m, tried.super, best.super);
    best.super_min = select(m, tried.super_min, best.super_min);
    best.error = select(m, tried.error, best.error);
    std::uint8_t taken[width];  // all bits or none; get() of bytes is slow on g++ 12
    put(taken, select(m, splat(255), splat(0)));
    for (std::size_t g = 0; g < G * width; g += width)
        for (std::size_t k = 0; k < width; ++k) {
            const int sub = best.sub[g + k] ^ tried.sub[g + k], min = best.min[g + k] ^ tried.min[g + k];
            best.sub[g + k] = static_cast<std::uint8_t>(best.sub[g + k] ^ (sub & taken[k]));
            best.min[g + k] = static_cast<std::uint8_t>(best.min[g + k] ^ (min & taken[k]));
        }
}

/// A super-scale as the wire holds it, in units of `unit`.
QLIB_INLINE static constexpr floats stored_super(const search_shape& f, floats v, floats unit,
                                                 floats inverse_unit) noexcept {
    v = times(v, unit);
    if (f.stored_super == nullptr) return times(lane_scale<f16>(v).value(), inverse_unit);
    for (std::size_t k = 0; k < width; ++k) set_lane(v, k, f.stored_super(lane(v, k)));
    return times(v, inverse_unit);
}

/// What the groups of a super-block wish for: the best scale, and the best of the other sign where the levels are
/// lopsided; or scale and offset, and those of -x.
template <std::size_t G> struct group_wishes {
    std::size_t sides = 1;
    floats scale[2][G], offset[2][G];
    floats sum[G];  ///< with mins: of w * x
};

/// What a group's weights count for, all together.
QLIB_INLINE static constexpr floats weight_of(const search_group& g) noexcept {
    floats weight = splat(0.0f);
    for (std::size_t i = 0; i < g.n; ++i) weight = weight + g.w[i];
    return weight;
}

QLIB_INLINE static constexpr search_group group_at(const search_shape& f, const floats* x, const floats* w,
                                                   std::size_t g) noexcept {
    return {x + g * f.group, w + g * f.group, f.group};
}

/// The sub-scales around each wish with the least error under `super`. Gives the
/// least-squares super-scale for their codes.
template <level_kind K, std::size_t G>
static constexpr floats fit_subs(const search_shape& f, const floats* x, const floats* w, const group_wishes<G>& wish,
                                 int reach, const floats& super, super_fit<G>& best) noexcept {
    const auto low = static_cast<float>(f.sub_low), high = static_cast<float>(f.sub_high);
    const floats inverse = safe_reciprocal(super);
    super_fit<G> made{};
    made.super = super;
    made.error = splat(0.0f);
    floats sum_xl = splat(0.0f), sum_ll = splat(0.0f);
    for (std::size_t g = 0; g < G; ++g) {
        floats least = splat((std::numeric_limits<float>::max)()), sub = splat(0.0f), xl = splat(0.0f),
               ll = splat(0.0f);
        for (std::size_t side = 0; side < wish.sides; ++side) {
            const floats nearby = to_float(round_clamped(times(wish.scale[side][g], inverse), f.sub_low, f.sub_high));
            for (int step = -reach; step <= reach; ++step) {
                const floats tried = clamp(nearby + static_cast<float>(step), low, high), s = times(super, tried);
                const level_sums t = sums_of<K, form::scaled>(f, group_at(f, x, w, g), safe_reciprocal(s), splat(0.0f));
                const floats error = times(s, times(s, t.ll) - times(t.xl, 2.0f));  // less sum w x^2
                const mask m = error < least;
                least = select(m, error, least);
                sub = select(m, tried, sub);
                xl = select(m, t.xl, xl);
                ll = select(m, t.ll, ll);
            }
        }
        put(&made.sub[g * width], truncate(sub));
        made.error = made.error + least;
        sum_xl = sum_xl + times(sub, xl);
        sum_ll = sum_ll + times(times(sub, sub), ll);
    }
    keep_better(best, made);
    return select(sum_ll > 0.0f, quotient(sum_xl, sum_ll), super);
}

template <level_kind K, std::size_t G>
static constexpr void wish_scales(const search_shape& f, const floats* x, const floats* w, bool weighted,
                                  group_wishes<G>& wish) noexcept {
    for (std::size_t g = 0; g < G; ++g) {
        const search_group group = group_at(f, x, w, g);
        const search_range r = range_of(group);
        best_levels a = no_levels();
        if (wish.sides == 2) {
            best_levels b = no_levels();
            try_scales<K, form::scaled>(f, group, r.extreme, splat(f.levels.low), weighted, a);
            try_scales<K, form::scaled>(f, group, r.extreme, splat(f.levels.high), weighted, b);
            const floats s = settled_scale<K, form::scaled>(f, group, a, 1),
                         other = settled_scale<K, form::scaled>(f, group, b, 1);
            const mask m = times(b.square, a.rest) > times(a.square, b.rest);
            wish.scale[0][g] = select(m, other, s);
            wish.scale[1][g] = select(m, s, other);
        } else {
            const floats end = -f.levels.low == f.levels.high
                                   ? splat(f.levels.high)
                                   : select(r.extreme < 0.0f, splat(-f.levels.low), splat(f.levels.high));
            try_scales<K, form::scaled>(f, group, magnitude(r.extreme), end, weighted, a);
            wish.scale[0][g] = settled_scale<K, form::scaled>(f, group, a, 1);
        }
    }
}

template <level_kind K, std::size_t G>
static constexpr void search_super(const search_shape& f, const floats* x, const floats* w, bool weighted, floats unit,
                                   floats inverse_unit, super_fit<G>& best) noexcept {
    const super_steps steps = f.super[weighted ? 1 : 0];
    group_wishes<G> wish{};
    wish.sides = f.sub_signed && -f.levels.low != f.levels.high ? 2 : 1;
    wish_scales<K>(f, x, w, weighted, wish);
    floats most = splat(0.0f);
    for (std::size_t g = 0; g < G; ++g) most = larger(most, magnitude(wish.scale[0][g]));
    const floats plain = times(most, 1.0f / static_cast<float>(f.sub_signed ? -f.sub_low : f.sub_high));
    for (int k = 0; k < steps.count; ++k)
        fit_subs<K>(
            f, x, w, wish, 0,
            stored_super(f, times(plain, steps.from + product(steps.step, static_cast<float>(k))), unit, inverse_unit),
            best);
    floats super = best.super;
    for (int k = 0; k < steps.sweeps; ++k)
        super = stored_super(f, fit_subs<K>(f, x, w, wish, steps.reach, super, best), unit, inverse_unit);
}

/// The best scale and offset of a group alone; offsets are never above zero.
struct group_line {
    floats s, z, explained;
};
template <level_kind K>
static constexpr void try_line(const search_shape& f, const search_group& g, const floats& weight, const floats& sum,
                               const floats& inverse, const floats& z, group_line& best) noexcept {
    const level_sums t = sums_of<K, form::offset>(f, g, inverse, z);
    const floats det = times(weight, t.ll) - times(t.l, t.l);
    floats s = quotient(times(weight, t.xl) - times(sum, t.l), det),
           offset = quotient(times(t.ll, sum) - times(t.l, t.xl), det);
    const mask scale_alone = no((offset <= 0.0f) & (det > 0.0f));
    s = select(scale_alone, quotient(t.xl, t.ll), s);
    offset = select(scale_alone, splat(0.0f), offset);
    const floats explained = times(s, t.xl) + times(offset, sum);
    const mask m = (explained > best.explained) & (s > 0.0f);
    best = {select(m, s, best.s), select(m, offset, best.z), select(m, explained, best.explained)};
}

template <level_kind K, std::size_t G>
static constexpr void wish_lines(const search_shape& f, const floats* x, const floats* w, bool weighted,
                                 std::size_t side, group_wishes<G>& wish) noexcept {
    const float span = f.levels.high - f.levels.low;
    const range_starts starts = range_starts_of(weighted);
    for (std::size_t g = 0; g < G; ++g) {
        const search_group group = group_at(f, x, w, g);
        const floats weight = weight_of(group);
        floats sum = splat(0.0f);
        for (std::size_t i = 0; i < f.group; ++i) sum = sum + times(group.w[i], group.x[i]);
        const search_range r = range_of(group);
        const floats low = smaller(r.low, splat(0.0f)), size = larger(r.high, splat(0.0f)) - low,
                     inverse_size = safe_reciprocal(size);
        group_line best{times(size, 1.0f / span), low, splat(0.0f)};
        for (int a = 0; a < starts.count; ++a)
            for (int b = 0; b < starts.count; ++b) {
                const float cut_low = starts.from + product(starts.step, static_cast<float>(a));
                const float cut_high = starts.from + product(starts.step, static_cast<float>(b));
                const floats z = smaller(low + times(size, cut_low / span), splat(0.0f));
                try_line<K>(f, group, weight, sum, times(inverse_size, span * span / (span - cut_low - cut_high)), z,
                            best);
            }
        try_line<K>(f, group, weight, sum, safe_reciprocal(best.s), best.z, best);
        wish.scale[side][g] = best.s;
        wish.offset[side][g] = best.z;
        wish.sum[g] = sum;
    }
}

/// Sums over groups for both super-scales: the least-squares equations super * ss - super_min * sm = xs,
/// super_min * mm - super * sm = -xm.
struct super_sums {
    floats ss, sm, mm, xs, xm;
};

/// Sub-scales and mins around the wishes with the least error under both super-scales, which then become the
/// least-squares ones for their codes. Gives that error.
template <level_kind K, std::size_t G>
static constexpr floats fit_subs_and_mins(const search_shape& f, const floats* x, const floats* w, bool weighted,
                                          const group_wishes<G>& wish, std::size_t side, int reach, int min_reach,
                                          floats& super, floats& super_min, super_fit<G>& best) noexcept {
    const auto low = static_cast<float>(f.sub_low), high = static_cast<float>(f.sub_high),
               min_high = static_cast<float>(f.min_high);
    const float middle = f.levels.high * 0.5f;
    const floats inverse = safe_reciprocal(super), inverse_min = safe_reciprocal(super_min);
    super_fit<G> made{};
    made.super = super;
    made.super_min = super_min;
    made.error = splat(0.0f);
    super_sums sums{splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
    for (std::size_t g = 0; g < G; ++g) {
        const floats weight = weighted ? weight_of(group_at(f, x, w, g)) : splat(static_cast<float>(f.group));
        const floats sum = wish.sum[g], inverse_weight = safe_reciprocal(weight);
        const floats nearby = to_float(round_clamped(times(wish.scale[side][g], inverse), f.sub_low, f.sub_high));
        floats least = splat((std::numeric_limits<float>::max)()), sub = splat(0.0f), min = splat(0.0f);
        level_sums of{splat(0.0f), splat(0.0f), splat(0.0f)};
        for (int step = -reach; step <= reach; ++step) {
            const floats tried = clamp(nearby + static_cast<float>(step), low, high), s = times(super, tried),
                         inverse_s = safe_reciprocal(s);
            // the middle of the range stays where it is
            const floats offset = wish.offset[side][g] + times(wish.scale[side][g] - s, middle);
            const floats near_min = to_float(round_clamped(times(times(offset, -1.0f), inverse_min), 0, f.min_high));
            for (int min_step = -min_reach; min_step <= min_reach; ++min_step) {
                const floats start = clamp(near_min + static_cast<float>(min_step), 0.0f, min_high);
                const level_sums t =
                    sums_of<K, form::offset>(f, group_at(f, x, w, g), inverse_s, times(times(super_min, start), -1.0f));
                const floats wished = times(times(s, t.l) - sum, inverse_weight);  // the best min for these codes
                const floats tried_min = to_float(round_clamped(times(wished, inverse_min), 0, f.min_high)),
                             depth = times(super_min, tried_min);
                const floats error = times(s, times(s, t.ll) - times(t.xl, 2.0f)) +
                                     times(depth, times(sum, 2.0f) - times(times(s, t.l), 2.0f) + times(depth, weight));
                const mask m = error < least;
                least = select(m, error, least);
                sub = select(m, tried, sub);
                min = select(m, tried_min, min);
                of = {select(m, t.l, of.l), select(m, t.ll, of.ll), select(m, t.xl, of.xl)};
            }
        }
        put(&made.sub[g * width], truncate(sub));
        put(&made.min[g * width], truncate(min));
        made.error = made.error + least;
        sums.ss = sums.ss + times(times(sub, sub), of.ll);
        sums.sm = sums.sm + times(times(sub, min), of.l);
        sums.mm = sums.mm + times(times(min, min), weight);
        sums.xs = sums.xs + times(sub, of.xl);
        sums.xm = sums.xm + times(min, sum);
    }
    keep_better(best, made);
    const floats det = times(sums.ss, sums.mm) - times(sums.sm, sums.sm);
    const mask both = det > times(times(sums.ss, sums.mm), 1e-6f);
    const floats alone = select(sums.ss > 0.0f, quotient(sums.xs, sums.ss), super);
    super = select(both, quotient(times(sums.xs, sums.mm) - times(sums.sm, sums.xm), det), alone);
    super_min =
        select(both, larger(quotient(times(sums.xs, sums.sm) - times(sums.xm, sums.ss), det), splat(0.0f)), super_min);
    return made.error;
}

/// The best pairs of super-scales, best first.
struct super_starts {
    static constexpr std::size_t size = 4;
    floats error[size], super[size], super_min[size];
};
QLIB_INLINE static constexpr void keep_start(super_starts& kept, floats error, floats super,
                                             floats super_min) noexcept {
    for (std::size_t k = 0; k < super_starts::size; ++k) {
        const mask better = error < kept.error[k], same = error == kept.error[k];
        const floats e = kept.error[k], s = kept.super[k], m = kept.super_min[k];
        kept.error[k] = select(better, error, e);
        kept.super[k] = select(better, super, s);
        kept.super_min[k] = select(better, super_min, m);
        const floats dropped = select(same, splat((std::numeric_limits<float>::max)()), error);  // one that came twice
        error = select(better, e, dropped);
        super = select(better, s, super);
        super_min = select(better, m, super_min);
    }
}

/// Wishes, and the best of a grid of super-scales.
template <level_kind K, std::size_t G>
static constexpr void start_super_and_min(const search_shape& f, const floats* x, const floats* w, bool weighted,
                                          floats unit, floats inverse_unit, std::size_t side, group_wishes<G>& wish,
                                          super_starts& starts, super_fit<G>& best) noexcept {
    const super_steps steps = f.super[weighted ? 1 : 0];
    wish_lines<K>(f, x, w, weighted, side, wish);
    floats most = splat(0.0f), deepest = splat(0.0f);
    for (std::size_t g = 0; g < G; ++g) {
        most = larger(most, wish.scale[side][g]);
        deepest = smaller(deepest, wish.offset[side][g]);
    }
    most = times(most, 1.0f / static_cast<float>(f.sub_high));
    deepest = times(deepest, -1.0f / static_cast<float>(f.min_high));
    for (floats& e : starts.error) e = splat((std::numeric_limits<float>::max)());
    for (int a = 0; a < steps.count; ++a)
        for (int b = 0; b < steps.count; ++b) {
            floats super = times(most, steps.from + product(steps.step, static_cast<float>(a)));
            floats super_min = times(deepest, steps.from + product(steps.step, static_cast<float>(b)));
            for (int k = 0; k < 2; ++k) {  // the second time under the least-squares ones
                super = stored_super(f, super, unit, inverse_unit);
                super_min = stored_super(f, super_min, unit, inverse_unit);
                const floats tried = super, tried_min = super_min;
                const floats error = fit_subs_and_mins<K>(f, x, w, weighted, wish, side, 0, 0, super, super_min, best);
                keep_start(starts, error, tried, tried_min);
            }
        }
}

/// Also solves for -x: both super-scales may be negative on the wire, and then offsets are never below zero.
template <level_kind K, std::size_t G>
static constexpr void search_super_and_min(const search_shape& f, floats* x, const floats* w, bool weighted,
                                           floats unit, floats inverse_unit, super_fit<G>& best) noexcept {
    group_wishes<G> wish{};
    super_starts starts{};
    start_super_and_min<K>(f, x, w, weighted, unit, inverse_unit, 0, wish, starts, best);
    const floats least = best.error;
    floats first_super[super_starts::size]{}, first_super_min[super_starts::size]{};
    for (std::size_t k = 0; k < super_starts::size; ++k) {
        first_super[k] = starts.super[k];
        first_super_min[k] = starts.super_min[k];
    }
    for (std::size_t i = 0; i < G * f.group; ++i) x[i] = times(x[i], -1.0f);
    start_super_and_min<K>(f, x, w, weighted, unit, inverse_unit, 1, wish, starts, best);
    const mask m = best.error < least;
    const floats sign = select(m, splat(-1.0f), splat(1.0f)), flip = times(sign, -1.0f);
    for (std::size_t i = 0; i < G * f.group; ++i) x[i] = times(x[i], flip);
    for (std::size_t g = 0; g < G; ++g) {
        wish.scale[0][g] = select(m, wish.scale[1][g], wish.scale[0][g]);
        wish.offset[0][g] = select(m, wish.offset[1][g], wish.offset[0][g]);
        wish.sum[g] = times(wish.sum[g], flip);  // they are those of -x
    }
    const super_steps steps = f.super[weighted ? 1 : 0];
    for (int i = 0; i < steps.starts; ++i) {
        const auto at = static_cast<std::size_t>(i);
        floats super = select(m, starts.super[at], first_super[at]);
        floats super_min = select(m, starts.super_min[at], first_super_min[at]);
        for (int k = 0; k < steps.sweeps; ++k) {
            fit_subs_and_mins<K>(f, x, w, weighted, wish, 0, steps.reach, steps.min_reach, super, super_min, best);
            super = stored_super(f, super, unit, inverse_unit);
            super_min = stored_super(f, super_min, unit, inverse_unit);
        }
    }
    best.super = times(best.super, sign);
    best.super_min = times(best.super_min, sign);
    for (std::size_t i = 0; i < G * f.group; ++i) x[i] = times(x[i], sign);  // they may be searched again
}

template <level_kind K, bool Mins, std::size_t G>
[[gnu::__noinline__]] static constexpr void search_super_blocks(const search_shape& f, floats* x, const floats* w,
                                                                bool weighted, floats unit, floats inverse_unit,
                                                                super_fit<G>& best) noexcept {
    best.error = splat((std::numeric_limits<float>::max)());
    if constexpr (Mins) search_super_and_min<K>(f, x, w, weighted, unit, inverse_unit, best);
    else search_super<K>(f, x, w, weighted, unit, inverse_unit, best);
    const floats all = sum_of_squares({x, w, G * f.group});
    const floats factor = weighted ? unit : times(unit, regained(f, times(best.error, -1.0f), all));
    best.super = times(best.super, factor);
    best.super_min = times(best.super_min, factor);
}
/// The attempt as params, in the wanted lanes.
template <class F>
static constexpr void store_super_fit(const super_fit<F::groups>& fit, mask wanted,
                                      typename F::params* params) noexcept {
    using T = typename F::stored_scale;
    for (std::size_t k = 0; k < width; ++k) {
        if (lane(one_if(wanted), k) == 0) continue;
        typename F::params p{};
        p.super = storable_scale<T>(lane(fit.super, k));
        for (std::size_t g = 0; g < F::groups; ++g) p.sub[g] = static_cast<std::int8_t>(fit.sub[g * width + k]);
        if constexpr (F::has_mins) {
            p.super_min = storable_scale<T>(lane(fit.super_min, k));
            for (std::size_t g = 0; g < F::groups; ++g) p.min[g] = fit.min[g * width + k];
        }
        params[k] = p;
    }
}
