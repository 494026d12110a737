#pragma once
// What a kernel may know about a format, derived at compile time from its levels;
// nothing for the format's author to write.
#include "../format/concept.hpp"
#include "../format/layout.hpp"
#include "../numeric/minifloat.hpp"

#include <limits>

namespace qlib::inline QLIB_ABI::detail {

/// Products that may be summed in an int32 before the sum goes to float, and the largest activation.
inline constexpr std::size_t most_summed = 32768;
inline constexpr int largest_activation = 127;

/// All levels times `mul` are integers in [lo, hi]; mul == 0: they have no such form in 8 bits.
struct integer_levels {
    int mul = 0, lo = 0, hi = 0;
    [[nodiscard]] constexpr explicit operator bool() const noexcept { return mul != 0; }
};

/// The smallest power of two that makes all levels of a grid integers that fit a byte after a constant is subtracted.
template <class Grid> consteval integer_levels integers_of() {
    constexpr int limit = 255;
    for (int mul = 1; mul <= 64; mul *= 2) {
        integer_levels r{mul, limit, -limit};
        bool all = true;
        for (std::size_t i = 0; all && i < Grid::size; ++i) {
            const float level = Grid::level(i);
            all = magnitude(level) <= static_cast<float>(limit) / static_cast<float>(mul);
            if (!all) break;
            const float scaled = level * static_cast<float>(mul);
            const int v = static_cast<int>(scaled);
            all = static_cast<float>(v) == scaled;
            r.lo = v < r.lo ? v : r.lo;
            r.hi = v > r.hi ? v : r.hi;
        }
        if (all && r.hi - r.lo <= limit) return r;
    }
    return {};
}

/// How the 8-bit operands of a dot product are made from levels and activations in -127..127.
enum class operand : std::uint8_t {
    weights_unsigned,  ///< (level - bias) in 0..255 times the activation: vpdpbusd, vpmaddubsw, USDOT
    both_signed,       ///< (level - bias) in -128..127 times the activation: SDOT, SMMLA, vpdpbssd
    sign_transfer,     ///< |level - bias| times the activation, negated where level < bias: vpmaddubsw for 8 bits
};

/// What the dot-product instruction of a room does. `pair_limit`: two neighbouring
/// products saturate beyond it; 0: they do not.
struct dot_instruction {
    bool both_signed = false;
    int pair_limit = 0;
};
inline constexpr dot_instruction dot_in_int32{}, dot_in_int16_pairs{false, 32767};

/// The form of the operands and the constant that is subtracted from levels; bias * (sum
/// of activations) is where the int32 sum starts.
struct operand_form {
    operand how = operand::weights_unsigned;
    int bias = 0;
};

consteval operand_form choose(integer_levels l, dot_instruction d) {
    const int centred = l.lo < -128 || l.hi > 127 ? l.lo + 128 : 0;
    if (d.both_signed) return {operand::both_signed, centred};
    const int lifted = l.lo < 0 ? l.lo : 0;
    if (d.pair_limit == 0 || 2 * (l.hi - lifted) * largest_activation <= d.pair_limit)
        return {operand::weights_unsigned, lifted};
    return {operand::sign_transfer, centred};
}

/// The proof that nothing saturates or overflows: operands fit their byte, pairs their
/// int16, most_summed products and the bias int32.
consteval bool exact(integer_levels l, operand_form f, dot_instruction d) {
    const int lo = l.lo - f.bias, hi = l.hi - f.bias, largest = -lo > hi ? -lo : hi;
    const bool byte = f.how == operand::weights_unsigned ? lo >= 0 && hi <= 255 : lo >= -128 && hi <= 127;
    const bool pairs = d.pair_limit == 0 || 2 * largest * largest_activation <= d.pair_limit;
    const long long sum = static_cast<long long>(largest + (f.bias < 0 ? -f.bias : f.bias)) * largest_activation *
                          static_cast<long long>(most_summed);
    return byte && pairs && sum <= (std::numeric_limits<std::int32_t>::max)();
}

/// The integer levels of a format, if it has them.
template <class F>
inline constexpr integer_levels integer_levels_of = F::group <= most_summed ? integers_of<typename F::grid>()
                                                                            : integer_levels{};

/// The operand form of a format under an instruction, proven.
template <class F, dot_instruction D>
inline constexpr operand_form form_of = [] {
    constexpr operand_form f = choose(integer_levels_of<F>, D);
    static_assert(exact(integer_levels_of<F>, f, D), "the dot product of this format could saturate");
    return f;
}();

/// Formats of one byte-sized code per weight: tables of all codes can be made.
template <class F> concept byte_codes = F::vec == 1 && sizeof(typename F::code) == 1 && requires {
    requires F::grid::bits >= 1 && F::grid::bits <= 8;
};
template <byte_codes F> inline constexpr std::size_t code_count = std::size_t{1} << F::grid::bits;

/// Byte formats that say where the bits of their codes lie, one block's codes in one piece at the head of plane 0 or
/// behind a fixed offset.
template <class F>
concept has_bit_layout = byte_codes<F> && requires(const std::byte* in, std::span<typename F::code> codes) {
    F::bits::template unpack<F::grid::bits, typename F::code>(in, codes);
    { F::offset_of(field::codes) } -> std::convertible_to<std::size_t>;
    requires !F::layout::planes_apart || F::layout::order[0] == field::codes;
};

/// Formats whose codes are numbers of a type, one after another, and nothing else.
template <class F>
concept holds_numbers = requires { typename F::grid::number; } && F::groups == 1 &&
                        std::same_as<typename F::bits, little_endian> && !has_outer<F>;

/// The level of every code.
template <byte_codes F>
inline constexpr auto level_table = [] {
    std::array<float, code_count<F>> t{};
    for (std::size_t i = 0; i < t.size(); ++i) F::level(static_cast<typename F::code>(i), &t[i]);
    return t;
}();

/// The levels of all codes again and again, for grids of 16 at most.
template <byte_codes F>
inline constexpr auto repeated_levels = [] {
    std::array<float, 16> t{};
    for (std::size_t i = 0; i < t.size(); ++i) t[i] = level_table<F>[i % code_count<F>];
    return t;
}();
/// Groups, all levels of which fit a table of 32 numbers together: a power of two that divides the groups of a block.
/// 0: the levels do not fit 16.
template <byte_codes F>
inline constexpr std::size_t groups_per_table = [] {
    std::size_t n = code_count<F> <= 16 ? 32 / code_count<F> : 0;
    while (n > 1 && F::groups % n != 0) n /= 2;
    return n;
}();

/// Every level is ((code ^ flip) + base) * step.
struct linear_levels {
    bool linear = false;
    unsigned flip = 0;
    int base = 0;
    float step = 1;
};
template <byte_codes F>
inline constexpr linear_levels linear_levels_of = [] {
    constexpr auto& t = level_table<F>;
    for (const unsigned flip : {0u, static_cast<unsigned>(t.size() / 2)}) {
        if (!is_finite(t[flip]) || !is_finite(t[flip ^ 1])) continue;
        const float step = t[flip ^ 1] - t[flip];
        if (!(step > 0) || !(magnitude(t[flip]) <= 65536.0f * step)) continue;
        const linear_levels r{true, flip, static_cast<int>(t[flip] / step), step};
        bool all = true;
        for (unsigned i = 0; i < t.size(); ++i)
            all =
                all && bits_of(product(static_cast<float>(static_cast<int>(i ^ flip) + r.base), step)) == bits_of(t[i]);
        if (all) return r;
    }
    return linear_levels{};
}();

/// Codes of 5 to 8 bits that are small floats: sign, exponent and mantissa are an f16's, with the missing bits zero,
/// and every level is that f16 times `factor`; but magnitudes from first_nan on are NaN.
struct half_levels {
    std::size_t exponent_bits = 0, mantissa_bits = 0;  ///< 0: they are no such codes
    float factor = 1;
    unsigned first_nan = 0;
};
template <byte_codes F>
inline constexpr half_levels half_levels_of = [] {
    constexpr auto& t = level_table<F>;
    constexpr unsigned sign = t.size() / 2;
    if (F::grid::bits < 5 || !is_finite(t[1])) return half_levels{};
    unsigned first_nan = sign;
    while (first_nan > 1 && is_nan(t[first_nan - 1])) --first_nan;
    for (std::size_t e = 2; e <= 5 && e + 1 < F::grid::bits; ++e) {
        const std::size_t m = F::grid::bits - 1 - e;
        const auto as_half = [&](unsigned i) {
            return f16{static_cast<std::uint16_t>((i & sign ? 0x8000u : 0u) | (i & (sign - 1)) << (10 - m))}.value();
        };
        const half_levels r{e, m, t[1] / as_half(1), first_nan};
        const auto fits = [&](unsigned i) {
            const float half = as_half(i);
            if ((i & (sign - 1)) >= first_nan) return is_nan(t[i]);
            return bits_of(is_finite(half) ? product(half, r.factor) : half) == bits_of(t[i]);
        };
        bool all = true;
        for (unsigned i = 0; i < t.size(); ++i) all = all && fits(i);
        if (all) return r;
    }
    return half_levels{};
}();

/// The operand byte of every code, level * mul - bias: two's complement where the form is signed.
template <byte_codes F, dot_instruction D>
inline constexpr auto operand_table = [] {
    std::array<std::uint8_t, code_count<F>> t{};
    for (std::size_t i = 0; i < t.size(); ++i)
        t[i] = static_cast<std::uint8_t>(
            static_cast<int>(level_table<F>[i] * static_cast<float>(integer_levels_of<F>.mul)) - form_of<F, D>.bias);
    return t;
}();

/// The same for a room to apply: codes with some bits flipped, as those of all linear grids, or a table.
struct operand_map {
    bool flips = true;
    std::uint8_t flip = 0;
    std::size_t size = 0;  ///< of the table
    std::array<std::uint8_t, 256> table{};
};
template <byte_codes F, dot_instruction D>
inline constexpr operand_map operand_map_of = [] {
    operand_map m;
    constexpr auto& t = operand_table<F, D>;
    m.flip = t[0];
    m.size = t.size();
    for (std::size_t i = 0; i < m.table.size(); ++i) m.table[i] = t[i % t.size()];
    for (std::size_t i = 0; i < t.size(); ++i) m.flips = m.flips && t[i] == (static_cast<std::uint8_t>(i) ^ m.flip);
    return m;
}();

/// Vectors of `Lanes` lanes of four weights each: which group of a chunk of up to 16 lane l of vector v belongs to.
template <std::size_t Group, std::size_t Lanes> constexpr auto lane_groups() {
    constexpr std::size_t vectors = (16 * Group + 4 * Lanes - 1) / (4 * Lanes);
    std::array<std::array<std::uint32_t, Lanes>, vectors> t{};
    for (std::size_t v = 0; v < vectors; ++v)
        for (std::size_t l = 0; l < Lanes; ++l) t[v][l] = static_cast<std::uint32_t>((v * Lanes + l) * 4 / Group);
    return t;
}

/// Whether one map covers whole rows: then sums stay integers over many groups.
template <class F>
inline constexpr bool row_maps = [] {
    if constexpr (requires { requires F::outer_is_map; }) return F::tile.cols == 0 && !F::tile.flat;
    else return false;
}();

}  // namespace qlib::inline QLIB_ABI::detail
