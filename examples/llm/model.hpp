#pragma once
// A Llama: its numbers, and its weights where they lie, quantized or not. What a file format's loader has to fill in.
#include "../common/failure.hpp"
#include "rope.hpp"

#include <qlib/any.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

/// Which two values of a head RoPE turns together: 2i with 2i + 1 (GGUF), or i with
/// i + half (safetensors of Hugging Face).
enum class rope_pairs { interleaved, half_split };

struct hyper_parameters {
    std::size_t dim = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0;
    std::size_t head_dim = 0;  ///< values of a head; dim / heads unless the model says otherwise
    std::size_t rotated = 0;   ///< values of a head that RoPE turns
    std::size_t context = 0;   ///< tokens that the model was trained on at once
    float epsilon = 1e-5f, rope_base = 10000;
    rope_scaling scaling;
    rope_pairs pairs = rope_pairs::interleaved;

    [[nodiscard]] std::size_t q_dim() const { return heads * head_dim; }
    [[nodiscard]] std::size_t kv_dim() const { return kv_heads * head_dim; }
};

/// A weight matrix in any of qlib's formats, plain floats among them. It multiplies as Y = X * W^T.
struct matrix {
    std::string name;  ///< as in GGUF files
    qlib::any_view weights;

    [[nodiscard]] std::string title() const {
        return name + " (" + std::to_string(weights.rows) + " x " + std::to_string(weights.cols) + ")";
    }
};

struct layer {
    std::vector<float> attention_norm, ffn_norm;
    matrix q, k, v, attention_output, gate, up, down;
};

struct model {
    hyper_parameters h;
    matrix embedding;  ///< (vocabulary, dim)
    std::vector<layer> layers;
    std::vector<float> output_norm;
    std::optional<matrix> output;      ///< (vocabulary, dim); none: the embedding serves again
    std::vector<float> rope_divisors;  ///< each frequency is divided by its own; empty: by 1

    std::shared_ptr<const void> file;    ///< what the matrices look into
    std::vector<qlib::any_matrix> made;  ///< and what was quantized after loading

    [[nodiscard]] std::size_t vocabulary() const { return embedding.weights.rows; }
    [[nodiscard]] const matrix& head() const { return output ? *output : embedding; }

    /// use(matrix) for each matrix once.
    template <class Use> void for_each_matrix(const Use& use) {
        use(embedding);
        for (layer& l : layers)
            for (matrix* m : {&l.q, &l.k, &l.v, &l.attention_output, &l.gate, &l.up, &l.down}) use(*m);
        if (output) use(*output);
    }
};

/// Refuses numbers that no model can have: others divide by them, and allocate what they say.
inline void check_numbers(const hyper_parameters& h, const std::string& path) {
    const auto need = [&](bool good, const char* rule) {
        if (!good) throw std::runtime_error(path + ": " + rule);
    };
    constexpr std::size_t most = std::size_t{1} << 24;
    need(h.layers > 0 && h.layers <= 65536, "the number of layers is 0, or absurd");
    need(h.dim > 0 && h.dim <= most && h.ffn > 0 && h.ffn <= most,
         "the embedding or feed-forward length is 0, or absurd");
    need(h.heads > 0 && h.kv_heads > 0 && h.heads <= h.dim, "there are no attention heads, or absurdly many");
    need(h.heads % h.kv_heads == 0, "the attention heads cannot share the heads of keys and values evenly");
    need(h.head_dim > 0 && h.head_dim <= most / h.heads, "a head has no values, or absurdly many");
    need(h.rotated > 0 && h.rotated % 2 == 0 && h.rotated <= h.head_dim,
         "RoPE turns pairs of values, one at least and no more than a head has");
    need(h.epsilon >= 0 && h.epsilon < 1, "the epsilon of the norms is absurd");
    need(h.rope_base > 0 && std::isfinite(h.rope_base), "the base of RoPE is not positive and finite");
}

/// Refuses divisors that would make positions infinite, or no numbers.
inline void check_divisors(std::span<const float> divisors, const char* name) {
    for (const float d : divisors)
        if (!(d > 0) || !std::isfinite(d)) throw std::runtime_error(std::string(name) + ": a value is not positive");
}

/// Looks up all tensors of a Llama. A source gives, by the names of GGUF, for tensors of exactly that shape or with an
/// error that names it: matrix_of(name, rows, cols); vector_of(name, length); has(name).
template <class Source> model assemble(Source& source, const hyper_parameters& h, std::size_t vocabulary) {
    if (vocabulary == 0) throw std::runtime_error("token_embd.weight: the tensor is missing, or has no rows");
    model m;
    m.h = h;
    m.embedding = source.matrix_of("token_embd.weight", vocabulary, h.dim);
    for (std::size_t i = 0; i < h.layers; ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        layer& l = m.layers.emplace_back();
        l.attention_norm = source.vector_of(at + "attn_norm.weight", h.dim);
        l.q = source.matrix_of(at + "attn_q.weight", h.q_dim(), h.dim);
        l.k = source.matrix_of(at + "attn_k.weight", h.kv_dim(), h.dim);
        l.v = source.matrix_of(at + "attn_v.weight", h.kv_dim(), h.dim);
        l.attention_output = source.matrix_of(at + "attn_output.weight", h.dim, h.q_dim());
        l.ffn_norm = source.vector_of(at + "ffn_norm.weight", h.dim);
        l.gate = source.matrix_of(at + "ffn_gate.weight", h.ffn, h.dim);
        l.up = source.matrix_of(at + "ffn_up.weight", h.ffn, h.dim);
        l.down = source.matrix_of(at + "ffn_down.weight", h.dim, h.ffn);
    }
    m.output_norm = source.vector_of("output_norm.weight", h.dim);
    if (source.has("output.weight")) m.output = source.matrix_of("output.weight", vocabulary, h.dim);
    if (source.has("rope_freqs.weight")) m.rope_divisors = source.vector_of("rope_freqs.weight", h.rotated / 2);
    check_divisors(m.rope_divisors, "rope_freqs.weight");
    return m;
}
