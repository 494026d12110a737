#pragma once
// Lattices: grids whose codes name a point of several dimensions at once, out of a set that is given as a bitmap.
//
// A point set L has: dims, base: a point is `dims` digits below `base`; count: of points; numbers, unit: digit
// d means numbers[d] * unit. A point's number is the sum of digit i * base^i; points are indexed by ascending
// number. bitmap: bit n of it, from the least significant of the first word on, is set if the point with number
// n is in the set; with `even`, which says that all digit sums are even, bit n speaks of that one of the
// numbers 2n and 2n + 1 whose digits have an even sum.
#include "lattice_tables.hpp"
#include "scales.hpp"

#include <bit>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// What differs between ggml's encoders of lattices with signs.
struct ggml_lattice_recipe {
    float sigma2_factor = 2;  ///< sigma^2 in the block's mean square
    /// Without importance a weight counts as own_sigma2 * sigma^2 + x^2; negative: there is no such way, as for ones.
    float own_sigma2 = -1;
    float skipped_below;       ///< groups whose largest weight is less become zeros
    int steps;                 ///< scales tried are -steps .. steps
    float step;                ///< tenths of a level apart
    std::size_t shells;        ///< how many distances of neighbours are looked at
    float factor = 1;          ///< of the super-scale
    bool scale_first = false;  ///< the first scale comes from make_qp_quants
    bool all_again = false;    ///< codes are chosen again for all points, if for any
    bool trusts_first = true;  ///< a group for which no step was accepted keeps its first point
    bool keeps_zeros = true;   ///< a block of zeros holds what its groups left
};

// What encodes lattices: encode/lattice_search.hpp and the files that it includes.
template <class G> typename G::code nearest_in_lattice(const float* u, const float* w) noexcept;
template <class F> encoded<F> search_lattice(const site<F>& s) noexcept;
template <class F> encoded<F> ggml_signed_block(const site<F>& s, const ggml_lattice_recipe& recipe) noexcept;
template <class F> encoded<F> ggml_shifted_block(const site<F>& s) noexcept;

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Signed lattice points: a code holds the indices of `Points` points of magnitudes, the first lowest, and
/// above them a sign bit for each lane, 1 for negative. With `EvenSigns` the last lane's bit is not
/// stored: the number of negative lanes is even.
template <class L, std::size_t Points, bool EvenSigns> struct signed_lattice_grid {
    static_assert(!EvenSigns || Points * L::dims == 8, "even signs are those of eight lanes");
    using points = L;
    static constexpr bool even_signs = EvenSigns;
    static constexpr std::size_t vec = Points * L::dims, points_per_code = Points;
    static constexpr std::size_t index_bits = std::bit_width(L::count - 1), sign_shift = Points * index_bits;
    static constexpr std::size_t bits = sign_shift + vec - (EvenSigns ? 1 : 0), size = 2 * L::base;
    using code = std::conditional_t<(bits > 16), std::uint32_t, std::uint16_t>;
    static constexpr float highest = static_cast<float>(L::numbers.back()) * L::unit, lowest = -highest;

    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return static_cast<float>(L::numbers[i % L::base]) * (i < L::base ? L::unit : -L::unit);
    }
    QLIB_INLINE static code nearest(const float* u, const float* w) noexcept {
        return detail::nearest_in_lattice<signed_lattice_grid>(u, w);
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept {
        const unsigned negative = signs(c);
        for (std::size_t p = 0; p < Points; ++p) {
            const auto& point = detail::lattice_points<L>[c >> p * index_bits & (L::count - 1)];
            for (std::size_t i = 0; i < L::dims; ++i) {
                const float v = static_cast<float>(point[i]) * L::unit;
                l[p * L::dims + i] = detail::float_of(detail::bits_of(v) ^ (negative >> (p * L::dims + i) & 1u) << 31);
            }
        }
    }

    /// The sign bits of all lanes.
    [[nodiscard]] QLIB_INLINE static constexpr unsigned signs(code c) noexcept {
        const unsigned stored = static_cast<unsigned>(c) >> sign_shift & ((1u << (bits - sign_shift)) - 1);
        if constexpr (EvenSigns) return detail::even_signs_of[stored];
        else return stored;
    }
    /// The code of points and sign bits, whose number is even where only such can be stored.
    [[nodiscard]] QLIB_INLINE static constexpr code make(const std::array<unsigned, Points>& index,
                                                         unsigned negative) noexcept {
        unsigned c = (negative & ((1u << (bits - sign_shift)) - 1)) << sign_shift;
        for (std::size_t p = 0; p < Points; ++p) c |= index[p] << p * index_bits;
        return static_cast<code>(c);
    }
};

/// Points of signed numbers, all lanes moved by L::shift up or, with the bit above the index, down. Without
/// `ShiftInCode` there is no such bit: the map then moves the levels.
template <class L, bool ShiftInCode> struct shifted_lattice_grid {
    using points = L;
    static constexpr bool shift_in_code = ShiftInCode;
    static constexpr float shift = ShiftInCode ? L::shift : 0.0f;
    static constexpr std::size_t vec = L::dims, points_per_code = 1, index_bits = std::bit_width(L::count - 1);
    static constexpr std::size_t bits = index_bits + (shift_in_code ? 1 : 0), size = L::base * (shift_in_code ? 2 : 1);
    using code = std::uint16_t;
    static constexpr float highest = static_cast<float>(L::numbers.back()) * L::unit + shift, lowest = -highest;

    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return static_cast<float>(L::numbers[i % L::base]) * L::unit + (i < L::base ? shift : -shift);
    }
    QLIB_INLINE static code nearest(const float* u, const float* w) noexcept {
        return detail::nearest_in_lattice<shifted_lattice_grid>(u, w);
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept {
        const auto& point = detail::lattice_points<L>[c & (L::count - 1)];
        const float moved = (c >> index_bits & 1) != 0 ? -shift : shift;
        for (std::size_t i = 0; i < vec; ++i) l[i] = static_cast<float>(point[i]) * L::unit + moved;
    }
};

/// Two levels of scales, of which the lower ones are odd: (super * sub[g]) * l,
/// sub[g] one of 1, 3, .. 2^(Bits + 1) - 1.
template <std::size_t Groups> struct odd_scales {
    f16 super{};
    std::array<std::int8_t, Groups> sub{};
};
/// The same, and whether the levels of a group are moved down or up.
template <std::size_t Groups> struct odd_scales_and_shifts : odd_scales<Groups> { std::array<bool, Groups> down{}; };

/// A block of 256 weights on a lattice, whose bits `Wire` places: bytes, store(params, codes, out),
/// load(in, params, codes); codes empty: params alone. N weights to a group, scales of Bits bits;
/// levels that the map moves where `ShiftedMap`.
template <class Grid, std::size_t N, int Bits, class Wire, bool ShiftedMap = false> struct lattice_format {
    static constexpr std::size_t group = N, groups = 256 / N, vec = Grid::vec;
    static constexpr form map = ShiftedMap ? form::shifted : form::scaled;
    static constexpr extent tile{};
    static constexpr bool signed_scale = true, signed_offset = true;
    static constexpr int sub_bits = Bits, sub_high = (2 << Bits) - 1;
    using grid = Grid;
    using code = typename Grid::code;
    using outer = no_outer;
    using params = std::conditional_t<ShiftedMap, odd_scales_and_shifts<groups>, odd_scales<groups>>;
    using stored_scale = f16;
    static constexpr std::array<std::size_t, 1> planes{Wire::bytes};

    QLIB_INLINE static code nearest(const float* u, const float* w) noexcept { return Grid::nearest(u, w); }
    QLIB_INLINE static constexpr void level(code c, float* l) noexcept { Grid::levels(c, l); }
    QLIB_INLINE static constexpr outer fit_outer(const tile_stats&) noexcept { return {}; }
    QLIB_INLINE static constexpr float outer_scale(outer) noexcept { return 1; }
    QLIB_INLINE static constexpr affine at(const params& p, std::size_t g) noexcept {
        const float s = detail::product(p.super.value(), static_cast<float>(p.sub[g]));
        if constexpr (ShiftedMap) return {s, p.down[g] ? Grid::points::shift : -Grid::points::shift};
        else return {s, 0};
    }
    /// The largest wish decides the super-scale; the others are rounded under it.
    QLIB_INLINE static constexpr params project(const std::array<affine, groups>& wishes, outer) noexcept {
        float largest = 0;
        for (const affine& a : wishes) largest = detail::larger(largest, detail::magnitude(a.s));
        params p{};
        p.super = detail::storable_scale<f16>(largest / static_cast<float>(sub_high));
        const float inverse = detail::safe_reciprocal(p.super.value());
        for (std::size_t g = 0; g < groups; ++g) {
            p.sub[g] = nearest_sub(detail::product(detail::magnitude(wishes[g].s), inverse));
            if constexpr (ShiftedMap) p.down[g] = wishes[g].z > 0;
        }
        return p;
    }
    /// The odd number nearest to s.
    QLIB_INLINE static constexpr std::int8_t nearest_sub(float s) noexcept {
        return static_cast<std::int8_t>(2 * detail::round_clamped(detail::product(0.5f, s - 1), 0, sub_high / 2) + 1);
    }
    /// ggml's own encoder; a template, as all here, so that nothing is compiled where only the format's name is used.
    /// Where ggml refuses to go on without importance (IQ2_XXS, IQ2_XS, IQ1_S) it is taken as ones. IQ3_S: see there.
    template <class F> QLIB_INLINE static encoded<F> reference(const site<F>& s) noexcept {
        if constexpr (requires { F::recipe; }) return detail::ggml_signed_block<F>(s, F::recipe);
        else return detail::ggml_shifted_block<F>(s);
    }
    /// Least weighted squared error, points and scales searched together: about 5 to 12 times as fast as ggml's
    /// encoder. Without importance a weight counts as under ggml's importance of ones, sqrt(mean square + x^2), and
    /// points with free signs get most of what that shrinks them by back. Not constexpr.
    template <class F> QLIB_INLINE static encoded<F> search(const site<F>& s) noexcept {
        return detail::search_lattice(s);
    }
    template <class Pointers>
    QLIB_INLINE static constexpr void store(const params& p, std::span<const code> codes, const Pointers& to) noexcept {
        Wire::store(p, codes, to[0]);
    }
    template <class Pointers>
    QLIB_INLINE static constexpr params load(const Pointers& from, const outer&, std::span<code> codes) noexcept {
        params p{};
        Wire::load(from[0], p, codes);
        return p;
    }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
