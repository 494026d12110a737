// The seam: every witness encodes, stores, loads and decodes through the same code, and any bytes decode safely.
#include "support/decoded.hpp"
#include "support/matrix.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace {

/// Decibels that an encoder must reach on these weights, outliers and all: 5 per bit of level, FP8 having 4 significant
/// bits. Less where one scale serves a whole row, or the range is not searched.
template <class F> double least_sqnr(qlib::fit f) {
    const double shared = requires { requires F::outer_is_map; }
    ? 3 : 0;
    return std::min(29.0, 5.0 * std::bit_width(F::grid::size) - 10) - shared - (f == qlib::fit::search ? 0 : 4);
}

}  // namespace

static_assert(qlib::block_format<witness::own> && qlib::block_bytes<witness::own> == 19);
// 4 weights of 3 bits in the short block; the tensor scale.
static_assert(qlib::wire_size<witness::own>(3, 100) == 3 * (19 + 19 + 1 + 2) + 4);
static_assert(qlib::wire_size<qlib::q4_k>(2, 512) == 4 * 144);
static_assert(qlib::wire_size<qlib::fp8_e4m3_tile128>(130, 200) == 130 * 200 + 4 * 4);
static_assert(qlib::wire_size<qlib::nf4_dq>(64, 256) == 64 * 128 + 256 + 4 + 4);
static_assert(qlib::wire_size<qlib::q8_0>(std::size_t{1} << 40, std::size_t{1} << 40) ==
              std::numeric_limits<std::size_t>::max());

TEST_CASE_TEMPLATE("a block comes back from its planes as it was stored", F, QLIB_WITNESSES) {
    const auto x = sample::weights(qlib::block_size<F>, 1);
    const typename F::outer outer = [] {
        if constexpr (qlib::has_outer<F>) return F::fit_outer(qlib::tile_stats{-0.3f, 0.3f, {}, 0.1f, 1});
        else return qlib::no_outer{};
    }();
    const auto e = qlib::detail::encode_block<F>(qlib::site<F>{x, {}, 0, outer}, qlib::plain_fit{});
    for (const std::size_t shift : std::vector<std::size_t>{0, 1, 3}) {  // any address
        std::vector<std::byte> bytes(qlib::block_bytes<F> + shift);
        qlib::plane_pointers<F, std::byte> to{};
        qlib::plane_pointers<F, const std::byte> from{};
        for (std::size_t p = 0, at = shift; p < F::planes.size(); at += F::planes[p++])
            from[p] = to[p] = bytes.data() + at;
        F::store(e.params, e.code, to);
        std::array<typename F::code, qlib::codes<F>> code{};
        const auto params = F::load(from, outer, code);
        CHECK(code == e.code);
        for (std::size_t g = 0; g < F::groups; ++g) {
            CHECK(F::at(params, g).s == F::at(e.params, g).s);
            CHECK(F::at(params, g).z == F::at(e.params, g).z);
        }
    }
}

TEST_CASE_TEMPLATE("weights survive, in whole and in ragged rows", F, QLIB_WITNESSES) {
    for (const std::size_t cols : std::vector<std::size_t>{qlib::block_size<F>, 3 * qlib::block_size<F>,
                                                           qlib::block_size<F> + 1, std::size_t{1}, std::size_t{200}}) {
        const auto x = sample::weights(5 * cols, cols);
        for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search, qlib::fit::reference}) {
            const std::vector<float> ones(f == qlib::fit::search ? cols : 0, 1.0f);  // plain least squares
            const auto q = qlib::quantize<F>({x.data(), 5, cols}, {.fit = f, .importance = ones});
            if (!qlib::has_ragged_rows<F> && cols % qlib::block_size<F> != 0) {
                REQUIRE(!q.has_value());
                CHECK(q.error().code == qlib::errc::ragged);
                continue;
            }
            REQUIRE(q.has_value());
            CHECK(q->bytes().size() == qlib::wire_size<F>(5, cols));
            CHECK(sample::sqnr(x, decoded<F>(*q)) > least_sqnr<F>(f));
        }
    }
}

TEST_CASE_TEMPLATE("zeros, tiny and huge weights have a defined result", F, QLIB_WITNESSES) {
    const std::size_t cols = 2 * qlib::block_size<F>;
    for (const float v : {0.0f, -0.0f, 1e-40f, 1e-30f, 1e-10f, 1e10f, 3e38f}) {
        std::vector<float> x(3 * cols);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? -v : v;
        for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search}) {
            const auto q = qlib::quantize<F>({x.data(), 3, cols}, {.fit = f});
            if (!q.has_value()) {
                CHECK(q.error().code == qlib::errc::overflow);
                CHECK(v > 1e4f);
                continue;
            }
            for (const float y : decoded<F>(*q)) {
                CHECK(std::isfinite(y));
                CHECK(std::abs(y) <= 2 * std::abs(v));
            }
        }
    }
}

TEST_CASE_TEMPLATE("non-finite weights are refused by row and column, or mended as told", F, QLIB_WITNESSES) {
    const std::size_t cols = qlib::block_size<F>;
    auto x = sample::weights(4 * cols, 9);
    x[2 * cols + 5] = std::numeric_limits<float>::infinity();
    const auto q = qlib::quantize<F>({x.data(), 4, cols}, qlib::plain_fit{});
    REQUIRE(!q.has_value());
    CHECK(q.error().code == qlib::errc::non_finite);
    CHECK(q.error().sizes[0] == 2);
    CHECK(q.error().sizes[1] == 5);
    const auto mended =
        qlib::quantize<F>({x.data(), 4, cols}, qlib::plain_fit{}, {.on_non_finite = qlib::non_finite::zero});
    x[2 * cols + 5] = 0;
    const auto zero = qlib::quantize<F>({x.data(), 4, cols}, qlib::plain_fit{});
    REQUIRE(mended.has_value());
    CHECK(std::ranges::equal(mended->bytes(), zero->bytes()));
}

TEST_CASE_TEMPLATE("importance: all zeros counts as uniform, and what matters is kept better", F, QLIB_WITNESSES) {
    const std::size_t cols = 2 * qlib::block_size<F>;
    const auto x = sample::weights(16 * cols, 13);
    const std::vector<float> none(cols, 0.0f);
    const auto plain = qlib::quantize<F>({x.data(), 16, cols});
    const auto zero = qlib::quantize<F>({x.data(), 16, cols}, {.importance = none});
    REQUIRE(zero.has_value());
    CHECK(std::ranges::equal(plain->bytes(), zero->bytes()));
    auto w = sample::importance(cols, 4);
    const auto weighted = qlib::quantize<F>({x.data(), 16, cols}, {.importance = w});
    REQUIRE(weighted.has_value());
    const auto y = decoded<F>(*plain), z = decoded<F>(*weighted);
    double error = 0, error_weighted = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        error += double{w[i % cols]} * std::pow(double{x[i]} - double{y[i]}, 2);
        error_weighted += double{w[i % cols]} * std::pow(double{x[i]} - double{z[i]}, 2);
    }
    // One scale for 2,000 weights has an error of many small peaks, of which a search sees some thirty places.
    CHECK(error_weighted <= error * (requires { requires F::outer_is_map; } ? 1.01 : 1.0001));
    w[3] = -1;
    CHECK(qlib::quantize<F>({x.data(), 16, cols}, {.importance = w}).error().code == qlib::errc::importance);
    CHECK(qlib::quantize<F>({x.data(), 16, cols}, {.importance = std::span(w).first(cols - 1)}).error().code ==
          qlib::errc::importance);
}

TEST_CASE_TEMPLATE("any bytes are a matrix: decoding them stays in bounds", F, QLIB_WITNESSES) {
    sample::random r{5};
    const std::size_t cols = 2 * qlib::block_size<F>;
    std::vector<std::byte> bytes(qlib::wire_size<F>(6, cols));
    for (int pass = 0; pass < 20; ++pass) {
        for (std::byte& b : bytes) b = static_cast<std::byte>(pass == 0 ? 0xFF : r.below(256));
        const auto q = qlib::qview<F>::over(bytes, 6, cols);
        REQUIRE(q.has_value());
        decoded<F>(*q);
    }
    CHECK(qlib::qview<F>::over(std::span<const std::byte>(bytes).first(bytes.size() - 1), 6, cols).error().code ==
          qlib::errc::shape);
}
