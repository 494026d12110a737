#pragma once
// gguf_file: reads the header of a GGUF file from foreign, untrusted bytes. Nothing is copied but the tables; memory
// follows the bytes that were read, never a count that a file announces.
//
//   std::string_view culprit;                                 // the key or tensor that an error speaks of
//   auto file = qlib::gguf_file::parse(bytes, {}, &culprit);
//   if (!file) { print(file.error().format(buffer, culprit)); return; }
//   const qlib::gguf_value* layers = file->find("llama.block_count");
//   for (const qlib::gguf_tensor& t : file->tensors()) use(t.name, t.type, t.rows(), t.cols(), t.data);
#include "gguf_tensor.hpp"
#include "gguf_value.hpp"
#include "name_index.hpp"

namespace qlib::inline QLIB_ABI {

/// What a file may ask for.
struct gguf_limits {
    /// Bytes of the whole file when only its beginning is given; 0: all of it is given. Offsets are checked
    /// against it, and data spans that reach beyond the given bytes are empty. A beginning too short for
    /// the header is errc::truncated with sizes {bytes needed at least, bytes there}; when more than
    /// `file_size` are needed, the file itself was cut.
    std::uint64_t file_size = 0;
    std::uint64_t string_bytes = std::uint64_t{1} << 30;  ///< of one string; ggml's cap
    std::uint64_t array_count = std::uint64_t{1} << 30;   ///< elements of one array; ggml's cap
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// What a parsed header says.
struct gguf_tables {
    std::uint32_t version = 0, alignment = gguf_default_alignment;
    std::uint64_t data_start = 0;
    growing<gguf_entry> entries;
    growing<gguf_tensor> tensors;
    buffer<std::size_t> entry_order, tensor_order;  // sorted by name
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

[[nodiscard]] inline std::size_t find_entry(const gguf_tables& tables, std::string_view key) noexcept {
    return find_name(tables.entry_order, key, [&](std::size_t i) { return tables.entries[i].key; });
}
[[nodiscard]] inline std::size_t find_tensor(const gguf_tables& tables, std::string_view name) noexcept {
    return find_name(tables.tensor_order, name, [&](std::size_t i) { return tables.tensors[i].name; });
}

[[nodiscard]] inline error bad_pair(std::uint64_t index, const char* rule, std::uint64_t a = 0,
                                    std::uint64_t b = 0) noexcept {
    return gguf_error(errc::malformed, rule, "metadata", index, a, b);
}

/// One pass over a header. Each step stops at the first broken rule; `culprit` is the key or name read last.
struct gguf_parser {
    byte_cursor in;
    gguf_limits limits;  // file_size filled in
    gguf_tables& tables;
    std::string_view culprit = {};
    std::uint64_t entry_count = 0, tensor_count = 0;

    [[nodiscard]] error ends_early(std::uint64_t more, const char* operand, std::uint64_t index = 0) const noexcept {
        return gguf_error(errc::truncated, "at least {0} bytes are needed, {1} are there", operand, index,
                          saturating_add(in.at, more), in.bytes.size());
    }
    status check_count(std::uint64_t count, std::uint64_t least, const char* rule) const noexcept {
        if (count <= (limits.file_size - in.at) / least) return {};
        const std::size_t needed = saturating_add(in.at, saturating_multiply(count, least));
        return error{errc::truncated, rule, "header", {needed, limits.file_size, count}};
    }

    status read_header() noexcept {
        std::span<const std::byte> magic;
        if (!in.take(4, magic)) return ends_early(4, "header");
        if (text_of(magic) != "GGUF")
            return error{errc::malformed, "no GGUF file: its first four bytes are others", "header", {}};
        std::uint32_t& version = tables.version;
        if (!in.number(version)) return ends_early(4, "header");
        if (version != 0 && (version & 0xFFFF) == 0)
            return error{errc::unsupported, "a big-endian GGUF file: its version reads as {0}", "header", {version}};
        if (version != 2 && version != 3)
            return error{errc::unsupported, "GGUF version {0}: 2 and 3 are supported", "header", {version}};
        if (!in.number(tensor_count) || !in.number(entry_count)) return ends_early(8, "header");
        // The shortest pair: a key of one byte and a value of one. The shortest
        // tensor: a name of one byte and no dimension.
        if (status s =
                check_count(entry_count, 8 + 1 + 4 + 1, "{2} metadata pairs need at least {0} bytes, {1} are there");
            !s)
            return s;
        return check_count(tensor_count, 8 + 1 + 4 + 4 + 8, "{2} tensors need at least {0} bytes, {1} are there");
    }

    status read_name(std::string_view& name, std::size_t longest, const char* operand, std::uint64_t index) noexcept {
        culprit = {};
        std::uint64_t length = 0;
        std::span<const std::byte> text;
        if (!in.number(length)) return ends_early(8, operand, index);
        if (length > longest)  // before take(): an absurd length is no reason to ask for more of the file
            return gguf_error(errc::malformed, "#{3} has a name of {0} bytes, {1} are allowed", operand, index, length,
                              longest);
        if (!in.take(length, text)) return ends_early(length, operand, index);
        name = culprit = text_of(text);
        return check_name(name, longest, operand, index);
    }

    status read_pair(std::uint64_t index) noexcept {
        gguf_entry entry;
        if (status s = read_name(entry.key, gguf_key_limit, "metadata", index); !s) return s;
        gguf_value& v = entry.value;
        std::uint32_t type = 0;
        if (!in.number(type)) return ends_early(4, "metadata", index);
        v.type = v.element_type = static_cast<gguf_type>(type);
        v.count = 1;
        if (v.is_array()) {
            if (!in.number(type) || !in.number(v.count)) return ends_early(8, "metadata", index);
            v.element_type = static_cast<gguf_type>(type);
            if (v.element_type == gguf_type::array)
                return gguf_error(errc::unsupported, "#{3} is an array of arrays", "metadata", index);
            if (v.count > limits.array_count)
                return bad_pair(index, "#{3} is an array of {0} elements, {1} are allowed", v.count,
                                limits.array_count);
        }
        if (v.element_type != gguf_type::string && gguf_number_bytes(v.element_type) == 0)
            return bad_pair(index, "#{3} has the unknown value type {0}", type);
        const std::size_t first = in.at;
        if (status s = skip_elements(in, v.element_type, v.count, limits.string_bytes); !s) {
            error e = s.error();
            e.sizes[3] = index;
            return e;
        }
        v.bytes = in.bytes.subspan(first, in.at - first);
        return tables.entries.append(entry) ? status{} : status(out_of_memory(sizeof entry));
    }

    /// general.alignment is read before the tensors, whose offsets depend on it.
    status read_alignment() noexcept {
        const std::size_t found = find_entry(tables, "general.alignment");
        if (found == tables.entries.size()) return {};
        const gguf_value& v = tables.entries[found].value;
        culprit = tables.entries[found].key;
        if (v.type != gguf_type::u32)
            return bad_pair(found, "the alignment has value type {0}, it must be a u32",
                            static_cast<std::uint64_t>(v.type));
        const std::uint64_t alignment = load_little(v.bytes.data(), 4);
        if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > gguf_alignment_limit)
            return bad_pair(found, "the alignment {0} is no power of two from 1 to {1}", alignment,
                            gguf_alignment_limit);
        tables.alignment = static_cast<std::uint32_t>(alignment);
        return {};
    }

    /// `end` is the first byte behind the tensors so far. Gaps are harmless and
    /// allowed; order and overlaps are not negotiable.
    status read_tensor(std::uint64_t index, std::uint64_t& end) noexcept {
        gguf_tensor t;
        if (status s = read_name(t.name, gguf_name_limit, "tensor", index); !s) return s;
        if (!in.number(t.n_dims)) return ends_early(4, "tensor", index);
        if (t.n_dims > 4) return bad_tensor(index, "#{3} has {0} dimensions, 4 are allowed", t.n_dims);
        for (std::uint32_t d = 0; d < t.n_dims; ++d)
            if (!in.number(t.ne[d])) return ends_early(8, "tensor", index);
        if (!in.number(t.type) || !in.number(t.offset)) return ends_early(8, "tensor", index);
        if (status s = measure_tensor(t, index); !s) return s;
        if (t.offset % tables.alignment != 0)
            return bad_tensor(index, "#{3} has offset {0}, no multiple of the alignment {1}", t.offset,
                              tables.alignment);
        if (t.offset < end)
            return bad_tensor(index, "#{3} has offset {0}, inside or before the data up to {1} of those before it",
                              t.offset, end);
        if (__builtin_add_overflow(t.offset, t.bytes, &end))
            return bad_tensor(index, "#{3} has offset {0}, which overflows", t.offset);
        return tables.tensors.append(t) ? status{} : status(out_of_memory(sizeof t));
    }

    /// Where the data is. Compared with the file's true length, tensor by tensor;
    /// the padding of the last one may be missing.
    status place_tensors() noexcept {
        tables.data_start = round_up(in.at, tables.alignment);
        for (std::size_t i = 0; i < tables.tensors.size(); ++i) {
            gguf_tensor& t = tables.tensors[i];
            culprit = t.name;
            const std::uint64_t start = saturating_add(tables.data_start, t.offset),
                                end = saturating_add(start, t.bytes);
            if (end > limits.file_size)
                return gguf_error(errc::truncated, "#{3} ends at byte {0}, the file has {1}", "tensor", i, end,
                                  limits.file_size);
            if (end <= in.bytes.size())
                t.data = in.bytes.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(t.bytes));
        }
        return {};
    }

    /// Sorts names and refuses two that are equal.
    template <class NameOf>
    status index_names(buffer<std::size_t>& order, std::size_t count, const char* operand,
                       const NameOf& name_of) noexcept {
        if (!sort_names(order, count, name_of)) return out_of_memory(count * sizeof(std::size_t));
        const std::size_t p = find_duplicate(order, name_of);
        if (p == count) return {};
        culprit = name_of(order[p]);
        return gguf_error(errc::malformed, "#{0} and #{3} have the same name", operand, order[p + 1], order[p]);
    }

    status parse() noexcept {
        if (status s = read_header(); !s) return s;
        for (std::uint64_t i = 0; i < entry_count; ++i)
            if (status s = read_pair(i); !s) return s;
        culprit = {};
        const auto key_of = [&](std::size_t i) { return tables.entries[i].key; };
        if (status s = index_names(tables.entry_order, tables.entries.size(), "metadata", key_of); !s) return s;
        if (status s = read_alignment(); !s) return s;
        std::uint64_t end = 0;
        for (std::uint64_t i = 0; i < tensor_count; ++i)
            if (status s = read_tensor(i, end); !s) return s;
        const auto name_of = [&](std::size_t i) { return tables.tensors[i].name; };
        if (status s = index_names(tables.tensor_order, tables.tensors.size(), "tensor", name_of); !s) return s;
        return place_tensors();
    }
};

inline status parse_gguf(std::span<const std::byte> file, gguf_limits limits, gguf_tables& tables,
                         std::string_view* culprit) noexcept {
    if (culprit != nullptr) *culprit = {};
    if (limits.file_size == 0) limits.file_size = file.size();
    if (limits.file_size < file.size())
        return error{
            errc::argument, "{0}, but {1} bytes are given", "gguf_limits.file_size", {limits.file_size, file.size()}};
    gguf_parser parser{{file}, limits, tables};
    const status s = parser.parse();
    if (culprit != nullptr && !s) *culprit = parser.culprit;
    return s;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// A parsed GGUF file of version 2 or 3. Names, values and data point into the parsed bytes, which must outlive it.
class gguf_file {
public:
    QLIB_INLINE gguf_file(gguf_file&&) noexcept = default;
    QLIB_INLINE gguf_file& operator=(gguf_file&&) noexcept = default;
    /// Reads and checks a header.
    ///
    /// file     the whole file, or its beginning with limits.file_size set; at any address
    /// culprit  set to the key or tensor name that an error speaks of, else emptied. It may hold any bytes of the file
    /// error    malformed or truncated for a broken rule, unsupported for what other programs may read, memory; where
    ///          the rule is one tensor's or pair's, sizes[3] is its index
    /// source   ggml, docs/gguf.md and gguf.cpp; stricter where a later program could be led astray: names without zero
    ///          bytes, booleans of 0 and 1, bounded alignment
    [[nodiscard]] QLIB_INLINE static result<gguf_file> parse(std::span<const std::byte> file, gguf_limits limits = {},
                                                             std::string_view* culprit = nullptr) noexcept {
        gguf_file parsed;
        if (const status s = detail::parse_gguf(file, limits, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    [[nodiscard]] QLIB_INLINE std::uint32_t version() const noexcept { return tables_.version; }
    [[nodiscard]] QLIB_INLINE std::uint32_t alignment() const noexcept { return tables_.alignment; }
    /// Bytes from the start of the file to its data section, where gguf_tensor::offset counts from. May
    /// lie beyond the end of a file without tensors.
    [[nodiscard]] QLIB_INLINE std::uint64_t data_start() const noexcept { return tables_.data_start; }
    /// All metadata, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const gguf_entry> entries() const noexcept { return tables_.entries.view(); }
    /// All tensors, in the file's order, which is also the order of their data.
    [[nodiscard]] QLIB_INLINE std::span<const gguf_tensor> tensors() const noexcept { return tables_.tensors.view(); }

    /// The value of a key, or null. Lives as long as the file object, and does not move with it.
    [[nodiscard]] QLIB_INLINE const gguf_value* find(std::string_view key) const noexcept {
        const std::size_t i = detail::find_entry(tables_, key);
        return i < tables_.entries.size() ? &tables_.entries[i].value : nullptr;
    }
    /// The tensor with a name, or null.
    [[nodiscard]] QLIB_INLINE const gguf_tensor* find_tensor(std::string_view name) const noexcept {
        const std::size_t i = detail::find_tensor(tables_, name);
        return i < tables_.tensors.size() ? &tables_.tensors[i] : nullptr;
    }

private:
    QLIB_INLINE gguf_file() noexcept = default;
    detail::gguf_tables tables_;
};

}  // namespace qlib::inline QLIB_ABI
