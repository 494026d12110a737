#pragma once
// The portable room: plain C++ on the 16-byte vectors that every machine has.
#include "texts.hpp"

QLIB_EXACT_BEGIN
#if !defined(__clang__)
QLIB_PRAGMA(GCC optimize(QLIB_PORTABLE_LEVEL))
#endif
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct portable {
    using room = portable;
    static constexpr isa id = isa::portable;
    static constexpr std::size_t width = 4;
    static constexpr bool looks_up_fast = false;
    static constexpr dot_instruction dot_form = dot_in_int32;
    static constexpr std::array<std::size_t, 3> widths{4, 2, 1};
    static constexpr std::size_t most_dotted = 0, dot_columns = 4;
    static constexpr std::size_t most_summed = 256;  // (255 + 128) * 127 * 256 < 2^24: such sums are exact in f32

#include "vectors.inl"
#include "../numeric/lane_order.inl"

    QLIB_INLINE static void barrier(floats& x) noexcept {
#if defined(__x86_64__)
        asm("" : "+x"(x));
#else
        asm("" : "+m"(x));
#endif
    }
    /// Rounded once or twice: fmaf() is a slow call where the baseline has no FMA.
    QLIB_INLINE static floats multiply_add(floats a, floats b, floats c) noexcept { return a * b + c; }
    QLIB_INLINE static float least_of(floats x) noexcept {
        return detail::smaller(detail::smaller(x[0], x[1]), detail::smaller(x[2], x[3]));
    }
    QLIB_INLINE static bool any(mask m) noexcept { return (m[0] | m[1] | m[2] | m[3]) != 0; }
    QLIB_INLINE static floats square_root(floats x) noexcept {
        return floats{detail::square_root(x[0]), detail::square_root(x[1]), detail::square_root(x[2]),
                      detail::square_root(x[3])};
    }
    QLIB_INLINE static floats look_up(const std::array<float, 16>& table, ints i) noexcept {
        const auto at = [&](std::size_t l) QLIB_INLINE_LAMBDA { return table[static_cast<std::size_t>(i[l] & 15)]; };
        return floats{at(0), at(1), at(2), at(3)};
    }
    QLIB_INLINE static void put_4(std::uint8_t* p, ints a, ints b, ints c, ints d) noexcept {
        put(p, a);
        put(p + width, b);
        put(p + 2 * width, c);
        put(p + 3 * width, d);
    }
    template <class T> QLIB_INLINE static void widen_16(const std::byte* from, float* out) noexcept {
        for (std::size_t i = 0; i < 16; ++i) out[i] = load_little_endian<T>(from + i * sizeof(T)).value();
    }
    static void gather_blocks(const float* const* from, std::size_t n, floats* out) noexcept {
        for (std::size_t i = 0; i < n; ++i) out[i] = floats{from[0][i], from[1][i], from[2][i], from[3][i]};
    }
    static void scatter_bytes(const std::uint8_t* from, std::size_t n, std::byte* const* to) noexcept {
        for (std::size_t l = 0; l < width; ++l)
            for (std::size_t i = 0; i < n; ++i) to[l][i] = static_cast<std::byte>(from[i * width + l]);
    }

#include "sixteen.inl"

    /// Baseline vectors multiply floats well and integers badly, so the integers of a dot product are floats here.
    using integers = sixteen;
    struct bytes {
        sixteen of_lane[4];
    };  // the four bytes of each lane, converted once for all columns
    QLIB_INLINE static integers splat_16(std::int32_t x) noexcept { return splat_16(static_cast<float>(x)); }
    QLIB_INLINE static bytes load_bytes(const std::uint8_t* p) noexcept {
        using words = std::uint32_t __attribute__((vector_size(16)));
        bytes r;
#pragma GCC unroll 4
        for (std::size_t b = 0; b < 4; ++b) {
            const auto shift =
                static_cast<std::uint32_t>(std::endian::native == std::endian::little ? 8 * b : 24 - 8 * b);
            r.of_lane[b] = each([&](std::size_t i) QLIB_INLINE_LAMBDA {
                words all;
                std::memcpy(&all, p + 16 * i, sizeof all);
                return to_float(reinterpret_cast<ints>(all >> shift & 255u));
            });
        }
        return r;
    }
    template <operand>
    QLIB_INLINE static integers dot(const integers& sum, const bytes& w, const std::int8_t* x) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            floats r = sum.part[i];
#pragma GCC unroll 4
            for (std::size_t b = 0; b < 4; ++b) r += w.of_lane[b].part[i] * static_cast<float>(x[b]);
            return r;
        });
    }
    QLIB_INLINE static sixteen to_float(const integers& a) noexcept { return a; }

    struct lane_bytes {
        std::uint8_t at[4 * width];
    };
    QLIB_INLINE static lane_bytes get_bytes(const std::uint8_t* p) noexcept {
        lane_bytes b;
        std::memcpy(b.at, p, sizeof b);
        return b;
    }
    QLIB_INLINE static ints get_ints(const std::int32_t* p) noexcept { return ints{p[0], p[1], p[2], p[3]}; }
    template <operand> QLIB_INLINE static ints dot_lanes(ints sum, const lane_bytes& w, const std::int8_t* x) noexcept {
        std::int32_t r[width];
#pragma GCC unroll 4
        for (std::size_t l = 0; l < width; ++l)
            r[l] = w.at[4 * l] * x[4 * l] + w.at[4 * l + 1] * x[4 * l + 1] + w.at[4 * l + 2] * x[4 * l + 2] +
                   w.at[4 * l + 3] * x[4 * l + 3];
        return sum + ints{r[0], r[1], r[2], r[3]};
    }
    QLIB_INLINE static float sum_of(floats x) noexcept { return (x[0] + x[2]) + (x[1] + x[3]); }
    template <std::size_t Group> QLIB_INLINE static floats spread_lanes(const float* p, std::size_t v) noexcept {
        const std::size_t at = 16 * v;
        return floats{p[at / Group], p[(at + 4) / Group], p[(at + 8) / Group], p[(at + 12) / Group]};
    }
    template <class F> static constexpr bool in_lanes = false;  // so that these are only named
    template <class F> static lane_bytes operands_of(lane_bytes codes) noexcept;
    template <class T, std::size_t Apart> static sixteen widen_apart(const std::byte* p) noexcept;
    template <class Bits, std::size_t B, std::size_t All, std::size_t E, std::size_t Apart>
    static lane_bytes codes_of_lanes(const std::byte* in, std::size_t begin) noexcept;

    template <class Bits, std::size_t B, std::size_t N>
    static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        std::uint8_t c[N];
        Bits::template unpack<B, std::uint8_t>(in, std::span<std::uint8_t>(c));
        std::memcpy(out, c, N);
    }

#include "texts.inl"
};
static_assert(room_vectors<portable>);

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
