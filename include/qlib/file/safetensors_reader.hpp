#pragma once
// safetensors_file: reads the header of a safetensors file from foreign, untrusted bytes. Tensor data are not copied;
// memory follows the header's bytes, never a number that it holds.
//
//   std::string_view culprit;                                 // the tensor or key that an error speaks of
//   auto file = qlib::safetensors_file::parse(bytes, {}, &culprit);
//   if (!file) { print(file.error().format(buffer, culprit)); return; }
//   for (const qlib::safetensors_tensor& t : file->tensors()) use(t.name, t.type, t.rows(), t.cols(), t.data);
#include "json.hpp"
#include "safetensors_tensor.hpp"

namespace qlib::inline QLIB_ABI {

/// What a file may ask for.
struct safetensors_limits {
    /// Bytes of the whole file when only its beginning is given; 0: all of it is given. Offsets are checked
    /// against it, and data spans that reach beyond the given bytes are empty. A beginning too short for
    /// the header is errc::truncated with sizes {bytes needed at least, bytes there}; when more than
    /// `file_size` are needed, the file itself was cut.
    std::uint64_t file_size = 0;
    std::uint64_t header_bytes = detail::safetensors_header_limit;  ///< of the header; the reference's cap
};

/// A key of a file's `__metadata__` and its value.
struct safetensors_entry {
    std::string_view key, value;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// What a parsed header says.
struct safetensors_tables {
    std::uint64_t data_start = 0;
    growing<safetensors_entry> metadata;
    buffer<safetensors_tensor> tensors;  // in the order of their data
    growing<std::uint64_t> dims;
    buffer<std::size_t> tensor_order;  // sorted by name
    string_room names;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline status parse_safetensors(std::span<const std::byte> file, safetensors_limits limits, safetensors_tables& tables,
                                std::string_view* culprit) noexcept;
[[nodiscard]] inline std::size_t find_tensor(const safetensors_tables& tables, std::string_view name) noexcept {
    return find_name(tables.tensor_order, name, [&](std::size_t i) { return tables.tensors[i].name; });
}
[[nodiscard]] inline const std::string_view* find_metadata(const safetensors_tables& tables,
                                                           std::string_view key) noexcept {
    for (const safetensors_entry& e : tables.metadata.view())
        if (e.key == key) return &e.value;
    return nullptr;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// A parsed safetensors file. Data, and names and metadata without escapes, point
/// into the parsed bytes, which must outlive it.
class safetensors_file {
public:
    QLIB_INLINE safetensors_file(safetensors_file&&) noexcept = default;
    QLIB_INLINE safetensors_file& operator=(safetensors_file&&) noexcept = default;
    /// Reads and checks a header.
    ///
    /// file     the whole file, or its beginning with limits.file_size set; at any address
    /// culprit  set to the tensor name or key that an error speaks of, as the file
    ///          spells it, else emptied. It may hold any UTF-8
    /// error    malformed or truncated for a broken rule, unsupported for an unknown type, memory; where the rule is
    ///          one tensor's, sizes[3] is its index in the header
    /// source   safetensors, tensor.rs and README.md; stricter where a later program could be led astray: no key
    ///          twice, no zero byte in a name, no unknown field
    [[nodiscard]] QLIB_INLINE static result<safetensors_file> parse(std::span<const std::byte> file,
                                                                    safetensors_limits limits = {},
                                                                    std::string_view* culprit = nullptr) noexcept {
        safetensors_file parsed;
        if (const status s = detail::parse_safetensors(file, limits, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    /// All tensors, in the order of their data, which have no gaps.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_tensor> tensors() const noexcept {
        return {tables_.tensors.data(), tables_.tensors.size()};
    }
    /// The tensor with a name, or null. Lives as long as the file object, and does not move with it.
    [[nodiscard]] QLIB_INLINE const safetensors_tensor* find(std::string_view name) const noexcept {
        const std::size_t i = detail::find_tensor(tables_, name);
        return i < tables_.tensors.size() ? &tables_.tensors[i] : nullptr;
    }
    /// All of `__metadata__`, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_entry> metadata() const noexcept {
        return tables_.metadata.view();
    }
    /// The value of a key of `__metadata__`, or null.
    [[nodiscard]] QLIB_INLINE const std::string_view* metadata(std::string_view key) const noexcept {
        return detail::find_metadata(tables_, key);
    }
    /// Bytes from the start of the file to its data, where safetensors_tensor::offset counts from. Any number: old
    /// writers do not align.
    [[nodiscard]] QLIB_INLINE std::uint64_t data_start() const noexcept { return tables_.data_start; }

private:
    QLIB_INLINE safetensors_file() noexcept = default;
    detail::safetensors_tables tables_;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The steps from a header to the tables. Each stops at the first broken rule; `culprit` is the name read last.
struct safetensors_parser {
    std::span<const std::byte> file;
    safetensors_limits limits;  // file_size filled in
    safetensors_tables& tables;
    std::string_view culprit = {};
    std::string_view header = {};

    struct announced {
        safetensors_tensor tensor;
        std::string_view spelling;  // of the name
        std::size_t first_dim = 0, n_dims = 0;
    };
    growing<announced> found = {};  // in the header's order

    status parse() noexcept {
        if (status s = read_length(); !s) return s;
        std::string_view key;
        const auto root = json_value::parse(header, &key);
        if (!root) {
            culprit = key;
            error e = json_error(root.error(), "header");
            if (e.code == errc::truncated) e.code = errc::malformed;  // more bytes of the file would not help
            return e;
        }
        std::uint64_t index = 0;
        for (const json_member m : root->members()) {
            culprit = spelling_of(m.key);
            const bool is_metadata = m.key.is("__metadata__");
            if (status s = is_metadata ? read_metadata(m.value) : read_tensor(m, index); !s) return s;
            if (!is_metadata) ++index;
        }
        if (status s = place_tensors(); !s) return s;
        culprit = {};
        const auto name_of = [&](std::size_t i) { return tables.tensors[i].name; };
        return sort_names(tables.tensor_order, tables.tensors.size(), name_of) ? status{}
                                                                               : status(out_of_memory(header.size()));
    }

    [[nodiscard]] static std::string_view spelling_of(json_value string) noexcept {
        return string.text.substr(1, string.text.size() - 2);
    }

    status read_length() noexcept {
        const auto ends_early = [&](std::uint64_t needed) {
            return error{
                errc::truncated, "at least {0} bytes are needed, {1} are there", "header", {needed, file.size()}};
        };
        if (file.size() < 8) return ends_early(8);
        const std::uint64_t length = load_little(file.data(), 8);
        if (length > limits.header_bytes)
            return error{
                errc::malformed, "the header has {0} bytes, {1} are allowed", "header", {length, limits.header_bytes}};
        if (length > file.size() - 8) return ends_early(saturating_add(8, length));
        header = text_of(file.subspan(8, static_cast<std::size_t>(length)));
        tables.data_start = 8 + length;
        if (header.empty() || header[0] != '{')
            return error{errc::malformed, "a header begins with a brace", "header", {}};
        return {};
    }

    [[nodiscard]] bool decode(json_value string, std::string_view& out) noexcept {
        return tables.names.decode(string.text, header.size(), out);
    }

    status read_metadata(json_value map) noexcept {
        if (map.type() != json_type::object)
            return error{errc::malformed, "it must be a map of strings", "__metadata__", {}};
        for (const json_member m : map.members()) {
            culprit = spelling_of(m.key);
            if (m.value.type() != json_type::string)
                return error{errc::malformed, "a value that is no string", "__metadata__", {}};
            safetensors_entry entry;
            if (!decode(m.key, entry.key) || !decode(m.value, entry.value) || !tables.metadata.append(entry))
                return out_of_memory(header.size());
        }
        return {};
    }

    [[nodiscard]] error bad(std::uint64_t index, const char* rule, std::uint64_t a = 0,
                            std::uint64_t b = 0) const noexcept {
        return safetensors_error(errc::malformed, rule, index, a, b);
    }
    status read_shape(json_value list, std::uint64_t index) noexcept {
        if (list.type() != json_type::array) return bad(index, "#{3} has a shape that is no list");
        for (const json_value v : list.elements()) {
            const auto n = v.as_uint();
            if (!n) return bad(index, "#{3} has a dimension that is no integer from 0 to 2^64 - 1");
            if (!tables.dims.append(*n)) return out_of_memory(header.size());
        }
        return {};
    }
    status read_offsets(json_value list, safetensors_tensor& t, std::uint64_t index) const noexcept {
        std::uint64_t pair[2] = {}, count = 0;
        for (const json_value v : list.elements()) {
            const auto n = v.as_uint();
            if (!n) return bad(index, "#{3} has an offset that is no integer from 0 to 2^64 - 1");
            if (count < 2) pair[count] = *n;
            ++count;
        }
        if (count != 2) return bad(index, "#{3} needs two data offsets");
        if (pair[1] < pair[0]) return bad(index, "#{3} has data from {0} to {1}", pair[0], pair[1]);
        t.offset = pair[0];
        t.bytes = pair[1] - pair[0];
        return {};
    }
    status read_tensor(json_member m, std::uint64_t index) noexcept {
        announced a{{}, culprit, tables.dims.size(), 0};
        safetensors_tensor& t = a.tensor;
        if (!decode(m.key, t.name)) return out_of_memory(header.size());
        if (t.name.find('\0') != std::string_view::npos) return bad(index, "#{3} has a zero byte in its name");
        if (m.value.type() != json_type::object) return bad(index, "#{3} is described by something that is no object");
        json_value dtype, shape, offsets;
        for (const json_member field : m.value.members()) {
            json_value* const known = field.key.is("dtype")          ? &dtype
                                      : field.key.is("shape")        ? &shape
                                      : field.key.is("data_offsets") ? &offsets
                                                                     : nullptr;
            if (known != nullptr) *known = field.value;  // others are ignored, as the reference does
        }
        if (!dtype || !shape || !offsets) return bad(index, "#{3} lacks one of dtype, shape and data_offsets");
        char room[64];
        const auto name = dtype.as_string(room);
        if (!name && dtype.type() != json_type::string) return bad(index, "#{3} has a dtype that is no string");
        const auto type = safetensors_type_named(name ? *name : std::string_view());
        if (!type) return safetensors_error(errc::unsupported, "#{3} has an unknown dtype", index);
        t.type = *type;
        if (status s = read_shape(shape, index); !s) return s;
        if (status s = read_offsets(offsets, t, index); !s) return s;
        const std::span<const std::uint64_t> dims = tables.dims.view().subspan(a.first_dim);
        std::uint64_t bytes = 0;
        bool whole = true;
        if (!measure_shape(t.type, dims, bytes, whole))
            return bad(index, "#{3} has dimensions whose product overflows");
        if (!whole) return bad(index, "#{3} has elements that do not fill bytes");
        if (bytes != t.bytes)
            return bad(index, "#{3} has {0} bytes of data, its shape and dtype make {1}", t.bytes, bytes);
        a.n_dims = dims.size();
        return found.append(a) ? status{} : status(out_of_memory(header.size()));
    }

    /// The data must follow each other without a hole, from the header's end to the file's.
    status place_tensors() noexcept {
        buffer<std::size_t> order;
        if (!order.allocate(found.size()) || !tables.tensors.allocate(found.size()))
            return out_of_memory(header.size());
        sort_indices(order, [&](std::size_t i, std::size_t j) {
            const safetensors_tensor &x = found[i].tensor, &y = found[j].tensor;
            return x.offset != y.offset ? x.offset < y.offset : x.bytes != y.bytes ? x.bytes < y.bytes : i < j;
        });
        const std::uint64_t room = limits.file_size - tables.data_start;
        std::uint64_t end = 0;
        for (std::size_t p = 0; p < order.size(); ++p) {
            const announced& a = found[order[p]];
            safetensors_tensor t = a.tensor;
            culprit = a.spelling;
            if (t.offset != end)
                return bad(order[p], "#{3} has data from byte {0} on, those before it end at {1}", t.offset, end);
            end = saturating_add(end, t.bytes);
            if (end > room)
                return safetensors_error(errc::truncated, "#{3} ends at byte {0}, the file has {1}", order[p],
                                         saturating_add(tables.data_start, end), limits.file_size);
            t.shape = tables.dims.view().subspan(a.first_dim, a.n_dims);
            if (tables.data_start + end <= file.size())
                t.data = file.subspan(static_cast<std::size_t>(tables.data_start + t.offset),
                                      static_cast<std::size_t>(t.bytes));
            tables.tensors[p] = t;
        }
        culprit = {};
        if (end == room) return {};
        return error{errc::malformed, "{0} bytes follow the last tensor", "data", {room - end}};
    }
};

inline status parse_safetensors(std::span<const std::byte> file, safetensors_limits limits, safetensors_tables& tables,
                                std::string_view* culprit) noexcept {
    if (culprit != nullptr) *culprit = {};
    if (limits.file_size == 0) limits.file_size = file.size();
    if (limits.file_size < file.size())
        return error{errc::argument,
                     "{0}, but {1} bytes are given",
                     "safetensors_limits.file_size",
                     {limits.file_size, file.size()}};
    safetensors_parser parser{file, limits, tables};
    const status s = parser.parse();
    if (culprit != nullptr && !s) *culprit = parser.culprit;
    return s;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
