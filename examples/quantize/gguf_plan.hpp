#pragma once
// What becomes of each tensor of a GGUF model, and whether it can.
#include "codecs.hpp"
#include "gguf_model.hpp"
#include "imatrix_input.hpp"
#include "tensor_rules.hpp"

#include <qlib/formats.hpp>

/// The type that the command line names. error: one that does not exist, or that this program cannot write.
inline ggml type_named(const std::string& name) {
    const auto type = find_ggml_type(name);
    if (!type && qlib::format_named(name))
        throw std::runtime_error(
            name +
            ": it is a format of safetensors files, whose tensors and tokenizer have other names than a GGUF file's");
    if (!type || find_codec(static_cast<std::uint32_t>(*type)) == nullptr)
        throw std::runtime_error(name +
                                 (type ? ": models cannot be written in this format" : ": there is no such format"));
    return *type;
}

inline type_request request_of(const options& o, bool has_output) {
    type_request request;
    request.pure = o.pure;
    if (!o.preset_name.empty()) {
        const preset_info& info = *std::ranges::find(presets, std::string_view(o.preset_name), &preset_info::name);
        request.recipe = info.id;
        request.base = info.base;
    } else if (o.only_copies()) {
        request.copy = true;
    } else {
        request.base = type_named(o.format);
    }
    for (tensor_rule& rule : rules_of(o, has_output))
        request.overrides.push_back({std::move(rule.text), std::move(rule.pattern),
                                     rule.keeps() ? std::nullopt : std::optional(type_named(rule.format))});
    return request;
}

/// error: blocks that do not fill the rows, where no other type may take their place
inline void check_fallback(const source_tensor& t, const type_choice& choice) {
    if (choice.type == choice.wanted) return;
    throw std::runtime_error(t.title() + ": its rows are no whole blocks of " + name_of(choice.wanted) +
                             ", which has " + std::to_string(info_of(choice.wanted).elements) +
                             " weights to one; --no-fallback forbids " + name_of(choice.type));
}

/// One tensor's part of the plan. error: a type that this program cannot write, or a
/// source that has no weights to quantize.
inline planned_tensor plan_tensor(const source_tensor& t, const type_choice& choice, const type_request& request,
                                  const options& o, const imatrix_input* imatrix) {
    planned_tensor p;
    p.source = &t;
    p.bytes = t.data.size();
    p.format_name = p.wanted_name = t.type_name;
    if (choice.rule != nullptr) p.rule = choice.rule->text;
    p.overruled = choice.overruled;
    if (choice.why == reason::kept) return p;
    p.why = choice.why;
    p.format_name = name_of(choice.type);
    p.wanted_name = name_of(choice.wanted);
    p.wanted_bytes = bytes_of(choice.wanted, t.weights());
    if (o.no_fallback) check_fallback(t, choice);
    if (choice.type == t.type) return p;
    if (!is_float(*t.type) && (!o.allow_requantize || find_codec(static_cast<std::uint32_t>(*t.type)) == nullptr))
        throw std::runtime_error(
            t.title() + ": its type is " + t.type_name + "; only f32, f16 and bf16 can be quantized" +
            (find_codec(static_cast<std::uint32_t>(*t.type)) != nullptr ? ", others with --allow-requantize, at a loss"
                                                                        : ""));
    const codec* format = find_codec(static_cast<std::uint32_t>(choice.type));
    if (format == nullptr)
        throw std::runtime_error(t.title() + ": it would have to become " + p.format_name +
                                 ", which cannot be written yet");
    if (imatrix != nullptr) p.importance = imatrix->importance_of(t);
    if (p.importance.empty() && needs_imatrix(t, choice.type, request.recipe))
        throw std::runtime_error(t.title() + ": " + p.format_name +
                                 " is of no use without an imatrix that knows this tensor");
    p.format = format->number();
    p.bytes = format->bytes(t.rows(), t.cols());
    return p;
}

/// error: nothing would be quantized, though no copy was asked for
inline void check_work(const std::vector<planned_tensor>& plan, const std::string& path) {
    if (std::ranges::any_of(plan, [](const planned_tensor& p) { return p.format.has_value(); })) return;
    const auto already = std::ranges::count_if(plan, [](const planned_tensor& p) { return p.why != reason::kept; });
    throw std::runtime_error(path + ": there is nothing to quantize: " +
                             (already != 0
                                  ? std::to_string(already) + " matrices have the format that they would get"
                                  : "none of its " + std::to_string(plan.size()) +
                                        " tensors is a matrix of weights that engines take in another format") +
                             "; --format copy copies a model");
}

/// What only an adapter allows, and what it does not.
inline void plan_adapter(type_request& request, const std::string& path) {
    if (request.recipe)
        throw std::runtime_error(
            path + ": an adapter (LoRA), not a model, which presets are for; it takes one format, as in --format q8_0");
    request.adapter = true;
}

/// All of them. The model learns what its metadata will say.
inline std::vector<planned_tensor> make_plan(gguf_model& model, const options& o, const imatrix_input* imatrix) {
    std::vector<planned_tensor> plan;
    if (o.only_copies() && rules_of(o, true).empty()) {
        for (const source_tensor& t : model.tensors()) plan.push_back(plan_tensor(t, {}, {}, o, nullptr));
        return plan;
    }
    const gguf_kind kind = kind_of(model.head(), o.input);
    const bool has_output =
        std::ranges::any_of(model.tensors(), [](const source_tensor& t) { return role_of(t.name) == role::output; });
    type_request request = request_of(o, has_output);
    if (kind == gguf_kind::adapter) plan_adapter(request, o.input);
    model_facts facts;
    if (request.recipe && !request.pure) facts = model.facts();
    facts.has_imatrix = imatrix != nullptr;
    const std::vector<tensor_shape> shapes(model.tensors().begin(), model.tensors().end());
    const std::vector<type_choice> choices = choose_types(shapes, facts, request);
    for (std::size_t i = 0; i < shapes.size(); ++i)
        plan.push_back(plan_tensor(model.tensors()[i], choices[i], request, o, imatrix));
    for (const type_override& rule : request.overrides) check_rule(rule.text, plan);
    check_work(plan, o.input);

    model.extra_numbers = {{"general.quantization_version", 2}};
    if (!request.copy) model.extra_numbers["general.file_type"] = file_type_of(request);
    if (imatrix == nullptr) return plan;
    model.extra_texts["quantize.imatrix.file"] = utf8_text(imatrix->name());
    if (!imatrix->datasets().empty()) model.extra_texts["quantize.imatrix.dataset"] = utf8_text(imatrix->datasets()[0]);
    model.extra_numbers["quantize.imatrix.entries_count"] = static_cast<std::uint32_t>(imatrix->entries());
    if (imatrix->chunks() != 0) model.extra_numbers["quantize.imatrix.chunks_count"] = imatrix->chunks();
    return plan;
}

/// What the command line says of a model's layers, files and metadata.
inline void apply_options(gguf_model& model, const options& o) {
    for (const std::string& text : o.override_kv) model.overrides.push_back(parse_override(text));
    model.prune(o.prune_layers);
    model.keeps_split = o.keep_split;
    model.split_max_size = o.split_max_size;
}

/// error on the terminal, as it is no fault: what engines built on ggml will not load
inline void warn_of_long_names(const gguf_model& model) {
    const auto too_long = [](const source_tensor& t) { return t.name.size() > qlib::gguf_ggml_name_limit; };
    const auto first = std::ranges::find_if(model.tensors(), too_long);
    if (first == model.tensors().end()) return;
    std::fprintf(stderr,
                 "warning: %td tensors have names of more than %zu bytes, which programs built on ggml do not load: "
                 "the first is %s\n",
                 std::ranges::count_if(model.tensors(), too_long), qlib::gguf_ggml_name_limit,
                 printable(first->name).c_str());
}

/// A quantized GGUF model, to be verified.
inline stored_model read_stored_gguf(const std::string& path) {
    gguf_parts parts(path);
    stored_model stored;
    stored.path = path;
    stored.manifest = text_of(parts.parsed[0], "quantize.manifest");
    for (const qlib::gguf_file& file : parts.parsed)
        for (const qlib::gguf_tensor& t : file.tensors()) stored.pieces.emplace(utf8_text(t.name), t.data);
    for (model_file& f : parts.files) stored.files.push_back(std::move(f.memory));
    stored.head = stored.files[0].bytes();
    return stored;
}
