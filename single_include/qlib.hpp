// qlib 0.1.0, all of it in one file: written by amalgamate.py from include/qlib, not to be edited.
//
// MIT License
//
// Copyright (c) 2026 the qlib authors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy
// of this software and associated documentation files (the "Software"), to deal
// in the Software without restriction, including without limitation the rights
// to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
// copies of the Software, and to permit persons to whom the Software is
// furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all
// copies or substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
// IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
// FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
// AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
// LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
// OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
// SOFTWARE.
#ifndef QLIB_SINGLE_HEADER
#define QLIB_SINGLE_HEADER
// Everything but what needs an operating system (core/thread_pool.hpp, file/mapped_file.hpp).
// Formats chosen at run time, behind plain functions: what an engine includes everywhere, while one of its source files includes
// <qlib/instantiate.hpp>, which defines them. So formats x rooms x fits are compiled once.
// Every named format, its number and its name; visit() goes from a number at run time to the type at compile time.
// Weights that are not quantized, as formats: engines multiply by them, decode them and round to them through the same functions.
// format<Grid, Scales, Layout>: a block format put together from ready-made parts.
// Grids: which levels a code can mean, and which code is nearest. A part of a format.
//
// A grid has `bits` per code, `vec` weights per code, a `code` type, `size` and `level(i)` of all levels (every bit pattern that
// the wire can hold decodes to one of them), `lowest` and `highest` that a fit should aim at, nearest(u, w) and levels(code, l).
// minifloat<...>: every small binary float, from fp16 down to E2M1, by one rule. Sources: IEEE 754, OCP OFP8 and MX.
// Float arithmetic whose bits depend on no compiler flag: -ffast-math and contraction in the including program change nothing here.
// All constexpr. NaN and infinity tests look at bits, as fast-math deletes comparisons.
// Version, ABI namespaces, and the guards that keep every result independent of the including program's flags.
//
// Types live in qlib::v0: they cross translation units. Functions live in qlib::v0::QLIB_BASE, an inline namespace named
// after the instruction sets that the including file was compiled for, so that the linker never swaps the code of a
// file built with -march=native for that of a file built without. Members of types are forced inline, or tagged with that name.

#define QLIB_VERSION_MAJOR 0
#define QLIB_VERSION_MINOR 1
#define QLIB_VERSION_PATCH 0

#if defined(__AVX512VNNI__)
#define QLIB_BASE_LEVEL x86_64_avx512vnni
#elif defined(__AVX512F__)
#define QLIB_BASE_LEVEL x86_64_avx512
#elif defined(__AVXVNNI__)
#define QLIB_BASE_LEVEL x86_64_avxvnni
#elif defined(__AVX2__)
#define QLIB_BASE_LEVEL x86_64_avx2
#elif defined(__AVX__)
#define QLIB_BASE_LEVEL x86_64_avx
#elif defined(__SSE4_1__)
#define QLIB_BASE_LEVEL x86_64_sse4
#elif defined(__x86_64__)
#define QLIB_BASE_LEVEL x86_64
#elif defined(__ARM_FEATURE_SVE)
#define QLIB_BASE_LEVEL aarch64_sve
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define QLIB_BASE_LEVEL aarch64_i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define QLIB_BASE_LEVEL aarch64_dotprod
#elif defined(__aarch64__)
#define QLIB_BASE_LEVEL aarch64
#else
#define QLIB_BASE_LEVEL other
#endif
#if defined(__FMA__) && !defined(__AVX2__)
#define QLIB_BASE_FMA _fma
#else
#define QLIB_BASE_FMA
#endif
#define QLIB_PASTE_(a, b, c) a##b##c
#define QLIB_PASTE(a, b, c) QLIB_PASTE_(a, b, c)
#define QLIB_BASE QLIB_PASTE(base_, QLIB_BASE_LEVEL, QLIB_BASE_FMA)
#define QLIB_TEXT_(a) #a
#define QLIB_TEXT(a) QLIB_TEXT_(a)

/// Marks members of public types, see above. A function so marked is compiled into its caller, never as a symbol.
#define QLIB_INLINE [[gnu::always_inline]]
/// The same for a lambda, after its parameters.
#define QLIB_INLINE_LAMBDA __attribute__((always_inline))
/// Marks the members that are too long for that: the baseline's name becomes part of their symbol, and of those of their lambdas.
#define QLIB_TAGGED [[gnu::abi_tag(QLIB_TEXT(QLIB_BASE))]]

// -ffast-math in the including program must not reach the code between these two. What no pragma of clang 14 stops,
// contraction into FMA, is stopped at each product instead: numeric/exact.hpp.
#if defined(__clang__)
#define QLIB_EXACT_BEGIN _Pragma("float_control(precise, on, push)")
#define QLIB_EXACT_END _Pragma("float_control(pop)")
#elif defined(__GNUC__)
#define QLIB_EXACT_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"no-fast-math\", \"fp-contract=off\")")
#define QLIB_EXACT_END _Pragma("GCC pop_options")
#else
#error "qlib needs g++ 12 or clang++ 14, or newer"
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// a * b, rounded once: never fused into a following addition.
QLIB_INLINE constexpr float product(float a, float b) noexcept {
    float p = a * b;
#if defined(__clang__)
    if (!std::is_constant_evaluated()) {
#if defined(__x86_64__)
        asm("" : "+x"(p));
#elif defined(__aarch64__)
        asm("" : "+w"(p));
#else
        asm("" : "+m"(p));
#endif
    }
#endif
    return p;
}

QLIB_INLINE constexpr std::uint32_t bits_of(float x) noexcept { return std::bit_cast<std::uint32_t>(x); }
QLIB_INLINE constexpr float float_of(std::uint32_t u) noexcept { return std::bit_cast<float>(u); }
QLIB_INLINE constexpr bool is_finite(float x) noexcept { return (bits_of(x) & 0x7F800000u) != 0x7F800000u; }
QLIB_INLINE constexpr bool is_nan(float x) noexcept { return (bits_of(x) & 0x7FFFFFFFu) > 0x7F800000u; }
QLIB_INLINE constexpr float magnitude(float x) noexcept { return float_of(bits_of(x) & 0x7FFFFFFFu); }
QLIB_INLINE constexpr float smaller(float a, float b) noexcept { return b < a ? b : a; }
QLIB_INLINE constexpr float larger(float a, float b) noexcept { return a < b ? b : a; }
QLIB_INLINE constexpr std::size_t smaller_size(std::size_t a, std::size_t b) noexcept { return b < a ? b : a; }
QLIB_INLINE constexpr std::size_t larger_size(std::size_t a, std::size_t b) noexcept { return a < b ? b : a; }
QLIB_INLINE constexpr float clamp(float x, float low, float high) noexcept { return smaller(larger(x, low), high); }

/// The nearest integer, halves to even, for |x| <= 2^22. Reads the sum's bits, as fast-math would fold (x + c) - c.
QLIB_INLINE constexpr std::int32_t round_even(float x) noexcept {
    return static_cast<std::int32_t>(bits_of(x + 12582912.0f) - 0x4B400000u);  // the bits of 12582912 = 1.5 * 2^23
}
/// round_even of x clamped to [low, high]; total: a NaN gives low.
QLIB_INLINE constexpr std::int32_t round_clamped(float x, std::int32_t low, std::int32_t high) noexcept {
    const auto l = static_cast<float>(low), h = static_cast<float>(high);
    return round_even(x > l ? (x < h ? x : h) : l);
}

/// 1 / s, or 0 where s is zero or so small that 1 / s would overflow or be inexact under flush-to-zero: such a scale counts as zero.
QLIB_INLINE constexpr float safe_reciprocal(float s) noexcept { return magnitude(s) >= 0x1p-126f ? 1.0f / s : 0.0f; }

/// The square root, correctly rounded; 0 for x <= 0 and for NaN.
QLIB_INLINE constexpr float square_root(float x) noexcept {
    if (!(x > 0)) return 0;
    if (!std::is_constant_evaluated()) return __builtin_sqrtf(x);
    if (!is_finite(x)) return x;
    // Newton in double from a start that is right to a few percent; a double holds a float's root with bits to spare.
    const double v = x;
    double r = std::bit_cast<double>((std::bit_cast<std::uint64_t>(v) >> 1) + (std::uint64_t{1023} << 51));
    for (int i = 0; i < 6; ++i) r = 0.5 * (r + v / r);
    return static_cast<float>(r);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

#include <concepts>
#include <limits>

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// How a value between two representable ones is rounded.
enum class rounding : std::uint8_t {
    nearest_even,    ///< to nearest, halves to the even code: IEEE 754's default
    nearest_away,    ///< to nearest, halves away from zero
    toward_zero,     ///< truncation
    away_from_zero,  ///< up in magnitude
};
/// What becomes of a value whose rounded magnitude exceeds the largest finite one, infinities included.
enum class overflow : std::uint8_t {
    saturate,  ///< the largest finite value of its sign
    special,   ///< infinity where the type has one, else NaN, else the largest finite value
};
/// Which codes are not numbers.
enum class specials : std::uint8_t {
    ieee,      ///< the top exponent holds infinity and NaN
    nan_only,  ///< all ones is NaN, no infinity (the "FN" types)
    fnuz,      ///< sign with zero is the one NaN, no infinity, no negative zero
    none,      ///< every code is a number
};

/// A float of 1 sign, E exponent and M mantissa bits. Value: (-1)^s 2^(e-Bias) (1 + m/2^M), and (-1)^s 2^(1-Bias) m/2^M for e = 0.
template <int E, int M, int Bias, specials S> struct minifloat {
    static_assert(E >= 2 && E <= 8 && M >= 1 && E + M <= 15, "a minifloat has 2 to 8 exponent bits and at most 16 bits in all");
    static_assert((E == 8 && Bias == 127 && S == specials::ieee) || ((1 << E) - 1 - Bias <= 127 && Bias + M <= 127),
                  "f32 must hold every value of a minifloat, the subnormal ones as normal numbers");
    using storage = std::conditional_t<(1 + E + M > 8), std::uint16_t, std::uint8_t>;
    static constexpr int bits_per_value = 1 + E + M;
    static constexpr std::uint32_t sign_bit = 1u << (E + M);
    static constexpr std::uint32_t max_code =
        S == specials::ieee ? (((1u << E) - 1) << M) - 1 : S == specials::nan_only ? sign_bit - 2 : sign_bit - 1;

    storage bits{};

    /// The value, exactly.
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept { return decode(bits); }
    QLIB_INLINE constexpr explicit operator float() const noexcept { return decode(bits); }
    /// The largest finite value.
    [[nodiscard]] static constexpr float max() noexcept { return decode(max_code); }
    /// x rounded once, straight from f32. NaN gives NaN where the type has one, else +0.
    [[nodiscard]] QLIB_INLINE static constexpr minifloat from(float x, overflow o = overflow::special, rounding r = rounding::nearest_even) noexcept {
        return {static_cast<storage>(encode(x, o, r))};
    }
    friend constexpr bool operator==(minifloat, minifloat) = default;

private:
    QLIB_INLINE static constexpr float decode(std::uint32_t code) noexcept {
        const std::uint32_t sign = (code & sign_bit) << (31 - E - M);
        const std::uint32_t a = code & (sign_bit - 1), e = a >> M;
        if constexpr (S == specials::fnuz) if (code == sign_bit) return detail::float_of(0x7FC00000u);
        if constexpr (E == 8 && Bias == 127) return detail::float_of(sign | a << (23 - M));  // same exponents: subnormals stay bits
        if (a > max_code) {
            const bool infinite = S == specials::ieee && (a & ((1u << M) - 1)) == 0;
            return detail::float_of(sign | (infinite ? 0x7F800000u : 0x7FC00000u | a << (23 - M)));
        }
        if (e == 0) {
            const float tiny = static_cast<float>(a) * detail::float_of(static_cast<std::uint32_t>(127 + 1 - Bias - M) << 23);
            return detail::float_of(sign | detail::bits_of(tiny));
        }
        return detail::float_of(sign | ((a << (23 - M)) + (static_cast<std::uint32_t>(127 - Bias) << 23)));
    }

    QLIB_INLINE static constexpr std::uint32_t not_a_number(std::uint32_t sign) noexcept {
        if constexpr (S == specials::ieee) return sign | ((1u << E) - 1) << M | 1u << (M - 1);
        else if constexpr (S == specials::nan_only) return sign | (sign_bit - 1);
        else if constexpr (S == specials::fnuz) return sign_bit;
        else return 0;
    }
    QLIB_INLINE static constexpr std::uint32_t too_large(std::uint32_t sign, overflow o) noexcept {
        if (o == overflow::saturate || S == specials::none) return sign | max_code;
        return S == specials::ieee ? sign | (max_code + 1) : not_a_number(sign);
    }
    /// What is added before `shift` bits are cut off.
    QLIB_INLINE static constexpr std::uint64_t nudge(std::uint64_t v, int shift, rounding r) noexcept {
        const std::uint64_t half = std::uint64_t{1} << (shift - 1);
        switch (r) {
        case rounding::nearest_even: return half - 1 + (v >> shift & 1);
        case rounding::nearest_away: return half;
        case rounding::away_from_zero: return 2 * half - 1;
        case rounding::toward_zero: break;
        }
        return 0;
    }
    QLIB_INLINE static constexpr std::uint32_t encode(float x, overflow o, rounding r) noexcept {
        const std::uint32_t u = detail::bits_of(x), a = u & 0x7FFFFFFFu;
        const std::uint32_t sign = (u >> 31) << (E + M);
        if (a > 0x7F800000u) {
            if constexpr (E == 8 && Bias == 127 && S == specials::ieee) return u >> (23 - M) | 1u << (M - 1);  // keeps the payload, as ggml does
            return not_a_number(sign);
        }
        if (a == 0x7F800000u) return too_large(sign, o);
        constexpr int lowest = 1 - Bias;  // exponent of the smallest normal value
        const int exponent = a < 0x00800000u ? -126 : static_cast<int>(a >> 23) - 127;
        std::uint64_t code = 0;
        if (exponent >= lowest || (E == 8 && Bias == 127)) {
            const std::uint64_t v = std::uint64_t{a} - (static_cast<std::uint64_t>(127 - Bias) << 23);
            code = (v + nudge(v, 23 - M, r)) >> (23 - M);
        } else if (a != 0) {
            const int lost = 23 - M + (lowest - exponent);
            const std::uint64_t v = a < 0x00800000u ? a : (a & 0x007FFFFFu) | 0x00800000u;
            const int shift = lost < 40 ? lost : 40;  // beyond 40 only away_from_zero sees a difference, and it does not
            code = (v + nudge(v, shift, r)) >> shift;
        }
        if (code > max_code) return r == rounding::toward_zero ? sign | max_code : too_large(sign, o);
        if (S == specials::fnuz && code == 0) return 0;
        return sign | static_cast<std::uint32_t>(code);
    }
};

using f16 = minifloat<5, 10, 15, specials::ieee>;     ///< IEEE binary16
using bf16 = minifloat<8, 7, 127, specials::ieee>;    ///< bfloat16: the upper half of an f32
using e4m3 = minifloat<4, 3, 7, specials::nan_only>;  ///< OFP8 E4M3 ("E4M3FN"): largest 448
using e2m1 = minifloat<2, 1, 1, specials::none>;      ///< the 4-bit float of MXFP4 and NVFP4: 0 .5 1 1.5 2 3 4 6

/// The element types of weights and activations: float, f16, bf16.
template <class T> concept weight_source = std::same_as<T, float> || std::same_as<T, f16> || std::same_as<T, bf16>;

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The float of a source element.
template <weight_source T> QLIB_INLINE constexpr float as_float(T x) noexcept {
    if constexpr (std::same_as<T, float>) return x;
    else return x.value();
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
// block_format: what an algorithm and a kernel may ask of a format. Everything in qlib that quantizes is a template over it.
//
// row     an output channel of a weight matrix, `cols` weights long
// code    what is stored for one weight (for `vec` neighbours in a lattice)
// level   the number that a code means before scaling
// group   weights that share one affine map
// block   the unit of storage: `groups` groups
// tile    what one outer value covers: a row, the tensor, 128 x 128, 256 blocks

#include <array>
#include <span>

namespace qlib::inline v0 {

/// How a level becomes a weight. Three roundings, never folded into one another: s*(l-z) and s*l-s*z differ in 42 % of floats.
enum class form : std::uint8_t {
    scaled,   ///< s * l
    shifted,  ///< s * (l - z)
    offset,   ///< s * l + z
};

/// The map of one group.
struct affine { float s = 0, z = 0; };

/// What one outer value covers; 0 = all. `flat`: `cols`, not 0, counts weights along row-major storage, over row ends.
struct extent {
    std::size_t rows = 0, cols = 0;
    bool flat = false;
};

/// The outer value of a format that has none.
struct no_outer {};

/// What an outer value is chosen from.
struct tile_stats {
    float low = 0, high = 0;                    ///< range of the tile's weights, widened to hold 0
    std::span<const float> block_abs_max = {};  ///< largest magnitude in each block of a flat tile; empty for others
    float mean_abs_max = 0;                     ///< mean over all blocks of the tensor; 0 where the tile is not flat
    float shrink = 1;                           ///< factor <= 1 that a search tries on the range

    [[nodiscard]] QLIB_INLINE constexpr float abs_max() const noexcept {
        return (-low > high ? -low : high) * shrink;
    }
};

/// One block as a fit sees it. Shorter than F's block at a ragged row end.
template <class F> struct site {
    std::span<const float> x;           ///< weights
    std::span<const float> importance;  ///< as long as x, >= 0; empty: none was given
    float row_mean_square = 0;          ///< of the row, summed in order without FMA; only set for `reference`
    typename F::outer outer{};
};

/// Weights in a block of F.
template <class F> inline constexpr std::size_t block_size = F::group * F::groups;
/// Codes in a block of F.
template <class F> inline constexpr std::size_t codes = block_size<F> / F::vec;

/// A block before it is stored.
template <class F> struct encoded {
    typename F::params params{};
    std::array<typename F::code, codes<F>> code{};
};

/// Where the planes of a block begin.
template <class F, class Byte> using plane_pointers = std::array<Byte*, F::planes.size()>;

/// The seam. Ready-made parts build it (format.hpp); a type of the user's own may also spell it out. All members are constexpr.
///
/// group, groups, vec    weights per map, maps per block, weights per code
/// map                   the form
/// grid                  size and level(i) of every level that a code can mean: kernels derive their operands from the table
/// tile, outer           extent and type of an outer value; an empty type when there is none
/// nearest(u, w)         the best code for vec values u in level units, with importances w
/// level(code, l)        writes the vec levels of a code
/// fit_outer(stats)      the plain outer value of a tile
/// outer_scale(outer)    multiplies last, outside the map; 1 when `at` consumes the outer value itself
/// project(wishes, o)    wished maps of all groups -> what the wire can hold
/// at(params, g)         the map that the decoder uses for group g
/// planes                bytes of one block in each plane
/// store_outer(o, to, tensor), load_outer(from, tensor), outer_bytes, tensor_bytes   with an outer value: its wire form, one slot per tile
///                       and one for the whole tensor
/// store, load           params and codes to and from the planes; a shorter span of codes is a ragged block, an empty one (load) wants params only
template <class F> concept block_format =
    requires(const float* in, float* out, typename F::code c, std::span<const typename F::code> cs, std::span<typename F::code> room,
             const std::array<affine, F::groups>& wishes, const typename F::params& p, const typename F::outer& o,
             const tile_stats& stats, const plane_pointers<F, std::byte>& to, const plane_pointers<F, const std::byte>& from, std::size_t g) {
        requires F::group > 0 && F::groups > 0 && F::vec > 0 && F::group % F::vec == 0;
        requires F::planes.size() > 0;
        { F::map } -> std::convertible_to<form>;
        { F::tile } -> std::convertible_to<extent>;
        { F::grid::size } -> std::convertible_to<std::size_t>;
        { F::grid::level(g) } -> std::same_as<float>;
        { F::nearest(in, in) } -> std::same_as<typename F::code>;
        F::level(c, out);
        { F::fit_outer(stats) } -> std::same_as<typename F::outer>;
        { F::outer_scale(o) } -> std::same_as<float>;
        { F::project(wishes, o) } -> std::same_as<typename F::params>;
        { F::at(p, g) } -> std::same_as<affine>;
        F::store(p, cs, to);
        { F::load(from, o, room) } -> std::same_as<typename F::params>;
        requires std::is_empty_v<typename F::outer> || requires(std::byte* wire, const std::byte* stored) {
            { F::outer_bytes } -> std::convertible_to<std::size_t>;
            { F::tensor_bytes } -> std::convertible_to<std::size_t>;
            F::store_outer(o, wire, wire);
            { F::load_outer(stored, stored) } -> std::same_as<typename F::outer>;
        };
    };

/// Whether F brings the original's own encoder of a whole block.
template <class F> concept has_reference = requires(const site<F>& s) {
    { F::reference(s) } -> std::same_as<encoded<F>>;
};
/// Whether the map of one group can be replaced while the rest of a block's params stays.
template <class F> concept has_project_group = requires(typename F::params& p, std::size_t g, affine a, const typename F::outer& o) {
    F::project_group(p, g, a, o);
};
/// Whether a row may end inside a block.
template <class F> concept has_ragged_rows = requires { requires F::ragged_rows; };
/// Whether blocks run over row ends.
template <class F> concept has_flat_blocks = requires { requires F::flat_blocks; };

/// Whether F stores outer values at all.
template <class F> inline constexpr bool has_outer = !std::is_empty_v<typename F::outer>;
/// Whether outer_scale does anything: formats may say no with `outer_multiplies = false`.
template <class F> inline constexpr bool outer_multiplies = [] {
    if constexpr (requires { F::outer_multiplies; }) return bool{F::outer_multiplies};
    else return has_outer<F>;
}();
/// Bytes of one block, all planes together.
template <class F> inline constexpr std::size_t block_bytes = [] {
    std::size_t sum = 0;
    for (const std::size_t b : F::planes) sum += b;
    return sum;
}();

}  // namespace qlib::inline v0

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A level's weight, before the outer scale. The one definition of decoding: every room gives these bits.
template <form Map> QLIB_INLINE constexpr float mapped(affine a, float level) noexcept {
    if constexpr (Map == form::scaled) return product(a.s, level);
    else if constexpr (Map == form::shifted) return product(a.s, level - a.z);
    else return product(a.s, level) + a.z;
}

/// The way back, from weights to level units, for one group. Total: a dead group sends all weights to one level.
template <class F> struct to_levels {
    float reciprocal, z, outer_reciprocal;

    QLIB_INLINE constexpr to_levels(affine a, float outer_scale) noexcept
        : reciprocal(safe_reciprocal(a.s)), z(a.z), outer_reciprocal(safe_reciprocal(outer_scale)) {}
    QLIB_INLINE constexpr float operator()(float x) const noexcept {
        if constexpr (outer_multiplies<F>) x = product(x, outer_reciprocal);
        if constexpr (F::map == form::scaled) return product(x, reciprocal);
        else if constexpr (F::map == form::shifted) return product(x, reciprocal) + z;
        else return product(x - z, reciprocal);
    }
};

/// Chooses the code of `vec` weights (fewer at a ragged end: `lanes`) and gives what it decodes to.
template <class F>
QLIB_INLINE constexpr typename F::code choose_code(affine a, float outer_scale, const to_levels<F>& units, const float* x, const float* w,
                                                   std::size_t lanes, float* decoded) noexcept {
    float u[F::vec] = {}, weight[F::vec] = {}, most = 0;
    for (std::size_t i = 0; i < lanes; ++i) {
        u[i] = units(x[i]);
        weight[i] = w != nullptr ? w[i] : 1.0f;
        most = larger(most, weight[i]);
    }
    if (!(most > 0))  // weights that nothing is known of still get their nearest code
        for (std::size_t i = 0; i < lanes; ++i) weight[i] = 1.0f;
    const auto c = F::nearest(u, weight);
    float l[F::vec];
    F::level(c, l);
    for (std::size_t i = 0; i < F::vec; ++i) {
        decoded[i] = mapped<F::map>(a, l[i]);
        if constexpr (outer_multiplies<F>) decoded[i] = product(decoded[i], outer_scale);
    }
    return c;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Equally spaced integers: code i means i + Lowest. Codes are chosen between First and Last only; others still decode.
/// With TwosComplement the stored bits are those of a signed integer.
template <int Bits, int Lowest, int First = Lowest, int Last = Lowest + (1 << Bits) - 1, bool TwosComplement = false> struct integer_grid {
    static_assert(Bits >= 1 && Bits <= 8 && Lowest <= First && First < Last && Last < Lowest + (1 << Bits));
    using code = std::uint8_t;
    static constexpr std::size_t bits = Bits, vec = 1, size = std::size_t{1} << Bits;
    static constexpr unsigned flip = TwosComplement ? 1u << (Bits - 1) : 0;
    static constexpr float lowest = First, highest = Last;

    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return static_cast<float>(static_cast<int>(i ^ flip) + Lowest);
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        return static_cast<code>(static_cast<unsigned>(detail::round_clamped(*u, First, Last) - Lowest) ^ flip);
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

/// 0 .. 2^Bits - 1.
template <int Bits> using uint_grid = integer_grid<Bits, 0>;
/// -2^(Bits-1) .. 2^(Bits-1) - 1, stored with that offset added.
template <int Bits> using sint_grid = integer_grid<Bits, -(1 << (Bits - 1))>;
/// -(2^(Bits-1) - 1) .. 2^(Bits-1) - 1: the restricted range, symmetric about 0.
template <int Bits> using restricted_grid = integer_grid<Bits, -(1 << (Bits - 1)), 1 - (1 << (Bits - 1))>;
/// int8 as the machine stores it, -127 .. 127 chosen.
using int8_grid = integer_grid<8, -128, -127, 127, true>;
/// -1, 0, 1 as codes 0, 1, 2.
using ternary_grid = integer_grid<2, -1, -1, 1>;

/// -1 and +1: code 1 for u >= 0.
struct sign_grid {
    using code = std::uint8_t;
    static constexpr std::size_t bits = 1, vec = 1, size = 2;
    static constexpr float lowest = -1, highest = 1;
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept { return i == 0 ? -1.0f : 1.0f; }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept { return *u >= 0 ? 1 : 0; }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

/// Any 2 to 256 finite numbers, in code order. Between two of them the nearer is chosen, at the midpoint the lower; of equal ones the first.
/// `Midpoints`, ascending, replace the computed ones where a format's own thresholds are rounded otherwise.
template <auto Table, auto Midpoints = std::array<float, 0>{}> struct codebook_grid {
    static_assert(Table.size() >= 2 && Table.size() <= 256, "a codebook has 2 to 256 levels");
    using code = std::uint8_t;
    static constexpr std::size_t bits = std::bit_width(Table.size() - 1), vec = 1, size = std::size_t{1} << bits;

    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept { return padded[i < size ? i : size - 1]; }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        std::size_t low = 0, n = sorted.count - 1;  // first of the sorted midpoints that is not below u
        while (n != 0) {
            const std::size_t half = n / 2;
            const bool above = *u > sorted.midpoint[low + half];
            low += above ? half + 1 : 0;
            n = above ? n - half - 1 : half;
        }
        return sorted.code_of[low];
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }

private:
    /// Bit patterns beyond the table mean its last level.
    static constexpr auto padded = [] {
        std::array<float, size> t{};
        for (std::size_t i = 0; i < size; ++i) t[i] = Table[i < Table.size() ? i : Table.size() - 1];
        return t;
    }();
    struct order {
        std::array<std::uint8_t, Table.size()> code_of{};
        std::array<float, Table.size()> midpoint{};
        std::size_t count = 0;
    };
    static constexpr order sorted = [] {
        order o{};
        for (std::size_t i = 0; i < Table.size(); ++i) {  // insertion sort: at most 256, at compile time
            std::size_t j = o.count;
            while (j > 0 && Table[o.code_of[j - 1]] > Table[i]) --j;
            if (j > 0 && Table[o.code_of[j - 1]] == Table[i]) continue;
            for (std::size_t k = o.count++; k > j; --k) o.code_of[k] = o.code_of[k - 1];
            o.code_of[j] = static_cast<std::uint8_t>(i);
        }
        if constexpr (Midpoints.size() != 0) {
            static_assert(Midpoints.size() + 1 == Table.size());
            for (std::size_t i = 0; i < Midpoints.size(); ++i) o.midpoint[i] = Midpoints[i];
            return o;
        }
        for (std::size_t i = 0; i + 1 < o.count; ++i)
            o.midpoint[i] = static_cast<float>((static_cast<double>(Table[o.code_of[i]]) + static_cast<double>(Table[o.code_of[i + 1]])) / 2);
        return o;
    }();

public:
    static constexpr float lowest = Table[sorted.code_of.front()], highest = Table[sorted.code_of[sorted.count - 1]];
};

/// The finite values of a small float, rounded as that float rounds (to nearest even, saturating); codes are its bits.
template <class Float> struct minifloat_grid {
    static_assert(Float::bits_per_value <= 8);
    using code = std::uint8_t;
    static constexpr std::size_t bits = Float::bits_per_value, vec = 1, size = std::size_t{1} << bits;
    static constexpr float lowest = -Float::max(), highest = Float::max();
    /// NaN and infinity codes, which no encoder here writes, decode to NaN and infinity.
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return Float{static_cast<typename Float::storage>(i)}.value();
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept { return Float::from(*u, overflow::saturate).bits; }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
// Layouts: where the bits of a block lie. A part of a format.
//
// A bit layout says how codes become bytes: bytes<B>(n), pack<B>(codes, out), unpack<B>(in, codes) for codes of B bits.
// A block layout says in which order codes and the sections of the scales follow each other, in one plane or in several.
// Codes of 1 to 16 bits as one dense stream, least significant bit first: code i holds bits [i*bits, (i+1)*bits) of the bytes
// read as one little-endian number.

namespace qlib::inline v0::inline QLIB_BASE {

/// Bytes that `count` codes of `bits` bits fill.
QLIB_INLINE constexpr std::size_t packed_bytes(std::size_t count, std::size_t bits) noexcept { return (count * bits + 7) / 8; }

/// Packs `count` codes, each < 2^bits, into packed_bytes(count, bits) bytes; the last byte's unused bits are 0.
template <class Code> constexpr void pack_bits(const Code* codes, std::size_t count, std::size_t bits, std::byte* out) noexcept {
    std::uint32_t pending = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        pending |= static_cast<std::uint32_t>(codes[i]) << held;
        for (held += bits; held >= 8; held -= 8, pending >>= 8) *out++ = static_cast<std::byte>(pending & 0xFF);
    }
    if (held != 0) *out = static_cast<std::byte>(pending & 0xFF);
}

/// The inverse of pack_bits. Reads packed_bytes(count, bits) bytes, never more.
template <class Code> constexpr void unpack_bits(const std::byte* in, std::size_t count, std::size_t bits, Code* codes) noexcept {
    std::uint32_t pending = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        for (; held < bits; held += 8) pending |= static_cast<std::uint32_t>(*in++) << held;
        codes[i] = static_cast<Code>(pending & ((1u << bits) - 1));
        pending >>= bits;
        held -= bits;
    }
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0 {

/// Codes one after another, least significant bit first. The one bit layout that lets a row end inside a block.
struct sequential {
    static constexpr bool ragged = true;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept { return packed_bytes(n, B); }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        pack_bits(c.data(), c.size(), B, out);
    }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        unpack_bits(in, c.size(), B, c.data());
    }
};

/// A slice of every code: `width` bits from bit `shift` on. Each run of `run` bytes holds 8/width * run codes: code e of it lies in
/// byte e % run, at bit width * (e / run); with high_first the places in a byte are counted from the top.
struct plane {
    std::size_t width = 8, run = 1, shift = 0;
    bool high_first = false;
};

/// Codes split into planes that follow each other, in storage order.
template <plane... Planes> struct bit_planes {
    static constexpr std::array<plane, sizeof...(Planes)> list{Planes...};
    static constexpr bool ragged = false;

    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept { return (packed_bytes(n, Planes.width) + ...); }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        check<B>();
        for (std::size_t i = 0; i < bytes<B>(c.size()); ++i) out[i] = std::byte{0};
        for (const plane& p : list) {
            for (std::size_t e = 0; e < c.size(); ++e)
                out[byte_of(p, e)] |= static_cast<std::byte>((c[e] >> p.shift & mask(p)) << bit_of(p, e));
            out += packed_bytes(c.size(), p.width);
        }
    }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        check<B>();
        for (Code& code : c) code = 0;
        for (const plane& p : list) {
            for (std::size_t e = 0; e < c.size(); ++e)
                c[e] = static_cast<Code>(c[e] | (std::to_integer<unsigned>(in[byte_of(p, e)]) >> bit_of(p, e) & mask(p)) << p.shift);
            in += packed_bytes(c.size(), p.width);
        }
    }

    /// Where code e lies in a plane: the byte, and its lowest bit there. Kernels make their shuffles from it.
    QLIB_INLINE static constexpr std::size_t byte_of(const plane& p, std::size_t e) noexcept {
        const std::size_t span = 8 / p.width * p.run;
        return e / span * p.run + e % p.run;
    }
    QLIB_INLINE static constexpr std::size_t bit_of(const plane& p, std::size_t e) noexcept {
        const std::size_t place = e / p.run % (8 / p.width);
        return p.width * (p.high_first ? 8 / p.width - 1 - place : place);
    }

private:
    template <std::size_t B> static consteval void check() { static_assert((Planes.width + ...) == B, "the planes must hold all bits of a code"); }
    QLIB_INLINE static constexpr unsigned mask(const plane& p) noexcept { return (1u << p.width) - 1; }
};

/// Two codes a byte, the first in the low nibble of the first `Run` bytes, the next `Run` codes above them. ggml's 4-bit blocks.
template <std::size_t Run> using nibbles_split = bit_planes<plane{4, Run}>;
using nibbles_split_16 = nibbles_split<16>;
/// Two codes a byte, the first in the high nibble. bitsandbytes.
using high_nibble_first = bit_planes<plane{4, 1, 0, true}>;
using whole_bytes = bit_planes<plane{8}>;

/// Codes 0, 1, 2 in base 3, five to a byte, the first the least significant: 1.6 bits each.
struct trits {
    static constexpr bool ragged = true;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept { return (n + 4) / 5; }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        for (std::size_t i = 0; i < c.size(); i += 5) {
            unsigned v = 0;
            for (std::size_t j = i + 5 < c.size() ? i + 5 : c.size(); j-- > i;) v = 3 * v + c[j];
            *out++ = static_cast<std::byte>(v);
        }
    }
    /// Bytes above 242, which pack never writes, decode to codes 0..2 as well.
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        for (std::size_t i = 0; i < c.size(); i += 5) {
            unsigned v = std::to_integer<unsigned>(*in++);
            for (std::size_t j = i; j < i + 5 && j < c.size(); ++j, v /= 3) c[j] = static_cast<Code>(v % 3);
        }
    }
};

/// Numbers of whole bytes one after another, little-endian.
struct little_endian {
    static constexpr bool ragged = true;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept { return n * (B / 8); }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        for (const Code code : c)
            for (std::size_t i = 0; i < sizeof(Code); ++i) *out++ = static_cast<std::byte>(code >> 8 * i & 0xFF);
    }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        for (Code& code : c) {
            code = 0;
            for (std::size_t i = 0; i < sizeof(Code); ++i) code = static_cast<Code>(code | static_cast<Code>(std::to_integer<Code>(*in++) << 8 * i));
        }
    }
};

/// The parts of a block. `scales` are the scales or super-scales, `zeros` the zero points, offsets or super-mins, `subs` integer sub-scales and mins.
enum class field : std::uint8_t { scales, zeros, subs, codes };

/// One plane: blocks hold their fields one after another. Order: by default scales, zeros, subs, codes.
template <class Bits = sequential, field... Order> struct inline_blocks {
    using bits = Bits;
    static constexpr bool planes_apart = false, flat = false;
    static constexpr auto order = [] {
        if constexpr (sizeof...(Order) == 0) return std::array{field::scales, field::zeros, field::subs, field::codes};
        else return std::array{Order...};
    }();
};

/// A plane for the codes, then one for each other field. `flat`: blocks run over row ends, as bitsandbytes stores them.
template <class Bits = sequential, bool Flat = false> struct planar {
    using bits = Bits;
    static constexpr bool planes_apart = true, flat = Flat;
    static constexpr auto order = std::array{field::codes, field::scales, field::zeros, field::subs};
};
/// bitsandbytes' planes.
template <class Bits = sequential> using flat_planar = planar<Bits, true>;

}  // namespace qlib::inline v0
// Scales: how the maps of a block are stored. A part of a format, bound to its grid by format<>.
//
// A bound part has: group, groups, map, tile, outer, params; at, project, project_group; fit_outer, outer_scale; field_bytes and
// store_field / load_field for each section of the block; and, with an outer value, outer_bytes, tensor_bytes, store_outer, load_outer.
// e8m0: the power-of-two scale of the OCP MX formats. Eight exponent bits, no sign, no zero; 255 is NaN.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// 2^(bits - 127), from 2^-127 to 2^127; 255 is NaN. Code 0 is a subnormal f32: zero under flush-to-zero.
struct e8m0 {
    using storage = std::uint8_t;
    storage bits{};

    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        if (bits == 255) return detail::float_of(0x7FC00000u);
        return detail::float_of(bits == 0 ? 0x00400000u : static_cast<std::uint32_t>(bits) << 23);
    }
    QLIB_INLINE constexpr explicit operator float() const noexcept { return value(); }
    [[nodiscard]] static constexpr float max() noexcept { return 0x1p127f; }

    /// |x| rounded to a power of two. Nearest compares values, so 1.5 * 2^e is the tie: it goes to the even exponent, or up
    /// (nearest_away). Below 2^-127: 2^-127. Above 2^127 and for infinity: 2^127, or NaN with overflow::special. NaN: NaN.
    [[nodiscard]] QLIB_INLINE static constexpr e8m0 from(float x, overflow o = overflow::saturate, rounding r = rounding::nearest_even) noexcept {
        const std::uint32_t a = detail::bits_of(x) & 0x7FFFFFFFu;
        if (a > 0x7F800000u) return {255};
        if (a < 0x00400000u) return {0};
        // A subnormal f32 of at least 2^-127 is written as a normal one first: its leading bit is bit 22.
        const bool subnormal = a < 0x00800000u;
        const std::uint32_t exponent = subnormal ? 0 : a >> 23;
        const std::uint32_t fraction = subnormal ? (a & 0x003FFFFFu) << 1 : a & 0x007FFFFFu;
        constexpr std::uint32_t half = 0x00400000u;
        bool up = false;
        switch (r) {
        case rounding::nearest_even: up = fraction > half || (fraction == half && (exponent & 1) != 0); break;
        case rounding::nearest_away: up = fraction >= half; break;
        case rounding::away_from_zero: up = fraction != 0; break;
        case rounding::toward_zero: break;
        }
        const std::uint32_t code = exponent + (up ? 1 : 0);
        if (code > 254) return {static_cast<storage>(o == overflow::saturate || (r == rounding::toward_zero && a < 0x7F800000u) ? 254 : 255)};
        return {static_cast<storage>(code)};
    }
    friend constexpr bool operator==(e8m0, e8m0) = default;
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
// The map of a range: abs-max and min-max scaling, for any grid. Shared by the plain fit and by the outer values of tiles.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Lowest and highest level that a fit of F should aim at: the grid's own word, else those of its table.
template <class Grid> inline constexpr float lowest_level = [] {
    if constexpr (requires { Grid::lowest; }) {
        return float{Grid::lowest};
    } else {
        float low = std::numeric_limits<float>::max();
        for (std::size_t i = 0; i < Grid::size; ++i) low = detail::smaller(low, Grid::level(i));
        return low;
    }
}();
template <class Grid> inline constexpr float highest_level = [] {
    if constexpr (requires { Grid::highest; }) {
        return float{Grid::highest};
    } else {
        float high = std::numeric_limits<float>::lowest();
        for (std::size_t i = 0; i < Grid::size; ++i) high = detail::larger(high, Grid::level(i));
        return high;
    }
}();

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Abs-max scale of a range on a grid. A scale with a sign maps the extreme value to the end of the grid that reaches furthest (ggml's
/// Q4_0); one without maps the abs-max to the mean of both ends (for -8..7: 7.5, GPTQ's symmetric rule).
template <class Grid, bool SignedScale> constexpr float scale_of_range(float low, float high) noexcept {
    constexpr float bottom = -lowest_level<Grid>, top = highest_level<Grid>;
    if constexpr (bottom == top) return larger(-low, high) / top;
    else if constexpr (bottom <= 0) return larger(high, 0.0f) / top;
    else if constexpr (!SignedScale) return larger(-low, high) / ((bottom + top) * 0.5f);
    else return (-low > high ? low : high) / (bottom > top ? -bottom : top);
}

/// The map that sends [low, high] onto the whole grid. `SignedOffset`: offsets may be positive, so the range need not hold 0.
/// No overflow for any finite range: both ends are divided before they are subtracted.
template <form Map, class Grid, bool SignedScale, bool SignedOffset> constexpr affine map_of_range(float low, float high) noexcept {
    constexpr float bottom = lowest_level<Grid>, steps = Map == form::scaled ? 0.0f : highest_level<Grid> - bottom;
    if constexpr (Map == form::scaled) {
        return {scale_of_range<Grid, SignedScale>(low, high), 0};
    } else if constexpr (Map == form::shifted) {
        low = smaller(low, 0.0f);
        const float s = larger(high, 0.0f) / steps - low / steps;
        return safe_reciprocal(s) != 0 ? affine{s, bottom - low / s} : affine{};
    } else {
        if constexpr (!SignedOffset) low = smaller(low, 0.0f);
        high = larger(high, low);
        const float s = high / steps - low / steps;
        return {s, low - product(s, bottom)};
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// An f32 as a scale type.
struct f32 {
    using storage = std::uint32_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept { return detail::float_of(bits); }
    [[nodiscard]] QLIB_INLINE static constexpr f32 from(float x, overflow = overflow::special, rounding = rounding::nearest_even) noexcept {
        return {detail::bits_of(x)};
    }
    [[nodiscard]] static constexpr float max() noexcept { return std::numeric_limits<float>::max(); }
};

/// Whether a stored scale may be negative. E4M3 scales are used without their sign, as NVFP4 does.
template <class T> inline constexpr bool signed_scale_type = false;
template <> inline constexpr bool signed_scale_type<f32> = true;
template <> inline constexpr bool signed_scale_type<f16> = true;
template <> inline constexpr bool signed_scale_type<bf16> = true;

/// The name of a scale type in a format's description; a user's own type may specialise it.
template <class T> inline constexpr const char* scale_type_name = "own";
template <> inline constexpr const char* scale_type_name<f32> = "f32";
template <> inline constexpr const char* scale_type_name<f16> = "f16";
template <> inline constexpr const char* scale_type_name<bf16> = "bf16";
template <> inline constexpr const char* scale_type_name<e8m0> = "e8m0";
template <> inline constexpr const char* scale_type_name<e4m3> = "e4m3";

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A scale as its wire type holds it. Too large for f16: infinity, which the encoder reports; for E4M3 and E8M0, which sit under
/// an outer scale or reach to 2^127: the largest. Below the smallest normal f32: zero, see safe_reciprocal.
template <class T> QLIB_INLINE constexpr T storable_scale(float s) noexcept {
    constexpr bool sign = signed_scale_type<T>;
    if (magnitude(s) < 0x1p-126f || (!sign && s < 0)) s = 0;
    return T::from(s, sign ? overflow::special : overflow::saturate, rounding::nearest_even);
}

template <class T> QLIB_INLINE constexpr void store_little_endian(T value, std::byte* out) noexcept {
    for (std::size_t i = 0; i < sizeof(value.bits); ++i) out[i] = static_cast<std::byte>(value.bits >> 8 * i & 0xFF);
}
template <class T> QLIB_INLINE constexpr T load_little_endian(const std::byte* in) noexcept {
    typename T::storage bits = 0;
    for (std::size_t i = 0; i < sizeof(bits); ++i)
        bits = static_cast<typename T::storage>(bits | static_cast<typename T::storage>(std::to_integer<typename T::storage>(in[i])) << 8 * i);
    return {bits};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::detail {

/// The f32 tensor scale of formats whose own scales have a short range; nothing for others.
template <bool Present> struct tensor_scale_part {
    using outer = no_outer;
    template <class Grid, class T> QLIB_INLINE static constexpr no_outer fit(const tile_stats&) noexcept { return {}; }
    QLIB_INLINE static constexpr float scale(no_outer) noexcept { return 1; }
};
template <> struct tensor_scale_part<true> {
    using outer = float;
    /// Sends the tensor's abs-max to the largest level times the largest scale. 1 for a tensor of zeros.
    template <class Grid, class T> static constexpr float fit(const tile_stats& stats) noexcept {
        constexpr float reach = larger(-lowest_level<Grid>, highest_level<Grid>) * T::max();
        const float m = stats.abs_max();
        return m > 0 ? larger(m / reach, 0x1p-126f) : 1.0f;
    }
    QLIB_INLINE static constexpr float scale(float o) noexcept { return o; }
};

/// What scale_per, scale_zero_per and scale_offset_per share: one stored map per group, no second level.
template <class Grid, form Map, std::size_t N, class T, std::size_t Groups, bool TensorScale> struct one_level {
    static_assert(Map != form::offset || signed_scale_type<T> || std::same_as<T, e4m3>, "an offset needs a scale type with a sign");
    static constexpr std::size_t group = N, groups = Groups;
    static constexpr form map = Map;
    static constexpr extent tile{};
    static constexpr bool signed_scale = signed_scale_type<T>, signed_offset = true;
    using outer = typename tensor_scale_part<TensorScale>::outer;
    using stored_scale = T;
    using stored_outer = f32;

    struct no_zeros {};
    using zero = std::conditional_t<Map == form::scaled, no_zeros, std::conditional_t<Map == form::shifted, typename Grid::code, T>>;
    struct params {
        std::array<T, Groups> scale{};
        [[no_unique_address]] std::conditional_t<Map == form::scaled, no_zeros, std::array<zero, Groups>> zeros{};
    };

    QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept { return tensor_scale_part<TensorScale>::template fit<Grid, T>(stats); }
    QLIB_INLINE static constexpr float outer_scale(const outer& o) noexcept { return tensor_scale_part<TensorScale>::scale(o); }

    QLIB_INLINE static constexpr affine at(const params& p, std::size_t g) noexcept {
        if constexpr (Map == form::scaled) return {p.scale[g].value(), 0};
        else if constexpr (Map == form::shifted) return {p.scale[g].value(), Grid::level(p.zeros[g])};
        else return {p.scale[g].value(), p.zeros[g].value()};
    }
    QLIB_INLINE static constexpr void project_group(params& p, std::size_t g, affine wish, const outer& o) noexcept {
        const float inverse = TensorScale ? safe_reciprocal(outer_scale(o)) : 1.0f;
        p.scale[g] = storable_scale<T>(TensorScale ? product(wish.s, inverse) : wish.s);
        if constexpr (Map == form::shifted) p.zeros[g] = Grid::nearest(&wish.z, nullptr);
        if constexpr (Map == form::offset) p.zeros[g] = T::from(TensorScale ? product(wish.z, inverse) : wish.z, signed_scale ? overflow::special : overflow::saturate);
    }
    QLIB_INLINE static constexpr params project(const std::array<affine, Groups>& wishes, const outer& o) noexcept {
        params p{};
        for (std::size_t g = 0; g < Groups; ++g) project_group(p, g, wishes[g], o);
        return p;
    }

    QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept {
        if (f == field::scales) return Groups * sizeof(T::bits);
        if (f == field::zeros && Map == form::shifted) return packed_bytes(Groups, Grid::bits);
        if (f == field::zeros && Map == form::offset) return Groups * sizeof(T::bits);
        return 0;
    }
    QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
        if (f == field::scales)
            for (std::size_t g = 0; g < Groups; ++g) store_little_endian(p.scale[g], out + g * sizeof(T::bits));
        if constexpr (Map == form::shifted) if (f == field::zeros) pack_bits(p.zeros.data(), Groups, Grid::bits, out);
        if constexpr (Map == form::offset) if (f == field::zeros)
            for (std::size_t g = 0; g < Groups; ++g) store_little_endian(p.zeros[g], out + g * sizeof(T::bits));
    }
    QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
        if (f == field::scales)
            for (std::size_t g = 0; g < Groups; ++g) p.scale[g] = load_little_endian<T>(in + g * sizeof(T::bits));
        if constexpr (Map == form::shifted) if (f == field::zeros) unpack_bits(in, Groups, Grid::bits, p.zeros.data());
        if constexpr (Map == form::offset) if (f == field::zeros)
            for (std::size_t g = 0; g < Groups; ++g) p.zeros[g] = load_little_endian<T>(in + g * sizeof(T::bits));
    }
    QLIB_INLINE static constexpr void take_outer(params&, const outer&) noexcept {}

    static constexpr std::size_t outer_bytes = TensorScale ? sizeof(float) : 0, tensor_bytes = 0;
    QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte*) noexcept {
        if constexpr (TensorScale) store_little_endian(f32::from(o), out);
    }
    QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte*) noexcept {
        if constexpr (TensorScale) return load_little_endian<f32>(in).value();
        else return {};
    }
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0 {

/// s * l: one scale of type T for every N weights, `Groups` groups to a block. An E4M3 scale (largest 448, smallest 2^-9) underflows on
/// real weights, so it brings an f32 scale of the whole tensor unless `TensorScale` is switched off.
template <std::size_t N, class T, std::size_t Groups = 1, bool TensorScale = std::same_as<T, e4m3>> struct scale_per {
    template <class Grid> using bind = detail::one_level<Grid, form::scaled, N, T, Groups, TensorScale>;
};
/// s * (l - z): also an integer zero point, as wide as a code.
template <std::size_t N, class T, std::size_t Groups = 1, bool TensorScale = std::same_as<T, e4m3>> struct scale_zero_per {
    template <class Grid> using bind = detail::one_level<Grid, form::shifted, N, T, Groups, TensorScale>;
};
/// s * l + z: also an offset of type T.
template <std::size_t N, class T, std::size_t Groups = 1, bool TensorScale = std::same_as<T, e4m3>> struct scale_offset_per {
    template <class Grid> using bind = detail::one_level<Grid, form::offset, N, T, Groups, TensorScale>;
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
// tile_scale: one scale for a whole row, tensor or rectangle. Its blocks of 64 hold codes only; the scales lie in an outer plane.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// One map of form Map, stored as T, for every tile of the given extent (0 = all).
template <extent Tile, class T = f32, form Map = form::scaled> struct tile_scale {
    static_assert(!Tile.flat && Tile.cols % 64 == 0, "a tile is whole blocks of 64 wide");
    template <class Grid> struct bind {
        static constexpr std::size_t group = 64, groups = 1;
        static constexpr form map = Map;
        static constexpr extent tile = Tile;
        static constexpr bool signed_scale = signed_scale_type<T>, signed_offset = true;
        static constexpr bool outer_is_map = true;
        /// s * l + z keeps both in the map; the others leave the scale outside, where it multiplies last.
        static constexpr bool outer_multiplies = Map != form::offset;

        using stored_outer = T;

        struct outer { float s = 0, z = 0; };
        struct params { float s = 1, z = 0; };

        QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept {
            const affine a = detail::map_of_range<Map, Grid, signed_scale, true>(stats.low * stats.shrink, stats.high * stats.shrink);
            outer o{detail::storable_scale<T>(a.s).value(), 0};
            if constexpr (Map == form::shifted) o.z = Grid::level(Grid::nearest(&a.z, nullptr));
            if constexpr (Map == form::offset) o.z = T::from(a.z).value();
            return o;
        }
        QLIB_INLINE static constexpr float outer_scale(const outer& o) noexcept { return outer_multiplies ? o.s : 1.0f; }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.s, p.z}; }
        QLIB_INLINE static constexpr params project(const std::array<affine, 1>&, const outer& o) noexcept {
            params p;
            take_outer(p, o);
            return p;
        }
        QLIB_INLINE static constexpr void take_outer(params& p, const outer& o) noexcept { p = {outer_multiplies ? 1.0f : o.s, o.z}; }

        QLIB_INLINE static constexpr std::size_t field_bytes(field) noexcept { return 0; }
        QLIB_INLINE static constexpr void store_field(field, const params&, std::byte*) noexcept {}
        QLIB_INLINE static constexpr void load_field(field, params&, const std::byte*) noexcept {}

        /// A tile's wire form: the scale, then the zero point (one byte) or the offset.
        static constexpr std::size_t outer_bytes = sizeof(T::bits) + (Map == form::shifted ? 1 : Map == form::offset ? sizeof(T::bits) : 0);
        static constexpr std::size_t tensor_bytes = 0;
        QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte*) noexcept {
            detail::store_little_endian(T::from(o.s), out);
            if constexpr (Map == form::shifted) out[sizeof(T::bits)] = static_cast<std::byte>(Grid::nearest(&o.z, nullptr));
            if constexpr (Map == form::offset) detail::store_little_endian(T::from(o.z), out + sizeof(T::bits));
        }
        QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte*) noexcept {
            outer o{detail::load_little_endian<T>(in).value(), 0};
            if constexpr (Map == form::shifted) o.z = Grid::level(std::to_integer<std::size_t>(in[sizeof(T::bits)]) % Grid::size);
            if constexpr (Map == form::offset) o.z = detail::load_little_endian<T>(in + sizeof(T::bits)).value();
            return o;
        }
    };
};

template <class T = f32, form Map = form::scaled> using scale_per_row = tile_scale<extent{1, 0}, T, Map>;
template <class T = f32, form Map = form::scaled> using scale_per_tensor = tile_scale<extent{0, 0}, T, Map>;

}  // namespace qlib::inline v0
QLIB_EXACT_END
// two_level: integer sub-scales (and mins) of the groups under one or two floats of the block. ggml's super-blocks.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Value: (super * sub[g]) * l, or (super * sub[g]) * l - super_min * min[g] where `Packing` holds mins.
///
/// Packing says how the integers are packed: constants groups, sub_bits, sub_signed, min_bits (0 without mins), bytes; and
/// store(sub, min, out), load(in, sub, min) over std::array<std::int8_t, groups> and std::array<std::uint8_t, groups>.
template <std::size_t N, class Packing, class Super = f16> struct two_level {
    template <class Grid> struct bind {
        static constexpr std::size_t group = N, groups = Packing::groups;
        static constexpr bool has_mins = Packing::min_bits > 0, signed_scale = Packing::sub_signed, signed_offset = false;
        static constexpr form map = has_mins ? form::offset : form::scaled;
        static constexpr extent tile{};
        static constexpr int sub_bits = Packing::sub_bits, min_bits = Packing::min_bits;
        static constexpr bool sub_signed = Packing::sub_signed;
        static constexpr int sub_low = Packing::sub_signed ? -(1 << (Packing::sub_bits - 1)) : 0;
        static constexpr int sub_high = Packing::sub_signed ? (1 << (Packing::sub_bits - 1)) - 1 : (1 << Packing::sub_bits) - 1;
        static constexpr int min_high = (1 << Packing::min_bits) - 1;
        using outer = no_outer;
        using stored_scale = Super;

        struct params {
            Super super{}, super_min{};
            std::array<std::int8_t, groups> sub{};
            std::array<std::uint8_t, groups> min{};
        };

        QLIB_INLINE static constexpr no_outer fit_outer(const tile_stats&) noexcept { return {}; }
        QLIB_INLINE static constexpr float outer_scale(no_outer) noexcept { return 1; }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t g) noexcept {
            const float s = detail::product(p.super.value(), static_cast<float>(p.sub[g]));
            return {s, has_mins ? -detail::product(p.super_min.value(), static_cast<float>(p.min[g])) : 0.0f};
        }
        QLIB_INLINE static constexpr void project_group(params& p, std::size_t g, affine wish, no_outer) noexcept {
            p.sub[g] = static_cast<std::int8_t>(detail::round_clamped(wish.s * detail::safe_reciprocal(p.super.value()), sub_low, sub_high));
            if constexpr (has_mins)
                p.min[g] = static_cast<std::uint8_t>(detail::round_clamped(-wish.z * detail::safe_reciprocal(p.super_min.value()), 0, min_high));
        }
        /// The largest wish decides the super-scale, with its sign at the far end of a signed sub-scale; the rest are rounded under it.
        QLIB_INLINE static constexpr params project(const std::array<affine, groups>& wishes, no_outer o) noexcept {
            float extreme = 0, deepest = 0;
            for (const affine& a : wishes) {
                if (detail::magnitude(a.s) > detail::magnitude(extreme)) extreme = a.s;
                deepest = detail::larger(deepest, -a.z);
            }
            params p{};
            p.super = detail::storable_scale<Super>(extreme / static_cast<float>(Packing::sub_signed ? sub_low : sub_high));
            if constexpr (has_mins) p.super_min = detail::storable_scale<Super>(deepest / static_cast<float>(min_high));
            for (std::size_t g = 0; g < groups; ++g) project_group(p, g, wishes[g], o);
            return p;
        }

        QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept {
            if (f == field::scales || (f == field::zeros && has_mins)) return sizeof(Super::bits);
            return f == field::subs ? Packing::bytes : 0;
        }
        QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
            if (f == field::scales) detail::store_little_endian(p.super, out);
            if (f == field::zeros) detail::store_little_endian(p.super_min, out);
            if (f == field::subs) Packing::store(p.sub, p.min, out);
        }
        QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
            if (f == field::scales) p.super = detail::load_little_endian<Super>(in);
            if (f == field::zeros) p.super_min = detail::load_little_endian<Super>(in);
            if (f == field::subs) Packing::load(in, p.sub, p.min);
        }
        QLIB_INLINE static constexpr void take_outer(params&, no_outer) noexcept {}
    };
};

}  // namespace qlib::inline v0
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// A block format from a grid (what codes mean), scales (how maps are stored) and a layout (where the bits lie):
///
///     struct mine : qlib::format<qlib::codebook_grid<levels>, qlib::scale_per<48, qlib::e4m3>, qlib::inline_blocks<>> {};
///
/// A struct of its own gives it a name; it may add `reference(site)`, the original's own encoder. See concept.hpp for the members.
template <class Grid, class Scales, class Layout = inline_blocks<>> struct format : Scales::template bind<Grid> {
    using grid = Grid;
    using layout = Layout;
    using bits = typename Layout::bits;
    using code = typename Grid::code;
    using part = typename Scales::template bind<Grid>;
    using typename part::outer;
    using typename part::params;
    static constexpr std::size_t vec = Grid::vec;
    static constexpr bool flat_blocks = Layout::flat, ragged_rows = Layout::flat || bits::ragged;

    QLIB_INLINE static constexpr code nearest(const float* u, const float* w) noexcept { return Grid::nearest(u, w); }
    QLIB_INLINE static constexpr void level(code c, float* l) noexcept { Grid::levels(c, l); }

    /// Bytes of each plane for a block of n weights: fewer than a whole block's at a ragged end.
    QLIB_INLINE static constexpr auto planes_of(std::size_t n) noexcept {
        std::array<std::size_t, plane_count> sizes{};
        std::size_t at = 0;
        for (const field f : Layout::order) {
            if (bytes_of(f, block) == 0) continue;
            sizes[at] += bytes_of(f, n);
            if (Layout::planes_apart) ++at;
        }
        return sizes;
    }
    /// Where a field of a whole block begins: kernels read codes straight from there.
    QLIB_INLINE static constexpr std::size_t offset_of(field wanted) noexcept {
        std::size_t at = 0;
        for (const field f : Layout::order) {
            if (f == wanted) break;
            if (!Layout::planes_apart) at += bytes_of(f, block);
        }
        return at;
    }

    template <class Pointers> QLIB_INLINE static constexpr void store(const params& p, std::span<const code> codes, const Pointers& to) noexcept {
        walk(codes.size() * vec, [&](field f, std::size_t plane, std::size_t offset) QLIB_INLINE_LAMBDA {
            if (f == field::codes) bits::template pack<Grid::bits, code>(codes, to[plane] + offset);
            else part::store_field(f, p, to[plane] + offset);
        });
    }
    /// `codes` as long as the block stored there, or empty: then only the params are read, of a whole block.
    template <class Pointers> QLIB_INLINE static constexpr params load(const Pointers& from, const outer& o, std::span<code> codes) noexcept {
        params p{};
        walk(codes.empty() ? block : codes.size() * vec, [&](field f, std::size_t plane, std::size_t offset) QLIB_INLINE_LAMBDA {
            if (f != field::codes) part::load_field(f, p, from[plane] + offset);
            else if (!codes.empty()) bits::template unpack<Grid::bits, code>(from[plane] + offset, codes);
        });
        part::take_outer(p, o);
        return p;
    }

private:
    static constexpr std::size_t block = part::group * part::groups;
    QLIB_INLINE static constexpr std::size_t bytes_of(field f, std::size_t n) noexcept {
        return f == field::codes ? bits::template bytes<Grid::bits>((n + vec - 1) / vec) : part::field_bytes(f);
    }
    static constexpr std::size_t plane_count = [] {
        std::size_t n = 0;
        for (const field f : Layout::order) n += bytes_of(f, block) != 0;
        return Layout::planes_apart ? n : 1;
    }();
    /// visit(field, plane, offset in the block) for every field with bytes, in storage order.
    template <class Visit> QLIB_INLINE static constexpr void walk(std::size_t n, const Visit& visit) noexcept {
        std::size_t plane = 0, offset = 0;
        for (const field f : Layout::order) {
            const std::size_t size = bytes_of(f, n);
            if (size == 0) continue;
            visit(f, plane, offset);
            if (Layout::planes_apart) ++plane;
            else offset += size;
        }
    }

public:
    static constexpr std::array<std::size_t, plane_count> planes = planes_of(block);
};

}  // namespace qlib::inline v0
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Numbers of type T: a code is the number's bits. Too many levels for a table; `level` lists the ends of the range and zero.
template <class T> struct number_grid {
    using code = typename T::storage;
    using number = T;
    static constexpr std::size_t bits = 8 * sizeof(code), vec = 1, size = 3;
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept { return i == 0 ? -T::max() : i == 1 ? 0.0f : T::max(); }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept { return T::from(*u, overflow::saturate).bits; }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = T{c}.value(); }
};

/// No map at all: a weight is its level. Encoders report a range that the numbers do not reach.
template <std::size_t N> struct unscaled {
    template <class Grid> struct bind {
        static constexpr std::size_t group = N, groups = 1;
        static constexpr form map = form::scaled;
        static constexpr extent tile{};
        using outer = no_outer;
        struct params { float scale = 1; };

        QLIB_INLINE static constexpr no_outer fit_outer(const tile_stats&) noexcept { return {}; }
        QLIB_INLINE static constexpr float outer_scale(no_outer) noexcept { return 1; }
        QLIB_INLINE static constexpr params project(const std::array<affine, 1>& wishes, no_outer) noexcept {
            const auto reach = Grid::number::from(detail::product(wishes[0].s, Grid::number::max())).value();
            return {detail::is_finite(reach) ? 1.0f : reach};
        }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.scale, 0}; }
        QLIB_INLINE static constexpr std::size_t field_bytes(field) noexcept { return 0; }
        QLIB_INLINE static constexpr void store_field(field, const params&, std::byte*) noexcept {}
        QLIB_INLINE static constexpr void load_field(field, params&, const std::byte*) noexcept {}
        QLIB_INLINE static constexpr void take_outer(params&, no_outer) noexcept {}
    };
};

/// Rows of f32, f16 or bf16, as files and engines hold them: any number of columns, no scales. Rounding is to nearest even.
template <class T> struct dense : format<number_grid<T>, unscaled<32>, inline_blocks<little_endian>> {};
struct dense_f32 : dense<f32> {};
struct dense_f16 : dense<f16> {};
struct dense_bf16 : dense<bf16> {};
static_assert(block_bytes<dense_f32> == 128 && block_bytes<dense_bf16> == 64);

}  // namespace qlib::inline v0
QLIB_EXACT_END
// FP8 weights: OFP8 codes under f32 scales of tiles. Source: DeepSeek-V3 (`weight_scale_inv`, 128 x 128), FBGEMM and vLLM (per row, per tensor).

namespace qlib::inline v0 {

/// E4M3 codes; T = f32 scale per 128 x 128 tile: abs-max / 448.
struct fp8_e4m3_tile128 : format<minifloat_grid<e4m3>, tile_scale<extent{128, 128}>> {};
/// E4M3 codes, an f32 scale per row.
struct fp8_e4m3_row : format<minifloat_grid<e4m3>, scale_per_row<>> {};
/// E4M3 codes, one f32 scale.
struct fp8_e4m3 : format<minifloat_grid<e4m3>, scale_per_tensor<>> {};
static_assert(block_bytes<fp8_e4m3> == 64);

}  // namespace qlib::inline v0
// int_format<int_spec{...}>: plain integer formats over bits, group, symmetry, scale type, granularity and layout.

namespace qlib::inline v0 {

/// Where zero lies on the integer grid, and how the scale reaches it.
enum class symmetry : std::uint8_t {
    full,        ///< -2^(b-1) .. 2^(b-1)-1, scale only; 1 bit: {-1, +1}
    restricted,  ///< -(2^(b-1)-1) .. 2^(b-1)-1, scale only; 2 bits or more
    zero_point,  ///< 0 .. 2^b-1 with an integer zero point as wide as a code: s * (q - z)
    offset,      ///< 0 .. 2^b-1 with an offset of the scale's type: s * q + z
};
inline constexpr symmetry symmetric = symmetry::full;
inline constexpr symmetry asymmetric = symmetry::zero_point;

/// The type that scales are stored in: f32, f16, bf16, e8m0 or e4m3.
enum class scale_type : std::uint8_t { float32, float16, bfloat16, power_of_two, float8_e4m3 };

/// What shares one scale.
enum class granularity : std::uint8_t { group, row, tensor, tile_128 };

/// Where the scales lie: before the codes of their group, or in planes of their own.
enum class placement : std::uint8_t { inline_blocks, planar };

/// A plain integer format as a value: int_format<int_spec{.bits = 4, .group = 128, .sym = asymmetric}>.
struct int_spec {
    int bits = 4;                                       ///< 1 to 8
    std::size_t group = 128;                            ///< weights to a scale, where granularity is group
    symmetry sym = symmetry::full;
    scale_type scale = scale_type::float16;
    qlib::granularity granularity = qlib::granularity::group;
    placement layout = placement::inline_blocks;
    bool tensor_scale = scale == scale_type::float8_e4m3;      ///< an f32 scale of the whole tensor above the groups' scales
};

namespace detail {

template <int_spec S> consteval auto int_grid() {
    static_assert(S.bits >= 1 && S.bits <= 8, "an integer format has 1 to 8 bits");
    static_assert(S.sym != symmetry::restricted || S.bits >= 2, "a restricted range needs 2 bits or more: 1 bit would leave only zero");
    if constexpr (S.sym == symmetry::zero_point || S.sym == symmetry::offset) return uint_grid<S.bits>{};
    else if constexpr (S.bits == 1) return sign_grid{};
    else if constexpr (S.sym == symmetry::restricted) return restricted_grid<S.bits>{};
    else return sint_grid<S.bits>{};
}
template <int_spec S> consteval auto int_scale() {
    if constexpr (S.scale == scale_type::float32) return f32{};
    else if constexpr (S.scale == scale_type::float16) return f16{};
    else if constexpr (S.scale == scale_type::bfloat16) return bf16{};
    else if constexpr (S.scale == scale_type::power_of_two) return e8m0{};
    else return e4m3{};
}
inline constexpr form map_of(symmetry s) noexcept {
    return s == symmetry::zero_point ? form::shifted : s == symmetry::offset ? form::offset : form::scaled;
}
template <int_spec S> consteval auto int_scales() {
    using T = decltype(int_scale<S>());
    constexpr form map = map_of(S.sym);
    if constexpr (S.granularity == granularity::row) return scale_per_row<T, map>{};
    else if constexpr (S.granularity == granularity::tensor) return scale_per_tensor<T, map>{};
    else if constexpr (S.granularity == granularity::tile_128) return tile_scale<extent{128, 128}, T, map>{};
    else if constexpr (map == form::scaled) return scale_per<S.group, T, 1, S.tensor_scale>{};
    else if constexpr (map == form::shifted) return scale_zero_per<S.group, T, 1, S.tensor_scale>{};
    else return scale_offset_per<S.group, T, 1, S.tensor_scale>{};
}
template <int_spec S> consteval auto int_layout() {
    if constexpr (S.layout == placement::planar) return planar<>{};
    else return inline_blocks<>{};
}

}  // namespace detail

/// The format of an int_spec. Codes stand one after another, least significant bit first; a row may end inside a group.
template <int_spec S>
struct int_format : format<decltype(detail::int_grid<S>()), decltype(detail::int_scales<S>()), decltype(detail::int_layout<S>())> {
    static constexpr int_spec spec = S;
};

/// Named ones: `int4_g32` is symmetric, `_asym` has an integer zero point.
struct int4_g32 : int_format<int_spec{.bits = 4, .group = 32}> {};
struct int4_g32_asym : int_format<int_spec{.bits = 4, .group = 32, .sym = asymmetric}> {};
struct int4_g128 : int_format<int_spec{.bits = 4, .group = 128}> {};
struct int4_g128_asym : int_format<int_spec{.bits = 4, .group = 128, .sym = asymmetric}> {};
struct int8_row : int_format<int_spec{.bits = 8, .sym = symmetry::restricted, .scale = scale_type::float32, .granularity = granularity::row}> {};

}  // namespace qlib::inline v0
// ggml's 4-bit "IQ" formats: a fixed codebook of 16 integers in place of equal steps. IQ4_NL, IQ4_XS. Source: ggml-common.h, ggml-quants.c.
// The searches of ggml's own encoders, to the bit: the order of every sum and product is part of the format's bytes.
// Source: ggml-quants.c, functions make_qx_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr float ggml_group_max_eps = 1e-15f;

/// The value of largest magnitude, the first of equals.
constexpr float extreme_of(const float* x, std::size_t n) noexcept {
    float largest = 0, extreme = 0;
    for (std::size_t i = 0; i < n; ++i)
        if (magnitude(x[i]) > largest) { largest = magnitude(x[i]); extreme = x[i]; }
    return extreme;
}

/// ggml's nearest_int: halves to even up to 2^22, beyond it what the sum's lower bits say: -2^22 for an infinity, 0 for a NaN. Scales
/// of subnormal weights have such inverses.
constexpr int nearest_int(float x) noexcept {
    return static_cast<int>(bits_of(x + 12582912.0f) & 0x007FFFFFu) - 0x00400000;  // 12582912 = 1.5 * 2^23
}

constexpr int clamp_int(int v, int low, int high) noexcept { return v < low ? low : v > high ? high : v; }

/// make_qx_quants, rmse type 1: a scale for levels -nmax .. nmax-1, weights w or, without, x^2. Writes levels + nmax.
constexpr float ggml_signed_search(std::size_t n, int nmax, const float* x, const float* w, std::uint8_t* codes) noexcept {
    const float extreme = extreme_of(x, n), steps = static_cast<float>(nmax);
    if (magnitude(extreme) < ggml_group_max_eps) {
        for (std::size_t i = 0; i < n; ++i) codes[i] = 0;
        return 0;
    }
    float scale = 0, best = 0;
    for (int k = 0; k <= 18; ++k) {  // the plain scale first, then -9 .. 9 tenths of a level around it
        const int is = k == 0 ? 0 : k <= 9 ? k - 10 : k - 9;
        const float inverse = k == 0 ? -steps / extreme : -(steps + product(0.1f, static_cast<float>(is))) / extreme;
        float lx = 0, ll = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const auto l = static_cast<float>(clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax - 1));
            const float weight = w != nullptr ? w[i] : product(x[i], x[i]);
            lx += product(product(weight, x[i]), l);
            ll += product(product(weight, l), l);
        }
        if (k == 0 ? false : !(ll > 0 && product(lx, lx) > product(best, ll))) continue;
        for (std::size_t i = 0; i < n; ++i)
            codes[i] = static_cast<std::uint8_t>(clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax - 1) + nmax);
        scale = ll != 0 ? lx / ll : 0;
        best = product(scale, lx);
    }
    return scale;
}

/// make_q3_quants: a scale for levels -nmax .. nmax-1 under weights x^2, codes improved one by one. Writes levels + nmax.
template <std::size_t N> constexpr float ggml_descent_search(int nmax, const float* x, std::uint8_t* codes) noexcept {
    const float extreme = extreme_of(x, N);
    for (std::size_t i = 0; i < N; ++i) codes[i] = 0;
    if (magnitude(extreme) < ggml_group_max_eps) return 0;
    const float inverse = -static_cast<float>(nmax) / extreme;
    std::array<int, N> l{};
    float lx = 0, ll = 0;
    for (std::size_t i = 0; i < N; ++i) {
        l[i] = clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax - 1);
        const float w = product(x[i], x[i]), level = static_cast<float>(l[i]);
        lx += product(product(w, x[i]), level);
        ll += product(product(w, level), level);
    }
    for (int pass = 0; pass < 5; ++pass) {
        bool changed = false;
        for (std::size_t i = 0; i < N; ++i) {
            const float w = product(x[i], x[i]), level = static_cast<float>(l[i]);
            float rest_lx = lx - product(product(w, x[i]), level);
            if (!(rest_lx > 0)) continue;
            float rest_ll = ll - product(product(w, level), level);
            const int tried = clamp_int(nearest_int(product(x[i], rest_ll) / rest_lx), -nmax, nmax - 1);
            if (tried == l[i]) continue;
            const auto t = static_cast<float>(tried);
            rest_lx += product(product(w, x[i]), t);
            rest_ll += product(product(w, t), t);
            if (!(rest_ll > 0 && product(product(rest_lx, rest_lx), ll) > product(product(lx, lx), rest_ll))) continue;
            l[i] = tried;
            lx = rest_lx;
            ll = rest_ll;
            changed = true;
        }
        if (!changed) break;
    }
    for (std::size_t i = 0; i < N; ++i) codes[i] = static_cast<std::uint8_t>(l[i] + nmax);
    return ll > 0 ? lx / ll : 0;
}

struct scale_and_min { float scale = 0, min = 0; };  // value = scale * l - min

/// Where make_qkx2_quants and make_qkx3_quants start and how far they step.
struct ggml_min_steps {
    float first, delta;
    int count;
    bool absolute_error = false;
};

/// make_qkx2_quants / make_qkx3_quants: scale and min for levels 0 .. nmax under weights w.
template <std::size_t N>
constexpr scale_and_min ggml_min_search(int nmax, const float* x, const float* w, std::uint8_t* codes, ggml_min_steps steps) noexcept {
    float low = x[0], high = x[0], sum_w = w[0], sum_x = product(sum_w, x[0]);
    for (std::size_t i = 1; i < N; ++i) {
        low = smaller(low, x[i]);
        high = larger(high, x[i]);
        sum_w += w[i];
        sum_x += product(w[i], x[i]);
    }
    if (low > 0) low = 0;
    if (high <= low) {  // make_qkx2 asks for equality, which is the same as long as low <= 0 <= high or low <= high
        for (std::size_t i = 0; i < N; ++i) codes[i] = 0;
        return {0, -low};
    }
    const auto levels = [&](float inverse, std::uint8_t* out) {
        for (std::size_t i = 0; i < N; ++i)
            out[i] = static_cast<std::uint8_t>(clamp_int(nearest_int(product(inverse, x[i] - low)), 0, nmax));
    };
    const auto error_of = [&](float scale, float min, const std::uint8_t* l) {
        float sum = 0;
        for (std::size_t i = 0; i < N; ++i) {
            const float e = product(scale, static_cast<float>(l[i])) + min - x[i];
            sum += product(w[i], steps.absolute_error ? magnitude(e) : product(e, e));
        }
        return sum;
    };
    const auto top = static_cast<float>(nmax);
    float scale = 1 / (top / (high - low));
    levels(top / (high - low), codes);
    float best = error_of(scale, low, codes);
    for (int is = 0; is <= steps.count; ++is) {
        std::array<std::uint8_t, N> trial{};
        levels((steps.first + product(steps.delta, static_cast<float>(is)) + top) / (high - low), trial.data());
        float l1 = 0, l2 = 0, xl = 0;
        for (std::size_t i = 0; i < N; ++i) {
            const auto l = static_cast<float>(trial[i]);
            l1 += product(w[i], l);
            l2 += product(product(w[i], l), l);
            xl += product(product(w[i], l), x[i]);
        }
        const float det = product(sum_w, l2) - product(l1, l1);
        if (!(det > 0)) continue;
        float s = (product(sum_w, xl) - product(sum_x, l1)) / det, m = (product(l2, sum_x) - product(l1, xl)) / det;
        if (m > 0) { m = 0; s = xl / l2; }
        const float e = error_of(s, m, trial.data());
        if (!(e < best)) continue;
        for (std::size_t i = 0; i < N; ++i) codes[i] = trial[i];
        best = e;
        scale = s;
        low = m;  // later steps start from the updated minimum, as the original does
    }
    return {scale, -low};
}

/// make_qp_quants: a scale for non-negative values on levels 0 .. nmax under weights w.
template <std::size_t N> constexpr float ggml_positive_search(int nmax, const float* x, const float* w, std::uint8_t* codes) noexcept {
    float high = 0;
    for (std::size_t i = 0; i < N; ++i) high = larger(high, x[i]);
    if (high < ggml_group_max_eps) {
        for (std::size_t i = 0; i < N; ++i) codes[i] = 0;
        return 0;
    }
    const auto error_of = [&](float inverse, bool limit) {
        const float scale = 1 / inverse;
        float sum = 0;
        for (std::size_t i = 0; i < N; ++i) {
            int l = nearest_int(product(inverse, x[i]));
            if (limit && l > nmax) l = nmax;
            const float e = x[i] - product(scale, static_cast<float>(l));
            sum += product(product(w[i], e), e);
        }
        return sum;
    };
    float inverse = static_cast<float>(nmax) / high, best = error_of(inverse, false);
    for (int is = -4; is <= 4; ++is) {
        if (is == 0) continue;
        const float tried = (product(0.1f, static_cast<float>(is)) + static_cast<float>(nmax)) / high, e = error_of(tried, true);
        if (e < best) { best = e; inverse = tried; }
    }
    float lx = 0, ll = 0;
    for (std::size_t i = 0; i < N; ++i) {
        const int l = clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax);
        codes[i] = static_cast<std::uint8_t>(l);
        lx += product(product(w[i], x[i]), static_cast<float>(l));
        ll += product(product(w[i], static_cast<float>(l)), static_cast<float>(l));
    }
    for (int pass = 0; pass < 5; ++pass) {
        bool changed = false;
        for (std::size_t i = 0; i < N; ++i) {
            const auto l = static_cast<float>(codes[i]);
            float rest_lx = lx - product(product(w[i], x[i]), l), rest_ll = ll - product(product(w[i], l), l);
            if (!(rest_lx > 0 && rest_ll > 0)) continue;
            const int tried = clamp_int(nearest_int(product(x[i], rest_ll) / rest_lx), 0, nmax);
            if (tried == codes[i]) continue;
            const auto t = static_cast<float>(tried);
            rest_lx += product(product(w[i], x[i]), t);
            rest_ll += product(product(w[i], t), t);
            if (!(product(product(rest_lx, rest_lx), ll) > product(product(lx, lx), rest_ll))) continue;
            codes[i] = static_cast<std::uint8_t>(tried);
            lx = rest_lx;
            ll = rest_ll;
            changed = true;
        }
        if (!changed) break;
    }
    return ll > 0 ? lx / ll : 0;
}

/// Importance of one weight as ggml's block types count it: qw * sqrt(sigma^2 + x^2).
constexpr float ggml_weight(float importance, float sigma2, float x) noexcept { return product(importance, square_root(sigma2 + product(x, x))); }

/// trunc(x), as the cast to int8 does for what the encoders feed it; total for the rest.
constexpr bool truncates(float x) noexcept { return x > -32768.0f && x < 32767.0f; }
constexpr int truncate(float x) noexcept { return truncates(x) ? static_cast<int>(x) : 0; }
/// roundf: halves away from zero; 0 for what truncate cannot do.
constexpr int round_away(float x) noexcept {
    if (!truncates(x)) return 0;
    const int t = truncate(x);
    const float rest = x - static_cast<float>(t);
    return rest >= 0.5f ? t + 1 : rest <= -0.5f ? t - 1 : t;
}

/// quantize_row_tq1_0_ref, tq2_0_ref and q2_0_ref: levels -1, 0, 1 under the block's abs-max, halves away from zero. `beyond`: the code
/// where the inverse of a subnormal abs-max is infinite.
template <class F> constexpr encoded<F> ggml_ternary_block(const site<F>& s, std::uint8_t beyond) noexcept {
    encoded<F> e;
    const float d = magnitude(extreme_of(s.x.data(), s.x.size())), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);
    for (std::size_t i = 0; i < s.x.size(); ++i)
        e.code[i] = is_finite(inverse) ? static_cast<std::uint8_t>(round_away(product(s.x[i], inverse)) + 1) : beyond;
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

inline constexpr std::array<float, 16> iq4_levels{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// Eight 6-bit scales, stored with 32 added: the upper two bits of all in two bytes, then the lower four in nibbles. Of IQ4_XS.
struct iq4_xs_scales {
    static constexpr std::size_t groups = 8, bytes = 6;
    static constexpr int sub_bits = 6, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 8>& sub, const std::array<std::uint8_t, 8>&, std::byte* out) noexcept {
        for (std::size_t j = 0; j < bytes; ++j) out[j] = std::byte{0};
        for (std::size_t j = 0; j < 8; ++j) {
            const auto v = static_cast<unsigned>(sub[j] + 32);
            out[j / 4] |= static_cast<std::byte>(v >> 4 << 2 * (j % 4));
            out[2 + j / 2] |= static_cast<std::byte>((v & 15) << 4 * (j % 2));
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 8>& sub, std::array<std::uint8_t, 8>&) noexcept {
        for (std::size_t j = 0; j < 8; ++j) {
            const unsigned high = std::to_integer<unsigned>(in[j / 4]) >> 2 * (j % 4) & 3, low = std::to_integer<unsigned>(in[2 + j / 2]) >> 4 * (j % 2) & 15;
            sub[j] = static_cast<std::int8_t>(static_cast<int>(low | high << 4) - 32);
        }
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// best_index_int8: the nearer of the two levels around x, of equals the upper.
constexpr std::uint8_t ggml_iq4_index(float x) noexcept {
    if (x <= iq4_levels[0]) return 0;
    if (x >= iq4_levels[15]) return 15;
    std::uint8_t up = 1;
    while (x >= iq4_levels[up]) ++up;
    return x - iq4_levels[up - 1] < iq4_levels[up] - x ? static_cast<std::uint8_t>(up - 1) : up;
}

/// The scale of 32 weights that quantize_row_iq4_nl_impl finds in 15 trials, under ggml's weights. 0 for a group of zeros.
constexpr float ggml_iq4_scale(const float* x, const float* importance, float sigma2) noexcept {
    const float extreme = extreme_of(x, 32);
    if (magnitude(extreme) < ggml_group_max_eps) return 0;
    float scale = 0, best = 0;
    for (int trial = -1; trial < 15; ++trial) {  // the plain scale first, then -7 .. 7 steps around it
        const float inverse = trial < 0 ? 1 / (-extreme / iq4_levels[0]) : (static_cast<float>(trial - 7) + iq4_levels[0]) / extreme;
        float qx = 0, qq = 0;
        for (std::size_t i = 0; i < 32; ++i) {
            const float q = iq4_levels[ggml_iq4_index(product(inverse, x[i]))];
            const float w = importance != nullptr ? ggml_weight(importance[i], sigma2, x[i]) : product(x[i], x[i]);
            qx += product(product(w, q), x[i]);
            qq += product(product(w, q), q);
        }
        if (trial < 0 ? !(qq > 0) : !(qq > 0 && product(qx, qx) > product(best, qq))) continue;
        scale = qx / qq;
        best = product(scale, qx);
    }
    return scale;
}

/// 2 / n times the sum of squares, in ggml's order.
constexpr float ggml_iq4_sigma2(std::span<const float> x) noexcept {
    float sum = 0;
    for (const float v : x) sum += product(v, v);
    return product(sum, 2.0f / static_cast<float>(x.size()));
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.5 bits: the codebook under an f16 scale per 32 weights. ggml, block_iq4_nl.
struct iq4_nl : format<codebook_grid<iq4_levels>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<iq4_nl> reference(const site<iq4_nl>& s) noexcept {
        encoded<iq4_nl> e;
        const float d = detail::ggml_iq4_scale(s.x.data(), s.importance.empty() ? nullptr : s.importance.data(), detail::ggml_iq4_sigma2(s.x));
        const float inverse = d != 0 ? 1 / d : 0.0f;
        e.params.scale[0] = f16::from(d);  // codes come from the scale before it is rounded
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = detail::ggml_iq4_index(detail::product(inverse, s.x[i]));
        return e;
    }
};
static_assert(block_bytes<iq4_nl> == 18);

/// 4.25 bits: eight groups of 32 with signed 6-bit scales. ggml, block_iq4_xs.
struct iq4_xs : format<codebook_grid<iq4_levels>, two_level<32, iq4_xs_scales>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<iq4_xs> reference(const site<iq4_xs>& s) noexcept {
        encoded<iq4_xs> e;
        float scale[8];
        const float sigma2 = detail::ggml_iq4_sigma2(s.x);
        for (std::size_t g = 0; g < 8; ++g)
            scale[g] = detail::ggml_iq4_scale(&s.x[32 * g], s.importance.empty() ? nullptr : &s.importance[32 * g], sigma2);
        const float d = -detail::extreme_of(scale, 8) / 32, inverse = d != 0 ? 1 / d : 0.0f;
        e.params.super = f16::from(d);
        for (std::size_t g = 0; g < 8; ++g) {
            const int l = detail::clamp_int(detail::nearest_int(detail::product(inverse, scale[g])), -32, 31);
            const float sub = detail::product(d, static_cast<float>(l)), sub_inverse = sub != 0 ? 1 / sub : 0.0f;
            e.params.sub[g] = static_cast<std::int8_t>(l);
            for (std::size_t i = 32 * g; i < 32 * g + 32; ++i) e.code[i] = detail::ggml_iq4_index(detail::product(sub_inverse, s.x[i]));
        }
        return e;
    }
};
static_assert(block_bytes<iq4_xs> == 136);

}  // namespace qlib::inline v0
QLIB_EXACT_END
// ggml's 256-weight super-blocks, "K-quants" in llama.cpp: Q2_K to Q6_K. Source: ggml-common.h, ggml-quants.c.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Eight 6-bit scales and eight 6-bit mins in 12 bytes: four of each in whole bytes, whose upper two bits hold the upper bits of the
/// other four. Of Q4_K and Q5_K.
struct six_bit_scales_and_mins {
    static constexpr std::size_t groups = 8, bytes = 12;
    static constexpr int sub_bits = 6, min_bits = 6;
    static constexpr bool sub_signed = false;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 8>& sub, const std::array<std::uint8_t, 8>& min, std::byte* out) noexcept {
        for (std::size_t j = 0; j < 4; ++j) {
            const auto low_sub = static_cast<unsigned>(sub[j]), high_sub = static_cast<unsigned>(sub[j + 4]);
            const unsigned low_min = min[j], high_min = min[j + 4];
            out[j] = static_cast<std::byte>(low_sub | high_sub >> 4 << 6);
            out[j + 4] = static_cast<std::byte>(low_min | high_min >> 4 << 6);
            out[j + 8] = static_cast<std::byte>((high_sub & 15) | (high_min & 15) << 4);
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 8>& sub, std::array<std::uint8_t, 8>& min) noexcept {
        for (std::size_t j = 0; j < 4; ++j) {
            const unsigned s = std::to_integer<unsigned>(in[j]), m = std::to_integer<unsigned>(in[j + 4]), low = std::to_integer<unsigned>(in[j + 8]);
            sub[j] = static_cast<std::int8_t>(s & 63);
            min[j] = static_cast<std::uint8_t>(m & 63);
            sub[j + 4] = static_cast<std::int8_t>((low & 15) | s >> 6 << 4);
            min[j + 4] = static_cast<std::uint8_t>(low >> 4 | m >> 6 << 4);
        }
    }
};

/// Sixteen 4-bit scales in the low nibbles, mins in the high ones. Of Q2_K.
struct nibble_scales_and_mins {
    static constexpr std::size_t groups = 16, bytes = 16;
    static constexpr int sub_bits = 4, min_bits = 4;
    static constexpr bool sub_signed = false;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>& min, std::byte* out) noexcept {
        for (std::size_t j = 0; j < 16; ++j) out[j] = static_cast<std::byte>(static_cast<unsigned>(sub[j]) | static_cast<unsigned>(min[j]) << 4);
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>& min) noexcept {
        for (std::size_t j = 0; j < 16; ++j) {
            sub[j] = static_cast<std::int8_t>(std::to_integer<unsigned>(in[j]) & 15);
            min[j] = static_cast<std::uint8_t>(std::to_integer<unsigned>(in[j]) >> 4);
        }
    }
};

/// Sixteen 6-bit scales, stored with 32 added: low nibbles of two in each of eight bytes, the upper bits of four in each of four more. Of Q3_K.
struct six_bit_signed_scales {
    static constexpr std::size_t groups = 16, bytes = 12;
    static constexpr int sub_bits = 6, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&, std::byte* out) noexcept {
        for (std::size_t j = 0; j < bytes; ++j) out[j] = std::byte{0};
        for (std::size_t j = 0; j < 16; ++j) {
            const auto v = static_cast<unsigned>(sub[j] + 32);
            out[j % 8] |= static_cast<std::byte>((v & 15) << (j < 8 ? 0 : 4));
            out[8 + j % 4] |= static_cast<std::byte>(v >> 4 << 2 * (j / 4));
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>&) noexcept {
        for (std::size_t j = 0; j < 16; ++j) {
            const unsigned low = std::to_integer<unsigned>(in[j % 8]) >> (j < 8 ? 0 : 4) & 15, high = std::to_integer<unsigned>(in[8 + j % 4]) >> 2 * (j / 4) & 3;
            sub[j] = static_cast<std::int8_t>(static_cast<int>(low | high << 4) - 32);
        }
    }
};

/// Sixteen signed bytes. Of Q6_K.
struct int8_scales {
    static constexpr std::size_t groups = 16, bytes = 16;
    static constexpr int sub_bits = 8, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&, std::byte* out) noexcept {
        for (std::size_t j = 0; j < 16; ++j) out[j] = static_cast<std::byte>(sub[j]);
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>&) noexcept {
        for (std::size_t j = 0; j < 16; ++j) sub[j] = static_cast<std::int8_t>(std::to_integer<std::uint8_t>(in[j]));
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Codes chosen again under the scales as stored; a group whose scale became 0 keeps what its search left.
template <class F> constexpr void ggml_requantize(const site<F>& s, encoded<F>& e) noexcept {
    constexpr int low = static_cast<int>(F::grid::lowest), high = static_cast<int>(F::grid::highest);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const affine a = F::at(e.params, g);
        if (a.s == 0) continue;
        for (std::size_t i = g * F::group; i < (g + 1) * F::group; ++i)
            e.code[i] = static_cast<std::uint8_t>(clamp_int(nearest_int((s.x[i] - a.z) / a.s), low, high) - low);
    }
}

/// Sub-scales or mins on 0 .. nmax, each group's `v`, without importance: the largest decides.
template <std::size_t N, class Code> constexpr f16 ggml_plain_subs(const float* v, int nmax, Code* subs) noexcept {
    float high = 0;
    for (std::size_t g = 0; g < N; ++g) high = larger(high, v[g]);
    const float inverse = high > 0 ? static_cast<float>(nmax) / high : 0.0f;
    for (std::size_t g = 0; g < N; ++g) {
        const auto l = static_cast<std::uint8_t>(nearest_int(product(inverse, v[g])));
        subs[g] = static_cast<Code>(l < nmax ? l : nmax);
    }
    return f16::from(high / static_cast<float>(nmax));
}

/// What differs between the encoders of Q2_K, Q4_K and Q5_K.
struct ggml_mins_recipe {
    ggml_min_steps plain;     ///< without importance
    bool rms_weight;          ///< weights there: the group's rms + |x|, or |x| alone
    float sigma2_factor;      ///< times the block's mean square: sigma^2 under an importance matrix
};

/// quantize_row_q2_K_ref, q4_K_ref and q5_K_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_block_with_mins(const site<F>& s, ggml_mins_recipe recipe) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    constexpr int nmax = static_cast<int>(F::grid::highest);
    encoded<F> e;
    float scale[G], min[G], weight_sum[G];
    const bool weighted = !s.importance.empty();
    float sum = 0;
    for (const float v : s.x) sum += product(v, v);
    const float sigma2 = product(recipe.sigma2_factor, sum) / static_cast<float>(G * N);
    for (std::size_t g = 0; g < G; ++g) {
        const float* x = &s.x[g * N];
        float w[N], x2 = 0;
        for (std::size_t i = 0; i < N; ++i) x2 += product(x[i], x[i]);
        const float rms = recipe.rms_weight ? square_root(x2 / static_cast<float>(N)) : 0.0f;
        weight_sum[g] = 0;
        for (std::size_t i = 0; i < N; ++i) {
            w[i] = weighted ? ggml_weight(s.importance[g * N + i], sigma2, x[i]) : rms + magnitude(x[i]);
            weight_sum[g] += w[i];
        }
        const auto found = ggml_min_search<N>(nmax, x, w, &e.code[g * N], weighted ? ggml_min_steps{-0.9f, 0.05f, 36} : recipe.plain);
        scale[g] = found.scale;
        min[g] = found.min;
    }
    std::array<std::uint8_t, G> subs{};
    if (weighted) {
        e.params.super = f16::from(ggml_positive_search<G>(F::sub_high, scale, weight_sum, subs.data()));
        e.params.super_min = f16::from(ggml_positive_search<G>(F::min_high, min, weight_sum, e.params.min.data()));
    } else {
        e.params.super = ggml_plain_subs<G>(scale, F::sub_high, subs.data());
        e.params.super_min = ggml_plain_subs<G>(min, F::min_high, e.params.min.data());
    }
    for (std::size_t g = 0; g < G; ++g) e.params.sub[g] = static_cast<std::int8_t>(subs[g]);
    ggml_requantize(s, e);
    return e;
}

/// quantize_row_q3_K_ref, and its _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_q3_super_block(const site<F>& s) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    constexpr int nmax = -static_cast<int>(F::grid::lowest);
    encoded<F> e;
    float scale[G];
    std::array<std::uint8_t, G> subs{};
    if (!s.importance.empty()) {
        float sum = 0, weight_sum[G];
        for (const float v : s.x) sum += product(v, v);
        const float sigma2 = product(2.0f, sum) / static_cast<float>(G * N);
        for (std::size_t g = 0; g < G; ++g) {
            float w[N];
            weight_sum[g] = 0;
            for (std::size_t i = 0; i < N; ++i) {
                w[i] = ggml_weight(s.importance[g * N + i], sigma2, s.x[g * N + i]);
                weight_sum[g] += w[i];
            }
            scale[g] = ggml_signed_search(N, nmax, &s.x[g * N], w, &e.code[g * N]);
        }
        e.params.super = f16::from(ggml_signed_search(G, -F::sub_low, scale, weight_sum, subs.data()));
    } else {
        for (std::size_t g = 0; g < G; ++g) scale[g] = ggml_descent_search<N>(nmax, &s.x[g * N], &e.code[g * N]);
        const float extreme = extreme_of(scale, G);
        if (extreme != 0) {
            const float inverse = static_cast<float>(F::sub_low) / extreme;
            for (std::size_t g = 0; g < G; ++g)
                subs[g] = static_cast<std::uint8_t>(clamp_int(nearest_int(product(inverse, scale[g])), F::sub_low, F::sub_high) - F::sub_low);
            e.params.super = f16::from(1 / inverse);
        }
    }
    for (std::size_t g = 0; g < G; ++g) e.params.sub[g] = static_cast<std::int8_t>(subs[g] + F::sub_low);
    ggml_requantize(s, e);
    return e;
}

/// quantize_row_q6_K_ref, and its _impl, which takes the importance as the weight.
template <class F> constexpr encoded<F> ggml_signed_super_block(const site<F>& s) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    encoded<F> e;
    float scale[G];
    for (std::size_t g = 0; g < G; ++g)
        scale[g] = ggml_signed_search(N, -static_cast<int>(F::grid::lowest), &s.x[g * N], s.importance.empty() ? nullptr : &s.importance[g * N], &e.code[g * N]);
    const float extreme = extreme_of(scale, G);
    if (magnitude(extreme) < ggml_group_max_eps) return {};
    const float inverse = static_cast<float>(F::sub_low) / extreme;
    e.params.super = f16::from(1 / inverse);
    for (std::size_t g = 0; g < G; ++g) {
        const int l = nearest_int(product(inverse, scale[g]));
        e.params.sub[g] = static_cast<std::int8_t>(l < F::sub_high ? l : F::sub_high);
    }
    ggml_requantize(s, e);
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 2.625 bits: levels 0..3, sixteen groups of 16 with 4-bit scales and mins. ggml, block_q2_K.
struct q2_k : format<uint_grid<2>, two_level<16, nibble_scales_and_mins>,
                     inline_blocks<bit_planes<plane{2, 32}>, field::subs, field::codes, field::scales, field::zeros>> {
    QLIB_INLINE static constexpr encoded<q2_k> reference(const site<q2_k>& s) noexcept {
        return detail::ggml_block_with_mins(s, {{-0.5f, 0.1f, 15, true}, false, 1.0f});
    }
};
static_assert(block_bytes<q2_k> == 84);

/// 3.4375 bits: levels -4..3, sixteen groups of 16 with signed 6-bit scales. ggml, block_q3_K.
struct q3_k : format<sint_grid<3>, two_level<16, six_bit_signed_scales>,
                     inline_blocks<bit_planes<plane{1, 32, 2}, plane{2, 32}>, field::codes, field::subs, field::scales>> {
    QLIB_INLINE static constexpr encoded<q3_k> reference(const site<q3_k>& s) noexcept { return detail::ggml_q3_super_block(s); }
};
static_assert(block_bytes<q3_k> == 110);

/// 4.5 bits: levels 0..15, eight groups of 32 with 6-bit scales and mins. ggml, block_q4_K.
struct q4_k : format<uint_grid<4>, two_level<32, six_bit_scales_and_mins>, inline_blocks<nibbles_split<32>>> {
    QLIB_INLINE static constexpr encoded<q4_k> reference(const site<q4_k>& s) noexcept {
        return detail::ggml_block_with_mins(s, {{-1.0f, 0.1f, 20}, true, 2.0f});
    }
};
static_assert(block_bytes<q4_k> == 144);

/// 5.5 bits: levels 0..31, eight groups of 32 with 6-bit scales and mins. ggml, block_q5_K.
struct q5_k : format<uint_grid<5>, two_level<32, six_bit_scales_and_mins>, inline_blocks<bit_planes<plane{1, 32, 4}, plane{4, 32}>>> {
    QLIB_INLINE static constexpr encoded<q5_k> reference(const site<q5_k>& s) noexcept {
        return detail::ggml_block_with_mins(s, {{-0.5f, 0.1f, 15}, true, 2.0f});
    }
};
static_assert(block_bytes<q5_k> == 176);

/// 6.5625 bits: levels -32..31, sixteen groups of 16 with signed 8-bit scales. ggml, block_q6_K.
struct q6_k : format<sint_grid<6>, two_level<16, int8_scales>,
                     inline_blocks<bit_planes<plane{4, 64}, plane{2, 32, 4}>, field::codes, field::subs, field::scales>> {
    QLIB_INLINE static constexpr encoded<q6_k> reference(const site<q6_k>& s) noexcept { return detail::ggml_signed_super_block(s); }
};
static_assert(block_bytes<q6_k> == 210);

}  // namespace qlib::inline v0
QLIB_EXACT_END
// ggml's blocks of one level, "legacy quants" in llama.cpp: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, and Q1_0 Q2_0.
// Source: ggml-common.h, ggml-quants.c.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// quantize_row_q4_0_ref and q5_0_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_signed_block(const site<F>& s) noexcept {
    constexpr int half = 1 << (F::grid::bits - 1);
    encoded<F> e;
    if (!s.importance.empty()) {
        float w[32];
        for (std::size_t i = 0; i < 32; ++i) w[i] = ggml_weight(s.importance[i], s.row_mean_square, s.x[i]);
        e.params.scale[0] = f16::from(ggml_signed_search(32, half, s.x.data(), w, e.code.data()));
        return e;
    }
    const float d = extreme_of(s.x.data(), 32) / static_cast<float>(-half), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);  // codes come from the scale before it is rounded
    for (std::size_t i = 0; i < 32; ++i) {
        const int q = truncate(product(s.x[i], inverse) + (static_cast<float>(half) + 0.5f));
        e.code[i] = static_cast<std::uint8_t>(q < 2 * half - 1 ? q : 2 * half - 1);
    }
    return e;
}

/// quantize_row_q4_1_ref and q5_1_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_offset_block(const site<F>& s) noexcept {
    constexpr int top = (1 << F::grid::bits) - 1;
    encoded<F> e;
    if (!s.importance.empty()) {
        float w[32];
        for (std::size_t i = 0; i < 32; ++i) w[i] = ggml_weight(s.importance[i], s.row_mean_square, s.x[i]);
        const auto found = ggml_min_search<32>(top, s.x.data(), w, e.code.data(), {-0.9f, 0.05f, 36});
        e.params.scale[0] = f16::from(found.scale);
        e.params.zeros[0] = f16::from(-found.min);
        return e;
    }
    float low = s.x[0], high = s.x[0];
    for (const float v : s.x) {
        if (v < low) low = v;
        if (v > high) high = v;
    }
    const float d = (high - low) / static_cast<float>(top), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);
    e.params.zeros[0] = f16::from(low);
    for (std::size_t i = 0; i < 32; ++i) {
        const int q = truncate(product(s.x[i] - low, inverse) + 0.5f);
        e.code[i] = static_cast<std::uint8_t>(q < top ? q : top);
    }
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.5 bits: levels -8..7 under an f16 scale. ggml, block_q4_0.
struct q4_0 : format<sint_grid<4>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<q4_0> reference(const site<q4_0>& s) noexcept { return detail::ggml_signed_block(s); }
};
static_assert(block_bytes<q4_0> == 18);

/// 5 bits: levels 0..15 under an f16 scale and offset. ggml, block_q4_1.
struct q4_1 : format<uint_grid<4>, scale_offset_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<q4_1> reference(const site<q4_1>& s) noexcept { return detail::ggml_offset_block(s); }
};
static_assert(block_bytes<q4_1> == 20);

/// 5.5 bits: levels -16..15; the fifth bits stand before the nibbles. ggml, block_q5_0.
struct q5_0 : format<sint_grid<5>, scale_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    QLIB_INLINE static constexpr encoded<q5_0> reference(const site<q5_0>& s) noexcept { return detail::ggml_signed_block(s); }
};
static_assert(block_bytes<q5_0> == 22);

/// 6 bits: levels 0..31 under an f16 scale and offset. ggml, block_q5_1.
struct q5_1 : format<uint_grid<5>, scale_offset_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    QLIB_INLINE static constexpr encoded<q5_1> reference(const site<q5_1>& s) noexcept { return detail::ggml_offset_block(s); }
};
static_assert(block_bytes<q5_1> == 24);

/// 8.5 bits: int8 under an f16 scale. ggml, block_q8_0; ignores importance.
struct q8_0 : format<int8_grid, scale_per<32, f16>, inline_blocks<whole_bytes>> {
    QLIB_INLINE static constexpr encoded<q8_0> reference(const site<q8_0>& s) noexcept {
        encoded<q8_0> e;
        const float d = detail::magnitude(detail::extreme_of(s.x.data(), 32)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        e.params.scale[0] = f16::from(d);
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = static_cast<std::uint8_t>(detail::round_away(detail::product(s.x[i], inverse)));
        return e;
    }
};
static_assert(block_bytes<q8_0> == 34);

/// 1.125 bits: -1 and +1 under an f16 scale per 128 weights. ggml, block_q1_0; ignores importance.
struct q1_0 : format<sign_grid, scale_per<128, f16>, inline_blocks<bit_planes<plane{1, 1}>>> {
    QLIB_INLINE static constexpr encoded<q1_0> reference(const site<q1_0>& s) noexcept {
        encoded<q1_0> e;
        float sum = 0;
        for (const float v : s.x) sum += detail::magnitude(v);
        e.params.scale[0] = f16::from(sum / 128);
        for (std::size_t i = 0; i < 128; ++i) e.code[i] = s.x[i] >= 0 ? 1 : 0;
        return e;
    }
};
static_assert(block_bytes<q1_0> == 18);

/// 2.25 bits: levels -1..2 under an f16 scale per 64 weights. ggml, block_q2_0, whose own encoder never uses the 2; ignores importance.
struct q2_0 : format<integer_grid<2, -1>, scale_per<64, f16>, inline_blocks<bit_planes<plane{2, 1}>>> {
    QLIB_INLINE static constexpr encoded<q2_0> reference(const site<q2_0>& s) noexcept {
        return detail::ggml_ternary_block(s, 0);
    }
};
static_assert(block_bytes<q2_0> == 18);

}  // namespace qlib::inline v0
QLIB_EXACT_END
// Microscaling formats in ggml's blocks: MXFP4 and NVFP4. Sources: ggml-common.h, ggml-quants.c; OCP MX v1.0; NVIDIA's NVFP4.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// E4M3 without its sign, as ggml reads it: codes 0 and 127 are zero, the top bit is ignored. Written as E4M3 rounds, saturating at 448.
struct ue4m3 {
    using storage = std::uint8_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        if (bits == 0 || bits == 0x7F) return 0;
        // 0xFF goes on where E4M3 has its NaN: 1.875 * 2^8.
        return (bits & 0x7F) == 0x7F ? 480.0f : e4m3{static_cast<storage>(bits & 0x7F)}.value();
    }
    [[nodiscard]] QLIB_INLINE static constexpr ue4m3 from(float x, overflow = overflow::saturate, rounding r = rounding::nearest_even) noexcept {
        return {x > 0 ? e4m3::from(x, overflow::saturate, r).bits : storage{0}};
    }
    [[nodiscard]] static constexpr float max() noexcept { return 448; }
    /// ggml's own rounding: halves up, and 448 for all from 248 on.
    [[nodiscard]] QLIB_INLINE static constexpr ue4m3 from_ggml(float x) noexcept {
        if (!(x > 0)) return {0};
        if (x >= 248.0f) return {0x7E};
        if (x < 0x1p-6f) {
            const auto man = static_cast<int>(detail::product(x, 512.0f) + 0.5f);
            return {static_cast<storage>(man > 7 ? 7 : man)};
        }
        const std::uint32_t u = detail::bits_of(x) + (1u << 19);
        return {static_cast<storage>(((u >> 23) - 120) << 3 | (u >> 20 & 7))};
    }
};

/// Half of an E8M0 value, ggml's scale of doubled E2M1 levels: 2^(bits - 128). Code 255 is 2^127, no NaN.
struct half_e8m0 {
    using storage = std::uint8_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        return detail::float_of(bits < 2 ? 0x00200000u << bits : static_cast<std::uint32_t>(bits - 1) << 23);
    }
    /// Never 255, which ggml's validation refuses.
    [[nodiscard]] QLIB_INLINE static constexpr half_e8m0 from(float x, overflow = overflow::saturate, rounding r = rounding::nearest_even) noexcept {
        return {e8m0::from(x < 0x1p126f ? 2 * x : 0x1p127f, overflow::saturate, r).bits};
    }
    [[nodiscard]] static constexpr float max() noexcept { return 0x1p126f; }
};

template <> inline constexpr const char* scale_type_name<ue4m3> = "ue4m3";
template <> inline constexpr const char* scale_type_name<half_e8m0> = "half_e8m0";

/// E2M1 in code order; code 8 is a plain zero, and none chooses it.
inline constexpr std::array<float, 16> e2m1_levels{0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// Twice those levels: integers.
inline constexpr std::array<float, 16> doubled_e2m1_levels{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The first of the levels nearest to x under scale d, in code order: ggml's choice for both formats.
constexpr std::uint8_t ggml_first_nearest(const std::array<float, 16>& levels, float d, float x) noexcept {
    std::uint8_t best = 0;
    float least = magnitude(product(levels[0], d) - x);
    for (std::uint8_t c = 1; c < 16; ++c) {
        const float e = magnitude(product(levels[c], d) - x);
        if (e < least) { least = e; best = c; }
    }
    return best;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.25 bits: E2M1 under a power of two per 32 weights. ggml, block_mxfp4; ignores importance. The reference takes the exponent of the
/// abs-max from its bits; ggml takes log2f, which glibc rounds up for about 250 floats just below powers of two.
struct mxfp4 : format<codebook_grid<doubled_e2m1_levels>, scale_per<32, half_e8m0>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<mxfp4> reference(const site<mxfp4>& s) noexcept {
        encoded<mxfp4> e;
        const float amax = detail::magnitude(detail::extreme_of(s.x.data(), 32));
        const auto exponent = static_cast<int>(detail::bits_of(amax) >> 23) - 2;
        e.params.scale[0].bits = static_cast<std::uint8_t>(exponent > 0 ? exponent : 0);
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = detail::ggml_first_nearest(doubled_e2m1_levels, e.params.scale[0].value(), s.x[i]);
        return e;
    }
};
static_assert(block_bytes<mxfp4> == 17);

/// 4.5 bits: E2M1 in groups of 16 under E4M3 scales, four groups to a block, and an f32 scale of the tensor (GGUF: `<name>.scale`), which
/// ggml's own encoder leaves at 1.
struct nvfp4 : format<codebook_grid<e2m1_levels>, scale_per<16, ue4m3, 4, true>, inline_blocks<nibbles_split<8>>> {
    QLIB_INLINE static constexpr float reference_outer(const tile_stats&) noexcept { return 1; }
    QLIB_INLINE static constexpr encoded<nvfp4> reference(const site<nvfp4>& s) noexcept {
        encoded<nvfp4> e;
        for (std::size_t g = 0; g < groups; ++g) {
            const float amax = detail::magnitude(detail::extreme_of(&s.x[16 * g], 16));
            e.params.scale[g] = ue4m3::from_ggml(amax / 6.0f);
            for (std::size_t i = 16 * g; i < 16 * g + 16; ++i) e.code[i] = detail::ggml_first_nearest(e2m1_levels, e.params.scale[g].value(), s.x[i]);
        }
        return e;
    }
};
static_assert(block_bytes<nvfp4> == 36);

}  // namespace qlib::inline v0
QLIB_EXACT_END
// NF4 and its double quantization, bitsandbytes' bytes. Source: Dettmers et al., QLoRA (2023); bitsandbytes functional.py.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// The quantiles of a normal distribution, with an exact 0 and both ends.
inline constexpr std::array<float, 16> nf4_levels{
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

/// bitsandbytes' own thresholds between them: the midpoints, of which it rounds four the other way. x above one is the higher level.
inline constexpr std::array<float, 15> nf4_thresholds{
    -0.8480964004993439f, -0.6106329262256622f, -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f, -0.13791173323988914f,
    -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f, 0.2035212516784668f, 0.2920137718319893f, 0.3893125355243683f,
    0.5016634166240692f, 0.6427869200706482f, 0.8614784178118011f};
using nf4_grid = codebook_grid<nf4_levels, nf4_thresholds>;

namespace detail {

/// bitsandbytes' signed dynamic map of 8 bits, ascending: +-10^(i-6) times the means of 2^i + 1 points from 0.1 to 1, and 0 and 1.
/// torch.linspace computes its points with FMA, which a double product and sum of floats reproduce exactly.
inline constexpr std::array<float, 256> dynamic_map = [] {
    constexpr std::array<float, 7> decade{1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    std::array<float, 256> map{};
    std::size_t at = 128;  // 127 is zero, and each value's negative mirrors it there
    for (std::size_t i = 0; i < 7; ++i) {
        const std::size_t steps = std::size_t{1} << i;
        const float step = (1.0f - 0.1f) / static_cast<float>(steps);
        const auto point = [&](std::size_t k) {
            const bool from_start = k < (steps + 1) / 2;
            const double base = static_cast<double>(from_start ? 0.1f : 1.0f), s = static_cast<double>(from_start ? step : -step);
            return static_cast<float>(s * static_cast<double>(from_start ? k : steps - k) + base);
        };
        for (std::size_t k = 0; k < steps; ++k, ++at) {
            map[at] = decade[i] * ((point(k) + point(k + 1)) / 2);
            map[254 - at] = -map[at];
        }
    }
    map[255] = 1.0f;
    return map;
}();

}  // namespace detail

/// The scale of every N weights as an 8-bit code of bitsandbytes' dynamic map, under one f32 per `Blocks` of them and the tensor's mean:
/// scale = map[code] * second + mean. A scale is abs-max / highest level. Tiles run along storage, over row ends.
template <std::size_t N, std::size_t Blocks> struct double_quantized_scale_per {
    template <class Grid> struct bind {
        static constexpr std::size_t group = N, groups = 1;
        static constexpr form map = form::scaled;
        static constexpr extent tile{0, N * Blocks, true};
        static constexpr bool signed_scale = false, signed_offset = true;
        static constexpr bool outer_multiplies = false;  // consumed in `at`

        struct outer { float second = 0, mean = 0; };
        struct params { std::uint8_t code = 0; float scale = 0; };

        QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept {
            constexpr float top = highest_level<Grid>;
            outer o{0, stats.mean_abs_max / top};
            for (const float m : stats.block_abs_max) o.second = detail::larger(o.second, detail::magnitude(m / top - o.mean));
            return o;
        }
        QLIB_INLINE static constexpr float outer_scale(const outer&) noexcept { return 1; }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.scale, 0}; }
        QLIB_INLINE static constexpr params project(const std::array<affine, 1>& wishes, const outer& o) noexcept {
            const float u = detail::product(wishes[0].s - o.mean, detail::safe_reciprocal(o.second));
            params p{codebook_grid<detail::dynamic_map>::nearest(&u, nullptr), 0};
            take_outer(p, o);
            return p;
        }
        QLIB_INLINE static constexpr void take_outer(params& p, const outer& o) noexcept {
            p.scale = detail::product(detail::dynamic_map[p.code], o.second) + o.mean;
        }

        QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept { return f == field::scales ? 1 : 0; }
        QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
            if (f == field::scales) *out = static_cast<std::byte>(p.code);
        }
        QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
            if (f == field::scales) p.code = std::to_integer<std::uint8_t>(*in);
        }
        static constexpr std::size_t outer_bytes = sizeof(float), tensor_bytes = sizeof(float);
        QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte* tensor) noexcept {
            detail::store_little_endian(f32::from(o.second), out);
            detail::store_little_endian(f32::from(o.mean), tensor);
        }
        QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte* tensor) noexcept {
            return {detail::load_little_endian<f32>(in).value(), detail::load_little_endian<f32>(tensor).value()};
        }
    };
};

/// 4.5 bits: NF4 codes, an f32 abs-max per 64 weights along storage. Planes: codes (first of a pair in the high nibble), abs-max.
struct nf4 : format<nf4_grid, scale_per<64, f32>, flat_planar<high_nibble_first>> {};
static_assert(block_bytes<nf4> == 36);

/// 4.127 bits: NF4 with its abs-max in 8 bits under an f32 per 256 blocks, and the mean abs-max in the tensor plane.
struct nf4_dq : format<nf4_grid, double_quantized_scale_per<64, 256>, flat_planar<high_nibble_first>> {};
static_assert(block_bytes<nf4_dq> == 33);

}  // namespace qlib::inline v0
QLIB_EXACT_END
// Ternary weights: -1, 0, +1. ggml's TQ1_0 and TQ2_0, and a block of qlib's own. Source: ggml-common.h, ggml-quants.c.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// 1.8 bits: base-3 codes, five to a byte, under an f16 scale per 80 weights. A row may end inside a block.
struct ternary_g80 : format<ternary_grid, scale_per<80, f16>, inline_blocks<trits>> {};
static_assert(block_bytes<ternary_g80> == 18);

/// The codes of TQ1_0: 256 trits in 52 bytes, five to a byte and four to each of the last four. A byte holds v * 256 / 243, rounded up,
/// so that multiplying by 3 brings one trit after another into the carry.
struct tq1_trits {
    static constexpr bool ragged = false;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept { return n / 256 * 52; }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        for (const run& r : runs)
            for (std::size_t m = 0; m < r.bytes; ++m) {
                unsigned v = 0;
                for (std::size_t n = 0; n < 5; ++n) v = 3 * v + (n < r.trits ? c[r.first + m + n * r.bytes] : 0u);
                *out++ = static_cast<std::byte>((v * 256 + 242) / 243);
            }
    }
    template <std::size_t B, class Code> QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        for (const run& r : runs)
            for (std::size_t m = 0; m < r.bytes; ++m) {
                unsigned v = std::to_integer<unsigned>(*in++);
                for (std::size_t n = 0; n < r.trits; ++n, v = v * 3 & 255) c[r.first + m + n * r.bytes] = static_cast<Code>(v * 3 >> 8);
            }
    }

private:
    struct run { std::size_t first, bytes, trits; };
    static constexpr std::array<run, 3> runs{run{0, 32, 5}, run{160, 16, 5}, run{240, 4, 4}};
};

/// 1.6875 bits. ggml, block_tq1_0; ignores importance.
struct tq1_0 : format<ternary_grid, scale_per<256, f16>, inline_blocks<tq1_trits, field::codes, field::scales>> {
    QLIB_INLINE static constexpr encoded<tq1_0> reference(const site<tq1_0>& s) noexcept { return detail::ggml_ternary_block(s, 1); }
};
static_assert(block_bytes<tq1_0> == 54);

/// 2.0625 bits. ggml, block_tq2_0; ignores importance.
struct tq2_0 : format<ternary_grid, scale_per<256, f16>, inline_blocks<bit_planes<plane{2, 32}>, field::codes, field::scales>> {
    QLIB_INLINE static constexpr encoded<tq2_0> reference(const site<tq2_0>& s) noexcept { return detail::ggml_ternary_block(s, 1); }
};
static_assert(block_bytes<tq2_0> == 66);

}  // namespace qlib::inline v0
QLIB_EXACT_END

// status and result<T>: how every function of qlib says that it failed. No exceptions, no heap.

#include <new>
#include <string_view>
#include <utility>

namespace qlib::inline v0 {

/// What kind of rule was broken.
enum class errc : std::uint8_t {
    shape,          ///< two operands disagree, or a size overflows
    ragged,         ///< the format's rows must hold whole blocks
    unsliceable,    ///< blocks run over row ends: the matrix has no rows to work on
    non_finite,     ///< a NaN or an infinity in the input
    overflow,       ///< a scale that the format cannot store
    importance,     ///< an importance that is negative, not finite, or of the wrong length
    unsupported,    ///< this format or machine cannot do it
    argument,       ///< an option outside its range
    memory,         ///< an allocation failed
    scratch,        ///< call.scratch is smaller than scratch_bytes() says
    cancelled,      ///< call.progress asked to stop
    not_positive,   ///< a Hessian that no damping makes positive definite
    truncated,      ///< a file that ends too early
    malformed,      ///< a file that breaks its own format's rules
    io,             ///< the operating system refused
};

/// One broken rule. Copies are cheap; texts are static strings.
struct error {
    errc code{};
    const char* rule = "";                  ///< a sentence with {0}..{3} where sizes go
    const char* operand = "";               ///< which argument, tensor part or field
    std::array<std::uint64_t, 4> sizes{};

    /// Writes "name: operand: rule" with the sizes filled in. Returns the part of `buffer` that was used; what does not fit is cut.
    [[nodiscard]] QLIB_TAGGED std::string_view format(std::span<char> buffer, std::string_view name = {}) const noexcept {
        std::size_t at = 0;
        const auto put = [&](char c) { if (at < buffer.size()) buffer[at++] = c; };
        const auto text = [&](std::string_view s) { for (const char c : s) put(c); };
        for (const std::string_view part : {name, std::string_view(operand)})
            if (!part.empty()) { text(part); text(": "); }
        for (const char* c = rule; *c != 0; ++c) {
            if (c[0] == '{' && c[1] >= '0' && c[1] <= '3' && c[2] == '}') {
                number(sizes[static_cast<std::size_t>(c[1] - '0')], put);
                c += 2;
            } else {
                put(*c);
            }
        }
        return {buffer.data(), at};
    }

private:
    template <class Put> QLIB_INLINE static void number(std::uint64_t v, const Put& put) {
        char digits[20];
        std::size_t n = 0;
        do { digits[n++] = static_cast<char>('0' + v % 10); v /= 10; } while (v != 0);
        while (n != 0) put(digits[--n]);
    }
};

/// Success, or an error.
class [[nodiscard]] status {
public:
    QLIB_INLINE constexpr status() noexcept = default;
    QLIB_INLINE constexpr status(const qlib::error& e) noexcept : failed_(true), error_(e) {}
    [[nodiscard]] QLIB_INLINE constexpr bool ok() const noexcept { return !failed_; }
    [[nodiscard]] QLIB_INLINE constexpr explicit operator bool() const noexcept { return ok(); }
    /// The error; a default one when ok().
    [[nodiscard]] QLIB_INLINE constexpr const qlib::error& error() const noexcept { return error_; }

private:
    bool failed_ = false;
    qlib::error error_{};
};

/// A value, or an error. value(), * and -> on an error trap: that is a mistake of the program, not of its input.
template <class T> class [[nodiscard]] result {
public:
    QLIB_INLINE result(T value) noexcept : ok_(true) { ::new (static_cast<void*>(&value_)) T(std::move(value)); }
    QLIB_INLINE result(const qlib::error& e) noexcept : error_(e) {}
    QLIB_INLINE result(result&& other) noexcept : ok_(other.ok_) {
        if (ok_) ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
        else error_ = other.error_;
    }
    QLIB_INLINE result& operator=(result&& other) noexcept {
        if (this != &other) {
            this->~result();
            ::new (static_cast<void*>(this)) result(std::move(other));
        }
        return *this;
    }
    QLIB_INLINE ~result() { if (ok_) value_.~T(); }

    [[nodiscard]] QLIB_INLINE bool has_value() const noexcept { return ok_; }
    [[nodiscard]] QLIB_INLINE explicit operator bool() const noexcept { return ok_; }
    [[nodiscard]] QLIB_INLINE const qlib::error& error() const noexcept { return error_; }
    [[nodiscard]] QLIB_INLINE T& value() & noexcept { return check(), value_; }
    [[nodiscard]] QLIB_INLINE const T& value() const& noexcept { return check(), value_; }
    [[nodiscard]] QLIB_INLINE T value() && noexcept { return check(), std::move(value_); }
    [[nodiscard]] QLIB_INLINE T& operator*() & noexcept { return value(); }
    [[nodiscard]] QLIB_INLINE const T& operator*() const& noexcept { return value(); }
    [[nodiscard]] QLIB_INLINE T operator*() && noexcept { return std::move(*this).value(); }
    [[nodiscard]] QLIB_INLINE T* operator->() noexcept { return &value(); }
    [[nodiscard]] QLIB_INLINE const T* operator->() const noexcept { return &value(); }

private:
    QLIB_INLINE void check() const noexcept { if (!ok_) __builtin_trap(); }
    bool ok_ = false;
    qlib::error error_{};
    union { T value_; };
};

}  // namespace qlib::inline v0

/// All named formats: X(type, number, name). The numbers of ggml's formats are ggml's own (GGUF, field `type`).
#define QLIB_NAMED_FORMATS(X)                                                                                                         \
    X(dense_f32, 0, "F32") X(dense_f16, 1, "F16")                                                                                     \
    X(q4_0, 2, "Q4_0") X(q4_1, 3, "Q4_1") X(q5_0, 6, "Q5_0") X(q5_1, 7, "Q5_1") X(q8_0, 8, "Q8_0")                                    \
    X(q2_k, 10, "Q2_K") X(q3_k, 11, "Q3_K") X(q4_k, 12, "Q4_K") X(q5_k, 13, "Q5_K") X(q6_k, 14, "Q6_K")                               \
    X(iq4_nl, 20, "IQ4_NL") X(iq4_xs, 23, "IQ4_XS") X(dense_bf16, 30, "BF16") X(tq1_0, 34, "TQ1_0") X(tq2_0, 35, "TQ2_0")             \
    X(mxfp4, 39, "MXFP4") X(nvfp4, 40, "NVFP4") X(q1_0, 41, "Q1_0") X(q2_0, 42, "Q2_0")                                               \
    X(nf4, 0x1000, "NF4") X(nf4_dq, 0x1001, "NF4_DQ")                                                                                 \
    X(fp8_e4m3, 0x1010, "FP8_E4M3") X(fp8_e4m3_row, 0x1011, "FP8_E4M3_ROW") X(fp8_e4m3_tile128, 0x1012, "FP8_E4M3_TILE128")           \
    X(int4_g32, 0x1020, "INT4_G32") X(int4_g128, 0x1021, "INT4_G128") X(int4_g128_asym, 0x1022, "INT4_G128_ASYM")                     \
    X(int8_row, 0x1023, "INT8_ROW") X(int4_g32_asym, 0x1024, "INT4_G32_ASYM") X(ternary_g80, 0x1030, "TERNARY_G80")

namespace qlib::inline v0 {

/// A named format as a number. ggml's formats have ggml's numbers; the others begin at 0x1000.
enum class format_id : std::uint32_t {
#define QLIB_FORMAT(type, number, name) type = number,
    QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
};

/// All of them, ascending.
inline constexpr std::array all_format_ids{
#define QLIB_FORMAT(type, number, name) format_id::type,
    QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::inline QLIB_BASE {

/// use.operator()<F>(arguments...) for the format of an id. An unknown id gives errc::unsupported, so `use` returns a status or a result.
///
///     visit(id, [&]<block_format F>() -> status { return dequantize(*qview<F>::over(bytes, rows, cols), out); });
template <class Use, class... Arguments> constexpr auto visit(format_id id, Use&& use, Arguments&&... arguments) {
    using R = decltype(use.template operator()<q4_0>(arguments...));
    switch (id) {
#define QLIB_FORMAT(type, number, name) \
    case format_id::type: return use.template operator()<type>(arguments...);
        QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
    }
    return R(error{errc::unsupported, "there is no format number {0}", "format", {static_cast<std::uint64_t>(id)}});
}

/// The name of a format, "Q4_K"; empty for an unknown id.
[[nodiscard]] constexpr std::string_view format_name(format_id id) noexcept {
    switch (id) {
#define QLIB_FORMAT(type, number, name) \
    case format_id::type: return name;
        QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
    }
    return {};
}

/// The format of a name, in either case; "q4_k", "Q4_K". error: unsupported.
[[nodiscard]] inline result<format_id> format_named(std::string_view text) noexcept {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    for (const format_id id : all_format_ids) {
        const std::string_view known = format_name(id);
        bool same = known.size() == text.size();
        for (std::size_t i = 0; same && i < text.size(); ++i) same = lower(known[i]) == lower(text[i]);
        if (same) return id;
    }
    return error{errc::unsupported, "there is no format of this name", "format", {}};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// gptq: rounding with second-order error feedback, into any format.
// Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022).
// hessian_factor: what GPTQ needs of a Hessian, made once per layer input: U with U^T U = (H + damping)^-1, and H itself for the losses.
// A = M M^T with M upper triangular: the Cholesky factorization that runs from the last column to the first.
// Its inverse is the factor that GPTQ wants: U = M^-1 is upper and U^T U = A^-1.
// Owned bytes, 64-byte aligned, and sizes that cannot wrap.
// call: how a long function is to be run. The last parameter of each.
// executor_ref: how qlib borrows the caller's threads. It starts none of its own.

#include <memory>

namespace qlib::inline v0 {

/// One parallel loop's body: task(i, worker) for an index i, on worker 0 <= worker < workers().
class task_ref {
public:
    template <class Task>
        requires(!std::same_as<std::remove_cvref_t<Task>, task_ref>) && std::invocable<Task&, std::size_t, std::size_t>
    QLIB_INLINE QLIB_TAGGED task_ref(Task&& task) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(task)))),
          call_([](void* object, std::size_t i, std::size_t worker) { (*static_cast<std::remove_reference_t<Task>*>(object))(i, worker); }) {}
    QLIB_INLINE void operator()(std::size_t i, std::size_t worker) const { call_(object_, i, worker); }

private:
    void* object_;
    void (*call_)(void*, std::size_t, std::size_t);
};

/// Anything that can run a loop: run(count, task) calls task(i, worker) once for each i < count, in any order and on any
/// threads, never two at a time with the same worker number, and returns when all calls are done; workers() >= 1 bounds the worker numbers.
template <class E> concept executor = requires(E& e, std::size_t count, task_ref task) {
    e.run(count, task);
    { e.workers() } -> std::convertible_to<std::size_t>;
};

/// A borrowed executor. Default: the calling thread.
class executor_ref {
public:
    QLIB_INLINE constexpr executor_ref() noexcept = default;
    template <class E>
        requires(!std::same_as<std::remove_cvref_t<E>, executor_ref>) && executor<std::remove_reference_t<E>>
    QLIB_INLINE QLIB_TAGGED executor_ref(E&& e) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(e)))),
          run_([](void* object, std::size_t count, task_ref task) { static_cast<std::remove_reference_t<E>*>(object)->run(count, task); }),
          workers_([](void* object) { return static_cast<std::size_t>(static_cast<std::remove_reference_t<E>*>(object)->workers()); }) {}

    QLIB_INLINE void run(std::size_t count, task_ref task) const {
        if (run_ != nullptr) run_(object_, count, task);
        else for (std::size_t i = 0; i < count; ++i) task(i, 0);
    }
    [[nodiscard]] QLIB_INLINE std::size_t workers() const {
        const std::size_t n = workers_ != nullptr ? workers_(object_) : 1;
        return n != 0 ? n : 1;
    }

private:
    void* object_ = nullptr;
    void (*run_)(void*, std::size_t, task_ref) = nullptr;
    std::size_t (*workers_)(void*) = nullptr;
};

/// The calling thread.
inline constexpr executor_ref serial{};

}  // namespace qlib::inline v0

namespace qlib::inline v0 {

/// A room: the code for one instruction set.
enum class isa : std::uint8_t {
    best,      ///< the best that this machine has
    portable,  ///< plain C++
    avx512,    ///< x86-64 with AVX-512 F, BW, DQ, VL and VNNI
};

/// Which code served a call.
struct call_report {
    isa room = isa::best;    ///< never `best` after a call
    const char* mode = "";   ///< "integer" or "exact" for qgemm, the fit's name for an encoder
    const char* path = "";   ///< "bits": codes unpacked by the room; "load": one by one through the format's own load, slower
};

/// What is told of a long call's progress: anything callable as bool(done, total) in equal parts of the work. False cancels: the call ends
/// soon, with errc::cancelled and its output unspecified. Called from any worker, but by one at a time.
class progress_ref {
public:
    QLIB_INLINE constexpr progress_ref() noexcept = default;
    template <class Progress>
        requires(!std::same_as<std::remove_cvref_t<Progress>, progress_ref>) && std::is_invocable_r_v<bool, Progress&, std::size_t, std::size_t>
    QLIB_INLINE QLIB_TAGGED progress_ref(Progress&& progress) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(progress)))),
          call_([](void* object, std::size_t done, std::size_t total) -> bool { return (*static_cast<std::remove_reference_t<Progress>*>(object))(done, total); }) {}
    QLIB_INLINE bool operator()(std::size_t done, std::size_t total) const { return call_ == nullptr || call_(object_, done, total); }
    [[nodiscard]] QLIB_INLINE explicit operator bool() const noexcept { return call_ != nullptr; }

private:
    void* object_ = nullptr;
    bool (*call_)(void*, std::size_t, std::size_t) = nullptr;
};

struct call {
    executor_ref run = serial;
    /// Memory to work in, at any address. Empty: allocated. Smaller than the function's scratch_bytes() says: errc::scratch.
    std::span<std::byte> scratch = {};
    progress_ref progress = {};
    isa room = isa::best;           ///< a lesser room than the machine's best, for tests; errc::unsupported when the machine lacks it
    call_report* report = nullptr;  ///< filled in when given
};

}  // namespace qlib::inline v0

#include <cstring>

namespace qlib::inline v0::detail {

inline constexpr std::size_t alignment = 64;

/// a * b, or the largest size_t when that does not fit: an allocation of it fails cleanly.
[[nodiscard]] QLIB_INLINE constexpr std::size_t saturating_multiply(std::size_t a, std::size_t b) noexcept {
    std::size_t c = 0;
    return __builtin_mul_overflow(a, b, &c) ? std::numeric_limits<std::size_t>::max() : c;
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t saturating_add(std::size_t a, std::size_t b) noexcept {
    std::size_t c = 0;
    return __builtin_add_overflow(a, b, &c) ? std::numeric_limits<std::size_t>::max() : c;
}
[[nodiscard]] QLIB_INLINE constexpr std::size_t divide_up(std::size_t a, std::size_t b) noexcept { return a / b + (a % b != 0); }
[[nodiscard]] QLIB_INLINE constexpr std::size_t round_up(std::size_t a, std::size_t b) noexcept { return divide_up(a, b) * b; }

[[nodiscard]] QLIB_INLINE constexpr error out_of_memory(std::size_t bytes) noexcept {
    return {errc::memory, "no memory for {0} bytes", "", {bytes}};
}

/// Uninitialised elements of a trivial type, freed with their owner. No exceptions: allocate() says whether there was memory.
template <class T> class buffer {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignment);

public:
    QLIB_INLINE buffer() noexcept = default;
    QLIB_INLINE buffer(buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    QLIB_INLINE buffer& operator=(buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    QLIB_INLINE ~buffer() { release(); }

    [[nodiscard]] QLIB_TAGGED bool allocate(std::size_t count) noexcept {
        release();
        data_ = nullptr;
        size_ = 0;
        const std::size_t bytes = saturating_multiply(count, sizeof(T));
        if (count == 0) return true;
        if (bytes > std::numeric_limits<std::size_t>::max() / 2) return false;
        data_ = static_cast<T*>(::operator new(bytes, std::align_val_t{alignment}, std::nothrow));
        size_ = data_ != nullptr ? count : 0;
        return data_ != nullptr;
    }
    [[nodiscard]] QLIB_INLINE T* data() noexcept { return data_; }
    [[nodiscard]] QLIB_INLINE const T* data() const noexcept { return data_; }
    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return size_; }
    [[nodiscard]] QLIB_INLINE T& operator[](std::size_t i) noexcept { return data_[i]; }
    [[nodiscard]] QLIB_INLINE const T& operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    QLIB_INLINE void release() const noexcept {
        if (data_ != nullptr) ::operator delete(data_, std::align_val_t{alignment});
    }
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

/// The working memory of one call, cut into pieces: the caller's scratch, or one allocation.
class workspace {
public:
    /// What must be asked for `bytes` of pieces, each rounded up to the alignment: the first piece may begin anywhere in the caller's scratch.
    [[nodiscard]] QLIB_INLINE static constexpr std::size_t asked(std::size_t bytes) noexcept { return bytes == 0 ? 0 : saturating_add(bytes, alignment - 1); }
    /// Bytes that a piece of `count` elements takes.
    template <class T> [[nodiscard]] QLIB_INLINE static constexpr std::size_t piece(std::size_t count) noexcept {
        const std::size_t bytes = saturating_multiply(count, sizeof(T));
        return bytes > std::numeric_limits<std::size_t>::max() - alignment ? bytes : round_up(bytes, alignment);
    }

    QLIB_INLINE workspace() noexcept = default;
    /// Memory that somebody else made sure of, aligned.
    QLIB_INLINE explicit workspace(std::byte* memory) noexcept : at_(memory) {}
    /// error: scratch, memory.
    [[nodiscard]] QLIB_TAGGED status open(const call& how, std::size_t bytes) noexcept {
        if (how.scratch.empty()) {
            if (!own_.allocate(bytes)) return out_of_memory(bytes);
            at_ = own_.data();
            return {};
        }
        if (how.scratch.size() < asked(bytes))
            return error{errc::scratch, "{0} bytes of scratch, where {1} are needed", "call.scratch", {how.scratch.size(), asked(bytes)}};
        const auto address = reinterpret_cast<std::uintptr_t>(how.scratch.data());
        at_ = how.scratch.data() + (alignment - address % alignment) % alignment;
        return {};
    }
    template <class T> [[nodiscard]] QLIB_INLINE T* take(std::size_t count) noexcept {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignment);
        T* const p = reinterpret_cast<T*>(at_);
        at_ += piece<T>(count);
        return p;
    }

private:
    buffer<std::byte> own_;
    std::byte* at_ = nullptr;
};

}  // namespace qlib::inline v0::detail
// The one hot loop of linalg, in every room: y += c * x, where every element is one chain of FMAs in one order. Blocking,
// vector width and threads only choose which chains run side by side, so all results are the same bits everywhere.
// matrix_view<T>: rows of contiguous elements that somebody else owns.

namespace qlib::inline v0 {

/// A row-major matrix in foreign memory. `stride` counts elements from one row's start to the next's.
template <class T> struct matrix_view {
    T* data = nullptr;
    std::size_t rows = 0, cols = 0;
    std::size_t stride = cols;

    [[nodiscard]] QLIB_INLINE constexpr T* row(std::size_t r) const noexcept { return data + r * stride; }
    [[nodiscard]] QLIB_INLINE constexpr T& operator()(std::size_t r, std::size_t c) const noexcept { return data[r * stride + c]; }
    [[nodiscard]] QLIB_INLINE constexpr matrix_view row_range(std::size_t first, std::size_t count) const noexcept {
        return {row(first), count, cols, stride};
    }
    QLIB_INLINE constexpr operator matrix_view<const T>() const noexcept requires(!std::is_const_v<T>) {
        return {data, rows, cols, stride};
    }
};
template <class T> matrix_view(T*, std::size_t, std::size_t) -> matrix_view<T>;
template <class T> matrix_view(T*, std::size_t, std::size_t, std::size_t) -> matrix_view<T>;

}  // namespace qlib::inline v0
// Which rooms this machine can enter, found once by CPUID and remembered.

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace qlib::inline v0::detail {

/// The one mutable global of the library: 0 until it is known, then 1 + the best room. Every writer writes the same value.
inline unsigned char cached_isa = 0;

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// CPUID by hand: __builtin_cpu_supports lacks f16c on clang 14.
inline isa detect_isa() noexcept {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return isa::portable;
    constexpr unsigned fma = 1u << 12, osxsave = 1u << 27, f16c = 1u << 29;
    if ((c & (fma | osxsave | f16c)) != (fma | osxsave | f16c)) return isa::portable;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0xE6) != 0xE6) return isa::portable;  // the system saves xmm, ymm, opmask and zmm
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return isa::portable;
    constexpr unsigned avx2 = 1u << 5, avx512f = 1u << 16, avx512dq = 1u << 17, avx512bw = 1u << 30, avx512vl = 1u << 31;
    constexpr unsigned needed = avx2 | avx512f | avx512dq | avx512bw | avx512vl, avx512vnni = 1u << 11;
    if ((b & needed) == needed && (c & avx512vnni) != 0) return isa::avx512;
#endif
    return isa::portable;
}

/// The best room of this machine.
inline isa best_isa() noexcept {
    const unsigned char known = __atomic_load_n(&cached_isa, __ATOMIC_RELAXED);
    if (known != 0) return static_cast<isa>(known - 1);
    const isa found = detect_isa();
    __atomic_store_n(&cached_isa, static_cast<unsigned char>(static_cast<unsigned char>(found) + 1), __ATOMIC_RELAXED);
    return found;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Whether this machine can run a room. Rooms are ordered: what can run one can run every lesser one.
[[nodiscard]] inline bool has_room(isa room) noexcept { return room <= detail::best_isa(); }

/// The room that a call will use: its own, or the machine's best.
[[nodiscard]] inline isa resolve_room(isa wanted) noexcept { return wanted == isa::best ? detail::best_isa() : wanted; }

/// errc::unsupported when the machine lacks the room that a call forces.
[[nodiscard]] inline status check_room(isa wanted) noexcept {
    if (has_room(wanted)) return {};
    return error{errc::unsupported, "this machine cannot run the room that call.room forces", "call.room", {}};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// QLIB_ROOM(features) ... QLIB_ROOM_END: a stretch of code compiled for an instruction set that the including program need
// not be compiled for. Everything between inherits it: functions, templates, members, lambdas. Rules:
//   includes stand before the room, never in it (or the standard library's inline functions are compiled for it too);
//   no objects with constructors at namespace scope, no hidden friends, no default member initialisers that call an intrinsic;
//   no lambda that uses intrinsics goes to a helper outside (g++ 12 does not inline it);
//   `features` is a list of features, never arch=.

#define QLIB_PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define QLIB_ROOM(features)                                                                          \
    QLIB_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))        \
    QLIB_EXACT_BEGIN
#define QLIB_ROOM_END QLIB_EXACT_END _Pragma("clang attribute pop")
#else
// g++ 12 warns of uninitialised variables inside its own intrinsics. O3 vectorises plain loops also for users of -O2.
#define QLIB_ROOM(features)                                                                          \
    _Pragma("GCC push_options") QLIB_PRAGMA(GCC target(features))                                    \
    _Pragma("GCC optimize(\"O3\", \"no-fast-math\", \"fp-contract=off\")")                           \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wuninitialized\"")             \
    _Pragma("GCC diagnostic ignored \"-Wmaybe-uninitialized\"")
#define QLIB_ROOM_END _Pragma("GCC diagnostic pop") _Pragma("GCC pop_options")
#endif

/// What the AVX-512 room needs of the machine; dispatch.hpp looks for exactly these.
#define QLIB_AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"

namespace qlib::inline v0::detail {

/// Read-only elements: (r, t) stands at data[r * row + t * col]. Steps may be negative: a chain that runs downward.
struct strided {
    const float* data;
    std::ptrdiff_t row, col = 1;
    [[nodiscard]] QLIB_INLINE strided from(std::size_t r, std::size_t t) const noexcept {
        return {data + static_cast<std::ptrdiff_t>(r) * row + static_cast<std::ptrdiff_t>(t) * col, row, col};
    }
};

/// The row kernels of one room; rows.inl says what they do.
struct row_kernels {
    void (*add_product)(matrix_view<float> y, strided c, strided x, std::size_t depth) noexcept;
};

}  // namespace qlib::inline v0::detail

// O3 for users of g++ -O2, whose cost model leaves loops of unknown length alone.
QLIB_EXACT_BEGIN
#if !defined(__clang__)
_Pragma("GCC optimize(\"O3\")")
#endif
namespace qlib::inline v0::detail::inline QLIB_BASE {
#define QLIB_ROWS portable_rows
// No #pragma once: rows.hpp includes this text once per room, with QLIB_ROWS naming the struct. No intrinsics: both
// compilers turn the inner loop of tile() into 16 FMAs on full vectors per 8 loads.

struct QLIB_ROWS {
    /// y(r, j) += sum over t < depth of c(r, t) * x(t, j): one FMA per term, t = 0, 1, ... for every element.
    /// y may overlap neither c nor x; x.col is taken as 1.
    static void add_product(matrix_view<float> y, strided c, strided x, std::size_t depth) noexcept {
        constexpr std::size_t strip = 256, step = 8;  // 8 rows of a strip of x: 8 KiB, which stay in L1 for all rows of y
        if (y.rows == 0) return;
        for (std::size_t j = 0; j < y.cols; j += strip) {
            const std::size_t width = y.cols - j < strip ? y.cols - j : strip;
            const matrix_view<float> part{y.data + j, y.rows, width, y.stride};
            std::size_t t = 0;
            for (; t + step <= depth; t += step) add_terms<step>(part, c.from(0, t), x.from(t, j));
            for (; t < depth; ++t) add_terms<1>(part, c.from(0, t), x.from(t, j));
        }
    }

private:
    template <int Terms> static void add_terms(matrix_view<float> y, strided c, strided x) noexcept {
        std::size_t r = 0;
        for (; r + 2 <= y.rows; r += 2) tile<2, Terms>(y.cols, c.from(r, 0), x.data, x.row, y.row(r), y.row(r + 1));
        if (r < y.rows) tile<1, Terms>(y.cols, c.from(r, 0), x.data, x.row, y.row(r), nullptr);
    }

    /// One or two rows of y; the coefficients stay in registers.
    template <int Rows, int Terms>
    static void tile(std::size_t n, strided c, const float* __restrict x, std::ptrdiff_t x_row, float* __restrict y0,
                     float* __restrict y1) noexcept {
        float a[Terms], b[Terms];
#pragma GCC unroll 8
        for (int t = 0; t < Terms; ++t) {
            a[t] = c.data[t * c.col];
            b[t] = Rows == 2 ? c.data[c.row + t * c.col] : 0.0f;
        }
        for (std::size_t j = 0; j < n; ++j) {
            float u = y0[j], v = Rows == 2 ? y1[j] : 0.0f;
#pragma GCC unroll 8
            for (int t = 0; t < Terms; ++t) {
                const float z = x[t * x_row + static_cast<std::ptrdiff_t>(j)];
                u = __builtin_fmaf(a[t], z, u);
                if constexpr (Rows == 2) v = __builtin_fmaf(b[t], z, v);
            }
            y0[j] = u;
            if constexpr (Rows == 2) y1[j] = v;
        }
    }
};
#undef QLIB_ROWS
}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

#if defined(__x86_64__)
QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline v0::detail::inline QLIB_BASE {
#define QLIB_ROWS avx512_rows
// No #pragma once: rows.hpp includes this text once per room, with QLIB_ROWS naming the struct. No intrinsics: both
// compilers turn the inner loop of tile() into 16 FMAs on full vectors per 8 loads.

struct QLIB_ROWS {
    /// y(r, j) += sum over t < depth of c(r, t) * x(t, j): one FMA per term, t = 0, 1, ... for every element.
    /// y may overlap neither c nor x; x.col is taken as 1.
    static void add_product(matrix_view<float> y, strided c, strided x, std::size_t depth) noexcept {
        constexpr std::size_t strip = 256, step = 8;  // 8 rows of a strip of x: 8 KiB, which stay in L1 for all rows of y
        if (y.rows == 0) return;
        for (std::size_t j = 0; j < y.cols; j += strip) {
            const std::size_t width = y.cols - j < strip ? y.cols - j : strip;
            const matrix_view<float> part{y.data + j, y.rows, width, y.stride};
            std::size_t t = 0;
            for (; t + step <= depth; t += step) add_terms<step>(part, c.from(0, t), x.from(t, j));
            for (; t < depth; ++t) add_terms<1>(part, c.from(0, t), x.from(t, j));
        }
    }

private:
    template <int Terms> static void add_terms(matrix_view<float> y, strided c, strided x) noexcept {
        std::size_t r = 0;
        for (; r + 2 <= y.rows; r += 2) tile<2, Terms>(y.cols, c.from(r, 0), x.data, x.row, y.row(r), y.row(r + 1));
        if (r < y.rows) tile<1, Terms>(y.cols, c.from(r, 0), x.data, x.row, y.row(r), nullptr);
    }

    /// One or two rows of y; the coefficients stay in registers.
    template <int Rows, int Terms>
    static void tile(std::size_t n, strided c, const float* __restrict x, std::ptrdiff_t x_row, float* __restrict y0,
                     float* __restrict y1) noexcept {
        float a[Terms], b[Terms];
#pragma GCC unroll 8
        for (int t = 0; t < Terms; ++t) {
            a[t] = c.data[t * c.col];
            b[t] = Rows == 2 ? c.data[c.row + t * c.col] : 0.0f;
        }
        for (std::size_t j = 0; j < n; ++j) {
            float u = y0[j], v = Rows == 2 ? y1[j] : 0.0f;
#pragma GCC unroll 8
            for (int t = 0; t < Terms; ++t) {
                const float z = x[t * x_row + static_cast<std::ptrdiff_t>(j)];
                u = __builtin_fmaf(a[t], z, u);
                if constexpr (Rows == 2) v = __builtin_fmaf(b[t], z, v);
            }
            y0[j] = u;
            if constexpr (Rows == 2) y1[j] = v;
        }
    }
};
#undef QLIB_ROWS
}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The kernels of a room that this machine has.
[[nodiscard]] inline row_kernels rows_of(isa room) noexcept {
#if defined(__x86_64__)
    if (resolve_room(room) == isa::avx512) return {&avx512_rows::add_product};
#endif
    (void)room;
    return {&portable_rows::add_product};
}

/// The kernels that a call asks for; tells its report. errc::unsupported when the machine lacks the room.
[[nodiscard]] inline result<row_kernels> open_rows(const call& how) noexcept {
    if (const status s = check_room(how.room); !s) return s.error();
    if (how.report != nullptr) how.report->room = resolve_room(how.room);
    return rows_of(how.room);
}

[[nodiscard]] QLIB_INLINE constexpr std::ptrdiff_t signed_size(std::size_t n) noexcept { return static_cast<std::ptrdiff_t>(n); }
/// The floats from one row's start to the next's: an odd number of cache lines, so that rows do not fight for the same cache sets.
[[nodiscard]] QLIB_INLINE constexpr std::size_t row_stride(std::size_t cols) noexcept { return (divide_up(cols, 16) | 1) * 16; }

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t cholesky_block = 64, cholesky_rows = 16;

/// Columns [first, end) of a factorization whose later columns are done.
struct cholesky_step {
    row_kernels rows;
    matrix_view<float> A;         ///< (k, k)
    matrix_view<float> panel;     ///< (block, first): row t - first holds column t of -M, as add_product wants rows
    matrix_view<float> diagonal;  ///< (block, block): -M above the diagonal of the block itself
    std::size_t first, end;
};

/// The block's own triangle, the part that is sequential. Returns the first column whose pivot fails, or s.end.
inline std::size_t factor_diagonal(const cholesky_step& s) noexcept {
    const auto chain = [&](std::size_t i, std::size_t j) {
        float sum = s.A(i, j);
        for (std::size_t t = s.end; --t > j;) sum = __builtin_fmaf(s.A(i, t), s.diagonal(j - s.first, t - s.first), sum);
        return sum;
    };
    for (std::size_t j = s.end; j-- > s.first;) {
        const float square = chain(j, j), pivot = square_root(square);
        if (!is_finite(square) || !(pivot > 0)) return j;
        s.A(j, j) = pivot;
        for (std::size_t i = s.first; i < j; ++i) {
            s.A(i, j) = chain(i, j) / pivot;
            s.diagonal(i - s.first, j - s.first) = -s.A(i, j);
        }
    }
    return s.end;
}

/// Rows [i, i + count) of the block's columns, all above it: solved in the panel, where they lie side by side, and written back.
inline void solve_panel(const cholesky_step& s, std::size_t i, std::size_t count) noexcept {
    const std::size_t block = s.end - s.first;
    for (std::size_t r = i; r < i + count; ++r)
        for (std::size_t t = 0; t < block; ++t) s.panel(t, r) = -s.A(r, s.first + t);
    for (std::size_t t = block; t-- > 0;) {
        const matrix_view<float> y{s.panel.row(t) + i, 1, count, s.panel.stride};
        s.rows.add_product(y, {s.diagonal.row(t) + block - 1, 0, -1}, {s.panel.row(block - 1) + i, -signed_size(s.panel.stride)}, block - 1 - t);
        const float pivot = s.A(s.first + t, s.first + t);
        for (std::size_t c = 0; c < count; ++c) y.data[c] /= pivot;
    }
    for (std::size_t r = i; r < i + count; ++r)
        for (std::size_t t = 0; t < block; ++t) s.A(r, s.first + t) = -s.panel(t, r);
}

/// Takes the block's columns off rows [i, i + cholesky_rows) of what is left to factor.
inline void update_rows(const cholesky_step& s, std::size_t i) noexcept {
    const std::size_t block = s.end - s.first, corner = smaller_size(i + cholesky_rows, s.first);
    const auto update = [&](std::size_t row, std::size_t count, std::size_t col, std::size_t end) {
        s.rows.add_product({s.A.row(row) + col, count, end - col, s.A.stride}, {s.A.row(row) + s.end - 1, signed_size(s.A.stride), -1},
                           {s.panel.row(block - 1) + col, -signed_size(s.panel.stride)}, block);
    };
    for (std::size_t r = i; r < corner; ++r) update(r, 1, r, corner);
    update(i, corner - i, corner, s.first);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Factors A = M M^T in place, M upper triangular with a positive diagonal.
///
/// A      (k, k) row-major: its upper triangle with the diagonal is read and becomes M; the rest is neither read nor written
/// error  not_positive with the column {0} whose pivot is not positive or not finite (A is then half done), shape, memory, unsupported
/// exact  the same bits on every instruction set and for any number of threads: M_ij = (A_ij - M_it M_jt - ...) / M_jj, one FMA per
///        t = k-1, k-2, ... j+1, and the pivot is the square root of the same chain. When it succeeds, all of M is finite.
[[nodiscard]] inline status reverse_cholesky(matrix_view<float> A, call how = {}) noexcept {
    constexpr std::size_t block = detail::cholesky_block, chunk = detail::cholesky_rows;
    if (A.rows != A.cols) return error{errc::shape, "a matrix to factor must be square, but it is {0} x {1}", "A", {A.rows, A.cols}};
    const auto rows = detail::open_rows(how);
    if (!rows) return rows.error();
    const std::size_t stride = detail::row_stride(A.cols), size = detail::saturating_multiply(block, stride + block);
    detail::buffer<float> scratch;
    if (!scratch.allocate(size)) return detail::out_of_memory(detail::saturating_multiply(size, sizeof(float)));
    for (std::size_t end = A.cols; end > 0;) {
        const std::size_t first = end > block ? end - block : 0;
        const detail::cholesky_step step{*rows, A, {scratch.data(), block, first, stride},
                                         {scratch.data() + block * stride, block, block}, first, end};
        if (const std::size_t bad = detail::factor_diagonal(step); bad != end)
            return error{errc::not_positive, "not positive definite: the pivot of column {0} is not a positive number", "A", {bad}};
        how.run.run(detail::divide_up(first, block), [&](std::size_t i, std::size_t) {
            detail::solve_panel(step, i * block, detail::smaller_size(block, first - i * block));
        });
        how.run.run(detail::divide_up(first, chunk), [&](std::size_t i, std::size_t) { detail::update_rows(step, i * chunk); });
        end = first;
    }
    return {};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
QLIB_EXACT_END
// The inverse of an upper triangular matrix.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t inverse_block = 64, inverse_cols = 256, inverse_chunk = 16;

/// Rows [first, end) of an inversion whose later rows are done.
struct inverse_step {
    row_kernels rows;
    matrix_view<float> A;  ///< (k, k): U below row `end`
    matrix_view<float> M;  ///< (block, k): a copy of the rows of M, as U takes their place
    std::size_t first, end;

    /// rows [row, row + count) of columns [col, last) of A += M(rows, t) * U(t, columns) for t = from - 1, ... to
    void add(std::size_t row, std::size_t count, std::size_t col, std::size_t last, std::size_t from, std::size_t to) const noexcept {
        rows.add_product({A.row(row) + col, count, last - col, A.stride}, {M.row(row - first) + from - 1, signed_size(M.stride), -1},
                         {A.row(from - 1) + col, -signed_size(A.stride)}, from - to);
    }
};

/// The block's own triangle.
inline void invert_diagonal(const inverse_step& s) noexcept {
    for (std::size_t i = s.end; i-- > s.first;) {
        const float pivot = s.M(i - s.first, i);
        s.A(i, i) = 1.0f / pivot;
        for (std::size_t j = i + 1; j < s.end; ++j) {
            float sum = 0;
            for (std::size_t t = j; t > i; --t) sum = __builtin_fmaf(s.M(i - s.first, t), s.A(t, j), sum);
            s.A(i, j) = -sum / pivot;
        }
    }
}

/// Columns [col, last) of the block's rows, all right of its triangle.
inline void invert_columns(const inverse_step& s, std::size_t col, std::size_t last) noexcept {
    const std::size_t count = s.end - s.first;
    for (std::size_t r = s.first; r < s.end; ++r)
        for (std::size_t j = col; j < last; ++j) s.A(r, j) = 0;
    for (std::size_t top = last; top > col;) {  // rows t of U that start inside these columns, in chunks
        const std::size_t t = top - col > inverse_chunk ? top - inverse_chunk : col;
        for (std::size_t j = top; j-- > t;) s.add(s.first, count, j, top, j + 1, j);
        s.add(s.first, count, top, last, top, t);
        top = t;
    }
    s.add(s.first, count, col, last, col, s.end);
    for (std::size_t i = s.end; i-- > s.first;) {
        s.add(i, 1, col, last, s.end, i + 1);
        const float pivot = s.M(i - s.first, i);
        for (std::size_t j = col; j < last; ++j) s.A(i, j) = -s.A(i, j) / pivot;
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// U = M^-1 in place, both upper triangular.
///
/// M      (k, k) row-major: its upper triangle with the diagonal is read and becomes U; the rest is neither read nor written
/// error  not_positive with the first column {0} of U that is not finite (U is then of no use), shape, memory, unsupported
/// exact  the same bits on every instruction set and for any number of threads: U_jj = 1 / M_jj, and for i < j
///        U_ij = -(M_ij U_jj + ... + M_i,i+1 U_i+1,j) / M_ii, a chain from 0 with one FMA per t = j, j-1, ... i+1
[[nodiscard]] inline status invert_upper(matrix_view<float> M, call how = {}) noexcept {
    constexpr std::size_t block = detail::inverse_block, width = detail::inverse_cols;
    if (M.rows != M.cols) return error{errc::shape, "a matrix to invert must be square, but it is {0} x {1}", "M", {M.rows, M.cols}};
    const auto rows = detail::open_rows(how);
    if (!rows) return rows.error();
    const std::size_t k = M.cols, stride = detail::row_stride(k), size = detail::saturating_multiply(block, stride);
    detail::buffer<float> copy;
    if (!copy.allocate(size)) return detail::out_of_memory(detail::saturating_multiply(size, sizeof(float)));
    for (std::size_t end = k; end > 0;) {
        const std::size_t first = end > block ? end - block : 0;
        const detail::inverse_step step{*rows, M, {copy.data(), block, k, stride}, first, end};
        for (std::size_t r = first; r < end; ++r) std::memcpy(step.M.row(r - first) + r, M.row(r) + r, (k - r) * sizeof(float));
        detail::invert_diagonal(step);
        how.run.run(detail::divide_up(k - end, width), [&](std::size_t i, std::size_t) {
            detail::invert_columns(step, end + i * width, detail::smaller_size(k, end + (i + 1) * width));
        });
        end = first;
    }
    // An infinity or a NaN anywhere in a column of U makes all above it one too: the first row knows.
    for (std::size_t j = 0; j < k; ++j)
        if (!detail::is_finite(M(0, j)))
            return error{errc::not_positive, "no finite inverse: column {0} overflows", "M", {j}};
    return {};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
QLIB_EXACT_END
// hessian: H = sum of x x^T over calibration tokens, what GPTQ and its kin know of a layer's inputs.
// H += X^T X: the second moments of activations.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t syrk_tokens = 256, syrk_rows = 16, syrk_cols = 256;

/// Rows [i, i + syrk_rows) of H += X^T X for at most syrk_tokens rows of X.
inline void syrk_band(row_kernels rows, matrix_view<float> H, matrix_view<const float> X, std::size_t i) noexcept {
    const std::size_t end = smaller_size(i + syrk_rows, H.rows);
    for (std::size_t j = 0; j < end; j += syrk_cols) {
        float sums[syrk_rows * syrk_cols] = {};
        const matrix_view<float> tile{sums, end - i, smaller_size(syrk_cols, end - j), syrk_cols};
        rows.add_product(tile, {X.data + i, 1, signed_size(X.stride)}, {X.data + j, signed_size(X.stride)}, X.rows);
        for (std::size_t r = i; r < end; ++r) {
            float* h = H.row(r) + j;
            const float* s = tile.row(r - i);
            for (std::size_t c = 0; c < tile.cols && j + c <= r; ++c) h[c] += s[c];
        }
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// H += X^T X, the lower triangle with the diagonal; the rest of H is neither read nor written.
///
/// H      (k, k) row-major
/// X      (n, k) row-major
/// error  shape when they disagree, unsupported when call.room cannot be had; nothing is written then
/// exact  the same bits on every instruction set and for any number of threads: the rows of X are taken in blocks of 256, a
///        block's sum starts at 0 and takes one FMA per row in order, then it is added to H. Two levels keep the error of a float sum small.
[[nodiscard]] inline status syrk(matrix_view<float> H, matrix_view<const float> X, call how = {}) noexcept {
    if (H.rows != H.cols || X.cols != H.cols)
        return error{errc::shape, "X is {0} x {1}, but H is {2} x {3}", "X", {X.rows, X.cols, H.rows, H.cols}};
    const auto rows = detail::open_rows(how);
    if (!rows) return rows.error();
    const std::size_t bands = detail::divide_up(H.rows, detail::syrk_rows);
    for (std::size_t t = 0; t < X.rows; t += detail::syrk_tokens) {
        const auto block = X.row_range(t, detail::smaller_size(detail::syrk_tokens, X.rows - t));
        how.run.run(bands, [&](std::size_t i, std::size_t) { detail::syrk_band(*rows, H, block, (bands - 1 - i) * detail::syrk_rows); });
    }
    return {};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0::detail {

/// What bytes() begins with. A file of the other byte order has another version, and is refused.
struct hessian_header {
    std::array<char, 8> magic{'q', 'l', 'i', 'b', 'H', 'e', 's', 's'};
    std::uint32_t version = 1, reserved = 0;
    std::uint64_t cols = 0, tokens = 0;
    std::array<std::uint64_t, 4> unused{};
};
static_assert(sizeof(hessian_header) == 64);
inline constexpr std::size_t hessian_header_floats = sizeof(hessian_header) / sizeof(float);

/// The floats that a Hessian owns: the header, then rows of row_stride(cols).
[[nodiscard]] QLIB_INLINE constexpr std::size_t hessian_floats(std::size_t cols) noexcept {
    return saturating_add(hessian_header_floats, saturating_multiply(cols, row_stride(cols)));
}

}  // namespace qlib::inline v0::detail

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The most that an element of the diagonal may reach. With |H_ij| <= H_ii + H_jj, which a sum of x x^T keeps with a factor of 2 to spare,
/// the sum of two Hessians does not overflow.
inline constexpr float hessian_limit = 0x1p125f;

[[nodiscard]] inline error hessian_overflow() noexcept {
    return {errc::overflow, "the sum of squares could pass the range of a float: scale the activations down", "X", {}};
}

/// The largest magnitude in X; non_finite with its place when there is a NaN or an infinity.
template <weight_source T> result<float> largest_magnitude(matrix_view<const T> X) noexcept {
    constexpr std::uint32_t infinity = 0x7F800000u;
    std::uint32_t all = 0;
    for (std::size_t r = 0; r < X.rows; ++r) {
        std::uint32_t most = 0;
        for (std::size_t c = 0; c < X.cols; ++c) {
            const std::uint32_t u = bits_of(as_float(X(r, c))) & 0x7FFFFFFFu;
            most = u > most ? u : most;
        }
        if (most >= infinity) {
            std::size_t c = 0;
            while (is_finite(as_float(X(r, c)))) ++c;
            return error{errc::non_finite, "row {0}, column {1} is not a finite number", "X", {r, c}};
        }
        all = most > all ? most : all;
    }
    return float_of(all);
}

/// Bytes of floats that tokens of type T pass through.
template <weight_source T> std::size_t moments_bytes(std::size_t tokens, std::size_t cols) noexcept {
    return std::same_as<T, float> ? 0 : workspace::piece<float>(saturating_multiply(smaller_size(tokens, syrk_tokens), cols));
}

template <weight_source T> status add_moments(matrix_view<float> H, matrix_view<const T> X, const call& how) noexcept {
    if (X.cols != H.cols) return error{errc::shape, "X has {0} columns, but the Hessian {1}", "X", {X.cols, H.cols}};
    const auto largest = largest_magnitude(X);
    if (!largest) return largest.error();
    float most = 0;
    for (std::size_t i = 0; i < H.rows; ++i) most = larger(most, H(i, i));
    const double x = *largest, bound = x * x * static_cast<double>(X.rows);
    if (bound > 0.5 * static_cast<double>(hessian_limit) - static_cast<double>(most)) return hessian_overflow();
    if constexpr (std::same_as<T, float>) {
        return syrk(H, X, how);
    } else {
        workspace memory;
        if (const status s = memory.open(how, moments_bytes<T>(X.rows, X.cols)); !s) return s;
        float* const floats = memory.take<float>(smaller_size(X.rows, syrk_tokens) * X.cols);
        for (std::size_t t = 0; t < X.rows; t += syrk_tokens) {  // syrk's own blocks: the same bits as of one call
            const auto block = X.row_range(t, smaller_size(syrk_tokens, X.rows - t));
            for (std::size_t r = 0; r < block.rows; ++r)
                for (std::size_t c = 0; c < X.cols; ++c) floats[r * X.cols + c] = as_float(block(r, c));
            if (const status s = syrk(H, {floats, block.rows, X.cols}, how); !s) return s;
        }
        return {};
    }
}

inline status merge_moments(matrix_view<float> H, matrix_view<const float> other) noexcept {
    if (other.cols != H.cols) return error{errc::shape, "one Hessian has {0} columns, the other {1}", "other", {other.cols, H.cols}};
    for (std::size_t i = 0; i < H.rows; ++i)
        if (H(i, i) + other(i, i) > 0.5f * hessian_limit) return hessian_overflow();
    for (std::size_t i = 0; i < H.rows; ++i)
        for (std::size_t j = 0; j <= i; ++j) H(i, j) += other(i, j);
    return {};
}

/// Whether this can be a sum of x x^T: what the rest of the library relies on.
inline status check_moments(matrix_view<const float> H) noexcept {
    for (std::size_t i = 0; i < H.rows; ++i)
        if (!is_finite(H(i, i)) || !(H(i, i) >= 0) || H(i, i) > hessian_limit)
            return error{errc::malformed, "diagonal element {0} is negative, too large or not a number", "Hessian", {i}};
    for (std::size_t i = 0; i < H.rows; ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (!is_finite(H(i, j)) || magnitude(H(i, j)) > H(i, i) + H(j, j))
                return error{errc::malformed, "element {0}, {1} is not a number, or larger than its diagonal allows", "Hessian", {i, j}};
    return {};
}

/// The column count of a saved Hessian whose size, in bytes, is right.
inline result<std::size_t> saved_hessian_cols(const hessian_header& head, std::size_t size) noexcept {
    if (head.magic != hessian_header{}.magic) return error{errc::malformed, "this is not a Hessian", "Hessian", {}};
    if (head.version != hessian_header{}.version) return error{errc::unsupported, "a Hessian of version {0}", "Hessian", {head.version}};
    if (head.cols == 0) return error{errc::malformed, "a Hessian without columns", "Hessian", {}};
    if (head.cols > size) return error{errc::truncated, "{0} bytes are too few for {1} columns", "Hessian", {size, head.cols}};
    const auto cols = static_cast<std::size_t>(head.cols);
    const std::size_t wanted = saturating_multiply(hessian_floats(cols), sizeof(float));
    if (wanted == size) return cols;
    return error{size < wanted ? errc::truncated : errc::malformed, "{0} columns need {1} bytes, but there are {2}", "Hessian",
                 {cols, wanted, size}};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

/// H = sum over tokens of x x^T, (cols, cols), unscaled: whoever uses it does so relative to its diagonal. Owns its memory, 4 bytes per element.
///
/// Activations so small that their square is no float (below 3e-23) count as zero.
class hessian {
public:
    QLIB_INLINE hessian(hessian&&) noexcept = default;
    QLIB_INLINE hessian& operator=(hessian&&) noexcept = default;
    /// No tokens yet. error: shape for no columns, memory
    [[nodiscard]] QLIB_INLINE static result<hessian> make(std::size_t cols) noexcept {
        if (cols == 0) return error{errc::shape, "a Hessian needs a column", "cols", {}};
        hessian h;
        const std::size_t floats = detail::hessian_floats(cols);
        if (!h.data_.allocate(floats)) return detail::out_of_memory(detail::saturating_multiply(floats, sizeof(float)));
        std::memset(h.data_.data(), 0, floats * sizeof(float));
        h.write_header({.cols = cols});
        return h;
    }

    /// Adds the tokens X.
    ///
    /// X      (tokens, cols) of float, f16 or bf16, row-major, finite
    /// error  shape, non_finite with row {0} and column {1}, overflow, unsupported; of f16 and bf16 also memory, scratch; nothing is added then
    /// exact  the same bits on every instruction set and for any number of threads; the split of tokens over calls rounds differently,
    ///        unless all but the last bring a multiple of 256
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const float> X, call how = {}) noexcept { return add_tokens<float>(X, how); }
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const f16> X, call how = {}) noexcept { return add_tokens<f16>(X, how); }
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const bf16> X, call how = {}) noexcept { return add_tokens<bf16>(X, how); }
    /// The bytes of call.scratch that add() asks for with tokens of type T.
    template <weight_source T> [[nodiscard]] QLIB_INLINE static std::size_t add_scratch_bytes(std::size_t tokens, std::size_t cols) noexcept {
        return detail::workspace::asked(detail::moments_bytes<T>(tokens, cols));
    }

    /// Adds the tokens of another Hessian, H += other. error: shape, overflow; nothing is added then
    [[nodiscard]] QLIB_INLINE status merge(const hessian& other) noexcept {
        const status s = detail::merge_moments(square(), other.lower());
        if (s.ok()) count(other.tokens());
        return s;
    }

    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return static_cast<std::size_t>(header().cols); }
    [[nodiscard]] QLIB_INLINE std::uint64_t tokens() const noexcept { return header().tokens; }
    /// (cols, cols): the lower triangle with the diagonal is H, the rest is 0.
    [[nodiscard]] QLIB_INLINE matrix_view<const float> lower() const noexcept {
        if (data_.size() == 0) return {};
        return {data_.data() + detail::hessian_header_floats, cols(), cols(), detail::row_stride(cols())};
    }
    /// H_jj, the energy of input j: an importance.
    [[nodiscard]] QLIB_INLINE float diagonal(std::size_t j) const noexcept { return lower()(j, j); }

    /// error: memory
    [[nodiscard]] QLIB_INLINE result<hessian> copy() const noexcept {
        hessian h;
        if (!h.data_.allocate(data_.size())) return detail::out_of_memory(data_.size() * sizeof(float));
        if (data_.size() != 0) std::memcpy(h.data_.data(), data_.data(), data_.size() * sizeof(float));
        return h;
    }

    /// A checkpoint: what over() reads. Valid until this object is changed.
    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept {
        return {reinterpret_cast<const std::byte*>(data_.data()), data_.size() * sizeof(float)};
    }

    /// Copies a Hessian that bytes() gave.
    ///
    /// bytes  any bytes, of any alignment
    /// error  truncated, malformed (also when the numbers cannot be a sum of x x^T), unsupported version, memory
    [[nodiscard]] QLIB_INLINE static result<hessian> over(std::span<const std::byte> bytes) noexcept {
        detail::hessian_header head;
        if (bytes.size() < sizeof head) return error{errc::truncated, "{0} bytes are too few for a Hessian", "Hessian", {bytes.size()}};
        std::memcpy(&head, bytes.data(), sizeof head);
        const auto cols = detail::saved_hessian_cols(head, bytes.size());
        if (!cols) return cols.error();
        auto h = make(*cols);
        if (!h) return h;
        const matrix_view<float> H = h->square();
        h->write_header(head);
        const std::byte* rows = bytes.data() + sizeof head;
        for (std::size_t i = 0; i < *cols; ++i) std::memcpy(H.row(i), rows + i * H.stride * sizeof(float), (i + 1) * sizeof(float));
        if (const status s = detail::check_moments(H); !s) return s.error();
        return h;
    }

private:
    friend class hessian_factor;
    QLIB_INLINE hessian() noexcept = default;

    template <class T> QLIB_INLINE status add_tokens(matrix_view<const T> X, const call& how) noexcept {
        const status s = detail::add_moments<T>(square(), X, how);
        if (s.ok()) count(X.rows);
        return s;
    }
    [[nodiscard]] QLIB_INLINE detail::hessian_header header() const noexcept {
        detail::hessian_header head;
        if (data_.size() != 0) std::memcpy(static_cast<void*>(&head), data_.data(), sizeof head);
        return head;
    }
    QLIB_INLINE void write_header(const detail::hessian_header& head) noexcept { std::memcpy(data_.data(), &head, sizeof head); }
    QLIB_INLINE void count(std::uint64_t tokens) noexcept {
        detail::hessian_header head = header();
        if (__builtin_add_overflow(head.tokens, tokens, &head.tokens)) head.tokens = std::numeric_limits<std::uint64_t>::max();
        if (data_.size() != 0) write_header(head);
    }
    [[nodiscard]] QLIB_INLINE matrix_view<float> square() noexcept {
        if (data_.size() == 0) return {};
        return {data_.data() + detail::hessian_header_floats, cols(), cols(), detail::row_stride(cols())};
    }

    detail::buffer<float> data_;  // the header, then H; a moved-from Hessian holds nothing and has 0 columns
};

}  // namespace qlib::inline v0

namespace qlib::inline v0 {

struct factor_options {
    float damping = 0.01f;  ///< added to the diagonal, as a share of the mean of its live (non-zero) elements; 0 to 1e6
    bool strict = false;    ///< an error in place of the ladder
};

/// What factorize() had to do.
struct factor_report {
    float damping = 0;           ///< the one that was used, relative
    int rung = 0;                ///< 0: as asked; 1, 2, ...: how often the damping grew, or that many and then the last rung
    bool diagonal_only = false;  ///< the last rung: U is diagonal, which turns GPTQ into weighted rounding
    std::size_t dead_columns = 0;
};

}  // namespace qlib::inline v0

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A factor in the making. Dead columns have diagonal 0.
struct factor_parts {
    matrix_view<float> A;  ///< (k, k): H below the diagonal, U on it and above
    float* diagonal;       ///< H_jj, k floats
    float* pivot;          ///< U_jj, k floats
    float mean;            ///< of the live diagonal; 1 when there is none
};
inline constexpr std::size_t factor_chunk = 16;

/// 2^e.
[[nodiscard]] QLIB_INLINE constexpr double power_of_two(int e) noexcept {
    return std::bit_cast<double>(static_cast<std::uint64_t>(1023 + e) << 52);
}

/// The e for which 2^-e brings the mean of the live diagonal into [1, 2); 0 when all of it is dead. `mean` is then that mean, scaled.
inline int normal_exponent(matrix_view<const float> H, float& mean) noexcept {
    double sum = 0;
    std::size_t live = 0;
    for (std::size_t i = 0; i < H.rows; ++i) {
        sum += static_cast<double>(H(i, i));
        live += H(i, i) > 0 ? 1 : 0;
    }
    mean = 1;
    if (live == 0) return 0;
    const double m = sum / static_cast<double>(live);
    const int e = static_cast<int>(std::bit_cast<std::uint64_t>(m) >> 52) - 1023;
    mean = static_cast<float>(m * power_of_two(-e));
    return e;
}

/// Divides H by 2^e and cuts the dead columns out of it. Returns how many they are.
inline std::size_t normalise(const factor_parts& p, int e, const call& how) noexcept {
    const double scale = power_of_two(-e);
    std::size_t dead = 0;
    for (std::size_t j = 0; j < p.A.cols; ++j) {
        p.diagonal[j] = static_cast<float>(static_cast<double>(p.A(j, j)) * scale);
        dead += p.diagonal[j] > 0 ? 0 : 1;
    }
    how.run.run(divide_up(p.A.rows, factor_chunk), [&](std::size_t band, std::size_t) {
        for (std::size_t i = band * factor_chunk; i < smaller_size((band + 1) * factor_chunk, p.A.rows); ++i)
            for (std::size_t j = 0; j < i; ++j)
                p.A(i, j) = p.diagonal[i] > 0 && p.diagonal[j] > 0 ? static_cast<float>(static_cast<double>(p.A(i, j)) * scale) : 0.0f;
    });
    return dead;
}

/// Writes the damped H above and on the diagonal, from what stands below. A dead column gets the mean as its diagonal.
inline void fill_upper(const factor_parts& p, float shift, const call& how) noexcept {
    const std::size_t k = p.A.rows;
    how.run.run(divide_up(k, factor_chunk), [&](std::size_t band, std::size_t) {
        const std::size_t first = band * factor_chunk, end = smaller_size(first + factor_chunk, k);
        for (std::size_t j = first; j < k; j += factor_chunk)  // square tiles: a cache line that is read serves all its rows
            for (std::size_t i = first; i < end; ++i)
                for (std::size_t c = j > i ? j : i + 1; c < smaller_size(j + factor_chunk, k); ++c) p.A(i, c) = p.A(c, i);
        for (std::size_t i = first; i < end; ++i) p.A(i, i) = p.diagonal[i] > 0 ? p.diagonal[i] + shift : p.mean;
    });
}

/// One rung: U from H with this damping.
inline status try_damping(const factor_parts& p, float damping, const call& how) noexcept {
    fill_upper(p, product(damping, p.mean), how);
    const status s = reverse_cholesky(p.A, how);
    return s.ok() ? invert_upper(p.A, how) : s;
}

/// The last rung: what remains of U when H counts as diagonal.
inline void use_diagonal(const factor_parts& p, float damping) noexcept {
    const float shift = product(damping, p.mean);
    for (std::size_t i = 0; i < p.A.rows; ++i) {
        std::memset(p.A.row(i) + i, 0, (p.A.cols - i) * sizeof(float));
        p.A(i, i) = 1.0f / square_root(p.diagonal[i] > 0 ? p.diagonal[i] + shift : p.mean);
    }
}

inline status climb_ladder(const factor_parts& p, const factor_options& options, const call& how, factor_report& report) noexcept {
    constexpr float least_damping = 1e-4f, enough = 0.5f;  // 0.5: ten times 0.1f is a little less than 1
    float damping = options.damping;
    status s = try_damping(p, damping, how);
    for (; !s && s.error().code == errc::not_positive && !options.strict && damping < enough; ++report.rung) {
        damping = larger(product(10.0f, damping), least_damping);
        s = try_damping(p, damping, how);
    }
    report.damping = damping;
    if (!s && s.error().code == errc::not_positive && !options.strict) {
        ++report.rung;
        report.damping = options.damping;
        report.diagonal_only = true;
        use_diagonal(p, options.damping);
        s = {};
    }
    for (std::size_t i = 0; i < p.A.rows; ++i) p.pivot[i] = p.A(i, i);
    return s;
}

[[nodiscard]] inline status check_damping(float damping) noexcept {
    if (is_finite(damping) && damping >= 0 && damping <= 1e6f) return {};
    return error{errc::argument, "damping must lie between 0 and 1e6", "damping", {}};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

/// U, upper triangular with a positive diagonal, and H of one layer input. Made by factorize().
///
/// H is divided by a power of two, scale(), so that the mean of its live diagonal lies in [1, 2]: nothing here overflows or underflows for the
/// size of the activations alone. U belongs to that H, damped. A dead column, whose input was always 0, has a zero row and column in H, and in U
/// nothing but its diagonal.
class hessian_factor {
public:
    /// What factorize() does.
    [[nodiscard]] QLIB_INLINE static result<hessian_factor> make(hessian&& h, factor_options options, call how) noexcept {
        if (h.cols() == 0) return error{errc::shape, "a Hessian needs a column", "Hessian", {}};
        if (const status s = detail::check_damping(options.damping); !s) return s.error();
        if (const status s = check_room(how.room); !s) return s.error();
        hessian_factor f;
        f.cols_ = h.cols();
        if (!f.diagonals_.allocate(2 * f.cols_)) return detail::out_of_memory(2 * f.cols_ * sizeof(float));
        const matrix_view<float> A = h.square();
        f.matrix_ = std::move(h.data_);
        float mean = 1;
        const int e = detail::normal_exponent(A, mean);
        f.scale_ = detail::power_of_two(e);
        const detail::factor_parts parts{A, f.diagonals_.data(), f.diagonals_.data() + f.cols_, mean};
        f.report_.dead_columns = detail::normalise(parts, e, how);
        if (const status s = detail::climb_ladder(parts, options, how, f.report_); !s) return s.error();
        return f;
    }

    QLIB_INLINE hessian_factor(hessian_factor&& other) noexcept
        : matrix_(std::move(other.matrix_)), diagonals_(std::move(other.diagonals_)), cols_(std::exchange(other.cols_, 0)),
          scale_(other.scale_), report_(other.report_) {}
    QLIB_INLINE hessian_factor& operator=(hessian_factor&& other) noexcept {
        matrix_ = std::move(other.matrix_);
        diagonals_ = std::move(other.diagonals_);
        std::swap(cols_, other.cols_);
        scale_ = other.scale_;
        report_ = other.report_;
        return *this;
    }

    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    [[nodiscard]] QLIB_INLINE const factor_report& report() const noexcept { return report_; }
    /// The power of two by which H was divided.
    [[nodiscard]] QLIB_INLINE double scale() const noexcept { return scale_; }

    /// (cols, cols): U on the diagonal and above, H below.
    [[nodiscard]] QLIB_INLINE matrix_view<const float> square() const noexcept {
        if (cols_ == 0) return {};
        return {matrix_.data() + detail::hessian_header_floats, cols_, cols_, detail::row_stride(cols_)};
    }
    /// [c] is U_jc for c >= j.
    [[nodiscard]] QLIB_INLINE const float* upper_row(std::size_t j) const noexcept { return square().row(j); }
    /// [c] is H_ic for c < i, undamped.
    [[nodiscard]] QLIB_INLINE const float* lower_row(std::size_t i) const noexcept { return square().row(i); }
    /// U_jj, positive.
    [[nodiscard]] QLIB_INLINE float pivot(std::size_t j) const noexcept { return diagonals_[cols_ + j]; }
    /// H_jj, undamped; 0 for a dead column.
    [[nodiscard]] QLIB_INLINE float diagonal(std::size_t j) const noexcept { return diagonals_[j]; }
    [[nodiscard]] QLIB_INLINE bool dead(std::size_t j) const noexcept { return !(diagonal(j) > 0); }

private:
    QLIB_INLINE hessian_factor() noexcept = default;

    detail::buffer<float> matrix_, diagonals_;
    std::size_t cols_ = 0;
    double scale_ = 1;
    factor_report report_{};
};

}  // namespace qlib::inline v0

QLIB_EXACT_BEGIN
namespace qlib::inline v0::inline QLIB_BASE {

/// Factors a Hessian in place, for every weight matrix that reads this input and for every format.
///
/// h       consumed, but for the errors shape, argument and unsupported; copy() it to keep it
/// error   argument, shape, unsupported, memory; not_positive only when options.strict
/// ladder  while H with the asked damping is not positive definite in floats: ten times the damping (at least 1e-4), until it is about 1 or
///         more; then a diagonal U. Never silently: report() says which.
/// exact   the same bits on every instruction set and for any number of threads
/// source  Frantar et al., GPTQ (2022): the upper Cholesky factor of the inverse, here as the inverse of the reversed factor
[[nodiscard]] inline result<hessian_factor> factorize(hessian&& h, factor_options options = {}, call how = {}) noexcept {
    return hessian_factor::make(std::move(h), options, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t loss_cols = 256, loss_chunk = 16;

/// The floats of scratch that quadratic_losses wants.
[[nodiscard]] QLIB_INLINE constexpr std::size_t quadratic_losses_scratch(std::size_t rows) noexcept {
    return saturating_multiply(rows, loss_cols);
}

/// loss[r] = d H d^T for every row d of D, under the undamped H in its own units.
///
/// D        (n, cols) row-major
/// loss     n doubles, none negative; infinity where a chain of floats overflows
/// scratch  quadratic_losses_scratch(n) floats
/// exact    v_c = sum over i = c+1, c+2, ... k-1 of H_ic d_i, one FMA each in float; then d_c (H_cc d_c + 2 v_c) summed in double, c ascending
inline void quadratic_losses(const hessian_factor& f, matrix_view<const float> D, double* loss, float* scratch, isa room = isa::best) noexcept {
    const row_kernels rows = rows_of(room);
    const matrix_view<const float> H = f.square();
    const std::size_t k = f.cols();
    for (std::size_t r = 0; r < D.rows; ++r) loss[r] = 0;
    for (std::size_t col = 0; col < k; col += loss_cols) {
        const std::size_t width = smaller_size(loss_cols, k - col), last = col + width;
        std::memset(scratch, 0, D.rows * loss_cols * sizeof(float));
        const auto add = [&](std::size_t c, std::size_t end, std::size_t from, std::size_t to) {  // columns [c, end), rows [from, to) of H
            if (c == end || from == to) return;
            rows.add_product({scratch + (c - col), D.rows, end - c, loss_cols}, {D.data + from, signed_size(D.stride)},
                             {H.data + from * H.stride + c, signed_size(H.stride)}, to - from);
        };
        for (std::size_t i = col; i < last; i += loss_chunk) {
            const std::size_t top = smaller_size(i + loss_chunk, last);
            add(col, i, i, top);
            for (std::size_t t = i + 1; t < top; ++t) add(i, t, t, t + 1);
        }
        add(col, last, last, k);
        for (std::size_t r = 0; r < D.rows; ++r)
            for (std::size_t c = col; c < last; ++c) {
                const double d = D(r, c), v = scratch[r * loss_cols + (c - col)];
                loss[r] = __builtin_fma(d, static_cast<double>(f.diagonal(c)) * d + 2 * v, loss[r]);
            }
    }
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (std::size_t r = 0; r < D.rows; ++r) {
        const bool finite = (std::bit_cast<std::uint64_t>(loss[r]) >> 52 & 0x7FF) != 0x7FF;
        loss[r] = finite ? (loss[r] > 0 ? loss[r] * f.scale() : 0.0) : infinity;
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
// quantize: floats into any format.
// The ready-made fits, and the choice between them at run time.
// plain_fit: abs-max or min-max scaling of each group. The fastest fit; blind to importance.
//
// A fit is an object that says how the scales of a block are chosen, for any format: block<F>(site) -> params. A fit may
// also encode whole blocks itself, whole<F>(site) -> encoded, choose outer values, outer<F>(stats, error) -> outer, and name itself for
// reports. A user's own fit is the same.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Whether F's scales and offsets have a sign; what a format does not say is taken to have one.
template <class F> inline constexpr bool scale_has_sign = [] { if constexpr (requires { F::signed_scale; }) return bool{F::signed_scale}; else return true; }();
template <class F> inline constexpr bool offset_has_sign = [] { if constexpr (requires { F::signed_offset; }) return bool{F::signed_offset}; else return true; }();

struct weight_range { float low = 0, high = 0; };

constexpr weight_range range_of(std::span<const float> x) noexcept {
    if (x.empty()) return {};
    weight_range r{x[0], x[0]};
    for (const float v : x) r = {smaller(r.low, v), larger(r.high, v)};
    return r;
}

template <class F> constexpr affine map_of_range(weight_range r) noexcept {
    return map_of_range<F::map, typename F::grid, scale_has_sign<F>, offset_has_sign<F>>(r.low, r.high);
}

/// The plain map of one group. A grid of two levels gets the mean magnitude, which is its least-squares scale.
template <class F> constexpr affine plain_map(std::span<const float> x) noexcept {
    if constexpr (F::grid::size == 2 && F::map == form::scaled) {
        float sum = 0;
        for (const float v : x) sum += magnitude(v);
        return {x.empty() ? 0.0f : sum / static_cast<float>(x.size()) / highest_level<typename F::grid>, 0};
    } else {
        return map_of_range<F>(range_of(x));
    }
}

/// Importance that is all zero counts as none: no weight may vanish because its inputs were never seen.
constexpr std::span<const float> some_importance(std::span<const float> w) noexcept {
    for (const float v : w)
        if (v > 0) return w;
    return {};
}

/// The part of a site that group g covers; empty for a group beyond a ragged end.
template <class F> QLIB_INLINE constexpr std::span<const float> group_of(std::span<const float> x, std::size_t g) noexcept {
    const std::size_t first = g * F::group;
    if (first >= x.size()) return {};
    return x.subspan(first, x.size() - first < F::group ? x.size() - first : F::group);
}

/// One wish per group, wish(x, w) -> affine, rounded together to what the wire can hold.
template <class F, class Wish> constexpr typename F::params project_wishes(const site<F>& s, const Wish& wish) noexcept {
    std::array<affine, F::groups> wishes{};
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto x = group_of<F>(s.x, g);
        if (!x.empty()) wishes[g] = wish(x, group_of<F>(s.importance, g));
    }
    return F::project(wishes, s.outer);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// Abs-max or min-max of each group: every weight lies in range, nothing is searched.
struct plain_fit {
    static constexpr const char* name = "plain";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        return detail::project_wishes<F>(s, [](std::span<const float> weights, std::span<const float>) QLIB_INLINE_LAMBDA { return detail::plain_map<F>(weights); });
    }
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
// reference_fit: the format's own original encoder, byte for byte; plain_fit where a format has none.

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// The bytes of the system that a format comes from, quirks included. Under an algorithm that chooses codes itself only the scales count.
struct reference_fit {
    static constexpr const char* name = "reference";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        if constexpr (has_reference<F>) return F::reference(s).params;
        else return plain_fit{}.block<F>(s);
    }
    /// A format's original may know no outer value where qlib's plain rule has one: then `reference_outer` says so.
    template <block_format F, class Error> QLIB_INLINE constexpr typename F::outer outer(const tile_stats& stats, const Error&) const noexcept {
        if constexpr (requires { F::reference_outer(stats); }) return F::reference_outer(stats);
        else return F::fit_outer(stats);
    }
    template <has_reference F> QLIB_INLINE constexpr encoded<F> whole(const site<F>& s) const noexcept { return F::reference(s); }
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
// search_fit: shrinks and stretches the range of each group, solves for the best map under the codes found, steps the integer
// sub-scales of super-blocks, and keeps what has the least importance-weighted squared error.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The weighted squared error of a group under a map, and the sums that the least-squares map for the same codes is made of.
struct trial {
    float error = 0;
    float w = 0, wl = 0, wll = 0, wx = 0, wxl = 0;  // l in level units, less the zero point of a shifted map
};

template <class F> constexpr trial try_map(affine a, float outer_scale, std::span<const float> x, std::span<const float> w) noexcept {
    trial t;
    const to_levels<F> units(a, outer_scale);
    for (std::size_t i = 0; i < x.size(); i += F::vec) {
        const std::size_t lanes = x.size() - i < F::vec ? x.size() - i : F::vec;
        float y[F::vec], l[F::vec];
        F::level(choose_code<F>(a, outer_scale, units, &x[i], w.empty() ? nullptr : &w[i], lanes, y), l);
        for (std::size_t j = 0; j < lanes; ++j) {
            const float weight = w.empty() ? 1.0f : w[i + j], e = x[i + j] - y[j];
            const float level = F::map == form::shifted ? l[j] - a.z : l[j], wl = product(weight, level);
            t.error += product(product(weight, e), e);
            t.w += weight;
            t.wl += wl;
            t.wll += product(wl, level);
            t.wx += product(weight, x[i + j]);
            t.wxl += product(wl, x[i + j]);
        }
    }
    return t;
}

/// The least-squares map for the codes of a trial, which was under zero point `z`, as a wish; `otherwise` where there is none.
template <class F> constexpr affine solve_map(const trial& t, affine otherwise, [[maybe_unused]] float z) noexcept {
    if constexpr (F::map == form::offset) {
        const float det = product(t.w, t.wll) - product(t.wl, t.wl);
        if (!(det > 0)) return otherwise;
        const float s = (product(t.w, t.wxl) - product(t.wx, t.wl)) / det, offset = (product(t.wll, t.wx) - product(t.wl, t.wxl)) / det;
        if (offset_has_sign<F> || offset <= 0) return {s, offset};
        return {t.wll > 0 ? t.wxl / t.wll : otherwise.s, 0};
    } else {
        return {t.wll > 0 ? t.wxl / t.wll : otherwise.s, z};
    }
}

/// Params of two levels, whose groups are stored in steps of the block's super-scales.
template <class F> concept has_sub_scales = has_project_group<F> && requires(typename F::params& p) { p.super; p.sub; p.min; };

/// The search for the best map of one group: keeps the wish whose stored form has the least error.
template <class F> struct map_search {
    typename F::outer outer;
    std::span<const float> x, w;
    float outer_scale = F::outer_scale(outer);
    affine best = {};
    float least = 0;
    bool any = false;

    /// Tries a wish, then the least-squares map for the codes that it gave. The first one is kept where all errors overflow or vanish.
    constexpr void consider(affine wish, int solves) noexcept {
        for (;; --solves) {
            const affine stored = as_stored(wish);
            const trial t = try_map<F>(stored, outer_scale, x, w);
            if (!any || t.error < least) {
                any = true;
                least = t.error;
                best = wish;
            }
            if (solves == 0) return;
            wish = solve_map<F>(t, wish, stored.z);
        }
    }

private:
    /// What the wire would make of a wish; under two levels that is not known before all groups have theirs.
    constexpr affine as_stored(affine wish) const noexcept {
        if constexpr (has_sub_scales<F>) {
            return wish;
        } else if constexpr (has_project_group<F>) {
            typename F::params p{};
            F::project_group(p, 0, wish, outer);
            return F::at(p, 0);
        } else {
            std::array<affine, F::groups> wishes{};
            for (affine& a : wishes) a = wish;
            return F::at(F::project(wishes, outer), 0);
        }
    }
};

template <class F> constexpr affine search_map(typename F::outer outer, std::span<const float> x, std::span<const float> w) noexcept {
    constexpr bool lopsided = F::map == form::scaled && scale_has_sign<F> && -lowest_level<typename F::grid> != highest_level<typename F::grid>;
    map_search<F> search{outer, x, w};
    const weight_range r = range_of(x);
    search.consider(plain_map<F>(x), 1);
    constexpr int stride = F::vec > 1 ? 3 : 1;  // a lattice's nearest point costs more than the finer steps bring
    for (int step = 6; step <= 44; step += stride) {
        const float k = static_cast<float>(step) * 0.025f;
        const affine a = map_of_range<F>({product(r.low, k), product(r.high, k)});
        search.consider(a, F::map == form::offset ? 1 : 0);
        if constexpr (lopsided) search.consider({-a.s, 0}, 0);
    }
    for (const float k : {1.25f, 1.5f}) search.consider(map_of_range<F>({product(r.low, k), product(r.high, k)}), 0);  // for coarse scale types
    search.consider(search.best, 3);
    return search.best;
}

template <class F> constexpr float group_error(const site<F>& s, const typename F::params& p, std::size_t g) noexcept {
    return try_map<F>(F::at(p, g), F::outer_scale(s.outer), group_of<F>(s.x, g), group_of<F>(s.importance, g)).error;
}

/// What weights count for when nothing is known of their inputs: the rms of the 32 around them plus their own magnitude. Plain least
/// squares has less error and does more harm: it shrinks large weights (Q4_0 on a 15M-parameter Llama: perplexity 4.50 plain, 4.38 so).
constexpr std::span<const float> magnitude_importance(std::span<const float> x, std::span<float> out) noexcept {
    for (std::size_t first = 0; first < x.size(); first += 32) {
        const auto part = x.subspan(first, smaller_size(32, x.size() - first));
        float sum = 0;
        for (const float v : part) sum += product(v, v);
        const float rms = square_root(sum / static_cast<float>(part.size()));
        for (std::size_t i = 0; i < part.size(); ++i) out[first + i] = rms + magnitude(part[i]);
    }
    return some_importance(out.first(x.size()));
}

/// Tries the neighbours of every sub-scale (and min): rounding them to nearest is not the best choice under the codes' own rounding.
template <class F> constexpr void step_sub_scales(const site<F>& s, typename F::params& p) noexcept {
    for (std::size_t g = 0; g < F::groups; ++g) {
        if (group_of<F>(s.x, g).empty()) break;
        const int sub = p.sub[g], min = p.min[g];
        float least = group_error<F>(s, p, g);
        typename F::params trial_params = p;
        for (int ds = -1; ds <= 1; ++ds) {
            for (int dm = F::has_mins ? -1 : 0; dm <= (F::has_mins ? 1 : 0); ++dm) {
                if ((ds == 0 && dm == 0) || sub + ds < F::sub_low || sub + ds > F::sub_high || min + dm < 0 || min + dm > F::min_high) continue;
                trial_params.sub[g] = static_cast<std::int8_t>(sub + ds);
                trial_params.min[g] = static_cast<std::uint8_t>(min + dm);
                const float e = group_error<F>(s, trial_params, g);
                if (e < least) { least = e; p = trial_params; }
            }
        }
        trial_params = p;
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// Least weighted squared error over about 40 ranges per group, then least squares; never worse than plain_fit on one-level formats.
/// Importance of ones gives plain least squares; without importance a weight counts for the rms around it plus its own magnitude.
/// About 60 times plain_fit's work.
struct search_fit {
    static constexpr const char* name = "search";
    template <block_format F> QLIB_INLINE constexpr typename F::params block(site<F> s) const noexcept {
        std::array<float, block_size<F>> own{};
        if (s.importance.empty()) s.importance = detail::magnitude_importance(s.x, own);
        const auto& outer = s.outer;
        auto p = detail::project_wishes<F>(s, [&outer](std::span<const float> weights, std::span<const float> importance) QLIB_INLINE_LAMBDA {
            return detail::search_map<F>(outer, weights, importance);
        });
        if constexpr (detail::has_sub_scales<F>) detail::step_sub_scales<F>(s, p);
        return p;
    }
    /// Where the outer value is the whole map (one scale per row, tensor or tile) the range is shrunk; error(outer) judges a tile.
    template <block_format F, class Error> QLIB_INLINE constexpr typename F::outer outer(const tile_stats& stats, const Error& error) const noexcept {
        typename F::outer best = F::fit_outer(stats);
        if constexpr (requires { requires F::outer_is_map; }) {
            float least = error(best);
            for (int step = 1; step < 32; ++step) {
                tile_stats shrunk = stats;
                shrunk.shrink = 1.0f - static_cast<float>(step) * 0.025f;
                const auto o = F::fit_outer(shrunk);
                if (const float e = error(o); e < least) { least = e; best = o; }
            }
        }
        return best;
    }
};

}  // namespace qlib::inline v0
QLIB_EXACT_END

namespace qlib::inline v0 {

/// A ready-made fit, by name. Functions that take one also take any fit object.
enum class fit : std::uint8_t {
    plain,      ///< plain_fit
    search,     ///< search_fit
    reference,  ///< reference_fit
};

namespace detail {
/// use(fit object) for the enumerator.
template <class Use> QLIB_INLINE constexpr auto with_fit(fit f, const Use& use) {
    switch (f) {
    case fit::plain: return use(plain_fit{});
    case fit::reference: return use(reference_fit{});
    case fit::search: break;
    }
    return use(search_fit{});
}
}  // namespace detail

}  // namespace qlib::inline v0
// Outer values: what covers more than a block is chosen before any block is encoded, from the weights of its whole tile.
// The one parallel loop: tasks over the caller's executor, with errors, progress and cancellation.

namespace qlib::inline v0::detail {

/// What the tasks of a loop share.
class loop_state {
public:
    /// Whether task i is still worth running: not after a cancellation, nor beyond the lowest error.
    [[nodiscard]] QLIB_INLINE bool wants(std::size_t i) const noexcept {
        return !__atomic_load_n(&cancelled_, __ATOMIC_RELAXED) && i < __atomic_load_n(&first_, __ATOMIC_RELAXED);
    }
    /// Keeps the error of the lowest task, so that what is reported does not depend on threads.
    QLIB_INLINE void fail(std::size_t i, const error& e) noexcept {
        while (__atomic_test_and_set(&busy_, __ATOMIC_ACQUIRE)) {}
        if (i < first_) {
            __atomic_store_n(&first_, i, __ATOMIC_RELAXED);
            error_ = e;
        }
        __atomic_clear(&busy_, __ATOMIC_RELEASE);
    }
    /// Counts a finished task and tells the caller, unless another worker is just telling.
    QLIB_INLINE void done(const progress_ref& progress, std::size_t total) {
        const std::size_t count = __atomic_add_fetch(&done_, 1, __ATOMIC_RELAXED);
        if (!progress || __atomic_test_and_set(&telling_, __ATOMIC_ACQUIRE)) return;
        if (!progress(count, total)) __atomic_store_n(&cancelled_, true, __ATOMIC_RELAXED);
        __atomic_clear(&telling_, __ATOMIC_RELEASE);
    }
    [[nodiscard]] QLIB_INLINE status result() const noexcept {
        if (first_ != none) return error_;
        if (cancelled_) return error{errc::cancelled, "cancelled after {0} parts of the work", "call.progress", {done_}};
        return {};
    }

private:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    bool busy_ = false, telling_ = false, cancelled_ = false;
    std::size_t first_ = none, done_ = 0;
    error error_{};
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Runs body(i, worker) -> status for all i < count on the call's executor. The error of the lowest i wins.
template <class Body> status for_each_task(const call& how, std::size_t count, const Body& body) {
    loop_state state;
    how.run.run(count, [&](std::size_t i, std::size_t worker) {
        if (!state.wants(i)) return;
        if (const status s = body(i, worker); !s) state.fail(i, s.error());
        state.done(how.progress, count);
    });
    return state.result();
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
// The encoder's driver: from rows of floats to blocks on the wire, for any format and any fit.
// qview<F> and qspan<F>: a quantized matrix in foreign memory, read-only and writable.

namespace qlib::inline v0 {

/// Where the rows of a quantized matrix lie when they are not one tight piece.
template <class Byte> struct view_options {
    std::size_t row_bytes = 0;       ///< distance between rows in bytes, of formats with one plane; 0: rows follow each other
    std::span<Byte> outer = {};      ///< outer values kept elsewhere (NVFP4's tensor scale in GGUF); empty: behind the planes
};

/// The planes of a matrix in format F, each where it lies: codes in one buffer, scales in another.
template <block_format F, class Byte = const std::byte> struct planes {
    std::array<std::span<Byte>, F::planes.size()> at = {};
    std::array<std::size_t, F::planes.size()> row_bytes = {};  ///< distance between rows in each; 0: rows follow each other
    std::span<Byte> outer = {};                                ///< outer values, then the tensor's bytes; empty where F has none
};

namespace detail {

/// rows x cols as the wire sees it: a flat format whose blocks run over row ends is one long row.
struct wire_shape { std::size_t rows = 0, cols = 0; };
template <block_format F> QLIB_INLINE constexpr wire_shape wire_shape_of(std::size_t rows, std::size_t cols) noexcept {
    if (has_flat_blocks<F> && cols % block_size<F> != 0) return {rows * cols != 0, rows * cols};
    return {rows, cols};
}

/// Bytes of plane p in one row of `cols` weights.
template <block_format F> QLIB_INLINE constexpr std::size_t row_bytes(std::size_t p, std::size_t cols) noexcept {
    const std::size_t whole = saturating_multiply(cols / block_size<F>, F::planes[p]);
    if constexpr (has_ragged_rows<F>) {
        if (const std::size_t rest = cols % block_size<F>; rest != 0) return saturating_add(whole, F::planes_of(rest)[p]);
    }
    return whole;
}

/// Bytes that plane p reaches over, with rows `pitch` apart; 0: tight.
template <block_format F> QLIB_INLINE constexpr std::size_t plane_bytes(std::size_t p, wire_shape shape, std::size_t pitch) noexcept {
    const std::size_t tight = row_bytes<F>(p, shape.cols);
    return shape.rows == 0 ? 0 : saturating_add(saturating_multiply(shape.rows - 1, pitch != 0 ? pitch : tight), tight);
}

/// The size of a tile and how many of them a matrix has.
template <block_format F> struct tiling {
    std::size_t rows, cols, across, down;
    QLIB_INLINE constexpr tiling(std::size_t matrix_rows, std::size_t matrix_cols) noexcept {
        constexpr extent t = F::tile;
        const bool any = matrix_rows != 0 && matrix_cols != 0;
        if (t.flat) {
            rows = 1;
            cols = t.cols;
            across = any ? divide_up(saturating_multiply(matrix_rows, matrix_cols), cols) : 0;
            down = any ? 1 : 0;
        } else {
            rows = t.rows != 0 ? t.rows : matrix_rows;
            cols = t.cols != 0 ? t.cols : matrix_cols;
            across = any ? divide_up(matrix_cols, cols) : 0;
            down = any ? divide_up(matrix_rows, rows) : 0;
        }
    }
    [[nodiscard]] QLIB_INLINE constexpr std::size_t count() const noexcept { return saturating_multiply(across, down); }
};

/// Bytes of the outer plane and of the tensor plane.
template <block_format F> QLIB_INLINE constexpr std::size_t outer_plane_bytes(std::size_t rows, std::size_t cols) noexcept {
    if constexpr (has_outer<F>) return saturating_multiply(tiling<F>(rows, cols).count(), F::outer_bytes);
    else return 0;
}
template <block_format F> inline constexpr std::size_t tensor_plane_bytes = [] {
    if constexpr (has_outer<F>) return std::size_t{F::tensor_bytes};
    else return std::size_t{0};
}();

/// What every function asks of a shape first.
template <block_format F> QLIB_INLINE constexpr status check_shape(std::size_t rows, std::size_t cols, const char* operand) noexcept {
    if (saturating_multiply(saturating_multiply(rows, cols), sizeof(float)) > std::numeric_limits<std::size_t>::max() / 4)
        return error{errc::shape, "{0} x {1} weights do not fit in memory", operand, {rows, cols}};
    if (!has_ragged_rows<F> && cols % block_size<F> != 0)
        return error{errc::ragged, "rows of {0} weights are not whole blocks of {1}", operand, {cols, block_size<F>}};
    return {};
}

}  // namespace detail

/// Bytes of a rows x cols matrix in format F: its planes in order, the outer plane, the tensor plane. The largest size_t when that overflows.
template <block_format F> QLIB_INLINE constexpr std::size_t wire_size(std::size_t rows, std::size_t cols) noexcept {
    const auto shape = detail::wire_shape_of<F>(rows, cols);
    std::size_t sum = detail::outer_plane_bytes<F>(rows, cols);
    if (rows != 0 && cols != 0) sum = detail::saturating_add(sum, detail::tensor_plane_bytes<F>);
    for (std::size_t p = 0; p < F::planes.size(); ++p)
        sum = detail::saturating_add(sum, detail::saturating_multiply(shape.rows, detail::row_bytes<F>(p, shape.cols)));
    return sum;
}

/// Bits per weight of a rows x cols matrix, all scales counted.
template <block_format F> [[nodiscard]] QLIB_INLINE constexpr double bits_per_weight(std::size_t rows, std::size_t cols) noexcept {
    return rows * cols != 0 ? 8.0 * static_cast<double>(wire_size<F>(rows, cols)) / (static_cast<double>(rows) * static_cast<double>(cols)) : 0.0;
}

/// A rows x cols matrix of weights in format F, in foreign memory: qview<F> reads, qspan<F> also writes. Any address will do.
template <block_format F, class Byte> class basic_view {
public:
    using format_type = F;
    using pointers = plane_pointers<F, Byte>;

    QLIB_INLINE basic_view() noexcept = default;
    /// A writable view is a readable one.
    QLIB_INLINE operator basic_view<F, const std::byte>() const noexcept
        requires std::same_as<Byte, std::byte>
    {
        basic_view<F, const std::byte> v;
        for (std::size_t p = 0; p < planes_.size(); ++p) v.planes_[p] = planes_[p];
        v.pitch_ = pitch_;
        v.outer_ = outer_;
        v.tensor_ = tensor_;
        v.rows_ = rows_;
        v.cols_ = cols_;
        v.first_row_ = first_row_;
        v.tiles_across_ = tiles_across_;
        return v;
    }
    /// A matrix over bytes that hold it: planes in order, then the outer plane, then the tensor plane; wire_size<F>(rows, cols) in all.
    /// error: shape when the bytes are too few; ragged when rows are no whole blocks and F has no ragged rows.
    [[nodiscard]] QLIB_TAGGED static result<basic_view> over(std::span<Byte> bytes, std::size_t rows, std::size_t cols, view_options<Byte> options = {}) noexcept {
        if (options.row_bytes != 0 && F::planes.size() != 1)
            return error{errc::shape, "one distance of {0} bytes between the rows of {1} planes", "view", {options.row_bytes, F::planes.size()}};
        const auto shape = detail::wire_shape_of<F>(rows, cols);
        planes<F, Byte> where;
        where.row_bytes[0] = options.row_bytes;
        const auto take = [&bytes](std::size_t n) QLIB_INLINE_LAMBDA {  // all there is, if that is less: found out below
            const auto part = bytes.first(n < bytes.size() ? n : bytes.size());
            bytes = bytes.subspan(part.size());
            return part;
        };
        for (std::size_t p = 0; p < F::planes.size(); ++p) where.at[p] = take(detail::plane_bytes<F>(p, shape, where.row_bytes[p]));
        where.outer = options.outer.empty() ? bytes : options.outer;
        return over(where, rows, cols);
    }
    /// A matrix over planes that lie apart. error: shape when one of them is too short, or rows are farther apart than that; ragged.
    [[nodiscard]] QLIB_TAGGED static result<basic_view> over(const planes<F, Byte>& where, std::size_t rows, std::size_t cols) noexcept {
        if (const status s = detail::check_shape<F>(rows, cols, "view"); !s) return s.error();
        const auto shape = detail::wire_shape_of<F>(rows, cols);
        basic_view v;
        v.rows_ = rows;
        v.cols_ = cols;
        v.tiles_across_ = detail::tiling<F>(rows, cols).across;
        for (std::size_t p = 0; p < F::planes.size(); ++p) {
            const std::size_t tight = detail::row_bytes<F>(p, shape.cols), pitch = where.row_bytes[p] != 0 ? where.row_bytes[p] : tight;
            if (pitch < tight) return error{errc::shape, "rows of {1} bytes do not lie {0} apart, plane {2}", "view", {pitch, tight, p}};
            if (const std::size_t wanted = detail::plane_bytes<F>(p, shape, pitch); where.at[p].size() < wanted)
                return error{errc::shape, "{2} x {3} weights need {1} bytes, there are {0}", "view", {where.at[p].size(), wanted, rows, cols}};
            v.pitch_[p] = pitch;
            v.planes_[p] = where.at[p].data();
        }
        const std::size_t tiles = detail::outer_plane_bytes<F>(rows, cols), wanted = tiles + (rows * cols != 0 ? detail::tensor_plane_bytes<F> : 0);
        if (where.outer.size() < wanted)
            return error{errc::shape, "{2} x {3} weights need {1} bytes of outer values, there are {0}", "view", {where.outer.size(), wanted, rows, cols}};
        v.outer_ = where.outer.data();
        v.tensor_ = wanted != 0 ? v.outer_ + tiles : v.outer_;
        return v;
    }

    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    /// Whether blocks stay inside rows; if not, the matrix can only be encoded and decoded as a whole.
    [[nodiscard]] QLIB_INLINE bool sliceable() const noexcept { return !has_flat_blocks<F> || cols_ % block_size<F> == 0; }

    /// `count` rows from row `first` on. error: shape, unsliceable.
    [[nodiscard]] QLIB_TAGGED result<basic_view> row_range(std::size_t first, std::size_t count) const noexcept {
        if (first > rows_ || count > rows_ - first) return error{errc::shape, "rows {0} to {1} of {2}", "row_range", {first, first + count, rows_}};
        if (!sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "row_range", {block_size<F>, cols_}};
        basic_view v = *this;
        for (std::size_t p = 0; p < F::planes.size(); ++p) v.planes_[p] = planes_[p] + first * pitch_[p];
        v.rows_ = count;
        v.first_row_ = first_row_ + first;
        return v;
    }

    /// The planes of block b of wire row r.
    [[nodiscard]] QLIB_INLINE pointers block(std::size_t r, std::size_t b) const noexcept {
        pointers at{};
        for (std::size_t p = 0; p < F::planes.size(); ++p) at[p] = planes_[p] + r * pitch_[p] + b * F::planes[p];
        return at;
    }
    /// The outer value that covers column c of row r.
    [[nodiscard]] QLIB_INLINE typename F::outer outer(std::size_t r, std::size_t c) const noexcept {
        if constexpr (has_outer<F>) return F::load_outer(outer_ + tile_index(r, c) * F::outer_bytes, tensor_);
        else return {};
    }
    QLIB_INLINE void set_outer(std::size_t tile, const typename F::outer& o) const noexcept {
        if constexpr (has_outer<F>) F::store_outer(o, outer_ + tile * F::outer_bytes, tensor_);
    }

private:
    template <block_format, class> friend class basic_view;
    QLIB_INLINE std::size_t tile_index(std::size_t r, std::size_t c) const noexcept {
        constexpr extent t = F::tile;
        r += first_row_;
        if constexpr (t.flat) {
            return (r * cols_ + c) / t.cols;
        } else {
            std::size_t index = 0;
            if constexpr (t.rows != 0) index += r / t.rows * tiles_across_;
            if constexpr (t.cols != 0) index += c / t.cols;
            return index;
        }
    }

    pointers planes_{};
    std::array<std::size_t, F::planes.size()> pitch_{};
    Byte* outer_ = nullptr;
    Byte* tensor_ = nullptr;
    std::size_t rows_ = 0, cols_ = 0, first_row_ = 0, tiles_across_ = 0;
};

template <block_format F> using qview = basic_view<F, const std::byte>;
template <block_format F> using qspan = basic_view<F, std::byte>;

}  // namespace qlib::inline v0

namespace qlib::inline v0 {

/// What an encoder does with a NaN or an infinity among the weights.
enum class non_finite : std::uint8_t {
    error,  ///< refuses, naming row and column
    zero,   ///< counts it as 0
    clamp,  ///< NaN as 0, an infinity as the largest float of its sign
};

}  // namespace qlib::inline v0

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Codes for given params: each group's weights rounded to the nearest code under the map that will decode them.
template <class F> constexpr void choose_codes(const site<F>& s, encoded<F>& e) noexcept {
    const float outer_scale = F::outer_scale(s.outer);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto x = group_of<F>(s.x, g), w = group_of<F>(s.importance, g);
        const affine a = F::at(e.params, g);
        const to_levels<F> units(a, outer_scale);
        float y[F::vec];
        for (std::size_t i = 0; i < x.size(); i += F::vec)
            e.code[(g * F::group + i) / F::vec] = choose_code<F>(a, outer_scale, units, &x[i], w.empty() ? nullptr : &w[i], smaller_size(x.size() - i, F::vec), y);
    }
}

/// Whether a fit encodes whole blocks of F itself, as an original does.
template <class Fit, class F> concept encodes_whole = requires(const Fit& fit, const site<F>& s) { fit.template whole<F>(s); };

/// A block by any fit.
template <class F, class Fit> constexpr encoded<F> encode_block(const site<F>& s, const Fit& fit) noexcept {
    if constexpr (encodes_whole<Fit, F>) {
        return fit.template whole<F>(s);
    } else {
        encoded<F> e;
        e.params = fit.template block<F>(s);
        choose_codes<F>(s, e);
        return e;
    }
}

/// Whether every map that the decoder will use is finite: an f16 scale of weights beyond 65504 levels is not.
template <class F> constexpr bool all_finite(const typename F::params& p, std::size_t weights) noexcept {
    bool ok = true;
    for (std::size_t g = 0; g * F::group < weights; ++g) {
        const affine a = F::at(p, g);
        ok = ok && is_finite(a.s) && is_finite(a.z);
    }
    return ok;
}

/// Weights [c, c + n) of wire row r. One piece unless the matrix was flattened and rows end inside.
template <block_format F, weight_source T>
void load_weights(matrix_view<const T> W, std::size_t r, std::size_t c, std::size_t n, float* out) noexcept {
    std::size_t at = r * wire_shape_of<F>(W.rows, W.cols).cols + c;
    while (n != 0) {
        const std::size_t row = at / W.cols, col = at % W.cols, m = smaller_size(n, W.cols - col);
        const T* const from = W.row(row) + col;
        if constexpr (std::same_as<T, float>) std::memcpy(out, from, m * sizeof(float));
        else for (std::size_t i = 0; i < m; ++i) out[i] = as_float(from[i]);
        out += m;
        at += m;
        n -= m;
    }
}

/// Applies the policy to n weights. False: there is a non-finite one and the policy is to refuse; `bad` is its index.
inline bool sanitize(float* x, std::size_t n, non_finite policy, std::size_t& bad) noexcept {
    std::uint32_t worst = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t a = bits_of(x[i]) & 0x7FFFFFFFu;
        worst = a > worst ? a : worst;
    }
    if (worst < 0x7F800000u) return true;
    for (std::size_t i = 0; i < n; ++i) {
        if (is_finite(x[i])) continue;
        bad = i;
        if (policy == non_finite::error) return false;
        const float largest = bits_of(x[i]) >> 31 != 0 ? -std::numeric_limits<float>::max() : std::numeric_limits<float>::max();
        x[i] = policy == non_finite::zero || is_nan(x[i]) ? 0.0f : largest;
    }
    return true;
}

/// The mean square of a row, summed in order without FMA: ggml's sigma^2.
template <weight_source T> float mean_square(matrix_view<const T> W, std::size_t r) noexcept {
    float sum = 0;
    for (std::size_t j = 0; j < W.cols; ++j)
        if (const float x = as_float(W(r, j)); is_finite(x)) sum += product(x, x);
    return sum / static_cast<float>(W.cols);
}

/// One block of the encoder's work: reads, checks, encodes, stores.
template <block_format F, class Fit, weight_source T> struct block_encoder {
    matrix_view<const T> W;                    // (rows, cols) row-major
    matrix_view<const float> importance;       // (rows, cols) with stride 0: one row for all; or no data
    const Fit& fit;
    non_finite policy;
    qspan<F> out;

    /// Reads n weights from wire row r, column c on, with their importances.
    status read(std::size_t r, std::size_t c, std::size_t n, float* x, float* w, site<F>& s) const noexcept {
        std::size_t bad = 0;
        load_weights<F>(W, r, c, n, x);
        if (!sanitize(x, n, policy, bad)) return at(r, c + bad, errc::non_finite, "the weight in row {0}, column {1} is not finite");
        if (importance.data != nullptr) load_weights<F>(importance, r, c, n, w);
        s.x = {x, n};
        s.importance = {w, importance.data != nullptr ? n : 0};
        if constexpr (!encodes_whole<Fit, F>) s.importance = some_importance(s.importance);  // originals make of zeros what they make
        return {};
    }
    /// Encodes block b of wire row r, n weights long.
    status operator()(std::size_t r, std::size_t b, std::size_t n, float row_mean_square) const noexcept {
        constexpr std::size_t block = block_size<F>;
        float x[block], w[block];
        site<F> s{{}, {}, row_mean_square, out.outer(r, b * block)};
        if (const status failed = read(r, b * block, n, x, w, s); !failed) return failed;
        const encoded<F> e = encode_block<F>(s, fit);
        if (!all_finite<F>(e.params, n)) return at(r, b * block, errc::overflow, "the scale of row {0} from column {1} on is beyond its type's range");
        F::store(e.params, {e.code.data(), divide_up(n, F::vec)}, out.block(r, b));
        return {};
    }

private:
    /// An error at a wire position, in the matrix's own rows and columns.
    status at(std::size_t r, std::size_t c, errc code, const char* rule) const noexcept {
        const std::size_t flat = r * wire_shape_of<F>(W.rows, W.cols).cols + c;
        return error{code, rule, "W", {flat / W.cols, flat % W.cols}};
    }
};

/// Encodes wire rows [first, first + count).
template <block_format F, class Fit, class T>
status encode_rows(const block_encoder<F, Fit, T>& encoder, std::size_t first, std::size_t count) noexcept {
    constexpr std::size_t block = block_size<F>;
    const std::size_t cols = wire_shape_of<F>(encoder.W.rows, encoder.W.cols).cols;
    for (std::size_t r = first; r < first + count; ++r) {
        const float row_mean_square = encodes_whole<Fit, F> && encoder.importance.data != nullptr ? mean_square(encoder.W, r) : 0.0f;
        for (std::size_t b = 0; b * block < cols; ++b)
            if (const status s = encoder(r, b, smaller_size(block, cols - b * block), row_mean_square); !s) return s;
    }
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// visit(wire row, first column, weights) -> status for each block of tile t, in storage order, until one fails.
template <block_format F, class Visit>
status for_each_block(std::size_t rows, std::size_t cols, std::size_t t, const Visit& visit) noexcept {
    constexpr std::size_t block = block_size<F>;
    const tiling<F> tiles(rows, cols);
    if constexpr (F::tile.flat) {
        const std::size_t width = wire_shape_of<F>(rows, cols).cols, end = smaller_size((t + 1) * tiles.cols, rows * cols);
        for (std::size_t e = t * tiles.cols; e < end; e += block)
            if (const status s = visit(e / width, e % width, smaller_size(block, end - e)); !s) return s;
    } else {
        const std::size_t r0 = t / tiles.across * tiles.rows, c0 = t % tiles.across * tiles.cols;
        const std::size_t r1 = smaller_size(r0 + tiles.rows, rows), c1 = smaller_size(c0 + tiles.cols, cols);
        for (std::size_t r = r0; r < r1; ++r)
            for (std::size_t c = c0; c < c1; c += block)
                if (const status s = visit(r, c, smaller_size(block, c1 - c)); !s) return s;
    }
    return {};
}

/// The statistics of a tile; abs-max per block goes to `per_block` where the tile is flat.
template <block_format F, class Fit, class T>
status tile_statistics(const block_encoder<F, Fit, T>& encoder, std::size_t t, std::span<float> per_block, tile_stats& stats) noexcept {
    std::size_t count = 0;
    const status s = for_each_block<F>(encoder.W.rows, encoder.W.cols, t, [&](std::size_t r, std::size_t c, std::size_t n) -> status {
        float weights[block_size<F>], importances[block_size<F>];
        site<F> block{};
        if (const status failed = encoder.read(r, c, n, weights, importances, block); !failed) return failed;
        const weight_range range = range_of(block.x);
        stats.low = smaller(stats.low, range.low);
        stats.high = larger(stats.high, range.high);
        if (count < per_block.size()) per_block[count++] = larger(-range.low, range.high);
        return {};
    });
    stats.block_abs_max = per_block.first(count);
    return s;
}

/// Weighted squared error of a tile under an outer value that is its whole map.
template <block_format F, class Fit, class T>
float tile_error(const block_encoder<F, Fit, T>& encoder, std::size_t t, const typename F::outer& o) noexcept {
    double sum = 0;
    const auto params = F::project({}, o);
    const float outer_scale = F::outer_scale(o);
    (void)for_each_block<F>(encoder.W.rows, encoder.W.cols, t, [&](std::size_t r, std::size_t c, std::size_t n) -> status {
        float weights[block_size<F>], importances[block_size<F>];
        site<F> s{};
        if (!encoder.read(r, c, n, weights, importances, s)) return {};  // reported by tile_statistics
        const affine a = F::at(params, 0);
        const to_levels<F> units(a, outer_scale);
        for (std::size_t i = 0; i < n; i += F::vec) {
            const std::size_t lanes = smaller_size(n - i, F::vec);
            float decoded[F::vec];
            choose_code<F>(a, outer_scale, units, weights + i, s.importance.empty() ? nullptr : importances + i, lanes, decoded);
            for (std::size_t j = 0; j < lanes; ++j) {
                const double e = static_cast<double>(weights[i + j]) - static_cast<double>(decoded[j]);
                sum += e * e * static_cast<double>(s.importance.empty() ? 1.0f : importances[i + j]);
            }
        }
        return {};
    });
    return static_cast<float>(sum);
}

/// Chooses and stores all outer values of encoder.out. Tiles are independent; formats without outer values: nothing to do.
template <block_format F, class Fit, class T> status fit_outer_values(const block_encoder<F, Fit, T>& encoder, call how) noexcept {
    if constexpr (has_outer<F>) {
        constexpr std::size_t blocks_per_tile = F::tile.flat ? F::tile.cols / block_size<F> : 0;
        const std::size_t tiles = tiling<F>(encoder.W.rows, encoder.W.cols).count();
        how.progress = {};  // the caller counts the work that follows
        double total = 0;
        std::size_t blocks = 0;
        if constexpr (F::tile.flat) {  // the mean over the tensor comes first, in storage order
            for (std::size_t t = 0; t < tiles; ++t) {
                std::array<float, blocks_per_tile> per_block{};
                tile_stats stats;
                if (const status s = tile_statistics<F>(encoder, t, per_block, stats); !s) return s;
                for (const float m : stats.block_abs_max) total += static_cast<double>(m);
                blocks += stats.block_abs_max.size();
            }
        }
        return for_each_task(how, tiles, [&](std::size_t t, std::size_t) -> status {
            std::array<float, blocks_per_tile> per_block{};
            tile_stats stats;
            if (const status s = tile_statistics<F>(encoder, t, per_block, stats); !s) return s;
            stats.mean_abs_max = blocks != 0 ? static_cast<float>(total / static_cast<double>(blocks)) : 0.0f;
            const auto judge = [&](const typename F::outer& o) { return tile_error<F>(encoder, t, o); };
            const auto value = [&] {
                if constexpr (requires { encoder.fit.template outer<F>(stats, judge); }) return encoder.fit.template outer<F>(stats, judge);
                else return F::fit_outer(stats);
            }();
            if (!is_finite(F::outer_scale(value))) return error{errc::overflow, "the scale of tile {0} is beyond its type's range", "W", {t}};
            encoder.out.set_outer(t, value);
            return {};
        });
    } else {
        (void)encoder;
        (void)how;
        return {};
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
// qmatrix<F>: a quantized matrix that owns its bytes.

namespace qlib::inline v0 {

/// rows x cols weights in format F, 64-byte aligned; move-only. Bytes: F's planes in order, the outer plane, the tensor plane.
template <block_format F> class qmatrix {
public:
    QLIB_INLINE qmatrix() noexcept = default;
    QLIB_INLINE qmatrix(qmatrix&&) noexcept = default;
    QLIB_INLINE qmatrix& operator=(qmatrix&&) noexcept = default;
    /// Zeroed bytes for rows x cols weights. error: shape, ragged, memory.
    [[nodiscard]] QLIB_TAGGED static result<qmatrix> make(std::size_t rows, std::size_t cols) noexcept {
        if (const status s = detail::check_shape<F>(rows, cols, "qmatrix"); !s) return s.error();
        qmatrix m;
        const std::size_t size = wire_size<F>(rows, cols);
        if (!m.bytes_.allocate(size)) return detail::out_of_memory(size);
        if (size != 0) std::memset(m.bytes_.data(), 0, size);
        auto span = qspan<F>::over({m.bytes_.data(), size}, rows, cols);
        if (!span) return span.error();
        m.span_ = *span;
        return m;
    }

    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept { return {bytes_.data(), bytes_.size()}; }
    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return span_.rows(); }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return span_.cols(); }
    [[nodiscard]] QLIB_INLINE qview<F> view() const noexcept { return span_; }
    [[nodiscard]] QLIB_INLINE qspan<F> span() noexcept { return span_; }
    [[nodiscard]] QLIB_INLINE operator qview<F>() const noexcept { return span_; }
    /// `count` rows from row `first` on. error: shape, unsliceable.
    [[nodiscard]] QLIB_INLINE result<qview<F>> row_range(std::size_t first, std::size_t count) const noexcept { return view().row_range(first, count); }

private:
    detail::buffer<std::byte> bytes_;
    qspan<F> span_;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0 {

/// How weights become codes.
struct quantize_options {
    qlib::fit fit = qlib::fit::search;          ///< how scales are chosen
    std::span<const float> importance = {};     ///< one per column, >= 0: an imatrix, or a Hessian's diagonal; empty: none
    non_finite on_non_finite = non_finite::error;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline status check_importance(std::span<const float> importance, std::size_t cols) noexcept {
    if (!importance.empty() && importance.size() != cols)
        return error{errc::importance, "{0} importances for {1} columns", "importance", {importance.size(), cols}};
    for (std::size_t j = 0; j < importance.size(); ++j)
        if (!is_finite(importance[j]) || importance[j] < 0)
            return error{errc::importance, "the importance of column {0} is negative or not finite", "importance", {j}};
    return {};
}

/// Rows to one task: enough tasks that threads end together, whatever their speed.
inline std::size_t rows_per_task(std::size_t rows, std::size_t workers) noexcept { return divide_up(rows, workers * 8) + (rows == 0); }

template <block_format F, class Fit, weight_source T>
status quantize_with(matrix_view<const T> W, qspan<F> out, const Fit& fit, const quantize_options& options, const call& how) noexcept {
    if (W.rows != out.rows() || W.cols != out.cols())
        return error{errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "W", {W.rows, W.cols, out.rows(), out.cols()}};
    if (const status s = check_shape<F>(W.rows, W.cols, "W"); !s) return s;
    if (const status s = check_importance(options.importance, W.cols); !s) return s;
    if (const status s = check_room(how.room); !s) return s;
    if (how.report != nullptr) {
        *how.report = {isa::portable, "", "bits"};
        if constexpr (requires { Fit::name; }) how.report->mode = Fit::name;
    }
    if (W.rows == 0 || W.cols == 0) return {};
    const block_encoder<F, Fit, T> encoder{W, {options.importance.data(), W.rows, W.cols, 0}, fit, options.on_non_finite, out};
    if (const status s = fit_outer_values<F>(encoder, how); !s) return s;
    const std::size_t rows = wire_shape_of<F>(W.rows, W.cols).rows, step = rows_per_task(rows, how.run.workers());
    return for_each_task(how, divide_up(rows, step), [&](std::size_t i, std::size_t) { return encode_rows<F>(encoder, i * step, smaller_size(step, rows - i * step)); });
}

template <block_format F, class Fit, weight_source T>
result<qmatrix<F>> quantized_with(matrix_view<const T> W, const Fit& fit, const quantize_options& options, const call& how) noexcept {
    auto q = qmatrix<F>::make(W.rows, W.cols);
    if (!q) return q.error();
    if (const status s = quantize_with<F>(W, q->span(), fit, options, how); !s) return s.error();
    return q;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// A fit object that can serve F: one of qlib's, or a user's own.
template <class Fit, class F> concept fit_for = requires(const Fit& fit, const site<F>& s) {
    { fit.template block<F>(s) } -> std::same_as<typename F::params>;
};

/// Quantizes W into `out` with a fit object of the caller's own (plain_fit, search_fit, reference_fit, hqq, ...); options.fit is not looked at.
///
/// W       rows x cols floats (f16 and bf16 too, see below), row-major, any row stride
/// out     rows x cols in format F, as qmatrix<F>::span() or qspan<F>::over(bytes) give it; any address
/// error   shape, ragged, importance, unsupported: nothing is written. non_finite, overflow (a scale too large for its type), cancelled: `out`
///         is unspecified
/// exact   the same bytes on every instruction set, for any number of threads and under any compiler flag
/// scratch none
template <block_format F, fit_for<F> Fit>
[[nodiscard]] status quantize_into(matrix_view<const float> W, qspan<F> out, const Fit& fit, quantize_options options = {}, call how = {}) noexcept {
    return detail::quantize_with<F>(W, out, fit, options, how);
}
/// The same with a ready-made fit, options.fit.
template <block_format F>
[[nodiscard]] status quantize_into(matrix_view<const float> W, qspan<F> out, quantize_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantize_with<F>(W, out, fit, options, how); });
}
/// The same from f16 or bf16; each weight counts as the float it is.
template <block_format F, class T>
    requires weight_source<std::remove_const_t<T>> && (!std::same_as<std::remove_const_t<T>, float>)
[[nodiscard]] status quantize_into(matrix_view<T> W, qspan<F> out, quantize_options options = {}, call how = {}) noexcept {
    const matrix_view<const T> source = W;
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantize_with<F>(source, out, fit, options, how); });
}

/// Quantizes W into a matrix of its own with a fit object of the caller's own. error: as quantize_into, and memory.
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<const float> W, const Fit& fit, quantize_options options = {}, call how = {}) noexcept {
    return detail::quantized_with<F>(W, fit, options, how);
}
/// Quantizes W with a ready-made fit: quantize<q4_k>(W), quantize<nf4>(W, {.fit = fit::plain}).
template <block_format F>
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<const float> W, quantize_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantized_with<F>(W, fit, options, how); });
}
/// The same from f16 or bf16.
template <block_format F, class T>
    requires weight_source<std::remove_const_t<T>> && (!std::same_as<std::remove_const_t<T>, float>)
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<T> W, quantize_options options = {}, call how = {}) noexcept {
    const matrix_view<const T> source = W;
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantized_with<F>(source, fit, options, how); });
}

/// One whole block at compile time or run time: finite weights in, the bytes of its planes in order out.
/// error  a weight or scale that is not finite: not a constant expression; at run time the bytes are unspecified
template <block_format F, class Fit = search_fit>
[[nodiscard]] constexpr std::array<std::byte, block_bytes<F>> encode(const std::array<float, block_size<F>>& x, const Fit& fit = {},
                                                                     const typename F::outer& outer = {}) noexcept {
    const encoded<F> e = detail::encode_block<F>(site<F>{{x.data(), x.size()}, {}, 0, outer}, fit);
    std::array<std::byte, block_bytes<F>> out{};
    plane_pointers<F, std::byte> planes{};
    std::size_t at = 0;
    for (std::size_t p = 0; p < planes.size(); ++p) {
        planes[p] = out.data() + at;
        at += F::planes[p];
    }
    F::store(e.params, e.code, planes);
    return out;
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// Decoding by the definition: any format, one block at a time, through its own load. Rooms that know a bit layout are faster, same bits.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Weights of params and codes: n of them, the first of a block.
template <class F>
constexpr void decode_codes(const typename F::params& p, const typename F::code* code, const typename F::outer& o, std::size_t n, float* out) noexcept {
    const float outer_scale = F::outer_scale(o);
    for (std::size_t i = 0; i < n; i += F::vec) {
        const affine a = F::at(p, i / F::group);
        float l[F::vec];
        F::level(code[i / F::vec], l);
        for (std::size_t j = 0; j < F::vec && i + j < n; ++j) {
            const float y = mapped<F::map>(a, l[j]);
            out[i + j] = outer_multiplies<F> ? product(y, outer_scale) : y;
        }
    }
}

/// The n weights of block b of wire row r.
template <block_format F> void decode_block(const qview<F>& q, std::size_t r, std::size_t b, std::size_t n, float* out) noexcept {
    std::array<typename F::code, codes<F>> code{};
    const auto o = q.outer(r, b * block_size<F>);
    const auto p = F::load(q.block(r, b), o, std::span(code).first(divide_up(n, F::vec)));
    decode_codes<F>(p, code.data(), o, n, out);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

struct gptq_options {
    float damping = 0.01f;                ///< see factor_options; not looked at when a factor is given
    bool strict = false;                  ///< an error in place of the damping ladder; not looked at when a factor is given
    qlib::fit fit = qlib::fit::search;    ///< how scales are chosen, on the current weights, each column weighed by 1 / U_jj^2
    non_finite on_non_finite = non_finite::error;
};

/// What came of it. Losses are sums of (w - q) H (w - q)^T over rows, under the undamped Hessian.
struct gptq_report {
    double loss = 0;               ///< of what was written
    double loss_rtn = 0;           ///< of the baseline: the same format, fit and outer values, rounded to nearest, importance diag(H)
    std::size_t rows_rounded = 0;  ///< rows that kept the baseline, because it was better there
    factor_report factor = {};     ///< damping used, rung of the ladder, dead columns
};

template <block_format F> struct gptq_result {
    qmatrix<F> weights;
    gptq_report report;

    QLIB_INLINE gptq_result() noexcept = default;
    QLIB_INLINE gptq_result(gptq_result&&) noexcept = default;
    QLIB_INLINE gptq_result& operator=(gptq_result&&) noexcept = default;
};

}  // namespace qlib::inline v0

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t gptq_strip_rows = 16;

/// Columns whose feedback is gathered before it reaches the rest of the row: the smallest multiple of F's block >= 128.
template <block_format F> inline constexpr std::size_t gptq_column_block = divide_up(128, block_size<F>) * block_size<F>;

/// What one worker needs for a strip of rows.
template <block_format F> struct gptq_workspace {
    matrix_view<float> weights;   // (strip, cols): the current weights
    matrix_view<float> errors;    // (strip, cols): decoded weights, then the difference to the original ones
    matrix_view<float> feedback;  // (strip, column block): -(w - q) / U_jj
    float* losses;
    encoded<F>* blocks;           // (strip, blocks of a row)
};

/// How the memory of a call is shared out: per matrix first, then per worker.
template <block_format F> class gptq_memory {
public:
    constexpr gptq_memory(std::size_t rows, std::size_t cols, std::size_t workers) noexcept
        : rows_(rows), cols_(cols), workers_(workers), stride_(row_stride(cols)),
          floats_each_(saturating_add(saturating_multiply(gptq_strip_rows, saturating_add(2 * stride_, gptq_column_block<F>)), quadratic_losses_scratch(gptq_strip_rows))),
          blocks_each_(gptq_strip_rows * divide_up(cols, block_size<F>)) {}

    [[nodiscard]] constexpr std::size_t floats() const noexcept { return saturating_multiply(floats_each_, workers_); }
    [[nodiscard]] constexpr std::size_t blocks() const noexcept { return saturating_multiply(blocks_each_, workers_); }
    [[nodiscard]] constexpr std::size_t bytes() const noexcept {
        const std::size_t matrix = saturating_add(workspace::piece<float>(saturating_multiply(2, cols_)), workspace::piece<double>(saturating_multiply(2, rows_)));
        return saturating_add(matrix, saturating_add(workspace::piece<float>(floats()), workspace::piece<encoded<F>>(blocks())));
    }
    [[nodiscard]] gptq_workspace<F> worker(float* floats, encoded<F>* blocks, std::size_t i, std::size_t rows) const noexcept {
        float* const at = floats + i * floats_each_;
        const std::size_t strip = gptq_strip_rows * stride_;
        return {{at, rows, cols_, stride_}, {at + strip, rows, cols_, stride_}, {at + 2 * strip, rows, gptq_column_block<F>},
                at + 2 * strip + gptq_strip_rows * gptq_column_block<F>, blocks + i * blocks_each_};
    }

private:
    std::size_t rows_, cols_, workers_, stride_, floats_each_, blocks_each_;
};

/// The loop over one strip of rows. Rows are independent given the factor, so strips need no barrier.
template <block_format F, class Fit, weight_source T> struct gptq_strip {
    static constexpr std::size_t block = block_size<F>;

    const block_encoder<F, Fit, T>& baseline;  // rounds to nearest with importance diag(H), into the output
    const hessian_factor& factor;
    const float* importance;                   // 1 / U_jj^2; 0 for dead columns
    row_kernels kernels;
    isa room;
    gptq_workspace<F> work;
    std::size_t first, count;                  // rows of the matrix

    /// Leaves the better of GPTQ and the baseline in each row of the output, and both losses of each row.
    status run(double* loss, double* loss_rtn) const noexcept {
        if (const status s = encode_rows<F>(baseline, first, count); !s) return s;
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t b = 0; b * block < cols(); ++b) decode_block<F>(baseline.out, first + r, b, weights_in(b), work.errors.row(r) + b * block);
        losses_of_decoded(loss_rtn);
        load_original();
        for (std::size_t c = 0; c < cols(); c += gptq_column_block<F>) column_block(c, smaller_size(c + gptq_column_block<F>, cols()));
        losses_of_decoded(loss);
        for (std::size_t r = 0; r < count; ++r) {
            if (loss[r] < loss_rtn[r] && storable(r)) store(r);
            else loss[r] = loss_rtn[r];
        }
        return {};
    }

private:
    [[nodiscard]] std::size_t cols() const noexcept { return baseline.W.cols; }
    [[nodiscard]] std::size_t weights_in(std::size_t b) const noexcept { return smaller_size(block, cols() - b * block); }
    [[nodiscard]] encoded<F>& encoded_block(std::size_t r, std::size_t b) const noexcept { return work.blocks[r * divide_up(cols(), block) + b]; }

    /// The strip as it was given; encode_rows has seen that it is clean.
    void load_original() const noexcept {
        for (std::size_t r = 0; r < count; ++r) {
            std::size_t bad = 0;
            load_weights<F>(baseline.W, first + r, 0, cols(), work.weights.row(r));
            (void)sanitize(work.weights.row(r), cols(), baseline.policy, bad);
        }
    }
    void losses_of_decoded(double* loss) const noexcept {
        load_original();
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t c = 0; c < cols(); ++c) work.errors(r, c) = work.weights(r, c) - work.errors(r, c);
        quadratic_losses(factor, work.errors, loss, work.losses, room);
    }

    /// Columns [c0, c1): whole blocks, but for the last of a ragged row.
    void column_block(std::size_t c0, std::size_t c1) const noexcept {
        for (std::size_t c = c0; c < c1; c += block) {
            affine map[gptq_strip_rows];
            float outer_scale[gptq_strip_rows], decoded[gptq_strip_rows][F::vec];
            fit_blocks(c, outer_scale);
            for (std::size_t j = c; j < smaller_size(c + block, cols()); ++j) {
                for (std::size_t r = 0; r < count; ++r) round_column(r, c, j, map[r], outer_scale[r], decoded[r], j - c0);
                spread(j - c0, 1, j, j + 1, c1);
            }
        }
        spread(0, c1 - c0, c0, c1, cols());
    }
    /// Scales are fitted once per block, on what the feedback has made of its weights.
    void fit_blocks(std::size_t c, float* outer_scale) const noexcept {
        const std::size_t n = weights_in(c / block);
        for (std::size_t r = 0; r < count; ++r) {
            const site<F> s{{work.weights.row(r) + c, n}, some_importance({importance + c, n}), 0, baseline.out.outer(first + r, c)};
            encoded_block(r, c / block).params = baseline.fit.template block<F>(s);
            outer_scale[r] = F::outer_scale(s.outer);
        }
    }
    /// Rounds column j of row r, in the block that begins at column c; a code of several weights is chosen at its first.
    void round_column(std::size_t r, std::size_t c, std::size_t j, affine& map, float outer_scale, float* decoded, std::size_t slot) const noexcept {
        encoded<F>& e = encoded_block(r, c / block);
        const std::size_t i = j - c;
        if (i % F::group == 0) map = F::at(e.params, i / F::group);
        if (i % F::vec == 0) {
            const std::size_t lanes = smaller_size(F::vec, cols() - j);
            e.code[i / F::vec] = choose_code<F>(map, outer_scale, to_levels<F>(map, outer_scale), work.weights.row(r) + j, importance + j, lanes, decoded);
        }
        const float q = decoded[i % F::vec];
        work.errors(r, j) = q;
        work.feedback(r, slot) = (q - work.weights(r, j)) / factor.pivot(j);
    }
    /// Carries the feedback of `depth` columns from column j on to columns [from, to): one FMA per column and weight, in column order.
    void spread(std::size_t slot, std::size_t depth, std::size_t j, std::size_t from, std::size_t to) const noexcept {
        if (from >= to) return;
        const matrix_view<const float> U = factor.square();
        kernels.add_product({work.weights.row(0) + from, count, to - from, work.weights.stride},
                            {work.feedback.row(0) + slot, signed_size(work.feedback.stride)}, {U.row(j) + from, signed_size(U.stride)}, depth);
    }

    [[nodiscard]] bool storable(std::size_t r) const noexcept {
        bool ok = true;
        for (std::size_t b = 0; b * block < cols(); ++b) ok = ok && all_finite<F>(encoded_block(r, b).params, weights_in(b));
        return ok;
    }
    void store(std::size_t r) const noexcept {
        for (std::size_t b = 0; b * block < cols(); ++b) {
            const encoded<F>& e = encoded_block(r, b);
            F::store(e.params, {e.code.data(), divide_up(weights_in(b), F::vec)}, baseline.out.block(first + r, b));
        }
    }
};

template <block_format F, class Fit, weight_source T>
result<gptq_result<F>> gptq_with(matrix_view<const T> W, const hessian_factor& factor, const Fit& fit, const gptq_options& options, const call& how) noexcept {
    if (W.cols != factor.cols()) return error{errc::shape, "weights of {0} columns, a Hessian of {1}", "W", {W.cols, factor.cols()}};
    auto out = qmatrix<F>::make(W.rows, W.cols);
    if (!out) return out.error();
    if (!out->view().sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "W", {block_size<F>, W.cols}};
    const auto kernels = open_rows(how);
    if (!kernels) return kernels.error();
    gptq_result<F> done;
    done.weights = std::move(*out);
    done.report.factor = factor.report();
    if (W.rows == 0) return done;

    const gptq_memory<F> memory(W.rows, W.cols, how.run.workers());
    workspace space;
    if (const status s = space.open(how, memory.bytes()); !s) return s.error();
    float* const weigh = space.take<float>(2 * W.cols);     // diag(H), then 1 / U_jj^2
    double* const losses = space.take<double>(2 * W.rows);  // of each row, then of its baseline
    float* const floats = space.take<float>(memory.floats());
    encoded<F>* const blocks = space.take<encoded<F>>(memory.blocks());
    for (std::size_t j = 0; j < W.cols; ++j) {
        weigh[j] = factor.diagonal(j);
        weigh[W.cols + j] = factor.dead(j) ? 0.0f : 1.0f / product(factor.pivot(j), factor.pivot(j));
    }
    const block_encoder<F, Fit, T> baseline{W, {weigh, W.rows, W.cols, 0}, fit, options.on_non_finite, done.weights.span()};
    if (const status s = fit_outer_values<F>(baseline, how); !s) return s.error();
    const status ran = for_each_task(how, divide_up(W.rows, gptq_strip_rows), [&](std::size_t i, std::size_t worker) {
        const std::size_t first = i * gptq_strip_rows, count = smaller_size(gptq_strip_rows, W.rows - first);
        const gptq_strip<F, Fit, T> strip{baseline, factor, weigh + W.cols, *kernels, how.room, memory.worker(floats, blocks, worker, count), first, count};
        return strip.run(losses + first, losses + W.rows + first);
    });
    if (!ran) return ran.error();
    for (std::size_t r = 0; r < W.rows; ++r) {
        done.report.loss += losses[r];
        done.report.loss_rtn += losses[W.rows + r];
        done.report.rows_rounded += losses[r] < losses[W.rows + r] ? 0 : 1;
    }
    if constexpr (requires { Fit::name; }) if (how.report != nullptr) how.report->mode = Fit::name;
    return done;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0::inline QLIB_BASE {

/// Bytes of call.scratch that gptq<F> of a rows x cols matrix wants for an executor of so many workers. The copy of a Hessian comes on top.
template <block_format F> [[nodiscard]] constexpr std::size_t gptq_scratch_bytes(std::size_t rows, std::size_t cols, std::size_t workers = 1) noexcept {
    return detail::workspace::asked(detail::gptq_memory<F>(rows, cols, workers).bytes());
}

/// Quantizes W (rows, cols) into format F, column by column, carrying each column's rounding error on to the columns not yet rounded.
///
/// factor  of the layer's input, factorize(); made once for all matrices that read it and for all formats
/// fit     any fit object; it sees the current weights of a block, with importance 1 / U_jj^2
/// error   shape, ragged, unsliceable, unsupported, memory, scratch, cancelled; non_finite, overflow from the weights
/// never   worse than rounding to nearest in the same format, row by row, under the undamped Hessian: such rows keep the baseline
/// exact   the same bytes for any number of threads and on every instruction set
/// cost    rows * cols^2 multiply-adds, and as many for the losses; scratch: gptq_scratch_bytes
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian_factor& factor, const Fit& fit, gptq_options options = {}, call how = {}) noexcept {
    return detail::gptq_with<F>(W, factor, fit, options, how);
}
/// The same with a ready-made fit, options.fit.
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian_factor& factor, gptq_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::gptq_with<F>(W, factor, fit, options, how); });
}
/// The same from f16 or bf16.
template <block_format F, class T>
    requires weight_source<std::remove_const_t<T>> && (!std::same_as<std::remove_const_t<T>, float>)
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<T> W, const hessian_factor& factor, gptq_options options = {}, call how = {}) noexcept {
    const matrix_view<const T> source = W;
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::gptq_with<F>(source, factor, fit, options, how); });
}
/// The same from a Hessian, which is copied and factored with options.damping. error: also argument, not_positive (strict only).
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian& h, gptq_options options = {}, call how = {}) noexcept {
    auto copy = h.copy();
    if (!copy) return copy.error();
    const auto factor = factorize(std::move(*copy), {options.damping, options.strict}, how);
    if (!factor) return factor.error();
    return gptq<F>(W, *factor, options, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// qgemm: activations times a quantized matrix.
// Every room that this compiler can build, and the choice between them, once per call.
// The portable room: the same kernels over 16 lanes, as four of the 16-byte vectors that every machine has.
// How a multiplication Y = X * W^T is cut up, and what its pieces look like in memory. The same in every room.
// What a kernel may know about a format, derived at compile time from its levels; nothing for the format's author to write.

namespace qlib::inline v0::detail {

/// Products that may be summed in an int32 before the sum goes to float, and the largest activation.
inline constexpr std::size_t most_summed = 32768;
inline constexpr int largest_activation = 127;

/// All levels times `mul` are integers in [lo, hi]; mul == 0: they have no such form in 8 bits.
struct integer_levels {
    int mul = 0, lo = 0, hi = 0;
    [[nodiscard]] constexpr explicit operator bool() const noexcept { return mul != 0; }
};

/// The smallest power of two that makes all levels of a grid integers that fit a byte after a constant is subtracted.
template <class Grid> consteval integer_levels integers_of() {
    constexpr int limit = 255;
    for (int mul = 1; mul <= 64; mul *= 2) {
        integer_levels r{mul, limit, -limit};
        bool all = true;
        for (std::size_t i = 0; all && i < Grid::size; ++i) {
            const float level = Grid::level(i);
            all = magnitude(level) <= static_cast<float>(limit) / static_cast<float>(mul);
            if (!all) break;
            const float scaled = level * static_cast<float>(mul);
            const int v = static_cast<int>(scaled);
            all = static_cast<float>(v) == scaled;
            r.lo = v < r.lo ? v : r.lo;
            r.hi = v > r.hi ? v : r.hi;
        }
        if (all && r.hi - r.lo <= limit) return r;
    }
    return {};
}

/// How the 8-bit operands of a dot product are made from levels and activations in -127..127.
enum class operand : std::uint8_t {
    weights_unsigned,  ///< (level - bias) in 0..255 times the activation: vpdpbusd, vpmaddubsw, USDOT
    both_signed,       ///< (level - bias) in -128..127 times the activation: SDOT, SMMLA, vpdpbssd
    sign_transfer,     ///< |level - bias| times the activation with its sign flipped where level < bias: vpmaddubsw for 8 bits
};

/// What the dot-product instruction of a room does. `pair_limit`: two neighbouring products saturate beyond it; 0: they do not.
struct dot_instruction {
    bool both_signed = false;
    int pair_limit = 0;
};
inline constexpr dot_instruction dot_in_int32{}, dot_in_int16_pairs{false, 32767};

/// The form of the operands and the constant that is subtracted from levels; bias * (sum of activations) is where the int32 sum starts.
struct operand_form {
    operand how = operand::weights_unsigned;
    int bias = 0;
};

consteval operand_form choose(integer_levels l, dot_instruction d) {
    const int centred = l.lo < -128 || l.hi > 127 ? l.lo + 128 : 0;
    if (d.both_signed) return {operand::both_signed, centred};
    const int lifted = l.lo < 0 ? l.lo : 0;
    if (d.pair_limit == 0 || 2 * (l.hi - lifted) * largest_activation <= d.pair_limit) return {operand::weights_unsigned, lifted};
    return {operand::sign_transfer, centred};
}

/// The proof that nothing saturates or overflows: operands fit their byte, pairs their int16, most_summed products and the bias int32.
consteval bool exact(integer_levels l, operand_form f, dot_instruction d) {
    const int lo = l.lo - f.bias, hi = l.hi - f.bias, largest = -lo > hi ? -lo : hi;
    const bool byte = f.how == operand::weights_unsigned ? lo >= 0 && hi <= 255 : lo >= -128 && hi <= 127;
    const bool pairs = d.pair_limit == 0 || 2 * largest * largest_activation <= d.pair_limit;
    const long long sum = static_cast<long long>(largest + (f.bias < 0 ? -f.bias : f.bias)) * largest_activation * static_cast<long long>(most_summed);
    return byte && pairs && sum <= std::numeric_limits<std::int32_t>::max();
}

/// The integer levels of a format, if it has them.
template <class F> inline constexpr integer_levels integer_levels_of = F::group <= most_summed ? integers_of<typename F::grid>() : integer_levels{};

/// The operand form of a format under an instruction, proven.
template <class F, dot_instruction D> inline constexpr operand_form form_of = [] {
    constexpr operand_form f = choose(integer_levels_of<F>, D);
    static_assert(exact(integer_levels_of<F>, f, D), "the dot product of this format could saturate");
    return f;
}();

/// Formats of one byte-sized code per weight: tables of all codes can be made.
template <class F> concept byte_codes = F::vec == 1 && sizeof(typename F::code) == 1 && requires {
    requires F::grid::bits >= 1 && F::grid::bits <= 8;
};
template <byte_codes F> inline constexpr std::size_t code_count = std::size_t{1} << F::grid::bits;

/// Byte formats that say where the bits of their codes lie, one block's codes in one piece at the head of plane 0 or behind a fixed offset.
template <class F> concept has_bit_layout = byte_codes<F> && requires(const std::byte* in, std::span<typename F::code> codes) {
    F::bits::template unpack<F::grid::bits, typename F::code>(in, codes);
    { F::offset_of(field::codes) } -> std::convertible_to<std::size_t>;
    requires !F::layout::planes_apart || F::layout::order[0] == field::codes;
};

/// Formats whose codes are numbers of a type, one after another, and nothing else.
template <class F> concept holds_numbers = requires { typename F::grid::number; } && F::groups == 1 && std::same_as<typename F::bits, little_endian> && !has_outer<F>;

/// The level of every code.
template <byte_codes F> inline constexpr auto level_table = [] {
    std::array<float, code_count<F>> t{};
    for (std::size_t i = 0; i < t.size(); ++i) F::level(static_cast<typename F::code>(i), &t[i]);
    return t;
}();

/// Every level is (code ^ flip) + base.
struct linear_levels {
    bool linear = false;
    unsigned flip = 0;
    int base = 0;
};
template <byte_codes F> inline constexpr linear_levels linear_levels_of = [] {
    constexpr auto& t = level_table<F>;
    for (const unsigned flip : {0u, static_cast<unsigned>(t.size() / 2)}) {
        if (!(magnitude(t[flip]) <= 65536.0f)) continue;
        const linear_levels r{true, flip, static_cast<int>(t[flip])};
        bool all = true;
        for (unsigned i = 0; i < t.size(); ++i) all = all && bits_of(static_cast<float>(static_cast<int>(i ^ flip) + r.base)) == bits_of(t[i]);
        if (all) return r;
    }
    return linear_levels{};
}();

/// The operand byte of every code, level * mul - bias: two's complement where the form is signed.
template <byte_codes F, dot_instruction D> inline constexpr auto operand_table = [] {
    std::array<std::uint8_t, code_count<F>> t{};
    for (std::size_t i = 0; i < t.size(); ++i)
        t[i] = static_cast<std::uint8_t>(static_cast<int>(level_table<F>[i] * static_cast<float>(integer_levels_of<F>.mul)) - form_of<F, D>.bias);
    return t;
}();

/// Whether one map covers whole rows: then sums stay integers over many groups.
template <class F> inline constexpr bool row_maps = [] {
    if constexpr (requires { requires F::outer_is_map; }) return F::tile.cols == 0 && !F::tile.flat;
    else return false;
}();

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail {

inline constexpr std::size_t tile_rows = 16;        // rows of W in one vector
inline constexpr std::size_t panel_rows = 64;       // rows of W that are unpacked before the activations pass by
inline constexpr std::size_t panel_columns = 4096;  // of W, about, likewise: with 64 rows of bytes a quarter of a MiB, which stays in L2
inline constexpr std::size_t chunk_columns = 256;   // of W that are unpacked before they are transposed, about

/// Sizes in groups of the format, but for the first four.
struct gemm_plan {
    std::size_t n = 0, rows = 0, k = 0;  // Y is (n, rows), X (n, k)
    std::size_t padded = 0;              // weights in a group, made a multiple of 4
    std::size_t groups = 0;              // of a row
    std::size_t flush = 1;               // whose products share an int32: 1, or more where one map covers a row; divides span and stretch
    std::size_t span = 0;                // that share an activation scale
    std::size_t stretch = 0;             // unpacked at a time: whole blocks
    [[nodiscard]] QLIB_INLINE std::size_t spans() const noexcept { return divide_up(groups, span); }
    [[nodiscard]] QLIB_INLINE std::size_t flushes() const noexcept { return divide_up(groups, flush); }
};

/// Activations as bytes: for each tile of w rows of X, cut by the room's widths,
/// codes  [groups * padded / 4][w][4]  round_even(x * (127 / abs-max)), zero in the padding
/// scale  [spans][w]                   abs-max / 127; NaN where an activation is not finite
/// start  [flushes][w]                 bias * sum of codes: where the int32 sums begin
/// sum    [flushes][w]                 sum of codes, for maps with an offset
struct integer_activations {
    std::int8_t* codes;
    float* scale;
    std::int32_t* start;
    float* sum;
    [[nodiscard]] QLIB_INLINE integer_activations tile(const gemm_plan& p, std::size_t column) const noexcept {
        return {codes + column * p.groups * p.padded, scale + column * p.spans(), start + column * p.flushes(), sum + column * p.flushes()};
    }
};

/// Weights of one tile of 16 rows as operands of the dot product, for a stretch:
/// codes   [stretch * padded / 4][16][4]
/// scale   [flushes][16]  of the map, the outer scale and the levels' multiplier in it
/// offset  [flushes][16]  that multiplies the sum of activations
struct integer_panel {
    std::uint8_t* codes;
    float* scale;
    float* offset;
};

/// What one worker needs, carved from one piece of memory; 64-byte aligned.
struct panel_memory {
    std::byte* panel;  // tiles of 16 rows, one after another
    std::byte* stage;  // 16 rows of a chunk
    std::size_t tile_bytes, codes_bytes, scale_bytes, stage_stride;
    [[nodiscard]] QLIB_INLINE std::size_t stage_bytes() const noexcept { return 16 * stage_stride + 64; }
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Weights to a chunk: whole blocks.
template <class F> inline constexpr std::size_t chunk_blocks = block_size<F> < chunk_columns ? chunk_columns / block_size<F> : 1;
/// Weights of a group, padded to whole dot products.
template <class F> inline constexpr std::size_t padded_group = (F::group + 3) / 4 * 4;
/// Bytes between rows of the stage: an odd number of cache lines, as rows must not share a cache set.
constexpr std::size_t stage_stride(std::size_t bytes) noexcept { return ((bytes + 63) / 64 | 1) * 64; }

constexpr std::size_t common_divisor(std::size_t a, std::size_t b) noexcept {
    while (b != 0) a = std::exchange(b, a % b);
    return a;
}

/// The plan of an integer product. span: weights that share an activation scale. most: products whose sum is exact in the room.
template <class F> gemm_plan plan_integer(std::size_t n, std::size_t rows, std::size_t k, std::size_t span, std::size_t most) noexcept {
    gemm_plan p{n, rows, k, padded_group<F>, divide_up(k, F::group)};
    constexpr std::size_t wanted = F::group < panel_columns ? panel_columns / F::group : 1;
    p.stretch = wanted < F::groups ? F::groups : wanted / F::groups * F::groups;
    p.span = span >= k ? round_up(p.groups, p.stretch) : span / F::group;
    if (row_maps<F> && F::group < most) p.flush = common_divisor(common_divisor(p.span, p.stretch), smaller_size(p.stretch, most / F::group));
    return p;
}
/// The plan of a product of decoded weights: groups are single weights.
template <class F> gemm_plan plan_exact(std::size_t n, std::size_t rows, std::size_t k) noexcept {
    constexpr std::size_t most = panel_columns / 4;
    return {n, rows, k, 1, k, 1, k, block_size<F> < most ? most / block_size<F> * block_size<F> : block_size<F>};
}

/// Bytes of one worker's memory for `tiles` tiles, and where its parts lie. Transposition writes 16 words at a time: up to 15 too many.
template <class F> panel_memory integer_memory(const gemm_plan& p) noexcept {
    panel_memory m{};
    const std::size_t held = smaller_size(p.stretch, round_up(p.groups, F::groups));
    m.codes_bytes = (held * p.padded / 4 + 15) * 64;
    m.scale_bytes = divide_up(held, p.flush) * tile_rows * sizeof(float);
    m.tile_bytes = m.codes_bytes + 2 * m.scale_bytes;
    m.stage_stride = stage_stride(chunk_blocks<F> * F::groups * p.padded);
    return m;
}
template <class F> panel_memory exact_memory(const gemm_plan& p) noexcept {
    panel_memory m{};
    m.tile_bytes = (smaller_size(p.stretch, round_up(p.k, block_size<F>)) + 15) * 64;
    m.stage_stride = stage_stride(chunk_blocks<F> * block_size<F> * sizeof(float));
    return m;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

QLIB_EXACT_BEGIN
#if !defined(__clang__)
_Pragma("GCC optimize(\"O3\")")  // g++ -O2 leaves most loops scalar
#endif
namespace qlib::inline v0::detail::inline QLIB_BASE {

struct portable {
    static constexpr isa id = isa::portable;
    static constexpr dot_instruction dot_form = dot_in_int32;
    static constexpr std::array<std::size_t, 3> widths{4, 2, 1};  // columns of Y in one tile, the widest first
    static constexpr std::size_t columns = widths[0];
    static constexpr std::size_t most_summed = 256;  // (255 + 128) * 127 * 256 < 2^24: such sums are exact in f32

    using quad = float __attribute__((vector_size(16)));
    using words = std::uint32_t __attribute__((vector_size(16)));
    using signed_words = std::int32_t __attribute__((vector_size(16)));
    struct floats { quad part[4]; };
    /// Baseline vectors multiply floats well and integers badly, so the integers of a dot product are floats here.
    using integers = floats;
    struct bytes { floats of_lane[4]; };  // the four bytes of each lane, converted once for all columns

    QLIB_INLINE static floats splat(float x) noexcept { return each([&](std::size_t) QLIB_INLINE_LAMBDA { return quad{x, x, x, x}; }); }
    QLIB_INLINE static floats load(const float* p) noexcept { return load(p, 16); }
    QLIB_INLINE static floats load(const float* p, std::size_t n) noexcept {
        floats v{};
        std::memcpy(&v, p, n * sizeof(float));
        return v;
    }
    /// 16 numbers of a small type, at any address.
    template <class T> QLIB_INLINE static floats widen(const std::byte* p) noexcept {
        float v[16];
        for (std::size_t i = 0; i < 16; ++i) v[i] = load_little_endian<T>(p + i * sizeof(T)).value();
        return load(v);
    }
    QLIB_INLINE static void store(float* p, const floats& v) noexcept { std::memcpy(p, &v, sizeof v); }
    QLIB_INLINE static void store(float* p, const floats& v, std::size_t n) noexcept { std::memcpy(p, &v, n * sizeof(float)); }
    QLIB_INLINE static floats plus(const floats& a, const floats& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] + b.part[i]; });
    }
    QLIB_INLINE static floats minus(const floats& a, const floats& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] - b.part[i]; });
    }
    QLIB_INLINE static floats times(const floats& a, const floats& b) noexcept {
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
    /// Rounded once or twice: fmaf() is a slow call where the baseline has no FMA.
    QLIB_INLINE static floats multiply_add(const floats& a, const floats& b, const floats& c) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] * b.part[i] + c.part[i]; });
    }
    QLIB_INLINE static floats quiet(const floats& a) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            const words bits = reinterpret_cast<words>(a.part[i]), nan = reinterpret_cast<words>((bits & 0x7FFFFFFFu) > 0x7F800000u);
            return reinterpret_cast<quad>((bits & ~nan) | (nan & 0x7FC00000u));
        });
    }

    QLIB_INLINE static integers splat(std::int32_t x) noexcept { return splat(static_cast<float>(x)); }
    QLIB_INLINE static bytes load_bytes(const std::uint8_t* p) noexcept {
        bytes r;
#pragma GCC unroll 4
        for (std::size_t b = 0; b < 4; ++b) {
            const auto shift = static_cast<std::uint32_t>(std::endian::native == std::endian::little ? 8 * b : 24 - 8 * b);
            r.of_lane[b] = each([&](std::size_t i) QLIB_INLINE_LAMBDA {
                words all;
                std::memcpy(&all, p + 16 * i, sizeof all);
                return __builtin_convertvector(reinterpret_cast<signed_words>(all >> shift & 255u), quad);
            });
        }
        return r;
    }
    QLIB_INLINE static integers dot(const integers& sum, const bytes& w, const std::int8_t* x) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            quad r = sum.part[i];
#pragma GCC unroll 4
            for (std::size_t b = 0; b < 4; ++b) r += w.of_lane[b].part[i] * static_cast<float>(x[b]);
            return r;
        });
    }
    QLIB_INLINE static floats to_float(const integers& a) noexcept { return a; }

    template <class F> static constexpr bool unpacks = has_bit_layout<F>;
    template <class F> QLIB_INLINE static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        typename F::code c[block_size<F>];
        F::bits::template unpack<F::grid::bits, typename F::code>(in, std::span<typename F::code>(c));
        for (std::size_t i = 0; i < block_size<F>; ++i) out[i] = c[i];
    }
    template <class F> QLIB_INLINE static floats levels(const std::uint8_t* codes) noexcept {
        float v[16];
        for (std::size_t i = 0; i < 16; ++i) v[i] = level_table<F>[codes[i] % code_count<F>];
        return load(v);
    }
    template <class F> QLIB_INLINE static void to_operands(std::uint8_t* codes, std::size_t n) noexcept {
        for (std::size_t i = 0; i < n; ++i) codes[i] = operand_table<F, dot_form>[codes[i] % code_count<F>];
    }
    QLIB_INLINE static void transpose(const std::byte* rows, std::size_t stride, std::byte* out) noexcept {
        for (std::size_t c = 0; c < 16; ++c)
            for (std::size_t r = 0; r < 16; ++r) std::memcpy(out + 64 * c + 4 * r, rows + r * stride + 4 * c, 4);
    }
    static std::uint32_t largest_magnitude(const float* x, std::size_t n) noexcept {
        std::uint32_t most = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint32_t a = bits_of(x[i]) & 0x7FFFFFFFu;
            most = a > most ? a : most;
        }
        return most;
    }
    static std::int32_t quantize(const float* x, std::size_t n, float inverse, std::int8_t* out) noexcept {
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t q = round_clamped(product(x[i], inverse), -largest_activation, largest_activation);
            out[i] = static_cast<std::int8_t>(q);
            sum += q;
        }
        return sum;
    }

// No #pragma once: each room includes this text inside its struct. Single blocks, from the wire to floats, over the room's vectors.

/// What weights are before they are mapped: their codes where codes are bytes, else their levels.
template <block_format F> using raw = std::conditional_t<byte_codes<F>, std::uint8_t, float>;
/// What must follow them in memory: unpacking writes whole vectors of 64, decoding reads vectors of 16.
static constexpr std::size_t raw_margin = 64;

template <block_format F> struct block_maps {
    typename F::params params;
    float outer_scale;
};

/// Reads blocks [b, b + count) of wire row r, which is `cols` weights long and may end inside the last: their weights, `apart` from block to
/// block, and their maps. Touches no byte of the wire beyond them.
template <block_format F>
static void open_blocks(const qview<F>& W, std::size_t r, std::size_t b, std::size_t count, std::size_t cols, raw<F>* out, std::size_t apart,
                        block_maps<F>* maps) noexcept {
    for (std::size_t i = 0; i < count; ++i, out += apart) {
        const auto from = W.block(r, b + i);
        const auto outer = W.outer(r, (b + i) * block_size<F>);
        const std::size_t n = smaller_size(block_size<F>, cols - (b + i) * block_size<F>);
        maps[i].outer_scale = F::outer_scale(outer);
        if (unpacks<F> && (!has_ragged_rows<F> || n == block_size<F>)) {
            maps[i].params = F::load(from, outer, {});
            if constexpr (unpacks<F>) unpack<F>(from[0] + F::offset_of(field::codes), out);
        } else if constexpr (!unpacks<F> || has_ragged_rows<F>) {
            typename F::code read[codes<F>] = {};
            const std::size_t codes_here = divide_up(n, F::vec);
            maps[i].params = F::load(from, outer, {read, codes_here});
            for (std::size_t c = 0; c < codes_here; ++c) {
                if constexpr (byte_codes<F>) out[c] = read[c];
                else F::level(read[c], out + c * F::vec);
            }
        }
    }
}

/// The weights of a block: mapped<F::map>(map, level) times the outer scale, rounded as there. A NaN has the bits 7FC00000.
template <block_format F> QLIB_INLINE static void decode_block(const block_maps<F>& maps, const raw<F>* weights, std::size_t n, float* out) noexcept {
    const floats outer = splat(maps.outer_scale);
    for (std::size_t g = 0; g < F::groups && g * F::group < n; ++g) {
        const affine a = F::at(maps.params, g);
        const floats s = splat(a.s), z = splat(a.z);
        const std::size_t end = smaller_size(n, (g + 1) * F::group);
        for (std::size_t i = g * F::group; i < end; i += 16) {
            floats v;
            if constexpr (byte_codes<F>) v = levels<F>(weights + i);
            else v = load(weights + i);
            if constexpr (F::map == form::scaled) v = times(s, v);
            else if constexpr (F::map == form::shifted) v = times(s, minus(v, z));
            else v = plus(times(s, v), z);
            if constexpr (outer_multiplies<F>) v = times(v, outer);
            v = quiet(v);
            if (end - i >= 16) store(out + i, v);
            else store(out + i, v, end - i);
        }
    }
}

/// The same for plain numbers, which have no maps.
template <block_format F> static void widen_numbers(const std::byte* from, std::size_t n, float* out) noexcept {
    using T = typename F::grid::number;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) store(out + i, quiet(widen<T>(from + i * sizeof(T))));
    if (i == n) return;
    std::byte rest[16 * sizeof(T)] = {};
    std::memcpy(rest, from + i * sizeof(T), (n - i) * sizeof(T));
    store(out + i, quiet(widen<T>(rest)), n - i);
}

/// Blocks [first, end) of wire row r, which is `cols` weights long, to consecutive floats.
template <block_format F>
static void decode_blocks(const qview<F>& W, std::size_t r, std::size_t first, std::size_t end, std::size_t cols, float* out) noexcept {
    if constexpr (holds_numbers<F>)
        return widen_numbers<F>(W.block(r, first)[0], smaller_size(end * block_size<F>, cols) - first * block_size<F>, out);
    alignas(64) raw<F> weights[chunk_blocks<F> * block_size<F> + raw_margin];
    block_maps<F> maps[chunk_blocks<F>] = {};
    for (std::size_t b = first; b < end; b += chunk_blocks<F>) {
        const std::size_t count = smaller_size(chunk_blocks<F>, end - b);
        open_blocks<F>(W, r, b, count, cols, weights, block_size<F>, maps);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t column = (b + i) * block_size<F>;
            decode_block<F>(maps[i], weights + i * block_size<F>, smaller_size(block_size<F>, cols - column), out + (column - first * block_size<F>));
        }
    }
}
// No #pragma once: each room includes this text inside its struct, behind blocks.inl. Y = X * W^T over the room's vectors:
// activations are packed once, 16 rows of weights at a time are unpacked and transposed, tiles of 16 rows x `widths` columns are multiplied.

/// use(first, width) for the tiles that n rows of X are cut into: the widest as often as it fits, then the next. width() is a constant.
template <class Use> QLIB_INLINE static void for_each_tile(std::size_t n, const Use& use) noexcept {
    std::size_t first = 0;
    const auto all_of = [&](auto width) QLIB_INLINE_LAMBDA {
        for (; n - first >= width(); first += width()) use(first, width);
    };
    [&]<std::size_t... I>(std::index_sequence<I...>) QLIB_INLINE_LAMBDA {
        (all_of(std::integral_constant<std::size_t, widths[I]>{}), ...);
    }(std::make_index_sequence<widths.size()>{});
}

/// Columns [column, column + w) of the packed activations from the w rows of X; `column` is a multiple of `columns`, w <= columns.
static void pack_activations(const gemm_plan& p, std::size_t group, int bias, matrix_view<const float> X, std::size_t column, std::size_t w,
                             const integer_activations& all) noexcept {
    for_each_tile(w, [&](std::size_t first, std::size_t width) QLIB_INLINE_LAMBDA {
        pack_tile(p, group, bias, X.row_range(first, width), all.tile(p, column + first));
    });
}

/// One tile of packed activations, from X.rows of them.
static void pack_tile(const gemm_plan& p, std::size_t group, int bias, matrix_view<const float> X, const integer_activations& t) noexcept {
    const std::size_t w = X.rows;
    for (std::size_t j = 0; j < w; ++j) {
        const float* x = X.row(j);
        for (std::size_t s = 0; s < p.spans(); ++s) {
            const std::size_t first = s * p.span, end = smaller_size(first + p.span, p.groups);
            const std::size_t from = first * group, count = smaller_size(end * group, p.k) - from;
            const std::uint32_t most = largest_magnitude(x + from, count);
            const bool dead = most >= 0x7F800000u || float_of(most) < 0x1p-100f;
            t.scale[s * w + j] = most >= 0x7F800000u ? float_of(0x7FC00000u) : dead ? 0.0f : float_of(most) / 127.0f;
            const float inverse = dead ? 0.0f : 127.0f / float_of(most);
            for (std::size_t g = first; g < end; g += p.flush) {
                std::int32_t sum = 0;
                for (std::size_t i = g; i < end && i < g + p.flush; ++i) {
                    const std::size_t n = dead ? 0 : smaller_size(group, p.k - i * group);
                    sum += pack_group(x + i * group, n, inverse, p.padded, t.codes + (i * p.padded * w + j * 4), w * 4);
                }
                t.start[g / p.flush * w + j] = bias * sum;
                t.sum[g / p.flush * w + j] = static_cast<float>(sum);
            }
        }
    }
}

/// n <= padded activations of one row as bytes, four to a word, `stride` bytes between words; zeros behind them. Returns their sum.
static std::int32_t pack_group(const float* x, std::size_t n, float inverse, std::size_t padded, std::int8_t* out, std::size_t stride) noexcept {
    constexpr std::size_t step = 256;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < padded; i += step) {
        alignas(64) std::int8_t stage[step] = {};
        const std::size_t here = n > i ? smaller_size(n - i, step) : 0;
        sum += quantize(x + i, here, inverse, stage);
        for (std::size_t b = 0; b < step && i + b < padded; b += 4) std::memcpy(out + (i + b) / 4 * stride, stage + b, 4);
    }
    return sum;
}

/// The panel of rows [row, row + rows) of W for groups [first, end); rows <= 16, `first` begins a block. Lanes without a row get zero maps.
template <block_format F>
static void fill_panel(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, std::size_t first, std::size_t end,
                       const panel_memory& m, const integer_panel& out) noexcept {
    constexpr std::size_t padded = F::groups * padded_group<F>;
    std::memset(m.stage, 0, m.stage_bytes());
    std::memset(out.scale, 0, 2 * m.scale_bytes);
    for (std::size_t b = first / F::groups; b * F::groups < end; b += chunk_blocks<F>) {
        const std::size_t blocks = smaller_size(chunk_blocks<F>, divide_up(end, F::groups) - b);
        for (std::size_t r = 0; r < rows; ++r) {
            block_maps<F> maps[chunk_blocks<F>] = {};
            put_operands<F>(W, row + r, b, blocks, p.k, reinterpret_cast<std::uint8_t*>(m.stage + r * m.stage_stride), maps);
            for (std::size_t i = 0; i < blocks; ++i) {
                const std::size_t n = smaller_size(block_size<F>, p.k - (b + i) * block_size<F>);
                put_maps<F>(p, maps[i], (b + i) * F::groups - first, divide_up(n, F::group), r, out);
            }
        }
        auto* to = reinterpret_cast<std::byte*>(out.codes) + (b * F::groups - first) * padded_group<F> * 16;
        for (std::size_t at = 0; at < blocks * padded; at += 64) transpose(m.stage + at, m.stage_stride, to + at * 16);
    }
}

/// The operands of blocks [b, b + count) of row r, each group padded, and their maps. Writes whole vectors of 64.
template <block_format F>
QLIB_INLINE static void put_operands(const qview<F>& W, std::size_t r, std::size_t b, std::size_t count, std::size_t cols, std::uint8_t* out,
                                     block_maps<F>* maps) noexcept {
    constexpr std::size_t n = block_size<F>;
    if constexpr (byte_codes<F> && F::group % 4 == 0) {  // in place
        open_blocks<F>(W, r, b, count, cols, out, n, maps);
        to_operands<F>(out, count * n);
    } else {
        alignas(64) raw<F> weights[chunk_blocks<F> * n + raw_margin] = {};
        std::uint8_t made[chunk_blocks<F> * n];
        open_blocks<F>(W, r, b, count, cols, weights, n, maps);
        if constexpr (byte_codes<F>) {
            to_operands<F>(weights, count * n);
            std::memcpy(made, weights, count * n);
        } else {
            constexpr integer_levels l = integer_levels_of<F>;
            for (std::size_t i = 0; i < count * n; ++i)
                made[i] = static_cast<std::uint8_t>(round_clamped(weights[i] * static_cast<float>(l.mul), l.lo, l.hi) - form_of<F, dot_form>.bias);
        }
        for (std::size_t g = 0; g < count * F::groups; ++g) std::memcpy(out + g * padded_group<F>, made + g * F::group, F::group);
    }
}

/// Lane `lane` of the maps of n groups, group g of the panel the first of them: in units of the dot product, the outer scale in it.
template <block_format F>
QLIB_INLINE static void put_maps(const gemm_plan& p, const block_maps<F>& maps, std::size_t g, std::size_t n, std::size_t lane,
                                 const integer_panel& out) noexcept {
    constexpr float unit = 1.0f / static_cast<float>(integer_levels_of<F>.mul);
    const float outer = outer_multiplies<F> ? maps.outer_scale : 1.0f;
    const std::size_t flush = row_maps<F> ? p.flush : 1;
    for (std::size_t i = 0; i < n; ++i) {
        if ((g + i) % flush != 0) continue;
        const affine a = F::at(maps.params, i);
        const std::size_t at = (g + i) / flush * 16 + lane;
        out.scale[at] = a.s * outer * unit;
        if constexpr (F::map == form::shifted) out.offset[at] = -(a.s * a.z * outer);
        if constexpr (F::map == form::offset) out.offset[at] = a.z * outer;
    }
}

/// One tile: 16 rows of W, N rows of X, groups [first, end). y: N rows of `stride` floats, `lanes` of them written; added to unless first == 0.
template <std::size_t N, bool Offset>
static void integer_tile(const gemm_plan& p, std::size_t first, std::size_t end, integer_panel w, integer_activations x, float* y, std::size_t stride, std::size_t lanes) noexcept {
    floats total[N];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) total[j] = first != 0 ? load(y + j * stride, lanes) : splat(0.0f);
    x = {x.codes + first * p.padded * N, x.scale + first / p.span * N, x.start + first / p.flush * N, x.sum + first / p.flush * N};
    for (std::size_t g = first, span_end = (first / p.span + 1) * p.span; g < end; span_end += p.span, x.scale += N) {
        floats sum[N];
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) sum[j] = splat(0.0f);
        for (const std::size_t stop = smaller_size(span_end, end); g < stop; g += p.flush, x.start += N, x.sum += N, w.scale += 16, w.offset += 16) {
            integers dots[N];
#pragma GCC unroll 16
            for (std::size_t j = 0; j < N; ++j) dots[j] = splat(x.start[j]);
            std::size_t words = smaller_size(p.flush, stop - g) * p.padded / 4;
            do {
                const bytes v = load_bytes(w.codes);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < N; ++j) dots[j] = dot(dots[j], v, x.codes + 4 * j);
                w.codes += 64;
                x.codes += 4 * N;
            } while (--words != 0);
            const floats s = load(w.scale);
#pragma GCC unroll 16
            for (std::size_t j = 0; j < N; ++j) sum[j] = multiply_add(to_float(dots[j]), s, sum[j]);
            if constexpr (Offset) {
                const floats z = load(w.offset);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < N; ++j) sum[j] = multiply_add(splat(x.sum[j]), z, sum[j]);
            }
        }
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) total[j] = multiply_add(sum[j], splat(x.scale[j]), total[j]);
    }
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) store(y + j * stride, total[j], lanes);
}

/// The same over decoded weights w[k][16] and activations x[k][N], `depth` of them.
template <std::size_t N>
static void exact_tile(std::size_t depth, const float* w, const float* x, bool add, float* y, std::size_t stride, std::size_t lanes) noexcept {
    floats total[N];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) total[j] = add ? load(y + j * stride, lanes) : splat(0.0f);
    for (; depth != 0; --depth, w += 16, x += N) {
        const floats v = load(w);
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) total[j] = multiply_add(v, splat(x[j]), total[j]);
    }
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) store(y + j * stride, total[j], lanes);
}

/// All rows of X against the tiles of a panel, groups [first, end).
template <bool Offset>
static void multiply_panel(const gemm_plan& p, const panel_memory& m, std::size_t rows, std::size_t first, std::size_t end,
                           const integer_activations& x, matrix_view<float> Y) noexcept {
    for_each_tile(p.n, [&](std::size_t c, auto width) QLIB_INLINE_LAMBDA {
        for (std::size_t t = 0; t * 16 < rows; ++t)
            integer_tile<width(), Offset>(p, first, end, panel_of(m, t), x.tile(p, c), Y.row(c) + t * 16, Y.stride, smaller_size(16, rows - t * 16));
    });
}

QLIB_INLINE static integer_panel panel_of(const panel_memory& m, std::size_t t) noexcept {
    std::byte* tile = m.panel + t * m.tile_bytes;
    auto* scale = reinterpret_cast<float*>(tile + m.codes_bytes);
    return {reinterpret_cast<std::uint8_t*>(tile), scale, scale + m.scale_bytes / sizeof(float)};
}

/// Rows [row, row + rows) of W against all of X; rows <= panel_rows. Y: (n, rows), the columns of the product that these rows make.
template <block_format F>
static void multiply_rows(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, const integer_activations& x,
                          matrix_view<float> Y, const panel_memory& m) noexcept {
    for (std::size_t first = 0; first < p.groups; first += p.stretch) {
        const std::size_t end = smaller_size(first + p.stretch, p.groups);
        for (std::size_t t = 0; t * 16 < rows; ++t) fill_panel<F>(p, W, row + t * 16, smaller_size(16, rows - t * 16), first, end, m, panel_of(m, t));
        multiply_panel<F::map != form::scaled>(p, m, rows, first, end, x, Y);
    }
}

/// Columns [column, column + w) of the activations of an exact product, from the w rows of X: for each tile [k][width].
static void pack_floats(std::size_t k, matrix_view<const float> X, std::size_t column, std::size_t w, float* all) noexcept {
    for_each_tile(w, [&](std::size_t first, std::size_t width) QLIB_INLINE_LAMBDA {
        float* const to = all + (column + first) * k;
        for (std::size_t j = 0; j < width; ++j)
            for (std::size_t i = 0; i < k; ++i) to[i * width + j] = X(first + j, i);
    });
}

/// 16 rows of decoded weights [first, end) as [end - first][16].
template <block_format F>
static void fill_exact_panel(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, std::size_t first, std::size_t end,
                             const panel_memory& m, std::byte* out) noexcept {
    std::memset(m.stage, 0, m.stage_bytes());
    constexpr std::size_t chunk = chunk_blocks<F> * block_size<F>;
    for (std::size_t c = first; c < end; c += chunk) {
        const std::size_t n = smaller_size(chunk, end - c), b = c / block_size<F>;
        for (std::size_t r = 0; r < rows; ++r)
            decode_blocks<F>(W, row + r, b, b + divide_up(n, block_size<F>), p.k, reinterpret_cast<float*>(m.stage + r * m.stage_stride));
        for (std::size_t i = 0; i < n; i += 16) transpose(m.stage + i * sizeof(float), m.stage_stride, out + (c - first + i) * 64);
    }
}

/// Rows [row, row + rows) of W, decoded, against all of X; rows <= panel_rows.
template <block_format F>
static void multiply_rows_exactly(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, const float* x, matrix_view<float> Y, const panel_memory& m) noexcept {
    for (std::size_t first = 0; first < p.k; first += p.stretch) {
        const std::size_t end = smaller_size(first + p.stretch, p.k);
        for (std::size_t t = 0; t * 16 < rows; ++t)
            fill_exact_panel<F>(p, W, row + t * 16, smaller_size(16, rows - t * 16), first, end, m, m.panel + t * m.tile_bytes);
        multiply_exact_panel(p, m, rows, first, end, x, Y);
    }
}

static void multiply_exact_panel(const gemm_plan& p, const panel_memory& m, std::size_t rows, std::size_t first, std::size_t end,
                                 const float* x, matrix_view<float> Y) noexcept {
    for_each_tile(p.n, [&](std::size_t c, auto width) QLIB_INLINE_LAMBDA {
        for (std::size_t t = 0; t * 16 < rows; ++t)
            exact_tile<width()>(end - first, reinterpret_cast<const float*>(m.panel + t * m.tile_bytes), x + c * p.k + first * width(), first != 0,
                                Y.row(c) + t * 16, Y.stride, smaller_size(16, rows - t * 16));
    });
}

private:
    template <class Part> QLIB_INLINE static floats each(const Part& part) noexcept {
        floats r;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) r.part[i] = part(i);
        return r;
    }
};

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
// The room for x86-64 with AVX-512 F, BW, DQ, VL and VNNI: its vectors, its shuffles, and the kernels over them.
// How to bring the codes of a block into bytes by shuffles inside 16-byte lanes, derived from the bit layout's own description.

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A part of every code that lies in bits of its own: `width` bits, to be moved to bit `shift` of the code. The pattern repeats every
/// `period` codes, on a byte boundary. `base3`: the byte is a number in base 3, of which a code is one digit.
struct code_slice {
    std::size_t width = 0, shift = 0, period = 0;
    bool base3 = false;
};

/// How many slices a bit layout has; 0 for layouts that this file does not know.
template <class Bits> inline constexpr std::size_t slice_count = [] {
    if constexpr (requires { Bits::list.size(); }) return Bits::list.size();
    else return std::size_t{std::same_as<Bits, sequential> || std::same_as<Bits, trits>};
}();

template <class Bits, std::size_t B> constexpr code_slice slice_of(std::size_t p) {
    if constexpr (std::same_as<Bits, sequential>) return {B, 0, 8, false};
    else if constexpr (std::same_as<Bits, trits>) return {8, 0, 5, true};
    else if constexpr (slice_count<Bits> == 0) return {};
    else return {Bits::list[p].width, Bits::list[p].shift, 8 / Bits::list[p].width * Bits::list[p].run, false};
}

/// The first bit of code e in slice p, from the slice's own start; in base 3 the byte's first bit.
template <class Bits, std::size_t B> constexpr std::size_t first_bit(std::size_t p, std::size_t e) {
    if constexpr (std::same_as<Bits, sequential>) return e * B;
    else if constexpr (std::same_as<Bits, trits>) return e / 5 * 8;
    else if constexpr (slice_count<Bits> == 0) return e;
    else return Bits::byte_of(Bits::list[p], e) * 8 + Bits::bit_of(Bits::list[p], e);
}

/// Bytes that a slice of n codes fills.
template <class Bits, std::size_t B> constexpr std::size_t slice_bytes(std::size_t p, std::size_t n) {
    if constexpr (std::same_as<Bits, trits>) return Bits::template bytes<B>(n);
    else return packed_bytes(n, slice_of<Bits, B>(p).width);
}

/// Codes after which all shuffles of a layout repeat.
template <class Bits, std::size_t B> inline constexpr std::size_t shuffle_period = [] {
    std::size_t n = 64;
    for (std::size_t p = 0; p < slice_count<Bits>; ++p) {
        const std::size_t step = slice_of<Bits, B>(p).period;
        std::size_t m = n;
        while (m % step != 0) m += n;
        n = m;
    }
    return n;
}();

/// The shuffle of up to 64 codes: load `bytes` bytes from `first` on, bring 4-byte words into 16-byte lanes, then bytes inside each lane,
/// such that 16-bit word i holds the bits of code 2i (`even`), or of code 2i + 1 (`odd`). Where a code's neighbour lies in the next byte at the same
/// bit (`direct`), one shuffle serves both: byte i holds code i.
struct code_shuffle {
    static constexpr std::uint8_t nothing = 0x80;  // this index means a zero byte
    bool possible = true, direct = true, moves_words = false, moves_bytes = false, shifts = false;
    std::size_t first = 0, bytes = 0;
    alignas(64) std::array<std::uint32_t, 16> words{};
    alignas(64) std::array<std::uint8_t, 64> even{}, odd{};
    alignas(64) std::array<std::uint16_t, 32> right{}, left{};  ///< shifts that end at bit 0 for even and at bit 8 for odd codes
};

/// Codes [begin, begin + n), n <= 64, of slice p.
template <class Bits, std::size_t B> constexpr code_shuffle shuffle_of(std::size_t p, std::size_t begin, std::size_t n) {
    const std::size_t width = slice_of<Bits, B>(p).width;
    const auto bit = [&](std::size_t i) { return first_bit<Bits, B>(p, begin + i); };
    const auto last_byte = [&](std::size_t i) { return (bit(i) + width - 1) / 8; };
    code_shuffle s;
    std::size_t end = 0;
    s.first = bit(0) / 8;
    for (std::size_t i = 0; i < n; ++i) {
        s.first = bit(i) / 8 < s.first ? bit(i) / 8 : s.first;
        end = last_byte(i) + 1 > end ? last_byte(i) + 1 : end;
    }
    s.bytes = end - s.first;
    s.possible = s.bytes <= 64;
    std::size_t lane_start[4] = {};
    for (std::size_t lane = 0; lane < 4; ++lane) {
        std::size_t low = end - s.first, high = 0;
        for (std::size_t i = 16 * lane; i < 16 * lane + 16 && i < n; ++i) {
            low = bit(i) / 8 - s.first < low ? bit(i) / 8 - s.first : low;
            high = last_byte(i) - s.first > high ? last_byte(i) - s.first : high;
        }
        lane_start[lane] = 16 * lane < n ? low / 4 * 4 : 16 * lane;
        s.possible = s.possible && high < lane_start[lane] + 16;
        for (std::size_t w = 0; w < 4; ++w) {
            s.words[4 * lane + w] = static_cast<std::uint32_t>((lane_start[lane] / 4 + w) % 16);
            s.moves_words = s.moves_words || lane_start[lane] != 16 * lane;
        }
    }
    for (auto& b : s.even) b = code_shuffle::nothing;
    for (auto& b : s.odd) b = code_shuffle::nothing;
    for (std::size_t i = 0; i < n; ++i) {
        const auto from = static_cast<std::uint8_t>(bit(i) / 8 - s.first - lane_start[i / 16]);
        const bool crosses = last_byte(i) != bit(i) / 8;
        auto& bytes = i % 2 == 0 ? s.even : s.odd;
        bytes[i / 2 * 2] = from;
        if (crosses) bytes[i / 2 * 2 + 1] = static_cast<std::uint8_t>(from + 1);
        (i % 2 == 0 ? s.right : s.left)[i / 2] = static_cast<std::uint16_t>(i % 2 == 0 ? bit(i) % 8 : 8 - bit(i) % 8);
        s.direct = s.direct && !crosses && !slice_of<Bits, B>(p).base3 && (i % 2 == 0 || bit(i) % 8 == bit(i - 1) % 8);
        s.shifts = s.shifts || bit(i) % 8 != 0;
    }
    for (std::size_t i = 0; s.direct && i < n; ++i) {
        if (i % 2 == 1) s.even[i] = s.odd[i - 1];
        s.moves_bytes = s.moves_bytes || s.even[i] != i % 16;
    }
    return s;
}

/// Whether all codes of a block of n can be brought into bytes so, without reading beyond it.
template <class Bits, std::size_t B, std::size_t N> inline constexpr bool can_shuffle = [] {
    bool all = slice_count<Bits> != 0;
    for (std::size_t p = 0; p < slice_count<Bits>; ++p)
        for (std::size_t e = 0; all && e < N && e < shuffle_period<Bits, B>; e += 64) {
            const code_shuffle s = shuffle_of<Bits, B>(p, e, N - e < 64 ? N - e : 64);
            all = s.possible && s.first + s.bytes <= slice_bytes<Bits, B>(p, N);
        }
    return all && (N <= shuffle_period<Bits, B> || shuffle_period<Bits, B> <= 512);
}();

/// The shuffles as constants that a room can load.
template <class Bits, std::size_t B, std::size_t P, std::size_t Begin, std::size_t N> inline constexpr code_shuffle shuffle = shuffle_of<Bits, B>(P, Begin, N);

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

#if defined(__x86_64__)
#include <immintrin.h>

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace qlib::inline v0::detail::inline QLIB_BASE {

struct avx512 {
    static constexpr isa id = isa::avx512;
    static constexpr dot_instruction dot_form = dot_in_int32;
    /// Columns of Y in one tile, the widest first. 12: two sums for each leave 8 of the 32 registers; all 12 widths would take twice as long to compile.
    static constexpr std::array<std::size_t, 7> widths{12, 8, 6, 4, 3, 2, 1};
    static constexpr std::size_t columns = widths[0];
    static constexpr std::size_t most_summed = detail::most_summed;

    using floats = __m512;    // 16 of each
    using integers = __m512i;
    using bytes = __m512i;    // 4 to a lane

    // Floats by the compilers' own operators: unlike the intrinsics they obey the room's pragmas against -ffast-math.
    QLIB_INLINE static floats splat(float x) noexcept { return _mm512_set1_ps(x); }
    QLIB_INLINE static floats load(const float* p) noexcept { return _mm512_loadu_ps(p); }
    QLIB_INLINE static floats load(const float* p, std::size_t n) noexcept { return _mm512_maskz_loadu_ps(first(n), p); }
    /// 16 numbers of a small type, at any address.
    template <class T> QLIB_INLINE static floats widen(const std::byte* p) noexcept {
        if constexpr (sizeof(T) == 4) return _mm512_loadu_ps(p);
        else if constexpr (std::same_as<T, f16>) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        else return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
    }
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
    QLIB_INLINE static floats quiet(floats v) noexcept { return _mm512_mask_mov_ps(v, _mm512_fpclass_ps_mask(v, 0x81), splat(float_of(0x7FC00000u))); }

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
    /// The codes of one block, in order. Writes whole vectors of 64: `out` holds round_up(block_size<F>, 64) bytes. Reads the codes' bytes only.
    template <class F> QLIB_INLINE static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        using bits = typename F::bits;
        constexpr std::size_t n = block_size<F>, period = shuffle_period<bits, F::grid::bits>, whole = n / period * period;
        for (std::size_t e = 0; e < whole; e += period) chunks<F, period>(in, e, out + e);
        if constexpr (whole != n) chunks<F, n - whole>(in, whole, out + whole);
    }

    /// The level of 16 codes.
    template <class F> QLIB_INLINE static floats levels(const std::uint8_t* codes) noexcept {
        const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
        constexpr linear_levels line = linear_levels_of<F>;
        constexpr auto& table = level_table<F>;
        if constexpr (line.linear) {
            const __m512i flipped = line.flip != 0 ? _mm512_xor_si512(c, _mm512_set1_epi32(static_cast<int>(line.flip))) : c;
            return _mm512_cvtepi32_ps(_mm512_add_epi32(flipped, _mm512_set1_epi32(line.base)));
        } else if constexpr (table.size() <= 16) {
            return _mm512_permutexvar_ps(c, load(table.data(), table.size()));
        } else {
            return _mm512_i32gather_ps(_mm512_and_si512(c, _mm512_set1_epi32(static_cast<int>(table.size() - 1))), table.data(), 4);
        }
    }

    /// Codes to operands of the dot product, in place, by whole vectors of 64.
    template <class F> QLIB_INLINE static void to_operands(std::uint8_t* codes, std::size_t n) noexcept {
        for (std::size_t i = 0; i < n; i += 64) _mm512_storeu_si512(codes + i, operands<F>(_mm512_loadu_si512(codes + i)));
    }

    /// 16 rows of 16 four-byte words, `stride` bytes apart, to 16 columns.
    QLIB_INLINE static void transpose(const std::byte* rows, std::size_t stride, std::byte* out) noexcept {
        __m512i a[16], b[16];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < 16; ++r) a[r] = _mm512_loadu_si512(rows + r * stride);
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

// No #pragma once: each room includes this text inside its struct. Single blocks, from the wire to floats, over the room's vectors.

/// What weights are before they are mapped: their codes where codes are bytes, else their levels.
template <block_format F> using raw = std::conditional_t<byte_codes<F>, std::uint8_t, float>;
/// What must follow them in memory: unpacking writes whole vectors of 64, decoding reads vectors of 16.
static constexpr std::size_t raw_margin = 64;

template <block_format F> struct block_maps {
    typename F::params params;
    float outer_scale;
};

/// Reads blocks [b, b + count) of wire row r, which is `cols` weights long and may end inside the last: their weights, `apart` from block to
/// block, and their maps. Touches no byte of the wire beyond them.
template <block_format F>
static void open_blocks(const qview<F>& W, std::size_t r, std::size_t b, std::size_t count, std::size_t cols, raw<F>* out, std::size_t apart,
                        block_maps<F>* maps) noexcept {
    for (std::size_t i = 0; i < count; ++i, out += apart) {
        const auto from = W.block(r, b + i);
        const auto outer = W.outer(r, (b + i) * block_size<F>);
        const std::size_t n = smaller_size(block_size<F>, cols - (b + i) * block_size<F>);
        maps[i].outer_scale = F::outer_scale(outer);
        if (unpacks<F> && (!has_ragged_rows<F> || n == block_size<F>)) {
            maps[i].params = F::load(from, outer, {});
            if constexpr (unpacks<F>) unpack<F>(from[0] + F::offset_of(field::codes), out);
        } else if constexpr (!unpacks<F> || has_ragged_rows<F>) {
            typename F::code read[codes<F>] = {};
            const std::size_t codes_here = divide_up(n, F::vec);
            maps[i].params = F::load(from, outer, {read, codes_here});
            for (std::size_t c = 0; c < codes_here; ++c) {
                if constexpr (byte_codes<F>) out[c] = read[c];
                else F::level(read[c], out + c * F::vec);
            }
        }
    }
}

/// The weights of a block: mapped<F::map>(map, level) times the outer scale, rounded as there. A NaN has the bits 7FC00000.
template <block_format F> QLIB_INLINE static void decode_block(const block_maps<F>& maps, const raw<F>* weights, std::size_t n, float* out) noexcept {
    const floats outer = splat(maps.outer_scale);
    for (std::size_t g = 0; g < F::groups && g * F::group < n; ++g) {
        const affine a = F::at(maps.params, g);
        const floats s = splat(a.s), z = splat(a.z);
        const std::size_t end = smaller_size(n, (g + 1) * F::group);
        for (std::size_t i = g * F::group; i < end; i += 16) {
            floats v;
            if constexpr (byte_codes<F>) v = levels<F>(weights + i);
            else v = load(weights + i);
            if constexpr (F::map == form::scaled) v = times(s, v);
            else if constexpr (F::map == form::shifted) v = times(s, minus(v, z));
            else v = plus(times(s, v), z);
            if constexpr (outer_multiplies<F>) v = times(v, outer);
            v = quiet(v);
            if (end - i >= 16) store(out + i, v);
            else store(out + i, v, end - i);
        }
    }
}

/// The same for plain numbers, which have no maps.
template <block_format F> static void widen_numbers(const std::byte* from, std::size_t n, float* out) noexcept {
    using T = typename F::grid::number;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) store(out + i, quiet(widen<T>(from + i * sizeof(T))));
    if (i == n) return;
    std::byte rest[16 * sizeof(T)] = {};
    std::memcpy(rest, from + i * sizeof(T), (n - i) * sizeof(T));
    store(out + i, quiet(widen<T>(rest)), n - i);
}

/// Blocks [first, end) of wire row r, which is `cols` weights long, to consecutive floats.
template <block_format F>
static void decode_blocks(const qview<F>& W, std::size_t r, std::size_t first, std::size_t end, std::size_t cols, float* out) noexcept {
    if constexpr (holds_numbers<F>)
        return widen_numbers<F>(W.block(r, first)[0], smaller_size(end * block_size<F>, cols) - first * block_size<F>, out);
    alignas(64) raw<F> weights[chunk_blocks<F> * block_size<F> + raw_margin];
    block_maps<F> maps[chunk_blocks<F>] = {};
    for (std::size_t b = first; b < end; b += chunk_blocks<F>) {
        const std::size_t count = smaller_size(chunk_blocks<F>, end - b);
        open_blocks<F>(W, r, b, count, cols, weights, block_size<F>, maps);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t column = (b + i) * block_size<F>;
            decode_block<F>(maps[i], weights + i * block_size<F>, smaller_size(block_size<F>, cols - column), out + (column - first * block_size<F>));
        }
    }
}
// No #pragma once: each room includes this text inside its struct, behind blocks.inl. Y = X * W^T over the room's vectors:
// activations are packed once, 16 rows of weights at a time are unpacked and transposed, tiles of 16 rows x `widths` columns are multiplied.

/// use(first, width) for the tiles that n rows of X are cut into: the widest as often as it fits, then the next. width() is a constant.
template <class Use> QLIB_INLINE static void for_each_tile(std::size_t n, const Use& use) noexcept {
    std::size_t first = 0;
    const auto all_of = [&](auto width) QLIB_INLINE_LAMBDA {
        for (; n - first >= width(); first += width()) use(first, width);
    };
    [&]<std::size_t... I>(std::index_sequence<I...>) QLIB_INLINE_LAMBDA {
        (all_of(std::integral_constant<std::size_t, widths[I]>{}), ...);
    }(std::make_index_sequence<widths.size()>{});
}

/// Columns [column, column + w) of the packed activations from the w rows of X; `column` is a multiple of `columns`, w <= columns.
static void pack_activations(const gemm_plan& p, std::size_t group, int bias, matrix_view<const float> X, std::size_t column, std::size_t w,
                             const integer_activations& all) noexcept {
    for_each_tile(w, [&](std::size_t first, std::size_t width) QLIB_INLINE_LAMBDA {
        pack_tile(p, group, bias, X.row_range(first, width), all.tile(p, column + first));
    });
}

/// One tile of packed activations, from X.rows of them.
static void pack_tile(const gemm_plan& p, std::size_t group, int bias, matrix_view<const float> X, const integer_activations& t) noexcept {
    const std::size_t w = X.rows;
    for (std::size_t j = 0; j < w; ++j) {
        const float* x = X.row(j);
        for (std::size_t s = 0; s < p.spans(); ++s) {
            const std::size_t first = s * p.span, end = smaller_size(first + p.span, p.groups);
            const std::size_t from = first * group, count = smaller_size(end * group, p.k) - from;
            const std::uint32_t most = largest_magnitude(x + from, count);
            const bool dead = most >= 0x7F800000u || float_of(most) < 0x1p-100f;
            t.scale[s * w + j] = most >= 0x7F800000u ? float_of(0x7FC00000u) : dead ? 0.0f : float_of(most) / 127.0f;
            const float inverse = dead ? 0.0f : 127.0f / float_of(most);
            for (std::size_t g = first; g < end; g += p.flush) {
                std::int32_t sum = 0;
                for (std::size_t i = g; i < end && i < g + p.flush; ++i) {
                    const std::size_t n = dead ? 0 : smaller_size(group, p.k - i * group);
                    sum += pack_group(x + i * group, n, inverse, p.padded, t.codes + (i * p.padded * w + j * 4), w * 4);
                }
                t.start[g / p.flush * w + j] = bias * sum;
                t.sum[g / p.flush * w + j] = static_cast<float>(sum);
            }
        }
    }
}

/// n <= padded activations of one row as bytes, four to a word, `stride` bytes between words; zeros behind them. Returns their sum.
static std::int32_t pack_group(const float* x, std::size_t n, float inverse, std::size_t padded, std::int8_t* out, std::size_t stride) noexcept {
    constexpr std::size_t step = 256;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < padded; i += step) {
        alignas(64) std::int8_t stage[step] = {};
        const std::size_t here = n > i ? smaller_size(n - i, step) : 0;
        sum += quantize(x + i, here, inverse, stage);
        for (std::size_t b = 0; b < step && i + b < padded; b += 4) std::memcpy(out + (i + b) / 4 * stride, stage + b, 4);
    }
    return sum;
}

/// The panel of rows [row, row + rows) of W for groups [first, end); rows <= 16, `first` begins a block. Lanes without a row get zero maps.
template <block_format F>
static void fill_panel(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, std::size_t first, std::size_t end,
                       const panel_memory& m, const integer_panel& out) noexcept {
    constexpr std::size_t padded = F::groups * padded_group<F>;
    std::memset(m.stage, 0, m.stage_bytes());
    std::memset(out.scale, 0, 2 * m.scale_bytes);
    for (std::size_t b = first / F::groups; b * F::groups < end; b += chunk_blocks<F>) {
        const std::size_t blocks = smaller_size(chunk_blocks<F>, divide_up(end, F::groups) - b);
        for (std::size_t r = 0; r < rows; ++r) {
            block_maps<F> maps[chunk_blocks<F>] = {};
            put_operands<F>(W, row + r, b, blocks, p.k, reinterpret_cast<std::uint8_t*>(m.stage + r * m.stage_stride), maps);
            for (std::size_t i = 0; i < blocks; ++i) {
                const std::size_t n = smaller_size(block_size<F>, p.k - (b + i) * block_size<F>);
                put_maps<F>(p, maps[i], (b + i) * F::groups - first, divide_up(n, F::group), r, out);
            }
        }
        auto* to = reinterpret_cast<std::byte*>(out.codes) + (b * F::groups - first) * padded_group<F> * 16;
        for (std::size_t at = 0; at < blocks * padded; at += 64) transpose(m.stage + at, m.stage_stride, to + at * 16);
    }
}

/// The operands of blocks [b, b + count) of row r, each group padded, and their maps. Writes whole vectors of 64.
template <block_format F>
QLIB_INLINE static void put_operands(const qview<F>& W, std::size_t r, std::size_t b, std::size_t count, std::size_t cols, std::uint8_t* out,
                                     block_maps<F>* maps) noexcept {
    constexpr std::size_t n = block_size<F>;
    if constexpr (byte_codes<F> && F::group % 4 == 0) {  // in place
        open_blocks<F>(W, r, b, count, cols, out, n, maps);
        to_operands<F>(out, count * n);
    } else {
        alignas(64) raw<F> weights[chunk_blocks<F> * n + raw_margin] = {};
        std::uint8_t made[chunk_blocks<F> * n];
        open_blocks<F>(W, r, b, count, cols, weights, n, maps);
        if constexpr (byte_codes<F>) {
            to_operands<F>(weights, count * n);
            std::memcpy(made, weights, count * n);
        } else {
            constexpr integer_levels l = integer_levels_of<F>;
            for (std::size_t i = 0; i < count * n; ++i)
                made[i] = static_cast<std::uint8_t>(round_clamped(weights[i] * static_cast<float>(l.mul), l.lo, l.hi) - form_of<F, dot_form>.bias);
        }
        for (std::size_t g = 0; g < count * F::groups; ++g) std::memcpy(out + g * padded_group<F>, made + g * F::group, F::group);
    }
}

/// Lane `lane` of the maps of n groups, group g of the panel the first of them: in units of the dot product, the outer scale in it.
template <block_format F>
QLIB_INLINE static void put_maps(const gemm_plan& p, const block_maps<F>& maps, std::size_t g, std::size_t n, std::size_t lane,
                                 const integer_panel& out) noexcept {
    constexpr float unit = 1.0f / static_cast<float>(integer_levels_of<F>.mul);
    const float outer = outer_multiplies<F> ? maps.outer_scale : 1.0f;
    const std::size_t flush = row_maps<F> ? p.flush : 1;
    for (std::size_t i = 0; i < n; ++i) {
        if ((g + i) % flush != 0) continue;
        const affine a = F::at(maps.params, i);
        const std::size_t at = (g + i) / flush * 16 + lane;
        out.scale[at] = a.s * outer * unit;
        if constexpr (F::map == form::shifted) out.offset[at] = -(a.s * a.z * outer);
        if constexpr (F::map == form::offset) out.offset[at] = a.z * outer;
    }
}

/// One tile: 16 rows of W, N rows of X, groups [first, end). y: N rows of `stride` floats, `lanes` of them written; added to unless first == 0.
template <std::size_t N, bool Offset>
static void integer_tile(const gemm_plan& p, std::size_t first, std::size_t end, integer_panel w, integer_activations x, float* y, std::size_t stride, std::size_t lanes) noexcept {
    floats total[N];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) total[j] = first != 0 ? load(y + j * stride, lanes) : splat(0.0f);
    x = {x.codes + first * p.padded * N, x.scale + first / p.span * N, x.start + first / p.flush * N, x.sum + first / p.flush * N};
    for (std::size_t g = first, span_end = (first / p.span + 1) * p.span; g < end; span_end += p.span, x.scale += N) {
        floats sum[N];
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) sum[j] = splat(0.0f);
        for (const std::size_t stop = smaller_size(span_end, end); g < stop; g += p.flush, x.start += N, x.sum += N, w.scale += 16, w.offset += 16) {
            integers dots[N];
#pragma GCC unroll 16
            for (std::size_t j = 0; j < N; ++j) dots[j] = splat(x.start[j]);
            std::size_t words = smaller_size(p.flush, stop - g) * p.padded / 4;
            do {
                const bytes v = load_bytes(w.codes);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < N; ++j) dots[j] = dot(dots[j], v, x.codes + 4 * j);
                w.codes += 64;
                x.codes += 4 * N;
            } while (--words != 0);
            const floats s = load(w.scale);
#pragma GCC unroll 16
            for (std::size_t j = 0; j < N; ++j) sum[j] = multiply_add(to_float(dots[j]), s, sum[j]);
            if constexpr (Offset) {
                const floats z = load(w.offset);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < N; ++j) sum[j] = multiply_add(splat(x.sum[j]), z, sum[j]);
            }
        }
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) total[j] = multiply_add(sum[j], splat(x.scale[j]), total[j]);
    }
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) store(y + j * stride, total[j], lanes);
}

/// The same over decoded weights w[k][16] and activations x[k][N], `depth` of them.
template <std::size_t N>
static void exact_tile(std::size_t depth, const float* w, const float* x, bool add, float* y, std::size_t stride, std::size_t lanes) noexcept {
    floats total[N];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) total[j] = add ? load(y + j * stride, lanes) : splat(0.0f);
    for (; depth != 0; --depth, w += 16, x += N) {
        const floats v = load(w);
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) total[j] = multiply_add(v, splat(x[j]), total[j]);
    }
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) store(y + j * stride, total[j], lanes);
}

/// All rows of X against the tiles of a panel, groups [first, end).
template <bool Offset>
static void multiply_panel(const gemm_plan& p, const panel_memory& m, std::size_t rows, std::size_t first, std::size_t end,
                           const integer_activations& x, matrix_view<float> Y) noexcept {
    for_each_tile(p.n, [&](std::size_t c, auto width) QLIB_INLINE_LAMBDA {
        for (std::size_t t = 0; t * 16 < rows; ++t)
            integer_tile<width(), Offset>(p, first, end, panel_of(m, t), x.tile(p, c), Y.row(c) + t * 16, Y.stride, smaller_size(16, rows - t * 16));
    });
}

QLIB_INLINE static integer_panel panel_of(const panel_memory& m, std::size_t t) noexcept {
    std::byte* tile = m.panel + t * m.tile_bytes;
    auto* scale = reinterpret_cast<float*>(tile + m.codes_bytes);
    return {reinterpret_cast<std::uint8_t*>(tile), scale, scale + m.scale_bytes / sizeof(float)};
}

/// Rows [row, row + rows) of W against all of X; rows <= panel_rows. Y: (n, rows), the columns of the product that these rows make.
template <block_format F>
static void multiply_rows(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, const integer_activations& x,
                          matrix_view<float> Y, const panel_memory& m) noexcept {
    for (std::size_t first = 0; first < p.groups; first += p.stretch) {
        const std::size_t end = smaller_size(first + p.stretch, p.groups);
        for (std::size_t t = 0; t * 16 < rows; ++t) fill_panel<F>(p, W, row + t * 16, smaller_size(16, rows - t * 16), first, end, m, panel_of(m, t));
        multiply_panel<F::map != form::scaled>(p, m, rows, first, end, x, Y);
    }
}

/// Columns [column, column + w) of the activations of an exact product, from the w rows of X: for each tile [k][width].
static void pack_floats(std::size_t k, matrix_view<const float> X, std::size_t column, std::size_t w, float* all) noexcept {
    for_each_tile(w, [&](std::size_t first, std::size_t width) QLIB_INLINE_LAMBDA {
        float* const to = all + (column + first) * k;
        for (std::size_t j = 0; j < width; ++j)
            for (std::size_t i = 0; i < k; ++i) to[i * width + j] = X(first + j, i);
    });
}

/// 16 rows of decoded weights [first, end) as [end - first][16].
template <block_format F>
static void fill_exact_panel(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, std::size_t first, std::size_t end,
                             const panel_memory& m, std::byte* out) noexcept {
    std::memset(m.stage, 0, m.stage_bytes());
    constexpr std::size_t chunk = chunk_blocks<F> * block_size<F>;
    for (std::size_t c = first; c < end; c += chunk) {
        const std::size_t n = smaller_size(chunk, end - c), b = c / block_size<F>;
        for (std::size_t r = 0; r < rows; ++r)
            decode_blocks<F>(W, row + r, b, b + divide_up(n, block_size<F>), p.k, reinterpret_cast<float*>(m.stage + r * m.stage_stride));
        for (std::size_t i = 0; i < n; i += 16) transpose(m.stage + i * sizeof(float), m.stage_stride, out + (c - first + i) * 64);
    }
}

/// Rows [row, row + rows) of W, decoded, against all of X; rows <= panel_rows.
template <block_format F>
static void multiply_rows_exactly(const gemm_plan& p, const qview<F>& W, std::size_t row, std::size_t rows, const float* x, matrix_view<float> Y, const panel_memory& m) noexcept {
    for (std::size_t first = 0; first < p.k; first += p.stretch) {
        const std::size_t end = smaller_size(first + p.stretch, p.k);
        for (std::size_t t = 0; t * 16 < rows; ++t)
            fill_exact_panel<F>(p, W, row + t * 16, smaller_size(16, rows - t * 16), first, end, m, m.panel + t * m.tile_bytes);
        multiply_exact_panel(p, m, rows, first, end, x, Y);
    }
}

static void multiply_exact_panel(const gemm_plan& p, const panel_memory& m, std::size_t rows, std::size_t first, std::size_t end,
                                 const float* x, matrix_view<float> Y) noexcept {
    for_each_tile(p.n, [&](std::size_t c, auto width) QLIB_INLINE_LAMBDA {
        for (std::size_t t = 0; t * 16 < rows; ++t)
            exact_tile<width()>(end - first, reinterpret_cast<const float*>(m.panel + t * m.tile_bytes), x + c * p.k + first * width(), first != 0,
                                Y.row(c) + t * 16, Y.stride, smaller_size(16, rows - t * 16));
    });
}

private:
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

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_ROOM_END
#endif

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// use(room) for the room of a call that check_room let pass. Room::name<F>(...) are its kernels.
template <class Use> auto with_room(isa wanted, const Use& use) noexcept {
#if defined(__x86_64__)
    if (resolve_room(wanted) == isa::avx512) return use(avx512{});
#endif
    (void)wanted;
    return use(portable{});
}

/// What a call's report says of the way that codes of F take in a room.
template <class Room, class F> inline constexpr const char* path_of = Room::template unpacks<F> || holds_numbers<F> ? "bits" : "load";

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// What qgemm computes with.
enum class compute : std::uint8_t {
    automatic,  ///< integer where the format's levels are 8-bit integers up to a power of two, else exact
    integer,    ///< activations rounded to 8 bits on the fly, integer dot products
    exact,      ///< decoded weights times float activations
};

struct gemm_options {
    compute mode = compute::automatic;
    /// Integer mode: neighbours in a row of X that share a scale. A multiple of F::group, or the whole row; 0: the largest multiple of F::group up to
    /// 256 (F::group when that is larger), or the row where one map of the weights covers a row.
    std::size_t activation_group = 0;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Weights to an activation scale. error: argument.
template <block_format F> result<std::size_t> activation_span(std::size_t asked, std::size_t k) noexcept {
    if (asked == 0) return row_maps<F> ? k : F::group >= 256 ? F::group : 256 / F::group * F::group;
    if (asked != k && asked % F::group != 0)
        return error{errc::argument, "activation groups of {0} are neither whole groups of {1} nor a row of {2}", "activation_group", {asked, F::group, k}};
    return asked;
}

/// Rows of W to a task: few enough that all workers have some, never less than a tile.
inline std::size_t rows_per_panel(std::size_t rows, std::size_t workers) noexcept {
    return smaller_size(panel_rows, round_up(divide_up(rows, saturating_multiply(workers, 4)), tile_rows));
}

/// The panel of a worker, in memory of its own.
struct worker_panel {
    panel_memory shape;
    std::size_t rows;
    [[nodiscard]] std::size_t tiles() const noexcept { return saturating_multiply(shape.tile_bytes, divide_up(rows, tile_rows)); }
    [[nodiscard]] std::size_t bytes() const noexcept { return saturating_add(tiles(), shape.stage_bytes()); }
    [[nodiscard]] panel_memory in(std::byte* memory) const noexcept {
        panel_memory m = shape;
        m.panel = memory;
        m.stage = m.panel + tiles();
        return m;
    }
};

/// Activations and results that are no floats pass through floats: a tile of X's rows, a panel's columns of Y, one of each per worker.
template <class X, class Y> struct conversions {
    std::size_t columns, k, n, rows;
    [[nodiscard]] std::size_t of_x() const noexcept { return std::same_as<X, float> ? 0 : saturating_multiply(columns, k); }
    [[nodiscard]] std::size_t of_y() const noexcept { return std::same_as<Y, float> ? 0 : saturating_multiply(n, rows); }
    [[nodiscard]] std::size_t floats() const noexcept { return larger_size(of_x(), of_y()); }

    /// Rows [first, first + count) of x, as floats.
    [[nodiscard]] matrix_view<const float> floats_of(matrix_view<const X> x, std::size_t first, std::size_t count, float* memory) const noexcept {
        if constexpr (std::same_as<X, float>) {
            return x.row_range(first, count);
        } else {
            for (std::size_t j = 0; j < count; ++j)
                for (std::size_t i = 0; i < k; ++i) memory[j * k + i] = x(first + j, i).value();
            return {memory, count, k};
        }
    }
    /// multiply(floats) and its result to columns [row, row + count) of y.
    template <class Multiply> void results_to(matrix_view<Y> y, std::size_t row, std::size_t count, float* memory, const Multiply& multiply) const noexcept {
        if constexpr (std::same_as<Y, float>) {
            multiply({y.data + row, y.rows, count, y.stride});
        } else {
            multiply({memory, n, count});
            for (std::size_t j = 0; j < n; ++j)
                for (std::size_t i = 0; i < count; ++i) y(j, row + i) = Y::from(memory[j * count + i]);
        }
    }
};

/// All that packed activations depend on, but for the activations. Products with equal ones can share them.
struct packed_like {
    isa room = isa::best;
    bool integer = false;
    std::size_t padded = 0, groups = 0, group = 0, flush = 0, span = 0;
    int bias = 0;
    friend constexpr bool operator==(const packed_like&, const packed_like&) = default;
};

/// Y = X * W^T with integer dot products: two stages, each of independent tasks. `span`: weights that share an activation scale.
template <class Room, block_format F> struct integer_way {
    gemm_plan p;
    panel_memory shape;
    integer_activations x{};

    integer_way(std::size_t n, std::size_t rows, std::size_t k, std::size_t span) noexcept
        : p(plan_integer<F>(n, rows, k, span, Room::most_summed)), shape(integer_memory<F>(p)) {}
    [[nodiscard]] std::size_t scratch() const noexcept {
        const std::size_t sums = saturating_multiply(p.n, p.flushes());
        const std::size_t pieces[] = {workspace::piece<std::int8_t>(codes()), workspace::piece<float>(saturating_multiply(p.n, p.spans())),
                                      workspace::piece<std::int32_t>(sums), workspace::piece<float>(sums)};
        std::size_t all = 0;
        for (const std::size_t piece : pieces) all = saturating_add(all, piece);
        return all;
    }
    void take(workspace& memory) noexcept {
        const std::size_t sums = p.n * p.flushes();
        x = {memory.take<std::int8_t>(codes()), memory.take<float>(p.n * p.spans()), memory.take<std::int32_t>(sums), memory.take<float>(sums)};
    }
    void pack(matrix_view<const float> rows, std::size_t first) const noexcept {
        Room::pack_activations(p, F::group, form_of<F, Room::dot_form>.bias, rows, first, rows.rows, x);
    }
    [[nodiscard]] packed_like packing() const noexcept {
        return {Room::id, true, p.padded, p.groups, F::group, p.flush, p.span, form_of<F, Room::dot_form>.bias};
    }
    void multiply(matrix_view<float> Y, const qview<F>& W, std::size_t row, const panel_memory& m) const noexcept {
        Room::template multiply_rows<F>(p, W, row, Y.cols, x, Y, m);
    }

private:
    [[nodiscard]] std::size_t codes() const noexcept { return saturating_multiply(p.n, saturating_multiply(p.groups, p.padded)); }
};

/// Y = X * W^T with decoded weights.
template <class Room, block_format F> struct exact_way {
    gemm_plan p;
    panel_memory shape;
    float* x = nullptr;

    exact_way(std::size_t n, std::size_t rows, std::size_t k) noexcept : p(plan_exact<F>(n, rows, k)), shape(exact_memory<F>(p)) {}
    [[nodiscard]] std::size_t scratch() const noexcept { return workspace::piece<float>(saturating_multiply(p.n, p.k)); }
    void take(workspace& memory) noexcept { x = memory.take<float>(p.n * p.k); }
    void pack(matrix_view<const float> rows, std::size_t first) const noexcept { Room::pack_floats(p.k, rows, first, rows.rows, x); }
    [[nodiscard]] packed_like packing() const noexcept { return {.room = Room::id}; }
    void multiply(matrix_view<float> Y, const qview<F>& W, std::size_t row, const panel_memory& m) const noexcept {
        Room::template multiply_rows_exactly<F>(p, W, row, Y.cols, x, Y, m);
    }
};

/// A product as stages of tasks: 0 packs the activations, 1 multiplies. Tasks of a stage may run in any order and at once.
template <class Way, block_format F, weight_source XT, weight_source YT> class gemm_stages {
public:
    gemm_stages(const Way& way, std::size_t columns, std::size_t workers) noexcept
        : way_(way), columns_(columns), panel_{way.shape, rows_per_panel(way.p.rows, workers)}, conversions_{columns, way.p.k, way.p.n, panel_.rows} {}

    /// Of packed activations, and of what each worker writes while a task runs.
    [[nodiscard]] std::size_t activation_bytes() const noexcept { return way_.scratch(); }
    [[nodiscard]] std::size_t worker_bytes() const noexcept {
        return saturating_add(workspace::piece<std::byte>(panel_.bytes()), workspace::piece<float>(conversions_.floats()));
    }
    [[nodiscard]] std::size_t scratch(std::size_t workers) const noexcept { return saturating_add(activation_bytes(), saturating_multiply(worker_bytes(), workers)); }
    /// The workers' memory begins at `workers`, `apart` bytes from one to the next: products that run at once must agree on both.
    void take(workspace& activations, std::byte* workers, std::size_t apart) noexcept {
        way_.take(activations);
        workers_ = workers;
        apart_ = apart;
    }
    [[nodiscard]] packed_like packing() const noexcept { return way_.packing(); }
    [[nodiscard]] std::size_t tasks(std::size_t stage) const noexcept {
        return stage == 0 ? divide_up(way_.p.n, columns_) : divide_up(way_.p.rows, panel_.rows);
    }
    void run(std::size_t stage, std::size_t task, std::size_t worker, matrix_view<YT> Y, matrix_view<const XT> X, const qview<F>& W) const noexcept {
        std::byte* const own = workers_ + worker * apart_;
        const auto floats = reinterpret_cast<float*>(own + workspace::piece<std::byte>(panel_.bytes()));
        if (stage == 0) {
            const std::size_t first = task * columns_;
            return way_.pack(conversions_.floats_of(X, first, smaller_size(columns_, way_.p.n - first), floats), first);
        }
        const std::size_t row = task * panel_.rows, count = smaller_size(panel_.rows, way_.p.rows - row);
        const panel_memory m = panel_.in(own);
        conversions_.results_to(Y, row, count, floats, [&](matrix_view<float> y) { way_.multiply(y, W, row, m); });
    }

private:
    Way way_;
    std::size_t columns_;
    worker_panel panel_;
    conversions<XT, YT> conversions_;
    std::byte* workers_ = nullptr;
    std::size_t apart_ = 0;
};

/// use(stages) for the way that mode asks for, `integer` only where the format has integer levels.
template <class Room, block_format F, weight_source XT, weight_source YT, class Use>
auto with_stages(bool integer, std::size_t n, std::size_t rows, std::size_t k, std::size_t span, std::size_t workers, const Use& use) {
    if constexpr (static_cast<bool>(integer_levels_of<F>))
        if (integer) return use(gemm_stages<integer_way<Room, F>, F, XT, YT>({n, rows, k, span}, Room::columns, workers));
    return use(gemm_stages<exact_way<Room, F>, F, XT, YT>({n, rows, k}, Room::columns, workers));
}

/// Whether a call computes with integers.
template <block_format F> bool uses_integers(compute mode) noexcept { return integer_levels_of<F> && mode != compute::exact; }

/// What qgemm asks of its operands. Gives the activation group.
template <block_format F>
result<std::size_t> check_product(std::size_t y_rows, std::size_t y_cols, std::size_t x_rows, std::size_t x_cols, const qview<F>& W, const gemm_options& options, const call& how) noexcept {
    const std::size_t k = W.cols();
    if (x_cols != k || y_rows != x_rows || y_cols != W.rows())
        return error{errc::shape, "X has {0} columns for {1} x {2} weights, or Y is not {3} rows of one value per row of weights", "X", {x_cols, W.rows(), k, x_rows}};
    if (!W.sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "weights", {block_size<F>, k}};
    if (options.mode == compute::integer && !integer_levels_of<F>)
        return error{errc::unsupported, "the levels of this format have no 8-bit integer form", "mode", {}};
    if (const status s = check_room(how.room); !s) return s.error();
    return activation_span<F>(options.activation_group, k);
}

/// The product over no inputs.
template <class T> void set_zero(matrix_view<T> Y) noexcept {
    for (std::size_t j = 0; j < Y.rows; ++j) std::memset(static_cast<void*>(Y.row(j)), 0, Y.cols * sizeof(T));
}

template <block_format F, weight_source YT, weight_source XT>
status multiply(matrix_view<YT> Y, matrix_view<const XT> X, const qview<F>& W, const gemm_options& options, const call& how) noexcept {
    const auto span = check_product<F>(Y.rows, Y.cols, X.rows, X.cols, W, options, how);
    if (!span) return span.error();
    return with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        const bool integer = uses_integers<F>(options.mode);
        if (how.report != nullptr) *how.report = {Room::id, integer ? "integer" : "exact", path_of<Room, F>};
        if (Y.rows == 0 || Y.cols == 0) return {};
        if (X.cols == 0) {
            set_zero(Y);
            return {};
        }
        return with_stages<Room, F, XT, YT>(integer, X.rows, W.rows(), X.cols, *span, how.run.workers(), [&](auto stages) -> status {
            workspace memory;
            if (const status s = memory.open(how, stages.scratch(how.run.workers())); !s) return s;
            std::byte* const own = memory.take<std::byte>(saturating_multiply(stages.worker_bytes(), how.run.workers()));
            stages.take(memory, own, stages.worker_bytes());
            for (std::size_t stage = 0; stage < 2; ++stage) {
                call part = how;
                if (stage == 0) part.progress = {};  // a small part of the work: its progress is not told
                const status s = for_each_task(part, stages.tasks(stage), [&](std::size_t i, std::size_t worker) -> status {
                    stages.run(stage, i, worker, Y, X, W);
                    return {};
                });
                if (!s) return s;
            }
            return {};
        });
    });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Y = X * W^T.
///
/// Y        (n, rows) of float, f16 or bf16, row-major, any row stride; may overlap neither X nor the weights
/// X        (n, k) of float, f16 or bf16, row-major, any row stride
/// weights  rows x k in format F
/// error    shape; unsliceable when blocks run over row ends; unsupported when call.room cannot be had or integers are asked of levels that
///          are none; argument for an activation group that cuts groups; memory, scratch, cancelled
/// exact    the same bits for any number of threads. Integer: each activation group is rounded to round_even(x * (127 / abs-max)) * (abs-max / 127),
///          below 2^-100 to zero; dot products of up to 256 weights are exact, their sums over groups f32. A NaN or an infinity in row i of X makes row i of Y NaN.
///          Exact: dequantize's weights and X in f32, NaN and infinities as IEEE 754 has them.
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] status qgemm(matrix_view<YT> Y, matrix_view<XT> X, qview<F> weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, matrix_view<const std::remove_const_t<XT>>(X), weights, options, how);
}
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] status qgemm(matrix_view<YT> Y, matrix_view<XT> X, const qmatrix<F>& weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, matrix_view<const std::remove_const_t<XT>>(X), weights.view(), options, how);
}
template <block_format F>
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, qview<F> weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, X, weights, options, how);
}
template <block_format F>
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, const qmatrix<F>& weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, X, weights.view(), options, how);
}

/// The bytes of call.scratch that qgemm asks for, with n rows of X (elements XT), rows x k weights and results YT. 0 for what qgemm would refuse.
template <block_format F, weight_source XT = float, weight_source YT = float>
[[nodiscard]] std::size_t qgemm_scratch_bytes(std::size_t n, std::size_t rows, std::size_t k, gemm_options options = {}, const call& how = {}) noexcept {
    const auto span = detail::activation_span<F>(options.activation_group, k);
    if (!span || !has_room(how.room) || n == 0 || rows == 0 || k == 0) return 0;
    const std::size_t workers = how.run.workers();
    return detail::with_room(how.room, [&](auto room) {
        return detail::with_stages<decltype(room), F, XT, YT>(detail::uses_integers<F>(options.mode), n, rows, k, *span, workers, [workers](const auto& stages) {
            return detail::workspace::asked(stages.scratch(workers));
        });
    });
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0 {

/// rows x cols weights in a format that is known at run time, in foreign memory at any address.
struct any_view {
    format_id format{};
    std::span<const std::byte> bytes = {};         ///< planes in order, outer plane, tensor plane: wire_size(format, rows, cols) in all
    std::size_t rows = 0, cols = 0;
    view_options<const std::byte> options = {};    ///< where rows or outer values lie elsewhere
    /// Where the planes lie apart: one for each, in place of `bytes`; options.outer then holds the outer values, if the format has any.
    std::span<const std::span<const std::byte>> planes = {};
};

/// One product of a group, Y = X * W^T.
struct any_gemm_job {
    matrix_view<float> Y;
    matrix_view<const float> X;
    any_view weights;
};

// Not in QLIB_BASE: defined in one translation unit and called from others, which may have been compiled for other instruction sets.
// All give errc::unsupported for a format that <qlib/instantiate.hpp> was not told to instantiate; the other errors and what is exact:
// as the templates of the same names.

/// Bytes of a rows x cols matrix, all planes. error: unsupported, shape, ragged.
[[nodiscard]] result<std::size_t> wire_size(format_id format, std::size_t rows, std::size_t cols) noexcept;

/// Quantizes W into bytes, wire_size(format, W.rows, W.cols) of them or more.
[[nodiscard]] status quantize_into(format_id format, matrix_view<const float> W, std::span<std::byte> bytes, quantize_options options = {},
                                   call how = {}) noexcept;

/// out = the weights as floats; (rows, cols).
[[nodiscard]] status dequantize(const any_view& weights, matrix_view<float> out, call how = {}) noexcept;

/// Rows ids[0], ids[1], ... as floats, an embedding look-up; out (ids, cols).
[[nodiscard]] status dequantize_rows(const any_view& weights, std::span<const std::uint32_t> ids, matrix_view<float> out, call how = {}) noexcept;

/// Y = X * W^T; Y (n, rows), X (n, cols).
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, const any_view& weights, gemm_options options = {},
                           call how = {}) noexcept;

/// All products of a group in one parallel loop: see qgemm_grouped.hpp.
[[nodiscard]] status qgemm_grouped(std::span<const any_gemm_job> jobs, gemm_options options = {}, call how = {}) noexcept;
/// 0 for what it would refuse.
[[nodiscard]] std::size_t qgemm_grouped_scratch_bytes(std::span<const any_gemm_job> jobs, gemm_options options = {}, call how = {}) noexcept;

/// Bytes of call.scratch that qgemm and gptq want. error: unsupported.
[[nodiscard]] result<std::size_t> qgemm_scratch_bytes(format_id format, std::size_t n, std::size_t rows, std::size_t k, gemm_options options = {},
                                                      const call& how = {}) noexcept;
[[nodiscard]] result<std::size_t> gptq_scratch_bytes(format_id format, std::size_t rows, std::size_t cols, std::size_t workers = 1) noexcept;

/// Quantizes W into bytes with GPTQ, from a Hessian of W.cols columns, which is copied, or from its factor, which is not.
/// The bytes are written last: they are whole, or untouched after an error.
[[nodiscard]] result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian& h, std::span<std::byte> bytes,
                                       gptq_options options = {}, call how = {}) noexcept;
[[nodiscard]] result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian_factor& factor, std::span<std::byte> bytes,
                                       gptq_options options = {}, call how = {}) noexcept;

/// rows x cols weights in a format that is known at run time; owns its bytes, 64-byte aligned; move-only.
class any_matrix {
public:
    QLIB_INLINE any_matrix() noexcept = default;
    QLIB_INLINE any_matrix(any_matrix&&) noexcept = default;
    QLIB_INLINE any_matrix& operator=(any_matrix&&) noexcept = default;
    /// Zeroed bytes. error: unsupported, shape, ragged, memory.
    [[nodiscard]] QLIB_INLINE static result<any_matrix> make(format_id format, std::size_t rows, std::size_t cols) noexcept {
        const auto size = wire_size(format, rows, cols);
        if (!size) return size.error();
        any_matrix m;
        if (!m.bytes_.allocate(*size)) return detail::out_of_memory(*size);
        if (*size != 0) std::memset(m.bytes_.data(), 0, *size);
        m.format_ = format;
        m.rows_ = rows;
        m.cols_ = cols;
        return m;
    }

    [[nodiscard]] QLIB_INLINE format_id format() const noexcept { return format_; }
    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept { return {bytes_.data(), bytes_.size()}; }
    [[nodiscard]] QLIB_INLINE std::span<std::byte> bytes() noexcept { return {bytes_.data(), bytes_.size()}; }
    [[nodiscard]] QLIB_INLINE any_view view() const noexcept { return {format_, bytes(), rows_, cols_, {}}; }
    [[nodiscard]] QLIB_INLINE operator any_view() const noexcept { return view(); }

private:
    detail::buffer<std::byte> bytes_;
    format_id format_{};
    std::size_t rows_ = 0, cols_ = 0;
};

/// Quantizes W into a matrix of its own. error: as quantize_into, and memory.
[[nodiscard]] result<any_matrix> quantize(format_id format, matrix_view<const float> W, quantize_options options = {}, call how = {}) noexcept;

}  // namespace qlib::inline v0
// dequantize: any format back to floats.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// n floats to elements of T, each rounded once.
template <weight_source T> void put_floats(const float* x, std::size_t n, T* out) noexcept {
    if constexpr (std::same_as<T, float>) std::memcpy(out, x, n * sizeof(float));
    else for (std::size_t i = 0; i < n; ++i) out[i] = T::from(x[i]);
}

/// Decodes wire row r of `cols` weights, blocks [first, end), to out[0] on.
template <class Room, block_format F, weight_source T>
void decode_row(const qview<F>& q, std::size_t r, std::size_t first, std::size_t end, std::size_t cols, T* out) noexcept {
    if constexpr (std::same_as<T, float>) {
        Room::template decode_blocks<F>(q, r, first, end, cols, out);
    } else {
        float x[block_size<F>];
        for (std::size_t b = first; b < end; ++b, out += block_size<F>) {
            Room::template decode_blocks<F>(q, r, b, b + 1, cols, x);
            put_floats(x, smaller_size(block_size<F>, cols - b * block_size<F>), out);
        }
    }
}

/// Decodes blocks [first, first + count) of a matrix whose blocks run over row ends.
template <class Room, block_format F, weight_source T>
void decode_flat(const qview<F>& q, matrix_view<T> out, std::size_t first, std::size_t count) noexcept {
    const std::size_t total = q.rows() * q.cols();
    float x[block_size<F>];
    for (std::size_t b = first; b < first + count; ++b) {
        Room::template decode_blocks<F>(q, 0, b, b + 1, total, x);
        for (std::size_t e = b * block_size<F>, end = smaller_size(total, e + block_size<F>), done = 0; e < end;) {
            const std::size_t n = smaller_size(end - e, q.cols() - e % q.cols());
            put_floats(x + done, n, out.row(e / q.cols()) + e % q.cols());
            e += n;
            done += n;
        }
    }
}

/// Runs a decoder in the call's room: decode(room, first, count) for all pieces.
template <block_format F, class Decode> status decode_in_room(std::size_t pieces, const call& how, const Decode& decode) noexcept {
    if (const status s = check_room(how.room); !s) return s;
    return with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        if (how.report != nullptr) *how.report = {Room::id, "", path_of<Room, F>};
        if (pieces == 0) return {};
        const std::size_t step = divide_up(pieces, saturating_multiply(how.run.workers(), 8));
        return for_each_task(how, divide_up(pieces, step), [&](std::size_t i, std::size_t) -> status {
            decode(room, i * step, smaller_size(step, pieces - i * step));
            return {};
        });
    });
}

template <block_format F, weight_source T> status dequantize_to(const qview<F>& q, matrix_view<T> out, const call& how) noexcept {
    if (out.rows != q.rows() || out.cols != q.cols())
        return error{errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "out", {q.rows(), q.cols(), out.rows, out.cols}};
    const bool by_rows = q.sliceable();
    const std::size_t pieces = q.cols() == 0 ? 0 : by_rows ? q.rows() : divide_up(q.rows() * q.cols(), block_size<F>);
    return decode_in_room<F>(pieces, how, [&](auto room, std::size_t first, std::size_t count) {
        using Room = decltype(room);
        if (!by_rows) return decode_flat<Room, F>(q, out, first, count);
        for (std::size_t r = first; r < first + count; ++r) decode_row<Room, F>(q, r, 0, divide_up(q.cols(), block_size<F>), q.cols(), out.row(r));
    });
}

template <block_format F, weight_source T>
status dequantize_rows_to(const qview<F>& q, std::span<const std::uint32_t> ids, matrix_view<T> out, const call& how) noexcept {
    if (out.rows != ids.size() || out.cols != q.cols())
        return error{errc::shape, "{0} rows of {1} weights into a {2} x {3} matrix", "out", {ids.size(), q.cols(), out.rows, out.cols}};
    if (!q.sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "q", {block_size<F>, q.cols()}};
    for (std::size_t i = 0; i < ids.size(); ++i)
        if (ids[i] >= q.rows()) return error{errc::shape, "id {0} is {1}, of {2} rows", "ids", {i, ids[i], q.rows()}};
    return decode_in_room<F>(q.cols() == 0 ? 0 : ids.size(), how, [&](auto room, std::size_t first, std::size_t count) {
        for (std::size_t i = first; i < first + count; ++i)
            decode_row<decltype(room), F>(q, ids[i], 0, divide_up(q.cols(), block_size<F>), q.cols(), out.row(i));
    });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0::inline QLIB_BASE {

/// Turns a quantized matrix back into floats: s * level, s * (level - z) or s * level + z of its group, times the outer scale.
///
/// q       rows x cols weights in format F, at any address
/// out     rows x cols of float, f16 or bf16, row-major, any row stride; may not overlap q
/// error   shape when the shapes differ, unsupported when call.room cannot be had: nothing is written then; cancelled
/// exact   the roundings of the formula, and one more to f16 or bf16; the same bits on every instruction set, for any number of threads and under
///         any compiler flag. Any bytes decode: what is not a number becomes the NaN with the bits 7FC00000
/// scratch none
template <block_format F, weight_source T>
[[nodiscard]] status dequantize(qview<F> q, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_to<F>(q, out, how);
}
template <block_format F, weight_source T>
[[nodiscard]] status dequantize(const qmatrix<F>& q, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_to<F>(q.view(), out, how);
}
template <block_format F> [[nodiscard]] status dequantize(qview<F> q, matrix_view<float> out, call how = {}) noexcept { return detail::dequantize_to<F>(q, out, how); }
template <block_format F> [[nodiscard]] status dequantize(const qmatrix<F>& q, matrix_view<float> out, call how = {}) noexcept {
    return detail::dequantize_to<F>(q.view(), out, how);
}

/// Rows ids[0], ids[1], ... of q, an embedding look-up: out.row(i) is row ids[i]. Ids may repeat.
/// error: also shape for an id beyond the last row, and unsliceable; nothing is written then
template <block_format F, weight_source T>
[[nodiscard]] status dequantize_rows(qview<F> q, std::span<const std::uint32_t> ids, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q, ids, out, how);
}
template <block_format F, weight_source T>
[[nodiscard]] status dequantize_rows(const qmatrix<F>& q, std::span<const std::uint32_t> ids, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q.view(), ids, out, how);
}
template <block_format F>
[[nodiscard]] status dequantize_rows(qview<F> q, std::span<const std::uint32_t> ids, matrix_view<float> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q, ids, out, how);
}
template <block_format F>
[[nodiscard]] status dequantize_rows(const qmatrix<F>& q, std::span<const std::uint32_t> ids, matrix_view<float> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q.view(), ids, out, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// Metrics: how far a quantized model is from the original. Rows of logits in, doubles out; nothing is allocated.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr double no_number = std::bit_cast<double>(std::uint64_t{0x7FF8} << 48);
inline constexpr double infinite = std::bit_cast<double>(std::uint64_t{0x7FF0} << 48);

[[nodiscard]] QLIB_INLINE constexpr bool is_minus_infinity(float x) noexcept { return std::bit_cast<std::uint32_t>(x) == 0xFF800000u; }
/// Whether x is a NaN or +infinity. -infinity is a logit: that of a token that cannot follow.
[[nodiscard]] QLIB_INLINE constexpr bool is_no_logit(float x) noexcept {
    const auto u = std::bit_cast<std::uint32_t>(x);
    return (u & 0x7F800000u) == 0x7F800000u && u != 0xFF800000u;
}
[[nodiscard]] QLIB_INLINE constexpr bool is_nan(double x) noexcept {
    return (std::bit_cast<std::uint64_t>(x) & 0x7FFFFFFFFFFFFFFFu) > 0x7FF0000000000000u;
}

/// Place and value of the first largest logit. error: shape for an empty row; non_finite where one is no logit, or none is finite.
struct best_logit {
    std::size_t at = 0;
    double value = 0;
};
inline result<best_logit> find_best(std::span<const float> logits, const char* operand) noexcept {
    if (logits.empty()) return error{errc::shape, "a row without logits", operand, {}};
    std::size_t best = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (is_no_logit(logits[i])) return error{errc::non_finite, "logit {0} is a NaN or +infinity", operand, {i}};
        if (logits[i] > logits[best]) best = i;
    }
    if (is_minus_infinity(logits[best])) return error{errc::non_finite, "all logits are -infinity", operand, {}};
    return best_logit{best, static_cast<double>(logits[best])};
}

/// Sum of exp(logit - best): from 1 to the number of logits.
inline double sum_of_exponentials(std::span<const float> logits, double best) noexcept {
    double sum = 0;
    for (const float x : logits) sum += is_minus_infinity(x) ? 0.0 : __builtin_exp(static_cast<double>(x) - best);
    return sum;
}

inline result<double> row_divergence(std::span<const float> p, std::span<const float> q) noexcept {
    if (p.size() != q.size()) return error{errc::shape, "{0} and {1} logits", "q", {p.size(), q.size()}};
    const auto best_p = find_best(p, "p"), best_q = find_best(q, "q");
    if (!best_p) return best_p.error();
    if (!best_q) return best_q.error();
    double sum_p = 0, sum_q = 0, cross = 0;  // cross = sum of exp(p - best) * (log-ratio before both rows are normalised)
    for (std::size_t i = 0; i < p.size(); ++i) {
        const double a = static_cast<double>(p[i]) - best_p->value, b = static_cast<double>(q[i]) - best_q->value;
        const double weight = is_minus_infinity(p[i]) ? 0.0 : __builtin_exp(a);
        sum_p += weight;
        if (is_minus_infinity(q[i])) {
            if (weight > 0) return infinite;
            continue;
        }
        sum_q += __builtin_exp(b);
        if (weight > 0) cross += weight * (a - b);
    }
    const double kl = cross / sum_p - __builtin_log(sum_p) + __builtin_log(sum_q);
    return kl > 0 ? kl : 0.0;  // a rounding below zero is none of the divergence's
}

/// Puts the element that belongs at rank k there, smaller ones before it, larger ones behind it (Hoare's selection; NaNs count as largest).
inline void select(std::span<double> values, std::size_t k) noexcept {
    const auto before = [](double a, double b) QLIB_INLINE_LAMBDA { return !is_nan(a) && (is_nan(b) || a < b); };
    for (std::size_t low = 0, high = values.size() - 1; low < high;) {
        const double pivot = values[low + (high - low) / 2];
        std::size_t i = low, j = high;
        for (;;) {
            while (before(values[i], pivot)) ++i;
            while (before(pivot, values[j])) --j;
            if (i > j) break;
            const double kept = values[i];
            values[i++] = values[j];
            values[j] = kept;
            if (j == 0) break;
            --j;
        }
        if (k <= j && j < high) high = j;
        else if (k >= i) low = i;
        else return;
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// -log softmax(logits)[token], in nats.
///
/// logits  one per token of the vocabulary; -infinity for one that cannot follow
/// error   shape for a token beyond them; non_finite for a NaN, +infinity, or a row of nothing but -infinity
[[nodiscard]] inline result<double> negative_log_likelihood(std::span<const float> logits, std::size_t token) noexcept {
    if (token >= logits.size()) return error{errc::shape, "token {0} of a vocabulary of {1}", "token", {token, logits.size()}};
    const auto best = detail::find_best(logits, "logits");
    if (!best) return best.error();
    if (detail::is_minus_infinity(logits[token])) return detail::infinite;
    return __builtin_log(detail::sum_of_exponentials(logits, best->value)) + (best->value - static_cast<double>(logits[token]));
}

/// KL(P || Q) = sum of P * log(P / Q) over P = softmax(p), Q = softmax(q), in nats; +infinity where Q rules out what P does not.
/// Zero for equal rows, to the bit; never below. error: as negative_log_likelihood, and shape for rows of different lengths.
[[nodiscard]] inline result<double> kl_divergence(std::span<const float> p, std::span<const float> q) noexcept { return detail::row_divergence(p, q); }

/// The token with the largest logit, the first of equal ones. error: as negative_log_likelihood, and shape for an empty row.
[[nodiscard]] inline result<std::size_t> top1(std::span<const float> logits) noexcept {
    const auto best = detail::find_best(logits, "logits");
    if (!best) return best.error();
    return best->at;
}

/// The value below which a fraction of the values lies, interpolated linearly between neighbours: 0 the least, 0.5 the median, 1 the largest.
/// Reorders the values. NaNs count as largest; a NaN for no values, or a fraction outside 0 to 1.
[[nodiscard]] inline double percentile(std::span<double> values, double fraction) noexcept {
    if (values.empty() || !(fraction >= 0 && fraction <= 1)) return detail::no_number;
    const double rank = fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(rank);
    detail::select(values, below);
    const double low = values[below], part = rank - static_cast<double>(below);
    if (!(part > 0)) return low;
    double next = values[below + 1];  // the least of those behind
    for (const double v : values.subspan(below + 1)) next = v < next || detail::is_nan(next) ? v : next;
    return low == next ? low : low + part * (next - low);
}

/// The standard error of a percentile of independent values, without a guess at their distribution: half the way from the percentile of
/// fraction - d to that of fraction + d, d = sqrt(fraction * (1 - fraction) / n) being the binomial's. Reorders the values.
[[nodiscard]] inline double percentile_error(std::span<double> values, double fraction) noexcept {
    if (values.empty() || !(fraction >= 0 && fraction <= 1)) return detail::no_number;
    const double d = __builtin_sqrt(fraction * (1 - fraction) / static_cast<double>(values.size()));
    const double high = percentile(values, fraction + d < 1 ? fraction + d : 1.0);
    return (high - percentile(values, fraction - d > 0 ? fraction - d : 0.0)) / 2;
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0 {

/// Mean and its standard error of numbers that come one by one (Welford). After a NaN or an infinity neither is a finite number.
class running_mean {
public:
    QLIB_INLINE constexpr void add(double x) noexcept {
        count_ += 1;
        const double step = x - mean_;
        mean_ += step / count_;
        squares_ += step * (x - mean_);
    }
    [[nodiscard]] QLIB_INLINE constexpr std::size_t count() const noexcept { return static_cast<std::size_t>(count_); }
    [[nodiscard]] QLIB_INLINE constexpr double mean() const noexcept { return mean_; }
    /// Of the mean of independent numbers: sqrt(variance / count). 0 for fewer than two.
    [[nodiscard]] QLIB_INLINE double standard_error() const noexcept {
        return count_ < 2 ? 0.0 : __builtin_sqrt(squares_ / (count_ - 1) / count_);
    }

private:
    double count_ = 0, mean_ = 0, squares_ = 0;
};

/// Signal-to-quantization-noise ratio: the energy of the original over that of what was lost.
class sqnr {
public:
    QLIB_INLINE constexpr sqnr() noexcept = default;
    /// From signal() and noise() of another.
    QLIB_INLINE constexpr sqnr(double signal, double noise) noexcept : signal_(signal), noise_(noise) {}
    /// A weight that counts `importance` times.
    QLIB_INLINE constexpr void add(float original, float decoded, float importance = 1) noexcept {
        const double x = static_cast<double>(original), lost = x - static_cast<double>(decoded), i = static_cast<double>(importance);
        signal_ += i * x * x;
        noise_ += i * lost * lost;
    }
    QLIB_INLINE constexpr void add(const sqnr& other) noexcept {
        signal_ += other.signal_;
        noise_ += other.noise_;
    }
    [[nodiscard]] QLIB_INLINE constexpr double signal() const noexcept { return signal_; }
    [[nodiscard]] QLIB_INLINE constexpr double noise() const noexcept { return noise_; }
    /// In dB: +infinity when nothing was lost, -infinity when there was nothing but noise; a NaN in the numbers gives a NaN.
    [[nodiscard]] QLIB_INLINE double decibels() const noexcept {
        if (noise_ == 0) return detail::infinite;
        return signal_ == 0 ? -detail::infinite : 10 * __builtin_log10(signal_ / noise_);
    }

private:
    double signal_ = 0, noise_ = 0;
};

}  // namespace qlib::inline v0
QLIB_EXACT_END
// bitsandbytes' 4-bit checkpoints (QLoRA's NF4, with and without double quantization) to and from nf4 and nf4_dq. Exact both ways.
//
//   auto parts = qlib::bitsandbytes_parts<nf4>(rows, cols, safetensors_type::bf16);     // names and shapes, before there are data
//   for (const auto& p : *parts) check(out.add_tensor(layer + "." + p.suffix, p.type, p.shape()));
//   check(qlib::export_bitsandbytes(matrix, safetensors_type::bf16, 0, bytes));         // the data of parts[0]
//
//   qlib::bitsandbytes_tensors t;
//   for (const safetensors_file& file : shards) check(qlib::find_bitsandbytes(file, layer, t));
//   auto matrix = qlib::import_bitsandbytes<nf4_dq>(t);                                 // result<qmatrix<nf4_dq>>
//
// source: bitsandbytes, functional.py (QuantState) and nn/modules.py
// What a layer of a bitsandbytes 4-bit checkpoint says of itself: its tensors, and the JSON text among them.
// JSON into a caller's buffer. No heap: what does not fit is only counted.

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The decimal digits of a finite float >= 0, nine of them, as many as any float needs to be read back: 0.d1 d2 d3 ... * 10^point.
struct decimal {
    std::array<std::uint8_t, 160> digit{};  // exact on the way there: 8 digits, and one more for each of 149 halvings
    int count = 0, point = 0;

    constexpr explicit decimal(float x) noexcept {
        const std::uint32_t u = std::bit_cast<std::uint32_t>(x), exponent = u >> 23 & 255;
        std::uint32_t m = (u & 0x7FFFFFu) | (exponent != 0 ? 0x800000u : 0u);
        if (m == 0) return;
        for (std::uint32_t rest = m; rest != 0; rest /= 10) ++count;
        for (int i = count; i-- > 0; m /= 10) digit[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(m % 10);
        point = count;
        int shift = static_cast<int>(exponent != 0 ? exponent : 1) - 150;
        for (; shift > 0; --shift) twice();
        for (; shift < 0; ++shift) halve();
        round(9);
        while (count > 0 && digit[static_cast<std::size_t>(count - 1)] == 0) --count;
    }

private:
    constexpr void insert_one() noexcept {
        for (int i = count++; i > 0; --i) digit[static_cast<std::size_t>(i)] = digit[static_cast<std::size_t>(i - 1)];
        digit[0] = 1;
        ++point;
    }
    constexpr void twice() noexcept {
        unsigned carry = 0;
        for (int i = count; i-- > 0;) {
            const unsigned v = 2u * digit[static_cast<std::size_t>(i)] + carry;
            digit[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(v % 10);
            carry = v / 10;
        }
        if (carry != 0) insert_one();
    }
    constexpr void halve() noexcept {
        unsigned carry = 0;
        for (int i = 0; i < count; ++i) {
            const unsigned v = 10u * carry + digit[static_cast<std::size_t>(i)];
            digit[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(v / 2);
            carry = v % 2;
        }
        if (carry != 0) digit[static_cast<std::size_t>(count++)] = 5;
        if (digit[0] != 0) return;
        for (int i = 1; i < count; ++i) digit[static_cast<std::size_t>(i - 1)] = digit[static_cast<std::size_t>(i)];
        --count;
        --point;
    }
    constexpr void round(int most) noexcept {
        if (count <= most) return;
        bool up = digit[static_cast<std::size_t>(most)] >= 5;
        count = most;
        for (int i = most; up && i-- > 0;) {
            std::uint8_t& d = digit[static_cast<std::size_t>(i)];
            up = d == 9;
            d = static_cast<std::uint8_t>(up ? 0 : d + 1);
        }
        if (up) insert_one();
    }
};

/// Writes values one after another; commas come by themselves.
class json_writer {
public:
    constexpr explicit json_writer(std::span<char> out) noexcept : out_(out) {}
    /// Characters so far, those that did not fit included.
    [[nodiscard]] constexpr std::size_t size() const noexcept { return at_; }

    constexpr void open(char bracket) noexcept {
        next();
        put(bracket);
        first_ = true;
    }
    constexpr void close(char bracket) noexcept {
        put(bracket);
        first_ = false;
    }
    constexpr void key(std::string_view name) noexcept {
        string(name);
        put(':');
        first_ = true;
    }
    constexpr void string(std::string_view text) noexcept {
        constexpr char hex[] = "0123456789abcdef";
        next();
        put('"');
        for (const char c : text) {
            const auto u = static_cast<unsigned char>(c);
            if (u < 0x20) {
                put("\\u00");
                put(hex[u >> 4]);
                put(hex[u & 15]);
                continue;
            }
            if (c == '"' || c == '\\') put('\\');
            put(c);
        }
        put('"');
    }
    constexpr void boolean(bool b) noexcept {
        next();
        put(b ? std::string_view("true") : std::string_view("false"));
    }
    template <std::integral T> constexpr void integer(T v) noexcept {
        next();
        if (v < 0) put('-');
        digits(v < 0 ? 0 - static_cast<std::uint64_t>(v) : static_cast<std::uint64_t>(v));
    }
    /// Nine significant digits, which give the same float back. JSON has no number for NaN and infinities: strings.
    constexpr void number(float x) noexcept {
        const std::uint32_t u = std::bit_cast<std::uint32_t>(x), magnitude = u & 0x7FFFFFFFu;
        if (magnitude > 0x7F800000u) return string("nan");
        if (magnitude == 0x7F800000u) return string(u >> 31 != 0 ? "-inf" : "inf");
        next();
        if (u >> 31 != 0) put('-');
        write(decimal(std::bit_cast<float>(magnitude)));
    }

private:
    constexpr void put(char c) noexcept {
        if (at_ < out_.size()) out_[at_] = c;
        ++at_;
    }
    constexpr void put(std::string_view text) noexcept {
        for (const char c : text) put(c);
    }
    constexpr void next() noexcept {
        if (!first_) put(',');
        first_ = false;
    }
    constexpr void digits(std::uint64_t v) noexcept {
        char text[20]{};
        std::size_t n = 0;
        do { text[n++] = static_cast<char>('0' + v % 10); v /= 10; } while (v != 0);
        while (n != 0) put(text[--n]);
    }
    constexpr void digit_or_zero(const decimal& d, int i) noexcept {
        put(static_cast<char>('0' + (i >= 0 && i < d.count ? d.digit[static_cast<std::size_t>(i)] : 0)));
    }
    constexpr void write(const decimal& d) noexcept {
        const bool plain = d.point > -4 && d.point <= 9;
        const int point = plain ? d.point : 1;
        if (point <= 0) put('0');
        for (int i = 0; i < point; ++i) digit_or_zero(d, i);
        put('.');
        const int end = d.count > point + 1 ? d.count : point + 1;
        for (int i = point; i < end; ++i) digit_or_zero(d, i);
        if (plain) return;
        put('e');
        if (d.point <= 0) put('-');
        digits(static_cast<std::uint64_t>(d.point <= 0 ? 1 - d.point : d.point - 1));
    }

    std::span<char> out_;
    std::size_t at_ = 0;
    bool first_ = true;
};

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
// checkpoint_part: one of the tensors that a checkpoint stores a quantized matrix as.
// safetensors_file: reads the header of a safetensors file from foreign, untrusted bytes. Tensor data are not copied; memory follows
// the header's bytes, never a number that it holds.
//
//   std::string_view culprit;                                 // the tensor or key that an error speaks of
//   auto file = qlib::safetensors_file::parse(bytes, {}, &culprit);
//   if (!file) { print(file.error().format(buffer, culprit)); return; }
//   for (const qlib::safetensors_tensor& t : file->tensors()) use(t.name, t.type, t.rows(), t.cols(), t.data);
// JSON from strangers: parse() checks a whole text once, without recursion; values are then views into it that copy nothing.
//
//   auto config = qlib::json_value::parse(text);
//   if (!config) return config.error();
//   auto width = (*config)["hidden_size"].as_uint();                             // result<std::uint64_t>
//   auto bits = (*config)["quantization_config"]["bits"].as_uint();              // an error when one of the two is missing
//   for (qlib::json_member m : (*config)["weight_map"].members()) use(m.key, m.value);
// Bytes in and out of files: bounded little-endian reading, arrays that grow, and the caller's output.

namespace qlib::inline v0 {

/// Where a writer's bytes go: any callable bool(std::span<const std::byte>) that returns false when it could not take them
/// all, and does not throw. Borrowed: it binds to variables only, never to a temporary, and must outlive its use.
class sink_ref {
public:
    QLIB_INLINE sink_ref() noexcept = default;
    template <class Sink>
        requires(!std::is_same_v<std::remove_const_t<Sink>, sink_ref>) && std::is_object_v<Sink> &&
                std::is_invocable_r_v<bool, Sink&, std::span<const std::byte>>
    QLIB_INLINE QLIB_TAGGED sink_ref(Sink& sink) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(__builtin_addressof(sink)))),
          call_([](void* object, std::span<const std::byte> bytes) -> bool { return (*static_cast<Sink*>(object))(bytes); }) {}
    [[nodiscard]] QLIB_INLINE bool operator()(std::span<const std::byte> bytes) const {
        return call_ != nullptr && call_(object_, bytes);
    }

private:
    void* object_ = nullptr;
    bool (*call_)(void*, std::span<const std::byte>) = nullptr;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The little-endian number in n <= 8 bytes, at any address and on any host.
[[nodiscard]] QLIB_INLINE inline std::uint64_t load_little(const std::byte* p, std::size_t n) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < n; ++i) value |= static_cast<std::uint64_t>(p[i]) << (8 * i);
    return value;
}
QLIB_INLINE inline void store_little(std::byte* p, std::uint64_t value, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
}

[[nodiscard]] QLIB_INLINE inline std::string_view text_of(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] QLIB_INLINE inline std::span<const std::byte> bytes_of(std::string_view text) noexcept {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::detail {

/// A position in bytes that belong to somebody else. What does not fit into the rest is refused, and nothing moves then.
struct byte_cursor {
    std::span<const std::byte> bytes;
    std::size_t at = 0;

    [[nodiscard]] QLIB_INLINE std::size_t left() const noexcept { return bytes.size() - at; }
    [[nodiscard]] QLIB_INLINE bool take(std::uint64_t count, std::span<const std::byte>& out) noexcept {
        if (count > left()) return false;
        out = bytes.subspan(at, static_cast<std::size_t>(count));
        at += out.size();
        return true;
    }
    template <class T> [[nodiscard]] QLIB_INLINE bool number(T& out) noexcept {
        std::span<const std::byte> raw;
        if (!take(sizeof(T), raw)) return false;
        out = static_cast<T>(load_little(raw.data(), sizeof(T)));
        return true;
    }
};

/// An array of trivial elements that grows by doubling: its memory follows what was put in, never what a file announced.
template <class T> class growing {
public:
    QLIB_INLINE growing() noexcept = default;
    QLIB_INLINE growing(growing&& other) noexcept : storage_(std::move(other.storage_)), size_(std::exchange(other.size_, 0)) {}
    QLIB_INLINE growing& operator=(growing&& other) noexcept {
        storage_ = std::move(other.storage_);
        std::swap(size_, other.size_);
        return *this;
    }
    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return size_; }
    [[nodiscard]] QLIB_INLINE T* data() noexcept { return storage_.data(); }
    [[nodiscard]] QLIB_INLINE const T* data() const noexcept { return storage_.data(); }
    [[nodiscard]] QLIB_INLINE T& operator[](std::size_t i) noexcept { return storage_[i]; }
    [[nodiscard]] QLIB_INLINE const T& operator[](std::size_t i) const noexcept { return storage_[i]; }
    [[nodiscard]] QLIB_INLINE std::span<const T> view() const noexcept { return {storage_.data(), size_}; }
    /// Forgets the elements from `size` on.
    QLIB_INLINE void cut(std::size_t size) noexcept { size_ = size; }

    /// Copies elements behind the last; they may not lie in this array. False, and no change, without memory.
    [[nodiscard]] QLIB_INLINE bool append(std::span<const T> items) noexcept {
        if (items.size() > storage_.size() - size_ && !reserve(saturating_add(size_, items.size()))) return false;
        if (!items.empty()) std::memcpy(static_cast<void*>(storage_.data() + size_), items.data(), items.size_bytes());
        size_ += items.size();
        return true;
    }
    [[nodiscard]] QLIB_INLINE bool append(const T& item) noexcept { return append(std::span<const T>(&item, 1)); }

private:
    QLIB_INLINE bool reserve(std::size_t needed) noexcept {
        const std::size_t doubled = saturating_multiply(storage_.size(), 2);
        buffer<T> larger;
        if (!larger.allocate(needed > doubled ? needed : doubled)) return false;
        if (size_ != 0) std::memcpy(static_cast<void*>(larger.data()), storage_.data(), size_ * sizeof(T));
        storage_ = std::move(larger);
        return true;
    }
    buffer<T> storage_;
    std::size_t size_ = 0;
};

}  // namespace qlib::inline v0::detail
// What JSON is: the checks of a text from strangers, and the steps over one that passed.
// Names of a file in sorted order: finds duplicates in O(n log n) and a name in O(log n). A hash table would need a secret
// seed, as names come from strangers who can choose colliding ones; a heap sort has no bad case.

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Negative, zero or positive as a stands before, with or behind b: bytes as unsigned numbers, a prefix first.
[[nodiscard]] inline int compare_names(std::string_view a, std::string_view b) noexcept {
    const std::size_t common = a.size() < b.size() ? a.size() : b.size();
    const int order = common != 0 ? std::memcmp(a.data(), b.data(), common) : 0;
    if (order != 0) return order;
    return a.size() < b.size() ? -1 : static_cast<int>(a.size() > b.size());
}

/// Moves heap[root] down until no child stands behind it.
template <class Before> void sift_down(std::size_t* heap, std::size_t root, std::size_t count, const Before& before) noexcept {
    while (root < count / 2) {
        std::size_t child = 2 * root + 1;
        if (child + 1 < count && before(heap[child], heap[child + 1])) ++child;
        if (!before(heap[root], heap[child])) return;
        std::swap(heap[root], heap[child]);
        root = child;
    }
}

/// Sorts the indices 0 .. order.size()-1, in memory that is there; before(a, b) is a strict order of all of them.
template <class Before> void sort_indices(buffer<std::size_t>& order, const Before& before) noexcept {
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = order.size() / 2; i-- > 0;) sift_down(order.data(), i, order.size(), before);
    for (std::size_t end = order.size(); end-- > 1;) {
        std::swap(order[0], order[end]);
        sift_down(order.data(), 0, end, before);
    }
}

/// Sorts the indices 0 .. count-1 by name_of(index), equal names by index. False without memory.
template <class NameOf>
[[nodiscard]] bool sort_names(buffer<std::size_t>& order, std::size_t count, const NameOf& name_of) noexcept {
    if (!order.allocate(count)) return false;
    sort_indices(order, [&](std::size_t a, std::size_t b) {
        const int c = compare_names(name_of(a), name_of(b));
        return c < 0 || (c == 0 && a < b);
    });
    return true;
}

/// The first position p of a sorted order whose name equals that of p + 1, the later index of the two; order.size() when all differ.
template <class NameOf>
[[nodiscard]] std::size_t find_duplicate(const buffer<std::size_t>& order, const NameOf& name_of) noexcept {
    for (std::size_t p = 0; p + 1 < order.size(); ++p)
        if (name_of(order[p]) == name_of(order[p + 1])) return p;
    return order.size();
}

/// The first index of a name in a sorted order; order.size() when it is not there.
template <class NameOf>
[[nodiscard]] std::size_t find_name(const buffer<std::size_t>& order, std::string_view name, const NameOf& name_of) noexcept {
    std::size_t low = 0, high = order.size();
    while (low < high) {
        const std::size_t middle = low + (high - low) / 2;
        if (compare_names(name_of(order[middle]), name) < 0) low = middle + 1;
        else high = middle;
    }
    return low < order.size() && name_of(order[low]) == name ? order[low] : order.size();
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t json_depth_limit = 64;

[[nodiscard]] inline std::size_t skip_space(std::string_view t, std::size_t at) noexcept {
    while (at < t.size() && (t[at] == ' ' || t[at] == '\n' || t[at] == '\r' || t[at] == '\t')) ++at;
    return at;
}

/// Behind the value at `at` of a text that passed the checks; never beyond the end of any other.
[[nodiscard]] inline std::size_t skip_value(std::string_view t, std::size_t at) noexcept {
    std::size_t depth = 0;
    for (bool in_string = false; at < t.size(); ++at) {
        const char c = t[at];
        if (in_string) {
            if (c == '\\') ++at;
            if (c != '"') continue;
            in_string = false;
            if (depth == 0) return at + 1;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            ++depth;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return at;
            if (--depth == 0) return at + 1;
        } else if (depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t')) {
            return at;
        }
    }
    return t.size();
}

[[nodiscard]] inline bool is_digit(std::string_view t, std::size_t at) noexcept {
    return at < t.size() && t[at] >= '0' && t[at] <= '9';
}

/// Moves behind a number. False when there is none.
[[nodiscard]] inline bool skip_number(std::string_view t, std::size_t& at) noexcept {
    if (at < t.size() && t[at] == '-') ++at;
    if (!is_digit(t, at)) return false;
    if (t[at] == '0') ++at;
    else while (is_digit(t, at)) ++at;
    if (at < t.size() && t[at] == '.') {
        if (!is_digit(t, ++at)) return false;
        while (is_digit(t, at)) ++at;
    }
    if (at < t.size() && (t[at] == 'e' || t[at] == 'E')) {
        ++at;
        if (at < t.size() && (t[at] == '-' || t[at] == '+')) ++at;
        if (!is_digit(t, at)) return false;
        while (is_digit(t, at)) ++at;
    }
    return true;
}

/// Bytes of the UTF-8 character at `at`; 0 when it is none: overlong, cut, a surrogate, beyond U+10FFFF.
[[nodiscard]] inline std::size_t utf8_length(std::string_view t, std::size_t at) noexcept {
    const auto byte = [&](std::size_t i) { return at + i < t.size() ? static_cast<unsigned char>(t[at + i]) : 0u; };
    const unsigned first = byte(0), second = byte(1);
    if (first < 0x80) return 1;
    const std::size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
    return length;
}
[[nodiscard]] inline bool is_utf8(std::string_view t) noexcept {
    for (std::size_t at = 0; at < t.size();) {
        const std::size_t n = utf8_length(t, at);
        if (n == 0) return false;
        at += n;
    }
    return true;
}

/// The four hexadecimal digits of \uXXXX at `at`, or a number beyond 16 bits.
[[nodiscard]] inline std::uint32_t hex_unit(std::string_view t, std::size_t at) noexcept {
    std::uint32_t unit = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
        const char c = i < t.size() ? t[i] : ' ';
        const std::uint32_t lower = static_cast<unsigned char>(c) | 0x20u;
        if (c >= '0' && c <= '9') unit = unit << 4 | static_cast<std::uint32_t>(c - '0');
        else if (lower >= 'a' && lower <= 'f') unit = unit << 4 | (lower - 'a' + 10);
        else return ~0u;
    }
    return unit;
}

/// The character behind a backslash at `at`, which moves behind it. False when there is no such escape.
[[nodiscard]] inline bool read_escape(std::string_view t, std::size_t& at, std::uint32_t& character) noexcept {
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (++at >= t.size()) return false;
    if (t[at] != 'u') {
        const std::size_t i = letters.find(t[at++]);
        if (i == std::string_view::npos) return false;
        character = static_cast<unsigned char>(meanings[i]);
        return true;
    }
    character = hex_unit(t, at + 1);
    at += 5;
    if (character < 0xD800 || (character >= 0xE000 && character < 0x10000)) return true;
    if (character >= 0xDC00 || at + 1 >= t.size() || t[at] != '\\' || t[at + 1] != 'u') return false;
    const std::uint32_t low = hex_unit(t, at + 2);
    at += 6;
    if (low < 0xDC00 || low > 0xDFFF) return false;
    character = 0x10000 + ((character - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

/// put(char) -> bool for each byte of the text that a string, in its quotes, means. False when put says so, or the string is cut.
template <class Put> [[nodiscard]] bool decode_string(std::string_view quoted, const Put& put) noexcept {
    const auto byte = [&](std::uint32_t b) { return put(static_cast<char>(static_cast<unsigned char>(b))); };
    for (std::size_t at = 1; at < quoted.size();) {
        if (quoted[at] == '"') return true;
        if (quoted[at] != '\\') {
            if (!put(quoted[at++])) return false;
            continue;
        }
        std::uint32_t c = 0;
        if (!read_escape(quoted, at, c)) return false;
        bool ok = true;
        if (c < 0x80) ok = byte(c);
        else if (c < 0x800) ok = byte(0xC0 | c >> 6) && byte(0x80 | (c & 0x3F));
        else if (c < 0x10000) ok = byte(0xE0 | c >> 12) && byte(0x80 | (c >> 6 & 0x3F)) && byte(0x80 | (c & 0x3F));
        else ok = byte(0xF0 | c >> 18) && byte(0x80 | (c >> 12 & 0x3F)) && byte(0x80 | (c >> 6 & 0x3F)) && byte(0x80 | (c & 0x3F));
        if (!ok) return false;
    }
    return false;
}
[[nodiscard]] inline bool has_escapes(std::string_view quoted) noexcept { return quoted.find('\\') != std::string_view::npos; }

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::detail {

/// Decoded strings of one document. They need no more bytes than their document has, which are allocated when the first one
/// with escapes comes; so they never move.
struct string_room {
    buffer<char> chars;
    std::size_t used = 0;

    /// The text of a string: in the document where it has no escapes, else here. False without memory.
    [[nodiscard]] QLIB_INLINE bool decode(std::string_view quoted, std::size_t document_bytes, std::string_view& out) noexcept {
        if (!has_escapes(quoted)) return out = quoted.substr(1, quoted.size() - 2), true;
        if (chars.size() == 0 && !chars.allocate(document_bytes)) return false;
        const std::size_t first = used;
        const auto put = [this](char c) QLIB_INLINE_LAMBDA { return used < chars.size() && (chars[used++] = c, true); };
        if (!decode_string(quoted, put)) return false;
        out = {chars.data() + first, used - first};
        return true;
    }
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// One pass over a text. No recursion: the open arrays and objects are a list of bounded length.
struct json_checker {
    std::string_view text;
    std::string_view value = {}, culprit = {};
    std::size_t at = 0;

    struct level { bool object = false; std::size_t first_key = 0; };
    std::array<level, json_depth_limit> open = {};
    std::size_t depth = 0;
    growing<std::string_view> keys = {};  // of all open objects; `quoted` holds the same as they are written
    growing<std::string_view> quoted = {};
    string_room decoded = {};

    [[nodiscard]] error broken(const char* rule) const noexcept { return {errc::malformed, rule, "JSON", {at, json_depth_limit}}; }
    [[nodiscard]] error ends_early() const noexcept {
        return {errc::truncated, "the text ends inside a value, at byte {0}", "JSON", {text.size()}};
    }
    [[nodiscard]] error unexpected(const char* rule) const noexcept { return at < text.size() ? broken(rule) : ends_early(); }

    status check() noexcept {
        at = skip_space(text, 0);
        const std::size_t first = at;
        bool complete = false;
        while (!complete) {
            if (status s = check_value(complete); !s) return s;
            while (complete && depth != 0)
                if (status s = check_separator(complete); !s) return s;
        }
        value = text.substr(first, at - first);
        at = skip_space(text, at);
        return at == text.size() ? status{} : status(broken("something follows the value, at byte {0}"));
    }

    /// A scalar, or the opening of an array or object: then `complete` stays false unless it is empty.
    status check_value(bool& complete) noexcept {
        at = skip_space(text, at);
        if (at == text.size()) return ends_early();
        const char c = text[at];
        complete = true;
        if (c == '"') return check_string();
        if (c == '{' || c == '[') return open_list(c == '{', complete);
        for (const std::string_view word : {std::string_view("true"), std::string_view("false"), std::string_view("null")})
            if (text.substr(at, word.size()) == word) return at += word.size(), status{};
        return skip_number(text, at) ? status{} : status(unexpected("no JSON value, at byte {0}"));
    }
    status open_list(bool object, bool& complete) noexcept {
        if (depth == json_depth_limit) return broken("nested deeper than {1}, at byte {0}");
        open[depth++] = {object, keys.size()};
        at = skip_space(text, at + 1);
        complete = at < text.size() && text[at] == (object ? '}' : ']');
        if (complete) return close_list();
        return object ? check_key() : status{};
    }
    /// Behind a value inside of a list: the end of the list, or what leads to the next value.
    status check_separator(bool& complete) noexcept {
        const bool object = open[depth - 1].object;
        at = skip_space(text, at);
        if (at < text.size() && text[at] == (object ? '}' : ']')) return close_list();
        if (at == text.size() || text[at] != ',') return unexpected("neither a comma nor the end of the list, at byte {0}");
        ++at;
        complete = false;
        return object ? check_key() : status{};
    }
    status close_list() noexcept {
        ++at;
        const level l = open[--depth];
        return l.object ? check_unique(l.first_key) : status{};
    }

    status check_key() noexcept {
        at = skip_space(text, at);
        const std::size_t first = at;
        if (at == text.size() || text[at] != '"') return unexpected("no key, at byte {0}");
        if (status s = check_string(); !s) return s;
        const std::string_view raw = text.substr(first, at - first);
        std::string_view key;
        if (!decoded.decode(raw, text.size(), key) || !keys.append(key) || !quoted.append(raw)) return out_of_memory(text.size());
        at = skip_space(text, at);
        if (at == text.size() || text[at] != ':') return unexpected("no colon behind a key, at byte {0}");
        ++at;
        return {};
    }
    status check_string() noexcept {
        for (++at; at < text.size() && text[at] != '"';) {
            if (static_cast<unsigned char>(text[at]) < 0x20) return broken("a control character in a string, at byte {0}");
            if (text[at] == '\\') {
                const std::size_t first = at;
                std::uint32_t c = 0;
                if (read_escape(text, at, c)) continue;
                if (at >= text.size()) return ends_early();
                at = first;
                return broken("no such escape, or half of a surrogate pair, at byte {0}");
            }
            const std::size_t n = utf8_length(text, at);
            if (n == 0) return broken("not UTF-8, at byte {0}");
            at += n;
        }
        if (at >= text.size()) return ends_early();
        ++at;
        return {};
    }

    /// Two programs may read an object with equal keys differently. Forgets the keys of the object.
    status check_unique(std::size_t first) noexcept {
        const std::size_t count = keys.size() - first, none = ~std::size_t{0};
        std::size_t twice = none;
        const auto key_of = [&](std::size_t i) { return keys[first + i]; };
        if (count <= 8) {  // most objects, without a sort
            for (std::size_t i = 1; i < count; ++i)
                for (std::size_t j = 0; j < i; ++j)
                    if (key_of(i) == key_of(j)) twice = i;
        } else {
            buffer<std::size_t> order;
            if (!sort_names(order, count, key_of)) return out_of_memory(count * sizeof(std::size_t));
            if (const std::size_t p = find_duplicate(order, key_of); p != count) twice = order[p + 1];
        }
        if (twice != none) {
            culprit = quoted[first + twice];
            at = static_cast<std::size_t>(culprit.data() - text.data());
            culprit = culprit.substr(1, culprit.size() - 2);
            return broken("a key that was there before, at byte {0}");
        }
        keys.cut(first);
        quoted.cut(first);
        return {};
    }
};

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
// The double nearest to a decimal number, exactly, without locale or heap.

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail {

/// An unsigned integer of up to 5376 bits: room for 10^1150 and 1024 bits more.
struct wide_integer {
    static constexpr std::size_t limit = 168;
    std::uint32_t limb[limit];  // the lowest first; those from `count` on are not set
    std::size_t count = 0;

    QLIB_INLINE void multiply_add(std::uint32_t factor, std::uint32_t term) noexcept {
        std::uint64_t carry = term;
        for (std::size_t i = 0; i < count; ++i) {
            carry += std::uint64_t{limb[i]} * factor;
            limb[i] = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        if (carry != 0 && count < limit) limb[count++] = static_cast<std::uint32_t>(carry);
    }
    QLIB_INLINE void shift_left(std::size_t bits) noexcept {
        for (; bits >= 31; bits -= 31) multiply_add(std::uint32_t{1} << 31, 0);
        multiply_add(std::uint32_t{1} << bits, 0);
    }
    [[nodiscard]] QLIB_INLINE std::size_t width() const noexcept {
        return count != 0 ? 32 * count - static_cast<std::size_t>(std::countl_zero(limb[count - 1])) : 0;
    }
    [[nodiscard]] QLIB_INLINE bool less_than(const wide_integer& other) const noexcept {
        if (count != other.count) return count < other.count;
        for (std::size_t i = count; i-- > 0;)
            if (limb[i] != other.limb[i]) return limb[i] < other.limb[i];
        return false;
    }
    /// Takes away what is not larger.
    QLIB_INLINE void subtract(const wide_integer& other) noexcept {
        std::uint64_t borrow = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t d = std::uint64_t{limb[i]} - (i < other.count ? other.limb[i] : 0) - borrow;
            limb[i] = static_cast<std::uint32_t>(d);
            borrow = d >> 63;
        }
        while (count != 0 && limb[count - 1] == 0) --count;
    }
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// quotient * 2^exponent, cut down to the 53 bits of a double (fewer where it is subnormal), halves to even. `sticky`: the true
/// value is a little larger. 2^63 <= quotient. False when it is too large.
[[nodiscard]] inline bool round_to_double(std::uint64_t quotient, int exponent, bool sticky, double& out) noexcept {
    int drop = 11;
    if (exponent + drop < -1074) drop = -1074 - exponent;
    if (drop > 64) return out = 0, true;
    const std::uint64_t kept = drop < 64 ? quotient >> drop : 0, rest = drop < 64 ? quotient << (64 - drop) : quotient;
    const std::uint64_t half = std::uint64_t{1} << 63;
    const std::uint64_t mantissa = kept + (rest > half || (rest == half && (sticky || (kept & 1) != 0)) ? 1 : 0);
    const int e = exponent + drop;  // the value is mantissa * 2^e, mantissa <= 2^53
    // The hidden bit carries into the exponent field: right for subnormals and for a mantissa that was rounded up to 2^53.
    const std::uint64_t hidden = std::uint64_t{1} << 52;
    const std::uint64_t bits = mantissa < hidden ? mantissa : (static_cast<std::uint64_t>(e + 1074) << 52) + mantissa;
    if (bits >= std::uint64_t{0x7FF} << 52) return false;
    out = std::bit_cast<double>(bits);
    return true;
}

/// The double nearest to a number in JSON's spelling. False when its magnitude is beyond the largest double.
/// Digits behind the 780th only count as "a little more": no midpoint of doubles has so many.
[[nodiscard]] inline bool decimal_to_double(std::string_view text, double& out) noexcept {
    constexpr std::size_t most_digits = 780;
    constexpr std::int64_t exponent_limit = 1'000'000'000;
    wide_integer number;
    std::size_t digits = 0, at = 0;
    std::int64_t point = 0, exponent = 0;  // the value is number * 10^(exponent + point)
    bool behind_point = false, more = false;
    const bool negative = !text.empty() && text[0] == '-';
    for (at = negative ? 1 : 0; at < text.size(); ++at) {
        const char c = text[at];
        if (c == '.') { behind_point = true; continue; }
        if (c < '0' || c > '9') break;
        if (digits == 0 && c == '0') { point -= behind_point ? 1 : 0; continue; }
        if (digits == most_digits) {
            more = more || c != '0';
            point += behind_point ? 0 : 1;
            continue;
        }
        ++digits;
        point -= behind_point ? 1 : 0;
        number.multiply_add(10, static_cast<std::uint32_t>(c - '0'));
    }
    if (at < text.size()) {  // e or E
        const bool minus = ++at < text.size() && text[at] == '-';
        if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
        for (; at < text.size(); ++at)
            if (exponent < exponent_limit) exponent = 10 * exponent + (text[at] - '0');
        if (minus) exponent = -exponent;
    }
    exponent += point;
    out = negative ? -0.0 : 0.0;
    const std::int64_t magnitude = static_cast<std::int64_t>(digits) + exponent;  // below 10^magnitude
    if (digits == 0 || magnitude < -330) return true;
    if (magnitude > 310) return false;
    wide_integer divisor;
    divisor.multiply_add(0, 1);
    for (; exponent > 0; --exponent) number.multiply_add(10, 0);
    for (; exponent < 0; ++exponent) divisor.multiply_add(10, 0);
    // Aligned so that the first bit of number / divisor is one; then 64 bits of it, by subtraction and doubling.
    int scale = static_cast<int>(number.width()) - static_cast<int>(divisor.width());
    if (scale > 0) divisor.shift_left(static_cast<std::size_t>(scale));
    else number.shift_left(static_cast<std::size_t>(-scale));
    if (number.less_than(divisor)) {
        number.shift_left(1);
        --scale;
    }
    std::uint64_t quotient = 0;
    for (int i = 0; i < 64; ++i) {
        quotient <<= 1;
        if (!number.less_than(divisor)) {
            number.subtract(divisor);
            quotient |= 1;
        }
        number.shift_left(1);
    }
    double value = 0;
    if (!round_to_double(quotient, scale - 63, more || number.count != 0, value)) return false;
    out = negative ? -value : value;
    return true;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

/// What a JSON value is; absent: there is none.
enum class json_type : std::uint8_t { absent, null, boolean, number, string, array, object };

struct json_value;
struct json_member;
template <class Item> class json_list;

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline result<json_value> parse_json(std::string_view text, std::string_view* culprit) noexcept;
inline json_type json_type_of(std::string_view text) noexcept;
inline result<std::uint64_t> json_uint(std::string_view text) noexcept;
inline result<std::int64_t> json_int(std::string_view text) noexcept;
inline result<double> json_float(std::string_view text) noexcept;
inline result<bool> json_bool(std::string_view text) noexcept;
inline result<std::string_view> json_string(std::string_view text, std::span<char> room) noexcept;
inline bool json_equals(std::string_view text, std::string_view wanted) noexcept;
inline json_value find_member(std::string_view object, std::string_view key) noexcept;
inline bool next_item(std::string_view list, std::size_t& at, json_value& item) noexcept;
inline bool next_item(std::string_view list, std::size_t& at, json_member& item) noexcept;

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// A value: its text, as it stands in the document, which must outlive it. One that comes from parse() is well formed; on any
/// other text the members are safe, and answer errors or nothing.
struct json_value {
    std::string_view text;

    /// Checks a document of one value.
    ///
    /// text     UTF-8, nested at most 64 deep
    /// culprit  set to the key that is there twice, as it is written, else emptied
    /// error    truncated when it ends inside a value; malformed for all else, as two equal keys in one object; sizes {byte}; memory
    /// source   RFC 8259, and of what it leaves open the strict side: no equal keys, no halves of surrogate pairs, no byte order mark
    [[nodiscard]] QLIB_INLINE static result<json_value> parse(std::string_view text, std::string_view* culprit = nullptr) noexcept;

    [[nodiscard]] QLIB_INLINE json_type type() const noexcept { return detail::json_type_of(text); }
    /// Whether there is a value.
    [[nodiscard]] QLIB_INLINE explicit operator bool() const noexcept { return !text.empty(); }

    // Getters. error: malformed, for a value of another kind, and for none.
    /// A number spelled as an integer, 0 to 2^64 - 1, exact.
    [[nodiscard]] QLIB_INLINE result<std::uint64_t> as_uint() const noexcept { return detail::json_uint(text); }
    /// A number spelled as an integer, -2^63 to 2^63 - 1, exact.
    [[nodiscard]] QLIB_INLINE result<std::int64_t> as_int() const noexcept { return detail::json_int(text); }
    /// The double nearest to any number. error: also malformed where it would be infinite.
    [[nodiscard]] QLIB_INLINE result<double> as_float() const noexcept { return detail::json_float(text); }
    [[nodiscard]] QLIB_INLINE result<bool> as_bool() const noexcept { return detail::json_bool(text); }
    /// The text of a string: in the document where it has no escapes, else decoded into `room`, which text.size() chars suffice for.
    /// error: also argument, when the room is too small
    [[nodiscard]] QLIB_INLINE result<std::string_view> as_string(std::span<char> room = {}) const noexcept {
        return detail::json_string(text, room);
    }
    /// Whether it is a string, and this one.
    [[nodiscard]] QLIB_INLINE bool is(std::string_view wanted) const noexcept { return detail::json_equals(text, wanted); }

    /// The member of an object; absent when it has none, and when this is no object. Linear in the object's text.
    [[nodiscard]] QLIB_INLINE json_value operator[](std::string_view key) const noexcept;
    /// The members of an object, in order; none of any other value.
    [[nodiscard]] QLIB_INLINE json_list<json_member> members() const noexcept;
    /// The elements of an array, in order; none of any other value.
    [[nodiscard]] QLIB_INLINE json_list<json_value> elements() const noexcept;
};

/// A key, itself a string, and its value.
struct json_member { json_value key, value; };

/// The items of an array or object, for a range-based for. Each is found by one pass over its text.
template <class Item> class json_list {
public:
    struct end_mark {};
    class iterator {
    public:
        QLIB_INLINE explicit iterator(std::string_view list) noexcept : list_(list) { ++*this; }
        [[nodiscard]] QLIB_INLINE Item operator*() const noexcept { return item_; }
        QLIB_INLINE iterator& operator++() noexcept {
            more_ = detail::next_item(list_, at_, item_);
            return *this;
        }
        [[nodiscard]] QLIB_INLINE bool operator!=(end_mark) const noexcept { return more_; }

    private:
        std::string_view list_;
        std::size_t at_ = 1;  // behind the bracket
        Item item_{};
        bool more_ = false;
    };
    QLIB_INLINE explicit json_list(std::string_view list) noexcept : list_(list) {}
    [[nodiscard]] QLIB_INLINE iterator begin() const noexcept { return iterator(list_); }
    [[nodiscard]] QLIB_INLINE end_mark end() const noexcept { return {}; }
    /// How many there are, counted by walking them.
    [[nodiscard]] QLIB_INLINE std::size_t count() const noexcept {
        std::size_t n = 0;
        for (iterator i = begin(); i != end(); ++i) ++n;
        return n;
    }

private:
    std::string_view list_;
};

QLIB_INLINE inline result<json_value> json_value::parse(std::string_view text, std::string_view* culprit) noexcept {
    return detail::parse_json(text, culprit);
}
QLIB_INLINE inline json_value json_value::operator[](std::string_view key) const noexcept { return detail::find_member(text, key); }
QLIB_INLINE inline json_list<json_member> json_value::members() const noexcept {
    return json_list<json_member>(type() == json_type::object ? text : std::string_view());
}
QLIB_INLINE inline json_list<json_value> json_value::elements() const noexcept {
    return json_list<json_value>(type() == json_type::array ? text : std::string_view());
}

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

[[nodiscard]] inline error not_json(const char* rule) noexcept { return {errc::malformed, rule, "JSON value", {}}; }

/// A getter's error as one of the file, about a field.
[[nodiscard]] inline error json_error(error e, const char* operand) noexcept {
    e.operand = operand;
    return e;
}

inline result<json_value> parse_json(std::string_view text, std::string_view* culprit) noexcept {
    json_checker checker{text};
    const status s = checker.check();
    if (culprit != nullptr) *culprit = checker.culprit;
    if (!s) return s.error();
    return json_value{checker.value};
}

inline json_type json_type_of(std::string_view text) noexcept {
    if (text.empty()) return json_type::absent;
    switch (text[0]) {
    case '{': return json_type::object;
    case '[': return json_type::array;
    case '"': return json_type::string;
    case 't': case 'f': return json_type::boolean;
    case 'n': return json_type::null;
    default: return json_type::number;
    }
}

/// The digits of an integer.
inline bool read_digits(std::string_view digits, std::uint64_t& out) noexcept {
    out = 0;
    for (const char c : digits)
        if (c < '0' || c > '9' || __builtin_mul_overflow(out, std::uint64_t{10}, &out) ||
            __builtin_add_overflow(out, static_cast<std::uint64_t>(c - '0'), &out))
            return false;
    return !digits.empty();
}

inline result<std::uint64_t> json_uint(std::string_view text) noexcept {
    std::uint64_t n = 0;
    if (text.empty()) return not_json("the value is missing");
    if (!read_digits(text, n)) return not_json("an integer from 0 to 2^64 - 1 is needed");
    return n;
}
inline result<std::int64_t> json_int(std::string_view text) noexcept {
    std::uint64_t n = 0;
    if (text.empty()) return not_json("the value is missing");
    const bool negative = text[0] == '-';
    if (!read_digits(text.substr(negative ? 1 : 0), n) || n > (std::uint64_t{1} << 63) - (negative ? 0 : 1))
        return not_json("an integer from -2^63 to 2^63 - 1 is needed");
    return static_cast<std::int64_t>(negative ? 0 - n : n);
}
inline result<double> json_float(std::string_view text) noexcept {
    double x = 0;
    if (text.empty()) return not_json("the value is missing");
    std::size_t at = 0;
    if (!skip_number(text, at) || at != text.size()) return not_json("a number is needed");
    if (!decimal_to_double(text, x)) return not_json("the number is larger than any double");
    return x;
}
inline result<bool> json_bool(std::string_view text) noexcept {
    if (text.empty()) return not_json("the value is missing");
    if (text != "true" && text != "false") return not_json("true or false is needed");
    return text == "true";
}
inline result<std::string_view> json_string(std::string_view text, std::span<char> room) noexcept {
    if (text.empty()) return not_json("the value is missing");
    if (text[0] != '"') return not_json("a string is needed");
    if (!has_escapes(text)) return text.size() < 2 ? std::string_view() : text.substr(1, text.size() - 2);
    std::size_t n = 0;
    const bool fits = decode_string(text, [&](char c) { return n < room.size() && (room[n++] = c, true); });
    if (!fits) return error{errc::argument, "{0} bytes of room for a string with escapes", "JSON value", {room.size()}};
    return std::string_view(room.data(), n);
}
inline bool json_equals(std::string_view text, std::string_view wanted) noexcept {
    if (text.empty() || text[0] != '"') return false;
    std::size_t n = 0;
    return decode_string(text, [&](char c) { return n < wanted.size() && wanted[n++] == c; }) && n == wanted.size();
}

inline json_value find_member(std::string_view object, std::string_view key) noexcept {
    for (const json_member m : json_value{object}.members())
        if (m.key.is(key)) return m.value;
    return {};
}

inline bool next_item(std::string_view list, std::size_t& at, json_value& item) noexcept {
    at = skip_space(list, at);
    if (at < list.size() && list[at] == ',') at = skip_space(list, at + 1);
    if (at >= list.size() || list[at] == ']' || list[at] == '}') return false;
    const std::size_t end = skip_value(list, at);
    item.text = list.substr(at, end - at);
    at = end;
    return !item.text.empty();
}
inline bool next_item(std::string_view list, std::size_t& at, json_member& item) noexcept {
    if (!next_item(list, at, item.key)) return false;
    at = skip_space(list, at);
    if (at >= list.size() || list[at] != ':') return false;
    ++at;
    return next_item(list, at, item.value);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
// safetensors_tensor: name, type, shape and place of one tensor of a safetensors file, and the types that there are.

namespace qlib::inline v0 {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // g++ 12 takes enumerators for names that hide qlib::f16 and qlib::bf16
/// What a tensor's elements are, in the order in which writers group tensors. Types below 8 bits count elements, not bytes.
enum class safetensors_type : std::uint8_t {
    boolean, f4, f6_e2m3, f6_e3m2, u8, i8, f8_e5m2, f8_e4m3, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz,
    i16, u16, f16, bf16, i32, u32, f32, c64, f64, i64, u64,
};
#pragma GCC diagnostic pop

/// One tensor. A weight matrix W[rows x k] has the shape {rows, k}.
struct safetensors_tensor {
    std::string_view name;                 ///< UTF-8 without zero bytes
    safetensors_type type{};
    std::span<const std::uint64_t> shape;  ///< elements along each dimension, the row length last; none: one element; 0 is allowed
    std::uint64_t offset = 0;              ///< bytes from the end of the header
    std::uint64_t bytes = 0;               ///< of data
    std::span<const std::byte> data;       ///< at any address; empty when the parsed span does not reach its end

    [[nodiscard]] QLIB_INLINE std::size_t n_dims() const noexcept { return shape.size(); }
    /// The last dimension; 1 without dimensions.
    [[nodiscard]] QLIB_INLINE std::uint64_t cols() const noexcept { return shape.empty() ? 1 : shape.back(); }
    /// The product of all others. Does not wrap for a tensor of a file.
    [[nodiscard]] QLIB_INLINE std::uint64_t rows() const noexcept {
        std::uint64_t n = 1;
        for (std::size_t d = 0; d + 1 < shape.size(); ++d) n *= shape[d];
        return n;
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

struct safetensors_type_info { std::string_view name; std::uint32_t bits; };

/// Indexed by safetensors_type. source: safetensors, tensor.rs
inline constexpr std::array<safetensors_type_info, 22> safetensors_types{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;  // the reference's
/// Of one tensor's elements and of all data, far from where adding a header's length could wrap.
inline constexpr std::uint64_t safetensors_size_limit = std::uint64_t{1} << 62;

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::inline QLIB_BASE {

/// Bits of one element.
[[nodiscard]] constexpr std::uint32_t safetensors_bits(safetensors_type type) noexcept {
    return static_cast<std::size_t>(type) < detail::safetensors_types.size()
               ? detail::safetensors_types[static_cast<std::size_t>(type)].bits
               : 0;
}
/// The name in files, "BF16".
[[nodiscard]] constexpr std::string_view safetensors_name(safetensors_type type) noexcept {
    return static_cast<std::size_t>(type) < detail::safetensors_types.size()
               ? detail::safetensors_types[static_cast<std::size_t>(type)].name
               : std::string_view();
}
/// The type of a name in a file. error: unsupported.
[[nodiscard]] inline result<safetensors_type> safetensors_type_named(std::string_view name) noexcept {
    for (std::size_t i = 0; i < detail::safetensors_types.size(); ++i)
        if (detail::safetensors_types[i].name == name) return static_cast<safetensors_type>(i);
    return error{errc::unsupported, "an unknown type", "dtype", {}};
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A broken rule of tensor number `index`, which stands in sizes[3].
[[nodiscard]] inline error safetensors_error(errc code, const char* rule, std::uint64_t index, std::uint64_t a = 0,
                                             std::uint64_t b = 0, std::uint64_t c = 0) noexcept {
    return {code, rule, "tensor", {a, b, c, index}};
}

/// The bytes of a shape. Every product is checked, with empty dimensions counted as 1, so that rows() cannot wrap either.
/// False when elements or bytes overflow; `whole` says whether the elements fill bytes.
[[nodiscard]] inline bool measure_shape(safetensors_type type, std::span<const std::uint64_t> shape, std::uint64_t& bytes,
                                        bool& whole) noexcept {
    std::uint64_t elements = 1, bits = 0;
    bool empty = false;
    for (const std::uint64_t n : shape) {
        empty |= n == 0;
        if (__builtin_mul_overflow(elements, n != 0 ? n : 1, &elements) || elements > safetensors_size_limit) return false;
    }
    if (empty) elements = 0;
    if (__builtin_mul_overflow(elements, std::uint64_t{safetensors_bits(type)}, &bits)) return false;
    whole = bits % 8 == 0;
    bytes = bits / 8;
    return true;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// What a file may ask for.
struct safetensors_limits {
    /// Bytes of the whole file when only its beginning is given; 0: all of it is given. Offsets are checked against it, and data
    /// spans that reach beyond the given bytes are empty. A beginning too short for the header is errc::truncated with
    /// sizes {bytes needed at least, bytes there}; when more than `file_size` are needed, the file itself was cut.
    std::uint64_t file_size = 0;
    std::uint64_t header_bytes = detail::safetensors_header_limit;  ///< of the header; the reference's cap
};

/// A key of a file's `__metadata__` and its value.
struct safetensors_entry { std::string_view key, value; };

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

/// What a parsed header says.
struct safetensors_tables {
    std::uint64_t data_start = 0;
    growing<safetensors_entry> metadata;
    buffer<safetensors_tensor> tensors;      // in the order of their data
    growing<std::uint64_t> dims;
    buffer<std::size_t> tensor_order;        // sorted by name
    string_room names;
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline status parse_safetensors(std::span<const std::byte> file, safetensors_limits limits, safetensors_tables& tables,
                                std::string_view* culprit) noexcept;
[[nodiscard]] inline std::size_t find_tensor(const safetensors_tables& tables, std::string_view name) noexcept {
    return find_name(tables.tensor_order, name, [&](std::size_t i) { return tables.tensors[i].name; });
}
[[nodiscard]] inline const std::string_view* find_metadata(const safetensors_tables& tables, std::string_view key) noexcept {
    for (const safetensors_entry& e : tables.metadata.view())
        if (e.key == key) return &e.value;
    return nullptr;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// A parsed safetensors file. Data, and names and metadata without escapes, point into the parsed bytes, which must outlive it.
class safetensors_file {
public:
    QLIB_INLINE safetensors_file(safetensors_file&&) noexcept = default;
    QLIB_INLINE safetensors_file& operator=(safetensors_file&&) noexcept = default;
    /// Reads and checks a header.
    ///
    /// file     the whole file, or its beginning with limits.file_size set; at any address
    /// culprit  set to the tensor name or key that an error speaks of, as the file spells it, else emptied. It may hold any UTF-8
    /// error    malformed or truncated for a broken rule, unsupported for an unknown type, memory; where the rule is one tensor's,
    ///          sizes[3] is its index in the header
    /// source   safetensors, tensor.rs and README.md; stricter where a later program could be led astray: no key twice, no zero
    ///          byte in a name, no unknown field
    [[nodiscard]] QLIB_INLINE static result<safetensors_file> parse(std::span<const std::byte> file, safetensors_limits limits = {},
                                                                    std::string_view* culprit = nullptr) noexcept {
        safetensors_file parsed;
        if (const status s = detail::parse_safetensors(file, limits, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    /// All tensors, in the order of their data, which have no gaps.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_tensor> tensors() const noexcept {
        return {tables_.tensors.data(), tables_.tensors.size()};
    }
    /// The tensor with a name, or null. Lives as long as the file object, and does not move with it.
    [[nodiscard]] QLIB_INLINE const safetensors_tensor* find(std::string_view name) const noexcept {
        const std::size_t i = detail::find_tensor(tables_, name);
        return i < tables_.tensors.size() ? &tables_.tensors[i] : nullptr;
    }
    /// All of `__metadata__`, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_entry> metadata() const noexcept { return tables_.metadata.view(); }
    /// The value of a key of `__metadata__`, or null.
    [[nodiscard]] QLIB_INLINE const std::string_view* metadata(std::string_view key) const noexcept {
        return detail::find_metadata(tables_, key);
    }
    /// Bytes from the start of the file to its data, where safetensors_tensor::offset counts from. Any number: old writers do not align.
    [[nodiscard]] QLIB_INLINE std::uint64_t data_start() const noexcept { return tables_.data_start; }

private:
    QLIB_INLINE safetensors_file() noexcept = default;
    detail::safetensors_tables tables_;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The steps from a header to the tables. Each stops at the first broken rule; `culprit` is the name read last.
struct safetensors_parser {
    std::span<const std::byte> file;
    safetensors_limits limits;  // file_size filled in
    safetensors_tables& tables;
    std::string_view culprit = {};
    std::string_view header = {};

    struct announced {
        safetensors_tensor tensor;
        std::string_view spelling;  // of the name
        std::size_t first_dim = 0, n_dims = 0;
    };
    growing<announced> found = {};  // in the header's order

    status parse() noexcept {
        if (status s = read_length(); !s) return s;
        std::string_view key;
        const auto root = json_value::parse(header, &key);
        if (!root) {
            culprit = key;
            error e = json_error(root.error(), "header");
            if (e.code == errc::truncated) e.code = errc::malformed;  // more bytes of the file would not help
            return e;
        }
        std::uint64_t index = 0;
        for (const json_member m : root->members()) {
            culprit = spelling_of(m.key);
            const bool is_metadata = m.key.is("__metadata__");
            if (status s = is_metadata ? read_metadata(m.value) : read_tensor(m, index); !s) return s;
            if (!is_metadata) ++index;
        }
        if (status s = place_tensors(); !s) return s;
        culprit = {};
        const auto name_of = [&](std::size_t i) { return tables.tensors[i].name; };
        return sort_names(tables.tensor_order, tables.tensors.size(), name_of) ? status{} : status(out_of_memory(header.size()));
    }

    [[nodiscard]] static std::string_view spelling_of(json_value string) noexcept {
        return string.text.substr(1, string.text.size() - 2);
    }

    status read_length() noexcept {
        const auto ends_early = [&](std::uint64_t needed) {
            return error{errc::truncated, "at least {0} bytes are needed, {1} are there", "header", {needed, file.size()}};
        };
        if (file.size() < 8) return ends_early(8);
        const std::uint64_t length = load_little(file.data(), 8);
        if (length > limits.header_bytes)
            return error{errc::malformed, "the header has {0} bytes, {1} are allowed", "header", {length, limits.header_bytes}};
        if (length > file.size() - 8) return ends_early(saturating_add(8, length));
        header = text_of(file.subspan(8, static_cast<std::size_t>(length)));
        tables.data_start = 8 + length;
        if (header.empty() || header[0] != '{') return error{errc::malformed, "a header begins with a brace", "header", {}};
        return {};
    }

    [[nodiscard]] bool decode(json_value string, std::string_view& out) noexcept {
        return tables.names.decode(string.text, header.size(), out);
    }

    status read_metadata(json_value map) noexcept {
        if (map.type() != json_type::object) return error{errc::malformed, "it must be a map of strings", "__metadata__", {}};
        for (const json_member m : map.members()) {
            culprit = spelling_of(m.key);
            if (m.value.type() != json_type::string) return error{errc::malformed, "a value that is no string", "__metadata__", {}};
            safetensors_entry entry;
            if (!decode(m.key, entry.key) || !decode(m.value, entry.value) || !tables.metadata.append(entry))
                return out_of_memory(header.size());
        }
        return {};
    }

    [[nodiscard]] error bad(std::uint64_t index, const char* rule, std::uint64_t a = 0, std::uint64_t b = 0) const noexcept {
        return safetensors_error(errc::malformed, rule, index, a, b);
    }
    status read_shape(json_value list, std::uint64_t index) noexcept {
        if (list.type() != json_type::array) return bad(index, "#{3} has a shape that is no list");
        for (const json_value v : list.elements()) {
            const auto n = v.as_uint();
            if (!n) return bad(index, "#{3} has a dimension that is no integer from 0 to 2^64 - 1");
            if (!tables.dims.append(*n)) return out_of_memory(header.size());
        }
        return {};
    }
    status read_offsets(json_value list, safetensors_tensor& t, std::uint64_t index) const noexcept {
        std::uint64_t pair[2] = {}, count = 0;
        for (const json_value v : list.elements()) {
            const auto n = v.as_uint();
            if (!n) return bad(index, "#{3} has an offset that is no integer from 0 to 2^64 - 1");
            if (count < 2) pair[count] = *n;
            ++count;
        }
        if (count != 2) return bad(index, "#{3} needs two data offsets");
        if (pair[1] < pair[0]) return bad(index, "#{3} has data from {0} to {1}", pair[0], pair[1]);
        t.offset = pair[0];
        t.bytes = pair[1] - pair[0];
        return {};
    }
    status read_tensor(json_member m, std::uint64_t index) noexcept {
        announced a{{}, culprit, tables.dims.size(), 0};
        safetensors_tensor& t = a.tensor;
        if (!decode(m.key, t.name)) return out_of_memory(header.size());
        if (t.name.find('\0') != std::string_view::npos) return bad(index, "#{3} has a zero byte in its name");
        if (m.value.type() != json_type::object) return bad(index, "#{3} is described by something that is no object");
        json_value dtype, shape, offsets;
        for (const json_member field : m.value.members()) {
            json_value* const known = field.key.is("dtype")          ? &dtype
                                      : field.key.is("shape")        ? &shape
                                      : field.key.is("data_offsets") ? &offsets
                                                                     : nullptr;
            if (known != nullptr) *known = field.value;  // others are ignored, as the reference does
        }
        if (!dtype || !shape || !offsets) return bad(index, "#{3} lacks one of dtype, shape and data_offsets");
        char room[64];
        const auto name = dtype.as_string(room);
        if (!name && dtype.type() != json_type::string) return bad(index, "#{3} has a dtype that is no string");
        const auto type = safetensors_type_named(name ? *name : std::string_view());
        if (!type) return safetensors_error(errc::unsupported, "#{3} has an unknown dtype", index);
        t.type = *type;
        if (status s = read_shape(shape, index); !s) return s;
        if (status s = read_offsets(offsets, t, index); !s) return s;
        const std::span<const std::uint64_t> dims = tables.dims.view().subspan(a.first_dim);
        std::uint64_t bytes = 0;
        bool whole = true;
        if (!measure_shape(t.type, dims, bytes, whole)) return bad(index, "#{3} has dimensions whose product overflows");
        if (!whole) return bad(index, "#{3} has elements that do not fill bytes");
        if (bytes != t.bytes) return bad(index, "#{3} has {0} bytes of data, its shape and dtype make {1}", t.bytes, bytes);
        a.n_dims = dims.size();
        return found.append(a) ? status{} : status(out_of_memory(header.size()));
    }

    /// The data must follow each other without a hole, from the header's end to the file's.
    status place_tensors() noexcept {
        buffer<std::size_t> order;
        if (!order.allocate(found.size()) || !tables.tensors.allocate(found.size())) return out_of_memory(header.size());
        sort_indices(order, [&](std::size_t i, std::size_t j) {
            const safetensors_tensor &x = found[i].tensor, &y = found[j].tensor;
            return x.offset != y.offset ? x.offset < y.offset : x.bytes != y.bytes ? x.bytes < y.bytes : i < j;
        });
        const std::uint64_t room = limits.file_size - tables.data_start;
        std::uint64_t end = 0;
        for (std::size_t p = 0; p < order.size(); ++p) {
            const announced& a = found[order[p]];
            safetensors_tensor t = a.tensor;
            culprit = a.spelling;
            if (t.offset != end) return bad(order[p], "#{3} has data from byte {0} on, those before it end at {1}", t.offset, end);
            end = saturating_add(end, t.bytes);
            if (end > room)
                return safetensors_error(errc::truncated, "#{3} ends at byte {0}, the file has {1}", order[p],
                                         saturating_add(tables.data_start, end), limits.file_size);
            t.shape = tables.dims.view().subspan(a.first_dim, a.n_dims);
            if (tables.data_start + end <= file.size())
                t.data = file.subspan(static_cast<std::size_t>(tables.data_start + t.offset), static_cast<std::size_t>(t.bytes));
            tables.tensors[p] = t;
        }
        culprit = {};
        if (end == room) return {};
        return error{errc::malformed, "{0} bytes follow the last tensor", "data", {room - end}};
    }
};

inline status parse_safetensors(std::span<const std::byte> file, safetensors_limits limits, safetensors_tables& tables,
                                std::string_view* culprit) noexcept {
    if (culprit != nullptr) *culprit = {};
    if (limits.file_size == 0) limits.file_size = file.size();
    if (limits.file_size < file.size())
        return error{errc::argument, "{0}, but {1} bytes are given", "safetensors_limits.file_size", {limits.file_size, file.size()}};
    safetensors_parser parser{file, limits, tables};
    const status s = parser.parse();
    if (culprit != nullptr && !s) *culprit = parser.culprit;
    return s;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// A tensor to be written for a matrix: the name behind the layer's ("model.layers.0.mlp.up_proj" + "." + suffix), type and shape.
struct checkpoint_part {
    std::string_view suffix;
    safetensors_type type{};
    std::size_t n_dims = 0;
    std::array<std::uint64_t, 2> dims{1, 1};  ///< 1 beyond n_dims
    std::uint64_t bytes = 0;

    [[nodiscard]] QLIB_INLINE std::span<const std::uint64_t> shape() const noexcept { return {dims.data(), n_dims}; }
};

/// The tensors of one matrix, known before its data are.
struct checkpoint_parts {
    std::array<checkpoint_part, 6> list{};
    std::size_t count = 0;

    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return count; }
    [[nodiscard]] QLIB_INLINE const checkpoint_part& operator[](std::size_t i) const noexcept { return list[i]; }
    [[nodiscard]] QLIB_INLINE const checkpoint_part* begin() const noexcept { return list.data(); }
    [[nodiscard]] QLIB_INLINE const checkpoint_part* end() const noexcept { return list.data() + count; }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline void add_part(checkpoint_parts& parts, std::string_view suffix, safetensors_type type, std::size_t n_dims, std::uint64_t rows,
                     std::uint64_t cols = 1) noexcept {
    const std::uint64_t bytes = saturating_multiply(saturating_multiply(rows, cols), safetensors_bits(type) / 8);
    parts.list[parts.count++] = {suffix, type, n_dims, {rows, cols}, bytes};
}

/// Says which part of a matrix is to be written, and whether `out` is what it needs.
inline status check_part(const checkpoint_parts& parts, std::size_t index, std::span<const std::byte> out) noexcept {
    if (index >= parts.count) return error{errc::argument, "part {0} of {1}", "part", {index, parts.count}};
    if (out.size() != parts[index].bytes)
        return error{errc::shape, "{0} bytes of room for a part of {1}", "part", {out.size(), parts[index].bytes}};
    return {};
}

/// Looks a layer's tensors up: for each suffix sets `slot` where the file has prefix.suffix, and leaves it alone where not.
struct part_lookup {
    std::string_view suffix;
    const safetensors_tensor** slot;
};
inline status find_parts(const safetensors_file& file, std::string_view prefix, std::span<const part_lookup> wanted) noexcept {
    growing<char> name;
    const auto append = [&](std::string_view text) { return name.append(std::span<const char>(text.data(), text.size())); };
    if (!append(prefix) || !append(".")) return out_of_memory(prefix.size());
    const std::size_t stem = name.size();
    for (const part_lookup& w : wanted) {
        name.cut(stem);
        if (!append(w.suffix)) return out_of_memory(prefix.size());
        if (const safetensors_tensor* const t = file.find({name.data(), name.size()}); t != nullptr) *w.slot = t;
    }
    return {};
}

/// A part that must be there with its data, and have a shape.
inline status check_tensor(const safetensors_tensor* t, const char* operand, std::size_t n_dims) noexcept {
    if (t == nullptr) return error{errc::malformed, "the tensor is missing", operand, {}};
    if (t->n_dims() != n_dims) return error{errc::malformed, "{0} dimensions, {1} are needed", operand, {t->n_dims(), n_dims}};
    if (t->data.size() != t->bytes)
        return error{errc::truncated, "the bytes given do not hold its {0} bytes of data", operand, {t->bytes}};
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// The tensors of one layer, wherever they were found. Null: not found. rows x cols weights are one run, in blocks of `blocksize`.
struct bitsandbytes_tensors {
    const safetensors_tensor* weight = nullptr;            ///< codes, two to a byte, whatever type the bytes are labelled with
    const safetensors_tensor* absmax = nullptr;            ///< f32 [blocks]; u8 when doubly quantized
    const safetensors_tensor* quant_map = nullptr;         ///< f32 [16]: the levels
    const safetensors_tensor* nested_absmax = nullptr;     ///< f32: of each nested_blocksize blocks
    const safetensors_tensor* nested_quant_map = nullptr;  ///< f32 [256]: the levels of absmax
    const safetensors_tensor* state_nf4 = nullptr;         ///< u8: JSON text. Exactly one of the two is there
    const safetensors_tensor* state_fp4 = nullptr;
};

/// What the text says, checked against the tensors.
struct bitsandbytes_state {
    std::uint64_t rows = 0, cols = 0;               ///< `shape`; rows are all dimensions but the last
    safetensors_type dtype = safetensors_type::f32; ///< of the weights before quantization: f16, bf16 or f32
    bool fp4 = false;                               ///< else nf4
    std::uint64_t blocksize = 0;                    ///< weights to an abs-max
    bool nested = false;                            ///< absmax is quantized itself: level * nested_absmax + nested_offset
    std::uint64_t nested_blocksize = 0;             ///< blocks to a nested_absmax
    float nested_offset = 0;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::uint64_t state_text_limit = 4096;  // real ones have some 200 bytes

[[nodiscard]] inline std::string_view state_dtype_name(safetensors_type t) noexcept {
    return t == safetensors_type::f16    ? "float16"
           : t == safetensors_type::bf16 ? "bfloat16"
           : t == safetensors_type::f32  ? "float32"
                                         : "";
}
[[nodiscard]] inline error bad_state(const char* rule, const char* operand) noexcept { return {errc::malformed, rule, operand, {}}; }

/// Float number i of an f32 tensor.
[[nodiscard]] inline float load_float(const safetensors_tensor& t, std::size_t i) noexcept {
    return float_of(static_cast<std::uint32_t>(load_little(t.data.data() + 4 * i, 4)));
}

/// A power of two from `least` to 4096, the sizes that bitsandbytes has.
inline status read_block_size(json_value v, const char* operand, std::uint64_t least, std::uint64_t& out) noexcept {
    const auto n = v.as_uint();
    if (!n) return json_error(n.error(), operand);
    if (*n < least || *n > 4096 || (*n & (*n - 1)) != 0)
        return error{errc::malformed, "{0} is no power of two from {1} to 4096", operand, {*n, least}};
    out = *n;
    return {};
}

inline status read_state_shape(json_value shape, bitsandbytes_state& s) noexcept {
    s.rows = s.cols = 1;
    std::size_t count = 0;
    for (const json_value v : shape.elements()) {
        const auto n = v.as_uint();
        if (!n) return json_error(n.error(), "quant_state.shape");
        if (*n == 0 || __builtin_mul_overflow(s.rows, s.cols, &s.rows))
            return bad_state("an empty dimension, or an overflow", "quant_state.shape");
        s.cols = *n;
        ++count;
    }
    std::uint64_t weights = 0;
    if (count == 0 || __builtin_mul_overflow(s.rows, s.cols, &weights) || weights > safetensors_size_limit)
        return bad_state("no dimensions, or their product overflows", "quant_state.shape");
    return {};
}

/// The fields of the text. Others than bitsandbytes writes are refused, as it does itself.
inline status read_state_fields(json_value root, bitsandbytes_state& s) noexcept {
    for (const json_member m : root.members()) {
        bool known = false;
        for (const std::string_view key :
             {"quant_type", "blocksize", "dtype", "shape", "nested_blocksize", "nested_dtype", "nested_offset"})
            known = known || m.key.is(key);
        if (!known) return bad_state("a field that bitsandbytes does not write", "quant_state");
    }
    const json_value type = root["quant_type"], dtype = root["dtype"];
    if (!type.is(s.fp4 ? "fp4" : "nf4")) return bad_state("not the type that the tensor's name says", "quant_state.quant_type");
    bool known = false;
    for (const safetensors_type t : {safetensors_type::f16, safetensors_type::bf16, safetensors_type::f32})
        if (dtype.is(state_dtype_name(t))) known = true, s.dtype = t;
    if (!known) return bad_state("none of float16, bfloat16 and float32", "quant_state.dtype");
    if (status read = read_block_size(root["blocksize"], "quant_state.blocksize", 32, s.blocksize); !read) return read;
    if (status read = read_state_shape(root["shape"], s); !read) return read;
    s.nested = static_cast<bool>(root["nested_blocksize"]);
    if (!s.nested) return {};
    if (status read = read_block_size(root["nested_blocksize"], "quant_state.nested_blocksize", 64, s.nested_blocksize); !read)
        return read;
    if (!root["nested_dtype"].is("float32")) return bad_state("float32 is needed", "quant_state.nested_dtype");
    const auto offset = root["nested_offset"].as_float();
    if (!offset) return json_error(offset.error(), "quant_state.nested_offset");
    s.nested_offset = static_cast<float>(*offset);
    return is_finite(s.nested_offset) ? status{} : status(bad_state("larger than any float", "quant_state.nested_offset"));
}

/// A list of `count` elements.
inline status check_list(const safetensors_tensor* t, const char* operand, safetensors_type type, std::uint64_t count) noexcept {
    if (status s = check_tensor(t, operand, 1); !s) return s;
    if (t->type == type && t->shape[0] == count) return {};
    return error{errc::malformed, "{0} elements of type {1}, where {2} of type {3} are needed", operand,
                 {t->shape[0], static_cast<std::uint64_t>(t->type), count, static_cast<std::uint64_t>(type)}};
}
inline status check_levels(const safetensors_tensor* t, const char* operand, std::uint64_t count) noexcept {
    if (status s = check_list(t, operand, safetensors_type::f32, count); !s) return s;
    for (std::size_t i = 0; i < count; ++i)
        if (!is_finite(load_float(*t, i))) return error{errc::malformed, "level {0} is not finite", operand, {i}};
    return {};
}

/// The tensors against what the text says of them.
inline status check_state_tensors(const bitsandbytes_tensors& t, const bitsandbytes_state& s) noexcept {
    if (t.weight == nullptr) return bad_state("the tensor is missing", "weight");
    if (status checked = check_tensor(t.weight, "weight", t.weight->n_dims()); !checked) return checked;
    const std::uint64_t weights = s.rows * s.cols, bytes = divide_up(weights, 2), blocks = divide_up(weights, s.blocksize);
    if (t.weight->bytes != bytes)
        return error{errc::malformed, "{0} bytes, {1} are needed for {2} weights", "weight", {t.weight->bytes, bytes, weights}};
    if (status checked = check_list(t.absmax, "absmax", s.nested ? safetensors_type::u8 : safetensors_type::f32, blocks);
        !checked)
        return checked;
    if (status checked = check_levels(t.quant_map, "quant_map", 16); !checked) return checked;
    if (!s.nested) {
        if (t.nested_absmax == nullptr && t.nested_quant_map == nullptr) return {};
        return bad_state("tensors of a second level, which the text does not know", "quant_state");
    }
    if (status checked =
            check_list(t.nested_absmax, "nested_absmax", safetensors_type::f32, divide_up(blocks, s.nested_blocksize));
        !checked)
        return checked;
    return check_levels(t.nested_quant_map, "nested_quant_map", 256);
}

/// The text of a state, as long as it will be for any offset: the rest is spaces. Returns the chars before them.
inline std::size_t write_state(const bitsandbytes_state& s, std::span<char> out) noexcept {
    json_writer json(out);
    json.open('{');
    json.key("quant_type");
    json.string(s.fp4 ? "fp4" : "nf4");
    json.key("blocksize");
    json.integer(s.blocksize);
    json.key("dtype");
    json.string(state_dtype_name(s.dtype));
    json.key("shape");
    json.open('[');
    json.integer(s.rows);
    json.integer(s.cols);
    json.close(']');
    if (s.nested) {
        json.key("nested_blocksize");
        json.integer(s.nested_blocksize);
        json.key("nested_dtype");
        json.string("float32");
        json.key("nested_offset");
        json.number(s.nested_offset);
    }
    json.close('}');
    for (std::size_t i = json.size(); i < out.size(); ++i) out[i] = ' ';
    return json.size();
}
[[nodiscard]] inline std::size_t state_text_size(bitsandbytes_state s) noexcept {
    s.nested_offset = -1.17549435e-38f;  // no float is longer in nine digits
    return write_state(s, {});
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Adds to `tensors` those of a layer that this file has. A layer may lie in several files: ask each. Without a state among them it is
/// not of this kind. Names behind the layer's that bitsandbytes does not use are ignored.
///
/// layer   "model.layers.0.self_attn.q_proj"
/// error   memory
inline status find_bitsandbytes(const safetensors_file& file, std::string_view layer, bitsandbytes_tensors& tensors) noexcept {
    const detail::part_lookup wanted[] = {{"weight", &tensors.weight},
                                          {"weight.absmax", &tensors.absmax},
                                          {"weight.quant_map", &tensors.quant_map},
                                          {"weight.nested_absmax", &tensors.nested_absmax},
                                          {"weight.nested_quant_map", &tensors.nested_quant_map},
                                          {"weight.quant_state.bitsandbytes__nf4", &tensors.state_nf4},
                                          {"weight.quant_state.bitsandbytes__fp4", &tensors.state_fp4}};
    return detail::find_parts(file, layer, wanted);
}

/// Reads and checks what a layer says of itself, so that a program knows which format to ask for.
///
/// tensors  of untrusted files
/// error    malformed for text that is none, a missing field or tensor, or a size that disagrees with the others; truncated; memory
[[nodiscard]] inline result<bitsandbytes_state> read_bitsandbytes_state(const bitsandbytes_tensors& tensors) noexcept {
    if ((tensors.state_nf4 != nullptr) == (tensors.state_fp4 != nullptr))
        return detail::bad_state(tensors.state_nf4 != nullptr ? "both an nf4 and an fp4 state" : "the tensor is missing",
                                 "quant_state");
    bitsandbytes_state state;
    state.fp4 = tensors.state_fp4 != nullptr;
    const safetensors_tensor& text = state.fp4 ? *tensors.state_fp4 : *tensors.state_nf4;
    if (status s = detail::check_list(&text, "quant_state", safetensors_type::u8, text.bytes); !s) return s.error();
    if (text.bytes > detail::state_text_limit)
        return error{errc::malformed, "a text of {0} bytes, {1} are allowed", "quant_state", {text.bytes, detail::state_text_limit}};
    const auto root = json_value::parse(detail::text_of(text.data));
    if (!root) {
        error e = detail::json_error(root.error(), "quant_state");
        e.code = e.code == errc::memory ? e.code : errc::malformed;
        return e;
    }
    if (status s = detail::read_state_fields(*root, state); !s) return s.error();
    if (status s = detail::check_state_tensors(tensors, state); !s) return s.error();
    return state;
}

}  // namespace qlib::inline v0::inline QLIB_BASE
QLIB_EXACT_END

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// The formats of these checkpoints.
template <class F> concept bitsandbytes_format = std::same_as<F, nf4> || std::same_as<F, nf4_dq>;

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t nf4_block = block_size<nf4>;
inline constexpr std::size_t nested_block = nf4_dq::tile.cols / nf4_block;  // blocks to an abs-max of the second level

/// visit(wire row, block in it, its weights, its number) -> status for each block, in storage order, until one fails.
template <class View, class Visit> status for_each_flat_block(const View& q, const Visit& visit) noexcept {
    const auto shape = wire_shape_of<typename View::format_type>(q.rows(), q.cols());
    std::size_t index = 0;
    for (std::size_t r = 0; r < shape.rows; ++r)
        for (std::size_t c = 0; c < shape.cols; c += nf4_block, ++index)
            if (status s = visit(r, c / nf4_block, smaller_size(nf4_block, shape.cols - c), index); !s) return s;
    return {};
}

/// The floats of a codebook tensor must be the format's own: then codes mean what they say. -0 for 0 would be another table.
inline bool same_table(const safetensors_tensor& t, std::span<const float> table) noexcept {
    for (std::size_t i = 0; i < table.size(); ++i)
        if (bits_of(load_float(t, i)) != bits_of(table[i])) return false;
    return true;
}

/// The abs-max of block i, as bitsandbytes decodes it.
[[nodiscard]] inline float absmax_of(const bitsandbytes_tensors& t, const bitsandbytes_state& state, std::size_t i) noexcept {
    if (!state.nested) return load_float(*t.absmax, i);
    const float level = load_float(*t.nested_quant_map, std::to_integer<std::size_t>(t.absmax->data[i]));
    return product(level, load_float(*t.nested_absmax, i / state.nested_blocksize)) + state.nested_offset;
}

/// What format F needs beyond a checkpoint that is well formed.
template <class F> status check_holds(const bitsandbytes_tensors& t, const bitsandbytes_state& state) noexcept {
    if (state.fp4) return error{errc::unsupported, "fp4, where nf4 is asked for", "quant_state", {}};
    if (state.blocksize != nf4_block)
        return error{
            errc::unsupported, "blocks of {0}, the format has blocks of {1}", "quant_state", {state.blocksize, nf4_block}};
    if (!same_table(*t.quant_map, nf4_levels)) return error{errc::unsupported, "the levels are not those of nf4", "quant_map", {}};
    if constexpr (std::same_as<F, nf4_dq>) {
        if (!state.nested) return error{errc::unsupported, "the abs-max are not quantized: read it as nf4", "quant_state", {}};
        if (state.nested_blocksize != nested_block)
            return error{errc::unsupported,
                         "abs-max in blocks of {0}, the format has blocks of {1}",
                         "quant_state",
                         {state.nested_blocksize, nested_block}};
        if (!same_table(*t.nested_quant_map, dynamic_map))
            return error{
                errc::unsupported, "the levels of the abs-max are not the usual ones: read it as nf4", "nested_quant_map", {}};
    }
    return {};
}

template <class F> status import_blocks(const bitsandbytes_tensors& t, const bitsandbytes_state& state, qspan<F> out) noexcept {
    const std::byte* codes = t.weight->data.data();
    return for_each_flat_block(out, [&](std::size_t r, std::size_t b, std::size_t n, std::size_t index) -> status {
        const auto planes = out.block(r, b);
        std::memcpy(planes[0], codes, divide_up(n, 2));
        codes += divide_up(n, 2);
        const float absmax = absmax_of(t, state, index);
        if (!is_finite(absmax)) return error{errc::non_finite, "block {0} has an abs-max that is not finite", "absmax", {index}};
        if constexpr (std::same_as<F, nf4_dq>) {
            *planes[1] = t.absmax->data[index];
            if (index % nested_block == 0)
                out.set_outer(index / nested_block, {load_float(*t.nested_absmax, index / nested_block), state.nested_offset});
        } else {
            store_little_endian(f32::from(absmax), planes[1]);
        }
        return {};
    });
}

/// The second level's values must have come one for each 256 blocks, counted from this view's first: a slice of rows may lie askew.
inline status export_nested(const qview<nf4_dq>& q, std::span<std::byte> out) noexcept {
    std::uint32_t current = 0;
    return for_each_flat_block(q, [&](std::size_t r, std::size_t b, std::size_t, std::size_t index) -> status {
        const nf4_dq::outer o = q.outer(r, b * nf4_block);
        if (!is_finite(o.second) || !is_finite(o.mean))
            return error{errc::non_finite, "block {0} has an outer value that is not finite", "W", {index}};
        if (index % nested_block == 0) {
            current = bits_of(o.second);
            store_little(out.data() + 4 * (index / nested_block), current, 4);
        }
        if (bits_of(o.second) == current) return {};
        return error{errc::unsliceable,
                     "block {0} does not share its abs-max' scale with the {1} blocks that it stands among",
                     "W",
                     {index, nested_block}};
    });
}

template <class F> status export_codes(const qview<F>& q, std::byte* out) noexcept {
    return for_each_flat_block(q, [&](std::size_t r, std::size_t b, std::size_t n, std::size_t) -> status {
        std::memcpy(out, q.block(r, b)[0], divide_up(n, 2));
        out += divide_up(n, 2);
        return {};
    });
}
template <class F> status export_absmax(const qview<F>& q, std::byte* out) noexcept {
    constexpr std::size_t width = F::planes[1];
    return for_each_flat_block(q, [&](std::size_t r, std::size_t b, std::size_t, std::size_t index) -> status {
        std::memcpy(out, q.block(r, b)[1], width);
        if constexpr (std::same_as<F, nf4>)
            if (!is_finite(load_little_endian<f32>(out).value()))
                return error{errc::non_finite, "block {0} has an abs-max that is not finite", "W", {index}};
        out += width;
        return {};
    });
}
inline void export_table(std::span<const float> table, std::byte* out) noexcept {
    for (std::size_t i = 0; i < table.size(); ++i) store_little_endian(f32::from(table[i]), out + 4 * i);
}

/// What is known of a matrix before its data are.
template <class F> bitsandbytes_state state_of(std::uint64_t rows, std::uint64_t cols, safetensors_type dtype) noexcept {
    bitsandbytes_state state{.rows = rows, .cols = cols, .dtype = dtype, .blocksize = nf4_block};
    state.nested = std::same_as<F, nf4_dq>;
    state.nested_blocksize = state.nested ? nested_block : 0;
    return state;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// The tensors that a matrix becomes: weight, weight.absmax, weight.quant_map, the state and, doubly quantized, two of the second level.
///
/// dtype  what the weights were before, which is what transformers decodes them to: f16, bf16 or f32
/// error  argument for another dtype; shape when the matrix is empty or does not fit in memory
template <bitsandbytes_format F>
[[nodiscard]] result<checkpoint_parts> bitsandbytes_parts(std::uint64_t rows, std::uint64_t cols, safetensors_type dtype) noexcept {
    using enum safetensors_type;
    if (detail::state_dtype_name(dtype).empty()) return error{errc::argument, "one of f16, bf16 and f32 is needed", "dtype", {}};
    if (status s = detail::check_shape<F>(rows, cols, "W"); !s) return s.error();
    if (rows == 0 || cols == 0) return error{errc::shape, "{0} x {1} weights", "W", {rows, cols}};
    const std::uint64_t count = rows * cols, blocks = detail::divide_up(count, detail::nf4_block);
    constexpr bool nested = std::same_as<F, nf4_dq>;
    checkpoint_parts parts;
    detail::add_part(parts, "weight", u8, 2, detail::divide_up(count, 2), 1);
    detail::add_part(parts, "weight.absmax", nested ? u8 : f32, 1, blocks);
    detail::add_part(parts, "weight.quant_map", f32, 1, nf4_levels.size());
    detail::add_part(parts, "weight.quant_state.bitsandbytes__nf4", u8, 1,
                     detail::state_text_size(detail::state_of<F>(rows, cols, dtype)));
    if constexpr (nested) {
        detail::add_part(parts, "weight.nested_absmax", f32, 1, detail::divide_up(blocks, detail::nested_block));
        detail::add_part(parts, "weight.nested_quant_map", f32, 1, detail::dynamic_map.size());
    }
    return parts;
}

/// Writes the data of one of bitsandbytes_parts<F>(q.rows(), q.cols(), dtype).
///
/// part   its index
/// out    as many bytes as it has
/// error  argument, shape; non_finite, sizes {block of 64}; unsliceable for rows of nf4_dq that do not begin where a second-level block does
template <bitsandbytes_format F>
status export_bitsandbytes(const qview<F>& q, safetensors_type dtype, std::size_t part, std::span<std::byte> out) noexcept {
    const auto parts = bitsandbytes_parts<F>(q.rows(), q.cols(), dtype);
    if (!parts) return parts.error();
    if (status s = detail::check_part(*parts, part, out); !s) return s;
    switch (part) {
    case 0: return detail::export_codes<F>(q, out.data());
    case 1: return detail::export_absmax<F>(q, out.data());
    case 2: detail::export_table(nf4_levels, out.data()); return {};
    case 3: {
        bitsandbytes_state state = detail::state_of<F>(q.rows(), q.cols(), dtype);
        if constexpr (std::same_as<F, nf4_dq>) state.nested_offset = q.outer(0, 0).mean;
        if (!detail::is_finite(state.nested_offset)) return error{errc::non_finite, "the mean abs-max is not finite", "W", {}};
        detail::write_state(state, {reinterpret_cast<char*>(out.data()), out.size()});
        return {};
    }
    case 4:
        if constexpr (std::same_as<F, nf4_dq>) return detail::export_nested(q, out);
        else return {};  // nf4 has no such part
    default: detail::export_table(detail::dynamic_map, out.data()); return {};
    }
}

template <bitsandbytes_format F>
status export_bitsandbytes(const qmatrix<F>& q, safetensors_type dtype, std::size_t part, std::span<std::byte> out) noexcept {
    return export_bitsandbytes<F>(q.view(), dtype, part, out);
}

/// Reads a layer into nf4 or nf4_dq. A doubly quantized one can also be read as nf4, with the abs-max that bitsandbytes would use.
///
/// tensors  of untrusted files
/// error    malformed for what is missing or disagrees; truncated; unsupported for fp4, other block sizes or levels; non_finite, sizes
///          {block of 64}; memory
/// exact    every code and abs-max is the checkpoint's
template <bitsandbytes_format F> [[nodiscard]] result<qmatrix<F>> import_bitsandbytes(const bitsandbytes_tensors& tensors) noexcept {
    const auto state = read_bitsandbytes_state(tensors);
    if (!state) return state.error();
    if (status s = detail::check_holds<F>(tensors, *state); !s) return s.error();
    auto matrix = qmatrix<F>::make(static_cast<std::size_t>(state->rows), static_cast<std::size_t>(state->cols));
    if (!matrix) return matrix.error();
    if (status s = detail::import_blocks<F>(tensors, *state, matrix->span()); !s) return s.error();
    return matrix;
}

}  // namespace qlib::inline v0::inline QLIB_BASE
QLIB_EXACT_END
// compressed-tensors' pack-quantized checkpoints (W4A16 and its kind) to and from the integer formats. Exact both ways: a decoded
// weight is (q - zero) * scale, in the bits of the format's own decoder.
//
//   auto parts = qlib::pack_quantized_parts<int4_g128>(rows, cols);         // names and shapes, before there are data
//   for (const auto& p : parts) check(out.add_tensor(layer + "." + p.suffix, p.type, p.shape()));
//   check(qlib::export_pack_quantized(matrix, 0, bytes));                   // the data of parts[0]
//
//   qlib::pack_quantized_tensors t;
//   for (const safetensors_file& file : shards) check(qlib::find_pack_quantized(file, layer, t));
//   auto matrix = qlib::import_pack_quantized<int4_g128>(t);                // result<qmatrix<int4_g128>>
//
// source: compressed-tensors, compressors/pack_quantized (Apache-2.0 project; its rules restated, no code taken)
// What config.json says of a checkpoint of compressed-tensors (llm-compressor, vLLM): quantization_config, read and written.

namespace qlib::inline v0 {

/// Formats that these checkpoints can hold: an int_format of 2 to 8 bits with one scale per group, and no offset.
template <class F> concept pack_quantizable = block_format<F> && requires {
    { F::spec } -> std::convertible_to<int_spec>;
    requires F::spec.bits >= 2 && F::spec.sym != symmetry::offset&& F::spec.granularity == granularity::group &&
        !F::spec.tensor_scale;
    requires F::spec.scale == scale_type::float32 || F::spec.scale == scale_type::float16 || F::spec.scale == scale_type::bfloat16;
};

/// How codes lie in the 32-bit words of pack-quantized tensors. The two are the same for 1, 2, 4 and 8 bits.
enum class pack_layout : std::uint8_t {
    by_size,       ///< what the number of words says; refused where it fits both and they differ
    dense,         ///< since the release after 0.16.0: one stream of bits, codes may lie across words
    whole_fields,  ///< until 0.16.0: 32 / bits codes in each word
};

/// What compressed-tensors calls a format: how a group's tensors are stored.
enum class compressed_format : std::uint8_t {
    dense,
    int_quantized,
    float_quantized,
    naive_quantized,
    pack_quantized,
    nvfp4_pack_quantized,
    mxfp4_pack_quantized,
    mxfp8_quantized,
    mixed_precision,
    sparse_bitmask,
    sparse_24_bitmask,
    marlin_24,
};

/// A checkpoint's quantization_config. The JSON values point into the parsed text.
struct compressed_tensors_config {
    compressed_format format{};
    pack_layout layout = pack_layout::by_size;  ///< what `version` says; by_size when there is none
    json_value groups;                          ///< an object: each member is one for read_scheme
    json_value ignore;                          ///< names of layers, or "re:" and a Python regular expression; may be absent
};

/// How the weights of one of its groups are quantized.
struct compressed_tensors_scheme {
    compressed_format format{};
    std::uint32_t bits = 0;
    bool is_float = false;      ///< fp8 or fp4 in place of integers
    bool symmetric = true;      ///< else there are zero points
    std::uint64_t group = 0;    ///< weights to a scale; 0: one scale per row, tensor, or 2-D block, see `strategy`
    json_value strategy;        ///< "group", "channel", "tensor", "block" ...
    json_value targets;         ///< names of layers or classes, or "re:" and a Python regular expression
    json_value activations;     ///< input_activations; absent or null: they stay float
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::array<std::string_view, 12> compressed_format_names{
    "dense", "int-quantized", "float-quantized", "naive-quantized", "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized",
    "mxfp8-quantized", "mixed-precision", "sparse-bitmask", "sparse-24-bitmask", "marlin-24"};

inline status read_compressed_format(json_value name, compressed_format& out) noexcept {
    if (name.type() != json_type::string) return error{errc::malformed, "a string is needed", "quantization_config.format", {}};
    for (std::size_t i = 0; i < compressed_format_names.size(); ++i)
        if (name.is(compressed_format_names[i])) return out = static_cast<compressed_format>(i), status{};
    return error{errc::unsupported, "a format that is not known", "quantization_config.format", {}};
}

/// "0.16.0" and all before it packed whole fields.
[[nodiscard]] inline pack_layout layout_of_version(std::string_view version) noexcept {
    std::uint64_t number[3] = {};
    std::size_t at = 0, parts = 0;
    for (; parts < 3; ++parts) {
        const std::size_t first = at;
        while (is_digit(version, at)) ++at;
        if (!read_digits(version.substr(first, at - first), number[parts])) break;
        if (at >= version.size() || version[at] != '.') { ++parts; break; }
        ++at;
    }
    if (parts < 2) return pack_layout::by_size;
    const bool later = number[0] != 0 || number[1] > 16 || (number[1] == 16 && (number[2] != 0 || at < version.size()));
    return later ? pack_layout::dense : pack_layout::whole_fields;
}

/// Absent and null count as not given.
[[nodiscard]] inline bool is_given(json_value v) noexcept { return v.type() != json_type::absent && v.type() != json_type::null; }

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Reads the quantization_config of a config.json; in older ones it is compression_config.
///
/// config  the whole config.json
/// error   malformed for what is missing or of another kind; unsupported for another quant_method or an unknown format
[[nodiscard]] inline result<compressed_tensors_config> read_compressed_tensors_config(json_value config) noexcept {
    json_value q = config["quantization_config"];
    if (!q) q = config["compression_config"];
    if (q.type() != json_type::object) return error{errc::malformed, "an object is needed", "quantization_config", {}};
    if (const json_value method = q["quant_method"]; detail::is_given(method) && !method.is("compressed-tensors"))
        return error{errc::unsupported, "another method than compressed-tensors", "quantization_config.quant_method", {}};
    compressed_tensors_config c;
    if (status s = detail::read_compressed_format(q["format"], c.format); !s) return s.error();
    char room[64];
    if (const auto version = q["version"].as_string(room)) c.layout = detail::layout_of_version(*version);
    c.groups = q["config_groups"];
    if (c.groups.type() != json_type::object)
        return error{errc::malformed, "an object is needed", "quantization_config.config_groups", {}};
    c.ignore = q["ignore"];
    if (detail::is_given(c.ignore) && c.ignore.type() != json_type::array)
        return error{errc::malformed, "a list is needed", "quantization_config.ignore", {}};
    return c;
}

/// Reads one of config.groups' members.
///
/// group  {"targets": [...], "weights": {...}, ...}
/// error  malformed for what is missing, of another kind, or out of range
[[nodiscard]] inline result<compressed_tensors_scheme> read_scheme(const compressed_tensors_config& config,
                                                                   json_value group) noexcept {
    const auto bad = [](const char* rule, const char* operand) { return error{errc::malformed, rule, operand, {}}; };
    const json_value w = group["weights"];
    if (w.type() != json_type::object) return bad("an object is needed", "weights");
    compressed_tensors_scheme s{.format = config.format,
                                .strategy = w["strategy"],
                                .targets = group["targets"],
                                .activations = group["input_activations"]};
    if (detail::is_given(group["format"]))
        if (status read = detail::read_compressed_format(group["format"], s.format); !read) return read.error();
    if (s.targets.type() != json_type::array) return bad("a list is needed", "targets");
    const auto bits = w["num_bits"].as_uint();
    if (!bits || *bits < 1 || *bits > 16) return bad("an integer from 1 to 16 is needed", "weights.num_bits");
    s.bits = static_cast<std::uint32_t>(*bits);
    if (const json_value type = w["type"]; detail::is_given(type)) {
        s.is_float = type.is("float");
        if (!s.is_float && !type.is("int")) return bad("\"int\" or \"float\" is needed", "weights.type");
    }
    if (const json_value symmetric = w["symmetric"]; detail::is_given(symmetric)) {
        const auto yes = symmetric.as_bool();
        if (!yes) return detail::json_error(yes.error(), "weights.symmetric");
        s.symmetric = *yes;
    }
    const json_value size = w["group_size"];
    if (detail::is_given(size) && !s.strategy.is("channel") && size.text != "-1") {  // -1: one per row
        const auto n = size.as_uint();
        if (!n || *n == 0) return bad("a positive integer is needed", "weights.group_size");
        s.group = *n;
    } else if (s.strategy.is("group") || s.strategy.is("tensor_group")) {
        return bad("a positive integer is needed", "weights.group_size");
    }
    return s;
}

/// Writes the object that stands behind "quantization_config" in a config.json, for a checkpoint whose linear layers all are in format F.
///
/// ignore   names of the linear layers that are not, as "lm_head"
/// out      gets as much as fits; may be empty
/// returns  the chars of the whole text, also where they did not fit
template <pack_quantizable F>
std::size_t write_compressed_tensors_config(std::span<const std::string_view> ignore, std::span<char> out) noexcept {
    detail::json_writer json(out);
    const auto text = [&](std::string_view key, std::string_view value) {
        json.key(key);
        json.string(value);
    };
    const auto list = [&](std::string_view key, std::span<const std::string_view> values) {
        json.key(key);
        json.open('[');
        for (const std::string_view v : values) json.string(v);
        json.close(']');
    };
    const auto object = [&](std::string_view key) {
        json.key(key);
        json.open('{');
    };
    const std::string_view targets[] = {"Linear"};
    json.open('{');
    text("quant_method", "compressed-tensors");
    text("format", "pack-quantized");
    text("quantization_status", "compressed");
    object("config_groups");
    object("group_0");
    list("targets", targets);
    object("weights");
    json.key("num_bits");
    json.integer(F::spec.bits);
    text("type", "int");
    json.key("symmetric");
    json.boolean(F::spec.sym != symmetry::zero_point);
    text("strategy", "group");
    json.key("group_size");
    json.integer(F::group);
    json.key("dynamic");
    json.boolean(false);
    for (int i = 0; i < 3; ++i) json.close('}');
    list("ignore", ignore);
    json.close('}');
    return json.size();
}

}  // namespace qlib::inline v0::inline QLIB_BASE

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// The tensors of one layer, wherever they were found. Null: not found. rows x cols weights in `groups` groups a row.
struct pack_quantized_tensors {
    const safetensors_tensor* weight_packed = nullptr;      ///< i32 [rows, words]
    const safetensors_tensor* weight_scale = nullptr;       ///< f16, bf16 or f32 [rows, groups]
    const safetensors_tensor* weight_zero_point = nullptr;  ///< i32 [words, groups], packed along the rows; of asymmetric ones
    const safetensors_tensor* weight_shape = nullptr;       ///< i64 or i32 [2] = rows, cols
    const safetensors_tensor* weight_g_idx = nullptr;       ///< i32 [cols]; only there when columns were reordered
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Words that `count` codes fill.
[[nodiscard]] inline std::uint64_t packed_words(std::uint64_t count, std::uint64_t bits, pack_layout layout) noexcept {
    if (layout == pack_layout::whole_fields) return divide_up(count, 32 / bits);
    return saturating_multiply(count / 32, bits) + divide_up(count % 32 * bits, 32);
}

/// Where code i of a line of words lies: the word, and its lowest bit there.
struct packed_place { std::size_t word, bit; };
[[nodiscard]] QLIB_INLINE inline packed_place place_of(std::size_t i, std::size_t bits, pack_layout layout) noexcept {
    if (layout != pack_layout::whole_fields) return {i * bits / 32, i * bits % 32};
    return {i / (32 / bits), i % (32 / bits) * bits};
}

/// Code i of a line of words `stride` bytes apart.
[[nodiscard]] QLIB_INLINE inline std::uint8_t load_packed(const std::byte* words, std::size_t stride, std::size_t i, std::size_t bits,
                                                         pack_layout layout) noexcept {
    const auto [word, bit] = place_of(i, bits, layout);
    std::uint64_t value = load_little(words + word * stride, 4) >> bit;
    if (bit + bits > 32) value |= load_little(words + (word + 1) * stride, 4) << (32 - bit);
    return static_cast<std::uint8_t>(value & ((1u << bits) - 1));
}
/// Stores code i into words that hold zeros there.
QLIB_INLINE inline void store_packed(std::byte* words, std::size_t stride, std::size_t i, std::size_t bits,
                                     std::uint8_t code) noexcept {
    const auto [word, bit] = place_of(i, bits, pack_layout::dense);
    const auto merge = [&](std::byte* p, std::uint64_t v)
                           QLIB_INLINE_LAMBDA { store_little(p, load_little(p, 4) | (v & 0xFFFFFFFFu), 4); };
    merge(words + word * stride, std::uint64_t{code} << bit);
    if (bit + bits > 32) merge(words + (word + 1) * stride, std::uint64_t{code} >> (32 - bit));
}

template <class F> consteval safetensors_type safetensors_scale_type() noexcept {
    return F::spec.scale == scale_type::float32   ? safetensors_type::f32
           : F::spec.scale == scale_type::float16 ? safetensors_type::f16
                                                  : safetensors_type::bf16;
}

/// Scale number i of a tensor.
[[nodiscard]] inline float load_scale(const safetensors_tensor& t, std::size_t i) noexcept {
    if (t.type == safetensors_type::f32) return load_little_endian<f32>(t.data.data() + 4 * i).value();
    const std::byte* const p = t.data.data() + 2 * i;
    return t.type == safetensors_type::f16 ? load_little_endian<f16>(p).value() : load_little_endian<bf16>(p).value();
}

/// The sizes of a layer that passed all checks.
struct pack_quantized_shape {
    std::size_t rows = 0, cols = 0, groups = 0;
    pack_layout layout = pack_layout::dense;
};

inline status check_type(const safetensors_tensor& t, const char* operand, std::initializer_list<safetensors_type> allowed) noexcept {
    for (const safetensors_type type : allowed)
        if (t.type == type) return {};
    return error{errc::malformed, "type {0} is none that this tensor can have", operand, {static_cast<std::uint64_t>(t.type)}};
}

/// weight_shape: the columns are known from nowhere else.
inline status read_weight_shape(const pack_quantized_tensors& t, pack_quantized_shape& shape) noexcept {
    if (status s = check_tensor(t.weight_shape, "weight_shape", 1); !s) return s;
    if (status s = check_type(*t.weight_shape, "weight_shape", {safetensors_type::i64, safetensors_type::i32}); !s) return s;
    if (t.weight_shape->shape[0] != 2)
        return error{errc::malformed, "{0} numbers, 2 are needed", "weight_shape", {t.weight_shape->shape[0]}};
    const std::size_t width = t.weight_shape->type == safetensors_type::i64 ? 8 : 4;
    const std::uint64_t rows = load_little(t.weight_shape->data.data(), width),
                        cols = load_little(t.weight_shape->data.data() + width, width);
    const std::uint64_t words = t.weight_packed->shape[1];
    if (rows != t.weight_packed->shape[0] || rows == 0)
        return error{errc::malformed, "{0} rows, weight_packed has {1}", "weight_shape", {rows, t.weight_packed->shape[0]}};
    if (cols == 0 || cols > saturating_multiply(words, 32))  // so that what follows cannot overflow; the exact rule comes later
        return error{errc::malformed, "{0} columns, weight_packed has rows of {1} words", "weight_shape", {cols, words}};
    shape.rows = static_cast<std::size_t>(rows);
    shape.cols = static_cast<std::size_t>(cols);
    return {};
}

/// The layout is the one with the number of words that the tensors have. `wanted` decides where both have it and differ.
inline status choose_layout(const pack_quantized_tensors& t, std::uint64_t bits, pack_layout wanted,
                            pack_quantized_shape& shape) noexcept {
    const std::uint64_t words = t.weight_packed->shape[1],
                        zero_words = t.weight_zero_point != nullptr ? t.weight_zero_point->shape[0] : 0;
    const std::size_t zeros = t.weight_zero_point != nullptr ? shape.rows : 0;
    const auto fits = [&](pack_layout layout) {
        return words == packed_words(shape.cols, bits, layout) && zero_words == packed_words(zeros, bits, layout);
    };
    const bool dense = fits(pack_layout::dense), whole = fits(pack_layout::whole_fields);
    if (!dense && !whole)
        return error{errc::malformed, "rows of {0} words for {1} codes of {2} bits, and {3} words of zero points", "weight_packed",
                     {words, shape.cols, bits, zero_words}};
    const bool same = 32 % bits == 0 || larger_size(shape.cols, zeros) <= 32 / bits;
    if (dense && whole && !same && wanted == pack_layout::by_size)
        return error{errc::unsupported,
                     "{0} columns of {1} bits fit two layouts: say which one it is",
                     "weight_packed",
                     {shape.cols, bits}};
    shape.layout = dense && whole && wanted != pack_layout::by_size ? wanted : dense ? pack_layout::dense : pack_layout::whole_fields;
    return {};
}

/// Column k must be in group k / group: an order of columns that only this tensor knows has no place in a matrix of rows.
inline status check_group_index(const safetensors_tensor* t, std::size_t group, const pack_quantized_shape& shape) noexcept {
    if (t == nullptr) return {};
    if (status s = check_tensor(t, "weight_g_idx", 1); !s) return s;
    if (status s = check_type(*t, "weight_g_idx", {safetensors_type::i32}); !s) return s;
    if (t->shape[0] != shape.cols)
        return error{errc::malformed, "{0} numbers for {1} columns", "weight_g_idx", {t->shape[0], shape.cols}};
    const auto at = [&](std::size_t k) { return static_cast<std::uint32_t>(load_little(t->data.data() + 4 * k, 4)); };
    const bool unset = at(0) == 0xFFFFFFFFu;  // -1 throughout: was never filled in, groups are in order
    bool in_order = true;
    for (std::size_t k = 0; k < shape.cols; ++k) {
        const std::uint32_t g = at(k);
        if (unset ? g != 0xFFFFFFFFu : g >= shape.groups)
            return error{errc::malformed, "column {0} is in group {1} of {2}", "weight_g_idx", {k, g, shape.groups}};
        in_order = in_order && (unset || g == k / group);
    }
    if (in_order) return {};
    return error{errc::unsupported, "the columns are reordered: only groups of neighbours can be read", "weight_g_idx", {}};
}

/// All checks that do not look at codes or scales.
inline status check_pack_quantized(const pack_quantized_tensors& t, std::uint64_t bits, std::size_t group, bool symmetric,
                                   pack_layout wanted, pack_quantized_shape& shape) noexcept {
    using enum safetensors_type;
    if (status s = check_tensor(t.weight_packed, "weight_packed", 2); !s) return s;
    if (status s = check_type(*t.weight_packed, "weight_packed", {i32}); !s) return s;
    if (status s = check_tensor(t.weight_scale, "weight_scale", 2); !s) return s;
    if (status s = check_type(*t.weight_scale, "weight_scale", {f16, bf16, f32}); !s) return s;
    if (status s = read_weight_shape(t, shape); !s) return s;
    if (symmetric && t.weight_zero_point != nullptr)
        return error{errc::unsupported, "the format asked for has no zero points", "weight_zero_point", {}};
    if (!symmetric) {
        if (status s = check_tensor(t.weight_zero_point, "weight_zero_point", 2); !s) return s;
        if (status s = check_type(*t.weight_zero_point, "weight_zero_point", {i32}); !s) return s;
    }
    if (status s = choose_layout(t, bits, wanted, shape); !s) return s;
    shape.groups = divide_up(shape.cols, group);
    const auto& scales = t.weight_scale->shape;
    if (scales[0] != shape.rows || scales[1] != shape.groups)
        return error{errc::malformed,
                     "{0} x {1} scales, {2} x {3} are needed",
                     "weight_scale",
                     {scales[0], scales[1], shape.rows, shape.groups}};
    if (!symmetric && t.weight_zero_point->shape[1] != shape.groups)
        return error{errc::malformed,
                     "zero points of {0} groups, {1} are needed",
                     "weight_zero_point",
                     {t.weight_zero_point->shape[1], shape.groups}};
    return check_group_index(t.weight_g_idx, group, shape);
}

/// The map of group g of row r. Negative scales and zeros are what AutoRound, and the formats here, write too.
template <class F> status load_params(const pack_quantized_tensors& t, const pack_quantized_shape& shape, std::size_t r,
                                      std::size_t g, typename F::params& p) noexcept {
    using scale = typename F::stored_scale;
    const float s = load_scale(*t.weight_scale, r * shape.groups + g);
    if (!is_finite(s)) return error{errc::non_finite, "the scale of row {0}, group {1} is not finite", "weight_scale", {r, g}};
    p.scale[0] = scale::from(s);
    if (bits_of(p.scale[0].value()) != bits_of(s))
        return error{
            errc::overflow, "the scale of row {0}, group {1} is no number of the format's scale type", "weight_scale", {r, g}};
    if constexpr (F::spec.sym == symmetry::zero_point)
        p.zeros[0] = load_packed(t.weight_zero_point->data.data() + 4 * g, 4 * shape.groups, r, F::spec.bits, shape.layout);
    return {};
}

template <class F> status import_rows(const pack_quantized_tensors& t, const pack_quantized_shape& shape, qspan<F> out) noexcept {
    const std::size_t pitch = 4 * static_cast<std::size_t>(t.weight_packed->shape[1]);
    for (std::size_t r = 0; r < shape.rows; ++r) {
        const std::byte* const row = t.weight_packed->data.data() + r * pitch;
        for (std::size_t g = 0; g < shape.groups; ++g) {
            const std::size_t first = g * F::group, n = smaller_size(F::group, shape.cols - first);
            std::array<typename F::code, F::group> code{};
            for (std::size_t i = 0; i < n; ++i) code[i] = load_packed(row, 4, first + i, F::spec.bits, shape.layout);
            typename F::params p{};
            if (status s = load_params<F>(t, shape, r, g, p); !s) return s;
            F::store(p, std::span<const typename F::code>(code).first(n), out.block(r, g));
        }
    }
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// The tensors that a matrix becomes: weight_packed, weight_scale, weight_shape and, with zero points, weight_zero_point.
template <pack_quantizable F> [[nodiscard]] checkpoint_parts pack_quantized_parts(std::uint64_t rows, std::uint64_t cols) noexcept {
    const std::uint64_t groups = detail::divide_up(cols, F::group);
    checkpoint_parts parts;
    detail::add_part(parts, "weight_packed", safetensors_type::i32, 2, rows,
                     detail::packed_words(cols, F::spec.bits, pack_layout::dense));
    detail::add_part(parts, "weight_scale", detail::safetensors_scale_type<F>(), 2, rows, groups);
    detail::add_part(parts, "weight_shape", safetensors_type::i64, 1, 2);
    if constexpr (F::spec.sym == symmetry::zero_point)
        detail::add_part(parts, "weight_zero_point", safetensors_type::i32, 2,
                         detail::packed_words(rows, F::spec.bits, pack_layout::dense), groups);
    return parts;
}

/// Writes the data of one of pack_quantized_parts<F>(q.rows(), q.cols()).
///
/// part   its index
/// out    as many bytes as it has
/// error  argument, shape; non_finite for a scale that is not finite, sizes {row, group}
template <pack_quantizable F> status export_pack_quantized(const qview<F>& q, std::size_t part, std::span<std::byte> out) noexcept {
    const checkpoint_parts parts = pack_quantized_parts<F>(q.rows(), q.cols());
    if (status s = detail::check_part(parts, part, out); !s) return s;
    if (out.empty()) return {};
    std::memset(out.data(), 0, out.size());
    if (part == 2) {
        detail::store_little(out.data(), q.rows(), 8);
        detail::store_little(out.data() + 8, q.cols(), 8);
        return {};
    }
    const std::size_t groups = detail::divide_up(q.cols(), F::group), words = static_cast<std::size_t>(parts[0].dims[1]);
    for (std::size_t r = 0; r < q.rows(); ++r) {
        for (std::size_t g = 0; g < groups; ++g) {
            const std::size_t first = g * F::group, n = part == 0 ? detail::smaller_size(F::group, q.cols() - first) : 0;
            std::array<typename F::code, F::group> code{};
            const auto p = F::load(q.block(r, g), {}, std::span(code).first(n));
            if (!detail::is_finite(p.scale[0].value()))
                return error{errc::non_finite, "the scale of row {0}, group {1} is not finite", "W", {r, g}};
            for (std::size_t i = 0; i < n; ++i) detail::store_packed(out.data() + 4 * words * r, 4, first + i, F::spec.bits, code[i]);
            if (part == 1) detail::store_little_endian(p.scale[0], out.data() + (r * groups + g) * sizeof(p.scale[0].bits));
            if constexpr (F::spec.sym == symmetry::zero_point)
                if (part == 3) detail::store_packed(out.data() + 4 * g, 4 * groups, r, F::spec.bits, p.zeros[0]);
        }
    }
    return {};
}

template <pack_quantizable F> status export_pack_quantized(const qmatrix<F>& q, std::size_t part, std::span<std::byte> out) noexcept {
    return export_pack_quantized<F>(q.view(), part, out);
}

/// Adds to `tensors` those of a layer that this file has. A layer may lie in several files: ask each.
///
/// layer   "model.layers.0.self_attn.q_proj"
/// error   memory
inline status find_pack_quantized(const safetensors_file& file, std::string_view layer, pack_quantized_tensors& tensors) noexcept {
    const detail::part_lookup wanted[] = {{"weight_packed", &tensors.weight_packed}, {"weight_scale", &tensors.weight_scale},
                                          {"weight_zero_point", &tensors.weight_zero_point}, {"weight_shape", &tensors.weight_shape},
                                          {"weight_g_idx", &tensors.weight_g_idx}};
    return detail::find_parts(file, layer, wanted);
}

/// Reads a layer into format F, whose bits, group and symmetry must be the checkpoint's.
///
/// tensors  of untrusted files
/// layout   as config.json's version has it (compressed_tensors_config::layout); only asked where the sizes leave it open
/// error    malformed for a tensor that is missing or whose type or shape disagrees with the others; truncated; unsupported for reordered
///          columns, zero points where F has none, or a layout that stays open; non_finite, and overflow for a scale that F's scale type
///          does not hold exactly, sizes {row, group}; memory
/// exact    every code, zero point and scale is the checkpoint's
template <pack_quantizable F>
[[nodiscard]] result<qmatrix<F>> import_pack_quantized(const pack_quantized_tensors& tensors,
                                                       pack_layout layout = pack_layout::by_size) noexcept {
    detail::pack_quantized_shape shape;
    constexpr bool symmetric = F::spec.sym != symmetry::zero_point;
    if (status s = detail::check_pack_quantized(tensors, F::spec.bits, F::group, symmetric, layout, shape); !s) return s.error();
    auto matrix = qmatrix<F>::make(shape.rows, shape.cols);
    if (!matrix) return matrix.error();
    if (status s = detail::import_rows<F>(tensors, shape, matrix->span()); !s) return s.error();
    return matrix;
}

}  // namespace qlib::inline v0::inline QLIB_BASE
QLIB_EXACT_END
// GGUF files: reading (gguf_file), writing (gguf_writer), models in several parts, and what a loader checks before it trusts a model's
// metadata and data.
// What llama.cpp asks with --check-tensors: that no scale and no plain float of a tensor's data is a NaN or an infinity. Decoding is
// memory-safe without it; this tells a damaged or badly quantized file from a good one.
// ggml's tensor types: the numbers that GGUF files hold, and the size of their blocks.

namespace qlib::inline v0 {

/// A tensor type of ggml. Rows are cut into blocks of `elements` values, each stored in `bytes` bytes.
struct ggml_type {
    std::string_view name;       ///< as ggml spells it: "f16", "q4_K"
    std::uint32_t elements = 0;
    std::uint32_t bytes = 0;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

/// Indexed by number. No elements: removed from ggml, never to be reused.
inline constexpr std::array<ggml_type, 43> ggml_types{{
    {"f32", 1, 4},          {"f16", 1, 2},          {"q4_0", 32, 18},       {"q4_1", 32, 20},       {"", 0, 0},
    {"", 0, 0},             {"q5_0", 32, 22},       {"q5_1", 32, 24},       {"q8_0", 32, 34},       {"q8_1", 32, 36},
    {"q2_K", 256, 84},      {"q3_K", 256, 110},     {"q4_K", 256, 144},     {"q5_K", 256, 176},     {"q6_K", 256, 210},
    {"q8_K", 256, 292},     {"iq2_xxs", 256, 66},   {"iq2_xs", 256, 74},    {"iq3_xxs", 256, 98},   {"iq1_s", 256, 50},
    {"iq4_nl", 32, 18},     {"iq3_s", 256, 110},    {"iq2_s", 256, 82},     {"iq4_xs", 256, 136},   {"i8", 1, 1},
    {"i16", 1, 2},          {"i32", 1, 4},          {"i64", 1, 8},          {"f64", 1, 8},          {"iq1_m", 256, 56},
    {"bf16", 1, 2},         {"", 0, 0},             {"", 0, 0},             {"", 0, 0},             {"tq1_0", 256, 54},
    {"tq2_0", 256, 66},     {"", 0, 0},             {"", 0, 0},             {"", 0, 0},             {"mxfp4", 32, 17},
    {"nvfp4", 64, 36},      {"q1_0", 128, 18},      {"q2_0", 64, 18},
}};

/// The numbers that ik_llama.cpp, a fork of ggml, gave to types of its own, as ranges {first, last}.
inline constexpr std::array<std::array<std::uint32_t, 2>, 15> fork_types{{
    {97, 99}, {133, 141}, {144, 158}, {202, 202}, {206, 206}, {208, 208}, {210, 214}, {216, 223}, {229, 230}, {233, 233},
    {335, 335}, {337, 340}, {344, 344}, {352, 353}, {397, 399},
}};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::inline QLIB_BASE {

/// The tensor type with a number.
///
/// id      the number in a GGUF file
/// error   unsupported, sizes {id}: unknown, removed from ggml, or of a fork, whose rows can have a header of their own
/// source  ggml.c, type_traits
[[nodiscard]] inline result<ggml_type> ggml_type_info(std::uint32_t id) noexcept {
    if (id < detail::ggml_types.size()) {
        if (detail::ggml_types[id].elements != 0) return detail::ggml_types[id];
        return error{errc::unsupported, "type {0} was removed from ggml", "tensor type", {id}};
    }
    for (const auto& range : detail::fork_types)
        if (id >= range[0] && id <= range[1])
            return error{errc::unsupported, "type {0} exists only in ik_llama.cpp, a fork of ggml", "tensor type", {id}};
    return error{errc::unsupported, "type {0} is unknown: ggml's types have the numbers 0 to 42", "tensor type", {id}};
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0::detail {

/// Floats of one block that must be finite: `count` of them, one behind the other from byte `at` on.
struct ggml_floats {
    enum class kind : std::uint8_t { none, f16, bf16, f32, f64, e8m0, iq1_m };
    kind what = kind::none;
    std::uint8_t at = 0, count = 1;
};

/// source  ggml-common.h, the block structs
[[nodiscard]] QLIB_INLINE constexpr ggml_floats ggml_floats_of(std::uint32_t type) noexcept {
    using enum ggml_floats::kind;
    switch (type) {
    case 0: return {f32};
    case 1: return {f16};
    case 3: case 7: case 9: case 12: case 13: return {f16, 0, 2};  // q4_1, q5_1, q8_1, q4_K, q5_K
    case 10: return {f16, 80, 2};                                   // q2_K
    case 11: return {f16, 108};                                     // q3_K
    case 14: return {f16, 208};                                     // q6_K
    case 15: return {f32};                                          // q8_K
    case 28: return {f64};
    case 29: return {iq1_m};
    case 30: return {bf16};
    case 34: return {f16, 52};                                      // tq1_0
    case 35: return {f16, 64};                                      // tq2_0
    case 39: return {e8m0};                                         // mxfp4
    case 2: case 6: case 8: case 16: case 17: case 18: case 19: case 20: case 21: case 22: case 23: case 41: case 42: return {f16};
    default: return {};  // integers; nvfp4, whose scales have no NaN in ggml's decoder
    }
}

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Whether all floats of a block are finite, by their exponents' bits.
template <ggml_floats::kind What> [[nodiscard]] bool has_finite_floats(const std::byte* block, ggml_floats floats) noexcept {
    using enum ggml_floats::kind;
    const std::byte* const p = block + floats.at;
    if constexpr (What == f16) {
        bool all = (load_little(p, 2) & 0x7C00) != 0x7C00;
        if (floats.count == 2) all &= (load_little(p + 2, 2) & 0x7C00) != 0x7C00;
        return all;
    } else if constexpr (What == bf16) {
        return (load_little(p, 2) & 0x7F80) != 0x7F80;
    } else if constexpr (What == f32) {
        return (load_little(p, 4) & 0x7F800000) != 0x7F800000;
    } else if constexpr (What == f64) {
        return (load_little(p, 8) & 0x7FF0000000000000) != 0x7FF0000000000000;
    } else if constexpr (What == e8m0) {
        return *p != std::byte{0xFF};
    } else {  // iq1_m: an f16 in the top nibbles of four 16-bit words
        std::uint64_t scale = 0;
        for (int i = 0; i < 4; ++i) scale |= (load_little(block + 48 + 2 * i, 2) >> 12) << (4 * i);
        return (scale & 0x7C00) != 0x7C00;
    }
}

/// The first of `count` blocks of `bytes` bytes that has a float that is not finite; `count` when none has.
template <ggml_floats::kind What>
[[nodiscard]] std::size_t first_bad_block(const std::byte* data, std::size_t bytes, std::size_t count, ggml_floats floats) noexcept {
    for (std::size_t b = 0; b < count; ++b)
        if (!has_finite_floats<What>(data + b * bytes, floats)) return b;
    return count;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Checks that all scales of quantized data, or all elements of f16, bf16, f32 and f64 data, are finite.
///
/// type    ggml's number, as in gguf_tensor::type
/// data    whole blocks, at any address: gguf_tensor::data
/// error   non_finite, sizes {block, its first element}; unsupported for a type that ggml does not have; ragged when blocks are cut
/// source  ggml_validate_row_data, which refuses all of Q8_1, and f64 beyond the range of f32
[[nodiscard]] inline status check_ggml_data(std::uint32_t type, std::span<const std::byte> data) noexcept {
    using enum detail::ggml_floats::kind;
    const auto info = ggml_type_info(type);
    if (!info) return info.error();
    if (data.size() % info->bytes != 0)
        return error{errc::ragged, "{0} bytes are no whole blocks of {1}", "tensor data", {data.size(), info->bytes}};
    const std::size_t count = data.size() / info->bytes;
    const detail::ggml_floats floats = detail::ggml_floats_of(type);
    std::size_t bad = count;
    switch (floats.what) {
    case none: break;
    case f16: bad = detail::first_bad_block<f16>(data.data(), info->bytes, count, floats); break;
    case bf16: bad = detail::first_bad_block<bf16>(data.data(), info->bytes, count, floats); break;
    case f32: bad = detail::first_bad_block<f32>(data.data(), info->bytes, count, floats); break;
    case f64: bad = detail::first_bad_block<f64>(data.data(), info->bytes, count, floats); break;
    case e8m0: bad = detail::first_bad_block<e8m0>(data.data(), info->bytes, count, floats); break;
    case iq1_m: bad = detail::first_bad_block<iq1_m>(data.data(), info->bytes, count, floats); break;
    }
    if (bad == count) return {};
    if (info->elements == 1) return error{errc::non_finite, "element {0} is not finite", "tensor data", {bad, bad}};
    return error{errc::non_finite, "block {0}, from element {1} on, has a scale that is not finite", "tensor data", {bad, bad * info->elements}};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// What a language model's loader relies on when it indexes by metadata: sizes of the vocabulary's tables, counts that divide or
// bound loops. A GGUF file can be well formed and still lie about all of them.
// gguf_file: reads the header of a GGUF file from foreign, untrusted bytes. Nothing is copied but the tables; memory follows
// the bytes that were read, never a count that a file announces.
//
//   std::string_view culprit;                                 // the key or tensor that an error speaks of
//   auto file = qlib::gguf_file::parse(bytes, {}, &culprit);
//   if (!file) { print(file.error().format(buffer, culprit)); return; }
//   const qlib::gguf_value* layers = file->find("llama.block_count");
//   for (const qlib::gguf_tensor& t : file->tensors()) use(t.name, t.type, t.rows(), t.cols(), t.data);
// gguf_tensor: name, shape, type and place of one tensor of a GGUF file, and the rules that its shape must keep.

namespace qlib::inline v0 {

/// One tensor. ne[0] is the length of a contiguous row, so a weight matrix W[rows x k] has ne = {k, rows, 1, 1}.
struct gguf_tensor {
    std::string_view name;                        ///< 1 to 63 bytes
    std::uint32_t n_dims = 0;                     ///< 0 to 4
    std::array<std::uint64_t, 4> ne{1, 1, 1, 1};  ///< elements along each dimension; 1 beyond n_dims; 0 is allowed
    std::uint32_t type = 0;                       ///< see ggml_type_info
    std::uint64_t offset = 0;                     ///< bytes from the start of the file's data section, a multiple of its alignment
    std::uint64_t bytes = 0;                      ///< of data; 0 when a dimension is 0
    std::span<const std::byte> data;              ///< at any address; empty when the parsed span does not reach its end

    [[nodiscard]] QLIB_INLINE std::uint64_t cols() const noexcept { return ne[0]; }
    [[nodiscard]] QLIB_INLINE std::uint64_t rows() const noexcept { return ne[1] * ne[2] * ne[3]; }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

inline constexpr std::uint32_t gguf_default_alignment = 32;
inline constexpr std::uint64_t gguf_alignment_limit = std::uint64_t{1} << 20;  // ggml has none; real files have 32 or 64
inline constexpr std::size_t gguf_name_limit = 63;                            // ggml holds 64 bytes with the terminator
inline constexpr std::size_t gguf_key_limit = 65535;
/// Of one tensor's elements and bytes, far from where rounding up or adding a file's length could wrap.
inline constexpr std::uint64_t gguf_size_limit = std::uint64_t{1} << 62;

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// A broken rule of tensor or metadata pair number `index`, which stands in sizes[3].
[[nodiscard]] inline error gguf_error(errc code, const char* rule, const char* operand, std::uint64_t index,
                                      std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) noexcept {
    return {code, rule, operand, {a, b, c, index}};
}

[[nodiscard]] inline error bad_tensor(std::uint64_t index, const char* rule, std::uint64_t a = 0, std::uint64_t b = 0) noexcept {
    return gguf_error(errc::malformed, rule, "tensor", index, a, b);
}

/// Checks a key or tensor name as readers must. A NUL would make two names equal for programs that pass them on as C strings.
inline status check_name(std::string_view name, std::size_t longest, const char* operand, std::uint64_t index) noexcept {
    if (name.empty()) return gguf_error(errc::malformed, "#{3} has an empty name", operand, index);
    if (name.size() > longest)
        return gguf_error(errc::malformed, "#{3} has a name of {0} bytes, {1} are allowed", operand, index, name.size(), longest);
    if (__builtin_memchr(name.data(), 0, name.size()) != nullptr)
        return gguf_error(errc::malformed, "#{3} has a zero byte in its name", operand, index);
    return {};
}

/// Checks type and shape of tensor `index`, and sets its bytes. Every product is checked, with empty dimensions counted as 1,
/// so that rows() of a tensor that passed cannot wrap either.
inline status measure_tensor(gguf_tensor& t, std::uint64_t index) noexcept {
    const auto type = ggml_type_info(t.type);
    if (!type) {
        error e = type.error();
        e.sizes[3] = index;
        return e;
    }
    std::uint64_t elements = 1;
    bool empty = false;
    for (const std::uint64_t n : t.ne) {
        if (n >> 63 != 0) return bad_tensor(index, "#{3} has a negative dimension");
        empty |= n == 0;
        if (__builtin_mul_overflow(elements, n != 0 ? n : 1, &elements) || elements > gguf_size_limit)
            return bad_tensor(index, "#{3} has dimensions whose product overflows");
    }
    if (t.ne[0] % type->elements != 0)
        return bad_tensor(index, "#{3} has rows of {0} elements, its type stores blocks of {1}", t.ne[0], type->elements);
    if (__builtin_mul_overflow(elements / type->elements, type->bytes, &t.bytes) || t.bytes > gguf_size_limit)
        return bad_tensor(index, "#{3} has dimensions whose size in bytes overflows");
    if (empty) t.bytes = 0;
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
// gguf_value: one metadata value of a GGUF file, still in the file's bytes, with getters that check the stored type.

namespace qlib::inline v0 {

/// What a metadata value is. The numbers of the file.
enum class gguf_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct gguf_value;

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline result<std::uint64_t> gguf_uint(const gguf_value& v) noexcept;
inline result<std::int64_t> gguf_int(const gguf_value& v) noexcept;
inline result<double> gguf_float(const gguf_value& v) noexcept;
inline result<bool> gguf_bool(const gguf_value& v) noexcept;
inline result<std::string_view> gguf_text(const gguf_value& v) noexcept;
inline result<gguf_value> gguf_element(const gguf_value& v, std::uint64_t i) noexcept;

/// Bytes of one number of a type; 0 for strings, arrays and unknown types.
[[nodiscard]] constexpr std::size_t gguf_number_bytes(gguf_type type) noexcept {
    constexpr std::uint8_t bytes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return static_cast<std::uint32_t>(type) < 13 ? bytes[static_cast<std::uint32_t>(type)] : 0;
}

/// The string at the front of `rest`, which moves behind it. What is cut off counts as empty.
[[nodiscard]] QLIB_INLINE inline std::string_view next_string(byte_cursor& rest) noexcept {
    std::uint64_t length = 0;
    std::span<const std::byte> text;
    if (!rest.number(length) || !rest.take(length, text)) rest.at = rest.bytes.size();
    return text_of(text);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// The strings of a value, in order: for (std::string_view s : value.strings()). They lie in the file's bytes.
class gguf_strings {
public:
    struct end_mark {};
    class iterator {
    public:
        QLIB_INLINE explicit iterator(std::span<const std::byte> rest) noexcept : rest_{rest} {}
        [[nodiscard]] QLIB_INLINE std::string_view operator*() const noexcept {
            detail::byte_cursor here = rest_;
            return detail::next_string(here);
        }
        QLIB_INLINE iterator& operator++() noexcept {
            static_cast<void>(detail::next_string(rest_));
            return *this;
        }
        [[nodiscard]] QLIB_INLINE bool operator!=(end_mark) const noexcept { return rest_.left() != 0; }

    private:
        detail::byte_cursor rest_;
    };
    QLIB_INLINE explicit gguf_strings(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
    [[nodiscard]] QLIB_INLINE iterator begin() const noexcept { return iterator(bytes_); }
    [[nodiscard]] QLIB_INLINE end_mark end() const noexcept { return {}; }

private:
    std::span<const std::byte> bytes_;
};

/// A metadata value. One that parse() made is well formed; on any other the getters are safe, and answer errors or nothing.
struct gguf_value {
    gguf_type type{};                  ///< array, or what the one element is
    gguf_type element_type{};          ///< of an array's elements; else as `type`
    std::uint64_t count = 0;           ///< elements; 1 where the value is no array
    std::span<const std::byte> bytes;  ///< the elements as in the file: packed numbers, or strings each behind its u64 length

    [[nodiscard]] QLIB_INLINE bool is_array() const noexcept { return type == gguf_type::array; }

    // The one element of a value that is no array. error: malformed, sizes {type of the value}, when it is of another kind.
    /// An integer of any width that is not negative. Writers disagree on u32, u64 and i32 for counts.
    [[nodiscard]] QLIB_INLINE result<std::uint64_t> as_uint() const noexcept { return detail::gguf_uint(*this); }
    /// An integer of any width that fits.
    [[nodiscard]] QLIB_INLINE result<std::int64_t> as_int() const noexcept { return detail::gguf_int(*this); }
    /// An f32 or f64.
    [[nodiscard]] QLIB_INLINE result<double> as_float() const noexcept { return detail::gguf_float(*this); }
    [[nodiscard]] QLIB_INLINE result<bool> as_bool() const noexcept { return detail::gguf_bool(*this); }
    /// The text in the file's bytes: not terminated, and not checked to be UTF-8.
    [[nodiscard]] QLIB_INLINE result<std::string_view> as_string() const noexcept { return detail::gguf_text(*this); }

    /// Element i of an array of numbers or booleans, as a value of its own: v.at(i)->as_uint(). error: argument when i >= count
    /// or the value is no such array. Strings have no constant-time access: walk strings().
    [[nodiscard]] QLIB_INLINE result<gguf_value> at(std::uint64_t i) const noexcept { return detail::gguf_element(*this, i); }
    /// The strings of an array of strings, or the one of a string; none for any other type.
    [[nodiscard]] QLIB_INLINE gguf_strings strings() const noexcept {
        return gguf_strings(element_type == gguf_type::string ? bytes : std::span<const std::byte>{});
    }
};

/// A key and its value, both in the file's bytes.
struct gguf_entry {
    std::string_view key;
    gguf_value value;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

[[nodiscard]] inline error wrong_type(const gguf_value& v, const char* rule) noexcept {
    return {errc::malformed, rule, "metadata value", {static_cast<std::uint64_t>(v.type)}};
}

/// The bits of a number, sign-extended to 64; false when the value is no integer.
[[nodiscard]] inline bool gguf_integer(const gguf_value& v, std::uint64_t& bits, bool& negative) noexcept {
    const std::size_t bytes = gguf_number_bytes(v.type);
    const bool real = v.type == gguf_type::f32 || v.type == gguf_type::f64 || v.type == gguf_type::boolean;
    if (bytes == 0 || real || v.bytes.size() != bytes) return false;
    const bool is_signed =
        v.type == gguf_type::i8 || v.type == gguf_type::i16 || v.type == gguf_type::i32 || v.type == gguf_type::i64;
    bits = load_little(v.bytes.data(), bytes);
    negative = is_signed && bits >> (8 * bytes - 1) != 0;
    if (negative && bytes < 8) bits |= ~std::uint64_t{0} << (8 * bytes);
    return true;
}

inline result<std::uint64_t> gguf_uint(const gguf_value& v) noexcept {
    std::uint64_t bits = 0;
    bool negative = false;
    if (!gguf_integer(v, bits, negative)) return wrong_type(v, "value type {0} where an integer is needed");
    if (negative) return wrong_type(v, "a negative number where none is allowed");
    return bits;
}

inline result<std::int64_t> gguf_int(const gguf_value& v) noexcept {
    std::uint64_t bits = 0;
    bool negative = false;
    if (!gguf_integer(v, bits, negative)) return wrong_type(v, "value type {0} where an integer is needed");
    if (!negative && bits >> 63 != 0) return wrong_type(v, "a number of 2^63 or more where a signed one is needed");
    return static_cast<std::int64_t>(bits);
}

inline result<double> gguf_float(const gguf_value& v) noexcept {
    if (v.type == gguf_type::f32 && v.bytes.size() == 4)
        return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(load_little(v.bytes.data(), 4))));
    if (v.type == gguf_type::f64 && v.bytes.size() == 8) return std::bit_cast<double>(load_little(v.bytes.data(), 8));
    return wrong_type(v, "value type {0} where a floating-point number is needed");
}

inline result<bool> gguf_bool(const gguf_value& v) noexcept {
    if (v.type != gguf_type::boolean || v.bytes.size() != 1) return wrong_type(v, "value type {0} where a boolean is needed");
    return v.bytes[0] != std::byte{0};
}

inline result<std::string_view> gguf_text(const gguf_value& v) noexcept {
    byte_cursor rest{v.bytes};
    const std::string_view text = next_string(rest);
    if (v.type != gguf_type::string || v.bytes.size() != 8 + text.size())
        return wrong_type(v, "value type {0} where a string is needed");
    return text;
}

inline result<gguf_value> gguf_element(const gguf_value& v, std::uint64_t i) noexcept {
    const std::size_t bytes = gguf_number_bytes(v.element_type);
    if (!v.is_array() || bytes == 0)
        return error{errc::argument, "only arrays of numbers have elements that can be reached by index", "metadata value", {}};
    if (i >= v.count || i >= v.bytes.size() / bytes)
        return error{errc::argument, "element {0} of an array of {1}", "metadata value", {i, v.count}};
    return gguf_value{v.element_type, v.element_type, 1, v.bytes.subspan(static_cast<std::size_t>(i) * bytes, bytes)};
}

/// Moves `in` behind `count` elements of a type that is no array. The error has sizes {bytes needed, bytes there} when they
/// are not there, and none of the elements is kept: memory does not follow `count`.
inline status skip_elements(byte_cursor& in, gguf_type type, std::uint64_t count, std::uint64_t longest) noexcept {
    const auto ends_early = [&](std::uint64_t more) {
        const std::size_t needed = saturating_add(in.at, more);
        return error{errc::truncated, "at least {0} bytes are needed, {1} are there", "metadata", {needed, in.bytes.size()}};
    };
    const std::size_t each = type == gguf_type::string ? 8 : gguf_number_bytes(type);  // at least
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(count, each, &bytes) || bytes > in.left()) return ends_early(saturating_multiply(count, each));
    if (type == gguf_type::string) {
        for (std::uint64_t i = 0; i < count; ++i) {
            std::uint64_t length = 0;
            std::span<const std::byte> text;
            if (!in.number(length)) return ends_early(8);
            if (length > longest)
                return error{errc::malformed, "a string of {0} bytes, {1} are allowed", "metadata", {length, longest}};
            if (!in.take(length, text)) return ends_early(length);
        }
        return {};
    }
    std::span<const std::byte> numbers;
    static_cast<void>(in.take(bytes, numbers));
    if (type == gguf_type::boolean)
        for (const std::byte b : numbers)
            if (b > std::byte{1})
                return error{errc::malformed, "a boolean of {0}: it must be 0 or 1", "metadata", {static_cast<std::uint64_t>(b)}};
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// What a file may ask for.
struct gguf_limits {
    /// Bytes of the whole file when only its beginning is given; 0: all of it is given. Offsets are checked against it, and data
    /// spans that reach beyond the given bytes are empty. A beginning too short for the header is errc::truncated with
    /// sizes {bytes needed at least, bytes there}; when more than `file_size` are needed, the file itself was cut.
    std::uint64_t file_size = 0;
    std::uint64_t string_bytes = std::uint64_t{1} << 30;  ///< of one string; ggml's cap
    std::uint64_t array_count = std::uint64_t{1} << 30;   ///< elements of one array; ggml's cap
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

/// What a parsed header says.
struct gguf_tables {
    std::uint32_t version = 0, alignment = gguf_default_alignment;
    std::uint64_t data_start = 0;
    growing<gguf_entry> entries;
    growing<gguf_tensor> tensors;
    buffer<std::size_t> entry_order, tensor_order;  // sorted by name
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

[[nodiscard]] inline std::size_t find_entry(const gguf_tables& tables, std::string_view key) noexcept {
    return find_name(tables.entry_order, key, [&](std::size_t i) { return tables.entries[i].key; });
}
[[nodiscard]] inline std::size_t find_tensor(const gguf_tables& tables, std::string_view name) noexcept {
    return find_name(tables.tensor_order, name, [&](std::size_t i) { return tables.tensors[i].name; });
}

[[nodiscard]] inline error bad_pair(std::uint64_t index, const char* rule, std::uint64_t a = 0, std::uint64_t b = 0) noexcept {
    return gguf_error(errc::malformed, rule, "metadata", index, a, b);
}

/// One pass over a header. Each step stops at the first broken rule; `culprit` is the key or name read last.
struct gguf_parser {
    byte_cursor in;
    gguf_limits limits;  // file_size filled in
    gguf_tables& tables;
    std::string_view culprit = {};
    std::uint64_t entry_count = 0, tensor_count = 0;

    [[nodiscard]] error ends_early(std::uint64_t more, const char* operand, std::uint64_t index = 0) const noexcept {
        return gguf_error(errc::truncated, "at least {0} bytes are needed, {1} are there", operand, index,
                          saturating_add(in.at, more), in.bytes.size());
    }
    status check_count(std::uint64_t count, std::uint64_t least, const char* rule) const noexcept {
        if (count <= (limits.file_size - in.at) / least) return {};
        const std::size_t needed = saturating_add(in.at, saturating_multiply(count, least));
        return error{errc::truncated, rule, "header", {needed, limits.file_size, count}};
    }

    status read_header() noexcept {
        std::span<const std::byte> magic;
        if (!in.take(4, magic)) return ends_early(4, "header");
        if (text_of(magic) != "GGUF") return error{errc::malformed, "no GGUF file: its first four bytes are others", "header", {}};
        std::uint32_t& version = tables.version;
        if (!in.number(version)) return ends_early(4, "header");
        if (version != 0 && (version & 0xFFFF) == 0)
            return error{errc::unsupported, "a big-endian GGUF file: its version reads as {0}", "header", {version}};
        if (version != 2 && version != 3)
            return error{errc::unsupported, "GGUF version {0}: 2 and 3 are supported", "header", {version}};
        if (!in.number(tensor_count) || !in.number(entry_count)) return ends_early(8, "header");
        // The shortest pair: a key of one byte and a value of one. The shortest tensor: a name of one byte and no dimension.
        if (status s = check_count(entry_count, 8 + 1 + 4 + 1, "{2} metadata pairs need at least {0} bytes, {1} are there"); !s)
            return s;
        return check_count(tensor_count, 8 + 1 + 4 + 4 + 8, "{2} tensors need at least {0} bytes, {1} are there");
    }

    status read_name(std::string_view& name, std::size_t longest, const char* operand, std::uint64_t index) noexcept {
        culprit = {};
        std::uint64_t length = 0;
        std::span<const std::byte> text;
        if (!in.number(length)) return ends_early(8, operand, index);
        if (length > longest)  // before take(): an absurd length is no reason to ask for more of the file
            return gguf_error(errc::malformed, "#{3} has a name of {0} bytes, {1} are allowed", operand, index, length, longest);
        if (!in.take(length, text)) return ends_early(length, operand, index);
        name = culprit = text_of(text);
        return check_name(name, longest, operand, index);
    }

    status read_pair(std::uint64_t index) noexcept {
        gguf_entry entry;
        if (status s = read_name(entry.key, gguf_key_limit, "metadata", index); !s) return s;
        gguf_value& v = entry.value;
        std::uint32_t type = 0;
        if (!in.number(type)) return ends_early(4, "metadata", index);
        v.type = v.element_type = static_cast<gguf_type>(type);
        v.count = 1;
        if (v.is_array()) {
            if (!in.number(type) || !in.number(v.count)) return ends_early(8, "metadata", index);
            v.element_type = static_cast<gguf_type>(type);
            if (v.element_type == gguf_type::array)
                return gguf_error(errc::unsupported, "#{3} is an array of arrays", "metadata", index);
            if (v.count > limits.array_count)
                return bad_pair(index, "#{3} is an array of {0} elements, {1} are allowed", v.count, limits.array_count);
        }
        if (v.element_type != gguf_type::string && gguf_number_bytes(v.element_type) == 0)
            return bad_pair(index, "#{3} has the unknown value type {0}", type);
        const std::size_t first = in.at;
        if (status s = skip_elements(in, v.element_type, v.count, limits.string_bytes); !s) {
            error e = s.error();
            e.sizes[3] = index;
            return e;
        }
        v.bytes = in.bytes.subspan(first, in.at - first);
        return tables.entries.append(entry) ? status{} : status(out_of_memory(sizeof entry));
    }

    /// general.alignment is read before the tensors, whose offsets depend on it.
    status read_alignment() noexcept {
        const std::size_t found = find_entry(tables, "general.alignment");
        if (found == tables.entries.size()) return {};
        const gguf_value& v = tables.entries[found].value;
        culprit = tables.entries[found].key;
        if (v.type != gguf_type::u32)
            return bad_pair(found, "the alignment has value type {0}, it must be a u32", static_cast<std::uint64_t>(v.type));
        const std::uint64_t alignment = load_little(v.bytes.data(), 4);
        if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > gguf_alignment_limit)
            return bad_pair(found, "the alignment {0} is no power of two from 1 to {1}", alignment, gguf_alignment_limit);
        tables.alignment = static_cast<std::uint32_t>(alignment);
        return {};
    }

    /// `end` is the first byte behind the tensors so far. Gaps are harmless and allowed; order and overlaps are not negotiable.
    status read_tensor(std::uint64_t index, std::uint64_t& end) noexcept {
        gguf_tensor t;
        if (status s = read_name(t.name, gguf_name_limit, "tensor", index); !s) return s;
        if (!in.number(t.n_dims)) return ends_early(4, "tensor", index);
        if (t.n_dims > 4) return bad_tensor(index, "#{3} has {0} dimensions, 4 are allowed", t.n_dims);
        for (std::uint32_t d = 0; d < t.n_dims; ++d)
            if (!in.number(t.ne[d])) return ends_early(8, "tensor", index);
        if (!in.number(t.type) || !in.number(t.offset)) return ends_early(8, "tensor", index);
        if (status s = measure_tensor(t, index); !s) return s;
        if (t.offset % tables.alignment != 0)
            return bad_tensor(index, "#{3} has offset {0}, no multiple of the alignment {1}", t.offset, tables.alignment);
        if (t.offset < end)
            return bad_tensor(index, "#{3} has offset {0}, inside or before the data up to {1} of those before it", t.offset, end);
        if (__builtin_add_overflow(t.offset, t.bytes, &end))
            return bad_tensor(index, "#{3} has offset {0}, which overflows", t.offset);
        return tables.tensors.append(t) ? status{} : status(out_of_memory(sizeof t));
    }

    /// Where the data is. Compared with the file's true length, tensor by tensor; the padding of the last one may be missing.
    status place_tensors() noexcept {
        tables.data_start = round_up(in.at, tables.alignment);
        for (std::size_t i = 0; i < tables.tensors.size(); ++i) {
            gguf_tensor& t = tables.tensors[i];
            culprit = t.name;
            const std::uint64_t start = saturating_add(tables.data_start, t.offset), end = saturating_add(start, t.bytes);
            if (end > limits.file_size)
                return gguf_error(errc::truncated, "#{3} ends at byte {0}, the file has {1}", "tensor", i, end, limits.file_size);
            if (end <= in.bytes.size())
                t.data = in.bytes.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(t.bytes));
        }
        return {};
    }

    /// Sorts names and refuses two that are equal.
    template <class NameOf>
    status index_names(buffer<std::size_t>& order, std::size_t count, const char* operand, const NameOf& name_of) noexcept {
        if (!sort_names(order, count, name_of)) return out_of_memory(count * sizeof(std::size_t));
        const std::size_t p = find_duplicate(order, name_of);
        if (p == count) return {};
        culprit = name_of(order[p]);
        return gguf_error(errc::malformed, "#{0} and #{3} have the same name", operand, order[p + 1], order[p]);
    }

    status parse() noexcept {
        if (status s = read_header(); !s) return s;
        for (std::uint64_t i = 0; i < entry_count; ++i)
            if (status s = read_pair(i); !s) return s;
        culprit = {};
        const auto key_of = [&](std::size_t i) { return tables.entries[i].key; };
        if (status s = index_names(tables.entry_order, tables.entries.size(), "metadata", key_of); !s) return s;
        if (status s = read_alignment(); !s) return s;
        std::uint64_t end = 0;
        for (std::uint64_t i = 0; i < tensor_count; ++i)
            if (status s = read_tensor(i, end); !s) return s;
        const auto name_of = [&](std::size_t i) { return tables.tensors[i].name; };
        if (status s = index_names(tables.tensor_order, tables.tensors.size(), "tensor", name_of); !s) return s;
        return place_tensors();
    }
};

inline status parse_gguf(std::span<const std::byte> file, gguf_limits limits, gguf_tables& tables,
                         std::string_view* culprit) noexcept {
    if (culprit != nullptr) *culprit = {};
    if (limits.file_size == 0) limits.file_size = file.size();
    if (limits.file_size < file.size())
        return error{errc::argument, "{0}, but {1} bytes are given", "gguf_limits.file_size", {limits.file_size, file.size()}};
    gguf_parser parser{{file}, limits, tables};
    const status s = parser.parse();
    if (culprit != nullptr && !s) *culprit = parser.culprit;
    return s;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// A parsed GGUF file of version 2 or 3. Names, values and data point into the parsed bytes, which must outlive it.
class gguf_file {
public:
    QLIB_INLINE gguf_file(gguf_file&&) noexcept = default;
    QLIB_INLINE gguf_file& operator=(gguf_file&&) noexcept = default;
    /// Reads and checks a header.
    ///
    /// file     the whole file, or its beginning with limits.file_size set; at any address
    /// culprit  set to the key or tensor name that an error speaks of, else emptied. It may hold any bytes of the file
    /// error    malformed or truncated for a broken rule, unsupported for what other programs may read, memory; where the
    ///          rule is one tensor's or pair's, sizes[3] is its index
    /// source   ggml, docs/gguf.md and gguf.cpp; stricter where a later program could be led astray: names without zero bytes,
    ///          booleans of 0 and 1, bounded alignment
    [[nodiscard]] QLIB_INLINE static result<gguf_file> parse(std::span<const std::byte> file, gguf_limits limits = {},
                                                             std::string_view* culprit = nullptr) noexcept {
        gguf_file parsed;
        if (const status s = detail::parse_gguf(file, limits, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    [[nodiscard]] QLIB_INLINE std::uint32_t version() const noexcept { return tables_.version; }
    [[nodiscard]] QLIB_INLINE std::uint32_t alignment() const noexcept { return tables_.alignment; }
    /// Bytes from the start of the file to its data section, where gguf_tensor::offset counts from. May lie beyond the end of a
    /// file without tensors.
    [[nodiscard]] QLIB_INLINE std::uint64_t data_start() const noexcept { return tables_.data_start; }
    /// All metadata, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const gguf_entry> entries() const noexcept { return tables_.entries.view(); }
    /// All tensors, in the file's order, which is also the order of their data.
    [[nodiscard]] QLIB_INLINE std::span<const gguf_tensor> tensors() const noexcept { return tables_.tensors.view(); }

    /// The value of a key, or null. Lives as long as the file object, and does not move with it.
    [[nodiscard]] QLIB_INLINE const gguf_value* find(std::string_view key) const noexcept {
        const std::size_t i = detail::find_entry(tables_, key);
        return i < tables_.entries.size() ? &tables_.entries[i].value : nullptr;
    }
    /// The tensor with a name, or null.
    [[nodiscard]] QLIB_INLINE const gguf_tensor* find_tensor(std::string_view name) const noexcept {
        const std::size_t i = detail::find_tensor(tables_, name);
        return i < tables_.tensors.size() ? &tables_.tensors[i] : nullptr;
    }

private:
    QLIB_INLINE gguf_file() noexcept = default;
    detail::gguf_tables tables_;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The value of "{arch}.suffix", or null.
[[nodiscard]] inline const gguf_value* find_for_architecture(const gguf_file& file, std::string_view arch,
                                                             std::string_view suffix) noexcept {
    char key[128];
    if (arch.size() + suffix.size() > sizeof key) return nullptr;
    std::memcpy(key, arch.data(), arch.size());
    std::memcpy(key + arch.size(), suffix.data(), suffix.size());
    return file.find({key, arch.size() + suffix.size()});
}

/// A getter's error as one of the file, about a key.
[[nodiscard]] inline error error_of(error e, const char* operand) noexcept {
    e.code = errc::malformed;
    e.operand = operand;
    return e;
}

/// An unsigned integer with a key that may be absent: then `out` keeps its value.
inline status read_count(const gguf_value* v, const char* operand, std::uint64_t least, std::uint64_t most,
                         std::uint64_t& out) noexcept {
    if (v == nullptr) return {};
    const auto n = v->as_uint();
    if (!n) return error_of(n.error(), operand);
    if (*n < least || *n > most) return error{errc::malformed, "{0}, it must be from {1} to {2}", operand, {*n, least, most}};
    out = *n;
    return {};
}

/// A table that must have one element per token, of one of two types.
inline status check_table(const gguf_file& file, const char* key, gguf_type a, gguf_type b, std::uint64_t tokens) noexcept {
    const gguf_value* v = file.find(key);
    if (v == nullptr) return {};
    if (!v->is_array() || (v->element_type != a && v->element_type != b))
        return error{errc::malformed, "an array of elements of type {0} is needed", key, {static_cast<std::uint64_t>(a)}};
    if (v->count != tokens) return error{errc::malformed, "{0} elements for a vocabulary of {1}", key, {v->count, tokens}};
    return {};
}

inline status check_vocabulary(const gguf_file& file, std::uint64_t& tokens) noexcept {
    const gguf_value* list = file.find("tokenizer.ggml.tokens");
    if (list == nullptr) return {};
    tokens = list->count;
    if (status s = check_table(file, "tokenizer.ggml.tokens", gguf_type::string, gguf_type::string, tokens); !s) return s;
    if (status s = check_table(file, "tokenizer.ggml.scores", gguf_type::f32, gguf_type::f32, tokens); !s) return s;
    if (status s = check_table(file, "tokenizer.ggml.token_type", gguf_type::i32, gguf_type::u32, tokens); !s) return s;
    const gguf_value* merges = file.find("tokenizer.ggml.merges");
    if (merges != nullptr && (!merges->is_array() || merges->element_type != gguf_type::string))
        return error{errc::malformed, "an array of elements of type {0} is needed", "tokenizer.ggml.merges", {8}};
    // The code of ggml and its documentation spell the separator differently.
    for (const char* key :
         {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id",
          "tokenizer.ggml.padding_token_id", "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id"}) {
        std::uint64_t id = 0;
        if (file.find(key) != nullptr && tokens == 0) return error{errc::malformed, "a token of an empty vocabulary", key, {}};
        if (status s = read_count(file.find(key), key, 0, tokens - 1, id); !s) return s;
    }
    return {};
}

/// One count from `least` on, or one per layer: those may be zero, hybrid models have layers without attention.
inline status check_per_layer(const gguf_value* v, const char* operand, std::uint64_t least, std::uint64_t most, std::uint64_t layers) noexcept {
    std::uint64_t n = 0;
    if (v == nullptr || !v->is_array()) return read_count(v, operand, least, most, n);
    if (v->count != layers) return error{errc::malformed, "{0} elements for {1} layers", operand, {v->count, layers}};
    for (std::uint64_t i = 0; i < v->count; ++i) {
        const auto element = v->at(i);
        if (!element) return error_of(element.error(), operand);
        if (status s = read_count(&*element, operand, 0, most, n); !s) return s;
    }
    return {};
}

/// A floating-point number that may be absent. What is computed with it must not become a NaN.
inline status check_real(const gguf_value* v, const char* operand) noexcept {
    if (v == nullptr) return {};
    const auto x = v->as_float();
    if (!x) return error_of(x.error(), operand);
    const bool finite = (std::bit_cast<std::uint64_t>(*x) >> 52 & 0x7FF) != 0x7FF;
    if (finite && *x >= 0) return {};
    return error{errc::malformed, "a number that is negative or not finite", operand, {}};
}

/// Keys whose type alone can mislead a loader.
inline status check_key_types(const gguf_file& file) noexcept {
    for (const char* key : {"general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template"})
        if (const gguf_value* v = file.find(key); v != nullptr && v->type != gguf_type::string)
            return error_of(v->as_string().error(), key);
    for (const char* key : {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix"})
        if (const gguf_value* v = file.find(key); v != nullptr && v->type != gguf_type::boolean) return error_of(v->as_bool().error(), key);
    return {};
}

/// Version 2 is the only layout of quantized blocks that was ever stored in GGUF files.
inline status check_quantization_version(const gguf_file& file) noexcept {
    constexpr const char* key = "general.quantization_version";
    std::uint64_t version = 2;
    if (status s = read_count(file.find(key), key, 0, 0xFFFFFFFF, version); !s) return s;
    if (version != 2) return error{errc::unsupported, "version {0} of the quantized formats: 2 is supported", key, {version}};
    return {};
}

/// What the hyper-parameters say of a tensor's shape. 0: not known.
struct gguf_sizes { std::uint64_t tokens = 0, layers = 0, width = 0, experts = 0; };

/// The N of "blk.N.", or -1.
[[nodiscard]] inline std::int64_t layer_of(std::string_view name) noexcept {
    std::int64_t n = 0;
    std::size_t at = 4;
    if (!name.starts_with("blk.")) return -1;
    for (; at < name.size() && name[at] >= '0' && name[at] <= '9' && n < 1'000'000'000; ++at) n = 10 * n + (name[at] - '0');
    return at > 4 && at < name.size() && name[at] == '.' ? n : -1;
}

inline status check_tensor_shapes(const gguf_file& file, const gguf_sizes& sizes) noexcept {
    for (const char* name : {"token_embd.weight", "output.weight"}) {
        const gguf_tensor* t = file.find_tensor(name);
        if (t == nullptr) continue;
        if (sizes.width != 0 && t->cols() != sizes.width)
            return error{errc::malformed, "rows of {0} elements, the embedding length is {1}", name, {t->cols(), sizes.width}};
        if (t->rows() < sizes.tokens)
            return error{errc::malformed, "{0} rows for a vocabulary of {1}", name, {t->rows(), sizes.tokens}};
    }
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
        const gguf_tensor& t = file.tensors()[i];
        const std::int64_t layer = layer_of(t.name);
        if (layer < 0) continue;
        if (sizes.layers != 0 && static_cast<std::uint64_t>(layer) >= sizes.layers)
            return bad_tensor(i, "#{3} is of layer {0} of {1}", static_cast<std::uint64_t>(layer), sizes.layers);
        if (t.name.ends_with("_exps.weight") && t.ne[2] != sizes.experts)
            return bad_tensor(i, "#{3} is of {0} experts, the model has {1}", t.ne[2], sizes.experts);
    }
    return {};
}

inline status check_hyper_parameters(const gguf_file& file, std::string_view arch, gguf_sizes& sizes) noexcept {
    const auto find = [&](std::string_view suffix) { return find_for_architecture(file, arch, suffix); };
    constexpr std::uint64_t heads = 1u << 20, length = 0x7FFFFFFF;  // llama.cpp has 32 bits for lengths
    std::uint64_t used = 0, n = 0;
    if (status s = read_count(find(".block_count"), "block_count", 1, 1u << 16, sizes.layers); !s) return s;
    if (status s = read_count(find(".embedding_length"), "embedding_length", 1, 1u << 30, sizes.width); !s) return s;
    if (status s = check_per_layer(find(".attention.head_count"), "attention.head_count", 1, heads, sizes.layers); !s) return s;
    if (status s = check_per_layer(find(".attention.head_count_kv"), "attention.head_count_kv", 1, heads, sizes.layers); !s) return s;
    if (status s = check_per_layer(find(".feed_forward_length"), "feed_forward_length", 0, length, sizes.layers); !s) return s;
    if (status s = read_count(find(".expert_count"), "expert_count", 0, 1u << 16, sizes.experts); !s) return s;
    if (status s = read_count(find(".expert_used_count"), "expert_used_count", 0, sizes.experts, used); !s) return s;
    if (status s = read_count(find(".context_length"), "context_length", 0, length, n); !s) return s;
    if (status s = read_count(find(".vocab_size"), "vocab_size", 0, length, n); !s) return s;
    if (status s = read_count(find(".attention.key_length"), "attention.key_length", 0, heads, n); !s) return s;
    if (status s = read_count(find(".attention.value_length"), "attention.value_length", 0, heads, n); !s) return s;
    if (status s = read_count(find(".rope.dimension_count"), "rope.dimension_count", 0, heads, n); !s) return s;
    if (status s = check_real(find(".rope.freq_base"), "rope.freq_base"); !s) return s;
    if (status s = check_real(find(".rope.scaling.factor"), "rope.scaling.factor"); !s) return s;
    return check_real(find(".attention.layer_norm_rms_epsilon"), "attention.layer_norm_rms_epsilon");
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Checks what is there of a language model's metadata against itself and against the tensors: the vocabulary's tables, counts, the shapes of the
/// embeddings, layer numbers and experts. Absent keys pass: which are required depends on the architecture. Other shapes of the layers' tensors
/// remain the loader's to check, and so does a chat template, which is a program.
///
/// error   malformed, operand: the key or tensor, sizes[3] the tensor's index where the operand is "tensor"; unsupported for another version of
///         the quantized formats
/// source  llama.cpp's loader; CVE-2025-49847 and CVE-2025-52566 for the vocabulary
inline status check_gguf_model(const gguf_file& file) noexcept {
    const gguf_value* name = file.find("general.architecture");
    if (name == nullptr) return error{errc::malformed, "the key is missing", "general.architecture", {}};
    const auto arch = name->as_string();
    if (!arch) return detail::error_of(arch.error(), "general.architecture");
    if (arch->empty() || arch->size() > 64)
        return error{errc::malformed, "a name of {0} bytes, 1 to 64 are allowed", "general.architecture", {arch->size()}};
    detail::gguf_sizes sizes;
    if (status s = detail::check_key_types(file); !s) return s;
    if (status s = detail::check_quantization_version(file); !s) return s;
    if (status s = detail::check_vocabulary(file, sizes.tokens); !s) return s;
    if (status s = detail::check_hyper_parameters(file, *arch, sizes); !s) return s;
    return detail::check_tensor_shapes(file, sizes);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// GGUF models in several files, as llama.cpp's llama-gguf-split makes them: prefix-00001-of-00003.gguf and so on. The first part has all
// metadata; each part has its own tensors.
//
//   auto which = qlib::gguf_part_of(first);                                           // of how many parts is this one?
//   auto prefix = qlib::gguf_part_prefix(path, *which);
//   for (part = 1; part < which->count; ++part) open(qlib::gguf_part_name(buffer, *prefix, {part, which->count}));
//   check(qlib::check_gguf_parts(files));

namespace qlib::inline v0 {

/// The place of a file among the parts of a model.
struct gguf_part {
    std::uint32_t index = 0;     ///< counts from 0
    std::uint32_t count = 1;     ///< parts; at most 65535
    std::uint64_t tensors = 0;   ///< of all parts together
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::uint32_t gguf_part_limit = 65535;  // split.count is a u16

/// The value of an integer key from `least` to `most`.
inline status read_part_key(const gguf_file& file, const char* key, std::uint64_t least, std::uint64_t most, std::uint64_t& out) noexcept {
    const gguf_value* v = file.find(key);
    if (v == nullptr) return error{errc::malformed, "the key is missing", key, {}};
    const auto n = v->as_uint();
    if (!n) {
        error e = n.error();
        e.operand = key;
        return e;
    }
    if (*n < least || *n > most) return error{errc::malformed, "{0}, it must be from {1} to {2}", key, {*n, least, most}};
    out = *n;
    return {};
}

/// "-00002-of-00003.gguf" for part 1 of 3. Returns the bytes used, at most 20.
inline std::size_t put_part_suffix(char* out, gguf_part part) noexcept {
    std::size_t at = 0;
    const auto text = [&](std::string_view s) { for (const char c : s) out[at++] = c; };
    const auto number = [&](std::uint32_t n) {
        char digits[10];
        std::size_t used = 0;
        for (; used < 5 || n != 0; n /= 10) digits[used++] = static_cast<char>('0' + n % 10);
        while (used != 0) out[at++] = digits[--used];
    };
    text("-");
    number(part.index + 1);
    text("-of-");
    number(part.count);
    text(".gguf");
    return at;
}

inline status check_part(gguf_part part) noexcept {
    if (part.count != 0 && part.count <= gguf_part_limit && part.index < part.count) return {};
    return error{errc::argument, "part {0} of {1}", "gguf_part", {part.index, part.count}};
}

/// Refuses a name that two parts hold.
inline status check_part_names(std::span<const gguf_file* const> files, std::size_t total) noexcept {
    buffer<std::string_view> names;
    if (!names.allocate(total)) return out_of_memory(total * sizeof(std::string_view));
    std::size_t at = 0;
    for (const gguf_file* file : files)
        for (const gguf_tensor& t : file->tensors()) names[at++] = t.name;
    const auto name_of = [&](std::size_t i) { return names[i]; };
    buffer<std::size_t> order;
    if (!sort_names(order, total, name_of)) return out_of_memory(total * sizeof(std::size_t));
    const std::size_t p = find_duplicate(order, name_of);
    if (p == order.size()) return {};
    const auto part_of = [&](std::size_t i) {
        std::uint64_t part = 0;
        for (; i >= files[part]->tensors().size(); ++part) i -= files[part]->tensors().size();
        return part;
    };
    return error{errc::malformed, "parts {0} and {1} both have one of its tensors", "gguf parts", {part_of(order[p]), part_of(order[p + 1])}};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Which part of a model a file is; a file without split.* keys is the only one.
///
/// error   malformed, operand: the key: missing beside others, no integer, or out of range
/// source  llama.cpp, llama-model-loader.cpp
[[nodiscard]] inline result<gguf_part> gguf_part_of(const gguf_file& file) noexcept {
    bool any = false;
    for (const char* key : {"split.no", "split.count", "split.tensors.count"}) any |= file.find(key) != nullptr;
    const std::uint64_t own = file.tensors().size();
    if (!any) return gguf_part{0, 1, own};
    std::uint64_t count = 0, index = 0, tensors = 0;
    if (status s = detail::read_part_key(file, "split.count", 1, detail::gguf_part_limit, count); !s) return s.error();
    if (status s = detail::read_part_key(file, "split.no", 0, count - 1, index); !s) return s.error();
    if (status s = detail::read_part_key(file, "split.tensors.count", own, 0x7FFFFFFF, tensors); !s) return s.error();
    return gguf_part{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(count), tensors};
}

/// Checks that files are all parts of one model in order: their indices, their counts, no tensor missing or twice.
///
/// files   the parsed parts, the first first
/// error   malformed, sizes {part, what it has, what is needed}; memory
[[nodiscard]] inline status check_gguf_parts(std::span<const gguf_file* const> files) noexcept {
    std::uint64_t total = 0, wanted = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
        const auto part = gguf_part_of(*files[i]);
        if (!part) return part.error();
        if (part->count != files.size())
            return error{errc::malformed, "part {0} is one of {1} parts, {2} are given", "split.count", {i, part->count, files.size()}};
        if (part->index != i) return error{errc::malformed, "part {0} has the number {1}", "split.no", {i, part->index}};
        if (i == 0) wanted = part->tensors;
        if (part->tensors != wanted)
            return error{errc::malformed, "part {0} is of a model of {1} tensors, the first of one of {2}", "split.tensors.count",
                         {i, part->tensors, wanted}};
        total += files[i]->tensors().size();
    }
    if (total != wanted) return error{errc::malformed, "the parts have {0} tensors of {1}", "split.tensors.count", {total, wanted}};
    return detail::check_part_names(files, static_cast<std::size_t>(total));
}

/// Writes the name of a part into `buffer`: prefix-00001-of-00003.gguf for {0, 3}. Returns the part of the buffer that was used.
/// error: argument for no such part, shape when the buffer is too small.
[[nodiscard]] inline result<std::string_view> gguf_part_name(std::span<char> buffer, std::string_view prefix, gguf_part part) noexcept {
    if (status s = detail::check_part(part); !s) return s.error();
    char suffix[32];
    const std::size_t bytes = detail::put_part_suffix(suffix, part);
    if (prefix.size() > buffer.size() || bytes > buffer.size() - prefix.size())
        return error{errc::shape, "a name of {0} bytes does not fit in {1}", "buffer", {prefix.size() + bytes, buffer.size()}};
    if (!prefix.empty()) std::memcpy(buffer.data(), prefix.data(), prefix.size());
    std::memcpy(buffer.data() + prefix.size(), suffix, bytes);
    return std::string_view(buffer.data(), prefix.size() + bytes);
}

/// What stands before -00001-of-00003.gguf in the name of a part. error: argument when the name does not end as this part's must.
[[nodiscard]] inline result<std::string_view> gguf_part_prefix(std::string_view name, gguf_part part) noexcept {
    if (status s = detail::check_part(part); !s) return s.error();
    char suffix[32];
    const std::size_t bytes = detail::put_part_suffix(suffix, part);
    if (!name.ends_with(std::string_view(suffix, bytes)))
        return error{errc::argument, "a name that does not end as that of part {0} of {1} must", "name", {part.index, part.count}};
    return name.substr(0, name.size() - bytes);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// gguf_writer: writes a GGUF v3 file into the caller's sink. Metadata and tensor shapes are collected first; then the header goes
// out, and the tensors' data stream through in pieces of any size.
//
//   qlib::gguf_writer out;
//   for (const auto& [key, value] : input.entries()) check(out.set(key, value));       // copies
//   check(out.set("general.file_type", std::uint32_t{15}));                            // replaces
//   check(out.add_tensor("output.weight", type_id, std::array<std::uint64_t, 2>{cols, rows}));
//   auto sink = [&](std::span<const std::byte> bytes) { return fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size(); };
//   check(out.begin(sink));
//   check(out.write("output.weight", data));
//   check(out.finish());

namespace qlib::inline v0 {

/// What set() stores as one number: integers by width and sign, float, double, bool.
template <class T> concept gguf_number =
    std::same_as<T, float> || std::same_as<T, double> || (std::integral<T> && sizeof(T) <= 8 && !std::same_as<T, char>);

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

/// One call of set() or remove(), its bytes in the draft's `text` as in the file. A later one about the same key overrules it.
struct gguf_set {
    std::size_t at = 0, key_bytes = 0, bytes = 0;
    bool removed = false;
};

/// A tensor to be written. The name is held here: info.name stays empty.
struct gguf_planned {
    std::array<char, gguf_name_limit> text{};
    std::size_t text_bytes = 0;
    gguf_tensor info;
    [[nodiscard]] QLIB_INLINE std::string_view name() const noexcept { return {text.data(), text_bytes}; }
};

/// What a writer knows and where it stands.
struct gguf_draft {
    enum class stage : std::uint8_t { collecting, writing, finished, failed };
    growing<std::byte> text;
    growing<gguf_set> sets;
    growing<gguf_planned> tensors;
    sink_ref sink;
    std::uint64_t alignment = gguf_default_alignment, file_size = 0;
    std::size_t next = 0;    // the tensor that is being written
    std::uint64_t done = 0;  // bytes of it
    stage at = stage::collecting;
};

template <class T> consteval gguf_type gguf_type_of() noexcept {
    if (std::same_as<T, bool>) return gguf_type::boolean;
    if (std::same_as<T, float>) return gguf_type::f32;
    if (std::same_as<T, double>) return gguf_type::f64;
    const bool s = std::is_signed_v<T>;
    switch (sizeof(T)) {
    case 1: return s ? gguf_type::i8 : gguf_type::u8;
    case 2: return s ? gguf_type::i16 : gguf_type::u16;
    case 4: return s ? gguf_type::i32 : gguf_type::u32;
    default: return s ? gguf_type::i64 : gguf_type::u64;
    }
}

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

[[nodiscard]] inline bool put_number(growing<std::byte>& out, std::uint64_t value, std::size_t bytes) noexcept {
    std::byte raw[8];
    store_little(raw, value, bytes);
    return out.append({raw, bytes});
}
[[nodiscard]] inline bool put_text(growing<std::byte>& out, std::string_view text) noexcept {
    return put_number(out, text.size(), 8) && out.append(bytes_of(text));
}
/// A number, or a string, as an element of a value.
template <class T> [[nodiscard]] bool put_element(growing<std::byte>& out, const T& item) noexcept {
    if constexpr (std::same_as<T, float>) return put_number(out, std::bit_cast<std::uint32_t>(item), 4);
    else if constexpr (std::same_as<T, double>) return put_number(out, std::bit_cast<std::uint64_t>(item), 8);
    else if constexpr (std::integral<T>) return put_number(out, static_cast<std::uint64_t>(item), sizeof(T));
    else return put_text(out, item);
}

inline status check_stage(const gguf_draft& draft, gguf_draft::stage needed) noexcept {
    using enum gguf_draft::stage;
    if (draft.at == needed) return {};
    switch (draft.at) {
    case collecting: return error{errc::argument, "the header is not written yet: call begin() first", "gguf_writer", {}};
    case writing: return error{errc::argument, "the header is already written", "gguf_writer", {}};
    case finished: return error{errc::argument, "the file is already finished", "gguf_writer", {}};
    default: return error{errc::io, "an earlier write failed", "gguf_writer", {}};
    }
}

/// The documentation's rule for keys, of which ggml's own writers break one part: architectures like gpt-oss have hyphens.
inline status check_spelling(std::string_view key) noexcept {
    char before = '.';
    for (const char c : key) {
        const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!word && (c != '.' || before == '.')) before = 0;
        if (before == 0) break;
        before = c;
    }
    if (before != 0 && before != '.') return {};
    return error{errc::argument, "a key is words of a-z, 0-9, _ and - with single dots between them", "metadata key", {}};
}

/// Whether a value's bytes are what its type and count say. Values of parsed files are; anybody can make others.
inline status check_value(const gguf_value& v) noexcept {
    const bool known = v.element_type == gguf_type::string || gguf_number_bytes(v.element_type) != 0;
    byte_cursor in{v.bytes};
    if (known && (v.is_array() || (v.type == v.element_type && v.count == 1)) &&
        skip_elements(in, v.element_type, v.count, ~std::uint64_t{0}).ok() && in.left() == 0)
        return {};
    return error{errc::argument, "the {0} bytes of a value are not what its type {1} and count {2} say", "metadata value",
                 {v.bytes.size(), static_cast<std::uint64_t>(v.element_type), v.count}};
}

/// Writes a pair into the draft. `put(text)` appends the elements, and says whether there was memory.
template <class Put>
status append_pair(gguf_draft& draft, std::string_view key, gguf_type type, gguf_type element, std::uint64_t count,
                   const Put& put) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::collecting); !s) return s;
    if (status s = check_name(key, gguf_key_limit, "metadata key", draft.sets.size()); !s) return s;
    growing<std::byte>& text = draft.text;
    const std::size_t start = text.size();
    bool ok = put_text(text, key) && put_number(text, static_cast<std::uint64_t>(type), 4);
    if (type == gguf_type::array) ok = ok && put_number(text, static_cast<std::uint64_t>(element), 4) && put_number(text, count, 8);
    ok = ok && put(text) && draft.sets.append({start, key.size(), text.size() - start, false});
    if (ok) return {};
    const std::size_t wanted = text.size() - start;
    text.cut(start);
    return out_of_memory(wanted);
}

inline status copy_pair(gguf_draft& draft, std::string_view key, const gguf_value& v) noexcept {
    if (status s = check_value(v); !s) return s;
    return append_pair(draft, key, v.type, v.element_type, v.count, [&](growing<std::byte>& text) { return text.append(v.bytes); });
}

template <class T> status set_one(gguf_draft& draft, std::string_view key, gguf_type type, const T& value) noexcept {
    if (status s = check_spelling(key); !s) return s;
    return append_pair(draft, key, type, type, 1, [&](growing<std::byte>& text) { return put_element(text, value); });
}

template <class T> status set_many(gguf_draft& draft, std::string_view key, gguf_type element, std::span<const T> values) noexcept {
    if (status s = check_spelling(key); !s) return s;
    return append_pair(draft, key, gguf_type::array, element, values.size(), [&](growing<std::byte>& text) {
        for (const T& value : values)
            if (!put_element(text, value)) return false;
        return true;
    });
}

/// Without a value: the key is taken back.
inline status remove_pair(gguf_draft& draft, std::string_view key) noexcept {
    if (status s = append_pair(draft, key, gguf_type::boolean, gguf_type::boolean, 1, [](growing<std::byte>&) { return true; }); !s)
        return s;
    draft.sets[draft.sets.size() - 1].removed = true;
    return {};
}

inline status plan_tensor(gguf_draft& draft, std::string_view name, std::uint32_t type,
                          std::span<const std::uint64_t> ne) noexcept {
    const std::size_t index = draft.tensors.size();
    if (status s = check_stage(draft, gguf_draft::stage::collecting); !s) return s;
    if (status s = check_name(name, gguf_name_limit, "tensor", index); !s) return s;
    if (ne.size() > 4) return gguf_error(errc::argument, "#{3} has {0} dimensions, 4 are allowed", "tensor", index, ne.size());
    gguf_planned t;
    std::memcpy(t.text.data(), name.data(), name.size());
    t.text_bytes = name.size();
    t.info.n_dims = static_cast<std::uint32_t>(ne.size());
    for (std::size_t d = 0; d < ne.size(); ++d) t.info.ne[d] = ne[d];
    t.info.type = type;
    if (status s = measure_tensor(t.info, index); !s) return s;
    return draft.tensors.append(t) ? status{} : status(out_of_memory(sizeof t));
}

/// Marks every pair that a later set() or remove() of the same key overrules, and the removals themselves. Counts what is left.
inline status settle_pairs(gguf_draft& draft, std::uint64_t& count) noexcept {
    growing<gguf_set>& sets = draft.sets;
    const auto key_of = [&](std::size_t i) { return text_of({draft.text.data() + sets[i].at + 8, sets[i].key_bytes}); };
    buffer<std::size_t> order;
    if (!sort_names(order, sets.size(), key_of)) return out_of_memory(sets.size() * sizeof(std::size_t));
    count = 0;
    draft.alignment = gguf_default_alignment;
    for (std::size_t p = 0; p < order.size(); ++p) {
        gguf_set& set = sets[order[p]];
        const std::string_view key = key_of(order[p]);
        if (p + 1 < order.size() && key == key_of(order[p + 1])) set.removed = true;
        if (set.removed) continue;
        ++count;
        if (key != "general.alignment") continue;
        const std::byte* value = draft.text.data() + set.at + 8 + key.size();
        if (static_cast<gguf_type>(load_little(value, 4)) != gguf_type::u32)
            return error{errc::argument, "the alignment must be a u32", "general.alignment", {}};
        draft.alignment = load_little(value + 4, 4);
    }
    const std::uint64_t a = draft.alignment;
    if (a >= 8 && (a & (a - 1)) == 0 && a <= gguf_alignment_limit) return {};
    return error{errc::argument, "{0} is no power of two from 8 to {1}", "general.alignment", {a, gguf_alignment_limit}};
}

/// Refuses equal names, and lays the tensors out without gaps. `end` is the size of the data section.
inline status place_planned(gguf_draft& draft, std::uint64_t& end) noexcept {
    const auto name_of = [&](std::size_t i) { return draft.tensors[i].name(); };
    buffer<std::size_t> order;
    if (!sort_names(order, draft.tensors.size(), name_of)) return out_of_memory(draft.tensors.size() * sizeof(std::size_t));
    if (const std::size_t p = find_duplicate(order, name_of); p != order.size())
        return gguf_error(errc::argument, "#{0} and #{3} have the same name", "tensor", order[p + 1], order[p]);
    end = 0;
    for (std::size_t i = 0; i < draft.tensors.size(); ++i) {
        gguf_tensor& t = draft.tensors[i].info;
        t.offset = end;
        end += round_up(t.bytes, draft.alignment);  // t.bytes <= 2^62
        if (end > gguf_size_limit)
            return gguf_error(errc::shape, "#{3} makes the file larger than {0} bytes", "tensor", i, gguf_size_limit);
    }
    return {};
}

inline status send(gguf_draft& draft, std::span<const std::byte> bytes) noexcept {
    if (draft.sink(bytes)) return {};
    draft.at = gguf_draft::stage::failed;
    return error{errc::io, "the sink refused {0} bytes", "gguf_writer", {bytes.size()}};
}

/// Zeros after a tensor, up to the alignment.
inline status send_padding(gguf_draft& draft, std::uint64_t count) noexcept {
    const std::byte zeros[1024]{};
    while (count != 0) {
        const std::size_t now = count < sizeof zeros ? static_cast<std::size_t>(count) : sizeof zeros;
        if (status s = send(draft, {zeros, now}); !s) return s;
        count -= now;
    }
    return {};
}

/// Tensors without bytes have nothing to wait for.
inline void skip_empty(gguf_draft& draft) noexcept {
    while (draft.next < draft.tensors.size() && draft.tensors[draft.next].info.bytes == 0) ++draft.next;
}

inline status begin_file(gguf_draft& draft, sink_ref sink) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::collecting); !s) return s;
    std::uint64_t pairs = 0, data_bytes = 0;
    if (status s = settle_pairs(draft, pairs); !s) return s;
    if (status s = place_planned(draft, data_bytes); !s) return s;
    growing<std::byte> head;
    bool ok = head.append(bytes_of("GGUF")) && put_number(head, 3, 4) && put_number(head, draft.tensors.size(), 8) &&
              put_number(head, pairs, 8);
    for (const gguf_set& set : draft.sets.view())
        if (ok && !set.removed) ok = head.append({draft.text.data() + set.at, set.bytes});
    for (const gguf_planned& t : draft.tensors.view()) {
        ok = ok && put_text(head, t.name()) && put_number(head, t.info.n_dims, 4);
        for (std::uint32_t d = 0; d < t.info.n_dims; ++d) ok = ok && put_number(head, t.info.ne[d], 8);
        ok = ok && put_number(head, t.info.type, 4) && put_number(head, t.info.offset, 8);
    }
    if (!ok) return out_of_memory(head.size());
    draft.sink = sink;
    draft.at = gguf_draft::stage::writing;
    const std::uint64_t data_start = round_up(head.size(), draft.alignment);
    draft.file_size = data_start + data_bytes;
    skip_empty(draft);
    if (status s = send(draft, head.view()); !s) return s;
    return send_padding(draft, data_start - head.size());
}

inline status write_piece(gguf_draft& draft, std::string_view name, std::span<const std::byte> piece) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::writing); !s) return s;
    if (piece.empty()) return {};
    if (draft.next == draft.tensors.size())
        return error{errc::shape, "all tensors are complete, {0} bytes are left over", "tensor data", {piece.size()}};
    const gguf_planned& t = draft.tensors[draft.next];
    if (name != t.name())
        return gguf_error(errc::argument, "data for another tensor than #{3}, which is next", "tensor data", draft.next);
    if (piece.size() > t.info.bytes - draft.done)
        return gguf_error(errc::shape, "{0} bytes more, but #{3} lacks only {1} of its {2}", "tensor data", draft.next,
                          piece.size(), t.info.bytes - draft.done, t.info.bytes);
    if (status s = send(draft, piece); !s) return s;
    draft.done += piece.size();
    if (draft.done != t.info.bytes) return {};
    if (status s = send_padding(draft, round_up(draft.done, draft.alignment) - draft.done); !s) return s;
    draft.done = 0;
    ++draft.next;
    skip_empty(draft);
    return {};
}

inline status finish_file(gguf_draft& draft) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::writing); !s) return s;
    if (draft.next != draft.tensors.size())
        return gguf_error(errc::shape, "#{3} has {0} of its {1} bytes", "tensor data", draft.next, draft.done,
                          draft.tensors[draft.next].info.bytes);
    draft.at = gguf_draft::stage::finished;
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// Writes one file. A function that fails leaves the writer as it was, except that nothing works any more after a sink refused.
class gguf_writer {
public:
    // Metadata. Setting a key again takes the old value out and puts the new one behind all others, as ggml does. New keys keep
    // the rule of GGUF's documentation: errc::argument. general.alignment changes the layout; begin() checks it.

    /// A number or a boolean, stored as the type it has: std::uint32_t{2}, 1.0f, true.
    template <gguf_number T> QLIB_INLINE status set(std::string_view key, T value) noexcept {
        return detail::set_one(draft_, key, detail::gguf_type_of<T>(), value);
    }
    QLIB_INLINE status set(std::string_view key, std::string_view value) noexcept {
        return detail::set_one(draft_, key, gguf_type::string, value);
    }
    QLIB_INLINE status set(std::string_view key, const char* value) noexcept { return set(key, std::string_view(value)); }
    /// Any contiguous range of numbers, or of what converts to std::string_view.
    template <class Range>
        requires requires(const Range& r) { std::span(r); }
    QLIB_INLINE status set_array(std::string_view key, const Range& values) noexcept {
        using element = std::remove_cv_t<typename decltype(std::span(values))::element_type>;
        const std::span<const element> all(values);
        if constexpr (gguf_number<element>) return detail::set_many(draft_, key, detail::gguf_type_of<element>(), all);
        else return detail::set_many(draft_, key, gguf_type::string, all);
    }
    /// A value of another file, copied byte by byte. Its key only needs what readers need: 1 to 65535 bytes, none of them zero.
    QLIB_INLINE status set(std::string_view key, const gguf_value& value) noexcept { return detail::copy_pair(draft_, key, value); }
    /// Takes a key out again, if it was set.
    QLIB_INLINE status remove(std::string_view key) noexcept { return detail::remove_pair(draft_, key); }

    /// Announces the next tensor.
    ///
    /// name    1 to 63 bytes, none of them zero; begin() refuses a name that was given twice
    /// type    see ggml_type_info
    /// ne      0 to 4 dimensions, the row length first: {cols, rows}. Written as given: ggml drops trailing ones
    /// error   malformed or argument, sizes[3] being the tensor's index; unsupported for a type that ggml does not have
    QLIB_INLINE status add_tensor(std::string_view name, std::uint32_t type, std::span<const std::uint64_t> ne) noexcept {
        return detail::plan_tensor(draft_, name, type, ne);
    }

    /// Writes the header. No set(), remove() or add_tensor() after it.
    QLIB_INLINE status begin(sink_ref sink) noexcept { return detail::begin_file(draft_, sink); }
    /// Writes the next bytes of a tensor's data: the tensors in the order of add_tensor(), each complete before the next.
    ///
    /// error   argument: another tensor's turn; shape: more bytes than it has; io: the sink refused
    QLIB_INLINE status write(std::string_view name, std::span<const std::byte> piece) noexcept {
        return detail::write_piece(draft_, name, piece);
    }
    /// Says that the file is complete. error: shape when data are missing.
    QLIB_INLINE status finish() noexcept { return detail::finish_file(draft_); }

    /// Bytes of the whole file; known after begin().
    [[nodiscard]] QLIB_INLINE std::uint64_t file_size() const noexcept { return draft_.file_size; }

private:
    detail::gguf_draft draft_;
};

}  // namespace qlib::inline v0
// Importance matrices as llama.cpp's llama-imatrix makes them: reading (imatrix_file) and writing (imatrix_writer).
// imatrix_file: reads the importance matrices that llama.cpp's llama-imatrix writes, from foreign, untrusted bytes. Both forms: GGUF,
// and the older one (.dat) that knows one count per weight only.
//
//   auto file = qlib::imatrix_file::parse(bytes, {}, &culprit);
//   const qlib::imatrix_entry* e = file->find("blk.0.ffn_down.weight");
//   if (e != nullptr) options.importance = *e->of_matrix(0, 1, cols);                 // result<span>: the file may be another model's

namespace qlib::inline v0 {

/// What is known of the inputs of one weight. A weight of several experts has one matrix for each.
struct imatrix_entry {
    std::string_view name;                        ///< of the weight's tensor, 1 to 63 bytes
    std::size_t cols = 0, matrices = 0;           ///< neither is 0. The older form has one matrix, as wide as all experts together
    std::span<const float> importance;            ///< (matrices, cols): the mean square of each input; 1 for a matrix whose count is 0
    std::span<const float> counts;                ///< how many inputs each matrix has seen; in the older form: chunks

    /// The importance of the columns of matrix m, for a weight of `count` matrices with rows of `width` elements.
    ///
    /// error   importance, when the entry is of another shape; argument, when m >= count
    [[nodiscard]] QLIB_INLINE result<std::span<const float>> of_matrix(std::size_t m, std::size_t count, std::size_t width) const noexcept {
        if (m >= count) return error{errc::argument, "matrix {0} of {1}", "imatrix", {m, count}};
        if (width == 0 || importance.size() % width != 0 || importance.size() / width != count)
            return error{errc::importance, "{0} x {1} values for a weight of {2} x {3}", "imatrix", {matrices, cols, count, width}};
        return importance.subspan(m * width, width);
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

/// What a parsed file says.
struct imatrix_tables {
    gguf_tables gguf;  // metadata of the GGUF form
    growing<imatrix_entry> entries;
    buffer<std::size_t> order;  // sorted by name
    buffer<float> numbers;      // counts and importance of all entries
    growing<std::string_view> datasets;
    std::uint32_t chunk_count = 0, chunk_size = 0;
    bool legacy = false;
};

/// An entry still in the file's bytes.
struct imatrix_source {
    std::string_view name;
    std::span<const std::byte> sums, counts;  // packed f32; the older form has one i32 as its count
};

}  // namespace qlib::inline v0::detail

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::string_view imatrix_sums_suffix = ".in_sum2", imatrix_counts_suffix = ".counts";

[[nodiscard]] inline std::size_t find_importance(const imatrix_tables& tables, std::string_view name) noexcept {
    return find_name(tables.order, name, [&](std::size_t i) { return tables.entries[i].name; });
}
[[nodiscard]] QLIB_INLINE inline float load_float(const std::byte* p) noexcept {
    return float_of(static_cast<std::uint32_t>(load_little(p, 4)));
}
/// False for NaN, infinities and negative numbers.
[[nodiscard]] QLIB_INLINE inline bool is_amount(float x) noexcept { return is_finite(x) && x >= 0; }

/// The mean of a sum, as llama.cpp's loader has it: what was never seen is 1 in the GGUF form and the sum itself in the older one.
[[nodiscard]] QLIB_INLINE inline float mean_square(float sum, float count, bool legacy) noexcept {
    if (count > 0) return sum / count;
    return legacy ? sum : 1.0f;
}

/// One pass over a file's structure, then one over its numbers. `culprit` is the name read last.
struct imatrix_parser {
    std::span<const std::byte> file;
    gguf_limits limits;
    imatrix_tables& tables;
    std::string_view culprit = {};
    growing<imatrix_source> sources = {};

    [[nodiscard]] static error broken(errc code, const char* rule, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) noexcept {
        return {code, rule, "imatrix", {a, b, c}};
    }

    status add_source(const imatrix_source& source) noexcept {
        return sources.append(source) ? status{} : status(out_of_memory(sizeof source));
    }
    status add_dataset(std::string_view name) noexcept {
        return tables.datasets.append(name) ? status{} : status(out_of_memory(sizeof name));
    }

    // The GGUF form.

    [[nodiscard]] const gguf_value* value_of(std::string_view key) noexcept {
        const std::size_t i = find_entry(tables.gguf, key);
        if (i == tables.gguf.entries.size()) return nullptr;
        culprit = tables.gguf.entries[i].key;
        return &tables.gguf.entries[i].value;
    }
    status read_u32(std::string_view key, std::uint32_t& out) noexcept {
        const gguf_value* v = value_of(key);
        if (v == nullptr) return {};
        const auto n = v->as_uint();
        if (!n) return n.error();
        if (*n > 0xFFFFFFFF) return broken(errc::malformed, "{0} chunks, or of that many tokens", *n);
        out = static_cast<std::uint32_t>(*n);
        return {};
    }
    status read_metadata() noexcept {
        const gguf_value* type = value_of("general.type");
        if (type == nullptr) return broken(errc::malformed, "a GGUF file without a general.type of \"imatrix\"");
        const auto text = type->as_string();
        if (!text) return text.error();
        if (*text != "imatrix") return broken(errc::malformed, "a GGUF file whose general.type is not \"imatrix\"");
        if (status s = read_u32("imatrix.chunk_count", tables.chunk_count); !s) return s;
        if (status s = read_u32("imatrix.chunk_size", tables.chunk_size); !s) return s;
        const gguf_value* names = value_of("imatrix.datasets");
        if (names == nullptr) return {};
        if (!names->is_array() || names->element_type != gguf_type::string)
            return broken(errc::malformed, "an array of strings is needed for the data sets");
        for (const std::string_view name : names->strings())
            if (status s = add_dataset(name); !s) return s;
        return {};
    }

    /// The tensor whose name is `stem` and a suffix, or null.
    [[nodiscard]] const gguf_tensor* find_part(std::string_view stem, std::string_view suffix) const noexcept {
        char name[gguf_name_limit];
        if (stem.size() + suffix.size() > sizeof name) return nullptr;
        std::memcpy(name, stem.data(), stem.size());
        std::memcpy(name + stem.size(), suffix.data(), suffix.size());
        const std::size_t i = find_tensor(tables.gguf, {name, stem.size() + suffix.size()});
        return i < tables.gguf.tensors.size() ? &tables.gguf.tensors[i] : nullptr;
    }
    status read_pair(const gguf_tensor& sums) noexcept {
        const std::string_view stem = sums.name.substr(0, sums.name.size() - imatrix_sums_suffix.size());
        if (stem.empty()) return broken(errc::malformed, "sums of a weight without a name");
        const gguf_tensor* counts = find_part(stem, imatrix_counts_suffix);
        if (counts == nullptr) return broken(errc::malformed, "sums without counts");
        if (sums.type != 0 || counts->type != 0)
            return broken(errc::malformed, "sums of type {0} and counts of type {1}: both must be f32", sums.type, counts->type);
        if (sums.bytes == 0 || sums.rows() != counts->cols() * counts->rows())  // neither product wraps: the tensors are in the file
            return broken(errc::malformed, "{0} x {1} sums and {2} counts", sums.rows(), sums.cols(), counts->cols() * counts->rows());
        return add_source({stem, sums.data, counts->data});
    }
    status read_gguf() noexcept {
        if (status s = parse_gguf(file, limits, tables.gguf, &culprit); !s) return s;
        if (status s = read_metadata(); !s) return s;
        for (const gguf_tensor& t : tables.gguf.tensors.view()) {
            culprit = t.name;
            if (t.name.ends_with(imatrix_sums_suffix)) {
                if (status s = read_pair(t); !s) return s;
            } else if (t.name.ends_with(imatrix_counts_suffix)) {
                if (find_part(t.name.substr(0, t.name.size() - imatrix_counts_suffix.size()), imatrix_sums_suffix) == nullptr)
                    return broken(errc::malformed, "counts without sums");
            }
        }
        culprit = {};
        return {};
    }

    // The older form: all numbers are i32 or f32.

    [[nodiscard]] static error ends_early(const byte_cursor& in, std::uint64_t more) noexcept {
        return broken(errc::truncated, "at least {0} bytes are needed, {1} are there", saturating_add(in.at, more), in.bytes.size());
    }
    /// A number from `least` to `most`, below 2^31: a negative one is too large.
    static status read_i32(byte_cursor& in, std::uint32_t least, std::uint32_t most, const char* rule, std::uint32_t& out) noexcept {
        if (!in.number(out)) return ends_early(in, 4);
        return out >= least && out <= most ? status{} : status(broken(errc::malformed, rule, out, least, most));
    }
    static status read_text(byte_cursor& in, std::uint32_t bytes, std::string_view& out) noexcept {
        std::span<const std::byte> text;
        if (!in.take(bytes, text)) return ends_early(in, bytes);
        out = text_of(text);
        return {};
    }
    status read_entry(byte_cursor& in, std::uint64_t index) noexcept {
        imatrix_source source;
        std::uint32_t name_bytes = 0, calls = 0, values = 0;
        culprit = {};
        if (status s = read_i32(in, 1, gguf_name_limit, "a name of {0} bytes: {1} to {2} are allowed", name_bytes); !s) return s;
        if (status s = read_text(in, name_bytes, source.name); !s) return s;
        culprit = source.name;
        if (status s = check_name(source.name, gguf_name_limit, "imatrix", index); !s) return s;
        const std::size_t calls_at = in.at;
        if (status s = read_i32(in, 0, 0x7FFFFFFF, "a count of {0}: {1} to {2} are allowed", calls); !s) return s;
        source.counts = in.bytes.subspan(calls_at, 4);
        if (status s = read_i32(in, 1, 0x7FFFFFFF, "{0} values: {1} to {2} are allowed", values); !s) return s;
        if (!in.take(std::uint64_t{values} * 4, source.sums)) return ends_early(in, std::uint64_t{values} * 4);
        return add_source(source);
    }
    /// Absent in old files; those of a time between have the chunks alone.
    status read_trailer(byte_cursor& in) noexcept {
        culprit = {};
        if (in.left() == 0) return {};
        if (status s = read_i32(in, 0, 0x7FFFFFFF, "{0} chunks: {1} to {2} are allowed", tables.chunk_count); !s) return s;
        if (in.left() == 0) return {};
        std::uint32_t bytes = 0;
        std::string_view name;
        if (status s = read_i32(in, 0, 0x7FFFFFFF, "a data set's name of {0} bytes: {1} to {2} are allowed", bytes); !s) return s;
        if (bytes > limits.string_bytes)
            return broken(errc::malformed, "a data set's name of {0} bytes, {1} are allowed", bytes, limits.string_bytes);
        if (status s = read_text(in, bytes, name); !s) return s;
        if (in.left() != 0) return broken(errc::malformed, "{0} bytes behind the end", in.left());
        return bytes == 0 ? status{} : add_dataset(name);
    }
    status read_legacy() noexcept {
        tables.legacy = true;
        byte_cursor in{file};
        std::uint32_t count = 0;
        if (status s = read_i32(in, 1, 0x7FFFFFFF, "{0} entries: {1} to {2} are allowed", count); !s) return s;
        constexpr std::uint64_t least = 4 + 1 + 4 + 4 + 4;  // a name of one byte, one value
        if (count > in.left() / least) return ends_early(in, count * least);
        for (std::uint32_t i = 0; i < count; ++i)
            if (status s = read_entry(in, i); !s) return s;
        return read_trailer(in);
    }

    // Both.

    /// Turns one entry's bytes into counts and means at `out`, and moves it behind them.
    status read_numbers(const imatrix_source& source, float*& out) noexcept {
        imatrix_entry e;
        culprit = e.name = source.name;
        e.matrices = source.counts.size() / 4;
        e.cols = source.sums.size() / 4 / e.matrices;
        float* const counts = out;
        float* const means = out + e.matrices;
        for (std::size_t m = 0; m < e.matrices; ++m) {
            const std::byte* const raw = source.counts.data() + 4 * m;
            counts[m] = tables.legacy ? static_cast<float>(load_little(raw, 4)) : load_float(raw);
            if (!is_amount(counts[m])) return broken(errc::importance, "count {0} is negative or not finite", m);
        }
        for (std::size_t i = 0; i < e.matrices * e.cols; ++i) {
            const float sum = load_float(source.sums.data() + 4 * i);
            if (!is_amount(sum))
                return broken(errc::importance, "value {0} of matrix {1} is negative or not finite", i % e.cols, i / e.cols);
            means[i] = mean_square(sum, counts[i / e.cols], tables.legacy);
            if (!is_finite(means[i]))
                return broken(errc::importance, "the mean of value {0} of matrix {1} overflows", i % e.cols, i / e.cols);
        }
        e.counts = {counts, e.matrices};
        e.importance = {means, e.matrices * e.cols};
        out = means + e.importance.size();
        return tables.entries.append(e) ? status{} : status(out_of_memory(sizeof e));
    }
    status parse() noexcept {
        const bool gguf = file.size() >= 4 && text_of(file.first(4)) == "GGUF";
        if (status s = gguf ? read_gguf() : read_legacy(); !s) return s;
        if (sources.size() == 0) return broken(errc::malformed, "no entries");
        std::size_t total = 0;  // at most a quarter of the file's bytes
        for (const imatrix_source& s : sources.view()) total += s.sums.size() / 4 + s.counts.size() / 4;
        if (!tables.numbers.allocate(total)) return out_of_memory(total * sizeof(float));
        float* out = tables.numbers.data();
        for (const imatrix_source& s : sources.view())
            if (status done = read_numbers(s, out); !done) return done;
        const auto name_of = [&](std::size_t i) { return tables.entries[i].name; };
        if (!sort_names(tables.order, tables.entries.size(), name_of)) return out_of_memory(tables.entries.size() * sizeof(std::size_t));
        const std::size_t p = find_duplicate(tables.order, name_of);
        culprit = {};
        if (p == tables.order.size()) return {};
        culprit = name_of(tables.order[p]);
        return broken(errc::malformed, "#{0} and #{1} have the same name", tables.order[p], tables.order[p + 1]);
    }
};

inline status parse_imatrix(std::span<const std::byte> file, const gguf_limits& limits, imatrix_tables& tables,
                            std::string_view* culprit) noexcept {
    if (culprit != nullptr) *culprit = {};
    gguf_limits whole = limits;
    whole.file_size = 0;  // the numbers are needed too
    imatrix_parser parser{file, whole, tables};
    const status s = parser.parse();
    if (culprit != nullptr && !s) *culprit = parser.culprit;
    return s;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

/// A parsed importance matrix. Names point into the parsed bytes, which must outlive it; the numbers are its own.
class imatrix_file {
public:
    QLIB_INLINE imatrix_file(imatrix_file&&) noexcept = default;
    QLIB_INLINE imatrix_file& operator=(imatrix_file&&) noexcept = default;
    /// Reads and checks a file of either form, told apart by the first four bytes.
    ///
    /// file     the whole file, at any address. Memory: at most as many bytes again, and the tables
    /// limits   of the GGUF form; file_size is not used
    /// culprit  set to the weight, tensor or key that an error speaks of, else emptied. It may hold any bytes of the file
    /// error    truncated or malformed for a broken rule; importance for a number that is negative, not finite or whose mean is not;
    ///          in the GGUF form also what gguf_file::parse answers; memory
    /// exact    one rounding: sum / count
    /// source   llama.cpp, tools/imatrix; stricter: names without zero bytes and not twice, no negative numbers
    [[nodiscard]] QLIB_INLINE static result<imatrix_file> parse(std::span<const std::byte> file, gguf_limits limits = {},
                                                                std::string_view* culprit = nullptr) noexcept {
        imatrix_file parsed;
        if (const status s = detail::parse_imatrix(file, limits, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    /// One per weight, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const imatrix_entry> entries() const noexcept { return tables_.entries.view(); }
    /// The entry of a weight, or null. Lives as long as the file object, and does not move with it.
    [[nodiscard]] QLIB_INLINE const imatrix_entry* find(std::string_view name) const noexcept {
        const std::size_t i = detail::find_importance(tables_, name);
        return i < tables_.entries.size() ? &tables_.entries[i] : nullptr;
    }
    /// Names of the texts that were used.
    [[nodiscard]] QLIB_INLINE std::span<const std::string_view> datasets() const noexcept { return tables_.datasets.view(); }
    /// How many chunks of text were used; 0: not known.
    [[nodiscard]] QLIB_INLINE std::uint32_t chunk_count() const noexcept { return tables_.chunk_count; }
    /// Tokens of a chunk; 0: not known, as in the older form.
    [[nodiscard]] QLIB_INLINE std::uint32_t chunk_size() const noexcept { return tables_.chunk_size; }
    /// Whether the file is of the older form.
    [[nodiscard]] QLIB_INLINE bool legacy() const noexcept { return tables_.legacy; }

    /// All metadata of the GGUF form; the older one has none.
    [[nodiscard]] QLIB_INLINE std::span<const gguf_entry> metadata() const noexcept { return tables_.gguf.entries.view(); }
    /// The value of a key, or null.
    [[nodiscard]] QLIB_INLINE const gguf_value* find_metadata(std::string_view key) const noexcept {
        const std::size_t i = detail::find_entry(tables_.gguf, key);
        return i < tables_.gguf.entries.size() ? &tables_.gguf.entries[i].value : nullptr;
    }

private:
    QLIB_INLINE imatrix_file() noexcept = default;
    detail::imatrix_tables tables_;
};

}  // namespace qlib::inline v0
// imatrix_writer: writes importance matrices as llama.cpp's llama-imatrix does, for its llama-quantize and for imatrix_file.
//
//   qlib::imatrix_writer out;
//   check(out.add("blk.0.ffn_down.weight", sums, counts));                            // borrowed until the file is written
//   check(out.add_dataset("wiki.train.raw"));
//   out.set_chunks(chunks, 512);
//   check(out.set("calibration.sha256", digest));                                     // any metadata more
//   check(out.write_gguf(sink));

namespace qlib::inline v0::detail {

/// One weight's sums. The numbers are the caller's.
struct imatrix_sums {
    std::array<char, gguf_name_limit> text{};
    std::size_t text_bytes = 0;
    std::span<const float> sums, counts;
    [[nodiscard]] QLIB_INLINE std::string_view name() const noexcept { return {text.data(), text_bytes}; }
};

struct imatrix_draft {
    growing<imatrix_sums> entries;
    growing<std::byte> datasets;  // strings as in a GGUF array
    std::uint64_t dataset_count = 0;
    std::size_t last_dataset = 0;  // where its text begins in `datasets`
    std::uint32_t chunk_count = 0, chunk_size = 0;
    gguf_draft metadata;           // holds pairs only
};

}  // namespace qlib::inline v0::detail

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t imatrix_suffix_bytes = 8;  // of ".in_sum2"

[[nodiscard]] inline error bad_sums(const char* rule, std::uint64_t a = 0, std::uint64_t b = 0) noexcept {
    return {errc::importance, rule, "imatrix", {a, b}};
}

inline status add_sums(imatrix_draft& draft, std::string_view name, std::span<const float> sums, std::span<const float> counts) noexcept {
    if (status s = check_name(name, gguf_name_limit - imatrix_suffix_bytes, "imatrix", draft.entries.size()); !s) return s;
    if (sums.empty() || counts.empty() || sums.size() % counts.size() != 0)
        return bad_sums("{0} sums for {1} matrices", sums.size(), counts.size());
    for (std::size_t m = 0; m < counts.size(); ++m)
        if (!is_finite(counts[m]) || counts[m] < 0) return bad_sums("count {0} is negative or not finite", m);
    const std::size_t cols = sums.size() / counts.size();
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const float count = counts[i / cols];
        if (!is_finite(sums[i]) || sums[i] < 0) return bad_sums("value {0} of matrix {1} is negative or not finite", i % cols, i / cols);
        if (count > 0 && !is_finite(sums[i] / count)) return bad_sums("the mean of value {0} of matrix {1} overflows", i % cols, i / cols);
    }
    imatrix_sums entry;
    std::memcpy(entry.text.data(), name.data(), name.size());
    entry.text_bytes = name.size();
    entry.sums = sums;
    entry.counts = counts;
    return draft.entries.append(entry) ? status{} : status(out_of_memory(sizeof entry));
}

inline status add_dataset(imatrix_draft& draft, std::string_view name) noexcept {
    const std::size_t at = draft.datasets.size();
    if (!put_text(draft.datasets, name)) {
        draft.datasets.cut(at);
        return out_of_memory(8 + name.size());
    }
    draft.last_dataset = at + 8;
    ++draft.dataset_count;
    return {};
}

/// The entries by name, as llama-imatrix writes them.
inline status order_sums(const imatrix_draft& draft, buffer<std::size_t>& order) noexcept {
    const auto name_of = [&](std::size_t i) { return draft.entries[i].name(); };
    if (draft.entries.size() == 0) return error{errc::argument, "no entries", "imatrix", {}};
    if (!sort_names(order, draft.entries.size(), name_of)) return out_of_memory(draft.entries.size() * sizeof(std::size_t));
    const std::size_t p = find_duplicate(order, name_of);
    if (p == order.size()) return {};
    return error{errc::argument, "#{0} and #{1} have the same name", "imatrix", {order[p], order[p + 1]}};
}

/// Sends value(0) .. value(count - 1) as little-endian floats, in pieces: send(bytes).
template <class Value, class Send> status send_floats(std::size_t count, const Value& value, const Send& send) noexcept {
    std::byte piece[1024];
    for (std::size_t i = 0; i < count;) {
        std::size_t used = 0;
        for (; i < count && used < sizeof piece; ++i, used += 4) store_little(piece + used, bits_of(value(i)), 4);
        if (status s = send(std::span<const std::byte>(piece, used)); !s) return s;
    }
    return {};
}

inline status plan_imatrix(const imatrix_draft& draft, gguf_draft& file) noexcept {
    const gguf_value datasets{gguf_type::array, gguf_type::string, draft.dataset_count, draft.datasets.view()};
    if (!file.text.append(draft.metadata.text.view()) || !file.sets.append(draft.metadata.sets.view()))
        return out_of_memory(draft.metadata.text.size());
    if (status s = set_one(file, "general.type", gguf_type::string, std::string_view("imatrix")); !s) return s;
    if (status s = copy_pair(file, "imatrix.datasets", datasets); !s) return s;
    if (status s = set_one(file, "imatrix.chunk_count", gguf_type::u32, draft.chunk_count); !s) return s;
    return set_one(file, "imatrix.chunk_size", gguf_type::u32, draft.chunk_size);
}

inline status write_imatrix_gguf(const imatrix_draft& draft, sink_ref sink) noexcept {
    buffer<std::size_t> order;
    if (status s = order_sums(draft, order); !s) return s;
    gguf_draft file;
    if (status s = plan_imatrix(draft, file); !s) return s;
    constexpr std::string_view suffixes[2] = {".in_sum2", ".counts"};
    // Each entry is two tensors: visit(name, values, number of rows).
    const auto for_each_part = [&](const auto& visit) -> status {
        for (std::size_t p = 0; p < order.size(); ++p) {
            const imatrix_sums& e = draft.entries[order[p]];
            for (std::size_t part = 0; part < 2; ++part) {
                char name[gguf_name_limit];
                std::memcpy(name, e.text.data(), e.text_bytes);
                std::memcpy(name + e.text_bytes, suffixes[part].data(), suffixes[part].size());
                const std::string_view full(name, e.text_bytes + suffixes[part].size());
                if (status s = visit(full, part == 0 ? e.sums : e.counts, e.counts.size()); !s) return s;
            }
        }
        return {};
    };
    const status planned = for_each_part([&](std::string_view name, std::span<const float> values, std::size_t rows) {
        const std::uint64_t ne[2] = {values.size() / rows, rows};
        return plan_tensor(file, name, 0, std::span(ne).first(rows == 1 ? 1 : 2));  // ggml drops a last dimension of 1
    });
    if (!planned) return planned;
    if (status s = begin_file(file, sink); !s) return s;
    const status written = for_each_part([&](std::string_view name, std::span<const float> values, std::size_t) {
        const auto value = [&](std::size_t i) { return values[i]; };
        return send_floats(values.size(), value, [&](std::span<const std::byte> piece) { return write_piece(file, name, piece); });
    });
    return written ? finish_file(file) : written;
}

/// Chunks that a weight has seen, rounded up; 0: none of its matrices was seen at all. error: overflow.
inline status count_chunks(const imatrix_sums& e, std::uint32_t chunk_size, std::uint32_t& chunks) noexcept {
    float most = 0;
    for (const float count : e.counts) most = larger(most, count);
    const std::uint64_t size = chunk_size != 0 ? chunk_size : 1;
    const std::uint64_t whole = static_cast<std::uint64_t>(smaller(most, 0x1p62f));
    const std::uint64_t tokens = whole + (static_cast<float>(whole) < most);
    const std::uint64_t n = divide_up(tokens, size);
    if (n > 0x7FFFFFFF || e.sums.size() > 0x7FFFFFFF)
        return error{errc::overflow, "{0} chunks and {1} values: the older form counts to 2^31 - 1", "imatrix", {n, e.sums.size()}};
    chunks = static_cast<std::uint32_t>(n);
    return {};
}

/// A value of the older form: the mean of all inputs of a column, times the weight's chunks.
[[nodiscard]] inline float mean_times(float sum, float count, std::uint32_t chunks) noexcept {
    return (count > 0 ? sum / count : 1.0f) * static_cast<float>(chunks);
}

inline status check_legacy(const imatrix_draft& draft, const buffer<std::size_t>& order, std::uint32_t& count) noexcept {
    count = 0;
    for (std::size_t p = 0; p < order.size(); ++p) {
        const imatrix_sums& e = draft.entries[order[p]];
        std::uint32_t chunks = 0;
        if (status s = count_chunks(e, draft.chunk_size, chunks); !s) return s;
        count += chunks != 0;
        const std::size_t cols = e.sums.size() / e.counts.size();
        for (std::size_t i = 0; i < e.sums.size(); ++i)
            if (!is_finite(mean_times(e.sums[i], e.counts[i / cols], chunks)))
                return error{errc::overflow, "value {0} of matrix {1} overflows in the older form", "imatrix", {i % cols, i / cols}};
    }
    if (count == 0) return error{errc::argument, "no entry has seen an input", "imatrix", {}};
    if (draft.dataset_count == 0 || draft.datasets.size() - draft.last_dataset <= 0x7FFFFFFF) return {};
    return error{errc::overflow, "a data set's name of {0} bytes", "imatrix", {draft.datasets.size() - draft.last_dataset}};
}

inline status write_imatrix_legacy(const imatrix_draft& draft, sink_ref sink) noexcept {
    buffer<std::size_t> order;
    std::uint32_t count = 0;
    if (status s = order_sums(draft, order); !s) return s;
    if (status s = check_legacy(draft, order, count); !s) return s;
    const auto send = [&](std::span<const std::byte> bytes) -> status {
        if (bytes.empty() || sink(bytes)) return {};
        return error{errc::io, "the sink refused {0} bytes", "imatrix_writer", {bytes.size()}};
    };
    const auto send_number = [&](std::uint64_t n) {
        std::byte raw[4];
        store_little(raw, n, 4);
        return send(raw);
    };
    if (status s = send_number(count); !s) return s;
    for (std::size_t p = 0; p < order.size(); ++p) {
        const imatrix_sums& e = draft.entries[order[p]];
        const std::size_t cols = e.sums.size() / e.counts.size();
        std::uint32_t chunks = 0;
        if (status s = count_chunks(e, draft.chunk_size, chunks); !s) return s;
        if (chunks == 0) continue;
        if (status s = send_number(e.text_bytes); !s) return s;
        if (status s = send(bytes_of(e.name())); !s) return s;
        if (status s = send_number(chunks); !s) return s;
        if (status s = send_number(e.sums.size()); !s) return s;
        const auto value = [&](std::size_t i) { return mean_times(e.sums[i], e.counts[i / cols], chunks); };
        if (status s = send_floats(e.sums.size(), value, send); !s) return s;
    }
    const std::span<const std::byte> dataset = draft.datasets.view().subspan(draft.last_dataset);
    if (status s = send_number(draft.chunk_count); !s) return s;
    if (status s = send_number(dataset.size()); !s) return s;
    return send(dataset);
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

/// Collects the sums of all weights, then writes a file of either form, or several. A function that fails leaves the writer as it was.
class imatrix_writer {
public:
    /// Adds a weight.
    ///
    /// name     of its tensor, 1 to 55 bytes, none of them zero
    /// in_sum2  (matrices, cols): for each column the sum of the squares of its inputs. Borrowed until the file is written
    /// counts   how many inputs each matrix has seen. Borrowed
    /// error    malformed for the name; importance for a number that is negative, not finite or whose mean is not, and for sizes
    QLIB_INLINE status add(std::string_view name, std::span<const float> in_sum2, std::span<const float> counts) noexcept {
        return detail::add_sums(draft_, name, in_sum2, counts);
    }
    /// Names a text that was used. The older form keeps the last.
    QLIB_INLINE status add_dataset(std::string_view name) noexcept { return detail::add_dataset(draft_, name); }
    /// How much text was used: `count` chunks of `size` tokens. The older form counts inputs in chunks; with a size of 0 it counts tokens.
    QLIB_INLINE void set_chunks(std::uint32_t count, std::uint32_t size) noexcept {
        draft_.chunk_count = count;
        draft_.chunk_size = size;
    }
    /// Metadata of the GGUF form, as gguf_writer::set; the keys that the form itself needs are set last.
    template <gguf_number T> QLIB_INLINE status set(std::string_view key, T value) noexcept {
        return detail::set_one(draft_.metadata, key, detail::gguf_type_of<T>(), value);
    }
    QLIB_INLINE status set(std::string_view key, std::string_view value) noexcept {
        return detail::set_one(draft_.metadata, key, gguf_type::string, value);
    }
    QLIB_INLINE status set(std::string_view key, const char* value) noexcept { return set(key, std::string_view(value)); }
    QLIB_INLINE status set(std::string_view key, const gguf_value& value) noexcept {
        return detail::copy_pair(draft_.metadata, key, value);
    }

    /// Writes the GGUF form: the entries sorted by name, each as the tensors NAME.in_sum2 and NAME.counts.
    /// error: argument for no entries or a name given twice; io
    QLIB_INLINE status write_gguf(sink_ref sink) const noexcept { return detail::write_imatrix_gguf(draft_, sink); }
    /// Writes the older form: means times chunks. Matrices that have seen nothing count as 1 throughout; weights of which none has seen
    /// anything are left out.
    /// error: argument for no such entries or a name given twice; overflow; io
    QLIB_INLINE status write_legacy(sink_ref sink) const noexcept { return detail::write_imatrix_legacy(draft_, sink); }

private:
    detail::imatrix_draft draft_;
};

}  // namespace qlib::inline v0
// safetensors files: reading (safetensors_file), writing (safetensors_writer), and the index of a model in several files.
// model.safetensors.index.json: which file of a model in several files holds which tensor.

namespace qlib::inline v0 {

/// A tensor and the name of the file that holds it.
struct safetensors_location { std::string_view tensor, file; };

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

struct safetensors_index_tables {
    json_value document;
    growing<safetensors_location> locations;  // in the file's order
    growing<std::string_view> files;          // each once, sorted
    buffer<std::size_t> tensor_order;
    string_room names;
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline status parse_index(std::string_view text, safetensors_index_tables& tables, std::string_view* culprit) noexcept;
[[nodiscard]] inline std::size_t find_location(const safetensors_index_tables& tables, std::string_view tensor) noexcept {
    return find_name(tables.tensor_order, tensor, [&](std::size_t i) { return tables.locations[i].tensor; });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// A parsed index. Names without escapes point into the parsed text, which must outlive it. That a file holds the tensors that the
/// index promises is for the caller to check, when the file is open.
class safetensors_index {
public:
    QLIB_INLINE safetensors_index(safetensors_index&&) noexcept = default;
    QLIB_INLINE safetensors_index& operator=(safetensors_index&&) noexcept = default;
    /// Reads an index.
    ///
    /// text     the whole file
    /// culprit  set to the tensor or key that an error speaks of, as the file spells it, else emptied
    /// error    malformed or truncated, for JSON that is none, no weight_map, or a file that is not one of the same folder; memory
    [[nodiscard]] QLIB_INLINE static result<safetensors_index> parse(std::string_view text,
                                                                     std::string_view* culprit = nullptr) noexcept {
        safetensors_index parsed;
        if (const status s = detail::parse_index(text, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    /// All tensors, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_location> tensors() const noexcept { return tables_.locations.view(); }
    /// The files, sorted by name. Names of files in the index's own folder: no separator, no "..", no drive.
    [[nodiscard]] QLIB_INLINE std::span<const std::string_view> files() const noexcept { return tables_.files.view(); }
    /// The file that holds a tensor; empty when the index does not know it.
    [[nodiscard]] QLIB_INLINE std::string_view find(std::string_view tensor) const noexcept {
        const std::size_t i = detail::find_location(tables_, tensor);
        return i < tables_.locations.size() ? tables_.locations[i].file : std::string_view();
    }
    /// The sum of all tensors' bytes as the index claims it: often wrong, only good for a progress bar. error: malformed when it has none.
    [[nodiscard]] QLIB_INLINE result<std::uint64_t> total_size() const noexcept {
        return tables_.document["metadata"]["total_size"].as_uint();
    }

private:
    QLIB_INLINE safetensors_index() noexcept = default;
    detail::safetensors_index_tables tables_;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::inline QLIB_BASE {

/// Whether this is the plain name of a file: 1 to 255 bytes, no '/', '\', ':' or control character, and not "." or "..".
[[nodiscard]] inline bool is_plain_file_name(std::string_view name) noexcept {
    if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
    for (const char c : name)
        if (c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return false;
    return true;
}

/// "model-00002-of-00003.safetensors" for file 2 of 3, in `room`; "model.safetensors" when there is but one.
/// Returns the part of `room` that was used; what does not fit is cut: 48 chars always do.
[[nodiscard]] inline std::string_view shard_name(std::uint64_t number, std::uint64_t count, std::span<char> room) noexcept {
    std::size_t at = 0;
    const auto put = [&](char c) { if (at < room.size()) room[at++] = c; };
    const auto text = [&](std::string_view s) { for (const char c : s) put(c); };
    const auto five = [&](std::uint64_t n) {
        char digits[20];
        std::size_t length = 0;
        for (; n != 0 || length < 5; n /= 10) digits[length++] = static_cast<char>('0' + n % 10);
        while (length != 0) put(digits[--length]);
    };
    text("model");
    if (count > 1) {
        put('-');
        five(number);
        text("-of-");
        five(count);
    }
    text(".safetensors");
    return {room.data(), at};
}

/// Writes the text of an index.
///
/// out      gets as much as fits; may be empty
/// returns  the chars of the whole text, also where they did not fit
/// error    argument, sizes {position}: a file name that is not plain, a tensor name that is not UTF-8 or was there before; memory
[[nodiscard]] inline result<std::size_t> write_safetensors_index(std::span<const safetensors_location> tensors,
                                                                 std::uint64_t total_size, std::span<char> out) noexcept;

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The distinct files, sorted. False without memory.
[[nodiscard]] inline bool list_files(safetensors_index_tables& tables) noexcept {
    const auto file_of = [&](std::size_t i) { return tables.locations[i].file; };
    buffer<std::size_t> order;
    if (!sort_names(order, tables.locations.size(), file_of)) return false;
    for (std::size_t p = 0; p < order.size(); ++p)
        if ((p == 0 || file_of(order[p]) != file_of(order[p - 1])) && !tables.files.append(file_of(order[p]))) return false;
    return true;
}

inline status parse_index(std::string_view text, safetensors_index_tables& tables, std::string_view* culprit) noexcept {
    const auto parsed = json_value::parse(text, culprit);
    if (!parsed) return json_error(parsed.error(), "index");
    tables.document = *parsed;
    const json_value map = tables.document["weight_map"];
    if (map.type() != json_type::object) return error{errc::malformed, "a map from tensors to files is needed", "weight_map", {}};
    for (const json_member m : map.members()) {
        if (culprit != nullptr) *culprit = m.key.text.substr(1, m.key.text.size() - 2);
        safetensors_location l;
        if (m.value.type() != json_type::string) return error{errc::malformed, "the name of a file is needed", "weight_map", {}};
        if (!tables.names.decode(m.key.text, text.size(), l.tensor) || !tables.names.decode(m.value.text, text.size(), l.file) ||
            !tables.locations.append(l))
            return out_of_memory(text.size());
        if (!is_plain_file_name(l.file)) return error{errc::malformed, "the file is not one of the same folder", "weight_map", {}};
    }
    if (culprit != nullptr) *culprit = {};
    const auto name_of = [&](std::size_t i) { return tables.locations[i].tensor; };
    const bool done = sort_names(tables.tensor_order, tables.locations.size(), name_of) && list_files(tables);
    return done ? status{} : status(out_of_memory(text.size()));
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

inline result<std::size_t> write_safetensors_index(std::span<const safetensors_location> tensors, std::uint64_t total_size,
                                                   std::span<char> out) noexcept {
    const auto refused = [](const char* rule, std::size_t i) { return error{errc::argument, rule, "index", {i}}; };
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        if (!is_plain_file_name(tensors[i].file) || !detail::is_utf8(tensors[i].file))
            return refused("#{0} has no plain file name", i);
        if (!detail::is_utf8(tensors[i].tensor)) return refused("#{0} has a name that is not UTF-8", i);
    }
    detail::buffer<std::size_t> order;
    const auto name_of = [&](std::size_t i) { return tensors[i].tensor; };
    if (!detail::sort_names(order, tensors.size(), name_of)) return detail::out_of_memory(tensors.size() * sizeof(std::size_t));
    if (const std::size_t p = detail::find_duplicate(order, name_of); p != order.size())
        return refused("#{0} has a name that was there before", order[p + 1]);
    detail::json_writer json(out);
    json.open('{');
    json.key("metadata");
    json.open('{');
    json.key("total_size");
    json.integer(total_size);
    json.close('}');
    json.key("weight_map");
    json.open('{');
    for (std::size_t p = 0; p < order.size(); ++p) {
        json.key(tensors[order[p]].tensor);
        json.string(tensors[order[p]].file);
    }
    json.close('}');
    json.close('}');
    return json.size();
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// safetensors_writer: writes a safetensors file into the caller's sink. Tensor shapes and metadata are collected first; then the header
// goes out, and the tensors' data stream through in pieces of any size, in the order that the format's own writer has.
//
//   qlib::safetensors_writer out;
//   check(out.set_metadata("format", "pt"));
//   check(out.add_tensor("lm_head.weight", qlib::safetensors_type::bf16, std::array<std::uint64_t, 2>{rows, cols}));
//   auto sink = [&](std::span<const std::byte> bytes) { return fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size(); };
//   check(out.begin(sink));
//   for (const qlib::safetensors_tensor& t : out.tensors()) check(out.write(t.name, data_of(t.name)));
//   check(out.finish());

namespace qlib::inline v0::detail {

/// What a writer knows and where it stands.
struct safetensors_draft {
    enum class stage : std::uint8_t { collecting, writing, finished, failed };
    /// A tensor or a metadata pair: its text lies in `text`, its shape in `dims`.
    struct tensor { std::size_t name_at, name_bytes, dims_at, n_dims; std::uint64_t bytes; safetensors_type type; };
    struct pair { std::size_t at, key_bytes, value_bytes; };
    growing<char> text;
    growing<std::uint64_t> dims;
    growing<tensor> tensors;
    growing<pair> metadata;
    buffer<safetensors_tensor> ordered;  // in the order of writing; after begin()
    sink_ref sink;
    std::uint64_t file_size = 0;
    std::size_t next = 0;    // the tensor that is being written
    std::uint64_t done = 0;  // bytes of it
    stage at = stage::collecting;

    [[nodiscard]] QLIB_INLINE std::string_view name(const tensor& t) const noexcept {
        return {text.data() + t.name_at, t.name_bytes};
    }
    [[nodiscard]] QLIB_INLINE std::string_view key(const pair& p) const noexcept { return {text.data() + p.at, p.key_bytes}; }
    [[nodiscard]] QLIB_INLINE std::string_view value(const pair& p) const noexcept {
        return {text.data() + p.at + p.key_bytes, p.value_bytes};
    }
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline status check_stage(const safetensors_draft& draft, safetensors_draft::stage needed) noexcept {
    using enum safetensors_draft::stage;
    if (draft.at == needed) return {};
    switch (draft.at) {
    case collecting: return error{errc::argument, "the header is not written yet: call begin() first", "safetensors_writer", {}};
    case writing: return error{errc::argument, "the header is already written", "safetensors_writer", {}};
    case finished: return error{errc::argument, "the file is already finished", "safetensors_writer", {}};
    default: return error{errc::io, "an earlier write failed", "safetensors_writer", {}};
    }
}

[[nodiscard]] inline bool append_text(growing<char>& to, std::string_view text) noexcept {
    return to.append(std::span<const char>(text.data(), text.size()));
}

/// A later pair with the same key replaces the earlier one.
inline status set_pair(safetensors_draft& draft, std::string_view key, std::string_view value) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::collecting); !s) return s;
    if (!is_utf8(key) || !is_utf8(value)) return error{errc::argument, "a key or value that is not UTF-8", "metadata", {}};
    const std::size_t start = draft.text.size();
    const safetensors_draft::pair pair{start, key.size(), value.size()};
    for (std::size_t i = 0; i < draft.metadata.size(); ++i) {
        if (draft.key(draft.metadata[i]) != key) continue;
        if (!append_text(draft.text, key) || !append_text(draft.text, value))
            return draft.text.cut(start), out_of_memory(key.size() + value.size());
        draft.metadata[i] = pair;
        return {};
    }
    if (append_text(draft.text, key) && append_text(draft.text, value) && draft.metadata.append(pair)) return {};
    draft.text.cut(start);
    return out_of_memory(key.size() + value.size());
}

inline status plan_tensor(safetensors_draft& draft, std::string_view name, safetensors_type type,
                          std::span<const std::uint64_t> shape) noexcept {
    const std::size_t index = draft.tensors.size(), text_start = draft.text.size(), dims_start = draft.dims.size();
    if (status s = check_stage(draft, safetensors_draft::stage::collecting); !s) return s;
    if (name == "__metadata__") return safetensors_error(errc::argument, "#{3} has the name of the metadata", index);
    if (!is_utf8(name)) return safetensors_error(errc::argument, "#{3} has a name that is not UTF-8", index);
    if (name.find('\0') != std::string_view::npos)
        return safetensors_error(errc::argument, "#{3} has a zero byte in its name", index);
    if (safetensors_bits(type) == 0) return safetensors_error(errc::argument, "#{3} has an unknown type", index);
    safetensors_draft::tensor t{text_start, name.size(), dims_start, shape.size(), 0, type};
    bool whole = true;
    if (!measure_shape(type, shape, t.bytes, whole))
        return safetensors_error(errc::shape, "#{3} has dimensions whose product overflows", index);
    if (!whole) return safetensors_error(errc::shape, "#{3} has elements that do not fill bytes", index);
    if (append_text(draft.text, name) && draft.dims.append(shape) && draft.tensors.append(t)) return {};
    draft.text.cut(text_start);
    draft.dims.cut(dims_start);
    return out_of_memory(name.size() + shape.size_bytes());
}

/// Refuses equal names, and lays the tensors out: types in descending order, then names.
inline status place_planned(safetensors_draft& draft, std::uint64_t& end) noexcept {
    const std::size_t count = draft.tensors.size();
    const auto name_of = [&](std::size_t i) { return draft.name(draft.tensors[i]); };
    buffer<std::size_t> order;
    if (!sort_names(order, count, name_of) || !draft.ordered.allocate(count))
        return out_of_memory(count * sizeof(safetensors_tensor));
    if (const std::size_t p = find_duplicate(order, name_of); p != count)
        return safetensors_error(errc::argument, "#{0} and #{3} have the same name", order[p + 1], order[p]);
    sort_indices(order, [&](std::size_t i, std::size_t j) {
        const safetensors_type a = draft.tensors[i].type, b = draft.tensors[j].type;
        return a != b ? a > b : compare_names(name_of(i), name_of(j)) < 0;
    });
    end = 0;
    for (std::size_t p = 0; p < count; ++p) {
        const safetensors_draft::tensor& t = draft.tensors[order[p]];
        draft.ordered[p] = {draft.name(t), t.type, draft.dims.view().subspan(t.dims_at, t.n_dims), end, t.bytes, {}};
        end = saturating_add(end, t.bytes);
        if (end > safetensors_size_limit)
            return safetensors_error(errc::shape, "#{3} makes the file larger than {0} bytes", order[p], safetensors_size_limit);
    }
    return {};
}

inline void write_header(const safetensors_draft& draft, json_writer& json) noexcept {
    json.open('{');
    if (draft.metadata.size() != 0) {
        json.key("__metadata__");
        json.open('{');
        for (const safetensors_draft::pair& p : draft.metadata.view()) {
            json.key(draft.key(p));
            json.string(draft.value(p));
        }
        json.close('}');
    }
    for (std::size_t i = 0; i < draft.ordered.size(); ++i) {
        const safetensors_tensor& t = draft.ordered[i];
        json.key(t.name);
        json.open('{');
        json.key("dtype");
        json.string(safetensors_name(t.type));
        json.key("shape");
        json.open('[');
        for (const std::uint64_t n : t.shape) json.integer(n);
        json.close(']');
        json.key("data_offsets");
        json.open('[');
        json.integer(t.offset);
        json.integer(t.offset + t.bytes);
        json.close(']');
        json.close('}');
    }
    json.close('}');
}

inline status send(safetensors_draft& draft, std::span<const std::byte> bytes) noexcept {
    if (draft.sink(bytes)) return {};
    draft.at = safetensors_draft::stage::failed;
    return error{errc::io, "the sink refused {0} bytes", "safetensors_writer", {bytes.size()}};
}

/// Tensors without bytes have nothing to wait for.
inline void skip_empty(safetensors_draft& draft) noexcept {
    while (draft.next < draft.ordered.size() && draft.ordered[draft.next].bytes == 0) ++draft.next;
}

inline status begin_file(safetensors_draft& draft, sink_ref sink) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::collecting); !s) return s;
    std::uint64_t data_bytes = 0;
    if (status s = place_planned(draft, data_bytes); !s) return s;
    json_writer counted({});
    write_header(draft, counted);
    const std::size_t length = round_up(counted.size(), 8);  // so that the data are aligned to 8 bytes
    if (length > safetensors_header_limit)
        return error{
            errc::shape, "a header of {0} bytes, readers accept {1}", "safetensors_writer", {length, safetensors_header_limit}};
    buffer<char> head;
    if (!head.allocate(8 + length)) return out_of_memory(8 + length);
    store_little(reinterpret_cast<std::byte*>(head.data()), length, 8);
    std::memset(head.data() + 8, ' ', length);
    json_writer json({head.data() + 8, length});
    write_header(draft, json);
    draft.sink = sink;
    draft.at = safetensors_draft::stage::writing;
    draft.file_size = 8 + length + data_bytes;
    skip_empty(draft);
    return send(draft, bytes_of({head.data(), head.size()}));
}

inline status write_piece(safetensors_draft& draft, std::string_view name, std::span<const std::byte> piece) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::writing); !s) return s;
    if (piece.empty()) return {};
    if (draft.next == draft.ordered.size())
        return error{errc::shape, "all tensors are complete, {0} bytes are left over", "tensor data", {piece.size()}};
    const safetensors_tensor& t = draft.ordered[draft.next];
    if (name != t.name)
        return error{errc::argument,
                     "data for another tensor than #{3} of tensors(), which is next",
                     "tensor data",
                     {0, 0, 0, draft.next}};
    if (piece.size() > t.bytes - draft.done)
        return error{errc::shape, "{0} bytes more, but #{3} of tensors() lacks only {1} of its {2}", "tensor data",
                     {piece.size(), t.bytes - draft.done, t.bytes, draft.next}};
    if (status s = send(draft, piece); !s) return s;
    draft.done += piece.size();
    if (draft.done != t.bytes) return {};
    draft.done = 0;
    ++draft.next;
    skip_empty(draft);
    return {};
}

inline status finish_file(safetensors_draft& draft) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::writing); !s) return s;
    if (draft.next != draft.ordered.size())
        return error{errc::shape, "#{3} of tensors() has {0} of its {1} bytes", "tensor data",
                     {draft.done, draft.ordered[draft.next].bytes, 0, draft.next}};
    draft.at = safetensors_draft::stage::finished;
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// Writes one file. A function that fails leaves the writer as it was, except that nothing works any more after a sink refused.
class safetensors_writer {
public:
    /// A pair of `__metadata__`; transformers wants {"format", "pt"}. Setting a key again replaces its value.
    /// error: argument, for text that is not UTF-8
    QLIB_INLINE status set_metadata(std::string_view key, std::string_view value) noexcept {
        return detail::set_pair(draft_, key, value);
    }

    /// Announces a tensor, in any order.
    ///
    /// name    UTF-8 without zero bytes; begin() refuses a name that was given twice
    /// shape   the row length last: {rows, cols}
    /// error   argument or shape, sizes[3] being the tensor's index
    QLIB_INLINE status add_tensor(std::string_view name, safetensors_type type, std::span<const std::uint64_t> shape) noexcept {
        return detail::plan_tensor(draft_, name, type, shape);
    }

    /// Writes the header, whose end is aligned to 8 bytes. No set_metadata() or add_tensor() after it.
    QLIB_INLINE status begin(sink_ref sink) noexcept { return detail::begin_file(draft_, sink); }
    /// All tensors in the order in which write() wants their data: types descending, then names. Empty before begin(). `data` is empty.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_tensor> tensors() const noexcept {
        return {draft_.ordered.data(), draft_.at != detail::safetensors_draft::stage::collecting ? draft_.ordered.size() : 0};
    }
    /// Writes the next bytes of a tensor's data: the tensors in the order of tensors(), each complete before the next.
    ///
    /// error   argument: another tensor's turn; shape: more bytes than it has; io: the sink refused
    QLIB_INLINE status write(std::string_view name, std::span<const std::byte> piece) noexcept {
        return detail::write_piece(draft_, name, piece);
    }
    /// Says that the file is complete. error: shape when data are missing.
    QLIB_INLINE status finish() noexcept { return detail::finish_file(draft_); }

    /// Bytes of the whole file; known after begin().
    [[nodiscard]] QLIB_INLINE std::uint64_t file_size() const noexcept { return draft_.file_size; }

private:
    detail::safetensors_draft draft_;
};

}  // namespace qlib::inline v0
// describe<F>(): a format as a constexpr value, and as JSON that a reader in any language can decode its bytes by.
//
// A matrix of rows x cols: all blocks row by row in each plane, then the outer values of its tiles, row-major, then `tensor_bytes`. A row is
// cols / block_weights blocks; with flat_blocks and cols not a multiple, the matrix is one row of rows * cols. With ragged_rows the last block
// of a row holds n < block_weights weights: as many bytes of codes as n codes fill, later fields of its plane close up.
//
// Weight i of a block, in group g = i / group:
//     l = levels[code i]     where codes_are_levels; a number of type code_type where that has a name
//     s = scales[g]          scales[0] * subs[g] of two levels; without the field 1, or the outer scale where outer does not multiply
//     z = zeros[g]           type "code": levels[zeros[g]], an integer of `code_bits`, packed like sequential codes; of two levels
//                            -(zeros[0] * mins[g]); without the field the outer zero, else 0
//     y = s * l              map scaled;   s * (l - z) shifted;   s * l + z offset: each step rounded to float
//     y * outer scale        where the outer value multiplies
// Numbers are little-endian; levels, in nine digits, are to be rounded to float. Types: f32 f16 bf16 e8m0 e4m3 ...: scale_type_name<T>.

namespace qlib::inline v0 {

/// How the codes of a block become bytes.
enum class code_layout : std::uint8_t {
    sequential,  ///< one after another, least significant bit first
    planes,      ///< slices of each code, see `plane`
    base3,       ///< five to a byte, the first the least significant
    own,         ///< the format's own
};

/// A section of a block or of an outer value.
struct described_field {
    field part{};
    std::size_t plane = 0, offset = 0, bytes = 0;  ///< of a whole block
    const char* type = "own";                      ///< of its numbers; "code", "bits": see described_bit, or "own"
};

/// What one bit of the sub-scales' section means: where it is set, it adds `weight` to integer `index`: subs, then mins, `groups` of each.
struct described_bit { std::int16_t index = 0, weight = 0; };

/// A format in data. "own" anywhere: the part is not described, only named.
struct description {
    std::size_t group = 0, groups = 0, vec = 0;     ///< weights per map, maps per block, weights per code
    form map{};
    std::span<const float> levels = {};             ///< all that a code can mean; infinities and NaN where a small float has them
    bool codes_are_levels = false;                  ///< code i means levels[i]; else codes are the format's own, as a lattice's
    const char* code_type = "";                     ///< where a code is a number itself: its type; else empty
    std::size_t code_bits = 0;                      ///< 0: not known
    code_layout layout = code_layout::own;
    std::span<const plane> code_planes = {};        ///< of code_layout::planes
    std::span<const std::size_t> planes = {};       ///< bytes of a block in each plane
    std::span<const described_field> fields = {};   ///< in storage order; empty: the block is the format's own
    int sub_bits = 0, min_bits = 0;                 ///< of two levels; 0: none
    bool sub_signed = false;
    std::span<const std::int16_t> sub_base = {};    ///< the integers of a section of zeros: subs, then mins
    std::span<const described_bit> sub_bit = {};    ///< for each bit of the section
    bool ragged_rows = false, flat_blocks = false;
    extent tile{};                                  ///< what an outer value covers
    std::size_t outer_bytes = 0, tensor_bytes = 0;  ///< 0: there is none
    bool outer_multiplies = false;
    std::span<const described_field> outer = {};    ///< of an outer value; empty: none, or the format's own

    [[nodiscard]] QLIB_INLINE constexpr std::size_t block_weights() const noexcept { return group * groups; }
    [[nodiscard]] QLIB_INLINE constexpr std::size_t block_bytes() const noexcept {
        std::size_t sum = 0;
        for (const std::size_t b : planes) sum += b;
        return sum;
    }
    /// Whether nothing in it is the format's own: a reader can decode all of it.
    [[nodiscard]] QLIB_INLINE constexpr bool complete() const noexcept {
        bool all = (codes_are_levels || *code_type != 0) && layout != code_layout::own && !fields.empty() && outer.empty() == (outer_bytes + tensor_bytes == 0);
        for (const described_field& f : fields) all = all && std::string_view(f.type) != "own";
        for (const described_field& f : outer) all = all && std::string_view(f.type) != "own";
        return all;
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

template <class F> inline constexpr auto described_levels = [] {
    std::array<float, F::grid::size> all{};
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = F::grid::level(i);
    return all;
}();

template <class F> constexpr bool codes_mean_levels() noexcept {
    bool same = true;
    for (std::size_t i = 0; same && i < F::grid::size; ++i) {
        float l = 0;
        F::level(static_cast<typename F::code>(i), &l);
        same = bits_of(l) == bits_of(F::grid::level(i));
    }
    return same;
}
/// Only if the compiler can see it: what runs at run time alone counts as the format's own.
template <class F> concept codes_are_levels =
    F::vec == 1 && std::integral<typename F::code> && requires { requires std::bool_constant<codes_mean_levels<F>()>::value; };

/// The section of sub-scales, found by setting one bit after another.
template <class F> struct described_subs {
    static constexpr std::size_t bytes = F::field_bytes(field::subs), count = (F::min_bits > 0 ? 2 : 1) * F::groups;
    using integers = std::array<std::int16_t, count>;
    using section = std::array<std::byte, bytes>;
    integers base{};
    std::array<described_bit, 8 * bytes> bit{};
    bool linear = true;  // every bit adds to one integer, whatever the others are

    constexpr described_subs() noexcept : base(load({})) {
        for (std::size_t b = 0; b < bit.size(); ++b) {
            section one{};
            one[b / 8] = static_cast<std::byte>(1u << b % 8);
            const integers v = load(one);
            for (std::size_t i = 0; i < count; ++i) {
                if (v[i] == base[i]) continue;
                linear = linear && bit[b].weight == 0;
                bit[b] = {static_cast<std::int16_t>(i), static_cast<std::int16_t>(v[i] - base[i])};
            }
        }
        for (const unsigned step : {0u, 37u, 113u}) {  // all ones, and two patterns
            section many{};
            for (std::size_t i = 0; i < bytes; ++i) many[i] = static_cast<std::byte>(255u - i * step % 256);
            integers sum = base;
            for (std::size_t b = 0; b < bit.size(); ++b)
                if ((many[b / 8] >> b % 8 & std::byte{1}) != std::byte{0}) add(sum, bit[b]);
            linear = linear && sum == load(many);
        }
    }

private:
    static constexpr void add(integers& sum, described_bit b) noexcept {
        auto& v = sum[static_cast<std::size_t>(b.index)];
        v = static_cast<std::int16_t>(v + b.weight);
    }
    static constexpr integers load(const section& s) noexcept {
        typename F::params p{};
        F::load_field(field::subs, p, s.data());
        integers all{};
        for (std::size_t g = 0; g < F::groups; ++g) all[g] = static_cast<std::int16_t>(p.sub[g]);
        for (std::size_t g = F::groups; g < count; ++g) all[g] = static_cast<std::int16_t>(p.min[g - F::groups]);
        return all;
    }
};
template <class F> inline constexpr described_subs<F> subs_of{};
/// Formats of two_level whose packing the compiler can see through.
template <class F> concept linear_subs = requires(typename F::params& p) {
    p.sub;
    p.min;
    F::sub_bits;
    F::min_bits;
    requires std::bool_constant<described_subs<F>{}.linear>::value;
};

template <class F> constexpr const char* scale_name() noexcept {
    if constexpr (requires { typename F::stored_scale; }) return scale_type_name<typename F::stored_scale>;
    else return "own";
}
template <class F> constexpr const char* type_of(field f) noexcept {
    if (f == field::codes) return "code";
    if (f == field::subs) return linear_subs<F> ? "bits" : "own";
    return f == field::zeros && F::map == form::shifted ? "code" : scale_name<F>();
}

/// The sections of a block of a format that was put together from parts.
template <class F> inline constexpr auto described_block = [] {
    constexpr auto bytes_of = [](field f) { return f == field::codes ? F::bits::template bytes<F::grid::bits>(codes<F>) : F::field_bytes(f); };
    constexpr std::size_t count = [bytes_of] {
        std::size_t n = 0;
        for (const field f : F::layout::order) n += bytes_of(f) != 0;
        return n;
    }();
    std::array<described_field, count> all{};
    std::size_t n = 0;
    for (const field f : F::layout::order)
        if (bytes_of(f) != 0) {
            all[n] = {f, F::layout::planes_apart ? n : 0, F::offset_of(f), bytes_of(f), type_of<F>(f)};
            ++n;
        }
    return all;
}();

/// An outer value: a scale, and behind it the zero point or offset where it is the whole map.
template <class F> inline constexpr auto described_outer = [] {
    using T = typename F::stored_outer;
    constexpr std::size_t size = sizeof(T::bits);
    constexpr const char* type = scale_type_name<T>;
    const described_field scale{field::scales, 0, 0, size, type};
    if constexpr (F::outer_bytes == size) return std::array{scale};
    else return std::array{scale, described_field{field::zeros, 0, size, F::outer_bytes - size, F::map == form::shifted ? "code" : type}};
}();

template <class F> constexpr void describe_codes(description& d) noexcept {
    if constexpr (requires { F::grid::bits; }) d.code_bits = F::grid::bits;
    if constexpr (requires { typename F::grid::number; }) d.code_type = scale_type_name<typename F::grid::number>;
    if constexpr (requires { typename F::bits; }) {
        using B = typename F::bits;
        if constexpr (std::same_as<B, sequential> || std::same_as<B, little_endian>) d.layout = code_layout::sequential;
        else if constexpr (std::same_as<B, trits>) d.layout = code_layout::base3;
        else if constexpr (requires { { B::list[0] } -> std::same_as<const plane&>; }) {
            d.layout = code_layout::planes;
            d.code_planes = B::list;
        }
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// What a format is, as data: any format, also a user's own. Parts that are not made of qlib's say "own".
template <block_format F> [[nodiscard]] constexpr description describe() noexcept {
    description d{.group = F::group, .groups = F::groups, .vec = F::vec, .map = F::map, .levels = detail::described_levels<F>,
                  .codes_are_levels = detail::codes_are_levels<F>};
    d.planes = F::planes;
    d.ragged_rows = has_ragged_rows<F>;
    d.flat_blocks = has_flat_blocks<F>;
    detail::describe_codes<F>(d);
    if constexpr (requires { F::layout::order; F::offset_of(field::codes); F::field_bytes(field::codes); }) d.fields = detail::described_block<F>;
    if constexpr (requires { F::sub_bits; F::sub_signed; F::min_bits; }) {
        d.sub_bits = F::sub_bits;
        d.sub_signed = F::sub_signed;
        d.min_bits = F::min_bits;
    }
    if constexpr (detail::linear_subs<F>) {
        d.sub_base = detail::subs_of<F>.base;
        d.sub_bit = detail::subs_of<F>.bit;
    }
    if constexpr (has_outer<F>) {
        d.tile = F::tile;
        d.outer_bytes = F::outer_bytes;
        d.tensor_bytes = F::tensor_bytes;
        d.outer_multiplies = outer_multiplies<F>;
        if constexpr (requires { typename F::stored_outer; }) d.outer = detail::described_outer<F>;
    }
    return d;
}

}  // namespace qlib::inline v0::inline QLIB_BASE

namespace qlib::inline v0::detail::inline QLIB_BASE {

constexpr std::string_view name_of(form f) noexcept { return f == form::scaled ? "scaled" : f == form::shifted ? "shifted" : "offset"; }
constexpr std::string_view name_of(field f) noexcept {
    return f == field::scales ? "scales" : f == field::zeros ? "zeros" : f == field::subs ? "subs" : "codes";
}
constexpr std::string_view name_of(code_layout l) noexcept {
    return l == code_layout::sequential ? "sequential" : l == code_layout::planes ? "planes" : l == code_layout::base3 ? "base3" : "own";
}

/// The pieces of to_json; each writes one member or value.
struct description_writer {
    json_writer out;

    constexpr void member(std::string_view name, std::integral auto v) noexcept {
        out.key(name);
        if constexpr (std::same_as<decltype(v), bool>) out.boolean(v);
        else out.integer(v);
    }
    constexpr void member(std::string_view name, std::string_view text) noexcept {
        out.key(name);
        out.string(text);
    }
    template <class T, class Write> constexpr void list(std::string_view name, std::span<const T> all, const Write& write) noexcept {
        out.key(name);
        out.open('[');
        for (const T& v : all) write(v);
        out.close(']');
    }
    constexpr void fields(std::span<const described_field> all) noexcept {
        list("fields", all, [&](const described_field& f) {
            out.open('{');
            member("field", name_of(f.part));
            member("type", f.type);
            member("plane", f.plane);
            member("offset", f.offset);
            member("bytes", f.bytes);
            out.close('}');
        });
    }
    constexpr void codes(const description& d) noexcept {
        out.key("codes");
        out.open('{');
        member("bits", d.code_bits);
        member("meaning", d.codes_are_levels ? "levels" : *d.code_type != 0 ? d.code_type : "own");
        member("layout", name_of(d.layout));
        list("planes", d.code_planes, [&](const plane& p) {
            out.open('{');
            member("width", p.width);
            member("run", p.run);
            member("shift", p.shift);
            member("high_first", p.high_first);
            out.close('}');
        });
        out.close('}');
    }
    constexpr void subs(const description& d) noexcept {
        out.key("subs");
        out.open('{');
        member("bits", d.sub_bits);
        member("signed", d.sub_signed);
        member("min_bits", d.min_bits);
        list("base", d.sub_base, [&](std::int16_t v) { out.integer(v); });
        list("bit", d.sub_bit, [&](described_bit b) {
            out.open('[');
            out.integer(b.index);
            out.integer(b.weight);
            out.close(']');
        });
        out.close('}');
    }
    constexpr void outer(const description& d) noexcept {
        out.key("outer");
        out.open('{');
        member("rows", d.tile.rows);
        member("cols", d.tile.cols);
        member("flat", d.tile.flat);
        member("bytes", d.outer_bytes);
        member("tensor_bytes", d.tensor_bytes);
        member("multiplies", d.outer_multiplies);
        fields(d.outer);
        out.close('}');
    }
};

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// A description as one JSON object, with `name` in front if there is one. Returns how many characters that is; what of them does not fit
/// into `out` is not written. No zero stands at the end.
constexpr std::size_t to_json(const description& d, std::span<char> out, std::string_view name = {}) noexcept {
    detail::description_writer w{detail::json_writer(out)};
    w.out.open('{');
    if (!name.empty()) w.member("name", name);
    w.member("complete", d.complete());
    w.member("map", detail::name_of(d.map));
    w.member("group", d.group);
    w.member("groups", d.groups);
    w.member("vec", d.vec);
    w.list("levels", d.levels, [&](float l) { w.out.number(l); });
    w.codes(d);
    w.member("ragged_rows", d.ragged_rows);
    w.member("flat_blocks", d.flat_blocks);
    w.member("block_weights", d.block_weights());
    w.member("block_bytes", d.block_bytes());
    w.list("planes", d.planes, [&](std::size_t bytes) { w.out.integer(bytes); });
    w.fields(d.fields);
    if (d.sub_bits != 0) w.subs(d);
    if (d.outer_bytes + d.tensor_bytes != 0) w.outer(d);
    w.out.close('}');
    return w.out.size();
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// plan_qgemm: a product cut into stages of tasks, for engines that already stand in a parallel region and bring their own barrier.

namespace qlib::inline v0::detail {

/// The stages of a product, of whatever format, mode and room: what a plan and a job in a group hold. Trivially copyable.
template <weight_source XT, weight_source YT> struct any_stages {
    alignas(8) std::byte state[320] = {};
    std::size_t (*tasks_of)(const std::byte* state, std::size_t stage) noexcept = nullptr;
    void (*run_task)(const std::byte* state, std::size_t stage, std::size_t task, std::size_t worker, const matrix_view<YT>& Y, const matrix_view<const XT>& X,
                     const void* W) noexcept = nullptr;
    void (*take_memory)(std::byte* state, workspace& activations, std::byte* workers, std::size_t apart) noexcept = nullptr;
    std::size_t stages = 0, activation_bytes = 0, worker_bytes = 0;  // worker_bytes: of each worker
    packed_like packing{};
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

template <block_format F, weight_source XT, weight_source YT, class Stages> any_stages<XT, YT> erase(const Stages& stages) noexcept {
    static_assert(std::is_trivially_copyable_v<Stages> && sizeof(Stages) <= sizeof(any_stages<XT, YT>::state));
    any_stages<XT, YT> any;
    std::memcpy(any.state, &stages, sizeof stages);
    any.tasks_of = [](const std::byte* state, std::size_t stage) noexcept { return reinterpret_cast<const Stages*>(state)->tasks(stage); };
    any.run_task = [](const std::byte* state, std::size_t stage, std::size_t task, std::size_t worker, const matrix_view<YT>& Y, const matrix_view<const XT>& X,
                      const void* W) noexcept { reinterpret_cast<const Stages*>(state)->run(stage, task, worker, Y, X, *static_cast<const qview<F>*>(W)); };
    any.take_memory = [](std::byte* state, workspace& activations, std::byte* workers, std::size_t apart) noexcept {
        reinterpret_cast<Stages*>(state)->take(activations, workers, apart);
    };
    any.stages = 2;
    any.activation_bytes = stages.activation_bytes();
    any.worker_bytes = stages.worker_bytes();
    any.packing = stages.packing();
    return any;
}

/// The stages of Y = X * W^T for some workers. None where Y is empty; over no inputs one, of one task.
template <block_format F, weight_source XT, weight_source YT>
result<any_stages<XT, YT>> stages_of(matrix_view<YT> Y, matrix_view<const XT> X, const qview<F>& W, const gemm_options& options, std::size_t workers, const call& how) noexcept {
    const auto span = check_product<F>(Y.rows, Y.cols, X.rows, X.cols, W, options, how);
    if (!span) return span.error();
    any_stages<XT, YT> none;
    if (Y.rows == 0 || Y.cols == 0) return none;
    if (X.cols == 0) {
        none.stages = 1;
        none.tasks_of = [](const std::byte*, std::size_t) noexcept { return std::size_t{1}; };
        none.run_task = [](const std::byte*, std::size_t, std::size_t, std::size_t, const matrix_view<YT>& y, const matrix_view<const XT>&, const void*) noexcept { set_zero(y); };
        none.take_memory = [](std::byte*, workspace&, std::byte*, std::size_t) noexcept {};
        return none;
    }
    const bool integer = uses_integers<F>(options.mode);
    return with_room(how.room, [&](auto room) -> result<any_stages<XT, YT>> {
        using Room = decltype(room);
        if (how.report != nullptr) *how.report = {Room::id, integer ? "integer" : "exact", path_of<Room, F>};
        return with_stages<Room, F, XT, YT>(integer, X.rows, W.rows(), X.cols, *span, workers, [](const auto& stages) { return erase<F, XT, YT>(stages); });
    });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// A planned Y = X * W^T. Every worker of the engine does, for each stage in turn: run(stage, task, worker) for its share of the tasks, then
/// waits at a barrier. Tasks of a stage may run in any order, at once, each exactly once; worker < the number planned for. A plan may run again
/// and again: it reads X anew and writes Y each time. Movable; its views must outlive it.
template <block_format F, weight_source XT = float, weight_source YT = float> class qgemm_plan {
public:
    [[nodiscard]] QLIB_INLINE std::size_t stages() const noexcept { return stages_.stages; }
    [[nodiscard]] QLIB_INLINE std::size_t tasks(std::size_t stage) const noexcept { return stages_.tasks_of(stages_.state, stage); }
    QLIB_INLINE void run(std::size_t stage, std::size_t task, std::size_t worker) const noexcept {
        stages_.run_task(stages_.state, stage, task, worker, Y_, X_, &W_);
    }
    /// The scratch that planning asked for.
    [[nodiscard]] QLIB_INLINE std::size_t scratch_bytes() const noexcept { return detail::workspace::asked(bytes()); }

    /// What plan_qgemm does.
    [[nodiscard]] QLIB_TAGGED static result<qgemm_plan> make(matrix_view<YT> Y, matrix_view<const XT> X, qview<F> W, gemm_options options, std::size_t workers, const call& how) noexcept {
        if (workers == 0) return error{errc::argument, "a plan needs a worker", "workers", {}};
        const auto stages = detail::stages_of<F, XT, YT>(Y, X, W, options, workers, how);
        if (!stages) return stages.error();
        qgemm_plan plan;
        plan.Y_ = Y;
        plan.X_ = X;
        plan.W_ = W;
        plan.stages_ = *stages;
        plan.workers_ = workers;
        if (plan.stages() == 0) return plan;
        if (const status s = plan.memory_.open(how, plan.bytes()); !s) return s.error();
        std::byte* const own = plan.memory_.template take<std::byte>(plan.of_workers());
        plan.stages_.take_memory(plan.stages_.state, plan.memory_, own, plan.stages_.worker_bytes);
        return plan;
    }

private:
    QLIB_INLINE qgemm_plan() noexcept = default;
    [[nodiscard]] QLIB_INLINE std::size_t of_workers() const noexcept { return detail::saturating_multiply(stages_.worker_bytes, workers_); }
    [[nodiscard]] QLIB_INLINE std::size_t bytes() const noexcept { return detail::saturating_add(stages_.activation_bytes, of_workers()); }

    detail::any_stages<XT, YT> stages_;
    std::size_t workers_ = 0;
    matrix_view<YT> Y_;
    matrix_view<const XT> X_;
    qview<F> W_;
    detail::workspace memory_;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::inline QLIB_BASE {

/// Plans Y = X * W^T for `workers` workers of the engine's own; operands, errors and result as qgemm's. call.run and call.progress are not looked at.
/// Scratch given in `how` must live as long as the plan; its size is qgemm_scratch_bytes with an executor of as many workers.
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] result<qgemm_plan<F, std::remove_const_t<XT>, YT>> plan_qgemm(matrix_view<YT> Y, matrix_view<XT> X, qview<F> weights, gemm_options options = {},
                                                                            std::size_t workers = 1, call how = {}) noexcept {
    return qgemm_plan<F, std::remove_const_t<XT>, YT>::make(Y, X, weights, options, workers, how);
}
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] result<qgemm_plan<F, std::remove_const_t<XT>, YT>> plan_qgemm(matrix_view<YT> Y, matrix_view<XT> X, const qmatrix<F>& weights, gemm_options options = {},
                                                                            std::size_t workers = 1, call how = {}) noexcept {
    return qgemm_plan<F, std::remove_const_t<XT>, YT>::make(Y, X, weights.view(), options, workers, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
// qgemm_grouped: many products at once, as one loop over all their tasks: q, k and v of one input, or the experts of a layer.

namespace qlib::inline v0 {

/// One product of a group, Y = X * W^T, in any format. Holds views; cheap to copy.
class gemm_job {
public:
    /// Y (n, rows), X (n, k), W rows x k; n may differ from job to job, and may be 0.
    template <block_format F>
    QLIB_INLINE QLIB_TAGGED gemm_job(matrix_view<float> Y, matrix_view<const float> X, qview<F> W) noexcept : Y_(Y), X_(X) {
        static_assert(std::is_trivially_copyable_v<qview<F>> && sizeof W <= sizeof weights_);
        std::memcpy(weights_, &W, sizeof W);
        plan_ = [](const gemm_job& job, const gemm_options& options, std::size_t workers, const call& how) noexcept {
            return detail::stages_of<F, float, float>(job.Y_, job.X_, *reinterpret_cast<const qview<F>*>(job.weights_), options, workers, how);
        };
    }
    template <block_format F>
    QLIB_INLINE gemm_job(matrix_view<float> Y, matrix_view<const float> X, const qmatrix<F>& W) noexcept : gemm_job(Y, X, W.view()) {}

    // For qgemm_grouped.
    [[nodiscard]] QLIB_INLINE auto plan(const gemm_options& options, std::size_t workers, const call& how) const noexcept { return plan_(*this, options, workers, how); }
    QLIB_INLINE void run(const detail::any_stages<float, float>& stages, std::size_t stage, std::size_t task, std::size_t worker) const noexcept {
        stages.run_task(stages.state, stage, task, worker, Y_, X_, weights_);
    }
    [[nodiscard]] QLIB_INLINE bool same_input(const gemm_job& other) const noexcept {
        return X_.data == other.X_.data && X_.rows == other.X_.rows && X_.cols == other.X_.cols && X_.stride == other.X_.stride;
    }

private:
    matrix_view<float> Y_;
    matrix_view<const float> X_;
    alignas(8) std::byte weights_[128] = {};
    result<detail::any_stages<float, float>> (*plan_)(const gemm_job&, const gemm_options&, std::size_t, const call&) noexcept = nullptr;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail {

/// A job with its stages, and where its tasks begin among those of the whole group.
struct grouped_job {
    any_stages<float, float> stages;
    std::size_t packed_by;    // the first job with the same packed activations: itself, or an earlier one, whose copy it uses
    std::size_t first[2];     // in each stage
    std::byte* activations;
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The bytes that a group needs: its jobs' stages, one copy of each distinct input, and what a worker writes, for the hungriest job.
struct grouped_bytes {
    std::size_t jobs, workers, activations = 0, each_worker = 0;
    [[nodiscard]] std::size_t of_workers() const noexcept { return saturating_multiply(workers, each_worker); }
    [[nodiscard]] std::size_t all() const noexcept { return saturating_add(jobs, saturating_add(activations, of_workers())); }
};

/// Which earlier job packs the activations of job j, in the same way; j itself if none does.
inline result<std::size_t> packed_by(std::span<const gemm_job> jobs, std::size_t j, const any_stages<float, float>& stages, const gemm_options& options,
                                     std::size_t workers, const call& how) noexcept {
    for (std::size_t i = 0; i < j; ++i) {
        if (!jobs[i].same_input(jobs[j])) continue;
        const auto other = jobs[i].plan(options, workers, how);
        if (!other) return other.error();
        if (other->stages == stages.stages && other->packing == stages.packing) return i;
    }
    return j;
}

/// visit(j, stages, packed_by) for all jobs, until one cannot be planned.
template <class Visit>
result<grouped_bytes> plan_group(std::span<const gemm_job> jobs, const gemm_options& options, call how, const Visit& visit) noexcept {
    const std::size_t workers = how.run.workers();
    grouped_bytes bytes{workspace::piece<grouped_job>(jobs.size()), workers};
    for (std::size_t j = 0; j < jobs.size(); ++j) {
        const auto stages = jobs[j].plan(options, workers, how);
        if (!stages) return stages.error();
        how.report = nullptr;  // the first job's room and mode stand for the group
        const auto from = packed_by(jobs, j, *stages, options, workers, how);
        if (!from) return from.error();
        if (*from == j) bytes.activations = saturating_add(bytes.activations, stages->activation_bytes);
        bytes.each_worker = larger_size(bytes.each_worker, stages->worker_bytes);
        visit(j, *stages, *from);
    }
    return bytes;
}

/// Lays out stages and memory of all jobs. Gives the number of tasks in both stages.
inline std::array<std::size_t, 2> open_group(std::span<const gemm_job> jobs, const gemm_options& options, const call& how, const grouped_bytes& bytes,
                                             workspace& memory, grouped_job* group) noexcept {
    std::array<std::size_t, 2> total{};
    std::byte* activations = memory.take<std::byte>(bytes.activations);
    std::byte* const workers = memory.take<std::byte>(bytes.of_workers());
    call quiet = how;
    quiet.report = nullptr;
    (void)plan_group(jobs, options, quiet, [&](std::size_t j, const any_stages<float, float>& stages, std::size_t from) {
        grouped_job& job = group[j];
        job.stages = stages;
        job.packed_by = from;
        job.activations = from == j ? std::exchange(activations, activations + stages.activation_bytes) : group[from].activations;
        for (std::size_t stage = 0; stage < 2; ++stage) {
            job.first[stage] = total[stage];
            const bool runs = stage == 1 ? stages.stages != 0 : stages.stages == 2 && from == j;
            if (runs) total[stage] += stages.tasks_of(stages.state, stage);
        }
        workspace packed(job.activations);
        if (stages.stages != 0) job.stages.take_memory(job.stages.state, packed, workers, bytes.each_worker);
    });
    return total;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Bytes of call.scratch that qgemm_grouped asks for. 0 for what it would refuse.
[[nodiscard]] inline std::size_t qgemm_grouped_scratch_bytes(std::span<const gemm_job> jobs, gemm_options options = {}, call how = {}) noexcept {
    how.report = nullptr;
    const auto bytes = detail::plan_group(jobs, options, how, [](std::size_t, const auto&, std::size_t) {});
    return bytes ? detail::workspace::asked(bytes->all()) : 0;
}

/// All products of a group: the same bits as qgemm of each, in one parallel loop. Jobs over the same X, whose formats pack it alike, share the packed copy.
///
/// jobs     any number, of any formats; a Y may overlap no other operand
/// options  of all jobs. A format without integer levels refuses compute::integer
/// error    that of the first job which qgemm would refuse: nothing is written then; memory, scratch, cancelled
/// report   the room, mode and path of the first job
[[nodiscard]] inline status qgemm_grouped(std::span<const gemm_job> jobs, gemm_options options = {}, call how = {}) noexcept {
    const auto bytes = detail::plan_group(jobs, options, how, [](std::size_t, const auto&, std::size_t) {});
    if (!bytes) return bytes.error();
    detail::workspace memory;
    if (const status s = memory.open(how, bytes->all()); !s) return s;
    detail::grouped_job* const group = memory.take<detail::grouped_job>(jobs.size());
    const auto tasks = detail::open_group(jobs, options, how, *bytes, memory, group);
    for (std::size_t stage = 0; stage < 2; ++stage) {
        call part = how;
        if (stage == 0) part.progress = {};
        const status s = detail::for_each_task(part, tasks[stage], [&](std::size_t i, std::size_t worker) -> status {
            std::size_t j = jobs.size() - 1;  // the last that begins at or before task i: it has tasks
            while (group[j].first[stage] > i) --j;
            jobs[j].run(group[j].stages, stage, i - group[j].first[stage], worker);
            return {};
        });
        if (!s) return s;
    }
    return {};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
#endif  // QLIB_SINGLE_HEADER
#if defined(QLIB_INSTANTIATE) && !defined(QLIB_INSTANTIATE_SEEN)
#define QLIB_INSTANTIATE_SEEN
// Defines the functions of any.hpp. Include it in exactly one source file of a program: it compiles every format for every room, which
// takes minutes. A file that needs fewer says which before it includes this one:
//
//     #define QLIB_INSTANTIATE_FORMATS(X) X(q4_k, 12, "Q4_K") X(q8_0, 8, "Q8_0") X(::my::format, 0x10000, "MINE")
//
// in the form of QLIB_NAMED_FORMATS: type as seen from namespace qlib, number, name. Formats of one's own take numbers from 0x10000 on.

#ifndef QLIB_INSTANTIATE_FORMATS
#define QLIB_INSTANTIATE_FORMATS QLIB_NAMED_FORMATS
#endif

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// visit(), over the instantiated formats only.
template <class Use> auto visit_instantiated(format_id id, const Use& use) noexcept {
    using R = decltype(use.template operator()<q4_0>());
    switch (static_cast<std::uint32_t>(id)) {
#define QLIB_FORMAT(type, number, name) \
    case number: return use.template operator()<type>();
        QLIB_INSTANTIATE_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
    default: break;
    }
    return R(error{errc::unsupported, "format number {0} was not instantiated", "format", {static_cast<std::uint64_t>(id)}});
}

template <block_format F> result<qview<F>> view_of(const any_view& v) noexcept {
    if (v.planes.empty()) return qview<F>::over(v.bytes, v.rows, v.cols, v.options);
    if (v.planes.size() != F::planes.size() || v.options.row_bytes != 0)
        return error{errc::shape, "{0} planes in place of {1}, or a row distance of {2} for all of them", "view", {v.planes.size(), F::planes.size(), v.options.row_bytes}};
    planes<F> where{.outer = v.options.outer};
    for (std::size_t p = 0; p < F::planes.size(); ++p) where.at[p] = v.planes[p];
    return qview<F>::over(where, v.rows, v.cols);
}

/// use(typed jobs), which lie in `memory`.
template <class Use> status with_typed_jobs(std::span<const any_gemm_job> jobs, workspace& memory, const Use& use) noexcept {
    auto* const typed = memory.take<gemm_job>(jobs.size());
    for (std::size_t j = 0; j < jobs.size(); ++j) {
        const status s = visit_instantiated(jobs[j].weights.format, [&]<block_format F>() -> status {
            const auto q = view_of<F>(jobs[j].weights);
            if (!q) return q.error();
            const gemm_job job(jobs[j].Y, jobs[j].X, *q);
            std::memcpy(static_cast<void*>(typed + j), &job, sizeof job);
            return {};
        });
        if (!s) return s;
    }
    return use(std::span<const gemm_job>(typed, jobs.size()));
}

template <class Hessian>
result<gptq_report> gptq_into(format_id format, matrix_view<const float> W, const Hessian& h, std::span<std::byte> bytes, const gptq_options& options,
                              const call& how) noexcept {
    return visit_instantiated(format, [&]<block_format F>() -> result<gptq_report> {
        if (const auto fits = qspan<F>::over(bytes, W.rows, W.cols); !fits) return fits.error();
        const auto done = qlib::gptq<F>(W, h, options, how);
        if (!done) return done.error();
        const auto made = done->weights.bytes();
        if (!made.empty()) std::memcpy(bytes.data(), made.data(), made.size());
        return done->report;
    });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

result<std::size_t> wire_size(format_id format, std::size_t rows, std::size_t cols) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> result<std::size_t> {
        if (const status s = detail::check_shape<F>(rows, cols, "matrix"); !s) return s.error();
        return wire_size<F>(rows, cols);
    });
}

status quantize_into(format_id format, matrix_view<const float> W, std::span<std::byte> bytes, quantize_options options, call how) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> status {
        const auto out = qspan<F>::over(bytes, W.rows, W.cols);
        return out ? qlib::quantize_into<F>(W, *out, options, how) : status(out.error());
    });
}

status dequantize(const any_view& weights, matrix_view<float> out, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = detail::view_of<F>(weights);
        return q ? qlib::dequantize<F>(*q, out, how) : status(q.error());
    });
}

status dequantize_rows(const any_view& weights, std::span<const std::uint32_t> ids, matrix_view<float> out, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = detail::view_of<F>(weights);
        return q ? qlib::dequantize_rows<F>(*q, ids, out, how) : status(q.error());
    });
}

status qgemm(matrix_view<float> Y, matrix_view<const float> X, const any_view& weights, gemm_options options, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = detail::view_of<F>(weights);
        return q ? qlib::qgemm<F>(Y, X, *q, options, how) : status(q.error());
    });
}

status qgemm_grouped(std::span<const any_gemm_job> jobs, gemm_options options, call how) noexcept {
    const std::size_t own = detail::workspace::asked(detail::workspace::piece<gemm_job>(jobs.size()));
    detail::workspace memory;
    if (const status s = memory.open(how, detail::workspace::piece<gemm_job>(jobs.size())); !s) return s;
    if (!how.scratch.empty()) how.scratch = how.scratch.subspan(own);
    return detail::with_typed_jobs(jobs, memory, [&](std::span<const gemm_job> typed) {
        const bool given = how.scratch.data() != nullptr;
        if (given && how.scratch.empty() && qlib::qgemm_grouped_scratch_bytes(typed, options, how) != 0)
            return status(error{errc::scratch, "{0} bytes of scratch hold the jobs alone", "call.scratch", {own}});
        return qlib::qgemm_grouped(typed, options, how);
    });
}
std::size_t qgemm_grouped_scratch_bytes(std::span<const any_gemm_job> jobs, gemm_options options, call how) noexcept {
    const std::size_t piece = detail::workspace::piece<gemm_job>(jobs.size());
    std::size_t asked = 0;
    detail::workspace memory;
    if (!memory.open({}, piece)) return 0;
    const status s = detail::with_typed_jobs(jobs, memory, [&](std::span<const gemm_job> typed) -> status {
        asked = qlib::qgemm_grouped_scratch_bytes(typed, options, how);
        return {};
    });
    return s.ok() && asked != 0 ? detail::saturating_add(detail::workspace::asked(piece), asked) : 0;
}

result<std::size_t> qgemm_scratch_bytes(format_id format, std::size_t n, std::size_t rows, std::size_t k, gemm_options options, const call& how) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> result<std::size_t> { return qlib::qgemm_scratch_bytes<F>(n, rows, k, options, how); });
}
result<std::size_t> gptq_scratch_bytes(format_id format, std::size_t rows, std::size_t cols, std::size_t workers) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> result<std::size_t> { return qlib::gptq_scratch_bytes<F>(rows, cols, workers); });
}

result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian& h, std::span<std::byte> bytes, gptq_options options,
                         call how) noexcept {
    return detail::gptq_into(format, W, h, bytes, options, how);
}
result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian_factor& factor, std::span<std::byte> bytes, gptq_options options,
                         call how) noexcept {
    return detail::gptq_into(format, W, factor, bytes, options, how);
}

result<any_matrix> quantize(format_id format, matrix_view<const float> W, quantize_options options, call how) noexcept {
    auto q = any_matrix::make(format, W.rows, W.cols);
    if (!q) return q.error();
    if (const status s = quantize_into(format, W, q->bytes(), options, how); !s) return s.error();
    return q;
}

}  // namespace qlib::inline v0
#endif  // QLIB_INSTANTIATE
#if defined(QLIB_WITH_OS) && !defined(QLIB_WITH_OS_SEEN)
#define QLIB_WITH_OS_SEEN
// mapped_file: a whole file as read-only memory. Not part of qlib.hpp, as it asks the operating system.

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace qlib::inline v0 {

/// A file mapped into memory, read-only, until the object goes; move-only. Pages are read when they are touched.
///
/// No program can defend itself against a file that shrinks while it is mapped: touching a page behind the new end is a signal (SIGBUS)
/// or an exception of the system. Map what nobody else writes to, or read into memory of your own.
class mapped_file {
public:
    QLIB_INLINE mapped_file() noexcept = default;
    QLIB_INLINE mapped_file(mapped_file&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    QLIB_INLINE mapped_file& operator=(mapped_file&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    QLIB_INLINE ~mapped_file() { close(); }

    /// Maps the file of a path, which on Windows is in the system's code page. An empty file has no bytes.
    /// error: io, sizes {errno, or GetLastError() on Windows}; also for what is no regular file
    [[nodiscard]] QLIB_TAGGED static result<mapped_file> open(const char* path) noexcept;

    /// The whole file; starts at a page.
    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

    /// Says that bytes [first, first + count) will not be needed soon: the system may take back the memory of all whole pages among
    /// them. They stay readable, and are read from the file again when touched. What lies beyond the end is ignored.
    QLIB_TAGGED void release(std::size_t first, std::size_t count) const noexcept;

private:
    QLIB_TAGGED void close() noexcept;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

#if defined(_WIN32)

inline result<mapped_file> mapped_file::open(const char* path) noexcept {
    const auto failed = [](DWORD code) {
        return error{errc::io, "the file cannot be mapped, the system's error is {0}", "mapped_file", {code}};
    };
    const HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) return failed(GetLastError());
    mapped_file mapped;
    LARGE_INTEGER size{};
    DWORD code = GetFileSizeEx(file, &size) != 0 ? 0 : GetLastError();
    if (code == 0 && static_cast<std::uint64_t>(size.QuadPart) > static_cast<std::size_t>(-1) / 2) code = ERROR_NOT_ENOUGH_MEMORY;
    if (code == 0 && size.QuadPart != 0) {
        const HANDLE mapping = CreateFileMappingA(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
        const void* const data =
            mapping != nullptr ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, static_cast<SIZE_T>(size.QuadPart)) : nullptr;
        if (data == nullptr) code = GetLastError();
        if (mapping != nullptr) CloseHandle(mapping);  // the view keeps it open
        mapped.data_ = static_cast<const std::byte*>(data);
        mapped.size_ = data != nullptr ? static_cast<std::size_t>(size.QuadPart) : 0;
    }
    CloseHandle(file);
    if (code != 0) return failed(code);
    return mapped;
}
inline void mapped_file::close() noexcept {
    if (data_ != nullptr) UnmapViewOfFile(data_);
}
inline void mapped_file::release(std::size_t first, std::size_t count) const noexcept {
    if (first >= size_) return;
    count = count < size_ - first ? count : size_ - first;
    // Unlocking pages that are not locked takes them out of the working set, and fails: that is documented.
    if (count != 0) VirtualUnlock(const_cast<std::byte*>(data_) + first, count);
}

#else

inline result<mapped_file> mapped_file::open(const char* path) noexcept {
    const auto failed = [](int code) {
        return error{
            errc::io, "the file cannot be mapped, the system's error is {0}", "mapped_file", {static_cast<std::uint64_t>(code)}};
    };
    int file = -1;
    do file = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not keep us waiting
    while (file < 0 && errno == EINTR);
    if (file < 0) return failed(errno);
    mapped_file mapped;
    struct ::stat about {};
    int code = ::fstat(file, &about) == 0 ? 0 : errno;
    if (code == 0 && !S_ISREG(about.st_mode)) code = S_ISDIR(about.st_mode) ? EISDIR : ENODEV;
    if (code == 0 && static_cast<std::uint64_t>(about.st_size) > static_cast<std::size_t>(-1) / 2) code = EFBIG;
    if (code == 0 && about.st_size != 0) {
        const auto size = static_cast<std::size_t>(about.st_size);
        void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            code = errno;
        } else {
            mapped.data_ = static_cast<const std::byte*>(data);
            mapped.size_ = size;
        }
    }
    ::close(file);  // the mapping stays
    if (code != 0) return failed(code);
    return mapped;
}
inline void mapped_file::close() noexcept {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}
inline void mapped_file::release(std::size_t first, std::size_t count) const noexcept {
    if (first >= size_) return;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t end = count < size_ - first ? first + count : size_;
    const std::size_t begin = (first + page - 1) / page * page;
    const std::size_t stop = end == size_ ? (end + page - 1) / page * page : end / page * page;  // the last page is ours alone
    if (begin < stop) ::madvise(const_cast<std::byte*>(data_) + begin, stop - begin, MADV_DONTNEED);
}

#endif

}  // namespace qlib::inline v0
// thread_pool: a small executor for programs that have none. Not part of qlib.hpp: the library itself starts no threads.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace qlib::inline v0 {

/// Threads that wait between loops. The thread that calls run() works along as worker 0; one loop at a time, loops may not nest.
class thread_pool {
public:
    /// `workers` in all, the caller's thread included; 0: one per hardware thread.
    /// Throws std::system_error, as std::thread does, when the system gives no thread.
    QLIB_TAGGED explicit thread_pool(std::size_t workers = 0) {
        if (workers == 0) workers = std::thread::hardware_concurrency();
        for (std::size_t i = 1; i < workers; ++i) threads_.emplace_back([this, i] { serve(i); });
    }
    QLIB_TAGGED ~thread_pool() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        for (std::thread& t : threads_) t.join();
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    [[nodiscard]] QLIB_INLINE std::size_t workers() const noexcept { return threads_.size() + 1; }

    /// task(i, worker) for all i < count; returns when all are done.
    QLIB_TAGGED void run(std::size_t count, task_ref task) {
        if (threads_.empty() || count < 2) {
            for (std::size_t i = 0; i < count; ++i) task(i, 0);
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            task_ = &task;
            count_ = count;
            next_.store(0, std::memory_order_relaxed);
            busy_ = threads_.size();
            ++loop_;
        }
        wake_.notify_all();
        work(task, 0);
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return busy_ == 0; });
        task_ = nullptr;
    }

private:
    QLIB_TAGGED void work(const task_ref& task, std::size_t worker) {
        for (std::size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_; i = next_.fetch_add(1, std::memory_order_relaxed)) task(i, worker);
    }
    QLIB_TAGGED void serve(std::size_t worker) {
        for (std::size_t seen = 0;;) {
            const task_ref* task = nullptr;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return stop_ || loop_ != seen; });
                if (stop_) return;
                seen = loop_;
                task = task_;
            }
            work(*task, worker);
            const std::lock_guard lock(mutex_);
            if (--busy_ == 0) idle_.notify_one();
        }
    }

    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    std::atomic<std::size_t> next_{0};
    const task_ref* task_ = nullptr;
    std::size_t count_ = 0, busy_ = 0, loop_ = 0;
    bool stop_ = false;
};

}  // namespace qlib::inline v0
#endif  // QLIB_WITH_OS
