#pragma once
// What the fuzz targets share: each defines fuzz(bytes), and require() makes a broken promise a crash.
#include <cstddef>
#include <cstdint>
#include <span>

inline void require(bool promise) {
    if (!promise) __builtin_trap();
}

/// Reads every byte, so that a span that reaches outside of the input is found.
inline void touch(std::span<const std::byte> bytes) {
    std::uint8_t sum = 0;
    for (const std::byte b : bytes) sum = static_cast<std::uint8_t>(sum ^ static_cast<std::uint8_t>(b));
    static_cast<void>(*static_cast<volatile std::uint8_t*>(&sum));
}
template <class Text> void touch_text(const Text& text) { touch(std::as_bytes(std::span(text))); }

void fuzz(std::span<const std::byte> bytes);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz({reinterpret_cast<const std::byte*>(data), size});
    return 0;
}
