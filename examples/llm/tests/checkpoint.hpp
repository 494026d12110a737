#pragma once
// A checkpoint of Hugging Face's kind, made up by a test from a synthetic Llama.
#include "../safetensors_model.hpp"
#include "synthetic.hpp"

#include <functional>
#include <map>

inline std::string hugging_face_name(std::string name) {
    static const std::pair<const char*, const char*> parts[] = {{"token_embd.", "model.embed_tokens."},
                                                                {"output_norm.", "model.norm."},
                                                                {"blk.", "model.layers."},
                                                                {"attn_norm.", "input_layernorm."},
                                                                {"attn_q.", "self_attn.q_proj."},
                                                                {"attn_k.", "self_attn.k_proj."},
                                                                {"attn_v.", "self_attn.v_proj."},
                                                                {"attn_output.", "self_attn.o_proj."},
                                                                {"ffn_norm.", "post_attention_layernorm."},
                                                                {"ffn_gate.", "mlp.gate_proj."},
                                                                {"ffn_up.", "mlp.up_proj."},
                                                                {"ffn_down.", "mlp.down_proj."}};
    for (const auto& [gguf, own] : parts)
        if (const std::size_t at = name.find(gguf); at != std::string::npos)
            name.replace(at, std::string_view(gguf).size(), own);
    return name;
}

/// Rows of each head from pairs side by side to pairs half a head apart.
inline std::vector<float> halved(const std::vector<float>& w, std::size_t cols, std::size_t head_dim) {
    std::vector<float> out(w.size());
    for (std::size_t r = 0; r < w.size() / cols; ++r) {
        const std::size_t head = r / head_dim, i = r % head_dim, to = head * head_dim + i / 2 + (i % 2) * head_dim / 2;
        std::copy_n(w.begin() + static_cast<std::ptrdiff_t>(r * cols), cols,
                    out.begin() + static_cast<std::ptrdiff_t>(to * cols));
    }
    return out;
}

/// A folder with config.json and model.safetensors, whose tensors are collected first.
struct checkpoint {
    struct tensor {
        qlib::safetensors_type type;
        std::vector<std::uint64_t> shape;
        std::vector<std::byte> data;
    };
    std::string folder =
        (std::filesystem::temp_directory_path() / ("qlib_llm_checkpoint_" + std::to_string(::getpid()))).string();
    std::map<std::string, tensor> tensors;
    std::string quantization, rope = R"("rope_scaling": null)", tied = R"("tie_word_embeddings": true, )",
                              numbers = R"("num_attention_heads": 4, "num_key_value_heads": 2)";

    ~checkpoint() { std::filesystem::remove_all(folder); }

    /// The norms and the embedding of a model as they are; its other matrices as add() makes them.
    void fill(const synthetic_llama& s,
              const std::function<void(checkpoint&, const std::string& layer, qlib::matrix_view<const float>)>& add) {
        for (const synthetic_llama::tensor& t : s.tensors) {
            std::vector<float> w = synthetic_llama::weights(t);
            const std::string name = hugging_face_name(t.name);
            if (t.name.find("attn_q") != std::string::npos || t.name.find("attn_k") != std::string::npos)
                w = halved(w, t.cols, s.dim / s.heads);
            if (t.rows == 1 || t.name == "token_embd.weight") add_plain(name, {w.data(), t.rows, t.cols});
            else add(*this, name.substr(0, name.rfind('.')), {w.data(), t.rows, t.cols});
        }
    }
    void add_plain(const std::string& name, qlib::matrix_view<const float> w) {
        const auto bytes = std::as_bytes(std::span(w.data, w.rows * w.cols));
        std::vector<std::uint64_t> shape{w.rows, w.cols};
        if (w.rows == 1) shape.erase(shape.begin());
        tensors[name] = {qlib::safetensors_type::f32, shape, {bytes.begin(), bytes.end()}};
    }
    template <class Export>
    void add_parts(const std::string& layer, const qlib::checkpoint_parts& parts, const Export& write) {
        std::size_t i = 0;
        for (const auto& p : parts) {
            tensor t{p.type, {p.shape().begin(), p.shape().end()}, {}};
            std::uint64_t bytes = qlib::safetensors_bits(p.type) / 8;
            for (const std::uint64_t n : t.shape) bytes *= n;
            t.data.resize(bytes);
            check(write(i++, std::span(t.data)), layer);
            tensors[layer + "." + std::string(p.suffix)] = std::move(t);
        }
    }
    [[nodiscard]] model load(const synthetic_llama& s) const {
        std::filesystem::create_directories(folder);
        const auto number = [](std::uint32_t n) { return std::to_string(n); };
        const std::string config = R"({"model_type": "llama", "hidden_size": )" + number(s.dim) +
                                   R"(, "intermediate_size": )" + number(s.ffn) + R"(, "num_hidden_layers": )" +
                                   number(s.layers) + ", " + numbers + R"(, "rms_norm_eps": 1e-05, )" + tied + rope +
                                   quantization + "}";
        write_file(folder + "/config.json", std::as_bytes(std::span(config)));
        qlib::safetensors_writer out;
        for (const auto& [name, t] : tensors) check(out.add_tensor(name, t.type, t.shape), name);
        std::vector<std::byte> file;
        auto sink = [&](std::span<const std::byte> piece) {
            return file.insert(file.end(), piece.begin(), piece.end()), true;
        };
        check(out.begin(sink), "begin");
        for (const qlib::safetensors_tensor& t : out.tensors())
            check(out.write(t.name, tensors.at(std::string(t.name)).data), t.name);
        check(out.finish(), "finish");
        write_file(folder + "/model.safetensors", file);
        return load_safetensors(folder + "/model.safetensors");
    }
};
