#pragma once
// What a room must bring: every operation that the texts use, once. A room writes the vocabulary on vectors of
// its own width; vectors.inl has most of it for vectors that compilers know, sixteen.inl all of the second
// half for rooms of fewer than 16 lanes. Rounding is to nearest even everywhere; what stands here is one
// rounding, in every room, and never fused into another.
#include "../kernel/operands.hpp"
#include "isa.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// `width` numbers side by side, in lanes: floats, ints, and masks that are true or false in each lane. `a + b`,
/// `a < b` and their kind are the compiler's operators.
template <class R>
concept room_lanes = requires(typename R::floats x, typename R::ints i, typename R::mask m, std::uint8_t* bytes,
                              float* numbers, const std::array<float, 16>& table, std::size_t n) {
    requires R::width == 4 || R::width == 8 || R::width == 16;
    { R::id } -> std::convertible_to<isa>;
    { R::looks_up_fast } -> std::convertible_to<bool>;  // whether look_up is a few instructions
    { R::splat(1.0f) } -> std::same_as<typename R::floats>;
    { R::splat(std::int32_t{1}) } -> std::same_as<typename R::ints>;
    { R::times(x, x) } -> std::same_as<typename R::floats>;            // a product that no compiler fuses into a sum
    { R::multiply_add(x, x, x) } -> std::same_as<typename R::floats>;  // a * b + c, fused where the room can
    { R::select(m, x, x) } -> std::same_as<typename R::floats>;        // m ? a : b
    { R::select(m, i, i) } -> std::same_as<typename R::ints>;
    { R::smaller(x, x) } -> std::same_as<typename R::floats>;  // of equals, and beside a NaN, the first
    { R::larger(x, x) } -> std::same_as<typename R::floats>;
    { R::smaller(i, i) } -> std::same_as<typename R::ints>;
    { R::larger(i, i) } -> std::same_as<typename R::ints>;
    { R::no(m) } -> std::same_as<typename R::mask>;
    { R::any(m) } -> std::same_as<bool>;
    { R::one_if(m) } -> std::same_as<typename R::ints>;  // 1 or 0
    { R::bits(x) } -> std::same_as<typename R::ints>;    // as they are
    { R::from_bits(i) } -> std::same_as<typename R::floats>;
    { R::to_float(i) } -> std::same_as<typename R::floats>;
    { R::truncate(x) } -> std::same_as<typename R::ints>;          // towards zero, of what fits
    { R::square_root(x) } -> std::same_as<typename R::floats>;     // correctly rounded; 0 for what is not positive
    { R::look_up(table, i) } -> std::same_as<typename R::floats>;  // table[i % 16]
    { R::least_of(x) } -> std::same_as<float>;                     // across lanes
    { R::lane(x, n) } -> std::same_as<float>;
    { R::lane(i, n) } -> std::same_as<std::int32_t>;
    R::set_lane(x, n, 1.0f);
    R::set_lane(i, n, std::int32_t{1});
    R::put(bytes, i);             // the low byte of each lane
    R::put_4(bytes, i, i, i, i);  // of four vectors of 0 .. 255, one after another
    { R::get(bytes) } -> std::same_as<typename R::ints>;
    { R::get_floats(numbers) } -> std::same_as<typename R::floats>;  // at any address
    R::put_floats(numbers, x);
    R::barrier(x);  // what is computed before it is not fused with what comes after
};

/// Four bytes of weights to each lane, times bytes of activations: for rows of weights that are streamed.
template <class R>
concept room_dots = requires(typename R::ints i, typename R::floats x, typename R::lane_bytes w,
                             const std::uint8_t* bytes, const std::int8_t* activations, const std::int32_t* numbers,
                             const float* maps, std::size_t n) {
    { R::most_dotted } -> std::convertible_to<std::size_t>;  // rows of X that a row of weights is multiplied by so
    { R::dot_columns } -> std::convertible_to<std::size_t>;  // as many at once, where there are two
    { R::get_bytes(bytes) } -> std::same_as<typename R::lane_bytes>;
    { R::get_ints(numbers) } -> std::same_as<typename R::ints>;
    { R::template dot_lanes<operand::weights_unsigned>(i, w, activations) } -> std::same_as<typename R::ints>;
    // to each lane of vector n the map of its group
    { R::template spread_lanes<32>(maps, n) } -> std::same_as<typename R::floats>;
    { R::sum_of(x) } -> std::same_as<float>;  // across lanes
};

/// 16 numbers side by side, whatever the width, for decoders and products; bytes,
/// four to each of 16 lanes; and what moves memory.
template <class R>
concept room_sixteen = requires(typename R::sixteen x, typename R::truths t, typename R::bytes b,
                                typename R::integers i, const float* from, float* to, std::byte* bytes,
                                std::uint8_t* codes, std::int8_t* codes8, const float* const* rows,
                                std::byte* const* places, typename R::floats* lanes,
                                typename R::floats (&two_sums)[2], std::size_t n,
                                const operand_map& map) {
    { R::splat_16(1.0f) } -> std::same_as<typename R::sixteen>;
    { R::load(from) } -> std::same_as<typename R::sixteen>;
    { R::load(from, n) } -> std::same_as<typename R::sixteen>;  // n of them, then zeros
    R::store(to, x);
    R::store(to, x, n);
    { x + x } -> std::convertible_to<typename R::sixteen>;
    { x - x } -> std::convertible_to<typename R::sixteen>;
    { R::times(x, x) } -> std::convertible_to<typename R::sixteen>;
    { R::multiply_add(x, x, x) } -> std::convertible_to<typename R::sixteen>;
    R::multiply_add_to(two_sums, x, x);  // products of all lanes, somewhere in two vectors of `width`
    { R::less(x, x) } -> std::same_as<typename R::truths>;
    { R::select(t, x, x) } -> std::convertible_to<typename R::sixteen>;
    { R::smaller(x, x) } -> std::convertible_to<typename R::sixteen>;
    { R::negate(x, 1u) } -> std::convertible_to<typename R::sixteen>;  // the lanes whose bit is set
    { R::quiet(x) } -> std::convertible_to<typename R::sixteen>;       // every NaN becomes 7FC00000
    { R::stamp(x, n) } -> std::convertible_to<typename R::sixteen>;    // with its last 7 bits replaced by n
    { R::stamped(x) } -> std::convertible_to<typename R::sixteen>;     // those bits as a number
    {
        R::template widen<f16>(bytes)
        } -> std::convertible_to<typename R::sixteen>;  // 16 numbers of a type, at any address
    { R::from_bytes(codes8) } -> std::convertible_to<typename R::sixteen>;
    R::template widen_16<bf16>(bytes, to);  // the same into memory
    R::put_numbers(from, n, to, true);      // n floats, each rounded once; past the caches, if the room can
    R::end_stream();                        // after which other threads may count on seeing those
    R::gather_blocks(rows, n, lanes);       // lanes[i] gets rows[lane][i]
    R::scatter_bytes(codes, n, places);     // places[lane][i] gets codes[i * width + lane]
    R::transpose(bytes, n, bytes);          // 16 rows of 16 words, n bytes apart, to columns
    {
        R::largest_magnitude(from, n)
        } -> std::same_as<std::uint32_t>;  // its bits: from 0x7F800000 on when one is not finite
    // bytes of weights times bytes of activations
    requires R::widths.size() > 0;  // columns of Y in one tile, the widest first
    { R::dot_form } -> std::convertible_to<dot_instruction>;
    { R::most_summed } -> std::convertible_to<std::size_t>;  // products whose sum is exact
    { R::splat_16(std::int32_t{1}) } -> std::same_as<typename R::integers>;
    { R::load_bytes(codes) } -> std::same_as<typename R::bytes>;
    {
        R::template dot<operand::weights_unsigned>(i, b, codes8)
        } -> std::same_as<typename R::integers>;  // i + the dot product of each lane's four bytes with four of X
    { R::to_float(i) } -> std::convertible_to<typename R::sixteen>;
    {
        R::round_activations(from, n, 1.0f, codes8)
        } -> std::same_as<std::int32_t>;  // round_even(x * factor) in +-127, of what fits; gives their sum
    R::to_operands(codes, n, map);        // codes to operands, in place
};

/// Beside these a room brings, as templates over formats and layouts: unpacks<F>, joined_blocks<F>, unpack<Bits, B,
/// N>(in, codes), levels<F>(codes) -> sixteen, and looks_up<F, T>, with look_up and spread where that is true;
/// in_lanes<F>, with codes_of_lanes<Bits, B, All, E, Apart>(in, begin) -> lane_bytes and operands_of<F>(lane_bytes)
/// where that is true; widen_apart<T, Apart>(p) -> sixteen, 16 numbers at equal distances.
template <class R> concept room_vectors = room_lanes<R> && room_dots<R> && room_sixteen<R>;

}  // namespace qlib::inline QLIB_ABI::detail
