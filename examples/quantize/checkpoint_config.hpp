#pragma once
// A checkpoint's config.json, as it came.
#include "../common/foreign_file.hpp"
#include "../common/files.hpp"
#include "json_text.hpp"

#include <initializer_list>

/// A JSON file's object; an empty one where there is no such file.
inline json read_json_object(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path)) return json::object();
    const qlib::mapped_file file = map_file(path);
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    json value = parse_json(text);
    if (value.is_object()) return value;
    const std::string_view what = foreign::what_it_is(file.bytes());
    throw std::runtime_error(path.string() + ": " + (what.empty() ? "it is no JSON object" : std::string(what)));
}

class checkpoint_config {
public:
    explicit checkpoint_config(const std::filesystem::path& folder)
        : path_(folder / "config.json"),
          root_(read_json_object(path_)) {}

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] const json& root() const { return root_; }

    /// The texts of a key. In a model of several parts its language model's counts first.
    [[nodiscard]] std::vector<std::string> texts(const char* key) const {
        std::vector<std::string> all;
        for (const json* part : parts())
            if (const auto found = part->find(key); found != part->end() && found->is_string())
                all.push_back(found->get<std::string>());
        return all;
    }
    [[nodiscard]] std::string text(const char* key) const {
        const auto all = texts(key);
        return all.empty() ? "" : all[0];
    }
    /// An object under one of several names. Null: there is none.
    [[nodiscard]] const json* object(std::initializer_list<const char*> keys) const {
        for (const json* part : parts())
            for (const char* key : keys)
                if (const auto found = part->find(key); found != part->end() && found->is_object()) return &*found;
        return nullptr;
    }
    /// As transformers counts: "LlamaForCausalLM".
    [[nodiscard]] std::string architecture() const {
        const auto list = root_.find("architectures");
        return list != root_.end() && list->is_array() && !list->empty() && list->front().is_string()
                   ? list->front().get<std::string>()
                   : "";
    }

private:
    [[nodiscard]] std::vector<const json*> parts() const {
        std::vector<const json*> all;
        for (const char* key : {"text_config", "llm_config", "language_config", "thinker_config"})
            if (const auto part = root_.find(key); part != root_.end() && part->is_object()) all.push_back(&*part);
        all.push_back(&root_);
        return all;
    }

    std::filesystem::path path_;
    json root_;
};
