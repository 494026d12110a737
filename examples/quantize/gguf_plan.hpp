#pragma once
// What becomes of each tensor of a GGUF model, and whether it can.
#include "codecs.hpp"
#include "gguf_model.hpp"
#include "imatrix_input.hpp"
#include "options.hpp"

#include <qlib/formats.hpp>

/// The type that the command line names. error: one that does not exist, or that this program cannot write.
inline ggml type_named(const std::string& name) {
    const auto type = find_ggml_type(name);
    if (!type && qlib::format_named(name))
        throw std::runtime_error(name + ": it is a format of safetensors files, whose tensors and tokenizer have other names than a GGUF file's");
    if (!type || find_codec(static_cast<std::uint32_t>(*type)) == nullptr)
        throw std::runtime_error(name + (type ? ": models cannot be written in this format" : ": there is no such format"));
    return *type;
}

inline type_request request_of(const options& o) {
    type_request request;
    request.pure = o.pure;
    if (!o.preset_name.empty()) {
        const preset_info& info = *std::ranges::find(presets, std::string_view(o.preset_name), &preset_info::name);
        request.recipe = info.id;
        request.base = info.base;
    } else {
        request.base = type_named(o.format);
    }
    for (const std::string& text : o.tensor_types) {
        const auto [pattern, name] = split_override(text);
        try {
            request.overrides.push_back({text, std::regex(pattern), name == "copy" ? std::nullopt : std::optional(type_named(name))});
        } catch (const std::regex_error& e) {
            throw std::runtime_error("--tensor-type " + text + ": " + e.what());
        }
    }
    return request;
}

/// One tensor's part of the plan. error: a type that this program cannot write, or a source that has no weights to quantize.
inline planned_tensor plan_tensor(const source_tensor& t, const type_choice& choice, const type_request& request, const imatrix_input* imatrix) {
    planned_tensor p;
    p.source = &t;
    p.bytes = t.data.size();
    p.format_name = p.wanted_name = t.type_name;
    if (choice.why == reason::kept) return p;
    p.why = choice.why;
    p.format_name = name_of(choice.type);
    p.wanted_name = name_of(choice.wanted);
    p.wanted_bytes = bytes_of(choice.wanted, t.weights());
    if (choice.type == t.type) return p;
    if (!is_float(*t.type)) throw std::runtime_error(t.title() + ": its type is " + t.type_name + "; only f32, f16 and bf16 can be quantized");
    const codec* format = find_codec(static_cast<std::uint32_t>(choice.type));
    if (format == nullptr) throw std::runtime_error(t.title() + ": it would have to become " + p.format_name + ", which cannot be written yet");
    if (imatrix != nullptr) p.importance = imatrix->importance_of(t);
    if (p.importance.empty() && needs_imatrix(t, choice.type, request.recipe))
        throw std::runtime_error(t.title() + ": " + p.format_name + " is of no use without an imatrix that knows this tensor");
    p.format = format->number();
    p.bytes = format->bytes(t.rows(), t.cols());
    return p;
}

/// All of them. The model learns what its metadata will say.
inline std::vector<planned_tensor> make_plan(gguf_model& model, const options& o, const imatrix_input* imatrix) {
    std::vector<planned_tensor> plan;
    if (o.only_copies()) {
        for (const source_tensor& t : model.tensors()) plan.push_back(plan_tensor(t, {}, {}, nullptr));
        return plan;
    }
    const type_request request = request_of(o);
    model_facts facts = model.facts();
    facts.has_imatrix = imatrix != nullptr;
    const std::vector<tensor_shape> shapes(model.tensors().begin(), model.tensors().end());
    const std::vector<type_choice> choices = choose_types(shapes, facts, request);
    for (std::size_t i = 0; i < shapes.size(); ++i) plan.push_back(plan_tensor(model.tensors()[i], choices[i], request, imatrix));
    if (std::ranges::none_of(plan, [](const planned_tensor& p) { return p.format.has_value(); })) return plan;  // a copy stays one

    model.extra_numbers = {{"general.quantization_version", 2}, {"general.file_type", file_type_of(request)}};
    if (imatrix == nullptr) return plan;
    model.extra_texts["quantize.imatrix.file"] = imatrix->name();
    if (!imatrix->datasets().empty()) model.extra_texts["quantize.imatrix.dataset"] = imatrix->datasets()[0];
    model.extra_numbers["quantize.imatrix.entries_count"] = static_cast<std::uint32_t>(imatrix->entries());
    if (imatrix->chunks() != 0) model.extra_numbers["quantize.imatrix.chunks_count"] = imatrix->chunks();
    return plan;
}

/// A quantized GGUF file, to be verified.
inline stored_model read_stored_gguf(const std::string& path) {
    stored_model stored;
    stored.path = path;
    stored.files.push_back(map_file(path));
    stored.head = stored.files[0].bytes();
    std::string_view culprit;
    const auto file = qlib::gguf_file::parse(stored.head, {}, &culprit);
    if (!file) fail_to_read(file.error(), path, culprit, stored.head, ".gguf");
    if (const qlib::gguf_value* v = file->find("quantize.manifest"); v != nullptr && v->as_string()) stored.manifest = *v->as_string();
    for (const qlib::gguf_tensor& t : file->tensors()) stored.pieces.emplace(t.name, t.data);
    return stored;
}
