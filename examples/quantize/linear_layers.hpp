#pragma once
// Which matrices of a checkpoint are the weights of linear layers, by the model's structure: a table of architectures. In one that is not
// there only names that mean nothing else anywhere count. Whatever is left alone has a reason.
//
// source: the modules of transformers' modeling files, of each architecture; model_type is that of its config.json
#include "checkpoint_config.hpp"

#include <array>
#include <optional>

/// Module paths are compared from their end; "#" is any number.
struct architecture {
    std::string_view types;     ///< model_type, one or several
    std::string_view linear;    ///< beside the sure names
    bool input_first = false;   ///< Conv1D: a matrix lies as inputs x outputs, transposed against a Linear's
    bool splits_experts = false;  ///< experts in one tensor, which its loaders look for one by one once they are quantized
};

namespace layers {

/// Projections that no architecture uses for anything but a linear layer.
inline constexpr std::string_view sure = "q_proj k_proj v_proj o_proj qkv_proj gate_proj up_proj down_proj gate_up_proj";

inline constexpr architecture architectures[] = {
    {"llama mistral ministral ministral3 mistral3 qwen2 qwen3 gemma gemma2 gemma3 gemma3_text gemma3n_text stablelm olmo olmo2 olmo3 smollm3 granite "
     "cohere cohere2 exaone4 seed_oss nemotron helium arcee apertus minicpm glm glm4 phi3 ernie4_5 hunyuan_v1_dense internlm3 mllama_text_model deci "
     "olmoe qwen2_moe qwen3_moe glm4_moe dots1 ernie4_5_moe minimax_m2 gpt_oss qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen3_vl_text qwen3_vl_moe_text", ""},
    {"deepseek_v2 deepseek_v3 kimi_k2 minicpm3 longcat_flash glm4_moe_lite",
     "self_attn.q_a_proj self_attn.q_b_proj self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj"},
    {"mixtral phimoe minimax", "block_sparse_moe.experts.#.w1 block_sparse_moe.experts.#.w2 block_sparse_moe.experts.#.w3"},
    {"arctic", "block_sparse_moe.experts.#.w1 block_sparse_moe.experts.#.w2 block_sparse_moe.experts.#.w3 residual_mlp.w1 residual_mlp.w2 residual_mlp.w3"},
    {"llama4 llama4_text", "", false, true},
    {"granitemoe granitemoeshared granitemoehybrid", "shared_mlp.input_linear shared_mlp.output_linear mamba.in_proj"},
    {"qwen3_next qwen3_5_text qwen3_5_moe_text", "linear_attn.in_proj_qkvz linear_attn.in_proj_qkv linear_attn.in_proj_z linear_attn.out_proj"},
    {"lfm2 lfm2_moe", "self_attn.out_proj feed_forward.w1 feed_forward.w2 feed_forward.w3 feed_forward.experts.#.w1 feed_forward.experts.#.w2 "
                      "feed_forward.experts.#.w3 conv.in_proj conv.out_proj"},
    {"jamba bamba falcon_h1", "mamba.in_proj"},
    {"mamba mamba2 falcon_mamba nemotron_h", "mixer.in_proj"},  // their kernels take out_proj's weight as it is
    {"internlm2", "attention.wqkv attention.wo feed_forward.w1 feed_forward.w2 feed_forward.w3"},
    {"starcoder2", "mlp.c_fc mlp.c_proj"},
    {"phi", "self_attn.dense mlp.fc1 mlp.fc2"},
    {"persimmon", "self_attn.query_key_value self_attn.dense mlp.dense_h_to_4h mlp.dense_4h_to_h"},
    {"gpt_neox", "attention.query_key_value attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h"},
    {"bloom falcon chatglm RefinedWeb RefinedWebModel",
     "self_attention.query_key_value self_attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h"},
    {"gptj codegen", "attn.out_proj mlp.fc_in mlp.fc_out"},
    {"gpt_neo", "attn.attention.out_proj mlp.c_fc mlp.c_proj"},
    {"exaone", "attn.attention.out_proj mlp.c_fc_0 mlp.c_fc_1 mlp.c_proj"},
    {"gpt_bigcode", "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj"},
    {"gpt2 openai-gpt imagegpt decision_transformer jais",
     "attn.c_attn attn.c_proj mlp.c_fc mlp.c_fc2 mlp.c_proj crossattention.c_attn crossattention.q_attn crossattention.c_proj", true},
    {"qwen", "attn.c_attn attn.c_proj mlp.w1 mlp.w2 mlp.c_proj"},
    {"baichuan", "self_attn.W_pack"},
    {"mpt", "attn.Wqkv attn.out_proj"},
    {"dbrx", "attn.Wqkv attn.out_proj"},
    {"opt xglm biogpt", "self_attn.out_proj fc1 fc2"},
    {"bart mbart marian pegasus m2m_100 blenderbot plbart whisper", "self_attn.out_proj encoder_attn.out_proj fc1 fc2"},
    {"clip siglip clip_text_model", "self_attn.out_proj mlp.fc1 mlp.fc2"},
    {"bert roberta xlm-roberta camembert electra ernie bert-generation",
     "attention.self.query attention.self.key attention.self.value attention.output.dense intermediate.dense output.dense"},
    {"vit deit beit", "attention.attention.query attention.attention.key attention.attention.value attention.output.dense intermediate.dense output.dense"},
    {"mpnet", "attention.attn.q attention.attn.k attention.attn.v attention.attn.o intermediate.dense output.dense"},
    {"distilbert", "attention.q_lin attention.k_lin attention.v_lin attention.out_lin ffn.lin1 ffn.lin2"},
    {"modernbert", "attn.Wqkv attn.Wo mlp.Wi mlp.Wo"},
    {"t5 mt5 umt5 longt5", "SelfAttention.q SelfAttention.k SelfAttention.v SelfAttention.o LocalSelfAttention.q LocalSelfAttention.k "
                           "LocalSelfAttention.v LocalSelfAttention.o EncDecAttention.q EncDecAttention.k EncDecAttention.v EncDecAttention.o "
                           "DenseReluDense.wi DenseReluDense.wi_0 DenseReluDense.wi_1"},  // wo: its loaders keep it in f32
};

/// Words of a list with spaces between them: whether use(word) is true for one.
template <class Use> bool any_word(std::string_view list, const Use& use) {
    for (std::size_t at = 0; at < list.size();) {
        const std::size_t end = std::min(list.find(' ', at), list.size());
        if (end > at && use(list.substr(at, end - at))) return true;
        at = end + 1;
    }
    return false;
}
inline bool is_one_of(std::string_view word, std::string_view list) {
    return any_word(list, [&](std::string_view w) { return w == word; });
}

/// A module's path in its parts, numbers as "#".
inline std::vector<std::string_view> parts_of(std::string_view path) {
    std::vector<std::string_view> parts;
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t end = std::min(path.find('.', at), path.size());
        const std::string_view part = path.substr(at, end - at);
        parts.push_back(!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos ? "#" : part);
        at = end + 1;
    }
    return parts;
}
inline bool ends_in(const std::vector<std::string_view>& parts, std::string_view ending) {
    const auto end = parts_of(ending);
    return end.size() <= parts.size() && std::equal(end.rbegin(), end.rend(), parts.rbegin());
}
inline bool has_part(const std::vector<std::string_view>& parts, std::string_view list) {
    return std::ranges::any_of(parts, [&](std::string_view part) { return is_one_of(part, list); });
}

/// Lower case without what separates words: model_type qwen2_moe is Qwen2MoeForCausalLM.
inline std::string squeezed(std::string_view name) {
    std::string text;
    for (const char c : name)
        if (c != '_' && c != '-') text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

inline const architecture* find_type(std::string_view type) {
    for (const architecture& a : architectures)
        if (!type.empty() && is_one_of(type, a.types)) return &a;
    return nullptr;
}
/// By a class name, "LlamaForCausalLM".
inline const architecture* find_class(const std::string& name) {
    const std::string stem = squeezed(name.substr(0, name.find("For")));
    for (const architecture& a : architectures)
        if (!stem.empty() && any_word(a.types, [&](std::string_view type) { return squeezed(type) == stem; })) return &a;
    return nullptr;
}

}  // namespace layers

/// That of a config.json, or null.
inline const architecture* find_architecture(const checkpoint_config& config) {
    for (const std::string& type : config.texts("model_type"))
        if (const architecture* known = layers::find_type(type)) return known;
    return layers::find_class(config.architecture());
}

/// What a matrix is.
struct layer_verdict {
    bool linear = false, input_first = false;
    bool looked_up = false;   ///< an embedding, that no loader takes for a linear layer
    bool router = false;      ///< small, and its choices are all or nothing
    std::string reason;       ///< why it is left alone; empty for a linear layer
};

/// `path`: of a matrix' module, "model.layers.0.mlp.up_proj".
inline layer_verdict judge_layer(const architecture* known, const std::string& type, std::string_view path) {
    using namespace layers;
    const auto parts = parts_of(path);
    const std::string_view last = parts.back();
    const auto left = [](std::string reason) { return layer_verdict{.reason = std::move(reason)}; };
    if (has_part(parts, "vision_tower vision_model visual vision_encoder vision audio_tower audio_model audio_encoder image_encoder vpm apm resampler "
                        "multi_modal_projector mm_projector embed_vision embed_audio"))
        return left("of the part that sees or hears, left as it is");
    if (is_one_of(last, "lm_head embed_out output_layer proj_out score classifier qa_outputs") || path == "output" || path == "model.output" || path == "head")
        return left("the output layer, left as it is by custom");
    if (is_one_of(last, "wte wpe shared relative_attention_bias") || (last.find("embed") != std::string_view::npos && last.find("patch") == std::string_view::npos))
        return {.looked_up = true, .reason = "an embedding: looked up, not multiplied"};
    if (is_one_of(last, "gate router wg shared_expert_gate gate_weight") || has_part(parts, "router"))
        return {.router = true, .reason = "a router or gate: its choices do not survive rounding"};
    const bool in_table = known != nullptr && any_word(known->linear, [&](std::string_view ending) { return ends_in(parts, ending); });
    if (in_table || (is_one_of(last, sure) && !has_part(parts, "indexer altup laurel")))
        return {.linear = true, .input_first = known != nullptr && known->input_first, .reason = {}};
    if (known != nullptr) return left("no linear layer that is known of " + type);
    return left(type.empty() ? "without a model_type in config.json only q_proj and the like are sure to be linear layers"
                             : "the architecture " + type + " is not known, and only q_proj and the like are sure to be linear layers");
}
