#include "support/linalg.hpp"

#include <doctest/doctest.h>
#include <qlib/linalg/rows.hpp>

#include <cmath>

using namespace qlib;

namespace {

/// y += c x, term by term.
void reference(matrix_view<float> y, detail::strided c, detail::strided x, std::size_t depth) {
    for (std::size_t r = 0; r < y.rows; ++r)
        for (std::size_t j = 0; j < y.cols; ++j)
            for (std::size_t t = 0; t < depth; ++t) y(r, j) = std::fma(*c.from(r, t).data, *x.from(t, j).data, y(r, j));
}

}  // namespace

TEST_SUITE("bytes") {

TEST_CASE("rows: every element is one chain of FMAs in the order of the terms, whatever the shape and the room") {
    for (const std::size_t rows : {0u, 1u, 2u, 3u, 16u})
        for (const std::size_t cols : {0u, 1u, 15u, 16u, 47u, 259u})
            for (const std::size_t depth : {0u, 1u, 7u, 8u, 19u}) {
                CAPTURE(rows);
                CAPTURE(cols);
                CAPTURE(depth);
                auto y = sample::normal_matrix(rows, cols, 1), c = sample::normal_matrix(rows, depth, 2);
                auto x = sample::normal_matrix(depth, cols, 3);
                auto want = y;
                const detail::strided cs{c.data.data(), detail::signed_size(c.stride)},
                    xs{x.data.data(), detail::signed_size(x.stride)};
                reference(want.view(), cs, xs, depth);
                for (const isa room : sample::rooms()) {
                    auto got = y;
                    detail::rows_of(room).add_product(got.view(), cs, xs, depth);
                    CHECK(got.same_bits(want));
                }
            }
}

TEST_CASE("rows: steps may run downward, and coefficients along columns") {
    constexpr std::size_t rows = 5, cols = 40, depth = 11;
    auto y = sample::normal_matrix(rows, cols, 4), c = sample::normal_matrix(depth, rows, 5),
         x = sample::normal_matrix(depth, cols, 6);
    const detail::strided cs{&c(depth - 1, 0), 1, -detail::signed_size(c.stride)},
        xs{&x(depth - 1, 0), -detail::signed_size(x.stride)};
    auto want = y;
    reference(want.view(), cs, xs, depth);
    for (const isa room : sample::rooms()) {
        auto got = y;
        detail::rows_of(room).add_product(got.view(), cs, xs, depth);
        CHECK(got.same_bits(want));
    }
}

}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("rows: the room that served is reported, and one beyond the machine refused") {
    call_report report;
    REQUIRE(detail::open_rows({.report = &report}).has_value());
    CHECK(report.room == detail::best_isa());
    for (const isa room : sample::rooms()) {
        REQUIRE(detail::open_rows({.room = room, .report = &report}).has_value());
        CHECK(report.room == room);
    }
    CHECK(detail::open_rows({.room = sample::no_room}).error().code == errc::unsupported);
}

TEST_CASE("rows: strides are whole cache lines, an odd number of them") {
    for (std::size_t cols = 1; cols < 300; ++cols) {
        const std::size_t stride = detail::row_stride(cols);
        CHECK(stride >= cols);
        CHECK(stride < cols + 32);
        CHECK(stride % 32 == 16);
    }
}

#endif
