// qgemm_grouped: the same bits as product after product, whatever formats, inputs and threads.
#include "support/matrix.hpp"
#include "support/threads.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/dense.hpp>
#include <qlib/qgemm_grouped.hpp>
#include <qlib/quantize.hpp>

namespace {

using floats = std::vector<float>;
qlib::matrix_view<const float> view(const floats& x, std::size_t rows, std::size_t cols) {
    return {x.data(), rows, cols};
}

/// q, k and v of one input, v in another format, and two experts with inputs of their own, one of which got no token.
struct layer {
    static constexpr std::size_t k = 512, n = 7, q_rows = 200, kv_rows = 48, expert_rows = 90;
    floats w_q = sample::weights(q_rows * k, 1), w_k = sample::weights(kv_rows * k, 2),
           w_v = sample::weights(kv_rows * k, 3), w_e = sample::weights(expert_rows * k, 4);
    floats x = sample::weights(n * k, 5, 1.0), x_e = sample::weights(3 * k, 6, 1.0);
    qlib::result<qlib::qmatrix<qlib::q4_k>> q = qlib::quantize<qlib::q4_k>(view(w_q, q_rows, k), qlib::plain_fit{});
    qlib::result<qlib::qmatrix<qlib::q4_k>> key = qlib::quantize<qlib::q4_k>(view(w_k, kv_rows, k), qlib::plain_fit{});
    qlib::result<qlib::qmatrix<qlib::q6_k>> value =
        qlib::quantize<qlib::q6_k>(view(w_v, kv_rows, k), qlib::plain_fit{});
    qlib::result<qlib::qmatrix<qlib::dense_bf16>> expert =
        qlib::quantize<qlib::dense_bf16>(view(w_e, expert_rows, k), qlib::plain_fit{});

    /// The jobs, with results in y[0], y[1], ...
    std::vector<qlib::gemm_job> jobs(std::vector<floats>& y) const {
        const std::size_t rows[] = {q_rows, expert_rows, kv_rows, expert_rows, kv_rows}, counts[] = {n, 0, n, 3, n};
        y.clear();
        for (std::size_t j = 0; j < 5; ++j) y.emplace_back(counts[j] * rows[j], -1.0f);
        const auto out = [&](std::size_t j) { return qlib::matrix_view<float>{y[j].data(), counts[j], rows[j]}; };
        return {{out(0), view(x, n, k), *q},
                {out(1), view(x_e, 0, k), *expert},
                {out(2), view(x, n, k), *key},
                {out(3), view(x_e, 3, k), *expert},
                {out(4), view(x, n, k), value->view()}};
    }
    std::vector<floats> one_by_one(qlib::gemm_options o) const {
        std::vector<floats> y;
        (void)jobs(y);
        REQUIRE(qlib::qgemm({y[0].data(), n, q_rows}, view(x, n, k), *q, o).ok());
        REQUIRE(qlib::qgemm({y[2].data(), n, kv_rows}, view(x, n, k), *key, o).ok());
        REQUIRE(qlib::qgemm({y[3].data(), 3, expert_rows}, view(x_e, 3, k), *expert, o).ok());
        REQUIRE(qlib::qgemm({y[4].data(), n, kv_rows}, view(x, n, k), *value, o).ok());
        return y;
    }
};

}  // namespace

TEST_CASE(
    "grouped products are those of one after another, on any number of threads, in exactly the scratch that they ask "
    "for") {
    const layer l;
    for (const qlib::compute mode : {qlib::compute::automatic, qlib::compute::exact}) {
        const auto want = l.one_by_one({.mode = mode});
        for (const std::size_t threads : {std::size_t{1}, std::size_t{3}}) {
            test_threads team(threads);
            std::vector<floats> y;
            const auto jobs = l.jobs(y);
            REQUIRE(qlib::qgemm_grouped(jobs, {.mode = mode}, {.run = team}).ok());
            CHECK(y == want);

            const std::size_t asked = qlib::qgemm_grouped_scratch_bytes(jobs, {.mode = mode}, {.run = team});
            std::vector<std::byte> memory(asked + 1);
            const auto odd = std::span(memory).subspan(1);
            const auto again = l.jobs(y);
            REQUIRE(qlib::qgemm_grouped(again, {.mode = mode}, {.run = team, .scratch = odd}).ok());
            CHECK(y == want);
            CHECK(qlib::qgemm_grouped(again, {.mode = mode}, {.run = team, .scratch = odd.first(asked - 1)})
                      .error()
                      .code == qlib::errc::scratch);
            for (int round = 0; round < 30;
                 ++round) {  // workers in different jobs at the same moment must not share memory
                const auto repeated = l.jobs(y);
                REQUIRE(qlib::qgemm_grouped(repeated, {.mode = mode}, {.run = team}).ok());
                REQUIRE(y == want);
            }
        }
    }
}

TEST_CASE("jobs over one input share its packed copy where their formats pack it alike") {
    const layer l;
    std::vector<floats> y;
    const auto jobs = l.jobs(y);
    const auto one = qlib::qgemm_grouped_scratch_bytes(std::span(jobs).first(1));
    const std::array alike{jobs[0], jobs[2]}, apart{jobs[0], jobs[4]};
    CHECK(qlib::qgemm_grouped_scratch_bytes(alike) < one + l.n * l.k);  // a copy has a byte per activation, and scales
    CHECK(qlib::qgemm_grouped_scratch_bytes(apart) > one + l.n * l.k);
}

TEST_CASE("groups that hold nothing, and what is refused") {
    const layer l;
    constexpr std::span<const qlib::gemm_job> none;
    CHECK(qlib::qgemm_grouped(none).ok());
    CHECK(qlib::qgemm_grouped_scratch_bytes(none) == 0);
    const auto empty = qlib::qmatrix<qlib::q4_k>::make(3, 0);
    floats y(3, -1.0f);
    const qlib::gemm_job zero[] = {{{y.data(), 1, 3}, {nullptr, 1, 0}, *empty}};
    CHECK(qlib::qgemm_grouped(zero).ok());
    CHECK(y == floats(3, 0.0f));

    std::vector<floats> all;
    auto jobs = l.jobs(all);
    CHECK(qlib::qgemm_grouped(jobs, {.mode = qlib::compute::integer}).error().code == qlib::errc::unsupported);  // bf16
    jobs[4] = {{y.data(), 1, 3}, view(l.x, 1, l.k), *l.value};
    CHECK(qlib::qgemm_grouped(jobs).error().code == qlib::errc::shape);
    CHECK(all[0] == floats(l.n * l.q_rows, -1.0f));
    CHECK(qlib::qgemm_grouped_scratch_bytes(jobs) == 0);
    jobs.pop_back();
    CHECK(qlib::qgemm_grouped(jobs, {}, {.progress = [](std::size_t, std::size_t) { return false; }}).error().code ==
          qlib::errc::cancelled);
    qlib::call_report report;
    CHECK(qlib::qgemm_grouped(jobs, {}, {.report = &report}).ok());
    CHECK(report.mode == std::string_view("integer"));
}
