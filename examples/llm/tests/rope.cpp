// Positions as newer and older files describe them, and the refusal of what would
// change a model's numbers and is not implemented.
#include "../gguf_model.hpp"
#include "checkpoint.hpp"
#include "logits.hpp"

#include <doctest/doctest.h>

namespace {

using setter = std::function<void(qlib::gguf_writer&)>;
template <class T> setter with(const char* key, T value) {
    return [=](qlib::gguf_writer& out) { check(out.set(key, value), key); };
}

/// A small Llama from GGUF with more metadata.
model gguf_with(std::initializer_list<setter> more) {
    const temporary_file file;
    synthetic_llama s;
    s.add_metadata = [&](qlib::gguf_writer& out) {
        for (const setter& set : more) set(out);
    };
    s.write(file.path);
    return load_gguf(file.path);
}
/// The same as a checkpoint whose config.json has more members.
model config_with(const std::string& members) {
    const synthetic_llama s;
    checkpoint c;
    c.fill(s, [](checkpoint& to, const std::string& layer, qlib::matrix_view<const float> w) {
        to.add_plain(layer + ".weight", w);
    });
    c.rope = members;
    return c.load(s);
}
template <class Load> std::string refusal(const Load& load) {
    try {
        static_cast<void>(load());
    } catch (const std::runtime_error& e) { return e.what(); }
    return "no refusal";
}
void expect(const std::string& said, std::string_view part) {
    CHECK_MESSAGE(said.find(part) != std::string::npos, part << " is not in: " << said);
}

constexpr const char* llama3 = R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64)";

}  // namespace

TEST_CASE("transformers 5 says in rope_parameters what version 4 said in two places") {
    const model plain = config_with(R"("rope_theta": 10000.0)");
    const model base = config_with(R"("rope_theta": 500000.0, "rope_scaling": null)");
    CHECK(furthest_logit(plain, base) > 1e-3f);
    CHECK(furthest_logit(base, config_with(R"("rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"})")) ==
          0);
    CHECK(furthest_logit(plain, config_with(R"("rope_parameters": {"rope_type": "default", "factor": 1})")) == 0);

    const std::string scaling = llama3;
    const model scaled = config_with(R"("rope_theta": 500000.0, "rope_scaling": {)" + scaling + "}");
    CHECK(furthest_logit(base, scaled) > 1e-3f);
    CHECK(furthest_logit(scaled, config_with(R"("rope_parameters": {"rope_theta": 500000, )" + scaling + "}")) == 0);
    CHECK(furthest_logit(scaled, config_with(R"("rope_theta": 500000, "rope_parameters": {"rope_theta": 5e5, )" +
                                             scaling + R"(}, "rope_scaling": {)" + scaling + "}")) == 0);
}

TEST_CASE("a linear factor under each of its names, and without its type") {
    const model plain = gguf_with({}), four = gguf_with({with("llama.rope.scale_linear", 4.0f)});
    CHECK(furthest_logit(plain, four) > 1e-3f);
    CHECK(furthest_logit(four, gguf_with({with("llama.rope.scaling.factor", 4.0f)})) == 0);
    CHECK(furthest_logit(four, gguf_with({with("llama.rope.scaling.type", "linear"),
                                          with("llama.rope.scaling.factor", 4.0f)})) == 0);
    CHECK(furthest_logit(plain, gguf_with({with("llama.rope.scaling.type", "none"),
                                           with("llama.rope.scaling.factor", 4.0f)})) == 0);
    CHECK(furthest_logit(plain, gguf_with({with("llama.rope.scaling.factor", 0.0f)})) == 0);
    for (const char* type : {"type", "rope_type"})
        CHECK(furthest_logit(four, config_with(std::string(R"("rope_scaling": {"factor": 4.0, ")") + type +
                                               R"(": "linear"})")) <= 1e-5f);

    model by_tensor = gguf_with({});
    by_tensor.rope_divisors.assign(by_tensor.h.rotated / 2, 4.0f);
    CHECK(furthest_logit(four, by_tensor) == 0);
}

TEST_CASE("frequencies of Llama 3: those of transformers") {
    const auto f = rope_frequencies(8, 10000, {.linear = 1, .llama3 = llama3_scaling{8, 1, 4, 64}}, {});
    const double want[] = {1.0, 0.013042256043820463, 0.00125, 0.000125};  // fast, between, slow, slow
    REQUIRE(f.size() == std::size(want));
    for (std::size_t i = 0; i < f.size(); ++i) CHECK(f[i] == doctest::Approx(want[i]).epsilon(1e-12));
}

TEST_CASE("positions that are not understood are refused by name") {
    const auto config = [](const std::string& members) { return refusal([&] { return config_with(members); }); };
    for (const char* type : {"yarn", "longrope", "su", "dynamic", "mrope", "proportional"}) {
        const std::string name = type;
        expect(config(R"("rope_scaling": {"factor": 4, "type": ")" + name + R"("})"), "rope_scaling.type: \"" + name);
        expect(config(R"("rope_parameters": {"factor": 4, "rope_type": ")" + name + R"("})"),
               "rope_parameters.rope_type: \"" + name);
        expect(refusal([&] { return gguf_with({with("llama.rope.scaling.type", type)}); }),
               "llama.rope.scaling.type: " + name);
    }
    expect(config(R"("rope_scaling": {"factor": 4})"), "rope_scaling.factor");
    expect(config(R"("rope_scaling": {"rope_type": "default", "factor": 4})"), "rope_scaling.factor");
    expect(config(R"("rope_scaling": {"rope_type": "linear"})"), "factor is missing");
    expect(config(R"("rope_scaling": {"rope_type": "linear", "factor": 0})"), "rope_scaling.factor: a positive");
    expect(config(R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                      "original_max_position_embeddings": 64})"),
           "rope_scaling.low_freq_factor");
    expect(config(R"("rope_scaling": {"rope_type": "linear", "factor": "4"})"), "rope_scaling.factor");
    expect(config(R"("rope_scaling": {"rope_type": "llama3", "factor": 8})"), "low_freq_factor is missing");
    expect(config(R"("rope_scaling": {"rope_type": "linear", "factor": 4, "attention_factor": 1.2})"),
           "rope_scaling.attention_factor");
    expect(config(R"("rope_scaling": {"rope_type": "linear", "type": "default", "factor": 4})"), "rope_scaling.type");
    expect(config(R"("rope_scaling": "linear")"), "rope_scaling: an object");
    expect(config(R"("rope_theta": 10000, "rope_parameters": {"rope_theta": 500000})"), "rope_parameters.rope_theta");
    expect(
        config(R"("rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 2})"),
        "rope_scaling.rope_type: rope_parameters.rope_type is another");
    expect(config(R"("rope_parameters": {"full_attention": {"rope_type": "default"}})"),
           "rope_parameters.full_attention");
    expect(config(R"("partial_rotary_factor": 0.5)"), "partial_rotary_factor");
    expect(refusal([] { return gguf_with({with("llama.rope.scaling.factor", -1.0f)}); }), "rope.scaling.factor");
    expect(refusal([] { return gguf_with({with("llama.rope.scale_linear", -1.0f)}); }), "llama.rope.scale_linear");
    expect(refusal([] { return gguf_with({with("llama.rope.scale_linear", "4")}); }), "llama.rope.scale_linear");
    expect(refusal([] { return gguf_with({with("llama.rope.dimension_count", std::uint32_t{0})}); }), "RoPE");
    expect(refusal([] { return gguf_with({with("llama.rope.scaling.attn_factor", 1.5f)}); }),
           "llama.rope.scaling.attn_factor");
}

TEST_CASE("what would change the numbers and is not implemented is refused by name") {
    for (const auto& [key, value] : {std::pair{"sliding_window", "4096"},
                                     {"attn_logit_softcapping", "50.0"},
                                     {"final_logit_softcapping", "30.0"},
                                     {"attention_bias", "true"},
                                     {"mlp_bias", "true"},
                                     {"qkv_bias", "true"},
                                     {"use_qk_norm", "true"},
                                     {"qk_layernorm", "true"},
                                     {"hidden_act", "\"gelu\""},
                                     {"hidden_activation", "\"gelu_pytorch_tanh\""},
                                     {"activation_function", "\"relu\""},
                                     {"num_local_experts", "8"},
                                     {"num_experts", "4"},
                                     {"n_routed_experts", "64"},
                                     {"moe_intermediate_size", "32"},
                                     {"embedding_multiplier", "12.0"},
                                     {"residual_multiplier", "0.22"},
                                     {"logits_scaling", "8.0"},
                                     {"logit_scale", "0.0625"},
                                     {"attention_multiplier", "0.0078125"},
                                     {"query_pre_attn_scalar", "224"},
                                     {"clip_qkv", "8.0"},
                                     {"attention_chunk_size", "8192"},
                                     {"layer_types", "[\"full_attention\", \"sliding_attention\"]"},
                                     {"no_rope_layers", "[1, 0]"},
                                     {"use_parallel_residual", "true"},
                                     {"attn_output_gate", "true"},
                                     {"architectures", "[\"MistralForCausalLM\"]"},
                                     {"auto_map", "{\"AutoModelForCausalLM\": \"modeling_own.Own\"}"}})
        expect(
            refusal([&, k = std::string(key), v = std::string(value)] { return config_with("\"" + k + "\": " + v); }),
            std::string("config.json: ") + key + ": ");

    for (const auto& [part, members] :
         {std::pair{"quant_method: \"gptq\"", R"("quant_method": "gptq", "bits": 4)"},
          {"quant_method: \"fp8\"", R"("quant_method": "fp8")"},
          {"kv_cache_scheme", R"("quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8})"},
          {"input_activations", R"("quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"input_activations": {"num_bits": 8}}})"}})
        expect(refusal([m = std::string(members)] { return config_with(R"("quantization_config": {)" + m + "}"); }),
               part);

    for (const setter& set : {with("llama.attention.sliding_window", std::uint32_t{4096}),
                              with("llama.attn_logit_softcapping", 50.0f), with("llama.final_logit_softcapping", 30.0f),
                              with("llama.expert_count", std::uint32_t{8}), with("llama.logit_scale", 0.0625f),
                              with("llama.attention.scale", 0.1f), with("llama.attention.causal", false),
                              with("llama.use_parallel_residual", true), with("llama.something_new", std::uint32_t{1})})
        expect(refusal([&] { return gguf_with({set}); }), "it may change what the model computes");
    expect(refusal([] { return gguf_with({with("llama.attention.sliding_window", std::uint32_t{64})}); }),
           "llama.attention.sliding_window: ");
}

TEST_CASE("what is switched off, or speaks of something else, is no reason to refuse a model") {
    const model plain = config_with(R"("rope_theta": 10000)");
    const model noted = config_with(
        R"("architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "attention_bias": false,
        "attention_dropout": 0.1, "sliding_window": null, "num_experts": 0, "embedding_multiplier": 1.0,
        "partial_rotary_factor": 1.0, "layer_types": ["full_attention"], "unsloth_version": "2024.9",
        "torch_dtype": "float32", "temperature": 0.6, "initializer_range": 0.02, "use_cache": true,
        "_attn_implementation": "sdpa", "_flash_attn_2_enabled": true, "bos_token_id": 1, "id2label": {"0": "a"},
        "pretraining_tp": 1, "auto_map": {"AutoTokenizer": "own.Tokenizer"})");
    CHECK(furthest_logit(plain, noted) == 0);
    const model windows =
        config_with(R"("use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28)");
    CHECK(furthest_logit(plain, windows) == 0);
    const model numbers =
        gguf_with({with("llama.attention.sliding_window", std::uint32_t{0}), with("llama.attention.causal", true),
                   with("llama.logit_scale", 1.0f), with("llama.vocab_size", std::uint32_t{264}),
                   with("llama.rope.scaling.finetuned", true), with("llama.expert_count", std::uint32_t{0})});
    CHECK(furthest_logit(gguf_with({}), numbers) == 0);
}
