#pragma once
// reference_fit: the format's own original encoder, byte for byte; plain_fit where a format has none.
#include "plain.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// Whether F brings the original's own encoder of a whole block, reference(site).
template <class F> concept has_site_reference = requires(const site<F>& s) {
    { F::reference(s) } -> std::same_as<encoded<F>>;
};
/// Whether it does so for many blocks at once, reference(lane sites, lane blocks), as qlib's own formats do.
template <class F>
concept has_lane_reference = requires(const detail::lane_sites<typename detail::texts_of_one_block<F>::type, F>& s,
                                      detail::lane_blocks<typename detail::texts_of_one_block<F>::type, F>& out) {
    F::reference(s, out);
};
/// Whether F has an original encoder at all.
template <class F> concept has_reference = has_site_reference<F> || has_lane_reference<F>;

/// The bytes of the system that a format comes from, quirks included. Under an algorithm
/// that chooses codes itself only the scales count.
struct reference_fit {
    static constexpr const char* name = "reference";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        if constexpr (has_reference<F>) return whole<F>(s).params;
        else return plain_fit{}.block<F>(s);
    }
    /// A format's original may know no outer value where qlib's plain rule has one: then `reference_outer` says so.
    template <block_format F, class Error>
    QLIB_INLINE constexpr typename F::outer outer(const tile_stats& stats, const Error&) const noexcept {
        if constexpr (requires { F::reference_outer(stats); }) return F::reference_outer(stats);
        else return F::fit_outer(stats);
    }
    template <has_reference F> QLIB_INLINE constexpr encoded<F> whole(const site<F>& s) const noexcept {
        if constexpr (has_site_reference<F>) {
            return F::reference(s);
        } else {
            using texts = detail::texts_of_one_block<F>;
            detail::lane_blocks<typename texts::type, F> lanes{};
            typename texts::space work;
            F::reference(texts::sites(s, work), lanes);
            encoded<F> e;
            e.params = lanes.params[0];
            for (std::size_t i = 0; i < codes<F>; ++i) e.code[i] = lanes.code[i];
            return e;
        }
    }
    template <class L, class F>
    requires(!has_reference<F>)
    QLIB_INLINE constexpr void blocks(const detail::lane_sites<L, F>& s, typename F::params* params) const noexcept {
        L::template plain_blocks<F>(s, params);
    }
    template <class L, has_lane_reference F>
    QLIB_INLINE constexpr void whole_blocks(const detail::lane_sites<L, F>& s,
                                            detail::lane_blocks<L, F>& out) const noexcept {
        F::reference(s, out);
    }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
