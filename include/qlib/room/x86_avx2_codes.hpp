#pragma once
// Codes to bytes for x86-64 with AVX2: the shuffles that a bit layout describes, kernel/code_shuffles.hpp.
#include "../kernel/code_shuffles.hpp"
#include "isa.hpp"
#include "target.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX2_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Shifts of 16-bit words, as AVX2 has them: of words of 32 bits, or as factors that bring a code to bit 8.
struct lane_shifts {
    alignas(32) std::array<std::uint32_t, 8> right{};
    alignas(32) std::array<std::uint16_t, 16> even{}, odd{};
};
template <const code_shuffle& S>
inline constexpr lane_shifts lane_shifts_of = [] {
    lane_shifts r;
    for (std::size_t i = 0; i < 16; ++i) {
        r.right[i / 2] = S.right[i];
        r.even[i] = static_cast<std::uint16_t>(1u << (8 - S.right[i]));
        r.odd[i] = static_cast<std::uint16_t>(1u << S.left[i]);
    }
    return r;
}();

struct avx2_codes {
    /// N codes of B bits, in order: by shuffles, or else one by one. Writes whole vectors of 32. Reads the codes' bytes
    /// only.
    template <class Bits, std::size_t B, std::size_t N>
    QLIB_INLINE static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        if constexpr (!can_shuffle<Bits, B, N, 32>)
            return Bits::template unpack<B, std::uint8_t>(in, std::span<std::uint8_t>(out, N));
        else unpack_vectors<Bits, B, N>(in, out);
    }
    /// 32 codes in a register: codes [begin + E, begin + E + 32) of a block of All,
    /// `begin` a multiple of the period. Reads the codes' bytes only.
    template <class Bits, std::size_t B, std::size_t All, std::size_t E, std::size_t>
    QLIB_INLINE static __m256i codes_of_lanes(const std::byte* in, std::size_t begin) noexcept {
        return bring_codes<Bits, B, All, E, 32>(in, begin);
    }

private:
    using vector = __m256i;
    static constexpr std::size_t shifted_together = 4;  // there are no shifts of single words of 16 bits
#include "code_vectors.inl"

    /// N bytes and no more, N <= 16; behind them zeros.
    template <std::size_t N> QLIB_INLINE static __m128i some_bytes(const std::byte* p) noexcept {
        if constexpr (N == 16) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        } else if constexpr (N >= 8) {  // two that overlap
            const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
            if constexpr (N == 8) return low;
            const __m128i high = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + N - 8));
            return _mm_or_si128(low, _mm_bslli_si128(high, N - 8));
        } else {
            std::uint64_t all = 0;
            std::memcpy(&all, p, N);
            return _mm_cvtsi64_si128(static_cast<long long>(all));
        }
    }
    /// The bytes of a slice, words in their lanes.
    template <const code_shuffle& S> QLIB_INLINE static __m256i piece(const std::byte* p) noexcept {
        if constexpr (S.bytes <= 16) {
            const __m128i v = some_bytes<S.bytes>(p);
            return S.moves_words ? _mm256_broadcastsi128_si256(v) : _mm256_castsi128_si256(v);
        } else {
            const auto* at = reinterpret_cast<const __m128i*>(p);
            if constexpr (S.bytes == 32 && !S.moves_words)
                return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
            const __m128i high = _mm_bsrli_si128(
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + S.bytes - 16)), 32 - S.bytes);
            const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(at)), high, 1);
            return S.moves_words ? _mm256_permutevar8x32_epi32(v, constant(S.words.data())) : v;
        }
    }
    template <code_slice What, std::size_t E, const code_shuffle& S>
    QLIB_INLINE static __m256i moved(__m256i v) noexcept {
        constexpr const lane_shifts& by = lane_shifts_of<S>;
        __m256i c;
        if constexpr (What.base3) {
            const __m256i even = digits<E % 5, 0>(_mm256_shuffle_epi8(v, constant(S.even.data())));
            const __m256i odd = digits<E % 5, 1>(_mm256_shuffle_epi8(v, constant(S.odd.data())));
            c = _mm256_or_si256(even, _mm256_slli_epi16(odd, 8));
        } else if constexpr (S.direct) {
            if constexpr (S.moves_bytes) v = _mm256_shuffle_epi8(v, constant(S.even.data()));
            if constexpr (S.shifts) v = _mm256_srlv_epi32(v, constant(by.right.data()));
            c = What.width < 8 ? _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>((1 << What.width) - 1))) : v;
        } else {
            constexpr int mask = (1 << What.width) - 1;
            const __m256i even = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, constant(S.even.data())),
                                                    constant(by.even.data()));
            const __m256i odd = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, constant(S.odd.data())),
                                                   constant(by.odd.data()));
            c = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(even, 8), _mm256_set1_epi16(mask)),
                                _mm256_and_si256(odd, _mm256_set1_epi16(static_cast<short>(mask << 8))));
        }
        return What.shift != 0 ? _mm256_slli_epi16(c, What.shift) : c;
    }
    QLIB_INLINE static __m256i constant(const void* p) noexcept {
        return _mm256_load_si256(static_cast<const __m256i*>(p));
    }
    /// One base-3 digit of each 16-bit word below 256: digit (First + 2i + Odd) % 5 of word i. v / 3^j - 3 * (v /
    /// 3^(j+1)), by multiplication with 2^15 / 3^j rounded up, which is exact for v < 256.
    template <std::size_t First, std::size_t Odd> QLIB_INLINE static __m256i digits(__m256i v) noexcept {
        alignas(32) static constexpr auto factors = base3_factors<First + Odd, 16>();
        const __m256i twice = _mm256_add_epi16(v, v);
        const __m256i here = _mm256_mulhi_epu16(twice, constant(factors[0].data()));
        const __m256i above = _mm256_mulhi_epu16(twice, constant(factors[1].data()));
        return _mm256_sub_epi16(here, _mm256_add_epi16(above, _mm256_add_epi16(above, above)));
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
