#include <qlib/file/ggml_types.hpp>

#include <doctest/doctest.h>

using namespace qlib;

TEST_CASE("ggml_type_info: names and block sizes of ggml's types") {
    struct row {
        std::uint32_t id;
        const char* name;
        std::uint32_t elements, bytes;
    };
    // Printed by a program linked with ggml.
    constexpr row types[] = {
        {0, "f32", 1, 4},         {1, "f16", 1, 2},         {2, "q4_0", 32, 18},      {3, "q4_1", 32, 20},
        {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},      {8, "q8_0", 32, 34},      {9, "q8_1", 32, 36},
        {10, "q2_K", 256, 84},    {11, "q3_K", 256, 110},   {12, "q4_K", 256, 144},   {13, "q5_K", 256, 176},
        {14, "q6_K", 256, 210},   {15, "q8_K", 256, 292},   {16, "iq2_xxs", 256, 66}, {17, "iq2_xs", 256, 74},
        {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},   {20, "iq4_nl", 32, 18},   {21, "iq3_s", 256, 110},
        {22, "iq2_s", 256, 82},   {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},         {25, "i16", 1, 2},
        {26, "i32", 1, 4},        {27, "i64", 1, 8},        {28, "f64", 1, 8},        {29, "iq1_m", 256, 56},
        {30, "bf16", 1, 2},       {34, "tq1_0", 256, 54},   {35, "tq2_0", 256, 66},   {39, "mxfp4", 32, 17},
        {40, "nvfp4", 64, 36},    {41, "q1_0", 128, 18},    {42, "q2_0", 64, 18}};
    std::uint32_t id = 0;
    for (const row& r : types) {
        for (; id < r.id; ++id) CHECK(ggml_type_info(id).error().code == errc::unsupported);  // removed
        const auto type = ggml_type_info(id++);
        REQUIRE(type);
        CHECK((type->name == r.name && type->elements == r.elements && type->bytes == r.bytes));
    }
    for (; id < 500; ++id) CHECK_FALSE(ggml_type_info(id));
}

TEST_CASE("ggml_type_info: says why a type is not there") {
    char text[100];
    CHECK(ggml_type_info(4).error().format(text) == "tensor type: type 4 was removed from ggml");
    CHECK(ggml_type_info(139).error().format(text) ==
          "tensor type: type 139 exists only in ik_llama.cpp, a fork of ggml");
    CHECK(ggml_type_info(142).error().format(text) ==
          "tensor type: type 142 is unknown: ggml's types have the numbers 0 to 42");
}
