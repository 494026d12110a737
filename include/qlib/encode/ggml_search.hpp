#pragma once
// What ggml's encoders have in common, one weight at a time; ggml_search.inl has it in lanes. Source: ggml-quants.c.
#include "../format/concept.hpp"
#include "../numeric/minifloat.hpp"

#include <array>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr float ggml_group_max_eps = 1e-15f;

/// The value of largest magnitude, the first of equals.
constexpr float extreme_of(const float* x, std::size_t n) noexcept {
    float largest = 0, extreme = 0;
    for (std::size_t i = 0; i < n; ++i)
        if (magnitude(x[i]) > largest) {
            largest = magnitude(x[i]);
            extreme = x[i];
        }
    return extreme;
}

/// ggml's nearest_int: halves to even up to 2^22, beyond it what the sum's lower bits say: -2^22 for an infinity, 0 for
/// a NaN. Scales of subnormal weights have such inverses.
constexpr int nearest_int(float x) noexcept {
    return static_cast<int>(bits_of(x + 12582912.0f) & 0x007FFFFFu) - 0x00400000;  // 12582912 = 1.5 * 2^23
}

constexpr int clamp_int(int v, int low, int high) noexcept { return v < low ? low : v > high ? high : v; }

/// Importance of one weight as ggml's block types count it: qw * sqrt(sigma^2 + x^2).
constexpr float ggml_weight(float importance, float sigma2, float x) noexcept {
    return product(importance, square_root(sigma2 + product(x, x)));
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
