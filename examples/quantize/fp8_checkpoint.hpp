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
              ".activation_scale", ".input_activation_scale", ".scale_input", "_proj_input_scale",
              "_proj_activation_scale"})
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
        const bool is_stack = t.n_dims() == 3;
        if (!is_stack && (!t.name.ends_with(".weight") || t.n_dims() != 2))
            refuse(t, "only matrices of layers, and stacks of them, can be decoded");
        const std::string name(t.name), layer = name.substr(0, name.rfind('.') + 1);
        std::vector<std::string> names;
        if (name.ends_with(".weight"))
            for (const char* end : {"weight_scale_inv", "weight_scale", "scale_weight", "scale_inv", "scale"})
                names.push_back(layer + end);
        else names = {name + "_scale_inv", name + "_scale", name + ".weight_scale"};
        for (const std::string& scales : names) {
            const auto found = by_name_.find(scales);
            if (found == by_name_.end()) continue;
            weights_.emplace(t.name, with_scales(t, *found->second));
            scales_.emplace(found->first, &t);
            return;
        }
        refuse(t, "there is no " + names[0] + " or " + names[1] + ": without its scales it means nothing");
    }
    fp8_weights with_scales(const tensor& t, const tensor& scales) const {
        using enum qlib::safetensors_type;
        const bool is_power = scales.type == f8_e8m0 || scales.type == u8;
        if (scales.type != f32 && scales.type != f16 && scales.type != bf16 && !is_power)
            refuse(t, std::string(scales.name) + " is " + std::string(qlib::safetensors_name(scales.type)) +
                          ", which is not understood");
        fp8_weights w{t.type, scales.type, scales.data};
        const std::uint64_t experts = t.n_dims() == 3 ? t.shape[0] : 1, cols = t.cols();
        const std::uint64_t rows = experts == 0 ? 0 : t.rows() / experts, count = scales.rows() * scales.cols();
        w.matrix_rows = count == 1 ? t.rows() : rows;
        if (count == 1 || (t.n_dims() == 3 && count == experts)) {
            w.block_rows = w.matrix_rows, w.block_cols = cols;
            return w;
        }
        // How many scales a matrix has, down and along; a vector is one for each row.
        const std::size_t lead = t.n_dims() == 3 ? 1 : 0;
        const bool is_vector = scales.n_dims() == lead + 1, fits = is_vector || scales.n_dims() == lead + 2;
        const std::uint64_t down = fits ? scales.shape[lead] : 0, along = fits && !is_vector ? scales.cols() : 1;
        auto blocks = blocks_;
        blocks.push_back({1, cols});
        if (is_power) blocks.push_back({1, 32});  // MXFP8
        const auto divide_up = [](std::uint64_t n, std::uint64_t d) { return n / d + (n % d != 0); };
        for (const block b : blocks) {
            if ((is_vector && b.rows != 1) || (lead != 0 && scales.shape[0] != experts) ||
                down != divide_up(rows, b.rows) || along != divide_up(cols, b.cols))
                continue;
            w.block_rows = b.rows, w.block_cols = b.cols, w.scale_rows = down, w.scale_cols = along;
            return w;
        }
        refuse(t, shape_of(scales) + " scales do not fit its " + shape_of(t) + " weights in blocks of " +
                      std::to_string(blocks_[0].rows) + " x " + std::to_string(blocks_[0].cols));
    }
    static std::string shape_of(const tensor& t) {
        std::string text;
        for (const std::uint64_t n : t.shape) text += (text.empty() ? "" : " x ") + std::to_string(n);
        return text;
    }

    std::map<std::string_view, const tensor*, std::less<>> by_name_, scales_;
    std::map<std::string_view, fp8_weights, std::less<>> weights_;
    std::vector<block> blocks_;
};
