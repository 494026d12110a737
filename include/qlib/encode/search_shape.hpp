#pragma once
// What a search derives from a format: the levels to round to, the codes of a small scale type, how far and how finely
// to look. The search itself is compiled once for each kind of levels, form of the map and way of storing scales;
// sizes, ranges and steps are numbers: search_shape.
#include "../fit/weights.hpp"
#include "../format/scales.hpp"
#include "code_rule.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The levels of a grid between those that a fit should aim at, ascending, without doubles.
template <class Grid> struct grid_levels {
    static constexpr float low = lowest_level<Grid>, high = highest_level<Grid>;
    static constexpr bool listed = Grid::size <= 256;

private:
    struct list {
        std::array<float, listed ? Grid::size : 1> level{};
        std::size_t count = 0;
    };
    static constexpr list ascending() {
        list t{};
        for (std::size_t i = 0; listed && i < Grid::size; ++i) {  // insertion sort: at most 256, at compile time
            const float v = Grid::level(i);
            if (!(v >= low && v <= high)) continue;
            std::size_t j = t.count;
            while (j > 0 && t.level[j - 1] > v) --j;
            if (j > 0 && t.level[j - 1] == v) continue;
            for (std::size_t k = t.count++; k > j; --k) t.level[k] = t.level[k - 1];
            t.level[j] = v;
        }
        return t;
    }
    static constexpr list sorted = ascending();
    static constexpr bool are_integers() {
        for (std::size_t i = 0; i < sorted.count; ++i)
            if (sorted.level[i] != static_cast<float>(static_cast<int>(low)) + static_cast<float>(i)) return false;
        return sorted.count > 1;
    }

public:
    static constexpr std::size_t count = sorted.count;
    static constexpr bool integers = are_integers();       ///< every integer from low to high
    static constexpr bool few = count > 1 && count <= 16;  ///< so that a table of 16 holds them
    static constexpr std::array<float, 16> level = [] {
        std::array<float, 16> t{};
        for (std::size_t i = 0; few && i < 16; ++i) t[i] = sorted.level[i < count ? i : count - 1];
        return t;
    }();
    /// Between level i and the next one.
    static constexpr std::array<float, 16> midpoint = [] {
        std::array<float, 16> t{};
        for (std::size_t i = 0; few && i < 16; ++i)
            t[i] = i + 1 < count ? product(0.5f, sorted.level[i]) + product(0.5f, sorted.level[i + 1])
                                 : (std::numeric_limits<float>::max)();
        return t;
    }();
};

/// Formats whose scales have 8 bits, so that a search may try code after code.
template <class F>
concept has_byte_scale = F::map == form::scaled && requires(typename F::params& p) {
    requires std::same_as<std::remove_cvref_t<decltype(p.scale[0])>, typename F::stored_scale>;
    requires sizeof(p.scale[0].bits) == 1;
};

/// The values of a scale type of 8 bits, ascending from code 0 to the code of the largest.
template <class T> struct byte_scale {
    static constexpr int last = T::from((T::max)(), overflow::saturate, rounding::nearest_even).bits;
    static constexpr std::array<float, 256> value = [] {
        std::array<float, 256> v{};
        for (std::size_t i = 0; i < v.size(); ++i) {
            T code{};
            code.bits = static_cast<typename T::storage>(i);
            v[i] = code.value();
        }
        return v;
    }();
    static constexpr int codes_per_octave = [] {
        constexpr auto middle = static_cast<std::size_t>(last / 2);
        std::size_t next = middle;
        while (next < static_cast<std::size_t>(last) && value[next] < 2 * value[middle]) ++next;
        return static_cast<int>(next - middle);
    }();
    /// How far from the plain scale's code the best one may lie: sparse types are searched further down, as most
    /// weights may be unimportant.
    static constexpr int below = codes_per_octave * 5 / 4, above = codes_per_octave * 11 / 8;
};

/// Those of them that are the powers of two, so that a search may try them all.
template <class F>
concept has_power_of_two_scale =
    has_byte_scale<F> && !has_outer<F> && byte_scale<typename F::stored_scale>::codes_per_octave == 1;

/// The exponent of the least power of two in a scale type, which may be below the normal numbers.
template <class T>
inline constexpr int lowest_power = [] {
    int e = -126;
    for (float v = 0x1p-126f; v > byte_scale<T>::value[0]; v = product(v, 0.5f)) --e;
    for (float v = 0x1p-126f; v < byte_scale<T>::value[0]; v = product(v, 2.0f)) ++e;
    return e;
}();

/// Whether maps are stored in a given type as they are wished.
template <class F, class T>
inline constexpr bool stores = [] {
    if constexpr (requires { typename F::stored_scale; } && (F::map == form::scaled || !has_outer<F>))
        return std::same_as<typename F::stored_scale, T>;
    else return false;
}();

/// Candidates for the inverse of a scale: from, from * ratio + step, ... times the plain one.
struct scale_steps {
    float from, ratio, step;
    int count;
};

/// The fewer levels, the further the best scale may lie from that of the extreme weight; the more levels, the finer the
/// steps that matter. Importance widens the range: the extreme weight may not matter. The numbers are experiments'.
template <class F> constexpr scale_steps scale_steps_of([[maybe_unused]] bool weighted) noexcept {
    constexpr std::size_t levels = grid_levels<typename F::grid>::count;
    if constexpr (levels > 0 && levels <= 4) return {1.0f, 1.12f, 0, 16};
    if constexpr (levels > 0 && levels <= 8) return {0.65f, 1, 0.075f, 11};
    if constexpr (levels > 0 && levels <= 16) {
        constexpr int count = F::group > 64 ? 12 : 8;
        return weighted ? scale_steps{0.7f, 1, 0.05f, 13} : scale_steps{0.75f, 1, 0.055f, count};
    }
    if constexpr (levels > 0 && levels <= 64)
        return weighted ? scale_steps{0.75f, 1, 0.025f, 16} : scale_steps{0.75f, 1, 0.03f, 12};
    return {0.82f, 1, 0.005f, 39};
}

/// Maps of two numbers: starts whose range is that of the weights less `from` + i * `step` levels at its low end and as
/// many others at its high end.
struct range_starts {
    float from, step;
    int count;         ///< at each end
    int alternations;  ///< of choosing codes and solving for the map, from each start
};
constexpr range_starts range_starts_of(bool weighted) noexcept {
    return weighted ? range_starts{-0.6f, 0.3f, 7, 3} : range_starts{-0.6f, 0.4f, 4, 1};
}

/// The same where zero points are integers and the map follows from codes and zero point: it is not solved for,
/// so that under importance, where an extreme weight may not matter, much more of the range is cut.
/// `alternations`: of looking around the best map.
constexpr range_starts shifted_starts_of(bool weighted) noexcept {
    return weighted ? range_starts{-0.6f, 0.5f, 12, 2} : range_starts{-0.6f, 0.4f, 4, 0};
}

/// How much of the shrinking by least squares is given back where nothing is known of the inputs.
template <class F> inline constexpr float regained_part = grid_levels<typename F::grid>::count <= 4 ? 0.4f : 0.5f;

/// Two levels: super-scales that are tried with sub-scales next to the wished ones, then from the best `starts` of them
/// `sweeps` of looking `reach` sub-scales and `min_reach` mins around, each followed by the least-squares super-scales.
struct super_steps {
    float from, step;
    int count, reach, min_reach, sweeps, starts;
};
template <class F> constexpr super_steps super_steps_of([[maybe_unused]] bool weighted) noexcept {
    constexpr std::size_t levels = grid_levels<typename F::grid>::count;
    if constexpr (!F::has_mins && levels > 8 && levels <= 16)
        return {0.95f, 0.038f, 18, 2, 0, 3, 1};  // IQ4_XS: levels far from even
    else if constexpr (!F::has_mins) return {0.95f, 0.035f, 11, 1, 0, 3, 1};
    else if constexpr (F::sub_bits <= 4)
        return weighted ? super_steps{0.85f, 0.06f, 8, 4, 2, 4, 4} : super_steps{0.9f, 0.07f, 7, 3, 2, 3, 1};
    else return weighted ? super_steps{0.95f, 0.0875f, 5, 5, 2, 3, 1} : super_steps{0.95f, 0.0875f, 5, 5, 2, 2, 1};
}

/// What levels are to a search.
enum class level_kind : std::uint8_t { integers, table, small_float, own };

template <class F>
inline constexpr level_kind level_kind_of = [] {
    using G = grid_levels<typename F::grid>;
    if constexpr (G::integers) return level_kind::integers;
    else if constexpr (G::few) return level_kind::table;
    else if constexpr (requires { typename F::grid::element; }) return level_kind::small_float;
    else return level_kind::own;
}();

/// The numbers of a grid's levels.
struct level_rule {
    float low, high;
    const std::array<float, 16>*level = nullptr, *midpoint = nullptr;  ///< table
    minifloat_rule number{};                                           ///< small_float
    float (*nearest)(float u) noexcept = nullptr;                      ///< own
};
template <class F>
inline constexpr level_rule level_rule_of = [] {
    using G = grid_levels<typename F::grid>;
    level_rule r{G::low, G::high};
    if constexpr (level_kind_of<F> == level_kind::table) {
        r.level = &G::level;
        r.midpoint = &G::midpoint;
    } else if constexpr (level_kind_of<F> == level_kind::own) {
        r.nearest = [](float u) noexcept {
            float level = 0;
            F::level(F::nearest(&u, nullptr), &level);
            return level;
        };
    }
    if constexpr (requires { typename F::grid::element; }) r.number = minifloat_rule_of<typename F::grid::element>;
    return r;
}();

/// How a search finds the scale of a group whose scales are stored one by one.
enum class scale_kind : std::uint8_t {
    powers_of_two,  ///< all that the wire can hold
    bytes,          ///< code after code
    free,           ///< least squares, then what the wire makes of it
};
template <class F>
inline constexpr scale_kind scale_kind_of = has_power_of_two_scale<F> ? scale_kind::powers_of_two
                                            : has_byte_scale<F>       ? scale_kind::bytes
                                                                      : scale_kind::free;

/// A search in numbers.
struct search_shape {
    std::size_t group, groups;
    level_rule levels;
    plain_rule plain;
    scale_steps steps[2];  ///< without importance, with it; the next two likewise
    super_steps super[2];
    float regained;  ///< see regained_part
    bool signed_scale;
    bool in_f16, in_f32;  ///< maps are stored as they are wished, in this type
    // scales of 8 bits
    int least_power = 0, last = 0, below = 0, above = 0;
    const std::array<float, 256>* scale_values = nullptr;
    int (*scale_code)(float s) noexcept = nullptr;
    // two levels
    int sub_low = 0, sub_high = 0, min_high = 0;
    bool sub_signed = false;
    float (*stored_super)(float s) noexcept = nullptr;  ///< null: in_f16
};

template <class F>
inline constexpr search_shape search_shape_of = [] {
    search_shape s{.group = F::group,
                   .groups = F::groups,
                   .levels = level_rule_of<F>,
                   .plain = plain_rule_of<F>,
                   .steps = {scale_steps_of<F>(false), scale_steps_of<F>(true)},
                   .super = {},
                   .regained = regained_part<F>,
                   .signed_scale = scale_has_sign<F>,
                   .in_f16 = stores<F, f16>,
                   .in_f32 = stores<F, f32>};
    if constexpr (has_byte_scale<F>) {
        using T = byte_scale<typename F::stored_scale>;
        s.last = T::last;
        s.below = T::below;
        s.above = T::above;
        s.scale_values = &T::value;
        s.scale_code = [](float v) noexcept -> int { return storable_scale<typename F::stored_scale>(v).bits; };
    }
    if constexpr (has_power_of_two_scale<F>) s.least_power = lowest_power<typename F::stored_scale>;
    if constexpr (has_sub_scales<F>) {
        using T = typename F::stored_scale;
        s.super[0] = super_steps_of<F>(false);
        s.super[1] = super_steps_of<F>(true);
        s.sub_low = F::sub_low;
        s.sub_high = F::sub_high;
        s.min_high = F::has_mins ? F::min_high : 0;
        s.sub_signed = F::sub_signed;
        if constexpr (!std::same_as<T, f16>)
            s.stored_super = [](float v) noexcept { return storable_scale<T>(v).value(); };
    }
    return s;
}();

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
