#pragma once
// The linear layers in a tensor that is not simply one: a matrix that lies transposed,
// and experts in one tensor of three dimensions.
#include "linear_layers.hpp"
#include "model.hpp"

/// The module that a tensor is of: "model.norm" of "model.norm.weight".
inline std::string module_of(std::string_view tensor) {
    return std::string(
        tensor.ends_with(".weight") ? tensor.substr(0, tensor.size() - std::string_view(".weight").size()) : tensor);
}

/// A part that lies transposed in `data`: `rows` outputs, of which the first is column `first` of what is stored.
inline source_tensor transposed_part(const source_tensor& whole, std::string name, std::span<const std::byte> data,
                                     std::uint64_t inputs, std::uint64_t stored_cols, std::uint64_t first,
                                     std::uint64_t rows) {
    source_tensor part = whole;
    part.name = std::move(name);
    part.dims = {rows, inputs};
    part.ne = {inputs, rows, 1, 1};
    part.data = data;
    part.transposed = stored_transposed{stored_cols, first};
    return part;
}

/// Experts of Llama 4: gate_up_proj is experts x inputs x (gate, then up), down_proj is experts x inputs x outputs.
/// Once they are quantized, transformers and vLLM look for them as layers of their own.
inline std::vector<source_tensor> expert_parts(const source_tensor& t, const std::string& module) {
    std::vector<source_tensor> parts;
    const std::uint64_t experts = t.dims[0], inputs = t.dims[1], outputs = t.dims[2];
    const bool is_pair = module.ends_with(".gate_up_proj");
    if (experts == 0 || t.weights() == 0 || (is_pair && outputs % 2 != 0)) return parts;
    const std::string stem = module.substr(0, module.rfind('.') + 1);
    const std::size_t bytes = t.data.size() / experts;
    for (std::uint64_t e = 0; e < experts; ++e) {
        const auto part = [&](const char* name, std::uint64_t first, std::uint64_t rows) {
            parts.push_back(transposed_part(t, stem + std::to_string(e) + name, t.data.subspan(e * bytes, bytes),
                                            inputs, outputs, first, rows));
        };
        if (is_pair) part(".gate_proj.weight", 0, outputs / 2), part(".up_proj.weight", outputs / 2, outputs / 2);
        else part(".down_proj.weight", 0, outputs);
    }
    return parts;
}

/// The matrices that a tensor is to its loaders once it is quantized; empty: it is one itself, or none.
inline std::vector<source_tensor> linear_parts(const architecture* known, const layer_verdict& layer,
                                               const source_tensor& t) {
    if (known == nullptr || !layer.linear || !t.type || t.fp8) return {};
    const std::string module = module_of(t.name);
    if (t.dims.size() == 2 && layer.input_first)
        return {transposed_part(t, t.name, t.data, t.dims[0], t.dims[1], 0, t.dims[1])};
    const bool is_stack = module.ends_with("experts.gate_up_proj") || module.ends_with("experts.down_proj");
    return t.dims.size() == 3 && known->splits_experts && is_stack ? expert_parts(t, module)
                                                                   : std::vector<source_tensor>();
}
