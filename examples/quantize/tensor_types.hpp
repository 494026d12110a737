#pragma once
// Which type each tensor of a GGUF model becomes: a preset or one format for all,
// overrides by name, and what fits the rows.
#include "name_pattern.hpp"
#include "presets.hpp"
#include "which_tensors.hpp"

/// A rule of the command line: tensors whose name holds a match of the pattern get this type. None: they stay.
struct type_override {
    std::string text;  ///< as given, "--tensor-type ffn_down=q6_k"
    name_pattern pattern;
    std::optional<ggml> type;
};

/// What was asked for.
struct type_request {
    ggml base{};                   ///< of all matrices; a preset's own
    std::optional<preset> recipe;  ///< whose rules apply
    bool pure = false;             ///< no rules: the base alone
    std::vector<type_override> overrides;
    bool adapter = false;  ///< the model is one: its matrices have names of their own
    bool copy = false;     ///< what no override speaks of stays as it is
};

/// Why a tensor gets the type that it gets.
enum class reason { kept, base, rule, asked };

/// A decision. `type` differs from `wanted` where its blocks do not fill the rows.
struct type_choice {
    ggml wanted{}, type{};
    reason why = reason::kept;            ///< kept: neither type means anything
    const type_override* rule = nullptr;  ///< that speaks of the tensor
    bool overruled = false;               ///< it would change what loaders expect as it is
};

inline const type_override* find_override(std::span<const type_override> overrides, const std::string& name) {
    const auto found = std::ranges::find_if(overrides, [&](const type_override& o) { return o.pattern.matches(name); });
    return found != overrides.end() ? &*found : nullptr;
}

/// One choice per tensor. `tensors` are sorted by stands_before. Tensors with an override are not seen by the rules,
/// and not counted. error: what the preset's rules say of impossible models
inline std::vector<type_choice> choose_types(std::span<const tensor_shape> tensors, const model_facts& model,
                                             const type_request& request) {
    std::vector<type_choice> choices(tensors.size());
    std::optional<preset_rules> rules;
    if (request.recipe && !request.pure) rules.emplace(*request.recipe, model, tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const tensor_shape& t = tensors[i];
        type_choice& choice = choices[i];
        choice.rule = find_override(request.overrides, t.name);
        if (choice.rule != nullptr && !choice.rule->type) continue;
        if (!is_quantizable(t.name, t.rows()) && !(request.adapter && is_adapter_matrix(t.name, t.rows()))) {
            choice.overruled = choice.rule != nullptr;
            continue;
        }
        if (choice.rule != nullptr) {
            choice.wanted = *choice.rule->type;
            choice.why = reason::asked;
        } else if (request.copy) {
            continue;
        } else if (rules) {
            choice.wanted = rules->choose(t);
            choice.why = choice.wanted == request.base ? reason::base : reason::rule;
        } else {
            choice.wanted = request.base;
            choice.why = reason::base;
        }
        choice.type = type_that_fits(choice.wanted, t.cols());
    }
    return choices;
}
