#pragma once
// ggml's encoders of IQ1_S and IQ1_M, to the bit. Source: ggml-quants.c, quantize_row_iq1_s_impl,
// quantize_row_iq1_m_impl.
#include "ggml_lattice_search.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The search over one group of IQ1_S (one shift for all, two octets or more) or
/// IQ1_M (a shift for each of two octets).
template <class F> class ggml_shifted_group {
    using G = typename F::grid;
    using L = typename G::points;
    static constexpr std::size_t N = F::group, octets = N / 8;

public:
    float scale = 0;
    bool skipped = true;
    std::array<unsigned, octets> index{};
    std::array<bool, octets> down{};

    ggml_shifted_group(const float* x, const float* w, float skipped_below) noexcept : x_(x), w_(w) {
        if (magnitude(extreme_of(x, N)) < skipped_below) return;
        sort();
        if (!(G::shift_in_code ? split_by_octets() : split_by_sums())) return;
        skipped = false;
        if (scale < 0) {
            scale = -scale;
            for (std::uint8_t& d : digit_) d = static_cast<std::uint8_t>(2 - d);
            for (bool& b : down) b = !b;
        }
        choose_points();
    }
    /// The level of weight i.
    [[nodiscard]] float level(std::size_t i) const noexcept { return level(digit_[i], down[i / 8]); }

private:
    static float level(std::size_t digit, bool moved_down) noexcept {
        return static_cast<float>(L::numbers[digit]) + (moved_down ? -L::shift : L::shift);
    }
    void sort() noexcept {  // stable, as glibc's qsort is
        for (std::size_t i = 0; i < N; ++i) {
            std::size_t k = i;
            for (; k > 0 && x_[order_[k - 1]] > x_[i]; --k) order_[k] = order_[k - 1];
            order_[k] = static_cast<std::uint8_t>(i);
        }
    }
    void take_split(std::size_t i1, std::size_t i2, float qx, float qq, float& best) noexcept {
        scale = qx / qq;
        best = product(scale, qx);
        split_[0] = i1;
        split_[1] = i2;
    }
    bool set_digits(float best) noexcept {
        if (best == -largest_float) return false;
        for (std::size_t j = 0; j < N; ++j) digit_[order_[j]] = j < split_[0] ? 0 : j < split_[1] ? 1 : 2;
        return true;
    }
    /// All ways to cut the sorted weights in three; of IQ1_S, from running sums.
    bool split_by_sums() noexcept {
        float sum_x[N + 1] = {}, sum_w[N + 1] = {}, best = -largest_float;
        for (std::size_t j = 0; j < N; ++j) {
            sum_x[j + 1] = sum_x[j] + product(w_[order_[j]], x_[order_[j]]);
            sum_w[j + 1] = sum_w[j] + w_[order_[j]];
        }
        for (std::size_t i1 = 0; i1 <= N; ++i1)
            for (std::size_t i2 = i1; i2 <= N; ++i2)
                for (const bool moved_down : {false, true}) {
                    float qx = 0, qq = 0;
                    const std::size_t cut[] = {0, i1, i2, N};
                    for (std::size_t d = 0; d < 3; ++d) {
                        const float q = level(d, moved_down);
                        qx += product(sum_x[cut[d + 1]] - sum_x[cut[d]], q);
                        qq += product(product(sum_w[cut[d + 1]] - sum_w[cut[d]], q), q);
                    }
                    if (!(qq > 0 && product(qx, qx) > product(best, qq))) continue;
                    take_split(i1, i2, qx, qq, best);
                    for (bool& b : down) b = moved_down;
                }
        return set_digits(best);
    }
    /// The same for IQ1_M, with all shifts of its two octets: of each two bits of `moved` one
    /// stands for an octet. Sums up to i2 carry over.
    bool split_by_octets() noexcept {
        struct sums {
            float qx[4], qq[4];
        };
        sums term[N][3];  // of the j-th weight with each digit, under all four shifts
        for (std::size_t j = 0; j < N; ++j)
            for (std::size_t d = 0; d < 3; ++d)
                for (unsigned moved = 0; moved < 4; ++moved) {
                    const std::size_t i = order_[j];
                    const float q = level(d, (i < 8 ? moved & 2 : moved & 1) != 0), wq = product(w_[i], q);
                    term[j][d].qx[moved] = product(wq, x_[i]);
                    term[j][d].qq[moved] = product(wq, q);
                }
        const auto add = [](sums& s, const sums& t) {
            for (std::size_t k = 0; k < 4; ++k) {
                s.qx[k] += t.qx[k];
                s.qq[k] += t.qq[k];
            }
        };
        float best = -largest_float;
        sums below{};  // of digits 0, then also of digits 1
        for (std::size_t i1 = 0; i1 <= N; ++i1) {
            sums until = below;
            for (std::size_t i2 = i1; i2 <= N; ++i2) {
                sums s = until;
                for (std::size_t j = i2; j < N; ++j) add(s, term[j][2]);
                for (unsigned moved = 0; moved < 4; ++moved) {
                    const float qx = s.qx[moved], qq = s.qq[moved];
                    if (!(qq > 0 && product(qx, qx) > product(best, qq))) continue;
                    take_split(i1, i2, qx, qq, best);
                    down[0] = (moved & 2) != 0;
                    down[octets - 1] = (moved & 1) != 0;
                }
                if (i2 < N) add(until, term[i2][1]);
            }
            if (i1 < N) add(below, term[i1][0]);
        }
        return set_digits(best);
    }
    void choose_points() noexcept {
        bool all_points = true;
        for (std::size_t o = 0; o < octets; ++o) {
            std::uint8_t* digit = digit_ + 8 * o;
            std::size_t number = 0;
            for (std::size_t i = 0; i < 8; ++i) number += std::size_t{digit[i]} * lattice_power<L>[i];
            index[o] = lattice_index<L>[number];
            if (index[o] != no_point) continue;
            all_points = false;
            float term[8][L::base];
            for (std::size_t i = 0; i < 8; ++i)
                for (std::size_t d = 0; d < 3; ++d) {
                    const float diff = product(scale, level(d, down[o])) - x_[8 * o + i];
                    term[i][d] = product(product(w_[8 * o + i], diff), diff);
                }
            ggml_neighbours<L> neighbours;
            neighbours.find(digit, 3);
            index[o] = static_cast<unsigned>(neighbours.best(term));
            for (std::size_t i = 0; i < 8; ++i) digit[i] = lattice_digits<L>[index[o]][i];
        }
        if (all_points) return;
        float qx = 0, qq = 0;
        for (std::size_t i = 0; i < N; ++i) {
            const float q = level(i);
            qx += product(product(w_[i], q), x_[i]);
            qq += product(product(w_[i], q), q);
        }
        if (qx > 0 && qq > 0) scale = qx / qq;
    }

    const float *x_, *w_;
    std::uint8_t digit_[N] = {}, order_[N] = {};
    std::size_t split_[2] = {};
};

/// A block of IQ1_S or IQ1_M.
template <class F> encoded<F> ggml_shifted_block(const site<F>& s) noexcept {
    using G = typename F::grid;
    constexpr std::size_t N = F::group;
    encoded<F> e;
    float w[256], scale[F::groups], level[256];
    bool down[32] = {};
    ggml_lattice_weights(s.x, s.importance, 2, G::shift_in_code ? 0.0f : -1.0f, w);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const ggml_shifted_group<F> found(&s.x[g * N], w + g * N, G::shift_in_code ? 1e-7f : 1e-12f);
        scale[g] = found.scale;
        for (std::size_t i = 0; i < N; ++i) level[g * N + i] = found.level(i);
        for (std::size_t o = 0; o < N / 8; ++o) {
            e.code[g * (N / 8) + o] = static_cast<typename F::code>(found.index[o]);
            down[g * (N / 8) + o] = found.down[o];
        }
    }
    if (!ggml_odd_scales(scale, G::shift_in_code ? 1.1125f : 1.125f, e)) return e;
    for (std::size_t o = 0; o < 32; ++o) {
        if constexpr (G::shift_in_code)
            e.code[o] = static_cast<typename F::code>(e.code[o] | (down[o] ? 1u : 0u) << G::index_bits);
        else if (o % 4 == 0) e.params.down[o / 4] = down[o];
    }
    if constexpr (G::shift_in_code) {  // the super-scale again, from all weights
        float qx = 0, qq = 0;
        for (std::size_t i = 0; i < 256; ++i) {
            const float q = product(level[i], static_cast<float>(e.params.sub[i / N]));
            qx += product(product(w[i], q), s.x[i]);
            qq += product(product(w[i], q), q);
        }
        if (qq > 0) e.params.super = f16::from(product(qx / qq, 1.1125f));
    }
    return e;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
