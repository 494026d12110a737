#pragma once
// How weights become codes, as numbers: what depends on a format's grid and map alone is compiled once for each kind of
// them, not for each format.
#include "../format/range.hpp"
#include "../kernel/operands.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A small float, numeric/minifloat.hpp, as numbers. Not for floats with f32's exponents.
struct minifloat_rule {
    std::int32_t exponent_bits, mantissa_bits, bias, most;  ///< `most`: the code of the largest magnitude
    bool ieee, fnuz;
    [[nodiscard]] QLIB_INLINE constexpr std::int32_t sign_bit() const noexcept {
        return 1 << (exponent_bits + mantissa_bits);
    }
    /// f32's exponent of `e` in place.
    [[nodiscard]] QLIB_INLINE static constexpr std::int32_t exponent(std::int32_t e) noexcept { return e << 23; }
};
template <class T> inline constexpr minifloat_rule minifloat_rule_of{};
template <int E, int M, int Bias, specials S>
inline constexpr minifloat_rule minifloat_rule_of<minifloat<E, M, Bias, S>>{
    E,
    M,
    Bias,
    static_cast<std::int32_t>(minifloat<E, M, Bias, S>::max_code),
    S == specials::ieee,
    S == specials::fnuz};

/// The bits of 12582912 = 1.5 * 2^23: of x + 12582912 less these are round_even(x).
inline constexpr std::int32_t round_even_zero = 0x4B400000;

/// Ways to the nearest code.
enum class code_kind : std::uint8_t {
    whole_steps,   ///< integers: rounding
    steps,         ///< other equal steps: the same once they are scaled
    table,         ///< up to 16 levels: comparisons with what lies between them
    signed_table,  ///< a sign bit above the codes of magnitudes
    small_float,   ///< rounding to a minifloat
    own,           ///< the format's nearest(), weight by weight
};

/// Numbers of a way; those of the others are not set.
struct code_rule {
    float largest;                      ///< the largest magnitude of a level
    float step_inverse = 1;             ///< steps
    float low = 0, high = 0;            ///< in steps; this and the next for whole_steps, too
    std::int32_t zero = 0, flip = 0;    ///< the bits of round_even's sum for the first code
    const float* thresholds = nullptr;  ///< table: ascending, then infinities up to 16; signed_table: `count` of them
    const std::array<float, 16>* steps_table = nullptr;
    const std::array<float, 16>* codes = nullptr;         ///< of ranks, as floats; null: the rank is the code
    std::size_t count = 0;                                ///< of thresholds
    minifloat_rule number{};                              ///< small_float
    std::uint8_t (*nearest)(float u) noexcept = nullptr;  ///< own
};

template <class F>
inline constexpr code_kind code_kind_of = [] {
    using grid = typename F::grid;
    if constexpr (requires { grid::flip; })
        return grid::level(grid::flip ^ 1) - grid::level(grid::flip) == 1 ? code_kind::whole_steps : code_kind::steps;
    else if constexpr (grid::size <= 16 && requires { grid::sorted.midpoint; }) return code_kind::table;
    else if constexpr (requires { grid::magnitude_thresholds; }) return code_kind::signed_table;
    else if constexpr (requires { typename grid::element; }) return code_kind::small_float;
    else return code_kind::own;
}();

template <byte_codes F>
inline constexpr code_rule code_rule_of = [] {
    using grid = typename F::grid;
    code_rule r{.largest = largest_level<grid>};
    if constexpr (code_kind_of<F> == code_kind::steps || code_kind_of<F> == code_kind::whole_steps) {
        r.step_inverse = 1 / (grid::level(grid::flip ^ 1) - grid::level(grid::flip));
        r.low = grid::lowest * r.step_inverse;
        r.high = grid::highest * r.step_inverse;
        r.zero = round_even_zero + static_cast<std::int32_t>(grid::level(grid::flip) * r.step_inverse);
        r.flip = static_cast<std::int32_t>(grid::flip);
    } else if constexpr (code_kind_of<F> == code_kind::table) {
        r.thresholds = grid::sorted.midpoint.data();
        r.steps_table = &grid::sorted.steps;
        r.codes = grid::sorted.ascending ? nullptr : &grid::sorted.code_table;
        r.count = grid::sorted.count - 1;
    } else if constexpr (code_kind_of<F> == code_kind::signed_table) {
        r.thresholds = grid::magnitude_thresholds.data();
        r.count = grid::magnitude_thresholds.size();
        r.codes = &grid::magnitude_codes;
        r.flip = static_cast<std::int32_t>(grid::size / 2);
    } else if constexpr (code_kind_of<F> == code_kind::small_float) {
        r.number = minifloat_rule_of<typename grid::element>;
    } else {
        r.nearest = [](float u) noexcept -> std::uint8_t { return static_cast<std::uint8_t>(F::nearest(&u, nullptr)); };
    }
    return r;
}();

/// How the plain map of a group follows from its weights.
struct plain_rule {
    range_rule range;
    bool mean = false;  ///< two levels: the mean magnitude is their least-squares scale
    affine (*own)(float low, float high) noexcept = nullptr;  ///< the format's own rule
};
template <class F>
inline constexpr plain_rule plain_rule_of = [] {
    plain_rule r{range_rule_of<F::map, typename F::grid, scale_has_sign<F>, offset_has_sign<F>>};
    r.mean = F::grid::size == 2 && F::map == form::scaled;
    if constexpr (requires { F::plain_map(0.0f, 0.0f); })
        r.own = [](float low, float high) noexcept -> affine { return F::plain_map(low, high); };
    return r;
}();

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
