#pragma once
// The table of instruction sets. Whatever differs between them by name, feature or machine is asked of it: detection,
// dispatch, tests, benches.
#include "../core/call.hpp"
#include "../core/result.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

// What compilers are told of a room's instruction set. A list of features: arch= breaks g++ 12 there.
#define QLIB_AVX2_FEATURES "avx2,fma,f16c"
#define QLIB_AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"

// X(id, number, {CPUID 1 ecx, CPUID 7 ebx, CPUID 7 ecx, XCR0}: bits that must be set), the best first. `id` is also the
// name of the room's type in qlib::detail. The numbers are the ABI's.
#define QLIB_X86_64_ROOMS(X)                                                                                           \
    X(avx512, 2, detail::cpu_bits::fma | detail::cpu_bits::osxsave | detail::cpu_bits::f16c,                           \
      detail::cpu_bits::avx2 | detail::cpu_bits::avx512f_dq_bw_vl, detail::cpu_bits::avx512vnni,                       \
      detail::cpu_bits::saves_zmm)                                                                                     \
    X(avx2, 3, detail::cpu_bits::fma | detail::cpu_bits::osxsave | detail::cpu_bits::f16c, detail::cpu_bits::avx2, 0u, \
      detail::cpu_bits::saves_ymm)
#define QLIB_PORTABLE_ROOM(X) X(portable, 1, 0u, 0u, 0u, 0u)
// All that there are, and those that this compiler can build.
#define QLIB_ALL_ROOMS(X) QLIB_X86_64_ROOMS(X) QLIB_PORTABLE_ROOM(X)
#if defined(__x86_64__)
#define QLIB_ROOMS(X) QLIB_ALL_ROOMS(X)
#else
#define QLIB_ROOMS(X) QLIB_PORTABLE_ROOM(X)
#endif

namespace qlib::inline QLIB_ABI {

/// A room: the code for one instruction set.
enum class isa : std::uint8_t {
    best = 0,      ///< the best that this machine has
    portable = 1,  ///< plain C++
    avx512 = 2,    ///< x86-64 with AVX-512 F, BW, DQ, VL and VNNI
    avx2 = 3,      ///< x86-64 with AVX2, FMA and F16C
};

/// All rooms that this compiler builds, the best first.
inline constexpr std::array built_rooms{
#define QLIB_ROOM_ID(id, ...) isa::id,
    QLIB_ROOMS(QLIB_ROOM_ID)
#undef QLIB_ROOM_ID
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// Bits of CPUID and of XCR0.
struct cpu_bits {
    static constexpr unsigned fma = 1u << 12, osxsave = 1u << 27, f16c = 1u << 29;
    static constexpr unsigned avx2 = 1u << 5, avx512f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31,
                              avx512vnni = 1u << 11;
    static constexpr unsigned saves_ymm = 0x06, saves_zmm = 0xE6;  ///< the system saves xmm, ymm; also opmask and zmm
    unsigned ecx1 = 0, ebx7 = 0, ecx7 = 0, xcr0 = 0;
    [[nodiscard]] QLIB_INLINE constexpr bool has(const cpu_bits& needed) const noexcept {
        const auto all = [](unsigned a, unsigned b) QLIB_INLINE_LAMBDA { return (a & b) == b; };
        return all(ecx1, needed.ecx1) && all(ebx7, needed.ebx7) && all(ecx7, needed.ecx7) && all(xcr0, needed.xcr0);
    }
};

/// The one mutable global of the library: 0 until it is known, then the set of rooms, bit by number. Every writer
/// writes the same value.
inline unsigned char cached_rooms = 0;

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

QLIB_INLINE constexpr unsigned room_bit(isa room) noexcept {
    const auto number = static_cast<unsigned>(room);
    return number < 32 ? 1u << number : 0;  // of a number that is no room's, too
}

/// CPUID by hand: __builtin_cpu_supports lacks f16c on clang 14.
inline unsigned detect_rooms() noexcept {
    cpu_bits here;
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) != 0) here.ecx1 = c;
    if ((here.ecx1 & cpu_bits::osxsave) != 0) asm volatile("xgetbv" : "=a"(here.xcr0), "=d"(d) : "c"(0));
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
        here.ebx7 = b;
        here.ecx7 = c;
    }
#endif
    unsigned set = 0;
#define QLIB_ROOM_HERE(id, number, ...) set |= here.has(cpu_bits{__VA_ARGS__}) ? room_bit(isa::id) : 0u;
    QLIB_ROOMS(QLIB_ROOM_HERE)
#undef QLIB_ROOM_HERE
    return set;
}

/// The rooms of this machine.
inline unsigned machine_rooms() noexcept {
    const unsigned char known = __atomic_load_n(&cached_rooms, __ATOMIC_RELAXED);
    if (known != 0) return known;
    const unsigned found = detect_rooms();
    __atomic_store_n(&cached_rooms, static_cast<unsigned char>(found), __ATOMIC_RELAXED);
    return found;
}

/// The best room of this machine.
inline isa best_isa() noexcept {
    const unsigned set = machine_rooms();
    for (const isa room : built_rooms)
        if ((set & room_bit(room)) != 0) return room;
    return isa::portable;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Whether this machine can run a room.
[[nodiscard]] inline bool has_room(isa room) noexcept {
    return room == isa::best || (detail::machine_rooms() & detail::room_bit(room)) != 0;
}

/// The room that a call will use: its own, or the machine's best.
[[nodiscard]] inline isa resolve_room(isa wanted) noexcept { return wanted == isa::best ? detail::best_isa() : wanted; }

/// errc::unsupported when the machine lacks the room that a call forces.
[[nodiscard]] inline status check_room(isa wanted) noexcept {
    if (has_room(wanted)) return {};
    return error{errc::unsupported, "this machine cannot run the room that call.room forces", "call.room", {}};
}

/// A room's name, "avx512"; "best" for isa::best.
[[nodiscard]] constexpr const char* room_name(isa room) noexcept {
    switch (room) {
#define QLIB_ROOM_NAME(id, ...) \
    case isa::id: return #id;
        QLIB_ALL_ROOMS(QLIB_ROOM_NAME)
#undef QLIB_ROOM_NAME
    case isa::best: break;
    }
    return "best";
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
