#pragma once
// The decoder's driver: rows of any format to rows of numbers. What it does not know
// of format and room it asks of decoder_kernels.
#include "../core/floats_view.hpp"
#include "../core/parallel.hpp"
#include "../room/isa.hpp"
#include "decode_block.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// A format in one room.
struct decoder_kernels {
    isa room;
    const char *path, *why;  ///< how codes are taken in, as in call_report
    /// Blocks [first, end) of wire row r of a qview, `cols` weights long, to consecutive floats.
    void (*decode)(const void* q, std::size_t r, std::size_t first, std::size_t end, std::size_t cols,
                   float* out) noexcept;
    /// The same to f16 and to bf16, where the room has a way of its own; else null.
    void (*decode_f16)(const void* q, std::size_t r, std::size_t first, std::size_t end, std::size_t cols,
                       f16* out) noexcept;
    void (*decode_bf16)(const void* q, std::size_t r, std::size_t first, std::size_t end, std::size_t cols,
                        bf16* out) noexcept;
    /// n floats, or numbers that are of `type` already, to elements; past the caches where `streamed`.
    void (*put)(const void* x, bool made, std::size_t n, void* out, element type, bool streamed) noexcept;
    void (*end_stream)() noexcept;
};

/// use(memory) of an object that somebody else knows.
struct space_user {
    void* object;
    void (*use)(void* object, std::byte* space) noexcept;
};

/// A quantized matrix of whatever format.
struct decode_job {
    const void* q;  ///< a qview<F>
    std::size_t rows, cols, block;
    bool by_rows;  ///< blocks stay inside rows
    const decoder_kernels& (*in_room)(isa room) noexcept;
    /// Calls it with the memory that a task wants, which the format's block decides.
    void (*with_space)(space_user user) noexcept;
};

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Bytes of output from which a call writes past the caches, which would not keep
/// them: else each line is read before it is written.
inline constexpr std::size_t streamed_from = std::size_t{8} << 20;

/// Bytes of output that are made at a time when they go past the caches: so few that a core
/// decodes the next ones while memory takes these.
inline constexpr std::size_t decoded_piece = 1024, cache_line = 64;
/// decode_job::with_space for blocks of so many weights: a line that is held back and a piece, as floats.
template <std::size_t Block> void with_decoding_space(space_user user) noexcept {
    alignas(cache_line) std::byte space[(cache_line + decoded_piece / 2 + Block) * sizeof(float)];
    user.use(user.object, space);
}

/// Decodes a wire row of `cols` weights to out[0] on.
inline void decode_row(const decode_job& job, const decoder_kernels& k, std::size_t r, std::size_t cols, void* out,
                       element type, bool streamed, std::byte* space) noexcept {
    const std::size_t blocks = divide_up(cols, job.block);
    const bool halves = (type == element::float16 && k.decode_f16 != nullptr) ||
                        (type == element::bfloat16 && k.decode_bf16 != nullptr);
    const bool made = halves || type == element::float32;
    const auto decode = [&](std::size_t first, std::size_t end, void* to) {
        if (!halves) k.decode(job.q, r, first, end, cols, static_cast<float*>(to));
        else if (type == element::float16) k.decode_f16(job.q, r, first, end, cols, static_cast<f16*>(to));
        else k.decode_bf16(job.q, r, first, end, cols, static_cast<bf16*>(to));
    };
    if (made && !streamed) return decode(0, blocks, out);
    const std::size_t size = element_bytes(type), made_size = made ? size : sizeof(float),
                      piece = divide_up(decoded_piece / size, job.block);
    std::byte* const x = space + cache_line * made_size;
    auto* to = static_cast<std::byte*>(out);
    for (std::size_t b = 0, held = 0; b < blocks; b += piece) {
        const std::size_t last = smaller_size(b + piece, blocks),
                          fresh = smaller_size(last * job.block, cols) - b * job.block, n = held + fresh;
        decode(b, last, x);
        // A line of which only a part is written makes all later stores wait until it is read.
        const std::size_t rest =
            streamed && last != blocks ? (reinterpret_cast<std::uintptr_t>(to + n * size) % cache_line) / size : 0;
        const std::size_t now = n - smaller_size(rest, n);
        k.put(x - held * made_size, made, now, to, type, streamed);
        std::memmove(x - (n - now) * made_size, x + fresh * made_size - (n - now) * made_size, (n - now) * made_size);
        held = n - now;
        to += now * size;
    }
}

/// Decodes blocks [first, first + count) of a matrix whose blocks run over row ends.
inline void decode_flat(const decode_job& job, const decoder_kernels& k, floats_span out, std::size_t first,
                        std::size_t count, bool streamed, std::byte* space) noexcept {
    const std::size_t total = job.rows * job.cols;
    auto* const x = reinterpret_cast<float*>(space);
    for (std::size_t b = first; b < first + count; ++b) {
        k.decode(job.q, 0, b, b + 1, total, x);
        for (std::size_t e = b * job.block, end = smaller_size(total, e + job.block), done = 0; e < end;) {
            const std::size_t n = smaller_size(end - e, job.cols - e % job.cols);
            k.put(x + done, out.type == element::float32, n, out.at(e / job.cols, e % job.cols), out.type, streamed);
            e += n;
            done += n;
        }
    }
}

/// Runs a decoder of `bytes` bytes in the call's room: decode(kernels, first, count, streamed, space) for all pieces.
template <class Decode>
status decode_in_room(const decode_job& job, std::size_t pieces, std::size_t bytes, const call& how,
                      const Decode& decode) noexcept {
    if (const status s = check_room(how.room); !s) return s;
    const decoder_kernels& k = job.in_room(how.room);
    if (how.report != nullptr) *how.report = {k.room, "", k.path, k.why};
    if (pieces == 0) return {};
    const bool streamed = bytes >= streamed_from;
    const std::size_t step = divide_up(pieces, saturating_multiply(how.run.workers(), 8));
    return for_each_task(how, divide_up(pieces, step), [&](std::size_t i, std::size_t) -> status {
        auto run = [&](std::byte* space) {
            decode(k, i * step, smaller_size(step, pieces - i * step), streamed, space);
            if (streamed) k.end_stream();
        };
        job.with_space(
            {&run, [](void* object, std::byte* space) noexcept { (*static_cast<decltype(run)*>(object))(space); }});
        return {};
    });
}

inline status dequantize_to(const decode_job& job, floats_span out, const call& how) noexcept {
    if (out.rows != job.rows || out.cols != job.cols)
        return error{
            errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "out", {job.rows, job.cols, out.rows, out.cols}};
    if (const status s = check_view(out, "out"); !s) return s;
    const std::size_t pieces = job.cols == 0 ? 0 : job.by_rows ? job.rows : divide_up(job.rows * job.cols, job.block);
    const std::size_t bytes = out.rows * out.cols * element_bytes(out.type);
    return decode_in_room(
        job, pieces, bytes, how,
        [&](const decoder_kernels& k, std::size_t first, std::size_t count, bool streamed, std::byte* space) {
            if (!job.by_rows) return decode_flat(job, k, out, first, count, streamed, space);
            for (std::size_t r = first; r < first + count; ++r)
                decode_row(job, k, r, job.cols, out.at(r, 0), out.type, streamed, space);
        });
}

inline status dequantize_rows_to(const decode_job& job, std::span<const std::uint32_t> ids, floats_span out,
                                 const call& how) noexcept {
    if (out.rows != ids.size() || out.cols != job.cols)
        return error{errc::shape,
                     "{0} rows of {1} weights into a {2} x {3} matrix",
                     "out",
                     {ids.size(), job.cols, out.rows, out.cols}};
    if (const status s = check_view(out, "out"); !s) return s;
    if (!job.by_rows)
        return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "q", {job.block, job.cols}};
    for (std::size_t i = 0; i < ids.size(); ++i)
        if (ids[i] >= job.rows) return error{errc::shape, "id {0} is {1}, of {2} rows", "ids", {i, ids[i], job.rows}};
    const std::size_t bytes = out.rows * out.cols * element_bytes(out.type);
    return decode_in_room(
        job, job.cols == 0 ? 0 : ids.size(), bytes, how,
        [&](const decoder_kernels& k, std::size_t first, std::size_t count, bool streamed, std::byte* space) {
            for (std::size_t i = first; i < first + count; ++i)
                decode_row(job, k, ids[i], job.cols, out.at(i, 0), out.type, streamed, space);
        });
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
