// No #pragma once: vocabulary.hpp includes this text in a struct for each room, behind vocabulary.inl. What one_lane
// has not: operations across lanes, on memory, and on 16 numbers.

// Across lanes. `out`: a vector, if not said otherwise.
static void splat_float(float x, word* out) { put(out, R::splat(x)); }
static void splat_int(std::int32_t x, word* out) { put(out, R::splat(x)); }
static float lane_of_floats(const word* a, std::size_t l) { return R::lane(f(a), l); }
static std::int32_t lane_of_ints(const word* a, std::size_t l) { return R::lane(i(a), l); }
static void set_lane_of_floats(const word* a, std::size_t l, float x, word* out) {
    floats v = f(a);
    R::set_lane(v, l, x);
    put(out, v);
}
static void set_lane_of_ints(const word* a, std::size_t l, std::int32_t x, word* out) {
    ints v = i(a);
    R::set_lane(v, l, x);
    put(out, v);
}
static void multiply_add(const word* a, const word* b, const word* c, word* out) {
    put(out, R::multiply_add(f(a), f(b), f(c)));
}
/// a * b + c in two roundings, which nothing may make one.
static void multiply_then_add(const word* a, const word* b, const word* c, word* out) {
    put(out, R::times(f(a), f(b)) + f(c));
}
static void multiply_barrier_add(const word* a, const word* b, const word* c, word* out) {
    floats p = f(a) * f(b);
    R::barrier(p);
    put(out, p + f(c));
}
static bool any(const word* a) { return R::any(m(a)); }
static float least_of(const word* a) { return R::least_of(f(a)); }
static void put_bytes(const word* a, std::uint8_t* out) { R::put(out, i(a)); }
static void put_4_bytes(const word* a, std::uint8_t* out) {
    R::put_4(out, i(a), i(a + width), i(a + 2 * width), i(a + 3 * width));
}
static void get_bytes(const std::uint8_t* from, word* out) { put(out, R::get(from)); }
static void copy_floats(const float* from, float* to) { R::put_floats(to, R::get_floats(from)); }
static void gather(const float* const* from, std::size_t n, word* out) {
    floats lanes[50];
    R::gather_blocks(from, n, lanes);
    for (std::size_t at = 0; at < n; ++at) put(out + at * width, lanes[at]);
}
static void scatter(const std::uint8_t* from, std::size_t n, std::byte* const* to) { R::scatter_bytes(from, n, to); }

// 16 numbers.
using sixteen = R::sixteen;
QLIB_INLINE static sixteen load(const float* p) { return R::load(p); }

static std::span<const sixteen_operation> sixteen_operations() {
    using p = const float*;
    static constexpr sixteen_operation all[] = {
        {"a + b", [](p a, p b, p, float* out) { R::store(out, load(a) + load(b)); }},
        {"a - b", [](p a, p b, p, float* out) { R::store(out, load(a) - load(b)); }},
        {"times", [](p a, p b, p, float* out) { R::store(out, R::times(load(a), load(b))); }},
        {"times, then plus", [](p a, p b, p c, float* out) { R::store(out, R::times(load(a), load(b)) + load(c)); }},
        {"smaller", [](p a, p b, p, float* out) { R::store(out, R::smaller(load(a), load(b))); }},
        {"select less",
         [](p a, p b, p c, float* out) { R::store(out, R::select(R::less(load(a), load(b)), load(b), load(c))); }},
        {"quiet", [](p a, p, p, float* out) { R::store(out, R::quiet(load(a))); }},
        {"stamp", [](p a, p, p, float* out) { R::store(out, R::stamp(load(a), 77)); }},
        {"stamped", [](p a, p, p, float* out) { R::store(out, R::stamped(load(a))); }},
        {"negate", [](p a, p, p, float* out) { R::store(out, R::negate(load(a), negated_lanes)); }},
    };
    return all;
}
static void multiply_add_16(const float* a, const float* b, const float* c, float* out) {
    R::store(out, R::multiply_add(load(a), load(b), load(c)));
}
static void splat_16(float x, float* out) { R::store(out, R::splat_16(x)); }
static void load_some(const float* from, std::size_t n, float* out) { R::store(out, R::load(from, n)); }
static void store_some(const float* from, std::size_t n, float* out) { R::store(out, load(from), n); }
template <class T> static void widen(const std::byte* from, float* out) { R::store(out, R::template widen<T>(from)); }
template <class T> static void widen_16(const std::byte* from, float* out) { R::template widen_16<T>(from, out); }
static void from_bytes(const std::int8_t* from, float* out) { R::store(out, R::from_bytes(from)); }
template <class S, class T> static void put_numbers(const S* from, std::size_t n, T* out, bool streamed) {
    R::put_numbers(from, n, out, streamed);
    R::end_stream();
}
static void transpose(const std::byte* rows, std::size_t stride, std::byte* out) { R::transpose(rows, stride, out); }
static std::uint32_t largest_magnitude(const float* x, std::size_t n) { return R::largest_magnitude(x, n); }

// Bytes of weights times bytes of activations.
template <qlib::detail::operand How>
static void dot(std::int32_t start, const std::uint8_t* weights, const std::int8_t* x, std::size_t steps, float* out) {
    auto sum = R::splat_16(start);
    for (std::size_t s = 0; s < steps; ++s)
        sum = R::template dot<How>(sum, R::load_bytes(weights + 64 * s), x + 4 * s);
    R::store(out, R::to_float(sum));
}
/// One vector of weights: the sums of its lanes, and of all of them.
template <qlib::detail::operand How>
static float dot_lanes(const std::int32_t* start, const std::uint8_t* weights, const std::int8_t* x,
                       std::int32_t* out) {
    const auto sum = R::template dot_lanes<How>(R::get_ints(start), R::get_bytes(weights), x);
    for (std::size_t l = 0; l < R::width; ++l) out[l] = R::lane(sum, l);
    return R::sum_of(R::to_float(sum));
}
template <std::size_t Group> static void spread_lanes(const float* maps, std::size_t v, float* out) {
    R::put_floats(out, R::template spread_lanes<Group>(maps, v));
}
static std::int32_t round_activations(const float* x, std::size_t n, float factor, std::int8_t* out) {
    return R::round_activations(x, n, factor, out);
}
static void to_operands(std::uint8_t* codes, std::size_t n, const qlib::detail::operand_map& map) {
    R::to_operands(codes, n, map);
}

// Codes.
template <class F> static void levels(const std::uint8_t* codes, float* out) {
    R::store(out, R::template levels<F>(codes));
}
template <class F, std::size_t N> static void unpack(const std::byte* in, std::uint8_t* codes) {
    R::template unpack<typename F::bits, F::grid::bits, N>(in, codes);
}
// Where looks_up is true somewhere; `In` is R, looked at only then.
template <std::size_t Groups, std::size_t Group, std::size_t Size, class T, class In = R>
static void look_up(const float* table, const std::uint8_t* codes, T* out) {
    In::template look_up<Groups, Group, Size>(load(table), load(table + 16), codes, out);
}
template <std::size_t Size, std::size_t N, class In = R> static void spread(const float* from, float* out) {
    R::store(out, In::template spread<Size, N>(from));
}
