#pragma once
// ggml's 4-bit "IQ" formats: a fixed codebook of 16 integers in place of equal steps. IQ4_NL, IQ4_XS. Source:
// ggml-common.h, ggml-quants.c.
#include "format/format.hpp"
#include "format/lane_blocks.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

inline constexpr std::array<float, 16> iq4_levels{-127, -104, -83, -65, -49, -35, -22, -10,
                                                  1,    13,   25,  38,  53,  69,  89,  113};

/// Eight 6-bit scales, stored with 32 added: the upper two bits of all in two bytes,
/// then the lower four in nibbles. Of IQ4_XS.
struct iq4_xs_scales {
    static constexpr std::size_t groups = 8, bytes = 6;
    static constexpr int sub_bits = 6, min_bits = 0;
    static constexpr bool sub_signed = true;

    QLIB_INLINE static constexpr void store(const std::array<std::int8_t, 8>& sub, const std::array<std::uint8_t, 8>&,
                                            std::byte* out) noexcept {
        for (std::size_t j = 0; j < bytes; ++j) out[j] = std::byte{0};
#pragma GCC unroll 8
        for (std::size_t j = 0; j < 8; ++j) {
            const auto v = static_cast<unsigned>(sub[j] + 32);
            out[j / 4] |= static_cast<std::byte>(v >> 4 << 2 * (j % 4));
            out[2 + j / 2] |= static_cast<std::byte>((v & 15) << 4 * (j % 2));
        }
    }
    QLIB_INLINE static constexpr void load(const std::byte* in, std::array<std::int8_t, 8>& sub,
                                           std::array<std::uint8_t, 8>&) noexcept {
        std::uint64_t high = detail::read_number<std::uint16_t>(in), low = detail::read_number<std::uint32_t>(in + 2);
        high = (high | high << 24) & 0x000000FF000000FF;  // to a byte each, all at once
        high = (high | high << 12) & 0x000F000F000F000F;
        high = (high | high << 6) & 0x0303030303030303;
        low = (low | low << 16) & 0x0000FFFF0000FFFF;
        low = (low | low << 8) & 0x00FF00FF00FF00FF;
        low = (low | low << 4) & 0x0F0F0F0F0F0F0F0F;
        std::array<std::byte, 8> all{};
        detail::write_number(low | high << 4, &all[0]);
#pragma GCC unroll 8
        for (std::size_t j = 0; j < 8; ++j) sub[j] = static_cast<std::int8_t>(std::to_integer<int>(all[j]) - 32);
    }
};

/// 4.5 bits: the codebook under an f16 scale per 32 weights. ggml, block_iq4_nl.
struct iq4_nl : format<codebook_grid<iq4_levels>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, iq4_nl>& s,
                                                detail::lane_blocks<L, iq4_nl>& out) noexcept {
        L::template ggml_iq4_nl_block<iq4_nl>(s, out);
    }
};
static_assert(block_bytes<iq4_nl> == 18);

/// 4.25 bits: eight groups of 32 with signed 6-bit scales. ggml, block_iq4_xs.
struct iq4_xs : format<codebook_grid<iq4_levels>, two_level<32, iq4_xs_scales>, inline_blocks<nibbles_split_16>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, iq4_xs>& s,
                                                detail::lane_blocks<L, iq4_xs>& out) noexcept {
        L::template ggml_iq4_xs_block<iq4_xs>(s, out);
    }
};
static_assert(block_bytes<iq4_xs> == 136);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
