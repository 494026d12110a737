#pragma once
// A model of Hugging Face's kind: safetensors, in one file or several with an index, and config.json beside them. Read, and laid out
// again as one file in which a quantized weight is several tensors.
#include "../common/failure.hpp"
#include "../common/work_folder.hpp"
#include "codecs.hpp"
#include "imatrix_input.hpp"
#include "manifest.hpp"
#include "tensor_rules.hpp"

#include <qlib/file/safetensors.hpp>
#include <qlib/formats.hpp>

inline constexpr const char* single_file = "model.safetensors";
inline constexpr const char* index_file = "model.safetensors.index.json";

/// Whether a path is a model of this kind: one of its files, or their folder.
inline bool is_safetensors(const std::string& path) {
    return path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json") || std::filesystem::is_directory(path);
}
/// The file that stands for a model: in a folder, its index or its only file.
inline std::string main_file_of(const std::string& path) {
    if (!std::filesystem::is_directory(path)) return path;
    const auto index = std::filesystem::path(path) / index_file;
    return std::filesystem::exists(index) ? index : std::filesystem::path(path) / single_file;
}

inline qlib::safetensors_file parse_safetensors(const std::string& path, const qlib::mapped_file& memory) {
    std::string_view culprit;
    auto file = qlib::safetensors_file::parse(memory.bytes(), {}, &culprit);
    if (!file) fail(file.error(), culprit.empty() ? path : path + ": " + std::string(culprit));
    return std::move(file).value();
}

class safetensors_model : public model {
public:
    explicit safetensors_model(const std::string& path) : main_(main_file_of(path)) {
        if (main_.extension() == ".json") open_all();
        else open(main_);
        for (std::size_t i = 0; i < parsed_.size(); ++i)
            for (const qlib::safetensors_tensor& t : parsed_[i].tensors()) add(t, files_[i].memory);
        std::ranges::sort(tensors_, {}, &source_tensor::name);
        for (std::size_t i = 1; i < tensors_.size(); ++i)
            if (tensors_[i].name == tensors_[i - 1].name) throw std::runtime_error(tensors_[i].name + ": the tensor is in two of the model's files");
    }

    [[nodiscard]] std::filesystem::path folder() const { return main_.parent_path(); }

    [[nodiscard]] output_layout lay_out(const std::vector<planned_tensor>& plan, const std::string& manifest) const override {
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
    [[nodiscard]] std::vector<std::vector<std::byte>> cut(const planned_tensor& p, std::vector<std::byte> bytes) const override {
        const checkpoint_codec* to = p.format ? find_checkpoint_codec(*p.format) : nullptr;
        if (to == nullptr) return model::cut(p, std::move(bytes));
        std::vector<std::vector<std::byte>> pieces;
        for (const qlib::checkpoint_part& part : parts_of(p, *to)) {
            auto& piece = pieces.emplace_back(part.bytes);
            check(to->write(bytes, p.source->rows(), p.source->cols(), type_of(p), pieces.size() - 1, piece), p.source->title());
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
        const auto index = qlib::safetensors_index::parse({reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size()}, &culprit);
        if (!index) fail(index.error(), main_.string() + ": " + std::string(culprit));
        for (const std::string_view name : index->files()) open(folder() / name);
        for (const auto& [tensor, file] : index->tensors()) {
            const auto at = std::ranges::find(index->files(), file);
            if (parsed_[static_cast<std::size_t>(at - index->files().begin())].find(tensor) == nullptr)
                throw std::runtime_error(std::string(tensor) + ": the index says that it is in " + std::string(file) + ", which does not have it");
        }
    }
    void add(const qlib::safetensors_tensor& t, const qlib::mapped_file& file) {
        source_tensor& s = tensors_.emplace_back();
        s.name = t.name;
        s.dims.assign(t.shape.begin(), t.shape.end());
        s.ne = {t.cols(), t.rows(), 1, 1};
        s.type_name = qlib::safetensors_name(t.type);
        if (t.type == qlib::safetensors_type::f32) s.type = ggml::f32;
        if (t.type == qlib::safetensors_type::f16) s.type = ggml::f16;
        if (t.type == qlib::safetensors_type::bf16) s.type = ggml::bf16;
        s.data = t.data;
        s.file = &file;
    }
    /// Adds what a tensor becomes to the output, and says its names.
    static std::vector<std::string> announce(const planned_tensor& p, qlib::safetensors_writer& out) {
        const source_tensor& t = *p.source;
        std::vector<std::string> names;
        const auto put = [&](const std::string& name, qlib::safetensors_type type, std::span<const std::uint64_t> shape) {
            check(out.add_tensor(name, type, shape), t.title());
            names.push_back(name);
        };
        if (const checkpoint_codec* to = p.format ? find_checkpoint_codec(*p.format) : nullptr) {
            const std::string layer = t.name.substr(0, t.name.size() - std::string_view("weight").size());
            for (const qlib::checkpoint_part& part : parts_of(p, *to)) put(layer + std::string(part.suffix), part.type, part.shape());
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
    std::vector<qlib::safetensors_file> parsed_;
};

/// Whether a tensor is the weight of a linear layer; the output layer is by custom left as it is.
inline bool is_linear_weight(const source_tensor& t) {
    if (t.dims.size() != 2 || !t.type || !t.name.ends_with(".weight")) return false;
    for (const char* part : {"embed", "norm", "lm_head", "wte.", "wpe."})
        if (t.name.find(part) != std::string::npos) return false;
    return true;
}

/// The number of a format that a safetensors checkpoint can hold.
inline std::uint32_t checkpoint_format_named(const std::string& name) {
    const auto type = find_ggml_type(name);
    if (type && is_float(*type)) return static_cast<std::uint32_t>(*type);
    const auto id = qlib::format_named(name);
    if (id && find_checkpoint_codec(static_cast<std::uint32_t>(*id)) != nullptr) return static_cast<std::uint32_t>(*id);
    if (type || id)
        throw std::runtime_error(name + ": safetensors files hold int4_g32, int4_g32_asym, int4_g128, int4_g128_asym, nf4, nf4_dq, f32, f16 and "
                                        "bf16. GGUF's formats need a GGUF file as input: it holds the tokenizer, which a safetensors file does not");
    throw std::runtime_error(name + ": there is no such format");
}

/// What becomes of each tensor.
inline std::vector<planned_tensor> make_plan(const safetensors_model& model, const options& o, const imatrix_input* imatrix) {
    if (!o.preset_name.empty())
        throw std::runtime_error(o.preset_name + ": presets are mixtures of GGUF's formats. A GGUF file holds the tokenizer, which a safetensors "
                                                 "file does not: convert the model first (llama.cpp has convert_hf_to_gguf.py)");
    const std::vector<tensor_rule> rules = rules_of(o, true);
    std::vector<planned_tensor> plan;
    std::optional<std::uint32_t> quantized;
    for (const source_tensor& t : model.tensors()) {
        planned_tensor& p = plan.emplace_back();
        p.source = &t;
        p.bytes = t.data.size();
        p.format_name = p.wanted_name = t.type_name;
        const auto found = std::ranges::find_if(
            rules, [&](const tensor_rule& r) { return t.dims.size() == 2 && r.pattern.matches(t.name); });
        if (found != rules.end()) p.rule = found->text;
        if (found == rules.end() && !is_linear_weight(t)) continue;
        const std::string& name = found != rules.end() ? found->format : o.format;
        if (upper_case(name) == "COPY") continue;
        if (!t.type || !t.name.ends_with(".weight"))
            throw std::runtime_error(t.title() + ": its type is " + t.type_name + "; only weights in f32, f16 and bf16 can be quantized");
        p.why = found != rules.end() ? reason::asked : reason::base;
        const std::uint32_t format = checkpoint_format_named(name);
        if (format == static_cast<std::uint32_t>(*t.type)) continue;
        p.format = format;
        p.format_name = p.wanted_name = format < 0x1000 ? name_of(static_cast<ggml>(format)) : name;
        if (imatrix != nullptr) p.importance = imatrix->importance_of(t);
        p.bytes = find_codec(format)->bytes(t.rows(), t.cols());
        if (find_checkpoint_codec(format) == nullptr) continue;
        if (quantized.value_or(format) != format)
            throw std::runtime_error(t.title() + ": config.json can name one quantized format only, and another tensor has another");
        quantized = format;
        p.bytes = 0;
        for (const qlib::checkpoint_part& part : safetensors_model::parts_of(p, *find_checkpoint_codec(format))) p.bytes += part.bytes;
    }
    for (const tensor_rule& rule : rules) check_rule(rule.text, plan);
    return plan;
}

/// Where the output goes: a file, or one of the usual name in a folder.
inline std::string output_file_of(const std::string& output) {
    return output.ends_with(".safetensors") ? output : (std::filesystem::path(output) / single_file).string();
}

/// The files that stand beside the weights: config.json with what loaders must know, and into another folder the tokenizer's and the like.
inline void write_companions(const safetensors_model& model, const std::vector<planned_tensor>& plan, const std::string& output) {
    const std::filesystem::path folder = std::filesystem::path(output).parent_path();
    if (std::filesystem::equivalent(folder.empty() ? "." : folder, model.folder().empty() ? "." : model.folder())) return;  // the input's own config.json stays
    for (const auto& entry : std::filesystem::directory_iterator(model.folder().empty() ? "." : model.folder())) {
        const std::string name = entry.path().filename(), extension = entry.path().extension();
        const bool wanted = extension == ".json" || extension == ".txt" || extension == ".model" || extension == ".jinja";
        if (entry.is_regular_file() && wanted && name != "config.json" && !name.ends_with(".index.json") && !name.ends_with(".manifest.json"))
            std::filesystem::copy_file(entry.path(), folder / name, std::filesystem::copy_options::overwrite_existing);
    }
    std::vector<std::string> kept;
    const planned_tensor* quantized = nullptr;
    for (const planned_tensor& p : plan) {
        const bool is_quantized = p.format && find_checkpoint_codec(*p.format) != nullptr;
        if (is_quantized) quantized = &p;
        const bool layer = p.source->dims.size() == 2 && p.source->name.ends_with(".weight") && p.source->name.find("embed") == std::string::npos;
        if (!is_quantized && layer) kept.push_back(p.source->name.substr(0, p.source->name.size() - std::string_view(".weight").size()));
    }
    if (quantized == nullptr) return;
    const auto is_output = [](const planned_tensor& p) { return p.source->name == "lm_head.weight"; };
    if (std::ranges::none_of(plan, is_output)) kept.emplace_back("lm_head");  // shares the embedding's weights, and is a layer to loaders all the same
    std::ifstream in(model.folder() / "config.json");
    json config = in ? json::parse(in, nullptr, false) : json::object();
    if (!config.is_object()) throw std::runtime_error((model.folder() / "config.json").string() + ": it is no JSON object");
    const std::vector<std::string_view> ignored(kept.begin(), kept.end());
    config["quantization_config"] = json::parse(find_checkpoint_codec(*quantized->format)->config(ignored, safetensors_model::type_of(*quantized)));
    write_file(folder / "config.json", config.dump(2) + "\n");
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
