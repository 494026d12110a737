#pragma once
// The vocabulary of every room as functions on memory, which code compiled for any
// machine may call; and numbers to try it on.
#include "matrix.hpp"
#include "rooms.hpp"

#include <doctest/doctest.h>
#include <qlib/room/rooms.hpp>

#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace {

using qlib::bf16, qlib::f16;
using word = std::uint32_t;

/// `computes`: which NaN comes out is up to the machine.
struct lane_operation {
    const char* name;
    bool computes;
    void (*run)(const word* a, const word* b, const word* c, word* out);
};
struct sixteen_operation {
    const char* name;
    void (*run)(const float* a, const float* b, const float* c, float* out);
};
constexpr std::array<float, 16> sixteen_floats{0.0f, -0.0f,  1.5f,  -2.25f, 1e-40f, 3e38f, -7.0f, 8.0f,
                                               9.0f, -10.0f, 11.0f, 12.5f,  0.1f,   -0.3f, 14.0f, 15.0f};
constexpr unsigned negated_lanes = 0xB1A5;

}  // namespace

QLIB_EXACT_BEGIN
#if !defined(__clang__)
QLIB_PRAGMA(GCC optimize(QLIB_ROOM_LEVEL))
#endif
namespace {
struct calls_in_one_lane {
    using R = qlib::detail::one_lane;
#include "vocabulary.inl"
};
struct calls_in_portable {
    using R = qlib::detail::portable;
#include "vocabulary.inl"
#include "vocabulary_of_room.inl"
};
}  // namespace
QLIB_EXACT_END

#if defined(__x86_64__)
QLIB_ROOM(QLIB_AVX2_FEATURES)
namespace {
struct calls_in_avx2 {
    using R = qlib::detail::avx2;
#include "vocabulary.inl"
#include "vocabulary_of_room.inl"
};
}  // namespace
QLIB_ROOM_END
QLIB_ROOM(QLIB_AVX512_FEATURES)
namespace {
struct calls_in_avx512 {
    using R = qlib::detail::avx512;
#include "vocabulary.inl"
#include "vocabulary_of_room.inl"
};
}  // namespace
QLIB_ROOM_END
#endif

QLIB_EXACT_BEGIN
namespace {

using qlib::detail::bits_of, qlib::detail::float_of, qlib::detail::product;

/// check(calls) for every room that is built and that this machine has.
template <class Check> void in_rooms(const Check& check) {
    const auto in = [&]<class Calls>(Calls calls) {
        if (!qlib::has_room(Calls::R::id)) return;
        const std::string room = qlib::room_name(Calls::R::id);
        CAPTURE(room);
        check(calls);
    };
#define IN_ROOM(id, ...) in(calls_in_##id{});
    QLIB_ROOMS(IN_ROOM)
#undef IN_ROOM
}

inline bool is_nan(word a) { return (a & 0x7FFFFFFF) > 0x7F800000; }
inline bool alike(word a, word b) { return a == b || (is_nan(a) && is_nan(b)); }
inline bool alike(float a, float b) { return alike(bits_of(a), bits_of(b)); }

// Zeros, subnormals, the least normal, the largest, infinities; NaNs, quiet and signalling; halves, the ends of
// round_even; small integers.
constexpr word edges[] = {0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x807FFFFF, 0x00800000,
                          0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000,
                          0x7F800001, 0xFFFFFFFF, 0x3F800000, 0xBF800000, 0x3F000000, 0xBF000000, 0x3FC00000,
                          0x40200000, 0xC0200000, 0x4A7FFFFF, 0x4A800000, 0xCA800000, 0x4F000000, 0xCF000000,
                          0x7FFFFFFF, 0x00000007, 0x00000008, 0x0000000F, 0x000000FF, 0xFFFFFF80};

/// Every edge beside every other, then random bits and ordinary numbers. Whole vectors.
struct operands {
    std::vector<word> a, b, c;
    operands() {
        sample::random r{1};
        const auto some = [&] {
            return r.below(2) == 0 ? static_cast<word>(r.next()) : bits_of(static_cast<float>(20 * r.normal()));
        };
        for (const word x : edges)
            for (const word y : edges) add(x, y, r.below(3) == 0 ? edges[r.below(std::size(edges))] : some());
        for (int i = 0; i < 4000 || a.size() % 16 != 0; ++i) add(some(), some(), some());
    }
    void add(word x, word y, word z) {
        a.push_back(x);
        b.push_back(y);
        c.push_back(z);
    }
    [[nodiscard]] std::size_t size() const { return a.size(); }
};

/// As floats: finite ones only, or with infinities and the NaN that quiet() gives.
inline std::vector<float> some_floats(std::size_t n, std::uint64_t seed, bool finite = false) {
    sample::random r{seed};
    std::vector<float> x(n);
    for (float& v : x) {
        const word e = edges[r.below(std::size(edges))];
        v = r.below(3) != 0 ? static_cast<float>(20 * r.normal()) : is_nan(e) ? float_of(0x7FC00000) : float_of(e);
        if (finite && !qlib::detail::is_finite(v)) v = 3;
    }
    return x;
}
template <class T> std::vector<T> some_bytes(std::size_t n, std::uint64_t seed) {
    sample::random r{seed};
    std::vector<T> x(n);
    for (T& v : x) v = static_cast<T>(r.next());
    return x;
}

/// The sum that is fused where the room can, and may be elsewhere.
inline bool is_multiply_add(qlib::isa room, float got, float a, float b, float c) {
    return alike(got, std::fma(a, b, c)) || (room == qlib::isa::portable && alike(got, product(a, b) + c));
}

}  // namespace
QLIB_EXACT_END
