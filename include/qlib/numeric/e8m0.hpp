#pragma once
// e8m0: the power-of-two scale of the OCP MX formats. Eight exponent bits, no sign, no zero; 255 is NaN.
#include "minifloat.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// 2^(bits - 127), from 2^-127 to 2^127; 255 is NaN. Code 0 is a subnormal f32: zero under flush-to-zero.
struct e8m0 {
    using storage = std::uint8_t;
    storage bits{};

    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        if (bits == 255) return detail::float_of(0x7FC00000u);
        return detail::float_of(bits == 0 ? 0x00400000u : static_cast<std::uint32_t>(bits) << 23);
    }
    QLIB_INLINE constexpr explicit operator float() const noexcept { return value(); }
    [[nodiscard]] static constexpr float(max)() noexcept { return 0x1p127f; }

    /// |x| rounded to a power of two. Nearest compares values, so 1.5 * 2^e is the tie: it goes to
    /// the even exponent, or up (nearest_away). Below 2^-127: 2^-127. Above 2^127 and for infinity:
    /// 2^127, or NaN with overflow::special. NaN: NaN.
    [[nodiscard]] QLIB_INLINE static constexpr e8m0 from(float x, overflow o = overflow::saturate,
                                                         rounding r = rounding::nearest_even) noexcept {
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
        if (code > 254)
            return {static_cast<storage>(
                o == overflow::saturate || (r == rounding::toward_zero && a < 0x7F800000u) ? 254 : 255)};
        return {static_cast<storage>(code)};
    }
    friend constexpr bool operator==(e8m0, e8m0) = default;
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
