#pragma once
// The room for x86-64 with AVX2, FMA and F16C.
#include "portable.hpp"
#include "x86_avx2_codes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX2_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct avx2 : avx2_codes {
    using room = avx2;
    static constexpr isa id = isa::avx2;
    static constexpr std::size_t width = 8;
    static constexpr bool looks_up_fast = true;
    static constexpr dot_instruction dot_form = dot_in_int16_pairs;
    static constexpr std::array<std::size_t, 3> widths{4, 2, 1};
    static constexpr std::size_t most_dotted = 3, dot_columns = 2;
    static constexpr std::size_t most_summed = detail::most_summed;

#include "vectors.inl"

    // g++ 12 makes a comparison and a blend of the plain text.
    QLIB_INLINE static constexpr floats smaller(floats a, floats b) noexcept {
        return std::is_constant_evaluated() ? a : floats(_mm256_min_ps(b, a));
    }
    QLIB_INLINE static constexpr floats larger(floats a, floats b) noexcept {
        return std::is_constant_evaluated() ? a : floats(_mm256_max_ps(b, a));
    }
    QLIB_INLINE static constexpr ints smaller(ints a, ints b) noexcept {
        return std::is_constant_evaluated() ? a : ints(_mm256_min_epi32(__m256i(a), __m256i(b)));
    }
    QLIB_INLINE static constexpr ints larger(ints a, ints b) noexcept {
        return std::is_constant_evaluated() ? a : ints(_mm256_max_epi32(__m256i(a), __m256i(b)));
    }
    QLIB_INLINE static void barrier(floats& x) noexcept { asm("" : "+x"(x)); }
    QLIB_INLINE static floats multiply_add(floats a, floats b, floats c) noexcept { return _mm256_fmadd_ps(a, b, c); }
    QLIB_INLINE static float least_of(floats x) noexcept {
        __m128 v = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        v = _mm_min_ps(v, _mm_movehl_ps(v, v));
        return _mm_cvtss_f32(_mm_min_ss(v, _mm_movehdup_ps(v)));
    }
    QLIB_INLINE static bool any(mask m) noexcept { return _mm256_movemask_ps(reinterpret_cast<__m256>(m)) != 0; }
    QLIB_INLINE static floats square_root(floats x) noexcept {
        return _mm256_and_ps(_mm256_sqrt_ps(x), _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ));
    }
    QLIB_INLINE static floats look_up(const std::array<float, 16>& table, ints i) noexcept {
        const auto at = reinterpret_cast<__m256i>(i);
        const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.data()), at);
        const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.data() + 8), at);
        return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
    }
    QLIB_INLINE static void put_4(std::uint8_t* p, ints a, ints b, ints c, ints d) noexcept {
        const __m256i ab = _mm256_packus_epi32(__m256i(a), __m256i(b)),
                      cd = _mm256_packus_epi32(__m256i(c), __m256i(d));
        const __m256i halves = _mm256_packus_epi16(ab, cd);  // lanes 0 .. 3 of a, b, c, d, then lanes 4 .. 7
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(halves, order));
    }
    template <class T> QLIB_INLINE static floats widen_8(const std::byte* p) noexcept {
        if constexpr (sizeof(T) == 4) {
            return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
        } else {
            return widen_halves<T>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        }
    }
    template <class T> QLIB_INLINE static floats widen_halves(__m128i v) noexcept {
        if constexpr (std::same_as<T, f16>) return _mm256_cvtph_ps(v);
        else return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
    }
    template <class T> QLIB_INLINE static void widen_16(const std::byte* from, float* out) noexcept {
        _mm256_storeu_ps(out, widen_8<T>(from));
        _mm256_storeu_ps(out + 8, widen_8<T>(from + 8 * sizeof(T)));
    }
    static void gather_blocks(const float* const* from, std::size_t n, floats* out) noexcept {
        const std::size_t whole = n / 8 * 8;
        for (std::size_t i = 0; i < whole; i += 8) {
            __m256 a[8];
#pragma GCC unroll 8
            for (std::size_t l = 0; l < 8; ++l) a[l] = _mm256_loadu_ps(from[l] + i);
            transpose_8(a, out + i);
        }
        for (std::size_t l = 0; l < 8; ++l)
            for (std::size_t i = whole; i < n; ++i) set_lane(out[i], l, from[l][i]);
    }
    static void scatter_bytes(const std::uint8_t* from, std::size_t n, std::byte* const* to) noexcept {
        const std::size_t whole = n / 8 * 8;
        for (std::size_t i = 0; i < whole; i += 8) {
            __m128i a[4], b[4];  // a: byte i of all lanes beside byte i + 1; b: four bytes of each lane
#pragma GCC unroll 4
            for (std::size_t p = 0; p < 4; ++p) {
                const auto* at = reinterpret_cast<const __m128i*>(from + 8 * i + 16 * p);
                a[p] = _mm_unpacklo_epi8(_mm_loadu_si128(at), _mm_bsrli_si128(_mm_loadu_si128(at), 8));
            }
#pragma GCC unroll 2
            for (std::size_t p = 0; p < 4; p += 2) {
                b[p] = _mm_unpacklo_epi16(a[p], a[p + 1]);
                b[p + 1] = _mm_unpackhi_epi16(a[p], a[p + 1]);
            }
#pragma GCC unroll 4
            for (std::size_t q = 0; q < 4; ++q) {  // lanes 2q and 2q + 1
                const __m128i pair = q % 2 == 0 ? _mm_unpacklo_epi32(b[q / 2], b[q / 2 + 2])
                                                : _mm_unpackhi_epi32(b[q / 2], b[q / 2 + 2]);
                _mm_storel_epi64(reinterpret_cast<__m128i*>(to[2 * q] + i), pair);
                _mm_storel_epi64(reinterpret_cast<__m128i*>(to[2 * q + 1] + i), _mm_bsrli_si128(pair, 8));
            }
        }
        for (std::size_t l = 0; l < 8; ++l)
            for (std::size_t i = whole; i < n; ++i) to[l][i] = static_cast<std::byte>(from[8 * i + l]);
    }

#include "sixteen.inl"

    struct integers {
        __m256i part[2];
    };
    using bytes = integers;
    QLIB_INLINE static integers splat_16(std::int32_t x) noexcept {
        return {{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}};
    }
    QLIB_INLINE static bytes load_bytes(const std::uint8_t* p) noexcept {
        return {{get_bytes(p), get_bytes(p + 32)}};
    }
    template <operand How>
    QLIB_INLINE static integers dot(const integers& sum, const bytes& w, const std::int8_t* x) noexcept {
        std::int32_t four;
        std::memcpy(&four, x, sizeof four);
        const __m256i v = _mm256_set1_epi32(four);
        return {{add_products<How>(sum.part[0], w.part[0], v), add_products<How>(sum.part[1], w.part[1], v)}};
    }
    QLIB_INLINE static sixteen to_float(const integers& a) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return floats(_mm256_cvtepi32_ps(a.part[i])); });
    }

    using lane_bytes = __m256i;
    QLIB_INLINE static lane_bytes get_bytes(const std::uint8_t* p) noexcept {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    template <operand How>
    QLIB_INLINE static ints dot_lanes(ints sum, lane_bytes w, const std::int8_t* x) noexcept {
        return ints(add_products<How>(__m256i(sum), w, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
    }
    QLIB_INLINE static ints get_ints(const std::int32_t* p) noexcept {
        return ints(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    QLIB_INLINE static float sum_of(floats x) noexcept {
        __m128 v = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
    }
    template <class F> QLIB_INLINE static lane_bytes operands_of(lane_bytes codes) noexcept {
        constexpr const operand_map& map = operand_map_of<F, dot_form>;
        if constexpr (!map.flips)
            return _mm256_shuffle_epi8(
                _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(map.table.data()))),
                codes);
        if constexpr (map.flip != 0) return _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(map.flip)));
        return codes;
    }
    template <std::size_t Group> QLIB_INLINE static floats spread_lanes(const float* p, std::size_t v) noexcept {
        if constexpr (Group % 32 == 0) return splat(p[v * 32 / Group]);
        alignas(32) static constexpr auto from = lane_groups<Group, 8>();
        const auto at = _mm256_load_si256(reinterpret_cast<const __m256i*>(from[v].data()));
        if constexpr (Group == 16)  // what two halves of a vector hold is no load across them
            return _mm256_permutevar8x32_ps(
                _mm256_castpd_ps(_mm256_broadcast_sd(reinterpret_cast<const double*>(p + 2 * v))),
                _mm256_and_si256(at, _mm256_set1_epi32(1)));
        return _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + v * 32 / Group),
                                        _mm256_sub_epi32(at, _mm256_set1_epi32(static_cast<int>(v * 32 / Group))));
    }
    template <class T, std::size_t Apart> QLIB_INLINE static sixteen widen_apart(const std::byte* p) noexcept {
        if constexpr (Apart == sizeof(T)) {
            return widen<T>(p);
        } else {
            return each([&](std::size_t part) QLIB_INLINE_LAMBDA {
                const std::byte* at = p + part * 8 * Apart;
                if constexpr (sizeof(T) == 4) {
                    float v[8];
#pragma GCC unroll 8
                    for (std::size_t i = 0; i < 8; ++i) std::memcpy(v + i, at + i * Apart, sizeof(T));
                    return floats(_mm256_setr_ps(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]));
                } else {
                    std::int16_t v[8];
#pragma GCC unroll 8
                    for (std::size_t i = 0; i < 8; ++i) std::memcpy(v + i, at + i * Apart, sizeof(T));
                    return widen_halves<T>(_mm_setr_epi16(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]));
                }
            });
        }
    }

    /// Whether codes_of_lanes brings the codes of F.
    template <class F>
    static constexpr bool in_lanes = [] {
        if constexpr (has_bit_layout<F>)
            return block_size<F> % 32 == 0 && can_shuffle<typename F::bits, F::grid::bits, block_size<F>, 32>;
        else return false;
    }();

#include "texts.inl"

private:
    /// sum + the dot product of each lane's four bytes; sums of two products fit 16 bits, as dot_form sees to.
    template <operand How> QLIB_INLINE static __m256i add_products(__m256i sum, __m256i w, __m256i x) noexcept {
        const __m256i pairs = How == operand::sign_transfer
                                  ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                                  : _mm256_maddubs_epi16(w, x);
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    /// Rows of 8 floats to columns.
    QLIB_INLINE static void transpose_8(const __m256* a, floats* out) noexcept {
        __m256 b[8], c[8];
#pragma GCC unroll 4
        for (std::size_t r = 0; r < 8; r += 2) {
            b[r] = _mm256_unpacklo_ps(a[r], a[r + 1]);
            b[r + 1] = _mm256_unpackhi_ps(a[r], a[r + 1]);
        }
#pragma GCC unroll 2
        for (std::size_t r = 0; r < 8; r += 4) {  // c[r + j]: columns j and j + 4 of rows r .. r + 3
            c[r] = _mm256_shuffle_ps(b[r], b[r + 2], 0x44);
            c[r + 1] = _mm256_shuffle_ps(b[r], b[r + 2], 0xEE);
            c[r + 2] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0x44);
            c[r + 3] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0xEE);
        }
#pragma GCC unroll 4
        for (std::size_t j = 0; j < 4; ++j) {
            out[j] = _mm256_permute2f128_ps(c[j], c[j + 4], 0x20);
            out[j + 4] = _mm256_permute2f128_ps(c[j], c[j + 4], 0x31);
        }
    }
};
static_assert(room_vectors<avx2>);

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
