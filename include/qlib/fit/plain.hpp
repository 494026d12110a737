#pragma once
// plain_fit: abs-max or min-max scaling of each group. The fastest fit; blind to importance.
//
// A fit is an object that says how the scales of a block are chosen, for any format: block<F>(site) -> params. A fit
// may also encode whole blocks itself, whole<F>(site) -> encoded, choose outer values, outer<F>(stats,
// error) -> outer, and name itself for reports. A user's own fit is the same. qlib's fits do the same for many blocks
// at once: blocks(lane sites, params), whole_blocks.
#include "../format/lane_blocks.hpp"
#include "weights.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// Abs-max or min-max of each group: every weight lies in range, nothing is searched.
struct plain_fit {
    static constexpr const char* name = "plain";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        using texts = detail::texts_of_one_block<F>;
        typename F::params p;
        typename texts::space work;
        texts::type::template plain_blocks<F>(texts::sites(s, work), &p);
        return p;
    }
    template <class L, class F>
    QLIB_INLINE constexpr void blocks(const detail::lane_sites<L, F>& s, typename F::params* params) const noexcept {
        L::template plain_blocks<F>(s, params);
    }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
