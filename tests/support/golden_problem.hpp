#pragma once
// Two small layers, weights and activations, that published quantizers were run on. Made
// from a recipe of integers, + and * on doubles and one rounding to float, so that the bits
// are the same everywhere; crc_w and crc_x say so.
#include <qlib/core/abi.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

/// y = X W^T with heavy-tailed W (kurtosis 6.5) and X whose channels are correlated (0.875 between neighbours), 1 % of
/// them 20 times larger.
struct golden_problem {
    std::size_t rows, cols, tokens;
    std::uint64_t seed_w, seed_profile, seed_x;
    std::uint32_t crc_w, crc_x;  ///< CRC-32 of the little-endian floats
    std::vector<float> W{};      ///< (rows, cols)
    std::vector<float> X{};      ///< (tokens, cols)

    static golden_problem a() {
        return golden_problem{512, 512, 2048, 1001, 1002, 1003, 0xb4a2fe0a, 0x0e77d7a2}.made();
    }
    static golden_problem b() {
        return golden_problem{1024, 256, 2048, 2001, 2002, 2003, 0xef557da6, 0x7426e01a}.made();
    }

private:
    golden_problem made();
};

/// CRC-32 (IEEE 802.3) of some floats' bytes.
inline std::uint32_t crc32(const std::vector<float>& v) {
    std::array<std::uint32_t, 256> table;
    for (std::uint32_t i = 0; i < 256; ++i) {
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1u) * 0xEDB88320u;
    }
    std::uint32_t crc = ~0u;
    const auto* bytes = reinterpret_cast<const unsigned char*>(v.data());
    for (std::size_t i = 0; i < v.size() * sizeof(float); ++i) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255u];
    return ~crc;
}

QLIB_EXACT_BEGIN
namespace golden_recipe {

/// a * b rounded once: no compiler may fuse it into an addition.
inline double times(double a, double b) {
    double p = a * b;
    asm("" : "+m"(p));
    return p;
}

/// splitmix64, taken in halves, the high one first.
class random {
public:
    explicit random(std::uint64_t seed) : state_(seed) {}
    std::uint32_t word() {
        half_ = !half_;
        if (!half_) return static_cast<std::uint32_t>(last_);
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        last_ = z ^ (z >> 31);
        return static_cast<std::uint32_t>(last_ >> 32);
    }
    double uniform() { return word() * 0x1p-32; }
    double normal() {  // Irwin-Hall: twelve uniform numbers less their mean
        std::int64_t sum = 6 - 12 * (std::int64_t{1} << 31);
        for (int i = 0; i < 12; ++i) sum += word();
        return static_cast<double>(sum) * 0x1p-32;
    }

private:
    std::uint64_t state_, last_ = 0;
    bool half_ = false;
};

/// The size of each channel's activations.
inline std::vector<double> channel_profile(std::uint64_t seed, std::size_t cols) {
    random r(seed);
    std::vector<double> scale(cols);
    for (auto& s : scale) s = times(1.75, r.uniform());
    for (auto& s : scale) s = 0.25 + times(s, r.uniform());
    std::vector<bool> outlier(cols);
    for (std::size_t left = (cols + 50) / 100; left > 0;) {
        const std::size_t i = r.word() % cols;
        if (outlier[i]) continue;
        outlier[i] = true;
        scale[i] *= 20.0;
        --left;
    }
    return scale;
}

inline std::vector<float> weights(std::uint64_t seed, std::size_t rows, std::size_t cols) {
    random r(seed);
    std::vector<double> row_scale(rows), normal(rows * cols);
    for (auto& s : row_scale) s = 0.5 + times(1.5, r.uniform());
    for (auto& g : normal) g = r.normal();
    std::vector<float> W(rows * cols);
    for (std::size_t i = 0; i < W.size(); ++i) {
        const std::uint32_t tail = r.word();
        const double m = tail < 1u << 23 ? 4.0 : tail < 1u << 28 ? 2.0 : 1.0;
        W[i] = static_cast<float>(times(0.03125 * row_scale[i / cols] * m, normal[i]));
    }
    return W;
}

inline std::vector<float> activations(std::uint64_t seed, const std::vector<double>& scale, std::size_t tokens) {
    random r(seed);
    std::vector<float> X(tokens * scale.size());
    double a = 0;
    for (std::size_t i = 0; i < X.size(); ++i) {
        const std::size_t j = i % scale.size();
        const double e = r.normal();
        a = j == 0 ? e : times(0.875, a) + times(0.484122918275927110647, e);
        X[i] = static_cast<float>(times(a, scale[j]));
    }
    return X;
}

}  // namespace golden_recipe
QLIB_EXACT_END

inline golden_problem golden_problem::made() {
    W = golden_recipe::weights(seed_w, rows, cols);
    X = golden_recipe::activations(seed_x, golden_recipe::channel_profile(seed_profile, cols), tokens);
    return *this;
}
