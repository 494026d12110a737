// No #pragma once: included in one_lane and in rooms without instructions of their own
// for it. Of equals, and beside a NaN, the first.

QLIB_INLINE static constexpr floats smaller(floats a, floats b) noexcept { return select(b < a, b, a); }
QLIB_INLINE static constexpr floats larger(floats a, floats b) noexcept { return select(a < b, b, a); }
QLIB_INLINE static constexpr ints smaller(ints a, ints b) noexcept { return select(b < a, b, a); }
QLIB_INLINE static constexpr ints larger(ints a, ints b) noexcept { return select(a < b, b, a); }
