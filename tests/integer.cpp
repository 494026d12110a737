// int_format: twelve combinations that reach every branch, against an independent rounding and the published errors.
#include "support/decoded.hpp"
#include "support/golden_problem.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/gptq.hpp>
#include <qlib/integer.hpp>

#include <algorithm>

namespace {

using qlib::granularity, qlib::int_format, qlib::int_spec, qlib::placement, qlib::scale_type, qlib::symmetry;

struct b1_g32 : int_format<int_spec{.bits = 1, .group = 32, .scale = scale_type::float32}> {};
struct b1_g48_planar
    : int_format<int_spec{.bits = 1, .group = 48, .scale = scale_type::bfloat16, .layout = placement::planar}> {};
struct b2_g32
    : int_format<int_spec{.bits = 2, .group = 32, .sym = symmetry::zero_point, .scale = scale_type::float32}> {};
struct b2_row
    : int_format<int_spec{
          .bits = 2, .sym = symmetry::restricted, .scale = scale_type::float32, .granularity = granularity::row}> {};
struct b3_g48
    : int_format<int_spec{.bits = 3, .group = 48, .sym = symmetry::restricted, .scale = scale_type::float8_e4m3}> {};
struct b3_g128_planar : int_format<int_spec{.bits = 3,
                                            .group = 128,
                                            .sym = symmetry::zero_point,
                                            .scale = scale_type::float32,
                                            .layout = placement::planar}> {};
struct b4_g32_mx : int_format<int_spec{.bits = 4, .group = 32, .scale = scale_type::power_of_two}> {};
struct b4_g128
    : int_format<int_spec{.bits = 4, .group = 128, .sym = symmetry::zero_point, .scale = scale_type::float32}> {};
struct b4_row_asym
    : int_format<int_spec{
          .bits = 4, .sym = symmetry::zero_point, .scale = scale_type::float16, .granularity = granularity::row}> {};
struct b5_g48_offset
    : int_format<int_spec{.bits = 5, .group = 48, .sym = symmetry::offset, .scale = scale_type::float16}> {};
struct b5_tile_offset
    : int_format<int_spec{
          .bits = 5, .sym = symmetry::offset, .scale = scale_type::bfloat16, .granularity = granularity::tile_128}> {};
struct b8_tensor : int_format<int_spec{.bits = 8, .scale = scale_type::float32, .granularity = granularity::tensor}> {};

}  // namespace

static_assert(qlib::block_bytes<b1_g32> == 4 + 4 && b1_g48_planar::planes == std::array<std::size_t, 2>{6, 2});
static_assert(qlib::block_bytes<b2_g32> == 4 + 1 + 8 && b3_g128_planar::planes == std::array<std::size_t, 3>{48, 4, 1});
static_assert(qlib::block_bytes<b3_g48> == 1 + 18 && qlib::has_outer<b3_g48>);
static_assert(qlib::block_bytes<b5_g48_offset> == 2 + 2 + 30);
static_assert(qlib::wire_size<b2_row>(3, 100) == 3 * 25 + 3 * 4 && qlib::wire_size<b8_tensor>(3, 100) == 304);
static_assert(qlib::wire_size<b4_row_asym>(4, 64) == 4 * 32 + 4 * 3 &&
              qlib::wire_size<b5_tile_offset>(129, 128) == 129 * 80 + 2 * 4);

#define QLIB_COMBINATIONS                                                                                          \
    b1_g32, b1_g48_planar, b2_g32, b2_row, b3_g48, b3_g128_planar, b4_g32_mx, b4_g128, b4_row_asym, b5_g48_offset, \
        b5_tile_offset, b8_tensor

TEST_CASE_TEMPLATE("every combination keeps its weights, at any width, by any fit, and under GPTQ", F,
                   QLIB_COMBINATIONS) {
    constexpr double least = 5.0 * F::spec.bits - 7;
    for (const std::size_t cols : std::vector<std::size_t>{1, 47, 64, 100, 128, 300}) {
        const auto x = sample::weights(9 * cols, cols);
        const std::vector<float> ones(cols, 1.0f);
        double plain = 0;
        for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search}) {
            const auto q = qlib::quantize<F>({x.data(), 9, cols}, {.fit = f, .importance = ones});
            REQUIRE(q.has_value());
            const double db = sample::sqnr(x, decoded<F>(*q));
            CHECK(db > (f == qlib::fit::search ? least : least - 4));
            if (f == qlib::fit::plain) plain = db;
            else CHECK(db >= plain - 0.01);
        }
    }
    const auto x = sample::weights(9 * 200, 5), a = sample::weights(300 * 200, 6, 1.0);
    auto h = qlib::hessian::make(200);
    REQUIRE(h->add({a.data(), 300, 200}).ok());
    const auto done = qlib::gptq<F>({x.data(), 9, 200}, *h, qlib::search_fit{});
    REQUIRE(done.has_value());
    CHECK(done->report.loss <= done->report.loss_rtn);
}

TEST_CASE_TEMPLATE("plain codes are the nearest levels under the stored scale", F, b2_g32, b3_g128_planar, b4_g32_mx,
                   b5_g48_offset, b4_g128) {
    const auto x = sample::weights(4 * 240, 3);
    const auto q = qlib::quantize<F>({x.data(), 4, 240}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    for (std::size_t r = 0; r < 4; ++r)
        for (std::size_t c = 0; c < 240; ++c) {
            std::array<typename F::code, qlib::codes<F>> code{};
            const std::size_t b = c / F::group, n = std::min(F::group, 240 - b * F::group);
            const auto p = F::load(q->view().block(r, b), {}, std::span(code).first(n));
            const qlib::affine a = F::at(p, 0);
            const double u = F::map == qlib::form::offset    ? (double{x[r * 240 + c]} - double{a.z}) / double{a.s}
                             : F::map == qlib::form::shifted ? double{x[r * 240 + c]} / double{a.s} + double{a.z}
                                                             : double{x[r * 240 + c]} / double{a.s};
            const double got = double{F::grid::level(code[c - b * F::group])}, low = double{F::grid::lowest},
                         high = double{F::grid::highest};
            CHECK(std::abs(got - std::clamp(u, low, high)) <= 0.5 + 1e-4);
        }
}

TEST_CASE("one bit is {-s, +s} around the mean magnitude; a full range maps the signed extreme to its lowest level") {
    const std::array<float, 4> x{1.0f, -3.0f, 2.0f, -2.0f};
    const auto q = qlib::quantize<b1_g32>({x.data(), 1, 4}, qlib::plain_fit{});
    CHECK(decoded<b1_g32>(*q) == std::vector<float>{2, -2, 2, -2});
    const std::array<float, 3> y{8.0f, -4.0f, 3.0f};
    const auto p = qlib::quantize<qlib::int4_g32>({y.data(), 1, 3}, qlib::plain_fit{});
    CHECK(decoded<qlib::int4_g32>(*p) == std::vector<float>{8, -4, 3});  // scale -1: 8 is level -8
}

TEST_CASE("rounding to nearest with a zero point has the published error") {
    const auto p = golden_problem::a();
    auto h = qlib::hessian::make(512);
    REQUIRE(h->add({p.X.data(), 2048, 512}).ok());
    const auto factor = qlib::factorize(*h->copy());
    const auto loss = [&](const std::vector<float>& d) {
        std::vector<double> rows(512);
        std::vector<float> scratch(qlib::detail::quadratic_losses_scratch(512));
        qlib::detail::quadratic_losses(*factor, {d.data(), 512, 512}, rows.data(), scratch.data());
        double sum = 0;
        for (const double v : rows) sum += v;
        return sum;
    };
    const auto db = [&]<class F>() {
        auto d = decoded<F>(*qlib::quantize<F>({p.W.data(), 512, 512}, qlib::plain_fit{}));
        for (std::size_t i = 0; i < d.size(); ++i) d[i] = p.W[i] - d[i];
        return 10 * std::log10(loss(d) / loss(p.W));
    };
    CHECK(db.operator()<b2_g32>() == doctest::Approx(-7.2856).epsilon(0.002));
    CHECK(db.operator()<b3_g128_planar>() == doctest::Approx(-11.8770).epsilon(0.002));
    CHECK(db.operator()<b4_g128>() == doctest::Approx(-18.6151).epsilon(0.002));
}
