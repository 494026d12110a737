// No #pragma once: each room includes this text. Rows as numbers, not as blocks: their range, and formats that are rows
// of numbers.

/// The range of n numbers, widened; false: one is not finite.
template <class T> static bool widen_range(const T* x, std::size_t n, float& low, float& high) noexcept {
    floats least[parts], most[parts];
    ints largest[parts];
    for (std::size_t p = 0; p < parts; ++p) {
        least[p] = splat(low);
        most[p] = splat(high);
        largest[p] = splat(0);
    }
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

/// encoder_kernels::widen_range.
static bool widen_range(const void* x, element type, std::size_t n, float& low, float& high) noexcept {
    if (type == element::float16) return widen_range(static_cast<const f16*>(x), n, low, high);
    if (type == element::bfloat16) return widen_range(static_cast<const bf16*>(x), n, low, high);
    return widen_range(static_cast<const float*>(x), n, low, high);
}

/// Whether F is rows of numbers that the room can make itself.
template <class F>
static constexpr bool copies_numbers = [] {
    if constexpr (!holds_numbers<F> || std::endian::native != std::endian::little) return false;
    else return std::same_as<typename F::grid::number, f32> || weight_source<typename F::grid::number>;
}();

/// encoder_kernels::numbers, a piece of a row at a time.
template <block_format F> static void encode_numbers(const encode_job& job, std::size_t r, bool streamed) noexcept {
    using number = typename F::grid::number;
    using stored = std::conditional_t<std::same_as<number, f32>, float, number>;
    constexpr std::size_t piece = 512;
    const std::size_t cols = job.W.cols;
    for (std::size_t c = 0, n; c < cols; c += n) {
        std::byte* const to = static_cast<const qspan<F>*>(job.out)->block(r, 0)[0] + c * sizeof(stored);
        n = smaller_size(piece, cols - c);
        if (c + n != cols)
            n -= (reinterpret_cast<std::uintptr_t>(to) / sizeof(stored) + n) %
                 (64 / sizeof(stored));  // pieces end where lines do
        float x[piece];
        widen_elements(job.W.at(r, c), job.W.type, n, x);
        if (reinterpret_cast<std::uintptr_t>(to) % alignof(stored) == 0) {
            put_numbers(x, n, reinterpret_cast<stored*>(to), streamed);
        } else {
            stored made[piece];
            put_numbers(x, n, made, false);
            std::memcpy(to, made, n * sizeof(stored));
        }
    }
    if (streamed) end_stream();
}
