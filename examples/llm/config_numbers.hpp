#pragma once
// A Llama's numbers as config.json has them.
#include "config_rope.hpp"
#include "model.hpp"

class config_numbers {
public:
    explicit config_numbers(const model_config& config) : c_(config) {}

    /// error: a number that is missing or absurd, and whatever this engine would have to compute in another way
    [[nodiscard]] hyper_parameters read() const {
        refuse_others();
        hyper_parameters h;
        h.dim = c_.count("hidden_size");
        h.ffn = c_.count("intermediate_size");
        h.layers = c_.count("num_hidden_layers");
        h.heads = c_.count("num_attention_heads");
        h.kv_heads = c_.count("num_key_value_heads", h.heads);
        h.head_dim = h.rotated = c_.count("head_dim", h.heads != 0 ? h.dim / h.heads : 0);
        h.context = c_.count("max_position_embeddings", 0);
        h.epsilon = c_.number("rms_norm_eps", 1e-6f);
        const config_rope rope(c_);
        h.rope_base = rope.base();
        h.scaling = rope.scaling();
        h.pairs = rope_pairs::half_split;
        check_numbers(h, c_.path);
        return h;
    }

private:
    void refuse_others() const {
        if (!c_.root["model_type"].is("llama")) c_.refuse("model_type", "only llama is known");
        for (const qlib::json_value name : c_.root["architectures"].elements())
            if (!is_one_of(name, {"LlamaForCausalLM", "LLaMAForCausalLM"}))
                c_.refuse("architectures", "only LlamaForCausalLM is known");
        for (const char* code : {"AutoModel", "AutoModelForCausalLM"})
            if (c_.root["auto_map"][code]) c_.refuse("auto_map", "the model is computed by code of its own");
        if (c_.has("hidden_act") && !is_one_of(c_.root["hidden_act"], {"silu", "swish"}))
            c_.refuse("hidden_act", "only silu is known");
        for (const qlib::json_value kind : c_.root["layer_types"].elements())
            if (!kind.is("full_attention")) c_.refuse("layer_types", not_implemented);
        for (const qlib::json_member m : c_.root.members()) {
            const std::string key = string_of(m.key);
            if (is_known(key) || !speaks_of_computation(key) || does_nothing(key, m.value)) continue;
            c_.refuse(key, not_implemented);
        }
        refuse_other_quantization();
    }
    /// Of weights, compressed-tensors' and bitsandbytes' are read; none of what others quantize or turn on the way.
    void refuse_other_quantization() const {
        if (c_.has("quantization")) c_.refuse("quantization", "MLX's quantized weights are not implemented");
        const qlib::json_value q = c_.root["quantization_config"];
        if (!model_config::is_there(q)) return;
        const qlib::json_value method = q["quant_method"];
        if (!is_one_of(method, {"compressed-tensors", "bitsandbytes"}))
            c_.refuse("quantization_config.quant_method",
                      std::string(method.text) + " is not implemented; compressed-tensors and bitsandbytes are");
        const auto refuse_member = [&](qlib::json_value object, const char* key) {
            if (!does_nothing(key, object[key])) c_.refuse(std::string("quantization_config: ") + key, not_implemented);
        };
        for (const char* key : {"kv_cache_scheme", "transform_config"}) refuse_member(q, key);
        for (const qlib::json_member group : q["config_groups"].members())
            for (const char* key : {"input_activations", "output_activations"}) refuse_member(group.value, key);
    }
    static bool is_one_of(qlib::json_value v, std::initializer_list<std::string_view> names) {
        return std::ranges::any_of(names, [&](std::string_view name) { return v.is(name); });
    }
    [[nodiscard]] bool is_known(std::string_view key) const {
        static constexpr std::string_view known[] = {
            "head_dim", "hidden_act", "layer_types", "max_position_embeddings", "num_attention_heads",
            "num_hidden_layers", "num_key_value_heads", "original_max_position_embeddings", "rms_norm_eps",
            "rope_parameters", "rope_scaling", "rope_theta", "tie_word_embeddings"};
        const bool no_windows = c_.has("use_sliding_window") && !c_.flag("use_sliding_window");
        if (no_windows && (key == "sliding_window" || key == "max_window_layers")) return true;
        return std::ranges::find(known, key) != std::end(known);
    }

    const model_config& c_;
};
