#pragma once
// The searches of ggml's own encoders, to the bit: the order of every sum and product is part of the format's bytes.
// Source: ggml-quants.c, functions make_qx_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants.
#include "../format/concept.hpp"
#include "../numeric/minifloat.hpp"

#include <array>

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr float ggml_group_max_eps = 1e-15f;

/// The value of largest magnitude, the first of equals.
constexpr float extreme_of(const float* x, std::size_t n) noexcept {
    float largest = 0, extreme = 0;
    for (std::size_t i = 0; i < n; ++i)
        if (magnitude(x[i]) > largest) { largest = magnitude(x[i]); extreme = x[i]; }
    return extreme;
}

/// ggml's nearest_int: halves to even up to 2^22, beyond it what the sum's lower bits say: -2^22 for an infinity, 0 for a NaN. Scales
/// of subnormal weights have such inverses.
constexpr int nearest_int(float x) noexcept {
    return static_cast<int>(bits_of(x + 12582912.0f) & 0x007FFFFFu) - 0x00400000;  // 12582912 = 1.5 * 2^23
}

constexpr int clamp_int(int v, int low, int high) noexcept { return v < low ? low : v > high ? high : v; }

/// make_qx_quants, rmse type 1: a scale for levels -nmax .. nmax-1, weights w or, without, x^2. Writes levels + nmax.
constexpr float ggml_signed_search(std::size_t n, int nmax, const float* x, const float* w, std::uint8_t* codes) noexcept {
    const float extreme = extreme_of(x, n), steps = static_cast<float>(nmax);
    if (magnitude(extreme) < ggml_group_max_eps) {
        for (std::size_t i = 0; i < n; ++i) codes[i] = 0;
        return 0;
    }
    float scale = 0, best = 0;
    for (int k = 0; k <= 18; ++k) {  // the plain scale first, then -9 .. 9 tenths of a level around it
        const int is = k == 0 ? 0 : k <= 9 ? k - 10 : k - 9;
        const float inverse = k == 0 ? -steps / extreme : -(steps + product(0.1f, static_cast<float>(is))) / extreme;
        float lx = 0, ll = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const auto l = static_cast<float>(clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax - 1));
            const float weight = w != nullptr ? w[i] : product(x[i], x[i]);
            lx += product(product(weight, x[i]), l);
            ll += product(product(weight, l), l);
        }
        if (k == 0 ? false : !(ll > 0 && product(lx, lx) > product(best, ll))) continue;
        for (std::size_t i = 0; i < n; ++i)
            codes[i] = static_cast<std::uint8_t>(clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax - 1) + nmax);
        scale = ll != 0 ? lx / ll : 0;
        best = product(scale, lx);
    }
    return scale;
}

/// make_q3_quants: a scale for levels -nmax .. nmax-1 under weights x^2, codes improved one by one. Writes levels + nmax.
template <std::size_t N> constexpr float ggml_descent_search(int nmax, const float* x, std::uint8_t* codes) noexcept {
    const float extreme = extreme_of(x, N);
    for (std::size_t i = 0; i < N; ++i) codes[i] = 0;
    if (magnitude(extreme) < ggml_group_max_eps) return 0;
    const float inverse = -static_cast<float>(nmax) / extreme;
    std::array<int, N> l{};
    float lx = 0, ll = 0;
    for (std::size_t i = 0; i < N; ++i) {
        l[i] = clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax - 1);
        const float w = product(x[i], x[i]), level = static_cast<float>(l[i]);
        lx += product(product(w, x[i]), level);
        ll += product(product(w, level), level);
    }
    for (int pass = 0; pass < 5; ++pass) {
        bool changed = false;
        for (std::size_t i = 0; i < N; ++i) {
            const float w = product(x[i], x[i]), level = static_cast<float>(l[i]);
            float rest_lx = lx - product(product(w, x[i]), level);
            if (!(rest_lx > 0)) continue;
            float rest_ll = ll - product(product(w, level), level);
            const int tried = clamp_int(nearest_int(product(x[i], rest_ll) / rest_lx), -nmax, nmax - 1);
            if (tried == l[i]) continue;
            const auto t = static_cast<float>(tried);
            rest_lx += product(product(w, x[i]), t);
            rest_ll += product(product(w, t), t);
            if (!(rest_ll > 0 && product(product(rest_lx, rest_lx), ll) > product(product(lx, lx), rest_ll))) continue;
            l[i] = tried;
            lx = rest_lx;
            ll = rest_ll;
            changed = true;
        }
        if (!changed) break;
    }
    for (std::size_t i = 0; i < N; ++i) codes[i] = static_cast<std::uint8_t>(l[i] + nmax);
    return ll > 0 ? lx / ll : 0;
}

struct scale_and_min { float scale = 0, min = 0; };  // value = scale * l - min

/// Where make_qkx2_quants and make_qkx3_quants start and how far they step.
struct ggml_min_steps {
    float first, delta;
    int count;
    bool absolute_error = false;
};

/// make_qkx2_quants / make_qkx3_quants: scale and min for levels 0 .. nmax under weights w.
template <std::size_t N>
constexpr scale_and_min ggml_min_search(int nmax, const float* x, const float* w, std::uint8_t* codes, ggml_min_steps steps) noexcept {
    float low = x[0], high = x[0], sum_w = w[0], sum_x = product(sum_w, x[0]);
    for (std::size_t i = 1; i < N; ++i) {
        low = smaller(low, x[i]);
        high = larger(high, x[i]);
        sum_w += w[i];
        sum_x += product(w[i], x[i]);
    }
    if (low > 0) low = 0;
    if (high <= low) {  // make_qkx2 asks for equality, which is the same as long as low <= 0 <= high or low <= high
        for (std::size_t i = 0; i < N; ++i) codes[i] = 0;
        return {0, -low};
    }
    const auto levels = [&](float inverse, std::uint8_t* out) {
        for (std::size_t i = 0; i < N; ++i)
            out[i] = static_cast<std::uint8_t>(clamp_int(nearest_int(product(inverse, x[i] - low)), 0, nmax));
    };
    const auto error_of = [&](float scale, float min, const std::uint8_t* l) {
        float sum = 0;
        for (std::size_t i = 0; i < N; ++i) {
            const float e = product(scale, static_cast<float>(l[i])) + min - x[i];
            sum += product(w[i], steps.absolute_error ? magnitude(e) : product(e, e));
        }
        return sum;
    };
    const auto top = static_cast<float>(nmax);
    float scale = 1 / (top / (high - low));
    levels(top / (high - low), codes);
    float best = error_of(scale, low, codes);
    for (int is = 0; is <= steps.count; ++is) {
        std::array<std::uint8_t, N> trial{};
        levels((steps.first + product(steps.delta, static_cast<float>(is)) + top) / (high - low), trial.data());
        float l1 = 0, l2 = 0, xl = 0;
        for (std::size_t i = 0; i < N; ++i) {
            const auto l = static_cast<float>(trial[i]);
            l1 += product(w[i], l);
            l2 += product(product(w[i], l), l);
            xl += product(product(w[i], l), x[i]);
        }
        const float det = product(sum_w, l2) - product(l1, l1);
        if (!(det > 0)) continue;
        float s = (product(sum_w, xl) - product(sum_x, l1)) / det, m = (product(l2, sum_x) - product(l1, xl)) / det;
        if (m > 0) { m = 0; s = xl / l2; }
        const float e = error_of(s, m, trial.data());
        if (!(e < best)) continue;
        for (std::size_t i = 0; i < N; ++i) codes[i] = trial[i];
        best = e;
        scale = s;
        low = m;  // later steps start from the updated minimum, as the original does
    }
    return {scale, -low};
}

/// make_qp_quants: a scale for non-negative values on levels 0 .. nmax under weights w.
template <std::size_t N> constexpr float ggml_positive_search(int nmax, const float* x, const float* w, std::uint8_t* codes) noexcept {
    float high = 0;
    for (std::size_t i = 0; i < N; ++i) high = larger(high, x[i]);
    if (high < ggml_group_max_eps) {
        for (std::size_t i = 0; i < N; ++i) codes[i] = 0;
        return 0;
    }
    const auto error_of = [&](float inverse, bool limit) {
        const float scale = 1 / inverse;
        float sum = 0;
        for (std::size_t i = 0; i < N; ++i) {
            int l = nearest_int(product(inverse, x[i]));
            if (limit && l > nmax) l = nmax;
            const float e = x[i] - product(scale, static_cast<float>(l));
            sum += product(product(w[i], e), e);
        }
        return sum;
    };
    float inverse = static_cast<float>(nmax) / high, best = error_of(inverse, false);
    for (int is = -4; is <= 4; ++is) {
        if (is == 0) continue;
        const float tried = (product(0.1f, static_cast<float>(is)) + static_cast<float>(nmax)) / high, e = error_of(tried, true);
        if (e < best) { best = e; inverse = tried; }
    }
    float lx = 0, ll = 0;
    for (std::size_t i = 0; i < N; ++i) {
        const int l = clamp_int(nearest_int(product(inverse, x[i])), -nmax, nmax);
        codes[i] = static_cast<std::uint8_t>(l);
        lx += product(product(w[i], x[i]), static_cast<float>(l));
        ll += product(product(w[i], static_cast<float>(l)), static_cast<float>(l));
    }
    for (int pass = 0; pass < 5; ++pass) {
        bool changed = false;
        for (std::size_t i = 0; i < N; ++i) {
            const auto l = static_cast<float>(codes[i]);
            float rest_lx = lx - product(product(w[i], x[i]), l), rest_ll = ll - product(product(w[i], l), l);
            if (!(rest_lx > 0 && rest_ll > 0)) continue;
            const int tried = clamp_int(nearest_int(product(x[i], rest_ll) / rest_lx), 0, nmax);
            if (tried == codes[i]) continue;
            const auto t = static_cast<float>(tried);
            rest_lx += product(product(w[i], x[i]), t);
            rest_ll += product(product(w[i], t), t);
            if (!(product(product(rest_lx, rest_lx), ll) > product(product(lx, lx), rest_ll))) continue;
            codes[i] = static_cast<std::uint8_t>(tried);
            lx = rest_lx;
            ll = rest_ll;
            changed = true;
        }
        if (!changed) break;
    }
    return ll > 0 ? lx / ll : 0;
}

/// Importance of one weight as ggml's block types count it: qw * sqrt(sigma^2 + x^2).
constexpr float ggml_weight(float importance, float sigma2, float x) noexcept { return product(importance, square_root(sigma2 + product(x, x))); }

/// trunc(x), as the cast to int8 does for what the encoders feed it; total for the rest.
constexpr bool truncates(float x) noexcept { return x > -32768.0f && x < 32767.0f; }
constexpr int truncate(float x) noexcept { return truncates(x) ? static_cast<int>(x) : 0; }
/// roundf: halves away from zero; 0 for what truncate cannot do.
constexpr int round_away(float x) noexcept {
    if (!truncates(x)) return 0;
    const int t = truncate(x);
    const float rest = x - static_cast<float>(t);
    return rest >= 0.5f ? t + 1 : rest <= -0.5f ? t - 1 : t;
}

/// quantize_row_tq1_0_ref, tq2_0_ref and q2_0_ref: levels -1, 0, 1 under the block's abs-max, halves away from zero. `beyond`: the code
/// where the inverse of a subnormal abs-max is infinite.
template <class F> constexpr encoded<F> ggml_ternary_block(const site<F>& s, std::uint8_t beyond) noexcept {
    encoded<F> e;
    const float d = magnitude(extreme_of(s.x.data(), s.x.size())), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);
    for (std::size_t i = 0; i < s.x.size(); ++i)
        e.code[i] = is_finite(inverse) ? static_cast<std::uint8_t>(round_away(product(s.x[i], inverse)) + 1) : beyond;
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
