#pragma once
// Blocks in lanes: how a fit sees several blocks at once, and what it makes of them. L is a
// room's lanes, room/vectors.inl, or one_block, also at compile time. What stands in lanes is
// indexed [weight] or [group]; what is scalar, [lane].
#include "concept.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// One block of F in each lane. All lanes have `n` weights; whole blocks unless L is one_block.
template <class L, class F> struct lane_sites {
    const typename L::floats* x;           ///< [n] weights
    const typename L::floats* importance;  ///< [n], >= 0; null: none was given
    std::size_t n;
    /// Of each block's row; only set for `reference` under importance, of formats with `weighs_by_row`.
    typename L::floats row_mean_square;
    const typename F::outer* outer;  ///< [lane]
    /// [n] each: memory for the fit to work in. It may be that of x and importance themselves: a fit that writes there
    /// reads them no more, and says so.
    typename L::floats* work_x;
    typename L::floats* work_w;
    mutable bool spent = false;  ///< whether the fit wrote to work_x
};

/// Encoded blocks, one in each lane.
template <class L, class F> struct lane_blocks {
    typename F::params params[L::width];
    std::uint8_t code[block_size<F> * L::width];  ///< [weight][lane]; L::put and L::get access all lanes of a weight
};

}  // namespace qlib::inline QLIB_ABI::detail
