#pragma once
// What becomes of each tensor of a checkpoint: formats that its loaders understand for the layers that they look for, a
// reason for all others.
#include "imatrix_input.hpp"
#include "manifest.hpp"
#include "safetensors_model.hpp"
#include "tensor_rules.hpp"

/// The number of a format that a safetensors checkpoint can hold.
inline std::uint32_t checkpoint_format_named(const std::string& name) {
    const auto type = find_ggml_type(name);
    if (type && is_float(*type)) return static_cast<std::uint32_t>(*type);
    const auto id = qlib::format_named(name);
    if (id && find_checkpoint_codec(static_cast<std::uint32_t>(*id)) != nullptr) return static_cast<std::uint32_t>(*id);
    if (type || id)
        throw std::runtime_error(name + ": safetensors files hold int4_g32, int4_g32_asym, int4_g128, int4_g128_asym, "
                                        "nf4, nf4_dq, f32, f16 and bf16. GGUF's formats need a GGUF file as input: it "
                                        "holds the tokenizer, which a safetensors file does not");
    throw std::runtime_error(name + ": there is no such format");
}

/// Whether a tensor becomes codes beside scales, as a file's config.json has to say.
inline bool is_quantized(const planned_tensor& p) { return p.format && find_checkpoint_codec(*p.format) != nullptr; }

class safetensors_planner {
public:
    safetensors_planner(const safetensors_model& model, const options& o, const imatrix_input* imatrix)
        : model_(model), o_(o), imatrix_(imatrix), rules_(rules_of(o, true)) {}

    std::vector<planned_tensor> plan() && {
        for (const source_tensor& t : model_.tensors()) decide(t);
        for (const tensor_rule& rule : rules_) check_rule(rule.text, plan_);
        return std::move(plan_);
    }

private:
    void decide(const source_tensor& t) {
        const auto asked = std::ranges::find_if(
            rules_, [&](const tensor_rule& r) { return t.dims.size() >= 2 && r.pattern.matches(t.name); });
        const std::size_t first = plan_.size();
        plan_one(t, asked != rules_.end() ? &*asked : nullptr);
        if (asked == rules_.end()) return;
        for (std::size_t i = first; i < plan_.size(); ++i) plan_[i].rule = asked->text;
    }
    void plan_one(const source_tensor& t, const tensor_rule* asked) {
        const layer_verdict layer = model_.judge(t);
        const bool by_rule = asked != nullptr;
        const std::string& name = by_rule ? asked->format : o_.format;
        if (t.dims.size() < 2) return keep(t, {});
        if (upper_case(name) == "COPY") return keep(t, left(t, layer, by_rule ? "--tensor-type says copy" : ""));
        const std::uint32_t format = checkpoint_format_named(name);
        const checkpoint_codec* codec = find_checkpoint_codec(format);
        const std::string obstacle =
            codec != nullptr ? why_not_quantized(t, layer, *codec, by_rule) : why_not_rounded(t, layer, by_rule);
        if (!obstacle.empty() && by_rule)
            throw std::runtime_error(t.title() + ": " + asked->text + " cannot be done: " + obstacle);
        if (!obstacle.empty()) return keep(t, left(t, layer, obstacle));
        const reason why = by_rule ? reason::asked : reason::base;
        if (codec == nullptr) return add_floats(t, format, why);
        const auto parts = model_.linear_parts(t);
        for (const source_tensor& part : parts) add_codes(part, *codec, name, why);
        if (parts.empty()) add_codes(t, *codec, name, why);
    }

    /// Empty: a float format can hold it.
    static std::string why_not_rounded(const source_tensor& t, const layer_verdict& layer, bool by_rule) {
        if (!t.type) return "its type is " + t.type_name + ", and only f32, f16, bf16 and FP8 are read";
        return layer.router && !by_rule ? layer.reason : "";
    }
    /// Empty: the loaders of the format will find it, and read what was written.
    std::string why_not_quantized(const source_tensor& t, const layer_verdict& layer, const checkpoint_codec& codec,
                                  bool by_rule) const {
        if (!t.type) return "its type is " + t.type_name + ", and only f32, f16, bf16 and FP8 are read";
        const auto parts = model_.linear_parts(t);
        if (is_stack(t, layer) && parts.empty())
            return "experts in one tensor of " + std::to_string(t.dims.size()) +
                   " dimensions, for which config.json has no words";
        if (parts.empty() && (t.dims.size() != 2 || !t.name.ends_with(".weight")))
            return "it is not the matrix of a layer, NAME.weight";
        if (layer.looked_up || (!layer.linear && !by_rule)) return layer.reason;
        if (!parts.empty() && t.dims.size() == 2 && codec.group != 0 && !by_rule)
            return "a Conv1D, which is transposed against a Linear: transformers looks for Linear layers alone in this "
                   "format, nf4 can hold it";
        const source_tensor& matrix = parts.empty() ? t : parts[0];
        if (codec.group != 0 && matrix.cols() % codec.group != 0)
            return "rows of " + std::to_string(matrix.cols()) + " are not whole groups of " +
                   std::to_string(codec.group) + ", and loaders would take other groups from the shapes";
        return matrix.weights() == 0 ? "it is empty" : "";
    }
    static bool is_stack(const source_tensor& t, const layer_verdict& layer) {
        const std::string module = module_of(t.name);
        const auto path = layers::parts_of(module);
        const bool of_experts =
            layers::has_part(path, "experts") && (t.dims.size() == 3 || !t.name.ends_with(".weight"));
        return of_experts ||
               (t.dims.size() == 3 && (layer.linear || layers::is_one_of(path.back(), "input_linear output_linear")));
    }
    static left_alone left(const source_tensor& t, const layer_verdict& layer, const std::string& why) {
        const bool stack = is_stack(t, layer);
        return {why, stack || (t.dims.size() == 2 && t.name.ends_with(".weight") && !layer.looked_up), stack,
                layer.linear || stack};
    }

    planned_tensor& add(const source_tensor& t, reason why) {
        planned_tensor& p = plan_.emplace_back();
        p.source = &t;
        p.why = why;
        p.bytes = t.data.size();
        p.format_name = p.wanted_name = t.type_name;
        return p;
    }
    /// As it is; FP8 cannot stay, as config.json no longer speaks of it.
    void keep(const source_tensor& t, const left_alone& why) {
        if (t.fp8) add_floats(t, static_cast<std::uint32_t>(*t.type), reason::kept);
        else add(t, reason::kept);
        plan_.back().left = why;
    }
    void add_floats(const source_tensor& t, std::uint32_t format, reason why) {
        planned_tensor& p = add(t, why);
        if (!t.fp8 && format == static_cast<std::uint32_t>(*t.type)) return;
        p.format = format;
        p.format_name = p.wanted_name = name_of(static_cast<ggml>(format));
        p.bytes = find_codec(format)->bytes(t.rows(), t.cols());
    }
    void add_codes(const source_tensor& t, const checkpoint_codec& codec, const std::string& name, reason why) {
        if (quantized_.value_or(codec.number) != codec.number)
            throw std::runtime_error(
                t.title() + ": config.json can name one quantized format only, and another tensor has another");
        quantized_ = codec.number;
        planned_tensor& p = add(t, why);
        p.format = codec.number;
        p.format_name = p.wanted_name = name;
        if (imatrix_ != nullptr) p.importance = imatrix_->importance_of(t);
        p.bytes = 0;
        for (const qlib::checkpoint_part& part : safetensors_model::parts_of(p, codec)) p.bytes += part.bytes;
    }

    const safetensors_model& model_;
    const options& o_;
    const imatrix_input* imatrix_;
    std::vector<tensor_rule> rules_;
    std::vector<planned_tensor> plan_;
    std::optional<std::uint32_t> quantized_;
};

/// All of them.
inline std::vector<planned_tensor> make_plan(const safetensors_model& model, const options& o,
                                             const imatrix_input* imatrix) {
    if (!o.preset_name.empty())
        throw std::runtime_error(o.preset_name + ": presets are mixtures of GGUF's formats. A GGUF file holds the "
                                                 "tokenizer, which a safetensors file does not: convert the model "
                                                 "first (llama.cpp has convert_hf_to_gguf.py)");
    return safetensors_planner(model, o, imatrix).plan();
}
