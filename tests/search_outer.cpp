// The search of one map for a row, tensor or tile: its sums against the definition, its result against a thousand
// scales and against plain_fit.
#include "support/kernel_formats.hpp"
#include "support/matrix.hpp"
#include "support/rooms.hpp"

#include <doctest/doctest.h>
#include <qlib/fp8.hpp>
#include <qlib/integer.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cstring>

namespace {

using kernel_formats::row4, kernel_formats::tensor3, kernel_formats::tile4;
using qlib::affine, qlib::isa;
#define TILED qlib::fp8_e4m3_row, qlib::fp8_e5m2_tile128, qlib::int8_row, row4, tensor3, tile4

/// The first tile of a matrix, as a fit may judge it.
template <class F> struct judged_tile {
    qlib::matrix_view<const float> W;
    std::vector<float> importance;
    qlib::search_fit fit{};
    qlib::qmatrix<F> q = *qlib::qmatrix<F>::make(W.rows, W.cols);
    qlib::qspan<F> out = q.span();

    judged_tile(qlib::matrix_view<const float> weights, std::vector<float> w) : W(weights), importance(std::move(w)) {}
    judged_tile(const judged_tile&) = delete;

    [[nodiscard]] qlib::detail::encode_job job(isa room) const {
        const auto& kernels = qlib::detail::encoder_kernels_of<F, qlib::search_fit>(room);
        const std::size_t wire_cols = qlib::detail::wire_shape_of<F>(W.rows, W.cols).cols;
        return {W,
                {importance.data(), W.rows, W.cols, 0},
                1,
                qlib::non_finite::error,
                &fit,
                &out,
                qlib::block_size<F>,
                wire_cols,
                &kernels};
    }
    /// use(judge), in some room.
    template <class Use> auto with_judge(isa room, const Use& use) const {
        const qlib::detail::encode_job judged = job(room);
        return use(qlib::detail::tile_judge<F, qlib::search_fit>{judged, 0});
    }
    [[nodiscard]] std::size_t rows() const { return std::min(W.rows, qlib::detail::tiling<F>(W.rows, W.cols).rows); }
    [[nodiscard]] std::size_t cols() const { return std::min(W.cols, qlib::detail::tiling<F>(W.rows, W.cols).cols); }
    [[nodiscard]] qlib::tile_stats stats() const {
        qlib::tile_stats s;
        for (std::size_t r = 0; r < rows(); ++r)
            for (std::size_t c = 0; c < cols(); ++c) s = {std::min(s.low, W(r, c)), std::max(s.high, W(r, c))};
        return s;
    }
    [[nodiscard]] typename F::outer searched() const {
        return with_judge(isa::best, [&](const auto& judge) { return fit.template outer<F>(stats(), judge); });
    }

    /// By the definition, in doubles. Importance counts relative to the largest.
    [[nodiscard]] double error(const typename F::outer& o) const {
        const affine a = F::at(F::project({}, o), 0);
        const qlib::detail::to_levels<F> units(a, F::outer_scale(o));
        const float heaviest = importance.empty() ? 1.0f : *std::max_element(importance.begin(), importance.end());
        double sum = 0;
        for (std::size_t r = 0; r < rows(); ++r)
            for (std::size_t c = 0; c < cols(); ++c) {
                float y = 0;
                qlib::detail::choose_code<F>(a, F::outer_scale(o), units, &W.row(r)[c], nullptr, 1, &y);
                sum += (importance.empty() ? 1.0 : double{importance[c]} / double{heaviest}) *
                       (double{W(r, c)} - double{y}) * (double{W(r, c)} - double{y});
            }
        return sum;
    }
};

}  // namespace

TEST_CASE_TEMPLATE("a tile's error is that of its decoded weights, and the same bits in every room", F, TILED) {
    constexpr std::size_t rows = 5, cols = 150;
    const auto x = sample::weights(rows * cols, 1), w = sample::importance(cols, 2);
    for (const bool weighted : {false, true}) {
        const judged_tile<F> tile({x.data(), rows, cols}, weighted ? w : std::vector<float>{});
        for (const float shrink : {1.0f, 0.7f, 0.4f}) {
            qlib::tile_stats s = tile.stats();
            s.shrink = shrink;
            const auto o = F::fit_outer(s);
            const affine maps[2] = {qlib::detail::map_of_outer<F>(o), {}};
            qlib::detail::error_sums portable;
            tile.with_judge(isa::portable, [&](const auto& judge) { judge.measure(maps, 1, &portable); });
            for (const isa room : sample::rooms()) {
                const float error = tile.with_judge(room, [&](const auto& judge) { return judge(o); });
                CHECK(double{error} == doctest::Approx(tile.error(o)).epsilon(1e-5));
                qlib::detail::error_sums sums;
                tile.with_judge(room, [&](const auto& judge) { judge.measure(maps, 1, &sums); });
                CHECK(std::memcmp(&sums, &portable, sizeof sums) == 0);
            }
        }
    }
}

TEST_CASE_TEMPLATE("never worse than plain, near the best of a thousand ranges, wherever the weights lie", F, TILED) {
    constexpr std::size_t rows = 3, cols = 1000;
    constexpr double huge = std::same_as<typename F::stored_outer, qlib::f16> ? 1e4 : 1e30;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const auto x = sample::weights(rows * cols, seed, seed == 1 ? huge : seed == 2 ? 1e-30 : 0.02);
        const judged_tile<F> tile({x.data(), rows, cols},
                                  seed % 2 != 0 ? sample::importance(cols, seed) : std::vector<float>{});
        qlib::tile_stats s = tile.stats();
        const double found = tile.error(tile.searched()), plain = tile.error(F::fit_outer(s));
        double best = plain;
        for (int k = 1; k < 1000; ++k) {
            s.shrink = 1 - static_cast<float>(k) * 0.0008f;
            best = std::min(best, tile.error(F::fit_outer(s)));
        }
        CHECK(found <= plain);
        CHECK(found <= best * 1.02);
    }
}

TEST_CASE("importances of zero count as none; weights that no scale reaches keep the plain one") {
    const auto x = sample::weights(300, 7);
    using F = qlib::fp8_e4m3_row;
    const judged_tile<F> none({x.data(), 1, 300}, {}), zero({x.data(), 1, 300}, std::vector<float>(300, 0.0f));
    CHECK(none.searched().s == zero.searched().s);
    CHECK(none.searched().s != F::fit_outer(none.stats()).s);
    for (const float tiny : {0.0f, 1e-44f, 1e-37f}) {
        const std::vector<float> y(20, tiny);
        const judged_tile<F> tile({y.data(), 1, 20}, {});
        CHECK(tile.searched().s == F::fit_outer(tile.stats()).s);
    }
}

namespace {
/// A user's own fit, which chooses between two outer values by what is left of the tile.
struct choosy : qlib::plain_fit {
    template <class F, class Error> typename F::outer outer(const qlib::tile_stats& stats, const Error& error) const {
        qlib::tile_stats shrunk = stats;
        shrunk.shrink = 0.5f;
        const auto a = F::fit_outer(stats), b = F::fit_outer(shrunk);
        return error(b) < error(a) ? b : a;
    }
};
}  // namespace

TEST_CASE("a fit of the user's own may judge any outer value, of blocks with scales of their own too") {
    using F = kernel_formats::book3;  // E4M3 scales under one of the tensor: half of it saturates the largest
    auto x = sample::weights(480, 3);
    x[100] = 3;
    const auto q = qlib::quantize<F>({x.data(), 1, x.size()}, choosy{}),
               plain = qlib::quantize<F>({x.data(), 1, x.size()}, qlib::plain_fit{});
    REQUIRE(q.has_value());
    CHECK(std::ranges::equal(q->bytes(), plain->bytes()));
    const std::vector<float> ones(128, 1.0f);
    CHECK(qlib::quantize<tile4>({ones.data(), 1, 128}, choosy{})->view().outer(0, 0).s ==
          qlib::tile_stats{0, 1}.high / -8);
}
