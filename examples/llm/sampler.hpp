#pragma once
// Picks the next token: the most likely one, or one at random among the likely.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

class sampler {
public:
    struct options {
        double temperature = 0.8;  ///< 0: always the most likely token
        std::size_t top_k = 40;    ///< how many tokens are considered; 0: all
        double top_p = 0.95;       ///< and of these the likeliest that together reach this probability
        std::uint64_t seed = 0;
    };
    explicit sampler(const options& o) : o_(o), state_(o.seed) {}

    [[nodiscard]] std::uint32_t operator()(std::span<const float> logits) {
        const auto likelier = [&](std::uint32_t a, std::uint32_t b) {
            return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
        };
        tokens_.resize(logits.size());
        std::iota(tokens_.begin(), tokens_.end(), 0u);
        if (o_.temperature <= 0) return *std::min_element(tokens_.begin(), tokens_.end(), likelier);
        const std::size_t k = o_.top_k != 0 ? std::min(o_.top_k, tokens_.size()) : tokens_.size();
        std::partial_sort(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(k), tokens_.end(), likelier);
        tokens_.resize(k);
        return tokens_[pick(logits)];
    }

private:
    /// An index into tokens_, which are sorted.
    std::size_t pick(std::span<const float> logits) {
        weights_.clear();
        double all = 0;
        for (const std::uint32_t t : tokens_)
            all += weights_.emplace_back(
                std::exp((static_cast<double>(logits[t]) - static_cast<double>(logits[tokens_[0]])) / o_.temperature));
        std::size_t count = 0;
        double kept = 0;
        while (count < weights_.size() && (count == 0 || kept < o_.top_p * all)) kept += weights_[count++];
        double left = uniform() * kept;
        for (std::size_t i = 0; i + 1 < count; ++i)
            if ((left -= weights_[i]) < 0) return i;
        return count - 1;
    }
    /// From 0 to 1; splitmix64.
    double uniform() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
    }

    options o_;
    std::uint64_t state_;
    std::vector<std::uint32_t> tokens_;
    std::vector<double> weights_;
};
