// Weights that are not quantized: plain numbers behind the functions that quantized ones have.
#include "support/decoded.hpp"
#include "support/matrix.hpp"
#include "support/rooms.hpp"

#include <doctest/doctest.h>
#include <qlib/dense.hpp>
#include <qlib/dequantize.hpp>
#include <qlib/gptq.hpp>
#include <qlib/qgemm.hpp>
#include <qlib/quantize.hpp>

#include <cstring>

namespace {}  // namespace

static_assert(qlib::wire_size<qlib::dense_f32>(3, 7) == 3 * 7 * 4 &&
              qlib::wire_size<qlib::dense_bf16>(3, 33) == 3 * 33 * 2);

TEST_CASE_TEMPLATE("dense: rounding is the number's own, for rows of any length", T, qlib::f32, qlib::f16, qlib::bf16) {
    for (const std::size_t cols : std::vector<std::size_t>{1, 31, 32, 33, 300}) {
        auto x = sample::weights(3 * cols, cols);
        x[0] = -0.0f;
        for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search, qlib::fit::reference}) {
            const auto q = qlib::quantize<qlib::dense<T>>({x.data(), 3, cols}, {.fit = f});
            REQUIRE(q.has_value());
            const auto y = decoded<qlib::dense<T>>(*q);
            for (std::size_t i = 0; i < x.size(); ++i) {
                const float want = T::from(x[i]).value();
                CHECK(std::memcmp(&y[i], &want, sizeof want) == 0);
                CHECK(std::memcmp(q->bytes().data() + i * sizeof(T), std::array{T::from(x[i]).bits}.data(),
                                  sizeof(T)) == 0);
            }
        }
    }
}

TEST_CASE("dense: the ends of the range") {
    std::vector<float> x(40, 0.5f);
    x[39] = 65504.0f;
    CHECK(qlib::quantize<qlib::dense_f16>({x.data(), 1, 40}, qlib::plain_fit{}).has_value());
    x[39] = -65520.0f;  // rounds to infinity
    const auto q = qlib::quantize<qlib::dense_f16>({x.data(), 1, 40}, qlib::plain_fit{});
    CHECK(q.error().code == qlib::errc::overflow);
    CHECK(qlib::quantize<qlib::dense_bf16>({x.data(), 1, 40}, qlib::plain_fit{}).has_value());
    x[39] = std::numeric_limits<float>::max();
    CHECK(qlib::quantize<qlib::dense_f32>({x.data(), 1, 40}, qlib::plain_fit{}).has_value());
    CHECK(qlib::quantize<qlib::dense_bf16>({x.data(), 1, 40}, qlib::plain_fit{}).error().code == qlib::errc::overflow);
    x[39] = std::numeric_limits<float>::quiet_NaN();
    CHECK(qlib::quantize<qlib::dense_f32>({x.data(), 1, 40}, qlib::plain_fit{}).error().code == qlib::errc::non_finite);
}

TEST_CASE_TEMPLATE("dense: a product is that of floats", F, qlib::dense_f32, qlib::dense_f16, qlib::dense_bf16) {
    const std::size_t n = 5, rows = 70, cols = 172;
    const auto w = sample::weights(rows * cols, 1), x = sample::weights(n * cols, 2, 1.0);
    const auto q = qlib::quantize<F>({w.data(), rows, cols}, qlib::plain_fit{});
    const auto v = decoded<F>(*q);
    std::vector<float> y(n * rows);
    qlib::call_report report;
    REQUIRE(qlib::qgemm({y.data(), n, rows}, {x.data(), n, cols}, *q, {}, {.report = &report}).ok());
    CHECK(report.mode == std::string_view("exact"));
    for (std::size_t i = 0; i < y.size(); ++i) {
        double sum = 0;
        for (std::size_t c = 0; c < cols; ++c) sum += double{x[i / rows * cols + c]} * double{v[i % rows * cols + c]};
        CHECK(y[i] == doctest::Approx(sum).epsilon(1e-5));
    }
    CHECK(qlib::qgemm({y.data(), n, rows}, {x.data(), n, cols}, *q, {.mode = qlib::compute::integer}).error().code ==
          qlib::errc::unsupported);
}

TEST_CASE_TEMPLATE("dense: any bits decode in every room to what the number means, a NaN to 7FC00000", T, qlib::f16,
                   qlib::bf16) {
    std::vector<T> all(65536 + 5);  // every code, from an odd address, and a row that ends inside a vector
    for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
    std::vector<std::byte> bytes(1 + all.size() * 2);
    std::memcpy(bytes.data() + 1, all.data(), all.size() * 2);
    const auto q = qlib::qview<qlib::dense<T>>::over(std::span(bytes).subspan(1), 1, all.size());
    for (const qlib::isa room : sample::rooms()) {
        std::vector<float> y(all.size());
        REQUIRE(qlib::dequantize(*q, {y.data(), 1, y.size()}, {.room = room}).ok());
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < y.size(); ++i) {
            const float want = all[i].value();
            const bool nan = want != want;
            wrong += qlib::detail::bits_of(y[i]) != (nan ? 0x7FC00000u : qlib::detail::bits_of(want));
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("dense: GPTQ rounds to bf16 with less loss than rounding does") {
    const std::size_t rows = 4, cols = 96, tokens = 300;
    const auto w = sample::weights(rows * cols, 3);
    auto x = sample::weights(tokens * cols, 4, 1.0);
    for (std::size_t i = 1; i < x.size(); ++i) x[i] += 0.9f * x[i - 1];  // inputs that know of each other
    auto h = qlib::hessian::make(cols);
    REQUIRE(h->add({x.data(), tokens, cols}).ok());
    const auto done = qlib::gptq<qlib::dense_bf16>({w.data(), rows, cols}, *h, qlib::plain_fit{});
    REQUIRE(done.has_value());
    CHECK(done->report.loss < 0.7 * done->report.loss_rtn);
}
