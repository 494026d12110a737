#pragma once
// Octets of weights and of lattice points, 16 side by side: what the searches for
// points, lattice_nearest.inl, read and write.
#include "../format/concept.hpp"
#include "../format/lattice_tables.hpp"
#include "../numeric/minifloat.hpp"

#include <limits>

namespace qlib::inline QLIB_ABI::detail {

inline constexpr float unreachable = (std::numeric_limits<float>::max)();

/// 16 octets of weights side by side.
struct octets {
    alignas(64) float x[8][16];  // magnitudes where codes hold signs
    alignas(64) float w[8][16];  // importances
    alignas(64) float scale[16];
    alignas(64) float shift[16];  // of all levels
    alignas(64) float odd[16];    // 1: one sign must be wrong; 0
};
/// Points for them.
struct octet_points {
    alignas(64) float level[8][16];
    alignas(64) float cost[16];    // the weighted squared error, to 16 bits
    alignas(64) float low[2][16];  // of each point's number
    alignas(64) float high[2][16];
    std::uint8_t flipped[16];  // the weight of the wrong sign, 8: none; where signs are even
};

/// The scale of a group, and what its map adds to all levels.
struct lattice_scale {
    float scale = 0, shift = 0;
};

/// A block of 256 weights under search, brought near 1 by a power of two.
template <class F> struct lattice_block {
    octets half[2];
    unsigned negative[32];                 // sign bits of every octet
    std::array<float, F::groups> largest;  // magnitude of each group, in units of the highest level
};
/// Points for it, and for each group the sums over weights w * x * l and w * l * l.
template <class F> struct lattice_choice {
    octet_points half[2];
    std::array<float, F::groups> xl, ll;
};

/// Whether a grid's codes hold signs, or points of signed numbers that are moved up or down.
template <class G> inline constexpr bool holds_signs = requires { G::even_signs; };

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Up to 8 weights as octet o. Returns the sign bits.
template <class G>
QLIB_INLINE constexpr unsigned put_octet(const float* x, const float* w, std::size_t n, octets& in,
                                         std::size_t o) noexcept {
    unsigned negative = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        const float v = i < n ? x[i] : 0.0f, a = magnitude(v);
        in.x[i][o] = holds_signs<G> ? a : v;
        in.w[i][o] = i < n ? w[i] : 0.0f;
        negative |= (a > 0 ? bits_of(v) >> 31 : static_cast<unsigned>(i & 1))
                    << i;  // no level is 0: zeros take turns, so that their sum is 0
    }
    if constexpr (holds_signs<G>) in.odd[o] = G::even_signs && parity(negative) != 0 ? 1.0f : 0.0f;
    return negative;
}

/// The index of point p of octet o.
template <class L>
QLIB_INLINE constexpr unsigned index_of(const octet_points& points, std::size_t p, std::size_t o) noexcept {
    return lattice_index<L>[static_cast<std::size_t>(points.low[p][o]) +
                            half_size<L> * static_cast<std::size_t>(points.high[p][o])];
}
/// Code c of octet o.
template <class G>
QLIB_INLINE constexpr typename G::code code_of(const octets& in, const octet_points& p, unsigned negative,
                                               std::size_t o, std::size_t c) noexcept {
    if constexpr (holds_signs<G>) {
        if constexpr (G::even_signs) negative ^= 1u << p.flipped[o] & 255u;
        std::array<unsigned, G::points_per_code> index{};
        for (std::size_t i = 0; i < index.size(); ++i)
            index[i] = index_of<typename G::points>(p, c * index.size() + i, o);
        return G::make(index, negative >> c * G::vec & ((1u << G::vec) - 1));
    } else {
        return static_cast<typename G::code>(index_of<typename G::points>(p, 0, o) |
                                             (G::shift_in_code && in.shift[o] < 0 ? 1u : 0u) << G::index_bits);
    }
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
