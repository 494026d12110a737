// NVFP4 in ggml's block: its bytes, its scale type, and the tensor scale that ggml leaves outside.
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/mx.hpp>

TEST_SUITE("bytes") {
    TEST_CASE("NVFP4 has ggml's bytes; importance does not matter") {
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
