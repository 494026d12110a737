#pragma once
// The forward pass: RMS norms, attention with rotary positions over a KV cache,
// SwiGLU. Every matrix product is qgemm's.
#include "model.hpp"

#include <qlib/core/thread_pool.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>

using token = std::uint32_t;

/// What is told of each product: the matrix and its inputs, one row per token.
using product_observer = std::function<void(const matrix&, qlib::matrix_view<const float>)>;

/// One sequence of tokens in a model. The model must outlive it.
class transformer {
public:
    /// context  tokens that the sequence may have
    /// batch    tokens that one call of forward() may bring
    transformer(const model& m, qlib::thread_pool& threads, std::size_t context, std::size_t batch,
                qlib::gemm_options options = {})
        : m_(m),
          threads_(threads),
          options_(options),
          context_(context),
          batch_(std::min(batch, context)) {
        const hyper_parameters& h = m.h;
        keys_.resize(h.layers * context * h.kv_dim());
        values_.resize(keys_.size());
        for (std::vector<float>* wide : {&x_, &normed_, &out_}) wide->resize(batch_ * h.dim);
        for (std::vector<float>* heads : {&q_, &attended_}) heads->resize(batch_ * h.q_dim());
        for (std::vector<float>* inner : {&gate_, &up_}) inner->resize(batch_ * h.ffn);
        v_.resize(batch_ * h.kv_dim());
        scores_.resize(threads.workers() * batch_ * context);
        frequencies_ = rope_frequencies(h.rotated, static_cast<double>(h.rope_base), h.scaling, m.rope_divisors);
    }
    void observe(product_observer observer) { observer_ = std::move(observer); }
    [[nodiscard]] std::size_t length() const { return length_; }
    [[nodiscard]] std::size_t batch() const { return batch_; }
    void restart() { length_ = 0; }

    /// Appends up to batch() tokens to the sequence.
    void forward(std::span<const token> tokens) {
        if (tokens.empty() || tokens.size() > batch_ || tokens.size() > context_ - length_)
            throw std::runtime_error(std::to_string(length_ + tokens.size()) + " tokens in a context of " +
                                     std::to_string(context_));
        count_ = tokens.size();
        check(qlib::dequantize_rows(m_.embedding.weights, tokens, rows(x_, m_.h.dim), how()), m_.embedding.title());
        for (std::size_t i = 0; i < m_.layers.size(); ++i) {
            attention(m_.layers[i], i);
            feed_forward(m_.layers[i]);
        }
        norm(m_.output_norm);  // normed_ is what logits() reads
        length_ += count_;
    }

    /// The logits of what follows token first, first + 1, ... of the last forward();
    /// (count, vocabulary), valid until the next call.
    [[nodiscard]] qlib::matrix_view<const float> logits(std::size_t first, std::size_t count) {
        if (first > count_ || count > count_ - first)
            throw std::runtime_error("logits of tokens that were not in the last batch");
        logits_.resize(std::max(logits_.size(), count * m_.vocabulary()));
        const qlib::matrix_view<float> y{logits_.data(), count, m_.vocabulary()};
        multiply(rows(normed_, m_.h.dim).row_range(first, count), {{y, m_.head()}});
        return y;
    }
    [[nodiscard]] std::span<const float> last_logits() { return {logits(count_ - 1, 1).data, m_.vocabulary()}; }

private:
    [[nodiscard]] qlib::call how() const { return {.run = threads_}; }
    /// The part of a buffer that this batch uses.
    [[nodiscard]] qlib::matrix_view<float> rows(std::vector<float>& buffer, std::size_t cols) const {
        return {buffer.data(), count_, cols};
    }
    /// task(i) for all tokens i of the batch.
    template <class Task> void for_each_token(const Task& task) {
        threads_.run(count_, [&](std::size_t i, std::size_t) { task(i); });
    }

    /// One product of several with the same inputs.
    struct product {
        qlib::matrix_view<float> Y;
        const matrix& W;
    };
    /// All Y = X * W^T in one parallel loop, which rounds and packs X once.
    void multiply(qlib::matrix_view<const float> X, std::initializer_list<product> products) {
        jobs_.clear();
        for (const product& p : products) {
            if (observer_) observer_(p.W, X);
            jobs_.push_back({p.Y, X, p.W.weights});
        }
        check(qlib::qgemm_grouped(jobs_, options_, how()), products.begin()->W.title());
    }

    void attention(const layer& l, std::size_t index) {
        const hyper_parameters& h = m_.h;
        norm(l.attention_norm);
        // The keys of the new tokens go straight to their places in the cache, whose rows are positions.
        float* const keys = keys_.data() + index * context_ * h.kv_dim();
        float* const values = values_.data() + index * context_ * h.kv_dim();
        const qlib::matrix_view<float> new_keys{keys + length_ * h.kv_dim(), count_, h.kv_dim()};
        const auto x = rows(normed_, h.dim), q = rows(q_, h.q_dim()), v = rows(v_, h.kv_dim());
        multiply(x, {{q, l.q}, {new_keys, l.k}, {v, l.v}});
        for_each_token([&](std::size_t i) {
            rotate(q.row(i), h.heads, length_ + i);
            rotate(new_keys.row(i), h.kv_heads, length_ + i);
            for (std::size_t c = 0; c < v.cols; ++c) values[c * context_ + length_ + i] = v(i, c);
        });
        std::vector<qlib::status> done(h.heads);
        threads_.run(h.heads,
                     [&](std::size_t head, std::size_t worker) { done[head] = attend(keys, values, head, worker); });
        for (const qlib::status& s : done) check(s, "attention");
        multiply(rows(attended_, h.q_dim()), {{rows(out_, h.dim), l.attention_output}});
        add_residual();
    }

    /// softmax(Q * K^T / sqrt(head_dim)) * V of one head for all new tokens, each of which sees the positions up to its
    /// own. The cache is a matrix of floats, so both products are qgemm's, too: K as it is, V transposed.
    [[nodiscard]] qlib::status attend(const float* keys, const float* values, std::size_t head, std::size_t worker) {
        const hyper_parameters& h = m_.h;
        const std::size_t kv = head / (h.heads / h.kv_heads) * h.head_dim, positions = length_ + count_;
        const qlib::matrix_view<float> scores{scores_.data() + worker * batch_ * context_, count_, positions};
        const qlib::matrix_view<const float> q{q_.data() + head * h.head_dim, count_, h.head_dim, h.q_dim()};
        if (const qlib::status s = qlib::qgemm(scores, q, floats(keys + kv, positions, h.head_dim, h.kv_dim())); !s)
            return s;
        for (std::size_t i = 0; i < count_; ++i) softmax(scores.row(i), length_ + i + 1, positions);
        const qlib::matrix_view<float> y{attended_.data() + head * h.head_dim, count_, h.head_dim, h.q_dim()};
        return qlib::qgemm(y, scores, floats(values + kv * context_, h.head_dim, positions, context_));
    }
    /// A part of the cache as weights.
    static qlib::any_view floats(const float* data, std::size_t rows, std::size_t cols, std::size_t stride) {
        const auto bytes = std::as_bytes(std::span(data, (rows - 1) * stride + cols));
        return {qlib::format_id::dense_f32, bytes, rows, cols, {.row_bytes = stride * sizeof(float)}};
    }
    /// Of x[0 .. seen) / sqrt(head_dim), in place; zeros from there to `all`.
    void softmax(float* x, std::size_t seen, std::size_t all) const {
        const float scale = 1.0f / std::sqrt(static_cast<float>(m_.h.head_dim)),
                    largest = *std::max_element(x, x + seen);
        float sum = 0;
        for (std::size_t p = 0; p < seen; ++p) sum += x[p] = std::exp((x[p] - largest) * scale);
        for (std::size_t p = 0; p < seen; ++p) x[p] /= sum;
        std::fill(x + seen, x + all, 0.0f);
    }

    void feed_forward(const layer& l) {
        const hyper_parameters& h = m_.h;
        norm(l.ffn_norm);
        const auto gate = rows(gate_, h.ffn), up = rows(up_, h.ffn);
        multiply(rows(normed_, h.dim), {{gate, l.gate}, {up, l.up}});
        for_each_token([&](std::size_t i) {
            for (std::size_t c = 0; c < h.ffn; ++c)
                gate(i, c) = gate(i, c) / (1.0f + std::exp(-gate(i, c))) * up(i, c);  // SiLU
        });
        multiply(gate, {{rows(out_, h.dim), l.down}});
        add_residual();
    }

    /// normed_ = x_ / rms(x_) * weight, row by row.
    void norm(const std::vector<float>& weight) {
        const auto x = rows(x_, m_.h.dim), y = rows(normed_, m_.h.dim);
        for_each_token([&](std::size_t i) {
            double squares = 0;
            for (std::size_t c = 0; c < x.cols; ++c)
                squares += static_cast<double>(x(i, c)) * static_cast<double>(x(i, c));
            const float mean = static_cast<float>(squares / static_cast<double>(x.cols)),
                        scale = 1.0f / std::sqrt(mean + m_.h.epsilon);
            for (std::size_t c = 0; c < x.cols; ++c) y(i, c) = x(i, c) * scale * weight[c];
        });
    }
    void add_residual() {
        for (std::size_t i = 0; i < count_ * m_.h.dim; ++i) x_[i] += out_[i];
    }

    /// Turns the pairs of all heads in a row by the angles of a position.
    void rotate(float* row, std::size_t heads, std::size_t position) const {
        const std::size_t half = m_.h.rotated / 2;
        const bool split = m_.h.pairs == rope_pairs::half_split;
        for (std::size_t p = 0; p < half; ++p) {
            const double angle = static_cast<double>(position) * frequencies_[p];
            const float c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
            for (std::size_t head = 0; head < heads; ++head) {
                float* pair = row + head * m_.h.head_dim + (split ? p : 2 * p);
                float &a = pair[0], &b = pair[split ? half : 1];
                const float turned = a * c - b * s;
                b = a * s + b * c;
                a = turned;
            }
        }
    }

    const model& m_;
    qlib::thread_pool& threads_;
    qlib::gemm_options options_;
    product_observer observer_;
    std::vector<qlib::any_gemm_job> jobs_;
    std::size_t context_, batch_, length_ = 0, count_ = 0;
    std::vector<float> keys_;              // (layers, context, kv_dim)
    std::vector<float> values_;            // (layers, kv_dim, context)
    std::vector<float> x_, normed_, out_;  // (batch, dim)
    std::vector<float> q_, attended_;      // (batch, q_dim)
    std::vector<float> v_;                 // (batch, kv_dim)
    std::vector<float> gate_, up_;         // (batch, ffn)
    std::vector<float> scores_;            // (workers, batch, context)
    std::vector<float> logits_;            // (tokens asked for, vocabulary)
    std::vector<double> frequencies_;
};
