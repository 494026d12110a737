#include "support/kernel_formats.hpp"

#include <qlib/kernel/code_shuffles.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace qlib;
using namespace qlib::detail;

namespace {

/// What a machine does with a shuffle: 16-bit word i of the codes, from the bytes of a slice.
unsigned shuffled_word(const code_shuffle& s, const std::array<std::uint8_t, 64>& order, const std::byte* slice,
                       std::size_t i) {
    std::array<unsigned, 64> loaded{};
    for (std::size_t b = 0; b < s.bytes; ++b) loaded[b] = std::to_integer<unsigned>(slice[s.first + b]);
    unsigned word = 0;
    for (std::size_t b = 0; b < 2; ++b) {
        const std::size_t from = order[2 * i + b];
        if (from != code_shuffle::nothing) word |= loaded[4 * s.words[i / 8 * 4 + from / 4] + from % 4] << 8 * b;
    }
    return word;
}
unsigned shuffled_code(const code_shuffle& s, const std::byte* slice, std::size_t i, std::size_t width) {
    const unsigned mask = (1u << width) - 1;
    if (s.direct) return shuffled_word(s, s.even, slice, i / 2) >> s.right[i / 2] >> 8 * (i % 2) & mask;
    if (i % 2 == 0) return shuffled_word(s, s.even, slice, i / 2) >> s.right[i / 2] & mask;
    return shuffled_word(s, s.odd, slice, i / 2) << s.left[i / 2] >> 8 & mask;
}

/// N codes, V to a vector, Together moved by one shift.
template <class Bits, std::size_t B, std::size_t N, std::size_t V, std::size_t Together> void check_in() {
    static_assert(can_shuffle<Bits, B, N, V>);
    std::vector<std::byte> in(Bits::template bytes<B>(N));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 151 + 89);
    std::vector<std::uint8_t> want(N), got(N);
    Bits::template unpack<B, std::uint8_t>(in.data(), std::span(want));
    const std::byte* slice = in.data();
    for (std::size_t p = 0; p < slice_count<Bits>; ++p) {
        const code_slice what = slice_of<Bits, B>(p);
        for (std::size_t e = 0; e < N; e += V) {
            const code_shuffle s = shuffle_of<Bits, B>(p, e, std::min<std::size_t>(V, N - e), Together);
            for (std::size_t i = 0; i < V && e + i < N; ++i)
                got[e + i] =
                    static_cast<std::uint8_t>(got[e + i] | shuffled_code(s, slice, i, what.width) << what.shift);
        }
        slice += slice_bytes<Bits, B>(p, N);
    }
    CHECK(got == want);
}
template <class Bits, std::size_t B, std::size_t N> void check() {
    check_in<Bits, B, N, 64, 2>();
    check_in<Bits, B, N, 32, 4>();
}
template <std::size_t B, class... Bits> void check_all() { (check<Bits, B, 256>(), ...); }

}  // namespace

TEST_CASE("code_shuffles: layouts of any run, width and order of places") {
    check_all<4, nibbles_split<1>, nibbles_split<2>, nibbles_split<4>, nibbles_split<8>, nibbles_split<16>,
              nibbles_split<32>, nibbles_split<64>, high_nibble_first,
              bit_planes<plane{2, 16}, plane{2, 8, 2, true}>>();
    check_all<2, bit_planes<plane{2, 1}>, bit_planes<plane{2, 32}>, bit_planes<plane{2, 64}>,
              bit_planes<plane{2, 4, 0, true}>, bit_planes<plane{1, 1}, plane{1, 32, 1}>>();
    check_all<1, bit_planes<plane{1, 1}>, bit_planes<plane{1, 8, 0, true}>, bit_planes<plane{1, 16}>,
              bit_planes<plane{1, 32}>>();
    check_all<8, whole_bytes, bit_planes<plane{4, 64}, plane{2, 32, 4}, plane{1, 1, 6}, plane{1, 4, 7}>>();
    check<nibbles_split<8>, 4, 48>();
    check<high_nibble_first, 4, 10>();
}

TEST_CASE("code_shuffles: two blocks in one vector") {
    const code_shuffle one = shuffle_of<nibbles_split_16, 4>(0, 0, 32), two = twice(one, 32);
    for (std::size_t i = 0; i < 32; ++i) {
        CHECK(two.even[i] == one.even[i]);
        CHECK(two.even[32 + i] == one.even[i]);
        CHECK(two.right[16 + i / 2] == one.right[i / 2]);
    }
    for (std::size_t w = 0; w < 8; ++w) CHECK(two.words[8 + w] == one.words[w] + 8);
}

TEST_CASE("code_shuffles: dense codes of every width") {
    [&]<std::size_t... B>(std::index_sequence<B...>) { (check_all<B + 1, sequential>(), ...); }
    (std::make_index_sequence<8>{});
    check<sequential, 3, 88>();
    check<sequential, 7, 200>();
    check<sequential, 5, 6>();
}

static_assert(!can_shuffle<kernel_formats::reversed_nibbles, 4, 32, 64>);
static_assert(!can_shuffle<nibbles_split<24>, 4, 48, 64>);  // 16 codes out of two runs of 24 bytes
static_assert(!can_shuffle<nibbles_split<32>, 4, 32, 64>);  // a block shorter than its run: it would be read beyond
static_assert(can_shuffle<trits, 2, 80, 64> && can_shuffle<trits, 2, 1000, 32>);
