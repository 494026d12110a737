#pragma once
// What formats do by number, as tables of functions. any/functions.hpp asks them; any/instantiation.hpp makes them.
#include "../any.hpp"

namespace qlib::inline QLIB_ABI {

class weights_ref;  // kernel/weights_ref.hpp

/// The functions of any.hpp, in groups that an instantiation may leave out. Sizes can always be asked for.
enum class operations : unsigned {
    decode = 1,    ///< dequantize, dequantize_rows
    multiply = 2,  ///< qgemm, qgemm_grouped
    quantize = 4,  ///< quantize, quantize_into
    gptq = 8,
    all = 15,
};
constexpr operations operator|(operations a, operations b) noexcept {
    return static_cast<operations>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// What one format can do; null where that was not instantiated. Not in QLIB_BASE, as it crosses translation units.
struct any_operations {
    result<std::size_t> (*wire_size)(std::size_t rows, std::size_t cols) noexcept;
    // decode
    status (*dequantize)(const any_view&, matrix_view<float> out, const call&) noexcept;
    status (*dequantize_rows)(const any_view&, std::span<const std::uint32_t> ids, matrix_view<float>,
                              const call&) noexcept;
    // multiply
    result<weights_ref> (*weights_of)(const any_view&) noexcept;
    result<std::size_t> (*qgemm_scratch_bytes)(std::size_t n, std::size_t rows, std::size_t k, const qgemm_options&,
                                               const call&) noexcept;
    // quantize
    status (*quantize_into)(matrix_view<const float> W, std::span<std::byte>, const quantize_options&,
                            const call&) noexcept;
    // gptq
    result<std::size_t> (*gptq_scratch_bytes)(std::size_t rows, std::size_t cols, std::size_t workers) noexcept;
    result<gptq_report> (*gptq)(matrix_view<const float> W, const hessian_factor&, std::span<std::byte>,
                                const gptq_options&, const call&) noexcept;
};

/// Of a format; null for one that was not instantiated. Whoever instantiates formats defines it.
const any_operations* operations_of(format_id id) noexcept;

}  // namespace qlib::inline QLIB_ABI::detail
