#pragma once
// The files of a checkpoint's folder: which of them are the model, which go with it,
// and what a folder is that holds no model for us.
#include "../common/foreign_file.hpp"

#include <filesystem>
#include <vector>

namespace fs = std::filesystem;

namespace checkpoint_files {

inline constexpr const char* single = "model.safetensors";
inline constexpr const char* index = "model.safetensors.index.json";

inline bool ends_in_one_of(const std::string& name, std::initializer_list<std::string_view> endings) {
    return std::ranges::any_of(endings, [&](std::string_view end) { return name.ends_with(end); });
}
/// Whether a file holds weights, or says where they are.
inline bool is_weights(const std::string& name) {
    return ends_in_one_of(name, {".safetensors", ".index.json", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5",
                                 ".msgpack", ".onnx", ".onnx_data", ".tflite", ".npz", ".safetensors.manifest.json"});
}

/// A path without links and dots, also of what is not there yet.
inline fs::path real_path(const fs::path& path) { return fs::weakly_canonical(fs::absolute(path)); }

/// All that is in a folder and in those in it, as far as it can be read.
inline fs::recursive_directory_iterator inside(const fs::path& folder) {
    return fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied);
}
/// Files of a folder and of those in it, relative to it; none of hidden folders, as .git and .cache.
inline std::vector<fs::path> all_in(const fs::path& folder) {
    std::vector<fs::path> files;
    for (auto at = inside(folder); at != fs::recursive_directory_iterator(); ++at) {
        if (at->is_directory() && at->path().filename().string().starts_with(".")) at.disable_recursion_pending();
        if (at->is_regular_file()) files.push_back(at->path().lexically_relative(folder));
    }
    std::ranges::sort(files);
    return files;
}

/// Why a folder without model.safetensors holds nothing that can be quantized, and what can be done.
inline std::string why_no_model(const fs::path& folder) {
    const std::string start = folder.string() + ": ";
    std::vector<std::string> safetensors, ggufs;
    bool pickles = false;
    if (fs::exists(folder / "model_index.json") || fs::exists(folder / "diffusion_pytorch_model.safetensors") ||
        fs::exists(folder / "diffusion_pytorch_model.safetensors.index.json"))
        return start + "it is a diffusers folder, whose layers no loader of int4 or NF4 language models knows: make a "
                         "GGUF file of the transformer or unet (stable-diffusion.cpp and ComfyUI-GGUF can), and "
                         "quantize that";
    if (fs::exists(folder / "adapter_model.safetensors") || fs::exists(folder / "adapter_config.json"))
        return start +
               "it is an adapter (LoRA), not a model: merge it into its base model first (peft's merge_and_unload)";
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename();
        if (name.ends_with(".safetensors")) safetensors.push_back(name);
        if (name.ends_with(".gguf")) ggufs.push_back(name);
        pickles |= ends_in_one_of(name, {".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"});
    }
    const auto first_of = [](std::vector<std::string>& names) { return *std::ranges::min_element(names); };
    if (safetensors.size() == 1)
        return start + "there is no model.safetensors; give the file itself: " + first_of(safetensors);
    if (!safetensors.empty())
        return start + "there is no model.safetensors, nor an index of " + std::to_string(safetensors.size()) +
               " parts (model.safetensors.index.json): is the download complete?";
    if (!ggufs.empty()) return start + "it holds GGUF files: give the file itself: " + first_of(ggufs);
    if (pickles)
        return start + "its weights are in PyTorch's files (pytorch_model.bin, .pt, .pth), whose pickles are programs "
                         "and are not run here. Save the model as safetensors (in transformers: from_pretrained and "
                         "save_pretrained)";
    return start + "there is no model.safetensors in it";
}

/// Whether a file's name says that there are others: "model-00001-of-00002.safetensors".
inline bool is_one_of_several(const std::string& name) {
    const std::size_t of = name.rfind("-of-");
    const auto is_number = [](std::string_view text) {
        return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
    };
    if (of == std::string::npos || !name.ends_with(".safetensors")) return false;
    const std::string_view last =
        std::string_view(name).substr(of + 4, name.size() - of - 4 - std::string_view(".safetensors").size());
    return is_number(last) && last.find_first_not_of("0") != std::string_view::npos &&
           last.substr(last.find_first_not_of('0')) != "1";
}

/// The file that stands for a model: in a folder, its index or its only file.
inline fs::path main_of(const fs::path& path) {
    if (!fs::is_directory(path) && is_one_of_several(path.filename()))
        throw std::runtime_error(path.string() +
                                 ": it is one part of a model: give the folder, or model.safetensors.index.json in it");
    if (!fs::is_directory(path)) return path;
    for (const char* name : {index, single})
        if (fs::exists(path / name)) return path / name;
    throw std::runtime_error(why_no_model(path));
}

}  // namespace checkpoint_files

/// Whether a path is a model of this kind: one of its files, or their folder.
inline bool is_safetensors(const std::string& path) {
    return path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json") ||
           std::filesystem::is_directory(path);
}
