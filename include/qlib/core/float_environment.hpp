#pragma once
// The environment that floats are computed in: to nearest even, subnormals kept. Another library, or a program that is
// linked with -ffast-math, may have left another one; every task of a long function runs in this one.
#include "abi.hpp"

#include <cstdint>

namespace qlib::inline QLIB_ABI::detail {

/// The default environment while it lives; then what there was before. A read of one register where nothing differs.
class default_float_environment {
public:
    QLIB_INLINE default_float_environment() noexcept : before_(read()) {
        if ((before_ & changed) != 0) write(before_ & ~changed);
    }
    default_float_environment(const default_float_environment&) = delete;
    default_float_environment& operator=(const default_float_environment&) = delete;
    QLIB_INLINE ~default_float_environment() {
        if ((before_ & changed) != 0) write(before_);
    }

private:
#if defined(__SSE__)
    using control = unsigned;
    static constexpr control changed = 0xE040;  // MXCSR: flush to zero, rounding, subnormals are zeros
    QLIB_INLINE static control read() noexcept { return __builtin_ia32_stmxcsr(); }
    QLIB_INLINE static void write(control c) noexcept { __builtin_ia32_ldmxcsr(c); }
#elif defined(__aarch64__)
    using control = std::uint64_t;
    static constexpr control changed = 0x1C80003;  // FPCR: FZ, RMode, FZ16, AH, FIZ
    QLIB_INLINE static control read() noexcept {
        control c = 0;
        asm volatile("mrs %0, fpcr" : "=r"(c));
        return c;
    }
    QLIB_INLINE static void write(control c) noexcept { asm volatile("msr fpcr, %0" : : "r"(c)); }
#else
    using control = unsigned;
    static constexpr control changed = 0;
    QLIB_INLINE static control read() noexcept { return 0; }
    QLIB_INLINE static void write(control) noexcept {}
#endif

    control before_;
};

}  // namespace qlib::inline QLIB_ABI::detail
