#pragma once
// gguf_writer: writes a GGUF v3 file into the caller's sink. Metadata and tensor shapes are collected first; then the
// header goes out, and the tensors' data stream through in pieces of any size.
//
//   qlib::gguf_writer out;
//   for (const auto& [key, value] : input.entries()) check(out.set(key, value));       // copies
//   check(out.set("general.file_type", std::uint32_t{15}));                            // replaces
//   check(out.add_tensor("output.weight", type_id, std::array<std::uint64_t, 2>{cols, rows}));
//   auto sink = [&](std::span<const std::byte> bytes) {
//       return fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size();
//   };
//   check(out.begin(sink));
//   check(out.write("output.weight", data));
//   check(out.finish());
#include "gguf_tensor.hpp"
#include "gguf_value.hpp"
#include "name_index.hpp"

#include <concepts>

namespace qlib::inline QLIB_ABI {

/// What set() stores as one number: integers by width and sign, float, double, bool.
template <class T>
concept gguf_number = std::same_as<T, float> || std::same_as<T, double> ||
    (std::integral<T> && sizeof(T) <= 8 && !std::same_as<T, char>);

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// One call of set() or remove(), its bytes in the draft's `text` as in the file. A
/// later one about the same key overrules it.
struct gguf_set {
    std::size_t at = 0, key_bytes = 0, bytes = 0;
    bool removed = false;
};

/// A tensor to be written. Its name stands in the draft's `names`, which may move: info.name stays empty.
struct gguf_planned {
    std::size_t name_at = 0, name_bytes = 0;
    gguf_tensor info;
};

/// What a writer knows and where it stands.
struct gguf_draft {
    enum class stage : std::uint8_t { collecting, writing, finished, failed };
    growing<std::byte> text;
    growing<gguf_set> sets;
    growing<gguf_planned> tensors;
    growing<char> names;
    sink_ref sink;
    std::uint64_t alignment = gguf_default_alignment, file_size = 0;
    std::size_t next = 0;    // the tensor that is being written
    std::uint64_t done = 0;  // bytes of it
    stage at = stage::collecting;

    [[nodiscard]] QLIB_INLINE std::string_view name_of(const gguf_planned& t) const noexcept {
        return {names.data() + t.name_at, t.name_bytes};
    }
};

template <class T> consteval gguf_type gguf_type_of() noexcept {
    if (std::same_as<T, bool>) return gguf_type::boolean;
    if (std::same_as<T, float>) return gguf_type::f32;
    if (std::same_as<T, double>) return gguf_type::f64;
    const bool s = std::is_signed_v<T>;
    switch (sizeof(T)) {
    case 1: return s ? gguf_type::i8 : gguf_type::u8;
    case 2: return s ? gguf_type::i16 : gguf_type::u16;
    case 4: return s ? gguf_type::i32 : gguf_type::u32;
    default: return s ? gguf_type::i64 : gguf_type::u64;
    }
}

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

[[nodiscard]] inline bool put_number(growing<std::byte>& out, std::uint64_t value, std::size_t bytes) noexcept {
    std::byte raw[8];
    store_little(raw, value, bytes);
    return out.append({raw, bytes});
}
[[nodiscard]] inline bool put_text(growing<std::byte>& out, std::string_view text) noexcept {
    return put_number(out, text.size(), 8) && out.append(bytes_of(text));
}
/// A number, or a string, as an element of a value.
template <class T> [[nodiscard]] bool put_element(growing<std::byte>& out, const T& item) noexcept {
    if constexpr (std::same_as<T, float>) return put_number(out, __builtin_bit_cast(std::uint32_t, item), 4);
    else if constexpr (std::same_as<T, double>) return put_number(out, __builtin_bit_cast(std::uint64_t, item), 8);
    else if constexpr (std::integral<T>) return put_number(out, static_cast<std::uint64_t>(item), sizeof(T));
    else return put_text(out, item);
}

inline status check_stage(const gguf_draft& draft, gguf_draft::stage needed) noexcept {
    using enum gguf_draft::stage;
    if (draft.at == needed) return {};
    switch (draft.at) {
    case collecting:
        return error{errc::argument, "the header is not written yet: call begin() first", "gguf_writer", {}};
    case writing: return error{errc::argument, "the header is already written", "gguf_writer", {}};
    case finished: return error{errc::argument, "the file is already finished", "gguf_writer", {}};
    default: return error{errc::io, "an earlier write failed", "gguf_writer", {}};
    }
}

/// The documentation's rule for keys, of which ggml's own writers break one part:
/// architectures like gpt-oss have hyphens.
inline status check_spelling(std::string_view key) noexcept {
    char before = '.';
    for (const char c : key) {
        const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!word && (c != '.' || before == '.')) before = 0;
        if (before == 0) break;
        before = c;
    }
    if (before != 0 && before != '.') return {};
    return error{
        errc::argument, "a key is words of a-z, 0-9, _ and - with single dots between them", "metadata key", {}};
}

/// Whether a value's bytes are what its type and count say. Values of parsed files are; anybody can make others.
inline status check_value(const gguf_value& v) noexcept {
    const bool known = v.element_type == gguf_type::string || gguf_number_bytes(v.element_type) != 0;
    byte_cursor in{v.bytes};
    if (known && (v.is_array() || (v.type == v.element_type && v.count == 1)) &&
        skip_elements(in, v.element_type, v.count, ~std::uint64_t{0}).ok() && in.left() == 0)
        return {};
    return error{errc::argument,
                 "the {0} bytes of a value are not what its type {1} and count {2} say",
                 "metadata value",
                 {v.bytes.size(), static_cast<std::uint64_t>(v.element_type), v.count}};
}

/// Writes a pair into the draft. `put(text)` appends the elements, and says whether there was memory.
template <class Put>
status append_pair(gguf_draft& draft, std::string_view key, gguf_type type, gguf_type element, std::uint64_t count,
                   const Put& put) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::collecting); !s) return s;
    if (status s = check_name(key, gguf_key_limit, "metadata key", draft.sets.size()); !s) return s;
    growing<std::byte>& text = draft.text;
    const std::size_t start = text.size();
    bool ok = put_text(text, key) && put_number(text, static_cast<std::uint64_t>(type), 4);
    if (type == gguf_type::array)
        ok = ok && put_number(text, static_cast<std::uint64_t>(element), 4) && put_number(text, count, 8);
    ok = ok && put(text) && draft.sets.append({start, key.size(), text.size() - start, false});
    if (ok) return {};
    const std::size_t wanted = text.size() - start;
    text.cut(start);
    return out_of_memory(wanted);
}

inline status copy_pair(gguf_draft& draft, std::string_view key, const gguf_value& v) noexcept {
    if (status s = check_value(v); !s) return s;
    return append_pair(draft, key, v.type, v.element_type, v.count,
                       [&](growing<std::byte>& text) { return text.append(v.bytes); });
}

template <class T> status set_one(gguf_draft& draft, std::string_view key, gguf_type type, const T& value) noexcept {
    if (status s = check_spelling(key); !s) return s;
    return append_pair(draft, key, type, type, 1, [&](growing<std::byte>& text) { return put_element(text, value); });
}

template <class T>
status set_many(gguf_draft& draft, std::string_view key, gguf_type element, std::span<const T> values) noexcept {
    if (status s = check_spelling(key); !s) return s;
    return append_pair(draft, key, gguf_type::array, element, values.size(), [&](growing<std::byte>& text) {
        for (const T& value : values)
            if (!put_element(text, value)) return false;
        return true;
    });
}

/// Without a value: the key is taken back.
inline status remove_pair(gguf_draft& draft, std::string_view key) noexcept {
    if (status s = append_pair(draft, key, gguf_type::boolean, gguf_type::boolean, 1,
                               [](growing<std::byte>&) { return true; });
        !s)
        return s;
    draft.sets[draft.sets.size() - 1].removed = true;
    return {};
}

inline status plan_tensor(gguf_draft& draft, std::string_view name, std::uint32_t type,
                          std::span<const std::uint64_t> ne) noexcept {
    const std::size_t index = draft.tensors.size();
    if (status s = check_stage(draft, gguf_draft::stage::collecting); !s) return s;
    if (status s = check_name(name, gguf_name_limit, "tensor", index); !s) return s;
    if (ne.size() > 4)
        return gguf_error(errc::argument, "#{3} has {0} dimensions, 4 are allowed", "tensor", index, ne.size());
    gguf_planned t;
    t.name_at = draft.names.size();
    t.name_bytes = name.size();
    t.info.n_dims = static_cast<std::uint32_t>(ne.size());
    for (std::size_t d = 0; d < ne.size(); ++d) t.info.ne[d] = ne[d];
    t.info.type = type;
    if (status s = measure_tensor(t.info, index); !s) return s;
    if (!draft.names.append(std::span(name.data(), name.size()))) return out_of_memory(name.size());
    return draft.tensors.append(t) ? status{} : status(out_of_memory(sizeof t));
}

/// Marks every pair that a later set() or remove() of the same key overrules, and
/// the removals themselves. Counts what is left.
inline status settle_pairs(gguf_draft& draft, std::uint64_t& count) noexcept {
    growing<gguf_set>& sets = draft.sets;
    const auto key_of = [&](std::size_t i) { return text_of({draft.text.data() + sets[i].at + 8, sets[i].key_bytes}); };
    buffer<std::size_t> order;
    if (!sort_names(order, sets.size(), key_of)) return out_of_memory(sets.size() * sizeof(std::size_t));
    count = 0;
    draft.alignment = gguf_default_alignment;
    for (std::size_t p = 0; p < order.size(); ++p) {
        gguf_set& set = sets[order[p]];
        const std::string_view key = key_of(order[p]);
        if (p + 1 < order.size() && key == key_of(order[p + 1])) set.removed = true;
        if (set.removed) continue;
        ++count;
        if (key != "general.alignment") continue;
        const std::byte* value = draft.text.data() + set.at + 8 + key.size();
        if (static_cast<gguf_type>(load_little(value, 4)) != gguf_type::u32)
            return error{errc::argument, "the alignment must be a u32", "general.alignment", {}};
        draft.alignment = load_little(value + 4, 4);
    }
    const std::uint64_t a = draft.alignment;
    if (a >= 8 && (a & (a - 1)) == 0 && a <= gguf_alignment_limit) return {};
    return error{
        errc::argument, "{0} is no power of two from 8 to {1}", "general.alignment", {a, gguf_alignment_limit}};
}

/// Refuses equal names, and lays the tensors out without gaps. `end` is the size of the data section.
inline status place_planned(gguf_draft& draft, std::uint64_t& end) noexcept {
    const auto name_of = [&](std::size_t i) { return draft.name_of(draft.tensors[i]); };
    buffer<std::size_t> order;
    if (!sort_names(order, draft.tensors.size(), name_of))
        return out_of_memory(draft.tensors.size() * sizeof(std::size_t));
    if (const std::size_t p = find_duplicate(order, name_of); p != order.size())
        return gguf_error(errc::argument, "#{0} and #{3} have the same name", "tensor", order[p + 1], order[p]);
    end = 0;
    for (std::size_t i = 0; i < draft.tensors.size(); ++i) {
        gguf_tensor& t = draft.tensors[i].info;
        t.offset = end;
        end += round_up(t.bytes, draft.alignment);  // t.bytes <= 2^62
        if (end > gguf_size_limit)
            return gguf_error(errc::shape, "#{3} makes the file larger than {0} bytes", "tensor", i, gguf_size_limit);
    }
    return {};
}

inline status send(gguf_draft& draft, std::span<const std::byte> bytes) noexcept {
    if (draft.sink(bytes)) return {};
    draft.at = gguf_draft::stage::failed;
    return error{errc::io, "the sink refused {0} bytes", "gguf_writer", {bytes.size()}};
}

/// Zeros after a tensor, up to the alignment.
inline status send_padding(gguf_draft& draft, std::uint64_t count) noexcept {
    const std::byte zeros[1024]{};
    while (count != 0) {
        const std::size_t now = count < sizeof zeros ? static_cast<std::size_t>(count) : sizeof zeros;
        if (status s = send(draft, {zeros, now}); !s) return s;
        count -= now;
    }
    return {};
}

/// Tensors without bytes have nothing to wait for.
inline void skip_empty(gguf_draft& draft) noexcept {
    while (draft.next < draft.tensors.size() && draft.tensors[draft.next].info.bytes == 0) ++draft.next;
}

inline status begin_file(gguf_draft& draft, sink_ref sink) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::collecting); !s) return s;
    std::uint64_t pairs = 0, data_bytes = 0;
    if (status s = settle_pairs(draft, pairs); !s) return s;
    if (status s = place_planned(draft, data_bytes); !s) return s;
    growing<std::byte> head;
    bool ok = head.append(bytes_of("GGUF")) && put_number(head, 3, 4) && put_number(head, draft.tensors.size(), 8) &&
              put_number(head, pairs, 8);
    for (const gguf_set& set : draft.sets.view())
        if (ok && !set.removed) ok = head.append({draft.text.data() + set.at, set.bytes});
    for (const gguf_planned& t : draft.tensors.view()) {
        ok = ok && put_text(head, draft.name_of(t)) && put_number(head, t.info.n_dims, 4);
        for (std::uint32_t d = 0; d < t.info.n_dims; ++d) ok = ok && put_number(head, t.info.ne[d], 8);
        ok = ok && put_number(head, t.info.type, 4) && put_number(head, t.info.offset, 8);
    }
    if (!ok) return out_of_memory(head.size());
    draft.sink = sink;
    draft.at = gguf_draft::stage::writing;
    const std::uint64_t data_start = round_up(head.size(), draft.alignment);
    draft.file_size = data_start + data_bytes;
    skip_empty(draft);
    if (status s = send(draft, head.view()); !s) return s;
    return send_padding(draft, data_start - head.size());
}

inline status write_piece(gguf_draft& draft, std::string_view name, std::span<const std::byte> piece) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::writing); !s) return s;
    if (piece.empty()) return {};
    if (draft.next == draft.tensors.size())
        return error{errc::shape, "all tensors are complete, {0} bytes are left over", "tensor data", {piece.size()}};
    const gguf_planned& t = draft.tensors[draft.next];
    if (name != draft.name_of(t))
        return gguf_error(errc::argument, "data for another tensor than #{3}, which is next", "tensor data",
                          draft.next);
    if (piece.size() > t.info.bytes - draft.done)
        return gguf_error(errc::shape, "{0} bytes more, but #{3} lacks only {1} of its {2}", "tensor data", draft.next,
                          piece.size(), t.info.bytes - draft.done, t.info.bytes);
    if (status s = send(draft, piece); !s) return s;
    draft.done += piece.size();
    if (draft.done != t.info.bytes) return {};
    if (status s = send_padding(draft, round_up(draft.done, draft.alignment) - draft.done); !s) return s;
    draft.done = 0;
    ++draft.next;
    skip_empty(draft);
    return {};
}

inline status finish_file(gguf_draft& draft) noexcept {
    if (status s = check_stage(draft, gguf_draft::stage::writing); !s) return s;
    if (draft.next != draft.tensors.size())
        return gguf_error(errc::shape, "#{3} has {0} of its {1} bytes", "tensor data", draft.next, draft.done,
                          draft.tensors[draft.next].info.bytes);
    draft.at = gguf_draft::stage::finished;
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// Writes one file. A function that fails leaves the writer as it was, except that
/// nothing works any more after a sink refused.
class gguf_writer {
public:
    // Metadata. Setting a key again takes the old value out and puts the new one behind all others,
    // as ggml does. New keys keep the rule of GGUF's documentation: errc::argument.
    // general.alignment changes the layout; begin() checks it.

    /// A number or a boolean, stored as the type it has: std::uint32_t{2}, 1.0f, true.
    template <gguf_number T> QLIB_INLINE status set(std::string_view key, T value) noexcept {
        return detail::set_one(draft_, key, detail::gguf_type_of<T>(), value);
    }
    QLIB_INLINE status set(std::string_view key, std::string_view value) noexcept {
        return detail::set_one(draft_, key, gguf_type::string, value);
    }
    QLIB_INLINE status set(std::string_view key, const char* value) noexcept {
        return set(key, std::string_view(value));
    }
    /// Any contiguous range of numbers, or of what converts to std::string_view.
    template <class Range>
    requires requires(const Range& r) { std::span(r); }
    QLIB_INLINE status set_array(std::string_view key, const Range& values) noexcept {
        using item = std::remove_cv_t<typename decltype(std::span(values))::element_type>;
        const std::span<const item> all(values);
        if constexpr (gguf_number<item>) return detail::set_many(draft_, key, detail::gguf_type_of<item>(), all);
        else return detail::set_many(draft_, key, gguf_type::string, all);
    }
    /// A value of another file, copied byte by byte. Its key only needs what readers
    /// need: 1 to 65535 bytes, none of them zero.
    QLIB_INLINE status set(std::string_view key, const gguf_value& value) noexcept {
        return detail::copy_pair(draft_, key, value);
    }
    /// Takes a key out again, if it was set.
    QLIB_INLINE status remove(std::string_view key) noexcept { return detail::remove_pair(draft_, key); }

    /// Announces the next tensor.
    ///
    /// name    1 to 1024 bytes, none of them zero; begin() refuses a name that was given twice. Programs built on ggml
    ///         read gguf_ggml_name_limit bytes
    /// type    see ggml_type_info
    /// ne      0 to 4 dimensions, the row length first: {cols, rows}. Written as given: ggml drops trailing ones
    /// error   malformed or argument, sizes[3] being the tensor's index; unsupported for a type that ggml does not have
    QLIB_INLINE status add_tensor(std::string_view name, std::uint32_t type,
                                  std::span<const std::uint64_t> ne) noexcept {
        return detail::plan_tensor(draft_, name, type, ne);
    }

    /// Writes the header. No set(), remove() or add_tensor() after it.
    QLIB_INLINE status begin(sink_ref sink) noexcept { return detail::begin_file(draft_, sink); }
    /// Writes the next bytes of a tensor's data: the tensors in the order of
    /// add_tensor(), each complete before the next.
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
    detail::gguf_draft draft_;
};

}  // namespace qlib::inline QLIB_ABI
