// NF4, FP4 and double quantization against bitsandbytes' definitions and its own results.
#include "support/golden_problem.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/nf4.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>

TEST_SUITE("bytes") {
TEST_CASE("the dynamic map has the bits that checkpoints carry") {
    const auto& map = qlib::detail::dynamic_map;
    // From the published table: ends, the values around zero, two in the decades between; then all of it.
    const std::vector<std::pair<std::size_t, std::uint32_t>> known{
        {0, 0xbf7e3333},   {1, 0xbf7a999a},   {64, 0xbdc9eb85},  {126, 0xb513a3b7}, {127, 0},
        {128, 0x3513a3b7}, {129, 0x365a1a94}, {200, 0x3e6f3333}, {254, 0x3f7e3333}, {255, 0x3f800000}};
    for (const auto& [i, bits] : known) CHECK(qlib::detail::bits_of(map[i]) == bits);
    CHECK(std::ranges::is_sorted(map));
    std::uint32_t hash = 2166136261u;
    for (const float v : map) hash = (hash ^ qlib::detail::bits_of(v)) * 16777619u;
    CHECK(hash == 0x2eda3815u);
}
TEST_CASE("NF4 stores the first of a pair high, then the abs-max of each 64") {
    std::vector<float> x(128, 0.0f);
    x[0] = 2.0f;   // level 1: code 15
    x[1] = -2.0f;  // level -1: code 0
    x[2] = 0.5f;   // .25: nearest is .2461, code 10
    x[127] = -4.0f;
    const auto q = qlib::quantize<qlib::nf4>({x.data(), 1, 128}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    CHECK(q->bytes()[0] == std::byte{0xF0});
    CHECK(q->bytes()[1] == std::byte{0xA7});
    CHECK(q->bytes()[63] == std::byte{0x70});
    CHECK(qlib::detail::load_little_endian<qlib::f32>(q->bytes().data() + 64).value() == 2.0f);
    CHECK(qlib::detail::load_little_endian<qlib::f32>(q->bytes().data() + 68).value() == 4.0f);
}
TEST_CASE("FP4's codes: its own order of magnitudes, its own thresholds, and a sign of tiny values") {
    // bitsandbytes' table by its bits, of codes 0 to 7
    const std::array<std::uint32_t, 8> table{0,          0x3baaaaab, 0x3f2aaaab, 0x3f800000,
                                             0x3eaaaaab, 0x3f000000, 0x3e2aaaab, 0x3e800000};
    for (std::size_t c = 0; c < 16; ++c)
        CHECK(qlib::detail::bits_of(qlib::fp4_grid::level(c)) ==
              (c == 8 ? 0 : table[c % 8] | (c > 8 ? 0x80000000u : 0u)));
    const auto code = [](float u) { return qlib::fp4_grid::nearest(&u, nullptr); };
    const std::vector<std::pair<float, std::uint8_t>> known{
        {0.00260417f, 0}, {0.002605f, 1},   {0.0859375f, 1}, {0.086f, 6},     {0.20833333f, 6},
        {0.21f, 7},       {0.29166667f, 7}, {0.2917f, 4},    {0.4166667f, 4}, {0.417f, 5},
        {0.583333f, 5},   {0.5834f, 2},     {0.8333333f, 2}, {0.834f, 3},     {1e30f, 3}};
    for (const auto& [u, c] : known) {
        CHECK(code(u) == c);
        CHECK(code(-u) == (c | 8));
    }
    CHECK(code(0.0f) == 0);
    CHECK(code(-0.0f) == 0);
    for (std::size_t c = 0; c < 16; ++c) CHECK(code(qlib::fp4_grid::level(c)) == (c == 8 ? 0 : c));
}
TEST_CASE("the bytes that bitsandbytes makes of a layer") {
    const auto p = golden_problem::a();
    const auto crc = [](std::span<const std::byte> bytes) {
        std::vector<float> same(bytes.size() / sizeof(float));
        std::memcpy(same.data(), bytes.data(), bytes.size());
        return crc32(same);
    };
    const auto bytes = [&]<class F>(F*) {
        const auto q = qlib::quantize<F>({p.W.data(), 512, 512}, qlib::reference_fit{});
        return std::vector<std::byte>(q->bytes().begin(), q->bytes().end());
    };
    constexpr std::size_t codes = 512 * 256, blocks = 4096;
    for (const bool four : {false, true}) {
        const std::uint32_t packed = four ? 0x355f2127 : 0x640fbd25;
        const auto one = four ? bytes(static_cast<qlib::fp4*>(nullptr)) : bytes(static_cast<qlib::nf4*>(nullptr));
        CHECK(crc(std::span(one).first(codes)) == packed);
        CHECK(crc(std::span(one).subspan(codes)) == 0xf6eb2413);
        const auto two = four ? bytes(static_cast<qlib::fp4_dq*>(nullptr)) : bytes(static_cast<qlib::nf4_dq*>(nullptr));
        CHECK(crc(std::span(two).first(codes)) == packed);
        CHECK(crc(std::span(two).subspan(codes, blocks)) == 0xd1c13fcc);
        CHECK(crc(std::span(two).subspan(codes + blocks, 64)) == 0xb4560187);
        CHECK(qlib::detail::load_little_endian<qlib::f32>(&two[codes + blocks + 64]).bits == 0x3e0262c7);
    }
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("rows whose length is no multiple of 64 are one long run of blocks") {
    const auto x = sample::weights(7 * 33, 2);
    const auto q = qlib::quantize<qlib::nf4>({x.data(), 7, 33}, qlib::plain_fit{});
    const auto flat = qlib::quantize<qlib::nf4>({x.data(), 1, 7 * 33}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    REQUIRE(flat.has_value());
    CHECK(std::ranges::equal(q->bytes(), flat->bytes()));
    std::vector<float> y(x.size());
    REQUIRE(qlib::dequantize(q->view(), {y.data(), 7, 33}).ok());
    CHECK(sample::sqnr(x, y) > 18);
    CHECK(q->row_range(1, 2).error().code == qlib::errc::unsliceable);
    std::vector<float> w(33, 1.0f);
    w[5] = 100;
    CHECK(qlib::quantize<qlib::nf4>({x.data(), 7, 33}, {.importance = w}).has_value());
}

TEST_CASE("double quantization: 4.127 bits, abs-max within the map's step") {
    const auto x = sample::weights(512 * 256, 4);
    const auto single = qlib::quantize<qlib::nf4>({x.data(), 512, 256}, qlib::plain_fit{});
    const auto twice = qlib::quantize<qlib::nf4_dq>({x.data(), 512, 256}, qlib::plain_fit{});
    REQUIRE(twice.has_value());
    CHECK(qlib::bits_per_weight<qlib::nf4_dq>(512, 256) == doctest::Approx(4.127).epsilon(0.0005));
    std::vector<float> y(x.size()), z(x.size());
    REQUIRE(qlib::dequantize(single->view(), {y.data(), 512, 256}).ok());
    REQUIRE(qlib::dequantize(twice->view(), {z.data(), 512, 256}).ok());
    CHECK(sample::sqnr(x, z) > sample::sqnr(x, y) - 0.2);
    const auto part = twice->row_range(100, 50);  // tiles run over row ends: rows find theirs
    REQUIRE(part.has_value());
    std::vector<float> some(50 * 256);
    REQUIRE(qlib::dequantize(*part, {some.data(), 50, 256}).ok());
    CHECK(std::equal(some.begin(), some.end(), z.begin() + 100 * 256));
}

#endif
