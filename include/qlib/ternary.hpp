#pragma once
// Ternary weights: -1, 0, +1. ggml's TQ1_0 and TQ2_0, and a block of qlib's own. Source: ggml-common.h, ggml-quants.c.
#include "format/format.hpp"
#include "format/lane_blocks.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// 1.8 bits: base-3 codes, five to a byte, under an f16 scale per 80 weights. A row may end inside a block.
struct ternary_g80 : format<ternary_grid, scale_per<80, f16>, inline_blocks<trits>> {};
static_assert(block_bytes<ternary_g80> == 18);

/// The codes of TQ1_0: 256 trits in 52 bytes, five to a byte and four to each of the last four. A byte holds
/// v * 256 / 243, rounded up, so that multiplying by 3 brings one trit after another into the carry.
struct tq1_trits {
    static constexpr bool ragged = false;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept {
        return n / 256 * 52;
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        for (const run& r : runs)
            for (std::size_t m = 0; m < r.bytes; ++m) {
                unsigned v = 0;
                for (std::size_t n = 0; n < 5; ++n) v = 3 * v + (n < r.trits ? c[r.first + m + n * r.bytes] : 0u);
                *out++ = static_cast<std::byte>((v * 256 + 242) / 243);
            }
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        [&]<std::size_t... J>(std::index_sequence<J...>) QLIB_INLINE_LAMBDA {
            (unpack_run<runs[J].bytes, runs[J].trits>(in + runs[J].at, c.data() + runs[J].first), ...);
        }
        (std::make_index_sequence<runs.size()>{});
    }

private:
    struct run {
        std::size_t first, at, bytes, trits;
    };
    static constexpr std::array<run, 3> runs{run{0, 0, 32, 5}, run{160, 32, 16, 5}, run{240, 48, 4, 4}};

    /// One trit of all bytes after another: compilers make vectors of them.
    template <std::size_t Bytes, std::size_t Trits, class Code>
    QLIB_INLINE static constexpr void unpack_run(const std::byte* in, Code* c) noexcept {
        std::array<std::uint16_t, Bytes> v{};
        for (std::size_t m = 0; m < Bytes; ++m) v[m] = std::to_integer<std::uint8_t>(in[m]);
        for (std::size_t n = 0; n < Trits; ++n)
            for (std::size_t m = 0; m < Bytes; ++m) {
                v[m] = static_cast<std::uint16_t>((v[m] & 255) * 3);
                c[n * Bytes + m] = static_cast<Code>(v[m] >> 8);
            }
    }
};

/// 1.6875 bits. ggml, block_tq1_0; ignores importance.
struct tq1_0 : format<ternary_grid, scale_per<256, f16>, inline_blocks<tq1_trits, field::codes, field::scales>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, tq1_0>& s,
                                                detail::lane_blocks<L, tq1_0>& out) noexcept {
        L::template ggml_ternary_block<tq1_0>(s, out, 1);
    }
};
static_assert(block_bytes<tq1_0> == 54);

/// 2.0625 bits. ggml, block_tq2_0; ignores importance.
struct tq2_0
    : format<ternary_grid, scale_per<256, f16>, inline_blocks<bit_planes<plane{2, 32}>, field::codes, field::scales>> {
    template <class L>
    QLIB_INLINE static constexpr void reference(const detail::lane_sites<L, tq2_0>& s,
                                                detail::lane_blocks<L, tq2_0>& out) noexcept {
        L::template ggml_ternary_block<tq2_0>(s, out, 1);
    }
};
static_assert(block_bytes<tq2_0> == 66);

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
