#pragma once
// What a tensor can become: a table from names and ggml's numbers to qlib's formats, which are types.
#include "sqnr.hpp"

#include <qlib/formats.hpp>
#include <qlib/quantize.hpp>

#include <span>
#include <string_view>
#include <vector>

/// A tensor's new bytes, and what they cost.
struct new_tensor {
    std::vector<std::byte> bytes;
    energy sums;
};

/// Quantizes one matrix, and decodes it again to measure.
template <qlib::block_format F>
qlib::status quantize_as(qlib::matrix_view<const float> W, qlib::fit fit, qlib::call how, new_tensor& out) {
    out.bytes.resize(qlib::wire_size<F>(W.rows, W.cols));
    const auto q = qlib::qspan<F>::over(std::span(out.bytes), W.rows, W.cols);
    if (!q) return q.error();
    if (const qlib::status s = qlib::quantize_into<F>(W, *q, {.fit = fit}, how); !s) return s;
    return measure<F>(W, *q, how, out.sums);
}

/// Halves, for rows that no block fits.
inline qlib::status round_to_f16(qlib::matrix_view<const float> W, qlib::fit, qlib::call, new_tensor& out) {
    out.bytes.resize(W.rows * W.cols * sizeof(qlib::f16));
    for (std::size_t i = 0; i < W.rows * W.cols; ++i) {
        const auto half = qlib::f16::from(W.data[i]);
        if (!std::isfinite(half.value()))
            return qlib::error{qlib::errc::overflow, "the weight in row {0}, column {1} is beyond f16's range", "W",
                               {i / W.cols, i % W.cols}};
        std::memcpy(&out.bytes[i * sizeof half], &half, sizeof half);
        out.sums.add(W.data[i], half.value());
    }
    return {};
}

/// One line of the table.
struct target {
    std::string_view name;
    std::uint32_t type;         ///< ggml's number
    std::size_t block;          ///< weights; a row must hold whole ones
    std::uint32_t file_type;    ///< llama.cpp's number for a model that is mostly of this type
    std::string_view fallback;  ///< for other rows: llama.cpp's choice, and f16 where it refuses
    qlib::status (*encode)(qlib::matrix_view<const float>, qlib::fit, qlib::call, new_tensor&);
};

template <qlib::block_format F>
constexpr target blocks_of(std::string_view name, std::uint32_t type, std::uint32_t file_type, std::string_view fallback) {
    return {name, type, qlib::block_size<F>, file_type, fallback, quantize_as<F>};
}

inline constexpr target targets[] = {
    blocks_of<qlib::q4_0>("q4_0", 2, 2, "f16"),
    blocks_of<qlib::q4_1>("q4_1", 3, 3, "f16"),
    blocks_of<qlib::q5_0>("q5_0", 6, 8, "f16"),
    blocks_of<qlib::q5_1>("q5_1", 7, 9, "f16"),
    blocks_of<qlib::q8_0>("q8_0", 8, 7, "f16"),
    blocks_of<qlib::q2_k>("q2_k", 10, 10, "q4_0"),
    blocks_of<qlib::q3_k>("q3_k", 11, 11, "q4_0"),
    blocks_of<qlib::q4_k>("q4_k", 12, 14, "q5_0"),
    blocks_of<qlib::q5_k>("q5_k", 13, 16, "q5_1"),
    blocks_of<qlib::q6_k>("q6_k", 14, 18, "q8_0"),
    blocks_of<qlib::iq4_nl>("iq4_nl", 20, 25, "f16"),
    blocks_of<qlib::iq4_xs>("iq4_xs", 23, 30, "iq4_nl"),
    blocks_of<qlib::tq1_0>("tq1_0", 34, 36, "q4_0"),
    blocks_of<qlib::tq2_0>("tq2_0", 35, 37, "q4_0"),
    blocks_of<qlib::mxfp4>("mxfp4", 39, 38, "f16"),
    blocks_of<qlib::q1_0>("q1_0", 41, 40, "f16"),
    blocks_of<qlib::q2_0>("q2_0", 42, 41, "q4_0"),
    {"f16", 1, 1, 1, "", round_to_f16},
};

inline const target* find_target(std::string_view name) {
    for (const target& t : targets)
        if (t.name == name) return &t;
    return nullptr;
}

/// The first of a format and its fallbacks whose blocks fill rows of `cols` weights. f16, the last of all, takes any.
inline const target& fitting_target(const target& wanted, std::uint64_t cols) {
    const target* t = &wanted;
    while (cols % t->block != 0) t = find_target(t->fallback);
    return *t;
}
