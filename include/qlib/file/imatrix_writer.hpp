#pragma once
// imatrix_writer: writes importance matrices as llama.cpp's llama-imatrix does, for
// its llama-quantize and for imatrix_file.
//
//   qlib::imatrix_writer out;
//   check(out.add("blk.0.ffn_down.weight", sums, counts));                            // borrowed until written
//   check(out.add_dataset("wiki.train.raw"));
//   out.set_chunks(chunks, 512);
//   check(out.set("calibration.sha256", digest));                                     // any metadata more
//   check(out.write_gguf(sink));
#include "../numeric/exact.hpp"
#include "gguf_writer.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// One weight's sums. The numbers are the caller's; the name stands in the draft's `names`.
struct imatrix_sums {
    std::size_t name_at = 0, name_bytes = 0;
    std::span<const float> sums, counts;
};

struct imatrix_draft {
    growing<imatrix_sums> entries;
    growing<char> names;
    growing<std::byte> datasets;  // strings as in a GGUF array
    std::uint64_t dataset_count = 0;
    std::size_t last_dataset = 0;  // where its text begins in `datasets`
    std::uint32_t chunk_count = 0, chunk_size = 0;
    gguf_draft metadata;  // holds pairs only

    [[nodiscard]] QLIB_INLINE std::string_view name_of(const imatrix_sums& e) const noexcept {
        return {names.data() + e.name_at, e.name_bytes};
    }
};

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t imatrix_suffix_bytes = 8;  // of ".in_sum2"

[[nodiscard]] inline error bad_sums(const char* rule, std::uint64_t a = 0, std::uint64_t b = 0) noexcept {
    return {errc::importance, rule, "imatrix", {a, b}};
}

inline status add_sums(imatrix_draft& draft, std::string_view name, std::span<const float> sums,
                       std::span<const float> counts) noexcept {
    if (status s = check_name(name, gguf_name_limit - imatrix_suffix_bytes, "imatrix", draft.entries.size()); !s)
        return s;
    if (sums.empty() || counts.empty() || sums.size() % counts.size() != 0)
        return bad_sums("{0} sums for {1} matrices", sums.size(), counts.size());
    for (std::size_t m = 0; m < counts.size(); ++m)
        if (!is_finite(counts[m]) || counts[m] < 0) return bad_sums("count {0} is negative or not finite", m);
    const std::size_t cols = sums.size() / counts.size();
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const float count = counts[i / cols];
        if (!is_finite(sums[i]) || sums[i] < 0)
            return bad_sums("value {0} of matrix {1} is negative or not finite", i % cols, i / cols);
        if (count > 0 && !is_finite(sums[i] / count))
            return bad_sums("the mean of value {0} of matrix {1} overflows", i % cols, i / cols);
    }
    imatrix_sums entry;
    entry.name_at = draft.names.size();
    entry.name_bytes = name.size();
    entry.sums = sums;
    entry.counts = counts;
    if (!draft.names.append(std::span(name.data(), name.size()))) return out_of_memory(name.size());
    return draft.entries.append(entry) ? status{} : status(out_of_memory(sizeof entry));
}

inline status add_dataset(imatrix_draft& draft, std::string_view name) noexcept {
    const std::size_t at = draft.datasets.size();
    if (!put_text(draft.datasets, name)) {
        draft.datasets.cut(at);
        return out_of_memory(8 + name.size());
    }
    draft.last_dataset = at + 8;
    ++draft.dataset_count;
    return {};
}

/// The entries by name, as llama-imatrix writes them.
inline status order_sums(const imatrix_draft& draft, buffer<std::size_t>& order) noexcept {
    const auto name_of = [&](std::size_t i) { return draft.name_of(draft.entries[i]); };
    if (draft.entries.size() == 0) return error{errc::argument, "no entries", "imatrix", {}};
    if (!sort_names(order, draft.entries.size(), name_of))
        return out_of_memory(draft.entries.size() * sizeof(std::size_t));
    const std::size_t p = find_duplicate(order, name_of);
    if (p == order.size()) return {};
    return error{errc::argument, "#{0} and #{1} have the same name", "imatrix", {order[p], order[p + 1]}};
}

/// Sends value(0) .. value(count - 1) as little-endian floats, in pieces: send(bytes).
template <class Value, class Send>
status send_floats(std::size_t count, const Value& value, const Send& send) noexcept {
    std::byte piece[1024];
    for (std::size_t i = 0; i < count;) {
        std::size_t used = 0;
        for (; i < count && used < sizeof piece; ++i, used += 4) store_little(piece + used, bits_of(value(i)), 4);
        if (status s = send(std::span<const std::byte>(piece, used)); !s) return s;
    }
    return {};
}

inline status plan_imatrix(const imatrix_draft& draft, gguf_draft& file) noexcept {
    const gguf_value datasets{gguf_type::array, gguf_type::string, draft.dataset_count, draft.datasets.view()};
    if (!file.text.append(draft.metadata.text.view()) || !file.sets.append(draft.metadata.sets.view()))
        return out_of_memory(draft.metadata.text.size());
    if (status s = set_one(file, "general.type", gguf_type::string, std::string_view("imatrix")); !s) return s;
    if (status s = copy_pair(file, "imatrix.datasets", datasets); !s) return s;
    if (status s = set_one(file, "imatrix.chunk_count", gguf_type::u32, draft.chunk_count); !s) return s;
    return set_one(file, "imatrix.chunk_size", gguf_type::u32, draft.chunk_size);
}

inline status write_imatrix_gguf(const imatrix_draft& draft, sink_ref sink) noexcept {
    buffer<std::size_t> order;
    if (status s = order_sums(draft, order); !s) return s;
    gguf_draft file;
    if (status s = plan_imatrix(draft, file); !s) return s;
    constexpr std::string_view suffixes[2] = {".in_sum2", ".counts"};
    // Each entry is two tensors: visit(name, values, number of rows).
    const auto for_each_part = [&](const auto& visit) -> status {
        for (std::size_t p = 0; p < order.size(); ++p) {
            const imatrix_sums& e = draft.entries[order[p]];
            for (std::size_t part = 0; part < 2; ++part) {
                char name[gguf_name_limit];
                std::memcpy(name, draft.names.data() + e.name_at, e.name_bytes);
                std::memcpy(name + e.name_bytes, suffixes[part].data(), suffixes[part].size());
                const std::string_view full(name, e.name_bytes + suffixes[part].size());
                if (status s = visit(full, part == 0 ? e.sums : e.counts, e.counts.size()); !s) return s;
            }
        }
        return {};
    };
    const status planned = for_each_part([&](std::string_view name, std::span<const float> values, std::size_t rows) {
        const std::uint64_t ne[2] = {values.size() / rows, rows};
        return plan_tensor(file, name, 0, std::span(ne).first(rows == 1 ? 1 : 2));  // ggml drops a last dimension of 1
    });
    if (!planned) return planned;
    if (status s = begin_file(file, sink); !s) return s;
    const status written = for_each_part([&](std::string_view name, std::span<const float> values, std::size_t) {
        const auto value = [&](std::size_t i) { return values[i]; };
        return send_floats(values.size(), value,
                           [&](std::span<const std::byte> piece) { return write_piece(file, name, piece); });
    });
    return written ? finish_file(file) : written;
}

/// Chunks that a weight has seen, rounded up; 0: none of its matrices was seen at all. error: overflow.
inline status count_chunks(const imatrix_sums& e, std::uint32_t chunk_size, std::uint32_t& chunks) noexcept {
    float most = 0;
    for (const float count : e.counts) most = larger(most, count);
    const std::uint64_t size = chunk_size != 0 ? chunk_size : 1;
    const std::uint64_t whole = static_cast<std::uint64_t>(smaller(most, 0x1p62f));
    const std::uint64_t tokens = whole + (static_cast<float>(whole) < most);
    const std::uint64_t n = divide_up(tokens, size);
    if (n > 0x7FFFFFFF || e.sums.size() > 0x7FFFFFFF)
        return error{errc::overflow,
                     "{0} chunks and {1} values: the older form counts to 2^31 - 1",
                     "imatrix",
                     {n, e.sums.size()}};
    chunks = static_cast<std::uint32_t>(n);
    return {};
}

/// A value of the older form: the mean of all inputs of a column, times the weight's chunks.
[[nodiscard]] inline float mean_times(float sum, float count, std::uint32_t chunks) noexcept {
    return (count > 0 ? sum / count : 1.0f) * static_cast<float>(chunks);
}

inline status check_legacy(const imatrix_draft& draft, const buffer<std::size_t>& order,
                           std::uint32_t& count) noexcept {
    count = 0;
    for (std::size_t p = 0; p < order.size(); ++p) {
        const imatrix_sums& e = draft.entries[order[p]];
        std::uint32_t chunks = 0;
        if (status s = count_chunks(e, draft.chunk_size, chunks); !s) return s;
        count += chunks != 0;
        const std::size_t cols = e.sums.size() / e.counts.size();
        for (std::size_t i = 0; i < e.sums.size(); ++i)
            if (!is_finite(mean_times(e.sums[i], e.counts[i / cols], chunks)))
                return error{errc::overflow,
                             "value {0} of matrix {1} overflows in the older form",
                             "imatrix",
                             {i % cols, i / cols}};
    }
    if (count == 0) return error{errc::argument, "no entry has seen an input", "imatrix", {}};
    if (draft.dataset_count == 0 || draft.datasets.size() - draft.last_dataset <= 0x7FFFFFFF) return {};
    return error{
        errc::overflow, "a data set's name of {0} bytes", "imatrix", {draft.datasets.size() - draft.last_dataset}};
}

inline status write_imatrix_legacy(const imatrix_draft& draft, sink_ref sink) noexcept {
    buffer<std::size_t> order;
    std::uint32_t count = 0;
    if (status s = order_sums(draft, order); !s) return s;
    if (status s = check_legacy(draft, order, count); !s) return s;
    const auto send = [&](std::span<const std::byte> bytes) -> status {
        if (bytes.empty() || sink(bytes)) return {};
        return error{errc::io, "the sink refused {0} bytes", "imatrix_writer", {bytes.size()}};
    };
    const auto send_number = [&](std::uint64_t n) {
        std::byte raw[4];
        store_little(raw, n, 4);
        return send(raw);
    };
    if (status s = send_number(count); !s) return s;
    for (std::size_t p = 0; p < order.size(); ++p) {
        const imatrix_sums& e = draft.entries[order[p]];
        const std::size_t cols = e.sums.size() / e.counts.size();
        std::uint32_t chunks = 0;
        if (status s = count_chunks(e, draft.chunk_size, chunks); !s) return s;
        if (chunks == 0) continue;
        if (status s = send_number(e.name_bytes); !s) return s;
        if (status s = send(bytes_of(draft.name_of(e))); !s) return s;
        if (status s = send_number(chunks); !s) return s;
        if (status s = send_number(e.sums.size()); !s) return s;
        const auto value = [&](std::size_t i) { return mean_times(e.sums[i], e.counts[i / cols], chunks); };
        if (status s = send_floats(e.sums.size(), value, send); !s) return s;
    }
    const std::span<const std::byte> dataset = draft.datasets.view().subspan(draft.last_dataset);
    if (status s = send_number(draft.chunk_count); !s) return s;
    if (status s = send_number(dataset.size()); !s) return s;
    return send(dataset);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline QLIB_ABI {

/// Collects the sums of all weights, then writes a file of either form, or several. A
/// function that fails leaves the writer as it was.
class imatrix_writer {
public:
    /// Adds a weight.
    ///
    /// name     of its tensor, 1 to 55 bytes, none of them zero
    /// in_sum2  (matrices, cols): for each column the sum of the squares of its
    ///          inputs. Borrowed until the file is written
    /// counts   how many inputs each matrix has seen. Borrowed
    /// error    malformed for the name; importance for a number that is negative,
    ///          not finite or whose mean is not, and for sizes
    QLIB_INLINE status add(std::string_view name, std::span<const float> in_sum2,
                           std::span<const float> counts) noexcept {
        return detail::add_sums(draft_, name, in_sum2, counts);
    }
    /// Names a text that was used. The older form keeps the last.
    QLIB_INLINE status add_dataset(std::string_view name) noexcept { return detail::add_dataset(draft_, name); }
    /// How much text was used: `count` chunks of `size` tokens. The older form counts inputs
    /// in chunks; with a size of 0 it counts tokens.
    QLIB_INLINE void set_chunks(std::uint32_t count, std::uint32_t size) noexcept {
        draft_.chunk_count = count;
        draft_.chunk_size = size;
    }
    /// Metadata of the GGUF form, as gguf_writer::set; the keys that the form itself needs are set last.
    template <gguf_number T> QLIB_INLINE status set(std::string_view key, T value) noexcept {
        return detail::set_one(draft_.metadata, key, detail::gguf_type_of<T>(), value);
    }
    QLIB_INLINE status set(std::string_view key, std::string_view value) noexcept {
        return detail::set_one(draft_.metadata, key, gguf_type::string, value);
    }
    QLIB_INLINE status set(std::string_view key, const char* value) noexcept {
        return set(key, std::string_view(value));
    }
    QLIB_INLINE status set(std::string_view key, const gguf_value& value) noexcept {
        return detail::copy_pair(draft_.metadata, key, value);
    }

    /// Writes the GGUF form: the entries sorted by name, each as the tensors NAME.in_sum2 and NAME.counts.
    /// error: argument for no entries or a name given twice; io
    QLIB_INLINE status write_gguf(sink_ref sink) const noexcept { return detail::write_imatrix_gguf(draft_, sink); }
    /// Writes the older form: means times chunks. Matrices that have seen nothing count as 1 throughout; weights
    /// of which none has seen anything are left out.
    /// error: argument for no such entries or a name given twice; overflow; io
    QLIB_INLINE status write_legacy(sink_ref sink) const noexcept { return detail::write_imatrix_legacy(draft_, sink); }

private:
    detail::imatrix_draft draft_;
};

}  // namespace qlib::inline QLIB_ABI
