// Views over foreign bytes: row pitch, row ranges, outer values kept elsewhere, and sizes that do not fit.
#include "support/matrix.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cstring>

namespace {
template <class F> std::vector<float> decoded(qlib::qview<F> q) {
    std::vector<float> y(q.rows() * q.cols());
    REQUIRE(qlib::dequantize(q, {y.data(), q.rows(), q.cols()}).ok());
    return y;
}
}  // namespace

TEST_CASE_TEMPLATE("rows of a range decode as in the whole matrix, tiles and all", F, QLIB_WITNESSES) {
    const std::size_t rows = 140, cols = 2 * qlib::block_size<F>;
    const auto x = sample::weights(rows * cols, 1);
    const auto q = qlib::quantize<F>({x.data(), rows, cols}, {.fit = qlib::fit::plain});
    REQUIRE(q.has_value());
    const auto all = decoded<F>(*q);
    for (const auto& [first, count] : std::vector<std::pair<std::size_t, std::size_t>>{{0, 1}, {1, 3}, {127, 2}, {128, 12}, {139, 1}, {140, 0}, {0, 140}}) {
        const auto part = q->row_range(first, count);
        REQUIRE(part.has_value());
        const auto y = decoded<F>(*part);
        CHECK(std::equal(y.begin(), y.end(), all.begin() + static_cast<std::ptrdiff_t>(first * cols)));
        if (count > 2) {
            const auto inner = part->row_range(1, count - 2);
            REQUIRE(inner.has_value());
            CHECK(std::ranges::equal(decoded<F>(*inner), std::span(all).subspan((first + 1) * cols, (count - 2) * cols)));
        }
    }
    CHECK(q->row_range(1, 140).error().code == qlib::errc::shape);
    CHECK(q->row_range(141, 0).error().code == qlib::errc::shape);
    CHECK(q->row_range(1, std::numeric_limits<std::size_t>::max()).error().code == qlib::errc::shape);
}

TEST_CASE("rows may lie apart") {
    const auto x = sample::weights(6 * 256, 2);
    const auto q = qlib::quantize<qlib::q6_k>({x.data(), 6, 256});
    std::vector<std::byte> wide(5 * 300 + 210);
    for (std::size_t r = 0; r < 6; ++r) std::memcpy(wide.data() + r * 300, q->bytes().data() + r * 210, 210);
    const auto v = qlib::qview<qlib::q6_k>::over(wide, 6, 256, {.row_bytes = 300});
    REQUIRE(v.has_value());
    CHECK(decoded<qlib::q6_k>(*v) == decoded<qlib::q6_k>(*q));
    CHECK(qlib::qview<qlib::q6_k>::over(std::span<const std::byte>(wide).first(wide.size() - 1), 6, 256, {.row_bytes = 300}).error().code == qlib::errc::shape);
    CHECK(qlib::qview<qlib::q6_k>::over(wide, 6, 256, {.row_bytes = 209}).error().code == qlib::errc::shape);
    CHECK(qlib::qview<qlib::nf4>::over(wide, 6, 64, {.row_bytes = 300}).error().code == qlib::errc::shape);  // two planes
}

TEST_CASE("every size that is too small by one byte is refused") {
    const auto refuse = []<class F>(std::size_t rows, std::size_t cols) {
        const std::vector<std::byte> bytes(qlib::wire_size<F>(rows, cols));
        CHECK(qlib::qview<F>::over(bytes, rows, cols).has_value());
        CHECK(!qlib::qview<F>::over(std::span(bytes).first(bytes.size() - 1), rows, cols).has_value());
    };
    refuse.operator()<qlib::int4_g128_asym>(3, 200);
    refuse.operator()<witness::own>(3, 50);
    refuse.operator()<qlib::nf4_dq>(7, 33);
    refuse.operator()<qlib::fp8_e4m3_tile128>(129, 130);
    refuse.operator()<witness::int4_row>(5, 1);
    const std::vector<std::byte> none;
    CHECK(qlib::qview<qlib::q4_0>::over(none, 0, 32).has_value());
    CHECK(qlib::qview<qlib::q4_0>::over(none, std::size_t{1} << 60, 32).error().code == qlib::errc::shape);
    CHECK(qlib::qview<qlib::q4_0>::over(none, 1, 31).error().code == qlib::errc::ragged);
}
