// Speed of qgemm: one thread, 4096 x 4096 weights, against the roof of its arithmetic measured between the runs.
//
// usage: qgemm [PART OF A FORMAT'S NAME]
#include "peak.hpp"

#include <qlib/fp8.hpp>
#include <qlib/integer.hpp>
#include <qlib/iq_quants.hpp>
#include <qlib/k_quants.hpp>
#include <qlib/legacy_quants.hpp>
#include <qlib/mx.hpp>
#include <qlib/nf4.hpp>
#include <qlib/qgemm.hpp>
#include <qlib/quantize.hpp>
#include <qlib/ternary.hpp>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t rows = 4096, k = 4096, most_n = 512;

std::vector<float> noise(std::size_t count, std::uint32_t seed) {
    std::vector<float> x(count);
    for (float& v : x) {
        seed = seed * 1664525u + 1013904223u;
        v = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-31f;
    }
    return x;
}

double median(std::vector<double> v) {
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
}

/// Runs one product several times and prints the median speed, and the median of its
/// fractions of the roof measured around each run.
template <class F>
bool measure(const char* name, const qlib::qmatrix<F>& q, const std::vector<float>& x, std::size_t n,
             qlib::gemm_options options) {
    std::vector<float> y(n * rows);
    std::vector<double> speed, fraction, roof;
    qlib::call_report report;
    bench::peaks before = bench::measure_peaks();
    for (int run = 0; run < (n < 100 ? 15 : 7); ++run) {
        const double start = bench::seconds();
        if (!qlib::qgemm({y.data(), n, rows}, {x.data(), n, k}, q, options, {.report = &report}).ok()) return false;
        const double time = bench::seconds() - start;
        const bench::peaks after = bench::measure_peaks();
        const bool integer = report.mode == std::string_view("integer");
        const double peak = integer ? (before.dot + after.dot) / 2 : (before.fma + after.fma) / 2;
        before = after;
        if (run == 0) continue;  // warms up
        speed.push_back(2.0 * static_cast<double>(n * rows * k) / time);
        roof.push_back(peak);
        fraction.push_back(peak > 0 ? speed.back() / peak : 0);
    }
    const double gf = median(speed) * 1e-9, bytes = static_cast<double>(q.bytes().size());
    std::printf("%-18s %-8s %-5s %5zu %9.1f %9.1f %8.1f %% %9.2f\n", name, report.mode, report.path, n, gf,
                median(roof) * 1e-9, 100 * median(fraction),
                gf / (2.0 * static_cast<double>(n)) / static_cast<double>(rows * k) * bytes);
    return true;
}

template <class F>
bool bench_format(const char* name, std::string_view wanted, const std::vector<float>& w, const std::vector<float>& x) {
    if (std::string_view(name).find(wanted) == std::string_view::npos) return true;
    const auto q = qlib::quantize<F>({w.data(), rows, k}, qlib::plain_fit{});
    if (!q) return false;
    bool ok = true;
    for (const std::size_t n : {1u, 4u, 16u, 512u}) ok = ok && measure(name, *q, x, n, {});
    if (qlib::detail::integer_levels_of<F>) ok = ok && measure(name, *q, x, most_n, {.mode = qlib::compute::exact});
    return ok;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view wanted = argc > 1 ? argv[1] : "";
    const std::vector<float> w = noise(rows * k, 1), x = noise(most_n * k, 2);
    std::printf("%zu x %zu weights, one thread, room %s\n", rows, k,
                qlib::resolve_room(qlib::isa::best) == qlib::isa::avx512 ? "avx512" : "portable");
    std::printf("%-18s %-8s %-5s %5s %9s %9s %10s %9s\n", "format", "mode", "path", "n", "GF/s", "roof", "of roof",
                "GB/s");
    using namespace qlib;
    const bool ok = bench_format<q4_0>("q4_0", wanted, w, x) && bench_format<q8_0>("q8_0", wanted, w, x) &&
                    bench_format<q2_k>("q2_k", wanted, w, x) && bench_format<q4_k>("q4_k", wanted, w, x) &&
                    bench_format<q6_k>("q6_k", wanted, w, x) && bench_format<iq4_nl>("iq4_nl", wanted, w, x) &&
                    bench_format<mxfp4>("mxfp4", wanted, w, x) && bench_format<int4_g128>("int4_g128", wanted, w, x) &&
                    bench_format<int4_g128_asym>("int4_g128_asym", wanted, w, x) &&
                    bench_format<int8_row>("int8_row", wanted, w, x) && bench_format<tq2_0>("tq2_0", wanted, w, x) &&
                    bench_format<nf4>("nf4", wanted, w, x) &&
                    bench_format<fp8_e4m3_tile128>("fp8_e4m3_tile128", wanted, w, x);
    if (!ok) std::fprintf(stderr, "a product failed\n");
    return ok ? 0 : 1;
}
