// Bit layouts: packing and its inverse, against layouts written out by hand from ggml's and bitsandbytes' definitions.
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/format/layout.hpp>

#include <algorithm>
#include <array>
#include <vector>

namespace {

template <class Bits, std::size_t B> std::vector<std::byte> packed(const std::vector<std::uint8_t>& codes) {
    std::vector<std::byte> out(Bits::template bytes<B>(codes.size()), std::byte{0xFF});
    Bits::template pack<B, std::uint8_t>(std::span<const std::uint8_t>(codes), out.data());
    return out;
}
template <class Bits, std::size_t B> void round_trip(std::size_t n, unsigned levels) {
    sample::random r{n};
    std::vector<std::uint8_t> codes(n), back(n);
    for (auto& c : codes) c = static_cast<std::uint8_t>(r.below(levels));
    const auto bytes = packed<Bits, B>(codes);
    Bits::template unpack<B, std::uint8_t>(bytes.data(), std::span<std::uint8_t>(back));
    CHECK(codes == back);
}
std::vector<std::uint8_t> random_codes(std::size_t n, unsigned levels) {
    sample::random r{3};
    std::vector<std::uint8_t> c(n);
    for (auto& v : c) v = static_cast<std::uint8_t>(r.below(levels));
    return c;
}

using q5_planes = qlib::bit_planes<qlib::plane{1, 1, 4}, qlib::plane{4, 16}>;
using q6_planes = qlib::bit_planes<qlib::plane{4, 64}, qlib::plane{2, 32, 4}>;

}  // namespace

TEST_CASE("what is packed comes back") {
    for (const std::size_t n : std::vector<std::size_t>{1, 2, 5, 7, 8, 31, 32, 48, 63, 100}) {
        round_trip<qlib::sequential, 1>(n, 2);
        round_trip<qlib::sequential, 3>(n, 8);
        round_trip<qlib::sequential, 5>(n, 32);
        round_trip<qlib::sequential, 7>(n, 128);
        round_trip<qlib::sequential, 8>(n, 256);
        round_trip<qlib::trits, 2>(n, 3);
        round_trip<qlib::high_nibble_first, 4>(n, 16);
    }
    round_trip<qlib::nibbles_split<8>, 4>(64, 16);
    round_trip<qlib::nibbles_split_16, 4>(32, 16);
    round_trip<q5_planes, 5>(32, 32);
    round_trip<q6_planes, 6>(256, 64);
}

TEST_CASE("block_q4_0: byte j holds codes j and j + 16") {
    const auto c = random_codes(32, 16);
    const auto b = packed<qlib::nibbles_split_16, 4>(c);
    for (std::size_t j = 0; j < 16; ++j) CHECK(std::to_integer<int>(b[j]) == (c[j] | c[j + 16] << 4));
}

TEST_CASE("block_q5_0: a bit of qh for each code, then nibbles") {
    const auto c = random_codes(32, 32);
    const auto b = packed<q5_planes, 5>(c);
    REQUIRE(b.size() == 20);
    for (std::size_t i = 0; i < 32; ++i) CHECK((std::to_integer<int>(b[i / 8]) >> i % 8 & 1) == c[i] >> 4);
    for (std::size_t j = 0; j < 16; ++j) CHECK(std::to_integer<int>(b[4 + j]) == ((c[j] & 15) | (c[j + 16] & 15) << 4));
}

TEST_CASE("block_q6_K: ql and qh") {
    const auto c = random_codes(256, 64);
    const auto b = packed<q6_planes, 6>(c);
    for (std::size_t n = 0; n < 2; ++n)
        for (std::size_t l = 0; l < 32; ++l) {
            const int ql0 = std::to_integer<int>(b[64 * n + l]), ql1 = std::to_integer<int>(b[64 * n + l + 32]),
                      qh = std::to_integer<int>(b[128 + 32 * n + l]);
            const std::array<int, 4> want{(ql0 & 15) | (qh & 3) << 4, (ql1 & 15) | (qh >> 2 & 3) << 4,
                                          ql0 >> 4 | (qh >> 4 & 3) << 4, ql1 >> 4 | (qh >> 6 & 3) << 4};
            for (std::size_t k = 0; k < 4; ++k) CHECK(c[128 * n + 32 * k + l] == want[k]);
        }
}

TEST_CASE("bitsandbytes puts the first of a pair high, and trits fill a byte five at a time") {
    CHECK(packed<qlib::high_nibble_first, 4>({1, 2, 3}) == std::vector{std::byte{0x12}, std::byte{0x30}});
    CHECK(packed<qlib::trits, 2>({1, 2, 0, 0, 2, 1}) == std::vector{std::byte{1 + 2 * 3 + 2 * 81}, std::byte{1}});
    std::array<std::uint8_t, 5> any{};
    for (int v = 0; v < 256; ++v) {
        const std::byte b{static_cast<unsigned char>(v)};
        qlib::trits::unpack<2, std::uint8_t>(&b, any);
        CHECK(std::ranges::all_of(any, [](int t) { return t < 3; }));
    }
}
