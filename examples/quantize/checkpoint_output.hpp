#pragma once
// What stands beside a checkpoint's weights when it is written: config.json with what loaders
// must know, and all files that are no weights.
#include "safetensors_plan.hpp"

/// Files that go with a model, and weights that do not, relative to its folder.
struct companions {
    std::vector<fs::path> files, left_behind;
};

/// skip: a folder that is none of the model's, as where the output goes. A file that stands without config.json has no
/// companions: its folder may be anything.
inline companions find_companions(const safetensors_model& model, const fs::path& skip) {
    companions found;
    if (!fs::exists(model.config().path())) return found;
    std::set<fs::path> own;
    for (const model_file& f : model.files()) own.insert(fs::path(f.path).filename());
    const fs::path without =
        checkpoint_files::real_path(skip).lexically_relative(checkpoint_files::real_path(model.folder()));
    for (const fs::path& file : checkpoint_files::all_in(model.folder())) {
        if (file.string().starts_with(without.string() + "/") || file.string().starts_with(without.string() + "."))
            continue;
        const std::string name = file.filename();
        const bool is_old_note = model.decodes_fp8() && name == "hf_quant_config.json";
        if (is_old_note || own.contains(file) || file == "config.json") continue;
        if (!checkpoint_files::is_weights(name)) found.files.push_back(file);
        else if (!name.ends_with(".json")) found.left_behind.push_back(file);
    }
    return found;
}

namespace output_config {

/// Characters that mean something in a regular expression, made plain.
inline std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (std::string_view(".+*?()[]{}\\^$|").find(c) != std::string_view::npos) out += '\\';
        out += c;
    }
    return out;
}

/// Modules that loaders must not take for quantized ones.
inline std::vector<std::string> ignored_modules(const std::vector<planned_tensor>& plan,
                                                const checkpoint_codec& codec) {
    std::vector<std::string> ignored;
    const auto put = [&](const std::string& name) {
        if (std::ranges::find(ignored, name) == ignored.end()) ignored.push_back(name);
    };
    for (const planned_tensor& p : plan) {
        if (!p.left.for_loaders) continue;
        std::string module = module_of(p.source->name);
        put(module);
        if (!p.left.is_stack) continue;
        if (const std::size_t at = module.find("experts"); at != std::string::npos)
            put(module = module.substr(0, at + std::string_view("experts").size()));
        // compressed-tensors compares whole names, and loaders call experts by number.
        if (codec.group != 0) put("re:" + escaped(module) + "\\..*");
    }
    const auto is_output = [](const planned_tensor& p) { return p.source->name == "lm_head.weight"; };
    // One that shares the embedding's weights is a layer to loaders all the same.
    if (std::ranges::none_of(plan, is_output)) put("lm_head");
    return ignored;
}

/// bitsandbytes' loaders skip every layer whose name begins like one that they are
/// told to skip: "mlp.gate" is also "mlp.gate_proj".
inline void check_prefixes(const std::vector<planned_tensor>& plan, const std::vector<std::string>& ignored) {
    std::set<std::string> quantized;
    for (const planned_tensor& p : plan)
        if (is_quantized(p)) quantized.insert(module_of(p.source->name));
    for (const std::string& name : ignored)
        if (const auto next = quantized.lower_bound(name); next != quantized.end() && next->starts_with(name))
            throw std::runtime_error(*next + ": loaders of bitsandbytes would take it for " + name +
                                     ", which is not quantized, and skip it too: leave it as it is with "
                                     "--tensor-type '" +
                                     *next + "=copy', or take an int4 format");
}

/// use(object) for the configuration and the parts in it.
template <class Use> void for_each_part(json& config, const Use& use) {
    use(config);
    for (auto& [key, value] : config.items())
        if (value.is_object() && key.ends_with("_config")) use(value);
}

}  // namespace output_config

/// The output's config.json; null: there is none to write.
inline json config_of_output(const safetensors_model& model, const std::vector<planned_tensor>& plan,
                             const options& o) {
    json config = model.config().root();
    const auto quantized = std::ranges::find_if(plan, is_quantized);
    if (quantized == plan.end() && config.empty()) return nullptr;
    output_config::for_each_part(config, [](json& part) {
        for (const char* key : {"quantization_config", "compression_config", "quantization"}) part.erase(key);
    });
    if (quantized != plan.end()) {
        const checkpoint_codec& codec = *find_checkpoint_codec(*quantized->format);
        const std::vector<std::string> ignored = output_config::ignored_modules(plan, codec);
        if (codec.group == 0) output_config::check_prefixes(plan, ignored);
        json& method = config["quantization_config"] =
            json::parse(codec.config(safetensors_model::type_of(*quantized)));
        method[codec.ignore_key] = ignored;
        return config;
    }
    if (o.only_copies()) return config;
    const auto format = static_cast<ggml>(checkpoint_format_named(o.format));
    const char* const type = format == ggml::f32 ? "float32" : format == ggml::f16 ? "float16" : "bfloat16";
    output_config::for_each_part(config, [&](json& part) {
        for (const char* key : {"torch_dtype", "dtype"})
            if (part.contains(key)) part[key] = type;
    });
    return config;
}
