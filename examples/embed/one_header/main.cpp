// qlib as one header. Copy single_include/qlib.hpp beside this file, then:
//
//     g++ -std=c++20 -O2 main.cpp -o layer && ./layer
//
// A layer of a network: its weights go from floats to Q4_K, ggml's 4.5 bits, and are multiplied as they are.
#include "qlib.hpp"

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

namespace {

std::vector<float> random_numbers(std::size_t n, float deviation) {
    static std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> x(n);
    for (float& v : x) v = normal(generator);
    return x;
}

int fail(const qlib::error& e) {
    char text[200];
    const auto sentence = e.format(text, "layer 0");  // "layer 0: W: rows of 100 weights are not whole blocks of 256"
    std::fprintf(stderr, "%.*s\n", static_cast<int>(sentence.size()), sentence.data());
    return 1;
}

}  // namespace

int main() {
    constexpr std::size_t outputs = 512, inputs = 1024, tokens = 8;
    const auto W = random_numbers(outputs * inputs, 0.02f);  // (outputs, inputs) row-major
    const auto X = random_numbers(tokens * inputs, 1.0f);    // (tokens, inputs)
    std::vector<float> Y(tokens * outputs);                  // (tokens, outputs)

    const auto q = qlib::quantize<qlib::q4_k>({W.data(), outputs, inputs});
    if (!q) return fail(q.error());

    qlib::call_report report;
    // Y = X W^T
    const auto done = qlib::qgemm({Y.data(), tokens, outputs}, {X.data(), tokens, inputs}, *q, {}, {.report = &report});
    if (!done) return fail(done.error());

    double signal = 0, noise = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t r = 0; r < outputs; ++r) {
            double y = 0;
            for (std::size_t k = 0; k < inputs; ++k)
                y += static_cast<double>(X[t * inputs + k]) * static_cast<double>(W[r * inputs + k]);
            signal += y * y;
            noise += std::pow(y - static_cast<double>(Y[t * outputs + r]), 2);
        }
    }
    const double db = 10 * std::log10(signal / noise);
    std::printf("%zu bytes instead of %zu, computed with %ss: %.1f dB\n", q->bytes().size(), W.size() * sizeof(float),
                report.mode, db);
    return db > 20 ? 0 : 1;
}
