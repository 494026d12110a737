#pragma once
// What a user writes for a preset: its name in either case, or, as llama-quantize takes them, its number and the names
// that stand for one format or for another preset.
#include "presets.hpp"

/// A preset, or one format for all matrices.
struct recipe {
    std::string preset, format;  ///< one of them is empty
};

inline std::string upper_case(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return out;
}

/// "Q4_K_M", "q4_k_m", "Q4_K", "15"; "F16", "1"; "COPY". None: nothing of the kind.
inline std::optional<recipe> find_recipe(std::string_view text) {
    struct alias { std::string_view name; std::uint32_t number; recipe means; };
    static const alias aliases[] = {{"F32", 0, {"", "f32"}},       {"F16", 1, {"", "f16"}},
                                    {"BF16", 32, {"", "bf16"}},    {"COPY", ~0u, {"", "copy"}},
                                    {"Q3_K", ~0u, {"Q3_K_M", ""}}, {"Q4_K", ~0u, {"Q4_K_M", ""}},
                                    {"Q5_K", ~0u, {"Q5_K_M", ""}}};
    std::uint32_t number = ~0u;
    const char* const end = text.data() + text.size();
    const bool is_number = std::from_chars(text.data(), end, number).ptr == end && !text.empty();
    const std::string name = upper_case(text);
    for (const preset_info& p : presets)
        if (is_number ? static_cast<std::uint32_t>(p.id) == number : p.name == name)
            return recipe{std::string(p.name), ""};
    for (const alias& a : aliases)
        if (is_number ? a.number == number && number != ~0u : a.name == name) return a.means;
    return std::nullopt;
}
