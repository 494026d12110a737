#pragma once
// How BPE vocabularies cut a text into words before they look for merges, by the name in tokenizer.ggml.pre. These are
// the regular expressions of the models' own tokenizers, written out as code: std::regex knows no Unicode.
#include "unicode.hpp"

#include <optional>
#include <string_view>
#include <vector>

/// Bytes of the UTF-8 character that begins with `first`, by its leading bits; 1 for a byte that begins none.
constexpr std::size_t utf8_bytes(char first) {
    const auto c = static_cast<unsigned char>(first);
    return c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/// The text's character at `at`, and how many bytes it has. A broken one counts as one byte that is no letter.
struct character {
    std::uint32_t code = 0;
    std::size_t bytes = 0;
};
inline character character_at(std::string_view text, std::size_t at) {
    const std::size_t bytes = utf8_bytes(text[at]);
    const auto first = static_cast<unsigned char>(text[at]);
    constexpr character broken{0xFFFD, 1};
    if (bytes == 1) return first < 0x80 ? character{first, 1} : broken;
    if (bytes > text.size() - at) return broken;
    std::uint32_t code = first & (0x7Fu >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        const auto next = static_cast<unsigned char>(text[at + i]);
        if ((next & 0xC0) != 0x80) return broken;
        code = code << 6 | (next & 0x3Fu);
    }
    return {code, bytes};
}

class word_cutter {
public:
    /// The cutter of a tokenizer.ggml.pre, or nothing for one that is not known here.
    static std::optional<word_cutter> named(std::string_view pre) {
        if (pre == "gpt-2") return word_cutter{false, 0};
        if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") return word_cutter{true, 3};
        if (pre == "qwen2") return word_cutter{true, 1};
        return std::nullopt;
    }

    /// All words of a text, in order and without gaps.
    [[nodiscard]] std::vector<std::string_view> cut(std::string_view text) const {
        std::vector<character> all;
        for (std::size_t at = 0; at < text.size(); at += all.back().bytes) all.push_back(character_at(text, at));
        std::vector<std::string_view> words;
        std::size_t bytes = 0;
        for (std::size_t at = 0; at < all.size();) {
            const std::size_t end = late_ ? end_of_late_word(all, at) : end_of_early_word(all, at), from = bytes;
            for (; at < end; ++at) bytes += all[at].bytes;
            words.push_back(text.substr(from, bytes - from));
        }
        return words;
    }

private:
    using text_view = const std::vector<character>&;

    word_cutter(bool late, std::size_t digits) : late_(late), digits_(digits) {}

    static bool is_other(std::uint32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); }
    static bool is_newline(std::uint32_t c) { return c == '\r' || c == '\n'; }
    /// The first place from `at` on whose character is not of a kind.
    template <class Kind> static std::size_t run(text_view t, std::size_t at, const Kind& kind) {
        while (at < t.size() && kind(t[at].code)) ++at;
        return at;
    }

    /// 's|'t|'re|'ve|'m|'ll|'d: the end, or `at` when there is none.
    [[nodiscard]] std::size_t end_of_contraction(text_view t, std::size_t at) const {
        const auto letter = [&](std::size_t i) -> std::uint32_t {
            if (i >= t.size()) return 0;
            const std::uint32_t c = t[i].code;
            return late_ && c >= 'A' && c <= 'Z' ? c + 32 : c;
        };
        if (t[at].code != '\'') return at;
        const std::uint32_t a = letter(at + 1), b = letter(at + 2);
        if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
        return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : at;
    }
    /// \s+(?!\S)|\s+: spaces, less the last one before a word.
    static std::size_t end_of_spaces(text_view t, std::size_t at) {
        const std::size_t end = run(t, at, is_space);
        return end == t.size() || end - at == 1 ? end : end - 1;
    }

    /// GPT-2: contraction | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+| spaces
    [[nodiscard]] std::size_t end_of_early_word(text_view t, std::size_t at) const {
        if (const std::size_t end = end_of_contraction(t, at); end != at) return end;
        const std::size_t first = at + (t[at].code == ' ' && at + 1 < t.size() ? 1 : 0);
        if (is_letter(t[first].code)) return run(t, first, is_letter);
        if (is_number(t[first].code)) return run(t, first, is_number);
        if (is_other(t[first].code)) return run(t, first, is_other);
        return end_of_spaces(t, at);
    }
    /// Llama 3: contraction |[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+| spaces
    [[nodiscard]] std::size_t end_of_late_word(text_view t, std::size_t at) const {
        if (const std::size_t end = end_of_contraction(t, at); end != at) return end;
        const std::uint32_t c = t[at].code;
        if (is_letter(c)) return run(t, at, is_letter);
        if (is_number(c)) return std::min(run(t, at, is_number), at + digits_);
        const bool more = at + 1 < t.size();
        if (!is_newline(c) && more && is_letter(t[at + 1].code)) return run(t, at + 1, is_letter);
        const std::size_t first = at + (c == ' ' && more ? 1 : 0);
        if (is_other(t[first].code)) return run(t, run(t, first, is_other), is_newline);
        for (std::size_t last = run(t, at, is_space); last > at; --last)
            if (is_newline(t[last - 1].code)) return last;
        return end_of_spaces(t, at);
    }

    bool late_;           // the pattern of Llama 3 and Qwen 2 in place of GPT-2's
    std::size_t digits_;  // of a number at a time
};
