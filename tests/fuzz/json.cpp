// JSON, and the two documents of a checkpoint: the index of its files, and what config.json says of its weights.
#include "fuzz.hpp"

#include <qlib/file/compressed_tensors_config.hpp>
#include <qlib/file/json.hpp>
#include <qlib/file/safetensors_index.hpp>

#include <vector>

using namespace qlib;

namespace {

void read_value(json_value v, unsigned depth) {
    require(depth <= 64 && v);
    static_cast<void>(v.as_uint());
    static_cast<void>(v.as_int());
    static_cast<void>(v.as_bool());
    if (const auto x = v.as_float()) require(*x - *x == 0);  // finite
    std::vector<char> room(v.text.size());
    const auto text = v.as_string(room);
    require(text.has_value() == (v.type() == json_type::string));
    if (text) touch_text(*text), require(v.is(*text));
    std::size_t count = 0;
    for (const json_value e : v.elements()) read_value(e, depth + 1), ++count;
    require(count == v.elements().count());
    for (const json_member m : v.members()) {
        read_value(m.key, depth + 1);
        read_value(m.value, depth + 1);
        std::vector<char> key(m.key.text.size());
        require(v[*m.key.as_string(key)].text.data() == m.value.text.data());
    }
}

void read_config(json_value document) {
    const auto config = read_compressed_tensors_config(document);
    if (!config) return;
    for (const json_member m : config->groups.members())
        if (const auto scheme = read_scheme(*config, m.value)) require(scheme->bits >= 1 && scheme->bits <= 16);
}

void read_index(std::string_view text) {
    std::string_view culprit;
    const auto index = safetensors_index::parse(text, &culprit);
    touch_text(culprit);
    if (!index) return;
    static_cast<void>(index->total_size());
    for (const std::string_view file : index->files()) require(is_plain_file_name(file));
    for (const safetensors_location& l : index->tensors()) require(index->find(l.tensor) == l.file);
    const auto size = write_safetensors_index(index->tensors(), 1, {});
    require(size.has_value());
    std::vector<char> out(*size);
    require(write_safetensors_index(index->tensors(), 1, out).has_value());
    const auto again = safetensors_index::parse({out.data(), out.size()});
    require(again.has_value() && again->tensors().size() == index->tensors().size());
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::string_view culprit;
    const auto document = json_value::parse(text, &culprit);
    touch_text(culprit);
    if (document) {
        read_value(*document, 0);
        read_config(*document);
    } else {
        // On text that nobody checked the members are safe too.
        const json_value raw{text};
        static_cast<void>(raw.as_float());
        static_cast<void>(raw["a"]);
        for (const json_value e : raw.elements()) touch_text(e.text);
        for (const json_member m : raw.members()) touch_text(m.value.text);
    }
    read_index(text);
}
