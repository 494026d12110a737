// A program of one format, which decodes and multiplies, and has compiled nothing else.
#include <cstdio>
#include <qlib/instantiate.hpp>
QLIB_INSTANTIATE_ONLY(operations::decode | operations::multiply, q8_0)

namespace {

/// Whether an operation was left out, and says so.
template <class Result> bool left_out(const Result& r) {
    if (r) return false;
    char text[200];
    const auto sentence = r.error().format(text);
    return r.error().code == qlib::errc::unsupported && sentence.find("was not instantiated") != sentence.npos;
}

}  // namespace

int main() {
    constexpr auto q8_0 = qlib::format_id::q8_0;
    std::byte bytes[34] = {};
    bytes[1] = std::byte{0x3C};  // the scale: 1
    bytes[2] = std::byte{3};     // the first code
    float weights[32] = {}, x[32] = {2}, y = 0;
    const qlib::any_view w{q8_0, bytes, 1, 32};
    const bool works = qlib::dequantize(w, {weights, 1, 32}) && weights[0] == 3 && weights[1] == 0 &&
                       qlib::qgemm({&y, 1, 1}, {x, 1, 32}, w, {.mode = qlib::compute::exact}) && y == 6 &&
                       *qlib::wire_size(q8_0, 1, 32) == 34;
    const auto h = qlib::hessian::make(32);
    const bool lacks = left_out(qlib::quantize_into(q8_0, {weights, 1, 32}, bytes)) &&
                       left_out(qlib::gptq_scratch_bytes(q8_0, 1, 32)) &&
                       left_out(qlib::gptq(q8_0, {weights, 1, 32}, *h, bytes)) &&
                       left_out(qlib::wire_size(qlib::format_id::q4_0, 1, 32));
    std::printf("works: %d, lacks the rest: %d\n", works, lacks);
    return works && lacks ? 0 : 1;
}
