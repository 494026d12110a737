#pragma once
// model.safetensors.index.json: which file of a model in several files holds which tensor.
#include "../format/json_writer.hpp"
#include "json.hpp"

namespace qlib::inline QLIB_ABI {

/// A tensor and the name of the file that holds it.
struct safetensors_location {
    std::string_view tensor, file;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

struct safetensors_index_tables {
    json_value document;
    growing<safetensors_location> locations;  // in the file's order
    growing<std::string_view> files;          // each once, sorted
    buffer<std::size_t> tensor_order;
    string_room names;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline status parse_index(std::string_view text, safetensors_index_tables& tables, std::string_view* culprit) noexcept;
[[nodiscard]] inline std::size_t find_location(const safetensors_index_tables& tables,
                                               std::string_view tensor) noexcept {
    return find_name(tables.tensor_order, tensor, [&](std::size_t i) { return tables.locations[i].tensor; });
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// A parsed index. Names without escapes point into the parsed text, which must outlive it. That a file holds the
/// tensors that the index promises is for the caller to check, when the file is open.
class safetensors_index {
public:
    QLIB_INLINE safetensors_index(safetensors_index&&) noexcept = default;
    QLIB_INLINE safetensors_index& operator=(safetensors_index&&) noexcept = default;
    /// Reads an index.
    ///
    /// text     the whole file
    /// culprit  set to the tensor or key that an error speaks of, as the file spells it, else emptied
    /// error    malformed or truncated, for JSON that is none, no weight_map, or a file that is not one of the same
    ///          folder; memory
    [[nodiscard]] QLIB_INLINE static result<safetensors_index> parse(std::string_view text,
                                                                     std::string_view* culprit = nullptr) noexcept {
        safetensors_index parsed;
        if (const status s = detail::parse_index(text, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    /// All tensors, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const safetensors_location> tensors() const noexcept {
        return tables_.locations.view();
    }
    /// The files, sorted by name. Names of files in the index's own folder: no separator, no "..", no drive.
    [[nodiscard]] QLIB_INLINE std::span<const std::string_view> files() const noexcept { return tables_.files.view(); }
    /// The file that holds a tensor; empty when the index does not know it.
    [[nodiscard]] QLIB_INLINE std::string_view find(std::string_view tensor) const noexcept {
        const std::size_t i = detail::find_location(tables_, tensor);
        return i < tables_.locations.size() ? tables_.locations[i].file : std::string_view();
    }
    /// The sum of all tensors' bytes as the index claims it: often wrong, only good for a progress bar. error:
    /// malformed when it has none.
    [[nodiscard]] QLIB_INLINE result<std::uint64_t> total_size() const noexcept {
        return tables_.document["metadata"]["total_size"].as_uint();
    }

private:
    QLIB_INLINE safetensors_index() noexcept = default;
    detail::safetensors_index_tables tables_;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Whether this is the plain name of a file: 1 to 255 bytes, no '/', '\', ':' or
/// control character, and not "." or "..".
[[nodiscard]] inline bool is_plain_file_name(std::string_view name) noexcept {
    if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
    for (const char c : name)
        if (c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return false;
    return true;
}

/// "model-00002-of-00003.safetensors" for file 2 of 3, in `room`; "model.safetensors" when there is but one.
/// Returns the part of `room` that was used; what does not fit is cut: 48 chars always do.
[[nodiscard]] inline std::string_view shard_name(std::uint64_t number, std::uint64_t count,
                                                 std::span<char> room) noexcept {
    std::size_t at = 0;
    const auto put = [&](char c) {
        if (at < room.size()) room[at++] = c;
    };
    const auto text = [&](std::string_view s) {
        for (const char c : s) put(c);
    };
    const auto five = [&](std::uint64_t n) {
        char digits[20];
        std::size_t length = 0;
        for (; n != 0 || length < 5; n /= 10) digits[length++] = static_cast<char>('0' + n % 10);
        while (length != 0) put(digits[--length]);
    };
    text("model");
    if (count > 1) {
        put('-');
        five(number);
        text("-of-");
        five(count);
    }
    text(".safetensors");
    return {room.data(), at};
}

/// Writes the text of an index.
///
/// out      gets as much as fits; may be empty
/// returns  the chars of the whole text, also where they did not fit
/// error    argument, sizes {position}: a file name that is not plain, a tensor name that is not UTF-8 or was there
///          before; memory
[[nodiscard]] inline result<std::size_t> write_safetensors_index(std::span<const safetensors_location> tensors,
                                                                 std::uint64_t total_size,
                                                                 std::span<char> out) noexcept;

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The distinct files, sorted. False without memory.
[[nodiscard]] inline bool list_files(safetensors_index_tables& tables) noexcept {
    const auto file_of = [&](std::size_t i) { return tables.locations[i].file; };
    buffer<std::size_t> order;
    if (!sort_names(order, tables.locations.size(), file_of)) return false;
    for (std::size_t p = 0; p < order.size(); ++p)
        if ((p == 0 || file_of(order[p]) != file_of(order[p - 1])) && !tables.files.append(file_of(order[p])))
            return false;
    return true;
}

inline status parse_index(std::string_view text, safetensors_index_tables& tables, std::string_view* culprit) noexcept {
    const auto parsed = json_value::parse(text, culprit);
    if (!parsed) return json_error(parsed.error(), "index");
    tables.document = *parsed;
    const json_value map = tables.document["weight_map"];
    if (map.type() != json_type::object)
        return error{errc::malformed, "a map from tensors to files is needed", "weight_map", {}};
    for (const json_member m : map.members()) {
        if (culprit != nullptr) *culprit = m.key.text.substr(1, m.key.text.size() - 2);
        safetensors_location l;
        if (m.value.type() != json_type::string)
            return error{errc::malformed, "the name of a file is needed", "weight_map", {}};
        if (!tables.names.decode(m.key.text, text.size(), l.tensor) ||
            !tables.names.decode(m.value.text, text.size(), l.file) || !tables.locations.append(l))
            return out_of_memory(text.size());
        if (!is_plain_file_name(l.file))
            return error{errc::malformed, "the file is not one of the same folder", "weight_map", {}};
    }
    if (culprit != nullptr) *culprit = {};
    const auto name_of = [&](std::size_t i) { return tables.locations[i].tensor; };
    const bool done = sort_names(tables.tensor_order, tables.locations.size(), name_of) && list_files(tables);
    return done ? status{} : status(out_of_memory(text.size()));
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

inline result<std::size_t> write_safetensors_index(std::span<const safetensors_location> tensors,
                                                   std::uint64_t total_size, std::span<char> out) noexcept {
    const auto refused = [](const char* rule, std::size_t i) { return error{errc::argument, rule, "index", {i}}; };
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        if (!is_plain_file_name(tensors[i].file) || !detail::is_utf8(tensors[i].file))
            return refused("#{0} has no plain file name", i);
        if (!detail::is_utf8(tensors[i].tensor)) return refused("#{0} has a name that is not UTF-8", i);
    }
    detail::buffer<std::size_t> order;
    const auto name_of = [&](std::size_t i) { return tensors[i].tensor; };
    if (!detail::sort_names(order, tensors.size(), name_of))
        return detail::out_of_memory(tensors.size() * sizeof(std::size_t));
    if (const std::size_t p = detail::find_duplicate(order, name_of); p != order.size())
        return refused("#{0} has a name that was there before", order[p + 1]);
    detail::json_writer json(out);
    json.open('{');
    json.key("metadata");
    json.open('{');
    json.key("total_size");
    json.integer(total_size);
    json.close('}');
    json.key("weight_map");
    json.open('{');
    for (std::size_t p = 0; p < order.size(); ++p) {
        json.key(tensors[order[p]].tensor);
        json.string(tensors[order[p]].file);
    }
    json.close('}');
    json.close('}');
    return json.size();
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
