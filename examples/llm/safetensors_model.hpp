#pragma once
// A Llama from safetensors, as Hugging Face has them: config.json beside one file, or beside the index of several. Weights may be plain
// floats, compressed-tensors' pack-quantized int4, or bitsandbytes' NF4; the latter two are copied into qlib's formats without a change.
#include "model.hpp"

#include <qlib/file/bitsandbytes.hpp>
#include <qlib/file/compressed_tensors.hpp>
#include <qlib/file/mapped_file.hpp>
#include <qlib/file/safetensors.hpp>

#include <array>

/// All files of a model, mapped, and what was made from them.
struct open_safetensors {
    struct part {
        qlib::mapped_file bytes;
        qlib::safetensors_file header;
    };
    std::vector<part> parts;
    std::vector<std::shared_ptr<const void>> made;  ///< quantized matrices in qlib's layouts

    void add(const std::string& path) {
        auto bytes = qlib::mapped_file::open(path.c_str());
        if (!bytes) fail(bytes.error(), path);
        std::string_view culprit;
        auto header = qlib::safetensors_file::parse(bytes->bytes(), {}, &culprit);
        if (!header) fail(header.error(), culprit.empty() ? path : path + ": " + std::string(culprit));
        parts.push_back({std::move(*bytes), std::move(*header)});
    }
    [[nodiscard]] const qlib::safetensors_tensor* find(const std::string& name) const {
        for (const part& p : parts)
            if (const auto* t = p.header.find(name)) return t;
        return nullptr;
    }
};

inline std::string text_of_file(const std::string& path) {
    const auto file = qlib::mapped_file::open(path.c_str());
    if (!file) fail(file.error(), path);
    return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

/// A parsed config.json.
struct model_config {
    std::string path, text;
    qlib::json_value root;

    explicit model_config(const std::string& file) : path(file), text(text_of_file(file)) {
        const auto parsed = qlib::json_value::parse(text);
        if (!parsed) fail(parsed.error(), path);
        root = *parsed;
    }
    model_config(const model_config&) = delete;
    model_config& operator=(const model_config&) = delete;

    [[nodiscard]] bool has(std::string_view key) const {
        const qlib::json_type type = root[key].type();
        return type != qlib::json_type::absent && type != qlib::json_type::null;
    }
    [[nodiscard]] std::size_t count(std::string_view key, std::optional<std::size_t> otherwise = {}) const {
        if (!has(key) && otherwise) return *otherwise;
        const auto n = root[key].as_uint();
        if (!n) fail(n.error(), path + ": " + std::string(key));
        return static_cast<std::size_t>(*n);
    }
    [[nodiscard]] float number(std::string_view key, float otherwise) const {
        if (!has(key)) return otherwise;
        const auto x = root[key].as_float();
        if (!x) fail(x.error(), path + ": " + std::string(key));
        return static_cast<float>(*x);
    }
    [[nodiscard]] bool flag(std::string_view key) const {
        const auto b = root[key].as_bool();
        return b && *b;
    }
    [[noreturn]] void refuse(std::string_view key, const char* why) const { throw std::runtime_error(path + ": " + std::string(key) + ": " + why); }
};

inline hyper_parameters read_numbers(const model_config& c) {
    if (!c.root["model_type"].is("llama")) c.refuse("model_type", "only llama is known");
    if (c.has("hidden_act") && !c.root["hidden_act"].is("silu")) c.refuse("hidden_act", "only silu is known");
    if (c.has("rope_scaling")) c.refuse("rope_scaling", "scaled positions are not supported");
    for (const char* key : {"attention_bias", "mlp_bias"})
        if (c.flag(key)) c.refuse(key, "biases are not supported");
    hyper_parameters h;
    h.dim = c.count("hidden_size");
    h.ffn = c.count("intermediate_size");
    h.layers = c.count("num_hidden_layers");
    h.heads = c.count("num_attention_heads");
    h.kv_heads = c.count("num_key_value_heads", h.heads);
    h.head_dim = h.rotated = c.count("head_dim", h.heads != 0 ? h.dim / h.heads : 0);
    h.context = c.count("max_position_embeddings", 0);
    h.epsilon = c.number("rms_norm_eps", 1e-6f);
    h.rope_base = c.number("rope_theta", 10000);
    h.pairs = rope_pairs::half_split;
    check_numbers(h, c.path);
    return h;
}

/// The tensors of the files by the names of GGUF, for assemble().
class safetensors_source {
public:
    safetensors_source(open_safetensors& files, const model_config& config) : files_(files), config_(config) {}

    [[nodiscard]] bool has(const std::string& name) const {
        if (name == "output.weight" && config_.flag("tie_word_embeddings")) return false;  // some files hold it all the same
        const std::string layer = layer_of(name);
        return files_.find(layer + ".weight") != nullptr || files_.find(layer + ".weight_packed") != nullptr;
    }
    [[nodiscard]] matrix matrix_of(const std::string& name, std::size_t rows, std::size_t cols) {
        const std::string layer = layer_of(name);
        matrix m{name, packed(layer)};
        if (m.weights.bytes.empty()) m.weights = nf4(layer);
        if (m.weights.bytes.empty()) m.weights = plain(layer);
        if (m.weights.rows != rows || m.weights.cols != cols)
            throw std::runtime_error(layer + " (" + std::to_string(m.weights.rows) + " x " + std::to_string(m.weights.cols) + "): " +
                                     std::to_string(rows) + " x " + std::to_string(cols) + " weights are needed");
        return m;
    }
    [[nodiscard]] std::vector<float> vector_of(const std::string& name, std::size_t length) {
        const qlib::any_view v = plain(layer_of(name));
        if (v.rows != 1 || v.cols != length) throw std::runtime_error(layer_of(name) + ": " + std::to_string(length) + " values are needed");
        std::vector<float> values(length);
        check(qlib::dequantize(v, {values.data(), 1, length}), layer_of(name));
        return values;
    }
    [[nodiscard]] std::size_t vocabulary() { return has("token_embd.weight") ? plain(layer_of("token_embd.weight")).rows : 0; }

private:
    /// "blk.3.attn_q.weight" is of "model.layers.3.self_attn.q_proj".
    static std::string layer_of(std::string name) {
        static constexpr std::array<std::string_view, 2> tops[] = {
            {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
        static constexpr std::array<std::string_view, 2> inner[] = {
            {"attn_norm", "input_layernorm"}, {"attn_q", "self_attn.q_proj"}, {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"},
            {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"}, {"ffn_gate", "mlp.gate_proj"},
            {"ffn_up", "mlp.up_proj"}, {"ffn_down", "mlp.down_proj"}};
        name.resize(name.rfind('.'));  // ".weight"
        for (const auto& [gguf, own] : tops)
            if (name == gguf) return std::string(own);
        const std::size_t dot = name.find('.', 4);  // behind "blk.3"
        if (name.starts_with("blk.") && dot != std::string::npos)
            for (const auto& [gguf, own] : inner)
                if (std::string_view(name).substr(dot + 1) == gguf) return "model.layers." + name.substr(4, dot - 4) + "." + std::string(own);
        return name;
    }

    [[nodiscard]] qlib::any_view plain(const std::string& layer) const {
        const qlib::safetensors_tensor* t = files_.find(layer + ".weight");
        if (t == nullptr) throw std::runtime_error(layer + ".weight: the tensor is missing");
        const auto format = t->type == qlib::safetensors_type::f32    ? std::optional(qlib::format_id::dense_f32)
                            : t->type == qlib::safetensors_type::f16  ? std::optional(qlib::format_id::dense_f16)
                            : t->type == qlib::safetensors_type::bf16 ? std::optional(qlib::format_id::dense_bf16)
                                                                      : std::nullopt;
        if (!format || t->n_dims() > 2)
            throw std::runtime_error(layer + ".weight: a matrix of F32, F16 or BF16 is needed, its type is " +
                                     std::string(qlib::safetensors_name(t->type)));
        return {*format, t->data, static_cast<std::size_t>(t->rows()), static_cast<std::size_t>(t->cols()), {}};
    }

    /// A matrix that was read into a format of qlib's, kept for as long as the model.
    template <qlib::block_format F> qlib::any_view keep(qlib::format_id format, qlib::result<qlib::qmatrix<F>> q, const std::string& layer) {
        if (!q) fail(q.error(), layer);
        const auto kept = std::make_shared<const qlib::qmatrix<F>>(std::move(*q));
        files_.made.push_back(kept);
        return {format, kept->bytes(), kept->rows(), kept->cols(), {}};
    }

    /// A pack-quantized matrix; an empty view where the layer is none.
    [[nodiscard]] qlib::any_view packed(const std::string& layer) {
        qlib::pack_quantized_tensors t;
        for (const auto& part : files_.parts) check(qlib::find_pack_quantized(part.header, layer, t), layer);
        if (t.weight_packed == nullptr) return {};
        const auto config = qlib::read_compressed_tensors_config(config_.root);
        if (!config) fail(config.error(), config_.path);
        if (config->groups.members().count() != 1) config_.refuse("config_groups", "one group of layers is supported");
        const auto scheme = qlib::read_scheme(*config, (*config->groups.members().begin()).value);
        if (!scheme) fail(scheme.error(), config_.path);
        const auto is = [&](std::uint64_t group, bool symmetric) {
            return scheme->bits == 4 && !scheme->is_float && scheme->group == group && scheme->symmetric == symmetric;
        };
        const auto read = [&]<qlib::block_format F>(F, qlib::format_id id) { return keep<F>(id, qlib::import_pack_quantized<F>(t, config->layout), layer); };
        if (is(32, true)) return read(qlib::int4_g32{}, qlib::format_id::int4_g32);
        if (is(32, false)) return read(qlib::int4_g32_asym{}, qlib::format_id::int4_g32_asym);
        if (is(128, true)) return read(qlib::int4_g128{}, qlib::format_id::int4_g128);
        if (is(128, false)) return read(qlib::int4_g128_asym{}, qlib::format_id::int4_g128_asym);
        config_.refuse("quantization_config", "of compressed-tensors, int4 in groups of 32 or 128 is supported");
    }

    /// An NF4 matrix; an empty view where the layer is none.
    [[nodiscard]] qlib::any_view nf4(const std::string& layer) {
        qlib::bitsandbytes_tensors t;
        for (const auto& part : files_.parts) check(qlib::find_bitsandbytes(part.header, layer, t), layer);
        if (t.quant_map == nullptr) return {};
        if (t.nested_absmax != nullptr) return keep<qlib::nf4_dq>(qlib::format_id::nf4_dq, qlib::import_bitsandbytes<qlib::nf4_dq>(t), layer);
        return keep<qlib::nf4>(qlib::format_id::nf4, qlib::import_bitsandbytes<qlib::nf4>(t), layer);
    }

    open_safetensors& files_;
    const model_config& config_;
};

/// path  "model.safetensors", or "model.safetensors.index.json"
inline model load_safetensors(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
    const auto files = std::make_shared<open_safetensors>();
    if (path.ends_with(".json")) {
        const std::string text = text_of_file(path);
        const auto index = qlib::safetensors_index::parse(text);
        if (!index) fail(index.error(), path);
        for (const std::string_view file : index->files()) files->add(folder + std::string(file));
    } else {
        files->add(path);
    }
    const model_config config(folder + "config.json");
    safetensors_source source(*files, config);
    model m = assemble(source, read_numbers(config), source.vocabulary());
    m.file = files;
    return m;
}
