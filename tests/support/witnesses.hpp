#pragma once
// Witnesses that the seam carries: formats of ten kinds, none of which any algorithm knows by name.
#include <qlib/fp8.hpp>
#include <qlib/integer.hpp>
#include <qlib/k_quants.hpp>
#include <qlib/legacy_quants.hpp>
#include <qlib/mx.hpp>
#include <qlib/nf4.hpp>
#include <qlib/ternary.hpp>

#include <bit>

namespace witness {

inline constexpr std::array<float, 8> levels{-1.f, -.58f, -.3f, -.09f, .1f, .33f, .62f, 1.f};
/// A user's own format, in one line.
struct own : qlib::format<qlib::codebook_grid<levels>, qlib::scale_per<48, qlib::e4m3>, qlib::inline_blocks<>> {};

/// A lattice grid: 8 weights per code of 16 bits, 9 for a point of {1, 3, 5}^8 and 7 for signs of even parity. The
/// points are those of least norm, a stand-in for a trained table.
struct lattice_grid {
    using code = std::uint16_t;
    static constexpr std::size_t bits = 16, vec = 8, size = 6;
    static constexpr float level(std::size_t i) { return std::array{-5.f, -3.f, -1.f, 1.f, 3.f, 5.f}[i]; }

    using point = std::array<std::uint8_t, 8>;
    static const std::array<point, 512>& points() {
        static const std::array<point, 512> table = [] {
            std::array<point, 512> t{};
            std::size_t n = 0;
            for (int norm = 8; n < t.size(); norm += 8)
                for (int i = 0; i < 6561 && n < t.size(); ++i) {
                    point p{};
                    int sum = 0;
                    for (int rest = i; std::uint8_t & v : p) {
                        v = static_cast<std::uint8_t>(1 + 2 * (rest % 3));
                        rest /= 3;
                        sum += v * v;
                    }
                    if (sum == norm) t[n++] = p;
                }
            return t;
        }();
        return table;
    }
    static code nearest(const float* u, const float* w) {
        float a[8];
        unsigned signs = 0;
        std::size_t weakest = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            a[i] = u[i] < 0 ? -u[i] : u[i];
            signs |= (u[i] < 0 ? 1u : 0u) << i;
            if (w[i] * a[i] < w[weakest] * a[weakest]) weakest = i;
        }
        if (std::popcount(signs) % 2 != 0) {
            signs ^= 1u << weakest;
            a[weakest] = -a[weakest];
        }
        float least = 0;
        unsigned best = 0;
        for (unsigned g = 0; g < 512; ++g) {
            float e = 0;
            for (std::size_t i = 0; i < 8; ++i) {
                const float d = a[i] - static_cast<float>(points()[g][i]);
                e += w[i] * d * d;
            }
            if (g == 0 || e < least) {
                least = e;
                best = g;
            }
        }
        return static_cast<code>(best | (signs & 127) << 9);
    }
    static void levels(code c, float* l) {
        unsigned signs = c >> 9;
        signs |= static_cast<unsigned>(std::popcount(signs) % 2) << 7;
        for (std::size_t i = 0; i < 8; ++i)
            l[i] = (signs >> i & 1 ? -1.0f : 1.0f) * static_cast<float>(points()[c & 511][i]);
    }
};
/// Sixteen 4-bit sub-scales.
struct nibble_scales {
    static constexpr std::size_t groups = 16, bytes = 8;
    static constexpr int sub_bits = 4, min_bits = 0;
    static constexpr bool sub_signed = false;
    static constexpr void store(const std::array<std::int8_t, 16>& sub, const std::array<std::uint8_t, 16>&,
                                std::byte* out) {
        qlib::pack_bits(sub.data(), 16, 4, out);
    }
    static constexpr void load(const std::byte* in, std::array<std::int8_t, 16>& sub, std::array<std::uint8_t, 16>&) {
        qlib::unpack_bits(in, 16, 4, sub.data());
    }
};
struct lattice : qlib::format<lattice_grid, qlib::two_level<16, nibble_scales>> {};

struct int4_row : qlib::int_format<qlib::int_spec{
                      .bits = 4, .sym = qlib::symmetry::restricted, .granularity = qlib::granularity::row}> {};

}  // namespace witness

/// Every witness, for TEST_CASE_TEMPLATE.
#define QLIB_WITNESSES                                                                                                \
    qlib::int4_g128_asym, witness::own, qlib::q4_0, qlib::q5_0, qlib::q8_0, qlib::q4_k, qlib::q6_k, witness::lattice, \
        qlib::nvfp4, witness::int4_row, qlib::fp8_e4m3_tile128, qlib::nf4_dq, qlib::ternary_g80
