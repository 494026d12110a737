#pragma once
// What a run prints: a line per tensor as it is written, or as it would be, then what was replaced and the totals.
#include "tensor_rules.hpp"

#include <algorithm>
#include <cstdio>

class report {
public:
    explicit report(const std::vector<planned_tensor>& plan) {
        for (const planned_tensor& p : plan) {
            name_width_ = std::max(name_width_, std::min(100, static_cast<int>(printable(p.source->name).size())));
            shape_width_ = std::max(shape_width_, static_cast<int>(p.source->shape_text().size()));
            format_width_ = std::max(format_width_, static_cast<int>(format_of(p).size()));
        }
    }

    /// The plan alone.
    void print(const std::vector<planned_tensor>& plan) {
        head("bytes", "");
        for (const planned_tensor& p : plan) {
            row(p);
            std::printf("%12llu  %s\n", static_cast<unsigned long long>(p.bytes), note_of(p).c_str());
            count(p, {});
        }
    }
    void head(const char* a, const char* b) const {
        std::printf("%-*s  %-*s  %-*s  %7s  %12s  %s\n", name_width_, "tensor", shape_width_, "shape", format_width_,
                    "format", "bits/w", a, b);
    }
    void add(const planned_tensor& p, const outcome& done, bool earlier, double seconds) {
        row(p);
        std::printf("%12s  ", p.format ? decibels(done.sums).c_str() : "copied");
        if (earlier) std::printf("%8s\n", "earlier");
        else std::printf("%8.1f\n", seconds * 1e3);
        std::fflush(stdout);
        count(p, done.sums);
    }

    /// Every replacement by shape, and what all of them cost.
    void substitutions(const std::vector<planned_tensor>& plan) const {
        double bytes = 0, wanted = 0;
        std::size_t tensors = 0;
        std::map<std::string, std::size_t> kinds;
        for (const planned_tensor& p : plan) {
            bytes += static_cast<double>(p.bytes);
            wanted += is_replaced(p) ? p.wanted_bytes : static_cast<double>(p.bytes);
            if (!is_replaced(p)) continue;
            ++tensors;
            ++kinds[p.format_name + " for " + p.wanted_name];
        }
        if (tensors == 0) return;
        std::printf("* replaced, as rows are not whole blocks: %zu of %zu tensors (", tensors, plan.size());
        for (const char* comma = ""; const auto& [kind, number] : kinds) {
            std::printf("%s%s x %zu", comma, kind.c_str(), number);
            comma = ", ";
        }
        std::printf("): %+.0f bytes, %.3f bits per weight instead of %.3f\n", bytes - wanted, bits(bytes),
                    bits(wanted));
    }
    /// How much of the model an imatrix knows.
    static void importance(const std::vector<planned_tensor>& plan) {
        const auto quantized =
            std::ranges::count_if(plan, [](const planned_tensor& p) { return p.format.has_value(); });
        const auto known = std::ranges::count_if(plan, [](const planned_tensor& p) { return !p.importance.empty(); });
        if (known == 0 && quantized != 0)
            throw std::runtime_error(
                "the imatrix knows none of the tensors that are to be quantized: is it another model's?");
        std::printf("the imatrix knows %td of %td tensors that are quantized\n", known, quantized);
    }
    /// What each rule of the command line did.
    static void rules(const std::vector<planned_tensor>& plan) {
        std::vector<std::string> told;
        for (const planned_tensor& p : plan) {
            if (p.rule.empty() || std::ranges::find(told, p.rule) != told.end()) continue;
            told.push_back(p.rule);
            const rule_use use = use_of(p.rule, plan);
            std::printf("%s: %zu tensors", printable(p.rule).c_str(), use.tensors);
            if (use.overruled != 0) std::printf(", and not %zu more, which engines need as they are", use.overruled);
            std::printf("\n");
        }
    }
    /// What was quantized before loses again.
    static void requantized(const std::vector<planned_tensor>& plan) {
        const auto again = [](const planned_tensor& p) {
            return p.format && p.source->type && !is_float(*p.source->type);
        };
        const auto count = std::ranges::count_if(plan, again);
        if (count != 0)
            std::fprintf(stderr,
                         "warning: %td tensors were quantized already; made from the original they would be better\n",
                         count);
    }
    void totals(std::uint64_t bytes_in, std::uint64_t bytes_out, double seconds) const {
        std::printf("total: %.2f MB -> %.2f MB, %.2f bits per weight", static_cast<double>(bytes_in) * 1e-6,
                    static_cast<double>(bytes_out) * 1e-6, bits(static_cast<double>(bytes_)));
        if (seconds > 0) std::printf(", %.2f s", seconds);
        std::printf("\n");
        if (quantized_ != 0 && seconds > 0)
            std::printf("quantized: %zu tensors, SQNR of all their weights together %s dB\n", quantized_,
                        decibels(sums_).c_str());
    }

private:
    static bool is_replaced(const planned_tensor& p) { return p.format_name != p.wanted_name; }
    static std::string format_of(const planned_tensor& p) { return p.format_name + (is_replaced(p) ? " *" : ""); }
    [[nodiscard]] double bits(double bytes) const {
        return weights_ != 0 ? 8 * bytes / static_cast<double>(weights_) : 0;
    }
    static std::string decibels(const qlib::sqnr& sums) {
        char text[32];
        std::snprintf(text, sizeof text, "%.2f", sums.decibels());
        return text;
    }
    /// Why a tensor gets its format, where that is not plain; and what a replacement costs.
    static std::string note_of(const planned_tensor& p) {
        std::string note = p.why == reason::kept    ? "kept"
                           : p.why == reason::rule  ? "rule"
                           : p.why == reason::asked ? "asked"
                                                    : "";
        if (!is_replaced(p)) return note;
        const double more = static_cast<double>(p.bytes) - p.wanted_bytes;
        char text[160];
        std::snprintf(text, sizeof text, "%s%s in place of %s: %+.0f bytes, %+.3f bits per weight",
                      note.empty() ? "" : ", ", p.format_name.c_str(), p.wanted_name.c_str(), more,
                      8 * more / static_cast<double>(p.source->weights()));
        return note + text;
    }
    void row(const planned_tensor& p) const {
        const std::uint64_t weights = p.source->weights();
        std::printf("%-*s  %-*s  %-*s  %7.3f  ", name_width_, printable(p.source->name).c_str(), shape_width_,
                    p.source->shape_text().c_str(), format_width_, format_of(p).c_str(),
                    weights != 0 ? 8 * static_cast<double>(p.bytes) / static_cast<double>(weights) : 0.0);
    }
    void count(const planned_tensor& p, const qlib::sqnr& sums) {
        weights_ += p.source->weights();
        bytes_ += p.bytes;
        quantized_ += p.format.has_value();
        sums_.add(sums);
    }

    int name_width_ = 6, shape_width_ = 5, format_width_ = 6;
    std::size_t quantized_ = 0;
    std::uint64_t weights_ = 0, bytes_ = 0;
    qlib::sqnr sums_;
};
