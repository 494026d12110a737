#pragma once
// qgemm: activations times a quantized matrix.
#include "core/options.hpp"
#include "core/parallel.hpp"
#include "format/format.hpp"
#include "kernel/rooms.hpp"
#include "store/encode.hpp"
#include "store/qmatrix.hpp"

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

/// The panel of a worker, in memory of its own.
struct worker_panel {
    panel_memory shape;
    std::size_t rows;
    [[nodiscard]] std::size_t tiles() const noexcept { return saturating_multiply(shape.tile_bytes, divide_up(rows, tile_rows)); }
    [[nodiscard]] std::size_t bytes() const noexcept { return saturating_add(tiles(), shape.stage_bytes()); }
    [[nodiscard]] panel_memory in(std::byte* memory) const noexcept {
        panel_memory m = shape;
        m.panel = memory;
        m.stage = m.panel + tiles();
        return m;
    }
};

/// Activations and results that are no floats pass through floats: a tile of X's rows, a panel's columns of Y, one of each per worker.
template <class X, class Y> struct conversions {
    std::size_t columns, k, n, rows;
    [[nodiscard]] std::size_t of_x() const noexcept { return std::same_as<X, float> ? 0 : saturating_multiply(columns, k); }
    [[nodiscard]] std::size_t of_y() const noexcept { return std::same_as<Y, float> ? 0 : saturating_multiply(n, rows); }
    [[nodiscard]] std::size_t floats() const noexcept { return larger_size(of_x(), of_y()); }

    /// Rows [first, first + count) of x, as floats.
    [[nodiscard]] matrix_view<const float> floats_of(matrix_view<const X> x, std::size_t first, std::size_t count, float* memory) const noexcept {
        if constexpr (std::same_as<X, float>) {
            return x.row_range(first, count);
        } else {
            for (std::size_t j = 0; j < count; ++j)
                for (std::size_t i = 0; i < k; ++i) memory[j * k + i] = x(first + j, i).value();
            return {memory, count, k};
        }
    }
    /// multiply(floats) and its result to columns [row, row + count) of y.
    template <class Multiply> void results_to(matrix_view<Y> y, std::size_t row, std::size_t count, float* memory, const Multiply& multiply) const noexcept {
        if constexpr (std::same_as<Y, float>) {
            multiply({y.data + row, y.rows, count, y.stride});
        } else {
            multiply({memory, n, count});
            for (std::size_t j = 0; j < n; ++j)
                for (std::size_t i = 0; i < count; ++i) y(j, row + i) = Y::from(memory[j * count + i]);
        }
    }
};

/// All that packed activations depend on, but for the activations. Products with equal ones can share them.
struct packed_like {
    isa room = isa::best;
    bool integer = false;
    std::size_t padded = 0, groups = 0, group = 0, flush = 0, span = 0;
    int bias = 0;
    friend constexpr bool operator==(const packed_like&, const packed_like&) = default;
};

/// Y = X * W^T with integer dot products: two stages, each of independent tasks. `span`: weights that share an activation scale.
template <class Room, block_format F> struct integer_way {
    gemm_plan p;
    panel_memory shape;
    integer_activations x{};

    integer_way(std::size_t n, std::size_t rows, std::size_t k, std::size_t span) noexcept
        : p(plan_integer<F>(n, rows, k, span, Room::most_summed)), shape(integer_memory<F>(p)) {}
    [[nodiscard]] std::size_t scratch() const noexcept {
        const std::size_t sums = saturating_multiply(p.n, p.flushes());
        const std::size_t pieces[] = {workspace::piece<std::int8_t>(codes()), workspace::piece<float>(saturating_multiply(p.n, p.spans())),
                                      workspace::piece<std::int32_t>(sums), workspace::piece<float>(sums)};
        std::size_t all = 0;
        for (const std::size_t piece : pieces) all = saturating_add(all, piece);
        return all;
    }
    void take(workspace& memory) noexcept {
        const std::size_t sums = p.n * p.flushes();
        x = {memory.take<std::int8_t>(codes()), memory.take<float>(p.n * p.spans()), memory.take<std::int32_t>(sums), memory.take<float>(sums)};
    }
    void pack(matrix_view<const float> rows, std::size_t first) const noexcept {
        Room::pack_activations(p, F::group, form_of<F, Room::dot_form>.bias, rows, first, rows.rows, x);
    }
    [[nodiscard]] packed_like packing() const noexcept {
        return {Room::id, true, p.padded, p.groups, F::group, p.flush, p.span, form_of<F, Room::dot_form>.bias};
    }
    void multiply(matrix_view<float> Y, const qview<F>& W, std::size_t row, const panel_memory& m) const noexcept {
        Room::template multiply_rows<F>(p, W, row, Y.cols, x, Y, m);
    }

private:
    [[nodiscard]] std::size_t codes() const noexcept { return saturating_multiply(p.n, saturating_multiply(p.groups, p.padded)); }
};

/// Y = X * W^T with decoded weights.
template <class Room, block_format F> struct exact_way {
    gemm_plan p;
    panel_memory shape;
    float* x = nullptr;

    exact_way(std::size_t n, std::size_t rows, std::size_t k) noexcept : p(plan_exact<F>(n, rows, k)), shape(exact_memory<F>(p)) {}
    [[nodiscard]] std::size_t scratch() const noexcept { return workspace::piece<float>(saturating_multiply(p.n, p.k)); }
    void take(workspace& memory) noexcept { x = memory.take<float>(p.n * p.k); }
    void pack(matrix_view<const float> rows, std::size_t first) const noexcept { Room::pack_floats(p.k, rows, first, rows.rows, x); }
    [[nodiscard]] packed_like packing() const noexcept { return {.room = Room::id}; }
    void multiply(matrix_view<float> Y, const qview<F>& W, std::size_t row, const panel_memory& m) const noexcept {
        Room::template multiply_rows_exactly<F>(p, W, row, Y.cols, x, Y, m);
    }
};

/// A product as stages of tasks: 0 packs the activations, 1 multiplies. Tasks of a stage may run in any order and at once.
template <class Way, block_format F, weight_source XT, weight_source YT> class gemm_stages {
public:
    gemm_stages(const Way& way, std::size_t columns, std::size_t workers) noexcept
        : way_(way), columns_(columns), panel_{way.shape, rows_per_panel(way.p.rows, workers)}, conversions_{columns, way.p.k, way.p.n, panel_.rows} {}

    /// Of packed activations, and of what each worker writes while a task runs.
    [[nodiscard]] std::size_t activation_bytes() const noexcept { return way_.scratch(); }
    [[nodiscard]] std::size_t worker_bytes() const noexcept {
        return saturating_add(workspace::piece<std::byte>(panel_.bytes()), workspace::piece<float>(conversions_.floats()));
    }
    [[nodiscard]] std::size_t scratch(std::size_t workers) const noexcept { return saturating_add(activation_bytes(), saturating_multiply(worker_bytes(), workers)); }
    /// The workers' memory begins at `workers`, `apart` bytes from one to the next: products that run at once must agree on both.
    void take(workspace& activations, std::byte* workers, std::size_t apart) noexcept {
        way_.take(activations);
        workers_ = workers;
        apart_ = apart;
    }
    [[nodiscard]] packed_like packing() const noexcept { return way_.packing(); }
    [[nodiscard]] std::size_t tasks(std::size_t stage) const noexcept {
        return stage == 0 ? divide_up(way_.p.n, columns_) : divide_up(way_.p.rows, panel_.rows);
    }
    void run(std::size_t stage, std::size_t task, std::size_t worker, matrix_view<YT> Y, matrix_view<const XT> X, const qview<F>& W) const noexcept {
        std::byte* const own = workers_ + worker * apart_;
        const auto floats = reinterpret_cast<float*>(own + workspace::piece<std::byte>(panel_.bytes()));
        if (stage == 0) {
            const std::size_t first = task * columns_;
            return way_.pack(conversions_.floats_of(X, first, smaller_size(columns_, way_.p.n - first), floats), first);
        }
        const std::size_t row = task * panel_.rows, count = smaller_size(panel_.rows, way_.p.rows - row);
        const panel_memory m = panel_.in(own);
        conversions_.results_to(Y, row, count, floats, [&](matrix_view<float> y) { way_.multiply(y, W, row, m); });
    }

private:
    Way way_;
    std::size_t columns_;
    worker_panel panel_;
    conversions<XT, YT> conversions_;
    std::byte* workers_ = nullptr;
    std::size_t apart_ = 0;
};

/// use(stages) for the way that mode asks for, `integer` only where the format has integer levels.
template <class Room, block_format F, weight_source XT, weight_source YT, class Use>
auto with_stages(bool integer, std::size_t n, std::size_t rows, std::size_t k, std::size_t span, std::size_t workers, const Use& use) {
    if constexpr (static_cast<bool>(integer_levels_of<F>))
        if (integer) return use(gemm_stages<integer_way<Room, F>, F, XT, YT>({n, rows, k, span}, Room::columns, workers));
    return use(gemm_stages<exact_way<Room, F>, F, XT, YT>({n, rows, k}, Room::columns, workers));
}

/// Whether a call computes with integers.
template <block_format F> bool uses_integers(compute mode) noexcept { return integer_levels_of<F> && mode != compute::exact; }

/// What qgemm asks of its operands. Gives the activation group.
template <block_format F>
result<std::size_t> check_product(std::size_t y_rows, std::size_t y_cols, std::size_t x_rows, std::size_t x_cols, const qview<F>& W, const gemm_options& options, const call& how) noexcept {
    const std::size_t k = W.cols();
    if (x_cols != k || y_rows != x_rows || y_cols != W.rows())
        return error{errc::shape, "X has {0} columns for {1} x {2} weights, or Y is not {3} rows of one value per row of weights", "X", {x_cols, W.rows(), k, x_rows}};
    if (!W.sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "weights", {block_size<F>, k}};
    if (options.mode == compute::integer && !integer_levels_of<F>)
        return error{errc::unsupported, "the levels of this format have no 8-bit integer form", "mode", {}};
    if (const status s = check_room(how.room); !s) return s.error();
    return activation_span<F>(options.activation_group, k);
}

/// The product over no inputs.
template <class T> void set_zero(matrix_view<T> Y) noexcept {
    for (std::size_t j = 0; j < Y.rows; ++j) std::memset(static_cast<void*>(Y.row(j)), 0, Y.cols * sizeof(T));
}

template <block_format F, weight_source YT, weight_source XT>
status multiply(matrix_view<YT> Y, matrix_view<const XT> X, const qview<F>& W, const gemm_options& options, const call& how) noexcept {
    const auto span = check_product<F>(Y.rows, Y.cols, X.rows, X.cols, W, options, how);
    if (!span) return span.error();
    return with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        const bool integer = uses_integers<F>(options.mode);
        if (how.report != nullptr) *how.report = {Room::id, integer ? "integer" : "exact", path_of<Room, F>};
        if (Y.rows == 0 || Y.cols == 0) return {};
        if (X.cols == 0) {
            set_zero(Y);
            return {};
        }
        return with_stages<Room, F, XT, YT>(integer, X.rows, W.rows(), X.cols, *span, how.run.workers(), [&](auto stages) -> status {
            workspace memory;
            if (const status s = memory.open(how, stages.scratch(how.run.workers())); !s) return s;
            std::byte* const own = memory.take<std::byte>(saturating_multiply(stages.worker_bytes(), how.run.workers()));
            stages.take(memory, own, stages.worker_bytes());
            for (std::size_t stage = 0; stage < 2; ++stage) {
                call part = how;
                if (stage == 0) part.progress = {};  // a small part of the work: its progress is not told
                const status s = for_each_task(part, stages.tasks(stage), [&](std::size_t i, std::size_t worker) -> status {
                    stages.run(stage, i, worker, Y, X, W);
                    return {};
                });
                if (!s) return s;
            }
            return {};
        });
    });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Y = X * W^T.
///
/// Y        (n, rows) of float, f16 or bf16, row-major, any row stride; may overlap neither X nor the weights
/// X        (n, k) of float, f16 or bf16, row-major, any row stride
/// weights  rows x k in format F
/// error    shape; unsliceable when blocks run over row ends; unsupported when call.room cannot be had or integers are asked of levels that
///          are none; argument for an activation group that cuts groups; memory, scratch, cancelled
/// exact    the same bits for any number of threads. Integer: each activation group is rounded to round_even(x * (127 / abs-max)) * (abs-max / 127),
///          below 2^-100 to zero; dot products of up to 256 weights are exact, their sums over groups f32. A NaN or an infinity in row i of X makes row i of Y NaN.
///          Exact: dequantize's weights and X in f32, NaN and infinities as IEEE 754 has them.
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] status qgemm(matrix_view<YT> Y, matrix_view<XT> X, qview<F> weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, matrix_view<const std::remove_const_t<XT>>(X), weights, options, how);
}
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] status qgemm(matrix_view<YT> Y, matrix_view<XT> X, const qmatrix<F>& weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, matrix_view<const std::remove_const_t<XT>>(X), weights.view(), options, how);
}
template <block_format F>
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, qview<F> weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, X, weights, options, how);
}
template <block_format F>
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, const qmatrix<F>& weights, gemm_options options = {}, call how = {}) noexcept {
    return detail::multiply<F>(Y, X, weights.view(), options, how);
}

/// The bytes of call.scratch that qgemm asks for, with n rows of X (elements XT), rows x k weights and results YT. 0 for what qgemm would refuse.
template <block_format F, weight_source XT = float, weight_source YT = float>
[[nodiscard]] std::size_t qgemm_scratch_bytes(std::size_t n, std::size_t rows, std::size_t k, gemm_options options = {}, const call& how = {}) noexcept {
    const auto span = detail::activation_span<F>(options.activation_group, k);
    if (!span || !has_room(how.room) || n == 0 || rows == 0 || k == 0) return 0;
    const std::size_t workers = how.run.workers();
    return detail::with_room(how.room, [&](auto room) {
        return detail::with_stages<decltype(room), F, XT, YT>(detail::uses_integers<F>(options.mode), n, rows, k, *span, workers, [workers](const auto& stages) {
            return detail::workspace::asked(stages.scratch(workers));
        });
    });
}

}  // namespace qlib::inline v0::inline QLIB_BASE
