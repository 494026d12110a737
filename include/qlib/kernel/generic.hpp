#pragma once
// The portable room: the same kernels over 16 lanes, as four of the 16-byte vectors that every machine has.
#include "../fit/lattice_octets.hpp"
#include "../fit/search_outer.hpp"
#include "../format/lattice_tables.hpp"
#include "../store/encode.hpp"
#include "../store/view.hpp"
#include "gemm_plan.hpp"
#include "operands.hpp"
#include "room.hpp"

QLIB_EXACT_BEGIN
#if !defined(__clang__)
QLIB_PRAGMA(GCC optimize(QLIB_ROOM_LEVEL))
#endif
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

struct portable;

/// 4 blocks at once, one in each lane.
struct portable_lanes {
    using lanes = portable_lanes;
    using room = portable;
    static constexpr std::size_t width = 4;
    static constexpr bool looks_up_fast = false;
#include "lanes.inl"
#include "../numeric/lane_order.inl"

    QLIB_INLINE static void barrier(floats& x) noexcept {
#if defined(__x86_64__)
        asm("" : "+x"(x));
#else
        asm("" : "+m"(x));
#endif
    }
    QLIB_INLINE static void put_4(std::uint8_t* p, ints a, ints b, ints c, ints d) noexcept {
        put(p, a);
        put(p + width, b);
        put(p + 2 * width, c);
        put(p + 3 * width, d);
    }
    QLIB_INLINE static float least_of(floats x) noexcept {
        return detail::smaller(detail::smaller(x[0], x[1]), detail::smaller(x[2], x[3]));
    }
    QLIB_INLINE static bool any(mask m) noexcept { return (m[0] | m[1] | m[2] | m[3]) != 0; }
    QLIB_INLINE static floats square_root(floats x) noexcept {
        return floats{detail::square_root(x[0]), detail::square_root(x[1]), detail::square_root(x[2]), detail::square_root(x[3])};
    }
    QLIB_INLINE static floats look_up(const std::array<float, 16>& table, ints i) noexcept {
        const auto at = [&](std::size_t l) QLIB_INLINE_LAMBDA { return table[static_cast<std::size_t>(i[l] & 15)]; };
        return floats{at(0), at(1), at(2), at(3)};
    }
    template <class T> QLIB_INLINE static void widen_16(const std::byte* from, float* out) noexcept {
        for (std::size_t i = 0; i < 16; ++i) out[i] = load_little_endian<T>(from + i * sizeof(T)).value();
    }
    static void gather_blocks(const float* const* from, std::size_t n, floats* out) noexcept {
        for (std::size_t i = 0; i < n; ++i) out[i] = floats{from[0][i], from[1][i], from[2][i], from[3][i]};
    }
    static void scatter_bytes(const std::uint8_t* from, std::size_t n, std::byte* const* to) noexcept {
        for (std::size_t l = 0; l < width; ++l)
            for (std::size_t i = 0; i < n; ++i) to[l][i] = static_cast<std::byte>(from[i * width + l]);
    }
#include "../format/range.inl"
#include "../fit/plain.inl"
#include "../fit/ggml_search.inl"
#include "../fit/ggml_blocks.inl"
#include "../fit/search.inl"
#include "../fit/search_outer.inl"
#include "pack_codes.inl"
#include "encode_blocks.inl"
};

struct portable {
    using lanes = portable_lanes;
    static constexpr isa id = isa::portable;
    static constexpr dot_instruction dot_form = dot_in_int32;
    static constexpr std::array<std::size_t, 3> widths{4, 2, 1};  // columns of Y in one tile, the widest first
    static constexpr std::size_t tile_columns = widths[0];
    static constexpr std::size_t most_summed = 256;  // (255 + 128) * 127 * 256 < 2^24: such sums are exact in f32

    using quad = float __attribute__((vector_size(16)));
    using words = std::uint32_t __attribute__((vector_size(16)));
    using signed_words = std::int32_t __attribute__((vector_size(16)));
    struct floats { quad part[4]; };
    /// Baseline vectors multiply floats well and integers badly, so the integers of a dot product are floats here.
    using integers = floats;
    struct bytes { floats of_lane[4]; };  // the four bytes of each lane, converted once for all columns

    QLIB_INLINE static floats splat(float x) noexcept { return each([&](std::size_t) QLIB_INLINE_LAMBDA { return quad{x, x, x, x}; }); }
    QLIB_INLINE static floats load(const float* p) noexcept { return load(p, 16); }
    QLIB_INLINE static floats load(const float* p, std::size_t n) noexcept {
        floats v{};
        std::memcpy(&v, p, n * sizeof(float));
        return v;
    }
    /// 16 numbers of a small type, at any address.
    template <class T> QLIB_INLINE static floats widen(const std::byte* p) noexcept {
        float v[16];
        for (std::size_t i = 0; i < 16; ++i) v[i] = load_little_endian<T>(p + i * sizeof(T)).value();
        return load(v);
    }
    QLIB_INLINE static floats from_bytes(const std::int8_t* p) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            return quad{static_cast<float>(p[4 * i]), static_cast<float>(p[4 * i + 1]), static_cast<float>(p[4 * i + 2]), static_cast<float>(p[4 * i + 3])};
        });
    }
    /// The lanes whose bit is set, negated.
    QLIB_INLINE static floats negate(const floats& a, unsigned lanes) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            const unsigned four = lanes >> 4 * i;
            return reinterpret_cast<quad>(reinterpret_cast<words>(a.part[i]) ^ (words{four, four >> 1, four >> 2, four >> 3} << 31));
        });
    }
    /// n floats or numbers of T to numbers of T, each rounded once. `streamed` is for rooms that can write past the caches; see end_stream there.
    template <class S, class T> static void put(const S* x, std::size_t n, T* out, bool) noexcept {
        if constexpr (std::same_as<S, T>) std::memcpy(static_cast<void*>(out), x, n * sizeof(T));
        else for (std::size_t i = 0; i < n; ++i) out[i] = T::from(x[i]);
    }
    static void end_stream() noexcept {}
    template <class F, class T> static constexpr bool looks_up = false;
    QLIB_INLINE static void store(float* p, const floats& v) noexcept { std::memcpy(p, &v, sizeof v); }
    QLIB_INLINE static void store(float* p, const floats& v, std::size_t n) noexcept { std::memcpy(p, &v, n * sizeof(float)); }
    QLIB_INLINE static floats plus(const floats& a, const floats& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] + b.part[i]; });
    }
    QLIB_INLINE static floats minus(const floats& a, const floats& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] - b.part[i]; });
    }
    QLIB_INLINE static floats times(const floats& a, const floats& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            quad p = a.part[i] * b.part[i];
#if defined(__clang__) && defined(__x86_64__)
            asm("" : "+x"(p));  // no pragma keeps clang 14 from fusing it into a following addition
#elif defined(__clang__)
            asm("" : "+m"(p));
#endif
            return p;
        });
    }
    /// Rounded once or twice: fmaf() is a slow call where the baseline has no FMA.
    QLIB_INLINE static floats multiply_add(const floats& a, const floats& b, const floats& c) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] * b.part[i] + c.part[i]; });
    }
    QLIB_INLINE static floats quiet(const floats& a) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            const words bits = reinterpret_cast<words>(a.part[i]), nan = reinterpret_cast<words>((bits & 0x7FFFFFFFu) > 0x7F800000u);
            return reinterpret_cast<quad>((bits & ~nan) | (nan & 0x7FC00000u));
        });
    }

    struct truths { signed_words part[4]; };
    QLIB_INLINE static truths less(const floats& a, const floats& b) noexcept {
        truths t;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) t.part[i] = a.part[i] < b.part[i];
        return t;
    }
    QLIB_INLINE static floats pick(const truths& t, const floats& yes, const floats& no) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return t.part[i] ? yes.part[i] : no.part[i]; });
    }
    QLIB_INLINE static floats smallest(const floats& a, const floats& b) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return a.part[i] < b.part[i] ? a.part[i] : b.part[i]; });
    }
    /// v with its last 7 bits replaced by k.
    QLIB_INLINE static floats stamp(const floats& v, std::size_t k) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            return reinterpret_cast<quad>((reinterpret_cast<signed_words>(v.part[i]) & ~127) | static_cast<std::int32_t>(k));
        });
    }
    /// Those bits as a number.
    QLIB_INLINE static floats stamped(const floats& v) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return __builtin_convertvector(reinterpret_cast<signed_words>(v.part[i]) & 127, quad); });
    }

    QLIB_INLINE static integers splat(std::int32_t x) noexcept { return splat(static_cast<float>(x)); }
    QLIB_INLINE static bytes load_bytes(const std::uint8_t* p) noexcept {
        bytes r;
#pragma GCC unroll 4
        for (std::size_t b = 0; b < 4; ++b) {
            const auto shift = static_cast<std::uint32_t>(std::endian::native == std::endian::little ? 8 * b : 24 - 8 * b);
            r.of_lane[b] = each([&](std::size_t i) QLIB_INLINE_LAMBDA {
                words all;
                std::memcpy(&all, p + 16 * i, sizeof all);
                return __builtin_convertvector(reinterpret_cast<signed_words>(all >> shift & 255u), quad);
            });
        }
        return r;
    }
    QLIB_INLINE static integers dot(const integers& sum, const bytes& w, const std::int8_t* x) noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
            quad r = sum.part[i];
#pragma GCC unroll 4
            for (std::size_t b = 0; b < 4; ++b) r += w.of_lane[b].part[i] * static_cast<float>(x[b]);
            return r;
        });
    }
    QLIB_INLINE static floats to_float(const integers& a) noexcept { return a; }

    template <class F> static constexpr bool unpacks = has_bit_layout<F>;
    template <class F> static constexpr std::size_t joined_blocks = 1;
    template <class F, std::size_t = 1> QLIB_INLINE static void unpack(const std::byte* in, std::uint8_t* out) noexcept {
        typename F::code c[block_size<F>];
        F::bits::template unpack<F::grid::bits, typename F::code>(in, std::span<typename F::code>(c));
        for (std::size_t i = 0; i < block_size<F>; ++i) out[i] = c[i];
    }
    template <class F> QLIB_INLINE static floats levels(const std::uint8_t* codes) noexcept {
        float v[16];
        for (std::size_t i = 0; i < 16; ++i) v[i] = level_table<F>[codes[i] % code_count<F>];
        return load(v);
    }
    template <class F> QLIB_INLINE static void to_operands(std::uint8_t* codes, std::size_t n) noexcept {
        for (std::size_t i = 0; i < n; ++i) codes[i] = operand_table<F, dot_form>[codes[i] % code_count<F>];
    }
    QLIB_INLINE static void transpose(const std::byte* rows, std::size_t stride, std::byte* out) noexcept {
        for (std::size_t c = 0; c < 16; ++c)
            for (std::size_t r = 0; r < 16; ++r) std::memcpy(out + 64 * c + 4 * r, rows + r * stride + 4 * c, 4);
    }
    static std::uint32_t largest_magnitude(const float* x, std::size_t n) noexcept {
        std::uint32_t most = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint32_t a = bits_of(x[i]) & 0x7FFFFFFFu;
            most = a > most ? a : most;
        }
        return most;
    }
    static std::int32_t quantize(const float* x, std::size_t n, float inverse, std::int8_t* out) noexcept {
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t q = round_clamped(product(x[i], inverse), -largest_activation, largest_activation);
            out[i] = static_cast<std::int8_t>(q);
            sum += q;
        }
        return sum;
    }

#include "blocks.inl"
#include "gemm.inl"
#include "../fit/lattice_nearest.inl"
#include "../fit/lattice_search.inl"

private:
    template <class Part> QLIB_INLINE static floats each(const Part& part) noexcept {
        floats r;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) r.part[i] = part(i);
        return r;
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
