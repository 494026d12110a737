#include "support/linalg.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/linalg/cholesky.hpp>

#include <cmath>

using namespace qlib;

QLIB_EXACT_BEGIN
namespace {

/// The documented chains, one element after the other.
void reference(sample::padded& A) {
    for (std::size_t j = A.cols; j-- > 0;)
        for (std::size_t i = j + 1; i-- > 0;) {
            float sum = A(i, j);
            for (std::size_t t = A.cols; --t > j;) sum = std::fma(-A(i, t), A(j, t), sum);
            A(i, j) = i == j ? detail::square_root(sum) : sum / A(j, j);
        }
}

}  // namespace
QLIB_EXACT_END

TEST_SUITE("bytes") {

TEST_CASE("reverse_cholesky: the documented chains, in every room and for any number of threads") {
    const test_threads threads(3);
    for (const std::size_t k : {0u, 1u, 2u, 16u, 63u, 64u, 65u, 150u, 283u}) {
        CAPTURE(k);
        const auto A = sample::definite(k, k);
        auto want = A;
        reference(want);
        sample::every_way(threads, [&](const call& how) {
            auto got = A;
            REQUIRE(reverse_cholesky(got.view(), how).ok());
            CHECK(got.same_bits(want));  // the NaNs below the diagonal too
        });
    }
}

}

TEST_CASE("reverse_cholesky: M M^T = A") {
    constexpr std::size_t k = 100;
    auto A = sample::definite(k, 3), M = A;
    REQUIRE(reverse_cholesky(M.view()).ok());
    for (std::size_t i = 0; i < k; ++i) {
        CHECK(M(i, i) > 0);
        for (std::size_t j = i; j < k; ++j) {
            double sum = 0;
            for (std::size_t t = j; t < k; ++t) sum += double{M(i, t)} * double{M(j, t)};
            CHECK(std::fabs(sum - double{A(i, j)}) < 2e-6 * std::sqrt(double{A(i, i)} * double{A(j, j)}));
        }
    }
}

TEST_CASE("reverse_cholesky: known answers") {
    float eye[4] = {1, 0, 9, 1};
    REQUIRE(reverse_cholesky({eye, 2, 2}).ok());
    CHECK((eye[0] == 1 && eye[1] == 0 && eye[2] == 9 && eye[3] == 1));
    float a[9] = {14, 8, 3, -1, 5, 2, -1, -1, 1};  // M = {1 2 3; 0 1 2; 0 0 1}
    REQUIRE(reverse_cholesky({a, 3, 3}).ok());
    const float m[9] = {1, 2, 3, -1, 1, 2, -1, -1, 1};
    for (int i = 0; i < 9; ++i) CHECK(a[i] == m[i]);
    float tiny[1] = {0x1p-140f}, huge[1] = {0x1p126f};
    REQUIRE(reverse_cholesky({tiny, 1, 1}).ok());
    REQUIRE(reverse_cholesky({huge, 1, 1}).ok());
    CHECK(tiny[0] == 0x1p-70f);
    CHECK(huge[0] == 0x1p63f);
}

TEST_CASE("reverse_cholesky: a pivot that is no positive number names its column") {
    constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const test_threads threads(2);
    for (const float bad : {0.0f, -1.0f, infinity, -infinity, nan})
        for (const std::size_t at : {0u, 30u, 64u, 99u}) {
            sample::padded A{100, 100};
            for (std::size_t i = 0; i < 100; ++i)
                for (std::size_t j = i; j < 100; ++j) A(i, j) = i == j ? 2.0f : 0.0f;
            A(at, at) = bad;
            sample::every_way(threads, [&](const call& how) {
                auto copy = A;
                const status s = reverse_cholesky(copy.view(), how);
                CHECK(s.error().code == errc::not_positive);
                CHECK(s.error().sizes[0] == at);
            });
        }
    float off[4] = {1, nan, 0, 1};  // found at the first pivot that it reaches
    CHECK(reverse_cholesky({off, 2, 2}).error().sizes[0] == 0);
    off[0] = 1, off[1] = 1.5f, off[3] = 1;
    CHECK(reverse_cholesky({off, 2, 2}).error().code == errc::not_positive);
    CHECK(reverse_cholesky({off, 1, 2}).error().code == errc::shape);
}
