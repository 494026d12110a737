#pragma once
// block_format: what an algorithm and a kernel may ask of a format. Everything in
// qlib that quantizes is a template over it.
//
// row     an output channel of a weight matrix, `cols` weights long
// code    what is stored for one weight (for `vec` neighbours in a lattice)
// level   the number that a code means before scaling
// group   weights that share one affine map
// block   the unit of storage: `groups` groups
// tile    what one outer value covers: a row, the tensor, 128 x 128, 256 blocks
#include "../numeric/exact.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <span>

namespace qlib::inline QLIB_ABI {

enum class isa : std::uint8_t;  // room/isa.hpp

/// How a level becomes a weight. Three roundings, never folded into one another:
/// s*(l-z) and s*l-s*z differ in 42 % of floats.
enum class form : std::uint8_t {
    scaled,   ///< s * l
    shifted,  ///< s * (l - z)
    offset,   ///< s * l + z
};

/// The map of one group.
struct affine {
    float s = 0, z = 0;
};

/// What one outer value covers; 0 = all. `flat`: `cols`, not 0, counts weights along row-major storage, over row ends.
struct extent {
    std::size_t rows = 0, cols = 0;
    bool flat = false;
};

/// The outer value of a format that has none.
struct no_outer {};

/// What an outer value is chosen from.
struct tile_stats {
    float low = 0, high = 0;                    ///< range of the tile's weights, widened to hold 0
    std::span<const float> block_abs_max = {};  ///< largest magnitude in each block of a flat tile; empty for others
    float mean_abs_max = 0;                     ///< mean over all blocks of the tensor; 0 where the tile is not flat
    float shrink = 1;                           ///< factor <= 1 that a search tries on the range

    [[nodiscard]] QLIB_INLINE constexpr float abs_max() const noexcept { return (-low > high ? -low : high) * shrink; }
};

/// One block as a fit sees it. Shorter than F's block at a ragged row end.
template <class F> struct site {
    std::span<const float> x;           ///< weights
    std::span<const float> importance;  ///< as long as x, >= 0; empty: none was given
    float row_mean_square = 0;          ///< of the row, summed in order without FMA; only set for `reference`
    typename F::outer outer{};
    isa room{};  ///< of the call, for what runs over many lanes inside a block: lattices
};

/// Weights in a block of F.
template <class F> inline constexpr std::size_t block_size = F::group * F::groups;
/// Codes in a block of F.
template <class F> inline constexpr std::size_t codes = block_size<F> / F::vec;

/// A block before it is stored.
template <class F> struct encoded {
    typename F::params params{};
    std::array<typename F::code, codes<F>> code{};
};

/// Where the planes of a block begin.
template <class F, class Byte> using plane_pointers = std::array<Byte*, F::planes.size()>;

/// The seam. Ready-made parts build it (format.hpp); a type of the user's own may
/// also spell it out. All members are constexpr.
///
/// group, groups, vec    weights per map, maps per block, weights per code
/// map                   the form
/// grid                  size and level(i) of every level that a code can mean: kernels derive operands from the table
/// tile, outer           extent and type of an outer value; an empty type when there is none
/// nearest(u, w)         the best code for vec values u in level units, with importances w
/// level(code, l)        writes the vec levels of a code
/// fit_outer(stats)      the plain outer value of a tile
/// outer_scale(outer)    multiplies last, outside the map; 1 when `at` consumes the outer value itself
/// project(wishes, o)    wished maps of all groups -> what the wire can hold
/// at(params, g)         the map that the decoder uses for group g
/// planes                bytes of one block in each plane
/// store_outer(o, to, tensor), load_outer(from, tensor), outer_bytes, tensor_bytes
///                       with an outer value: its wire form, one slot per tile and one for the whole tensor
/// store, load           params and codes to and from the planes; a shorter span of codes is a ragged block, an empty
///                       one (load) wants params only
///
/// What a format may say besides, and what is taken where it does not:
///
/// ragged_rows, flat_blocks      a row may end inside a block; blocks run over row ends: no
/// planes_of(n)                  with ragged_rows: the bytes in each plane of a block of n weights
/// bits, offset_of(field)        bit layout of the codes and where they begin: kernels unpack them. Without, codes go
///                               through load, and call.report says "load"
/// store_params(params, planes)  the params alone: encoders pack the codes. Without, blocks go through store
/// part                          the scales that project and at come from (format<>): encoders work in lanes. Without,
///                               block by block, and call.report says "blocks". It also says why, and where project
///                               or at are not the part's own, so that params are made one by one
/// project_group(params, g, wish, o)  one map again: searches judge stored maps group by group, not blocks of equals
/// maps(params, s, z)            `at` for all groups at once
/// outer_multiplies              whether outer_scale does anything: as if there is an outer value
/// outer_is_map, outer_of(map)   the outer value is the whole map, and what the wire makes of one: no
/// signed_scale, signed_offset   whether scales and offsets may be negative: yes
/// stored_scale                  the type of scales: not known, and every wish is projected before it is judged
/// two_levels, sub_*, min_*, has_mins  integer sub-scales under super-scales, two_level_scales.hpp: none
/// reference(site), reference(lane sites, lane blocks)  the original's encoder: plain_fit
/// reference_outer(stats)        the original's outer value: fit_outer
/// weighs_by_row                 the original asks for row_mean_square: yes for reference(site), else no
/// search(site)                  a search of its own, for codes of several weights: shrunk and stretched ranges
/// plain_map(low, high)          the plain map of a group: abs-max or min-max
/// and a grid: lowest, highest   what a fit aims at: the ends of its levels
/// flip | sorted | magnitude_thresholds, magnitude_codes | element | number   equal steps in order of codes but for
///                               flipped bits; a table with midpoints; a sign above a table; a small float; a float:
///                               nearest() is asked for each weight
template <class F>
concept block_format = requires(const float* in, float* out, typename F::code c, std::span<const typename F::code> cs,
                                std::span<typename F::code> room, const std::array<affine, F::groups>& wishes,
                                const typename F::params& p, const typename F::outer& o, const tile_stats& stats,
                                const plane_pointers<F, std::byte>& to, const plane_pointers<F, const std::byte>& from,
                                std::size_t g) {
    requires(F::group > 0 && F::groups > 0 && F::vec > 0 && F::group % F::vec == 0);
    requires F::planes.size() > 0;
    { F::map } -> std::convertible_to<form>;
    { F::tile } -> std::convertible_to<extent>;
    { F::grid::size } -> std::convertible_to<std::size_t>;
    { F::grid::level(g) } -> std::same_as<float>;
    { F::nearest(in, in) } -> std::same_as<typename F::code>;
    F::level(c, out);
    { F::fit_outer(stats) } -> std::same_as<typename F::outer>;
    { F::outer_scale(o) } -> std::same_as<float>;
    { F::project(wishes, o) } -> std::same_as<typename F::params>;
    { F::at(p, g) } -> std::same_as<affine>;
    F::store(p, cs, to);
    { F::load(from, o, room) } -> std::same_as<typename F::params>;
    requires std::is_empty_v<typename F::outer> || requires(std::byte * wire, const std::byte* stored) {
        { F::outer_bytes } -> std::convertible_to<std::size_t>;
        { F::tensor_bytes } -> std::convertible_to<std::size_t>;
        F::store_outer(o, wire, wire);
        { F::load_outer(stored, stored) } -> std::same_as<typename F::outer>;
    };
};

/// Whether the map of one group can be replaced while the rest of a block's params stays.
template <class F>
concept has_project_group = requires(typename F::params& p, std::size_t g, affine a, const typename F::outer& o) {
    F::project_group(p, g, a, o);
};
/// Whether a row may end inside a block.
template <class F> concept has_ragged_rows = requires { requires F::ragged_rows; };
/// Whether blocks run over row ends.
template <class F> concept has_flat_blocks = requires { requires F::flat_blocks; };

/// Whether F stores outer values at all.
template <class F> inline constexpr bool has_outer = !std::is_empty_v<typename F::outer>;
/// Whether outer_scale does anything: formats may say no with `outer_multiplies = false`.
template <class F>
inline constexpr bool outer_multiplies = [] {
    if constexpr (requires { F::outer_multiplies; }) return bool{F::outer_multiplies};
    else return has_outer<F>;
}();
/// Bytes of one block, all planes together.
template <class F>
inline constexpr std::size_t block_bytes = [] {
    std::size_t sum = 0;
    for (const std::size_t b : F::planes) sum += b;
    return sum;
}();

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Whether F's scales and offsets have a sign; what a format does not say is taken to have one.
template <class F>
inline constexpr bool scale_has_sign = [] {
    if constexpr (requires { F::signed_scale; }) return bool{F::signed_scale};
    else return true;
}();
template <class F>
inline constexpr bool offset_has_sign = [] {
    if constexpr (requires { F::signed_offset; }) return bool{F::signed_offset};
    else return true;
}();

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
