// The same model in GGUF and in safetensors of Hugging Face, plain and quantized, gives the same logits.
#include "../gguf_model.hpp"
#include "../load_as.hpp"
#include "checkpoint.hpp"
#include "logits.hpp"

#include <doctest/doctest.h>

namespace {

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
}  // namespace

TEST_CASE("plain floats: half-split positions give the logits of interleaved ones") {
    const synthetic_llama s;
    checkpoint c;
    c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) {
        to.add_plain(layer + ".weight", w);
    });
    CHECK(furthest_logit(from_gguf(s, "f32"), c.load(s)) <= 1e-5f);
}

TEST_CASE("compressed-tensors: int4 as it was quantized") {
    const synthetic_llama s;
    checkpoint c;
    c.quantization =
        R"(, "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized",
        "version": "0.17.0", "config_groups": {"group_0": {"targets": ["Linear"], "weights":
        {"num_bits": 4, "type": "int", "symmetric": false, "strategy": "group", "group_size": 32}}}})";
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
        c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) {
            to.add_plain(layer + ".weight", w);
        });
        change(c);
        try {
            static_cast<void>(c.load(s));
        } catch (const std::runtime_error& e) { return e.what(); }
        return "no refusal";
    };
    CHECK(refusal([](checkpoint&) {}) == "no refusal");
    const auto expect = [&](std::string_view part, const auto& change) {
        CHECK(refusal(change).find(part) != std::string::npos);
    };
    expect("model.layers.1.mlp.up_proj.weight: the tensor is missing",
           [](checkpoint& c) { c.tensors.erase("model.layers.1.mlp.up_proj.weight"); });
    expect("v_proj (32 x 16): 16 x 32 weights", [](checkpoint& c) {
        c.tensors["model.layers.0.self_attn.v_proj.weight"].shape = {32, 16};
    });
    expect("attention heads",
           [](checkpoint& c) { c.numbers = R"("num_attention_heads": 0, "num_key_value_heads": 0)"; });
    expect("num_attention_heads", [](checkpoint& c) { c.numbers = R"("num_key_value_heads": 2)"; });
    expect("lm_head.weight: the tensor is missing",
           [](checkpoint& c) { c.tied = R"("tie_word_embeddings": false, )"; });
    expect("self_attn.q_norm.weight: a plain Llama has no such tensor", [&](checkpoint& c) {
        c.tensors["model.layers.0.self_attn.q_norm.weight"] = c.tensors["model.norm.weight"];
    });
    expect("q_proj.bias: a plain Llama has no such tensor",
           [&](checkpoint& c) { c.tensors["model.layers.0.self_attn.q_proj.bias"] = c.tensors["model.norm.weight"]; });
}
