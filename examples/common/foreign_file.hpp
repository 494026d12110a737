#pragma once
// What a file is that is not the model it is taken for, by its first bytes, and what its owner can do.
#include "failure.hpp"
#include "printable.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace foreign {

inline constexpr std::string_view pickle =
    "it is a file of PyTorch, whose pickle is a program and is not run here. Save the model as safetensors (in "
    "transformers: from_pretrained and save_pretrained), or convert it with llama.cpp's convert_hf_to_gguf.py";
inline constexpr std::string_view archive = "it is a compressed archive: unpack it first";
inline constexpr std::string_view page =
    "it is a web page that was saved in the model's place: the download was answered with a log-in, a licence or an "
    "error. Fetch the file itself";
inline constexpr std::string_view old_ggml =
    "it is an older ggml container (ggml, ggmf, ggjt or ggla, before GGUF), which llama.cpp gave up in 2023: convert "
    "the original model again, with convert_hf_to_gguf.py";

/// `start` in lower case where it is a text's.
struct mark {
    std::string_view start, what;
};
inline constexpr mark marks[] = {
    {"GGUF", "it is a GGUF file: give it a name that ends in .gguf"},
    {"lmgg", old_ggml}, {"fmgg", old_ggml}, {"tjgg", old_ggml}, {"algg", old_ggml},  // four letters, the last one first
    {"version https://git-lfs",
     "it is a git-lfs pointer, not the file itself: run \"git lfs pull\" in its folder, or download the file"},
    {"<!doctype html", page}, {"<html", page}, {"<?xml", page},
    {"PK\3\4", pickle}, {"\x80\2", pickle}, {"\x80\3", pickle}, {"\x80\4", pickle}, {"\x80\5", pickle},
    {"{", "it is a JSON text, not weights: give the weights' file, or model.safetensors.index.json"},
    {"\x89HDF", "it is an HDF5 file (Keras, TensorFlow): save the model as safetensors first"},
    {"\x93NUMPY", "it is a NumPy array: save the model as safetensors first"},
    {"\x1F\x8B", archive}, {"\x28\xB5\x2F\xFD", archive}, {"BZh", archive}, {"\xFD\x37zXZ", archive},
};

/// Empty: nothing that is known here.
inline std::string_view what_it_is(std::span<const std::byte> bytes) {
    const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 256));
    if (start.find_first_not_of('\0') == std::string_view::npos)
        return "it is empty, or begins with zeros: the download or copy did not finish?";
    if (start.size() > 8 && start[8] == '{' && start.substr(5, 3) == std::string_view("\0\0\0", 3))
        return "it is a safetensors file: give it a name that ends in .safetensors";
    std::string text(start.substr(std::min(start.find_first_not_of(" \t\r\n"), start.size())));
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const mark& m : marks)
        if (start.starts_with(m.start) || (m.start.size() > 4 && text.starts_with(m.start))) return m.what;
    return {};
}

}  // namespace foreign

/// A parser's error about a file that was taken for one of `kind`, ".gguf" or ".safetensors". Where it is another
/// thing: what, and what to do.
[[noreturn]] inline void fail_to_read(const qlib::error& e, const std::string& path, std::string_view culprit,
                                      std::span<const std::byte> bytes, std::string_view kind) {
    const std::string_view what = foreign::what_it_is(bytes);
    if (!what.empty() && !what.ends_with(kind)) throw std::runtime_error(path + ": " + std::string(what));
    fail(e, culprit.empty() ? path : path + ": " + printable(culprit));
}
