// The same model in GGUF and in safetensors of Hugging Face, plain and quantized, gives the same logits.
#include "../gguf_model.hpp"
#include "../load_as.hpp"
#include "../safetensors_model.hpp"
#include "../transformer.hpp"
#include "synthetic.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <map>

namespace {

std::string hugging_face_name(std::string name) {
    static const std::pair<const char*, const char*> parts[] = {
        {"token_embd.", "model.embed_tokens."}, {"output_norm.", "model.norm."}, {"blk.", "model.layers."}, {"attn_norm.", "input_layernorm."},
        {"attn_q.", "self_attn.q_proj."}, {"attn_k.", "self_attn.k_proj."}, {"attn_v.", "self_attn.v_proj."}, {"attn_output.", "self_attn.o_proj."},
        {"ffn_norm.", "post_attention_layernorm."}, {"ffn_gate.", "mlp.gate_proj."}, {"ffn_up.", "mlp.up_proj."}, {"ffn_down.", "mlp.down_proj."}};
    for (const auto& [gguf, own] : parts)
        if (const std::size_t at = name.find(gguf); at != std::string::npos) name.replace(at, std::string_view(gguf).size(), own);
    return name;
}

/// Rows of each head from pairs side by side to pairs half a head apart.
std::vector<float> halved(const std::vector<float>& w, std::size_t cols, std::size_t head_dim) {
    std::vector<float> out(w.size());
    for (std::size_t r = 0; r < w.size() / cols; ++r) {
        const std::size_t head = r / head_dim, i = r % head_dim, to = head * head_dim + i / 2 + (i % 2) * head_dim / 2;
        std::copy_n(w.begin() + static_cast<std::ptrdiff_t>(r * cols), cols, out.begin() + static_cast<std::ptrdiff_t>(to * cols));
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
    std::string folder = (std::filesystem::temp_directory_path() / ("qlib_llm_checkpoint_" + std::to_string(::getpid()))).string();
    std::map<std::string, tensor> tensors;
    std::string quantization, numbers = R"("num_attention_heads": 4, "num_key_value_heads": 2)";

    ~checkpoint() { std::filesystem::remove_all(folder); }

    /// The norms and the embedding of a model as they are; its other matrices as add() makes them.
    void fill(const synthetic_llama& s, const std::function<void(checkpoint&, const std::string& layer, qlib::matrix_view<const float>)>& add) {
        for (const synthetic_llama::tensor& t : s.tensors) {
            std::vector<float> w = synthetic_llama::weights(t);
            const std::string name = hugging_face_name(t.name);
            if (t.name.find("attn_q") != std::string::npos || t.name.find("attn_k") != std::string::npos) w = halved(w, t.cols, s.dim / s.heads);
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
    template <class Export> void add_parts(const std::string& layer, const qlib::checkpoint_parts& parts, const Export& write) {
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
        const std::string config = R"({"model_type": "llama", "hidden_act": "silu", "hidden_size": )" + number(s.dim) + R"(, "intermediate_size": )" +
                                   number(s.ffn) + R"(, "num_hidden_layers": )" + number(s.layers) + ", " + numbers +
                                   R"(, "rms_norm_eps": 1e-05, "tie_word_embeddings": true, "rope_scaling": null)" + quantization + "}";
        write_file(folder + "/config.json", std::as_bytes(std::span(config)));
        qlib::safetensors_writer out;
        for (const auto& [name, t] : tensors) check(out.add_tensor(name, t.type, t.shape), name);
        std::vector<std::byte> file;
        auto sink = [&](std::span<const std::byte> piece) { return file.insert(file.end(), piece.begin(), piece.end()), true; };
        check(out.begin(sink), "begin");
        for (const qlib::safetensors_tensor& t : out.tensors()) check(out.write(t.name, tensors.at(std::string(t.name)).data), t.name);
        check(out.finish(), "finish");
        write_file(folder + "/model.safetensors", file);
        return load_safetensors(folder + "/model.safetensors");
    }
};

/// The GGUF's model with all matrices but the embedding in a format.
model from_gguf(const synthetic_llama& s, const char* format) {
    const temporary_file file;
    s.write(file.path);
    model m = load_gguf(file.path);
    const matrix embedding = m.embedding;
    qlib::thread_pool pool(1);
    CHECK(load_as(m, *qlib::format_named(format), pool) == 0);
    m.embedding = embedding;
    return m;
}
float furthest_logit(const model& a, const model& b) {
    qlib::thread_pool pool(2);
    const std::vector<token> tokens{1, 200, 17, 260, 3, 99, 5, 255, 42};
    transformer x(a, pool, 16, 16, {.mode = qlib::compute::exact}), y(b, pool, 16, 16, {.mode = qlib::compute::exact});
    x.forward(tokens);
    y.forward(tokens);
    const auto p = x.logits(0, tokens.size()), q = y.logits(0, tokens.size());
    float most = 0;
    for (std::size_t i = 0; i < p.rows * p.cols; ++i) most = std::max(most, std::abs(p.data[i] - q.data[i]));
    return most;
}

}  // namespace

TEST_CASE("plain floats: half-split positions give the logits of interleaved ones") {
    const synthetic_llama s;
    checkpoint c;
    c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) { to.add_plain(layer + ".weight", w); });
    CHECK(furthest_logit(from_gguf(s, "f32"), c.load(s)) <= 1e-5f);
}

TEST_CASE("compressed-tensors: int4 as it was quantized") {
    const synthetic_llama s;
    checkpoint c;
    c.quantization = R"(, "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "version": "0.17.0", "config_groups":
        {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": false, "strategy": "group", "group_size": 32}}}})";
    c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) {
        using F = qlib::int4_g32_asym;
        const auto whole = qlib::quantize(qlib::format_id::int4_g32_asym, w);
        REQUIRE(whole.has_value());
        const auto q = qlib::qview<F>::over(whole->bytes(), w.rows, w.cols);
        const auto part_of = [&](std::size_t part, std::span<std::byte> out) {
            return qlib::export_pack_quantized(*q, part, out);
        };
        to.add_parts(layer, qlib::pack_quantized_parts<F>(w.rows, w.cols), part_of);
    });
    const model m = c.load(s);
    CHECK(m.layers[1].down.weights.format == qlib::format_id::int4_g32_asym);
    CHECK(furthest_logit(from_gguf(s, "int4_g32_asym"), m) <= 1e-5f);
}

TEST_CASE("bitsandbytes: NF4 as it was quantized") {
    const synthetic_llama s(64, 128);
    checkpoint c;
    c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) {
        const auto whole = qlib::quantize(qlib::format_id::nf4, w);
        REQUIRE(whole.has_value());
        const auto q = qlib::qview<qlib::nf4>::over(whole->bytes(), w.rows, w.cols);
        const auto parts = qlib::bitsandbytes_parts<qlib::nf4>(w.rows, w.cols, qlib::safetensors_type::f32);
        REQUIRE(parts.has_value());
        to.add_parts(layer, *parts, [&](std::size_t part, std::span<std::byte> out) {
            return qlib::export_bitsandbytes(*q, qlib::safetensors_type::f32, part, out);
        });
    });
    const model m = c.load(s);
    CHECK(m.layers[0].q.weights.format == qlib::format_id::nf4);
    CHECK(furthest_logit(from_gguf(s, "nf4"), m) <= 1e-5f);
}

TEST_CASE("what a checkpoint lacks, or has in another shape, is named") {
    const synthetic_llama s;
    const auto refusal = [&](const auto& change) -> std::string {
        checkpoint c;
        c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) { to.add_plain(layer + ".weight", w); });
        change(c);
        try {
            static_cast<void>(c.load(s));
        } catch (const std::runtime_error& e) {
            return e.what();
        }
        return "no refusal";
    };
    CHECK(refusal([](checkpoint&) {}) == "no refusal");
    const auto expect = [&](std::string_view part, const auto& change) { CHECK(refusal(change).find(part) != std::string::npos); };
    expect("model.layers.1.mlp.up_proj.weight: the tensor is missing", [](checkpoint& c) { c.tensors.erase("model.layers.1.mlp.up_proj.weight"); });
    expect("v_proj (32 x 16): 16 x 32 weights", [](checkpoint& c) { c.tensors["model.layers.0.self_attn.v_proj.weight"].shape = {32, 16}; });
    expect("attention heads", [](checkpoint& c) { c.numbers = R"("num_attention_heads": 0, "num_key_value_heads": 0)"; });
    expect("num_attention_heads", [](checkpoint& c) { c.numbers = R"("num_key_value_heads": 2)"; });
    expect("biases", [](checkpoint& c) { c.numbers = R"("num_attention_heads": 4, "attention_bias": true)"; });
}
