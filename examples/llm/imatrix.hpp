#pragma once
// Importance matrices: for each column of each weight the sum of its squared inputs over a text, as llama.cpp's
// llama-imatrix collects them.
#include "evaluate.hpp"

#include <qlib/file/imatrix.hpp>

#include <map>

class importance_collector {
public:
    /// with_output: the output matrix too, where it is not the embedding
    explicit importance_collector(bool with_output) : with_output_(with_output) {}

    /// Adds the inputs of a product; an observer for transformer::observe().
    void operator()(const matrix& W, qlib::matrix_view<const float> X) {
        if (!W.name.starts_with("blk.") && !(with_output_ && W.name == "output.weight")) return;
        entry& e = entries_[W.name];
        e.sums.resize(X.cols);
        for (std::size_t i = 0; i < X.rows; ++i)
            for (std::size_t c = 0; c < X.cols; ++c)
                e.sums[c] += static_cast<double>(X(i, c)) * static_cast<double>(X(i, c));
        e.tokens += static_cast<float>(X.rows);
    }
    [[nodiscard]] std::size_t size() const { return entries_.size(); }

    /// Hands all sums to a writer. They must stay here until it has written.
    void add_to(qlib::imatrix_writer& out) {
        for (auto& [name, e] : entries_) {
            e.rounded.assign(e.sums.begin(), e.sums.end());
            check(out.add(name, e.rounded, {&e.tokens, 1}), name);
        }
    }

private:
    struct entry {
        std::vector<double> sums;
        std::vector<float> rounded;
        float tokens = 0;
    };
    bool with_output_;
    std::map<std::string, entry> entries_;
};

/// Runs all chunks of a text through a model, whole batches at a time.
inline void collect_importance(transformer& engine, const chunked_text& text, bool with_output,
                               importance_collector& collector) {
    engine.observe(std::ref(collector));
    for (std::size_t c = 0; c < text.chunks(); ++c) {
        const std::vector<token> chunk = text.chunk(c);
        engine.restart();
        for (std::size_t at = 0; at < chunk.size(); at += engine.batch()) {
            const std::size_t count = std::min(engine.batch(), chunk.size() - at);
            engine.forward(std::span(chunk).subspan(at, count));
            if (with_output) static_cast<void>(engine.logits(0, count));
        }
    }
    engine.observe({});
}
