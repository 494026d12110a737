#pragma once
// Roofs, measured: what cores do when they do nothing but dot products or multiply-adds in registers, or read memory.
#include <qlib/core/executor.hpp>
#include <qlib/room/isa.hpp>
#include <qlib/room/target.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <span>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {

inline double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The time that this many threads take: of one, the time that the system gave it, which other programs disturb less.
inline double seconds_of(std::size_t threads) {
#if defined(__unix__)
    timespec t{};
    if (threads == 1 && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
        return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
#endif
    return seconds();
}

/// Operations per second of all workers; 0 where there is no such instruction.
struct peaks {
    double dot = 0;   ///< 8-bit products and additions: vpdpbusd, in the AVX2 room vpmaddubsw
    double bf16 = 0;  ///< bf16 products and additions: vdpbf16ps
    double fma = 0;   ///< f32, in registers of the same width
};

inline constexpr std::size_t chains = 14;  // more than latency x units of any core so far
inline constexpr std::size_t streams = 2;  // far apart: one alone leaves a tenth of the speed

}  // namespace bench

#if defined(__x86_64__)

QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace bench::avx512 {

/// Rounds of independent dot products.
inline void spin_dots(std::size_t rounds) {
    __m512i sum[chains] = {};
    const __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(2);
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm512_dpbusd_epi32(sum[j], w, x);
            asm volatile("" : "+v"(sum[j]));
        }
    }
}
inline void spin_multiply_adds(std::size_t rounds) {
    __m512 sum[chains] = {};
    const __m512 w = _mm512_set1_ps(0.5f);
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm512_fmadd_ps(sum[j], w, w);
            asm volatile("" : "+v"(sum[j]));
        }
    }
}
/// Loads bytes in streams of 512 at a time.
inline void read(const std::byte* from, std::size_t bytes) {
    __m512i all[8] = {};
    const std::size_t apart = bytes / streams;
    for (std::size_t at = 0; at + 512 <= apart; at += 512) {
#pragma GCC unroll 2
        for (std::size_t s = 0; s < streams; ++s) {
#pragma GCC unroll 8
            for (std::size_t j = 0; j < 8; ++j)
                all[j] = _mm512_or_si512(all[j], _mm512_loadu_si512(from + s * apart + at + 64 * j));
        }
    }
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j) asm volatile("" : "+v"(all[j]));
}

}  // namespace bench::avx512
QLIB_ROOM_END

QLIB_ROOM("avx512f,avx512bf16")
namespace bench::avx512 {

inline void spin_bf16_dots(std::size_t rounds) {
    __m512 sum[chains] = {};
    const auto w = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f003f00));  // pairs of .5
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm512_dpbf16_ps(sum[j], w, w);
            asm volatile("" : "+v"(sum[j]));
        }
    }
}
inline bool has_bf16_dots() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return qlib::has_room(qlib::isa::avx512) && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1u << 5) != 0;
}

}  // namespace bench::avx512
QLIB_ROOM_END

QLIB_ROOM(QLIB_AVX2_FEATURES)
namespace bench::avx2 {

inline void spin_dots(std::size_t rounds) {
    __m256i sum[chains] = {};
    const __m256i w = _mm256_set1_epi8(1);
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm256_maddubs_epi16(sum[j], w);
            asm volatile("" : "+x"(sum[j]));
        }
    }
}
inline void spin_multiply_adds(std::size_t rounds) {
    __m256 sum[chains] = {};
    const __m256 w = _mm256_set1_ps(0.5f);
    for (; rounds != 0; --rounds) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < chains; ++j) {
            sum[j] = _mm256_fmadd_ps(sum[j], w, w);
            asm volatile("" : "+x"(sum[j]));
        }
    }
}
inline void read(const std::byte* from, std::size_t bytes) {
    __m256i all[8] = {};
    const std::size_t apart = bytes / streams;
    for (std::size_t at = 0; at + 256 <= apart; at += 256) {
#pragma GCC unroll 2
        for (std::size_t s = 0; s < streams; ++s) {
#pragma GCC unroll 8
            for (std::size_t j = 0; j < 8; ++j) {
                const auto* const p = reinterpret_cast<const __m256i*>(from + s * apart + at + 32 * j);
                all[j] = _mm256_or_si256(all[j], _mm256_loadu_si256(p));
            }
        }
    }
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j) asm volatile("" : "+x"(all[j]));
}

}  // namespace bench::avx2
QLIB_ROOM_END
#endif

namespace bench {

/// Operations per second of `spin`, of `operations` each round, by all workers at once.
inline double spin_speed(void (*spin)(std::size_t), std::size_t operations, qlib::executor_ref run) {
    constexpr std::size_t rounds = 200'000;
    const std::size_t workers = run.workers();
    const double start = seconds_of(workers);
    run.run(workers, [&](std::size_t, std::size_t) { spin(rounds); });
    return static_cast<double>(workers * rounds * chains * operations) / (seconds_of(workers) - start);
}

/// The roofs of arithmetic in a room, in some milliseconds: to be taken between the runs of what is measured, as the
/// clock changes and machines are shared. None in the portable room.
inline peaks measure_peaks(qlib::isa room = qlib::isa::best, qlib::executor_ref run = qlib::serial) {
    peaks p;
#if defined(__x86_64__)
    room = qlib::resolve_room(room);
    if (room == qlib::isa::avx512) {
        p.dot = spin_speed(avx512::spin_dots, 128, run);
        p.fma = spin_speed(avx512::spin_multiply_adds, 32, run);
        if (avx512::has_bf16_dots()) p.bf16 = spin_speed(avx512::spin_bf16_dots, 64, run);
    }
    if (room == qlib::isa::avx2) {
        p.dot = spin_speed(avx2::spin_dots, 64, run);
        p.fma = spin_speed(avx2::spin_multiply_adds, 16, run);
    }
#else
    (void)room, (void)run;
#endif
    return p;
}

/// Loads every byte once, each worker its own stretch.
inline void read_all(std::span<const std::byte> memory, qlib::executor_ref run = qlib::serial) {
    const std::size_t each = memory.size() / run.workers() / 64 * 64;
    run.run(run.workers(), [&](std::size_t i, std::size_t) {
        const std::byte* const from = memory.data() + i * each;
#if defined(__x86_64__)
        if (qlib::has_room(qlib::isa::avx512)) return avx512::read(from, each);
        if (qlib::has_room(qlib::isa::avx2)) return avx2::read(from, each);
#endif
        for (std::size_t at = 0; at + 8 <= each; at += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, from + at, 8);
            asm volatile("" : : "r"(word));
        }
    });
}

}  // namespace bench
