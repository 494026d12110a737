#include "support/golden_problem.hpp"
#include "support/linalg.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/calibrate/hessian_factor.hpp>

#include <algorithm>
#include <cmath>

using namespace qlib;

namespace {

hessian hessian_of(matrix_view<const float> X) {
    auto h = hessian::make(X.cols);
    REQUIRE(h.has_value());
    REQUIRE(h->add(X).ok());
    return std::move(*h);
}
hessian_factor factor_of(const hessian& h, factor_options options = {}, const call& how = {}) {
    auto f = factorize(*h.copy(), options, how);
    REQUIRE(f.has_value());
    return std::move(*f);
}

/// A Hessian of any numbers that over() lets pass: not always one that tokens can make.
hessian crafted(std::size_t k, const std::vector<float>& lower) {
    auto h = hessian::make(k);
    std::vector<std::byte> bytes(h->bytes().begin(), h->bytes().end());
    for (std::size_t i = 0; i < k; ++i)
        std::memcpy(bytes.data() + 64 + i * h->lower().stride * 4, &lower[i * k], (i + 1) * 4);
    auto made = hessian::over(bytes);
    REQUIRE(made.has_value());
    return std::move(*made);
}

double undamped(const hessian_factor& f, std::size_t i, std::size_t j) {
    return double{i == j ? f.diagonal(i) : i > j ? f.lower_row(i)[j] : f.lower_row(j)[i]};
}
/// max |U (H + damping) U^T - 1|, with H from the factor itself.
double residual(const hessian_factor& f) {
    const std::size_t k = f.cols();
    double mean = 0, worst = 0;
    std::size_t live = 0;
    for (std::size_t j = 0; j < k; ++j) mean += double{f.diagonal(j)}, live += f.dead(j) ? 0 : 1;
    mean = live != 0 ? mean / static_cast<double>(live) : 1;
    const double shift = double{f.report().damping} * mean;
    for (std::size_t i = 0; i < k; ++i) {
        std::vector<double> row(k);  // of U (H + damping)
        for (std::size_t t = i; t < k; ++t)
            for (std::size_t j = 0; j < k; ++j)
                row[j] += double{f.upper_row(i)[t]} * (undamped(f, t, j) + (t != j ? 0 : f.dead(t) ? mean : shift));
        for (std::size_t j = i; j < k; ++j) {
            double sum = i == j ? -1 : 0;
            for (std::size_t t = j; t < k; ++t) sum += row[t] * double{f.upper_row(j)[t]};
            worst = std::fmax(worst, std::fabs(sum));
        }
    }
    return worst;
}
bool all_finite(const hessian_factor& f) {
    bool ok = true;
    for (std::size_t i = 0; i < f.cols(); ++i) {
        ok = ok && f.pivot(i) > 0 && std::isfinite(f.pivot(i)) && f.pivot(i) == f.upper_row(i)[i];
        for (std::size_t j = 0; j < f.cols(); ++j) ok = ok && std::isfinite(f.square()(i, j));
    }
    return ok;
}
std::vector<float> copy_of(const hessian_factor& f) {
    std::vector<float> all;
    for (std::size_t i = 0; i < f.cols(); ++i) {
        all.insert(all.end(), f.square().row(i), f.square().row(i) + f.cols());
        all.push_back(f.diagonal(i));
        all.push_back(f.pivot(i));
    }
    return all;
}

}  // namespace

TEST_SUITE("bytes") {

TEST_CASE("factorize: the published problem gives known bits, in every room and for any number of threads") {
    const test_threads threads(3);
    const auto p = golden_problem::b();
    auto X = sample::padded{p.tokens, p.cols};
    for (std::size_t t = 0; t < p.tokens; ++t) std::memcpy(&X(t, 0), &p.X[t * p.cols], p.cols * sizeof(float));
    auto h = hessian::make(p.cols);
    REQUIRE(h->add(X.view()).ok());
    bool first = true;
    sample::every_way(threads, [&](const call& how) {
        const auto f = factor_of(*h, {}, how);
        CHECK(crc32(copy_of(f)) == 0x413a5438);
        CHECK(f.report().rung == 0);
        if (first) CHECK(residual(f) < 1e-4);
        first = false;
    });
}

}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("factorize: U^T U is the inverse of the damped Hessian; H stays below the diagonal, over a power of two") {
    for (const std::size_t k : {1u, 2u, 17u, 65u, 130u}) {
        CAPTURE(k);
        auto X = sample::activations(2 * k + 9, k, k);
        const hessian h = hessian_of(X.view());
        for (const float damping : {0.0f, 0.01f, 1.0f, 1e6f}) {
            const auto f = factor_of(h, {.damping = damping});
            CHECK(f.cols() == k);
            CHECK(f.report().damping == damping);
            CHECK(f.report().rung == 0);
            CHECK(!f.report().diagonal_only);
            CHECK(f.report().dead_columns == 0);
            CHECK(all_finite(f));
            CHECK(residual(f) < 2e-3);
            int exponent = 0;
            CHECK(std::frexp(f.scale(), &exponent) == 0.5);
            double mean = 0;
            bool same = true;
            for (std::size_t i = 0; i < k; ++i) {
                mean += double{f.diagonal(i)} / static_cast<double>(k);
                for (std::size_t j = 0; j <= i; ++j)
                    same = same && undamped(f, i, j) * f.scale() == double{h.lower()(i, j)};
            }
            CHECK(same);
            CHECK((mean >= 1 && mean < 2));
        }
    }
}

TEST_CASE("factorize: known answers") {
    const auto one = factor_of(crafted(1, {5}), {.damping = 0});
    CHECK(one.scale() == 4);
    CHECK(one.diagonal(0) == 1.25f);
    CHECK(one.pivot(0) == 1 / std::sqrt(1.25f));
    const auto eye = factor_of(crafted(3, {1, 0, 0, 0, 1, 0, 0, 0, 1}), {.damping = 3});
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = i; j < 3; ++j) CHECK(eye.upper_row(i)[j] == (i == j ? 0.5f : 0.0f));
    // M = {1 2; 0 1}, H = M M^T = {5 2; 2 1}, whose mean is 3: halved, so that U is sqrt(2) times {1 -2; 0 1}
    const auto two = factor_of(crafted(2, {5, 0, 2, 1}), {.damping = 0});
    CHECK(two.scale() == 2);
    CHECK(two.upper_row(0)[1] / two.pivot(0) == doctest::Approx(-2));
    CHECK(two.pivot(1) == doctest::Approx(std::sqrt(2.0)));
}

TEST_CASE("factorize: only the size of activations changes, by a power of two: the same factor") {
    auto X = sample::activations(100, 30, 3);
    const auto want = copy_of(factor_of(hessian_of(X.view())));
    for (const float scale : {0x1p-40f, 0x1p-7f, 0x1p20f, 0x1p50f}) {
        auto Y = X;
        for (float& y : Y.data) y *= scale;
        const auto f = factor_of(hessian_of(Y.view()));
        CHECK(copy_of(f) == want);
    }
    for (const float size : {1e30f, 1e-30f, 1e-44f}) {  // the Hessian itself
        const auto f = factor_of(crafted(2, {size, 0, 0.5f * size, size}));
        CHECK(f.report().rung == 0);
        CHECK(all_finite(f));
        CHECK(residual(f) < 1e-6);
    }
}

TEST_CASE("factorize: dead columns are cut out and counted") {
    auto X = sample::activations(200, 40, 4);
    for (std::size_t t = 0; t < X.rows; ++t)
        for (std::size_t j = 0; j < 40; j += 7) X(t, j) = 0;
    for (const float damping : {0.0f, 0.01f}) {
        const auto f = factor_of(hessian_of(X.view()), {.damping = damping});
        CHECK(f.report().rung == 0);
        CHECK(f.report().dead_columns == 6);
        CHECK(residual(f) < 1e-3);
        for (std::size_t j = 0; j < 40; ++j) {
            CHECK(f.dead(j) == (j % 7 == 0));
            if (f.dead(j)) CHECK((f.pivot(j) > 0.7f && f.pivot(j) <= 1.0f));  // 1 / sqrt of the mean
        }
    }
    std::vector<float> zero(3 * 5);
    const auto none = factor_of(hessian_of({zero.data(), 3, 5}));
    CHECK(none.report().dead_columns == 5);
    CHECK(none.report().rung == 0);
    for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t j = i; j < 5; ++j) CHECK(none.upper_row(i)[j] == (i == j ? 1.0f : 0.0f));
    const float faint[2] = {1e-30f, 1.0f};  // dead, but for what is left of its neighbour's products
    const auto f = factor_of(hessian_of({faint, 1, 2}));
    CHECK(f.dead(0));
    CHECK(f.lower_row(1)[0] == 0);
    CHECK(f.upper_row(0)[1] == 0);
}

TEST_CASE("factorize: the ladder, never silently") {
    auto X = sample::activations(10, 50, 5);  // rank 10
    const hessian h = hessian_of(X.view());
    CHECK(factor_of(h).report().rung == 0);
    const auto more = factor_of(h, {.damping = 0});
    CHECK(more.report().rung >= 1);
    CHECK(more.report().damping >= 1e-4f);
    CHECK(!more.report().diagonal_only);
    CHECK(all_finite(more));
    CHECK(residual(more) < 0.1);
    const auto strict = factorize(*h.copy(), {.damping = 0, .strict = true});
    REQUIRE(!strict.has_value());
    CHECK(strict.error().code == errc::not_positive);

    std::vector<float> twins(2 * 2, 1.0f);  // two equal inputs
    CHECK(factor_of(hessian_of({twins.data(), 2, 2}), {.damping = 0}).report().rung == 1);

    // No sum of x x^T: an eigenvalue of -3, which damping up to 1 does not lift.
    const hessian wild = crafted(3, {1, 0, 0, -2, 1, 0, -2, -2, 1});
    const auto last = factor_of(wild);
    CHECK(last.report().diagonal_only);
    CHECK(last.report().rung == 3);
    CHECK(last.report().damping == 0.01f);
    CHECK(last.upper_row(0)[1] == 0);
    CHECK(last.pivot(0) == doctest::Approx(1 / std::sqrt(1.01)));
    CHECK(last.lower_row(1)[0] == -2);
    CHECK(factor_of(wild, {.damping = 0}).report().rung == 6);
    CHECK(factor_of(wild, {.damping = 1}).report().rung == 1);
    CHECK(factorize(*wild.copy(), {.strict = true}).error().code == errc::not_positive);
    CHECK(factor_of(wild, {.damping = 4}).report().rung == 0);
    const test_threads threads(2);
    sample::every_way(threads,
                      [&](const call& how) { CHECK(copy_of(factor_of(h, {.damping = 0}, how)) == copy_of(more)); });
}

TEST_CASE("factorize: progress ascends to its end, through the ladder too, and can cancel at every step") {
    auto X = sample::activations(90, 150, 3);
    const hessian h = hessian_of(X.view());
    for (const float damping : {0.01f, 0.0f}) {  // without damping 90 tokens do not make 150 columns positive definite
        CAPTURE(damping);
        std::vector<std::size_t> told;
        std::size_t parts = 0;
        const auto tell = [&](std::size_t done, std::size_t total) {
            parts = total;
            told.push_back(done);
            return true;
        };
        test_threads pool(2);
        const auto f = factorize(*h.copy(), {.damping = damping}, {.run = pool, .progress = tell});
        REQUIRE(f.has_value());
        CHECK((f->report().rung != 0) == (damping == 0));
        CHECK(told.size() > 5);
        CHECK(std::is_sorted(told.begin(), told.end()));
        CHECK(told.back() == parts);
        CHECK(std::count(told.begin(), told.end(), parts) == 1);
        for (std::size_t stop = 0; stop < told.size(); ++stop) {
            std::size_t calls = 0;
            const auto until = [&](std::size_t, std::size_t) { return calls++ < stop; };
            const auto cut = factorize(*h.copy(), {.damping = damping}, {.progress = until});
            REQUIRE(!cut.has_value());
            CHECK(cut.error().code == errc::cancelled);
            CHECK(calls == stop + 1);
        }
    }
}

TEST_CASE("factorize: what is refused leaves the Hessian alone") {
    auto X = sample::activations(10, 4, 6);
    hessian h = hessian_of(X.view());
    for (const float bad :
         {-0.01f, 2e6f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
        CHECK(factorize(std::move(h), {.damping = bad}).error().code == errc::argument);
    CHECK(factorize(std::move(h), {}, {.room = sample::no_room}).error().code == errc::unsupported);
    CHECK(h.cols() == 4);
    auto f = factorize(std::move(h));
    REQUIRE(f.has_value());
    CHECK(factorize(std::move(h)).error().code == errc::shape);  // nothing is left
    hessian_factor moved = std::move(*f);
    CHECK(moved.cols() == 4);
    CHECK(f->cols() == 0);
}

TEST_CASE("quadratic_losses: d H d under the undamped Hessian, the same bits in every room and in any strip") {
    for (const std::size_t k : {1u, 16u, 21u, 300u}) {
        CAPTURE(k);
        auto X = sample::activations(150, k, k), D = sample::normal_matrix(5, k, 8);
        const auto f = factor_of(hessian_of(X.view()));
        std::vector<float> scratch(detail::quadratic_losses_scratch(5));
        std::vector<double> loss(5), again(5);
        detail::quadratic_losses(f, D.view(), loss.data(), scratch.data());
        for (std::size_t r = 0; r < 5; ++r) {
            double want = 0;  // |X d|^2
            for (std::size_t t = 0; t < X.rows; ++t) {
                double y = 0;
                for (std::size_t c = 0; c < k; ++c) y += double{X(t, c)} * double{D(r, c)};
                want += y * y;
            }
            CHECK(loss[r] == doctest::Approx(want).epsilon(1e-5));
            for (const isa room : sample::rooms()) {
                detail::quadratic_losses(f, D.view().row_range(r, 1), &again[r], scratch.data(), room);
                CHECK(again[r] == loss[r]);
            }
        }
    }
}

TEST_CASE("quadratic_losses: never negative, never a NaN") {
    const auto f = factor_of(crafted(3, {1, 0, 0, 2, 1, 0, 2, 2, 1}));  // not positive definite
    const float d[9] = {1, -1, 0, 3e38f, 3e38f, -3e38f, 0, 0, 0};
    std::vector<float> scratch(detail::quadratic_losses_scratch(3));
    double loss[3];
    detail::quadratic_losses(f, {d, 3, 3}, loss, scratch.data());
    CHECK(loss[0] == 0);
    CHECK(loss[1] == std::numeric_limits<double>::infinity());
    CHECK(loss[2] == 0);
    detail::quadratic_losses(f, {d, 0, 3}, loss, scratch.data());
}

#endif
