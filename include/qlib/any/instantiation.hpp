#pragma once
// Makes the tables of any/operations.hpp: compiles formats, each for every instruction set.
#include "../dequantize.hpp"
#include "../formats.hpp"
#include "../gptq.hpp"
#include "../qgemm_grouped.hpp"
#include "operations.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The number of a format of the user's own, then those of the named ones.
template <class F> inline constexpr std::uint32_t format_number = [] {
    static_assert(
        requires { F::number; },
        "a format of your own needs a number: static constexpr std::uint32_t number = 0x10000;");
    static_assert(F::number >= 0x10000, "numbers below 0x10000 are qlib's");
    return F::number;
}();
#define QLIB_FORMAT(type, number, name) template <> inline constexpr std::uint32_t format_number<type> = number;
QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT

template <block_format F> result<qview<F>> view_of(const any_view& v) noexcept {
    if (v.planes.empty()) return qview<F>::over(v.bytes, v.rows, v.cols, v.options);
    if (v.planes.size() != F::planes.size() || v.options.row_bytes != 0)
        return error{errc::shape,
                     "{0} planes in place of {1}, or a row distance of {2} for all of them",
                     "view",
                     {v.planes.size(), F::planes.size(), v.options.row_bytes}};
    planes<F> where{.outer = v.options.outer};
    for (std::size_t p = 0; p < F::planes.size(); ++p) where.at[p] = v.planes[p];
    return qview<F>::over(where, v.rows, v.cols);
}

template <block_format F> constexpr void decodes(any_operations& o) noexcept {
    o.dequantize = [](const any_view& weights, matrix_view<float> out, const call& how) noexcept -> status {
        const auto q = view_of<F>(weights);
        return q ? qlib::dequantize<F>(*q, out, how) : status(q.error());
    };
    o.dequantize_rows = [](const any_view& weights, std::span<const std::uint32_t> ids, matrix_view<float> out,
                           const call& how) noexcept -> status {
        const auto q = view_of<F>(weights);
        return q ? qlib::dequantize_rows<F>(*q, ids, out, how) : status(q.error());
    };
}

template <block_format F> constexpr void multiplies(any_operations& o) noexcept {
    o.weights_of = [](const any_view& weights) noexcept -> result<weights_ref> {
        const auto q = view_of<F>(weights);
        if (!q) return q.error();
        return weights_ref(*q);
    };
    o.qgemm_scratch_bytes = [](std::size_t n, std::size_t rows, std::size_t k, const qgemm_options& options,
                               const call& how) noexcept -> result<std::size_t> {
        return qlib::qgemm_scratch_bytes<F>(n, rows, k, options, how);
    };
}

template <block_format F> constexpr void quantizes(any_operations& o) noexcept {
    o.quantize_into = [](matrix_view<const float> W, std::span<std::byte> bytes, const quantize_options& options,
                         const call& how) noexcept -> status {
        const auto out = qspan<F>::over(bytes, W.rows, W.cols);
        return out ? qlib::quantize_into<F>(W, *out, options, how) : status(out.error());
    };
}

/// The bytes are written last: they are whole, or untouched after an error.
template <block_format F>
result<gptq_report> gptq_into(matrix_view<const float> W, const hessian_factor& factor, std::span<std::byte> bytes,
                              const gptq_options& options, const call& how) noexcept {
    if (const auto fits = qspan<F>::over(bytes, W.rows, W.cols); !fits) return fits.error();
    const auto done = qlib::gptq<F>(W, factor, options, how);
    if (!done) return done.error();
    const auto made = done->weights.bytes();
    if (!made.empty()) std::memcpy(bytes.data(), made.data(), made.size());
    return done->report;
}
template <block_format F> constexpr void runs_gptq(any_operations& o) noexcept {
    o.gptq_scratch_bytes = [](std::size_t rows, std::size_t cols, std::size_t workers) noexcept -> result<std::size_t> {
        return qlib::gptq_scratch_bytes<F>(rows, cols, workers);
    };
    o.gptq = gptq_into<F>;
}

template <block_format F, operations Which> constexpr any_operations make_operations() noexcept {
    constexpr auto has = [](operations o) { return (static_cast<unsigned>(Which) & static_cast<unsigned>(o)) != 0; };
    any_operations o{};
    o.wire_size = [](std::size_t rows, std::size_t cols) noexcept -> result<std::size_t> {
        if (const status s = check_shape<F>(rows, cols, "matrix"); !s) return s.error();
        return qlib::wire_size<F>(rows, cols);
    };
    if constexpr (has(operations::decode)) decodes<F>(o);
    if constexpr (has(operations::multiply)) multiplies<F>(o);
    if constexpr (has(operations::quantize)) quantizes<F>(o);
    if constexpr (has(operations::gptq)) runs_gptq<F>(o);
    return o;
}

/// Every Parts-th of these formats, from number Part on.
template <operations Which, std::size_t Part, std::size_t Parts, block_format... F> struct instantiation {
    static const any_operations* operations_of(format_id id) noexcept {
        return among(id, std::index_sequence_for<F...>{});
    }

private:
    template <block_format G> static constexpr any_operations table = make_operations<G, Which>();

    template <std::size_t... Index>
    static const any_operations* among(format_id id, std::index_sequence<Index...>) noexcept {
        const any_operations* found = nullptr;
        const auto look = [&]<std::size_t Place, block_format G> {
            if constexpr (Place % Parts == Part)
                if (format_number<G> == static_cast<std::uint32_t>(id)) found = &table<G>;
        };
        (look.template operator()<Index, F>(), ...);
        return found;
    }
};

template <std::size_t Part, std::size_t Parts, class Nothing, class... F> struct part_of
    : instantiation<operations::all, Part, Parts, F...> {};
#define QLIB_FORMAT(type, number, name) , type
/// Every Parts-th named format.
template <std::size_t Part, std::size_t Parts> struct part_of_named
    : part_of<Part, Parts, void QLIB_NAMED_FORMATS(QLIB_FORMAT)> {};
#undef QLIB_FORMAT

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
