#pragma once
// JSON and the texts of strangers: names that are no UTF-8, files of any content, and errors that name both.
#include "../common/printable.hpp"

#include <nlohmann/json.hpp>

#include <stdexcept>
#include <string>
#include <vector>

using json = nlohmann::ordered_json;

/// The same with all texts in UTF-8, which JSON needs.
inline json with_utf8(const json& j) {
    if (j.is_string()) return utf8_text(j.get_ref<const std::string&>());
    if (!j.is_structured()) return j;
    json out = j.is_array() ? json::array() : json::object();
    for (const auto& [key, value] : j.items()) {
        if (j.is_array()) out.push_back(with_utf8(value));
        else out[utf8_text(key)] = with_utf8(value);
    }
    return out;
}

/// A text of JSON; discarded where it is none, or deeper than what this program writes: comparing deep values recurses.
inline json parse_json(std::string_view text) {
    constexpr int deepest = 16;
    bool too_deep = false;
    json j = json::parse(
        text, [&](int depth, json::parse_event_t, json&) { return !(too_deep |= depth > deepest); }, false);
    return too_deep ? json(json::value_t::discarded) : j;
}

/// Members of JSON from a file, with errors that name the file and the member.
class json_reader {
public:
    explicit json_reader(std::string file) : file_(std::move(file)) {}

    [[nodiscard]] const json& member(const json& j, const char* key) const {
        if (!j.is_object() || !j.contains(key)) bad(key, "is missing");
        return j[key];
    }
    [[nodiscard]] std::string text(const json& j, const char* key) const {
        const json& value = member(j, key);
        if (!value.is_string()) bad(key, "is no text");
        return value.get<std::string>();
    }
    [[nodiscard]] const json& list(const json& j, const char* key) const {
        const json& value = member(j, key);
        if (!value.is_array()) bad(key, "is no list");
        return value;
    }
    [[nodiscard]] std::vector<std::string> texts(const json& j, const char* key) const {
        std::vector<std::string> all;
        for (const json& value : list(j, key)) {
            if (!value.is_string()) bad(key, "is no list of texts");
            all.push_back(value.get<std::string>());
        }
        return all;
    }

private:
    [[noreturn]] void bad(const char* key, const char* rule) const {
        throw std::runtime_error(file_ + ": \"" + key + "\" " + rule + " in its manifest");
    }
    std::string file_;
};
