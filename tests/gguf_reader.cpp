#include <qlib/file/gguf_reader.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <string>

using namespace qlib;
using gguf_test::file_bytes;
using gguf_test::sample;

namespace {

/// The message of a refused file, with the key or tensor that it speaks of; empty when it parses.
std::string refusal(std::span<const std::byte> file, errc code, gguf_limits limits = {}) {
    std::string_view culprit = "not set";
    const auto parsed = gguf_file::parse(file, limits, &culprit);
    if (parsed) return culprit.empty() ? "" : "a culprit without an error";
    CHECK(parsed.error().code == code);
    char text[400];
    return std::string(parsed.error().format(text, culprit));
}
std::string malformed(const file_bytes& f) { return refusal(f, errc::malformed); }
std::string truncated(const file_bytes& f) { return refusal(f, errc::truncated); }
std::string unsupported(const file_bytes& f) { return refusal(f, errc::unsupported); }

/// A file with one f32 tensor "t" of the given shape, and `data` bytes of data.
file_bytes one_tensor(std::vector<std::uint64_t> ne, std::uint32_t type, std::uint64_t offset = 0,
                      std::size_t data = 64) {
    file_bytes f;
    f.header(1, 0).tensor("t", std::move(ne), type, offset).pad(32);
    f.bytes.resize(f.bytes.size() + data);
    return f;
}
file_bytes one_pair(std::string_view key, std::uint32_t type) {
    file_bytes f;
    f.header(0, 1).key(key, type);
    return f;
}

/// Uses everything that a parsed file hands out, as a careless program would.
std::uint64_t touch(const gguf_file& file) {
    std::uint64_t sum = 0;
    for (const gguf_entry& e : file.entries()) {
        for (const std::string_view s : e.value.strings())
            sum += s.size() + (s.empty() ? 0 : static_cast<unsigned char>(s.back()));
        for (std::uint64_t i = 0; i < (e.value.is_array() ? e.value.count : 0); ++i)
            if (const auto v = e.value.at(i))
                sum += v->as_uint().has_value() + v->as_float().has_value() + v->as_bool().has_value();
        sum += file.find(e.key) == &e.value;
    }
    for (const gguf_tensor& t : file.tensors()) {
        for (const std::byte b : t.data) sum += static_cast<std::uint64_t>(b);
        sum += t.rows() + t.cols() + (file.find_tensor(t.name) == &t);
    }
    return sum;
}

}  // namespace

TEST_CASE("gguf_file: reads names, values, shapes and data of a file") {
    const file_bytes f = sample();
    const auto file = gguf_file::parse(f);
    REQUIRE(file);
    CHECK(file->version() == 3);
    CHECK(file->alignment() == 32);
    CHECK(file->data_start() == 352);
    REQUIRE(file->entries().size() == 4);
    CHECK(file->entries()[1].key == "llama.block_count");
    CHECK(file->find("general.architecture")->as_string().value() == "llama");
    CHECK(file->find("llama.block_count")->as_uint().value() == 1);
    CHECK(file->find("llama.block") == nullptr);

    const gguf_value* tokens = file->find("tokenizer.ggml.tokens");
    REQUIRE(tokens != nullptr);
    CHECK(tokens->count == 3);
    std::vector<std::string_view> texts;
    for (const std::string_view s : tokens->strings()) texts.push_back(s);
    CHECK(texts == std::vector<std::string_view>{"<s>", "", "a b"});
    CHECK(file->find("tokenizer.ggml.scores")->at(1)->as_float().value() == -1.5);

    REQUIRE(file->tensors().size() == 2);
    const gguf_tensor& a = file->tensors()[0];
    CHECK((a.name == "a.weight" && a.n_dims == 2 && a.cols() == 3 && a.rows() == 2 && a.type == 1 && a.bytes == 12));
    CHECK(a.data.data() == f.bytes.data() + 352);
    CHECK(a.data.size() == 12);
    const gguf_tensor* b = file->find_tensor("b.weight");
    REQUIRE(b != nullptr);
    CHECK((b == &file->tensors()[1] && b->offset == 32 && b->bytes == 54 && b->data[53] == std::byte{53}));
    CHECK(file->find_tensor("c.weight") == nullptr);
}

TEST_CASE("gguf_value: getters convert between widths and refuse other types") {
    file_bytes f;
    f.header(0, 13);
    f.key("u8", 0).u8(200).key("i8", 1).u8(0xFE).key("u16", 2).number(65535, 2).key("i16", 3).number(0x8000, 2);
    f.key("u32", 4).u32(4000000000u).key("i32", 5).u32(7).key("f32", 6).f32(0.25f).key("bool", 7).u8(1);
    f.key("string", 8).text("x").key("u64", 10).u64(~std::uint64_t{0}).key("i64", 11).u64(~std::uint64_t{0});
    f.key("f64", 12).u64(std::bit_cast<std::uint64_t>(0.1)).key("bools", 9).u32(7).u64(2).u8(0).u8(1);
    const auto file = gguf_file::parse(f);
    REQUIRE(file);
    const auto value = [&](std::string_view key) { return *file->find(key); };
    CHECK(value("u8").as_uint().value() == 200);
    CHECK(value("u8").as_int().value() == 200);
    CHECK(value("i8").as_int().value() == -2);
    CHECK(value("i8").as_uint().error().code == errc::malformed);
    CHECK(value("u16").as_uint().value() == 65535);
    CHECK(value("i16").as_int().value() == -32768);
    CHECK(value("u32").as_uint().value() == 4000000000u);
    CHECK(value("i32").as_uint().value() == 7);
    CHECK(value("u64").as_uint().value() == ~std::uint64_t{0});
    CHECK_FALSE(value("u64").as_int());
    CHECK(value("i64").as_int().value() == -1);
    CHECK_FALSE(value("i64").as_uint());
    CHECK(value("f32").as_float().value() == 0.25);
    CHECK(value("f64").as_float().value() == 0.1);
    CHECK(value("bool").as_bool().value());
    CHECK_FALSE(value("bools").at(0)->as_bool().value());
    CHECK(value("bools").at(1)->as_bool().value());
    for (const char* key : {"f32", "f64", "bool", "string", "bools"}) CHECK_FALSE(value(key).as_uint());
    for (const char* key : {"u8", "i64", "bool", "string", "bools"}) CHECK_FALSE(value(key).as_float());
    for (const char* key : {"u8", "f32", "string", "bools"}) CHECK_FALSE(value(key).as_bool());
    for (const char* key : {"u8", "f32", "bool", "bools"}) CHECK_FALSE(value(key).as_string());
    CHECK(value("bools").at(2).error().code == errc::argument);
    CHECK(value("u8").at(0).error().code == errc::argument);
    CHECK(value("string").at(0).error().code == errc::argument);
    CHECK(value("u8").strings().begin().operator!=({}) == false);
    char text[100];
    CHECK(value("f32").as_uint().error().format(text) == "metadata value: value type 6 where an integer is needed");
}

TEST_CASE("gguf_value: getters are safe on values that no file holds") {
    const std::byte raw[4]{};
    const gguf_value types[] = {{gguf_type::u64, gguf_type::u64, 1, raw},
                                {gguf_type::string, gguf_type::string, 1, raw},
                                {gguf_type::array, gguf_type::u64, 1000, raw},
                                {static_cast<gguf_type>(99), static_cast<gguf_type>(99), 1, raw},
                                {}};
    for (const gguf_value& v : types) {
        CHECK_FALSE(v.as_uint());
        CHECK_FALSE(v.as_int());
        CHECK_FALSE(v.as_float());
        CHECK_FALSE(v.as_bool());
        CHECK_FALSE(v.as_string());
        CHECK_FALSE(v.at(0));
        for (const std::string_view s : v.strings()) CHECK(s.empty());
    }
}

TEST_CASE("gguf_file: what is unusual but harmless is read") {
    SUBCASE("version 2") {
        file_bytes f = sample();
        f.bytes[4] = std::byte{2};
        CHECK(gguf_file::parse(f)->version() == 2);
    }
    SUBCASE("no tensors, nothing behind the header, or trailing bytes") {
        file_bytes f;
        f.header(0, 0);
        CHECK(gguf_file::parse(f)->tensors().empty());
        f.raw("trailing");
        CHECK(gguf_file::parse(f)->entries().empty());
    }
    SUBCASE("a scalar without dimensions") {
        const file_bytes f = one_tensor({}, 0);
        const auto file = gguf_file::parse(f);
        REQUIRE(file);
        CHECK((file->tensors()[0].n_dims == 0 && file->tensors()[0].bytes == 4 && file->tensors()[0].rows() == 1));
    }
    SUBCASE("a dimension of 0, also beside huge ones") {
        for (const auto& ne : {std::vector<std::uint64_t>{0, 5}, {32, 0}, {0, std::uint64_t{1} << 61, 2, 1}}) {
            const file_bytes f = one_tensor(ne, 2, 0, 0);
            const auto file = gguf_file::parse(f);
            REQUIRE(file);
            CHECK((file->tensors()[0].bytes == 0 && file->tensors()[0].data.empty()));
        }
    }
    SUBCASE("an empty array") {
        file_bytes f = one_pair("k", 9);
        f.u32(8).u64(0);
        const auto file = gguf_file::parse(f);
        REQUIRE(file);
        CHECK((file->find("k")->count == 0 && file->find("k")->bytes.empty()));
    }
    SUBCASE("a gap between tensors, and no padding behind the last") {
        file_bytes f;
        f.header(2, 0).tensor("a", {1}, 24, 0).tensor("b", {1}, 24, 64).pad(32);
        f.bytes.resize(f.bytes.size() + 65);
        CHECK(gguf_file::parse(f)->tensors()[1].data.size() == 1);
        f.bytes.pop_back();
        CHECK(truncated(f) == "b: tensor: #1 ends at byte 161, the file has 160");
    }
    SUBCASE("alignment 1: the data lie at odd addresses") {
        file_bytes f;
        f.header(2, 1)
            .key("general.alignment", 4)
            .u32(1)
            .tensor("a", {3}, 24, 0)
            .tensor("b", {1}, 0, 3)
            .raw("xyz")
            .f32(1);
        const auto file = gguf_file::parse(f);
        REQUIRE(file);
        float one = 0;
        std::memcpy(&one, file->find_tensor("b")->data.data(), 4);
        CHECK(one == 1);
    }
}

TEST_CASE("gguf_file: refuses a header of another kind") {
    const auto version = [](std::uint32_t v) {
        file_bytes f;
        return f.raw("GGUF").u32(v).u64(0).u64(0);
    };
    CHECK(malformed(file_bytes{}.raw("GGML").u32(3).u64(0).u64(0)) ==
          "header: no GGUF file: its first four bytes are others");
    CHECK(unsupported(version(0)) == "header: GGUF version 0: 2 and 3 are supported");
    CHECK(unsupported(version(1)) == "header: GGUF version 1: 2 and 3 are supported");
    CHECK(unsupported(version(4)) == "header: GGUF version 4: 2 and 3 are supported");
    CHECK(unsupported(version(0x03000000)) == "header: a big-endian GGUF file: its version reads as 50331648");
    CHECK(truncated(file_bytes{}) == "header: at least 4 bytes are needed, 0 are there");
}

TEST_CASE("gguf_file: refuses counts and lengths that the bytes do not back") {
    // CVE-2024-21802, 21825, 21836, 23496, 23605 and 25664 to 25668: each of them an
    // allocation or a copy that trusted one of these.
    constexpr std::uint64_t huge = ~std::uint64_t{0};
    CHECK(truncated(file_bytes{}.header(huge, 0)) ==
          "header: 18446744073709551615 tensors need at least 18446744073709551615 bytes, 24 are there");
    CHECK(truncated(file_bytes{}.header(0, huge)) ==
          "header: 18446744073709551615 metadata pairs need at least 18446744073709551615 bytes, 24 are there");
    file_bytes small;
    small.header(6, 0).bytes.resize(160);  // six tensors need 25 bytes each
    CHECK(truncated(small) == "header: 6 tensors need at least 174 bytes, 160 are there");
    CHECK(malformed(file_bytes{}.header(0, 1).u64(huge).raw("0123456789")) ==
          "metadata: #0 has a name of 18446744073709551615 bytes, 65535 are allowed");
    CHECK(truncated(file_bytes{}.header(0, 1).u64(100).raw("0123456789")) ==
          "metadata: at least 132 bytes are needed, 42 are there");
    CHECK(malformed(file_bytes{}.header(1, 0).u64(huge).raw("01234567890123456789")) ==
          "tensor: #0 has a name of 18446744073709551615 bytes, 1024 are allowed");

    CHECK(malformed(one_pair("k", 8).u64(huge).raw("x")) ==
          "k: metadata: a string of 18446744073709551615 bytes, 1073741824 are allowed");
    CHECK(truncated(one_pair("k", 8).u64(100).raw("x")) == "k: metadata: at least 145 bytes are needed, 46 are there");
    CHECK(malformed(one_pair("k", 9).u32(0).u64(huge)) ==
          "k: metadata: #0 is an array of 18446744073709551615 elements, 1073741824 are allowed");
    CHECK(truncated(one_pair("k", 9).u32(10).u64(1u << 30)) ==
          "k: metadata: at least 8589934641 bytes are needed, 49 are there");
    CHECK(truncated(one_pair("k", 9).u32(8).u64(3).text("").text("")) ==
          "k: metadata: at least 73 bytes are needed, 65 are there");
    CHECK(truncated(one_pair("k", 9).u32(8).u64(2).text("").u64(9)) ==
          "k: metadata: at least 74 bytes are needed, 65 are there");
    CHECK(truncated(one_pair("k", 9).u32(6).u64(3).f32(1).f32(2)) ==
          "k: metadata: at least 61 bytes are needed, 57 are there");
    CHECK(refusal(one_pair("k", 9).u32(0).u64(3).raw("abc"), errc::malformed, {.array_count = 2}) ==
          "k: metadata: #0 is an array of 3 elements, 2 are allowed");
    CHECK(refusal(one_pair("k", 8).text("abc"), errc::malformed, {.string_bytes = 2}) ==
          "k: metadata: a string of 3 bytes, 2 are allowed");
    // n * element size wraps to 0, the caps being the caller's: nothing may be believed.
    CHECK(refusal(one_pair("k", 9).u32(10).u64(std::uint64_t{1} << 61), errc::truncated, {.array_count = huge}) ==
          "k: metadata: at least 18446744073709551615 bytes are needed, 49 are there");
}

TEST_CASE("gguf_file: refuses value types that it cannot size") {
    for (const std::uint32_t type : {13u, 1000u, 0x7FFFFFFFu}) {
        CHECK(malformed(one_pair("k", type).u64(0)) ==
              "k: metadata: #0 has the unknown value type " + std::to_string(type));
        CHECK(malformed(one_pair("k", 9).u32(type).u64(0)) ==
              "k: metadata: #0 has the unknown value type " + std::to_string(type));
    }
    // -1 as an i32.
    CHECK(malformed(one_pair("k", 0xFFFFFFFFu).u64(0)) == "k: metadata: #0 has the unknown value type 4294967295");
    CHECK(malformed(one_pair("k", 9).u32(0xFFFFFFFFu).u64(1)) ==
          "k: metadata: #0 has the unknown value type 4294967295");
    CHECK(unsupported(one_pair("k", 9).u32(9).u64(0).u64(0)) == "k: metadata: #0 is an array of arrays");
    CHECK(malformed(one_pair("k", 7).u8(2)) == "k: metadata: a boolean of 2: it must be 0 or 1");
    CHECK(malformed(one_pair("k", 9).u32(7).u64(3).u8(0).u8(1).u8(255)) ==
          "k: metadata: a boolean of 255: it must be 0 or 1");
}

TEST_CASE("gguf_file: refuses bad and equal names") {
    using namespace std::string_view_literals;
    const std::string long_key(65536, 'k'), name(1025, 'n');
    const auto pair = [](std::string_view key) { return one_pair(key, 0).u8(0); };
    const auto tensor = [](std::string_view n) {
        return file_bytes{}.header(1, 0).tensor(n, {1}, 24, 0).pad(32).u8(0);
    };
    CHECK(malformed(pair("").u8(0)) == "metadata: #0 has an empty name");
    CHECK(malformed(pair("a\0b"sv)) == "a\0b: metadata: #0 has a zero byte in its name"sv);
    CHECK(malformed(pair(long_key)) == "metadata: #0 has a name of 65536 bytes, 65535 are allowed");
    CHECK(gguf_file::parse(pair(std::string_view(long_key).substr(1))));
    CHECK(malformed(tensor("")) == "tensor: #0 has an empty name");
    CHECK(malformed(tensor("a\0"sv)) == "a\0: tensor: #0 has a zero byte in its name"sv);
    CHECK(malformed(tensor(name)) == "tensor: #0 has a name of 1025 bytes, 1024 are allowed");
    CHECK(gguf_file::parse(tensor(std::string_view(name).substr(1))));

    file_bytes keys;
    keys.header(0, 3).key("k", 0).u8(1).key("j", 0).u8(1).key("k", 4).u32(2);
    CHECK(malformed(keys) == "k: metadata: #0 and #2 have the same name");
    file_bytes names;
    names.header(3, 0)
        .tensor("b", {1}, 24, 0)
        .tensor("t", {1}, 24, 32)
        .tensor("t", {1}, 24, 64)
        .pad(32)
        .bytes.resize(400);
    CHECK(malformed(names) == "t: tensor: #1 and #2 have the same name");
}

TEST_CASE("gguf_file: refuses alignments that are no power of two") {
    for (const std::uint32_t alignment : {0u, 3u, 48u, 1u << 21, 1u << 31, ~0u})
        CHECK(malformed(one_pair("general.alignment", 4).u32(alignment)) ==
              "general.alignment: metadata: the alignment " + std::to_string(alignment) +
                  " is no power of two from 1 to 1048576");
    CHECK(malformed(one_pair("general.alignment", 10).u64(64)) ==
          "general.alignment: metadata: the alignment has value type 10, it must be a u32");
    CHECK(malformed(one_pair("general.alignment", 9).u32(4).u64(1).u32(64)) ==
          "general.alignment: metadata: the alignment has value type 9, it must be a u32");
    CHECK(gguf_file::parse(one_pair("general.alignment", 4).u32(1u << 20))->alignment() == 1u << 20);
}

TEST_CASE("gguf_file: refuses shapes that overflow or do not fit their type") {
    constexpr std::uint64_t one = 1;
    CHECK(malformed(one_tensor({1, 1, 1, 1, 1}, 0)) == "t: tensor: #0 has 5 dimensions, 4 are allowed");
    CHECK(malformed(one_tensor({~std::uint64_t{0}}, 0)) == "t: tensor: #0 has a negative dimension");
    CHECK(malformed(one_tensor({4, one << 63}, 0)) == "t: tensor: #0 has a negative dimension");
    // The product wraps to 0, to a small number and to a negative one: the last two
    // slip through a check of `product > 0`.
    CHECK(malformed(one_tensor({one << 32, one << 32}, 0)) == "t: tensor: #0 has dimensions whose product overflows");
    CHECK(malformed(one_tensor({(one << 32) + 1, one << 32, 1}, 24)) ==
          "t: tensor: #0 has dimensions whose product overflows");
    CHECK(malformed(one_tensor({one << 31, one << 31, 2}, 24)) ==
          "t: tensor: #0 has dimensions whose product overflows");
    CHECK(malformed(one_tensor({one << 62, 2, one << 62, 2}, 24)) ==
          "t: tensor: #0 has dimensions whose product overflows");
    CHECK(malformed(one_tensor({0, one << 62, one << 62}, 0)) ==
          "t: tensor: #0 has dimensions whose product overflows");  // rows() would wrap
    // llama.cpp 26978: 2^64 - 16 bytes, which the padding rounds up to 0. CVE-2026-33298: ne times type size.
    CHECK(malformed(one_tensor({4, (one << 30) - 1, (one << 30) + 1}, 0)) ==
          "t: tensor: #0 has dimensions whose size in bytes overflows");
    CHECK(malformed(one_tensor({one << 62}, 28)) == "t: tensor: #0 has dimensions whose size in bytes overflows");
    CHECK(malformed(one_tensor({33, 2}, 2)) == "t: tensor: #0 has rows of 33 elements, its type stores blocks of 32");
    CHECK(malformed(one_tensor({128}, 12)) == "t: tensor: #0 has rows of 128 elements, its type stores blocks of 256");
}

TEST_CASE("gguf_file: refuses types that ggml does not have") {
    for (const std::uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u})
        CHECK(unsupported(one_tensor({256}, type)) ==
              "t: tensor type: type " + std::to_string(type) + " was removed from ggml");
    for (const std::uint32_t type : {43u, 96u, 400u, 0xFFFFFFFFu})
        CHECK(unsupported(one_tensor({256}, type)) ==
              "t: tensor type: type " + std::to_string(type) + " is unknown: ggml's types have the numbers 0 to 42");
    for (const std::uint32_t type : {97u, 133u, 158u, 230u, 353u, 399u})
        CHECK(unsupported(one_tensor({256}, type)) ==
              "t: tensor type: type " + std::to_string(type) + " exists only in ik_llama.cpp, a fork of ggml");
    CHECK(gguf_file::parse(one_tensor({256}, 43)).error().sizes[3] == 0);
}

TEST_CASE("gguf_file: refuses data outside of the file, overlaps and disorder") {
    CHECK(malformed(one_tensor({4}, 0, 16)) == "t: tensor: #0 has offset 16, no multiple of the alignment 32");
    // Off by one block.
    CHECK(malformed(one_tensor({32}, 2, 18)) == "t: tensor: #0 has offset 18, no multiple of the alignment 32");
    CHECK(truncated(one_tensor({4}, 0, 64)) == "t: tensor: #0 ends at byte 144, the file has 128");
    CHECK(truncated(one_tensor({4}, 0, ~std::uint64_t{31})) ==
          "t: tensor: #0 ends at byte 18446744073709551615, the file has 128");
    // CVE-2026-7482: dimensions larger than the data.
    CHECK(truncated(one_tensor({1000}, 0)) == "t: tensor: #0 ends at byte 4064, the file has 128");
    file_bytes cut = one_tensor({16}, 0);
    CHECK(gguf_file::parse(cut));
    cut.bytes.pop_back();
    CHECK(truncated(cut) == "t: tensor: #0 ends at byte 128, the file has 127");

    const auto two = [](std::uint64_t first, std::uint64_t second) {
        file_bytes f;
        f.header(2, 0).tensor("a", {16}, 0, first).tensor("b", {16}, 0, second).pad(32).bytes.resize(400);
        return f;
    };
    CHECK(gguf_file::parse(two(0, 64)));
    CHECK(malformed(two(0, 32)) ==
          "b: tensor: #1 has offset 32, inside or before the data up to 64 of those before it");
    CHECK(malformed(two(0, 0)) == "b: tensor: #1 has offset 0, inside or before the data up to 64 of those before it");
    CHECK(malformed(two(64, 0)) ==
          "b: tensor: #1 has offset 0, inside or before the data up to 128 of those before it");

    // CVE-2025-53630, CVE-2026-27940: sizes whose padded sum wraps to a small number.
    file_bytes sum;
    constexpr std::uint64_t half = std::uint64_t{1} << 60;
    sum.header(5, 0);
    for (std::uint64_t i = 0; i < 5; ++i)
        sum.tensor(std::string(1, static_cast<char>('a' + i)), {half}, 0, i * 4 * half);
    sum.pad(32).bytes.resize(400);
    CHECK(refusal(sum, errc::malformed) == "d: tensor: #3 has offset 13835058055282163712, which overflows");
}

TEST_CASE("gguf_file: a file cut at any byte fails cleanly, as does the same header of a longer file") {
    const file_bytes f = sample();
    constexpr std::size_t last_real_byte = 352 + 32 + 54;
    for (std::size_t size = 0; size < f.bytes.size(); ++size) {
        const std::vector<std::byte> cut(f.bytes.begin(),
                                         f.bytes.begin() + static_cast<std::ptrdiff_t>(size));  // its end is guarded
        const auto file = gguf_file::parse(cut);
        CHECK(file.has_value() == (size >= last_real_byte));
        if (!file) CHECK(file.error().code == errc::truncated);
        if (!file) CHECK(file.error().sizes[0] > size);
    }
}

TEST_CASE("gguf_file: the beginning of a file is enough, and an error says how much is missing") {
    const file_bytes f = sample();
    std::size_t size = 0, steps = 0;
    for (;; ++steps) {
        const std::vector<std::byte> start(f.bytes.begin(), f.bytes.begin() + static_cast<std::ptrdiff_t>(size));
        const auto file = gguf_file::parse(start, {.file_size = f.bytes.size()});
        if (file) {
            CHECK(file->tensors()[1].offset == 32);
            CHECK(file->tensors()[1].bytes == 54);
            CHECK(file->tensors()[1].data.empty());
            break;
        }
        REQUIRE(file.error().code == errc::truncated);
        REQUIRE(file.error().sizes[0] > size);
        REQUIRE(file.error().sizes[0] <= f.bytes.size());
        size = static_cast<std::size_t>(file.error().sizes[0]);
    }
    CHECK(size < 352);
    CHECK(steps > 10);
    // Data that the beginning covers are handed out.
    const auto part = gguf_file::parse(std::span(f.bytes).first(352 + 12), {.file_size = f.bytes.size()});
    REQUIRE(part);
    CHECK(part->tensors()[0].data.size() == 12);
    CHECK(part->tensors()[1].data.empty());
    // The true length is what offsets are checked against.
    CHECK(refusal(std::span(f.bytes).first(352), errc::truncated, {.file_size = 437}) ==
          "b.weight: tensor: #1 ends at byte 438, the file has 437");
    CHECK(refusal(f, errc::argument, {.file_size = 447}) == "gguf_limits.file_size: 447, but 448 bytes are given");
}

TEST_CASE("gguf_file: random damage never leads outside of the file") {
    const file_bytes f = sample();
    std::uint64_t state = 42, sum = 0;
    const auto next = [&](std::uint64_t below) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (state >> 33) % below;
    };
    int parsed = 0;
    for (int round = 0; round < 6000; ++round) {
        std::vector<std::byte> damaged = f.bytes;
        for (std::uint64_t flips = 1 + next(4); flips-- != 0;) {
            const std::size_t at = static_cast<std::size_t>(next(352));
            damaged[at] =
                next(2) != 0 ? damaged[at] ^ static_cast<std::byte>(1u << next(8)) : static_cast<std::byte>(next(256));
        }
        damaged.resize(damaged.size() - (next(4) == 0 ? static_cast<std::size_t>(next(448)) : 0));
        damaged.shrink_to_fit();
        if (const auto file = gguf_file::parse(damaged)) ++parsed, sum += touch(*file);
    }
    CHECK(parsed > 0);
    CHECK(sum > 0);
}
