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
        constexpr std::size_t period = shuffle_period<Bits, B>, whole = N / period * period;
        for (std::size_t e = 0; e < whole; e += period) chunks<Bits, B, N, period>(in, e, out + e);
        if constexpr (whole != N) chunks<Bits, B, N, N - whole>(in, whole, out + whole);
    }

private:
    /// Codes [begin, begin + N) of a block, N at most a period; `begin` is a multiple of the period.
    template <class Bits, std::size_t B, std::size_t All, std::size_t N>
    QLIB_INLINE static void chunks(const std::byte* in, std::size_t begin, std::uint8_t* out) noexcept {
        [&]<std::size_t... C>(std::index_sequence<C...>) QLIB_INLINE_LAMBDA {
            (_mm512_storeu_si512(out + 64 * C,
                                 bring_codes<Bits, B, All, 64 * C, (N - 64 * C < 64 ? N - 64 * C : 64)>(in, begin)),
             ...);
        }
        (std::make_index_sequence<(N + 63) / 64>{});
    }
    /// M codes from begin + E on, all slices put together.
    template <class Bits, std::size_t B, std::size_t All, std::size_t E, std::size_t M>
    QLIB_INLINE static __m512i bring_codes(const std::byte* in, std::size_t begin) noexcept {
        return [&]<std::size_t... P>(std::index_sequence<P...>) QLIB_INLINE_LAMBDA {
            __m512i c = _mm512_setzero_si512();
            ((c = _mm512_or_si512(c, slice<Bits, B, P, E, M>(in, begin)), in += slice_bytes<Bits, B>(P, All)), ...);
            return c;
        }
        (std::make_index_sequence<slice_count<Bits>>{});
    }
    /// The part of M codes that lies in slice P, which starts at `in`.
    template <class Bits, std::size_t B, std::size_t P, std::size_t E, std::size_t M>
    QLIB_INLINE static __m512i slice(const std::byte* in, std::size_t begin) noexcept {
        constexpr code_slice what = slice_of<Bits, B>(P);
        constexpr const code_shuffle& s = shuffle<Bits, B, P, E, M>;
        constexpr __mmask64 window = s.bytes < 64 ? (std::uint64_t{1} << s.bytes % 64) - 1 : ~std::uint64_t{0};
        const std::byte* from =
            in + slice_bytes<Bits, B>(P, shuffle_period<Bits, B>) * (begin / shuffle_period<Bits, B>)+s.first;
        __m512i v = _mm512_maskz_loadu_epi8(window, from);
        if constexpr (s.moves_words) v = _mm512_permutexvar_epi32(_mm512_load_si512(s.words.data()), v);
        __m512i c;
        if constexpr (what.base3) {
            const __m512i even = digits<E % 5, 0>(_mm512_shuffle_epi8(v, _mm512_load_si512(s.even.data())));
            const __m512i odd = digits<E % 5, 1>(_mm512_shuffle_epi8(v, _mm512_load_si512(s.odd.data())));
            c = _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
        } else if constexpr (s.direct) {
            if constexpr (s.moves_bytes) v = _mm512_shuffle_epi8(v, _mm512_load_si512(s.even.data()));
            if constexpr (s.shifts) v = _mm512_srlv_epi16(v, _mm512_load_si512(s.right.data()));
            c = what.width < 8 ? _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>((1 << what.width) - 1))) : v;
        } else {
            constexpr int mask = (1 << what.width) - 1;
            const __m512i even = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, _mm512_load_si512(s.even.data())),
                                                   _mm512_load_si512(s.right.data()));
            const __m512i odd = _mm512_sllv_epi16(_mm512_shuffle_epi8(v, _mm512_load_si512(s.odd.data())),
                                                  _mm512_load_si512(s.left.data()));
            c = _mm512_or_si512(_mm512_and_si512(even, _mm512_set1_epi16(mask)),
                                _mm512_and_si512(odd, _mm512_set1_epi16(static_cast<short>(mask << 8))));
        }
        return what.shift != 0 ? _mm512_slli_epi16(c, what.shift) : c;
    }
    /// One base-3 digit of each 16-bit word below 256: digit (First + 2i + Odd) % 5 of word i. v / 3^j -
    /// 3 * (v / 3^(j+1)), by multiplication with 2^15 / 3^j rounded up, which is exact for v < 256.
    template <std::size_t First, std::size_t Odd> QLIB_INLINE static __m512i digits(__m512i v) noexcept {
        alignas(64) static constexpr auto factors = [] {
            constexpr unsigned power[6] = {1, 3, 9, 27, 81, 243};
            std::array<std::array<std::uint16_t, 32>, 2> f{};
            for (std::size_t i = 0; i < 32; ++i)
                for (std::size_t next = 0; next < 2; ++next) {
                    const unsigned p = power[(First + 2 * i + Odd) % 5 + next];
                    f[next][i] = static_cast<std::uint16_t>((32768 + p - 1) / p);
                }
            return f;
        }();
        const __m512i twice = _mm512_add_epi16(v, v);
        const __m512i here = _mm512_mulhi_epu16(twice, _mm512_load_si512(factors[0].data()));
        const __m512i above = _mm512_mulhi_epu16(twice, _mm512_load_si512(factors[1].data()));
        return _mm512_sub_epi16(here, _mm512_add_epi16(above, _mm512_add_epi16(above, above)));
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
