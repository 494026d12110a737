#pragma once
// What kind of thing a GGUF file is: not every one is a model whose matrices can be quantized.
#include "../common/printable.hpp"

#include <qlib/file/gguf.hpp>

#include <stdexcept>
#include <string>

enum class gguf_kind { model, adapter };

/// A text of the metadata; empty where there is none.
inline std::string text_of(const qlib::gguf_file& file, std::string_view key) {
    const qlib::gguf_value* v = file.find(key);
    const auto text = v != nullptr ? v->as_string() : qlib::result<std::string_view>(std::string_view());
    return text ? std::string(*text) : "";
}

/// error: a file that holds nothing to quantize, named as what it is
inline gguf_kind kind_of(const qlib::gguf_file& file, const std::string& path) {
    const auto refuse = [&](const std::string& what) { throw std::runtime_error(path + ": " + what); };
    const std::string type = text_of(file, "general.type"), architecture = text_of(file, "general.architecture");
    if (type == "imatrix") refuse("an importance matrix, not a model: give it with --imatrix");
    if (architecture == "controlvector") refuse("a control vector, which is too small to be quantized");
    if (file.tensors().empty() && file.find("tokenizer.ggml.tokens") != nullptr)
        refuse("a vocabulary without weights: there is nothing to quantize");
    return type == "adapter" ? gguf_kind::adapter : gguf_kind::model;
}
