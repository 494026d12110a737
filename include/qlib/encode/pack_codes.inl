// No #pragma once: each room includes this text. Codes in lanes, [weight][lane], to
// the bytes of a bit layout, [byte][lane].

/// to[i] |= bits of from[i], `mask` of them from bit `shift` on, moved to bit
/// `place`; n bytes. Bytes never spill into each other.
QLIB_INLINE static void or_bits(std::uint8_t* to, const std::uint8_t* from, std::size_t n, std::size_t shift,
                                unsigned mask_of_bits, std::size_t place) noexcept {
    using word = std::conditional_t<width % 8 == 0, std::uint64_t, std::uint32_t>;
    const word every = static_cast<word>(0x0101010101010101u) * mask_of_bits;
    const ints in_each = splat(static_cast<std::int32_t>(0x01010101u * mask_of_bits));
    const int right = static_cast<int>(shift), left = static_cast<int>(place);
    std::size_t i = 0;
    for (; i + sizeof(ints) <= n; i += sizeof(ints)) {
        ints a, b;
        std::memcpy(&a, from + i, sizeof a);
        std::memcpy(&b, to + i, sizeof b);
        b |= (a >> right & in_each) << left;
        std::memcpy(to + i, &b, sizeof b);
    }
    for (; i < n; i += sizeof(word)) {
        word a, b;
        std::memcpy(&a, from + i, sizeof a);
        std::memcpy(&b, to + i, sizeof b);
        b |= (a >> shift & every) << place;
        std::memcpy(to + i, &b, sizeof b);
    }
}

/// The bytes of a plane that come from a run of rows of codes, of n bytes each: as many words.
template <class Word>
QLIB_INLINE static void pack_run(const plane& p, std::size_t places, const std::uint8_t* code, std::size_t n,
                                 std::uint8_t* out) noexcept {
    const Word every = Word{} + static_cast<std::uint32_t>(0x01010101u * ((1u << p.width) - 1));
    for (std::size_t i = 0; i < n; i += sizeof(Word)) {
        Word sum{};
        for (std::size_t k = 0; k < places; ++k) {
            Word w;
            std::memcpy(&w, code + k * n + i, sizeof w);
            sum |= (w >> static_cast<int>(p.shift) & every)
                   << static_cast<int>(p.width * (p.high_first ? places - 1 - k : k));
        }
        std::memcpy(out + i, &sum, sizeof sum);
    }
}
static void pack_plane(const plane& p, const std::uint8_t* code, std::size_t n, std::uint8_t* out) noexcept {
    using words = std::uint32_t __attribute__((vector_size(4 * width)));
    using row = std::uint32_t __attribute__((vector_size(width)));
    const std::size_t places = 8 / p.width, bytes = p.run * width;
    for (std::size_t e = 0; e < n; e += places * p.run, code += places * bytes, out += bytes) {
        if (bytes % sizeof(words) == 0) pack_run<words>(p, places, code, bytes, out);
        else pack_run<row>(p, places, code, bytes, out);
    }
}

/// Whether F's codes are packed here; others go through F::store, block by block.
template <class F>
static constexpr bool packs = [] {
    constexpr bool params_alone = requires(const typename F::params& p, const plane_pointers<F, std::byte>& to) {
        F::store_params(p, to);
    };
    if constexpr (has_bit_layout<F> && params_alone) return packing_of<F>.kind != code_layout::own;
    else return false;
}();
template <class F> static constexpr std::size_t packed_size = F::bits::template bytes<F::grid::bits>(block_size<F>);

/// The codes of whole blocks to their bytes, once for each kind of layout.
template <code_layout Kind>
[[gnu::__noinline__]] static void pack_codes(const code_packing& p, const std::uint8_t* code,
                                             std::uint8_t* out) noexcept {
    if constexpr (Kind != code_layout::planes) std::memset(out, 0, p.bytes * width);
    if constexpr (Kind == code_layout::planes) {
        for (const plane& each : p.planes) {
            pack_plane(each, code, p.codes, out);
            out += packed_bytes(p.codes, each.width) * width;
        }
    } else if constexpr (Kind == code_layout::sequential) {
        for (std::size_t e = 0; e < p.codes; ++e) {
            const std::size_t at = e * p.bits / 8, place = e * p.bits % 8;
            or_bits(out + at * width, code + e * width, width, 0, 0xFFu >> place & ((1u << p.bits) - 1), place);
            if (place + p.bits > 8)
                or_bits(out + (at + 1) * width, code + e * width, width, 8 - place, (1u << (place + p.bits - 8)) - 1,
                        0);
        }
    } else {
        for (std::size_t first = 0; first < p.codes; first += 5)
            for (std::size_t e = smaller_size(first + 5, p.codes); e-- > first;)
                for (std::size_t l = 0; l < width; ++l) {
                    std::uint8_t& v = out[first / 5 * width + l];
                    v = static_cast<std::uint8_t>(3 * v + code[e * width + l]);
                }
    }
}
