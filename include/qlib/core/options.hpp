#pragma once
// What quantize, qgemm and gptq are told, and what GPTQ reports: plain structs, for headers that only declare.
#include "abi.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace qlib::inline QLIB_ABI {

/// A ready-made fit, by name. Functions that take one also take any fit object.
enum class fit : std::uint8_t {
    plain,      ///< plain_fit
    search,     ///< search_fit
    reference,  ///< reference_fit
};

/// What an encoder does with a NaN or an infinity among the weights.
enum class non_finite : std::uint8_t {
    error,  ///< refuses, naming row and column
    zero,   ///< counts it as 0
    clamp,  ///< NaN as 0, an infinity as the largest float of its sign
};

/// How weights become codes.
struct quantize_options {
    qlib::fit fit = qlib::fit::search;       ///< how scales are chosen
    std::span<const float> importance = {};  ///< one per column, >= 0: an imatrix, or a Hessian's diagonal; empty: none
    non_finite on_non_finite = non_finite::error;
};

/// What qgemm computes with.
enum class compute : std::uint8_t {
    automatic,  ///< integer where the format's levels are 8-bit integers up to a power of two, else exact
    integer,    ///< activations rounded to 8 bits on the fly, integer dot products
    exact,      ///< decoded weights times float activations
};

struct qgemm_options {
    compute mode = compute::automatic;
    /// Integer mode: neighbours in a row of X that share a scale. A multiple of F::group, or the
    /// whole row; 0: the largest multiple of F::group up to 256 (F::group when that is larger), or
    /// the row where one map of the weights covers a row.
    std::size_t activation_group = 0;
};
using gemm_options = qgemm_options;

struct factor_options {
    float damping = 0.01f;  ///< added to the diagonal, as a share of the mean of its non-zero elements; 0 to 1e6
    bool strict = false;    ///< an error in place of the ladder
};

/// What factorize() had to do.
struct factor_report {
    float damping = 0;           ///< the one that was used, relative
    int rung = 0;                ///< 0: as asked; 1, 2, ...: how often the damping grew, or that and then the last rung
    bool diagonal_only = false;  ///< the last rung: U is diagonal, which turns GPTQ into weighted rounding
    std::size_t dead_columns = 0;
};

struct gptq_options {
    float damping = 0.01f;  ///< see factor_options; not looked at when a factor is given
    bool strict = false;    ///< an error in place of the ladder; not looked at when a factor is given
    /// How scales are chosen, on the current weights, columns weighed by 1 / U_jj^2.
    qlib::fit fit = qlib::fit::search;
    non_finite on_non_finite = non_finite::error;
};

/// What came of it. Losses are sums of (w - q) H (w - q)^T over rows, under the undamped Hessian.
struct gptq_report {
    double loss = 0;      ///< of what was written
    double loss_rtn = 0;  ///< of the baseline: rounded in the same format, fit, outer values, importance diag(H)
    std::size_t rows_rounded = 0;  ///< rows that kept the baseline, because it was better there
    factor_report factor = {};     ///< damping used, rung of the ladder, dead columns
};

}  // namespace qlib::inline QLIB_ABI
