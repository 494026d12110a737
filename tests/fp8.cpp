// FP8 weights in 128 x 128 tiles: DeepSeek's scale rule, edge tiles, and rows that find their tile.
#include "support/matrix.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/fp8.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

TEST_CASE("a tile's scale is its abs-max / 448, edge tiles included; its largest weight is exact") {
    constexpr std::size_t rows = 150, cols = 300;
    auto x = sample::weights(rows * cols, 1);
    x[140 * cols + 299] = -7.0f;
    const auto q = qlib::quantize<qlib::fp8_e4m3_tile128>({x.data(), rows, cols}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    REQUIRE(q->bytes().size() == rows * cols + 2 * 3 * 4);
    for (std::size_t tr = 0; tr < 2; ++tr)
        for (std::size_t tc = 0; tc < 3; ++tc) {
            float amax = 0;
            for (std::size_t r = tr * 128; r < std::min(rows, tr * 128 + 128); ++r)
                for (std::size_t c = tc * 128; c < std::min(cols, tc * 128 + 128); ++c)
                    amax = std::max(amax, std::abs(x[r * cols + c]));
            CHECK(qlib::detail::load_little_endian<qlib::f32>(q->bytes().data() + rows * cols + 4 * (tr * 3 + tc))
                      .value() == amax / 448);
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

TEST_CASE("many tiles, each fitted right before it is encoded, are the same as one band of them after another") {
    constexpr std::size_t rows = 4200, cols = 140;
    const auto x = sample::weights(rows * cols, 3);
    const auto decoded = [](const float* from, std::size_t n) {
        const auto q =
            qlib::quantize<qlib::fp8_e4m3_tile128>({from, n, cols}, qlib::plain_fit{}, {}, {.run = test_threads(2)});
        std::vector<float> y(n * cols);
        REQUIRE(q.has_value());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), n, cols}).ok());
        return y;
    };
    const auto all = decoded(x.data(), rows);
    bool same = true;
    for (std::size_t r = 0; r < rows; r += 128) {
        const auto band = decoded(&x[r * cols], std::min<std::size_t>(128, rows - r));
        same = same && std::equal(band.begin(), band.end(), all.begin() + static_cast<std::ptrdiff_t>(r * cols));
    }
    CHECK(same);
}

TEST_CASE(
    "of two errors, one in a row's codes and one in a later row's weights, any number of threads finds the same "
    "first") {
    struct int8_rows : qlib::format<qlib::int8_grid, qlib::scale_per_row<>> {};
    constexpr std::size_t rows = 64, cols = 300;
    auto x = sample::weights(rows * cols, 4);
    x[2 * cols + 7] = std::numeric_limits<float>::max();  // 127 times its 127th is infinite
    x[5 * cols + 9] = std::nanf("");
    const auto error_with = [&](std::size_t threads) {
        const auto q =
            qlib::quantize<int8_rows>({x.data(), rows, cols}, qlib::plain_fit{}, {}, {.run = test_threads(threads)});
        REQUIRE(!q.has_value());
        return q.error();
    };
    const auto first = error_with(1);
    for (const std::size_t threads : {2u, 3u, 8u}) {
        CHECK(error_with(threads).code == first.code);
        CHECK(error_with(threads).sizes == first.sizes);
    }
}

TEST_CASE_TEMPLATE("every finite code decodes to its own value under scale 1", F, qlib::fp8_e4m3, qlib::fp8_e4m3_row,
                   qlib::fp8_e5m2_row) {
    std::vector<float> x;
    for (unsigned c = 0; c < 256; ++c)
        if (const float v = F::grid::level(c); std::isfinite(v)) x.push_back(v);
    CHECK(x.size() == (std::same_as<F, qlib::fp8_e5m2_row> ? 248 : 254));
    const auto q = qlib::quantize<F>({x.data(), 1, x.size()}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    std::vector<float> y(x.size());
    REQUIRE(qlib::dequantize(q->view(), {y.data(), 1, x.size()}).ok());
    CHECK(x == y);
}

TEST_CASE("E5M2 in tiles, of tensors and of tokens: abs-max / 57344, ties to even, saturation") {
    constexpr std::size_t rows = 3, cols = 130;
    std::vector<float> x(rows * cols, 0.0f);
    x[0] = 57344;
    x[1] = 1.125f;  // a tie between 1 and 1.25
    x[2] = -1.375f;
    x[cols] = 1;  // row 1: scale 1 / 57344
    const auto value = [&](const auto& q, std::size_t r, std::size_t c) {
        std::vector<float> y(x.size());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), rows, cols}).ok());
        return y[r * cols + c];
    };
    const auto token = qlib::quantize<qlib::fp8_e5m2_row>({x.data(), rows, cols}, qlib::plain_fit{});
    CHECK(token->bytes().size() == rows * cols + rows * 4);
    CHECK(value(token, 0, 1) == 1);
    CHECK(value(token, 0, 2) == -1.5f);
    CHECK(value(token, 1, 0) == doctest::Approx(1));
    CHECK(value(token, 2, 5) == 0);
    const auto tile = qlib::quantize<qlib::fp8_e5m2_tile128>({x.data(), rows, cols}, qlib::plain_fit{});
    CHECK(tile->bytes().size() == rows * cols + 2 * 4);
    CHECK(value(tile, 0, 0) == 57344);
    const auto tensor = qlib::quantize<qlib::fp8_e5m2>({x.data(), rows, cols}, qlib::plain_fit{});
    CHECK(tensor->bytes().size() == rows * cols + 4);
    CHECK(value(tensor, 1, 0) == 1);
    CHECK(qlib::fp8_e5m2::nearest(std::array{1e9f}.data(), nullptr) == 0x7B);
}

TEST_CASE("codes of FNUZ hardware mean half, but for the one that is minus zero") {
    for (unsigned c = 0; c < 256; ++c) {
        const float there = qlib::e4m3fnuz{static_cast<std::uint8_t>(c)}.value(),
                    here = qlib::e4m3{static_cast<std::uint8_t>(c)}.value();
        if ((c & 0x7F) == 0x7F) CHECK(std::isnan(here));
        else if (c == 0x80) CHECK(std::isnan(there));
        else CHECK(2 * there == here);
    }
}
