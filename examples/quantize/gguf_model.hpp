#pragma once
// A GGUF model, in one file or several: read, and laid out again.
#include "gguf_kind.hpp"
#include "gguf_metadata.hpp"
#include "gguf_parts.hpp"

/// The type of file that a model of mostly one type is, for general.file_type.
inline std::uint32_t file_type_of(const type_request& request) {
    if (request.recipe) return static_cast<std::uint32_t>(*request.recipe);
    switch (request.base) {
    case ggml::f32: return 0;
    case ggml::f16: return 1;
    case ggml::bf16: return 32;
    default: return static_cast<std::uint32_t>(std::ranges::find(presets, request.base, &preset_info::base)->id);
    }
}

class gguf_model : public model {
public:
    explicit gguf_model(const std::string& path) : gguf_model(gguf_parts(path)) {}

    [[nodiscard]] const qlib::gguf_file& head() const { return parsed_[0]; }

    [[nodiscard]] model_facts facts() const {
        model_facts facts;
        facts.architecture = architecture();
        const auto number = [&](const char* suffix, std::int64_t otherwise, std::int64_t most) {
            const std::string key = facts.architecture + suffix;
            const kv_override* o = find_override_of(key);
            if (o != nullptr && std::holds_alternative<std::int64_t>(o->value))
                return checked_count(printable(key), static_cast<std::uint64_t>(std::get<std::int64_t>(o->value)),
                                     most);
            return checked_count(printable(key), count_of(head(), key, static_cast<std::uint64_t>(otherwise)), most);
        };
        facts.layers = number(".block_count", 0, model_facts::most_layers);
        facts.experts = number(".expert_count", 0, model_facts::most_experts);
        facts.heads = number(".attention.head_count", 0, model_facts::most_heads);
        facts.kv_heads = number(".attention.head_count_kv", facts.heads, model_facts::most_heads);
        return facts;
    }

    /// Leaves layers out, and numbers the others anew. error: a layer that the model does not have
    void prune(const std::vector<std::uint32_t>& layers) {
        if (layers.empty()) return;
        layers_ = static_cast<std::uint64_t>(
            checked_count(block_count_key(), count_of(head(), block_count_key(), 0), model_facts::most_layers));
        pruned_ = {layers.begin(), layers.end()};
        if (*pruned_.rbegin() >= layers_ || pruned_.size() == layers_)
            throw std::runtime_error(files_[0].path + ": layer " + std::to_string(*pruned_.rbegin()) +
                                     " cannot be left out: there are the layers 0 to " +
                                     std::to_string(static_cast<std::int64_t>(layers_) - 1) + ", and one must stay");
        const auto layer = [](const source_tensor& t) { return static_cast<std::uint64_t>(layer_of(t.name)); };
        std::erase_if(tensors_, [&](const source_tensor& t) { return pruned_.contains(layer(t)); });
        for (source_tensor& t : tensors_) {
            const std::size_t dot = t.name.find_first_not_of("0123456789", 4);
            if (layer_of(t.name) < 0 || dot == std::string::npos || t.name[dot] != '.') continue;
            const auto before = std::distance(pruned_.begin(), pruned_.lower_bound(layer(t)));
            t.source_name = t.name;
            t.name = "blk." + std::to_string(layer(t) - static_cast<std::uint64_t>(before)) + t.source_name.substr(dot);
        }
    }

    /// Metadata that the output has beside the input's: what was asked for, and imatrix details.
    std::map<std::string, std::string> extra_texts;
    std::map<std::string, std::uint32_t> extra_numbers;
    std::vector<kv_override> overrides;
    /// Into which files the output goes: as many as the input has, or none with more bytes of tensors (0: no limit).
    bool keeps_split = false;
    std::uint64_t split_max_size = 0;

    [[nodiscard]] output_layout lay_out(const std::vector<planned_tensor>& plan,
                                        const std::string& manifest) const override {
        const std::vector<std::size_t> file_of = split(plan);
        const std::size_t files =
            std::max(keeps_split ? parsed_.size() : 1, file_of.empty() ? 1 : *std::ranges::max_element(file_of) + 1);
        output_layout layout;
        layout.pieces.resize(plan.size());
        for (std::size_t file = 0; file < files; ++file) {
            qlib::gguf_writer out;
            if (file == 0) describe(out, manifest);
            if (files > 1) describe_part(out, file, files, plan.size());
            std::vector<std::size_t> members;  // indices in the plan
            for (std::size_t i = 0; i < plan.size(); ++i)
                if (file_of[i] == file) members.push_back(i);
            for (const std::size_t i : members) {
                const std::uint32_t type =
                    plan[i].format ? *plan[i].format : static_cast<std::uint32_t>(*plan[i].source->type);
                check(out.add_tensor(plan[i].source->name, type, plan[i].source->dims), plan[i].source->title());
            }
            const output_file& begun = layout.begin(out);
            // The header says where the data go.
            const auto written = qlib::gguf_file::parse(begun.header, {.file_size = begun.size});
            if (!written) fail(written.error(), "header");
            for (std::size_t i = 0; i < members.size(); ++i) {
                const qlib::gguf_tensor& t = written->tensors()[i];
                layout.pieces[members[i]].push_back(
                    {std::string(t.name), written->data_start() + t.offset, t.bytes, file});
            }
        }
        return layout;
    }

private:
    explicit gguf_model(gguf_parts parts) : parsed_(std::move(parts.parsed)) {
        files_ = std::move(parts.files);
        for (std::size_t i = 0; i < parsed_.size(); ++i)
            for (const qlib::gguf_tensor& t : parsed_[i].tensors()) add(t, i);
        std::ranges::sort(tensors_, stands_before, &source_tensor::name);
        for (std::size_t i = 1; i < tensors_.size(); ++i)
            if (tensors_[i].name == tensors_[i - 1].name)
                throw std::runtime_error(printable(tensors_[i].name) + ": the tensor is in two parts of the model");
    }
    void add(const qlib::gguf_tensor& t, std::size_t part) {
        source_tensor& s = tensors_.emplace_back();
        s.name = t.name;
        s.ne = t.ne;
        s.dims.assign(t.ne.begin(), t.ne.begin() + t.n_dims);
        s.type = static_cast<ggml>(t.type);
        s.type_name = name_of(*s.type);
        s.data = t.data;
        s.file = &files_[part].memory;
        s.part = part;
    }
    [[nodiscard]] const kv_override* find_override_of(std::string_view key) const {
        const kv_override* found = nullptr;
        for (const kv_override& o : overrides)
            if (o.key == key) found = &o;  // the last one is what is written
        return found;
    }
    [[nodiscard]] std::string architecture() const {
        const kv_override* o = find_override_of("general.architecture");
        return o != nullptr && std::holds_alternative<std::string>(o->value) ? std::get<std::string>(o->value)
                                                                             : text_of(head(), "general.architecture");
    }
    [[nodiscard]] std::string block_count_key() const { return architecture() + ".block_count"; }

    /// Which file each tensor goes to.
    [[nodiscard]] std::vector<std::size_t> split(const std::vector<planned_tensor>& plan) const {
        std::vector<std::size_t> file_of(plan.size());
        std::uint64_t bytes = 0;
        for (std::size_t i = 0, file = 0; i < plan.size(); ++i) {
            if (split_max_size != 0 && bytes != 0 && plan[i].bytes > split_max_size - std::min(bytes, split_max_size)) {
                ++file;
                bytes = 0;
            }
            bytes += plan[i].bytes;
            file_of[i] = keeps_split ? plan[i].source->part : file;
        }
        return file_of;
    }
    /// The metadata of the whole model.
    void describe(qlib::gguf_writer& out, const std::string& manifest) const {
        for (const auto& [key, value] : head().entries()) {
            if (key.starts_with("split.")) continue;
            check_number(key, value);
            const bool per_layer = value.is_array() && value.count == layers_ &&
                                   value.element_type != qlib::gguf_type::string &&
                                   key.starts_with(architecture() + ".") && !key.starts_with(architecture() + ".rope.");
            if (!pruned_.empty() && per_layer) write_kept_elements(out, key, value, pruned_);
            else check(out.set(key, value), printable(key));
        }
        if (!pruned_.empty())
            check(out.set(block_count_key(), static_cast<std::uint32_t>(layers_ - pruned_.size())), block_count_key());
        for (const auto& [key, value] : extra_numbers) check(out.set(key, value), key);
        for (const auto& [key, value] : extra_texts) check(out.set(key, std::string_view(value)), key);
        for (const kv_override& o : overrides) write_override(out, o, head().find(o.key));
        if (!manifest.empty()) check(out.set("quantize.manifest", std::string_view(manifest)), "quantize.manifest");
    }
    static void describe_part(qlib::gguf_writer& out, std::size_t file, std::size_t files, std::size_t tensors) {
        if (files > 65535)
            throw std::runtime_error("--split-max-size: " + std::to_string(files) + " files, 65535 are the most");
        check(out.set("split.no", static_cast<std::uint16_t>(file)), "split.no");
        check(out.set("split.count", static_cast<std::uint16_t>(files)), "split.count");
        check(out.set("split.tensors.count", static_cast<std::int32_t>(tensors)), "split.tensors.count");
    }

    std::vector<qlib::gguf_file> parsed_;
    std::set<std::uint64_t> pruned_;
    std::uint64_t layers_ = 0;
};
