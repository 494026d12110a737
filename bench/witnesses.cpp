// What each kind of format reaches on a published layer problem: size, and the loss
// ||X (W - Q)^T||^2 / ||X W^T||^2 in dB.
#include "../tests/support/golden_problem.hpp"
#include "../tests/support/witnesses.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <qlib/dequantize.hpp>
#include <qlib/gptq.hpp>

namespace {

struct layer {
    std::vector<float> W;
    qlib::hessian h;
    qlib::hessian_factor factor;
    double signal = 0;

    [[nodiscard]] double loss(const std::vector<float>& d) const {
        std::vector<double> rows(512);
        std::vector<float> scratch(qlib::detail::quadratic_losses_scratch(512));
        qlib::detail::quadratic_losses(factor, {d.data(), 512, 512}, rows.data(), scratch.data());
        double sum = 0;
        for (const double v : rows) sum += v;
        return sum;
    }
};

template <class F> void row(const layer& p, const char* name, const char* kind) {
    const qlib::matrix_view<const float> w{p.W.data(), 512, 512};
    const auto rounded = [&](qlib::fit fit) {
        const auto q = *qlib::quantize<F>(w, {.fit = fit});
        std::vector<float> d(p.W.size());
        (void)qlib::dequantize(q, {d.data(), 512, 512});
        for (std::size_t i = 0; i < d.size(); ++i) d[i] = p.W[i] - d[i];
        return 10 * std::log10(p.loss(d) / p.signal);
    };
    const double plain = rounded(qlib::fit::plain), searched = rounded(qlib::fit::search);
    const auto start = std::chrono::steady_clock::now();
    const auto g = *qlib::gptq<F>(w, p.factor);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("| %-16s | %-44s | %6.3f | %7.2f | %7.2f | %7.2f | %5.2f |\n", name, kind,
                qlib::bits_per_weight<F>(512, 512), plain, searched, 10 * std::log10(g.report.loss / p.signal),
                seconds);
}

}  // namespace

int main() {
    auto problem = golden_problem::a();
    auto h = *qlib::hessian::make(512);
    if (!h.add({problem.X.data(), 2048, 512}).ok()) return 1;
    layer p{std::move(problem.W), *h.copy(), *qlib::factorize(*h.copy())};
    p.signal = p.loss(p.W);
    std::printf(
        "| format           | kind                                         | bits   | plain   | search  | GPTQ    | s  "
        "   |\n"
        "|------------------|----------------------------------------------|--------|---------|---------|---------|----"
        "---|\n");
    row<qlib::int4_g128_asym>(p, "int4_g128_asym", "integer zero point, f16 scale");
    row<witness::own>(p, "(yours)", "a 3-bit codebook, groups of 48, E4M3 scale");
    row<qlib::q4_0>(p, "q4_0", "ggml block, one f16 scale");
    row<qlib::q5_0>(p, "q5_0", "ggml block, a plane of fifth bits");
    row<qlib::q8_0>(p, "q8_0", "ggml block, int8");
    row<qlib::q4_k>(p, "q4_k", "ggml super-block, 6-bit scales and mins");
    row<qlib::q6_k>(p, "q6_k", "ggml super-block, signed 8-bit scales");
    row<witness::lattice>(p, "(lattice)", "8 weights per 16-bit code, a stand-in grid");
    row<qlib::nvfp4>(p, "nvfp4", "E2M1, E4M3 per 16, f32 per tensor");
    row<witness::int4_row>(p, "(int4 per row)", "one scale per row");
    row<qlib::fp8_e4m3_tile128>(p, "fp8_e4m3_tile128", "E4M3, f32 per 128 x 128");
    row<qlib::nf4_dq>(p, "nf4_dq", "quantiles, flat double quantization");
    row<qlib::ternary_g80>(p, "ternary_g80", "base 3, five weights to a byte");
}
