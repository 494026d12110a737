// A format of one's own, and GPTQ into it:
//
//     g++ -std=c++20 -O2 -I ../../../include main.cpp -o own_format && ./own_format
//
// Three bits with levels where weights are dense, a scale of 8 bits per 64 weights under one float of the tensor: 3.125
// bits. Two lines below say so. Encoding, decoding, every algorithm and the kernels come from them.
#include <qlib/dequantize.hpp>
#include <qlib/format/describe.hpp>
#include <qlib/gptq.hpp>
#include <qlib/qgemm.hpp>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

inline constexpr std::array<float, 8> normal_levels{-1.0f, -0.58f, -0.3f, -0.09f, 0.1f, 0.33f, 0.62f, 1.0f};
struct w3_g64
    : qlib::format<qlib::codebook_grid<normal_levels>, qlib::scale_per<64, qlib::e4m3>, qlib::inline_blocks<>> {};
static_assert(qlib::block_bytes<w3_g64> == 1 + 64 * 3 / 8);

namespace {

/// Inputs of a layer, whose channels are correlated as those of real layers are.
std::vector<float> activations(std::size_t tokens, std::size_t channels) {
    std::mt19937 generator(2);
    std::normal_distribution<float> normal;
    std::vector<float> X(tokens * channels);
    float walk = 0;
    for (float& x : X) x = walk = 0.9f * walk + normal(generator);
    return X;
}

/// ||X (W - Q)^T||^2 / ||X W^T||^2 in dB: what the rounding does to the layer's outputs.
double output_error(qlib::matrix_view<const float> X, qlib::matrix_view<const float> W,
                    const qlib::qmatrix<w3_g64>& q) {
    std::vector<float> exact(X.rows * W.rows), rounded(W.rows * W.cols);
    double signal = 0, noise = 0;
    if (!qlib::dequantize(q, {rounded.data(), W.rows, W.cols})) return 0;
    for (std::size_t t = 0; t < X.rows; ++t) {
        for (std::size_t r = 0; r < W.rows; ++r) {
            double y = 0, e = 0;
            for (std::size_t k = 0; k < W.cols; ++k) {
                y += static_cast<double>(X(t, k)) * static_cast<double>(W(r, k));
                e += static_cast<double>(X(t, k)) * static_cast<double>(W(r, k) - rounded[r * W.cols + k]);
            }
            signal += y * y;
            noise += e * e;
        }
    }
    return 10 * std::log10(noise / signal);
}

}  // namespace

int main() {
    constexpr std::size_t outputs = 64, inputs = 256, tokens = 1024;
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> weights(outputs * inputs);
    for (float& w : weights) w = normal(generator);
    const auto calibration = activations(tokens, inputs);
    const qlib::matrix_view<const float> W{weights.data(), outputs, inputs}, X{calibration.data(), tokens, inputs};

    // All that GPTQ wants to know of the inputs; add() as often as there are batches.
    auto hessian = qlib::hessian::make(inputs);
    if (!hessian || !hessian->add(X)) return 1;
    const auto rounded = qlib::quantize<w3_g64>(W);
    const auto tuned = qlib::gptq<w3_g64>(W, *hessian);
    if (!rounded || !tuned) return 1;

    const double before = output_error(X, W, *rounded), after = output_error(X, W, tuned->weights);
    std::printf("%.3f bits per weight: %.1f dB rounded, %.1f dB by GPTQ\n",
                qlib::bits_per_weight<w3_g64>(outputs, inputs), before, after);

    char text[2000];  // what a file needs to hold, so that others can read these weights
    const std::size_t length = qlib::to_json(qlib::describe<w3_g64>(), text, "w3_g64");
    std::printf("%.*s\n", static_cast<int>(length), text);
    return after < before - 3 ? 0 : 1;
}
