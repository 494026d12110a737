#include <qlib/file/imatrix.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

using namespace qlib;
using gguf_test::file_bytes;

namespace {

/// A sink that keeps everything, and refuses from a number of bytes on.
struct memory_sink {
    std::vector<std::byte> bytes;
    std::size_t room = ~std::size_t{0};
    bool operator()(std::span<const std::byte> piece) {
        if (piece.size() > room - bytes.size()) return false;
        bytes.insert(bytes.end(), piece.begin(), piece.end());
        return true;
    }
};

std::string message(const status& s) {
    char text[300];
    return s ? std::string() : std::string(s.error().format(text));
}
std::vector<float> vector_of(std::span<const float> s) { return {s.begin(), s.end()}; }

const float sums_a[3] = {4, 8, 0}, counts_a[1] = {4};            // one matrix
const float sums_e[4] = {10, 5, 0, 0}, counts_e[2] = {2.5f, 0};  // two, the second of which saw nothing
const float sums_n[2] = {0, 0}, counts_n[1] = {0};

imatrix_writer sample() {
    imatrix_writer out;
    REQUIRE(out.add("e.weight", sums_e, counts_e));
    REQUIRE(out.add("a.weight", sums_a, counts_a));
    REQUIRE(out.add_dataset("a.txt"));
    REQUIRE(out.add_dataset("b.txt"));
    out.set_chunks(7, 2);
    return out;
}

}  // namespace

TEST_CASE("imatrix_writer: writes llama-imatrix's GGUF form") {
    imatrix_writer out = sample();
    memory_sink sink;
    REQUIRE(out.write_gguf(sink));
    file_bytes f;
    f.header(4, 4).key("general.type", 8).text("imatrix");
    f.key("imatrix.datasets", 9).u32(8).u64(2).text("a.txt").text("b.txt");
    f.key("imatrix.chunk_count", 4).u32(7).key("imatrix.chunk_size", 4).u32(2);
    f.tensor("a.weight.in_sum2", {3}, 0, 0).tensor("a.weight.counts", {1}, 0, 32);
    f.tensor("e.weight.in_sum2", {2, 2}, 0, 64).tensor("e.weight.counts", {1, 2}, 0, 96).pad(32);
    f.f32(4).f32(8).f32(0).pad(32).f32(4).pad(32).f32(10).f32(5).f32(0).f32(0).pad(32).f32(2.5f).f32(0).pad(32);
    CHECK(sink.bytes == f.bytes);

    // Once more, with metadata of the caller's.
    REQUIRE(out.set("calibration.sha256", "00ff"));
    REQUIRE(out.set("calibration.tokens", std::uint64_t{3584}));
    REQUIRE(out.set("general.type", "model"));  // is overruled
    CHECK_FALSE(out.set("Bad Key", true));
    memory_sink more;
    REQUIRE(out.write_gguf(more));
    const auto file = imatrix_file::parse(more.bytes);
    REQUIRE(file);
    CHECK(file->metadata().size() == 6);
    CHECK(file->find_metadata("calibration.sha256")->as_string().value() == "00ff");
    CHECK(file->find_metadata("calibration.tokens")->as_uint().value() == 3584);
    imatrix_writer again;
    REQUIRE(again.add("x", sums_a, counts_a));
    REQUIRE(again.set("copied", *file->find_metadata("calibration.sha256")));
    memory_sink third;
    REQUIRE(again.write_gguf(third));
    CHECK(imatrix_file::parse(third.bytes)->find_metadata("copied")->as_string().value() == "00ff");
}

TEST_CASE("imatrix_writer: writes llama-imatrix's older form") {
    imatrix_writer out = sample();
    REQUIRE(out.add("never", sums_n, counts_n));
    memory_sink sink;
    REQUIRE(out.write_legacy(sink));
    file_bytes f;
    f.u32(2);
    f.u32(8).raw("a.weight").u32(2).u32(3).f32(2).f32(4).f32(0);  // 4 inputs are 2 chunks; means 1, 2, 0
    f.u32(8)
        .raw("e.weight")
        .u32(2)
        .u32(4)
        .f32(8)
        .f32(4)
        .f32(2)
        .f32(2);  // 2.5 inputs: 2 chunks; means 4, 2 and twice the 1 of the unseen
    f.u32(7).u32(5).raw("b.txt");
    CHECK(sink.bytes == f.bytes);

    out.set_chunks(0, 0);  // chunks of one input
    memory_sink tokens;
    REQUIRE(out.write_legacy(tokens));
    const auto file = imatrix_file::parse(tokens.bytes);
    REQUIRE(file);
    CHECK(vector_of(file->find("a.weight")->counts) == std::vector<float>{4});
    CHECK(vector_of(file->find("e.weight")->counts) == std::vector<float>{3});
}

TEST_CASE("imatrix_writer: both forms give the same importance back") {
    std::uint64_t state = 7;
    const auto next = [&](std::uint64_t below) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::size_t>((state >> 33) % below);
    };
    for (int round = 0; round < 20; ++round) {
        const std::size_t matrices = 1 + next(4), cols = 1 + next(700);
        std::vector<float> sums(matrices * cols), counts(matrices);
        for (float& v : sums) v = static_cast<float>(next(1000)) * 0.37f;
        for (float& v : counts) v = static_cast<float>(next(3) * 512);
        counts[0] = 512;
        imatrix_writer out;
        REQUIRE(out.add("w", sums, counts));
        out.set_chunks(3, 512);
        memory_sink newer, older;
        REQUIRE(out.write_gguf(newer));
        REQUIRE(out.write_legacy(older));
        const auto a = imatrix_file::parse(newer.bytes), b = imatrix_file::parse(older.bytes);
        REQUIRE(a);
        REQUIRE(b);
        CHECK((a->entries()[0].matrices == matrices && a->entries()[0].cols == cols));
        CHECK(vector_of(a->entries()[0].counts) == counts);
        for (std::size_t i = 0; i < sums.size(); ++i) {
            const float want = counts[i / cols] > 0 ? sums[i] / counts[i / cols] : 1;
            REQUIRE(a->entries()[0].importance[i] == want);
            REQUIRE(b->entries()[0].importance[i] == want);  // both chunk counts are powers of two
        }
    }
}

TEST_CASE("imatrix_writer: refuses what its reader would refuse, and stays as it was") {
    using namespace std::string_view_literals;
    constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    imatrix_writer out;
    memory_sink sink;
    const float one[1] = {1}, two[2] = {1, 1}, tiny[1] = {1e-45f};
    CHECK(message(out.write_gguf(sink)) == "imatrix: no entries");
    CHECK(message(out.write_legacy(sink)) == "imatrix: no entries");
    CHECK(message(out.add("", one, one)) == "imatrix: #0 has an empty name");
    CHECK(message(out.add("a\0"sv, one, one)) == "imatrix: #0 has a zero byte in its name");
    CHECK(message(out.add(std::string(1017, 'n'), one, one)) ==
          "imatrix: #0 has a name of 1017 bytes, 1016 are allowed");
    CHECK(message(out.add("w", {}, one)) == "imatrix: 0 sums for 1 matrices");
    CHECK(message(out.add("w", one, {})) == "imatrix: 1 sums for 0 matrices");
    CHECK(message(out.add("w", one, two)) == "imatrix: 1 sums for 2 matrices");
    for (const float bad : {nan, inf, -1.0f}) {
        const float values[2] = {1, bad};
        CHECK(message(out.add("w", values, one)) == "imatrix: value 1 of matrix 0 is negative or not finite");
        CHECK(message(out.add("w", two, values)) == "imatrix: count 1 is negative or not finite");
    }
    CHECK(message(out.add("w", one, tiny)) == "imatrix: the mean of value 0 of matrix 0 overflows");
    CHECK(message(out.write_gguf(sink)) == "imatrix: no entries");

    REQUIRE(out.add("w", sums_n, counts_n));
    CHECK(message(out.write_legacy(sink)) == "imatrix: no entry has seen an input");
    REQUIRE(out.add("w", one, one));
    CHECK(message(out.write_gguf(sink)) == "imatrix: #0 and #1 have the same name");
    CHECK(message(out.write_legacy(sink)) == "imatrix: #0 and #1 have the same name");

    imatrix_writer large;
    const float many[1] = {3e9f}, more[1] = {3e38f}, few[1] = {1e5f}, sum[1] = {3e38f};
    const float sums[2] = {3e38f, 3e38f}, counts[2] = {1, 9};
    REQUIRE(large.add("w", one, many));
    CHECK(message(large.write_legacy(sink)) ==
          "imatrix: 3000000000 chunks and 1 values: the older form counts to 2^31 - 1");
    imatrix_writer larger;
    REQUIRE(larger.add("w", one, more));
    CHECK(larger.write_legacy(sink).error().code == errc::overflow);
    imatrix_writer largest;
    REQUIRE(largest.add("w", sums, counts));
    CHECK(message(largest.write_legacy(sink)) == "imatrix: value 0 of matrix 0 overflows in the older form");
    imatrix_writer fits;
    REQUIRE(fits.add("w", sum, few));
    CHECK(fits.write_legacy(sink));
}

TEST_CASE("imatrix_writer: a sink that refuses is an error") {
    const imatrix_writer out = sample();
    memory_sink newer, older;
    REQUIRE(out.write_gguf(newer));
    REQUIRE(out.write_legacy(older));
    for (std::size_t room = 0; room < newer.bytes.size(); room += 11) {
        memory_sink full{{}, room};
        CHECK(out.write_gguf(full).error().code == errc::io);
    }
    for (std::size_t room = 0; room < older.bytes.size(); room += 3) {
        memory_sink full{{}, room};
        CHECK(out.write_legacy(full).error().code == errc::io);
    }
}
