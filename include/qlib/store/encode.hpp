#pragma once
// The encoder's driver: from rows of floats to blocks on the wire, for any format and any fit.
#include "../core/matrix_view.hpp"
#include "../core/options.hpp"
#include "../fit/plain.hpp"
#include "../numeric/minifloat.hpp"
#include "decode.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Codes for given params: each group's weights rounded to the nearest code under the map that will decode them.
template <class F> constexpr void choose_codes(const site<F>& s, encoded<F>& e) noexcept {
    const float outer_scale = F::outer_scale(s.outer);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto x = group_of<F>(s.x, g), w = group_of<F>(s.importance, g);
        const affine a = F::at(e.params, g);
        const to_levels<F> units(a, outer_scale);
        float y[F::vec];
        for (std::size_t i = 0; i < x.size(); i += F::vec)
            e.code[(g * F::group + i) / F::vec] = choose_code<F>(a, outer_scale, units, &x[i], w.empty() ? nullptr : &w[i], smaller_size(x.size() - i, F::vec), y);
    }
}

/// Bytes of output from which a call writes past the caches, which would not keep them: else each line is read before it is written.
inline constexpr std::size_t streamed_from = std::size_t{8} << 20;

/// Whether a fit encodes whole blocks of F itself, as an original does.
template <class Fit, class F> concept encodes_whole = requires(const Fit& fit, const site<F>& s) { fit.template whole<F>(s); };

/// Whether F's original asks for the mean square of a block's whole row: it says so, or is a user's own, reference(site).
template <class F> inline constexpr bool weighs_by_row = [] {
    if constexpr (requires { F::weighs_by_row; }) return bool{F::weighs_by_row};
    else return requires(const site<F>& s) { F::reference(s); };
}();

/// A block by any fit.
template <class F, class Fit> constexpr encoded<F> encode_block(const site<F>& s, const Fit& fit) noexcept {
    if constexpr (encodes_whole<Fit, F>) {
        return fit.template whole<F>(s);
    } else {
        encoded<F> e;
        e.params = fit.template block<F>(s);
        choose_codes<F>(s, e);
        return e;
    }
}

/// Whether every level decodes to a finite weight: an f16 scale of weights beyond 65504 levels is infinite, and a finite f32 scale may be too large
/// for the levels at the grid's end. False of maps so close to overflow that only codes decide, see stays_finite.
template <class F> constexpr bool all_finite(const typename F::params& p, [[maybe_unused]] float outer_scale, std::size_t weights) noexcept {
    bool ok = true;
    for (std::size_t g = 0; g * F::group < weights; ++g) {
        const affine a = F::at(p, g);
        constexpr float most = largest_level<typename F::grid>;
        float reach = product(magnitude(a.s), F::map == form::shifted ? most + magnitude(a.z) : most);
        if constexpr (F::map == form::offset) reach += magnitude(a.z);
        if constexpr (outer_multiplies<F>) reach = product(reach, magnitude(outer_scale));
        ok = ok && is_finite(reach);
    }
    return ok;
}

/// Whether every weight of a block decodes to a finite one.
template <class F> constexpr bool stays_finite(const encoded<F>& e, const typename F::outer& o, std::size_t weights) noexcept {
    if (all_finite<F>(e.params, F::outer_scale(o), weights)) return true;
    float y[block_size<F>];
    decode_codes<F>(e.params, e.code.data(), o, weights, y);
    bool ok = true;
    for (std::size_t i = 0; i < weights; ++i) ok = ok && is_finite(y[i]);
    return ok;
}

/// Weights [c, c + n) of wire row r. One piece unless the matrix was flattened and rows end inside.
template <block_format F, weight_source T>
void load_weights(matrix_view<const T> W, std::size_t r, std::size_t c, std::size_t n, float* out) noexcept {
    std::size_t at = r * wire_shape_of<F>(W.rows, W.cols).cols + c;
    while (n != 0) {
        const std::size_t row = at / W.cols, col = at % W.cols, m = smaller_size(n, W.cols - col);
        const T* const from = W.row(row) + col;
        if constexpr (std::same_as<T, float>) std::memcpy(out, from, m * sizeof(float));
        else for (std::size_t i = 0; i < m; ++i) out[i] = as_float(from[i]);
        out += m;
        at += m;
        n -= m;
    }
}

/// Applies the policy to n weights. False: there is a non-finite one and the policy is to refuse; `bad` is its index.
inline bool sanitize(float* x, std::size_t n, non_finite policy, std::size_t& bad) noexcept {
    std::uint32_t worst = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t a = bits_of(x[i]) & 0x7FFFFFFFu;
        worst = a > worst ? a : worst;
    }
    if (worst < 0x7F800000u) return true;
    for (std::size_t i = 0; i < n; ++i) {
        if (is_finite(x[i])) continue;
        bad = i;
        if (policy == non_finite::error) return false;
        const float largest = bits_of(x[i]) >> 31 != 0 ? -std::numeric_limits<float>::max() : std::numeric_limits<float>::max();
        x[i] = policy == non_finite::zero || is_nan(x[i]) ? 0.0f : largest;
    }
    return true;
}

/// The mean square of a row, summed in order without FMA: ggml's sigma^2.
template <weight_source T> float mean_square(matrix_view<const T> W, std::size_t r) noexcept {
    float sum = 0;
    for (std::size_t j = 0; j < W.cols; ++j)
        if (const float x = as_float(W(r, j)); is_finite(x)) sum += product(x, x);
    return sum / static_cast<float>(W.cols);
}

/// One block of the encoder's work: reads, checks, encodes, stores.
template <block_format F, class Fit, weight_source T> struct block_encoder {
    matrix_view<const T> W;                    // (rows, cols) row-major
    matrix_view<const float> importance;       // (rows, cols) with stride 0: one row for all; or no data
    const Fit& fit;
    non_finite policy;
    qspan<F> out;

    /// Reads n weights from wire row r, column c on, with their importances.
    status read(std::size_t r, std::size_t c, std::size_t n, float* x, float* w, site<F>& s) const noexcept {
        std::size_t bad = 0;
        load_weights<F>(W, r, c, n, x);
        if (!sanitize(x, n, policy, bad)) return at(r, c + bad, errc::non_finite, "the weight in row {0}, column {1} is not finite");
        if (importance.data != nullptr) load_weights<F>(importance, r, c, n, w);
        s.x = {x, n};
        s.importance = {w, importance.data != nullptr ? n : 0};
        if constexpr (!encodes_whole<Fit, F>) s.importance = some_importance(s.importance);  // originals make of zeros what they make
        return {};
    }
    /// Encodes block b of wire row r, n weights long.
    status operator()(std::size_t r, std::size_t b, std::size_t n, float row_mean_square) const noexcept {
        constexpr std::size_t block = block_size<F>;
        float x[block], w[block];
        site<F> s{{}, {}, row_mean_square, out.outer(r, b * block)};
        if (const status failed = read(r, b * block, n, x, w, s); !failed) return failed;
        const encoded<F> e = encode_block<F>(s, fit);
        if (!stays_finite<F>(e, s.outer, n)) return at(r, b * block, errc::overflow, "the scale of row {0} from column {1} on is beyond its type's range");
        F::store(e.params, {e.code.data(), divide_up(n, F::vec)}, out.block(r, b));
        return {};
    }

    /// The mean square of a row for a fit that asks for it: only some originals under importance do.
    float row_mean_square(std::size_t r) const noexcept { return encodes_whole<Fit, F> && weighs_by_row<F> && importance.data != nullptr ? mean_square(W, r) : 0.0f; }

private:
    /// An error at a wire position, in the matrix's own rows and columns.
    status at(std::size_t r, std::size_t c, errc code, const char* rule) const noexcept {
        const std::size_t flat = r * wire_shape_of<F>(W.rows, W.cols).cols + c;
        return error{code, rule, "W", {flat / W.cols, flat % W.cols}};
    }
};

/// Encodes wire rows [first, first + count) block by block.
template <block_format F, class Fit, class T>
status encode_rows_singly(const block_encoder<F, Fit, T>& encoder, std::size_t first, std::size_t count) noexcept {
    constexpr std::size_t block = block_size<F>;
    const std::size_t cols = wire_shape_of<F>(encoder.W.rows, encoder.W.cols).cols;
    for (std::size_t r = first; r < first + count; ++r) {
        const float mean_square = encoder.row_mean_square(r);
        for (std::size_t b = 0; b * block < cols; ++b)
            if (const status s = encoder(r, b, smaller_size(block, cols - b * block), mean_square); !s) return s;
    }
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END
