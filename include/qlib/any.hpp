#pragma once
// Formats chosen at run time, behind plain functions: what an engine includes everywhere. They are defined in one of
// its source files, which includes <qlib/instantiate.hpp>, or in the library qlib::compiled.
#include "core/call.hpp"
#include "core/matrix_view.hpp"
#include "core/memory.hpp"
#include "core/options.hpp"
#include "format_id.hpp"
#include "store/view_options.hpp"

namespace qlib::inline QLIB_ABI {

class hessian;         // calibrate/hessian.hpp
class hessian_factor;  // calibrate/hessian_factor.hpp

/// rows x cols weights in a format that is known at run time, in foreign memory at any address.
struct any_view {
    format_id format{};
    /// Planes in order, outer plane, tensor plane: wire_size(format, rows, cols) in all.
    std::span<const std::byte> bytes = {};
    std::size_t rows = 0, cols = 0;
    view_options<const std::byte> options = {};  ///< where rows or outer values lie elsewhere
    /// Where the planes lie apart: one for each, in place of `bytes`; options.outer then
    /// holds the outer values, if the format has any.
    std::span<const std::span<const std::byte>> planes = {};
};

/// One product of a group, Y = X * W^T.
struct any_gemm_job {
    matrix_view<float> Y;
    matrix_view<const float> X;
    any_view weights;
};

// Not in QLIB_BASE: defined in one translation unit and called from others, which may have been compiled for other
// instruction sets. All give errc::unsupported for what <qlib/instantiate.hpp> was not told to instantiate; the other
// errors and what is exact: as the templates of the same names.

/// Bytes of a rows x cols matrix, all planes. error: unsupported, shape, ragged.
[[nodiscard]] result<std::size_t> wire_size(format_id format, std::size_t rows, std::size_t cols) noexcept;

/// Quantizes W into bytes, wire_size(format, W.rows, W.cols) of them or more.
[[nodiscard]] status quantize_into(format_id format, matrix_view<const float> W, std::span<std::byte> bytes,
                                   quantize_options options = {}, call how = {}) noexcept;

/// out = the weights as floats; (rows, cols).
[[nodiscard]] status dequantize(const any_view& weights, matrix_view<float> out, call how = {}) noexcept;

/// Rows ids[0], ids[1], ... as floats, an embedding look-up; out (ids, cols).
[[nodiscard]] status dequantize_rows(const any_view& weights, std::span<const std::uint32_t> ids,
                                     matrix_view<float> out, call how = {}) noexcept;

/// Y = X * W^T; Y (n, rows), X (n, cols).
[[nodiscard]] status qgemm(matrix_view<float> Y, matrix_view<const float> X, const any_view& weights,
                           gemm_options options = {}, call how = {}) noexcept;

/// All products of a group in one parallel loop: see qgemm_grouped.hpp.
[[nodiscard]] status qgemm_grouped(std::span<const any_gemm_job> jobs, gemm_options options = {},
                                   call how = {}) noexcept;
/// 0 for what it would refuse.
[[nodiscard]] std::size_t qgemm_grouped_scratch_bytes(std::span<const any_gemm_job> jobs, gemm_options options = {},
                                                      call how = {}) noexcept;

/// Bytes of call.scratch that qgemm and gptq want. error: unsupported.
[[nodiscard]] result<std::size_t> qgemm_scratch_bytes(format_id format, std::size_t n, std::size_t rows, std::size_t k,
                                                      gemm_options options = {}, const call& how = {}) noexcept;
[[nodiscard]] result<std::size_t> gptq_scratch_bytes(format_id format, std::size_t rows, std::size_t cols,
                                                     std::size_t workers = 1) noexcept;

/// Quantizes W into bytes with GPTQ, from a Hessian of W.cols columns, which is copied, or from its factor, which is
/// not. The bytes are written last: they are whole, or untouched after an error.
[[nodiscard]] result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian& h,
                                       std::span<std::byte> bytes, gptq_options options = {}, call how = {}) noexcept;
[[nodiscard]] result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian_factor& factor,
                                       std::span<std::byte> bytes, gptq_options options = {}, call how = {}) noexcept;

/// rows x cols weights in a format that is known at run time; owns its bytes, 64-byte aligned; move-only.
class any_matrix {
public:
    QLIB_INLINE any_matrix() noexcept = default;
    QLIB_INLINE any_matrix(any_matrix&&) noexcept = default;
    QLIB_INLINE any_matrix& operator=(any_matrix&&) noexcept = default;
    /// Zeroed bytes. error: unsupported, shape, ragged, memory.
    [[nodiscard]] QLIB_INLINE static result<any_matrix> make(format_id format, std::size_t rows,
                                                             std::size_t cols) noexcept {
        const auto size = wire_size(format, rows, cols);
        if (!size) return size.error();
        any_matrix m;
        if (!m.bytes_.allocate(*size)) return detail::out_of_memory(*size);
        if (*size != 0) std::memset(m.bytes_.data(), 0, *size);
        m.format_ = format;
        m.rows_ = rows;
        m.cols_ = cols;
        return m;
    }

    [[nodiscard]] QLIB_INLINE format_id format() const noexcept { return format_; }
    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept {
        return {bytes_.data(), bytes_.size()};
    }
    [[nodiscard]] QLIB_INLINE std::span<std::byte> bytes() noexcept { return {bytes_.data(), bytes_.size()}; }
    [[nodiscard]] QLIB_INLINE any_view view() const noexcept { return {format_, bytes(), rows_, cols_, {}}; }
    [[nodiscard]] QLIB_INLINE operator any_view() const noexcept { return view(); }

private:
    detail::buffer<std::byte> bytes_;
    format_id format_{};
    std::size_t rows_ = 0, cols_ = 0;
};

/// Quantizes W into a matrix of its own. error: as quantize_into, and memory.
[[nodiscard]] result<any_matrix> quantize(format_id format, matrix_view<const float> W, quantize_options options = {},
                                          call how = {}) noexcept;

}  // namespace qlib::inline QLIB_ABI
