#pragma once
// Keys that a model's file has and this engine does not know. What they say may change what the model computes: a
// window of attention, a cap on logits, norms of queries and keys, experts. A result that ignores them is wrong and
// looks right, so they are errors, unless they are switched off.
#include <qlib/file/gguf_value.hpp>
#include <qlib/file/json.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

inline constexpr const char* not_implemented = "it may change what the model computes, and is not implemented";

/// Whether 1 is what a number of this name has when it does nothing.
inline bool is_multiplier(std::string_view key) {
    constexpr std::array ends{"scale", "scaling", "factor", "multiplier", "pct"};
    return std::ranges::any_of(ends, [&](std::string_view end) { return key.ends_with(end); });
}
inline bool does_nothing(std::string_view key, double number) {
    return number == 0 || (number == 1 && is_multiplier(key));
}

/// Whether a value says no: null, false, 0, 1 for a multiplier, nothing in quotes or brackets.
inline bool does_nothing(std::string_view key, qlib::json_value v) {
    switch (v.type()) {
    case qlib::json_type::boolean: return v.text == "false";
    case qlib::json_type::number: {
        const auto x = v.as_float();
        return x && does_nothing(key, *x);
    }
    case qlib::json_type::string: return v.is("");
    case qlib::json_type::array: return v.elements().count() == 0;
    case qlib::json_type::object: return v.members().count() == 0;
    default: return true;
    }
}
inline bool does_nothing(std::string_view key, const qlib::gguf_value& v) {
    if (v.is_array()) return v.count == 0;
    if (const auto text = v.as_string()) return text->empty();
    if (const auto yes = v.as_bool()) return !*yes;
    if (const auto n = v.as_int()) return does_nothing(key, static_cast<double>(*n));
    const auto x = v.as_float();
    return x && does_nothing(key, *x);
}

/// Whether one of the words of a key, as "attn" in "attn_logit_softcapping", speaks of the computation. config.json is
/// also a place for notes of all kinds (unsloth_version, temperature, id2label), which must not stop anybody.
inline bool speaks_of_computation(std::string_view key) {
    static constexpr std::string_view about[] = {
        "act", "activation", "alibi", "attention", "attn", "bias", "bidirectional", "cap", "causal", "chunk", "clamp",
        "clip", "conv", "dense", "emb", "embd", "embedding", "embeddings", "eps", "epsilon", "expert", "experts",
        "ffn", "gate", "gated", "gating", "head", "heads", "key", "kv", "latent", "layer", "layernorm", "layers",
        "logit", "logits", "logn", "longrope", "lora", "mamba", "mlp", "moe", "mrope", "mscale", "multiplier", "mup",
        "norm", "ntk", "parallel", "position", "positions", "qk", "qkv", "query", "residual", "rms", "rmsnorm",
        "rope", "rotary", "router", "scale", "scaling", "sink", "sinks", "sliding", "softcap", "softcapping",
        "sparse", "ssm", "swa", "swiglu", "theta", "topk", "window", "windows", "xpos", "yarn"};
    // How it is computed, or what training did, and not what.
    static constexpr std::string_view besides[] = {
        "aux", "cache", "coef", "dropout", "flash", "fused", "implementation", "init", "initializer", "loss", "pdrop",
        "std", "training"};
    const auto has_word_of = [&](const auto& words) {
        for (std::string_view rest = key;;) {
            const std::size_t end = std::min(rest.find_first_of("_-."), rest.size());
            if (std::ranges::find(words, rest.substr(0, end)) != std::end(words)) return true;
            if (end == rest.size()) return false;
            rest.remove_prefix(end + 1);
        }
    };
    return has_word_of(about) && !has_word_of(besides);
}
