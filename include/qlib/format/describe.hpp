#pragma once
// describe<F>(): a format as a constexpr value, and as JSON that a reader in any language can decode its bytes by.
//
// A matrix of rows x cols: all blocks row by row in each plane, then the outer values of its tiles, row-major, then
// `tensor_bytes`. A row is cols / block_weights blocks; with flat_blocks and cols not a multiple, the matrix is one row
// of rows * cols. With ragged_rows the last block of a row holds n < block_weights weights: as many bytes of codes as n
// codes fill, later fields of its plane close up.
//
// Weight i of a block, in group g = i / group:
//     l = levels[code i]     where codes_are_levels; a number of type code_type where that has a name
//     s = scales[g]          scales[0] * subs[g] of two levels; scales[g] * or / the outer scale where
//                            outer.on_scales is "times" or "over"; without the field 1, or the outer
//                            scale where outer does not multiply
//     z = zeros[g]           type "code": levels[zeros[g]], an integer of `code_bits`, packed like sequential codes;
//                            of two levels -(zeros[0] * mins[g]); without the field the outer zero, else 0
//     y = s * l              map scaled;   s * (l - z) shifted;   s * l + z offset: each step rounded to float
//     y * outer scale        where the outer value multiplies
// Numbers are little-endian; levels, in nine digits, are to be rounded to float. Types:
// f32 f16 bf16 e8m0 e4m3 ...: scale_type_name<T>.
#include "format.hpp"
#include "global_scales.hpp"
#include "json_writer.hpp"

namespace qlib::inline QLIB_ABI {

/// A section of a block or of an outer value.
struct described_field {
    field part{};
    std::size_t plane = 0, offset = 0, bytes = 0;  ///< of a whole block
    const char* type = "own";                      ///< of its numbers; "code", "bits": see described_bit, or "own"
};

/// What one bit of the sub-scales' section means: where it is set, it adds `weight` to integer `index`: subs, then
/// mins, `groups` of each.
struct described_bit {
    std::int16_t index = 0, weight = 0;
};

/// A format in data. "own" anywhere: the part is not described, only named.
struct description {
    std::size_t group = 0, groups = 0, vec = 0;  ///< weights per map, maps per block, weights per code
    form map{};
    std::span<const float> levels = {};  ///< all that a code can mean; infinities and NaN where a small float has them
    bool codes_are_levels = false;       ///< code i means levels[i]; else codes are the format's own, as a lattice's
    const char* code_type = "";          ///< where a code is a number itself: its type; else empty
    std::size_t code_bits = 0;           ///< 0: not known
    code_layout layout = code_layout::own;
    std::span<const plane> code_planes = {};       ///< of code_layout::planes
    std::span<const std::size_t> planes = {};      ///< bytes of a block in each plane
    std::span<const described_field> fields = {};  ///< in storage order; empty: the block is the format's own
    int sub_bits = 0, min_bits = 0;                ///< of two levels; 0: none
    bool sub_signed = false;
    std::span<const std::int16_t> sub_base = {};  ///< the integers of a section of zeros: subs, then mins
    std::span<const described_bit> sub_bit = {};  ///< for each bit of the section
    bool ragged_rows = false, flat_blocks = false;
    extent tile{};                                  ///< what an outer value covers
    std::size_t outer_bytes = 0, tensor_bytes = 0;  ///< 0: there is none
    bool outer_multiplies = false;
    /// "times", "over": the outer scale acts on the groups' scales; empty: it does not.
    std::string_view outer_on_scales = {};
    std::span<const described_field> outer = {};  ///< of an outer value; empty: none, or the format's own

    [[nodiscard]] QLIB_INLINE constexpr std::size_t block_weights() const noexcept { return group * groups; }
    [[nodiscard]] QLIB_INLINE constexpr std::size_t block_bytes() const noexcept {
        std::size_t sum = 0;
        for (const std::size_t b : planes) sum += b;
        return sum;
    }
    /// Whether nothing in it is the format's own: a reader can decode all of it.
    [[nodiscard]] QLIB_INLINE constexpr bool complete() const noexcept {
        bool all = (codes_are_levels || *code_type != 0) && layout != code_layout::own && !fields.empty() &&
                   outer.empty() == (outer_bytes + tensor_bytes == 0);
        for (const described_field& f : fields) all = all && std::string_view(f.type) != "own";
        for (const described_field& f : outer) all = all && std::string_view(f.type) != "own";
        return all;
    }
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

template <class F>
inline constexpr auto described_levels = [] {
    std::array<float, F::grid::size> all{};
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = F::grid::level(i);
    return all;
}();

template <class F> constexpr bool codes_mean_levels() noexcept {
    bool same = true;
    for (std::size_t i = 0; same && i < F::grid::size; ++i) {
        float l = 0;
        F::level(static_cast<typename F::code>(i), &l);
        same = bits_of(l) == bits_of(F::grid::level(i));
    }
    return same;
}
/// Only if the compiler can see it: what runs at run time alone counts as the format's own.
template <class F>
concept codes_are_levels = F::vec == 1 && std::integral<typename F::code> && requires {
    requires std::bool_constant<codes_mean_levels<F>()>::value;
};

/// The section of sub-scales, found by setting one bit after another.
template <class F> struct described_subs {
    static constexpr std::size_t bytes = F::field_bytes(field::subs), count = (F::min_bits > 0 ? 2 : 1) * F::groups;
    using integers = std::array<std::int16_t, count>;
    using section = std::array<std::byte, bytes>;
    integers base{};
    std::array<described_bit, 8 * bytes> bit{};
    bool linear = true;  // every bit adds to one integer, whatever the others are

    constexpr described_subs() noexcept : base(load({})) {
        for (std::size_t b = 0; b < bit.size(); ++b) {
            section one{};
            one[b / 8] = static_cast<std::byte>(1u << b % 8);
            const integers v = load(one);
            for (std::size_t i = 0; i < count; ++i) {
                if (v[i] == base[i]) continue;
                linear = linear && bit[b].weight == 0;
                bit[b] = {static_cast<std::int16_t>(i), static_cast<std::int16_t>(v[i] - base[i])};
            }
        }
        for (const unsigned step : {0u, 37u, 113u}) {  // all ones, and two patterns
            section many{};
            for (std::size_t i = 0; i < bytes; ++i) many[i] = static_cast<std::byte>(255u - i * step % 256);
            integers sum = base;
            for (std::size_t b = 0; b < bit.size(); ++b)
                if ((many[b / 8] >> b % 8 & std::byte{1}) != std::byte{0}) add(sum, bit[b]);
            linear = linear && sum == load(many);
        }
    }

private:
    static constexpr void add(integers& sum, described_bit b) noexcept {
        auto& v = sum[static_cast<std::size_t>(b.index)];
        v = static_cast<std::int16_t>(v + b.weight);
    }
    static constexpr integers load(const section& s) noexcept {
        typename F::params p{};
        F::load_field(field::subs, p, s.data());
        integers all{};
        for (std::size_t g = 0; g < F::groups; ++g) all[g] = static_cast<std::int16_t>(p.sub[g]);
        for (std::size_t g = F::groups; g < count; ++g) all[g] = static_cast<std::int16_t>(p.min[g - F::groups]);
        return all;
    }
};
template <class F> inline constexpr described_subs<F> subs_of{};
/// Formats of two_level whose packing the compiler can see through.
template <class F>
concept linear_subs = requires(typename F::params& p) {
    p.sub;
    p.min;
    F::sub_bits;
    F::min_bits;
    requires std::bool_constant<described_subs<F>{}.linear>::value;
};

template <class F> constexpr const char* scale_name() noexcept {
    if constexpr (requires { typename F::stored_scale; }) return scale_type_name<typename F::stored_scale>;
    else return "own";
}
template <class F> constexpr const char* type_of(field f) noexcept {
    if (f == field::codes) return "code";
    if (f == field::subs) return linear_subs<F> ? "bits" : "own";
    return f == field::zeros && F::map == form::shifted ? "code" : scale_name<F>();
}

/// The sections of a block of a format that was put together from parts.
template <class F>
inline constexpr auto described_block = [] {
    constexpr auto bytes_of = [](field f) {
        return f == field::codes ? F::bits::template bytes<F::grid::bits>(codes<F>) : F::field_bytes(f);
    };
    constexpr std::size_t count = [bytes_of] {
        std::size_t n = 0;
        for (const field f : F::layout::order) n += bytes_of(f) != 0;
        return n;
    }();
    std::array<described_field, count> all{};
    std::size_t n = 0;
    for (const field f : F::layout::order)
        if (bytes_of(f) != 0) {
            all[n] = {f, F::layout::planes_apart ? n : 0, F::offset_of(f), bytes_of(f), type_of<F>(f)};
            ++n;
        }
    return all;
}();

/// An outer value: a scale, and behind it the zero point or offset where it is the whole map.
template <class F>
inline constexpr auto described_outer = [] {
    using T = typename F::stored_outer;
    constexpr std::size_t size = sizeof(T::bits);
    constexpr const char* type = scale_type_name<T>;
    const described_field scale{field::scales, 0, 0, size, type};
    if constexpr (F::outer_bytes == size) return std::array{scale};
    else
        return std::array{scale, described_field{field::zeros, 0, size, F::outer_bytes - size,
                                                 F::map == form::shifted ? "code" : type}};
}();

template <class F> constexpr void describe_codes(description& d) noexcept {
    if constexpr (requires { F::grid::bits; }) d.code_bits = F::grid::bits;
    if constexpr (requires { typename F::grid::number; }) d.code_type = scale_type_name<typename F::grid::number>;
    if constexpr (requires { typename F::bits; }) {
        d.layout = layout_kind<typename F::bits>;
        if constexpr (layout_kind<typename F::bits> == code_layout::planes) d.code_planes = F::bits::list;
    }
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// What a format is, as data: any format, also a user's own. Parts that are not made of qlib's say "own".
template <block_format F> [[nodiscard]] constexpr description describe() noexcept {
    description d{.group = F::group,
                  .groups = F::groups,
                  .vec = F::vec,
                  .map = F::map,
                  .levels = detail::described_levels<F>,
                  .codes_are_levels = detail::codes_are_levels<F>};
    d.planes = F::planes;
    d.ragged_rows = has_ragged_rows<F>;
    d.flat_blocks = has_flat_blocks<F>;
    detail::describe_codes<F>(d);
    constexpr bool in_sections = requires {
        F::layout::order;
        F::offset_of(field::codes);
        F::field_bytes(field::codes);
    };
    if constexpr (in_sections) d.fields = detail::described_block<F>;
    constexpr bool on_two_levels = requires {
        F::sub_bits;
        F::sub_signed;
        F::min_bits;
    };
    if constexpr (on_two_levels) {
        d.sub_bits = F::sub_bits;
        d.sub_signed = F::sub_signed;
        d.min_bits = F::min_bits;
    }
    if constexpr (detail::linear_subs<F>) {
        d.sub_base = detail::subs_of<F>.base;
        d.sub_bit = detail::subs_of<F>.bit;
    }
    if constexpr (has_outer<F>) {
        d.tile = F::tile;
        d.outer_bytes = F::outer_bytes;
        d.tensor_bytes = F::tensor_bytes;
        d.outer_multiplies = outer_multiplies<F>;
        constexpr bool under_global = requires {
            { F::global } -> std::convertible_to<global_use>;
        };
        if constexpr (under_global) d.outer_on_scales = F::global == global_use::times ? "times" : "over";
        if constexpr (requires { typename F::stored_outer; }) d.outer = detail::described_outer<F>;
    }
    return d;
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

constexpr std::string_view name_of(form f) noexcept {
    return f == form::scaled ? "scaled" : f == form::shifted ? "shifted" : "offset";
}
constexpr std::string_view name_of(field f) noexcept {
    return f == field::scales ? "scales" : f == field::zeros ? "zeros" : f == field::subs ? "subs" : "codes";
}
constexpr std::string_view name_of(code_layout l) noexcept {
    return l == code_layout::sequential ? "sequential"
           : l == code_layout::planes   ? "planes"
           : l == code_layout::base3    ? "base3"
                                        : "own";
}

/// The pieces of to_json; each writes one member or value.
struct description_writer {
    json_writer out;

    constexpr void member(std::string_view name, std::integral auto v) noexcept {
        out.key(name);
        if constexpr (std::same_as<decltype(v), bool>) out.boolean(v);
        else out.integer(v);
    }
    constexpr void member(std::string_view name, std::string_view text) noexcept {
        out.key(name);
        out.string(text);
    }
    template <class T, class Write>
    constexpr void list(std::string_view name, std::span<const T> all, const Write& write) noexcept {
        out.key(name);
        out.open('[');
        for (const T& v : all) write(v);
        out.close(']');
    }
    constexpr void fields(std::span<const described_field> all) noexcept {
        list("fields", all, [&](const described_field& f) {
            out.open('{');
            member("field", name_of(f.part));
            member("type", f.type);
            member("plane", f.plane);
            member("offset", f.offset);
            member("bytes", f.bytes);
            out.close('}');
        });
    }
    constexpr void codes(const description& d) noexcept {
        out.key("codes");
        out.open('{');
        member("bits", d.code_bits);
        member("meaning", d.codes_are_levels ? "levels" : *d.code_type != 0 ? d.code_type : "own");
        member("layout", name_of(d.layout));
        list("planes", d.code_planes, [&](const plane& p) {
            out.open('{');
            member("width", p.width);
            member("run", p.run);
            member("shift", p.shift);
            member("high_first", p.high_first);
            out.close('}');
        });
        out.close('}');
    }
    constexpr void subs(const description& d) noexcept {
        out.key("subs");
        out.open('{');
        member("bits", d.sub_bits);
        member("signed", d.sub_signed);
        member("min_bits", d.min_bits);
        list("base", d.sub_base, [&](std::int16_t v) { out.integer(v); });
        list("bit", d.sub_bit, [&](described_bit b) {
            out.open('[');
            out.integer(b.index);
            out.integer(b.weight);
            out.close(']');
        });
        out.close('}');
    }
    constexpr void outer(const description& d) noexcept {
        out.key("outer");
        out.open('{');
        member("rows", d.tile.rows);
        member("cols", d.tile.cols);
        member("flat", d.tile.flat);
        member("bytes", d.outer_bytes);
        member("tensor_bytes", d.tensor_bytes);
        member("multiplies", d.outer_multiplies);
        member("on_scales", d.outer_on_scales);
        fields(d.outer);
        out.close('}');
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// A description as one JSON object, with `name` in front if there is one. Returns how many characters that is; what of
/// them does not fit into `out` is not written. No zero stands at the end.
constexpr std::size_t to_json(const description& d, std::span<char> out, std::string_view name = {}) noexcept {
    detail::description_writer w{detail::json_writer(out)};
    w.out.open('{');
    if (!name.empty()) w.member("name", name);
    w.member("complete", d.complete());
    w.member("map", detail::name_of(d.map));
    w.member("group", d.group);
    w.member("groups", d.groups);
    w.member("vec", d.vec);
    w.list("levels", d.levels, [&](float l) { w.out.number(l); });
    w.codes(d);
    w.member("ragged_rows", d.ragged_rows);
    w.member("flat_blocks", d.flat_blocks);
    w.member("block_weights", d.block_weights());
    w.member("block_bytes", d.block_bytes());
    w.list("planes", d.planes, [&](std::size_t bytes) { w.out.integer(bytes); });
    w.fields(d.fields);
    if (d.sub_bits != 0) w.subs(d);
    if (d.outer_bytes + d.tensor_bytes != 0) w.outer(d);
    w.out.close('}');
    return w.out.size();
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
