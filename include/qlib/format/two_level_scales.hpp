#pragma once
// two_level: integer sub-scales (and mins) of the groups under one or two floats of the block. ggml's super-blocks.
#include "scales.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// Value: (super * sub[g]) * l, or (super * sub[g]) * l - super_min * min[g] where `Packing` holds mins.
///
/// Packing says how the integers are packed: constants groups, sub_bits, sub_signed, min_bits (0
/// without mins), bytes; and store(sub, min, out), load(in, sub, min) over std::array<std::int8_t,
/// groups> and std::array<std::uint8_t, groups>.
template <std::size_t N, class Packing, class Super = f16> struct two_level {
    template <class Grid> struct bind {
        static constexpr std::size_t group = N, groups = Packing::groups;
        static constexpr bool two_levels = true;  ///< fit/plain.inl makes these params in lanes
        static constexpr bool has_mins = Packing::min_bits > 0, signed_scale = Packing::sub_signed,
                              signed_offset = false;
        static constexpr form map = has_mins ? form::offset : form::scaled;
        static constexpr extent tile{};
        static constexpr int sub_bits = Packing::sub_bits, min_bits = Packing::min_bits;
        static constexpr bool sub_signed = Packing::sub_signed;
        static constexpr int sub_low = Packing::sub_signed ? -(1 << (Packing::sub_bits - 1)) : 0;
        static constexpr int sub_high =
            Packing::sub_signed ? (1 << (Packing::sub_bits - 1)) - 1 : (1 << Packing::sub_bits) - 1;
        static constexpr int min_high = (1 << Packing::min_bits) - 1;
        using outer = no_outer;
        using stored_scale = Super;

        struct params {
            Super super{}, super_min{};
            std::array<std::int8_t, groups> sub{};
            std::array<std::uint8_t, groups> min{};
        };

        QLIB_INLINE static constexpr no_outer fit_outer(const tile_stats&) noexcept { return {}; }
        QLIB_INLINE static constexpr float outer_scale(no_outer) noexcept { return 1; }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t g) noexcept {
            const float s = detail::product(p.super.value(), static_cast<float>(p.sub[g]));
            return {s, has_mins ? -detail::product(p.super_min.value(), static_cast<float>(p.min[g])) : 0.0f};
        }
        /// The maps of all groups, as `at` gives them: compilers make vectors of them.
        QLIB_INLINE static constexpr void maps(const params& p, float* s, float* z) noexcept {
            const float super = p.super.value(), super_min = p.super_min.value();
            for (std::size_t g = 0; g < groups; ++g) {
                s[g] = detail::product(super, static_cast<float>(p.sub[g]));
                z[g] = has_mins ? -detail::product(super_min, static_cast<float>(p.min[g])) : 0.0f;
            }
        }
        QLIB_INLINE static constexpr void project_group(params& p, std::size_t g, affine wish, no_outer) noexcept {
            p.sub[g] = static_cast<std::int8_t>(
                detail::round_clamped(wish.s * detail::safe_reciprocal(p.super.value()), sub_low, sub_high));
            if constexpr (has_mins)
                p.min[g] = static_cast<std::uint8_t>(
                    detail::round_clamped(-wish.z * detail::safe_reciprocal(p.super_min.value()), 0, min_high));
        }
        /// The largest wish decides the super-scale, with its sign at the far end of a
        /// signed sub-scale; the rest are rounded under it.
        QLIB_INLINE static constexpr params project(const std::array<affine, groups>& wishes, no_outer o) noexcept {
            float extreme = 0, deepest = 0;
            for (const affine& a : wishes) {
                if (detail::magnitude(a.s) > detail::magnitude(extreme)) extreme = a.s;
                deepest = detail::larger(deepest, -a.z);
            }
            params p{};
            p.super =
                detail::storable_scale<Super>(extreme / static_cast<float>(Packing::sub_signed ? sub_low : sub_high));
            if constexpr (has_mins) p.super_min = detail::storable_scale<Super>(deepest / static_cast<float>(min_high));
            for (std::size_t g = 0; g < groups; ++g) project_group(p, g, wishes[g], o);
            return p;
        }

        QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept {
            if (f == field::scales || (f == field::zeros && has_mins)) return sizeof(Super::bits);
            return f == field::subs ? Packing::bytes : 0;
        }
        QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
            if (f == field::scales) detail::store_little_endian(p.super, out);
            if (f == field::zeros) detail::store_little_endian(p.super_min, out);
            if (f == field::subs) Packing::store(p.sub, p.min, out);
        }
        QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
            if (f == field::scales) p.super = detail::load_little_endian<Super>(in);
            if (f == field::zeros) p.super_min = detail::load_little_endian<Super>(in);
            if (f == field::subs) Packing::load(in, p.sub, p.min);
        }
        QLIB_INLINE static constexpr void take_outer(params&, no_outer) noexcept {}
    };
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
