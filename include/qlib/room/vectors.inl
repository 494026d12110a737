// No #pragma once: each room includes this text inside its struct, behind `width`. The vocabulary on vectors of
// `width` numbers that compilers bring: operators are theirs. As encoders see it, a lane is a block of its own: no
// sum crosses lanes, so the order of operations, and with it every bit, is that of one block alone
// (numeric/one_lane.hpp), on every instruction set.

// At run time only, whatever a text says: one_block is for compile time. Popped at the end of texts.inl.
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winvalid-constexpr"
#endif
using floats = float __attribute__((vector_size(4 * width)));
using ints = std::int32_t __attribute__((vector_size(4 * width)));
using mask = ints;                                // 0 or -1
static constexpr std::size_t parts = 16 / width;  // vectors that hold 16 numbers

QLIB_INLINE static constexpr floats splat(float x) noexcept { return x - floats{}; }
QLIB_INLINE static constexpr ints splat(std::int32_t x) noexcept { return x - ints{}; }
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
/// `width` floats at any address.
QLIB_INLINE static floats get_floats(const float* p) noexcept {
    floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
QLIB_INLINE static void put_floats(float* p, floats v) noexcept { std::memcpy(p, &v, sizeof v); }

#include "../numeric/lane_arithmetic.inl"
