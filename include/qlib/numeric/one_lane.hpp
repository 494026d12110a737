#pragma once
// one_lane: the vocabulary of room/vocabulary.hpp with one block in place of many. What runs over lanes in a room runs
// at compile time over this.
#include "exact.hpp"

#include <array>

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct one_lane {
    static constexpr std::size_t width = 1;
    static constexpr bool looks_up_fast = true;  // as far as it matters
    using floats = float;
    using ints = std::int32_t;
    using mask = bool;

    QLIB_INLINE static constexpr floats splat(float x) noexcept { return x; }
    QLIB_INLINE static constexpr ints splat(std::int32_t x) noexcept { return x; }
    QLIB_INLINE static constexpr floats times(floats a, floats b) noexcept { return product(a, b); }
    QLIB_INLINE static constexpr floats select(mask m, floats a, floats b) noexcept { return m ? a : b; }
    QLIB_INLINE static constexpr ints select(mask m, ints a, ints b) noexcept { return m ? a : b; }
    QLIB_INLINE static constexpr mask no(mask m) noexcept { return !m; }
    QLIB_INLINE static constexpr bool any(mask m) noexcept { return m; }
    QLIB_INLINE static constexpr ints one_if(mask m) noexcept { return m ? 1 : 0; }
    QLIB_INLINE static constexpr ints bits(floats x) noexcept { return __builtin_bit_cast(std::int32_t, x); }
    QLIB_INLINE static constexpr floats from_bits(ints x) noexcept { return __builtin_bit_cast(float, x); }
    QLIB_INLINE static constexpr floats to_float(ints x) noexcept { return static_cast<float>(x); }
    QLIB_INLINE static constexpr ints truncate(floats x) noexcept { return static_cast<std::int32_t>(x); }
    QLIB_INLINE static constexpr floats square_root(floats x) noexcept { return detail::square_root(x); }
    QLIB_INLINE static constexpr floats look_up(const std::array<float, 16>& table, ints i) noexcept {
        return table[static_cast<std::size_t>(i & 15)];
    }
    QLIB_INLINE static constexpr float lane(floats x, std::size_t) noexcept { return x; }
    QLIB_INLINE static constexpr std::int32_t lane(ints x, std::size_t) noexcept { return x; }
    QLIB_INLINE static constexpr void set_lane(floats& x, std::size_t, float v) noexcept { x = v; }
    QLIB_INLINE static constexpr void set_lane(ints& x, std::size_t, std::int32_t v) noexcept { x = v; }
    QLIB_INLINE static constexpr void put(std::uint8_t* p, ints v) noexcept { *p = static_cast<std::uint8_t>(v); }
    QLIB_INLINE static constexpr ints get(const std::uint8_t* p) noexcept { return *p; }

#include "lane_order.inl"
#include "lane_arithmetic.inl"
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
