#pragma once
// Codes of 1 to 16 bits as one dense stream, least significant bit first: code i holds bits [i*bits, (i+1)*bits)
// of the bytes read as one little-endian number.
#include "../core/abi.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Bytes that `count` codes of `bits` bits fill.
QLIB_INLINE constexpr std::size_t packed_bytes(std::size_t count, std::size_t bits) noexcept {
    return (count * bits + 7) / 8;
}

/// Packs `count` codes, each < 2^bits, into packed_bytes(count, bits) bytes; the last byte's unused bits are 0.
template <class Code>
constexpr void pack_bits(const Code* codes, std::size_t count, std::size_t bits, std::byte* out) noexcept {
    std::uint32_t pending = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        pending |= static_cast<std::uint32_t>(codes[i]) << held;
        for (held += bits; held >= 8; held -= 8, pending >>= 8) *out++ = static_cast<std::byte>(pending & 0xFF);
    }
    if (held != 0) *out = static_cast<std::byte>(pending & 0xFF);
}

/// The inverse of pack_bits. Reads packed_bytes(count, bits) bytes, never more.
template <class Code>
constexpr void unpack_bits(const std::byte* in, std::size_t count, std::size_t bits, Code* codes) noexcept {
    std::uint32_t pending = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        for (; held < bits; held += 8) pending |= static_cast<std::uint32_t>(*in++) << held;
        codes[i] = static_cast<Code>(pending & ((1u << bits) - 1));
        pending >>= bits;
        held -= bits;
    }
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Whether numbers can be copied: g++ puts the bytes of several together with its vectors, slowly.
QLIB_INLINE constexpr bool whole_numbers() noexcept {
    return !std::is_constant_evaluated() && std::endian::native == std::endian::little;
}
/// Little-endian numbers at any address.
template <class T> QLIB_INLINE constexpr T read_number(const std::byte* in) noexcept {
    T v = 0;
    if (whole_numbers()) std::memcpy(&v, in, sizeof v);
    else
        for (std::size_t i = 0; i < sizeof(T); ++i)
            v = static_cast<T>(v | static_cast<T>(static_cast<T>(in[i]) << 8 * i));
    return v;
}
template <class T> QLIB_INLINE constexpr void write_number(T v, std::byte* out) noexcept {
    if (whole_numbers()) std::memcpy(out, &v, sizeof v);
    else
        for (std::size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<std::byte>(v >> 8 * i & 0xFF);
}

/// N bytes, which from then on nothing that is written can change: compilers make vectors of what is done with them.
template <std::size_t N> QLIB_INLINE constexpr std::array<std::byte, N> copy_of(const std::byte* in) noexcept {
    std::array<std::byte, N> all{};
    if (whole_numbers()) std::memcpy(all.data(), in, N);
    else
        for (std::size_t i = 0; i < N; ++i) all[i] = in[i];
    return all;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
