// int_format over its whole product: bits 1 to 8 x groups x symmetry x scale type. The compiler encodes and decodes a
// block of each; its bytes are read back by a reader that knows only the int_spec, its floats formed from the stored
// numbers by the definition, and no other level may lie nearer to a weight.
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/integer.hpp>
#include <qlib/kernel/decode_block.hpp>
#include <qlib/quantize.hpp>

#include <vector>

namespace {

using qlib::granularity, qlib::int_spec, qlib::scale_type, qlib::symmetry;

/// A block that ends after so many weights, where a row does.
constexpr std::size_t short_count = 21;

/// What the library makes of a block, for the checks below, which are compiled once.
struct made_block {
    int_spec spec;
    std::vector<float> x, decoded;
    std::vector<std::byte> wire, outer, short_wire;
    bool short_same;  ///< whether the codes of the short block came back
};

/// All of it worked out by the compiler: some 400 formats leave no code behind, and are compiled four times faster.
template <int_spec S> struct at_compile_time {
    using F = qlib::int_format<S>;
    static constexpr std::size_t n = qlib::block_size<F>;
    static_assert(F::planes.size() == 1 && F::vec == 1 && qlib::has_ragged_rows<F>);

    /// Uniform, within +-1/8.
    static constexpr auto x = [] {
        std::array<float, n> v{};
        auto h = static_cast<std::uint32_t>(S.bits * 1000003 + static_cast<int>(S.sym) * 7919 +
                                            static_cast<int>(S.scale) * 104729);
        for (float& e : v) {
            h = h * 1664525u + 1013904223u;
            e = static_cast<float>(static_cast<std::int32_t>(h)) * 0x1p-34f;
        }
        return v;
    }();
    static constexpr auto outer = [] {
        qlib::tile_stats stats;
        for (const float v : x) {
            stats.low = v < stats.low ? v : stats.low;
            stats.high = v > stats.high ? v : stats.high;
        }
        return F::fit_outer(stats);
    }();
    static constexpr auto wire = qlib::encode<F>(x, qlib::plain_fit{}, outer);
    static constexpr auto outer_wire = [] {
        if constexpr (qlib::has_outer<F>) {
            std::array<std::byte, F::outer_bytes> bytes{};
            F::store_outer(outer, bytes.data(), nullptr);
            return bytes;
        } else {
            return std::array<std::byte, 0>{};
        }
    }();
    struct decoded_block {
        std::array<float, n> y{};
        std::array<std::byte, F::planes_of(short_count)[0]> short_wire{};
        bool short_same = true;
    };
    static constexpr auto decoded = [] {
        decoded_block d;
        std::array<typename F::code, n> code{}, again{};
        const auto p = F::load(qlib::plane_pointers<F, const std::byte>{wire.data()}, outer, std::span(code));
        qlib::detail::decode_codes<F>(p, code.data(), outer, n, d.y.data());
        F::store(p, std::span<const typename F::code>(code).first(short_count),
                 qlib::plane_pointers<F, std::byte>{d.short_wire.data()});
        F::load(qlib::plane_pointers<F, const std::byte>{d.short_wire.data()}, outer,
                std::span(again).first(short_count));
        for (std::size_t i = 0; i < short_count; ++i) d.short_same = d.short_same && again[i] == code[i];
        return d;
    }();
    static made_block made() {
        const auto list = [](const auto& a) { return std::vector(a.begin(), a.end()); };
        return {
            S, list(x), list(decoded.y), list(wire), list(outer_wire), list(decoded.short_wire), decoded.short_same};
    }
};

std::size_t bytes_of(scale_type t) {
    return t == scale_type::float32 ? 4 : t == scale_type::float16 || t == scale_type::bfloat16 ? 2 : 1;
}
/// A number of a scale type, by its own definition.
double read_number(const std::byte* p, scale_type t) {
    unsigned v = 0;
    for (std::size_t i = 0; i < bytes_of(t); ++i) v |= std::to_integer<unsigned>(p[i]) << 8 * i;
    const auto value = [](unsigned bits, int exponent_bits, int mantissa_bits) {
        const int bias = (1 << (exponent_bits - 1)) - 1,
                  e = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
        const auto m = static_cast<double>(bits & ((1u << mantissa_bits) - 1)) / (1 << mantissa_bits);
        const double a = e == 0 ? std::ldexp(m, 1 - bias) : std::ldexp(1 + m, e - bias);
        return (bits >> (exponent_bits + mantissa_bits) & 1) != 0 ? -a : a;
    };
    switch (t) {
    case scale_type::float32: return value(v, 8, 23);
    case scale_type::float16: return value(v, 5, 10);
    case scale_type::bfloat16: return value(v, 8, 7);
    case scale_type::float8_e4m3: return value(v, 4, 3);
    case scale_type::power_of_two: break;
    }
    return std::ldexp(1, static_cast<int>(v) - 127);
}

/// What the bytes say: scale, zero point or offset, codes.
struct read_block {
    double s = 0, z = 0, tensor_scale = 1;
    std::vector<unsigned> code;
};
read_block read(const made_block& b) {
    const int_spec& f = b.spec;
    const bool whole_rows = f.granularity == granularity::row;
    read_block r;
    const std::size_t size = bytes_of(f.scale);
    const std::byte* at = whole_rows ? b.outer.data() : b.wire.data();
    r.s = read_number(at, f.scale);
    if (f.sym == symmetry::zero_point) r.z = std::to_integer<int>(at[size]) & ((1 << f.bits) - 1);
    if (f.sym == symmetry::offset) r.z = read_number(at + size, f.scale);
    if (!whole_rows && f.tensor_scale) r.tensor_scale = read_number(b.outer.data(), scale_type::float32);
    at = b.wire.data() + (whole_rows ? 0
                                     : size + (f.sym == symmetry::zero_point ? 1
                                               : f.sym == symmetry::offset   ? size
                                                                             : 0));
    for (std::size_t i = 0; i < b.x.size(); ++i) {
        unsigned c = 0;
        for (std::size_t k = 0, bit = i * static_cast<std::size_t>(f.bits); k < static_cast<std::size_t>(f.bits);
             ++k, ++bit)
            c |= (std::to_integer<unsigned>(at[bit / 8]) >> bit % 8 & 1) << k;
        r.code.push_back(c);
    }
    CHECK(at + (b.x.size() * static_cast<std::size_t>(f.bits) + 7) / 8 == b.wire.data() + b.wire.size());
    return r;
}

double level_of(const int_spec& f, unsigned code) {
    if (f.sym == symmetry::zero_point || f.sym == symmetry::offset) return code;
    if (f.bits == 1) return code == 0 ? -1 : 1;
    return static_cast<double>(code) - (1 << (f.bits - 1));
}
/// s * l, s * (l - z) or s * l + z, rounded at each step as documented; the tensor's
/// or the row's scale multiplies last.
float value_of(const int_spec& f, const read_block& r, double level) {
    const bool outside = f.granularity == granularity::row && f.sym != symmetry::offset;
    const auto s = static_cast<float>(outside ? 1 : r.s), last = static_cast<float>(outside ? r.s : r.tensor_scale);
    const auto l = static_cast<float>(level), z = static_cast<float>(r.z);
    volatile float y = s * (f.sym == symmetry::zero_point ? l - z : l);  // rounded here
    if (f.sym == symmetry::offset) y = y + z;
    y = y * last;
    return y;
}

void check_block(const made_block& b) {
    const int_spec& f = b.spec;
    CAPTURE(f.bits);
    CAPTURE(f.group);
    CAPTURE(static_cast<int>(f.sym));
    CAPTURE(static_cast<int>(f.scale));
    CAPTURE(static_cast<int>(f.granularity));
    const read_block r = read(b);
    const unsigned first = f.sym == symmetry::restricted ? 1 : 0;
    bool same = true, nearest = true;
    for (std::size_t i = 0; i < b.x.size(); ++i) {
        same = same && b.decoded[i] == value_of(f, r, level_of(f, r.code[i]));
        nearest = nearest && r.code[i] >= first;
        const double error = std::abs(double{b.x[i]} - double{b.decoded[i]});
        for (unsigned c = first; c < 1u << f.bits; ++c)
            nearest = nearest &&
                      error <= std::abs(double{b.x[i]} - double{value_of(f, r, level_of(f, c))}) * (1 + 1e-5) + 1e-8;
    }
    CHECK(same);
    CHECK(nearest);
    CHECK(b.short_same);
    const auto bytes = [&](std::size_t n) { return (n * static_cast<std::size_t>(f.bits) + 7) / 8; };
    CHECK(b.short_wire.size() == b.wire.size() - bytes(b.x.size()) + bytes(short_count));
    const bool fine_scale = f.scale != scale_type::power_of_two && f.scale != scale_type::float8_e4m3;
    if (f.bits > 1 && fine_scale) CHECK(sample::sqnr(b.x, b.decoded) > 6 * f.bits - 7);
}

template <int Bits, symmetry Sym, scale_type Scale> void add_groups(std::vector<made_block>& all) {
    if constexpr (!(Bits == 1 && Sym == symmetry::restricted) &&
                  !(Sym == symmetry::offset && Scale == scale_type::power_of_two)) {
        all.push_back(at_compile_time<int_spec{.bits = Bits, .group = 32, .sym = Sym, .scale = Scale}>::made());
        all.push_back(at_compile_time<int_spec{.bits = Bits, .group = 128, .sym = Sym, .scale = Scale}>::made());
        all.push_back(at_compile_time<int_spec{
                          .bits = Bits, .sym = Sym, .scale = Scale, .granularity = granularity::row}>::made());
    }
}
template <int Bits, symmetry Sym> void add_scales(std::vector<made_block>& all) {
    add_groups<Bits, Sym, scale_type::float32>(all);
    add_groups<Bits, Sym, scale_type::float16>(all);
    add_groups<Bits, Sym, scale_type::bfloat16>(all);
    add_groups<Bits, Sym, scale_type::power_of_two>(all);
    add_groups<Bits, Sym, scale_type::float8_e4m3>(all);
}
template <int... Bits> std::vector<made_block> every_format_of() {
    std::vector<made_block> all;
    (add_scales<Bits, symmetry::full>(all), ...);
    (add_scales<Bits, symmetry::restricted>(all), ...);
    (add_scales<Bits, symmetry::zero_point>(all), ...);
    (add_scales<Bits, symmetry::offset>(all), ...);
    return all;
}

}  // namespace

TEST_CASE("int_format: every combination's bytes mean what its spec says, and its codes are the nearest") {
    const auto all = every_format_of<1, 2, 3, 4, 5, 6, 7, 8>();
    CHECK(all.size() == (8 * 4 * 5 - 5 - 8) * 3);
    for (const made_block& b : all) check_block(b);
}
