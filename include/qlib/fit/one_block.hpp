#pragma once
// one_block: the texts of the fits over a single block, which may be ragged. At compile time and for callers that choose codes themselves.
#include "../format/lane_blocks.hpp"
#include "../format/range.hpp"
#include "../numeric/minifloat.hpp"
#include "search_plan.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct one_block : one_range {
    using lanes = one_block;
#include "plain.inl"
#include "ggml_search.inl"
#include "ggml_blocks.inl"
#include "search.inl"
};

/// A site as the texts see it.
template <class F> QLIB_INLINE constexpr lane_sites<one_block, F> lanes_of(const site<F>& s) noexcept {
    return {s.x.data(), s.importance.empty() ? nullptr : s.importance.data(), s.x.size(), s.row_mean_square, &s.outer};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
