#pragma once
// The manifest: how a quantized model was made, in its own metadata and in a JSON file beside it.
//
// A file's header stands before its data, but the scores and hashes in the manifest are known last. So it has a fixed
// length: it is laid out with the longest numbers, and filled up with spaces once the true ones are known.
#include "imatrix_input.hpp"
#include "json_text.hpp"
#include "options.hpp"

inline constexpr int manifest_version = 1;

/// An SQNR in dB, to hundredths; null where nothing was lost.
inline json score_of(const qlib::sqnr& e) {
    const double db = e.decibels();
    return std::isfinite(db) ? json(std::round(db * 100) / 100) : json(nullptr);
}

inline std::string reason_text(reason why) {
    switch (why) {
    case reason::kept: return "kept";
    case reason::base: return "base";
    case reason::rule: return "rule";
    default: return "asked";
    }
}

inline json describe(const planned_tensor& p) {
    const source_tensor& t = *p.source;
    json j{{"name", t.name},
           {"shape", std::vector<std::uint64_t>(t.dims)},
           {"from", t.type_name},
           {"format", p.format_name}};
    j["bits"] = t.weights() != 0
                    ? std::round(8e4 * static_cast<double>(p.bytes) / static_cast<double>(t.weights())) / 1e4
                    : 0.0;
    j["method"] = !p.format ? "copy" : is_float(static_cast<ggml>(*p.format)) ? "rounding" : "round-to-nearest";
    if (p.format && t.type && !is_float(*t.type)) j["requantized"] = true;
    j["reason"] = reason_text(p.why);
    if (!t.source_name.empty()) j["source_name"] = t.source_name;
    if (!p.rule.empty() && !p.overruled) j["rule"] = p.rule;
    if (p.wanted_name != p.format_name) j["instead_of"] = p.wanted_name;
    if (p.format) j["importance"] = !p.importance.empty();
    if (!p.left.why.empty()) j["left_alone"] = p.left.why;
    return j;
}

/// What is known before the work: the source's files with their hashes, the options, and each tensor's method.
inline json describe(const std::vector<model_file>& files, const std::vector<std::string>& hashes, const options& o,
                     const imatrix_input* imatrix, const std::vector<planned_tensor>& plan,
                     const output_layout& layout) {
    json j{{"manifest", manifest_version}, {"tool", "qlib quantize " + qlib_version()}};
    for (std::size_t i = 0; i < files.size(); ++i)
        j["source"].push_back({{"file", std::filesystem::path(files[i].path).filename().string()},
                               {"bytes", files[i].memory.bytes().size()},
                               {"sha256", hashes[i]}});
    j["options"] = {{o.preset_name.empty() ? "format" : "preset", o.preset_name.empty() ? o.format : o.preset_name},
                    {"fit", o.fit_name},
                    {"pure", o.pure},
                    {"tensor_types", o.tensor_types}};
    const auto note = [&](const char* name, const auto& value) {
        if (value != std::remove_cvref_t<decltype(value)>{}) j["options"][name] = value;
    };
    note("leave_output_tensor", o.leave_output);
    note("output_tensor_type", o.output_type);
    note("token_embedding_type", o.embedding_type);
    note("include_weights", o.include_weights);
    note("exclude_weights", o.exclude_weights);
    note("override_kv", o.override_kv);
    note("prune_layers", o.prune_layers);
    if (imatrix != nullptr) {
        j["imatrix"] = {{"file", imatrix->name()},
                        {"sha256", imatrix->sha256()},
                        {"datasets", imatrix->datasets()},
                        {"chunks", imatrix->chunks()}};
        if (const std::string hash = imatrix->text_sha256(); !hash.empty()) j["imatrix"]["text_sha256"] = hash;
    }
    for (std::size_t i = 0; i < plan.size(); ++i) {
        json& t = j["tensors"].emplace_back(describe(plan[i]));
        if (layout.pieces[i].size() > 1)
            for (const output_piece& piece : layout.pieces[i]) t["pieces"].push_back(piece.name);
    }
    return with_utf8(j);
}

/// The same with what came of it.
inline json with_outcomes(json manifest, const std::vector<planned_tensor>& plan,
                          const std::vector<outcome>& outcomes) {
    qlib::sqnr all;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        json& t = manifest["tensors"][i];
        if (plan[i].format) t["sqnr"] = score_of(outcomes[i].sums);
        if (!plan[i].importance.empty()) t["weighted_sqnr"] = score_of(outcomes[i].weighted);
        t["sha256"] = outcomes[i].sha256;
        all.add(outcomes[i].sums);
    }
    manifest["sqnr"] = score_of(all);
    return manifest;
}

/// A text as long as the manifest can get, with as many characters that JSON would escape.
inline std::string longest_text(const json& manifest, const std::vector<planned_tensor>& plan) {
    outcome longest;
    longest.sha256.assign(64, '0');
    json filled = with_outcomes(manifest, plan, std::vector<outcome>(plan.size(), longest));
    for (json& t : filled["tensors"])
        for (const char* score : {"sqnr", "weighted_sqnr"})
            if (t.contains(score)) t[score] = -9999.99;
    filled["sqnr"] = -9999.99;
    return filled.dump();
}

/// The manifest as a text of that length.
inline std::string fill(const json& manifest, std::size_t length) {
    std::string text = manifest.dump();
    if (text.size() > length) throw std::logic_error("the manifest needs more room than was reserved");
    text.resize(length, ' ');
    return text;
}

/// The manifest for the file beside, which can also speak of the header that holds the other.
inline json with_header(json manifest, std::span<const std::byte> header) {
    manifest["file"] = {{"header_bytes", header.size()}, {"header_sha256", sha256_of(header)}};
    return manifest;
}

inline std::string manifest_path(const std::string& output) { return output + ".manifest.json"; }
