// No #pragma once: rooms of fewer than 16 lanes include this text inside their struct, behind vectors.inl. The
// vocabulary on 16 numbers at once, for decoders and products, as several of the room's vectors; plain code
// where their instruction sets bring nothing better.

struct sixteen {
    floats part[parts];
    QLIB_INLINE sixteen operator+(const sixteen& b) const noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return part[i] + b.part[i]; });
    }
    QLIB_INLINE sixteen operator-(const sixteen& b) const noexcept {
        return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return part[i] - b.part[i]; });
    }
};
struct truths {
    mask part[parts];
};

/// Of part(i) for each i.
template <class Part> QLIB_INLINE static sixteen each(const Part& part) noexcept {
    sixteen r;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < parts; ++i) r.part[i] = part(i);
    return r;
}

QLIB_INLINE static sixteen splat_16(float x) noexcept {
    return each([&](std::size_t) QLIB_INLINE_LAMBDA { return splat(x); });
}
QLIB_INLINE static sixteen load(const float* p) noexcept { return load(p, 16); }
QLIB_INLINE static sixteen load(const float* p, std::size_t n) noexcept {
    sixteen v{};
    std::memcpy(&v, p, n * sizeof(float));
    return v;
}
QLIB_INLINE static void store(float* p, const sixteen& v) noexcept { std::memcpy(p, &v, sizeof v); }
QLIB_INLINE static void store(float* p, const sixteen& v, std::size_t n) noexcept {
    std::memcpy(p, &v, n * sizeof(float));
}
template <class T> QLIB_INLINE static sixteen widen(const std::byte* p) noexcept {
    float v[16];
    widen_16<T>(p, v);
    return load(v);
}
QLIB_INLINE static sixteen from_bytes(const std::int8_t* p) noexcept {
    using byte_lanes = std::int8_t __attribute__((vector_size(width)));
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
        byte_lanes b;
        std::memcpy(&b, p + width * i, width);
        return to_float(__builtin_convertvector(b, ints));
    });
}
QLIB_INLINE static sixteen negate(const sixteen& a, unsigned lanes) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
        ints sign;
#pragma GCC unroll 8
        for (std::size_t l = 0; l < width; ++l) sign[l] = static_cast<std::int32_t>(lanes >> (width * i + l) << 31);
        return from_bits(bits(a.part[i]) ^ sign);
    });
}
QLIB_INLINE static sixteen times(const sixteen& a, const sixteen& b) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return times(a.part[i], b.part[i]); });
}
QLIB_INLINE static sixteen multiply_add(const sixteen& a, const sixteen& b, const sixteen& c) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return multiply_add(a.part[i], b.part[i], c.part[i]); });
}
/// The products of all lanes, somewhere in two sums.
QLIB_INLINE static void multiply_add_to(floats (&sum)[2], const sixteen& a, const sixteen& b) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < parts; ++i) sum[i % 2] = multiply_add(a.part[i], b.part[i], sum[i % 2]);
}
QLIB_INLINE static sixteen quiet(const sixteen& a) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA {
        const ints all = bits(a.part[i]), nan = (all & 0x7FFFFFFF) > 0x7F800000;
        return from_bits((all & ~nan) | (nan & 0x7FC00000));
    });
}
QLIB_INLINE static truths less(const sixteen& a, const sixteen& b) noexcept {
    truths t;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < parts; ++i) t.part[i] = a.part[i] < b.part[i];
    return t;
}
QLIB_INLINE static sixteen select(const truths& t, const sixteen& yes, const sixteen& no) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return select(t.part[i], yes.part[i], no.part[i]); });
}
QLIB_INLINE static sixteen smaller(const sixteen& a, const sixteen& b) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return smaller(a.part[i], b.part[i]); });
}
QLIB_INLINE static sixteen stamp(const sixteen& v, std::size_t k) noexcept {
    return each([&](std::size_t i)
                    QLIB_INLINE_LAMBDA { return from_bits((bits(v.part[i]) & ~127) | static_cast<std::int32_t>(k)); });
}
QLIB_INLINE static sixteen stamped(const sixteen& v) noexcept {
    return each([&](std::size_t i) QLIB_INLINE_LAMBDA { return to_float(bits(v.part[i]) & 127); });
}

template <class S, class T> static void put_numbers(const S* x, std::size_t n, T* out, bool) noexcept {
    if constexpr (std::same_as<S, T>) std::memcpy(static_cast<void*>(out), x, n * sizeof(T));
    else
        for (std::size_t i = 0; i < n; ++i) out[i] = T::from(x[i]);
}
static void end_stream() noexcept {}
template <class F, class T> static constexpr bool looks_up = false;

template <class F> static constexpr bool unpacks = has_bit_layout<F>;
template <class F> static constexpr std::size_t joined_blocks = 1;
template <class F> QLIB_INLINE static sixteen levels(const std::uint8_t* codes) noexcept {
    float v[16];
#pragma GCC unroll 1
    for (std::size_t i = 0; i < 16; ++i) v[i] = level_table<F>[codes[i] % code_count<F>];
    return load(v);
}
static void to_operands(std::uint8_t* codes, std::size_t n, const operand_map& map) noexcept {
    if (map.flips && map.flip == 0) return;
    for (std::size_t i = 0; i < n; ++i)
        codes[i] = map.flips ? static_cast<std::uint8_t>(codes[i] ^ map.flip) : map.table[codes[i]];
}
QLIB_INLINE static void transpose(const std::byte* rows, std::size_t stride, std::byte* out) noexcept {
    for (std::size_t c = 0; c < 16; ++c)
        for (std::size_t r = 0; r < 16; ++r) std::memcpy(out + 64 * c + 4 * r, rows + r * stride + 4 * c, 4);
}
static std::uint32_t largest_magnitude(const float* x, std::size_t n) noexcept {
    std::uint32_t most = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t a = bits_of(x[i]) & 0x7FFFFFFFu;
        most = a > most ? a : most;
    }
    return most;
}
static std::int32_t round_activations(const float* x, std::size_t n, float inverse, std::int8_t* out) noexcept {
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::int32_t q = detail::round_clamped(product(x[i], inverse), -largest_activation, largest_activation);
        out[i] = static_cast<std::int8_t>(q);
        sum += q;
    }
    return sum;
}
