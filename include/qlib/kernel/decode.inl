// No #pragma once: each room includes this text. Single blocks, from the wire to sixteen, over the room's vectors.

/// What weights are before they are mapped: their codes where codes are bytes, else their levels.
template <block_format F> using raw = std::conditional_t<byte_codes<F>, std::uint8_t, float>;
/// What must follow them in memory: unpacking writes whole vectors of 64, decoding reads vectors of 16.
static constexpr std::size_t raw_margin = 64;

template <block_format F> struct block_maps {
    typename F::params params;
    float outer_scale;
};

/// Whether F's codes name points of a lattice.
template <class F> static constexpr bool is_lattice = requires {
    typename F::grid::points;
    requires 16 % F::vec == 0 && block_size<F> % 16 == 0;
};

/// F::level of all codes of a block, 16 weights at a time: the points' numbers as bytes first, and which lanes are
/// negative or moved down.
template <class F> QLIB_INLINE static void lattice_levels(const typename F::code* read, float* out) noexcept {
    using grid = typename F::grid;
    using points = typename grid::points;
    constexpr std::size_t n = block_size<F>, dims = points::dims;
    std::int8_t number[n];
    unsigned down[n / 16];
    for (std::size_t i = 0; i < n; i += 16) {
        unsigned lanes = 0;
#pragma GCC unroll 4
        for (std::size_t at = 0; at < 16; at += F::vec) {
            const auto c = read[(i + at) / F::vec];
            for (std::size_t p = 0; p < grid::points_per_code; ++p)
                std::memcpy(number + i + at + p * dims,
                            lattice_points<points>[c >> p * grid::index_bits & (points::count - 1)].data(), dims);
            if constexpr (requires { grid::even_signs; }) lanes |= grid::signs(c) << at;
            else lanes |= ((0u - (c >> grid::index_bits & 1u)) & ((1u << F::vec) - 1)) << at;
        }
        down[i / 16] = lanes;
    }
    for (std::size_t i = 0; i < n; i += 16) {
        sixteen v = times(from_bytes(number + i), splat_16(points::unit));
        if constexpr (requires { grid::even_signs; }) v = negate(v, down[i / 16]);
        else v = v + negate(splat_16(grid::shift), down[i / 16]);
        store(out + i, v);
    }
}

/// Reads blocks [b, b + count) of wire row r, which is `cols` weights long and may end inside the last: their weights,
/// `apart` from block to block, and their maps. Touches no byte of the wire beyond them.
template <block_format F>
[[gnu::__noinline__]] static void open_blocks(const qview<F>& W, std::size_t r, std::size_t b, std::size_t count,
                                              std::size_t cols, raw<F>* out, std::size_t apart,
                                              block_maps<F>* maps) noexcept {
    [[maybe_unused]] const std::size_t whole = smaller_size(count, cols / block_size<F> - b);
    [[maybe_unused]] std::size_t unpacked = 0;
    for (std::size_t i = 0; i < count; ++i, out += apart) {
        const auto from = W.block(r, b + i);
        const auto outer = W.outer(r, (b + i) * block_size<F>);
        const std::size_t n = smaller_size(block_size<F>, cols - (b + i) * block_size<F>);
        maps[i].outer_scale = F::outer_scale(outer);
        if (unpacks<F> && (!has_ragged_rows<F> || n == block_size<F>)) {
            // Made in place: what was stored in parts is slow to be copied as a whole.
            ::new (static_cast<void*>(&maps[i].params)) typename F::params(F::load(from, outer, {}));
            if constexpr (unpacks<F>) {
                if (i < unpacked) continue;
                if (joined_blocks < F >> 1 && apart == block_size<F> && whole - i >= joined_blocks<F>) {
                    unpack<typename F::bits, F::grid::bits, joined_blocks<F> * block_size<F>>(from[0], out);
                    unpacked = i + joined_blocks<F>;
                } else {
                    unpack<typename F::bits, F::grid::bits, block_size<F>>(from[0] + F::offset_of(field::codes), out);
                }
            }
        } else if constexpr (!unpacks<F> || has_ragged_rows<F>) {
            typename F::code read[codes<F>] = {};
            const std::size_t codes_here = divide_up(n, F::vec);
            maps[i].params = F::load(from, outer, {read, codes_here});
            for (std::size_t c = 0; c < codes<F>; ++c) {  // zeros beyond a ragged end
                if constexpr (byte_codes<F>) out[c] = read[c];
                else if constexpr (!is_lattice<F>) F::level(read[c], out + c * F::vec);
            }
            if constexpr (is_lattice<F>) lattice_levels<F>(read, out);
        }
    }
}

/// What levels stand for: mapped<F::map>(map, level) times the outer scale, rounded
/// as there. A NaN has the bits 7FC00000.
template <block_format F>
QLIB_INLINE static sixteen weights_of(sixteen level, sixteen s, sixteen z, sixteen outer) noexcept {
    if constexpr (F::map == form::scaled) level = times(s, level);
    else if constexpr (F::map == form::shifted) level = times(s, level - z);
    else level = times(s, level) + z;
    if constexpr (outer_multiplies<F>) level = times(level, outer);
    return quiet(level);
}

/// The maps of all groups of a block, before any is used: compilers make vectors of them, and keep what groups share
/// out of the loop over them.
template <block_format F> struct group_maps {
    float s[F::groups], z[F::groups];
    QLIB_INLINE explicit group_maps(const typename F::params& p) noexcept {
        if constexpr (requires { F::maps(p, s, z); }) {
            F::maps(p, s, z);
        } else {
            for (std::size_t g = 0; g < F::groups; ++g) {
                const affine a = F::at(p, g);
                s[g] = a.s;
                z[g] = a.z;
            }
        }
    }
};

/// The weights of a whole block.
template <block_format F>
QLIB_INLINE static void decode_block(const block_maps<F>& maps, const raw<F>* weights, float* out) noexcept {
    const sixteen outer = splat_16(maps.outer_scale);
    const group_maps<F> of_group(maps.params);
    for (std::size_t g = 0; g < F::groups; ++g) {
        const sixteen s = splat_16(of_group.s[g]), z = splat_16(of_group.z[g]);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < F::group; i += 16, weights += 16, out += 16) {
            sixteen v;
            if constexpr (byte_codes<F>) v = levels<F>(weights);
            else v = load(weights);
            v = weights_of<F>(v, s, z, outer);
            if (F::group - i >= 16) store(out, v);
            else store(out, v, F::group - i);
        }
        if constexpr (F::group % 16 != 0) {
            weights -= 16 - F::group % 16;
            out -= 16 - F::group % 16;
        }
    }
}

/// The weights of a whole block, rounded to T: the maps of some groups turn all levels that
/// there are into weights, and codes look them up.
template <block_format F, class T>
QLIB_INLINE static void decode_block(const block_maps<F>& maps, const raw<F>* codes, T* out) noexcept {
    constexpr std::size_t groups = groups_per_table<F>, size = code_count<F>,
                          of_half = groups * size > 16 ? 16 / size : groups;
    const sixteen outer = splat_16(maps.outer_scale), levels = load(repeated_levels<F>.data());
    const group_maps<F> of_group(maps.params);
    const auto weights = [&](std::size_t g) QLIB_INLINE_LAMBDA {
        return weights_of<F>(levels, spread<size, of_half>(&of_group.s[g]), spread<size, of_half>(&of_group.z[g]),
                             outer);
    };
    for (std::size_t g = 0; g < F::groups; g += groups) {
        const sixteen low = weights(g), high = groups * size > 16 ? weights(g + of_half) : low;
        look_up<groups, F::group, size>(low, high, codes + g * F::group, out + g * F::group);
    }
}

/// The same for plain numbers, which have no maps.
template <block_format F> static void widen_numbers(const std::byte* from, std::size_t n, float* out) noexcept {
    using T = typename F::grid::number;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) store(out + i, quiet(widen<T>(from + i * sizeof(T))));
    if (i == n) return;
    std::byte rest[16 * sizeof(T)] = {};
    std::memcpy(rest, from + i * sizeof(T), (n - i) * sizeof(T));
    store(out + i, quiet(widen<T>(rest)), n - i);
}

/// Blocks [first, end) of wire row r, which is `cols` weights long, to consecutive sixteen, or to numbers of a T for
/// which looks_up<F, T> is true.
template <block_format F, class T>
static void decode_blocks(const qview<F>& W, std::size_t r, std::size_t first, std::size_t end, std::size_t cols,
                          T* out) noexcept {
    if constexpr (holds_numbers<F>)
        return widen_numbers<F>(W.block(r, first)[0], smaller_size(end * block_size<F>, cols) - first * block_size<F>,
                                out);
    alignas(64) raw<F> weights[chunk_blocks<F> * block_size<F> + raw_margin];
    block_maps<F> maps[chunk_blocks<F>] = {};
    for (std::size_t b = first; b < end; b += chunk_blocks<F>) {
        const std::size_t count = smaller_size(chunk_blocks<F>, end - b);
        open_blocks<F>(W, r, b, count, cols, weights, block_size<F>, maps);
        for (std::size_t i = 0; i < count; ++i, out += block_size<F>) {
            const std::size_t n = cols - (b + i) * block_size<F>;
            if (n >= block_size<F>) {
                decode_block<F>(maps[i], weights + i * block_size<F>, out);
            } else {
                T whole[block_size<F>];
                decode_block<F>(maps[i], weights + i * block_size<F>, whole);
                std::memcpy(static_cast<void*>(out), whole, n * sizeof(T));
            }
        }
    }
}

/// decoder_kernels::decode and the like.
template <block_format F, class T>
static void decode_view(const void* q, std::size_t r, std::size_t first, std::size_t end, std::size_t cols,
                        T* out) noexcept {
    decode_blocks<F>(*static_cast<const qview<F>*>(q), r, first, end, cols, out);
}
template <class T> static void put_typed(const void* x, bool made, std::size_t n, void* out, bool streamed) noexcept {
    if (made || std::same_as<T, float>) put_numbers(static_cast<const T*>(x), n, static_cast<T*>(out), streamed);
    else put_numbers(static_cast<const float*>(x), n, static_cast<T*>(out), streamed);
}
static void put_floats_alone(const void* x, bool, std::size_t n, void* out, element, bool streamed) noexcept {
    put_typed<float>(x, true, n, out, streamed);
}
static void put_elements(const void* x, bool made, std::size_t n, void* out, element type, bool streamed) noexcept {
    if (type == element::float16) put_typed<f16>(x, made, n, out, streamed);
    else if (type == element::bfloat16) put_typed<bf16>(x, made, n, out, streamed);
    else put_typed<float>(x, made, n, out, streamed);
}
/// Why codes of F are not unpacked here.
template <class F>
static constexpr const char* why_loaded = unpacks<F> || holds_numbers<F> ? ""
                                          : !byte_codes<F>     ? "codes of several weights, or of more than 8 bits"
                                          : !has_bit_layout<F> ? "the format has no bits or no offset_of"
                                                               : "the room does not know the bit layout";

/// decoder_kernels: F in this room; to floats alone, or to f16 and bf16, too.
template <block_format F, bool Halves> static constexpr decoder_kernels decoder_of() noexcept {
    decoder_kernels k{id,
                      unpacks<F> || holds_numbers<F> ? "bits" : "load",
                      why_loaded<F>,
                      &decode_view<F, float>,
                      nullptr,
                      nullptr,
                      Halves ? &put_elements : &put_floats_alone,
                      &end_stream};
    if constexpr (Halves && looks_up<F, f16>) k.decode_f16 = &decode_view<F, f16>;
    if constexpr (Halves && looks_up<F, bf16>) k.decode_bf16 = &decode_view<F, bf16>;
    return k;
}
