// Quantized data: any bit pattern decodes and multiplies without reading outside of its bytes, and decodes to the
// same bits in every room. Input: number of the format, rows, columns, tokens, options; then the bits of weights
// and activations, repeated as often as needed.
#include "fuzz.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/formats.hpp>
#include <qlib/qgemm.hpp>

#include <cstring>
#include <vector>

using namespace qlib;

namespace {

struct request {
    std::size_t rows, cols, tokens;
    bool exact;
    isa room;
    std::span<const std::byte> bits;
};

/// n elements with the given bits, over and over; on the heap, so that their end is guarded.
template <class T> std::vector<T> filled(std::size_t n, std::span<const std::byte> bits) {
    std::vector<T> v(n);
    const std::size_t bytes = n * sizeof(T);
    for (std::size_t at = 0; at < bytes && !bits.empty(); at += bits.size())
        std::memcpy(reinterpret_cast<std::byte*>(v.data()) + at, bits.data(),
                    bits.size() < bytes - at ? bits.size() : bytes - at);
    return v;
}

template <block_format F> status run(const request& r) {
    const std::size_t cols = has_ragged_rows<F> ? r.cols : (r.cols / block_size<F> + 1) * block_size<F>;
    const std::vector<std::byte> bytes = filled<std::byte>(wire_size<F>(r.rows, cols), r.bits);
    const auto q = qview<F>::over(bytes, r.rows, cols);
    require(q.has_value());
    std::vector<float> out(r.rows * cols), portable(r.rows * cols);
    require(dequantize<F>(*q, {out.data(), r.rows, cols}, {.room = r.room}).ok());
    require(dequantize<F>(*q, {portable.data(), r.rows, cols}, {.room = isa::portable}).ok());
    require(out.empty() || std::memcmp(out.data(), portable.data(), out.size() * sizeof(float)) == 0);

    const std::vector<float> x = filled<float>(r.tokens * cols, r.bits);
    std::vector<float> y(r.tokens * r.rows);
    const gemm_options options{.mode = r.exact ? compute::exact : compute::automatic};
    const status s = qgemm<F>({y.data(), r.tokens, r.rows}, matrix_view<const float>{x.data(), r.tokens, cols}, *q,
                              options, {.room = r.room});
    require(s.ok() || s.error().code == errc::unsliceable || s.error().code == errc::ragged);
    return s;
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    if (bytes.size() < 5) return;
    const auto number = [&](std::size_t i) { return static_cast<std::size_t>(bytes[i]); };
    const isa wanted = built_rooms[number(4) / 2 % built_rooms.size()],
              room = has_room(wanted) ? wanted : isa::portable;
    const request r{number(1) % 6, number(2) * 3, number(3) % 6, (number(4) & 1) != 0, room, bytes.subspan(5)};
    static_cast<void>(visit(all_format_ids[number(0) % all_format_ids.size()],
                            [&]<block_format F>() -> status { return run<F>(r); }));
}
