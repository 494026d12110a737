// Ternary weights: ggml's bytes, and base 3.
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/quantize.hpp>
#include <qlib/ternary.hpp>

TEST_SUITE("bytes") {
    TEST_CASE("TQ1_0 and TQ2_0 have ggml's bytes") {
        golden::check<qlib::tq1_0>(0xd2d75c98af39d066, 0xa6c0d59123c09801, 0xd2d75c98af39d066, 0xa6c0d59123c09801);
        golden::check<qlib::tq2_0>(0x359fe303caf2ac4b, 0xa6c0d59123c09801, 0x359fe303caf2ac4b, 0xa6c0d59123c09801);
    }
}

TEST_CASE("weights that are ternary are kept exactly, at 1.8 bits") {
    sample::random r{1};
    for (const std::size_t cols : std::vector<std::size_t>{80, 160, 81, 3}) {
        std::vector<float> x(5 * cols), y(5 * cols);
        for (float& v : x) v = 0.25f * (static_cast<float>(r.below(3)) - 1);
        for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search}) {
            const auto q = qlib::quantize<qlib::ternary_g80>({x.data(), 5, cols}, {.fit = f});
            REQUIRE(q.has_value());
            REQUIRE(qlib::dequantize(q->view(), {y.data(), 5, cols}).ok());
            for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::abs(y[i]) == std::abs(x[i]));
        }
    }
    CHECK(qlib::bits_per_weight<qlib::ternary_g80>(10, 800) == 1.8);
}

TEST_CASE("a search finds ternary codes for weights that are not") {
    const auto x = sample::weights(64 * 320, 2);
    const std::vector<float> ones(320, 1.0f);
    const auto db = [&](qlib::fit f) {
        const auto q = qlib::quantize<qlib::ternary_g80>({x.data(), 64, 320}, {.fit = f, .importance = ones});
        std::vector<float> y(x.size());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), 64, 320}).ok());
        return sample::sqnr(x, y);
    };
    CHECK(db(qlib::fit::search) > 5.5);
    CHECK(db(qlib::fit::search) > db(qlib::fit::plain) + 3);
}
