#pragma once
// quantize: floats into any format.
#include "core/options.hpp"
#include "encode/lattice_search.hpp"
#include "encode/outer_values.hpp"
#include "fit/fit.hpp"
#include "format/format.hpp"
#include "store/qmatrix.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline status check_importance(std::span<const float> importance, std::size_t cols) noexcept {
    if (!importance.empty() && importance.size() != cols)
        return error{errc::importance, "{0} importances for {1} columns", "importance", {importance.size(), cols}};
    for (std::size_t j = 0; j < importance.size(); ++j)
        if (!is_finite(importance[j]) || importance[j] < 0)
            return error{errc::importance, "the importance of column {0} is negative or not finite", "importance", {j}};
    return {};
}

/// Rows to one task: enough tasks that threads end together, whatever their speed.
inline std::size_t rows_per_task(std::size_t rows, std::size_t workers) noexcept {
    return divide_up(rows, workers * 8) + (rows == 0);
}

/// Fits the tiles of rows [first, first + count) and encodes these, a band at a time.
inline status fit_and_encode(const encode_job& job, const outer_rule& outer, std::size_t first, std::size_t count,
                             std::size_t band) noexcept {
    for (std::size_t r = first, end = first + count; r < end; r += band) {
        const std::size_t n = smaller_size(band, end - r);
        if (const status s = fit_rows_of_tiles(job, outer, r, n); !s) return s;
        if (const status s = encode_rows(job, r, n); !s) return s;
    }
    return {};
}

/// Encodes a matrix whose operands have been looked at.
inline status encode_matrix(const encode_job& job, const outer_rule& outer, const call& how) noexcept {
    const default_float_environment floats;
    const std::size_t band = outer.any ? rows_of_band(outer.tile, job.W.rows, job.W.cols) : 0;
    if (band == 0)
        if (const status s = fit_outer_values(job, outer, how); !s) return s;
    const std::size_t rows = job.W.cols == job.wire_cols ? job.W.rows : 1;
    const std::size_t step = round_up(rows_per_task(rows, how.run.workers()), band != 0 ? band : 1);
    if (how.report != nullptr) {
        const encoder_kernels& k = *job.kernels;
        *how.report = {k.room, k.fit_name != nullptr ? k.fit_name : "",
                       k.batch != nullptr || k.numbers != nullptr ? "lanes" : "blocks", k.why};
    }
    return for_each_task(how, divide_up(rows, step), [&](std::size_t i, std::size_t) {
        const std::size_t first = i * step, count = smaller_size(step, rows - first);
        return band != 0 ? fit_and_encode(job, outer, first, count, band) : encode_rows(job, first, count);
    });
}

template <class Room, block_format F, class Fit>
inline constexpr encoder_kernels encoder_kernels_in = Room::template encoder_of<F, Fit>();
template <block_format F, class Fit> const encoder_kernels& encoder_kernels_of(isa room) noexcept {
    return *with_room(room, [](auto in) { return &encoder_kernels_in<decltype(in), F, Fit>; });
}

template <block_format F, class Fit>
status quantize_with(floats_view W, const qspan<F>& out, const Fit& fit, const quantize_options& options,
                     const call& how) noexcept {
    if (W.rows != out.rows() || W.cols != out.cols())
        return error{
            errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "W", {W.rows, W.cols, out.rows(), out.cols()}};
    if (const status s = check_view(W, "W"); !s) return s;
    if (const status s = check_shape<F>(W.rows, W.cols, "W"); !s) return s;
    if (const status s = check_importance(options.importance, W.cols); !s) return s;
    if (const status s = check_room(how.room); !s) return s;
    if (W.rows == 0 || W.cols == 0) return {};
    const encoder_kernels& kernels = encoder_kernels_of<F, Fit>(how.room);
    // Originals take importances as they are.
    const float unit = kernels.whole ? 1.0f : importance_unit_of(options.importance);
    return encode_matrix({W,
                          {options.importance.data(), W.rows, W.cols, 0},
                          unit,
                          options.on_non_finite,
                          &fit,
                          &out,
                          block_size<F>,
                          wire_shape_of<F>(W.rows, W.cols).cols,
                          &kernels},
                         outer_rule_of<F, Fit>, how);
}

template <block_format F, class Fit>
result<qmatrix<F>> quantized_with(floats_view W, const Fit& fit, const quantize_options& options,
                                  const call& how) noexcept {
    auto q = qmatrix<F>::make(W.rows, W.cols);
    if (!q) return q.error();
    if (const status s = quantize_with<F>(W, q->span(), fit, options, how); !s) return s.error();
    return q;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// A fit object that can serve F: one of qlib's, or a user's own.
template <class Fit, class F> concept fit_for = requires(const Fit& fit, const site<F>& s) {
    { fit.template block<F>(s) } -> std::same_as<typename F::params>;
};

/// Quantizes W into `out` with a fit object of the caller's own (plain_fit, search_fit, reference_fit, hqq, ...);
/// options.fit is not looked at.
///
/// W       rows x cols of float, f16 or bf16, row-major, any row stride; each weight counts as the float it is
/// out     rows x cols in format F, as qmatrix<F>::span() or qspan<F>::over(bytes) give it; any address
/// error   shape, ragged, importance, unsupported: nothing is written. non_finite, overflow (a weight would decode to
///         an infinity), cancelled: `out` is unspecified
/// exact   the same bytes on every instruction set, for any number of threads and under any compiler flag
/// scratch none
template <block_format F, fit_for<F> Fit>
[[nodiscard]] status quantize_into(floats_view W, qspan<F> out, const Fit& fit, quantize_options options = {},
                                   call how = {}) noexcept {
    return detail::quantize_with<F>(W, out, fit, options, how);
}
/// The same with a ready-made fit, options.fit: all three are compiled.
template <block_format F>
[[nodiscard]] status quantize_into(floats_view W, qspan<F> out, quantize_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit,
                            [&](const auto& fit) { return detail::quantize_with<F>(W, out, fit, options, how); });
}

/// Quantizes W into a matrix of its own with a fit object of the caller's own. error: as quantize_into, and memory.
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<qmatrix<F>> quantize(floats_view W, const Fit& fit, quantize_options options = {},
                                          call how = {}) noexcept {
    return detail::quantized_with<F>(W, fit, options, how);
}
/// Quantizes W with the default fit, search.
template <block_format F> [[nodiscard]] result<qmatrix<F>> quantize(floats_view W) noexcept {
    return detail::quantized_with<F>(W, search_fit{}, {}, {});
}
/// Quantizes W with a ready-made fit: quantize<nf4>(W, {.fit = fit::plain}). All three are compiled.
template <block_format F>
[[nodiscard]] result<qmatrix<F>> quantize(floats_view W, quantize_options options, call how = {}) noexcept {
    return detail::with_fit(options.fit,
                            [&](const auto& fit) { return detail::quantized_with<F>(W, fit, options, how); });
}

/// One whole block at compile time or run time: finite weights in, the bytes of its planes in order out.
/// error  a weight or scale that is not finite: not a constant expression; at run time the bytes are unspecified
template <block_format F, class Fit = search_fit>
[[nodiscard]] constexpr std::array<std::byte, block_bytes<F>> encode(const std::array<float, block_size<F>>& x,
                                                                     const Fit& fit = {},
                                                                     const typename F::outer& outer = {}) noexcept {
    const encoded<F> e = detail::encode_block<F>(site<F>{{x.data(), x.size()}, {}, 0, outer}, fit);
    std::array<std::byte, block_bytes<F>> out{};
    plane_pointers<F, std::byte> planes{};
    std::size_t at = 0;
    for (std::size_t p = 0; p < planes.size(); ++p) {
        planes[p] = out.data() + at;
        at += F::planes[p];
    }
    F::store(e.params, e.code, planes);
    return out;
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
