#pragma once
// What a language model's loader relies on when it indexes by metadata: sizes of the vocabulary's tables, counts that divide or
// bound loops. A GGUF file can be well formed and still lie about all of them.
#include "gguf_reader.hpp"

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The value of "{arch}.suffix", or null.
[[nodiscard]] inline const gguf_value* find_for_architecture(const gguf_file& file, std::string_view arch,
                                                             std::string_view suffix) noexcept {
    char key[128];
    if (arch.size() + suffix.size() > sizeof key) return nullptr;
    std::memcpy(key, arch.data(), arch.size());
    std::memcpy(key + arch.size(), suffix.data(), suffix.size());
    return file.find({key, arch.size() + suffix.size()});
}

/// A getter's error as one of the file, about a key.
[[nodiscard]] inline error error_of(error e, const char* operand) noexcept {
    e.code = errc::malformed;
    e.operand = operand;
    return e;
}

/// An unsigned integer with a key that may be absent: then `out` keeps its value.
inline status read_count(const gguf_value* v, const char* operand, std::uint64_t least, std::uint64_t most,
                         std::uint64_t& out) noexcept {
    if (v == nullptr) return {};
    const auto n = v->as_uint();
    if (!n) return error_of(n.error(), operand);
    if (*n < least || *n > most) return error{errc::malformed, "{0}, it must be from {1} to {2}", operand, {*n, least, most}};
    out = *n;
    return {};
}

/// A table that must have one element per token, of one of two types.
inline status check_table(const gguf_file& file, const char* key, gguf_type a, gguf_type b, std::uint64_t tokens) noexcept {
    const gguf_value* v = file.find(key);
    if (v == nullptr) return {};
    if (!v->is_array() || (v->element_type != a && v->element_type != b))
        return error{errc::malformed, "an array of elements of type {0} is needed", key, {static_cast<std::uint64_t>(a)}};
    if (v->count != tokens) return error{errc::malformed, "{0} elements for a vocabulary of {1}", key, {v->count, tokens}};
    return {};
}

inline status check_vocabulary(const gguf_file& file, std::uint64_t& tokens) noexcept {
    const gguf_value* list = file.find("tokenizer.ggml.tokens");
    if (list == nullptr) return {};
    tokens = list->count;
    if (status s = check_table(file, "tokenizer.ggml.tokens", gguf_type::string, gguf_type::string, tokens); !s) return s;
    if (status s = check_table(file, "tokenizer.ggml.scores", gguf_type::f32, gguf_type::f32, tokens); !s) return s;
    if (status s = check_table(file, "tokenizer.ggml.token_type", gguf_type::i32, gguf_type::u32, tokens); !s) return s;
    // The code of ggml and its documentation spell the separator differently.
    for (const char* key :
         {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id",
          "tokenizer.ggml.padding_token_id", "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id"}) {
        std::uint64_t id = 0;
        if (file.find(key) != nullptr && tokens == 0) return error{errc::malformed, "a token of an empty vocabulary", key, {}};
        if (status s = read_count(file.find(key), key, 0, tokens - 1, id); !s) return s;
    }
    return {};
}

/// One head count that is not zero, or one per layer: those may be zero, hybrid models have layers without attention.
inline status check_heads(const gguf_value* v, const char* operand, std::uint64_t layers) noexcept {
    std::uint64_t heads = 0;
    if (v == nullptr || !v->is_array()) return read_count(v, operand, 1, 1u << 20, heads);
    if (v->count != layers) return error{errc::malformed, "{0} elements for {1} layers", operand, {v->count, layers}};
    for (std::uint64_t i = 0; i < v->count; ++i) {
        const auto element = v->at(i);
        if (!element) return error_of(element.error(), operand);
        if (status s = read_count(&*element, operand, 0, 1u << 20, heads); !s) return s;
    }
    return {};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Checks what is there of a language model's metadata against itself and against the token embedding's shape. Absent keys pass:
/// which are required depends on the architecture. The shapes of the layers' tensors remain the loader's to check.
///
/// error   malformed, operand: the key or tensor
/// source  llama.cpp's loader; CVE-2025-49847 and CVE-2025-52566 for the vocabulary
inline status check_gguf_model(const gguf_file& file) noexcept {
    const gguf_value* name = file.find("general.architecture");
    if (name == nullptr) return error{errc::malformed, "the key is missing", "general.architecture", {}};
    const auto arch = name->as_string();
    if (!arch) return detail::error_of(arch.error(), "general.architecture");
    if (arch->empty() || arch->size() > 64)
        return error{errc::malformed, "a name of {0} bytes, 1 to 64 are allowed", "general.architecture", {arch->size()}};
    std::uint64_t tokens = 0, layers = 0, width = 0, experts = 0, used = 0;
    if (status s = detail::check_vocabulary(file, tokens); !s) return s;
    const auto find = [&](std::string_view suffix) { return detail::find_for_architecture(file, *arch, suffix); };
    if (status s = detail::read_count(find(".block_count"), "block_count", 1, 1u << 16, layers); !s) return s;
    if (status s = detail::read_count(find(".embedding_length"), "embedding_length", 1, 1u << 30, width); !s) return s;
    if (status s = detail::check_heads(find(".attention.head_count"), "attention.head_count", layers); !s) return s;
    if (status s = detail::check_heads(find(".attention.head_count_kv"), "attention.head_count_kv", layers); !s) return s;
    if (status s = detail::read_count(find(".expert_count"), "expert_count", 0, 1u << 16, experts); !s) return s;
    if (status s = detail::read_count(find(".expert_used_count"), "expert_used_count", 0, experts, used); !s) return s;
    const gguf_tensor* embedding = file.find_tensor("token_embd.weight");
    if (embedding == nullptr) return {};
    if (width != 0 && embedding->cols() != width)
        return error{errc::malformed, "rows of {0} elements, the embedding length is {1}", "token_embd.weight",
                     {embedding->cols(), width}};
    if (embedding->rows() < tokens)
        return error{errc::malformed, "{0} rows for a vocabulary of {1}", "token_embd.weight", {embedding->rows(), tokens}};
    return {};
}

}  // namespace qlib::inline v0::inline QLIB_BASE
