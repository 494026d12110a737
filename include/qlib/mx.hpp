#pragma once
// Microscaling formats in ggml's blocks: MXFP4 and NVFP4. Sources: ggml-common.h, ggml-quants.c; OCP MX v1.0; NVIDIA's NVFP4.
#include "fit/ggml_search.hpp"
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

/// Half of an E8M0 value, ggml's scale of doubled E2M1 levels: 2^(bits - 128). Code 255 is 2^127, no NaN.
struct half_e8m0 {
    using storage = std::uint8_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        return detail::float_of(bits < 2 ? 0x00200000u << bits : static_cast<std::uint32_t>(bits - 1) << 23);
    }
    /// Never 255, which ggml's validation refuses.
    [[nodiscard]] QLIB_INLINE static constexpr half_e8m0 from(float x, overflow = overflow::saturate, rounding r = rounding::nearest_even) noexcept {
        return {e8m0::from(x < 0x1p126f ? 2 * x : 0x1p127f, overflow::saturate, r).bits};
    }
    [[nodiscard]] static constexpr float max() noexcept { return 0x1p126f; }
};

template <> inline constexpr const char* scale_type_name<ue4m3> = "ue4m3";
template <> inline constexpr const char* scale_type_name<half_e8m0> = "half_e8m0";

/// E2M1 in code order; code 8 is a plain zero, and none chooses it.
inline constexpr std::array<float, 16> e2m1_levels{0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// Twice those levels: integers.
inline constexpr std::array<float, 16> doubled_e2m1_levels{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The first of the levels nearest to x under scale d, in code order: ggml's choice for both formats.
constexpr std::uint8_t ggml_first_nearest(const std::array<float, 16>& levels, float d, float x) noexcept {
    std::uint8_t best = 0;
    float least = magnitude(product(levels[0], d) - x);
    for (std::uint8_t c = 1; c < 16; ++c) {
        const float e = magnitude(product(levels[c], d) - x);
        if (e < least) { least = e; best = c; }
    }
    return best;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.25 bits: E2M1 under a power of two per 32 weights. ggml, block_mxfp4; ignores importance. The reference takes the exponent of the
/// abs-max from its bits; ggml takes log2f, which glibc rounds up for about 250 floats just below powers of two.
struct mxfp4 : format<codebook_grid<doubled_e2m1_levels>, scale_per<32, half_e8m0>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<mxfp4> reference(const site<mxfp4>& s) noexcept {
        encoded<mxfp4> e;
        const float amax = detail::magnitude(detail::extreme_of(s.x.data(), 32));
        const auto exponent = static_cast<int>(detail::bits_of(amax) >> 23) - 2;
        e.params.scale[0].bits = static_cast<std::uint8_t>(exponent > 0 ? exponent : 0);
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = detail::ggml_first_nearest(doubled_e2m1_levels, e.params.scale[0].value(), s.x[i]);
        return e;
    }
};
static_assert(block_bytes<mxfp4> == 17);

/// 4.5 bits: E2M1 in groups of 16 under E4M3 scales, four groups to a block, and an f32 scale of the tensor (GGUF: `<name>.scale`), which
/// ggml's own encoder leaves at 1.
struct nvfp4 : format<codebook_grid<e2m1_levels>, scale_per<16, ue4m3, 4, true>, inline_blocks<nibbles_split<8>>> {
    QLIB_INLINE static constexpr float reference_outer(const tile_stats&) noexcept { return 1; }
    QLIB_INLINE static constexpr encoded<nvfp4> reference(const site<nvfp4>& s) noexcept {
        encoded<nvfp4> e;
        for (std::size_t g = 0; g < groups; ++g) {
            const float amax = detail::magnitude(detail::extreme_of(&s.x[16 * g], 16));
            e.params.scale[g] = ue4m3::from_ggml(amax / 6.0f);
            for (std::size_t i = 16 * g; i < 16 * g + 16; ++i) e.code[i] = detail::ggml_first_nearest(e2m1_levels, e.params.scale[g].value(), s.x[i]);
        }
        return e;
    }
};
static_assert(block_bytes<nvfp4> == 36);

}  // namespace qlib::inline v0
QLIB_EXACT_END
