// Views over foreign bytes: row pitch, row ranges, outer values kept elsewhere, and sizes that do not fit.
#include "support/decoded.hpp"
#include "support/matrix.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cstring>

namespace {}  // namespace

TEST_CASE_TEMPLATE("rows of a range decode as in the whole matrix, tiles and all", F, QLIB_WITNESSES) {
    const std::size_t rows = 140, cols = 2 * qlib::block_size<F>;
    const auto x = sample::weights(rows * cols, 1);
    const auto q = qlib::quantize<F>({x.data(), rows, cols}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    const auto all = decoded<F>(*q);
    for (const auto& [first, count] : std::vector<std::pair<std::size_t, std::size_t>>{
             {0, 1}, {1, 3}, {127, 2}, {128, 12}, {139, 1}, {140, 0}, {0, 140}}) {
        const auto part = q->row_range(first, count);
        REQUIRE(part.has_value());
        const auto y = decoded<F>(*part);
        CHECK(std::equal(y.begin(), y.end(), all.begin() + static_cast<std::ptrdiff_t>(first * cols)));
        if (count > 2) {
            const auto inner = part->row_range(1, count - 2);
            REQUIRE(inner.has_value());
            CHECK(
                std::ranges::equal(decoded<F>(*inner), std::span(all).subspan((first + 1) * cols, (count - 2) * cols)));
        }
    }
    CHECK(q->row_range(1, 140).error().code == qlib::errc::shape);
    CHECK(q->row_range(141, 0).error().code == qlib::errc::shape);
    CHECK(q->row_range(1, std::numeric_limits<std::size_t>::max()).error().code == qlib::errc::shape);
}

TEST_CASE("rows may lie apart") {
    const auto x = sample::weights(6 * 256, 2);
    const auto q = qlib::quantize<qlib::q6_k>({x.data(), 6, 256}, qlib::plain_fit{});
    std::vector<std::byte> wide(5 * 300 + 210);
    for (std::size_t r = 0; r < 6; ++r) std::memcpy(wide.data() + r * 300, q->bytes().data() + r * 210, 210);
    const auto v = qlib::qview<qlib::q6_k>::over(wide, 6, 256, {.row_bytes = 300});
    REQUIRE(v.has_value());
    CHECK(decoded<qlib::q6_k>(*v) == decoded<qlib::q6_k>(*q));
    CHECK(qlib::qview<qlib::q6_k>::over(std::span<const std::byte>(wide).first(wide.size() - 1), 6, 256,
                                        {.row_bytes = 300})
              .error()
              .code == qlib::errc::shape);
    CHECK(qlib::qview<qlib::q6_k>::over(wide, 6, 256, {.row_bytes = 209}).error().code == qlib::errc::shape);
    // Two planes.
    CHECK(qlib::qview<qlib::nf4>::over(wide, 6, 64, {.row_bytes = 300}).error().code == qlib::errc::shape);
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

TEST_CASE("sizes that do not fit are the largest number, never a small one; bits per weight stay what they are") {
    static constexpr std::size_t most = std::numeric_limits<std::size_t>::max(), half = std::size_t{1} << 32;
    const auto huge = []<class F>(std::size_t rows, std::size_t cols, double bits) {
        CHECK(qlib::wire_size<F>(rows, cols) == most);
        CHECK(qlib::bits_per_weight<F>(rows, cols) == doctest::Approx(bits).epsilon(1e-6));
        CHECK(qlib::qview<F>::over(std::span<const std::byte>(), rows, cols).error().code == qlib::errc::shape);
    };
    constexpr std::size_t shapes[][2] = {{half, half + 1}, {most, 3}, {most / 64 * 64 + 1, 65}};
    for (const auto& [rows, cols] : shapes) {
        huge.operator()<qlib::nf4>(rows, cols, 4.5);
        huge.operator()<qlib::nf4_dq>(rows, cols, 4.126953125);
    }
    huge.operator()<qlib::nf4>(half * 2, half, 4.5);  // rows of whole blocks
    huge.operator()<qlib::q4_k>(half * 2, half, 4.5);
    huge.operator()<qlib::fp8_e4m3_tile128>(half, half, 8.001953125);
    CHECK(qlib::bits_per_weight<qlib::q8_0>(half, half) == doctest::Approx(8.5));
    CHECK(qlib::bits_per_weight<qlib::nf4>(half, 0) == 0);
}

TEST_CASE("planes may lie at addresses of their own, rows of each at their own distance") {
    const std::size_t rows = 5, cols = 96;
    const auto x = sample::weights(rows * cols, 3);
    using split = qlib::int_format<qlib::int_spec{.bits = 4,
                                                  .group = 32,
                                                  .sym = qlib::asymmetric,
                                                  .layout = qlib::placement::planar}>;  // codes, scales, zero points
    const auto q = qlib::quantize<split>({x.data(), rows, cols}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    static_assert(split::planes.size() == 3);
    std::array<std::vector<std::byte>, 3> apart;
    qlib::planes<split> where;
    const std::byte* from = q->bytes().data();
    for (std::size_t p = 0; p < 3; ++p) {
        const std::size_t row = split::planes[p] * cols / 32, pitch = where.row_bytes[p] = row + 3 * p;
        apart[p].resize((rows - 1) * pitch + row);
        for (std::size_t r = 0; r < rows; ++r, from += row) std::memcpy(apart[p].data() + r * pitch, from, row);
        where.at[p] = apart[p];
    }
    const auto v = qlib::qview<split>::over(where, rows, cols);
    REQUIRE(v.has_value());
    CHECK(decoded<split>(*v) == decoded<split>(*q));
    const auto last = decoded<split>(*v->row_range(2, 3)), all = decoded<split>(*q);
    CHECK(std::equal(last.begin(), last.end(), all.begin() + 2 * cols, all.end()));

    for (std::size_t p = 0; p < 3; ++p) {
        auto less = where;
        less.at[p] = less.at[p].first(less.at[p].size() - 1);
        CHECK(qlib::qview<split>::over(less, rows, cols).error().code == qlib::errc::shape);
        less = where;
        less.row_bytes[p] = 1;
        CHECK(qlib::qview<split>::over(less, rows, cols).error().code == qlib::errc::shape);
    }
}

TEST_CASE("planes with outer values, written through") {
    const std::size_t rows = 3, cols = 128;
    const auto x = sample::weights(rows * cols, 4);
    const auto q = qlib::quantize<qlib::nf4_dq>({x.data(), rows, cols}, qlib::plain_fit{});
    const auto all = q->bytes();
    std::vector<std::byte> codes(rows * cols / 2), scales(rows * cols / 64),
        outer(all.size() - codes.size() - scales.size());
    qlib::planes<qlib::nf4_dq, std::byte> where{.at = {codes, scales}, .outer = outer};
    const auto to = qlib::qspan<qlib::nf4_dq>::over(where, rows, cols);
    REQUIRE(to.has_value());
    REQUIRE(qlib::quantize_into<qlib::nf4_dq>({x.data(), rows, cols}, *to, qlib::plain_fit{}).ok());
    codes.insert(codes.end(), scales.begin(), scales.end());
    codes.insert(codes.end(), outer.begin(), outer.end());
    CHECK(std::ranges::equal(codes, all));
    where.outer = std::span(outer).first(outer.size() - 1);
    CHECK(qlib::qspan<qlib::nf4_dq>::over(where, rows, cols).error().code == qlib::errc::shape);
}
