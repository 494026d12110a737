#pragma once
// Scales: how the maps of a block are stored. A part of a format, bound to its grid by format<>.
//
// A bound part has: group, groups, map, tile, outer, params; at, project, project_group; fit_outer,
// outer_scale; field_bytes and store_field / load_field for each section of the block; and, with an outer
// value, outer_bytes, tensor_bytes, store_outer, load_outer.
#include "../numeric/e8m0.hpp"
#include "layout.hpp"
#include "range.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// An f32 as a scale type.
struct f32 {
    using storage = std::uint32_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept { return detail::float_of(bits); }
    [[nodiscard]] QLIB_INLINE static constexpr f32 from(float x, overflow = overflow::special,
                                                        rounding = rounding::nearest_even) noexcept {
        return {detail::bits_of(x)};
    }
    [[nodiscard]] static constexpr float(max)() noexcept { return (std::numeric_limits<float>::max)(); }
};

/// Whether a stored scale may be negative. E4M3 scales are used without their sign, as NVFP4 does.
template <class T> inline constexpr bool signed_scale_type = false;
template <> inline constexpr bool signed_scale_type<f32> = true;
template <> inline constexpr bool signed_scale_type<f16> = true;
template <> inline constexpr bool signed_scale_type<bf16> = true;

/// The name of a scale type in a format's description; a user's own type may specialise it.
template <class T> inline constexpr const char* scale_type_name = "own";
template <> inline constexpr const char* scale_type_name<f32> = "f32";
template <> inline constexpr const char* scale_type_name<f16> = "f16";
template <> inline constexpr const char* scale_type_name<bf16> = "bf16";
template <> inline constexpr const char* scale_type_name<e8m0> = "e8m0";
template <> inline constexpr const char* scale_type_name<e4m3> = "e4m3";

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A scale as its wire type holds it. Too large for f16: infinity, which the encoder reports; for E4M3 and E8M0, which
/// sit under an outer scale or reach to 2^127: the largest. Below the smallest normal f32: zero, see safe_reciprocal.
template <class T> QLIB_INLINE constexpr T storable_scale(float s) noexcept {
    constexpr bool sign = signed_scale_type<T>;
    if (magnitude(s) < 0x1p-126f || (!sign && s < 0)) s = 0;
    return T::from(s, sign ? overflow::special : overflow::saturate, rounding::nearest_even);
}

template <class T> QLIB_INLINE constexpr void store_little_endian(T value, std::byte* out) noexcept {
    write_number(value.bits, out);
}
template <class T> QLIB_INLINE constexpr T load_little_endian(const std::byte* in) noexcept {
    return {read_number<typename T::storage>(in)};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail {

/// The f32 tensor scale of formats whose own scales have a short range; nothing for others.
template <bool Present> struct tensor_scale_part {
    using outer = no_outer;
    template <class Grid, class T> QLIB_INLINE static constexpr no_outer fit(const tile_stats&) noexcept { return {}; }
    QLIB_INLINE static constexpr float scale(no_outer) noexcept { return 1; }
};
template <> struct tensor_scale_part<true> {
    using outer = float;
    /// Sends the tensor's abs-max to the largest level times the largest scale. 1 for a tensor of zeros.
    template <class Grid, class T> QLIB_INLINE static constexpr float fit(const tile_stats& stats) noexcept {
        constexpr float reach = larger(-lowest_level<Grid>, highest_level<Grid>) * (T::max)();
        const float m = stats.abs_max();
        return m > 0 ? larger(m / reach, 0x1p-126f) : 1.0f;
    }
    QLIB_INLINE static constexpr float scale(float o) noexcept { return o; }
};

/// What scale_per, scale_zero_per and scale_offset_per share: one stored map per group, no second level.
template <class Grid, form Map, std::size_t N, class T, std::size_t Groups, bool TensorScale> struct one_level {
    static_assert(Map != form::offset || signed_scale_type<T> || std::same_as<T, e4m3>,
                  "an offset needs a scale type with a sign");
    static constexpr std::size_t group = N, groups = Groups;
    static constexpr form map = Map;
    static constexpr extent tile{};
    static constexpr bool signed_scale = signed_scale_type<T>, signed_offset = true;
    using outer = typename tensor_scale_part<TensorScale>::outer;
    using stored_scale = T;
    using stored_outer = f32;

    struct no_zeros {};
    using zero = std::conditional_t<Map == form::scaled, no_zeros,
                                    std::conditional_t<Map == form::shifted, typename Grid::code, T>>;
    struct params {
        std::array<T, Groups> scale{};
        [[no_unique_address]] std::conditional_t<Map == form::scaled, no_zeros, std::array<zero, Groups>> zeros{};
    };

    QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept {
        return tensor_scale_part<TensorScale>::template fit<Grid, T>(stats);
    }
    QLIB_INLINE static constexpr float outer_scale(const outer& o) noexcept {
        return tensor_scale_part<TensorScale>::scale(o);
    }

    QLIB_INLINE static constexpr affine at(const params& p, std::size_t g) noexcept {
        if constexpr (Map == form::scaled) return {p.scale[g].value(), 0};
        else if constexpr (Map == form::shifted) return {p.scale[g].value(), Grid::level(p.zeros[g])};
        else return {p.scale[g].value(), p.zeros[g].value()};
    }
    QLIB_INLINE static constexpr void project_group(params& p, std::size_t g, affine wish, const outer& o) noexcept {
        const float inverse = TensorScale ? safe_reciprocal(outer_scale(o)) : 1.0f;
        p.scale[g] = storable_scale<T>(TensorScale ? product(wish.s, inverse) : wish.s);
        if constexpr (Map == form::shifted) p.zeros[g] = Grid::nearest(&wish.z, nullptr);
        if constexpr (Map == form::offset)
            p.zeros[g] = T::from(TensorScale ? product(wish.z, inverse) : wish.z,
                                 signed_scale ? overflow::special : overflow::saturate);
    }
    QLIB_INLINE static constexpr params project(const std::array<affine, Groups>& wishes, const outer& o) noexcept {
        params p{};
        for (std::size_t g = 0; g < Groups; ++g) project_group(p, g, wishes[g], o);
        return p;
    }

    QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept {
        if (f == field::scales) return Groups * sizeof(T::bits);
        if (f == field::zeros && Map == form::shifted) return packed_bytes(Groups, Grid::bits);
        if (f == field::zeros && Map == form::offset) return Groups * sizeof(T::bits);
        return 0;
    }
    QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
        if (f == field::scales)
            for (std::size_t g = 0; g < Groups; ++g) store_little_endian(p.scale[g], out + g * sizeof(T::bits));
        if constexpr (Map == form::shifted)
            if (f == field::zeros) pack_bits(p.zeros.data(), Groups, Grid::bits, out);
        if constexpr (Map == form::offset)
            if (f == field::zeros)
                for (std::size_t g = 0; g < Groups; ++g) store_little_endian(p.zeros[g], out + g * sizeof(T::bits));
    }
    QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
        if (f == field::scales)
            for (std::size_t g = 0; g < Groups; ++g) p.scale[g] = load_little_endian<T>(in + g * sizeof(T::bits));
        if constexpr (Map == form::shifted)
            if (f == field::zeros) unpack_bits(in, Groups, Grid::bits, p.zeros.data());
        if constexpr (Map == form::offset)
            if (f == field::zeros)
                for (std::size_t g = 0; g < Groups; ++g) p.zeros[g] = load_little_endian<T>(in + g * sizeof(T::bits));
    }
    QLIB_INLINE static constexpr void take_outer(params&, const outer&) noexcept {}

    static constexpr std::size_t outer_bytes = TensorScale ? sizeof(float) : 0, tensor_bytes = 0;
    QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte*) noexcept {
        if constexpr (TensorScale) store_little_endian(f32::from(o), out);
    }
    QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte*) noexcept {
        if constexpr (TensorScale) return load_little_endian<f32>(in).value();
        else return {};
    }
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI {

/// s * l: one scale of type T for every N weights, `Groups` groups to a block. An E4M3 scale
/// (largest 448, smallest 2^-9) underflows on real weights, so it brings an f32 scale of the
/// whole tensor unless `TensorScale` is switched off.
template <std::size_t N, class T, std::size_t Groups = 1, bool TensorScale = std::same_as<T, e4m3>> struct scale_per {
    template <class Grid> using bind = detail::one_level<Grid, form::scaled, N, T, Groups, TensorScale>;
};
/// s * (l - z): also an integer zero point, as wide as a code.
template <std::size_t N, class T, std::size_t Groups = 1, bool TensorScale = std::same_as<T, e4m3>>
struct scale_zero_per {
    template <class Grid> using bind = detail::one_level<Grid, form::shifted, N, T, Groups, TensorScale>;
};
/// s * l + z: also an offset of type T.
template <std::size_t N, class T, std::size_t Groups = 1, bool TensorScale = std::same_as<T, e4m3>>
struct scale_offset_per {
    template <class Grid> using bind = detail::one_level<Grid, form::offset, N, T, Groups, TensorScale>;
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
