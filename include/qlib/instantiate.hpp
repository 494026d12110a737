#pragma once
// Defines the functions of any.hpp. Include it in exactly one source file of a program: it compiles every format for every room, which
// takes minutes. A file that needs fewer says which before it includes this one:
//
//     #define QLIB_INSTANTIATE_FORMATS(X) X(q4_k, 12, "Q4_K") X(q8_0, 8, "Q8_0") X(::my::format, 0x10000, "MINE")
//
// in the form of QLIB_NAMED_FORMATS: type as seen from namespace qlib, number, name. Formats of one's own take numbers from 0x10000 on.
#include "any.hpp"
#include "dequantize.hpp"
#include "qgemm_grouped.hpp"

#ifndef QLIB_INSTANTIATE_FORMATS
#define QLIB_INSTANTIATE_FORMATS QLIB_NAMED_FORMATS
#endif

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

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

template <block_format F> result<qview<F>> view_of(const any_view& v) noexcept {
    if (v.planes.empty()) return qview<F>::over(v.bytes, v.rows, v.cols, v.options);
    if (v.planes.size() != F::planes.size() || v.options.row_bytes != 0)
        return error{errc::shape, "{0} planes in place of {1}, or a row distance of {2} for all of them", "view", {v.planes.size(), F::planes.size(), v.options.row_bytes}};
    planes<F> where{.outer = v.options.outer};
    for (std::size_t p = 0; p < F::planes.size(); ++p) where.at[p] = v.planes[p];
    return qview<F>::over(where, v.rows, v.cols);
}

/// use(typed jobs), which lie in `memory`.
template <class Use> status with_typed_jobs(std::span<const any_gemm_job> jobs, workspace& memory, const Use& use) noexcept {
    auto* const typed = memory.take<gemm_job>(jobs.size());
    for (std::size_t j = 0; j < jobs.size(); ++j) {
        const status s = visit_instantiated(jobs[j].weights.format, [&]<block_format F>() -> status {
            const auto q = view_of<F>(jobs[j].weights);
            if (!q) return q.error();
            const gemm_job job{jobs[j].Y, jobs[j].X, *q};
            std::memcpy(static_cast<void*>(typed + j), &job, sizeof job);
            return {};
        });
        if (!s) return s;
    }
    return use(std::span<const gemm_job>(typed, jobs.size()));
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

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

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
        const auto q = detail::view_of<F>(weights);
        return q ? qlib::dequantize<F>(*q, out, how) : status(q.error());
    });
}

status dequantize_rows(const any_view& weights, std::span<const std::uint32_t> ids, matrix_view<float> out, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = detail::view_of<F>(weights);
        return q ? qlib::dequantize_rows<F>(*q, ids, out, how) : status(q.error());
    });
}

status qgemm(matrix_view<float> Y, matrix_view<const float> X, const any_view& weights, gemm_options options, call how) noexcept {
    return detail::visit_instantiated(weights.format, [&]<block_format F>() -> status {
        const auto q = detail::view_of<F>(weights);
        return q ? qlib::qgemm<F>(Y, X, *q, options, how) : status(q.error());
    });
}

status qgemm_grouped(std::span<const any_gemm_job> jobs, gemm_options options, call how) noexcept {
    const std::size_t own = detail::workspace::asked(detail::workspace::piece<gemm_job>(jobs.size()));
    detail::workspace memory;
    if (const status s = memory.open(how, detail::workspace::piece<gemm_job>(jobs.size())); !s) return s;
    if (!how.scratch.empty()) how.scratch = how.scratch.subspan(own);
    return detail::with_typed_jobs(jobs, memory, [&](std::span<const gemm_job> typed) {
        const bool given = how.scratch.data() != nullptr;
        if (given && how.scratch.empty() && qlib::qgemm_grouped_scratch_bytes(typed, options, how) != 0)
            return status(error{errc::scratch, "{0} bytes of scratch hold the jobs alone", "call.scratch", {own}});
        return qlib::qgemm_grouped(typed, options, how);
    });
}
std::size_t qgemm_grouped_scratch_bytes(std::span<const any_gemm_job> jobs, gemm_options options, call how) noexcept {
    const std::size_t piece = detail::workspace::piece<gemm_job>(jobs.size());
    std::size_t asked = 0;
    detail::workspace memory;
    if (!memory.open({}, piece)) return 0;
    const status s = detail::with_typed_jobs(jobs, memory, [&](std::span<const gemm_job> typed) -> status {
        asked = qlib::qgemm_grouped_scratch_bytes(typed, options, how);
        return {};
    });
    return s.ok() && asked != 0 ? detail::saturating_add(detail::workspace::asked(piece), asked) : 0;
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

}  // namespace qlib::inline QLIB_ABI
