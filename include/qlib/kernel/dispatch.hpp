#pragma once
// Which rooms this machine can enter, found once by CPUID and remembered.
#include "../core/call.hpp"
#include "../core/result.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace qlib::inline QLIB_ABI::detail {

/// The one mutable global of the library: 0 until it is known, then 1 + the best room. Every writer writes the same value.
inline unsigned char cached_isa = 0;

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// CPUID by hand: __builtin_cpu_supports lacks f16c on clang 14.
inline isa detect_isa() noexcept {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return isa::portable;
    constexpr unsigned fma = 1u << 12, osxsave = 1u << 27, f16c = 1u << 29;
    if ((c & (fma | osxsave | f16c)) != (fma | osxsave | f16c)) return isa::portable;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0xE6) != 0xE6) return isa::portable;  // the system saves xmm, ymm, opmask and zmm
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return isa::portable;
    constexpr unsigned avx2 = 1u << 5, avx512f = 1u << 16, avx512dq = 1u << 17, avx512bw = 1u << 30, avx512vl = 1u << 31;
    constexpr unsigned needed = avx2 | avx512f | avx512dq | avx512bw | avx512vl, avx512vnni = 1u << 11;
    if ((b & needed) == needed && (c & avx512vnni) != 0) return isa::avx512;
#endif
    return isa::portable;
}

/// The best room of this machine.
inline isa best_isa() noexcept {
    const unsigned char known = __atomic_load_n(&cached_isa, __ATOMIC_RELAXED);
    if (known != 0) return static_cast<isa>(known - 1);
    const isa found = detect_isa();
    __atomic_store_n(&cached_isa, static_cast<unsigned char>(static_cast<unsigned char>(found) + 1), __ATOMIC_RELAXED);
    return found;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Whether this machine can run a room. Rooms are ordered: what can run one can run every lesser one.
[[nodiscard]] inline bool has_room(isa room) noexcept { return room <= detail::best_isa(); }

/// The room that a call will use: its own, or the machine's best.
[[nodiscard]] inline isa resolve_room(isa wanted) noexcept { return wanted == isa::best ? detail::best_isa() : wanted; }

/// errc::unsupported when the machine lacks the room that a call forces.
[[nodiscard]] inline status check_room(isa wanted) noexcept {
    if (has_room(wanted)) return {};
    return error{errc::unsupported, "this machine cannot run the room that call.room forces", "call.room", {}};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
