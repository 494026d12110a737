#include "support/golden_problem.hpp"
#include "support/linalg.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/calibrate/hessian.hpp>

#include <algorithm>
#include <cmath>

using namespace qlib;

namespace {

hessian fresh(std::size_t cols) {
    auto h = hessian::make(cols);
    REQUIRE(h.has_value());
    return std::move(*h);
}
bool same(const hessian& a, const hessian& b) { return std::ranges::equal(a.bytes(), b.bytes()); }

/// A saved Hessian to spoil.
struct checkpoint {
    std::vector<std::byte> bytes;
    explicit checkpoint(const hessian& h) : bytes(h.bytes().begin(), h.bytes().end()) {}
    template <class T> checkpoint& put(std::size_t at, T v) {
        std::memcpy(bytes.data() + at, &v, sizeof v);
        return *this;
    }
    [[nodiscard]] errc refused() const {
        const auto h = hessian::over(bytes);
        REQUIRE(!h.has_value());
        return h.error().code;
    }
};

}  // namespace

TEST_CASE("hessian: the lower triangle of X^T X, tokens counted, the rest zero") {
    const float x[6] = {1, 2, 3, 4, 5, 6};
    hessian h = fresh(3);
    CHECK(h.cols() == 3);
    CHECK(h.tokens() == 0);
    REQUIRE(h.add({x, 2, 3}).ok());
    REQUIRE(h.add({x, 1, 3}).ok());
    REQUIRE(h.add({x, 0, 3}).ok());
    CHECK(h.tokens() == 3);
    const float want[9] = {18, 0, 0, 24, 33, 0, 30, 42, 54};
    for (std::size_t i = 0; i < 9; ++i) CHECK(h.lower()(i / 3, i % 3) == want[i]);
    CHECK(h.diagonal(1) == 33);
}

TEST_SUITE("bytes") {

TEST_CASE("hessian: any room, any number of threads, any split at multiples of 256 tokens, the same bits") {
    const test_threads threads(3);
    auto X = sample::activations(700, 45, 1);
    hessian want = fresh(45);
    REQUIRE(want.add(X.view()).ok());
    sample::every_way(threads, [&](const call& how) {
        hessian h = fresh(45);
        REQUIRE(h.add(X.view().row_range(0, 512), how).ok());
        REQUIRE(h.add(X.view().row_range(512, 188), how).ok());
        CHECK(same(h, want));
    });
}

TEST_CASE("hessian: the published problems are made to the bit") {
    const auto a = golden_problem::a(), b = golden_problem::b();
    CHECK(crc32(a.W) == a.crc_w);
    CHECK(crc32(a.X) == a.crc_x);
    CHECK(crc32(b.W) == b.crc_w);
    CHECK(crc32(b.X) == b.crc_x);
}

}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("hessian: merge adds, copy copies, a moved-from one has no columns") {
    auto X = sample::activations(100, 20, 2), Y = sample::activations(50, 20, 3);
    hessian a = fresh(20), b = fresh(20);
    REQUIRE(a.add(X.view()).ok());
    REQUIRE(b.add(Y.view()).ok());
    auto sum = a.copy();
    REQUIRE(sum.has_value());
    CHECK(same(*sum, a));
    REQUIRE(sum->merge(b).ok());
    CHECK(sum->tokens() == 150);
    for (std::size_t i = 0; i < 20; ++i)
        for (std::size_t j = 0; j < 20; ++j) CHECK(sum->lower()(i, j) == a.lower()(i, j) + b.lower()(i, j));
    CHECK(a.merge(fresh(19)).error().code == errc::shape);

    hessian moved = std::move(a);
    CHECK(moved.cols() == 20);
    CHECK(a.cols() == 0);
    CHECK(a.tokens() == 0);
    CHECK(a.bytes().empty());
    CHECK(a.add(X.view()).error().code == errc::shape);
    CHECK(hessian::over(a.bytes()).error().code == errc::truncated);
    a = std::move(moved);
    CHECK(a.tokens() == 100);
}

TEST_CASE("hessian: bad activations are named, and nothing is added") {
    hessian h = fresh(5);
    const sample::padded good = sample::activations(9, 5, 4);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        auto X = good;
        X(7, 3) = bad;
        X(8, 1) = bad;
        const status s = h.add(X.view());
        CHECK(s.error().code == errc::non_finite);
        CHECK(s.error().sizes[0] == 7);
        CHECK(s.error().sizes[1] == 3);
    }
    auto X = good;
    CHECK(h.add({X.data.data(), 4, 6}).error().code == errc::shape);
    for (const float big : {1e19f, 1e30f, 3.4e38f}) {
        X(0, 0) = big;
        CHECK(h.add(X.view()).error().code == errc::overflow);
    }
    CHECK(same(h, fresh(5)));
    CHECK(hessian::make(0).error().code == errc::shape);
    for (const std::size_t cols : {std::size_t{1} << 31, std::size_t{1} << 40, ~std::size_t{0}, ~std::size_t{0} - 14})
        CHECK(hessian::make(cols).error().code == errc::memory);
}

TEST_CASE("hessian: it stays finite however much is added") {
    const float x[2] = {2.5e18f, -2.5e18f};  // squares of 6.25e36, of at most 2.1e37
    hessian h = fresh(2);
    REQUIRE(h.add({x, 1, 2}).ok());
    REQUIRE(h.add({x, 1, 2}).ok());
    REQUIRE(h.add({x, 1, 2}).ok());
    auto half = h.copy();
    CHECK(h.add({x, 1, 2}).error().code == errc::overflow);
    CHECK(h.merge(*half).error().code == errc::overflow);
    CHECK(same(h, *half));
    CHECK(h.tokens() == 3);
    CHECK(std::isfinite(h.diagonal(0)));
    const float tiny[2] = {1e-30f, 1.0f};  // its square is no float
    hessian t = fresh(2);
    REQUIRE(t.add({tiny, 1, 2}).ok());
    CHECK(t.diagonal(0) == 0);
    CHECK(t.lower()(1, 0) == 1e-30f);
    CHECK(hessian::over(t.bytes()).has_value());
}

TEST_CASE("hessian: activations of any size keep the bits of their squares, over a power of two") {
    auto X = sample::activations(300, 20, 7);
    const hessian usual = [&] {
        hessian h = fresh(20);
        REQUIRE(h.add(X.view()).ok());
        return h;
    }();
    CHECK(usual.scale() == 1);
    for (const int e : {-44, -70, -100, -120}) {
        CAPTURE(e);
        auto small = X;
        for (std::size_t r = 0; r < 300; ++r)
            for (std::size_t c = 0; c < 20; ++c) small(r, c) = std::ldexp(X(r, c), e);
        hessian h = fresh(20);
        REQUIRE(h.add(small.view().row_range(0, 256)).ok());
        REQUIRE(h.add(small.view().row_range(256, 44)).ok());
        CHECK(h.scale() < 1);
        bool same_bits = true;
        for (std::size_t i = 0; i < 20; ++i)
            for (std::size_t j = 0; j <= i; ++j)
                same_bits =
                    same_bits && std::ldexp(double{h.lower()(i, j)} * h.scale(), -2 * e) == double{usual.lower()(i, j)};
        CHECK(same_bits);
        const auto back = hessian::over(h.bytes());
        REQUIRE(back.has_value());
        CHECK(back->scale() == h.scale());
        CHECK(same(*back, h));

        hessian both = *h.copy(), merged = *h.copy(), other = *usual.copy();  // beside larger ones they are nothing
        REQUIRE(both.add(X.view()).ok());
        REQUIRE(merged.merge(usual).ok());
        REQUIRE(other.merge(h).ok());
        CHECK(both.scale() == 1);
        CHECK(both.tokens() == 600);
        CHECK(same(merged, both));
        CHECK(same(other, both));
        CHECK(std::ranges::equal(std::span(both.bytes()).subspan(64), std::span(usual.bytes()).subspan(64)));
    }
}

TEST_CASE("hessian: progress counts blocks of 256 tokens; a cancelled add() has those before it") {
    auto X = sample::activations(600, 20, 7);
    hessian all = fresh(20), some = fresh(20), want = fresh(20);
    std::vector<std::size_t> told;
    const auto tell = [&](std::size_t done, std::size_t total) {
        CHECK(total == 3);
        told.push_back(done);
        return true;
    };
    REQUIRE(all.add(X.view(), {.progress = tell}).ok());
    CHECK(told == std::vector<std::size_t>{1, 2, 3});
    const auto stop = [](std::size_t done, std::size_t) { return done < 2; };
    CHECK(some.add(X.view(), {.progress = stop}).error().code == errc::cancelled);
    CHECK(some.tokens() == 512);
    REQUIRE(want.add(X.view().row_range(0, 512)).ok());
    CHECK(same(some, want));
}

TEST_CASE("hessian: a checkpoint comes back to the bit, from any address") {
    for (const std::size_t cols : {1u, 15u, 16u, 17u, 40u}) {
        auto X = sample::activations(30, cols, cols);
        hessian h = fresh(cols);
        REQUIRE(h.add(X.view()).ok());
        std::vector<std::byte> shifted(h.bytes().size() + 1);
        std::ranges::copy(h.bytes(), shifted.begin() + 1);
        auto back = hessian::over(std::span(shifted).subspan(1));
        REQUIRE(back.has_value());
        CHECK(same(*back, h));
        CHECK(back->tokens() == 30);
        REQUIRE(back->add(X.view()).ok());
        CHECK(back->tokens() == 60);
    }
}

TEST_CASE("hessian: bytes that are no checkpoint are refused") {
    constexpr std::size_t version = 8, shift = 12, cols = 16, tokens = 24, first = 64, stride = 64;  // in bytes
    auto X = sample::activations(30, 4, 5);
    hessian h = fresh(4);
    REQUIRE(h.add(X.view()).ok());
    const checkpoint good(h);
    for (std::size_t n = 0; n < good.bytes.size(); ++n)
        CHECK(hessian::over(std::span(good.bytes).first(n)).error().code == errc::truncated);
    checkpoint longer = good;
    longer.bytes.push_back(std::byte{0});
    CHECK(longer.refused() == errc::malformed);
    CHECK(checkpoint(good).put(0, 'Q').refused() == errc::malformed);
    CHECK(checkpoint(good).put(version, 2u).refused() == errc::unsupported);  // what has no shift is of version 1
    CHECK(checkpoint(good).put(shift, 3u).refused() == errc::unsupported);
    CHECK(checkpoint(good).put(version, 2u).put(shift, 150u).refused() == errc::malformed);
    CHECK(checkpoint(good).put(version, 0x01000000u).refused() == errc::unsupported);  // the other byte order
    CHECK(checkpoint(good).put(cols, std::uint64_t{0}).refused() == errc::malformed);
    CHECK(checkpoint(good).put(cols, std::uint64_t{3}).refused() == errc::malformed);
    for (const std::uint64_t n :
         {std::uint64_t{17}, std::uint64_t{300}, std::uint64_t{1} << 32, ~std::uint64_t{0}, ~std::uint64_t{0} - 14})
        CHECK(checkpoint(good).put(cols, n).refused() == errc::truncated);
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const float bad : {-1.0f, nan, -nan, infinity, -infinity, 3e38f}) {
        CHECK(checkpoint(good).put(first + 2 * stride + 2 * 4, bad).refused() == errc::malformed);         // diagonal
        CHECK(checkpoint(good).put(first + 3 * stride + 1 * 4, bad * 1e6f).refused() == errc::malformed);  // below it
    }
    // Above the diagonal, behind the row.
    const checkpoint unread = checkpoint(good).put(first + 3 * 4, nan).put(first + 10 * 4, 1.0f);
    const auto clean = hessian::over(unread.bytes);
    REQUIRE(clean.has_value());
    CHECK(same(*clean, h));
    auto many = hessian::over(checkpoint(good).put(tokens, ~std::uint64_t{0}).bytes);
    REQUIRE(many.has_value());
    REQUIRE(many->merge(h).ok());
    CHECK(many->tokens() == ~std::uint64_t{0});
}

TEST_CASE_TEMPLATE("tokens of f16 and bf16 count as the floats that they are, in exactly the scratch that they ask for",
                   T, qlib::f16, qlib::bf16) {
    const std::size_t tokens = 600, cols = 40;  // more than two blocks
    const auto x = sample::weights(tokens * cols, 11, 1.0);
    std::vector<T> narrow;
    std::vector<float> wide;
    for (const float v : x) {
        narrow.push_back(T::from(v));
        wide.push_back(narrow.back().value());
    }
    auto a = qlib::hessian::make(cols), b = qlib::hessian::make(cols);
    std::vector<std::byte> scratch(qlib::hessian::add_scratch_bytes<T>(tokens, cols));
    const qlib::matrix_view<const T> X{narrow.data(), tokens, cols};
    REQUIRE(a->add(X, {.scratch = scratch}).ok());
    REQUIRE(b->add({wide.data(), tokens, cols}).ok());
    CHECK(std::memcmp(a->bytes().data(), b->bytes().data(), a->bytes().size()) == 0);
    CHECK(a->add(X, {.scratch = std::span(scratch).first(scratch.size() - 1)}).error().code == qlib::errc::scratch);
    narrow[500 * cols + 3] = T::from(std::numeric_limits<float>::infinity());
    const auto s = a->add(X);
    CHECK(s.error().code == qlib::errc::non_finite);
    CHECK(s.error().sizes[0] == 500);
    CHECK(s.error().sizes[1] == 3);
    CHECK(std::memcmp(a->bytes().data(), b->bytes().data(), a->bytes().size()) == 0);
    CHECK(qlib::hessian::add_scratch_bytes<float>(tokens, cols) == 0);
}

#endif
