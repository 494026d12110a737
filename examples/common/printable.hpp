#pragma once
// Texts of strangers: names in files may hold any bytes, also some that a terminal obeys, or that JSON cannot hold.
#include <cstddef>
#include <string>
#include <string_view>

/// The bytes of the UTF-8 character that a text begins with; 0 where there is none.
[[nodiscard]] inline std::size_t utf8_length(std::string_view text) {
    const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned first = at(0);
    if (text.empty() || (first >= 0x80 && first < 0xC2) || first > 0xF4) return 0;
    const std::size_t bytes = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    for (std::size_t i = 1; i < bytes; ++i)
        if ((at(i) & 0xC0) != 0x80) return 0;
    const bool too_long = (first == 0xE0 && at(1) < 0xA0) || (first == 0xF0 && at(1) < 0x90);
    // Surrogates; beyond U+10FFFF.
    const bool no_character = (first == 0xED && at(1) >= 0xA0) || (first == 0xF4 && at(1) >= 0x90);
    return too_long || no_character ? 0 : bytes;
}

/// Whether the character is one of those that control a terminal: U+0000 to U+001F, U+007F to U+009F.
[[nodiscard]] inline bool is_control(std::string_view character) {
    const auto first = static_cast<unsigned char>(character[0]);
    return first < 0x20 || first == 0x7F || (first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0);
}

namespace detail {

/// The text with "\x1B" in place of each byte that is not part of a good character.
template <class Good> std::string with_escapes(std::string_view text, const Good& good) {
    std::string out;
    while (!text.empty()) {
        const std::size_t bytes = utf8_length(text), taken = bytes != 0 ? bytes : 1;
        const std::string_view character = text.substr(0, taken);
        if (bytes != 0 && good(character)) {
            out += character;
        } else {
            for (const char c : character) {
                const auto byte = static_cast<unsigned char>(c);
                out += {'\\', 'x', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
            }
        }
        text.remove_prefix(taken);
    }
    return out;
}

}  // namespace detail

/// A text for the terminal. Text that is no UTF-8 and control characters become "\x1B".
[[nodiscard]] inline std::string printable(std::string_view text) {
    return detail::with_escapes(text, [](std::string_view character) { return !is_control(character); });
}

/// A text for JSON and for GGUF's metadata, which are UTF-8. Bytes that are none become "\xE9"; all else stays.
[[nodiscard]] inline std::string utf8_text(std::string_view text) {
    return detail::with_escapes(text, [](std::string_view) { return true; });
}
