// search_fit against plain_fit, against an exhaustive search, against ggml's
// encoders, and against itself in other rooms.
#include "support/matrix.hpp"
#include "support/rooms.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>

namespace {

constexpr auto ramp = [] {
    std::array<float, 32> x{};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.25f * static_cast<float>(i * 7 % 32) - 3.4f;
    return x;
}();
constexpr auto block_of_ramp = qlib::encode<qlib::q4_0>(ramp);

/// Weights of all kinds: ordinary blocks, one of zeros, tiny and subnormal ones, a lone outlier, constant ones.
std::vector<float> mixed(std::size_t rows, std::size_t cols) {
    auto x = sample::weights(rows * cols, 3);
    for (std::size_t j = 0; j < cols; ++j) {
        x[cols + j] = 0;
        x[2 * cols + j] *= j < cols / 2 ? 1e-7f : 1e-38f;
        x[3 * cols + j] = j == 5 ? 1000.0f : x[3 * cols + j];
        x[4 * cols + j] = j % 2 != 0 ? 0.125f : x[j] * 1e-3f;
        x[5 * cols + j] = 0.75f;
    }
    return x;
}

template <class F, class Fit>
double block_error(const std::vector<float>& x, const std::vector<float>& w, const Fit& fit) {
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

TEST_CASE("a block at compile time is the block at run time") {
    std::array<float, 32> x = ramp;
    asm volatile("" : : "r"(&x) : "memory");
    CHECK(qlib::encode<qlib::q4_0>(x) == block_of_ramp);
}

TEST_CASE_TEMPLATE("the same bytes in every room and block by block; importance of zeros counts as none", F, qlib::q4_1,
                   qlib::int4_g32_asym, qlib::nvfp4, qlib::q2_k, qlib::q3_k) {
    constexpr std::size_t rows = 7, cols = 3 * qlib::block_size<F>;
    const auto x = mixed(rows, cols);
    auto w = sample::importance(cols, 1);
    for (std::size_t j = 0; j < cols; ++j)
        if (j / qlib::block_size<F> == 1 || j % 9 == 0) w[j] = 0;
    for (const bool weighted : {false, true}) {
        const qlib::quantize_options options{.importance =
                                                 weighted ? std::span<const float>(w) : std::span<const float>()};
        const auto in = [&](qlib::isa room) {
            return qlib::quantize<F>({x.data(), rows, cols}, qlib::search_fit{}, options, {.room = room});
        };
        const auto best = in(qlib::isa::best);
        REQUIRE(best.has_value());
        for (const qlib::isa room : sample::rooms()) CHECK(std::ranges::equal(best->bytes(), in(room)->bytes()));
        for (std::size_t b = 0; b < rows * 3; ++b) {
            std::array<float, qlib::block_size<F>> one;
            std::copy_n(x.data() + b * one.size(), one.size(), one.begin());
            const auto importance = options.importance.empty() || b % 3 == 1
                                        ? options.importance.first(0)
                                        : options.importance.subspan(b % 3 * one.size(), one.size());
            const auto view = best->view();
            const qlib::site<F> s{one, importance, 0, view.outer(b / 3, b % 3 * one.size())};
            const auto e = qlib::detail::encode_block<F>(s, qlib::search_fit{});
            std::array<std::byte, qlib::block_bytes<F>> bytes{};
            F::store(e.params, e.code, qlib::plane_pointers<F, std::byte>{bytes.data()});
            CHECK(std::ranges::equal(bytes, best->bytes().subspan(b * bytes.size(), bytes.size())));
        }
    }
}

TEST_CASE_TEMPLATE("without importance part of what least squares shrinks weights by is given back, for little", F,
                   qlib::q4_0, qlib::q2_k, qlib::q3_k) {
    constexpr std::size_t rows = 8, cols = 512;
    const auto x = sample::weights(rows * cols, 9);
    const std::vector<float> ones(cols, 1.0f);
    const auto measured = [&](std::span<const float> importance) {
        const auto q = qlib::quantize<F>({x.data(), rows, cols}, qlib::search_fit{}, {.importance = importance});
        std::vector<float> y(x.size());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), rows, cols}).ok());
        double xy = 0, xx = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            xy += double{x[i]} * double{y[i]};
            xx += double{x[i]} * double{x[i]};
        }
        return std::pair(1 - xy / xx, sample::sqnr(x, y));
    };
    const auto [lost, best] = measured(ones);
    const auto [rest, reached] = measured({});
    CHECK(lost > 0);
    CHECK(rest < 0.75 * lost);
    CHECK(reached > best - 0.12);
}

TEST_CASE_TEMPLATE("nearer to normal weights than ggml's own scales", F, qlib::q4_0, qlib::q4_1, qlib::q2_k, qlib::q3_k,
                   qlib::q6_k) {
    const double decibels = std::same_as<F, qlib::q4_1> || std::same_as<F, qlib::q2_k> ? 1.0 : 0.35;
    sample::random random{11};
    double theirs = 0, ours = 0;
    for (std::size_t b = 0; b < 16384 / qlib::block_size<F>; ++b) {
        std::vector<float> x(qlib::block_size<F>);
        for (float& v : x) v = static_cast<float>(random.normal());
        const qlib::site<F> s{x, {}, 0, {}};
        const auto reference = qlib::reference_fit{}.block<F>(s), found = qlib::search_fit{}.block<F>(s);
        for (std::size_t g = 0; g < F::groups; ++g) {
            theirs += double{qlib::detail::group_error<F>(s, reference, g)};
            ours += double{qlib::detail::group_error<F>(s, found, g)};
        }
    }
    CHECK(10 * std::log10(theirs / ours) > decibels);
}
