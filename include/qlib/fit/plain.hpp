#pragma once
// plain_fit: abs-max or min-max scaling of each group. The fastest fit; blind to importance.
//
// A fit is an object that says how the scales of a block are chosen, for any format: block<F>(site) -> params. A fit may
// also encode whole blocks itself, whole<F>(site) -> encoded, choose outer values, outer<F>(stats, error) -> outer, and name itself for
// reports. A user's own fit is the same. qlib's fits do the same for many blocks at once: blocks(lane sites, params), whole_blocks.
#include "one_block.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct weight_range { float low = 0, high = 0; };

constexpr weight_range range_of(std::span<const float> x) noexcept {
    if (x.empty()) return {};
    weight_range r{x[0], x[0]};
    for (const float v : x) r = {smaller(r.low, v), larger(r.high, v)};
    return r;
}

template <class F> constexpr affine map_of_range(weight_range r) noexcept {
    const auto m = one_block::map_of_range<F::map, typename F::grid, scale_has_sign<F>, offset_has_sign<F>>(r.low, r.high);
    return {m.s, m.z};
}

/// The plain map of one group.
template <class F> constexpr affine plain_map(std::span<const float> x) noexcept {
    const auto m = one_block::plain_map<F>(x.data(), 0, x.size());
    return {m.s, m.z};
}

/// Importance that is all zero counts as none: no weight may vanish because its inputs were never seen.
constexpr std::span<const float> some_importance(std::span<const float> w) noexcept {
    for (const float v : w)
        if (v > 0) return w;
    return {};
}

/// The part of a site that group g covers; empty for a group beyond a ragged end.
template <class F> QLIB_INLINE constexpr std::span<const float> group_of(std::span<const float> x, std::size_t g) noexcept {
    const std::size_t first = g * F::group;
    if (first >= x.size()) return {};
    return x.subspan(first, x.size() - first < F::group ? x.size() - first : F::group);
}

/// One wish per group, wish(x, w) -> affine, rounded together to what the wire can hold.
template <class F, class Wish> constexpr typename F::params project_wishes(const site<F>& s, const Wish& wish) noexcept {
    std::array<affine, F::groups> wishes{};
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto x = group_of<F>(s.x, g);
        if (!x.empty()) wishes[g] = wish(x, group_of<F>(s.importance, g));
    }
    return F::project(wishes, s.outer);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Abs-max or min-max of each group: every weight lies in range, nothing is searched.
struct plain_fit {
    static constexpr const char* name = "plain";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        typename F::params p;
        detail::one_block::plain_blocks<F>(detail::lanes_of(s), &p);
        return p;
    }
    template <class L, class F> QLIB_INLINE constexpr void blocks(const detail::lane_sites<L, F>& s, typename F::params* params) const noexcept {
        L::template plain_blocks<F>(s, params);
    }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
