// Tokens against known answers: of small vocabularies worked out by hand, and of a real one as llama.cpp has them.
#include "../gguf_model.hpp"
#include "../tokenizer.hpp"
#include "synthetic.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

namespace {

using tokens = std::vector<std::uint32_t>;

struct vocabulary_file {
    std::vector<std::byte> bytes;
    qlib::gguf_file header;
    tokenizer t;
    explicit vocabulary_file(qlib::gguf_writer& out)
        : bytes((check(out.set("general.architecture", "llama"), ""), bytes_of(out))),
          header(qlib::gguf_file::parse(bytes).value()),
          t(header) {}
    [[nodiscard]] std::string round_trip(std::string_view text) const {
        std::string back;
        for (const auto token : t.encode(text)) back += t.decode(token);
        return back;
    }
};

/// Bytes as GPT-2 spells them, in order, then what merges make.
std::vector<std::string> byte_vocabulary(const std::vector<std::string>& merged) {
    std::vector<std::string> all;
    std::uint32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        const std::uint32_t c = printable ? b : next++;
        all.push_back(c < 128 ? std::string(1, static_cast<char>(c))
                              : std::string{static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))});
    }
    all.insert(all.end(), merged.begin(), merged.end());
    return all;
}
vocabulary_file byte_pairs(const char* pre) {
    const std::string space = "\xC4\xA0";  // a space as GPT-2 spells it
    qlib::gguf_writer out;
    check(out.set("tokenizer.ggml.model", "gpt2"), "");
    check(out.set("tokenizer.ggml.pre", pre), "");
    check(out.set_array("tokenizer.ggml.tokens",
                        byte_vocabulary({"he", "ll", "hell", "hello", space + "w", "12", "<|begin|>", "wxyz"})),
          "");
    check(out.set_array("tokenizer.ggml.merges",
                        std::vector<std::string>{"h e", "l l", "he ll", "hell o", space + " w", "1 2"}),
          "");
    check(out.set("tokenizer.ggml.bos_token_id", std::uint32_t{262}), "");
    return vocabulary_file(out);
}
std::vector<std::string_view> cut(const char* pre, std::string_view text) { return word_cutter::named(pre)->cut(text); }
using words = std::vector<std::string_view>;

}  // namespace

TEST_CASE("SentencePiece joins by score, and spells what is unknown in bytes") {
    qlib::gguf_writer out;
    const std::string s = "\xE2\x96\x81";
    add_sentencepiece(out, {{s, -1.0f},
                            {"a", -9.0f},
                            {"b", -9.0f},
                            {"c", -9.0f},
                            {"ab", -3.0f},
                            {"bc", -2.0f},
                            {s + "a", -4.0f},
                            {"abc", -8.0f}});
    const vocabulary_file v(out);                     // 259 space, 260 a, 261 b, 262 c, 263 ab, 264 bc, 265 _a, 266 abc
    CHECK(v.t.encode("abc") == tokens{1, 265, 264});  // bc first, then _a; abc would need a on its own
    CHECK(v.t.encode("b") == tokens{1, 259, 261});
    CHECK(v.t.encode("ba bc") == tokens{1, 259, 261, 260, 259, 264});
    CHECK(v.t.encode("b\xC3\xA9\n") == tokens{1, 259, 261, 3 + 0xC3, 3 + 0xA9, 3 + 10});
    CHECK(v.t.encode("") == tokens{1});
    for (const char* text : {"abc", " b  a", "\xF0\x9F\x98\x80 \xFF\xC3", "a\tb\r\n"})
        CHECK(v.round_trip(text) == ' ' + std::string(text));
    CHECK(v.t.decode(1).empty());
    CHECK(v.t.decode(99999).empty());
}

TEST_CASE("byte pairs join by the order of merges") {
    const vocabulary_file v = byte_pairs("gpt-2");  // 256 he, 257 ll, 258 hell, 259 hello, 260 _w, 261 12
    CHECK(v.t.encode("hello") == tokens{259});
    CHECK(v.t.encode("hell world") == tokens{258, 260, 'o', 'r', 'l', 'd'});
    CHECK(v.t.encode("shell") == tokens{'s', 258});
    CHECK(v.t.encode("llll12") == tokens{257, 257, 261});
    CHECK(v.t.encode("wxyz") == tokens{'w', 'x', 'y', 'z'});  // a token that no merge makes
    for (const char* text : {"hello  world\n\n12", "\xF0\x9F\x98\x80 caf\xC3\xA9 \xFF", "it's"})
        CHECK(v.round_trip(text) == text);

    const vocabulary_file late = byte_pairs("llama-bpe");
    CHECK(late.t.encode("hello1212") == tokens{262, 259, 261, '1', '2'});  // BOS; numbers in threes: 121, 2
    CHECK(late.t.encode("wxyz") == tokens{262, 263});  // Llama 3 takes words that are tokens as they are
}

TEST_CASE("words are cut as the models' regular expressions cut them") {
    CHECK(cut("gpt-2", "I'll  go, 2024!\n\nok ") ==
          words{"I", "'ll", " ", " go", ",", " 2024", "!", "\n", "\n", "ok", " "});
    CHECK(cut("llama-bpe", "I'LL  go, 2024!\n\nok ") ==
          words{"I", "'LL", " ", " go", ",", " ", "202", "4", "!\n\n", "ok", " "});
    CHECK(cut("qwen2", " 20 x\n  \n y") == words{" ", "2", "0", " x", "\n  \n", " y"});
    CHECK(cut("gpt-2", "caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD\xC2\xA0\xC2\xBD") ==
          words{"caf\xC3\xA9", " \xE4\xBD\xA0\xE5\xA5\xBD", "\xC2\xA0", "\xC2\xBD"});
    CHECK(cut("llama-bpe", "\xFFhi \xC3") == words{"\xFFhi", " \xC3"});
    CHECK(cut("gpt-2", "").empty());
    CHECK_FALSE(word_cutter::named("no such"));
    CHECK((is_letter('a') && is_letter(0x4E00) && is_letter(0x2A6DF) && !is_letter('1') && !is_letter(0x1F600) &&
           !is_letter(0x10FFFF)));
    CHECK((is_number(0xBD) && is_number(0x0663) && !is_number('a')));
}

TEST_CASE("broken vocabularies are refused") {
    const auto fails = [](const char* model, const auto& change) {
        qlib::gguf_writer out;
        check(out.set("tokenizer.ggml.model", model), "");
        check(out.set_array("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"}), "");
        change(out);
        CHECK_THROWS_AS(vocabulary_file{out}, std::runtime_error);
    };
    fails("llama", [](qlib::gguf_writer&) {});  // no scores
    fails("llama", [](qlib::gguf_writer& o) {
        check(o.set_array("tokenizer.ggml.scores", std::vector<float>{1}), "");
    });                                                                                            // too few
    fails("gpt2", [](qlib::gguf_writer& o) { check(o.set("tokenizer.ggml.pre", "gpt-2"), ""); });  // no merges
    fails("gpt2", [](qlib::gguf_writer& o) {
        check(o.set_array("tokenizer.ggml.merges", std::vector<std::string>{"a b"}), "");
    });
    fails("bert", [](qlib::gguf_writer&) {});
    fails("llama", [](qlib::gguf_writer& o) {
        check(o.set_array("tokenizer.ggml.scores", std::vector<float>{1, 2}), "");
        check(o.set("tokenizer.ggml.bos_token_id", std::uint32_t{2}), "");
    });
}

TEST_CASE("the vocabulary of Llama 2: llama.cpp's tokens") {
    const char* const models = std::getenv("QLIB_MODELS");
    const std::string path = std::string(models != nullptr ? models : "") + "/stories15M/stories15M-f16.gguf";
    if (!std::filesystem::exists(path)) {
        MESSAGE("skipped: QLIB_MODELS names no folder with stories15M/stories15M-f16.gguf");
        return;
    }
    const auto file = open_gguf::at(path);
    const tokenizer t(file->header);
    CHECK(t.encode("Once upon a time") == tokens{1, 9038, 2501, 263, 931});
    CHECK(t.encode("  two  spaces ") == tokens{1, 259, 1023, 29871, 8162, 29871});
    CHECK(t.encode("a\nb\t!") == tokens{1, 263, 13, 29890, 12, 29991});
    CHECK(t.encode("caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80") ==
          tokens{1, 274, 28059, 29871, 30919, 31076, 29871, 243, 162, 155, 131});
    CHECK(t.encode("3.14159") == tokens{1, 29871, 29941, 29889, 29896, 29946, 29896, 29945, 29929});
    CHECK(t.encode("</s> <s>") == tokens{1, 1533, 29879, 29958, 529, 29879, 29958});
}
