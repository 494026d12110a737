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

/// best_index_int8 as ggml has it.
std::int32_t best_index(float x) {
    const auto& l = qlib::iq4_levels;
    if (x <= l[0]) return 0;
    if (x >= l[15]) return 15;
    std::int32_t up = 1;
    while (x >= l[static_cast<std::size_t>(up)]) ++up;
    return x - l[static_cast<std::size_t>(up - 1)] < l[static_cast<std::size_t>(up)] - x ? up - 1 : up;
}

TEST_CASE("of two levels equally near ggml takes the upper") {
    constexpr auto index = [](float x) { return qlib::detail::one_block::ggml_iq4_index<qlib::iq4_nl>(x); };
    static_assert(index(7) == 9);  // between 1 and 13
    static_assert(index(6.99f) == 8);
    for (std::size_t i = 0; i < 16; ++i) {
        CHECK(index(qlib::iq4_levels[i]) == static_cast<std::int32_t>(i));
        if (i == 15) break;
        const float middle = (qlib::iq4_levels[i] + qlib::iq4_levels[i + 1]) / 2;
        for (std::int32_t ulps = -300; ulps <= 300; ++ulps) {
            const float x = qlib::detail::float_of(qlib::detail::bits_of(middle) + static_cast<std::uint32_t>(ulps));
            REQUIRE(index(x) == best_index(x));
        }
    }
    sample::random r{3};
    for (int i = 0; i < 20000; ++i) {
        const auto x = static_cast<float>(r.uniform() * 300 - 150);
        REQUIRE(index(x) == best_index(x));
    }
    for (const float x : {-3e38f, -500.0f, -1e-40f, 0.0f, 1e-40f, 500.0f, 3e38f}) CHECK(index(x) == best_index(x));
}
