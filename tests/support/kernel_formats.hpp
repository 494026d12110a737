#pragma once
// Formats of every kind that a kernel can meet, most of them in the shape of a well-known one.
#include <qlib/format/format.hpp>
#include <qlib/nf4.hpp>

#include <bit>

namespace kernel_formats {
using namespace qlib;

/// Sub-scales and mins as whole bytes below 2^Bits; signed ones may be negative.
template <std::size_t Groups, int Bits, bool Signed, bool Mins> struct byte_subs {
    static constexpr std::size_t groups = Groups, bytes = Groups * (Mins ? 2 : 1);
    static constexpr int sub_bits = Bits, min_bits = Mins ? Bits : 0;
    static constexpr bool sub_signed = Signed;
    static constexpr void store(const std::array<std::int8_t, Groups>& sub, const std::array<std::uint8_t, Groups>& min,
                                std::byte* out) {
        for (std::size_t i = 0; i < Groups; ++i) out[i] = static_cast<std::byte>(sub[i]);
        if constexpr (Mins)
            for (std::size_t i = 0; i < Groups; ++i) out[Groups + i] = static_cast<std::byte>(min[i]);
    }
    static constexpr void load(const std::byte* in, std::array<std::int8_t, Groups>& sub,
                               std::array<std::uint8_t, Groups>& min) {
        for (std::size_t i = 0; i < Groups; ++i) sub[i] = static_cast<std::int8_t>(in[i]);
        if constexpr (Mins)
            for (std::size_t i = 0; i < Groups; ++i) min[i] = static_cast<std::uint8_t>(in[Groups + i]);
    }
};

// ggml's shapes
struct split4 : format<sint_grid<4>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {};
struct planes5 : format<sint_grid<5>, scale_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {};
struct offset4 : format<uint_grid<4>, scale_offset_per<32, f16>, inline_blocks<nibbles_split_16>> {};
struct bytes8 : format<int8_grid, scale_per<32, f16>, inline_blocks<whole_bytes>> {};
struct super2
    : format<uint_grid<2>, two_level<16, byte_subs<16, 4, false, true>>,
             inline_blocks<bit_planes<plane{2, 32}>, field::subs, field::codes, field::scales, field::zeros>> {};
struct super3 : format<sint_grid<3>, two_level<16, byte_subs<16, 6, true, false>>,
                       inline_blocks<bit_planes<plane{1, 32, 2}, plane{2, 32}>>> {};
struct super4 : format<uint_grid<4>, two_level<32, byte_subs<8, 6, false, true>>, inline_blocks<nibbles_split<32>>> {};
struct super6
    : format<sint_grid<6>, two_level<16, byte_subs<16, 8, true, false>>,
             inline_blocks<bit_planes<plane{4, 64}, plane{2, 32, 4}>, field::codes, field::subs, field::scales>> {};
inline constexpr std::array<float, 16> uneven{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
struct book4 : format<codebook_grid<uneven>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {};
inline constexpr std::array<float, 16> e2m1_values{0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                                   -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
struct float4 : format<codebook_grid<e2m1_values>, scale_per<16, e4m3, 4>, inline_blocks<nibbles_split<8>>> {};
struct trits80 : format<ternary_grid, scale_per<80, f16>, inline_blocks<trits>> {};

// dense codes of every width, which may end inside a block
struct dense1 : format<sign_grid, scale_per<64, f16>, inline_blocks<>> {};
struct dense2 : format<uint_grid<2>, scale_zero_per<64, f16>, inline_blocks<>> {};
struct dense3 : format<sint_grid<3>, scale_per<96, bf16>, inline_blocks<>> {};
struct dense4 : format<uint_grid<4>, scale_zero_per<128, f16>, planar<>> {};
struct dense5 : format<uint_grid<5>, scale_offset_per<32, bf16>, planar<>> {};
struct dense6 : format<minifloat_grid<minifloat<2, 3, 1, specials::none>>, scale_per<32, e8m0>, inline_blocks<>> {};
struct dense7 : format<sint_grid<7>, scale_per<128, f16, 2>, inline_blocks<sequential, field::codes, field::scales>> {};
struct dense8 : format<uint_grid<8>, scale_zero_per<128, f16>, inline_blocks<>> {};
inline constexpr std::array<float, 7> own_levels{-1.0f, -0.58f, -0.3f, 0.0f, 0.33f, 0.62f, 1.0f};
struct book3 : format<codebook_grid<own_levels>, scale_per<48, e4m3>, inline_blocks<>> {};
struct groups_of_6 : format<sint_grid<4>, scale_per<6, f16, 5>, inline_blocks<>> {};
struct pairs : format<uint_grid<3>, scale_zero_per<2, f16, 3>, inline_blocks<>> {};

// scales of rows, tensors and tiles
struct row8 : format<int8_grid, scale_per_row<>, inline_blocks<whole_bytes>> {};
struct row4 : format<uint_grid<4>, scale_per_row<f16, form::shifted>, inline_blocks<>> {};
struct tensor3 : format<uint_grid<3>, scale_per_tensor<f32, form::offset>, inline_blocks<>> {};
struct tile8 : format<minifloat_grid<e4m3>, tile_scale<extent{128, 128}>, inline_blocks<>> {};
struct tile4 : format<sint_grid<4>, tile_scale<extent{128, 128}>, inline_blocks<>> {};

/// Two codes a byte, the last first: a layout of the user's own, which no room knows.
struct reversed_nibbles {
    static constexpr bool ragged = false;
    template <std::size_t B> static constexpr std::size_t bytes(std::size_t n) { return n / 2; }
    template <std::size_t B, class Code> static constexpr void pack(std::span<const Code> c, std::byte* out) {
        for (std::size_t i = 0; i < c.size(); i += 2)
            out[(c.size() - 2 - i) / 2] = static_cast<std::byte>(c[i] << 4 | c[i + 1]);
    }
    template <std::size_t B, class Code> static constexpr void unpack(const std::byte* in, std::span<Code> c) {
        for (std::size_t i = 0; i < c.size(); i += 2) {
            const auto v = static_cast<unsigned>(in[(c.size() - 2 - i) / 2]);
            c[i] = static_cast<Code>(v >> 4);
            c[i + 1] = static_cast<Code>(v & 15);
        }
    }
};
struct own_layout : format<sint_grid<4>, scale_per<32, f16>, inline_blocks<reversed_nibbles>> {};

/// A lattice spelled out: 8 weights of -3, -1, 1 or 3 to a 16-bit code, an even number of
/// -3s and 3s; two groups of 16 under f16 scales.
struct lattice8 {
    static constexpr std::size_t group = 16, groups = 2, vec = 8;
    static constexpr form map = form::scaled;
    static constexpr extent tile{};
    struct grid {
        static constexpr std::size_t size = 4;
        static constexpr float level(std::size_t i) { return static_cast<float>(static_cast<int>(2 * i) - 3); }
    };
    using code = std::uint16_t;
    using outer = no_outer;
    struct params {
        std::array<f16, 2> scale{};
    };
    static constexpr std::array<std::size_t, 1> planes{12};
    static constexpr code nearest(const float* u, const float*) {
        unsigned c = 0;
        for (unsigned i = 0; i < 8; ++i)
            c |= static_cast<unsigned>(detail::round_clamped((u[i] + 3) * 0.5f, 0, 3)) << 2 * i;
        return static_cast<code>(even(c) ? c : c ^ 1);
    }
    static constexpr void level(code c, float* l) {
        const unsigned v = even(c) ? c : c ^ 1u;
        for (unsigned i = 0; i < 8; ++i) l[i] = grid::level(v >> 2 * i & 3);
    }
    static constexpr outer fit_outer(const tile_stats&) { return {}; }
    static constexpr float outer_scale(outer) { return 1; }
    static constexpr params project(const std::array<affine, 2>& wishes, outer) {
        return {{f16::from(wishes[0].s), f16::from(wishes[1].s)}};
    }
    static constexpr affine at(const params& p, std::size_t g) { return {p.scale[g].value(), 0}; }
    static constexpr void store(const params& p, std::span<const code> c, const std::array<std::byte*, 1>& to) {
        for (std::size_t i = 0; i < 2; ++i) detail::store_little_endian(p.scale[i], to[0] + 2 * i);
        for (std::size_t i = 0; i < 4; ++i) detail::store_little_endian(f16{c[i]}, to[0] + 4 + 2 * i);
    }
    static constexpr params load(const std::array<const std::byte*, 1>& from, outer, std::span<code> c) {
        for (std::size_t i = 0; i < c.size(); ++i) c[i] = detail::load_little_endian<f16>(from[0] + 4 + 2 * i).bits;
        return {{detail::load_little_endian<f16>(from[0]), detail::load_little_endian<f16>(from[0] + 2)}};
    }

private:
    static constexpr bool even(unsigned c) {  // level indices 0 and 3 have two equal bits
        return std::popcount(~(c ^ c >> 1) & 0x5555u) % 2 == 0;
    }
};
static_assert(block_format<lattice8>);

}  // namespace kernel_formats

#define QLIB_KERNEL_FORMATS                                                                                \
    kernel_formats::split4, kernel_formats::planes5, kernel_formats::offset4, kernel_formats::bytes8,      \
        kernel_formats::super2, kernel_formats::super3, kernel_formats::super4, kernel_formats::super6,    \
        kernel_formats::book4, kernel_formats::float4, kernel_formats::trits80, kernel_formats::dense1,    \
        kernel_formats::dense2, kernel_formats::dense3, kernel_formats::dense4, kernel_formats::dense5,    \
        kernel_formats::dense6, kernel_formats::dense7, kernel_formats::dense8, kernel_formats::book3,     \
        kernel_formats::groups_of_6, kernel_formats::pairs, kernel_formats::row8, kernel_formats::row4,    \
        kernel_formats::tensor3, kernel_formats::tile8, kernel_formats::tile4, kernel_formats::own_layout, \
        kernel_formats::lattice8, qlib::nf4, qlib::nf4_dq
