#include "support/golden.hpp"
#include "support/guarded.hpp"
#include "support/kernel_formats.hpp"
#include "support/rooms.hpp"
#include "support/threads.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/kernel/decode_block.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string_view>

using namespace qlib;

namespace {

template <class F>
constexpr std::size_t some_cols = has_ragged_rows<F> ? block_size<F> + block_size<F> / 2 + 3 : 3 * block_size<F>;

std::vector<std::byte> random_bytes(std::size_t n, std::uint32_t seed) {
    std::vector<std::byte> bytes(n);
    for (std::uint32_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(golden::mix(seed * 0x10000 + i));
    return bytes;
}

/// Decoding by the definition, one block at a time.
template <class F> std::vector<float> by_definition(const qview<F>& q) {
    const auto wire = detail::wire_shape_of<F>(q.rows(), q.cols());
    std::vector<float> out(q.rows() * q.cols());
    for (std::size_t r = 0; r < wire.rows; ++r)
        for (std::size_t b = 0; b * block_size<F> < wire.cols; ++b)
            detail::decode_block<F>(q, r, b, std::min(block_size<F>, wire.cols - b * block_size<F>),
                                    &out[r * wire.cols + b * block_size<F>]);
    for (float& v : out)
        if (detail::is_nan(v)) v = detail::float_of(0x7FC00000u);
    return out;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace

TEST_SUITE_BEGIN("bytes");

TEST_CASE_TEMPLATE("dequantize: any bytes give the definition's bits in every room, within their bounds", F,
                   QLIB_KERNEL_FORMATS) {
    constexpr std::size_t rows = 5, cols = some_cols<F>;
    std::vector<std::byte> bytes = random_bytes(wire_size<F>(rows, cols), 1);
    guarded<std::byte> wire{std::span<const std::byte>(bytes)};
    const auto q = qview<F>::over(wire.span(), rows, cols);
    REQUIRE(q.has_value());
    const auto want = by_definition<F>(*q);
    for (const isa room : sample::rooms()) {
        guarded<float> tight(rows * cols);
        call_report report;
        REQUIRE(dequantize<F>(*q, {tight.data(), rows, cols}, {.room = room, .report = &report}).ok());
        CHECK(same_bits(tight.span(), want));
        CHECK(report.room == room);
        CHECK((report.path == std::string_view("bits") || report.path == std::string_view("load")));

        std::vector<float> wide(rows * (cols + 3), 7.0f);
        REQUIRE(dequantize<F>(*q, {wide.data(), rows, cols, cols + 3}, {.run = test_threads(2), .room = room}).ok());
        bool same = true, kept = true;
        for (std::size_t r = 0; r < rows; ++r) {
            same = same && same_bits({&wide[r * (cols + 3)], cols}, {&want[r * cols], cols});
            for (std::size_t j = cols; j < cols + 3; ++j) kept = kept && wide[r * (cols + 3) + j] == 7.0f;
        }
        CHECK(same);
        CHECK(kept);
    }
}

TEST_CASE("dequantize: Q4_0's block by hand") {
    std::array<std::byte, 18> block{std::byte{0x00}, std::byte{0x42}};  // f16 3.0
    for (unsigned i = 0; i < 16; ++i) block[2 + i] = static_cast<std::byte>(i | (15 - i) << 4);
    const auto q = qview<kernel_formats::split4>::over(block, 1, 32);
    for (const isa room : sample::rooms()) {
        float out[32];
        REQUIRE(dequantize(*q, {out, 1, 32}, {.room = room}).ok());
        bool same = true;
        for (int i = 0; i < 16; ++i) {
            const auto low = static_cast<float>(3 * (i - 8)), high = static_cast<float>(3 * (7 - i));
            same = same && out[i] == low && out[i + 16] == high;
        }
        CHECK(same);
    }
}

TEST_CASE("dequantize: the three roundings of a map, the sign of zeros, infinities and NaN") {
    // f16 scale 0x3555 = 0.333251953125 and offset 0xB555 = -0.333251953125
    std::array<std::byte, 20> block{std::byte{0x55}, std::byte{0x35}, std::byte{0x55}, std::byte{0xB5}};
    for (unsigned i = 0; i < 16; ++i) block[4 + i] = static_cast<std::byte>(i * 17);
    const auto check = [&](std::uint16_t s, std::uint16_t z, std::size_t code, std::uint32_t bits) {
        block[0] = static_cast<std::byte>(s & 0xFF);
        block[1] = static_cast<std::byte>(s >> 8);
        block[2] = static_cast<std::byte>(z & 0xFF);
        block[3] = static_cast<std::byte>(z >> 8);
        const auto q = qview<kernel_formats::offset4>::over(block, 1, 32);
        for (const isa room : sample::rooms()) {
            float out[32];
            REQUIRE(dequantize(*q, {out, 1, 32}, {.room = room}).ok());
            CHECK(detail::bits_of(out[code]) == bits);
            CHECK(detail::bits_of(out[code + 16]) == bits);
        }
    };
    check(0x3555, 0xB555, 1, 0x00000000u);  // s - s
    check(0x3555, 0x3555, 7, 0x402AA000u);  // 8 s
    check(0x8000, 0x8000, 0, 0x80000000u);  // -0 * 0 + -0
    check(0x7C00, 0x0000, 3, 0x7F800000u);  // inf * 3
    check(0x7C00, 0x0000, 0, 0x7FC00000u);  // inf * 0
    check(0x7C00, 0xFC00, 3, 0x7FC00000u);  // inf - inf
    check(0xFE01, 0x7D03, 9, 0x7FC00000u);  // two NaNs of their own
}

TEST_CASE("dequantize: a product is rounded before it is added to") {
    using F = kernel_formats::tensor3;
    std::array<std::byte, 32> wire{std::byte{3}};              // one code 3, 63 codes 0
    detail::store_little_endian(f32{0x3EAAAAABu}, &wire[24]);  // 1/3: three of them are 1 + 2^-25
    detail::store_little_endian(f32{0xBF800000u}, &wire[28]);  // -1
    const auto q = qview<F>::over(wire, 1, 64);
    for (const isa room : sample::rooms()) {
        float out[64];
        REQUIRE(dequantize<F>(*q, {out, 1, 64}, {.room = room}).ok());
        CHECK(detail::bits_of(out[0]) == 0);
        CHECK(out[1] == -1.0f);
    }
}

TEST_CASE("dequantize: the same floats as ever") {
    const auto hash = []<class F>(F*) {
        const auto bytes = random_bytes(wire_size<F>(3, some_cols<F>), 2);
        std::vector<float> out(3 * some_cols<F>);
        const auto q = qview<F>::over(bytes, 3, some_cols<F>);
        REQUIRE(dequantize<F>(*q, {out.data(), 3, some_cols<F>}).ok());
        return golden::fnv1a(std::as_bytes(std::span(out)));
    };
    using namespace kernel_formats;
    CHECK(hash(static_cast<super2*>(nullptr)) == 0x96D38AF41DFC8C7Eull);
    CHECK(hash(static_cast<float4*>(nullptr)) == 0xD547A644D87621C9ull);
    CHECK(hash(static_cast<dense5*>(nullptr)) == 0xE42FCB36EE5ABEF5ull);
    CHECK(hash(static_cast<book3*>(nullptr)) == 0xF3E2C2884CE29E0Bull);
    CHECK(hash(static_cast<row4*>(nullptr)) == 0x8CB0945529737BC1ull);
    CHECK(hash(static_cast<tile8*>(nullptr)) == 0x45C7592F6139C9E5ull);
    CHECK(hash(static_cast<nf4_dq*>(nullptr)) == 0xFAC467AEBDEA48C7ull);
}

TEST_SUITE_END();

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("dequantize: blocks that run over row ends, whole and in threads") {
    constexpr std::size_t rows = 37, cols = 41;
    const auto bytes = random_bytes(wire_size<nf4_dq>(rows, cols), 3);
    const auto q = qview<nf4_dq>::over(bytes, rows, cols);
    REQUIRE(q.has_value());
    CHECK(!q->sliceable());
    const auto want = by_definition<nf4_dq>(*q);
    for (const isa room : sample::rooms()) {
        std::vector<float> out(rows * cols);
        REQUIRE(dequantize<nf4_dq>(*q, {out.data(), rows, cols}, {.run = test_threads(3), .room = room}).ok());
        CHECK(same_bits(out, want));
    }
}

TEST_CASE("dequantize: part of the rows, and rows far apart") {
    using F = kernel_formats::tile4;
    constexpr std::size_t rows = 300, cols = 192;
    const auto bytes = random_bytes(wire_size<F>(rows, cols), 4);
    const auto q = qview<F>::over(bytes, rows, cols);
    const auto part = q->row_range(100, 150);
    REQUIRE(part.has_value());
    const auto want = by_definition<F>(*q);
    std::vector<float> out(150 * cols);
    REQUIRE(dequantize<F>(*part, {out.data(), 150, cols}).ok());
    CHECK(same_bits(out, {&want[100 * cols], out.size()}));

    using G = kernel_formats::planes5;
    const auto apart = random_bytes(4 * 50, 5);
    const auto g = qview<G>::over(apart, 4, 64, {.row_bytes = 50});
    REQUIRE(g.has_value());
    std::vector<float> floats(4 * 64);
    REQUIRE(dequantize<G>(*g, {floats.data(), 4, 64}).ok());
    CHECK(same_bits(floats, by_definition<G>(*g)));
}

namespace {

/// Decodes at once, past the caches, into memory that begins inside a line; then row by row as small calls do.
template <class F, class T> void check_streamed(std::size_t rows, std::size_t cols, std::size_t shift) {
    REQUIRE(rows * cols * sizeof(T) >= detail::streamed_from);
    const auto bytes = random_bytes(wire_size<F>(rows, cols), 9);
    const auto q = *qview<F>::over(bytes, rows, cols);
    const T guard = T{};
    std::vector<T> large(shift + rows * (cols + 1) + 64, guard), row(cols);
    REQUIRE(dequantize<F>(q, matrix_view<T>{large.data() + shift, rows, cols, cols + 1}).ok());
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < rows; r += 37) {
        REQUIRE(dequantize<F>(*q.row_range(r, 1), matrix_view<T>{row.data(), 1, cols}).ok());
        const T* const got = large.data() + shift + r * (cols + 1);
        wrong += std::memcmp(got, row.data(), cols * sizeof(T)) != 0 || std::memcmp(got + cols, &guard, sizeof(T)) != 0;
    }
    CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("dequantize: what no cache holds, written by whole lines, is the same from wherever in a line it begins") {
    check_streamed<kernel_formats::split4, float>(2050, 1056, 0);
    check_streamed<kernel_formats::split4, float>(2050, 1056, 3);
    check_streamed<kernel_formats::split4, bf16>(4100, 1056, 7);
    check_streamed<kernel_formats::split4, f16>(140000, 32, 1);

    constexpr std::size_t rows = 2050, cols = 1057;  // blocks that run over row ends
    const auto bytes = random_bytes(wire_size<nf4_dq>(rows, cols), 9);
    const auto q = *qview<nf4_dq>::over(bytes, rows, cols);
    std::vector<float> out(rows * cols);
    REQUIRE(dequantize<nf4_dq>(q, {out.data(), rows, cols}).ok());
    CHECK(same_bits(out, by_definition<nf4_dq>(q)));
}

TEST_CASE("dequantize: which path served, and what keeps a format from the faster one") {
    const auto served = []<class F>(F*, isa room) {
        const auto q = qmatrix<F>::make(2, block_size<F>);
        std::vector<float> out(2 * block_size<F>);
        call_report report;
        REQUIRE(dequantize(*q, {out.data(), 2, block_size<F>}, {.room = room, .report = &report}).ok());
        return report;
    };
    const auto path = [&](auto* format, isa room) {
        const call_report report = served(format, room);
        CHECK((report.path == std::string_view("bits")) == std::string_view(report.why).empty());
        return std::string_view(report.path);
    };
    using namespace kernel_formats;
    const auto why = [&](auto* format, isa room) { return std::string_view(served(format, room).why); };
    CHECK(why(static_cast<lattice8*>(nullptr), isa::best) == "codes of several weights, or of more than 8 bits");
    if (has_room(isa::avx512))
        CHECK(why(static_cast<own_layout*>(nullptr), isa::avx512) == "the room does not know the bit layout");
    CHECK(path(static_cast<super6*>(nullptr), isa::best) == "bits");
    CHECK(path(static_cast<own_layout*>(nullptr), isa::portable) == "bits");
    if (has_room(isa::avx2)) CHECK(path(static_cast<own_layout*>(nullptr), isa::avx2) == "bits");
    CHECK(path(static_cast<lattice8*>(nullptr), isa::best) == "load");
    if (has_room(isa::avx512)) CHECK(path(static_cast<own_layout*>(nullptr), isa::avx512) == "load");
}

TEST_CASE("dequantize: errors and empty matrices") {
    using F = kernel_formats::split4;
    const auto q = qmatrix<F>::make(2, 64);
    float out[128] = {};
    CHECK(dequantize(*q, {out, 2, 32}).error().code == errc::shape);
    CHECK(dequantize(*q, {out, 1, 64}).error().code == errc::shape);
    CHECK(dequantize(*q, {out, 2, 64}, {.room = sample::no_room}).error().code == errc::unsupported);
    CHECK(dequantize<F>(qview<F>{}, {nullptr, 0, 0}).ok());
    CHECK(dequantize(*qmatrix<F>::make(0, 64), {nullptr, 0, 64}).ok());
    CHECK(dequantize(*qmatrix<F>::make(3, 0), {nullptr, 3, 0}).ok());
    std::size_t told = 0;
    CHECK(dequantize(*q, {out, 2, 64},
                     {.progress =
                          [&](std::size_t, std::size_t) {
                              ++told;
                              return false;
                          }})
              .error()
              .code == errc::cancelled);
    CHECK(told == 1);
}

TEST_CASE("dequantize: f16 and bf16 are the float's nearest; rows by id, as an embedding is read") {
    const auto check = []<class F>(F*) {
        constexpr std::size_t rows = 9, cols = some_cols<F>;
        const auto bytes = random_bytes(wire_size<F>(rows, cols), 7);
        const auto q = qview<F>::over(bytes, rows, cols);
        REQUIRE(q.has_value());
        const auto want = by_definition<F>(*q);
        std::vector<f16> half(want.size());
        std::vector<bf16> brain(want.size());
        REQUIRE(dequantize(*q, matrix_view<f16>{half.data(), rows, cols}).ok());
        REQUIRE(dequantize(*q, matrix_view<bf16>{brain.data(), rows, cols}).ok());
        for (std::size_t i = 0; i < want.size(); ++i) {
            CHECK(half[i].bits == f16::from(want[i]).bits);
            CHECK(brain[i].bits == bf16::from(want[i]).bits);
        }
        const std::vector<std::uint32_t> ids{8, 0, 3, 3};
        std::vector<float> some(ids.size() * cols);
        REQUIRE(dequantize_rows(*q, ids, {some.data(), ids.size(), cols}).ok());
        for (std::size_t i = 0; i < ids.size(); ++i)
            for (std::size_t c = 0; c < cols; ++c)
                CHECK(detail::bits_of(some[i * cols + c]) == detail::bits_of(want[ids[i] * cols + c]));
        const std::vector<std::uint32_t> beyond{0, 9};
        const status s = dequantize_rows(*q, beyond, {some.data(), 2, cols});
        CHECK(s.error().code == errc::shape);
        CHECK(s.error().sizes[1] == 9);
        CHECK(dequantize_rows(*q, ids, {some.data(), 3, cols}).error().code == errc::shape);
    };
    using namespace kernel_formats;
    check(static_cast<split4*>(nullptr));
    check(static_cast<super4*>(nullptr));
    check(static_cast<super6*>(nullptr));
    check(static_cast<book4*>(nullptr));
    check(static_cast<dense2*>(nullptr));
    check(static_cast<dense4*>(nullptr));
    check(static_cast<lattice8*>(nullptr));
}

#endif
