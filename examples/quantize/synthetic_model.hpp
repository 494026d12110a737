#pragma once
// A small model with the metadata and tensors of a Llama and the same random weights on every machine: something to
// quantize where no model is at hand. Engines load and run it; what it writes is noise.
#include "../common/file_sink.hpp"
#include "../common/work_folder.hpp"

#include <qlib/numeric/minifloat.hpp>

#include <array>
#include <cmath>
#include <vector>

class synthetic_model {
public:
    void write(const std::string& path) {
        describe();
        add_norm("output_norm.weight");  // in the order of llama.cpp's own quantizer
        add("token_embd.weight", dim, vocabulary);
        for (std::uint32_t i = 0; i < layers; ++i) {
            const std::string layer = "blk." + std::to_string(i) + ".";
            add(layer + "attn_k.weight", dim, dim * kv_heads / heads);
            add_norm(layer + "attn_norm.weight");
            add(layer + "attn_output.weight", dim, dim);
            add(layer + "attn_q.weight", dim, dim);
            add(layer + "attn_v.weight", dim, dim * kv_heads / heads);
            add(layer + "ffn_down.weight", ffn, dim);
            add(layer + "ffn_gate.weight", dim, ffn);
            add_norm(layer + "ffn_norm.weight");
            add(layer + "ffn_up.weight", dim, ffn);
        }
        const work_folder work(path);
        const descriptor file = work.open("model");
        file_sink sink(file);
        sink.check(out_.begin(sink), path);
        for (const planned& t : tensors_) sink.check(out_.write(t.name, weights(t)), t.name);
        sink.check(out_.finish(), path);
        work.keep(file, path);
    }

private:
    // Rows of 640 are not whole blocks of 256: real models have such rows too.
    static constexpr std::uint32_t layers = 2, dim = 256, ffn = 640, heads = 4, kv_heads = 2, vocabulary = 260;

    struct planned {
        std::string name;
        std::uint64_t cols, rows;
        bool norm;
    };

    template <class T> void set(std::string_view key, const T& value) { check(out_.set(key, value), key); }
    template <class T> void set_array(std::string_view key, const T& values) {
        check(out_.set_array(key, values), key);
    }

    void describe() {
        set("general.architecture", "llama");
        set("general.name", "synthetic");
        set("general.file_type", std::uint32_t{1});
        set("llama.block_count", layers);
        set("llama.context_length", std::uint32_t{512});
        set("llama.embedding_length", dim);
        set("llama.feed_forward_length", ffn);
        set("llama.attention.head_count", heads);
        set("llama.attention.head_count_kv", kv_heads);
        set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
        set("llama.rope.dimension_count", dim / heads);
        describe_vocabulary();
    }
    /// SentencePiece's least: three tokens for control, one per byte, and the space.
    void describe_vocabulary() {
        constexpr std::int32_t normal = 1, unknown = 2, control = 3, byte = 6;
        std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
        std::vector<std::int32_t> types{unknown, control, control};
        for (unsigned b = 0; b < 256; ++b) {
            char text[8];
            std::snprintf(text, sizeof text, "<0x%02X>", b);
            tokens.emplace_back(text);
            types.push_back(byte);
        }
        tokens.emplace_back("\xE2\x96\x81");
        types.push_back(normal);
        set("tokenizer.ggml.model", "llama");
        set_array("tokenizer.ggml.tokens", tokens);
        set_array("tokenizer.ggml.scores", std::vector<float>(tokens.size(), 0.0f));
        set_array("tokenizer.ggml.token_type", types);
        set("tokenizer.ggml.bos_token_id", std::uint32_t{1});
        set("tokenizer.ggml.eos_token_id", std::uint32_t{2});
        set("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
    }

    void add(const std::string& name, std::uint64_t cols, std::uint64_t rows) {
        check(out_.add_tensor(name, 1, std::array{cols, rows}), name);
        tensors_.push_back({name, cols, rows, false});
    }
    void add_norm(const std::string& name) {
        check(out_.add_tensor(name, 0, std::array{std::uint64_t{dim}}), name);
        tensors_.push_back({name, dim, 1, true});
    }

    /// Norms of one, and matrices of bell-shaped weights as large as training leaves
    /// them: a standard deviation of about cols^-0.5.
    std::span<const std::byte> weights(const planned& t) {
        const std::size_t count = t.rows * t.cols;
        if (t.norm) {
            ones_.assign(count, 1.0f);
            return std::as_bytes(std::span(ones_));
        }
        const float scale = 1.7f / std::sqrt(static_cast<float>(t.cols));
        halves_.resize(count);
        for (qlib::f16& h : halves_)
            h = qlib::f16::from((uniform() + uniform() + uniform() + uniform()) * 0.5f * scale);
        return std::as_bytes(std::span(halves_));
    }
    /// From -1 to 1; splitmix64.
    float uniform() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f;
    }

    qlib::gguf_writer out_;
    std::vector<planned> tensors_;
    std::vector<float> ones_;
    std::vector<qlib::f16> halves_;
    std::uint64_t state_ = 0;
};
