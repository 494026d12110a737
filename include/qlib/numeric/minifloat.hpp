#pragma once
// minifloat<...>: every small binary float, from fp16 down to E2M1, by one rule. Sources: IEEE 754, OCP OFP8 and MX.
#include "exact.hpp"

#include <concepts>
#include <limits>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

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

/// A float of 1 sign, E exponent and M mantissa bits. Value: (-1)^s 2^(e-Bias)
/// (1 + m/2^M), and (-1)^s 2^(1-Bias) m/2^M for e = 0.
template <int E, int M, int Bias, specials S> struct minifloat {
    static_assert(E >= 2 && E <= 8 && M >= 1 && E + M <= 15,
                  "a minifloat has 2 to 8 exponent bits and at most 16 bits in all");
    static_assert((E == 8 && Bias == 127 && S == specials::ieee) || ((1 << E) - 1 - Bias <= 127 && Bias + M <= 127),
                  "f32 must hold every value of a minifloat, the subnormal ones as normal numbers");
    using storage = std::conditional_t<(1 + E + M > 8), std::uint16_t, std::uint8_t>;
    static constexpr int bits_per_value = 1 + E + M;
    static constexpr std::uint32_t sign_bit = 1u << (E + M);
    static constexpr std::uint32_t max_code = S == specials::ieee       ? (((1u << E) - 1) << M) - 1
                                              : S == specials::nan_only ? sign_bit - 2
                                                                        : sign_bit - 1;

    storage bits{};

    /// The value, exactly.
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept { return decode(bits); }
    QLIB_INLINE constexpr explicit operator float() const noexcept { return decode(bits); }
    /// The largest finite value.
    [[nodiscard]] static constexpr float(max)() noexcept { return decode(max_code); }
    /// x rounded once, straight from f32. NaN gives NaN where the type has one, else +0.
    [[nodiscard]] QLIB_INLINE static constexpr minifloat from(float x, overflow o = overflow::special,
                                                              rounding r = rounding::nearest_even) noexcept {
        return {static_cast<storage>(encode(x, o, r))};
    }
    friend constexpr bool operator==(minifloat, minifloat) = default;

private:
    QLIB_INLINE static constexpr float decode(std::uint32_t code) noexcept {
        const std::uint32_t sign = (code & sign_bit) << (31 - E - M);
        const std::uint32_t a = code & (sign_bit - 1), e = a >> M;
        if constexpr (S == specials::fnuz)
            if (code == sign_bit) return detail::float_of(0x7FC00000u);
        if constexpr (E == 8 && Bias == 127)
            return detail::float_of(sign | a << (23 - M));  // same exponents: subnormals stay bits
        if (a > max_code) {
            const bool infinite = S == specials::ieee && (a & ((1u << M) - 1)) == 0;
            return detail::float_of(sign | (infinite ? 0x7F800000u : 0x7FC00000u | a << (23 - M)));
        }
        if (e == 0) {
            const float tiny =
                static_cast<float>(a) * detail::float_of(static_cast<std::uint32_t>(127 + 1 - Bias - M) << 23);
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
            if constexpr (E == 8 && Bias == 127 && S == specials::ieee)
                return u >> (23 - M) | 1u << (M - 1);  // keeps the payload, as ggml does
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
            // Beyond 40 only away_from_zero sees a difference, and it does not.
            const int shift = lost < 40 ? lost : 40;
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
using e5m2 = minifloat<5, 2, 15, specials::ieee>;     ///< OFP8 E5M2: f16 without its last 8 bits, largest 57344
using e3m2 = minifloat<3, 2, 3, specials::none>;      ///< a 6-bit float of MXFP6, largest 28
using e2m3 = minifloat<2, 3, 1, specials::none>;      ///< the other one, largest 7.5: eighths
using e2m1 = minifloat<2, 1, 1, specials::none>;      ///< the 4-bit float of MXFP4 and NVFP4: 0 .5 1 1.5 2 3 4 6
// The 8-bit floats of AMD's and Graphcore's earlier hardware. A code of e4m3fnuz means
// half of what it means in e4m3, but 0x80 is NaN.
using e4m3fnuz = minifloat<4, 3, 8, specials::fnuz>;      ///< largest 240
using e5m2fnuz = minifloat<5, 2, 16, specials::fnuz>;     ///< largest 57344
using e4m3b11fnuz = minifloat<4, 3, 11, specials::fnuz>;  ///< largest 30

/// The element types of weights and activations: float, f16, bf16.
template <class T> concept weight_source = std::same_as<T, float> || std::same_as<T, f16> || std::same_as<T, bf16>;
/// Those of 16 bits, const or not.
template <class T>
concept half_source = weight_source<std::remove_const_t<T>> && !std::same_as<std::remove_const_t<T>, float>;

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The float of a source element.
template <weight_source T> QLIB_INLINE constexpr float as_float(T x) noexcept {
    if constexpr (std::same_as<T, float>) return x;
    else return x.value();
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
