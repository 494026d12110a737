#pragma once
// Y = X * W^T as stages of tasks, whatever the format, the element types, the mode and the room: compiled once.
#include "../core/floats_view.hpp"
#include "../core/options.hpp"
#include "../core/parallel.hpp"
#include "../store/qmatrix.hpp"
#include "gemm_plan.hpp"

#include <initializer_list>

namespace qlib::inline QLIB_ABI::detail {

/// All that packed activations depend on, but for the activations. Products with equal ones can share them.
struct packed_like {
    isa room{};
    bool integer = false;
    std::size_t padded = 0, groups = 0, group = 0, flush = 0, span = 0;
    int bias = 0;
    std::size_t dot_groups = 0;  ///< 0: not for dot kernels
    int row_start = 0;
    friend constexpr bool operator==(const packed_like&, const packed_like&) = default;
};

/// What a product is made of. Trivially copyable; all zeros: nothing to multiply.
struct planned_product {
    floats_span Y;
    floats_view X;
    const gemm_format* format;
    const product_kernels* kernels;
    bool integer;
    gemm_plan p;
    panel_memory shape;         ///< of a worker's panel, without its addresses
    std::size_t panel;          ///< rows of W in it
    integer_activations codes;  ///< packed activations: these, or
    float* floats;              ///< these
    bool dots;                  ///< rows of W are streamed past
    row_activations row_codes;  ///< these
    std::byte* workers;         ///< their memory, `apart` bytes from one to the next
    std::size_t apart;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Weights to an activation scale. error: argument.
inline result<std::size_t> activation_span(const gemm_format& f, std::size_t asked, std::size_t k) noexcept {
    if (asked == 0) return f.row_maps ? k : f.group >= 256 ? f.group : 256 / f.group * f.group;
    if (asked != k && asked % f.group != 0)
        return error{errc::argument,
                     "activation groups of {0} are neither whole groups of {1} nor a row of {2}",
                     "activation_group",
                     {asked, f.group, k}};
    return asked;
}

/// Rows of W to a task: few enough that all workers have some, never less than a tile.
inline std::size_t rows_per_panel(std::size_t rows, std::size_t workers) noexcept {
    return smaller_size(panel_rows, round_up(divide_up(rows, saturating_multiply(workers, 4)), tile_rows));
}

/// A product of n x k activations of type X, rows x k weights and results of type Y, for some workers.
inline planned_product plan_product(const gemm_format& f, const product_kernels& k, bool integer, std::size_t n,
                                    std::size_t rows, std::size_t cols, std::size_t span,
                                    std::size_t workers) noexcept {
    planned_product s{};
    s.format = &f;
    s.kernels = &k;
    s.integer = integer;
    s.p = integer ? plan_integer(f, n, rows, cols, span, k.tiles->most_summed) : plan_exact(f, n, rows, cols);
    s.shape = integer ? integer_memory(f, s.p) : exact_memory(f, s.p);
    s.panel = rows_per_panel(rows, workers);
    s.dots = integer && k.dot != nullptr && n <= k.tiles->most_dotted;
    if (s.dots) {
        const std::size_t groups = saturating_multiply(divide_up(s.p.groups, f.dot_groups), f.dot_groups);
        s.row_codes.codes_apart = saturating_multiply(groups, s.p.padded);
        s.row_codes.groups_apart = round_up(groups, dot_groups_most) + dot_groups_most;
    }
    return s;
}

/// Rows of packed activations for dot kernels: whole vectors of them.
inline std::size_t dot_rows_of(const planned_product& s) noexcept {
    return s.p.n == 1 ? 1 : round_up(s.p.n, s.kernels->tiles->dot_columns);
}

/// Bytes of packed activations.
inline std::size_t activation_bytes(const planned_product& s) noexcept {
    const gemm_plan& p = s.p;
    if (!s.integer) return workspace::piece<float>(saturating_multiply(p.n, p.k));
    const auto sum_of = [](std::initializer_list<std::size_t> pieces) {
        std::size_t all = 0;
        for (const std::size_t piece : pieces) all = saturating_add(all, piece);
        return all;
    };
    if (s.dots) {
        const std::size_t codes = saturating_multiply(dot_rows_of(s), s.row_codes.codes_apart),
                          maps = workspace::piece<float>(saturating_multiply(dot_rows_of(s), s.row_codes.groups_apart));
        return sum_of({workspace::piece<std::int8_t>(codes), workspace::piece<std::int32_t>(codes / 4), maps, maps});
    }
    const std::size_t codes = saturating_multiply(p.n, saturating_multiply(p.groups, p.padded)),
                      sums = saturating_multiply(p.n, p.flushes());
    return sum_of({workspace::piece<std::int8_t>(codes), workspace::piece<float>(saturating_multiply(p.n, p.spans())),
                   workspace::piece<std::int32_t>(sums), workspace::piece<float>(sums)});
}
/// Where they lie.
inline void take_activations(planned_product& s, workspace& memory) noexcept {
    const gemm_plan& p = s.p;
    if (!s.integer) {
        s.floats = memory.take<float>(p.n * p.k);
        return;
    }
    if (s.dots) {
        const std::size_t rows = dot_rows_of(s), codes = rows * s.row_codes.codes_apart;
        s.row_codes.codes = memory.take<std::int8_t>(codes);
        s.row_codes.start = memory.take<std::int32_t>(codes / 4);
        s.row_codes.scale = memory.take<float>(rows * s.row_codes.groups_apart);
        s.row_codes.sum = memory.take<float>(rows * s.row_codes.groups_apart);
        return;
    }
    const std::size_t sums = p.n * p.flushes();
    s.codes = {memory.take<std::int8_t>(p.n * p.groups * p.padded), memory.take<float>(p.n * p.spans()),
               memory.take<std::int32_t>(sums), memory.take<float>(sums)};
}
inline packed_like packed_as(const planned_product& s) noexcept {
    if (!s.integer) return {.room = s.kernels->room};
    return {s.kernels->room, true, s.p.padded, s.p.groups, s.format->group, s.p.flush, s.p.span, s.kernels->bias,
            s.dots ? s.format->dot_groups : 0, s.dots ? s.kernels->row_start : 0};
}

/// Bytes of the tiles of a panel; of a worker's panel with its stage; of the floats that elements which are none pass
/// through: some of X's rows, or a panel's columns of Y.
inline std::size_t tile_bytes(const planned_product& s) noexcept {
    return saturating_multiply(s.shape.tile_bytes, divide_up(s.panel, tile_rows));
}
inline std::size_t panel_bytes(const planned_product& s) noexcept {
    if (s.dots) return s.format->chunk() * s.format->block * sizeof(float);  // of mend_overflows
    return saturating_add(tile_bytes(s), s.shape.stage_bytes());
}
inline std::size_t worker_bytes(const planned_product& s) noexcept {
    const std::size_t of_x =
        s.X.type == element::float32 ? 0 : saturating_multiply(s.kernels->tiles->tile_columns, s.p.k);
    const std::size_t of_y = s.Y.type == element::float32 ? 0 : saturating_multiply(s.p.n, s.panel);
    return saturating_add(workspace::piece<std::byte>(panel_bytes(s)),
                          workspace::piece<float>(larger_size(of_x, of_y)));
}

/// Stage 0 packs the activations, stage 1 multiplies. Tasks of a stage may run in any order and at once.
inline std::size_t tasks_of(const planned_product& s, std::size_t stage) noexcept {
    if (stage == 1) return divide_up(s.p.rows, s.panel);
    return s.dots ? s.p.n : divide_up(s.p.n, s.kernels->tiles->tile_columns);
}

/// Row `task` of X, and behind the last what a dot kernel reads besides.
inline void pack_row_task(const planned_product& s, std::size_t task, float* floats) noexcept {
    const float* x = floats;
    if (s.X.type == element::float32) x = static_cast<const float*>(s.X.at(task, 0));
    else widen_elements(s.X.at(task, 0), s.X.type, s.p.k, floats);
    s.kernels->tiles->pack_row(s.p, s.format->group, s.kernels->row_start, x, s.row_codes.from(task));
    for (std::size_t j = s.p.n; task + 1 == s.p.n && j < dot_rows_of(s); ++j) s.row_codes.from(j).clear();
}

inline void pack_task(const planned_product& s, std::size_t task, float* floats) noexcept {
    if (s.dots) return pack_row_task(s, task, floats);
    const tile_kernels& tiles = *s.kernels->tiles;
    const std::size_t first = task * tiles.tile_columns, count = smaller_size(tiles.tile_columns, s.p.n - first);
    matrix_view<const float> rows = s.X.as<float>().row_range(first, s.X.type == element::float32 ? count : 0);
    if (s.X.type != element::float32) {
        for (std::size_t j = 0; j < count; ++j)
            widen_elements(s.X.at(first + j, 0), s.X.type, s.p.k, floats + j * s.p.k);
        rows = {floats, count, s.p.k};
    }
    if (s.integer) tiles.pack_activations(s.p, s.format->group, s.kernels->bias, rows, first, s.codes);
    else tiles.pack_floats(s.p.k, rows, first, s.floats);
}

/// The end of multiply_rows for integers. They are summed in units of weights times 127, before the scales of
/// activations make them small: from weights of 2^90 on that may overflow, as may a scale times a zero point. What was
/// lost so, infinite or NaN, is replaced by what the exact way makes of it, unless X is not finite. `memory`: for the
/// floats of a chunk of weights.
[[gnu::__noinline__]] inline void mend_overflows(const planned_product& s, const void* W, std::size_t row,
                                                 matrix_view<float> Y, float* memory) noexcept {
    const auto x_is_finite = [&](std::size_t j) {
        float x = 0;
        for (std::size_t i = 0; i < s.p.k && is_finite(x); ++i) widen_elements(s.X.at(j, i), s.X.type, 1, &x);
        return is_finite(x);
    };
    for (std::size_t j = 0; j < Y.rows; ++j) {
        bool lost = false;
        for (std::size_t r = 0; r < Y.cols; ++r) lost = lost || !is_finite(Y(j, r));
        if (!lost || !x_is_finite(j)) continue;
        for (std::size_t r = 0; r < Y.cols; ++r)
            if (!is_finite(Y(j, r)))
                Y(j, r) = s.kernels->tiles->exact_element(*s.format, *s.kernels, W, row + r, s.X, j, memory);
    }
}

/// Rows [row, row + Y.cols) of W against all of X; Y: the columns of the product that these rows make.
inline void multiply_rows(const planned_product& s, const void* W, std::size_t row, matrix_view<float> Y,
                          const panel_memory& m) noexcept {
    const product_kernels& k = *s.kernels;
    const std::size_t depth = s.dots ? 0 : s.integer ? s.p.groups : s.p.k;
    const auto fill = s.integer ? k.fill : k.fill_exactly;
    bool finite = true;
    if (s.dots) finite = k.dot(s.p, W, row, s.row_codes, Y);
    for (std::size_t first = 0; first < depth; first += s.p.stretch) {
        const std::size_t end = smaller_size(first + s.p.stretch, depth);
        for (std::size_t t = 0; t * tile_rows < Y.cols; ++t)
            fill(s.p, W, row + t * tile_rows, smaller_size(tile_rows, Y.cols - t * tile_rows), first, end, m, t);
        if (s.integer) finite = k.multiply(s.p, m, Y.cols, first, end, s.codes, Y);
        else k.tiles->multiply_exactly(s.p, m, Y.cols, first, end, s.floats, Y);
    }
    if (!finite) mend_overflows(s, W, row, Y, reinterpret_cast<float*>(m.panel));
}

inline void run_task(const planned_product& s, std::size_t stage, std::size_t task, std::size_t worker,
                     const void* W) noexcept {
    std::byte* const own = s.workers + worker * s.apart;
    auto* const floats = reinterpret_cast<float*>(own + workspace::piece<std::byte>(panel_bytes(s)));
    if (stage == 0) return pack_task(s, task, floats);
    const std::size_t row = task * s.panel, count = smaller_size(s.panel, s.p.rows - row);
    panel_memory m = s.shape;
    m.panel = own;
    m.stage = own + tile_bytes(s);
    if (s.Y.type == element::float32)
        return multiply_rows(s, W, row, {static_cast<float*>(s.Y.at(0, row)), s.p.n, count, s.Y.stride}, m);
    multiply_rows(s, W, row, {floats, s.p.n, count}, m);
    for (std::size_t j = 0; j < s.p.n; ++j) narrow_elements(floats + j * count, count, s.Y.at(j, row), s.Y.type);
}

/// The product over no inputs.
inline void set_zero(floats_span Y) noexcept {
    if (Y.cols == 0) return;  // perhaps nowhere
    for (std::size_t j = 0; j < Y.rows; ++j) std::memset(Y.at(j, 0), 0, Y.cols * element_bytes(Y.type));
}

template <class Room> inline constexpr tile_kernels tile_kernels_in = Room::tiles_of_room();
template <class Room, block_format F>
inline constexpr product_kernels product_kernels_in = Room::template product_of<F>(tile_kernels_in<Room>);

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
