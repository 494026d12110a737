// Bytes do not depend on the float environment that a program has when it calls; and it has it again afterwards.
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/core/float_environment.hpp>
#include <qlib/iq_lattices.hpp>
#include <qlib/k_quants.hpp>
#include <qlib/nf4.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cfenv>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace {

std::vector<std::byte> bytes_of(const auto& q) { return {q->bytes().begin(), q->bytes().end()}; }

/// Quantizes rows of zeros, small and large numbers in an environment that make() sets and restore() ends.
template <class F, class Make, class Restore> void same_in(qlib::fit fit, const Make& make, const Restore& restore) {
    std::vector<float> w(4 * 256);
    for (std::size_t i = 256; i < 512; ++i) w[i] = static_cast<float>(i % 17) - 8;
    for (std::size_t i = 512; i < 768; ++i) w[i] = static_cast<float>(i % 13) * 1e-39f;
    for (std::size_t i = 768; i < 1024; ++i) w[i] = (static_cast<float>(i * 37 % 64) - 32) * 40.0f;
    const qlib::matrix_view<const float> W{w.data(), 2, 512};
    const auto usual = qlib::quantize<F>(W, {.fit = fit});
    REQUIRE(usual);
    make();
    const auto unusual = qlib::quantize<F>(W, {.fit = fit});
    restore();
    REQUIRE(unusual);
    CHECK(bytes_of(usual) == bytes_of(unusual));
}

#define FORMATS qlib::iq2_xxs, qlib::iq2_xs, qlib::iq3_s, qlib::iq1_m, qlib::q2_k, qlib::q4_k, qlib::nf4

TEST_CASE_TEMPLATE("another rounding direction changes no byte, and is kept", F, FORMATS) {
    for (const int direction : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        same_in<F>(qlib::fit::search, [&] { std::fesetround(direction); },
                   [&] {
                       CHECK(std::fegetround() == direction);
                       std::fesetround(FE_TONEAREST);
                   });
    }
}

#if defined(__SSE__)
TEST_CASE_TEMPLATE("flushing subnormals to zero changes no byte, and is kept", F, FORMATS) {
    const unsigned before = _mm_getcsr();
    for (const auto fit : {qlib::fit::plain, qlib::fit::search})
        same_in<F>(fit, [&] { _mm_setcsr(before | 0x8040u); },
                   [&] {
                       CHECK((_mm_getcsr() & 0x8040u) == 0x8040u);
                       _mm_setcsr(before);
                   });
}
#endif

TEST_CASE_TEMPLATE("importances near the largest float choose as ones do", F, FORMATS) {
    const auto w = sample::weights(512, 3);
    const qlib::matrix_view<const float> W{w.data(), 2, 256};
    for (const auto fit : {qlib::fit::plain, qlib::fit::search}) {
        const std::vector<float> ones(256, 1.0f), large(256, 0x1p127f);
        const auto usual = qlib::quantize<F>(W, {.fit = fit, .importance = ones});
        const auto unusual = qlib::quantize<F>(W, {.fit = fit, .importance = large});
        REQUIRE(usual);
        REQUIRE(unusual);
        CHECK(bytes_of(usual) == bytes_of(unusual));
    }
}

}  // namespace
