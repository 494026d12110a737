#pragma once
// The input of ggml's known answers, made from integers alone, and the hash that they are given in.
#include <qlib/core/matrix_view.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace golden {

constexpr std::uint32_t mix(std::uint32_t h) {
    h *= 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    h *= 3266489917u;
    return h ^ h >> 16;
}

inline std::uint64_t fnv1a(std::span<const std::byte> bytes) {
    std::uint64_t h = 1469598103934665603ull;
    for (const std::byte b : bytes) h = (h ^ std::to_integer<std::uint64_t>(b)) * 1099511628211ull;
    return h;
}

/// Weight i of the rows without special values.
constexpr float weight(std::uint32_t i) {
    const float t = static_cast<float>(static_cast<std::int32_t>(mix(i))) * 0x1p-31f;
    return ((t * t) * t) * 0.125f;
}

/// 8 x 1024 weights; row 0 holds zeros, constants and tiny values.
inline std::vector<float> weights() {
    std::vector<float> x(8 * 1024);
    for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = weight(i);
    for (std::size_t i = 0; i < 1024; ++i)
        x[i] = i < 256 ? 0.0f : i < 512 ? 0.25f : i < 768 ? -0.25f : i % 2 != 0 ? 0x1p-100f : -0x1p-100f;
    return x;
}
inline std::vector<float> importance() {
    std::vector<float> w(1024);
    for (std::uint32_t c = 0; c < 1024; ++c) w[c] = static_cast<float>((mix(0x10000u + c) >> 8) + 1) * 0x1p-24f;
    return w;
}
inline qlib::matrix_view<const float> view(const std::vector<float>& x) { return {x.data(), x.size() / 1024, 1024}; }

}  // namespace golden
