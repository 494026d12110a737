#include <qlib/numeric/exact.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

using namespace qlib::detail;

namespace {

// What the library's own functions do: call these between QLIB_EXACT_BEGIN and QLIB_EXACT_END, in code
// that is not inlined into the including program's.
QLIB_EXACT_BEGIN
[[gnu::noinline]] void multiply_add(const float* a, const float* b, const float* c, float* out, int n) {
    for (int i = 0; i < n; ++i) out[i] = product(a[i], b[i]) + c[i];
}
[[gnu::noinline]] std::int32_t rounded(float x) { return round_even(x); }
[[gnu::noinline]] std::int32_t rounded_between(float x, std::int32_t low, std::int32_t high) {
    return round_clamped(x, low, high);
}
[[gnu::noinline]] float reciprocal(float s) { return safe_reciprocal(s); }
[[gnu::noinline]] float root(float x) { return square_root(x); }
[[gnu::noinline]] bool finite(float x) { return is_finite(x); }
[[gnu::noinline]] bool nan(float x) { return is_nan(x); }
[[gnu::noinline]] float clamped(float x, float low, float high) { return clamp(x, low, high); }
QLIB_EXACT_END

constexpr std::uint32_t infinity = 0x7F800000, quiet_nan = 0x7FC00000, minus = 0x80000000;

}  // namespace

TEST_SUITE("bytes") {

TEST_CASE("exact: a product is rounded before it is added") {
    // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24, of which f32 keeps the first two terms; an FMA would keep all three.
    std::array<float, 67> a, b, c, out;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const float scale = std::ldexp(1.0f, static_cast<int>(i) - 30);
        a[i] = scale * (1 + 0x1p-12f);
        b[i] = 1 + 0x1p-12f;
        c[i] = -scale * (1 + 0x1p-11f);
    }
    multiply_add(a.data(), b.data(), c.data(), out.data(), static_cast<int>(out.size()));
    for (const float x : out) CHECK(bits_of(x) == 0);
}

TEST_CASE("exact: round_even, up to 2^22") {
    for (std::int32_t i = -1000; i <= 1000; ++i) {
        const auto x = static_cast<float>(i);
        CHECK(rounded(x) == i);
        CHECK(rounded(x + 0.5f) == (i % 2 == 0 ? i : i + 1));
        CHECK(rounded(x + 0.4990234375f) == i);
        CHECK(rounded(x + 0.5009765625f) == i + 1);
    }
    CHECK(rounded(-0.0f) == 0);
    CHECK(rounded(0x1p-149f) == 0);
    CHECK(rounded(4194303.0f) == 4194303);
    CHECK(rounded(4194303.5f) == 4194304);
    CHECK(rounded(4194303.75f) == 4194304);
    CHECK(rounded(-4194303.5f) == -4194304);
    CHECK(rounded(4194304.0f) == 4194304);
    CHECK(rounded(-4194304.0f) == -4194304);
}

TEST_CASE("exact: round_clamped is total") {
    CHECK(rounded_between(2.5f, -8, 7) == 2);
    CHECK(rounded_between(-7.5f, -8, 7) == -8);
    CHECK(rounded_between(7.4f, -8, 7) == 7);
    for (const float large : {7.5f, 8.0f, 1e9f, 3e38f, float_of(infinity)}) {
        CHECK(rounded_between(large, -8, 7) == 7);
        CHECK(rounded_between(-large, -8, 7) == -8);
    }
    for (const std::uint32_t bits : {quiet_nan, quiet_nan | minus, infinity + 1})
        CHECK(rounded_between(float_of(bits), -8, 7) == -8);
}

TEST_CASE("exact: NaN and infinity are told by their bits") {
    for (const std::uint32_t sign : {0u, minus}) {
        for (const std::uint32_t bits : {0u, 1u, 0x00800000u, 0x3F800000u, 0x7F7FFFFFu}) {
            CHECK(finite(float_of(sign | bits)));
            CHECK(!nan(float_of(sign | bits)));
            CHECK(bits_of(magnitude(float_of(sign | bits))) == bits);
        }
        CHECK(!finite(float_of(sign | infinity)));
        CHECK(!nan(float_of(sign | infinity)));
        for (const std::uint32_t bits : {infinity + 1, quiet_nan, 0x7FFFFFFFu}) {
            CHECK(!finite(float_of(sign | bits)));
            CHECK(nan(float_of(sign | bits)));
        }
    }
}

TEST_CASE("exact: clamp") {
    CHECK(clamped(0.5f, -1, 1) == 0.5f);
    CHECK(clamped(-3, -1, 1) == -1);
    CHECK(clamped(3, -1, 1) == 1);
    CHECK(clamped(float_of(infinity), -1, 1) == 1);
    CHECK(clamped(float_of(infinity | minus), -1, 1) == -1);
}

TEST_CASE("exact: safe_reciprocal of scales that are no scales is zero") {
    for (const std::uint32_t bits : {0u, 1u, 0x007FFFFFu, quiet_nan, infinity})
        for (const std::uint32_t sign : {0u, minus}) CHECK(magnitude(reciprocal(float_of(sign | bits))) == 0);
    CHECK(reciprocal(0x1p-126f) == 0x1p126f);
    CHECK(reciprocal(-4) == -0.25f);
    CHECK(bits_of(reciprocal(3)) == 0x3EAAAAAB);
    CHECK(bits_of(reciprocal(0.7f)) == 0x3FB6DB6E);
}

TEST_CASE("exact: square_root is the nearest float, also at compile time") {
    static constexpr auto at_compile_time = [] {
        std::array<std::array<float, 2>, 96> pairs{};
        std::uint32_t bits = 1;
        for (auto& pair : pairs) {
            pair = {float_of(bits), square_root(float_of(bits))};
            bits += bits / 5 + 1234567;
            bits &= 0x7F7FFFFF;
        }
        return pairs;
    }();
    for (const auto& [x, r] : at_compile_time) {
        CHECK(bits_of(root(x)) == bits_of(r));
        // x lies between the squares of the midpoints around r; all of this is exact in double.
        const double value = x, next = float_of(bits_of(r) + 1), last = float_of(bits_of(r) - 1);
        const double below = (last + r) / 2, above = (r + next) / 2;
        CHECK(below * below <= value);
        CHECK(value <= above * above);
    }
    CHECK(bits_of(root(2)) == 0x3FB504F3);
    for (const std::uint32_t bits : {0u, minus, 0xBF800000u, quiet_nan, quiet_nan | minus, infinity | minus})
        CHECK(root(float_of(bits)) == 0);
    CHECK(bits_of(root(float_of(infinity))) == infinity);
}

}  // TEST_SUITE("bytes")

static_assert(product(3, 4) == 12 && round_even(2.5f) == 2 && round_even(-3.5f) == -4 &&
              round_even(4194303.5f) == 4194304);
static_assert(round_clamped(std::numeric_limits<float>::quiet_NaN(), 1, 9) == 1 && round_clamped(1e30f, 1, 9) == 9);
static_assert(safe_reciprocal(8) == 0.125f && safe_reciprocal(0) == 0 && safe_reciprocal(0x1p-127f) == 0);
static_assert(square_root(2) == 0x1.6A09E6p0f && square_root(0x1p-149f) == 0x1.6A09E6p-75f && square_root(-1) == 0 &&
              square_root(9) == 3);
static_assert(is_nan(std::numeric_limits<float>::quiet_NaN()) && !is_finite(std::numeric_limits<float>::infinity()) &&
              magnitude(-2) == 2);
static_assert(smaller(1, 2) == 1 && larger(1, 2) == 2 && smaller_size(2, 1) == 1 && clamp(5, 0, 3) == 3);
