#include <qlib/file/gguf.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdlib>
#include <fstream>
#include <string>

using namespace qlib;
using gguf_test::file_bytes;
using gguf_test::sample;
using dims = std::vector<std::uint64_t>;

namespace {

/// A sink that keeps everything, and refuses from a number of bytes on.
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

/// Writes a parsed file again, in pieces of at most `piece` bytes.
std::vector<std::byte> rewrite(const gguf_file& file, std::size_t piece) {
    gguf_writer out;
    memory_sink sink;
    for (const auto& [key, value] : file.entries()) REQUIRE(out.set(key, value));
    for (const gguf_tensor& t : file.tensors())
        REQUIRE(out.add_tensor(t.name, t.type, std::span(t.ne).first(t.n_dims)));
    REQUIRE(out.begin(sink));
    for (const gguf_tensor& t : file.tensors())
        for (std::size_t at = 0; at < t.data.size(); at += piece)
            REQUIRE(out.write(t.name, t.data.subspan(at, piece < t.data.size() - at ? piece : t.data.size() - at)));
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

}  // namespace

TEST_CASE("gguf_writer: writes the bytes of the specification") {
    gguf_writer out;
    memory_sink sink;
    const std::vector<std::string> tokens = {"<s>", "", "a b"};
    REQUIRE(out.set("general.architecture", "llama"));
    REQUIRE(out.set("llama.block_count", std::uint32_t{1}));
    REQUIRE(out.set_array("tokenizer.ggml.tokens", tokens));
    REQUIRE(out.set_array("tokenizer.ggml.scores", std::array{0.0f, -1.5f, 2.0f}));
    REQUIRE(out.add_tensor("a.weight", 1, dims{3, 2}));
    REQUIRE(out.add_tensor("b.weight", 2, dims{32, 3}));
    REQUIRE(out.begin(sink));
    std::vector<std::byte> data;
    for (int i = 0; i < 12; ++i) data.push_back(static_cast<std::byte>(0xA0 + i));
    REQUIRE(out.write("a.weight", data));
    data.clear();
    for (int i = 0; i < 54; ++i) data.push_back(static_cast<std::byte>(i));
    REQUIRE(out.write("b.weight", data));
    REQUIRE(out.finish());
    CHECK(sink.bytes == sample().bytes);
    CHECK(out.file_size() == 448);
}

TEST_CASE("gguf_writer: every type of value") {
    gguf_writer out;
    memory_sink sink;
    REQUIRE(out.set("a", std::uint8_t{200}));
    REQUIRE(out.set("b", std::int8_t{-2}));
    REQUIRE(out.set("c", std::uint16_t{65535}));
    REQUIRE(out.set("d", std::int16_t{-3}));
    REQUIRE(out.set("e", -4));
    REQUIRE(out.set("f", 0.25f));
    REQUIRE(out.set("g", true));
    REQUIRE(out.set("h", std::string_view("text")));
    REQUIRE(out.set("i", ~std::uint64_t{0}));
    REQUIRE(out.set("j", std::int64_t{-5}));
    REQUIRE(out.set("k", 0.1));
    const bool flags[] = {false, true};
    REQUIRE(out.set_array("l", flags));
    REQUIRE(out.set_array("m", std::vector<std::int32_t>{}));
    REQUIRE(out.begin(sink));
    REQUIRE(out.finish());

    file_bytes f;
    f.header(0, 13).key("a", 0).u8(200).key("b", 1).u8(0xFE).key("c", 2).number(65535, 2).key("d", 3).number(0xFFFD, 2);
    f.key("e", 5).u32(0xFFFFFFFCu).key("f", 6).f32(0.25f).key("g", 7).u8(1).key("h", 8).text("text");
    f.key("i", 10)
        .u64(~std::uint64_t{0})
        .key("j", 11)
        .u64(~std::uint64_t{4})
        .key("k", 12)
        .u64(std::bit_cast<std::uint64_t>(0.1));
    f.key("l", 9).u32(7).u64(2).u8(0).u8(1).key("m", 9).u32(5).u64(0).pad(32);
    CHECK(sink.bytes == f.bytes);
    CHECK(gguf_file::parse(f));
}

TEST_CASE("gguf_writer: a key set again moves behind the others, a removed one is gone") {
    gguf_writer out;
    memory_sink sink;
    for (const char* key : {"a", "b", "c", "d"}) REQUIRE(out.set(key, std::uint32_t{1}));
    REQUIRE(out.set("b", "new"));
    REQUIRE(out.remove("c"));
    REQUIRE(out.remove("not_there"));
    REQUIRE(out.remove("d"));
    REQUIRE(out.set("d", std::uint32_t{2}));
    REQUIRE(out.set("a", std::uint32_t{3}));
    REQUIRE(out.begin(sink));
    CHECK(sink.bytes ==
          file_bytes{}.header(0, 3).key("b", 8).text("new").key("d", 4).u32(2).key("a", 4).u32(3).pad(32).bytes);
}

TEST_CASE("gguf_writer: general.alignment moves the data, and bad ones are refused") {
    for (const std::uint32_t alignment : {8u, 64u, 4096u}) {
        gguf_writer out;
        memory_sink sink;
        REQUIRE(out.set("general.alignment", alignment));
        REQUIRE(out.add_tensor("x", 24, dims{3}));
        REQUIRE(out.add_tensor("y", 24, dims{1}));
        REQUIRE(out.begin(sink));
        const std::byte data[3] = {std::byte{1}, std::byte{2}, std::byte{3}};
        REQUIRE(out.write("x", data));
        REQUIRE(out.write("y", std::span(data).first(1)));
        REQUIRE(out.finish());
        CHECK(sink.bytes.size() % alignment == 0);
        const auto file = gguf_file::parse(sink.bytes);
        REQUIRE(file);
        CHECK(file->alignment() == alignment);
        CHECK(file->data_start() % alignment == 0);
        CHECK(file->find_tensor("y")->offset == alignment);
    }
    gguf_writer out;
    memory_sink sink;
    for (const std::uint32_t alignment : {0u, 1u, 4u, 24u, 1u << 21}) {
        REQUIRE(out.set("general.alignment", alignment));
        CHECK(message(out.begin(sink)) ==
              "general.alignment: " + std::to_string(alignment) + " is no power of two from 8 to 1048576");
    }
    REQUIRE(out.set("general.alignment", std::uint64_t{32}));
    CHECK(message(out.begin(sink)) == "general.alignment: the alignment must be a u32");
    CHECK(sink.bytes.empty());
    REQUIRE(out.remove("general.alignment"));  // nothing is lost by a begin() that failed
    CHECK(out.begin(sink));
    CHECK(sink.bytes == file_bytes{}.header(0, 0).pad(32).bytes);
}

TEST_CASE("gguf_writer: refuses keys and values that break the rules") {
    using namespace std::string_view_literals;
    gguf_writer out;
    for (const std::string_view key :
         {"Upper.case"sv, ".a"sv, "a."sv, "a..b"sv, "with space"sv, "\xC3\xA4"sv, "a\0b"sv, ""sv})
        CHECK(message(out.set(key, 1)) ==
              "metadata key: a key is words of a-z, 0-9, _ and - with single dots between them");
    CHECK(out.set("gpt-oss.attention.head_count_kv", 1));
    const std::string longest(65535, 'k');
    CHECK(out.set(longest, 1));
    CHECK(out.set(longest + "k", 1).error().code == errc::malformed);
    // Keys of other files are copied as long as they can be read.
    const file_bytes f = sample();
    const auto file = gguf_file::parse(f);
    const gguf_value value = *file->find("llama.block_count");
    CHECK(out.set("Upper Case", value));
    CHECK(out.set("", value).error().code == errc::malformed);
    CHECK(out.set("a\0"sv, value).error().code == errc::malformed);

    gguf_value bad = value;
    bad.bytes = bad.bytes.first(3);
    CHECK(message(out.set("k", bad)) ==
          "metadata value: the 3 bytes of a value are not what its type 4 and count 1 say");
    bad = *file->find("tokenizer.ggml.tokens");
    bad.count = 4;
    CHECK_FALSE(out.set("k", bad));
    bad.count = 2;
    CHECK_FALSE(out.set("k", bad));
    bad.element_type = gguf_type::array;
    CHECK_FALSE(out.set("k", bad));
    CHECK_FALSE(out.set("k", gguf_value{static_cast<gguf_type>(13), static_cast<gguf_type>(13), 1, {}}));
    const std::byte two[1] = {std::byte{2}};
    CHECK_FALSE(out.set("k", gguf_value{gguf_type::boolean, gguf_type::boolean, 1, two}));
}

TEST_CASE("gguf_writer: names longer than ggml's 63 bytes are read as they were written") {
    gguf_writer out;
    memory_sink sink;
    std::vector<std::string> names;  // as diffusion models have them, and up to the longest
    for (std::size_t bytes = gguf_ggml_name_limit; bytes <= 1024; bytes += 31) {
        names.push_back("model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.");
        names.back().resize(bytes, 'n');
    }
    for (const std::string& name : names) REQUIRE(out.add_tensor(name, 24, dims{1}));
    REQUIRE(out.begin(sink));
    for (std::size_t i = 0; i < names.size(); ++i) REQUIRE(out.write(names[i], std::array{static_cast<std::byte>(i)}));
    REQUIRE(out.finish());
    const auto file = gguf_file::parse(sink.bytes);
    REQUIRE(file);
    REQUIRE(file->tensors().size() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        CHECK(file->tensors()[i].name == names[i]);
        CHECK(file->find_tensor(names[i])->data[0] == static_cast<std::byte>(i));
    }
}

TEST_CASE("gguf_writer: refuses tensors that no reader would take") {
    gguf_writer out;
    memory_sink sink;
    CHECK(message(out.add_tensor("", 0, dims{1})) == "tensor: #0 has an empty name");
    CHECK(message(out.add_tensor(std::string(1025, 'n'), 0, dims{1})) ==
          "tensor: #0 has a name of 1025 bytes, 1024 are allowed");
    CHECK(message(out.add_tensor("t", 0, dims{1, 1, 1, 1, 1})) == "tensor: #0 has 5 dimensions, 4 are allowed");
    CHECK(message(out.add_tensor("t", 0, dims{4, (1u << 30) - 1, (1u << 30) + 1})) ==
          "tensor: #0 has dimensions whose size in bytes overflows");
    CHECK(message(out.add_tensor("t", 2, dims{33})) ==
          "tensor: #0 has rows of 33 elements, its type stores blocks of 32");
    CHECK(message(out.add_tensor("t", 5, dims{32})) == "tensor type: type 5 was removed from ggml");
    CHECK(out.add_tensor(std::string(1024, 'n'), 0, dims{1}));
    CHECK(out.add_tensor("t", 0, dims{1}));
    CHECK(out.add_tensor("t", 1, dims{2}));
    CHECK(message(out.begin(sink)) == "tensor: #1 and #2 have the same name");

    gguf_writer large;
    for (const char* name : {"a", "b", "c", "d", "e"})
        REQUIRE(large.add_tensor(name, 24, dims{std::uint64_t{1} << 60}));
    CHECK(message(large.begin(sink)) == "tensor: #4 makes the file larger than 4611686018427387904 bytes");
    CHECK(sink.bytes.empty());
}

TEST_CASE("gguf_writer: refuses data in another order or of another size") {
    gguf_writer out;
    memory_sink sink;
    const std::vector<std::byte> data(64, std::byte{5});
    const std::span<const std::byte> all(data);
    REQUIRE(out.add_tensor("empty", 0, dims{0, 7}));
    REQUIRE(out.add_tensor("a", 0, dims{10}));
    REQUIRE(out.add_tensor("none", 2, dims{32, 0}));
    REQUIRE(out.add_tensor("b", 24, dims{64}));
    REQUIRE(out.add_tensor("last", 0, dims{0}));
    CHECK(message(out.write("a", all)) == "gguf_writer: the header is not written yet: call begin() first");
    CHECK_FALSE(out.finish());
    REQUIRE(out.begin(sink));
    CHECK(message(out.set("k", 1)) == "gguf_writer: the header is already written");
    CHECK_FALSE(out.remove("k"));
    CHECK_FALSE(out.add_tensor("c", 0, dims{1}));
    CHECK_FALSE(out.begin(sink));
    CHECK(message(out.write("b", all)) == "tensor data: data for another tensor than #1, which is next");
    CHECK(out.write("empty", {}));
    CHECK(out.write("a", all.first(30)));
    CHECK(message(out.write("a", all.first(11))) == "tensor data: 11 bytes more, but #1 lacks only 10 of its 40");
    CHECK(message(out.finish()) == "tensor data: #1 has 30 of its 40 bytes");
    CHECK(out.write("a", all.first(10)));
    CHECK_FALSE(out.write("a", all.first(1)));
    CHECK(message(out.finish()) == "tensor data: #3 has 0 of its 64 bytes");
    CHECK(out.write("b", all));
    CHECK(message(out.write("b", all.first(1))) == "tensor data: all tensors are complete, 1 bytes are left over");
    CHECK(out.finish());
    CHECK(message(out.finish()) == "gguf_writer: the file is already finished");
    CHECK(out.file_size() == sink.bytes.size());
    CHECK(gguf_file::parse(sink.bytes));
}

TEST_CASE("gguf_writer: a sink that refuses is an error, and the end") {
    const file_bytes f = sample();
    const auto file = gguf_file::parse(f);
    for (std::size_t room = 0; room < f.bytes.size(); room += 13) {
        gguf_writer out;
        memory_sink sink;
        sink.room = room;
        for (const auto& [key, value] : file->entries()) REQUIRE(out.set(key, value));
        for (const gguf_tensor& t : file->tensors())
            REQUIRE(out.add_tensor(t.name, t.type, std::span(t.ne).first(t.n_dims)));
        status s = out.begin(sink);
        for (const gguf_tensor& t : file->tensors())
            if (s) s = out.write(t.name, t.data);
        CHECK(s.error().code == errc::io);
        CHECK(message(out.finish()) == "gguf_writer: an earlier write failed");
    }
}

TEST_CASE("gguf_writer: a file read and written again has the same bytes") {
    const file_bytes f = sample();
    const auto file = gguf_file::parse(f);
    REQUIRE(file);
    for (const std::size_t piece : {1u, 7u, 32u, 1000u}) CHECK(rewrite(*file, piece) == f.bytes);
}

TEST_CASE("gguf_writer: real models come out as they went in") {
    const char* folder = std::getenv("QLIB_MODELS");
    if (folder == nullptr) {
        MESSAGE("QLIB_MODELS is not set: no real model is read");
        return;
    }
    struct model {
        const char* path;
        std::size_t tensors, vocabulary;
        const char* name;
    };
    for (const model& m : {model{"/stories260K/stories260K-f16.gguf", 47, 512, "stories260K"},
                           model{"/stories260K/stories260K-f32.gguf", 47, 512, "stories260K"},
                           model{"/stories15M/stories15M-f16.gguf", 56, 32000, "stories15M"}}) {
        CAPTURE(m.path);
        const std::vector<std::byte> bytes = read_file(std::string(folder) + m.path);
        if (bytes.empty()) {
            MESSAGE("not there: ", m.path);
            continue;
        }
        const auto file = gguf_file::parse(bytes);
        REQUIRE(file);
        CHECK(check_gguf_model(*file));
        CHECK(file->entries().size() == 26);
        CHECK(file->tensors().size() == m.tensors);
        CHECK(file->find("general.name")->as_string().value() == m.name);
        CHECK(file->find("tokenizer.ggml.tokens")->count == m.vocabulary);
        CHECK(*file->find("tokenizer.ggml.tokens")->strings().begin() == "<unk>");
        CHECK(file->find("tokenizer.ggml.token_type")->at(0)->as_uint().value() == 2);
        CHECK(file->find_tensor("token_embd.weight")->rows() == m.vocabulary);
        CHECK(file->find_tensor("blk.0.attn_norm.weight")->type == 0);
        CHECK(file->find_tensor("output.weight") == nullptr);
        CHECK((rewrite(*file, 100000) == bytes));
        // Its header alone is enough to plan with.
        const auto header = gguf_file::parse(std::span(bytes).first(static_cast<std::size_t>(file->data_start())),
                                             {.file_size = bytes.size()});
        REQUIRE(header);
        CHECK(header->tensors().back().offset == file->tensors().back().offset);
        CHECK(header->tensors().back().data.empty());
    }
}
