#pragma once
// Whether a checkpoint is quantized already, and how: by what its configuration says, and by
// its tensors, which also speak where it is silent. Codes without their scales are no weights:
// what cannot be decoded is refused under its name.
#include "checkpoint_config.hpp"

#include <qlib/file/safetensors.hpp>

#include <optional>
#include <set>

namespace methods {

struct name_pair {
    std::string_view key, name;
};
/// quant_method, and the same in words. Others are called as they call themselves.
inline constexpr name_pair known[] = {
    {"gptq", "GPTQ"},
    {"awq", "AWQ"},
    {"bitsandbytes", "bitsandbytes"},
    {"compressed-tensors", "compressed-tensors"},
    {"fp8", "FP8"},
    {"fbgemm_fp8", "FBGEMM's FP8"},
    {"modelopt", "NVIDIA ModelOpt"},
    {"modelopt_fp4", "NVIDIA ModelOpt (NVFP4)"},
    {"mxfp4", "MXFP4"},
    {"hqq", "HQQ"},
    {"quanto", "Quanto"},
    {"torchao", "torchao"},
    {"bitnet", "BitNet"},
    {"auto-round", "AutoRound"},
    {"exl2", "EXL2"},
    {"exl3", "EXL3"},
    {"quark", "AMD Quark"},
    {"aqlm", "AQLM"},
    {"vptq", "VPTQ"},
    {"higgs", "HIGGS"},
    {"spqr", "SpQR"},
    {"eetq", "EETQ"},
    {"quip", "QuIP#"},
};

/// Tensors that no other checkpoints have, by the end of their names.
inline constexpr name_pair tensors[] = {
    {".qweight", "GPTQ or AWQ"},
    {".qzeros", "GPTQ or AWQ"},
    {".g_idx", "GPTQ"},
    {".weight_packed", "compressed-tensors, packed"},
    {".weight_zero_point", "compressed-tensors, integers"},
    {".weight_global_scale", "NVFP4"},
    {".weight_scale_2", "NVIDIA ModelOpt (NVFP4)"},
    {".pre_quant_scale", "NVIDIA ModelOpt, with scaled inputs"},
    {".weight.absmax", "bitsandbytes, 4 bits"},
    {".weight.quant_state.bitsandbytes__nf4", "bitsandbytes, NF4"},
    {".weight.quant_state.bitsandbytes__fp4", "bitsandbytes, FP4"},
    {".SCB", "bitsandbytes, LLM.int8()"},
    {".trellis", "EXL3"},
    {".q_scale_max", "EXL2"},
    {".W_q", "HQQ"},
    {"_proj_blocks", "MXFP4"},
    {".weight_quantizer.scale", "AMD Quark"},
    {".weight._data", "Quanto"},
    {"._weight_qdata", "torchao"},
    {".codebooks", "AQLM"},
    {".Qidxs", "QuIP#"},
    {".centroids.weight", "VPTQ"},
    {".qscale_weight", "Mistral's FP8"},
};

/// Whole numbers that are no codes: places, masks, numbers of tokens.
inline bool is_index(std::string_view name) {
    for (const std::string_view part : {"ids", "idx", "index", "indices", "mask", "tid2eid", "attn.bias",
                                        "attention.bias", "num_batches", "tokens", "length"})
        if (name.find(part) != std::string_view::npos) return true;
    return false;
}
inline bool is_float(qlib::safetensors_type t) {
    using enum qlib::safetensors_type;
    return t == f16 || t == bf16 || t == f32 || t == f64;
}
inline bool is_fp8(qlib::safetensors_type t) {
    return t == qlib::safetensors_type::f8_e4m3 || t == qlib::safetensors_type::f8_e5m2;
}

/// The method that a tensor's name is the mark of; empty: it is none's.
inline std::string method_by_name(const qlib::safetensors_tensor& t) {
    for (const name_pair& mark : tensors)
        if (t.name.ends_with(mark.key)) return std::string(mark.name);
    return "";
}
/// How a tensor's type says that it holds codes: "codes of type I32"; empty: it does not.
inline std::string method_by_type(const qlib::safetensors_tensor& t, bool has_biases) {
    using enum qlib::safetensors_type;
    if (is_float(t.type) || is_fp8(t.type) || t.type == boolean || t.type == i64 || t.type == u64 || t.type == c64)
        return "";
    if (t.type == u32 && has_biases) return "MLX";
    const bool is_small_float =
        t.type == f4 || t.type == f6_e2m3 || t.type == f6_e3m2 || t.type == f8_e4m3fnuz || t.type == f8_e5m2fnuz;
    const bool is_matrix = t.n_dims() == 2 || t.n_dims() == 3 || t.name.ends_with("weight");
    if (!is_small_float && (!is_matrix || is_index(t.name))) return "";
    if (t.type == f8_e8m0) return "";  // a scale; its codes speak for themselves
    if (t.type == u8 && t.name.ends_with(".weight_scale")) return "MXFP8 or another MX format";
    return "codes of type " + std::string(qlib::safetensors_name(t.type));
}

/// The name of a method of quantization_config and the like, with its bits.
inline std::string method_of(const json& quantization) {
    const auto text = [&](const char* key) {
        return quantization.contains(key) && quantization[key].is_string() ? quantization[key].get<std::string>() : "";
    };
    std::string name = text("quant_method");
    for (const name_pair& method : known)
        if (name == method.key) name = std::string(method.name);
    if (name.empty())
        name = quantization.contains("group_size") && quantization.contains("bits") ? "MLX" : text("quant_algo");
    if (name.empty()) name = "a method that is not named";
    for (const char* key : {"bits", "w_bit", "nbits"})
        if (const auto bits = quantization.find(key); bits != quantization.end() && bits->is_number_integer())
            return name + ", " + bits->dump() + " bits";
    if (quantization.value("load_in_4bit", json()) == true) name += ", 4 bits";
    else if (quantization.value("load_in_8bit", json()) == true) name += ", 8 bits";
    if (const std::string format = text("format"); !format.empty()) name += ", " + format;
    return name;
}

}  // namespace methods

/// How a checkpoint is quantized.
struct checkpoint_method {
    std::string name;       ///< "GPTQ, 4 bits"
    std::string where;      ///< what says so
    bool only_fp8 = false;  ///< its codes are FP8 alone, which can be decoded with their scales
};

/// What a checkpoint says of itself; nullopt: that its weights are floats.
///
/// tensors   of all its files
/// metadata  of the first
/// folder    where other tools leave their notes
inline std::optional<checkpoint_method> find_method(const checkpoint_config& config,
                                                    const std::filesystem::path& folder,
                                                    std::span<const qlib::safetensors_tensor* const> tensors,
                                                    std::span<const qlib::safetensors_entry> metadata) {
    std::optional<checkpoint_method> found;
    if (const json* q = config.object({"quantization_config", "compression_config", "quantization"}))
        found = {methods::method_of(*q), "quantization_config of " + config.path().string(), false};
    for (const char* note : {"hf_quant_config.json", "quantize_config.json", "quant_config.json"})
        if (!found && std::filesystem::exists(folder / note)) {
            const json q = read_json_object(folder / note);
            found = {methods::method_of(q.value("quantization", q)), (folder / note).string(), false};
        }
    for (const qlib::safetensors_entry& e : metadata)
        if (!found && e.value.find("\"_tensor_data_names\"") != std::string_view::npos)
            found = {"torchao", "the metadata of the file", false};

    const bool has_biases = std::ranges::any_of(tensors, [](const auto* t) { return t->name.ends_with(".biases"); });
    const auto told_by = [&](const qlib::safetensors_tensor& t, const std::string& method) {
        return checkpoint_method{found ? found->name : method,
                                 (found ? found->where + ", and " : "the tensor ") + std::string(t.name), false};
    };
    for (const qlib::safetensors_tensor* t : tensors)
        if (const std::string method = methods::method_by_name(*t); !method.empty()) return told_by(*t, method);
    const auto is_fp8 = [](const auto* t) { return methods::is_fp8(t->type); };
    std::set<std::string, std::less<>> fp8_scales;  // bytes there are MXFP8's
    for (const qlib::safetensors_tensor* t : tensors)
        if (is_fp8(t)) fp8_scales.insert(std::string(t->name) + "_scale");
    for (const qlib::safetensors_tensor* t : tensors)
        if (const std::string method = methods::method_by_type(*t, has_biases);
            !method.empty() && !(t->type == qlib::safetensors_type::u8 && fp8_scales.contains(t->name)))
            return told_by(*t, method);
    const auto at = std::ranges::find_if(tensors, is_fp8);
    const qlib::safetensors_tensor* const fp8 = at != tensors.end() ? *at : nullptr;
    if (fp8 == nullptr) {
        if (found)
            found->where += ", but all tensors are floats: if they are the original weights, take that note away";
        return found;
    }
    const json* q = config.object({"quantization_config", "compression_config"});
    const bool is_rotated = q != nullptr && q->contains("transform_config") && !(*q)["transform_config"].empty();
    if (!found) found = {"FP8", "the tensor " + std::string(fp8->name), false};
    found->only_fp8 = !is_rotated;
    return found;
}

/// The error about a method that is not decoded.
[[noreturn]] inline void refuse(const checkpoint_method& method, const std::string& path) {
    throw std::runtime_error(
        path + ": quantized already: " + method.name + " (says " + method.where +
        "). Codes cannot be quantized again: take the original model, or dequantize this one to bf16 first; "
        "--format copy takes it as it is");
}
