#pragma once
// ggml's blocks of one level, "legacy quants" in llama.cpp: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, and Q1_0 Q2_0.
// Source: ggml-common.h, ggml-quants.c.
#include "format/format.hpp"
#include "format/lane_blocks.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// 4.5 bits: levels -8..7 under an f16 scale. ggml, block_q4_0.
struct q4_0 : format<sint_grid<4>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    static constexpr bool weighs_by_row = true;
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q4_0>& s,
                                                detail::lane_blocks<L, q4_0>& out) noexcept {
        L::template ggml_signed_block<q4_0>(s, out);
    }
};
static_assert(block_bytes<q4_0> == 18);

/// 5 bits: levels 0..15 under an f16 scale and offset. ggml, block_q4_1.
struct q4_1 : format<uint_grid<4>, scale_offset_per<32, f16>, inline_blocks<nibbles_split_16>> {
    static constexpr bool weighs_by_row = true;
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q4_1>& s,
                                                detail::lane_blocks<L, q4_1>& out) noexcept {
        L::template ggml_offset_block<q4_1>(s, out);
    }
};
static_assert(block_bytes<q4_1> == 20);

/// 5.5 bits: levels -16..15; the fifth bits stand before the nibbles. ggml, block_q5_0.
struct q5_0 : format<sint_grid<5>, scale_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    static constexpr bool weighs_by_row = true;
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q5_0>& s,
                                                detail::lane_blocks<L, q5_0>& out) noexcept {
        L::template ggml_signed_block<q5_0>(s, out);
    }
};
static_assert(block_bytes<q5_0> == 22);

/// 6 bits: levels 0..31 under an f16 scale and offset. ggml, block_q5_1.
struct q5_1 : format<uint_grid<5>, scale_offset_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    static constexpr bool weighs_by_row = true;
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q5_1>& s,
                                                detail::lane_blocks<L, q5_1>& out) noexcept {
        L::template ggml_offset_block<q5_1>(s, out);
    }
};
static_assert(block_bytes<q5_1> == 24);

/// 8.5 bits: int8 under an f16 scale. ggml, block_q8_0; ignores importance.
struct q8_0 : format<int8_grid, scale_per<32, f16>, inline_blocks<whole_bytes>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q8_0>& s,
                                                detail::lane_blocks<L, q8_0>& out) noexcept {
        L::template ggml_q8_block<q8_0>(s, out);
    }
};
static_assert(block_bytes<q8_0> == 34);

/// 1.125 bits: -1 and +1 under an f16 scale per 128 weights. ggml, block_q1_0; ignores importance.
struct q1_0 : format<sign_grid, scale_per<128, f16>, inline_blocks<bit_planes<plane{1, 1}>>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q1_0>& s,
                                                detail::lane_blocks<L, q1_0>& out) noexcept {
        L::template ggml_sign_block<q1_0>(s, out);
    }
};
static_assert(block_bytes<q1_0> == 18);

/// 2.25 bits: levels -1..2 under an f16 scale per 64 weights. ggml, block_q2_0, whose own
/// encoder never uses the 2; ignores importance.
struct q2_0 : format<integer_grid<2, -1>, scale_per<64, f16>, inline_blocks<bit_planes<plane{2, 1}>>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q2_0>& s,
                                                detail::lane_blocks<L, q2_0>& out) noexcept {
        L::template ggml_ternary_block<q2_0>(s, out, 0);
    }
};
static_assert(block_bytes<q2_0> == 18);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
