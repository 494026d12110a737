#include <qlib/file/safetensors_index.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace qlib;

namespace {

std::string refusal(std::string_view text, errc code = errc::malformed) {
    std::string_view culprit = "not set";
    const auto parsed = safetensors_index::parse(text, &culprit);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == code);
    char room[200];
    return std::string(parsed.error().format(room, culprit));
}
std::string mapped_to(std::string_view file) { return R"({"weight_map":{"t":")" + std::string(file) + R"("}})"; }

constexpr std::string_view sample = R"({
  "metadata": {
    "total_size": 67000000000
  },
  "weight_map": {
    "lm_head.weight": "model-00002-of-00002.safetensors",
    "model.embed.weight": "model-00001-of-00002.safetensors",
    "model.n\u006frm.weight": "model-0000\u0032-of-00002.safetensors"
  }
}
)";

}  // namespace

TEST_CASE("safetensors_index: says which file holds which tensor") {
    const auto index = safetensors_index::parse(sample);
    REQUIRE(index);
    CHECK(index->tensors().size() == 3);
    CHECK(index->tensors()[0].tensor == "lm_head.weight");
    CHECK(index->find("model.embed.weight") == "model-00001-of-00002.safetensors");
    CHECK(index->find("model.norm.weight") == "model-00002-of-00002.safetensors");
    CHECK(index->find("model.norm").empty());
    REQUIRE(index->files().size() == 2);
    CHECK(index->files()[0] == "model-00001-of-00002.safetensors");
    CHECK(index->files()[1] == "model-00002-of-00002.safetensors");
    CHECK(index->total_size().value() == 67000000000u);
    CHECK(safetensors_index::parse(R"({"weight_map":{}})")->files().empty());
    CHECK_FALSE(safetensors_index::parse(R"({"weight_map":{}})")->total_size());
    CHECK_FALSE(safetensors_index::parse(R"({"weight_map":{},"metadata":{"total_size":1.5}})")->total_size());
}

TEST_CASE("safetensors_index: files outside of the folder are refused") {
    for (const char* name : {"", ".", "..", "../model.safetensors", "/etc/passwd", "a/b", "..\\\\b", "C:x", "a\\u0000b",
                             "a\\n", "a\\u007f"})
        CHECK(refusal(mapped_to(name)) == "t: weight_map: the file is not one of the same folder");
    CHECK(refusal(mapped_to("\\u002e\\u002e\\u002fx")) == "t: weight_map: the file is not one of the same folder");
    CHECK(refusal(mapped_to(std::string(256, 'x'))) == "t: weight_map: the file is not one of the same folder");
    CHECK(safetensors_index::parse(mapped_to("..x"))->find("t") == "..x");
    CHECK(refusal(R"({"weight_map":{"t":1}})") == "t: weight_map: the name of a file is needed");
    CHECK(refusal(R"({"weight_map":["t"]})") == "weight_map: a map from tensors to files is needed");
    CHECK(refusal("{}") == "weight_map: a map from tensors to files is needed");
    CHECK(refusal(R"({"weight_map":{"t":"a","t":"b"}})") == "t: index: a key that was there before, at byte 23");
    CHECK(refusal("[", errc::truncated) != "");
}

TEST_CASE("safetensors_index: a text cut anywhere fails cleanly") {
    for (std::size_t n = 0; n + 2 < sample.size(); ++n) {
        const std::vector<char> part(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(n));
        CHECK(refusal({part.data(), n}, errc::truncated) != "");
    }
}

TEST_CASE("write_safetensors_index: sorted, and read back") {
    const safetensors_location tensors[] = {{"b", "model-00002-of-00002.safetensors"},
                                            {"a\"", "model-00001-of-00002.safetensors"}};
    const std::string want =
        R"({"metadata":{"total_size":12},"weight_map":{"a\"":"model-00001-of-00002.safetensors",)"
        R"("b":"model-00002-of-00002.safetensors"}})";
    CHECK(write_safetensors_index(tensors, 12, {}).value() == want.size());
    std::string text(want.size(), ' ');
    REQUIRE(write_safetensors_index(tensors, 12, text));
    CHECK(text == want);
    const auto index = safetensors_index::parse(text);
    REQUIRE(index);
    CHECK(index->find("a\"") == tensors[1].file);
    char room[200];
    const safetensors_location bad_file[] = {{"a", "x"}, {"b", "../x"}}, bad_name[] = {{"\xFF", "x"}},
                               twice[] = {{"a", "x"}, {"b", "x"}, {"a", "y"}};
    CHECK(write_safetensors_index(bad_file, 0, {}).error().format(room) == "index: #1 has no plain file name");
    CHECK(write_safetensors_index(bad_name, 0, {}).error().format(room) == "index: #0 has a name that is not UTF-8");
    CHECK(write_safetensors_index(twice, 0, {}).error().format(room) == "index: #2 has a name that was there before");
}

TEST_CASE("shard_name: as transformers counts") {
    char room[48];
    CHECK(shard_name(1, 1, room) == "model.safetensors");
    CHECK(shard_name(2, 3, room) == "model-00002-of-00003.safetensors");
    CHECK(shard_name(123456, 1234567, room) == "model-123456-of-1234567.safetensors");
    CHECK(shard_name(2, 3, std::span(room).first(7)) == "model-0");
    CHECK(is_plain_file_name(shard_name(2, 3, room)));
}
