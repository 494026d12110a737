#pragma once
// RoPE: how far each pair of a head's values turns from one token to the next, and
// what files do to that for longer contexts.
#include <cmath>
#include <numbers>
#include <optional>
#include <span>
#include <vector>

/// Llama 3's scaling: slow pairs are slowed down by the factor, fast ones are not, those between in part.
struct llama3_scaling {
    double factor, low_freq_factor, high_freq_factor;
    double original_context;  ///< tokens; a pair is slow that turns less than low_freq_factor times over them
};

struct rope_scaling {
    double linear = 1;  ///< positions are divided by it
    std::optional<llama3_scaling> llama3;
};

/// A frequency, in radians per token, as Llama 3 has it.
/// source: transformers, modeling_rope_utils.py, _compute_llama3_parameters
inline double scaled(double frequency, const llama3_scaling& s) {
    const double turns = s.original_context * frequency / (2 * std::numbers::pi);
    if (turns < s.low_freq_factor) return frequency / s.factor;
    if (turns > s.high_freq_factor) return frequency;
    const double smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

/// Radians per token of each pair.
///
/// rotated  values of a head that are turned
/// divisors one for each pair, as GGUF files have them for Llama 3; empty: none
inline std::vector<double> rope_frequencies(std::size_t rotated, double base, const rope_scaling& scaling,
                                            std::span<const float> divisors) {
    std::vector<double> frequencies;
    for (std::size_t i = 0; i < rotated / 2; ++i) {
        double f = std::pow(base, -static_cast<double>(2 * i) / static_cast<double>(rotated));
        if (scaling.llama3) f = scaled(f, *scaling.llama3);
        if (!divisors.empty()) f /= static_cast<double>(divisors[i]);
        frequencies.push_back(f / scaling.linear);
    }
    return frequencies;
}
