#pragma once
// weights_ref: a quantized matrix of any format, for functions that are not compiled for each.
#include "../room/rooms.hpp"
#include "product.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

template <block_format F> inline constexpr gemm_format gemm_format_of{
    F::group, F::groups, block_size<F>, static_cast<bool>(integer_levels_of<F>), row_maps<F>, dot_groups<F>,
    [](isa room) noexcept -> const product_kernels& {
        return *with_room(room, [](auto in) { return &product_kernels_in<decltype(in), F>; });
    }};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Weights as a product takes them: made from a qmatrix<F> or a qview<F>, whose bytes it refers to. Cheap to copy.
class weights_ref {
public:
    template <block_format F> QLIB_INLINE weights_ref(const qview<F>& W) noexcept
        : format_(&detail::gemm_format_of<F>), rows_(W.rows()), cols_(W.cols()), sliceable_(W.sliceable()) {
        static_assert(std::is_trivially_copyable_v<qview<F>> && sizeof W <= sizeof view_);
        std::memcpy(view_, &W, sizeof W);
    }
    template <block_format F> QLIB_INLINE weights_ref(const qspan<F>& W) noexcept : weights_ref(qview<F>(W)) {}
    template <block_format F> QLIB_INLINE weights_ref(const qmatrix<F>& W) noexcept : weights_ref(W.view()) {}

    [[nodiscard]] QLIB_INLINE std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    [[nodiscard]] QLIB_INLINE bool sliceable() const noexcept { return sliceable_; }
    /// What kernels know it by.
    [[nodiscard]] QLIB_INLINE const detail::gemm_format& format() const noexcept { return *format_; }
    [[nodiscard]] QLIB_INLINE const void* view() const noexcept { return view_; }

private:
    alignas(8) std::byte view_[128] = {};
    const detail::gemm_format* format_;
    std::size_t rows_, cols_;
    bool sliceable_;
};

}  // namespace qlib::inline QLIB_ABI
