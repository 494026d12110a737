#pragma once
// The double nearest to a decimal number, exactly, without locale or heap.
#include "../numeric/exact.hpp"

#include <string_view>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail {

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
        return count != 0 ? 32 * count - static_cast<std::size_t>(__builtin_clz(limb[count - 1])) : 0;
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

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// quotient * 2^exponent, cut down to the 53 bits of a double (fewer where it is subnormal), halves to even. `sticky`:
/// the true value is a little larger. 2^63 <= quotient. False when it is too large.
[[nodiscard]] inline bool round_to_double(std::uint64_t quotient, int exponent, bool sticky, double& out) noexcept {
    int drop = 11;
    if (exponent + drop < -1074) drop = -1074 - exponent;
    if (drop > 64) return out = 0, true;
    const std::uint64_t kept = drop < 64 ? quotient >> drop : 0, rest = drop < 64 ? quotient << (64 - drop) : quotient;
    const std::uint64_t half = std::uint64_t{1} << 63;
    const std::uint64_t mantissa = kept + (rest > half || (rest == half && (sticky || (kept & 1) != 0)) ? 1 : 0);
    const int e = exponent + drop;  // the value is mantissa * 2^e, mantissa <= 2^53
    // The hidden bit carries into the exponent field: right for subnormals and for a
    // mantissa that was rounded up to 2^53.
    const std::uint64_t hidden = std::uint64_t{1} << 52;
    const std::uint64_t bits = mantissa < hidden ? mantissa : (static_cast<std::uint64_t>(e + 1074) << 52) + mantissa;
    if (bits >= std::uint64_t{0x7FF} << 52) return false;
    out = __builtin_bit_cast(double, bits);
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
        if (c == '.') {
            behind_point = true;
            continue;
        }
        if (c < '0' || c > '9') break;
        if (digits == 0 && c == '0') {
            point -= behind_point ? 1 : 0;
            continue;
        }
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

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
