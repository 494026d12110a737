#pragma once
// Defines the functions of any.hpp. Include it in exactly one source file of a program: it compiles every format for every room, which
// takes minutes. A file that needs fewer says which before it includes this one:
//
//     #define QLIB_INSTANTIATE_FORMATS(X) X(q4_k, 12, "Q4_K") X(q8_0, 8, "Q8_0") X(::my::format, 0x10000, "MINE")
//
// in the form of QLIB_NAMED_FORMATS: type as seen from namespace qlib, number, name. Formats of one's own take numbers from 0x10000 on.
#include "any.hpp"
#include "dequantize.hpp"

#ifndef QLIB_INSTANTIATE_FORMATS
#define QLIB_INSTANTIATE_FORMATS QLIB_NAMED_FORMATS
#endif

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// visit(), over the instantiated formats only.
template <class Use> auto visit_instantiated(format_id id, const Use& use) noexcept {
    using R = decltype(use.template operator()<q4_0>());
    switch (static_cast<std::uint32_t>(id)) {
#define QLIB_FORMAT(type, number, name) \
    case number: return use.template operator()<type>();
        QLIB_INSTANTIATE_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
    default: break;
    }
    return R(error{errc::unsupported, "format number {0} was not instantiated", "format", {static_cast<std::uint64_t>(id)}});
}

template <class Hessian>
result<gptq_report> gptq_into(format_id format, matrix_view<const float> W, const Hessian& h, std::span<std::byte> bytes, const gptq_options& options,
                              const call& how) noexcept {
    return visit_instantiated(format, [&]<block_format F>() -> result<gptq_report> {
        if (const auto fits = qspan<F>::over(bytes, W.rows, W.cols); !fits) return fits.error();
        const auto done = qlib::gptq<F>(W, h, options, how);
        if (!done) return done.error();
        const auto made = done->weights.bytes();
        if (!made.empty()) std::memcpy(bytes.data(), made.data(), made.size());
        return done->report;
    });
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

result<std::size_t> wire_size(format_id format, std::size_t rows, std::size_t cols) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> result<std::size_t> {
        if (const status s = detail::check_shape<F>(rows, cols, "matrix"); !s) return s.error();
        return wire_size<F>(rows, cols);
    });
}

status quantize_into(format_id format, matrix_view<const float> W, std::span<std::byte> bytes, quantize_options options, call how) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> status {
        const auto out = qspan<F>::over(bytes, W.rows, W.cols);
        return out ? qlib::quantize_into<F>(W, *out, options, how) : status(out.error());
    });
}

status dequantize(const any_view& weights, matrix_view<float> out, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = qview<F>::over(weights.bytes, weights.rows, weights.cols, weights.options);
        return q ? qlib::dequantize<F>(*q, out, how) : status(q.error());
    });
}

status dequantize_rows(const any_view& weights, std::span<const std::uint32_t> ids, matrix_view<float> out, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = qview<F>::over(weights.bytes, weights.rows, weights.cols, weights.options);
        return q ? qlib::dequantize_rows<F>(*q, ids, out, how) : status(q.error());
    });
}

status qgemm(matrix_view<float> Y, matrix_view<const float> X, const any_view& weights, gemm_options options, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = qview<F>::over(weights.bytes, weights.rows, weights.cols, weights.options);
        return q ? qlib::qgemm<F>(Y, X, *q, options, how) : status(q.error());
    });
}

result<std::size_t> qgemm_scratch_bytes(format_id format, std::size_t n, std::size_t rows, std::size_t k, gemm_options options, const call& how) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> result<std::size_t> { return qlib::qgemm_scratch_bytes<F>(n, rows, k, options, how); });
}
result<std::size_t> gptq_scratch_bytes(format_id format, std::size_t rows, std::size_t cols, std::size_t workers) noexcept {
    return detail::visit_instantiated(format, [&]<block_format F>() -> result<std::size_t> { return qlib::gptq_scratch_bytes<F>(rows, cols, workers); });
}

result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian& h, std::span<std::byte> bytes, gptq_options options,
                         call how) noexcept {
    return detail::gptq_into(format, W, h, bytes, options, how);
}
result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian_factor& factor, std::span<std::byte> bytes, gptq_options options,
                         call how) noexcept {
    return detail::gptq_into(format, W, factor, bytes, options, how);
}

result<any_matrix> quantize(format_id format, matrix_view<const float> W, quantize_options options, call how) noexcept {
    auto q = any_matrix::make(format, W.rows, W.cols);
    if (!q) return q.error();
    if (const status s = quantize_into(format, W, q->bytes(), options, how); !s) return s.error();
    return q;
}

}  // namespace qlib::inline v0
