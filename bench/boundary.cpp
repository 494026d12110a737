// What crossing a boundary costs, at a size where it shows: n = 1 on 256 x 256 weights, one thread. The template,
// the function behind a format number, a plan that runs again and again, a group of three against three calls, each
// with the caller's scratch and with an allocation.
#include <qlib/instantiate.hpp>
QLIB_INSTANTIATE(q4_k, q8_0, nf4)

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <vector>

namespace {

constexpr std::size_t rows = 256, k = 256;

double median(std::vector<double> v) {
    const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
    std::nth_element(v.begin(), middle, v.end());
    return *middle;
}

/// Nanoseconds of one call of each, taken in turns, 301 batches of 20.
template <class... Work> auto nanoseconds(const Work&... work) {
    std::array<std::vector<double>, sizeof...(Work)> times;
    const auto time = [](const auto& w) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < 20; ++i) w();
        return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / 20;
    };
    for (int batch = 0; batch < 301; ++batch) {
        std::size_t i = 0;
        (times[i++].push_back(time(work)), ...);
    }
    return times;
}
/// The median of what one takes more than another in the same turn.
double more(const std::vector<double>& one, const std::vector<double>& other) {
    std::vector<double> d;
    for (std::size_t i = 0; i < one.size(); ++i) d.push_back(one[i] - other[i]);
    return median(d);
}

template <class F> bool compare(const char* name, qlib::format_id id) {
    std::vector<float> w(rows * k), x(k), y(3 * rows);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * 2654435761u % 1000) * 0.002f - 1;
    for (std::size_t i = 0; i < k; ++i) x[i] = w[7 * i];
    const auto q = qlib::quantize<F>({w.data(), rows, k}, qlib::plain_fit{});
    if (!q) return false;
    const qlib::matrix_view<const float> X{x.data(), 1, k};
    const qlib::matrix_view<float> Y{y.data(), 1, rows};
    const qlib::any_view any{id, q->bytes(), rows, k, {}};
    const qlib::gemm_job jobs[] = {
        {Y, X, *q}, {{y.data() + rows, 1, rows}, X, *q}, {{y.data() + 2 * rows, 1, rows}, X, *q}};
    std::vector<std::byte> memory(qlib::qgemm_grouped_scratch_bytes(jobs));
    const qlib::call with_scratch{.scratch = memory};
    auto plan = qlib::plan_qgemm(Y, X, *q);
    if (!plan) return false;

    bool ok = true;
    const auto run = [&](std::size_t j, const qlib::call& how) {
        ok &= qlib::qgemm({y.data() + j * rows, 1, rows}, X, *q, {}, how).ok();
    };
    const auto [called, allocating, by_number, planning, planned, three, grouped] =
        nanoseconds([&] { run(0, with_scratch); }, [&] { run(0, {}); },
                    [&] { ok &= qlib::qgemm(Y, X, any, {}, with_scratch).ok(); },
                    [&] { ok &= qlib::plan_qgemm(Y, X, *q, {}, 1, with_scratch).has_value(); },
                    [&] {
                        for (std::size_t stage = 0; stage < plan->stages(); ++stage)
                            for (std::size_t task = 0; task < plan->tasks(stage); ++task) plan->run(stage, task, 0);
                    },
                    [&] {
                        for (std::size_t j = 0; j < 3; ++j) run(j, with_scratch);
                    },
                    [&] { ok &= qlib::qgemm_grouped(jobs, {}, with_scratch).ok(); });
    std::printf("| %-6s | %7.0f | %+6.0f | %+6.0f | %+6.0f | %6.0f | %+6.0f |\n", name, median(called),
                more(allocating, called), more(by_number, called), more(planned, called), median(planning),
                more(grouped, three));
    return ok;
}

}  // namespace

int main() {
    std::printf("qgemm, n = 1, %zu x %zu weights, one thread: nanoseconds\n\n", rows, k);
    std::printf(
        "| format | qgemm<F>, scratch given | allocating | any_view | planned | to plan | three grouped, against three "
        "calls |\n");
    std::printf(
        "|--------|-------------------------|------------|----------|---------|---------|------------------------------"
        "------|\n");
    return compare<qlib::q4_k>("Q4_K", qlib::format_id::q4_k) && compare<qlib::q8_0>("Q8_0", qlib::format_id::q8_0) &&
                   compare<qlib::nf4>("NF4", qlib::format_id::nf4)
               ? 0
               : 1;
}
