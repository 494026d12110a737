// No #pragma once: each room includes this text inside its struct of lanes, after `width` and `looks_up_fast` (whether look_up is one
// instruction). Lanes: the same function of `width` blocks at once, each in a lane of its own. No sum ever crosses lanes, so the order of
// operations, and with it every bit, is that of one block alone (numeric/one_lane.hpp), on every instruction set. Branches become select();
// loops end when no lane needs them. The room adds barrier, any, least_of, square_root, look_up; put_4, which puts four weights' codes in a row;
// gather_blocks(from[lane], n, out), where out[i] gets from[lane][i]; scatter_bytes(from, n, to[lane]), where to[lane][i] gets
// from[i * width + lane]; and widen_16<T>(bytes, out).

#if defined(__clang__)  // at run time only, whatever a text says: one_block is for compile time. Popped at the end of encode_blocks.inl
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winvalid-constexpr"
#endif
using floats = float __attribute__((vector_size(4 * width)));
using ints = std::int32_t __attribute__((vector_size(4 * width)));
using mask = ints;  // 0 or -1

QLIB_INLINE static constexpr floats splat(float x) noexcept { return x - floats{}; }
QLIB_INLINE static constexpr ints splat(std::int32_t x) noexcept { return x - ints{}; }
/// a * b, rounded once: never fused into a following addition.
QLIB_INLINE static constexpr floats times(floats a, floats b) noexcept {
    floats p = a * b;
#if defined(__clang__)
    if (!std::is_constant_evaluated()) barrier(p);
#endif
    return p;
}
QLIB_INLINE static constexpr floats times(float a, floats b) noexcept { return times(splat(a), b); }
QLIB_INLINE static constexpr floats times(floats a, float b) noexcept { return times(a, splat(b)); }
QLIB_INLINE static constexpr floats select(mask m, floats a, floats b) noexcept { return m ? a : b; }
QLIB_INLINE static constexpr ints select(mask m, ints a, ints b) noexcept { return m ? a : b; }
QLIB_INLINE static constexpr mask no(mask m) noexcept { return ~m; }
QLIB_INLINE static constexpr ints one_if(mask m) noexcept { return m & 1; }
QLIB_INLINE static constexpr ints bits(floats x) noexcept { return __builtin_bit_cast(ints, x); }
QLIB_INLINE static constexpr floats from_bits(ints x) noexcept { return __builtin_bit_cast(floats, x); }
QLIB_INLINE static constexpr floats to_float(ints x) noexcept { return __builtin_convertvector(x, floats); }
QLIB_INLINE static constexpr ints truncate(floats x) noexcept { return __builtin_convertvector(x, ints); }
QLIB_INLINE static constexpr float lane(floats x, std::size_t i) noexcept { return x[i]; }
QLIB_INLINE static constexpr std::int32_t lane(ints x, std::size_t i) noexcept { return x[i]; }
QLIB_INLINE static constexpr void set_lane(floats& x, std::size_t i, float v) noexcept { x[i] = v; }
QLIB_INLINE static constexpr void set_lane(ints& x, std::size_t i, std::int32_t v) noexcept { x[i] = v; }
/// Codes as bytes, one for each lane.
QLIB_INLINE static void put(std::uint8_t* p, ints v) noexcept {
    using byte_lanes = std::uint8_t __attribute__((vector_size(width)));
    const byte_lanes c = __builtin_convertvector(v, byte_lanes);
    std::memcpy(p, &c, width);
}
QLIB_INLINE static ints get(const std::uint8_t* p) noexcept {
    using byte_lanes = std::uint8_t __attribute__((vector_size(width)));
    byte_lanes c;
    std::memcpy(&c, p, width);
    return __builtin_convertvector(c, ints);
}

#include "../numeric/lane_arithmetic.inl"
