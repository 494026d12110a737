#pragma once
// A Llama from safetensors, as Hugging Face has them: config.json beside one file, or beside the index of
// several. Weights may be plain floats, compressed-tensors' pack-quantized int4, or bitsandbytes' NF4; the latter
// two are copied into qlib's formats without a change.
#include "../common/foreign_file.hpp"
#include "../common/tensor_names.hpp"
#include "config_numbers.hpp"

#include <qlib/file/bitsandbytes.hpp>
#include <qlib/file/compressed_tensors.hpp>
#include <qlib/file/mapped_file.hpp>
#include <qlib/file/safetensors.hpp>

#include <set>

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
        if (!header) fail_to_read(header.error(), path, culprit, bytes->bytes(), ".safetensors");
        parts.push_back({std::move(*bytes), std::move(*header)});
    }
    [[nodiscard]] const qlib::safetensors_tensor* find(const std::string& name) const {
        for (const part& p : parts)
            if (const auto* t = p.header.find(name)) return t;
        return nullptr;
    }
};

/// The tensors of the files by the names of GGUF, for assemble().
class safetensors_source {
public:
    safetensors_source(open_safetensors& files, const model_config& config) : files_(files), config_(config) {}

    [[nodiscard]] bool has(const std::string& name) const {
        if (name == "output.weight" && config_.flag("tie_word_embeddings"))
            return false;  // some files hold it all the same
        const std::string layer = checkpoint_layer_of(name);
        return files_.find(layer + ".weight") != nullptr || files_.find(layer + ".weight_packed") != nullptr;
    }
    [[nodiscard]] matrix matrix_of(const std::string& name, std::size_t rows, std::size_t cols) {
        const std::string layer = checkpoint_layer_of(name);
        matrix m{name, packed(layer)};
        if (m.weights.bytes.empty()) m.weights = nf4(layer);
        if (m.weights.bytes.empty()) m.weights = plain(layer);
        if (m.weights.rows != rows || m.weights.cols != cols)
            throw std::runtime_error(layer + " (" + std::to_string(m.weights.rows) + " x " +
                                     std::to_string(m.weights.cols) + "): " + std::to_string(rows) + " x " +
                                     std::to_string(cols) + " weights are needed");
        return m;
    }
    [[nodiscard]] std::vector<float> vector_of(const std::string& name, std::size_t length) {
        const std::string layer = checkpoint_layer_of(name);
        const qlib::any_view v = plain(layer);
        if (v.rows != 1 || v.cols != length)
            throw std::runtime_error(layer + ": " + std::to_string(length) + " values are needed");
        std::vector<float> values(length);
        check(qlib::dequantize(v, {values.data(), 1, length}), layer);
        return values;
    }
    [[nodiscard]] std::size_t vocabulary() {
        return has("token_embd.weight") ? plain(checkpoint_layer_of("token_embd.weight")).rows : 0;
    }

    /// A model with biases, norms or experts that nobody asked for would run, and be wrong;
    /// and so would one that lost its output matrix.
    void refuse_unused() const {
        if (config_.has("tie_word_embeddings") && !config_.flag("tie_word_embeddings") && !has("output.weight"))
            throw std::runtime_error("lm_head.weight: the tensor is missing, which tie_word_embeddings says is needed");
        for (const open_safetensors::part& p : files_.parts)
            for (const qlib::safetensors_tensor& t : p.header.tensors())
                if (!used_.contains(t.name) && !is_spare(t.name))
                    throw std::runtime_error(std::string(t.name) + ": a plain Llama has no such tensor");
    }

private:
    /// What others leave out as well: a second embedding, and the frequencies that old versions of transformers stored.
    [[nodiscard]] bool is_spare(std::string_view name) const {
        const bool tied = config_.flag("tie_word_embeddings");
        return (tied && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq");
    }
    void use(std::initializer_list<const qlib::safetensors_tensor*> tensors) {
        for (const qlib::safetensors_tensor* t : tensors)
            if (t != nullptr) used_.insert(t->name);
    }

    [[nodiscard]] qlib::any_view plain(const std::string& layer) {
        const qlib::safetensors_tensor* t = files_.find(layer + ".weight");
        if (t == nullptr) throw std::runtime_error(layer + ".weight: the tensor is missing");
        use({t});
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
    template <qlib::block_format F>
    qlib::any_view keep(qlib::format_id format, qlib::result<qlib::qmatrix<F>> q, const std::string& layer) {
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
        use({t.weight_packed, t.weight_scale, t.weight_zero_point, t.weight_shape, t.weight_g_idx});
        const auto config = qlib::read_compressed_tensors_config(config_.root);
        if (!config) fail(config.error(), config_.path);
        if (config->groups.members().count() != 1) config_.refuse("config_groups", "one group of layers is supported");
        const auto scheme = qlib::read_scheme(*config, (*config->groups.members().begin()).value);
        if (!scheme) fail(scheme.error(), config_.path);
        const auto is = [&](std::uint64_t group, bool symmetric) {
            return scheme->bits == 4 && !scheme->is_float && scheme->group == group && scheme->symmetric == symmetric;
        };
        const auto read = [&]<qlib::block_format F>(F, qlib::format_id id) {
            return keep<F>(id, qlib::import_pack_quantized<F>(t, config->layout), layer);
        };
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
        use({t.weight, t.absmax, t.quant_map, t.nested_absmax, t.nested_quant_map, t.state_nf4, t.state_fp4});
        if (t.nested_absmax != nullptr)
            return keep<qlib::nf4_dq>(qlib::format_id::nf4_dq, qlib::import_bitsandbytes<qlib::nf4_dq>(t), layer);
        return keep<qlib::nf4>(qlib::format_id::nf4, qlib::import_bitsandbytes<qlib::nf4>(t), layer);
    }

    open_safetensors& files_;
    const model_config& config_;
    std::set<std::string_view> used_;
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
    model m = assemble(source, config_numbers(config).read(), source.vocabulary());
    source.refuse_unused();
    m.file = files;
    return m;
}
