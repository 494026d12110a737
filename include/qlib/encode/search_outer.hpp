#pragma once
// The search of one map for a whole row, tensor or tile: ranges cut shorter and shorter, then finer steps
// around the best, each judged by the least-squares map for its codes, then that map itself. All weights are
// read four times, and judged under some 23 or 30 maps.
#include "search_shape.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// What a map leaves of a tile, in its own level units: sums of w e e, w e l, w l l, w e, w l, w
/// over errors e, levels l (less the zero point of a shifted map) and importances w, each as 16
/// parts. The last three are for maps with offsets.
struct error_sums {
    double part[6][16] = {};
    double operator[](std::size_t k) const noexcept {
        double sum = 0;
        for (const double p : part[k]) sum += p;
        return sum;
    }
};

/// A map, its weighted squared error, and the least-squares map for its codes with its own.
struct judged_map {
    affine map;
    double error, solved_error;
    affine solved;
};

/// a * b, rounded once: see product.
QLIB_INLINE inline double double_product(double a, double b) noexcept {
    double p = a * b;
#if defined(__clang__) && defined(__x86_64__)
    asm("" : "+x"(p));
#elif defined(__clang__)
    asm("" : "+m"(p));
#endif
    return p;
}

template <class F> judged_map judge_map(affine a, const error_sums& sums) noexcept {
    constexpr auto times = [](double x, double y) QLIB_INLINE_LAMBDA { return double_product(x, y); };
    const double ee = sums[0], el = sums[1], ll = sums[2], s = static_cast<double>(a.s), unit = s * s;
    double more = ll > 0 ? el / ll : 0, shift = 0, explained = times(more, el);  // s grows by more * s, z by shift * s
    if constexpr (F::map == form::offset) {
        const double e = sums[3], l = sums[4], w = sums[5], det = times(w, ll) - times(l, l);
        more = det > 0 ? (times(w, el) - times(l, e)) / det : 0;
        shift = det > 0 ? (times(ll, e) - times(l, el)) / det : 0;
        explained = times(more, el) + times(shift, e);
    }
    const affine solved{static_cast<float>(s + times(s, more)),
                        F::map == form::offset ? static_cast<float>(static_cast<double>(a.z) + times(s, shift)) : a.z};
    return {a, times(ee, unit), times(ee - explained, unit), solved};
}

/// How a search judges tiles: levels of small floats are rounded to as those are, however few there are.
template <class F>
inline constexpr level_kind tile_level_kind_of = [] {
    if constexpr (requires { typename F::grid::element; }) return level_kind::small_float;
    else return level_kind_of<F>;
}();

/// The map of an outer value, its scale included.
template <class F> affine map_of_outer(const typename F::outer& o) noexcept {
    const affine a = F::at(F::project({}, o), 0);
    return {outer_multiplies<F> ? product(a.s, F::outer_scale(o)) : a.s, a.z};
}

/// Keeps the outer values with the least error, and with the least error once solved. `Measure`: (maps, count, sums) ->
/// adds the sums of all weights.
template <class F, class Measure> class outer_search {
public:
    outer_search(const tile_stats& stats, const Measure& measure) noexcept : stats_(stats), measure_(measure) {}

    typename F::outer best() noexcept {
        const auto plain = F::fit_outer(stats_);
        if (!usable(map_of_outer<F>(plain))) return plain;
        add(plain, 1);
        for (int k = 1; k < coarse; ++k) add_shrunk(power(step, k));
        measure();
        if (!found_) return plain;
        const float around = shrink_;
        for (int k = -fine + 1; k < fine; ++k)
            if (k != 0) add_shrunk(product(around, 1 + product(static_cast<float>(k), (1 - step) / fine)));
        measure();
        for (int k = 0; k < 2; ++k) {
            add(F::outer_of(solved_), shrink_);
            measure();
        }
        return best_;
    }

private:
    // Grids of few levels gain from ranges cut to a third; one of 8 bits hardly below a
    // half, which for small floats is the next binade.
    static constexpr std::size_t levels = grid_levels<typename F::grid>::count;
    static constexpr int coarse = levels == 0 || levels > 64 ? 11 : 18, fine = 6;
    static constexpr float step = 0.93f;
    static constexpr bool both_signs = F::map == form::scaled && scale_has_sign<F> &&
                                       -lowest_level<typename F::grid> != highest_level<typename F::grid>;

    static float power(float x, int n) noexcept {
        float p = 1;
        while (n-- > 0) p = product(p, x);
        return p;
    }
    /// Scales that count as zero would leave no error in level units; those whose levels overflow are of no use.
    static bool usable(affine a) noexcept {
        const float reach = product(a.s, larger(-lowest_level<typename F::grid>, highest_level<typename F::grid>));
        return safe_reciprocal(a.s) != 0 && is_finite(reach) && is_finite(a.z);
    }
    void add(const typename F::outer& o, float shrink) noexcept {
        const affine a = map_of_outer<F>(o);
        if (!usable(a)) return;
        outers_[count_] = o;
        maps_[count_] = a;
        shrinks_[count_++] = shrink;
    }
    void add_shrunk(float shrink) noexcept {
        tile_stats s = stats_;
        s.shrink = shrink;
        const auto o = F::fit_outer(s);
        add(o, shrink);
        if constexpr (both_signs) {
            const affine a = map_of_outer<F>(o);
            add(F::outer_of({-a.s, a.z}), shrink);
        }
    }
    void measure() noexcept {
        error_sums sums[most] = {};
        measure_(maps_, count_, sums);
        for (std::size_t c = 0; c < count_; ++c) {
            const judged_map j = judge_map<F>(maps_[c], sums[c]);
            if (!found_ || j.error < error_) {
                error_ = j.error;
                best_ = outers_[c];
            }
            if (!found_ || j.solved_error < solved_error_) {
                solved_error_ = j.solved_error;
                solved_ = j.solved;
                shrink_ = shrinks_[c];
            }
            found_ = true;
        }
        count_ = 0;
    }

    static constexpr std::size_t most = 2 * (coarse > 2 * fine ? coarse : 2 * fine);
    tile_stats stats_;
    const Measure& measure_;
    typename F::outer outers_[most] = {}, best_{};
    affine maps_[most] = {}, solved_{};
    float shrinks_[most] = {}, shrink_ = 1;
    std::size_t count_ = 0;
    double error_ = 0, solved_error_ = 0;
    bool found_ = false;
};

template <class F, class Measure>
typename F::outer search_tile(const tile_stats& stats, const Measure& measure) noexcept {
    return outer_search<F, Measure>(stats, measure).best();
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
