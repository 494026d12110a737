#pragma once
// Weights that are not quantized, as formats: engines multiply by them, decode them
// and round to them through the same functions.
#include "format/format.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// Numbers of type T: a code is the number's bits. Too many levels for a table;
/// `level` lists the ends of the range and zero.
template <class T> struct number_grid {
    using code = typename T::storage;
    using number = T;
    static constexpr std::size_t bits = 8 * sizeof(code), vec = 1, size = 3;
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return i == 0 ? -(T::max)() : i == 1 ? 0.0f : (T::max)();
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        return T::from(*u, overflow::saturate).bits;
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = T{c}.value(); }
};

/// No map at all: a weight is its level. Encoders report a range that the numbers do not reach.
template <std::size_t N> struct unscaled {
    template <class Grid> struct bind {
        static constexpr std::size_t group = N, groups = 1;
        static constexpr form map = form::scaled;
        static constexpr extent tile{};
        using outer = no_outer;
        struct params {
            float scale = 1;
        };

        QLIB_INLINE static constexpr no_outer fit_outer(const tile_stats&) noexcept { return {}; }
        QLIB_INLINE static constexpr float outer_scale(no_outer) noexcept { return 1; }
        QLIB_INLINE static constexpr params project(const std::array<affine, 1>& wishes, no_outer) noexcept {
            const auto reach = Grid::number::from(detail::product(wishes[0].s, (Grid::number::max)())).value();
            return {detail::is_finite(reach) ? 1.0f : reach};
        }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.scale, 0}; }
        QLIB_INLINE static constexpr std::size_t field_bytes(field) noexcept { return 0; }
        QLIB_INLINE static constexpr void store_field(field, const params&, std::byte*) noexcept {}
        QLIB_INLINE static constexpr void load_field(field, params&, const std::byte*) noexcept {}
        QLIB_INLINE static constexpr void take_outer(params&, no_outer) noexcept {}
    };
};

/// Rows of f32, f16 or bf16, as files and engines hold them: any number of columns,
/// no scales. Rounding is to nearest even.
template <class T> struct dense : format<number_grid<T>, unscaled<32>, inline_blocks<little_endian>> {};
struct dense_f32 : dense<f32> {};
struct dense_f16 : dense<f16> {};
struct dense_bf16 : dense<bf16> {};
static_assert(block_bytes<dense_f32> == 128 && block_bytes<dense_bf16> == 64);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
