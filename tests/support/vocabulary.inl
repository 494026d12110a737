// No #pragma once: vocabulary.hpp includes this text in a struct for each room, compiled for its instruction set, and
// in one for one_lane. The operations of `R` on memory, 32 bits to a lane whatever they mean.

using floats = R::floats;
using ints = R::ints;
using mask = R::mask;
static constexpr std::size_t width = R::width;

QLIB_INLINE static floats f(const word* p) {
    floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
QLIB_INLINE static ints i(const word* p) {
    ints v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
QLIB_INLINE static mask m(const word* p) { return i(p) < R::splat(std::int32_t{0}); }
template <class V> QLIB_INLINE static void put(word* out, V v) { std::memcpy(out, &v, sizeof v); }

/// What each lane makes of its own numbers.
static std::span<const lane_operation> lane_operations() {
    using p = const word*;
    using q = word*;
    static constexpr lane_operation all[] = {
        {"a + b", true, [](p a, p b, p, q out) { put(out, f(a) + f(b)); }},
        {"a - b", true, [](p a, p b, p, q out) { put(out, f(a) - f(b)); }},
        {"a * b", true, [](p a, p b, p, q out) { put(out, f(a) * f(b)); }},
        {"a / b", true, [](p a, p b, p, q out) { put(out, f(a) / f(b)); }},
        {"a < b", false, [](p a, p b, p, q out) { put(out, R::one_if(f(a) < f(b))); }},
        {"a >= b", false, [](p a, p b, p, q out) { put(out, R::one_if(f(a) >= f(b))); }},
        {"a == b", false, [](p a, p b, p, q out) { put(out, R::one_if(f(a) == f(b))); }},
        {"i + j", false, [](p a, p b, p, q out) { put(out, (i(a) >> 1) + (i(b) >> 1)); }},
        {"i - j", false, [](p a, p b, p, q out) { put(out, (i(a) >> 1) - (i(b) >> 1)); }},
        {"i ^ j", false, [](p a, p b, p, q out) { put(out, (i(a) & i(b)) ^ ~(i(b) | 5)); }},
        {"i < j", false, [](p a, p b, p, q out) { put(out, R::one_if(i(a) < i(b))); }},
        {"times", true, [](p a, p b, p, q out) { put(out, R::times(f(a), f(b))); }},
        {"select floats", false, [](p a, p b, p c, q out) { put(out, R::select(m(c), f(a), f(b))); }},
        {"select ints", false, [](p a, p b, p c, q out) { put(out, R::select(m(c), i(a), i(b))); }},
        {"smaller float", false, [](p a, p b, p, q out) { put(out, R::smaller(f(a), f(b))); }},
        {"larger float", false, [](p a, p b, p, q out) { put(out, R::larger(f(a), f(b))); }},
        {"smaller int", false, [](p a, p b, p, q out) { put(out, R::smaller(i(a), i(b))); }},
        {"larger int", false, [](p a, p b, p, q out) { put(out, R::larger(i(a), i(b))); }},
        {"no", false, [](p a, p, p, q out) { put(out, R::one_if(R::no(m(a)))); }},
        {"one_if", false, [](p a, p, p, q out) { put(out, R::one_if(m(a))); }},
        {"bits", false, [](p a, p, p, q out) { put(out, R::bits(f(a))); }},
        {"from_bits", false, [](p a, p, p, q out) { put(out, R::from_bits(i(a))); }},
        {"to_float", false, [](p a, p, p, q out) { put(out, R::to_float(i(a))); }},
        {"truncate", false, [](p a, p, p, q out) { put(out, R::truncate(R::clamp(f(a), -0x1p31f, 2147483520.0f))); }},
        {"truncate a small one", false,
         [](p a, p, p, q out) { put(out, R::truncate(R::clamp(f(a), -100.0f, 100.0f))); }},
        {"square_root", false, [](p a, p, p, q out) { put(out, R::square_root(f(a))); }},
        {"look_up", false, [](p a, p, p, q out) { put(out, R::look_up(sixteen_floats, i(a))); }},
        {"magnitude", false, [](p a, p, p, q out) { put(out, R::magnitude(f(a))); }},
        {"clamp float", false, [](p a, p, p, q out) { put(out, R::clamp(f(a), -1.5f, 2.0f)); }},
        {"clamp int", false, [](p a, p, p, q out) { put(out, R::clamp(i(a), -7, 1000)); }},
        {"round_even", false, [](p a, p, p, q out) { put(out, R::round_even(R::clamp(f(a), -0x1p22f, 0x1p22f))); }},
        {"round_clamped", false, [](p a, p, p, q out) { put(out, R::round_clamped(f(a), -8, 7)); }},
        {"safe_reciprocal", false, [](p a, p, p, q out) { put(out, R::safe_reciprocal(f(a))); }},
    };
    return all;
}
