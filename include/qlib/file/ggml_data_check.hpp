#pragma once
// What llama.cpp asks with --check-tensors: that no scale and no plain float of a tensor's data is a NaN or an
// infinity. Decoding is memory-safe without it; this tells a damaged or badly quantized file from a good one.
#include "bytes.hpp"
#include "ggml_types.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// Floats of one block that must be finite: `count` of them, one behind the other from byte `at` on.
struct ggml_floats {
    enum class kind : std::uint8_t { none, f16, bf16, f32, f64, e8m0, iq1_m };
    kind what = kind::none;
    std::uint8_t at = 0, count = 1;
};

/// source  ggml-common.h, the block structs
[[nodiscard]] QLIB_INLINE constexpr ggml_floats ggml_floats_of(std::uint32_t type) noexcept {
    using enum ggml_floats::kind;
    switch (type) {
    case 0: return {f32};
    case 1: return {f16};
    case 3:
    case 7:
    case 9:
    case 12:
    case 13: return {f16, 0, 2};   // q4_1, q5_1, q8_1, q4_K, q5_K
    case 10: return {f16, 80, 2};  // q2_K
    case 11: return {f16, 108};    // q3_K
    case 14: return {f16, 208};    // q6_K
    case 15: return {f32};         // q8_K
    case 28: return {f64};
    case 29: return {iq1_m};
    case 30: return {bf16};
    case 34: return {f16, 52};  // tq1_0
    case 35: return {f16, 64};  // tq2_0
    case 39: return {e8m0};     // mxfp4
    case 2:
    case 6:
    case 8:
    case 16:
    case 17:
    case 18:
    case 19:
    case 20:
    case 21:
    case 22:
    case 23:
    case 41:
    case 42: return {f16};
    default: return {};  // integers; nvfp4, whose scales have no NaN in ggml's decoder
    }
}

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Whether all floats of a block are finite, by their exponents' bits.
template <ggml_floats::kind What>
[[nodiscard]] bool has_finite_floats(const std::byte* block, ggml_floats floats) noexcept {
    using enum ggml_floats::kind;
    const std::byte* const p = block + floats.at;
    if constexpr (What == f16) {
        bool all = (load_little(p, 2) & 0x7C00) != 0x7C00;
        if (floats.count == 2) all &= (load_little(p + 2, 2) & 0x7C00) != 0x7C00;
        return all;
    } else if constexpr (What == bf16) {
        return (load_little(p, 2) & 0x7F80) != 0x7F80;
    } else if constexpr (What == f32) {
        return (load_little(p, 4) & 0x7F800000) != 0x7F800000;
    } else if constexpr (What == f64) {
        return (load_little(p, 8) & 0x7FF0000000000000) != 0x7FF0000000000000;
    } else if constexpr (What == e8m0) {
        return *p != std::byte{0xFF};
    } else {  // iq1_m: an f16 in the top nibbles of four 16-bit words
        std::uint64_t scale = 0;
        for (int i = 0; i < 4; ++i) scale |= (load_little(block + 48 + 2 * i, 2) >> 12) << (4 * i);
        return (scale & 0x7C00) != 0x7C00;
    }
}

/// The first of `count` blocks of `bytes` bytes that has a float that is not finite; `count` when none has.
template <ggml_floats::kind What>
[[nodiscard]] std::size_t first_bad_block(const std::byte* data, std::size_t bytes, std::size_t count,
                                          ggml_floats floats) noexcept {
    for (std::size_t b = 0; b < count; ++b)
        if (!has_finite_floats<What>(data + b * bytes, floats)) return b;
    return count;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Checks that all scales of quantized data, or all elements of f16, bf16, f32 and f64 data, are finite.
///
/// type    ggml's number, as in gguf_tensor::type
/// data    whole blocks, at any address: gguf_tensor::data
/// error   non_finite, sizes {block, its first element}; unsupported for a type that ggml does not have; ragged when
///         blocks are cut
/// source  ggml_validate_row_data, which refuses all of Q8_1, and f64 beyond the range of f32
[[nodiscard]] inline status check_ggml_data(std::uint32_t type, std::span<const std::byte> data) noexcept {
    using enum detail::ggml_floats::kind;
    const auto info = ggml_type_info(type);
    if (!info) return info.error();
    if (data.size() % info->bytes != 0)
        return error{errc::ragged, "{0} bytes are no whole blocks of {1}", "tensor data", {data.size(), info->bytes}};
    const std::size_t count = data.size() / info->bytes;
    const detail::ggml_floats floats = detail::ggml_floats_of(type);
    std::size_t bad = count;
    switch (floats.what) {
    case none: break;
    case f16: bad = detail::first_bad_block<f16>(data.data(), info->bytes, count, floats); break;
    case bf16: bad = detail::first_bad_block<bf16>(data.data(), info->bytes, count, floats); break;
    case f32: bad = detail::first_bad_block<f32>(data.data(), info->bytes, count, floats); break;
    case f64: bad = detail::first_bad_block<f64>(data.data(), info->bytes, count, floats); break;
    case e8m0: bad = detail::first_bad_block<e8m0>(data.data(), info->bytes, count, floats); break;
    case iq1_m: bad = detail::first_bad_block<iq1_m>(data.data(), info->bytes, count, floats); break;
    }
    if (bad == count) return {};
    if (info->elements == 1) return error{errc::non_finite, "element {0} is not finite", "tensor data", {bad, bad}};
    return error{errc::non_finite,
                 "block {0}, from element {1} on, has a scale that is not finite",
                 "tensor data",
                 {bad, bad * info->elements}};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
