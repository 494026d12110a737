// search_fit against plain_fit and against an exhaustive search.
#include "support/matrix.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/quantize.hpp>

#include <algorithm>

namespace {

template <class F, class Fit> double block_error(const std::vector<float>& x, const std::vector<float>& w, const Fit& fit) {
    typename F::outer outer{};
    if constexpr (qlib::has_outer<F>) {
        const float m = std::abs(*std::ranges::max_element(x, {}, [](float v) { return std::abs(v); }));
        outer = F::fit_outer(qlib::tile_stats{-m, m, {}, m, 1});
    }
    const qlib::site<F> s{x, w, 0, outer};
    const auto p = fit.template block<F>(s);
    double sum = 0;
    for (std::size_t g = 0; g < F::groups; ++g) sum += double{qlib::detail::group_error<F>(s, p, g)};
    return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("never worse than plain, with importance and without", F, QLIB_WITNESSES) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const auto x = sample::weights(qlib::block_size<F>, seed);
        const auto w = seed % 2 != 0 ? sample::importance(x.size(), seed) : std::vector<float>(x.size(), 1.0f);
        CHECK(block_error<F>(x, w, qlib::search_fit{}) <= block_error<F>(x, w, qlib::plain_fit{}) * 1.00001);
    }
}

TEST_CASE("within a few percent of the best of all f16 scales") {
    double found = 0, best = 0;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        const auto x = sample::weights(32, 100 + seed), w = sample::importance(32, seed);
        found += block_error<qlib::q4_0>(x, w, qlib::search_fit{});
        double least = 1e9;
        for (std::uint32_t bits = 0; bits < 0x7C00; ++bits)
            for (const std::uint32_t sign : {0u, 0x8000u}) {
                qlib::q4_0::params p;
                p.scale[0].bits = static_cast<std::uint16_t>(bits | sign);
                least = std::min(least, double{qlib::detail::group_error<qlib::q4_0>({x, w, 0, {}}, p, 0)});
            }
        best += least;
    }
    CHECK(found <= 1.05 * best);
}

TEST_CASE("stepping sub-scales never makes a super-block worse") {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        const auto x = sample::weights(256, 7 * seed);
        const qlib::site<qlib::q4_k> s{x, {}, 0, {}};
        auto p = qlib::plain_fit{}.block<qlib::q4_k>(s);
        double before = 0, after = 0;
        for (std::size_t g = 0; g < 8; ++g) before += double{qlib::detail::group_error<qlib::q4_k>(s, p, g)};
        qlib::detail::step_sub_scales<qlib::q4_k>(s, p);
        for (std::size_t g = 0; g < 8; ++g) after += double{qlib::detail::group_error<qlib::q4_k>(s, p, g)};
        CHECK(after <= before);
    }
}
