#pragma once
// ggml's 256-weight super-blocks, "K-quants" in llama.cpp: Q2_K to Q6_K. Source: ggml-common.h, ggml-quants.c.
#include "fit/ggml_search.hpp"
#include "format/format.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// Eight 6-bit scales and eight 6-bit mins in 12 bytes: four of each in whole bytes, whose upper two bits hold the upper bits of the
/// other four. Of Q4_K and Q5_K.
struct six_bit_scales_and_mins {
    static constexpr std::size_t groups = 8, bytes = 12;
    static constexpr int sub_bits = 6, min_bits = 6;
    static constexpr bool sub_signed = false;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 8>& sub, const std::array<std::uint8_t, 8>& min, std::byte* out) noexcept {
        for (std::size_t j = 0; j < 4; ++j) {
            const auto low_sub = static_cast<unsigned>(sub[j]), high_sub = static_cast<unsigned>(sub[j + 4]);
            const unsigned low_min = min[j], high_min = min[j + 4];
            out[j] = static_cast<std::byte>(low_sub | high_sub >> 4 << 6);
            out[j + 4] = static_cast<std::byte>(low_min | high_min >> 4 << 6);
            out[j + 8] = static_cast<std::byte>((high_sub & 15) | (high_min & 15) << 4);
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 8>& sub, std::array<std::uint8_t, 8>& min) noexcept {
        for (std::size_t j = 0; j < 4; ++j) {
            const unsigned s = std::to_integer<unsigned>(in[j]), m = std::to_integer<unsigned>(in[j + 4]), low = std::to_integer<unsigned>(in[j + 8]);
            sub[j] = static_cast<std::int8_t>(s & 63);
            min[j] = static_cast<std::uint8_t>(m & 63);
            sub[j + 4] = static_cast<std::int8_t>((low & 15) | s >> 6 << 4);
            min[j + 4] = static_cast<std::uint8_t>(low >> 4 | m >> 6 << 4);
        }
    }
};

/// Sixteen 4-bit scales in the low nibbles, mins in the high ones. Of Q2_K.
struct nibble_scales_and_mins {
    static constexpr std::size_t groups = 16, bytes = 16;
    static constexpr int sub_bits = 4, min_bits = 4;
    static constexpr bool sub_signed = false;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>& min, std::byte* out) noexcept {
        for (std::size_t j = 0; j < 16; ++j) out[j] = static_cast<std::byte>(static_cast<unsigned>(sub[j]) | static_cast<unsigned>(min[j]) << 4);
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>& min) noexcept {
        for (std::size_t j = 0; j < 16; ++j) {
            sub[j] = static_cast<std::int8_t>(std::to_integer<unsigned>(in[j]) & 15);
            min[j] = static_cast<std::uint8_t>(std::to_integer<unsigned>(in[j]) >> 4);
        }
    }
};

/// Sixteen 6-bit scales, stored with 32 added: low nibbles of two in each of eight bytes, the upper bits of four in each of four more. Of Q3_K.
struct six_bit_signed_scales {
    static constexpr std::size_t groups = 16, bytes = 12;
    static constexpr int sub_bits = 6, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&, std::byte* out) noexcept {
        for (std::size_t j = 0; j < bytes; ++j) out[j] = std::byte{0};
        for (std::size_t j = 0; j < 16; ++j) {
            const auto v = static_cast<unsigned>(sub[j] + 32);
            out[j % 8] |= static_cast<std::byte>((v & 15) << (j < 8 ? 0 : 4));
            out[8 + j % 4] |= static_cast<std::byte>(v >> 4 << 2 * (j / 4));
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>&) noexcept {
        for (std::size_t j = 0; j < 16; ++j) {
            const unsigned low = std::to_integer<unsigned>(in[j % 8]) >> (j < 8 ? 0 : 4) & 15, high = std::to_integer<unsigned>(in[8 + j % 4]) >> 2 * (j / 4) & 3;
            sub[j] = static_cast<std::int8_t>(static_cast<int>(low | high << 4) - 32);
        }
    }
};

/// Sixteen signed bytes. Of Q6_K.
struct int8_scales {
    static constexpr std::size_t groups = 16, bytes = 16;
    static constexpr int sub_bits = 8, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&, std::byte* out) noexcept {
        for (std::size_t j = 0; j < 16; ++j) out[j] = static_cast<std::byte>(sub[j]);
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>&) noexcept {
        for (std::size_t j = 0; j < 16; ++j) sub[j] = static_cast<std::int8_t>(std::to_integer<std::uint8_t>(in[j]));
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Codes chosen again under the scales as stored; a group whose scale became 0 keeps what its search left.
template <class F> constexpr void ggml_requantize(const site<F>& s, encoded<F>& e) noexcept {
    constexpr int low = static_cast<int>(F::grid::lowest), high = static_cast<int>(F::grid::highest);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const affine a = F::at(e.params, g);
        if (a.s == 0) continue;
        for (std::size_t i = g * F::group; i < (g + 1) * F::group; ++i)
            e.code[i] = static_cast<std::uint8_t>(clamp_int(nearest_int((s.x[i] - a.z) / a.s), low, high) - low);
    }
}

/// Sub-scales or mins on 0 .. nmax, each group's `v`, without importance: the largest decides.
template <std::size_t N, class Code> constexpr f16 ggml_plain_subs(const float* v, int nmax, Code* subs) noexcept {
    float high = 0;
    for (std::size_t g = 0; g < N; ++g) high = larger(high, v[g]);
    const float inverse = high > 0 ? static_cast<float>(nmax) / high : 0.0f;
    for (std::size_t g = 0; g < N; ++g) {
        const auto l = static_cast<std::uint8_t>(nearest_int(product(inverse, v[g])));
        subs[g] = static_cast<Code>(l < nmax ? l : nmax);
    }
    return f16::from(high / static_cast<float>(nmax));
}

/// What differs between the encoders of Q2_K, Q4_K and Q5_K.
struct ggml_mins_recipe {
    ggml_min_steps plain;     ///< without importance
    bool rms_weight;          ///< weights there: the group's rms + |x|, or |x| alone
    float sigma2_factor;      ///< times the block's mean square: sigma^2 under an importance matrix
};

/// quantize_row_q2_K_ref, q4_K_ref and q5_K_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_block_with_mins(const site<F>& s, ggml_mins_recipe recipe) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    constexpr int nmax = static_cast<int>(F::grid::highest);
    encoded<F> e;
    float scale[G], min[G], weight_sum[G];
    const bool weighted = !s.importance.empty();
    float sum = 0;
    for (const float v : s.x) sum += product(v, v);
    const float sigma2 = product(recipe.sigma2_factor, sum) / static_cast<float>(G * N);
    for (std::size_t g = 0; g < G; ++g) {
        const float* x = &s.x[g * N];
        float w[N], x2 = 0;
        for (std::size_t i = 0; i < N; ++i) x2 += product(x[i], x[i]);
        const float rms = recipe.rms_weight ? square_root(x2 / static_cast<float>(N)) : 0.0f;
        weight_sum[g] = 0;
        for (std::size_t i = 0; i < N; ++i) {
            w[i] = weighted ? ggml_weight(s.importance[g * N + i], sigma2, x[i]) : rms + magnitude(x[i]);
            weight_sum[g] += w[i];
        }
        const auto found = ggml_min_search<N>(nmax, x, w, &e.code[g * N], weighted ? ggml_min_steps{-0.9f, 0.05f, 36} : recipe.plain);
        scale[g] = found.scale;
        min[g] = found.min;
    }
    std::array<std::uint8_t, G> subs{};
    if (weighted) {
        e.params.super = f16::from(ggml_positive_search<G>(F::sub_high, scale, weight_sum, subs.data()));
        e.params.super_min = f16::from(ggml_positive_search<G>(F::min_high, min, weight_sum, e.params.min.data()));
    } else {
        e.params.super = ggml_plain_subs<G>(scale, F::sub_high, subs.data());
        e.params.super_min = ggml_plain_subs<G>(min, F::min_high, e.params.min.data());
    }
    for (std::size_t g = 0; g < G; ++g) e.params.sub[g] = static_cast<std::int8_t>(subs[g]);
    ggml_requantize(s, e);
    return e;
}

/// quantize_row_q3_K_ref, and its _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_q3_super_block(const site<F>& s) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    constexpr int nmax = -static_cast<int>(F::grid::lowest);
    encoded<F> e;
    float scale[G];
    std::array<std::uint8_t, G> subs{};
    if (!s.importance.empty()) {
        float sum = 0, weight_sum[G];
        for (const float v : s.x) sum += product(v, v);
        const float sigma2 = product(2.0f, sum) / static_cast<float>(G * N);
        for (std::size_t g = 0; g < G; ++g) {
            float w[N];
            weight_sum[g] = 0;
            for (std::size_t i = 0; i < N; ++i) {
                w[i] = ggml_weight(s.importance[g * N + i], sigma2, s.x[g * N + i]);
                weight_sum[g] += w[i];
            }
            scale[g] = ggml_signed_search(N, nmax, &s.x[g * N], w, &e.code[g * N]);
        }
        e.params.super = f16::from(ggml_signed_search(G, -F::sub_low, scale, weight_sum, subs.data()));
    } else {
        for (std::size_t g = 0; g < G; ++g) scale[g] = ggml_descent_search<N>(nmax, &s.x[g * N], &e.code[g * N]);
        const float extreme = extreme_of(scale, G);
        if (extreme != 0) {
            const float inverse = static_cast<float>(F::sub_low) / extreme;
            for (std::size_t g = 0; g < G; ++g)
                subs[g] = static_cast<std::uint8_t>(clamp_int(nearest_int(product(inverse, scale[g])), F::sub_low, F::sub_high) - F::sub_low);
            e.params.super = f16::from(1 / inverse);
        }
    }
    for (std::size_t g = 0; g < G; ++g) e.params.sub[g] = static_cast<std::int8_t>(subs[g] + F::sub_low);
    ggml_requantize(s, e);
    return e;
}

/// quantize_row_q6_K_ref, and its _impl, which takes the importance as the weight.
template <class F> constexpr encoded<F> ggml_signed_super_block(const site<F>& s) noexcept {
    constexpr std::size_t G = F::groups, N = F::group;
    encoded<F> e;
    float scale[G];
    for (std::size_t g = 0; g < G; ++g)
        scale[g] = ggml_signed_search(N, -static_cast<int>(F::grid::lowest), &s.x[g * N], s.importance.empty() ? nullptr : &s.importance[g * N], &e.code[g * N]);
    const float extreme = extreme_of(scale, G);
    if (magnitude(extreme) < ggml_group_max_eps) return {};
    const float inverse = static_cast<float>(F::sub_low) / extreme;
    e.params.super = f16::from(1 / inverse);
    for (std::size_t g = 0; g < G; ++g) {
        const int l = nearest_int(product(inverse, scale[g]));
        e.params.sub[g] = static_cast<std::int8_t>(l < F::sub_high ? l : F::sub_high);
    }
    ggml_requantize(s, e);
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 2.625 bits: levels 0..3, sixteen groups of 16 with 4-bit scales and mins. ggml, block_q2_K.
struct q2_k : format<uint_grid<2>, two_level<16, nibble_scales_and_mins>,
                     inline_blocks<bit_planes<plane{2, 32}>, field::subs, field::codes, field::scales, field::zeros>> {
    QLIB_INLINE static constexpr encoded<q2_k> reference(const site<q2_k>& s) noexcept {
        return detail::ggml_block_with_mins(s, {{-0.5f, 0.1f, 15, true}, false, 1.0f});
    }
};
static_assert(block_bytes<q2_k> == 84);

/// 3.4375 bits: levels -4..3, sixteen groups of 16 with signed 6-bit scales. ggml, block_q3_K.
struct q3_k : format<sint_grid<3>, two_level<16, six_bit_signed_scales>,
                     inline_blocks<bit_planes<plane{1, 32, 2}, plane{2, 32}>, field::codes, field::subs, field::scales>> {
    QLIB_INLINE static constexpr encoded<q3_k> reference(const site<q3_k>& s) noexcept { return detail::ggml_q3_super_block(s); }
};
static_assert(block_bytes<q3_k> == 110);

/// 4.5 bits: levels 0..15, eight groups of 32 with 6-bit scales and mins. ggml, block_q4_K.
struct q4_k : format<uint_grid<4>, two_level<32, six_bit_scales_and_mins>, inline_blocks<nibbles_split<32>>> {
    QLIB_INLINE static constexpr encoded<q4_k> reference(const site<q4_k>& s) noexcept {
        return detail::ggml_block_with_mins(s, {{-1.0f, 0.1f, 20}, true, 2.0f});
    }
};
static_assert(block_bytes<q4_k> == 144);

/// 5.5 bits: levels 0..31, eight groups of 32 with 6-bit scales and mins. ggml, block_q5_K.
struct q5_k : format<uint_grid<5>, two_level<32, six_bit_scales_and_mins>, inline_blocks<bit_planes<plane{1, 32, 4}, plane{4, 32}>>> {
    QLIB_INLINE static constexpr encoded<q5_k> reference(const site<q5_k>& s) noexcept {
        return detail::ggml_block_with_mins(s, {{-0.5f, 0.1f, 15}, true, 2.0f});
    }
};
static_assert(block_bytes<q5_k> == 176);

/// 6.5625 bits: levels -32..31, sixteen groups of 16 with signed 8-bit scales. ggml, block_q6_K.
struct q6_k : format<sint_grid<6>, two_level<16, int8_scales>,
                     inline_blocks<bit_planes<plane{4, 64}, plane{2, 32, 4}>, field::codes, field::subs, field::scales>> {
    QLIB_INLINE static constexpr encoded<q6_k> reference(const site<q6_k>& s) noexcept { return detail::ggml_signed_super_block(s); }
};
static_assert(block_bytes<q6_k> == 210);

}  // namespace qlib::inline v0
QLIB_EXACT_END
