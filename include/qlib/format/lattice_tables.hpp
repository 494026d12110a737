#pragma once
// What encoders and decoders look up in a lattice's point set, made from its bitmap at compile time and only where it
// is used. lattice.hpp says what a point set is.
#include "../core/abi.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

QLIB_INLINE constexpr unsigned parity(unsigned v) noexcept {
    v ^= v >> 4;
    v ^= v >> 2;
    return (v ^ v >> 1) & 1;  // of the lowest 8 bits
}

/// Sign bits of eight lanes, of which the last, which is not stored, makes the number of negative ones even; by the
/// seven that are stored.
inline constexpr auto even_signs_of = [] {
    std::array<std::uint8_t, 128> all{};
    for (unsigned v = 0; v < all.size(); ++v) all[v] = static_cast<std::uint8_t>(v | parity(v) << 7);
    return all;
}();

/// base^i.
template <class L>
inline constexpr auto lattice_power = [] {
    std::array<std::uint16_t, L::dims + 1> power{1};
    for (std::size_t i = 0; i < L::dims; ++i) power[i + 1] = static_cast<std::uint16_t>(power[i] * L::base);
    return power;
}();

/// The level of a digit.
template <class L> QLIB_INLINE constexpr float level_of(std::size_t digit) noexcept {
    return static_cast<float>(L::numbers[digit]) * L::unit;
}

/// use(index, number) for every point.
template <class L, class Use> constexpr void for_each_point(const Use& use) {
    unsigned index = 0;
    for (unsigned w = 0; w < std::size(L::bitmap); ++w)
        for (std::uint64_t rest = L::bitmap[w]; rest != 0; rest &= rest - 1) {
            unsigned number = 64 * w + static_cast<unsigned>(std::countr_zero(rest));
            if (L::even) {
                unsigned odd = 0, digits = number *= 2;
                for (std::size_t i = 0; i < L::dims; ++i, digits /= L::base) odd ^= digits % L::base & 1;
                number += odd;
            }
            use(index++, number);
        }
}

/// The digits of every point.
template <class L>
inline constexpr auto lattice_digits = [] {
    std::array<std::array<std::uint8_t, L::dims>, L::count> all{};
    for_each_point<L>([&](unsigned index, unsigned number) {
        for (std::size_t i = 0; i < L::dims; ++i, number /= L::base)
            all[index][i] = static_cast<std::uint8_t>(number % L::base);
    });
    return all;
}();
/// numbers[digit] of them.
template <class L>
inline constexpr auto lattice_points = [] {
    std::array<std::array<std::int8_t, L::dims>, L::count> all{};
    for (std::size_t k = 0; k < L::count; ++k)
        for (std::size_t i = 0; i < L::dims; ++i) all[k][i] = L::numbers[lattice_digits<L>[k][i]];
    return all;
}();

inline constexpr std::uint16_t no_point = 0xFFFF;
/// The index of the point with a number, or no_point.
template <class L>
inline constexpr auto lattice_index = [] {
    std::array<std::uint16_t, lattice_power<L>.back()> all{};
    for (std::uint16_t& v : all) v = no_point;
    for_each_point<L>([&](unsigned index, unsigned number) { all[number] = static_cast<std::uint16_t>(index); });
    return all;
}();

/// Points by halves: number = low + half_size * high, each of half the digits.
template <class L> inline constexpr std::size_t half_size = lattice_power<L>[L::dims / 2];

/// The low half of every point, by index.
template <class L>
inline constexpr auto lattice_low = [] {
    std::array<std::uint8_t, L::count> all{};
    for_each_point<L>(
        [&](unsigned index, unsigned number) { all[index] = static_cast<std::uint8_t>(number % half_size<L>); });
    return all;
}();
/// How many points have each high half.
template <class L>
inline constexpr auto half_counts = [] {
    std::array<std::uint16_t, half_size<L>> count{};
    for_each_point<L>([&](unsigned, unsigned number) { ++count[number / half_size<L>]; });
    return count;
}();
/// For each high half that occurs, the low halves that occur with it, in fours, the last filled up by repetition. Those
/// with fewer fours come first: a processor guesses where such lists end.
template <class L>
inline constexpr auto lattice_halves = [] {
    constexpr auto fours = [](std::size_t high) { return (std::size_t{half_counts<L>[high]} + 3) / 4; };
    constexpr std::size_t all = [fours] {
        std::size_t n = 0;
        for (std::size_t h = 0; h < half_size<L>; ++h) n += fours(h);
        return n;
    }();
    struct list {
        float high;
        std::uint16_t end;
    };  // the half's number; where its fours end
    struct {
        std::array<list, half_size<L>> of{};
        std::size_t lists = 0;
        std::array<std::array<std::uint8_t, 4>, all> low{};
    } t;
    std::array<std::uint16_t, half_size<L>> next{};  // free place, by high half
    for (std::size_t n = 1, at = 0; at < all; ++n)
        for (std::size_t h = 0; h < half_size<L>; ++h) {
            if (fours(h) != n) continue;
            next[h] = static_cast<std::uint16_t>(4 * at);
            at += n;
            t.of[t.lists++] = {static_cast<float>(h), static_cast<std::uint16_t>(at)};
        }
    for_each_point<L>([&](unsigned, unsigned number) {
        std::size_t n = next[number / half_size<L>]++;
        do t.low[n / 4][n % 4] = static_cast<std::uint8_t>(number % half_size<L>);
        while (++n % 4 != 0);
    });
    return t;
}();

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
