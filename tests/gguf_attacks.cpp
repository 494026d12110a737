// Attacks on readers of GGUF that are known by a number, each as a small file: what it
// did elsewhere, and the error that it is here.
#include <qlib/file/gguf.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace qlib;
using gguf_test::file_bytes;

namespace {

constexpr std::uint64_t one = 1, huge = ~std::uint64_t{0};

file_bytes pair(std::string_view key, std::uint32_t type) { return file_bytes().header(0, 1).key(key, type); }
file_bytes tensor(std::vector<std::uint64_t> ne, std::uint32_t type, std::uint64_t offset = 0) {
    file_bytes f;
    f.header(1, 0).tensor("t", std::move(ne), type, offset).pad(32).bytes.resize(f.bytes.size() + 64);
    return f;
}
/// Tensors of the given type and shapes, one behind the other as a reader would count that does not see an overflow.
file_bytes tensors(std::uint32_t type, std::vector<std::vector<std::uint64_t>> shapes,
                   std::vector<std::uint64_t> offsets) {
    file_bytes f;
    f.header(shapes.size(), 0);
    for (std::size_t i = 0; i < shapes.size(); ++i)
        f.tensor(std::string(1, static_cast<char>('a' + i)), shapes[i], type, offsets[i]);
    f.pad(32).bytes.resize(f.bytes.size() + 512);
    return f;
}
/// A model with tokens "a", "b" and one more pair.
file_bytes model(const file_bytes& more) {
    file_bytes f;
    f.header(0, 3)
        .key("general.architecture", 8)
        .text("llama")
        .key("tokenizer.ggml.tokens", 9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("b");
    f.bytes.insert(f.bytes.end(), more.bytes.begin(), more.bytes.end());
    return f;
}

struct attack {
    const char* id;
    file_bytes file;
    const char* message;  // of the parser, or, where that finds nothing, of check_gguf_model
};

const attack attacks[] = {
    // Allocations and copies that trusted a number of the file.
    {"CVE-2024-21802: n_dims and ne beyond the array that they are copied to", tensor({1, 1, 1, 1, 1}, 0),
     "t: tensor: #0 has 5 dimensions, 4 are allowed"},
    {"CVE-2024-21802: the product of ne wraps", tensor({one << 32, one << 32}, 0),
     "t: tensor: #0 has dimensions whose product overflows"},
    {"CVE-2024-21825: n times the size of an array's element wraps to 0", pair("k", 9).u32(10).u64(one << 61),
     "k: metadata: #0 is an array of 2305843009213693952 elements, 1073741824 are allowed"},
    {"CVE-2024-21825: n strings of 16 bytes wrap", pair("k", 9).u32(8).u64(one << 60).u64(0),
     "k: metadata: #0 is an array of 1152921504606846976 elements, 1073741824 are allowed"},
    {"CVE-2024-21836: n_tensors times the size of their table wraps", file_bytes().header((one << 56) + 1, 0),
     "header: 72057594037927937 tensors need at least 1801439850948198449 bytes, 24 are there"},
    {"CVE-2024-23496: a string's length and its terminator wrap to 0", pair("k", 8).u64(huge),
     "k: metadata: a string of 18446744073709551615 bytes, 1073741824 are allowed"},
    {"CVE-2024-23605: n_kv times the size of its table wraps", file_bytes().header(0, (one << 58) + 1),
     "header: 288230376151711745 metadata pairs need at least 4035225266123964454 bytes, 24 are there"},
    {"CVE-2024-25664: n_kv is not backed", file_bytes().header(0, huge),
     "header: 18446744073709551615 metadata pairs need at least 18446744073709551615 bytes, 24 are there"},
    {"CVE-2024-25665: a key's length is not backed", file_bytes().header(0, 1).u64(huge).raw("0123456789"),
     "metadata: #0 has a name of 18446744073709551615 bytes, 65535 are allowed"},
    {"CVE-2024-25666: n_tensors is not backed", file_bytes().header(huge, 0),
     "header: 18446744073709551615 tensors need at least 18446744073709551615 bytes, 24 are there"},
    {"CVE-2024-25667: an array's element type is none", pair("k", 9).u32(0xFFFFFFFF).u64(1),
     "k: metadata: #0 has the unknown value type 4294967295"},
    {"CVE-2024-25668: an array's length is not backed", pair("k", 9).u32(8).u64(1000),
     "k: metadata: at least 8049 bytes are needed, 49 are there"},
    {"llama.cpp 15711: n_tensors times what each costs in memory wraps", file_bytes().header(one << 57, 0),
     "header: 144115188075855872 tensors need at least 3602879701896396824 bytes, 24 are there"},

    // Sizes of tensors that wrap.
    {"CVE-2025-53630: the sum of padded sizes wraps",
     tensors(0, {{one << 60}, {one << 60}, {one << 60}, {one << 60}}, {0, one << 62, one << 63, 3 * (one << 62)}),
     "d: tensor: #3 has offset 13835058055282163712, which overflows"},
    {"CVE-2026-27940: the same with the memory of the tables on top",
     tensors(0, {{(one << 60) - 8}, {8}}, {0, (one << 62) - 32}),
     "a: tensor: #0 ends at byte 4611686018427387968, the file has 608"},
    {"CVE-2026-33298: ne times the type's size wraps", tensor({one << 62}, 28),
     "t: tensor: #0 has dimensions whose size in bytes overflows"},
    {"llama.cpp 26978: 2^64 - 16 bytes, padded to 0", tensor({4, (one << 30) - 1, (one << 30) + 1}, 0),
     "t: tensor: #0 has dimensions whose size in bytes overflows"},
    {"llama.cpp 18674: an embedding of 2^42 + 1 rows, whose stride wraps", tensor({1152, (one << 42) + 1}, 8),
     "t: tensor: #0 ends at byte 5383208929592616, the file has 160"},
    {"gguf-tools 25: a product that wraps to a negative number", tensor({one << 31, one << 31, 2}, 24),
     "t: tensor: #0 has dimensions whose product overflows"},

    // Alignments, names and offsets.
    {"gguf-tools 25: alignment 0", pair("general.alignment", 4).u32(0),
     "general.alignment: metadata: the alignment 0 is no power of two from 1 to 1048576"},
    {"llama.cpp 24997: alignment 2^31", pair("general.alignment", 4).u32(1u << 31),
     "general.alignment: metadata: the alignment 2147483648 is no power of two from 1 to 1048576"},
    {"llama.cpp 26318: an alignment of another type", pair("general.alignment", 5).u32(32),
     "general.alignment: metadata: the alignment has value type 5, it must be a u32"},
    {"an offset beyond the end", tensor({4}, 0, one << 40),
     "t: tensor: #0 ends at byte 1099511627856, the file has 128"},
    {"two tensors that share their data", tensors(0, {{8}, {8}}, {0, 0}),
     "b: tensor: #1 has offset 0, inside or before the data up to 32 of those before it"},
    {"CVE-2026-7482: dimensions larger than the data, read when quantizing", tensor({256, 256}, 1),
     "t: tensor: #0 ends at byte 131168, the file has 160"},
    {"llama.cpp 6774: a file cut short, mapped into memory", tensor({17}, 0),
     "t: tensor: #0 ends at byte 132, the file has 128"},

    // The vocabulary.
    {"CVE-2025-49847: a token of 2^31 bytes, a negative int",
     pair("tokenizer.ggml.tokens", 9).u32(8).u64(1).u64(one << 31).raw("abc"),
     "tokenizer.ggml.tokens: metadata: a string of 2147483648 bytes, 1073741824 are allowed"},
    {"CVE-2025-49847: a token of 2^32 + 1 bytes, 1 as an int",
     pair("tokenizer.ggml.tokens", 9).u32(8).u64(1).u64((one << 32) + 1).raw("abc"),
     "tokenizer.ggml.tokens: metadata: a string of 4294967297 bytes, 1073741824 are allowed"},
    {"CVE-2025-52566: a token's id beyond the vocabulary, as an unsigned number",
     model(file_bytes().key("tokenizer.ggml.bos_token_id", 4).u32(0x80000000)),
     "tokenizer.ggml.bos_token_id: 2147483648, it must be from 0 to 1"},
    {"CVE-2025-52566: a negative id", model(file_bytes().key("tokenizer.ggml.eos_token_id", 5).u32(0xFFFFFFFF)),
     "tokenizer.ggml.eos_token_id: a negative number where none is allowed"},
    {"fewer scores than tokens", model(file_bytes().key("tokenizer.ggml.scores", 9).u32(6).u64(1).f32(0)),
     "tokenizer.ggml.scores: 1 elements for a vocabulary of 2"},
};

}  // namespace

TEST_CASE("gguf_file: known attacks are clear errors") {
    for (const attack& a : attacks) {
        CAPTURE(a.id);
        std::string_view culprit;
        char text[300];
        const auto file = gguf_file::parse(a.file, {}, &culprit);
        const status s = file ? check_gguf_model(*file) : status(file.error());
        REQUIRE_FALSE(s);
        CHECK(std::string(s.error().format(text, culprit)) == a.message);
    }
}

TEST_CASE("gguf_file: a small file never asks for more memory than its bytes back") {
    // 160 bytes that announced gigabytes: every count and length of a small file, set to every power of two.
    const file_bytes f = gguf_test::sample();
    for (std::size_t at = 8; at + 8 <= 352; ++at)
        for (int bit = 24; bit < 64; bit += 3) {
            file_bytes changed = f;
            for (int i = 0; i < 8; ++i)
                changed.bytes[at + static_cast<std::size_t>(i)] =
                    static_cast<std::byte>((one << bit) >> (8 * i) & 0xFF);
            const auto file = gguf_file::parse(changed);  // under the sanitizers an absurd allocation is an error
            if (!file) CHECK(file.error().code != errc::memory);
        }
}
