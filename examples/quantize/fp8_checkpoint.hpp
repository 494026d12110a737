#pragma once
// The scales of a checkpoint's FP8 weights: which tensor, and how many weights share one.
#include "checkpoint_method.hpp"
#include "fp8_weights.hpp"

#include <map>

class fp8_checkpoint {
public:
    using tensor = qlib::safetensors_tensor;

    fp8_checkpoint(const checkpoint_config& config, std::span<const tensor* const> tensors) {
        for (const tensor* t : tensors) by_name_.emplace(t->name, t);
        if (const json* q = config.object({"quantization_config", "compression_config"})) learn_blocks(*q);
        if (blocks_.empty()) blocks_.push_back({128, 128});  // DeepSeek's
        for (const tensor* t : tensors)
            if (methods::is_fp8(t->type)) find_scales(*t);
    }

    /// How to decode a tensor; null: it is not FP8.
    [[nodiscard]] const fp8_weights* find(std::string_view name) const {
        const auto found = weights_.find(name);
        return found != weights_.end() ? &found->second : nullptr;
    }
    /// Whether a tensor means nothing once the weights are decoded: their scales, and those of activations and caches.
    [[nodiscard]] bool is_used_up(std::string_view name) const {
        if (scales_.contains(name)) return true;
        for (const std::string_view end :
             {".input_scale", ".output_scale", ".k_scale", ".v_scale", ".q_scale", ".kv_scale", ".prob_scale",
              ".activation_scale", ".input_activation_scale", ".scale_input"})
            if (name.ends_with(end)) return true;
        return false;
    }

private:
    struct block {
        std::uint64_t rows, cols;
    };

    [[noreturn]] static void refuse(const tensor& t, const std::string& why) {
        throw std::runtime_error(std::string(t.name) + ": it is " + std::string(qlib::safetensors_name(t.type)) +
                                 ", and " + why + "; dequantize the model to bf16 first");
    }
    /// weight_block_size, or the same in compressed-tensors' groups.
    void learn_blocks(const json& quantization) {
        const auto add = [&](const json& pair) {
            if (pair.is_array() && pair.size() == 2 && is_size(pair[0]) && is_size(pair[1]))
                blocks_.push_back({pair[0].get<std::uint64_t>(), pair[1].get<std::uint64_t>()});
        };
        add(quantization.value("weight_block_size", json()));
        const json groups = quantization.value("config_groups", json::object());
        if (!groups.is_object()) return;
        for (const json& group : groups) {
            const json weights = group.is_object() ? group.value("weights", json()) : json();
            if (!weights.is_object()) continue;
            add(weights.value("block_structure", json()));
            if (const json size = weights.value("group_size", json()); is_size(size))
                blocks_.push_back({1, size.get<std::uint64_t>()});
        }
    }
    static bool is_size(const json& n) { return n.is_number_unsigned() && n != 0; }

    void find_scales(const tensor& t) {
        if (!t.name.ends_with(".weight") || t.n_dims() != 2) refuse(t, "only matrices of layers can be decoded");
        const std::string layer(t.name.substr(0, t.name.size() - std::string_view("weight").size()));
        for (const char* end : {"weight_scale_inv", "weight_scale", "scale_weight", "scale_inv", "scale"}) {
            const auto found = by_name_.find(layer + end);
            if (found == by_name_.end()) continue;
            weights_.emplace(t.name, with_scales(t, *found->second));
            scales_.emplace(found->first, &t);
            return;
        }
        refuse(t, "there is no " + layer + "weight_scale_inv or weight_scale: without its scales it means nothing");
    }
    fp8_weights with_scales(const tensor& t, const tensor& scales) const {
        using enum qlib::safetensors_type;
        if (scales.type != f32 && scales.type != f16 && scales.type != bf16 && scales.type != f8_e8m0)
            refuse(t, std::string(scales.name) + " is " + std::string(qlib::safetensors_name(scales.type)) +
                          ", which is not understood");
        fp8_weights w{t.type, scales.type, scales.data};
        const std::uint64_t rows = t.rows(), cols = t.cols(), count = scales.rows() * scales.cols();
        const bool by_row = count == rows && (scales.n_dims() == 1 || (scales.n_dims() == 2 && scales.cols() == 1));
        if (count == 1) {
            w.block_rows = rows, w.block_cols = cols;
            return w;
        }
        const auto divide_up = [](std::uint64_t n, std::uint64_t d) { return n / d + (n % d != 0); };
        for (const block b : blocks_) {
            if (scales.n_dims() != 2 || scales.rows() != divide_up(rows, b.rows) ||
                scales.cols() != divide_up(cols, b.cols))
                continue;
            w.block_rows = b.rows, w.block_cols = b.cols, w.scale_cols = scales.cols();
            return w;
        }
        if (!by_row)
            refuse(t, std::to_string(scales.rows()) + " x " + std::to_string(scales.cols()) +
                          " scales do not fit its " + std::to_string(rows) + " x " + std::to_string(cols) +
                          " weights in blocks of " + std::to_string(blocks_[0].rows) + " x " +
                          std::to_string(blocks_[0].cols));
        w.block_cols = cols;
        return w;
    }

    std::map<std::string_view, const tensor*, std::less<>> by_name_, scales_;
    std::map<std::string_view, fp8_weights, std::less<>> weights_;
    std::vector<block> blocks_;
};
