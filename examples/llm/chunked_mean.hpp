#pragma once
// Means over the tokens of a text, with standard errors over its chunks. Tokens of one chunk share a story and a
// context, so their scores are not independent: counted as if they were, errors come out too small.
#include <qlib/evaluate/metrics.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <vector>

inline constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// Mean and its standard error of numbers that come chunk by chunk, as many in each.
class chunked_mean {
public:
    void add(double x) {
        all_.add(x);
        chunk_.add(x);
    }
    void end_chunk() {
        chunks_.add(chunk_.mean());
        chunk_ = {};
    }
    [[nodiscard]] std::size_t count() const { return all_.count(); }
    [[nodiscard]] double mean() const { return all_.mean(); }
    /// A NaN for a single chunk, which tells nothing of how much another would differ.
    [[nodiscard]] double standard_error() const { return chunks_.count() < 2 ? unknown : chunks_.standard_error(); }

private:
    qlib::running_mean all_, chunk_, chunks_;
};

/// A percentile, and its standard error.
struct percentile_estimate {
    double value = 0, error = 0;
};

/// Of values that lie one chunk behind the other, `chunks` of the same length. The error is Woodruff's: half the way
/// from the percentile at fraction - d to that at fraction + d, where d is the standard error, over chunks, of the
/// share of values that are no larger than the percentile.
inline percentile_estimate percentile_of_chunks(std::span<const double> values, std::size_t chunks, double fraction) {
    std::vector<double> sorted(values.begin(), values.end());
    percentile_estimate p{qlib::percentile(sorted, fraction), unknown};
    if (chunks < 2) return p;
    qlib::running_mean shares;
    const std::size_t length = values.size() / chunks;
    for (std::size_t c = 0; c < chunks; ++c) {
        qlib::running_mean share;
        for (const double v : values.subspan(c * length, length)) share.add(v <= p.value ? 1 : 0);
        shares.add(share.mean());
    }
    const double d = shares.standard_error();
    const double high = qlib::percentile(sorted, std::min(fraction + d, 1.0));
    p.error = (high - qlib::percentile(sorted, std::max(fraction - d, 0.0))) / 2;
    return p;
}

/// "+/- 0.0123", or "+/- unknown".
inline std::string plus_minus(double error, int digits) {
    if (std::isnan(error)) return "+/- unknown";
    char text[64];
    std::snprintf(text, sizeof text, "+/- %.*f", digits, error);
    return text;
}
