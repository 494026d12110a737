#include "support/kernel_formats.hpp"

#include <qlib/kernel/operands.hpp>
#include <qlib/mx.hpp>

#include <doctest/doctest.h>

using namespace qlib;
using namespace qlib::detail;

namespace {

constexpr bool is(integer_levels l, int mul, int lo, int hi) { return l.mul == mul && l.lo == lo && l.hi == hi; }
template <class Float> using grid_of = minifloat_grid<Float>;
inline constexpr std::array<float, 2> apart{0, 256}, thirds{0, 0.328125f}, wide{-100, 156};
constexpr dot_instruction signed_bytes{true, 0};

}  // namespace

// Which levels are 8-bit integers up to a power of two.
static_assert(is(integers_of<uint_grid<4>>(), 1, 0, 15));
static_assert(is(integers_of<int8_grid>(), 1, -128, 127));
static_assert(is(integers_of<uint_grid<8>>(), 1, 0, 255));
static_assert(is(integers_of<sign_grid>(), 1, -1, 1));
static_assert(is(integers_of<codebook_grid<kernel_formats::e2m1_values>>(), 2, -12, 12));
static_assert(is(integers_of<codebook_grid<kernel_formats::uneven>>(), 1, -127, 113));
static_assert(is(integers_of<grid_of<minifloat<2, 3, 1, specials::none>>>(), 8, -60, 60));  // FP6 E2M3
static_assert(is(integers_of<codebook_grid<thirds>>(), 64, 0, 21));
static_assert(is(integers_of<codebook_grid<wide>>(), 0, 0, 0));  // 256 steps
static_assert(is(integers_of<codebook_grid<apart>>(), 0, 0, 0));
static_assert(!integers_of<nf4::grid>());
static_assert(!integers_of<grid_of<e4m3>>());                                // and has NaN codes
static_assert(!integers_of<grid_of<minifloat<3, 2, 3, specials::none>>>());  // FP6 E3M2 needs 448 steps
static_assert(is(integer_levels_of<kernel_formats::lattice8>, 1, -3, 3));

// The operand form follows the instruction; nothing saturates.
static_assert(choose({1, -127, 113}, dot_in_int32).how == operand::weights_unsigned &&
              choose({1, -127, 113}, dot_in_int32).bias == -127);
static_assert(choose({1, 0, 15}, dot_in_int32).bias == 0);
static_assert(choose({1, 0, 15}, dot_in_int16_pairs).how == operand::weights_unsigned);
static_assert(choose({1, -64, 63}, dot_in_int16_pairs).how == operand::weights_unsigned);  // 2 * 127 * 127 <= 32767
static_assert(choose({1, -127, 113}, dot_in_int16_pairs).how == operand::sign_transfer);
static_assert(choose({1, 0, 255}, dot_in_int16_pairs).how == operand::sign_transfer &&
              choose({1, 0, 255}, dot_in_int16_pairs).bias == 128);
static_assert(choose({1, -128, 127}, signed_bytes).how == operand::both_signed &&
              choose({1, 0, 255}, signed_bytes).bias == 128);
static_assert(!exact({1, 0, 255}, {operand::weights_unsigned, 0}, dot_in_int16_pairs));
static_assert(!exact({1, -8, 7}, {operand::weights_unsigned, 0}, dot_in_int32));
static_assert(!exact({1, 0, 255}, {operand::both_signed, 0}, signed_bytes));
static_assert(!exact({1, -128, 127}, {operand::both_signed, 300}, signed_bytes));

// Tables of codes.
static_assert(linear_levels_of<kernel_formats::bytes8>.linear && linear_levels_of<kernel_formats::bytes8>.flip == 128 &&
              linear_levels_of<kernel_formats::bytes8>.base == -128);
static_assert(linear_levels_of<kernel_formats::split4>.base == -8 && !linear_levels_of<kernel_formats::float4>.linear &&
              !linear_levels_of<kernel_formats::dense1>.linear);
static_assert(operand_table<kernel_formats::bytes8, dot_in_int32>[0] == 128 &&
              operand_table<kernel_formats::bytes8, dot_in_int32>[255] == 127);
static_assert(operand_table<kernel_formats::float4, dot_in_int32>[7] == 24 &&
              operand_table<kernel_formats::float4, dot_in_int32>[8] == 12);
static_assert(row_maps<kernel_formats::row8> && row_maps<kernel_formats::tensor3> && !row_maps<kernel_formats::tile4> &&
              !row_maps<kernel_formats::split4>);
static_assert(has_bit_layout<kernel_formats::own_layout> && !has_bit_layout<kernel_formats::lattice8>);

namespace {

/// Every form under every instruction, for all ranges of levels: exact() must agree
/// with the arithmetic done the slow way.
bool sound(integer_levels l, dot_instruction d, operand_form f) {
    bool all = true;
    for (const int level : {l.lo, l.lo + 1, (l.lo + l.hi) / 2, l.hi - 1, l.hi}) {
        if (level < l.lo || level > l.hi) continue;
        const int stored = level - f.bias;
        all = all &&
              (f.how == operand::weights_unsigned ? stored >= 0 && stored <= 255 : stored >= -128 && stored <= 127);
        if (d.pair_limit != 0) all = all && 2 * (stored < 0 ? -stored : stored) * largest_activation <= d.pair_limit;
    }
    return all;
}

template <int Lo> consteval std::array<operand_form, 256> forms(dot_instruction d) {
    std::array<operand_form, 256> f{};
    for (int n = 1; n < 256 && Lo + n <= 255; ++n) f[static_cast<std::size_t>(n)] = choose({1, Lo, Lo + n}, d);
    return f;
}
template <int Lo> void check_ranges() {
    static constexpr auto wide_sums = forms<Lo>(dot_in_int32), pairs = forms<Lo>(dot_in_int16_pairs),
                          bytes = forms<Lo>(signed_bytes);
    bool all = true;
    for (int n = 1; n < 256 && Lo + n <= 255; ++n) {
        const auto i = static_cast<std::size_t>(n);
        all = all && sound({1, Lo, Lo + n}, dot_in_int32, wide_sums[i]) &&
              sound({1, Lo, Lo + n}, dot_in_int16_pairs, pairs[i]) && sound({1, Lo, Lo + n}, signed_bytes, bytes[i]);
    }
    CHECK(all);
}

}  // namespace

TEST_CASE("operands: no range of levels can saturate in the form chosen for it") {
    check_ranges<-255>();
    check_ranges<-200>();
    check_ranges<-129>();
    check_ranges<-128>();
    check_ranges<-127>();
    check_ranges<-64>();
    check_ranges<-1>();
    check_ranges<0>();
    check_ranges<1>();
    check_ranges<100>();
}

TEST_CASE_TEMPLATE("operands: tables hold the levels of all codes", F, QLIB_KERNEL_FORMATS) {
    if constexpr (byte_codes<F>) {
        bool all = true;
        for (std::size_t c = 0; c < code_count<F>; ++c) {
            float l = 0;
            F::level(static_cast<typename F::code>(c), &l);
            all = all && bits_of(l) == bits_of(level_table<F>[c]);
            if constexpr (static_cast<bool>(integer_levels_of<F>)) {
                constexpr operand_form f = form_of<F, dot_in_int32>;
                all = all && static_cast<float>(operand_table<F, dot_in_int32>[c] + f.bias) ==
                                 l * static_cast<float>(integer_levels_of<F>.mul);
            }
        }
        CHECK(all);
    }
}

namespace {

template <class Grid> struct rows_of : format<Grid, scale_per_row<>> {};
constexpr bool is(linear_levels l, unsigned flip, int base, float step) {
    return l.linear && l.flip == flip && l.base == base && l.step == step;
}
constexpr bool is(half_levels h, std::size_t exponent, std::size_t mantissa, float factor, unsigned first_nan) {
    return h.exponent_bits == exponent && h.mantissa_bits == mantissa && h.factor == factor && h.first_nan == first_nan;
}

}  // namespace

// Which levels are equal steps, and which are f16s cut short: the small floats of OCP, whose NaN f16 may not have; not
// those of which -0 is the NaN.
static_assert(is(linear_levels_of<rows_of<uint_grid<4>>>, 0, 0, 1) &&
              is(linear_levels_of<rows_of<int8_grid>>, 128, -128, 1));
static_assert(is(linear_levels_of<mxint8>, 128, -128, 1.0f / 64) && !linear_levels_of<nf4>.linear &&
              !linear_levels_of<mxfp8_e4m3>.linear && !linear_levels_of<rows_of<minifloat_grid<e4m3fnuz>>>.linear);
static_assert(is(half_levels_of<mxfp8_e4m3>, 4, 3, 256, 127) && is(half_levels_of<mxfp8_e5m2>, 5, 2, 1, 125));
static_assert(is(half_levels_of<mxfp6_e3m2>, 3, 2, 4096, 32) && is(half_levels_of<mxfp6_e2m3>, 2, 3, 16384, 32));
static_assert(half_levels_of<rows_of<minifloat_grid<e4m3fnuz>>>.mantissa_bits == 0 &&
              half_levels_of<mxint8>.mantissa_bits == 0 && half_levels_of<mxfp4_ocp>.mantissa_bits == 0);
