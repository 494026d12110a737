#include <qlib/numeric/minifloat.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

using namespace qlib;

namespace {

using lowest = minifloat<4, 3, 124, specials::none>;  // nobody's: as far down as f32 can follow with normal numbers

/// What IEEE 754, OCP OFP8, OCP MX and (for FNUZ) ml_dtypes say of a type, and our conversions of it.
struct type {
    const char* name;
    int exponent_bits, mantissa_bits, bias;
    std::uint32_t max_code;
    double max, min_normal, min_subnormal;
    double overflows_at;  // the smallest f32 that nearest_even does not round to max or less
    int infinity, nan;    // the codes of +infinity and of the NaN that a conversion makes; -1: none
    bool negative_zero;
    std::uint32_t (*encode)(std::uint32_t f32, overflow,
                            rounding);  // bits to bits: flags may cost a float the sign of its zero
    std::uint32_t (*decode)(std::uint32_t code);
    int bits_per_value;
    std::uint32_t our_max_code;
    float our_max;

    [[nodiscard]] std::uint32_t sign(bool negative) const {
        return negative ? 1u << (exponent_bits + mantissa_bits) : 0;
    }
};

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float from_bits(std::uint32_t u) { return std::bit_cast<float>(u); }
bool is_nan(std::uint32_t f32) { return (f32 & 0x7FFFFFFF) > 0x7F800000; }
constexpr std::uint32_t f32_sign = 0x80000000;

template <class T> std::uint32_t encode(std::uint32_t f32, overflow o, rounding how) {
    return T::from(from_bits(f32), o, how).bits;
}
template <class T> std::uint32_t decode(std::uint32_t code) {
    return bits(T{static_cast<typename T::storage>(code)}.value());
}
template <class T> constexpr type with(type t) {
    t.encode = encode<T>;
    t.decode = decode<T>;
    t.bits_per_value = T::bits_per_value;
    t.our_max_code = T::max_code;
    t.our_max = T::max();
    return t;
}

// In the order of the members above; "464 still fits" makes e4m3's limit the next f32.
#define REST nullptr, nullptr, 0, 0, 0
constexpr type all_types[] = {
    with<f16>({"f16", 5, 10, 15, 0x7BFF, 65504, 0x1p-14, 0x1p-24, 65520, 0x7C00, 0x7E00, true, REST}),
    with<bf16>({"bf16", 8, 7, 127, 0x7F7F, 0x1.FEp127, 0x1p-126, 0x1p-133, 0x1.FFp127, 0x7F80, 0x7FC0, true, REST}),
    with<e4m3>({"e4m3", 4, 3, 7, 0x7E, 448, 0x1p-6, 0x1p-9, 0x1.D00002p8, -1, 0x7F, true, REST}),
    with<e5m2>({"e5m2", 5, 2, 15, 0x7B, 57344, 0x1p-14, 0x1p-16, 61440, 0x7C, 0x7E, true, REST}),
    with<e4m3fnuz>({"e4m3fnuz", 4, 3, 8, 0x7F, 240, 0x1p-7, 0x1p-10, 248, -1, 0x80, false, REST}),
    with<e4m3b11fnuz>({"e4m3b11fnuz", 4, 3, 11, 0x7F, 30, 0x1p-10, 0x1p-13, 31, -1, 0x80, false, REST}),
    with<e5m2fnuz>({"e5m2fnuz", 5, 2, 16, 0x7F, 57344, 0x1p-15, 0x1p-17, 61440, -1, 0x80, false, REST}),
    with<e3m2>({"e3m2", 3, 2, 3, 0x1F, 28, 0.25, 0.0625, 30, -1, -1, true, REST}),
    with<e2m3>({"e2m3", 2, 3, 1, 0x1F, 7.5, 1, 0.125, 7.75, -1, -1, true, REST}),
    with<e2m1>({"e2m1", 2, 1, 1, 0x7, 6, 1, 0.5, 7, -1, -1, true, REST}),
    with<lowest>({"lowest", 4, 3, 124, 0x7F, 0x1.Ep-109, 0x1p-123, 0x1p-126, 0x1.Fp-109, -1, -1, true, REST}),
};
#undef REST

constexpr rounding all_roundings[] = {rounding::nearest_even, rounding::nearest_away, rounding::toward_zero,
                                      rounding::away_from_zero};
constexpr overflow all_overflows[] = {overflow::saturate, overflow::special};

/// The magnitudes of codes 0, 1, .. by the definition, in double: all finite ones, then the one that would come next.
std::vector<double> magnitudes(const type& t) {
    std::vector<double> v;
    for (std::uint32_t code = 0; code <= t.max_code + 1; ++code) {
        const int e = static_cast<int>(code >> t.mantissa_bits),
                  m = static_cast<int>(code & ((1u << t.mantissa_bits) - 1));
        const double fraction = std::ldexp(m, -t.mantissa_bits);
        v.push_back(e == 0 ? std::ldexp(fraction, 1 - t.bias) : std::ldexp(1 + fraction, e - t.bias));
    }
    return v;
}

std::uint32_t nan_code(const type& t, bool negative) {
    if (t.nan < 0) return 0;
    return static_cast<std::uint32_t>(t.nan) | (t.negative_zero ? t.sign(negative) : 0);
}
std::uint32_t overflowed(const type& t, overflow o, bool negative) {
    if (o == overflow::saturate || (t.infinity < 0 && t.nan < 0)) return t.sign(negative) | t.max_code;
    return t.infinity >= 0 ? t.sign(negative) | static_cast<std::uint32_t>(t.infinity) : nan_code(t, negative);
}

/// The code of +-x for v[i] <= x < v[i + 1], chosen by comparing doubles.
std::uint32_t expected(const type& t, const std::vector<double>& v, std::size_t i, double x, overflow o, rounding how,
                       bool negative) {
    const double middle = (v[i] + v[i + 1]) / 2;
    bool up = false;
    switch (how) {
    case rounding::nearest_even: up = x > middle || (x == middle && i % 2 != 0); break;
    case rounding::nearest_away: up = x >= middle; break;
    case rounding::away_from_zero: up = x > v[i]; break;
    case rounding::toward_zero: break;
    }
    const std::size_t code = i + (up ? 1 : 0);
    if (code + 1 == v.size()) return overflowed(t, o, negative);
    return static_cast<std::uint32_t>(code) | (code != 0 || t.negative_zero ? t.sign(negative) : 0);
}

}  // namespace

TEST_SUITE("bytes") {

TEST_CASE("minifloat: what the standards publish") {
    for (const type& t : all_types) {
        INFO(std::string(t.name));
        CHECK(t.bits_per_value == 1 + t.exponent_bits + t.mantissa_bits);
        CHECK(t.our_max_code == t.max_code);
        CHECK(static_cast<double>(t.our_max) == t.max);
        CHECK(t.decode(t.max_code) == bits(static_cast<float>(t.max)));
        CHECK(t.decode(1u << t.mantissa_bits) == bits(static_cast<float>(t.min_normal)));
        CHECK(t.decode(1) == bits(static_cast<float>(t.min_subnormal)));
        const std::uint32_t limit = bits(static_cast<float>(t.overflows_at));
        CHECK(t.encode(limit, overflow::special, rounding::nearest_even) == overflowed(t, overflow::special, false));
        CHECK(t.encode(limit | f32_sign, overflow::saturate, rounding::nearest_even) == (t.sign(true) | t.max_code));
        CHECK(t.encode(limit - 1, overflow::special, rounding::nearest_even) == t.max_code);
    }
}

TEST_CASE("minifloat: every code has its value, and the value converts back to the code") {
    for (const type& t : all_types) {
        INFO(std::string(t.name));
        const std::vector<double> v = magnitudes(t);
        const auto infinity = static_cast<std::uint32_t>(t.infinity);
        int wrong_values = 0, wrong_codes = 0, nans = 0;
        for (const bool negative : {false, true})
            for (std::uint32_t a = 0; a < t.sign(true); ++a) {
                const std::uint32_t code = a | t.sign(negative);
                const std::uint32_t x = t.decode(code);
                if (is_nan(x)) {
                    ++nans;
                    wrong_values += a == infinity || (t.negative_zero ? a <= t.max_code : code != 0x80);
                    continue;
                }
                const std::uint32_t magnitude = a == infinity     ? 0x7F800000
                                                : a <= t.max_code ? bits(static_cast<float>(v[a]))
                                                                  : ~0u;
                wrong_values += x != (magnitude | (negative ? f32_sign : 0));
                for (const rounding how : all_roundings) {
                    wrong_codes += t.encode(x, overflow::special, how) != code;
                    if (a <= t.max_code) wrong_codes += t.encode(x, overflow::saturate, how) != code;
                }
            }
        CHECK(wrong_values == 0);
        CHECK(wrong_codes == 0);
        CHECK((nans != 0) == (t.nan >= 0));
    }
}

TEST_CASE("minifloat: between two values, by every rounding and overflow rule") {
    for (const type& t : all_types) {
        INFO(std::string(t.name));
        const std::vector<double> v = magnitudes(t);
        int wrong = 0;
        for (std::size_t i = 0; i + 1 < v.size(); ++i) {
            const std::uint32_t middle = bits(static_cast<float>((v[i] + v[i + 1]) / 2)),
                                low = bits(static_cast<float>(v[i]));
            for (const std::uint32_t u : {low + 1, middle - 1, middle, middle + 1})
                for (const rounding how : all_roundings)
                    for (const overflow o : all_overflows)
                        for (const bool negative : {false, true}) {
                            const std::uint32_t want =
                                expected(t, v, i, static_cast<double>(from_bits(u)), o, how, negative);
                            const std::uint32_t got = t.encode(u | (negative ? f32_sign : 0), o, how);
                            if (got == want || wrong++ != 0) continue;
                            MESSAGE(u << ", rounding " << static_cast<int>(how) << ", gives " << got << ", not "
                                      << want);
                        }
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("minifloat: zero, far too small, far too large, infinity, NaN") {
    for (const type& t : all_types)
        for (const bool negative : {false, true})
            for (const rounding how : all_roundings)
                for (const overflow o : all_overflows) {
                    INFO(std::string(t.name));
                    CAPTURE(negative);
                    CAPTURE(static_cast<int>(how));
                    const std::uint32_t sign = t.sign(negative), zero = t.negative_zero ? sign : 0;
                    const auto code = [&](std::uint32_t magnitude) {
                        return t.encode(magnitude | (negative ? f32_sign : 0), o, how);
                    };
                    CHECK(code(0) == zero);
                    CHECK(code(1) == (how == rounding::away_from_zero ? sign | 1 : zero));
                    CHECK(code(0x7F7FFFFF) ==
                          (how == rounding::toward_zero ? sign | t.max_code : overflowed(t, o, negative)));
                    CHECK(code(0x7F800000) == overflowed(t, o, negative));
                    CHECK(code(0x7FC00000) == nan_code(t, negative));
                    for (const std::uint32_t nan : {0x7F800001u, 0x7FFFFFFFu})
                        CHECK(is_nan(t.decode(code(nan))) == (t.nan >= 0));
                }
}

TEST_CASE("minifloat: bf16 keeps what a NaN carries, made quiet") {
    CHECK(bf16::from(from_bits(0x7F800001)).bits == 0x7FC0);
    CHECK(bf16::from(from_bits(0xFFA50000)).bits == 0xFFE5);
}

TEST_CASE("minifloat: e2m1's codes and ties, as OCP MX lists them") {
    constexpr float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (std::uint8_t c = 0; c < 8; ++c) CHECK(e2m1{c}.value() == values[c]);
    constexpr float ties[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    constexpr float rounded[] = {0, 1, 1, 2, 2, 4, 4};
    for (int i = 0; i < 7; ++i) {
        CHECK(e2m1::from(ties[i]).value() == rounded[i]);
        CHECK(e2m1::from(ties[i], overflow::saturate, rounding::nearest_away).value() == values[i + 1]);
    }
}

TEST_CASE("minifloat: one rounding, where two would go wrong") {
    const float x = from_bits(bits(1.0625f) + 1);  // just above a tie of e4m3, and at that tie once it has been an f16
    CHECK(e4m3::from(x).value() == 1.125f);
    CHECK(e4m3::from(f16::from(x).value()).value() == 1.0f);
}

}  // TEST_SUITE("bytes")

// At compile time.
static_assert(sizeof(f16) == 2 && sizeof(bf16) == 2 && sizeof(e4m3) == 1 && sizeof(e2m1) == 1);
static_assert(f16::from(1.0f).bits == 0x3C00 && f16::from(-2.0f).bits == 0xC000 && f16::from(65504.0f).bits == 0x7BFF);
static_assert(f16::from(0x1p-24f).bits == 1 && f16::from(0x1p-25f).bits == 0 && f16::from(0x1.000002p-25f).bits == 1);
static_assert(f16::from(65520.0f).bits == 0x7C00 && f16::from(65520.0f, overflow::saturate).bits == 0x7BFF);
static_assert(f16{0x3555}.value() == 0x1.554p-2f && f16{0x8001}.value() == -0x1p-24f &&
              static_cast<float>(f16{0x3C00}) == 1.0f);
static_assert(bf16::from(3.14159274f).bits == 0x4049 && bf16{0x4049}.value() == 3.140625f &&
              bf16{1}.value() == 0x1p-133f);
static_assert(e4m3::from(464.0f).bits == 0x7E && e4m3::from(465.0f).bits == 0x7F &&
              e4m3::from(-465.0f, overflow::saturate).bits == 0xFE);
static_assert(e2m1::from(-5.0f).value() == -4.0f && e2m1::from(100.0f).value() == 6.0f && e2m1::max() == 6.0f);
static_assert(e5m2::from(61440.0f).bits == 0x7C && e4m3fnuz::from(-0.0f).bits == 0 &&
              e4m3fnuz::from(248.0f).bits == 0x80);
static_assert(f16{1} == f16{1} && f16{0} != f16{0x8000});
static_assert(e5m2::from(0.3f).value() == f16{static_cast<std::uint16_t>(e5m2::from(0.3f).bits << 8)}.value());
