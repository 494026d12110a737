#pragma once
// Layers that engines join into one when they load a model, and therefore want in one form: all quantized, or none.
#include "linear_layers.hpp"
#include "safetensors_plan.hpp"

#include <set>

namespace layers {

/// Source: vLLM's packed_modules_mapping of Llama, Mixtral and their kind.
inline constexpr std::string_view joined[] = {"q_proj k_proj v_proj", "gate_proj up_proj", "w1 w3",
                                              "q_a_proj kv_a_proj_with_mqa"};

/// Modules that stay floats while a neighbour that they are joined with is quantized.
inline std::vector<std::string> torn_apart(const std::vector<planned_tensor>& plan) {
    std::set<std::string> quantized;
    for (const planned_tensor& p : plan)
        if (is_quantized(p)) quantized.insert(module_of(p.source->name));
    std::vector<std::string> torn;
    for (const planned_tensor& p : plan) {
        const std::string module = module_of(p.source->name);
        if (!p.left.for_loaders) continue;
        const std::string stem = module.substr(0, module.rfind('.') + 1), last = module.substr(stem.size());
        for (const std::string_view group : joined)
            if (is_one_of(last, group) &&
                any_word(group, [&](std::string_view other) { return quantized.contains(stem + std::string(other)); }))
                torn.push_back(module);
    }
    return torn;
}

}  // namespace layers
