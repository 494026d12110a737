#pragma once
// The command line.
#include "tensor_types.hpp"

#include <CLI/CLI.hpp>
#include <qlib/core/abi.hpp>
#include <qlib/fit/fit.hpp>

#include <thread>

/// "0.1.0"
inline std::string qlib_version() {
    return std::to_string(QLIB_VERSION_MAJOR) + "." + std::to_string(QLIB_VERSION_MINOR) + "." + std::to_string(QLIB_VERSION_PATCH);
}

struct options {
    std::string input, output, format, preset_name, fit_name, imatrix, verify, source, synthetic;
    std::vector<std::string> tensor_types;
    std::size_t threads = std::thread::hardware_concurrency();
    bool pure = false, dry_run = false, resume = false;

    [[nodiscard]] bool only_copies() const { return format == "copy"; }
    [[nodiscard]] qlib::fit fit() const { return fit_named(fit_name); }
    [[nodiscard]] static qlib::fit fit_named(std::string_view name) {
        return name == "plain" ? qlib::fit::plain : name == "reference" ? qlib::fit::reference : qlib::fit::search;
    }
};

/// "regex=format" in its two parts.
inline std::pair<std::string, std::string> split_override(const std::string& text) {
    const std::size_t at = text.rfind('=');
    if (at == std::string::npos || at == 0 || at + 1 == text.size()) throw CLI::ValidationError("--tensor-type " + text, "is not of the form REGEX=FORMAT");
    return {text.substr(0, at), text.substr(at + 1)};
}

/// Throws CLI::ParseError, also for --help.
inline options parse_options(CLI::App& app, int argc, char** argv) {
    options o;
    std::vector<std::string> names;
    for (const preset_info& p : presets) names.emplace_back(p.name);
    app.add_option("input", o.input, "model: a GGUF file (of several parts: the first), a safetensors file, its index, or their folder");
    app.add_option("output", o.output, "model to write: a file, or for safetensors a folder");
    app.add_option("--format", o.format, "one format for all matrices, the token embedding and the output included: q4_k, q8_0, ... in GGUF;\n"
                                         "int4_g128, nf4, ... in safetensors. \"copy\": everything stays as it is");
    app.add_option("--preset", o.preset_name, "a mixture of formats by llama.cpp's rules: Q4_K_M, Q2_K, ...")->transform(CLI::IsMember(names, CLI::ignore_case))
        ->excludes("--format");
    app.add_option("--fit", o.fit_name, "how scales are chosen: plain (the range), search (least error), reference (as llama.cpp does it).\n"
                                         "Without it: reference in GGUF, search in safetensors")->check(CLI::IsMember({"plain", "search", "reference"}));
    app.add_option("--imatrix", o.imatrix, "importance of the inputs, as llama-imatrix writes it")->check(CLI::ExistingFile);
    app.add_option("--tensor-type", o.tensor_types, "REGEX=FORMAT for tensors whose name holds a match; the first that matches counts.\n"
                                                    "FORMAT \"copy\": they stay as they are")->allow_extra_args(false);
    app.add_flag("--pure", o.pure, "with --preset: its base format for all matrices, no mixture");
    app.add_flag("--dry-run", o.dry_run, "print what would be done, and what substitutions cost; write nothing");
    app.add_flag("--resume", o.resume, "go on where a run with the same input and options was interrupted");
    app.add_option("--threads", o.threads, "threads to use")->check(CLI::Range(1, 4096))->capture_default_str();
    app.add_option("--verify", o.verify, "check a quantized model against the manifest in it, and do nothing else")->check(CLI::ExistingPath);
    app.add_option("--source", o.source, "with --verify: the model it was made from; it is quantized again, with --imatrix where one was used");
    app.add_option("--synthetic", o.synthetic, "write a small model of random weights to this file, and do nothing else");
    app.parse(argc, argv);
    if (!o.synthetic.empty() || !o.verify.empty()) return o;
    if (o.input.empty() || (o.format.empty() && o.preset_name.empty())) throw CLI::RequiredError("input, and --format or --preset");
    if (o.output.empty() && !o.dry_run) throw CLI::RequiredError("output");
    for (const std::string& text : o.tensor_types) split_override(text);
    return o;
}
