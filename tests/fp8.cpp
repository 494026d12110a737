// FP8 weights in 128 x 128 tiles: DeepSeek's scale rule, edge tiles, and rows that find their tile.
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/fp8.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>

TEST_CASE("a tile's scale is its abs-max / 448, edge tiles included; its largest weight is exact") {
    constexpr std::size_t rows = 150, cols = 300;
    auto x = sample::weights(rows * cols, 1);
    x[140 * cols + 299] = -7.0f;
    const auto q = qlib::quantize<qlib::fp8_e4m3_tile128>({x.data(), rows, cols}, {.fit = qlib::fit::plain});
    REQUIRE(q.has_value());
    REQUIRE(q->bytes().size() == rows * cols + 2 * 3 * 4);
    for (std::size_t tr = 0; tr < 2; ++tr)
        for (std::size_t tc = 0; tc < 3; ++tc) {
            float amax = 0;
            for (std::size_t r = tr * 128; r < std::min(rows, tr * 128 + 128); ++r)
                for (std::size_t c = tc * 128; c < std::min(cols, tc * 128 + 128); ++c) amax = std::max(amax, std::abs(x[r * cols + c]));
            CHECK(qlib::detail::load_little_endian<qlib::f32>(q->bytes().data() + rows * cols + 4 * (tr * 3 + tc)).value() == amax / 448);
        }
    std::vector<float> y(x.size());
    REQUIRE(qlib::dequantize(q->view(), {y.data(), rows, cols}).ok());
    CHECK(y[140 * cols + 299] == -7.0f);
    CHECK(sample::sqnr(x, y) > 29);
    const auto part = q->row_range(120, 20);
    REQUIRE(part.has_value());
    std::vector<float> some(20 * cols);
    REQUIRE(qlib::dequantize(*part, {some.data(), 20, cols}).ok());
    CHECK(std::equal(some.begin(), some.end(), y.begin() + 120 * cols));
}

TEST_CASE_TEMPLATE("every finite code decodes to its own value under scale 1", F, qlib::fp8_e4m3, qlib::fp8_e4m3_row) {
    std::vector<float> x;
    for (unsigned c = 0; c < 256; ++c)
        if ((c & 0x7F) != 0x7F) x.push_back(qlib::e4m3{static_cast<std::uint8_t>(c)}.value());
    const auto q = qlib::quantize<F>({x.data(), 1, x.size()}, {.fit = qlib::fit::plain});
    REQUIRE(q.has_value());
    std::vector<float> y(x.size());
    REQUIRE(qlib::dequantize(q->view(), {y.data(), 1, x.size()}).ok());
    CHECK(x == y);
}
