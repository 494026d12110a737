#pragma once
// qgemm: activations times a quantized matrix.
#include "core/parallel.hpp"
#include "format/format.hpp"
#include "kernel/rooms.hpp"
#include "store/qmatrix.hpp"

namespace qlib::inline v0 {

/// What qgemm computes with.
enum class compute : std::uint8_t {
    automatic,  ///< integer where the format's levels are 8-bit integers up to a power of two, else exact
    integer,    ///< activations rounded to 8 bits on the fly, integer dot products
    exact,      ///< decoded weights times float activations
};

struct gemm_options {
    compute mode = compute::automatic;
    /// Integer mode: neighbours in a row of X that share a scale. A multiple of F::group, or the whole row; 0: the largest multiple of F::group up to
    /// 256 (F::group when that is larger), or the row where one map of the weights covers a row.
    std::size_t activation_group = 0;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Weights to an activation scale. error: argument.
template <block_format F> result<std::size_t> activation_span(std::size_t asked, std::size_t k) noexcept {
    if (asked == 0) return row_maps<F> ? k : F::group >= 256 ? F::group : 256 / F::group * F::group;
    if (asked != k && asked % F::group != 0)
        return error{errc::argument, "activation groups of {0} are neither whole groups of {1} nor a row of {2}", "activation_group", {asked, F::group, k}};
    return asked;
}

/// Rows of W to a task: few enough that all workers have some, never less than a tile.
inline std::size_t rows_per_panel(std::size_t rows, std::size_t workers) noexcept {
    return smaller_size(panel_rows, round_up(divide_up(rows, saturating_multiply(workers, 4)), tile_rows));
}

/// The panels of all workers, one after another in one piece of memory.
struct worker_panels {
    panel_memory shape;
    std::size_t rows, workers;
    [[nodiscard]] std::size_t tiles() const noexcept { return saturating_multiply(shape.tile_bytes, divide_up(rows, tile_rows)); }
    [[nodiscard]] std::size_t each() const noexcept { return saturating_add(tiles(), shape.stage_bytes()); }
    [[nodiscard]] std::size_t bytes() const noexcept { return saturating_multiply(each(), workers); }
    /// work(first row, rows, memory) -> void for all rows of W, in parallel.
    template <class Work> status run(std::size_t all, std::byte* memory, const call& how, const Work& work) const {
        return for_each_task(how, divide_up(all, rows), [&](std::size_t i, std::size_t worker) -> status {
            panel_memory m = shape;
            m.panel = memory + worker * each();
            m.stage = m.panel + tiles();
            work(i * rows, smaller_size(rows, all - i * rows), m);
            return {};
        });
    }
};

/// pack(first row, rows) for all n rows of X by tiles of `columns`, in parallel. A small part of the work: its progress is not told.
template <class Pack> status pack_rows(std::size_t n, std::size_t columns, call how, const Pack& pack) {
    how.progress = {};
    return for_each_task(how, divide_up(n, columns), [&](std::size_t i, std::size_t) -> status {
        pack(i * columns, smaller_size(columns, n - i * columns));
        return {};
    });
}

/// Y = X * W^T with integer dot products. `span`: weights that share an activation scale.
template <class Room, block_format F> struct integer_product {
    gemm_plan p;
    worker_panels panels;

    integer_product(std::size_t n, std::size_t rows, std::size_t k, std::size_t span, std::size_t workers) noexcept
        : p(plan_integer<F>(n, rows, k, span, Room::most_summed)), panels{integer_memory<F>(p), rows_per_panel(rows, workers), workers} {}
    [[nodiscard]] std::size_t scratch() const noexcept {
        const std::size_t sums = saturating_multiply(p.n, p.flushes());
        const std::size_t pieces[] = {workspace::piece<std::int8_t>(codes()), workspace::piece<float>(saturating_multiply(p.n, p.spans())),
                                      workspace::piece<std::int32_t>(sums), workspace::piece<float>(sums), workspace::piece<std::byte>(panels.bytes())};
        std::size_t all = 0;
        for (const std::size_t piece : pieces) all = saturating_add(all, piece);
        return all;
    }
    status run(matrix_view<float> Y, matrix_view<const float> X, const qview<F>& W, const call& how) const {
        workspace memory;
        if (const status s = memory.open(how, scratch()); !s) return s;
        const std::size_t sums = p.n * p.flushes();
        const integer_activations x{memory.take<std::int8_t>(codes()), memory.take<float>(p.n * p.spans()), memory.take<std::int32_t>(sums), memory.take<float>(sums)};
        const status packed = pack_rows(p.n, Room::columns, how, [&](std::size_t first, std::size_t count) {
            Room::pack_activations(p, F::group, form_of<F, Room::dot_form>.bias, X, first, count, x);
        });
        if (!packed) return packed;
        return panels.run(p.rows, memory.take<std::byte>(panels.bytes()), how, [&](std::size_t row, std::size_t rows, const panel_memory& m) {
            Room::template multiply_rows<F>(p, W, row, rows, x, Y, m);
        });
    }

private:
    [[nodiscard]] std::size_t codes() const noexcept { return saturating_multiply(p.n, saturating_multiply(p.groups, p.padded)); }
};

/// Y = X * W^T with decoded weights.
template <class Room, block_format F> struct exact_product {
    gemm_plan p;
    worker_panels panels;

    exact_product(std::size_t n, std::size_t rows, std::size_t k, std::size_t workers) noexcept
        : p(plan_exact<F>(n, rows, k)), panels{exact_memory<F>(p), rows_per_panel(rows, workers), workers} {}
    [[nodiscard]] std::size_t scratch() const noexcept {
        return saturating_add(workspace::piece<float>(saturating_multiply(p.n, p.k)), workspace::piece<std::byte>(panels.bytes()));
    }
    status run(matrix_view<float> Y, matrix_view<const float> X, const qview<F>& W, const call& how) const {
        workspace memory;
        if (const status s = memory.open(how, scratch()); !s) return s;
        float* const x = memory.take<float>(p.n * p.k);
        const status packed = pack_rows(p.n, Room::columns, how, [&](std::size_t first, std::size_t count) { Room::pack_floats(p.k, X, first, count, x); });
        if (!packed) return packed;
        return panels.run(p.rows, memory.take<std::byte>(panels.bytes()), how, [&](std::size_t row, std::size_t rows, const panel_memory& m) {
            Room::template multiply_rows_exactly<F>(p, W, row, rows, x, Y, m);
        });
    }
};

/// use(product) for the way that mode asks for, `integer` only where the format has integer levels.
template <class Room, block_format F, class Use>
auto with_product(bool integer, std::size_t n, std::size_t rows, std::size_t k, std::size_t span, std::size_t workers, const Use& use) {
    if constexpr (static_cast<bool>(integer_levels_of<F>))
        if (integer) return use(integer_product<Room, F>(n, rows, k, span, workers));
    return use(exact_product<Room, F>(n, rows, k, workers));
}

/// Whether a call computes with integers.
template <block_format F> bool uses_integers(compute mode) noexcept { return integer_levels_of<F> && mode != compute::exact; }

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Y = X * W^T.
///
/// Y        (n, rows) row-major, any row stride; may overlap neither X nor the weights
/// X        (n, k) row-major, any row stride
/// weights  rows x k in format F
/// error    shape; unsliceable when blocks run over row ends; unsupported when call.room cannot be had or integers are asked of levels that
///          are none; argument for an activation group that cuts groups; memory, scratch, cancelled
/// exact    the same bits for any number of threads. Integer: each activation group is rounded to round_even(x * (127 / abs-max)) * (abs-max / 127),
///          below 2^-100 to zero; dot products are exact, their sums over groups f32. A NaN or an infinity in row i of X makes row i of Y NaN.
///          Exact: dequantize's weights and X in f32, NaN and infinities as IEEE 754 has them.
template <block_format F>
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, qview<F> weights, gemm_options options = {}, call how = {}) noexcept {
    const std::size_t k = weights.cols();
    if (X.cols != k || Y.rows != X.rows || Y.cols != weights.rows())
        return error{errc::shape, "X has {0} columns for {1} x {2} weights, or Y is not {3} rows of one value per row of weights", "X", {X.cols, weights.rows(), k, X.rows}};
    if (!weights.sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "weights", {block_size<F>, k}};
    if (options.mode == compute::integer && !detail::integer_levels_of<F>)
        return error{errc::unsupported, "the levels of this format have no 8-bit integer form", "mode", {}};
    const auto span = detail::activation_span<F>(options.activation_group, k);
    if (!span) return span.error();
    if (const status s = check_room(how.room); !s) return s;
    return detail::with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        const bool integer = detail::uses_integers<F>(options.mode);
        if (how.report != nullptr) *how.report = {Room::id, integer ? "integer" : "exact", detail::path_of<Room, F>};
        if (Y.rows == 0 || Y.cols == 0) return {};
        if (k == 0) {
            for (std::size_t j = 0; j < Y.rows; ++j) std::memset(Y.row(j), 0, Y.cols * sizeof(float));
            return {};
        }
        return detail::with_product<Room, F>(integer, X.rows, weights.rows(), k, *span, how.run.workers(),
                                             [&](const auto& product) { return product.run(Y, X, weights, how); });
    });
}
template <block_format F>
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, const qmatrix<F>& weights, gemm_options options = {}, call how = {}) noexcept {
    return qgemm<F>(Y, X, weights.view(), options, how);
}

/// The bytes of call.scratch that qgemm asks for, with n rows of X and rows x k weights. 0 for what qgemm would refuse.
template <block_format F>
[[nodiscard]] std::size_t qgemm_scratch_bytes(std::size_t n, std::size_t rows, std::size_t k, gemm_options options = {}, const call& how = {}) noexcept {
    const auto span = detail::activation_span<F>(options.activation_group, k);
    if (!span || !has_room(how.room) || n == 0 || rows == 0 || k == 0) return 0;
    return detail::with_room(how.room, [&](auto room) {
        return detail::with_product<decltype(room), F>(detail::uses_integers<F>(options.mode), n, rows, k, *span, how.run.workers(),
                                                       [](const auto& product) { return detail::workspace::asked(product.scratch()); });
    });
}

}  // namespace qlib::inline v0::inline QLIB_BASE
