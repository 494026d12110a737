#pragma once
// What a language model's loader relies on when it indexes by metadata: sizes of the vocabulary's tables, counts that
// divide or bound loops. A GGUF file can be well formed and still lie about all of them.
#include "gguf_reader.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

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
    if (*n < least || *n > most)
        return error{errc::malformed, "{0}, it must be from {1} to {2}", operand, {*n, least, most}};
    out = *n;
    return {};
}

/// A table that must have one element per token, of one of two types.
inline status check_table(const gguf_file& file, const char* key, gguf_type a, gguf_type b,
                          std::uint64_t tokens) noexcept {
    const gguf_value* v = file.find(key);
    if (v == nullptr) return {};
    if (!v->is_array() || (v->element_type != a && v->element_type != b))
        return error{
            errc::malformed, "an array of elements of type {0} is needed", key, {static_cast<std::uint64_t>(a)}};
    if (v->count != tokens)
        return error{errc::malformed, "{0} elements for a vocabulary of {1}", key, {v->count, tokens}};
    return {};
}

inline status check_vocabulary(const gguf_file& file, std::uint64_t& tokens) noexcept {
    const gguf_value* list = file.find("tokenizer.ggml.tokens");
    if (list == nullptr) return {};
    tokens = list->count;
    if (status s = check_table(file, "tokenizer.ggml.tokens", gguf_type::string, gguf_type::string, tokens); !s)
        return s;
    if (status s = check_table(file, "tokenizer.ggml.scores", gguf_type::f32, gguf_type::f32, tokens); !s) return s;
    if (status s = check_table(file, "tokenizer.ggml.token_type", gguf_type::i32, gguf_type::u32, tokens); !s) return s;
    const gguf_value* merges = file.find("tokenizer.ggml.merges");
    if (merges != nullptr && (!merges->is_array() || merges->element_type != gguf_type::string))
        return error{errc::malformed, "an array of elements of type {0} is needed", "tokenizer.ggml.merges", {8}};
    // The code of ggml and its documentation spell the separator differently.
    for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                            "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id",
                            "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id"}) {
        std::uint64_t id = 0;
        if (file.find(key) != nullptr && tokens == 0)
            return error{errc::malformed, "a token of an empty vocabulary", key, {}};
        if (status s = read_count(file.find(key), key, 0, tokens - 1, id); !s) return s;
    }
    return {};
}

/// One count from `least` on, or one per layer: those may be zero, hybrid models have layers without attention.
inline status check_per_layer(const gguf_value* v, const char* operand, std::uint64_t least, std::uint64_t most,
                              std::uint64_t layers) noexcept {
    std::uint64_t n = 0;
    if (v == nullptr || !v->is_array()) return read_count(v, operand, least, most, n);
    if (v->count != layers) return error{errc::malformed, "{0} elements for {1} layers", operand, {v->count, layers}};
    for (std::uint64_t i = 0; i < v->count; ++i) {
        const auto element = v->at(i);
        if (!element) return error_of(element.error(), operand);
        if (status s = read_count(&*element, operand, 0, most, n); !s) return s;
    }
    return {};
}

/// A floating-point number that may be absent. What is computed with it must not become a NaN.
inline status check_real(const gguf_value* v, const char* operand) noexcept {
    if (v == nullptr) return {};
    const auto x = v->as_float();
    if (!x) return error_of(x.error(), operand);
    const bool finite = (__builtin_bit_cast(std::uint64_t, *x) >> 52 & 0x7FF) != 0x7FF;
    if (finite && *x >= 0) return {};
    return error{errc::malformed, "a number that is negative or not finite", operand, {}};
}

/// Keys whose type alone can mislead a loader.
inline status check_key_types(const gguf_file& file) noexcept {
    for (const char* key : {"general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template"})
        if (const gguf_value* v = file.find(key); v != nullptr && v->type != gguf_type::string)
            return error_of(v->as_string().error(), key);
    for (const char* key :
         {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix"})
        if (const gguf_value* v = file.find(key); v != nullptr && v->type != gguf_type::boolean)
            return error_of(v->as_bool().error(), key);
    return {};
}

/// Version 2 is the only layout of quantized blocks that was ever stored in GGUF files.
inline status check_quantization_version(const gguf_file& file) noexcept {
    constexpr const char* key = "general.quantization_version";
    std::uint64_t version = 2;
    if (status s = read_count(file.find(key), key, 0, 0xFFFFFFFF, version); !s) return s;
    if (version != 2)
        return error{errc::unsupported, "version {0} of the quantized formats: 2 is supported", key, {version}};
    return {};
}

/// What the hyper-parameters say of a tensor's shape. 0: not known.
struct gguf_sizes {
    std::uint64_t tokens = 0, layers = 0, width = 0, experts = 0;
};

/// The N of "blk.N.", or -1.
[[nodiscard]] inline std::int64_t layer_of(std::string_view name) noexcept {
    std::int64_t n = 0;
    std::size_t at = 4;
    if (!name.starts_with("blk.")) return -1;
    for (; at < name.size() && name[at] >= '0' && name[at] <= '9' && n < 1'000'000'000; ++at)
        n = 10 * n + (name[at] - '0');
    return at > 4 && at < name.size() && name[at] == '.' ? n : -1;
}

inline status check_tensor_shapes(const gguf_file& file, const gguf_sizes& sizes) noexcept {
    for (const char* name : {"token_embd.weight", "output.weight"}) {
        const gguf_tensor* t = file.find_tensor(name);
        if (t == nullptr) continue;
        if (sizes.width != 0 && t->cols() != sizes.width)
            return error{
                errc::malformed, "rows of {0} elements, the embedding length is {1}", name, {t->cols(), sizes.width}};
        if (t->rows() < sizes.tokens)
            return error{errc::malformed, "{0} rows for a vocabulary of {1}", name, {t->rows(), sizes.tokens}};
    }
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
        const gguf_tensor& t = file.tensors()[i];
        const std::int64_t layer = layer_of(t.name);
        if (layer < 0) continue;
        if (sizes.layers != 0 && static_cast<std::uint64_t>(layer) >= sizes.layers)
            return bad_tensor(i, "#{3} is of layer {0} of {1}", static_cast<std::uint64_t>(layer), sizes.layers);
        if (t.name.ends_with("_exps.weight") && t.ne[2] != sizes.experts)
            return bad_tensor(i, "#{3} is of {0} experts, the model has {1}", t.ne[2], sizes.experts);
    }
    return {};
}

inline status check_hyper_parameters(const gguf_file& file, std::string_view arch, gguf_sizes& sizes) noexcept {
    const auto find = [&](std::string_view suffix) { return find_for_architecture(file, arch, suffix); };
    constexpr std::uint64_t heads = 1u << 20, length = 0x7FFFFFFF;  // llama.cpp has 32 bits for lengths
    std::uint64_t used = 0, n = 0;
    if (status s = read_count(find(".block_count"), "block_count", 1, 1u << 16, sizes.layers); !s) return s;
    if (status s = read_count(find(".embedding_length"), "embedding_length", 1, 1u << 30, sizes.width); !s) return s;
    if (status s = check_per_layer(find(".attention.head_count"), "attention.head_count", 1, heads, sizes.layers); !s)
        return s;
    if (status s = check_per_layer(find(".attention.head_count_kv"), "attention.head_count_kv", 1, heads, sizes.layers);
        !s)
        return s;
    if (status s = check_per_layer(find(".feed_forward_length"), "feed_forward_length", 0, length, sizes.layers); !s)
        return s;
    if (status s = read_count(find(".expert_count"), "expert_count", 0, 1u << 16, sizes.experts); !s) return s;
    if (status s = read_count(find(".expert_used_count"), "expert_used_count", 0, sizes.experts, used); !s) return s;
    if (status s = read_count(find(".context_length"), "context_length", 0, length, n); !s) return s;
    if (status s = read_count(find(".vocab_size"), "vocab_size", 0, length, n); !s) return s;
    if (status s = read_count(find(".attention.key_length"), "attention.key_length", 0, heads, n); !s) return s;
    if (status s = read_count(find(".attention.value_length"), "attention.value_length", 0, heads, n); !s) return s;
    if (status s = read_count(find(".rope.dimension_count"), "rope.dimension_count", 0, heads, n); !s) return s;
    if (status s = check_real(find(".rope.freq_base"), "rope.freq_base"); !s) return s;
    if (status s = check_real(find(".rope.scaling.factor"), "rope.scaling.factor"); !s) return s;
    return check_real(find(".attention.layer_norm_rms_epsilon"), "attention.layer_norm_rms_epsilon");
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Checks what is there of a language model's metadata against itself and against the tensors: the
/// vocabulary's tables, counts, the shapes of the embeddings, layer numbers and experts. Absent keys pass:
/// which are required depends on the architecture. Other shapes of the layers' tensors remain the loader's to
/// check, and so does a chat template, which is a program.
///
/// error   malformed, operand: the key or tensor, sizes[3] the tensor's index where the operand is "tensor";
///         unsupported for another version of the quantized formats
/// source  llama.cpp's loader; CVE-2025-49847 and CVE-2025-52566 for the vocabulary
inline status check_gguf_model(const gguf_file& file) noexcept {
    const gguf_value* name = file.find("general.architecture");
    if (name == nullptr) return error{errc::malformed, "the key is missing", "general.architecture", {}};
    const auto arch = name->as_string();
    if (!arch) return detail::error_of(arch.error(), "general.architecture");
    if (arch->empty() || arch->size() > 64)
        return error{
            errc::malformed, "a name of {0} bytes, 1 to 64 are allowed", "general.architecture", {arch->size()}};
    detail::gguf_sizes sizes;
    if (status s = detail::check_key_types(file); !s) return s;
    if (status s = detail::check_quantization_version(file); !s) return s;
    if (status s = detail::check_vocabulary(file, sizes.tokens); !s) return s;
    if (status s = detail::check_hyper_parameters(file, *arch, sizes); !s) return s;
    return detail::check_tensor_shapes(file, sizes);
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
