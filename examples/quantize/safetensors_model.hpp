#pragma once
// A model of Hugging Face's kind: safetensors, in one file or several with an index, and config.json beside them. Read,
// and laid out again as one file in which a quantized weight is several tensors.
#include "../common/failure.hpp"
#include "checkpoint_folder.hpp"
#include "codecs.hpp"
#include "fp8_checkpoint.hpp"
#include "linear_layers.hpp"
#include "linear_parts.hpp"
#include "model.hpp"

#include <qlib/file/safetensors.hpp>

inline qlib::safetensors_file parse_safetensors(const std::string& path, const qlib::mapped_file& memory) {
    std::string_view culprit;
    auto file = qlib::safetensors_file::parse(memory.bytes(), {}, &culprit);
    if (!file) fail_to_read(file.error(), path, culprit, memory.bytes(), ".safetensors");
    return std::move(file).value();
}

class safetensors_model : public model {
public:
    /// What is to be done with it.
    enum class purpose { copy, quantize };

    /// error: for `quantize`, a checkpoint of codes that cannot be decoded.
    safetensors_model(const std::string& path, purpose use)
        : main_(checkpoint_files::main_of(path)),
          config_(folder()) {
        if (main_.extension() == ".json") open_all();
        else open(main_);
        if (use == purpose::quantize) decode_fp8();
        for (std::size_t i = 0; i < parsed_.size(); ++i)
            for (const qlib::safetensors_tensor& t : parsed_[i].tensors()) add(t, files_[i].memory);
        std::ranges::sort(tensors_, {}, &source_tensor::name);
        for (std::size_t i = 1; i < tensors_.size(); ++i)
            if (tensors_[i].name == tensors_[i - 1].name)
                throw std::runtime_error(tensors_[i].name + ": the tensor is in two of the model's files");
        for (const source_tensor& t : tensors_)
            if (auto parts = ::linear_parts(architecture_, judge(t), t); !parts.empty())
                parts_.emplace(t.name, std::move(parts));
    }

    [[nodiscard]] std::filesystem::path folder() const { return main_.has_parent_path() ? main_.parent_path() : "."; }
    [[nodiscard]] const checkpoint_config& config() const { return config_; }
    [[nodiscard]] bool decodes_fp8() const { return fp8_.has_value(); }
    [[nodiscard]] std::size_t scales_left_out() const { return scales_left_out_; }
    /// What kind of layer a tensor is of.
    [[nodiscard]] layer_verdict judge(const source_tensor& t) const {
        return judge_layer(architecture_, config_.text("model_type"), module_of(t.name));
    }

    [[nodiscard]] std::span<const source_tensor> linear_parts(const source_tensor& t) const override {
        const auto found = parts_.find(t.name);
        return found != parts_.end() ? std::span<const source_tensor>(found->second) : std::span<const source_tensor>();
    }
    [[nodiscard]] const source_tensor* find(std::string_view name, bool quantized) const override {
        if (quantized)
            for (const auto& [whole, parts] : parts_)
                for (const source_tensor& part : parts)
                    if (part.name == name) return &part;
        return model::find(name, quantized);
    }

    [[nodiscard]] output_layout lay_out(const std::vector<planned_tensor>& plan,
                                        const std::string& manifest) const override {
        qlib::safetensors_writer out;
        for (const auto& [key, value] : parsed_[0].metadata()) check(out.set_metadata(key, value), key);
        check(out.set_metadata("format", "pt"), "format");  // transformers asks for it
        if (!manifest.empty()) check(out.set_metadata("quantize.manifest", manifest), "quantize.manifest");
        std::vector<std::vector<std::string>> names;
        for (const planned_tensor& p : plan) names.push_back(announce(p, out));

        output_layout layout;
        layout.begin(out);
        std::map<std::string_view, output_piece> places;
        for (const qlib::safetensors_tensor& t : out.tensors())
            places[t.name] = {std::string(t.name), layout.files[0].header.size() + t.offset, t.bytes};
        for (const auto& of_one : names) {
            auto& pieces = layout.pieces.emplace_back();
            for (const std::string& name : of_one) pieces.push_back(places.at(name));
        }
        return layout;
    }
    [[nodiscard]] std::vector<std::vector<std::byte>> cut(const planned_tensor& p,
                                                          std::vector<std::byte> bytes) const override {
        const checkpoint_codec* to = p.format ? find_checkpoint_codec(*p.format) : nullptr;
        if (to == nullptr) return model::cut(p, std::move(bytes));
        std::vector<std::vector<std::byte>> pieces;
        for (const qlib::checkpoint_part& part : parts_of(p, *to)) {
            auto& piece = pieces.emplace_back(part.bytes);
            check(to->write(bytes, p.source->rows(), p.source->cols(), type_of(p), pieces.size() - 1, piece),
                  p.source->title());
        }
        return pieces;
    }

    static qlib::safetensors_type type_of(const planned_tensor& p) {
        using enum qlib::safetensors_type;
        return p.source->type == ggml::f16 ? f16 : p.source->type == ggml::bf16 ? bf16 : f32;
    }
    static qlib::checkpoint_parts parts_of(const planned_tensor& p, const checkpoint_codec& to) {
        const auto parts = to.parts(p.source->rows(), p.source->cols(), type_of(p));
        if (!parts) fail(parts.error(), p.source->title());
        return *parts;
    }

private:
    void open(const std::filesystem::path& path) {
        files_.push_back({path, map_file(path)});
        parsed_.push_back(parse_safetensors(path, files_.back().memory));
    }
    void open_all() {
        const qlib::mapped_file text = map_file(main_);
        std::string_view culprit;
        const auto index = qlib::safetensors_index::parse(
            {reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size()}, &culprit);
        if (!index) fail_to_read(index.error(), main_.string(), culprit, text.bytes(), ".index.json");
        for (const std::string_view name : index->files()) open(folder() / name);
        for (const auto& [tensor, file] : index->tensors()) {
            const auto at = std::ranges::find(index->files(), file);
            if (parsed_[static_cast<std::size_t>(at - index->files().begin())].find(tensor) == nullptr)
                throw std::runtime_error(std::string(tensor) + ": the index says that it is in " + std::string(file) +
                                         ", which does not have it");
        }
    }
    /// Learns how FP8 weights are to be read. error: codes of another kind.
    void decode_fp8() {
        std::vector<const qlib::safetensors_tensor*> all;
        for (const qlib::safetensors_file& file : parsed_)
            for (const qlib::safetensors_tensor& t : file.tensors()) all.push_back(&t);
        const auto method = find_method(config_, folder(), all, parsed_[0].metadata());
        if (!method) return;
        if (!method->only_fp8) refuse(*method, main_.string());
        fp8_.emplace(config_, all);
    }
    /// What FP8 weights are decoded to where they are not quantized.
    [[nodiscard]] ggml float_type() const {
        for (const char* key : {"dtype", "torch_dtype"}) {
            if (config_.text(key) == "float16") return ggml::f16;
            if (config_.text(key) == "float32") return ggml::f32;
        }
        return ggml::bf16;
    }
    void add(const qlib::safetensors_tensor& t, const qlib::mapped_file& file) {
        if (fp8_ && fp8_->is_used_up(t.name)) {
            ++scales_left_out_;
            return;
        }
        source_tensor& s = tensors_.emplace_back();
        s.name = t.name;
        s.dims.assign(t.shape.begin(), t.shape.end());
        s.ne = {t.cols(), t.rows(), 1, 1};
        s.type_name = qlib::safetensors_name(t.type);
        if (t.type == qlib::safetensors_type::f32) s.type = ggml::f32;
        if (t.type == qlib::safetensors_type::f16) s.type = ggml::f16;
        if (t.type == qlib::safetensors_type::bf16) s.type = ggml::bf16;
        if (const fp8_weights* codes = fp8_ ? fp8_->find(t.name) : nullptr) {
            s.fp8 = *codes;
            s.type = float_type();
        }
        s.data = t.data;
        s.file = &file;
    }
    /// Adds what a tensor becomes to the output, and says its names.
    static std::vector<std::string> announce(const planned_tensor& p, qlib::safetensors_writer& out) {
        const source_tensor& t = *p.source;
        std::vector<std::string> names;
        const auto put = [&](const std::string& name, qlib::safetensors_type type,
                             std::span<const std::uint64_t> shape) {
            check(out.add_tensor(name, type, shape), t.title());
            names.push_back(name);
        };
        if (const checkpoint_codec* to = p.format ? find_checkpoint_codec(*p.format) : nullptr) {
            const std::string layer = t.name.substr(0, t.name.size() - std::string_view("weight").size());
            for (const qlib::checkpoint_part& part : parts_of(p, *to))
                put(layer + std::string(part.suffix), part.type, part.shape());
            return names;
        }
        const std::string type = p.format ? p.format_name : t.type_name;
        std::string upper;
        for (const char c : type) upper += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
        const auto known = qlib::safetensors_type_named(upper);
        if (!known) fail(known.error(), t.title());
        put(t.name, *known, t.dims);
        return names;
    }

    std::filesystem::path main_;
    checkpoint_config config_;
    const architecture* architecture_ = find_architecture(config_);
    std::vector<qlib::safetensors_file> parsed_;
    std::optional<fp8_checkpoint> fp8_;
    std::size_t scales_left_out_ = 0;
    std::map<std::string, std::vector<source_tensor>, std::less<>> parts_;
};

/// Where the output goes: a file, or one of the usual name in a folder.
inline std::string output_file_of(const std::string& output) {
    return output.ends_with(".safetensors") ? output : (fs::path(output) / checkpoint_files::single).string();
}

/// A quantized model, to be verified.
inline stored_model read_stored_safetensors(const std::string& path) {
    stored_model stored;
    stored.path = output_file_of(path);
    stored.files.push_back(map_file(stored.path));
    stored.head = stored.files[0].bytes();
    const qlib::safetensors_file file = parse_safetensors(stored.path, stored.files[0]);
    if (const std::string_view* text = file.metadata("quantize.manifest")) stored.manifest = *text;
    for (const qlib::safetensors_tensor& t : file.tensors()) stored.pieces.emplace(utf8_text(t.name), t.data);
    return stored;
}
