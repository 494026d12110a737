#pragma once
// qview<F> and qspan<F>: a quantized matrix in foreign memory, read-only and writable.
#include "../core/memory.hpp"
#include "../format/concept.hpp"
#include "view_options.hpp"

namespace qlib::inline QLIB_ABI {

/// The planes of a matrix in format F, each where it lies: codes in one buffer, scales in another.
template <block_format F, class Byte = const std::byte> struct planes {
    std::array<std::span<Byte>, F::planes.size()> at = {};
    /// Distance between rows in each; 0: rows follow each other.
    std::array<std::size_t, F::planes.size()> row_bytes = {};
    std::span<Byte> outer = {};  ///< outer values, then the tensor's bytes; empty where F has none
};

namespace detail {

/// rows x cols as the wire sees it: a flat format whose blocks run over row ends is one long row.
struct wire_shape {
    std::size_t rows = 0, cols = 0;
};
template <block_format F> QLIB_INLINE constexpr wire_shape wire_shape_of(std::size_t rows, std::size_t cols) noexcept {
    if (has_flat_blocks<F> && cols % block_size<F> != 0) return {rows != 0, saturating_multiply(rows, cols)};
    return {rows, cols};
}

/// Bytes of plane p in one row of `cols` weights.
template <block_format F> QLIB_INLINE constexpr std::size_t row_bytes(std::size_t p, std::size_t cols) noexcept {
    const std::size_t whole = saturating_multiply(cols / block_size<F>, F::planes[p]);
    if constexpr (has_ragged_rows<F>) {
        if (const std::size_t rest = cols % block_size<F>; rest != 0)
            return saturating_add(whole, F::planes_of(rest)[p]);
    }
    return whole;
}

/// Bytes that plane p reaches over, with rows `pitch` apart; 0: tight.
template <block_format F>
QLIB_INLINE constexpr std::size_t plane_bytes(std::size_t p, wire_shape shape, std::size_t pitch) noexcept {
    const std::size_t tight = row_bytes<F>(p, shape.cols);
    return shape.rows == 0 ? 0 : saturating_add(saturating_multiply(shape.rows - 1, pitch != 0 ? pitch : tight), tight);
}

/// The size of a tile and how many of them a matrix has.
struct tile_grid {
    std::size_t rows, cols, across, down;
    QLIB_INLINE constexpr tile_grid(const extent& t, std::size_t matrix_rows, std::size_t matrix_cols) noexcept {
        const bool any = matrix_rows != 0 && matrix_cols != 0;
        if (t.flat) {
            rows = 1;
            cols = t.cols;
            across = any ? divide_up(saturating_multiply(matrix_rows, matrix_cols), cols) : 0;
            down = any ? 1 : 0;
        } else {
            rows = t.rows != 0 ? t.rows : matrix_rows;
            cols = t.cols != 0 ? t.cols : matrix_cols;
            across = any ? divide_up(matrix_cols, cols) : 0;
            down = any ? divide_up(matrix_rows, rows) : 0;
        }
    }
    [[nodiscard]] QLIB_INLINE constexpr std::size_t count() const noexcept { return saturating_multiply(across, down); }
};
template <block_format F> struct tiling : tile_grid {
    QLIB_INLINE constexpr tiling(std::size_t matrix_rows, std::size_t matrix_cols) noexcept
        : tile_grid(F::tile, matrix_rows, matrix_cols) {}
};

/// Rows [r0, r1) and columns [c0, c1) of tile t, which is not flat.
struct tile_rectangle {
    std::size_t r0, r1, c0, c1;
};
QLIB_INLINE constexpr tile_rectangle rectangle_of(const extent& tile, std::size_t rows, std::size_t cols,
                                                  std::size_t t) noexcept {
    const tile_grid tiles(tile, rows, cols);
    const std::size_t r0 = t / tiles.across * tiles.rows, c0 = t % tiles.across * tiles.cols;
    return {r0, smaller_size(r0 + tiles.rows, rows), c0, smaller_size(c0 + tiles.cols, cols)};
}

/// Bytes of the outer plane and of the tensor plane.
template <block_format F>
QLIB_INLINE constexpr std::size_t outer_plane_bytes(std::size_t rows, std::size_t cols) noexcept {
    if constexpr (has_outer<F>) return saturating_multiply(tiling<F>(rows, cols).count(), F::outer_bytes);
    else return 0;
}
template <block_format F>
inline constexpr std::size_t tensor_plane_bytes = [] {
    if constexpr (has_outer<F>) return std::size_t{F::tensor_bytes};
    else return std::size_t{0};
}();

/// What every function asks of a shape first.
template <block_format F>
QLIB_INLINE constexpr status check_shape(std::size_t rows, std::size_t cols, const char* operand) noexcept {
    constexpr std::size_t most = (std::numeric_limits<std::size_t>::max)() / 4;
    if (saturating_multiply(saturating_multiply(rows, cols), sizeof(float)) > most)
        return error{errc::shape, "{0} x {1} weights do not fit in memory", operand, {rows, cols}};
    if (!has_ragged_rows<F> && cols % block_size<F> != 0)
        return error{errc::ragged, "rows of {0} weights are not whole blocks of {1}", operand, {cols, block_size<F>}};
    return {};
}

}  // namespace detail

/// Bytes of a rows x cols matrix in format F: its planes in order, the outer plane, the tensor plane. The largest
/// size_t when that overflows.
template <block_format F> QLIB_INLINE constexpr std::size_t wire_size(std::size_t rows, std::size_t cols) noexcept {
    constexpr std::size_t most = (std::numeric_limits<std::size_t>::max)();
    const auto shape = detail::wire_shape_of<F>(rows, cols);
    if (shape.cols == most) return most;
    std::size_t sum = detail::outer_plane_bytes<F>(rows, cols);
    if (rows != 0 && cols != 0) sum = detail::saturating_add(sum, detail::tensor_plane_bytes<F>);
    for (std::size_t p = 0; p < F::planes.size(); ++p)
        sum = detail::saturating_add(sum, detail::saturating_multiply(shape.rows, detail::row_bytes<F>(p, shape.cols)));
    return sum;
}

/// Bits per weight of a rows x cols matrix, all scales counted.
template <block_format F>
[[nodiscard]] QLIB_INLINE constexpr double bits_per_weight(std::size_t rows, std::size_t cols) noexcept {
    constexpr std::size_t most = (std::numeric_limits<std::size_t>::max)();
    if (rows == 0 || cols == 0) return 0;
    while (wire_size<F>(rows, cols) == most) (rows > cols ? rows : cols) /= 2;  // as many, and the bytes have a number
    const double weights = static_cast<double>(rows) * static_cast<double>(cols);
    return 8.0 * static_cast<double>(wire_size<F>(rows, cols)) / weights;
}

/// A rows x cols matrix of weights in format F, in foreign memory: qview<F> reads,
/// qspan<F> also writes. Any address will do.
template <block_format F, class Byte> class basic_view {
public:
    using format_type = F;
    using pointers = plane_pointers<F, Byte>;

    QLIB_INLINE basic_view() noexcept = default;
    /// A writable view is a readable one.
    QLIB_INLINE operator basic_view<F, const std::byte>() const noexcept requires std::same_as<Byte, std::byte> {
        basic_view<F, const std::byte> v;
        for (std::size_t p = 0; p < planes_.size(); ++p) v.planes_[p] = planes_[p];
        v.pitch_ = pitch_;
        v.outer_ = outer_;
        v.tensor_ = tensor_;
        v.rows_ = rows_;
        v.cols_ = cols_;
        v.first_row_ = first_row_;
        v.tiles_across_ = tiles_across_;
        return v;
    }
    /// A matrix over bytes that hold it: planes in order, then the outer plane, then the tensor
    /// plane; wire_size<F>(rows, cols) in all. error: shape when the bytes are too few; ragged when
    /// rows are no whole blocks and F has no ragged rows.
    [[nodiscard]] QLIB_TAGGED static result<basic_view> over(std::span<Byte> bytes, std::size_t rows, std::size_t cols,
                                                             view_options<Byte> options = {}) noexcept {
        if (options.row_bytes != 0 && F::planes.size() != 1)
            return error{errc::shape,
                         "one distance of {0} bytes between the rows of {1} planes",
                         "view",
                         {options.row_bytes, F::planes.size()}};
        const auto shape = detail::wire_shape_of<F>(rows, cols);
        planes<F, Byte> where;
        where.row_bytes[0] = options.row_bytes;
        const auto take = [&bytes](std::size_t n) QLIB_INLINE_LAMBDA {  // all there is, if that is less: see below
            const auto part = bytes.first(n < bytes.size() ? n : bytes.size());
            bytes = bytes.subspan(part.size());
            return part;
        };
        for (std::size_t p = 0; p < F::planes.size(); ++p)
            where.at[p] = take(detail::plane_bytes<F>(p, shape, where.row_bytes[p]));
        where.outer = options.outer.empty() ? bytes : options.outer;
        return over(where, rows, cols);
    }
    /// A matrix over planes that lie apart. error: shape when one of them is too
    /// short, or rows are farther apart than that; ragged.
    [[nodiscard]] QLIB_TAGGED static result<basic_view> over(const planes<F, Byte>& where, std::size_t rows,
                                                             std::size_t cols) noexcept {
        if (const status s = detail::check_shape<F>(rows, cols, "view"); !s) return s.error();
        const auto shape = detail::wire_shape_of<F>(rows, cols);
        basic_view v;
        v.rows_ = rows;
        v.cols_ = cols;
        v.tiles_across_ = detail::tiling<F>(rows, cols).across;
        for (std::size_t p = 0; p < F::planes.size(); ++p) {
            const std::size_t tight = detail::row_bytes<F>(p, shape.cols),
                              pitch = where.row_bytes[p] != 0 ? where.row_bytes[p] : tight;
            if (pitch < tight)
                return error{
                    errc::shape, "rows of {1} bytes do not lie {0} apart, plane {2}", "view", {pitch, tight, p}};
            if (const std::size_t wanted = detail::plane_bytes<F>(p, shape, pitch); where.at[p].size() < wanted)
                return error{errc::shape,
                             "{2} x {3} weights need {1} bytes, there are {0}",
                             "view",
                             {where.at[p].size(), wanted, rows, cols}};
            v.pitch_[p] = pitch;
            v.planes_[p] = where.at[p].data();
        }
        const std::size_t tiles = detail::outer_plane_bytes<F>(rows, cols),
                          wanted = tiles + (rows * cols != 0 ? detail::tensor_plane_bytes<F> : 0);
        if (where.outer.size() < wanted)
            return error{errc::shape,
                         "{2} x {3} weights need {1} bytes of outer values, there are {0}",
                         "view",
                         {where.outer.size(), wanted, rows, cols}};
        v.outer_ = where.outer.data();
        v.tensor_ = wanted != 0 ? v.outer_ + tiles : v.outer_;
        return v;
    }

    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    /// Whether blocks stay inside rows; if not, the matrix can only be encoded and decoded as a whole.
    [[nodiscard]] QLIB_INLINE bool sliceable() const noexcept {
        return !has_flat_blocks<F> || cols_ % block_size<F> == 0;
    }

    /// `count` rows from row `first` on. error: shape, unsliceable.
    [[nodiscard]] QLIB_TAGGED result<basic_view> row_range(std::size_t first, std::size_t count) const noexcept {
        if (first > rows_ || count > rows_ - first)
            return error{errc::shape, "rows {0} to {1} of {2}", "row_range", {first, first + count, rows_}};
        if (!sliceable())
            return error{errc::unsliceable,
                         "blocks of {0} run over the ends of rows of {1}",
                         "row_range",
                         {block_size<F>, cols_}};
        basic_view v = *this;
        for (std::size_t p = 0; p < F::planes.size(); ++p) v.planes_[p] = planes_[p] + first * pitch_[p];
        v.rows_ = count;
        v.first_row_ = first_row_ + first;
        return v;
    }

    /// The planes of block b of wire row r.
    [[nodiscard]] QLIB_INLINE pointers block(std::size_t r, std::size_t b) const noexcept {
        pointers at{};
        for (std::size_t p = 0; p < F::planes.size(); ++p) at[p] = planes_[p] + r * pitch_[p] + b * F::planes[p];
        return at;
    }
    /// The outer value that covers column c of row r.
    [[nodiscard]] QLIB_INLINE typename F::outer outer(std::size_t r, std::size_t c) const noexcept {
        if constexpr (has_outer<F>) return F::load_outer(outer_ + tile_index(r, c) * F::outer_bytes, tensor_);
        else return {};
    }
    QLIB_INLINE void set_outer(std::size_t tile, const typename F::outer& o) const noexcept {
        if constexpr (has_outer<F>) F::store_outer(o, outer_ + tile * F::outer_bytes, tensor_);
    }

private:
    template <block_format, class> friend class basic_view;
    QLIB_INLINE std::size_t tile_index(std::size_t r, std::size_t c) const noexcept {
        constexpr extent t = F::tile;
        r += first_row_;
        if constexpr (t.flat) {
            return (r * cols_ + c) / t.cols;
        } else {
            std::size_t index = 0;
            if constexpr (t.rows != 0) index += r / t.rows * tiles_across_;
            if constexpr (t.cols != 0) index += c / t.cols;
            return index;
        }
    }

    pointers planes_{};
    std::array<std::size_t, F::planes.size()> pitch_{};
    Byte* outer_ = nullptr;
    Byte* tensor_ = nullptr;
    std::size_t rows_ = 0, cols_ = 0, first_row_ = 0, tiles_across_ = 0;
};

template <block_format F> using qview = basic_view<F, const std::byte>;
template <block_format F> using qspan = basic_view<F, std::byte>;

}  // namespace qlib::inline QLIB_ABI
