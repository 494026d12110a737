// NF4 and double quantization against bitsandbytes' definitions.
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
        const std::vector<std::pair<std::size_t, std::uint32_t>> known{{0, 0xbf7e3333}, {1, 0xbf7a999a}, {64, 0xbdc9eb85}, {126, 0xb513a3b7}, {127, 0},
                                                                       {128, 0x3513a3b7}, {129, 0x365a1a94}, {200, 0x3e6f3333}, {254, 0x3f7e3333}, {255, 0x3f800000}};
        for (const auto& [i, bits] : known) CHECK(qlib::detail::bits_of(map[i]) == bits);
        CHECK(std::ranges::is_sorted(map));
        std::uint32_t hash = 2166136261u;
        for (const float v : map) hash = (hash ^ qlib::detail::bits_of(v)) * 16777619u;
        CHECK(hash == 0x2eda3815u);
    }
    TEST_CASE("NF4 stores the first of a pair high, then the abs-max of each 64") {
        std::vector<float> x(128, 0.0f);
        x[0] = 2.0f;    // level 1: code 15
        x[1] = -2.0f;   // level -1: code 0
        x[2] = 0.5f;    // .25: nearest is .2461, code 10
        x[127] = -4.0f;
        const auto q = qlib::quantize<qlib::nf4>({x.data(), 1, 128}, {.fit = qlib::fit::plain});
        REQUIRE(q.has_value());
        CHECK(q->bytes()[0] == std::byte{0xF0});
        CHECK(q->bytes()[1] == std::byte{0xA7});
        CHECK(q->bytes()[63] == std::byte{0x70});
        CHECK(qlib::detail::load_little_endian<qlib::f32>(q->bytes().data() + 64).value() == 2.0f);
        CHECK(qlib::detail::load_little_endian<qlib::f32>(q->bytes().data() + 68).value() == 4.0f);
    }
}

TEST_CASE("rows whose length is no multiple of 64 are one long run of blocks") {
    const auto x = sample::weights(7 * 33, 2);
    const auto q = qlib::quantize<qlib::nf4>({x.data(), 7, 33}, {.fit = qlib::fit::plain});
    const auto flat = qlib::quantize<qlib::nf4>({x.data(), 1, 7 * 33}, {.fit = qlib::fit::plain});
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
    const auto single = qlib::quantize<qlib::nf4>({x.data(), 512, 256}, {.fit = qlib::fit::plain});
    const auto twice = qlib::quantize<qlib::nf4_dq>({x.data(), 512, 256}, {.fit = qlib::fit::plain});
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
