// The headers behind the macros that other libraries leave behind: that this compiles is the test. headers_alone.py
// tries those that are not here.
#include <doctest/doctest.h>

#include "support/foreign_macros.hpp"

#include <qlib/qlib.hpp>
#include <qlib/core/thread_pool.hpp>
#include <qlib/file/mapped_file.hpp>

TEST_CASE("macros of windows.h, X11, Qt, Unreal, Arduino and others do not reach into the headers") {
    const std::array<float, 32> w{1.0f, -8.0f};
    const auto q = qlib::quantize<qlib::q4_0>(qlib::matrix_view<const float>{w.data(), 1, 32});
    REQUIRE(q.has_value());
    std::array<float, 32> back{};
    CHECK(qlib::dequantize<qlib::q4_0>(q->view(), qlib::matrix_view<float>{back.data(), 1, 32}).ok());
    CHECK(back == w);
}
