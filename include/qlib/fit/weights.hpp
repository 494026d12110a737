#pragma once
// What fits share: importances that say nothing, the part of a site that is a group,
// and what a format says of its scales.
#include "../format/concept.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Params of two levels, whose groups are stored in steps of the block's super-scales.
template <class F> concept has_sub_scales = has_project_group<F> && requires(typename F::params& p) {
    p.super;
    p.sub;
    p.min;
};

/// Whether one scale of a row, tensor or tile is the whole map, so that blocks have none.
template <class F>
inline constexpr bool has_map_in_outer = [] {
    if constexpr (requires { F::outer_is_map; }) return bool{F::outer_is_map};
    else return false;
}();

/// Importance that is all zero counts as none: no weight may vanish because its inputs were never seen.
constexpr std::span<const float> some_importance(std::span<const float> w) noexcept {
    for (const float v : w)
        if (v > 0) return w;
    return {};
}

/// The part of a site that group g covers; empty for a group beyond a ragged end.
template <class F>
QLIB_INLINE constexpr std::span<const float> group_of(std::span<const float> x, std::size_t g) noexcept {
    const std::size_t first = g * F::group;
    if (first >= x.size()) return {};
    return x.subspan(first, x.size() - first < F::group ? x.size() - first : F::group);
}

/// One wish per group, wish(x, w) -> affine, rounded together to what the wire can hold.
template <class F, class Wish>
constexpr typename F::params project_wishes(const site<F>& s, const Wish& wish) noexcept {
    std::array<affine, F::groups> wishes{};
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto x = group_of<F>(s.x, g);
        if (!x.empty()) wishes[g] = wish(x, group_of<F>(s.importance, g));
    }
    return F::project(wishes, s.outer);
}

/// The texts of encode/ over one block: encode/one_block.hpp.
template <class F> struct texts_of_one_block;

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
