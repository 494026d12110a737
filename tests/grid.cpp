// Grids: every level finds itself, every u finds its nearest, every bit pattern decodes.
#include "support/matrix.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>

#include <limits>

namespace {

inline constexpr std::array<float, 6> six{-1.f, -.5f, -.15f, .15f, .5f, 1.f};
inline constexpr std::array<float, 5> unsorted{2.f, -1.f, 0.f, 0.f, 7.f};

template <class G> float decoded(typename G::code c) {
    float l = 0;
    G::levels(c, &l);
    return l;
}

}  // namespace

TEST_CASE_TEMPLATE("nearest is nearest", G, qlib::sign_grid, qlib::ternary_grid, qlib::uint_grid<1>, qlib::uint_grid<2>,
                   qlib::uint_grid<3>, qlib::uint_grid<4>, qlib::uint_grid<8>, qlib::sint_grid<2>, qlib::sint_grid<5>,
                   qlib::sint_grid<8>, qlib::restricted_grid<2>, qlib::restricted_grid<4>, qlib::int8_grid,
                   qlib::nf4_grid, qlib::codebook_grid<six>, qlib::codebook_grid<unsorted>,
                   qlib::codebook_grid<qlib::e2m1_levels>, qlib::codebook_grid<qlib::detail::dynamic_map>,
                   qlib::minifloat_grid<qlib::e4m3>, qlib::minifloat_grid<qlib::e2m1>) {
    static_assert(G::size <= std::size_t{1} << G::bits);
    CHECK(G::lowest < G::highest);
    for (std::size_t i = 0; i < G::size; ++i) {
        const float l = G::level(i);
        if (!(l >= G::lowest && l <= G::highest)) continue;  // decodes, but is never chosen
        CHECK(decoded<G>(G::nearest(&l, nullptr)) == l);
    }
    sample::random r{7};
    const double reach = 1.3 * std::max(-double{G::lowest}, double{G::highest});
    for (int i = 0; i < 3000; ++i) {
        const float u = static_cast<float>((2 * r.uniform() - 1) * reach);
        const auto c = G::nearest(&u, nullptr);
        double best = std::numeric_limits<double>::max();
        for (std::size_t k = 0; k < G::size; ++k)
            if (G::level(k) >= G::lowest && G::level(k) <= G::highest)
                best = std::min(best, std::abs(double{G::level(k)} - double{u}));
        CHECK(std::abs(double{decoded<G>(c)} - double{u}) <= best * (1 + 1e-6));
    }
}

TEST_CASE_TEMPLATE("far and undefined values choose a code of the grid", G, qlib::sign_grid, qlib::ternary_grid,
                   qlib::sint_grid<4>, qlib::int8_grid, qlib::nf4_grid, qlib::minifloat_grid<qlib::e4m3>) {
    constexpr float inf = std::numeric_limits<float>::infinity();
    for (const float u : {1e38f, inf}) CHECK(decoded<G>(G::nearest(&u, nullptr)) == G::highest);
    for (const float u : {-1e38f, -inf}) CHECK(decoded<G>(G::nearest(&u, nullptr)) == G::lowest);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK(G::nearest(&nan, nullptr) < G::size);
}

TEST_CASE("ties, bit patterns beyond a table, and duplicate levels") {
    const float half = 0.5f, low = -0.325f;
    CHECK(qlib::uint_grid<4>::nearest(&half, nullptr) == 0);       // halves to even
    CHECK(qlib::codebook_grid<six>::nearest(&low, nullptr) == 1);  // a midpoint goes to the lower level
    CHECK(qlib::codebook_grid<six>::level(7) == 1.0f);             // 3 bits, 6 levels
    CHECK(qlib::int8_grid::level(0x80) == -128.0f);
    CHECK(qlib::int8_grid::level(0xFF) == -1.0f);
    const float zero = 0.0f;
    CHECK(qlib::codebook_grid<unsorted>::nearest(&zero, nullptr) == 2);  // the first of equals
    CHECK(qlib::codebook_grid<qlib::e2m1_levels>::nearest(&zero, nullptr) == 0);
}

TEST_CASE("NF4's thresholds are bitsandbytes', and nearest to one ulp") {
    for (std::size_t i = 0; i < qlib::nf4_thresholds.size(); ++i) {
        const float t = qlib::nf4_thresholds[i], above = std::nextafter(t, 2.0f);
        CHECK(qlib::nf4_grid::nearest(&t, nullptr) == i);
        CHECK(qlib::nf4_grid::nearest(&above, nullptr) == i + 1);
        CHECK(std::abs(double{t} - (double{qlib::nf4_levels[i]} + double{qlib::nf4_levels[i + 1]}) / 2) < 6e-8);
    }
}
