#pragma once
// How a multiplication Y = X * W^T is cut up, and what its pieces look like in memory. The same in every room.
#include "../core/call.hpp"
#include "../core/floats_view.hpp"
#include "../core/matrix_view.hpp"
#include "../core/memory.hpp"
#include "operands.hpp"

#include <cstdint>

namespace qlib::inline QLIB_ABI::detail {

inline constexpr std::size_t tile_rows = 16;   // rows of W in one vector
inline constexpr std::size_t panel_rows = 64;  // rows of W that are unpacked before the activations pass by
// Columns of W, about, likewise: with 64 rows of bytes a quarter of a MiB, which stays in L2.
inline constexpr std::size_t panel_columns = 4096;
inline constexpr std::size_t chunk_columns = 256;  // of W that are unpacked before they are transposed, about

/// What a product asks of a format, the same in every room.
struct product_kernels;
struct gemm_format {
    std::size_t group, groups, block;
    bool integer;   ///< its levels are 8-bit integers, up to a power of two
    bool row_maps;  ///< one map covers a row
    std::size_t dot_groups;  ///< that a dot kernel takes at a time
    const product_kernels& (*in_room)(isa room) noexcept;

    /// Weights of a group, padded to whole dot products.
    [[nodiscard]] QLIB_INLINE constexpr std::size_t padded() const noexcept { return (group + 3) / 4 * 4; }
    /// Blocks that are unpacked before they are transposed.
    [[nodiscard]] QLIB_INLINE constexpr std::size_t chunk() const noexcept {
        return block < chunk_columns ? chunk_columns / block : 1;
    }
};

/// Sizes in groups of the format, but for the first four.
struct gemm_plan {
    std::size_t n = 0, rows = 0, k = 0;  // Y is (n, rows), X (n, k)
    std::size_t padded = 0;              // weights in a group, made a multiple of 4
    std::size_t groups = 0;              // of a row
    // Groups whose products share an int32: 1, or more where one map covers a row; divides span and stretch.
    std::size_t flush = 1;
    std::size_t span = 0;     // that share an activation scale
    std::size_t stretch = 0;  // unpacked at a time: whole blocks
    [[nodiscard]] QLIB_INLINE std::size_t spans() const noexcept { return divide_up(groups, span); }
    [[nodiscard]] QLIB_INLINE std::size_t flushes() const noexcept { return divide_up(groups, flush); }
};

/// Activations as bytes: for each tile of w rows of X, cut by the room's widths,
/// codes  [groups * padded / 4][w][4]  round_even(x * (127 / abs-max)), zero in the padding
/// scale  [spans][w]                   abs-max / 127; NaN where an activation is not finite
/// start  [flushes][w]                 bias * sum of codes: where the int32 sums begin
/// sum    [flushes][w]                 sum of codes, for maps with an offset
struct integer_activations {
    std::int8_t* codes;
    float* scale;
    std::int32_t* start;
    float* sum;
    [[nodiscard]] QLIB_INLINE integer_activations tile(const gemm_plan& p, std::size_t column) const noexcept {
        return {codes + column * p.groups * p.padded, scale + column * p.spans(), start + column * p.flushes(),
                sum + column * p.flushes()};
    }
};

/// Activations as bytes for dot kernels. Of each row, zeros behind the last group:
/// codes  [chunks * dot_groups * padded]      as above, in order
/// start  [the same / 4]                      row_start * sum of four codes: where int32 sums begin
/// scale  [chunks * dot_groups, and more]     as above, for each group
/// sum    [likewise]                          scale * sum of the group's codes
struct row_activations {
    std::int8_t* codes;
    std::int32_t* start;
    float *scale, *sum;
    std::size_t codes_apart, groups_apart;  ///< from row to row

    /// Zeros in the first row.
    QLIB_INLINE void clear() const noexcept {
        std::memset(codes, 0, codes_apart);
        std::memset(start, 0, codes_apart);
        std::memset(scale, 0, groups_apart * sizeof(float));
        std::memset(sum, 0, groups_apart * sizeof(float));
    }
    [[nodiscard]] QLIB_INLINE row_activations from(std::size_t row) const noexcept {
        return {codes + row * codes_apart, start + row * codes_apart / 4, scale + row * groups_apart,
                sum + row * groups_apart,  codes_apart,                   groups_apart};
    }
};

/// Weights of one tile of 16 rows as operands of the dot product, for a stretch:
/// codes   [stretch * padded / 4][16][4]
/// scale   [flushes][16]  of the map, the outer scale and the levels' multiplier in it
/// offset  [flushes][16]  that multiplies the sum of activations
struct integer_panel {
    std::uint8_t* codes;
    float* scale;
    float* offset;
};

/// What one worker needs, carved from one piece of memory; 64-byte aligned.
struct panel_memory {
    std::byte* panel;  // tiles of 16 rows, one after another
    std::byte* stage;  // 16 rows of a chunk
    std::size_t tile_bytes, codes_bytes, scale_bytes, stage_stride;
    [[nodiscard]] QLIB_INLINE std::size_t stage_bytes() const noexcept { return 16 * stage_stride + 64; }
};

/// What a room does for products of any format.
struct tile_kernels {
    std::size_t tile_columns;  ///< of Y in the widest tile
    std::size_t most_summed;   ///< products of bytes whose sum is exact
    /// Columns [column, column + X.rows) of the packed activations; `column` is a
    /// multiple of `tile_columns`, X.rows <= tile_columns.
    void (*pack_activations)(const gemm_plan&, std::size_t group, int bias, matrix_view<const float> X,
                             std::size_t column, const integer_activations& all) noexcept;
    void (*pack_floats)(std::size_t k, matrix_view<const float> X, std::size_t column, float* all) noexcept;
    void (*multiply_exactly)(const gemm_plan&, const panel_memory&, std::size_t rows, std::size_t first,
                             std::size_t end, const float* x, matrix_view<float> Y) noexcept;
    /// Element (j, row) as multiply_exactly makes it. `memory`: for the floats of a chunk of weights.
    float (*exact_element)(const gemm_format&, const product_kernels&, const void* W, std::size_t row, floats_view X,
                           std::size_t j, float* memory) noexcept;
    std::size_t most_dotted;  ///< rows of X up to which rows of W are streamed past them, where a format can;
    std::size_t dot_columns;  ///< so many at once, if there are two
    /// One row of X for dot kernels.
    void (*pack_row)(const gemm_plan&, std::size_t group, int start, const float* x,
                     const row_activations& to) noexcept;
};

/// A format in a room. `W` is a qview of the format.
struct product_kernels {
    isa room;
    const char* path;  ///< how codes are taken in
    const char* why;   ///< not faster
    const tile_kernels* tiles;
    int bias;       ///< of the operands
    int row_start;  ///< times four activations: bias, or 1 where a map's zero point takes it in; 0: not looked at
    /// All rows of X against the tiles of a panel, groups [first, end). False: Y is not finite.
    bool (*multiply)(const gemm_plan&, const panel_memory&, std::size_t rows, std::size_t first, std::size_t end,
                     const integer_activations&, matrix_view<float> Y) noexcept;
    /// Fills tile `t` of a panel with rows [row, row + rows), rows <= 16, and groups
    /// [first, end), `first` beginning a block.
    void (*fill)(const gemm_plan&, const void* W, std::size_t row, std::size_t rows, std::size_t first, std::size_t end,
                 const panel_memory&, std::size_t t) noexcept;
    /// The same with decoded weights [first, end).
    void (*fill_exactly)(const gemm_plan&, const void* W, std::size_t row, std::size_t rows, std::size_t first,
                         std::size_t end, const panel_memory&, std::size_t t) noexcept;
    /// decoder_kernels::decode.
    void (*decode)(const void* W, std::size_t row, std::size_t first, std::size_t end, std::size_t cols,
                   float* out) noexcept;
    /// Rows [row, row + Y.cols) of W against all rows of X, of which there are few. False: Y is not finite.
    /// Null: this room has no such kernel for the format.
    bool (*dot)(const gemm_plan&, const void* W, std::size_t row, const row_activations&,
                matrix_view<float> Y) noexcept;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Weights to a chunk: whole blocks.
template <class F>
inline constexpr std::size_t chunk_blocks = block_size<F> < chunk_columns ? chunk_columns / block_size<F> : 1;
/// Weights of a group, padded to whole dot products.
template <class F> inline constexpr std::size_t padded_group = (F::group + 3) / 4 * 4;
/// Groups that a dot kernel takes at a time: whole blocks, 512 weights about, at most as many as there are maps in a
/// vector. 0: it cannot.
inline constexpr std::size_t dot_groups_most = 16;
template <class F>
inline constexpr std::size_t dot_groups = [] {
    if (dot_groups_most % F::groups != 0) return std::size_t{0};
    std::size_t n = F::groups;
    while (n < dot_groups_most && (n * padded_group<F> < 512 || n * padded_group<F> % 128 != 0)) n *= 2;
    return n * padded_group<F> % 128 == 0 ? n : std::size_t{0};
}();
/// Bytes between rows of the stage: an odd number of cache lines, as rows must not share a cache set.
constexpr std::size_t stage_stride(std::size_t bytes) noexcept { return ((bytes + 63) / 64 | 1) * 64; }

constexpr std::size_t common_divisor(std::size_t a, std::size_t b) noexcept {
    while (b != 0) a = std::exchange(b, a % b);
    return a;
}

/// The plan of an integer product. span: weights that share an activation scale.
/// most: products whose sum is exact in the room.
inline gemm_plan plan_integer(const gemm_format& f, std::size_t n, std::size_t rows, std::size_t k, std::size_t span,
                              std::size_t most) noexcept {
    gemm_plan p{n, rows, k, f.padded(), divide_up(k, f.group)};
    const std::size_t wanted = f.group < panel_columns ? panel_columns / f.group : 1;
    p.stretch = wanted < f.groups ? f.groups : wanted / f.groups * f.groups;
    p.span = span >= k ? round_up(p.groups, p.stretch) : span / f.group;
    if (f.row_maps && f.group < most)
        p.flush = common_divisor(common_divisor(p.span, p.stretch), smaller_size(p.stretch, most / f.group));
    return p;
}
/// The plan of a product of decoded weights: groups are single weights.
inline gemm_plan plan_exact(const gemm_format& f, std::size_t n, std::size_t rows, std::size_t k) noexcept {
    constexpr std::size_t most = panel_columns / 4;
    return {n, rows, k, 1, k, 1, k, f.block < most ? most / f.block * f.block : f.block};
}

/// Bytes of one worker's memory, and where its parts lie. Transposition writes 16 words at a time: up to 15 too many.
inline panel_memory integer_memory(const gemm_format& f, const gemm_plan& p) noexcept {
    panel_memory m{};
    const std::size_t held = smaller_size(p.stretch, round_up(p.groups, f.groups));
    m.codes_bytes = (held * p.padded / 4 + 15) * 64;
    m.scale_bytes = divide_up(held, p.flush) * tile_rows * sizeof(float);
    m.tile_bytes = m.codes_bytes + 2 * m.scale_bytes;
    m.stage_stride = stage_stride(f.chunk() * f.groups * p.padded);
    return m;
}
inline panel_memory exact_memory(const gemm_format& f, const gemm_plan& p) noexcept {
    panel_memory m{};
    m.tile_bytes = (smaller_size(p.stretch, round_up(p.k, f.block)) + 15) * 64;
    m.stage_stride = stage_stride(f.chunk() * f.block * sizeof(float));
    return m;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
