#pragma once
// The command line.
#include "command_line.hpp"

#include <qlib/core/abi.hpp>
#include <qlib/fit/fit.hpp>

#include <thread>

/// "0.1.0"
inline std::string qlib_version() {
    return std::to_string(QLIB_VERSION_MAJOR) + "." + std::to_string(QLIB_VERSION_MINOR) + "." +
           std::to_string(QLIB_VERSION_PATCH);
}

struct options {
    std::string input, output, format, preset_name, fit_name, imatrix, verify, source, synthetic;
    std::vector<std::string> tensor_types;
    std::string tensor_type_file, output_type, embedding_type;
    std::vector<std::string> include_weights, exclude_weights, override_kv;
    std::vector<std::uint32_t> prune_layers;
    std::uint64_t split_max_size = 0;  ///< bytes; 0: no limit
    std::size_t threads = std::thread::hardware_concurrency();
    bool pure = false, dry_run = false, resume = false;
    bool leave_output = false, allow_requantize = false, no_fallback = false, keep_split = false;

    [[nodiscard]] bool only_copies() const { return format == "copy"; }
    [[nodiscard]] qlib::fit fit() const { return fit_named(fit_name); }
    [[nodiscard]] static qlib::fit fit_named(std::string_view name) {
        return name == "plain" ? qlib::fit::plain : name == "reference" ? qlib::fit::reference : qlib::fit::search;
    }
};

inline constexpr const char* footer =
    "The arguments may also stand as llama-quantize takes them: INPUT [OUTPUT] TYPE [THREADS], TYPE a name or a "
    "number.\n"
    "Where this program differs from llama-quantize:\n"
    "  --tensor-type      the first rule that matches counts. A match begins where a word between dots does, so that "
    "\"output\" is not\n"
    "                     found in attn_output. A rule that decides about no tensor is an error, and so is one for "
    "tensors that loaders\n"
    "                     need as floats (norms, routers, ...) alone. Patterns do not look ahead or behind\n"
    "  --output-tensor-type, --token-embedding-type, --leave-output-tensor   are such rules, and come first\n"
    "  --imatrix          an entry of another size than its tensor is an error\n"
    "  --override-kv      an integer keeps the type that the key has in the input\n"
    "  --keep-split       types are chosen as without it\n"
    "  weights            a NaN or an infinity is an error, in what is copied too\n"
    "  output             never the input itself. It appears when it is complete, with a manifest in it and beside it; "
    "see --verify\n"
    "Checkpoints in safetensors:\n"
    "  layers             a table of architectures says which matrices are linear layers, by config.json's "
    "model_type;\n"
    "                     of one that is not there only q_proj and the like are. All others are listed, with the "
    "reason\n"
    "  rows               that are not whole groups of int4 stay as they are: loaders would take other groups\n"
    "  quantized already  FP8 is decoded with its scales, other methods are refused by name; --format copy copies\n"
    "  output             a folder with all files of the input's that are no weights. It grows as NAME.being-quantized";

inline void add_llama_options(CLI::App& app, options& o) {
    const auto many = [&](const char* name, std::vector<std::string>& values, const char* text) {
        return app.add_option(name, values, text)->allow_extra_args(false);
    };
    many("--tensor-type", o.tensor_types,
         "REGEX=FORMAT for tensors whose name holds a match; FORMAT \"copy\": they stay as they are");
    app.add_option("--tensor-type-file", o.tensor_type_file,
                   "a file of such rules, separated by white space; they come after those of --tensor-type")
        ->check(CLI::ExistingFile);
    app.add_flag("--leave-output-tensor", o.leave_output, "output.weight stays as it is");
    app.add_option("--output-tensor-type", o.output_type,
                   "format of output.weight, or of the token embedding where it serves as that");
    app.add_option("--token-embedding-type", o.embedding_type, "format of token_embd.weight");
    auto* const include =
        many("--include-weights", o.include_weights, "use the imatrix only for tensors whose name holds this text");
    many("--exclude-weights", o.exclude_weights, "do not use the imatrix for tensors whose name holds this text")
        ->excludes(include);
    app.add_option("--prune-layers", o.prune_layers, "L0,L1,...: leave these layers out, and number the others anew")
        ->delimiter(',')
        ->allow_extra_args(false);
    many("--override-kv", o.override_kv, "KEY=TYPE:VALUE: metadata of the output; TYPE is int, float, bool or str");
    app.add_flag("--keep-split", o.keep_split,
                 "write as many files as the input has, named OUTPUT-00001-of-00003.gguf");
    app.add_option_function<std::string>(
           "--split-max-size", [&o](const std::string& text) { o.split_max_size = parse_size(text); },
           "write files of N M or G (megabytes, gigabytes) of tensors at most")
        ->excludes("--keep-split");
    app.add_flag("--allow-requantize", o.allow_requantize,
                 "quantize also what is quantized already: worse than from the original");
    app.add_flag("--no-fallback", o.no_fallback,
                 "rows that are no whole blocks of a tensor's format are an error: no other format is taken");
    app.add_flag("--pure", o.pure, "with --preset: its base format for all matrices, no mixture");
}

/// INPUT [OUTPUT] [TYPE [THREADS]]. As with llama-quantize the type may stand where the output would.
inline void place_arguments(options& o, const std::vector<std::string>& words) {
    std::size_t at = 0;
    const auto next = [&] { return at < words.size() ? words[at++] : std::string(); };
    o.input = next();
    const bool wants_type = o.preset_name.empty() && o.format.empty();
    const bool skips_output = wants_type && at < words.size() && find_recipe(words[at]) &&
                              (at + 1 == words.size() || (at + 2 == words.size() && is_number(words[at + 1])));
    if (!skips_output) o.output = next();
    if (wants_type && at < words.size()) {
        const std::string word = next();
        const auto type = find_type(word);
        if (!type) throw CLI::ValidationError(word, "is no preset and no format");
        o.preset_name = type->preset;
        o.format = type->format;
        if (skips_output) o.output = default_output_of(o.input, upper_case(type->preset + type->format));
        if (at < words.size()) o.threads = parse_threads(next());
    }
    if (at < words.size()) throw CLI::ExtrasError({words.begin() + static_cast<std::ptrdiff_t>(at), words.end()});
}

/// Throws CLI::ParseError, also for --help.
inline options parse_options(CLI::App& app, int argc, char** argv) {
    options o;
    std::string words[4];
    app.add_option("input", words[0],
                   "a GGUF file (of several parts: the first), a safetensors file, its index, or their folder");
    app.add_option("output", words[1], "a file, or for safetensors a folder");
    app.add_option("type", words[2], "in place of --preset or --format");
    app.add_option("threads", words[3], "in place of --threads");
    app.add_option(
        "--format", o.format,
        "one format for all matrices, the token embedding and the output included: q4_k, q8_0, ... in GGUF;\n"
        "int4_g128, nf4, ... in safetensors. \"copy\": everything stays as it is");
    app.add_option("--preset", o.preset_name,
                   "a mixture of formats by llama.cpp's rules: Q4_K_M, Q2_K, ..., or its number")
        ->excludes("--format");
    app.add_option("--fit", o.fit_name,
                   "how scales are chosen: plain (the range), search (least error), reference (as llama.cpp does it).\n"
                   "Without it: reference in GGUF, search in safetensors")
        ->check(CLI::IsMember({"plain", "search", "reference"}));
    app.add_option("--imatrix", o.imatrix, "importance of the inputs, as llama-imatrix writes it")
        ->check(CLI::ExistingFile);
    add_llama_options(app, o);
    app.add_flag("--dry-run", o.dry_run, "print what would be done, and what substitutions cost; write nothing");
    app.add_flag("--resume", o.resume, "go on where a run with the same input and options was interrupted");
    app.add_option("--threads", o.threads, "threads to use")->check(CLI::Range(1, 4096))->capture_default_str();
    app.add_option("--verify", o.verify, "check a quantized model against the manifest in it, and do nothing else")
        ->check(CLI::ExistingPath);
    app.add_option(
        "--source", o.source,
        "with --verify: the model it was made from; it is quantized again, with --imatrix where one was used");
    app.add_option("--synthetic", o.synthetic,
                   "write a small model of random weights to this file, and do nothing else");
    app.footer(footer);
    app.parse(argc, argv);
    if (!o.preset_name.empty()) {
        const auto known = find_recipe(o.preset_name);
        if (!known) throw CLI::ValidationError("--preset", o.preset_name + " is none; there are " + preset_names());
        o.preset_name = known->preset;
        o.format = known->format;
    }
    place_arguments(o, {std::begin(words), std::ranges::find(words, "")});
    if (upper_case(o.format) == "COPY") o.format = "copy";
    if (!o.synthetic.empty() || !o.verify.empty()) return o;
    if (o.input.empty() || (o.format.empty() && o.preset_name.empty()))
        throw CLI::RequiredError("input, and --format or --preset");
    if (o.output.empty() && !o.dry_run) throw CLI::RequiredError("output");
    if (!o.tensor_type_file.empty()) add_words_of(o.tensor_type_file, o.tensor_types);
    for (const std::string& text : o.tensor_types) split_override(text);
    for (const std::string& text : o.override_kv) parse_override(text);
    return o;
}
