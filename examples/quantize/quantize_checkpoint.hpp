#pragma once
// A checkpoint in safetensors from folder to folder: the weights, config.json and all that goes with them, or nothing.
#include "checkpoint_output.hpp"
#include "fused_layers.hpp"
#include "quantize_model.hpp"
#include "staged_folder.hpp"

namespace checkpoints {

/// Every matrix that is not quantized, with the reason; layers for which that is a loss once more, aloud.
inline void print_left_alone(const std::vector<planned_tensor>& plan) {
    std::map<std::string, std::vector<const planned_tensor*>> losses;
    const char* head = "left as they are:\n";
    for (const planned_tensor& p : plan) {
        if (p.left.why.empty()) continue;
        std::printf("%s  %s: %s\n", std::exchange(head, ""), p.source->title().c_str(), p.left.why.c_str());
        if (p.left.is_loss) losses[p.left.why].push_back(&p);
    }
    std::fflush(stdout);
    for (const auto& [why, tensors] : losses)
        std::fprintf(stderr, "quantize: warning: %zu %s not quantized, as %s%s: %s\n", tensors.size(),
                     tensors.size() == 1 ? "layer is" : "layers are", why.c_str(),
                     tensors.size() == 1 ? "" : ", the first", tensors[0]->source->title().c_str());
    for (const std::string& module : layers::torn_apart(plan))
        std::fprintf(stderr,
                     "quantize: warning: %s stays as it is, but a layer that engines as vLLM join it with is "
                     "quantized: they will refuse the model\n",
                     printable(module).c_str());
}

/// error: nothing becomes what was asked for, which a run that goes on would hide.
inline void refuse_if_nothing(const std::vector<planned_tensor>& plan, const options& o) {
    const bool asks_for_codes =
        !o.only_copies() && find_checkpoint_codec(checkpoint_format_named(o.format)) != nullptr;
    const bool any = std::ranges::any_of(
        plan, [&](const planned_tensor& p) { return asks_for_codes ? is_quantized(p) : p.format.has_value(); });
    if (!any)
        throw std::runtime_error(o.input + ": nothing in it would be quantized to " + o.format +
                                 "; --format copy copies a model, --tensor-type REGEX=" + o.format +
                                 " quantizes what you know to be a linear layer");
}

/// What comes along may itself not be there yet, as a tokenizer that git-lfs is to fetch.
///
/// error: a file that cannot be read, which must not be found out after hours
inline void check_companions(const fs::path& folder, const std::vector<fs::path>& files) {
    for (const fs::path& file : files) {
        const descriptor opened((folder / file).string(), O_RDONLY);
        if (opened.size() == 0 || opened.size() > 1024) continue;
        const std::string_view what = foreign::what_it_is(map_file((folder / file).string()).bytes());
        if (what.find("git-lfs pointer") == std::string_view::npos) continue;
        std::fprintf(stderr, "quantize: warning: %s: %.*s\n", printable(opened.path()).c_str(),
                     static_cast<int>(what.size()), what.data());
    }
}

/// What the weights' folder is to hold beside them.
inline void write_companions(const safetensors_model& model, const companions& files, const json& config, bool is_copy,
                             const fs::path& folder) {
    for (const fs::path& file : files.files) {
        fs::create_directories((folder / file).parent_path());
        fs::copy_file(model.folder() / file, folder / file, fs::copy_options::overwrite_existing);
    }
    if (is_copy && fs::exists(model.config().path()))
        fs::copy_file(model.config().path(), folder / "config.json", fs::copy_options::overwrite_existing);
    if (!is_copy && !config.is_null()) write_file(folder / "config.json", config.dump(2) + "\n");
}

}  // namespace checkpoints

inline void quantize_checkpoint(options o, const imatrix_input* imatrix) {
    if (o.output.ends_with(".gguf"))
        throw std::runtime_error(o.output + ": from safetensors no GGUF file can be made: it needs the tokenizer "
                                            "(llama.cpp has convert_hf_to_gguf.py)");
    refuse_gguf_options(o);
    const bool is_copy = o.only_copies() && rules_of(o, true).empty();
    const safetensors_model model(o.input,
                                  is_copy ? safetensors_model::purpose::copy : safetensors_model::purpose::quantize);
    const std::vector<planned_tensor> plan = make_plan(model, o, imatrix);
    if (!is_copy) {
        checkpoints::print_left_alone(plan);
        checkpoints::refuse_if_nothing(plan, o);
    }
    if (model.decodes_fp8())
        std::printf("FP8 is decoded: its scales are left out (%zu tensors)\n", model.scales_left_out());
    if (!fs::exists(model.config().path()))
        std::printf("there is no config.json beside it: nothing but the weights can be taken over\n");
    const json config = config_of_output(model, plan, o);
    if (o.dry_run) return quantize_model(model, plan, o, imatrix);

    const fs::path file = output_file_of(o.output), folder = file.has_parent_path() ? file.parent_path() : ".";
    check_output_folder(folder, model.folder());
    const companions beside = find_companions(model, folder);
    checkpoints::check_companions(model.folder(), beside.files);
    for (const fs::path& weights : beside.left_behind)
        std::printf("left behind: %s\n", printable(weights.string()).c_str());
    std::vector<fs::path> written = beside.files;
    written.insert(written.end(), {file.filename(), manifest_path(file.filename()), "config.json"});
    staged_folder staged(folder, written, o.resume);
    o.output = staged.path() / file.filename();
    try {
        quantize_model(model, plan, o, imatrix);
        checkpoints::write_companions(model, beside, config, is_copy, staged.path());
        staged.keep();
    } catch (const std::system_error&) {  // a full disk: what is done can be used
        throw;
    } catch (...) {
        if (!staged.holds_work()) staged.discard();  // what was begun with other options can still be gone on with
        throw;
    }
}
