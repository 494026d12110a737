// No #pragma once: what brings codes to bytes in a room includes this text inside its struct. The walk over the codes
// of a block, a `vector` of bytes at a time, by the shuffles of kernel/code_shuffles.hpp. The struct has `vector`,
// `shifted_together`, and piece<S>(p), the bytes of a slice with their words in place; moved<What, E, S>(vector), the
// codes' bits moved to theirs, E the first code.

/// N codes of B bits, in order. Writes whole vectors; reads the codes' bytes only.
template <class Bits, std::size_t B, std::size_t N>
QLIB_INLINE static void unpack_vectors(const std::byte* in, std::uint8_t* out) noexcept {
    constexpr std::size_t period = shuffle_period<Bits, B>, whole = N / period * period;
    for (std::size_t e = 0; e < whole; e += period) put_vectors<Bits, B, N, period>(in, e, out + e);
    if constexpr (whole != N) put_vectors<Bits, B, N, N - whole>(in, whole, out + whole);
}
/// Codes [begin, begin + N) of a block of All, N at most a period; `begin` is a multiple of the period.
template <class Bits, std::size_t B, std::size_t All, std::size_t N>
QLIB_INLINE static void put_vectors(const std::byte* in, std::size_t begin, std::uint8_t* out) noexcept {
    constexpr std::size_t V = sizeof(vector);
    [&]<std::size_t... C>(std::index_sequence<C...>) QLIB_INLINE_LAMBDA {
        const auto put = [&](std::size_t at, vector v) QLIB_INLINE_LAMBDA { std::memcpy(out + at, &v, V); };
        (put(V * C, bring_codes<Bits, B, All, V * C, (N - V * C < V ? N - V * C : V)>(in, begin)), ...);
    }
    (std::make_index_sequence<(N + V - 1) / V>{});
}
/// M codes from begin + E on, all slices put together.
template <class Bits, std::size_t B, std::size_t All, std::size_t E, std::size_t M>
QLIB_INLINE static vector bring_codes(const std::byte* in, std::size_t begin) noexcept {
    return [&]<std::size_t... P>(std::index_sequence<P...>) QLIB_INLINE_LAMBDA {
        vector c{};
        ((c |= bring_slice<Bits, B, P, E, M>(in, begin), in += slice_bytes<Bits, B>(P, All)), ...);
        return c;
    }
    (std::make_index_sequence<slice_count<Bits>>{});
}
/// The part of M codes that lies in slice P, which starts at `in`.
template <class Bits, std::size_t B, std::size_t P, std::size_t E, std::size_t M>
QLIB_INLINE static vector bring_slice(const std::byte* in, std::size_t begin) noexcept {
    constexpr const code_shuffle& s = shuffle<Bits, B, P, E, M, shifted_together>;
    constexpr std::size_t period = shuffle_period<Bits, B>;
    return moved<slice_of<Bits, B>(P), E, s>(
        piece<s>(in + slice_bytes<Bits, B>(P, period) * (begin / period) + s.first));
}
