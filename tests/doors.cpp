// What every function that takes a view asks of it before it touches anything.
#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/gptq.hpp>
#include <qlib/k_quants.hpp>
#include <qlib/plan_qgemm.hpp>
#include <qlib/quantize.hpp>

#include <vector>

TEST_CASE("a stride that runs out of memory is refused at every door") {
    constexpr std::size_t far_apart = std::size_t{1} << 62;
    std::vector<float> numbers(256 * 256);
    const qlib::matrix_view<float> good{numbers.data(), 2, 256};
    const qlib::matrix_view<float> bad{numbers.data(), 2, 256, far_apart}, wraps{numbers.data(), 5, 256, far_apart};
    const auto q = qlib::quantize<qlib::q4_k>(good, qlib::plain_fit{});
    auto h = qlib::hessian::make(256);
    REQUIRE(h->add(good).ok());
    for (const qlib::matrix_view<float>& m : {bad, wraps}) {
        const std::vector<std::byte> bytes(qlib::wire_size<qlib::q4_k>(m.rows, 256));
        const auto v = qlib::qview<qlib::q4_k>::over(bytes, m.rows, 256);
        const std::vector<std::uint32_t> ids(m.rows);
        const auto as_shape = [](const qlib::status& s) { CHECK(s.error().code == qlib::errc::shape); };
        as_shape(qlib::quantize<qlib::q4_k>(m, qlib::plain_fit{}).error());
        as_shape(qlib::dequantize(*v, m));
        as_shape(qlib::dequantize_rows(*v, ids, m));
        std::vector<float> y(m.rows * m.rows);
        as_shape(qlib::qgemm({y.data(), m.rows, m.rows}, m, *v));
        as_shape(qlib::qgemm({y.data(), m.rows, m.rows, far_apart}, {numbers.data(), m.rows, 256}, *v));
        as_shape(qlib::plan_qgemm(qlib::matrix_view{y.data(), m.rows, m.rows}, m, *v).error());
        as_shape(qlib::gptq<qlib::q4_k>(m, *h).error());
        as_shape(h->add(m));
    }
    const qlib::matrix_view<float> square{numbers.data(), 256, 256, far_apart};
    CHECK(qlib::syrk(square, good).error().code == qlib::errc::shape);
    CHECK(qlib::reverse_cholesky(square).error().code == qlib::errc::shape);
    CHECK(qlib::invert_upper(square).error().code == qlib::errc::shape);
    CHECK(q.has_value());
}
