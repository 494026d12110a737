#pragma once
// ggml's own encoders of its lattice formats, to the bit: the order of every sum and product is part
// of the bytes. They search scales on an equally spaced stand-in of the lattice (1, 3, 5 for its 8,
// 25, 43) and then correct all scales by a factor.
// Source: ggml-quants.c, quantize_row_iq*_impl, iq2_find_best_neighbour, iq3_find_best_neighbour,
// iq1_find_best_neighbour2, make_qp_quants.
#include "../format/lattice.hpp"
#include "ggml_search.hpp"

#include <bit>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A set of halves of numbers, as bits.
template <class L> struct half_set {
    std::array<std::uint64_t, (half_size<L> + 63) / 64> words{};

    constexpr void add(std::size_t half) noexcept { words[half / 64] |= std::uint64_t{1} << half % 64; }
    /// use(half) of all that `other` holds too.
    template <class Use> QLIB_INLINE void each_of(const half_set& other, const Use& use) const noexcept {
        for (std::size_t i = 0; i < words.size(); ++i)
            for (std::uint64_t left = words[i] & other.words[i]; left != 0; left &= left - 1)
                use(64 * i + static_cast<std::size_t>(std::countr_zero(left)));
    }
};
/// The low halves that make points of a high half.
template <class L>
inline constexpr auto low_halves = [] {
    std::array<half_set<L>, half_size<L>> sets{};
    for (std::size_t n = 0; n < half_size<L> * half_size<L>; ++n)
        if (lattice_index<L>[n] != no_point) sets[n / half_size<L>].add(n % half_size<L>);
    return sets;
}();

/// Halves of a number by their squared distance from given digits.
template <class L> struct ggml_half_distances {
    static constexpr std::size_t most = L::dims / 2 * (L::base - 1) * (L::base - 1);
    half_set<L> at[most + 1] = {};

    explicit ggml_half_distances(const std::uint8_t* digits) noexcept {
        std::uint8_t distance[half_size<L>];
        distance[0] = 0;
        for (std::size_t i = 0, n = 1; i < L::dims / 2; ++i, n *= L::base)
            for (std::size_t d = L::base; d-- > 0;)
                for (std::size_t k = 0; k < n; ++k) {
                    const int off = static_cast<int>(d) - digits[i];
                    distance[d * n + k] = static_cast<std::uint8_t>(distance[k] + off * off);
                }
        for (std::size_t k = 0; k < half_size<L>; ++k) at[distance[k]].add(k);
    }
};

/// The points that ggml's list for digits that are no point holds: all those at the `shells` smallest distances that
/// occur. Kept from call to call, as a search meets the same digits at many scales.
template <class L> class ggml_neighbours {
public:
    static constexpr std::size_t most = L::dims == 4 ? 64 : 448, most_shells = 3;

    void find(const std::uint8_t* digits, std::size_t shells) noexcept {
        if (shells_ == shells && std::memcmp(digits_, digits, L::dims) == 0) return;
        std::memcpy(digits_, digits, L::dims);
        shells_ = shells;
        count_ = 0;
        const ggml_half_distances<L> low(digits), high(digits + L::dims / 2);
        for (std::size_t d = 1, s = 0; s < shells && d <= 2 * low.most; ++d) {
            const std::size_t before = count_;
            for (std::size_t part = d > low.most ? d - low.most : 0; part <= d && part <= low.most; ++part)
                high.at[part].each_of(high.at[part], [&](std::size_t h) {
                    low_halves<L>[h].each_of(low.at[d - part], [&](std::size_t l) {
                        if (count_ < most) point_[count_++] = lattice_index<L>[l + half_size<L> * h];
                    });
                });
            if (count_ != before) end_[s++] = count_;
        }
    }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    /// The index of the least sum of term[i][digit i], of equals the nearer, then the first.
    [[nodiscard]] std::size_t best(const float (*term)[L::base]) const noexcept {
        std::size_t found = L::count, i = 0;
        float least = 0;
        for (std::size_t s = 0; s < shells_ && i < count_; ++s) {
            std::size_t here = L::count;  // the best at this distance
            float least_here = 0;
            for (; i < end_[s]; ++i) {
                const std::size_t k = point_[i];
                float sum = 0;
                for (std::size_t j = 0; j < L::dims; ++j) sum += term[j][lattice_digits<L>[k][j]];
                if (here != L::count && !(sum < least_here || (sum == least_here && k < here))) continue;
                least_here = sum;
                here = k;
            }
            if (found != L::count && !(least_here < least)) continue;
            least = least_here;
            found = here;
        }
        return found;
    }

private:
    std::size_t shells_ = 0, count_ = 0, end_[most_shells];
    std::uint16_t point_[most];
    std::uint8_t digits_[L::dims];
};

/// make_qp_quants as IQ2_XXS calls it, with values below zero: their levels wrap around in a byte.
inline float ggml_wrapping_search(std::size_t n, int nmax, const float* x, const float* w) noexcept {
    float high = 0;
    for (std::size_t i = 0; i < n; ++i) high = larger(high, x[i]);
    if (high < ggml_group_max_eps) return 0;
    std::uint8_t l[32] = {};
    const auto error_of = [&](float inverse, bool wraps) {
        const float scale = 1 / inverse;
        float sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const int level = nearest_int(product(inverse, x[i]));
            const int stored = wraps ? static_cast<std::uint8_t>(level) : level < nmax ? level : nmax;
            const float e = x[i] - product(scale, static_cast<float>(stored));
            sum += product(product(w[i], e), e);
        }
        return sum;
    };
    float inverse = static_cast<float>(nmax) / high, best = error_of(inverse, true);
    for (int is = -4; is <= 4; ++is) {
        if (is == 0) continue;
        const float tried = (product(0.1f, static_cast<float>(is)) + static_cast<float>(nmax)) / high,
                    e = error_of(tried, false);
        if (e < best) {
            best = e;
            inverse = tried;
        }
    }
    float lx = 0, ll = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const int level = nearest_int(product(inverse, x[i])), limited = level < nmax ? level : nmax;
        l[i] = static_cast<std::uint8_t>(limited);
        lx += product(product(w[i], x[i]), static_cast<float>(limited));
        ll += product(product(w[i], static_cast<float>(limited)), static_cast<float>(limited));
    }
    for (int pass = 0; pass < 5; ++pass) {
        bool changed = false;
        for (std::size_t i = 0; i < n; ++i) {
            const auto level = static_cast<float>(l[i]);
            float rest_lx = lx - product(product(w[i], x[i]), level),
                  rest_ll = ll - product(product(w[i], level), level);
            if (!(rest_lx > 0 && rest_ll > 0)) continue;
            const int rounded = nearest_int(product(x[i], rest_ll) / rest_lx), tried = rounded < nmax ? rounded : nmax;
            if (tried == l[i]) continue;
            const auto t = static_cast<float>(tried);
            rest_lx += product(product(w[i], x[i]), t);
            rest_ll += product(product(w[i], t), t);
            if (!(product(product(rest_lx, rest_lx), ll) > product(product(lx, lx), rest_ll))) continue;
            l[i] = static_cast<std::uint8_t>(tried);
            lx = rest_lx;
            ll = rest_ll;
            changed = true;
        }
        if (!changed) break;
    }
    return ll > 0 ? lx / ll : 0;
}

/// The search over one group of a lattice with signs.
template <class F> class ggml_signed_group {
    using G = typename F::grid;
    using L = typename G::points;
    static constexpr std::size_t N = F::group, points = N / L::dims;
    static constexpr int base = L::base;

public:
    float scale = 0;
    bool skipped = false;
    std::array<unsigned, points> index{};
    std::array<unsigned, N / 8> negative{};

    /// x, w: weights and what they count for.
    ggml_signed_group(const float* x, const float* w, const ggml_lattice_recipe& recipe) noexcept
        : w_(w),
          shells_(recipe.shells) {
        take_magnitudes(x);
        float high = v_[0];
        for (std::size_t i = 1; i < N; ++i) high = larger(high, v_[i]);
        float span = high;
        scale = high / static_cast<float>(2 * base - 1);
        skipped = recipe.skipped_below > 0 ? high < recipe.skipped_below : high == 0;
        if (!skipped && recipe.scale_first) {
            scale = ggml_wrapping_search(N, base + 1, v_, w);
            span = product(scale, static_cast<float>(base));
            skipped = span <= 0;
        }
        if (skipped) {
            scale = 0;
            negative = {};
            return;
        }
        search(span, recipe);
        if (scale < 0) {
            scale = -scale;
            for (unsigned& n : negative) n ^= 255u;
        }
        for (std::size_t p = 0; p < points; ++p) index[p] = lattice_index<L>[number_of(&digit_[p * L::dims])];
    }

private:
    /// Magnitudes and signs; where signs are even, the cheapest weight of an odd octet is made negative.
    void take_magnitudes(const float* x) noexcept {
        for (std::size_t o = 0; o < N / 8; ++o) {
            float* v = v_ + 8 * o;
            const float *from = x + 8 * o, *w = w_ + 8 * o;
            for (std::size_t i = 0; i < 8; ++i) {
                v[i] = from[i] >= 0 ? from[i] : -from[i];
                negative[o] |= (from[i] >= 0 ? 0u : 1u) << i;
            }
            if (!G::even_signs || parity(negative[o]) == 0) continue;
            std::size_t least = 0;
            for (std::size_t i = 1; i < 8; ++i)
                if (product(product(w[i], from[i]), from[i]) < product(product(w[least], from[least]), from[least]))
                    least = i;
            v[least] = -v[least];
            negative[o] ^= 1u << least;
        }
        for (std::size_t i = 0; i < N; ++i) root_[i] = square_root(w_[i]);
    }
    static std::size_t number_of(const std::uint8_t* digit) noexcept {
        std::size_t n = 0;
        for (std::size_t i = 0; i < L::dims; ++i) n += std::size_t{digit[i]} * lattice_power<L>[i];
        return n;
    }
    /// Digits of point p at 1 / id of the scale; true if they were a point, else they become the best neighbour's.
    bool round_to(std::size_t p, float id, float at_scale, std::uint8_t* digit) noexcept {
        const float *v = v_ + p * L::dims, *root = root_ + p * L::dims;
        for (std::size_t i = 0; i < L::dims; ++i)
            digit[i] =
                static_cast<std::uint8_t>(clamp_int(nearest_int(product(0.5f, product(id, v[i]) - 1)), 0, base - 1));
        if (lattice_index<L>[number_of(digit)] != no_point) return true;
        float term[L::dims][L::base];
        for (std::size_t i = 0; i < L::dims; ++i)
            for (std::size_t d = 0; d < L::base; ++d) {
                const float diff = product(at_scale, static_cast<float>(2 * d + 1)) - v[i];
                term[i][d] = product(product(root[i], diff), diff);
            }
        near_[p].find(digit, shells_);
        const auto& found = lattice_digits<L>[near_[p].best(term)];
        for (std::size_t i = 0; i < L::dims; ++i) digit[i] = found[i];
        return false;
    }
    struct sums {
        float qx = 0, qq = 0;
    };
    sums sums_of(const std::uint8_t* digit) const noexcept {
        sums s;
        for (std::size_t i = 0; i < N; ++i) {
            const auto q = static_cast<float>(2 * digit[i] + 1);
            s.qx += product(product(w_[i], v_[i]), q);
            s.qq += product(product(w_[i], q), q);
        }
        return s;
    }
    void search(float span, const ggml_lattice_recipe& recipe) noexcept {
        bool were_points[points];
        for (bool& b : were_points) b = recipe.trusts_first;
        float best = 0;
        for (int is = -recipe.steps; is <= recipe.steps; ++is) {
            const float id = (static_cast<float>(2 * base - 1) + product(static_cast<float>(is), recipe.step)) / span,
                        tried = 1 / id;
            std::uint8_t digit[N];
            bool are_points[points];
            for (std::size_t p = 0; p < points; ++p) are_points[p] = round_to(p, id, tried, digit + p * L::dims);
            const sums s = sums_of(digit);
            if (!(s.qq > 0 && product(s.qx, s.qx) > product(best, s.qq))) continue;
            scale = s.qx / s.qq;
            best = product(scale, s.qx);
            for (std::size_t i = 0; i < N; ++i) digit_[i] = digit[i];
            for (std::size_t p = 0; p < points; ++p) were_points[p] = are_points[p];
        }
        bool any_again = recipe.scale_first;
        for (const bool b : were_points) any_again = any_again || !b;
        if (!any_again || !(scale > 0)) return;
        const float id = 1 / scale, at = scale;
        for (std::size_t p = 0; p < points; ++p)
            if (recipe.all_again || !were_points[p]) round_to(p, id, at, digit_ + p * L::dims);
        const sums s = sums_of(digit_);
        if (s.qq > 0) scale = s.qx / s.qq;
    }

    const float* w_;
    std::size_t shells_;
    ggml_neighbours<L> near_[points];
    float v_[N], root_[N];
    std::uint8_t digit_[N] = {};
};

/// What the weights of a block count for: qw * sqrt(sigma^2 + x^2), or `own` * sigma^2 + x^2.
inline void ggml_lattice_weights(std::span<const float> x, std::span<const float> importance, float sigma2_factor,
                                 float own, float* out) noexcept {
    float sum = 0;
    for (const float v : x) sum += product(v, v);
    const float sigma2 = product(sigma2_factor, sum) / 256;
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (importance.empty() && own >= 0) out[i] = (own > 0 ? product(own, sigma2) : 0.0f) + product(x[i], x[i]);
        else out[i] = ggml_weight(importance.empty() ? 1.0f : importance[i], sigma2, x[i]);
    }
}

/// The scales of a block, `top` the largest odd number: each group's is rounded under a super-scale that was not.
template <class F> bool ggml_odd_scales(const float* scale, float factor, encoded<F>& e) noexcept {
    float high = 0;
    for (std::size_t g = 0; g < F::groups; ++g) high = larger(high, scale[g]);
    const float d = high / static_cast<float>(F::sub_high), inverse = high != 0 ? 1 / d : 0.0f;
    e.params.super = f16::from(product(d, factor));
    for (std::size_t g = 0; g < F::groups; ++g)
        e.params.sub[g] = static_cast<std::int8_t>(
            2 * clamp_int(nearest_int(product(0.5f, product(inverse, scale[g]) - 1)), 0, F::sub_high / 2) + 1);
    return high != 0;
}

/// A block of a lattice with signs.
template <class F> encoded<F> ggml_signed_block(const site<F>& s, const ggml_lattice_recipe& recipe) noexcept {
    using G = typename F::grid;
    constexpr std::size_t N = F::group, per_code = G::points_per_code, codes_here = N / F::vec;
    encoded<F> e;
    float w[256], scale[F::groups];
    ggml_lattice_weights(s.x, s.importance, recipe.sigma2_factor, recipe.own_sigma2, w);
    std::size_t packed = 0;  // codes written by groups that were not skipped
    for (std::size_t g = 0; g < F::groups; ++g) {
        const ggml_signed_group<F> found(&s.x[g * N], w + g * N, recipe);
        scale[g] = found.scale;
        if (found.skipped) continue;
        for (std::size_t c = 0; c < codes_here; ++c) {
            std::array<unsigned, per_code> index{};
            for (std::size_t p = 0; p < per_code; ++p) index[p] = found.index[c * per_code + p];
            const auto code = G::make(index, found.negative[c * F::vec / 8] >> c * F::vec % 8);
            if constexpr (F::vec == 4) {
                // IQ3_S does not step over a skipped group when it stores low bytes
                // and signs, but does with the ninth bits.
                auto &moved = e.code[packed++], &own = e.code[g * codes_here + c];
                moved = static_cast<typename F::code>((moved & 256) | (code & ~256));
                own = static_cast<typename F::code>((own & ~256) | (code & 256));
            } else {
                e.code[g * codes_here + c] = code;
            }
        }
    }
    if (!ggml_odd_scales(scale, recipe.factor, e) && !recipe.keeps_zeros) e.code = {};
    return e;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
