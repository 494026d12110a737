#pragma once
// mx_scale_fit: how the power-of-two scale of a group follows from its weights. Sources: OCP MX v1.0, section 6.3;
// torchao (mx_tensor.py); Mishra et al., Recipes for Pre-training LLMs with MXFP8 (2025), for rounding up.
#include "../format/scales.hpp"
#include "weights.hpp"

namespace qlib::inline QLIB_ABI {

/// From the largest magnitude of a group to its scale. The top power is the largest
/// power of two on the grid: E2M1's is 4, of 6.
enum class mx_rule : std::uint8_t {
    floor,    ///< magnitude / top power, rounded down: OCP's own. What is beyond the levels saturates: 7.9 becomes 6
    ceil,     ///< magnitude / top power, rounded up: nothing saturates, and most groups leave the highest levels unused
    even,     ///< as floor, once the magnitude has been rounded to the levels' distance at its place: 7.9 counts as 8
    rceil,    ///< magnitude / highest level, rounded up: nothing saturates. Blackwell's cvt.rp.ue8m0x2
    nearest,  ///< magnitude / highest level, rounded to the nearest power of two, ties to the even exponent
    search,   ///< the power of two with the least squared error, weighted by importance; exact
};

/// Scale types that hold powers of two alone; a user's own may specialise it.
template <class T> inline constexpr bool power_of_two_type = false;
template <> inline constexpr bool power_of_two_type<e8m0> = true;

/// Formats whose groups have a power of two as their whole map.
template <class F>
concept power_of_two_scaled = block_format<F> && (F::map == form::scaled) && F::vec == 1 && !has_outer<F> && requires {
    requires power_of_two_type<typename F::stored_scale>;
};

}  // namespace qlib::inline QLIB_ABI

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// 2^e, -126 <= e <= 127.
QLIB_INLINE constexpr float two_to(int e) noexcept { return float_of(static_cast<std::uint32_t>(e + 127) << 23); }

/// The largest e with 2^e on the grid's way to its highest level.
template <class Grid> inline constexpr int top_exponent = static_cast<int>(bits_of(highest_level<Grid>) >> 23) - 127;

/// The x in [1, 2) from which x * top power is rounded to twice the top power: half
/// of the levels' least distance there below 2.
template <class Grid>
inline constexpr float carries_from = [] {
    const float low = two_to(top_exponent<Grid>);
    float distance = low;
    for (std::size_t i = 0; i < Grid::size; ++i) {
        if (!(Grid::level(i) >= low && Grid::level(i) < 2 * low)) continue;
        for (std::size_t j = 0; j < Grid::size; ++j)
            if (Grid::level(j) > Grid::level(i)) distance = smaller(distance, Grid::level(j) - Grid::level(i));
    }
    return 2 - distance / low / 2;
}();

/// The scale of a group by any rule but search; what it wishes is rounded where it is
/// stored. A subnormal magnitude counts as zero.
template <class Grid> constexpr float mx_scale(mx_rule rule, float largest) noexcept {
    if (rule == mx_rule::nearest) return largest / highest_level<Grid>;
    if (rule == mx_rule::rceil)  // the product with the rounded reciprocal, as the hardware's users form it
        return e8m0::from(product(largest, 1.0f / highest_level<Grid>), overflow::saturate, rounding::away_from_zero)
            .value();
    const std::uint32_t u = bits_of(largest), fraction = u & 0x007FFFFFu;
    const bool up = (rule == mx_rule::ceil && fraction != 0) ||
                    (rule == mx_rule::even && float_of(fraction | 0x3F800000u) >= carries_from<Grid>);
    const float down = product(float_of(u & 0x7F800000u), two_to(-top_exponent<Grid>));
    return up ? 2 * down : down;
}

/// The best of all powers of two. One above floor's can gain only where weights saturate; below it the search goes on
/// until saturation alone costs more than the best found.
template <class F>
constexpr float mx_search(std::span<const float> x, std::span<const float> w, float largest) noexcept {
    const float unit = mx_scale<typename F::grid>(mx_rule::floor, largest), inverse = safe_reciprocal(unit);
    if (inverse == 0) return unit;
    float in_units[F::group]{}, weight[F::group]{};
    for (std::size_t i = 0; i < x.size(); ++i) {
        in_units[i] = product(x[i], inverse);
        weight[i] = w.empty() ? 1.0f : w[i];
    }
    float best = 1;
    auto least = texts_of_one_block<F>::scale_error(in_units, weight, x.size(), best);
    for (float s = 2; product(unit, s) >= 0x1p-126f; s *= s == 2 ? 0.25f : 0.5f) {
        const auto e = texts_of_one_block<F>::scale_error(in_units, weight, x.size(), s);
        if (s < 1 && !(e.saturated < least.all)) break;
        if (e.all < least.all) {
            least = e;
            best = s;
        }
    }
    return product(unit, best);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// A named scale rule as a fit, for any format whose scales are powers of two: quantize<mxfp8_e4m3>(W,
/// mx_scale_fit{mx_rule::even}).
struct mx_scale_fit {
    mx_rule rule = mx_rule::floor;
    static constexpr const char* name = "mx_scale";
    template <power_of_two_scaled F> QLIB_INLINE constexpr typename F::params block(const site<F>& s) const noexcept {
        std::array<affine, F::groups> wishes{};
        for (std::size_t g = 0; g < F::groups && g * F::group < s.x.size(); ++g) {
            const std::size_t first = g * F::group, n = detail::smaller_size(F::group, s.x.size() - first);
            const auto x = s.x.subspan(first, n);
            const float largest = detail::abs_max(x.data(), n);
            const auto w = s.importance.empty() ? s.importance : s.importance.subspan(first, n);
            wishes[g].s = rule == mx_rule::search ? detail::mx_search<F>(x, w, largest)
                                                  : detail::mx_scale<typename F::grid>(rule, largest);
        }
        return F::project(wishes, s.outer);
    }
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
