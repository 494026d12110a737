#include <qlib/file/safetensors.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

using namespace qlib;
using dims = std::vector<std::uint64_t>;

namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    return {p, p + text.size()};
}

/// A file of a header, as it is, and `data` bytes 0, 1, 2, ...
std::vector<std::byte> file_of(std::string_view header, std::size_t data = 0) {
    std::vector<std::byte> file(8);
    for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<std::byte>(std::uint64_t{header.size()} >> 8 * i & 0xFF);
    for (const char c : header) file.push_back(static_cast<std::byte>(c));
    for (std::size_t i = 0; i < data; ++i) file.push_back(static_cast<std::byte>(i & 0xFF));
    return file;
}

/// The message of a refused file, with the tensor or key that it speaks of.
std::string refusal(std::span<const std::byte> file, errc code = errc::malformed, safetensors_limits limits = {}) {
    std::string_view culprit = "not set";
    const auto parsed = safetensors_file::parse(file, limits, &culprit);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == code);
    char text[300];
    return std::string(parsed.error().format(text, culprit));
}
std::string refusal(std::string_view header, std::size_t data = 0, errc code = errc::malformed) {
    return refusal(file_of(header, data), code);
}

/// One tensor "t" with these fields.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return R"({"t":{"dtype":")" + std::string(dtype) + R"(","shape":)" + std::string(shape) + R"(,"data_offsets":)" +
           std::string(offsets) + "}}";
}

/// Touches all there is to touch: for sanitizers.
std::uint64_t walk(const safetensors_file& file) {
    std::uint64_t sum = file.metadata().size();
    for (const safetensors_entry& e : file.metadata()) sum += e.key.size() + file.metadata(e.key)->size();
    for (const safetensors_tensor& t : file.tensors()) {
        for (const std::byte b : t.data) sum += static_cast<std::uint64_t>(b);
        sum += t.rows() + t.cols() + (file.find(t.name) == &t);
    }
    return sum;
}

struct memory_sink {
    std::vector<std::byte> bytes;
    std::size_t room = ~std::size_t{0};
    bool operator()(std::span<const std::byte> piece) {
        if (piece.size() > room - bytes.size()) return false;
        bytes.insert(bytes.end(), piece.begin(), piece.end());
        return true;
    }
};

std::string message(const status& s) {
    char text[300];
    return s ? std::string() : std::string(s.error().format(text));
}

std::vector<std::byte> rewrite(const safetensors_file& file, std::size_t piece) {
    safetensors_writer out;
    memory_sink sink;
    for (const auto& [key, value] : file.metadata()) REQUIRE(out.set_metadata(key, value));
    for (std::size_t i = file.tensors().size(); i-- > 0;)
        REQUIRE(out.add_tensor(file.tensors()[i].name, file.tensors()[i].type, file.tensors()[i].shape));
    REQUIRE(out.begin(sink));
    for (const safetensors_tensor& t : out.tensors()) {
        const auto data = file.find(t.name)->data;
        for (std::size_t at = 0; at < data.size(); at += piece)
            REQUIRE(out.write(t.name, data.subspan(at, piece < data.size() - at ? piece : data.size() - at)));
    }
    REQUIRE(out.finish());
    CHECK(out.file_size() == sink.bytes.size());
    return std::move(sink.bytes);
}

std::vector<std::byte> read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    std::vector<std::byte> bytes(in ? static_cast<std::size_t>(in.tellg()) : 0);
    in.seekg(0);
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

/// Written by hand after the format's description: metadata, two types, a name with
/// escapes, an empty tensor and a scalar.
constexpr std::string_view sample_header =
    R"({"__metadata__":{"format":"pt","a\u0062":"\u20ac"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("a\"\u00e9":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]},)"
    R"("none":{"dtype":"U8","shape":[0,7],"data_offsets":[30,30]},)"
    R"("one":{"data_offsets":[30,31],"shape":[],"dtype":"I8"}}  )";

}  // namespace

TEST_CASE("safetensors_file: reads names, metadata, shapes and data") {
    const auto bytes = file_of(sample_header, 31);
    const auto parsed = safetensors_file::parse(bytes);
    REQUIRE(parsed);
    const safetensors_file& file = *parsed;
    CHECK(file.data_start() == 8 + sample_header.size());
    REQUIRE(file.metadata().size() == 2);
    CHECK(*file.metadata("format") == "pt");
    CHECK(*file.metadata("ab") == "\xE2\x82\xAC");
    CHECK(file.metadata("c") == nullptr);
    REQUIRE(file.tensors().size() == 4);
    const safetensors_tensor& b = file.tensors()[0];
    CHECK((b.name == "b" && b.type == safetensors_type::f32 && b.n_dims() == 2 && b.rows() == 2 && b.cols() == 3 &&
           b.bytes == 24 && b.offset == 0));
    CHECK(b.data.data() == bytes.data() + file.data_start());
    const safetensors_tensor* a = file.find("a\"\xC3\xA9");
    REQUIRE(a != nullptr);
    CHECK((a == &file.tensors()[1] && a->type == safetensors_type::bf16 && a->rows() == 1 && a->cols() == 3 &&
           a->data[5] == std::byte{29}));
    CHECK((file.find("none")->bytes == 0 && file.find("none")->rows() == 0 && file.find("none")->cols() == 7));
    CHECK((file.find("one")->n_dims() == 0 && file.find("one")->data.size() == 1 &&
           file.find("one")->data[0] == std::byte{30}));
    CHECK(file.find("two") == nullptr);
}

TEST_CASE("safetensors_file: all types, by the bits that they have") {
    struct type {
        const char* name;
        std::uint32_t bits;
    };
    const type types[] = {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                          {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                          {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                          {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                          {"I64", 64},        {"U64", 64}};
    for (std::size_t i = 0; i < std::size(types); ++i) {
        const auto id = static_cast<safetensors_type>(i);
        CHECK(safetensors_name(id) == types[i].name);
        CHECK(safetensors_bits(id) == types[i].bits);
        CHECK(safetensors_type_named(types[i].name).value() == id);
        const auto bytes = file_of(one(types[i].name, "[3,4]", "[0," + std::to_string(12 * types[i].bits / 8) + "]"),
                                   12 * types[i].bits / 8);
        const auto file = safetensors_file::parse(bytes);
        REQUIRE(file);
        CHECK(file->tensors()[0].type == id);
    }
    CHECK(safetensors_bits(static_cast<safetensors_type>(22)) == 0);
    CHECK(safetensors_name(static_cast<safetensors_type>(22)).empty());
    CHECK(safetensors_type_named("f32").error().code == errc::unsupported);
}

TEST_CASE("safetensors_file: what is unusual but harmless is read") {
    CHECK(safetensors_file::parse(file_of("{}"))->tensors().empty());
    CHECK(safetensors_file::parse(file_of("{}      "))->tensors().empty());
    CHECK(safetensors_file::parse(file_of(R"({"__metadata__":{}})"))->metadata().empty());
    SUBCASE("the header's order is not the data's") {
        const auto bytes = file_of(
            R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},)"
            R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            3);
        const auto file = safetensors_file::parse(bytes);
        REQUIRE(file);
        CHECK(file->tensors()[0].name == "a");
        CHECK(file->find("b")->data[1] == std::byte{2});
        CHECK(file->find("b")->shape[0] == 2);
    }
    SUBCASE("a dimension of 0 beside huge ones, fields that nobody knows, an empty name") {
        CHECK(safetensors_file::parse(file_of(one("F32", "[0,4611686018427387904]", "[0,0]"))));
        CHECK(safetensors_file::parse(file_of(R"({"":{"dtype":"U8","shape":[],"data_offsets":[0,1],"note":[{}]}})", 1))
                  ->find("") != nullptr);
    }
    SUBCASE("only the header is given") {
        auto bytes = file_of(sample_header, 31);
        bytes.resize(8 + sample_header.size() + 26);
        const auto file = safetensors_file::parse(bytes, {.file_size = 8 + sample_header.size() + 31});
        REQUIRE(file);
        CHECK(file->find("b")->data.size() == 24);
        CHECK((file->find("one")->data.empty() && file->find("one")->bytes == 1));
        CHECK(refusal(bytes, errc::truncated, {.file_size = bytes.size() + 1}) ==
              "a\\\"\\u00e9: tensor: #1 ends at byte 325, the file has 322");
        CHECK(refusal(bytes, errc::argument, {.file_size = 1}) ==
              "safetensors_limits.file_size: 1, but 321 bytes are given");
    }
}

TEST_CASE("safetensors_file: lengths that lie") {
    CHECK(refusal(bytes_of("1234567"), errc::truncated) == "header: at least 8 bytes are needed, 7 are there");
    CHECK(refusal(bytes_of(std::string(8, '\xFF') + "{}")) ==
          "header: the header has 18446744073709551615 bytes, 100000000 are allowed");
    CHECK(refusal(bytes_of(std::string("\x01\xE1\xF5\x05\0\0\0\0{}", 10))) ==
          "header: the header has 100000001 bytes, 100000000 are allowed");
    CHECK(refusal(bytes_of(std::string("\x03\0\0\0\0\0\0\0{}", 10)), errc::truncated) ==
          "header: at least 11 bytes are needed, 10 are there");
    CHECK(refusal(bytes_of(std::string(8, '\0'))) == "header: a header begins with a brace");
    CHECK(refusal(" {}") == "header: a header begins with a brace");
    CHECK(refusal(std::string(1000, ' ')) == "header: a header begins with a brace");
    CHECK(refusal("{}", 1) == "data: 1 bytes follow the last tensor");
    CHECK(refusal(file_of("{}{}"), errc::malformed, {.header_bytes = 3}) ==
          "header: the header has 4 bytes, 3 are allowed");
}

TEST_CASE("safetensors_file: headers that are no JSON of the kind") {
    CHECK(refusal("{\"a\":") == "header: the text ends inside a value, at byte 5");
    CHECK(refusal("{}x") == "header: something follows the value, at byte 2");
    CHECK(refusal("{\"\xFF\":1}") == "header: not UTF-8, at byte 2");
    CHECK(refusal("{\"a\":" + std::string(100000, '[')) == "header: nested deeper than 64, at byte 68");
    CHECK(
        refusal(
            R"({"t":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
            R"("t":{"dtype":"U8","shape":[],"data_offsets":[1,2]}})",
            2) == "t: header: a key that was there before, at byte 52");
    CHECK(
        refusal(
            R"({"t":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
            R"("\u0074":{"dtype":"U8","shape":[],"data_offsets":[1,2]}})",
            2) == "\\u0074: header: a key that was there before, at byte 52");
    CHECK(refusal(R"({"t":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1) ==
          "dtype: header: a key that was there before, at byte 19");
    CHECK(refusal(R"({"__metadata__":{"a":"1","a":"2"}})") == "a: header: a key that was there before, at byte 25");
    CHECK(refusal(R"({"__metadata__":["a"]})") == "__metadata__: __metadata__: it must be a map of strings");
    CHECK(refusal(R"({"__metadata__":{"a":1}})") == "a: __metadata__: a value that is no string");
    CHECK(refusal(R"({"t":3})") == "t: tensor: #0 is described by something that is no object");
    CHECK(refusal(R"({"t":{"dtype":"U8","shape":[]}})") == "t: tensor: #0 lacks one of dtype, shape and data_offsets");
    CHECK(refusal(R"({"a\u0000b":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1) ==
          "a\\u0000b: tensor: #0 has a zero byte in its name");
    CHECK(refusal(one("F7", "[]", "[0,1]"), 1, errc::unsupported) == "t: tensor: #0 has an unknown dtype");
    CHECK(refusal(one(std::string(70, 'x') + "\\n", "[]", "[0,1]"), 1, errc::unsupported) ==
          "t: tensor: #0 has an unknown dtype");
    CHECK(refusal(R"({"t":{"dtype":8,"shape":[],"data_offsets":[0,1]}})", 1) ==
          "t: tensor: #0 has a dtype that is no string");
}

TEST_CASE("safetensors_file: shapes and offsets that lie") {
    CHECK(refusal(one("U8", "2", "[0,1]"), 1) == "t: tensor: #0 has a shape that is no list");
    for (const char* shape : {"[-1]", "[1.0]", "[1e1]", "[\"1\"]", "[18446744073709551616]", "[[1]]", "[null]"})
        CHECK(refusal(one("U8", shape, "[0,1]"), 1) ==
              "t: tensor: #0 has a dimension that is no integer from 0 to 2^64 - 1");
    for (const char* offsets : {"[-1,0]", "[0,1.0]", "[0,18446744073709551616]"})
        CHECK(refusal(one("U8", "[1]", offsets), 1) ==
              "t: tensor: #0 has an offset that is no integer from 0 to 2^64 - 1");
    for (const char* offsets : {"[]", "[0]", "[0,1,2]", "{}", "7"})
        CHECK(refusal(one("U8", "[1]", offsets), 1) == "t: tensor: #0 needs two data offsets");
    CHECK(refusal(one("U8", "[1]", "[2,1]"), 2) == "t: tensor: #0 has data from 2 to 1");
    CHECK(refusal(one("F32", "[2]", "[0,4]"), 4) == "t: tensor: #0 has 4 bytes of data, its shape and dtype make 8");
    CHECK(refusal(one("F4", "[3]", "[0,1]"), 1) == "t: tensor: #0 has elements that do not fill bytes");
    CHECK(refusal(one("F6_E2M3", "[2]", "[0,2]"), 2) == "t: tensor: #0 has elements that do not fill bytes");
    for (const char* shape : {"[18446744073709551615,2]", "[4294967296,4294967296]", "[2305843009213693952,2]",
                              "[0,4294967296,4294967296]"})
        CHECK(refusal(one("F64", shape, "[0,0]")) == "t: tensor: #0 has dimensions whose product overflows");
    // 2^61 elements of 8 bytes would wrap to 0 bytes in 64 bits.
    CHECK(refusal(one("F64", "[2305843009213693952]", "[0,0]")) ==
          "t: tensor: #0 has dimensions whose product overflows");
    CHECK(refusal(one("U8", "[18446744073709551615]", "[0,18446744073709551615]")) ==
          "t: tensor: #0 has dimensions whose product overflows");
    CHECK(refusal(one("U8", "[1000000]", "[0,1000000]"), 5, errc::truncated) ==
          "t: tensor: #0 ends at byte 1000073, the file has 78");
}

TEST_CASE("safetensors_file: holes, overlaps and trailing bytes") {
    const auto two = [](std::string_view a, std::string_view b, int na = 4, int nb = 4) {
        return R"({"a":{"dtype":"U8","shape":[)" + std::to_string(na) + R"(],"data_offsets":)" + std::string(a) +
               R"(},"b":{"dtype":"U8","shape":[)" + std::to_string(nb) + R"(],"data_offsets":)" + std::string(b) + "}}";
    };
    CHECK(safetensors_file::parse(file_of(two("[0,4]", "[4,8]"), 8)));
    CHECK(refusal(two("[0,4]", "[5,9]"), 9) == "b: tensor: #1 has data from byte 5 on, those before it end at 4");
    CHECK(refusal(two("[0,4]", "[3,7]"), 7) == "b: tensor: #1 has data from byte 3 on, those before it end at 4");
    CHECK(refusal(two("[0,4]", "[0,4]"), 4) == "b: tensor: #1 has data from byte 0 on, those before it end at 4");
    CHECK(refusal(two("[1,5]", "[5,9]"), 9) == "a: tensor: #0 has data from byte 1 on, those before it end at 0");
    CHECK(refusal(two("[0,4]", "[2,2]", 4, 0), 4) == "b: tensor: #1 has data from byte 2 on, those before it end at 4");
    CHECK(refusal(two("[0,4]", "[4,8]"), 9) == "data: 1 bytes follow the last tensor");
    CHECK(refusal(two("[0,4]", "[4,8]"), 7, errc::truncated) == "b: tensor: #1 ends at byte 121, the file has 120");
    CHECK(refusal(two("[0,4]", "[4,8]"), 3, errc::truncated) == "a: tensor: #0 ends at byte 117, the file has 116");
}

TEST_CASE("safetensors_file: a file cut or changed anywhere is safe") {
    const auto whole = file_of(sample_header, 31);
    std::uint64_t sum = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
        const std::vector<std::byte> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
        const auto file = safetensors_file::parse(part);
        REQUIRE_FALSE(file);
        CHECK(file.error().code == errc::truncated);
        CHECK(safetensors_file::parse(part, {.file_size = whole.size()}).has_value() ==
              (n >= 8 + sample_header.size()));
        for (const unsigned flip : {1u, 0x10u, 0x80u}) {
            auto changed = whole;
            changed[n] ^= static_cast<std::byte>(flip);
            if (const auto other = safetensors_file::parse(changed)) sum += walk(*other);
        }
    }
    CHECK(sum != 0);
}

TEST_CASE("safetensors_file: moves keep what points into it") {
    const auto bytes = file_of(sample_header, 31);
    auto parsed = safetensors_file::parse(bytes);
    REQUIRE(parsed);
    const safetensors_tensor* const a = parsed->find("a\"\xC3\xA9");
    const safetensors_file moved = std::move(*parsed);
    CHECK(moved.find("a\"\xC3\xA9") == a);
    CHECK(a->name == "a\"\xC3\xA9");
    CHECK(a->shape[0] == 3);
}

TEST_CASE("safetensors_file: many tensors are found by name, in no quadratic time") {
    std::string header = "{";
    const int count = 20000;
    for (int i = 0; i < count; ++i) {
        const int place = (i * 7919) % count;  // some other order
        header += (i != 0 ? ",\"t" : "\"t") + std::to_string(place) +
                  R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(place) + "," +
                  std::to_string(place + 1) + "]}";
    }
    const auto bytes = file_of(header + "}", static_cast<std::size_t>(count));
    const auto file = safetensors_file::parse(bytes);
    REQUIRE(file);
    for (const int i : {0, 1, 4711, count - 1})
        CHECK(file->find("t" + std::to_string(i))->offset == static_cast<std::uint64_t>(i));
}

TEST_CASE("safetensors_writer: the bytes that the reference writes") {
    // Made with Python's json and struct, in the reference's order: types
    // descending, then names; padded with spaces to 8.
    const std::string want_header =
        R"({"__metadata__":{"format":"pt"},"z":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
        R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},)"
        R"("b":{"dtype":"F32","shape":[],"data_offsets":[24,28]},)"
        R"("w":{"dtype":"F16","shape":[3],"data_offsets":[28,34]},)"
        R"("c":{"dtype":"BOOL","shape":[0],"data_offsets":[34,34]}})";
    REQUIRE(want_header.size() % 8 == 4);
    safetensors_writer out;
    memory_sink sink;
    REQUIRE(out.set_metadata("format", "np"));
    REQUIRE(out.set_metadata("format", "pt"));
    REQUIRE(out.add_tensor("c", safetensors_type::boolean, dims{0}));
    REQUIRE(out.add_tensor("w", safetensors_type::f16, dims{3}));
    REQUIRE(out.add_tensor("b", safetensors_type::f32, dims{}));
    REQUIRE(out.add_tensor("z", safetensors_type::i64, dims{2}));
    REQUIRE(out.add_tensor("a", safetensors_type::f32, dims{1, 2}));
    CHECK(out.tensors().empty());
    REQUIRE(out.begin(sink));
    std::string order;
    std::byte next{0};
    for (const safetensors_tensor& t : out.tensors()) {
        order += t.name;
        for (std::uint64_t i = 0; i < t.bytes; ++i, next = static_cast<std::byte>(std::to_integer<int>(next) + 1))
            REQUIRE(out.write(t.name, {&next, 1}));
    }
    REQUIRE(out.finish());
    CHECK(order == "zabwc");
    CHECK(sink.bytes == file_of(want_header + "    ", 34));
    CHECK(out.file_size() == sink.bytes.size());
}

TEST_CASE("safetensors_writer: what it wrote reads back, names with escapes too") {
    safetensors_writer out;
    memory_sink sink;
    REQUIRE(out.set_metadata("k\"\n", "v\\\x01"));
    REQUIRE(out.add_tensor("a\"\\\t\xC3\xA9", safetensors_type::f4, dims{2, 3}));
    REQUIRE(out.begin(sink));
    const auto data = bytes_of("xyz");
    REQUIRE(out.write("a\"\\\t\xC3\xA9", data));
    REQUIRE(out.finish());
    const auto file = safetensors_file::parse(sink.bytes);
    REQUIRE(file);
    CHECK(*file->metadata("k\"\n") == "v\\\x01");
    CHECK(file->tensors()[0].name == "a\"\\\t\xC3\xA9");
    CHECK(file->data_start() % 8 == 0);
    CHECK(rewrite(*file, 2) == sink.bytes);
}

TEST_CASE("safetensors_writer: mistakes are refused, and leave it as it was") {
    safetensors_writer out;
    memory_sink sink;
    CHECK(message(out.write("a", {})) == "safetensors_writer: the header is not written yet: call begin() first");
    CHECK(message(out.finish()) == "safetensors_writer: the header is not written yet: call begin() first");
    CHECK(message(out.set_metadata("\xFF", "")) == "metadata: a key or value that is not UTF-8");
    CHECK(message(out.add_tensor("__metadata__", safetensors_type::u8, dims{1})) ==
          "tensor: #0 has the name of the metadata");
    CHECK(message(out.add_tensor("\xC3", safetensors_type::u8, dims{1})) == "tensor: #0 has a name that is not UTF-8");
    CHECK(message(out.add_tensor(std::string_view("\0", 1), safetensors_type::u8, dims{1})) ==
          "tensor: #0 has a zero byte in its name");
    CHECK(message(out.add_tensor("a", static_cast<safetensors_type>(22), dims{1})) == "tensor: #0 has an unknown type");
    CHECK(message(out.add_tensor("a", safetensors_type::f4, dims{3})) ==
          "tensor: #0 has elements that do not fill bytes");
    CHECK(message(out.add_tensor("a", safetensors_type::u8, dims{1ull << 32, 1ull << 32})) ==
          "tensor: #0 has dimensions whose product overflows");
    REQUIRE(out.add_tensor("a", safetensors_type::u8, dims{2}));
    REQUIRE(out.add_tensor("b", safetensors_type::u8, dims{1}));
    SUBCASE("equal names") {
        REQUIRE(out.add_tensor("a", safetensors_type::f32, dims{1}));
        CHECK(message(out.begin(sink)) == "tensor: #0 and #2 have the same name");
    }
    SUBCASE("data") {
        REQUIRE(out.begin(sink));
        const auto data = bytes_of("123");
        CHECK(message(out.add_tensor("c", safetensors_type::u8, dims{1})) ==
              "safetensors_writer: the header is already written");
        CHECK(message(out.set_metadata("c", "d")) == "safetensors_writer: the header is already written");
        CHECK(message(out.begin(sink)) == "safetensors_writer: the header is already written");
        CHECK(message(out.write("b", data)) ==
              "tensor data: data for another tensor than #0 of tensors(), which is next");
        CHECK(message(out.write("a", data)) == "tensor data: 3 bytes more, but #0 of tensors() lacks only 2 of its 2");
        REQUIRE(out.write("a", std::span(data).first(1)));
        CHECK(message(out.finish()) == "tensor data: #0 of tensors() has 1 of its 2 bytes");
        REQUIRE(out.write("a", std::span(data).first(1)));
        REQUIRE(out.write("b", std::span(data).first(1)));
        CHECK(message(out.write("b", data)) == "tensor data: all tensors are complete, 3 bytes are left over");
        REQUIRE(out.finish());
        CHECK(message(out.finish()) == "safetensors_writer: the file is already finished");
    }
    SUBCASE("a sink that refuses") {
        sink.room = 10;
        CHECK(out.begin(sink).error().code == errc::io);
        CHECK(message(out.finish()) == "safetensors_writer: an earlier write failed");
    }
}

TEST_CASE("safetensors: real models, and out again as they went in") {
    const char* folder = std::getenv("QLIB_MODELS");
    if (folder == nullptr) {
        MESSAGE("QLIB_MODELS is not set: no real model is read");
        return;
    }
    struct model {
        const char* path;
        std::size_t tensors;
        const char* name;
        std::uint64_t rows, cols;
        safetensors_type type;
    };
    for (const model& m : {model{"/stories260K/model.safetensors", 47, "model.layers.0.mlp.down_proj.weight", 64, 172,
                                 safetensors_type::f32},
                           model{"/minilm-outliers/model.safetensors", 12, "encoder.layer.0.output.dense.weight", 384,
                                 1536, safetensors_type::f16}}) {
        CAPTURE(m.path);
        const auto bytes = read_file(std::string(folder) + m.path);
        if (bytes.empty()) {
            MESSAGE("not there: ", m.path);
            continue;
        }
        const auto file = safetensors_file::parse(bytes);
        REQUIRE(file);
        CHECK(file->tensors().size() == m.tensors);
        const safetensors_tensor* t = file->find(m.name);
        REQUIRE(t != nullptr);
        CHECK((t->rows() == m.rows && t->cols() == m.cols && t->type == m.type));
        const auto again = rewrite(*file, 100000);
        const auto copy = safetensors_file::parse(again);
        REQUIRE(copy);
        for (const safetensors_tensor& x : file->tensors())
            CHECK(std::memcmp(x.data.data(), copy->find(x.name)->data.data(), x.data.size()) == 0);
        const auto header = safetensors_file::parse(
            std::span(bytes).first(static_cast<std::size_t>(file->data_start())), {.file_size = bytes.size()});
        REQUIRE(header);
        CHECK(header->tensors().back().data.empty());
    }
}
