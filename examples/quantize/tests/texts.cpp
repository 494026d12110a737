// Texts of strangers and of the command line, without any file.
#include "../command_line.hpp"
#include "../json_text.hpp"

#include <doctest/doctest.h>

TEST_CASE("what a terminal shows has no control characters") {
    CHECK(printable("blk.0.attn_q.weight") == "blk.0.attn_q.weight");
    CHECK(printable("gr\xC3\xB6\xC3\x9F"
                    "er \xE2\x82\xAC \xF0\x9F\x98\x80") ==
          "gr\xC3\xB6\xC3\x9F"
          "er \xE2\x82\xAC \xF0\x9F\x98\x80");
    CHECK(printable("\x1b]0;x\x07\n\x7f") == "\\x1B]0;x\\x07\\x0A\\x7F");
    CHECK(printable("\xC2\x9B" "31m\xC2\xA0") == "\\xC2\\x9B31m\xC2\xA0");  // U+009B is what ESC [ is
    CHECK(printable("donn\xe9" "es") == "donn\\xE9es");
    CHECK(printable(std::string_view("\0", 1)) == "\\x00");
}

TEST_CASE("only what is UTF-8 stays in JSON, by the standard's table of it") {
    for (const char* good : {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                             "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
        CHECK(utf8_text(good) == good);
    for (const char* bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82",
                            "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3("}) {
        CHECK(utf8_text(bad) != bad);
        CHECK(utf8_text(bad).substr(0, 2) == "\\x");
        CHECK_NOTHROW(static_cast<void>(json(utf8_text(bad)).dump()));
    }
    const json dirty = {{"a\xff", {"b\xfe", 1, nullptr}}};
    CHECK(with_utf8(dirty).dump() == R"({"a\\xFF":["b\\xFE",1,null]})");
    CHECK(parse_json(std::string(20, '[') + std::string(20, ']')).is_discarded());
    CHECK_FALSE(parse_json(std::string(12, '[') + std::string(12, ']')).is_discarded());
    CHECK(parse_json(std::string(1'000'000, '[')).is_discarded());
}

TEST_CASE("sizes, metadata and rules of the command line") {
    CHECK(parse_size("300M") == 300'000'000u);
    CHECK(parse_size("2g") == 2'000'000'000u);
    for (const char* text : {"", "M", "0M", "-1M", "1", "1K", "1MB", "1.5G", "99999999999999999999G"})
        CHECK_THROWS_AS(parse_size(text), CLI::ParseError);
    CHECK(std::get<std::int64_t>(parse_override("a.b=int:-12").value) == -12);
    CHECK(std::get<double>(parse_override("a=float:1e-5").value) == 1e-5);
    CHECK(std::get<bool>(parse_override("a=bool:false").value) == false);
    CHECK(std::get<std::string>(parse_override("a=str:").value).empty());
    CHECK(parse_override("a=str:x=y:z").key == "a");
    for (const char* text : {"a", "a=", "a=int", "a=int:", "a=int:1x", "a=int:9223372036854775808", "a=float:inf",
                             "a=float:1e999", "a=bool:", "=str:x", "a=u32:1"})
        CHECK_THROWS_AS(parse_override(text), CLI::ParseError);
    CHECK(split_override("a=b=c") == std::pair<std::string, std::string>{"a=b", "c"});
    for (const char* text : {"", "a", "a=", "=c"}) CHECK_THROWS_AS(split_override(text), CLI::ParseError);
    for (const char* text : {"0", "4097", "x", "", "1x", "-1"}) CHECK_THROWS_AS(parse_threads(text), CLI::ParseError);
    CHECK(default_output_of("models/m.gguf", "Q4_K_M") == "models/ggml-model-Q4_K_M.gguf");
}

TEST_CASE("presets by the names and numbers of llama-quantize") {
    for (const preset_info& p : presets) {
        CHECK(find_recipe(p.name)->preset == p.name);
        CHECK(find_recipe(std::to_string(static_cast<std::uint32_t>(p.id)))->preset == p.name);
    }
    CHECK(find_recipe("q4_k")->preset == "Q4_K_M");
    CHECK(find_recipe("Q3_K")->preset == "Q3_K_M");
    CHECK(find_recipe("Q5_K")->preset == "Q5_K_M");
    CHECK(find_recipe("F16")->format == "f16");
    CHECK(find_recipe("1")->format == "f16");
    CHECK(find_recipe("0")->format == "f32");
    CHECK(find_recipe("32")->format == "bf16");
    CHECK(find_recipe("copy")->format == "copy");
    for (const char* text : {"", "4", "99", "4294967295", "99999999999999999999", "-1", "Q4", "Q4_K_M "})
        CHECK_FALSE(find_recipe(text));
}
