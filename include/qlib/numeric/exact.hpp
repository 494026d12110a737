#pragma once
// Float arithmetic whose bits depend on no compiler flag: -ffast-math and contraction in the including program change
// nothing here. All constexpr. NaN and infinity tests look at bits, as fast-math deletes comparisons.
#include "../core/abi.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

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

QLIB_INLINE constexpr std::uint32_t bits_of(float x) noexcept { return __builtin_bit_cast(std::uint32_t, x); }
QLIB_INLINE constexpr float float_of(std::uint32_t u) noexcept { return __builtin_bit_cast(float, u); }
/// Not std::numeric_limits' max(), which without optimization is a function that programs of several baselines share.
inline constexpr float largest_float = 0x1.fffffep127f;
QLIB_INLINE constexpr bool is_finite(float x) noexcept { return (bits_of(x) & 0x7F800000u) != 0x7F800000u; }
QLIB_INLINE constexpr bool is_nan(float x) noexcept { return (bits_of(x) & 0x7FFFFFFFu) > 0x7F800000u; }
QLIB_INLINE constexpr float magnitude(float x) noexcept { return float_of(bits_of(x) & 0x7FFFFFFFu); }
QLIB_INLINE constexpr float smaller(float a, float b) noexcept { return b < a ? b : a; }
QLIB_INLINE constexpr float larger(float a, float b) noexcept { return a < b ? b : a; }
QLIB_INLINE constexpr std::size_t smaller_size(std::size_t a, std::size_t b) noexcept { return b < a ? b : a; }
QLIB_INLINE constexpr std::size_t larger_size(std::size_t a, std::size_t b) noexcept { return a < b ? b : a; }
/// The largest magnitude of n floats, 0 of none; NaNs do not count.
QLIB_INLINE constexpr float abs_max(const float* x, std::size_t n) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < n; ++i) most = larger(most, magnitude(x[i]));
    return most;
}
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

/// 1 / s, or 0 where s is zero or so small that 1 / s would overflow or be inexact
/// under flush-to-zero: such a scale counts as zero.
QLIB_INLINE constexpr float safe_reciprocal(float s) noexcept { return magnitude(s) >= 0x1p-126f ? 1.0f / s : 0.0f; }

/// The square root, correctly rounded; 0 for x <= 0 and for NaN.
QLIB_INLINE constexpr float square_root(float x) noexcept {
    if (!(x > 0)) return 0;
    if (!std::is_constant_evaluated()) return __builtin_sqrtf(x);
    if (!is_finite(x)) return x;
    // Newton in double from a start that is right to a few percent; a double holds a float's root with bits to spare.
    const double v = x;
    double r = __builtin_bit_cast(double, (__builtin_bit_cast(std::uint64_t, v) >> 1) + (std::uint64_t{1023} << 51));
    for (int i = 0; i < 6; ++i) r = 0.5 * (r + v / r);
    return static_cast<float>(r);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
