// No #pragma once: each room includes this text behind gemm.inl. Y = X * W^T for few rows of X: each row of weights is
// read once, from memory into registers, and multiplied by all rows of X as it passes by.

/// Weights in a vector: four to a lane.
static constexpr std::size_t lane_codes = 4 * width;

/// Whether codes of F come from the wire into registers: of one block, or of two. Of others a stretch of operands is
/// made first.
template <block_format F>
static constexpr bool streams = [] {
    if constexpr (in_lanes<F> && F::group % 4 == 0)
        return operand_map_of<F, dot_form>.flips || operand_map_of<F, dot_form>.size <= 16;
    else return false;
}();

/// Which plane holds the scales where gathers_scales: has_bit_layout sees to it that codes lie in plane 0.
template <block_format F> static constexpr std::size_t scale_plane = F::layout::planes_apart ? 1 : 0;

/// Whether the scales of a chunk are numbers at equal distances, one to a block, which can be read together.
template <block_format F>
static constexpr bool gathers_scales = [] {
    if constexpr (requires(typename F::params p) { p.scale[0].bits; } && F::groups == 1 && !outer_multiplies<F> &&
                  F::map != form::shifted && dot_groups<F> == dot_groups_most) {
        using T = typename F::stored_scale;
        constexpr bool known = std::same_as<T, f16> || std::same_as<T, bf16> || std::same_as<T, f32>;
        constexpr std::size_t apart = F::planes[scale_plane<F>];
        constexpr bool alone = F::layout::planes_apart && F::layout::order[1] == field::scales && apart == sizeof(T) &&
                               F::map == form::scaled;
        return known && (alone || (!F::layout::planes_apart && F::offset_of(field::scales) == 0 && apart >= 8));
    }
    return false;
}();

/// Where one row of weights lies.
template <block_format F> struct weight_row {
    const qview<F>& W;
    std::size_t r, cols;
};

/// Maps of a chunk's groups, in units of the dot product; integer factors of both apart, where a format has some.
/// Behind them what vectors may write too much of.
struct chunk_maps {
    alignas(64) float scale[2 * dot_groups_most] = {}, offset[2 * dot_groups_most] = {};
    std::int8_t sub[dot_groups_most] = {}, min[dot_groups_most] = {};
};
/// Whether scales are a number of the block times small integers.
template <block_format F>
static constexpr bool has_small_factors = [] {
    if constexpr (requires { requires F::two_levels; })
        return F::sub_bits <= 8 && F::min_bits < 8 && !outer_multiplies<F>;
    else return false;
}();

/// The maps of one block to groups [g, g + F::groups) of a chunk.
template <block_format F>
QLIB_INLINE static void put_chunk_maps(const block_maps<F>& maps, std::size_t g, chunk_maps& out) noexcept {
    constexpr float unit = 1.0f / static_cast<float>(integer_levels_of<F>.mul);
    if constexpr (has_small_factors<F>) {
        const auto& p = maps.params;
        store(out.scale + g, splat_16(p.super.value() * unit));
        std::memcpy(out.sub + g, p.sub.data(), F::groups);
        if constexpr (!F::has_mins) return;
        store(out.offset + g, splat_16(-p.super_min.value()));
        std::memcpy(out.min + g, p.min.data(), F::groups);
        return;
    }
    const float outer = outer_multiplies<F> ? maps.outer_scale : 1.0f;
    const group_maps<F> of_group(maps.params);
    for (std::size_t i = 0; i < F::groups; ++i) {
        out.scale[g + i] = of_group.s[i] * outer * unit;
        if constexpr (F::map == form::shifted) {  // s * (l - z), in operands: of the whole zero point
            constexpr auto mul = static_cast<float>(integer_levels_of<F>.mul),
                           bias = static_cast<float>(form_of<F, dot_form>.bias);
            out.offset[g + i] = -(out.scale[g + i] * (of_group.z[i] * mul - bias));
        }
        if constexpr (F::map == form::offset) out.offset[g + i] = of_group.z[i] * outer;
    }
}

/// The same for `count` blocks, straight from the wire.
template <block_format F>
QLIB_INLINE static void load_chunk_maps(const weight_row<F>& w, const plane_pointers<F, const std::byte>& from,
                                        std::size_t b, std::size_t count, chunk_maps& out) noexcept {
    if constexpr (gathers_scales<F>) {
        if (count == dot_groups_most) {
            constexpr std::size_t apart = F::planes[scale_plane<F>];
            const std::byte* const at = from[scale_plane<F>];
            constexpr float unit = 1.0f / static_cast<float>(integer_levels_of<F>.mul);
            store(out.scale, times(widen_apart<typename F::stored_scale, apart>(at), splat_16(unit)));
            if constexpr (F::map == form::offset)
                store(out.offset, widen_apart<typename F::stored_scale, apart>(at + sizeof(typename F::stored_scale)));
            return;
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        auto block = from;
        for (std::size_t p = 0; p < block.size(); ++p) block[p] += i * F::planes[p];
        const auto outer = w.W.outer(w.r, (b + i) * block_size<F>);
        put_chunk_maps<F>({F::load(block, outer, {}), F::outer_scale(outer)}, i * F::groups, out);
    }
}

/// What is left of a row behind its last whole chunk, as whole blocks with zeros behind them.
template <block_format F> struct rest_of_row {
    static constexpr std::size_t blocks = dot_groups<F> / F::groups;
    std::byte bytes[blocks * block_bytes<F> + 64 * F::planes.size()];

    QLIB_INLINE plane_pointers<F, const std::byte> copy(const weight_row<F>& w, std::size_t b) noexcept {
        const std::size_t whole = w.cols / block_size<F> - b, ragged = w.cols % block_size<F>;
        const auto from = w.W.block(w.r, b);
        std::memset(bytes, 0, sizeof bytes);
        plane_pointers<F, std::byte> to{};
        plane_pointers<F, const std::byte> out{};
        std::size_t at = 0;
        for (std::size_t p = 0; p < to.size(); ++p, at += 64) {
            out[p] = to[p] = bytes + at;
            std::memcpy(to[p], from[p], whole * F::planes[p]);
            to[p] += whole * F::planes[p];
            at += blocks * F::planes[p];
        }
        if constexpr (has_ragged_rows<F>) {
            if (ragged == 0) return out;
            typename F::code read[codes<F>] = {};
            F::store(F::load(w.W.block(w.r, b + whole), w.W.outer(w.r, (b + whole) * block_size<F>),
                             {read, divide_up(ragged, F::vec)}),
                     read, to);
        }
        return out;
    }
};

template <std::size_t Turn> using nth = std::integral_constant<std::size_t, Turn>;

/// use(v, which of an even number in a row, operands) of all vectors of a chunk of N codes.
template <block_format F, std::size_t N, class Use>
QLIB_INLINE static void stream_codes(const std::byte* block, const Use& use) noexcept {
    using bits = typename F::bits;
    constexpr std::size_t period = shuffle_period<bits, F::grid::bits>, n = block_size<F>, pair = 2 * lane_codes,
                          apart = F::planes[0];
    constexpr std::size_t repeat = period > pair ? period : pair,  // powers of two, but for base 3
                          unit = pair % n == 0     ? pair
                                 : n % repeat == 0 ? repeat
                                 : n % pair == 0   ? n
                                                   : 2 * n;
    static_assert(N % unit == 0);
    std::size_t v = 0;
    do {
        std::size_t begin = 0;
        do {
            [&]<std::size_t... V>(std::index_sequence<V...>) QLIB_INLINE_LAMBDA {
                (use(v + V, nth<V>{},
                     operands_of<F>(codes_of_lanes<bits, F::grid::bits, n, V * lane_codes % n, apart>(
                         block + V * lane_codes / n * apart, begin))),
                 ...);
            }
            (std::make_index_sequence<unit / lane_codes>{});
            v += unit / lane_codes;
            begin += unit;
        } while (begin < n);
        block += (unit < n ? 1 : unit / n) * apart;
    } while (v < N / lane_codes);
}

/// Sums of one row of W times N rows of X: two for each, in turn, as an addition waits for the one before. Offsets go
/// to the same sums, as they cancel much of what codes add up to; zero points, which may cancel nearly all, lane by
/// lane.
template <block_format F, std::size_t N> struct row_sums {
    static constexpr std::size_t padded = padded_group<F>;
    static constexpr operand how = form_of<F, dot_form>.how;
    static constexpr bool shifted = F::map == form::shifted, biased = form_of<F, dot_form>.bias != 0 && !shifted;
    static constexpr bool in_pairs = padded % (2 * lane_codes) == 0;  // vectors of one group, summed as integers

    /// Apart from the sums, which stay in registers: these are indexed.
    struct chunk_scales {
        alignas(64) float scale[N][2 * dot_groups_most], zero[shifted ? N : 1][2 * dot_groups_most];
    };
    const row_activations x;
    chunk_scales& of_chunk;
    floats sum[N][2], total[N];
    ints dots[N], fours[N];

    QLIB_INLINE row_sums(const row_activations& of_x, chunk_scales& scales) noexcept : x(of_x), of_chunk(scales) {
#pragma GCC unroll 8
        for (std::size_t j = 0; j < N; ++j) sum[j][0] = sum[j][1] = total[j] = splat(0.0f);
    }
    /// The maps of the chunk that begins at group g.
    QLIB_INLINE void begin_chunk(std::size_t g, const chunk_maps& maps) noexcept {
        sixteen scales = load(maps.scale), offsets = load(maps.offset);
        if constexpr (has_small_factors<F>) {
            scales = times(scales, from_bytes(maps.sub));
            offsets = times(offsets, from_bytes(maps.min));
        }
#pragma GCC unroll 8
        for (std::size_t j = 0; j < N; ++j) {
            const std::size_t at = j * x.groups_apart + g;
            store(of_chunk.scale[j], times(scales, load(x.scale + at)));
            if constexpr (shifted) store(of_chunk.zero[j], times(offsets, load(x.scale + at)));
            if constexpr (F::map == form::offset) multiply_add_to(sum[j], offsets, load(x.sum + at));
        }
    }
    /// Vector v of that chunk, an even or an odd one.
    template <bool Odd> QLIB_INLINE void add(std::size_t g, std::size_t v, lane_bytes weights) noexcept {
        constexpr bool joins = in_pairs && Odd;
#pragma GCC unroll 8
        for (std::size_t j = 0; j < N; ++j) {
            const std::size_t at = j * x.codes_apart + g * padded + v * lane_codes;
            ints start{};
            if constexpr (biased) start = get_ints(x.start + at / 4);
            if constexpr (joins) start = start + dots[j];
            dots[j] = dot_lanes<how>(start, weights, x.codes + at);
            if constexpr (shifted) {
                const ints four = get_ints(x.start + at / 4);
                fours[j] = joins ? fours[j] + four : four;
            }
            if constexpr (in_pairs && !Odd) continue;
            floats& to = sum[j][!in_pairs && Odd];
            to = multiply_add(to_float(dots[j]), spread_lanes<padded>(of_chunk.scale[j], v), to);
            if constexpr (shifted) to = multiply_add(to_float(fours[j]), spread_lanes<padded>(of_chunk.zero[j], v), to);
        }
    }
    /// So that no sum has many summands.
    QLIB_INLINE void end_chunks() noexcept {
#pragma GCC unroll 8
        for (std::size_t j = 0; j < N; ++j) {
            total[j] = total[j] + (sum[j][0] + sum[j][1]);
            sum[j][0] = sum[j][1] = splat(0.0f);
        }
    }
};

/// Prefetches as many bytes as are read now, from where rows will be soon: maps are read in strides that hardware does
/// not foresee. 2 to 8 KiB ahead were alike.
QLIB_INLINE static void fetch_ahead(const std::byte* p, std::size_t bytes) noexcept {
    constexpr std::size_t ahead = 8192;
    for (std::size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + ahead + i));
}

/// Chunks of a row that are streamed together: their codes, in place or in a copy of the row's end, and their maps,
/// made ahead of the codes, as what was stored in parts cannot be loaded as a whole at once.
template <block_format F> struct chunk_batch {
    static constexpr std::size_t most = 4, groups = dot_groups<F>, blocks = groups / F::groups;
    const std::byte* codes[most];
    chunk_maps maps[most];
    rest_of_row<F> rest;

    /// Chunks [first, end).
    [[gnu::__noinline__]] void open(const weight_row<F>& w, std::size_t first, std::size_t end) noexcept {
        const std::size_t all = divide_up(w.cols, block_size<F>);
        for (std::size_t c = first; c < end; ++c) {
            const std::size_t b = c * blocks;
            const bool whole = (b + blocks) * block_size<F> <= w.cols;
            const auto from = whole ? w.W.block(w.r, b) : rest.copy(w, b);
            codes[c - first] = from[0] + F::offset_of(field::codes);
            fetch_ahead(from[0], blocks * F::planes[0]);
            if (!whole) maps[c - first] = {};  // another row's may be infinite
            load_chunk_maps<F>(w, from, b, smaller_size(blocks, all - b), maps[c - first]);
        }
    }
};

/// A chunk by way of operands in memory; zeros where a group is padded and behind the end of a row.
template <block_format F> struct staged_chunk {
    static constexpr std::size_t groups = dot_groups<F>, blocks = groups / F::groups, size = groups * padded_group<F>;
    alignas(64) std::uint8_t operands[size + raw_margin] = {};
    chunk_maps maps;

    /// From block b on.
    QLIB_INLINE void open(const weight_row<F>& w, std::size_t b) noexcept {
        const std::size_t end = smaller_size(b + blocks, divide_up(w.cols, block_size<F>));
        if (end < b + blocks) {
            std::memset(operands, 0, size);
            maps = {};
        }
        for (std::size_t g = 0; b < end; b += chunk_blocks<F>) {
            block_maps<F> of_block[chunk_blocks<F>] = {};
            const std::size_t count = smaller_size(chunk_blocks<F>, end - b);
            put_operands<F>(w.W, w.r, b, count, w.cols, operands + g * padded_group<F>, of_block);
            for (std::size_t i = 0; i < count; ++i, g += F::groups) put_chunk_maps<F>(of_block[i], g, maps);
        }
    }
};

/// What rows of W pass through, one after another.
template <block_format F> using row_source = std::conditional_t<streams<F>, chunk_batch<F>, staged_chunk<F>>;

/// One row of W from the wire into registers.
template <block_format F, std::size_t N>
QLIB_INLINE static void add_row(const weight_row<F>& w, chunk_batch<F>& batch, row_sums<F, N>& sums) noexcept {
    using chunks = chunk_batch<F>;
    const std::size_t all = divide_up(w.cols, chunks::groups * F::group);
    for (std::size_t first = 0; first < all; first += chunks::most) {
        const std::size_t end = smaller_size(first + chunks::most, all);
        batch.open(w, first, end);
        for (std::size_t c = first; c < end; ++c) {
            const std::size_t g = c * chunks::groups;
            sums.begin_chunk(g, batch.maps[c - first]);
            stream_codes<F, chunks::groups * padded_group<F>>(
                batch.codes[c - first], [&](std::size_t v, auto turn, lane_bytes weights) QLIB_INLINE_LAMBDA {
                    sums.template add<turn() % 2 != 0>(g, v, weights);
                });
        }
        sums.end_chunks();
    }
}
template <block_format F, std::size_t N>
QLIB_INLINE static void add_row(const weight_row<F>& w, staged_chunk<F>& chunk, row_sums<F, N>& sums) noexcept {
    const std::size_t all = divide_up(w.cols, chunk.groups * F::group);
    for (std::size_t c = 0; c < all; ++c) {
        const std::size_t g = c * chunk.groups;
        chunk.open(w, c * chunk.blocks);
        sums.begin_chunk(g, chunk.maps);
        for (std::size_t v = 0; v < chunk.size / lane_codes; v += 2) {
            sums.template add<false>(g, v, get_bytes(chunk.operands + v * lane_codes));
            sums.template add<true>(g, v + 1, get_bytes(chunk.operands + (v + 1) * lane_codes));
        }
        if (c % 4 == 3) sums.end_chunks();
    }
    sums.end_chunks();
}

/// One row of W against N rows of X.
template <block_format F, std::size_t N>
[[gnu::__noinline__]] static void dot_row(const weight_row<F>& w, row_source<F>& source, const row_activations& x,
                                          float* y) noexcept {
    typename row_sums<F, N>::chunk_scales scales;
    row_sums<F, N> sums(x, scales);
    add_row(w, source, sums);
#pragma GCC unroll 8
    for (std::size_t j = 0; j < N; ++j) y[j] = sum_of(sums.total[j]);
}

/// product_kernels::dot.
template <block_format F>
static bool dot_rows(const gemm_plan& p, const void* view, std::size_t row, const row_activations& x,
                     matrix_view<float> Y) noexcept {
    row_source<F> source;
    bool finite = true;
    for (std::size_t j = 0; j < p.n; j += dot_columns) {  // all rows, as these columns stay in the nearest cache
        const std::size_t n = smaller_size(dot_columns, p.n - j);
        for (std::size_t r = 0; r < Y.cols; ++r) {
            const weight_row<F> w{*static_cast<const qview<F>*>(view), row + r, p.k};
            float y[dot_columns];
            if (n == 1) dot_row<F, 1>(w, source, x.from(j), y);
            else dot_row<F, dot_columns>(w, source, x.from(j), y);
            for (std::size_t i = 0; i < n; ++i) {
                Y(j + i, r) = y[i];
                finite = finite && is_finite(y[i]);
            }
        }
    }
    return finite;
}

/// tile_kernels::pack_row.
static void pack_row(const gemm_plan& p, std::size_t group, int start, const float* x,
                     const row_activations& to) noexcept {
    to.clear();
    for (std::size_t first = 0; first < p.groups; first += p.span) {
        const std::size_t end = smaller_size(first + p.span, p.groups), from = first * group;
        const activation_scale a = scale_of(x + from, smaller_size(end * group, p.k) - from);
        for (std::size_t g = first; g < end; ++g) {
            const std::size_t n = a.inverse == 0 ? 0 : smaller_size(group, p.k - g * group);
            const std::int32_t sum = pack_group(x + g * group, n, a.inverse, p.padded, to.codes + g * p.padded, 4);
            to.scale[g] = a.scale;
            to.sum[g] = a.scale * static_cast<float>(sum);
        }
    }
    if (start == 0) return;
    for (std::size_t i = 0; i < to.codes_apart; i += 4)
        to.start[i / 4] = start * (to.codes[i] + to.codes[i + 1] + to.codes[i + 2] + to.codes[i + 3]);
}
