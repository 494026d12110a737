#pragma once
// What JSON is: the checks of a text from strangers, and the steps over one that passed.
#include "bytes.hpp"
#include "name_index.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t json_depth_limit = 64;

[[nodiscard]] inline std::size_t skip_space(std::string_view t, std::size_t at) noexcept {
    while (at < t.size() && (t[at] == ' ' || t[at] == '\n' || t[at] == '\r' || t[at] == '\t')) ++at;
    return at;
}

/// Behind the value at `at` of a text that passed the checks; never beyond the end of any other.
[[nodiscard]] inline std::size_t skip_value(std::string_view t, std::size_t at) noexcept {
    std::size_t depth = 0;
    for (bool in_string = false; at < t.size(); ++at) {
        const char c = t[at];
        if (in_string) {
            if (c == '\\') ++at;
            if (c != '"') continue;
            in_string = false;
            if (depth == 0) return at + 1;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            ++depth;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return at;
            if (--depth == 0) return at + 1;
        } else if (depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t')) {
            return at;
        }
    }
    return t.size();
}

[[nodiscard]] inline bool is_digit(std::string_view t, std::size_t at) noexcept {
    return at < t.size() && t[at] >= '0' && t[at] <= '9';
}

/// Moves behind a number. False when there is none.
[[nodiscard]] inline bool skip_number(std::string_view t, std::size_t& at) noexcept {
    if (at < t.size() && t[at] == '-') ++at;
    if (!is_digit(t, at)) return false;
    if (t[at] == '0') ++at;
    else
        while (is_digit(t, at)) ++at;
    if (at < t.size() && t[at] == '.') {
        if (!is_digit(t, ++at)) return false;
        while (is_digit(t, at)) ++at;
    }
    if (at < t.size() && (t[at] == 'e' || t[at] == 'E')) {
        ++at;
        if (at < t.size() && (t[at] == '-' || t[at] == '+')) ++at;
        if (!is_digit(t, at)) return false;
        while (is_digit(t, at)) ++at;
    }
    return true;
}

/// Bytes of the UTF-8 character at `at`; 0 when it is none: overlong, cut, a surrogate, beyond U+10FFFF.
[[nodiscard]] inline std::size_t utf8_length(std::string_view t, std::size_t at) noexcept {
    const auto byte = [&](std::size_t i) { return at + i < t.size() ? static_cast<unsigned char>(t[at + i]) : 0u; };
    const unsigned first = byte(0), second = byte(1);
    if (first < 0x80) return 1;
    const std::size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
    return length;
}
[[nodiscard]] inline bool is_utf8(std::string_view t) noexcept {
    for (std::size_t at = 0; at < t.size();) {
        const std::size_t n = utf8_length(t, at);
        if (n == 0) return false;
        at += n;
    }
    return true;
}

/// The four hexadecimal digits of \uXXXX at `at`, or a number beyond 16 bits.
[[nodiscard]] inline std::uint32_t hex_unit(std::string_view t, std::size_t at) noexcept {
    std::uint32_t unit = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
        const char c = i < t.size() ? t[i] : ' ';
        const std::uint32_t lower = static_cast<unsigned char>(c) | 0x20u;
        if (c >= '0' && c <= '9') unit = unit << 4 | static_cast<std::uint32_t>(c - '0');
        else if (lower >= 'a' && lower <= 'f') unit = unit << 4 | (lower - 'a' + 10);
        else return ~0u;
    }
    return unit;
}

/// The character behind a backslash at `at`, which moves behind it. False when there is no such escape.
[[nodiscard]] inline bool read_escape(std::string_view t, std::size_t& at, std::uint32_t& character) noexcept {
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (++at >= t.size()) return false;
    if (t[at] != 'u') {
        const std::size_t i = letters.find(t[at++]);
        if (i == std::string_view::npos) return false;
        character = static_cast<unsigned char>(meanings[i]);
        return true;
    }
    character = hex_unit(t, at + 1);
    at += 5;
    if (character < 0xD800 || (character >= 0xE000 && character < 0x10000)) return true;
    if (character >= 0xDC00 || at + 1 >= t.size() || t[at] != '\\' || t[at + 1] != 'u') return false;
    const std::uint32_t low = hex_unit(t, at + 2);
    at += 6;
    if (low < 0xDC00 || low > 0xDFFF) return false;
    character = 0x10000 + ((character - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

/// put(char) -> bool for each byte of the text that a string, in its quotes, means.
/// False when put says so, or the string is cut.
template <class Put> [[nodiscard]] bool decode_string(std::string_view quoted, const Put& put) noexcept {
    const auto byte = [&](std::uint32_t b) { return put(static_cast<char>(static_cast<unsigned char>(b))); };
    for (std::size_t at = 1; at < quoted.size();) {
        if (quoted[at] == '"') return true;
        if (quoted[at] != '\\') {
            if (!put(quoted[at++])) return false;
            continue;
        }
        std::uint32_t c = 0;
        if (!read_escape(quoted, at, c)) return false;
        bool ok = true;
        if (c < 0x80) ok = byte(c);
        else if (c < 0x800) ok = byte(0xC0 | c >> 6) && byte(0x80 | (c & 0x3F));
        else if (c < 0x10000) ok = byte(0xE0 | c >> 12) && byte(0x80 | (c >> 6 & 0x3F)) && byte(0x80 | (c & 0x3F));
        else
            ok = byte(0xF0 | c >> 18) && byte(0x80 | (c >> 12 & 0x3F)) && byte(0x80 | (c >> 6 & 0x3F)) &&
                 byte(0x80 | (c & 0x3F));
        if (!ok) return false;
    }
    return false;
}
[[nodiscard]] inline bool has_escapes(std::string_view quoted) noexcept {
    return quoted.find('\\') != std::string_view::npos;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail {

/// Decoded strings of one document. They need no more bytes than their document has, which are allocated when the
/// first one with escapes comes; so they never move.
struct string_room {
    buffer<char> chars;
    std::size_t used = 0;

    /// The text of a string: in the document where it has no escapes, else here. False without memory.
    [[nodiscard]] QLIB_INLINE bool decode(std::string_view quoted, std::size_t document_bytes,
                                          std::string_view& out) noexcept {
        if (!has_escapes(quoted)) return out = quoted.substr(1, quoted.size() - 2), true;
        if (chars.size() == 0 && !chars.allocate(document_bytes)) return false;
        const std::size_t first = used;
        const auto put = [this](char c) QLIB_INLINE_LAMBDA { return used < chars.size() && (chars[used++] = c, true); };
        if (!decode_string(quoted, put)) return false;
        out = {chars.data() + first, used - first};
        return true;
    }
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// One pass over a text. No recursion: the open arrays and objects are a list of bounded length.
struct json_checker {
    std::string_view text;
    std::string_view value = {}, culprit = {};
    std::size_t at = 0;

    struct level {
        bool object = false;
        std::size_t first_key = 0;
    };
    std::array<level, json_depth_limit> open = {};
    std::size_t depth = 0;
    growing<std::string_view> keys = {};  // of all open objects; `quoted` holds the same as they are written
    growing<std::string_view> quoted = {};
    string_room decoded = {};

    [[nodiscard]] error broken(const char* rule) const noexcept {
        return {errc::malformed, rule, "JSON", {at, json_depth_limit}};
    }
    [[nodiscard]] error ends_early() const noexcept {
        return {errc::truncated, "the text ends inside a value, at byte {0}", "JSON", {text.size()}};
    }
    [[nodiscard]] error unexpected(const char* rule) const noexcept {
        return at < text.size() ? broken(rule) : ends_early();
    }

    status run() noexcept {
        at = skip_space(text, 0);
        const std::size_t first = at;
        bool complete = false;
        while (!complete) {
            if (status s = check_value(complete); !s) return s;
            while (complete && depth != 0)
                if (status s = check_separator(complete); !s) return s;
        }
        value = text.substr(first, at - first);
        at = skip_space(text, at);
        return at == text.size() ? status{} : status(broken("something follows the value, at byte {0}"));
    }

    /// A scalar, or the opening of an array or object: then `complete` stays false unless it is empty.
    status check_value(bool& complete) noexcept {
        at = skip_space(text, at);
        if (at == text.size()) return ends_early();
        const char c = text[at];
        complete = true;
        if (c == '"') return check_string();
        if (c == '{' || c == '[') return open_list(c == '{', complete);
        for (const std::string_view word :
             {std::string_view("true"), std::string_view("false"), std::string_view("null")})
            if (text.substr(at, word.size()) == word) return at += word.size(), status{};
        return skip_number(text, at) ? status{} : status(unexpected("no JSON value, at byte {0}"));
    }
    status open_list(bool object, bool& complete) noexcept {
        if (depth == json_depth_limit) return broken("nested deeper than {1}, at byte {0}");
        open[depth++] = {object, keys.size()};
        at = skip_space(text, at + 1);
        complete = at < text.size() && text[at] == (object ? '}' : ']');
        if (complete) return close_list();
        return object ? check_key() : status{};
    }
    /// Behind a value inside of a list: the end of the list, or what leads to the next value.
    status check_separator(bool& complete) noexcept {
        const bool object = open[depth - 1].object;
        at = skip_space(text, at);
        if (at < text.size() && text[at] == (object ? '}' : ']')) return close_list();
        if (at == text.size() || text[at] != ',')
            return unexpected("neither a comma nor the end of the list, at byte {0}");
        ++at;
        complete = false;
        return object ? check_key() : status{};
    }
    status close_list() noexcept {
        ++at;
        const level l = open[--depth];
        return l.object ? check_unique(l.first_key) : status{};
    }

    status check_key() noexcept {
        at = skip_space(text, at);
        const std::size_t first = at;
        if (at == text.size() || text[at] != '"') return unexpected("no key, at byte {0}");
        if (status s = check_string(); !s) return s;
        const std::string_view raw = text.substr(first, at - first);
        std::string_view key;
        if (!decoded.decode(raw, text.size(), key) || !keys.append(key) || !quoted.append(raw))
            return out_of_memory(text.size());
        at = skip_space(text, at);
        if (at == text.size() || text[at] != ':') return unexpected("no colon behind a key, at byte {0}");
        ++at;
        return {};
    }
    status check_string() noexcept {
        for (++at; at < text.size() && text[at] != '"';) {
            if (static_cast<unsigned char>(text[at]) < 0x20)
                return broken("a control character in a string, at byte {0}");
            if (text[at] == '\\') {
                const std::size_t first = at;
                std::uint32_t c = 0;
                if (read_escape(text, at, c)) continue;
                if (at >= text.size()) return ends_early();
                at = first;
                return broken("no such escape, or half of a surrogate pair, at byte {0}");
            }
            const std::size_t n = utf8_length(text, at);
            if (n == 0) return broken("not UTF-8, at byte {0}");
            at += n;
        }
        if (at >= text.size()) return ends_early();
        ++at;
        return {};
    }

    /// Two programs may read an object with equal keys differently. Forgets the keys of the object.
    status check_unique(std::size_t first) noexcept {
        const std::size_t count = keys.size() - first, none = ~std::size_t{0};
        std::size_t twice = none;
        const auto key_of = [&](std::size_t i) { return keys[first + i]; };
        if (count <= 8) {  // most objects, without a sort
            for (std::size_t i = 1; i < count; ++i)
                for (std::size_t j = 0; j < i; ++j)
                    if (key_of(i) == key_of(j)) twice = i;
        } else {
            buffer<std::size_t> order;
            if (!sort_names(order, count, key_of)) return out_of_memory(count * sizeof(std::size_t));
            if (const std::size_t p = find_duplicate(order, key_of); p != count) twice = order[p + 1];
        }
        if (twice != none) {
            culprit = quoted[first + twice];
            at = static_cast<std::size_t>(culprit.data() - text.data());
            culprit = culprit.substr(1, culprit.size() - 2);
            return broken("a key that was there before, at byte {0}");
        }
        keys.cut(first);
        quoted.cut(first);
        return {};
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
