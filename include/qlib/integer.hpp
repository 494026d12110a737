#pragma once
// int_format<int_spec{...}>: plain integer formats over bits, group, symmetry, scale type, granularity and layout.
#include "format/format.hpp"

namespace qlib::inline QLIB_ABI {

/// Where zero lies on the integer grid, and how the scale reaches it.
enum class symmetry : std::uint8_t {
    full,        ///< -2^(b-1) .. 2^(b-1)-1, scale only; 1 bit: {-1, +1}
    restricted,  ///< -(2^(b-1)-1) .. 2^(b-1)-1, scale only; 2 bits or more
    zero_point,  ///< 0 .. 2^b-1 with an integer zero point as wide as a code: s * (q - z)
    offset,      ///< 0 .. 2^b-1 with an offset of the scale's type: s * q + z
};
inline constexpr symmetry symmetric = symmetry::full;
inline constexpr symmetry asymmetric = symmetry::zero_point;

/// The type that scales are stored in: f32, f16, bf16, e8m0 or e4m3.
enum class scale_type : std::uint8_t { float32, float16, bfloat16, power_of_two, float8_e4m3 };

/// What shares one scale.
enum class granularity : std::uint8_t { group, row, tensor, tile_128 };

/// Where the scales lie: before the codes of their group, or in planes of their own.
enum class placement : std::uint8_t { inline_blocks, planar };

/// A plain integer format as a value: int_format<int_spec{.bits = 4, .group = 128, .sym = asymmetric}>.
struct int_spec {
    int bits = 4;             ///< 1 to 8
    std::size_t group = 128;  ///< weights to a scale, where granularity is group
    symmetry sym = symmetry::full;
    scale_type scale = scale_type::float16;
    qlib::granularity granularity = qlib::granularity::group;
    placement layout = placement::inline_blocks;
    /// An f32 scale of the whole tensor above the groups' scales.
    bool tensor_scale = scale == scale_type::float8_e4m3;
};

namespace detail {

template <int_spec S> consteval auto int_grid() {
    static_assert(S.bits >= 1 && S.bits <= 8, "an integer format has 1 to 8 bits");
    static_assert(S.sym != symmetry::restricted || S.bits >= 2,
                  "a restricted range needs 2 bits or more: 1 bit would leave only zero");
    if constexpr (S.sym == symmetry::zero_point || S.sym == symmetry::offset) return uint_grid<S.bits>{};
    else if constexpr (S.bits == 1) return sign_grid{};
    else if constexpr (S.sym == symmetry::restricted) return restricted_grid<S.bits>{};
    else return sint_grid<S.bits>{};
}
template <int_spec S> consteval auto int_scale() {
    if constexpr (S.scale == scale_type::float32) return f32{};
    else if constexpr (S.scale == scale_type::float16) return f16{};
    else if constexpr (S.scale == scale_type::bfloat16) return bf16{};
    else if constexpr (S.scale == scale_type::power_of_two) return e8m0{};
    else return e4m3{};
}
inline constexpr form map_of(symmetry s) noexcept {
    return s == symmetry::zero_point ? form::shifted : s == symmetry::offset ? form::offset : form::scaled;
}
template <int_spec S> consteval auto int_scales() {
    using T = decltype(int_scale<S>());
    constexpr form map = map_of(S.sym);
    if constexpr (S.granularity == granularity::row) return scale_per_row<T, map>{};
    else if constexpr (S.granularity == granularity::tensor) return scale_per_tensor<T, map>{};
    else if constexpr (S.granularity == granularity::tile_128) return tile_scale<extent{128, 128}, T, map>{};
    else if constexpr (map == form::scaled) return scale_per<S.group, T, 1, S.tensor_scale>{};
    else if constexpr (map == form::shifted) return scale_zero_per<S.group, T, 1, S.tensor_scale>{};
    else return scale_offset_per<S.group, T, 1, S.tensor_scale>{};
}
template <int_spec S> consteval auto int_layout() {
    if constexpr (S.layout == placement::planar) return planar<>{};
    else return inline_blocks<>{};
}

}  // namespace detail

/// The format of an int_spec. Codes stand one after another, least significant bit first; a row may end inside a group.
template <int_spec S>
struct int_format
    : format<decltype(detail::int_grid<S>()), decltype(detail::int_scales<S>()), decltype(detail::int_layout<S>())> {
    static constexpr int_spec spec = S;
};

/// Named ones: `int4_g32` is symmetric, `_asym` has an integer zero point.
struct int4_g32 : int_format<int_spec{.bits = 4, .group = 32}> {};
struct int4_g32_asym : int_format<int_spec{.bits = 4, .group = 32, .sym = asymmetric}> {};
struct int4_g128 : int_format<int_spec{.bits = 4, .group = 128}> {};
struct int4_g128_asym : int_format<int_spec{.bits = 4, .group = 128, .sym = asymmetric}> {};
struct int8_row
    : int_format<int_spec{
          .bits = 8, .sym = symmetry::restricted, .scale = scale_type::float32, .granularity = granularity::row}> {};

}  // namespace qlib::inline QLIB_ABI
