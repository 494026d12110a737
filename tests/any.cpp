// Formats by number: the functions that tests/any_instantiate.cpp defines, called
// through their declarations, against the templates.
#include "support/matrix.hpp"
#include "support/own_format.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/any.hpp>
#include <qlib/dequantize.hpp>
#include <qlib/gptq.hpp>
#include <qlib/k_quants.hpp>
#include <qlib/qgemm.hpp>

#include <algorithm>
#include <vector>

namespace {

using qlib::format_id;
constexpr auto own_id = static_cast<format_id>(0x10000);

/// Formats that tests/any_instantiate.cpp holds.
constexpr std::array instantiated{format_id::q4_k, format_id::nvfp4, format_id::nf4, own_id};

qlib::matrix_view<const float> view(const std::vector<float>& x, std::size_t cols) {
    return {x.data(), x.size() / cols, cols};
}
qlib::matrix_view<float> view(std::vector<float>& x, std::size_t cols) { return {x.data(), x.size() / cols, cols}; }

std::vector<float> decoded(const qlib::any_view& q, qlib::call how = {}) {
    std::vector<float> y(q.rows * q.cols);
    REQUIRE(qlib::dequantize(q, view(y, q.cols), how).ok());
    return y;
}

qlib::hessian hessian_of(qlib::matrix_view<const float> X) {
    auto h = qlib::hessian::make(X.cols);
    REQUIRE(h.has_value());
    REQUIRE(h->add(X).ok());
    return std::move(*h);
}

template <class Bytes> bool same_bytes(const Bytes& a, const Bytes& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// Everything that a format does by number is what its type does.
template <class F> void check_against_template(format_id id) {
    const std::size_t rows = 5, cols = 768, tokens = 40;
    const auto x = sample::weights(rows * cols, 1), w = sample::importance(cols, 2),
               a = sample::weights(tokens * cols, 3, 1.0);
    const qlib::quantize_options options{.fit = qlib::fit::plain, .importance = w};

    const auto typed = qlib::quantize<F>(view(x, cols), options);
    const auto any = qlib::quantize(id, view(x, cols), options);
    REQUIRE(typed.has_value());
    REQUIRE(any.has_value());
    CHECK(any->format() == id);
    CHECK(*qlib::wire_size(id, rows, cols) == qlib::wire_size<F>(rows, cols));
    CHECK(same_bytes(any->bytes(), typed->bytes()));

    std::vector<float> y(rows * cols), product(tokens * rows), typed_product(tokens * rows);
    REQUIRE(qlib::dequantize(*typed, view(y, cols)).ok());
    CHECK(decoded(*any) == y);
    REQUIRE(qlib::qgemm<F>(view(typed_product, rows), view(a, cols), *typed).ok());
    REQUIRE(qlib::qgemm(view(product, rows), view(a, cols), *any).ok());
    CHECK(product == typed_product);

    const auto h = hessian_of(view(a, cols));
    const auto by_type = qlib::gptq<F>(view(x, cols), h, {.fit = qlib::fit::plain});
    auto by_number = qlib::any_matrix::make(id, rows, cols);
    REQUIRE(by_number.has_value());
    const auto report = qlib::gptq(id, view(x, cols), h, by_number->bytes(), {.fit = qlib::fit::plain});
    REQUIRE(report.has_value());
    CHECK(same_bytes(by_number->view().bytes, by_type->weights.bytes()));
    CHECK(report->loss == by_type->report.loss);
    CHECK(report->loss < report->loss_rtn);
}

}  // namespace

TEST_CASE("any: a named format and a user's own do by number what they do by type") {
    check_against_template<qlib::q4_k>(format_id::q4_k);
    check_against_template<own_format>(own_id);
}

TEST_CASE("any: every instantiated format quantizes, decodes, multiplies and takes GPTQ, on any number of threads") {
    const std::size_t rows = 20, cols = 256, tokens = 300;
    const auto x = sample::weights(rows * cols, 4), a = sample::weights(tokens * cols, 5, 1.0);
    const auto h = hessian_of(view(a, cols));
    const auto factor = qlib::factorize(*h.copy());
    REQUIRE(factor.has_value());
    test_threads team(3);
    for (const format_id id : instantiated) {
        CAPTURE(static_cast<std::uint32_t>(id));
        auto q = qlib::any_matrix::make(id, rows, cols);
        REQUIRE(q.has_value());
        REQUIRE(qlib::quantize_into(id, view(x, cols), q->bytes(), {}, {.run = team}).ok());
        CHECK(same_bytes(q->view().bytes, qlib::quantize(id, view(x, cols))->view().bytes));
        const auto y = decoded(*q);
        CHECK(sample::sqnr(x, y) > 13);  // 3 bits of a user's own codebook; 4 bits give 18 and more
        CHECK(decoded(*q, {.run = team}) == y);

        const std::vector<std::uint32_t> ids{19, 0, 7, 7};
        std::vector<float> some(ids.size() * cols);
        REQUIRE(qlib::dequantize_rows(*q, ids, view(some, cols)).ok());
        for (std::size_t i = 0; i < some.size(); ++i) CHECK(some[i] == y[ids[i / cols] * cols + i % cols]);

        std::vector<float> product(3 * rows);
        qlib::call_report report;
        const auto three = view(a, cols).row_range(0, 3);
        REQUIRE(qlib::qgemm(view(product, rows), three, *q, {.mode = qlib::compute::exact},
                            {.run = team, .report = &report})
                    .ok());
        CHECK(report.mode == std::string_view("exact"));
        for (std::size_t i = 0; i < product.size(); ++i) {
            double sum = 0;
            for (std::size_t c = 0; c < cols; ++c)
                sum += double{a[i / rows * cols + c]} * double{y[i % rows * cols + c]};
            CHECK(product[i] == doctest::Approx(sum).epsilon(1e-4));
        }

        const auto done = qlib::gptq(id, view(x, cols), *factor, q->bytes(), {}, {.run = team});
        REQUIRE(done.has_value());
        CHECK(done->loss < done->loss_rtn);
        CHECK(decoded(*q) != y);
    }
}

TEST_CASE("any: outer values may lie elsewhere, as NVFP4's do in GGUF") {
    const auto x = sample::weights(4 * 256, 6);
    auto q = qlib::quantize(format_id::nvfp4, view(x, 256));
    REQUIRE(q.has_value());
    const auto bytes = q->view().bytes, blocks = bytes.first(bytes.size() - 4);
    const std::vector<std::byte> scale(bytes.end() - 4, bytes.end());
    CHECK(decoded({format_id::nvfp4, blocks, 4, 256, {.outer = scale}}) == decoded(*q));
}

TEST_CASE("any: memory to work in may be the caller's") {
    const std::size_t rows = 20, cols = 256;
    const auto x = sample::weights(rows * cols, 8), a = sample::weights(40 * cols, 9, 1.0);
    const auto h = hessian_of(view(a, cols));
    const auto factor = qlib::factorize(*h.copy());
    auto q = qlib::quantize(format_id::q4_k, view(x, cols));
    std::vector<float> y(40 * rows);
    const auto for_gemm = qlib::qgemm_scratch_bytes(format_id::q4_k, 40, rows, cols);
    const auto for_gptq = qlib::gptq_scratch_bytes(format_id::q4_k, rows, cols);
    REQUIRE(for_gemm.has_value());
    REQUIRE(for_gptq.has_value());
    CHECK(*for_gptq == qlib::gptq_scratch_bytes<qlib::q4_k>(rows, cols));
    std::vector<std::byte> memory(*for_gemm + *for_gptq);
    const std::span<std::byte> scratch(memory);
    CHECK(qlib::qgemm(view(y, rows), view(a, cols), *q, {}, {.scratch = scratch.first(*for_gemm)}).ok());
    CHECK(qlib::qgemm(view(y, rows), view(a, cols), *q, {}, {.scratch = scratch.first(*for_gemm - 1)}).error().code ==
          qlib::errc::scratch);
    CHECK(qlib::gptq(format_id::q4_k, view(x, cols), *factor, q->bytes(), {}, {.scratch = scratch.first(*for_gptq)})
              .has_value());
    CHECK(qlib::gptq(format_id::q4_k, view(x, cols), *factor, q->bytes(), {}, {.scratch = scratch.first(*for_gptq - 1)})
              .error()
              .code == qlib::errc::scratch);
}

TEST_CASE("any: planes may lie apart") {
    const auto x = sample::weights(4 * 256, 10);
    const auto q = qlib::quantize(format_id::nf4, view(x, 256));
    REQUIRE(q.has_value());
    const auto bytes = q->view().bytes;
    const std::vector<std::byte> codes(bytes.begin(), bytes.begin() + 512), scales(bytes.begin() + 512, bytes.end());
    const std::span<const std::byte> planes[] = {codes, scales};
    CHECK(decoded({.format = format_id::nf4, .rows = 4, .cols = 256, .planes = planes}) == decoded(*q));
    std::vector<float> y(4 * 256);
    CHECK(qlib::dequantize({.format = format_id::nf4, .rows = 4, .cols = 256, .planes = std::span(planes).first(1)},
                           view(y, 256))
              .error()
              .code == qlib::errc::shape);
    CHECK(qlib::dequantize(
              {.format = format_id::nf4, .rows = 4, .cols = 256, .options = {.row_bytes = 128}, .planes = planes},
              view(y, 256))
              .error()
              .code == qlib::errc::shape);
}

TEST_CASE("any: products in a group, of formats that differ") {
    const std::size_t rows = 20, cols = 256, n = 3;
    const auto x = sample::weights(rows * cols, 12), a = sample::weights(n * cols, 13, 1.0);
    std::vector<qlib::any_matrix> weights;
    std::vector<std::vector<float>> y(instantiated.size(), std::vector<float>(n * rows)), want = y;
    std::vector<qlib::any_gemm_job> jobs;
    for (std::size_t j = 0; j < instantiated.size(); ++j) {
        weights.push_back(*qlib::quantize(instantiated[j], view(x, cols), {.fit = qlib::fit::plain}));
        jobs.push_back({view(y[j], rows), view(a, cols), weights.back()});
        REQUIRE(qlib::qgemm(view(want[j], rows), view(a, cols), weights.back()).ok());
    }
    test_threads team(2);
    REQUIRE(qlib::qgemm_grouped(jobs, {}, {.run = team}).ok());
    CHECK(y == want);
    std::vector<std::byte> memory(qlib::qgemm_grouped_scratch_bytes(jobs));
    CHECK(qlib::qgemm_grouped(jobs, {}, {.scratch = memory}).ok());
    CHECK(qlib::qgemm_grouped(jobs, {}, {.scratch = std::span(memory).first(memory.size() - 1)}).error().code ==
          qlib::errc::scratch);
    CHECK(qlib::qgemm_grouped(jobs, {}, {.scratch = std::span(memory).first(1)}).error().code == qlib::errc::scratch);
    jobs[1].weights.format = format_id::q6_k;  // not instantiated
    CHECK(qlib::qgemm_grouped(jobs).error().code == qlib::errc::unsupported);
    CHECK(qlib::qgemm_grouped_scratch_bytes(jobs) == 0);
}

TEST_CASE("any: errors") {
    const auto x = sample::weights(2 * 256, 7);
    std::vector<std::byte> bytes(*qlib::wire_size(format_id::q4_k, 2, 256));
    std::vector<float> y(2 * 256);
    const auto code = [](const auto& r) {
        CHECK(!r);
        return r.error().code;
    };
    const auto h = hessian_of(view(x, 256));

    SUBCASE("formats that were not instantiated, and numbers that mean none") {
        for (const auto id : {format_id::q6_k, static_cast<format_id>(4), static_cast<format_id>(0xFFFFFFFF)}) {
            CHECK(code(qlib::wire_size(id, 2, 256)) == qlib::errc::unsupported);
            CHECK(code(qlib::qgemm_scratch_bytes(id, 2, 2, 256)) == qlib::errc::unsupported);
            CHECK(code(qlib::gptq_scratch_bytes(id, 2, 256)) == qlib::errc::unsupported);
            CHECK(code(qlib::any_matrix::make(id, 2, 256)) == qlib::errc::unsupported);
            CHECK(code(qlib::quantize(id, view(x, 256))) == qlib::errc::unsupported);
            CHECK(code(qlib::quantize_into(id, view(x, 256), bytes)) == qlib::errc::unsupported);
            CHECK(code(qlib::dequantize({id, bytes, 2, 256, {}}, view(y, 256))) == qlib::errc::unsupported);
            CHECK(code(qlib::dequantize_rows({id, bytes, 2, 256, {}}, {}, {})) == qlib::errc::unsupported);
            CHECK(code(qlib::qgemm(view(y, 2), view(x, 256), {id, bytes, 2, 256, {}})) == qlib::errc::unsupported);
            CHECK(code(qlib::gptq(id, view(x, 256), h, bytes)) == qlib::errc::unsupported);
        }
        CHECK(qlib::wire_size(format_id::q6_k, 2, 256).error().sizes[0] == 14);
    }
    SUBCASE("bytes that are too few") {
        const std::span<std::byte> few(bytes.data(), bytes.size() - 1);
        CHECK(code(qlib::quantize_into(format_id::q4_k, view(x, 256), few)) == qlib::errc::shape);
        CHECK(code(qlib::dequantize({format_id::q4_k, few, 2, 256, {}}, view(y, 256))) == qlib::errc::shape);
        CHECK(code(qlib::gptq(format_id::q4_k, view(x, 256), h, few)) == qlib::errc::shape);
    }
    SUBCASE("shapes that the format does not have") {
        CHECK(code(qlib::wire_size(format_id::q4_k, 2, 255)) == qlib::errc::ragged);
        CHECK(code(qlib::wire_size(format_id::q4_k, std::size_t{1} << 40, std::size_t{1} << 40)) == qlib::errc::shape);
        CHECK(code(qlib::dequantize({format_id::q4_k, bytes, 2, 256, {}}, view(y, 128))) == qlib::errc::shape);
    }
    CHECK(qlib::any_matrix().bytes().empty());
    CHECK(*qlib::wire_size(format_id::q4_k, 0, 256) == 0);
}
