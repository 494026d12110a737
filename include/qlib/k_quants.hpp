#pragma once
// ggml's 256-weight super-blocks, "K-quants" in llama.cpp: Q2_K to Q6_K. Source: ggml-common.h, ggml-quants.c.
#include "format/format.hpp"
#include "format/lane_blocks.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// Eight 6-bit scales and eight 6-bit mins in 12 bytes: four of each in whole bytes, whose upper two bits hold the
/// upper bits of the other four. Of Q4_K and Q5_K.
struct six_bit_scales_and_mins {
    static constexpr std::size_t groups = 8, bytes = 12;
    static constexpr int sub_bits = 6, min_bits = 6;
    static constexpr bool sub_signed = false;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 8>& sub,
                                            const std::array<std::uint8_t, 8>& min, std::byte* out) noexcept {
#pragma GCC unroll 4
        for (std::size_t j = 0; j < 4; ++j) {
            const auto low_sub = static_cast<unsigned>(sub[j]), high_sub = static_cast<unsigned>(sub[j + 4]);
            const unsigned low_min = min[j], high_min = min[j + 4];
            out[j] = static_cast<std::byte>(low_sub | high_sub >> 4 << 6);
            out[j + 4] = static_cast<std::byte>(low_min | high_min >> 4 << 6);
            out[j + 8] = static_cast<std::byte>((high_sub & 15) | (high_min & 15) << 4);
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 8>& sub,
                                           std::array<std::uint8_t, 8>& min) noexcept {
        constexpr std::uint64_t six = 0x3F3F3F3F, four = 0x0F0F0F0F, upper = 0x30303030;  // bits of four bytes at once
        const std::uint64_t s = detail::read_number<std::uint32_t>(in), m = detail::read_number<std::uint32_t>(in + 4),
                            low = detail::read_number<std::uint32_t>(in + 8);
        std::array<std::byte, 8> all{};
        detail::write_number((s & six) | ((low & four) | (s >> 2 & upper)) << 32, &all[0]);
        sub = std::bit_cast<std::array<std::int8_t, 8>>(all);
        detail::write_number((m & six) | ((low >> 4 & four) | (m >> 2 & upper)) << 32, &all[0]);
        min = std::bit_cast<std::array<std::uint8_t, 8>>(all);
    }
};

/// Sixteen 4-bit scales in the low nibbles, mins in the high ones. Of Q2_K.
struct nibble_scales_and_mins {
    static constexpr std::size_t groups = 16, bytes = 16;
    static constexpr int sub_bits = 4, min_bits = 4;
    static constexpr bool sub_signed = false;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub,
                                            const std::array<std::uint8_t, 16>& min, std::byte* out) noexcept {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < 16; ++j)
            out[j] = static_cast<std::byte>(static_cast<unsigned>(sub[j]) | static_cast<unsigned>(min[j]) << 4);
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub,
                                           std::array<std::uint8_t, 16>& min) noexcept {
        const std::array<std::byte, 16> all = detail::copy_of<16>(in);
#pragma GCC unroll 16
        for (std::size_t j = 0; j < 16; ++j) sub[j] = static_cast<std::int8_t>(std::to_integer<unsigned>(all[j]) & 15);
#pragma GCC unroll 16
        for (std::size_t j = 0; j < 16; ++j) min[j] = static_cast<std::uint8_t>(std::to_integer<unsigned>(all[j]) >> 4);
    }
};

/// Sixteen 6-bit scales, stored with 32 added: low nibbles of two in each of eight bytes, the upper bits of four in
/// each of four more. Of Q3_K.
struct six_bit_signed_scales {
    static constexpr std::size_t groups = 16, bytes = 12;
    static constexpr int sub_bits = 6, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&,
                                            std::byte* out) noexcept {
        for (std::size_t j = 0; j < bytes; ++j) out[j] = std::byte{0};
#pragma GCC unroll 16
        for (std::size_t j = 0; j < 16; ++j) {
            const auto v = static_cast<unsigned>(sub[j] + 32);
            out[j % 8] |= static_cast<std::byte>((v & 15) << (j < 8 ? 0 : 4));
            out[8 + j % 4] |= static_cast<std::byte>(v >> 4 << 2 * (j / 4));
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub,
                                           std::array<std::uint8_t, 16>&) noexcept {
        constexpr std::uint64_t nibbles = 0x0F0F0F0F0F0F0F0F, pairs = 0x0303030303030303;  // eight scales at once
        const auto low = detail::read_number<std::uint64_t>(in),
                   four = std::uint64_t{detail::read_number<std::uint32_t>(in + 8)}, high = four | four >> 2 << 32;
        std::array<std::byte, 16> all{};
        detail::write_number((low & nibbles) | (high & pairs) << 4, &all[0]);
        detail::write_number((low >> 4 & nibbles) | (high >> 4 & pairs) << 4, &all[8]);
#pragma GCC unroll 16
        for (std::size_t j = 0; j < 16; ++j) sub[j] = static_cast<std::int8_t>(std::to_integer<int>(all[j]) - 32);
    }
};

/// Sixteen signed bytes. Of Q6_K.
struct int8_scales {
    static constexpr std::size_t groups = 16, bytes = 16;
    static constexpr int sub_bits = 8, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&,
                                            std::byte* out) noexcept {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < 16; ++j) out[j] = static_cast<std::byte>(sub[j]);
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub,
                                           std::array<std::uint8_t, 16>&) noexcept {
        sub = std::bit_cast<std::array<std::int8_t, 16>>(detail::copy_of<16>(in));
    }
};

/// 2.625 bits: levels 0..3, sixteen groups of 16 with 4-bit scales and mins. ggml, block_q2_K.
struct q2_k : format<uint_grid<2>, two_level<16, nibble_scales_and_mins>,
                     inline_blocks<bit_planes<plane{2, 32}>, field::subs, field::codes, field::scales, field::zeros>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q2_k>& s,
                                                detail::lane_blocks<L, q2_k>& out) noexcept {
        L::template ggml_block_with_mins<q2_k>(s, out, {{-0.5f, 0.1f, 15, true}, false, 1.0f});
    }
};
static_assert(block_bytes<q2_k> == 84);

/// 3.4375 bits: levels -4..3, sixteen groups of 16 with signed 6-bit scales. ggml, block_q3_K.
struct q3_k
    : format<sint_grid<3>, two_level<16, six_bit_signed_scales>,
             inline_blocks<bit_planes<plane{1, 32, 2}, plane{2, 32}>, field::codes, field::subs, field::scales>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q3_k>& s,
                                                detail::lane_blocks<L, q3_k>& out) noexcept {
        L::template ggml_q3_super_block<q3_k>(s, out);
    }
};
static_assert(block_bytes<q3_k> == 110);

/// 4.5 bits: levels 0..15, eight groups of 32 with 6-bit scales and mins. ggml, block_q4_K.
struct q4_k : format<uint_grid<4>, two_level<32, six_bit_scales_and_mins>, inline_blocks<nibbles_split<32>>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q4_k>& s,
                                                detail::lane_blocks<L, q4_k>& out) noexcept {
        L::template ggml_block_with_mins<q4_k>(s, out, {{-1.0f, 0.1f, 20}, true, 2.0f});
    }
};
static_assert(block_bytes<q4_k> == 144);

/// 5.5 bits: levels 0..31, eight groups of 32 with 6-bit scales and mins. ggml, block_q5_K.
struct q5_k : format<uint_grid<5>, two_level<32, six_bit_scales_and_mins>,
                     inline_blocks<bit_planes<plane{1, 32, 4}, plane{4, 32}>>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q5_k>& s,
                                                detail::lane_blocks<L, q5_k>& out) noexcept {
        L::template ggml_block_with_mins<q5_k>(s, out, {{-0.5f, 0.1f, 15}, true, 2.0f});
    }
};
static_assert(block_bytes<q5_k> == 176);

/// 6.5625 bits: levels -32..31, sixteen groups of 16 with signed 8-bit scales. ggml, block_q6_K.
struct q6_k
    : format<sint_grid<6>, two_level<16, int8_scales>,
             inline_blocks<bit_planes<plane{4, 64}, plane{2, 32, 4}>, field::codes, field::subs, field::scales>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, q6_k>& s,
                                                detail::lane_blocks<L, q6_k>& out) noexcept {
        L::template ggml_signed_super_block<q6_k>(s, out);
    }
};
static_assert(block_bytes<q6_k> == 210);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
