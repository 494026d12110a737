#pragma once
// search_fit: the maps with the least weighted squared error. For codes of one weight each the search runs in lanes,
// search.inl; what stands here is for codes of several: it shrinks and stretches the range of each group, solves for
// the best map under the codes found, and steps sub-scales.
#include "../format/range.hpp"
#include "plain.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct weight_range {
    float low = 0, high = 0;
};
constexpr weight_range range_of(std::span<const float> x) noexcept {
    if (x.empty()) return {};
    weight_range r{x[0], x[0]};
    for (const float v : x) r = {smaller(r.low, v), larger(r.high, v)};
    return r;
}
/// The weighted squared error of a group under a map, and the sums that the
/// least-squares map for the same codes is made of.
struct trial {
    float error = 0;
    float w = 0, wl = 0, wll = 0, wx = 0, wxl = 0;  // l in level units, less the zero point of a shifted map
};

template <class F>
constexpr trial try_map(affine a, float outer_scale, std::span<const float> x, std::span<const float> w) noexcept {
    trial t;
    const to_levels<F> units(a, outer_scale);
    for (std::size_t i = 0; i < x.size(); i += F::vec) {
        const std::size_t lanes = x.size() - i < F::vec ? x.size() - i : F::vec;
        float y[F::vec], l[F::vec];
        F::level(choose_code<F>(a, outer_scale, units, &x[i], w.empty() ? nullptr : &w[i], lanes, y), l);
        for (std::size_t j = 0; j < lanes; ++j) {
            const float weight = w.empty() ? 1.0f : w[i + j], e = x[i + j] - y[j];
            const float level = F::map == form::shifted ? l[j] - a.z : l[j], wl = product(weight, level);
            t.error += product(product(weight, e), e);
            t.w += weight;
            t.wl += wl;
            t.wll += product(wl, level);
            t.wx += product(weight, x[i + j]);
            t.wxl += product(wl, x[i + j]);
        }
    }
    return t;
}

/// The least-squares map for the codes of a trial, which was under zero point `z`,
/// as a wish; `otherwise` where there is none.
template <class F> constexpr affine solve_map(const trial& t, affine otherwise, [[maybe_unused]] float z) noexcept {
    if constexpr (F::map == form::offset) {
        const float det = product(t.w, t.wll) - product(t.wl, t.wl);
        if (!(det > 0)) return otherwise;
        const float s = (product(t.w, t.wxl) - product(t.wx, t.wl)) / det,
                    offset = (product(t.wll, t.wx) - product(t.wl, t.wxl)) / det;
        if (offset_has_sign<F> || offset <= 0) return {s, offset};
        return {t.wll > 0 ? t.wxl / t.wll : otherwise.s, 0};
    } else {
        return {t.wll > 0 ? t.wxl / t.wll : otherwise.s, z};
    }
}

/// The search for the best map of one group: keeps the wish whose stored form has the least error.
template <class F> struct map_search {
    typename F::outer outer;
    std::span<const float> x, w;
    float outer_scale = F::outer_scale(outer);
    affine best = {};
    float least = 0;
    bool any = false;

    /// Tries a wish, then the least-squares map for the codes that it gave. The first
    /// one is kept where all errors overflow or vanish.
    constexpr void consider(affine wish, int solves) noexcept {
        for (;; --solves) {
            const affine stored = as_stored(wish);
            const trial t = try_map<F>(stored, outer_scale, x, w);
            if (!any || t.error < least) {
                any = true;
                least = t.error;
                best = wish;
            }
            if (solves == 0) return;
            wish = solve_map<F>(t, wish, stored.z);
        }
    }

private:
    /// What the wire would make of a wish; under two levels that is not known before all groups have theirs.
    constexpr affine as_stored(affine wish) const noexcept {
        if constexpr (has_sub_scales<F>) {
            return wish;
        } else if constexpr (has_project_group<F>) {
            typename F::params p{};
            F::project_group(p, 0, wish, outer);
            return F::at(p, 0);
        } else {
            std::array<affine, F::groups> wishes{};
            for (affine& a : wishes) a = wish;
            return F::at(F::project(wishes, outer), 0);
        }
    }
};

template <class F>
constexpr affine search_map(typename F::outer outer, std::span<const float> x, std::span<const float> w) noexcept {
    constexpr bool lopsided = F::map == form::scaled && scale_has_sign<F> &&
                              -lowest_level<typename F::grid> != highest_level<typename F::grid>;
    map_search<F> search{outer, x, w};
    const weight_range r = range_of(x);
    search.consider(texts_of_one_block<F>::plain_map(x), 1);
    constexpr int stride = 3;  // a lattice's nearest point costs more than the finer steps bring
    for (int step = 6; step <= 44; step += stride) {
        const float k = static_cast<float>(step) * 0.025f;
        const affine a = texts_of_one_block<F>::map_of_range(product(r.low, k), product(r.high, k));
        search.consider(a, F::map == form::offset ? 1 : 0);
        if constexpr (lopsided) search.consider({-a.s, 0}, 0);
    }
    for (const float k : {1.25f, 1.5f})  // for coarse scale types
        search.consider(texts_of_one_block<F>::map_of_range(product(r.low, k), product(r.high, k)), 0);
    search.consider(search.best, 3);
    return search.best;
}

template <class F> constexpr float group_error(const site<F>& s, const typename F::params& p, std::size_t g) noexcept {
    return try_map<F>(F::at(p, g), F::outer_scale(s.outer), group_of<F>(s.x, g), group_of<F>(s.importance, g)).error;
}

/// Tries the neighbours of every sub-scale (and min): rounding them to nearest is not
/// the best choice under the codes' own rounding.
template <class F> constexpr void step_sub_scales(const site<F>& s, typename F::params& p) noexcept {
    for (std::size_t g = 0; g < F::groups; ++g) {
        if (group_of<F>(s.x, g).empty()) break;
        const int sub = p.sub[g], min = p.min[g];
        float least = group_error<F>(s, p, g);
        typename F::params trial_params = p;
        for (int ds = -1; ds <= 1; ++ds) {
            for (int dm = F::has_mins ? -1 : 0; dm <= (F::has_mins ? 1 : 0); ++dm) {
                if ((ds == 0 && dm == 0) || sub + ds < F::sub_low || sub + ds > F::sub_high || min + dm < 0 ||
                    min + dm > F::min_high)
                    continue;
                trial_params.sub[g] = static_cast<std::int8_t>(sub + ds);
                trial_params.min[g] = static_cast<std::uint8_t>(min + dm);
                const float e = group_error<F>(s, trial_params, g);
                if (e < least) {
                    least = e;
                    p = trial_params;
                }
            }
        }
        trial_params = p;
    }
}

/// The search where codes hold several weights. Without importance all weights count the same.
template <class F> constexpr typename F::params search_vectors(const site<F>& s) noexcept {
    const auto& outer = s.outer;
    const auto wish = [&outer](std::span<const float> weights, std::span<const float> importance) QLIB_INLINE_LAMBDA {
        return search_map<F>(outer, weights, importance);
    };
    auto p = project_wishes<F>(s, wish);
    if constexpr (has_sub_scales<F>) step_sub_scales<F>(s, p);
    return p;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The search of one map for a whole tile: encode/search_outer.hpp.
template <class F, class Measure>
typename F::outer search_tile(const tile_stats& stats, const Measure& measure) noexcept;

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Whether F brings a search of its own.
template <class F> concept has_own_search = requires(const site<F>& s) {
    { F::search(s) } -> std::same_as<encoded<F>>;
};

/// Least weighted squared error: candidates for the map of each group, scored by their codes' own least-squares map,
/// then neighbours of what the wire can hold, down to the integer sub-scales of super-blocks. Importance counts as it
/// is; on one-level formats the error under it is never larger than plain_fit's. Without importance all weights count
/// the same, but a part of what least squares shrinks them by is given back: for a few hundredths of a decibel the
/// model loses less. Importance of ones is least squares and nothing else. Powers of two as scales: the best of all.
///
/// A format whose codes hold several weights brings its own search, `search(site) -> encoded`; without
/// one each group's range is shrunk and stretched.
struct search_fit {
    static constexpr const char* name = "search";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(site<F> s) const noexcept {
        if constexpr (has_own_search<F>) {
            return F::search(s).params;
        } else if constexpr (F::vec == 1) {
            using texts = detail::texts_of_one_block<F>;
            typename F::params p;
            typename texts::space work;
            texts::type::template search_blocks<F>(texts::sites(s, work), &p);
            return p;
        } else {
            return detail::search_vectors<F>(s);
        }
    }
    template <class L, class F>
    requires(F::vec == 1 && !has_own_search<F>)
        QLIB_INLINE constexpr void blocks(const detail::lane_sites<L, F>& s,
                                          typename F::params* params) const noexcept {
        L::template search_blocks<F>(s, params);
    }
    template <has_own_search F> QLIB_INLINE constexpr encoded<F> whole(site<F> s) const noexcept {
        s.importance = detail::some_importance(s.importance);
        return F::search(s);
    }
    /// Where the outer value is the whole map (one scale per row, tensor or tile) the range is shrunk and the
    /// map solved for; error(outer) judges a tile, error.measure sums up what several maps leave of it.
    /// Without importance all weights count the same.
    template <block_format F, class Error>
    QLIB_INLINE constexpr typename F::outer outer(const tile_stats& stats, const Error& error) const noexcept {
        if constexpr (requires { error.measure; }) {
            return detail::search_tile<F>(stats, error.measure);
        } else {
            typename F::outer best = F::fit_outer(stats);
            if constexpr (detail::has_map_in_outer<F>) {
                float least = error(best);
                for (int step = 1; step < 32; ++step) {
                    tile_stats shrunk = stats;
                    shrunk.shrink = 1.0f - static_cast<float>(step) * 0.025f;
                    const auto o = F::fit_outer(shrunk);
                    if (const float e = error(o); e < least) {
                        least = e;
                        best = o;
                    }
                }
            }
            return best;
        }
    }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
