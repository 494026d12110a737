#pragma once
// The room for x86-64 with AVX-512 F, BW, DQ, VL and VNNI: its vectors, its shuffles, and the kernels over them. Its lanes: x86_avx512_lanes.hpp.
#include "../fit/lattice_octets.hpp"
#include "../format/lattice_tables.hpp"
#include "../store/view.hpp"
#include "code_shuffles.hpp"
#include "gemm_plan.hpp"
#include "operands.hpp"
#include "x86_avx512_lanes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct avx512 {
    static constexpr isa id = isa::avx512;
    using lanes = avx512_lanes;
    static constexpr dot_instruction dot_form = dot_in_int32;
    /// Columns of Y in one tile, the widest first. 12: two sums for each leave 8 of the 32 registers; all 12 widths would take twice as long to compile.
    static constexpr std::array<std::size_t, 7> widths{12, 8, 6, 4, 3, 2, 1};
    static constexpr std::size_t tile_columns = widths[0];
    static constexpr std::size_t most_summed = detail::most_summed;

    using floats = __m512;    // 16 of each
    using integers = __m512i;
    using bytes = __m512i;    // 4 to a lane

    // Floats by the compilers' own operators: unlike the intrinsics they obey the room's pragmas against -ffast-math.
    QLIB_INLINE static floats splat(float x) noexcept { return _mm512_set1_ps(x); }
    QLIB_INLINE static floats load(const float* p) noexcept { return _mm512_loadu_ps(p); }
    QLIB_INLINE static floats load(const float* p, std::size_t n) noexcept { return _mm512_maskz_loadu_ps(first(n), p); }
    template <class T> QLIB_INLINE static floats widen(const std::byte* p) noexcept { return avx512_widen<T>(p); }
    QLIB_INLINE static floats from_bytes(const std::int8_t* p) noexcept {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    /// The lanes whose bit is set, negated.
    QLIB_INLINE static floats negate(floats a, unsigned lanes) noexcept { return _mm512_mask_xor_ps(a, static_cast<__mmask16>(lanes), a, _mm512_set1_ps(-0.0f)); }
    /// n floats or numbers of T to numbers of T, each rounded to nearest even; the NaN 7FC00000 to T's. `streamed`: whole lines go past the caches, and no other
    /// thread may count on seeing them before end_stream().
    template <class S, class T> static void put(const S* x, std::size_t n, T* out, bool streamed) noexcept {
        constexpr std::size_t line = 64 / sizeof(T);
        const std::size_t beyond = reinterpret_cast<std::uintptr_t>(out) % 64;
        streamed = streamed && beyond % sizeof(T) == 0;
        std::size_t i = 0;
        if (streamed && beyond != 0) put_some(x, i = smaller_size(n, (64 - beyond) / sizeof(T)), out);
        if (streamed) for (; i + line <= n; i += line) _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), narrow<T>(x + i));
        else for (; i + line <= n; i += line) _mm512_storeu_si512(out + i, narrow<T>(x + i));
        put_some(x + i, n - i, out + i);
    }
    static void end_stream() noexcept { _mm_sfence(); }
    QLIB_INLINE static void store(float* p, floats v) noexcept { _mm512_storeu_ps(p, v); }
    QLIB_INLINE static void store(float* p, floats v, std::size_t n) noexcept { _mm512_mask_storeu_ps(p, first(n), v); }
    QLIB_INLINE static floats plus(floats a, floats b) noexcept { return a + b; }
    QLIB_INLINE static floats minus(floats a, floats b) noexcept { return a - b; }
    QLIB_INLINE static floats times(floats a, floats b) noexcept {
        floats p = a * b;
        asm("" : "+v"(p));  // no pragma keeps clang 14 from fusing it into a following addition
        return p;
    }
    QLIB_INLINE static floats multiply_add(floats a, floats b, floats c) noexcept { return _mm512_fmadd_ps(a, b, c); }
    /// NaNs become 7FC00000: the first operand where the table says 0, of kinds 0 and 1, the quiet and the signalling ones.
    QLIB_INLINE static floats quiet(floats v) noexcept { return _mm512_fixupimm_ps(splat(float_of(0x7FC00000u)), v, _mm512_set1_epi32(0x11111100), 0); }

    QLIB_INLINE static __mmask16 less(floats a, floats b) noexcept { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
    QLIB_INLINE static floats pick(__mmask16 t, floats yes, floats no) noexcept { return _mm512_mask_mov_ps(no, t, yes); }
    QLIB_INLINE static floats smallest(floats a, floats b) noexcept { return _mm512_min_ps(a, b); }
    QLIB_INLINE static floats stamp(floats v, std::size_t k) noexcept {
        const __m512i last = _mm512_set1_epi32(127), bits = _mm512_castps_si512(v);
        return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(last, _mm512_set1_epi32(static_cast<int>(k)), bits, 0xCA));
    }
    QLIB_INLINE static floats stamped(floats v) noexcept { return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(127))); }

    QLIB_INLINE static integers splat(std::int32_t x) noexcept { return _mm512_set1_epi32(x); }
    QLIB_INLINE static bytes load_bytes(const std::uint8_t* p) noexcept { return _mm512_loadu_si512(p); }
    QLIB_INLINE static integers dot(integers sum, bytes w, const std::int8_t* x) noexcept {
        std::int32_t four;
        std::memcpy(&four, x, sizeof four);
        sum = _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
        asm("" : "+v"(sum));  // keeps g++ from copying each sum twice a step
        return sum;
    }
    QLIB_INLINE static floats to_float(integers v) noexcept { return _mm512_cvtepi32_ps(v); }

    /// Whether codes of F are brought into bytes here.
    template <class F> static constexpr bool unpacks = [] {
        if constexpr (has_bit_layout<F>) return can_shuffle<typename F::bits, F::grid::bits, block_size<F>>;
        else return false;
    }();
    /// Blocks whose codes lie in one piece, as those of one longer block, and are brought into bytes together.
    template <class F> static constexpr std::size_t joined_blocks = [] {
        if constexpr (unpacks<F>) {
            constexpr std::size_t n = block_size<F>;
            using bits = typename F::bits;
            if (F::layout::planes_apart && slice_count<bits> == 1 && n < 64 && 64 % n == 0 && n % slice_of<bits, F::grid::bits>(0).period == 0 &&
                can_shuffle<bits, F::grid::bits, 64>)
                return 64 / n;
        }
        return std::size_t{1};
    }();
    /// The codes of one block, or of some joined ones, in order. Writes whole vectors of 64: `out` holds as many as that. Reads the codes' bytes only.
    template <class F, std::size_t Blocks = 1> QLIB_INLINE static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        using bits = typename F::bits;
        constexpr std::size_t n = Blocks * block_size<F>, period = shuffle_period<bits, F::grid::bits>, whole = n / period * period;
        for (std::size_t e = 0; e < whole; e += period) chunks<F, period>(in, e, out + e);
        if constexpr (whole != n) chunks<F, n - whole>(in, whole, out + whole);
    }

    /// The level of 16 codes.
    template <class F> QLIB_INLINE static floats levels(const std::uint8_t* codes) noexcept {
        const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
        constexpr linear_levels line = linear_levels_of<F>;
        constexpr auto& table = level_table<F>;
        if constexpr (line.linear) {
            constexpr bool is_signed = line.flip == 128 && line.base == -128;
            __m512i c = is_signed ? _mm512_cvtepi8_epi32(packed) : _mm512_cvtepu8_epi32(packed);
            if constexpr (!is_signed && line.flip != 0) c = _mm512_xor_si512(c, _mm512_set1_epi32(static_cast<int>(line.flip)));
            if constexpr (!is_signed && line.base != 0) c = _mm512_add_epi32(c, _mm512_set1_epi32(line.base));
            const floats v = _mm512_cvtepi32_ps(c);
            return line.step != 1 ? times(v, splat(line.step)) : v;
        } else if constexpr (table.size() <= 16) {
            return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(packed), load(table.data(), table.size()));
        } else if constexpr (half_levels_of<F>.mantissa_bits != 0) {
            return small_floats<F>(packed);
        } else {
            const __m512i c = _mm512_cvtepu8_epi32(packed);
            return _mm512_i32gather_ps(_mm512_and_si512(c, _mm512_set1_epi32(static_cast<int>(table.size() - 1))), table.data(), 4);
        }
    }

    /// Whether blocks of F become numbers of T by look_up: all levels of a map, or of those of several groups, fit a vector, and serve many weights.
    template <class F, class T> static constexpr bool looks_up = [] {
        if constexpr (byte_codes<F> && sizeof(T) == 2) return F::group % 16 == 0 && groups_per_table<F> * F::group % 32 == 0 && groups_per_table<F> != 0;
        else return false;
    }();
    /// Numbers of Groups groups of Group codes: code c of group g is number c + Size * g of the 32 in a and b, rounded to T.
    template <std::size_t Groups, std::size_t Group, std::size_t Size, class T>
    QLIB_INLINE static void look_up(floats a, floats b, const std::uint8_t* codes, T* out) noexcept {
        const __m512i table = narrow<T>(a, b);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < Groups * Group; i += 32) {
            __m512i c = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i)));
            if constexpr (Groups > 1) {
                const auto first = static_cast<short>(i / Group * Size), second = static_cast<short>((i + 16) / Group * Size);
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
            return _mm512_permutexvar_ps(_mm512_load_si512(from.data()), load(p, N));
        }
    }

    /// Codes to operands of the dot product, in place, by whole vectors of 64.
    template <class F> QLIB_INLINE static void to_operands(std::uint8_t* codes, std::size_t n) noexcept {
        for (std::size_t i = 0; i < n; i += 64) _mm512_storeu_si512(codes + i, operands<F>(_mm512_loadu_si512(codes + i)));
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
            most = _mm512_max_epu32(most, _mm512_and_si512(_mm512_castps_si512(load(x + i, smaller_size(n - i, 16))), no_sign));
        return _mm512_reduce_max_epu32(most);
    }
    /// round_even(x * inverse), clamped to +-127; returns their sum. Writes whole vectors of 16.
    static std::int32_t quantize(const float* x, std::size_t n, float inverse, std::int8_t* out) noexcept {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t i = 0; i < n; i += 16) {
            __m512i q = _mm512_cvtps_epi32(times(load(x + i, smaller_size(n - i, 16)), splat(inverse)));
            q = _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(largest_activation)), _mm512_set1_epi32(-largest_activation));
            sum = _mm512_add_epi32(sum, q);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(q));
        }
        return _mm512_reduce_add_epi32(sum);
    }

#include "blocks.inl"
#include "gemm.inl"
#include "../fit/lattice_nearest.inl"
#include "../fit/lattice_search.inl"

private:
    /// The f16s whose bits are a code's, moved to their places.
    template <class F> QLIB_INLINE static floats small_floats(__m128i codes) noexcept {
        constexpr half_levels h = half_levels_of<F>;
        constexpr unsigned sign = code_count<F> / 2, nan = h.first_nan << (10 - h.mantissa_bits);
        __m256i c = _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes), 16 - F::grid::bits);
        if constexpr (h.exponent_bits != 5) {
            c = _mm256_srai_epi16(c, 5 - h.exponent_bits);
            c = _mm256_and_si256(c, _mm256_set1_epi16(static_cast<short>(0x8000u | (sign - 1) << (10 - h.mantissa_bits))));
        }
        floats v = _mm512_cvtph_ps(c);
        if constexpr (h.factor != 1) v = times(v, splat(h.factor));
        if constexpr (h.first_nan != sign && nan <= 0x7C00) {  // f16 has no NaN there
            const __mmask16 is_nan = _mm256_cmpgt_epi16_mask(_mm256_and_si256(c, _mm256_set1_epi16(0x7FFF)), _mm256_set1_epi16(static_cast<short>(nan - 1)));
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
            return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)), _mm512_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT), 1);
        } else {
            alignas(64) static constexpr auto halves = [] {
                std::array<std::array<std::uint16_t, 32>, 2> w{};
                for (std::size_t i = 0; i < 64; ++i) w[i % 2][i / 2] = static_cast<std::uint16_t>(i);
                return w;
            }();
            const __m512i low = _mm512_permutex2var_epi16(_mm512_castps_si512(a), _mm512_load_si512(halves[0].data()), _mm512_castps_si512(b));
            const __m512i high = _mm512_permutex2var_epi16(_mm512_castps_si512(a), _mm512_load_si512(halves[1].data()), _mm512_castps_si512(b));
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

    /// Codes [begin, begin + N) of a block, N at most a period; `begin` is a multiple of the period.
    template <class F, std::size_t N> QLIB_INLINE static void chunks(const std::byte* in, std::size_t begin, std::uint8_t* out) noexcept {
        [&]<std::size_t... C>(std::index_sequence<C...>) QLIB_INLINE_LAMBDA {
            (_mm512_storeu_si512(out + 64 * C, bring_codes<F, 64 * C, (N - 64 * C < 64 ? N - 64 * C : 64)>(in, begin)), ...);
        }(std::make_index_sequence<(N + 63) / 64>{});
    }
    /// M codes from begin + E on, all slices put together.
    template <class F, std::size_t E, std::size_t M> QLIB_INLINE static __m512i bring_codes(const std::byte* in, std::size_t begin) noexcept {
        using bits = typename F::bits;
        return [&]<std::size_t... P>(std::index_sequence<P...>) QLIB_INLINE_LAMBDA {
            __m512i c = _mm512_setzero_si512();
            ((c = _mm512_or_si512(c, slice<bits, F::grid::bits, P, E, M>(in, begin)),
              in += slice_bytes<bits, F::grid::bits>(P, block_size<F>)), ...);
            return c;
        }(std::make_index_sequence<slice_count<bits>>{});
    }
    /// The part of M codes that lies in slice P, which starts at `in`.
    template <class Bits, std::size_t B, std::size_t P, std::size_t E, std::size_t M>
    QLIB_INLINE static __m512i slice(const std::byte* in, std::size_t begin) noexcept {
        constexpr code_slice what = slice_of<Bits, B>(P);
        constexpr const code_shuffle& s = shuffle<Bits, B, P, E, M>;
        constexpr __mmask64 window = s.bytes < 64 ? (std::uint64_t{1} << s.bytes % 64) - 1 : ~std::uint64_t{0};
        const std::byte* from = in + slice_bytes<Bits, B>(P, shuffle_period<Bits, B>) * (begin / shuffle_period<Bits, B>) + s.first;
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
            const __m512i even = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, _mm512_load_si512(s.even.data())), _mm512_load_si512(s.right.data()));
            const __m512i odd = _mm512_sllv_epi16(_mm512_shuffle_epi8(v, _mm512_load_si512(s.odd.data())), _mm512_load_si512(s.left.data()));
            c = _mm512_or_si512(_mm512_and_si512(even, _mm512_set1_epi16(mask)), _mm512_and_si512(odd, _mm512_set1_epi16(static_cast<short>(mask << 8))));
        }
        return what.shift != 0 ? _mm512_slli_epi16(c, what.shift) : c;
    }
    /// One base-3 digit of each 16-bit word below 256: digit (First + 2i + Odd) % 5 of word i. v / 3^j - 3 * (v / 3^(j+1)), by multiplication with
    /// 2^15 / 3^j rounded up, which is exact for v < 256.
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

    template <class F> QLIB_INLINE static __m512i operands(__m512i c) noexcept {
        constexpr auto& table = operand_table<F, dot_form>;
        constexpr unsigned flip = table[0];  // codes with some bits flipped: the operands of all linear grids
        constexpr bool flips = [] {
            for (unsigned i = 0; i < table.size(); ++i)
                if (table[i] != (i ^ flip)) return false;
            return true;
        }();
        if constexpr (flips) {
            return flip != 0 ? _mm512_xor_si512(c, _mm512_set1_epi8(static_cast<char>(flip))) : c;
        } else {
            __m512i r = _mm512_setzero_si512();
            const __m512i low = _mm512_and_si512(c, _mm512_set1_epi8(15)), high = _mm512_and_si512(c, _mm512_set1_epi8(static_cast<char>(0xF0)));
            for (std::size_t i = 0; i < table.size(); i += 16) {  // 16 entries at a time
                const __m128i part = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << smaller_size(table.size() - i, 16)) - 1), table.data() + i);
                r = _mm512_mask_shuffle_epi8(r, _mm512_cmpeq_epi8_mask(high, _mm512_set1_epi8(static_cast<char>(i))), _mm512_broadcast_i32x4(part), low);
            }
            return r;
        }
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif
