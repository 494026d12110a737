#pragma once
// tile_scale: one scale for a whole row, tensor or rectangle. Its blocks of 64 hold
// codes only; the scales lie in an outer plane.
#include "scales.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// One map of form Map, stored as T, for every tile of the given extent (0 = all).
template <extent Tile, class T = f32, form Map = form::scaled> struct tile_scale {
    static_assert(!Tile.flat && Tile.cols % 64 == 0, "a tile is whole blocks of 64 wide");
    template <class Grid> struct bind {
        static constexpr std::size_t group = 64, groups = 1;
        static constexpr form map = Map;
        static constexpr extent tile = Tile;
        static constexpr bool signed_scale = signed_scale_type<T>, signed_offset = true;
        static constexpr bool outer_is_map = true;
        /// s * l + z keeps both in the map; the others leave the scale outside, where it multiplies last.
        static constexpr bool outer_multiplies = Map != form::offset;

        using stored_outer = T;

        struct outer {
            float s = 0, z = 0;
        };
        struct params {
            float s = 1, z = 0;
        };

        QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept {
            const auto a = detail::one_range::map_of_range(detail::range_rule_of<Map, Grid, signed_scale, true>,
                                                           stats.low * stats.shrink, stats.high * stats.shrink);
            return outer_of({a.s, a.z});
        }
        /// What the wire can hold of a map.
        QLIB_INLINE static constexpr outer outer_of(affine a) noexcept {
            outer o{detail::storable_scale<T>(a.s).value(), 0};
            if constexpr (Map == form::shifted) o.z = Grid::level(Grid::nearest(&a.z, nullptr));
            if constexpr (Map == form::offset) o.z = T::from(a.z).value();
            return o;
        }
        QLIB_INLINE static constexpr float outer_scale(const outer& o) noexcept {
            return outer_multiplies ? o.s : 1.0f;
        }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.s, p.z}; }
        QLIB_INLINE static constexpr params project(const std::array<affine, 1>&, const outer& o) noexcept {
            params p;
            take_outer(p, o);
            return p;
        }
        QLIB_INLINE static constexpr void take_outer(params& p, const outer& o) noexcept {
            p = {outer_multiplies ? 1.0f : o.s, o.z};
        }

        QLIB_INLINE static constexpr std::size_t field_bytes(field) noexcept { return 0; }
        QLIB_INLINE static constexpr void store_field(field, const params&, std::byte*) noexcept {}
        QLIB_INLINE static constexpr void load_field(field, params&, const std::byte*) noexcept {}

        /// A tile's wire form: the scale, then the zero point (one byte) or the offset.
        static constexpr std::size_t zero_bytes = Map == form::shifted ? 1 : Map == form::offset ? sizeof(T::bits) : 0;
        static constexpr std::size_t outer_bytes = sizeof(T::bits) + zero_bytes;
        static constexpr std::size_t tensor_bytes = 0;
        QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte*) noexcept {
            detail::store_little_endian(T::from(o.s), out);
            if constexpr (Map == form::shifted)
                out[sizeof(T::bits)] = static_cast<std::byte>(Grid::nearest(&o.z, nullptr));
            if constexpr (Map == form::offset) detail::store_little_endian(T::from(o.z), out + sizeof(T::bits));
        }
        QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte*) noexcept {
            outer o{detail::load_little_endian<T>(in).value(), 0};
            if constexpr (Map == form::shifted)
                o.z = Grid::level(std::to_integer<std::size_t>(in[sizeof(T::bits)]) % Grid::size);
            if constexpr (Map == form::offset) o.z = detail::load_little_endian<T>(in + sizeof(T::bits)).value();
            return o;
        }
    };
};

template <class T = f32, form Map = form::scaled> using scale_per_row = tile_scale<extent{1, 0}, T, Map>;
template <class T = f32, form Map = form::scaled> using scale_per_tensor = tile_scale<extent{0, 0}, T, Map>;

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
