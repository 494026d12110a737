// Q4_K and Q6_K against ggml's own bytes.
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/k_quants.hpp>

TEST_SUITE("bytes") {
    TEST_CASE("Q4_K and Q6_K have ggml's bytes, with and without importance") {
        golden::check<qlib::q4_k>(0x7e5f3e742efeb63e, 0xc2b71d45f55086b2, 0x96f1a215b93ce5db, 0x94662fc966d35dd8);
        golden::check<qlib::q6_k>(0x620ad5991abf9f3e, 0x063d90c9203459ce, 0xc99ecbd7f93a48b6, 0x07b837d0ddbbf0fe);
    }
}

TEST_CASE("six-bit scales and mins: every value in every place") {
    std::array<std::int8_t, 8> sub{}, sub_back{};
    std::array<std::uint8_t, 8> min{}, min_back{};
    std::array<std::byte, 12> bytes{};
    sample::random r{1};
    for (int i = 0; i < 1000; ++i) {
        for (std::size_t j = 0; j < 8; ++j) {
            sub[j] = static_cast<std::int8_t>(r.below(64));
            min[j] = static_cast<std::uint8_t>(r.below(64));
        }
        qlib::six_bit_scales_and_mins::store(sub, min, bytes.data());
        qlib::six_bit_scales_and_mins::load(bytes.data(), sub_back, min_back);
        REQUIRE(sub == sub_back);
        REQUIRE(min == min_back);
    }
}

TEST_CASE("a search encodes a super-block with less error than the reference") {
    const auto x = sample::weights(64 * 512, 3);
    for (const bool weighted : {false, true}) {
        const auto w = sample::importance(512, 5);
        const auto error = [&]<class F>(qlib::fit f) {
            const auto q = qlib::quantize<F>({x.data(), 64, 512}, {.fit = f, .importance = weighted ? std::span<const float>(w) : std::span<const float>()});
            std::vector<float> y(x.size());
            REQUIRE(qlib::dequantize(q->view(), {y.data(), 64, 512}).ok());
            double sum = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double d = double{x[i]} - double{y[i]};
                sum += (weighted ? double{w[i % 512]} : 1.0) * d * d;
            }
            return sum;
        };
        CHECK(error.operator()<qlib::q4_k>(qlib::fit::search) < error.operator()<qlib::q4_k>(qlib::fit::reference));
        CHECK(error.operator()<qlib::q6_k>(qlib::fit::search) < error.operator()<qlib::q6_k>(qlib::fit::reference));
    }
}
