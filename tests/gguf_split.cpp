#include <qlib/file/gguf_split.hpp>

#include "support/gguf_bytes.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace qlib;
using gguf_test::file_bytes;

namespace {

/// A part with tensors of the given names.
file_bytes part(std::uint16_t no, std::uint16_t count, std::uint32_t tensors, std::vector<std::string> names) {
    file_bytes f;
    f.header(names.size(), 3).key("split.no", 2).number(no, 2).key("split.count", 2).number(count, 2);
    f.key("split.tensors.count", 5).u32(tensors);
    for (std::size_t i = 0; i < names.size(); ++i) f.tensor(names[i], {1}, 24, 32 * i);
    f.pad(32).bytes.resize(f.bytes.size() + 32 * names.size());
    return f;
}
gguf_file parsed(const file_bytes& f) {
    auto file = gguf_file::parse(f);
    REQUIRE(file);
    return std::move(*file);
}
std::string message(const error& e) {
    char text[200];
    return std::string(e.format(text));
}
std::string check(std::initializer_list<file_bytes> parts) {
    std::vector<gguf_file> files;
    std::vector<const gguf_file*> pointers;
    for (const file_bytes& f : parts) files.push_back(parsed(f));
    for (const gguf_file& f : files) pointers.push_back(&f);
    const status s = check_gguf_parts(pointers);
    return s ? "" : message(s.error());
}

}  // namespace

TEST_CASE("gguf_part_of: reads the split keys, whatever integers they are") {
    const auto p = gguf_part_of(parsed(part(1, 3, 7, {"a", "b"})));
    REQUIRE(p);
    CHECK((p->index == 1 && p->count == 3 && p->tensors == 7));
    const auto whole = gguf_part_of(parsed(gguf_test::sample()));
    REQUIRE(whole);
    CHECK((whole->index == 0 && whole->count == 1 && whole->tensors == 2));
    file_bytes other;
    other.header(0, 3).key("split.no", 10).u64(0).key("split.count", 4).u32(2).key("split.tensors.count", 10).u64(5);
    CHECK(gguf_part_of(parsed(other))->count == 2);

    const auto refused = [](const file_bytes& f) { return message(gguf_part_of(parsed(f)).error()); };
    file_bytes missing, text, negative;
    CHECK(refused(missing.header(0, 1).key("split.no", 2).number(0, 2)) == "split.count: the key is missing");
    CHECK(refused(text.header(0, 1).key("split.count", 8).text("3")) ==
          "split.count: value type 8 where an integer is needed");
    CHECK(refused(negative.header(0, 1).key("split.count", 3).number(0xFFFF, 2)) ==
          "split.count: a negative number where none is allowed");
    CHECK(refused(part(0, 0, 1, {"a"})) == "split.count: 0, it must be from 1 to 65535");
    CHECK(refused(part(3, 3, 1, {"a"})) == "split.no: 3, it must be from 0 to 2");
    CHECK(refused(part(0, 3, 1, {"a", "b"})) == "split.tensors.count: 1, it must be from 2 to 2147483647");
}

TEST_CASE("check_gguf_parts: all parts, in order, of one model") {
    CHECK(check({part(0, 1, 1, {"a"})}) == "");
    CHECK(check({gguf_test::sample()}) == "");
    CHECK(check({part(0, 3, 3, {}), part(1, 3, 3, {"b", "a"}), part(2, 3, 3, {"c"})}) == "");
    CHECK(check({part(0, 2, 3, {"a"}), part(1, 2, 3, {"b"})}) == "split.tensors.count: the parts have 2 tensors of 3");
    CHECK(check({part(0, 3, 2, {"a"}), part(1, 3, 2, {"b"})}) == "split.count: part 0 is one of 3 parts, 2 are given");
    CHECK(check({part(1, 2, 2, {"a"}), part(0, 2, 2, {"b"})}) == "split.no: part 0 has the number 1");
    CHECK(check({part(0, 2, 2, {"a"}), part(0, 2, 2, {"b"})}) == "split.no: part 1 has the number 0");
    CHECK(check({part(0, 2, 2, {"a"}), part(1, 2, 3, {"b"})}) ==
          "split.tensors.count: part 1 is of a model of 3 tensors, the first of one of 2");
    CHECK(check({part(0, 2, 2, {"a"}), gguf_test::sample()}) == "split.count: part 1 is one of 1 parts, 2 are given");
    CHECK(check({part(0, 3, 5, {"x", "a"}), part(1, 3, 5, {"b"}), part(2, 3, 5, {"c", "a"})}) ==
          "gguf parts: parts 0 and 2 both have one of its tensors");
}

TEST_CASE("gguf_part_name: names parts as llama-gguf-split does, and finds the prefix again") {
    char buffer[100];
    CHECK(gguf_part_name(buffer, "models/big", {0, 3}).value() == "models/big-00001-of-00003.gguf");
    CHECK(gguf_part_name(buffer, "", {65534, 65535}).value() == "-65535-of-65535.gguf");
    CHECK(gguf_part_name(buffer, "x", {3, 3}).error().code == errc::argument);
    CHECK(gguf_part_name(buffer, "x", {0, 0}).error().code == errc::argument);
    CHECK(gguf_part_name(buffer, "x", {0, 65536}).error().code == errc::argument);
    CHECK(gguf_part_name(std::span(buffer).first(21), "x", {0, 1}).value() == "x-00001-of-00001.gguf");
    CHECK(gguf_part_name(std::span(buffer).first(20), "x", {0, 1}).error().code == errc::shape);
    CHECK(gguf_part_name({}, "x", {0, 1}).error().code == errc::shape);

    CHECK(gguf_part_prefix("models/big-00001-of-00003.gguf", {0, 3}).value() == "models/big");
    CHECK(gguf_part_prefix("-00001-of-00003.gguf", {0, 3}).value() == "");
    for (const char* name : {"big-00002-of-00003.gguf", "big-00001-of-00004.gguf", "big.gguf", "", "big-1-of-3.gguf"})
        CHECK(message(gguf_part_prefix(name, {0, 3}).error()) ==
              "name: a name that does not end as that of part 0 of 3 must");
}
