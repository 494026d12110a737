// llm: a small inference engine for Llama models, with all products in qlib's qgemm on weights that stay
// quantized. What an engine needs of qlib, and how to tell whether a quantized model is good, stands in
// this folder; formats come from qlib::compiled:
//   main.cpp                 the commands: generate, perplexity, compare, imatrix
//   model.hpp                a model's numbers and matrices; a matrix is a qlib::any_view of the file's bytes
//   gguf_model.hpp           ... from a GGUF file; gguf_numbers.hpp reads its metadata
//   safetensors_model.hpp    ... from safetensors with Hugging Face's names, plain or quantized; model_config.hpp,
//                            config_numbers.hpp and config_rope.hpp read config.json
//   unknown_keys.hpp         what such files say that is not implemented here, and is refused
//   rope.hpp                 positions
//   load_as.hpp              ... quantized in memory, into any of qlib's formats
//   transformer.hpp          the forward pass, with its calls of qgemm
//   tokenizer.hpp            text to tokens: SentencePiece and BPE; pair_merge.hpp,
//                            words.hpp, unicode.hpp are its parts
//   sampler.hpp              the choice of the next token
//   evaluate.hpp             perplexity, and how far one model is from another; chunked_mean.hpp: with which error
//   imatrix.hpp              sums of squared inputs for quantizers; imatrix_output.hpp: where they may go
//   ../common/tensor_names.hpp  tensors' names in checkpoints and in GGUF files; calibration.hpp: what an imatrix says
//                               of its text
//   tests/, check.cmake      what is tested of all this
#include "evaluate.hpp"
#include "gguf_model.hpp"
#include "imatrix.hpp"
#include "imatrix_output.hpp"
#include "load_as.hpp"
#include "safetensors_model.hpp"
#include "sampler.hpp"

#include "../common/calibration.hpp"
#include "../common/file_sink.hpp"
#include "../common/read_text.hpp"
#include "../common/sha256.hpp"
#include "../common/work_folder.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <map>

namespace {

struct options {
    // The model, and what becomes of its weights.
    std::string path, tokenizer, load_as;
    qlib::compute mode = qlib::compute::automatic;
    std::size_t threads = std::thread::hardware_concurrency();
    // A text that is run through it.
    std::string text;
    std::size_t bytes = 0, skip = 0, context = 0, chunks = 0, batch = 512;
    // generate
    std::string prompt;
    std::size_t tokens = 128;
    sampler::options sampling;
    // compare
    std::string path_b, load_as_b;
    std::optional<qlib::compute> mode_b;
    std::vector<std::size_t> batches{512, 1};
    std::size_t single_chunks = 4;
    std::optional<double> max_kl;
    // imatrix
    std::string output;
    bool legacy = false, process_output = false;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Loads a model, quantizes it if that is asked for, and tells what its weights take.
model load(const std::string& path, const std::string& as, qlib::compute mode, qlib::thread_pool& threads,
           std::FILE* tell = stdout) {
    const bool gguf = !path.ends_with(".safetensors") && !path.ends_with(".json");
    model m = gguf ? load_gguf(path) : load_safetensors(path);
    std::string note;
    if (!as.empty()) {
        const auto format = qlib::format_named(as);
        if (!format) fail(format.error(), as);
        if (const std::size_t kept = load_as(m, *format, threads); kept != 0)
            note = ", of which " + std::to_string(kept) + " matrices are as in the file: their rows do not fit " + as;
    }
    check_products(m, {.mode = mode});
    const weights_size size = size_of_weights(m);
    std::fprintf(tell, "%s: %.2f million weights, %.3f bits each, %.2f MB%s\n", path.c_str(),
                 static_cast<double>(size.weights) * 1e-6, size.bits_per_weight(),
                 static_cast<double>(size.bytes) * 1e-6, note.c_str());
    return m;
}

/// The vocabulary of a model, or of the GGUF file that --tokenizer names. Tokens must be rows of the embedding.
struct vocabulary {
    std::shared_ptr<const open_gguf> file;
    tokenizer tokens;

    vocabulary(const options& o, const model& m)
        : file(open_gguf::at(o.tokenizer.empty() ? o.path : o.tokenizer)),
          tokens(file->header) {
        if (tokens.size() > m.vocabulary())
            throw std::runtime_error("a vocabulary of " + std::to_string(tokens.size()) + " tokens for a model of " +
                                     std::to_string(m.vocabulary()));
    }
};

std::size_t context_of(const options& o, const model& m) {
    return o.context != 0 ? o.context : std::min<std::size_t>(512, m.h.context != 0 ? m.h.context : 512);
}

int generate(const options& o) {
    qlib::thread_pool threads(o.threads);
    const model m = load(o.path, o.load_as, o.mode, threads, stderr);  // the story has the standard output to itself
    const vocabulary v(o, m);
    const std::vector<token> prompt = v.tokens.encode(o.prompt);
    if (prompt.empty()) throw std::runtime_error("an empty prompt, and a vocabulary without a token to begin with");
    transformer engine(m, threads, prompt.size() + o.tokens, o.batch, {.mode = o.mode});
    for (std::size_t at = 0; at < prompt.size(); at += engine.batch())
        engine.forward(std::span(prompt).subspan(at, std::min(engine.batch(), prompt.size() - at)));

    sampler next_token(o.sampling);
    std::fputs(o.prompt.c_str(), stdout);
    const auto start = std::chrono::steady_clock::now();
    std::size_t made = 0;
    for (; made < o.tokens; ++made) {
        const token next = next_token(engine.last_logits());
        if (v.tokens.ends_text(next)) break;
        std::fputs(v.tokens.decode(next).c_str(), stdout);
        std::fflush(stdout);
        engine.forward({&next, 1});
    }
    std::fputc('\n', stdout);
    std::fprintf(stderr, "%zu tokens, %.1f per second\n", made, static_cast<double>(made) / seconds_since(start));
    return 0;
}

int perplexity_of(const options& o) {
    qlib::thread_pool threads(o.threads);
    const model m = load(o.path, o.load_as, o.mode, threads);
    const vocabulary v(o, m);
    const std::size_t context = context_of(o, m);
    const chunked_text text(v.tokens, read_text(o.text, o.bytes), context, o.chunks, o.skip);
    transformer engine(m, threads, context, o.batch, {.mode = o.mode});
    const auto start = std::chrono::steady_clock::now();
    const perplexity p = measure_perplexity(engine, text, threads);
    std::printf("perplexity %.4f %s (%zu chunks of %zu tokens, %.0f tokens per second)\n", p.value(),
                plus_minus(p.error(), 4).c_str(), text.chunks(), context,
                static_cast<double>(text.chunks() * context) / seconds_since(start));
    return 0;
}

/// Prints one comparison. Whether its mean divergence is small enough.
bool report(const comparison& c, std::size_t batch, std::size_t chunks, std::optional<double> max_kl) {
    const percentile_estimate p99 = percentile_of_chunks(c.all_kl, chunks, 0.99);
    std::printf("batch %zu, %zu chunks, %zu tokens scored\n", batch, chunks, c.kl.count());
    std::printf("  KL divergence  mean %.6f %s, 99th percentile %.6f %s, largest %.6f\n", c.kl.mean(),
                plus_minus(c.kl.standard_error(), 6).c_str(), p99.value, plus_minus(p99.error, 6).c_str(),
                *std::ranges::max_element(c.all_kl));
    std::printf("  same top-1     %.3f %s %%\n", 100 * c.same_top1.mean(),
                plus_minus(100 * c.same_top1.standard_error(), 3).c_str());
    std::printf("  perplexity     %.4f %s (A), %.4f %s (B)\n", c.a.value(), plus_minus(c.a.error(), 4).c_str(),
                c.b.value(), plus_minus(c.b.error(), 4).c_str());
    if (!max_kl || c.kl.mean() <= *max_kl) return true;  // a NaN is not small either
    std::printf("error: the mean KL divergence is more than %g\n", *max_kl);
    return false;
}

int compare(const options& o) {
    qlib::thread_pool threads(o.threads);
    const qlib::compute mode_b = o.mode_b.value_or(o.mode);
    const model a = load(o.path, o.load_as, o.mode, threads), b = load(o.path_b, o.load_as_b, mode_b, threads);
    if (a.vocabulary() != b.vocabulary())
        throw std::runtime_error("vocabularies of " + std::to_string(a.vocabulary()) + " and " +
                                 std::to_string(b.vocabulary()) + " tokens");
    const vocabulary v(o, a);
    const std::size_t context = context_of(o, a);
    chunked_text text(v.tokens, read_text(o.text, o.bytes), context, o.chunks, o.skip);
    bool good = true;
    for (const std::size_t batch : o.batches) {
        if (batch == 1 && o.single_chunks != 0) text.limit(o.single_chunks);  // one token at a time is slow
        transformer engine_a(a, threads, context, batch, {.mode = o.mode}),
            engine_b(b, threads, context, batch, {.mode = mode_b});
        comparison c = compare_models(engine_a, engine_b, text, threads);
        good &= report(c, batch, text.chunks(), o.max_kl);
    }
    return good ? 0 : 1;
}

int write_imatrix(const options& o) {
    const std::string output = imatrix_output(o.output, {o.path, o.text, o.tokenizer});
    const work_folder work(output);  // now, as a place where nothing can be written is better known before the work
    qlib::thread_pool threads(o.threads);
    const model m = load(o.path, o.load_as, o.mode, threads);
    const vocabulary v(o, m);
    const std::size_t context = context_of(o, m);
    const std::string plain = read_text(o.text, o.bytes);
    const chunked_text text(v.tokens, plain, context, o.chunks, o.skip);
    transformer engine(m, threads, context, o.batch, {.mode = o.mode});
    importance_collector collector(o.process_output);
    collect_importance(engine, text, o.process_output, collector);

    qlib::imatrix_writer out;
    collector.add_to(out);
    check(out.add_dataset(o.text), o.text);
    check(out.set(calibration_key, sha256_of(std::as_bytes(std::span(plain)))), o.text);
    out.set_chunks(static_cast<std::uint32_t>(text.chunks()), static_cast<std::uint32_t>(context));
    const descriptor file = work.open("imatrix");
    file_sink sink(file);
    sink.check(o.legacy ? out.write_legacy(sink) : out.write_gguf(sink), o.output);
    work.keep(file, output);
    std::printf("%s: %zu matrices, %zu chunks of %zu tokens\n", o.output.c_str(), collector.size(), text.chunks(),
                context);
    return 0;
}

const std::map<std::string, qlib::compute> modes{
    {"automatic", qlib::compute::automatic}, {"integer", qlib::compute::integer}, {"exact", qlib::compute::exact}};

void add_model_options(CLI::App& command, options& o) {
    command
        .add_option("model", o.path,
                    "a Llama: .gguf, or .safetensors or .safetensors.index.json with config.json beside it")
        ->required()
        ->check(CLI::ExistingFile);
    command.add_option("--load-as", o.load_as,
                       "quantize all matrices that are plain floats, embedding and output too, to this format (q8_0, "
                       "int4_g32, nf4, f32 ...); "
                       "norms stay f32, and so does, in its own type, a matrix whose rows the format cannot hold");
    command
        .add_option("--mode", o.mode,
                    "how products are computed: automatic, integer (activations rounded to 8 bits) or exact")
        ->transform(CLI::CheckedTransformer(modes));
    command.add_option("--tokenizer", o.tokenizer, "GGUF file with the vocabulary, where the model has none")
        ->check(CLI::ExistingFile);
    command.add_option("--threads", o.threads, "threads to use")->check(CLI::PositiveNumber)->capture_default_str();
}

void add_text_options(CLI::App& command, options& o) {
    command.add_option("text", o.text, "text file")->required()->check(CLI::ExistingFile);
    command.add_option("--bytes", o.bytes, "how much of the text; 0: all")->capture_default_str();
    command
        .add_option(
            "--skip", o.skip,
            "tokens of it to leave out first: other chunks, for a measure of how much the result depends on them")
        ->capture_default_str();
    command
        .add_option("--context", o.context,
                    "tokens in a chunk, 4 or more; 0: what the model was trained on, 512 at most")
        ->check(!CLI::Range(1, 3))
        ->capture_default_str();
    command.add_option("--chunks", o.chunks, "how many chunks; 0: all")->capture_default_str();
}

/// Declares the commands. Each leaves itself in `run`.
void declare(CLI::App& app, options& o, int (*&run)(const options&)) {
    const auto add = [&](const char* name, const char* what, int (*command)(const options&)) -> CLI::App& {
        CLI::App& sub = *app.add_subcommand(name, what);
        sub.callback([&run, command] { run = command; });
        add_model_options(sub, o);
        return sub;
    };
    const auto batch = [&](CLI::App& sub) {
        sub.add_option("--batch", o.batch, "tokens in a product")->check(CLI::PositiveNumber)->capture_default_str();
    };
    app.require_subcommand(1);

    CLI::App& g = add("generate", "Continues a text.", generate);
    batch(g);
    g.add_option("--prompt", o.prompt, "text to continue");
    g.add_option("--tokens", o.tokens, "how many to generate")->capture_default_str();
    g.add_option("--temperature", o.sampling.temperature, "0: always the most likely token")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    g.add_option("--top-k", o.sampling.top_k, "choose among so many tokens; 0: all")->capture_default_str();
    g.add_option("--top-p", o.sampling.top_p, "and of these among the likeliest that reach this probability")
        ->check(CLI::Range(0.0, 1.0))
        ->capture_default_str();
    g.add_option("--seed", o.sampling.seed, "the same seed gives the same text")->capture_default_str();

    CLI::App& p = add("perplexity",
                      "Measures how well a model predicts a text, as llama-perplexity does; the error is "
                      "over its chunks.",
                      perplexity_of);
    add_text_options(p, o);
    batch(p);

    CLI::App& c =
        add("compare", "Measures how far a model B is from a model A, with errors over the text's chunks.", compare);
    c.add_option("b", o.path_b, "the other model")->required()->check(CLI::ExistingFile);
    add_text_options(c, o);
    c.add_option("--load-b-as", o.load_as_b, "as --load-as, for B");
    c.add_option("--mode-b", o.mode_b, "as --mode, for B; without it both have the same")
        ->transform(CLI::CheckedTransformer(modes));
    c.add_option("--batch", o.batches, "tokens in a product; each size is measured: different code may serve them")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    c.add_option("--single-chunks", o.single_chunks, "chunks at most with a batch of 1; 0: all")->capture_default_str();
    c.add_option("--max-kl", o.max_kl,
                 "fail, with exit code 1, when a mean KL divergence is larger; 0: when it is not 0")
        ->check(CLI::NonNegativeNumber);

    CLI::App& i = add("imatrix", "Writes the importance of each column of each matrix, for quantizers.", write_imatrix);
    add_text_options(i, o);
    batch(i);
    i.add_option("output", o.output, "file to write, new or an older imatrix")->required();
    i.add_flag("--legacy", o.legacy, "write the older form (.dat)");
    i.add_flag("--process-output", o.process_output, "the output matrix too, where it is not the embedding");
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Runs Llama models with quantized weights."};
    options o;
    int (*run)(const options&) = nullptr;
    try {
        declare(app, o, run);
        app.parse(argc, argv);
        return run(o);
    } catch (const CLI::ParseError& e) { return app.exit(e); } catch (const std::exception& e) {
        std::fprintf(stderr, "llm: %s\n", printable(e.what()).c_str());
        return 1;
    }
}
