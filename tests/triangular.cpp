#include "support/linalg.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/linalg/cholesky.hpp>
#include <qlib/linalg/triangular.hpp>

#include <cmath>

using namespace qlib;

QLIB_EXACT_BEGIN
namespace {

/// The documented chains, one element after the other.
sample::padded reference(sample::padded& M) {
    sample::padded U = M;
    for (std::size_t i = M.rows; i-- > 0;)
        for (std::size_t j = i; j < M.cols; ++j) {
            float sum = 0;
            for (std::size_t t = j; t > i; --t) sum = std::fma(M(i, t), U(t, j), sum);
            U(i, j) = i == j ? 1.0f / M(i, i) : -sum / M(i, i);
        }
    return U;
}

/// Upper triangular and tame, with NaN below.
sample::padded upper(std::size_t k) {
    sample::padded M = sample::normal_matrix(k, k, k);
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = 0; j < k; ++j)
            M(i, j) = j < i    ? std::numeric_limits<float>::quiet_NaN()
                      : j == i ? 1.0f + 0.25f * std::fabs(M(i, j))
                               : 0.05f * M(i, j);
    return M;
}

}  // namespace
QLIB_EXACT_END

TEST_SUITE("bytes") {

TEST_CASE("invert_upper: the documented chains, in every room and for any number of threads") {
    const test_threads threads(3);
    for (const std::size_t k : {0u, 1u, 2u, 16u, 63u, 64u, 65u, 81u, 150u, 347u}) {
        CAPTURE(k);
        auto M = upper(k);
        const auto want = reference(M);
        sample::every_way(threads, [&](const call& how) {
            auto got = M;
            REQUIRE(invert_upper(got.view(), how).ok());
            CHECK(got.same_bits(want));  // the NaNs below the diagonal too
        });
    }
}

}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("invert_upper: U M = M U = 1") {
    constexpr std::size_t k = 130;
    auto M = upper(k), U = M;
    REQUIRE(invert_upper(U.view()).ok());
    double worst = 0;
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = i; j < k; ++j) {
            double um = i == j ? -1.0 : 0.0, mu = um;
            for (std::size_t t = i; t <= j; ++t) {
                um += double{U(i, t)} * double{M(t, j)};
                mu += double{M(i, t)} * double{U(t, j)};
            }
            worst = std::fmax(worst, std::fmax(std::fabs(um), std::fabs(mu)));
        }
    CHECK(worst < 2e-6);
}

TEST_CASE("invert_upper: after reverse_cholesky it is the upper Cholesky factor of the inverse") {
    constexpr std::size_t k = 70;
    auto A = sample::definite(k, 8), U = A;
    REQUIRE(reverse_cholesky(U.view()).ok());
    REQUIRE(invert_upper(U.view()).ok());
    double worst = 0;  // U A U^T = 1
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = i; j < k; ++j) {
            double sum = i == j ? -1.0 : 0.0;
            for (std::size_t s = i; s < k; ++s)
                for (std::size_t t = j; t < k; ++t)
                    sum += double{U(i, s)} * double{s <= t ? A(s, t) : A(t, s)} * double{U(j, t)};
            worst = std::fmax(worst, std::fabs(sum));
        }
    CHECK(worst < 1e-4);
}

TEST_CASE("invert_upper: known answers, and what has no finite inverse") {
    float m[9] = {1, 2, 3, -1, 1, 2, -1, -1, 1};
    REQUIRE(invert_upper({m, 3, 3}).ok());
    const float u[9] = {1, -2, 1, -1, 1, -2, -1, -1, 1};
    for (int i = 0; i < 9; ++i) CHECK(m[i] == u[i]);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const float bad : {0.0f, 0x1p-130f, nan})
        for (const std::size_t at : {0u, 40u, 99u}) {
            auto M = upper(100);
            M(at, at) = bad;
            const status s = invert_upper(M.view());
            CHECK(s.error().code == errc::not_positive);
            CHECK(s.error().sizes[0] == at);
        }
    CHECK(invert_upper({m, 2, 3}).error().code == errc::shape);
}

#endif
