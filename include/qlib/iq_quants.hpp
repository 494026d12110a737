#pragma once
// ggml's 4-bit "IQ" formats: a fixed codebook of 16 integers in place of equal steps. IQ4_NL, IQ4_XS. Source: ggml-common.h, ggml-quants.c.
#include "fit/ggml_search.hpp"
#include "format/format.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

inline constexpr std::array<float, 16> iq4_levels{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// Eight 6-bit scales, stored with 32 added: the upper two bits of all in two bytes, then the lower four in nibbles. Of IQ4_XS.
struct iq4_xs_scales {
    static constexpr std::size_t groups = 8, bytes = 6;
    static constexpr int sub_bits = 6, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 8>& sub, const std::array<std::uint8_t, 8>&, std::byte* out) noexcept {
        for (std::size_t j = 0; j < bytes; ++j) out[j] = std::byte{0};
        for (std::size_t j = 0; j < 8; ++j) {
            const auto v = static_cast<unsigned>(sub[j] + 32);
            out[j / 4] |= static_cast<std::byte>(v >> 4 << 2 * (j % 4));
            out[2 + j / 2] |= static_cast<std::byte>((v & 15) << 4 * (j % 2));
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 8>& sub, std::array<std::uint8_t, 8>&) noexcept {
        for (std::size_t j = 0; j < 8; ++j) {
            const unsigned high = std::to_integer<unsigned>(in[j / 4]) >> 2 * (j % 4) & 3, low = std::to_integer<unsigned>(in[2 + j / 2]) >> 4 * (j % 2) & 15;
            sub[j] = static_cast<std::int8_t>(static_cast<int>(low | high << 4) - 32);
        }
    }
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// best_index_int8: the nearer of the two levels around x, of equals the upper.
constexpr std::uint8_t ggml_iq4_index(float x) noexcept {
    if (x <= iq4_levels[0]) return 0;
    if (x >= iq4_levels[15]) return 15;
    std::uint8_t up = 1;
    while (x >= iq4_levels[up]) ++up;
    return x - iq4_levels[up - 1] < iq4_levels[up] - x ? static_cast<std::uint8_t>(up - 1) : up;
}

/// The scale of 32 weights that quantize_row_iq4_nl_impl finds in 15 trials, under ggml's weights. 0 for a group of zeros.
constexpr float ggml_iq4_scale(const float* x, const float* importance, float sigma2) noexcept {
    const float extreme = extreme_of(x, 32);
    if (magnitude(extreme) < ggml_group_max_eps) return 0;
    float scale = 0, best = 0;
    for (int trial = -1; trial < 15; ++trial) {  // the plain scale first, then -7 .. 7 steps around it
        const float inverse = trial < 0 ? 1 / (-extreme / iq4_levels[0]) : (static_cast<float>(trial - 7) + iq4_levels[0]) / extreme;
        float qx = 0, qq = 0;
        for (std::size_t i = 0; i < 32; ++i) {
            const float q = iq4_levels[ggml_iq4_index(product(inverse, x[i]))];
            const float w = importance != nullptr ? ggml_weight(importance[i], sigma2, x[i]) : product(x[i], x[i]);
            qx += product(product(w, q), x[i]);
            qq += product(product(w, q), q);
        }
        if (trial < 0 ? !(qq > 0) : !(qq > 0 && product(qx, qx) > product(best, qq))) continue;
        scale = qx / qq;
        best = product(scale, qx);
    }
    return scale;
}

/// 2 / n times the sum of squares, in ggml's order.
constexpr float ggml_iq4_sigma2(std::span<const float> x) noexcept {
    float sum = 0;
    for (const float v : x) sum += product(v, v);
    return product(sum, 2.0f / static_cast<float>(x.size()));
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.5 bits: the codebook under an f16 scale per 32 weights. ggml, block_iq4_nl.
struct iq4_nl : format<codebook_grid<iq4_levels>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<iq4_nl> reference(const site<iq4_nl>& s) noexcept {
        encoded<iq4_nl> e;
        const float d = detail::ggml_iq4_scale(s.x.data(), s.importance.empty() ? nullptr : s.importance.data(), detail::ggml_iq4_sigma2(s.x));
        const float inverse = d != 0 ? 1 / d : 0.0f;
        e.params.scale[0] = f16::from(d);  // codes come from the scale before it is rounded
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = detail::ggml_iq4_index(detail::product(inverse, s.x[i]));
        return e;
    }
};
static_assert(block_bytes<iq4_nl> == 18);

/// 4.25 bits: eight groups of 32 with signed 6-bit scales. ggml, block_iq4_xs.
struct iq4_xs : format<codebook_grid<iq4_levels>, two_level<32, iq4_xs_scales>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<iq4_xs> reference(const site<iq4_xs>& s) noexcept {
        encoded<iq4_xs> e;
        float scale[8];
        const float sigma2 = detail::ggml_iq4_sigma2(s.x);
        for (std::size_t g = 0; g < 8; ++g)
            scale[g] = detail::ggml_iq4_scale(&s.x[32 * g], s.importance.empty() ? nullptr : &s.importance[32 * g], sigma2);
        const float d = -detail::extreme_of(scale, 8) / 32, inverse = d != 0 ? 1 / d : 0.0f;
        e.params.super = f16::from(d);
        for (std::size_t g = 0; g < 8; ++g) {
            const int l = detail::clamp_int(detail::nearest_int(detail::product(inverse, scale[g])), -32, 31);
            const float sub = detail::product(d, static_cast<float>(l)), sub_inverse = sub != 0 ? 1 / sub : 0.0f;
            e.params.sub[g] = static_cast<std::int8_t>(l);
            for (std::size_t i = 32 * g; i < 32 * g + 32; ++i) e.code[i] = detail::ggml_iq4_index(detail::product(sub_inverse, s.x[i]));
        }
        return e;
    }
};
static_assert(block_bytes<iq4_xs> == 136);

}  // namespace qlib::inline v0
QLIB_EXACT_END
