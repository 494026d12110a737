#pragma once
// How good a model is on a text, and how far from another. The convention is llama-perplexity's: chunks of
// `context` tokens, each with BOS in place of its first; only tokens in the second half of a chunk are predicted,
// so that each has a context to be predicted from.
#include "chunked_mean.hpp"
#include "tokenizer.hpp"
#include "transformer.hpp"

#include <qlib/evaluate/metrics.hpp>

/// A text cut into chunks.
class chunked_text {
public:
    /// chunks: how many; 0: all that the text has. skip: how many tokens are left out first
    chunked_text(const tokenizer& t, std::string_view text, std::size_t context, std::size_t chunks,
                 std::size_t skip = 0)
        : tokens_(t.encode(text)),
          context_(context),
          bos_(t.bos()) {
        tokens_.erase(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(std::min(skip, tokens_.size())));
        const std::size_t there = tokens_.size() / context;
        if (there == 0 || there < chunks)
            throw std::runtime_error("the text has " + std::to_string(there) + " chunks of " + std::to_string(context) +
                                     " tokens");
        chunks_ = chunks != 0 ? chunks : there;
    }
    [[nodiscard]] std::size_t context() const { return context_; }
    [[nodiscard]] std::size_t chunks() const { return chunks_; }
    [[nodiscard]] std::vector<token> chunk(std::size_t i) const {
        const auto first = tokens_.begin() + static_cast<std::ptrdiff_t>(i * context_);
        std::vector<token> out(first, first + static_cast<std::ptrdiff_t>(context_));
        if (bos_) out[0] = *bos_;
        return out;
    }
    void limit(std::size_t chunks) { chunks_ = std::min(chunks_, chunks); }

private:
    std::vector<token> tokens_;
    std::size_t context_, chunks_ = 0;
    std::optional<token> bos_;
};

/// score(row, tokens that follow, a's logits, b's logits) on all threads, for the positions of a chunk that count, in
/// strips of `strip` of them; then done(count) on this one. Two models walk in step; b may be null.
template <class Score, class Done>
void score_chunk(transformer& a, transformer* b, std::span<const token> chunk, qlib::thread_pool& threads,
                 const Score& score, const Done& done) {
    constexpr std::size_t strip = 64;  // a vocabulary is wide: logits of a whole batch could be hundreds of megabytes
    const std::size_t scored = chunk.size() / 2, end = chunk.size() - 1;
    a.restart();
    if (b != nullptr) b->restart();
    for (std::size_t at = 0, next = 0; at < end; at = next) {
        next = std::min(at + a.batch(), end);
        a.forward(chunk.subspan(at, next - at));
        if (b != nullptr) b->forward(chunk.subspan(at, next - at));
        for (std::size_t i = std::max(at, scored); i < next; i += strip) {
            const std::size_t count = std::min(strip, next - i);
            const auto of_a = a.logits(i - at, count), of_b = b != nullptr ? b->logits(i - at, count) : of_a;
            threads.run(count, [&](std::size_t row, std::size_t) {
                score(row, chunk[i + row + 1], std::span(of_a.row(row), of_a.cols),
                      std::span(of_b.row(row), of_b.cols));
            });
            done(count);
        }
    }
}

/// What a score gave, or why there is none.
inline double number_of(const qlib::result<double>& r) {
    if (!r) fail(r.error(), "the model's output");
    return *r;
}

/// exp(mean negative log-likelihood), and its standard error to first order.
struct perplexity {
    chunked_mean loss;
    [[nodiscard]] double value() const { return std::exp(loss.mean()); }
    [[nodiscard]] double error() const { return value() * loss.standard_error(); }
};

inline perplexity measure_perplexity(transformer& engine, const chunked_text& text, qlib::thread_pool& threads) {
    perplexity p;
    std::vector<std::optional<qlib::result<double>>> losses(text.context());
    for (std::size_t c = 0; c < text.chunks(); ++c) {
        const std::vector<token> chunk = text.chunk(c);
        score_chunk(
            engine, nullptr, chunk, threads,
            [&](std::size_t row, token next, std::span<const float> logits, std::span<const float>) {
                losses[row].emplace(qlib::negative_log_likelihood(logits, next));
            },
            [&](std::size_t count) {
                for (std::size_t row = 0; row < count; ++row) p.loss.add(number_of(*losses[row]));
            });
        p.loss.end_chunk();
    }
    return p;
}

/// How far model b is from model a, both on the same tokens.
struct comparison {
    perplexity a, b;
    chunked_mean kl, same_top1;
    std::vector<double> all_kl;  ///< of each token, one chunk behind the other

    void end_chunk() {
        for (chunked_mean* m : {&a.loss, &b.loss, &kl, &same_top1}) m->end_chunk();
    }
};

inline comparison compare_models(transformer& a, transformer& b, const chunked_text& text, qlib::thread_pool& threads) {
    struct scores {
        qlib::result<double> loss_a, loss_b, kl;
        bool same_top1;
    };
    comparison out;
    std::vector<std::optional<scores>> rows(text.context());
    for (std::size_t c = 0; c < text.chunks(); ++c) {
        const std::vector<token> chunk = text.chunk(c);
        score_chunk(
            a, &b, chunk, threads,
            [&](std::size_t row, token next, std::span<const float> p, std::span<const float> q) {
                const auto best_p = qlib::top1(p),
                           best_q = qlib::top1(q);  // an error of theirs is one of the others, too
                rows[row].emplace(scores{qlib::negative_log_likelihood(p, next), qlib::negative_log_likelihood(q, next),
                                         qlib::kl_divergence(p, q), best_p && best_q && *best_p == *best_q});
            },
            [&](std::size_t count) {
                for (std::size_t row = 0; row < count; ++row) {
                    const scores& s = *rows[row];
                    out.a.loss.add(number_of(s.loss_a));
                    out.b.loss.add(number_of(s.loss_b));
                    out.kl.add(out.all_kl.emplace_back(number_of(s.kl)));
                    out.same_top1.add(s.same_top1 ? 1.0 : 0.0);
                }
            });
        out.end_chunk();
    }
    return out;
}
