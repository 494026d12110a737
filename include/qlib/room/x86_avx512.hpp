#pragma once
// The room for x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
#include "portable.hpp"
#include "x86_avx512_codes.hpp"
#include "x86_avx512_moves.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct avx512 : avx512_codes {
    using room = avx512;
    static constexpr isa id = isa::avx512;
    static constexpr std::size_t width = 16;
    static constexpr bool looks_up_fast = true;
    static constexpr dot_instruction dot_form = dot_in_int32;
    /// 12: two sums for each leave 8 of the 32 registers; all 12 widths would take twice as long to compile.
    static constexpr std::array<std::size_t, 7> widths{12, 8, 6, 4, 3, 2, 1};
    static constexpr std::size_t most_dotted = 4, dot_columns = 4;
    static constexpr std::size_t most_summed = detail::most_summed;

#include "vectors.inl"

    // g++ 12 makes a comparison and a blend of the plain text.
    QLIB_INLINE static constexpr floats smaller(floats a, floats b) noexcept {
        return std::is_constant_evaluated() ? a : floats(_mm512_min_ps(b, a));
    }
    QLIB_INLINE static constexpr floats larger(floats a, floats b) noexcept {
        return std::is_constant_evaluated() ? a : floats(_mm512_max_ps(b, a));
    }
    QLIB_INLINE static constexpr ints smaller(ints a, ints b) noexcept {
        return std::is_constant_evaluated() ? a : ints(_mm512_min_epi32(__m512i(a), __m512i(b)));
    }
    QLIB_INLINE static constexpr ints larger(ints a, ints b) noexcept {
        return std::is_constant_evaluated() ? a : ints(_mm512_max_epi32(__m512i(a), __m512i(b)));
    }

    QLIB_INLINE static void put_4(std::uint8_t* p, ints a, ints b, ints c, ints d) noexcept {
        const __m512i ab = _mm512_packus_epi32(__m512i(a), __m512i(b)),
                      cd = _mm512_packus_epi32(__m512i(c), __m512i(d));
        const __m512i in_parts = _mm512_packus_epi16(ab, cd);  // part l: lanes 4l .. 4l+3 of a, b, c, d
        _mm512_storeu_si512(p, _mm512_permutexvar_epi32(
                                   _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), in_parts));
    }

    QLIB_INLINE static void barrier(floats& x) noexcept { asm("" : "+v"(x)); }
    QLIB_INLINE static float least_of(floats x) noexcept { return _mm512_reduce_min_ps(x); }
    QLIB_INLINE static bool any(mask m) noexcept { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m)) != 0; }
    QLIB_INLINE static floats square_root(floats x) noexcept {
        return _mm512_maskz_sqrt_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), x);
    }
    QLIB_INLINE static floats look_up(const std::array<float, 16>& table, ints i) noexcept {
        return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(i), _mm512_loadu_ps(table.data()));
    }
    template <class T> QLIB_INLINE static void widen_16(const std::byte* from, float* out) noexcept {
        _mm512_storeu_ps(out, avx512_widen<T>(from));
    }

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
            avx512_transpose_bytes(from + 16 * i, rows);
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

    using sixteen = floats;
    using integers = __m512i;
    using bytes = __m512i;  // 4 to a lane
    QLIB_INLINE static floats splat_16(float x) noexcept { return splat(x); }
    QLIB_INLINE static floats load(const float* p) noexcept { return _mm512_loadu_ps(p); }
    QLIB_INLINE static floats load(const float* p, std::size_t n) noexcept {
        return _mm512_maskz_loadu_ps(first(n), p);
    }
    template <class T> QLIB_INLINE static floats widen(const std::byte* p) noexcept { return avx512_widen<T>(p); }
    QLIB_INLINE static floats from_bytes(const std::int8_t* p) noexcept {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    /// The lanes whose bit is set, negated.
    QLIB_INLINE static floats negate(floats a, unsigned lanes) noexcept {
        return _mm512_mask_xor_ps(a, static_cast<__mmask16>(lanes), a, _mm512_set1_ps(-0.0f));
    }
    /// n floats or numbers of T to numbers of T, each rounded to nearest even; the NaN 7FC00000 to T's. `streamed`:
    /// whole lines go past the caches, and no other thread may count on seeing them before end_stream().
    template <class S, class T> static void put_numbers(const S* x, std::size_t n, T* out, bool streamed) noexcept {
        constexpr std::size_t line = 64 / sizeof(T);
        const std::size_t beyond = reinterpret_cast<std::uintptr_t>(out) % 64;
        streamed = streamed && beyond % sizeof(T) == 0;
        std::size_t i = 0;
        if (streamed && beyond != 0) put_some(x, i = smaller_size(n, (64 - beyond) / sizeof(T)), out);
        if (streamed)
            for (; i + line <= n; i += line) _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), narrow<T>(x + i));
        else
            for (; i + line <= n; i += line) _mm512_storeu_si512(out + i, narrow<T>(x + i));
        put_some(x + i, n - i, out + i);
    }
    static void end_stream() noexcept { _mm_sfence(); }
    QLIB_INLINE static void store(float* p, floats v) noexcept { _mm512_storeu_ps(p, v); }
    QLIB_INLINE static void store(float* p, floats v, std::size_t n) noexcept { _mm512_mask_storeu_ps(p, first(n), v); }
    QLIB_INLINE static floats multiply_add(floats a, floats b, floats c) noexcept { return _mm512_fmadd_ps(a, b, c); }
    /// NaNs become 7FC00000: the first operand where the table says 0, of kinds 0
    /// and 1, the quiet and the signalling ones.
    QLIB_INLINE static floats quiet(floats v) noexcept {
        return _mm512_fixupimm_ps(splat(float_of(0x7FC00000u)), v, _mm512_set1_epi32(0x11111100), 0);
    }

    using truths = __mmask16;
    QLIB_INLINE static truths less(floats a, floats b) noexcept { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
    QLIB_INLINE static floats select(truths t, floats yes, floats no) noexcept {
        return _mm512_mask_mov_ps(no, t, yes);
    }
    QLIB_INLINE static floats stamp(floats v, std::size_t k) noexcept {
        const __m512i last = _mm512_set1_epi32(127), bits = _mm512_castps_si512(v);
        return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(last, _mm512_set1_epi32(static_cast<int>(k)), bits, 0xCA));
    }
    QLIB_INLINE static floats stamped(floats v) noexcept {
        return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(127)));
    }

    QLIB_INLINE static integers splat_16(std::int32_t x) noexcept { return _mm512_set1_epi32(x); }
    QLIB_INLINE static bytes load_bytes(const std::uint8_t* p) noexcept { return _mm512_loadu_si512(p); }
    template <operand> QLIB_INLINE static integers dot(integers sum, bytes w, const std::int8_t* x) noexcept {
        std::int32_t four;
        std::memcpy(&four, x, sizeof four);
        sum = _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
        asm("" : "+v"(sum));  // keeps g++ from copying each sum twice a step
        return sum;
    }
    QLIB_INLINE static floats to_float(integers v) noexcept { return _mm512_cvtepi32_ps(v); }

    using lane_bytes = __m512i;
    QLIB_INLINE static lane_bytes get_bytes(const std::uint8_t* p) noexcept { return _mm512_loadu_si512(p); }
    template <operand>
    QLIB_INLINE static ints dot_lanes(ints sum, lane_bytes w, const std::int8_t* x) noexcept {
        return ints(_mm512_dpbusd_epi32(__m512i(sum), w, _mm512_loadu_si512(x)));
    }
    QLIB_INLINE static ints get_ints(const std::int32_t* p) noexcept { return ints(_mm512_loadu_si512(p)); }
    QLIB_INLINE static float sum_of(floats x) noexcept { return _mm512_reduce_add_ps(x); }
    QLIB_INLINE static void multiply_add_to(floats (&sum)[2], floats a, floats b) noexcept {
        sum[0] = multiply_add(a, b, sum[0]);
    }
    template <class F> QLIB_INLINE static lane_bytes operands_of(lane_bytes codes) noexcept {
        constexpr const operand_map& map = operand_map_of<F, dot_form>;
        if constexpr (!map.flips)
            return _mm512_shuffle_epi8(
                _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(map.table.data()))), codes);
        if constexpr (map.flip != 0) return _mm512_xor_si512(codes, _mm512_set1_epi8(static_cast<char>(map.flip)));
        return codes;
    }
    template <std::size_t Group> QLIB_INLINE static floats spread_lanes(const float* p, std::size_t v) noexcept {
        if constexpr (Group % 64 == 0) return splat(p[v * 64 / Group]);
        alignas(64) static constexpr auto from = lane_groups<Group, 16>();
        return _mm512_permutexvar_ps(_mm512_load_si512(from[v].data()), _mm512_load_ps(p));
    }
    template <class T, std::size_t Apart> QLIB_INLINE static floats widen_apart(const std::byte* p) noexcept {
        if constexpr (Apart == sizeof(T)) {
            return widen<T>(p);
        } else {
            static_assert(Apart >= 4);
            constexpr int d = Apart;
            const __m512i at = _mm512_setr_epi32(0, d, 2 * d, 3 * d, 4 * d, 5 * d, 6 * d, 7 * d, 8 * d, 9 * d, 10 * d,
                                                 11 * d, 12 * d, 13 * d, 14 * d, 15 * d);
            const __m512i v = _mm512_i32gather_epi32(at, p, 1);
            if constexpr (sizeof(T) == 4) return _mm512_castsi512_ps(v);
            if constexpr (std::same_as<T, bf16>) return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
            return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
        }
    }

    /// Whether codes of F are brought into bytes here.
    template <class F>
    static constexpr bool unpacks = [] {
        if constexpr (has_bit_layout<F>) return can_shuffle<typename F::bits, F::grid::bits, block_size<F>, 64>;
        else return false;
    }();
    /// Whether codes_of_lanes brings the codes of F.
    template <class F>
    static constexpr bool in_lanes = [] {
        if constexpr (unpacks<F>)
            return block_size<F> % 64 == 0 ||
                   (block_size<F> == 32 && can_shuffle<typename F::bits, F::grid::bits, 32, 32>);
        else return false;
    }();
    /// Blocks whose codes lie in one piece, as those of one longer block, and are brought into bytes together.
    template <class F>
    static constexpr std::size_t joined_blocks = [] {
        if constexpr (unpacks<F>) {
            constexpr std::size_t n = block_size<F>;
            using bits = typename F::bits;
            if (F::layout::planes_apart && slice_count<bits> == 1 && n < 64 && 64 % n == 0 &&
                n % slice_of<bits, F::grid::bits>(0).period == 0 && can_shuffle<bits, F::grid::bits, 64, 64>)
                return 64 / n;
        }
        return std::size_t{1};
    }();
    /// The level of 16 codes.
    template <class F> QLIB_INLINE static floats levels(const std::uint8_t* codes) noexcept {
        const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
        constexpr linear_levels line = linear_levels_of<F>;
        constexpr auto& table = level_table<F>;
        if constexpr (line.linear) {
            constexpr bool is_signed = line.flip == 128 && line.base == -128;
            __m512i c = is_signed ? _mm512_cvtepi8_epi32(packed) : _mm512_cvtepu8_epi32(packed);
            if constexpr (!is_signed && line.flip != 0)
                c = _mm512_xor_si512(c, _mm512_set1_epi32(static_cast<int>(line.flip)));
            if constexpr (!is_signed && line.base != 0) c = _mm512_add_epi32(c, _mm512_set1_epi32(line.base));
            const floats v = _mm512_cvtepi32_ps(c);
            return line.step != 1 ? times(v, splat(line.step)) : v;
        } else if constexpr (table.size() <= 16) {
            return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(packed), load(table.data(), table.size()));
        } else if constexpr (half_levels_of<F>.mantissa_bits != 0) {
            return small_floats<F>(packed);
        } else {
            const __m512i c = _mm512_cvtepu8_epi32(packed);
            return _mm512_i32gather_ps(_mm512_and_si512(c, _mm512_set1_epi32(static_cast<int>(table.size() - 1))),
                                       table.data(), 4);
        }
    }

    /// Whether blocks of F become numbers of T by look_up: all levels of a map, or of those of several groups, fit a
    /// vector, and serve many weights.
    template <class F, class T>
    static constexpr bool looks_up = [] {
        if constexpr (byte_codes<F> && sizeof(T) == 2)
            return F::group % 16 == 0 && groups_per_table<F> * F::group % 32 == 0 && groups_per_table<F> != 0;
        else return false;
    }();
    /// Numbers of Groups groups of Group codes: code c of group g is number
    /// c + Size * g of the 32 in a and b, rounded to T.
    template <std::size_t Groups, std::size_t Group, std::size_t Size, class T>
    QLIB_INLINE static void look_up(floats a, floats b, const std::uint8_t* codes, T* out) noexcept {
        const __m512i table = narrow<T>(a, b);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < Groups * Group; i += 32) {
            __m512i c = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i)));
            if constexpr (Groups > 1) {
                const auto first = static_cast<short>(i / Group * Size),
                           second = static_cast<short>((i + 16) / Group * Size);
                c = _mm512_add_epi16(c, _mm512_inserti64x4(_mm512_set1_epi16(first), _mm256_set1_epi16(second), 1));
            }
            _mm512_storeu_si512(out + i, _mm512_permutexvar_epi16(c, table));
        }
    }
    /// N numbers, N * Size <= 16: each in Size lanes, one after another; behind them the last.
    template <std::size_t Size, std::size_t N> QLIB_INLINE static floats spread(const float* p) noexcept {
        if constexpr (N == 1) {
            return splat(*p);
        } else {
            alignas(64) static constexpr auto from = [] {
                std::array<std::uint32_t, 16> w{};
                for (std::size_t i = 0; i < 16; ++i) w[i] = static_cast<std::uint32_t>(i / Size < N ? i / Size : N - 1);
                return w;
            }();
            static_assert(N == 2 || N == 4 || N == 8);  // no masked load: those wait until what was stored is in cache
            floats v;
            if constexpr (N == 8) v = _mm512_castps256_ps512(_mm256_loadu_ps(p));
            else if constexpr (N == 4) v = _mm512_castps128_ps512(_mm_loadu_ps(p));
            else v = _mm512_castps128_ps512(_mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
            return _mm512_permutexvar_ps(_mm512_load_si512(from.data()), v);
        }
    }

    static void to_operands(std::uint8_t* codes, std::size_t n, const operand_map& map) noexcept {
        if (map.flips && map.flip == 0) return;
        const __m512i flip = _mm512_set1_epi8(static_cast<char>(map.flip));
        for (std::size_t i = 0; i < n; i += 64) {
            const __m512i c = _mm512_loadu_si512(codes + i);
            _mm512_storeu_si512(codes + i, map.flips ? _mm512_xor_si512(c, flip) : look_up_bytes(map, c));
        }
    }

    /// 16 rows of 16 four-byte words, `stride` bytes apart, to 16 columns.
    QLIB_INLINE static void transpose(const std::byte* rows, std::size_t stride, std::byte* out) noexcept {
        __m512i a[16];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < 16; ++r) a[r] = _mm512_loadu_si512(rows + r * stride);
        avx512_transpose(a, out);
    }

    /// The bits of the largest magnitude: 0x7F800000 or more when one is not finite.
    static std::uint32_t largest_magnitude(const float* x, std::size_t n) noexcept {
        __m512i most = _mm512_setzero_si512();
        const __m512i no_sign = _mm512_set1_epi32(0x7FFFFFFF);
        for (std::size_t i = 0; i < n; i += 16)
            most = _mm512_max_epu32(
                most, _mm512_and_si512(_mm512_castps_si512(load(x + i, smaller_size(n - i, 16))), no_sign));
        return _mm512_reduce_max_epu32(most);
    }
    /// round_even(x * inverse), clamped to +-127; returns their sum. Writes whole vectors of 16.
    static std::int32_t round_activations(const float* x, std::size_t n, float inverse, std::int8_t* out) noexcept {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t i = 0; i < n; i += 16) {
            __m512i q = _mm512_cvtps_epi32(times(load(x + i, smaller_size(n - i, 16)), splat(inverse)));
            q = _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(largest_activation)),
                                 _mm512_set1_epi32(-largest_activation));
            sum = _mm512_add_epi32(sum, q);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(q));
        }
        return _mm512_reduce_add_epi32(sum);
    }

#include "texts.inl"

private:
    /// The f16s whose bits are a code's, moved to their places.
    template <class F> QLIB_INLINE static floats small_floats(__m128i codes) noexcept {
        constexpr half_levels h = half_levels_of<F>;
        constexpr unsigned sign = code_count<F> / 2, nan = h.first_nan << (10 - h.mantissa_bits);
        __m256i c = _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes), 16 - F::grid::bits);
        if constexpr (h.exponent_bits != 5) {
            c = _mm256_srai_epi16(c, 5 - h.exponent_bits);
            c = _mm256_and_si256(c,
                                 _mm256_set1_epi16(static_cast<short>(0x8000u | (sign - 1) << (10 - h.mantissa_bits))));
        }
        floats v = _mm512_cvtph_ps(c);
        if constexpr (h.factor != 1) v = times(v, splat(h.factor));
        if constexpr (h.first_nan != sign && nan <= 0x7C00) {  // f16 has no NaN there
            const __mmask16 is_nan = _mm256_cmpgt_epi16_mask(_mm256_and_si256(c, _mm256_set1_epi16(0x7FFF)),
                                                             _mm256_set1_epi16(static_cast<short>(nan - 1)));
            v = _mm512_mask_mov_ps(v, is_nan, splat(float_of(0x7FC00000u)));
        }
        return v;
    }

    /// A line of T: 64 bytes.
    template <class T, class S> QLIB_INLINE static __m512i narrow(const S* x) noexcept {
        if constexpr (std::same_as<T, S>) return _mm512_loadu_si512(x);
        else return narrow<T>(load(x), load(x + 16));
    }
    /// 32 floats rounded to nearest even; to bf16 by integers, which flush no denormals.
    template <class T> QLIB_INLINE static __m512i narrow(floats a, floats b) noexcept {
        if constexpr (std::same_as<T, f16>) {
            return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)),
                                      _mm512_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT), 1);
        } else {
            alignas(64) static constexpr auto halves = [] {
                std::array<std::array<std::uint16_t, 32>, 2> w{};
                for (std::size_t i = 0; i < 64; ++i) w[i % 2][i / 2] = static_cast<std::uint16_t>(i);
                return w;
            }();
            const __m512i low = _mm512_permutex2var_epi16(_mm512_castps_si512(a), _mm512_load_si512(halves[0].data()),
                                                          _mm512_castps_si512(b));
            const __m512i high = _mm512_permutex2var_epi16(_mm512_castps_si512(a), _mm512_load_si512(halves[1].data()),
                                                           _mm512_castps_si512(b));
            const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi16(1));
            const __mmask32 up = _mm512_cmpgt_epu16_mask(_mm512_adds_epu16(low, odd), _mm512_set1_epi16(-0x8000));
            return _mm512_mask_sub_epi16(high, up, high, _mm512_set1_epi16(-1));
        }
    }
    /// The first n numbers of a line.
    template <class S, class T> QLIB_INLINE static void put_some(const S* x, std::size_t n, T* out) noexcept {
        if (n == 0) return;
        S all[64 / sizeof(T)] = {};
        std::memcpy(static_cast<void*>(all), x, n * sizeof(S));
        const __m512i line = narrow<T>(all);
        std::memcpy(static_cast<void*>(out), &line, n * sizeof(T));
    }
    QLIB_INLINE static __mmask16 first(std::size_t n) noexcept { return static_cast<__mmask16>((1u << n) - 1); }

    QLIB_INLINE static __m512i look_up_bytes(const operand_map& map, __m512i c) noexcept {  // 16 entries at a time
        __m512i r = _mm512_setzero_si512();
        const __m512i low = _mm512_and_si512(c, _mm512_set1_epi8(15)),
                      high = _mm512_and_si512(c, _mm512_set1_epi8(-16));
        for (std::size_t i = 0; i < map.size; i += 16) {
            const __m512i part =
                _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(map.table.data() + i)));
            r = _mm512_mask_shuffle_epi8(r, _mm512_cmpeq_epi8_mask(high, _mm512_set1_epi8(static_cast<char>(i))), part,
                                         low);
        }
        return r;
    }
};
static_assert(room_vectors<avx512>);

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
