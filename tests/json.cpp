#include <qlib/file/json.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace qlib;

namespace {

/// The message of a refused text, with the key that it speaks of.
std::string refusal(std::string_view text, errc code = errc::malformed) {
    std::string_view culprit = "not set";
    const auto parsed = json_value::parse(text, &culprit);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == code);
    char room[200];
    return std::string(parsed.error().format(room, culprit));
}

json_value parsed(std::string_view text) {
    const auto v = json_value::parse(text);
    REQUIRE(v);
    return *v;
}

double number(std::string_view text) {
    const auto x = parsed(text).as_float();
    REQUIRE(x);
    return *x;
}

/// Touches all there is to touch: for sanitizers.
std::uint64_t walk(json_value v, int depth = 0) {
    std::uint64_t sum = v.text.size() + v.as_uint().has_value() + v.as_int().has_value() + v.as_float().has_value() +
                        v.as_bool().has_value();
    std::vector<char> room(v.text.size());
    if (const auto s = v.as_string(room)) sum += v.is(*s);
    if (depth < 4) {
        for (const json_value e : v.elements()) sum += walk(e, depth + 1);
        for (const json_member m : v.members()) sum += walk(m.key, depth + 1) + walk(m.value, depth + 1);
    }
    return sum;
}

}  // namespace

TEST_CASE("json_value: members, elements and nested values") {
    const json_value v = parsed(" {\"a\": [1, 2.5, \"x\", [], {}], \"b\":{\"c\":{\"d\":true}} ,\"e\":null}\n");
    CHECK(v.type() == json_type::object);
    CHECK(v.members().count() == 3);
    CHECK(v["a"].type() == json_type::array);
    CHECK(v["a"].elements().count() == 5);
    std::vector<json_type> types;
    for (const json_value e : v["a"].elements()) types.push_back(e.type());
    CHECK(types ==
          std::vector{json_type::number, json_type::number, json_type::string, json_type::array, json_type::object});
    CHECK(v["b"]["c"]["d"].as_bool().value());
    CHECK(v["e"].type() == json_type::null);
    CHECK_FALSE(v["f"]);
    CHECK(v["f"]["g"].type() == json_type::absent);
    CHECK(v["a"]["b"].type() == json_type::absent);
    CHECK(v["e"].elements().count() == 0);
    std::string keys;
    for (const json_member m : v.members()) keys += m.key.as_string().value();
    CHECK(keys == "abe");
}

TEST_CASE("json_value: integers are exact") {
    CHECK(parsed("18446744073709551615").as_uint().value() == ~std::uint64_t{0});
    CHECK_FALSE(parsed("18446744073709551616").as_uint());
    CHECK_FALSE(parsed("99999999999999999999999").as_uint());
    CHECK(parsed("9007199254740993").as_uint().value() == 9007199254740993u);  // not a double
    CHECK(parsed("0").as_uint().value() == 0);
    for (const char* text : {"-1", "-0", "1.0", "1e3", "\"1\"", "null", "true", "[]", "{}"})
        CHECK_FALSE(parsed(text).as_uint());
    CHECK(parsed("-9223372036854775808").as_int().value() == std::numeric_limits<std::int64_t>::min());
    CHECK(parsed("9223372036854775807").as_int().value() == std::numeric_limits<std::int64_t>::max());
    CHECK_FALSE(parsed("-9223372036854775809").as_int());
    CHECK_FALSE(parsed("9223372036854775808").as_int());
    CHECK_FALSE(json_value{"-"}.as_int());
}

TEST_CASE("json_value: floats are the nearest doubles") {
    const char* texts[] = {"0",
                           "-0.0",
                           "1",
                           "-1.5",
                           "1e-05",
                           "10000.0",
                           "0.1",
                           "3.141592653589793",
                           "1e22",
                           "1e23",
                           "123456789012345678901234567890",
                           "2.2250738585072011e-308",
                           "2.2250738585072014e-308",
                           "4.9406564584124654e-324",
                           "2.4703282292062327e-324",
                           "2.4703282292062328e-324",
                           "1.7976931348623157e308",
                           "9007199254740993",
                           "9007199254740992.9999999999999999999",
                           "9007199254740993.0000000000000000001",
                           "0.034567892551422119140625",
                           "5e-324",
                           "1e-400",
                           "0e999999999999",
                           "0.000000000000000000000000000000000000001e39",
                           "1E+2",
                           "6.0221407623E23",
                           "8.41e+21",
                           "9.5367431640625e-7",
                           "179769313486231580793728971405303415079934132710037826936173778980444e239"};
    for (const char* text : texts) {
        CAPTURE(text);
        const double want = std::strtod(text, nullptr);
        const double got = number(text);
        CHECK(std::memcmp(&want, &got, sizeof want) == 0);
    }
    std::uint64_t state = 1;
    char text[64];
    for (int i = 0; i < 2000; ++i) {  // any bit pattern, in the 17 digits that tell it apart
        state = state * 6364136223846793005u + 1442695040888963407u;
        const double want = std::bit_cast<double>(state & 0xFFEFFFFFFFFFFFFFu);
        std::snprintf(text, sizeof text, "%.17e", want);
        CHECK(std::bit_cast<std::uint64_t>(number(text)) == std::bit_cast<std::uint64_t>(want));
        std::snprintf(text, sizeof text, "%.10e", want);
        CHECK(std::bit_cast<std::uint64_t>(number(text)) == std::bit_cast<std::uint64_t>(std::strtod(text, nullptr)));
    }
    // A midpoint of two doubles, and the same with one more digit behind 800 zeros.
    const std::string half = "9007199254740993." + std::string(800, '0');
    CHECK(number(half) == 9007199254740992.0);
    CHECK(number(half + "1") == 9007199254740994.0);
    CHECK(number("0." + std::string(1000, '0') + "1e1001") == 1.0);
    CHECK(number(std::string(1000, '9') + "e-1000") == 1.0);
    CHECK_FALSE(parsed("1e309").as_float());
    CHECK_FALSE(parsed("1.7976931348623159e308").as_float());
    CHECK_FALSE(parsed("1e99999999999999999999").as_float());
    CHECK(number("1e-99999999999999999999") == 0);
    CHECK_FALSE(parsed("\"1\"").as_float());
    CHECK_FALSE(parsed("true").as_float());
}

TEST_CASE("json_value: strings with and without escapes") {
    char room[32];
    CHECK(parsed("\"plain\"").as_string().value() == "plain");
    CHECK(parsed("\"\"").as_string().value().empty());
    const json_value v = parsed(R"("\"\\\/\b\f\n\r\tA\u00e9\u20AC\ud83d\uDE00")");
    CHECK(v.as_string(room).value() == "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    CHECK(v.is("\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
    CHECK_FALSE(v.is("\"\\"));
    CHECK(v.as_string(std::span(room).first(3)).error().code == errc::argument);
    CHECK(parsed("\"\xC3\xA9\"").is("\xC3\xA9"));
    CHECK(parsed(R"({"\u0061":1})")["a"].as_uint().value() == 1);
    CHECK(parsed(R"("\u0000")").as_string(room).value() == std::string_view("\0", 1));
    CHECK_FALSE(parsed("1").is("1"));
    char text[100];
    CHECK(parsed("1").as_string().error().format(text) == "JSON value: a string is needed");
    CHECK(json_value{}.as_uint().error().format(text) == "JSON value: the value is missing");
}

TEST_CASE("json_value: what is no JSON is refused, with the place") {
    CHECK(refusal("{\"a\":1}x") == "JSON: something follows the value, at byte 7");
    CHECK(refusal("[1,]") == "JSON: no JSON value, at byte 3");
    CHECK(refusal("{\"a\":1,}") == "JSON: no key, at byte 7");
    CHECK(refusal("{a:1}") == "JSON: no key, at byte 1");
    CHECK(refusal("{\"a\" 1}") == "JSON: no colon behind a key, at byte 5");
    CHECK(refusal("[1 2]") == "JSON: neither a comma nor the end of the list, at byte 3");
    CHECK(refusal("[1}") == "JSON: neither a comma nor the end of the list, at byte 2");
    CHECK(refusal("\"a\nb\"") == "JSON: a control character in a string, at byte 2");
    CHECK(refusal("\"\\x\"") == "JSON: no such escape, or half of a surrogate pair, at byte 1");
    for (const char* text :
         {R"("\ud800")", R"("\udc00")", R"("\ud800A")", R"("\ud800\u0041")", R"("\u12g4")", R"("\u-123")"})
        CHECK(refusal(text) == "JSON: no such escape, or half of a surrogate pair, at byte 1");
    for (const char* text : {"\"\x80\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xE2\x82\"",
                             "\"\xFF\"", "\"\xF0\x80\x80\x80\""})
        CHECK(refusal(text) == "JSON: not UTF-8, at byte 1");
    for (const char* text : {"01", "+1", ".5", "NaN", "Infinity", "-Infinity", "nul1", "tru ", "\xEF\xBB\xBF{}", "'a'",
                             "1.x", "1e+x", "-x", "/**/1", "]"}) {
        CAPTURE(text);
        CHECK_FALSE(json_value::parse(text));
    }
    for (const char* text :
         {"", "  ", "{", "[", "\"", "\"\\", "\"\\u00", "{\"a\"", "{\"a\":", "[1", "[1,", "-", "1.", "1e"}) {
        CAPTURE(text);
        CHECK(json_value::parse(text).error().code == errc::truncated);
    }
}

TEST_CASE("json_value: equal keys are refused at any depth, also when spelled differently") {
    CHECK(refusal(R"({"a":1,"b":2,"a":3})") == "a: JSON: a key that was there before, at byte 13");
    CHECK(refusal(R"([{"x":[{"a":1,"\u0061":2}]}])") == "\\u0061: JSON: a key that was there before, at byte 14");
    std::string many = "{\"k0\":0";
    for (int i = 1; i < 40; ++i) many += ",\"k" + std::to_string(i) + "\":{\"k0\":0}";
    CHECK(json_value::parse(many + "}"));
    CHECK(refusal(many + ",\"k7\":0}").starts_with("k7: JSON: a key that was there before"));
    CHECK(json_value::parse(R"({"a":{"a":{"a":1}},"b":{"a":1}})"));
}

TEST_CASE("json_value: depth is bounded, and costs no stack") {
    CHECK(json_value::parse(std::string(64, '[') + std::string(64, ']')));
    CHECK(refusal(std::string(65, '[')) == "JSON: nested deeper than 64, at byte 64");
    CHECK(refusal(std::string(1000000, '[')) == "JSON: nested deeper than 64, at byte 64");
    std::string objects;
    for (int i = 0; i < 65; ++i) objects += "{\"a\":";
    CHECK(refusal(objects) == "JSON: nested deeper than 64, at byte 320");
}

TEST_CASE("json_value: a text cut or changed anywhere is safe") {
    const std::string text = R"({"a\n":[1,-2.5e3,"\ud83d\ude00é",true,false,null,{}],"b":{"c":"d"},"e":""})";
    REQUIRE(json_value::parse(text));
    std::uint64_t sum = 0;
    for (std::size_t n = 0; n < text.size(); ++n) {
        // Its end is guarded under sanitizers.
        const std::vector<char> part(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(n));
        CHECK_FALSE(json_value::parse({part.data(), n}));
        sum += walk(json_value{{part.data(), n}});
        for (const char c : {'"', '\\', '{', '}', '[', ']', ',', '\x80', '0', '\0'}) {
            std::string changed = text;
            changed[n] = c;
            if (const auto v = json_value::parse(changed)) sum += walk(*v);
            sum += walk(json_value{changed});
        }
    }
    CHECK(sum != 0);
}

TEST_CASE("json_value: a real model's configuration") {
    const char* folder = std::getenv("QLIB_MODELS");
    if (folder == nullptr) {
        MESSAGE("QLIB_MODELS is not set: no real model is read");
        return;
    }
    std::ifstream in(std::string(folder) + "/stories260K/config.json", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (text.empty()) {
        MESSAGE("not there: stories260K/config.json");
        return;
    }
    const json_value config = parsed(text);
    CHECK(config["hidden_size"].as_uint().value() == 64);
    CHECK(config["rms_norm_eps"].as_float().value() == 1e-05);
    CHECK(config["rope_theta"].as_float().value() == 10000.0);
    CHECK(config["tie_word_embeddings"].as_bool().value());
    CHECK((*config["architectures"].elements().begin()).is("LlamaForCausalLM"));
    CHECK_FALSE(config["quantization_config"]["bits"]);
}
