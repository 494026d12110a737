#include <qlib/file/gguf_model_check.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace qlib;
using gguf_test::file_bytes;

namespace {

/// A small model's metadata with some pairs more; the embedding has 3 rows of 8 unless told otherwise.
std::string check(const file_bytes& more, std::uint64_t pairs, std::uint64_t rows = 3, std::uint64_t cols = 8) {
    file_bytes f;
    f.header(1, 4 + pairs)
        .key("general.architecture", 8)
        .text("x")
        .key("x.block_count", 10)
        .u64(2)
        .key("x.embedding_length", 5)
        .u32(8);
    f.key("tokenizer.ggml.tokens", 9).u32(8).u64(3).text("a").text("b").text("c");
    f.bytes.insert(f.bytes.end(), more.bytes.begin(), more.bytes.end());
    f.tensor("token_embd.weight", {cols, rows}, 24, 0).pad(32).bytes.resize(f.bytes.size() + 100);
    const auto file = gguf_file::parse(f);
    REQUIRE(file);
    const status s = check_gguf_model(*file);
    if (s) return "";
    CHECK(s.error().code == errc::malformed);
    char text[200];
    return std::string(s.error().format(text));
}
std::string check(const file_bytes& more) { return check(more, 1); }
file_bytes pair(std::string_view key, std::uint32_t type) {
    file_bytes f;
    return f.key(key, type);
}

}  // namespace

TEST_CASE("check_gguf_model: accepts counts of any integer type, per layer too, and what is absent") {
    CHECK(check({}, 0) == "");
    CHECK(check(pair("x.attention.head_count", 0).u8(4)) == "");
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(5).u64(2).u32(0).u32(4)) == "");
    CHECK(check(pair("tokenizer.ggml.token_type", 9).u32(5).u64(3).u32(1).u32(1).u32(6)) == "");
    CHECK(check(pair("tokenizer.ggml.bos_token_id", 4).u32(2)) == "");
    CHECK(check(pair("x.expert_count", 4).u32(8).key("x.expert_used_count", 4).u32(2), 2) == "");
    CHECK(check({}, 0, 5) == "");  // a padded vocabulary
}

TEST_CASE("check_gguf_model: tables of the vocabulary have one element per token") {
    CHECK(check(pair("tokenizer.ggml.scores", 9).u32(6).u64(2).f32(0).f32(0)) ==
          "tokenizer.ggml.scores: 2 elements for a vocabulary of 3");
    CHECK(check(pair("tokenizer.ggml.scores", 9).u32(5).u64(3).u32(0).u32(0).u32(0)) ==
          "tokenizer.ggml.scores: an array of elements of type 6 is needed");
    CHECK(check(pair("tokenizer.ggml.scores", 6).f32(0)) == "tokenizer.ggml.scores: an array of elements of type 6 is needed");
    CHECK(check(pair("tokenizer.ggml.token_type", 9).u32(5).u64(4).u64(0).u64(0)) ==
          "tokenizer.ggml.token_type: 4 elements for a vocabulary of 3");
    CHECK(check(pair("tokenizer.ggml.bos_token_id", 4).u32(3)) == "tokenizer.ggml.bos_token_id: 3, it must be from 0 to 2");
    CHECK(check(pair("tokenizer.ggml.eos_token_id", 5).u32(~0u)) ==
          "tokenizer.ggml.eos_token_id: a negative number where none is allowed");
    CHECK(check(pair("tokenizer.ggml.separator_token_id", 8).text("x")) ==
          "tokenizer.ggml.separator_token_id: value type 8 where an integer is needed");
    CHECK(check(pair("tokenizer.ggml.seperator_token_id", 4).u32(3)) ==
          "tokenizer.ggml.seperator_token_id: 3, it must be from 0 to 2");
    CHECK(check({}, 0, 2) == "token_embd.weight: 2 rows for a vocabulary of 3");
    CHECK(check({}, 0, 3, 9) == "token_embd.weight: rows of 9 elements, the embedding length is 8");
}

TEST_CASE("check_gguf_model: counts that divide or bound loops are sane") {
    CHECK(check(pair("x.attention.head_count", 4).u32(0)) == "attention.head_count: 0, it must be from 1 to 1048576");
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(4).u64(1).u32(4)) == "attention.head_count_kv: 1 elements for 2 layers");
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(6).u64(2).f32(4).f32(4)) ==
          "attention.head_count_kv: value type 6 where an integer is needed");
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(8).u64(2).text("").text("")) ==
          "attention.head_count_kv: only arrays of numbers have elements that can be reached by index");
    CHECK(check(pair("x.expert_used_count", 4).u32(1)) == "expert_used_count: 1, it must be from 0 to 0");
    CHECK(check(pair("x.expert_count", 4).u32(8).key("x.expert_used_count", 4).u32(9), 2) ==
          "expert_used_count: 9, it must be from 0 to 8");
    CHECK(check(pair("x.expert_count", 10).u64(1u << 17)) == "expert_count: 131072, it must be from 0 to 65536");
}

TEST_CASE("check_gguf_model: the architecture is needed, and a block count has bounds") {
    const auto refused = [](const file_bytes& f) {
        const auto file = gguf_file::parse(f);
        REQUIRE(file);
        char text[200];
        return std::string(check_gguf_model(*file).error().format(text));
    };
    file_bytes none, number, empty, deep;
    CHECK(refused(none.header(0, 0)) == "general.architecture: the key is missing");
    CHECK(refused(number.header(0, 1).key("general.architecture", 0).u8(1)) ==
          "general.architecture: value type 0 where a string is needed");
    CHECK(refused(empty.header(0, 1).key("general.architecture", 8).text("")) ==
          "general.architecture: a name of 0 bytes, 1 to 64 are allowed");
    deep.header(0, 2).key("general.architecture", 8).text("x").key("x.block_count", 4).u32(65537);
    CHECK(refused(deep) == "block_count: 65537, it must be from 1 to 65536");
}
