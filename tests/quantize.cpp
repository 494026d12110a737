// quantize and quantize_into: strides, threads, reports, fits of the user's own, and one block at compile time.
#include "support/kernel_formats.hpp"
#include "support/matrix.hpp"
#include "support/own_format.hpp"
#include "support/threads.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <string_view>

namespace {

/// A fit of the user's own: the plain range, shrunk by a fifth.
struct shrunk_fit {
    static constexpr const char* name = "shrunk";
    template <qlib::block_format F> constexpr typename F::params block(const qlib::site<F>& s) const {
        std::array<qlib::affine, F::groups> wishes{};
        const auto plain = qlib::plain_fit{}.block<F>(s);
        for (std::size_t g = 0; g < F::groups; ++g) {
            const auto a = F::at(plain, g);
            const float o = qlib::outer_multiplies<F> ? F::outer_scale(s.outer) : 1.0f;
            wishes[g] = {0.8f * a.s * o, F::map == qlib::form::offset ? 0.8f * a.z * o : a.z};
        }
        return F::project(wishes, s.outer);
    }
};

constexpr std::array<float, 48> ramp = [] {
    std::array<float, 48> x{};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) / 47 - 0.5f;
    return x;
}();
// A user's format, encoded at compile time: its outer value is given, as there is no tensor to choose it from.
constexpr auto own_block = qlib::encode<witness::own>(ramp, qlib::plain_fit{}, 1.0f);
static_assert(own_block.size() == 19);
static_assert(own_block[0] == std::byte{0x30});  // E4M3 of 0.5

}  // namespace

TEST_CASE("an encoded block is the same at compile time and at run time") {
    volatile bool at_run_time = true;
    auto x = ramp;
    if (at_run_time) x[0] = ramp[0];
    CHECK(qlib::encode<witness::own>(x, qlib::plain_fit{}, 1.0f) == own_block);
}

TEST_CASE_TEMPLATE("any row stride and any number of threads give the same bytes", F, QLIB_WITNESSES) {
    const std::size_t rows = 23, cols = 2 * qlib::block_size<F>, stride = cols + 13;
    const auto x = sample::weights(rows * cols, 1);
    std::vector<float> spread(rows * stride, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t r = 0; r < rows; ++r)
        std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(r * cols), cols,
                    spread.begin() + static_cast<std::ptrdiff_t>(r * stride));
    test_threads pool(3);
    for (const qlib::fit f : {qlib::fit::plain, qlib::fit::search, qlib::fit::reference}) {
        const auto tight = qlib::quantize<F>({x.data(), rows, cols}, {.fit = f});
        const auto wide = qlib::quantize<F>({spread.data(), rows, cols, stride}, {.fit = f}, {.run = pool});
        REQUIRE(tight.has_value());
        REQUIRE(wide.has_value());
        CHECK(std::ranges::equal(tight->bytes(), wide->bytes()));
    }
}

TEST_CASE_TEMPLATE("a fit of the user's own works with every format", F, QLIB_WITNESSES) {
    const std::size_t cols = qlib::block_size<F>;
    const auto x = sample::weights(4 * cols, 2);
    qlib::call_report report;
    const auto q = qlib::quantize<F>({x.data(), 4, cols}, shrunk_fit{}, {}, {.report = &report});
    REQUIRE(q.has_value());
    CHECK(std::string_view(report.mode) == "shrunk");
    CHECK(report.room != qlib::isa::best);
}

namespace {

/// The same as its part does, but the library cannot know that.
struct own_project : kernel_formats::split4 {
    static constexpr params project(const std::array<qlib::affine, groups>& wishes, outer o) {
        return kernel_formats::split4::project(wishes, o);
    }
};
/// Whose scales nobody knows.
struct partless : kernel_formats::split4 {
private:
    using part = kernel_formats::split4::part;
};

}  // namespace

TEST_CASE("a format that misses the fastest way is told why") {
    const auto told = []<class F>(F*, const auto& fit) {
        const std::size_t cols = qlib::block_size<F>;
        const auto x = sample::weights(4 * cols, 2);
        qlib::call_report report;
        CHECK(qlib::quantize<F>({x.data(), 4, cols}, fit, {}, {.report = &report}).has_value());
        return std::string(report.path) + ": " + report.why;
    };
    const qlib::search_fit search{};
    CHECK(told(static_cast<own_format*>(nullptr), search) == "lanes: ");
    CHECK(told(static_cast<kernel_formats::split4*>(nullptr), search) == "lanes: ");
    CHECK(told(static_cast<own_project*>(nullptr), search) ==
          "lanes: project or at are not those of the format's part");
    CHECK(told(static_cast<kernel_formats::own_layout*>(nullptr), search) ==
          "lanes: the format has no store_params, or no bit layout that is known");
    CHECK(told(static_cast<partless*>(nullptr), search) == "blocks: the format has no part");
    CHECK(told(static_cast<own_format*>(nullptr), shrunk_fit{}) == "blocks: the fit makes one block at a time");
    CHECK(told(static_cast<kernel_formats::lattice8*>(nullptr), search) ==
          "blocks: codes of several weights, or of more than 8 bits");
}

TEST_CASE("quantize_into writes where it is told, at any address, and nowhere else") {
    const auto x = sample::weights(5 * 64, 3);
    std::vector<std::byte> bytes(1 + qlib::wire_size<qlib::q4_0>(5, 64) + 1, std::byte{0xAB});
    const auto to = qlib::qspan<qlib::q4_0>::over(std::span(bytes).subspan(1, bytes.size() - 2), 5, 64);
    REQUIRE(to.has_value());
    REQUIRE(qlib::quantize_into<qlib::q4_0>({x.data(), 5, 64}, *to, qlib::plain_fit{}).ok());
    const auto q = qlib::quantize<qlib::q4_0>({x.data(), 5, 64}, qlib::plain_fit{});
    CHECK(std::equal(q->bytes().begin(), q->bytes().end(), bytes.begin() + 1));
    CHECK(bytes.front() == std::byte{0xAB});
    CHECK(bytes.back() == std::byte{0xAB});
    CHECK(qlib::quantize_into<qlib::q4_0>({x.data(), 4, 64}, *to, qlib::plain_fit{}).error().code == qlib::errc::shape);
}

TEST_CASE("nothing is a matrix too; what cannot exist is an error") {
    CHECK(qlib::quantize<qlib::q4_k>({nullptr, 0, 256}, qlib::plain_fit{})->bytes().empty());
    CHECK(qlib::quantize<qlib::nf4_dq>({nullptr, 3, 0}, qlib::plain_fit{})->bytes().empty());
    CHECK(qlib::quantize<qlib::fp8_e4m3>({nullptr, 0, 0}, qlib::plain_fit{}).has_value());
    CHECK(qlib::quantize<qlib::q8_0>({nullptr, std::size_t{1} << 40, std::size_t{1} << 40}, qlib::plain_fit{})
              .error()
              .code == qlib::errc::shape);
    const auto ragged = qlib::quantize<qlib::q8_0>({nullptr, 1, 33}, qlib::plain_fit{});
    REQUIRE(!ragged.has_value());
    char text[120];
    CHECK(ragged.error().format(text, "blk.0.ffn_down.weight") ==
          "blk.0.ffn_down.weight: qmatrix: rows of 33 weights are not whole blocks of 32");
}

TEST_CASE("the reported error is that of the lowest row, whatever the threads do") {
    auto x = sample::weights(200 * 64, 4);
    x[190 * 64] = x[20 * 64 + 7] = std::numeric_limits<float>::infinity();
    test_threads pool(4);
    for (int i = 0; i < 20; ++i) {
        const auto q = qlib::quantize<qlib::q4_0>({x.data(), 200, 64}, qlib::plain_fit{}, {}, {.run = pool});
        REQUIRE(!q.has_value());
        CHECK(q.error().sizes[0] == 20);
        CHECK(q.error().sizes[1] == 7);
    }
}

TEST_CASE_TEMPLATE("f16 and bf16 weights count as the floats they are", F, qlib::q4_0, qlib::q4_k, witness::own,
                   qlib::nf4_dq, qlib::fp8_e4m3_tile128) {
    const std::size_t rows = 6, cols = 2 * qlib::block_size<F>;
    const auto x = sample::weights(rows * cols, 6);
    const auto same = [&]<class T>(T) {
        std::vector<T> half(x.size());
        std::vector<float> wide(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) {
            half[i] = T::from(x[i]);
            wide[i] = half[i].value();
        }
        const qlib::matrix_view<T> writable{half.data(), rows, cols};
        const qlib::matrix_view<const T> view = writable;
        const auto with = [&](const auto& fit) {
            const auto want = qlib::quantize<F>({wide.data(), rows, cols}, fit);
            const auto got = qlib::quantize<F>(view, fit);
            REQUIRE(got.has_value());
            CHECK(std::ranges::equal(want->bytes(), got->bytes()));
            auto into = qlib::qmatrix<F>::make(rows, cols);
            REQUIRE(qlib::quantize_into<F>(writable, into->span(), fit).ok());
            CHECK(std::ranges::equal(want->bytes(), into->bytes()));
        };
        with(qlib::plain_fit{});
        with(qlib::reference_fit{});
    };
    same(qlib::f16{});
    same(qlib::bf16{});
}
