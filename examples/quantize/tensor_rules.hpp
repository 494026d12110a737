#pragma once
// Rules of the command line for tensors by name: --tensor-type, and the options that are such rules under another name.
#include "model.hpp"
#include "options.hpp"

struct tensor_rule {
    std::string text;  ///< as errors and the manifest name it: "--tensor-type ffn_down=q6_k"
    name_pattern pattern;
    std::string format;

    /// Tensors of the rule stay as they are.
    [[nodiscard]] bool keeps() const { return upper_case(format) == "COPY"; }
};

inline tensor_rule make_rule(const std::string& text, const std::string& pattern, const std::string& format) {
    try {
        return {text, name_pattern(pattern), format};
    } catch (const std::invalid_argument& e) {
        throw std::runtime_error(text + ": " + e.what());
    }
}

/// In the order in which they count. `has_output`: the model has a matrix of its own for its output.
inline std::vector<tensor_rule> rules_of(const options& o, bool has_output) {
    std::vector<tensor_rule> rules;
    const char* const embedding = R"(^token_embd\.weight$)";
    const char* const output = R"(^output\.weight$)";
    if (!o.embedding_type.empty())
        rules.push_back(make_rule("--token-embedding-type " + o.embedding_type, embedding, o.embedding_type));
    if (o.leave_output) rules.push_back(make_rule("--leave-output-tensor", output, "copy"));
    if (!o.output_type.empty())
        rules.push_back(
            make_rule("--output-tensor-type " + o.output_type, has_output ? output : embedding, o.output_type));
    for (const std::string& text : o.tensor_types) {
        const auto [pattern, format] = split_override(text);
        rules.push_back(make_rule("--tensor-type " + text, pattern, format));
    }
    return rules;
}

/// error: options that only GGUF files know
inline void refuse_gguf_options(const options& o) {
    const std::pair<const char*, bool> given[] = {
        {"--leave-output-tensor", o.leave_output},         {"--output-tensor-type", !o.output_type.empty()},
        {"--token-embedding-type", !o.embedding_type.empty()}, {"--prune-layers", !o.prune_layers.empty()},
        {"--override-kv", !o.override_kv.empty()},         {"--keep-split", o.keep_split},
        {"--split-max-size", o.split_max_size != 0},       {"--allow-requantize", o.allow_requantize},
        {"--no-fallback", o.no_fallback}};
    for (const auto& [name, is_given] : given)
        if (is_given)
            throw std::runtime_error(
                std::string(name) + ": this is for GGUF files; safetensors are written whole, with names of their own");
}

/// What a rule did: how many tensors it decided about, and how many it would have changed that stay as they are.
struct rule_use {
    std::size_t tensors = 0, overruled = 0;
    std::string first_overruled;
};
inline rule_use use_of(const std::string& rule, const std::vector<planned_tensor>& plan) {
    rule_use use;
    for (const planned_tensor& p : plan) {
        if (p.rule != rule) continue;
        ++(p.overruled ? use.overruled : use.tensors);
        if (p.overruled && use.first_overruled.empty()) use.first_overruled = p.source->title();
    }
    return use;
}

/// error: a rule that decides about nothing
inline void check_rule(const std::string& rule, const std::vector<planned_tensor>& plan) {
    const rule_use use = use_of(rule, plan);
    if (use.tensors != 0) return;
    if (use.overruled != 0)
        throw std::runtime_error(
            rule + ": of the tensors that it names none can have another format, as engines need them as they are: " +
            use.first_overruled + (use.overruled > 1 ? " and " + std::to_string(use.overruled - 1) + " more" : ""));
    throw std::runtime_error(
        rule +
        ": it decides about no tensor. None has such a name, or an earlier rule is for it; a match begins where a word "
        "between dots does, so for a part of a word write .*PART");
}
