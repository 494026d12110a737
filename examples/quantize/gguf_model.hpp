#pragma once
// A GGUF model, in one file or several: read, and laid out again as one file.
#include "../common/failure.hpp"
#include "../common/foreign_file.hpp"
#include "model.hpp"

#include <qlib/file/gguf.hpp>

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
    explicit gguf_model(const std::string& path) {
        open(path);
        const std::uint64_t parts = count("split.count", 1);
        for (std::uint64_t part = 1; part < parts; ++part) open(part_of(path, part, parts));
        if (parts > 1) check_parts(parts);
        for (std::size_t i = 0; i < parsed_.size(); ++i)
            for (const qlib::gguf_tensor& t : parsed_[i].tensors()) add(t, files_[i].memory);
        std::ranges::sort(tensors_, stands_before, &source_tensor::name);
        for (std::size_t i = 1; i < tensors_.size(); ++i)
            if (tensors_[i].name == tensors_[i - 1].name) throw std::runtime_error(tensors_[i].name + ": the tensor is in two parts of the model");
    }

    [[nodiscard]] const qlib::gguf_file& head() const { return parsed_[0]; }

    [[nodiscard]] model_facts facts() const {
        model_facts facts;
        if (const auto* name = head().find("general.architecture")) facts.architecture = name->as_string() ? *name->as_string() : "";
        const auto number = [&](const char* key, std::int64_t otherwise) {
            return static_cast<std::int64_t>(count(facts.architecture + key, static_cast<std::uint64_t>(otherwise)));
        };
        facts.layers = number(".block_count", 0);
        facts.experts = number(".expert_count", 0);
        facts.heads = number(".attention.head_count", 0);
        facts.kv_heads = number(".attention.head_count_kv", facts.heads);
        return facts;
    }

    /// Metadata that the output has beside the input's: what was asked for, and imatrix details.
    std::map<std::string, std::string> extra_texts;
    std::map<std::string, std::uint32_t> extra_numbers;

    [[nodiscard]] output_layout lay_out(const std::vector<planned_tensor>& plan, const std::string& manifest) const override {
        qlib::gguf_writer out;
        for (const auto& [key, value] : head().entries())
            if (!key.starts_with("split.")) check(out.set(key, value), key);
        for (const auto& [key, value] : extra_numbers) check(out.set(key, value), key);
        for (const auto& [key, value] : extra_texts) check(out.set(key, std::string_view(value)), key);
        if (!manifest.empty()) check(out.set("quantize.manifest", std::string_view(manifest)), "quantize.manifest");
        for (const planned_tensor& p : plan) {
            const std::uint32_t type = p.format ? *p.format : static_cast<std::uint32_t>(*p.source->type);
            check(out.add_tensor(p.source->name, type, p.source->dims), p.source->title());
        }
        output_layout layout;
        layout.begin(out);
        const auto written = qlib::gguf_file::parse(layout.header, {.file_size = layout.file_size});  // it says where the data go
        if (!written) fail(written.error(), "header");
        for (const qlib::gguf_tensor& t : written->tensors())
            layout.pieces.push_back({{std::string(t.name), written->data_start() + t.offset, t.bytes}});
        return layout;
    }

private:
    void open(const std::string& path) {
        files_.push_back({path, map_file(path)});
        std::string_view culprit;
        auto file = qlib::gguf_file::parse(files_.back().memory.bytes(), {}, &culprit);
        if (!file) fail_to_read(file.error(), path, culprit, files_.back().memory.bytes(), ".gguf");
        parsed_.push_back(std::move(file).value());
    }
    [[nodiscard]] static std::string suffix(std::uint64_t part, std::uint64_t parts) {
        char text[64];
        std::snprintf(text, sizeof text, "-%05llu-of-%05llu.gguf", static_cast<unsigned long long>(part + 1), static_cast<unsigned long long>(parts));
        return text;
    }
    /// The path of another part, from that of the first.
    [[nodiscard]] static std::string part_of(const std::string& path, std::uint64_t part, std::uint64_t parts) {
        const std::string first = suffix(0, parts);
        if (!path.ends_with(first))
            throw std::runtime_error(path + ": the first part of a model in " + std::to_string(parts) + " parts ends in " + first);
        return path.substr(0, path.size() - first.size()) + suffix(part, parts);
    }
    void check_parts(std::uint64_t parts) const {
        std::uint64_t tensors = 0;
        for (std::size_t i = 0; i < parsed_.size(); ++i) {
            const auto value = [&](const char* key) {
                const qlib::gguf_value* v = parsed_[i].find(key);
                return v != nullptr && v->as_uint() ? *v->as_uint() : ~std::uint64_t{0};
            };
            if (value("split.no") != i || value("split.count") != parts)
                throw std::runtime_error(files_[i].path + ": split.no and split.count do not say that it is part " + std::to_string(i + 1) +
                                         " of " + std::to_string(parts));
            tensors += parsed_[i].tensors().size();
        }
        if (const std::uint64_t promised = count("split.tensors.count", tensors); promised != tensors)
            throw std::runtime_error(files_[0].path + ": " + std::to_string(promised) + " tensors are promised, the parts have " + std::to_string(tensors));
    }
    /// A number of the metadata; of an array, which has one per layer, the first.
    [[nodiscard]] std::uint64_t count(const std::string& key, std::uint64_t otherwise) const {
        const qlib::gguf_value* v = head().find(key);
        if (v == nullptr) return otherwise;
        const auto first = v->is_array() ? v->at(0) : qlib::result<qlib::gguf_value>(*v);
        const auto n = first ? first->as_uint() : qlib::result<std::uint64_t>(first.error());
        if (!n) fail(n.error(), key);
        return *n;
    }
    void add(const qlib::gguf_tensor& t, const qlib::mapped_file& file) {
        source_tensor& s = tensors_.emplace_back();
        s.name = t.name;
        s.ne = t.ne;
        s.dims.assign(t.ne.begin(), t.ne.begin() + t.n_dims);
        s.type = static_cast<ggml>(t.type);
        s.type_name = name_of(*s.type);
        s.data = t.data;
        s.file = &file;
    }

    std::vector<qlib::gguf_file> parsed_;
};
