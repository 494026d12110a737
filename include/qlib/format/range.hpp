#pragma once
// The map of a range: abs-max and min-max scaling, for any grid. Shared by the plain
// fit and by the outer values of tiles.
#include "map.hpp"

#include <limits>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// The largest magnitude of a grid's levels, infinities aside.
template <class Grid>
inline constexpr float largest_level = [] {
    float most = 0;
    for (std::size_t i = 0; i < Grid::size; ++i)
        if (const float l = Grid::level(i); detail::is_finite(l)) most = detail::larger(most, detail::magnitude(l));
    return most;
}();

/// Lowest and highest level that a fit of F should aim at: the grid's own word, else those of its table.
template <class Grid>
inline constexpr float lowest_level = [] {
    if constexpr (requires { Grid::lowest; }) {
        return float{Grid::lowest};
    } else {
        float low = (std::numeric_limits<float>::max)();
        for (std::size_t i = 0; i < Grid::size; ++i) low = detail::smaller(low, Grid::level(i));
        return low;
    }
}();
template <class Grid>
inline constexpr float highest_level = [] {
    if constexpr (requires { Grid::highest; }) {
        return float{Grid::highest};
    } else {
        float high = std::numeric_limits<float>::lowest();
        for (std::size_t i = 0; i < Grid::size; ++i) high = detail::larger(high, Grid::level(i));
        return high;
    }
}();

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// What the map of a range depends on: the form, the levels at the grid's ends, whether scales and offsets have a sign.
struct range_rule {
    form map;
    float bottom, top;
    bool signed_scale, signed_offset;
};
template <form Map, class Grid, bool SignedScale, bool SignedOffset>
inline constexpr range_rule range_rule_of{Map, lowest_level<Grid>, highest_level<Grid>, SignedScale, SignedOffset};

/// The map of one range.
struct one_range : one_map {
#include "range.inl"
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
