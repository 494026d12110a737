#pragma once
// Microscaling formats: NVFP4 in ggml's block. Sources: ggml-common.h and ggml-quants.c (block_nvfp4), NVIDIA's NVFP4.
#include "format/format.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0 {

/// E4M3 without its sign, as ggml reads it: codes 0 and 127 are zero, the top bit is ignored. Written as E4M3 rounds, saturating at 448.
struct ue4m3 {
    using storage = std::uint8_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        if (bits == 0 || bits == 0x7F) return 0;
        // 0xFF goes on where E4M3 has its NaN: 1.875 * 2^8.
        return (bits & 0x7F) == 0x7F ? 480.0f : e4m3{static_cast<storage>(bits & 0x7F)}.value();
    }
    [[nodiscard]] QLIB_INLINE static constexpr ue4m3 from(float x, overflow = overflow::saturate, rounding r = rounding::nearest_even) noexcept {
        return {x > 0 ? e4m3::from(x, overflow::saturate, r).bits : storage{0}};
    }
    [[nodiscard]] static constexpr float max() noexcept { return 448; }
    /// ggml's own rounding: halves up, and 448 for all from 248 on.
    [[nodiscard]] QLIB_INLINE static constexpr ue4m3 from_ggml(float x) noexcept {
        if (!(x > 0)) return {0};
        if (x >= 248.0f) return {0x7E};
        if (x < 0x1p-6f) {
            const auto man = static_cast<int>(detail::product(x, 512.0f) + 0.5f);
            return {static_cast<storage>(man > 7 ? 7 : man)};
        }
        const std::uint32_t u = detail::bits_of(x) + (1u << 19);
        return {static_cast<storage>(((u >> 23) - 120) << 3 | (u >> 20 & 7))};
    }
};

/// E2M1 in code order; code 8 is a plain zero, and none chooses it.
inline constexpr std::array<float, 16> e2m1_levels{0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// 4.5 bits: E2M1 in groups of 16 under E4M3 scales, four groups to a block, and an f32 scale of the tensor (GGUF: `<name>.scale`), which
/// ggml's own encoder leaves at 1.
struct nvfp4 : format<codebook_grid<e2m1_levels>, scale_per<16, ue4m3, 4, true>, inline_blocks<nibbles_split<8>>> {
    QLIB_INLINE static constexpr float reference_outer(const tile_stats&) noexcept { return 1; }
    QLIB_INLINE static constexpr encoded<nvfp4> reference(const site<nvfp4>& s) noexcept {
        encoded<nvfp4> e;
        for (std::size_t g = 0; g < groups; ++g) {
            float amax = 0;
            for (std::size_t i = 0; i < 16; ++i) amax = detail::larger(amax, detail::magnitude(s.x[16 * g + i]));
            e.params.scale[g] = ue4m3::from_ggml(amax / 6.0f);
            const float d = e.params.scale[g].value();
            for (std::size_t i = 0; i < 16; ++i) {  // the first of the nearest, in code order
                float least = 0;
                for (std::size_t c = 0; c < 16; ++c) {
                    const float error = detail::magnitude(detail::product(e2m1_levels[c], d) - s.x[16 * g + i]);
                    if (c == 0 || error < least) { least = error; e.code[16 * g + i] = static_cast<std::uint8_t>(c); }
                }
            }
        }
        return e;
    }
};
static_assert(block_bytes<nvfp4> == 36);

}  // namespace qlib::inline v0
QLIB_EXACT_END
