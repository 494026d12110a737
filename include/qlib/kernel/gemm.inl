// No #pragma once: each room includes this text behind decode.inl. Y = X * W^T over the room's vectors:
// activations are packed once, 16 rows of weights at a time are unpacked and transposed, tiles of 16 rows x `widths`
// columns are multiplied.

/// use(first, width) for the tiles that n rows of X are cut into: the widest as often as it fits, then the next.
/// width() is a constant.
template <class Use> QLIB_INLINE static void for_each_tile(std::size_t n, const Use& use) noexcept {
    std::size_t first = 0;
    const auto all_of = [&](auto width) QLIB_INLINE_LAMBDA {
        for (; n - first >= width(); first += width()) use(first, width);
    };
    [&]<std::size_t... J>(std::index_sequence<J...>) QLIB_INLINE_LAMBDA {
        (all_of(std::integral_constant<std::size_t, widths[J]>{}), ...);
    }
    (std::make_index_sequence<widths.size()>{});
}

static void pack_activations(const gemm_plan& p, std::size_t group, int bias, matrix_view<const float> X,
                             std::size_t column, const integer_activations& all) noexcept {
    for_each_tile(X.rows, [&](std::size_t first, std::size_t width) QLIB_INLINE_LAMBDA {
        pack_tile(p, group, bias, X.row_range(first, width), all.tile(p, column + first));
    });
}

/// What n activations are rounded to multiples of, and its reciprocal: 0 and 0 where all are next to nothing, NaN
/// and 0 where one is not finite.
struct activation_scale {
    float scale, inverse;
};
static activation_scale scale_of(const float* x, std::size_t n) noexcept {
    const std::uint32_t most = largest_magnitude(x, n);
    if (most >= 0x7F800000u) return {float_of(0x7FC00000u), 0.0f};
    if (float_of(most) < 0x1p-100f) return {0.0f, 0.0f};
    return {float_of(most) / 127.0f, 127.0f / float_of(most)};
}

/// One tile of packed activations, from X.rows of them.
[[gnu::__noinline__]] static void pack_tile(const gemm_plan& p, std::size_t group, int bias, matrix_view<const float> X,
                                            const integer_activations& t) noexcept {
    const std::size_t w = X.rows;
    for (std::size_t j = 0; j < w; ++j) {
        const float* x = X.row(j);
        for (std::size_t s = 0; s < p.spans(); ++s) {
            const std::size_t first = s * p.span, end = smaller_size(first + p.span, p.groups);
            const std::size_t from = first * group, count = smaller_size(end * group, p.k) - from;
            const activation_scale a = scale_of(x + from, count);
            t.scale[s * w + j] = a.scale;
            for (std::size_t g = first; g < end; g += p.flush) {
                std::int32_t sum = 0;
                for (std::size_t i = g; i < end && i < g + p.flush; ++i) {
                    const std::size_t n = a.inverse == 0 ? 0 : smaller_size(group, p.k - i * group);
                    sum += pack_group(x + i * group, n, a.inverse, p.padded, t.codes + (i * p.padded * w + j * 4),
                                      w * 4);
                }
                t.start[g / p.flush * w + j] = bias * sum;
                t.sum[g / p.flush * w + j] = static_cast<float>(sum);
            }
        }
    }
}

/// n <= padded activations of one row as bytes, four to a word, `stride` bytes
/// between words; zeros behind them. Returns their sum.
static std::int32_t pack_group(const float* x, std::size_t n, float inverse, std::size_t padded, std::int8_t* out,
                               std::size_t stride) noexcept {
    constexpr std::size_t step = 256;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < padded; i += step) {
        alignas(64) std::int8_t stage[step] = {};
        const std::size_t here = n > i ? smaller_size(n - i, step) : 0;
        sum += round_activations(x + i, here, inverse, stage);
        for (std::size_t b = 0; b < step && i + b < padded; b += 4)
            std::memcpy(out + (i + b) / 4 * stride, stage + b, 4);
    }
    return sum;
}

/// product_kernels::fill. Lanes without a row get zero maps.
template <block_format F>
static void fill_panel(const gemm_plan& p, const void* view, std::size_t row, std::size_t rows, std::size_t first,
                       std::size_t end, const panel_memory& m, std::size_t t) noexcept {
    const auto& W = *static_cast<const qview<F>*>(view);
    const integer_panel out = panel_of(m, t);
    constexpr std::size_t padded = F::groups * padded_group<F>;
    std::memset(m.stage, 0, m.stage_bytes());
    std::memset(out.scale, 0, 2 * m.scale_bytes);
    for (std::size_t b = first / F::groups; b * F::groups < end; b += chunk_blocks<F>) {
        const std::size_t blocks = smaller_size(chunk_blocks<F>, divide_up(end, F::groups) - b);
        for (std::size_t r = 0; r < rows; ++r) {
            block_maps<F> maps[chunk_blocks<F>] = {};
            put_operands<F>(W, row + r, b, blocks, p.k, reinterpret_cast<std::uint8_t*>(m.stage + r * m.stage_stride),
                            maps);
            for (std::size_t i = 0; i < blocks; ++i) {
                const std::size_t n = smaller_size(block_size<F>, p.k - (b + i) * block_size<F>);
                put_maps<F>(p, maps[i], (b + i) * F::groups - first, divide_up(n, F::group), r, out);
            }
        }
        auto* to = reinterpret_cast<std::byte*>(out.codes) + (b * F::groups - first) * padded_group<F> * 16;
        for (std::size_t at = 0; at < blocks * padded; at += 64) transpose(m.stage + at, m.stage_stride, to + at * 16);
    }
}

/// The operands of blocks [b, b + count) of row r, each group padded, and their maps. Writes whole vectors of 64.
template <block_format F>
static void put_operands(const qview<F>& W, std::size_t r, std::size_t b, std::size_t count, std::size_t cols,
                         std::uint8_t* out, block_maps<F>* maps) noexcept {
    constexpr std::size_t n = block_size<F>;
    if constexpr (byte_codes<F> && F::group % 4 == 0) {  // in place
        open_blocks<F>(W, r, b, count, cols, out, n, maps);
        to_operands(out, count * n, operand_map_of<F, dot_form>);
    } else {
        alignas(64) raw<F> weights[chunk_blocks<F> * n + raw_margin] = {};
        std::uint8_t made[chunk_blocks<F> * n];
        open_blocks<F>(W, r, b, count, cols, weights, n, maps);
        if constexpr (byte_codes<F>) {
            to_operands(weights, count * n, operand_map_of<F, dot_form>);
            std::memcpy(made, weights, count * n);
        } else {
            constexpr integer_levels l = integer_levels_of<F>;
            for (std::size_t i = 0; i < count * n; ++i)
                made[i] = static_cast<std::uint8_t>(
                    detail::round_clamped(weights[i] * static_cast<float>(l.mul), l.lo, l.hi) -
                    form_of<F, dot_form>.bias);
        }
        for (std::size_t g = 0; g < count * F::groups; ++g)
            std::memcpy(out + g * padded_group<F>, made + g * F::group, F::group);
    }
}

/// Lane `lane` of the maps of n groups, group g of the panel the first of them: in
/// units of the dot product, the outer scale in it.
template <block_format F>
static void put_maps(const gemm_plan& p, const block_maps<F>& maps, std::size_t g, std::size_t n, std::size_t lane,
                     const integer_panel& out) noexcept {
    constexpr float unit = 1.0f / static_cast<float>(integer_levels_of<F>.mul);
    const float outer = outer_multiplies<F> ? maps.outer_scale : 1.0f;
    const std::size_t flush = row_maps<F> ? p.flush : 1;
    const group_maps<F> of_group(maps.params);
    for (std::size_t i = 0; i < n; ++i) {
        if ((g + i) % flush != 0) continue;
        const std::size_t at = (g + i) / flush * 16 + lane;
        out.scale[at] = of_group.s[i] * outer * unit;
        if constexpr (F::map == form::shifted) out.offset[at] = -(of_group.s[i] * of_group.z[i] * outer);
        if constexpr (F::map == form::offset) out.offset[at] = of_group.z[i] * outer;
    }
}

/// One tile: 16 rows of W, N rows of X, groups [first, end). y: N rows of `stride` sixteen, `lanes` of them written;
/// added to unless first == 0. `lost` becomes NaN where y is not finite.
template <std::size_t N, bool Offset, operand How>
static void integer_tile(const gemm_plan& p, std::size_t first, std::size_t end, integer_panel w, integer_activations x,
                         float* y, std::size_t stride, std::size_t lanes, sixteen& lost) noexcept {
    sixteen total[N];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) total[j] = first != 0 ? load(y + j * stride, lanes) : splat_16(0.0f);
    x = {x.codes + first * p.padded * N, x.scale + first / p.span * N, x.start + first / p.flush * N,
         x.sum + first / p.flush * N};
    for (std::size_t g = first, span_end = (first / p.span + 1) * p.span; g < end; span_end += p.span, x.scale += N) {
        sixteen sum[N];
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) sum[j] = splat_16(0.0f);
        for (const std::size_t stop = smaller_size(span_end, end); g < stop;
             g += p.flush, x.start += N, x.sum += N, w.scale += 16, w.offset += 16) {
            integers dots[N];
#pragma GCC unroll 16
            for (std::size_t j = 0; j < N; ++j) dots[j] = splat_16(x.start[j]);
            std::size_t words = smaller_size(p.flush, stop - g) * p.padded / 4;
            do {
                const bytes v = load_bytes(w.codes);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < N; ++j) dots[j] = dot<How>(dots[j], v, x.codes + 4 * j);
                w.codes += 64;
                x.codes += 4 * N;
            } while (--words != 0);
            const sixteen s = load(w.scale);
#pragma GCC unroll 16
            for (std::size_t j = 0; j < N; ++j) sum[j] = multiply_add(to_float(dots[j]), s, sum[j]);
            if constexpr (Offset) {
                const sixteen z = load(w.offset);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < N; ++j) sum[j] = multiply_add(splat_16(x.sum[j]), z, sum[j]);
            }
        }
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) total[j] = multiply_add(sum[j], splat_16(x.scale[j]), total[j]);
    }
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) lost = multiply_add(total[j], splat_16(0.0f), lost);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) store(y + j * stride, total[j], lanes);
}

/// The same over decoded weights w[k][16] and activations x[k][N], `depth` of them.
template <std::size_t N>
static void exact_tile(std::size_t depth, const float* w, const float* x, bool add, float* y, std::size_t stride,
                       std::size_t lanes) noexcept {
    sixteen total[N];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) total[j] = add ? load(y + j * stride, lanes) : splat_16(0.0f);
    for (; depth != 0; --depth, w += 16, x += N) {
        const sixteen v = load(w);
#pragma GCC unroll 16
        for (std::size_t j = 0; j < N; ++j) total[j] = multiply_add(v, splat_16(x[j]), total[j]);
    }
#pragma GCC unroll 16
    for (std::size_t j = 0; j < N; ++j) store(y + j * stride, total[j], lanes);
}

/// All rows of X against the tiles of a panel, groups [first, end).
template <bool Offset, operand How>
static bool multiply_panel(const gemm_plan& p, const panel_memory& m, std::size_t rows, std::size_t first,
                           std::size_t end, const integer_activations& x, matrix_view<float> Y) noexcept {
    sixteen lost = splat_16(0.0f);
    for_each_tile(p.n, [&](std::size_t c, auto width) QLIB_INLINE_LAMBDA {
        for (std::size_t t = 0; t * 16 < rows; ++t)
            integer_tile<width(), Offset, How>(p, first, end, panel_of(m, t), x.tile(p, c), Y.row(c) + t * 16,
                                               Y.stride, smaller_size(16, rows - t * 16), lost);
    });
    float of_lane[16];
    store(of_lane, lost, 16);
    return largest_magnitude(of_lane, 16) == 0;
}

QLIB_INLINE static integer_panel panel_of(const panel_memory& m, std::size_t t) noexcept {
    std::byte* tile = m.panel + t * m.tile_bytes;
    auto* scale = reinterpret_cast<float*>(tile + m.codes_bytes);
    return {reinterpret_cast<std::uint8_t*>(tile), scale, scale + m.scale_bytes / sizeof(float)};
}

/// Columns of the activations of an exact product: for each tile [k][width].
static void pack_floats(std::size_t k, matrix_view<const float> X, std::size_t column, float* all) noexcept {
    for_each_tile(X.rows, [&](std::size_t first, std::size_t count) QLIB_INLINE_LAMBDA {
        pack_float_tile(k, X.row_range(first, count), all + (column + first) * k);
    });
}
[[gnu::__noinline__]] static void pack_float_tile(std::size_t k, matrix_view<const float> X, float* to) noexcept {
    for (std::size_t j = 0; j < X.rows; ++j)
        for (std::size_t i = 0; i < k; ++i) to[i * X.rows + j] = X(j, i);
}

/// product_kernels::fill_exactly: [end - first][16].
template <block_format F>
static void fill_exact_panel(const gemm_plan& p, const void* view, std::size_t row, std::size_t rows, std::size_t first,
                             std::size_t end, const panel_memory& m, std::size_t t) noexcept {
    const auto& W = *static_cast<const qview<F>*>(view);
    std::byte* const out = m.panel + t * m.tile_bytes;
    std::memset(m.stage, 0, m.stage_bytes());
    constexpr std::size_t chunk = chunk_blocks<F> * block_size<F>;
    for (std::size_t c = first; c < end; c += chunk) {
        const std::size_t n = smaller_size(chunk, end - c), b = c / block_size<F>;
        for (std::size_t r = 0; r < rows; ++r)
            decode_blocks<F>(W, row + r, b, b + divide_up(n, block_size<F>), p.k,
                             reinterpret_cast<float*>(m.stage + r * m.stage_stride));
        for (std::size_t i = 0; i < n; i += 16)
            transpose(m.stage + i * sizeof(float), m.stage_stride, out + (c - first + i) * 64);
    }
}

static void multiply_exact_panel(const gemm_plan& p, const panel_memory& m, std::size_t rows, std::size_t first,
                                 std::size_t end, const float* x, matrix_view<float> Y) noexcept {
    for_each_tile(p.n, [&](std::size_t c, auto width) QLIB_INLINE_LAMBDA {
        for (std::size_t t = 0; t * 16 < rows; ++t)
            exact_tile<width()>(end - first, reinterpret_cast<const float*>(m.panel + t * m.tile_bytes),
                                x + c * p.k + first * width(), first != 0, Y.row(c) + t * 16, Y.stride,
                                smaller_size(16, rows - t * 16));
    });
}

/// tile_kernels::exact_element.
static float exact_element(const gemm_format& f, const product_kernels& kernels, const void* W, std::size_t row,
                           floats_view X, std::size_t j, float* memory) noexcept {
    const std::size_t k = X.cols, piece = f.chunk() * f.block;
    sixteen total = splat_16(0.0f);
    for (std::size_t c = 0; c < k; c += piece) {
        const std::size_t n = smaller_size(piece, k - c);
        kernels.decode(W, row, c / f.block, c / f.block + divide_up(n, f.block), k, memory);
        for (std::size_t i = 0; i < n; ++i) {
            float x = 0;
            detail::widen_elements(X.at(j, c + i), X.type, 1, &x);
            total = multiply_add(splat_16(memory[i]), splat_16(x), total);
        }
    }
    float y[16];
    store(y, total, 16);
    return y[0];
}

/// What products ask of this room, and of a format in it.
static constexpr tile_kernels tiles_of_room() noexcept {
    return {widths[0],
            most_summed,
            &pack_activations,
            &pack_floats,
            &multiply_exact_panel,
            &exact_element,
            most_dotted,
            dot_columns,
            &pack_row};
}
template <block_format F> static constexpr product_kernels product_of(const tile_kernels& tiles) noexcept {
    product_kernels k{};
    k.room = id;
    k.path = unpacks<F> || holds_numbers<F> ? "bits" : "load";
    k.why = why_loaded<F>;
    k.tiles = &tiles;
    k.fill_exactly = &fill_exact_panel<F>;
    if constexpr (static_cast<bool>(integer_levels_of<F>)) {
        k.bias = form_of<F, dot_form>.bias;
        k.row_start = F::map == form::shifted ? 1 : k.bias;
        k.multiply = &multiply_panel<F::map != form::scaled, form_of<F, dot_form>.how>;
        k.fill = &fill_panel<F>;
        k.decode = &decode_view<F, float>;
        if constexpr (most_dotted != 0 && dot_groups<F> != 0) k.dot = &dot_rows<F>;
    }
    return k;
}
