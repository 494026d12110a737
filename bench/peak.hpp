#pragma once
// The roofs of one core, measured: what it does when it does nothing but dot products or multiply-adds in registers.
#include <qlib/room/isa.hpp>
#include <qlib/room/target.hpp>

#include <chrono>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {

inline double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Operations per second.
struct peaks {
    double dot = 0;  ///< 8-bit products and additions by vpdpbusd; 0 where there is none
    double fma = 0;  ///< f32, in the same registers
};

}  // namespace bench

#if defined(__x86_64__)
QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace bench {

constexpr std::size_t chains = 14;  // more than latency x units of any core so far

/// Rounds of `chains` independent dot products.
inline int spin_dots(std::size_t rounds) {
    __m512i sum[chains];
    const __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(2);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < chains; ++j) sum[j] = _mm512_setzero_si512();
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm512_dpbusd_epi32(sum[j], w, x);
            asm("" : "+v"(sum[j]));
        }
    }
    __m512i all = sum[0];
#pragma GCC unroll 16
    for (std::size_t j = 1; j < chains; ++j) all = _mm512_add_epi32(all, sum[j]);
    return _mm512_reduce_add_epi32(all);
}
inline float spin_multiply_adds(std::size_t rounds) {
    __m512 sum[chains];
    const __m512 w = _mm512_set1_ps(0.5f);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < chains; ++j) sum[j] = w;
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm512_fmadd_ps(sum[j], w, w);
            asm("" : "+v"(sum[j]));
        }
    }
    __m512 all = sum[0];
#pragma GCC unroll 16
    for (std::size_t j = 1; j < chains; ++j) all = _mm512_add_ps(all, sum[j]);
    return _mm512_reduce_add_ps(all);
}

}  // namespace bench
QLIB_ROOM_END
#endif

namespace bench {

/// Both roofs, in about 4 ms: to be taken between the runs of what is measured, as
/// the clock changes and machines are shared.
inline peaks measure_peaks() {
    peaks p;
#if defined(__x86_64__)
    if (!qlib::has_room(qlib::isa::avx512)) return p;
    constexpr std::size_t rounds = 400'000;
    volatile float keep = 0;
    const double start = seconds();
    keep = static_cast<float>(spin_dots(rounds));
    const double middle = seconds();
    keep = spin_multiply_adds(rounds);
    const double end = seconds();
    (void)keep;
    p.dot = static_cast<double>(rounds * chains) * 128 / (middle - start);
    p.fma = static_cast<double>(rounds * chains) * 32 / (end - middle);
#endif
    return p;
}

}  // namespace bench
