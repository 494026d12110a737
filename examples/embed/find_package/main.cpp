// An engine whose users name the format: `engine q6_k`. Formats are numbers here,
// and qlib's templates stay in formats.cpp.
#include <qlib/any.hpp>

#include <cstdio>
#include <random>
#include <vector>

namespace {

/// Weights of a layer, in whatever format.
struct layer {
    qlib::any_matrix weights;

    [[nodiscard]] qlib::status forward(qlib::matrix_view<const float> X, qlib::matrix_view<float> Y) const {
        return qlib::qgemm(Y, X, weights);
    }
};

int fail(const qlib::error& e) {
    char text[200];
    const auto sentence = e.format(text, "engine");
    std::fprintf(stderr, "%.*s\n", static_cast<int>(sentence.size()), sentence.data());
    return 1;
}

}  // namespace

int main(int count, char** arguments) {
    constexpr std::size_t outputs = 256, inputs = 512;
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> W(outputs * inputs), x(inputs, 1.0f), y(outputs);
    for (float& w : W) w = normal(generator);

    const auto format = qlib::format_named(count > 1 ? arguments[1] : "q4_k");
    if (!format) return fail(format.error());
    auto q = qlib::quantize(*format, {W.data(), outputs, inputs});
    if (!q) return fail(q.error());  // "engine: format: format number 2 was not instantiated" for `engine q4_0`

    const layer first{std::move(*q)};
    if (const auto done = first.forward({x.data(), 1, inputs}, {y.data(), 1, outputs}); !done)
        return fail(done.error());
    float sum = 0;
    for (std::size_t k = 0; k < inputs; ++k) sum += W[k];
    std::printf("%s: %zu bytes, the first output is %f instead of %f\n", qlib::format_name(*format).data(),
                first.weights.bytes().size(), static_cast<double>(y[0]), static_cast<double>(sum));
    return y[0] - sum < 0.2f && sum - y[0] < 0.2f ? 0 : 1;
}
