#pragma once
// The encoders' lanes for x86-64 with AVX-512 F, BW, DQ, VL and VNNI: 16 blocks at once, one in each lane of its vectors.
#include "../fit/search_outer.hpp"
#include "../store/encode.hpp"
#include "operands.hpp"
#include "room.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// 16 numbers of a small type, at any address.
template <class T> QLIB_INLINE inline __m512 avx512_widen(const std::byte* p) noexcept {
    if constexpr (sizeof(T) == 4) return _mm512_loadu_ps(p);
    else if constexpr (std::same_as<T, f16>) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    else return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
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
        const __m512i p = _mm512_shuffle_i32x4(a[j], a[j + 4], 0x44), q = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0x44);
        const __m512i u = _mm512_shuffle_i32x4(a[j], a[j + 4], 0xEE), v = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0xEE);
        _mm512_storeu_si512(out + 64 * j, _mm512_shuffle_i32x4(p, q, 0x88));
        _mm512_storeu_si512(out + 64 * (j + 4), _mm512_shuffle_i32x4(p, q, 0xDD));
        _mm512_storeu_si512(out + 64 * (j + 8), _mm512_shuffle_i32x4(u, v, 0x88));
        _mm512_storeu_si512(out + 64 * (j + 12), _mm512_shuffle_i32x4(u, v, 0xDD));
    }
}

struct avx512;

/// 16 blocks at once, one in each lane.
struct avx512_lanes {
    using lanes = avx512_lanes;
    using room = avx512;
    static constexpr std::size_t width = 16;
    static constexpr bool looks_up_fast = true;
#include "lanes.inl"

    // g++ 12 makes a comparison and a blend of the plain text.
    QLIB_INLINE static constexpr floats smaller(floats a, floats b) noexcept { return std::is_constant_evaluated() ? a : floats(_mm512_min_ps(b, a)); }
    QLIB_INLINE static constexpr floats larger(floats a, floats b) noexcept { return std::is_constant_evaluated() ? a : floats(_mm512_max_ps(b, a)); }
    QLIB_INLINE static constexpr ints smaller(ints a, ints b) noexcept { return std::is_constant_evaluated() ? a : ints(_mm512_min_epi32(__m512i(a), __m512i(b))); }
    QLIB_INLINE static constexpr ints larger(ints a, ints b) noexcept { return std::is_constant_evaluated() ? a : ints(_mm512_max_epi32(__m512i(a), __m512i(b))); }

    QLIB_INLINE static void put_4(std::uint8_t* p, ints a, ints b, ints c, ints d) noexcept {
        const __m512i ab = _mm512_packus_epi32(__m512i(a), __m512i(b)), cd = _mm512_packus_epi32(__m512i(c), __m512i(d));
        const __m512i in_parts = _mm512_packus_epi16(ab, cd);  // part l: lanes 4l .. 4l+3 of a, b, c, d
        _mm512_storeu_si512(p, _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), in_parts));
    }

    QLIB_INLINE static void barrier(floats& x) noexcept { asm("" : "+v"(x)); }
    QLIB_INLINE static float least_of(floats x) noexcept { return _mm512_reduce_min_ps(x); }
    QLIB_INLINE static bool any(mask m) noexcept { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m)) != 0; }
    QLIB_INLINE static floats square_root(floats x) noexcept { return _mm512_maskz_sqrt_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), x); }
    QLIB_INLINE static floats look_up(const std::array<float, 16>& table, ints i) noexcept {
        return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(i), _mm512_loadu_ps(table.data()));
    }
    template <class T> QLIB_INLINE static void widen_16(const std::byte* from, float* out) noexcept { _mm512_storeu_ps(out, avx512_widen<T>(from)); }

    static void gather_blocks(const float* const* from, std::size_t n, floats* out) noexcept {
        const std::size_t whole = n / 16 * 16;
        for (std::size_t i = 0; i < whole; i += 16) {
            __m512i rows[16];
#pragma GCC unroll 16
            for (std::size_t l = 0; l < 16; ++l) rows[l] = _mm512_loadu_si512(from[l] + i);
            avx512_transpose(rows, reinterpret_cast<std::byte*>(out + i));
        }
        for (std::size_t l = 0; l < 16; ++l)
            for (std::size_t i = whole; i < n; ++i) set_lane(out[i], l, from[l][i]);
    }
    static void scatter_bytes(const std::uint8_t* from, std::size_t n, std::byte* const* to) noexcept {
        const std::size_t whole = n / 16 * 16;
        for (std::size_t i = 0; i < whole; i += 16) {
            __m512i rows[4];  // of four lanes each
            transpose_bytes(from + 16 * i, rows);
#pragma GCC unroll 4
            for (std::size_t q = 0; q < 4; ++q) {
                _mm_storeu_si128(reinterpret_cast<__m128i*>(to[4 * q] + i), _mm512_extracti32x4_epi32(rows[q], 0));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(to[4 * q + 1] + i), _mm512_extracti32x4_epi32(rows[q], 1));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(to[4 * q + 2] + i), _mm512_extracti32x4_epi32(rows[q], 2));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(to[4 * q + 3] + i), _mm512_extracti32x4_epi32(rows[q], 3));
            }
        }
        for (std::size_t l = 0; l < 16; ++l)
            for (std::size_t i = whole; i < n; ++i) to[l][i] = static_cast<std::byte>(from[16 * i + l]);
    }

private:
    /// A 16 x 16 matrix of bytes, transposed: four of its rows to a vector.
    QLIB_INLINE static void transpose_bytes(const std::uint8_t* from, __m512i* out) noexcept {
        // Words of 4 bytes first, as 4 x 4 inside each 16-byte row quadruple; then the words of equal place together.
        const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        __m512i quad[4];
#pragma GCC unroll 4
        for (std::size_t r = 0; r < 4; ++r) {  // rows 4r .. 4r+3: word (column quarter c, row) -> c-major, then 4 x 4 bytes
            quad[r] = _mm512_permutexvar_epi32(words, _mm512_loadu_si512(from + 64 * r));
            quad[r] = _mm512_shuffle_epi8(quad[r], bytes);  // 128-bit part c: columns 4c .. 4c+3, four rows each
        }
        const __m512i ab_low = _mm512_unpacklo_epi32(quad[0], quad[1]), ab_high = _mm512_unpackhi_epi32(quad[0], quad[1]);
        const __m512i cd_low = _mm512_unpacklo_epi32(quad[2], quad[3]), cd_high = _mm512_unpackhi_epi32(quad[2], quad[3]);
        const __m512i column0 = _mm512_unpacklo_epi64(ab_low, cd_low), column1 = _mm512_unpackhi_epi64(ab_low, cd_low);
        const __m512i column2 = _mm512_unpacklo_epi64(ab_high, cd_high), column3 = _mm512_unpackhi_epi64(ab_high, cd_high);
        // part c of column_j is column 4c + j
        const __m512i p = _mm512_shuffle_i32x4(column0, column1, 0x44), q = _mm512_shuffle_i32x4(column0, column1, 0xEE);
        const __m512i r = _mm512_shuffle_i32x4(column2, column3, 0x44), s = _mm512_shuffle_i32x4(column2, column3, 0xEE);
        out[0] = _mm512_shuffle_i32x4(p, r, 0x88);
        out[1] = _mm512_shuffle_i32x4(p, r, 0xDD);
        out[2] = _mm512_shuffle_i32x4(q, s, 0x88);
        out[3] = _mm512_shuffle_i32x4(q, s, 0xDD);
    }

public:
#include "../format/range.inl"
#include "../fit/plain.inl"
#include "../fit/ggml_search.inl"
#include "../fit/ggml_blocks.inl"
#include "../fit/search.inl"
#include "../fit/search_outer.inl"
#include "pack_codes.inl"
#include "encode_blocks.inl"
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
