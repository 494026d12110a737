#pragma once
// ggml's lattice formats, one to three and a half bits a weight: IQ1_S to IQ3_S. A code is a point for 8 weights (4 of
// IQ3_S), out of a set that was chosen on data, with their signs. Source: ggml-common.h, ggml-quants.c.
#include "format/iq_points.hpp"
#include "format/lattice.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Eight bits to the lowest of eight bytes; eight nibbles likewise.
QLIB_INLINE constexpr std::uint64_t spread_bits(std::uint64_t v) noexcept {
    v = (v | v << 28) & 0x0000000F0000000F;
    v = (v | v << 14) & 0x0003000300030003;
    return (v | v << 7) & 0x0101010101010101;
}
QLIB_INLINE constexpr std::uint64_t spread_nibbles(std::uint64_t v) noexcept {
    v = (v | v << 16) & 0x0000FFFF0000FFFF;
    v = (v | v << 8) & 0x00FF00FF00FF00FF;
    return (v | v << 4) & 0x0F0F0F0F0F0F0F0F;
}
/// 4-bit scales, two to a byte, the first low; odd ones without their last bit.
template <std::size_t Groups>
QLIB_INLINE constexpr void store_odd_nibbles(const std::array<std::int8_t, Groups>& sub, std::byte* out) noexcept {
    for (std::size_t g = 0; g < Groups; g += 2) out[g / 2] = static_cast<std::byte>(sub[g] >> 1 | sub[g + 1] >> 1 << 4);
}
template <std::size_t Groups>
QLIB_INLINE constexpr void load_odd_nibbles(const std::byte* in, std::array<std::int8_t, Groups>& sub) noexcept {
    for (std::size_t g = 0; g < Groups; ++g)
        sub[g] = static_cast<std::int8_t>((static_cast<unsigned>(in[g / 2]) >> 4 * (g % 2) & 15) << 1 | 1);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// d; for each 32 weights four indices of a byte, then four sign codes of 7 bits and the scale in 32 bits.
struct iq2_xxs_wire {
    static constexpr std::size_t bytes = 66;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        detail::store_little_endian(p.super, out);
        for (std::size_t b = 0; b < 8; ++b) {
            auto rest = static_cast<std::uint32_t>(p.sub[b] >> 1) << 28;
            for (std::size_t l = 0; l < 4; ++l) {
                out[2 + 8 * b + l] = static_cast<std::byte>(codes[4 * b + l] & 255);
                rest |= static_cast<std::uint32_t>(codes[4 * b + l] >> 8) << 7 * l;
            }
            detail::write_number(rest, out + 6 + 8 * b);
        }
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        p.super = detail::load_little_endian<f16>(in);
        for (std::size_t b = 0; b < 8; ++b) {
            const auto rest = detail::read_number<std::uint32_t>(in + 6 + 8 * b);
            p.sub[b] = static_cast<std::int8_t>(rest >> 28 << 1 | 1);
            if (codes.empty()) continue;
            for (std::size_t l = 0; l < 4; ++l)
                codes[4 * b + l] =
                    static_cast<C>(static_cast<unsigned>(in[2 + 8 * b + l]) | (rest >> 7 * l & 127) << 8);
        }
    }
};

/// d; codes of 16 bits; scales.
struct iq2_xs_wire {
    static constexpr std::size_t bytes = 74;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        detail::store_little_endian(p.super, out);
        for (std::size_t g = 0; g < 32; ++g) detail::write_number(codes[g], out + 2 + 2 * g);
        detail::store_odd_nibbles(p.sub, out + 66);
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        p.super = detail::load_little_endian<f16>(in);
        detail::load_odd_nibbles(in + 66, p.sub);
        for (std::size_t g = 0; g < codes.size(); ++g)
            codes[g] = static_cast<C>(static_cast<unsigned>(in[2 + 2 * g]) | static_cast<unsigned>(in[3 + 2 * g]) << 8);
    }
};

/// d; the low bytes of the indices; signs; the upper two bits of the indices; scales.
struct iq2_s_wire {
    static constexpr std::size_t bytes = 82;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        detail::store_little_endian(p.super, out);
        for (std::size_t g = 0; g < 32; ++g) {
            out[2 + g] = static_cast<std::byte>(codes[g] & 255);
            out[34 + g] = static_cast<std::byte>(codes[g] >> 10);
            if (g % 4 == 0) out[66 + g / 4] = std::byte{0};
            out[66 + g / 4] |= static_cast<std::byte>((codes[g] >> 8 & 3) << 2 * (g % 4));
        }
        detail::store_odd_nibbles(p.sub, out + 74);
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        p.super = detail::load_little_endian<f16>(in);
        detail::load_odd_nibbles(in + 74, p.sub);
        for (std::size_t g = 0; g < codes.size(); g += 4) {
            const unsigned upper = static_cast<unsigned>(in[66 + g / 4]) << 8;
            for (std::size_t i = 0; i < 4; ++i)
                codes[g + i] = static_cast<unsigned>(in[2 + g + i]) | (upper >> 2 * i & 0x300) |
                               static_cast<unsigned>(in[34 + g + i]) << 10;
        }
    }
};

/// d; indices; for each 32 weights four sign codes of 7 bits and the scale in 32 bits.
struct iq3_xxs_wire {
    static constexpr std::size_t bytes = 98;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        detail::store_little_endian(p.super, out);
        for (std::size_t b = 0; b < 8; ++b) {
            auto rest = static_cast<std::uint32_t>(p.sub[b] >> 1) << 28;
            for (std::size_t l = 0; l < 4; ++l) {
                const std::uint32_t c = codes[4 * b + l];
                detail::write_number(static_cast<std::uint16_t>(c & 0xFFFF), out + 2 + 8 * b + 2 * l);
                rest |= c >> 16 << 7 * l;
            }
            detail::write_number(rest, out + 66 + 4 * b);
        }
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        p.super = detail::load_little_endian<f16>(in);
        for (std::size_t b = 0; b < 8; ++b) {
            const auto rest = detail::read_number<std::uint32_t>(in + 66 + 4 * b);
            p.sub[b] = static_cast<std::int8_t>(rest >> 28 << 1 | 1);
            if (codes.empty()) continue;
            for (std::size_t l = 0; l < 4; ++l) {
                const std::uint32_t point = detail::read_number<std::uint16_t>(in + 2 + 8 * b + 2 * l);
                codes[4 * b + l] = point | (rest >> 7 * l & 127) << 16;
            }
        }
    }
};

/// d; the low bytes of the indices; their ninth bits; signs, of two codes in a byte; scales.
struct iq3_s_wire {
    static constexpr std::size_t bytes = 110;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        detail::store_little_endian(p.super, out);
        for (std::size_t q = 0; q < 64; q += 8) {
            unsigned ninth = 0;
            for (std::size_t i = 0; i < 8; ++i) {
                out[2 + q + i] = static_cast<std::byte>(codes[q + i] & 255);
                ninth |= (codes[q + i] >> 8 & 1u) << i;
            }
            out[66 + q / 8] = static_cast<std::byte>(ninth);
            for (std::size_t i = 0; i < 8; i += 2)
                out[74 + (q + i) / 2] = static_cast<std::byte>(codes[q + i] >> 9 | codes[q + i + 1] >> 9 << 4);
        }
        detail::store_odd_nibbles(p.sub, out + 106);
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        p.super = detail::load_little_endian<f16>(in);
        detail::load_odd_nibbles(in + 106, p.sub);
        if (codes.empty()) return;
        std::array<std::byte, 64> upper{};
        for (std::size_t q = 0; q < 64; q += 8)
            detail::write_number(detail::spread_bits(static_cast<std::uint64_t>(in[66 + q / 8])) |
                                     detail::spread_nibbles(detail::read_number<std::uint32_t>(in + 74 + q / 2)) << 1,
                                 &upper[q]);
        for (std::size_t q = 0; q < 64; ++q)
            codes[q] = static_cast<C>(static_cast<unsigned>(in[2 + q]) | static_cast<unsigned>(upper[q]) << 8);
    }
};

/// d; the low bytes of the indices; for each 32 weights their upper bits, the scale and the shift in 16 bits.
struct iq1_s_wire {
    static constexpr std::size_t bytes = 50;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        detail::store_little_endian(p.super, out);
        for (std::size_t b = 0; b < 8; ++b) {
            auto rest = static_cast<unsigned>(p.sub[b] >> 1 | (p.down[b] ? 8 : 0)) << 12;
            for (std::size_t l = 0; l < 4; ++l) {
                out[2 + 4 * b + l] = static_cast<std::byte>(codes[4 * b + l] & 255);
                rest |= static_cast<unsigned>(codes[4 * b + l] >> 8) << 3 * l;
            }
            detail::write_number(static_cast<std::uint16_t>(rest), out + 34 + 2 * b);
        }
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        p.super = detail::load_little_endian<f16>(in);
        for (std::size_t b = 0; b < 8; ++b) {
            const unsigned rest = detail::read_number<std::uint16_t>(in + 34 + 2 * b);
            p.sub[b] = static_cast<std::int8_t>((rest >> 12 & 7) << 1 | 1);
            p.down[b] = rest >> 15 != 0;
            if (codes.empty()) continue;
            for (std::size_t l = 0; l < 4; ++l)
                codes[4 * b + l] = static_cast<C>(static_cast<unsigned>(in[2 + 4 * b + l]) | (rest >> 3 * l & 7) << 8);
        }
    }
};

/// The low bytes of the codes; their upper four bits; in each of four 16-bit words four scales of 3 bits and a
/// hexadecimal digit of d, the last first.
struct iq1_m_wire {
    static constexpr std::size_t bytes = 56;
    template <class P, class C> QLIB_INLINE static constexpr void store(const P& p, C codes, std::byte* out) noexcept {
        for (std::size_t g = 0; g < 32; ++g) out[g] = static_cast<std::byte>(codes[g] & 255);
        for (std::size_t g = 0; g < 32; g += 2)
            out[32 + g / 2] = static_cast<std::byte>(codes[g] >> 8 | codes[g + 1] >> 8 << 4);
        for (std::size_t k = 0; k < 4; ++k) {
            auto word = static_cast<unsigned>(p.super.bits >> 4 * k & 15) << 12;
            for (std::size_t j = 0; j < 4; ++j) word |= static_cast<unsigned>(p.sub[4 * k + j] >> 1) << 3 * j;
            detail::write_number(static_cast<std::uint16_t>(word), out + 48 + 2 * k);
        }
    }
    template <class P, class C>
    QLIB_INLINE static constexpr void load(const std::byte* in, P& p, std::span<C> codes) noexcept {
        unsigned d = 0;
        for (std::size_t k = 0; k < 4; ++k) {
            const unsigned word = detail::read_number<std::uint16_t>(in + 48 + 2 * k);
            d |= word >> 12 << 4 * k;
            for (std::size_t j = 0; j < 4; ++j)
                p.sub[4 * k + j] = static_cast<std::int8_t>((word >> 3 * j & 7) << 1 | 1);
        }
        p.super = f16{static_cast<std::uint16_t>(d)};
        for (std::size_t g = 0; g < codes.size(); g += 2) {
            const auto upper = static_cast<unsigned>(in[32 + g / 2]);
            codes[g] = static_cast<C>(static_cast<unsigned>(in[g]) | (upper & 15) << 8);
            codes[g + 1] = static_cast<C>(static_cast<unsigned>(in[g + 1]) | upper >> 4 << 8);
        }
    }
};

/// 2.0625 bits: 256 points of 8 weights, an even number of negative ones, a scale per 32. ggml, block_iq2_xxs.
struct iq2_xxs : lattice_format<signed_lattice_grid<iq2_xxs_points, 1, true>, 32, 4, iq2_xxs_wire> {
    static constexpr detail::ggml_lattice_recipe recipe{.sigma2_factor = 1,
                                                        .skipped_below = 1e-15f,
                                                        .steps = 6,
                                                        .step = 0.1f,
                                                        .shells = 2,
                                                        .scale_first = true,
                                                        .all_again = true,
                                                        .keeps_zeros = false};
};
/// 2.3125 bits: 512 points of 8 weights, an even number of negative ones, a scale per 16. ggml, block_iq2_xs.
struct iq2_xs : lattice_format<signed_lattice_grid<iq2_xs_points, 1, true>, 16, 4, iq2_xs_wire> {
    static constexpr detail::ggml_lattice_recipe recipe{
        .sigma2_factor = 1, .skipped_below = 1e-15f, .steps = 9, .step = 0.1f, .shells = 2, .keeps_zeros = false};
};
/// 2.5625 bits: 1024 points of 8 weights, a scale per 16. ggml, block_iq2_s.
struct iq2_s : lattice_format<signed_lattice_grid<iq2_s_points, 1, false>, 16, 4, iq2_s_wire> {
    static constexpr detail::ggml_lattice_recipe recipe{
        .own_sigma2 = 0.25f, .skipped_below = 1e-8f, .steps = 9, .step = 0.1f, .shells = 1, .factor = 0.9875f};
};
/// 3.0625 bits: two of 256 points of 4 weights, an even number of the 8 negative, a scale per 32. ggml, block_iq3_xxs.
struct iq3_xxs : lattice_format<signed_lattice_grid<iq3_xxs_points, 2, true>, 32, 4, iq3_xxs_wire> {
    static constexpr detail::ggml_lattice_recipe recipe{.own_sigma2 = 0,
                                                        .skipped_below = 1e-8f,
                                                        .steps = 15,
                                                        .step = 0.2f,
                                                        .shells = 2,
                                                        .factor = 1.0125f,
                                                        .keeps_zeros = false};
};
/// 3.4375 bits: 512 points of 4 weights, a scale per 32. ggml, block_iq3_s. Behind 32 zeros in a block that is not all
/// zero ggml's encoder stores points and signs one group too early, so that they decode to garbage: the reference fit
/// reproduces it, every other fit is right there.
struct iq3_s : lattice_format<signed_lattice_grid<iq3_s_points, 1, false>, 32, 4, iq3_s_wire> {
    static constexpr detail::ggml_lattice_recipe recipe{.own_sigma2 = 0,
                                                        .skipped_below = 0,
                                                        .steps = 9,
                                                        .step = 0.2f,
                                                        .shells = 3,
                                                        .factor = 1.033f,
                                                        .all_again = true,
                                                        .trusts_first = false};
};
/// 1.5625 bits: 2048 points of 8 weights in -1, 0, 1, a scale and a shift by an eighth per 32. ggml, block_iq1_s.
struct iq1_s : lattice_format<shifted_lattice_grid<iq1_points, false>, 32, 3, iq1_s_wire, true> {};
/// 1.75 bits: the same points, a shift for each, a scale per 16. ggml, block_iq1_m.
struct iq1_m : lattice_format<shifted_lattice_grid<iq1_points, true>, 16, 3, iq1_m_wire> {};

static_assert(block_bytes<iq2_xxs> == 66 && block_bytes<iq2_xs> == 74 && block_bytes<iq2_s> == 82 &&
              block_bytes<iq3_xxs> == 98 && block_bytes<iq3_s> == 110 && block_bytes<iq1_s> == 50 &&
              block_bytes<iq1_m> == 56);

}  // namespace qlib::inline QLIB_ABI
