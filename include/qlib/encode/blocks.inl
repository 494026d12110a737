// No #pragma once: each room includes this text. Rows to blocks, `width` whole blocks at a time.

/// Whether a fit encodes F in lanes: it is one of qlib's, and codes are bytes.
template <class F, class Fit>
static constexpr bool encodes = [] {
    if constexpr (!byte_codes<F> || !requires { typename F::part; }) return false;
    else {
        constexpr bool params = requires(const Fit& fit, const lane_sites<room, F>& s, typename F::params* p) {
            fit.template blocks<room, F>(s, p);
        };
        constexpr bool all = requires(const Fit& fit, const lane_sites<room, F>& s, lane_blocks<room, F>& out) {
            fit.template whole_blocks<room, F>(s, out);
        };
        return params || all;
    }
}();

/// n elements as floats.
static void widen_elements(const void* from, element type, std::size_t n, float* out) noexcept {
    const std::size_t whole = type == element::float32 ? 0 : n / 16 * 16;
    const auto* bytes = static_cast<const std::byte*>(from);
    for (std::size_t i = 0; i < whole; i += 16) {
        if (type == element::float16) widen_16<f16>(bytes + 2 * i, out + i);
        else widen_16<bf16>(bytes + 2 * i, out + i);
    }
    detail::widen_elements(bytes + whole * element_bytes(type), type, n - whole, out + whole);
}

/// Where the first weight of each block of a batch lies.
QLIB_INLINE static void addresses(const encode_job& job, const block_batch& b, const std::byte** at) noexcept {
    const std::size_t size = element_bytes(job.W.type), bytes = job.block * size;
    const auto* data = static_cast<const std::byte*>(job.W.data);
    if (b.row[0] == b.row[width - 1] &&
        b.block[width - 1] - b.block[0] == width - 1) {  // side by side, as almost always
        data += b.row[0] * job.W.stride * size + b.block[0] * bytes;
        for (std::size_t l = 0; l < width; ++l) at[l] = data + l * bytes;
    } else {
        for (std::size_t l = 0; l < width; ++l) at[l] = data + b.row[l] * job.W.stride * size + b.block[l] * bytes;
    }
}

/// n numbers of each block, in lanes, through a piece of memory: load(lane, first, count, to) brings them there.
template <class Load> QLIB_INLINE static void gather_pieces(std::size_t n, const Load& load, floats* out) noexcept {
    constexpr std::size_t piece = 64;
    alignas(64) float wide[width][piece];
    const float* from[width];
    for (std::size_t l = 0; l < width; ++l) from[l] = wide[l];
    for (std::size_t i = 0; i < n; i += piece) {
        const std::size_t m = smaller_size(piece, n - i);
        for (std::size_t l = 0; l < width; ++l) load(l, i, m, wide[l]);
        gather_blocks(from, m, out + i);
    }
}

/// The weights of each block of a batch, in lanes. Where they are no floats in one
/// piece they pass through a piece of memory.
static void gather(const encode_job& job, const block_batch& b, const std::byte* const* at, floats* out) noexcept {
    const std::size_t n = job.block;
    const bool direct = job.wire_cols == job.W.cols;
    if (direct && job.W.type == element::float32) {
        const float* from[width];
        for (std::size_t l = 0; l < width; ++l) from[l] = reinterpret_cast<const float*>(at[l]);
        return gather_blocks(from, n, out);
    }
    gather_pieces(n, [&](std::size_t l, std::size_t i, std::size_t m, float* to) QLIB_INLINE_LAMBDA {
        if (direct) widen_elements(at[l] + i * element_bytes(job.W.type), job.W.type, m, to);
        else load_weights(job, b.row[l], b.block[l] * n + i, m, to);
    }, out);
}
/// Their importances, in the job's unit.
static void gather_importances(const encode_job& job, const block_batch& b, floats* out) noexcept {
    const std::size_t n = job.block;
    if (job.wire_cols == job.W.cols && job.importance_unit == 1) {
        const float* from[width];
        for (std::size_t l = 0; l < width; ++l) from[l] = job.importance.data + b.block[l] * n;
        return gather_blocks(from, n, out);
    }
    gather_pieces(n, [&](std::size_t l, std::size_t i, std::size_t m, float* to) QLIB_INLINE_LAMBDA {
        load_importances(job, b.row[l], b.block[l] * n + i, m, to);
    }, out);
}

/// Asks for quarter `part` of the weights that come some batches later: no hardware prefetches so many streams.
/// Quarters, as memory answers slowly.
QLIB_INLINE static void prefetch(const encode_job& job, const std::byte* const* at, std::size_t part) noexcept {
    constexpr std::size_t line = 64;
    if (job.wire_cols != job.W.cols) return;
    const std::size_t bytes = job.block * element_bytes(job.W.type), ahead = round_up(std::size_t{4096}, width * bytes);
    for (std::size_t l = part * width / 4; l < (part + 1) * width / 4; ++l) {
        const auto next = reinterpret_cast<std::uintptr_t>(at[l]) + ahead;
        for (std::size_t i = 0; i < bytes; i += line) __builtin_prefetch(reinterpret_cast<const void*>(next + i), 0, 2);
    }
}

/// Brings a batch into lanes. False: some weight is not finite.
static bool open_batch(const encode_job& job, const block_batch& b, const std::byte** at, floats* x,
                       floats* w) noexcept {
    addresses(job, b, at);
    prefetch(job, at, 0);
    gather(job, b, at, x);
    prefetch(job, at, 1);
    ints most = splat(0);
    for (std::size_t i = 0; i < job.block; ++i) most = larger(most, bits(magnitude(x[i])));
    if (any(most >= 0x7F800000)) return false;
    if (job.importance.data != nullptr) gather_importances(job, b, w);
    return true;
}

/// Stores params and codes of a batch.
template <class F>
[[gnu::__noinline__]] static void scatter(const block_batch& b, const qspan<F>& to,
                                          const lane_blocks<room, F>& e) noexcept {
    plane_pointers<F, std::byte> planes[width];
    for (std::size_t l = 0; l < width; ++l) planes[l] = to.block(b.row[l], b.block[l]);
    if constexpr (packs<F>) {
        constexpr bool whole_bytes = F::grid::bits == 8;
        alignas(64) std::uint8_t packed[whole_bytes ? 1 : packed_size<F> * width];
        if constexpr (!whole_bytes) pack_codes<packing_of<F>.kind>(packing_of<F>, e.code, packed);
        std::byte* codes_at[width];
        for (std::size_t l = 0; l < width; ++l) {
            codes_at[l] = planes[l][0] + F::offset_of(field::codes);
            F::store_params(e.params[l], planes[l]);
        }
        scatter_bytes(whole_bytes ? e.code : packed, packed_size<F>, codes_at);
    } else {
        for (std::size_t l = 0; l < width; ++l) {
            typename F::code code[block_size<F>];
            for (std::size_t i = 0; i < block_size<F>; ++i) code[i] = e.code[i * width + l];
            F::store(e.params[l], code, planes[l]);
        }
    }
}

/// encoder_kernels::fit_lanes.
template <block_format F, class Fit> static void fit_lanes(const void* fit, const void* sites, void* made) noexcept {
    const auto& s = *static_cast<const lane_sites<room, F>*>(sites);
    if constexpr (encodes_whole<Fit, F>)
        static_cast<const Fit*>(fit)->template whole_blocks<room, F>(s, *static_cast<lane_blocks<room, F>*>(made));
    else static_cast<const Fit*>(fit)->template blocks<room, F>(s, static_cast<typename F::params*>(made));
}

/// encoder_kernels::encode_site of a whole block, in all lanes: not a second compilation of the fit, for one.
template <block_format F, class Fit>
static void encode_site_in_lanes(const void* fit, const void* one, void* encoded_one) noexcept {
    constexpr std::size_t n = block_size<F>;
    const auto& s = *static_cast<const site<F>*>(one);
    auto& made = *static_cast<encoded<F>*>(encoded_one);
    alignas(64) floats x[n];
    alignas(64) floats w[n];
    typename F::outer outer[width];
    for (std::size_t i = 0; i < n; ++i) {
        x[i] = splat(s.x[i]);
        w[i] = splat(s.importance.empty() ? 0.0f : s.importance[i]);
    }
    for (auto& o : outer) o = s.outer;
    const lane_sites<room, F> sites{x,     s.importance.empty() ? nullptr : w, n, splat(s.row_mean_square),
                                    outer, x,                                  w};
    alignas(64) lane_blocks<room, F> e;
    if constexpr (encodes_whole<Fit, F>) {
        fit_lanes<F, Fit>(fit, &sites, &e);
    } else {
        fit_lanes<F, Fit>(fit, &sites, e.params);
        for (std::size_t i = 0; i < n; ++i) x[i] = splat(s.x[i]);  // the fit may have worked there
        (void)choose_codes<F>(sites, e);
    }
    made.params = e.params[0];
    for (std::size_t i = 0; i < n; ++i) made.code[i] = e.code[i * width];
}

// The steps of encode_batch are functions of their own, none of which is inlined: what one needs of the stack, a fit
// above all, another need not hold.

/// Brings a batch into lanes and fits: params or, by a fit that does so, whole blocks. Afterwards x are its weights;
/// behind them lie the importances.
/// False: some weight is not finite.
template <block_format F>
[[gnu::__noinline__]] static bool fit_batch(const encode_job& job, const block_batch& b, const std::byte** at,
                                            const typename F::outer* outer, floats* x, void* made) noexcept {
    constexpr std::size_t n = block_size<F>;
    floats* const w = x + n;
    if (!open_batch(job, b, at, x, w)) return false;
    const lane_sites<room, F> s{x,     job.importance.data != nullptr ? w : nullptr, n, get_floats(b.row_mean_square),
                                outer, x,                                            w};
    job.kernels->fit_lanes(job.fit, &s, made);
    if (s.spent && !job.kernels->whole) gather(job, b, at, x);
    return true;
}

/// Chooses and stores codes under the params that a fit gave. False: some scale is not finite.
template <block_format F>
[[gnu::__noinline__]] static bool code_batch(const encode_job& job, const block_batch& b, const std::byte* const* at,
                                             typename F::outer* outer, floats* x,
                                             const typename F::params* params) noexcept {
    const lane_sites<room, F> s{x, nullptr, block_size<F>, splat(0.0f), outer, nullptr, nullptr};
    alignas(64) lane_blocks<room, F> e;
    for (std::size_t l = 0; l < width; ++l) e.params[l] = params[l];
    prefetch(job, at, 2);
    if (!choose_codes<F>(s, e)) return false;
    prefetch(job, at, 3);
    scatter<F>(b, *static_cast<const qspan<F>*>(job.out), e);
    return true;
}

/// By a fit that gives params.
template <block_format F>
[[gnu::__noinline__]] static bool encode_params_batch(const encode_job& job, const block_batch& b, const std::byte** at,
                                                      typename F::outer* outer, floats* x) noexcept {
    typename F::params params[width];
    return fit_batch<F>(job, b, at, outer, x, params) && code_batch<F>(job, b, at, outer, x, params);
}

/// By a fit that encodes whole blocks. False: some weight or scale is not finite.
template <block_format F>
[[gnu::__noinline__]] static bool encode_whole_batch(const encode_job& job, const block_batch& b, const std::byte** at,
                                                     const typename F::outer* outer, floats* x) noexcept {
    alignas(64) lane_blocks<room, F> e;
    if (!fit_batch<F>(job, b, at, outer, x, &e)) return false;
    for (std::size_t l = 0; l < width; ++l)
        if (!all_finite<F>(e.params[l], F::outer_scale(outer[l]), block_size<F>)) return false;
    prefetch(job, at, 3);
    scatter<F>(b, *static_cast<const qspan<F>*>(job.out), e);
    return true;
}

/// In `space`, for weights and importances.
template <block_format F>
static bool encode_batch_in(const encode_job& job, const block_batch& b, floats* space) noexcept {
    const std::byte* at[width];
    typename F::outer outer[width];
    for (std::size_t l = 0; l < width; ++l)
        outer[l] = static_cast<const qspan<F>*>(job.out)->outer(b.row[l], b.block[l] * block_size<F>);
    return job.kernels->whole ? encode_whole_batch<F>(job, b, at, outer, space)
                              : encode_params_batch<F>(job, b, at, outer, space);
}
template <block_format F>
[[gnu::__noinline__]] static bool encode_batch_on_stack(const encode_job& job, const block_batch& b) noexcept {
    alignas(64) floats space[2 * block_size<F>];
    return encode_batch_in<F>(job, b, space);
}
/// encoder_kernels::batch.
template <block_format F> static bool encode_batch(const encode_job& job, const block_batch& b) noexcept {
    if (job.space == nullptr) return encode_batch_on_stack<F>(job, b);
    return encode_batch_in<F>(job, b, reinterpret_cast<floats*>(job.space));
}

/// The params of blocks, by a fit that encodes them whole.
template <block_format F>
[[gnu::__noinline__]] static void fit_whole_params(const encoder_kernels& k, const void* fit,
                                                   const lane_sites<room, F>& s, typename F::params* params) noexcept {
    lane_blocks<room, F> e;
    k.fit_lanes(fit, &s, &e);
    for (std::size_t l = 0; l < width; ++l) params[l] = e.params[l];
}
/// The params of one whole block of each row of x, (rows, block) weights: what an algorithm that chooses codes itself
/// asks of a fit. `params`: as many as rows fill whole vectors of lanes.
/// `space`: 2 vectors for each weight of a block, 64-byte aligned.
template <block_format F>
static void fit_rows(const encoder_kernels& k, const void* fit, matrix_view<const float> x,
                     std::span<const float> importance, const typename F::outer* outer, typename F::params* params,
                     float* space) noexcept {
    if (k.fit_lanes == nullptr) {
        for (std::size_t r = 0; r < x.rows; ++r) {
            const site<F> s{{x.row(r), x.cols}, importance, 0, outer[r], id};
            k.fit_site(fit, &s, params + r);
        }
        return;
    }
    if constexpr (byte_codes<F>) {
        constexpr std::size_t n = block_size<F>;
        auto* const weights = reinterpret_cast<floats*>(space);
        floats* const w = weights + n;
        for (std::size_t first = 0; first < x.rows; first += width) {
            const float* from[width];
            typename F::outer at[width];
            for (std::size_t l = 0; l < width; ++l) {  // idle lanes repeat the last row
                const std::size_t r = smaller_size(first + l, x.rows - 1);
                from[l] = x.row(r);
                at[l] = outer[r];
            }
            gather_blocks(from, n, weights);
            for (std::size_t i = 0; i < importance.size(); ++i) w[i] = splat(importance[i]);
            const lane_sites<room, F> s{weights, importance.empty() ? nullptr : w, n, splat(0.0f), at, weights, w};
            if (k.whole) fit_whole_params<F>(k, fit, s, params + first);
            else k.fit_lanes(fit, &s, params + first);
        }
    }
}

/// What keeps F under Fit from the fastest way here.
template <class F, class Fit>
static constexpr const char* why_slow = [] {
    if constexpr (copies_numbers<F> && !encodes_whole<Fit, F>) return "";
    else if constexpr (!byte_codes<F>) return "codes of several weights, or of more than 8 bits";
    else if constexpr (!requires { typename F::part; }) return "the format has no part";
    else if constexpr (!encodes<F, Fit>) return "the fit makes one block at a time";
    else if constexpr (!packs<F>) return "the format has no store_params, or no bit layout that is known";
    else if constexpr (has_own_params<F>) return "project or at are not those of the format's part";
    else return "";
}();

/// F under Fit in this room.
template <block_format F, class Fit> static constexpr encoder_kernels encoder_of() noexcept {
    encoder_kernels k{};
    k.room = id;
    k.width = width;
    k.whole = encodes_whole<Fit, F>;
    k.row_mean_square = encodes_whole<Fit, F> && weighs_by_row<F>;
    if constexpr (requires { Fit::name; }) k.fit_name = Fit::name;
    if constexpr (encodes<F, Fit> && !has_ragged_rows<F>) {
        // and nobody fits a part of a block. One block fills the lanes of the room that has fewest: bits are the same
        k.encode_site = &portable::template encode_site_in_lanes<F, Fit>;
    } else {
        k.fit_site = &fit_site<F, Fit>;
        k.encode_site = &encode_site<F, Fit>;
    }
    k.why = why_slow<F, Fit>;
    k.single = &encode_single<F>;
    if constexpr (has_outer<F> || copies_numbers<F>) k.widen_range = &widen_range;
    if constexpr (encodes<F, Fit>) k.fit_lanes = &fit_lanes<F, Fit>;
    if constexpr (copies_numbers<F> && !encodes_whole<Fit, F>) {
        k.numbers = &encode_numbers<F>;
        k.largest_number = (F::grid::number::max)();
        k.number_bytes = sizeof(typename F::code);
    } else if constexpr (encodes<F, Fit>) {
        k.batch = &encode_batch<F>;
    }
    return k;
}
