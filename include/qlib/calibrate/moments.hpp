#pragma once
// moments: sums of x x^T in floats, of activations of any size. What a Hessian is made of.
#include "../core/memory.hpp"
#include "../core/parallel.hpp"
#include "../linalg/syrk.hpp"
#include "../numeric/minifloat.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// H is the sum of x x^T over `tokens` rows x that were multiplied by 2^shift, its lower triangle with the diagonal.
struct moments {
    matrix_view<float> H;
    std::uint32_t shift = 0;
    std::uint64_t tokens = 0;

    QLIB_INLINE void count(std::uint64_t more) noexcept {
        if (__builtin_add_overflow(tokens, more, &tokens)) tokens = (std::numeric_limits<std::uint64_t>::max)();
    }
};
inline constexpr std::uint32_t most_shift = 149;  // of the smallest float

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The most that an element of the diagonal may reach. With |H_ij| <= H_ii + H_jj, which a sum of x x^T keeps with a
/// factor of 2 to spare, the sum of two Hessians does not overflow.
inline constexpr float hessian_limit = 0x1p125f;

[[nodiscard]] inline error hessian_overflow() noexcept {
    return {errc::overflow, "the sum of squares could pass the range of a float: scale the activations down", "X", {}};
}

/// 2^e.
[[nodiscard]] QLIB_INLINE constexpr double power_of_two(int e) noexcept {
    return __builtin_bit_cast(double, static_cast<std::uint64_t>(1023 + e) << 52);
}
/// x * 2^e, rounded once.
[[nodiscard]] QLIB_INLINE constexpr float times_power(float x, int e) noexcept {
    return static_cast<float>(static_cast<double>(x) * power_of_two(e));
}

/// The shift for tokens up to `largest`: 0, unless all are so small that their squares would lose bits. Then it brings
/// the largest into [1, 2).
[[nodiscard]] inline std::uint32_t shift_of(float largest) noexcept {
    if (largest >= 0x1p-40f || !(largest > 0)) return 0;
    return static_cast<std::uint32_t>(1023 - (__builtin_bit_cast(std::uint64_t, static_cast<double>(largest)) >> 52));
}
/// The shift under which two sums can be added: the smaller one, as it is that of the larger numbers. Zeros have none.
[[nodiscard]] inline std::uint32_t common_shift(float a, std::uint32_t shift_a, float b,
                                                std::uint32_t shift_b) noexcept {
    if (!(a > 0) || !(b > 0)) return b > 0 ? shift_b : shift_a;
    return shift_a < shift_b ? shift_a : shift_b;
}
/// The power of two by which sums are multiplied when their shift changes.
[[nodiscard]] QLIB_INLINE constexpr int rescaling(std::uint32_t from, std::uint32_t to) noexcept {
    return 2 * (static_cast<int>(to) - static_cast<int>(from));
}

[[nodiscard]] inline float largest_moment(matrix_view<const float> H) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < H.rows; ++i) most = larger(most, H(i, i));
    return most;
}
inline void change_shift(moments& m, std::uint32_t shift) noexcept {
    const int e = rescaling(m.shift, shift);
    for (std::size_t i = 0; e != 0 && i < m.H.rows; ++i)
        for (std::size_t j = 0; j <= i; ++j) m.H(i, j) = times_power(m.H(i, j), e);
    m.shift = shift;
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

/// Bytes of floats that tokens pass through which are no floats, or have a shift.
[[nodiscard]] inline std::size_t moments_bytes(std::size_t tokens, std::size_t cols) noexcept {
    return workspace::piece<float>(saturating_multiply(smaller_size(tokens, syrk_tokens), cols));
}
template <weight_source T>
matrix_view<const float> shifted_tokens(matrix_view<const T> X, std::uint32_t shift, float* floats) noexcept {
    for (std::size_t r = 0; r < X.rows; ++r)
        for (std::size_t c = 0; c < X.cols; ++c)
            floats[r * X.cols + c] = times_power(as_float(X(r, c)), static_cast<int>(shift));
    return {floats, X.rows, X.cols};
}

/// What can be known to be wrong before anything is added. Returns the shift to add X under.
template <weight_source T> result<std::uint32_t> shift_for(const moments& m, matrix_view<const T> X) noexcept {
    if (X.cols != m.H.cols)
        return error{errc::shape, "X has {0} columns, but the Hessian {1}", "X", {X.cols, m.H.cols}};
    if (const status s = check_view(X, "X"); !s) return s.error();
    const auto largest = largest_magnitude(X);
    if (!largest) return largest.error();
    const float most = largest_moment(m.H);
    const std::uint32_t shift = common_shift(most, m.shift, *largest, shift_of(*largest));
    const double x = static_cast<double>(*largest) * power_of_two(static_cast<int>(shift));
    const double sum = static_cast<double>(most) * power_of_two(rescaling(m.shift, shift));
    if (x * x * static_cast<double>(X.rows) > 0.5 * static_cast<double>(hessian_limit) - sum) return hessian_overflow();
    return shift;
}

/// m += X^T X, in syrk's own blocks: the same bits as of one call.
template <weight_source T> status add_moments(moments& m, matrix_view<const T> X, call how) noexcept {
    if (const status s = check_room(how.room); !s) return s;
    const auto shift = shift_for(m, X);
    if (!shift) return shift.error();
    if constexpr (std::same_as<T, float>) how.scratch = {};  // none was asked for
    const bool as_it_is = std::same_as<T, float> && *shift == 0;
    workspace memory;
    if (const status s = memory.open(how, as_it_is ? 0 : moments_bytes(X.rows, X.cols)); !s) return s;
    float* const floats = as_it_is ? nullptr : memory.take<float>(smaller_size(X.rows, syrk_tokens) * X.cols);
    change_shift(m, *shift);
    const std::size_t blocks = divide_up(X.rows, syrk_tokens);
    for (std::size_t b = 0; b < blocks; ++b) {
        const auto block = X.row_range(b * syrk_tokens, smaller_size(syrk_tokens, X.rows - b * syrk_tokens));
        matrix_view<const float> tokens;
        if constexpr (std::same_as<T, float>) tokens = block;
        if (!as_it_is) tokens = shifted_tokens(block, *shift, floats);
        if (const status s = syrk(m.H, tokens, how); !s) return s;
        m.count(block.rows);
        if (!how.progress(b + 1, blocks)) return cancelled(b + 1);
    }
    return {};
}

/// m += other.
inline status merge_moments(moments& m, const moments& other) noexcept {
    if (other.H.cols != m.H.cols)
        return error{errc::shape, "one Hessian has {0} columns, the other {1}", "other", {other.H.cols, m.H.cols}};
    const std::uint32_t shift = common_shift(largest_moment(m.H), m.shift, largest_moment(other.H), other.shift);
    const int own = rescaling(m.shift, shift), its = rescaling(other.shift, shift);
    const auto sum = [&](std::size_t i, std::size_t j) {
        return times_power(m.H(i, j), own) + times_power(other.H(i, j), its);
    };
    for (std::size_t i = 0; i < m.H.rows; ++i)
        if (sum(i, i) > 0.5f * hessian_limit) return hessian_overflow();
    for (std::size_t i = 0; i < m.H.rows; ++i)
        for (std::size_t j = 0; j <= i; ++j) m.H(i, j) = sum(i, j);
    m.shift = shift;
    m.count(other.tokens);
    return {};
}

/// Whether this can be a sum of x x^T: what the rest of the library relies on.
inline status check_moments(matrix_view<const float> H) noexcept {
    for (std::size_t i = 0; i < H.rows; ++i)
        if (!is_finite(H(i, i)) || !(H(i, i) >= 0) || H(i, i) > hessian_limit)
            return error{errc::malformed, "diagonal element {0} is negative, too large or not a number", "Hessian",
                         {i}};
    for (std::size_t i = 0; i < H.rows; ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (!is_finite(H(i, j)) || magnitude(H(i, j)) > H(i, i) + H(j, j))
                return error{errc::malformed, "element {0}, {1} is not a number, or larger than its diagonal allows",
                             "Hessian", {i, j}};
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
