#pragma once
// qmatrix<F>: a quantized matrix that owns its bytes.
#include "view.hpp"

namespace qlib::inline QLIB_ABI {

/// rows x cols weights in format F, 64-byte aligned; move-only. Bytes: F's planes in
/// order, the outer plane, the tensor plane.
template <block_format F> class qmatrix {
public:
    QLIB_INLINE qmatrix() noexcept = default;
    QLIB_INLINE qmatrix(qmatrix&&) noexcept = default;
    QLIB_INLINE qmatrix& operator=(qmatrix&&) noexcept = default;
    /// Zeroed bytes for rows x cols weights. error: shape, ragged, memory.
    [[nodiscard]] QLIB_TAGGED static result<qmatrix> make(std::size_t rows, std::size_t cols) noexcept {
        if (const status s = detail::check_shape<F>(rows, cols, "qmatrix"); !s) return s.error();
        qmatrix m;
        const std::size_t size = wire_size<F>(rows, cols);
        if (!m.bytes_.allocate(size)) return detail::out_of_memory(size);
        if (size != 0) std::memset(m.bytes_.data(), 0, size);
        auto span = qspan<F>::over({m.bytes_.data(), size}, rows, cols);
        if (!span) return span.error();
        m.span_ = *span;
        return m;
    }

    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept {
        return {bytes_.data(), bytes_.size()};
    }
    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return span_.rows(); }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return span_.cols(); }
    [[nodiscard]] QLIB_INLINE qview<F> view() const noexcept { return span_; }
    [[nodiscard]] QLIB_INLINE qspan<F> span() noexcept { return span_; }
    [[nodiscard]] QLIB_INLINE operator qview<F>() const noexcept { return span_; }
    /// `count` rows from row `first` on. error: shape, unsliceable.
    [[nodiscard]] QLIB_INLINE result<qview<F>> row_range(std::size_t first, std::size_t count) const noexcept {
        return view().row_range(first, count);
    }

private:
    detail::buffer<std::byte> bytes_;
    qspan<F> span_;
};

}  // namespace qlib::inline QLIB_ABI
