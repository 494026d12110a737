// mx_scale_fit: the rules of scales by hand, against torchao's arithmetic, and the search against all 255 scales.
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/mx.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

namespace {

using qlib::mx_rule;
constexpr mx_rule rules[] = {mx_rule::floor, mx_rule::ceil, mx_rule::even, mx_rule::rceil, mx_rule::nearest};

/// The E8M0 code of one group's scale.
template <class F>
unsigned scale_code(const std::vector<float>& x, mx_rule rule, std::span<const float> importance = {}) {
    return qlib::mx_scale_fit{rule}.block<F>(qlib::site<F>{x, importance, 0, {}}).scale[0].bits;
}

/// torchao's scale, by its integer arithmetic on the bits of the abs-max; the elements'
/// largest exponents and mantissa bits are its own.
int torchao_scale(mx_rule rule, float amax, int top, int mantissa_bits, float highest) {
    const auto u = std::bit_cast<std::uint32_t>(amax);
    if (rule == mx_rule::rceil) {
        const auto d = std::bit_cast<std::uint32_t>(amax * (1.0f / highest));
        const std::uint32_t e = d >> 23, m = d & 0x7FFFFF;
        return static_cast<int>(e + (e == 0 ? m > 0x400000 : m != 0));
    }
    int power = static_cast<int>((rule == mx_rule::even ? u + (1u << (22 - mantissa_bits)) : u) >> 23) - 127;
    if (rule == mx_rule::ceil) power += (u & 0x7FFFFF) != 0;
    return std::clamp(power - top, -127, 127) + 127;
}

}  // namespace

TEST_CASE("scale rules by hand") {
    using code = unsigned (*)(const std::vector<float>&, mx_rule, std::span<const float>);
    constexpr code e2m1 = scale_code<qlib::mxfp4_ocp>, e4m3 = scale_code<qlib::mxfp8_e4m3>,
                   e5m2 = scale_code<qlib::mxfp8_e5m2>;
    constexpr code e3m2 = scale_code<qlib::mxfp6_e3m2>, e2m3 = scale_code<qlib::mxfp6_e2m3>,
                   int8 = scale_code<qlib::mxint8>, ggml = scale_code<qlib::mxfp4>;
    struct known {
        code of;
        float amax;
        std::array<unsigned, 5> want;  // floor, ceil, even, rceil, nearest
    };
    const known table[] = {
        {e2m1, 4, {127, 127, 127, 127, 126}},
        {e2m1, 6, {127, 128, 127, 127, 127}},
        {e2m1, 6.99f, {127, 128, 127, 128, 127}},
        {e2m1, 7, {127, 128, 128, 128, 127}},
        {e2m1, 7.99f, {127, 128, 128, 128, 127}},
        {e4m3, 448, {127, 128, 127, 127, 127}},
        {e4m3, 495, {127, 128, 127, 128, 127}},
        {e4m3, 496, {127, 128, 128, 128, 127}},
        {e5m2, 61439, {127, 128, 127, 128, 127}},
        {e5m2, 61440, {127, 128, 128, 128, 127}},
        {e3m2, 28, {127, 128, 127, 127, 127}},
        {e3m2, 30, {127, 128, 128, 128, 127}},
        {e2m3, 7.5f, {127, 128, 127, 127, 127}},
        {e2m3, 7.75f, {127, 128, 128, 128, 127}},
        {int8, 1, {127, 127, 127, 127, 126}},
        {int8, 127.0f / 64, {127, 128, 127, 127, 127}},
        {int8, 1.9921875f, {127, 128, 128, 128, 127}},
        {ggml, 6, {127, 128, 127, 127, 127}},
        {ggml, 7, {127, 128, 128, 128, 127}},
        {e2m1, 0, {0, 0, 0, 0, 0}},
        {e2m1, 0x1p-125f, {0, 0, 0, 0, 0}},
        {e4m3, 0x1p-126f, {0, 0, 0, 0, 0}},
        {e5m2, 0x1p-126f, {0, 0, 0, 0, 0}},
        {e2m1, 3.4e38f, {252, 253, 253, 253, 252}},
        {int8, 3.4e38f, {254, 254, 254, 254, 254}},
    };
    for (const known& k : table)
        for (std::size_t r = 0; r < 5; ++r) {
            CAPTURE(k.amax);
            CAPTURE(r);
            CHECK(k.of({0.25f * k.amax, -k.amax}, rules[r], {}) == k.want[r]);
        }
}

TEST_CASE("scale rules are torchao's, bit by bit") {
    sample::random r{9};
    const auto check = [&]<class F>(F*, int top, int mantissa_bits) {
        int wrong = 0;
        for (int i = 0; i < 2000; ++i) {
            std::uint32_t u = static_cast<std::uint32_t>(r.next()) % 0x7F800000u;
            if (u < 0x00800000u) continue;  // subnormal magnitudes count as zero
            if (i % 3 == 0) u &= 0xFFF00000u;
            if (i % 5 == 0) u |= 0x007FFFFFu;
            const float amax = std::bit_cast<float>(u);
            for (const mx_rule rule : {mx_rule::floor, mx_rule::ceil, mx_rule::even, mx_rule::rceil}) {
                const int want = torchao_scale(rule, amax, top, mantissa_bits, F::grid::highest);
                // At code 0 qlib's scale counts as zero anyway.
                wrong += want > 0 && static_cast<int>(scale_code<F>({amax}, rule)) != want;
            }
        }
        CHECK(wrong == 0);
    };
    check(static_cast<qlib::mxfp8_e4m3*>(nullptr), 8, 3);
    check(static_cast<qlib::mxfp8_e5m2*>(nullptr), 15, 2);
    check(static_cast<qlib::mxfp6_e3m2*>(nullptr), 4, 2);
    check(static_cast<qlib::mxfp6_e2m3*>(nullptr), 2, 3);
    check(static_cast<qlib::mxfp4_ocp*>(nullptr), 2, 1);
}

TEST_CASE_TEMPLATE("both searches find the best of all 255 scales", F, qlib::mxfp4, qlib::mxfp8_e4m3, qlib::mxfp8_e5m2,
                   qlib::mxfp6_e3m2, qlib::mxfp6_e2m3, qlib::mxfp4_ocp, qlib::mxint8) {
    const auto error = [](const std::vector<float>& x, const std::vector<float>& w, unsigned code) {
        typename F::params p;
        p.scale[0].bits = static_cast<std::uint8_t>(code);
        const float s = p.scale[0].value(), inverse = qlib::detail::safe_reciprocal(s);
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const float u = x[i] * inverse;
            float level = 0;
            F::level(F::nearest(&u, nullptr), &level);
            sum +=
                double{w[i]} * (double{x[i]} - double{s} * double{level}) * (double{x[i]} - double{s} * double{level});
        }
        return sum;
    };
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const double size = seed % 4 == 1 ? 1e30 : seed % 4 == 2 ? 1e-24 : 1.0;
        const std::vector<float> x = sample::weights(seed % 5 == 4 ? 7 : 32, seed, size);
        std::vector<float> w = sample::importance(x.size(), seed);
        if (seed % 7 == 0)  // some count for next to nothing
            for (std::size_t i = 0; i < x.size(); ++i) w[i] *= std::ldexp(1.0f, -static_cast<int>(seed + 3 * i) % 40);
        if (seed % 3 == 0)  // of the largest weights nothing is known: the others alone decide
            for (std::size_t i = 0; i < x.size(); ++i)
                if (std::abs(x[i]) > 0.3f * static_cast<float>(size)) w[i] = 0;
        double least = error(x, w, 1);
        for (unsigned c = 2; c < 255; ++c) least = std::min(least, error(x, w, c));
        CHECK(error(x, w, scale_code<F>(x, mx_rule::search, w)) <= least * 1.00001);
        CHECK(error(x, w, qlib::search_fit{}.block<F>(qlib::site<F>{x, w, 0, {}}).scale[0].bits) <= least * 1.00001);
    }
}

TEST_CASE_TEMPLATE("the plain fit of OCP's formats is the default rule, OCP's own; ggml's has the nearest power of two",
                   F, qlib::mxfp4, qlib::mxfp8_e4m3, qlib::mxfp8_e5m2, qlib::mxfp6_e3m2, qlib::mxfp6_e2m3,
                   qlib::mxfp4_ocp, qlib::mxint8) {
    int differing = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const double size = std::exp2(static_cast<double>(seed) - 150);  // from subnormal weights to nearly the largest
        std::vector<float> x = sample::weights(seed % 5 == 4 ? 7 : 32, seed, size);
        if (seed % 7 == 0) x.assign(x.size(), seed == 0 ? 0.0f : static_cast<float>(-size));
        for (float& v : x) v = std::clamp(v, -3e38f, 3e38f);
        const auto plain = qlib::plain_fit{}.block<F>(qlib::site<F>{x, {}, 0, {}});
        const mx_rule rule = std::same_as<F, qlib::mxfp4> ? mx_rule::nearest : qlib::mx_scale_fit{}.rule;
        differing += plain.scale[0].bits != scale_code<F>(x, rule);
    }
    CHECK(differing == 0);
}

TEST_CASE("better rules and wider elements lose less") {
    const auto x = sample::weights(64 * 256, 21);
    const auto db = [&]<class F>(F*, mx_rule rule) {
        const auto q = qlib::quantize<F>({x.data(), 64, 256}, qlib::mx_scale_fit{rule});
        std::vector<float> y(x.size());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), 64, 256}).ok());
        return sample::sqnr(x, y);
    };
    const auto least = [&]<class F>(F* f, double floor_db) {
        const double floor = db(f, mx_rule::floor), search = db(f, mx_rule::search);
        CHECK(floor > floor_db);
        for (const mx_rule rule : rules) CHECK(search >= db(f, rule));
    };
    least(static_cast<qlib::mxfp4_ocp*>(nullptr), 17.5);
    least(static_cast<qlib::mxfp6_e3m2*>(nullptr), 24);
    least(static_cast<qlib::mxfp6_e2m3*>(nullptr), 29);
    least(static_cast<qlib::mxfp8_e5m2*>(nullptr), 24);
    least(static_cast<qlib::mxfp8_e4m3*>(nullptr), 29.5);
    least(static_cast<qlib::mxint8*>(nullptr), 39);
}
