// bitsandbytes' 4-bit tensors against what bitsandbytes itself made of a published problem, and
// against everything that a file can get wrong.
#include "support/checkpoint.hpp"
#include "support/defined.hpp"
#include "support/golden_problem.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/file/bitsandbytes.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <bit>

using namespace qlib;
using type = safetensors_type;

namespace {

template <class F> sample::checkpoint exported(const qview<F>& q, type dtype = type::bf16) {
    const auto parts = bitsandbytes_parts<F>(q.rows(), q.cols(), dtype);
    REQUIRE(parts);
    sample::checkpoint c;
    sample::add_parts(c, "l", *parts, [&](std::size_t i, std::span<std::byte> out) {
        return export_bitsandbytes<F>(q, dtype, i, out);
    });
    return c;
}
template <class F> qmatrix<F> quantized(std::size_t rows, std::size_t cols) {
    const auto x = sample::weights(rows * cols, rows + cols);
    auto q = quantize<F>({x.data(), rows, cols}, plain_fit{});
    REQUIRE(q);
    return std::move(*q);
}
template <class F> result<qmatrix<F>> import(sample::checkpoint& c) {
    const auto file = c.file();
    bitsandbytes_tensors t;
    REQUIRE(find_bitsandbytes(file, "l", t));
    return import_bitsandbytes<F>(t);
}
template <class F> std::string refusal(sample::checkpoint c, errc code = errc::malformed) {
    const auto matrix = import <F>(c);
    REQUIRE_FALSE(matrix);
    CHECK(matrix.error().code == code);
    char text[300];
    return std::string(matrix.error().format(text));
}
std::uint32_t crc(const sample::checkpoint& c, const std::string& name) {
    const auto& data = c.tensors.at("l." + name).data;
    std::vector<float> words(data.size() / 4);
    std::memcpy(words.data(), data.data(), data.size());
    return crc32(words);
}
std::string text(const sample::checkpoint& c, const std::string& type = "nf4") {
    const auto& data = c.tensors.at("l.weight.quant_state.bitsandbytes__" + type).data;
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}
sample::checkpoint with_text(sample::checkpoint c, const std::string& json) {
    c.set_text("l.weight.quant_state.bitsandbytes__nf4", json);
    return c;
}
template <class T>
sample::checkpoint with(sample::checkpoint c, const std::string& name, type t, std::vector<std::uint64_t> shape,
                        const std::vector<T>& values) {
    c.set("l.weight" + name, t, std::move(shape), values);
    return c;
}
std::vector<float> floats(const sample::checkpoint& c, const std::string& name) {
    const auto& data = c.tensors.at("l.weight" + name).data;
    std::vector<float> v(data.size() / 4);
    std::memcpy(v.data(), data.data(), data.size());
    return v;
}

}  // namespace

TEST_SUITE("bytes") {
TEST_CASE("bitsandbytes: the tensors that bitsandbytes makes of a layer of 512 x 512") {
    const auto W = golden_recipe::weights(1001, 512, 512);
    REQUIRE(crc32(W) == 0xb4a2fe0a);
    const auto once = quantize<nf4>({W.data(), 512, 512}, plain_fit{});
    const auto twice = quantize<nf4_dq>({W.data(), 512, 512}, plain_fit{});
    REQUIRE(once);
    REQUIRE(twice);
    const auto single = exported(once->view(), type::f32), nested = exported(twice->view(), type::f32);
    CHECK(crc(single, "weight") == 0x640fbd25);
    CHECK(crc(single, "weight.absmax") == 0xf6eb2413);
    CHECK(crc(nested, "weight.absmax") == 0xd1c13fcc);
    CHECK(crc(nested, "weight.nested_absmax") == 0xb4560187);
    CHECK(text(single) == R"({"quant_type":"nf4","blocksize":64,"dtype":"float32","shape":[512,512]})");
    CHECK(
        text(nested) ==
        R"({"quant_type":"nf4","blocksize":64,"dtype":"float32",)"
        R"("shape":[512,512],"nested_blocksize":256,"nested_dtype":"float32",)"
        R"("nested_offset":0.127329931}    )");
    CHECK(static_cast<float>(*json_value{"0.127329931"}.as_float()) == 0.12732993066310883f);  // bitsandbytes' own mean

    const auto fp4_once = quantize<fp4>({W.data(), 512, 512}, plain_fit{});
    const auto fp4_twice = quantize<fp4_dq>({W.data(), 512, 512}, reference_fit{});
    const auto fp4_single = exported(fp4_once->view(), type::f16), fp4_nested = exported(fp4_twice->view(), type::f32);
    CHECK(crc(fp4_single, "weight") == 0x355f2127);
    CHECK(crc(fp4_single, "weight.absmax") == 0xf6eb2413);
    CHECK(crc(fp4_nested, "weight") == 0x355f2127);
    CHECK(crc(fp4_nested, "weight.absmax") == 0xd1c13fcc);
    CHECK(crc(fp4_nested, "weight.nested_absmax") == 0xb4560187);
    CHECK(text(fp4_single, "fp4") == R"({"quant_type":"fp4","blocksize":64,"dtype":"float16","shape":[512,512]})");
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("bitsandbytes_parts: names, types and shapes") {
    const auto list = [](const auto& parts) {
        REQUIRE(parts);
        std::string s;
        for (const checkpoint_part& p : *parts) {
            s += std::string(p.suffix) + " " + std::string(safetensors_name(p.type));
            for (const std::uint64_t n : p.shape()) s.append(" ").append(std::to_string(n));
            s += "\n";
        }
        return s;
    };
    CHECK(list(bitsandbytes_parts<nf4>(3, 43, type::f16)) ==
          "weight U8 65 1\nweight.absmax F32 3\nweight.quant_map F32 16\nweight.quant_state.bitsandbytes__nf4 U8 68\n");
    CHECK(list(bitsandbytes_parts<nf4_dq>(100, 256, type::bf16)) ==
          "weight U8 12800 1\nweight.absmax U8 400\nweight.quant_map F32 16\nweight.quant_state.bitsandbytes__nf4 U8 "
          "152\n"
          "weight.nested_absmax F32 2\nweight.nested_quant_map F32 256\n");
    CHECK(list(bitsandbytes_parts<fp4>(3, 43, type::f16)) ==
          "weight U8 65 1\nweight.absmax F32 3\nweight.quant_map F32 16\nweight.quant_state.bitsandbytes__fp4 U8 68\n");
    CHECK(bitsandbytes_parts<nf4>(1, 1, type::f64).error().code == errc::argument);
    CHECK(bitsandbytes_parts<nf4>(0, 64, type::f16).error().code == errc::shape);
    CHECK(bitsandbytes_parts<nf4>(std::uint64_t{1} << 40, std::uint64_t{1} << 40, type::f16).error().code ==
          errc::shape);
}

TEST_CASE("bitsandbytes: out and back, also where blocks run over row ends") {
    for (const auto& size :
         {std::pair<std::size_t, std::size_t>{1, 1}, {3, 5}, {7, 33}, {2, 64}, {65, 100}, {130, 192}}) {
        const std::size_t rows = size.first, cols = size.second;
        CAPTURE(rows);
        CAPTURE(cols);
        for (const type dtype : {type::f16, type::bf16, type::f32}) {
            const auto q = quantized<nf4>(rows, cols);
            auto c = exported(q.view(), dtype);
            const auto back = import <nf4>(c);
            REQUIRE(back);
            CHECK((back->rows() == rows && back->cols() == cols));
            CHECK(std::ranges::equal(back->bytes(), q.bytes()));
        }
        const auto q = quantized<nf4_dq>(rows, cols);
        auto c = exported(q.view());
        const auto back = import <nf4_dq>(c);
        REQUIRE(back);
        CHECK(std::ranges::equal(back->bytes(), q.bytes()));
        // The same weights where the abs-max are decoded while reading.
        const auto plain = import <nf4>(c);
        REQUIRE(plain);
        const auto a = defined(back->view()), b = defined(plain->view());
        CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
        CHECK(refusal<nf4_dq>(exported(quantized<nf4>(rows, cols).view()), errc::unsupported) ==
              "quant_state: the abs-max are not quantized: read it as nf4");
    }
}

TEST_CASE("bitsandbytes: FP4 out and back, read once quantized too, and not mistaken for NF4") {
    const auto once = quantized<fp4>(7, 33);
    const auto twice = quantized<fp4_dq>(130, 192);
    auto single = exported(once.view()), nested = exported(twice.view());
    CHECK(std::ranges::equal(import <fp4>(single)->bytes(), once.bytes()));
    const auto back = import <fp4_dq>(nested);
    REQUIRE(back);
    CHECK(std::ranges::equal(back->bytes(), twice.bytes()));
    CHECK(defined(import <fp4>(nested)->view()) == defined(back->view()));
    CHECK(refusal<fp4_dq>(single, errc::unsupported) == "quant_state: the abs-max are not quantized: read it as fp4");
    CHECK(refusal<nf4>(single, errc::unsupported) == "quant_state: fp4, where nf4 is asked for");
    CHECK(refusal<fp4>(exported(quantized<nf4>(4, 64).view()), errc::unsupported) ==
          "quant_state: nf4, where fp4 is asked for");
    auto levels = floats(single, ".quant_map");
    levels[8] = -0.0f;
    CHECK(refusal<fp4>(with(single, ".quant_map", type::f32, {16}, levels), errc::unsupported) ==
          "quant_map: the levels are not those of fp4");
}

TEST_CASE("bitsandbytes: the state says what a layer is") {
    auto c = exported(quantized<nf4_dq>(6, 100).view(), type::f16);
    const auto file = c.file();
    bitsandbytes_tensors t, none;
    REQUIRE(find_bitsandbytes(file, "l", t));
    REQUIRE(find_bitsandbytes(file, "m", none));
    const auto state = read_bitsandbytes_state(t);
    REQUIRE(state);
    CHECK((state->rows == 6 && state->cols == 100 && state->dtype == type::f16 && !state->fp4 &&
           state->blocksize == 64 && state->nested && state->nested_blocksize == 256));
    char room[100];
    CHECK(read_bitsandbytes_state(none).error().format(room) == "quant_state: the tensor is missing");
}

TEST_CASE("bitsandbytes: what other writers do") {
    const auto q = quantized<nf4>(4, 64);
    const auto c = exported(q.view());
    // json.dumps' spaces, another order, and codes labelled as bfloat16 (bnb_4bit_quant_storage).
    auto spaced = with_text(c, R"({"shape": [4, 64], "dtype": "bfloat16", "blocksize": 64, "quant_type": "nf4"})");
    CHECK(std::ranges::equal(import <nf4>(spaced)->bytes(), q.bytes()));
    auto labelled = c;
    labelled.tensors["l.weight"].type = type::bf16;
    labelled.tensors["l.weight"].shape = {64, 1};
    CHECK(std::ranges::equal(import <nf4>(labelled)->bytes(), q.bytes()));
    auto cube = with_text(c, R"({"quant_type":"nf4","blocksize":64,"dtype":"float32","shape":[2,2,64]})");
    CHECK((import <nf4>(cube)->rows() == 4 && import <nf4>(cube)->cols() == 64));
    // A dynamic map computed without FMA differs in a last bit: then only the decoded abs-max are exact.
    auto nested = exported(quantized<nf4_dq>(4, 64).view());
    auto map = floats(nested, ".nested_quant_map");
    for (float& v : map) v = v > 0.5f ? std::bit_cast<float>(std::bit_cast<std::uint32_t>(v) - 1) : v;
    nested = with(nested, ".nested_quant_map", type::f32, {256}, map);
    CHECK(refusal<nf4_dq>(nested, errc::unsupported) ==
          "nested_quant_map: the levels of the abs-max are not the usual ones: read it as nf4");
    const auto plain = import <nf4>(nested);
    REQUIRE(plain);
    const auto codes = nested.tensors["l.weight.absmax"].data;
    const float offset = static_cast<float>(*json_value{text(nested)}["nested_offset"].as_float());
    for (std::size_t i = 0; i < 4; ++i) {
        const float level = map[std::to_integer<std::size_t>(codes[i])] * floats(nested, ".nested_absmax")[0];
        float got = 0;
        std::memcpy(&got, plain->bytes().data() + 128 + 4 * i, 4);
        CHECK(got == doctest::Approx(level + offset).epsilon(1e-6));
    }
}

TEST_CASE("bitsandbytes: some rows of a matrix") {
    const auto q = quantized<nf4_dq>(130, 256);  // a second-level block is 64 rows
    const auto check = [&](std::size_t first, std::size_t count) {
        const auto rows = q.row_range(first, count);
        REQUIRE(rows);
        auto c = exported(*rows);
        const auto back = import <nf4_dq>(c);
        REQUIRE(back);
        CHECK(defined(back->view()) == defined(*rows));
    };
    check(64, 64);
    check(64, 66);
    check(10, 20);
    const auto askew = q.row_range(10, 100);
    REQUIRE(askew);
    std::vector<std::byte> out(8);
    CHECK(export_bitsandbytes<nf4_dq>(*askew, type::f16, 4, out).error().code == errc::unsliceable);
    CHECK(export_bitsandbytes<nf4_dq>(*askew, type::f16, 6, out).error().code == errc::argument);
    CHECK(export_bitsandbytes<nf4_dq>(*askew, type::f16, 0, out).error().code == errc::shape);
    CHECK(export_bitsandbytes<nf4_dq>(*askew, type::i8, 4, out).error().code == errc::argument);
}

TEST_CASE("bitsandbytes: texts that lie") {
    const auto c = exported(quantized<nf4>(4, 64).view());
    const auto state = [&](const std::string& fields) { return refusal<nf4>(with_text(c, "{" + fields + "}")); };
    const std::string type_and_size = R"("quant_type":"nf4","blocksize":64,)", dtype = R"("dtype":"float16",)",
                      shape = R"("shape":[4,64])";
    CHECK(state("") == "quant_state.quant_type: not the type that the tensor's name says");
    CHECK(state(R"("quant_type":"fp4")") == "quant_state.quant_type: not the type that the tensor's name says");
    CHECK(state(type_and_size + shape) == "quant_state.dtype: none of float16, bfloat16 and float32");
    CHECK(state(R"("quant_type":"nf4",)" + dtype + shape) == "quant_state.blocksize: the value is missing");
    for (const char* size : {"0", "1", "16", "48", "8192", "9223372036854775808"})
        CHECK(state(R"("quant_type":"nf4","blocksize":)" + std::string(size) + "," + dtype + shape) ==
              "quant_state.blocksize: " + std::string(size) + " is no power of two from 32 to 4096");
    CHECK(refusal<nf4>(with_text(with(c, ".absmax", type::f32, {2}, std::vector<float>{1, 1}),
                                 R"({"quant_type":"nf4","blocksize":128,)" + dtype + shape + "}"),
                       errc::unsupported) == "quant_state: blocks of 128, the format has blocks of 64");
    CHECK(state(type_and_size + dtype + R"("shape":[])") ==
          "quant_state.shape: no dimensions, or their product overflows");
    CHECK(state(type_and_size + dtype + R"("shape":7)") ==
          "quant_state.shape: no dimensions, or their product overflows");
    CHECK(state(type_and_size + dtype + R"("shape":[0,64])") ==
          "quant_state.shape: an empty dimension, or an overflow");
    CHECK(state(type_and_size + dtype + R"("shape":[4294967296,4294967296])") ==
          "quant_state.shape: no dimensions, or their product overflows");
    CHECK(state(type_and_size + dtype + R"("shape":[4294967296,4294967296,4])") ==
          "quant_state.shape: an empty dimension, or an overflow");
    CHECK(state(type_and_size + dtype + R"("shape":[-4,64])") ==
          "quant_state.shape: an integer from 0 to 2^64 - 1 is needed");
    CHECK(state(type_and_size + dtype + R"("shape":[4,65])") == "weight: 128 bytes, 130 are needed for 260 weights");
    CHECK(state(type_and_size + dtype + shape + R"(,"absmax":1)") ==
          "quant_state: a field that bitsandbytes does not write");
    CHECK(state(type_and_size + dtype + shape + ",") == "quant_state: no key, at byte 68");
    CHECK(state(type_and_size + dtype + shape + R"(,"dtype":"float32")") ==
          "quant_state: a key that was there before, at byte 68");
    CHECK(refusal<nf4>(with_text(c, "")) == "quant_state: the text ends inside a value, at byte 0");
    CHECK(refusal<nf4>(with_text(c, "[]")) == "quant_state.quant_type: not the type that the tensor's name says");
    CHECK(refusal<nf4>(with_text(c, std::string(4097, ' '))) == "quant_state: a text of 4097 bytes, 4096 are allowed");
    const std::string nested = type_and_size + dtype + shape + R"(,"nested_blocksize":256,"nested_dtype":)";
    CHECK(state(type_and_size + dtype + shape + R"(,"nested_blocksize":3)") ==
          "quant_state.nested_blocksize: 3 is no power of two from 64 to 4096");
    CHECK(state(nested + R"("float16","nested_offset":1)") == "quant_state.nested_dtype: float32 is needed");
    CHECK(state(nested + R"("float32")") == "quant_state.nested_offset: the value is missing");
    CHECK(state(nested + R"("float32","nested_offset":"1")") == "quant_state.nested_offset: a number is needed");
    CHECK(state(nested + R"("float32","nested_offset":1e39)") == "quant_state.nested_offset: larger than any float");
    CHECK(state(nested + R"("float32","nested_offset":1e999)") ==
          "quant_state.nested_offset: the number is larger than any double");
    CHECK(state(nested + R"("float32","nested_offset":1)") ==
          "absmax: 4 elements of type 17, where 4 of type 4 are needed");
    const std::string valid = text(c);
    for (std::size_t n = 0; n < valid.size(); ++n) CHECK(refusal<nf4>(with_text(c, valid.substr(0, n))) != "");
}

TEST_CASE("bitsandbytes: tensors that are missing or disagree") {
    const auto c = exported(quantized<nf4>(4, 64).view()), d = exported(quantized<nf4_dq>(4, 64).view());
    for (const std::string name : {"absmax", "quant_map"}) {
        auto less = c;
        less.tensors.erase("l.weight." + name);
        CHECK(refusal<nf4>(less) == name + ": the tensor is missing");
    }
    for (const std::string name : {"nested_absmax", "nested_quant_map"}) {
        auto less = d, more = c;
        less.tensors.erase("l.weight." + name);
        CHECK(refusal<nf4_dq>(less) == name + ": the tensor is missing");
        more.tensors["l.weight." + name] = d.tensors.at("l.weight." + name);
        CHECK(refusal<nf4>(more) == "quant_state: tensors of a second level, which the text does not know");
    }
    auto without = c, both = c, other = c;
    without.tensors.erase("l.weight");
    CHECK(refusal<nf4>(without) == "weight: the tensor is missing");
    both.set_text("l.weight.quant_state.bitsandbytes__fp4", "{}");
    CHECK(refusal<nf4>(both) == "quant_state: both an nf4 and an fp4 state");
    other.tensors.erase("l.weight.quant_state.bitsandbytes__nf4");
    other.set_text("l.weight.quant_state.bitsandbytes__fp4",
                   R"({"quant_type":"fp4","blocksize":64,"dtype":"float16","shape":[4,64]})");
    CHECK(refusal<nf4>(other, errc::unsupported) == "quant_state: fp4, where nf4 is asked for");
    CHECK(refusal<nf4>(with(c, "", type::u8, {127, 1}, std::vector<char>(127))) ==
          "weight: 127 bytes, 128 are needed for 256 weights");
    CHECK(refusal<nf4>(with(c, ".absmax", type::f32, {5}, std::vector<float>(5))) ==
          "absmax: 5 elements of type 17, where 4 of type 17 are needed");
    CHECK(refusal<nf4>(with(c, ".absmax", type::f32, {4, 1}, std::vector<float>(4))) ==
          "absmax: 2 dimensions, 1 are needed");
    CHECK(refusal<nf4>(with(c, ".absmax", type::u8, {4}, std::vector<char>(4))) ==
          "absmax: 4 elements of type 4, where 4 of type 17 are needed");
    CHECK(refusal<nf4>(with(c, ".quant_map", type::f32, {15}, std::vector<float>(15))) ==
          "quant_map: 15 elements of type 17, where 16 of type 17 are needed");
    auto levels = floats(c, ".quant_map");
    levels[3] = std::bit_cast<float>(0x7FC00000u);
    CHECK(refusal<nf4>(with(c, ".quant_map", type::f32, {16}, levels)) == "quant_map: level 3 is not finite");
    levels[3] = -0.4f;
    CHECK(refusal<nf4>(with(c, ".quant_map", type::f32, {16}, levels), errc::unsupported) ==
          "quant_map: the levels are not those of nf4");
    const float infinity = std::bit_cast<float>(0x7F800000u);
    CHECK(refusal<nf4>(with(c, ".absmax", type::f32, {4}, std::vector<float>{1, 1, infinity, 1}), errc::non_finite) ==
          "absmax: block 2 has an abs-max that is not finite");
    CHECK(refusal<nf4_dq>(with(d, ".nested_absmax", type::f32, {1}, std::vector<float>{infinity}), errc::non_finite) ==
          "absmax: block 0 has an abs-max that is not finite");
    CHECK(refusal<nf4_dq>(with(d, ".nested_absmax", type::f32, {2}, std::vector<float>(2))) ==
          "nested_absmax: 2 elements of type 17, where 1 of type 17 are needed");
    auto twice = d;
    const std::string wide =
        R"({"quant_type":"nf4","blocksize":64,"dtype":"float16","shape":[4,64],"nested_blocksize":512,)"
        R"("nested_dtype":"float32","nested_offset":1})";
    CHECK(refusal<nf4_dq>(with_text(twice, wide), errc::unsupported) ==
          "quant_state: abs-max in blocks of 512, the format has blocks of 256");
    auto loose = with_text(twice, wide);
    CHECK(import <nf4>(loose));
}

#endif
