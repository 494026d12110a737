#pragma once
// A GGUF tensor's weights as floats, whatever float type the file holds.
#include <qlib/file/gguf.hpp>
#include <qlib/numeric/minifloat.hpp>

#include <cstring>
#include <vector>

/// Values of type T, little-endian at any address, as floats.
template <class T> void widen(std::span<const std::byte> from, float* to, qlib::executor_ref run) {
    constexpr std::size_t piece = 1 << 16;
    const std::size_t count = from.size() / sizeof(T);
    run.run((count + piece - 1) / piece, [&](std::size_t p, std::size_t) {
        for (std::size_t i = p * piece; i < count && i < (p + 1) * piece; ++i) {
            T value;
            std::memcpy(&value, from.data() + i * sizeof(T), sizeof(T));
            to[i] = static_cast<float>(value);
        }
    });
}

/// Fills `weights` with a tensor's rows() x cols() values. error: unsupported for a tensor that is no f32, f16 or bf16.
inline qlib::status load_weights(const qlib::gguf_tensor& tensor, qlib::executor_ref run, std::vector<float>& weights) {
    weights.resize(tensor.rows() * tensor.cols());
    switch (tensor.type) {
    case 0: widen<float>(tensor.data, weights.data(), run); return {};
    case 1: widen<qlib::f16>(tensor.data, weights.data(), run); return {};
    case 30: widen<qlib::bf16>(tensor.data, weights.data(), run); return {};
    default:
        return qlib::error{qlib::errc::unsupported, "its type has ggml's number {0}; only f32, f16 and bf16 can be quantized", "",
                           {tensor.type}};
    }
}
