// llama_cpp_check: lets llama.cpp load a GGUF file, continue a prompt, and measure perplexity. It fails when llama.cpp
// refuses the file, a logit is not finite, the text lacks what it should contain, or the perplexity is above a bound.
#include "llama_cpp.hpp"

#include "../common/read_text.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>

namespace {

struct options {
    std::string libraries, model, prompt = "Once upon a time", contains, text;
    int tokens = 40;
    std::int32_t threads = 2;
    std::size_t bytes = 0, context = 256, chunks = 0;
    double at_most = 0;
};

constexpr int skipped = 77;  // the exit code that CTest is told to count as a skipped test

bool check_generation(llama_cpp::model& model, const options& o) {
    const std::string text = model.generate(o.prompt, o.tokens);
    std::printf("%s|%s\n", o.prompt.c_str(), text.c_str());
    if (text.empty()) return std::puts("error: no text was generated"), false;
    if ((o.prompt + text).find(o.contains) == std::string::npos)
        return std::printf("error: the text does not contain \"%s\"\n", o.contains.c_str()), false;
    return true;
}

bool check_perplexity(llama_cpp::model& model, const options& o) {
    const double perplexity = model.perplexity(read_text(o.text, o.bytes), o.context, o.chunks);
    std::printf("perplexity %.4f\n", perplexity);
    if (o.at_most > 0 && !(perplexity <= o.at_most)) return std::printf("error: more than %.4f\n", o.at_most), false;
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    options o;
    CLI::App app{"Lets llama.cpp load a GGUF file and continue a prompt."};
    app.add_option("model", o.model, "GGUF file")->required();
    app.add_option("--libraries", o.libraries, "folder with llama.cpp's shared libraries")->required();
    app.add_option("--prompt", o.prompt, "text to continue")->capture_default_str();
    app.add_option("--tokens", o.tokens, "how many tokens to generate, each the most likely one")
        ->capture_default_str();
    app.add_option("--contains", o.contains, "what prompt and text together must contain");
    app.add_option("--perplexity", o.text, "text file to measure perplexity on");
    app.add_option("--bytes", o.bytes, "how much of that file; 0: all")->capture_default_str();
    app.add_option("--context", o.context, "tokens in a chunk, 512 at most")
        ->check(CLI::Range(4, 512))
        ->capture_default_str();
    app.add_option("--chunks", o.chunks, "how many chunks; 0: all")->capture_default_str();
    app.add_option("--at-most", o.at_most, "largest perplexity that passes");
    app.add_option("--threads", o.threads, "threads for llama.cpp")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    if (!llama_cpp::find_library(o.libraries, "libllama")) {
        std::printf("skipped: there is no llama.cpp in %s\n", o.libraries.c_str());
        return skipped;
    }
    try {
        const llama_cpp::library llama(o.libraries);
        llama_cpp::model model(llama, o.model, o.threads);
        const bool good = check_generation(model, o);
        return good && (o.text.empty() || check_perplexity(model, o)) ? 0 : 1;
    } catch (const std::exception& e) {
        std::printf("error: %s\n", e.what());
        return 1;
    }
}
