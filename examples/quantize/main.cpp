// quantize: a model in, a quantized model out. What an engine's own quantizer needs of qlib stands in this folder:
//   options.hpp, command_line.hpp, presets_by_name.hpp   the command line
//   presets.hpp, tensor_types.hpp, which_tensors.hpp, ggml_formats.hpp   which tensor becomes what: llama.cpp's rules
//   tensor_rules.hpp, name_pattern.hpp   and the user's
//   codecs.hpp          formats by number, and qlib's calls
//   gguf_model.hpp, gguf_parts.hpp, gguf_kind.hpp, gguf_metadata.hpp, gguf_plan.hpp   a model in GGUF
//   quantize_checkpoint.hpp   one in safetensors, from folder to folder:
//     checkpoint_folder.hpp, safetensors_model.hpp, checkpoint_config.hpp, checkpoint_output.hpp   its files
//     safetensors_plan.hpp, architectures.hpp, linear_layers.hpp, linear_parts.hpp, fused_layers.hpp   its layers
//     checkpoint_method.hpp, fp8_checkpoint.hpp, fp8_weights.hpp   one that is quantized already
//     staged_folder.hpp   a folder that appears whole or not at all
//   tensor_encoder.hpp, source_floats.hpp, finite_floats.hpp, sqnr.hpp   one tensor, a strip of rows at a time
//   quantize_model.hpp  the way through a model
//   journal.hpp         going on after an interruption
//   manifest.hpp, json_text.hpp, verify.hpp   how a file was made, and whether that is true
//   imatrix_input.hpp, progress.hpp, report.hpp, synthetic_model.hpp, ../common   what is around them
#include "gguf_plan.hpp"
#include "quantize_checkpoint.hpp"
#include "synthetic_model.hpp"
#include "verify.hpp"

namespace {

std::optional<imatrix_input> imatrix_of(const options& o) {
    if (!o.imatrix.empty())
        return std::optional<imatrix_input>(std::in_place, o.imatrix, o.include_weights, o.exclude_weights);
    if (!o.include_weights.empty() || !o.exclude_weights.empty())
        throw std::runtime_error(
            "--include-weights and --exclude-weights say what of an imatrix is used: --imatrix is missing");
    return std::nullopt;
}

void quantize_gguf(options o, const imatrix_input* imatrix) {
    if (is_safetensors(o.output))
        throw std::runtime_error(
            o.output + ": from a GGUF file only another can be made; safetensors need a tokenizer in files of its own");
    gguf_model model(o.input);
    apply_options(model, o);
    warn_of_long_names(model);
    quantize_model(model, make_plan(model, o, imatrix), o, imatrix);
}

void run(options o) {
    const auto imatrix = imatrix_of(o);
    const bool safetensors = is_safetensors(o.input);
    // Less error is not less harm: Q2_K and Q4_0 of stories15M lose 3 % more perplexity
    // with the searched scales, other presets less.
    if (o.fit_name.empty()) o.fit_name = safetensors ? "search" : "reference";
    (safetensors ? quantize_checkpoint : quantize_gguf)(o, imatrix ? &*imatrix : nullptr);
}

void verify(const options& o) {
    const bool safetensors = is_safetensors(o.verify);
    verification check(o, safetensors ? read_stored_safetensors(o.verify) : read_stored_gguf(o.verify));
    check.check_hashes();
    if (!o.source.empty()) {
        options as_made = o;
        as_made.include_weights = check.weights_of_imatrix("include_weights");
        as_made.exclude_weights = check.weights_of_imatrix("exclude_weights");
        if (o.imatrix.empty()) as_made.include_weights = as_made.exclude_weights = {};
        const auto imatrix = imatrix_of(as_made);
        const auto compare = [&](const model& source) { check.check_source(source, imatrix ? &*imatrix : nullptr); };
        if (safetensors) {
            compare(safetensors_model(o.source, safetensors_model::purpose::quantize));
        } else {
            gguf_model source(o.source);
            source.prune(check.pruned_layers());
            compare(source);
        }
    }
    check.conclude();
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Quantizes a model."};
    try {
        const options o = parse_options(app, argc, argv);
        if (!o.synthetic.empty()) synthetic_model().write(o.synthetic);
        else if (!o.verify.empty()) verify(o);
        else run(o);
    } catch (const CLI::ParseError& e) { return app.exit(e); } catch (const std::exception& e) {
        std::fprintf(stderr, "quantize: %s\n", printable(e.what()).c_str());
        return 1;
    }
}
