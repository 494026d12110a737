// Microscaling formats. In ggml's blocks: bytes, scale types, and the tensor scale that
// ggml leaves outside. In planes: elements by hand.
#include "support/decoded.hpp"
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/kernel/operands.hpp>
#include <qlib/mx.hpp>

#include <cmath>

// Levels that are integers after a power of two are multiplied as integers; the others are not.
static_assert(qlib::detail::integer_levels_of<qlib::mxfp4_ocp>.mul == 2 &&
              qlib::detail::integer_levels_of<qlib::mxfp6_e2m3>.mul == 8);
static_assert(qlib::detail::integer_levels_of<qlib::mxint8>.mul == 64 &&
              qlib::detail::integer_levels_of<qlib::nvfp4_modelopt>.mul == 2);
static_assert(!qlib::detail::integer_levels_of<qlib::mxfp6_e3m2> && !qlib::detail::integer_levels_of<qlib::mxfp8_e4m3>);

TEST_SUITE("bytes") {
TEST_CASE("MXFP4 and NVFP4 have ggml's bytes; importance does not matter") {
    golden::check<qlib::mxfp4>(0x6317f3df7bb0cf3d, 0x1757eabc3afe9343, 0x6317f3df7bb0cf3d, 0x1757eabc3afe9343);
    golden::check<qlib::nvfp4>(0x516723289f70e27a, 0xdafd84bc34a3038a, 0x516723289f70e27a, 0xdafd84bc34a3038a);
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

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
    for (unsigned c = 0; c < 255; ++c)
        CHECK(qlib::half_e8m0::from(qlib::half_e8m0{static_cast<std::uint8_t>(c)}.value()).bits == c);
    CHECK(qlib::half_e8m0::from(3e38f).bits == 254);
}

TEST_CASE("MX elements lie one after another, their scales behind; saturation and ties as the elements' own") {
    // Scale 1 by the largest magnitude; ties go to even, what is beyond the highest level to it.
    std::vector<float> x(40, 0.0f);
    const std::array<float, 12> head{7.9f, -6, 5, -5.1f, 0.25f, 0.26f, -0.75f, 1.25f, 1.75f, 2.5f, -3.5f, 0.5f};
    std::copy(head.begin(), head.end(), x.begin());
    x[32] = 1;  // the second block of the row holds 8 weights, scale 1/4
    x[33] = -0.125f;
    const auto q = qlib::quantize<qlib::mxfp4_ocp>({x.data(), 1, 40}, qlib::mx_scale_fit{});
    REQUIRE(q.has_value());
    const auto b = q->bytes();
    REQUIRE(b.size() == 20 + 2);
    const std::array<unsigned, 6> bytes{0xF7, 0xF6, 0x10, 0x2A, 0x44, 0x1E};
    for (std::size_t i = 0; i < 6; ++i) CHECK(std::to_integer<unsigned>(b[i]) == bytes[i]);
    CHECK(std::to_integer<unsigned>(b[16]) == 0x96);  // 4 and -1/2 quarters
    CHECK(std::to_integer<unsigned>(b[20]) == 127);
    CHECK(std::to_integer<unsigned>(b[21]) == 125);
    const auto six = qlib::quantize<qlib::mxfp6_e2m3>({x.data(), 1, 32}, qlib::mx_scale_fit{});
    REQUIRE(six->bytes().size() == 25);
    // 7.5, -6, 5, -5: codes 011111 111100 011010 111010 and so on, low bits first
    const std::array<unsigned, 3> three{0x1F, 0xAF, 0xE9};
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::to_integer<unsigned>(six->bytes()[i]) == three[i]);
    CHECK(std::to_integer<unsigned>(six->bytes()[24]) == 127);
    const std::vector<float> wide{-1.999f, 1.5f, 0.0078125f, 0.0234375f};
    const auto eight = qlib::quantize<qlib::mxint8>({wide.data(), 1, 4}, qlib::mx_scale_fit{});
    const std::array<unsigned, 5> signed_bytes{0x81, 0x60, 0x00, 0x02, 127};
    for (std::size_t i = 0; i < 5; ++i) CHECK(std::to_integer<unsigned>(eight->bytes()[i]) == signed_bytes[i]);
}

TEST_CASE("MX scales and elements that no encoder writes decode as OCP says") {
    std::vector<std::byte> bytes(33, std::byte{0x80});
    const auto with_scale = [&](unsigned e) {
        bytes[32] = static_cast<std::byte>(e);
        return bytes;
    };
    CHECK(decoded<qlib::mxint8>(with_scale(127), 1, 32)[0] == -2);
    CHECK(std::isnan(decoded<qlib::mxint8>(with_scale(255), 1, 32)[31]));
    CHECK(decoded<qlib::mxint8>(with_scale(0), 1, 32)[5] == -0x1p-126f);
    bytes[0] = std::byte{0x7F};
    bytes[1] = std::byte{0x7C};
    CHECK(std::isnan(decoded<qlib::mxfp8_e4m3>(with_scale(127), 1, 32)[0]));
    CHECK(std::isinf(decoded<qlib::mxfp8_e5m2>(with_scale(127), 1, 32)[1]));
    CHECK(decoded<qlib::mxfp8_e4m3>(with_scale(130), 1, 32)[1] == 384 * 8);
}

#endif
