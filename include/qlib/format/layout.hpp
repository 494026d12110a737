#pragma once
// Layouts: where the bits of a block lie. A part of a format.
//
// A bit layout says how codes become bytes: bytes<B>(n), pack<B>(codes, out), unpack<B>(in, codes)
// for codes of B bits. A block layout says in which order codes and the sections of the scales
// follow each other, in one plane or in several.
#include "../numeric/bit_packing.hpp"
#include "concept.hpp"

namespace qlib::inline QLIB_ABI {

/// How a bit layout describes itself to kernels and readers, as `kind`; one without is its own.
enum class code_layout : std::uint8_t {
    sequential,  ///< one after another, least significant bit first
    planes,      ///< slices of each code: `list`, see `plane`
    base3,       ///< five to a byte, the first the least significant
    own,         ///< the format's own
};
template <class Bits>
inline constexpr code_layout layout_kind = [] {
    if constexpr (requires { Bits::kind; }) return Bits::kind;
    else return code_layout::own;
}();

/// Codes one after another, least significant bit first. The one bit layout that lets a row end inside a block.
struct sequential {
    static constexpr code_layout kind = code_layout::sequential;
    static constexpr bool ragged = true;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept {
        return packed_bytes(n, B);
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        pack_bits(c.data(), c.size(), B, out);
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        unpack_bits(in, c.size(), B, c.data());
    }
};

/// A slice of every code: `width` bits from bit `shift` on. Each run of `run` bytes holds 8/width * run codes: code e
/// of it lies in byte e % run, at bit width * (e / run); with high_first the places in a byte are counted from the top.
struct plane {
    std::size_t width = 8, run = 1, shift = 0;
    bool high_first = false;
};

/// Codes split into planes that follow each other, in storage order.
template <plane... Planes> struct bit_planes {
    static constexpr code_layout kind = code_layout::planes;
    static constexpr std::array<plane, sizeof...(Planes)> list{Planes...};
    static constexpr bool ragged = false;

    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept {
        return (packed_bytes(n, Planes.width) + ...);
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        hold_all<B>();
        for (std::size_t i = 0; i < bytes<B>(c.size()); ++i) out[i] = std::byte{0};
        for (const plane& p : list) {
            for (std::size_t e = 0; e < c.size(); ++e)
                out[byte_of(p, e)] |= static_cast<std::byte>((c[e] >> p.shift & mask(p)) << bit_of(p, e));
            out += packed_bytes(c.size(), p.width);
        }
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        hold_all<B>();
        for (Code& code : c) code = 0;
        for (const plane& p : list) {
            for (std::size_t e = 0; e < c.size(); ++e)
                c[e] = static_cast<Code>(c[e] | (std::to_integer<unsigned>(in[byte_of(p, e)]) >> bit_of(p, e) & mask(p))
                                                    << p.shift);
            in += packed_bytes(c.size(), p.width);
        }
    }

    /// Where code e lies in a plane: the byte, and its lowest bit there. Kernels make their shuffles from it.
    QLIB_INLINE static constexpr std::size_t byte_of(const plane& p, std::size_t e) noexcept {
        const std::size_t span = 8 / p.width * p.run;
        return e / span * p.run + e % p.run;
    }
    QLIB_INLINE static constexpr std::size_t bit_of(const plane& p, std::size_t e) noexcept {
        const std::size_t place = e / p.run % (8 / p.width);
        return p.width * (p.high_first ? 8 / p.width - 1 - place : place);
    }

private:
    template <std::size_t B> static consteval void hold_all() {
        static_assert((Planes.width + ...) == B, "the planes must hold all bits of a code");
    }
    QLIB_INLINE static constexpr unsigned mask(const plane& p) noexcept { return (1u << p.width) - 1; }
};

/// Two codes a byte, the first in the low nibble of the first `Run` bytes, the next
/// `Run` codes above them. ggml's 4-bit blocks.
template <std::size_t Run> using nibbles_split = bit_planes<plane{4, Run}>;
using nibbles_split_16 = nibbles_split<16>;
/// Two codes a byte, the first in the high nibble. bitsandbytes.
using high_nibble_first = bit_planes<plane{4, 1, 0, true}>;
using whole_bytes = bit_planes<plane{8}>;

/// Codes 0, 1, 2 in base 3, five to a byte, the first the least significant: 1.6 bits each.
struct trits {
    static constexpr code_layout kind = code_layout::base3;
    static constexpr bool ragged = true;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept {
        return (n + 4) / 5;
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        for (std::size_t i = 0; i < c.size(); i += 5) {
            unsigned v = 0;
            for (std::size_t j = i + 5 < c.size() ? i + 5 : c.size(); j-- > i;) v = 3 * v + c[j];
            *out++ = static_cast<std::byte>(v);
        }
    }
    /// Bytes above 242, which pack never writes, decode to codes 0..2 as well.
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        for (std::size_t i = 0; i < c.size(); i += 5) {
            unsigned v = std::to_integer<unsigned>(*in++);
            for (std::size_t j = i; j < i + 5 && j < c.size(); ++j, v /= 3) c[j] = static_cast<Code>(v % 3);
        }
    }
};

/// Numbers of whole bytes one after another, little-endian.
struct little_endian {
    static constexpr code_layout kind = code_layout::sequential;
    static constexpr bool ragged = true;
    template <std::size_t B> QLIB_INLINE static constexpr std::size_t bytes(std::size_t n) noexcept {
        return n * (B / 8);
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void pack(std::span<const Code> c, std::byte* out) noexcept {
        for (const Code code : c)
            for (std::size_t i = 0; i < sizeof(Code); ++i) *out++ = static_cast<std::byte>(code >> 8 * i & 0xFF);
    }
    template <std::size_t B, class Code>
    QLIB_INLINE static constexpr void unpack(const std::byte* in, std::span<Code> c) noexcept {
        for (Code& code : c) {
            code = 0;
            for (std::size_t i = 0; i < sizeof(Code); ++i)
                code = static_cast<Code>(code | static_cast<Code>(std::to_integer<Code>(*in++) << 8 * i));
        }
    }
};

/// The parts of a block. `scales` are the scales or super-scales, `zeros` the zero points, offsets or super-mins,
/// `subs` integer sub-scales and mins.
enum class field : std::uint8_t { scales, zeros, subs, codes };

/// One plane: blocks hold their fields one after another. Order: by default scales, zeros, subs, codes.
template <class Bits = sequential, field... Order> struct inline_blocks {
    using bits = Bits;
    static constexpr bool planes_apart = false, flat = false;
    static constexpr auto order = [] {
        if constexpr (sizeof...(Order) == 0) return std::array{field::scales, field::zeros, field::subs, field::codes};
        else return std::array{Order...};
    }();
};

/// A plane for the codes, then one for each other field. `flat`: blocks run over row ends, as bitsandbytes stores them.
template <class Bits = sequential, bool Flat = false> struct planar {
    using bits = Bits;
    static constexpr bool planes_apart = true, flat = Flat;
    static constexpr auto order = std::array{field::codes, field::scales, field::zeros, field::subs};
};
/// bitsandbytes' planes.
template <class Bits = sequential> using flat_planar = planar<Bits, true>;

}  // namespace qlib::inline QLIB_ABI
