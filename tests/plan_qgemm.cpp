// plan_qgemm inside a parallel region of the test's own, with a barrier of the standard library's.
#include "support/matrix.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/plan_qgemm.hpp>
#include <qlib/quantize.hpp>

#include <barrier>
#include <thread>

namespace {
struct team {  // tells qgemm_scratch_bytes how many workers there are
    std::size_t count;
    void run(std::size_t, qlib::task_ref) const {}
    [[nodiscard]] std::size_t workers() const { return count; }
};
}  // namespace

TEST_CASE_TEMPLATE("a planned product is the called one's, run after run", F, qlib::q4_k, qlib::int8_row,
                   witness::own) {
    constexpr std::size_t n = 9, rows = 200, cols = 512, workers = 3;
    const auto w = sample::weights(rows * cols, 1);
    auto x = sample::weights(n * cols, 2, 1.0);
    const auto q = qlib::quantize<F>({w.data(), rows, cols}, qlib::plain_fit{});
    std::vector<float> want(n * rows), y(n * rows);
    for (const qlib::compute mode : {qlib::compute::automatic, qlib::compute::exact}) {
        const team engine{workers};
        std::vector<std::byte> memory(qlib::qgemm_scratch_bytes<F>(n, rows, cols, {.mode = mode}, {.run = engine}));
        auto plan =
            qlib::plan_qgemm(qlib::matrix_view{y.data(), n, rows}, qlib::matrix_view<const float>{x.data(), n, cols},
                             *q, {.mode = mode}, workers, {.scratch = memory});
        REQUIRE(plan.has_value());
        CHECK(plan->scratch_bytes() == memory.size());
        const auto moved = std::move(*plan);
        for (int pass = 0; pass < 2; ++pass) {
            for (float& v : x) v = -1.25f * v;  // a plan reads X each time
            REQUIRE(qlib::qgemm({want.data(), n, rows}, {x.data(), n, cols}, *q, {.mode = mode}).ok());
            std::barrier<> all(workers);
            std::vector<std::thread> threads;
            for (std::size_t worker = 0; worker < workers; ++worker)
                threads.emplace_back([&, worker] {
                    for (std::size_t stage = 0; stage < moved.stages(); ++stage) {
                        for (std::size_t task = worker; task < moved.tasks(stage); task += workers)
                            moved.run(stage, task, worker);
                        all.arrive_and_wait();
                    }
                });
            for (std::thread& t : threads) t.join();
            CHECK(y == want);
        }
        const auto less =
            qlib::plan_qgemm(qlib::matrix_view{y.data(), n, rows}, qlib::matrix_view<const float>{x.data(), n, cols},
                             *q, {.mode = mode}, workers, {.scratch = std::span(memory).first(memory.size() - 1)});
        CHECK(less.error().code == qlib::errc::scratch);
    }
}

TEST_CASE("plans of nothing, and what cannot be planned") {
    const auto q = qlib::qmatrix<qlib::q4_0>::make(2, 64);
    float x[64] = {}, y[2] = {7, 7};
    const auto none = qlib::plan_qgemm(qlib::matrix_view<float>{y, 0, 2}, qlib::matrix_view<const float>{x, 0, 64}, *q);
    REQUIRE(none.has_value());
    CHECK(none->stages() == 0);
    const auto empty = qlib::qmatrix<qlib::q4_0>::make(2, 0);
    const auto zero =
        qlib::plan_qgemm(qlib::matrix_view<float>{y, 1, 2}, qlib::matrix_view<const float>{x, 1, 0}, *empty);
    REQUIRE(zero.has_value());
    for (std::size_t stage = 0; stage < zero->stages(); ++stage)
        for (std::size_t task = 0; task < zero->tasks(stage); ++task) zero->run(stage, task, 0);
    CHECK(y[1] == 0);
    CHECK(qlib::plan_qgemm(qlib::matrix_view<float>{y, 1, 2}, qlib::matrix_view<const float>{x, 1, 32}, *q)
              .error()
              .code == qlib::errc::shape);
    CHECK(qlib::plan_qgemm(qlib::matrix_view<float>{y, 1, 2}, qlib::matrix_view<const float>{x, 1, 64}, *q, {}, 0)
              .error()
              .code == qlib::errc::argument);
}
