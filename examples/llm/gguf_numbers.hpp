#pragma once
// A Llama's numbers as a GGUF file's metadata have them. llama.cpp's defaults stand in for keys that may be missing.
#include "model.hpp"
#include "unknown_keys.hpp"

class gguf_numbers {
public:
    gguf_numbers(const qlib::gguf_file& file, const std::string& path) : file_(file), path_(path) {}

    /// error: a number that is missing or absurd, and whatever this engine would have to compute in another way
    [[nodiscard]] hyper_parameters read() const {
        refuse_others();
        hyper_parameters h;
        h.dim = count("embedding_length", {});
        h.ffn = count("feed_forward_length", {});
        h.layers = count("block_count", {});
        h.heads = count("attention.head_count", {});
        h.kv_heads = count("attention.head_count_kv", h.heads);
        h.head_dim = count("attention.key_length", h.heads != 0 ? h.dim / h.heads : 0);
        h.rotated = count("rope.dimension_count", h.head_dim);
        h.context = count("context_length", 0);
        h.epsilon = static_cast<float>(number("attention.layer_norm_rms_epsilon", 1e-5));
        h.rope_base = static_cast<float>(number("rope.freq_base", 10000));
        h.scaling.linear = linear_scaling();
        if (count("attention.value_length", h.head_dim) != h.head_dim)
            refuse("attention.value_length", "keys and values of different lengths");
        check_numbers(h, path_);
        return h;
    }

private:
    static constexpr std::string_view prefix = "llama.";

    [[noreturn]] void refuse(std::string_view key, std::string_view why) const {
        throw std::runtime_error(path_ + ": " + std::string(prefix) + std::string(key) + ": " + std::string(why));
    }
    [[nodiscard]] const qlib::gguf_value* value(std::string_view key) const {
        return file_.find(std::string(prefix) + std::string(key));
    }
    /// A getter's answer.
    template <class T> T need(const qlib::result<T>& r, std::string_view key) const {
        if (!r) fail(r.error(), path_ + ": " + std::string(prefix) + std::string(key));
        return *r;
    }
    [[nodiscard]] std::size_t count(std::string_view key, std::optional<std::size_t> otherwise) const {
        const qlib::gguf_value* v = value(key);
        if (v == nullptr && otherwise) return *otherwise;
        if (v == nullptr) refuse(key, "the key is missing");
        return static_cast<std::size_t>(need(v->as_uint(), key));
    }
    [[nodiscard]] double number(std::string_view key, double otherwise) const {
        const qlib::gguf_value* v = value(key);
        return v != nullptr ? need(v->as_float(), key) : otherwise;
    }

    /// What positions are divided by. As in llama.cpp, a factor without a type is linear, and one of 0 is none;
    /// scale_linear is what the key was called at first. Llama 3's scaling has no key: it is in rope_freqs.weight.
    [[nodiscard]] double linear_scaling() const {
        if (const auto* type = value("rope.scaling.type"); type != nullptr) {
            const std::string_view name = need(type->as_string(), "rope.scaling.type");
            if (name == "none") return 1;
            if (name != "linear")
                refuse("rope.scaling.type", std::string(name) + " is not implemented; none and linear are");
        }
        const char* const key = value("rope.scaling.factor") != nullptr ? "rope.scaling.factor" : "rope.scale_linear";
        const double factor = number(key, 0);
        if (!(factor >= 0) || !std::isfinite(factor)) refuse(key, "a positive number is needed");
        return factor == 0 ? 1 : factor;
    }

    void refuse_others() const {
        const auto architecture = file_.find("general.architecture")->as_string();  // check_gguf_model saw it
        if (*architecture != "llama")
            throw std::runtime_error(path_ + ": general.architecture: " + std::string(*architecture) +
                                     "; only llama is known");
        for (const qlib::gguf_entry& e : file_.entries()) {
            if (!e.key.starts_with(prefix)) continue;
            const std::string_view key = e.key.substr(prefix.size());
            if (!is_known(key) && !is_usual(key, e.value)) refuse(key, not_implemented);
        }
    }
    static bool is_usual(std::string_view key, const qlib::gguf_value& v) {
        if (key != "attention.causal") return does_nothing(key, v);
        const auto causal = v.as_bool();
        return causal && *causal;
    }
    static bool is_known(std::string_view key) {
        static constexpr std::string_view known[] = {
            "attention.head_count", "attention.head_count_kv", "attention.key_length",
            "attention.layer_norm_rms_epsilon", "attention.value_length", "block_count", "context_length",
            "embedding_length", "feed_forward_length", "rope.dimension_count", "rope.freq_base", "rope.scale_linear",
            "rope.scaling.factor", "rope.scaling.type",
            // These change nothing here: yarn's, and what has other sources.
            "rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout", "vocab_size"};
        return std::ranges::find(known, key) != std::end(known);
    }

    const qlib::gguf_file& file_;
    const std::string& path_;
};
