#include "support/linalg.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/linalg/syrk.hpp>

#include <cmath>

using namespace qlib;

TEST_SUITE("bytes") {

TEST_CASE(
    "syrk: blocks of 256 tokens, one FMA per token, the lower triangle only; in every room and for any number of "
    "threads") {
    const test_threads threads(3);
    for (const std::size_t k : {1u, 2u, 17u, 290u})
        for (const std::size_t tokens : {0u, 1u, 3u, 256u, 300u}) {
            if (k == 290 && tokens != 300) continue;
            CAPTURE(k);
            CAPTURE(tokens);
            auto X = sample::activations(tokens, k, k + tokens);
            const auto H = sample::normal_matrix(k, k, 7);
            auto want = H;
            for (std::size_t i = 0; i < k; ++i)
                for (std::size_t j = 0; j <= i; ++j)
                    for (std::size_t t = 0; t < tokens;) {
                        float sum = 0;
                        for (const std::size_t end = t + 256; t < end && t < tokens; ++t)
                            sum = std::fma(X(t, i), X(t, j), sum);
                        want(i, j) += sum;
                    }
            sample::every_way(threads, [&](const call& how) {
                auto got = H;
                REQUIRE(syrk(got.view(), X.view(), how).ok());
                CHECK(got.same_bits(want));
            });
        }
}

}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("syrk: close to the sum in double") {
    constexpr std::size_t tokens = 3000, k = 20;
    auto X = sample::activations(tokens, k, 9);
    sample::padded H{k, k};
    for (float& h : H.data) h = 0;
    REQUIRE(syrk(H.view(), X.view()).ok());
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = 0; j < k; ++j) {
            double sum = 0, size = 0;
            for (std::size_t t = 0; t < tokens; ++t) {
                const double p = double{X(t, i)} * double{X(t, j)};
                sum += p;
                size += std::fabs(p);
            }
            if (j > i) CHECK(H(i, j) == 0);
            else CHECK(std::fabs(double{H(i, j)} - sum) < 1e-6 * size);
        }
}

TEST_CASE("syrk: shapes that disagree are an error, and nothing is written") {
    float h[6] = {1, 2, 3, 4, 5, 6};
    const float x[6] = {};
    CHECK(syrk({h, 2, 2}, {x, 2, 3}).error().code == errc::shape);
    CHECK(syrk({h, 2, 3}, {x, 2, 3}).error().code == errc::shape);
    CHECK(h[0] == 1);
    CHECK(syrk({h, 0, 0}, {x, 0, 0}).ok());
}

#endif
