#pragma once
// one_block: the texts of the fits over a single block, which may be ragged. At compile time and for callers that
// choose codes themselves.
#include "../fit/weights.hpp"
#include "../format/lane_blocks.hpp"
#include "search_shape.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct one_block : one_range {
    using room = one_block;
#include "plain.inl"
#include "ggml_search.inl"
#include "ggml_blocks.inl"
#include "search.inl"
};
template <class F> struct texts_of_one_block {
    using type = one_block;
    /// What the texts work in.
    struct space {
        float x[block_size<F>], w[block_size<F>];
    };
    /// A site as the texts see it.
    QLIB_INLINE static constexpr lane_sites<one_block, F> sites(const site<F>& s, space& work) noexcept {
        return {s.x.data(), s.importance.empty() ? nullptr : s.importance.data(), s.x.size(), s.row_mean_square,
                &s.outer,   work.x,                                               work.w};
    }
    QLIB_INLINE static constexpr affine map_of_range(float low, float high) noexcept {
        const auto m = one_block::map_of_range(plain_rule_of<F>.range, low, high);
        return {m.s, m.z};
    }
    QLIB_INLINE static constexpr affine plain_map(std::span<const float> x) noexcept {
        const auto m = one_block::plain_map(plain_rule_of<F>, x.data(), 0, x.size());
        return {m.s, m.z};
    }
    /// Of n weights x that count w, under scale s.
    QLIB_INLINE static constexpr one_block::scale_error scale_error(const float* x, const float* w, std::size_t n,
                                                                    float s) noexcept {
        return one_block::scale_error_of<level_kind_of<F>>(level_rule_of<F>, {x, w, n}, s);
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
