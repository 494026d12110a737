// ggml's one-level blocks against ggml's own bytes.
#include "support/golden.hpp"
#include "support/golden_check.hpp"

#include <doctest/doctest.h>
#include <qlib/legacy_quants.hpp>

TEST_SUITE("bytes") {
TEST_CASE("legacy quants have ggml's bytes, with and without importance") {
    golden::check<qlib::q4_0>(0x0bf221468422b42e, 0x4ba7ac24b48f26d4, 0xa2192c303d3d2702, 0xea3733ef7938b01c);
    golden::check<qlib::q4_1>(0x5353c0451031e0e7, 0x52a5f4a675dbe5f7, 0x4707a8e4b981d24e, 0x3f2eab5ebb7022a2);
    golden::check<qlib::q5_0>(0x52146230d150c13f, 0x5ded9a7820186b39, 0x88a0f1e6678402c9, 0x4af35a3ab0493988);
    golden::check<qlib::q5_1>(0xedc9f815f3020e1e, 0xf0aeabad99917473, 0x00573906f999e88f, 0x90b907c3b22bdc74);
    golden::check<qlib::q8_0>(0xabe598bb241e1e5c, 0xb8cf4fb50dfcf038, 0xabe598bb241e1e5c, 0xb8cf4fb50dfcf038);
    golden::check<qlib::q1_0>(0x389f281b34b3c3d9, 0x8a1f0b4f29515103, 0x389f281b34b3c3d9, 0x8a1f0b4f29515103);
    golden::check<qlib::q2_0>(0x3a4e9fcc115bfcdb, 0x04cc92105cc1265d, 0x3a4e9fcc115bfcdb, 0x04cc92105cc1265d);
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

namespace {
// A block whose extreme is 4 * 2^-3: ggml writes d = -0.0625 and codes x / d + 8.
constexpr std::array<float, 32> ramp = [] {
    std::array<float, 32> x{};
    for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(static_cast<int>(i) - 15) * 0.03125f;
    return x;
}();
constexpr auto block = qlib::encode<qlib::q4_0>(ramp, qlib::reference_fit{});

// The first 32 weights of row 1 of the known answers' input, and the first 16 bytes that ggml makes of them.
constexpr auto golden_block = [] {
    std::array<float, 32> x{};
    for (std::uint32_t i = 0; i < 32; ++i) x[i] = golden::weight(1024 + i);
    return qlib::encode<qlib::q4_0>(x, qlib::reference_fit{});
}();
constexpr std::array<unsigned, 16> golden_bytes{0xbf, 0xa2, 0x1e, 0x8a, 0x8a, 0x08, 0xf8, 0xbd,
                                                0x99, 0x8f, 0x88, 0x88, 0x89, 0xd8, 0x3c, 0x63};
constexpr bool is_golden() {
    for (std::size_t i = 0; i < 16; ++i)
        if (std::to_integer<unsigned>(golden_block[i]) != golden_bytes[i]) return false;
    return true;
}
static_assert(is_golden());
}  // namespace

TEST_CASE("a block of Q4_0 is encoded at compile time") {
    // max = 16 * 2^-5 = .5, d = -.0625 = 0xAC00; code = trunc(x / d + 8.5).
    static_assert(block[0] == std::byte{0x00} && block[1] == std::byte{0xAC});
    static_assert(block[2] == std::byte{0x8F} && block[17] == std::byte{0x08});
    for (std::size_t j = 0; j < 16; ++j) {
        const int low = static_cast<int>(ramp[j] * -16.0f + 8.5f),
                  high = static_cast<int>(ramp[j + 16] * -16.0f + 8.5f);
        CHECK(std::to_integer<int>(block[2 + j]) == ((low > 15 ? 15 : low) | (high > 15 ? 15 : high) << 4));
    }
}

TEST_CASE("zeros, a flushed scale and an overflowing one are defined") {
    std::vector<float> x(32, 0.0f);
    const auto zero = qlib::quantize<qlib::q4_0>({x.data(), 1, 32}, qlib::reference_fit{});
    REQUIRE(zero.has_value());
    CHECK(zero->bytes()[1] == std::byte{0x80});  // ggml's -0 and the code of 0
    CHECK(zero->bytes()[2] == std::byte{0x88});
    const std::vector<float> none(32, 0.0f);
    const auto ignored = qlib::quantize<qlib::q4_0>({x.data(), 1, 32}, qlib::reference_fit{}, {.importance = none});
    REQUIRE(ignored.has_value());
    for (const std::byte b : ignored->bytes()) CHECK(b == std::byte{0});
    for (float& v : x) v = 1e8f;
    for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search, qlib::fit::reference}) {
        const auto huge = qlib::quantize<qlib::q4_0>({x.data(), 1, 32}, {.fit = f});
        REQUIRE(!huge.has_value());
        CHECK(huge.error().code == qlib::errc::overflow);
    }
}

#endif
