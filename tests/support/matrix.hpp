#pragma once
// Matrices for tests: random, reproducible, with a few far values as trained weights have them.
#include <qlib/core/matrix_view.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sample {

/// splitmix64.
struct random {
    std::uint64_t state;
    std::uint64_t next() {
        std::uint64_t z = state += 0x9E3779B97F4A7C15ull;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ z >> 27) * 0x94D049BB133111EBull;
        return z ^ z >> 31;
    }
    /// 0 <= u < 1.
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }
    /// About normal, deviation 1.
    double normal() {
        double sum = -6;
        for (int i = 0; i < 12; ++i) sum += uniform();
        return sum;
    }
};

inline std::vector<float> weights(std::size_t n, std::uint64_t seed, double deviation = 0.05) {
    random r{seed};
    std::vector<float> x(n);
    for (float& v : x) v = static_cast<float>(deviation * r.normal() * (r.below(50) == 0 ? 4.0 : 1.0));
    return x;
}
inline std::vector<float> importance(std::size_t n, std::uint64_t seed) {
    random r{seed};
    std::vector<float> w(n);
    for (float& v : w) v = static_cast<float>(std::exp(r.normal()));
    return w;
}

/// Signal to noise in dB.
inline double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
    double signal = 0, noise = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        signal += double{x[i]} * double{x[i]};
        noise += (double{x[i]} - double{y[i]}) * (double{x[i]} - double{y[i]});
    }
    return 10 * std::log10(signal / noise);
}

}  // namespace sample
