// No #pragma once: each room includes this text inside its struct. The best points of a lattice for 16
// octets of weights side by side: lane o of every vector belongs to octet o. A point is looked for by
// halves: for each high half that occurs, the cheapest of the low halves that occur with it. Tables hold the
// cost of every half, so a point costs one minimum.

template <class L> struct half_table { sixteen of[half_size<L>]; };

/// The costs of a half's digits, summed, or the smallest of them. digit[i][d]: digit d of dimension i.
template <class L, bool Smallest>
QLIB_INLINE static void tabulate(const sixteen (*digit)[L::base], half_table<L>& out) noexcept {
    constexpr std::size_t B = L::base, pairs = L::dims / 4;
    if constexpr (pairs == 1) {
        join<Smallest>(digit[0], digit[1], B, out.of);
    } else {
        sixteen first[B * B], second[B * B];
        join<Smallest>(digit[0], digit[1], B, first);
        join<Smallest>(digit[2], digit[3], B, second);
        join<Smallest>(first, second, B * B, out.of);
    }
}
/// out[a + n * b] from first[a] and second[b].
template <bool Smallest>
QLIB_INLINE static void join(const sixteen* first, const sixteen* second, std::size_t n, sixteen* out) noexcept {
    for (std::size_t b = 0; b < n; ++b)
        for (std::size_t a = 0; a < n; ++a)
            out[a + n * b] = Smallest ? smaller(first[a], second[b]) : first[a] + second[b];
}

/// A point for each lane, as halves, and its cost. `low` carries the low half in its last bits.
struct best_of_lanes {
    sixteen cost, low, high;
    QLIB_INLINE void reset() noexcept {
        cost = splat_16(unreachable);
        low = high = splat_16(0.0f);
    }
    QLIB_INLINE void consider(sixteen new_cost, sixteen new_low, sixteen new_high) noexcept {
        const auto better = less(new_cost, cost);
        cost = select(better, new_cost, cost);
        low = select(better, new_low, low);
        high = select(better, new_high, high);
    }
};

template <class Table>
QLIB_INLINE static sixteen smallest_of(const Table& t, const std::array<std::uint8_t, 4>& k) noexcept {
    return smaller(smaller(t.of[k[0]], t.of[k[1]]), smaller(t.of[k[2]], t.of[k[3]]));
}

/// The cheapest point for each lane, and the cheapest if also the cheapest of its lanes' flips is paid for.
template <class L, bool Plain, bool Flips>
QLIB_INLINE static void cheapest_points(const sixteen (*cost)[L::base], const sixteen (*flip)[L::base],
                                        best_of_lanes& plain, best_of_lanes& flipped) noexcept {
    constexpr auto& halves = lattice_halves<L>;
    half_table<L> low, high, low_flipped, high_flipped;
    plain.reset();
    flipped.reset();
    tabulate<L, false>(cost, low);
    tabulate<L, false>(cost + L::dims / 2, high);
    if constexpr (Flips) {
        tabulate<L, true>(flip, low_flipped);
        tabulate<L, true>(flip + L::dims / 2, high_flipped);
        for (std::size_t k = 0; k < half_size<L>; ++k) {
            low_flipped.of[k] = stamp(low.of[k] + low_flipped.of[k], k);
            high_flipped.of[k] = high.of[k] + high_flipped.of[k];
        }
    }
    for (std::size_t k = 0; k < half_size<L>; ++k) low.of[k] = stamp(low.of[k], k);

    for (std::size_t list = 0, k = 0; list < halves.lists; ++list) {
        const std::size_t h = static_cast<std::size_t>(halves.of[list].high), end = halves.of[list].end;
        sixteen m = smallest_of(low, halves.low[k]), f = m;
        if constexpr (Flips) f = smallest_of(low_flipped, halves.low[k]);
        while (++k < end) {
            m = smaller(m, smallest_of(low, halves.low[k]));
            if constexpr (Flips) f = smaller(f, smallest_of(low_flipped, halves.low[k]));
        }
        const sixteen number = splat_16(halves.of[list].high);
        if constexpr (Plain) plain.consider(m + high.of[h], m, number);
        if constexpr (Flips) {
            flipped.consider(f + high.of[h], f, number);
            flipped.consider(m + high_flipped.of[h], m, number);
        }
    }
}

/// Writes point p of every octet: its number's halves and its levels.
template <class L>
QLIB_INLINE static void put_points(const best_of_lanes& best, sixteen shift, std::size_t p,
                                   octet_points& out) noexcept {
    const sixteen low = stamped(best.low);
    store(out.low[p], low);
    store(out.high[p], best.high);
    put_levels<L>(low, shift, p * L::dims, out);
    put_levels<L>(best.high, shift, p * L::dims + L::dims / 2, out);
}
/// The levels of a half's digits, from weight `first` on.
template <class L>
QLIB_INLINE static void put_levels(sixteen number, sixteen shift, std::size_t first, octet_points& out) noexcept {
    for (std::size_t i = L::dims / 2; i-- > 0;) {
        const auto place = static_cast<float>(lattice_power<L>[i]);
        sixteen level = splat_16(level_of<L>(0)) + shift, taken = splat_16(0.0f);
        for (std::size_t d = 1; d < L::base; ++d) {
            const sixteen bound = splat_16(static_cast<float>(d) * place);
            const auto below = less(number, bound);
            level = select(below, level, splat_16(level_of<L>(d)) + shift);
            taken = select(below, taken, bound);
        }
        number = number - taken;
        store(out.level[first + i], level);
    }
}

/// The best points for 16 octets under their scales and shifts. EvenSigns: octets with `odd` set get one weight of the
/// wrong sign, a negative level.
template <class L, bool EvenSigns> static void best_points(const octets& in, octet_points& out) noexcept {
    constexpr std::size_t points = 8 / L::dims;
    sixteen cost[8][L::base], flip[8][L::base];
    const sixteen scale = load(in.scale), shift = load(in.shift);
    for (std::size_t d = 0; d < L::base; ++d) {
        const sixteen l = splat_16(level_of<L>(d)) + shift, y = times(scale, l);
        // (|x| + y)^2 - (|x| - y)^2 = 4 |x| y
        const sixteen wrong = EvenSigns ? times(times(splat_16(4.0f), load(in.odd)), y) : y;
        for (std::size_t i = 0; i < 8; ++i) {
            const sixteen x = load(in.x[i]), w = load(in.w[i]), e = x - y;
            cost[i][d] = times(times(w, e), e);
            if constexpr (EvenSigns) flip[i][d] = times(times(w, x), wrong);
        }
    }
    best_of_lanes plain[points], flipped[points];
    for (std::size_t p = 0; p < points; ++p)
        cheapest_points<L, !EvenSigns || points == 2, EvenSigns>(cost + p * L::dims, flip + p * L::dims, plain[p],
                                                                 flipped[p]);
    if constexpr (!EvenSigns) {
        for (std::size_t p = 0; p < points; ++p) put_points<L>(plain[p], shift, p, out);
        store(out.cost, points == 1 ? plain[0].cost : plain[0].cost + plain[points - 1].cost);
    } else {
        if constexpr (points == 2) {
            const sixteen in_first = flipped[0].cost + plain[1].cost, in_second = plain[0].cost + flipped[1].cost;
            const auto second = less(in_second, in_first);
            for (std::size_t p = 0; p < 2; ++p) {
                const best_of_lanes &yes = p == 0 ? plain[0] : flipped[1], &no = p == 0 ? flipped[0] : plain[1];
                flipped[p] = {select(second, yes.cost, no.cost), select(second, yes.low, no.low),
                              select(second, yes.high, no.high)};
            }
            store(out.cost, flipped[0].cost + flipped[1].cost);
        } else {
            store(out.cost, flipped[0].cost);
        }
        for (std::size_t p = 0; p < points; ++p) put_points<L>(flipped[p], shift, p, out);
        flip_cheapest(in, out);
    }
}

/// Of octets with `odd` set, turns the sign of the weight that it costs least at the levels chosen.
QLIB_INLINE static void flip_cheapest(const octets& in, octet_points& out) noexcept {
    sixteen least = splat_16(unreachable), lane = splat_16(0.0f);
    for (std::size_t i = 0; i < 8; ++i) {
        const sixteen more = times(times(load(in.w[i]), load(in.x[i])), load(out.level[i]));
        const auto better = less(more, least);
        least = select(better, more, least);
        lane = select(better, splat_16(static_cast<float>(i)), lane);
    }
    alignas(64) float turned[16];
    store(turned, lane);
    for (std::size_t o = 0; o < 16; ++o) {
        out.flipped[o] = 8;
        if (in.odd[o] == 0) continue;
        const auto i = out.flipped[o] = static_cast<std::uint8_t>(turned[o]);
        out.level[i][o] = -out.level[i][o];
    }
}

/// The best points of a grid's codes.
template <class G> static void choose_points(const octets& in, octet_points& out) noexcept {
    if constexpr (holds_signs<G>) best_points<typename G::points, G::even_signs>(in, out);
    else best_points<typename G::points, false>(in, out);
}

/// What octets would cost if every weight could have its nearest level.
template <class L> static void bare_costs(const octets& in, float* out) noexcept {
    const sixteen scale = load(in.scale), shift = load(in.shift);
    sixteen level[L::base], sum = splat_16(0.0f);
    for (std::size_t d = 0; d < L::base; ++d) level[d] = times(scale, splat_16(level_of<L>(d)) + shift);
    for (std::size_t i = 0; i < 8; ++i) {
        const sixteen x = load(in.x[i]);
        sixteen least = splat_16(unreachable);
        for (std::size_t d = 0; d < L::base; ++d) {
            const sixteen e = x - level[d];
            least = smaller(least, times(e, e));
        }
        sum = sum + times(load(in.w[i]), least);
    }
    store(out, sum);
}
