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
    CHECK(check(pair("tokenizer.ggml.scores", 6).f32(0)) ==
          "tokenizer.ggml.scores: an array of elements of type 6 is needed");
    CHECK(check(pair("tokenizer.ggml.token_type", 9).u32(5).u64(4).u64(0).u64(0)) ==
          "tokenizer.ggml.token_type: 4 elements for a vocabulary of 3");
    CHECK(check(pair("tokenizer.ggml.bos_token_id", 4).u32(3)) ==
          "tokenizer.ggml.bos_token_id: 3, it must be from 0 to 2");
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
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(4).u64(1).u32(4)) ==
          "attention.head_count_kv: 1 elements for 2 layers");
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(6).u64(2).f32(4).f32(4)) ==
          "attention.head_count_kv: value type 6 where an integer is needed");
    CHECK(check(pair("x.attention.head_count_kv", 9).u32(8).u64(2).text("").text("")) ==
          "attention.head_count_kv: only arrays of numbers have elements that can be reached by index");
    CHECK(check(pair("x.expert_used_count", 4).u32(1)) == "expert_used_count: 1, it must be from 0 to 0");
    CHECK(check(pair("x.expert_count", 4).u32(8).key("x.expert_used_count", 4).u32(9), 2) ==
          "expert_used_count: 9, it must be from 0 to 8");
    CHECK(check(pair("x.expert_count", 10).u64(1u << 17)) == "expert_count: 131072, it must be from 0 to 65536");
}

TEST_CASE("check_gguf_model: numbers and texts have their types") {
    CHECK(check(pair("x.feed_forward_length", 9).u32(4).u64(2).u32(0).u32(64)) == "");
    CHECK(check(pair("x.feed_forward_length", 9).u32(4).u64(3).u32(0).u32(64).u32(1)) ==
          "feed_forward_length: 3 elements for 2 layers");
    CHECK(check(pair("x.feed_forward_length", 10).u64(~std::uint64_t{0})) ==
          "feed_forward_length: 18446744073709551615, it must be from 0 to 2147483647");
    CHECK(check(pair("x.context_length", 10).u64(1u << 31)) ==
          "context_length: 2147483648, it must be from 0 to 2147483647");
    CHECK(check(pair("x.vocab_size", 6).f32(3)) == "vocab_size: value type 6 where an integer is needed");
    CHECK(check(pair("x.attention.key_length", 5).u32(~0u)) ==
          "attention.key_length: a negative number where none is allowed");
    CHECK(check(pair("x.attention.value_length", 4).u32(1u << 21)) ==
          "attention.value_length: 2097152, it must be from 0 to 1048576");
    CHECK(check(pair("x.rope.dimension_count", 4).u32(1u << 21)) ==
          "rope.dimension_count: 2097152, it must be from 0 to 1048576");
    CHECK(check(pair("x.rope.freq_base", 6).f32(10000)) == "");
    CHECK(check(pair("x.rope.freq_base", 6).u32(0x7FC00000)) ==
          "rope.freq_base: a number that is negative or not finite");
    CHECK(check(pair("x.rope.scaling.factor", 12).u64(0x7FF0000000000000)) ==
          "rope.scaling.factor: a number that is negative or not finite");
    CHECK(check(pair("x.attention.layer_norm_rms_epsilon", 6).f32(-1)) ==
          "attention.layer_norm_rms_epsilon: a number that is negative or not finite");
    CHECK(check(pair("x.attention.layer_norm_rms_epsilon", 4).u32(0)) ==
          "attention.layer_norm_rms_epsilon: value type 4 where a floating-point number is needed");
    CHECK(check(pair("tokenizer.ggml.merges", 9).u32(8).u64(1).text("a b")) == "");
    CHECK(check(pair("tokenizer.ggml.merges", 9).u32(0).u64(1).u8(0)) ==
          "tokenizer.ggml.merges: an array of elements of type 8 is needed");
    CHECK(check(pair("tokenizer.chat_template", 8).text("{{ x }}")) == "");
    CHECK(check(pair("tokenizer.chat_template", 4).u32(0)) ==
          "tokenizer.chat_template: value type 4 where a string is needed");
    CHECK(check(pair("tokenizer.ggml.model", 9).u32(8).u64(0)) ==
          "tokenizer.ggml.model: value type 9 where a string is needed");
    CHECK(check(pair("tokenizer.ggml.add_bos_token", 7).u8(1)) == "");
    CHECK(check(pair("tokenizer.ggml.add_bos_token", 4).u32(1)) ==
          "tokenizer.ggml.add_bos_token: value type 4 where a boolean is needed");
    CHECK(check(pair("general.quantization_version", 4).u32(2)) == "");
    CHECK(check(pair("general.quantization_version", 8).text("2")) ==
          "general.quantization_version: value type 8 where an integer is needed");
}

TEST_CASE("check_gguf_model: tensors belong to the layers and experts that there are") {
    const auto message = [](std::string_view name, std::vector<std::uint64_t> ne, std::uint32_t experts = 4,
                            std::uint32_t version = 2) {
        file_bytes f;
        f.header(1, 6)
            .key("general.architecture", 8)
            .text("x")
            .key("x.block_count", 4)
            .u32(2)
            .key("x.embedding_length", 4)
            .u32(8);
        f.key("x.expert_count", 4).u32(experts).key("general.quantization_version", 4).u32(version);
        f.key("tokenizer.ggml.tokens", 9)
            .u32(8)
            .u64(1)
            .text("a")
            .tensor(name, std::move(ne), 24, 0)
            .pad(32)
            .bytes.resize(f.bytes.size() + 100);
        const auto file = gguf_file::parse(f);
        REQUIRE(file);
        const status s = check_gguf_model(*file);
        char text[200];
        return s ? std::string() : std::string(s.error().format(text));
    };
    CHECK(message("blk.1.ffn_up_exps.weight", {8, 2, 4}) == "");
    CHECK(message("blk.0.ffn_up_exps.weight", {8, 2, 3}) == "tensor: #0 is of 3 experts, the model has 4");
    CHECK(message("blk.0.ffn_up_exps.weight", {8, 2}, 0) == "tensor: #0 is of 1 experts, the model has 0");
    CHECK(message("blk.2.attn_q.weight", {8, 8}) == "tensor: #0 is of layer 2 of 2");
    CHECK(message("blk.99999999999999999999.attn_q.weight", {8, 8}) == "");  // no number that a loader would find
    CHECK(message("blk..attn_q.weight", {8, 8}) == "");
    CHECK(message("blk.7", {8, 8}) == "");
    CHECK(message("output.weight", {8, 0}) == "output.weight: 0 rows for a vocabulary of 1");
    CHECK(message("output.weight", {9, 1}) == "output.weight: rows of 9 elements, the embedding length is 8");
    CHECK(message("output.weight", {8, 1}, 4, 1) ==
          "general.quantization_version: version 1 of the quantized formats: 2 is supported");
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
