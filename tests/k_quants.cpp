// K-quants against ggml's own bytes.
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/k_quants.hpp>

TEST_SUITE("bytes") {
TEST_CASE("K-quants have ggml's bytes, with and without importance") {
    golden::check<qlib::q2_k>(0x625ab113dbf02c81, 0xa1d05baaf4d53a86, 0x88725d290570411f, 0x3c42d4cf4737b18f);
    golden::check<qlib::q3_k>(0x1aee70021a60b642, 0xd89b982a76d240ea, 0xc5499f831b90874f, 0xbea0812a9a781020);
    golden::check<qlib::q4_k>(0x7e5f3e742efeb63e, 0xc2b71d45f55086b2, 0x96f1a215b93ce5db, 0x94662fc966d35dd8);
    golden::check<qlib::q5_k>(0xdac3409159f49f85, 0x09d21aeb8a88ae5e, 0x0a6b01d6e81348ec, 0x8abd7013f98f730a);
    golden::check<qlib::q6_k>(0x620ad5991abf9f3e, 0x063d90c9203459ce, 0xc99ecbd7f93a48b6, 0x07b837d0ddbbf0fe);
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE_TEMPLATE("packed sub-scales: every value in every place", P, qlib::six_bit_scales_and_mins,
                   qlib::nibble_scales_and_mins, qlib::six_bit_signed_scales, qlib::int8_scales) {
    std::array<std::int8_t, P::groups> sub{}, sub_back{};
    std::array<std::uint8_t, P::groups> min{}, min_back{};
    std::array<std::byte, P::bytes> bytes{};
    sample::random r{1};
    for (int i = 0; i < 1000; ++i) {
        for (std::size_t j = 0; j < P::groups; ++j) {
            sub[j] = static_cast<std::int8_t>(static_cast<int>(r.below(1u << P::sub_bits)) -
                                              (P::sub_signed ? 1 << (P::sub_bits - 1) : 0));
            min[j] = static_cast<std::uint8_t>(r.below(1u << P::min_bits));
        }
        P::store(sub, min, bytes.data());
        P::load(bytes.data(), sub_back, min_back);
        REQUIRE(sub == sub_back);
        REQUIRE(min == min_back);
    }
}

TEST_CASE("a search encodes a super-block with less error than the reference") {
    const auto x = sample::weights(64 * 512, 3);
    for (const bool weighted : {false, true}) {
        const auto w = weighted ? sample::importance(512, 5) : std::vector<float>(512, 1.0f);
        const auto error = [&]<class F>(qlib::fit f) {
            const auto q = qlib::quantize<F>(
                {x.data(), 64, 512}, {.fit = f,
                                      .importance = weighted || f == qlib::fit::search ? std::span<const float>(w)
                                                                                       : std::span<const float>()});
            std::vector<float> y(x.size());
            REQUIRE(qlib::dequantize(q->view(), {y.data(), 64, 512}).ok());
            double sum = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double d = double{x[i]} - double{y[i]};
                sum += double{w[i % 512]} * d * d;
            }
            return sum;
        };
        CHECK(error.operator()<qlib::q2_k>(qlib::fit::search) < error.operator()<qlib::q2_k>(qlib::fit::reference));
        CHECK(error.operator()<qlib::q3_k>(qlib::fit::search) < error.operator()<qlib::q3_k>(qlib::fit::reference));
        CHECK(error.operator()<qlib::q4_k>(qlib::fit::search) < error.operator()<qlib::q4_k>(qlib::fit::reference));
        CHECK(error.operator()<qlib::q5_k>(qlib::fit::search) < error.operator()<qlib::q5_k>(qlib::fit::reference));
        CHECK(error.operator()<qlib::q6_k>(qlib::fit::search) < error.operator()<qlib::q6_k>(qlib::fit::reference));
    }
}

TEST_CASE("a super-block beyond its f16 super-scales is an error of the search, too") {
    auto x = sample::weights(17 * 256, 2);
    x[16 * 256 + 100] = 3e38f;
    const auto refuse = [&]<class F>(F*) {
        const auto q = qlib::quantize<F>({x.data(), 17, 256}, qlib::search_fit{});
        REQUIRE(!q.has_value());
        CHECK(q.error().code == qlib::errc::overflow);
        CHECK(q.error().sizes[0] == 16);
    };
    refuse(static_cast<qlib::q3_k*>(nullptr));
    refuse(static_cast<qlib::q4_k*>(nullptr));
}

#endif
