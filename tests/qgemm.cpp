#include "support/guarded.hpp"
#include "support/kernel_formats.hpp"
#include "support/matrix.hpp"
#include "support/rooms.hpp"
#include "support/threads.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/integer.hpp>
#include <qlib/mx.hpp>
#include <qlib/qgemm.hpp>
#include <qlib/quantize.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

using namespace qlib;

namespace {

/// A few blocks, and a short one where rows may end inside.
template <class F>
constexpr std::size_t some_cols = (300 / block_size<F> + 1) * block_size<F> +
                                  (has_ragged_rows<F> && !has_flat_blocks<F> ? 7 : 0);

/// The documented rounding of activations, as doubles.
std::vector<double> rounded(const std::vector<float>& x, std::size_t k, std::size_t group) {
    std::vector<double> out(x.size());
    for (std::size_t row = 0; row < x.size(); row += k)
        for (std::size_t g = 0; g < k; g += group) {
            const std::size_t first = row + g, end = row + std::min(k, g + group);
            float most = 0;
            for (std::size_t i = first; i < end; ++i) most = std::max(most, std::fabs(x[i]));
            for (std::size_t i = first; i < end && most >= 0x1p-100f; ++i)
                out[i] =
                    static_cast<double>(std::nearbyint(x[i] * (127.0f / most))) * static_cast<double>(most / 127.0f);
        }
    return out;
}

/// Y = X W^T in double, and the sums of magnitudes that errors are measured by.
struct reference {
    std::vector<double> y, magnitude;
    reference(const std::vector<double>& x, const std::vector<float>& w, std::size_t n, std::size_t rows, std::size_t k)
        : y(n * rows),
          magnitude(n * rows) {
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t j = 0; j < k; ++j) {
                    const double p = x[i * k + j] * static_cast<double>(w[r * k + j]);
                    y[i * rows + r] += p;
                    magnitude[i * rows + r] += std::fabs(p);
                }
    }
    /// The largest error of as many rows as there are, in units of the magnitudes.
    [[nodiscard]] double error(const std::vector<float>& got) const {
        double worst = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
            const double e = std::fabs(static_cast<double>(got[i]) - y[i]);
            if (!(e <= worst * (magnitude[i] + 1e-30))) worst = e / (magnitude[i] + 1e-30);
        }
        return worst;
    }
};

/// Weights in some format with their floats, and activations. Behind virtual functions: what is checked is compiled
/// once, not once per format.
struct any_problem {
    std::size_t rows, k, n,
        group =
            0;  // (n, k) activations, (rows, k) weights; the default activation group, 0 where levels are no integers
    bool streams = false;  // rows of weights past few rows of X
    std::vector<float> w, x;

    any_problem(std::size_t rows_, std::size_t k_, std::size_t n_)
        : rows(rows_),
          k(k_),
          n(n_),
          w(sample::weights(rows * k, 1)),
          x(sample::weights(n * k, 2, 1)) {}
    any_problem(const any_problem&) = delete;
    any_problem& operator=(const any_problem&) = delete;
    virtual ~any_problem() = default;
    /// One product: `count` rows of y and x; of wire's bytes in place of the weights where there are some.
    virtual status multiply(float* y, const float* x, std::size_t count, gemm_options options, const call& how,
                            std::span<const std::byte> wire = {}) const = 0;

    [[nodiscard]] std::vector<float> multiply(gemm_options options, const call& how = {}, std::size_t count = 0) const {
        count = count == 0 ? n : count;
        std::vector<float> y(count * rows, 99.0f);
        REQUIRE(multiply(y.data(), x.data(), count, options, how).ok());
        return y;
    }
    [[nodiscard]] reference exact() const { return {std::vector<double>(x.begin(), x.end()), w, n, rows, k}; }
    [[nodiscard]] reference integer(std::size_t activations) const {
        return {rounded(x, k, activations), w, n, rows, k};
    }
    [[nodiscard]] bool integer_in(compute mode) const { return group != 0 && mode != compute::exact; }
};

template <class F> struct problem final : any_problem {
    qmatrix<F> q;
    using any_problem::multiply;

    problem(std::size_t rows_, std::size_t k_, std::size_t n_) : any_problem(rows_, k_, n_) {
        streams = detail::dot_groups<F> != 0;
        if (detail::integer_levels_of<F>)
            group = detail::row_maps<F> ? k : std::max(F::group, 256 / F::group * F::group);
        auto made = quantize<F>({w.data(), rows, k}, plain_fit{});
        REQUIRE(made.has_value());
        q = std::move(*made);
        decode();
    }
    void decode() { REQUIRE(dequantize<F>(q.view(), {w.data(), rows, k}, {.room = isa::portable}).ok()); }
    status multiply(float* y, const float* from, std::size_t count, gemm_options options, const call& how,
                    std::span<const std::byte> wire) const override {
        const auto weights = qview<F>::over(wire.empty() ? q.bytes() : wire, rows, k);
        REQUIRE(weights.has_value());
        return qgemm<F>({y, count, rows}, {from, count, k}, *weights, options, how);
    }
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

template <class Check> void in_rooms_and_modes(const Check& check) {
    for (const isa room : sample::rooms())
        for (const compute mode : {compute::automatic, compute::exact}) check(room, mode);
}

void check_against_reference(const any_problem& p) {
    const reference exact = p.exact(), rounded = p.integer(p.group != 0 ? p.group : p.k);
    in_rooms_and_modes([&](isa room, compute mode) {
        call_report report;
        const auto all = p.multiply({.mode = mode}, {.room = room, .report = &report});
        const bool integer = p.integer_in(mode);
        CHECK((integer ? rounded : exact).error(all) < 2e-6);
        if (integer) CHECK(exact.error(all) < 0.05);
        CHECK(report.mode == std::string_view(integer ? "integer" : "exact"));
        CHECK(report.room == room);
        // A row of Y depends on its row of X alone, and on which of the room's kernels multiplies so many rows.
        std::vector<float> few = all;
        std::string_view kernel = report.kernel;
        CHECK(kernel == "panels");
        for (std::size_t n = p.n; n-- > 1;) {
            const auto some = p.multiply({.mode = mode}, {.room = room, .report = &report}, n);
            if (report.kernel != kernel) {
                REQUIRE(kernel == "panels");
                kernel = report.kernel;
                few = some;
                CHECK(n <= 4);
                CHECK((integer ? rounded : exact).error(few) < 2e-6);
            }
            CHECK(same_bits(some, {few.data(), n * p.rows}));
        }
        CHECK((kernel == "rows") == (integer && p.streams && room != isa::portable));
    });
}

void check_bounds(const any_problem& p, std::size_t wire_bytes) {
    sample::random random{7};
    std::vector<std::byte> bytes(wire_bytes);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
    guarded<std::byte> wire{std::span<const std::byte>(bytes)};
    guarded<float> x{std::span<const float>(p.x)};
    in_rooms_and_modes([&](isa room, compute mode) {
        guarded<float> y(p.n * p.rows);
        std::vector<float> want(p.n * p.rows);
        REQUIRE(p.multiply(y.data(), x.data(), p.n, {.mode = mode}, {.room = room}, wire.span()).ok());
        REQUIRE(p.multiply(want.data(), p.x.data(), p.n, {.mode = mode}, {.room = room}, bytes).ok());
        CHECK(same_bits(y.span(), want));
    });
}

}  // namespace

TEST_CASE_TEMPLATE("qgemm: every room and mode against one reference in double, n from 1 to 40", F,
                   QLIB_KERNEL_FORMATS) {
    check_against_reference(problem<F>(37, some_cols<F>, 40));
}

TEST_CASE_TEMPLATE("qgemm: any bytes, within the bounds of every operand", F, QLIB_KERNEL_FORMATS) {
    check_bounds(problem<F>(19, some_cols<F>, 5), wire_size<F>(19, some_cols<F>));
}

TEST_CASE_TEMPLATE("qgemm: rows of many panels, in any number of threads", F, kernel_formats::split4,
                   kernel_formats::super2, kernel_formats::row8, kernel_formats::row4, kernel_formats::tile8) {
    const problem<F> p(130, 9472, 3);
    const reference exact = p.exact(), rounded = p.integer(p.group != 0 ? p.group : p.k);
    in_rooms_and_modes([&](isa room, compute mode) {
        const auto y = p.multiply({.mode = mode}, {.room = room});
        CHECK((p.integer_in(mode) ? rounded : exact).error(y) < 2e-6);
        for (const std::size_t threads : {2u, 5u})
            CHECK(same_bits(p.multiply({.mode = mode}, {.run = test_threads(threads), .room = room}), y));
    });
}

TEST_CASE_TEMPLATE("qgemm: any number of columns", F, kernel_formats::dense1, kernel_formats::dense3,
                   kernel_formats::dense5, kernel_formats::book3, kernel_formats::groups_of_6, kernel_formats::trits80,
                   kernel_formats::row4) {
    for (std::size_t k = 1; k < 200; k += k < 70 ? 1 : 13) {
        const problem<F> p(3, k, 2);
        const reference exact = p.exact(), rounded = p.integer(p.group != 0 ? p.group : k);
        in_rooms_and_modes([&](isa room, compute mode) {
            CHECK((p.integer_in(mode) ? rounded : exact).error(p.multiply({.mode = mode}, {.room = room})) < 2e-6);
        });
    }
}

TEST_CASE_TEMPLATE("qgemm: activation groups of every size", F, kernel_formats::split4, kernel_formats::super2,
                   kernel_formats::dense3, kernel_formats::row8, kernel_formats::tile4, kernel_formats::pairs) {
    const problem<F> p(20, 3 * 768, 9);
    for (const std::size_t group :
         {F::group, 3 * F::group, 7 * F::group, 40 * F::group, p.k, (p.k / F::group + 5) * F::group}) {
        const reference want = p.integer(group);
        for (const isa room : sample::rooms())
            CHECK(want.error(p.multiply({.mode = compute::integer, .activation_group = group}, {.room = room})) < 2e-6);
    }
}

TEST_CASE_TEMPLATE("qgemm: the largest sums there are", F, kernel_formats::row8, kernel_formats::row4,
                   kernel_formats::dense8) {
    problem<F> p(17, 70016, 2);
    for (const int fill : {0x00, 0x7F, 0x80, 0xFF}) {
        std::byte* bytes = p.q.span().block(0, 0)[0];
        for (std::size_t r = 0; r < p.rows; ++r)  // codes only: the maps stay as they are
            for (std::size_t b = 0; b * block_size<F> < p.k; ++b)
                std::memset(
                    bytes + (p.q.view().block(r, b)[0] - p.q.view().block(0, 0)[0]) + F::offset_of(field::codes), fill,
                    F::bits::template bytes<F::grid::bits>(std::min(block_size<F>, p.k - b * block_size<F>)));
        p.decode();
        for (std::size_t i = 0; i < p.x.size(); ++i) p.x[i] = i < p.k || i % 2 == 0 ? 3.0f : -3.0f;
        for (const isa room : sample::rooms())
            CHECK(p.integer(p.k).error(p.multiply({.activation_group = p.k}, {.room = room})) < 2e-6);
    }
}

TEST_CASE("qgemm: activations that are not finite, tiny or zero") {
    using F = kernel_formats::super4;
    problem<F> p(18, 512, 7);
    const auto clean_integer = p.multiply({}), clean_exact = p.multiply({.mode = compute::exact});
    const float inf = INFINITY;
    p.x[1 * p.k + 300] = NAN;
    p.x[2 * p.k + 5] = inf;
    p.x[3 * p.k + 511] = -inf;
    for (std::size_t j = 0; j < p.k; ++j) {
        p.x[4 * p.k + j] = 0;
        p.x[5 * p.k + j] = j % 2 != 0 ? 0x1p-110f : 1e-42f;
    }
    for (const isa room : sample::rooms()) {
        const auto y = p.multiply({.mode = compute::integer}, {.room = room}),
                   e = p.multiply({.mode = compute::exact}, {.room = room});
        for (std::size_t r = 0; r < p.rows; ++r) {
            for (const std::size_t i : {1u, 2u, 3u}) CHECK(detail::is_nan(y[i * p.rows + r]));
            for (const std::size_t i : {4u, 5u}) CHECK(y[i * p.rows + r] == 0.0f);
            CHECK(std::fabs(y[r] - clean_integer[r]) <= 1e-4f);
            CHECK(std::fabs(y[6 * p.rows + r] - clean_integer[6 * p.rows + r]) <= 1e-4f);
            CHECK(detail::is_nan(e[1 * p.rows + r]));
            const float up = p.w[r * p.k + 5], down = p.w[r * p.k + 511];
            if (up != 0) CHECK(e[2 * p.rows + r] == (up > 0 ? inf : -inf));
            else CHECK(detail::is_nan(e[2 * p.rows + r]));
            if (down != 0) CHECK(e[3 * p.rows + r] == (down > 0 ? -inf : inf));
            CHECK(std::fabs(e[6 * p.rows + r] - clean_exact[6 * p.rows + r]) <= 1e-4f);
        }
    }
}

TEST_CASE("qgemm: any row stride, part of the rows, weights at odd addresses") {
    using F = kernel_formats::super6;
    const problem<F> p(50, 512, 13);
    std::vector<std::byte> shifted(p.q.bytes().size() + 1);
    std::memcpy(&shifted[1], p.q.bytes().data(), p.q.bytes().size());
    const auto odd = qview<F>::over(std::span(shifted).subspan(1), p.rows, p.k);
    const auto part = odd->row_range(7, 20);
    std::vector<float> x(p.n * (p.k + 5), NAN), y(p.n * 29, 7.0f);
    for (std::size_t i = 0; i < p.n; ++i) std::copy_n(&p.x[i * p.k], p.k, &x[i * (p.k + 5)]);
    in_rooms_and_modes([&](isa room, compute mode) {
        REQUIRE(qgemm({y.data() + 4, p.n, 20, 29}, {x.data(), p.n, p.k, p.k + 5}, *part, {.mode = mode}, {.room = room})
                    .ok());
        const auto want = p.multiply({.mode = mode}, {.room = room});
        bool same = true, kept = true;
        for (std::size_t i = 0; i < p.n; ++i)
            for (std::size_t r = 0; r < 29; ++r) {
                const float v = y[i * 29 + r];
                if (r >= 4 && r < 24) same = same && v == want[i * p.rows + 7 + r - 4];
                else kept = kept && v == 7.0f;
            }
        CHECK(same);
        CHECK(kept);
    });
}

TEST_CASE("qgemm: working memory of the caller's") {
    using F = kernel_formats::dense4;
    const problem<F> p(100, 1000, 6);
    for (const compute mode : {compute::integer, compute::exact}) {
        const auto want = p.multiply({.mode = mode});
        for (const std::size_t threads : {1u, 3u}) {
            const test_threads pool(threads);
            const std::size_t need = qgemm_scratch_bytes<F>(p.n, p.rows, p.k, {.mode = mode}, {.run = pool});
            REQUIRE(need > 0);
            guarded<std::byte> scratch(need);
            CHECK(same_bits(p.multiply({.mode = mode}, {.run = pool, .scratch = scratch.span()}), want));
            std::vector<float> y(p.n * p.rows);
            const auto less = scratch.span().first(need - 1);
            CHECK(qgemm({y.data(), p.n, p.rows}, {p.x.data(), p.n, p.k}, p.q, {.mode = mode},
                        {.run = pool, .scratch = less})
                      .error()
                      .code == errc::scratch);
        }
    }
    CHECK(qgemm_scratch_bytes<F>(0, 10, 128) == 0);
    CHECK(qgemm_scratch_bytes<F>(~std::size_t{0}, 10, 128) == ~std::size_t{0});
}

TEST_CASE("qgemm: errors and empty operands") {
    using F = kernel_formats::split4;
    const problem<F> p(20, 64, 3);
    float y[60], x[300] = {};
    const auto code = [&](std::size_t n, std::size_t rows, std::size_t m, std::size_t k, gemm_options o = {},
                          call how = {}) {
        return qgemm({y, n, rows}, {x, m, k}, p.q, o, how).error().code;
    };
    CHECK(code(3, 19, 3, 64) == errc::shape);
    CHECK(code(2, 20, 3, 64) == errc::shape);
    CHECK(code(3, 20, 3, 63) == errc::shape);
    CHECK(code(3, 20, 3, 64, {.activation_group = 48}) == errc::argument);
    CHECK(code(3, 20, 3, 64, {}, {.room = sample::no_room}) == errc::unsupported);
    CHECK(code(3, 20, 3, 64, {}, {.progress = [](std::size_t, std::size_t) { return false; }}) == errc::cancelled);

    const auto nf = qmatrix<nf4>::make(4, 64), flat = qmatrix<nf4>::make(4, 65);
    CHECK(qgemm({y, 1, 4}, {x, 1, 64}, *nf, {.mode = compute::integer}).error().code == errc::unsupported);
    CHECK(qgemm({y, 1, 4}, {x, 1, 65}, *flat).error().code == errc::unsliceable);

    CHECK(qgemm({y, 0, 20}, {x, 0, 64}, p.q).ok());
    CHECK(qgemm({y, 3, 0}, {x, 3, 64}, *qmatrix<F>::make(0, 64)).ok());
    y[0] = y[59] = 1;
    CHECK(qgemm({y, 3, 20}, {x, 3, 0}, *qmatrix<F>::make(20, 0)).ok());
    CHECK(y[0] == 0.0f);
    CHECK(y[59] == 0.0f);
}

TEST_CASE("qgemm: progress comes in equal parts") {
    const problem<kernel_formats::bytes8> p(300, 64, 2);
    std::size_t calls = 0, last = 0, total = 0;
    const auto told = [&](std::size_t done, std::size_t of) {
        ++calls;
        last = done;
        total = of;
        return true;
    };
    (void)p.multiply({}, {.progress = told});
    CHECK(calls == total);
    CHECK(last == total);
    CHECK(total > 1);
}

TEST_CASE(
    "qgemm: f16 and bf16 activations and results are floats, rounded once, in exactly the scratch that they ask for") {
    const auto check = []<class F, class T>(F*, T*, compute mode) {
        constexpr std::size_t n = 11, rows = 70, cols = 2 * block_size<F>;
        const auto w = sample::weights(rows * cols, 1), x = sample::weights(n * cols, 2, 1.0);
        const auto q = quantize<F>({w.data(), rows, cols}, plain_fit{});
        REQUIRE(q.has_value());
        std::vector<T> half(x.size()), y(n * rows);
        std::vector<float> wide(x.size()), want(n * rows), mixed(n * rows);
        for (std::size_t i = 0; i < x.size(); ++i) wide[i] = (half[i] = T::from(x[i])).value();
        const matrix_view<const T> X{half.data(), n, cols};
        for (const isa room : sample::rooms()) {
            test_threads pool(2);
            call how{.run = pool, .room = room};
            REQUIRE(qgemm({want.data(), n, rows}, {wide.data(), n, cols}, *q, {.mode = mode}, how).ok());
            REQUIRE(qgemm(matrix_view<float>{mixed.data(), n, rows}, X, *q, {.mode = mode}, how).ok());
            CHECK(mixed == want);
            std::vector<std::byte> memory(qgemm_scratch_bytes<F, T, T>(n, rows, cols, {.mode = mode}, how));
            how.scratch = memory;
            REQUIRE(qgemm(matrix_view<T>{y.data(), n, rows}, X, *q, {.mode = mode}, how).ok());
            for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i].bits == T::from(want[i]).bits);
            how.scratch = std::span(memory).first(memory.size() - 1);
            CHECK(qgemm(matrix_view<T>{y.data(), n, rows}, X, *q, {.mode = mode}, how).error().code == errc::scratch);
        }
    };
    check(static_cast<kernel_formats::split4*>(nullptr), static_cast<f16*>(nullptr), compute::integer);
    check(static_cast<kernel_formats::super6*>(nullptr), static_cast<bf16*>(nullptr), compute::integer);
    check(static_cast<kernel_formats::split4*>(nullptr), static_cast<bf16*>(nullptr), compute::exact);
}

TEST_CASE_TEMPLATE("integers whose sums overflow leave what the exact way makes of them", F, mxfp4, mxint8, int8_row,
                   int4_g128_asym, kernel_formats::dense2, kernel_formats::dense3) {
    constexpr std::size_t n = 9, rows = 21, k = some_cols<F>;
    for (const float size : {1e29f, 1e34f, 3e37f}) {
        auto w = sample::weights(rows * k, 3, 0.3);
        const auto size_of_row = [&](std::size_t r) { return r % 3 == 1 ? 1.0f : size; };  // both kinds in a tile
        for (std::size_t i = 0; i < w.size(); ++i) w[i] *= size_of_row(i / k);
        auto x = sample::weights(n * k, 4);
        for (float& v : x) v *= 1e-6f;
        const auto q = quantize<F>(matrix_view<const float>{w.data(), rows, k}, {.fit = fit::plain});
        if (!q) continue;  // the format's scales do not reach so far
        CAPTURE(size);
        for (const isa room : sample::rooms()) {
            std::vector<float> y(n * rows), exact(n * rows);
            const auto multiply = [&](std::vector<float>& to, compute mode) {
                const matrix_view<const float> X{x.data(), n, k};
                CHECK(qgemm<F>(matrix_view<float>{to.data(), n, rows}, X, *q, {.mode = mode}, {.room = room}).ok());
            };
            multiply(y, compute::integer);
            multiply(exact, compute::exact);
            for (std::size_t i = 0; i < y.size(); ++i) {
                CHECK(std::isfinite(exact[i]));
                const double off = std::fabs(static_cast<double>(y[i]) - static_cast<double>(exact[i]));
                CHECK(off <= 0.02 * static_cast<double>(size_of_row(i % rows)) * 1e-6);
            }
            x[2 * k + 5] = std::numeric_limits<float>::infinity();
            multiply(y, compute::integer);
            for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i / rows == 2));
            x[2 * k + 5] = 0;
        }
    }
}
