#pragma once
// NF4, FP4 and their double quantization, bitsandbytes' bytes. Source: Dettmers et
// al., QLoRA (2023); bitsandbytes functional.py.
#include "format/format.hpp"
#include "format/lane_blocks.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// The quantiles of a normal distribution, with an exact 0 and both ends.
inline constexpr std::array<float, 16> nf4_levels{-1.0f,
                                                  -0.6961928009986877f,
                                                  -0.5250730514526367f,
                                                  -0.39491748809814453f,
                                                  -0.28444138169288635f,
                                                  -0.18477343022823334f,
                                                  -0.09105003625154495f,
                                                  0.0f,
                                                  0.07958029955625534f,
                                                  0.16093020141124725f,
                                                  0.24611230194568634f,
                                                  0.33791524171829224f,
                                                  0.44070982933044434f,
                                                  0.5626170039176941f,
                                                  0.7229568362236023f,
                                                  1.0f};

/// bitsandbytes' own thresholds between them: the midpoints, of which it rounds four
/// the other way. x above one is the higher level.
inline constexpr std::array<float, 15> nf4_thresholds{
    -0.8480964004993439f,  -0.6106329262256622f,   -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f,   0.2035212516784668f,
    0.2920137718319893f,   0.3893125355243683f,    0.5016634166240692f,  0.6427869200706482f,   0.8614784178118011f};
using nf4_grid = codebook_grid<nf4_levels, nf4_thresholds>;

/// bitsandbytes' FP4, not OCP's E2M1: a sign, and magnitudes k / 192 in an order of their own. Codes follow from the
/// magnitude by its own thresholds; of a tiny negative weight the code is 8, which decodes to 0 as well.
struct fp4_grid {
    using code = std::uint8_t;
    static constexpr std::size_t bits = 4, vec = 1, size = 16;
    static constexpr float lowest = -1, highest = 1;
    static constexpr std::array<float, 7> magnitude_thresholds{0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f,
                                                               0.4166667f,  0.583333f,  0.8333333f};
    /// Of ascending magnitudes; as floats, for look-ups in lanes.
    static constexpr std::array<float, 16> magnitude_codes{0, 1, 6, 7, 4, 5, 2, 3};
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return i > 8 ? -magnitudes[i - 8] : magnitudes[i % 8];
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        const float a = detail::magnitude(*u);
        std::size_t above = 0;
        for (const float t : magnitude_thresholds) above += a > t;
        return static_cast<code>(magnitude_codes[above] + (*u < 0 ? 8 : 0));
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }

private:
    static constexpr std::array<float, 8> magnitudes{0, 0.0625f / 12, 8.0f / 12, 1, 4.0f / 12, 0.5f, 2.0f / 12, 0.25f};
};

namespace detail {

/// bitsandbytes' signed dynamic map of 8 bits, ascending: +-10^(i-6) times the means of 2^i + 1
/// points from 0.1 to 1, and 0 and 1. torch.linspace computes its points with FMA, which a
/// double product and sum of floats reproduce exactly.
inline constexpr std::array<float, 256> dynamic_map = [] {
    constexpr std::array<float, 7> decade{1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    std::array<float, 256> map{};
    std::size_t at = 128;  // 127 is zero, and each value's negative mirrors it there
    for (std::size_t i = 0; i < 7; ++i) {
        const std::size_t steps = std::size_t{1} << i;
        const float step = (1.0f - 0.1f) / static_cast<float>(steps);
        const auto point = [&](std::size_t k) {
            const bool from_start = k < (steps + 1) / 2;
            const double base = static_cast<double>(from_start ? 0.1f : 1.0f),
                         s = static_cast<double>(from_start ? step : -step);
            return static_cast<float>(s * static_cast<double>(from_start ? k : steps - k) + base);
        };
        for (std::size_t k = 0; k < steps; ++k, ++at) {
            map[at] = decade[i] * ((point(k) + point(k + 1)) / 2);
            map[254 - at] = -map[at];
        }
    }
    map[255] = 1.0f;
    return map;
}();

}  // namespace detail

/// The scale of every N weights as an 8-bit code of bitsandbytes' dynamic map, under one f32 per
/// `Blocks` of them and the tensor's mean: scale = map[code] * second + mean. A scale is
/// abs-max / highest level. Tiles run along storage, over row ends.
template <std::size_t N, std::size_t Blocks> struct double_quantized_scale_per {
    template <class Grid> struct bind {
        static constexpr std::size_t group = N, groups = 1;
        static constexpr form map = form::scaled;
        static constexpr extent tile{0, N* Blocks, true};
        static constexpr bool signed_scale = false, signed_offset = true;
        static constexpr bool outer_multiplies = false;  // consumed in `at`

        struct outer {
            float second = 0, mean = 0;
        };
        struct params {
            std::uint8_t code = 0;
            float scale = 0;
        };

        QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept {
            constexpr float top = highest_level<Grid>;
            outer o{0, stats.mean_abs_max / top};
            for (const float m : stats.block_abs_max)
                o.second = detail::larger(o.second, detail::magnitude(m / top - o.mean));
            return o;
        }
        QLIB_INLINE static constexpr float outer_scale(const outer&) noexcept { return 1; }
        QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.scale, 0}; }
        QLIB_INLINE static constexpr params project(const std::array<affine, 1>& wishes, const outer& o) noexcept {
            const float u = detail::product(wishes[0].s - o.mean, detail::safe_reciprocal(o.second));
            params p{codebook_grid<detail::dynamic_map>::nearest(&u, nullptr), 0};
            take_outer(p, o);
            return p;
        }
        QLIB_INLINE static constexpr void take_outer(params& p, const outer& o) noexcept {
            p.scale = detail::product(detail::dynamic_map[p.code], o.second) + o.mean;
        }

        QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept { return f == field::scales ? 1 : 0; }
        QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
            if (f == field::scales) *out = static_cast<std::byte>(p.code);
        }
        QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
            if (f == field::scales) p.code = std::to_integer<std::uint8_t>(*in);
        }
        static constexpr std::size_t outer_bytes = sizeof(float), tensor_bytes = sizeof(float);
        QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte* tensor) noexcept {
            detail::store_little_endian(f32::from(o.second), out);
            detail::store_little_endian(f32::from(o.mean), tensor);
        }
        QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte* tensor) noexcept {
            return {detail::load_little_endian<f32>(in).value(), detail::load_little_endian<f32>(tensor).value()};
        }
    };
};

/// 4.5 bits: NF4 codes, an f32 abs-max per 64 weights along storage. Planes: codes
/// (first of a pair in the high nibble), abs-max.
struct nf4 : format<nf4_grid, scale_per<64, f32>, flat_planar<high_nibble_first>> {};
static_assert(block_bytes<nf4> == 36);

/// 4.127 bits: NF4 with its abs-max in 8 bits under an f32 per 256 blocks, and the mean abs-max in the tensor plane.
struct nf4_dq : format<nf4_grid, double_quantized_scale_per<64, 256>, flat_planar<high_nibble_first>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, nf4_dq>& s,
                                                detail::lane_blocks<L, nf4_dq>& out) noexcept {
        L::template codes_before_scale<nf4_dq>(s, out);
    }
};
static_assert(block_bytes<nf4_dq> == 33);

/// The same two with FP4 codes.
struct fp4 : format<fp4_grid, scale_per<64, f32>, flat_planar<high_nibble_first>> {};
struct fp4_dq : format<fp4_grid, double_quantized_scale_per<64, 256>, flat_planar<high_nibble_first>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, fp4_dq>& s,
                                                detail::lane_blocks<L, fp4_dq>& out) noexcept {
        L::template codes_before_scale<fp4_dq>(s, out);
    }
};
static_assert(block_bytes<fp4> == 36 && block_bytes<fp4_dq> == 33);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
