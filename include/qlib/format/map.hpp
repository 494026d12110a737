#pragma once
// What maps do, from levels to weights and back: for one weight, or for the several of a code.
#include "../numeric/one_lane.hpp"
#include "concept.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A level's weight, before the outer scale. The one definition of decoding: every room gives these bits.
template <form Map> QLIB_INLINE constexpr float mapped(affine a, float level) noexcept {
    if constexpr (Map == form::scaled) return product(a.s, level);
    else if constexpr (Map == form::shifted) return product(a.s, level - a.z);
    else return product(a.s, level) + a.z;
}

/// The text of maps for one weight.
struct one_map : one_lane {
#include "map.inl"
};

/// From weights to level units under a map of F.
template <class F> struct to_levels : one_map::level_units<F::map, outer_multiplies<F>> {
    QLIB_INLINE constexpr to_levels(affine a, float outer_scale) noexcept
        : one_map::level_units<F::map, outer_multiplies<F>>({a.s, a.z}, outer_scale) {}
};

/// Chooses the code of `vec` weights (fewer at a ragged end: `lanes`) and gives what it decodes to.
template <class F>
QLIB_INLINE constexpr typename F::code choose_code(affine a, float outer_scale, const to_levels<F>& units,
                                                   const float* x, const float* w, std::size_t lanes,
                                                   float* decoded) noexcept {
    float u[F::vec] = {}, weight[F::vec] = {}, most = 0;
    for (std::size_t i = 0; i < lanes; ++i) {
        u[i] = units(x[i]);
        weight[i] = w != nullptr ? w[i] : 1.0f;
        most = larger(most, weight[i]);
    }
    if (!(most > 0))  // weights that nothing is known of still get their nearest code
        for (std::size_t i = 0; i < lanes; ++i) weight[i] = 1.0f;
    const auto c = F::nearest(u, weight);
    float l[F::vec];
    F::level(c, l);
    for (std::size_t i = 0; i < F::vec; ++i) {
        decoded[i] = mapped<F::map>(a, l[i]);
        if constexpr (outer_multiplies<F>) decoded[i] = product(decoded[i], outer_scale);
    }
    return c;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
