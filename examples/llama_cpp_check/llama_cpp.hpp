#pragma once
// llama.cpp's C interface, loaded at run time from its shared libraries: no header of llama.cpp is needed
// to build this, and no copy of its structs. Enough to load a model, generate text and measure
// perplexity. Failures throw std::runtime_error.
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace llama_cpp {

using token = std::int32_t;

/// A struct of llama.cpp's that travels by value: its parameters and batches, all far smaller. A struct
/// of more than 16 bytes comes back through a pointer and goes into memory behind all other arguments
/// (System V ABI), or goes by a pointer (AArch64), so a function that has it as its last parameter finds
/// its own smaller struct at this one's beginning.
struct alignas(8) by_value {
    std::byte bytes[1024];
};

/// The shared library in `folder` whose name begins with `stem` and a dot: builds
/// differ in what follows (".so", ".v0.5.0.so").
inline std::optional<std::filesystem::path> find_library(const std::filesystem::path& folder, std::string_view stem) {
    std::error_code unreadable;
    for (const auto& entry : std::filesystem::directory_iterator(folder, unreadable))
        if (entry.path().filename().string().starts_with(std::string(stem) + ".")) return entry.path();
    return std::nullopt;
}

/// The functions of llama.cpp that are used here. One per program; never unloaded,
/// as its threads may outlive any owner.
struct library {
    explicit library(const std::filesystem::path& folder) {
        const auto path = find_library(folder, "libllama");
        if (!path) throw std::runtime_error("no libllama in " + folder.string());
        handle = dlopen(path->c_str(), RTLD_NOW | RTLD_GLOBAL);
        if (handle == nullptr) throw std::runtime_error(dlerror());
        bind_all();
        log_set([](int, const char*, void*) {}, nullptr);
        backend_load_all_from_path(folder.c_str());  // the kernels for this machine, in libraries of their own
        backend_init();
    }

    void* handle = nullptr;
    void (*log_set)(void (*)(int level, const char* text, void* user), void* user) = nullptr;
    void (*backend_load_all_from_path)(const char* folder) = nullptr;
    void (*backend_init)() = nullptr;
    by_value (*model_default_params)() = nullptr;
    void* (*model_load_from_file)(const char* path, by_value params) = nullptr;
    void (*model_free)(void* model) = nullptr;
    const void* (*model_get_vocab)(const void* model) = nullptr;
    std::int32_t (*vocab_n_tokens)(const void* vocab) = nullptr;
    token (*vocab_bos)(const void* vocab) = nullptr;
    bool (*vocab_is_eog)(const void* vocab, token) = nullptr;
    std::int32_t (*tokenize)(const void* vocab, const char* text, std::int32_t bytes, token* out, std::int32_t room,
                             bool add_special, bool parse_special) = nullptr;
    std::int32_t (*token_to_piece)(const void* vocab, token, char* out, std::int32_t room, std::int32_t left_strip,
                                   bool special) = nullptr;
    by_value (*context_default_params)() = nullptr;
    void* (*init_from_model)(void* model, by_value params) = nullptr;
    void (*free)(void* context) = nullptr;
    void (*set_n_threads)(void* context, std::int32_t threads, std::int32_t threads_of_batches) = nullptr;
    void* (*get_memory)(const void* context) = nullptr;
    void (*memory_clear)(void* memory, bool data) = nullptr;
    by_value (*batch_get_one)(token* tokens, std::int32_t count) = nullptr;
    std::int32_t (*decode)(void* context, by_value batch) = nullptr;
    float* (*get_logits_ith)(void* context, std::int32_t i) = nullptr;

private:
    template <class Function> void bind(Function& function, const char* name) const {
        function = reinterpret_cast<Function>(dlsym(handle, name));
        if (function == nullptr) throw std::runtime_error(std::string("this llama.cpp has no ") + name);
    }
    void bind_all() {
        bind(log_set, "llama_log_set");
        bind(backend_load_all_from_path, "ggml_backend_load_all_from_path");
        bind(backend_init, "llama_backend_init");
        bind(model_default_params, "llama_model_default_params");
        bind(model_load_from_file, "llama_model_load_from_file");
        bind(model_free, "llama_model_free");
        bind(model_get_vocab, "llama_model_get_vocab");
        bind(vocab_n_tokens, "llama_vocab_n_tokens");
        bind(vocab_bos, "llama_vocab_bos");
        bind(vocab_is_eog, "llama_vocab_is_eog");
        bind(tokenize, "llama_tokenize");
        bind(token_to_piece, "llama_token_to_piece");
        bind(context_default_params, "llama_context_default_params");
        bind(init_from_model, "llama_init_from_model");
        bind(free, "llama_free");
        bind(set_n_threads, "llama_set_n_threads");
        bind(get_memory, "llama_get_memory");
        bind(memory_clear, "llama_memory_clear");
        bind(batch_get_one, "llama_batch_get_one");
        bind(decode, "llama_decode");
        bind(get_logits_ith, "llama_get_logits_ith");
    }
};

/// A model with a context of llama.cpp's default length, 512 tokens.
class model {
public:
    model(const library& llama, const std::string& path, std::int32_t threads)
        : llama_(llama),
          model_(llama.model_load_from_file(path.c_str(), llama.model_default_params()), llama.model_free),
          context_(nullptr, llama.free) {
        if (!model_) throw std::runtime_error(path + ": llama.cpp does not load it");
        context_.reset(llama.init_from_model(model_.get(), llama.context_default_params()));
        if (!context_) throw std::runtime_error(path + ": llama.cpp makes no context for it");
        llama.set_n_threads(context_.get(), threads, threads);
        vocab_ = llama.model_get_vocab(model_.get());
    }

    /// The tokens of a text, with those that the model wants in front of it (BOS).
    [[nodiscard]] std::vector<token> tokenize(std::string_view text) const {
        std::vector<token> tokens(text.size() + 8);
        const auto count = llama_.tokenize(vocab_, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
                                           static_cast<std::int32_t>(tokens.size()), true, false);
        if (count < 0) throw std::runtime_error("llama.cpp does not tokenize the text");
        tokens.resize(static_cast<std::size_t>(count));
        return tokens;
    }

    /// Forgets all tokens.
    void restart() { llama_.memory_clear(llama_.get_memory(context_.get()), true); }

    /// Appends tokens to the context and gives the logits of what follows; valid until the next call.
    [[nodiscard]] std::span<const float> logits_after(std::span<token> tokens) {
        if (llama_.decode(context_.get(),
                          llama_.batch_get_one(tokens.data(), static_cast<std::int32_t>(tokens.size()))) != 0)
            throw std::runtime_error("llama.cpp does not decode");
        const float* logits = llama_.get_logits_ith(context_.get(), -1);
        if (logits == nullptr) throw std::runtime_error("llama.cpp gives no logits");
        const std::span<const float> all(logits, static_cast<std::size_t>(llama_.vocab_n_tokens(vocab_)));
        if (!std::all_of(all.begin(), all.end(), [](float x) { return std::isfinite(x); }))
            throw std::runtime_error("a logit is not finite");
        return all;
    }

    /// What the model thinks most likely, token by token, behind a prompt; shorter when it ends its text.
    [[nodiscard]] std::string generate(std::string_view prompt, int count) {
        restart();
        std::vector<token> tokens = tokenize(prompt);
        std::string text;
        for (std::span<token> next(tokens); count-- > 0; next = std::span(tokens).last(1)) {
            const auto logits = logits_after(next);
            const auto best = static_cast<token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
            if (llama_.vocab_is_eog(vocab_, best)) break;
            text += piece(best);
            tokens.push_back(best);
        }
        return text;
    }

    /// exp of the mean negative log-likelihood, as llama-perplexity has it: chunks of `context` tokens, the first of
    /// each replaced by BOS, the second half scored. The text must have at least one chunk; 0 chunks: all that it has.
    [[nodiscard]] double perplexity(std::string_view text, std::size_t context, std::size_t chunks) {
        std::vector<token> tokens = tokenize(text);
        const std::size_t there = tokens.size() / context;
        if (there == 0 || there < chunks)
            throw std::runtime_error("the text has only " + std::to_string(there) + " chunks");
        if (chunks == 0) chunks = there;
        double sum = 0;
        for (std::size_t c = 0; c < chunks; ++c) {
            const std::span<token> chunk(tokens.data() + c * context, context);
            chunk[0] = llama_.vocab_bos(vocab_);
            restart();
            // The first half at once, then one by one: a batch of
            // llama_batch_get_one's yields the logits of its last token only.
            for (std::size_t done = 0, next = context / 2 + 1; next < context; done = next++)
                sum += negative_log_likelihood(logits_after(chunk.subspan(done, next - done)), chunk[next]);
        }
        return std::exp(sum / static_cast<double>(chunks * (context - context / 2 - 1)));
    }

private:
    [[nodiscard]] std::string piece(token t) const {
        char text[256];
        const auto bytes = llama_.token_to_piece(vocab_, t, text, sizeof text, 0, false);
        if (bytes < 0) throw std::runtime_error("a token of more than 256 bytes");
        return {text, static_cast<std::size_t>(bytes)};
    }
    static double negative_log_likelihood(std::span<const float> logits, token t) {
        const double largest = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (const float x : logits) sum += std::exp(static_cast<double>(x) - largest);
        return std::log(sum) + largest - static_cast<double>(logits[static_cast<std::size_t>(t)]);
    }

    const library& llama_;
    std::unique_ptr<void, void (*)(void*)> model_, context_;  // the context goes first
    const void* vocab_ = nullptr;
};

}  // namespace llama_cpp
