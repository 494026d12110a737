#pragma once
// Outer values: what covers more than a block is chosen before any block is encoded,
// from the weights of its whole tile.
#include "../core/parallel.hpp"
#include "../room/rooms.hpp"
#include "encoder.hpp"
#include "search_outer.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// visit(wire row, first column, weights) -> status for each block of tile t, in storage order, until one fails.
template <class Visit>
status for_each_block(const encode_job& job, const extent& tile, std::size_t t, const Visit& visit) noexcept {
    const std::size_t block = job.block, width = job.wire_cols;
    if (tile.flat) {
        const std::size_t end = smaller_size((t + 1) * tile.cols, job.W.rows * job.W.cols);
        for (std::size_t e = t * tile.cols; e < end; e += block)
            if (const status s = visit(e / width, e % width, smaller_size(block, end - e)); !s) return s;
        return {};
    }
    const tile_rectangle in = rectangle_of(tile, job.W.rows, job.W.cols, t);
    for (std::size_t r = in.r0; r < in.r1; ++r)
        for (std::size_t c = in.c0; c < in.c1; c += block)
            if (const status s = visit(r, c, smaller_size(block, in.c1 - c)); !s) return s;
    return {};
}

/// The statistics of a tile of clean numbers that lie as the tile wants them. False: look at it block by block.
inline bool fast_statistics(const encode_job& job, const extent& tile, std::size_t t, std::span<float> per_block,
                            tile_stats& stats) noexcept {
    const auto widen = job.kernels->widen_range;
    const floats_view& W = job.W;
    if (tile.flat) {
        if (W.stride != W.cols) return false;
        const std::size_t begin = t * tile.cols, end = smaller_size(begin + tile.cols, W.rows * W.cols);
        std::size_t count = 0;
        for (std::size_t e = begin; e < end; e += job.block) {
            float low = 0, high = 0;
            if (!widen(W.at(0, e), W.type, smaller_size(job.block, end - e), low, high)) return false;
            stats.low = smaller(stats.low, low);
            stats.high = larger(stats.high, high);
            per_block[count++] = larger(-low, high);
        }
        stats.block_abs_max = per_block.first(count);
        return true;
    }
    const tile_rectangle in = rectangle_of(tile, W.rows, W.cols, t);
    float low = 0, high = 0;
    for (std::size_t r = in.r0; r < in.r1; ++r)
        if (!widen(W.at(r, in.c0), W.type, in.c1 - in.c0, low, high)) return false;
    stats.low = low;
    stats.high = high;
    return true;
}

/// The statistics of a tile; abs-max per block goes to `per_block` where the tile is flat. Space for a block: x and w.
inline status tile_statistics(const encode_job& job, const extent& tile, std::size_t t, std::span<float> per_block,
                              tile_stats& stats, float* x, float* w) noexcept {
    if (fast_statistics(job, tile, t, per_block, stats)) return {};
    stats = {};
    std::size_t count = 0;
    const status s = for_each_block(job, tile, t, [&](std::size_t r, std::size_t c, std::size_t n) -> status {
        if (const status failed = read_weights(job, r, c, n, x, w); !failed) return failed;
        for (std::size_t i = 0; i < n; ++i) {
            stats.low = smaller(stats.low, x[i]);
            stats.high = larger(stats.high, x[i]);
        }
        if (count < per_block.size()) per_block[count++] = abs_max(x, n);
        return {};
    });
    stats.block_abs_max = per_block.first(count);
    return s;
}

/// Whether a fit may choose F's outer values by their error: each is the whole map
/// of a rectangle, and codes are of one weight.
template <class F>
inline constexpr bool judges_tiles =
    has_map_in_outer<F> && byte_codes<F> && !F::tile.flat && requires(affine a) {
        { F::outer_of(a) } -> std::same_as<typename F::outer>;
    };

/// Adds to `sums` what maps leave of n weights, see sum_errors.
using error_summer = void (*)(const level_rule& levels, const float* x, const float* w, std::size_t n,
                              const affine* maps, std::size_t count, error_sums* sums) noexcept;

/// Sums up what maps of a tile leave of its weights, in the room of a call. A tile whose importances are all zero is
/// judged as one without.
class tile_measure {
public:
    tile_measure(const encode_job& job, const tile_rectangle& in, const level_rule& levels, error_summer sum) noexcept
        : job_(job),
          in_(in),
          levels_(levels),
          sum_(sum) {
        if (job.importance.data != nullptr)
            heaviest_ = product(abs_max(job.importance.data + in_.c0, in_.c1 - in_.c0), job.importance_unit);
    }

    void operator()(const affine* maps, std::size_t count, error_sums* sums) const noexcept {
        constexpr std::size_t most = 2048;
        alignas(64) float x[most], w[most];
        std::size_t held = 0;
        const auto flush = [&] {
            for (; held % 16 != 0; ++held) x[held] = w[held] = 0;
            sum_(levels_, x, w, held, maps, count, sums);
            held = 0;
        };
        for (std::size_t r = in_.r0; r < in_.r1; ++r) {
            for (std::size_t c = in_.c0, n; c < in_.c1; c += n) {
                n = smaller_size(in_.c1 - c, most - held);
                read(r, c, n, x + held, w + held);
                if ((held += n) == most) flush();
            }
        }
        flush();
    }

private:
    /// Importances relative to the largest, the least counts a little; ones where there are none.
    void read(std::size_t r, std::size_t c, std::size_t n, float* x, float* w) const noexcept {
        (void)read_weights(job_, r, c, n, x, w);  // what it has to report tile_statistics has reported
        const float inverse = safe_reciprocal(heaviest_);
        for (std::size_t i = 0; i < n; ++i) w[i] = inverse != 0 ? product(w[i], inverse) + 0x1p-30f : 1.0f;
    }

    const encode_job& job_;
    tile_rectangle in_;
    const level_rule& levels_;
    error_summer sum_;
    float heaviest_ = 0;
};

/// What a fit may ask of a tile: error(outer) is the weighted squared error of its blocks
/// under an outer value, as the fit encodes them.
template <block_format F, class Fit> struct tile_judge {
    const encode_job& job;
    std::size_t t;
    float operator()(const typename F::outer& o) const noexcept {
        double sum = 0;
        (void)for_each_block(job, F::tile, t, [&](std::size_t r, std::size_t c, std::size_t n) -> status {
            float weights[block_size<F>], importances[block_size<F>], decoded[block_size<F>];
            if (!read_weights(job, r, c, n, weights, importances)) return {};  // reported by tile_statistics
            site<F> s{{weights, n}, {importances, job.importance.data != nullptr ? n : 0}, 0, o};
            if constexpr (!encodes_whole<Fit, F>) s.importance = some_importance(s.importance);
            const encoded<F> e = encode_block<F>(s, *static_cast<const Fit*>(job.fit));
            decode_codes<F>(e.params, e.code.data(), o, n, decoded);
            for (std::size_t i = 0; i < n; ++i) {
                const double d = static_cast<double>(weights[i]) - static_cast<double>(decoded[i]);
                sum += d * d * static_cast<double>(s.importance.empty() ? 1.0f : s.importance[i]);
            }
            return {};
        });
        return static_cast<float>(sum);
    }
};
/// The same, and error.measure, where the outer value is the whole map.
template <block_format F, class Fit>
requires judges_tiles<F>
struct tile_judge<F, Fit> {
    tile_measure measure;
    tile_judge(const encode_job& job, std::size_t t) noexcept
        : measure(job, rectangle_of(F::tile, job.W.rows, job.W.cols, t), level_rule_of<F>,
                  with_room(job.kernels->room, [](auto in) -> error_summer {
                      return &decltype(in)::template sum_errors<tile_level_kind_of<F>, F::map>;
                  })) {}
    float operator()(const typename F::outer& o) const noexcept {
        const affine a = map_of_outer<F>(o);
        error_sums sums{};
        measure(&a, 1, &sums);
        return static_cast<float>(judge_map<F>(a, sums).error);
    }
};

/// Whether the rows of a tile are known without the rest of the matrix.
QLIB_INLINE constexpr bool tiles_by_rows(const extent& tile) noexcept { return !tile.flat && tile.rows != 0; }
/// Rows of a band whose tiles are fitted right before it is encoded, while a core's cache holds it. 0: all tiles come
/// first, as there are no bands, or too few for threads to share. Tasks are whole bands, and the shape alone makes
/// these: their order decides which of two errors is found first.
inline std::size_t rows_of_band(const extent& tile, std::size_t rows, std::size_t cols) noexcept {
    constexpr std::size_t near_weights = 16384;
    if (!tiles_by_rows(tile) || !(tile.rows == 1 || rows / tile.rows >= 32)) return 0;
    return round_up(divide_up(near_weights, cols), tile.rows);
}

/// The outer values of a format under a fit.
struct outer_rule {
    extent tile;
    bool any;  ///< whether there are outer values at all
    /// Chooses and stores that of tile t. `mean`: of abs-max over all blocks of a tensor of flat tiles.
    status (*fit_tile)(const encode_job& job, std::size_t t, float mean) noexcept;
    /// Adds the abs-max of all blocks of tile t, which is flat, and their number.
    status (*add_abs_max)(const encode_job& job, std::size_t t, double& total, std::size_t& blocks) noexcept;
};

template <block_format F, class Fit> status fit_tile(const encode_job& job, std::size_t t, float mean) noexcept {
    std::array<float, F::tile.flat ? F::tile.cols / block_size<F> : 0> per_block{};
    float x[block_size<F>], w[block_size<F>];
    tile_stats stats;
    if (const status s = tile_statistics(job, F::tile, t, per_block, stats, x, w); !s) return s;
    stats.mean_abs_max = mean;
    const auto value = [&] {
        const auto& fit = *static_cast<const Fit*>(job.fit);
        const tile_judge<F, Fit> judge{job, t};
        if constexpr (requires { fit.template outer<F>(stats, judge); }) return fit.template outer<F>(stats, judge);
        else return F::fit_outer(stats);
    }();
    if (!is_finite(F::outer_scale(value)))
        return error{errc::overflow, "the scale of tile {0} is beyond its type's range", "W", {t}};
    static_cast<const qspan<F>*>(job.out)->set_outer(t, value);
    return {};
}
template <block_format F>
status add_abs_max(const encode_job& job, std::size_t t, double& total, std::size_t& blocks) noexcept {
    std::array<float, F::tile.cols / block_size<F>> per_block{};
    float x[block_size<F>], w[block_size<F>];
    tile_stats stats;
    if (const status s = tile_statistics(job, F::tile, t, per_block, stats, x, w); !s) return s;
    for (const float m : stats.block_abs_max) total += static_cast<double>(m);
    blocks += stats.block_abs_max.size();
    return {};
}
template <block_format F, class Fit>
inline constexpr outer_rule outer_rule_of = [] {
    outer_rule r{F::tile, has_outer<F>, nullptr, nullptr};
    if constexpr (has_outer<F>) r.fit_tile = &fit_tile<F, Fit>;
    if constexpr (has_outer<F> && F::tile.flat) r.add_abs_max = &add_abs_max<F>;
    return r;
}();

/// The mean of abs-max over all blocks of a tensor of flat tiles, in storage order.
inline status find_mean(const encode_job& job, const outer_rule& rule, float& mean) noexcept {
    double total = 0;
    std::size_t blocks = 0;
    for (std::size_t t = 0; t < tile_grid(rule.tile, job.W.rows, job.W.cols).count(); ++t)
        if (const status s = rule.add_abs_max(job, t, total, blocks); !s) return s;
    mean = blocks != 0 ? static_cast<float>(total / static_cast<double>(blocks)) : 0.0f;
    return {};
}

/// Chooses and stores the outer values of rows [first, first + count), which are whole tiles, or the last.
inline status fit_rows_of_tiles(const encode_job& job, const outer_rule& rule, std::size_t first,
                                std::size_t count) noexcept {
    const tile_grid tiles(rule.tile, job.W.rows, job.W.cols);
    for (std::size_t t = first / tiles.rows * tiles.across; t < divide_up(first + count, tiles.rows) * tiles.across;
         ++t)
        if (const status s = rule.fit_tile(job, t, 0); !s) return s;
    return {};
}

/// Chooses and stores all outer values. Formats without: nothing to do.
inline status fit_outer_values(const encode_job& job, const outer_rule& rule, call how) noexcept {
    if (!rule.any) return {};
    how.progress = {};  // the caller counts the work that follows
    float mean = 0;
    if (rule.tile.flat)
        if (const status s = find_mean(job, rule, mean); !s) return s;
    return for_each_task(how, tile_grid(rule.tile, job.W.rows, job.W.cols).count(),
                         [&](std::size_t t, std::size_t) { return rule.fit_tile(job, t, mean); });
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
