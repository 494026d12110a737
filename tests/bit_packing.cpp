#include <qlib/numeric/bit_packing.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

using namespace qlib;

TEST_SUITE("bytes") {

TEST_CASE("bit_packing: code i holds bits [i * bits, (i + 1) * bits) of the stream") {
    std::mt19937 random(1);
    for (std::size_t bits = 1; bits <= 16; ++bits)
        for (const std::size_t count : {0u, 1u, 2u, 7u, 8u, 9u, 31u, 64u, 173u}) {
            CAPTURE(bits);
            CAPTURE(count);
            std::vector<std::uint16_t> codes(count), back(count);
            for (auto& c : codes) c = static_cast<std::uint16_t>(random() & ((1u << bits) - 1));
            std::vector<std::byte> packed(packed_bytes(count, bits),
                                          std::byte{0xAA});  // exactly as long: sanitizers see a step beyond
            CHECK(packed.size() == (count * bits + 7) / 8);
            pack_bits(codes.data(), count, bits, packed.data());
            std::size_t wrong = 0;
            for (std::size_t b = 0; b < packed.size() * 8; ++b) {
                const unsigned want = b < count * bits ? codes[b / bits] >> (b % bits) & 1u : 0;
                wrong += (std::to_integer<unsigned>(packed[b / 8]) >> (b % 8) & 1u) != want;
            }
            CHECK(wrong == 0);
            unpack_bits(packed.data(), count, bits, back.data());
            CHECK(back == codes);
        }
}

TEST_CASE("bit_packing: codes may be bytes; any bytes unpack to codes within range") {
    std::array<std::byte, 30> in;
    std::mt19937 random(2);
    for (auto& b : in) b = static_cast<std::byte>(random());
    for (std::size_t bits = 1; bits <= 8; ++bits) {
        const std::size_t count = in.size() * 8 / bits;
        std::vector<std::uint8_t> codes(count);
        unpack_bits(in.data(), count, bits, codes.data());
        std::array<std::byte, 30> out = in;
        pack_bits(codes.data(), count, bits, out.data());
        for (const auto c : codes) CHECK(c < (1u << bits));
        if (count * bits == in.size() * 8) CHECK(out == in);
    }
}

}  // TEST_SUITE("bytes")

// OCP MX packs four 6-bit codes into three bytes, the first in the lowest bits: at compile time.
constexpr std::array<std::uint8_t, 4> six_bits{0x01, 0x23, 0x3F, 0x20};
constexpr auto packed_six_bits = [] {
    std::array<std::byte, 3> out{};
    pack_bits(six_bits.data(), 4, 6, out.data());
    return out;
}();
static_assert(packed_six_bits == std::array{std::byte{0xC1}, std::byte{0xF8}, std::byte{0x83}});
constexpr auto unpacked_six_bits = [] {
    std::array<std::uint8_t, 4> out{};
    unpack_bits(packed_six_bits.data(), 4, 6, out.data());
    return out;
}();
static_assert(unpacked_six_bits == six_bits);
static_assert(packed_bytes(0, 5) == 0 && packed_bytes(1, 1) == 1 && packed_bytes(8, 3) == 3 && packed_bytes(9, 3) == 4);
