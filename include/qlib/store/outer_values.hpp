#pragma once
// Outer values: what covers more than a block is chosen before any block is encoded, from the weights of its whole tile.
#include "../core/parallel.hpp"
#include "../kernel/rooms.hpp"
#include "encode.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// visit(wire row, first column, weights) -> status for each block of tile t, in storage order, until one fails.
template <block_format F, class Visit>
status for_each_block(std::size_t rows, std::size_t cols, std::size_t t, const Visit& visit) noexcept {
    constexpr std::size_t block = block_size<F>;
    if constexpr (F::tile.flat) {
        const std::size_t width = wire_shape_of<F>(rows, cols).cols, end = smaller_size((t + 1) * F::tile.cols, rows * cols);
        for (std::size_t e = t * F::tile.cols; e < end; e += block)
            if (const status s = visit(e / width, e % width, smaller_size(block, end - e)); !s) return s;
    } else {
        const tile_rectangle in = rectangle_of<F>(rows, cols, t);
        for (std::size_t r = in.r0; r < in.r1; ++r)
            for (std::size_t c = in.c0; c < in.c1; c += block)
                if (const status s = visit(r, c, smaller_size(block, in.c1 - c)); !s) return s;
    }
    return {};
}

/// A room's widen_range: the range of n numbers, widened by what `low` and `high` hold. False: one of them is not finite, and the range is worth nothing.
template <class T> using range_widener = bool (*)(const T* x, std::size_t n, float& low, float& high);

/// The statistics of a tile of clean numbers that lie as the tile wants them. False: look at it block by block.
template <block_format F, class Fit, class T>
bool fast_statistics(const block_encoder<F, Fit, T>& encoder, std::size_t t, [[maybe_unused]] std::span<float> per_block,
                     tile_stats& stats, range_widener<T> widen_range) noexcept {
    if constexpr (F::tile.flat) {
        const auto& W = encoder.W;
        if (W.stride != W.cols) return false;
        const std::size_t begin = t * F::tile.cols, end = smaller_size(begin + F::tile.cols, W.rows * W.cols);
        std::size_t count = 0;
        for (std::size_t e = begin; e < end; e += block_size<F>) {
            float low = 0, high = 0;
            if (!widen_range(W.data + e, smaller_size(block_size<F>, end - e), low, high)) return false;
            stats.low = smaller(stats.low, low);
            stats.high = larger(stats.high, high);
            per_block[count++] = larger(-low, high);
        }
        stats.block_abs_max = per_block.first(count);
        return true;
    } else {
        const tile_rectangle in = rectangle_of<F>(encoder.W.rows, encoder.W.cols, t);
        float low = 0, high = 0;
        for (std::size_t r = in.r0; r < in.r1; ++r)
            if (!widen_range(encoder.W.row(r) + in.c0, in.c1 - in.c0, low, high)) return false;
        stats.low = low;
        stats.high = high;
        return true;
    }
}

/// The statistics of a tile; abs-max per block goes to `per_block` where the tile is flat.
template <block_format F, class Fit, class T>
status tile_statistics(const block_encoder<F, Fit, T>& encoder, std::size_t t, std::span<float> per_block, tile_stats& stats,
                       range_widener<T> widen_range) noexcept {
    if (fast_statistics(encoder, t, per_block, stats, widen_range)) return {};
    stats = {};
    std::size_t count = 0;
    const status s = for_each_block<F>(encoder.W.rows, encoder.W.cols, t, [&](std::size_t r, std::size_t c, std::size_t n) -> status {
        float weights[block_size<F>], importances[block_size<F>];
        site<F> block{};
        if (const status failed = encoder.read(r, c, n, weights, importances, block); !failed) return failed;
        const weight_range range = range_of({weights, n});
        stats.low = smaller(stats.low, range.low);
        stats.high = larger(stats.high, range.high);
        if (count < per_block.size()) per_block[count++] = abs_max(weights, n);
        return {};
    });
    stats.block_abs_max = per_block.first(count);
    return s;
}

/// Whether a fit may choose F's outer values by their error: each is the whole map of a rectangle, and codes are of one weight.
template <class F> inline constexpr bool judges_tiles = has_map_in_outer<F> && byte_codes<F> && F::vec == 1 && !F::tile.flat && requires(affine a) {
    { F::outer_of(a) } -> std::same_as<typename F::outer>;
};

/// Sums up what maps of a tile leave of its weights, in the room of a call. A tile whose importances are all zero is judged as one without.
template <block_format F, class Fit, class T> class tile_measure {
public:
    tile_measure(const block_encoder<F, Fit, T>& encoder, std::size_t t, isa room) noexcept
        : encoder_(encoder), room_(room), in_(rectangle_of<F>(encoder.W.rows, encoder.W.cols, t)) {
        if (encoder.importance.data == nullptr) return;
        for (std::size_t r = in_.r0; r < (encoder.importance.stride == 0 ? in_.r0 + 1 : in_.r1); ++r)
            heaviest_ = larger(heaviest_, abs_max(encoder.importance.row(r) + in_.c0, in_.c1 - in_.c0));
    }

    void operator()(const affine* maps, std::size_t count, error_sums* sums) const noexcept {
        constexpr std::size_t most = 2048;
        alignas(64) float x[most], w[most];
        std::size_t held = 0;
        const auto flush = [&] {
            for (; held % 16 != 0; ++held) x[held] = w[held] = 0;
            with_room(room_, [&](auto room) { decltype(room)::lanes::template sum_errors<F>(x, w, held, maps, count, sums); });
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
        site<F> s{};
        (void)encoder_.read(r, c, n, x, w, s);  // what it has to report tile_statistics has reported
        const float inverse = safe_reciprocal(heaviest_);
        for (std::size_t i = 0; i < n; ++i) w[i] = inverse != 0 ? product(w[i], inverse) + 0x1p-30f : 1.0f;
    }

    const block_encoder<F, Fit, T>& encoder_;
    isa room_;
    tile_rectangle in_;
    float heaviest_ = 0;
};

/// What a fit may ask of a tile: error(outer) is the weighted squared error of its blocks under an outer value, as the fit encodes them.
template <block_format F, class Fit, class T> struct tile_judge {
    const block_encoder<F, Fit, T>& encoder;
    std::size_t t;
    float operator()(const typename F::outer& o) const noexcept {
        double sum = 0;
        (void)for_each_block<F>(encoder.W.rows, encoder.W.cols, t, [&](std::size_t r, std::size_t c, std::size_t n) -> status {
            float weights[block_size<F>], importances[block_size<F>], decoded[block_size<F>];
            site<F> s{};
            s.outer = o;
            if (!encoder.read(r, c, n, weights, importances, s)) return {};  // reported by tile_statistics
            const encoded<F> e = encode_block<F>(s, encoder.fit);
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
template <block_format F, class Fit, class T>
    requires judges_tiles<F>
struct tile_judge<F, Fit, T> {
    tile_measure<F, Fit, T> measure;
    tile_judge(const block_encoder<F, Fit, T>& encoder, std::size_t t, isa room) noexcept : measure(encoder, t, room) {}
    float operator()(const typename F::outer& o) const noexcept {
        const affine a = map_of_outer<F>(o);
        error_sums sums{};
        measure(&a, 1, &sums);
        return static_cast<float>(judge_map<F>(a, sums).error);
    }
};

/// Whether the rows of a tile are known without the rest of the matrix.
template <class F> inline constexpr bool tiles_by_rows = has_outer<F> && !F::tile.flat && F::tile.rows != 0;
/// Rows of a band whose tiles are fitted right before it is encoded, while a core's cache holds it. 0: all tiles come first, as there are no bands, or too
/// few for threads to share. Tasks are whole bands, and the shape alone makes these: their order decides which of two errors is found first.
template <block_format F> std::size_t rows_of_band([[maybe_unused]] std::size_t rows, [[maybe_unused]] std::size_t cols) noexcept {
    constexpr std::size_t nearby = 16384;
    if constexpr (tiles_by_rows<F>)
        if (F::tile.rows == 1 || rows / F::tile.rows >= 32) return round_up(divide_up(nearby, cols), F::tile.rows);
    return 0;
}

/// Chooses the outer values of encoder.out.
template <block_format F, class Fit, class T> class outer_values {
public:
    outer_values(const block_encoder<F, Fit, T>& encoder, isa room) noexcept
        : encoder_(encoder), room_(room),
          widen_range_(with_room(room, [](auto in) -> range_widener<T> { return &decltype(in)::lanes::template widen_range<T>; })) {}

    /// The mean over all blocks of a tensor of flat tiles, in storage order, which fit_tile needs there. Others: nothing to do.
    status find_mean() noexcept {
        if constexpr (F::tile.flat) {
            double total = 0;
            std::size_t blocks = 0;
            for (std::size_t t = 0; t < tiling<F>(encoder_.W.rows, encoder_.W.cols).count(); ++t) {
                std::array<float, blocks_per_tile> per_block{};
                tile_stats stats;
                if (const status s = tile_statistics<F>(encoder_, t, per_block, stats, widen_range_); !s) return s;
                for (const float m : stats.block_abs_max) total += static_cast<double>(m);
                blocks += stats.block_abs_max.size();
            }
            mean_ = blocks != 0 ? static_cast<float>(total / static_cast<double>(blocks)) : 0.0f;
        }
        return {};
    }

    /// Chooses and stores the outer value of tile t. Tiles are independent.
    status fit_tile(std::size_t t) const noexcept {
        std::array<float, blocks_per_tile> per_block{};
        tile_stats stats;
        if (const status s = tile_statistics<F>(encoder_, t, per_block, stats, widen_range_); !s) return s;
        stats.mean_abs_max = mean_;
        const auto value = [&] {
            const auto judge = [&] {
                if constexpr (judges_tiles<F>) return tile_judge<F, Fit, T>(encoder_, t, room_);
                else return tile_judge<F, Fit, T>{encoder_, t};
            }();
            if constexpr (requires { encoder_.fit.template outer<F>(stats, judge); }) return encoder_.fit.template outer<F>(stats, judge);
            else return F::fit_outer(stats);
        }();
        if (!is_finite(F::outer_scale(value))) return error{errc::overflow, "the scale of tile {0} is beyond its type's range", "W", {t}};
        encoder_.out.set_outer(t, value);
        return {};
    }
    /// Those of rows [first, first + count), which are whole tiles, or the last.
    status fit_rows(std::size_t first, std::size_t count) const noexcept {
        const tiling<F> tiles(encoder_.W.rows, encoder_.W.cols);
        for (std::size_t t = first / tiles.rows * tiles.across; t < divide_up(first + count, tiles.rows) * tiles.across; ++t)
            if (const status s = fit_tile(t); !s) return s;
        return {};
    }

private:
    static constexpr std::size_t blocks_per_tile = F::tile.flat ? F::tile.cols / block_size<F> : 0;

    const block_encoder<F, Fit, T>& encoder_;
    isa room_;
    range_widener<T> widen_range_;
    float mean_ = 0;
};

/// Chooses and stores all outer values of encoder.out. Formats without outer values: nothing to do.
template <block_format F, class Fit, class T> status fit_outer_values([[maybe_unused]] const block_encoder<F, Fit, T>& encoder, call how) noexcept {
    how.progress = {};  // the caller counts the work that follows
    if constexpr (has_outer<F>) {
        outer_values<F, Fit, T> values(encoder, how.room);
        if (const status s = values.find_mean(); !s) return s;
        return for_each_task(how, tiling<F>(encoder.W.rows, encoder.W.cols).count(), [&](std::size_t t, std::size_t) { return values.fit_tile(t); });
    }
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
