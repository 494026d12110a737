#include <qlib/numeric/e8m0.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>

using namespace qlib;

namespace {

constexpr rounding all_roundings[] = {rounding::nearest_even, rounding::nearest_away, rounding::toward_zero,
                                      rounding::away_from_zero};

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float from_bits(std::uint32_t u) { return std::bit_cast<float>(u); }
int code(float x, rounding how, overflow o = overflow::saturate) { return e8m0::from(x, o, how).bits; }

/// The code of x for 2^(i-127) <= x < 2^(i-126), by comparing doubles.
int expected(int i, double x, overflow o, rounding how) {
    const double low = std::ldexp(1.0, i - 127), tie = 1.5 * low;
    bool up = false;
    switch (how) {
    case rounding::nearest_even: up = x > tie || (x == tie && i % 2 != 0); break;
    case rounding::nearest_away: up = x >= tie; break;
    case rounding::away_from_zero: up = x > low; break;
    case rounding::toward_zero: break;
    }
    return up && i == 254 ? (o == overflow::saturate ? 254 : 255) : i + (up ? 1 : 0);
}

}  // namespace

TEST_SUITE("bytes") {

TEST_CASE("e8m0: every code is a power of two and converts back to itself") {
    for (int i = 0; i < 255; ++i) {
        const e8m0 e{static_cast<std::uint8_t>(i)};
        CHECK(bits(e.value()) == bits(std::ldexp(1.0f, i - 127)));
        for (const rounding how : all_roundings)
            for (const float x : {e.value(), -e.value()}) CHECK(code(x, how) == i);
    }
    CHECK((bits(e8m0{255}.value()) & 0x7FFFFFFF) > 0x7F800000);
    CHECK(e8m0::max() == e8m0{254}.value());
}

TEST_CASE("e8m0: between two powers of two, every rounding and overflow rule") {
    for (int i = 0; i < 255; ++i) {
        const std::uint32_t low = bits(std::ldexp(1.0f, i - 127)), tie = i == 0 ? 0x00600000 : low + 0x00400000;
        const std::uint32_t next = i == 254 ? 0x7F800000 : bits(std::ldexp(1.0f, i - 126));
        for (const std::uint32_t u : {low + 1, tie - 1, tie, tie + 1, next - 1})
            for (const rounding how : all_roundings)
                for (const overflow o : {overflow::saturate, overflow::special}) {
                    CAPTURE(u);
                    CHECK(code(from_bits(u), how, o) == expected(i, static_cast<double>(from_bits(u)), o, how));
                }
    }
}

TEST_CASE("e8m0: zero, below the smallest, infinity, NaN") {
    for (const rounding how : all_roundings) {
        for (const std::uint32_t u : {0u, 1u, 0x003FFFFFu, 0x80000000u}) CHECK(code(from_bits(u), how) == 0);
        for (const std::uint32_t sign : {0u, 0x80000000u}) {
            CHECK(code(from_bits(sign | 0x7F800000), how) == 254);
            CHECK(code(from_bits(sign | 0x7F800000), how, overflow::special) == 255);
            CHECK(code(from_bits(sign | 0x7FC00000), how) == 255);
            CHECK(code(from_bits(sign | 0x7F800001), how) == 255);
        }
    }
}

}  // TEST_SUITE("bytes")

static_assert(e8m0{127}.value() == 1.0f && e8m0{0}.value() == 0x1p-127f && e8m0{254}.value() == 0x1p127f);
static_assert(e8m0::from(6.0f).bits == 129 + 1 && e8m0::from(3.0f).bits == 128 && e8m0::from(0.0f).bits == 0);
