#pragma once
// reference_fit: the format's own original encoder, byte for byte; plain_fit where a format has none.
#include "plain.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// The bytes of the system that a format comes from, quirks included. Under an algorithm that chooses codes itself only the scales count.
struct reference_fit {
    static constexpr const char* name = "reference";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        if constexpr (has_reference<F>) return F::reference(s).params;
        else return plain_fit{}.block<F>(s);
    }
    /// A format's original may know no outer value where qlib's plain rule has one: then `reference_outer` says so.
    template <block_format F, class Error> QLIB_INLINE constexpr typename F::outer outer(const tile_stats& stats, const Error&) const noexcept {
        if constexpr (requires { F::reference_outer(stats); }) return F::reference_outer(stats);
        else return F::fit_outer(stats);
    }
    template <has_reference F> QLIB_INLINE constexpr encoded<F> whole(const site<F>& s) const noexcept { return F::reference(s); }
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
