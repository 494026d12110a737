// No #pragma once: each room includes this text inside its struct. Single blocks, from the wire to floats, over the room's vectors.

/// What weights are before they are mapped: their codes where codes are bytes, else their levels.
template <block_format F> using raw = std::conditional_t<byte_codes<F>, std::uint8_t, float>;
/// Room for a block of them: vectors of 64 are written, and 15 more than there are may be read.
template <block_format F> static constexpr std::size_t raw_size = round_up(block_size<F> + 15, 64);

template <block_format F> struct block_maps {
    typename F::params params;
    float outer_scale;
};

/// Reads block b of wire row r: n weights, fewer than a block's at a ragged row end. Touches no byte of the wire beyond it.
template <block_format F>
QLIB_INLINE static block_maps<F> open_block(const qview<F>& W, std::size_t r, std::size_t b, std::size_t n, raw<F>* out) noexcept {
    const auto planes = W.block(r, b);
    const auto outer = W.outer(r, b * block_size<F>);
    if constexpr (unpacks<F>) {
        if (n == block_size<F>) {
            unpack<F>(planes[0] + F::offset_of(field::codes), out);
            return {F::load(planes, outer, {}), F::outer_scale(outer)};
        }
    }
    typename F::code read[codes<F>] = {};
    const std::size_t count = divide_up(n, F::vec);
    const auto params = F::load(planes, outer, {read, count});
    for (std::size_t i = 0; i < count; ++i) {
        if constexpr (byte_codes<F>) out[i] = read[i];
        else F::level(read[i], out + i * F::vec);
    }
    return {params, F::outer_scale(outer)};
}

/// The weights of a block: mapped<F::map>(map, level) times the outer scale, rounded as there. A NaN has the bits 7FC00000.
template <block_format F> QLIB_INLINE static void decode_block(const block_maps<F>& maps, const raw<F>* weights, std::size_t n, float* out) noexcept {
    const floats outer = splat(maps.outer_scale);
    for (std::size_t g = 0; g < F::groups && g * F::group < n; ++g) {
        const affine a = F::at(maps.params, g);
        const floats s = splat(a.s), z = splat(a.z);
        const std::size_t end = smaller_size(n, (g + 1) * F::group);
        for (std::size_t i = g * F::group; i < end; i += 16) {
            floats v;
            if constexpr (byte_codes<F>) v = levels<F>(weights + i);
            else v = load(weights + i);
            if constexpr (F::map == form::scaled) v = times(s, v);
            else if constexpr (F::map == form::shifted) v = times(s, minus(v, z));
            else v = plus(times(s, v), z);
            if constexpr (outer_multiplies<F>) v = times(v, outer);
            v = quiet(v);
            if (end - i >= 16) store(out + i, v);
            else store(out + i, v, end - i);
        }
    }
}

/// Blocks [first, end) of wire row r, which is `cols` weights long, to consecutive floats.
template <block_format F>
static void decode_blocks(const qview<F>& W, std::size_t r, std::size_t first, std::size_t end, std::size_t cols, float* out) noexcept {
    alignas(64) raw<F> weights[raw_size<F>];
    for (std::size_t b = first; b < end; ++b) {
        const std::size_t n = smaller_size(block_size<F>, cols - b * block_size<F>);
        const auto maps = open_block<F>(W, r, b, n, weights);
        decode_block<F>(maps, weights, n, out + (b - first) * block_size<F>);
    }
}
