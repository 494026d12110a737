#pragma once
// How to bring the codes of a block into bytes by shuffles inside 16-byte lanes,
// derived from the bit layout's own description.
#include "../format/layout.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A part of every code that lies in bits of its own: `width` bits, to be moved to bit `shift` of
/// the code. The pattern repeats every `period` codes, on a byte boundary. `base3`: the byte is a
/// number in base 3, of which a code is one digit.
struct code_slice {
    std::size_t width = 0, shift = 0, period = 0;
    bool base3 = false;
};

/// How many slices a bit layout has; 0 for layouts that this file does not know.
template <class Bits>
inline constexpr std::size_t slice_count = [] {
    if constexpr (layout_kind<Bits> == code_layout::planes) return Bits::list.size();
    else return std::size_t{layout_kind<Bits> != code_layout::own};
}();

template <class Bits, std::size_t B> constexpr code_slice slice_of(std::size_t p) {
    if constexpr (layout_kind<Bits> == code_layout::sequential) return {B, 0, 8, false};
    else if constexpr (layout_kind<Bits> == code_layout::base3) return {8, 0, 5, true};
    else if constexpr (slice_count<Bits> == 0) return {};
    else return {Bits::list[p].width, Bits::list[p].shift, 8 / Bits::list[p].width * Bits::list[p].run, false};
}

/// The first bit of code e in slice p, from the slice's own start; in base 3 the byte's first bit.
template <class Bits, std::size_t B> constexpr std::size_t first_bit(std::size_t p, std::size_t e) {
    if constexpr (layout_kind<Bits> == code_layout::sequential) return e * B;
    else if constexpr (layout_kind<Bits> == code_layout::base3) return e / 5 * 8;
    else if constexpr (slice_count<Bits> == 0) return e;
    else return Bits::byte_of(Bits::list[p], e) * 8 + Bits::bit_of(Bits::list[p], e);
}

/// Bytes that a slice of n codes fills.
template <class Bits, std::size_t B> constexpr std::size_t slice_bytes(std::size_t p, std::size_t n) {
    if constexpr (layout_kind<Bits> == code_layout::base3) return Bits::template bytes<B>(n);
    else return packed_bytes(n, slice_of<Bits, B>(p).width);
}

/// Codes after which all shuffles of a layout repeat.
template <class Bits, std::size_t B>
inline constexpr std::size_t shuffle_period = [] {
    std::size_t n = 64;
    for (std::size_t p = 0; p < slice_count<Bits>; ++p) {
        const std::size_t step = slice_of<Bits, B>(p).period;
        std::size_t m = n;
        while (m % step != 0) m += n;
        n = m;
    }
    return n;
}();

/// The shuffle of up to 64 codes: load `bytes` bytes from `first` on, bring 4-byte words into 16-byte lanes, then bytes
/// inside each lane, such that 16-bit word i holds the bits of code 2i (`even`), or of code 2i + 1 (`odd`). Where a
/// code's neighbour lies in the next byte at the same bit (`direct`), one shuffle serves both: byte i holds code i.
struct code_shuffle {
    static constexpr std::uint8_t nothing = 0x80;  // this index means a zero byte
    bool possible = true, direct = true, moves_words = false, moves_bytes = false, shifts = false;
    std::size_t first = 0, bytes = 0;
    alignas(64) std::array<std::uint32_t, 16> words{};
    alignas(64) std::array<std::uint8_t, 64> even{}, odd{};
    /// Shifts that end at bit 0 for even and at bit 8 for odd codes.
    alignas(64) std::array<std::uint16_t, 32> right{}, left{};

    /// Whether the words of a vector of `all` are the first n again and again.
    [[nodiscard]] constexpr bool repeats(std::size_t n, std::size_t all) const {
        for (std::size_t i = 0; i < all; ++i)
            if (words[i] != i % n) return false;
        return true;
    }
};

/// Codes [begin, begin + n), n <= 64, of slice p. together: neighbours that a room's shifts move by the same count, 2
/// or 4: it can be `direct` only where they may.
template <class Bits, std::size_t B>
constexpr code_shuffle shuffle_of(std::size_t p, std::size_t begin, std::size_t n, std::size_t together = 2) {
    const std::size_t width = slice_of<Bits, B>(p).width;
    const auto bit_at = [&](std::size_t i) { return first_bit<Bits, B>(p, begin + i); };
    const auto last_byte = [&](std::size_t i) { return (bit_at(i) + width - 1) / 8; };
    code_shuffle s;
    std::size_t end = 0;
    s.first = bit_at(0) / 8;
    for (std::size_t i = 0; i < n; ++i) {
        s.first = bit_at(i) / 8 < s.first ? bit_at(i) / 8 : s.first;
        end = last_byte(i) + 1 > end ? last_byte(i) + 1 : end;
    }
    s.bytes = end - s.first;
    s.possible = s.bytes <= 64;
    std::size_t lane_start[4] = {};
    for (std::size_t lane = 0; lane < 4; ++lane) {
        std::size_t low = end - s.first, high = 0;
        for (std::size_t i = 16 * lane; i < 16 * lane + 16 && i < n; ++i) {
            low = bit_at(i) / 8 - s.first < low ? bit_at(i) / 8 - s.first : low;
            high = last_byte(i) - s.first > high ? last_byte(i) - s.first : high;
        }
        lane_start[lane] = 16 * lane >= n ? 16 * lane : end - s.first <= 16 ? 0 : low / 4 * 4;
        s.possible = s.possible && high < lane_start[lane] + 16;
        for (std::size_t w = 0; w < 4; ++w) {
            s.words[4 * lane + w] = static_cast<std::uint32_t>((lane_start[lane] / 4 + w) % 16);
            s.moves_words = s.moves_words || lane_start[lane] != 16 * lane;
        }
    }
    for (auto& b : s.even) b = code_shuffle::nothing;
    for (auto& b : s.odd) b = code_shuffle::nothing;
    for (std::size_t i = 0; i < n; ++i) {
        const auto from = static_cast<std::uint8_t>(bit_at(i) / 8 - s.first - lane_start[i / 16]);
        const bool crosses = last_byte(i) != bit_at(i) / 8;
        auto& bytes = i % 2 == 0 ? s.even : s.odd;
        bytes[i / 2 * 2] = from;
        if (crosses) bytes[i / 2 * 2 + 1] = static_cast<std::uint8_t>(from + 1);
        const std::size_t shift = i % 2 == 0 ? bit_at(i) % 8 : 8 - bit_at(i) % 8;
        (i % 2 == 0 ? s.right : s.left)[i / 2] = static_cast<std::uint16_t>(shift);
        const bool alike = bit_at(i) % 8 == bit_at(i / together * together) % 8;
        s.direct = s.direct && !crosses && !slice_of<Bits, B>(p).base3 && alike;
        s.shifts = s.shifts || bit_at(i) % 8 != 0;
    }
    for (std::size_t i = 0; s.direct && i < n; ++i) {
        if (i % 2 == 1) s.even[i] = s.odd[i - 1];
        s.moves_bytes = s.moves_bytes || s.even[i] != i % 16;
    }
    return s;
}

/// The same for two blocks of n codes, n <= 32, in one vector: the second's bytes stand n behind the first's.
constexpr code_shuffle twice(code_shuffle s, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        s.even[n + i] = s.even[i];
        s.odd[n + i] = s.odd[i];
    }
    for (std::size_t i = 0; i < n / 2; ++i) {
        s.right[n / 2 + i] = s.right[i];
        s.left[n / 2 + i] = s.left[i];
    }
    for (std::size_t w = 0; w < n / 4; ++w) s.words[n / 4 + w] = static_cast<std::uint32_t>(s.words[w] + n / 4);
    return s;
}

/// Whether all codes of a block of N can be brought into bytes so, V at a time, without reading beyond it.
template <class Bits, std::size_t B, std::size_t N, std::size_t V>
inline constexpr bool can_shuffle = [] {
    bool all = slice_count<Bits> != 0;
    for (std::size_t p = 0; p < slice_count<Bits>; ++p)
        for (std::size_t e = 0; all && e < N && e < shuffle_period<Bits, B>; e += V) {
            const code_shuffle s = shuffle_of<Bits, B>(p, e, N - e < V ? N - e : V);
            all = s.possible && s.bytes <= V && s.first + s.bytes <= slice_bytes<Bits, B>(p, N);
        }
    return all && (N <= shuffle_period<Bits, B> || shuffle_period<Bits, B> <= 512);
}();

/// The shuffles as constants that a room can load.
template <class Bits, std::size_t B, std::size_t P, std::size_t Begin, std::size_t N, std::size_t Together>
inline constexpr code_shuffle shuffle = shuffle_of<Bits, B>(P, Begin, N, Together);

/// 2^15 / 3^j rounded up, and the same of j + 1, for digit j = (first + 2i) % 5 of word i.
template <std::size_t First, std::size_t Words> constexpr auto base3_factors() {
    constexpr unsigned power[6] = {1, 3, 9, 27, 81, 243};
    std::array<std::array<std::uint16_t, Words>, 2> f{};
    for (std::size_t i = 0; i < Words; ++i)
        for (std::size_t next = 0; next < 2; ++next) {
            const unsigned p = power[(First + 2 * i) % 5 + next];
            f[next][i] = static_cast<std::uint16_t>((32768 + p - 1) / p);
        }
    return f;
}

/// How the codes of a block are packed, as numbers.
struct code_packing {
    code_layout kind;
    std::size_t codes, bits, bytes;
    std::span<const plane> planes;
};
template <class F>
inline constexpr code_packing packing_of = [] {
    using bits = typename F::bits;
    code_packing p{
        layout_kind<bits>, block_size<F>, F::grid::bits, bits::template bytes<F::grid::bits>(block_size<F>), {}};
    if constexpr (layout_kind<bits> == code_layout::planes) p.planes = bits::list;
    return p;
}();

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
