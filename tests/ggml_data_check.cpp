#include <qlib/file/ggml_data_check.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace qlib;

namespace {

std::string message(const status& s) {
    char text[200];
    return s ? std::string() : std::string(s.error().format(text));
}

/// Every pair of bytes of a block of zeros that, set to the f16 infinity 7C00, is refused, as offsets.
std::vector<std::size_t> f16_offsets(std::uint32_t type, std::size_t bytes) {
    std::vector<std::size_t> found;
    for (std::size_t at = 0; at + 1 < bytes; ++at) {
        std::vector<std::byte> block(bytes);
        block[at + 1] = std::byte{0x7C};
        if (!check_ggml_data(type, block)) found.push_back(at);
    }
    return found;
}

}  // namespace

TEST_CASE("check_ggml_data: knows where each format keeps its scales") {
    struct layout { std::uint32_t type; std::size_t bytes; std::vector<std::size_t> offsets; };
    const layout layouts[] = {
        {2, 18, {0}},       {3, 20, {0, 2}},   {6, 22, {0}},    {7, 24, {0, 2}},  {8, 34, {0}},   {9, 36, {0, 2}},
        {10, 84, {80, 82}}, {11, 110, {108}},  {12, 144, {0, 2}}, {13, 176, {0, 2}}, {14, 210, {208}}, {16, 66, {0}},
        {17, 74, {0}},      {18, 98, {0}},     {19, 50, {0}},   {20, 18, {0}},    {21, 110, {0}}, {22, 82, {0}},
        {23, 136, {0}},     {34, 54, {52}},    {35, 66, {64}},  {40, 36, {}},     {41, 18, {0}},  {42, 18, {0}},
        {24, 1, {}},        {25, 2, {}},       {26, 4, {}},     {27, 8, {}},
    };
    for (const layout& l : layouts) {
        CAPTURE(l.type);
        REQUIRE(ggml_type_info(l.type)->bytes == l.bytes);
        CHECK(f16_offsets(l.type, l.bytes) == l.offsets);
        std::vector<std::byte> block(l.bytes, std::byte{0x7B});  // the largest f16s are finite
        CHECK(check_ggml_data(l.type, block));
        for (const std::size_t at : l.offsets)
            for (const unsigned top : {0x7Cu, 0x7Eu, 0xFCu, 0xFFu}) {
                std::vector<std::byte> bad(l.bytes);
                bad[at + 1] = static_cast<std::byte>(top);
                CHECK_FALSE(check_ggml_data(l.type, bad));
            }
    }
}

TEST_CASE("check_ggml_data: plain floats, E8M0 and the scattered scale of IQ1_M") {
    const auto with = [](std::size_t size, std::initializer_list<std::pair<std::size_t, unsigned>> bytes) {
        std::vector<std::byte> data(size);
        for (const auto& [at, value] : bytes) data[at] = static_cast<std::byte>(value);
        return data;
    };
    CHECK(message(check_ggml_data(0, with(12, {{6, 0x80}, {7, 0x7F}}))) == "tensor data: element 1 is not finite");
    CHECK(check_ggml_data(0, with(12, {{6, 0x7F}, {7, 0x7F}, {5, 0xFF}})));
    CHECK(message(check_ggml_data(1, with(6, {{5, 0xFC}}))) == "tensor data: element 2 is not finite");
    CHECK(message(check_ggml_data(30, with(6, {{0, 0x80}, {1, 0xFF}}))) == "tensor data: element 0 is not finite");
    CHECK(check_ggml_data(30, with(6, {{0, 0x7F}, {1, 0xFF}})));
    CHECK(message(check_ggml_data(28, with(16, {{14, 0xF0}, {15, 0x7F}}))) == "tensor data: element 1 is not finite");
    CHECK(message(check_ggml_data(39, with(34, {{17, 0xFF}}))) ==
          "tensor data: block 1, from element 32 on, has a scale that is not finite");
    CHECK(check_ggml_data(39, with(34, {{17, 0xFE}, {18, 0xFF}})));
    CHECK(message(check_ggml_data(15, with(292, {{2, 0x80}, {3, 0x7F}}))) ==
          "tensor data: block 0, from element 0 on, has a scale that is not finite");
    CHECK(message(check_ggml_data(29, with(112, {{109, 0xC0}, {111, 0x70}}))) ==
          "tensor data: block 1, from element 256 on, has a scale that is not finite");
    CHECK(check_ggml_data(29, with(56, {{53, 0xB0}, {55, 0xF0}, {51, 0xF0}, {49, 0xF0}})));  // 7BFF, negative
}

TEST_CASE("check_ggml_data: refuses unknown types and cut blocks") {
    const std::vector<std::byte> data(17);
    CHECK(check_ggml_data(43, data).error().code == errc::unsupported);
    CHECK(check_ggml_data(4, data).error().code == errc::unsupported);
    CHECK(message(check_ggml_data(2, data)) == "tensor data: 17 bytes are no whole blocks of 18");
    for (std::uint32_t type = 0; type < 43; ++type)
        if (ggml_type_info(type)) CHECK(check_ggml_data(type, {}));
}
