#pragma once
// One tensor from floats to bytes, a strip of rows at a time: memory does not grow
// with the tensor, and what was read is given back.
#include "../common/failure.hpp"
#include "finite_floats.hpp"
#include "source_floats.hpp"

#include <qlib/core/thread_pool.hpp>

#include <cmath>
#include <functional>

/// A call with a tensor's error: its name, shape and rule, the row counted from the tensor's first.
inline void check_rows(const qlib::status& s, const source_tensor& t, std::uint64_t first_row) {
    if (s) return;
    qlib::error e = s.error();
    if (e.code == qlib::errc::non_finite || e.code == qlib::errc::overflow) e.sizes[0] += first_row;
    fail(e, t.title());
}

class tensor_encoder {
public:
    /// Gets the bytes in order.
    using sink = std::function<void(std::span<const std::byte>)>;
    /// Is told how many bytes of the input were dealt with.
    using progress = std::function<void(std::uint64_t)>;

    tensor_encoder(qlib::fit fit, std::size_t threads, progress told)
        : fit_(fit),
          threads_(threads),
          told_(std::move(told)) {}

    /// Quantizes a tensor, or copies it.
    outcome encode(const planned_tensor& p, const sink& out) {
        outcome result;
        if (!p.format) return copy(*p.source, out), result;
        const codec& format = *find_codec(*p.format);
        std::vector<std::byte> bytes;
        for_each_strip(*p.source, format.by_rows, [&](matrix W, std::uint64_t matrix_index, std::uint64_t first_row) {
            const std::span<const float> importance = importance_of(p, matrix_index);
            bytes.resize(format.bytes(W.rows, W.cols));
            check_rows(format.encode(W, {.fit = fit_, .importance = importance}, {.run = threads_}, bytes), *p.source,
                       first_row);
            measure_strips(W, format, bytes, importance, result);
            if (!std::isfinite(result.sums.noise()))
                throw std::runtime_error(p.source->title() + ": its weights decode to numbers that are not finite");
            out(bytes);
        });
        return result;
    }

    /// Compares a tensor with its quantized form, all of it.
    outcome compare(const planned_tensor& p, std::span<const std::byte> quantized) {
        outcome result;
        const codec& format = *find_codec(*p.format);
        for_each_strip(*p.source, format.by_rows, [&](matrix W, std::uint64_t matrix_index, std::uint64_t) {
            const std::size_t bytes = format.bytes(W.rows, W.cols);
            measure_strips(W, format, quantized.first(bytes), importance_of(p, matrix_index), result);
            quantized = quantized.subspan(bytes);
        });
        return result;
    }

private:
    using matrix = qlib::matrix_view<const float>;
    static constexpr std::size_t strip_weights = std::size_t{1} << 22;  // 16 MiB of floats

    /// use(rows as floats, which matrix of a stack, which row of the tensor is first)
    template <class Use> void for_each_strip(const source_tensor& t, bool by_rows, const Use& use) {
        const std::size_t cols = t.cols();
        const std::uint64_t rows = t.ne[1];
        if (t.weights() == 0) return;
        const std::uint64_t strip = std::max<std::uint64_t>(1, std::min<std::uint64_t>(rows, strip_weights / cols));
        const std::uint64_t step = by_rows && !t.transposed ? strip : rows;
        for (std::uint64_t row = 0, end = t.rows(); row < end;) {
            const std::uint64_t count = std::min(step, rows - row % rows);  // a strip ends where its matrix does
            weights_.resize(count * cols);
            read_rows(t, row, {weights_.data(), count, cols}, threads_);
            use({weights_.data(), count, cols}, row / rows, row);
            told_(count * bytes_of_row(t));
            row += count;
        }
    }
    void measure_strips(matrix W, const codec& format, std::span<const std::byte> bytes,
                        std::span<const float> importance, outcome& result) {
        const std::size_t step = std::max<std::size_t>(1, std::min<std::size_t>(W.rows, strip_weights / W.cols));
        // Blocks that run over row ends can only be decoded all at once.
        const bool in_strips = format.by_rows || W.cols % 256 == 0;
        for (std::size_t first = 0; first < W.rows;) {
            const std::size_t count = in_strips ? std::min(step, W.rows - first) : W.rows;
            decoded_.resize(count * W.cols);
            const qlib::matrix_view<float> decoded{decoded_.data(), count, W.cols};
            check(format.decode(bytes, W.rows, first, decoded, {.run = threads_}), "decoding");
            measure({W.row(first), count, W.cols, W.stride}, decoded, importance, threads_, result.sums,
                    result.weighted);
            first += count;
        }
    }
    static std::span<const float> importance_of(const planned_tensor& p, std::uint64_t matrix_index) {
        if (p.importance.empty()) return {};
        const std::size_t cols = p.source->cols();
        return p.importance.subspan(matrix_index % p.source->ne[2] * cols, cols);
    }
    void copy(const source_tensor& t, const sink& out) {
        const std::size_t piece = (std::size_t{1} << 23) / indivisible_bytes(t) * indivisible_bytes(t);
        for (std::size_t at = 0; at < t.data.size(); at += piece) {
            const auto part = t.data.subspan(at, std::min(piece, t.data.size() - at));
            check_floats(t, part, at);
            out(part);
            release(*t.file, part);
            told_(part.size());
        }
    }

    qlib::fit fit_;
    qlib::thread_pool threads_;
    progress told_;
    std::vector<float> weights_, decoded_;
};
