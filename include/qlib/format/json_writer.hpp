#pragma once
// JSON into a caller's buffer. No heap: what does not fit is only counted.
#include "../numeric/exact.hpp"

#include <array>
#include <concepts>
#include <span>
#include <string_view>

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The decimal digits of a finite float >= 0, nine of them, as many as any float needs to be read back:
/// 0.d1 d2 d3 ... * 10^point.
struct decimal {
    std::array<std::uint8_t, 160> digit{};  // exact on the way there: 8 digits, and one more for each of 149 halvings
    int count = 0, point = 0;

    constexpr explicit decimal(float x) noexcept {
        const std::uint32_t u = __builtin_bit_cast(std::uint32_t, x), exponent = u >> 23 & 255;
        std::uint32_t m = (u & 0x7FFFFFu) | (exponent != 0 ? 0x800000u : 0u);
        if (m == 0) return;
        for (std::uint32_t rest = m; rest != 0; rest /= 10) ++count;
        for (int i = count; i-- > 0; m /= 10) digit[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(m % 10);
        point = count;
        int shift = static_cast<int>(exponent != 0 ? exponent : 1) - 150;
        for (; shift > 0; --shift) twice();
        for (; shift < 0; ++shift) halve();
        round_digits(9);
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
    constexpr void round_digits(int most) noexcept {
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
        const std::uint32_t u = __builtin_bit_cast(std::uint32_t, x), magnitude = u & 0x7FFFFFFFu;
        if (magnitude > 0x7F800000u) return string("nan");
        if (magnitude == 0x7F800000u) return string(u >> 31 != 0 ? "-inf" : "inf");
        next();
        if (u >> 31 != 0) put('-');
        write(decimal(__builtin_bit_cast(float, magnitude)));
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
        do {
            text[n++] = static_cast<char>('0' + v % 10);
            v /= 10;
        } while (v != 0);
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

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
