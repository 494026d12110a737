#pragma once
// quantize: floats into any format.
#include "core/options.hpp"
#include "fit/fit.hpp"
#include "format/format.hpp"
#include "kernel/rooms.hpp"
#include "store/outer_values.hpp"
#include "store/qmatrix.hpp"

namespace qlib::inline v0::detail::inline QLIB_BASE {

inline status check_importance(std::span<const float> importance, std::size_t cols) noexcept {
    if (!importance.empty() && importance.size() != cols)
        return error{errc::importance, "{0} importances for {1} columns", "importance", {importance.size(), cols}};
    for (std::size_t j = 0; j < importance.size(); ++j)
        if (!is_finite(importance[j]) || importance[j] < 0)
            return error{errc::importance, "the importance of column {0} is negative or not finite", "importance", {j}};
    return {};
}

/// Rows to one task: enough tasks that threads end together, whatever their speed.
inline std::size_t rows_per_task(std::size_t rows, std::size_t workers) noexcept { return divide_up(rows, workers * 8) + (rows == 0); }

/// Fits the tiles of rows [first, first + count) and encodes these, a band at a time.
template <class Room, block_format F, class Fit, class T>
status fit_and_encode(const block_encoder<F, Fit, T>& encoder, std::size_t first, std::size_t count, std::size_t band) noexcept {
    const outer_values<F, Fit, T> values(encoder, Room::id);
    for (std::size_t r = first, end = first + count; r < end; r += band) {
        const std::size_t n = smaller_size(band, end - r);
        if (const status s = values.fit_rows(r, n); !s) return s;
        if (const status s = Room::lanes::template encode_rows<F>(encoder, r, n); !s) return s;
    }
    return {};
}

template <block_format F, class Fit, weight_source T>
status quantize_with(matrix_view<const T> W, qspan<F> out, const Fit& fit, const quantize_options& options, const call& how) noexcept {
    if (W.rows != out.rows() || W.cols != out.cols())
        return error{errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "W", {W.rows, W.cols, out.rows(), out.cols()}};
    if (const status s = check_shape<F>(W.rows, W.cols, "W"); !s) return s;
    if (const status s = check_importance(options.importance, W.cols); !s) return s;
    if (const status s = check_room(how.room); !s) return s;
    if (W.rows == 0 || W.cols == 0) return {};
    const block_encoder<F, Fit, T> encoder{W, {options.importance.data(), W.rows, W.cols, 0}, fit, options.on_non_finite, out};
    const std::size_t band = rows_of_band<F>(W.rows, W.cols);
    if (band == 0)
        if (const status s = fit_outer_values<F>(encoder, how); !s) return s;
    const std::size_t rows = wire_shape_of<F>(W.rows, W.cols).rows;
    const std::size_t step = round_up(rows_per_task(rows, how.run.workers()), band != 0 ? band : 1);
    return with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        if (how.report != nullptr) {
            *how.report = {Room::id, "", Room::lanes::template encodes<F, Fit> ? "lanes" : "blocks"};
            if constexpr (requires { Fit::name; }) how.report->mode = Fit::name;
        }
        return for_each_task(how, divide_up(rows, step), [&](std::size_t i, std::size_t) {
            const std::size_t first = i * step, count = smaller_size(step, rows - first);
            if constexpr (tiles_by_rows<F>)
                if (band != 0) return fit_and_encode<Room, F>(encoder, first, count, band);
            return Room::lanes::template encode_rows<F>(encoder, first, count);
        });
    });
}

template <block_format F, class Fit, weight_source T>
result<qmatrix<F>> quantized_with(matrix_view<const T> W, const Fit& fit, const quantize_options& options, const call& how) noexcept {
    auto q = qmatrix<F>::make(W.rows, W.cols);
    if (!q) return q.error();
    if (const status s = quantize_with<F>(W, q->span(), fit, options, how); !s) return s.error();
    return q;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// A fit object that can serve F: one of qlib's, or a user's own.
template <class Fit, class F> concept fit_for = requires(const Fit& fit, const site<F>& s) {
    { fit.template block<F>(s) } -> std::same_as<typename F::params>;
};

/// Quantizes W into `out` with a fit object of the caller's own (plain_fit, search_fit, reference_fit, hqq, ...); options.fit is not looked at.
///
/// W       rows x cols floats (f16 and bf16 too, see below), row-major, any row stride
/// out     rows x cols in format F, as qmatrix<F>::span() or qspan<F>::over(bytes) give it; any address
/// error   shape, ragged, importance, unsupported: nothing is written. non_finite, overflow (a weight would decode to an infinity), cancelled: `out`
///         is unspecified
/// exact   the same bytes on every instruction set, for any number of threads and under any compiler flag
/// scratch none
template <block_format F, fit_for<F> Fit>
[[nodiscard]] status quantize_into(matrix_view<const float> W, qspan<F> out, const Fit& fit, quantize_options options = {}, call how = {}) noexcept {
    return detail::quantize_with<F>(W, out, fit, options, how);
}
/// The same with a ready-made fit, options.fit.
template <block_format F>
[[nodiscard]] status quantize_into(matrix_view<const float> W, qspan<F> out, quantize_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantize_with<F>(W, out, fit, options, how); });
}
/// The same from f16 or bf16; each weight counts as the float it is.
template <block_format F, class T, fit_for<F> Fit>
    requires half_source<T>
[[nodiscard]] status quantize_into(matrix_view<T> W, qspan<F> out, const Fit& fit, quantize_options options = {}, call how = {}) noexcept {
    return detail::quantize_with<F>(matrix_view<const T>(W), out, fit, options, how);
}
template <block_format F, class T>
    requires half_source<T>
[[nodiscard]] status quantize_into(matrix_view<T> W, qspan<F> out, quantize_options options = {}, call how = {}) noexcept {
    const matrix_view<const T> source = W;
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantize_with<F>(source, out, fit, options, how); });
}

/// Quantizes W into a matrix of its own with a fit object of the caller's own. error: as quantize_into, and memory.
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<const float> W, const Fit& fit, quantize_options options = {}, call how = {}) noexcept {
    return detail::quantized_with<F>(W, fit, options, how);
}
/// Quantizes W with a ready-made fit: quantize<q4_k>(W), quantize<nf4>(W, {.fit = fit::plain}).
template <block_format F>
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<const float> W, quantize_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantized_with<F>(W, fit, options, how); });
}
/// The same from f16 or bf16.
template <block_format F, class T, fit_for<F> Fit>
    requires half_source<T>
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<T> W, const Fit& fit, quantize_options options = {}, call how = {}) noexcept {
    return detail::quantized_with<F>(matrix_view<const T>(W), fit, options, how);
}
template <block_format F, class T>
    requires half_source<T>
[[nodiscard]] result<qmatrix<F>> quantize(matrix_view<T> W, quantize_options options = {}, call how = {}) noexcept {
    const matrix_view<const T> source = W;
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::quantized_with<F>(source, fit, options, how); });
}

/// One whole block at compile time or run time: finite weights in, the bytes of its planes in order out.
/// error  a weight or scale that is not finite: not a constant expression; at run time the bytes are unspecified
template <block_format F, class Fit = search_fit>
[[nodiscard]] constexpr std::array<std::byte, block_bytes<F>> encode(const std::array<float, block_size<F>>& x, const Fit& fit = {},
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

}  // namespace qlib::inline v0::inline QLIB_BASE
