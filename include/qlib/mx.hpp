#pragma once
// Microscaling formats: OCP's MX family and NVIDIA's NVFP4 in their own planes, MXFP4 and NVFP4 in ggml's
// blocks. Sources: OCP MX v1.0; TensorRT Model Optimizer (nvfp4_tensor.py); compressed-tensors
// (nvfp4-pack-quantized); ggml-common.h, ggml-quants.c.
#include "fit/mx_scale.hpp"
#include "format/format.hpp"
#include "format/lane_blocks.hpp"
#include "format/global_scales.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// E4M3 without its sign, as ggml reads it: codes 0 and 127 are zero, the top bit is
/// ignored. Written as E4M3 rounds, saturating at 448.
struct ue4m3 {
    using storage = std::uint8_t;
    storage bits{};
    [[nodiscard]] QLIB_INLINE constexpr float value() const noexcept {
        if (bits == 0 || bits == 0x7F) return 0;
        // 0xFF goes on where E4M3 has its NaN: 1.875 * 2^8.
        return (bits & 0x7F) == 0x7F ? 480.0f : e4m3{static_cast<storage>(bits & 0x7F)}.value();
    }
    [[nodiscard]] QLIB_INLINE static constexpr ue4m3 from(float x, overflow = overflow::saturate,
                                                          rounding r = rounding::nearest_even) noexcept {
        return {x > 0 ? e4m3::from(x, overflow::saturate, r).bits : storage{0}};
    }
    [[nodiscard]] static constexpr float(max)() noexcept { return 448; }
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
    [[nodiscard]] QLIB_INLINE static constexpr half_e8m0 from(float x, overflow = overflow::saturate,
                                                              rounding r = rounding::nearest_even) noexcept {
        return {e8m0::from(x < 0x1p126f ? 2 * x : 0x1p127f, overflow::saturate, r).bits};
    }
    [[nodiscard]] static constexpr float(max)() noexcept { return 0x1p126f; }
};

template <> inline constexpr const char* scale_type_name<ue4m3> = "ue4m3";
template <> inline constexpr const char* scale_type_name<half_e8m0> = "half_e8m0";
template <> inline constexpr bool power_of_two_type<half_e8m0> = true;

/// E2M1 in code order; code 8 is a plain zero, and none chooses it.
inline constexpr std::array<float, 16> e2m1_levels{0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// Twice those levels: integers.
inline constexpr std::array<float, 16> doubled_e2m1_levels{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 4.25 bits: E2M1 under a power of two per 32 weights. ggml, block_mxfp4; ignores importance. The
/// reference takes the exponent of the abs-max from its bits; ggml takes log2f, which glibc rounds up
/// for about 250 floats just below powers of two.
struct mxfp4 : format<codebook_grid<doubled_e2m1_levels>, scale_per<32, half_e8m0>, inline_blocks<nibbles_split_16>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, mxfp4>& s,
                                                detail::lane_blocks<L, mxfp4>& out) noexcept {
        L::template ggml_e2m1_block<mxfp4>(s, out, [](float largest) QLIB_INLINE_LAMBDA {
            const auto exponent = static_cast<int>(detail::bits_of(largest) >> 23) - 2;
            return half_e8m0{static_cast<std::uint8_t>(exponent > 0 ? exponent : 0)};
        });
    }
};
static_assert(block_bytes<mxfp4> == 17);

/// 4.5 bits: E2M1 in groups of 16 under E4M3 scales, four groups to a block, and an f32 scale of the tensor (GGUF:
/// `<name>.scale`), which ggml's own encoder leaves at 1.
struct nvfp4 : format<codebook_grid<e2m1_levels>, scale_per<16, ue4m3, 4, true>, inline_blocks<nibbles_split<8>>> {
    QLIB_INLINE static constexpr float reference_outer(const tile_stats&) noexcept { return 1; }
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, nvfp4>& s,
                                                detail::lane_blocks<L, nvfp4>& out) noexcept {
        L::template ggml_e2m1_block<nvfp4>(
            s, out, [](float largest) QLIB_INLINE_LAMBDA { return ue4m3::from_ggml(largest / 6.0f); });
    }
};
static_assert(block_bytes<nvfp4> == 36);

/// MXINT8's elements: int8 in 64ths. -2 decodes and is never chosen, so that the range is symmetric.
struct mxint8_grid {
    using code = std::uint8_t;
    static constexpr std::size_t bits = 8, vec = 1, size = 256;
    static constexpr float lowest = -127.0f / 64, highest = 127.0f / 64;
    static constexpr code flip = int8_grid::flip;
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return int8_grid::level(i) * 0x1p-6f;
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float* w) noexcept {
        const float steps = detail::product(*u, 64.0f);
        return int8_grid::nearest(&steps, w);
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

/// An MX format: elements of a grid under an E8M0 scale per 32; all codes in one plane, one after another
/// from the least significant bit on, all scales in another; a row may end inside a block. Elements are
/// rounded to nearest even. Those beyond the highest level saturate, as some do under OCP's own rule of
/// scales, which is the plain one; mx_scale_fit has others.
template <class Grid> struct mx_format : format<Grid, scale_per<32, e8m0>, planar<>> {
    /// The plain map of a group whose weights range from low to high, for plain_fit.
    QLIB_INLINE static constexpr affine plain_map(float low, float high) noexcept {
        return {detail::mx_scale<Grid>(mx_rule::floor, detail::larger(detail::magnitude(low), detail::magnitude(high))),
                0};
    }
};

/// 8.25 bits.
struct mxfp8_e4m3 : mx_format<minifloat_grid<e4m3>> {};
struct mxfp8_e5m2 : mx_format<minifloat_grid<e5m2>> {};
/// 6.25 bits, four elements in three bytes.
struct mxfp6_e3m2 : mx_format<minifloat_grid<e3m2>> {};
struct mxfp6_e2m3 : mx_format<minifloat_grid<e2m3>> {};
/// 4.25 bits, the first of a pair in the low nibble: compressed-tensors' mxfp4-pack-quantized, torchao.
struct mxfp4_ocp : mx_format<minifloat_grid<e2m1>> {};
/// 8.25 bits.
struct mxint8 : mx_format<mxint8_grid> {};
static_assert(block_bytes<mxfp8_e4m3> == 33 && block_bytes<mxfp6_e3m2> == 25 && block_bytes<mxfp4_ocp> == 17 &&
              block_bytes<mxint8> == 33);

/// 4.5 bits: E2M1 and an E4M3 scale per 16 weights in planes, and one f32 that multiplies the scales.
/// TensorRT Model Optimizer: `weight`, the first of a pair in the low nibble, `weight_scale`,
/// `weight_scale_2`. The reference stores no scale of zero.
struct nvfp4_modelopt : format<minifloat_grid<e2m1>, scale_per_times_global<16, e4m3>, planar<>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, nvfp4_modelopt>& s,
                                                detail::lane_blocks<L, nvfp4_modelopt>& out) noexcept {
        L::template divided_block<nvfp4_modelopt>(s, out, [](float largest, const outer& o) QLIB_INLINE_LAMBDA {
            const float scale = largest / detail::product(6.0f, o.global);
            return e4m3::from(scale > 0 ? detail::larger(scale, 0x1p-9f) : 1.0f, overflow::saturate);
        });
    }
};
/// 4.5 bits: the same planes, and one f32 that divides the scales. compressed-tensors, nvfp4-pack-quantized:
/// `weight_packed`, `weight_scale`, `weight_global_scale`. The reference stores 1/8 for a scale of zero.
struct nvfp4_compressed_tensors : format<minifloat_grid<e2m1>, scale_per_over_global<16, e4m3>, planar<>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, nvfp4_compressed_tensors>& s,
                                                detail::lane_blocks<L, nvfp4_compressed_tensors>& out) noexcept {
        L::template divided_block<nvfp4_compressed_tensors>(
            s, out, [](float largest, const outer& o) QLIB_INLINE_LAMBDA {
                const e4m3 scale = e4m3::from(detail::product(largest / 6.0f, o.global), overflow::saturate);
                return scale.bits != 0 ? scale : e4m3::from(0.125f);
            });
    }
};
static_assert(block_bytes<nvfp4_modelopt> == 9 && block_bytes<nvfp4_compressed_tensors> == 9);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
