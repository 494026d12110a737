#pragma once
// A better encoder for lattices than ggml's: true levels in place of a stand-in, points chosen again under the scales
// as they are stored, signs and points together where the number of negative weights must be even.
#include "../format/lattice.hpp"
#include "../room/rooms.hpp"
#include "ggml_iq1_search.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A block as the search of lattice_search.inl encodes it.
template <class F> encoded<F> search_lattice(const site<F>& s) noexcept {
    return with_room(s.room, [&](auto in) { return typename decltype(in)::template lattice_search<F>(s).run(); });
}

/// The code of least weighted error for a code's weights in level units.
template <class G> typename G::code nearest_in_lattice(const float* u, const float* w) noexcept {
    octets in{};
    octet_points out;
    for (float& s : in.scale) s = 1;
    const unsigned negative = put_octet<G>(u, w, G::vec, in, 0);
    if constexpr (!holds_signs<G>) {  // octet 0 moved up, octet 1 down
        put_octet<G>(u, w, G::vec, in, 1);
        in.shift[0] = G::shift;
        in.shift[1] = -G::shift;
    }
    with_room(isa::best, [&](auto r) { decltype(r)::template choose_points<G>(in, out); });
    return code_of<G>(in, out, negative, !holds_signs<G> && out.cost[1] < out.cost[0] ? 1 : 0, 0);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
