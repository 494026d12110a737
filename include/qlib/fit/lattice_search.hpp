#pragma once
// A better encoder for lattices than ggml's: true levels in place of a stand-in, points chosen again under the scales as they are stored, signs
// and points together where the number of negative weights must be even.
#include "lattice_rooms.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A block as the search of lattice_search.inl encodes it.
template <class F> encoded<F> search_lattice(const site<F>& s) noexcept {
    return with_lattice_room([&](auto room) { return typename decltype(room)::template search<F>(s).run(); });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
