// Metrics against answers worked out by hand, and against hostile rows.
#include <doctest/doctest.h>
#include <qlib/evaluate/metrics.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), nan_ = std::numeric_limits<float>::quiet_NaN();
constexpr double ln2 = 0.6931471805599453, ln3 = 1.0986122886681098;

using row = std::vector<float>;

/// Bell-shaped enough, the same on every machine.
row random_row(std::size_t n, std::uint32_t seed, float scale) {
    row x(n);
    for (float& v : x) {
        seed = seed * 1664525u + 1013904223u;
        v = (static_cast<float>(seed >> 8) * 0x1p-23f - 1.0f) * scale;
    }
    return x;
}
qlib::errc code_of(const qlib::result<double>& r) { return r.error().code; }

}  // namespace

TEST_CASE("negative log-likelihood: known answers") {
    CHECK(*qlib::negative_log_likelihood(row{0, 0, 0, 0}, 2) == doctest::Approx(2 * ln2).epsilon(1e-15));
    CHECK(*qlib::negative_log_likelihood(row{5}, 0) == 0.0);
    // Logits log(1), log(3): probabilities 1/4 and 3/4. A float's log(3) is off by 1e-8.
    CHECK(*qlib::negative_log_likelihood(row{0, static_cast<float>(ln3)}, 0) == doctest::Approx(2 * ln2).epsilon(1e-7));
    CHECK(*qlib::negative_log_likelihood(row{0, static_cast<float>(ln3)}, 1) ==
          doctest::Approx(2 * ln2 - ln3).epsilon(1e-7));
    // Far out: no overflow, no underflow that matters. A constant added to all changes nothing.
    CHECK(*qlib::negative_log_likelihood(row{3e38f, 3e38f}, 0) == doctest::Approx(ln2).epsilon(1e-15));
    CHECK(*qlib::negative_log_likelihood(row{1000, 0}, 1) == doctest::Approx(1000.0).epsilon(1e-15));
    CHECK(*qlib::negative_log_likelihood(row{-2e38f, 2e38f}, 0) == doctest::Approx(4e38).epsilon(1e-7));
}

TEST_CASE("KL divergence: known answers") {
    const row half{7, 7}, quarter{0, static_cast<float>(ln3)};
    // 0.5 ln 2 + 0.5 ln(2/3)
    CHECK(*qlib::kl_divergence(half, quarter) == doctest::Approx(ln2 - ln3 / 2).epsilon(1e-7));
    // 0.25 ln(1/2) + 0.75 ln(3/2)
    CHECK(*qlib::kl_divergence(quarter, half) == doctest::Approx(0.75 * ln3 - ln2).epsilon(1e-7));
    // A token that cannot follow in P.
    CHECK(*qlib::kl_divergence(row{0, -inf}, row{0, 0}) == doctest::Approx(ln2).epsilon(1e-15));
    CHECK(std::isinf(*qlib::kl_divergence(row{0, 0}, row{0, -inf})));  // ... but only in Q
    CHECK(*qlib::kl_divergence(row{0, -inf}, row{3, -inf}) == 0.0);
}

TEST_CASE("KL divergence is zero for equal rows and positive for others") {
    for (const std::size_t n : {1u, 2u, 17u, 1000u}) {
        const row p = random_row(n, 1, 20), q = random_row(n, 2, 20);
        row shifted = p;
        for (float& x : shifted) x += 64;
        CHECK(*qlib::kl_divergence(p, p) == 0.0);
        CHECK(*qlib::kl_divergence(p, shifted) < 1e-5);  // rounding of the shift
        CHECK(*qlib::kl_divergence(p, q) >= 0.0);
        // Against the definition: cross-entropy less entropy, from single likelihoods.
        double kl = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const double a = *qlib::negative_log_likelihood(p, i), b = *qlib::negative_log_likelihood(q, i);
            kl += std::exp(-a) * (b - a);
        }
        CHECK(*qlib::kl_divergence(p, q) == doctest::Approx(kl).epsilon(1e-12));
    }
    const row p = random_row(5000, 3, 8);
    row q = p;
    q[17] += 1e-3f;
    CHECK(*qlib::kl_divergence(p, q) > 0.0);
    CHECK(*qlib::kl_divergence(p, q) < 1e-6);
}

TEST_CASE("top-1") {
    CHECK(*qlib::top1(row{1, 3, 2}) == 1);
    CHECK(*qlib::top1(row{2, 2, 2}) == 0);
    CHECK(*qlib::top1(row{-inf, -3e38f, -inf}) == 1);
    CHECK(qlib::top1({}).error().code == qlib::errc::shape);
    CHECK(qlib::top1(row{0, nan_}).error().code == qlib::errc::non_finite);
}

TEST_CASE("hostile rows are errors") {
    for (const row& bad : {row{0, nan_}, row{nan_, 0}, row{inf, 0}, row{-inf, -inf}}) {
        CHECK(code_of(qlib::negative_log_likelihood(bad, 1)) == qlib::errc::non_finite);
        CHECK(code_of(qlib::kl_divergence(bad, row{0, 0})) == qlib::errc::non_finite);
        CHECK(code_of(qlib::kl_divergence(row{0, 0}, bad)) == qlib::errc::non_finite);
    }
    CHECK(code_of(qlib::negative_log_likelihood({}, 0)) == qlib::errc::shape);
    CHECK(code_of(qlib::negative_log_likelihood(row{1, 2}, 2)) == qlib::errc::shape);
    CHECK(code_of(qlib::kl_divergence(row{1}, row{1, 2})) == qlib::errc::shape);
    CHECK(code_of(qlib::kl_divergence({}, {})) == qlib::errc::shape);
    CHECK(std::isinf(*qlib::negative_log_likelihood(row{0, -inf}, 1)));
    char text[128];
    CHECK(qlib::kl_divergence(row{0, 0}, row{0, inf}).error().format(text) == "q: logit 1 is a NaN or +infinity");
}

TEST_CASE("running mean and standard error") {
    qlib::running_mean m;
    CHECK(m.mean() == 0.0);
    CHECK(m.standard_error() == 0.0);
    for (const double x : {2, 4, 4, 4, 5, 5, 7, 9}) m.add(x);  // variance 32/7, count 8
    CHECK(m.count() == 8);
    CHECK(m.mean() == doctest::Approx(5.0).epsilon(1e-15));
    CHECK(m.standard_error() == doctest::Approx(0.7559289460184544).epsilon(1e-14));
    qlib::running_mean far;  // where sums of squares would cancel to nothing
    for (const double x : {4.0, 7.0, 13.0, 16.0}) far.add(1e9 + x);
    CHECK(far.standard_error() == doctest::Approx(std::sqrt(30.0 / 4)).epsilon(1e-9));
    m.add(std::numeric_limits<double>::quiet_NaN());
    CHECK(std::isnan(m.mean()));
}

TEST_CASE("percentile") {
    std::vector<double> five{5, 1, 4, 2, 3};
    CHECK(qlib::percentile(five, 0.5) == 3.0);
    CHECK(qlib::percentile(five, 0.25) == 2.0);
    CHECK(qlib::percentile(five, 0.9) == doctest::Approx(4.6).epsilon(1e-15));
    CHECK(qlib::percentile(five, 0) == 1.0);
    CHECK(qlib::percentile(five, 1) == 5.0);
    CHECK(std::isnan(qlib::percentile({}, 0.5)));
    CHECK(std::isnan(qlib::percentile(five, 1.5)));
    CHECK(std::isnan(qlib::percentile(five, std::numeric_limits<double>::quiet_NaN())));
    std::vector<double> one{7}, same(100, 2.0), two{0, std::numeric_limits<double>::infinity()};
    CHECK(qlib::percentile(one, 0.99) == 7.0);
    CHECK(qlib::percentile(same, 0.99) == 2.0);
    CHECK(qlib::percentile_error(same, 0.99) == 0.0);
    CHECK(std::isinf(qlib::percentile(two, 0.5)));
    // 0, 1 ... 9999 of a uniform distribution: sqrt(0.25 / 10000) of the range.
    std::vector<double> uniform(10000);
    for (std::size_t i = 0; i < uniform.size(); ++i) uniform[i] = static_cast<double>(i * 7919 % uniform.size());
    CHECK(qlib::percentile_error(uniform, 0.5) == doctest::Approx(50.0).epsilon(1e-3));
    for (std::size_t n = 1; n < 60; ++n) {
        std::vector<double> values;
        for (const float x : random_row(n, static_cast<std::uint32_t>(n), 4))
            values.push_back(std::floor(static_cast<double>(x)));
        if (n % 3 == 0) values[n / 2] = std::numeric_limits<double>::quiet_NaN();
        std::vector<double> sorted = values;
        std::sort(sorted.begin(), sorted.end(),
                  [](double a, double b) { return !std::isnan(a) && (std::isnan(b) || a < b); });
        for (std::size_t k = 0; k < n; ++k) {
            const double got =
                qlib::percentile(values, n == 1 ? 0.0 : static_cast<double>(k) / static_cast<double>(n - 1));
            if (std::isnan(sorted[k])) CHECK((std::isnan(got) || k + 1 == n));
            else CHECK(got == doctest::Approx(sorted[k]).epsilon(1e-9));
        }
    }
}

TEST_CASE("SQNR") {
    qlib::sqnr s;
    s.add(3, 3);
    s.add(4, 4.5f);  // 25 / 0.25
    CHECK(s.decibels() == doctest::Approx(20.0).epsilon(1e-15));
    qlib::sqnr all = s;
    all.add(s);
    CHECK(all.signal() == 50.0);
    CHECK(all.noise() == 0.5);
    CHECK(qlib::sqnr(all.signal(), all.noise()).decibels() == all.decibels());
    qlib::sqnr weighted;
    weighted.add(3, 3, 2);
    weighted.add(4, 4.5f, 0.5f);  // 2 * 9 + 16 / 2, and 0.25 / 2
    CHECK(weighted.signal() == 26.0);
    CHECK(weighted.noise() == 0.125);
    qlib::sqnr none, noise, broken;
    none.add(1, 1);
    noise.add(0, 1);
    broken.add(nan_, 1);
    CHECK(none.decibels() == std::numeric_limits<double>::infinity());
    CHECK(noise.decibels() == -std::numeric_limits<double>::infinity());
    CHECK(qlib::sqnr{}.decibels() == std::numeric_limits<double>::infinity());
    CHECK(std::isnan(broken.decibels()));
    qlib::sqnr large;
    large.add(3e38f, -3e38f);  // squares of floats fit a double
    CHECK(large.decibels() == doctest::Approx(-10 * std::log10(4.0)).epsilon(1e-7));
}
