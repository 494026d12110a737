// No #pragma once: each room includes this text inside its lanes. Codes in lanes, [weight][lane], to the bytes of a bit layout, [byte][lane].

/// to[i] |= bits of from[i], `mask` of them from bit `shift` on, moved to bit `place`; n bytes. Bytes never spill into each other.
QLIB_INLINE static void or_bits(std::uint8_t* to, const std::uint8_t* from, std::size_t n, std::size_t shift, unsigned mask, std::size_t place) noexcept {
    using word = std::conditional_t<width % 8 == 0, std::uint64_t, std::uint32_t>;
    const word every = static_cast<word>(0x0101010101010101u) * mask;
    for (std::size_t i = 0; i < n; i += sizeof(word)) {
        word a, b;
        std::memcpy(&a, from + i, sizeof a);
        std::memcpy(&b, to + i, sizeof b);
        b |= (a >> shift & every) << place;
        std::memcpy(to + i, &b, sizeof b);
    }
}

template <plane P> QLIB_INLINE static void pack_plane(const std::uint8_t* code, std::size_t n, std::uint8_t* out) noexcept {
    constexpr std::size_t places = 8 / P.width, bytes = P.run * width;
    for (std::size_t e = 0; e < n; e += places * P.run, code += places * bytes, out += bytes) {
#pragma GCC unroll 8
        for (std::size_t i = 0; i < places; ++i)
            or_bits(out, code + i * bytes, bytes, P.shift, (1u << P.width) - 1, bit_planes<P>::bit_of(P, i * P.run));
    }
}
template <plane... Planes> QLIB_INLINE static void pack_planes(bit_planes<Planes...>*, const std::uint8_t* code, std::size_t n, std::uint8_t* out) noexcept {
    ((pack_plane<Planes>(code, n, out), out += packed_bytes(n, Planes.width) * width), ...);
}

/// Whether F's codes are packed here; others go through F::store, block by block.
template <class F> static constexpr bool packs = [] {
    if constexpr (!has_bit_layout<F>) return false;
    else if constexpr (!requires(const typename F::params& p, const plane_pointers<F, std::byte>& to) { F::store_params(p, to); }) return false;
    else return requires { F::bits::list; } || std::same_as<typename F::bits, sequential> || std::same_as<typename F::bits, trits>;
}();
template <class F> static constexpr std::size_t packed_size = F::bits::template bytes<F::grid::bits>(block_size<F>);

/// The codes of whole blocks to packed_size<F> bytes each.
template <class F> static void pack_codes(const std::uint8_t* code, std::uint8_t* out) noexcept {
    using bits = typename F::bits;
    constexpr std::size_t n = block_size<F>, b = F::grid::bits;
    std::memset(out, 0, packed_size<F> * width);
    if constexpr (requires { bits::list; }) {
        pack_planes(static_cast<bits*>(nullptr), code, n, out);
    } else if constexpr (std::same_as<bits, sequential>) {
        for (std::size_t e = 0; e < n; ++e) {
            const std::size_t at = e * b / 8, place = e * b % 8;
            or_bits(out + at * width, code + e * width, width, 0, 0xFFu >> place & ((1u << b) - 1), place);
            if (place + b > 8) or_bits(out + (at + 1) * width, code + e * width, width, 8 - place, (1u << (place + b - 8)) - 1, 0);
        }
    } else {
        for (std::size_t first = 0; first < n; first += 5)
            for (std::size_t e = smaller_size(first + 5, n); e-- > first;)
                for (std::size_t l = 0; l < width; ++l) {
                    std::uint8_t& v = out[first / 5 * width + l];
                    v = static_cast<std::uint8_t>(3 * v + code[e * width + l]);
                }
    }
}
