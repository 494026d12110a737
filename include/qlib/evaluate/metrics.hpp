#pragma once
// Metrics: how far a quantized model is from the original. Rows of logits in, doubles out; nothing is allocated.
#include "../core/result.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr double no_number = __builtin_bit_cast(double, std::uint64_t{0x7FF8} << 48);
inline constexpr double infinite = __builtin_bit_cast(double, std::uint64_t{0x7FF0} << 48);

[[nodiscard]] QLIB_INLINE constexpr bool is_minus_infinity(float x) noexcept {
    return __builtin_bit_cast(std::uint32_t, x) == 0xFF800000u;
}
/// Whether x is a NaN or +infinity. -infinity is a logit: that of a token that cannot follow.
[[nodiscard]] QLIB_INLINE constexpr bool is_no_logit(float x) noexcept {
    const auto u = __builtin_bit_cast(std::uint32_t, x);
    return (u & 0x7F800000u) == 0x7F800000u && u != 0xFF800000u;
}
[[nodiscard]] QLIB_INLINE constexpr bool is_nan(double x) noexcept {
    return (__builtin_bit_cast(std::uint64_t, x) & 0x7FFFFFFFFFFFFFFFu) > 0x7FF0000000000000u;
}

/// Place and value of the first largest logit. error: shape for an empty row;
/// non_finite where one is no logit, or none is finite.
struct best_logit {
    std::size_t at = 0;
    double value = 0;
};
inline result<best_logit> find_best(std::span<const float> logits, const char* operand) noexcept {
    if (logits.empty()) return error{errc::shape, "a row without logits", operand, {}};
    std::size_t best = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (is_no_logit(logits[i])) return error{errc::non_finite, "logit {0} is a NaN or +infinity", operand, {i}};
        if (logits[i] > logits[best]) best = i;
    }
    if (is_minus_infinity(logits[best])) return error{errc::non_finite, "all logits are -infinity", operand, {}};
    return best_logit{best, static_cast<double>(logits[best])};
}

/// Sum of exp(logit - best): from 1 to the number of logits.
inline double sum_of_exponentials(std::span<const float> logits, double best) noexcept {
    double sum = 0;
    for (const float x : logits) sum += is_minus_infinity(x) ? 0.0 : __builtin_exp(static_cast<double>(x) - best);
    return sum;
}

inline result<double> row_divergence(std::span<const float> p, std::span<const float> q) noexcept {
    if (p.size() != q.size()) return error{errc::shape, "{0} and {1} logits", "q", {p.size(), q.size()}};
    const auto best_p = find_best(p, "p"), best_q = find_best(q, "q");
    if (!best_p) return best_p.error();
    if (!best_q) return best_q.error();
    // cross = sum of exp(p - best) * (log-ratio before both rows are normalised)
    double sum_p = 0, sum_q = 0, cross = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
        const double a = static_cast<double>(p[i]) - best_p->value, b = static_cast<double>(q[i]) - best_q->value;
        const double weight = is_minus_infinity(p[i]) ? 0.0 : __builtin_exp(a);
        sum_p += weight;
        if (is_minus_infinity(q[i])) {
            if (weight > 0) return infinite;
            continue;
        }
        sum_q += __builtin_exp(b);
        if (weight > 0) cross += weight * (a - b);
    }
    const double kl = cross / sum_p - __builtin_log(sum_p) + __builtin_log(sum_q);
    return kl > 0 ? kl : 0.0;  // a rounding below zero is none of the divergence's
}

/// Puts the element that belongs at rank k there, smaller ones before it, larger ones behind it (Hoare's selection;
/// NaNs count as largest).
inline void select(std::span<double> values, std::size_t k) noexcept {
    const auto before = [](double a, double b) QLIB_INLINE_LAMBDA { return !is_nan(a) && (is_nan(b) || a < b); };
    for (std::size_t low = 0, high = values.size() - 1; low < high;) {
        const double pivot = values[low + (high - low) / 2];
        std::size_t i = low, j = high;
        for (;;) {
            while (before(values[i], pivot)) ++i;
            while (before(pivot, values[j])) --j;
            if (i > j) break;
            const double kept = values[i];
            values[i++] = values[j];
            values[j] = kept;
            if (j == 0) break;
            --j;
        }
        if (k <= j && j < high) high = j;
        else if (k >= i) low = i;
        else return;
    }
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// -log softmax(logits)[token], in nats.
///
/// logits  one per token of the vocabulary; -infinity for one that cannot follow
/// error   shape for a token beyond them; non_finite for a NaN, +infinity, or a row of nothing but -infinity
[[nodiscard]] inline result<double> negative_log_likelihood(std::span<const float> logits, std::size_t token) noexcept {
    if (token >= logits.size())
        return error{errc::shape, "token {0} of a vocabulary of {1}", "token", {token, logits.size()}};
    const auto best = detail::find_best(logits, "logits");
    if (!best) return best.error();
    if (detail::is_minus_infinity(logits[token])) return detail::infinite;
    return __builtin_log(detail::sum_of_exponentials(logits, best->value)) +
           (best->value - static_cast<double>(logits[token]));
}

/// KL(P || Q) = sum of P * log(P / Q) over P = softmax(p), Q = softmax(q), in nats; +infinity where Q
/// rules out what P does not. Zero for equal rows, to the bit; never below. error: as
/// negative_log_likelihood, and shape for rows of different lengths.
[[nodiscard]] inline result<double> kl_divergence(std::span<const float> p, std::span<const float> q) noexcept {
    return detail::row_divergence(p, q);
}

/// The token with the largest logit, the first of equal ones. error: as
/// negative_log_likelihood, and shape for an empty row.
[[nodiscard]] inline result<std::size_t> top1(std::span<const float> logits) noexcept {
    const auto best = detail::find_best(logits, "logits");
    if (!best) return best.error();
    return best->at;
}

/// The value below which a fraction of the values lies, interpolated linearly between
/// neighbours: 0 the least, 0.5 the median, 1 the largest. Reorders the values. NaNs count as
/// largest; a NaN for no values, or a fraction outside 0 to 1.
[[nodiscard]] inline double percentile(std::span<double> values, double fraction) noexcept {
    if (values.empty() || !(fraction >= 0 && fraction <= 1)) return detail::no_number;
    const double rank = fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(rank);
    detail::select(values, below);
    const double low = values[below], part = rank - static_cast<double>(below);
    if (!(part > 0)) return low;
    double next = values[below + 1];  // the least of those behind
    for (const double v : values.subspan(below + 1)) next = v < next || detail::is_nan(next) ? v : next;
    return low == next ? low : low + part * (next - low);
}

/// The standard error of a percentile of independent values, without a guess at their distribution: half
/// the way from the percentile of fraction - d to that of fraction + d,
/// d = sqrt(fraction * (1 - fraction) / n) being the binomial's. Reorders the values.
[[nodiscard]] inline double percentile_error(std::span<double> values, double fraction) noexcept {
    if (values.empty() || !(fraction >= 0 && fraction <= 1)) return detail::no_number;
    const double d = __builtin_sqrt(fraction * (1 - fraction) / static_cast<double>(values.size()));
    const double high = percentile(values, fraction + d < 1 ? fraction + d : 1.0);
    return (high - percentile(values, fraction - d > 0 ? fraction - d : 0.0)) / 2;
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Mean and its standard error of numbers that come one by one (Welford). After a
/// NaN or an infinity neither is a finite number.
class running_mean {
public:
    QLIB_INLINE constexpr void add(double x) noexcept {
        count_ += 1;
        const double step = x - mean_;
        mean_ += step / count_;
        squares_ += step * (x - mean_);
    }
    [[nodiscard]] QLIB_INLINE constexpr std::size_t count() const noexcept { return static_cast<std::size_t>(count_); }
    [[nodiscard]] QLIB_INLINE constexpr double mean() const noexcept { return mean_; }
    /// Of the mean of independent numbers: sqrt(variance / count). 0 for fewer than two.
    [[nodiscard]] QLIB_INLINE double standard_error() const noexcept {
        return count_ < 2 ? 0.0 : __builtin_sqrt(squares_ / (count_ - 1) / count_);
    }

private:
    double count_ = 0, mean_ = 0, squares_ = 0;
};

/// Signal-to-quantization-noise ratio: the energy of the original over that of what was lost.
class sqnr {
public:
    QLIB_INLINE constexpr sqnr() noexcept = default;
    /// From signal() and noise() of another.
    QLIB_INLINE constexpr sqnr(double signal, double noise) noexcept : signal_(signal), noise_(noise) {}
    /// A weight that counts `importance` times.
    QLIB_INLINE constexpr void add(float original, float decoded, float importance = 1) noexcept {
        const double x = static_cast<double>(original), lost = x - static_cast<double>(decoded),
                     i = static_cast<double>(importance);
        signal_ += i * x * x;
        noise_ += i * lost * lost;
    }
    QLIB_INLINE constexpr void add(const sqnr& other) noexcept {
        signal_ += other.signal_;
        noise_ += other.noise_;
    }
    [[nodiscard]] QLIB_INLINE constexpr double signal() const noexcept { return signal_; }
    [[nodiscard]] QLIB_INLINE constexpr double noise() const noexcept { return noise_; }
    /// In dB: +infinity when nothing was lost, -infinity when there was nothing but
    /// noise; a NaN in the numbers gives a NaN.
    [[nodiscard]] QLIB_INLINE double decibels() const noexcept {
        if (noise_ == 0) return detail::infinite;
        return signal_ == 0 ? -detail::infinite : 10 * __builtin_log10(signal_ / noise_);
    }

private:
    double signal_ = 0, noise_ = 0;
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
