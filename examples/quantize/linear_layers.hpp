#pragma once
// Which matrices of a checkpoint are the weights of linear layers, by the model's structure: a table of architectures.
// In one that is not there only names that mean nothing else anywhere count. Whatever is left alone has a reason.
#include "architectures.hpp"
#include "checkpoint_config.hpp"

#include <array>
#include <optional>

namespace layers {

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
        if (!stem.empty() && any_word(a.types, [&](std::string_view type) { return squeezed(type) == stem; }))
            return &a;
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
    bool looked_up = false;  ///< an embedding, that no loader takes for a linear layer
    bool router = false;     ///< small, and its choices are all or nothing
    std::string reason;      ///< why it is left alone; empty for a linear layer
};

/// `path`: of a matrix' module, "model.layers.0.mlp.up_proj".
inline layer_verdict judge_layer(const architecture* known, const std::string& type, std::string_view path) {
    using namespace layers;
    const auto parts = parts_of(path);
    const std::string_view last = parts.back();
    const auto left = [](std::string reason) { return layer_verdict{.reason = std::move(reason)}; };
    if (has_part(parts, "vision_tower vision_model visual vision_encoder vision audio_tower audio_model audio_encoder "
                        "image_encoder vpm apm resampler multi_modal_projector mm_projector embed_vision embed_audio"))
        return left("of the part that sees or hears, left as it is");
    if (is_one_of(last, "lm_head embed_out output_layer proj_out score classifier qa_outputs") || path == "output" ||
        path == "model.output" || path == "head")
        return left("the output layer, left as it is by custom");
    if (is_one_of(last, "wte wpe shared relative_attention_bias") ||
        (last.find("embed") != std::string_view::npos && last.find("patch") == std::string_view::npos))
        return {.looked_up = true, .reason = "an embedding: looked up, not multiplied"};
    if (is_one_of(last, "gate router wg shared_expert_gate gate_weight") || has_part(parts, "router"))
        return {.router = true, .reason = "a router or gate: its choices do not survive rounding"};
    const auto is_in = [&](std::string_view list) {
        return any_word(list, [&](std::string_view ending) { return ends_in(parts, ending); });
    };
    if (known != nullptr && is_in(known->floats))
        return left("a linear layer of which loaders of " + type + " take the weights as floats");
    const bool in_table = known != nullptr && is_in(known->linear);
    if (in_table || (is_one_of(last, sure_names) && !has_part(parts, "indexer altup laurel")))
        return {.linear = true, .input_first = known != nullptr && known->input_first, .reason = {}};
    if (known != nullptr) return left("no linear layer that is known of " + type);
    const std::string unknown =
        type.empty() ? "there is no model_type in config.json" : "the architecture " + type + " is not known";
    return left(unknown + ", and only q_proj and the like are sure to be linear layers");
}
