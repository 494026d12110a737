#pragma once
// Grids: which levels a code can mean, and which code is nearest. A part of a format.
//
// A grid has `bits` per code, `vec` weights per code, a `code` type, `size` and `level(i)` of all levels
// (every bit pattern that the wire can hold decodes to one of them), `lowest` and `highest` that a fit
// should aim at, nearest(u, w) and levels(code, l).
#include "../numeric/minifloat.hpp"
#include "concept.hpp"

#include <bit>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// Equally spaced integers: code i means i + Lowest. Codes are chosen between First and Last only; others still decode.
/// With TwosComplement the stored bits are those of a signed integer.
template <int Bits, int Lowest, int First = Lowest, int Last = Lowest + (1 << Bits) - 1, bool TwosComplement = false>
struct integer_grid {
    static_assert(Bits >= 1 && Bits <= 8 && Lowest <= First && First < Last && Last < Lowest + (1 << Bits));
    using code = std::uint8_t;
    static constexpr std::size_t bits = Bits, vec = 1, size = std::size_t{1} << Bits;
    static constexpr unsigned flip = TwosComplement ? 1u << (Bits - 1) : 0;
    static constexpr float lowest = First, highest = Last;

    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return static_cast<float>(static_cast<int>(i ^ flip) + Lowest);
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        return static_cast<code>(static_cast<unsigned>(detail::round_clamped(*u, First, Last) - Lowest) ^ flip);
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

/// 0 .. 2^Bits - 1.
template <int Bits> using uint_grid = integer_grid<Bits, 0>;
/// -2^(Bits-1) .. 2^(Bits-1) - 1, stored with that offset added.
template <int Bits> using sint_grid = integer_grid<Bits, -(1 << (Bits - 1))>;
/// -(2^(Bits-1) - 1) .. 2^(Bits-1) - 1: the restricted range, symmetric about 0.
template <int Bits> using restricted_grid = integer_grid<Bits, -(1 << (Bits - 1)), 1 - (1 << (Bits - 1))>;
/// int8 as the machine stores it, -127 .. 127 chosen.
using int8_grid = integer_grid<8, -128, -127, 127, true>;
/// -1, 0, 1 as codes 0, 1, 2.
using ternary_grid = integer_grid<2, -1, -1, 1>;

/// -1 and +1: code 1 for u >= 0.
struct sign_grid {
    using code = std::uint8_t;
    static constexpr std::size_t bits = 1, vec = 1, size = 2;
    static constexpr float lowest = -1, highest = 1;
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept { return i == 0 ? -1.0f : 1.0f; }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept { return *u >= 0 ? 1 : 0; }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

/// Any 2 to 256 finite numbers, in code order. Between two of them the nearer is chosen, at the midpoint
/// the lower; of equal ones the first. `Midpoints`, ascending, replace the computed ones where a
/// format's own thresholds are rounded otherwise.
template <auto Table, auto Midpoints = std::array<float, 0>{}> struct codebook_grid {
    static_assert(Table.size() >= 2 && Table.size() <= 256, "a codebook has 2 to 256 levels");
    using code = std::uint8_t;
    static constexpr std::size_t bits = std::bit_width(Table.size() - 1), vec = 1, size = std::size_t{1} << bits;

    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return padded[i < size ? i : size - 1];
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        std::size_t low = 0, n = sorted.count - 1;  // first of the sorted midpoints that is not below u
        while (n != 0) {
            const std::size_t half = n / 2;
            const bool above = *u > sorted.midpoint[low + half];
            low += above ? half + 1 : 0;
            n = above ? n - half - 1 : half;
        }
        return sorted.code_of[low];
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }

private:
    /// Bit patterns beyond the table mean its last level.
    static constexpr auto padded = [] {
        std::array<float, size> t{};
        for (std::size_t i = 0; i < size; ++i) t[i] = Table[i < Table.size() ? i : Table.size() - 1];
        return t;
    }();
    struct order {
        std::array<std::uint8_t, Table.size()> code_of{};
        std::array<float, Table.size()> midpoint{};
        // Of small grids, for look-ups in lanes: code_of as floats; midpoints, then infinities.
        std::array<float, 16> code_table{}, steps{};
        std::size_t count = 0;
        bool ascending = true;
    };
    static constexpr order sorted_table() {
        order o{};
        for (std::size_t i = 0; i < Table.size(); ++i) {  // insertion sort: at most 256, at compile time
            std::size_t j = o.count;
            while (j > 0 && Table[o.code_of[j - 1]] > Table[i]) --j;
            if (j > 0 && Table[o.code_of[j - 1]] == Table[i]) continue;
            for (std::size_t k = o.count++; k > j; --k) o.code_of[k] = o.code_of[k - 1];
            o.code_of[j] = static_cast<std::uint8_t>(i);
        }
        for (std::size_t i = 0; i < o.count; ++i) {
            o.ascending = o.ascending && o.code_of[i] == i;
            if (i < 16) o.code_table[i] = o.code_of[i];
        }
        if constexpr (Midpoints.size() != 0) {
            static_assert(Midpoints.size() + 1 == Table.size());
            for (std::size_t i = 0; i < Midpoints.size(); ++i) o.midpoint[i] = Midpoints[i];
        } else {
            for (std::size_t i = 0; i + 1 < o.count; ++i)
                o.midpoint[i] = static_cast<float>(
                    (static_cast<double>(Table[o.code_of[i]]) + static_cast<double>(Table[o.code_of[i + 1]])) / 2);
        }
        for (std::size_t i = 0; i < 16; ++i)
            o.steps[i] = i + 1 < o.count ? o.midpoint[i] : std::numeric_limits<float>::infinity();
        return o;
    }

public:
    /// The levels' order and the midpoints between them.
    static constexpr order sorted = sorted_table();
    static constexpr float lowest = Table[sorted.code_of.front()], highest = Table[sorted.code_of[sorted.count - 1]];
};

/// The finite values of a small float, rounded as that float rounds (to nearest even, saturating); codes are its bits.
template <class Float> struct minifloat_grid {
    static_assert(Float::bits_per_value <= 8);
    using element = Float;
    using code = std::uint8_t;
    static constexpr std::size_t bits = Float::bits_per_value, vec = 1, size = std::size_t{1} << bits;
    static constexpr float lowest = -(Float::max)(), highest = (Float::max)();
    /// NaN and infinity codes, which no encoder here writes, decode to NaN and infinity.
    [[nodiscard]] QLIB_INLINE static constexpr float level(std::size_t i) noexcept {
        return Float{static_cast<typename Float::storage>(i)}.value();
    }
    QLIB_INLINE static constexpr code nearest(const float* u, const float*) noexcept {
        return Float::from(*u, overflow::saturate).bits;
    }
    QLIB_INLINE static constexpr void levels(code c, float* l) noexcept { *l = level(c); }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
