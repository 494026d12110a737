#include <qlib/core/matrix_view.hpp>

#include <doctest/doctest.h>

#include <type_traits>

using namespace qlib;

namespace {
constexpr float numbers[] = {0, 1, 2, -1, 10, 11, 12, -1, 20, 21, 22, -1};
constexpr matrix_view<const float> padded{numbers, 3, 3, 4};
}  // namespace

static_assert(padded(0, 0) == 0 && padded(1, 2) == 12 && padded(2, 1) == 21);
static_assert(padded.row(2) == numbers + 8 && padded.row(2)[0] == 20);
static_assert(padded.row_range(1, 2).rows == 2 && padded.row_range(1, 2).cols == 3 &&
              padded.row_range(1, 2)(1, 1) == 21);
static_assert(matrix_view<const float>{numbers, 2, 6}.stride == 6 &&
              matrix_view<const float>{numbers, 2, 6}(1, 0) == 12);
static_assert(matrix_view<float>{}.data == nullptr && matrix_view<float>{}.rows == 0 &&
              matrix_view<float>{}.stride == 0);
static_assert(std::is_convertible_v<matrix_view<float>, matrix_view<const float>>);
static_assert(!std::is_convertible_v<matrix_view<const float>, matrix_view<float>>);

TEST_CASE("matrix_view: writes go to the rows of foreign memory, and the gap between rows stays") {
    float data[] = {1, 2, -1, 3, 4, -1};
    const matrix_view m{data, 2, 2, 3};  // deduced: matrix_view<float>
    m(1, 0) = 7;
    m.row(0)[1] = 8;
    m.row_range(1, 1)(0, 1) = 9;
    const float want[] = {1, 8, -1, 7, 9, -1};
    for (int i = 0; i < 6; ++i) CHECK(data[i] == want[i]);

    const matrix_view<const float> read = m;
    CHECK(read.data == data);
    CHECK(read.stride == 3);
    CHECK(read(1, 1) == 9);
    CHECK(matrix_view{data, 3, 2}.stride == 2);
}
