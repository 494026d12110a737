#pragma once
// ggml's 32-weight blocks, "legacy quants" in llama.cpp: Q4_0, Q5_0, Q8_0. Source: ggml-common.h, ggml-quants.c.
#include "fit/ggml_search.hpp"
#include "format/format.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// quantize_row_q4_0_ref and q5_0_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_signed_block(const site<F>& s) noexcept {
    constexpr int half = 1 << (F::grid::bits - 1);
    encoded<F> e;
    if (!s.importance.empty()) {
        float w[32];
        for (std::size_t i = 0; i < 32; ++i) w[i] = ggml_weight(s.importance[i], s.row_mean_square, s.x[i]);
        e.params.scale[0] = f16::from(ggml_signed_search(32, half, s.x.data(), w, e.code.data()));
        return e;
    }
    const float d = extreme_of(s.x.data(), 32) / static_cast<float>(-half), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);  // codes come from the scale before it is rounded
    for (std::size_t i = 0; i < 32; ++i) {
        const int q = truncate(product(s.x[i], inverse) + (static_cast<float>(half) + 0.5f));
        e.code[i] = static_cast<std::uint8_t>(q < 2 * half - 1 ? q : 2 * half - 1);
    }
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.5 bits: levels -8..7 under an f16 scale. ggml, block_q4_0.
struct q4_0 : format<sint_grid<4>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<q4_0> reference(const site<q4_0>& s) noexcept { return detail::ggml_signed_block(s); }
};
static_assert(block_bytes<q4_0> == 18);

/// 5.5 bits: levels -16..15; the fifth bits stand before the nibbles. ggml, block_q5_0.
struct q5_0 : format<sint_grid<5>, scale_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    QLIB_INLINE static constexpr encoded<q5_0> reference(const site<q5_0>& s) noexcept { return detail::ggml_signed_block(s); }
};
static_assert(block_bytes<q5_0> == 22);

/// 8.5 bits: int8 under an f16 scale. ggml, block_q8_0; ignores importance.
struct q8_0 : format<int8_grid, scale_per<32, f16>, inline_blocks<whole_bytes>> {
    QLIB_INLINE static constexpr encoded<q8_0> reference(const site<q8_0>& s) noexcept {
        encoded<q8_0> e;
        const float d = detail::magnitude(detail::extreme_of(s.x.data(), 32)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        e.params.scale[0] = f16::from(d);
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = static_cast<std::uint8_t>(detail::round_away(detail::product(s.x[i], inverse)));
        return e;
    }
};
static_assert(block_bytes<q8_0> == 34);

}  // namespace qlib::inline v0
QLIB_EXACT_END
