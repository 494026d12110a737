// MXFP4 and NVFP4 in ggml's blocks: bytes, scale types, and the tensor scale that ggml leaves outside.
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/mx.hpp>

TEST_SUITE("bytes") {
    TEST_CASE("MXFP4 and NVFP4 have ggml's bytes; importance does not matter") {
        golden::check<qlib::mxfp4>(0x6317f3df7bb0cf3d, 0x1757eabc3afe9343, 0x6317f3df7bb0cf3d, 0x1757eabc3afe9343);
        golden::check<qlib::nvfp4>(0x516723289f70e27a, 0xdafd84bc34a3038a, 0x516723289f70e27a, 0xdafd84bc34a3038a);
    }
}

TEST_CASE("UE4M3: ggml's codes 0 and 127 are zero, 255 goes on where E4M3 ends, its rounding goes up") {
    CHECK(qlib::ue4m3{0x00}.value() == 0);
    CHECK(qlib::ue4m3{0x7F}.value() == 0);
    CHECK(qlib::ue4m3{0xFF}.value() == 480);
    CHECK(qlib::ue4m3{0x7E}.value() == 448);
    CHECK(qlib::ue4m3{0x81}.value() == 0x1p-9f);
    for (unsigned c = 1; c < 0x7F; ++c) {
        const float v = qlib::ue4m3{static_cast<std::uint8_t>(c)}.value();
        CHECK(v == qlib::e4m3{static_cast<std::uint8_t>(c)}.value());
        CHECK(qlib::ue4m3::from(v).bits == c);
        CHECK(qlib::ue4m3::from_ggml(v).bits == (v >= 248 ? 0x7E : c));  // ggml never writes 0x78..0x7D
    }
    CHECK(qlib::ue4m3::from_ggml(1.0625f).bits == 0x39);  // a tie, up
    CHECK(qlib::ue4m3::from(1.0625f).bits == 0x38);       // a tie, to even
    CHECK(qlib::ue4m3::from_ggml(-1).bits == 0);
    CHECK(qlib::ue4m3::from(1e9f).bits == 0x7E);
}

TEST_CASE("the tensor scale saves what ggml's own encoder flushes to zero") {
    const auto x = sample::weights(8 * 256, 3, 1e-4);
    const auto db = [&](qlib::fit f) {
        const auto q = qlib::quantize<qlib::nvfp4>({x.data(), 8, 256}, {.fit = f});
        std::vector<float> y(x.size());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), 8, 256}).ok());
        return sample::sqnr(x, y);
    };
    CHECK(db(qlib::fit::reference) < 1);
    CHECK(db(qlib::fit::plain) > 18);
    CHECK(db(qlib::fit::search) > db(qlib::fit::plain));
}

TEST_CASE("an external tensor scale is found where the caller keeps it") {
    const auto x = sample::weights(4 * 128, 5);
    const auto q = qlib::quantize<qlib::nvfp4>({x.data(), 4, 128});
    REQUIRE(q.has_value());
    const auto blocks = q->bytes().first(4 * 128 / 64 * 36), scale = q->bytes().last(4);
    const auto apart = qlib::qview<qlib::nvfp4>::over(blocks, 4, 128, {.outer = scale});
    REQUIRE(apart.has_value());
    std::vector<float> y(x.size()), z(x.size());
    REQUIRE(qlib::dequantize(q->view(), {y.data(), 4, 128}).ok());
    REQUIRE(qlib::dequantize(*apart, {z.data(), 4, 128}).ok());
    CHECK(y == z);
    CHECK(!qlib::qview<qlib::nvfp4>::over(blocks, 4, 128).has_value());
}

TEST_CASE("half E8M0: two subnormals, no NaN, nearest power of two") {
    CHECK(qlib::half_e8m0{0}.value() == 0x1p-128f);
    CHECK(qlib::half_e8m0{1}.value() == 0x1p-127f);
    CHECK(qlib::half_e8m0{128}.value() == 1);
    CHECK(qlib::half_e8m0{255}.value() == 0x1p127f);
    for (unsigned c = 0; c < 255; ++c) CHECK(qlib::half_e8m0::from(qlib::half_e8m0{static_cast<std::uint8_t>(c)}.value()).bits == c);
    CHECK(qlib::half_e8m0::from(3e38f).bits == 254);
}

TEST_CASE("MXFP4: a search finds the best of all 255 scales") {
    double found = 0, best = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const auto x = sample::weights(32, seed), w = sample::importance(32, seed);
        const qlib::site<qlib::mxfp4> s{x, w, 0, {}};
        found += double{qlib::detail::group_error<qlib::mxfp4>(s, qlib::search_fit{}.block<qlib::mxfp4>(s), 0)};
        double least = 1e9;
        for (unsigned c = 0; c < 255; ++c) {
            qlib::mxfp4::params p;
            p.scale[0].bits = static_cast<std::uint8_t>(c);
            least = std::min(least, double{qlib::detail::group_error<qlib::mxfp4>(s, p, 0)});
        }
        best += least;
    }
    CHECK(found <= best * 1.000001);
}
