#pragma once
// The searches of lattices, compiled for the baseline and for AVX-512: the same text over other vectors, so the same bits.
#include "../format/concept.hpp"
#include "../format/lattice_tables.hpp"
#include "../kernel/dispatch.hpp"
#include "../kernel/room.hpp"
#include "../numeric/minifloat.hpp"

#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qlib::inline v0::detail {

inline constexpr float unreachable = std::numeric_limits<float>::max();

/// 16 octets of weights side by side.
struct octets {
    alignas(64) float x[8][16];    // magnitudes where codes hold signs
    alignas(64) float w[8][16];    // importances
    alignas(64) float scale[16];
    alignas(64) float shift[16];   // of all levels
    alignas(64) float odd[16];     // 1: one sign must be wrong; 0
};
/// Points for them.
struct octet_points {
    alignas(64) float level[8][16];
    alignas(64) float cost[16];  // the weighted squared error, to 16 bits
    alignas(64) float low[2][16];   // of each point's number
    alignas(64) float high[2][16];
    std::uint8_t flipped[16];    // the weight of the wrong sign, 8: none; where signs are even
};

/// The scale of a group, and what its map adds to all levels.
struct lattice_scale { float scale = 0, shift = 0; };

/// A block of 256 weights under search, brought near 1 by a power of two.
template <class F> struct lattice_block {
    octets half[2];
    unsigned negative[32];                  // sign bits of every octet
    std::array<float, F::groups> largest;   // magnitude of each group, in units of the highest level
};
/// Points for it, and for each group the sums over weights w * x * l and w * l * l.
template <class F> struct lattice_choice {
    octet_points half[2];
    std::array<float, F::groups> xl, ll;
};

/// Whether a grid's codes hold signs, or points of signed numbers that are moved up or down.
template <class G> inline constexpr bool holds_signs = requires { G::even_signs; };

}  // namespace qlib::inline v0::detail

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Up to 8 weights as octet o. Returns the sign bits.
template <class G> QLIB_INLINE constexpr unsigned put_octet(const float* x, const float* w, std::size_t n, octets& in, std::size_t o) noexcept {
    unsigned negative = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        const float v = i < n ? x[i] : 0.0f, a = magnitude(v);
        in.x[i][o] = holds_signs<G> ? a : v;
        in.w[i][o] = i < n ? w[i] : 0.0f;
        negative |= (a > 0 ? bits_of(v) >> 31 : static_cast<unsigned>(i & 1)) << i;  // no level is 0: zeros take turns, so that their sum is 0
    }
    if constexpr (holds_signs<G>) in.odd[o] = G::even_signs && parity(negative) != 0 ? 1.0f : 0.0f;
    return negative;
}

/// The index of point p of octet o.
template <class L> QLIB_INLINE constexpr unsigned index_of(const octet_points& points, std::size_t p, std::size_t o) noexcept {
    return lattice_index<L>[static_cast<std::size_t>(points.low[p][o]) + half_size<L> * static_cast<std::size_t>(points.high[p][o])];
}
/// Code c of octet o.
template <class G>
QLIB_INLINE constexpr typename G::code code_of(const octets& in, const octet_points& p, unsigned negative, std::size_t o, std::size_t c) noexcept {
    if constexpr (holds_signs<G>) {
        if constexpr (G::even_signs) negative ^= 1u << p.flipped[o] & 255u;
        std::array<unsigned, G::points_per_code> index{};
        for (std::size_t i = 0; i < index.size(); ++i) index[i] = index_of<typename G::points>(p, c * index.size() + i, o);
        return G::make(index, negative >> c * G::vec & ((1u << G::vec) - 1));
    } else {
        return static_cast<typename G::code>(index_of<typename G::points>(p, 0, o) | (G::shift_in_code && in.shift[o] < 0 ? 1u : 0u) << G::index_bits);
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

QLIB_EXACT_BEGIN
#if !defined(__clang__)
_Pragma("GCC optimize(\"O3\")")  // g++ -O2 leaves most loops scalar
#endif
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Four of the 16-byte vectors that every machine has.
struct portable_lattice {
    using quad = float __attribute__((vector_size(16)));
    using words = std::int32_t __attribute__((vector_size(16)));
    struct lanes { quad part[4]; };
    struct truths { words part[4]; };

    QLIB_INLINE static lanes splat(float x) noexcept { return each([&](std::size_t) QLIB_INLINE_LAMBDA { return quad{x, x, x, x}; }); }
    QLIB_INLINE static lanes load(const float* p) noexcept {
        lanes v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    QLIB_INLINE static void store(float* p, const lanes& v) noexcept { std::memcpy(p, &v, sizeof v); }
    QLIB_INLINE static lanes plus(const lanes& a, const lanes& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] + b.part[i]; });
    }
    QLIB_INLINE static lanes minus(const lanes& a, const lanes& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] - b.part[i]; });
    }
    QLIB_INLINE static lanes times(const lanes& a, const lanes& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            quad p = a.part[i] * b.part[i];
#if defined(__clang__) && defined(__x86_64__)
            asm("" : "+x"(p));  // no pragma keeps clang 14 from fusing it into a following addition
#elif defined(__clang__)
            asm("" : "+m"(p));
#endif
            return p;
        });
    }
    QLIB_INLINE static truths less(const lanes& a, const lanes& b) noexcept {
        truths t;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) t.part[i] = a.part[i] < b.part[i];
        return t;
    }
    QLIB_INLINE static lanes pick(const truths& t, const lanes& yes, const lanes& no) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            return reinterpret_cast<quad>((reinterpret_cast<words>(yes.part[i]) & t.part[i]) | (reinterpret_cast<words>(no.part[i]) & ~t.part[i]));
        });
    }
    QLIB_INLINE static lanes smallest(const lanes& a, const lanes& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
#if defined(__x86_64__)
            return quad(_mm_min_ps(a.part[i], b.part[i]));
#else
            const words t = a.part[i] < b.part[i];
            return reinterpret_cast<quad>((reinterpret_cast<words>(a.part[i]) & t) | (reinterpret_cast<words>(b.part[i]) & ~t));
#endif
        });
    }
    /// v with its last 7 bits replaced by k.
    QLIB_INLINE static lanes stamp(const lanes& v, std::size_t k) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            return reinterpret_cast<quad>((reinterpret_cast<words>(v.part[i]) & ~127) | static_cast<std::int32_t>(k));
        });
    }

    /// Those bits as a number.
    QLIB_INLINE static lanes stamped(const lanes& v) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return __builtin_convertvector(reinterpret_cast<words>(v.part[i]) & 127, quad); });
    }

#include "lattice_nearest.inl"
#include "lattice_search.inl"

private:
    template <class Part> QLIB_INLINE static lanes each(const Part& part) noexcept {
        lanes r;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) r.part[i] = part(i);
        return r;
    }
};

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

#if defined(__x86_64__)
QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline v0::detail::inline QLIB_BASE {

struct avx512_lattice {
    using lanes = __m512;

    QLIB_INLINE static lanes splat(float x) noexcept { return _mm512_set1_ps(x); }
    QLIB_INLINE static lanes load(const float* p) noexcept { return _mm512_loadu_ps(p); }
    QLIB_INLINE static void store(float* p, lanes v) noexcept { _mm512_storeu_ps(p, v); }
    QLIB_INLINE static lanes plus(lanes a, lanes b) noexcept { return a + b; }
    QLIB_INLINE static lanes minus(lanes a, lanes b) noexcept { return a - b; }
    QLIB_INLINE static lanes times(lanes a, lanes b) noexcept {
        lanes p = a * b;
        asm("" : "+v"(p));  // no pragma keeps clang 14 from fusing it into a following addition
        return p;
    }
    QLIB_INLINE static __mmask16 less(lanes a, lanes b) noexcept { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
    QLIB_INLINE static lanes pick(__mmask16 t, lanes yes, lanes no) noexcept { return _mm512_mask_mov_ps(no, t, yes); }
    QLIB_INLINE static lanes smallest(lanes a, lanes b) noexcept { return _mm512_min_ps(a, b); }
    QLIB_INLINE static lanes stamp(lanes v, std::size_t k) noexcept {
        const __m512i last = _mm512_set1_epi32(127), bits = _mm512_castps_si512(v);
        return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(last, _mm512_set1_epi32(static_cast<int>(k)), bits, 0xCA));
    }

    QLIB_INLINE static lanes stamped(lanes v) noexcept { return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(127))); }

#include "lattice_nearest.inl"
#include "lattice_search.inl"
};

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// use(room) for the best room of this machine.
template <class Use> auto with_lattice_room(const Use& use) noexcept {
#if defined(__x86_64__)
    if (best_isa() == isa::avx512) return use(avx512_lattice{});
#endif
    return use(portable_lattice{});
}

/// The code of least weighted error for a code's weights in level units.
template <class G> typename G::code nearest_in_lattice(const float* u, const float* w) noexcept {
    octets in{};
    octet_points out;
    for (float& s : in.scale) s = 1;
    const unsigned negative = put_octet<G>(u, w, G::vec, in, 0);
    if constexpr (!holds_signs<G>) {  // octet 0 moved up, octet 1 down
        put_octet<G>(u, w, G::vec, in, 1);
        in.shift[0] = G::shift;
        in.shift[1] = -G::shift;
    }
    with_lattice_room([&](auto room) { decltype(room)::template choose_points<G>(in, out); });
    return code_of<G>(in, out, negative, !holds_signs<G> && out.cost[1] < out.cost[0] ? 1 : 0, 0);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
