#pragma once
// What a weight is called in Hugging Face's checkpoints and what in GGUF files: one table for all programs here.
//
// Listed are matrices that lie the same way in both and have the same inputs in the same order, so that an importance
// of inputs that was measured under one name holds under the other. GPT-2's are not among them: its Conv1D matrices
// are transposed on the way.
// source: llama.cpp, gguf-py/gguf/tensor_mapping.py
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

/// Where a GGUF file keeps a weight: a tensor, and in it the matrix of an expert where those of a layer are one tensor.
struct gguf_place {
    std::string name;
    std::optional<std::size_t> expert;
};

namespace tensor_names {

struct pair {
    std::string_view gguf, checkpoint;  ///< without ".weight", and without the layer; '*': the number of an expert
};

inline constexpr pair of_model[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

/// Of one layer. Where GGUF has one name for several, the first is Llama's.
inline constexpr pair of_layer[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    // Phi
    {"attn_output", "self_attn.dense"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"ffn_up", "mlp.gate_up_proj"},
    {"ffn_up", "mlp.fc1"},
    {"ffn_down", "mlp.fc2"},
    // DeepSeek
    {"attn_q_a", "self_attn.q_a_proj"},
    {"attn_q_b", "self_attn.q_b_proj"},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
    {"attn_kv_b", "self_attn.kv_b_proj"},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj"},
    // Qwen
    {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
    {"ffn_down_shexp", "mlp.shared_expert.down_proj"},
    {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
    {"ffn_gate_inp", "mlp.gate"},
    {"ffn_gate_exps", "mlp.experts.*.gate_proj"},
    {"ffn_up_exps", "mlp.experts.*.up_proj"},
    {"ffn_down_exps", "mlp.experts.*.down_proj"},
    // Mixtral
    {"ffn_gate_inp", "block_sparse_moe.gate"},
    {"ffn_gate_exps", "block_sparse_moe.experts.*.w1"},
    {"ffn_up_exps", "block_sparse_moe.experts.*.w3"},
    {"ffn_down_exps", "block_sparse_moe.experts.*.w2"},
};
/// How older GGUF files call experts that are tensors of their own.
inline constexpr pair split_experts[] = {
    {"ffn_gate_exps", "ffn_gate.*"}, {"ffn_up_exps", "ffn_up.*"}, {"ffn_down_exps", "ffn_down.*"}};

/// What stands before a layer's number. The first is Llama's; the others are those of models that can see, too.
inline constexpr std::string_view checkpoint_layers[] = {
    "model.layers.", "model.language_model.layers.", "language_model.model.layers."};
inline constexpr std::string_view gguf_layers = "blk.";

/// Cuts a number, and the dot behind it where the text goes on, off the front of a text.
inline std::optional<std::size_t> take_number(std::string_view& text) {
    std::size_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc()) return {};
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.empty()) return n;
    if (!text.starts_with('.')) return {};
    text.remove_prefix(1);
    return n;
}

/// Whether a name is a pattern's; with a '*' in it, `number` is what stands there.
inline bool matches(std::string_view name, std::string_view pattern, std::optional<std::size_t>& number) {
    const std::size_t star = pattern.find('*');
    if (star == std::string_view::npos) return name == pattern;
    if (!name.starts_with(pattern.substr(0, star))) return false;
    name.remove_prefix(star);
    number = take_number(name);
    pattern.remove_prefix(star + 1);
    return number && name == pattern.substr(pattern.starts_with('.') ? 1 : 0);
}

/// The place of what a table's right column calls `name`.
template <std::size_t N> std::optional<gguf_place> find(const pair (&table)[N], std::string_view name) {
    for (const pair& p : table) {
        std::optional<std::size_t> expert;
        if (matches(name, p.checkpoint, expert)) return gguf_place{std::string(p.gguf), expert};
    }
    return {};
}

/// The same for a layer's weight, whose whole name begins with `prefix`.
template <std::size_t N>
std::optional<gguf_place> find_in_layer(const pair (&table)[N], std::string_view prefix, std::string_view name) {
    if (!name.starts_with(prefix)) return {};
    name.remove_prefix(prefix.size());
    const auto layer = take_number(name);
    auto place = layer ? find(table, name) : std::nullopt;
    if (place) place->name = std::string(gguf_layers) + std::to_string(*layer) + "." + place->name;
    return place;
}

}  // namespace tensor_names

/// The place in GGUF files of what a checkpoint, or an older GGUF file with experts
/// apart, calls "... .weight". None for other names.
inline std::optional<gguf_place> gguf_place_of(std::string_view weight) {
    constexpr std::string_view suffix = ".weight";
    if (!weight.ends_with(suffix)) return {};
    weight.remove_suffix(suffix.size());
    auto place = tensor_names::find(tensor_names::of_model, weight);
    for (const std::string_view layers : tensor_names::checkpoint_layers)
        if (!place) place = tensor_names::find_in_layer(tensor_names::of_layer, layers, weight);
    if (!place) place = tensor_names::find_in_layer(tensor_names::split_experts, tensor_names::gguf_layers, weight);
    if (place) place->name += suffix;
    return place;
}

/// A Llama's name for what a GGUF file calls "blk.3.attn_q.weight": "model.layers.3.self_attn.q_proj", without its
/// suffix. A name that is not in the table comes back, also without its suffix.
inline std::string checkpoint_layer_of(std::string_view weight) {
    weight = weight.substr(0, weight.rfind('.'));
    std::string_view inner = weight;
    std::optional<std::size_t> layer;
    if (weight.starts_with(tensor_names::gguf_layers)) {
        inner.remove_prefix(tensor_names::gguf_layers.size());
        layer = tensor_names::take_number(inner);
    }
    const auto search = [&](const auto& table) -> std::optional<std::string> {
        for (const auto& [gguf, checkpoint] : table)
            if (gguf == inner) return std::string(checkpoint);
        return {};
    };
    if (!layer) return search(tensor_names::of_model).value_or(std::string(weight));
    const auto found = search(tensor_names::of_layer);
    if (!found) return std::string(weight);
    return std::string(tensor_names::checkpoint_layers[0]) + std::to_string(*layer) + "." + *found;
}
