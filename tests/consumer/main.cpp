// A program of somebody else: quantizes a matrix, multiplies by it, and compares with what the decoded weights give.
#include <qlib/qlib.hpp>

int main() {
    constexpr std::size_t rows = 8, cols = 64, tokens = 3;
    float weights[rows * cols], inputs[tokens * cols], decoded[rows * cols], outputs[tokens * rows];
    for (std::size_t i = 0; i < rows * cols; ++i) weights[i] = static_cast<float>(i * 37 % 101) / 101 - 0.5f;
    for (std::size_t i = 0; i < tokens * cols; ++i) inputs[i] = static_cast<float>(i * 53 % 97) / 97 - 0.5f;

    const auto q = qlib::quantize<qlib::q8_0>({weights, rows, cols});
    if (!q || !qlib::dequantize(*q, {decoded, rows, cols})) return 1;
    if (!qlib::qgemm({outputs, tokens, rows}, {inputs, tokens, cols}, *q, {.mode = qlib::compute::exact})) return 2;
    for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t r = 0; r < rows; ++r) {
            double sum = 0;
            for (std::size_t c = 0; c < cols; ++c)
                sum += static_cast<double>(inputs[t * cols + c]) * static_cast<double>(decoded[r * cols + c]);
            const double off = static_cast<double>(outputs[t * rows + r]) - sum;
            if (!(off < 1e-4 && off > -1e-4)) return 3;
        }
    }
    return 0;
}
