// pack-quantized tensors against words that Python packed, and against everything that a file can get wrong.
#include "support/checkpoint.hpp"
#include "support/defined.hpp"

#include <doctest/doctest.h>
#include <qlib/file/compressed_tensors.hpp>

#include <algorithm>
#include <cmath>

using namespace qlib;
using words = std::vector<std::uint32_t>;
using type = safetensors_type;

namespace {

template <int Bits, std::size_t Group, symmetry Sym = symmetric, scale_type Scale = scale_type::float16,
          placement Layout = placement::inline_blocks>
using packed = int_format<int_spec{.bits = Bits, .group = Group, .sym = Sym, .scale = Scale, .layout = Layout}>;

/// Codes (5r + 7k + 3) mod 2^bits, scales 0.5 + r + g/4, zero points (3r + g + 1) mod 2^bits.
sample::checkpoint known(std::uint64_t rows, std::uint64_t cols, std::uint64_t groups, const words& codes,
                         const words& zeros = {}, std::uint64_t zero_words = 1) {
    sample::checkpoint c;
    std::vector<std::uint16_t> scales;
    for (std::uint64_t r = 0; r < rows; ++r)
        for (std::uint64_t g = 0; g < groups; ++g)
            scales.push_back(f16::from(0.5f + static_cast<float>(r) + 0.25f * static_cast<float>(g)).bits);
    c.set("l.weight_packed", type::i32, {rows, codes.size() / rows}, codes);
    c.set("l.weight_scale", type::f16, {rows, groups}, scales);
    c.set("l.weight_shape", type::i64, {2}, std::vector<std::uint64_t>{rows, cols});
    if (!zeros.empty()) c.set("l.weight_zero_point", type::i32, {zero_words, groups}, zeros);
    return c;
}

template <class F> result<qmatrix<F>> import(sample::checkpoint& c, pack_layout layout = pack_layout::by_size) {
    const auto file = c.file();
    pack_quantized_tensors t;
    REQUIRE(find_pack_quantized(file, "l", t));
    return import_pack_quantized<F>(t, layout);
}
template <class F> std::string refusal(sample::checkpoint c, errc code = errc::malformed) {
    const auto matrix = import <F>(c);
    REQUIRE_FALSE(matrix);
    CHECK(matrix.error().code == code);
    char text[300];
    return std::string(matrix.error().format(text));
}

/// By the format's own definition, which every room gives the bits of.
/// Decoded weights are (q - zero) * scale, each operation rounded once.
template <class F>
void check_weights(const qmatrix<F>& m, std::size_t rows, std::size_t cols, int bits, bool asymmetric_ones) {
    REQUIRE(m.rows() == rows);
    REQUIRE(m.cols() == cols);
    const std::vector<float> y = defined(m.view());
    const int n = 1 << bits;
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t k = 0; k < cols; ++k) {
            const std::size_t g = k / F::group;
            const int zero = asymmetric_ones ? (3 * static_cast<int>(r) + static_cast<int>(g) + 1) % n : n / 2;
            const int code = (5 * static_cast<int>(r) + 7 * static_cast<int>(k) + 3) % n;
            const float scale = 0.5f + static_cast<float>(r) + 0.25f * static_cast<float>(g);
            CHECK(y[r * cols + k] == static_cast<float>(code - zero) * scale);
        }
}

/// Any codes, zero points and scales: negative ones, zeros and subnormals among them.
template <class F> qmatrix<F> any_matrix_of(std::size_t rows, std::size_t cols) {
    auto m = qmatrix<F>::make(rows, cols);
    REQUIRE(m);
    std::uint32_t state = static_cast<std::uint32_t>(rows + cols);
    const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 12; };
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t first = 0; first < cols; first += F::group) {
            std::vector<typename F::code> code(std::min<std::size_t>(F::group, cols - first));
            for (auto& c : code) c = static_cast<typename F::code>(next() % (1u << F::spec.bits));
            typename F::params p{};
            p.scale[0] = F::stored_scale::from(
                std::ldexp(static_cast<float>(next() % 255) - 127.0f, -static_cast<int>(next() % 30)));
            if constexpr (F::spec.sym == asymmetric)
                p.zeros[0] = static_cast<typename F::code>(next() % (1u << F::spec.bits));
            F::store(p, std::span<const typename F::code>(code), m->span().block(r, first / F::group));
        }
    return std::move(*m);
}

/// Through a file and back: the same bytes.
template <class F> void round_trip(std::size_t rows, std::size_t cols) {
    CAPTURE(rows);
    CAPTURE(cols);
    const qmatrix<F> q = any_matrix_of<F>(rows, cols);
    sample::checkpoint c;
    sample::add_parts(c, "l", pack_quantized_parts<F>(rows, cols),
                      [&](std::size_t i, std::span<std::byte> out) { return export_pack_quantized(q, i, out); });
    const auto back = import <F>(c, pack_layout::dense);
    REQUIRE(back);
    CHECK(std::ranges::equal(back->bytes(), q.bytes()));
}

const words codes4{0x4d6f81a3, 0x2b, 0x92b4d6f8, 0x70};
const words dense3{0x53977053, 0x70539770, 0x97705397, 0x7053, 0xb829cbb8, 0xcbb829cb, 0x29cbb829, 0x4bb8};
const words whole3{0x13977053, 0x14e5dc1, 0x37053977, 0x1c14e5, 0x3829cbb8, 0x2ee0a72e, 0x1cbb829c, 0x12ee0a};
const words codes8{0x18110a03, 0x1f, 0x1d160f08, 0x24, 0x221b140d, 0x29};

}  // namespace

TEST_SUITE("bytes") {
TEST_CASE("pack_quantized: words that another program packed") {
    using sym4 = packed<4, 4>;
    using asym4 = packed<4, 4, asymmetric, scale_type::bfloat16, placement::planar>;
    using asym8 = packed<8, 4, asymmetric, scale_type::float32>;
    auto a = known(2, 10, 3, codes4), b = known(2, 10, 3, codes4, {0x41, 0x52, 0x63}),
         c = known(3, 5, 2, codes8, {0x70401, 0x80502});
    const auto m = import <sym4>(a);
    REQUIRE(m);
    check_weights(*m, 2, 10, 4, false);
    const auto z = import <asym4>(b);
    REQUIRE(z);
    check_weights(*z, 2, 10, 4, true);
    const auto e = import <asym8>(c);
    REQUIRE(e);
    check_weights(*e, 3, 5, 8, true);
    // And out again, as they were: scales in the format's own type.
    const auto exported = [](const auto& matrix, std::size_t part, auto parts) {
        using F = typename std::remove_cvref_t<decltype(matrix)>::format;
        std::vector<std::byte> out(static_cast<std::size_t>(parts[part].bytes));
        REQUIRE(export_pack_quantized<F>(matrix.view, part, out));
        return out;
    };
    const auto same = [](const std::vector<std::byte>& got, const auto& want) {
        return got.size() == want.size() * sizeof(want[0]) && std::memcmp(got.data(), want.data(), got.size()) == 0;
    };
    struct sym_view {
        using format = sym4;
        qview<sym4> view;
    };
    struct asym_view {
        using format = asym8;
        qview<asym8> view;
    };
    CHECK(same(exported(sym_view{m->view()}, 0, pack_quantized_parts<sym4>(2, 10)), codes4));
    CHECK(same(exported(sym_view{m->view()}, 1, pack_quantized_parts<sym4>(2, 10)),
               std::vector<std::uint16_t>{0x3800, 0x3a00, 0x3c00, 0x3e00, 0x3f00, 0x4000}));
    CHECK(same(exported(sym_view{m->view()}, 2, pack_quantized_parts<sym4>(2, 10)), std::vector<std::uint64_t>{2, 10}));
    CHECK(same(exported(asym_view{e->view()}, 0, pack_quantized_parts<asym8>(3, 5)), codes8));
    CHECK(same(exported(asym_view{e->view()}, 3, pack_quantized_parts<asym8>(3, 5)), words{0x70401, 0x80502}));
}
TEST_CASE("pack_quantized: three bits, packed densely and in whole fields") {
    using sym3 = packed<3, 16>;
    auto dense = known(2, 37, 3, dense3), whole = known(2, 37, 3, whole3);
    check_weights(*import <sym3>(dense, pack_layout::dense), 2, 37, 3, false);
    check_weights(*import <sym3>(whole, pack_layout::whole_fields), 2, 37, 3, false);
    // 37 columns take 4 words either way: nothing but the version tells.
    CHECK(refusal<sym3>(dense, errc::unsupported) ==
          "weight_packed: 37 columns of 3 bits fit two layouts: say which one it is");
    // Four rows by zero points of three bits: 12 bits, one word, the same in both layouts; 10 columns too.
    auto small = known(2, 10, 1, {0x13977053, 0x3829cbb8}, {0x21});
    check_weights(*import <packed<3, 16, asymmetric>>(small), 2, 10, 3, true);
    // 32 columns: 3 words or 4. The size decides, whatever was said.
    auto three = known(1, 32, 2, {dense3[0], dense3[1], dense3[2]}),
         four = known(1, 32, 2, {whole3[0], whole3[1], whole3[2], whole3[3] & 0x3F});
    for (const pack_layout said : {pack_layout::by_size, pack_layout::dense, pack_layout::whole_fields}) {
        check_weights(*import <sym3>(three, said), 1, 32, 3, false);
        check_weights(*import <sym3>(four, said), 1, 32, 3, false);
    }
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("pack_quantized_parts: names, types and shapes") {
    const auto parts = pack_quantized_parts<int4_g128_asym>(11, 300);
    std::string list;
    for (const checkpoint_part& p : parts) {
        list += std::string(p.suffix) + " " + std::string(safetensors_name(p.type));
        for (const std::uint64_t n : p.shape()) list.append(" ").append(std::to_string(n));
        list.append(" = ").append(std::to_string(p.bytes)).append("\n");
    }
    CHECK(list ==
          "weight_packed I32 11 38 = 1672\nweight_scale F16 11 3 = 66\nweight_shape I64 2 = 16\nweight_zero_point I32 "
          "2 3 = 24\n");
    CHECK(pack_quantized_parts<int4_g32>(11, 300).size() == 3);
    CHECK(pack_quantized_parts<packed<4, 32, symmetric, scale_type::bfloat16>>(1, 1)[1].type == type::bf16);
    CHECK(pack_quantized_parts<packed<5, 32>>(1, 33)[0].shape()[1] == 6);
    static_assert(!pack_quantizable<int8_row> && !pack_quantizable<packed<1, 32>> &&
                  !pack_quantizable<packed<4, 32, symmetry::offset>>);
    static_assert(!pack_quantizable<packed<4, 32, symmetric, scale_type::power_of_two>> &&
                  !pack_quantizable<packed<4, 32, symmetric, scale_type::float8_e4m3>>);
}

TEST_CASE("pack_quantized: every format comes back with the same bytes") {
    for (const auto& [rows, cols] :
         {std::pair<std::size_t, std::size_t>{1, 1}, {3, 128}, {17, 200}, {9, 33}, {33, 31}}) {
        round_trip<int4_g32>(rows, cols);
        round_trip<int4_g32_asym>(rows, cols);
        round_trip<int4_g128>(rows, cols);
        round_trip<int4_g128_asym>(rows, cols);
        round_trip<packed<8, 32, asymmetric, scale_type::float32, placement::planar>>(rows, cols);
        round_trip<packed<8, 128, symmetry::restricted, scale_type::bfloat16>>(rows, cols);
        round_trip<packed<3, 20, asymmetric>>(rows, cols);
        round_trip<packed<2, 16, symmetric>>(rows, cols);
        round_trip<packed<5, 32>>(rows, cols);
        round_trip<packed<6, 32, asymmetric, scale_type::bfloat16>>(rows, cols);
        round_trip<packed<7, 48, symmetric, scale_type::float32>>(rows, cols);
    }
}

TEST_CASE("pack_quantized: some rows of a matrix") {
    const auto q = any_matrix_of<int4_g32_asym>(20, 64);
    const auto rows = q.row_range(5, 9);
    REQUIRE(rows);
    sample::checkpoint c;
    sample::add_parts(c, "l", pack_quantized_parts<int4_g32_asym>(9, 64), [&](std::size_t i, std::span<std::byte> out) {
        return export_pack_quantized<int4_g32_asym>(*rows, i, out);
    });
    const auto back = import <int4_g32_asym>(c);
    REQUIRE(back);
    CHECK(defined(back->view()) == defined(*rows));
    std::vector<std::byte> out(9 * 4 * 8 - 1);
    CHECK(export_pack_quantized<int4_g32_asym>(*rows, 0, out).error().code == errc::shape);
    CHECK(export_pack_quantized<int4_g32_asym>(*rows, 4, out).error().code == errc::argument);
}

TEST_CASE("pack_quantized: scales of another type are taken where they are exact") {
    using half = packed<4, 4>;
    using brain = packed<4, 4, symmetric, scale_type::bfloat16>;
    auto c = known(2, 10, 3, codes4);
    c.set("l.weight_scale", type::f32, {2, 3}, std::vector<float>{0.5f, 0.75f, 1, 1.5f, 1.75f, 2});
    check_weights(*import <half>(c), 2, 10, 4, false);
    check_weights(*import <brain>(c), 2, 10, 4, false);
    c.set("l.weight_scale", type::bf16, {2, 3},
          std::vector<std::uint16_t>{0x3f00, 0x3f40, 0x3f80, 0x3fc0, 0x3fe0, 0x4000});
    check_weights(*import <half>(c), 2, 10, 4, false);
    c.set("l.weight_scale", type::f32, {2, 3}, std::vector<float>{0.5f, 0.75f, 1, 1.5f, 0.1f, 2});
    CHECK(refusal<half>(c, errc::overflow) ==
          "weight_scale: the scale of row 1, group 1 is no number of the format's scale type");
    c.set("l.weight_scale", type::f32, {2, 3}, std::vector<float>{0.5f, 0.75f, 1, 1e30f, 1, 2});
    CHECK(refusal<half>(c, errc::overflow) ==
          "weight_scale: the scale of row 1, group 0 is no number of the format's scale type");
    CHECK(import <packed<4, 4, symmetric, scale_type::float32>>(c));
    c.set(
        "l.weight_scale", type::f16, {2, 3},
        std::vector<std::uint16_t>{0x8000, 0xB800, 0x0001, 0x03FF, 0, 0x7BFF});  // zeros, negative, subnormal, largest
    CHECK(import <half>(c));
    CHECK(import <packed<4, 4, symmetric, scale_type::float32>>(c));
    for (const std::uint16_t bad : std::initializer_list<std::uint16_t>{0x7C00, 0xFC00, 0x7E00, 0xFFFF}) {
        c.set("l.weight_scale", type::f16, {2, 3},
              std::vector<std::uint16_t>{0x3800, 0x3800, bad, 0x3800, 0x3800, 0x3800});
        CHECK(refusal<half>(c, errc::non_finite) == "weight_scale: the scale of row 0, group 2 is not finite");
    }
}

TEST_CASE("pack_quantized: tensors that are missing or disagree") {
    using sym4 = packed<4, 4>;
    using asym4 = packed<4, 4, asymmetric>;
    const auto good = known(2, 10, 3, codes4), zeros = known(2, 10, 3, codes4, {0x41, 0x52, 0x63});
    for (const std::string name : {"weight_packed", "weight_scale", "weight_shape"}) {
        auto c = good;
        c.tensors.erase("l." + name);
        CHECK(refusal<sym4>(c) == name + ": the tensor is missing");
    }
    const auto with = [](sample::checkpoint c, const char* name, type t, std::vector<std::uint64_t> dims,
                         const auto& values) {
        c.set(name, t, dims, values);
        return c;
    };
    CHECK(refusal<asym4>(good) == "weight_zero_point: the tensor is missing");
    CHECK(refusal<sym4>(zeros, errc::unsupported) == "weight_zero_point: the format asked for has no zero points");
    CHECK(refusal<sym4>(with(good, "l.weight_packed", type::u32, {2, 2}, codes4)) ==
          "weight_packed: type 16 is none that this tensor can have");
    CHECK(refusal<sym4>(with(good, "l.weight_packed", type::i32, {4}, codes4)) ==
          "weight_packed: 1 dimensions, 2 are needed");
    CHECK(refusal<sym4>(with(good, "l.weight_packed", type::i32, {1, 4}, codes4)) ==
          "weight_shape: 2 rows, weight_packed has 1");
    CHECK(refusal<sym4>(with(good, "l.weight_packed", type::i32, {2, 1}, words{1, 2})) ==
          "weight_packed: rows of 1 words for 10 codes of 4 bits, and 0 words of zero points");
    CHECK(refusal<sym4>(with(good, "l.weight_packed", type::i32, {2, 3}, words(6))) ==
          "weight_packed: rows of 3 words for 10 codes of 4 bits, and 0 words of zero points");
    CHECK(refusal<sym4>(with(good, "l.weight_scale", type::f16, {2, 2}, std::vector<std::uint16_t>(4))) ==
          "weight_scale: 2 x 2 scales, 2 x 3 are needed");
    CHECK(refusal<sym4>(with(good, "l.weight_scale", type::f16, {3, 2}, std::vector<std::uint16_t>(6))) ==
          "weight_scale: 3 x 2 scales, 2 x 3 are needed");
    CHECK(refusal<sym4>(with(good, "l.weight_scale", type::i16, {2, 3}, std::vector<std::uint16_t>(6))) ==
          "weight_scale: type 11 is none that this tensor can have");
    CHECK(refusal<packed<4, 8>>(good) == "weight_scale: 2 x 3 scales, 2 x 2 are needed");
    CHECK(refusal<packed<8, 4>>(good) ==
          "weight_packed: rows of 2 words for 10 codes of 8 bits, and 0 words of zero points");
    CHECK(refusal<sym4>(with(good, "l.weight_shape", type::i64, {3}, std::vector<std::uint64_t>{2, 10, 1})) ==
          "weight_shape: 3 numbers, 2 are needed");
    CHECK(refusal<sym4>(with(good, "l.weight_shape", type::f64, {2}, std::vector<double>{2, 10})) ==
          "weight_shape: type 19 is none that this tensor can have");
    CHECK(refusal<sym4>(with(good, "l.weight_shape", type::i64, {2}, std::vector<std::int64_t>{3, 10})) ==
          "weight_shape: 3 rows, weight_packed has 2");
    CHECK(refusal<sym4>(with(good, "l.weight_shape", type::i64, {2}, std::vector<std::int64_t>{2, -1})) ==
          "weight_shape: 18446744073709551615 columns, weight_packed has rows of 2 words");
    CHECK(refusal<sym4>(with(good, "l.weight_shape", type::i64, {2}, std::vector<std::int64_t>{2, 0})) ==
          "weight_shape: 0 columns, weight_packed has rows of 2 words");
    auto narrow = with(good, "l.weight_shape", type::i32, {2}, std::vector<std::int32_t>{2, 10});
    CHECK(import <sym4>(narrow));
    CHECK(refusal<asym4>(with(zeros, "l.weight_zero_point", type::i32, {2, 3}, words(6))) ==
          "weight_packed: rows of 2 words for 10 codes of 4 bits, and 2 words of zero points");
    CHECK(refusal<asym4>(with(zeros, "l.weight_zero_point", type::i32, {1, 2}, words(2))) ==
          "weight_zero_point: zero points of 2 groups, 3 are needed");
    CHECK(refusal<asym4>(with(zeros, "l.weight_zero_point", type::u8, {2, 3}, std::vector<char>(6))) ==
          "weight_zero_point: type 4 is none that this tensor can have");
    // No rows at all: nothing to decode, nothing to allocate.
    sample::checkpoint empty = known(1, 10, 3, {1, 2});
    empty.set("l.weight_packed", type::i32, {0, 2}, words{});
    empty.set("l.weight_shape", type::i64, {2}, std::vector<std::int64_t>{0, 10});
    CHECK(refusal<sym4>(empty) == "weight_shape: 0 rows, weight_packed has 0");
    // The header alone holds no data.
    auto c = good;
    (void)c.file();
    const auto whole = safetensors_file::parse(c.bytes);
    const auto header = safetensors_file::parse(std::span(c.bytes).first(static_cast<std::size_t>(whole->data_start())),
                                                {.file_size = c.bytes.size()});
    REQUIRE(header);
    pack_quantized_tensors t;
    REQUIRE(find_pack_quantized(*header, "l", t));
    CHECK(import_pack_quantized<sym4>(t).error().code == errc::truncated);
}

TEST_CASE("pack_quantized: g_idx is read where it says nothing, and refused where it reorders") {
    using sym4 = packed<4, 4>;
    using order = std::vector<std::int32_t>;
    auto c = known(2, 10, 3, codes4);
    const auto with = [&](const order& g) {
        c.set("l.weight_g_idx", type::i32, {g.size()}, g);
        return c;
    };
    for (const order& g : {order{0, 0, 0, 0, 1, 1, 1, 1, 2, 2}, order(10, -1)}) {
        with(g);
        check_weights(*import <sym4>(c), 2, 10, 4, false);
    }
    CHECK(refusal<sym4>(with({0, 1, 2, 0, 1, 2, 0, 1, 2, 0}), errc::unsupported) ==
          "weight_g_idx: the columns are reordered: only groups of neighbours can be read");
    CHECK(refusal<sym4>(with({0, 0, 0, 0, 1, 1, 1, 1, 2, 3})) == "weight_g_idx: column 9 is in group 3 of 3");
    CHECK(refusal<sym4>(with({0, -1, 0, 0, 1, 1, 1, 1, 2, 2})) == "weight_g_idx: column 1 is in group 4294967295 of 3");
    CHECK(refusal<sym4>(with({-1, 0, 0, 0, 1, 1, 1, 1, 2, 2})) == "weight_g_idx: column 1 is in group 0 of 3");
    CHECK(refusal<sym4>(with({0, 0})) == "weight_g_idx: 2 numbers for 10 columns");
}

TEST_CASE("pack_quantized: any words decode safely") {
    std::uint32_t state = 1;
    words codes(2 * 38), zeros(3);
    for (int i = 0; i < 20; ++i) {
        for (words* w : {&codes, &zeros})
            for (std::uint32_t& v : *w) v = state = state * 1664525u + 1013904223u;
        auto c = known(2, 300, 3, codes, zeros);
        const auto m = import <int4_g128_asym>(c);
        REQUIRE(m);
        CHECK(std::ranges::all_of(defined(m->view()), [](float v) { return std::abs(v) <= 15 * 2.0f; }));
    }
}

TEST_CASE("read_compressed_tensors_config: what vLLM's checkpoints hold") {
    const auto root = json_value::parse(
        R"({"model_type":"llama","quantization_config":{"config_groups":{
        "group_0":{"input_activations":null,"output_activations":null,"targets":["Linear"],
        "weights":{"actorder":null,"block_structure":null,"dynamic":false,"group_size":128,"num_bits":4,
        "observer":"minmax","observer_kwargs":{},"strategy":"group","symmetric":false,"type":"int"}},
        "group_1":{"targets":["re:.*down_proj"],"format":"float-quantized",
        "weights":{"num_bits":8,"type":"float","strategy":"channel","group_size":-1}}},
        "format":"pack-quantized","global_compression_ratio":1.9,"ignore":["lm_head"],"kv_cache_scheme":null,
        "quant_method":"compressed-tensors","quantization_status":"compressed","version":"0.9.1"}})");
    REQUIRE(root);
    const auto config = read_compressed_tensors_config(*root);
    REQUIRE(config);
    CHECK(config->format == compressed_format::pack_quantized);
    CHECK(config->layout == pack_layout::whole_fields);
    CHECK((*config->ignore.elements().begin()).is("lm_head"));
    CHECK(config->groups.members().count() == 2);
    const auto first = read_scheme(*config, config->groups["group_0"]),
               second = read_scheme(*config, config->groups["group_1"]);
    REQUIRE(first);
    CHECK((first->bits == 4 && first->group == 128 && !first->symmetric && !first->is_float &&
           first->format == compressed_format::pack_quantized));
    CHECK((*first->targets.elements().begin()).is("Linear"));
    CHECK(first->activations.type() == json_type::null);
    REQUIRE(second);
    CHECK((second->bits == 8 && second->group == 0 && second->symmetric && second->is_float &&
           second->format == compressed_format::float_quantized));
}

TEST_CASE("read_compressed_tensors_config: refusals, and the versions' layouts") {
    const auto read = [](const std::string& text) -> std::string {
        const auto root = json_value::parse(text);
        REQUIRE(root);
        const auto config = read_compressed_tensors_config(*root);
        char room[200];
        if (!config) return std::string(config.error().format(room));
        const auto scheme = read_scheme(*config, config->groups["g"]);
        return scheme ? "" : std::string(scheme.error().format(room));
    };
    const auto with = [&](const std::string& weights) {
        return read(
            R"({"compression_config":{"format":"pack-quantized","config_groups":{"g":{"targets":[],"weights":)" +
            weights + "}}}}");
    };
    CHECK(read("{}") == "quantization_config: an object is needed");
    CHECK(read("[]") == "quantization_config: an object is needed");
    CHECK(read(R"({"quantization_config":{"quant_method":"gptq"}})") ==
          "quantization_config.quant_method: another method than compressed-tensors");
    CHECK(read(R"({"quantization_config":{}})") == "quantization_config.format: a string is needed");
    CHECK(read(R"({"quantization_config":{"format":"zip"}})") ==
          "quantization_config.format: a format that is not known");
    CHECK(read(R"({"quantization_config":{"format":"dense"}})") ==
          "quantization_config.config_groups: an object is needed");
    CHECK(read(R"({"quantization_config":{"format":"dense","config_groups":{},"ignore":"x"}})") ==
          "quantization_config.ignore: a list is needed");
    CHECK(read(R"({"quantization_config":{"format":"dense","config_groups":{}}})") == "weights: an object is needed");
    CHECK(read(R"({"quantization_config":{"format":"dense","config_groups":{"g":{"weights":{}}}}})") ==
          "targets: a list is needed");
    CHECK(with("{}") == "weights.num_bits: an integer from 1 to 16 is needed");
    CHECK(with(R"({"num_bits":17})") == "weights.num_bits: an integer from 1 to 16 is needed");
    CHECK(with(R"({"num_bits":4,"type":"bool"})") == "weights.type: \"int\" or \"float\" is needed");
    CHECK(with(R"({"num_bits":4,"symmetric":1})") == "weights.symmetric: true or false is needed");
    CHECK(with(R"({"num_bits":4,"group_size":0})") == "weights.group_size: a positive integer is needed");
    CHECK(with(R"({"num_bits":4,"group_size":-2})") == "weights.group_size: a positive integer is needed");
    CHECK(with(R"({"num_bits":4,"strategy":"group"})") == "weights.group_size: a positive integer is needed");
    CHECK(with(R"({"num_bits":4,"strategy":"group","group_size":32})") == "");
    const auto layout = [](const std::string& version) {
        const std::string text =
            R"({"quantization_config":{"format":"pack-quantized","config_groups":{},"version":)" + version + "}}";
        return read_compressed_tensors_config(*json_value::parse(text))->layout;
    };
    for (const char* old : {"\"0.16.0\"", "\"0.9.1\"", "\"0.16\"", "\"0.3\""})
        CHECK(layout(old) == pack_layout::whole_fields);
    for (const char* later : {"\"0.16.1\"", "\"0.17.0\"", "\"1.0\"", "\"0.16.1.a20260601\"", "\"0.16.0.1\""})
        CHECK(layout(later) == pack_layout::dense);
    for (const char* none : {"null", "\"\"", "\"x\"", "7", "\"99999999999999999999999.1\""})
        CHECK(layout(none) == pack_layout::by_size);
}

TEST_CASE("write_compressed_tensors_config: reads back") {
    const std::string_view ignore[] = {"lm_head", "a\"b"};
    const std::size_t size = write_compressed_tensors_config<int4_g128_asym>(ignore, {});
    std::string text(size, ' ');
    CHECK(write_compressed_tensors_config<int4_g128_asym>(ignore, text) == size);
    CHECK(
        text ==
        R"({"quant_method":"compressed-tensors","format":"pack-quantized","quantization_status":"compressed",)"
        R"("config_groups":{"group_0":{"targets":["Linear"],)"
        R"("weights":{"num_bits":4,"type":"int","symmetric":false,"strategy":"group","group_size":128,)"
        R"("dynamic":false}}},"ignore":["lm_head","a\"b"]})");
    const std::string whole = "{\"quantization_config\":" + text + "}";
    const auto root = json_value::parse(whole);
    REQUIRE(root);
    const auto config = read_compressed_tensors_config(*root);
    REQUIRE(config);
    const auto scheme = read_scheme(*config, config->groups["group_0"]);
    REQUIRE(scheme);
    CHECK((scheme->bits == 4 && scheme->group == 128 && !scheme->symmetric));
}

#endif
