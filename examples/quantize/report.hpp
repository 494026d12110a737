#pragma once
// The table that a run prints: a line per tensor as it is written, then the totals.
#include "../common/failure.hpp"
#include "targets.hpp"

#include <algorithm>
#include <cstdio>

/// What became of one tensor. `to` is null for a copy.
struct outcome {
    const qlib::gguf_tensor* tensor = nullptr;
    const target* to = nullptr;
    bool fallback = false;
    std::size_t bytes = 0;
    energy sums;
    double seconds = 0;

    outcome(const qlib::gguf_tensor* t, std::size_t size) : tensor(t), bytes(size) {}
};

class report {
public:
    explicit report(std::span<const qlib::gguf_tensor> tensors) {
        for (const qlib::gguf_tensor& t : tensors) {
            name_width_ = std::max(name_width_, static_cast<int>(t.name.size()));
            shape_width_ = std::max(shape_width_, static_cast<int>(shape_of(t).size()));
        }
        std::printf("%-*s  %-*s  %-7s  %6s  %8s  %8s\n", name_width_, "tensor", shape_width_, "shape",
                    "format", "bits/w", "SQNR dB", "ms");
    }

    void add(const outcome& o) {
        const std::uint64_t weights = o.tensor->rows() * o.tensor->cols();
        const std::string name(o.tensor->name);
        std::printf("%-*s  %-*s  %-7s  %6.2f  %8s  %8.1f\n", name_width_, name.c_str(), shape_width_, shape_of(*o.tensor).c_str(),
                    format_of(o).c_str(), bits(o.bytes, weights), quality_of(o).c_str(), o.seconds * 1e3);
        std::fflush(stdout);
        fallbacks_ += o.fallback;
        weights_ += weights;
        bytes_ += o.bytes;
        quantized_ += o.to != nullptr;
        sums_.add(o.sums);
    }

    void totals(const std::string& format, std::uint64_t bytes_in, std::uint64_t bytes_out, double seconds) const {
        if (fallbacks_ != 0)
            std::printf("* fallback, %zu tensors: their rows are not whole blocks of %s\n", fallbacks_, format.c_str());
        const double in = static_cast<double>(bytes_in) * 1e-6, out = static_cast<double>(bytes_out) * 1e-6;
        std::printf("total: %.2f MB -> %.2f MB, %.2f bits per weight, %.2f s\n", in, out, bits(bytes_, weights_), seconds);
        if (quantized_ == 0) return;
        std::printf("quantized: %zu tensors, SQNR of all their weights together %s dB\n", quantized_, decibels(sums_).c_str());
    }

private:
    static double bits(std::uint64_t bytes, std::uint64_t weights) {
        return weights != 0 ? 8 * static_cast<double>(bytes) / static_cast<double>(weights) : 0;
    }
    static std::string format_of(const outcome& o) {
        const std::string_view name = o.to != nullptr ? o.to->name : qlib::ggml_type_info(o.tensor->type)->name;
        return std::string(name) + (o.fallback ? " *" : "");
    }
    static std::string quality_of(const outcome& o) { return o.to != nullptr ? decibels(o.sums) : "copied"; }
    static std::string decibels(const energy& sums) {
        char text[32];
        std::snprintf(text, sizeof text, "%.2f", sums.sqnr());
        return text;
    }

    int name_width_ = 6, shape_width_ = 5;
    std::size_t quantized_ = 0, fallbacks_ = 0;
    std::uint64_t weights_ = 0, bytes_ = 0;
    energy sums_;
};
