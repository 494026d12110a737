#pragma once
// Small GGUF files made up by the tests: vocabularies, and Llamas of random weights that can be told to lie.
#include "../../common/failure.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

/// A name for a file that goes when the test does. What is mapped stays.
class temporary_file {
public:
    temporary_file() = default;
    temporary_file(const temporary_file&) = delete;
    temporary_file& operator=(const temporary_file&) = delete;
    ~temporary_file() { std::filesystem::remove(path); }

private:
    static inline int made_ = 0;

public:
    const std::string path = (std::filesystem::temp_directory_path() /
                              ("qlib_llm_test_" + std::to_string(::getpid()) + "_" + std::to_string(made_++) + ".gguf"))
                                 .string();
};
inline void write_file(const std::string& path, std::span<const std::byte> bytes) {
    std::FILE* const f = std::fopen(path.c_str(), "wb");
    if (f == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), f) != bytes.size() || std::fclose(f) != 0)
        throw std::runtime_error(path);
}

/// A GGUF file in memory, from what a test put into a writer.
inline std::vector<std::byte> bytes_of(qlib::gguf_writer& out, const std::vector<std::vector<float>>& tensors = {},
                                       const std::vector<std::string>& names = {}) {
    std::vector<std::byte> file;
    auto sink = [&](std::span<const std::byte> piece) {
        return file.insert(file.end(), piece.begin(), piece.end()), true;
    };
    check(out.begin(sink), "begin");
    for (std::size_t i = 0; i < tensors.size(); ++i)
        check(out.write(names[i], std::as_bytes(std::span(tensors[i]))), names[i]);
    check(out.finish(), "finish");
    return file;
}

/// SentencePiece's least: three tokens for control, one per byte, the space, and a few words.
inline void add_sentencepiece(qlib::gguf_writer& out, const std::vector<std::pair<std::string, float>>& words) {
    std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> types{2, 3, 3};
    std::vector<float> scores(3, 0.0f);
    for (unsigned b = 0; b < 256; ++b) {
        char text[8];
        std::snprintf(text, sizeof text, "<0x%02X>", b);
        tokens.emplace_back(text);
        types.push_back(6);
        scores.push_back(0);
    }
    for (const auto& [word, score] : words) {
        tokens.push_back(word);
        types.push_back(1);
        scores.push_back(score);
    }
    check(out.set("tokenizer.ggml.model", "llama"), "model");
    check(out.set_array("tokenizer.ggml.tokens", tokens), "tokens");
    check(out.set_array("tokenizer.ggml.scores", scores), "scores");
    check(out.set_array("tokenizer.ggml.token_type", types), "token_type");
}

/// A Llama of random weights; tests change its numbers and tensors before they write it.
struct synthetic_llama {
    std::uint32_t dim, ffn, layers = 2, heads = 4, kv_heads = 2, vocabulary = 264;
    struct tensor {
        std::string name;
        std::uint64_t cols, rows;
    };
    std::vector<tensor> tensors;
    std::function<void(qlib::gguf_writer&)> add_metadata = [](qlib::gguf_writer&) {};

    explicit synthetic_llama(std::uint32_t dim_ = 32, std::uint32_t ffn_ = 48) : dim(dim_), ffn(ffn_) {
        tensors = {{"token_embd.weight", dim, vocabulary}, {"output_norm.weight", dim, 1}};
        for (std::uint32_t i = 0; i < layers; ++i) {
            const std::string at = "blk." + std::to_string(i) + ".";
            const std::uint64_t kv = dim / heads * kv_heads;
            for (const tensor& t : {tensor{"attn_norm", dim, 1},
                                    {"attn_q", dim, dim},
                                    {"attn_k", dim, kv},
                                    {"attn_v", dim, kv},
                                    {"attn_output", dim, dim},
                                    {"ffn_norm", dim, 1},
                                    {"ffn_gate", dim, ffn},
                                    {"ffn_up", dim, ffn},
                                    {"ffn_down", ffn, dim}})
                tensors.push_back({at + t.name + ".weight", t.cols, t.rows});
        }
    }
    tensor& find(const std::string& name) {
        for (tensor& t : tensors)
            if (t.name == name) return t;
        throw std::runtime_error(name);
    }

    void write(const std::string& path) const {
        qlib::gguf_writer out;
        const auto set = [&](const char* key, std::uint32_t value) { check(out.set(key, value), key); };
        check(out.set("general.architecture", "llama"), "architecture");
        set("llama.block_count", layers);
        set("llama.context_length", 64);
        set("llama.embedding_length", dim);
        set("llama.feed_forward_length", ffn);
        set("llama.attention.head_count", heads);
        set("llama.attention.head_count_kv", kv_heads);
        check(out.set("llama.attention.layer_norm_rms_epsilon", 1e-5f), "epsilon");
        add_metadata(out);
        add_sentencepiece(out, {{"\xE2\x96\x81", -1.0f},
                                {"a", -2.0f},
                                {"b", -3.0f},
                                {"ab", -4.0f},
                                {"\xE2\x96\x81"
                                 "a",
                                 -5.0f}});
        std::vector<std::vector<float>> data;
        std::vector<std::string> names;
        for (const tensor& t : tensors) {
            const std::uint64_t ne[2] = {t.cols, t.rows};
            check(out.add_tensor(t.name, 0, std::span(ne).first(t.rows == 1 ? 1 : 2)), t.name);
            data.push_back(weights(t));
            names.push_back(t.name);
        }
        write_file(path, bytes_of(out, data, names));
    }

    static std::vector<float> weights(const tensor& t) {
        std::uint32_t seed = static_cast<std::uint32_t>(t.cols * 31 + t.rows) + static_cast<unsigned char>(t.name[4]);
        std::vector<float> w(t.cols * t.rows, 1.0f);
        if (t.rows == 1) return w;
        for (float& x : w) {
            seed = seed * 1664525u + 1013904223u;
            x = (static_cast<float>(seed >> 8) * 0x1p-23f - 1.0f) * 2.0f / std::sqrt(static_cast<float>(t.cols));
        }
        return w;
    }
};
