// quantize: a GGUF model in, a quantized GGUF model out. What an engine's own quantizer needs of qlib stands in this folder:
//   main.cpp           the way through the file
//   which_tensors.hpp  which tensors are quantized at all
//   targets.hpp        formats by name, and qlib's calls
//   weights.hpp, sqnr.hpp, report.hpp, files.hpp, ../common/failure.hpp, synthetic_model.hpp   what is around them
#include "../common/failure.hpp"
#include "files.hpp"
#include "report.hpp"
#include "synthetic_model.hpp"
#include "targets.hpp"
#include "weights.hpp"
#include "which_tensors.hpp"

#include <CLI/CLI.hpp>
#include <qlib/core/thread_pool.hpp>

#include <chrono>
#include <map>

namespace {

struct options {
    std::string input, output, format, synthetic;
    qlib::fit fit = qlib::fit::search;
    std::size_t threads = std::thread::hardware_concurrency();
    [[nodiscard]] bool only_copies() const { return format == "copy"; }
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Metadata as it was, with what says that the model is quantized.
void copy_metadata(const qlib::gguf_file& model, const options& o, qlib::gguf_writer& out) {
    const qlib::gguf_value* parts = model.find("split.count");
    const auto count = parts != nullptr ? parts->as_uint() : qlib::result<std::uint64_t>(1);
    if (!count || *count != 1) throw std::runtime_error(o.input + ": a model split into several files; merge them first");
    for (const auto& [key, value] : model.entries()) check(out.set(key, value), key);
    if (o.only_copies()) return;
    check(out.set("general.quantization_version", std::uint32_t{2}), o.output);
    check(out.set("general.file_type", find_target(o.format)->file_type), o.output);
}

/// Decides for each tensor. The order stays that of the input.
std::vector<outcome> plan(const qlib::gguf_file& model, const options& o) {
    std::vector<outcome> tensors;
    for (const qlib::gguf_tensor& t : model.tensors()) {
        outcome& next = tensors.emplace_back(&t, t.bytes);
        if (o.only_copies() || !is_quantizable(t)) continue;
        const target& wanted = *find_target(o.format);
        const target& to = fitting_target(wanted, t.cols());
        next.fallback = &to != &wanted;
        if (to.type != t.type) next.to = &to;
    }
    return tensors;
}

/// Names a tensor with its new type: the header, which goes out first, lists them all.
void announce(const outcome& o, qlib::gguf_writer& out) {
    const qlib::gguf_tensor& t = *o.tensor;
    check(out.add_tensor(t.name, o.to != nullptr ? o.to->type : t.type, std::span(t.ne).first(t.n_dims)), title_of(t));
}

/// Quantizes or copies one tensor into the file.
void write_tensor(outcome& o, qlib::fit fit, qlib::thread_pool& threads, qlib::gguf_writer& out) {
    const auto start = std::chrono::steady_clock::now();
    const qlib::gguf_tensor& t = *o.tensor;
    if (o.to == nullptr) {
        check(out.write(t.name, t.data), title_of(t));
    } else {
        std::vector<float> weights;
        check(load_weights(t, threads, weights), title_of(t));
        new_tensor made;
        check(o.to->encode({weights.data(), t.rows(), t.cols()}, fit, {.run = threads}, made), title_of(t));
        check(out.write(t.name, made.bytes), title_of(t));
        o.bytes = made.bytes.size();
        o.sums = made.sums;
    }
    o.seconds = seconds_since(start);
}

void quantize_model(const options& o) {
    const auto start = std::chrono::steady_clock::now();
    const input_file input(o.input);
    std::string_view culprit;
    const auto model = qlib::gguf_file::parse(input.bytes(), {}, &culprit);
    if (!model) fail(model.error(), culprit.empty() ? std::string_view(o.input) : culprit);

    qlib::gguf_writer out;
    copy_metadata(*model, o, out);
    std::vector<outcome> tensors = plan(*model, o);
    for (const outcome& t : tensors) announce(t, out);

    output_file file(o.output);
    check(out.begin(file), o.output);
    qlib::thread_pool threads(o.threads);
    report table(model->tensors());
    for (outcome& t : tensors) {
        write_tensor(t, o.fit, threads, out);
        table.add(t);
    }
    check(out.finish(), o.output);
    file.keep();
    table.totals(o.format, input.bytes().size(), out.file_size(), seconds_since(start));
}

/// Fills the options from the command line. Throws CLI::ParseError, also for --help.
void parse(CLI::App& app, options& o, int argc, char** argv) {
    std::vector<std::string> formats{"copy"};
    for (const target& t : targets) formats.emplace_back(t.name);
    const std::map<std::string, qlib::fit> fits{
        {"plain", qlib::fit::plain}, {"search", qlib::fit::search}, {"reference", qlib::fit::reference}};
    app.add_option("input", o.input, "GGUF file with f32, f16 or bf16 weights")->check(CLI::ExistingFile);
    app.add_option("output", o.output, "GGUF file to write");
    app.add_option("--format", o.format, "format of the weights; norms and the like stay as they are")
        ->transform(CLI::IsMember(formats, CLI::ignore_case));
    std::string fit = "search";
    app.add_option("--fit", fit, "how scales are chosen")->check(CLI::IsMember(fits))->capture_default_str();
    app.add_option("--threads", o.threads, "threads to use")->capture_default_str();
    app.add_option("--synthetic", o.synthetic, "write a small model of random weights to this file, and do nothing else");
    app.parse(argc, argv);
    o.fit = fits.at(fit);
    if (o.synthetic.empty() && (o.output.empty() || o.format.empty())) throw CLI::RequiredError("input, output and --format");
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Quantizes a GGUF model."};
    try {
        options o;
        parse(app, o, argc, argv);
        if (!o.synthetic.empty()) synthetic_model().write(o.synthetic);
        else quantize_model(o);
    } catch (const CLI::ParseError& e) {
        return app.exit(e);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "quantize: %s\n", e.what());
        return 1;
    }
}
