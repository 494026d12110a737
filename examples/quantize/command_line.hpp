#pragma once
// The small languages of the command line's arguments.
#include "presets_by_name.hpp"

#include <CLI/CLI.hpp>
#include <qlib/any.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <variant>

/// "regex=format" in its two parts.
inline std::pair<std::string, std::string> split_override(const std::string& text) {
    const std::size_t at = text.rfind('=');
    if (at == std::string::npos || at == 0 || at + 1 == text.size())
        throw CLI::ValidationError("--tensor-type " + text, "is not of the form REGEX=FORMAT");
    return {text.substr(0, at), text.substr(at + 1)};
}

/// Adds the words of a file, those between white space.
inline void add_words_of(const std::string& path, std::vector<std::string>& words) {
    std::ifstream in(path);
    for (std::string word; in >> word;) words.push_back(word);
    if (in.bad() || !in.eof()) throw std::runtime_error(path + ": it cannot be read");
}

inline bool is_number(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

inline std::size_t parse_threads(const std::string& text) {
    std::size_t n = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), end, n).ptr != end || n < 1 || n > 4096)
        throw CLI::ValidationError(text, "is no number of threads from 1 to 4096");
    return n;
}

/// "300M", "2G", as llama-gguf-split has them: 10^6 and 10^9 bytes.
inline std::uint64_t parse_size(const std::string& text) {
    std::uint64_t n = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, n);
    const std::string unit = upper_case({read.ptr, end});
    if (read.ec != std::errc() || n == 0 || n > 1'000'000'000 || (unit != "M" && unit != "G"))
        throw CLI::ValidationError("--split-max-size " + text, "is not of the form 300M or 2G");
    return n * (unit == "M" ? 1'000'000 : 1'000'000'000);
}

/// A preset, or any format that some model can be written in.
inline std::optional<recipe> find_type(const std::string& word) {
    if (auto known = find_recipe(word)) return known;
    if (find_ggml_type(word) || qlib::format_named(word)) return recipe{"", word};
    return std::nullopt;
}

inline std::string preset_names() {
    std::string names;
    for (const preset_info& p : presets) names += (names.empty() ? "" : ", ") + std::string(p.name);
    return names;
}

/// The output of a command that names none, as llama-quantize has it: beside the input.
inline std::string default_output_of(const std::string& input, const std::string& type) {
    return (std::filesystem::path(input).parent_path() / ("ggml-model-" + type + ".gguf")).string();
}

/// One pair of metadata to be changed.
struct kv_override {
    std::string key;
    std::variant<std::int64_t, double, bool, std::string> value;
};

/// "llama.block_count=int:12", as llama.cpp's programs take it.
inline kv_override parse_override(const std::string& text) {
    const auto bad = [&](const char* rule) { return CLI::ValidationError("--override-kv " + text, rule); };
    const std::size_t at = text.find('='), colon = text.find(':', at == std::string::npos ? 0 : at);
    if (at == 0 || at == std::string::npos || colon == std::string::npos)
        throw bad("is not of the form KEY=TYPE:VALUE");
    const std::string key = text.substr(0, at), type = text.substr(at + 1, colon - at - 1),
                      value = text.substr(colon + 1);
    const char* const end = value.data() + value.size();
    if (type == "str") return {key, value};
    if (type == "bool" && (value == "true" || value == "false")) return {key, value == "true"};
    if (type == "int") {
        std::int64_t n = 0;
        if (const auto read = std::from_chars(value.data(), end, n); read.ec == std::errc() && read.ptr == end)
            return {key, n};
    }
    if (type == "float") {
        double x = 0;
        if (const auto read = std::from_chars(value.data(), end, x);
            read.ec == std::errc() && read.ptr == end && std::isfinite(x))
            return {key, x};
    }
    throw bad("needs TYPE int, float, bool or str, and a VALUE of it");
}
