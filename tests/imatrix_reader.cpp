#include <qlib/file/imatrix_reader.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

using namespace qlib;
using gguf_test::file_bytes;

namespace {

/// The message of a refused file, with the name that it speaks of; empty when it parses.
std::string refusal(std::span<const std::byte> file, errc code) {
    std::string_view culprit = "not set";
    const auto parsed = imatrix_file::parse(file, {}, &culprit);
    if (parsed) return culprit.empty() ? "" : "a culprit without an error";
    CHECK(parsed.error().code == code);
    char text[2000];
    return std::string(parsed.error().format(text, culprit));
}

file_bytes& floats(file_bytes& f, std::initializer_list<float> values) {
    for (const float v : values) f.f32(v);
    return f;
}

/// The pairs that llama-imatrix writes, in its order.
file_bytes& metadata(file_bytes& f) {
    f.key("general.type", 8).text("imatrix");
    f.key("imatrix.datasets", 9).u32(8).u64(2).text("a.txt").text("b.txt");
    return f.key("imatrix.chunk_count", 4).u32(7).key("imatrix.chunk_size", 4).u32(512);
}

/// Two weights: "a.weight" of one matrix with 3 columns, "e.weight" of two experts with 2 columns, the second of which
/// saw nothing; in between a tensor of sums that are not squared, as newer versions write.
file_bytes sample() {
    file_bytes f;
    metadata(f.header(5, 4));
    f.tensor("a.weight.in_sum2", {3}, 0, 0).tensor("a.weight.counts", {1}, 0, 32).tensor("a.weight.in_sum", {3}, 0, 64);
    f.tensor("e.weight.in_sum2", {2, 2}, 0, 96).tensor("e.weight.counts", {1, 2}, 0, 128).pad(32);
    floats(f, {4, 8, 0}).pad(32);
    floats(f, {4}).pad(32);
    floats(f, {-1, 2, 3}).pad(32);
    floats(f, {10, 5, 0, 0}).pad(32);
    return floats(f, {2.5f, 0}).pad(32);
}
/// A GGUF file of one weight "w" with any numbers.
file_bytes one(std::vector<std::uint64_t> ne, std::initializer_list<float> sums, std::vector<std::uint64_t> counts_ne,
               std::initializer_list<float> counts) {
    file_bytes f;
    f.header(2, 1).key("general.type", 8).text("imatrix");
    f.tensor("w.in_sum2", std::move(ne), 0, 0)
        .tensor("w.counts", std::move(counts_ne), 0, (sums.size() * 4 + 31) / 32 * 32)
        .pad(32);
    floats(f, sums).pad(32);
    return floats(f, counts).pad(32);
}

file_bytes legacy_entry(std::string_view name, std::uint32_t calls, std::initializer_list<float> values) {
    file_bytes f;
    f.u32(name.size()).raw(name).u32(calls).u32(values.size());
    return floats(f, values);
}
file_bytes legacy(std::uint32_t count, std::initializer_list<file_bytes> entries) {
    file_bytes f;
    f.u32(count);
    for (const file_bytes& e : entries) f.bytes.insert(f.bytes.end(), e.bytes.begin(), e.bytes.end());
    return f;
}
const file_bytes two = legacy(2, {legacy_entry("b.weight", 4, {2, 4, 6}), legacy_entry("a.weight", 0, {3, 0})});

std::vector<float> vector_of(std::span<const float> s) { return {s.begin(), s.end()}; }

}  // namespace

TEST_CASE("imatrix_file: reads the GGUF form") {
    const file_bytes f = sample();
    const auto file = imatrix_file::parse(f);
    REQUIRE(file);
    CHECK_FALSE(file->legacy());
    CHECK((file->chunk_count() == 7 && file->chunk_size() == 512));
    REQUIRE(file->datasets().size() == 2);
    CHECK((file->datasets()[0] == "a.txt" && file->datasets()[1] == "b.txt"));
    REQUIRE(file->entries().size() == 2);
    const imatrix_entry& a = file->entries()[0];
    CHECK((a.name == "a.weight" && a.cols == 3 && a.matrices == 1));
    CHECK(vector_of(a.importance) == std::vector<float>{1, 2, 0});
    CHECK(vector_of(a.counts) == std::vector<float>{4});
    const imatrix_entry* e = file->find("e.weight");
    REQUIRE(e == &file->entries()[1]);
    CHECK((e->cols == 2 && e->matrices == 2));
    CHECK(vector_of(e->importance) == std::vector<float>{4, 2, 1, 1});  // never seen: 1
    CHECK(vector_of(e->counts) == std::vector<float>{2.5f, 0});
    CHECK(file->find("e.weight.counts") == nullptr);
    CHECK(file->find("") == nullptr);
    CHECK(file->metadata().size() == 4);
    CHECK(file->find_metadata("imatrix.chunk_size")->as_uint().value() == 512);
    CHECK(file->find_metadata("no") == nullptr);
}

TEST_CASE("imatrix_file: reads the older form, with and without its trailer") {
    const auto check = [](const file_bytes& f, std::uint32_t chunks, std::vector<std::string_view> datasets) {
        const auto file = imatrix_file::parse(f);
        REQUIRE(file);
        CHECK(file->legacy());
        CHECK((file->chunk_count() == chunks && file->chunk_size() == 0));
        CHECK(std::vector<std::string_view>(file->datasets().begin(), file->datasets().end()) == datasets);
        REQUIRE(file->entries().size() == 2);
        CHECK(file->entries()[0].name == "b.weight");
        CHECK(vector_of(file->entries()[0].importance) == std::vector<float>{0.5f, 1, 1.5f});
        CHECK(vector_of(file->entries()[0].counts) == std::vector<float>{4});
        const imatrix_entry* a = file->find("a.weight");
        REQUIRE(a == &file->entries()[1]);
        CHECK((a->cols == 2 && a->matrices == 1));
        CHECK(vector_of(a->importance) == std::vector<float>{3, 0});  // no call: the numbers as they are
        CHECK(file->metadata().empty());
        CHECK(file->find_metadata("general.type") == nullptr);
    };
    check(two, 0, {});
    check(file_bytes(two).u32(9), 9, {});
    check(file_bytes(two).u32(9).u32(0), 9, {});
    check(file_bytes(two).u32(9).u32(5).raw("a.txt"), 9, {"a.txt"});
}

TEST_CASE("imatrix_entry: gives a weight its columns, and refuses another shape") {
    const file_bytes f = sample();
    const auto file = imatrix_file::parse(f);
    const imatrix_entry& e = *file->find("e.weight");
    CHECK(vector_of(*e.of_matrix(0, 2, 2)) == std::vector<float>{4, 2});
    CHECK(vector_of(*e.of_matrix(1, 2, 2)) == std::vector<float>{1, 1});
    CHECK(vector_of(*e.of_matrix(3, 4, 1)) == std::vector<float>{1});  // the older form does not tell matrices apart
    CHECK(e.of_matrix(2, 2, 2).error().code == errc::argument);
    for (const auto [count, width] :
         {std::array<std::size_t, 2>{1, 2}, {2, 3}, {3, 2}, {2, 0}, {1, std::size_t{1} << 63}})
        CHECK(e.of_matrix(0, count, width).error().code == errc::importance);
}

TEST_CASE("imatrix_file: refuses numbers that are no importance") {
    constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const auto refused = [](const file_bytes& f) { return refusal(f, errc::importance); };
    for (const float bad : {nan, inf, -inf, -1.0f, -1e-45f}) {
        CHECK(refused(one({2, 2}, {1, 1, 1, bad}, {1, 2}, {1, 1})) ==
              "w: imatrix: value 1 of matrix 1 is negative or not finite");
        CHECK(refused(one({2, 2}, {1, 1, 1, bad}, {1, 2}, {1, 0})) ==
              "w: imatrix: value 1 of matrix 1 is negative or not finite");
        CHECK(refused(one({2, 2}, {1, 1, 1, 1}, {1, 2}, {1, bad})) == "w: imatrix: count 1 is negative or not finite");
        CHECK(refused(legacy(1, {legacy_entry("w", 1, {1, bad})})) ==
              "w: imatrix: value 1 of matrix 0 is negative or not finite");
    }
    CHECK(refused(one({1}, {1e38f}, {1}, {1e-3f})) == "w: imatrix: the mean of value 0 of matrix 0 overflows");
    CHECK(refused(one({1}, {1}, {1}, {1e-45f})) == "w: imatrix: the mean of value 0 of matrix 0 overflows");
    CHECK(imatrix_file::parse(one({2}, {1e38f, -0.0f}, {1}, {3e38f})));
    CHECK(imatrix_file::parse(one({2}, {0, 0}, {1}, {0})));
}

TEST_CASE("imatrix_file: refuses sums and counts that do not belong together") {
    const auto malformed = [](const file_bytes& f) { return refusal(f, errc::malformed); };
    // More counts.
    CHECK(malformed(one({2, 2}, {1, 1, 1, 1}, {1, 3}, {1, 1, 1})) == "w.in_sum2: imatrix: 2 x 2 sums and 3 counts");
    CHECK(malformed(one({4}, {1, 1, 1, 1}, {1, 2}, {1, 1})) == "w.in_sum2: imatrix: 1 x 4 sums and 2 counts");
    CHECK(malformed(one({2, 0}, {}, {1, 2}, {1, 1})) == "w.in_sum2: imatrix: 0 x 2 sums and 2 counts");
    CHECK(malformed(one({0, 2}, {}, {1, 2}, {1, 1})) == "w.in_sum2: imatrix: 2 x 0 sums and 2 counts");
    CHECK(malformed(one({2}, {1, 1}, {1, 0}, {})) == "w.in_sum2: imatrix: 1 x 2 sums and 0 counts");

    const auto tensors = [](std::initializer_list<std::string_view> names, std::uint32_t type = 0) {
        file_bytes f;
        std::uint64_t offset = 0;
        f.header(names.size(), 1).key("general.type", 8).text("imatrix");
        for (const std::string_view name : names)
            f.tensor(name, {1}, name == "w.in_sum2" ? 0 : type, offset), offset += 32;
        f.pad(32).bytes.resize(f.bytes.size() + offset);
        return f;
    };
    CHECK(malformed(tensors({"w.in_sum2"})) == "w.in_sum2: imatrix: sums without counts");
    CHECK(malformed(tensors({"w.in_sum2", "v.counts"})) == "w.in_sum2: imatrix: sums without counts");
    CHECK(malformed(tensors({"w.counts"})) == "w.counts: imatrix: counts without sums");
    CHECK(malformed(tensors({".in_sum2", ".counts"})) == ".in_sum2: imatrix: sums of a weight without a name");
    CHECK(malformed(tensors({".counts"})) == ".counts: imatrix: counts without sums");
    CHECK(malformed(tensors({"w.in_sum2", "w.counts"}, 24)) ==
          "w.in_sum2: imatrix: sums of type 0 and counts of type 24: both must be f32");
    CHECK(malformed(tensors({"w.weight", "v"})) == "imatrix: no entries");
    const std::string longest(1017, 'n');  // 1024 bytes with .counts, so that no name of sums fits
    CHECK(malformed(tensors({longest + ".counts"})) == longest + ".counts: imatrix: counts without sums");
}

TEST_CASE("imatrix_file: refuses other GGUF files and bad metadata") {
    const auto malformed = [](const file_bytes& f) { return refusal(f, errc::malformed); };
    const auto pairs = [](const file_bytes& more, std::uint64_t count) {
        file_bytes f;
        f.header(0, count);
        f.bytes.insert(f.bytes.end(), more.bytes.begin(), more.bytes.end());
        return f;
    };
    const auto imatrix = [] { return file_bytes().key("general.type", 8).text("imatrix"); };
    CHECK(malformed(pairs({}, 0)) == "imatrix: a GGUF file without a general.type of \"imatrix\"");
    CHECK(malformed(gguf_test::sample()) == "imatrix: a GGUF file without a general.type of \"imatrix\"");
    CHECK(malformed(pairs(file_bytes().key("general.type", 8).text("model"), 1)) ==
          "general.type: imatrix: a GGUF file whose general.type is not \"imatrix\"");
    CHECK(malformed(pairs(file_bytes().key("general.type", 4).u32(1), 1)) ==
          "general.type: metadata value: value type 4 where a string is needed");
    CHECK(malformed(pairs(imatrix(), 1)) == "imatrix: no entries");
    CHECK(malformed(pairs(imatrix().key("imatrix.chunk_count", 5).u32(~0u), 2)) ==
          "imatrix.chunk_count: metadata value: a negative number where none is allowed");
    CHECK(malformed(pairs(imatrix().key("imatrix.chunk_size", 10).u64(std::uint64_t{1} << 32), 2)) ==
          "imatrix.chunk_size: imatrix: 4294967296 chunks, or of that many tokens");
    CHECK(malformed(pairs(imatrix().key("imatrix.datasets", 8).text("a.txt"), 2)) ==
          "imatrix.datasets: imatrix: an array of strings is needed for the data sets");
    CHECK(refusal(file_bytes().raw("GGUF").u32(4).u64(0).u64(0), errc::unsupported) ==
          "header: GGUF version 4: 2 and 3 are supported");
}

TEST_CASE("imatrix_file: refuses sizes of the older form that the bytes do not back") {
    using namespace std::string_view_literals;
    const auto malformed = [](const file_bytes& f) { return refusal(f, errc::malformed); };
    const auto truncated = [](const file_bytes& f) { return refusal(f, errc::truncated); };
    constexpr std::uint32_t negative = ~0u;
    CHECK(truncated({}) == "imatrix: at least 4 bytes are needed, 0 are there");
    CHECK(malformed(legacy(0, {})) == "imatrix: 0 entries: 1 to 2147483647 are allowed");
    CHECK(malformed(legacy(negative, {})) == "imatrix: 4294967295 entries: 1 to 2147483647 are allowed");
    CHECK(truncated(legacy(0x7FFFFFFF, {})) == "imatrix: at least 36507222003 bytes are needed, 4 are there");
    const std::string long_name(1025, 'n');
    CHECK(malformed(legacy(1, {legacy_entry("", 1, {1, 1})})) == "imatrix: a name of 0 bytes: 1 to 1024 are allowed");
    CHECK(malformed(legacy(1, {legacy_entry(long_name, 1, {1})})) ==
          "imatrix: a name of 1025 bytes: 1 to 1024 are allowed");
    CHECK(malformed(legacy(1, {file_bytes().u32(negative).raw("01234567890123456789")})) ==
          "imatrix: a name of 4294967295 bytes: 1 to 1024 are allowed");
    CHECK(malformed(legacy(1, {legacy_entry("a\0b"sv, 1, {1})})) == "a\0b: imatrix: #0 has a zero byte in its name"sv);
    CHECK(malformed(legacy(1, {legacy_entry("w", negative, {1})})) ==
          "w: imatrix: a count of 4294967295: 0 to 2147483647 are allowed");
    CHECK(malformed(legacy(1, {legacy_entry("w", 1, {})}).u32(0)) ==
          "w: imatrix: 0 values: 1 to 2147483647 are allowed");
    const auto values = [&](std::uint32_t n) { return legacy(1, {file_bytes().u32(1).raw("w").u32(1).u32(n).u32(0)}); };
    CHECK(malformed(values(negative)) == "w: imatrix: 4294967295 values: 1 to 2147483647 are allowed");
    CHECK(malformed(values(0x80000000)) == "w: imatrix: 2147483648 values: 1 to 2147483647 are allowed");
    // 4 n wraps in 32 bits.
    CHECK(truncated(values(0x40000000)) == "w: imatrix: at least 4294967313 bytes are needed, 21 are there");
    CHECK(malformed(legacy(2, {legacy_entry("w", 1, {1}), legacy_entry("w", 1, {1})})) ==
          "w: imatrix: #0 and #1 have the same name");
    CHECK(malformed(file_bytes(two).u32(negative)) == "imatrix: 4294967295 chunks: 0 to 2147483647 are allowed");
    CHECK(malformed(file_bytes(two).u32(1).u32(negative)) ==
          "imatrix: a data set's name of 4294967295 bytes: 0 to 2147483647 are allowed");
    CHECK(malformed(file_bytes(two).u32(1).u32(1).raw("ab")) == "imatrix: 1 bytes behind the end");
}

TEST_CASE("imatrix_file: a file cut at any byte fails cleanly") {
    const file_bytes newer = sample(), older = file_bytes(two).u32(9).u32(5).raw("a.txt");
    const auto cut = [](const file_bytes& f, std::size_t size) {
        const std::vector<std::byte> part(f.bytes.begin(),
                                          f.bytes.begin() + static_cast<std::ptrdiff_t>(size));  // its end is guarded
        return imatrix_file::parse(part);
    };
    for (std::size_t size = 0; size < newer.bytes.size(); ++size) {
        const auto file = cut(newer, size);
        CHECK(file.has_value() == (size >= newer.bytes.size() - 24));  // the padding may be missing
        if (!file) CHECK(file.error().code == errc::truncated);
    }
    for (std::size_t size = 0; size < older.bytes.size(); ++size) {
        const auto file = cut(older, size);
        // Trailers of older files.
        CHECK(file.has_value() == (size == two.bytes.size() || size == two.bytes.size() + 4));
        if (!file) CHECK(file.error().code == errc::truncated);
    }
}

TEST_CASE("imatrix_file: random damage never leads outside of the file") {
    std::uint64_t state = 42;
    const auto next = [&](std::uint64_t below) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::size_t>((state >> 33) % below);
    };
    std::size_t parsed = 0, numbers = 0;
    for (int round = 0; round < 6000; ++round) {
        std::vector<std::byte> damaged = (round % 2 != 0 ? sample() : two).bytes;
        for (std::size_t flips = 1 + next(3); flips-- != 0;)
            damaged[next(damaged.size())] ^= static_cast<std::byte>(1u << next(8));
        const auto file = imatrix_file::parse(damaged);
        if (!file) continue;
        ++parsed;
        for (const imatrix_entry& e : file->entries()) {
            CHECK(e.importance.size() == e.cols * e.matrices);
            CHECK(e.counts.size() == e.matrices);
            for (const float v : e.importance) numbers += v >= 0 && v < std::numeric_limits<float>::infinity();
            numbers += file->find(e.name) == &e;
        }
    }
    CHECK(parsed > 500);
    CHECK(numbers > parsed);
}
