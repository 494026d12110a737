// Patterns for tensor names: what matches, what is refused, and that no name uses the stack up and no pattern the day.
#include "../name_pattern.hpp"

#include <doctest/doctest.h>

namespace {

bool matches(std::string_view pattern, std::string_view name) { return name_pattern(pattern).matches(name); }

}  // namespace

TEST_CASE("a match begins where a word between dots does") {
    for (const char* pattern : {"output", "output.weight", R"(output\.weight)", "^output", "out", "(token_embd|output)",
                                "[a-z]+put", ".*output", ""})
        CHECK(matches(pattern, "output.weight"));
    CHECK_FALSE(matches("output.weight", "blk.0.attn_output.weight"));
    CHECK_FALSE(matches("v.weight", "blk.0.attn_v.weight"));
    CHECK(matches(".*_exps", "blk.0.ffn_down_exps.weight"));
    CHECK(matches(R"(\.ffn_down)", "blk.0.ffn_down_exps.weight"));
    CHECK(matches("ffn", "blk.0.ffn_down_exps.weight"));
    CHECK(matches("weight$", "blk.0.ffn_down_exps.weight"));
    CHECK_FALSE(matches("ffn$", "blk.0.ffn_down_exps.weight"));
    CHECK_FALSE(matches("^0", "blk.0.ffn_down_exps.weight"));
    CHECK_FALSE(matches("x", ""));
    CHECK(matches("^$", ""));
}

TEST_CASE("all that a pattern may have") {
    CHECK(matches(R"(blk\.(1[0-2]|[3-9])\.ffn_(up|gate)\.)", "blk.11.ffn_gate.weight"));
    CHECK_FALSE(matches(R"(blk\.(1[0-2]|[3-9])\.ffn_(up|gate)\.)", "blk.13.ffn_gate.weight"));
    CHECK(matches(R"(\.(\d*[13579])\.attn_k)", "blk.21.attn_k.weight"));
    CHECK_FALSE(matches(R"(\.(\d*[13579])\.attn_k)", "blk.20.attn_k.weight"));
    CHECK(matches(R"(^\w+\.\D)", "token_embd.weight"));
    CHECK(matches("^(?:ab){2,3}$", "ababab"));
    CHECK_FALSE(matches("^(?:ab){2,3}$", "abababab"));
    CHECK_FALSE(matches("^(?:ab){2,3}$", "ab"));
    CHECK(matches("^a{2}$", "aa"));
    CHECK(matches("^a{2,}$", "aaaaa"));
    CHECK_FALSE(matches("^a{2,}$", "a"));
    CHECK(matches("^a{0}b??c*?$", "cc"));
    CHECK(matches("^[^.]+$", "no dots"));
    CHECK_FALSE(matches("^[^.]+$", "a.b"));
    CHECK(matches(R"(^[\]\-a-c]+$)", "]-abc"));
    CHECK(matches("^(|a)*$", "aaa"));
    CHECK(matches("^\xC3\xA9.$", "\xC3\xA9x"));
}

TEST_CASE("what is no pattern is refused with its place") {
    const auto refusal = [](std::string_view pattern) -> std::string {
        try {
            name_pattern{pattern};
        } catch (const std::invalid_argument& e) {
            return e.what();
        }
        return "";
    };
    CHECK(refusal("a)") == "not a pattern: a ) without its (, at byte 1");
    CHECK(refusal("(a") == "not a pattern: a ( without its ), at byte 2");
    CHECK(refusal("[a") == "not a pattern: a [ without its ], at byte 2");
    CHECK(refusal("*a") == "not a pattern: nothing to repeat, at byte 0");
    CHECK(refusal("a**") == "not a pattern: two repetitions of the same, at byte 3");
    CHECK(refusal("a\\") == "not a pattern: a backslash at the end, at byte 2");
    CHECK(refusal("(?!a)") == "not a pattern: (? looks ahead or behind, which is not supported, at byte 2");
    CHECK(refusal(R"((a)\1)") == "not a pattern: \\1 is not supported, at byte 5");
    CHECK(refusal("a{2") == "not a pattern: {least,most} is needed, at byte 3");
    CHECK(refusal("a{3,2}") == "not a pattern: {least,most} is needed, at byte 6");
    CHECK(refusal("a{x}") == "not a pattern: a number is needed, at byte 2");
    CHECK(refusal("a{1001}") == "not a pattern: more than 1000 times, at byte 5");
    CHECK(refusal("[b-a]") == "not a pattern: no range of characters, at byte 3");
    CHECK(refusal("((a{1000}){1000})").find("repetitions that make it too long") != std::string::npos);
    CHECK(refusal(std::string(101, '(')) == "not a pattern: more than 100 groups in each other, at byte 101");
    CHECK(refusal(std::string(4097, 'a')) == "not a pattern: longer than 4096 bytes, at byte 0");
}

TEST_CASE("names of any length, and patterns that other matchers take for ever with") {
    const std::string name(400'000, 'a');  // std::regex recurses once per byte
    CHECK(matches("(.|a)*b|a*$", name));
    CHECK_FALSE(matches("^(.|a)*b$", name));
    // Exponential where alternatives are tried in turn.
    CHECK_FALSE(matches("^(a*)*(a*)*(a*)*b", std::string(2000, 'a')));
}
