#pragma once
// A tensor's weights as floats, whatever float type the file holds.
#include "ggml_formats.hpp"

#include <qlib/core/call.hpp>
#include <qlib/numeric/minifloat.hpp>

#include <cstring>
#include <span>

/// Bytes of one weight of a float type.
inline std::size_t float_bytes(ggml type) { return type == ggml::f32 ? 4 : 2; }

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

/// The same for a type known at run time, one of is_float().
inline void widen(ggml type, std::span<const std::byte> from, float* to, qlib::executor_ref run) {
    switch (type) {
    case ggml::f16: return widen<qlib::f16>(from, to, run);
    case ggml::bf16: return widen<qlib::bf16>(from, to, run);
    default: return widen<float>(from, to, run);
    }
}
