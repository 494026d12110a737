#pragma once
// Codes of 1 to 16 bits as one dense stream, least significant bit first: code i holds bits [i*bits, (i+1)*bits) of the bytes
// read as one little-endian number.
#include "../core/abi.hpp"

#include <cstddef>
#include <cstdint>

namespace qlib::inline v0::inline QLIB_BASE {

/// Bytes that `count` codes of `bits` bits fill.
QLIB_INLINE constexpr std::size_t packed_bytes(std::size_t count, std::size_t bits) noexcept { return (count * bits + 7) / 8; }

/// Packs `count` codes, each < 2^bits, into packed_bytes(count, bits) bytes; the last byte's unused bits are 0.
template <class Code> constexpr void pack_bits(const Code* codes, std::size_t count, std::size_t bits, std::byte* out) noexcept {
    std::uint32_t pending = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        pending |= static_cast<std::uint32_t>(codes[i]) << held;
        for (held += bits; held >= 8; held -= 8, pending >>= 8) *out++ = static_cast<std::byte>(pending & 0xFF);
    }
    if (held != 0) *out = static_cast<std::byte>(pending & 0xFF);
}

/// The inverse of pack_bits. Reads packed_bytes(count, bits) bytes, never more.
template <class Code> constexpr void unpack_bits(const std::byte* in, std::size_t count, std::size_t bits, Code* codes) noexcept {
    std::uint32_t pending = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        for (; held < bits; held += 8) pending |= static_cast<std::uint32_t>(*in++) << held;
        codes[i] = static_cast<Code>(pending & ((1u << bits) - 1));
        pending >>= bits;
        held -= bits;
    }
}

}  // namespace qlib::inline v0::inline QLIB_BASE
