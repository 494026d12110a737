// No #pragma once: each room includes this text inside its lanes. Rows to blocks, `width` whole blocks at a time.

/// Whether a fit encodes F in lanes: it is one of qlib's, and codes are bytes.
template <class F, class Fit> static constexpr bool encodes = [] {
    if constexpr (!byte_codes<F> || !requires { typename F::part; }) return false;
    else return requires(const Fit& fit, const lane_sites<lanes, F>& s, typename F::params* p) { fit.template blocks<lanes, F>(s, p); } ||
                requires(const Fit& fit, const lane_sites<lanes, F>& s, lane_blocks<lanes, F>& out) { fit.template whole_blocks<lanes, F>(s, out); };
}();

/// Some blocks of a matrix, whole ones.
template <class F> struct batch {
    std::size_t count = 0;
    std::size_t row[width] = {}, block[width] = {};
    float row_mean_square[width] = {};
};

/// The weights of each block of a batch, in lanes; where they are no floats in one piece they pass through `wide`.
template <class F, class T> static void gather(const batch<F>& b, matrix_view<const T> W, float* wide, floats* out) noexcept {
    constexpr std::size_t n = block_size<F>;
    const bool direct = wire_shape_of<F>(W.rows, W.cols).cols == W.cols;
    const float* from[width];
    for (std::size_t l = 0; l < width; ++l, wide += n) {
        from[l] = wide;
        if constexpr (std::same_as<T, float>) {
            if (direct) { from[l] = W.row(b.row[l]) + b.block[l] * n; continue; }
            load_weights<F>(W, b.row[l], b.block[l] * n, n, wide);
        } else {
            if (!direct || n % 16 != 0) { load_weights<F>(W, b.row[l], b.block[l] * n, n, wide); continue; }
            const auto* bytes = reinterpret_cast<const std::byte*>(W.row(b.row[l]) + b.block[l] * n);
            for (std::size_t i = 0; i < n; i += 16) widen_16<T>(bytes + i * sizeof(T), wide + i);
        }
    }
    gather_blocks(from, n, out);
}

/// Asks for quarter `part` of the weights that come some batches later: no hardware foresees so many streams. Quarters, as memory answers slowly.
template <class F, class T> static void foresee(const batch<F>& b, matrix_view<const T> W, std::size_t part) noexcept {
    constexpr std::size_t line = 64, bytes = block_size<F> * sizeof(T), ahead = round_up(std::size_t{4096}, width * bytes);
    if (wire_shape_of<F>(W.rows, W.cols).cols != W.cols) return;
    for (std::size_t l = part * width / 4; l < (part + 1) * width / 4; ++l) {
        const auto next = reinterpret_cast<std::uintptr_t>(W.row(b.row[l]) + b.block[l] * block_size<F>) + ahead;
        for (std::size_t i = 0; i < bytes; i += line) __builtin_prefetch(reinterpret_cast<const void*>(next + i), 0, 2);
    }
}

/// Stores params and codes of a batch.
template <class F> static void scatter(const batch<F>& b, const qspan<F>& to, const lane_blocks<lanes, F>& e) noexcept {
    plane_pointers<F, std::byte> planes[width];
    for (std::size_t l = 0; l < width; ++l) planes[l] = to.block(b.row[l], b.block[l]);
    if constexpr (packs<F>) {
        alignas(64) std::uint8_t packed[packed_size<F> * width];
        pack_codes<F>(e.code, packed);
        std::byte* codes_at[width];
        for (std::size_t l = 0; l < width; ++l) {
            codes_at[l] = planes[l][0] + F::offset_of(field::codes);
            F::store_params(e.params[l], planes[l]);
        }
        scatter_bytes(packed, packed_size<F>, codes_at);
    } else {
        for (std::size_t l = 0; l < width; ++l) {
            typename F::code code[block_size<F>];
            for (std::size_t i = 0; i < block_size<F>; ++i) code[i] = e.code[i * width + l];
            F::store(e.params[l], code, planes[l]);
        }
    }
}

/// The range of n numbers, widened by what `low` and `high` hold. False: one of them is not finite, and the range is worth nothing.
template <class T> static bool widen_range(const T* x, std::size_t n, float& low, float& high) noexcept {
    constexpr std::size_t parts = 16 / width;
    floats least[parts], most[parts];
    ints largest[parts];
    for (std::size_t p = 0; p < parts; ++p) { least[p] = splat(low); most[p] = splat(high); largest[p] = splat(0); }
    T rest[16] = {};  // zeros widen nothing that holds 0
    for (std::size_t i = 0; i < n; i += 16) {
        const T* from = x + i;
        __builtin_prefetch(from + 4096 / sizeof(T));
        if (n - i < 16) {
            for (std::size_t j = 0; j < n - i; ++j) rest[j] = from[j];
            from = rest;
        }
        floats v[parts];
        if constexpr (std::same_as<T, float>) std::memcpy(v, from, sizeof v);
        else widen_16<T>(reinterpret_cast<const std::byte*>(from), reinterpret_cast<float*>(v));
        for (std::size_t p = 0; p < parts; ++p) {
            least[p] = smaller(least[p], v[p]);
            most[p] = larger(most[p], v[p]);
            largest[p] = larger(largest[p], bits(magnitude(v[p])));
        }
    }
    for (std::size_t p = 1; p < parts; ++p) {
        least[0] = smaller(least[0], least[p]);
        most[0] = larger(most[0], most[p]);
        largest[0] = larger(largest[0], largest[p]);
    }
    low = least_of(least[0]);
    high = -least_of(-most[0]);
    return !any(largest[0] >= 0x7F800000);
}

/// Encodes a batch. False: some weight or scale is not finite, and nothing was stored.
template <block_format F, class Fit, class T> static bool encode_batch(const block_encoder<F, Fit, T>& encoder, const batch<F>& b) noexcept {
    constexpr std::size_t n = block_size<F>;
    alignas(64) floats x[n];
    alignas(64) floats w[n];
    alignas(64) float wide[std::same_as<T, float> && !has_flat_blocks<F> ? width : n * width];
    foresee<F>(b, encoder.W, 0);
    gather<F>(b, encoder.W, wide, x);
    foresee<F>(b, encoder.W, 1);
    ints most = splat(0);
    for (std::size_t i = 0; i < n; ++i) most = larger(most, bits(magnitude(x[i])));
    if (any(most >= 0x7F800000)) return false;
    const bool weighted = encoder.importance.data != nullptr;
    if (weighted) gather<F>(b, encoder.importance, wide, w);

    typename F::outer outer[width];
    lane_sites<lanes, F> s{x, weighted ? w : nullptr, n, splat(0.0f), outer};
    for (std::size_t l = 0; l < width; ++l) {
        outer[l] = encoder.out.outer(b.row[l], b.block[l] * n);
        set_lane(s.row_mean_square, l, b.row_mean_square[l]);
    }
    alignas(64) lane_blocks<lanes, F> e;
    if constexpr (encodes_whole<Fit, F>) {
        encoder.fit.template whole_blocks<lanes, F>(s, e);
        for (std::size_t l = 0; l < width; ++l)
            if (!all_finite<F>(e.params[l], F::outer_scale(outer[l]), n)) return false;
    } else {
        encoder.fit.template blocks<lanes, F>(s, e.params);
        foresee<F>(b, encoder.W, 2);
        if (!choose_codes<F>(s, e)) return false;
    }
    foresee<F>(b, encoder.W, 3);
    scatter<F>(b, encoder.out, e);
    return true;
}

/// The params of one whole block of each row of x, (rows, block) weights: what an algorithm that chooses codes itself asks of a fit.
template <block_format F, class Fit>
static void fit_rows(const Fit& fit, matrix_view<const float> x, std::span<const float> importance, const typename F::outer* outer,
                     typename F::params* params) noexcept {
    if constexpr (!encodes<F, Fit>) {
        for (std::size_t r = 0; r < x.rows; ++r) params[r] = fit.template block<F>(site<F>{{x.row(r), x.cols}, importance, 0, outer[r]});
    } else {
        constexpr std::size_t n = block_size<F>;
        alignas(64) floats weights[n];
        alignas(64) floats w[n];
        for (std::size_t i = 0; i < importance.size(); ++i) w[i] = splat(importance[i]);
        for (std::size_t first = 0; first < x.rows; first += width) {
            const float* from[width];
            typename F::outer at[width];
            for (std::size_t l = 0; l < width; ++l) {  // idle lanes repeat the last row
                const std::size_t r = smaller_size(first + l, x.rows - 1);
                from[l] = x.row(r);
                at[l] = outer[r];
            }
            gather_blocks(from, n, weights);
            const lane_sites<lanes, F> s{weights, importance.empty() ? nullptr : w, n, splat(0.0f), at};
            lane_blocks<lanes, F> e;
            if constexpr (encodes_whole<Fit, F>) fit.template whole_blocks<lanes, F>(s, e);
            else fit.template blocks<lanes, F>(s, e.params);
            for (std::size_t l = 0; l < width && first + l < x.rows; ++l) params[first + l] = e.params[l];
        }
    }
}

/// Whether F is rows of numbers that the room can make itself.
template <class F> static constexpr bool copies_numbers = [] {
    if constexpr (!holds_numbers<F> || std::endian::native != std::endian::little) return false;
    else return std::same_as<typename F::grid::number, f32> || weight_source<typename F::grid::number>;
}();

/// Plain numbers: rows whose weights all have one, a piece at a time; others singly, as they have an error or a policy to meet.
template <block_format F, class Fit, class T, class Room = room>
static status encode_numbers(const block_encoder<F, Fit, T>& encoder, std::size_t first, std::size_t count) noexcept {
    using number = typename F::grid::number;
    using stored = std::conditional_t<std::same_as<number, f32>, float, number>;
    constexpr std::size_t piece = 512;
    const std::size_t cols = encoder.W.cols;
    const bool streamed = encoder.W.rows * cols * sizeof(stored) >= streamed_from;
    for (std::size_t r = first; r < first + count; ++r) {
        float low = 0, high = 0;
        if (!widen_range(encoder.W.row(r), cols, low, high) || detail::larger(-low, high) > (number::max)()) {
            if (const status s = encode_rows_singly<F>(encoder, r, 1); !s) return s;
            continue;
        }
        for (std::size_t c = 0, n; c < cols; c += n) {
            std::byte* const to = encoder.out.block(r, 0)[0] + c * sizeof(stored);
            n = smaller_size(piece, cols - c);
            if (c + n != cols) n -= (reinterpret_cast<std::uintptr_t>(to) / sizeof(stored) + n) % (64 / sizeof(stored));  // pieces end where lines do
            const std::size_t whole = std::same_as<T, float> ? 0 : n / 16 * 16;
            float x[piece];
            if constexpr (!std::same_as<T, float>)
                for (std::size_t i = 0; i < whole; i += 16) widen_16<T>(reinterpret_cast<const std::byte*>(encoder.W.row(r) + c + i), x + i);
            load_weights<F>(encoder.W, r, c + whole, n - whole, x + whole);
            if (reinterpret_cast<std::uintptr_t>(to) % alignof(stored) == 0) {
                Room::put(x, n, reinterpret_cast<stored*>(to), streamed);
            } else {
                stored made[piece];
                Room::put(x, n, made, false);
                std::memcpy(to, made, n * sizeof(stored));
            }
        }
    }
    if (streamed) Room::end_stream();
    return {};
}

/// Encodes wire rows [first, first + count): whole blocks in batches over row ends; ragged ends, and batches with a flaw, block by block.
template <block_format F, class Fit, class T> static status encode_rows(const block_encoder<F, Fit, T>& encoder, std::size_t first, std::size_t count) noexcept {
    if constexpr (copies_numbers<F> && !encodes_whole<Fit, F>) {
        return encode_numbers<F>(encoder, first, count);
    } else if constexpr (!encodes<F, Fit>) {
        return encode_rows_singly<F>(encoder, first, count);
    } else {
        constexpr std::size_t n = block_size<F>;
        const std::size_t cols = wire_shape_of<F>(encoder.W.rows, encoder.W.cols).cols, whole = cols / n;
        batch<F> b;
        const auto flush = [&]() -> status {
            if (b.count == 0) return {};
            const std::size_t used = b.count;
            for (std::size_t l = used; l < width; ++l) {  // idle lanes repeat the last block
                b.row[l] = b.row[used - 1];
                b.block[l] = b.block[used - 1];
                b.row_mean_square[l] = b.row_mean_square[used - 1];
            }
            b.count = 0;
            if (encode_batch<F>(encoder, b)) return {};
            for (std::size_t l = 0; l < used; ++l)
                if (const status s = encoder(b.row[l], b.block[l], n, b.row_mean_square[l]); !s) return s;
            return {};
        };
        for (std::size_t r = first; r < first + count; ++r) {
            const float mean_square = encoder.row_mean_square(r);
            std::size_t i = 0;
            for (; b.count == 0 && whole - i >= width; i += width) {  // a batch from one row
                for (std::size_t l = 0; l < width; ++l) {
                    b.row[l] = r;
                    b.block[l] = i + l;
                    b.row_mean_square[l] = mean_square;
                }
                b.count = width;
                if (const status s = flush(); !s) return s;
            }
            for (; i < whole; ++i) {
                b.row[b.count] = r;
                b.block[b.count] = i;
                b.row_mean_square[b.count] = mean_square;
                if (++b.count == width)
                    if (const status s = flush(); !s) return s;
            }
            if (whole * n == cols) continue;
            if (const status s = flush(); !s) return s;  // errors come in order
            if (const status s = encoder(r, whole, cols - whole * n, mean_square); !s) return s;
        }
        return flush();
    }
}
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
