#pragma once
// The encoder's driver: from rows of numbers to blocks on the wire, for any format and any fit. What it does not know
// of them it asks of encoder_kernels, so that it is compiled once.
#include "../core/floats_view.hpp"
#include "../core/options.hpp"
#include "../kernel/decode_block.hpp"
#include "../kernel/decoder.hpp"
#include "one_block.hpp"

namespace qlib::inline QLIB_ABI::detail {

struct encode_job;

/// Some whole blocks of a matrix, one in each lane of a room.
struct block_batch {
    static constexpr std::size_t most = 16;
    std::size_t count = 0;
    std::size_t row[most] = {}, block[most] = {};
    float row_mean_square[most] = {};
};

/// A format under a fit, in one room.
struct encoder_kernels {
    isa room;
    std::size_t width;     ///< lanes
    bool row_mean_square;  ///< whether the fit asks for it, under importance
    const char* fit_name;  ///< null: none
    bool whole;            ///< the fit encodes whole blocks itself, as an original does
    const char* why;       ///< call_report's
    // What the fit does, all else being the same for every fit:
    /// lane_sites<room, F>, F::params [lane]; lane_blocks<room, F> if whole.
    void (*fit_lanes)(const void* fit, const void* sites, void* made) noexcept;
    /// site<F>, F::params; null: never asked.
    void (*fit_site)(const void* fit, const void* site, void* params) noexcept;
    void (*encode_site)(const void* fit, const void* site, void* encoded) noexcept;  ///< site<F>, encoded<F>
    /// Encodes a batch. False: some weight or scale is not finite, and nothing was
    /// stored. Null: there is no way in lanes.
    bool (*batch)(const encode_job&, const block_batch&) noexcept;
    /// Encodes block b of wire row r, n weights long.
    status (*single)(const encode_job&, std::size_t r, std::size_t b, std::size_t n, float row_mean_square) noexcept;
    /// Rounds a row of plain numbers, whose weights all have one. Null: the format is none of those.
    void (*numbers)(const encode_job&, std::size_t r, bool streamed) noexcept;
    float largest_number;
    std::size_t number_bytes;
    /// The range of n elements, widened by what `low` and `high` hold. False: one of them
    /// is not finite, and the range is worth nothing. Null: there are neither outer values nor plain numbers.
    bool (*widen_range)(const void* x, element type, std::size_t n, float& low, float& high) noexcept;
};

/// What an encoder works on.
struct encode_job {
    floats_view W;                        ///< (rows, cols)
    matrix_view<const float> importance;  ///< (rows, cols) with stride 0: one row for all; or no data
    float importance_unit;  ///< what they are multiplied by, a power of two: 1 unless sums of them could overflow
    non_finite policy;
    const void* fit;               ///< a Fit
    const void* out;               ///< a qspan<F>
    std::size_t block, wire_cols;  ///< weights of a block, and of a row as the wire has them
    const encoder_kernels* kernels;
    float* space = nullptr;  ///< 2 * block * lanes, for weights and importances; null: the stack has it
};

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Codes for given params: each group's weights rounded to the nearest code under the map that will decode them.
template <class F> constexpr void choose_codes(const site<F>& s, encoded<F>& e) noexcept {
    const float outer_scale = F::outer_scale(s.outer);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const auto x = group_of<F>(s.x, g), w = group_of<F>(s.importance, g);
        const affine a = F::at(e.params, g);
        const to_levels<F> units(a, outer_scale);
        float y[F::vec];
        for (std::size_t i = 0; i < x.size(); i += F::vec)
            e.code[(g * F::group + i) / F::vec] = choose_code<F>(
                a, outer_scale, units, &x[i], w.empty() ? nullptr : &w[i], smaller_size(x.size() - i, F::vec), y);
    }
}

/// Whether a fit encodes whole blocks of F itself, as an original does.
template <class Fit, class F> concept encodes_whole = requires(const Fit& fit, const site<F>& s) {
    fit.template whole<F>(s);
};

/// Whether F's original asks for the mean square of a block's whole row: it says so,
/// or is a user's own, reference(site).
template <class F>
inline constexpr bool weighs_by_row = [] {
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

/// Whether every level decodes to a finite weight: an f16 scale of weights beyond 65504 levels is infinite,
/// and a finite f32 scale may be too large for the levels at the grid's end. False of maps so close to
/// overflow that only codes decide, see stays_finite.
template <class F>
constexpr bool all_finite(const typename F::params& p, float outer_scale, std::size_t weights) noexcept {
    constexpr float largest = largest_level<typename F::grid>;
    bool ok = true;
    for (std::size_t g = 0; g * F::group < weights; ++g) {
        const affine a = F::at(p, g);
        ok = ok && is_finite(one_map::reach_of<F::map, outer_multiplies<F>>({a.s, a.z}, largest, outer_scale));
    }
    return ok;
}

/// Whether every weight of a block decodes to a finite one.
template <class F>
constexpr bool stays_finite(const encoded<F>& e, const typename F::outer& o, std::size_t weights) noexcept {
    if (all_finite<F>(e.params, F::outer_scale(o), weights)) return true;
    float y[block_size<F>];
    decode_codes<F>(e.params, e.code.data(), o, weights, y);
    bool ok = true;
    for (std::size_t i = 0; i < weights; ++i) ok = ok && is_finite(y[i]);
    return ok;
}

/// Weights [c, c + n) of wire row r. One piece unless the matrix was flattened and rows end inside.
inline void load_weights(const encode_job& job, std::size_t r, std::size_t c, std::size_t n, float* out) noexcept {
    std::size_t at = r * job.wire_cols + c;
    while (n != 0) {
        const std::size_t row = at / job.W.cols, col = at % job.W.cols, m = smaller_size(n, job.W.cols - col);
        if (job.W.type == element::float32) std::memcpy(out, job.W.at(row, col), m * sizeof(float));
        else widen_elements(job.W.at(row, col), job.W.type, m, out);
        out += m;
        at += m;
        n -= m;
    }
}
/// Their importances.
inline void load_importances(const encode_job& job, std::size_t r, std::size_t c, std::size_t n, float* out) noexcept {
    const std::size_t at = r * job.wire_cols + c;
    for (std::size_t i = 0; i < n; ++i)
        out[i] = product(job.importance.data[(at + i) % job.importance.cols], job.importance_unit);
}

/// What importances are multiplied by. A power of two changes no fit's choice;
/// without it sums of the largest would be infinite.
inline float importance_unit_of(std::span<const float> importance) noexcept {
    return abs_max(importance.data(), importance.size()) > 0x1p60f ? 0x1p-80f : 1.0f;
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
        const float largest = bits_of(x[i]) >> 31 != 0 ? -largest_float : largest_float;
        x[i] = policy == non_finite::zero || is_nan(x[i]) ? 0.0f : largest;
    }
    return true;
}

/// An error at a wire position, in the matrix's own rows and columns.
inline status error_at(const encode_job& job, std::size_t r, std::size_t c, errc code, const char* rule) noexcept {
    const std::size_t flat = r * job.wire_cols + c;
    return error{code, rule, "W", {flat / job.W.cols, flat % job.W.cols}};
}

/// Reads n weights from wire row r, column c on, with their importances, if there are any.
inline status read_weights(const encode_job& job, std::size_t r, std::size_t c, std::size_t n, float* x,
                           float* w) noexcept {
    std::size_t bad = 0;
    load_weights(job, r, c, n, x);
    if (!sanitize(x, n, job.policy, bad))
        return error_at(job, r, c + bad, errc::non_finite, "the weight in row {0}, column {1} is not finite");
    if (job.importance.data != nullptr) load_importances(job, r, c, n, w);
    return {};
}

/// The mean square of a row, summed in order without FMA: ggml's sigma^2.
[[gnu::__noinline__]] inline float mean_square(const encode_job& job, std::size_t r) noexcept {
    float sum = 0, piece[256];
    for (std::size_t c = 0; c < job.W.cols; c += 256) {
        const std::size_t n = smaller_size(256, job.W.cols - c);
        widen_elements(job.W.at(r, c), job.W.type, n, piece);
        for (std::size_t i = 0; i < n; ++i)
            if (is_finite(piece[i])) sum += product(piece[i], piece[i]);
    }
    return sum / static_cast<float>(job.W.cols);
}

/// encoder_kernels::fit_site and encode_site.
template <block_format F, class Fit> void fit_site(const void* fit, const void* s, void* params) noexcept {
    *static_cast<typename F::params*>(params) =
        static_cast<const Fit*>(fit)->template block<F>(*static_cast<const site<F>*>(s));
}
template <block_format F, class Fit> void encode_site(const void* fit, const void* s, void* e) noexcept {
    *static_cast<encoded<F>*>(e) = encode_block<F>(*static_cast<const site<F>*>(s), *static_cast<const Fit*>(fit));
}

/// encoder_kernels::single.
template <block_format F>
status encode_single(const encode_job& job, std::size_t r, std::size_t b, std::size_t n,
                     float row_mean_square) noexcept {
    constexpr std::size_t block = block_size<F>;
    const auto& out = *static_cast<const qspan<F>*>(job.out);
    float x[block], w[block];
    if (const status failed = read_weights(job, r, b * block, n, x, w); !failed) return failed;
    site<F> s{{x, n},
              {w, job.importance.data != nullptr ? n : 0},
              row_mean_square,
              out.outer(r, b * block),
              job.kernels->room};
    if (!job.kernels->whole) s.importance = some_importance(s.importance);  // originals make of zeros what they make
    encoded<F> e;
    job.kernels->encode_site(job.fit, &s, &e);
    if (!stays_finite<F>(e, s.outer, n))
        return error_at(job, r, b * block, errc::overflow,
                        "the scale of row {0} from column {1} on is beyond its type's range");
    F::store(e.params, {e.code.data(), divide_up(n, F::vec)}, out.block(r, b));
    return {};
}

/// Encodes a batch, as far as it is filled, and empties it; block by block where it has a flaw.
inline status flush_batch(const encode_job& job, block_batch& b) noexcept {
    if (b.count == 0) return {};
    const std::size_t used = b.count;
    for (std::size_t l = used; l < job.kernels->width; ++l) {  // idle lanes repeat the last block
        b.row[l] = b.row[used - 1];
        b.block[l] = b.block[used - 1];
        b.row_mean_square[l] = b.row_mean_square[used - 1];
    }
    b.count = 0;
    if (job.kernels->batch(job, b)) return {};
    for (std::size_t l = 0; l < used; ++l)
        if (const status s = job.kernels->single(job, b.row[l], b.block[l], job.block, b.row_mean_square[l]); !s)
            return s;
    return {};
}

/// Encodes wire rows [first, first + count): whole blocks in batches over row ends, ragged
/// ends block by block, plain numbers row by row.
inline status encode_rows(const encode_job& job, std::size_t first, std::size_t count) noexcept {
    const encoder_kernels& k = *job.kernels;
    const std::size_t whole = k.batch != nullptr ? job.wire_cols / job.block : 0;
    const bool streamed = k.numbers != nullptr && job.W.rows * job.wire_cols * k.number_bytes >= streamed_from;
    block_batch b;
    for (std::size_t r = first; r < first + count; ++r) {
        if (k.numbers != nullptr) {
            float low = 0, high = 0;
            if (k.widen_range(job.W.at(r, 0), job.W.type, job.W.cols, low, high) &&
                larger(-low, high) <= k.largest_number) {
                k.numbers(job, r, streamed);
                continue;
            }
        }
        const float squares = k.row_mean_square && job.importance.data != nullptr ? mean_square(job, r) : 0.0f;
        for (std::size_t i = 0; i < whole; ++i) {
            b.row[b.count] = r;
            b.block[b.count] = i;
            b.row_mean_square[b.count] = squares;
            if (++b.count == k.width)
                if (const status s = flush_batch(job, b); !s) return s;
        }
        if (whole * job.block == job.wire_cols) continue;
        if (const status s = flush_batch(job, b); !s) return s;  // errors come in order
        for (std::size_t i = whole; i * job.block < job.wire_cols; ++i)
            if (const status s = k.single(job, r, i, smaller_size(job.block, job.wire_cols - i * job.block), squares);
                !s)
                return s;
    }
    return flush_batch(job, b);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
