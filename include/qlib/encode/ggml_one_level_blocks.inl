// No #pragma once: part of ggml_blocks.inl. The encoders of formats with one level of scales: Q4_0 to Q8_0, Q1_0, Q2_0,
// TQ1_0, TQ2_0, MXFP4 and NVFP4.

/// trunc(x), as the cast to int8 does for what the encoders feed it; 0 for the rest.
QLIB_INLINE static constexpr ints ggml_truncate(floats x) noexcept {
    return truncate(select(magnitude(x) < 32767.0f, x, splat(0.0f)));
}
/// roundf: halves away from zero; 0 for what ggml_truncate cannot do.
QLIB_INLINE static constexpr ints ggml_round_away(floats x) noexcept {
    const floats inside = select(magnitude(x) < 32767.0f, x, splat(0.0f));
    const ints t = truncate(inside);
    const floats rest = inside - to_float(t);
    return t + one_if(rest >= 0.5f) - one_if(rest <= -0.5f);
}

/// quantize_row_q4_0_ref and q5_0_ref.
template <class F>
static constexpr void ggml_signed_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    constexpr int half = 1 << (F::grid::bits - 1);
    if (s.importance != nullptr) {
        floats w[32];
        ggml_weights<32>(s.importance, s.row_mean_square, s.x, w);
        return ggml_store_scale(ggml_signed_search<32>(half, s.x, w, out.code), out);
    }
    const floats d = extreme_of<32>(s.x) / static_cast<float>(-half), inverse = quotient(d != 0.0f, splat(1.0f), d);
    ggml_store_scale(d, out);  // codes come from the scale before it is rounded
    for (std::size_t i = 0; i < 32; ++i) {
        const ints q = ggml_truncate(times(s.x[i], inverse) + (static_cast<float>(half) + 0.5f));
        put(&out.code[i * width], select(q > 2 * half - 1, splat(2 * half - 1), q));
    }
}

/// quantize_row_q4_1_ref and q5_1_ref.
template <class F>
static constexpr void ggml_offset_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    constexpr int top = (1 << F::grid::bits) - 1;
    const auto store = [&](floats scale, floats low) QLIB_INLINE_LAMBDA {
        ggml_store_scale(scale, out);
        ggml_store_half(low, out, [](typename F::params& p) QLIB_INLINE_LAMBDA -> f16& { return p.zeros[0]; });
    };
    if (s.importance != nullptr) {
        floats w[32];
        ggml_weights<32>(s.importance, s.row_mean_square, s.x, w);
        ggml_scale_and_min found{};
        ggml_min_search<32, 1>(top, s.x, w, out.code, {-0.9f, 0.05f, 36}, &found);
        return store(found.scale, -found.min);
    }
    floats low = s.x[0], high = s.x[0];
    for (std::size_t i = 1; i < 32; ++i) {
        low = smaller(low, s.x[i]);
        high = larger(high, s.x[i]);
    }
    const floats d = (high - low) / static_cast<float>(top), inverse = quotient(d != 0.0f, splat(1.0f), d);
    store(d, low);
    for (std::size_t i = 0; i < 32; ++i) {
        const ints q = ggml_truncate(times(s.x[i] - low, inverse) + 0.5f);
        put(&out.code[i * width], select(q > top, splat(top), q));
    }
}

/// quantize_row_q8_0_ref.
template <class F>
static constexpr void ggml_q8_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    const floats d = magnitude(extreme_of<32>(s.x)) / 127.0f, inverse = quotient(d != 0.0f, splat(1.0f), d);
    ggml_store_scale(d, out);
    for (std::size_t i = 0; i < 32; ++i) put(&out.code[i * width], ggml_round_away(times(s.x[i], inverse)));
}

/// quantize_row_q1_0_ref: signs under the mean magnitude.
template <class F>
static constexpr void ggml_sign_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out) noexcept {
    floats sum = splat(0.0f);
    for (std::size_t i = 0; i < F::group; ++i) sum += magnitude(s.x[i]);
    ggml_store_scale(sum / static_cast<float>(F::group), out);
    for (std::size_t i = 0; i < F::group; ++i) put(&out.code[i * width], one_if(s.x[i] >= 0.0f));
}

/// quantize_row_tq1_0_ref, tq2_0_ref and q2_0_ref: levels -1, 0, 1 under the block's abs-max, halves away from zero.
/// `beyond`: the code where the inverse of a subnormal abs-max is infinite.
template <class F>
static constexpr void ggml_ternary_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out,
                                         std::int32_t beyond) noexcept {
    const floats d = magnitude(extreme_of<F::group>(s.x)), inverse = quotient(d != 0.0f, splat(1.0f), d);
    ggml_store_scale(d, out);
    const mask finite = bits(inverse) < 0x7F800000;
    for (std::size_t i = 0; i < F::group; ++i)
        put(&out.code[i * width], select(finite, ggml_round_away(times(s.x[i], inverse)) + 1, splat(beyond)));
}

/// The first of the levels nearest to x under scale d, in code order: ggml's choice for MXFP4 and NVFP4. The
/// grid's upper half mirrors its lower one, and comes later: a negative level is never nearer to a positive x
/// than 0 is, nor a positive one to a negative x.
template <class F> QLIB_INLINE static constexpr ints ggml_first_nearest(floats x, floats d) noexcept {
    const floats a = magnitude(x);
    floats least = magnitude(times(d, F::grid::level(0)) - a);
    ints best = splat(0);
    for (std::int32_t c = 1; c < 8; ++c) {
        const floats e = magnitude(times(d, F::grid::level(static_cast<std::size_t>(c))) - a);
        best = select(e < least, splat(c), best);
        least = smaller(least, e);
    }
    return best | select((bits(x) < 0) & (best != 0), splat(8), splat(0));
}

/// Groups of E2M1 under the scale that scale_of(abs-max) gives.
template <class F, class ScaleOf>
static constexpr void ggml_e2m1_block(const lane_sites<room, F>& s, lane_blocks<room, F>& out,
                                      const ScaleOf& scale_of) noexcept {
    for (std::size_t g = 0; g < F::groups; ++g) {
        const floats high = magnitude(extreme_of<F::group>(s.x + g * F::group));
        floats d = splat(0.0f);
        for (std::size_t l = 0; l < width; ++l) {
            out.params[l].scale[g] = scale_of(lane(high, l));
            set_lane(d, l, out.params[l].scale[g].value());
        }
        for (std::size_t i = g * F::group; i < (g + 1) * F::group; ++i)
            put(&out.code[i * width], ggml_first_nearest<F>(s.x[i], d));
    }
}
