#pragma once
// A config.json of Hugging Face's, parsed.
#include "../common/failure.hpp"

#include <qlib/file/json.hpp>
#include <qlib/file/mapped_file.hpp>

#include <optional>

inline std::string text_of_file(const std::string& path) {
    const auto file = qlib::mapped_file::open(path.c_str());
    if (!file) fail(file.error(), path);
    return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

/// The text of a JSON string, empty for any other value.
inline std::string string_of(qlib::json_value v) {
    std::string room(v.text.size(), '\0');
    const auto text = v.as_string(room);
    return text ? std::string(*text) : "";
}

struct model_config {
    std::string path, text;
    qlib::json_value root;

    explicit model_config(const std::string& file) : path(file), text(text_of_file(file)) {
        const auto parsed = qlib::json_value::parse(text);
        if (!parsed) fail(parsed.error(), path);
        root = *parsed;
    }
    model_config(const model_config&) = delete;
    model_config& operator=(const model_config&) = delete;

    [[nodiscard]] static bool is_there(qlib::json_value v) { return v && v.type() != qlib::json_type::null; }
    [[nodiscard]] bool has(std::string_view key) const { return is_there(root[key]); }
    [[nodiscard]] std::size_t count(std::string_view key, std::optional<std::size_t> otherwise = {}) const {
        if (!has(key) && otherwise) return *otherwise;
        const auto n = root[key].as_uint();
        if (!n) fail(n.error(), path + ": " + std::string(key));
        return static_cast<std::size_t>(*n);
    }
    [[nodiscard]] float number(std::string_view key, float otherwise) const {
        return has(key) ? static_cast<float>(number_of(root[key], key)) : otherwise;
    }
    /// The number that a value must be; `key` names it.
    [[nodiscard]] double number_of(qlib::json_value v, std::string_view key) const {
        const auto x = v.as_float();
        if (!x) fail(x.error(), path + ": " + std::string(key));
        return *x;
    }
    [[nodiscard]] bool flag(std::string_view key) const {
        const auto b = root[key].as_bool();
        return b && *b;
    }
    [[noreturn]] void refuse(std::string_view key, std::string_view why) const {
        throw std::runtime_error(path + ": " + std::string(key) + ": " + std::string(why));
    }
};
