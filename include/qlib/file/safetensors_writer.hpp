#pragma once
// safetensors_writer: writes a safetensors file into the caller's sink. Tensor shapes and metadata are
// collected first; then the header goes out, and the tensors' data stream through in pieces of any size,
// in the order that the format's own writer has.
//
//   qlib::safetensors_writer out;
//   check(out.set_metadata("format", "pt"));
//   check(out.add_tensor("lm_head.weight", qlib::safetensors_type::bf16, std::array<std::uint64_t, 2>{rows, cols}));
//   auto sink = [&](std::span<const std::byte> bytes) {
//       return fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size();
//   };
//   check(out.begin(sink));
//   for (const qlib::safetensors_tensor& t : out.tensors()) check(out.write(t.name, data_of(t.name)));
//   check(out.finish());
#include "../format/json_writer.hpp"
#include "bytes.hpp"
#include "json_check.hpp"
#include "safetensors_tensor.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// What a writer knows and where it stands.
struct safetensors_draft {
    enum class stage : std::uint8_t { collecting, writing, finished, failed };
    /// A tensor or a metadata pair: its text lies in `text`, its shape in `dims`.
    struct tensor {
        std::size_t name_at, name_bytes, dims_at, n_dims;
        std::uint64_t bytes;
        safetensors_type type;
    };
    struct pair {
        std::size_t at, key_bytes, value_bytes;
    };
    growing<char> text;
    growing<std::uint64_t> dims;
    growing<tensor> tensors;
    growing<pair> metadata;
    buffer<safetensors_tensor> ordered;  // in the order of writing; after begin()
    sink_ref sink;
    std::uint64_t file_size = 0;
    std::size_t next = 0;    // the tensor that is being written
    std::uint64_t done = 0;  // bytes of it
    stage at = stage::collecting;

    [[nodiscard]] QLIB_INLINE std::string_view name(const tensor& t) const noexcept {
        return {text.data() + t.name_at, t.name_bytes};
    }
    [[nodiscard]] QLIB_INLINE std::string_view key(const pair& p) const noexcept {
        return {text.data() + p.at, p.key_bytes};
    }
    [[nodiscard]] QLIB_INLINE std::string_view value(const pair& p) const noexcept {
        return {text.data() + p.at + p.key_bytes, p.value_bytes};
    }
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline status check_stage(const safetensors_draft& draft, safetensors_draft::stage needed) noexcept {
    using enum safetensors_draft::stage;
    if (draft.at == needed) return {};
    switch (draft.at) {
    case collecting:
        return error{errc::argument, "the header is not written yet: call begin() first", "safetensors_writer", {}};
    case writing: return error{errc::argument, "the header is already written", "safetensors_writer", {}};
    case finished: return error{errc::argument, "the file is already finished", "safetensors_writer", {}};
    default: return error{errc::io, "an earlier write failed", "safetensors_writer", {}};
    }
}

[[nodiscard]] inline bool append_text(growing<char>& to, std::string_view text) noexcept {
    return to.append(std::span<const char>(text.data(), text.size()));
}

/// A later pair with the same key replaces the earlier one.
inline status set_pair(safetensors_draft& draft, std::string_view key, std::string_view value) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::collecting); !s) return s;
    if (!is_utf8(key) || !is_utf8(value))
        return error{errc::argument, "a key or value that is not UTF-8", "metadata", {}};
    const std::size_t start = draft.text.size();
    const safetensors_draft::pair pair{start, key.size(), value.size()};
    for (std::size_t i = 0; i < draft.metadata.size(); ++i) {
        if (draft.key(draft.metadata[i]) != key) continue;
        if (!append_text(draft.text, key) || !append_text(draft.text, value))
            return draft.text.cut(start), out_of_memory(key.size() + value.size());
        draft.metadata[i] = pair;
        return {};
    }
    if (append_text(draft.text, key) && append_text(draft.text, value) && draft.metadata.append(pair)) return {};
    draft.text.cut(start);
    return out_of_memory(key.size() + value.size());
}

inline status plan_tensor(safetensors_draft& draft, std::string_view name, safetensors_type type,
                          std::span<const std::uint64_t> shape) noexcept {
    const std::size_t index = draft.tensors.size(), text_start = draft.text.size(), dims_start = draft.dims.size();
    if (status s = check_stage(draft, safetensors_draft::stage::collecting); !s) return s;
    if (name == "__metadata__") return safetensors_error(errc::argument, "#{3} has the name of the metadata", index);
    if (!is_utf8(name)) return safetensors_error(errc::argument, "#{3} has a name that is not UTF-8", index);
    if (name.find('\0') != std::string_view::npos)
        return safetensors_error(errc::argument, "#{3} has a zero byte in its name", index);
    if (safetensors_bits(type) == 0) return safetensors_error(errc::argument, "#{3} has an unknown type", index);
    safetensors_draft::tensor t{text_start, name.size(), dims_start, shape.size(), 0, type};
    bool whole = true;
    if (!measure_shape(type, shape, t.bytes, whole))
        return safetensors_error(errc::shape, "#{3} has dimensions whose product overflows", index);
    if (!whole) return safetensors_error(errc::shape, "#{3} has elements that do not fill bytes", index);
    if (append_text(draft.text, name) && draft.dims.append(shape) && draft.tensors.append(t)) return {};
    draft.text.cut(text_start);
    draft.dims.cut(dims_start);
    return out_of_memory(name.size() + shape.size_bytes());
}

/// Refuses equal names, and lays the tensors out: types in descending order, then names.
inline status place_planned(safetensors_draft& draft, std::uint64_t& end) noexcept {
    const std::size_t count = draft.tensors.size();
    const auto name_of = [&](std::size_t i) { return draft.name(draft.tensors[i]); };
    buffer<std::size_t> order;
    if (!sort_names(order, count, name_of) || !draft.ordered.allocate(count))
        return out_of_memory(count * sizeof(safetensors_tensor));
    if (const std::size_t p = find_duplicate(order, name_of); p != count)
        return safetensors_error(errc::argument, "#{0} and #{3} have the same name", order[p + 1], order[p]);
    sort_indices(order, [&](std::size_t i, std::size_t j) {
        const safetensors_type a = draft.tensors[i].type, b = draft.tensors[j].type;
        return a != b ? a > b : compare_names(name_of(i), name_of(j)) < 0;
    });
    end = 0;
    for (std::size_t p = 0; p < count; ++p) {
        const safetensors_draft::tensor& t = draft.tensors[order[p]];
        draft.ordered[p] = {draft.name(t), t.type, draft.dims.view().subspan(t.dims_at, t.n_dims), end, t.bytes, {}};
        end = saturating_add(end, t.bytes);
        if (end > safetensors_size_limit)
            return safetensors_error(errc::shape, "#{3} makes the file larger than {0} bytes", order[p],
                                     safetensors_size_limit);
    }
    return {};
}

inline void write_header(const safetensors_draft& draft, json_writer& json) noexcept {
    json.open('{');
    if (draft.metadata.size() != 0) {
        json.key("__metadata__");
        json.open('{');
        for (const safetensors_draft::pair& p : draft.metadata.view()) {
            json.key(draft.key(p));
            json.string(draft.value(p));
        }
        json.close('}');
    }
    for (std::size_t i = 0; i < draft.ordered.size(); ++i) {
        const safetensors_tensor& t = draft.ordered[i];
        json.key(t.name);
        json.open('{');
        json.key("dtype");
        json.string(safetensors_name(t.type));
        json.key("shape");
        json.open('[');
        for (const std::uint64_t n : t.shape) json.integer(n);
        json.close(']');
        json.key("data_offsets");
        json.open('[');
        json.integer(t.offset);
        json.integer(t.offset + t.bytes);
        json.close(']');
        json.close('}');
    }
    json.close('}');
}

inline status send(safetensors_draft& draft, std::span<const std::byte> bytes) noexcept {
    if (draft.sink(bytes)) return {};
    draft.at = safetensors_draft::stage::failed;
    return error{errc::io, "the sink refused {0} bytes", "safetensors_writer", {bytes.size()}};
}

/// Tensors without bytes have nothing to wait for.
inline void skip_empty(safetensors_draft& draft) noexcept {
    while (draft.next < draft.ordered.size() && draft.ordered[draft.next].bytes == 0) ++draft.next;
}

inline status begin_file(safetensors_draft& draft, sink_ref sink) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::collecting); !s) return s;
    std::uint64_t data_bytes = 0;
    if (status s = place_planned(draft, data_bytes); !s) return s;
    json_writer counted({});
    write_header(draft, counted);
    const std::size_t length = round_up(counted.size(), 8);  // so that the data are aligned to 8 bytes
    if (length > safetensors_header_limit)
        return error{errc::shape,
                     "a header of {0} bytes, readers accept {1}",
                     "safetensors_writer",
                     {length, safetensors_header_limit}};
    buffer<char> head;
    if (!head.allocate(8 + length)) return out_of_memory(8 + length);
    store_little(reinterpret_cast<std::byte*>(head.data()), length, 8);
    std::memset(head.data() + 8, ' ', length);
    json_writer json({head.data() + 8, length});
    write_header(draft, json);
    draft.sink = sink;
    draft.at = safetensors_draft::stage::writing;
    draft.file_size = 8 + length + data_bytes;
    skip_empty(draft);
    return send(draft, bytes_of({head.data(), head.size()}));
}

inline status write_piece(safetensors_draft& draft, std::string_view name, std::span<const std::byte> piece) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::writing); !s) return s;
    if (piece.empty()) return {};
    if (draft.next == draft.ordered.size())
        return error{errc::shape, "all tensors are complete, {0} bytes are left over", "tensor data", {piece.size()}};
    const safetensors_tensor& t = draft.ordered[draft.next];
    if (name != t.name)
        return error{errc::argument,
                     "data for another tensor than #{3} of tensors(), which is next",
                     "tensor data",
                     {0, 0, 0, draft.next}};
    if (piece.size() > t.bytes - draft.done)
        return error{errc::shape,
                     "{0} bytes more, but #{3} of tensors() lacks only {1} of its {2}",
                     "tensor data",
                     {piece.size(), t.bytes - draft.done, t.bytes, draft.next}};
    if (status s = send(draft, piece); !s) return s;
    draft.done += piece.size();
    if (draft.done != t.bytes) return {};
    draft.done = 0;
    ++draft.next;
    skip_empty(draft);
    return {};
}

inline status finish_file(safetensors_draft& draft) noexcept {
    if (status s = check_stage(draft, safetensors_draft::stage::writing); !s) return s;
    if (draft.next != draft.ordered.size())
        return error{errc::shape,
                     "#{3} of tensors() has {0} of its {1} bytes",
                     "tensor data",
                     {draft.done, draft.ordered[draft.next].bytes, 0, draft.next}};
    draft.at = safetensors_draft::stage::finished;
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Writes one file. A function that fails leaves the writer as it was, except that
/// nothing works any more after a sink refused.
class safetensors_writer {
public:
    /// A pair of `__metadata__`; transformers wants {"format", "pt"}. Setting a key again replaces its value.
    /// error: argument, for text that is not UTF-8
    QLIB_INLINE status set_metadata(std::string_view key, std::string_view value) noexcept {
        return detail::set_pair(draft_, key, value);
    }

    /// Announces a tensor, in any order.
    ///
    /// name    UTF-8 without zero bytes; begin() refuses a name that was given twice
    /// shape   the row length last: {rows, cols}
    /// error   argument or shape, sizes[3] being the tensor's index
    QLIB_INLINE status add_tensor(std::string_view name, safetensors_type type,
                                  std::span<const std::uint64_t> shape) noexcept {
        return detail::plan_tensor(draft_, name, type, shape);
    }

    /// Writes the header, whose end is aligned to 8 bytes. No set_metadata() or add_tensor() after it.
    QLIB_INLINE status begin(sink_ref sink) noexcept { return detail::begin_file(draft_, sink); }
    /// All tensors in the order in which write() wants their data: types descending, then
    /// names. Empty before begin(). `data` is empty.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_tensor> tensors() const noexcept {
        return {draft_.ordered.data(),
                draft_.at != detail::safetensors_draft::stage::collecting ? draft_.ordered.size() : 0};
    }
    /// Writes the next bytes of a tensor's data: the tensors in the order of tensors(), each complete before the next.
    ///
    /// error   argument: another tensor's turn; shape: more bytes than it has; io: the sink refused
    QLIB_INLINE status write(std::string_view name, std::span<const std::byte> piece) noexcept {
        return detail::write_piece(draft_, name, piece);
    }
    /// Says that the file is complete. error: shape when data are missing.
    QLIB_INLINE status finish() noexcept { return detail::finish_file(draft_); }

    /// Bytes of the whole file; known after begin().
    [[nodiscard]] QLIB_INLINE std::uint64_t file_size() const noexcept { return draft_.file_size; }

private:
    detail::safetensors_draft draft_;
};

}  // namespace qlib::inline QLIB_ABI
