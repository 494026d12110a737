#pragma once
// GGUF files written byte by byte, so that the reader is not tested against our own writer.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace gguf_test {

struct file_bytes {
    std::vector<std::byte> bytes;

    file_bytes& number(std::uint64_t value, int size) {
        for (int i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
        return *this;
    }
    file_bytes& u8(std::uint64_t v) { return number(v, 1); }
    file_bytes& u32(std::uint64_t v) { return number(v, 4); }
    file_bytes& u64(std::uint64_t v) { return number(v, 8); }
    file_bytes& f32(float v) { return u32(std::bit_cast<std::uint32_t>(v)); }
    file_bytes& raw(std::string_view s) {
        for (const char c : s) bytes.push_back(static_cast<std::byte>(c));
        return *this;
    }
    file_bytes& text(std::string_view s) { return u64(s.size()).raw(s); }
    file_bytes& pad(std::size_t alignment) {
        while (bytes.size() % alignment != 0) u8(0);
        return *this;
    }
    file_bytes& header(std::uint64_t tensors, std::uint64_t pairs) {
        return raw("GGUF").u32(3).u64(tensors).u64(pairs);
    }
    /// The part of a pair in front of its value.
    file_bytes& key(std::string_view name, std::uint32_t type) { return text(name).u32(type); }
    file_bytes& tensor(std::string_view name, std::vector<std::uint64_t> ne, std::uint32_t type, std::uint64_t offset) {
        text(name).u32(ne.size());
        for (const std::uint64_t n : ne) u64(n);
        return u32(type).u64(offset);
    }
    operator std::span<const std::byte>() const { return bytes; }
};

/// A valid file of 2 tensors and 4 pairs: the data from byte 352 on, 448 bytes in all.
inline file_bytes sample() {
    file_bytes f;
    f.header(2, 4);
    f.key("general.architecture", 8).text("llama");
    f.key("llama.block_count", 4).u32(1);
    f.key("tokenizer.ggml.tokens", 9).u32(8).u64(3).text("<s>").text("").text("a b");
    f.key("tokenizer.ggml.scores", 9).u32(6).u64(3).f32(0).f32(-1.5f).f32(2);
    f.tensor("a.weight", {3, 2}, 1, 0).tensor("b.weight", {32, 3}, 2, 32);
    f.pad(32);
    for (int i = 0; i < 12; ++i) f.u8(0xA0 + static_cast<unsigned>(i));
    f.pad(32);
    for (int i = 0; i < 54; ++i) f.u8(static_cast<unsigned>(i));
    return f.pad(32);
}

}  // namespace gguf_test
