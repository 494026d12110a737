#pragma once
// Codes to bytes for x86-64 with AVX-512: the shuffles that a bit layout describes, kernel/code_shuffles.hpp.
#include "../kernel/code_shuffles.hpp"
#include "isa.hpp"
#include "target.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct avx512_codes {
    /// N codes of B bits, in order. Writes whole vectors of 64: `out` holds as many
    /// as that. Reads the codes' bytes only.
    template <class Bits, std::size_t B, std::size_t N>
    QLIB_INLINE static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        unpack_vectors<Bits, B, N>(in, out);
    }

    /// 64 codes in a register: codes [begin + E, begin + E + 64) of a block of All,
    /// `begin` a multiple of the period, or where All is 32 those of two blocks, Apart bytes
    /// from one to the next. Reads the codes' bytes only.
    template <class Bits, std::size_t B, std::size_t All, std::size_t E, std::size_t Apart>
    QLIB_INLINE static __m512i codes_of_lanes(const std::byte* in, std::size_t begin) noexcept {
        if constexpr (All == 32) return bring_codes_twice<Bits, B, Apart>(in);
        else return bring_codes<Bits, B, All, E, 64>(in, begin);
    }

private:
    using vector = __m512i;
    static constexpr std::size_t shifted_together = 2;
#include "code_vectors.inl"

    template <class Bits, std::size_t B, std::size_t Apart>
    QLIB_INLINE static __m512i bring_codes_twice(const std::byte* in) noexcept {
        return [&]<std::size_t... P>(std::index_sequence<P...>) QLIB_INLINE_LAMBDA {
            __m512i c = _mm512_setzero_si512();
            ((c |= moved<slice_of<Bits, B>(P), 0, shuffle_twice<Bits, B, P>>(two_pieces<Bits, B, P, Apart>(in)),
              in += slice_bytes<Bits, B>(P, 32)),
             ...);
            return c;
        }
        (std::make_index_sequence<slice_count<Bits>>{});
    }
    template <class Bits, std::size_t B, std::size_t P>
    static constexpr code_shuffle shuffle_twice = twice(shuffle_of<Bits, B>(P, 0, 32), 32);
    /// The bytes of slice P of two blocks, each in a half; of 16 bytes or fewer in every lane of it.
    template <class Bits, std::size_t B, std::size_t P, std::size_t Apart>
    QLIB_INLINE static __m512i two_pieces(const std::byte* in) noexcept {
        constexpr const code_shuffle& s = shuffle_twice<Bits, B, P>;
        const std::byte *const a = in + s.first, *const b = a + Apart;
        constexpr __mmask32 window = s.bytes < 32 ? (1u << s.bytes % 32) - 1 : ~0u;
        if constexpr (s.bytes == 16)
            return _mm512_mask_broadcast_i32x4(
                _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a))), 0xFF00,
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)));
        if constexpr (s.bytes == 8)
            return _mm512_mask_broadcastq_epi64(
                _mm512_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(a))), 0xF0,
                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b)));
        if constexpr (s.bytes == 4)
            return _mm512_mask_broadcastd_epi32(_mm512_broadcastd_epi32(_mm_loadu_si32(a)), 0xFF00,
                                                _mm_loadu_si32(b));
        const __m512i v = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(window, a)),
                                             _mm256_maskz_loadu_epi8(window, b), 1);
        return s.moves_words ? _mm512_permutexvar_epi32(_mm512_load_si512(s.words.data()), v) : v;
    }

    /// The bytes of a slice, words in their lanes.
    template <const code_shuffle& S> QLIB_INLINE static __m512i piece(const std::byte* from) noexcept {
        if constexpr (S.repeats(4, 16) && S.bytes == 16)
            return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        if constexpr (S.repeats(8, 16) && S.bytes == 32)
            return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
        if constexpr (S.bytes == 64) return _mm512_loadu_si512(from);
        constexpr __mmask64 window = S.bytes < 64 ? (std::uint64_t{1} << S.bytes % 64) - 1 : ~std::uint64_t{0};
        const __m512i v = _mm512_maskz_loadu_epi8(window, from);
        return S.moves_words ? _mm512_permutexvar_epi32(_mm512_load_si512(S.words.data()), v) : v;
    }
    /// The codes' bits, moved to their places; E: the first code, for base 3.
    template <code_slice What, std::size_t E, const code_shuffle& S>
    QLIB_INLINE static __m512i moved(__m512i v) noexcept {
        __m512i c;
        if constexpr (What.base3) {
            const __m512i even = digits<E % 5, 0>(_mm512_shuffle_epi8(v, _mm512_load_si512(S.even.data())));
            const __m512i odd = digits<E % 5, 1>(_mm512_shuffle_epi8(v, _mm512_load_si512(S.odd.data())));
            c = _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
        } else if constexpr (S.direct) {
            if constexpr (S.moves_bytes) v = _mm512_shuffle_epi8(v, _mm512_load_si512(S.even.data()));
            if constexpr (S.shifts) v = _mm512_srlv_epi16(v, _mm512_load_si512(S.right.data()));
            c = What.width < 8 ? _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>((1 << What.width) - 1))) : v;
        } else {
            constexpr int mask = (1 << What.width) - 1;
            const __m512i even = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, _mm512_load_si512(S.even.data())),
                                                   _mm512_load_si512(S.right.data()));
            const __m512i odd = _mm512_sllv_epi16(_mm512_shuffle_epi8(v, _mm512_load_si512(S.odd.data())),
                                                  _mm512_load_si512(S.left.data()));
            c = _mm512_or_si512(_mm512_and_si512(even, _mm512_set1_epi16(mask)),
                                _mm512_and_si512(odd, _mm512_set1_epi16(static_cast<short>(mask << 8))));
        }
        return What.shift != 0 ? _mm512_slli_epi16(c, What.shift) : c;
    }
    /// One base-3 digit of each 16-bit word below 256: digit (First + 2i + Odd) % 5 of word i. v / 3^j -
    /// 3 * (v / 3^(j+1)), by multiplication with 2^15 / 3^j rounded up, which is exact for v < 256.
    template <std::size_t First, std::size_t Odd> QLIB_INLINE static __m512i digits(__m512i v) noexcept {
        alignas(64) static constexpr auto factors = base3_factors<First + Odd, 32>();
        const __m512i twice = _mm512_add_epi16(v, v);
        const __m512i here = _mm512_mulhi_epu16(twice, _mm512_load_si512(factors[0].data()));
        const __m512i above = _mm512_mulhi_epu16(twice, _mm512_load_si512(factors[1].data()));
        return _mm512_sub_epi16(here, _mm512_add_epi16(above, _mm512_add_epi16(above, above)));
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
