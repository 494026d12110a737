#pragma once
// Which type each tensor of a GGUF model becomes: a preset or one format for all, overrides by name, and what fits the rows.
#include "presets.hpp"
#include "which_tensors.hpp"

#include <regex>
#include <vector>

/// --tensor-type: tensors whose name holds a match of the pattern get this type. "copy": they stay as they are.
struct type_override {
    std::string text;  ///< as given, "ffn_down=q6_k"
    std::regex pattern;
    std::optional<ggml> type;
};

/// What was asked for.
struct type_request {
    ggml base{};                      ///< of all matrices; a preset's own
    std::optional<preset> recipe;     ///< whose rules apply
    bool pure = false;                ///< no rules: the base alone
    std::vector<type_override> overrides;
};

/// Why a tensor gets the type that it gets.
enum class reason { kept, base, rule, asked };

/// A decision. `type` differs from `wanted` where its blocks do not fill the rows.
struct type_choice {
    ggml wanted{}, type{};
    reason why = reason::kept;  ///< kept: neither type means anything
};

inline const type_override* find_override(std::span<const type_override> overrides, const std::string& name) {
    const auto found = std::ranges::find_if(overrides, [&](const type_override& o) { return std::regex_search(name, o.pattern); });
    return found != overrides.end() ? &*found : nullptr;
}

/// One choice per tensor. `tensors` are sorted by stands_before. Tensors with an override are not seen by the rules, and not counted.
inline std::vector<type_choice> choose_types(std::span<const tensor_shape> tensors, const model_facts& model, const type_request& request) {
    std::vector<type_choice> choices(tensors.size());
    std::optional<preset_rules> rules;
    if (request.recipe && !request.pure) rules.emplace(*request.recipe, model, tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const tensor_shape& t = tensors[i];
        if (!is_quantizable(t.name, t.rows())) continue;
        type_choice& choice = choices[i];
        if (const type_override* o = find_override(request.overrides, t.name)) {
            if (!o->type) continue;
            choice = {*o->type, {}, reason::asked};
        } else if (rules) {
            choice.wanted = rules->choose(t);
            choice.why = choice.wanted == request.base ? reason::base : reason::rule;
        } else {
            choice = {request.base, {}, reason::base};
        }
        choice.type = type_that_fits(choice.wanted, t.cols());
    }
    return choices;
}
