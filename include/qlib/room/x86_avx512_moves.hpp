#pragma once
// What the room for AVX-512 does to rows of numbers on their way into lanes and out: widening, and transposition.
#include "../numeric/minifloat.hpp"
#include "isa.hpp"
#include "target.hpp"

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// 16 numbers of a small type, at any address.
template <class T> QLIB_INLINE inline __m512 avx512_widen(const std::byte* p) noexcept {
    if constexpr (sizeof(T) == 4) return _mm512_loadu_ps(p);
    else if constexpr (std::same_as<T, f16>)
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    else
        return _mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}

/// 16 rows of 16 four-byte words to 16 columns.
QLIB_INLINE inline void avx512_transpose(__m512i* a, std::byte* out) noexcept {
    __m512i b[16];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < 16; r += 2) {
        b[r] = _mm512_unpacklo_epi32(a[r], a[r + 1]);
        b[r + 1] = _mm512_unpackhi_epi32(a[r], a[r + 1]);
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < 16; r += 4) {  // a[4i + j]: column 4q + j of rows 4i.. in lane q
        a[r] = _mm512_unpacklo_epi64(b[r], b[r + 2]);
        a[r + 1] = _mm512_unpackhi_epi64(b[r], b[r + 2]);
        a[r + 2] = _mm512_unpacklo_epi64(b[r + 1], b[r + 3]);
        a[r + 3] = _mm512_unpackhi_epi64(b[r + 1], b[r + 3]);
    }
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
        const __m512i p = _mm512_shuffle_i32x4(a[j], a[j + 4], 0x44),
                      q = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0x44);
        const __m512i u = _mm512_shuffle_i32x4(a[j], a[j + 4], 0xEE),
                      v = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0xEE);
        _mm512_storeu_si512(out + 64 * j, _mm512_shuffle_i32x4(p, q, 0x88));
        _mm512_storeu_si512(out + 64 * (j + 4), _mm512_shuffle_i32x4(p, q, 0xDD));
        _mm512_storeu_si512(out + 64 * (j + 8), _mm512_shuffle_i32x4(u, v, 0x88));
        _mm512_storeu_si512(out + 64 * (j + 12), _mm512_shuffle_i32x4(u, v, 0xDD));
    }
}

/// A 16 x 16 matrix of bytes, transposed: four of its rows to a vector.
QLIB_INLINE inline void avx512_transpose_bytes(const std::uint8_t* from, __m512i* out) noexcept {
    // Words of 4 bytes first, as 4 x 4 inside each 16-byte row quadruple; then the words of equal place together.
    const __m512i bytes =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i quad[4];
#pragma GCC unroll 4
    for (std::size_t r = 0; r < 4; ++r) {
        // rows 4r .. 4r+3: word (column quarter c, row) -> c-major, then 4 x 4 bytes
        quad[r] = _mm512_permutexvar_epi32(words, _mm512_loadu_si512(from + 64 * r));
        quad[r] = _mm512_shuffle_epi8(quad[r], bytes);  // 128-bit part c: columns 4c .. 4c+3, four rows each
    }
    const __m512i ab_low = _mm512_unpacklo_epi32(quad[0], quad[1]),
                  ab_high = _mm512_unpackhi_epi32(quad[0], quad[1]);
    const __m512i cd_low = _mm512_unpacklo_epi32(quad[2], quad[3]),
                  cd_high = _mm512_unpackhi_epi32(quad[2], quad[3]);
    const __m512i column0 = _mm512_unpacklo_epi64(ab_low, cd_low), column1 = _mm512_unpackhi_epi64(ab_low, cd_low);
    const __m512i column2 = _mm512_unpacklo_epi64(ab_high, cd_high),
                  column3 = _mm512_unpackhi_epi64(ab_high, cd_high);
    // part c of column_j is column 4c + j
    const __m512i p = _mm512_shuffle_i32x4(column0, column1, 0x44),
                  q = _mm512_shuffle_i32x4(column0, column1, 0xEE);
    const __m512i r = _mm512_shuffle_i32x4(column2, column3, 0x44),
                  s = _mm512_shuffle_i32x4(column2, column3, 0xEE);
    out[0] = _mm512_shuffle_i32x4(p, r, 0x88);
    out[1] = _mm512_shuffle_i32x4(p, r, 0xDD);
    out[2] = _mm512_shuffle_i32x4(q, s, 0x88);
    out[3] = _mm512_shuffle_i32x4(q, s, 0xDD);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
