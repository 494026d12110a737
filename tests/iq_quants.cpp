// IQ4_NL and IQ4_XS against ggml's own bytes.
#include "support/golden_check.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/iq_quants.hpp>

TEST_SUITE("bytes") {
    TEST_CASE("IQ4_NL and IQ4_XS have ggml's bytes, with and without importance") {
        golden::check<qlib::iq4_nl>(0xc43adf75c94dcaa8, 0xf358a71cc58e1674, 0x9d57001defd2fdd2, 0x11c15b87caf008a0);
        golden::check<qlib::iq4_xs>(0x85d0e52354dd1f20, 0xb314aa5a0e68a8d2, 0xdedaa9569ceefb57, 0xdac4fdd26b32802a);
    }
}

TEST_CASE("packed scales of IQ4_XS: every value in every place") {
    std::array<std::int8_t, 8> sub{}, back{};
    std::array<std::uint8_t, 8> none{};
    std::array<std::byte, 6> bytes{};
    sample::random r{1};
    for (int i = 0; i < 1000; ++i) {
        for (auto& s : sub) s = static_cast<std::int8_t>(static_cast<int>(r.below(64)) - 32);
        qlib::iq4_xs_scales::store(sub, none, bytes.data());
        qlib::iq4_xs_scales::load(bytes.data(), back, none);
        REQUIRE(sub == back);
    }
}

TEST_CASE("of two levels equally near ggml takes the upper") {
    CHECK(qlib::detail::ggml_iq4_index(-500) == 0);
    CHECK(qlib::detail::ggml_iq4_index(500) == 15);
    CHECK(qlib::detail::ggml_iq4_index(7) == 9);      // between 1 and 13
    CHECK(qlib::detail::ggml_iq4_index(6.99f) == 8);
    for (std::size_t i = 0; i < 16; ++i) CHECK(qlib::detail::ggml_iq4_index(qlib::iq4_levels[i]) == i);
}
