#pragma once
// What a search derives from a format at compile time: the levels to round to, the codes of a small scale type, how far and how finely to look.
#include "../format/range.hpp"
#include "../format/scales.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Params of two levels, whose groups are stored in steps of the block's super-scales.
template <class F> concept has_sub_scales = has_project_group<F> && requires(typename F::params& p) { p.super; p.sub; p.min; };

/// Whether one scale of a row, tensor or tile is the whole map, so that blocks have none.
template <class F> inline constexpr bool has_map_in_outer = [] {
    if constexpr (requires { F::outer_is_map; }) return bool{F::outer_is_map};
    else return false;
}();

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
template <class F> concept has_byte_scale = F::map == form::scaled && requires(typename F::params& p) {
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
    /// How far from the plain scale's code the best one may lie: sparse types are searched further down, as most weights may be unimportant.
    static constexpr int below = codes_per_octave * 5 / 4, above = codes_per_octave * 11 / 8;
};

/// Those of them that are the powers of two, so that a search may try them all.
template <class F> concept has_power_of_two_scale = has_byte_scale<F> && !has_outer<F> && byte_scale<typename F::stored_scale>::codes_per_octave == 1;

/// The exponent of the least power of two in a scale type, which may be below the normal numbers.
template <class T> inline constexpr int lowest_power = [] {
    int e = -126;
    for (float v = 0x1p-126f; v > byte_scale<T>::value[0]; v = product(v, 0.5f)) --e;
    for (float v = 0x1p-126f; v < byte_scale<T>::value[0]; v = product(v, 2.0f)) ++e;
    return e;
}();

/// Whether maps are stored in a given type as they are wished.
template <class F, class T> inline constexpr bool stores = [] {
    if constexpr (requires { typename F::stored_scale; } && (F::map == form::scaled || !has_outer<F>)) return std::same_as<typename F::stored_scale, T>;
    else return false;
}();

/// Candidates for the inverse of a scale: from, from * ratio + step, ... times the plain one.
struct scale_steps {
    float from, ratio, step;
    int count;
};

/// The fewer levels, the further the best scale may lie from that of the extreme weight; the more levels, the finer the steps that matter.
/// Importance widens the range: the extreme weight may not matter. The numbers are experiments'.
template <class F> constexpr scale_steps scale_steps_of([[maybe_unused]] bool weighted) noexcept {
    constexpr std::size_t levels = grid_levels<typename F::grid>::count;
    if constexpr (levels > 0 && levels <= 4) return {1.0f, 1.12f, 0, 16};
    if constexpr (levels > 0 && levels <= 8) return {0.65f, 1, 0.075f, 11};
    if constexpr (levels > 0 && levels <= 16) {
        constexpr int count = F::group > 64 ? 12 : 8;
        return weighted ? scale_steps{0.7f, 1, 0.05f, 13} : scale_steps{0.75f, 1, 0.055f, count};
    }
    if constexpr (levels > 0 && levels <= 64) return weighted ? scale_steps{0.75f, 1, 0.025f, 16} : scale_steps{0.75f, 1, 0.03f, 12};
    return {0.82f, 1, 0.005f, 39};
}

/// Maps of two numbers: starts whose range is that of the weights less `from` + i * `step` levels at its low end and as many others at its high end.
struct range_starts {
    float from, step;
    int count;          ///< at each end
    int alternations;   ///< of choosing codes and solving for the map, from each start
};
constexpr range_starts range_starts_of(bool weighted) noexcept {
    return weighted ? range_starts{-0.6f, 0.3f, 7, 3} : range_starts{-0.6f, 0.4f, 4, 1};
}

/// The same where zero points are integers and the map follows from codes and zero point: it is not solved for, so that under importance, where an
/// extreme weight may not matter, much more of the range is cut. `alternations`: of looking around the best map.
constexpr range_starts shifted_starts_of(bool weighted) noexcept {
    return weighted ? range_starts{-0.6f, 0.5f, 12, 2} : range_starts{-0.6f, 0.4f, 4, 0};
}

/// How much of the shrinking by least squares is given back where nothing is known of the inputs.
template <class F> inline constexpr float regained_part = grid_levels<typename F::grid>::count <= 4 ? 0.4f : 0.5f;

/// Two levels: super-scales that are tried with sub-scales next to the wished ones, then from the best `starts` of them `sweeps` of looking `reach`
/// sub-scales and `min_reach` mins around, each followed by the least-squares super-scales.
struct super_steps {
    float from, step;
    int count, reach, min_reach, sweeps, starts;
};
template <class F> constexpr super_steps super_steps_of([[maybe_unused]] bool weighted) noexcept {
    constexpr std::size_t levels = grid_levels<typename F::grid>::count;
    if constexpr (!F::has_mins && levels > 8 && levels <= 16) return {0.95f, 0.038f, 18, 2, 0, 3, 1};  // IQ4_XS: levels far from even
    else if constexpr (!F::has_mins) return {0.95f, 0.035f, 11, 1, 0, 3, 1};
    else if constexpr (F::sub_bits <= 4) return weighted ? super_steps{0.85f, 0.06f, 8, 4, 2, 4, 4} : super_steps{0.9f, 0.07f, 7, 3, 2, 3, 1};
    else return weighted ? super_steps{0.95f, 0.0875f, 5, 5, 2, 3, 1} : super_steps{0.95f, 0.0875f, 5, 5, 2, 2, 1};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
